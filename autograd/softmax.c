/* softmax, of all or of what a mask lets take part, and log_softmax along an axis. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"

static bool shape(wf_shaping *s)
{
    if (!takes_floats(s, 0) || takes_axis(s, *(const int32_t *)s->attr) < 0) return false;
    s->out[0] = *s->in[0];
    return true;
}

/* The rows along an axis of up to four tensors of one shape. */
typedef struct softmax_rows {
    const op_kernels *kernels;
    bool logarithm;
    op_rows of[4];
} softmax_rows;

static void forward_rows(void *context, int64_t begin, int64_t end)
{
    const softmax_rows *r = context;
    const op_rows *x = &r->of[0], *y = &r->of[1];
    for (int64_t i = begin; i < end; i++)
        r->kernels->softmax(x->n, row_at(x, i), x->step, row_at(y, i), y->step, r->logarithm);
}

static void backward_rows(void *context, int64_t begin, int64_t end)
{
    const softmax_rows *r = context;
    const op_rows *y = &r->of[0], *g = &r->of[1], *gx = &r->of[2];
    for (int64_t i = begin; i < end; i++)
        r->kernels->softmax_back(y->n, row_at(y, i), y->step, row_at(g, i), g->step, row_at(gx, i),
                                 gx->step, r->logarithm);
}

/* n tensors of one shape. */
static void all_rows(const wf_call *c, int n, const wf_tensor *const x[], bool logarithm,
                     wf_par_fn *fn)
{
    const int64_t count = wf_tensor_count(x[0]);
    const int axis = wf_axis(x[0]->rank, *(const int32_t *)c->attr);
    softmax_rows r = { .kernels = op_kernels_of(c->out[0]->dtype), .logarithm = logarithm };
    for (int i = 0; i < n; i++) r.of[i] = rows_along(x[i], axis);
    if (count > 0) each_row(c->threads, count / r.of[0].n, r.of[0].n, fn, &r);
}

static void forward(const wf_call *c, bool logarithm)
{
    all_rows(c, OPERANDS(c->in[0], c->out[0]), logarithm, forward_rows);
}

static void backward(const wf_call *c, bool logarithm)
{
    if (c->gin[0] && c->gout[0])
        all_rows(c, OPERANDS(c->out[0], c->gout[0], c->gin[0]), logarithm, backward_rows);
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
    const int axis = *(const int32_t *)g->attr;
    wf_var *y = g->out[0], *gy = g->gout[0];
    wf_var *inner = wf_sum_keep(t, wf_mul(t, y, gy), WF_AXES(axis));
    g->gin[0] = wf_mul(t, y, wf_sub(t, gy, inner));
}

static void log_softmax_gradient(wf_tape *t, const wf_gradient *g)
{
    const int axis = *(const int32_t *)g->attr;
    wf_var *gy = g->gout[0], *none = wf_zeros(t, wf_dtype_of(gy), WF_SCALAR);
    wf_var *p = wf_exp(t, g->out[0]), *all = wf_sum_keep(t, gy, WF_AXES(axis));
    /* A row that is -inf throughout shares out nothing, and gets nothing. */
    wf_var *nothing = wf_equal(t, wf_sum_keep(t, p, WF_AXES(axis)), none);
    g->gin[0] = wf_where(t, nothing, none, wf_sub(t, gy, wf_mul(t, p, all)));
}

/* ---- of what takes part ---- */

static bool masked_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0], *mask = s->in[1];
    const wf_shape to = wf_tensor_shape(x);
    wf_tensor repeated;
    if (!shape(s)) return false;
    if (mask->dtype != WF_I32)
        return wf_refuse(s->error, "the mask is %s; expected i32", wf_dtype_name(mask->dtype));
    return wf_view_expand(mask, to, &repeated) ||
           wf_refuse(s->error, "the mask is %s; expected what broadcasts to %s", SHAPE_TEXT(mask),
                     SHAPE_TEXT(x));
}

static uint32_t masked_varying(const wf_call *c)
{
    return axis_varying(c) & broadcast_varying(c);
}

static void masked_forward_rows(void *context, int64_t begin, int64_t end)
{
    const softmax_rows *r = context;
    const op_rows *mask = &r->of[0], *x = &r->of[1], *y = &r->of[2];
    for (int64_t i = begin; i < end; i++)
        r->kernels->masked_softmax(x->n, row_at(x, i), x->step, row_at(mask, i), mask->step,
                                   row_at(y, i), y->step);
}

static void masked_backward_rows(void *context, int64_t begin, int64_t end)
{
    const softmax_rows *r = context;
    const op_rows *mask = &r->of[0], *y = &r->of[1], *g = &r->of[2], *gx = &r->of[3];
    for (int64_t i = begin; i < end; i++)
        r->kernels->masked_softmax_back(y->n, row_at(mask, i), mask->step, row_at(y, i), y->step,
                                        row_at(g, i), g->step, row_at(gx, i), gx->step);
}

/* The mask, repeated to x's shape. */
static wf_tensor mask_of(const wf_call *c)
{
    wf_tensor mask;
    wf_view_expand(c->in[1], wf_tensor_shape(c->in[0]), &mask);
    return mask;
}

static void masked_forward(const wf_call *c)
{
    const wf_tensor mask = mask_of(c);
    all_rows(c, OPERANDS(&mask, c->in[0], c->out[0]), false, masked_forward_rows);
}

static void masked_backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0]) return;
    const wf_tensor mask = mask_of(c);
    all_rows(c, OPERANDS(&mask, c->out[0], c->gout[0], c->gin[0]), false, masked_backward_rows);
}

static void masked_gradient(wf_tape *t, const wf_gradient *g)
{
    const int axis = *(const int32_t *)g->attr;
    wf_var *y = g->out[0], *mask = g->in[1], *gy = g->gout[0];
    wf_var *none = wf_zeros(t, wf_dtype_of(gy), WF_SCALAR);
    wf_var *seen = wf_where(t, mask, gy, none);
    wf_var *inner = wf_sum_keep(t, wf_mul(t, y, seen), WF_AXES(axis));
    g->gin[0] = wf_where(t, mask, wf_mul(t, y, wf_sub(t, seen, inner)), none);
}

/* ---- samples and rows ---- */

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
    return k < COUNT_OF(tried) && sample_one(s, tried[k].label, WF_F64, tried[k].shape, 2,
                                             &tried[k].axis, sizeof tried[k].axis);
}

static bool masked_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape shape, mask;
        int32_t axis;
    } tried[] = {
        { "a mask of each element", { 2, { 3, 7 } }, { 2, { 3, 7 } }, -1 },
        { "one for all rows", { 3, { 2, 3, 7 } }, { 1, { 7 } }, -1 },
        { "rows that are hidden", { 2, { 5, 3 } }, { 2, { 5, 1 } }, 1 },
        { "the first axis", { 2, { 5, 3 } }, { 2, { 5, 1 } }, 0 },
        { "the middle axis", { 3, { 2, 5, 3 } }, { 2, { 5, 3 } }, 1 },
        { "padding of attention", { 4, { 2, 3, 2, 5 } }, { 4, { 2, 1, 1, 5 } }, -1 },
        { "a scalar mask", { 1, { 19 } }, { 0, { 0 } }, 0 },
        { "no rows", { 2, { 0, 3 } }, { 1, { 3 } }, -1 },
        { "no classes", { 2, { 3, 0 } }, { 2, { 3, 0 } }, -1 },
    };
    if (k >= COUNT_OF(tried)) return false;
    sample_one(s, tried[k].label, WF_F64, tried[k].shape, 2, &tried[k].axis, sizeof tried[k].axis);
    sample_input(s, WF_I32, tried[k].mask, 0, 1);
    return true;
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

const wf_op op_masked_softmax = {
    .name = OP_NAME(masked_softmax),
    .inputs = 2,
    .outputs = 1,
    .attr_size = sizeof(int32_t),
    .reads_in = 2,
    .reads_out = 1,
    .varying = masked_varying,
    .shape = masked_shape,
    .forward = masked_forward,
    .backward = masked_backward,
    .gradient = masked_gradient,
    .sample = masked_sample,
};

wf_var *wf_softmax(wf_tape *t, wf_var *x, int axis)
{
    return wf_apply_one(t, &op_softmax, 1, &x, &(int32_t){ axis });
}

wf_var *wf_log_softmax(wf_tape *t, wf_var *x, int axis)
{
    return wf_apply_one(t, &op_log_softmax, 1, &x, &(int32_t){ axis });
}

wf_var *wf_masked_softmax(wf_tape *t, wf_var *x, wf_var *mask, int axis)
{
    if (!mask) return wf_softmax(t, x, axis);
    return wf_apply_one(t, &op_masked_softmax, 2, (wf_var *[]){ x, mask }, &(int32_t){ axis });
}
