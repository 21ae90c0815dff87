/* Constants that are computed: by whoever asks, numbers in even steps, and masks from lengths. */
#include "autograd/ops_private.h"
#include "autograd/private.h"

#include <math.h>

wf_var *wf_constant_fill(wf_tape *t, wf_dtype dtype, wf_shape shape, wf_tensor *to)
{
    wf_var *y = enter_values(t, "constant_fill", dtype, shape, NULL, NULL, false);
    if (to) *to = y ? y->value : wf_tensor_of(dtype, WF_SCALAR, NULL);
    return y;
}

static bool whole_i32(double v)
{
    return v >= INT32_MIN && v <= INT32_MAX && v == floor(v);
}

wf_var *wf_arange(wf_tape *t, wf_dtype dtype, double start, double stop, double step)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if (!wf_tape_ok(t)) return NULL;
    if (!wf_dtype_size(dtype)) return wf_fail(t, "arange: there is no dtype %d", (int)dtype);
    if (!isfinite(start) || !isfinite(stop) || !isfinite(step))
        return wf_fail(t, "arange: from %g to %g by %g; expected finite numbers", start, stop,
                       step);
    if (step == 0 || (step > 0 ? stop < start : stop > start))
        return wf_fail(t, "arange: steps of %g do not lead from %g to %g", step, start, stop);
    const double count = ceil((stop - start) / step);
    if (!(count < 0x1p62))
        return wf_fail(t, "arange: from %g to %g by %g are more numbers than can be counted", start,
                       stop, step);
    const int64_t n = (int64_t)count;
    if (dtype == WF_I32 && n > 0 &&
        (!whole_i32(start) || !whole_i32(step) || !whole_i32(start + (double)(n - 1) * step)))
        return wf_fail(t,
                       "arange: from %g to %g by %g; i32 takes whole numbers from -2147483648 to "
                       "2147483647",
                       start, stop, step);
    wf_var *y = enter_values(t, "arange", dtype, WF_SHAPE(n), NULL, NULL, false);
    for (int64_t i = 0; y && i < n; i++)
        wf_dtype_describe(dtype)->store(y->value.data, i, start + (double)i * step);
    return y;
}

wf_var *wf_length_mask(wf_tape *t, wf_var *lengths, int64_t time)
{
    if (!wf_tape_ok(t) || !(lengths = var_enter(t, lengths, "length_mask", 0))) return NULL;
    if (wf_dtype_of(lengths) != WF_I32 || wf_rank(lengths) != 1)
        return wf_fail(t, "length_mask: lengths are %s %s; expected i32 (sequences)",
                       wf_dtype_name(wf_dtype_of(lengths)), SHAPE_TEXT(&lengths->value));
    if (time < 0)
        return wf_fail(t, "length_mask: time is %lld; expected 0 or more", (long long)time);
    const int64_t batch = wf_dim(lengths, 0);
    for (int64_t b = 0; b < batch; b++) {
        const int64_t length = (int64_t)wf_at(lengths, b);
        if (length < 0 || length > time)
            return wf_fail(t, "length_mask: the length at %s is %lld; expected 0 to %lld",
                           INDEX_TEXT(&lengths->value, b), (long long)length, (long long)time);
    }
    wf_var *mask = enter_values(t, "length_mask", WF_I32, WF_SHAPE(time, batch), NULL, NULL, false);
    for (int64_t b = 0; mask && b < batch; b++) {
        const int64_t length = (int64_t)wf_at(lengths, b);
        for (int64_t s = 0; s < time; s++)
            ((int32_t *)mask->value.data)[s * batch + b] = s < length;
    }
    return mask;
}
