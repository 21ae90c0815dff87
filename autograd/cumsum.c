/* Sums of everything up to each element of an axis. */
#include "autograd/ops_private.h"
#include "tensor/sum.h"

static bool cumsum_shape(wf_shaping *s)
{
    if (!takes_floats(s, 0) || takes_axis(s, *(const int32_t *)s->attr) < 0) return false;
    s->out[0] = *s->in[0];
    return true;
}

/* Rows of two tensors of one shape, from the axis's first element on or from its last. */
typedef struct running {
    op_rows from, to;
    bool reversed;
} running;

/* Each sum is rounded once, from one that is held as tensor/sum.h says: term by term. */
#define RUNNING(dtype, suffix, T, ...)                                                             \
    static void sums_##suffix(void *context, int64_t begin, int64_t end)                           \
    {                                                                                              \
        const running *r = context;                                                                \
        const int64_t n = r->from.n, xs = r->from.step, ys = r->to.step;                           \
        for (int64_t row = begin; row < end; row++) {                                              \
            const T *x = row_at(&r->from, row);                                                    \
            T *y = row_at(&r->to, row);                                                            \
            double high = 0, low = 0;                                                              \
            for (int64_t k = 0; k < n; k++) {                                                      \
                const int64_t i = r->reversed ? n - 1 - k : k;                                     \
                wf_sum_term(&high, &low, (double)x[i * xs]);                                       \
                const T sum = (T)wf_sum_value(high, low);                                          \
                y[i * ys] = r->reversed ? y[i * ys] + sum : sum;                                   \
            }                                                                                      \
        }                                                                                          \
    }
WF_FLOATS(RUNNING)

static void sums(const wf_call *c, const wf_tensor *x, const wf_tensor *y, bool reversed)
{
#define SUMS(dtype, suffix, ...) [dtype] = sums_##suffix,
    static wf_par_fn *const of[] = { WF_FLOATS(SUMS) };
    const int axis = wf_axis(x->rank, *(const int32_t *)c->attr);
    running r = { rows_along(x, axis), rows_along(y, axis), reversed };
    const int64_t count = wf_tensor_count(x);
    if (count > 0) each_row(c->threads, count / r.from.n, r.from.n, of[x->dtype], &r);
}

static void cumsum_forward(const wf_call *c)
{
    sums(c, c->in[0], c->out[0], false);
}

static void cumsum_backward(const wf_call *c)
{
    if (c->gin[0] && c->gout[0]) sums(c, c->gout[0], c->gin[0], true);
}

static void cumsum_gradient(wf_tape *t, const wf_gradient *g)
{
    const int axis = *(const int32_t *)g->attr;
    wf_var *back = wf_cumsum(t, wf_flip(t, g->gout[0], WF_AXES(axis)), axis);
    g->gin[0] = wf_flip(t, back, WF_AXES(axis));
}

static bool cumsum_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape shape;
        int32_t axis;
    } tried[] = {
        { "the last axis", { 2, { 3, 5 } }, -1 },     { "the first axis", { 2, { 5, 3 } }, 0 },
        { "the middle axis", { 3, { 2, 5, 3 } }, 1 }, { "a vector", { 1, { 19 } }, 0 },
        { "no rows", { 2, { 0, 3 } }, -1 },           { "nothing to add", { 2, { 3, 0 } }, -1 },
    };
    return k < COUNT_OF(tried) && sample_one(s, tried[k].label, WF_F64, tried[k].shape, 2,
                                             &tried[k].axis, sizeof tried[k].axis);
}

const wf_op op_cumsum = {
    .name = OP_NAME(cumsum),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(int32_t),
    .varying = axis_varying,
    .shape = cumsum_shape,
    .forward = cumsum_forward,
    .backward = cumsum_backward,
    .gradient = cumsum_gradient,
    .sample = cumsum_sample,
};

wf_var *wf_cumsum(wf_tape *t, wf_var *x, int axis)
{
    return wf_apply_one(t, &op_cumsum, 1, &x, &(int32_t){ axis });
}
