/* What fused sequences share: where sequences of different lengths lie, how a step is shared out
 * among threads, and recurrent weights packed once for all steps. The fused LSTM is built on it; an
 * op of your own may be, whose arguments its `.shape` and `.check` have judged. */
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
/* The step computed before step i in a direction, or -1 when it begins there; and how many of
 * step i's rows have one. */
WF_API int64_t wf_seq_before(const wf_seq_plan *p, int64_t i, bool reverse);
WF_API int64_t wf_seq_continuing(const wf_seq_plan *p, int64_t i, bool reverse);

/* Do the rows of x (time, batch, width) lie at one stride, each with its numbers side by side,
 * as the plan would have them? */
WF_API bool wf_seq_in_place(const wf_seq_plan *p, const wf_tensor *x);
/* Rows out of x (time, batch, width) into a buffer (rows, width) of its dtype, row-major; and out
 * of x (batch, width) in the plan's order, NULL: zeros. */
WF_API void wf_seq_gather(const wf_seq_plan *p, int threads, const wf_tensor *x, void *to);
WF_API void wf_seq_gather_state(const wf_seq_plan *p, const wf_tensor *x, int64_t width,
                                wf_dtype dtype, void *to);
/* The way back, adding. */
WF_API void wf_seq_scatter_add(const wf_seq_plan *p, int threads, const void *from,
                               const wf_tensor *y);
WF_API void wf_seq_scatter_state_add(const wf_seq_plan *p, const void *from, const wf_tensor *y);
/* The row that came before each row in a direction: y's (time, batch, width, row-major), or the
 * initial one's (batch, width, in the plan's order). */
WF_API void wf_seq_gather_before(const wf_seq_plan *p, int threads, bool reverse,
                                 const wf_tensor *y, const void *initial, void *to);

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

/* ---- recurrent weights ---- */

/* The blocks (units, units) of w (blocks * units, units), each packed on its own, so that a
 * panel's units have all their gates; turned: for products with the block transposed. A block
 * takes wf_seq_pack_bytes (-1: too many). */
WF_API int64_t wf_seq_pack_bytes(wf_dtype dtype, int64_t units);
WF_API int64_t wf_seq_panels(wf_dtype dtype, int64_t units);
WF_API void wf_seq_pack(int threads, int64_t blocks, int64_t units, bool turned,
                        const wf_tensor *w, void *packed);

WF_END

#endif
