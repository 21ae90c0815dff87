/* Sums in which many terms meet: gradients that rows share, means, losses. Their error does not
 * grow with the number of terms, and their bits do not depend on the number of threads. */
#ifndef WEFT_TENSOR_SUM_H
#define WEFT_TENSOR_SUM_H

#include "tensor/walk.h"

WF_BEGIN

/* A sum is held as high + low. Terms that are floats are added in double to `high`; terms that
 * are doubles are added up by a few, and those sums are added with what their rounding loses
 * kept in `low` (Knuth's TwoSum; Ogita, Rump and Oishi 2005). With u half a unit in the last
 * place of the dtype (2^-24, 2^-53), n terms x[i] and S their true sum, the result is off by at
 * most
 *     f32:  u |S| + n 2^-53 sum |x[i]|          (less than pairwise summation's for n < 10^10)
 *     f64:  u |S| + (16 u + n^2 2^-106) sum |x[i]|   (for any n that memory holds)
 * and by one more rounding where it is added to a number that is there already. */
static inline void wf_sum_term(double *high, double *low, double x)
{
    const double sum = *high + x, part = sum - *high;
    *low += (*high - (sum - part)) + (x - part);
    *high = sum;
}

/* What it comes to; of sums that are infinite or NaN `low` says nothing. */
static inline double wf_sum_value(double high, double low)
{
    return high - high == 0 ? high + low : high;
}

/* Adds n numbers of a float dtype, `step` elements apart, to one sum. */
WF_API void wf_sum_run(wf_dtype dtype, int64_t n, const void *x, int64_t step, double *high,
                       double *low);
/* Adds rows of n numbers, `step` elements apart in each, to n sums: the first of every row to
 * high[0] + low[0], and so on. */
WF_API void wf_sum_rows(wf_dtype dtype, int64_t rows, int64_t n, const void *const row[],
                        int64_t step, double *high, double *low);

/* to[i * to_step] += scale * x[i * step], one after another. */
WF_API void wf_run_add(wf_dtype dtype, int64_t n, double scale, const void *x, int64_t step,
                       void *to, int64_t to_step);

/* to[i * step] += what sum i of n comes to. */
WF_API void wf_sum_into(wf_dtype dtype, int64_t n, const double *high, const double *low, void *to,
                        int64_t step);

/* to += scale / divisor times the sum of x over the axes along which `to` has a size of 1, or
 * none. One float dtype; to broadcasts to x's shape and does not overlap itself. */
WF_API void wf_sum_tensor(const wf_tensor *x, const wf_tensor *to, double scale, double divisor,
                          int threads);

/* A piece of a walk whose terms are still to be computed: `columns` sums, in each of which rows
 * times run terms meet. Pointers are at each operand's first element, strides in bytes. At most
 * WF_SUM_COLUMNS columns. */
enum { WF_SUM_COLUMNS = 512 };
typedef struct wf_sum_tile {
    int64_t rows, columns, run;
    char *pointer[WF_WALK_OPERANDS];
    int64_t row_stride[WF_WALK_OPERANDS], column_stride[WF_WALK_OPERANDS],
        run_stride[WF_WALK_OPERANDS];
    double *high, *low;                            /* columns of each, to add to */
} wf_sum_tile;
typedef void wf_sum_fn(void *context, const wf_sum_tile *tile);

/* The same over a walk: fn adds up what it makes of the other operands, and the sums go into
 * operand `to`, which is of the dtype and broadcast along the axes that are summed. Threads
 * share columns, and where those are few, parts of the sums, cut at places that the shape alone
 * decides. */
WF_API void wf_walk_sum(const wf_walk *loop, int to, wf_dtype dtype, double scale, double divisor,
                        int threads, wf_sum_fn *fn, void *context);

WF_END

#endif
