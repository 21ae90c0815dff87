/* log1p, expm1 and softplus in both precisions, in the manner of tensor/vmath.h: what exp and log
 * cannot say near 0, where 1 + x has lost x's digits. */
#ifndef WEFT_TENSOR_LOG1P_H
#define WEFT_TENSOR_LOG1P_H

#include "tensor/vmath.h"

WF_BEGIN

/* log1p is log(1 + x), expm1 is e^x - 1, softplus is log(1 + e^x); bounds and names as in
 * tensor/vmath.h. The sign of a zero stays. */

/* As wf_logf_inline of u = 1 + x, where c is what the rounding of u lost. Where no power of two is
 * taken out (n = 0), f is x itself, and nothing was lost. */
WF_INLINE float wf_log1pf_with(bool fused, float x)
{
    float w = 1.0f + x, c = (x < 1.0f ? x - (w - 1.0f) : 1.0f - (w - x)) / w;
    uint32_t u = wf_bitsf(w) - 0x3f3504f3u;
    int32_t power = (int32_t)u >> 23;
    float n = (float)power;
    float f = power == 0 ? x : wf_floatf((u & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    c = power == 0 ? 0.0f : c;
    float s = f / (2.0f + f), z = s * s, h = 0.5f * f * f;
    float q = WF_FMAF(WF_FMAF(WF_FMAF(0.23596328f, z, 0.28536603f), z, 0.40000346f), z,
                      0.66666666f);
    float low = WF_FMAF(s, WF_FMAF(q, z, h), WF_FMAF(n, -2.12194440e-4f, c));
    float v = __builtin_copysignf(WF_FMAF(n, 0.693359375f, f - (h - low)), x);
    v = x > -1.0f ? v : -__builtin_inff();
    v = x < __builtin_inff() ? v : x;
    return x >= -1.0f ? v : __builtin_nanf("");
}

WF_INLINE double wf_log1p_with(bool fused, double x)
{
    double w = 1.0 + x, c = (x < 1.0 ? x - (w - 1.0) : 1.0 - (w - x)) / w;
    uint64_t u = wf_bits(w) + (((uint64_t)0x3ff << 52) - 0x3fe6a09e667f3bcdu);
    double n = wf_float(u >> 52 | (uint64_t)0x433 << 52) - 4503599627371519.0;
    double f = n == 0.0 ? x : wf_float((u & 0xfffffffffffffu) + 0x3fe6a09e667f3bcdu) - 1.0;
    c = n == 0.0 ? 0.0 : c;
    double s = f / (2.0 + f), z = s * s, h = 0.5 * f * f;
    double q = WF_FMA(0.14811534930680477, z, 0.15312570296290458);
    q = WF_FMA(WF_FMA(q, z, 0.18183618977143694), z, 0.22222197587437077);
    q = WF_FMA(WF_FMA(q, z, 0.28571428751303444), z, 0.3999999999937797);
    q = WF_FMA(q, z, 0.66666666666666394);
    double low = WF_FMA(s, WF_FMA(q, z, h), WF_FMA(n, 0x1.9ef35793c7673p-41, c));
    double v = __builtin_copysign(WF_FMA(n, 0x1.62e42fefa2000p-1, f - (h - low)), x);
    v = x > -1.0 ? v : -__builtin_inf();
    v = x < __builtin_inf() ? v : x;
    return x >= -1.0 ? v : __builtin_nan("");
}

/* e^x - 1 = (2^n - 1) + 2^n p with p = e^r - 1, all scaled by 2^-64 (2^-512) until the end, as in
 * wf_expf_inline; where n is 0 it is p alone. */
WF_INLINE float wf_expm1f_with(bool fused, float x)
{
    float r, a = x;
    a = a > 89.0f ? 89.0f : a;
    a = a < -20.0f ? -20.0f : a;
    float s = wf_exp_reducef(fused, a, 63.0f, &r), p = WF_FMAF(wf_exp_tailf(fused, r) * r, r, r);
    float large = WF_FMAF(s, p, s - 0x1p-64f) * 0x1p64f;
    return __builtin_copysignf(__builtin_fabsf(a) < 0.34f ? p : large, x);
}

WF_INLINE double wf_expm1_with(bool fused, double x)
{
    double r, a = x;
    a = a > 710.0 ? 710.0 : a;
    a = a < -40.0 ? -40.0 : a;
    double s = wf_exp_reduce(fused, a, 511.0, &r), p = WF_FMA(wf_exp_tail(fused, r) * r, r, r);
    double large = WF_FMA(s, p, s - 0x1p-512) * 0x1p512;
    return __builtin_copysign(__builtin_fabs(a) < 0.34 ? p : large, x);
}

/* max(x, 0) + log1p(e^-|x|): nothing overflows and nothing cancels. */
WF_INLINE float wf_softplusf_with(bool fused, float x)
{
    return (x < 0.0f ? 0.0f : x) + wf_log1pf_with(fused, wf_expf_with(fused, -__builtin_fabsf(x)));
}

WF_INLINE double wf_softplus_with(bool fused, double x)
{
    return (x < 0.0 ? 0.0 : x) + wf_log1p_with(fused, wf_exp_with(fused, -__builtin_fabs(x)));
}

WF_VMATH(log1p) WF_VMATH(expm1) WF_VMATH(softplus)

WF_END

#endif
