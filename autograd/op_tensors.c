/* The kernels of the dispatch level, and what several op families ask of their inputs or do with
 * them. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

enum { ROW_GRAIN = 8192 }; /* elements that are worth another thread */

const op_kernels *op_kernels_of(wf_dtype dtype)
{
    static const op_kernels *const *const each[] = { WF_ISA_EACH(op_kernels) };
    return each[wf_isa_level()][dtype];
}

shape_attr shape_attr_of(wf_shape shape)
{
    shape_attr a = { .rank = shape.rank };
    for (int k = 0; k < shape.rank && k < WF_RANK; k++) a.dim[k] = shape.dim[k];
    return a;
}

wf_shape attr_shape(const shape_attr *a)
{
    wf_shape shape = { .rank = (int32_t)a->rank };
    memcpy(shape.dim, a->dim, sizeof shape.dim);
    return shape;
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

wf_tensor tensor_with_axis(wf_tensor x, int axis, int64_t n, int64_t stride)
{
    for (int k = x.rank++; k > axis; k--) {
        x.dim[k] = x.dim[k - 1];
        x.stride[k] = x.stride[k - 1];
    }
    x.dim[axis] = n;
    x.stride[axis] = stride;
    return x;
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
    char number[2][24] = { "", "" };
    for (int k = 0; k < 2; k++) wf_format(number[k], sizeof number[k], "input %d", k ? as : i);
    return wf_refuse(s->error, "%s is %s %s; expected %s, as %s is\n  hint: cast changes a dtype",
                     names ? names[i] : number[0], wf_dtype_name(x->dtype), SHAPE_TEXT(x),
                     wf_dtype_name(y->dtype), names ? names[as] : number[1]);
}

bool takes_floats(const wf_shaping *s, int i)
{
    return is_float(s->in[i]) || wf_refuse(s->error, "takes f32 or f64, not i32");
}

bool takes_ids(const wf_shaping *s, int i)
{
    const wf_dtype dtype = s->in[i]->dtype;
    return dtype == WF_I32 || wf_refuse(s->error, "ids are %s; expected i32", wf_dtype_name(dtype));
}

int takes_axis(const wf_shaping *s, int axis)
{
    const wf_tensor *x = s->in[0];
    const int found = wf_axis(x->rank, axis);
    if (found < 0) wf_refuse(s->error, "axis %d is out of range for %s", axis, SHAPE_TEXT(x));
    return found;
}

bool takes_scratch(const wf_shaping *s, int64_t *scratch, int64_t count, int64_t bytes)
{
    int64_t all;
    if (!wf_size_mul(count, bytes, &all))
        return wf_refuse(s->error, "its work is more than memory can hold");
    if (all > *scratch) *scratch = all;
    return true;
}

void forward_copy(const wf_call *c)
{
    wf_tensor_assign(c->in[0], c->out[0], c->threads);
}

void backward_add(const wf_call *c)
{
    wf_tensor_accumulate(c->gout[0], c->gin[0], 1, c->threads);
}

void no_backward(const wf_call *c)
{
    (void)c;
}

void no_gradient(wf_tape *t, const wf_gradient *g)
{
    (void)t, (void)g;
}

op_rows rows_along(const wf_tensor *x, int axis)
{
    const bool whole = axis >= x->rank;
    op_rows r = { .of = x, .axis = axis, .n = whole ? 1 : x->dim[axis], .bytes = bytes_of(x) };
    r.step = r.n == 1 ? 1 : x->stride[axis]; /* of one element it may be anything */
    for (int k = x->rank - 1, inner = -1; k >= 0; k--) {
        if (k == axis) continue;
        if (inner < 0) r.apart = x->stride[k];
        if (inner >= 0 && x->stride[k] != x->stride[inner] * x->dim[inner]) r.apart = 0;
        inner = k;
    }
    return r;
}

int64_t row_offset(const op_rows *r, int64_t i)
{
    const wf_tensor *x = r->of;
    int64_t at = 0;
    for (int k = x->rank - 1; k >= 0; k--) {
        if (k == r->axis || x->dim[k] == 1) continue;
        at += i % x->dim[k] * x->stride[k];
        i /= x->dim[k];
    }
    return at;
}

void copy_run(void *to_, int64_t to_stride, const void *from_, int64_t from_stride, int64_t n,
              int64_t bytes)
{
    char *to = to_;
    const char *from = from_;
    if (to_stride == bytes && from_stride == bytes)
        memcpy(to, from, (size_t)(n * bytes));
    else if (bytes == 4)
        for (int64_t i = 0; i < n; i++) memcpy(to + i * to_stride, from + i * from_stride, 4);
    else if (bytes == 8)
        for (int64_t i = 0; i < n; i++) memcpy(to + i * to_stride, from + i * from_stride, 8);
    else
        for (int64_t i = 0; i < n; i++)
            memcpy(to + i * to_stride, from + i * from_stride, (size_t)bytes);
}

void each_row(int threads, int64_t count, int64_t n, wf_par_fn *fn, void *context)
{
    if (count > 0) wf_par_for(threads, count, ROW_GRAIN / (n + 1) + 1, fn, context);
}

void walk_over(const wf_tensor *x, int threads, int operands, const wf_tensor *const operand[],
               wf_walk_fn *fn, void *context)
{
    wf_walk loop;
    if (wf_walk_plan(&loop, wf_tensor_shape(x), operands, operand))
        wf_walk_run(&loop, threads, 1, fn, context);
}

bool sample_one(wf_sample *s, const char *label, wf_dtype dtype, wf_shape shape, double reach,
                const void *attr, size_t bytes)
{
    s->label = label;
    sample_input(s, dtype, shape, -reach, reach);
    if (bytes > 0) memcpy(s->attr.bytes, attr, bytes);
    return true;
}
