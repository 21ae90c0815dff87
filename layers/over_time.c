/* Sequences made one row each: largest, mean and last of the steps that are there. */
#include "layers/over_time.h"

#include <math.h>

#include "autograd/ops.h"
#include "autograd/scan.h"
#include "autograd/views.h"

/* x and its lengths, judged. NULL after failing the tape. */
static wf_var *enter(wf_tape *t, wf_var *x, wf_var **lengths, const char *who)
{
    x = wf_enter(t, x, "%s: the sequences", who);
    if (!x) return NULL;
    if (wf_rank(x) < 2 || !wf_dtype_is_float(wf_dtype_of(x)))
        return wf_fail(t, "%s: the sequences have rank %d, of %s; expected floats (T, B, ...)", who,
                       wf_rank(x), wf_dtype_name(wf_dtype_of(x)));
    if (*lengths &&
        !(*lengths = wf_enter_lengths(t, *lengths, wf_dim(x, 0), wf_dim(x, 1), "%s", who)))
        return NULL;
    return x;
}

/* Numbers I32 (A, B) or (B) as they broadcast to x, whose first axes they are. */
static wf_var *stretched(wf_tape *t, wf_var *numbers, wf_var *x, int axes)
{
    for (int i = axes; numbers && i < wf_rank(x); i++) numbers = wf_unsqueeze(t, numbers, -1);
    return numbers;
}

/* x with `value` past the ends. */
static wf_var *filled(wf_tape *t, wf_var *x, wf_var *lengths, double value)
{
    if (!lengths) return x;
    wf_var *there = wf_length_mask(t, lengths, wf_dim(x, 0));
    return wf_where(t, stretched(t, there, x, 2), x, wf_full(t, wf_dtype_of(x), WF_SCALAR, value));
}

/* y (B, ...) with zeros where a sequence has no steps, of at most `time`. */
static wf_var *zero_where_none(wf_tape *t, wf_var *y, wf_var *lengths, int64_t time)
{
    wf_var *any = wf_select(t, wf_length_mask(t, lengths, time), 0, 0);
    return wf_where(t, stretched(t, any, y, 1), y, wf_zeros(t, wf_dtype_of(y), WF_SCALAR));
}

static wf_var *no_steps(wf_tape *t, wf_var *x)
{
    wf_shape shape = wf_shape_of(x);
    for (int i = 1; i < shape.rank; i++) shape.dim[i - 1] = shape.dim[i];
    shape.rank--;
    return wf_zeros(t, wf_dtype_of(x), shape);
}

wf_var *wf_max_over_time(wf_tape *t, wf_var *x, wf_var *lengths)
{
    if (!(x = enter(t, x, &lengths, "max_over_time"))) return NULL;
    if (wf_dim(x, 0) == 0) return no_steps(t, x);
    wf_var *y = wf_max(t, filled(t, x, lengths, -(double)INFINITY), WF_AXES(0));
    return lengths ? zero_where_none(t, y, lengths, wf_dim(x, 0)) : y;
}

wf_var *wf_mean_over_time(wf_tape *t, wf_var *x, wf_var *lengths)
{
    if (!(x = enter(t, x, &lengths, "mean_over_time"))) return NULL;
    if (wf_dim(x, 0) == 0) return no_steps(t, x);
    if (!lengths) return wf_mean(t, x, WF_AXES(0));
    wf_var *sum = wf_sum(t, filled(t, x, lengths, 0), WF_AXES(0));
    const int64_t batch = wf_dim(x, 1);
    wf_tensor share;
    wf_var *shares = wf_constant_fill(t, wf_dtype_of(x), WF_SHAPE(batch), &share);
    for (int64_t b = 0; shares && b < batch; b++) {
        const double n = wf_at(lengths, b), of = n > 0 ? 1 / n : 0;
        if (share.dtype == WF_F64)
            ((double *)share.data)[b] = of;
        else
            ((float *)share.data)[b] = (float)of;
    }
    return wf_mul(t, sum, stretched(t, shares, sum, 1));
}

wf_var *wf_last_of_time(wf_tape *t, wf_var *x, wf_var *lengths)
{
    if (!(x = enter(t, x, &lengths, "last_of_time"))) return NULL;
    const int64_t time = wf_dim(x, 0), batch = wf_dim(x, 1);
    if (time == 0) return no_steps(t, x);
    if (!lengths) return wf_select(t, x, 0, time - 1);
    wf_tensor rows;
    wf_var *ids = wf_constant_fill(t, WF_I32, WF_SHAPE(batch), &rows);
    for (int64_t b = 0; ids && b < batch; b++) {
        const int64_t n = (int64_t)wf_at(lengths, b);
        ((int32_t *)rows.data)[b] = (int32_t)((n > 0 ? n - 1 : 0) * batch + b);
    }
    wf_shape shape = wf_shape_of(x);
    int64_t width = 1;
    for (int i = 2; i < shape.rank; i++) width *= shape.dim[i];
    wf_var *table = wf_reshape(t, x, WF_SHAPE(time * batch, width));
    for (int i = 1; i < shape.rank; i++) shape.dim[i - 1] = shape.dim[i];
    shape.rank--;
    wf_var *y = wf_reshape(t, wf_gather_rows(t, table, ids), shape);
    return zero_where_none(t, y, lengths, time);
}
