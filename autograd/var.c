/* Reading vars: what they are and what they hold. Every function takes NULL quietly. */
#include "autograd/memory_private.h"
#include "autograd/trace_private.h"

#include <math.h>
#include <string.h>

bool var_readable(const wf_var *x)
{
    if (!x || !(x->flags & VAR_TRACED)) return x != NULL;
    const trace *r = x->tape->tracing;
    wf_fail(x->tape, "read: the value is not there: a step is being recorded%s",
            r && r->hint ? r->hint : "");
    return false;
}

int wf_rank(const wf_var *x)
{
    return x ? x->value.rank : 0;
}

int64_t wf_dim(const wf_var *x, int axis)
{
    if (!x) return 1;
    axis = wf_axis(x->value.rank, axis);
    return axis < 0 ? 1 : x->value.dim[axis];
}

wf_shape wf_shape_of(const wf_var *x)
{
    return x ? wf_tensor_shape(&x->value) : WF_SCALAR;
}

wf_dtype wf_dtype_of(const wf_var *x)
{
    return x ? x->value.dtype : WF_F32;
}
int64_t wf_count(const wf_var *x)
{
    return x ? wf_tensor_count(&x->value) : 1;
}

double wf_item(const wf_var *x)
{
    if (!var_readable(x) || wf_tensor_count(&x->value) != 1) return (double)NAN;
    return wf_tensor_at(&x->value, 0);
}

double wf_at(const wf_var *x, int64_t index)
{
    if (!var_readable(x) || index < 0 || index >= wf_tensor_count(&x->value)) return (double)NAN;
    return wf_tensor_at(&x->value, index);
}

const wf_tensor *wf_value(const wf_var *x)
{
    return var_readable(x) ? &x->value : NULL;
}
const void *wf_data(const wf_var *x)
{
    return var_readable(x) ? x->value.data : NULL;
}

bool wf_copy_out(const wf_var *x, void *data, int64_t n)
{
    if (!data || n < 0) return false;
    if (!var_readable(x)) {
        float *out = data;
        for (int64_t i = 0; i < n; i++) out[i] = NAN;
        return false;
    }
    if (n != wf_tensor_count(&x->value)) return false;
    wf_tensor out = wf_tensor_of(x->value.dtype, wf_tensor_shape(&x->value), data);
    wf_tensor_copy(&x->value, &out);
    return true;
}

void wf_print(const wf_var *x)
{
    wf_tensor_print(wf_value(x));
}

void wf_print_as(const char *name, const wf_var *x)
{
    wf_tensor_print_as(name, wf_value(x));
}

bool wf_keep_grad(wf_tape *t, wf_var *x)
{
    if (!wf_tape_ok(t)) return false;
    const wf_var *given = x;
    x = var_enter(t, x, "keep_grad", 0);
    if (!x || (t->tracing && !var_readable(x))) return false;
    if (!(x->flags & VAR_WANTS_GRAD)) {
        if (wf_param_frozen(given)) {
            wf_fail(t, "keep_grad: '%s' is frozen, so that it has no gradient",
                    wf_param_path(given));
            return false;
        }
        wf_fail(t, "keep_grad: nothing differentiable led to this var");
        return false;
    }
    if (x->kept || x->flags & VAR_IMPORT) return true;
    wf_tensor *kept = tape_take(t, "keep_grad", sizeof *kept);
    wf_var **slot = kept ? tape_list_add(t, "keep_grad", &t->kept, sizeof(wf_var *)) : NULL;
    if (!slot) return false;
    *kept = x->value;
    kept->data = NULL;
    x->kept = kept;
    *slot = x;
    return true;
}

const wf_tensor *wf_grad_of(const wf_var *x)
{
    if (!x) return NULL;
    if (!x->tape) return wf_param_grad(x);
    return x->kept && x->kept->data ? x->kept : NULL;
}
