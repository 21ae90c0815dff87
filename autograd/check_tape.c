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

/* A gradient as row-major doubles; zeros where none arrived. */
static void gradient_of(const wf_var *x, int64_t n, double *out)
{
    const wf_tensor *g = wf_grad_of(x);
    for (int64_t j = 0; j < n; j++) out[j] = g ? wf_tensor_at(g, j) : 0;
}

static void values_of(const op_check *k, wf_var *const out[], double *y)
{
    for (int o = 0; o < k->c.visible; o++)
        for (int64_t j = 0; k->c.active[o] && j < k->c.out_count[o]; j++)
            y[k->c.row[o] + j] = wf_at(out[o], j);
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
    wf_dtype dtype = c->differs[i] ? WF_F64 : WF_I32;
    wf_var *x = (c->differs[i] && leaf ? wf_leaf : wf_constant)(k->t, dtype, c->in_shape[i], NULL);
    write_values(x, value);
    return x;
}

bool check_tape_apply(op_check *k, uint32_t leaves, wf_var *in[], wf_var *out[])
{
    const check_case *c = &k->c;
    check_tape_begin(k);
    for (int i = 0; i < c->n_in; i++) {
        bool leaf = leaves >> i & 1;
        in[i] = c->given[i] ? check_tape_input(k, i, c->value[i], leaf) : NULL;
        if (c->differs[i] && leaf) wf_keep_grad(k->t, in[i]);
    }
    return wf_apply(k->t, k->op, c->n_in, in, c->sample->attr.bytes, out);
}

bool check_tape_reference(op_check *k, wf_var *const in[], wf_var *out[])
{
    return k->op->reference(k->t, &(wf_reference){ .op = k->op,
                                                   .n_in = k->c.n_in,
                                                   .n_out = k->c.visible,
                                                   .in = in,
                                                   .attr = k->c.sample->attr.bytes,
                                                   .out = out });
}

/* Sweeps from all active outputs with the case's cotangents, and from n sums. */
static bool sweep(op_check *k, wf_var *const out[], int n, wf_var *const sum[])
{
    const check_case *c = &k->c;
    wf_var *from[3 * CHECK_VARS], *with[3 * CHECK_VARS];
    int all = 0;
    for (int o = 0; o < c->visible; o++) {
        if (!c->active[o]) continue;
        from[all] = out[o];
        with[all++] = wf_constant(k->t, WF_F64, c->out_shape[o], k->cotangent + c->row[o]);
    }
    for (int i = 0; i < n; i++) {
        from[all] = sum[i];
        with[all++] = NULL;
    }
    return wf_backward_from(k->t, all, from, with);
}

bool check_tape_first(op_check *k)
{
    wf_var *in[CHECK_VARS], *out[CHECK_VARS];
    if (!check_tape_apply(k, ALL, in, out)) return check_tape_failed(k, "on a tape");
    if (!(k->op->flags & WF_OP_RANDOM)) return true;
    const node *n = out[0]->producer;
    if (!n) return check_fail(k->report, "%s: a random row takes an input of floats", k->c.who);
    k->c.key = k->harness.call.key = n->key;
    k->c.counter = k->harness.call.counter = n->counter;
    return true;
}

/* ---- the sweep ---- */

/* Each input as the only one that is differentiable. */
static bool check_alone(op_check *k, double *got)
{
    const check_case *c = &k->c;
    wf_var *in[CHECK_VARS], *out[CHECK_VARS];
    int floats = 0;
    for (int i = 0; i < c->n_in; i++) floats += c->differs[i];
    for (int i = 0; floats > 1 && i < c->n_in; i++) {
        if (!c->differs[i]) continue;
        const char *check = "on a tape, the other inputs constant";
        if (!check_tape_apply(k, UINT32_C(1) << i, in, out) || !sweep(k, out, 0, NULL))
            return check_tape_failed(k, check);
        gradient_of(in[i], c->in_count[i], got);
        check_comparison s = { c->who,   check, "input",
                               NULL,     i,     "swept",
                               "kernel", 0,     .form = &c->in_shape[i] };
        if (!check_near(k->report, &s, c->in_count[i], got, k->gradient + c->column[i], 1e-12,
                        1e-14))
            return false;
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
    wf_shape shape = c->in_shape[i];
    int last = shape.rank - 1;
    if (by == TRANSPOSED) {
        shape.dim[last] = c->in_shape[i].dim[last - 1];
        shape.dim[last - 1] = c->in_shape[i].dim[last];
    } else if (by == STEPPED) {
        shape.dim[last] = 2 * shape.dim[last] + 1;
        if (last > 0) shape.dim[0] = 3 * shape.dim[0] + 2;
    } else if (by == WINDOW) {
        shape.dim[last - 1] += shape.dim[last] - 1;
        shape.rank--;
    }
    wf_dtype dtype = c->differs[i] ? WF_F64 : WF_I32;
    wf_var *x = *base = (c->differs[i] ? wf_leaf : wf_constant)(k->t, dtype, shape, NULL);
    if (!x) return NULL;
    /* All ones is NaN, and no id: what the view does not show must not be read. */
    memset(wf_value(x)->data, 0xff, (size_t)(wf_count(x) * wf_dtype_size(dtype)));
    if (c->differs[i]) wf_keep_grad(k->t, x);
    if (by == TRANSPOSED) {
        x = wf_transpose(k->t, x, -1, -2);
    } else if (by == STEPPED) {
        x = wf_slice(k->t, x, -1, 1, WF_LAST, 2);
        if (last > 0) x = wf_slice(k->t, x, 0, 1, -1, 3);
    } else if (by == WINDOW) {
        x = wf_window(k->t, x, last - 1, c->in_shape[i].dim[last], 1);
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
    wf_var *in[CHECK_VARS], *base[CHECK_VARS], *out[CHECK_VARS];
    struct check_block *until = k->pool.last;
    check_harness *plain = harness_new(&k->pool);
    if (!plain) return check_no_memory(k);
    bool ok = harness_set(plain, c, WF_F64, NULL, r->value, &k->pool, k->report) &&
              harness_forward(plain, k->report) &&
              harness_backward(plain, k->cotangent, ALL, ALL, want, k->report);
    if (!ok) return false;
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
    if (!wf_apply(k->t, k->op, c->n_in, in, c->sample->attr.bytes, out) || !sweep(k, out, 0, NULL))
        return check_tape_failed(k, check);
    values_of(k, out, got);
    ok = rows_near(k, check, got, "on the tape", y, "kernel", 1e-12, 1e-14);

    for (int i = 0; ok && i < c->n_in; i++) {
        if (!c->differs[i] || r->by[i] == SAME) continue;
        int64_t n = wf_count(base[i]);
        double *whole = check_take(&k->pool, 2 * n * (int64_t)sizeof(double));
        if (!whole) return check_no_memory(k);
        /* Every element of the view adds to the element of the leaf that it shows. */
        for (int j = i; j < c->n_in; j++) {
            if (j != i && (r->by[j] != SAME || r->same_as[j] != i)) continue;
            const wf_tensor *v = wf_value(in[i]);
            int64_t first = (const double *)v->data - (const double *)wf_data(base[i]);
            for (int64_t e = 0; e < c->in_count[i]; e++)
                whole[first + wf_tensor_offset(v, v->rank, e)] += want[c->column[j] + e];
        }
        gradient_of(base[i], n, whole + n);
        const wf_shape form = wf_shape_of(base[i]);
        check_comparison s = { c->who,   check, "leaf of input", NULL, i, "swept",
                               "kernel", 0,     .form = &form };
        ok = check_near(k->report, &s, n, whole + n, whole, 1e-12, 1e-14);
    }
    check_let_go(&k->pool, until);
    return ok;
}

/* Sliding windows: position p of the window shows the leaf from p on. */
static bool check_window(op_check *k, int i)
{
    const check_case *c = &k->c;
    const wf_shape *shape = &c->in_shape[i];
    if (!c->differs[i] || shape->rank < 2 || c->in_count[i] == 0) return true;
    int64_t size = shape->dim[shape->rank - 1], positions = shape->dim[shape->rank - 2];
    route r = { .by = { PLAIN } };
    r.by[i] = WINDOW;
    r.value[i] = check_take(&k->pool, c->in_count[i] * (int64_t)sizeof(double));
    if (!r.value[i]) return check_no_memory(k);
    for (int64_t e = 0; e < c->in_count[i]; e++) {
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
    if (!c->differs[i] || !c->differs[j] || !wf_shape_equal(&c->in_shape[i], &c->in_shape[j]))
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
    wf_var *in[CHECK_VARS], *out[CHECK_VARS], *sum[2 * CHECK_VARS];
    double *weight[2] = { k->work[0], k->work[1] }, *got = k->work[2];
    for (int64_t j = 0; j < 2 * c->columns; j++)
        weight[j % 2][j / 2] = wf_random_normal(wf_key_named(k->key, "company"), (uint64_t)j);
    check_tape_begin(k);
    int n = 0;
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < c->n_in; i++) {
            if (turn == 0) in[i] = c->given[i] ? check_tape_input(k, i, c->value[i], true) : NULL;
            if (!c->differs[i]) continue;
            if (turn == 0) wf_keep_grad(k->t, in[i]);
            wf_var *w = wf_constant(k->t, WF_F64, c->in_shape[i], weight[turn] + c->column[i]);
            sum[n++] = wf_sum(k->t, wf_mul(k->t, in[i], w), NULL);
        }
        if (turn == 0) wf_apply(k->t, k->op, c->n_in, in, c->sample->attr.bytes, out);
    }
    if (!sweep(k, out, n, sum)) return check_tape_failed(k, check);
    for (int i = 0; i < c->n_in; i++)
        if (c->differs[i]) gradient_of(in[i], c->in_count[i], got + c->column[i]);
    for (int64_t j = 0; j < c->columns; j++) weight[0][j] += weight[1][j] + k->gradient[j];
    return columns_near(k, check, got, "swept", weight[0], "sum of three", 1e-12, 1e-14);
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
            if (c->in_shape[i].rank < (kind == TRANSPOSED ? 2 : 1)) continue;
            r.by[i] = (approach)kind;
            viewed++;
        }
        if ((kind == PLAIN || viewed) && !check_route(k, name[kind], &r)) return false;
    }
    if (!check_alone(k, k->work[0]) || !check_company(k)) return false;
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
    for (int64_t j = 0; j < k->c.columns; j++) sum += direction[j] * gradient[j];
    return sum;
}

/* Second derivatives of <backward, direction> by the inputs, from the tape, against differences. */
static bool second_near(op_check *k, const double *direction, const double *got)
{
    static const int offset[4] = { -2, -1, 1, 2 };
    const check_case *c = &k->c;
    double *want = k->work[4], *gradient = k->work[5], weight = 0;
    /* Leaves all cotangents in place for the harness's fast calls. */
    if (!harness_forward(&k->harness, k->report) ||
        !harness_backward(&k->harness, k->cotangent, ALL, ALL, gradient, k->report))
        return false;
    for (int64_t j = 0; j < c->columns; j++) weight += fabs(direction[j] * gradient[j]);
    for (int i = 0; i < c->n_in; i++)
        for (int64_t e = 0; c->differs[i] && e < c->in_count[i]; e++) {
            double *x = harness_element(&k->harness, i, e), at = *x, f[4];
            double h = check_step(k->step, at);
            for (int p = 0; p < 4; p++) {
                *x = at + offset[p] * h;
                f[p] = slope(k, direction, gradient);
            }
            *x = at;
            want[c->column[i] + e] = check_difference(f, h);
        }
    harness_forward_fast(&k->harness);
    return columns_near(k, "second derivative by the inputs", got, "tape", want, "differences",
                        k->tolerance, check_noise(k, weight) + 8 * DBL_EPSILON);
}

/* By the cotangents it is the Jacobian times the direction. */
static bool mixed_near(op_check *k, const double *direction, const double *got)
{
    const check_case *c = &k->c;
    double *want = k->work[4], *y = k->work[5];
    for (int64_t r = 0; r < c->rows; r++) {
        want[r] = 0;
        for (int64_t j = 0; j < c->columns; j++)
            want[r] += k->jacobian[r * c->columns + j] * direction[j];
    }
    harness_outputs(&k->harness, y);
    double weight = check_largest(c->rows, y) * (double)c->columns;
    return rows_near(k, "derivative of the gradient by the cotangents", got, "tape", want,
                     "differences", k->tolerance, check_noise(k, weight) + 8 * DBL_EPSILON);
}

static bool check_graph(op_check *k)
{
    const check_case *c = &k->c;
    const char *check = "gradient";
    double *got = k->work[0], *direction = k->work[1], *second = k->work[2], *mixed = k->work[3];
    wf_var *in[CHECK_VARS], *out[CHECK_VARS], *from[CHECK_VARS], *by[2 * CHECK_VARS];
    wf_var *with[CHECK_VARS], *grad[CHECK_VARS], *swept[CHECK_VARS], *toward[CHECK_VARS];
    wf_var *twice[2 * CHECK_VARS];
    int outs = 0, ins = 0;
    if (!check_tape_apply(k, ALL, in, out)) return check_tape_failed(k, check);
    for (int i = 0; i < c->n_in; i++)
        if (c->differs[i]) by[ins++] = in[i];
    for (int o = 0; o < c->visible; o++) {
        if (!c->active[o]) continue;
        from[outs] = out[o];
        with[outs] = wf_leaf(k->t, WF_F64, c->out_shape[o], k->cotangent + c->row[o]);
        by[ins + outs] = with[outs];
        outs++;
    }
    if (!wf_grad(k->t, outs, from, with, ins, by, grad,
                 &(wf_grad_options){ .create_graph = true }) ||
        !wf_grad(k->t, outs, from, with, ins, by, swept, NULL))
        return check_tape_failed(k, check);
    /* Once what is built, once what is swept: the inputs' columns lie in their order. */
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0, n = 0; i < c->n_in; i++) {
            if (!c->differs[i]) continue;
            for (int64_t e = 0; e < c->in_count[i]; e++)
                got[c->column[i] + e] = wf_at(turn ? grad[n] : swept[n], e);
            n++;
        }
        if (!columns_near(k, turn ? "gradient by value" : "wf_grad by value", got,
                          turn ? "gradient" : "wf_grad", k->gradient, "backward", 1e-12, 1e-14))
            return false;
    }
    for (int64_t j = 0; j < c->columns; j++)
        direction[j] = wf_random_normal(wf_key_named(k->key, "direction"), (uint64_t)j);
    for (int i = 0, n = 0; i < c->n_in; i++)
        if (c->differs[i])
            toward[n++] = wf_constant(k->t, WF_F64, c->in_shape[i], direction + c->column[i]);
    if (!wf_grad(k->t, ins, grad, toward, ins + outs, by, twice, NULL))
        return check_tape_failed(k, "second derivative");
    for (int i = 0, n = 0; i < c->n_in; i++) {
        if (!c->differs[i]) continue;
        for (int64_t e = 0; e < c->in_count[i]; e++) second[c->column[i] + e] = wf_at(twice[n], e);
        n++;
    }
    for (int o = 0, n = ins; o < c->visible; o++) {
        if (!c->active[o]) continue;
        for (int64_t e = 0; e < c->out_count[o]; e++) mixed[c->row[o] + e] = wf_at(twice[n], e);
        n++;
    }
    return second_near(k, direction, second) && mixed_near(k, direction, mixed);
}

/* The slow spelling gives the same values and the same gradients. */
static bool check_reference(op_check *k)
{
    const check_case *c = &k->c;
    const char *check = "reference";
    double *want = k->work[0], *got = k->work[1];
    wf_var *in[CHECK_VARS], *out[CHECK_VARS] = { 0 };
    check_tape_begin(k);
    for (int i = 0; i < c->n_in; i++) {
        in[i] = c->given[i] ? check_tape_input(k, i, c->value[i], true) : NULL;
        if (c->differs[i]) wf_keep_grad(k->t, in[i]);
    }
    if (!check_tape_reference(k, in, out)) return check_tape_failed(k, check);
    for (int o = 0; o < c->visible; o++) {
        wf_shape shape = wf_shape_of(out[o]);
        if (!out[o] || !wf_shape_equal(&shape, &c->out_shape[o]))
            return check_fail(k->report, "%s: the reference gives output %d another shape", c->who,
                              o);
    }
    harness_outputs(&k->harness, want);
    values_of(k, out, got);
    if (!rows_near(k, check, got, "reference", want, "forward", 1e-12, 1e-14)) return false;
    if (!k->sweeps) return true;
    if (!sweep(k, out, 0, NULL)) return check_tape_failed(k, check);
    for (int i = 0; i < c->n_in; i++)
        if (c->differs[i]) gradient_of(in[i], c->in_count[i], got + c->column[i]);
    return columns_near(k, "reference differentiated", got, "reference", k->gradient, "backward",
                        1e-12, 1e-14);
}

bool check_orders(op_check *k)
{
    if (k->op->reference && !check_reference(k)) return false;
    return !k->sweeps || check_graph(k);
}
