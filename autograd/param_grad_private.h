/* Where parameters' gradients lie: memory that a sweep asks for when it first adds to one, that
 * the commit hands to the parameter, and that waits with it for the next sweep. Of a table whose
 * gradient came from lookups alone it is known which rows were added to: the rest is zero, and is
 * neither looked at nor cleared. */
#ifndef WEFT_AUTOGRAD_PARAM_GRAD_PRIVATE_H
#define WEFT_AUTOGRAD_PARAM_GRAD_PRIVATE_H

#include "autograd/private.h"

enum { EVERY_ROW = -1 };

struct param_grad {
    wf_tensor whole;          /* its numbers, row-major, behind this header */
    int64_t rows, listed;     /* that were added to, or EVERY_ROW; of them in the list already */
    uint64_t *named;          /* a bit for each row; NULL until ids first name some */
    int32_t *row;             /* the list: ascending */
    _Atomic(bool) handed_out; /* whoever read it whole may have written elsewhere, too */
};

/* What stands for a parameter on a tape: a var of its own kind. */
typedef struct imported {
    wf_var var;               /* first: flagged VAR_IMPORT */
    param *param;
    param_grad *swept;        /* during a sweep, once it was begun: where var.grad lies */
} imported;

/* Memory for a gradient of p, zeros or whatever lies there, which counts as written to everywhere;
 * NULL after failing the tape. It belongs to the tape until it is given back to the parameter, or
 * committed. Tapes of several threads may take and give. */
param_grad *param_grad_take(wf_tape *t, param *p, bool zeros);
void param_grad_give(param *p, param_grad *g);
void param_grad_free(param_grad *g);
/* What an op is about to add goes to the rows that ids name (NULL: to any). False after failing
 * the tape. */
bool param_grad_name(wf_tape *t, param_grad *g, const wf_tensor *ids);
/* Becomes p's gradient, or is added to the one it has. */
void param_grad_commit(wf_tape *t, param *p, param_grad *g);
void param_grad_add(int threads, param_grad *to, param_grad *from);
bool param_grad_finite(param_grad *g, int threads);
void param_grad_clear(param *p);
void param_grads_free(param *p);

#endif
