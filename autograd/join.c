/* concat and stack: vars joined along an axis that they have, or along a new one. */
#include "autograd/ops_private.h"
#include "autograd/views.h"

#include <string.h>

/* ---- shapes ---- */

static bool one_dtype(const wf_shaping *s)
{
    for (int i = 1; i < s->n_in; i++)
        if (!same_dtype(s, i, 0, NULL)) return false;
    return true;
}

/* Have they the same shape, whatever their sizes along `axis` (-1: no axis)? */
static bool same_beside(const wf_tensor *a, const wf_tensor *b, int axis)
{
    bool same = a->rank == b->rank;
    for (int k = 0; same && k < a->rank; k++) same = k == axis || a->dim[k] == b->dim[k];
    return same;
}

static bool concat_shape(wf_shaping *s)
{
    const wf_tensor *first = s->in[0];
    const int axis = takes_axis(s, *(const int32_t *)s->attr);
    if (axis < 0 || !one_dtype(s)) return false;
    wf_tensor *y = &s->out[0];
    *y = *first;
    for (int i = 1; i < s->n_in; i++) {
        const wf_tensor *x = s->in[i];
        if (!same_beside(x, first, axis))
            return wf_refuse(s->error, "sizes differ beside axis %d: %s and %s (input %d)", axis,
                             SHAPE_TEXT(first), SHAPE_TEXT(x), i);
        if (__builtin_add_overflow(y->dim[axis], x->dim[axis], &y->dim[axis]))
            return wf_refuse(s->error, "axis %d becomes too long", axis);
    }
    return true;
}

static bool stack_shape(wf_shaping *s)
{
    const wf_tensor *first = s->in[0];
    const int32_t wanted = *(const int32_t *)s->attr;
    const int axis = wf_axis(first->rank + 1, wanted);
    if (first->rank == WF_RANK)
        return wf_refuse(s->error, "%s has no room for an axis", SHAPE_TEXT(first));
    if (axis < 0)
        return wf_refuse(s->error, "a new axis %d is out of range for %s", wanted,
                         SHAPE_TEXT(first));
    if (!one_dtype(s)) return false;
    for (int i = 1; i < s->n_in; i++)
        if (!same_beside(s->in[i], first, -1))
            return wf_refuse(s->error, "shapes differ: %s and %s (input %d)", SHAPE_TEXT(first),
                             SHAPE_TEXT(s->in[i]), i);
    wf_tensor *y = &s->out[0];
    y->dtype = first->dtype;
    y->rank = first->rank + 1;
    for (int k = 0; k < y->rank; k++)
        y->dim[k] = k < axis ? first->dim[k] : k == axis ? s->n_in : first->dim[k - 1];
    return true;
}

/* ---- kernels ---- */

/* The part of whole that input i is: `n` indices of an axis, or one index that goes. */
static wf_tensor part_of(const wf_tensor *whole, int axis, int64_t start, const wf_tensor *x)
{
    wf_tensor part = { .dtype = whole->dtype };
    bool fits = x->rank == whole->rank
                    ? wf_view_slice(whole, axis, start, start + x->dim[axis], 1, &part)
                    : wf_view_select(whole, axis, start, &part);
    if (!fits) part.data = NULL;
    return part;
}

static int axis_of(const wf_call *c)
{
    return wf_axis(c->out[0]->rank, *(const int32_t *)c->attr);
}

static int64_t width_of(const wf_call *c, int i, int axis)
{
    return c->in[i]->rank == c->out[0]->rank ? c->in[i]->dim[axis] : 1;
}

static void forward(const wf_call *c)
{
    const int axis = axis_of(c);
    int64_t at = 0;
    for (int i = 0; i < c->n_in; i++) {
        wf_tensor part = part_of(c->out[0], axis, at, c->in[i]);
        if (part.data) wf_tensor_assign(c->in[i], &part, c->threads);
        at += width_of(c, i, axis);
    }
}

static void backward(const wf_call *c)
{
    if (!c->gout[0]) return;
    const int axis = axis_of(c);
    int64_t at = 0;
    for (int i = 0; i < c->n_in; i++) {
        if (c->gin[i]) {
            wf_tensor part = part_of(c->gout[0], axis, at, c->in[i]);
            if (part.data) wf_tensor_accumulate(&part, c->gin[i], 1, c->threads);
        }
        at += width_of(c, i, axis);
    }
}

static void concat_gradient(wf_tape *t, const wf_gradient *g)
{
    const int axis = *(const int32_t *)g->attr;
    int64_t at = 0;
    for (int i = 0; i < g->n_in; i++) {
        int64_t n = wf_dim(g->in[i], axis);
        if (g->wanted[i]) g->gin[i] = wf_slice(t, g->gout[0], axis, at, at + n, 1);
        at += n;
    }
}

static void stack_gradient(wf_tape *t, const wf_gradient *g)
{
    const int axis = *(const int32_t *)g->attr;
    for (int i = 0; i < g->n_in; i++)
        if (g->wanted[i]) g->gin[i] = wf_select(t, g->gout[0], axis, i);
}

/* ---- samples and rows ---- */

typedef struct joined {
    const char *label;
    wf_dtype dtype;
    int32_t axis, n;
    wf_shape shape[3];
} joined;

static bool sample_joined(const joined *j, wf_sample *s)
{
    s->label = j->label;
    for (int i = 0; i < j->n; i++) sample_input(s, j->dtype, j->shape[i], -2, 2);
    memcpy(s->attr.bytes, &j->axis, sizeof j->axis);
    return true;
}

static bool concat_sample(int k, wf_sample *s)
{
    static const joined tried[] = {
        { "the last axis", WF_F64, -1, 3, { { 2, { 3, 5 } }, { 2, { 3, 1 } }, { 2, { 3, 2 } } } },
        { "the first axis", WF_F64, 0, 2, { { 2, { 3, 5 } }, { 2, { 7, 5 } } } },
        { "the middle axis", WF_F64, 1, 2, { { 3, { 2, 3, 5 } }, { 3, { 2, 1, 5 } } } },
        { "vectors", WF_F64, 0, 2, { { 1, { 3 } }, { 1, { 5 } } } },
        { "one with nothing", WF_F64, 0, 3, { { 2, { 3, 5 } }, { 2, { 0, 5 } }, { 2, { 1, 5 } } } },
        { "one alone", WF_F64, 0, 1, { { 2, { 3, 5 } } } },
        { "empty", WF_F64, 0, 2, { { 2, { 3, 0 } }, { 2, { 5, 0 } } } },
        { "ids", WF_I32, 0, 2, { { 1, { 3 } }, { 1, { 5 } } } },
    };
    return k < COUNT_OF(tried) && sample_joined(&tried[k], s);
}

static bool stack_sample(int k, wf_sample *s)
{
    static const joined tried[] = {
        { "a new first axis", WF_F64, 0, 3, { { 2, { 3, 5 } }, { 2, { 3, 5 } }, { 2, { 3, 5 } } } },
        { "a new last axis", WF_F64, -1, 2, { { 2, { 3, 5 } }, { 2, { 3, 5 } } } },
        { "a new middle axis", WF_F64, 1, 2, { { 2, { 3, 5 } }, { 2, { 3, 5 } } } },
        { "scalars", WF_F64, 0, 3, { { 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } } } },
        { "empty", WF_F64, 0, 2, { { 2, { 3, 0 } }, { 2, { 3, 0 } } } },
        { "ids", WF_I32, 0, 2, { { 1, { 3 } }, { 1, { 3 } } } },
    };
    return k < COUNT_OF(tried) && sample_joined(&tried[k], s);
}

const wf_op op_concat = {
    .name = OP_NAME(concat),
    .inputs = -1,
    .outputs = 1,
    .attr_size = sizeof(int32_t),
    .varying = axis_varying,
    .shape = concat_shape,
    .forward = forward,
    .backward = backward,
    .gradient = concat_gradient,
    .sample = concat_sample,
};

const wf_op op_stack = {
    .name = OP_NAME(stack),
    .inputs = -1,
    .outputs = 1,
    .attr_size = sizeof(int32_t),
    .varying = axis_varying,
    .shape = stack_shape,
    .forward = forward,
    .backward = backward,
    .gradient = stack_gradient,
    .sample = stack_sample,
};

wf_var *wf_concat(wf_tape *t, int axis, wf_vars x)
{
    return wf_apply_one(t, &op_concat, x.n, x.at, &(int32_t){ axis });
}

wf_var *wf_stack(wf_tape *t, int axis, wf_vars x)
{
    return wf_apply_one(t, &op_stack, x.n, x.at, &(int32_t){ axis });
}
