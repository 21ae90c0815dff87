/* exp, tanh, sigmoid and log in both precisions: branch-free inline functions that vectorise. */
#ifndef WEFT_TENSOR_VMATH_H
#define WEFT_TENSOR_VMATH_H

#include "tensor/api.h"

WF_BEGIN

/* wf_<name>f_inline (float) and wf_<name>_inline (double): f32 within 2 ulp of the exact value, f64
 * within 4, gradual underflow where the caller's floating-point state allows it, NaN for NaN, the
 * exact limits at the infinities. tanh is exactly odd. They assume round-to-nearest, and that the
 * compiler may neither reorder nor contract (-ffp-contract=off). wf_<name>f_with and wf_<name>_with
 * are the same for code that is compiled for another processor than its file is: `fused`, a
 * constant, says whether that one has fused multiply-adds. */
#define WF_INLINE static inline __attribute__((always_inline))
#define WF_FMAF(a, b, c) wf_fmaf_with(fused, a, b, c)
#define WF_FMA(a, b, c) wf_fma_with(fused, a, b, c)
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
enum { WF_HAS_FMA = 1 };
#else
enum { WF_HAS_FMA = 0 };
#endif

/* clang-format off */
WF_INLINE float wf_fmaf_with(bool f, float a, float b, float c)
{ return f ? __builtin_fmaf(a, b, c) : a * b + c; }
WF_INLINE double wf_fma_with(bool f, double a, double b, double c)
{ return f ? __builtin_fma(a, b, c) : a * b + c; }
/* A number's bits, and the number of some bits. */
WF_INLINE uint32_t wf_bitsf(float x) { uint32_t u; __builtin_memcpy(&u, &x, 4); return u; }
WF_INLINE uint64_t wf_bits(double x) { uint64_t u; __builtin_memcpy(&u, &x, 8); return u; }
WF_INLINE float wf_floatf(uint32_t u) { float x; __builtin_memcpy(&x, &u, 4); return x; }
WF_INLINE double wf_float(uint64_t u) { double x; __builtin_memcpy(&x, &u, 8); return x; }
/* clang-format on */

/* x = n ln 2 + *r with n an integer, |*r| < 0.35 and |x| < 2^20 or so. Returns 2^(n + bias -
 * 127), or 2^(n + bias - 1023): adding 1.5 * 2^23 (2^52) to a number rounds it to an integer in
 * the low bits, and bits above the exponent's are shifted out. The caller multiplies by that
 * power, never adds to exponents, so that NaN stays NaN. */
WF_INLINE float wf_exp_reducef(bool fused, float x, float bias, float *r)
{
    float magic = 12582912.0f + bias, t = WF_FMAF(x, 1.44269504f, magic), n = t - magic;
    *r = WF_FMAF(n, 2.12194440e-4f, WF_FMAF(n, -0.693359375f, x));
    return wf_floatf(wf_bitsf(t) << 23);
}

WF_INLINE double wf_exp_reduce(bool fused, double x, double bias, double *r)
{
    double magic = 6755399441055744.0 + bias;
    double t = WF_FMA(x, 1.4426950408889634, magic), n = t - magic;
    *r = WF_FMA(n, -0x1.9ef35793c7673p-41, WF_FMA(n, -0x1.62e42fefa2000p-1, x));
    return wf_float(wf_bits(t) << 52);
}

/* (e^r - 1 - r) / r^2 for |r| < 0.35: minimax polynomials for the relative error of e^r, 2^-28
 * and 2^-57. */
WF_INLINE float wf_exp_tailf(bool fused, float r)
{
    float q = WF_FMAF(WF_FMAF(0.0013814698f, r, 0.0083687846f), r, 0.041668393f);
    return WF_FMAF(WF_FMAF(q, r, 0.1666652f), r, 0.49999994f);
}

WF_INLINE double wf_exp_tail(bool fused, double r)
{
    double q = WF_FMA(2.5000358234034847e-8, r, 2.7630388855616278e-7);
    q = WF_FMA(WF_FMA(q, r, 2.7557586257238267e-6), r, 2.4801492735865097e-5);
    q = WF_FMA(WF_FMA(q, r, 1.9841269505804046e-4), r, 1.3888888943946781e-3);
    q = WF_FMA(WF_FMA(q, r, 8.3333333334952262e-3), r, 4.1666666666529105e-2);
    return WF_FMA(WF_FMA(q, r, 0.16666666666666411), r, 0.50000000000000107);
}

/* e^x as (p 2^(n + 64)) 2^-64 for negative x and (p 2^(n - 64)) 2^64 for others (512 in double):
 * only the last product can leave the normal range, so both ends round as they should. The sign
 * bit, shifted, is 128 (1024) in the exponent's field; a choice by comparison makes gcc compute
 * everything twice. */
WF_INLINE float wf_expf_with(bool fused, float x)
{
    float r;
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    float scale = wf_exp_reducef(fused, x, 63.0f, &r);
    float p = WF_FMAF(WF_FMAF(wf_exp_tailf(fused, r), r, 1.0f), r, 1.0f);
    uint32_t up = (wf_bitsf(x) & 0x80000000u) >> 1;
    return p * wf_floatf(wf_bitsf(scale) + up) * wf_floatf(0x5f800000u - up);
}

WF_INLINE double wf_exp_with(bool fused, double x)
{
    double r;
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    double scale = wf_exp_reduce(fused, x, 511.0, &r);
    double p = WF_FMA(WF_FMA(wf_exp_tail(fused, r), r, 1.0), r, 1.0);
    uint64_t up = (wf_bits(x) & (uint64_t)1 << 63) >> 1;
    return p * wf_float(wf_bits(scale) + up) * wf_float(((uint64_t)1535 << 52) - up);
}

/* 1 / (1 + e^-x) with e^-x = s (1 + r q) and 1 + e^-x = (s + 1) + s r q, whose first part is
 * exact in two floats (in double its rounding does not matter). All is scaled by 2^-64 (2^-512)
 * and the quotient scaled back last: nothing overflows, the left side underflows gradually. */
WF_INLINE float wf_sigmoidf_with(bool fused, float x)
{
    float a = -x, r;
    a = a > 104.0f ? 104.0f : a;
    a = a < -40.0f ? -40.0f : a;
    float s = wf_exp_reducef(fused, a, 63.0f, &r);
    float high = s + 0x1p-64f, low = 0x1p-64f - (high - s);
    float d = high + WF_FMAF(s * r, WF_FMAF(wf_exp_tailf(fused, r), r, 1.0f), low);
    return 1.0f / d * 0x1p-64f;
}

WF_INLINE double wf_sigmoid_with(bool fused, double x)
{
    double a = -x, r;
    a = a > 746.0 ? 746.0 : a;
    a = a < -80.0 ? -80.0 : a;
    double s = wf_exp_reduce(fused, a, 511.0, &r);
    double d = WF_FMA(s * r, WF_FMA(wf_exp_tail(fused, r), r, 1.0), s + 0x1p-512);
    return 1.0 / d * 0x1p-512;
}

/* |x| < 0.6: an odd minimax polynomial. Above: 1 - 2 / (e^2|x| + 1), where an error in e counts
 * for less than half; e^2|x| = s (1 + r q) with |r| < ln 2 / 4. */
WF_INLINE float wf_tanhf_with(bool fused, float x)
{
    float a = __builtin_fabsf(x);
    a = a > 10.0f ? 10.0f : a;
    float t = WF_FMAF(a, 2.88539008f, 12583039.0f), n = t - 12583039.0f,
          s = wf_floatf(wf_bitsf(t) << 23);
    float r = WF_FMAF(n, -0.34657359f, a);
    float q = WF_FMAF(WF_FMAF(0.088414063f, r, 0.26780111f), r, 0.66669426f);
    q = WF_FMAF(WF_FMAF(WF_FMAF(q, r, 1.3333216f), r, 1.9999997f), r, 2.0f);
    float large = 1.0f - 2.0f / WF_FMAF(s * r, q, s + 1.0f);
    float z = a * a;
    float p = WF_FMAF(WF_FMAF(-0.0057208170f, z, 0.020653803f), z, -0.053744432f);
    p = WF_FMAF(WF_FMAF(p, z, 0.13331501f), z, -0.33333284f);
    float small = WF_FMAF(p * z, a, a);
    return __builtin_copysignf(a < 0.6f ? small : large, x);
}

/* (e^2|x| - 1) / (e^2|x| + 1) from the polynomial for e^r - 1, so that nothing cancels at 0. */
WF_INLINE double wf_tanh_with(bool fused, double x)
{
    double a = __builtin_fabs(x), r;
    a = a > 20.0 ? 20.0 : a;
    double s = wf_exp_reduce(fused, a + a, 1023.0, &r);
    double p = WF_FMA(wf_exp_tail(fused, r) * r, r, r);
    return __builtin_copysign(WF_FMA(s, p, s - 1.0) / WF_FMA(s, p, s + 1.0), x);
}

/* x = 2^n (1 + f) with 1 + f in [sqrt 1/2, sqrt 2); log(1 + f) = f - f^2 / 2 + s (f^2 / 2 +
 * R(s^2)), s = f / (2 + f), as in Sun's fdlibm, with polynomials of our own. Numbers below the
 * normal range are scaled up first. */
WF_INLINE float wf_logf_with(bool fused, float x)
{
    bool tiny = x < 0x1p-126f;
    float y = tiny ? x * 0x1p25f : x;
    uint32_t u = wf_bitsf(y) - 0x3f3504f3u;
    float n = (float)((int32_t)u >> 23) - (tiny ? 25.0f : 0.0f);
    float f = wf_floatf((u & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float s = f / (2.0f + f), z = s * s, h = 0.5f * f * f;
    float q = WF_FMAF(WF_FMAF(WF_FMAF(0.23596328f, z, 0.28536603f), z, 0.40000346f), z,
                      0.66666666f);
    float v = WF_FMAF(n, 0.693359375f, f - (h - WF_FMAF(s, WF_FMAF(q, z, h), n * -2.12194440e-4f)));
    v = x > 0.0f ? v : -__builtin_inff();
    v = x < __builtin_inff() ? v : x;
    return x >= 0.0f ? v : __builtin_nanf("");
}

WF_INLINE double wf_log_with(bool fused, double x)
{
    bool tiny = x < 0x1p-1022;
    double y = tiny ? x * 0x1p54 : x;
    uint64_t u = wf_bits(y) + (((uint64_t)0x3ff << 52) - 0x3fe6a09e667f3bcdu);
    double n = wf_float(u >> 52 | (uint64_t)0x433 << 52) -
               (tiny ? 4503599627371573.0 : 4503599627371519.0);
    double f = wf_float((u & 0xfffffffffffffu) + 0x3fe6a09e667f3bcdu) - 1.0;
    double s = f / (2.0 + f), z = s * s, h = 0.5 * f * f;
    double q = WF_FMA(0.14811534930680477, z, 0.15312570296290458);
    q = WF_FMA(WF_FMA(q, z, 0.18183618977143694), z, 0.22222197587437077);
    q = WF_FMA(WF_FMA(q, z, 0.28571428751303444), z, 0.3999999999937797);
    q = WF_FMA(q, z, 0.66666666666667394);
    double v = WF_FMA(n, 0x1.62e42fefa2000p-1,
                      f - (h - WF_FMA(s, WF_FMA(q, z, h), n * 0x1.9ef35793c7673p-41)));
    v = x > 0.0 ? v : -__builtin_inf();
    v = x < __builtin_inf() ? v : x;
    return x >= 0.0 ? v : __builtin_nan("");
}

#define WF_VMATH(name)                                                                             \
    WF_INLINE float wf_##name##f_inline(float x) { return wf_##name##f_with(WF_HAS_FMA, x); }      \
    WF_INLINE double wf_##name##_inline(double x) { return wf_##name##_with(WF_HAS_FMA, x); }
WF_VMATH(exp) WF_VMATH(sigmoid) WF_VMATH(tanh) WF_VMATH(log)

WF_END

#endif
