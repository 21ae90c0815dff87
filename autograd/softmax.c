/* softmax and log_softmax along an axis. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "tensor/par.h"

#include <string.h>

enum { ELEMENTS = 8192 };

static bool shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const int32_t axis = *(const int32_t *)s->attr;
    char text[WF_SHAPE_TEXT];
    if (!is_float(x)) return wf_refuse(s->error, "takes f32 or f64, not i32");
    if (wf_axis(x->rank, axis) < 0)
        return wf_refuse(s->error, "axis %d is out of range for %s", axis, shape_text(text, x));
    s->out[0] = *x;
    return true;
}

/* The rows along an axis of up to three tensors of one shape. */
typedef struct rows {
    const op_kernels *kernels;
    bool logarithm;
    int64_t n, bytes, step[3];
    wf_tensor begin[3]; /* the first elements of all rows */
} rows;

/* Row `index`, row-major over the other axes. */
static void *row_at(const rows *r, int which, int64_t index)
{
    const wf_tensor *x = &r->begin[which];
    return (char *)x->data + wf_tensor_offset(x, x->rank, index) * r->bytes;
}

static void forward_rows(void *context, int64_t begin, int64_t end)
{
    const rows *r = context;
    for (int64_t i = begin; i < end; i++)
        r->kernels->softmax(r->n, row_at(r, 0, i), r->step[0], row_at(r, 1, i), r->step[1],
                            r->logarithm);
}

static void backward_rows(void *context, int64_t begin, int64_t end)
{
    const rows *r = context;
    for (int64_t i = begin; i < end; i++)
        r->kernels->softmax_back(r->n, row_at(r, 0, i), r->step[0], row_at(r, 1, i), r->step[1],
                                 row_at(r, 2, i), r->step[2], r->logarithm);
}

/* n tensors of one shape. */
static void each_row(const wf_call *c, int n, const wf_tensor *const x[], bool logarithm,
                     wf_par_fn *fn)
{
    const int64_t count = wf_tensor_count(x[0]);
    if (count == 0) return;
    const int axis = wf_axis(x[0]->rank, *(const int32_t *)c->attr);
    rows r = { .kernels = op_kernels_of(x[0]->dtype),
               .logarithm = logarithm,
               .n = x[0]->dim[axis],
               .bytes = bytes_of(x[0]) };
    for (int i = 0; i < n; i++) {
        r.step[i] = r.n == 1 ? 1 : x[i]->stride[axis];
        wf_view_select(x[i], axis, 0, &r.begin[i]);
    }
    wf_par_for(c->threads, count / r.n, ELEMENTS / r.n + 1, fn, &r);
}

static void forward(const wf_call *c, bool logarithm)
{
    each_row(c, 2, (const wf_tensor *[]){ c->in[0], c->out[0] }, logarithm, forward_rows);
}

static void backward(const wf_call *c, bool logarithm)
{
    if (c->gin[0] && c->gout[0])
        each_row(c, 3, (const wf_tensor *[]){ c->out[0], c->gout[0], c->gin[0] }, logarithm,
                 backward_rows);
}

static void softmax_forward(const wf_call *c)
{
    forward(c, false);
}

static void softmax_backward(const wf_call *c)
{
    backward(c, false);
}

static void log_softmax_forward(const wf_call *c)
{
    forward(c, true);
}

static void log_softmax_backward(const wf_call *c)
{
    backward(c, true);
}

static void softmax_gradient(wf_tape *t, const wf_gradient *g)
{
    if (!g->gout[0] || !g->wanted[0]) return;
    const int axis = *(const int32_t *)g->attr;
    wf_var *y = g->out[0], *gy = g->gout[0];
    wf_var *inner = wf_sum_keep(t, wf_mul(t, y, gy), WF_AXES(axis));
    g->gin[0] = wf_mul(t, y, wf_sub(t, gy, inner));
}

static void log_softmax_gradient(wf_tape *t, const wf_gradient *g)
{
    if (!g->gout[0] || !g->wanted[0]) return;
    const int axis = *(const int32_t *)g->attr;
    wf_var *gy = g->gout[0], *none = wf_zeros(t, wf_dtype_of(gy), WF_SCALAR);
    wf_var *p = wf_exp(t, g->out[0]), *all = wf_sum_keep(t, gy, WF_AXES(axis));
    /* A row that is -inf throughout shares out nothing, and gets nothing. */
    wf_var *nothing = wf_equal(t, wf_sum_keep(t, p, WF_AXES(axis)), none);
    g->gin[0] = wf_where(t, nothing, none, wf_sub(t, gy, wf_mul(t, p, all)));
}

static bool sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape shape;
        int32_t axis;
    } tried[] = {
        { "the last axis", { 2, { 3, 5 } }, -1 },
        { "the first axis", { 2, { 5, 3 } }, 0 },
        { "the middle axis", { 3, { 2, 5, 3 } }, 1 },
        { "one class", { 2, { 3, 1 } }, 1 },
        { "a vector", { 1, { 19 } }, 0 },
        { "no rows", { 2, { 0, 3 } }, -1 },
        { "no classes", { 2, { 3, 0 } }, -1 },
    };
    if (k >= (int)(sizeof tried / sizeof tried[0])) return false;
    return sample_one(s, tried[k].label, WF_F64, tried[k].shape, 2, &tried[k].axis,
                      sizeof tried[k].axis);
}

const wf_op op_softmax = {
    .name = OP_NAME(softmax),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(int32_t),
    .reads_out = 1,
    .varying = axis_varying,
    .shape = shape,
    .forward = softmax_forward,
    .backward = softmax_backward,
    .gradient = softmax_gradient,
    .sample = sample,
};

const wf_op op_log_softmax = {
    .name = OP_NAME(log_softmax),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(int32_t),
    .reads_out = 1,
    .varying = axis_varying,
    .shape = shape,
    .forward = log_softmax_forward,
    .backward = log_softmax_backward,
    .gradient = log_softmax_gradient,
    .sample = sample,
};

wf_var *wf_softmax(wf_tape *t, wf_var *x, int axis)
{
    int32_t along = axis;
    return wf_apply_one(t, &op_softmax, 1, &x, &along);
}

wf_var *wf_log_softmax(wf_tape *t, wf_var *x, int axis)
{
    int32_t along = axis;
    return wf_apply_one(t, &op_log_softmax, 1, &x, &along);
}
