/* Where parameters' gradients lie: memory that a sweep asks for when it first adds to one, that
 * the commit hands to the parameter, and that waits with it for the next sweep. */
#ifndef WEFT_AUTOGRAD_PARAM_GRAD_PRIVATE_H
#define WEFT_AUTOGRAD_PARAM_GRAD_PRIVATE_H

#include "autograd/private.h"

struct param_grad {
    wf_tensor whole;          /* its numbers, row-major, behind this header */
};

/* What stands for a parameter on a tape: a var of its own kind. */
typedef struct imported {
    wf_var var;               /* first: flagged VAR_IMPORT */
    param *param;
    param_grad *swept;        /* during a sweep, once it was begun: where var.grad lies */
} imported;

/* Zeroed memory for a gradient of p; NULL after failing the tape. It belongs to the tape until it
 * is given back to the parameter, or committed. Tapes of several threads may take and give. */
param_grad *param_grad_take(wf_tape *t, param *p);
void param_grad_give(param *p, param_grad *g);
/* Becomes p's gradient, or is added to the one it has. */
void param_grad_commit(wf_tape *t, param *p, param_grad *g);
void param_grad_add(int threads, param_grad *to, const param_grad *from);
void param_grad_clear(param *p);
void param_grads_free(param *p);

#endif
