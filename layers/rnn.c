/* Recurrent layers: one code path that gives any cell time, depth, both directions, lengths,
 * explicit and carried state. */
#include "layers/rnn.h"

#include "autograd/ops.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

struct wf_rnn {
    wf_module *module;
    const wf_cell *cell;
    int64_t input, hidden, output;      /* output: of .output, what WF_OUTPUT stands for */
    int64_t layers, width[CELL_STATES]; /* of the states, per sequence */
    int directions, states;
    bool stepwise;
    double dropout;
    char *self; /* layers * directions structs of the cell */
};

/* ---- sizes ---- */

int64_t cell_size(int64_t size, int64_t input, int64_t hidden, int64_t output)
{
    const int64_t of[4] = { 1, output, input, hidden };
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) {
        int64_t factor = (int64_t)(int16_t)(size & 0xffff), part;
        size = (size - factor) / (INT64_C(1) << 16);
        if (__builtin_mul_overflow(factor, of[i], &part) || __builtin_add_overflow(sum, part, &sum))
            return -1;
    }
    return sum;
}

int cell_states(const wf_cell *cell)
{
    int n = 0;
    while (cell->states && n < CELL_STATES && cell->states[n].name) n++;
    return n;
}

void *tape_memory(wf_tape *t, size_t bytes)
{
    int64_t items = (int64_t)(bytes / sizeof(double) + 1);
    const wf_tensor *place = wf_value(wf_zeros(t, WF_F64, WF_SHAPE(items)));
    return place ? place->data : NULL;
}

/* ---- making ---- */

static bool is_zero(const wf_init *init)
{
    return init->kind == WF_INIT_ZERO && init->a == 0 && init->b == 0 && init->rows == 0;
}

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
    int side = rank < 2 ? 0 : side_of(p->size[rank - 1]);
    if (side == 1 && !is_zero(&o->init_input)) return o->init_input;
    if (side == 2 && !is_zero(&o->init_hidden)) return o->init_hidden;
    if (!is_zero(&p->init)) return p->init;
    double bound = 1 / __builtin_sqrt((double)o->hidden);
    return (wf_init){ .kind = WF_INIT_UNIFORM, .a = -bound, .b = bound };
}

/* Makes the parameters of one direction of one layer, and puts them into the cell's struct. */
static bool make_params(wf_rnn *rnn, int64_t layer, int direction, const wf_rnn_options *o)
{
    const wf_cell *cell = rnn->cell;
    int64_t input = layer ? rnn->directions * rnn->width[0] : rnn->input;
    char *self = rnn->self + (size_t)(layer * rnn->directions + direction) * cell->size;
    if (o->cell) memcpy(self, o->cell, cell->size);
    for (const wf_cell_param *p = cell->params; p && p->name; p++) {
        wf_var *none = NULL;
        memcpy(self + p->offset, &none, sizeof none);
        if (p->optional == WF_CELL_BIAS && o->no_bias) continue;
        if (p->optional == WF_CELL_PROJECTION && rnn->output == rnn->hidden) continue;
        wf_shape shape = WF_SCALAR;
        while (shape.rank < 4 && p->size[shape.rank]) {
            int64_t size = cell_size(p->size[shape.rank], input, rnn->hidden, rnn->output);
            if (size < 1) {
                return wf_module_fail(rnn->module,
                                      "rnn: cell '%s': size %d of %s is %lld; it must be 1 or more",
                                      cell->name, (int)shape.rank, p->name, (long long)size);
            }
            shape.dim[shape.rank++] = size;
        }
        char name[128];
        size_t n = wf_format(name, sizeof name, "%s_l%lld%s", p->name, (long long)layer,
                             direction ? "_reverse" : "");
        if (n >= sizeof name)
            return wf_module_fail(
                rnn->module, "rnn: cell '%s': the name of a parameter is too long", cell->name);
        wf_var *param = wf_param_new(rnn->module, name, shape, initial_value(p, shape.rank, o));
        if (!param) return false;
        memcpy(self + p->offset, &param, sizeof param);
    }
    return true;
}

/* Is the row one that can be used? */
static bool cell_is_sound(wf_module *parent, const char *name, const wf_cell *cell)
{
    if (!cell) return wf_module_fail(parent, "rnn '%s': there is no cell", name);
    const char *title = cell->name ? cell->name : "";
    if (!cell->name || !cell->step || cell_states(cell) == 0 || cell->size == 0) {
        return wf_module_fail(parent, "rnn '%s': cell '%s' lacks a %s", name, title,
                              !cell->name   ? "name"
                              : !cell->step ? "step"
                              : cell->size  ? "state"
                                            : "size");
    }
    for (const wf_cell_param *p = cell->params; p && p->name; p++) {
        if (cell->size < sizeof(wf_var *) || p->offset > cell->size - sizeof(wf_var *)) {
            return wf_module_fail(parent, "rnn '%s': cell '%s': %s lies outside of its %zu bytes",
                                  name, title, p->name, cell->size);
        }
    }
    return true;
}

static bool options_are_sound(wf_module *parent, const char *name, const wf_cell *cell,
                              const wf_rnn_options *o)
{
    if (!layer_size(parent, "rnn", name, "input", o->input)) return false;
    if (!layer_size(parent, "rnn", name, "hidden", o->hidden)) return false;
    if (o->output && !layer_size(parent, "rnn", name, "output", o->output)) return false;
    if (o->layers && !layer_size(parent, "rnn", name, "layers", o->layers)) return false;
    if (!layer_chance(parent, "rnn", name, "dropout", o->dropout)) return false;
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
    int64_t bytes;
    if (!wf_size_mul(rnn->layers, rnn->directions, &bytes) ||
        !wf_size_mul(bytes, (int64_t)cell->size, &bytes)) {
        wf_module_fail(module, "rnn: %lld layers are too many", (long long)rnn->layers);
        return NULL;
    }
    rnn->self = wf_module_memory(module, (size_t)bytes);
    if (!rnn->self) return NULL;
    for (int64_t layer = 0; layer < rnn->layers; layer++) {
        for (int d = 0; d < rnn->directions; d++) {
            if (!make_params(rnn, layer, d, &o)) return NULL;
        }
    }
    return rnn;
}

wf_rnn *wf_elman_new(wf_module *parent, const char *name, const wf_rnn_options *options)
{
    return wf_rnn_new(parent, name, wf_cell_rnn(), options);
}

wf_rnn *wf_lstm_new(wf_module *parent, const char *name, const wf_rnn_options *options)
{
    return wf_rnn_new(parent, name, wf_cell_lstm(), options);
}

wf_rnn *wf_gru_new(wf_module *parent, const char *name, const wf_rnn_options *options)
{
    return wf_rnn_new(parent, name, wf_cell_gru(), options);
}

const wf_cell *wf_rnn_cell_of(const wf_rnn *rnn)
{
    return rnn ? rnn->cell : NULL;
}

wf_module *wf_rnn_module(const wf_rnn *rnn)
{
    return rnn ? rnn->module : NULL;
}

rnn_form rnn_form_of(const wf_rnn *rnn)
{
    rnn_form f = { .layers = rnn->layers, .directions = rnn->directions, .states = rnn->states };
    memcpy(f.width, rnn->width, sizeof f.width);
    return f;
}

/* ---- one direction of one layer, step by step ---- */

/* Which steps are everyone's (time < all), and which nobody's (time >= any); between them a mask
 * (T, B, 1) I32. */
typedef struct ragged {
    int64_t all, any;
    wf_var *mask;
    wf_var *zero; /* a scalar */
} ragged;

static bool ragged_begin(wf_tape *t, const wf_sequence *s, ragged *r)
{
    int64_t time = wf_dim(s->x, 0), batch = wf_dim(s->x, 1);
    *r = (ragged){ .all = time, .any = time };
    if (!s->lengths || batch == 0) return true;
    r->any = 0;
    for (int64_t b = 0; b < batch; b++) {
        int64_t length = (int64_t)wf_at(s->lengths, b);
        if (length < r->all) r->all = length;
        if (length > r->any) r->any = length;
    }
    if (r->all == r->any && r->any > 0) return true;
    r->zero = wf_zeros(t, wf_dtype_of(s->x), WF_SCALAR);
    r->mask = wf_zeros(t, WF_I32, WF_SHAPE(time, batch, 1));
    if (!r->zero || !r->mask) return false;
    int32_t *mask = wf_value(r->mask)->data;
    for (int64_t b = 0; b < batch; b++) {
        int64_t length = (int64_t)wf_at(s->lengths, b);
        for (int64_t i = 0; i < length; i++) mask[i * batch + b] = 1;
    }
    return true;
}

/* What the step made must be what it was given: (B, width), of one dtype. */
static bool step_is_sound(wf_tape *t, const wf_cell *cell, int states, wf_var *const now[],
                          wf_var *const next[])
{
    if (!wf_tape_ok(t)) return false;
    for (int k = 0; k < states; k++) {
        wf_shape want = wf_shape_of(now[k]), got = wf_shape_of(next[k]);
        if (next[k] && wf_shape_equal(&want, &got) && wf_dtype_of(next[k]) == wf_dtype_of(now[k]))
            continue;
        char a[128], b[128];
        if (!next[k]) {
            wf_fail(t, "cell '%s': its step left no state %s", cell->name, cell->states[k].name);
        } else {
            wf_fail(t, "cell '%s': its step made state %s %s %s; expected %s %s", cell->name,
                    cell->states[k].name, wf_dtype_name(wf_dtype_of(next[k])),
                    wf_shape_text(a, sizeof a, got.rank, got.dim),
                    wf_dtype_name(wf_dtype_of(now[k])),
                    wf_shape_text(b, sizeof b, want.rank, want.dim));
        }
        return false;
    }
    return true;
}

bool cell_steps(wf_tape *t, const wf_cell *cell, const void *self, wf_sequence *s)
{
    int64_t time = wf_dim(s->x, 0), batch = wf_dim(s->x, 1);
    int states = cell_states(cell);
    ragged r;
    wf_var **y = tape_memory(t, (size_t)time * sizeof *y);
    if (!y || !ragged_begin(t, s, &r)) return false;
    if (r.any < time) {
        wf_var *nothing = wf_zeros(t, wf_dtype_of(s->x), WF_SHAPE(batch, wf_dim(s->state[0], 1)));
        for (int64_t i = r.any; i < time; i++) y[i] = nothing; /* (B, width) */
    }
    for (int64_t k = 0; k < r.any; k++) {
        int64_t i = s->reverse ? r.any - 1 - k : k;
        wf_var *next[CELL_STATES], *mask = NULL; /* (B, width) each; (B, 1) */
        wf_var *x = wf_select(t, s->x, 0, i);    /* (B, input) */
        if (i >= r.all) {
            /* Before the step: a NaN that got into it would reach the weights' gradients as 0 *
             * NaN. */
            mask = wf_select(t, r.mask, 0, i);
            x = wf_where(t, mask, x, r.zero);
        }
        memcpy(next, s->state, sizeof next);
        cell->step(t, self, x, next);
        if (!step_is_sound(t, cell, states, s->state, next)) return false;
        y[i] = mask ? wf_where(t, mask, next[0], r.zero) : next[0];
        for (int j = 0; j < states; j++) {
            s->state[j] = mask ? wf_where(t, mask, next[j], s->state[j]) : next[j];
        }
    }
    s->output = wf_stack(t, 0, (wf_vars){ (int)time, y }); /* (T, B, width) */
    return wf_tape_ok(t);
}

/* ---- forward ---- */

static bool x_is_sound(wf_tape *t, const wf_rnn *rnn, const wf_var *x)
{
    const char *path = wf_module_path(rnn->module);
    wf_shape shape = wf_shape_of(x);
    char text[128];
    wf_shape_text(text, sizeof text, shape.rank, shape.dim);
    if (shape.rank != 3 || shape.dim[2] != rnn->input) {
        char hint[128] = "";
        if (shape.rank == 2 && shape.dim[1] == rnn->input) {
            wf_format(hint, sizeof hint,
                      "\n  hint: one sequence is still a batch: reshape it to (time, 1, %lld)",
                      (long long)rnn->input);
        }
        wf_fail(t, "rnn '%s': x is %s; expected (time, batch, %lld)%s", path, text,
                (long long)rnn->input, hint);
        return false;
    }
    if (shape.dim[0] < 1 || shape.dim[0] > INT32_MAX) {
        wf_fail(t, "rnn '%s': x is %s; there must be from 1 to %d time steps", path, text,
                INT32_MAX);
        return false;
    }
    if (wf_dtype_of(x) == WF_I32) {
        wf_fail(t, "rnn '%s': x is i32; it must be f32 or f64", path);
        return false;
    }
    return true;
}

static bool lengths_are_sound(wf_tape *t, const wf_rnn *rnn, const wf_var *x, const wf_var *lengths)
{
    if (!lengths) return true;
    const char *path = wf_module_path(rnn->module);
    int64_t time = wf_dim(x, 0), batch = wf_dim(x, 1);
    wf_shape shape = wf_shape_of(lengths);
    if (wf_dtype_of(lengths) != WF_I32 || shape.rank != 1 || shape.dim[0] != batch) {
        char text[128];
        wf_fail(t, "rnn '%s': lengths are %s %s; expected i32 (%lld)", path,
                wf_dtype_name(wf_dtype_of(lengths)),
                wf_shape_text(text, sizeof text, shape.rank, shape.dim), (long long)batch);
        return false;
    }
    for (int64_t b = 0; b < batch; b++) {
        int64_t length = (int64_t)wf_at(lengths, b);
        if (length >= 0 && length <= time) continue;
        wf_fail(t, "rnn '%s': lengths[%lld] is %lld; it must be from 0 to %lld", path, (long long)b,
                (long long)length, (long long)time);
        return false;
    }
    return true;
}

static bool initial_is_sound(wf_tape *t, const wf_rnn *rnn, const wf_var *x, wf_var *const *initial)
{
    const char *path = wf_module_path(rnn->module);
    for (int k = 0; initial && k < rnn->states; k++) {
        const char *name = rnn->cell->states[k].name;
        if (!initial[k]) {
            wf_fail(t, "rnn '%s': the initial %s was never made", path, name);
            return false;
        }
        wf_shape want = WF_SHAPE(rnn->layers * rnn->directions, wf_dim(x, 1), rnn->width[k]);
        wf_shape got = wf_shape_of(initial[k]);
        if (wf_shape_equal(&want, &got)) continue;
        char a[128], b[128];
        wf_fail(t, "rnn '%s': the initial %s is %s; expected %s", path, name,
                wf_shape_text(a, sizeof a, got.rank, got.dim),
                wf_shape_text(b, sizeof b, want.rank, want.dim));
        return false;
    }
    return true;
}

static bool call_is_sound(wf_tape *t, const wf_rnn *rnn, const wf_var *x, const wf_rnn_call *call)
{
    if (!x_is_sound(t, rnn, x) || !lengths_are_sound(t, rnn, x, call->lengths)) return false;
    if (!initial_is_sound(t, rnn, x, call->initial)) return false;
    if (!call->carry) return true;
    if (call->initial) {
        wf_fail(t, "rnn '%s': .carry and .initial are both given; a sequence begins in one way",
                wf_module_path(rnn->module));
        return false;
    }
    return carry_fits(t, call->carry, rnn, x);
}

/* One direction of one layer from its initial state; leaves the output (T, B, width) and the
 * final state in s. */
static bool run_direction(wf_tape *t, const wf_rnn *rnn, int64_t place, wf_sequence *s)
{
    const void *self = rnn->self + (size_t)place * rnn->cell->size;
    if (rnn->cell->sequence && !rnn->stepwise) {
        if (rnn->cell->sequence(t, self, s)) return wf_tape_ok(t);
        if (!wf_tape_ok(t)) return false;
    }
    return cell_steps(t, rnn->cell, self, s);
}

/* All layers and directions; last (in the order layer, direction, state) receives the final
 * states. */
static wf_var *run_layers(wf_tape *t, const wf_rnn *rnn, wf_var *x, const wf_rnn_call *call,
                          wf_var *last[])
{
    wf_var *zero[CELL_STATES] = { NULL };
    int64_t batch = wf_dim(x, 1);
    for (int64_t layer = 0; layer < rnn->layers; layer++) {
        wf_var *y[2] = { NULL, NULL }; /* (T, B, width) */
        if (layer && rnn->dropout > 0) x = wf_dropout(t, x, rnn->dropout);
        for (int d = 0; d < rnn->directions; d++) {
            int64_t place = layer * rnn->directions + d;
            wf_sequence s = { .x = x, .lengths = call->lengths, .reverse = d == 1 };
            for (int k = 0; k < rnn->states; k++) {
                if (call->carry) {
                    s.state[k] = carry_read(t, call->carry, layer, k, wf_dtype_of(x));
                } else if (call->initial) {
                    s.state[k] = wf_select(t, call->initial[k], 0, place);
                } else {
                    if (!zero[k])
                        zero[k] = wf_zeros(t, wf_dtype_of(x), WF_SHAPE(batch, rnn->width[k]));
                    s.state[k] = zero[k]; /* (B, width) */
                }
            }
            if (!wf_tape_ok(t) || !run_direction(t, rnn, place, &s)) return NULL;
            for (int k = 0; k < rnn->states; k++) last[place * rnn->states + k] = s.state[k];
            y[d] = s.output;
        }
        x = rnn->directions == 2 ? wf_concat(t, -1, WF_VARS(y[0], y[1])) : y[0];
    }
    return x;
}

wf_var *wf_rnn_forward(wf_tape *t, const wf_rnn *rnn, wf_var *x, const wf_rnn_call *call)
{
    static const wf_rnn_call plain = { .lengths = NULL };
    if (!call) call = &plain;
    for (int k = 0; rnn && call->final && k < rnn->states; k++) call->final[k] = NULL;
    if (!layer_ready(t, "rnn", rnn ? rnn->module : NULL, x, "x") || !call_is_sound(t, rnn, x, call))
        return NULL;
    wf_scope_push(t, wf_module_name(rnn->module));
    int64_t places = rnn->layers * rnn->directions;
    wf_var **last = tape_memory(t, (size_t)(places * (rnn->states + 1)) * sizeof *last);
    wf_var *y = last ? run_layers(t, rnn, x, call, last) : NULL; /* (T, B, directions * width) */
    if (y && call->carry && !carry_write(t, call->carry, last)) y = NULL;
    for (int k = 0; y && call->final && k < rnn->states; k++) {
        wf_var **row = last + places * rnn->states;
        for (int64_t i = 0; i < places; i++) row[i] = last[i * rnn->states + k];
        call->final[k] = wf_stack(
            t, 0, (wf_vars){ (int)places, row }); /* (layers * directions, B, width) */
        if (!call->final[k]) y = NULL;
    }
    wf_scope_pop(t);
    return y;
}
