/* A loop's step recorded on shapes alone, apart from the tape's own nodes. */
#include "autograd/ops.h"
#include "autograd/scan_private.h"
#include "autograd/trace_private.h"
#include "autograd/var_private.h"

/* A value without numbers, (n, ...), in the form of x behind its first `lead` axes. */
static wf_var *traced(wf_tape *t, const wf_var *x, int lead, int64_t n)
{
    wf_var *v = wf_tape_memory(t, sizeof *v);
    if (!v) return NULL;
    v->value = (wf_tensor){ .dtype = x->value.dtype, .rank = x->value.rank - lead + 1 };
    v->value.dim[0] = n;
    for (int k = 1; k < v->value.rank; k++) v->value.dim[k] = x->value.dim[lead + k - 1];
    var_root(t, v);
    if (t->mode != WF_INFER && v->value.dtype != WF_I32) v->flags |= VAR_WANTS_GRAD;
    return tensor_settle(&v->value, &v->bytes) && trace_outputs(t, "scan", 1, v) ? v : NULL;
}

bool scan_rows_run(const wf_tensor *x)
{
    int64_t stride = 1;
    for (int k = x->rank; k-- > 1; stride *= x->dim[k])
        if (x->dim[k] != 1 && x->stride[k] != stride) return false;
    return true;
}

/* What the step leaves, copied unless the numbers of each row lie side by side. */
static wf_var *as_rows(wf_tape *t, wf_var *v)
{
    return scan_rows_run(&v->value) || !(v->root->flags & VAR_TRACED) ? v : wf_copy(t, v);
}

/* The nodes behind `before` leave the tape. */
static node *cut(wf_tape *t, node *before, int64_t nodes)
{
    node *first = before ? before->next : t->first;
    if (before)
        before->next = NULL;
    else
        t->first = NULL;
    t->last = before;
    t->nodes = nodes;
    return first;
}

static bool record(wf_tape *t, const scan *s, int64_t n, traced_step *to)
{
    wf_var *none[WF_SCAN_VARS] = { NULL };
    bool ok = true;
    for (int i = 0; ok && i < s->sequences; i++) ok = (to->x[i] = traced(t, s->x[i], 2, n)) != NULL;
    for (int k = 0; ok && k < s->states; k++)
        ok = (to->next[k] = to->state[k] = traced(t, s->state[k], 1, n)) != NULL;
    ok = ok && scan_step(t, s, n, to->x, to->next, to->y, none);
    for (int k = 0; ok && k < s->states; k++) ok = (to->next[k] = as_rows(t, to->next[k])) != NULL;
    for (int j = 0; ok && j < s->outputs; j++) ok = (to->y[j] = as_rows(t, to->y[j])) != NULL;
    return ok;
}

bool scan_trace(wf_tape *t, const scan *s, int64_t n, bool needed, traced_step *to)
{
    const scope *where = t->where;
    struct replay *replaying = t->replaying;
    node *before = t->last;
    const int64_t nodes = t->nodes;
    trace r;
    epoch_begin(t);
    *to = (traced_step){ .epoch = t->epoch };
    if (!trace_begin(t, &r)) return false;
    r.quiet |= !needed;
    if (needed) r.hint = "\n  hint: a loop without steps records one, to know what it leaves";
    t->replaying = NULL;
    const bool ok = record(t, s, n, to);
    trace_end(t, &r);
    if (!epoch_good(t, r.epoch)) return false; /* reset by the step: the tape says so */
    t->replaying = replaying;
    to->first = cut(t, before, nodes);
    t->where = where;
    for (const node *k = to->first; k; k = k->next) to->nodes++;
    if (t->failed && r.quiet && !needed) {
        t->failed = false;
        t->error.text[0] = '\0';
    }
    return ok && !t->failed;
}
