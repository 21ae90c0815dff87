/* The kernels of the dispatch level, and what several op families ask of their inputs. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "tensor/text.h"

#include <string.h>

const op_kernels *op_kernels_of(wf_dtype dtype)
{
    static const op_kernels *const *const each[] = { WF_ISA_EACH(op_kernels) };
    return each[wf_isa_level()][dtype];
}

bool varies(const wf_call *c, int i)
{
    const wf_tensor *x = c->in[i], *y = c->out[0];
    return x && x->rank > 0 && x->rank == y->rank && x->dim[0] == y->dim[0];
}

uint32_t broadcast_varying(const wf_call *c)
{
    uint32_t mask = 0;
    for (int i = 0; c->n_in <= 32 && i < c->n_in; i++) mask |= (uint32_t)varies(c, i) << i;
    return mask;
}

uint32_t op_varying(const wf_call *c)
{
    if (c->op->varying) return c->op->varying(c);
    return c->op->flags & WF_OP_ELEMENTWISE ? broadcast_varying(c) : 0;
}

uint32_t axis_varying(const wf_call *c)
{
    if (c->n_in > 32 || wf_axis(c->out[0]->rank, *(const int32_t *)c->attr) <= 0) return 0;
    return UINT32_MAX >> (32 - c->n_in);
}

bool same_dtype(const wf_shaping *s, int i, int as, const char *const names[])
{
    const wf_tensor *x = s->in[i], *y = s->in[as];
    if (x->dtype == y->dtype) return true;
    char text[WF_SHAPE_TEXT], number[2][24] = { "", "" };
    for (int k = 0; k < 2; k++) wf_format(number[k], sizeof number[k], "input %d", k ? as : i);
    return wf_refuse(s->error, "%s is %s %s; expected %s, as %s is\n  hint: cast changes a dtype",
                     names ? names[i] : number[0], wf_dtype_name(x->dtype), shape_text(text, x),
                     wf_dtype_name(y->dtype), names ? names[as] : number[1]);
}

bool sample_one(wf_sample *s, const char *label, wf_dtype dtype, wf_shape shape, double reach,
                const void *attr, size_t bytes)
{
    s->label = label;
    sample_input(s, dtype, shape, -reach, reach);
    if (bytes > 0) memcpy(s->attr.bytes, attr, bytes);
    return true;
}
