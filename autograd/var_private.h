/* How a var is made, in parts that are inlined where ops run: its form, its place among roots, its
 * memory. */
#ifndef WEFT_AUTOGRAD_VAR_PRIVATE_H
#define WEFT_AUTOGRAD_VAR_PRIVATE_H

#include "autograd/private.h"
#include "tensor/private.h"
#include "tensor/size.h"

/* As tensor_settle, of which this is the body. */
static inline bool form_settle(wf_tensor *x, int64_t *bytes)
{
    int64_t stride = 1;
    bool empty = false;
    for (int i = x->rank; i-- > 0;) {
        x->stride[i] = stride;
        if (x->dim[i] == 0)
            empty = true;
        else if (!wf_size_mul(stride, x->dim[i], &stride))
            return false;
    }
    if (!wf_size_mul(stride, wf_dtype_rows[x->dtype].size, &stride)) return false;
    *bytes = empty ? 0 : stride;
    return stride < INT64_MAX / 4 || empty;
}

/* Makes *v, whose form is set, a root on the tape. */
static inline void var_root(wf_tape *t, wf_var *v)
{
    v->tape = t;
    v->root = v;
    v->producer = NULL;
    v->epoch = t->epoch;
    v->flags = v->gathered = 0;
    v->grad = NULL;
    v->kept = NULL;
    v->graph_grad = NULL;
}

/* Fails the tape, because the size of v overflows. Returns false. */
COLD bool var_too_large(wf_tape *t, const wf_var *v, const char *who);

/* Memory that stays until the reset. */
static inline bool var_memory(wf_tape *t, wf_var *v, const char *who)
{
    v->value.data = arena_take(&t->values, v->bytes > 0 ? v->bytes : 1,
                               v->bytes >= WF_ALIGNMENT ? WF_ALIGNMENT : 16);
    if (!v->value.data) tape_fail_oom(t, who, v->bytes);
    return v->value.data != NULL;
}

#endif
