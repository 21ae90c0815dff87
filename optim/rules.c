/* The built-in update rules, one block each: their options with ranges, what these exclude, the
 * row, the defaults and the constructor. Their loops stand in loops_kernels.inc. */
#include "optim/private.h"
#include "tensor/par.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* A row with all buffers that it may need, named as in PyTorch, and its loops by dtype and dispatch
 * level. Its name also marks whose defaults options began as. */
typedef struct built_in {
    wf_optim_rule rule;
    optim_update *const *update[WF_DTYPES];
} built_in;
#define UPDATES(rule)                                                                              \
    {                                                                                              \
        [WF_F32] = (optim_update *const[]){ WF_ISA_EACH(optim_##rule##_f32) },                     \
        [WF_F64] = (optim_update *const[]){ WF_ISA_EACH(optim_##rule##_f64) }                      \
    }

/* A number in [from, to) that works in a buffer unless it is 0; a flag; an option without one. */
#define IN_STATE(type, field, from, to, buffer)                                                    \
    {                                                                                              \
        .name = #field, .offset = offsetof(type, field), .least = (from), .below = (to),           \
        .state = (buffer)                                                                          \
    }
#define FLAG_STATE(type, field, buffer)                                                            \
    {                                                                                              \
        .name = #field, .offset = offsetof(type, field), .flag = true, .state = (buffer)           \
    }
#define IN(type, field, from, to) IN_STATE(type, field, from, to, NULL)
#define FLAG(type, field) FLAG_STATE(type, field, NULL)
#define ANY (double)INFINITY

/* ---- what they share ---- */

/* Decay moves every row of a table. */
static bool check_lazy(const wf_optim_rule *rule, const void *options, wf_error *error)
{
    double decay = optim_option_named(rule, options, "weight_decay");
    if (optim_option_named(rule, options, "lazy") == 0 || decay == 0) return true;
    return wf_error_set(error,
                        "%s: .lazy moves only rows that were looked up, and .weight_decay of %g "
                        "would move all",
                        rule->name, decay);
}

static bool is_lazy(const wf_optim_rule *rule, const void *options)
{
    return optim_option_named(rule, options, "lazy") != 0;
}

/* Is there an option that works in the buffer, and are all such off? */
static bool is_idle(const wf_optim_rule *rule, const void *options, const char *state)
{
    bool idle = false;
    for (const wf_optim_option *o = rule->options; o->name; o++) {
        if (!o->state || strcmp(o->state, state) != 0) continue;
        if (optim_option_get(o, options) != 0) return false;
        idle = true;
    }
    return idle;
}

/* An optimiser with the buffers that its options need. Options that began as zeros, or as another
 * rule's defaults, hold numbers that nobody wrote. The mark is compared as an address: in memory
 * that was never set it leads nowhere. */
static wf_optim *make(wf_module *module, const built_in *b, const char *began, double lr,
                      const void *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_optim_rule rule = b->rule;
    if (began != rule.name) {
        wf_module_fail(module,
                       "%s: its options did not begin as wf_%s_defaults()\n  hint: what that "
                       "returns is to be changed and given",
                       rule.name, rule.name);
        return NULL;
    }
    rule.states = 0;
    for (int k = 0; k < b->rule.states; k++)
        if (!is_idle(&b->rule, options, b->rule.state_names[k]))
            rule.state_names[rule.states++] = b->rule.state_names[k];
    rule.update = b->update[wf_module_dtype(module)][wf_isa_level()];
    return wf_optim_new(module, &rule, lr, options);
}

/* ---- sgd ---- */

static const wf_optim_option sgd_options[] = {
    IN_STATE(wf_sgd_options, momentum, 0, ANY, "momentum_buffer"),
    IN(wf_sgd_options, dampening, 0, 0),
    IN(wf_sgd_options, weight_decay, 0, ANY),
    FLAG(wf_sgd_options, nesterov),
    FLAG(wf_sgd_options, maximize),
    FLAG(wf_sgd_options, lazy),
    { .name = NULL },
};

static bool check_sgd(const wf_optim_rule *rule, const void *options, wf_error *error)
{
    const wf_sgd_options *o = options;
    if (!o->nesterov || (o->momentum != 0 && o->dampening == 0))
        return check_lazy(rule, options, error);
    return wf_error_set(error,
                        "sgd: .nesterov wants .momentum above 0 and .dampening 0; they are %g and "
                        "%g",
                        o->momentum, o->dampening);
}

static bool rows_only_sgd(const wf_optim_rule *rule, const void *options)
{
    const wf_sgd_options *o = options;
    return is_lazy(rule, options) || (o->momentum == 0 && o->weight_decay == 0);
}

extern optim_update WF_ISA_EACH(optim_sgd_f32), WF_ISA_EACH(optim_sgd_f64);
static const built_in sgd = {
    { .name = "sgd",
      .states = 1,
      .state_names = { "momentum_buffer" },
      .options = sgd_options,
      .options_size = sizeof(wf_sgd_options),
      .check = check_sgd,
      .rows_only = rows_only_sgd },
    UPDATES(sgd),
};

wf_sgd_options wf_sgd_defaults(void)
{
    return (wf_sgd_options){ .lr = 1e-3, .rule = sgd.rule.name };
}

wf_optim *wf_sgd_new(wf_module *module, const wf_sgd_options *options)
{
    wf_sgd_options o = options ? *options : wf_sgd_defaults();
    return make(module, &sgd, o.rule, o.lr, &o);
}

/* ---- rmsprop ---- */

static const wf_optim_option rmsprop_options[] = {
    IN(wf_rmsprop_options, alpha, 0, 1),
    IN(wf_rmsprop_options, eps, 0, ANY),
    IN_STATE(wf_rmsprop_options, momentum, 0, ANY, "momentum_buffer"),
    IN(wf_rmsprop_options, weight_decay, 0, ANY),
    FLAG_STATE(wf_rmsprop_options, centered, "grad_avg"),
    FLAG(wf_rmsprop_options, lazy),
    { .name = NULL },
};

extern optim_update WF_ISA_EACH(optim_rmsprop_f32), WF_ISA_EACH(optim_rmsprop_f64);
static const built_in rmsprop = {
    { .name = "rmsprop",
      .states = 3,
      .state_names = { "square_avg", "momentum_buffer", "grad_avg" },
      .options = rmsprop_options,
      .options_size = sizeof(wf_rmsprop_options),
      .squares = true,
      .check = check_lazy,
      .rows_only = is_lazy },
    UPDATES(rmsprop),
};

wf_rmsprop_options wf_rmsprop_defaults(void)
{
    return (wf_rmsprop_options){
        .lr = 1e-2, .alpha = 0.99, .eps = 1e-8, .rule = rmsprop.rule.name
    };
}

wf_optim *wf_rmsprop_new(wf_module *module, const wf_rmsprop_options *options)
{
    wf_rmsprop_options o = options ? *options : wf_rmsprop_defaults();
    return make(module, &rmsprop, o.rule, o.lr, &o);
}

/* ---- adam and adamw ---- */

static const wf_optim_option adam_options[] = {
    IN(wf_adam_options, beta1, 0, 1),
    IN(wf_adam_options, beta2, 0, 1),
    IN(wf_adam_options, eps, 0, ANY),
    IN(wf_adam_options, weight_decay, 0, ANY),
    FLAG_STATE(wf_adam_options, amsgrad, "max_exp_avg_sq"),
    FLAG(wf_adam_options, lazy),
    { .name = NULL },
};

#define ADAM(rule)                                                                                 \
    {                                                                                              \
        .name = (rule), .states = 3, .state_names = { "exp_avg", "exp_avg_sq", "max_exp_avg_sq" }, \
        .options = adam_options, .options_size = sizeof(wf_adam_options), .squares = true,         \
        .check = check_lazy, .rows_only = is_lazy                                                  \
    }

extern optim_update WF_ISA_EACH(optim_adam_f32), WF_ISA_EACH(optim_adam_f64);
static const built_in adam = { ADAM("adam"), UPDATES(adam) };

wf_adam_options wf_adam_defaults(void)
{
    return (wf_adam_options){
        .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .rule = adam.rule.name
    };
}

wf_optim *wf_adam_new(wf_module *module, const wf_adam_options *options)
{
    wf_adam_options o = options ? *options : wf_adam_defaults();
    return make(module, &adam, o.rule, o.lr, &o);
}

extern optim_update WF_ISA_EACH(optim_adamw_f32), WF_ISA_EACH(optim_adamw_f64);
static const built_in adamw = { ADAM("adamw"), UPDATES(adamw) };

wf_adamw_options wf_adamw_defaults(void)
{
    wf_adamw_options o = wf_adam_defaults();
    o.weight_decay = 1e-2;
    o.rule = adamw.rule.name;
    return o;
}

wf_optim *wf_adamw_new(wf_module *module, const wf_adamw_options *options)
{
    wf_adamw_options o = options ? *options : wf_adamw_defaults();
    return make(module, &adamw, o.rule, o.lr, &o);
}
