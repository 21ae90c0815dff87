/* argmax and argmin along an axis: places, which have no derivative. */
#include "autograd/ops_private.h"

typedef struct extreme {
    int32_t axis;
    int32_t smallest; /* no bool: without padding, as attributes are */
} extreme;

static bool argmax_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const extreme *e = s->attr;
    const int axis = takes_axis(s, e->axis);
    if (axis < 0) return false;
    wf_tensor *y = &s->out[0];
    y->dtype = WF_I32;
    y->rank = 0;
    for (int i = 0; i < x->rank; i++)
        if (i != axis) y->dim[y->rank++] = x->dim[i];
    if (x->dim[axis] == 0 && wf_tensor_count(y) > 0)
        return wf_refuse(s->error, "%s has nothing to choose from", SHAPE_TEXT(x));
    if (x->dim[axis] > INT32_MAX)
        return wf_refuse(s->error, "axis %d of %s is longer than i32 can say", axis, SHAPE_TEXT(x));
    return true;
}

/* The first place of the largest (smallest) of n >= 1 elements; the first NaN if there is one. */
typedef int32_t scan_fn(const void *data, int64_t n, int64_t step, bool smallest);
#define SCAN(name, type, is_nan)                                                                   \
    static int32_t name(const void *data, int64_t n, int64_t step, bool smallest)                  \
    {                                                                                              \
        const type *x = data;                                                                      \
        type best = x[0];                                                                          \
        int64_t found = 0;                                                                         \
        for (int64_t i = 1; i < n && !is_nan(best); i++) {                                         \
            const type v = x[i * step];                                                            \
            if ((smallest ? v < best : v > best) || is_nan(v)) best = v, found = i;                \
        }                                                                                          \
        return (int32_t)found;                                                                     \
    }
#define IS_NAN(v) ((v) != (v))
#define NEVER(v) false
SCAN(scan_f32, float, IS_NAN)
SCAN(scan_f64, double, IS_NAN)
SCAN(scan_i32, int32_t, NEVER)

static void some_places(void *context, int64_t begin, int64_t end)
{
    const wf_call *c = context;
    const wf_tensor *x = c->in[0];
    const extreme *e = c->attr;
    static scan_fn *const scan[WF_DTYPES] = { scan_f32, scan_f64, scan_i32 };
    const op_rows rows = rows_along(x, wf_axis(x->rank, e->axis));
    int32_t *y = c->out[0]->data;
    for (int64_t i = begin; i < end; i++)
        y[i] = scan[x->dtype](row_at(&rows, i), rows.n, rows.step, e->smallest);
}

static uint32_t argmax_varying(const wf_call *c)
{
    return wf_axis(c->in[0]->rank, ((const extreme *)c->attr)->axis) > 0;
}

static void argmax_forward(const wf_call *c)
{
    const extreme *e = c->attr;
    const int64_t n = c->in[0]->dim[wf_axis(c->in[0]->rank, e->axis)];
    each_row(c->threads, wf_tensor_count(c->out[0]), n, some_places, (void *)c);
}

static bool argmax_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_dtype dtype;
        wf_shape shape;
        extreme e;
    } tried[] = {
        { "of rows", WF_F64, { 2, { 3, 5 } }, { .axis = -1 } },
        { "of the middle axis", WF_F64, { 3, { 2, 5, 3 } }, { .axis = 1 } },
        { "the smallest of columns", WF_F64, { 2, { 3, 5 } }, { .axis = 0, .smallest = true } },
        { "of ids, with ties", WF_I32, { 2, { 3, 7 } }, { .axis = 1 } },
        { "of no rows", WF_F64, { 2, { 0, 3 } }, { .axis = 1 } },
    };
    return k < COUNT_OF(tried) && sample_one(s, tried[k].label, tried[k].dtype, tried[k].shape, 2,
                                             &tried[k].e, sizeof tried[k].e);
}

const wf_op op_argmax = {
    .name = OP_NAME(argmax),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(extreme),
    .varying = argmax_varying,
    .shape = argmax_shape,
    .forward = argmax_forward,
    .backward = no_backward,
    .gradient = no_gradient,
    .sample = argmax_sample,
};

static wf_var *found(wf_tape *t, wf_var *x, int axis, bool smallest)
{
    const extreme e = { .axis = axis, .smallest = smallest };
    return wf_apply_one(t, &op_argmax, 1, &x, &e);
}

wf_var *wf_argmax(wf_tape *t, wf_var *x, int axis)
{
    return found(t, x, axis, false);
}

wf_var *wf_argmin(wf_tape *t, wf_var *x, int axis)
{
    return found(t, x, axis, true);
}
