/* The nodes of a traced step, and the parts of their roots. What lies in a row of a root is cut
 * wherever a view begins or ends, so that ops can be planned part by part: a split, a slice or a
 * concat is then no more than names. */
#include "autograd/ops_private.h"
#include "autograd/plan_parts_private.h"
#include "tensor/text.h"

#include <stdarg.h>
#include <string.h>

enum { MOST_CUTS = 64 };

void *plan_room(plan *p, void *items, int which, size_t item)
{
    if (p->n[which] < p->room[which]) return items;
    const int64_t first = which == LIST_ORDER || which == LIST_BUFFER || which == LIST_VALUE
                              ? 3 * p->nodes + 8 /* mostly enough */
                              : 8;
    const int64_t room = p->room[which] > 0 ? 2 * p->room[which] : first;
    void *more = wf_tape_memory(p->t, (size_t)room * item);
    if (!more) return NULL;
    if (items) memcpy(more, items, (size_t)p->n[which] * item);
    p->room[which] = room;
    return more;
}

bool plan_refuse(plan *p, const char *format, ...)
{
    if (p->why[0]) return false;
    va_list values;
    va_start(values, format);
    wf_vformat(p->why, sizeof p->why, format, values);
    va_end(values);
    return false;
}

const wf_op *plan_pointwise(int number)
{
    int n;
    return pointwise_rows(&n)[number];
}

/* ---- roots ---- */

/* Of how many values is it a stack along a new first axis? 0: it is none. */
static int64_t pieces_of(const node *n)
{
    if (n->op != &op_stack) return 0;
    return wf_axis(n->out->value.rank, *(const int32_t *)n->attr) == 0 ? n->n_in : 0;
}

static bool trunk_add(plan *p, wf_var *root, value_kind kind, int32_t number, int64_t pieces)
{
    trunk *r = PLAN_ADD(p, trunk, LIST_TRUNK);
    if (!r) return false;
    const wf_tensor *v = &root->value;
    const int axis = pieces > 0;
    *r = (trunk){ .root = root, .kind = kind, .source = number, .width = -1, .pieces = pieces };
    if (v->rank > axis && v->dim[axis] == p->s->batch) {
        r->width = pieces > 0 ? pieces : 1;
        for (int k = axis + 1; k < v->rank; k++) r->width *= v->dim[k];
    }
    root->gathered = (uint32_t)p->n[LIST_TRUNK]; /* its number and one */
    return true;
}

static bool cut_at(plan *p, trunk *r, int64_t at, bool *changed)
{
    int i = 0;
    while (i < r->cuts && r->cut[i] < at) i++;
    if (i < r->cuts && r->cut[i] == at) return true;
    if (r->cuts > MOST_CUTS) return plan_refuse(p, "views cut a value into too many parts");
    if (r->cuts == r->room) {
        const int32_t room = r->room > 0 ? 2 * r->room : 8;
        int64_t *more = wf_tape_memory(p->t, (size_t)room * sizeof *more);
        if (!more) return false;
        if (r->cut) memcpy(more, r->cut, (size_t)r->cuts * sizeof *more);
        r->cut = more;
        r->room = room;
    }
    memmove(r->cut + i + 1, r->cut + i, (size_t)(r->cuts - i) * sizeof *r->cut);
    r->cut[i] = at;
    r->cuts++;
    *changed = true;
    return true;
}

/* Columns from..from + width of a are those of b from `to` on. */
static bool cut_alike(plan *p, trunk *a, int64_t from, trunk *b, int64_t to, int64_t width,
                      bool *changed)
{
    if (!cut_at(p, a, from, changed) || !cut_at(p, a, from + width, changed) ||
        !cut_at(p, b, to, changed) || !cut_at(p, b, to + width, changed))
        return false;
    for (int i = 0; i < a->cuts; i++)
        if (a->cut[i] > from && a->cut[i] < from + width &&
            !cut_at(p, b, a->cut[i] - from + to, changed))
            return false;
    for (int i = 0; i < b->cuts; i++)
        if (b->cut[i] > to && b->cut[i] < to + width &&
            !cut_at(p, a, b->cut[i] - to + from, changed))
            return false;
    return true;
}

int32_t part_at(const trunk *r, int64_t column)
{
    int i = 0;
    while (r->cut[i] != column) i++;
    return r->part[i];
}

/* ---- what nodes are given ---- */

static int32_t constant_of(plan *p, wf_var *root)
{
    for (int32_t i = 0; i < p->n[LIST_CONSTANT]; i++)
        if (p->constant[i].root == root) return i;
    constant *c = PLAN_ADD(p, constant, LIST_CONSTANT);
    if (!c) return -1;
    *c = (constant){ root, !p->infer && root->flags & VAR_WANTS_GRAD };
    return p->n[LIST_CONSTANT] - 1;
}

static void behind_axis(const wf_tensor *x, given *g)
{
    g->inner = (wf_shape){ .rank = x->rank > 0 ? x->rank - 1 : 0 };
    g->width = 1;
    for (int k = 1; k < x->rank; k++) {
        g->inner.dim[k - 1] = x->dim[k];
        g->width *= x->dim[k];
    }
    g->run = scan_rows_run(x);
}

static bool closed_over(plan *p, wf_var *root, const wf_tensor *as, given *g)
{
    g->closed = (closed){ constant_of(p, root), *as };
    behind_axis(as, g);
    if (g->closed.constant >= 0 && p->constant[g->closed.constant].wants &&
        wf_tensor_overlaps_itself(as))
        return plan_refuse(p, "it is closed over a view that overlaps itself");
    return g->closed.constant >= 0;
}

/* Makes `from` and `form`, places in a root, places in a row of its columns; false: it is no view
 * of all rows. */
static bool in_rows(const plan *p, const trunk *r, given *g)
{
    wf_tensor *x = &g->form;
    const int64_t batch = p->s->batch, pieces = r->pieces > 0 ? r->pieces : 1;
    const int64_t width = r->width / pieces, piece = batch * width;
    if (r->width < 1 || x->rank < 1 || x->dim[0] != batch || (batch > 1 && x->stride[0] != width))
        return false;
    int64_t end = g->from % piece + 1; /* of what it has of a piece */
    g->from = g->from / piece * width + g->from % piece;
    for (int k = 1; k < x->rank; k++) {
        if (x->dim[k] == 1) continue;
        if (x->stride[k] % piece == 0)
            x->stride[k] = x->stride[k] / piece * width;
        else
            end += (x->dim[k] - 1) * x->stride[k];
    }
    x->stride[0] = r->width;
    return end <= width || wf_tensor_count(x) == 0;
}

bool plan_given(plan *p, wf_var *v, given *g)
{
    *g = (given){ .there = v != NULL, .trunk = -1 };
    if (!v) return true;
    wf_var *root = v->root;
    if (!(root->flags & VAR_TRACED)) {
        if (!p->full && !(root->flags & VAR_IMPORT) && root->epoch >= p->step->epoch &&
            wf_tensor_count(&root->value) > 1)
            return plan_refuse(p,
                               "a constant of several numbers is made in the step, and sequences "
                               "have different lengths");
        return closed_over(p, root, &v->value, g);
    }
    g->trunk = (int32_t)root->gathered - 1;
    const trunk *r = &p->trunk[g->trunk];
    if (r->kind == VALUE_ROW) { /* computed before the loop, the same for all */
        wf_tensor as = v->value;
        as.data = (char *)r->all->value.data + ((uintptr_t)as.data - (uintptr_t)root->value.data);
        return closed_over(p, r->all->root, &as, g);
    }
    g->form = v->value;
    g->from = (int64_t)((uintptr_t)v->value.data - (uintptr_t)root->value.data) /
              wf_dtype_size(v->value.dtype);
    if (!in_rows(p, r, g)) return plan_refuse(p, "a value of its has other rows than the step");
    g->rows = true;
    behind_axis(&g->form, g);
    return g->width > 0 || plan_refuse(p, "a value of its has no columns");
}

/* ---- what nodes are ---- */

static bool same_inner(const given *g, const wf_tensor *out)
{
    if (g->inner.rank != out->rank - 1) return false;
    for (int k = 0; k < g->inner.rank; k++)
        if (g->inner.dim[k] != out->dim[k + 1]) return false;
    return true;
}

/* Of the call that a node is: which inputs have rows, by what is given. */
static uint32_t rows_given(const step_node *s)
{
    uint32_t mask = 0;
    for (int i = 0; i < s->node->n_in; i++) mask |= (uint32_t)s->in[i].rows << i;
    return mask;
}

/* Looks whether the node computes each row by itself, and marks what is closed over with rows of
 * its own. */
static bool look_at_rows(plan *p, step_node *s)
{
    const node *n = s->node;
    const wf_tensor *in[32], *out[WF_OP_OUTPUTS];
    if (n->n_in > 32) return plan_refuse(p, "%s has more than 32 inputs", n->op->name);
    for (int i = 0; i < n->n_in; i++) in[i] = n->in[i] ? &n->in[i]->value : NULL;
    for (int i = 0; i < n->n_out; i++) {
        out[i] = &n->out[i].value;
        if (out[i]->rank < 1 || out[i]->dim[0] != p->s->batch || pieces_of(n) > 0)
            return plan_refuse(p, "%s makes a value without the step's rows", n->op->name);
    }
    const wf_call c = {
        .op = n->op, .n_in = n->n_in, .n_out = n->n_out, .in = in, .out = out, .attr = n->attr
    };
    const uint32_t have = rows_given(s), free = op_varying(&c);
    if (have == 0)
        return plan_refuse(p, "%s is applied in the step to nothing that has rows", n->op->name);
    s->whole = (have & ~free) != 0 || s->at->varied;
    for (int i = 0; i < n->n_in; i++) {
        if (!(free >> i & 1) || s->in[i].rows || s->whole) continue;
        s->in[i].sliced = true;
        if (!p->full)
            return plan_refuse(p,
                               "%s takes a constant with the batch's rows, and sequences have "
                               "different lengths",
                               n->op->name);
    }
    return true;
}

static bool is_name(const step_node *s)
{
    const node *n = s->node;
    if (s->at->varied) return false;
    if (n->op == &op_copy) return s->in[0].rows && s->in[0].run;
    if (n->op != &op_concat && n->op != &op_stack) return false;
    const int axis = wf_axis(n->out->value.rank, *(const int32_t *)n->attr);
    if (n->op == &op_concat && axis == 0) return false;
    for (int k = 1; k < axis; k++)
        if (n->out->value.dim[k] != 1) return false;
    for (int i = 0; i < n->n_in; i++)
        if (!s->in[i].rows || !s->in[i].run) return false;
    return true;
}

static bool is_product(const step_node *s)
{
    const node *n = s->node;
    const int w = n->op->product.weight, b = n->op->product.bias;
    if (w <= 0 || n->n_out != 1 || !s->in[0].rows || !s->in[0].run) return false;
    if (s->in[0].inner.rank != 1 || n->out->value.rank != 2 || s->in[w].rows || s->in[w].sliced ||
        s->in[w].closed.form.rank != 2)
        return false;
    return b == 0 || !s->in[b].there || (!s->in[b].rows && !s->in[b].sliced);
}

static bool is_tile(const step_node *s)
{
    const node *n = s->node;
    if (!n->op->pointwise || n->n_out != 1) return false;
    for (int i = 0; i < n->n_in; i++) {
        const given *g = &s->in[i];
        if ((g->rows || g->sliced) && (!g->run || !same_inner(g, &n->out->value))) return false;
    }
    return true;
}

static bool classify(plan *p, step_node *s)
{
    const node *n = s->node;
    s->in = wf_tape_memory(p->t, (size_t)n->n_in * sizeof *s->in);
    if (!s->in) return false;
    for (int i = 0; i < n->n_in; i++)
        if (!plan_given(p, n->in[i], &s->in[i])) return false;
    s->kind = NODE_NAME;
    if (is_name(s)) return true;
    if (!look_at_rows(p, s)) return false;
    s->kind = s->whole        ? NODE_CALL
              : is_product(s) ? NODE_PRODUCT
              : is_tile(s)    ? NODE_TILE
                              : NODE_CALL;
    return true;
}

/* Marks the nodes that lead to what the step leaves. */
static void mark_live(plan *p)
{
    const scan *s = p->s;
    for (int k = 0; k < s->states; k++) p->step->next[k]->root->flags |= VAR_NEEDED;
    for (int j = 0; j < s->outputs; j++) p->step->y[j]->root->flags |= VAR_NEEDED;
    for (int64_t i = p->nodes; i-- > 0;) {
        step_node *x = &p->node[i];
        for (int k = 0; k < x->node->n_out; k++) x->live |= x->node->out[k].flags & VAR_NEEDED;
        if (!x->live || x->at->all) continue;
        for (int k = 0; k < x->node->n_in; k++)
            if (x->node->in[k]) x->node->in[k]->root->flags |= VAR_NEEDED;
    }
    /* The flag is of roots during sweeps: none of it may stay. */
    for (int64_t i = 0; i < p->nodes; i++)
        for (int k = 0; k < p->node[i].node->n_in; k++)
            if (p->node[i].node->in[k])
                p->node[i].node->in[k]->root->flags &= ~(uint32_t)VAR_NEEDED;
    for (int k = 0; k < s->states; k++) p->step->next[k]->root->flags &= ~(uint32_t)VAR_NEEDED;
    for (int j = 0; j < s->outputs; j++) p->step->y[j]->root->flags &= ~(uint32_t)VAR_NEEDED;
}

static int32_t sequence_add(plan *p, wf_var *rows)
{
    wf_var **at = PLAN_ADD(p, sequence, LIST_SEQUENCE);
    if (!at) return -1;
    *at = rows;
    return p->n[LIST_SEQUENCE] - 1;
}

static bool trunks_of(plan *p, step_node *s)
{
    const node *n = s->node;
    s->trunk = p->n[LIST_TRUNK];
    if (s->at->all) {
        const int32_t i = s->at->rows ? sequence_add(p, s->at->all) : 0;
        if (i < 0 || !trunk_add(p, n->out, s->at->rows ? VALUE_SEQUENCE : VALUE_ROW, i, 0))
            return false;
        p->trunk[s->trunk].all = s->at->all;
        return true;
    }
    const int32_t number = (int32_t)(s - p->node);
    for (int k = 0; k < n->op->outputs; k++)
        if (!trunk_add(p, &n->out[k], VALUE_TILE, number, pieces_of(n))) return false;
    return classify(p, s);
}

static bool collect(plan *p)
{
    const replay *r = p->s->replay;
    p->nodes = r->n;
    p->node = wf_tape_memory(p->t, (size_t)r->n * sizeof *p->node);
    if (!p->node) return false;
    for (int64_t i = 0; i < r->n; i++) {
        p->node[i] = (step_node){ .node = r->at[i].node, .at = &r->at[i], .draw = -1 };
        if (r->at[i].node->op->flags & WF_OP_RANDOM) p->node[i].draw = p->draws++;
    }
    mark_live(p);
    for (int i = 0; i < p->s->sequences; i++)
        if (sequence_add(p, p->s->rows[i]) < 0 ||
            !trunk_add(p, p->step->x[i], VALUE_SEQUENCE, i, 0))
            return false;
    for (int k = 0; k < p->s->states; k++)
        if (!trunk_add(p, p->step->state[k], VALUE_STATE, k, 0)) return false;
    for (int64_t i = 0; i < p->nodes; i++)
        if (p->node[i].live && !trunks_of(p, &p->node[i])) return false;
    return true;
}

/* ---- cuts ---- */

static bool cut_node(plan *p, const step_node *s, bool *changed)
{
    trunk *out = &p->trunk[s->trunk];
    int64_t at = 0;
    const int inputs = s->kind == NODE_PRODUCT ? 1 : s->node->n_in;
    for (int i = 0; i < inputs; i++) {
        const given *g = &s->in[i];
        if (!g->rows) continue;
        trunk *in = &p->trunk[g->trunk];
        bool ok = true;
        if (s->kind == NODE_NAME || s->kind == NODE_TILE)
            ok = cut_alike(p, in, g->from, out, at, g->width, changed);
        else if (g->run)
            ok = cut_at(p, in, g->from, changed) && cut_at(p, in, g->from + g->width, changed);
        if (!ok) return false;
        if (s->kind == NODE_NAME) at += g->width;
    }
    return true;
}

static bool cut_left(plan *p, wf_var *left, bool *changed)
{
    given g;
    if (!plan_given(p, left, &g)) return false;
    if (!g.rows) return true;
    trunk *r = &p->trunk[g.trunk];
    return cut_at(p, r, g.from, changed) && cut_at(p, r, g.from + g.width, changed);
}

static bool cut_all(plan *p)
{
    bool changed = false;
    for (int32_t i = 0; i < p->n[LIST_TRUNK]; i++) {
        trunk *r = &p->trunk[i];
        if (r->kind == VALUE_ROW) continue;
        if (r->width < 1) return plan_refuse(p, "a value of its has no rows, or no columns");
        if (!cut_at(p, r, 0, &changed) || !cut_at(p, r, r->width, &changed)) return false;
    }
    for (int k = 0; k < p->s->states; k++)
        if (!cut_left(p, p->step->next[k], &changed)) return false;
    for (int j = 0; j < p->s->outputs; j++)
        if (!cut_left(p, p->step->y[j], &changed)) return false;
    for (changed = true; changed;) {
        changed = false;
        for (int64_t i = 0; i < p->nodes; i++)
            if (p->node[i].kind != NODE_GONE && !cut_node(p, &p->node[i], &changed)) return false;
    }
    for (int32_t i = 0; i < p->n[LIST_TRUNK]; i++) {
        trunk *r = &p->trunk[i];
        r->part = wf_tape_memory(p->t, (size_t)(r->cuts + 1) * sizeof *r->part);
        if (!r->part) return false;
    }
    return true;
}

bool plan_parts(plan *p)
{
    return collect(p) && cut_all(p);
}
