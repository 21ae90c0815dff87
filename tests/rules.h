/* The built-in update rules as the suites try them: an optimiser by its rule's name and options'
 * names, and the kinds that there are, from the list in optim.h. */
#ifndef WEFT_TESTS_RULES_H
#define WEFT_TESTS_RULES_H

#include "tests/optimisers.h"

/* Options are text, "lr 0.05, momentum 0.9": takes the next one off it. False: there is none. */
static inline bool next_option(const char **text, char name[32], double *value)
{
    int n = 0;
    if (sscanf(*text, "%31s %lf%n", name, value, &n) < 2) return false;
    *text += n;
    if (**text == ',') (*text)++;
    return true;
}

/* lr comes first in all options, the others where the rule's own table has them. */
static inline void write_option(void *options, const wf_optim_option *table, const char *name,
                                double value)
{
    static const wf_optim_option lr = { .name = "lr" };
    if (!strcmp(name, lr.name)) table = &lr;
    while (table->name && strcmp(table->name, name)) table++;
    ck_assert_msg(table->name != NULL, "there is no option %s", name);
    char *at = (char *)options + table->offset;
    if (table->flag)
        *(bool *)at = value != 0;
    else
        memcpy(at, &value, sizeof value);
}

union options {
#define RULE(name) wf_##name##_options name;
    WF_OPTIM_RULES(RULE)
#undef RULE
};

/* An optimiser by its rule's name, of options or, where they are NULL, the defaults, which are
 * given back. */
static inline wf_optim *by_name(wf_module *net, const char *rule, union options *defaults,
                                const union options *options)
{
#define RULE(name)                                                                                 \
    if (!strcmp(rule, #name)) {                                                                    \
        if (defaults) defaults->name = wf_##name##_defaults();                                     \
        return wf_##name##_new(net, options ? &options->name : NULL);                              \
    }
    WF_OPTIM_RULES(RULE)
#undef RULE
    ck_abort_msg("there is no rule %s", rule);
    return NULL;
}

/* An optimiser of the rule as it begins, of a module to be thrown away, and its options. */
static inline wf_optim *plain_optimiser(wf_module *scratch, const char *rule, union options *o)
{
    param_of(scratch, "p", 1);
    wf_optim *plain = by_name(scratch, rule, o, NULL);
    ck_assert(plain != NULL);
    return plain;
}

/* With options written over the defaults. */
static inline wf_optim *optimiser_with(wf_module *net, const char *rule, const char *options)
{
    union options o;
    char name[32];
    double value;
    OWN(wf_module) *scratch = module_of(WF_F64);
    OWN(wf_optim) *plain = plain_optimiser(scratch, rule, &o);
    while (next_option(&options, name, &value))
        write_option(&o, wf_optim_rule_of(plain)->options, name, value);
    ck_assert_msg(!*options, "these are no options: %s", options);
    return by_name(net, rule, NULL, &o);
}

/* Two kinds of each rule: by its defaults, and with all of its options on that may be together. */
#define RULE(name) +2
enum { KINDS = 0 WF_OPTIM_RULES(RULE) };
#undef RULE
struct kind {
    const char *rule;
    char options[256];
};

/* What turns an option on: a flag, or a number that is 0 until it is wanted. An eps of 1e-3 keeps
 * apart what rounding would decide. Dampening excludes Nesterov, and laziness decay. */
static inline double value_on(const wf_optim_option *option, double now)
{
    if (!strcmp(option->name, "lazy") || !strcmp(option->name, "dampening")) return now;
    if (!strcmp(option->name, "eps")) return 1e-3;
    return now != 0 ? now : option->flag ? 1 : option->state ? 0.9 : 0.1;
}

static inline struct kind kind_at(int i)
{
#define RULE(name) #name,
    static const char *const rules[] = { WF_OPTIM_RULES(RULE) };
#undef RULE
    struct kind k = { .rule = rules[i / 2] };
    if (i % 2 == 0) return k;
    union options o;
    OWN(wf_module) *scratch = module_of(WF_F64);
    OWN(wf_optim) *plain = plain_optimiser(scratch, k.rule, &o);
    const wf_optim_option *option = wf_optim_rule_of(plain)->options;
    for (int n = 0; option->name; option++) {
        double now = wf_optim_get(plain, 0, option->name), on = value_on(option, now);
        if (on == now) continue;
        n += snprintf(k.options + n, sizeof k.options - (size_t)n, "%s%s %g", n ? ", " : "",
                      option->name, on);
    }
    return k;
}

static inline wf_optim *optimiser(wf_module *net, int i)
{
    const struct kind k = kind_at(i);
    return optimiser_with(net, k.rule, k.options);
}

/* ---- a module with an optimiser ---- */

typedef struct fixture {
    wf_module *net;
    wf_var *p, *q; /* q: of one number or more, or NULL */
    wf_optim *optim;
    wf_tape *t;
} fixture;

static inline void free_fixture(fixture *a)
{
    wf_tape_free(a->t);
    wf_optim_free(a->optim);
    wf_module_free(a->net);
}

static inline fixture fixture_with(wf_dtype dtype, int64_t p, int64_t q, const char *rule,
                                   const char *options)
{
    fixture a = { .net = module_of(dtype), .t = wf_tape_new(NULL) };
    a.p = param_of(a.net, "p", p);
    if (q > 0) a.q = param_of(a.net, "q", q);
    a.optim = optimiser_with(a.net, rule, options);
    ck_assert(a.optim && a.t);
    return a;
}

/* With an optimiser of one of the kinds. */
static inline fixture fixture_of(wf_dtype dtype, int64_t p, int64_t q, int i)
{
    const struct kind k = kind_at(i);
    return fixture_with(dtype, p, q, k.rule, k.options);
}

#endif
