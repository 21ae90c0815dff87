/* The loops over parameters, compiled once per dispatch level, as a table of functions. Not
 * installed; only optim/ includes it. */
#ifndef WEFT_OPTIM_KERNELS_H
#define WEFT_OPTIM_KERNELS_H

#include "optim/optim.h"

typedef struct optim_table {
    /* The updates of the built-in rules; c->options are theirs. */
    void (*sgd)(const wf_optim_call *c);
    void (*rmsprop)(const wf_optim_call *c);
    void (*adam)(const wf_optim_call *c);
    void (*adamw)(const wf_optim_call *c);
    /* The sum of squares in double, over sixteen interleaved sums that are added pairwise. */
    double (*squares)(wf_dtype dtype, int64_t n, const void *x);
    double (*squares_scaled)(wf_dtype dtype, int64_t n, const void *x, double by); /* of by x */
    /* The largest |x|; NaN if there is one. */
    double (*largest)(wf_dtype dtype, int64_t n, const void *x);
    void (*scale)(wf_dtype dtype, int64_t n, void *x, double by);
    void (*limit)(wf_dtype dtype, int64_t n, void *x, double most);
} optim_table;

const optim_table *wf_optim_kernels_c(void);
#ifdef __x86_64__
const optim_table *wf_optim_kernels_avx2(void);
const optim_table *wf_optim_kernels_avx512(void);
#endif

/* The table of the dispatch level. */
const optim_table *optim_kernels(void);

#endif
