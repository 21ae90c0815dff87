/* What is odd in a series, by the errors of a model that knows only what is usual (Malhotra et al.
 * 2016). */
#ifndef WEFT_DATA_NOVELTY_H
#define WEFT_DATA_NOVELTY_H

#include "tensor/tensor.h"

WF_BEGIN

/* Knows what errors usually are. An error of n columns becomes its squared Mahalanobis distance
 * from the usual mean and covariance; this the mean over the steps around it, in its window; and
 * of the cube root, which of a sum of squares is about normal (Wilson and Hilferty 1931), the score
 * says how many standard deviations it is from its mean, up or down: a sensor that is stuck errs
 * less than it should. */
typedef struct wf_novelty wf_novelty;

typedef struct wf_novelty_options {
    int64_t around; /* steps that are judged together, an odd number, less at a window's ends;
                     * 0: 1 */
    double alarms;  /* the part of usual windows that may be called odd, below 1; 0: 0.01 */
    const void *reserved[4];
} wf_novelty_options;

/* Learns from errors (N, W, n) of N windows of W steps, floats of any strides, that nothing was
 * learned from and in which nothing is odd: a validation part. NULL and the reason when an option
 * or the form makes no sense, an error is not finite, or there is no memory. NULL options are all
 * zero. Yours to free. */
WF_API wf_novelty *wf_novelty_new(const wf_tensor *errors, const wf_novelty_options *options,
                                  wf_error *error);
WF_API void wf_novelty_free(wf_novelty *novelty);

/* Scores of errors (N, W, n), both floats of any strides: of each step, (N, W), or of each window
 * that of its oddest step, (N); inf where an error is not finite. False and the reason when the
 * forms do not fit. */
WF_API bool wf_novelty_score(const wf_novelty *novelty, const wf_tensor *errors,
                             const wf_tensor *scores, wf_error *error);
/* A step with more is odd: of the windows that were learned from, the part .alarms has such a step.
 * NaN of NULL. */
WF_API double wf_novelty_threshold(const wf_novelty *novelty);

/* What a detector is tried with, made by hand in what is usual. */
typedef enum wf_oddity {
    WF_ODD_SPIKE = 0, /* one to three steps are 3 to 6 too high, or too low */
    WF_ODD_FLAT,      /* nothing changes for half a period to a whole one */
    WF_ODD_SHIFT,     /* from a step on comes what came a quarter to three quarters of one before */
    WF_ODD_MISSING,   /* for a period, 0 */
    WF_ODDITIES
} wf_oddity;

/* Makes one column of a window (W, n) odd, floats of any strides that are scaled to a mean of 0 and
 * a standard deviation of 1; where, and how much, depends on the key alone. A period has 4 steps or
 * more, and W at most. False and the reason, and nothing changed, when something does not fit. */
WF_API bool wf_make_odd(const wf_tensor *window, wf_oddity kind, int64_t period, uint64_t key,
                        wf_error *error);

WF_END

#endif
