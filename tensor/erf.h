/* erf and gelu in both precisions, in the manner of tensor/vmath.h, by one function: what is left
 * of the normal distribution beyond a, over its density. */
#ifndef WEFT_TENSOR_ERF_H
#define WEFT_TENSOR_ERF_H

#include "tensor/vmath.h"

WF_BEGIN

/* erf is the error function; gelu is x Phi(x), Phi being the normal distribution (Hendrycks and
 * Gimpel 2016), and gelu_slope its derivative Phi(x) + x phi(x). erf is within 2 ulp of the exact
 * value in f32 and 4 in f64, odd, and its limits are exact. gelu is within 8 and 12, the negative
 * tail included: Phi(x) is nowhere 1 - Phi(-x) there, nor the density that of a rounded square.
 * gelu_slope is within 10 and 12 below -1, and above as numbers of size 1 are: it is 0 near -0.75.
 * At -inf they are 0. Names as in tensor/vmath.h. */

/* exp(a^2 / 2) Phi(-a) for a from 0 to 15 (39): a quotient of polynomials without a minus, so that
 * nothing cancels; the weighted least squares of the relative error, 2^-27 and 2^-59. */
WF_INLINE float wf_tail_ratiof(bool fused, float a)
{
    float p = WF_FMAF(WF_FMAF(0.00408873055f, a, 0.0404655337f), a, 0.182767436f);
    p = WF_FMAF(WF_FMAF(p, a, 0.437712073f), a, 0.5f);
    float q = WF_FMAF(WF_FMAF(0.0102488082f, a, 0.101438522f), a, 0.468228102f);
    q = WF_FMAF(WF_FMAF(WF_FMAF(q, a, 1.20063818f), a, 1.67330909f), a, 1.0f);
    return p / q;
}

WF_INLINE double wf_tail_ratio(bool fused, double a)
{
    double p = WF_FMA(2.189641790557572e-07, a, 6.840237600500951e-06);
    p = WF_FMA(WF_FMA(p, a, 0.00010483156286033134), a, 0.001025507118247317);
    p = WF_FMA(WF_FMA(p, a, 0.007042315131652491), a, 0.03534006816530961);
    p = WF_FMA(WF_FMA(p, a, 0.13109005725909212), a, 0.3554092602744438);
    p = WF_FMA(WF_FMA(p, a, 0.6771189295349117), a, 0.8263420254840851);
    p = WF_FMA(p, a, 0.5);
    double q = WF_FMA(5.488618023523823e-07, a, 1.7145932974642996e-05);
    q = WF_FMA(WF_FMA(q, a, 0.0002633226213383206), a, 0.0025877110716325227);
    q = WF_FMA(WF_FMA(q, a, 0.017914142253978315), a, 0.09112068767827138);
    q = WF_FMA(WF_FMA(q, a, 0.3457264436427267), a, 0.9744937933672227);
    q = WF_FMA(WF_FMA(q, a, 1.9931593657329951), a, 2.809508719590038);
    q = WF_FMA(WF_FMA(q, a, 2.4505686117710357), a, 1.0);
    return p / q;
}

/* exp(-a^2 / 2) times 2^64 (2^512): so it stays in the normal range. What the rounding of the
 * square loses (exactly, with Dekker's product where no fused one is) comes back in r: of a tail's
 * exponent it would be dozens of ulp. */
WF_INLINE float wf_densityf(bool fused, float a)
{
    float square = a * a, high = wf_floatf(wf_bitsf(a) & 0xfffff000u), low = a - high, r;
    float lost = fused ? WF_FMAF(a, a, -square)
                       : ((high * high - square) + 2.0f * high * low) + low * low;
    float scale = wf_exp_reducef(fused, -0.5f * square, 191.0f, &r);
    r -= 0.5f * lost;
    return WF_FMAF(WF_FMAF(wf_exp_tailf(fused, r), r, 1.0f), r, 1.0f) * scale;
}

WF_INLINE double wf_density(bool fused, double a)
{
    double square = a * a, high = wf_float(wf_bits(a) & 0xfffffffff8000000u), low = a - high, r;
    double lost = fused ? WF_FMA(a, a, -square)
                        : ((high * high - square) + 2.0 * high * low) + low * low;
    double scale = wf_exp_reduce(fused, -0.5 * square, 1535.0, &r);
    r -= 0.5 * lost;
    return WF_FMA(WF_FMA(wf_exp_tail(fused, r), r, 1.0), r, 1.0) * scale;
}

/* Below 1 an odd polynomial, scaled so that no product of it is below the normal range; above, what
 * is left of 1 counts for little. */
WF_INLINE float wf_erff_with(bool fused, float x)
{
    float a = __builtin_fabsf(x);
    a = a > 4.0f ? 4.0f : a;
    float z = a * a, p = WF_FMAF(7.84725926e-05f, z, -0.000800818903f);
    p = WF_FMAF(WF_FMAF(p, z, 0.00518809911f), z, -0.0268536918f);
    p = WF_FMAF(WF_FMAF(WF_FMAF(p, z, 0.112835824f), z, -0.37612626f), z, 0.128379166f);
    float up = a * 0x1p32f, small = WF_FMAF(p, up, up) * 0x1p-32f, b = 1.41421354f * a;
    float left = 2.0f * (wf_tail_ratiof(fused, b) * (wf_densityf(fused, b) * 0x1p-64f));
    return __builtin_copysignf(a < 1.0f ? small : 1.0f - left, x);
}

WF_INLINE double wf_erf_with(bool fused, double x)
{
    double a = __builtin_fabs(x);
    a = a > 6.0 ? 6.0 : a;
    double z = a * a, p = WF_FMA(-7.77682913736281e-10, z, 1.3709519207384055e-08);
    p = WF_FMA(WF_FMA(p, z, -1.6205964194101388e-07), z, 1.6447084274239356e-06);
    p = WF_FMA(WF_FMA(p, z, -1.4924708324571507e-05), z, 0.00012055293361789941);
    p = WF_FMA(WF_FMA(p, z, -0.0008548325921832884), z, 0.005223977605955977);
    p = WF_FMA(WF_FMA(p, z, -0.026866170643090832), z, 0.1128379167094405);
    p = WF_FMA(WF_FMA(p, z, -0.37612638903183515), z, 0.12837916709551256);
    double up = a * 0x1p64, small = WF_FMA(p, up, up) * 0x1p-64, b = 1.4142135623730951 * a;
    double left = 2.0 * (wf_tail_ratio(fused, b) * (wf_density(fused, b) * 0x1p-512));
    return __builtin_copysign(a < 1.0 ? small : 1.0 - left, x);
}

WF_INLINE float wf_geluf_with(bool fused, float x)
{
    float a = __builtin_fabsf(x);
    a = a > 15.0f ? 15.0f : a;
    float tail = wf_tail_ratiof(fused, a) * wf_densityf(fused, a);
    return x < 0.0f ? a * tail * -0x1p-64f : x * (1.0f - tail * 0x1p-64f);
}

WF_INLINE double wf_gelu_with(bool fused, double x)
{
    double a = __builtin_fabs(x);
    a = a > 39.0 ? 39.0 : a;
    double tail = wf_tail_ratio(fused, a) * wf_density(fused, a);
    return x < 0.0 ? a * tail * -0x1p-512 : x * (1.0 - tail * 0x1p-512);
}

WF_INLINE float wf_gelu_slopef_with(bool fused, float x)
{
    float a = __builtin_fabsf(x);
    a = a > 15.0f ? 15.0f : a;
    float ratio = WF_FMAF(a, -0.398942292f, wf_tail_ratiof(fused, a));
    float slope = ratio * wf_densityf(fused, a) * 0x1p-64f;
    return x < 0.0f ? slope : 1.0f - slope;
}

WF_INLINE double wf_gelu_slope_with(bool fused, double x)
{
    double a = __builtin_fabs(x);
    a = a > 39.0 ? 39.0 : a;
    double ratio = WF_FMA(a, -0.3989422804014327, wf_tail_ratio(fused, a));
    double slope = ratio * wf_density(fused, a) * 0x1p-512;
    return x < 0.0 ? slope : 1.0 - slope;
}

WF_VMATH(erf)
WF_VMATH(gelu)
WF_VMATH(gelu_slope)

WF_END

#endif
