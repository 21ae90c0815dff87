/* Losses spelled in other ops: binary cross-entropy of logits, and cross entropy with class weights
 * or of probabilities. Here is what is said about wrong inputs; the numbers are the ops'. */
#include "autograd/ops_private.h"
#include "autograd/private.h"
#include "autograd/views.h"

static bool same_shape(const wf_var *a, const wf_var *b)
{
    wf_shape one = wf_shape_of(a), other = wf_shape_of(b);
    return wf_shape_equal(&one, &other);
}

static bool sound_reduction(wf_tape *t, const char *who, wf_reduction how)
{
    if (how == WF_REDUCE_MEAN || how == WF_REDUCE_SUM || how == WF_REDUCE_NONE) return true;
    wf_fail(t, "%s: reduction is %d; expected mean, sum or none", who, (int)how);
    return false;
}

/* Does x (the options' `name`) have the logits' dtype, and broadcast to `shape` as it is? */
static bool sound_factor(wf_tape *t, const char *who, const char *name, const wf_var *x,
                         const wf_var *logits, wf_shape shape)
{
    wf_shape own = wf_shape_of(x), both;
    if (wf_dtype_of(x) != wf_dtype_of(logits))
        wf_fail(t, "%s: %s is %s; expected %s, as the logits are", who, name,
                wf_dtype_name(wf_dtype_of(x)), wf_dtype_name(wf_dtype_of(logits)));
    else if (!wf_shape_broadcast(&own, &shape, &both) || !wf_shape_equal(&both, &shape))
        wf_fail(t, "%s: %s is %s; expected what broadcasts to %s", who, name, SHAPE_TEXT(&x->value),
                SHAPE_TEXT(&shape));
    return wf_tape_ok(t);
}

static wf_var *reduced(wf_tape *t, wf_var *loss, wf_reduction how)
{
    return how == WF_REDUCE_NONE  ? loss
           : how == WF_REDUCE_SUM ? wf_sum(t, loss, NULL)
                                  : wf_mean(t, loss, NULL);
}

/* ---- binary cross-entropy ---- */

static bool sound_binary(wf_tape *t, const wf_var *logits, const wf_var *target)
{
    static const char who[] = "binary_cross_entropy";
    if (wf_dtype_of(logits) == WF_I32)
        wf_fail(t, "%s: logits are i32; expected f32 or f64", who);
    else if (wf_dtype_of(target) != wf_dtype_of(logits))
        wf_fail(t, "%s: the target is %s; expected %s, as the logits are%s", who,
                wf_dtype_name(wf_dtype_of(target)), wf_dtype_name(wf_dtype_of(logits)),
                wf_dtype_of(target) == WF_I32 ? "\n  hint: wf_cast makes floats of 0 and 1" : "");
    else if (!same_shape(logits, target)) /* broadcasting here would hide mistakes */
        wf_fail(t, "%s: logits are %s and the target is %s; expected one shape", who,
                SHAPE_TEXT(&logits->value), SHAPE_TEXT(&target->value));
    return wf_tape_ok(t);
}

wf_var *wf_binary_cross_entropy_with(wf_tape *t, wf_var *logits, wf_var *target,
                                     const wf_binary_cross_entropy_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    static const char who[] = "binary_cross_entropy";
    static const wf_binary_cross_entropy_options none;
    const wf_binary_cross_entropy_options *o = options ? options : &none;
    wf_var *weight = o->weight, *positive = o->pos_weight;
    if (!wf_tape_ok(t)) return NULL;
    if (!(logits = var_enter(t, logits, who, 0)) || !(target = var_enter(t, target, who, 1)) ||
        (weight && !(weight = var_enter(t, weight, who, 2))) ||
        (positive && !(positive = var_enter(t, positive, who, 3))) ||
        !sound_binary(t, logits, target) || !sound_reduction(t, who, o->reduction))
        return NULL;
    wf_shape shape = wf_shape_of(logits);
    if ((weight && !sound_factor(t, who, ".weight", weight, logits, shape)) ||
        (positive && !sound_factor(t, who, ".pos_weight", positive, logits, shape)))
        return NULL;
    if (!positive) positive = wf_full(t, wf_dtype_of(logits), WF_SCALAR, 1);
    wf_var *loss = wf_logistic_loss(t, logits, target, positive);
    if (weight) loss = wf_mul(t, loss, weight);
    return reduced(t, loss, o->reduction);
}

wf_var *wf_binary_cross_entropy(wf_tape *t, wf_var *logits, const wf_tensor *target)
{
    return wf_binary_cross_entropy_with(t, logits, wf_constant_tensor(t, target), NULL);
}

/* ---- cross entropy, where the fused op does not do ---- */

/* What each class counts as a var that log_p is multiplied by, (C); NULL where all count 1. */
static bool sound_weight(wf_tape *t, const wf_var *weight, const wf_var *logits)
{
    if (!weight) return true;
    const int64_t classes = wf_dim(logits, -1);
    if (wf_rank(weight) != 1 || wf_dim(weight, 0) != classes) {
        wf_fail(t, "cross_entropy: .weight is %s; expected (%lld), one for each class",
                SHAPE_TEXT(&weight->value), (long long)classes);
        return false;
    }
    return sound_factor(t, "cross_entropy", ".weight", weight, logits, wf_shape_of(weight));
}

static bool sound_smoothing(wf_tape *t, double e)
{
    if (e >= 0 && e < 1) return true;
    wf_fail(t, "cross_entropy: label_smoothing is %g; expected 0 <= label_smoothing < 1", e);
    return false;
}

/* Ids: (1 - e) w[id] times the fused op's -log p[id], and of each class e / C times w times its
 * -log p; the mean is over the weights that count. */
static wf_var *weighted_entropy(wf_tape *t, wf_var *logits, wf_var *target, wf_var *weight,
                                const wf_cross_entropy_options *o)
{
    const double e = o->label_smoothing;
    const int64_t classes = wf_dim(logits, -1);
    wf_var *none = wf_zeros(t, wf_dtype_of(logits), WF_SCALAR);
    wf_cross_entropy_options each = { .has_ignore = o->has_ignore,
                                      .ignore = o->ignore,
                                      .reduction = WF_REDUCE_NONE };
    wf_var *nll = wf_cross_entropy_with(t, logits, target, &each);                /* (...) */
    wf_var *of_class = wf_where(t, wf_one_hot(t, target, classes), weight, none); /* (..., C) */
    wf_var *own = wf_sum(t, of_class, WF_AXES(-1));                               /* (...) */
    wf_var *ignored = NULL;
    if (o->has_ignore) {
        ignored = wf_equal(t, target, wf_full(t, WF_I32, WF_SCALAR, o->ignore));
        own = wf_where(t, ignored, none, own);
    }
    wf_var *loss = wf_mul(t, own, nll);
    if (e > 0) {
        wf_var *log_p = wf_mul(t, wf_log_softmax(t, logits, -1), weight);
        wf_var *all = wf_mul_scalar(t, wf_sum(t, log_p, WF_AXES(-1)), -e / (double)classes);
        if (ignored) all = wf_where(t, ignored, none, all);
        loss = wf_add(t, wf_mul_scalar(t, loss, 1 - e), all);
    }
    if (o->reduction != WF_REDUCE_MEAN) return reduced(t, loss, o->reduction);
    wf_var *sum = wf_sum(t, own, NULL), *one = wf_full(t, wf_dtype_of(logits), WF_SCALAR, 1);
    wf_var *divisor = wf_where(t, wf_equal(t, sum, none), one,
                               sum); /* the mean over nothing is 0 */
    return wf_div(t, wf_sum(t, loss, NULL), divisor);
}

/* Probabilities: -sum of q log p, where a class of probability 0 counts for nothing, even at -inf;
 * the mean is over positions, whatever the weights. */
static wf_var *soft_entropy(wf_tape *t, wf_var *logits, wf_var *target, wf_var *weight,
                            const wf_cross_entropy_options *o)
{
    const double e = o->label_smoothing;
    const int64_t classes = wf_dim(logits, -1);
    if (o->has_ignore)
        return wf_fail(t, "cross_entropy: .ignore is an id; this target is of probabilities");
    if (!sound_smoothing(t, e) || !sound_reduction(t, "cross_entropy", o->reduction)) return NULL;
    if (e > 0) target = wf_add_scalar(t, wf_mul_scalar(t, target, 1 - e), e / (double)classes);
    if (weight) target = wf_mul(t, target, weight);
    wf_var *none = wf_zeros(t, wf_dtype_of(logits), WF_SCALAR);
    wf_var *term = wf_mul(t, target, wf_log_softmax(t, logits, -1));
    term = wf_where(t, wf_equal(t, target, none), none, term); /* (..., C) */
    wf_var *loss = wf_neg(t, wf_sum(t, term, WF_AXES(-1)));    /* (...) */
    if (o->reduction != WF_REDUCE_MEAN) return reduced(t, loss, o->reduction);
    const int64_t n = wf_count(loss);
    return wf_div_scalar(t, wf_sum(t, loss, NULL), n > 0 ? (double)n : 1);
}

wf_var *cross_entropy_spelled(wf_tape *t, wf_var *logits, wf_var *target,
                              const wf_cross_entropy_options *o)
{
    const char *const who = op_cross_entropy.name;
    wf_var *weight = o->weight;
    if (!wf_tape_ok(t)) return NULL;
    if (!(logits = var_enter(t, logits, who, 0)) || !(target = var_enter(t, target, who, 1)) ||
        (weight && !(weight = var_enter(t, weight, who, 2))))
        return NULL;
    if (wf_dtype_of(logits) == WF_I32 || wf_rank(logits) == 0)
        return wf_fail(t, "cross_entropy: logits are %s %s; expected f32 or f64 (..., classes)",
                       wf_dtype_name(wf_dtype_of(logits)), SHAPE_TEXT(&logits->value));
    if (!sound_weight(t, weight, logits)) return NULL;
    if (wf_dtype_of(target) == WF_I32)
        return sound_smoothing(t, o->label_smoothing) && sound_reduction(t, who, o->reduction)
                   ? weighted_entropy(t, logits, target, weight, o)
                   : NULL;
    return soft_entropy(t, logits, target, weight, o);
}
