/* The loops over parameters, compiled once per dispatch level, as a table of functions. Not
 * installed; only optim/ includes it. */
#ifndef WEFT_OPTIM_KERNELS_H
#define WEFT_OPTIM_KERNELS_H

#include "optim/optim.h"
#include "tensor/isa.h"

/* A loop over numbers of a gradient, and sums in double that go on from stretch to stretch. */
enum { OPTIM_LANES = 16 };
typedef void optim_loop(int64_t n, void *x, double by, double lanes[OPTIM_LANES]);
enum {
    OPTIM_SQUARES,            /* adds the square of by x[i] to lane i mod 16 */
    OPTIM_LARGEST,            /* lane 0 becomes the largest |x| so far; NaN is larger than all */
    OPTIM_SCALE,              /* by `by` */
    OPTIM_LIMIT,              /* to [-by, by] */
    OPTIM_UPDATE              /* none of these, but the rule's */
};

typedef struct optim_table {
    /* The updates of the built-in rules; c->options are theirs. */
    void (*sgd)(const wf_optim_call *c);
    void (*rmsprop)(const wf_optim_call *c);
    void (*adam)(const wf_optim_call *c);
    void (*adamw)(const wf_optim_call *c);
    optim_loop *loop[OPTIM_UPDATE];
} optim_table;

typedef const optim_table *optim_tables[WF_DTYPES]; /* by dtype; NULL where it is none of floats */
extern const optim_tables WF_ISA_EACH(optim_kernels);

/* The table of the dispatch level. */
const optim_table *optim_kernels(wf_dtype dtype);

#endif
