/* Perplexity and accuracy, added up. */
#include "data/metrics_private.h"

#include "tensor/par.h"

#include <math.h>

/* ---- perplexity ---- */

void wf_perplexity_add(wf_perplexity *p, double nats, int64_t tokens)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if (!p) return;
    const double sum = p->nats + nats;
    /* Of an infinity nothing is lost, and inf - inf would make NaN of it. */
    if (isfinite(sum))
        p->lost += fabs(p->nats) >= fabs(nats) ? (p->nats - sum) + nats : (nats - sum) + p->nats;
    p->nats = sum;
    if (tokens > 0) p->tokens += tokens;
}

double wf_perplexity_nats(const wf_perplexity *p)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    return p && p->tokens > 0 ? (p->nats + p->lost) / (double)p->tokens : (double)NAN;
}

double wf_perplexity_result(const wf_perplexity *p)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    return exp(wf_perplexity_nats(p));
}

/* ---- accuracy ---- */

int32_t metrics_id(const wf_tensor *x, int64_t t, int64_t b)
{
    const int64_t at = x->rank == 1 ? b * x->stride[0] : t * x->stride[0] + b * x->stride[1];
    return ((const int32_t *)x->data)[at];
}

int64_t metrics_batch(const wf_tensor *x)
{
    return x->dim[x->rank - 1];
}

int64_t metrics_time(const wf_tensor *x)
{
    return x->rank == 2 ? x->dim[0] : 1;
}

static bool is_ids(const wf_tensor *x)
{
    return x && x->dtype == WF_I32 && (x->rank == 1 || x->rank == 2) &&
           (x->data || wf_tensor_count(x) == 0);
}

bool metrics_given(const char *what, const wf_tensor *predicted, const wf_tensor *target,
                   const wf_tensor *lengths, wf_error *error)
{
    if (!is_ids(predicted) || !is_ids(target))
        return wf_error_set(error, "%s: the %s must be i32 of shape (T, B) or (B)", what,
                            is_ids(predicted) ? "targets" : "predictions");
    char one[64], other[64];
    const wf_shape first = wf_tensor_shape(predicted), second = wf_tensor_shape(target);
    if (!wf_shape_equal(&first, &second))
        return wf_error_set(error, "%s: predictions are %s, targets %s", what,
                            wf_shape_text(one, sizeof one, predicted->rank, predicted->dim),
                            wf_shape_text(other, sizeof other, target->rank, target->dim));
    if (!lengths) return true;
    const int64_t batch = metrics_batch(target), time = metrics_time(target);
    if (!is_ids(lengths) || lengths->rank != 1 || lengths->dim[0] != batch)
        return wf_error_set(error, "%s: the lengths must be i32 of shape (%lld)", what,
                            (long long)batch);
    for (int64_t b = 0; b < batch; b++) {
        const int32_t n = metrics_id(lengths, 0, b);
        if (n < 0 || n > time)
            return wf_error_set(error, "%s: length (%lld) is %d; there are %lld steps", what,
                                (long long)b, (int)n, (long long)time);
    }
    return true;
}

bool wf_accuracy_add(wf_accuracy *a, const wf_tensor *predicted, const wf_tensor *target,
                     const wf_tensor *lengths, wf_error *error)
{
    wf_error_clear(error);
    if (!a) return wf_error_set(error, "accuracy: there is nothing to add to (NULL)");
    if (!metrics_given("accuracy", predicted, target, lengths, error)) return false;
    const int64_t batch = metrics_batch(target), time = metrics_time(target);
    for (int64_t b = 0; b < batch; b++) {
        const int64_t n = lengths ? metrics_id(lengths, 0, b) : time;
        int64_t right = 0;
        for (int64_t t = 0; t < n; t++)
            right += metrics_id(predicted, t, b) == metrics_id(target, t, b);
        a->right += right;
        a->tokens += n;
        a->whole += n > 0 && right == n;
        a->sequences += n > 0;
    }
    return true;
}

static double part(int64_t right, int64_t of)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    return of > 0 ? (double)right / (double)of : (double)NAN;
}

double wf_accuracy_tokens(const wf_accuracy *a)
{
    return a ? part(a->right, a->tokens) : (double)NAN;
}

double wf_accuracy_sequences(const wf_accuracy *a)
{
    return a ? part(a->whole, a->sequences) : (double)NAN;
}
