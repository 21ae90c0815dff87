/* Gradients during a sweep: their memory, and sums over many uses that stay exact. A gradient that
 * T ops add to in turn would be one running sum, off by T roundings. After every 64 contributions
 * what has come together is put aside, and what is put aside is added pairwise as the digits of a
 * binary counter carry: the error is that of 64 + log2(T / 64) roundings (Higham 1993), at the
 * price of about one more pass in 64. The order is that of the nodes, whatever the threads. */
#include "autograd/sweep_private.h"
#include "tensor/par.h"

#include <string.h>

enum { LEVELS = 40 };

struct partials {
    void *level[LEVELS]; /* level k: the sum of 2^k folds, or NULL */
};

static void zero_part(void *context, int64_t begin, int64_t end)
{
    memset((char *)context + begin, 0, (size_t)(end - begin));
}

void bytes_zero(int threads, void *at, int64_t bytes)
{
    if (bytes < 1 << 18)
        memset(at, 0, (size_t)bytes);
    else
        wf_par_for(threads, bytes, 1 << 17, zero_part, at);
}

void *grad_new(wf_tape *t, int64_t bytes)
{
    void *g = tape_borrow(t, "backward", bytes);
    if (g) bytes_zero(t->threads, g, bytes);
    return g;
}

bool grad_begin(wf_tape *t, wf_var *root, bool zeros)
{
    imported *of = root->flags & VAR_LANDS ? (imported *)root : NULL;
    if (!of || of->swept) {
        root->grad = zeros ? grad_new(t, root->bytes) : tape_borrow(t, "backward", root->bytes);
        return root->grad != NULL;
    }
    if (!(of->swept = param_grad_take(t, of->param, zeros))) return false;
    root->grad = of->swept->whole.data;
    return true;
}

/* later is added to earlier, and its memory given back; or earlier to later, which is the same
 * sum, where that is what will be read. */
static void *join(wf_tape *t, const wf_var *root, void *earlier, void *later)
{
    if (!later) return earlier;
    if (root->flags & VAR_LANDS && later == ((const imported *)root)->swept->whole.data) {
        later = earlier;
        earlier = ((const imported *)root)->swept->whole.data;
    }
    wf_tensor sum = root->value, more = root->value;
    sum.data = earlier;
    more.data = later;
    wf_tensor_accumulate(&more, &sum, 1, t->threads);
    pool_give(&t->grads, later, root->bytes);
    return earlier;
}

bool grad_fold(wf_tape *t, wf_var *root)
{
    if (root->gathered < GRAD_RUN * GRAD_UNIT) return true; /* or folded for another input */
    if (!root->partials && !(root->partials = grad_new(t, sizeof *root->partials))) return false;
    void **level = root->partials->level, *sum = root->grad;
    root->grad = NULL;
    root->gathered = 0;
    for (; *level; level++) {
        sum = join(t, root, *level, sum);
        *level = NULL;
    }
    *level = sum;
    return true;
}

void grad_join(wf_tape *t, wf_var *root)
{
    void *sum = root->grad;
    for (int k = 0; k < LEVELS; k++)
        if (root->partials->level[k]) sum = join(t, root, root->partials->level[k], sum);
    root->grad = sum;
    pool_give(&t->grads, root->partials, sizeof *root->partials);
    root->partials = NULL;
}

/* ---- finite? ---- */

bool numbers_finite(wf_dtype dtype, int64_t n, const void *x)
{
    return wf_dtype_describe(dtype)->finite(n, x, 1);
}

typedef struct finite_loop {
    const wf_tensor *x;
    _Atomic(bool) found; /* one that is not */
} finite_loop;

static void look(void *context, int64_t begin, int64_t end)
{
    finite_loop *l = context;
    const void *from = wf_element(l->x->dtype, l->x->data, begin);
    if (!numbers_finite(l->x->dtype, end - begin, from)) l->found = true;
}

bool tensor_finite(const wf_tensor *x, int threads)
{
    int64_t n = wf_tensor_count(x);
    if (!wf_dtype_is_float(x->dtype) || n == 0) return true;
    if (!wf_tensor_is_contiguous(x)) {
        for (int64_t i = 0; i < n; i++) {
            double value = wf_tensor_at(x, i);
            if (!(value - value == 0)) return false;
        }
        return true;
    }
    finite_loop l = { .x = x };
    wf_par_for(threads, n, 1 << 14, look, &l);
    return !l.found;
}
