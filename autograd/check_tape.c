/* A row on a tape: the engine hands its kernels what views, repetition and company make of
 * inputs, and differentiates its derivative. */
#include "autograd/check_row_private.h"
#include "autograd/ops.h"
#include "autograd/private.h"
#include "autograd/views.h"

#include "tensor/rng.h"
#include "tensor/text.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { ALL = 0xffff };

void check_tape_begin(op_check *k)
{
    wf_tape_reset(k->t);
    wf_tape_set_step(k->t, 1);
}

bool check_tape_failed(op_check *k, const char *check)
{
    return check_fail(k->report, "%s: %s: %s", k->c.who, check,
                      *wf_tape_error(k->t) ? wf_tape_error(k->t) : "it failed without a sentence");
}

/* Puts numbers where a var sees them. The memory is the tape's; only a var just made is written. */
static void write_values(wf_var *x, const double *value)
{
    const wf_tensor *v = wf_value(x);
    int64_t n = v ? wf_tensor_count(v) : 0;
    for (int64_t j = 0; j < n; j++) {
        int64_t at = wf_tensor_offset(v, v->rank, j);
        if (v->dtype == WF_I32)
            ((int32_t *)v->data)[at] = (int32_t)value[j];
        else
            ((double *)v->data)[at] = value[j];
    }
}

wf_var *check_tape_input(op_check *k, int i, const double *value, bool leaf)
{
    const check_case *c = &k->c;
    wf_dtype dtype = c->in.floats[i] ? WF_F64 : WF_I32;
    wf_var *x = (c->in.floats[i] && leaf ? wf_leaf : wf_constant)(k->t, dtype, c->in.shape[i],
                                                                  NULL);
    write_values(x, value);
    return x;
}

static void check_tape_enter(op_check *k, double *const value[], uint32_t leaves, check_taped *r)
{
    const check_case *c = &k->c;
    check_tape_begin(k);
    for (int i = 0; i < c->n_in; i++) {
        const bool leaf = leaves >> i & 1;
        r->in[i] = c->given[i] ? check_tape_input(k, i, value ? value[i] : c->value[i], leaf)
                               : NULL;
        if (c->in.floats[i] && leaf) wf_keep_grad(k->t, r->in[i]);
    }
    r->ins = floats_list(&c->in, leaves, r->in, r->by);
}

static bool check_tape_run(op_check *k, bool reference, check_taped *r)
{
    const check_case *c = &k->c;
    const void *attr = c->sample->attr.bytes;
    memset(r->out, 0, sizeof r->out);
    if (!reference) return wf_apply(k->t, k->op, c->n_in, r->in, attr, r->out);
    return k->op->reference(k->t, &(wf_reference){ .op = k->op,
                                                   .n_in = c->n_in,
                                                   .n_out = c->visible,
                                                   .in = r->in,
                                                   .attr = attr,
                                                   .out = r->out });
}

bool check_tape_apply(op_check *k, bool reference, double *const value[], uint32_t leaves,
                      check_taped *r)
{
    check_tape_enter(k, value, leaves, r);
    return check_tape_run(k, reference, r);
}

void check_tape_sources(op_check *k, check_taped *r, uint32_t present, const double *cotangent,
                        bool leaves)
{
    r->outs = floats_list(&k->c.out, present, r->out, r->from);
    floats_enter(&k->c.out, present, k->t, cotangent, leaves, r->with);
}

bool check_tape_grad(op_check *k, const char *check, uint32_t wanted, bool graph, check_taped *r,
                     wf_var *grad[], double *got)
{
    if (!wf_grad(k->t, r->outs, r->from, r->with, r->ins, r->by, grad,
                 &(wf_grad_options){ .create_graph = graph }))
        return check_tape_failed(k, check);
    floats_read(&k->c.in, wanted, grad, got);
    return true;
}

/* Sweeps from all outputs with the case's cotangents. */
static bool sweep(op_check *k, check_taped *r)
{
    check_tape_sources(k, r, ALL, k->cotangent, false);
    return wf_backward_from(k->t, r->outs, r->from, r->with);
}

bool check_tape_first(op_check *k)
{
    check_taped r;
    if (!check_tape_apply(k, false, NULL, ALL, &r)) return check_tape_failed(k, "on a tape");
    if (!(k->op->flags & WF_OP_RANDOM)) return true;
    const node *n = r.out[0]->producer;
    if (!n) return check_fail(k->report, "%s: a random row takes an input of floats", k->c.who);
    k->c.key = k->harness.call.key = n->key;
    k->c.counter = k->harness.call.counter = n->counter;
    return true;
}

/* ---- the sweep ---- */

/* Each input as the only one that is differentiable. */
static bool check_alone(op_check *k)
{
    const check_case *c = &k->c;
    const char *check = "on a tape, the other inputs constant";
    double *got = k->work[0];
    const uint32_t inputs = floats_mask(&c->in);
    check_taped r;
    for (int i = 0; i < c->n_in; i++) {
        check_floats one = c->in;
        for (int j = 0; j < c->n_in; j++) one.floats[j] &= j == i;
        if (!c->in.floats[i] || inputs == floats_mask(&one)) continue;
        if (!check_tape_apply(k, false, NULL, floats_mask(&one), &r) || !sweep(k, &r))
            return check_tape_failed(k, check);
        floats_gradients(&one, r.in, got);
        if (!floats_equal(&one, check, got, "swept", k->gradient, "kernel")) return false;
    }
    return true;
}

/* How an input comes to the op on the tape. */
typedef enum approach { PLAIN, TRANSPOSED, STEPPED, WINDOW, SAME } approach;

typedef struct route {
    approach by[CHECK_VARS];
    int same_as[CHECK_VARS];   /* SAME: the very var of that input */
    double *value[CHECK_VARS]; /* NULL: the case's own */
} route;

/* A leaf of NaN with a view into it that is shaped like the input; *base is the leaf. */
static wf_var *view_input(op_check *k, int i, approach by, const double *value, wf_var **base)
{
    const check_case *c = &k->c;
    wf_shape shape = c->in.shape[i];
    int last = shape.rank - 1;
    if (by == TRANSPOSED) {
        shape.dim[last] = c->in.shape[i].dim[last - 1];
        shape.dim[last - 1] = c->in.shape[i].dim[last];
    } else if (by == STEPPED) {
        shape.dim[last] = 2 * shape.dim[last] + 1;
        if (last > 0) shape.dim[0] = 3 * shape.dim[0] + 2;
    } else if (by == WINDOW) {
        shape.dim[last - 1] += shape.dim[last] - 1;
        shape.rank--;
    }
    wf_dtype dtype = c->in.floats[i] ? WF_F64 : WF_I32;
    wf_var *x = *base = (c->in.floats[i] ? wf_leaf : wf_constant)(k->t, dtype, shape, NULL);
    if (!x) return NULL;
    /* All ones is NaN, and no id: what the view does not show must not be read. */
    memset(wf_value(x)->data, 0xff, (size_t)(wf_count(x) * wf_dtype_size(dtype)));
    if (c->in.floats[i]) wf_keep_grad(k->t, x);
    if (by == TRANSPOSED) {
        x = wf_transpose(k->t, x, -1, -2);
    } else if (by == STEPPED) {
        x = wf_slice(k->t, x, -1, 1, WF_LAST, 2);
        if (last > 0) x = wf_slice(k->t, x, 0, 1, -1, 3);
    } else if (by == WINDOW) {
        x = wf_window(k->t, x, last - 1, c->in.shape[i].dim[last], 1);
    }
    write_values(x, value);
    return x;
}

/* The row on a tape, its inputs on these routes, against the kernels on the same values laid out
 * plainly. */
static bool check_route(op_check *k, const char *check, const route *r)
{
    const check_case *c = &k->c;
    double *want = k->work[0], *got = k->work[1], *y = k->work[2];
    check_taped made;
    wf_var **in = made.in, *base[CHECK_VARS];
    struct check_block *until = k->pool.last;
    check_harness *plain = harness_new(c, WF_F64, NULL, r->value);
    if (!plain || !harness_forward(plain) || !harness_sweep(plain, k->cotangent, want))
        return false;
    harness_outputs(plain, y);
    check_tape_begin(k);
    for (int i = 0; i < c->n_in; i++) {
        in[i] = base[i] = NULL;
        if (!c->given[i]) continue;
        if (r->by[i] == SAME)
            in[i] = in[r->same_as[i]];
        else
            in[i] = view_input(k, i, r->by[i], r->value[i] ? r->value[i] : c->value[i], &base[i]);
    }
    if (!check_tape_run(k, false, &made) || !sweep(k, &made)) return check_tape_failed(k, check);
    floats_values(&c->out, made.out, got);
    bool ok = floats_equal(&c->out, check, got, "on the tape", y, "kernel");

    for (int i = 0; ok && i < c->n_in; i++) {
        if (!c->in.floats[i] || r->by[i] == SAME) continue;
        int64_t n = wf_count(base[i]);
        double *whole = check_doubles(&k->pool, 2 * n);
        if (!whole) return check_no_memory(k);
        /* Every element of the view adds to the element of the leaf that it shows. */
        for (int j = i; j < c->n_in; j++) {
            if (j != i && (r->by[j] != SAME || r->same_as[j] != i)) continue;
            const wf_tensor *v = wf_value(in[i]);
            int64_t first = (const double *)v->data - (const double *)wf_data(base[i]);
            for (int64_t e = 0; e < c->in.count[i]; e++)
                whole[first + wf_tensor_offset(v, v->rank, e)] += want[c->in.at[j] + e];
        }
        check_gradient(base[i], n, whole + n);
        const wf_shape form = wf_shape_of(base[i]);
        check_comparison s = { .who = c->who,
                               .check = check,
                               .role = "leaf of input",
                               .index = i,
                               .got = "swept",
                               .want = "kernel",
                               .form = &form };
        ok = check_near(k->report, &s, n, whole + n, whole, 1e-12, 1e-14);
    }
    check_let_go(&k->pool, until);
    return ok;
}

/* Sliding windows: position p of the window shows the leaf from p on. */
static bool check_window(op_check *k, int i)
{
    const check_case *c = &k->c;
    const wf_shape *shape = &c->in.shape[i];
    if (!c->in.floats[i] || shape->rank < 2 || c->in.count[i] == 0) return true;
    int64_t size = shape->dim[shape->rank - 1], positions = shape->dim[shape->rank - 2];
    route r = { .by = { PLAIN } };
    r.by[i] = WINDOW;
    r.value[i] = check_doubles(&k->pool, c->in.count[i]);
    if (!r.value[i]) return check_no_memory(k);
    for (int64_t e = 0; e < c->in.count[i]; e++) {
        int64_t at = e / size % positions + e % size;
        r.value[i][e] = c->value[i][e / (size * positions) * size * positions + at];
    }
    char check[96];
    wf_format(check, sizeof check, "on a tape, input %d a sliding window", i);
    return check_route(k, check, &r);
}

/* The same var for two inputs of one shape; its values are drawn for whichever of them is the
 * more delicate. */
static bool check_same(op_check *k, int i, int j)
{
    const check_case *c = &k->c;
    if (!c->in.floats[i] || !c->in.floats[j] || !wf_shape_equal(&c->in.shape[i], &c->in.shape[j]))
        return true;
    bool second = c->sample->in[j].gap > c->sample->in[i].gap ||
                  c->sample->in[j].low > c->sample->in[i].low;
    route r = { .by = { PLAIN } };
    r.by[j] = SAME;
    r.same_as[j] = i;
    r.value[i] = r.value[j] = c->value[second ? j : i];
    char check[96];
    wf_format(check, sizeof check, "on a tape, inputs %d and %d the same var", i, j);
    return check_route(k, check, &r);
}

/* Every input is used by another op before this one and after it: gradients must add up. */
static bool check_company(op_check *k)
{
    const check_case *c = &k->c;
    const char *check = "on a tape, inputs used before and after";
    check_taped r;
    wf_var *w[CHECK_VARS], *from[3 * CHECK_VARS], *with[3 * CHECK_VARS] = { 0 };
    double *weight[2] = { k->work[0], k->work[1] }, *got = k->work[2];
    int n = 0;
    check_draw(k->key, "company, before", c->in.all, weight[0]);
    check_draw(k->key, "company, after", c->in.all, weight[1]);
    check_tape_enter(k, NULL, ALL, &r);
    for (int turn = 0; turn < 2; turn++) {
        floats_enter(&c->in, ALL, k->t, weight[turn], false, w);
        for (int i = 0; i < r.ins; i++) from[n++] = wf_sum(k->t, wf_mul(k->t, r.by[i], w[i]), NULL);
        if (turn == 0) check_tape_run(k, false, &r);
    }
    check_tape_sources(k, &r, ALL, k->cotangent, false);
    memcpy(from + n, r.from, (size_t)r.outs * sizeof *from);
    memcpy(with + n, r.with, (size_t)r.outs * sizeof *with);
    if (!wf_backward_from(k->t, n + r.outs, from, with)) return check_tape_failed(k, check);
    floats_gradients(&c->in, r.in, got);
    for (int64_t j = 0; j < c->in.all; j++) weight[0][j] += weight[1][j] + k->gradient[j];
    return floats_equal(&c->in, check, got, "swept", weight[0], "sum of three");
}

bool check_tape(op_check *k)
{
    static const char *const name[3] = { "on a tape", "on a tape, inputs transposed",
                                         "on a tape, inputs stepped slices" };
    const check_case *c = &k->c;
    if (!k->sweeps) return true;
    for (int kind = PLAIN; kind <= STEPPED; kind++) {
        route r = { .by = { PLAIN } };
        int viewed = 0;
        for (int i = 0; i < c->n_in; i++) {
            if (c->in.shape[i].rank < (kind == TRANSPOSED ? 2 : 1)) continue;
            r.by[i] = (approach)kind;
            viewed++;
        }
        if ((kind == PLAIN || viewed) && !check_route(k, name[kind], &r)) return false;
    }
    if (!check_alone(k) || !check_company(k)) return false;
    for (int i = 0; i < c->n_in; i++) {
        if (!check_window(k, i)) return false;
        for (int j = i + 1; j < c->n_in; j++)
            if (!check_same(k, i, j)) return false;
    }
    return true;
}

/* ---- the derivative differentiated ---- */

/* <backward, direction> at the harness's present inputs. */
static double slope(op_check *k, const double *direction, double *gradient)
{
    harness_forward_fast(&k->harness);
    harness_backward_fast(&k->harness, gradient);
    double sum = 0;
    for (int64_t j = 0; j < k->c.in.all; j++) sum += direction[j] * gradient[j];
    return sum;
}

/* Second derivatives of <backward, direction> by the inputs, from the tape, against differences. */
static bool second_near(op_check *k, const double *direction, const double *got)
{
    const check_case *c = &k->c;
    double *want = k->work[4], *gradient = k->work[5], weight = 0;
    /* Leaves all cotangents in place for the harness's fast calls. */
    if (!harness_forward(&k->harness) || !harness_sweep(&k->harness, k->cotangent, gradient))
        return false;
    for (int64_t j = 0; j < c->in.all; j++) weight += fabs(direction[j] * gradient[j]);
    for (int i = 0; i < c->n_in; i++)
        for (int64_t e = 0; c->in.floats[i] && e < c->in.count[i]; e++) {
            double *x = harness_element(&k->harness, i, e), at = *x, f[4];
            double h = check_step(k->step, at);
            for (int p = 0; p < 4; p++) {
                *x = check_point(at, h, p);
                f[p] = slope(k, direction, gradient);
            }
            *x = at;
            want[c->in.at[i] + e] = check_difference(f, h);
        }
    harness_forward_fast(&k->harness);
    return floats_near(&c->in, "second derivative by the inputs", got, "tape", want, "differences",
                       k->tolerance, check_noise(k, weight) + 8 * DBL_EPSILON);
}

/* By the cotangents it is the Jacobian times the direction. */
static bool mixed_near(op_check *k, const double *direction, const double *got)
{
    const check_case *c = &k->c;
    double *want = k->work[4], *y = k->work[5];
    for (int64_t r = 0; r < c->out.all; r++) {
        want[r] = 0;
        for (int64_t j = 0; j < c->in.all; j++)
            want[r] += k->jacobian[r * c->in.all + j] * direction[j];
    }
    harness_outputs(&k->harness, y);
    double weight = check_largest(c->out.all, y) * (double)c->in.all;
    return floats_near(&c->out, "derivative of the gradient by the cotangents", got, "tape", want,
                       "differences", k->tolerance, check_noise(k, weight) + 8 * DBL_EPSILON);
}

static bool check_graph(op_check *k)
{
    const check_case *c = &k->c;
    const char *check = "gradient";
    double *got = k->work[0], *direction = k->work[1], *second = k->work[2], *mixed = k->work[3];
    double *built = k->work[4];
    check_taped r;
    wf_var *grad[CHECK_VARS], *swept[CHECK_VARS], *toward[CHECK_VARS], *twice[2 * CHECK_VARS];
    if (!check_tape_apply(k, false, NULL, ALL, &r)) return check_tape_failed(k, check);
    check_tape_sources(k, &r, ALL, k->cotangent, true);
    if (!check_tape_grad(k, check, ALL, true, &r, grad, built) ||
        !check_tape_grad(k, check, ALL, false, &r, swept, got) ||
        !floats_equal(&c->in, "wf_grad by value", got, "wf_grad", k->gradient, "backward") ||
        !floats_equal(&c->in, "gradient by value", built, "gradient", k->gradient, "backward"))
        return false;
    check_draw(k->key, "direction", c->in.all, direction);
    floats_enter(&c->in, ALL, k->t, direction, false, toward);
    memcpy(r.by + r.ins, r.with, (size_t)r.outs * sizeof *r.by);
    if (!wf_grad(k->t, r.ins, grad, toward, r.ins + r.outs, r.by, twice, NULL))
        return check_tape_failed(k, "second derivative");
    floats_read(&c->in, ALL, twice, second);
    floats_read(&c->out, ALL, twice + r.ins, mixed);
    return second_near(k, direction, second) && mixed_near(k, direction, mixed);
}

/* The slow spelling gives the same values and the same gradients. */
static bool check_reference(op_check *k)
{
    const check_case *c = &k->c;
    const char *check = "reference";
    double *want = k->work[0], *got = k->work[1];
    check_taped r;
    if (!check_tape_apply(k, true, NULL, ALL, &r)) return check_tape_failed(k, check);
    for (int o = 0; o < c->visible; o++) {
        wf_shape shape = wf_shape_of(r.out[o]);
        if (!r.out[o] || !wf_shape_equal(&shape, &c->out.shape[o]))
            return check_fail(k->report, "%s: the reference gives output %d another shape", c->who,
                              o);
    }
    harness_outputs(&k->harness, want);
    floats_values(&c->out, r.out, got);
    if (!floats_equal(&c->out, check, got, "reference", want, "forward")) return false;
    if (!k->sweeps) return true;
    if (!sweep(k, &r)) return check_tape_failed(k, check);
    floats_gradients(&c->in, r.in, got);
    return floats_equal(&c->in, "reference differentiated", got, "reference", k->gradient,
                        "backward");
}

bool check_orders(op_check *k)
{
    if (k->op->reference && !check_reference(k)) return false;
    return !k->sweeps || check_graph(k);
}
