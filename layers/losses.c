/* Losses of sequences: what is there is judged and joined into one mask, targets that are not there
 * become ids that cross entropy ignores, and sums are divided by what was there. */
#include "layers/losses.h"

#include "autograd/scan.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/text.h"

/* Stands for a target that is not there: nobody's class. */
enum { NOT_THERE = INT32_MIN };

/* A call: its steps, and which of them are there. */
typedef struct sequences {
    const char *who;
    int64_t time, batch;
    wf_var *there; /* I32, broadcasting to (T, B); NULL: all */
    wf_sequence_loss_options o;
} sequences;

/* ---- what is given ---- */

static bool options_are_sound(wf_tape *t, const sequences *s, bool smooths)
{
    const double smoothing = s->o.label_smoothing;
    if (s->o.reduction < WF_PER_TOKEN || s->o.reduction > WF_EACH_SEQUENCE)
        wf_fail(t,
                "%s: .reduction is %d; expected per token, per sequence, a total or each sequence",
                s->who, (int)s->o.reduction);
    else if (!smooths && smoothing != 0)
        wf_fail(t, "%s: .label_smoothing is %g; only cross entropy has it", s->who, smoothing);
    return wf_tape_ok(t);
}

/* Joins lengths and mask into one, whose forms are judged. False after failing the tape. */
static bool find_there(wf_tape *t, sequences *s, wf_var *lengths, wf_var *mask)
{
    if (lengths) {
        lengths = wf_enter_lengths(t, lengths, s->time, s->batch, "%s", s->who);
        if (!lengths) return false;
        lengths = wf_length_mask(t, lengths, s->time);
    }
    if (mask) {
        mask = wf_enter(t, mask, "%s: the mask", s->who);
        if (!mask) return false;
        const wf_shape shape = wf_shape_of(mask), form = WF_SHAPE(s->time, s->batch);
        wf_shape both;
        char text[128];
        if (wf_dtype_of(mask) != WF_I32 || !wf_shape_broadcast(&shape, &form, &both) ||
            !wf_shape_equal(&both, &form)) {
            wf_fail(t, "%s: the mask is %s %s; expected i32 that broadcasts to (%lld, %lld)",
                    s->who, wf_dtype_name(wf_dtype_of(mask)),
                    wf_shape_text(text, sizeof text, shape.rank, shape.dim), (long long)s->time,
                    (long long)s->batch);
            return false;
        }
        while (mask && wf_rank(mask) < 2) mask = wf_unsqueeze(t, mask, 0);
    }
    s->there = mask_both(t, lengths, mask);
    return wf_tape_ok(t);
}

/* Enters x (T, B, ...), of 3 axes unless `any`: the form that a call's steps are read off. */
static wf_var *enter_steps(wf_tape *t, sequences *s, wf_var *x, const char *what, bool any)
{
    if (!(x = wf_enter(t, x, "%s: %s", s->who, what))) return NULL;
    const wf_shape shape = wf_shape_of(x);
    char text[128];
    if (wf_dtype_of(x) == WF_I32)
        return wf_fail(t, "%s: %s are i32; expected f32 or f64", s->who, what);
    if (any ? shape.rank < 2 : shape.rank != 3)
        return wf_fail(t, "%s: %s are %s; expected (time, batch, %s)", s->who, what,
                       wf_shape_text(text, sizeof text, shape.rank, shape.dim),
                       any ? ".." : "classes");
    s->time = shape.dim[0];
    s->batch = shape.dim[1];
    return x;
}

/* ---- reductions ---- */

/* 1 where a token is there, (T, B). */
static wf_var *ones_there(wf_tape *t, const sequences *s, wf_dtype dtype)
{
    wf_var *ones = wf_full(t, dtype, WF_SHAPE(s->time, s->batch), 1);
    return s->there ? wf_where(t, s->there, ones, wf_zeros(t, dtype, WF_SCALAR)) : ones;
}

/* Of the losses of tokens (T, B), 0 where there is none. */
static wf_var *reduced(wf_tape *t, const sequences *s, wf_var *loss)
{
    if (s->o.reduction == WF_TOTAL) return wf_sum(t, loss, NULL);
    wf_var *each = wf_sum(t, loss, WF_AXES(0));
    if (s->o.reduction == WF_EACH_SEQUENCE) return each;
    wf_var *tokens = wf_sum(t, ones_there(t, s, wf_dtype_of(loss)), WF_AXES(0)), *n = tokens;
    if (s->o.reduction == WF_PER_SEQUENCE) {
        each = wf_div(t, each, wf_maximum_scalar(t, tokens, 1));
        n = wf_minimum_scalar(t, tokens, 1);
    }
    n = wf_maximum_scalar(t, wf_sum(t, n, NULL), 1);
    return wf_div(t, wf_sum(t, each, NULL), n);
}

/* ---- cross entropy ---- */

/* Targets, NOT_THERE where there is none, and the options of a loss for each token, or, where that
 * is all that is asked for, of one for all. NULL after failing the tape. */
static wf_var *enter_targets(wf_tape *t, const sequences *s, wf_var *targets,
                             wf_cross_entropy_options *how)
{
    if (!(targets = wf_enter(t, targets, "%s: the targets", s->who))) return NULL;
    const wf_shape shape = wf_shape_of(targets), form = WF_SHAPE(s->time, s->batch);
    char text[128];
    if (wf_dtype_of(targets) != WF_I32 || !wf_shape_equal(&shape, &form))
        return wf_fail(t, "%s: the targets are %s %s; expected i32 (%lld, %lld)", s->who,
                       wf_dtype_name(wf_dtype_of(targets)),
                       wf_shape_text(text, sizeof text, shape.rank, shape.dim), (long long)s->time,
                       (long long)s->batch);
    *how = (wf_cross_entropy_options){ .has_ignore = s->there != NULL,
                                       .ignore = NOT_THERE,
                                       .label_smoothing = s->o.label_smoothing,
                                       .reduction = s->o.reduction == WF_PER_TOKEN ? WF_REDUCE_MEAN
                                                    : s->o.reduction == WF_TOTAL   ? WF_REDUCE_SUM
                                                                                 : WF_REDUCE_NONE };
    if (!s->there) return targets;
    return wf_where(t, s->there, targets, wf_full(t, WF_I32, WF_SCALAR, NOT_THERE));
}

/* One function for logits (layer NULL) and for what a layer would make them of. */
static wf_var *cross_entropy(wf_tape *t, sequences *s, const wf_linear *layer, wf_var *x,
                             wf_var *targets, wf_var *lengths, wf_var *mask)
{
    wf_cross_entropy_options how;
    if (!x || !options_are_sound(t, s, true) || !find_there(t, s, lengths, mask)) return NULL;
    if (!(targets = enter_targets(t, s, targets, &how))) return NULL;
    wf_var *loss = layer ? wf_linear_cross_entropy(t, layer, x, targets, &how)
                         : wf_cross_entropy_with(t, x, targets, &how);
    return loss && how.reduction == WF_REDUCE_NONE ? reduced(t, s, loss) : loss;
}

wf_var *wf_sequence_cross_entropy(wf_tape *t, wf_var *logits, wf_var *targets, wf_var *lengths,
                                  wf_var *mask, const wf_sequence_loss_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    sequences s = { .who = "sequence_cross_entropy" };
    if (options) s.o = *options;
    if (!wf_tape_ok(t)) return NULL;
    logits = enter_steps(t, &s, logits, "the logits", false);
    return cross_entropy(t, &s, NULL, logits, targets, lengths, mask);
}

wf_var *wf_linear_sequence_cross_entropy(wf_tape *t, const wf_linear *layer, wf_var *x,
                                         wf_var *targets, wf_var *lengths, wf_var *mask,
                                         const wf_sequence_loss_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    sequences s = { .who = "linear_sequence_cross_entropy" };
    if (options) s.o = *options;
    if (!layer_enter(t, "linear", layer ? layer->module : NULL, x, "x")) return NULL;
    x = enter_steps(t, &s, x, "the features", false);
    return cross_entropy(t, &s, layer, x, targets, lengths, mask);
}

/* ---- squared error ---- */

/* x (T, B, ...), 0 where no token is, as (T, B, features). */
static wf_var *cleared(wf_tape *t, const sequences *s, wf_var *x, int64_t features)
{
    x = wf_reshape(t, x, WF_SHAPE(s->time, s->batch, features));
    return mask_clear(t, x, s->there);
}

wf_var *wf_sequence_mse(wf_tape *t, wf_var *x, wf_var *targets, wf_var *lengths, wf_var *mask,
                        const wf_sequence_loss_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    sequences s = { .who = "sequence_mse" };
    if (options) s.o = *options;
    if (!wf_tape_ok(t) || !(x = enter_steps(t, &s, x, "the values", true)) ||
        !(targets = enter_steps(t, &s, targets, "the targets", true)))
        return NULL;
    const wf_shape shape = wf_shape_of(x), other = wf_shape_of(targets);
    char text[2][128];
    if (wf_dtype_of(x) != wf_dtype_of(targets) || !wf_shape_equal(&shape, &other))
        return wf_fail(t, "%s: the values are %s %s and the targets %s %s; expected the same",
                       s.who, wf_dtype_name(wf_dtype_of(x)),
                       wf_shape_text(text[0], sizeof text[0], shape.rank, shape.dim),
                       wf_dtype_name(wf_dtype_of(targets)),
                       wf_shape_text(text[1], sizeof text[1], other.rank, other.dim));
    if (!options_are_sound(t, &s, false) || !find_there(t, &s, lengths, mask)) return NULL;
    int64_t features = 1;
    for (int k = 2; k < shape.rank; k++) features *= shape.dim[k];
    wf_var *error = wf_sub(t, cleared(t, &s, x, features), cleared(t, &s, targets, features));
    wf_var *loss = wf_sum(t, wf_square(t, error), WF_AXES(-1)); /* (T, B) */
    return reduced(t, &s, wf_mul_scalar(t, loss, 1 / (double)(features > 0 ? features : 1)));
}
