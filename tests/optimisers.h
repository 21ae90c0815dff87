/* What the suites of optimisers share: parameters with gradients given to
 * them, optimisers by name or by number, and a hash of all that they move. Included by the
 * suites, whose own copy it becomes. */
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

/* ---- optimisers ---- */

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
