/* Views: other sizes and strides into the same memory. They cost nothing, forward or back: the
 * gradient of a view is the same view of the gradient. Of any dtype; each returns a new var on the
 * tape, or NULL after failing it. Axes count from the end when negative. */
#ifndef WEFT_AUTOGRAD_VIEWS_H
#define WEFT_AUTOGRAD_VIEWS_H

#include "autograd/op.h"

WF_BEGIN

/* Indices start .. stop - 1 of an axis, every step-th (step >= 1): (5, 3) at axis 0 from 1 to
 * WF_LAST by 2 gives (2, 3). Negative start and stop count from the end; stop WF_LAST is the end.
 * Indices beyond the axis, and a stop before start, are refused. */
#define WF_LAST INT64_MAX
WF_API wf_var *wf_slice(wf_tape *t, wf_var *x, int axis, int64_t start, int64_t stop, int64_t step);
/* One index of an axis, which goes: (T, B, H) at axis 0 gives (B, H). A negative index counts from
 * the end. */
WF_API wf_var *wf_select(wf_tape *t, wf_var *x, int axis, int64_t index);
/* n equal parts of an axis into part[0..n-1]: (B, 4H) at axis 1 into 4 gives four (B, H). False,
 * and NULLs there, after failing the tape: if n does not divide the axis, for one. */
WF_API bool wf_split(wf_tape *t, wf_var *x, int axis, int n, wf_var *part[]);
/* Two axes exchanged: (2, 3, 5) with 0 and 2 gives (5, 3, 2). */
WF_API wf_var *wf_transpose(wf_tape *t, wf_var *x, int a, int b);
/* The axes in another order: axis i of the result is axis axes->at[i] of x, each named once. */
WF_API wf_var *wf_permute(wf_tape *t, wf_var *x, const wf_axes *axes);
/* A sliding window of 1 <= size <= n along an axis of n, which becomes (n - size) / step + 1
 * positions, step >= 1; a last axis of `size` is added. Windows that overlap share their elements,
 * and add up in the gradient. */
WF_API wf_var *wf_window(wf_tape *t, wf_var *x, int axis, int64_t size, int64_t step);
/* Other sizes, as many elements, in row-major order; one size may be -1: what is left. A view where
 * the strides allow it, else a copy. */
WF_API wf_var *wf_reshape(wf_tape *t, wf_var *x, wf_shape shape);
/* An axis of size 1 put in at `axis` (0 .. rank, or negative: -1 is behind the last). */
WF_API wf_var *wf_unsqueeze(wf_tape *t, wf_var *x, int axis);
/* The other way: an axis of size 1 taken out; one of another size is refused. */
WF_API wf_var *wf_squeeze(wf_tape *t, wf_var *x, int axis);

WF_END

#endif
