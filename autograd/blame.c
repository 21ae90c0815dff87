/* Where a value that is not finite came from, found only on the way to an error: back from a loss
 * through inputs that are not finite either, to the op whose inputs were. */
#include "autograd/sweep_private.h"
#include "tensor/text.h"

#include <math.h>

/* Is there a NaN in x (or, with `infinite`, anything that is not finite)? */
static bool holds(const wf_tensor *x, bool infinite)
{
    if (x->dtype == WF_I32 || tensor_finite(x, 1)) return false;
    if (infinite) return true;
    int64_t n = wf_tensor_count(x);
    for (int64_t i = 0; i < n; i++)
        if (isnan(wf_tensor_at(x, i))) return true;
    return false;
}

const char *tensor_word(const wf_tensor *x)
{
    return holds(x, false) ? "nan" : "infinite";
}

/* "parameter 'w'" if v stands for one. */
static const char *parameter_text(const wf_tape *t, const wf_var *v, char *text, size_t bytes)
{
    const import *all = t->imports.at;
    for (int64_t i = 0; i < t->imports.n; i++) {
        if (all[i].var != v->root) continue;
        wf_format(text, bytes, "parameter '%s'", all[i].param->path);
        return text;
    }
    return NULL;
}

/* A planned loop is recorded step by step, on the same inputs: what its outputs are there. False of
 * what is no such loop, and after failing the tape. */
static bool within(wf_tape *t, const node *n, wf_var *made[])
{
    if (!(n->op->flags & OP_LOOP)) return false;
    t->where = n->where;
    return node_reference(t, n, n->in, made);
}

void blame_value(wf_tape *t, const wf_var *loss)
{
    double value = wf_item(loss);
    const char *what = isnan(value) ? "nan" : "infinite";
    const wf_var *v = loss;
    const node *user = NULL;
    /* An infinity may be meant, as in masked scores: of a NaN only a NaN is to blame. */
    for (const node *n = v->producer; n; n = v->producer) {
        int i = 0;
        while (i < n->n_in && !(n->in[i] && holds(&n->in[i]->value, !isnan(value)))) i++;
        user = n;
        wf_var *made[WF_OP_OUTPUTS];
        if (i == n->n_in && within(t, n, made)) {
            const wf_var *inside = made[v->root - n->out];
            if (holds(&inside->value, !isnan(value))) {
                v = inside;
                continue;
            }
        }
        if (i == n->n_in) {
            t->where = n->where;
            wf_fail(t, "backward: loss became %s at step %llu; the first such value came from %s",
                    what, (unsigned long long)t->step, n->op->name);
            return;
        }
        v = n->in[i];
    }
    char text[256];
    const char *source = parameter_text(t, v, text, sizeof text);
    unsigned long long step = t->step;
    if (!user) {
        wf_fail(t, "backward: loss was %s at step %llu when it entered the tape", what, step);
        return;
    }
    t->where = user->where;
    wf_fail(t, "backward: loss became %s at step %llu; %s took %s, which was %s already", what,
            step, user->op->name, source ? source : "a value", what);
}

/* The sweep stopped at a loop that is planned: the step's op that it would have stopped at. */
static const node *culprit_within(wf_tape *t, const node *n)
{
    wf_var *made[WF_OP_OUTPUTS], *out[WF_OP_OUTPUTS], *with[WF_OP_OUTPUTS];
    const node *culprit = NULL;
    int used = 0;
    for (int i = 0; i < n->op->outputs; i++) {
        wf_tensor g;
        with[i] = NULL;
        if (!grad_arrived(&n->out[i])) continue;
        if (!grad_view(t, &n->out[i], &g) || !(with[i] = wf_constant_tensor(t, &g))) return n;
    }
    if (!within(t, n, made)) return n;
    for (int i = 0; i < n->op->outputs; i++) {
        if (!with[i]) continue;
        out[used] = made[i];
        with[used++] = with[i];
    }
    sweep_run(t, NULL, used, out, with, &culprit);
    return culprit ? culprit : n;
}

void blame_gradient(wf_tape *t, const char *path, const char *what, const node *culprit, int n,
                    wf_var *const cotangent[])
{
    char text[512];
    wf_format(text, sizeof text, "backward: the gradient of '%s' became %s at step %llu", path,
              what, (unsigned long long)t->step);
    if (culprit && culprit->op->flags & OP_LOOP) culprit = culprit_within(t, culprit);
    if (culprit) t->where = culprit->where;
    for (int i = 0; i < n; i++)
        if (cotangent[i] && !tensor_finite(&cotangent[i]->value, 1)) {
            wf_fail(t, "%s; cotangent %d was not finite already", text, i);
            return;
        }
    if (culprit)
        wf_fail(t, "%s; the first such value came from the derivative of %s", text,
                culprit->op->name);
    else
        wf_fail(t, "%s when contributions were added up", text);
}
