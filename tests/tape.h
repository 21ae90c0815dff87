/* One tape and a module of one parameter, new for every test of a suite that says so:
 * `.before = set_up, .after = tear_down`. Included by the suites, whose own copy it becomes. */
#ifndef WEFT_TESTS_TAPE_H
#define WEFT_TESTS_TAPE_H

#include "tests/fixture.h"

static wf_tape *t;
static wf_module *net;
static wf_var *weight; /* 1, 2, 3 */

static inline void tear_down(void)
{
    wf_tape_free(t);
    wf_module_free(net);
    t = NULL;
    net = NULL;
}

/* A new tape and module, in place of the old ones. */
static inline void set_up_with(wf_tape_options options)
{
    tear_down();
    t = wf_tape_new(&options);
    net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    weight = wf_param_new(net, "w", WF_SHAPE(3), (wf_init){ .kind = WF_INIT_ZERO });
    for (int i = 0; i < 3; i++) ((double *)wf_param_value(weight)->data)[i] = i + 1;
    wf_param_changed(weight);
    ck_assert(t && net && weight);
}

static inline void set_up(void)
{
    set_up_with((wf_tape_options){ .seed = 3 });
}

static inline wf_var *numbers(int64_t n)
{
    double x[16];
    for (int i = 0; i < 16; i++) x[i] = 0.5 * i - 1;
    return wf_leaf(t, WF_F64, WF_SHAPE(n), x);
}

static inline void param_grad_is(double a, double b, double c)
{
    const wf_tensor *g = wf_param_grad(weight);
    ck_assert_ptr_nonnull(g);
    ck_assert(wf_tensor_at(g, 0) == a && wf_tensor_at(g, 1) == b && wf_tensor_at(g, 2) == c);
}

#endif
