/* The file of a run: the weights that are used under their own names; under "now." those that
 * learn, where they are others; the optimiser; the best weights; the options; where the run
 * stood. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tensor/runtime.h"
#include "tensor/text.h"
#include "train/private.h"

static void put_best(wf_run *run, wf_bundle *b, char *used)
{
    size_t at = 0;
    wf_run_used(run, used);
    for (int64_t i = 0; i < wf_run_value_count(run); i++) {
        const wf_var *param = wf_run_value_at(run, i);
        const wf_tensor part = wf_run_part_of(param, used, &at);
        wf_bundle_add(b, wf_param_path(param), &part);
    }
    for (int k = 0; k < run->n_best; k++) {
        char key[32];
        at = 0;
        for (int64_t i = 0; i < wf_run_value_count(run); i++) {
            const wf_var *param = wf_run_value_at(run, i);
            const wf_tensor part = wf_run_part_of(param, run->best[k].weights, &at);
            wf_bundle_addf(b, &part, "best%d.%s", k, wf_param_path(param));
        }
        wf_format(key, sizeof key, "best%d.figure", k);
        wf_bundle_meta(b, key, "%.17g", run->best[k].figure);
    }
}

static void put_place(const wf_run *run, wf_bundle *b)
{
    wf_bundle_meta(b, "weft.model", "%s", run->call.name);
    wf_bundle_meta(b, "run.step", "%" PRId64, run->step);
    wf_bundle_meta(b, "run.epoch", "%" PRId64, run->epoch);
    wf_bundle_meta(b, "run.position", "%" PRId64, run->position);
    wf_bundle_meta(b, "run.halvings", "%" PRId64, run->halvings);
    wf_bundle_meta(b, "run.since_best", "%" PRId64, run->since_best);
    wf_bundle_meta(b, "run.steps_per_epoch", "%" PRId64, run->plan.steps_per_epoch);
    if (isfinite(run->figure)) wf_bundle_meta(b, "run.figure", "%.17g", run->figure);
    wf_bundle_meta(b, "run.data", "%s", run->data);
}

bool wf_run_save_now(wf_run *run)
{
    const wf_run_plan *plan = &run->plan;
    char *used = run->n_best ? wf_alloc(wf_run_weight_bytes(run)) : NULL;
    if (run->n_best && !used) return wf_error_set(&run->error, "save: not enough memory");
    wf_bundle *b = wf_bundle_new();
    if (used) put_best(run, b, used);
    wf_module_to_bundle(plan->net, b, used ? "now." : NULL);
    if (plan->optim) wf_optim_to_bundle(plan->optim, b, "optim.");
    wf_options_to_bundle(run->tables, 2, b);
    put_place(run, b);
    if (plan->save) plan->save(plan->self, b);
    bool ok = wf_bundle_save(b, run->o->save, &run->error);
    wf_bundle_free(b);
    wf_release(used);
    if (ok) run->saved = run->step;
    return ok;
}

/* The best weights of before, as many as there are. */
static bool load_best(wf_run *run)
{
    const char *path = run->o->load;
    for (; run->n_best < WF_RUN_AVERAGE; run->n_best++) {
        char key[32], prefix[32];
        kept *one = &run->best[run->n_best];
        wf_format(key, sizeof key, "best%d.figure", run->n_best);
        wf_format(prefix, sizeof prefix, "best%d.", run->n_best);
        if (!wf_archive_meta_number(run->archive, key, &one->figure)) break;
        const wf_load_options how = { .prefix = prefix, .allow_unexpected = true };
        if (!(one->weights = wf_alloc(wf_run_weight_bytes(run))))
            return wf_error_set(&run->error, "load %s: not enough memory", path);
        if (!wf_module_load_archive_with(run->plan.net, path, run->archive, &how, NULL,
                                         &run->error)) {
            wf_release(one->weights);
            return false;
        }
        size_t at = 0;
        for (int64_t i = 0; i < wf_run_value_count(run); i++) {
            const wf_var *param = wf_run_value_at(run, i);
            wf_tensor to = wf_run_part_of(param, one->weights, &at);
            wf_tensor_copy(wf_param_value(param), &to);
        }
    }
    wf_run_forget_best(run, run->o->average > 1 ? (int)run->o->average : 1);
    return true;
}

static bool load_place(wf_run *run)
{
    const wf_archive *a = run->archive;
    int64_t per = 0;
    const char *of = wf_archive_meta(a, "run.data");
    if (!wf_archive_meta_integer(a, "run.step", &run->step) ||
        !wf_archive_meta_integer(a, "run.epoch", &run->epoch) ||
        !wf_archive_meta_integer(a, "run.position", &run->position) ||
        !wf_archive_meta_integer(a, "run.halvings", &run->halvings) ||
        !wf_archive_meta_integer(a, "run.since_best", &run->since_best) ||
        !wf_archive_meta_integer(a, "run.steps_per_epoch", &per) || run->step < 0 ||
        run->epoch < 0 || run->position < 0)
        return wf_error_set(&run->error, "load %s: it does not say where its training stood",
                            run->o->load);
    wf_archive_meta_number(a, "run.figure", &run->figure);
    if (run->plan.endless) {
        run->epoch = run->step / run->plan.steps_per_epoch;
        run->position = run->step % run->plan.steps_per_epoch;
        return true;
    }
    if (wf_run_over(run) && of && per > 0) { /* saved again, it stands where it stood */
        wf_format(run->data, sizeof run->data, "%s", of);
        run->plan.steps_per_epoch = per;
        return true;
    }
    if (run->plan.uneven && of && !strcmp(of, run->data) && per > run->position) {
        run->plan.steps_per_epoch = per;
        return true;
    }
    if (of && !strcmp(of, run->data) && per == run->plan.steps_per_epoch) return true;
    if (run->position)
        wf_run_say(run, "%s: other data than before: epoch %" PRId64 " begins anew", run->call.name,
                   run->epoch + 1);
    run->position = 0;
    return true;
}

bool wf_run_load(wf_run *run)
{
    const wf_run_plan *plan = &run->plan;
    const char *path = run->o->load;
    const bool apart = wf_archive_meta(run->archive, "best0.figure") != NULL;
    wf_load_options how = { .allow_unexpected = true };
    if (!load_place(run)) return false;
    if (plan->adapted) {
        run->halvings = run->since_best = 0;
        run->figure = (double)NAN;
        run->position = plan->endless ? run->position : 0;
        return true;
    }
    if (plan->load && !plan->load(plan->self, path, run->archive, &run->error)) return false;
    if (!load_best(run)) return false;
    if (apart) how.prefix = "now.";
    if (!wf_module_load_archive_with(plan->net, path, run->archive, &how, NULL, &run->error))
        return false;
    return !plan->optim ||
           wf_optim_load_archive(plan->optim, path, run->archive, "optim.", &run->error);
}
