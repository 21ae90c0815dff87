/* Recurrent layers: one code path that gives any cell time, depth, both directions, lengths,
 * explicit and carried state. */
#include "layers/rnn.h"

#include "autograd/ops.h"
#include "autograd/scan.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

struct wf_rnn {
    wf_module *module;
    const wf_cell *cell;
    int64_t input, hidden, output;      /* output: of .output, what WF_OUTPUT stands for */
    int64_t layers, width[WF_CELL_STATES]; /* of the states, per sequence */
    int directions, states;
    bool stepwise, reverse;
    double dropout;
    char *self;     /* layers * directions structs of the cell */
    wf_var **begin; /* layers * directions * states, (width) each, or NULL: zeros */
};

/* ---- sizes ---- */

int64_t cell_size(int64_t size, int64_t input, int64_t hidden, int64_t output)
{
    const int64_t of[4] = { 1, output, input, hidden };
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) {
        int64_t factor = (int64_t)(int16_t)(size & 0xffff), part;
        if (__builtin_sub_overflow(size, factor, &size)) return -1;
        size /= INT64_C(1) << 16;
        if (__builtin_mul_overflow(factor, of[i], &part) || __builtin_add_overflow(sum, part, &sum))
            return -1;
    }
    return sum;
}

int cell_states(const wf_cell *cell)
{
    int n = 0;
    while (cell->states && n < WF_CELL_STATES && cell->states[n].name) n++;
    return n;
}

/* ---- making ---- */

/* Does a size depend on the input's width alone (1), on the state's alone (2), or on neither or
 * both (0)? */
static int side_of(int64_t size)
{
    if (cell_size(size, 0, 0, 0) != 0) return 0;
    bool input = cell_size(size, 1, 0, 0) != 0;
    bool state = cell_size(size, 0, 1, 0) != 0 || cell_size(size, 0, 0, 1) != 0;
    return input == state ? 0 : input ? 1 : 2;
}

static wf_init initial_value(const wf_cell_param *p, int rank, const wf_rnn_options *o)
{
    const int side = rank < 2 ? 0 : side_of(p->size[rank - 1]);
    const double bound = 1 / __builtin_sqrt((double)o->hidden);
    const wf_init own = layer_init(p->init,
                                   (wf_init){ .kind = WF_INIT_UNIFORM, .a = -bound, .b = bound });
    if (p->optional == WF_CELL_BIAS) return layer_init(o->init_bias, own);
    return side == 0 ? own : layer_init(side == 1 ? o->init_input : o->init_hidden, own);
}

/* Names a parameter of one direction of one layer; false after failing the tree. */
static bool param_name(const wf_rnn *rnn, int64_t layer, int direction, const char *before,
                       const char *name, char text[static 128])
{
    const size_t n = wf_format(text, 128, "%s%s_l%lld%s", before, name, (long long)layer,
                               direction ? "_reverse" : "");
    return n < 128 ||
           wf_module_fail(rnn->module, "rnn: cell '%s': the name of a parameter is too long",
                          rnn->cell->name);
}

/* What one direction of one layer begins with, where that is learned. */
static bool make_initial(wf_rnn *rnn, int64_t layer, int direction, const wf_rnn_options *o)
{
    wf_var **begin = rnn->begin + (layer * rnn->directions + direction) * rnn->states;
    for (int k = 0; k < rnn->states; k++) {
        char name[128];
        if (!param_name(rnn, layer, direction, "initial_", rnn->cell->states[k].name, name))
            return false;
        const wf_init init = layer_init(o->init_state, (wf_init){ .kind = WF_INIT_CONSTANT });
        begin[k] = wf_param_new(rnn->module, name, WF_SHAPE(rnn->width[k]), init);
        if (!begin[k]) return false;
    }
    return true;
}

/* Makes the parameters of one direction of one layer, and puts them into the cell's struct. */
static bool make_params(wf_rnn *rnn, int64_t layer, int direction, const wf_rnn_options *o)
{
    const wf_cell *cell = rnn->cell;
    int64_t input = rnn->input;
    if (layer && !wf_size_mul(rnn->directions, rnn->width[0], &input))
        return wf_module_fail(rnn->module, "rnn: an output of %lld in %d directions is too wide",
                              (long long)rnn->width[0], (int)rnn->directions);
    char *self = rnn->self + (size_t)(layer * rnn->directions + direction) * cell->size;
    if (o->prototype) memcpy(self, o->prototype, cell->size);
    for (const wf_cell_param *p = cell->params; p && p->name; p++) {
        wf_var *none = NULL;
        memcpy(self + p->offset, &none, sizeof none);
        if (p->optional == WF_CELL_BIAS && o->no_bias) continue;
        if (p->optional == WF_CELL_PROJECTION && rnn->output == rnn->hidden) continue;
        wf_shape shape = WF_SCALAR;
        while (shape.rank < 4 && p->size[shape.rank]) {
            int64_t size = cell_size(p->size[shape.rank], input, rnn->hidden, rnn->output);
            if (size < 1) {
                return wf_module_fail(
                    rnn->module, "rnn: cell '%s': size[%d] of %s is %lld; it must be 1 or more",
                    cell->name, (int)shape.rank, p->name, (long long)size);
            }
            shape.dim[shape.rank++] = size;
        }
        char name[128];
        if (!param_name(rnn, layer, direction, "", p->name, name)) return false;
        wf_var *param = wf_param_new(rnn->module, name, shape, initial_value(p, shape.rank, o));
        if (!param) return false;
        memcpy(self + p->offset, &param, sizeof param);
    }
    const gate_sizes sizes = { input, rnn->hidden, rnn->output };
    return gates_begin(rnn->module, cell, self, &sizes, o) &&
           (!rnn->begin || make_initial(rnn, layer, direction, o));
}

/* Does a list of sizes end where it says so? */
static bool sizes_are_sound(wf_module *parent, const char *who, const wf_cell_param *p)
{
    int rank = 0;
    while (rank < 4 && p->size[rank]) rank++;
    for (int d = rank; d < 4; d++)
        if (p->size[d])
            return wf_module_fail(parent,
                                  "%s: size[%d] of %s is 0 and size[%d] is not; zero ends "
                                  "the list",
                                  who, rank, p->name, d);
    return true;
}

static bool params_are_sound(wf_module *parent, const char *who, const wf_cell *cell)
{
    const size_t field = sizeof(wf_var *);
    for (const wf_cell_param *p = cell->params; p && p->name; p++) {
        if (!*p->name) return wf_module_fail(parent, "%s: a parameter has an empty name", who);
        if (cell->size < field || p->offset > cell->size - field)
            return wf_module_fail(parent, "%s: %s lies outside of its %zu bytes", who, p->name,
                                  cell->size);
        if (p->offset % field || cell->size % field)
            return wf_module_fail(parent,
                                  "%s: %s lies at offset %zu of %zu bytes; a wf_var * lies "
                                  "at multiples of %zu",
                                  who, p->name, p->offset, cell->size, field);
        if (p->optional < 0 || p->optional > WF_CELL_PROJECTION)
            return wf_module_fail(parent, "%s: %s is optional in no way there is: %d", who, p->name,
                                  (int)p->optional);
        if (!sizes_are_sound(parent, who, p)) return false;
        for (const wf_cell_param *q = cell->params; q < p; q++) {
            if (!strcmp(q->name, p->name))
                return wf_module_fail(parent, "%s: two parameters are named %s", who, p->name);
            if (q->offset > p->offset ? q->offset - p->offset < field
                                      : p->offset - q->offset < field)
                return wf_module_fail(parent, "%s: %s and %s lie in one field", who, q->name,
                                      p->name);
        }
    }
    return true;
}

/* Is the row one that can be used? All of it is looked at before any of it is. */
static bool cell_is_sound(wf_module *parent, const char *name, const wf_cell *cell)
{
    if (!cell) return wf_module_fail(parent, "rnn '%s': there is no cell", name);
    const char *title = cell->name ? cell->name : "";
    if (!cell->name || !cell->step || cell_states(cell) == 0 || cell->size == 0)
        return wf_module_fail(parent, "rnn '%s': cell '%s' lacks a %s", name, title,
                              !cell->name   ? "name"
                              : !cell->step ? "step"
                              : cell->size  ? "state"
                                            : "size");
    char who[256];
    wf_format(who, sizeof who, "rnn '%s': cell '%s'", name, title);
    if (cell->size > WF_ROW_BYTES)
        return wf_module_fail(parent, "%s: its struct has %zu bytes; 1 to %d can be", who,
                              cell->size, WF_ROW_BYTES);
    for (int k = 0; k < cell_states(cell); k++) {
        if (!*cell->states[k].name)
            return wf_module_fail(parent, "%s: state %d has an empty name", who, k);
        for (int j = 0; j < k; j++)
            if (!strcmp(cell->states[j].name, cell->states[k].name))
                return wf_module_fail(parent, "%s: two states are named %s", who,
                                      cell->states[k].name);
    }
    return params_are_sound(parent, who, cell) && gates_are_sound(parent, who, cell);
}

static bool options_are_sound(wf_module *parent, const char *name, const wf_cell *cell,
                              const wf_rnn_options *o)
{
    if (!layer_size(parent, "rnn", name, "input", o->input)) return false;
    if (!layer_size(parent, "rnn", name, "hidden", o->hidden)) return false;
    if (o->output && !layer_size(parent, "rnn", name, "output", o->output)) return false;
    if (o->layers && !layer_size(parent, "rnn", name, "layers", o->layers)) return false;
    if (!layer_chance(parent, "rnn", name, "dropout", o->dropout)) return false;
    if (o->dropout > 0 && o->layers <= 1) {
        return wf_module_fail(parent,
                              "rnn '%s': .dropout is %g and there is one layer; it drops between "
                              "layers: behind this one, wf_dropout does",
                              name, o->dropout);
    }
    if (o->reverse && o->bidirectional) {
        return wf_module_fail(
            parent, "rnn '%s': .reverse and .bidirectional are both given; one includes the other",
            name);
    }
    if (!gate_options_are_sound(parent, name, cell, o)) return false;
    bool projects = cell_size(cell->states[0].width, 0, 0, 1) !=
                    cell_size(cell->states[0].width, 0, 0, 0);
    if (o->output && o->output != o->hidden && !projects) {
        return wf_module_fail(
            parent,
            "rnn '%s': .output is %lld and .hidden %lld; cell '%s' does not project, "
            "so they must be equal",
            name, (long long)o->output, (long long)o->hidden, cell->name);
    }
    return true;
}

wf_rnn *wf_rnn_new(wf_module *parent, const char *name, const wf_cell *cell,
                   const wf_rnn_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const wf_rnn_options o = options ? *options : (wf_rnn_options){ 0 };
    const char *title = name ? name : "";
    if (!cell_is_sound(parent, title, cell) || !options_are_sound(parent, title, cell, &o))
        return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_rnn *rnn = wf_module_memory(module, sizeof *rnn);
    if (!rnn) return NULL;
    *rnn = (wf_rnn){
        .module = module,
        .cell = cell,
        .input = o.input,
        .hidden = o.hidden,
        .output = o.output ? o.output : o.hidden,
        .layers = o.layers ? o.layers : 1,
        .directions = o.bidirectional ? 2 : 1,
        .states = cell_states(cell),
        .stepwise = o.stepwise,
        .reverse = o.reverse,
        .dropout = o.dropout,
    };
    for (int k = 0; k < rnn->states; k++) {
        rnn->width[k] = cell_size(cell->states[k].width, rnn->input, rnn->hidden, rnn->output);
        if (rnn->width[k] < 1) {
            wf_module_fail(module,
                           "rnn: cell '%s': the width of state %s is %lld; it must be 1 or more",
                           cell->name, cell->states[k].name, (long long)rnn->width[k]);
            return NULL;
        }
    }
    int64_t places, bytes, begin;
    if (!wf_size_mul(rnn->layers, rnn->directions, &places) ||
        !wf_size_mul(places, (int64_t)cell->size, &bytes) ||
        !wf_size_mul(places, rnn->states * (int64_t)sizeof *rnn->begin, &begin)) {
        wf_module_fail(module, "rnn: %lld layers are too many", (long long)rnn->layers);
        return NULL;
    }
    rnn->self = wf_module_memory(module, (size_t)bytes);
    if (o.learned_initial) rnn->begin = wf_module_memory(module, (size_t)begin);
    if (!rnn->self || (o.learned_initial && !rnn->begin)) return NULL;
    for (int64_t layer = 0; layer < rnn->layers; layer++) {
        for (int d = 0; d < rnn->directions; d++) {
            if (!make_params(rnn, layer, d, &o)) return NULL;
        }
    }
    return rnn;
}

const wf_cell *wf_rnn_row(const wf_rnn *rnn)
{
    return rnn ? rnn->cell : NULL;
}

wf_module *wf_rnn_module(const wf_rnn *rnn)
{
    return rnn ? rnn->module : NULL;
}

rnn_form rnn_form_of(const wf_rnn *rnn)
{
    rnn_form f = { .layers = rnn->layers,
                   .directions = rnn->directions,
                   .states = rnn->states,
                   .reverse = rnn->reverse,
                   .learned = rnn->begin != NULL };
    memcpy(f.width, rnn->width, sizeof f.width);
    return f;
}

/* ---- what a call is given ---- */

/* As it is on this tape. Read whole before anything of the call is written, so that .initial and
 * .final may be one array. */
typedef struct given {
    wf_var *x, *lengths, *initial[WF_CELL_STATES]; /* lengths, all of initial: or NULL */
    wf_carry *carry;
    carry_window window; /* of the carry */
} given;

/* The first parameter of the first layer, or NULL if it has none. */
static wf_var *first_weight(const wf_rnn *rnn)
{
    wf_var *weight = rnn->begin ? rnn->begin[0] : NULL;
    for (const wf_cell_param *p = rnn->cell->params; p && p->name && !weight; p++)
        memcpy(&weight, rnn->self + p->offset, sizeof weight);
    return weight;
}

static bool x_is_sound(wf_tape *t, const wf_rnn *rnn, const wf_var *x)
{
    const char *path = wf_module_path(rnn->module);
    wf_shape shape = wf_shape_of(x);
    char text[128];
    if (shape.rank != 3 || shape.dim[2] != rnn->input) {
        char hint[128] = "";
        if (shape.rank == 2 && shape.dim[1] == rnn->input) {
            wf_format(hint, sizeof hint,
                      "\n  hint: one sequence is still a batch: reshape it to (time, 1, %lld)",
                      (long long)rnn->input);
        }
        wf_fail(t, "rnn '%s': x is %s; expected (time, batch, %lld)%s", path,
                wf_shape_text(text, sizeof text, shape.rank, shape.dim), (long long)rnn->input,
                hint);
        return false;
    }
    if (shape.dim[0] > INT32_MAX || shape.dim[1] > INT32_MAX) {
        wf_fail(t, "rnn '%s': x is %s; there can be %d time steps and sequences", path,
                wf_shape_text(text, sizeof text, shape.rank, shape.dim), INT32_MAX);
        return false;
    }
    if (wf_dtype_of(x) == WF_I32) {
        wf_fail(t, "rnn '%s': x is i32; it must be f32 or f64", path);
        return false;
    }
    wf_var *weight = first_weight(rnn);
    return !weight || layer_dtype(t, "rnn", rnn->module, x, weight);
}

static bool initial_is_sound(wf_tape *t, const wf_rnn *rnn, const wf_var *x, int k,
                             const wf_var *initial)
{
    wf_shape want = WF_SHAPE(rnn->layers * rnn->directions, wf_dim(x, 1), rnn->width[k]);
    wf_shape got = wf_shape_of(initial);
    if (wf_shape_equal(&want, &got) && wf_dtype_of(initial) == wf_dtype_of(x)) return true;
    const char *path = wf_module_path(rnn->module), *name = rnn->cell->states[k].name;
    char a[128], b[128];
    if (wf_shape_equal(&want, &got)) {
        wf_fail(t, "rnn '%s': the initial %s is %s; x is %s", path, name,
                wf_dtype_name(wf_dtype_of(initial)), wf_dtype_name(wf_dtype_of(x)));
    } else {
        wf_fail(t, "rnn '%s': the initial %s is %s; expected %s", path, name,
                wf_shape_text(a, sizeof a, got.rank, got.dim),
                wf_shape_text(b, sizeof b, want.rank, want.dim));
    }
    return false;
}

/* Enters what was given and judges it; false after failing the tape. */
static bool given_is_sound(wf_tape *t, const wf_rnn *rnn, given *g, bool begun)
{
    const char *path = rnn ? wf_module_path(rnn->module) : "";
    g->x = layer_enter(t, "rnn", rnn ? rnn->module : NULL, g->x, "x");
    if (!g->x || !x_is_sound(t, rnn, g->x)) return false;
    if (g->lengths) {
        g->lengths = wf_enter_lengths(t, g->lengths, wf_dim(g->x, 0), wf_dim(g->x, 1), "rnn '%s'",
                                      path);
        if (!g->lengths) return false;
    }
    for (int k = 0; begun && k < rnn->states; k++) {
        const char *name = rnn->cell->states[k].name;
        if (!g->initial[k]) {
            wf_fail(t, "rnn '%s': the initial %s was never made", path, name);
            return false;
        }
        g->initial[k] = wf_enter(t, g->initial[k], "rnn '%s': the initial %s", path, name);
        if (!g->initial[k] || !initial_is_sound(t, rnn, g->x, k, g->initial[k])) return false;
    }
    if (!g->carry) return true;
    if (begun) {
        wf_fail(t, "rnn '%s': .carry and .initial are both given; a sequence begins in one way",
                path);
        return false;
    }
    return carry_fits(t, g->carry, rnn, g->x, &g->window);
}

/* ---- forward ---- */

/* The cell's struct of a place, its parameters as they are on this tape; lives as long as the
 * tape's step. NULL after failing the tape. */
static const void *self_on(wf_tape *t, const wf_rnn *rnn, int64_t place)
{
    const wf_cell *cell = rnn->cell;
    char *self = wf_tape_memory(t, cell->size);
    if (!self) return NULL;
    memcpy(self, rnn->self + (size_t)place * cell->size, cell->size);
    for (const wf_cell_param *p = cell->params; p && p->name; p++) {
        wf_var *param;
        memcpy(&param, self + p->offset, sizeof param);
        if (!param) continue; /* it was left out */
        param = wf_enter(t, param, "rnn '%s': %s", wf_module_path(rnn->module), p->name);
        if (!param) return NULL;
        memcpy(self + p->offset, &param, sizeof param);
    }
    return self;
}

/* What a sequence of the cell's own left must be what the steps would have left. */
static bool sequence_is_sound(wf_tape *t, const wf_cell *cell, const wf_sequence *before,
                              wf_sequence *s, int states)
{
    for (int k = -1; k < states; k++) {
        wf_var **made = k < 0 ? &s->output : &s->state[k];
        const char *what = k < 0 ? "the output" : "the state ",
                   *name = k < 0 ? "" : cell->states[k].name;
        const wf_var *state = before->state[k < 0 ? 0 : k];
        wf_shape want = wf_shape_of(state);
        if (k < 0) want = WF_SHAPE(wf_dim(before->x, 0), want.dim[0], want.dim[1]);
        *made = wf_enter(t, *made, "cell '%s': %s%s that its sequence left", cell->name, what,
                         name);
        if (!*made) return false;
        wf_shape got = wf_shape_of(*made);
        if (wf_shape_equal(&want, &got) && wf_dtype_of(*made) == wf_dtype_of(state)) continue;
        char a[128], b[128];
        wf_fail(t, "cell '%s': its sequence made %s%s %s %s; expected %s %s", cell->name, what,
                name, wf_dtype_name(wf_dtype_of(*made)),
                wf_shape_text(a, sizeof a, got.rank, got.dim), wf_dtype_name(wf_dtype_of(state)),
                wf_shape_text(b, sizeof b, want.rank, want.dim));
        return false;
    }
    return true;
}

/* One direction of one layer from its initial state; leaves the output (T, B, width) and the
 * final state in s. */
static bool run_direction(wf_tape *t, const wf_rnn *rnn, int64_t place, wf_sequence *s)
{
    const wf_cell *cell = rnn->cell;
    const void *self = self_on(t, rnn, place);
    if (!self) return false;
    if (cell->sequence && !rnn->stepwise && wf_dim(s->x, 0) > 0) {
        wf_sequence own = *s;
        bool done = cell->sequence(t, self, &own);
        if (!wf_tape_ok(t)) return false;
        if (done && !sequence_is_sound(t, cell, s, &own, rnn->states)) return false;
        if (done) *s = own;
        if (done) wf_explain(t, "cell '%s': by a sequence of its own\n", cell->name);
        if (done) return true;
    }
    return cell_steps(t, cell, self, rnn->stepwise, s);
}

/* A learned state for all sequences, (B, width); NULL after failing the tape. */
static wf_var *learned_state(wf_tape *t, const wf_rnn *rnn, int64_t place, int k, int64_t batch)
{
    wf_var *param = wf_enter(t, rnn->begin[place * rnn->states + k], "rnn '%s': the initial %s",
                             wf_module_path(rnn->module), rnn->cell->states[k].name);
    return wf_expand(t, param, WF_SHAPE(batch, rnn->width[k]));
}

/* What all layers and directions begin with: (B, width) each, in the order layer, direction,
 * state. */
static bool begin_states(wf_tape *t, const wf_rnn *rnn, const given *g, wf_var *state[])
{
    const int64_t batch = wf_dim(g->x, 1);
    const wf_dtype dtype = wf_dtype_of(g->x);
    const bool learned = rnn->begin && (!g->carry || carry_beginners(t, g->carry));
    wf_var *zero[WF_CELL_STATES] = { NULL };
    for (int64_t place = 0; place < rnn->layers * rnn->directions; place++) {
        for (int k = 0; k < rnn->states; k++) {
            wf_var *s = g->initial[k] ? wf_select(t, g->initial[k], 0, place) : NULL;
            if (!s && learned) s = learned_state(t, rnn, place, k, batch);
            if (g->carry) s = carry_read(t, g->carry, place, k, dtype, s);
            if (!s && !zero[k]) zero[k] = wf_zeros(t, dtype, WF_SHAPE(batch, rnn->width[k]));
            state[place * rnn->states + k] = s ? s : zero[k];
        }
    }
    return wf_tape_ok(t);
}

/* All layers and directions over x (T, B, input), from the states, which become the final ones. */
static wf_var *run_layers(wf_tape *t, const wf_rnn *rnn, wf_var *x, wf_var *lengths,
                          wf_var *state[])
{
    for (int64_t layer = 0; layer < rnn->layers; layer++) {
        wf_var *y[2] = { NULL, NULL }; /* (T, B, width) */
        if (layer && rnn->dropout > 0) x = wf_dropout(t, x, rnn->dropout);
        for (int d = 0; d < rnn->directions; d++) {
            int64_t place = layer * rnn->directions + d;
            wf_var **own = &state[place * rnn->states];
            wf_sequence s = { .x = x, .lengths = lengths, .reverse = d == 1 || rnn->reverse };
            for (int k = 0; k < rnn->states; k++) s.state[k] = own[k];
            if (!run_direction(t, rnn, place, &s)) return NULL;
            for (int k = 0; k < rnn->states; k++) own[k] = s.state[k];
            y[d] = s.output;
        }
        x = rnn->directions == 2 ? wf_concat(t, -1, WF_VARS(y[0], y[1])) : y[0];
    }
    return x;
}

/* One window of a carry, piece by piece; kept receives the states that the carry is to keep. */
static wf_var *run_window(wf_tape *t, const wf_rnn *rnn, const given *g, wf_var *state[],
                          wf_var *kept[])
{
    const carry_window *w = &g->window;
    int64_t states = rnn->layers * rnn->states;
    int pieces = 0, made = 0;
    int64_t at = 0;
    do at = carry_next(t, g->carry, w, at), pieces++;
    while (at < w->time);
    wf_var **y = wf_tape_memory(t, (size_t)pieces * sizeof *y);
    if (!y) return NULL;
    for (int64_t to, from = 0; made < pieces; from = to) {
        to = carry_next(t, g->carry, w, from);
        wf_var *x = g->x, *lengths = g->lengths;
        if (pieces > 1) x = wf_slice(t, x, 0, from, to, 1);
        for (int64_t i = 0; w->cut && from && i < states; i++) state[i] = wf_detach(t, state[i]);
        if (!x || !carry_lengths(t, g->carry, w, from, to, &lengths)) return NULL;
        y[made] = run_layers(t, rnn, x, lengths, state); /* (to - from, B, width) */
        if (!y[made++]) return NULL;
        if (to == w->keep) memcpy(kept, state, (size_t)states * sizeof *state);
    }
    return pieces > 1 ? wf_concat(t, 0, (wf_vars){ pieces, y }) : y[0];
}

/* Of one call that is sound; final, unless NULL, receives one var per state. */
static wf_var *run_call(wf_tape *t, const wf_rnn *rnn, const given *g, wf_var *final[])
{
    wf_var *all[WF_CELL_STATES];
    int64_t places = rnn->layers * rnn->directions, states = places * rnn->states;
    wf_var **state = wf_tape_memory(t, (size_t)(3 * states + places) * sizeof *state);
    if (!state || !begin_states(t, rnn, g, state)) return NULL;
    wf_var **kept = state + states, **begun = kept + states, **row = begun + states;
    memcpy(begun, state, (size_t)states * sizeof *begun);
    wf_var *y = g->carry ? run_window(t, rnn, g, state, kept)
                         : run_layers(t, rnn, g->x, g->lengths, state);
    /* y: (T, B, directions * width) */
    if (!y || (g->carry && !carry_write(t, g->carry, &g->window, g->lengths, begun, kept)))
        return NULL;
    for (int k = 0; final && k < rnn->states; k++) {
        for (int64_t i = 0; i < places; i++) row[i] = state[i * rnn->states + k];
        all[k] = wf_stack(t, 0, (wf_vars){ (int)places, row }); /* (places, B, width) */
        if (!all[k]) return NULL;
    }
    if (final) memcpy(final, all, (size_t)rnn->states * sizeof *final);
    return y;
}

wf_var *wf_rnn_forward(wf_tape *t, const wf_rnn *rnn, wf_var *x, const wf_rnn_call *call)
{
    static const wf_rnn_call plain = { .lengths = NULL };
    if (!call) call = &plain;
    given g = { .x = x, .lengths = call->lengths, .carry = call->carry };
    bool begun = call->initial != NULL;
    for (int k = 0; rnn && begun && k < rnn->states; k++) g.initial[k] = call->initial[k];
    wf_var **final = call->final;
    for (int k = 0; rnn && final && k < rnn->states; k++) final[k] = NULL;
    if (!given_is_sound(t, rnn, &g, begun)) return NULL;
    wf_scope_push(t, wf_module_name(rnn->module));
    wf_var *y = run_call(t, rnn, &g, final);
    wf_scope_pop(t);
    return y;
}

const char *wf_rnn_explain(wf_tape *t, const wf_rnn *rnn, wf_var *x, const wf_rnn_call *call)
{
    wf_rnn_call plain = call ? *call : (wf_rnn_call){ .lengths = NULL };
    if (!wf_explain_begin(t)) return NULL;
    plain.carry = NULL;
    plain.final = NULL;
    wf_rnn_forward(t, rnn, x, &plain);
    return wf_explain_forget(t);
}

/* ---- one step ---- */

/* Is this a layer and an x that a step can be taken with? Fails the tape otherwise. */
static bool step_is_possible(wf_tape *t, const wf_rnn *rnn, const wf_var *x, wf_var *const *state)
{
    const char *path = wf_module_path(rnn->module);
    wf_shape shape = wf_shape_of(x);
    char text[128];
    if (rnn->directions != 1) {
        wf_fail(t,
                "rnn '%s': a bidirectional rnn has no single step: its reverse direction begins at "
                "the end of what is still to come",
                path);
    } else if (!state) {
        wf_fail(t, "rnn '%s': the list of states was never made (NULL)", path);
    } else if (shape.rank != 2 || shape.dim[1] != rnn->input) {
        wf_fail(t, "rnn '%s': x is %s; a step takes (batch, %lld)", path,
                wf_shape_text(text, sizeof text, shape.rank, shape.dim), (long long)rnn->input);
    }
    return wf_tape_ok(t);
}

wf_var *wf_rnn_step(wf_tape *t, const wf_rnn *rnn, wf_var *x, wf_var *state[])
{
    given g = { .x = NULL };
    bool begun = false;
    for (int k = 0; rnn && state && k < rnn->states; k++) {
        g.initial[k] = state[k];
        begun |= state[k] != NULL;
        state[k] = NULL;
    }
    x = layer_enter(t, "rnn", rnn ? rnn->module : NULL, x, "x");
    if (!x || !step_is_possible(t, rnn, x, state)) return NULL;
    g.x = wf_unsqueeze(t, x, 0); /* (1, B, input) */
    if (!given_is_sound(t, rnn, &g, begun)) return NULL;
    wf_scope_push(t, wf_module_name(rnn->module));
    wf_var *y = run_call(t, rnn, &g, state);
    y = y ? wf_select(t, y, 0, 0) : NULL; /* (B, output) */
    wf_scope_pop(t);
    return y;
}
