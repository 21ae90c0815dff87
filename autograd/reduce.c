/* Sum, mean and maximum over axes, logsumexp of them, and sum_to, which undoes broadcasting. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "autograd/private.h"
#include "autograd/views.h"
#include "tensor/sum.h"

#include <math.h>
#include <string.h>

/* ---- which axes ---- */

reduction reduction_of(const wf_axes *axes, bool keep)
{
    reduction r = { .n = axes ? axes->n : -1, .keep = keep };
    for (int i = 0; axes && axes->at && i < r.n && i < WF_RANK; i++) r.axis[i] = axes->at[i];
    if (axes && !axes->at && r.n > 0)
        r.n = INT32_MAX; /* a list that was never made: refused by shape */
    return r;
}

/* The axes were checked by shape. */
uint32_t reduction_varying(const wf_call *c)
{
    const int rank = c->in[0]->rank;
    return rank > 0 && !(reduction_axes(c->attr, rank) & 1);
}

uint32_t reduction_axes(const reduction *r, int rank)
{
    uint32_t mask = 0;
    if (r->n < 0) return (1u << rank) - 1;
    for (int i = 0; i < r->n && i < WF_RANK; i++) {
        int axis = wf_axis(rank, r->axis[i]);
        if (axis >= 0) mask |= 1u << axis;
    }
    return mask;
}

bool reduction_sound(const wf_shaping *s, const reduction *r)
{
    const wf_tensor *x = s->in[0];
    uint32_t mask = 0;
    if (r->n == INT32_MAX) return wf_refuse(s->error, "the list of axes was never made (NULL)");
    if (r->n > x->rank)
        return wf_refuse(s->error, "%d axes named; %s has %d", r->n, SHAPE_TEXT(x), x->rank);
    for (int i = 0; i < r->n; i++) {
        const int axis = takes_axis(s, r->axis[i]);
        if (axis < 0) return false;
        if (mask >> axis & 1) return wf_refuse(s->error, "axis %d is named twice", axis);
        mask |= 1u << axis;
    }
    return true;
}

bool reduction_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const reduction *r = s->attr;
    if (!takes_floats(s, 0) || !reduction_sound(s, r)) return false;
    const uint32_t mask = reduction_axes(r, x->rank);
    wf_tensor *y = &s->out[0];
    y->dtype = x->dtype;
    y->rank = 0;
    for (int i = 0; i < x->rank; i++) {
        bool goes = mask >> i & 1;
        if (!goes || r->keep) y->dim[y->rank++] = goes ? 1 : x->dim[i];
    }
    return true;
}

wf_tensor reduction_beside(const wf_tensor *y, const wf_tensor *x, const reduction *r)
{
    uint32_t mask = reduction_axes(r, x->rank);
    wf_tensor v = { .data = y->data, .dtype = y->dtype, .rank = x->rank };
    int at = 0;
    for (int i = 0; i < x->rank; i++) {
        bool goes = mask >> i & 1;
        v.dim[i] = goes ? 1 : x->dim[i];
        v.stride[i] = goes ? 0 : y->stride[at];
        at += !goes || r->keep;
    }
    return v;
}

/* ---- summing ---- */

/* y = the sum of x / divisor, where y stands beside x as `like`. */
static void sum_into(const wf_call *c, const wf_tensor *like, double divisor)
{
    memset(like->data, 0, (size_t)(wf_tensor_count(c->out[0]) * bytes_of(like)));
    wf_sum_tensor(c->in[0], like, 1, divisor, c->threads);
}

/* How many elements of x meet in one of y. */
static double meeting(const wf_tensor *x, const reduction *r)
{
    double n = 1;
    uint32_t mask = reduction_axes(r, x->rank);
    for (int i = 0; i < x->rank; i++)
        if (mask >> i & 1) n *= (double)x->dim[i];
    return n;
}

static void sum_forward(const wf_call *c)
{
    const wf_tensor like = reduction_beside(c->out[0], c->in[0], c->attr);
    sum_into(c, &like, 1);
}

/* The mean of nothing is 0 / 0. */
static void mean_forward(const wf_call *c)
{
    const wf_tensor like = reduction_beside(c->out[0], c->in[0], c->attr);
    const double n = meeting(c->in[0], c->attr);
    if (n == 0)
        wf_tensor_fill(c->out[0], (double)NAN);
    else
        sum_into(c, &like, n);
}

/* gx += scale times g, repeated. */
static void repeat_into(const wf_call *c, double scale)
{
    if (!c->gin[0] || !c->gout[0]) return;
    const wf_tensor g = reduction_beside(c->gout[0], c->in[0], c->attr);
    wf_tensor_accumulate(&g, c->gin[0], scale, c->threads);
}

static void sum_backward(const wf_call *c)
{
    repeat_into(c, 1);
}

static void mean_backward(const wf_call *c)
{
    repeat_into(c, 1 / meeting(c->in[0], c->attr));
}

wf_var *reduction_repeated(wf_tape *t, wf_var *y, wf_var *x, const reduction *r)
{
    wf_shape shape = wf_shape_of(x), kept = shape;
    uint32_t mask = reduction_axes(r, shape.rank);
    for (int i = 0; i < kept.rank; i++)
        if (mask >> i & 1) kept.dim[i] = 1;
    return wf_expand(t, r->keep ? y : wf_reshape(t, y, kept), shape);
}

static void sum_gradient(wf_tape *t, const wf_gradient *g)
{
    g->gin[0] = reduction_repeated(t, g->gout[0], g->in[0], g->attr);
}

static void mean_gradient(wf_tape *t, const wf_gradient *g)
{
    double n = meeting(wf_value(g->in[0]), g->attr);
    g->gin[0] = reduction_repeated(t, wf_div_scalar(t, g->gout[0], n), g->in[0], g->attr);
}

/* ---- the maximum ---- */

static bool max_shape(wf_shaping *s)
{
    if (!reduction_shape(s)) return false;
    const wf_tensor *x = s->in[0];
    const int64_t count = wf_tensor_count(&s->out[0]);
    if (count != 0 && wf_tensor_count(x) == 0)
        return wf_refuse(s->error, "%s has nothing to choose from", SHAPE_TEXT(x));
    /* How many elements share each maximum. */
    return takes_scratch(s, &s->scratch_backward, count, sizeof(double));
}

typedef struct choosing {
    const op_kernels *kernels;
    int64_t bytes;
} choosing;

static void max_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const choosing *m = context;
    m->kernels->max(n, pointer[0], stride[0] / m->bytes, pointer[1], stride[1] / m->bytes);
}

static void max_forward(const wf_call *c)
{
    const wf_tensor *x = c->in[0], to = reduction_beside(c->out[0], x, c->attr);
    choosing m = { op_kernels_of(x->dtype), bytes_of(x) };
    wf_tensor_fill(c->out[0], -(double)INFINITY);
    walk_over(x, c->threads, OPERANDS(&to, x), max_run, &m);
}

/* Is x the maximum y? A NaN is: where one is, y is NaN. */
#define IS_IT(y, x) ((x) == (y) || (x) != (x))
#define NTH(T, k) (*(T *)(void *)(pointer[k] + i * stride[k]))

/* Runs of one dtype. Operands of count: how many share it (doubles), y, x; of share: gx, how many
 * share it, y, x, g. Along axes that went, all but x and gx stand still. */
#define CHOICE(dtype, suffix, T, ...)                                                              \
    static void count_##suffix(void *context, char *const pointer[], const int64_t stride[],       \
                               int64_t n)                                                          \
    {                                                                                              \
        (void)context;                                                                             \
        int64_t i = 0, found = 0;                                                                  \
        const T y = NTH(T, 1);                                                                     \
        if (stride[0] == 0 && stride[1] == 0) {                                                    \
            if (y == y)                                                                            \
                for (; i < n; i++) found += NTH(T, 2) == y;                                        \
            for (; i < n; i++) found += NTH(T, 2) != NTH(T, 2);                                    \
            *(double *)(void *)pointer[0] += (double)found;                                        \
        }                                                                                          \
        for (; i < n; i++)                                                                         \
            if (IS_IT(NTH(T, 1), NTH(T, 2))) NTH(double, 0) += 1;                                  \
    }                                                                                              \
    static void share_##suffix(void *context, char *const pointer[], const int64_t stride[],       \
                               int64_t n)                                                          \
    {                                                                                              \
        (void)context;                                                                             \
        int64_t i = 0;                                                                             \
        const T y = NTH(T, 2), all = NTH(T, 4) / (T)NTH(double, 1);                                \
        if (y == y && stride[1] == 0 && stride[2] == 0 && stride[4] == 0)                          \
            for (; i < n; i++)                                                                     \
                if (NTH(T, 3) == y) NTH(T, 0) += all;                                              \
        for (; i < n; i++)                                                                         \
            if (IS_IT(NTH(T, 2), NTH(T, 3))) NTH(T, 0) += NTH(T, 4) / (T)NTH(double, 1);           \
    }
WF_FLOATS(CHOICE)

static void max_backward(const wf_call *c)
{
#define COUNT(dtype, suffix, ...) [dtype] = count_##suffix,
#define SHARE(dtype, suffix, ...) [dtype] = share_##suffix,
    static wf_walk_fn *const count[] = { WF_FLOATS(COUNT) }, *const share_out[] = { WF_FLOATS(
                                                                 SHARE) };
    if (!c->gin[0] || !c->gout[0]) return;
    const wf_tensor *x = c->in[0];
    const wf_tensor y = reduction_beside(c->out[0], x, c->attr),
                    g = reduction_beside(c->gout[0], x, c->attr);
    const wf_tensor share = wf_tensor_of(WF_F64, wf_tensor_shape(&y), c->scratch);
    wf_tensor_fill(&share, 0);
    walk_over(x, c->threads, OPERANDS(&share, &y, x), count[x->dtype], NULL);
    walk_over(x, c->threads, OPERANDS(c->gin[0], &share, &y, x, &g), share_out[x->dtype], NULL);
}

static void max_gradient(wf_tape *t, const wf_gradient *g)
{
    wf_var *x = g->in[0];
    wf_dtype dtype = wf_dtype_of(x);
    reduction all = *(const reduction *)g->attr;
    int axes[WF_RANK];
    for (int i = 0; i < all.n; i++) axes[i] = all.axis[i];
    wf_axes over = { all.n, axes };
    wf_var *none = wf_zeros(t, dtype, WF_SCALAR), *one = wf_full(t, dtype, WF_SCALAR, 1);
    /* Nothing is above the maximum, and what is level with it is chosen: NaN too. */
    wf_var *chosen = wf_less(t, wf_above(t, reduction_repeated(t, g->out[0], x, &all), x), one);
    wf_var *share = wf_sum_keep(t, wf_where(t, chosen, one, none), all.n < 0 ? NULL : &over);
    wf_var *each = wf_div(t, reduction_repeated(t, g->gout[0], x, &all), share);
    g->gin[0] = wf_where(t, chosen, each, none);
}

/* ---- sum_to ---- */

static bool sum_to_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const wf_shape to = attr_shape(s->attr);
    if (!takes_floats(s, 0)) return false;
    bool fits = to.rank >= 0 && to.rank <= x->rank;
    for (int i = 1; fits && i <= to.rank; i++) {
        int64_t n = to.dim[to.rank - i];
        fits = n == 1 || n == x->dim[x->rank - i];
    }
    if (!fits)
        return wf_refuse(s->error, "%s does not broadcast to %s", SHAPE_TEXT(&to), SHAPE_TEXT(x));
    form_out(&s->out[0], x->dtype, to);
    return true;
}

static void sum_to_forward(const wf_call *c)
{
    sum_into(c, c->out[0], 1);
}

static void sum_to_gradient(wf_tape *t, const wf_gradient *g)
{
    g->gin[0] = wf_expand(t, g->gout[0], wf_shape_of(g->in[0]));
}

/* ---- samples and rows ---- */

static bool sample_reduction(int k, wf_sample *s, bool empty)
{
    static const struct {
        const char *label;
        wf_shape shape;
        reduction r;
    } tried[] = {
        { "all", { 2, { 3, 5 } }, { -1, { 0 }, false } },
        { "a scalar", { 0, { 0 } }, { -1, { 0 }, false } },
        { "the first axis", { 3, { 3, 5, 7 } }, { 1, { 0 }, false } },
        { "the middle axis", { 3, { 3, 5, 2 } }, { 1, { -2 }, false } },
        { "two axes, kept", { 3, { 3, 5, 2 } }, { 2, { 2, 0 }, true } },
        { "all, kept", { 2, { 3, 5 } }, { -1, { 0 }, true } },
        { "an empty result", { 2, { 0, 3 } }, { 1, { 1 }, false } },
        { "nothing", { 2, { 0, 3 } }, { 1, { 0 }, false } },
    };
    return k < COUNT_OF(tried) - !empty &&
           sample_one(s, tried[k].label, WF_F64, tried[k].shape, 2, &tried[k].r, sizeof tried[k].r);
}

static bool sum_sample(int k, wf_sample *s)
{
    return sample_reduction(k, s, true);
}

/* The mean and the maximum of nothing are no numbers to compare. */
static bool some_sample(int k, wf_sample *s)
{
    return sample_reduction(k, s, false);
}

static bool sum_to_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape from, to;
    } tried[] = {
        { "a row", { 2, { 3, 5 } }, { 1, { 5 } } },
        { "a column", { 3, { 7, 3, 5 } }, { 2, { 3, 1 } } },
        { "a scalar", { 2, { 3, 5 } }, { 0, { 0 } } },
        { "rows", { 2, { 3, 5 } }, { 2, { 3, 1 } } },
        { "ones", { 3, { 3, 1, 5 } }, { 3, { 1, 1, 5 } } },
        { "nothing", { 2, { 0, 3 } }, { 1, { 3 } } },
    };
    if (k >= COUNT_OF(tried)) return false;
    const shape_attr to = shape_attr_of(tried[k].to);
    return sample_one(s, tried[k].label, WF_F64, tried[k].from, 2, &to, sizeof to);
}

const wf_op op_sum = {
    .name = OP_NAME(sum),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(reduction),
    .varying = reduction_varying,
    .shape = reduction_shape,
    .forward = sum_forward,
    .backward = sum_backward,
    .gradient = sum_gradient,
    .sample = sum_sample,
};

const wf_op op_mean = {
    .name = OP_NAME(mean),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(reduction),
    .varying = reduction_varying,
    .shape = reduction_shape,
    .forward = mean_forward,
    .backward = mean_backward,
    .gradient = mean_gradient,
    .sample = some_sample,
};

const wf_op op_max = {
    .name = OP_NAME(max),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(reduction),
    .reads_in = 1,
    .reads_out = 1,
    .varying = reduction_varying,
    .shape = max_shape,
    .forward = max_forward,
    .backward = max_backward,
    .gradient = max_gradient,
    .sample = some_sample,
};

const wf_op op_sum_to = {
    .name = OP_NAME(sum_to),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(shape_attr),
    .varying = broadcast_varying,
    .shape = sum_to_shape,
    .forward = sum_to_forward,
    .backward = backward_add,
    .gradient = sum_to_gradient,
    .sample = sum_to_sample,
};

static wf_var *reduce(wf_tape *t, const wf_op *op, wf_var *x, const wf_axes *axes, bool keep)
{
    reduction r = reduction_of(axes, keep);
    return wf_apply_one(t, op, 1, &x, &r);
}

#define REDUCTION(op)                                                                              \
    wf_var *wf_##op(wf_tape *t, wf_var *x, const wf_axes *axes)                                    \
    {                                                                                              \
        return reduce(t, &op_##op, x, axes, false);                                                \
    }                                                                                              \
    wf_var *wf_##op##_keep(wf_tape *t, wf_var *x, const wf_axes *axes)                             \
    {                                                                                              \
        return reduce(t, &op_##op, x, axes, true);                                                 \
    }
REDUCTION(sum)
REDUCTION(mean)
REDUCTION(max)
REDUCTION(norm)

wf_var *wf_sum_to(wf_tape *t, wf_var *x, wf_shape shape)
{
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, op_sum_to.name, 0))) return NULL;
    const wf_shape now = wf_shape_of(x);
    const shape_attr to = shape_attr_of(shape);
    return wf_shape_equal(&now, &shape) ? x : wf_apply_one(t, &op_sum_to, 1, &x, &to);
}

/* ---- logsumexp ---- */

/* What is taken out before exp is a constant: the whole's derivative by it is 0. Where nothing is
 * left, -inf is chosen, and no 0 meets the derivative of log(0). */
static wf_var *logsumexp(wf_tape *t, wf_var *x, const wf_axes *axes, bool keep)
{
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, "logsumexp", 0))) return NULL;
    if (wf_count(x) == 0) return wf_log(t, reduce(t, &op_sum, x, axes, keep));
    const wf_dtype dtype = wf_dtype_of(x);
    wf_var *zero = wf_zeros(t, dtype, WF_SCALAR), *one = wf_full(t, dtype, WF_SCALAR, 1);
    wf_var *most = wf_detach(t, wf_max_keep(t, x, axes));
    wf_var *shift = wf_where(t, wf_equal(t, wf_sub(t, most, most), zero), most, zero);
    wf_var *sum = reduce(t, &op_sum, wf_exp(t, wf_sub(t, x, shift)), axes, keep);
    if (!sum) return NULL;
    wf_var *nothing = wf_equal(t, sum, zero);
    wf_var *y = wf_add(t, wf_log(t, wf_where(t, nothing, one, sum)),
                       wf_reshape(t, shift, wf_shape_of(sum)));
    return wf_where(t, nothing, wf_full(t, dtype, WF_SCALAR, -(double)INFINITY), y);
}

wf_var *wf_logsumexp(wf_tape *t, wf_var *x, const wf_axes *axes)
{
    return logsumexp(t, x, axes, false);
}

wf_var *wf_logsumexp_keep(wf_tape *t, wf_var *x, const wf_axes *axes)
{
    return logsumexp(t, x, axes, true);
}
