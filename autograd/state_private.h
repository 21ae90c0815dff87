/* The floating-point state in which ops and sweeps run, and how a jump out of one is mended. */
#ifndef WEFT_AUTOGRAD_STATE_PRIVATE_H
#define WEFT_AUTOGRAD_STATE_PRIVATE_H

#include "autograd/private.h"
#include "tensor/par.h"

/* The floating-point state in which ops and sweeps run, to the end of the block that declares
 * `WF_TAPE_SCOPE tape_scope inside = tape_enter(t);`. The tape knows the caller's, so that a reset
 * gives it back where a longjmp out of an op passed over the end. */
typedef struct tape_scope {
    wf_tape *tape;            /* NULL: within another one */
    uint32_t fp;
} tape_scope;
#define WF_TAPE_SCOPE __attribute__((cleanup(tape_leave), unused))

static inline tape_scope tape_enter(wf_tape *t)
{
    tape_scope s = { t && !t->inside ? t : NULL, wf_fp_enter() };
    if (s.tape) {
        t->inside = true;
        t->callers_fp = s.fp;
    }
    return s;
}

static inline void tape_leave(const tape_scope *s)
{
    if (s->tape) s->tape->inside = false;
    wf_fp_leave(s->fp);
}

/* After such a jump the thread is still in the state of kernels. */
static inline void tape_give_back(wf_tape *t)
{
    if (t->inside) wf_fp_leave(t->callers_fp);
    t->inside = false;
}

#endif
