/* Windows over a series, as a forecaster learns from them: so many rows in, so many rows to be
 * forecast; and the parts of a rolling-origin evaluation. */
#ifndef WEFT_DATA_WINDOWS_H
#define WEFT_DATA_WINDOWS_H

#include "data/series.h"

WF_BEGIN

/* Batches of windows. A window has an origin, the first row that is forecast: rows origin - input
 * to origin - 1 go in, rows origin to origin + horizon - 1 are the targets. */
typedef struct wf_windows wf_windows;

typedef struct wf_windows_options {
    int64_t input, horizon; /* rows; both required */
    int64_t batch;          /* windows of a batch, B; the last one has what is left; required */
    int64_t stride;         /* rows from one origin to the next; 0: 1 */
    int64_t begin, end;     /* targets lie in rows begin to end - 1; what goes in may lie before
                              * `begin`, never behind the origin. end 0: all rows */
    const int64_t *targets; /* columns that are forecast, and how many; NULL: all */
    int64_t n_targets;
    bool mask_features; /* behind the n columns that go in, n more: 1 where a number was there, 0
                         * where it was filled */
    bool in_order;      /* by origin, the same in each epoch; else in a random order, which depends
                         * on (seed, epoch) alone */
    uint64_t seed;
    const void *reserved[4];
} wf_windows_options;

/* Windows over values (T, n), floats without NaN (wf_fill_missing), and the mask I32 (T, n) that
 * says which were there (NULL: all). Both are borrowed and must outlive the windows. A window
 * without any target that is there is left out. NULL and the reason when an option or a tensor
 * makes no sense, a number is not finite, or there is no window. Yours to free. */
WF_API wf_windows *wf_windows_new(const wf_tensor *values, const wf_tensor *mask,
                                  const wf_windows_options *options, wf_error *error);
WF_API void wf_windows_free(wf_windows *windows);

/* A batch, time first: input (input, B, n or 2 n); target (horizon, B, m) and target_mask I32 of
 * that shape, 1 where a target counts: elsewhere target is what the gap was filled with. */
typedef struct wf_window_batch {
    wf_tensor input, target, target_mask;
    const int64_t *origin; /* of column b: the row that target[0] is */
    int64_t count;         /* B */
} wf_window_batch;

/* The next batch, good until the next call of this or of seek; NULL, once, when the epoch is over:
 * then the next one has begun. Never fails, never allocates. NULL of NULL. */
WF_API const wf_window_batch *wf_windows_next(wf_windows *windows);

/* How many windows, and batches, an epoch has; the epoch that is being read (from 0) and how many
 * of its batches were handed out: what a checkpoint keeps. Seek goes on from there; false, and
 * nothing changes, for a place that there is not. */
WF_API int64_t wf_windows_total(const wf_windows *windows);
WF_API int64_t wf_windows_count(const wf_windows *windows);
WF_API int64_t wf_windows_epoch(const wf_windows *windows);
WF_API int64_t wf_windows_position(const wf_windows *windows);
WF_API bool wf_windows_seek(wf_windows *windows, int64_t epoch, int64_t position);

/* ---- rolling origin ---- */

/* Rows train_begin to train_end - 1 to learn from, rows test_begin to test_end - 1 to be forecast.
 * Nothing of a test lies before its training part's end. */
typedef struct wf_fold {
    int64_t train_begin, train_end, test_begin, test_end;
} wf_fold;

/* Evaluation on a rolling origin (Tashman 2000): fold k of `folds` is tested on `test` rows, the
 * last fold on the last rows, each fold `step` rows after the one before. */
typedef struct wf_rolling_options {
    int64_t folds, test; /* both required */
    int64_t step;        /* 0: test, so that the tests follow one another */
    int64_t window;      /* rows of each training part; 0: all that come before the test */
    int64_t gap;         /* rows left out between the training part and the test */
    const void *reserved[4];
} wf_rolling_options;
/* False and the reason when an option makes no sense, there is no fold k, or the first one would
 * have no row to learn from, or fewer than .window. */
WF_API bool wf_rolling_origin(int64_t rows, int64_t k, const wf_rolling_options *options,
                              wf_fold *fold, wf_error *error);

WF_END

#endif
