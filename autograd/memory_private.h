/* Memory of a tape's, or the tape fails for want of it, with `who` it was for. Not installed. */
#ifndef WEFT_AUTOGRAD_MEMORY_PRIVATE_H
#define WEFT_AUTOGRAD_MEMORY_PRIVATE_H

#include "autograd/private.h"

/* Until the reset. */
static inline void *tape_take(wf_tape *t, const char *who, int64_t bytes)
{
    void *at = arena_take(&t->values, bytes, 16);
    if (!at) tape_fail_oom(t, who, bytes);
    return at;
}

/* From the pool of gradients, to be given back with pool_give(&t->grads, ...). */
static inline void *tape_borrow(wf_tape *t, const char *who, int64_t bytes)
{
    void *at = pool_take(&t->grads, bytes);
    if (!at) tape_fail_oom(t, who, bytes);
    return at;
}

/* One more item at the end of a list of the tape's. */
static inline void *tape_list_add(wf_tape *t, const char *who, list *l, size_t item)
{
    void *at = list_add(l, item);
    if (!at) tape_fail_oom(t, who, 2 * l->room * (int64_t)item);
    return at;
}

#endif
