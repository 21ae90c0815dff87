/* Where in a sequence something stands: sinusoids to add, and planes to turn in. */
#include "layers/multihead.h"

#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"

#include <math.h>

/* Angles (time, (width + 1) / 2) of the positions from start on, in double: position / base^(2k /
 * width) loses in f32 what a long sequence needs. */
static wf_var *angles(wf_tape *t, int64_t start, int64_t time, int64_t width, double base)
{
    if (base == 0) base = 10000;
    wf_var *at = wf_arange(t, WF_F64, (double)start, (double)(start + time), 1);
    wf_var *k = wf_arange(t, WF_F64, 0, (double)((width + 1) / 2), 1);
    wf_var *pace = wf_exp(t, wf_mul_scalar(t, k, -2 * log(base) / (double)width));
    return wf_mul(t, wf_unsqueeze(t, at, -1), pace);
}

/* Is there such a sequence of positions? Fails the tape otherwise. */
static bool positions_are_sound(wf_tape *t, const char *what, int64_t start, int64_t time,
                                double base)
{
    const int64_t most = INT64_C(1) << 52; /* whole numbers of a double */
    if (start < 0 || start > most || time < 0 || time > most) {
        wf_fail(t, "%s: %lld positions from %lld on; both must be 0 or more and at most 2^52", what,
                (long long)time, (long long)start);
        return false;
    }
    if (base >= 0 && base < (double)INFINITY) return true;
    wf_fail(t, "%s: the base is %g; it must be 0 or more and finite", what, base);
    return false;
}

wf_var *wf_sinusoidal(wf_tape *t, wf_dtype dtype, int64_t start, int64_t time, int64_t width,
                      double base)
{
    if (!wf_tape_ok(t)) return NULL;
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!positions_are_sound(t, "sinusoidal", start, time, base)) return NULL;
    if (width < 1 || width >= INT32_MAX) {
        return wf_fail(t, "sinusoidal: the width is %lld; it must be 1 or more and below 2^31",
                       (long long)width);
    }
    if (dtype != WF_F32 && dtype != WF_F64) {
        return wf_fail(t, "sinusoidal: positions are f32 or f64, not %s", wf_dtype_name(dtype));
    }
    wf_var *angle = angles(t, start, time, width, base);
    wf_var *each = wf_stack(t, -1, WF_VARS(wf_sin(t, angle), wf_cos(t, angle)));
    each = wf_reshape(t, each, WF_SHAPE(time, (width + 1) / 2 * 2));
    return wf_cast(t, wf_slice(t, each, 1, 0, width, 1), dtype);
}

wf_var *wf_rotary(wf_tape *t, wf_var *x, int64_t start, double base)
{
    if (!wf_tape_ok(t)) return NULL;
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!x) return wf_fail(t, "rotary: x was never made");
    x = wf_enter(t, x, "rotary: x");
    if (!x) return NULL;
    wf_shape shape = wf_shape_of(x), pairs = shape;
    const int64_t width = wf_dim(x, -1), time = wf_dim(x, -2);
    char text[128];
    if (shape.rank < 2 || shape.rank >= WF_RANK || width % 2) {
        return wf_fail(t,
                       "rotary: x is %s; expected (..., time, width), the width even, of 2 to "
                       "%d axes",
                       wf_shape_text(text, sizeof text, shape.rank, shape.dim), WF_RANK - 1);
    }
    if (wf_dtype_of(x) == WF_I32) return wf_fail(t, "rotary: x is i32; it must be f32 or f64");
    if (!positions_are_sound(t, "rotary", start, time, base)) return NULL;
    wf_var *angle = angles(t, start, time, width ? width : 1, base); /* (T, D / 2) */
    wf_var *c = wf_cast(t, wf_cos(t, angle), wf_dtype_of(x)),
           *s = wf_cast(t, wf_sin(t, angle), wf_dtype_of(x));
    pairs.dim[pairs.rank - 1] = width / 2;
    pairs.dim[pairs.rank++] = 2;
    wf_var *points = wf_reshape(t, x, pairs); /* (..., T, D / 2, 2) */
    wf_var *a = wf_select(t, points, -1, 0), *b = wf_select(t, points, -1, 1);
    wf_var *turned = wf_stack(t, -1,
                              WF_VARS(wf_sub(t, wf_mul(t, a, c), wf_mul(t, b, s)),
                                      wf_add(t, wf_mul(t, a, s), wf_mul(t, b, c))));
    return wf_reshape(t, turned, shape);
}
