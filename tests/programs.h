/* Random steps for loops over time: any graph of ops over states, sequences and what is closed
 * over. A program is its numbers: the same ones make the same step, whatever rows it is given. */
#ifndef WEFT_TESTS_PROGRAMS_H
#define WEFT_TESTS_PROGRAMS_H

#include "tests/fixture.h"

enum { PROGRAM_CLOSED = 10, PROGRAM_OPS = 30, PROGRAM_SIZES = 7 };

typedef struct program {
    uint64_t seed;
    int ops, sequences, states, outputs;
    int size; /* of its widths: program_width */
    int64_t time, batch;
    int threads;     /* on which it is to have the bits that it has on one */
    uint32_t chosen; /* which of outputs and final states a cotangent is given to */
    bool ragged, reverse;
    bool mixing; /* ops over rows, random draws */
    bool second; /* second derivatives, too */
    bool plain;  /* the plain loop is what is looked at, not the plan */
    wf_mode mode;
    wf_dtype dtype;
    bool finer;         /* f32, with some of it in f64 */
    wf_scan_step *step; /* NULL: the random one; else every sequence and state is (width 0) */
} program;

/* What a program is run on: the same numbers on every tape. Closed over, for widths a and b, are
 * (a, b), (a), (b, a), (7, a), (b), (), (a, a), (a, 2 a), (3 a, a) and (a). */
typedef struct program_vars {
    const program *p;
    wf_var *x[WF_SCAN_VARS], *initial[WF_SCAN_VARS], *leaf[PROGRAM_CLOSED];
    wf_var *closed[PROGRAM_CLOSED], *lengths;
    int32_t length[64];
} program_vars;

program program_drawn(uint64_t seed);
int64_t program_width(const program *p, int k); /* k: 0..2 */
/* "seed 7: 3 ops, ..." */
const char *program_text(const program *p);

/* Leaves on a tape, of which [0] and [1] of `leaf` are the two parameters of net; and what a step
 * is closed over: leaves, and what was made of leaves. */
bool program_vars_make(wf_tape *t, const program *p, wf_module *net, program_vars *v);
bool program_vars_close(wf_tape *t, program_vars *v);
wf_module *program_net(const program *p); /* yours to free */

/* The step, as wf_scan calls it: context is a program_vars. */
wf_scan_step program_step;

/* By rows: `used[i]` becomes true when a step applies wf_op_at(i). */
enum { PROGRAM_ROWS = 128 };
extern bool program_used[PROGRAM_ROWS];

/* ---- whether a loop does what its steps say ---- */

/* Does the loop give what the same steps give by hand, one sequence at a time, or for more than
 * five rows or nine steps in the plain loop: outputs, final states, first and second derivatives?
 * If not, why. What may differ is stated in tests/program_runs.c. */
bool program_agrees(const program *p, char why[static 200]);

/* How many of the programs from..from + count - 1 do not; the first of them is told, with a smaller
 * one that does not either. */
int programs_failing(uint64_t from, uint64_t count, char told[static 700]);

/* So far: the loops that were run, and those of them that had a plan. */
extern struct program_counts {
    int64_t loops, planned;
} program_counts;

/* Threads are used where there is little to do, too: a suite that links tests/eager.c. */
extern bool program_eager;

#endif
