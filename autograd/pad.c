/* constant_pad: an axis made longer by a number on either side; and what repeats along axes, which
 * are reshapes of an expand. */
#include "autograd/ops_private.h"
#include "autograd/private.h"
#include "autograd/views.h"

#include <math.h>

typedef struct padding {
    int64_t before, after;
    double value;
    int64_t axis;
} padding;

static bool pad_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const padding *p = s->attr;
    const int axis = takes_axis(s, (int)p->axis);
    if (axis < 0) return false;
    if (p->before < 0 || p->after < 0)
        return wf_refuse(s->error,
                         "%lld before and %lld after; expected 0 or more\n  hint: slice "
                         "makes an axis shorter",
                         (long long)p->before, (long long)p->after);
    const bool fits = isgreaterequal(p->value, INT32_MIN) && islessequal(p->value, INT32_MAX) &&
                      p->value == (double)(int32_t)p->value;
    if (x->dtype == WF_I32 && !fits) return wf_refuse(s->error, "i32 cannot hold %g", p->value);
    wf_tensor *y = &s->out[0];
    *y = *x;
    if (__builtin_add_overflow(y->dim[axis], p->before, &y->dim[axis]) ||
        __builtin_add_overflow(y->dim[axis], p->after, &y->dim[axis]))
        return wf_refuse(s->error, "axis %d becomes too long", axis);
    return true;
}

static int pad_axis(const wf_call *c)
{
    return wf_axis(c->in[0]->rank, (int)((const padding *)c->attr)->axis);
}

static uint32_t pad_varying(const wf_call *c)
{
    return pad_axis(c) > 0;
}

/* From index `from` to `to` of the axis. */
static wf_tensor part_of(const wf_tensor *x, int axis, int64_t from, int64_t to)
{
    wf_tensor part = { .dtype = x->dtype };
    if (!wf_view_slice(x, axis, from, to, 1, &part)) part.dim[0] = 0, part.rank = 1;
    return part;
}

static void pad_forward(const wf_call *c)
{
    const padding *p = c->attr;
    const wf_tensor *x = c->in[0], *y = c->out[0];
    const int axis = pad_axis(c);
    const int64_t end = p->before + x->dim[axis];
    const wf_tensor before = part_of(y, axis, 0, p->before),
                    after = part_of(y, axis, end, y->dim[axis]),
                    between = part_of(y, axis, p->before, end);
    wf_tensor_fill(&before, p->value);
    wf_tensor_fill(&after, p->value);
    wf_tensor_assign(x, &between, c->threads);
}

static void pad_backward(const wf_call *c)
{
    const padding *p = c->attr;
    const int axis = pad_axis(c);
    if (!c->gin[0] || !c->gout[0]) return;
    const wf_tensor g = part_of(c->gout[0], axis, p->before, p->before + c->in[0]->dim[axis]);
    wf_tensor_accumulate(&g, c->gin[0], 1, c->threads);
}

static void pad_gradient(wf_tape *t, const wf_gradient *g)
{
    const padding *p = g->attr;
    const int axis = (int)p->axis;
    g->gin[0] = wf_slice(t, g->gout[0], axis, p->before, p->before + wf_dim(g->in[0], axis), 1);
}

static bool pad_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_dtype dtype;
        wf_shape shape;
        padding p;
    } tried[] = {
        { "rows", WF_F64, { 2, { 3, 5 } }, { 2, 1, -0.5, 0 } },
        { "columns", WF_F64, { 2, { 3, 5 } }, { 0, 2, 1.5, -1 } },
        { "the middle axis", WF_F64, { 3, { 2, 3, 5 } }, { 1, 1, 0, 1 } },
        { "by nothing", WF_F64, { 1, { 5 } }, { 0, 0, 0, 0 } },
        { "nothing", WF_F64, { 2, { 3, 0 } }, { 1, 2, 3, 1 } },
        { "ids", WF_I32, { 2, { 3, 5 } }, { 1, 2, -7, 0 } },
    };
    return k < COUNT_OF(tried) && sample_one(s, tried[k].label, tried[k].dtype, tried[k].shape, 2,
                                             &tried[k].p, sizeof tried[k].p);
}

const wf_op op_constant_pad = {
    .name = OP_NAME(constant_pad),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(padding),
    .varying = pad_varying,
    .shape = pad_shape,
    .forward = pad_forward,
    .backward = pad_backward,
    .gradient = pad_gradient,
    .sample = pad_sample,
};

wf_var *wf_constant_pad(wf_tape *t, wf_var *x, int axis, int64_t before, int64_t after,
                        double value)
{
    return wf_apply_one(t, &op_constant_pad, 1, &x, &(padding){ before, after, value, axis });
}

/* ---- repeats ---- */

/* An axis of x repeated as a whole, or each of its elements by itself: x with a new axis of `times`
 * before or behind the axis, which then becomes one with it. */
static wf_var *repeated(wf_tape *t, wf_var *x, int axis, int64_t times, bool each)
{
    const wf_shape shape = wf_shape_of(x);
    wf_shape thin = { .rank = 4 }, wide, to = shape;
    int64_t outer = 1, inner = 1;
    for (int k = 0; k < shape.rank; k++) {
        if (k < axis) outer *= shape.dim[k];
        if (k > axis) inner *= shape.dim[k];
    }
    if (__builtin_mul_overflow(to.dim[axis], times, &to.dim[axis])) to.dim[axis] = INT64_MAX;
    const int64_t dims[4] = { outer, each ? shape.dim[axis] : 1, each ? 1 : shape.dim[axis],
                              inner };
    for (int k = 0; k < 4; k++) thin.dim[k] = dims[k];
    wide = thin;
    wide.dim[each ? 2 : 1] = times;
    return wf_reshape(t, wf_expand(t, wf_reshape(t, x, thin), wide), to);
}

wf_var *wf_repeat(wf_tape *t, wf_var *x, wf_shape times)
{
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, "repeat", 0))) return NULL;
    if (wf_shape_check(&times, wf_dtype_of(x), NULL) < 0)
        return wf_fail(t, "repeat: the numbers of times are not those of a shape");
    wf_shape now = wf_shape_of(x);
    if (times.rank < now.rank)
        return wf_fail(t, "repeat: %d numbers of times; %s has %d axes", times.rank,
                       SHAPE_TEXT(&now), now.rank);
    while (x && wf_rank(x) < times.rank) x = wf_unsqueeze(t, x, 0);
    for (int k = 0; x && k < times.rank; k++)
        if (times.dim[k] != 1) x = repeated(t, x, k, times.dim[k], false);
    return x;
}

wf_var *wf_repeat_interleave(wf_tape *t, wf_var *x, int axis, int64_t times)
{
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, "repeat_interleave", 0))) return NULL;
    const int at = wf_axis(wf_rank(x), axis);
    if (at < 0)
        return wf_fail(t, "repeat_interleave: axis %d is out of range for %s", axis,
                       SHAPE_TEXT(&x->value));
    if (times < 0)
        return wf_fail(t, "repeat_interleave: %lld times; expected 0 or more", (long long)times);
    return times == 1 ? x : repeated(t, x, at, times, true);
}
