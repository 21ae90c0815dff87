/* add_into: a contribution is added to a view of a gradient; how the graph of a view's gradient
 * is built. */
#include "autograd/ops_private.h"
#include "autograd/sweep_private.h"

#include <string.h>

void add_into_layout(const wf_tensor *base, const add_into_attr *a, wf_tensor *view)
{
    view->dtype = base->dtype;
    view->rank = (int32_t)a->rank;
    memcpy(view->dim, a->dim, sizeof view->dim);
    memcpy(view->stride, a->stride, sizeof view->stride);
    view->data = (char *)base->data + a->offset * wf_dtype_size(base->dtype);
}

static bool shape(wf_shaping *s)
{
    const wf_tensor *base = s->in[0], *more = s->in[1];
    const add_into_attr *a = s->attr;
    bool fits = base->dtype == more->dtype && base->dtype != WF_I32 && more->rank == a->rank &&
                a->offset >= 0;
    int64_t last = a->offset;
    for (int i = 0; fits && i < a->rank; i++) {
        fits = more->dim[i] == a->dim[i] && a->stride[i] >= 0;
        last += (a->dim[i] - 1) * a->stride[i];
    }
    if (!fits || (wf_tensor_count(more) > 0 && last >= wf_tensor_count(base)))
        return wf_refuse(s->error, "the view does not lie within the base");
    s->out[0] = *base;
    return true;
}

static void forward(const wf_call *c)
{
    wf_tensor view;
    if (c->in[0]->data != c->out[0]->data) wf_tensor_assign(c->in[0], c->out[0], c->threads);
    add_into_layout(c->out[0], c->attr, &view);
    wf_tensor_accumulate(c->in[1], &view, 1, c->threads);
}

static void backward(const wf_call *c)
{
    if (!c->gout[0]) return;
    wf_tensor_accumulate(c->gout[0], c->gin[0], 1, c->threads);
    if (c->gin[1]) {
        wf_tensor view;
        add_into_layout(c->gout[0], c->attr, &view);
        wf_tensor_accumulate(&view, c->gin[1], 1, c->threads);
    }
}

static void gradient(wf_tape *t, const wf_gradient *g)
{
    g->gin[0] = g->gout[0];
    if (!g->wanted[1]) return;
    /* The layout counts from a row-major base. */
    wf_var *base = wf_tensor_is_contiguous(&g->gout[0]->value) ? g->gout[0]
                                                               : alias_new(t, g->gout[0]);
    if (!base) return;
    wf_tensor view;
    add_into_layout(&base->value, g->attr, &view);
    g->gin[1] = view_new(t, base, &view);
}

/* A (5, 3) base: rows 1 and 3; its transpose's first two rows; a window of 3 rows sliding by 1. */
static bool sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        add_into_attr a;
    } all[] = {
        { "rows", { .offset = 3, .rank = 2, .dim = { 2, 3 }, .stride = { 6, 1 } } },
        { "transposed", { .offset = 0, .rank = 2, .dim = { 2, 5 }, .stride = { 1, 3 } } },
        { "window", { .offset = 0, .rank = 3, .dim = { 3, 3, 3 }, .stride = { 3, 1, 3 } } },
    };
    if (k >= COUNT_OF(all)) return false;
    s->label = all[k].label;
    wf_shape part = { .rank = (int32_t)all[k].a.rank };
    memcpy(part.dim, all[k].a.dim, sizeof all[k].a.dim);
    sample_input(s, WF_F64, WF_SHAPE(5, 3), -2, 2);
    sample_input(s, WF_F64, part, -2, 2);
    memcpy(s->attr.bytes, &all[k].a, sizeof all[k].a);
    return true;
}

const wf_op op_add_into = {
    .name = OP_NAME(add_into),
    .inputs = 2,
    .outputs = 1,
    .attr_size = sizeof(add_into_attr),
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
    .sample = sample,
};
