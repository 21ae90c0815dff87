/* The vectorised functions against the C library in higher precision, over bit patterns of every
 * kind (all 2^32 floats with WEFT_FULL=1), and the laws that a network leans on: odd, bounded,
 * rising, the same wherever an element lies. */
#include "autograd/tile.h"
#include "tensor/erf.h"
#include "tensor/log1p.h"
#include "tensor/par.h"
#include "tests/harness.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096, KINDS = 9 };

static long double sigmoidl(long double x)
{
    return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
}

static double sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static long double softplusl(long double x)
{
    return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x));
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static long double gelul(long double x)
{
    return x * 0.5L * erfcl(x * -0.707106781186547524400844362104849039L);
}

static double gelu(double x)
{
    return (double)gelul((long double)x);
}

/* The functions that kernels are made of, in either dtype. */
#define INLINE(name)                                                                               \
    static float inline_##name##f(float x)                                                         \
    {                                                                                              \
        return wf_##name##f_inline(x);                                                             \
    }                                                                                              \
    static double inline_##name(double x)                                                          \
    {                                                                                              \
        return wf_##name##_inline(x);                                                              \
    }
INLINE(exp)
INLINE(tanh)
INLINE(sigmoid)
INLINE(log)
INLINE(log1p)
INLINE(expm1)
INLINE(softplus)
INLINE(erf)
INLINE(gelu)

static const struct kind {
    const char *name;
    float (*one_f32)(float x);
    double (*one_f64)(double x);
    double (*exact)(double x);
    long double (*exactl)(long double x);
    double low, high; /* where it changes */
    bool at_zero;     /* its results are small where x is, not where x is far below 0 */
    double ulp[2];    /* how near it is in f32 and in f64 */
} kinds[KINDS] = {
#define KIND(name) #name, inline_##name##f, inline_##name, name, name##l
    { KIND(exp), -750, 720, false, { 2, 4 } },     { KIND(tanh), -22, 22, true, { 2, 4 } },
    { KIND(sigmoid), -750, 50, false, { 2, 4 } },  { KIND(log), 0, 4, true, { 2, 4 } },
    { KIND(log1p), -1, 4, true, { 2, 4 } },        { KIND(expm1), -40, 720, true, { 2, 4 } },
    { KIND(softplus), -750, 50, false, { 2, 4 } }, { KIND(erf), -6, 6, true, { 2, 4 } },
    { KIND(gelu), -38, 9, true, { 8, 12 } },
};

/* y[i] = f(x[i]) by the op's own kernel: denormals are flushed. */
static void of_array(const char *name, wf_dtype dtype, int64_t n, const void *x, void *y)
{
    const wf_op *op = op_named(name);
    ck_assert_ptr_nonnull(op->pointwise);
    void *const at[WF_AT] = { (void *)(uintptr_t)x, [WF_AT_OUT] = y };
    const int64_t row[WF_AT] = { 0 };
    uint32_t fp = wf_fp_enter();
    op->pointwise[wf_isa_level()].forward[dtype](1, n, at, row, 0, false);
    wf_fp_leave(fp);
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static double double_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The distance between y and the exact value in units of the last place of a number of `digits`
 * bits and smallest exponent `least` that is as large as the exact value; infinity where one is
 * NaN and the other is not. */
static double ulps(long double y, long double exact, int digits, int least)
{
    if (isnan(exact) || isnan(y)) return isnan(exact) && isnan(y) ? 0 : (double)INFINITY;
    if (y == exact) return 0;
    int exponent = least;
    if (exact != 0 && !isinf(exact)) frexpl(exact, &exponent);
    if (exponent < least) exponent = least;
    /* Infinity stands for the number that would come after the largest one, and for all beyond. */
    const long double end = ldexpl(1, 3 - least);
    if (fabsl(y) > end) y = copysignl(end, y);
    if (fabsl(exact) > end) exact = copysignl(end, exact);
    return (double)(fabsl(y - exact) * ldexpl(1, digits - exponent));
}

static double ulps_f32(float y, long double exact)
{
    return ulps((long double)y, exact, FLT_MANT_DIG, FLT_MIN_EXP);
}

static double ulps_f64(double y, long double exact)
{
    return ulps((long double)y, exact, DBL_MANT_DIG, DBL_MIN_EXP);
}

/* ---- accuracy ---- */

/* The kernels read numbers below the normal range as zero and write zero for them. */
static long double flushed_argument(long double x, long double least)
{
    return fabsl(x) < least ? copysignl(0, x) : x;
}

static void check_floats(const struct kind *kind, const float x[BLOCK], bool fast)
{
    static float y[BLOCK];
    of_array(kind->name, WF_F32, BLOCK, x, y);
    for (int i = 0; i < BLOCK; i++) {
        double from = (double)flushed_argument((long double)x[i], (long double)FLT_MIN);
        long double exact = fast ? (long double)kind->exact(from) : kind->exactl((long double)from);
        if (y[i] == 0 && fabsl(exact) < (long double)FLT_MIN && !signbit(exact) == !signbit(y[i]))
            continue;
        double error = ulps_f32(y[i], exact);
        ck_assert_msg(error <= kind->ulp[0], "%s(%a) is %a: off by %g ulp from %La", kind->name,
                      (double)x[i], (double)y[i], error, exact);
    }
}

TEST_EACH(floats_of_every_kind_are_within_a_few_ulp, KINDS)
{
    static float x[BLOCK];
    uint32_t bits = 0;
    for (int block = 0; block < (1 << 20) / BLOCK; block++) {
        for (int i = 0; i < BLOCK; i++, bits += 4099) x[i] = float_of(bits);
        check_floats(kinds + _i, x, false);
    }
    /* Where the answer lies: dense between the ends. */
    for (int block = 0; block < 64; block++) {
        for (int i = 0; i < BLOCK; i++)
            x[i] = (float)(kinds[_i].low +
                           (kinds[_i].high - kinds[_i].low) * (block * BLOCK + i) / (64.0 * BLOCK));
        check_floats(kinds + _i, x, false);
    }
}

enum { SLICES = 16 };

TEST_EACH(all_floats_are_within_a_few_ulp, getenv("WEFT_FULL") ? KINDS *SLICES : 1)
{
    static float x[BLOCK];
    if (!getenv("WEFT_FULL")) {
        harness_skip("2^32 floats for each function take minutes: set WEFT_FULL=1");
        return;
    }
    const uint64_t each = ((uint64_t)1 << 32) / SLICES, first = (uint64_t)(_i % SLICES) * each;
    for (uint64_t bits = first; bits < first + each;) {
        for (int i = 0; i < BLOCK; i++, bits++) x[i] = float_of((uint32_t)bits);
        check_floats(kinds + _i / SLICES, x, true);
    }
}

TEST_EACH(doubles_of_every_kind_are_within_a_few_ulp, KINDS)
{
    static double x[BLOCK], y[BLOCK];
    const struct kind *kind = kinds + _i;
    uint64_t state = 1;
    for (int block = 0; block < 256; block++) {
        for (int i = 0; i < BLOCK; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            uint64_t word = state ^ state >> 29;
            x[i] = block & 1
                       ? double_of(word)
                       : kind->low + (kind->high - kind->low) * (double)(word >> 11) * 0x1p-53;
        }
        of_array(kind->name, WF_F64, BLOCK, x, y);
        for (int i = 0; i < BLOCK; i++) {
            long double exact = kind->exactl(
                flushed_argument((long double)x[i], (long double)DBL_MIN));
            if (y[i] == 0 && fabsl(exact) < (long double)DBL_MIN) continue;
            double error = ulps_f64(y[i], exact);
            ck_assert_msg(error <= kind->ulp[1], "%s(%a) is %a: off by %g ulp", kind->name, x[i],
                          y[i], error);
        }
    }
}

TEST_EACH(the_inline_functions_underflow_gradually, KINDS)
{
    const struct kind *kind = kinds + _i;
    for (int i = 0; i < 1 << 16; i++) {
        float x = kind->at_zero ? float_of((uint32_t)i * 127 + 1)
                                : -86.0f - 19.0f * (float)i / 65536;
        double error = ulps_f32(kind->one_f32(x), kind->exactl((long double)x));
        ck_assert_msg(error <= 2, "%s(%a) is off by %g ulp", kind->name, (double)x, error);
        double d = kind->at_zero ? double_of(((uint64_t)i << 36) + 1) : -706.0 - 41.0 * i / 65536;
        error = ulps_f64(kind->one_f64(d), kind->exactl((long double)d));
        ck_assert_msg(error <= 4, "%s(%a) is off by %g ulp", kind->name, d, error);
    }
}

/* ---- special values ---- */

static float one(const struct kind *kind, float x)
{
    float y;
    of_array(kind->name, WF_F32, 1, &x, &y);
    ck_assert(memcmp(&y, &(float){ kind->one_f32(x) }, sizeof y) == 0 || fabsf(x) < FLT_MIN ||
              y == 0 || ulps_f32(y, (long double)kind->one_f32(x)) <= 2);
    double d = (double)x, e;
    of_array(kind->name, WF_F64, 1, &d, &e);
    ck_assert_msg(isnan(y) ? isnan(e) : isinf(y) || y == 0 || fabs(e - (double)y) <= 1e-6 * fabs(e),
                  "%s(%g): %g and %g", kind->name, d, (double)y, e);
    return y;
}

TEST(limits_are_exact)
{
    const struct kind *e = kinds, *t = kinds + 1, *s = kinds + 2, *l = kinds + 3, *l1 = kinds + 4,
                      *e1 = kinds + 5, *sp = kinds + 6, *er = kinds + 7, *ge = kinds + 8;
    for (int i = 0; i < KINDS; i++) {
        ck_assert(isnan(one(kinds + i, NAN)));
        ck_assert(isnan(one(kinds + i, -NAN)));
        ck_assert(isnan(one(kinds + i, float_of(0x7fffffffu))));
    }
    ck_assert(one(e, INFINITY) == INFINITY && one(e, FLT_MAX) == INFINITY &&
              one(e, 88.8f) == INFINITY);
    ck_assert(one(e, -INFINITY) == 0 && one(e, -FLT_MAX) == 0 && one(e, -104) == 0 &&
              one(e, 0) == 1 && one(e, -0.0f) == 1);
    ck_assert(one(t, INFINITY) == 1 && one(t, -INFINITY) == -1 && one(t, FLT_MAX) == 1 &&
              one(t, -20) == -1);
    ck_assert(one(t, 0) == 0 && !signbit(one(t, 0)) && one(t, -0.0f) == 0 &&
              signbit(one(t, -0.0f)));
    ck_assert(one(s, INFINITY) == 1 && one(s, -INFINITY) == 0 && one(s, 0) == 0.5f &&
              one(s, -0.0f) == 0.5f);
    ck_assert(one(s, -100) == 0 && one(s, -FLT_MAX) == 0 && one(s, FLT_MAX) == 1 &&
              one(s, -87) > 0);
    ck_assert(one(l, 1) == 0 && one(l, 0) == -INFINITY && one(l, -0.0f) == -INFINITY &&
              one(l, INFINITY) == INFINITY);
    ck_assert(isnan(one(l, -1)) && isnan(one(l, -INFINITY)) && isnan(one(l, -FLT_MIN)));
    ck_assert(one(l1, -1) == -INFINITY && one(l1, INFINITY) == INFINITY && isnan(one(l1, -1.5f)) &&
              isnan(one(l1, -INFINITY)) && isfinite(one(l1, FLT_MAX)));
    ck_assert(one(e1, -INFINITY) == -1 && one(e1, -FLT_MAX) == -1 && one(e1, -20) == -1 &&
              one(e1, INFINITY) == INFINITY && one(e1, FLT_MAX) == INFINITY &&
              isfinite(one(e1, 88.7f)));
    for (int i = 4; i < 6; i++)
        ck_assert(one(kinds + i, 0) == 0 && !signbit(one(kinds + i, 0)) &&
                  one(kinds + i, -0.0f) == 0 && signbit(one(kinds + i, -0.0f)));
    ck_assert(one(sp, INFINITY) == INFINITY && one(sp, -INFINITY) == 0 && one(sp, -FLT_MAX) == 0 &&
              one(sp, FLT_MAX) == FLT_MAX && one(sp, 0) == 0.693147182f && one(sp, 100) == 100 &&
              one(sp, -87) > 0);
    ck_assert(one(er, INFINITY) == 1 && one(er, -INFINITY) == -1 && one(er, 4.5f) == 1 &&
              one(er, 0) == 0 && !signbit(one(er, 0)) && one(er, -0.0f) == 0 &&
              signbit(one(er, -0.0f)) && one(er, -FLT_MAX) == -1);
    ck_assert(one(ge, INFINITY) == INFINITY && one(ge, -INFINITY) == 0 && one(ge, -FLT_MAX) == 0 &&
              one(ge, FLT_MAX) == FLT_MAX && one(ge, 20) == 20 && one(ge, -13) < 0 &&
              one(ge, 0) == 0 && signbit(one(ge, -0.0f)));
    double x[] = { 709.9, -746, -1000, INFINITY, -INFINITY, NAN }, y[6];
    of_array("exp", WF_F64, 6, x, y);
    ck_assert(isinf(y[0]) && y[1] == 0 && y[2] == 0 && isinf(y[3]) && y[4] == 0 && isnan(y[5]));
    of_array("sigmoid", WF_F64, 6, x, y);
    ck_assert(y[0] == 1 && y[1] == 0 && y[2] == 0 && y[3] == 1 && y[4] == 0 && isnan(y[5]));
}

/* ---- laws ---- */

TEST(erf_is_odd_to_the_bit_and_bounded)
{
    static float x[BLOCK], y[BLOCK], z[BLOCK];
    static double d[BLOCK], e[BLOCK], f[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        x[i] = ldexpf(1 + (float)(i % 61) / 61, i % 40 - 36);
        d[i] = (double)x[i] * (1 + 0x1p-40);
    }
    of_array("erf", WF_F32, BLOCK, x, y);
    of_array("erf", WF_F64, BLOCK, d, e);
    for (int i = 0; i < BLOCK; i++) x[i] = -x[i], d[i] = -d[i];
    of_array("erf", WF_F32, BLOCK, x, z);
    of_array("erf", WF_F64, BLOCK, d, f);
    for (int i = 0; i < BLOCK; i++)
        ck_assert_msg(y[i] == -z[i] && y[i] > 0 && y[i] <= 1 && e[i] == -f[i] && e[i] > 0 &&
                          e[i] <= 1,
                      "erf(%a)", -d[i]);
}

/* Where it is not small: a derivative of numbers near 1 has no more digits. */
TEST(the_slope_of_gelu_is_exact_in_its_tail)
{
    for (int i = 0; i < 4000; i++) {
        const double x = (double)(float)(-1 - 0.009 * i); /* of both precisions */
        const long double y = (long double)x,
                          slope = 0.5L * erfcl(y * -0.707106781186547524400844362104849039L) +
                                  y * expl(-y * y / 2) * 0.398942280401432677939946059934381868L;
        double error = ulps_f64(wf_gelu_slope_inline(x), slope);
        ck_assert_msg(error <= 12, "at %a: off by %g ulp", x, error);
        if (x < -13) continue;
        error = ulps_f32(wf_gelu_slopef_inline((float)x), slope);
        ck_assert_msg(error <= 10, "at %a: off by %g ulp of f32", x, error);
    }
}

TEST(tanh_is_odd_to_the_bit_and_bounded_and_sigmoid_is_bounded)
{
    static float x[BLOCK], minus[BLOCK], y[BLOCK], z[BLOCK], s[BLOCK];
    static double d[BLOCK], e[BLOCK], f[BLOCK];
    uint32_t bits = 0;
    for (int block = 0; block < 256; block++) {
        for (int i = 0; i < BLOCK; i++, bits += 2039) {
            x[i] = float_of(bits & 0x7fffffffu);
            if (isnan(x[i])) x[i] = 1;
            minus[i] = -x[i];
            d[i] = (double)x[i] * (1 + 0x1p-40);
        }
        of_array("tanh", WF_F32, BLOCK, x, y);
        of_array("tanh", WF_F32, BLOCK, minus, z);
        of_array("sigmoid", WF_F32, BLOCK, minus, s);
        for (int i = 0; i < BLOCK; i++) {
            ck_assert_msg(y[i] == -z[i] && signbit(y[i]) != signbit(z[i]), "tanh(%a)",
                          (double)x[i]);
            ck_assert_msg(y[i] >= 0 && y[i] <= 1, "tanh(%a) is %a", (double)x[i], (double)y[i]);
            ck_assert_msg(s[i] >= 0 && s[i] <= 0.5f, "sigmoid(-%a) is %a", (double)x[i],
                          (double)s[i]);
        }
        of_array("sigmoid", WF_F32, BLOCK, x, s);
        of_array("tanh", WF_F64, BLOCK, d, e);
        for (int i = 0; i < BLOCK; i++) {
            ck_assert_msg(s[i] >= 0.5f && s[i] <= 1, "sigmoid(%a) is %a", (double)x[i],
                          (double)s[i]);
            d[i] = -d[i];
        }
        of_array("tanh", WF_F64, BLOCK, d, f);
        for (int i = 0; i < BLOCK; i++)
            ck_assert_msg(e[i] == -f[i] && e[i] >= 0 && e[i] <= 1, "tanh(%a)", d[i]);
    }
}

/* On a grid whose steps change the value by more than the error allowed. */
TEST(the_functions_rise)
{
    static const double from[KINDS] = { -80, -5, -80, 0.0625, -0.9, -10, -80, -2.5, -0.7 },
                        to[KINDS] = { 80, 5, 10, 100, 100, 80, 80, 2.5, 80 };
    enum { STEPS = 2048 };
    static float x[STEPS], y[STEPS];
    for (int k = 0; k < KINDS; k++) {
        for (int i = 0; i < STEPS; i++) x[i] = (float)(from[k] + (to[k] - from[k]) * i / STEPS);
        of_array(kinds[k].name, WF_F32, STEPS, x, y);
        for (int i = 1; i < STEPS; i++)
            ck_assert_msg(y[i] > y[i - 1], "%s at %g", kinds[k].name, (double)x[i]);
    }
}

TEST_EACH(an_element_s_value_does_not_depend_on_where_it_lies, KINDS)
{
    enum { N = 80, FENCE = 20 };
    const struct kind *kind = kinds + _i;
    float x[N], alone[N], y[N + FENCE];
    double d[N], lone[N], e[N + FENCE];
    for (int i = 0; i < N; i++) {
        d[i] = x[i] = (float)((i * 37 % N) - 30) / 7;
        of_array(kind->name, WF_F32, 1, x + i, alone + i);
        of_array(kind->name, WF_F64, 1, d + i, lone + i);
    }
    for (int start = 0; start < 20; start++) {
        for (int n = 0; start + n <= N; n++) {
            for (int i = 0; i < N + FENCE; i++) y[i] = 77, e[i] = 77;
            of_array(kind->name, WF_F32, n, x + start, y);
            of_array(kind->name, WF_F64, n, d + start, e);
            ck_assert_msg(memcmp(y, alone + start, (size_t)n * sizeof *y) == 0, "%s, %d from %d",
                          kind->name, n, start);
            ck_assert_msg(memcmp(e, lone + start, (size_t)n * sizeof *e) == 0, "%s, %d from %d",
                          kind->name, n, start);
            for (int i = n; i < n + FENCE; i++) ck_assert(y[i] == 77 && e[i] == 77);
            memcpy(y, x, sizeof x);
            of_array(kind->name, WF_F32, n, y + start, y + start);
            ck_assert_msg(memcmp(y + start, alone + start, (size_t)n * sizeof *y) == 0,
                          "%s in place", kind->name);
        }
    }
}
