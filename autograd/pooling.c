/* Pooling along one axis or two: the largest or the mean of the window at each position. */
#include "autograd/conv_private.h"
#include "autograd/views.h"
#include "tensor/sum.h"

#include <string.h>

/* Of one axis, the second entries count. */
typedef struct pool_attr {
    int64_t kernel[2], stride[2], padding[2], ceil_mode, exclude_padding, axes;
} pool_attr;

/* How many positions along axis k of n elements. In ceil_mode the last window may reach beyond the
 * padding, but begins in x or in the padding before it. */
static int64_t positions(const pool_attr *a, int k, int64_t n)
{
    const int64_t room = n - (a->kernel[k] - 2 * a->padding[k]), step = a->stride[k];
    int64_t count = room / step + 1;
    if (a->ceil_mode && room % step != 0 && count * step < n + a->padding[k]) count++;
    return count;
}

static bool axis_sound(const wf_shaping *s, const pool_attr *a, int k)
{
    const wf_tensor *x = s->in[0];
    const int axis = x->rank - 2 + k;
    if (a->kernel[k] < 1 || a->stride[k] < 1)
        return wf_refuse(s->error, "kernel is %lld, stride %lld; expected 1 or more",
                         (long long)a->kernel[k], (long long)a->stride[k]);
    if (a->padding[k] < 0 || a->padding[k] > a->kernel[k] / 2)
        return wf_refuse(s->error, "padding is %lld; expected 0 to half the kernel, which is %lld",
                         (long long)a->padding[k], (long long)a->kernel[k]);
    if (a->kernel[k] >= INT64_MAX / 4 || a->stride[k] >= INT64_MAX / 4 ||
        x->dim[axis] >= INT64_MAX / 4)
        return wf_refuse(s->error, "axis %d becomes too long", axis);
    return x->dim[axis] + 2 * a->padding[k] >= a->kernel[k] ||
           wf_refuse(s->error, "the kernel is %lld along axis %d; x is %s, with a padding of %lld",
                     (long long)a->kernel[k], axis, SHAPE_TEXT(x), (long long)a->padding[k]);
}

static bool shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const int axes = (int)((const pool_attr *)s->attr)->axes;
    wf_tensor *y = &s->out[0];
    if (!takes_floats(s, 0)) return false;
    if (x->rank != 2 + axes)
        return wf_refuse(s->error, "x is %s; expected %s", SHAPE_TEXT(x),
                         axes == 1 ? "(samples, channels, length)"
                                   : "(samples, channels, height, width)");
    *y = *x;
    for (int k = 2 - axes; k < 2; k++) {
        if (!axis_sound(s, s->attr, k)) return false;
        y->dim[axes + k] = positions(s->attr, k, x->dim[axes + k]);
    }
    return true;
}

static bool max_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    if (!shape(s)) return false;
    int64_t plane = 1;
    for (int k = 2; k < x->rank; k++) {
        if (x->dim[k] == 0)
            return wf_refuse(s->error, "%s has nothing to choose from", SHAPE_TEXT(x));
        if (__builtin_mul_overflow(plane, x->dim[k], &plane) || plane > INT32_MAX)
            return wf_refuse(s->error, "a plane of %s is longer than i32 can say", SHAPE_TEXT(x));
    }
    s->out[1] = s->out[0];
    s->out[1].dtype = WF_I32;
    return true;
}

static uint32_t varying(const wf_call *c)
{
    (void)c;
    return 1;
}

/* ---- a plane at a time ---- */

typedef void plane_fn(const wf_call *c, const wf_tensor *x, const wf_tensor *y, char *x_at,
                      int64_t y_at);

/* x or its gradient, y or its gradient, and what is done to each of their planes; y_at counts
 * elements. */
typedef struct planes {
    const wf_call *call;
    wf_tensor x, y;
    plane_fn *fn;
} planes;

static void some_planes(void *context, int64_t begin, int64_t end)
{
    const planes *p = context;
    for (int64_t i = begin; i < end; i++) {
        const int64_t n = i / p->x.dim[1], channel = i % p->x.dim[1];
        p->fn(p->call, &p->x, &p->y,
              wf_element(p->x.dtype, p->x.data, n * p->x.stride[0] + channel * p->x.stride[1]),
              i * p->y.dim[2] * p->y.dim[3]);
    }
}

static void each_plane(const wf_call *c, const wf_tensor *x, const wf_tensor *y, plane_fn *fn)
{
    planes p = { c, with_two_axes(x), with_two_axes(y), fn };
    const pool_attr *a = c->attr;
    const int64_t window = a->axes == 1 ? a->kernel[1] : a->kernel[0] * a->kernel[1];
    const int64_t work = p.y.dim[2] * p.y.dim[3] * (window < 64 ? window : 64);
    wf_par_for(c->threads, p.x.dim[0] * p.x.dim[1], 32768 / (work + 1) + 1, some_planes, &p);
}

/* Columns are counted in parts of a row. */
enum { PIECE = 256 };

/* Positions `from` .. of row `row`, at most PIECE of them. */
static pool_row row_of(const wf_call *c, const wf_tensor *x, const wf_tensor *y, int64_t row,
                       int64_t from)
{
    const pool_attr *a = c->attr;
    const int64_t first = row * a->stride[0] - a->padding[0], last = first + a->kernel[0];
    return (pool_row){ .n = y->dim[3] - from < PIECE ? y->dim[3] - from : PIECE,
                       .step = a->stride[1],
                       .before = a->padding[1] - from * a->stride[1],
                       .kernel = a->kernel[1],
                       .columns = x->dim[3],
                       .first_row = first > 0 ? first : 0,
                       .last_row = last < x->dim[2] ? last : x->dim[2],
                       .x_row = x->stride[2],
                       .x_column = x->stride[3] };
}

/* ---- the largest ---- */

static void max_plane(const wf_call *c, const wf_tensor *x, const wf_tensor *y, char *x_at,
                      int64_t y_at)
{
    for (int64_t row = 0; row < y->dim[2]; row++)
        for (int64_t from = 0; from < y->dim[3]; from += PIECE) {
            const pool_row r = row_of(c, x, y, row, from);
            const int64_t at = y_at + row * y->dim[3] + from;
            conv_kernels_of(x->dtype)->pool_max(&r, x_at, wf_element(y->dtype, y->data, at),
                                                (int32_t *)c->out[1]->data + at);
        }
}

static void max_forward(const wf_call *c)
{
    each_plane(c, c->in[0], c->out[0], max_plane);
}

/* g to the place that was chosen. */
#define MAX_BACK(dtype, suffix, T, ...)                                                            \
    static void max_back_##suffix(const wf_call *c, const wf_tensor *x, const wf_tensor *y,        \
                                  char *x_at, int64_t y_at)                                        \
    {                                                                                              \
        const int32_t *place = (const int32_t *)c->out[1]->data + y_at;                            \
        const T *g = (const T *)y->data + y_at;                                                    \
        T *to = (T *)(void *)x_at;                                                                 \
        const int64_t n = y->dim[2] * y->dim[3], columns = x->dim[3];                              \
        if (x->stride[3] == 1 && x->stride[2] == columns)                                          \
            for (int64_t i = 0; i < n; i++) to[place[i]] += g[i];                                  \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++)                                                        \
                to[place[i] / columns * x->stride[2] + place[i] % columns * x->stride[3]] += g[i]; \
    }
WF_FLOATS(MAX_BACK)

static void max_backward(const wf_call *c)
{
    if (c->gin[0] && c->gout[0])
        each_plane(c, c->gin[0], c->gout[0],
                   c->gin[0]->dtype == WF_F64 ? max_back_f64 : max_back_f32);
}

static void max_gradient(wf_tape *t, const wf_gradient *g)
{
    const wf_tensor x = with_two_axes(wf_value(g->in[0]));
    const wf_shape flat = WF_SHAPE(x.dim[0], x.dim[1],
                                   wf_tensor_count(wf_value(g->gout[0])) /
                                       (x.dim[0] * x.dim[1] > 0 ? x.dim[0] * x.dim[1] : 1));
    wf_var *gx = wf_scatter_add(t, wf_reshape(t, g->gout[0], flat), 2,
                                wf_reshape(t, g->out[1], flat), x.dim[2] * x.dim[3]);
    g->gin[0] = wf_reshape(t, gx, wf_shape_of(g->in[0]));
}

/* ---- the mean ---- */

/* How many elements the window at position i of axis k counts. */
static int64_t counted(const pool_attr *a, int k, int64_t i, int64_t n)
{
    const int64_t edge = a->exclude_padding ? 0 : a->padding[k];
    int64_t first = i * a->stride[k] - a->padding[k], last = first + a->kernel[k];
    if (first < -edge) first = -edge;
    if (last > n + edge) last = n + edge;
    return last - first;
}

static double divisor(const wf_call *c, const wf_tensor *x, int64_t row, int64_t column)
{
    const pool_attr *a = c->attr;
    return (double)counted(a, 0, row, x->dim[2]) * (double)counted(a, 1, column, x->dim[3]);
}

static void mean_plane(const wf_call *c, const wf_tensor *x, const wf_tensor *y, char *x_at,
                       int64_t y_at)
{
    const wf_dtype_info *type = wf_dtype_describe(y->dtype);
    double sum[PIECE];
    for (int64_t row = 0; row < y->dim[2]; row++)
        for (int64_t from = 0; from < y->dim[3]; from += PIECE) {
            const pool_row r = row_of(c, x, y, row, from);
            const int64_t at = y_at + row * y->dim[3] + from;
            for (int64_t i = 0; i < r.n; i++) sum[i] = 0;
            conv_kernels_of(x->dtype)->pool_sum(&r, x_at, sum);
            for (int64_t i = 0; i < r.n; i++)
                type->store(y->data, at + i, sum[i] / divisor(c, x, row, from + i));
        }
}

static void mean_back_plane(const wf_call *c, const wf_tensor *x, const wf_tensor *y, char *x_at,
                            int64_t y_at)
{
    const wf_dtype_info *type = wf_dtype_describe(y->dtype);
    char share[PIECE * sizeof(double)] __attribute__((aligned(WF_ALIGNMENT)));
    for (int64_t row = 0; row < y->dim[2]; row++)
        for (int64_t from = 0; from < y->dim[3]; from += PIECE) {
            const pool_row r = row_of(c, x, y, row, from);
            const int64_t at = y_at + row * y->dim[3] + from;
            for (int64_t i = 0; i < r.n; i++)
                type->store(share, i, type->load(y->data, at + i) / divisor(c, x, row, from + i));
            conv_kernels_of(x->dtype)->pool_spread(&r, share, x_at);
        }
}

static void mean_forward(const wf_call *c)
{
    each_plane(c, c->in[0], c->out[0], mean_plane);
}

static void mean_backward(const wf_call *c)
{
    if (c->gin[0] && c->gout[0]) each_plane(c, c->gin[0], c->gout[0], mean_back_plane);
}

/* x padded along an axis of n elements, with `value` where the padding counts, and cut into
 * windows, which are added up. */
static wf_var *window_sums(wf_tape *t, wf_var *x, int axis, const pool_attr *a, int k, int64_t n,
                           double value)
{
    const int64_t last = (positions(a, k, n) - 1) * a->stride[k] + a->kernel[k];
    const int64_t behind = last - n - a->padding[k], beyond = behind - a->padding[k];
    x = wf_constant_pad(t, x, axis, a->padding[k], a->padding[k], value);
    if (behind < a->padding[k])
        x = wf_slice(t, x, axis, 0, last, 1);
    else
        x = wf_constant_pad(t, x, axis, 0, beyond, 0);
    return wf_sum(t, wf_window(t, x, axis, a->kernel[k], a->stride[k]), WF_AXES(-1));
}

static bool mean_reference(wf_tape *t, const wf_reference *r)
{
    wf_var *y = r->in[0];
    const int rank = wf_rank(y);
    const wf_shape shape = wf_shape_of(y);
    const pool_attr *a = r->attr;
    for (int axis = 2; axis < rank; axis++) {
        const int k = axis + 2 - rank;
        const int64_t n = shape.dim[axis];
        wf_var *count = window_sums(t, wf_full(t, wf_dtype_of(y), WF_SHAPE(n), 1), 0, a, k, n,
                                    a->exclude_padding ? 0 : 1);
        y = window_sums(t, y, axis, a, k, n, 0);
        y = wf_div(t, y, axis < rank - 1 ? wf_unsqueeze(t, count, 1) : count);
    }
    r->out[0] = y;
    return y != NULL;
}

/* ---- samples and rows ---- */

typedef struct tried_pool {
    const char *label;
    wf_shape x;
    pool_attr a; /* kernel, stride, padding, ceil_mode, exclude_padding, axes */
} tried_pool;

static bool sample_pool(const tried_pool *p, wf_sample *s)
{
    return sample_one(s, p->label, WF_F64, p->x, 2, &p->a, sizeof p->a);
}

static bool pool1d_sample(int k, wf_sample *s)
{
    static const tried_pool tried[] = {
        { "side by side", { 3, { 2, 3, 7 } }, { { 1, 2 }, { 1, 2 }, { 0, 0 }, 0, 0, 1 } },
        { "overlapping, padded", { 3, { 2, 3, 7 } }, { { 1, 3 }, { 1, 2 }, { 0, 1 }, 0, 0, 1 } },
        { "the last window cut", { 3, { 2, 2, 6 } }, { { 1, 3 }, { 1, 2 }, { 0, 1 }, 1, 0, 1 } },
        { "the padding not counted",
          { 3, { 1, 2, 6 } },
          { { 1, 4 }, { 1, 3 }, { 0, 2 }, 1, 1, 1 } },
        { "everything", { 3, { 2, 3, 5 } }, { { 1, 5 }, { 1, 1 }, { 0, 0 }, 0, 0, 1 } },
        { "no samples", { 3, { 0, 3, 5 } }, { { 1, 2 }, { 1, 2 }, { 0, 0 }, 0, 0, 1 } },
    };
    return k < COUNT_OF(tried) && sample_pool(&tried[k], s);
}

static bool pool2d_sample(int k, wf_sample *s)
{
    static const tried_pool tried[] = {
        { "side by side", { 4, { 2, 2, 4, 5 } }, { { 2, 2 }, { 2, 2 }, { 0, 0 }, 0, 0, 2 } },
        { "overlapping, padded", { 4, { 1, 2, 5, 6 } }, { { 3, 2 }, { 2, 1 }, { 1, 1 }, 0, 0, 2 } },
        { "the last windows cut",
          { 4, { 1, 2, 5, 6 } },
          { { 2, 3 }, { 2, 2 }, { 1, 0 }, 1, 0, 2 } },
        { "the padding not counted",
          { 4, { 1, 2, 4, 5 } },
          { { 3, 4 }, { 2, 3 }, { 1, 2 }, 1, 1, 2 } },
        { "apart", { 4, { 1, 1, 6, 7 } }, { { 1, 2 }, { 2, 3 }, { 0, 0 }, 0, 0, 2 } },
        { "no channels", { 4, { 2, 0, 4, 4 } }, { { 2, 2 }, { 2, 2 }, { 0, 0 }, 0, 0, 2 } },
    };
    return k < COUNT_OF(tried) && sample_pool(&tried[k], s);
}

const wf_op op_max_pool1d = {
    .name = OP_NAME(max_pool1d),
    .inputs = 1,
    .outputs = 1,
    .hidden = 1,
    .attr_size = sizeof(pool_attr),
    .reads_out = 2,
    .varying = varying,
    .shape = max_shape,
    .forward = max_forward,
    .backward = max_backward,
    .gradient = max_gradient,
    .sample = pool1d_sample,
};

const wf_op op_max_pool2d = {
    .name = OP_NAME(max_pool2d),
    .inputs = 1,
    .outputs = 1,
    .hidden = 1,
    .attr_size = sizeof(pool_attr),
    .reads_out = 2,
    .varying = varying,
    .shape = max_shape,
    .forward = max_forward,
    .backward = max_backward,
    .gradient = max_gradient,
    .sample = pool2d_sample,
};

const wf_op op_mean_pool1d = {
    .name = OP_NAME(mean_pool1d),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(pool_attr),
    .varying = varying,
    .shape = shape,
    .forward = mean_forward,
    .backward = mean_backward,
    .reference = mean_reference,
    .sample = pool1d_sample,
};

const wf_op op_mean_pool2d = {
    .name = OP_NAME(mean_pool2d),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(pool_attr),
    .varying = varying,
    .shape = shape,
    .forward = mean_forward,
    .backward = mean_backward,
    .reference = mean_reference,
    .sample = pool2d_sample,
};

/* A stride of 0: the kernel, so that windows lie side by side. */
static wf_var *pool1d(wf_tape *t, const wf_op *op, wf_var *x, const wf_pool1d_options *options)
{
    const wf_pool1d_options o = options ? *options : (wf_pool1d_options){ 0 };
    const pool_attr a = { { 1, o.kernel },   { 1, o.stride ? o.stride : o.kernel },
                          { 0, o.padding },  o.ceil_mode,
                          o.exclude_padding, 1 };
    return wf_apply_one(t, op, 1, &x, &a);
}

static wf_var *pool2d(wf_tape *t, const wf_op *op, wf_var *x, const wf_pool2d_options *options)
{
    const wf_pool2d_options o = options ? *options : (wf_pool2d_options){ 0 };
    pool_attr a = { .ceil_mode = o.ceil_mode, .exclude_padding = o.exclude_padding, .axes = 2 };
    for (int k = 0; k < 2; k++) {
        a.kernel[k] = o.kernel[k];
        a.stride[k] = o.stride[k] ? o.stride[k] : o.kernel[k];
        a.padding[k] = o.padding[k];
    }
    return wf_apply_one(t, op, 1, &x, &a);
}

wf_var *wf_max_pool1d(wf_tape *t, wf_var *x, const wf_pool1d_options *options)
{
    return pool1d(t, &op_max_pool1d, x, options);
}

wf_var *wf_max_pool2d(wf_tape *t, wf_var *x, const wf_pool2d_options *options)
{
    return pool2d(t, &op_max_pool2d, x, options);
}

wf_var *wf_mean_pool1d(wf_tape *t, wf_var *x, const wf_pool1d_options *options)
{
    return pool1d(t, &op_mean_pool1d, x, options);
}

wf_var *wf_mean_pool2d(wf_tape *t, wf_var *x, const wf_pool2d_options *options)
{
    return pool2d(t, &op_mean_pool2d, x, options);
}
