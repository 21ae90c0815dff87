/* The built-in update rules as rows: their options with ranges and defaults, and their
 * constructors, which choose the row that has the buffers the options need. */
#include "optim/private.h"
#include "tensor/par.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static void update_sgd(const wf_optim_call *c)
{
    optim_kernels(c->dtype)->sgd(c);
}

static void update_rmsprop(const wf_optim_call *c)
{
    optim_kernels(c->dtype)->rmsprop(c);
}

static void update_adam(const wf_optim_call *c)
{
    optim_kernels(c->dtype)->adam(c);
}

static void update_adamw(const wf_optim_call *c)
{
    optim_kernels(c->dtype)->adamw(c);
}

/* Their names, which also mark whose defaults options began as. */
static const char sgd[] = "sgd", rmsprop[] = "rmsprop", adam[] = "adam", adamw[] = "adamw";

/* ---- what their options are ---- */

#define IN(type, field, from, to)                                                                  \
    {                                                                                              \
        .name = #field, .offset = offsetof(type, field), .least = (from), .below = (to)            \
    }
#define FLAG(type, field)                                                                          \
    {                                                                                              \
        .name = #field, .offset = offsetof(type, field), .flag = true                              \
    }
#define ANY (double)INFINITY

static const wf_optim_option sgd_options[] = {
    IN(wf_sgd_options, momentum, 0, ANY),     IN(wf_sgd_options, dampening, 0, 0),
    IN(wf_sgd_options, weight_decay, 0, ANY), FLAG(wf_sgd_options, nesterov),
    FLAG(wf_sgd_options, maximize),           FLAG(wf_sgd_options, lazy),
    { .name = NULL },
};
static const wf_optim_option rmsprop_options[] = {
    IN(wf_rmsprop_options, alpha, 0, 1),      IN(wf_rmsprop_options, eps, 0, ANY),
    IN(wf_rmsprop_options, momentum, 0, ANY), IN(wf_rmsprop_options, weight_decay, 0, ANY),
    FLAG(wf_rmsprop_options, centered),       FLAG(wf_rmsprop_options, lazy),
    { .name = NULL },
};
static const wf_optim_option adam_options[] = {
    IN(wf_adam_options, beta1, 0, 1), IN(wf_adam_options, beta2, 0, 1),
    IN(wf_adam_options, eps, 0, ANY), IN(wf_adam_options, weight_decay, 0, ANY),
    FLAG(wf_adam_options, amsgrad),   FLAG(wf_adam_options, lazy),
    { .name = NULL },
};

/* Has the rule the buffer that an option which is on works in? */
static bool has(const wf_optim_rule *rule, const char *option, bool on, const char *state,
                wf_error *error)
{
    for (int k = 0; on && k < rule->states; k++) on = strcmp(rule->state_names[k], state) != 0;
    if (!on) return true;
    return wf_error_set(error, "%s: .%s works in the buffer '%s', which it was made without",
                        rule->name, option, state);
}

/* Decay moves every row of a table. */
static bool lazy_fits(const wf_optim_rule *rule, bool lazy, double decay, wf_error *error)
{
    if (!lazy || decay == 0) return true;
    return wf_error_set(error,
                        "%s: .lazy moves only rows that were looked up, and .weight_decay of %g "
                        "would move all",
                        rule->name, decay);
}

static bool rows_only_sgd(const void *options)
{
    const wf_sgd_options *o = options;
    return o->lazy || (o->momentum == 0 && o->weight_decay == 0);
}

static bool rows_only_rmsprop(const void *options)
{
    return ((const wf_rmsprop_options *)options)->lazy;
}

static bool rows_only_adam(const void *options)
{
    return ((const wf_adam_options *)options)->lazy;
}

static bool check_sgd(const wf_optim_rule *rule, const void *options, wf_error *error)
{
    const wf_sgd_options *o = options;
    if (o->nesterov && (o->momentum == 0 || o->dampening != 0))
        return wf_error_set(
            error, "sgd: .nesterov wants .momentum above 0 and .dampening 0; they are %g and %g",
            o->momentum, o->dampening);
    return lazy_fits(rule, o->lazy, o->weight_decay, error) &&
           has(rule, "momentum", o->momentum > 0, "momentum_buffer", error);
}

static bool check_rmsprop(const wf_optim_rule *rule, const void *options, wf_error *error)
{
    const wf_rmsprop_options *o = options;
    return lazy_fits(rule, o->lazy, o->weight_decay, error) &&
           has(rule, "momentum", o->momentum > 0, "momentum_buffer", error) &&
           has(rule, "centered", o->centered, "grad_avg", error);
}

static bool check_adam(const wf_optim_rule *rule, const void *options, wf_error *error)
{
    const wf_adam_options *o = options;
    return lazy_fits(rule, o->lazy, o->weight_decay, error) &&
           has(rule, "amsgrad", o->amsgrad, "max_exp_avg_sq", error);
}

/* ---- the rows ---- */

/* Indexed by what needs a buffer of its own. Buffers have the names that they have in PyTorch. */
#define SGD(n, ...)                                                                                \
    {                                                                                              \
        .name = sgd, .states = (n), .state_names = { __VA_ARGS__ }, .options = sgd_options,        \
        .options_size = sizeof(wf_sgd_options), .check = check_sgd, .update = update_sgd,          \
        .rows_only = rows_only_sgd                                                                 \
    }
#define RMSPROP(n, ...)                                                                            \
    {                                                                                              \
        .name = rmsprop, .states = (n), .state_names = { "square_avg", __VA_ARGS__ },              \
        .options = rmsprop_options, .options_size = sizeof(wf_rmsprop_options), .squares = true,   \
        .check = check_rmsprop, .update = update_rmsprop, .rows_only = rows_only_rmsprop           \
    }
#define ADAM(rule, n, ...)                                                                         \
    {                                                                                              \
        .name = rule, .states = (n), .state_names = { "exp_avg", "exp_avg_sq", __VA_ARGS__ },      \
        .options = adam_options, .options_size = sizeof(wf_adam_options), .squares = true,         \
        .check = check_adam, .update = update_##rule, .rows_only = rows_only_adam                  \
    }

static const wf_optim_rule sgd_rules[2] = { SGD(0, NULL), SGD(1, "momentum_buffer") };
static const wf_optim_rule rmsprop_rules[2][2] = {
    { RMSPROP(1, NULL), RMSPROP(2, "grad_avg") },
    { RMSPROP(2, "momentum_buffer"), RMSPROP(3, "momentum_buffer", "grad_avg") },
};
static const wf_optim_rule adam_rules[2] = { ADAM(adam, 2, NULL), ADAM(adam, 3, "max_exp_avg_sq") };
static const wf_optim_rule adamw_rules[2] = { ADAM(adamw, 2, NULL),
                                              ADAM(adamw, 3, "max_exp_avg_sq") };

/* ---- defaults and constructors ---- */

wf_sgd_options wf_sgd_defaults(void)
{
    return (wf_sgd_options){ .lr = 1e-3, .rule = sgd };
}

wf_rmsprop_options wf_rmsprop_defaults(void)
{
    return (wf_rmsprop_options){ .lr = 1e-2, .alpha = 0.99, .eps = 1e-8, .rule = rmsprop };
}

wf_adam_options wf_adam_defaults(void)
{
    return (wf_adam_options){ .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .rule = adam };
}

wf_adamw_options wf_adamw_defaults(void)
{
    wf_adamw_options o = wf_adam_defaults();
    o.weight_decay = 1e-2;
    o.rule = adamw;
    return o;
}

/* Options that began as zeros, or as another rule's defaults, hold numbers that nobody wrote. The
 * mark is compared as an address: in memory that was never set it leads nowhere. */
static bool began_here(wf_module *module, const char *rule, const char *began)
{
    if (began == rule) return true;
    return wf_module_fail(module,
                          "%s: its options did not begin as wf_%s_defaults()\n  hint: what that "
                          "returns is to be changed and given",
                          rule, rule);
}

wf_optim *wf_sgd_new(wf_module *module, const wf_sgd_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_sgd_options o = options ? *options : wf_sgd_defaults();
    if (!began_here(module, sgd, o.rule)) return NULL;
    return wf_optim_new(module, &sgd_rules[o.momentum > 0], o.lr, &o);
}

wf_optim *wf_rmsprop_new(wf_module *module, const wf_rmsprop_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_rmsprop_options o = options ? *options : wf_rmsprop_defaults();
    if (!began_here(module, rmsprop, o.rule)) return NULL;
    return wf_optim_new(module, &rmsprop_rules[o.momentum > 0][o.centered], o.lr, &o);
}

wf_optim *wf_adam_new(wf_module *module, const wf_adam_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_adam_options o = options ? *options : wf_adam_defaults();
    if (!began_here(module, adam, o.rule)) return NULL;
    return wf_optim_new(module, &adam_rules[o.amsgrad], o.lr, &o);
}

wf_optim *wf_adamw_new(wf_module *module, const wf_adamw_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_adamw_options o = options ? *options : wf_adamw_defaults();
    if (!began_here(module, adamw, o.rule)) return NULL;
    return wf_optim_new(module, &adamw_rules[o.amsgrad], o.lr, &o);
}
