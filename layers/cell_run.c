/* A recurrent layer run as a whole, its results as doubles. */
#include "layers/cell_run_private.h"

#include "autograd/ops.h"
#include "tensor/runtime.h"

void *cell_take(cell_memory **memory, int64_t items, size_t size)
{
    cell_memory *m = wf_alloc_zero(WF_ALIGNMENT + (size_t)items * size + 1);
    if (!m) return NULL;
    m->next = *memory;
    *memory = m;
    return (char *)m + WF_ALIGNMENT;
}

void cell_let_go(cell_memory **memory)
{
    while (*memory) {
        cell_memory *next = (*memory)->next;
        wf_release(*memory);
        *memory = next;
    }
}

wf_var *cell_var(wf_tape *t, wf_dtype dtype, bool leaf, wf_shape shape, const double *values)
{
    wf_var *v = leaf ? wf_leaf(t, dtype, shape, NULL) : wf_constant(t, dtype, shape, NULL);
    wf_tensor from = wf_tensor_of(WF_F64, shape, (void *)(uintptr_t)values);
    if (v) wf_tensor_copy(&from, wf_value(v));
    return v;
}

double *cell_doubles(cell_memory **memory, const wf_var *v)
{
    double *x = cell_take(memory, wf_count(v), sizeof *x);
    wf_tensor to = wf_tensor_of(WF_F64, wf_shape_of(v), x);
    if (x) wf_tensor_copy(wf_value(v), &to);
    return x;
}

/* The gradients in the order in which cell_run asks for them: x, initial states, parameters. */
static bool take_gradients(wf_var *const grad[], int initial, cell_memory **memory, cell_result *o)
{
    o->dx = cell_doubles(memory, grad[0]);
    bool ok = o->dx != NULL;
    for (int k = 0; k < initial; k++) {
        o->dinitial[k] = cell_doubles(memory, grad[1 + k]);
        ok = ok && o->dinitial[k];
    }
    o->n_params = wf_module_weights(o->module);
    o->dparams = cell_take(memory, o->n_params, sizeof *o->dparams);
    if (!ok || !o->dparams) return false;
    double *at = o->dparams;
    for (int i = 0; i < (int)wf_module_param_count(o->module); i++) {
        const wf_var *g = grad[1 + initial + i];
        wf_tensor to = wf_tensor_of(WF_F64, wf_shape_of(g), at);
        wf_tensor_copy(wf_value(g), &to);
        at += wf_count(g);
    }
    return true;
}

bool cell_run(wf_tape *t, const cell_case *c, cell_memory **memory, cell_result *o)
{
    const wf_module *module = wf_rnn_module(c->rnn);
    const wf_dtype dtype = wf_module_dtype(module);
    wf_var *initial[WF_CELL_STATES], *final[WF_CELL_STATES], *out[1 + WF_CELL_STATES],
        *cotangent[1 + WF_CELL_STATES];
    wf_var *wrt[1 + WF_CELL_STATES + CELL_PARAMS], *grad[1 + WF_CELL_STATES + CELL_PARAMS];
    const int n_initial = c->initial[0] ? c->states : 0;
    int n = 0, outs = 0;
    wrt[n++] = cell_var(t, dtype, true, WF_SHAPE(c->time, c->batch, c->input), c->x);
    for (int k = 0; k < n_initial; k++) {
        const wf_shape shape = WF_SHAPE(c->stacked, c->batch, c->width[k]);
        wrt[n++] = initial[k] = cell_var(t, dtype, true, shape, c->initial[k]);
    }
    for (int64_t i = 0; i < wf_module_param_count(module); i++)
        wrt[n++] = wf_module_param_at(module, i);
    wf_var *lengths = c->lengths ? wf_constant(t, WF_I32, WF_SHAPE(c->batch), c->lengths) : NULL;
    const wf_rnn_call call = {
        .lengths = lengths, .carry = c->carry, .initial = n_initial ? initial : NULL, .final = final
    };
    wf_var *y = c->way ? c->way(t, c, wrt[0], &call) : wf_rnn_forward(t, c->rnn, wrt[0], &call);
    if (!y) return false;
    *o = (cell_result){ .module = module,
                        .form_y = wf_shape_of(y),
                        .form_x = wf_shape_of(wrt[0]),
                        .n_y = wf_count(y),
                        .n_x = wf_count(wrt[0]),
                        .y = cell_doubles(memory, y) };
    bool ok = o->y != NULL;
    if (c->gy) out[outs] = y, cotangent[outs++] = cell_var(t, dtype, false, o->form_y, c->gy);
    for (int k = 0; k < c->states; k++) {
        o->form_state[k] = wf_shape_of(final[k]);
        o->n_state[k] = wf_count(final[k]);
        o->final[k] = cell_doubles(memory, final[k]);
        ok = ok && o->final[k];
        if (!c->gfinal[k]) continue;
        out[outs] = final[k];
        cotangent[outs++] = cell_var(t, dtype, false, o->form_state[k], c->gfinal[k]);
    }
    if (!wf_grad(t, outs, out, cotangent, n, wrt, grad, NULL)) return false;
    ok = ok && take_gradients(grad, n_initial, memory, o);
    if (!ok) wf_fail(t, "out of memory");
    return ok;
}
