/* Products and lookups of a step that depend on no state are done for all steps at once, and what
 * depends on nothing but constants once: a step is traced on shapes alone, these ops run over all
 * rows before the loop, and each step is then handed its rows of their results where it applies
 * them. Op by op, whatever the step does besides: its own code runs at every step, and where it
 * applies another op than the traced one, or to something else, it is handed nothing more. */
#include "autograd/ops_private.h"
#include "autograd/scan_private.h"
#include "autograd/state_private.h"
#include "autograd/trace_private.h"
#include "autograd/var_private.h"
#include "autograd/views.h"

#include <string.h>

enum { MOST_INPUTS = 16 };

typedef struct hoister {
    wf_tape *t;
    scan *s;
    replay *r;
    const traced_step *step;
    bool products;
} hoister;

/* Where a traced value comes from. False: from a state, from a result that is not there before the
 * loop, or from a constant that a step makes, which may be another at each step. *rows: it is of
 * rows, not the same for all steps. */
static bool found(const hoister *h, const wf_var *v, source *from, bool *rows)
{
    const wf_var *root = v->root;
    *from = (source){ .of = v, .x = -1 };
    *rows = false;
    if (!(root->flags & VAR_TRACED))
        return root->epoch < h->step->epoch || root->flags & VAR_IMPORT;
    for (int i = 0; i < h->s->sequences; i++)
        if (root == h->step->x[i]) from->x = i;
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
static bool runs_ahead(const hoister *h, const node *n)
{
    return (n->op->product.weight > 0 && h->products) || n->op->flags & WF_OP_SPARSE ||
           n->out->value.dtype == WF_I32;
}

/* Does the row's check take these values? If not, the loop runs step by step up to the one that
 * says so: it knows which step that is, and whose row. */
static bool passes(const hoister *h, const node *n, wf_var *const in[])
{
    const wf_tensor *value[MOST_INPUTS], *made[WF_OP_OUTPUTS];
    wf_tensor out[WF_OP_OUTPUTS];
    wf_error error = { { 0 } };
    if (!n->op->check) return true;
    for (int i = 0; i < n->n_in; i++) value[i] = in[i] ? &in[i]->value : NULL;
    for (int i = 0; i < n->n_out; i++) {
        out[i] = n->out[i].value;
        out[i].data = NULL;
        made[i] = &out[i];
    }
    const wf_call c = {
        .op = n->op, .n_in = n->n_in, .n_out = n->n_out, .in = value, .out = made, .attr = n->attr
    };
    WF_TAPE_SCOPE tape_scope inside = tape_enter(h->t);
    return n->op->check(&c, &error);
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
    if (with_rows && !runs_ahead(h, n)) return true;
    for (int i = 0; i < n->n_in; i++) {
        in[i] = n->in[i] ? whole_of(h, &at->from[i], with_rows >> i & 1) : NULL;
        if (n->in[i] && !in[i]) return wf_tape_ok(t);
    }
    if (with_rows && !computes_rows(h, n, in, with_rows)) return true;
    if (!passes(h, n, in)) {
        h->s->refused = true;
        return true;
    }
    const scope *where = t->where;
    at->rows = with_rows != 0;
    t->where = n->where; /* for messages */
    at->all = wf_apply_one(t, n->op, n->n_in, in, n->attr);
    t->where = where;
    return at->all != NULL;
}

bool scan_hoist(wf_tape *t, scan *s, const traced_step *step, bool products)
{
    hoister h = { .t = t, .s = s, .r = s->replay, .step = step, .products = products };
    const node *n = step->first;
    if (!h.r) {
        h.r = wf_tape_memory(t, sizeof *h.r + (size_t)step->nodes * sizeof *h.r->at);
        if (!h.r) return false;
        for (; n; n = n->next) h.r->at[h.r->n++] = (hoisted){ .node = n };
        s->replay = h.r;
    }
    bool any = false;
    for (int64_t i = 0; i < h.r->n; i++) {
        if (!h.r->at[i].all && !s->refused && !hoist(&h, &h.r->at[i])) return false;
        any |= h.r->at[i].all != NULL;
    }
    if (products && !any) s->replay = NULL; /* steps have nothing to look for */
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
