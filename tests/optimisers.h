/* What the suites of optimisers share: parameters with gradients given to them, and a hash of all
 * that they move. */
#ifndef WEFT_TESTS_OPTIMISERS_H
#define WEFT_TESTS_OPTIMISERS_H

#include <weft.h>

#include "tests/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const harness_suite suite = { .after = nothing_is_left };

static inline wf_module *module_of(wf_dtype dtype)
{
    wf_module *net = wf_module_new("net", &(wf_module_options){ .seed = 7, .dtype = dtype });
    ck_assert(wf_module_ok(net, NULL));
    return net;
}

static inline wf_var *param_of(wf_module *module, const char *name, int64_t count)
{
    wf_var *p = wf_param_new(module, name, WF_SHAPE(count),
                             (wf_init){ .kind = WF_INIT_UNIFORM, .a = -1, .b = 1 });
    ck_assert(p != NULL);
    return p;
}

/* Adds to p's gradient numbers that depend on (key, index) alone. */
static inline void give_grad(wf_tape *t, wf_var *p, uint64_t key)
{
    wf_tape_reset(t);
    wf_var *g = drawn(t, wf_dtype_of(p), wf_shape_of(p), key, -0.5, 0.5);
    ck_assert_msg(wf_backward_from(t, 1, &p, &g), "%s", wf_tape_error(t));
}

/* Adds a gradient of one number; one that is not finite, which no sweep hands over, is written. */
static inline void give_number(wf_tape *t, wf_var *p, double number)
{
    wf_tape_reset(t);
    bool finite = number - number == 0;
    wf_var *g = wf_full(t, wf_dtype_of(p), wf_shape_of(p), finite ? number : 1);
    ck_assert_msg(wf_backward_from(t, 1, &p, &g), "%s", wf_tape_error(t));
    if (!finite) wf_tensor_fill(wf_param_grad(p), number);
}

/* Sets every element of p. */
static inline void set_number(wf_var *p, double number)
{
    wf_tensor_fill(wf_param_value(p), number);
    wf_param_changed(p);
}

/* Values, buffers, counts and rates of everything that an optimiser of this module moves. */
static inline uint64_t hash_all(const wf_module *net, const wf_optim *optim)
{
    uint64_t hash = HASH;
    const wf_tensor *x;
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        hash = hash_tensor(hash, wf_param_value(wf_module_param_at(net, i)));
        for (int k = 0; (x = wf_optim_state(optim, i, k)); k++) hash = hash_tensor(hash, x);
        hash = hash_bytes(hash, &(int64_t){ wf_optim_steps_of(optim, i) }, sizeof(int64_t));
    }
    for (int g = 0; g < wf_optim_groups(optim); g++)
        hash = hash_bytes(hash, &(double){ wf_optim_get(optim, g, "lr") }, sizeof(double));
    return hash_bytes(hash, &(int64_t){ wf_optim_steps(optim) }, sizeof(int64_t));
}

#endif
