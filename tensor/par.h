/* The one door to threads: a parallel loop and a team with a barrier. Floating point inside is
 * round-to-nearest with denormals flushed to zero; the caller's state is given back untouched. */
#ifndef WEFT_TENSOR_PAR_H
#define WEFT_TENSOR_PAR_H

#include "tensor/api.h"

WF_BEGIN

typedef void wf_par_fn(void *context, int64_t begin, int64_t end);

/* Calls fn over [0, n) in parts whose ends are multiples of grain (the last excepted; below 1: 1),
 * on at most `threads` threads and never more than wf_threads(). One part: called directly. fn must
 * give the same result however [0, n) is cut. From inside another parallel region it runs
 * serially, and in a process forked from one that had threads. Fewer threads where the system
 * gives no more; that is logged once. A part that its thread has not begun when the caller is done
 * with its own is done by the caller. */
WF_API void wf_par_for(int threads, int64_t n, int64_t grain, wf_par_fn *fn, void *context);

/* A team: fn runs once on each of `threads` threads (fewer if fewer are to be had: `size` says),
 * which may meet: every member comes to a barrier, and to each of them. */
typedef struct wf_team wf_team;
typedef void wf_team_fn(void *context, wf_team *team, int id, int size);
WF_API void wf_par_team(int threads, wf_team_fn *fn, void *context);
WF_API void wf_team_barrier(wf_team *team);

/* The largest number of threads that shared a region since the last call of this function. */
WF_API int wf_par_width(void);

/* Floating-point state: enter sets round-to-nearest, no traps and flush-to-zero, and returns what
 * was; leave gives that back, sticky flags included, unless it was the same: then nothing is
 * written, and flags may have been raised. enter_exact leaves denormals what they are: for numbers
 * that are stored, converted or read. Pairs nest, each on one thread; nothing is kept but the
 * register, so that a pair whose end a longjmp passes over misleads no later one. Such a caller
 * keeps the state of kernels; leave(state) with a state taken before setjmp (enter, then leave)
 * gives back its own. Elsewhere than on x86-64 the C library does it, and denormals always stay. */
WF_API uint32_t wf_fp_enter(void);
WF_API uint32_t wf_fp_enter_exact(void);
WF_API void wf_fp_leave(uint32_t state);

/* For a whole function: `WF_FP_SCOPE uint32_t fp = wf_fp_enter();` is left with its block, by
 * whatever way, by a C++ exception too if the file is compiled with -fexceptions. */
#define WF_FP_SCOPE __attribute__((cleanup(wf_fp_scope_end), unused))
static inline void wf_fp_scope_end(const uint32_t *state)
{
    wf_fp_leave(*state);
}

WF_END

#endif
