/* A small row that is right, y = a b^2 of two equal shapes in any strides, for the suites that
 * plant faults in it. */
#ifndef WEFT_TESTS_TOY_OP_H
#define WEFT_TESTS_TOY_OP_H

#include "autograd/check_row_private.h"
#include "autograd/ops.h"
#include "tests/fixture.h"

#include <string.h>

static inline double get(const wf_tensor *x, int64_t index)
{
    return wf_tensor_at(x, index);
}

static inline bool toy_shape(wf_shaping *s)
{
    s->out[0] = *s->in[0];
    s->scratch_forward = s->scratch_backward = 16;
    wf_shape a = wf_tensor_shape(s->in[0]), b = wf_tensor_shape(s->in[1]);
    return wf_shape_equal(&a, &b) || wf_refuse(s->error, "the shapes differ");
}

static inline void toy_forward(const wf_call *c)
{
    for (int64_t i = 0; i < wf_tensor_count(c->out[0]); i++)
        put(c->out[0], i, get(c->in[0], i) * get(c->in[1], i) * get(c->in[1], i));
}

static inline void toy_backward(const wf_call *c)
{
    if (!c->gout[0]) return;
    for (int64_t i = 0; i < wf_tensor_count(c->out[0]); i++) {
        double a = get(c->in[0], i), b = get(c->in[1], i), g = get(c->gout[0], i);
        if (c->gin[0]) put(c->gin[0], i, get(c->gin[0], i) + g * b * b);
        if (c->gin[1]) put(c->gin[1], i, get(c->gin[1], i) + 2 * g * a * b);
    }
}

static inline void toy_gradient(wf_tape *t, const wf_gradient *g)
{
    wf_var *a = g->in[0], *b = g->in[1], *y = g->gout[0];
    if (g->wanted[0]) g->gin[0] = wf_mul(t, y, wf_square(t, b));
    if (g->wanted[1]) g->gin[1] = wf_mul_scalar(t, wf_mul(t, y, wf_mul(t, a, b)), 2);
}

static inline bool toy_reference(wf_tape *t, const wf_reference *r)
{
    r->out[0] = wf_mul(t, r->in[0], wf_square(t, r->in[1]));
    return r->out[0] != NULL;
}

static inline bool toy_sample(int k, wf_sample *s)
{
    if (k) return false;
    s->label = "matrix";
    s->n_in = 2;
    for (int i = 0; i < 2; i++) {
        s->in[i].dtype = WF_F64;
        s->in[i].shape = WF_SHAPE(3, 4);
        s->in[i].low = -2;
        s->in[i].high = 2;
    }
    return true;
}

static inline wf_op toy(void)
{
    return (wf_op){ .name = "toy",
                    .doc = "a b^2",
                    .inputs = 2,
                    .outputs = 1,
                    .reads_in = 3,
                    .shape = toy_shape,
                    .forward = toy_forward,
                    .backward = toy_backward,
                    .gradient = toy_gradient,
                    .reference = toy_reference,
                    .sample = toy_sample };
}

/* A function of vars with one output, for wf_gradcheck. */
#define FUNCTION(name, expression)                                                                 \
    static bool name(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n)        \
    {                                                                                              \
        (void)context;                                                                             \
        *n = 1;                                                                                    \
        return (out[0] = expression) != NULL;                                                      \
    }

/* The toy, or a row of the library, with a member changed: TOY(doc = NULL). */
static inline wf_op *changed(void)
{
    static wf_op op;
    return &op;
}
#define TOY(...) (*changed() = toy(), changed()->__VA_ARGS__, changed())
#define ROW(name, ...) (*changed() = *op_named(name), changed()->__VA_ARGS__, changed())

static inline void must_pass(const wf_op *op)
{
    assert_proved(wf_op_check(op, NULL));
}

static inline void must_fail(const wf_op *op, const char *saying)
{
    wf_report r = wf_op_check(op, NULL);
    ck_assert_msg(!r.ok, "not caught: should have said '%s'", saying);
    ck_assert_msg(strstr(r.text, saying), "said '%s', not '%s'", r.text, saying);
}

/* The fault is told, and by this law alone. */
static inline void only_law(uint32_t law, const wf_op *op, const char *saying)
{
    must_fail(op, saying);
    wf_report r = op_check_without(law, op, NULL, NULL);
    ck_assert_msg(r.ok, "told without the law, too: %s", r.text);
}

#endif
