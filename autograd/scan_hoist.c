/* What of a step depends on no state is computed for all steps at once: a step is traced on shapes
 * alone, ops whose inputs are sequences, what is closed over, and results of such ops run over all
 * rows before the loop, and each step is then handed its rows of their results where it applies
 * them. Op by op, whatever the step does besides: its own code runs at every step, and where it
 * applies another op than the traced one it is handed nothing more. */
#include "autograd/ops_private.h"
#include "autograd/scan_private.h"
#include "autograd/trace_private.h"
#include "autograd/var_private.h"
#include "autograd/views.h"

#include <string.h>

/* Rows of the traced step: a prime that is hardly any other size. */
enum { ROWS = 8191, MOST_INPUTS = 16, WORTH = 3 };

typedef struct hoister {
    wf_tape *t;
    scan *s;
    replay *r;
    uint64_t epoch;             /* what is of it or later was made while tracing */
    wf_var *x[WF_SCAN_VARS];    /* traced, (ROWS, ...) */
    wf_var *next[WF_SCAN_VARS]; /* states, the same */
} hoister;

/* A value without numbers, (ROWS, ...), in the form of x behind its first `lead` axes. */
static wf_var *traced(wf_tape *t, const wf_var *x, int lead)
{
    wf_var *v = wf_tape_memory(t, sizeof *v);
    if (!v) return NULL;
    v->value = (wf_tensor){ .dtype = x->value.dtype, .rank = x->value.rank - lead + 1 };
    v->value.dim[0] = ROWS;
    for (int k = 1; k < v->value.rank; k++) v->value.dim[k] = x->value.dim[lead + k - 1];
    var_root(t, v);
    return tensor_settle(&v->value, &v->bytes) && trace_outputs(t, "scan", 1, v) ? v : NULL;
}

/* Records the step; its nodes stay out of the tape. Their first, or NULL: it is not to be had by
 * shapes alone, and the tape is as it was. */
static node *record(hoister *h)
{
    wf_tape *t = h->t;
    const scan *s = h->s;
    wf_var *y[WF_SCAN_VARS], *none[WF_SCAN_VARS] = { NULL };
    const scope *where = t->where;
    node *before = t->last;
    const int64_t nodes = t->nodes;
    trace r;
    if (!trace_begin(t, &r)) return NULL;
    r.quiet = true;
    bool ok = true;
    for (int i = 0; ok && i < s->sequences; i++) ok = (h->x[i] = traced(t, s->x[i], 2)) != NULL;
    for (int k = 0; ok && k < s->states; k++) ok = (h->next[k] = traced(t, s->state[k], 1)) != NULL;
    wf_var *next[WF_SCAN_VARS];
    memcpy(next, h->next, sizeof next);
    ok = ok && scan_step(t, s, ROWS, h->x, next, y, none);
    trace_end(t, &r);
    if (!epoch_good(t, r.epoch)) return NULL; /* reset by the step: the tape says so */
    node *first = before ? before->next : t->first;
    if (before)
        before->next = NULL;
    else
        t->first = NULL;
    t->last = before;
    t->nodes = nodes;
    t->where = where;
    if (t->failed && r.quiet) {
        t->failed = false;
        t->error.text[0] = '\0';
    }
    return ok ? first : NULL;
}

/* What of the traced values is there for all rows (*rows), or the same for all of them; else
 * NULL. */
static wf_var *whole_of(hoister *h, const wf_var *v, bool *rows)
{
    const wf_var *root = v->root;
    wf_var *all = NULL;
    if (!(root->flags &
          VAR_TRACED)) { /* a constant that a step makes may be another at each step */
        *rows = false;
        return root->epoch < h->epoch || root->flags & VAR_IMPORT ? (wf_var *)(uintptr_t)v : NULL;
    }
    *rows = true;
    for (int i = 0; i < h->s->sequences; i++)
        if (root == h->x[i]) all = scan_rows(h->t, h->s, i);
    for (int64_t j = 0; j < h->r->n && !all; j++) {
        if (root != h->r->at[j].node->out) continue;
        all = h->r->at[j].all;
        *rows = h->r->at[j].rows;
    }
    if (!all || v == root) return all;
    wf_tensor as = v->value;
    const uint64_t offset = (uint64_t)((uintptr_t)as.data - (uintptr_t)root->value.data);
    if (*rows) { /* rows must still be rows */
        if (as.rank < 1 || as.dim[0] != ROWS || as.stride[0] != root->value.stride[0]) return NULL;
        as.dim[0] = all->value.dim[0];
    }
    as.data = (char *)all->value.data + offset;
    return view_new(h->t, all, &as);
}

/* Does the row compute all rows at once as it computes the traced ones? in: for all rows. */
static bool computes_rows(const node *n, wf_var *const in[], uint32_t with_rows, int64_t rows)
{
    const wf_tensor *value[MOST_INPUTS], *made[WF_OP_OUTPUTS];
    wf_tensor out[WF_OP_OUTPUTS] = { { 0 } };
    wf_error error = { { 0 } };
    for (int i = 0; i < n->n_in; i++) value[i] = in[i] ? &in[i]->value : NULL;
    wf_shaping s = { .op = n->op,
                     .n_in = n->n_in,
                     .n_out = n->n_out,
                     .in = value,
                     .attr = n->attr,
                     .threads = 1,
                     .out = out,
                     .error = &error };
    if (!n->op->shape(&s)) return false;
    for (int i = 0; i < n->n_out; i++) made[i] = &out[i];
    const wf_tensor *one = &n->out[0].value;
    if (out[0].dtype != one->dtype || out[0].rank != one->rank || one->rank < 1) return false;
    for (int k = 0; k < one->rank; k++)
        if (out[0].dim[k] != (k == 0 ? rows : one->dim[k])) return false;
    const wf_call c = {
        .op = n->op, .n_in = n->n_in, .n_out = n->n_out, .in = value, .out = made, .attr = n->attr
    };
    return one->dim[0] == ROWS && op_varying(&c) == with_rows;
}

static bool has_rows(const wf_tensor *x)
{
    for (int k = 0; k < x->rank; k++)
        if (x->dim[k] == ROWS) return true;
    return false;
}

/* Runs a node for all rows, or once for all steps, if that can be. False after failing the tape. */
static bool hoist(hoister *h, hoisted *at)
{
    const node *n = at->node;
    wf_var *in[MOST_INPUTS];
    uint32_t with_rows = 0;
    if (n->op->outputs != 1 || n->op->flags & WF_OP_RANDOM || n->n_in > MOST_INPUTS) return true;
    for (int i = 0; i < n->n_in; i++) {
        bool rows = false;
        in[i] = n->in[i] ? whole_of(h, n->in[i], &rows) : NULL;
        if (n->in[i] && !in[i]) return wf_tape_ok(h->t);
        if (rows) with_rows |= 1u << i;
    }
    if (with_rows ? !computes_rows(n, in, with_rows, h->s->plan.rows) : has_rows(&n->out[0].value))
        return true;
    at->rows = with_rows != 0;
    at->all = wf_apply_one(h->t, n->op, n->n_in, in, n->attr);
    return at->all != NULL;
}

bool scan_hoist(wf_tape *t, scan *s)
{
    hoister h = { .t = t, .s = s };
    if (s->time < WORTH || s->plan.rows == 0 || t->tracing || t->replaying || t->sweeping)
        return true;
    epoch_begin(t);
    h.epoch = t->epoch;
    node *first = record(&h);
    if (!first) return wf_tape_ok(t);
    int64_t n = 0, found = 0;
    for (const node *k = first; k; k = k->next) n++;
    replay *r = wf_tape_memory(t, sizeof *r + (size_t)n * sizeof *r->at);
    if (!r) return false;
    h.r = r;
    for (const node *k = first; k; k = k->next) {
        hoisted *at = &r->at[r->n];
        at->node = k;
        if (!hoist(&h, at)) return false;
        found += at->all != NULL;
        r->n++;
    }
    if (found) s->replay = r;
    return true;
}

void replay_begin(wf_tape *t, replay *r, int64_t begin, int64_t rows)
{
    if (!r) return;
    r->next = 0;
    r->begin = begin;
    r->rows = rows;
    t->replaying = r;
}

void replay_end(wf_tape *t)
{
    t->replaying = NULL;
}

wf_var *replay_next(wf_tape *t, const wf_op *op, const void *attr)
{
    replay *r = t->replaying;
    hoisted *at = r->next < r->n ? &r->at[r->next++] : NULL;
    if (!at || at->node->op != op ||
        (at->all && op->attr_size && memcmp(at->node->attr, attr, (size_t)op->attr_size) != 0)) {
        r->next = r->n; /* this step is not the traced one: it goes on by itself */
        return NULL;
    }
    if (!at->all || !at->rows) return at->all;
    wf_tensor as = at->all->value;
    as.dim[0] = r->rows;
    as.data = (char *)as.data + r->begin * as.stride[0] * bytes_of(&as);
    return view_new(t, at->all, &as);
}
