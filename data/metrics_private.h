/* What metrics of ids share: predictions beside targets, batch by batch. Not installed. */
#ifndef WEFT_DATA_METRICS_PRIVATE_H
#define WEFT_DATA_METRICS_PRIVATE_H

#include "data/metrics.h"

/* Are predictions and targets I32 of one shape, (T, B) or (B), and lengths I32 (B) within 0..T, or
 * NULL? The reason, which begins with `what`, where they are not. */
bool metrics_given(const char *what, const wf_tensor *predicted, const wf_tensor *target,
                   const wf_tensor *lengths, wf_error *error);
/* Of such a tensor: B, T (1 where it is (B)), and the id at (t, b). */
int64_t metrics_batch(const wf_tensor *x);
int64_t metrics_time(const wf_tensor *x);
int32_t metrics_id(const wf_tensor *x, int64_t t, int64_t b);

#endif
