/* Batch normalisation: over every axis but the channels', by the statistics of the batch or by
 * those that are given. A channel's mean and deviation are kept in double. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "autograd/views.h"
#include "tensor/size.h"
#include "tensor/sum.h"

#include <math.h>
#include <string.h>

enum { X, SCALE, SHIFT, MASK, MEAN, VARIANCE, INPUTS }; /* the last two of the given form alone */
enum { Y, MADE_MEAN, MADE_VARIANCE, MADE_COUNT, SAVED, MADE };

static const double usual_eps = 1e-5;

static int64_t channels(const wf_tensor *x)
{
    return x->dim[1];
}

/* ---- what both take ---- */

static bool is_by_channel(const wf_shaping *s, int i, const char *const names[])
{
    const wf_tensor *x = s->in[X], *v = s->in[i];
    if (!same_dtype(s, i, X, names)) return false;
    return (v->rank == 1 && v->dim[0] == channels(x)) ||
           wf_refuse(s->error, "%s is %s; expected (%lld), as x's axis 1 is", names[i],
                     SHAPE_TEXT(v), (long long)channels(x));
}

static bool inputs_sound(const wf_shaping *s)
{
    static const char *const names[] = { "x", "scale", "shift", "mask", "mean", "variance" };
    const wf_tensor *x = s->in[X], *mask = s->in[MASK];
    const double eps = *(const double *)s->attr;
    wf_tensor repeated;
    if (!takes_floats(s, X)) return false;
    if (x->rank < 2)
        return wf_refuse(s->error, "x is %s; expected (batch, channels, ...)", SHAPE_TEXT(x));
    if (!(eps > 0 && eps < (double)INFINITY))
        return wf_refuse(s->error, "eps is %g; it must be above 0 and finite, or 0 for %g", eps,
                         usual_eps);
    for (int i = SCALE; i < s->n_in; i++)
        if (i != MASK && s->in[i] && !is_by_channel(s, i, names)) return false;
    if (!mask) return true;
    if (mask->dtype != WF_I32)
        return wf_refuse(s->error, "the mask is %s; expected i32", wf_dtype_name(mask->dtype));
    return wf_view_expand(mask, wf_tensor_shape(x), &repeated) ||
           wf_refuse(s->error, "the mask is %s; expected what broadcasts to %s", SHAPE_TEXT(mask),
                     SHAPE_TEXT(x));
}

/* ---- walks over x and what goes with it ---- */

/* The numbers of channels, as they stand beside x: (C, 1, ...). */
static wf_tensor beside(wf_tensor by_channel, const wf_tensor *x)
{
    while (by_channel.rank < x->rank - 1)
        by_channel = tensor_with_axis(by_channel, by_channel.rank, 1, 1);
    return by_channel;
}

static wf_tensor doubles(double *data, const wf_tensor *x)
{
    return beside(wf_tensor_of(WF_F64, WF_SHAPE(channels(x)), data), x);
}

enum { MOST = WF_WALK_OPERANDS };
/* Operands of a walk: the first is written, others may be missing. at[k]: which one it is, or -1.
 */
typedef struct batch_walk {
    const op_kernels *kernels;
    batch_term what;
    int64_t bytes;
    int at[MOST];
} batch_walk;

static bool plan(batch_walk *b, wf_walk *walk, const wf_tensor *x, int n,
                 const wf_tensor *const operand[])
{
    const wf_tensor *there[MOST];
    int count = 0;
    b->kernels = op_kernels_of(x->dtype);
    b->bytes = bytes_of(x);
    for (int k = 0; k < MOST; k++) {
        b->at[k] = k < n && operand[k] ? count : -1;
        if (b->at[k] >= 0) there[count++] = operand[k];
    }
    return wf_walk_plan(walk, wf_tensor_shape(x), count, there);
}

static void *pointer_of(const batch_walk *b, int k, char *const pointer[])
{
    return b->at[k] < 0 ? NULL : pointer[b->at[k]];
}

static int64_t stride_of(const batch_walk *b, int k, const int64_t stride[], int64_t bytes)
{
    return b->at[k] < 0 ? 0 : stride[b->at[k]] / bytes;
}

/* The operands that all walks have: what is written, x, g, the mask, mean and factor. */
enum { OUT, OF_X, OF_G, OF_MASK, OF_MEAN, OF_FACTOR, FIRST };

static batch_row row_of(const batch_walk *b, int64_t n, char *const pointer[],
                        const int64_t stride[])
{
    return (batch_row){
        .n = n,
        .x = pointer_of(b, OF_X, pointer),
        .x_step = stride_of(b, OF_X, stride, b->bytes),
        .g = pointer_of(b, OF_G, pointer),
        .g_step = stride_of(b, OF_G, stride, b->bytes),
        .mask = pointer_of(b, OF_MASK, pointer),
        .mask_step = stride_of(b, OF_MASK, stride, (int64_t)sizeof(int32_t)),
        .mean = pointer_of(b, OF_MEAN, pointer),
        .factor = pointer_of(b, OF_FACTOR, pointer),
        .channel = stride_of(b, OF_MEAN, stride, (int64_t)sizeof(double)),
        .out_step = stride_of(b, OUT, stride, b->bytes),
    };
}

static void terms_tile(void *context, const wf_sum_tile *t)
{
    const batch_walk *b = context;
    const bool columns = t->run == 1;
    const int64_t n = columns ? t->columns : t->run, times = columns ? 1 : t->columns;
    const int64_t *along = columns ? t->column_stride : t->run_stride;
    for (int64_t i = 0; i < t->rows * times; i++) {
        const int64_t row = i / times, c = i % times;
        char *at[MOST];
        for (int k = 0; k < MOST; k++)
            if (b->at[k] >= 0)
                at[b->at[k]] = t->pointer[b->at[k]] + row * t->row_stride[b->at[k]] +
                               c * t->column_stride[b->at[k]];
        const batch_row r = row_of(b, n, at, along);
        b->kernels->batch_terms(&r, b->what, t->high + c, t->low + c, columns);
    }
}

/* Adds up one kind of term by channel. Mean and factor, doubles by channel, may be missing where
 * nothing is done with them. */
static void sum_terms(const wf_call *c, batch_term what, const wf_tensor *x, const wf_tensor *g,
                      double *mean, double *factor, double *sums)
{
    const wf_tensor to = doubles(sums, c->in[X]), m = doubles(mean, c->in[X]),
                    f = doubles(factor, c->in[X]);
    batch_walk b = { .what = what };
    wf_walk walk;
    memset(sums, 0, (size_t)channels(c->in[X]) * sizeof *sums);
    if (plan(&b, &walk, c->in[X], FIRST,
             (const wf_tensor *[]){ &to, x, g, c->in[MASK], mean ? &m : NULL, factor ? &f : NULL }))
        wf_walk_sum(&walk, 0, WF_F64, 1, 1, c->threads, terms_tile, &b);
}

enum { OF_SCALE = FIRST, OF_SHIFT };

static void apply_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const batch_walk *b = context;
    const batch_row r = row_of(b, n, pointer, stride);
    b->kernels->batch_norm(&r, pointer_of(b, OF_SCALE, pointer),
                           stride_of(b, OF_SCALE, stride, b->bytes),
                           pointer_of(b, OF_SHIFT, pointer),
                           stride_of(b, OF_SHIFT, stride, b->bytes), pointer_of(b, OUT, pointer));
}

static void apply(const wf_call *c, double *mean, double *factor)
{
    const wf_tensor *x = c->in[X];
    const wf_tensor m = doubles(mean, x), f = doubles(factor, x);
    wf_tensor scale, shift;
    if (c->in[SCALE]) scale = beside(*c->in[SCALE], x);
    if (c->in[SHIFT]) shift = beside(*c->in[SHIFT], x);
    batch_walk b;
    wf_walk walk;
    if (plan(&b, &walk, x, MOST,
             (const wf_tensor *[]){ c->out[Y], x, NULL, c->in[MASK], &m, &f,
                                    c->in[SCALE] ? &scale : NULL, c->in[SHIFT] ? &shift : NULL }))
        wf_walk_run(&walk, c->threads, 1, apply_run, &b);
}

/* gx += a g + b + c (x - mean); the factor's place is a's. */
enum { OF_A = OF_FACTOR, OF_B = FIRST, OF_C };

static void back_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const batch_walk *b = context;
    const batch_row r = row_of(b, n, pointer, stride);
    b->kernels->batch_norm_back(&r, pointer_of(b, OF_A, pointer), pointer_of(b, OF_B, pointer),
                                pointer_of(b, OF_C, pointer), pointer_of(b, OUT, pointer));
}

static void add_gradient(const wf_call *c, const wf_tensor *x, double *mean, double *by)
{
    const int64_t n = channels(c->in[X]);
    const wf_tensor m = doubles(mean, c->in[X]), a = doubles(by, c->in[X]),
                    offset = doubles(by + n, c->in[X]), slope = doubles(by + 2 * n, c->in[X]);
    batch_walk b;
    wf_walk walk;
    if (plan(&b, &walk, c->in[X], MOST,
             (const wf_tensor *[]){ c->gin[X], x, c->gout[Y], c->in[MASK], &m, &a, &offset,
                                    &slope }))
        wf_walk_run(&walk, c->threads, 1, back_run, &b);
}

static double number(const wf_tensor *x, int64_t i, double none)
{
    return x ? wf_dtype_rows[x->dtype].load(x->data, i * x->stride[0]) : none;
}

/* to (C) += numbers. */
static void add_numbers(const wf_tensor *to, const double *more)
{
    if (!to) return;
    const wf_dtype_info *dtype = wf_dtype_describe(to->dtype);
    for (int64_t k = 0; k < to->dim[0]; k++)
        dtype->store(to->data, k * to->stride[0], number(to, k, 0) + more[k]);
}

/* ---- by the statistics of the batch ---- */

static bool shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[X];
    if (!inputs_sound(s)) return false;
    int64_t each = 1;
    for (int k = 0; k < x->rank; k++)
        if (k != 1 && !wf_size_mul(each, x->dim[k], &each)) each = INT64_MAX;
    if (each > INT32_MAX)
        return wf_refuse(s->error, "x is %s; a channel can have %d elements", SHAPE_TEXT(x),
                         INT32_MAX);
    form_out(&s->out[Y], x->dtype, wf_tensor_shape(x));
    form_out(&s->out[MADE_MEAN], x->dtype, WF_SHAPE(channels(x)));
    form_out(&s->out[MADE_VARIANCE], x->dtype, WF_SHAPE(channels(x)));
    form_out(&s->out[MADE_COUNT], WF_I32, WF_SHAPE(channels(x)));
    form_out(&s->out[SAVED], WF_F64, WF_SHAPE(3, channels(x))); /* mean, factor, count */
    return takes_scratch(s, &s->scratch_backward, channels(x), 5 * sizeof(double));
}

static void forward(const wf_call *c)
{
    const wf_tensor *x = c->in[X];
    const int64_t n = channels(x);
    double *mean = c->out[SAVED]->data, *factor = mean + n, *count = factor + n;
    const double eps = *(const double *)c->attr;
    if (n == 0) return;
    if (c->in[MASK])
        sum_terms(c, BATCH_COUNT, NULL, NULL, NULL, NULL, count);
    else
        for (int64_t k = 0; k < n; k++) count[k] = (double)(wf_tensor_count(x) / n);
    sum_terms(c, BATCH_SUM, x, NULL, NULL, NULL, mean);
    for (int64_t k = 0; k < n; k++) mean[k] = count[k] > 0 ? mean[k] / count[k] : 0;
    sum_terms(c, BATCH_SQUARE, x, NULL, mean, NULL, factor);
    for (int64_t k = 0; k < n; k++) {
        const double variance = count[k] > 0 ? factor[k] / count[k] : 0;
        factor[k] = 1 / sqrt(variance + eps);
        wf_dtype_rows[x->dtype].store(c->out[MADE_MEAN]->data, k, mean[k]);
        wf_dtype_rows[x->dtype].store(c->out[MADE_VARIANCE]->data, k, variance);
        ((int32_t *)c->out[MADE_COUNT]->data)[k] = (int32_t)count[k];
    }
    apply(c, mean, factor);
}

/* The sum, unless what goes by x - mean is not finite: that has both signs, and is shared out as
 * inf - inf. */
static double shared(double sum, double by_distance)
{
    return by_distance - by_distance == 0 ? sum : (double)NAN;
}

static void backward(const wf_call *c)
{
    const wf_tensor *x = c->in[X], *g = c->gout[Y], *gmean = c->gout[MADE_MEAN],
                    *gvariance = c->gout[MADE_VARIANCE];
    const int64_t n = channels(x);
    double *mean = c->out[SAVED]->data, *factor = mean + n, *count = factor + n;
    double *sum = c->scratch, *along = sum + n, *by = along + n; /* by: a, b, c */
    if (n == 0 || (!g && !gmean && !gvariance)) return;
    memset(sum, 0, 2 * (size_t)n * sizeof *sum);
    if (g) sum_terms(c, BATCH_SUM, g, NULL, NULL, NULL, sum);
    if (g && (c->gin[X] || c->gin[SCALE])) sum_terms(c, BATCH_SLOPE, x, g, mean, factor, along);
    add_numbers(c->gin[SHIFT], sum);
    add_numbers(c->gin[SCALE], along);
    if (!c->gin[X]) return;
    for (int64_t k = 0; k < n; k++) {
        const double a = number(c->in[SCALE], k, 1) * factor[k], m = count[k] > 0 ? count[k] : 1;
        const double slope = a * factor[k] * along[k], spread = 2 * number(gvariance, k, 0) / m;
        by[k] = a;
        by[n + k] = number(gmean, k, 0) / m - shared(a * sum[k], slope + spread) / m;
        by[2 * n + k] = spread - slope / m;
    }
    add_gradient(c, g || gvariance ? x : NULL, mean, by);
}

/* scale, say, (C) as it stands beside x, (C, 1, ...). */
static wf_var *standing(wf_tape *t, wf_var *by_channel, wf_var *x)
{
    wf_shape form = { .rank = wf_rank(x) - 1 };
    for (int k = 0; k < form.rank; k++) form.dim[k] = k == 0 ? wf_dim(x, 1) : 1;
    return wf_reshape(t, by_channel, form);
}

/* The sum of x by channel, (C). */
static wf_var *summed(wf_tape *t, wf_var *x)
{
    int axis[WF_RANK], n = 0;
    for (int k = 0; k < wf_rank(x); k++)
        if (k != 1) axis[n++] = k;
    return wf_sum(t, x, &(wf_axes){ n, axis });
}

/* x, or 0 where nothing counts. */
static wf_var *counting(wf_tape *t, wf_var *mask, wf_var *x)
{
    return mask ? wf_where(t, mask, x, wf_zeros(t, wf_dtype_of(x), WF_SCALAR)) : x;
}

/* d / sqrt(variance + eps), d being x - mean, times scale plus shift. What does not count is cut
 * off before each product: there 0 would meet an infinite scale on the way back. */
static wf_var *normalised(wf_tape *t, const wf_reference *r, wf_var *d, wf_var *variance)
{
    wf_var *x = r->in[X];
    wf_var *deviation = wf_sqrt(t, wf_add_scalar(t, variance, *(const double *)r->attr));
    wf_var *y = counting(t, r->in[MASK], wf_div(t, d, standing(t, deviation, x)));
    if (r->in[SCALE]) y = wf_mul(t, y, standing(t, r->in[SCALE], x));
    if (r->in[SHIFT]) y = wf_add(t, y, standing(t, r->in[SHIFT], x));
    return counting(t, r->in[MASK], y);
}

static bool reference(wf_tape *t, const wf_reference *r)
{
    wf_var *mask = r->in[MASK], *x = counting(t, mask, r->in[X]);
    wf_var *ones = wf_full(t, wf_dtype_of(x), wf_shape_of(x), 1);
    wf_var *count = summed(t, counting(t, mask, ones));
    wf_var *some = wf_maximum(t, count, wf_full(t, wf_dtype_of(x), WF_SCALAR, 1));
    wf_var *mean = wf_div(t, summed(t, x), some);
    wf_var *d = counting(t, mask, wf_sub(t, x, standing(t, mean, x)));
    r->out[MADE_MEAN] = mean;
    r->out[MADE_VARIANCE] = wf_div(t, summed(t, wf_square(t, d)), some);
    r->out[MADE_COUNT] = wf_cast(t, count, WF_I32);
    r->out[Y] = normalised(t, r, d, r->out[MADE_VARIANCE]);
    return r->out[Y] != NULL;
}

/* What the samples of both are: x, the mask's shape, and which of scale and shift there are. */
static const struct tried {
    const char *label;
    wf_shape x, mask; /* mask of rank -1: none */
    bool scale, shift;
} tried[] = {
    { "rows", { 2, { 5, 3 } }, { .rank = -1 }, true, true },
    { "signals", { 3, { 2, 3, 4 } }, { .rank = -1 }, true, true },
    { "pictures", { 4, { 2, 2, 2, 3 } }, { .rank = -1 }, true, true },
    { "no scale", { 2, { 4, 3 } }, { .rank = -1 }, false, true },
    { "no shift", { 3, { 2, 2, 3 } }, { .rank = -1 }, true, false },
    { "neither", { 2, { 19, 2 } }, { .rank = -1 }, false, false },
    { "masked steps", { 3, { 3, 2, 4 } }, { 3, { 3, 1, 4 } }, true, true },
    { "masked rows", { 2, { 6, 2 } }, { 2, { 6, 1 } }, true, true },
    { "masked elements", { 3, { 2, 3, 3 } }, { 3, { 2, 3, 3 } }, false, false },
    { "one channel", { 3, { 2, 1, 3 } }, { .rank = -1 }, true, true },
    { "one row", { 2, { 1, 3 } }, { .rank = -1 }, true, true },
    { "no rows", { 2, { 0, 3 } }, { .rank = -1 }, true, true },
    { "no channels", { 3, { 3, 0, 2 } }, { .rank = -1 }, true, true },
};

static bool begin_sample(int k, wf_sample *s)
{
    if (k >= COUNT_OF(tried)) return false;
    const wf_shape by_channel = WF_SHAPE(tried[k].x.dim[1]), none = { .rank = -1 };
    s->label = tried[k].label;
    sample_input(s, WF_F64, tried[k].x, -2, 2);
    sample_input(s, WF_F64, tried[k].scale ? by_channel : none, -2, 2);
    sample_input(s, WF_F64, tried[k].shift ? by_channel : none, -2, 2);
    sample_input(s, WF_I32, tried[k].mask, 0, 1);
    s->attr.align = 1e-3;
    return true;
}

const wf_op op_batch_norm = {
    .name = OP_NAME(batch_norm),
    .inputs = MASK + 1,
    .outputs = SAVED,
    .hidden = MADE - SAVED,
    .attr_size = sizeof(double),
    .optional = 1 << SCALE | 1 << SHIFT | 1 << MASK,
    .reads_in = 1 << X | 1 << SCALE | 1 << MASK,
    .reads_out = 1 << SAVED,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .reference = reference,
    .sample = begin_sample,
};

wf_var *wf_batch_norm(wf_tape *t, wf_var *x, wf_var *scale, wf_var *shift, wf_var *mask, double eps,
                      wf_batch_statistics *statistics)
{
    wf_var *out[SAVED] = { NULL };
    if (eps == 0) eps = usual_eps;
    wf_apply(t, &op_batch_norm, MASK + 1, (wf_var *[]){ x, scale, shift, mask }, &eps, out);
    if (statistics)
        *statistics = (wf_batch_statistics){ out[MADE_MEAN], out[MADE_VARIANCE], out[MADE_COUNT] };
    return out[Y];
}

/* ---- by those that are given ---- */

static bool given_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[X];
    if (!inputs_sound(s)) return false;
    form_out(&s->out[Y], x->dtype, wf_tensor_shape(x));
    return takes_scratch(s, &s->scratch_forward, channels(x), 2 * sizeof(double)) &&
           takes_scratch(s, &s->scratch_backward, channels(x), 7 * sizeof(double));
}

static uint32_t given_varying(const wf_call *c)
{
    return 1u << X | (uint32_t)varies(c, MASK) << MASK;
}

/* Mean and factor in double, at the scratch's begin. */
static double *given_factor(const wf_call *c)
{
    const int64_t n = channels(c->in[X]);
    double *mean = c->scratch, *factor = mean + n;
    for (int64_t k = 0; k < n; k++) {
        mean[k] = number(c->in[MEAN], k, 0);
        factor[k] = 1 / sqrt(number(c->in[VARIANCE], k, 0) + *(const double *)c->attr);
    }
    return factor;
}

static void given_forward(const wf_call *c)
{
    double *factor = given_factor(c);
    apply(c, c->scratch, factor);
}

static void given_backward(const wf_call *c)
{
    const wf_tensor *x = c->in[X], *g = c->gout[Y];
    const int64_t n = channels(x);
    if (!g || n == 0) return;
    double *mean = c->scratch, *factor = given_factor(c), *sum = factor + n, *along = sum + n,
           *by = along + n;
    memset(sum, 0, 5 * (size_t)n * sizeof *sum);
    if (c->gin[SHIFT] || c->gin[MEAN]) sum_terms(c, BATCH_SUM, g, NULL, NULL, NULL, sum);
    if (c->gin[SCALE] || c->gin[VARIANCE]) sum_terms(c, BATCH_SLOPE, x, g, mean, factor, along);
    if (c->gin[SHIFT]) add_numbers(c->gin[SHIFT], sum);
    if (c->gin[SCALE]) add_numbers(c->gin[SCALE], along);
    bool finite = true;
    for (int64_t k = 0; k < n; k++) {
        by[k] = number(c->in[SCALE], k, 1) * factor[k];
        finite = finite && by[k] - by[k] == 0;
        sum[k] *= by[k];
        along[k] *= by[k];
    }
    if (!finite) { /* infinite terms of both signs make NaN, which their sum would not */
        sum_terms(c, BATCH_SLOPE, g, NULL, by + n, by, sum);
        sum_terms(c, BATCH_SLOPE, x, g, mean, by, along);
        for (int64_t k = 0; k < n; k++) along[k] *= factor[k];
    }
    for (int64_t k = 0; k < n; k++) {
        sum[k] = -sum[k];
        along[k] *= -0.5 * factor[k];
    }
    if (c->gin[MEAN]) add_numbers(c->gin[MEAN], sum);
    if (c->gin[VARIANCE]) add_numbers(c->gin[VARIANCE], along);
    if (c->gin[X]) add_gradient(c, NULL, mean, by);
}

static bool given_reference(wf_tape *t, const wf_reference *r)
{
    wf_var *x = counting(t, r->in[MASK], r->in[X]);
    wf_var *d = counting(t, r->in[MASK], wf_sub(t, x, standing(t, r->in[MEAN], x)));
    r->out[Y] = normalised(t, r, d, r->in[VARIANCE]);
    return r->out[Y] != NULL;
}

static bool given_sample(int k, wf_sample *s)
{
    if (!begin_sample(k, s)) return false;
    sample_input(s, WF_F64, WF_SHAPE(tried[k].x.dim[1]), -1, 1);
    sample_input(s, WF_F64, WF_SHAPE(tried[k].x.dim[1]), 0.3, 2);
    return true;
}

const wf_op op_batch_norm_given = {
    .name = OP_NAME(batch_norm_given),
    .inputs = INPUTS,
    .outputs = 1,
    .attr_size = sizeof(double),
    .optional = 1 << SCALE | 1 << SHIFT | 1 << MASK,
    .reads_in = 1 << X | 1 << SCALE | 1 << MASK | 1 << MEAN | 1 << VARIANCE,
    .varying = given_varying,
    .shape = given_shape,
    .forward = given_forward,
    .backward = given_backward,
    .reference = given_reference,
    .sample = given_sample,
};

wf_var *wf_batch_norm_given(wf_tape *t, wf_var *x, wf_var *scale, wf_var *shift, wf_var *mask,
                            wf_var *mean, wf_var *variance, double eps)
{
    if (eps == 0) eps = usual_eps;
    return wf_apply_one(t, &op_batch_norm_given, INPUTS,
                        (wf_var *[]){ x, scale, shift, mask, mean, variance }, &eps);
}
