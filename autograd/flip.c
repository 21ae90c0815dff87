/* flip: the same numbers in reverse along some axes. Strides are never negative, so it is an op and
 * not a view. */
#include "autograd/ops_private.h"
#include "tensor/sum.h"

#include <string.h>

static bool flip_shape(wf_shaping *s)
{
    s->out[0] = *s->in[0];
    return reduction_sound(s, s->attr);
}

/* A side with strides of its own (x, or its gradient), whose rows begin with the element that comes
 * first in reverse, and one that is row-major (y, or its gradient). */
typedef struct flipping {
    op_rows strided;
    wf_dtype dtype;
    char *dense;
} flipping;

static void forward_rows(void *context, int64_t begin, int64_t end)
{
    const flipping *f = context;
    const int64_t n = f->strided.n, bytes = f->strided.bytes, step = f->strided.step * bytes;
    for (int64_t row = begin; row < end; row++)
        copy_run(f->dense + row * n * bytes, bytes, row_at(&f->strided, row), step, n, bytes);
}

static void backward_rows(void *context, int64_t begin, int64_t end)
{
    const flipping *f = context;
    const op_rows *to = &f->strided;
    for (int64_t row = begin; row < end; row++)
        wf_run_add(f->dtype, to->n, 1, f->dense + row * to->n * to->bytes, 1, row_at(to, row),
                   to->step);
}

static void flip_rows(const wf_call *c, const wf_tensor *strided, const wf_tensor *dense,
                      wf_par_fn *fn)
{
    const int64_t count = wf_tensor_count(strided);
    const uint32_t axes = reduction_axes(c->attr, strided->rank);
    wf_tensor x = *strided;
    if (count == 0) return;
    for (int k = 0; k < x.rank; k++) {
        if (!(axes >> k & 1)) continue;
        x.data = wf_element(x.dtype, x.data, (x.dim[k] - 1) * x.stride[k]);
        x.stride[k] = -x.stride[k];
    }
    flipping f = { rows_along(&x, x.rank > 0 ? x.rank - 1 : 0), x.dtype, dense->data };
    each_row(c->threads, count / f.strided.n, f.strided.n, fn, &f);
}

static void flip_forward(const wf_call *c)
{
    flip_rows(c, c->in[0], c->out[0], forward_rows);
}

static void flip_backward(const wf_call *c)
{
    if (c->gin[0] && c->gout[0]) flip_rows(c, c->gin[0], c->gout[0], backward_rows);
}

static void flip_gradient(wf_tape *t, const wf_gradient *g)
{
    g->gin[0] = wf_apply_one(t, &op_flip, 1, g->gout, g->attr);
}

static bool flip_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_dtype dtype;
        wf_shape shape;
        reduction r;
    } tried[] = {
        { "rows", WF_F64, { 2, { 3, 5 } }, { .n = 1, .axis = { 0 } } },
        { "columns", WF_F64, { 2, { 3, 5 } }, { .n = 1, .axis = { -1 } } },
        { "every axis", WF_F64, { 3, { 2, 3, 5 } }, { .n = -1 } },
        { "two of three", WF_F64, { 3, { 5, 2, 3 } }, { .n = 2, .axis = { 2, 0 } } },
        { "no axis", WF_F64, { 2, { 3, 5 } }, { .n = 0 } },
        { "a scalar", WF_F64, { 0, { 0 } }, { .n = -1 } },
        { "nothing", WF_F64, { 2, { 3, 0 } }, { .n = -1 } },
        { "ids", WF_I32, { 2, { 3, 5 } }, { .n = 1, .axis = { 0 } } },
    };
    return k < COUNT_OF(tried) && sample_one(s, tried[k].label, tried[k].dtype, tried[k].shape, 2,
                                             &tried[k].r, sizeof tried[k].r);
}

const wf_op op_flip = {
    .name = OP_NAME(flip),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(reduction),
    .varying = reduction_varying,
    .shape = flip_shape,
    .forward = flip_forward,
    .backward = flip_backward,
    .gradient = flip_gradient,
    .sample = flip_sample,
};

wf_var *wf_flip(wf_tape *t, wf_var *x, const wf_axes *axes)
{
    reduction r = reduction_of(axes, false);
    return wf_apply_one(t, &op_flip, 1, &x, &r);
}
