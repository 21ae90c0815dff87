/* What the steps of a sequence come to, one row for each sequence: for classifiers and encoders. */
#ifndef WEFT_LAYERS_OVER_TIME_H
#define WEFT_LAYERS_OVER_TIME_H

#include "autograd/tape.h"

WF_BEGIN

/* x (T, B, ...) to (B, ...): over the steps that are there, the largest number of each column
 * (Collobert et al. 2011; ties and NaN as wf_max), their mean, the last of them. lengths I32 (B),
 * each 0..T, in any order; NULL: all steps of all sequences. Whatever lies past an end (NaN too)
 * reaches neither the result nor the derivatives, which are exactly 0 there; a sequence without
 * steps gives zeros. NULL after failing the tape. */
WF_API wf_var *wf_max_over_time(wf_tape *t, wf_var *x, wf_var *lengths);
WF_API wf_var *wf_mean_over_time(wf_tape *t, wf_var *x, wf_var *lengths);
WF_API wf_var *wf_last_of_time(wf_tape *t, wf_var *x, wf_var *lengths);

WF_END

#endif
