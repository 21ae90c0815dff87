/* What every measuring program needs: seconds, medians, and numbers to compute with. */
#ifndef WEFT_BENCH_TIMING_H
#define WEFT_BENCH_TIMING_H

#include <weft.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int timing_ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of n numbers, which it sorts. */
static inline double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, timing_ascending);
    return v[n / 2];
}

/* n standard normal numbers, for wf_release; the program ends where there is no memory. */
static inline float *random_floats(int64_t n, uint64_t key)
{
    float *x = wf_alloc((size_t)n * sizeof *x);
    if (!x) exit((fprintf(stderr, "out of memory\n"), 1));
    for (int64_t i = 0; i < n; i++) x[i] = (float)wf_random_normal(key, (uint64_t)i);
    return x;
}

#endif
