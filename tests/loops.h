/* Loops over time that several suites run for what they cost: layers of built-in cells, of users'
 * own, and a wf_scan with an op of its own that counts. */
#ifndef WEFT_TESTS_LOOPS_H
#define WEFT_TESTS_LOOPS_H

#include "tests/fixture.h"

enum { LOOP_LSTM, LOOP_GRU, LOOP_OWN_LSTM, LOOP_MGU, LOOP_SCAN, LOOPS };

typedef struct loop_size {
    int64_t time, batch, input, hidden;
} loop_size;

typedef struct loop {
    int kind;
    loop_size most; /* room for the numbers that it is run on */
    wf_module *net;
    wf_rnn *rnn; /* or NULL, and then: */
    wf_var *table, *weight_ih, *weight_hh, *bias;
    float *x;
    int32_t *ids;
    wf_var *y; /* output 0 of the last step that ran */
} loop;

const char *loop_name(int which);

/* False, with everything freed, when something could not be made; the reason is in *e. */
bool loop_make(loop *l, int which, loop_size most, wf_error *e);
void loop_free(loop *l);

/* Forward, and unless the tape infers, backward from every output, with the gradients of x and of
 * every parameter; what these hold before is cleared. lengths: one for each sequence, or NULL: all
 * of size.time. False when the tape failed. */
bool loop_step(loop *l, wf_tape *t, loop_size size, const int32_t *lengths);

/* Lengths between 0 and time, both included, that are others for each seed, but of one sum. */
void loop_lengths(uint64_t seed, loop_size size, int32_t *lengths);

/* What the op in LOOP_SCAN's step has done: a copy of its state, known to nobody. */
extern struct loop_counted {
    atomic_llong forward, backward, rows; /* calls, and rows of all forward calls */
} loop_counted;
const wf_op *loop_counting_op(void);

#endif
