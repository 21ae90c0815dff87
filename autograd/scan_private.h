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
    bool varied; /* its attributes depend on how many rows there are */
} hoisted;

/* What a step is handed: in the order in which it applies ops. */
typedef struct replay {
    int64_t n, next;
    int64_t begin, rows; /* of the step that runs */
    wf_var *const *x;    /* and its slices */
    hoisted at[];
} replay;

/* A step, recorded once on shapes alone: B rows without numbers. */
typedef struct traced_step {
    uint64_t epoch; /* what is of it or later was made while tracing */
    node *first;    /* its nodes, which stay out of the tape; NULL: none */
    int64_t nodes;
    wf_var *x[WF_SCAN_VARS], *state[WF_SCAN_VARS], *next[WF_SCAN_VARS], *y[WF_SCAN_VARS];
} traced_step;

typedef struct scan {
    const char *name;
    const char *const *state_names;
    wf_scan_step *step;
    const void *context;
    int sequences, states, outputs;
    int64_t time, batch;
    bool reverse, plain;
    wf_var *x[WF_SCAN_VARS];     /* (T, B, ...) */
    wf_var *state[WF_SCAN_VARS]; /* (B, ...): initial, at the end final */
    wf_var *y[WF_SCAN_VARS];     /* (T, B, ...): at the end */
    wf_seq_plan plan;            /* rows: longest sequence first */
    bool even;                   /* all sequences are of one length: rows are in their order */
    bool sorted;                 /* sequences came longest first */
    wf_var *order, *place; /* (B) I32: row r is sequence order[r]; the way back; NULL if even */
    wf_var *ids;                 /* (rows) I32: of each row i * batch + sequence; NULL if even */
    wf_var *rows[WF_SCAN_VARS];  /* (rows, ...): of x, row-major; NULL: not made yet */
    replay *replay;              /* NULL: nothing is computed before the loop */
    bool refused;                /* a check refused a value: which one, the steps say themselves */
} scan;

/* Puts sequences in order. False after failing the tape. */
bool scan_begin(wf_tape *t, scan *s);
/* The rows of sequence i that are there, (rows, ...), row-major. NULL after failing the tape. */
wf_var *scan_rows(wf_tape *t, scan *s, int i);
/* Rows of x (n, ...) by id. */
wf_var *scan_rows_of(wf_tape *t, wf_var *x, wf_var *ids);
/* x (time * batch, ...) as (time, batch, ...). */
wf_var *scan_with_time(wf_tape *t, const scan *s, wf_var *x);
/* Do the numbers of each row of x, behind axis 0, lie side by side? */
bool scan_rows_run(const wf_tensor *x);
/* Records the step on n rows. False: it is not to be had by shapes alone, and the tape is as it
 * was, or has failed; with `needed` it has, which is said. */
bool scan_trace(wf_tape *t, const scan *s, int64_t n, bool needed, traced_step *to);
/* Computes for all steps what depends on nothing but constants, and what is looked up by sequences'
 * rows; with `products` their products too. False after failing the tape. */
bool scan_hoist(wf_tape *t, scan *s, const traced_step *step, bool products);
/* Runs the loop by a plan. *done: it did; else there is none. False after failing the tape. */
bool scan_planned(wf_tape *t, scan *s, const traced_step *step, bool *done);
/* Calls the step on n rows. next holds the states before it and receives those after it, y the
 * outputs; both as they are on the tape, in the forms that they must have: of the first step's
 * outputs, first holds NULLs. False after failing the tape. */
bool scan_step(wf_tape *t, const scan *s, int64_t n, wf_var *const x[], wf_var *next[], wf_var *y[],
               wf_var *const first[]);
/* Step by step, in ops: the meaning of every loop. False after failing the tape. */
bool scan_loop(wf_tape *t, scan *s);

#endif
