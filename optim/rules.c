/* The built-in update rules: what their rows are written in, and how an optimiser is made of one.
 * The rules themselves stand in rules_kernels.inc. */
#include "optim/private.h"
#include "tensor/par.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

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

#include "optim/rules_kernels.inc"

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
static wf_optim *make(wf_module *module, const wf_optim_rule *row,
                      optim_update *const *const update[WF_DTYPES], const char *began, double lr,
                      const void *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_optim_rule rule = *row;
    if (began != rule.name) {
        wf_module_fail(module,
                       "%s: its options did not begin as wf_%s_defaults()\n  hint: what that "
                       "returns is to be changed and given",
                       rule.name, rule.name);
        return NULL;
    }
    rule.states = 0;
    for (int k = 0; k < row->states; k++)
        if (!is_idle(row, options, row->state_names[k]))
            rule.state_names[rule.states++] = row->state_names[k];
    rule.update = update[wf_module_dtype(module)][wf_isa_level()];
    return wf_optim_new(module, &rule, lr, options);
}

/* Of each rule the functions that optim.h declares. The name in its row also marks whose defaults
 * options began as. */
#define LEVELS(dtype, suffix, type, one)                                                           \
    [dtype] = (optim_update *const[]){ WF_ISA_EACH(optim_##one##_##suffix) },
#define DECLARE(dtype, suffix, type, one) extern optim_update WF_ISA_EACH(optim_##one##_##suffix);
#define RULE(one)                                                                                  \
    WF_FLOATS(DECLARE, one)                                                                        \
    static optim_update *const *const one##_update[WF_DTYPES] = { WF_FLOATS(LEVELS, one) };        \
    wf_##one##_options wf_##one##_defaults(void)                                                   \
    {                                                                                              \
        wf_##one##_options o = one##_defaults;                                                     \
        o.rule = one##_row.name;                                                                   \
        return o;                                                                                  \
    }                                                                                              \
    wf_optim *wf_##one##_new(wf_module *module, const wf_##one##_options *options)                 \
    {                                                                                              \
        wf_##one##_options o = options ? *options : wf_##one##_defaults();                         \
        return make(module, &one##_row, one##_update, o.rule, o.lr, &o);                           \
    }
WF_OPTIM_RULES(RULE)
