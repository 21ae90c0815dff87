/* What the files of tensor/ know of each other, and the checkers of it, and nobody else sees. Not
 * installed; nothing here is exported. */
#ifndef WEFT_TENSOR_PRIVATE_H
#define WEFT_TENSOR_PRIVATE_H

#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/walk.h"

#define WF_HIDDEN_API __attribute__((visibility("hidden")))

/* What wf_dtype_describe tells, for the size of a dtype that is known to be one. */
extern WF_HIDDEN_API const wf_dtype_info wf_dtype_rows[WF_DTYPES];

/* The runtime, frozen by this call if nothing has frozen it yet. Every field is filled in: all
 * functions, all of `files`, threads in 1..64. Lives as long as the process. */
WF_HIDDEN_API const wf_runtime *wf_runtime_use(void);

/* On this thread, until it is set back: what wf_par_for would share among threads runs on the
 * calling one alone, each unit of grain by itself, the last first. A loop that gives the same
 * result however it is cut gives the same bits. */
WF_HIDDEN_API void wf_par_reverse(bool on);

/* The threads that this process has now; 0 if the system does not say. */
WF_HIDDEN_API int wf_threads_alive(void);

/* wf_walk_plan without reordering, and a run on this thread that is never cut: together they walk
 * exactly in the row-major order of `shape`. */
WF_HIDDEN_API bool wf_walk_plan_in_order(wf_walk *loop, wf_shape shape, int operands,
                                         const wf_tensor *const operand[]);
WF_HIDDEN_API void wf_walk_run_in_order(const wf_walk *loop, wf_walk_fn *fn, void *context);

#endif
