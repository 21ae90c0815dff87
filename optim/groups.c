/* Groups of parameters, chosen by patterns of paths, and options by name, one group's or all. */
#include "optim/private.h"
#include "tensor/par.h"
#include "tensor/runtime.h"

#include <math.h>
#include <string.h>

/* ---- options by name ---- */

bool optim_is_rate(double lr)
{
    return lr >= 0 && !isinf(lr);
}

double optim_option_get(const wf_optim_option *option, const void *options)
{
    const char *at = (const char *)options + option->offset;
    double value;
    if (option->flag) return *(const bool *)at;
    memcpy(&value, at, sizeof value);
    return value;
}

void optim_option_set(const wf_optim_option *option, void *options, double value)
{
    char *at = (char *)options + option->offset;
    if (option->flag)
        *(bool *)at = value != 0;
    else
        memcpy(at, &value, sizeof value);
}

static bool option_fits(const char *rule, const wf_optim_option *option, double value,
                        wf_error *error)
{
    if (option->flag) {
        if (value == 0 || value == 1) return true;
        return wf_error_set(error, "%s: .%s is %g; it must be 0 or 1", rule, option->name, value);
    }
    if (option->least == 0 && option->below == 0) {
        if (isfinite(value)) return true;
        return wf_error_set(error, "%s: .%s is %g; it must be finite", rule, option->name, value);
    }
    if (value >= option->least && value < option->below) return true;
    return wf_error_set(error, "%s: .%s is %g; it must be in [%g, %g)", rule, option->name, value,
                        option->least, option->below);
}

static bool has_state(const wf_optim_rule *rule, const char *name)
{
    int k = 0;
    while (k < rule->states && strcmp(rule->state_names[k], name) != 0) k++;
    return k < rule->states;
}

bool optim_options_check(const wf_optim_rule *rule, const void *options, wf_error *error)
{
    for (const wf_optim_option *o = rule->options; o && o->name; o++)
        if (!option_fits(rule->name, o, optim_option_get(o, options), error)) return false;
    if (rule->check && !rule->check(rule, options, error)) return false;
    for (const wf_optim_option *o = rule->options; o && o->name; o++)
        if (o->state && optim_option_get(o, options) != 0 && !has_state(rule, o->state))
            return wf_error_set(error,
                                "%s: .%s works in the buffer '%s', which it was made without",
                                rule->name, o->name, o->state);
    return true;
}

static const wf_optim_option *option_named(const wf_optim_rule *rule, const char *name)
{
    for (const wf_optim_option *o = rule->options; o && o->name; o++)
        if (!strcmp(o->name, name)) return o;
    return NULL;
}

double optim_option_named(const wf_optim_rule *rule, const void *options, const char *name)
{
    const wf_optim_option *o = option_named(rule, name);
    return o ? optim_option_get(o, options) : (double)NAN;
}

bool wf_optim_set(wf_optim *o, int at, const char *name, double value)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!o || at == -1) return false;
    const char *rule = o->rule.name;
    wf_error e = { "" };
    if (at < 0 || at >= o->groups) {
        optim_complain("%s: there is no group %d; the last is %d", rule, at, o->groups - 1);
        return false;
    }
    group *g = &o->group[at];
    if (name && !strcmp(name, "lr")) {
        if (optim_is_rate(value)) return g->lr = value, true;
        wf_error_set(&e, "%s: .lr is %g; it must be in [0, inf)", rule, value);
    } else {
        const wf_optim_option *option = name ? option_named(&o->rule, name) : NULL;
        if (!option) {
            optim_complain("%s: it has no option '%s'", rule, name ? name : "");
            return false;
        }
        memcpy(o->candidate, g->options, o->rule.options_size);
        /* A flag's value is judged before it is narrowed to one. */
        if (option_fits(rule, option, value, &e)) {
            optim_option_set(option, o->candidate, value);
            if (optim_options_check(&o->rule, o->candidate, &e)) {
                memcpy(g->options, o->candidate, o->rule.options_size);
                return true;
            }
        }
    }
    optim_complain("%s, and nothing was changed", e.text);
    return false;
}

double wf_optim_get(const wf_optim *o, int at, const char *name)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!o || !name || at < 0 || at >= o->groups) return (double)NAN;
    if (!strcmp(name, "lr")) return o->group[at].lr;
    return optim_option_named(&o->rule, o->group[at].options, name);
}

double wf_optim_lr(const wf_optim *o)
{
    return o ? o->group[0].lr : (double)NAN;
}

void wf_optim_set_lr(wf_optim *o, double lr)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!o) return;
    if (!optim_is_rate(lr)) {
        optim_complain("%s: the learning rate was to be %g; it must be in [0, inf), and stays %g",
                       o->rule.name, lr, o->group[0].lr);
        return;
    }
    for (int i = 0; i < o->groups; i++) o->group[i].lr = lr;
}

/* ---- groups ---- */

group *optim_group_add(wf_optim *o, const char *pattern, double lr, const void *options)
{
    if (o->groups == o->room) {
        int room = o->room ? 2 * o->room : 1;
        group *more = wf_alloc_zero((size_t)room * sizeof *more);
        if (!more) return NULL;
        if (o->groups) memcpy(more, o->group, (size_t)o->groups * sizeof *more);
        wf_release(o->group);
        o->group = more;
        o->room = room;
    }
    size_t bytes = o->rule.options_size;
    group *g = &o->group[o->groups];
    *g = (group){ .lr = lr };
    g->pattern = pattern ? wf_alloc(strlen(pattern) + 1) : NULL;
    g->options = wf_alloc(bytes);
    o->groups++;
    if ((pattern && !g->pattern) || (bytes && !g->options)) {
        optim_group_drop(o);
        return NULL;
    }
    if (pattern) memcpy(g->pattern, pattern, strlen(pattern) + 1);
    if (bytes) memcpy(g->options, options, bytes);
    return g;
}

void optim_group_drop(wf_optim *o)
{
    group *g = &o->group[--o->groups];
    wf_release(g->pattern);
    wf_release(g->options);
}

int wf_optim_group(wf_optim *o, const char *pattern)
{
    if (!o) return -1;
    const char *rule = o->rule.name;
    if (!pattern) {
        wf_module_fail(o->module, "%s: a group needs a pattern of paths", rule);
        return -1;
    }
    int64_t found = 0;
    for (int64_t i = 0; i < o->slots; i++) {
        const slot *s = &o->slot[i];
        if (!wf_path_matches(pattern, s->path)) continue;
        found++;
        if (s->group == 0) continue;
        wf_module_fail(o->module, "%s: '%s' matches '%s', which is in group '%s' already", rule,
                       pattern, s->path, o->group[s->group].pattern);
        return -1;
    }
    if (found == 0) {
        wf_module_fail(o->module, "%s: no parameter matches '%s'; the first of %lld is '%s'", rule,
                       pattern, (long long)o->slots, o->slot[0].path);
        return -1;
    }
    if (!optim_group_add(o, pattern, o->group[0].lr, o->group[0].options)) {
        wf_module_fail(o->module, "%s: out of memory for group '%s'", rule, pattern);
        return -1;
    }
    int number = o->groups - 1;
    for (int64_t i = 0; i < o->slots; i++)
        if (wf_path_matches(pattern, o->slot[i].path)) o->slot[i].group = number;
    return number;
}

int wf_optim_groups(const wf_optim *o)
{
    return o ? o->groups : 0;
}

int wf_optim_group_of(const wf_optim *o, int64_t i)
{
    return o && i >= 0 && i < o->slots ? o->slot[i].group : -1;
}
