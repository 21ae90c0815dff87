/* wf_backward: a sweep into the tape's own gradients, which are committed to parameters all or
 * none. */
#include "autograd/state_private.h"
#include "autograd/sweep_private.h"

#include <math.h>
#include <string.h>

enum { FEW = 16 };

/* Runs the hooks there are. One that a hook registers waits for the next commit; one that resets
 * the tape ends it, one that rewinds it does not: what waits lies before the mark. */
static void run_hooks(wf_tape *t)
{
    int64_t due = t->hooks.n;
    uint64_t generation = t->generation;
    for (int64_t i = 0; i < due; i++) {
        hook h = ((hook *)t->hooks.at)[i];
        h.fn(h.context);
        if (t->generation == generation) continue;
        if (i + 1 < due)
            wf_fail(t, "on_commit: a hook reset the tape, and %lld after it did not run",
                    (long long)(due - i - 1));
        return;
    }
    hook *all = t->hooks.at;
    t->hooks.n -= due;
    if (due) memmove(all, all + due, (size_t)t->hooks.n * sizeof *all);
}

static void fail_changed(wf_tape *t, const param *p)
{
    wf_fail(t,
            "backward: '%s' was changed between its use on this tape and the sweep"
            "\n  hint: wf_tape_reset begins the next step, after the optimiser's",
            p->path);
}

static bool commit(wf_tape *t)
{
    import *all = t->imports.at;
    int64_t locked = 0;
    bool ok = true;
    for (; ok && locked < t->imports.n; locked++) {
        param *p = all[locked].param;
        if (!all[locked].pending || p->frozen) continue;
        if (p->version != all[locked].version) {
            fail_changed(t, p);
            ok = false;
        } else if (!module_try_lock(module_root(p->module), t)) {
            wf_fail(t,
                    "backward: another tape is committing to '%s'\n  hint: order the commits of "
                    "several threads with .defer_commit and wf_tape_commit",
                    p->path);
            ok = false;
        }
    }
    for (int64_t i = 0; ok && i < t->imports.n; i++) {
        if (!all[i].pending) continue;
        param *p = all[i].param;
        if (p->frozen)
            param_grad_give(p, all[i].pending);
        else
            param_grad_commit(t, p, all[i].pending);
        all[i].pending = NULL;
    }
    for (int64_t i = 0; i < locked; i++) module_unlock(module_root(all[i].param->module), t);
    if (!ok) return false;
    run_hooks(t);
    return true;
}

/* What a sweep left at the imports waits for the commit; on a rehearsal it is dropped. */
static bool collect_imports(wf_tape *t, bool good)
{
    import *all = t->imports.at;
    for (int64_t i = 0; i < t->imports.n; i++) {
        wf_var *v = all[i].var;
        if (all[i].bound) continue;
        if (grad_arrived(v)) {
            grad_settle(t, v);
            param_grad **swept = &((imported *)v)->swept;
            if (good && *swept && !all[i].pending) {
                all[i].pending = *swept;
                *swept = NULL;
                v->grad = NULL;
            } else {
                if (good && *swept) param_grad_add(t->threads, all[i].pending, *swept);
                grad_drop(t, v);
            }
        }
        v->flags &= ~(uint32_t)(VAR_NEEDED | VAR_HELD | VAR_LANDS);
    }
    return good;
}

/* Kept gradients move from the sweep to their vars; views of one root share its memory. What is
 * to be committed is copied. */
static bool collect_kept(wf_tape *t, bool good)
{
    wf_var **kept = t->kept.at;
    for (int64_t i = 0; i < t->kept.n; i++) {
        wf_var *v = kept[i], *root = v->root;
        root->flags &= ~(uint32_t)(VAR_NEEDED | VAR_HELD);
        if (!good || !grad_arrived(root)) continue;
        grad_settle(t, root);
        wf_tensor place;
        if (!grad_view(t, v, &place)) return false;
        if (root->flags & VAR_IMPORT) {
            int64_t bytes;
            wf_tensor own = place;
            if (!tensor_settle(&own, &bytes) || !(own.data = grad_new(t, bytes))) return false;
            wf_tensor_copy(&place, &own);
            place = own;
        }
        *v->kept = place;
    }
    for (int64_t i = 0; i < t->kept.n; i++)
        if (!(kept[i]->root->flags & VAR_IMPORT)) kept[i]->root->grad = NULL;
    return good;
}

/* A gradient that is not finite never reaches a parameter: the sweep is run once more, up to the op
 * that made it. False after failing the tape. */
static bool imports_finite(wf_tape *t, int n, wf_var *const out[], wf_var *const cotangent[])
{
    import *all = t->imports.at;
    int64_t bad = 0;
    for (; bad < t->imports.n; bad++) {
        wf_var *v = all[bad].var;
        if (all[bad].bound || all[bad].frozen || !grad_arrived(v)) continue;
        grad_settle(t, v);
        param_grad *swept = ((imported *)v)->swept;
        if (swept && !param_grad_finite(swept, t->threads)) break;
    }
    if (bad == t->imports.n) return true;
    wf_tensor g = all[bad].var->value;
    g.data = all[bad].var->grad;
    const char *what = tensor_word(&g), *path = all[bad].param->path;
    for (int64_t i = 0; i < t->imports.n; i++)
        if (!all[i].bound) grad_drop(t, all[i].var);
    for (int64_t i = 0; i < t->kept.n; i++) ((wf_var **)t->kept.at)[i]->root->grad = NULL;
    const node *culprit = NULL;
    if (sweep_run(t, NULL, n, out, cotangent, &culprit) || !t->failed)
        blame_gradient(t, path, what, culprit, n, cotangent);
    return false;
}

static bool backward(wf_tape *t, int n, wf_var *const out[], wf_var *const cotangent[],
                     wf_var *here[], wf_var *with[])
{
    if (!sweep_enter(t, "backward", n, out, cotangent, here, with)) return false;
    for (int i = 0; i < n; i++)
        if (!with[i] && !isfinite(wf_item(here[i]))) {
            blame_value(t, here[i]);
            return false;
        }
    import *all = t->imports.at;
    for (int64_t i = 0; i < t->imports.n; i++) {
        if (all[i].bound) continue;
        if (!all[i].param->frozen)
            all[i].var->flags |= VAR_NEEDED | VAR_HELD | (t->rehearsal ? 0 : VAR_LANDS);
        if (all[i].param->version != all[i].version) {
            fail_changed(t, all[i].param);
            return collect_imports(t, false);
        }
    }
    wf_var **kept = t->kept.at;
    for (int64_t i = 0; i < t->kept.n; i++) {
        kept[i]->root->flags |= VAR_NEEDED | VAR_HELD;
        kept[i]->kept->data = NULL;
    }
    bool ok = sweep_run(t, "backward", n, here, with, NULL) &&
              (t->rehearsal || imports_finite(t, n, here, with));
    ok = collect_kept(t, ok);
    return collect_imports(t, ok);
}

static bool backward_all(wf_tape *t, int n, wf_var *const out[], wf_var *const cotangent[])
{
    WF_TAPE_SCOPE tape_scope inside = tape_enter(t);
    wf_var *few[2 * FEW];
    wf_var **here = few;
    int64_t bytes = 2 * n * (int64_t)sizeof *here;
    if (n > FEW && !(here = tape_borrow(t, "backward", bytes))) return false;
    uint64_t epoch = t->epoch;
    bool ok = backward(t, n, out, cotangent, here, here + n);
    if (here != few && epoch_good(t, epoch)) pool_give(&t->grads, here, bytes);
    return ok;
}

bool wf_backward_from(wf_tape *t, int n, wf_var *const out[], wf_var *const cotangent[])
{
    if (!wf_tape_ok(t)) return false;
    if (n < 1 || !out) {
        wf_fail(t, "backward: %d outputs were promised and %s", n,
                out ? "there must be 1 or more" : "not given");
        return false;
    }
    WF_SWEEP calling before = sweep_begin(t, "backward");
    if (!before.tape || !backward_all(t, n, out, cotangent)) return false;
    t->sweeps++;
    return t->rehearsal || t->defer_commit || commit(t);
}

bool wf_backward(wf_tape *t, wf_var *loss)
{
    return wf_backward_from(t, 1, &loss, NULL);
}

bool wf_tape_commit(wf_tape *t)
{
    if (!wf_tape_ok(t)) return false;
    WF_SWEEP calling before = sweep_begin(t, "commit");
    return before.tape && (t->rehearsal || commit(t));
}
