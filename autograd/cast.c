/* cast: the same numbers in another dtype, differentiable between floats. */
#include "autograd/ops_private.h"
#include "autograd/private.h"

#include <string.h>

static wf_dtype target_of(const void *attr)
{
    return (wf_dtype) * (const int32_t *)attr;
}

static bool cast_shape(wf_shaping *s)
{
    const int32_t dtype = *(const int32_t *)s->attr;
    if (!wf_dtype_size((wf_dtype)dtype))
        return wf_refuse(s->error, "there is no dtype %d", (int)dtype);
    s->out[0] = *s->in[0];
    s->out[0].dtype = (wf_dtype)dtype;
    return true;
}

/* What is left of v when its fraction is cut off fits; NaN does not. */
static bool i32_holds(double v)
{
    return v > -2147483649.0 && v < 2147483648.0;
}

typedef struct holding {
    const wf_dtype_info *dtype;
    bool all;
} holding;

static void holding_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    holding *h = context;
    for (int64_t i = 0; i < n; i++)
        h->all &= i32_holds(h->dtype->load(pointer[0] + i * stride[0], 0));
}

static bool cast_check(const wf_call *c, wf_error *error)
{
    const wf_tensor *x = c->in[0];
    holding h = { wf_dtype_describe(x->dtype), true };
    if (target_of(c->attr) != WF_I32 || x->dtype == WF_I32 || wf_tensor_count(x) == 0) return true;
    walk_over(x, 1, 1, &x, holding_run, &h);
    for (int64_t i = 0; !h.all; i++) {
        const double v = wf_tensor_at(x, i);
        if (!i32_holds(v))
            return wf_refuse(error, "%g at %s is beyond what i32 can hold", v, INDEX_TEXT(x, i));
    }
    return true;
}

static void cast_gradient(wf_tape *t, const wf_gradient *g)
{
    g->gin[0] = wf_cast(t, g->gout[0], wf_dtype_of(g->in[0]));
}

/* From F64: differences of what F32 rounded would say nothing. */
static bool cast_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_dtype from;
        wf_shape shape;
        int32_t to;
    } tried[] = {
        { "to f64", WF_F64, { 2, { 3, 5 } }, WF_F64 },
        { "a scalar", WF_F64, { 0, { 0 } }, WF_F64 },
        { "nothing", WF_F64, { 2, { 0, 3 } }, WF_F64 },
        { "to ids", WF_F64, { 2, { 3, 5 } }, WF_I32 },
        { "of ids", WF_I32, { 2, { 3, 5 } }, WF_F32 },
    };
    return k < COUNT_OF(tried) && sample_one(s, tried[k].label, tried[k].from, tried[k].shape, 9,
                                             &tried[k].to, sizeof tried[k].to);
}

const wf_op op_cast = {
    .name = OP_NAME(cast),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(int32_t),
    .flags = WF_OP_ELEMENTWISE,
    .reads_check = 1,
    .shape = cast_shape,
    .check = cast_check,
    .forward = forward_copy,
    .backward = backward_add,
    .gradient = cast_gradient,
    .sample = cast_sample,
};

wf_var *wf_cast(wf_tape *t, wf_var *x, wf_dtype dtype)
{
    const int32_t to = (int32_t)dtype;
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, op_cast.name, 0))) return NULL;
    if (wf_dtype_of(x) == dtype) return x;
    return wf_apply_one(t, &op_cast, 1, &x, &to);
}
