/* The check of one row: what its parts share, and the parts. Not installed. */
#ifndef WEFT_AUTOGRAD_CHECK_ROW_PRIVATE_H
#define WEFT_AUTOGRAD_CHECK_ROW_PRIVATE_H

#include "autograd/check_private.h"

typedef struct op_check {
    const wf_op *op;
    wf_report *report;
    wf_tape *t;
    check_pool pool;
    double tolerance, step;
    uint64_t key;
    check_case c;
    wf_sample sample, empty;       /* the present one; with sizes put to 0 */
    wf_tensor form[2][CHECK_VARS]; /* what shape sees, and fills */
    check_harness harness;         /* all plain, in double */
    check_harness other;           /* another, of whoever needs one for a moment */
    bool guess;                    /* a sample with sizes put to 0: may be refused */
    bool sweeps;                   /* it has a backward, and what it would be called for */
    double *jacobian;              /* rows x columns, by differences */
    double *cotangent, *gradient;  /* rows; columns: what backward made of it */
    double *work[6];               /* rows + columns each */
    uint32_t skip;                 /* laws */
    bool own_large;                /* the row brings samples that are large: others stay small */
    int large;                     /* samples that could be made large */
    bool differed;                 /* where values are special, the row's spellings do */
    uint32_t shown;                /* claims that a sample has shown: SHOWN_... */
    uint32_t read_in, read_out, read_check; /* what was seen to be read */
    uint64_t kinds;                /* a hash of which special values the kernels gave */
} op_check;

bool check_no_memory(op_check *k);
/* Memory for the numbers of input i, and they rounded to floats in it; NULL: there is none. */
double *check_rounded(op_check *k, int i);
/* What rounding alone may do to a difference of y. */
double check_noise(const op_check *k, double largest_y);

/* The parts, in their order; each false after failing the report. The harness is set and forward
 * has run. */
bool check_jacobian(op_check *k); /* fills jacobian and gradient */
bool check_handed_over(
    op_check *k); /* subsets, begun, wanted, threads, declared reads, layouts, single precision */
/* On a tape: applies the op to plain leaves and learns the key of its random numbers. */
bool check_tape_first(op_check *k);
bool check_tape(op_check *k);   /* the sweep: plain, through views, repeated, in company */
bool check_orders(op_check *k); /* gradient by value, second derivatives, reference */
/* Values in infer mode; backward linear; graphs of some gradients, from some outputs; symmetry. */
bool check_laws(op_check *k);
/* What the row claims; and at the end, whether a sample has shown each claim. */
enum {
    SHOWN_ELEMENTWISE = 1,
    SHOWN_VARYING = 2,
    SHOWN_PRODUCT = 4,
    SHOWN_KEY = 8,
    SHOWN_COUNTER = 16,
    SHOWN_LEADING = 32
};
bool check_facts(op_check *k);
bool check_facts_shown(op_check *k, const char *name);
/* The sample made large, on one thread and on several. */
bool check_large(op_check *k, const wf_sample *sample);
/* NaN, infinities, zeros and ties planted; as_it_is: only the sample itself, whose outputs are not
 * finite. */
bool check_special(op_check *k, bool as_it_is);

/* What the parts do on the tape: begin a step that draws what every other step of this check
 * draws; fail with the tape's sentence; enter an input. */
void check_tape_begin(op_check *k);
bool check_tape_failed(op_check *k, const char *check);
wf_var *check_tape_input(op_check *k, int i, const double *value, bool leaf);

/* The row applied on the tape, and how it is differentiated: from its outputs, with cotangents, by
 * inputs, each of them lists side by side. */
typedef struct check_taped {
    wf_var *in[CHECK_VARS], *out[CHECK_VARS];
    int outs, ins;
    wf_var *from[CHECK_VARS], *with[CHECK_VARS], *by[2 * CHECK_VARS];
} check_taped;

/* Applies the row, or its reference, to inputs of these numbers (NULL: the case's own), all but
 * those in `leaves` constants. False where that fails. */
bool check_tape_apply(op_check *k, bool reference, double *const value[], uint32_t leaves,
                      check_taped *r);
/* Differentiates the sources by the inputs in `wanted`, whose gradients' numbers go to `got`. False
 * after failing the report. */
bool check_tape_grad(op_check *k, const char *check, uint32_t wanted, bool graph, check_taped *r,
                     wf_var *grad[], double *got);
/* Lists the outputs in `present`, and the cotangents of them as constants or leaves. */
void check_tape_sources(op_check *k, check_taped *r, uint32_t present, const double *cotangent,
                        bool leaves);

/* wf_op_check without the laws in `skip` (so that a test can say which law it is that tells a
 * fault), and a hash of the kinds of number (NaN, infinite, finite) that the kernels gave for
 * special values, which is one at every dispatch level. kinds may be NULL. */
enum {
    LAW_INFER = 1,
    LAW_LINEAR = 2,
    LAW_GRAPHS = 4,
    LAW_SYMMETRIC = 8,
    LAW_SPECIAL = 16,
    LAW_LARGE = 32,
    LAW_FACTS = 64,
    LAW_WANTED = 128,
    LAW_LEADING = 256
};
wf_report op_check_without(uint32_t skip, const wf_op *op, const wf_check_options *options,
                           uint64_t *kinds);

#endif
