/* flip: the same numbers in reverse along some axes. Strides are never negative, so it is an op and
 * not a view. */
#include "autograd/ops_private.h"
#include "tensor/par.h"
#include "tensor/sum.h"

#include <string.h>

enum { ELEMENTS = 8192 };

static bool flip_shape(wf_shaping *s)
{
    s->out[0] = *s->in[0];
    return reduction_sound(s, s->attr);
}

/* A side with strides of its own (x, or its gradient) and one that is row-major (y, or its
 * gradient), row by row of the latter's last axis. */
typedef struct flipping {
    wf_tensor begin; /* the strided side, from the element that comes first */
    char *dense;
    int64_t bytes, n, step; /* a row's elements, and where the next one is on the strided side */
} flipping;

static flipping flipping_of(const wf_call *c, const wf_tensor *strided, const wf_tensor *dense)
{
    const int last = strided->rank - 1;
    const uint32_t axes = reduction_axes(c->attr, strided->rank);
    flipping f = { .begin = *strided, .dense = dense->data, .bytes = bytes_of(strided) };
    for (int k = 0; k <= last; k++) {
        if (!(axes >> k & 1) || strided->dim[k] == 0) continue;
        f.begin.data = (char *)f.begin.data + (strided->dim[k] - 1) * strided->stride[k] * f.bytes;
        f.begin.stride[k] = -strided->stride[k];
    }
    f.n = last < 0 ? 1 : strided->dim[last];
    f.step = f.n <= 1 ? 1 : f.begin.stride[last]; /* of one element it may be anything */
    return f;
}

/* Where the element that comes first in a row lies on the strided side. */
static char *row_start(const flipping *f, int64_t row)
{
    return (char *)f->begin.data + wf_tensor_offset(&f->begin, f->begin.rank - 1, row) * f->bytes;
}

static void forward_rows(void *context, int64_t begin, int64_t end)
{
    const flipping *f = context;
    for (int64_t row = begin; row < end; row++) {
        const char *from = row_start(f, row);
        char *to = f->dense + row * f->n * f->bytes;
        const int64_t step = f->step * f->bytes;
        if (f->step == 1)
            memcpy(to, from, (size_t)(f->n * f->bytes));
        else if (f->bytes == 4)
            for (int64_t i = 0; i < f->n; i++) memcpy(to + 4 * i, from + i * step, 4);
        else
            for (int64_t i = 0; i < f->n; i++) memcpy(to + 8 * i, from + i * step, 8);
    }
}

static void backward_rows(void *context, int64_t begin, int64_t end)
{
    const flipping *f = context;
    for (int64_t row = begin; row < end; row++)
        wf_run_add(f->begin.dtype, f->n, 1, f->dense + row * f->n * f->bytes, 1, row_start(f, row),
                   f->step);
}

static void each_row(const wf_call *c, flipping *f, wf_par_fn *fn)
{
    const int64_t count = wf_tensor_count(&f->begin);
    if (count > 0) wf_par_for(c->threads, count / f->n, ELEMENTS / f->n + 1, fn, f);
}

static void flip_forward(const wf_call *c)
{
    flipping f = flipping_of(c, c->in[0], c->out[0]);
    each_row(c, &f, forward_rows);
}

static void flip_backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0]) return;
    flipping f = flipping_of(c, c->gin[0], c->gout[0]);
    each_row(c, &f, backward_rows);
}

static void flip_gradient(wf_tape *t, const wf_gradient *g)
{
    if (g->gout[0] && g->wanted[0]) g->gin[0] = wf_apply_one(t, &op_flip, 1, g->gout, g->attr);
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
    if (k >= (int)(sizeof tried / sizeof tried[0])) return false;
    return sample_one(s, tried[k].label, tried[k].dtype, tried[k].shape, 2, &tried[k].r,
                      sizeof tried[k].r);
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
