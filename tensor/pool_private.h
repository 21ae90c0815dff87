/* The threads themselves, as tensor/par.c uses them. Not installed. */
#ifndef WEFT_TENSOR_POOL_PRIVATE_H
#define WEFT_TENSOR_POOL_PRIVATE_H

#include "tensor/private.h"

/* Threads that wait for work. One region has a pool at a time: the thread that took it is member 0,
 * the pool's own are members 1, 2, ... */
typedef struct wf_pool wf_pool;

/* What member `id` of a region does. */
typedef void wf_pool_work(const void *context, int id);

/* A pool for the calling thread, and how many members it can have, `width` (2..WF_THREADS) at most.
 * NULL where that is one: within a region, ours or an OpenMP region of the user's, in a child of a
 * process that had threads, where the system gives no threads, where all pools are taken. */
WF_HIDDEN_API wf_pool *wf_pool_take(int width, int *members);
WF_HIDDEN_API void wf_pool_give(wf_pool *p);

/* Hands `work` to members 1..members - 1. Each of them then must be waited for, or relieved. */
WF_HIDDEN_API void wf_pool_begin(wf_pool *p, int members, wf_pool_work *work, const void *context);
/* Until member `id` has done its work. */
WF_HIDDEN_API void wf_pool_wait(wf_pool *p, int id);
/* True: the member had not begun and will not; its work is the caller's. */
WF_HIDDEN_API bool wf_pool_relieve(wf_pool *p, int id);

/* Called by each of `members` members: until all have come. */
WF_HIDDEN_API void wf_pool_meet(wf_pool *p, int members, int id, unsigned round);

#endif
