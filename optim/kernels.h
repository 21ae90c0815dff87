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

typedef optim_loop *optim_loops[WF_DTYPES][OPTIM_UPDATE]; /* NULL where the dtype is no float */
extern const optim_loops WF_ISA_EACH(optim_kernels);

/* The update of a built-in rule is WF_ISA_OWN(optim_sgd_f32); c->options are its own. */
typedef void optim_update(const wf_optim_call *c);

#endif
