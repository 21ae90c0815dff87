/* The two sweeps, over kernels and over graphs, and what they share. */
#ifndef WEFT_AUTOGRAD_SWEEP_PRIVATE_H
#define WEFT_AUTOGRAD_SWEEP_PRIVATE_H

#include "autograd/memory_private.h"
#include "autograd/param_grad_private.h"

/* A sweep or a commit begins, and ends with the block of `WF_SWEEP calling before = sweep_begin(t,
 * who);`: meanwhile no other one does. before.tape is NULL after failing the tape. */
calling sweep_begin(wf_tape *t, const char *who);
void sweep_end(const calling *before);
#define WF_SWEEP __attribute__((cleanup(sweep_end), unused))
/* Marks what leads to a target among the nodes after `low` (NULL: all). */
void sweep_mark(wf_tape *t, node *low);
/* Enters the outputs and cotangents of a sweep (NULL: one for a scalar) into the given arrays;
 * false after failing the tape. */
bool sweep_enter(wf_tape *t, const char *who, int n, wf_var *const out[], wf_var *const cotangent[],
                 wf_var *out_here[], wf_var *cotangent_here[]);
/* Sweeps the whole tape; targets are flagged VAR_NEEDED | VAR_HELD before. With `who`, fails
 * when nothing leads to a target. With `culprit`, stops at the first node that leaves a value
 * that is not finite in a gradient, and names it there. */
bool sweep_run(wf_tape *t, const char *who, int n, wf_var *const out[], wf_var *const cotangent[],
               const node **culprit);

enum { OP_LOOP = 1 << 30 }; /* of a row: it is a planned loop's (autograd/plan_private.h) */
/* Of such a row: bit i says that its output is made of input i, and so that a gradient
 * leads there; the last bit speaks of all further ones. */
uint64_t loop_inputs(const wf_op *op, int output);
/* Records a node's reference on these inputs; its visible outputs are judged. False after failing
 * the tape. */
bool node_reference(wf_tape *t, const node *n, wf_var *const in[], wf_var *made[]);

/* ---- gradients (autograd/partial.c) ---- */

/* Zeroed memory from the gradient pool; NULL after failing the tape. */
void *grad_new(wf_tape *t, int64_t bytes);
/* A root's gradient begins, a parameter's where it will be read: at zero, or as what is about to be
 * written whole. False after failing the tape. */
bool grad_begin(wf_tape *t, wf_var *root, bool zeros);
/* Puts aside what a root has gathered, if it is enough; and adds up what was put aside. */
bool grad_fold(wf_tape *t, wf_var *root);
void grad_join(wf_tape *t, wf_var *root);
/* A contribution to the whole of a gradient counts as a unit, one to a share of it as much less; a
 * run of so many is put aside. */
enum { GRAD_UNIT = 1 << 16, GRAD_RUN = 64 };
static inline uint32_t grad_units(double share)
{
    return share < 1 ? (uint32_t)(share * GRAD_UNIT) + 1 : GRAD_UNIT;
}

/* Does the gradient of v lead to a target? */
static inline bool grad_wanted(const wf_var *v)
{
    return v->flags & VAR_WANTS_GRAD && v->root->flags & VAR_NEEDED;
}

static inline bool grad_arrived(const wf_var *root)
{
    return root->grad || root->partials;
}

/* A var's gradient as a tensor: its root's, made if need be, seen as the var sees its root. */
static inline bool grad_view(wf_tape *t, wf_var *v, wf_tensor *out)
{
    wf_var *root = v->root;
    if (!root->grad && !grad_begin(t, root, true)) return false;
    *out = v->value;
    out->data = (char *)root->grad + ((char *)v->value.data - (char *)root->value.data);
    return true;
}

/* Notes for a parameter's gradient, which was begun, what is about to be added to. */
static inline bool grad_named(wf_tape *t, wf_var *root, const wf_tensor *ids)
{
    return !(root->flags & VAR_LANDS) || param_grad_name(t, ((imported *)root)->swept, ids);
}

/* The gradient is whole from here on. */
static inline void grad_settle(wf_tape *t, wf_var *root)
{
    root->gathered = 0;
    if (root->partials) grad_join(t, root);
}

static inline void grad_drop(wf_tape *t, wf_var *root)
{
    grad_settle(t, root);
    if (!root->grad) return;
    if (root->flags & VAR_LANDS) {
        imported *of = (imported *)root;
        param_grad_give(of->param, of->swept);
        of->swept = NULL;
    } else {
        pool_give(&t->grads, root->grad, root->bytes);
    }
    root->grad = NULL;
}

/* Are all its numbers finite? Row-major ones are looked at as they lie, by several threads. */
bool tensor_finite(const wf_tensor *x, int threads);
void bytes_zero(int threads, void *at, int64_t bytes);
bool numbers_finite(wf_dtype dtype, int64_t n, const void *x);

/* ---- words for what is not finite (autograd/blame.c) ---- */

/* "nan" or "infinite": what of the two is in x, NaN before infinity. */
const char *tensor_word(const wf_tensor *x);
/* Each fails the tape with what is not finite and where it came from: a loss, and a parameter's
 * gradient (culprit NULL: the sweep found none). */
void blame_value(wf_tape *t, const wf_var *loss);
void blame_gradient(wf_tape *t, const char *path, const char *what, const node *culprit, int n,
                    wf_var *const cotangent[]);

extern const wf_op op_add_into;
typedef struct add_into_attr {
    int64_t offset; /* elements from the base's first */
    int64_t rank;
    int64_t dim[WF_RANK], stride[WF_RANK];
} add_into_attr;
void add_into_layout(const wf_tensor *base, const add_into_attr *a, wf_tensor *view);

#endif
