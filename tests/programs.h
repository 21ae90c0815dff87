/* Random steps for loops over time: any graph of ops over states, sequences and what is closed
 * over. A program is its numbers: the same ones make the same step, whatever rows it is given. */
#ifndef WEFT_TESTS_PROGRAMS_H
#define WEFT_TESTS_PROGRAMS_H

#include "tests/fixture.h"

enum { PROGRAM_CLOSED = 7, PROGRAM_OPS = 30 };

typedef struct program {
    uint64_t seed;
    int ops, sequences, states, outputs;
    int64_t time, batch;
    bool ragged, reverse;
    bool mixing; /* ops over rows, random draws */
    wf_dtype dtype;
} program;

/* What a program is run on: the same numbers on every tape. */
typedef struct program_vars {
    const program *p;
    wf_var *x[WF_SCAN_VARS], *initial[WF_SCAN_VARS], *closed[PROGRAM_CLOSED], *lengths;
    int32_t length[16];
} program_vars;

program program_drawn(uint64_t seed);
/* "seed 7: 3 ops, ..." */
const char *program_text(const program *p);

/* Leaves on a tape; closed[0] and [1] are the two parameters of net. */
bool program_vars_make(wf_tape *t, const program *p, wf_module *net, program_vars *v);
wf_module *program_net(const program *p); /* yours to free */

/* The step, as wf_scan calls it: context is a program_vars. */
wf_scan_step program_step;

/* By rows: `used[i]` becomes true when a step applies wf_op_at(i). */
enum { PROGRAM_ROWS = 128 };
extern bool program_used[PROGRAM_ROWS];

#endif
