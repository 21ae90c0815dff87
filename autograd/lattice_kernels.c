/* The loops of the losses over paths, compiled once per dispatch level; the level's suffix is in
 * the name of the one table that other files see. */
#include "autograd/lattice_private.h"
#include "tensor/vmath.h"

#include <math.h>

#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed"
#endif

static const double none = -(double)INFINITY;

/* Two exponentials do for three numbers: that of the largest is 1. */
static void merge(int64_t n, const double *restrict from, const double *restrict skip,
                  const double *restrict own, double *restrict plain, double *restrict with)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const double a = from[i], b = from[i - 1], c = from[i - 2] + skip[i];
        const double high = a > b ? a : b, low = a > b ? b : a;
        const double top = high > c ? high : c, other = high > c ? c : high;
        const double m = top == none ? 0 : top;
        const double sum = 1 + wf_exp_inline(low - m) + wf_exp_inline(other - m);
        const double y = top + wf_log_inline(sum);
        plain[i] = y;
        with[i] = y + own[i];
    }
}

static void reach(int64_t n, const double *restrict from, const double *restrict w,
                  const double *restrict own, double *restrict plain, double *restrict with)
{
    for (int64_t j = 0; j < n; j++) plain[j] = none;
    for (int64_t i = 0; i < n; i++) {
        const double a = from[i];
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            const double x = a + w[i * n + j];
            plain[j] = x > plain[j] ? x : plain[j];
        }
    }
    for (int64_t j = 0; j < n; j++) with[j] = 0;
    for (int64_t i = 0; i < n; i++) {
        const double a = from[i];
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            const double m = plain[j] == none ? 0 : plain[j];
            with[j] += wf_exp_inline(a + w[i * n + j] - m);
        }
    }
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const double y = plain[j] + wf_log_inline(with[j]);
        plain[j] = y;
        with[j] = y + own[j];
    }
}

static void meet(int64_t n, const double *a, const double *b, int64_t step, double all, double *to)
{
    if (step == -1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) to[i] = wf_exp_inline(a[i] + b[-i] - all);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) to[i] = wf_exp_inline(a[i] + b[i * step] - all);
}

static void meet_pairs(int64_t n, const double *a, const double *w, const double *b, double all,
                       double *sum)
{
    for (int64_t i = 0; i < n; i++) {
        const double x = a[i] - all;
#pragma omp simd
        for (int64_t j = 0; j < n; j++) sum[i * n + j] += wf_exp_inline(x + w[i * n + j] + b[j]);
    }
}

#define WF_EACH_FLOAT "autograd/lattice_kernels.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...) [dtype] = &table_##suffix,
const lattice_tables WF_ISA_OWN(lattice_kernels) = { WF_FLOATS(TABLE) };
