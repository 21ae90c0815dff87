/* Proves a cell: its derivatives against differences, and that the laws of recurrent layers hold
 * for it, on tapes and vars as a stranger's plugin would; only a cell's row is read by what
 * layers/private.h has. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "layers/cell_run_private.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/text.h"

#include <stdarg.h>
#include <string.h>

/* How far two ways to the same numbers may be apart, relative to the largest: of sums in another
 * order, in double; of a value and of a derivative in float. */
static const double apart_f64 = 1e-10, apart_f32 = 1e-4, apart_grad_f32 = 1e-3;

typedef struct proof {
    const wf_cell *cell;
    wf_cell_check_options o;
    wf_rnn_options layer; /* what the layers are made with besides */
    wf_report report;
    cell_memory *memory; /* everything that the proof takes */
    wf_module *net[8];
    int nets, states;
    int64_t width[WF_CELL_STATES];
    uint64_t seed;
    int64_t draws;
} proof;

static bool fail(proof *p, const char *format, ...) WF_PRINTF(2, 3);
static bool fail(proof *p, const char *format, ...)
{
    if (!p->report.ok) return false;
    va_list arguments;
    va_start(arguments, format);
    char *text = p->report.text;
    const size_t bytes = sizeof p->report.text;
    wf_format(text, bytes, "cell '%s': ", p->cell && p->cell->name ? p->cell->name : "");
    size_t used = strlen(text);
    wf_vformat(text + used, bytes - used, format, arguments);
    va_end(arguments);
    p->report.ok = false;
    return false;
}

/* Zeroed memory, or NULL after failing. */
static void *take(proof *p, int64_t items, size_t size)
{
    void *x = p->report.ok ? cell_take(&p->memory, items, size) : NULL;
    if (!x) fail(p, "out of memory");
    return x;
}

/* Standard normals that are floats, so that both precisions begin with the same. */
static double *draw(proof *p, int64_t n, double scale)
{
    double *x = take(p, n, sizeof *x);
    uint64_t key = wf_key_with(p->seed, (uint64_t)++p->draws);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = (double)(float)(scale * wf_random_normal(key, (uint64_t)i));
    return x;
}

/* ---- layers ---- */

/* A layer in a tree of its own. Equal trees have equal values, which are floats in either
 * precision. */
static wf_rnn *layer_new(proof *p, wf_dtype dtype, bool both, bool stepwise)
{
    if (!p->report.ok) return NULL;
    wf_rnn_options options = p->layer;
    options.bidirectional = both;
    options.stepwise = stepwise;
    wf_module *net = wf_module_new("check",
                                   &(wf_module_options){ .seed = p->o.check.seed, .dtype = dtype });
    p->net[p->nets++] = net;
    wf_rnn *rnn = wf_rnn_new(net, "rnn", p->cell, &options);
    wf_error error = { { 0 } };
    if (!wf_module_ok(net, &error)) {
        fail(p, "%s", error.text);
        return NULL;
    }
    if (wf_module_param_count(net) > CELL_PARAMS) {
        fail(p, "it has more than %d parameters", CELL_PARAMS / 2);
        return NULL;
    }
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        const wf_tensor *value = wf_param_value(wf_module_param_at(net, i));
        if (dtype != WF_F64) continue;
        for (int64_t k = 0; k < wf_tensor_count(value); k++)
            ((double *)value->data)[k] = (double)(float)((double *)value->data)[k];
        wf_param_changed(wf_module_param_at(net, i));
    }
    return rnn;
}

/* Gives a layer of one direction the parameters of a direction of another. */
static void copy_params(const wf_rnn *from, int direction, const wf_rnn *to)
{
    int64_t n = wf_module_param_count(wf_rnn_module(to));
    for (int64_t i = 0; i < n; i++) {
        wf_var *p = wf_module_param_at(wf_rnn_module(to), i);
        wf_tensor_copy(wf_param_value(wf_module_param_at(wf_rnn_module(from), direction * n + i)),
                       wf_param_value(p));
        wf_param_changed(p);
    }
}

/* ---- running them ---- */

static double *leave(proof *p, const wf_var *v)
{
    double *x = p->report.ok ? cell_doubles(&p->memory, v) : NULL;
    if (!x) fail(p, "out of memory");
    return x;
}

/* An empty sequence leaves its initial state as it was, whatever that holds, and its gradient too.
 * Having been judged, both become 0: what is not finite has no place in the other laws. */
static bool settle_empty(proof *p, const char *law, const cell_case *c, const cell_result *o)
{
    for (int64_t r = 0; c->lengths && p->report.ok && r < c->stacked * c->batch; r++) {
        if (c->lengths[r % c->batch] > 0) continue;
        for (int k = 0; k < p->states; k++) {
            for (int64_t i = r * p->width[k]; i < (r + 1) * p->width[k]; i++) {
                double got = o->final[k][i], want = c->initial[k][i];
                if (got != want && !(got != got && want != want)) {
                    return fail(p,
                                "%s: an empty sequence's final state is %.10g; expected its "
                                "initial one, %.10g",
                                law, got, want);
                }
                if (o->dinitial[k][i] != c->gfinal[k][i]) {
                    return fail(p,
                                "%s: the gradient of an empty sequence's initial state is %.10g; "
                                "expected that of its final one, %.10g",
                                law, o->dinitial[k][i], c->gfinal[k][i]);
                }
                o->final[k][i] = o->dinitial[k][i] = 0;
            }
        }
    }
    return p->report.ok;
}

static cell_result run(proof *p, const char *law, const wf_rnn *rnn, const cell_case *c)
{
    cell_result o;
    memset(&o, 0, sizeof o);
    if (!p->report.ok) return o;
    cell_case whole = *c;
    whole.rnn = rnn;
    whole.input = p->o.input;
    whole.states = p->states;
    memcpy(whole.width, p->width, sizeof whole.width);
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL, .rehearsal = true });
    if (t && cell_run(t, &whole, &p->memory, &o))
        settle_empty(p, law, c, &o);
    else
        fail(p, "%s", t ? wf_tape_error(t) : "out of memory");
    wf_tape_free(t);
    return o;
}

/* ---- comparing ---- */

static bool near(proof *p, const char *law, const char *what, wf_shape form, const double *got,
                 const double *want, double relative)
{
    double largest = 0;
    if (!p->report.ok) return false;
    int64_t n = 1;
    for (int d = 0; d < form.rank; d++) n *= form.dim[d];
    for (int64_t i = 0; i < n; i++) largest = __builtin_fmax(largest, __builtin_fabs(want[i]));
    if (largest == 0) largest = 1;
    for (int64_t i = 0; i < n; i++) {
        double off = __builtin_fabs(got[i] - want[i]) / largest;
        p->report.checked++;
        if (off > p->report.worst && relative <= apart_f64) p->report.worst = off;
        if (off <= relative) continue;
        char text[128];
        return fail(p, "%s: element %s of %s is %.10g; expected %.10g (the largest is %.3g)", law,
                    wf_index_text(text, sizeof text, form.rank, form.dim, i), what, got[i], want[i],
                    largest);
    }
    return true;
}

/* The gradients of all parameters, one behind the other. */
static bool near_params(proof *p, const char *law, const cell_result *of, const double *got,
                        const double *want, double relative)
{
    int64_t n = wf_module_param_count(of->module), at = 0;
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        const wf_var *w = wf_module_param_at(of->module, i);
        char what[160];
        wf_format(what, sizeof what, "the gradient of %s", wf_param_path(w));
        ok = near(p, law, what, wf_shape_of(w), got + at, want + at, relative);
        at += wf_count(w);
    }
    return ok;
}

/* In the form of `want`. */
static bool near_result(proof *p, const char *law, const cell_result *got, const cell_result *want,
                        double value, double derivative)
{
    bool ok = p->report.ok && near(p, law, "y", want->form_y, got->y, want->y, value);
    ok = ok && near(p, law, "the gradient of x", want->form_x, got->dx, want->dx, derivative);
    ok = ok && near_params(p, law, want, got->dparams, want->dparams, derivative);
    for (int k = 0; ok && k < p->states; k++) {
        wf_shape form = want->form_state[k];
        ok = near(p, law, "a final state", form, got->final[k], want->final[k], value) &&
             near(p, law, "the gradient of an initial state", form, got->dinitial[k],
                  want->dinitial[k], derivative);
    }
    return ok;
}

/* ---- parts of arrays: (outer, n, inner) ---- */

/* Sequence b, its first `outer` steps. */
static double *sequence_of(proof *p, const double *x, int64_t outer, int64_t batch, int64_t inner,
                           int64_t b)
{
    double *y = x ? take(p, outer * inner, sizeof *y) : NULL;
    for (int64_t i = 0; y && i < outer; i++)
        memcpy(y + i * inner, x + (i * batch + b) * inner, (size_t)inner * sizeof *y);
    return y;
}

/* Columns first .. first + width - 1 of (time, batch, row); turned: each sequence's steps in the
 * other order. */
static double *columns_of(proof *p, const double *x, const cell_case *c, int64_t row, int64_t first,
                          int64_t width, bool turned)
{
    double *y = x ? take(p, c->time * c->batch * width, sizeof *y) : NULL;
    for (int64_t b = 0; y && b < c->batch; b++) {
        int64_t steps = c->lengths ? c->lengths[b] : c->time;
        for (int64_t i = 0; i < steps; i++) {
            memcpy(y + (i * c->batch + b) * width,
                   x + ((turned ? steps - 1 - i : i) * c->batch + b) * row + first,
                   (size_t)width * sizeof *y);
        }
    }
    return y;
}

static void add(double *sum, int64_t n, const double *x)
{
    for (int64_t i = 0; sum && x && i < n; i++) sum[i] += x[i];
}

/* What must be looked at nowhere: NaN and both infinities. */
static void spoil(double *x, int64_t n)
{
    const double junk[3] = { __builtin_nan(""), __builtin_inf(), -__builtin_inf() };
    for (int64_t i = 0; x && i < n; i++) x[i] = junk[i % 3];
}

/* What all laws are tried on: lengths that differ where the batch allows it, none of them
 * sorted, 0 and 1 among them; the padding and the initial states of empty sequences are spoilt. */
static cell_case case_new(proof *p, int64_t directions, bool ragged)
{
    int64_t stacked = directions * p->layer.layers, input = p->o.input,
            output = directions * p->width[0];
    cell_case c = { .time = p->o.time, .batch = p->o.batch, .stacked = stacked };
    double *x = draw(p, c.time * c.batch * input, 1), *gy = draw(p, c.time * c.batch * output, 1),
           *initial[WF_CELL_STATES];
    for (int k = 0; k < p->states; k++) {
        c.initial[k] = initial[k] = draw(p, stacked * c.batch * p->width[k], 0.5);
        c.gfinal[k] = draw(p, stacked * c.batch * p->width[k], 1);
    }
    c.x = x;
    c.gy = gy;
    int32_t *lengths = ragged ? take(p, c.batch, sizeof *lengths) : NULL;
    for (int64_t b = 0; lengths && p->report.ok && b < c.batch; b++) {
        const int64_t some[4] = { c.time > 2 ? c.time - 2 : 1, c.time, 1, 0 };
        lengths[b] = (int32_t)some[b % 4];
        for (int64_t i = lengths[b]; i < c.time; i++) {
            spoil(x + (i * c.batch + b) * input, input);
            spoil(gy + (i * c.batch + b) * output, output);
        }
        for (int k = 0; lengths[b] == 0 && k < p->states; k++) {
            for (int64_t i = 0; i < stacked; i++)
                spoil(initial[k] + (i * c.batch + b) * p->width[k], p->width[k]);
        }
    }
    c.lengths = lengths;
    return c;
}

/* ---- the laws ---- */

static void check_ragged(proof *p, const wf_rnn *rnn, int64_t directions)
{
    const char *law = "ragged against one at a time";
    cell_case c = case_new(p, directions, true);
    cell_result all = run(p, law, rnn, &c);
    double *params = take(p, all.n_params, sizeof *params);
    int64_t input = p->o.input, output = directions * p->width[0];
    for (int64_t b = 0; p->report.ok && b < c.batch; b++) {
        int64_t steps = c.lengths[b];
        double *final[WF_CELL_STATES], *dinitial[WF_CELL_STATES];
        cell_case one = { .time = steps, .batch = 1, .stacked = c.stacked };
        for (int64_t i = steps * output; i < c.time * output; i++) {
            if (all.y[(i / output * c.batch + b) * output + i % output] == 0) continue;
            fail(p, "%s: past its end a sequence's output is not zero", law);
        }
        for (int64_t i = steps * input; i < c.time * input; i++) {
            if (all.dx[(i / input * c.batch + b) * input + i % input] == 0) continue;
            fail(p, "%s: past its end the gradient of x is not zero", law);
        }
        for (int k = 0; k < p->states; k++) {
            one.initial[k] = sequence_of(p, c.initial[k], c.stacked, c.batch, p->width[k], b);
            one.gfinal[k] = sequence_of(p, c.gfinal[k], c.stacked, c.batch, p->width[k], b);
            final[k] = sequence_of(p, all.final[k], c.stacked, c.batch, p->width[k], b);
            dinitial[k] = sequence_of(p, all.dinitial[k], c.stacked, c.batch, p->width[k], b);
        }
        if (steps == 0) continue;
        one.x = sequence_of(p, c.x, steps, c.batch, input, b);
        one.gy = sequence_of(p, c.gy, steps, c.batch, output, b);
        cell_result alone = run(p, law, rnn, &one);
        cell_result part = { .y = sequence_of(p, all.y, steps, c.batch, output, b),
                             .dparams = alone.dparams,
                             .dx = sequence_of(p, all.dx, steps, c.batch, input, b) };
        memcpy(part.final, final, sizeof final);
        memcpy(part.dinitial, dinitial, sizeof dinitial);
        near_result(p, law, &part, &alone, apart_f64, apart_f64);
        add(params, alone.n_params, alone.dparams);
    }
    if (p->report.ok) near_params(p, law, &all, all.dparams, params, apart_f64);
}

static void check_direction(proof *p, const wf_rnn *rnn, const wf_rnn *both, bool ragged)
{
    const char *law = "both directions against a run and a run on the flipped sequence";
    if (!p->report.ok) return;
    cell_case c = case_new(p, 2, ragged);
    cell_result all = run(p, law, both, &c);
    double *dx = take(p, all.n_x, sizeof *dx);
    int64_t input = p->o.input, output = p->width[0];
    for (int d = 0; p->report.ok && d < 2; d++) {
        copy_params(both, d, rnn);
        cell_case one = { .time = c.time, .batch = c.batch, .stacked = 1, .lengths = c.lengths };
        one.x = columns_of(p, c.x, &c, input, 0, input, d == 1);
        one.gy = columns_of(p, c.gy, &c, 2 * output, d * output, output, d == 1);
        for (int k = 0; k < p->states; k++) {
            one.initial[k] = c.initial[k] + d * c.batch * p->width[k];
            one.gfinal[k] = c.gfinal[k] + d * c.batch * p->width[k];
        }
        cell_result want = run(p, law, rnn, &one),
                    got = { .dparams = all.dparams ? all.dparams + d * want.n_params : NULL };
        got.y = columns_of(p, all.y, &c, 2 * output, d * output, output, d == 1);
        got.dx = want.dx;
        add(dx, all.n_x, columns_of(p, want.dx, &c, input, 0, input, d == 1));
        for (int k = 0; p->report.ok && k < p->states; k++) {
            got.final[k] = all.final[k] + d * want.n_state[k];
            got.dinitial[k] = all.dinitial[k] + d * want.n_state[k];
        }
        near_result(p, law, &got, &want, apart_f64, apart_f64);
    }
    near(p, law, "the gradient of x", all.form_x, all.dx, dx, apart_f64);
}

/* Two calls, the second from the first one's states: explicit ones, or carried. */
static wf_var *two_calls(wf_tape *t, const cell_case *c, wf_var *x, const wf_rnn_call *call)
{
    wf_var *middle[WF_CELL_STATES], *half[2];
    wf_rnn_call first = *call, second = *call;
    first.final = middle;
    if (call->initial) second.initial = middle;
    half[0] = wf_rnn_forward(t, c->rnn, wf_slice(t, x, 0, 0, c->time / 2, 1), &first);
    half[1] = wf_rnn_forward(t, c->rnn, wf_slice(t, x, 0, c->time / 2, WF_LAST, 1), &second);
    return wf_concat(t, 0, (wf_vars){ 2, half });
}

static void check_halves(proof *p, const wf_rnn *rnn)
{
    const char *law = "halves through states against the whole";
    if (!p->report.ok || p->o.time < 2) return;
    cell_case c = case_new(p, 1, false);
    cell_result whole = run(p, law, rnn, &c);
    c.way = two_calls;
    cell_result halves = run(p, law, rnn, &c);
    near_result(p, law, &halves, &whole, apart_f64, apart_f64);

    law = "halves through a carry against the whole"; /* it ends the history: of values alone */
    c.carry = wf_carry_new(rnn, c.batch);
    if (!c.carry) fail(p, "out of memory");
    for (int64_t i = 0; p->report.ok && i < c.stacked * p->states; i++) {
        int64_t layer = i / p->states, k = i % p->states, row = c.batch * p->width[k];
        wf_tensor from = wf_tensor_of(WF_F64, WF_SHAPE(c.batch, p->width[k]),
                                      (void *)(uintptr_t)(c.initial[k] + layer * row));
        wf_tensor_copy(&from, wf_carry_state(c.carry, layer, 0, (int)k));
    }
    memset(c.initial, 0, sizeof c.initial);
    halves = run(p, law, rnn, &c);
    near(p, law, "y", whole.form_y, halves.y, whole.y, apart_f64);
    for (int k = 0; k < p->states; k++)
        near(p, law, "a final state", whole.form_state[k], halves.final[k], whole.final[k],
             apart_f64);
    wf_carry_free(c.carry);
}

/* The same step from a copy of the struct gives the same bits, and changes nothing that it was
 * given. */
static bool pure_on(proof *p, wf_tape *t, const wf_rnn *rnn)
{
    cell_case c = case_new(p, 1, false);
    const wf_cell *cell = p->cell;
    char *self[2] = { take(p, 1, cell->size), take(p, 1, cell->size) };
    if (!p->report.ok) return false;
    const wf_module *module = wf_rnn_module(rnn);
    if (p->o.prototype) memcpy(self[0], p->o.prototype, cell->size);
    for (const wf_cell_param *row = cell->params; row && row->name; row++) {
        char path[256];
        wf_format(path, sizeof path, "%s_l0", row->name);
        wf_var *param = wf_module_param_find(module, path);
        if (param) param = wf_enter(t, param, "its %s", row->name);
        memcpy(self[0] + row->offset, &param, sizeof param);
    }
    memcpy(self[1], self[0], cell->size);
    wf_var *x = cell_var(t, WF_F64, true, WF_SHAPE(c.batch, p->o.input), c.x),
           *before[WF_CELL_STATES], *after[2][WF_CELL_STATES];
    for (int k = 0; k < p->states; k++)
        before[k] = cell_var(t, WF_F64, true, WF_SHAPE(c.batch, p->width[k]), c.initial[k]);
    for (int i = 0; i < 2; i++) {
        memcpy(after[i], before, sizeof before);
        cell->step(t, self[i], x, after[i]);
        if (memcmp(self[i], self[!i], cell->size) != 0)
            return fail(p, "its step changes its struct");
        if (i == 0) memset(self[0], 0, cell->size), memcpy(self[0], self[1], cell->size);
    }
    if (!wf_tape_ok(t)) return fail(p, "%s", wf_tape_error(t));
    for (int i = 0; i < 2 * p->states; i++) {
        const wf_var *made = after[i % 2][i / 2];
        wf_shape want = wf_shape_of(before[i / 2]), got = wf_shape_of(made);
        /* A state of another form, or none: the layer says so when the gradients are checked. */
        if (!made || !wf_shape_equal(&want, &got) || wf_dtype_of(made) != WF_F64) return true;
    }
    for (int k = 0; k < p->states; k++) {
        double *a = leave(p, after[0][k]), *b = leave(p, after[1][k]), *was = leave(p, before[k]);
        if (!near(p, "a step again", "a state", wf_shape_of(before[k]), b, a, 0)) return false;
        if (!near(p, "after a step", "the state that was given", wf_shape_of(before[k]), was,
                  c.initial[k], 0))
            return false;
    }
    double *same = leave(p, x);
    return near(p, "after a step", "x", wf_shape_of(x), same, c.x, 0);
}

static void check_purity(proof *p, const wf_rnn *rnn)
{
    if (!p->report.ok) return;
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    if (t)
        pure_on(p, t, rnn);
    else
        fail(p, "out of memory");
    wf_tape_free(t);
}

/* ---- derivatives ---- */

typedef struct graded {
    const wf_rnn *rnn;
    int states;
} graded;

static bool graded_fn(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    const graded *g = context;
    wf_var *final[WF_CELL_STATES];
    out[0] = wf_rnn_forward(
        t, g->rnn, in[0],
        &(wf_rnn_call){ .initial = in + 1, .lengths = in[1 + g->states], .final = final });
    *n_out = 1;
    for (int k = 0; k < g->states && *n_out < 8; k++) out[(*n_out)++] = final[k];
    return wf_tape_ok(t);
}

/* Of the steps, in double, at three steps of two sequences: the whole Jacobian is taken by
 * differences. */
static void check_gradients(proof *p, const wf_rnn *rnn)
{
    if (!p->report.ok) return;
    enum { STEPS = 3, SEQUENCES = 2 };
    wf_tensor in[2 + WF_CELL_STATES];
    int32_t lengths[SEQUENCES] = { 2, STEPS };
    graded g = { rnn, p->states };
    in[0] = wf_tensor_of(WF_F64, WF_SHAPE(STEPS, SEQUENCES, p->o.input),
                         draw(p, STEPS * SEQUENCES * p->o.input, 1));
    for (int k = 0; k < p->states; k++) {
        in[1 + k] = wf_tensor_of(WF_F64, WF_SHAPE(p->layer.layers, SEQUENCES, p->width[k]),
                                 draw(p, p->layer.layers * SEQUENCES * p->width[k], 0.5));
    }
    in[1 + p->states] = wf_tensor_of(WF_I32, WF_SHAPE(SEQUENCES), lengths);
    wf_check_options o = p->o.check;
    o.module = wf_rnn_module(rnn);
    if (!p->report.ok) return;
    wf_report r = wf_gradcheck(graded_fn, &g, 2 + p->states, in, &o);
    p->report.checked += r.checked;
    if (r.worst > p->report.worst) p->report.worst = r.worst;
    if (!r.ok) fail(p, "gradients of its steps: %s", r.text);
}

/* What runs, a sequence of the cell's own or its loop, against one step after another. */
static void check_against_steps(proof *p, bool own)
{
    wf_rnn *steps = layer_new(p, WF_F64, true, true), *fast = layer_new(p, WF_F64, true, false),
           *fast_f32 = layer_new(p, WF_F32, true, false);
    const char *law = own ? "sequence against steps" : "loop against steps",
               *law_f32 = own ? "sequence in f32 against steps in f64"
                              : "loop in f32 against steps in f64";
    for (int ragged = 0; p->report.ok && ragged < 2; ragged++) {
        cell_case c = case_new(p, 2, ragged);
        cell_result want = run(p, law, steps, &c), got = run(p, law, fast, &c),
                    f32 = run(p, law_f32, fast_f32, &c);
        near_result(p, law, &got, &want, apart_f64, apart_f64);
        near_result(p, law_f32, &f32, &want, apart_f32, apart_grad_f32);
    }
}

wf_report cell_check_layer(const wf_cell *cell, const wf_cell_check_options *options,
                           int64_t layers, bool no_bias)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    proof p = { .cell = cell, .report = { .ok = true } };
    if (options) p.o = *options;
    const int64_t usual[5] = { 5, 4, 3, 6, p.o.hidden > 0 ? p.o.hidden : 6 };
    int64_t *const size[5] = { &p.o.time, &p.o.batch, &p.o.input, &p.o.hidden, &p.o.output };
    for (int i = 0; i < 5; i++) {
        if (*size[i] == 0) *size[i] = usual[i];
        if (*size[i] < 1) fail(&p, "the sizes to check it at must be 1 or more");
        if (*size[i] > INT16_MAX)
            fail(&p, "the sizes to check it at must be %d or less", INT16_MAX);
    }
    if (!p.report.ok) return p.report;
    p.layer = (wf_rnn_options){ .input = p.o.input,
                                .hidden = p.o.hidden,
                                .output = p.o.output,
                                .layers = layers,
                                .no_bias = no_bias,
                                .prototype = p.o.prototype };
    p.seed = wf_key_named(p.o.check.seed, "cell");
    p.states = cell ? cell_states(cell) : 0;
    for (int k = 0; k < p.states; k++)
        p.width[k] = cell_size(cell->states[k].width, p.o.input, p.o.hidden, p.o.output);

    /* The laws are about the steps, by a plan where there is one; a sequence of the cell's own is
     * held against them. */
    const bool own = cell && cell->sequence;
    wf_rnn *steps = layer_new(&p, WF_F64, false, own), *both = layer_new(&p, WF_F64, true, own);
    wf_rnn *steps_f32 = layer_new(&p, WF_F32, false, own);
    check_purity(&p, steps);
    check_gradients(&p, steps);
    check_ragged(&p, steps, 1);
    check_halves(&p, steps);
    if (p.report.ok) {
        const char *law = "f32 against f64";
        cell_case c = case_new(&p, 1, true);
        cell_result f64 = run(&p, law, steps, &c), f32 = run(&p, law, steps_f32, &c);
        near_result(&p, law, &f32, &f64, apart_f32, apart_grad_f32);
    }
    check_against_steps(&p, own);
    if (layers > 1) check_ragged(&p, both, 2); /* directions meet between layers */
    for (int ragged = 0; layers == 1 && ragged < 2; ragged++)
        check_direction(&p, steps, both, ragged); /* last: it overwrites parameters */

    for (int i = 0; i < p.nets; i++) wf_module_free(p.net[i]);
    cell_let_go(&p.memory);
    return p.report;
}

wf_report wf_cell_check(const wf_cell *cell, const wf_cell_check_options *options)
{
    return cell_check_layer(cell, options, 1, false);
}
