/* The built-in update rules as rows, and their constructors: defaults, ranges, and which row the
 * options choose. */
#include "optim/private.h"

#include <math.h>

static void update_sgd(const wf_optim_call *c)
{
    optim_kernels()->sgd(c);
}

static void update_rmsprop(const wf_optim_call *c)
{
    optim_kernels()->rmsprop(c);
}

static void update_adam(const wf_optim_call *c)
{
    optim_kernels()->adam(c);
}

static void update_adamw(const wf_optim_call *c)
{
    optim_kernels()->adamw(c);
}

/* Indexed by what needs a buffer of its own. Buffers have the names that they have in PyTorch. */
static const wf_optim_rule sgd_rules[2] = {
    { .name = "sgd", .options_size = sizeof(wf_sgd_options), .update = update_sgd },
    { .name = "sgd",
      .states = 1,
      .state_names = { "momentum_buffer" },
      .options_size = sizeof(wf_sgd_options),
      .update = update_sgd },
};
static const wf_optim_rule rmsprop_rules[2][2] = {
    { { .name = "rmsprop",
        .states = 1,
        .state_names = { "square_avg" },
        .options_size = sizeof(wf_rmsprop_options),
        .update = update_rmsprop },
      { .name = "rmsprop",
        .states = 2,
        .state_names = { "square_avg", "grad_avg" },
        .options_size = sizeof(wf_rmsprop_options),
        .update = update_rmsprop } },
    { { .name = "rmsprop",
        .states = 2,
        .state_names = { "square_avg", "momentum_buffer" },
        .options_size = sizeof(wf_rmsprop_options),
        .update = update_rmsprop },
      { .name = "rmsprop",
        .states = 3,
        .state_names = { "square_avg", "momentum_buffer", "grad_avg" },
        .options_size = sizeof(wf_rmsprop_options),
        .update = update_rmsprop } },
};
static const wf_optim_rule adam_rules[2] = {
    { .name = "adam",
      .states = 2,
      .state_names = { "exp_avg", "exp_avg_sq" },
      .options_size = sizeof(wf_adam_options),
      .update = update_adam },
    { .name = "adam",
      .states = 3,
      .state_names = { "exp_avg", "exp_avg_sq", "max_exp_avg_sq" },
      .options_size = sizeof(wf_adam_options),
      .update = update_adam },
};
static const wf_optim_rule adamw_rules[2] = {
    { .name = "adamw",
      .states = 2,
      .state_names = { "exp_avg", "exp_avg_sq" },
      .options_size = sizeof(wf_adam_options),
      .update = update_adamw },
    { .name = "adamw",
      .states = 3,
      .state_names = { "exp_avg", "exp_avg_sq", "max_exp_avg_sq" },
      .options_size = sizeof(wf_adam_options),
      .update = update_adamw },
};

/* What an option of zero means, and what -1 does. */
static double or_default(double given, double standard)
{
    double value = given != 0 ? given : standard;
    return value == -1.0 ? 0 : value;
}

/* Is value in [0, end)? Says so otherwise. */
static bool in_range(wf_module *module, const char *rule, const char *field, double value,
                     double end)
{
    if (value >= 0 && value < end) return true;
    return wf_module_fail(module, "%s: .%s is %g; it must be in [0, %g)", rule, field, value, end);
}

wf_optim *wf_sgd_new(wf_module *module, const wf_sgd_options *options)
{
    wf_sgd_options o = options ? *options : (wf_sgd_options){ 0 };
    const double end = (double)INFINITY;
    o.lr = o.lr != 0 ? o.lr : 1e-3;
    if (!in_range(module, "sgd", "lr", o.lr, end) ||
        !in_range(module, "sgd", "momentum", o.momentum, end) ||
        !in_range(module, "sgd", "weight_decay", o.weight_decay, end)) {
        return NULL;
    }
    if (isnan(o.dampening) || isinf(o.dampening)) {
        wf_module_fail(module, "sgd: .dampening is %g; it must be finite", o.dampening);
        return NULL;
    }
    if (o.nesterov && (o.momentum == 0 || o.dampening != 0)) {
        wf_module_fail(
            module, "sgd: .nesterov wants .momentum above 0 and .dampening 0; they are %g and %g",
            o.momentum, o.dampening);
        return NULL;
    }
    return wf_optim_new(module, &sgd_rules[o.momentum > 0], o.lr, &o);
}

wf_optim *wf_rmsprop_new(wf_module *module, const wf_rmsprop_options *options)
{
    wf_rmsprop_options o = options ? *options : (wf_rmsprop_options){ 0 };
    const double end = (double)INFINITY;
    o.lr = o.lr != 0 ? o.lr : 1e-2;
    o.alpha = or_default(o.alpha, 0.99);
    o.eps = or_default(o.eps, 1e-8);
    if (!in_range(module, "rmsprop", "lr", o.lr, end) ||
        !in_range(module, "rmsprop", "alpha", o.alpha, 1) ||
        !in_range(module, "rmsprop", "eps", o.eps, end) ||
        !in_range(module, "rmsprop", "momentum", o.momentum, end) ||
        !in_range(module, "rmsprop", "weight_decay", o.weight_decay, end)) {
        return NULL;
    }
    return wf_optim_new(module, &rmsprop_rules[o.momentum > 0][o.centered], o.lr, &o);
}

/* Adam and AdamW differ in their name, their row and the default of the decay. */
static wf_optim *adam_new(wf_module *module, const char *name, const wf_optim_rule rules[2],
                          wf_adam_options o)
{
    const double end = (double)INFINITY;
    o.lr = o.lr != 0 ? o.lr : 1e-3;
    o.beta1 = or_default(o.beta1, 0.9);
    o.beta2 = or_default(o.beta2, 0.999);
    o.eps = or_default(o.eps, 1e-8);
    if (!in_range(module, name, "lr", o.lr, end) || !in_range(module, name, "beta1", o.beta1, 1) ||
        !in_range(module, name, "beta2", o.beta2, 1) ||
        !in_range(module, name, "eps", o.eps, end) ||
        !in_range(module, name, "weight_decay", o.weight_decay, end)) {
        return NULL;
    }
    return wf_optim_new(module, &rules[o.amsgrad], o.lr, &o);
}

wf_optim *wf_adam_new(wf_module *module, const wf_adam_options *options)
{
    return adam_new(module, "adam", adam_rules, options ? *options : (wf_adam_options){ 0 });
}

wf_optim *wf_adamw_new(wf_module *module, const wf_adamw_options *options)
{
    wf_adamw_options o = options ? *options : (wf_adamw_options){ 0 };
    return adam_new(module, "adamw", adamw_rules,
                    (wf_adam_options){
                        .lr = o.lr,
                        .beta1 = o.beta1,
                        .beta2 = o.beta2,
                        .eps = o.eps,
                        .weight_decay = or_default(o.weight_decay, 1e-2),
                        .amsgrad = o.amsgrad,
                    });
}
