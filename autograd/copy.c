/* copy, which lays numbers out row-major, and expand, which repeats them: views could do neither.
 * And the row of an alias, in whose backward one root's gradient goes into another's. */
#include "autograd/ops_private.h"
#include "autograd/private.h"

static bool copy_shape(wf_shaping *s)
{
    s->out[0] = *s->in[0];
    return true;
}

static bool expand_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const wf_shape to = attr_shape(s->attr);
    if (wf_shape_check(&to, x->dtype, s->error) < 0) return false;
    bool fits = to.rank >= x->rank;
    for (int i = 1; fits && i <= x->rank; i++) {
        int64_t n = x->dim[x->rank - i];
        fits = n == 1 || n == to.dim[to.rank - i];
    }
    if (!fits)
        return wf_refuse(s->error, "%s does not broadcast to %s", SHAPE_TEXT(x), SHAPE_TEXT(&to));
    form_out(&s->out[0], x->dtype, to);
    return true;
}

static void copy_gradient(wf_tape *t, const wf_gradient *g)
{
    (void)t;
    g->gin[0] = g->gout[0];
}

static void expand_gradient(wf_tape *t, const wf_gradient *g)
{
    g->gin[0] = wf_sum_to(t, g->gout[0], wf_shape_of(g->in[0]));
}

static bool copy_sample(int k, wf_sample *s)
{
    switch (k) {
    case 0: return sample_one(s, "matrix", WF_F64, WF_SHAPE(3, 5), 2, NULL, 0);
    case 1: return sample_one(s, "scalar", WF_F64, WF_SCALAR, 2, NULL, 0);
    case 2: return sample_one(s, "empty", WF_F64, WF_SHAPE(0, 3), 2, NULL, 0);
    case 3: return sample_one(s, "ids", WF_I32, WF_SHAPE(3, 5), 2, NULL, 0);
    default: return false;
    }
}

static bool expand_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_dtype dtype;
        wf_shape from, to;
    } tried[] = {
        { "a row", WF_F64, { 1, { 5 } }, { 2, { 3, 5 } } },
        { "a column", WF_F64, { 2, { 3, 1 } }, { 3, { 7, 3, 5 } } },
        { "a scalar", WF_F64, { 0, { 0 } }, { 2, { 3, 5 } } },
        { "as it is", WF_F64, { 2, { 3, 5 } }, { 2, { 3, 5 } } },
        { "to nothing", WF_F64, { 2, { 1, 3 } }, { 2, { 0, 3 } } },
        { "a mask", WF_I32, { 2, { 3, 1 } }, { 2, { 3, 5 } } },
        { "large, a row", WF_F64, { 1, { 257 } }, { 2, { 263, 257 } } },
        { "large, a column", WF_F64, { 2, { 263, 1 } }, { 2, { 263, 257 } } },
        { "large, a scalar", WF_F64, { 0, { 0 } }, { 1, { 70001 } } },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->large = wf_shape_count(&tried[k].to) > 1000;
    const shape_attr to = shape_attr_of(tried[k].to);
    return sample_one(s, tried[k].label, tried[k].dtype, tried[k].from, 2, &to, sizeof to);
}

const wf_op op_copy = {
    .name = OP_NAME(copy),
    .inputs = 1,
    .outputs = 1,
    .flags = WF_OP_ELEMENTWISE,
    .shape = copy_shape,
    .forward = forward_copy,
    .backward = backward_add,
    .gradient = copy_gradient,
    .sample = copy_sample,
};

const wf_op op_alias = {
    .name = OP_NAME(alias),
    .inputs = 1,
    .outputs = 1,
    .flags = WF_OP_ELEMENTWISE,
    .shape = copy_shape,
    .forward = forward_copy,
    .backward = backward_add,
    .gradient = copy_gradient,
    .sample = copy_sample,
};

const wf_op op_expand = {
    .name = OP_NAME(expand),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(shape_attr),
    .flags = WF_OP_ELEMENTWISE,
    .shape = expand_shape,
    .forward = forward_copy,
    .backward = backward_add,
    .gradient = expand_gradient,
    .sample = expand_sample,
};

wf_var *wf_copy(wf_tape *t, wf_var *x)
{
    return wf_apply_one(t, &op_copy, 1, &x, NULL);
}

wf_var *wf_expand(wf_tape *t, wf_var *x, wf_shape shape)
{
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, op_expand.name, 0))) return NULL;
    const wf_shape now = wf_shape_of(x);
    const shape_attr to = shape_attr_of(shape);
    return wf_shape_equal(&now, &shape) ? x : wf_apply_one(t, &op_expand, 1, &x, &to);
}
