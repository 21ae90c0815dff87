/* Rows put in order, for the ops that need it: places by key, the largest elements, and rows that
 * threads work on with memory of their own. Not installed. */
#ifndef WEFT_AUTOGRAD_RANKED_PRIVATE_H
#define WEFT_AUTOGRAD_RANKED_PRIVATE_H

#include "autograd/ops_private.h"

/* A place, and what it is ordered by. */
typedef struct ranked {
    uint64_t key;
    int64_t at;
} ranked;

/* The first n of `memory`, which holds 2 n, by the low `bytes` bytes of their keys, the smallest
 * first; what is equal stays in its order. Returns where they are. */
ranked *ranked_sort(ranked *memory, int64_t n, int bytes);

/* The places of the k <= n largest (smallest) of n elements of a row of x, the first of them first;
 * of equal ones the first, and NaN counts as larger than everything. scratch: largest_bytes. */
void largest_places(wf_dtype dtype, const void *x, int64_t n, int64_t step, int64_t k,
                    bool smallest, int32_t *place, int64_t place_step, void *scratch);
int64_t largest_bytes(int64_t n, int64_t k, bool smallest); /* n <= INT32_MAX */

/* Calls fn for each of `rows` rows, of some `work` elements each, on as many threads as are worth
 * it, each with `bytes` bytes of the call's scratch for itself: rows_scratch asked for them. */
typedef void row_fn(void *context, int64_t row, void *scratch);
bool rows_scratch(const wf_shaping *s, int64_t *scratch, int64_t bytes);
void rows_apart(const wf_call *c, int64_t rows, int64_t work, int64_t bytes, row_fn *fn,
                void *context);

#endif
