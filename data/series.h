/* A series of numbers, row after row in time, some of them missing: filled, and scaled by what its
 * training rows say. */
#ifndef WEFT_DATA_SERIES_H
#define WEFT_DATA_SERIES_H

#include "tensor/io.h"

WF_BEGIN

/* Rows of n columns. Begins as { 0 }; its memory is kept from one filling to the next, and grows
 * when there is more than before. */
typedef struct wf_series {
    wf_tensor values; /* (T, n) of floats, NaN where a number is missing */
    wf_tensor mask;   /* I32 (T, n): 1 where there is a number, 0 where it is missing */
    void *memory;     /* its own: from wf_alloc, given back by wf_series_free */
    int64_t bytes;
} wf_series;

/* Makes room for (rows, columns) in a dtype of floats: all NaN, all missing. False and the reason,
 * and series as it was, when a size is below 0, the dtype is none of floats, or there is no
 * memory. */
WF_API bool wf_series_resize(wf_series *series, int64_t rows, int64_t columns, wf_dtype dtype,
                             wf_error *error);
WF_API void wf_series_free(wf_series *series);

/* ---- missing numbers ---- */

typedef enum wf_filling {
    WF_FILL_LAST = 0, /* the last number that was seen above it in its column; where none was, as
                       * WF_FILL_MEAN: nothing comes from the future */
    WF_FILL_MEAN,     /* means[column] */
} wf_filling;

/* Puts numbers in place of every NaN of values (T, n), floats of any strides. means: n of them, or
 * NULL: all 0, which is the mean of a column that wf_scaler has standardised. The mask that says
 * which they were stays as it is: it may go into a model beside them (data/windows.h). False and
 * the reason for a filling or a tensor that there is not. */
WF_API bool wf_fill_missing(const wf_tensor *values, wf_filling how, const double *means,
                            wf_error *error);

/* ---- scaling ---- */

/* (x - offset) / scale, column by column. */
typedef struct wf_scaler wf_scaler;

typedef enum wf_scaling {
    WF_STANDARD = 0, /* offset: the mean; scale: the standard deviation (of all, divided by n) */
    WF_MIN_MAX,      /* offset: the least; scale: the largest less the least, so that they become
                      * 0 and 1 */
} wf_scaling;

/* Takes offset and scale from these rows (T, n) alone, floats of any strides: give it the training
 * part, a view (wf_view_slice). NaN is left out. A column that is the same everywhere has a scale
 * of 1. NULL and the reason when there is no such scaling, no column, an infinity, or a column
 * without a number. Yours to free. */
WF_API wf_scaler *wf_scaler_new(wf_scaling scaling, const wf_tensor *rows, wf_error *error);
/* Another one of some of its columns, in that order: of those that are forecast, say. */
WF_API wf_scaler *wf_scaler_select(const wf_scaler *scaler, const int64_t *columns, int64_t n,
                                   wf_error *error);
WF_API void wf_scaler_free(wf_scaler *scaler);

/* Scales x in place, and back: floats (..., n) of any strides, without overlap. NaN stays NaN.
 * False and the reason, and x as it was, when its last axis is not n. */
WF_API bool wf_scaler_apply(const wf_scaler *scaler, const wf_tensor *x, wf_error *error);
WF_API bool wf_scaler_undo(const wf_scaler *scaler, const wf_tensor *x, wf_error *error);

/* How many columns; the numbers of one of them (NaN out of range). */
WF_API int64_t wf_scaler_columns(const wf_scaler *scaler);
WF_API double wf_scaler_offset(const wf_scaler *scaler, int64_t column);
WF_API double wf_scaler_scale(const wf_scaler *scaler, int64_t column);

/* Adds it to a model's file as the tensors NAME.offset and NAME.scale, f64 (n); and back from
 * there, with the same bits. NULL and the reason when they are not there, not of one form, or not
 * finite numbers with a scale above 0. */
WF_API bool wf_scaler_to_bundle(const wf_scaler *scaler, wf_bundle *bundle, const char *name);
WF_API wf_scaler *wf_scaler_from_archive(const wf_archive *archive, const char *name,
                                         wf_error *error);

WF_END

#endif
