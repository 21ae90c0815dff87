/* The loops of tensor/sum.h, and of sums of products, compiled once per dispatch level; the level's
 * suffix is in the name of the one table that other files see. */
#include "tensor/kernels.h"
#include "tensor/sum.h"

static void eight_f32(int64_t n, const void *const row[], double *restrict high,
                      double *restrict low)
{
    const float *a = row[0], *b = row[1], *c = row[2], *d = row[3];
    const float *e = row[4], *f = row[5], *g = row[6], *h = row[7];
    (void)low;
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const double x = ((double)a[j] + (double)b[j]) + ((double)c[j] + (double)d[j]);
        const double y = ((double)e[j] + (double)f[j]) + ((double)g[j] + (double)h[j]);
        high[j] += x + y;
    }
}

static void eight_f64(int64_t n, const void *const row[], double *restrict high,
                      double *restrict low)
{
    const double *a = row[0], *b = row[1], *c = row[2], *d = row[3];
    const double *e = row[4], *f = row[5], *g = row[6], *h = row[7];
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const double x = ((a[j] + b[j]) + (c[j] + d[j])) + ((e[j] + f[j]) + (g[j] + h[j]));
        wf_sum_term(&high[j], &low[j], x);
    }
}

static void one_f32(int64_t n, const void *row, int64_t step, double *restrict high,
                    double *restrict low)
{
    const float *x = row;
    (void)low;
    if (step == 1) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) high[j] += (double)x[j];
    } else {
        for (int64_t j = 0; j < n; j++) high[j] += (double)x[j * step];
    }
}

static void one_f64(int64_t n, const void *row, int64_t step, double *restrict high,
                    double *restrict low)
{
    const double *x = row;
    if (step == 1) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) wf_sum_term(&high[j], &low[j], x[j]);
    } else {
        for (int64_t j = 0; j < n; j++) wf_sum_term(&high[j], &low[j], x[j * step]);
    }
}

static void run_f32(int64_t n, const void *row, int64_t step, double *high, double *low)
{
    const float *x = row;
    double sum = 0;
    (void)low;
    if (step == 1) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    } else {
        for (int64_t i = 0; i < n; i++) sum += (double)x[i * step];
    }
    *high += sum;
}

/* Terms at most that meet before a sum is added with its rounding kept: LANES sums side by side, so
 * that the order is the same at every level. */
enum { LANES = 16, BLOCK = 8 * LANES };

static inline __attribute__((always_inline)) void blocks_f64(int64_t n, const double *x,
                                                             int64_t step, double *high,
                                                             double *low)
{
    for (; n >= BLOCK; n -= BLOCK, x += BLOCK * step) {
        double s[LANES];
        for (int k = 0; k < LANES; k++) s[k] = x[k * step];
        for (int i = LANES; i < BLOCK; i += LANES)
            for (int k = 0; k < LANES; k++) s[k] += x[(i + k) * step];
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int k = 0; k < half; k++) s[k] += s[k + half];
        wf_sum_term(high, low, s[0]);
    }
    for (; n > 0; n -= LANES, x += LANES * step) {
        double s = 0;
        for (int k = 0; k < LANES && k < n; k++) s += x[k * step];
        wf_sum_term(high, low, s);
    }
}

static void run_f64(int64_t n, const void *row, int64_t step, double *high, double *low)
{
    if (step == 1)
        blocks_f64(n, row, 1, high, low);
    else
        blocks_f64(n, row, step, high, low);
}

/* scale and divisor are 1 but for means: no loop divides in vain. */
#define INTO(T, name)                                                                              \
    static inline __attribute__((always_inline)) void into_by_##name(                              \
        int64_t n, const double *high, const double *low, double scale, double divisor, T *to,     \
        int64_t step)                                                                              \
    {                                                                                              \
        if (scale == 1 && divisor == 1) {                                                          \
            for (int64_t i = 0; i < n; i++)                                                        \
                to[i * step] = (T)((double)to[i * step] + wf_sum_value(high[i], low[i]));          \
            return;                                                                                \
        }                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const double sum = wf_sum_value(high[i], low[i]) * scale / divisor;                    \
            to[i * step] = (T)((double)to[i * step] + sum);                                        \
        }                                                                                          \
    }                                                                                              \
    static void into_##name(int64_t n, const double *high, const double *low, double scale,        \
                            double divisor, void *to, int64_t step)                                \
    {                                                                                              \
        if (step == 1)                                                                             \
            into_by_##name(n, high, low, scale, divisor, to, 1);                                   \
        else                                                                                       \
            into_by_##name(n, high, low, scale, divisor, to, step);                                \
    }
INTO(float, f32)
INTO(double, f64)

/* The two-sum of wf_sum_term in the dtype itself, on rows. */
#define FOLDS(T, name)                                                                             \
    static inline __attribute__((always_inline)) void fold_by_##name(                              \
        int64_t n, const T *restrict p, T *restrict low, T *restrict c, int64_t step)              \
    {                                                                                              \
        for (int64_t j = 0; j < n; j++) {                                                          \
            const T was = c[j * step], sum = was + p[j], part = sum - was;                         \
            low[j] += (was - (sum - part)) + (p[j] - part);                                        \
            c[j * step] = sum;                                                                     \
        }                                                                                          \
    }                                                                                              \
    static void fold_##name(int64_t n, const void *p, void *low, void *c, int64_t step)            \
    {                                                                                              \
        if (step == 1)                                                                             \
            fold_by_##name(n, p, low, c, 1);                                                       \
        else                                                                                       \
            fold_by_##name(n, p, low, c, step);                                                    \
    }                                                                                              \
    static void settle_##name(int64_t n, const void *from, void *to, int64_t step)                 \
    {                                                                                              \
        const T *low = from;                                                                       \
        T *c = to;                                                                                 \
        for (int64_t j = 0; j < n; j++)                                                            \
            if (c[j * step] - c[j * step] == 0) c[j * step] += low[j];                             \
    }
FOLDS(float, f32)
FOLDS(double, f64)

/* What is added is of type S; a step of 0: the same number again and again. */
#define ADD(name, T, S)                                                                            \
    static void name(int64_t n, double scale, const void *x_, int64_t step, void *to_,             \
                     int64_t to_step)                                                              \
    {                                                                                              \
        const S *x = x_;                                                                           \
        T *to = to_;                                                                               \
        const T by = (T)scale;                                                                     \
        if (to_step == 1 && step == 1) {                                                           \
            SIMD for (int64_t i = 0; i < n; i++) to[i] += by * (T)x[i];                            \
        } else if (to_step == 1 && step == 0) {                                                    \
            const T all = by * (T)*x;                                                              \
            SIMD for (int64_t i = 0; i < n; i++) to[i] += all;                                     \
        } else {                                                                                   \
            for (int64_t i = 0; i < n; i++) to[i * to_step] += by * (T)x[i * step];                \
        }                                                                                          \
    }
#define SIMD _Pragma("omp simd")
ADD(add_f32, float, float)
ADD(add_f32_from_f64, float, double)
ADD(add_f64_from_f32, double, float)
ADD(add_f64, double, double)

const wf_sum_tables WF_ISA_OWN(wf_sum_kernels) = {
    [WF_F32] = { eight_f32,
                 one_f32,
                 run_f32,
                 into_f32,
                 fold_f32,
                 settle_f32,
                 { [WF_F32] = add_f32, [WF_F64] = add_f32_from_f64 } },
    [WF_F64] = { eight_f64,
                 one_f64,
                 run_f64,
                 into_f64,
                 fold_f64,
                 settle_f64,
                 { [WF_F32] = add_f64_from_f32, [WF_F64] = add_f64 } },
};
