/* What loops over sequences share: where sequences of different lengths lie, and how a step is
 * shared out among threads. Planned loops are built on it; an op of your own may be, whose
 * arguments its `.shape` and `.check` have judged. */
#ifndef WEFT_TENSOR_SEQUENCE_H
#define WEFT_TENSOR_SEQUENCE_H

#include "tensor/par.h"
#include "tensor/tensor.h"

WF_BEGIN

/* ---- rows without gaps ----
 *
 * Sequences are put in order, longest first, and a step holds only those that still go on: its
 * rows are begin[i] .. begin[i] + active[i] - 1 of any buffer, and row r of a step is sequence
 * order[r]. Padding is not there, so nothing of it is read, nothing is computed for it, and
 * products over all steps run over `rows` rows. When every sequence is full, rows lie as in
 * (time, batch), and tensors can be used where they are. */
typedef struct wf_seq_plan {
    int64_t time, batch, rows;
    bool full;
    const int64_t *order, *length; /* of row r: which sequence, how long; batch of each */
    const int64_t *active, *begin; /* of step i; time + 1 of each, the last: 0 and rows */
} wf_seq_plan;

/* Bytes that a plan takes; -1: too many. */
WF_API int64_t wf_seq_plan_bytes(int64_t time, int64_t batch);
/* lengths: (batch) I32 within 0..time, or NULL: all full. The plan's lists lie in `memory`, which
 * stays the caller's. All zero where that is NULL. */
WF_API wf_seq_plan wf_seq_plan_make(int64_t time, int64_t batch, const wf_tensor *lengths,
                                    void *memory);
/* Adds to the first of `groups` times n sums of tensor/sum.h those of the other groups, first to
 * last. */
WF_API void wf_seq_add_groups(int64_t groups, int64_t n, double *high, double *low);

/* ---- threads ---- */

/* Rows fall into groups of at most four at places that depend on the batch alone, so that sums
 * over a group's rows are the same however many threads there are. */
WF_API int64_t wf_seq_groups(int64_t batch);
WF_API int64_t wf_seq_group_begin(int64_t batch, int64_t group); /* batch for the last + 1 */

/* What is one thread's in every step: a range of groups of rows, or of panels of units. */
typedef struct wf_seq_share {
    int64_t group, group_end;
    int64_t panel, panel_end;
    wf_team *team;                                 /* to meet within a step, or NULL: no need to */
} wf_seq_share;
typedef void wf_seq_fn(void *context, const wf_seq_share *mine);

/* Calls fn on one thread or more, with shares that make up all rows and panels. flops: of the
 * recurrent product of one sequence in one step. */
WF_API void wf_seq_run(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops,
                       wf_seq_fn *fn, void *context);
/* Will it share panels of units, not groups of rows? */
WF_API bool wf_seq_shares_units(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops);
WF_API void wf_seq_meet(const wf_seq_share *mine);

WF_END

#endif
