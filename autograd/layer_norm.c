/* Layer normalisation over the last axis. A row's mean and deviation are kept in double. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "tensor/sum.h"

#include <math.h>

enum { X, SCALE, SHIFT };       /* inputs */
enum { Y, MEAN, FACTOR, MADE }; /* outputs; the factor is 1 / the deviation */

static const double usual_eps = 1e-5;

static bool shape(wf_shaping *s)
{
    static const char *const names[] = { "x", "scale", "shift" };
    const wf_tensor *x = s->in[X];
    const double eps = *(const double *)s->attr;
    if (!takes_floats(s, X)) return false;
    if (x->rank < 1) return wf_refuse(s->error, "x is (); expected (..., features)");
    if (!(eps > 0 && eps < (double)INFINITY))
        return wf_refuse(s->error, "eps is %g; it must be above 0 and finite, or 0 for %g", eps,
                         usual_eps);
    for (int i = SCALE; i <= SHIFT; i++) {
        if (!s->in[i]) continue;
        if (!same_dtype(s, i, X, names)) return false;
        if (s->in[i]->rank != 1 || s->in[i]->dim[0] != x->dim[x->rank - 1])
            return wf_refuse(s->error, "%s is %s; expected (%lld), as x's last axis is", names[i],
                             SHAPE_TEXT(s->in[i]), (long long)x->dim[x->rank - 1]);
    }
    for (int i = 0; i < MADE; i++) {
        form_out(&s->out[i], i == Y ? x->dtype : WF_F64, wf_tensor_shape(x));
        if (i != Y) s->out[i].dim[x->rank - 1] = 1;
    }
    return true;
}

static uint32_t varying(const wf_call *c)
{
    return c->in[X]->rank > 1 ? 1 : 0;
}

/* The rows of x and of what goes with them: y, or the gradient of x, and the cotangent. */
typedef struct norm_rows {
    const op_kernels *kernels;
    const wf_tensor *scale, *shift;
    op_rows x, y, g;
    double eps, *mean, *factor;
} norm_rows;

static void *data(const wf_tensor *x)
{
    return x ? x->data : NULL;
}

static int64_t step(const wf_tensor *x)
{
    return x ? x->stride[0] : 0;
}

static void forward_rows(void *context, int64_t begin, int64_t end)
{
    const norm_rows *r = context;
    for (int64_t i = begin; i < end; i++)
        r->kernels->layer_norm(r->x.n, row_at(&r->x, i), r->x.step, data(r->scale), step(r->scale),
                               data(r->shift), step(r->shift), row_at(&r->y, i), r->y.step, r->eps,
                               &r->mean[i], &r->factor[i]);
}

static void backward_rows(void *context, int64_t begin, int64_t end)
{
    const norm_rows *r = context;
    for (int64_t i = begin; i < end; i++)
        r->kernels->layer_norm_back(r->x.n, row_at(&r->x, i), r->x.step, data(r->scale),
                                    step(r->scale), row_at(&r->g, i), r->g.step, r->mean[i],
                                    r->factor[i], row_at(&r->y, i), r->y.step);
}

static norm_rows rows_of(const wf_call *c, const wf_tensor *y)
{
    const wf_tensor *x = c->in[X];
    return (norm_rows){ .kernels = op_kernels_of(x->dtype),
                        .scale = c->in[SCALE],
                        .shift = c->in[SHIFT],
                        .x = rows_along(x, x->rank - 1),
                        .y = rows_along(y, x->rank - 1),
                        .eps = *(const double *)c->attr,
                        .mean = c->out[MEAN]->data,
                        .factor = c->out[FACTOR]->data };
}

static void forward(const wf_call *c)
{
    norm_rows r = rows_of(c, c->out[Y]);
    if (r.x.n > 0) each_row(c->threads, wf_tensor_count(c->in[X]) / r.x.n, r.x.n, forward_rows, &r);
}

/* Adds up g times the normalised x: operands are the sums, x, g, and the mean and the factor. */
static void scale_tile(void *context, const wf_sum_tile *t)
{
    const norm_rows *r = context;
    const int64_t bytes = r->x.bytes;
    const bool columns = t->run == 1;
    const int64_t n = columns ? t->columns : t->run, times = columns ? 1 : t->columns;
    const int64_t *along = columns ? t->column_stride : t->run_stride;
    for (int64_t i = 0; i < t->rows * times; i++) {
        const int64_t row = i / times, c = i % times;
        const char *at[5];
        for (int k = 1; k < 5; k++)
            at[k] = t->pointer[k] + row * t->row_stride[k] + c * t->column_stride[k];
        r->kernels->layer_norm_scale(n, at[1], along[1] / bytes, at[2], along[2] / bytes, at[3],
                                     along[3] / (int64_t)sizeof(double), at[4], t->high + c,
                                     t->low + c, columns);
    }
}

static void backward(const wf_call *c)
{
    const wf_tensor *x = c->in[X], *g = c->gout[Y];
    if (!g) return;
    norm_rows r = rows_of(c, c->gin[X] ? c->gin[X] : x);
    r.g = rows_along(g, g->rank - 1);
    if (c->gin[X] && r.x.n > 0)
        each_row(c->threads, wf_tensor_count(x) / r.x.n, r.x.n, backward_rows, &r);
    if (c->gin[SHIFT]) wf_sum_tensor(g, c->gin[SHIFT], 1, 1, c->threads);
    if (!c->gin[SCALE]) return;
    wf_walk walk;
    if (wf_walk_plan(&walk, wf_tensor_shape(x), 5,
                     (const wf_tensor *[]){ c->gin[SCALE], x, g, c->out[MEAN], c->out[FACTOR] }))
        wf_walk_sum(&walk, 0, x->dtype, 1, 1, c->threads, scale_tile, &r);
}

static bool reference(wf_tape *t, const wf_reference *r)
{
    wf_var *x = r->in[X];
    wf_var *d = wf_sub(t, x, wf_mean_keep(t, x, WF_AXES(-1)));
    wf_var *variance = wf_mean_keep(t, wf_square(t, d), WF_AXES(-1));
    wf_var *y = wf_div(t, d, wf_sqrt(t, wf_add_scalar(t, variance, *(const double *)r->attr)));
    if (r->in[SCALE]) y = wf_mul(t, y, r->in[SCALE]);
    if (r->in[SHIFT]) y = wf_add(t, y, r->in[SHIFT]);
    r->out[Y] = y;
    return y != NULL;
}

static bool sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape x;
        bool scale, shift;
    } tried[] = {
        { "rows", { 2, { 3, 5 } }, true, true },
        { "several axes", { 3, { 2, 3, 7 } }, true, true },
        { "no scale", { 2, { 3, 5 } }, false, true },
        { "no shift", { 2, { 3, 5 } }, true, false },
        { "neither", { 2, { 3, 19 } }, false, false },
        { "one row", { 1, { 5 } }, true, true },
        { "one feature", { 2, { 3, 1 } }, true, true },
        { "no rows", { 2, { 0, 5 } }, true, true },
        { "no features", { 2, { 3, 0 } }, true, true },
    };
    if (k >= COUNT_OF(tried)) return false;
    const wf_shape features = WF_SHAPE(tried[k].x.dim[tried[k].x.rank - 1]), none = { .rank = -1 };
    s->label = tried[k].label;
    sample_input(s, WF_F64, tried[k].x, -2, 2);
    sample_input(s, WF_F64, tried[k].scale ? features : none, -2, 2);
    sample_input(s, WF_F64, tried[k].shift ? features : none, -2, 2);
    s->attr.align = 1e-3;
    return true;
}

const wf_op op_layer_norm = {
    .name = OP_NAME(layer_norm),
    .inputs = 3,
    .outputs = 1,
    .hidden = MADE - 1,
    .attr_size = sizeof(double),
    .optional = 1 << SCALE | 1 << SHIFT,
    .reads_in = 1 << X | 1 << SCALE,
    .reads_out = 1 << MEAN | 1 << FACTOR,
    .varying = varying,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .reference = reference,
    .sample = sample,
};

wf_var *wf_layer_norm(wf_tape *t, wf_var *x, wf_var *scale, wf_var *shift, double eps)
{
    if (eps == 0) eps = usual_eps;
    return wf_apply_one(t, &op_layer_norm, 3, (wf_var *[]){ x, scale, shift }, &eps);
}
