/* A loop over time: a step, written in ops, run on one slice of sequences after another, with
 * states that are carried from step to step. What wf_rnn is made of, and what a loop of your own
 * is: a decoder, a filter, an optimiser unrolled. */
#ifndef WEFT_AUTOGRAD_SCAN_H
#define WEFT_AUTOGRAD_SCAN_H

#include "autograd/op.h"

WF_BEGIN

/* One step on n of the B rows: x[i] (n, ...) is a slice of sequence i; state[k] (n, ...) is the
 * state before the step, to be replaced by the one after it, of the same shape and dtype; y[j],
 * NULL at first, receives output j, (n, ...). A pure function of these, of context and of the vars
 * and parameters that it refers to, which are the same at every step and get the sum of their
 * gradients. The rows are the sequences that go on at this step, longest first: a step that mixes
 * rows sees only those. A loop of three steps or more calls it once before, on shapes alone (B rows
 * without numbers: wf_item and wf_at give NaN, wf_data and wf_value NULL), so that products and
 * lookups that depend on no state are done for all steps at once; a step that reads values runs all
 * the same, without that. After a failure (wf_tape_ok) it may just return. */
typedef void wf_scan_step(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                          wf_var *y[]);

/* What one call is given; at most WF_SCAN_VARS sequences, states and outputs each. */
typedef struct wf_scan_call {
    wf_scan_step *step;             /* required */
    const void *context;            /* handed to step; must be good until the tape's reset */
    wf_vars sequences;              /* (T, B, ...) each, floats or ids; or none, and then: */
    int64_t time;                   /* T; 0: as long as the sequences */
    wf_vars initial;                /* the states to begin with, (B, ...) each, floats or ids */
    int outputs;                    /* how many a step makes */
    wf_var *lengths;                /* I32 (B), each 0..T in any order; NULL: all T */
    bool reverse;                   /* each sequence from its own last step to its first */
    const char *name;               /* begins the messages; NULL: "scan" */
    const char *const *state_names; /* one for each state, in messages; NULL: their numbers */
    const void *reserved[8];
} wf_scan_call;

/* Runs the steps in order. output[j] becomes output j of all steps, (T, B, ...), exactly zero past
 * a sequence's end, and final[k] (unless final is NULL) state k after each sequence's last step,
 * (B, ...): of an empty sequence its initial one. Both may be the arrays that the call names.
 * False, and NULLs, after failing the tape. Nothing past a sequence's end is read or computed. A
 * call without any step (T = 0, or all sequences empty) records one by shapes alone, to know what
 * its outputs are: that step may read no value. */
WF_API bool wf_scan(wf_tape *t, const wf_scan_call *call, wf_var *output[], wf_var *final[]);

WF_END

#endif
