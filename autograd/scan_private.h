/* A call of wf_scan as it is on its tape, between the part that judges it and those that run it.
 * Not installed. */
#ifndef WEFT_AUTOGRAD_SCAN_PRIVATE_H
#define WEFT_AUTOGRAD_SCAN_PRIVATE_H

#include "autograd/private.h"
#include "autograd/scan.h"
#include "tensor/sequence.h"

/* Where an input of a traced node comes from: a sequence's slice, an earlier result, or what is
 * closed over. */
typedef struct source {
    const wf_var *of; /* the traced input; NULL: left out */
    int x;            /* of sequence x; -1: of none */
    const struct hoisted *result;
} source;

/* A node of the traced step, and its result if that is there before the loop. */
typedef struct hoisted {
    const node *node;
    source *from; /* one for each input */
    wf_var *all;  /* of all rows, or the same for all; NULL: it is for each step */
    bool rows;
} hoisted;

/* What a step is handed: in the order in which it applies ops. */
typedef struct replay {
    int64_t n, next;
    int64_t begin, rows; /* of the step that runs */
    wf_var *const *x;    /* and its slices */
    hoisted at[];
} replay;

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
    bool even;                   /* all sequences are of one length: rows are in their order */
    wf_var *ids;                 /* (rows) I32: of each row i * batch + sequence; NULL if even */
    wf_var *rows[WF_SCAN_VARS];  /* (rows, ...): of x, row-major; NULL: not made yet */
    replay *replay;              /* NULL: nothing is computed before the loop */
} scan;

/* The rows of sequence i that are there, (rows, ...), row-major. NULL after failing the tape. */
wf_var *scan_rows(wf_tape *t, scan *s, int i);
/* Computes what depends on no state, as far as it may run ahead, for all steps. False after failing
 * the tape. */
bool scan_hoist(wf_tape *t, scan *s);
/* Calls the step on n rows. next holds the states before it and receives those after it, y the
 * outputs; both as they are on the tape, in the forms that they must have: of the first step's
 * outputs, first holds NULLs. False after failing the tape. */
bool scan_step(wf_tape *t, const scan *s, int64_t n, wf_var *const x[], wf_var *next[], wf_var *y[],
               wf_var *const first[]);
/* Step by step, in ops: the meaning of every loop. False after failing the tape. */
bool scan_loop(wf_tape *t, scan *s);

#endif
