/* The checkers: every op, any function of vars, proved against central differences in double. */
#ifndef WEFT_AUTOGRAD_CHECK_H
#define WEFT_AUTOGRAD_CHECK_H

#include "autograd/module.h"
#include "autograd/op.h"

WF_BEGIN

/* What was found: ok, or in text the op, input and element, both figures and how far apart. */
typedef struct wf_report {
    bool ok;
    int64_t checked;                               /* derivatives compared */
    double worst;                                  /* error, relative to its Jacobian's largest */
    /* Of gradcheck: within two steps of a kink, decided by shorter steps; text names the first. */
    int64_t kinks;
    char text[1024];
} wf_report;

typedef struct wf_check_options {
    double tolerance;                              /* of the Jacobian's largest; 0: 1e-6 */
    /* Of the differences (five points); 0: 1e-4; times the value where that is beyond 1. */
    double step;
    uint64_t seed;                                 /* of the inputs and cotangents */
    wf_module *module;                             /* gradcheck: its parameters are checked too */
    bool first_order_only;                         /* gradcheck: leave second derivatives out */
    const void *reserved[4];
} wf_check_options;

/* A row on all its samples: full Jacobians; backward adds to gradients that are not zero, is linear
 * in the cotangents, and gives nothing for none; inputs contiguous, transposed, stepped, expanded,
 * repeated, used before and after, empty; any subset of gradients wanted and of cotangents absent,
 * swept and as a graph; backward equal to gradient (or to the reference differentiated) by value;
 * second derivatives, and their symmetry; reference equal to forward; infer mode equal to
 * recording; f32 close to f64. What the row claims is so: what is declared to be read is read and
 * nothing else, rows and elements can be computed apart, products are products, random rows draw.
 * NaN, infinities, both zeros and ties are planted in inputs and cotangents: backward, gradient and
 * reference, layouts and precisions answer alike. Made large, a sample gives the bits of one thread
 * on several. A sample within two steps of a kink, and a row or sample that cannot be run, is told
 * in one sentence. */
WF_API wf_report wf_op_check(const wf_op *op, const wf_check_options *options);

/* fn computes up to WF_CHECK_OUTPUTS outputs from the inputs (leaves in double) and says how many;
 * false if it failed. It may be called many times and must be deterministic. inputs give shapes and
 * values; I32 ones are passed as they are. A value at a kink (relu at 0) has no derivative, and
 * fails; one near by is told. The outputs are the same in eval mode and in infer mode. */
typedef bool wf_check_fn(wf_tape *t, void *context, wf_var *const in[],
                         wf_var *out[WF_CHECK_OUTPUTS], int *n_out);
WF_API wf_report wf_gradcheck(wf_check_fn *fn, void *context, int n_in, const wf_tensor in[],
                              const wf_check_options *options);

WF_END

#endif
