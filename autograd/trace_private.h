/* A trace: ops are entered, shaped and recorded as always, but not run. Their values have
 * addresses, apart from each other, and no memory; no row's check is called and no random number
 * drawn. What reads a value meanwhile fails the tape. Not installed. */
#ifndef WEFT_AUTOGRAD_TRACE_PRIVATE_H
#define WEFT_AUTOGRAD_TRACE_PRIVATE_H

#include "autograd/private.h"

struct trace {
    node *before;             /* the tape's last node when it began */
    uint64_t epoch;
    int64_t bytes;            /* what all its values would take, which is the next one's address */
    struct traced_view *views; /* of values without memory, the last first */
    bool quiet;                /* what fails is not said: the caller goes on without a trace */
    const char *hint;          /* said to who reads a value meanwhile; NULL: nothing */
    struct trace *outer;       /* the trace that goes on meanwhile, or NULL */
    const char *sweeping;      /* and what had not ended when this one began */
};

/* Vars in whose place others are used: var[i] for root[i], of the same form and memory. While there
 * are some, `fresh` is beyond all epochs, so that every input is looked at. */
typedef struct stand_ins {
    int32_t n;
    wf_var *const *root, *const *var;
} stand_ins;

/* From here on ops are recorded only; within another trace or a sweep, too. False after failing
 * the tape. */
bool trace_begin(wf_tape *t, trace *r);
/* No longer. False if the tape failed meanwhile. */
bool trace_end(wf_tape *t, trace *r);
/* After its end: gives the values memory and runs the nodes in the order of recording, which leaves
 * the tape as if they had been run at once. Or its nodes stay as they are, to be rewound. False
 * after failing the tape. */
bool trace_run(wf_tape *t, trace *r);

/* May x's numbers be read? False of NULL, and after failing its tape of what has no memory yet. */
bool var_readable(const wf_var *x);

/* Of apply: addresses for the outputs of an op, side by side, in place of memory. */
bool trace_outputs(wf_tape *t, const char *who, int n, wf_var out[]);
/* Notes a view of a value without memory. */
bool trace_view(wf_tape *t, wf_var *v);
/* The result of the next op of a loop's step, if it has been computed before the loop. */
wf_var *replay_next(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], const void *attr);
/* Adds a node for a var that is there to the tape. NULL after failing it. */
node *node_record(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], wf_var *out,
                  const void *attr);
/* Memory for the outputs of a node that was recorded without, and their values. */
bool node_allocate(wf_tape *t, node *n);
bool node_run(wf_tape *t, node *n);

#endif
