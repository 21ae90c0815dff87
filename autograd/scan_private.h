/* A call of wf_scan as it is on its tape, between the part that judges it and those that run it.
 * Not installed. */
#ifndef WEFT_AUTOGRAD_SCAN_PRIVATE_H
#define WEFT_AUTOGRAD_SCAN_PRIVATE_H

#include "autograd/scan.h"
#include "tensor/sequence.h"

typedef struct scan {
    const char *name;
    const char *const *state_names;
    wf_scan_step *step;
    const void *context;
    int sequences, states, outputs;
    int64_t time, batch;
    bool reverse;
    wf_var *x[WF_SCAN_VARS];     /* (T, B, ...) */
    wf_var *state[WF_SCAN_VARS]; /* (B, ...): initial, at the end final */
    wf_var *y[WF_SCAN_VARS];     /* (T, B, ...): at the end */
    wf_seq_plan plan;            /* rows: longest sequence first */
} scan;

/* Calls the step on n rows. next holds the states before it and receives those after it, y the
 * outputs; both as they are on the tape, in the forms that they must have: of the first step's
 * outputs, first holds NULLs. False after failing the tape. */
bool scan_step(wf_tape *t, const scan *s, int64_t n, wf_var *const x[], wf_var *next[], wf_var *y[],
               wf_var *const first[]);
/* Step by step, in ops: the meaning of every loop. False after failing the tape. */
bool scan_loop(wf_tape *t, scan *s);

#endif
