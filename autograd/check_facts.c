/* What a row claims beside its derivatives, for planners and threads: that rows or elements can be
 * computed apart, also those of several steps at once, that it is a product, draws numbers, reads
 * values. Each claim is put to the test on every sample, and what no sample shows is no claim. */
#include "autograd/check_row_private.h"
#include "autograd/ops_private.h"

#include "tensor/text.h"

#include <math.h>
#include <string.h>

/* ---- apart along an axis ---- */

/* A call on some indices of an axis of what lies in a harness. Outputs and their gradients are
 * row-major for a kernel, and copied. */
typedef struct part {
    wf_tensor in[CHECK_VARS], out[CHECK_VARS], gout[CHECK_VARS], gin[CHECK_VARS];
    void *memory[2][CHECK_VARS]; /* of out and gout */
    const wf_tensor *in_at[CHECK_VARS], *out_at[CHECK_VARS], *gout_at[CHECK_VARS],
        *gin_at[CHECK_VARS];
    wf_call call;
} part;

/* Which inputs are cut with an axis of the outputs, and along which axis of their own. */
typedef struct cutting {
    int axis, of[CHECK_VARS]; /* -1: seen as a whole */
    const char *claim;
} cutting;

static void cut(wf_tensor *to, const wf_tensor *x, int axis, int64_t from, int64_t n)
{
    *to = *x;
    if (axis < 0) return;
    to->data = wf_element(x->dtype, x->data, from * x->stride[axis]);
    to->dim[axis] = n;
}

static void cut_copied(wf_tensor *to, const wf_tensor *x, int axis, int64_t n, void *memory)
{
    wf_shape shape = wf_tensor_shape(x);
    shape.dim[axis] = n;
    *to = wf_tensor_of(x->dtype, shape, memory);
}

static void part_of_harness(part *p, const check_harness *d, const cutting *how, int64_t from,
                            int64_t n)
{
    const check_case *c = d->c;
    p->call = d->call;
    if (p->call.op->flags & WF_OP_RANDOM) p->call.counter += (uint64_t)from; /* axis 0: rows */
    p->call.in = p->in_at;
    p->call.out = p->out_at;
    p->call.gout = p->gout_at;
    p->call.gin = p->gin_at;
    for (int i = 0; i < c->n_in; i++) {
        if (c->given[i]) cut(&p->in[i], &d->in[i].tensor, how->of[i], from, n);
        if (c->in.floats[i]) cut(&p->gin[i], &d->gin[i].tensor, how->of[i], from, n);
        p->in_at[i] = c->given[i] ? &p->in[i] : NULL;
        p->gin_at[i] = c->in.floats[i] ? &p->gin[i] : NULL;
    }
    for (int o = 0; o < c->n_out; o++) {
        cut_copied(&p->out[o], &d->out[o].tensor, how->axis, n, p->memory[0][o]);
        p->out_at[o] = &p->out[o];
        p->gout_at[o] = c->out.floats[o] ? &p->gout[o] : NULL;
        if (!c->out.floats[o]) continue;
        wf_tensor here;
        cut(&here, &d->gout[o].tensor, how->axis, from, n);
        cut_copied(&p->gout[o], &here, how->axis, n, p->memory[1][o]);
        wf_tensor_copy(&here, &p->gout[o]);
    }
}

static bool told(op_check *k, const cutting *how, int64_t step, const char *what, int at)
{
    return check_fail(k->report, "%s: %s, but %lld at a time along axis %d %s %d has other numbers",
                      k->c.who, how->claim, (long long)step, how->axis, what, at);
}

/* Forward and backward, `step` indices at a time, against the whole: to rounding, and to the bit
 * where each element is made alone. */
static bool apart_by(op_check *k, const cutting *how, int64_t step, check_harness *d, part *p)
{
    const check_case *c = &k->c;
    const int64_t all = d->out[0].tensor.dim[how->axis];
    double *want = k->work[0], *got = k->work[1];
    for (int o = 0; o < c->n_out; o++) memset(d->out[o].memory, 0xff, (size_t)d->out[o].bytes);
    for (int i = 0; k->sweeps && i < c->n_in; i++)
        if (c->in.floats[i])
            memset(d->gin[i].tensor.data, 0, (size_t)c->in.count[i] * sizeof(double));
    for (int64_t at = 0; at < all; at += step) {
        part_of_harness(p, d, how, at, all - at < step ? all - at : step);
        p->call.scratch = d->scratch[0].tensor.data;
        k->op->forward(&p->call);
        for (int o = 0; o < c->n_out; o++) {
            wf_tensor here;
            cut(&here, &d->out[o].tensor, how->axis, at, p->out[o].dim[how->axis]);
            wf_tensor_copy(&p->out[o], &here);
        }
        p->call.scratch = d->scratch[1].tensor.data;
        if (k->sweeps) k->op->backward(&p->call);
    }
    const bool elements = k->op->flags & WF_OP_ELEMENTWISE;
    for (int o = 0; o < c->n_out; o++)
        if ((elements || (o < c->visible && !c->out.floats[o])) &&
            memcmp(d->out[o].tensor.data, k->harness.out[o].tensor.data,
                   (size_t)(c->out.count[o] * wf_dtype_size(c->out_dtype[o]))))
            return told(k, how, step, "output", o);
    harness_outputs(&k->harness, want);
    harness_outputs(d, got);
    if (!floats_equal(&c->out, how->claim, got, "in parts", want, "whole")) return false;
    if (!k->sweeps) return true;
    harness_backward_fast(&k->harness, want);
    for (int i = 0; i < c->n_in; i++) {
        const size_t bytes = (size_t)c->in.count[i] * sizeof(double);
        if (!c->in.floats[i]) continue;
        memcpy(got + c->in.at[i], d->gin[i].tensor.data, bytes);
        if (elements && c->in.count[i] == c->out.count[0] &&
            memcmp(got + c->in.at[i], want + c->in.at[i], bytes))
            return told(k, how, step, "the gradient of input", i);
    }
    return floats_equal(&c->in, how->claim, got, "in parts", want, "whole");
}

static bool apart(op_check *k, const cutting *how)
{
    const int64_t all = k->c.out.shape[0].dim[how->axis];
    struct check_block *until = k->pool.last;
    check_harness *d = harness_new(&k->c, WF_F64, NULL, NULL);
    part *p = check_take(&k->pool, (int64_t)sizeof *p);
    double *unused = k->work[2];
    if (!d) return false;
    if (!p) return check_no_memory(k);
    for (int o = 0; o < k->c.n_out; o++)
        for (int g = 0; g < 2; g++) p->memory[g][o] = check_doubles(&k->pool, k->c.out.count[o]);
    if (k->pool.failed) return check_no_memory(k);
    /* Leaves the cotangents in place on both harnesses. */
    bool ok = harness_forward(&k->harness) &&
              (!k->sweeps || (harness_forward(d) && harness_sweep(d, k->cotangent, unused) &&
                              harness_sweep(&k->harness, k->cotangent, unused)));
    for (int64_t step = 1; ok && step < all; step += (all + 1) / 2)
        ok = apart_by(k, how, step, d, p);
    check_let_go(&k->pool, until);
    return ok;
}

static bool check_elementwise(op_check *k)
{
    const check_case *c = &k->c;
    const wf_shape *y = &c->out.shape[0];
    if (!(k->op->flags & WF_OP_ELEMENTWISE)) return true;
    k->shown |= SHOWN_ELEMENTWISE;
    for (int o = 1; o < c->n_out; o++)
        if (!wf_shape_equal(&c->out.shape[o], y))
            return check_fail(k->report, "%s: it is said to be elementwise, but its outputs differ",
                              c->who);
    for (int axis = 0; axis < y->rank; axis++) {
        cutting how = { .axis = axis, .claim = "it is said to be elementwise" };
        for (int i = 0; i < c->n_in; i++) {
            const int own = axis - y->rank + c->in.shape[i].rank;
            how.of[i] = own >= 0 && c->in.shape[i].dim[own] == y->dim[axis] ? own : -1;
        }
        if (!apart(k, &how)) return false;
    }
    return true;
}

static bool check_varying(op_check *k)
{
    const check_case *c = &k->c;
    const uint32_t mask = op_varying(&k->harness.call);
    if (!mask) return true;
    k->shown |= SHOWN_VARYING;
    cutting how = { .axis = 0, .claim = "its rows are said to be computed apart" };
    const int64_t rows = c->out.shape[0].rank > 0 ? c->out.shape[0].dim[0] : -1;
    for (int o = 0; o < c->n_out; o++)
        if (c->out.shape[o].rank < 1 || c->out.shape[o].dim[0] != rows)
            return check_fail(k->report, "%s: %s, but output %d has no such rows", c->who,
                              how.claim, o);
    for (int i = 0; i < 32; i++) {
        const bool varies = mask >> i & 1;
        if (i < c->n_in) how.of[i] = varies ? 0 : -1;
        if (varies && (i >= c->n_in || !c->given[i] || c->in.shape[i].rank < 1 ||
                       c->in.shape[i].dim[0] != rows))
            return check_fail(k->report, "%s: %s, but input %d has no such rows", c->who, how.claim,
                              i);
    }
    /* An elementwise row has shown it, unless it says something of its own. */
    return (k->op->flags & WF_OP_ELEMENTWISE && !k->op->varying) || apart(k, &how);
}

/* ---- a further axis behind the rows ---- */

static const char leading[] = "it is said to be open to a further axis behind its rows";

/* Two calls, the steps, and one of both, where step is an axis behind the rows. The numbers of a
 * step lie together, as a planned loop has them. */
typedef struct steps {
    part one[2], all;
    uint32_t rows, same; /* inputs that have rows; and those that are one for both steps */
    int64_t scratch[2];  /* of all */
} steps;

/* Makes x[0] and x[1] of the form, each with memory of its own if they are apart, and x[2] of both:
 * with an axis of 2 (of 1) behind axis 0 if there are rows. */
static void lay_steps(op_check *k, wf_dtype dtype, const wf_shape *form, bool rows, bool apart,
                      wf_tensor *const x[3])
{
    const int64_t n = wf_shape_count(form), bytes = n * wf_dtype_size(dtype);
    char *memory = check_take(&k->pool, (apart ? 2 : 1) * bytes);
    if (!memory) return;
    *x[0] = *x[1] = *x[2] = wf_tensor_of(dtype, *form, memory);
    if (apart) x[1]->data = memory + bytes;
    if (rows) *x[2] = tensor_with_axis(*x[2], 1, apart ? 2 : 1, apart ? n : 0);
}

/* The inputs: in step 1 the sample's numbers from the last to the first. */
static void lay_inputs(op_check *k, steps *s)
{
    const check_case *c = &k->c;
    for (int i = 0; i < c->n_in; i++) {
        const bool rows = s->rows >> i & 1, apart = rows && !(s->same >> i & 1);
        const wf_dtype dtype = c->in.floats[i] ? WF_F64 : WF_I32;
        const wf_shape *form = &c->in.shape[i];
        wf_tensor unused, *a = &s->one[0].gin[i], *b = &s->one[1].gin[i];
        if (!c->given[i]) continue;
        lay_steps(k, dtype, form, rows, apart,
                  (wf_tensor *[]){ &s->one[0].in[i], &s->one[1].in[i], &s->all.in[i] });
        if (k->pool.failed) return;
        for (int64_t j = 0, n = c->in.count[i]; j < n; j++) {
            wf_dtype_describe(dtype)->store(s->one[0].in[i].data, j, c->value[i][j]);
            if (apart)
                wf_dtype_describe(dtype)->store(s->one[1].in[i].data, j, c->value[i][n - 1 - j]);
        }
        if (!c->in.floats[i]) continue;
        lay_steps(k, dtype, form, rows, apart, (wf_tensor *[]){ a, b, &unused });
        lay_steps(k, dtype, form, rows, apart, (wf_tensor *[]){ &unused, &unused, &s->all.gin[i] });
    }
}

/* Outputs, as backward sees them, and their cotangents. */
static void lay_outputs(op_check *k, steps *s)
{
    const check_case *c = &k->c;
    for (int o = 0; o < c->n_out; o++) {
        const wf_shape *form = &c->out.shape[o];
        lay_steps(k, c->out_dtype[o], form, true, true,
                  (wf_tensor *[]){ &s->one[0].out[o], &s->one[1].out[o], &s->all.out[o] });
        if (!c->out.floats[o]) continue;
        lay_steps(k, WF_F64, form, true, true,
                  (wf_tensor *[]){ &s->one[0].gout[o], &s->one[1].gout[o], &s->all.gout[o] });
        for (int64_t j = 0, n = c->out.count[o]; !k->pool.failed && j < n; j++) {
            const double *g = k->cotangent + c->out.at[o];
            ((double *)s->one[0].gout[o].data)[j] = g[j];
            ((double *)s->one[1].gout[o].data)[j] = -2 * g[n - 1 - j];
        }
    }
}

static void point_part(const op_check *k, part *p)
{
    const check_case *c = &k->c;
    for (int i = 0; i < c->n_in; i++) {
        p->in_at[i] = c->given[i] ? &p->in[i] : NULL;
        p->gin_at[i] = c->in.floats[i] ? &p->gin[i] : NULL;
    }
    for (int o = 0; o < c->n_out; o++) {
        p->out_at[o] = &p->out[o];
        p->gout_at[o] = c->out.floats[o] ? &p->gout[o] : NULL;
    }
    p->call = k->harness.call;
    p->call.in = p->in_at;
    p->call.out = p->out_at;
    p->call.gout = p->gout_at;
    p->call.gin = p->gin_at;
}

/* Are the outputs of both steps at once those of one, and an axis more? Fills `out`, which forward
 * writes row-major. */
static bool shape_of_steps(op_check *k, steps *s, wf_tensor *out)
{
    const check_case *c = &k->c;
    wf_error error = { "" };
    if (!check_shape(c, s->all.in_at, out, &error, 1, s->scratch))
        return check_fail(k->report, "%s: %s, but its shape refuses that: %s", c->who, leading,
                          error.text);
    for (int o = 0; o < c->n_out; o++) {
        const wf_shape want = wf_tensor_shape(&s->all.out[o]);
        const wf_shape got = wf_tensor_shape(&out[o]);
        if (out[o].dtype != c->out_dtype[o] || !wf_shape_equal(&got, &want))
            return check_fail(k->report, "%s: %s, but output %d is then %s; expected %s", c->who,
                              leading, o, SHAPE_TEXT(&got), SHAPE_TEXT(&want));
        void *memory = check_take(&k->pool, wf_tensor_count(&out[o]) * wf_dtype_size(out[o].dtype));
        if (!memory) return check_no_memory(k);
        out[o] = wf_tensor_of(out[o].dtype, got, memory);
    }
    return true;
}

/* Forward: both steps at once, whose outputs are brought into the places of `other`'s, against one
 * after another. */
static bool forward_agrees(op_check *k, steps *s, const wf_tensor *out, const wf_tensor *other)
{
    const check_case *c = &k->c;
    const wf_tensor *out_at[CHECK_VARS];
    double *want = k->work[0], *got = k->work[1];
    for (int o = 0; o < c->n_out; o++) out_at[o] = &out[o];
    wf_call call = s->all.call;
    call.out = out_at;
    k->op->forward(&call);
    for (int at = 0; at < 2; at++) k->op->forward(&s->one[at].call);
    for (int o = 0; o < c->n_out; o++) wf_tensor_copy(&out[o], &other[o]);
    for (int at = 0; at < 2; at++) {
        for (int o = 0; o < c->n_out; o++) {
            const int64_t n = c->out.count[o];
            const char *of = other[o].data;
            const size_t bytes = (size_t)(n * wf_dtype_size(other[o].dtype));
            of += (size_t)at * bytes;
            if (c->out.floats[o]) {
                memcpy(want + c->out.at[o], s->one[at].out[o].data, bytes);
                memcpy(got + c->out.at[o], of, bytes);
            } else if (o < c->visible && memcmp(of, s->one[at].out[o].data, bytes)) {
                return check_fail(k->report, "%s: %s, but output %d has then other numbers", c->who,
                                  leading, o);
            }
        }
        if (!floats_equal(&c->out, leading, got, "both at once", want, "one by one")) return false;
    }
    return true;
}

/* Backward: the same of gradients, of which those that both steps share are sums. */
static bool backward_agrees(op_check *k, steps *s)
{
    const check_case *c = &k->c;
    double *want = k->work[0], *got = k->work[1];
    for (int at = 0; at < 2; at++) k->op->backward(&s->one[at].call);
    k->op->backward(&s->all.call);
    for (int at = 0; at < 2; at++) {
        for (int i = 0; i < c->n_in; i++) {
            const int64_t n = c->in.count[i];
            const bool apart = s->rows >> i & 1 && !(s->same >> i & 1);
            const double *of = s->all.gin[i].data;
            if (!c->in.floats[i]) continue;
            memcpy(want + c->in.at[i], s->one[at].gin[i].data, (size_t)n * sizeof *of);
            memcpy(got + c->in.at[i], of + (apart ? at * n : 0), (size_t)n * sizeof *of);
        }
        if (!floats_equal(&c->in, leading, got, "both at once", want, "one by one")) return false;
    }
    return true;
}

static bool steps_agree(op_check *k, uint32_t rows, uint32_t same)
{
    const check_case *c = &k->c;
    steps *s = check_take(&k->pool, (int64_t)sizeof *s);
    wf_tensor *out = check_take(&k->pool, 4 * CHECK_VARS * (int64_t)sizeof *out);
    wf_tensor *other = out + CHECK_VARS, *unused = other + CHECK_VARS;
    if (k->pool.failed) return check_no_memory(k);
    s->rows = rows, s->same = same;
    lay_inputs(k, s);
    lay_outputs(k, s);
    for (int o = 0; o < c->n_out; o++)
        lay_steps(k, c->out_dtype[o], &c->out.shape[o], true, true,
                  (wf_tensor *[]){ unused, unused + 1, &other[o] });
    if (k->pool.failed) return check_no_memory(k);
    for (int at = 0; at < 2; at++) point_part(k, &s->one[at]);
    point_part(k, &s->all);
    if (!shape_of_steps(k, s, out)) return false;
    char *scratch = check_take(
        &k->pool, WF_ALIGNMENT + (s->scratch[0] > s->scratch[1] ? s->scratch[0] : s->scratch[1]));
    if (!scratch) return check_no_memory(k);
    s->all.call.scratch = scratch + (-(uintptr_t)scratch & (WF_ALIGNMENT - 1));
    for (int way = 0; way < 2; way++) {
        for (int at = 0; at < 2; at++)
            s->one[at].call.scratch = k->harness.scratch[way].tensor.data;
        if (way == 0 ? !forward_agrees(k, s, out, other) : k->sweeps && !backward_agrees(k, s))
            return false;
    }
    return true;
}

/* A time axis behind the rows, of every set of inputs that may be the same at all steps: not of all
 * floats that have rows. */
static bool check_leading(op_check *k)
{
    const check_case *c = &k->c;
    const uint32_t rows = op_varying(&k->harness.call), floats = floats_mask(&c->in);
    bool fits = true, ok = true;
    if (!(k->op->flags & WF_OP_LEADING) || k->skip & LAW_LEADING || !rows) return true;
    for (int i = 0; i < c->n_in; i++) fits &= !c->given[i] || c->in.shape[i].rank < WF_RANK;
    for (int o = 0; o < c->n_out; o++) fits &= c->out.shape[o].rank < WF_RANK;
    for (uint32_t same = 0; fits && ok && same < rows; same++) {
        struct check_block *until = k->pool.last;
        if (same & ~rows || !(rows & ~same & floats)) continue;
        ok = steps_agree(k, rows, same);
        if (same) k->shown |= SHOWN_LEADING;
        check_let_go(&k->pool, until);
    }
    return ok;
}

/* ---- a product ---- */

static bool check_product(op_check *k)
{
    const check_case *c = &k->c;
    const int w = k->op->product.weight, b = k->op->product.bias;
    if (!w) return true;
    if (w < 0 || w >= c->n_in || b < 0 || b >= c->n_in || c->n_in < 2)
        return check_fail(k->report, "%s: its product has a weight %d and a bias %d of %d inputs",
                          c->who, w, b, c->n_in);
    const bool transposed = k->op->product.transposed;
    const wf_shape *x = &c->in.shape[0], *weight = &c->in.shape[w];
    if (weight->rank != 2) return true;
    const int64_t inner = weight->dim[transposed], outer = weight->dim[!transposed];
    int64_t rows = 1;
    for (int a = 0; a < x->rank - 1; a++) rows *= x->dim[a];
    double *want = k->work[0], *got = k->work[1];
    if (!x->rank || x->dim[x->rank - 1] != inner || c->out.all != rows * outer ||
        (b && c->given[b] && c->in.count[b] != outer))
        return check_fail(k->report, "%s: it is said to be a product, but its shapes are not",
                          c->who);
    for (int64_t r = 0; r < rows * outer; r++) {
        const int64_t row = r / outer, column = r % outer;
        want[r] = b && c->given[b] ? c->value[b][column] : 0;
        for (int64_t i = 0; i < inner; i++)
            want[r] += c->value[0][row * inner + i] *
                       c->value[w][transposed ? column * inner + i : i * outer + column];
    }
    k->shown |= SHOWN_PRODUCT;
    harness_outputs(&k->harness, got);
    return floats_equal(&c->out, "it is said to be a product", got, "it", want, "the product");
}

/* ---- what is drawn, and what is read: on another harness than the others' ---- */

static bool check_random(op_check *k)
{
    check_harness *d = &k->other;
    const wf_call before = d->call;
    for (int which = 0; which < 2; which++) {
        bool differs = false;
        d->call.key = before.key + (which == 0 ? UINT64_C(0x9E3779B97F4A7C15) : 0);
        d->call.counter = before.counter + (which == 1 ? UINT64_C(1) << 32 : 0);
        if (!harness_forward(d)) return false;
        for (int o = 0; o < k->c.n_out; o++)
            differs |= memcmp(d->out[o].memory, k->harness.out[o].memory,
                              (size_t)d->out[o].bytes) != 0;
        if (differs && !(k->op->flags & WF_OP_RANDOM))
            return check_fail(k->report,
                              "%s: it is not said to be random, but another %s gives "
                              "other numbers",
                              k->c.who, which ? "counter" : "key");
        if (differs) k->shown |= which ? SHOWN_COUNTER : SHOWN_KEY;
    }
    d->call = before;
    return true;
}

/* Does check refuse some row of what varies, alone? */
static bool refuses_a_row(const op_check *k, const wf_call *whole, uint32_t rows)
{
    wf_tensor row[2][CHECK_VARS];
    const wf_tensor *in[CHECK_VARS], *out[CHECK_VARS];
    wf_call one = *whole;
    one.in = in;
    one.out = out;
    for (int64_t r = 0, n = whole->out[0]->dim[0]; r < n; r++) {
        wf_error error = { "" };
        for (int i = 0; i < whole->n_in; i++) {
            in[i] = whole->in[i];
            if (!(rows >> i & 1)) continue;
            if (!wf_view_slice(in[i], 0, r, r + 1, 1, &row[0][i])) return false;
            in[i] = &row[0][i];
        }
        for (int o = 0; o < whole->n_out; o++) {
            if (!wf_view_slice(whole->out[o], 0, r, r + 1, 1, &row[1][o])) return false;
            out[o] = &row[1][o];
        }
        if (!k->op->check(&one, &error)) return true;
    }
    return false;
}

/* Does check answer otherwise when an input holds such numbers, and if its rows are apart, does it
 * of a row alone? */
static bool check_reads_check(op_check *k)
{
    const check_case *c = &k->c;
    for (int i = 0; k->op->check && i < c->n_in; i++) {
        const double planted[2] = { c->in.floats[i] ? (double)NAN : INT32_MIN,
                                    c->in.floats[i] ? (double)INFINITY : INT32_MAX };
        for (int p = 0; c->given[i] && p < 2; p++) {
            wf_error error = { "" };
            harness_plant(&k->other, i, planted[p]);
            const bool otherwise = !k->op->check(&k->other.call, &error);
            const uint32_t rows = wf_tensor_count(k->other.call.out[0]) > 0
                                      ? op_varying(&k->other.call)
                                      : 0;
            const bool of_a_row = rows ? refuses_a_row(k, &k->other.call, rows) : otherwise;
            harness_unplant(&k->other, i);
            if (of_a_row != otherwise)
                return check_fail(k->report,
                                  "%s: its rows are said to be computed apart, but with %g in "
                                  "input %d check refuses %s",
                                  c->who, planted[p], i,
                                  otherwise ? "the whole and no row" : "a row and not the whole");
            if (otherwise && !(k->op->reads_check >> i & 1))
                return check_fail(k->report,
                                  "%s: check refuses %g in input %d, which is not in "
                                  "reads_check",
                                  c->who, planted[p], i);
            k->read_check |= (uint32_t)otherwise << i;
        }
    }
    return true;
}

/* Notes which inputs and outputs backward reads: with other numbers there it answers otherwise. */
static bool note_reads(op_check *k)
{
    const check_case *c = &k->c;
    check_harness *d = &k->other;
    double *want = k->work[0], *got = k->work[1];
    for (int at = 0; k->sweeps && at < c->n_in + c->n_out; at++) {
        const int i = at < c->n_in ? at : -1, o = i < 0 ? at - c->n_in : -1;
        if (i >= 0 ? !c->given[i] || !(k->op->reads_in >> i & 1) || k->read_in >> i & 1
                   : !(k->op->reads_out >> o & 1) || k->read_out >> o & 1)
            continue;
        if (!harness_forward(d) || !harness_sweep(d, k->cotangent, want)) return false;
        for (int p = 0; p < 2; p++) {
            if (i >= 0)
                harness_plant(d, i,
                              c->in.floats[i] ? (double)NAN
                              : p             ? c->sample->in[i].high
                                              : c->sample->in[i].low);
            else
                harness_plant_out(d, o, c->out_dtype[o] != WF_I32 ? (double)NAN : p);
            if (!harness_sweep(d, k->cotangent, got)) return false;
            const bool reads = memcmp(got, want, (size_t)c->in.all * sizeof *got) != 0;
            if (i >= 0)
                k->read_in |= (uint32_t)reads << i;
            else
                k->read_out |= (uint32_t)reads << o;
        }
        if (i >= 0) harness_unplant(d, i);
    }
    return true;
}

bool check_facts(op_check *k)
{
    if (k->skip & LAW_FACTS) return true;
    if (!check_elementwise(k) || !check_varying(k) || !check_leading(k) || !check_product(k))
        return false;
    struct check_block *until = k->pool.last;
    bool ok = harness_set(&k->other, &k->c, WF_F64, NULL, NULL) && check_random(k) &&
              check_reads_check(k) && note_reads(k) && harness_forward(&k->harness);
    check_let_go(&k->pool, until);
    return ok;
}

/* ---- what no sample shows ---- */

bool check_facts_shown(op_check *k, const char *name)
{
    const wf_op *op = k->op;
    const struct {
        bool said;
        uint32_t shown;
        const char *what;
    } claim[] = {
        { op->flags & WF_OP_ELEMENTWISE, SHOWN_ELEMENTWISE, "elementwise" },
        { op->varying, SHOWN_VARYING, "computed by rows" },
        { op->flags & WF_OP_LEADING && !(k->skip & LAW_LEADING), SHOWN_LEADING,
          "open to a further axis behind its rows" },
        { op->product.weight, SHOWN_PRODUCT, "a product" },
        { op->flags & WF_OP_RANDOM, SHOWN_KEY, "random, by its key" },
        { op->flags & WF_OP_RANDOM, SHOWN_COUNTER, "random, by its counter" },
    };
    const struct {
        const char *who, *what;
        uint32_t said, seen;
    } reads[] = {
        { "backward", "input", op->reads_in, k->read_in },
        { "backward", "output", op->reads_out, k->read_out },
        { "check", "input", op->reads_check, k->read_check },
    };
    if (k->skip & LAW_FACTS) return true;
    for (int i = 0; i < (int)(sizeof claim / sizeof claim[0]); i++)
        if (claim[i].said && !(k->shown & claim[i].shown))
            return check_fail(k->report, "%s: it is said to be %s, which no sample shows", name,
                              claim[i].what);
    for (int i = 0; i < (int)(sizeof reads / sizeof reads[0]); i++)
        if (reads[i].said & ~reads[i].seen)
            return check_fail(k->report, "%s: %s is said to read %s %d, which no sample shows",
                              name, reads[i].who, reads[i].what,
                              __builtin_ctz(reads[i].said & ~reads[i].seen));
    return true;
}
