/* Products and lookups of a step that depend on no state are done for all steps at once, and what
 * depends on nothing but constants once: a step is traced on shapes alone, these ops run over all
 * rows before the loop, and each step is then handed its rows of their results where it applies
 * them. Op by op, whatever the step does besides: its own code runs at every step, and where it
 * applies another op than the traced one, or to something else, it is handed nothing more. */
#include "autograd/ops_private.h"
#include "autograd/scan_private.h"
#include "autograd/trace_private.h"
#include "autograd/var_private.h"
#include "autograd/views.h"

#include <string.h>

enum { MOST_INPUTS = 16, MOST_NODES = 512, WORTH = 3 };

typedef struct hoister {
    wf_tape *t;
    scan *s;
    replay *r;
    uint64_t epoch;          /* what is of it or later was made while tracing */
    wf_var *x[WF_SCAN_VARS]; /* traced, (B, ...) */
} hoister;

/* A value without numbers, (B, ...), in the form of x behind its first `lead` axes. */
static wf_var *traced(wf_tape *t, const wf_var *x, int lead, int64_t batch)
{
    wf_var *v = wf_tape_memory(t, sizeof *v);
    if (!v) return NULL;
    v->value = (wf_tensor){ .dtype = x->value.dtype, .rank = x->value.rank - lead + 1 };
    v->value.dim[0] = batch;
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
    wf_var *next[WF_SCAN_VARS], *y[WF_SCAN_VARS], *none[WF_SCAN_VARS] = { NULL };
    const scope *where = t->where;
    node *before = t->last;
    const int64_t nodes = t->nodes;
    trace r;
    if (!trace_begin(t, &r)) return NULL;
    r.quiet = true;
    bool ok = true;
    for (int i = 0; ok && i < s->sequences; i++)
        ok = (h->x[i] = traced(t, s->x[i], 2, s->batch)) != NULL;
    for (int k = 0; ok && k < s->states; k++)
        ok = (next[k] = traced(t, s->state[k], 1, s->batch)) != NULL;
    ok = ok && scan_step(t, s, s->batch, h->x, next, y, none);
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

/* Where a traced value comes from. False: from a state, from a result that is not there before the
 * loop, or from a constant that a step makes, which may be another at each step. *rows: it is of
 * rows, not the same for all steps. */
static bool found(const hoister *h, const wf_var *v, source *from, bool *rows)
{
    const wf_var *root = v->root;
    *from = (source){ .of = v, .x = -1 };
    *rows = false;
    if (!(root->flags & VAR_TRACED)) return root->epoch < h->epoch || root->flags & VAR_IMPORT;
    for (int i = 0; i < h->s->sequences; i++)
        if (root == h->x[i]) from->x = i;
    for (int64_t j = 0; j < h->r->n; j++)
        if (root == h->r->at[j].node->out && h->r->at[j].all) from->result = &h->r->at[j];
    *rows = from->x >= 0 || (from->result && from->result->rows);
    return from->x >= 0 || from->result;
}

/* The same for all rows; NULL where rows are no rows of it, and after failing the tape. */
static wf_var *whole_of(hoister *h, const source *from, bool rows)
{
    const wf_var *v = from->of, *root = v->root;
    if (from->x < 0 && !from->result) return (wf_var *)(uintptr_t)v;
    wf_var *all = from->result ? from->result->all : scan_rows(h->t, h->s, from->x);
    if (!all || v == root) return all;
    wf_tensor as = v->value;
    const uintptr_t offset = (uintptr_t)as.data - (uintptr_t)root->value.data;
    if (rows) {
        if (as.rank < 1 || as.dim[0] != h->s->batch || as.stride[0] != root->value.stride[0])
            return NULL;
        as.dim[0] = all->value.dim[0];
    }
    as.data = (char *)all->value.data + offset;
    return view_new(h->t, all, &as);
}

/* Does the row compute all rows at once as it computes the traced ones? in: for all rows. */
static bool computes_rows(const hoister *h, const node *n, wf_var *const in[], uint32_t with_rows)
{
    const int64_t rows = h->s->plan.rows;
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
    return one->dim[0] == h->s->batch && op_varying(&c) == with_rows;
}

/* May a row that depends on a sequence run ahead? Where a step's result leads nowhere, it gets a
 * cotangent of 0 there, and none otherwise: no derivative may be infinite at finite numbers. */
static bool runs_ahead(const wf_op *op)
{
    return op->product.weight > 0 || op->flags & WF_OP_SPARSE;
}

/* Runs a node for all rows, or once for all steps, if that can be. False after failing the tape. */
static bool hoist(hoister *h, hoisted *at)
{
    const node *n = at->node;
    wf_tape *t = h->t;
    wf_var *in[MOST_INPUTS];
    uint32_t with_rows = 0;
    if (n->op->outputs != 1 || n->op->flags & WF_OP_RANDOM || n->n_in > MOST_INPUTS) return true;
    if (!(at->from = wf_tape_memory(t, (size_t)n->n_in * sizeof *at->from))) return false;
    for (int i = 0; i < n->n_in; i++) {
        bool rows = false;
        if (n->in[i] && !found(h, n->in[i], &at->from[i], &rows)) return true;
        if (rows) with_rows |= 1u << i;
    }
    if (with_rows && !runs_ahead(n->op)) return true;
    for (int i = 0; i < n->n_in; i++) {
        in[i] = n->in[i] ? whole_of(h, &at->from[i], with_rows >> i & 1) : NULL;
        if (n->in[i] && !in[i]) return wf_tape_ok(t);
    }
    if (with_rows && !computes_rows(h, n, in, with_rows)) return true;
    const scope *where = t->where;
    at->rows = with_rows != 0;
    t->where = n->where; /* for messages */
    at->all = wf_apply_one(t, n->op, n->n_in, in, n->attr);
    t->where = where;
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
    int64_t n = 0;
    bool any = false;
    for (const node *k = first; k; k = k->next) n++;
    if (n > MOST_NODES) return true;
    replay *r = wf_tape_memory(t, sizeof *r + (size_t)n * sizeof *r->at);
    if (!r) return false;
    h.r = r;
    for (const node *k = first; k; k = k->next) {
        hoisted *at = &r->at[r->n];
        at->node = k;
        if (!hoist(&h, at)) return false;
        any |= at->all != NULL;
        r->n++;
    }
    if (any) s->replay = r;
    return true;
}

/* What this step has of a result, or the result that is the same for all. */
static wf_tensor part_of(const replay *r, const hoisted *h)
{
    wf_tensor as = h->all->value;
    if (!h->rows) return as;
    as.dim[0] = r->rows;
    as.data = (char *)as.data + r->begin * as.stride[0] * bytes_of(&as);
    return as;
}

/* Is an input what it was when the step was traced: the same place in this step's rows of the same
 * sequence or result, or the same constant? */
static bool same_input(wf_tape *t, const replay *r, const source *from, wf_var *given)
{
    const wf_var *traced = from->of;
    if (!given || !traced) return given == traced;
    if (given->tape != t && !(given = var_enter(t, given, "scan", 0))) return false;
    const wf_tensor *now = &given->value, *then = &traced->value;
    const wf_var *root = traced->root;
    uintptr_t place = (uintptr_t)then->data;
    bool rows = false;
    if (from->x >= 0 || from->result) {
        const wf_tensor base = from->result ? part_of(r, from->result) : r->x[from->x]->value;
        place = (uintptr_t)base.data + (place - (uintptr_t)root->value.data);
        root = from->result ? from->result->all->root : r->x[from->x]->root;
        rows = !from->result || from->result->rows;
    }
    bool same = given->root == root && (uintptr_t)now->data == place && now->rank == then->rank;
    for (int k = 0; same && k < now->rank; k++)
        same = now->dim[k] == (rows && k == 0 ? r->rows : then->dim[k]) &&
               (now->stride[k] == then->stride[k] || now->dim[k] == 1);
    return same;
}

wf_var *replay_next(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], const void *attr)
{
    replay *r = t->replaying;
    hoisted *at = r->next < r->n ? &r->at[r->next++] : NULL;
    bool same = at && at->node->op == op && at->node->n_in == n_in;
    if (same && at->all) {
        same = !op->attr_size || !memcmp(at->node->attr, attr, (size_t)op->attr_size);
        for (int i = 0; same && i < n_in; i++) same = same_input(t, r, &at->from[i], in[i]);
    }
    if (!same) r->next = r->n; /* this step is not the traced one: it goes on by itself */
    if (!same || !at->all || !at->rows) return same ? at->all : NULL;
    const wf_tensor as = part_of(r, at);
    return view_new(t, at->all, &as);
}
