/* conv1d and conv2d: what they take, their spelling in other ops, and their rows. How they run
 * stands in conv_run.c. */
#include "autograd/conv_private.h"
#include "autograd/views.h"
#include "tensor/size.h"

#include <string.h>

/* Along axis k: zeros before x, and how far the kernel reaches. */
static int64_t reach_of(const conv_attr *a, int k, int64_t kernel)
{
    return a->dilation[k] * (kernel - 1) + 1;
}

static int64_t before_of(const conv_attr *a, int k, int64_t kernel)
{
    return a->same ? (reach_of(a, k, kernel) - 1) / 2 : a->padding[k];
}

static int64_t behind_of(const conv_attr *a, int k, int64_t kernel)
{
    return a->same ? reach_of(a, k, kernel) / 2 : a->padding[k];
}

/* Sizes that shape found sound. */
static conv conv_of(const wf_tensor *x, const wf_tensor *w, const conv_attr *a, int threads)
{
    const wf_tensor x2 = with_two_axes(x), w2 = with_two_axes(w);
    conv v = { .dtype = x->dtype,
               .threads = threads > 1 ? threads : 1,
               .samples = x2.dim[0],
               .groups = a->groups,
               .inputs = w2.dim[1],
               .outputs = w2.dim[0] / a->groups };
    for (int k = 0; k < 2; k++) {
        v.in[k] = x2.dim[2 + k];
        v.kernel[k] = w2.dim[2 + k];
        v.stride[k] = a->stride[k];
        v.dilation[k] = a->dilation[k];
        v.before[k] = before_of(a, k, v.kernel[k]);
        v.out[k] = (v.in[k] + v.before[k] + behind_of(a, k, v.kernel[k]) -
                    reach_of(a, k, v.kernel[k])) /
                       v.stride[k] +
                   1;
    }
    return v;
}

/* ---- shape ---- */

static bool numbers_sound(const wf_shaping *s, const conv_attr *a)
{
    for (int k = 2 - (int)a->axes; k < 2; k++) {
        if (a->stride[k] < 1 || a->dilation[k] < 1)
            return wf_refuse(s->error, "stride is %lld, dilation %lld; expected 1 or more",
                             (long long)a->stride[k], (long long)a->dilation[k]);
        if (a->padding[k] < 0)
            return wf_refuse(s->error, "padding is %lld; expected 0 or more",
                             (long long)a->padding[k]);
        if (a->same && (a->padding[k] != 0 || a->stride[k] != 1))
            return wf_refuse(s->error, "the same size as x takes a stride of 1, and no padding of "
                                       "its own");
    }
    return a->groups >= 1 ||
           wf_refuse(s->error, "groups are %lld; expected 1 or more", (long long)a->groups);
}

static bool channels_sound(const wf_shaping *s, const conv_attr *a)
{
    const wf_tensor *x = s->in[0], *w = s->in[1], *b = s->in[2];
    const bool one = a->axes == 1;
    static const char *const names[] = { "x", "w", "b" };
    int64_t inputs;
    if (!same_dtype(s, 1, 0, names) || (b && !same_dtype(s, 2, 0, names)) || !takes_floats(s, 0))
        return false;
    if (x->rank != 2 + a->axes)
        return wf_refuse(s->error, "x is %s; expected %s", SHAPE_TEXT(x),
                         one ? "(samples, channels, length)"
                             : "(samples, channels, height, width)");
    if (w->rank != x->rank)
        return wf_refuse(s->error, "w is %s; expected %s", SHAPE_TEXT(w),
                         one ? "(outputs, inputs of a group, length)"
                             : "(outputs, inputs of a group, height, width)");
    if (w->dim[0] % a->groups)
        return wf_refuse(s->error, "w is %s; its %lld outputs do not make %lld groups",
                         SHAPE_TEXT(w), (long long)w->dim[0], (long long)a->groups);
    if (!wf_size_mul(w->dim[1], a->groups, &inputs) || x->dim[1] != inputs)
        return wf_refuse(s->error, "x is %s, w is %s, groups are %lld; expected x of %lld channels",
                         SHAPE_TEXT(x), SHAPE_TEXT(w), (long long)a->groups,
                         (long long)(w->dim[1] * a->groups));
    if (b && (b->rank != 1 || b->dim[0] != w->dim[0]))
        return wf_refuse(s->error, "b is %s; expected (%lld)", SHAPE_TEXT(b), (long long)w->dim[0]);
    return true;
}

/* Does the kernel fit along axis k, and without an overflow? */
static bool kernel_fits(const wf_shaping *s, const conv_attr *a, int k)
{
    const wf_tensor *x = s->in[0], *w = s->in[1];
    const int axis = x->rank - 2 + k;
    int64_t reach, padding, size;
    if (w->dim[axis] < 1) return wf_refuse(s->error, "w is %s: no kernel", SHAPE_TEXT(w));
    if (!wf_size_mul(w->dim[axis] - 1, a->dilation[k], &reach) || reach >= INT64_MAX / 4 ||
        a->padding[k] >= INT64_MAX / 8 || x->dim[axis] >= INT64_MAX / 4 ||
        a->stride[k] >= INT64_MAX / 4)
        return wf_refuse(s->error, "axis %d becomes too long", axis);
    padding = before_of(a, k, w->dim[axis]) + behind_of(a, k, w->dim[axis]);
    size = x->dim[axis] + padding;
    return reach < size ||
           wf_refuse(s->error,
                     "the kernel reaches over %lld elements of axis %d; x is %s, with a padding of "
                     "%lld in all",
                     (long long)reach + 1, axis, SHAPE_TEXT(x), (long long)padding);
}

static bool shape(wf_shaping *s)
{
    const conv_attr *a = s->attr;
    const wf_tensor *x = s->in[0], *w = s->in[1];
    if (!numbers_sound(s, a) || !channels_sound(s, a)) return false;
    for (int k = 2 - (int)a->axes; k < 2; k++)
        if (!kernel_fits(s, a, k)) return false;
    const conv v = conv_of(x, w, a, s->threads);
    form_out(&s->out[0], x->dtype,
             x->rank == 3 ? WF_SHAPE(x->dim[0], w->dim[0], v.out[1])
                          : WF_SHAPE(x->dim[0], w->dim[0], v.out[0], v.out[1]));
    const wf_shape result = wf_tensor_shape(&s->out[0]);
    if (wf_shape_check(&result, x->dtype, NULL) < 0)
        return true; /* the tape says it of every op's result */
    return takes_scratch(s, &s->scratch_forward, 1, conv_forward_bytes(&v)) &&
           takes_scratch(s, &s->scratch_backward, 1, conv_backward_bytes(&v));
}

static uint32_t varying(const wf_call *c)
{
    (void)c;
    return 1;
}

static void forward(const wf_call *c)
{
    const conv v = conv_of(c->in[0], c->in[1], c->attr, c->threads);
    conv_forward(&v, c);
}

static void backward(const wf_call *c)
{
    const conv v = conv_of(c->in[0], c->in[1], c->attr, c->threads);
    conv_backward(&v, c);
}

/* ---- in other ops ---- */

/* Axis `axis` of x padded and cut into windows, whose elements become the last axis. */
static wf_var *windows(wf_tape *t, wf_var *x, int axis, const conv_attr *a, int k, int64_t kernel)
{
    x = wf_constant_pad(t, x, axis, before_of(a, k, kernel), behind_of(a, k, kernel), 0);
    x = wf_window(t, x, axis, reach_of(a, k, kernel), a->stride[k]);
    return wf_slice(t, x, -1, 0, WF_LAST, a->dilation[k]);
}

/* The windows of each group are the rows of a product with its weights. */
static bool reference(wf_tape *t, const wf_reference *r)
{
    const conv_attr *a = r->attr;
    wf_var *x = r->in[0], *w = r->in[1], *b = r->in[2];
    const conv v = conv_of(wf_value(x), wf_value(w), a, 1);
    const int64_t n = v.samples, taps = v.inputs * v.kernel[0] * v.kernel[1];
    x = wf_reshape(t, x, WF_SHAPE(n, v.groups * v.inputs, v.in[0], v.in[1]));
    x = windows(t, x, 2, a, 0, v.kernel[0]);
    x = windows(t, x, 3, a, 1, v.kernel[1]); /* (N, C, H, W, kernel) */
    x = wf_permute(t, x, WF_AXES(0, 2, 3, 1, 4, 5));
    x = wf_reshape(t, x, WF_SHAPE(n, v.out[0] * v.out[1], v.groups, taps));
    x = wf_transpose(t, x, 1, 2); /* (N, G, positions, taps) */
    w = wf_transpose(t, wf_reshape(t, w, WF_SHAPE(v.groups, v.outputs, taps)), 1, 2);
    wf_var *y = wf_transpose(t, wf_matmul(t, x, w), 2, 3); /* (N, G, outputs, positions) */
    y = wf_reshape(t, y, WF_SHAPE(n, v.groups * v.outputs, v.out[0] * v.out[1]));
    if (b) y = wf_add(t, y, wf_unsqueeze(t, b, -1));
    r->out[0] = wf_reshape(t, y,
                           a->axes == 1 ? WF_SHAPE(n, v.groups * v.outputs, v.out[1])
                                        : WF_SHAPE(n, v.groups * v.outputs, v.out[0], v.out[1]));
    return r->out[0] != NULL;
}

/* ---- samples and rows ---- */

typedef struct tried_conv {
    const char *label;
    wf_shape x, w;
    bool bias;
    conv_attr a;
    bool large;
} tried_conv;

static bool sample_conv(const tried_conv *c, wf_sample *s)
{
    s->label = c->label;
    s->large = c->large;
    sample_input(s, WF_F64, c->x, -2, 2);
    sample_input(s, WF_F64, c->w, -2, 2);
    sample_input(s, WF_F64, c->bias ? WF_SHAPE(c->w.dim[0]) : (wf_shape){ .rank = -1 }, -2, 2);
    memcpy(s->attr.bytes, &c->a, sizeof c->a);
    return true;
}

/* Attributes: { stride }, { padding }, { dilation }, groups, same, axes. */
static bool conv1d_sample(int k, wf_sample *s)
{
    static const tried_conv tried[] = {
        { "plain",
          { 3, { 2, 3, 7 } },
          { 3, { 2, 3, 3 } },
          true,
          { { 1, 1 }, { 0, 0 }, { 1, 1 }, 1, 0, 1 },
          false },
        { "the same size, an even kernel",
          { 3, { 2, 2, 5 } },
          { 3, { 3, 2, 4 } },
          true,
          { { 1, 1 }, { 0, 0 }, { 1, 1 }, 1, 1, 1 },
          false },
        { "apart, padded and spread",
          { 3, { 2, 2, 9 } },
          { 3, { 3, 2, 3 } },
          false,
          { { 1, 2 }, { 0, 2 }, { 1, 2 }, 1, 0, 1 },
          false },
        { "every channel by itself",
          { 3, { 1, 3, 6 } },
          { 3, { 3, 1, 3 } },
          true,
          { { 1, 1 }, { 0, 1 }, { 1, 1 }, 3, 0, 1 },
          false },
        { "one element",
          { 3, { 3, 4, 1 } },
          { 3, { 5, 4, 1 } },
          true,
          { { 1, 1 }, { 0, 0 }, { 1, 1 }, 1, 0, 1 },
          false },
        { "no samples",
          { 3, { 0, 2, 5 } },
          { 3, { 3, 2, 3 } },
          true,
          { { 1, 1 }, { 0, 1 }, { 1, 1 }, 1, 0, 1 },
          false },
        { "large",
          { 3, { 5, 8, 700 } },
          { 3, { 12, 8, 5 } },
          true,
          { { 1, 1 }, { 0, 2 }, { 1, 1 }, 1, 0, 1 },
          true },
        { "large, apart and spread",
          { 3, { 6, 6, 1300 } },
          { 3, { 10, 6, 5 } },
          false,
          { { 1, 3 }, { 0, 4 }, { 1, 2 }, 1, 0, 1 },
          true },
        { "large, every channel by itself",
          { 3, { 6, 24, 500 } },
          { 3, { 24, 1, 9 } },
          true,
          { { 1, 1 }, { 0, 4 }, { 1, 1 }, 24, 0, 1 },
          true },
    };
    return k < COUNT_OF(tried) && sample_conv(&tried[k], s);
}

static bool conv2d_sample(int k, wf_sample *s)
{
    static const tried_conv tried[] = {
        { "plain",
          { 4, { 2, 2, 4, 5 } },
          { 4, { 3, 2, 3, 2 } },
          true,
          { { 1, 1 }, { 0, 0 }, { 1, 1 }, 1, 0, 2 },
          false },
        { "padded, no bias",
          { 4, { 1, 2, 3, 4 } },
          { 4, { 2, 2, 3, 3 } },
          false,
          { { 1, 1 }, { 1, 1 }, { 1, 1 }, 1, 0, 2 },
          false },
        { "the same size, spread",
          { 4, { 1, 1, 4, 5 } },
          { 4, { 2, 1, 2, 3 } },
          true,
          { { 1, 1 }, { 0, 0 }, { 2, 1 }, 1, 1, 2 },
          false },
        { "apart",
          { 4, { 2, 1, 5, 6 } },
          { 4, { 2, 1, 3, 3 } },
          true,
          { { 2, 3 }, { 1, 2 }, { 1, 1 }, 1, 0, 2 },
          false },
        { "apart and spread",
          { 4, { 1, 2, 7, 6 } },
          { 4, { 2, 2, 2, 3 } },
          false,
          { { 2, 3 }, { 1, 0 }, { 3, 2 }, 1, 0, 2 },
          false },
        { "groups",
          { 4, { 2, 4, 2, 3 } },
          { 4, { 6, 2, 2, 2 } },
          true,
          { { 1, 1 }, { 1, 0 }, { 1, 1 }, 2, 0, 2 },
          false },
        { "every channel by itself",
          { 4, { 2, 3, 3, 4 } },
          { 4, { 6, 1, 3, 2 } },
          true,
          { { 1, 1 }, { 1, 0 }, { 1, 1 }, 3, 0, 2 },
          false },
        { "more padding than kernel",
          { 4, { 1, 1, 2, 2 } },
          { 4, { 2, 1, 2, 2 } },
          true,
          { { 1, 1 }, { 2, 3 }, { 1, 1 }, 1, 0, 2 },
          false },
        { "no samples",
          { 4, { 0, 2, 3, 3 } },
          { 4, { 2, 2, 3, 3 } },
          true,
          { { 1, 1 }, { 1, 1 }, { 1, 1 }, 1, 0, 2 },
          false },
        { "no inputs",
          { 4, { 2, 0, 3, 3 } },
          { 4, { 2, 0, 2, 2 } },
          true,
          { { 1, 1 }, { 1, 1 }, { 1, 1 }, 1, 0, 2 },
          false },
        { "no rows but the padding",
          { 4, { 1, 2, 0, 3 } },
          { 4, { 2, 2, 2, 2 } },
          true,
          { { 1, 1 }, { 1, 1 }, { 1, 1 }, 1, 0, 2 },
          false },
        { "large, several chunks of taps",
          { 4, { 2, 30, 11, 37 } },
          { 4, { 9, 30, 3, 3 } },
          true,
          { { 1, 1 }, { 1, 1 }, { 1, 1 }, 1, 0, 2 },
          true },
        { "large, apart, in groups",
          { 4, { 3, 16, 31, 70 } },
          { 4, { 6, 8, 7, 5 } },
          true,
          { { 2, 3 }, { 3, 1 }, { 1, 2 }, 2, 0, 2 },
          true },
        { "large, a kernel of more taps than a chunk",
          { 4, { 2, 2, 40, 60 } },
          { 4, { 3, 2, 17, 19 } },
          false,
          { { 2, 1 }, { 0, 0 }, { 1, 1 }, 1, 0, 2 },
          true },
        { "large, every channel by itself",
          { 4, { 3, 20, 33, 31 } },
          { 4, { 20, 1, 3, 5 } },
          true,
          { { 1, 1 }, { 1, 2 }, { 1, 1 }, 20, 0, 2 },
          true },
        { "large, one picture",
          { 4, { 1, 3, 40, 60 } },
          { 4, { 16, 3, 3, 3 } },
          true,
          { { 1, 1 }, { 1, 1 }, { 1, 1 }, 1, 0, 2 },
          true },
    };
    return k < COUNT_OF(tried) && sample_conv(&tried[k], s);
}

const wf_op op_conv1d = {
    .name = OP_NAME(conv1d),
    .inputs = 3,
    .outputs = 1,
    .attr_size = sizeof(conv_attr),
    .flags = WF_OP_BEGINS,
    .optional = 4,
    .reads_in = 3,
    .varying = varying,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .reference = reference,
    .sample = conv1d_sample,
};

const wf_op op_conv2d = {
    .name = OP_NAME(conv2d),
    .inputs = 3,
    .outputs = 1,
    .attr_size = sizeof(conv_attr),
    .flags = WF_OP_BEGINS,
    .optional = 4,
    .reads_in = 3,
    .varying = varying,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .reference = reference,
    .sample = conv2d_sample,
};

/* 0 is the sensible default of a stride, a dilation and a number of groups: 1. */
static int64_t or_one(int64_t n)
{
    return n == 0 ? 1 : n;
}

wf_var *wf_conv1d(wf_tape *t, wf_var *x, wf_var *w, wf_var *b, const wf_conv1d_options *options)
{
    const wf_conv1d_options o = options ? *options : (wf_conv1d_options){ 0 };
    const conv_attr a = { { 1, or_one(o.stride) }, { 0, o.padding }, { 1, or_one(o.dilation) },
                          or_one(o.groups),        o.same,           1 };
    return wf_apply_one(t, &op_conv1d, 3, (wf_var *[]){ x, w, b }, &a);
}

wf_var *wf_conv2d(wf_tape *t, wf_var *x, wf_var *w, wf_var *b, const wf_conv2d_options *options)
{
    const wf_conv2d_options o = options ? *options : (wf_conv2d_options){ 0 };
    const conv_attr a = { { or_one(o.stride[0]), or_one(o.stride[1]) },
                          { o.padding[0], o.padding[1] },
                          { or_one(o.dilation[0]), or_one(o.dilation[1]) },
                          or_one(o.groups),
                          o.same,
                          2 };
    return wf_apply_one(t, &op_conv2d, 3, (wf_var *[]){ x, w, b }, &a);
}
