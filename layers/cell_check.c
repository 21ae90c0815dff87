/* Proves a cell: its derivatives against differences, and that the laws of recurrent layers hold
 * for it, through nothing but public functions, as a stranger's plugin would. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/text.h"

#include <stdarg.h>
#include <string.h>

enum { MOST_PARAMS = 64 };

/* How far two ways to the same numbers may be apart, relative to the largest: of sums in another
 * order, in double; of a value and of a derivative in float. */
static const double apart_f64 = 1e-10, apart_f32 = 1e-4, apart_grad_f32 = 1e-3;

/* Everything the proof takes, let go together. */
typedef struct block {
    struct block *next;
} block;

typedef struct lab {
    const wf_cell *cell;
    wf_cell_check_options o;
    wf_report report;
    block *blocks;
    wf_module *net[8];
    int nets, states;
    int64_t width[WF_CELL_STATES];
    uint64_t seed;
    int64_t draws;
} lab;

static bool fail(lab *l, const char *format, ...) WF_PRINTF(2, 3);
static bool fail(lab *l, const char *format, ...)
{
    if (!l->report.ok) return false;
    va_list arguments;
    va_start(arguments, format);
    char *text = l->report.text;
    const size_t bytes = sizeof l->report.text;
    wf_format(text, bytes, "cell '%s': ", l->cell && l->cell->name ? l->cell->name : "");
    size_t used = strlen(text);
    wf_vformat(text + used, bytes - used, format, arguments);
    va_end(arguments);
    l->report.ok = false;
    return false;
}

/* Zeroed memory, or NULL after failing. */
static void *take(lab *l, int64_t items, size_t size)
{
    block *b = l->report.ok ? wf_alloc_zero(WF_ALIGNMENT + (size_t)items * size + 1) : NULL;
    if (!b) {
        fail(l, "out of memory");
        return NULL;
    }
    b->next = l->blocks;
    l->blocks = b;
    return (char *)b + WF_ALIGNMENT;
}

/* Standard normals that are floats, so that both precisions begin with the same. */
static double *draw(lab *l, int64_t n, double scale)
{
    double *x = take(l, n, sizeof *x);
    uint64_t key = wf_key_with(l->seed, (uint64_t)++l->draws);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = (double)(float)(scale * wf_random_normal(key, (uint64_t)i));
    return x;
}

/* ---- layers ---- */

/* A layer in a tree of its own. Equal trees have equal values, which are floats in either
 * precision. */
static wf_rnn *layer_new(lab *l, wf_dtype dtype, bool both, bool stepwise)
{
    if (!l->report.ok) return NULL;
    const wf_rnn_options options = { .input = l->o.input,
                                     .hidden = l->o.hidden,
                                     .output = l->o.output,
                                     .bidirectional = both,
                                     .stepwise = stepwise,
                                     .cell = l->o.prototype };
    wf_module *net = wf_module_new("check",
                                   &(wf_module_options){ .seed = l->o.check.seed, .dtype = dtype });
    l->net[l->nets++] = net;
    wf_rnn *rnn = wf_rnn_new(net, "rnn", l->cell, &options);
    wf_error error = { { 0 } };
    if (!wf_module_ok(net, &error)) {
        fail(l, "%s", error.text);
        return NULL;
    }
    if (wf_module_param_count(net) > MOST_PARAMS) {
        fail(l, "it has more than %d parameters", MOST_PARAMS / 2);
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

/* Inputs and cotangents; initial and gfinal are (places, batch, width). */
typedef struct trial {
    int64_t time, batch, places;
    const int32_t *lengths;
    const double *x, *gy, *initial[WF_CELL_STATES], *gfinal[WF_CELL_STATES];
} trial;

typedef struct outcome {
    const wf_module *module; /* whose parameters these are the gradients of */
    wf_shape form_y, form_x, form_state[WF_CELL_STATES];
    int64_t n_y, n_x, n_state[WF_CELL_STATES], n_params;
    double *y, *dx, *final[WF_CELL_STATES], *dinitial[WF_CELL_STATES], *params;
} outcome;

static wf_var *enter(wf_tape *t, wf_dtype dtype, bool leaf, wf_shape shape, const double *values)
{
    wf_tensor to;
    const wf_tensor from = wf_tensor_over(WF_F64, shape, values);
    wf_var *v = wf_constant_fill(t, dtype, shape, &to);
    wf_tensor_copy(&from, &to);
    return v && leaf ? wf_leaf_tensor(t, &to) : v;
}

static double *leave(lab *l, const wf_var *v, int64_t *n)
{
    *n = wf_count(v);
    double *x = take(l, *n, sizeof *x);
    wf_tensor to = wf_tensor_of(WF_F64, wf_shape_of(v), x);
    if (x) wf_tensor_copy(wf_value(v), &to);
    return x;
}

static bool run_on(lab *l, wf_tape *t, const wf_rnn *rnn, const trial *c, outcome *o)
{
    const wf_module *module = wf_rnn_module(rnn);
    wf_dtype dtype = wf_module_dtype(module);
    wf_var *initial[WF_CELL_STATES], *final[WF_CELL_STATES], *out[1 + WF_CELL_STATES],
        *cotangent[1 + WF_CELL_STATES];
    wf_var *wrt[1 + WF_CELL_STATES + MOST_PARAMS], *grad[1 + WF_CELL_STATES + MOST_PARAMS];
    int params = (int)wf_module_param_count(module), n = 0;
    wrt[n++] = enter(t, dtype, true, WF_SHAPE(c->time, c->batch, l->o.input), c->x);
    for (int k = 0; k < l->states; k++) {
        wrt[n++] = initial[k] = enter(t, dtype, true, WF_SHAPE(c->places, c->batch, l->width[k]),
                                      c->initial[k]);
    }
    for (int i = 0; i < params; i++) wrt[n++] = wf_module_param_at(module, i);
    wf_var *lengths = c->lengths ? wf_constant(t, WF_I32, WF_SHAPE(c->batch), c->lengths) : NULL;
    out[0] = wf_rnn_forward(
        t, rnn, wrt[0], &(wf_rnn_call){ .lengths = lengths, .initial = initial, .final = final });
    if (!out[0]) return fail(l, "%s", wf_tape_error(t));
    cotangent[0] = enter(t, dtype, false, wf_shape_of(out[0]), c->gy);
    for (int k = 0; k < l->states; k++) {
        out[1 + k] = final[k];
        cotangent[1 + k] = enter(t, dtype, false, wf_shape_of(final[k]), c->gfinal[k]);
    }
    if (!wf_grad(t, 1 + l->states, out, cotangent, n, wrt, grad, NULL))
        return fail(l, "%s", wf_tape_error(t));
    o->module = module;
    o->form_y = wf_shape_of(out[0]);
    o->form_x = wf_shape_of(grad[0]);
    o->y = leave(l, out[0], &o->n_y);
    o->dx = leave(l, grad[0], &o->n_x);
    for (int k = 0; k < l->states; k++) {
        o->form_state[k] = wf_shape_of(final[k]);
        o->final[k] = leave(l, final[k], &o->n_state[k]);
        o->dinitial[k] = leave(l, grad[1 + k], &o->n_state[k]);
    }
    o->n_params = wf_module_weights(module);
    o->params = take(l, o->n_params, sizeof *o->params);
    for (int64_t i = 0, at = 0; o->params && i < params; i++) {
        const wf_var *g = grad[1 + l->states + i];
        wf_tensor to = wf_tensor_of(WF_F64, wf_shape_of(g), o->params + at);
        wf_tensor_copy(wf_value(g), &to);
        at += wf_count(g);
    }
    return l->report.ok;
}

/* An empty sequence leaves its initial state as it was, whatever that holds, and its gradient too.
 * Having been judged, both become 0: what is not finite has no place in the other laws. */
static bool settle_empty(lab *l, const char *law, const trial *c, const outcome *o)
{
    for (int64_t r = 0; c->lengths && l->report.ok && r < c->places * c->batch; r++) {
        if (c->lengths[r % c->batch] > 0) continue;
        for (int k = 0; k < l->states; k++) {
            for (int64_t i = r * l->width[k]; i < (r + 1) * l->width[k]; i++) {
                double got = o->final[k][i], want = c->initial[k][i];
                if (got != want && !(got != got && want != want)) {
                    return fail(l,
                                "%s: an empty sequence's final state is %.10g; expected its "
                                "initial one, %.10g",
                                law, got, want);
                }
                if (o->dinitial[k][i] != c->gfinal[k][i]) {
                    return fail(l,
                                "%s: the gradient of an empty sequence's initial state is %.10g; "
                                "expected that of its final one, %.10g",
                                law, o->dinitial[k][i], c->gfinal[k][i]);
                }
                o->final[k][i] = o->dinitial[k][i] = 0;
            }
        }
    }
    return l->report.ok;
}

static outcome run(lab *l, const char *law, const wf_rnn *rnn, const trial *c)
{
    outcome o;
    memset(&o, 0, sizeof o);
    if (!l->report.ok) return o;
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL, .rehearsal = true });
    if (!t)
        fail(l, "out of memory");
    else if (run_on(l, t, rnn, c, &o))
        settle_empty(l, law, c, &o);
    wf_tape_free(t);
    return o;
}

/* ---- comparing ---- */

static bool near(lab *l, const char *law, const char *what, wf_shape form, const double *got,
                 const double *want, double relative)
{
    double largest = 0;
    if (!l->report.ok) return false;
    int64_t n = 1;
    for (int d = 0; d < form.rank; d++) n *= form.dim[d];
    for (int64_t i = 0; i < n; i++) largest = __builtin_fmax(largest, __builtin_fabs(want[i]));
    if (largest == 0) largest = 1;
    for (int64_t i = 0; i < n; i++) {
        double off = __builtin_fabs(got[i] - want[i]) / largest;
        l->report.checked++;
        if (off > l->report.worst && relative <= apart_f64) l->report.worst = off;
        if (off <= relative) continue;
        char text[128];
        return fail(l, "%s: element %s of %s is %.10g; expected %.10g (the largest is %.3g)", law,
                    wf_index_text(text, sizeof text, form.rank, form.dim, i), what, got[i], want[i],
                    largest);
    }
    return true;
}

/* The gradients of all parameters, one behind the other. */
static bool near_params(lab *l, const char *law, const outcome *of, const double *got,
                        const double *want, double relative)
{
    int64_t n = wf_module_param_count(of->module), at = 0;
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        const wf_var *p = wf_module_param_at(of->module, i);
        char what[160];
        wf_format(what, sizeof what, "the gradient of %s", wf_param_path(p));
        ok = near(l, law, what, wf_shape_of(p), got + at, want + at, relative);
        at += wf_count(p);
    }
    return ok;
}

/* In the form of `want`. */
static bool near_outcome(lab *l, const char *law, const outcome *got, const outcome *want,
                         double value, double derivative)
{
    bool ok = l->report.ok && near(l, law, "y", want->form_y, got->y, want->y, value);
    ok = ok && near(l, law, "the gradient of x", want->form_x, got->dx, want->dx, derivative);
    ok = ok && near_params(l, law, want, got->params, want->params, derivative);
    for (int k = 0; ok && k < l->states; k++) {
        wf_shape form = want->form_state[k];
        ok = near(l, law, "a final state", form, got->final[k], want->final[k], value) &&
             near(l, law, "the gradient of an initial state", form, got->dinitial[k],
                  want->dinitial[k], derivative);
    }
    return ok;
}

/* ---- parts of arrays: (outer, n, inner) ---- */

/* Sequence b, its first `outer` steps. */
static double *sequence_of(lab *l, const double *x, int64_t outer, int64_t batch, int64_t inner,
                           int64_t b)
{
    double *y = x ? take(l, outer * inner, sizeof *y) : NULL;
    for (int64_t i = 0; y && i < outer; i++)
        memcpy(y + i * inner, x + (i * batch + b) * inner, (size_t)inner * sizeof *y);
    return y;
}

/* Columns first .. first + width - 1 of (time, batch, row); turned: each sequence's steps in the
 * other order. */
static double *columns_of(lab *l, const double *x, const trial *c, int64_t row, int64_t first,
                          int64_t width, bool turned)
{
    double *y = x ? take(l, c->time * c->batch * width, sizeof *y) : NULL;
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
static trial trial_new(lab *l, int64_t places, bool ragged)
{
    trial c = { .time = l->o.time, .batch = l->o.batch, .places = places };
    int64_t input = l->o.input, output = places * l->width[0];
    double *x = draw(l, c.time * c.batch * input, 1), *gy = draw(l, c.time * c.batch * output, 1),
           *initial[WF_CELL_STATES];
    for (int k = 0; k < l->states; k++) {
        c.initial[k] = initial[k] = draw(l, places * c.batch * l->width[k], 0.5);
        c.gfinal[k] = draw(l, places * c.batch * l->width[k], 1);
    }
    c.x = x;
    c.gy = gy;
    int32_t *lengths = ragged ? take(l, c.batch, sizeof *lengths) : NULL;
    for (int64_t b = 0; lengths && l->report.ok && b < c.batch; b++) {
        const int64_t some[4] = { c.time > 2 ? c.time - 2 : 1, c.time, 1, 0 };
        lengths[b] = (int32_t)some[b % 4];
        for (int64_t i = lengths[b]; i < c.time; i++) {
            spoil(x + (i * c.batch + b) * input, input);
            spoil(gy + (i * c.batch + b) * output, output);
        }
        for (int k = 0; lengths[b] == 0 && k < l->states; k++) {
            for (int64_t i = 0; i < places; i++)
                spoil(initial[k] + (i * c.batch + b) * l->width[k], l->width[k]);
        }
    }
    c.lengths = lengths;
    return c;
}

/* ---- the laws ---- */

static void check_ragged(lab *l, const wf_rnn *rnn)
{
    const char *law = "ragged against one at a time";
    trial c = trial_new(l, 1, true);
    outcome all = run(l, law, rnn, &c);
    double *params = take(l, all.n_params, sizeof *params);
    int64_t input = l->o.input, output = l->width[0];
    for (int64_t b = 0; l->report.ok && b < c.batch; b++) {
        int64_t steps = c.lengths[b];
        double *final[WF_CELL_STATES], *dinitial[WF_CELL_STATES];
        trial one = { .time = steps, .batch = 1, .places = 1 };
        for (int64_t i = steps * output; i < c.time * output; i++) {
            if (all.y[(i / output * c.batch + b) * output + i % output] == 0) continue;
            fail(l, "%s: past its end a sequence's output is not zero", law);
        }
        for (int64_t i = steps * input; i < c.time * input; i++) {
            if (all.dx[(i / input * c.batch + b) * input + i % input] == 0) continue;
            fail(l, "%s: past its end the gradient of x is not zero", law);
        }
        for (int k = 0; k < l->states; k++) {
            one.initial[k] = sequence_of(l, c.initial[k], 1, c.batch, l->width[k], b);
            one.gfinal[k] = sequence_of(l, c.gfinal[k], 1, c.batch, l->width[k], b);
            final[k] = sequence_of(l, all.final[k], 1, c.batch, l->width[k], b);
            dinitial[k] = sequence_of(l, all.dinitial[k], 1, c.batch, l->width[k], b);
        }
        if (steps == 0) continue;
        one.x = sequence_of(l, c.x, steps, c.batch, input, b);
        one.gy = sequence_of(l, c.gy, steps, c.batch, output, b);
        outcome alone = run(l, law, rnn, &one);
        outcome part = { .y = sequence_of(l, all.y, steps, c.batch, output, b),
                         .params = alone.params,
                         .dx = sequence_of(l, all.dx, steps, c.batch, input, b) };
        memcpy(part.final, final, sizeof final);
        memcpy(part.dinitial, dinitial, sizeof dinitial);
        near_outcome(l, law, &part, &alone, apart_f64, apart_f64);
        add(params, alone.n_params, alone.params);
    }
    if (l->report.ok) near_params(l, law, &all, all.params, params, apart_f64);
}

static void check_direction(lab *l, const wf_rnn *rnn, const wf_rnn *both, bool ragged)
{
    const char *law = "both directions against a run and a run on the flipped sequence";
    if (!l->report.ok) return;
    trial c = trial_new(l, 2, ragged);
    outcome all = run(l, law, both, &c);
    double *dx = take(l, all.n_x, sizeof *dx);
    int64_t input = l->o.input, output = l->width[0];
    for (int d = 0; l->report.ok && d < 2; d++) {
        copy_params(both, d, rnn);
        trial one = { .time = c.time, .batch = c.batch, .places = 1, .lengths = c.lengths };
        one.x = columns_of(l, c.x, &c, input, 0, input, d == 1);
        one.gy = columns_of(l, c.gy, &c, 2 * output, d * output, output, d == 1);
        for (int k = 0; k < l->states; k++) {
            one.initial[k] = c.initial[k] + d * c.batch * l->width[k];
            one.gfinal[k] = c.gfinal[k] + d * c.batch * l->width[k];
        }
        outcome want = run(l, law, rnn, &one),
                got = { .params = all.params ? all.params + d * want.n_params : NULL };
        got.y = columns_of(l, all.y, &c, 2 * output, d * output, output, d == 1);
        got.dx = want.dx;
        add(dx, all.n_x, columns_of(l, want.dx, &c, input, 0, input, d == 1));
        for (int k = 0; l->report.ok && k < l->states; k++) {
            got.final[k] = all.final[k] + d * want.n_state[k];
            got.dinitial[k] = all.dinitial[k] + d * want.n_state[k];
        }
        near_outcome(l, law, &got, &want, apart_f64, apart_f64);
    }
    near(l, law, "the gradient of x", all.form_x, all.dx, dx, apart_f64);
}

/* Two calls, the second from the first one's states: explicit ones with their gradients, or
 * carried. */
static bool halves_on(lab *l, wf_tape *t, const wf_rnn *rnn, const trial *c, wf_carry *carry,
                      const outcome *whole)
{
    const char *law = carry ? "halves through a carry against the whole"
                            : "halves through states against the whole";
    int64_t cut = c->time / 2, output = l->width[0], n;
    wf_var *x = enter(t, WF_F64, true, WF_SHAPE(c->time, c->batch, l->o.input), c->x), *half[2];
    wf_var *initial[WF_CELL_STATES], *middle[WF_CELL_STATES], *final[WF_CELL_STATES],
        *out[2 + WF_CELL_STATES], *cotangent[2 + WF_CELL_STATES];
    wf_var *wrt[1 + WF_CELL_STATES] = { x }, *grad[1 + WF_CELL_STATES];
    for (int k = 0; k < l->states; k++)
        wrt[1 + k] = initial[k] = enter(t, WF_F64, true, WF_SHAPE(1, c->batch, l->width[k]),
                                        c->initial[k]);
    half[0] = wf_rnn_forward(
        t, rnn, wf_slice(t, x, 0, 0, cut, 1),
        &(wf_rnn_call){ .carry = carry, .initial = carry ? NULL : initial, .final = middle });
    half[1] = wf_rnn_forward(
        t, rnn, wf_slice(t, x, 0, cut, WF_LAST, 1),
        &(wf_rnn_call){ .carry = carry, .initial = carry ? NULL : middle, .final = final });
    for (int i = 0; i < 2; i++) {
        if (!half[i]) return fail(l, "%s", wf_tape_error(t));
        int64_t from = i * cut * c->batch * output;
        double *y = leave(l, half[i], &n);
        if (!near(l, law, "y", wf_shape_of(half[i]), y, whole->y + from, apart_f64)) return false;
        out[i] = half[i];
        cotangent[i] = enter(t, WF_F64, false, wf_shape_of(half[i]), c->gy + from);
    }
    for (int k = 0; k < l->states; k++) {
        double *last = leave(l, final[k], &n);
        if (!near(l, law, "a final state", wf_shape_of(final[k]), last, whole->final[k], apart_f64))
            return false;
        out[2 + k] = final[k];
        cotangent[2 + k] = enter(t, WF_F64, false, wf_shape_of(final[k]), c->gfinal[k]);
    }
    if (carry) return true; /* which ends the history: there are no gradients to compare */
    if (!wf_grad(t, 2 + l->states, out, cotangent, 1 + l->states, wrt, grad, NULL))
        return fail(l, "%s", wf_tape_error(t));
    double *dx = leave(l, grad[0], &n);
    if (!near(l, law, "the gradient of x", whole->form_x, dx, whole->dx, apart_f64)) return false;
    for (int k = 0; k < l->states; k++) {
        double *d = leave(l, grad[1 + k], &n);
        if (!near(l, law, "the gradient of an initial state", whole->form_state[k], d,
                  whole->dinitial[k], apart_f64))
            return false;
    }
    return true;
}

static void check_halves(lab *l, const wf_rnn *rnn)
{
    if (!l->report.ok || l->o.time < 2) return;
    trial c = trial_new(l, 1, false);
    outcome whole = run(l, "halves against the whole", rnn, &c);
    wf_carry *carry = wf_carry_new(rnn, c.batch);
    for (int k = 0; carry && k < l->states; k++) {
        wf_tensor from = wf_tensor_of(WF_F64, WF_SHAPE(c.batch, l->width[k]),
                                      (void *)(uintptr_t)c.initial[k]);
        if (l->report.ok) wf_tensor_copy(&from, wf_carry_state(carry, 0, 0, k));
    }
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    if (!carry || !t) fail(l, "out of memory");
    if (l->report.ok && halves_on(l, t, rnn, &c, NULL, &whole)) {
        wf_tape_reset(t);
        halves_on(l, t, rnn, &c, carry, &whole);
    }
    wf_tape_free(t);
    wf_carry_free(carry);
}

/* The same step from a copy of the struct gives the same bits, and changes nothing that it was
 * given. */
static bool pure_on(lab *l, wf_tape *t, const wf_rnn *rnn)
{
    trial c = trial_new(l, 1, false);
    const wf_cell *cell = l->cell;
    char *self[2] = { take(l, 1, cell->size), take(l, 1, cell->size) };
    if (!l->report.ok) return false;
    const wf_module *module = wf_rnn_module(rnn);
    if (l->o.prototype) memcpy(self[0], l->o.prototype, cell->size);
    for (const wf_cell_param *p = cell->params; p && p->name; p++) {
        char path[256];
        wf_format(path, sizeof path, "%s_l0", p->name);
        wf_var *param = wf_module_param_find(module, path);
        if (param) param = wf_enter(t, param, "its %s", p->name);
        memcpy(self[0] + p->offset, &param, sizeof param);
    }
    memcpy(self[1], self[0], cell->size);
    wf_var *x = enter(t, WF_F64, true, WF_SHAPE(c.batch, l->o.input), c.x), *before[WF_CELL_STATES],
           *after[2][WF_CELL_STATES];
    for (int k = 0; k < l->states; k++)
        before[k] = enter(t, WF_F64, true, WF_SHAPE(c.batch, l->width[k]), c.initial[k]);
    for (int i = 0; i < 2; i++) {
        memcpy(after[i], before, sizeof before);
        cell->step(t, self[i], x, after[i]);
        if (memcmp(self[i], self[!i], cell->size) != 0)
            return fail(l, "its step changes its struct");
        if (i == 0) memset(self[0], 0, cell->size), memcpy(self[0], self[1], cell->size);
    }
    if (!wf_tape_ok(t)) return fail(l, "%s", wf_tape_error(t));
    for (int i = 0; i < 2 * l->states; i++) {
        const wf_var *made = after[i % 2][i / 2];
        wf_shape want = wf_shape_of(before[i / 2]), got = wf_shape_of(made);
        /* A state of another form, or none: the layer says so when the gradients are checked. */
        if (!made || !wf_shape_equal(&want, &got) || wf_dtype_of(made) != WF_F64) return true;
    }
    for (int k = 0; k < l->states; k++) {
        int64_t n;
        double *a = leave(l, after[0][k], &n), *b = leave(l, after[1][k], &n),
               *was = leave(l, before[k], &n);
        if (!near(l, "a step again", "a state", wf_shape_of(before[k]), b, a, 0)) return false;
        if (!near(l, "after a step", "the state that was given", wf_shape_of(before[k]), was,
                  c.initial[k], 0))
            return false;
    }
    int64_t n;
    double *same = leave(l, x, &n);
    return near(l, "after a step", "x", wf_shape_of(x), same, c.x, 0);
}

static void check_purity(lab *l, const wf_rnn *rnn)
{
    if (!l->report.ok) return;
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    if (t)
        pure_on(l, t, rnn);
    else
        fail(l, "out of memory");
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
static void check_gradients(lab *l, const wf_rnn *rnn)
{
    if (!l->report.ok) return;
    enum { STEPS = 3, SEQUENCES = 2 };
    wf_tensor in[2 + WF_CELL_STATES];
    int32_t lengths[SEQUENCES] = { 2, STEPS };
    graded g = { rnn, l->states };
    in[0] = wf_tensor_of(WF_F64, WF_SHAPE(STEPS, SEQUENCES, l->o.input),
                         draw(l, STEPS * SEQUENCES * l->o.input, 1));
    for (int k = 0; k < l->states; k++) {
        in[1 + k] = wf_tensor_of(WF_F64, WF_SHAPE(1, SEQUENCES, l->width[k]),
                                 draw(l, SEQUENCES * l->width[k], 0.5));
    }
    in[1 + l->states] = wf_tensor_of(WF_I32, WF_SHAPE(SEQUENCES), lengths);
    wf_check_options o = l->o.check;
    o.module = wf_rnn_module(rnn);
    if (!l->report.ok) return;
    wf_report r = wf_gradcheck(graded_fn, &g, 2 + l->states, in, &o);
    l->report.checked += r.checked;
    if (r.worst > l->report.worst) l->report.worst = r.worst;
    if (!r.ok) fail(l, "gradients of its steps: %s", r.text);
}

wf_report wf_cell_check(const wf_cell *cell, const wf_cell_check_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    lab l = { .cell = cell, .report = { .ok = true } };
    if (options) l.o = *options;
    const int64_t usual[5] = { 5, 4, 3, 6, l.o.hidden > 0 ? l.o.hidden : 6 };
    int64_t *const size[5] = { &l.o.time, &l.o.batch, &l.o.input, &l.o.hidden, &l.o.output };
    for (int i = 0; i < 5; i++) {
        if (*size[i] == 0) *size[i] = usual[i];
        if (*size[i] < 1) fail(&l, "the sizes to check it at must be 1 or more");
        if (*size[i] > INT16_MAX)
            fail(&l, "the sizes to check it at must be %d or less", INT16_MAX);
    }
    if (!l.report.ok) return l.report;
    l.seed = wf_key_named(l.o.check.seed, "cell");
    l.states = cell ? cell_states(cell) : 0;
    for (int k = 0; k < l.states; k++)
        l.width[k] = cell_size(cell->states[k].width, l.o.input, l.o.hidden, l.o.output);

    wf_rnn *steps = layer_new(&l, WF_F64, false, true), *both = layer_new(&l, WF_F64, true, true);
    wf_rnn *steps_f32 = layer_new(&l, WF_F32, false, true);
    check_purity(&l, steps);
    check_gradients(&l, steps);
    check_ragged(&l, steps);
    check_halves(&l, steps);
    if (l.report.ok) {
        const char *law = "f32 against f64";
        trial c = trial_new(&l, 1, true);
        outcome f64 = run(&l, law, steps, &c), f32 = run(&l, law, steps_f32, &c);
        near_outcome(&l, law, &f32, &f64, apart_f32, apart_grad_f32);
    }
    if (l.report.ok && cell->sequence) {
        wf_rnn *fast = layer_new(&l, WF_F64, true, false),
               *fast_f32 = layer_new(&l, WF_F32, true, false);
        for (int ragged = 0; l.report.ok && ragged < 2; ragged++) {
            trial c = trial_new(&l, 2, ragged);
            const char *law = "sequence against steps",
                       *law_f32 = "sequence in f32 against steps in f64";
            outcome want = run(&l, law, both, &c), got = run(&l, law, fast, &c),
                    f32 = run(&l, law_f32, fast_f32, &c);
            near_outcome(&l, law, &got, &want, apart_f64, apart_f64);
            near_outcome(&l, law_f32, &f32, &want, apart_f32, apart_grad_f32);
        }
    }
    check_direction(&l, steps, both, false); /* last: it overwrites parameters */
    check_direction(&l, steps, both, true);

    for (int i = 0; i < l.nets; i++) wf_module_free(l.net[i]);
    while (l.blocks) {
        block *next = l.blocks->next;
        wf_release(l.blocks);
        l.blocks = next;
    }
    return l.report;
}
