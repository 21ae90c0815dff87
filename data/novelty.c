/* Mahalanobis distances of errors, and what of them is usual. */
#include "data/novelty.h"

#include "data/text_private.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/size.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct wf_novelty {
    int64_t around, n;
    double level, spread; /* of the cube roots: mean, standard deviation */
    double threshold;
    double *root, mean[]; /* (n, n), Cholesky's of the covariance, the lower half; (n) */
};

static bool are_windows(const wf_tensor *x, int rank)
{
    return x && x->rank == rank && wf_dtype_is_float(x->dtype) &&
           (x->data || wf_tensor_count(x) == 0);
}

/* ---- from errors to scores ---- */

static double error_at(const wf_tensor *x, int64_t i, int64_t s, int64_t c)
{
    return wf_dtype_describe(x->dtype)->load(x->data, i * x->stride[0] + s * x->stride[1] +
                                                          c * x->stride[2]);
}

/* z solves root z = e - mean; the squared distance is that of z from 0. */
static double distance(const wf_novelty *v, const wf_tensor *errors, int64_t i, int64_t s,
                       double *z)
{
    double sum = 0;
    for (int64_t a = 0; a < v->n; a++) {
        const double *root = v->root + a * v->n;
        z[a] = error_at(errors, i, s, a) - v->mean[a];
        for (int64_t b = 0; b < a; b++) z[a] -= root[b] * z[b];
        z[a] /= root[a];
        sum += z[a] * z[a];
    }
    return isfinite(sum) ? sum : (double)INFINITY;
}

/* The cube roots of a window, before they are compared with what is usual: out (W); work has room
 * for n and W numbers. */
static void judge_window(const wf_novelty *v, const wf_tensor *errors, int64_t i, double *work,
                         double *out)
{
    const int64_t W = errors->dim[1], half = v->around / 2;
    double *d = work + v->n;
    for (int64_t s = 0; s < W; s++) d[s] = distance(v, errors, i, s, work);
    for (int64_t s = 0; s < W; s++) {
        const int64_t low = s < half ? 0 : s - half, high = W - s <= half ? W : s + half + 1;
        double sum = 0;
        for (int64_t k = low; k < high; k++) sum += d[k];
        out[s] = cbrt(sum / (double)(high - low));
    }
}

static double score_of(const wf_novelty *v, double judged)
{
    return fabs(judged - v->level) / v->spread;
}

/* ---- what is usual ---- */

static bool fit_errors(wf_novelty *v, const wf_tensor *x, wf_error *error)
{
    const int64_t N = x->dim[0], W = x->dim[1], n = v->n;
    const double T = (double)N * (double)W;
    for (int64_t c = 0; c < n; c++) {
        for (int64_t i = 0; i < N * W; i++) v->mean[c] += error_at(x, i / W, i % W, c);
        v->mean[c] /= T;
        if (!isfinite(v->mean[c])) return wf_error_set(error, "novelty: an error is not finite");
    }
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b <= a; b++) {
            double *root = v->root + a * n, *other = v->root + b * n, sum = 0;
            for (int64_t i = 0; i < N * W; i++)
                sum += (error_at(x, i / W, i % W, a) - v->mean[a]) *
                       (error_at(x, i / W, i % W, b) - v->mean[b]) / T;
            for (int64_t k = 0; k < b; k++) sum -= root[k] * other[k];
            /* Columns that say the same are told apart by no more than this. */
            root[b] = a == b ? sqrt(fmax(sum, 1e-12)) : sum / other[b];
        }
    return true;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Level, spread and threshold; work has room for all scores, one for each window, n and W. */
static void fit_scores(wf_novelty *v, const wf_tensor *x, double alarms, double *work)
{
    const int64_t N = x->dim[0], W = x->dim[1];
    double *judged = work, *most = judged + N * W, *rest = most + N, squares = 0;
    for (int64_t i = 0; i < N; i++) judge_window(v, x, i, rest, judged + i * W);
    for (int64_t i = 0; i < N * W; i++) v->level += judged[i] / (double)(N * W);
    for (int64_t i = 0; i < N * W; i++)
        squares += (judged[i] - v->level) * (judged[i] - v->level) / (double)(N * W);
    v->spread = fmax(sqrt(squares), 1e-9);
    for (int64_t i = 0; i < N; i++) {
        most[i] = 0;
        for (int64_t s = 0; s < W; s++) most[i] = fmax(most[i], score_of(v, judged[i * W + s]));
    }
    qsort(most, (size_t)N, sizeof *most, ascending);
    v->threshold = most[N - 1 - (int64_t)(alarms * (double)N)];
}

/* ---- the public functions ---- */

wf_novelty *wf_novelty_new(const wf_tensor *errors, const wf_novelty_options *options,
                           wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    const int64_t around = options && options->around ? options->around : 1;
    const double alarms = options && options->alarms != 0 ? options->alarms : 0.01;
    if (!are_windows(errors, 3) || wf_tensor_count(errors) == 0)
        wf_error_set(error, "novelty: it takes errors of f32 or f64, (N, W, n), none of them 0");
    else if (around < 1 || around % 2 == 0)
        wf_error_set(error, "novelty: around is %lld; it must be an odd number", (long long)around);
    else if (!(alarms > 0 && alarms < 1))
        wf_error_set(error, "novelty: alarms is %g; it must be in (0, 1)", alarms);
    else {
        const int64_t N = errors->dim[0], W = errors->dim[1], n = errors->dim[2];
        int64_t bytes = 0, room = 0;
        bool fits = wf_size_mul(n, n, &bytes) && wf_size_add(bytes, n, &bytes) &&
                    wf_size_mul(bytes, sizeof(double), &bytes) &&
                    wf_size_add(bytes, sizeof(wf_novelty), &bytes) && wf_size_mul(N, W, &room) &&
                    wf_size_add(room, N + n + W, &room) && wf_size_mul(room, sizeof(double), &room);
        wf_novelty *v = text_memory(fits ? wf_alloc_zero((size_t)bytes) : NULL, bytes, "novelty",
                                    error);
        double *work = v ? text_memory(wf_alloc((size_t)room), room, "novelty", error) : NULL;
        if (work) {
            *v = (wf_novelty){ .around = around, .n = n, .root = v->mean + n };
            fits = fit_errors(v, errors, error);
            if (fits) fit_scores(v, errors, alarms, work);
            wf_release(work);
            if (fits) return v;
        }
        wf_release(v);
    }
    return NULL;
}

void wf_novelty_free(wf_novelty *novelty)
{
    wf_release(novelty);
}

bool wf_novelty_score(const wf_novelty *v, const wf_tensor *errors, const wf_tensor *scores,
                      wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (!v) return wf_error_set(error, "novelty: it was never made (NULL)");
    if (!are_windows(errors, 3) || errors->dim[2] != v->n)
        return wf_error_set(error, "novelty: it takes errors of f32 or f64, (N, W, %lld)",
                            (long long)v->n);
    const int64_t N = errors->dim[0], W = errors->dim[1];
    const bool whole = are_windows(scores, 1);
    if ((!whole && !are_windows(scores, 2)) || scores->dim[0] != N ||
        (!whole && scores->dim[1] != W) || wf_tensor_overlaps_itself(scores))
        return wf_error_set(error, "novelty: scores must be f32 or f64 of (%lld, %lld) or (%lld)",
                            (long long)N, (long long)W, (long long)N);
    const int64_t bytes = (v->n + 2 * W) * (int64_t)sizeof(double);
    double *work = text_memory(wf_alloc((size_t)bytes), bytes, "novelty", error);
    if (!work) return false;
    const wf_dtype_info *type = wf_dtype_describe(scores->dtype);
    double *judged = work + v->n + W;
    for (int64_t i = 0; i < N; i++) {
        judge_window(v, errors, i, work, judged);
        double most = 0;
        for (int64_t s = 0; s < W; s++) {
            const double score = score_of(v, judged[s]);
            most = fmax(most, score);
            if (!whole)
                type->store(scores->data, i * scores->stride[0] + s * scores->stride[1], score);
        }
        if (whole) type->store(scores->data, i * scores->stride[0], most);
    }
    wf_release(work);
    return true;
}

double wf_novelty_threshold(const wf_novelty *v)
{
    return v ? v->threshold : (double)NAN;
}

/* ---- oddities ---- */

bool wf_make_odd(const wf_tensor *x, wf_oddity kind, int64_t period, uint64_t key, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (!are_windows(x, 2) || wf_tensor_count(x) == 0 || wf_tensor_overlaps_itself(x))
        return wf_error_set(error, "oddity: a window is f32 or f64 of (W, n), without overlap");
    const int64_t W = x->dim[0];
    if (kind < WF_ODD_SPIKE || kind >= WF_ODDITIES)
        return wf_error_set(error, "oddity: there is no kind %d", (int)kind);
    if (period < 4 || period > W)
        return wf_error_set(error, "oddity: the period is %lld; it must be 4 to %lld",
                            (long long)period, (long long)W);
    const int64_t half = period / 2, back = period / 4 + wf_random_below(key, 1, half + 1);
    const int64_t length = kind == WF_ODD_SPIKE  ? 1 + wf_random_below(key, 2, 3)
                           : kind == WF_ODD_FLAT ? half + wf_random_below(key, 2, period - half + 1)
                                                 : period;
    const int64_t begin = kind == WF_ODD_SHIFT
                              ? back + wf_random_below(key, 3, W - back - period / 4 + 1)
                              : wf_random_below(key, 3, W - length + 1);
    const double much = 3 + 3 * wf_random_uniform(key, 4),
                 size = wf_random_below(key, 5, 2) ? much : -much;
    wf_tensor column;
    wf_view_select(x, 1, wf_random_below(key, 0, x->dim[1]), &column);
    const wf_dtype_info *type = wf_dtype_describe(x->dtype);
    for (int64_t i = W - 1; kind == WF_ODD_SHIFT && i >= begin; i--)
        type->store(column.data, i * column.stride[0],
                    type->load(column.data, (i - back) * column.stride[0]));
    for (int64_t i = begin; kind != WF_ODD_SHIFT && i < begin + length; i++) {
        const int64_t at = i * column.stride[0], first = begin * column.stride[0];
        const double usual = type->load(column.data, at);
        type->store(column.data, at,
                    kind == WF_ODD_SPIKE  ? usual + size
                    : kind == WF_ODD_FLAT ? type->load(column.data, first)
                                          : 0);
    }
    return true;
}
