/* The ops on vars, of F32 or F64 where nothing else is said; all floats of an op are of one dtype.
 * Each returns a new var, which is the tape's, or NULL after failing it. Axes count from the end
 * when negative. */
#ifndef WEFT_AUTOGRAD_OPS_H
#define WEFT_AUTOGRAD_OPS_H

#include "autograd/op.h"

WF_BEGIN

/* What becomes of one loss for each position or element. */
typedef enum wf_reduction { WF_REDUCE_MEAN = 0, WF_REDUCE_SUM, WF_REDUCE_NONE } wf_reduction;

/* How a cross entropy counts; all zero: the mean over all positions. With has_ignore, positions
 * whose id is `ignore` count for nothing, and the mean is over the others; where there are none it
 * is 0, and so is its derivative. label_smoothing e in [0, 1): the target is 1 - e of its own class
 * and e / C of each (Szegedy et al. 2016). weight (C): what each class counts, NULL: 1; the mean of
 * ids is then over the weights, that of probabilities over positions, as in PyTorch.
 * WF_REDUCE_NONE: one loss per position. */
typedef struct wf_cross_entropy_options {
    bool has_ignore;
    int32_t ignore;
    double label_smoothing;
    wf_reduction reduction;
    wf_var *weight;
    const void *reserved[3];
} wf_cross_entropy_options;

/* How ctc_loss counts; all zero: class 0 is the blank, and the loss is PyTorch's mean, that over
 * the batch of each sequence's loss divided by its labels (by 1 where there are none; of no
 * sequences it is 0). zero_infinity: a target that does not fit counts 0 instead of infinity.
 * WF_REDUCE_NONE: one loss per sequence. */
typedef struct wf_ctc_options {
    int32_t blank;
    bool zero_infinity;
    wf_reduction reduction;
    const void *reserved[4];
} wf_ctc_options;

/* How wf_scaled_dot_attention attends; all zero, or NULL: to everything that the mask shows.
 * causal: query i of T sees keys j <= i + S - T alone: the last query sees all keys, as is right
 * where the first S - T keys are those of earlier steps (a key-value cache); for T = S it is the
 * lower triangle. scale: of the scores before the softmax; 0: 1 / sqrt(D). dropout: in train mode,
 * the probability with which a weight is dropped, the others being divided by 1 - dropout; nothing
 * is stored of it, the way back draws it anew. */
typedef struct wf_scaled_dot_options {
    bool causal;
    double scale, dropout;
    const void *reserved[4];
} wf_scaled_dot_options;

/* How crf_loss counts; all zero: the mean over sequences. per_token: that mean is over the steps of
 * all sequences. WF_REDUCE_NONE: one loss per sequence. */
typedef struct wf_crf_loss_options {
    wf_reduction reduction;
    bool per_token;
    const void *reserved[4];
} wf_crf_loss_options;

/* How wf_conv1d and wf_conv2d go over x; all zero, or NULL: PyTorch's defaults. stride: from one
 * position to the next, dilation: from one element of the kernel to the next, groups: parts of the
 * channels that do not meet; each 0: 1. padding: zeros before and behind x. same: as many zeros as
 * give y the size of x, of an odd number the one more behind (PyTorch's padding="same"); the stride
 * is then 1. Of two axes: along the height and along the width. */
typedef struct wf_conv1d_options {
    int64_t stride, padding, dilation, groups;
    bool same;
    const void *reserved[4];
} wf_conv1d_options;
typedef struct wf_conv2d_options {
    int64_t stride[2], padding[2], dilation[2], groups;
    bool same;
    const void *reserved[4];
} wf_conv2d_options;

/* The windows of pooling: kernel is required; stride 0: the kernel's, so that windows lie side by
 * side; padding, at most half the kernel, is no more than room around x. ceil_mode: a last window
 * that x does not fill counts too. exclude_padding: a mean is over the elements of x alone, not
 * over zeros around it too (PyTorch's count_include_pad=False). Of two axes: along height and
 * width. */
typedef struct wf_pool1d_options {
    int64_t kernel, stride, padding;
    bool ceil_mode, exclude_padding;
    const void *reserved[4];
} wf_pool1d_options;
typedef struct wf_pool2d_options {
    int64_t kernel[2], stride[2], padding[2];
    bool ceil_mode, exclude_padding;
    const void *reserved[4];
} wf_pool2d_options;

/* What wf_batch_norm normalised by, (C) each: mean and variance (of the elements that count,
 * divided by their number) in the dtype of x, differentiable, and how many they were, I32. */
typedef struct wf_batch_statistics {
    wf_var *mean, *variance, *count;
} wf_batch_statistics;

/* Pointwise ops: inputs broadcast against each other by NumPy's rule (a comparison also takes I32,
 * and gives an I32 mask; where chooses between ids, too). NaN gives NaN. An op that chooses (abs,
 * relu, maximum, minimum, where) chooses in its derivative too: NaN is chosen before every number,
 * and what was not chosen gets exactly 0, whatever lies there and whatever the derivative is.
 * Elsewhere a derivative is the formula's limit: infinite where that is (sqrt and log at 0), NaN
 * where infinity meets 0 or the input is NaN. Gradients say what is added to the gradient of each
 * input, g being that of the result y. */

/* Their prototypes, and what each means, are the lines of autograd/pointwise.def: of one input,
 * wf_tanh(t, a); with a number, wf_mul_scalar(t, a, 0.5); of two, wf_add(t, a, b); of three,
 * wf_lerp(t, a, b, c), and wf_where(t, m, a, b), m being an I32 mask. */
#define WF_POINTWISE_1(name, doc, ...) WF_API wf_var *wf_##name(wf_tape *t, wf_var *a);
#define WF_POINTWISE_S(name, doc, ...) WF_API wf_var *wf_##name(wf_tape *t, wf_var *a, double s);
#define WF_POINTWISE_2(name, doc, ...) WF_API wf_var *wf_##name(wf_tape *t, wf_var *a, wf_var *b);
#define WF_POINTWISE_3(name, doc, ...)                                                             \
    WF_API wf_var *wf_##name(wf_tape *t, wf_var *a, wf_var *b, wf_var *c);
#define WF_POINTWISE_WHERE(name, doc, ...)                                                         \
    WF_API wf_var *wf_##name(wf_tape *t, wf_var *m, wf_var *a, wf_var *b);
#define WF_POINTWISE_COMPARE(name, doc, ...)                                                       \
    WF_API wf_var *wf_##name(wf_tape *t, wf_var *a, wf_var *b);
#include "autograd/pointwise.def"

/* Those of the others are the lines of autograd/ops.def. */
#define WF_OP(name, arguments, meaning) WF_API wf_var *wf_##name arguments;
#include "autograd/ops.def"

/* sum, mean, max and norm whose axes stay, with size 1. */
WF_API wf_var *wf_sum_keep(wf_tape *t, wf_var *x, const wf_axes *axes);
WF_API wf_var *wf_mean_keep(wf_tape *t, wf_var *x, const wf_axes *axes);
WF_API wf_var *wf_max_keep(wf_tape *t, wf_var *x, const wf_axes *axes);
WF_API wf_var *wf_norm_keep(wf_tape *t, wf_var *x, const wf_axes *axes);

/* log(sum(exp(x))) over the named axes, which go (axes NULL: all of them), or stay with size 1,
 * without leaving the range. Where all of x is -inf, or there is nothing, it is -inf, and the
 * derivative is zero; where some of x is inf it is inf, and the derivative to those elements NaN.
 * Gradient: g softmax(x). */
WF_API wf_var *wf_logsumexp(wf_tape *t, wf_var *x, const wf_axes *axes);
WF_API wf_var *wf_logsumexp_keep(wf_tape *t, wf_var *x, const wf_axes *axes);

/* As argmax, where the smallest element is; NaN counts as smaller than everything. */
WF_API wf_var *wf_argmin(wf_tape *t, wf_var *x, int axis);

/* Where the elements along an axis go when they are sorted: the ids of wf_sort. */
WF_API wf_var *wf_argsort(wf_tape *t, wf_var *x, int axis, bool descending);

/* x as a whole repeated along its axes, times.dim[k] times along axis k, of any dtype (PyTorch's
 * repeat, NumPy's tile): times has an axis for each of x, and may have more, which lead. Gradient:
 * the sum of g over the repetitions. */
WF_API wf_var *wf_repeat(wf_tape *t, wf_var *x, wf_shape times);
/* Each index of an axis repeated by itself: a b c by 2 is a a b b c c. */
WF_API wf_var *wf_repeat_interleave(wf_tape *t, wf_var *x, int axis, int64_t times);

/* A constant (n) of the numbers start + i * step that come before stop, i = 0, 1, ..: n is
 * ceil((stop - start) / step), computed in double. I32 takes whole numbers only. A step of 0, or
 * one that leads away from stop, is refused. */
WF_API wf_var *wf_arange(wf_tape *t, wf_dtype dtype, double start, double stop, double step);
/* From lengths I32 (B), each from 0 to time, a mask I32 (time, B): 1 where the step comes before
 * the sequence's end, else 0. */
WF_API wf_var *wf_length_mask(wf_tape *t, wf_var *lengths, int64_t time);

/* The weights (..., T, S) by which wf_scaled_dot_attention multiplies values, before dropout, as a
 * constant: to be looked at and drawn. q (..., T, D), k (..., S, D), mask and options as there. */
WF_API wf_var *wf_scaled_dot_weights(wf_tape *t, wf_var *q, wf_var *k, wf_var *mask,
                                     const wf_scaled_dot_options *options);

/* x, but low and high where it is beyond them, and there a derivative of 0; at both, and for NaN,
 * which stays, it is 1. Where low is above high it is high. */
WF_API wf_var *wf_clamp(wf_tape *t, wf_var *x, double low, double high);

/* x, but `value` where the mask, I32, is not 0, and there a derivative of exactly 0, whatever lies
 * there. The two broadcast against each other. x may be of ids, and value is then a whole
 * number. */
WF_API wf_var *wf_masked_fill(wf_tape *t, wf_var *x, wf_var *mask, double value);

/* cross_entropy of a target on the tape (options NULL: all zero): ids I32 (...), or probabilities
 * of the classes in the logits' dtype and form (..., C), which are differentiable too. */
WF_API wf_var *wf_cross_entropy_with(wf_tape *t, wf_var *logits, wf_var *target,
                                     const wf_cross_entropy_options *options);

/* binary_cross_entropy (PyTorch's binary_cross_entropy_with_logits) of a target on the tape, which
 * is differentiable too; options NULL: all zero. weight: what each element counts; pos_weight: what
 * positives count, for each class, say; both broadcast to the logits' shape, NULL: 1. The mean is
 * over all elements; of none it is NaN. WF_REDUCE_NONE: one loss per element. */
typedef struct wf_binary_cross_entropy_options {
    wf_var *weight, *pos_weight;
    wf_reduction reduction;
    const void *reserved[4];
} wf_binary_cross_entropy_options;
WF_API wf_var *wf_binary_cross_entropy_with(wf_tape *t, wf_var *logits, wf_var *target,
                                            const wf_binary_cross_entropy_options *options);
/* Mean over all elements of -log sigmoid(logit) where the target is 1, -log sigmoid(-logit) where
 * it is 0, and in between for what lies between, in nats: one shape, one dtype. Finite for any
 * finite logit; at infinite ones 0 or inf. target comes from outside the tape and is copied. */
WF_API wf_var *wf_binary_cross_entropy(wf_tape *t, wf_var *logits, const wf_tensor *target);

WF_END

#endif
