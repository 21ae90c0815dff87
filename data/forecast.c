/* Naive forecasts, and errors of forecasts, added up. */
#include "data/forecast.h"

#include "tensor/par.h"

#include <math.h>

static bool is_floats(const wf_tensor *x, int rank)
{
    return x && wf_dtype_is_float(x->dtype) && (rank < 0 || x->rank == rank) &&
           (x->data || wf_tensor_count(x) == 0);
}

static double at(const wf_tensor *x, int64_t t, int64_t c)
{
    return wf_dtype_describe(x->dtype)->load(x->data, t * x->stride[0] + c * x->stride[1]);
}

/* ---- naive forecasts ---- */

bool wf_seasonal_naive(const wf_tensor *history, int64_t season, const wf_tensor *out,
                       wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (season < 1)
        return wf_error_set(error, "seasonal naive: the season is %lld; it must be 1 or more",
                            (long long)season);
    if (!is_floats(history, 2))
        return wf_error_set(error, "seasonal naive: the history must be f32 or f64 of shape "
                                   "(T, n)");
    if (!is_floats(out, 2) || out->dim[1] != history->dim[1] || wf_tensor_overlaps_itself(out))
        return wf_error_set(error,
                            "seasonal naive: it writes f32 or f64 of shape (horizon, %lld), "
                            "without overlap",
                            (long long)history->dim[1]);
    const int64_t rows = history->dim[0];
    for (int64_t h = 0; h < out->dim[0]; h++)
        for (int64_t c = 0; c < out->dim[1]; c++) {
            /* The last row of the same phase, then the one a season before it, ... */
            const int64_t phase = season - h % season;
            double value = (double)NAN;
            for (int64_t t = rows - phase; t >= 0 && isnan(value); t -= season)
                value = at(history, t, c);
            wf_dtype_describe(out->dtype)
                ->store(out->data, h * out->stride[0] + c * out->stride[1], value);
        }
    return true;
}

/* Adds as Neumaier 1974 does. */
static void add(wf_error_sum *s, double value)
{
    const double sum = s->sum + value;
    /* Of an infinity nothing is lost, and inf - inf would make NaN of it. */
    if (isfinite(sum))
        s->lost += fabs(s->sum) >= fabs(value) ? (s->sum - sum) + value : (value - sum) + s->sum;
    s->sum = sum;
}

static double mean(const wf_error_sum *s, int64_t n)
{
    return n > 0 ? (s->sum + s->lost) / (double)n : (double)NAN;
}

bool wf_mase_scale(const wf_tensor *training, int64_t season, double *scale, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (season < 1)
        return wf_error_set(error, "mase: the season is %lld; it must be 1 or more",
                            (long long)season);
    if (!is_floats(training, 2))
        return wf_error_set(error, "mase: the training rows must be f32 or f64 of shape (T, n)");
    if (!scale) return wf_error_set(error, "mase: there is no scale to fill (NULL)");
    for (int64_t c = 0; c < training->dim[1]; c++) {
        wf_error_sum sum = { 0, 0 };
        int64_t n = 0;
        for (int64_t t = 0; t < training->dim[0] - season; t++) {
            const double off = fabs(at(training, t + season, c) - at(training, t, c));
            if (isnan(off)) continue;
            add(&sum, off);
            n++;
        }
        scale[c] = mean(&sum, n);
    }
    return true;
}

/* ---- errors ---- */

static bool check(const wf_tensor *forecast, const wf_tensor *actual, const wf_tensor *mask,
                  wf_error *error)
{
    char one[64], other[64];
    if (!is_floats(forecast, -1) || !is_floats(actual, -1))
        return wf_error_set(error, "forecast errors: the %s must be f32 or f64",
                            is_floats(forecast, -1) ? "actual values" : "forecasts");
    const wf_shape first = wf_tensor_shape(forecast), second = wf_tensor_shape(actual);
    if (!wf_shape_equal(&first, &second))
        return wf_error_set(error, "forecast errors: forecasts are %s, actual values %s",
                            wf_shape_text(one, sizeof one, first.rank, first.dim),
                            wf_shape_text(other, sizeof other, second.rank, second.dim));
    if (!mask) return true;
    const wf_shape third = wf_tensor_shape(mask);
    if (mask->dtype == WF_I32 && wf_shape_equal(&third, &second) &&
        (mask->data || wf_tensor_count(mask) == 0))
        return true;
    return wf_error_set(error, "forecast errors: the mask must be i32 of shape %s",
                        wf_shape_text(other, sizeof other, second.rank, second.dim));
}

bool wf_forecast_errors_add(wf_forecast_errors *e, const wf_tensor *forecast,
                            const wf_tensor *actual, const wf_tensor *mask, const double *scale,
                            wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (!e) return wf_error_set(error, "forecast errors: there is nothing to add to (NULL)");
    if (!check(forecast, actual, mask, error)) return false;
    const int64_t n = wf_tensor_count(actual);
    const int64_t last = actual->rank ? actual->dim[actual->rank - 1] : 1;
    for (int64_t i = 0; i < n; i++) {
        const double y = wf_tensor_at(actual, i), f = wf_tensor_at(forecast, i);
        if (isnan(y) || (mask && wf_tensor_at(mask, i) == 0)) continue;
        const double off = fabs(y - f), size = fabs(y) + fabs(f);
        add(&e->absolute, off);
        add(&e->squared, off * off);
        add(&e->symmetric, size == 0 ? 0 : off / size);
        e->n++;
        if (!scale) continue;
        add(&e->scaled, off == 0 ? 0 : off / scale[i % last]);
        e->n_scaled++;
    }
    return true;
}

double wf_mae(const wf_forecast_errors *e)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    return e ? mean(&e->absolute, e->n) : (double)NAN;
}

double wf_rmse(const wf_forecast_errors *e)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    return e ? sqrt(mean(&e->squared, e->n)) : (double)NAN;
}

double wf_mase(const wf_forecast_errors *e)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    return e ? mean(&e->scaled, e->n_scaled) : (double)NAN;
}

double wf_smape(const wf_forecast_errors *e)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    return e ? 200 * mean(&e->symmetric, e->n) : (double)NAN;
}
