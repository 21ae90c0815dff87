/* Where parameters' gradients lie. A parameter has no memory for one until a sweep first needs it;
 * what was committed is cleared into the parameter's spare ones, where the next sweep finds it, so
 * that a steady loop asks the heap for nothing. */
#include "autograd/param_grad_private.h"
#include "autograd/sweep_private.h"
#include "tensor/runtime.h"

enum { HEADER = (sizeof(param_grad) + 63) / 64 * 64 };

static int64_t grad_bytes(const param_grad *g)
{
    return wf_tensor_count(&g->whole) * wf_dtype_size(g->whole.dtype);
}

param_grad *param_grad_take(wf_tape *t, param *p)
{
    param_grad *g = NULL;
    for (int k = 0; !g && k < SPARE_GRADS; k++) g = atomic_exchange(&p->spare[k], NULL);
    if (!g) {
        int64_t bytes = wf_tensor_count(&p->var.value) * wf_dtype_size(p->var.value.dtype);
        if (!(g = wf_alloc(HEADER + (size_t)bytes))) {
            tape_fail_oom(t, "backward", bytes);
            return NULL;
        }
        g->whole = p->var.value;
        g->whole.data = (char *)g + HEADER;
    }
    bytes_zero(t->threads, g->whole.data, grad_bytes(g));
    return g;
}

void param_grad_give(param *p, param_grad *g)
{
    for (int k = 0; g && k < SPARE_GRADS; k++) {
        param_grad *none = NULL;
        if (atomic_compare_exchange_strong(&p->spare[k], &none, g)) g = NULL;
    }
    wf_release(g);
}

void param_grad_add(int threads, param_grad *to, const param_grad *from)
{
    wf_tensor_accumulate(&from->whole, &to->whole, 1, threads);
}

void param_grad_commit(wf_tape *t, param *p, param_grad *g)
{
    p->grad_version++;
    if (!p->grad) {
        p->grad = g;
        return;
    }
    param_grad_add(t->threads, p->grad, g);
    param_grad_give(p, g);
}

void param_grad_clear(param *p)
{
    param_grad_give(p, p->grad);
    p->grad = NULL;
}

void param_grads_free(param *p)
{
    wf_release(p->grad);
    for (int k = 0; k < SPARE_GRADS; k++) wf_release(p->spare[k]);
}
