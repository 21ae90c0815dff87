/* top_k and sort: the elements along an axis in order, and where they were. */
#include "autograd/ranked_private.h"
#include "tensor/sum.h"

#include <string.h>

/* The k largest (smallest) along an axis, or all of them. */
typedef struct ordering {
    int64_t k;
    int32_t axis;
    bool all, smallest;
} ordering;

static bool order_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const ordering *o = s->attr;
    const int axis = takes_axis(s, o->axis);
    if (axis < 0) return false;
    const int64_t n = x->dim[axis], k = o->all ? n : o->k;
    if (k < 0 || k > n)
        return wf_refuse(s->error, "k is %lld; axis %d of %s has %lld", (long long)k, axis,
                         SHAPE_TEXT(x), (long long)n);
    if (n > INT32_MAX)
        return wf_refuse(s->error, "axis %d of %s is longer than i32 can say", axis, SHAPE_TEXT(x));
    s->out[0] = *x;
    s->out[0].dim[axis] = k;
    s->out[1] = s->out[0];
    s->out[1].dtype = WF_I32;
    return rows_scratch(s, &s->scratch_forward, largest_bytes(n, k, o->smallest));
}

static uint32_t order_varying(const wf_call *c)
{
    return wf_axis(c->in[0]->rank, ((const ordering *)c->attr)->axis) > 0;
}

/* x (or its gradient) and what is as long as it was asked for, by rows along the axis. */
typedef struct ordered {
    const wf_call *call;
    op_rows many, few, place;
} ordered;

static ordered ordered_of(const wf_call *c, const wf_tensor *many, const wf_tensor *few)
{
    const int axis = wf_axis(many->rank, ((const ordering *)c->attr)->axis);
    return (ordered){ c, rows_along(many, axis), rows_along(few, axis),
                      rows_along(c->out[1], axis) };
}

static void order_row(void *context, int64_t row, void *scratch)
{
    const ordered *o = context;
    const op_rows *x = &o->many, *y = &o->few;
    const char *from = row_at(x, row);
    char *to = row_at(y, row);
    int32_t *place = row_at(&o->place, row);
    largest_places(x->of->dtype, from, x->n, x->step, y->n,
                   ((const ordering *)o->call->attr)->smallest, place, o->place.step, scratch);
    for (int64_t i = 0; i < y->n; i++)
        memcpy(to + i * y->step * y->bytes, from + place[i * o->place.step] * x->step * x->bytes,
               (size_t)y->bytes);
}

static void order_forward(const wf_call *c)
{
    ordered o = ordered_of(c, c->in[0], c->out[0]);
    const bool smallest = ((const ordering *)c->attr)->smallest;
    if (o.few.n == 0) return;
    rows_apart(c, wf_tensor_count(c->out[0]) / o.few.n, o.many.n,
               largest_bytes(o.many.n, o.few.n, smallest), order_row, &o);
}

/* No place is named twice. */
static void order_row_back(void *context, int64_t row, void *scratch)
{
    (void)scratch;
    const ordered *o = context;
    const op_rows *gx = &o->many, *g = &o->few;
    const int32_t *place = row_at(&o->place, row);
    char *to = row_at(gx, row);
    const char *from = row_at(g, row);
    for (int64_t i = 0; i < g->n; i++)
        wf_run_add(g->of->dtype, 1, 1, from + i * g->step * g->bytes, 1,
                   to + place[i * o->place.step] * gx->step * gx->bytes, 1);
}

static void order_backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0]) return;
    ordered o = ordered_of(c, c->gin[0], c->gout[0]);
    if (o.few.n == 0) return;
    rows_apart(c, wf_tensor_count(c->gout[0]) / o.few.n, 8 * o.few.n, 0, order_row_back, &o);
}

static void order_gradient(wf_tape *t, const wf_gradient *g)
{
    const ordering *o = g->attr;
    g->gin[0] = wf_scatter_add(t, g->gout[0], o->axis, g->out[1], wf_dim(g->in[0], o->axis));
}

/* ---- samples and rows ---- */

typedef struct tried_order {
    const char *label;
    wf_dtype dtype;
    wf_shape shape;
    ordering o;
} tried_order;

static bool sample_ordered(const tried_order *tried, wf_sample *s)
{
    return sample_one(s, tried->label, tried->dtype, tried->shape, 4, &tried->o, sizeof tried->o);
}

static bool top_k_sample(int k, wf_sample *s)
{
    static const tried_order tried[] = {
        { "of rows", WF_F64, { 2, { 3, 7 } }, { .k = 2, .axis = -1 } },
        { "of the middle axis", WF_F64, { 3, { 2, 5, 3 } }, { .k = 3, .axis = 1 } },
        { "of columns", WF_F64, { 2, { 5, 3 } }, { .k = 2, .axis = 0 } },
        { "all", WF_F64, { 1, { 5 } }, { .k = 5, .axis = 0 } },
        { "past some blocks", WF_F64, { 2, { 2, 140 } }, { .k = 3, .axis = 1 } },
        { "none", WF_F64, { 2, { 3, 5 } }, { .k = 0, .axis = 1 } },
        { "of no rows", WF_F64, { 2, { 0, 3 } }, { .k = 2, .axis = 1 } },
        { "of ids, with ties", WF_I32, { 2, { 3, 31 } }, { .k = 7, .axis = 1 } },
    };
    return k < COUNT_OF(tried) && sample_ordered(&tried[k], s);
}

static bool sort_sample(int k, wf_sample *s)
{
    static const tried_order tried[] = {
        { "rows", WF_F64, { 2, { 3, 7 } }, { .all = true, .axis = -1, .smallest = true } },
        { "the middle axis, from the largest",
          WF_F64,
          { 3, { 2, 5, 3 } },
          { .all = true, .axis = 1 } },
        { "columns", WF_F64, { 2, { 5, 3 } }, { .all = true, .axis = 0, .smallest = true } },
        { "by bytes", WF_F64, { 2, { 2, 40 } }, { .all = true, .axis = 1, .smallest = true } },
        { "nothing", WF_F64, { 2, { 3, 0 } }, { .all = true, .axis = 1, .smallest = true } },
        { "ids, with ties",
          WF_I32,
          { 2, { 3, 31 } },
          { .all = true, .axis = 1, .smallest = true } },
    };
    return k < COUNT_OF(tried) && sample_ordered(&tried[k], s);
}

const wf_op op_top_k = {
    .name = OP_NAME(top_k),
    .inputs = 1,
    .outputs = 2,
    .attr_size = sizeof(ordering),
    .reads_out = 2,
    .varying = order_varying,
    .shape = order_shape,
    .forward = order_forward,
    .backward = order_backward,
    .gradient = order_gradient,
    .sample = top_k_sample,
};

const wf_op op_sort = {
    .name = OP_NAME(sort),
    .inputs = 1,
    .outputs = 2,
    .attr_size = sizeof(ordering),
    .reads_out = 2,
    .varying = order_varying,
    .shape = order_shape,
    .forward = order_forward,
    .backward = order_backward,
    .gradient = order_gradient,
    .sample = sort_sample,
};

/* Values, and where they were. */
static wf_var *put_in_order(wf_tape *t, const wf_op *op, wf_var *x, ordering how, wf_var **ids)
{
    ordering o;
    wf_var *out[2];
    memset(&o, 0, sizeof o); /* the padding too: attributes are compared bytewise */
    o.k = how.k;
    o.axis = how.axis;
    o.all = how.all;
    o.smallest = how.smallest;
    wf_apply(t, op, 1, &x, &o, out);
    if (ids) *ids = out[1];
    return out[0];
}

wf_var *wf_top_k(wf_tape *t, wf_var *x, int64_t k, int axis, wf_var **ids)
{
    return put_in_order(t, &op_top_k, x, (ordering){ .k = k, .axis = axis }, ids);
}

wf_var *wf_sort(wf_tape *t, wf_var *x, int axis, bool descending, wf_var **ids)
{
    return put_in_order(t, &op_sort, x,
                        (ordering){ .axis = axis, .all = true, .smallest = !descending }, ids);
}

wf_var *wf_argsort(wf_tape *t, wf_var *x, int axis, bool descending)
{
    wf_var *ids;
    wf_sort(t, x, axis, descending, &ids);
    return ids;
}
