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
 * rows sees only those. A loop of three steps or more calls it first on shapes alone (B rows
 * without numbers: wf_item and wf_at give NaN, wf_data and wf_value NULL; with .lengths once for
 * each number of rows) and mostly never again: the loop then runs by a plan (wf_scan_explain). A
 * step that reads values, or cannot be planned for other reasons, is called at every step. What it
 * is closed over has the rows of all B sequences only where all are of one length: rows leave as
 * sequences end, and lie longest first. After a failure (wf_tape_ok) it may just return. */
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
    bool plain;                     /* step by step, without a plan: for comparison */
    const char *name;               /* begins the messages; NULL: "scan" */
    const char *const *state_names; /* one for each state, in messages; NULL: their numbers */
    const void *reserved[8];
} wf_scan_call;

/* Runs the steps in order. output[j] becomes output j of all steps, (T, B, ...), exactly zero past
 * a sequence's end, and final[k] (unless final is NULL) state k after each sequence's last step,
 * (B, ...): of an empty sequence its initial one. Both may be the arrays that the call names.
 * False, and NULLs, after failing the tape. Nothing past a sequence's end is read or computed. A
 * call without any step (T = 0, or all sequences empty) records one by shapes alone, to know what
 * its outputs are: what is wrong with it is said, and it may read no value. */
WF_API bool wf_scan(wf_tape *t, const wf_scan_call *call, wf_var *output[], wf_var *final[]);

/* Lengths as they are on this tape, for a layer of one's own that hands them on or counts by them:
 * I32 (batch), each 0..time. NULL after failing the tape; what (as printf) begins the messages. */
WF_API wf_var *wf_enter_lengths(wf_tape *t, wf_var *lengths, int64_t time, int64_t batch,
                                const char *what, ...) WF_PRINTF(5, 6);

/* ---- how a loop runs ---- */

/* From begin to end every loop that runs on the tape adds to a text how it does: what is computed
 * once, for all steps before the loop, in each step and after it, what is kept for the way back,
 * or why it runs step by step. wf_explain adds to it as printf would, or nothing where no text was
 * begun: for sequences of your own. The text lives until the tape's reset, which also ends it; NULL
 * where none was begun, or the tape has failed. Begin within begin is refused. */
WF_API bool wf_explain_begin(wf_tape *t);
WF_API void wf_explain(wf_tape *t, const char *format, ...) WF_PRINTF(2, 3);
WF_API const char *wf_explain_end(wf_tape *t);
/* The same, and what was recorded since begin is taken off the tape (wf_tape_rewind), as if it had
 * drawn no random number: what a layer of your own tells of itself with. */
WF_API const char *wf_explain_forget(wf_tape *t);
/* Of one call: runs it, and the tape is as it was, but for the text. NULL after failing the tape.
 */
WF_API const char *wf_scan_explain(wf_tape *t, const wf_scan_call *call);

WF_END

#endif
