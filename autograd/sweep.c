/* The sweep: what leads to a target is marked, then kernels run backwards over the tape, adding
 * into gradients. */
#include "autograd/sweep_private.h"
#include "autograd/tile.h"
#include "tensor/par.h"

#include <string.h>

enum { FEW = 16, LOOK_BACK = 32, APART = -2 };

calling sweep_begin(wf_tape *t, const char *who)
{
    if (t->sweeping) {
        wf_fail(t, "%s: %s has not ended on this tape, and this was called from within it", who,
                t->sweeping);
        return (calling){ 0 };
    }
    t->sweeping = who;
    return call_begin(t);
}

void sweep_end(const calling *before)
{
    if (!before->tape) return;
    before->tape->sweeping = NULL;
    call_end(before);
}

/* Is input i among those that are named so? */
static inline bool named(uint64_t inputs, int i)
{
    return inputs >> (i < 63 ? i : 63) & 1;
}

/* Does output k of a node that leads to a target lead there itself? Of a loop's not each does. */
static bool output_needed(const node *n, int k)
{
    if (!(n->op->flags & OP_LOOP)) return true;
    const uint64_t inputs = k < n->op->outputs ? loop_inputs(n->op, k) : 0;
    for (int i = 0; i < n->n_in; i++)
        if (named(inputs, i) && n->in[i] && grad_wanted(n->in[i])) return true;
    return false;
}

void sweep_mark(wf_tape *t, node *low)
{
    for (node *n = low ? low->next : t->first; n; n = n->next) {
        bool needed = false;
        for (int i = 0; i < n->n_in && !needed; i++) needed = n->in[i] && grad_wanted(n->in[i]);
        n->needed = needed;
        for (int i = 0; i < n->n_out; i++) {
            wf_var *v = &n->out[i];
            v->grad = NULL;
            v->graph_grad = NULL;
            v->gathered = 0;
            if ((needed && output_needed(n, i)) || v->flags & VAR_HELD)
                v->flags |= VAR_NEEDED;
            else
                v->flags &= ~(uint32_t)VAR_NEEDED;
        }
    }
}

/* ---- which gradients meet ---- */

static int64_t last_offset(const wf_tensor *x)
{
    int64_t at = 0;
    for (int i = 0; i < x->rank; i++) at += (x->dim[i] - 1) * x->stride[i];
    return at * wf_dtype_size(x->dtype);
}

/* Is the element memory of two views of one root shared? Conservative: compares ranges. */
static bool tensors_meet(const wf_tensor *a, const wf_tensor *b)
{
    if (!wf_tensor_count(a) || !wf_tensor_count(b)) return false;
    const char *a0 = a->data, *b0 = b->data;
    return a0 <= b0 + last_offset(b) && b0 <= a0 + last_offset(a);
}

/* Of one root: the range that its gradients of this node cover so far, and the last of them. */
typedef struct met {
    const wf_var *root;
    const char *low, *high;
    int32_t last;
} met;

/* The arrays of one node's sweep. Those of a node of many inputs are found by root in a table, or
 * to compare each with all others would be quadratic. */
typedef struct lists {
    wf_tensor *gin;
    const wf_tensor **in, **wanted;
    met *table; /* NULL for few inputs */
    uint64_t mask;
    int32_t *previous; /* the one before of the same root, or -1, or APART */
    uint32_t apart;    /* few inputs: whose gin is a temporary */
    uint32_t fresh;    /* few inputs: whose gradient the kernel writes, not adds to */
    uint64_t inputs;   /* that what arrived leads to, see loop_inputs */
    bool full;         /* a gradient is to be put aside after this node */
} lists;

static bool few_meet(const lists *d, const node *n, int i)
{
    for (int k = 0; k < i; k++)
        if (d->wanted[k] && !(d->apart >> k & 1) && n->in[k]->root == n->in[i]->root &&
            tensors_meet(&d->gin[k], &d->gin[i]))
            return true;
    return false;
}

/* Does input i's gradient meet one before it that is no temporary? Enters it into the table if
 * not. Behind LOOK_BACK comparisons the answer is yes, which costs a temporary and is never
 * wrong. */
static bool meets(lists *d, const node *n, int i)
{
    if (!d->table) return few_meet(d, n, i);
    const wf_tensor *g = &d->gin[i];
    d->previous[i] = -1;
    if (!wf_tensor_count(g)) return false;
    const wf_var *root = n->in[i]->root;
    const char *low = g->data, *high = low + last_offset(g);
    uint64_t at = ((uint64_t)(uintptr_t)root >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20 & d->mask;
    while (d->table[at].root && d->table[at].root != root) at = (at + 1) & d->mask;
    met *m = &d->table[at];
    if (!m->root) {
        *m = (met){ root, low, high, -1 };
    } else if (low <= m->high && m->low <= high) {
        int left = LOOK_BACK;
        for (int32_t k = m->last; k >= 0; k = d->previous[k])
            if (left-- == 0 || tensors_meet(&d->gin[k], g)) return true;
    }
    if (low < m->low) m->low = low;
    if (high > m->high) m->high = high;
    d->previous[i] = m->last;
    m->last = i;
    return false;
}

/* ---- one node ---- */

/* What input v counts for of GRAD_UNIT. */
static uint32_t part_of(const node *n, const wf_var *v)
{
    double whole = (double)wf_tensor_count(&v->root->value), given = 0;
    double share = (double)wf_tensor_count(&v->value) / whole;
    for (int i = 0; i < n->op->outputs; i++) given += (double)wf_tensor_count(&n->out[i].value);
    if (n->op->flags & WF_OP_SPARSE && share > given / (8 * whole)) share = given / (8 * whole);
    return grad_units(share);
}

/* Counts what the kernel is about to add to a gradient; true once it is time to put that aside. An
 * op that ids send to few places does not add to a whole gradient: what it counts for is as much
 * less as it has less to hand on. */
static inline bool counted(const node *n, const wf_var *v)
{
    wf_var *root = v->root;
    root->gathered += v == root && !(n->op->flags & WF_OP_SPARSE) ? GRAD_UNIT : part_of(n, v);
    return root->gathered >= GRAD_RUN * GRAD_UNIT;
}

/* Input i's gradient is a temporary. */
static void set_apart(lists *d, int i)
{
    if (d->table)
        d->previous[i] = APART;
    else
        d->apart |= UINT32_C(1) << i;
}

static bool is_apart(const lists *d, int i)
{
    return d->table ? d->previous[i] == APART : d->apart >> i & 1;
}

/* Which rows of a parameter's gradient the kernel adds to through input i; NULL: any. */
static const wf_tensor *rows_of(const node *n, int i)
{
    bool some = n->op->flags & WF_OP_SPARSE && i == 0 && n->in[0]->root == n->in[0];
    return some && n->n_in > 1 && n->in[1] ? &n->in[1]->value : NULL;
}

/* Does the kernel begin the gradient of v, input i, to which nobody has added yet? */
static inline bool begins(const lists *d, const node *n, int i, const wf_var *v)
{
    return !v->grad && v->root == v && !d->table && i < 32 &&
           (n->op->backward == wf_pointwise_backward || n->op->flags & WF_OP_BEGINS);
}

/* The gradients that the kernel adds into, where they are wanted. */
static bool gradients_in(wf_tape *t, node *n, lists *d, bool *apart)
{
    d->apart = d->fresh = 0;
    *apart = d->full = false;
    for (int i = 0; i < n->n_in; i++) {
        wf_var *v = n->in[i];
        d->in[i] = v ? &v->value : NULL;
        d->wanted[i] = NULL;
        if (!v || !grad_wanted(v) || !named(d->inputs, i)) continue;
        d->wanted[i] = &d->gin[i];
        if (begins(d, n, i, v)) {
            if (!grad_begin(t, v, false) || !grad_view(t, v, &d->gin[i]) || !grad_named(t, v, NULL))
                return false;
            v->gathered = GRAD_UNIT;
            d->fresh |= UINT32_C(1) << i;
            continue;
        }
        if (!grad_view(t, v, &d->gin[i]) || !grad_named(t, v->root, rows_of(n, i))) return false;
        /* A kernel may read, add and store whole vectors: it never meets one gradient twice. */
        if (!(v->root != v && wf_tensor_overlaps_itself(&d->gin[i])) && !meets(d, n, i)) {
            d->full |= counted(n, v);
            continue;
        }
        int64_t bytes;
        wf_tensor own = d->gin[i];
        if (!tensor_settle(&own, &bytes) || !(own.data = grad_new(t, bytes))) return false;
        d->gin[i] = own;
        *apart = true;
        set_apart(d, i);
    }
    return true;
}

/* What the kernel left in temporaries is added to its place, in the order of the inputs; a sum that
 * one node alone makes long is put aside in between. */
static bool fold_in(wf_tape *t, node *n, lists *d)
{
    for (int i = 0; i < n->n_in; i++) {
        if (!d->wanted[i] || !is_apart(d, i)) continue;
        wf_tensor place, *own = &d->gin[i];
        if (!grad_view(t, n->in[i], &place)) return false;
        wf_tensor_accumulate(own, &place, 1, t->threads);
        pool_give(&t->grads, own->data, wf_tensor_count(own) * wf_dtype_size(own->dtype));
        if (counted(n, n->in[i]) && !grad_fold(t, n->in[i]->root)) return false;
    }
    return true;
}

static bool inputs_finite(const wf_tape *t, const node *n, const lists *d)
{
    for (int i = 0; i < n->n_in; i++)
        if (d->wanted[i] && !tensor_finite(d->wanted[i], t->threads)) return false;
    return true;
}

/* One node of n_out outputs backwards. */
static inline __attribute__((always_inline)) bool node_backward(wf_tape *t, node *n, int n_out,
                                                                lists *d, const node **culprit)
{
    if (!n->op->backward) {
        wf_fail(t, "%s: its row has no backward", n->op->name);
        return false;
    }
    const wf_tensor *out[WF_OP_OUTPUTS], *gout[WF_OP_OUTPUTS];
    wf_tensor gout_form[WF_OP_OUTPUTS];
    const bool loop = n->op->flags & OP_LOOP;
    d->inputs = loop ? 0 : UINT64_MAX;
    for (int i = 0; i < n_out; i++) {
        wf_var *v = &n->out[i];
        out[i] = &v->value;
        gout[i] = NULL;
        if (!grad_arrived(v) || i >= n->op->outputs) continue;
        grad_settle(t, v);
        if (grad_view(t, v, &gout_form[i])) gout[i] = &gout_form[i];
        if (loop) d->inputs |= loop_inputs(n->op, i);
    }
    bool apart;
    if (!gradients_in(t, n, d, &apart)) return false;
    wf_call c = { .op = n->op,
                  .n_in = n->n_in,
                  .n_out = n_out,
                  .in = d->in,
                  .out = out,
                  .gout = gout,
                  .gin = d->wanted,
                  .attr = n->attr,
                  .key = n->key,
                  .counter = n->counter,
                  .threads = t->threads,
                  .fresh = d->fresh };
    if (n->scratch_backward > 0 && !(c.scratch = tape_borrow(t, n->op->name, n->scratch_backward)))
        return false;
    uint64_t epoch = t->epoch;
    const wf_op *op = n->op; /* which outlives the node */
    op->backward(&c);
    if (t->epoch != epoch && !call_survived(t, epoch, op->name)) return false;
    if (c.scratch) pool_give(&t->grads, c.scratch, n->scratch_backward);
    if (culprit && !inputs_finite(t, n, d)) {
        *culprit = n;
        return false;
    }
    if (apart && !fold_in(t, n, d)) return false;
    for (int i = 0; d->full && i < n->n_in; i++)
        if (d->wanted[i] && !grad_fold(t, n->in[i]->root)) return false;
    for (int i = 0; i < n_out; i++)
        if (n->out[i].grad && !(n->out[i].flags & VAR_HELD)) grad_drop(t, &n->out[i]);
    return true;
}

/* By far the most have one: their loops over outputs are none. */
static bool node_of_few(wf_tape *t, node *n, lists *d, const node **culprit)
{
    return n->n_out == 1 ? node_backward(t, n, 1, d, culprit)
                         : node_backward(t, n, n->n_out, d, culprit);
}

/* A node of so many inputs has its arrays from the pool. */
static bool node_of_many(wf_tape *t, node *n, const node **culprit)
{
    uint64_t slots = 64, epoch = t->epoch;
    while (slots < 2 * (uint64_t)n->n_in) slots *= 2;
    lists d = { .mask = slots - 1 };
    int64_t each = (int64_t)(sizeof *d.gin + 2 * sizeof *d.in + sizeof *d.previous);
    int64_t bytes = (int64_t)(slots * sizeof *d.table) + n->n_in * each;
    if (!(d.table = tape_borrow(t, "backward", bytes))) return false;
    memset(d.table, 0, slots * sizeof *d.table);
    d.gin = (wf_tensor *)(d.table + slots);
    d.in = (const wf_tensor **)(d.gin + n->n_in);
    d.wanted = d.in + n->n_in;
    d.previous = (int32_t *)(d.wanted + n->n_in);
    bool ok = node_backward(t, n, n->n_out, &d, culprit);
    if (epoch_good(t, epoch)) pool_give(&t->grads, d.table, bytes);
    return ok;
}

static bool sweep_nodes(wf_tape *t, node *from, const node **culprit)
{
    wf_tensor few[FEW];
    const wf_tensor *few_in[FEW], *few_gin[FEW];
    lists d = { .gin = few, .in = few_in, .wanted = few_gin };
    for (node *n = from; n; n = n->prev) {
        if (!n->needed) continue;
        bool arrived = false;
        for (int i = 0; i < n->op->outputs && !arrived; i++) arrived = grad_arrived(&n->out[i]);
        if (!arrived) continue;
        if (!(n->n_in <= FEW ? node_of_few(t, n, &d, culprit) : node_of_many(t, n, culprit)))
            return false;
    }
    return true;
}

/* ---- the whole ---- */

/* Adds each cotangent into the gradient of its output. */
static bool seed(wf_tape *t, int n, wf_var *const out[], wf_var *const cotangent[])
{
    for (int i = 0; i < n; i++) {
        wf_tensor g;
        if (!grad_wanted(out[i])) continue;
        if (!grad_view(t, out[i], &g) || !grad_named(t, out[i]->root, NULL)) return false;
        if (cotangent[i]) {
            wf_tensor_accumulate(&cotangent[i]->value, &g, 1, t->threads);
        } else {
            const wf_dtype_info *x = wf_dtype_describe(g.dtype);
            x->store(g.data, 0, x->load(g.data, 0) + 1);
        }
    }
    return true;
}

bool sweep_enter(wf_tape *t, const char *who, int n, wf_var *const out[], wf_var *const cotangent[],
                 wf_var *out_here[], wf_var *cotangent_here[])
{
    if (t->mode == WF_INFER) {
        wf_fail(t, "%s: nothing is recorded in infer mode", who);
        return false;
    }
    for (int i = 0; i < n; i++) {
        wf_var *v = out_here[i] = wf_enter(t, out[i], "%s: output %d", who, i), *g = NULL;
        if (!v) return false;
        if (v->value.dtype == WF_I32) {
            wf_fail(t, "%s: output %d is i32; only f32 and f64 have gradients", who, i);
            return false;
        }
        char shape[128], other[128];
        wf_shape_text(shape, sizeof shape, v->value.rank, v->value.dim);
        if (cotangent && cotangent[i]) {
            if (!(g = wf_enter(t, cotangent[i], "%s: cotangent %d", who, i))) return false;
            wf_shape a = wf_tensor_shape(&v->value), b = wf_tensor_shape(&g->value);
            if (!wf_shape_equal(&a, &b) || g->value.dtype != v->value.dtype) {
                wf_fail(t, "%s: output %d is %s %s; its cotangent is %s %s", who, i,
                        wf_dtype_name(v->value.dtype), shape, wf_dtype_name(g->value.dtype),
                        wf_shape_text(other, sizeof other, b.rank, b.dim));
                return false;
            }
        } else if (wf_tensor_count(&v->value) != 1) {
            wf_fail(t, "%s: output %d is %s; without a cotangent it must be one number", who, i,
                    shape);
            return false;
        }
        cotangent_here[i] = g;
    }
    return true;
}

bool sweep_run(wf_tape *t, const char *who, int n, wf_var *const out[], wf_var *const cotangent[],
               const node **culprit)
{
    sweep_mark(t, NULL);
    bool leads = false;
    for (int i = 0; i < n; i++) leads |= grad_wanted(out[i]);
    if (!leads && who) {
        wf_fail(t, "%s: no parameter led here, and no var that wf_keep_grad named", who);
        return false;
    }
    return seed(t, n, out, cotangent) && sweep_nodes(t, t->last, culprit) && !t->failed;
}
