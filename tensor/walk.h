/* A walk over the elements of several strided operands of one shape, planned and then run in order
 * or in parallel. */
#ifndef WEFT_TENSOR_WALK_H
#define WEFT_TENSOR_WALK_H

#include "tensor/tensor.h"

WF_BEGIN

/* Axes are merged where every operand allows it and ordered so that the innermost moves memory
 * least. Strides are in bytes; 0 for an operand that is broadcast along an axis. */
typedef struct wf_walk {
    int operands, rank; /* rank >= 1; the last axis is the innermost */
    int64_t dim[WF_RANK];
    int64_t stride[WF_WALK_OPERANDS][WF_RANK];
    char *base[WF_WALK_OPERANDS];
    int64_t count; /* elements in all */
} wf_walk;

/* Plans a walk over `shape` of 1 to WF_WALK_OPERANDS operands. False when one of them does not
 * broadcast to the shape or is NULL. */
WF_API bool wf_walk_plan(wf_walk *walk, wf_shape shape, int operands,
                         const wf_tensor *const operand[]);

/* Called with pointers at the start of an innermost run of n elements and each operand's stride
 * in bytes. */
typedef void wf_walk_fn(void *context, char *const pointer[], const int64_t stride[], int64_t n);

/* Runs the walk. Threads split the axes in which no operand listed in `written` (bit k is operand
 * k) is broadcast, at fixed places, so the result is the same for any number of threads;
 * within a part, order is row-major. */
WF_API void wf_walk_run(const wf_walk *walk, int threads, uint32_t written, wf_walk_fn *fn,
                        void *context);

WF_END

#endif
