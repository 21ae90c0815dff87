/* The one door to threads: a parallel loop and a team with a barrier. Floating point inside is
 * round-to-nearest with denormals flushed to zero; the caller's state is given back untouched. */
#ifndef WEFT_TENSOR_PAR_H
#define WEFT_TENSOR_PAR_H

#include "tensor/api.h"

WF_BEGIN

typedef void wf_par_fn(void *context, int64_t begin, int64_t end);

/* Calls fn over [0, n) in parts whose ends are multiples of grain (the last excepted), on at
 * most `threads` threads and never more than wf_threads(). One part: called directly. fn must
 * give the same result however [0, n) is cut. From inside another parallel region it runs
 * serially, and in a process forked from one that had threads. Fewer threads where the system
 * gives no more; that is logged once. */
WF_API void wf_par_for(int threads, int64_t n, int64_t grain, wf_par_fn *fn, void *context);

/* A team: fn runs once on each of `threads` threads (fewer if fewer are to be had: `size` says),
 * which may meet. */
typedef struct wf_team wf_team;
typedef void wf_team_fn(void *context, wf_team *team, int id, int size);
WF_API void wf_par_team(int threads, wf_team_fn *fn, void *context);
WF_API void wf_team_barrier(wf_team *team);

/* The largest number of threads that really ran at once in a region since the last call of this
 * function. */
WF_API int wf_par_width(void);

/* Floating-point state: enter sets round-to-nearest and flush-to-zero and returns what was;
 * leave restores it. Cheap, and nothing is written when the state is already right. Pairs nest,
 * each on one thread; only the outermost does anything. */
WF_API uint32_t wf_fp_enter(void);
WF_API void wf_fp_leave(uint32_t state);

WF_END

#endif
