/* The loops over parameters, compiled once per dispatch level, as a table of functions. Not
 * installed; only optim/ includes it. */
#ifndef WEFT_OPTIM_KERNELS_H
#define WEFT_OPTIM_KERNELS_H

#include "optim/optim.h"
#include "tensor/isa.h"

typedef struct optim_table {
    /* The updates of the built-in rules; c->options are theirs. */
    void (*sgd)(const wf_optim_call *c);
    void (*rmsprop)(const wf_optim_call *c);
    void (*adam)(const wf_optim_call *c);
    void (*adamw)(const wf_optim_call *c);
    /* The sum of squares in double, over sixteen interleaved sums that are added pairwise. */
    double (*squares)(int64_t n, const void *x);
    double (*squares_scaled)(int64_t n, const void *x, double by); /* of by x */
    /* The largest |x|; NaN if there is one. */
    double (*largest)(int64_t n, const void *x);
    void (*scale)(int64_t n, void *x, double by);
    void (*limit)(int64_t n, void *x, double most);
} optim_table;

typedef const optim_table *optim_tables[WF_DTYPES]; /* by dtype; NULL where it is none of floats */
extern const optim_tables WF_ISA_EACH(optim_kernels);

/* The table of the dispatch level. */
const optim_table *optim_kernels(wf_dtype dtype);

#endif
