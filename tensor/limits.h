/* The bounds that the library sets, each in this one place. What is beyond one is refused with a
 * sentence that says so. */
#ifndef WEFT_TENSOR_LIMITS_H
#define WEFT_TENSOR_LIMITS_H

enum {
    WF_RANK = 8,            /* the highest rank */
    WF_THREADS = 64,        /* of a parallel loop */
    WF_ALIGNMENT = 64,      /* bytes: a cache line, the widest vector */
    WF_WALK_OPERANDS = 8,   /* of one walk (tensor/walk.h) */
    WF_OP_OUTPUTS = 16,     /* of an op, hidden ones among them */
    WF_ROW_BYTES = 1 << 20, /* of an op's attr, a rule's options, a cell */
    WF_SAMPLE_INPUTS = 16,  /* of an op that is checked */
    WF_SAMPLE_ATTR = 256,   /* bytes of attr in a sample */
    WF_CHECK_OUTPUTS = 8,   /* of a function whose gradients are checked */
    WF_SCAN_VARS = 8,       /* sequences, states and outputs of a loop over time, each */
    WF_CELL_STATES = 8,     /* of a cell */
    WF_OPTIM_STATES = 4     /* buffers of an update rule, per parameter */
};

#endif
