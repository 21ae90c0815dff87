/* Parameters that do not learn, and those with a rate of their own. */
#include <string.h>

#include "tensor/runtime.h"
#include "tensor/text.h"
#include "train/private.h"

static bool freeze(wf_run *run, const char *names)
{
    return wf_module_freeze_named(run->plan.net, names, true) ||
           wf_run_fail(run, "option --freeze: no parameter has a name like '%s'", names);
}

/* "rnn.*=1e-3" */
static bool group(wf_run *run, const char *text)
{
    const char *equals = strrchr(text, '=');
    char names[256];
    double rate;
    if (!equals || equals - text >= (int64_t)sizeof names || !wf_parse_number(equals + 1, &rate) ||
        !(rate >= 0 && rate <= 1e3))
        return wf_run_fail(run, "option --group: '%s' is not NAMES=X, X a rate up to 1000", text);
    wf_format(names, sizeof names, "%.*s", (int)(equals - text), text);
    const int number = wf_optim_group(run->plan.optim, names);
    if (number >= 0) return wf_optim_set(run->plan.optim, number, "lr", rate);
    return wf_module_ok(run->plan.net, &run->error) || wf_run_fail(run, "option --group");
}

bool wf_run_groups_begin(wf_run *run)
{
    const wf_run_options *o = run->o;
    wf_optim *optim = run->plan.optim;
    for (int64_t i = 0; i < o->freeze.n; i++)
        if (!freeze(run, o->freeze.at[i])) return false;
    for (int64_t i = 0; optim && i < o->group.n; i++)
        if (!group(run, o->group.at[i])) return false;
    const int n = wf_optim_groups(optim);
    run->rates = wf_alloc((size_t)(n + 1) * sizeof *run->rates);
    if (!run->rates) return wf_run_fail(run, "run: not enough memory");
    for (int g = 0; g < n; g++) run->rates[g] = g ? wf_optim_get(optim, g, "lr") : o->lr;
    return true;
}

void wf_run_set_rates(wf_run *run, double part)
{
    for (int g = 0; g < wf_optim_groups(run->plan.optim); g++)
        wf_optim_set(run->plan.optim, g, "lr", run->rates[g] * part);
}
