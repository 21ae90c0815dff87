/* What a forecast must beat, the naive and the seasonal naive one, and how far one is off: MAE,
 * RMSE, MASE, sMAPE (Hyndman and Koehler 2006). */
#ifndef WEFT_DATA_FORECAST_H
#define WEFT_DATA_FORECAST_H

#include "tensor/tensor.h"

WF_BEGIN

/* Writes into out (horizon, n) what follows history (T, n), floats of any strides: the value of the
 * same phase in the last season, `season` rows; 1: the last value (naive). Where that one is
 * missing (NaN) it is the last that is there of the same phase, and NaN where none is. False and
 * the reason when season is below 1, the forms do not fit, or out overlaps itself. */
WF_API bool wf_seasonal_naive(const wf_tensor *history, int64_t season, const wf_tensor *out,
                              wf_error *error);

/* The scale of MASE, into scale[0..n-1]: the mean absolute error of the seasonal naive forecast one
 * season ahead within the training rows (T, n), pairs with a missing value (NaN) left out. NaN of a
 * column that has no pair. */
WF_API bool wf_mase_scale(const wf_tensor *training, int64_t season, double *scale,
                          wf_error *error);

/* A sum of doubles and what its rounding lost (Neumaier 1974): batches may come in any number. */
typedef struct wf_error_sum {
    double sum, lost;
} wf_error_sum;

/* Errors added up batch by batch. Begins as { 0 }; owns nothing. */
typedef struct wf_forecast_errors {
    wf_error_sum absolute, squared; /* |y - f|, (y - f)^2 */
    wf_error_sum scaled;            /* |y - f| / scale of its column */
    wf_error_sum symmetric;         /* |y - f| / (|y| + |f|), of 0 and 0: 0 */
    int64_t n, n_scaled;            /* how many; how many of them with a scale */
} wf_forecast_errors;

/* Adds forecasts f against what came, y, floats of one shape and any strides. Left out is where the
 * mask (I32 of that shape; NULL: none) is 0 and where y is NaN: a missing target; a forecast that
 * is NaN there costs nothing, elsewhere it makes NaN of all errors. scale: that of MASE, a number
 * for each place of the last axis (wf_mase_scale), in the unit of y; NULL: MASE is not asked for.
 * False and the reason, and nothing was added, when the forms do not fit. */
WF_API bool wf_forecast_errors_add(wf_forecast_errors *errors, const wf_tensor *forecast,
                                   const wf_tensor *actual, const wf_tensor *mask,
                                   const double *scale, wf_error *error);
/* The mean absolute error; the root of the mean squared one; the mean absolute scaled one, below 1
 * where it is better than the naive forecast was in training; and the symmetric mean absolute
 * percentage error, 0 to 200 (Makridakis 1993). NaN of nothing. */
WF_API double wf_mae(const wf_forecast_errors *errors);
WF_API double wf_rmse(const wf_forecast_errors *errors);
WF_API double wf_mase(const wf_forecast_errors *errors);
WF_API double wf_smape(const wf_forecast_errors *errors);

WF_END

#endif
