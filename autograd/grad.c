/* wf_grad: gradients as vars, either by the sweep's kernels or, with create_graph, built out of
 * public ops. */
#include "autograd/ops.h"
#include "autograd/state_private.h"
#include "autograd/sweep_private.h"
#include "autograd/trace_private.h"

/* A place of a view in its root, as add_into wants it. */
static add_into_attr layout_of(const wf_var *v)
{
    add_into_attr a = { .rank = v->value.rank };
    a.offset = ((char *)v->value.data - (char *)v->root->value.data) /
               wf_dtype_size(v->value.dtype);
    for (int k = 0; k < v->value.rank; k++) { /* and zeros behind it, as attributes have */
        a.dim[k] = v->value.dim[k];
        a.stride[k] = v->value.stride[k];
    }
    return a;
}

/* total + more, seen through a's layout. A total that was made here and that nobody else holds
 * yet is added to in place: its node shares memory with its predecessor, whose value is read by
 * no backward. */
static wf_var *add_into(wf_tape *t, wf_var *total, bool owned, wf_var *more, const add_into_attr *a)
{
    wf_var *in[2] = { total, more };
    if (!owned) return wf_apply_one(t, &op_add_into, 2, in, a);
    wf_var *out = var_new(t, "add_into", &total->value);
    if (!out) return NULL;
    wf_tensor view;
    add_into_layout(&out->value, a, &view);
    wf_tensor_accumulate(&more->value, &view, 1, t->threads);
    if ((total->flags | more->flags) & VAR_WANTS_GRAD &&
        !node_record(t, &op_add_into, 2, in, out, a))
        return NULL;
    return out;
}

/* Sums that wait to be added pairwise, as in partial.c: it costs no more additions than a running
 * sum. Level k: of 2^k contributions, or NULL. */
struct graph_sums {
    wf_var *level[32];
};

/* Adds g to the sums that wait. */
static bool put_aside(wf_tape *t, wf_var *root, wf_var *g)
{
    if (!root->sums) {
        if (!(root->sums = tape_take(t, "grad", sizeof *root->sums))) return false;
        *root->sums = (graph_sums){ { NULL } };
    }
    wf_var **level = root->sums->level;
    for (; *level; level++) {
        g = wf_add(t, *level, g);
        *level = NULL;
    }
    *level = g;
    return g != NULL;
}

/* graph_grad joins the sums that wait. */
static bool put_all_aside(wf_tape *t, wf_var *root)
{
    wf_var *sum = root->graph_grad;
    root->graph_grad = NULL;
    root->flags &= ~(uint32_t)VAR_OWNED;
    root->gathered = 0;
    return !sum || put_aside(t, root, sum);
}

/* Adds g to what the root itself has gathered. The first two contributions need no more than
 * graph_grad. */
static bool gather_whole(wf_tape *t, wf_var *root, wf_var *g)
{
    if (root->gathered < 2 * GRAD_UNIT && !root->sums) {
        root->flags &= ~(uint32_t)VAR_OWNED;
        root->gathered += GRAD_UNIT;
        root->graph_grad = root->graph_grad ? wf_add(t, root->graph_grad, g) : g;
        return root->graph_grad != NULL;
    }
    return (root->sums || put_all_aside(t, root)) && put_aside(t, root, g);
}

/* The gradient that has been gathered, whole; NULL if there is none, and when the tape failed. */
static wf_var *settled(wf_tape *t, wf_var *root)
{
    graph_sums *s = root->sums;
    root->gathered = 0;
    if (!s) return root->graph_grad;
    root->sums = NULL;
    wf_var *sum = root->graph_grad;
    for (size_t k = 0; k < sizeof s->level / sizeof s->level[0]; k++)
        if (s->level[k]) sum = sum ? wf_add(t, s->level[k], sum) : s->level[k];
    root->flags &= ~(uint32_t)VAR_OWNED;
    return root->graph_grad = sum;
}

/* Adds g, shaped like v, to the gradient that v's root has gathered. */
static bool gather(wf_tape *t, wf_var *v, wf_var *g)
{
    wf_var *root = v->root;
    if (v == root) return gather_whole(t, root, g);
    if (!root->graph_grad) {
        root->graph_grad = wf_zeros(t, root->value.dtype, wf_shape_of(root));
        root->flags |= VAR_OWNED;
        if (!root->graph_grad) return false;
    }
    add_into_attr a = layout_of(v);
    wf_var *total = root->graph_grad;
    bool row_major = wf_tensor_is_contiguous(&total->value);
    if (!row_major && !(total = wf_copy(t, total))) return false;
    root->graph_grad = add_into(t, total, row_major && root->flags & VAR_OWNED, g, &a);
    root->flags |= VAR_OWNED;
    if (!root->graph_grad) return false;
    /* A view counts for as much as it covers. */
    root->gathered += grad_units((double)wf_tensor_count(&v->value) /
                                 (double)wf_tensor_count(&root->value));
    return root->gathered < GRAD_RUN * GRAD_UNIT || put_all_aside(t, root);
}

static bool graph_sweep(wf_tape *t, node *low, int n, wf_var *const out[],
                        wf_var *const cotangent[]);

/* What a row's own function made in place of `like`: a var of this tape in the same form, judged
 * before anything of it is used. NULL after failing the tape; `what` begins the sentence. */
static wf_var *judged(wf_tape *t, const wf_op *op, wf_var *made, const wf_var *like,
                      const char *what, int i, const char *made_by)
{
    if (!(made = wf_enter(t, made, "%s: %s of %s %d", op->name, made_by, what, i))) return NULL;
    wf_shape a = wf_shape_of(like), b = wf_shape_of(made);
    if (wf_shape_equal(&a, &b) && made->value.dtype == like->value.dtype) return made;
    char ta[128], tb[128];
    return wf_fail(t, "%s: %s %d is %s %s; %s of it is %s %s", op->name, what, i,
                   wf_dtype_name(like->value.dtype), wf_shape_text(ta, sizeof ta, a.rank, a.dim),
                   made_by, wf_dtype_name(made->value.dtype),
                   wf_shape_text(tb, sizeof tb, b.rank, b.dim));
}

bool node_reference(wf_tape *t, const node *n, wf_var *const in[], wf_var *made[])
{
    const wf_op *op = n->op;
    uint64_t epoch = t->epoch;
    for (int i = 0; i < op->outputs; i++) made[i] = NULL;
    const uint64_t drawn = t->random_ops; /* it draws what the row drew */
    if (op->flags & WF_OP_RANDOM) t->random_ops = n->counter >> 32;
    bool ok = op->reference(t, &(wf_reference){ .op = op,
                                                .n_in = n->n_in,
                                                .n_out = op->outputs,
                                                .in = in,
                                                .attr = n->attr,
                                                .out = made });
    if (t->epoch != epoch && !call_survived(t, epoch, op->name)) return false;
    t->random_ops = drawn;
    if (!ok) {
        wf_fail(t, "%s: its reference failed", op->name);
        return false;
    }
    for (int i = 0; i < op->outputs; i++)
        if (!(made[i] = judged(t, op, made[i], &n->out[i], "output", i, "the reference")))
            return false;
    return true;
}

/* The gradient of an op that has only a reference: the reference is recorded on aliases of the
 * inputs and swept. */
static bool reference_gradient(wf_tape *t, const node *n, wf_var *const gout[], wf_var *gin[])
{
    const wf_op *op = n->op;
    int64_t bytes = n->n_in * (int64_t)sizeof(wf_var *);
    wf_var **in = tape_take(t, op->name, bytes);
    wf_var *out[WF_OP_OUTPUTS], *with[WF_OP_OUTPUTS], *made[WF_OP_OUTPUTS];
    if (!in) return false;
    for (int i = 0; i < n->n_in; i++) {
        in[i] = n->in[i];
        if (in[i] && in[i]->flags & VAR_WANTS_GRAD && !(in[i] = alias_new(t, in[i]))) return false;
    }
    node *low = t->last;
    if (!node_reference(t, n, in, made)) return false;
    int used = 0;
    for (int i = 0; i < op->outputs; i++) {
        if (!gout[i]) continue;
        out[used] = made[i];
        with[used++] = gout[i];
    }
    for (int i = 0; i < n->n_in; i++)
        if (in[i] && in[i] != n->in[i]) in[i]->flags |= VAR_NEEDED | VAR_HELD;
    uint64_t epoch = t->epoch;
    bool ok = graph_sweep(t, low, used, out, with);
    if (!epoch_good(t, epoch)) return false;
    for (int i = 0; i < n->n_in; i++) {
        if (!in[i] || in[i] == n->in[i]) continue;
        in[i]->flags &= ~(uint32_t)(VAR_NEEDED | VAR_HELD);
        if (ok) gin[i] = settled(t, in[i]);
        in[i]->graph_grad = NULL;
    }
    return ok;
}

/* Calls what the row has: gin[i], NULL before, receives the gradient of input i where wanted. */
static bool row_gradient(wf_tape *t, const node *n, wf_var *const gout[], const bool wanted[],
                         wf_var *gin[])
{
    const wf_op *op = n->op;
    if (op->gradient) {
        wf_var *outs[WF_OP_OUTPUTS];
        for (int i = 0; i < n->n_out; i++) outs[i] = n->out[i].value.data ? &n->out[i] : NULL;
        wf_gradient g = { .op = op,
                          .n_in = n->n_in,
                          .n_out = n->n_out,
                          .in = n->in,
                          .out = outs,
                          .gout = gout,
                          .wanted = wanted,
                          .gin = gin,
                          .attr = n->attr };
        uint64_t epoch = t->epoch;
        op->gradient(t, &g);
        return t->epoch == epoch || call_survived(t, epoch, op->name);
    }
    if (op->reference) return reference_gradient(t, n, gout, gin);
    wf_fail(t, "%s: it has neither a gradient nor a reference, so no graph of its gradient",
            op->name);
    return false;
}

static bool node_graph(wf_tape *t, const node *n)
{
    wf_var *gout[WF_OP_OUTPUTS];
    bool arrived = false;
    for (int i = 0; i < n->n_out; i++) {
        gout[i] = i < n->op->outputs ? settled(t, &n->out[i]) : NULL;
        arrived |= gout[i] != NULL;
    }
    if (!arrived) return !t->failed;
    int64_t bytes = n->n_in * (int64_t)(sizeof(wf_var *) + sizeof(bool));
    wf_var **gin = tape_take(t, n->op->name, bytes);
    if (!gin) return false;
    bool *wanted = (bool *)(gin + n->n_in);
    for (int i = 0; i < n->n_in; i++) {
        gin[i] = NULL;
        wanted[i] = n->in[i] && grad_wanted(n->in[i]);
    }
    const scope *where = t->where;
    t->where = n->where;
    if (!row_gradient(t, n, gout, wanted, gin)) return false;
    for (int i = 0; i < n->n_in; i++)
        if (wanted[i] && gin[i])
            gin[i] = judged(t, n->op, gin[i], n->in[i], "input", i, "the gradient");
    t->where = where;
    if (t->failed) return false;
    for (int i = 0; i < n->n_in; i++) {
        if (!wanted[i] || !gin[i]) continue;
        if (!gather(t, n->in[i], gin[i])) return false;
    }
    for (int i = 0; i < n->n_out; i++)
        if (!(n->out[i].flags & VAR_HELD)) n->out[i].graph_grad = NULL;
    return true;
}

/* Sweeps the nodes after `low`, leaving at each target's root a var. */
static bool graph_sweep(wf_tape *t, node *low, int n, wf_var *const out[],
                        wf_var *const cotangent[])
{
    node *high = t->last;
    sweep_mark(t, low);
    for (int i = 0; i < n; i++) {
        wf_var *g = cotangent[i];
        if (!grad_wanted(out[i])) continue;
        if (!g && !(g = wf_full(t, out[i]->value.dtype, wf_shape_of(out[i]), 1.0))) return false;
        if (!gather(t, out[i], g)) return false;
    }
    for (node *at = high; at && at != low; at = at->prev)
        if (at->needed && !node_graph(t, at)) return false;
    return true;
}

/* The finished gradient of one target as a var: from the sweep's memory, from the graph, or
 * zeros. */
static wf_var *result(wf_tape *t, wf_var *v, bool graph)
{
    wf_var *root = v->root;
    if (graph && settled(t, root)) {
        wf_var *g = root->graph_grad;
        if (v == root) return g;
        if (!wf_tensor_is_contiguous(&g->value) && !(g = wf_copy(t, g))) return NULL;
        add_into_attr a = layout_of(v);
        wf_tensor view;
        add_into_layout(&g->value, &a, &view);
        return view_new(t, g, &view);
    }
    if (!graph && root->grad) {
        wf_tensor view;
        return grad_view(t, v, &view) ? wf_constant_tensor(t, &view) : NULL;
    }
    return wf_zeros(t, v->value.dtype, wf_shape_of(v));
}

/* The targets' gradients are read off, and nothing of the sweep is left. */
static bool collect(wf_tape *t, int n, wf_var *const target[], wf_var *grad[], bool graph, bool ok)
{
    for (int i = 0; i < n; i++) target[i]->root->flags &= ~(uint32_t)(VAR_NEEDED | VAR_HELD);
    for (int i = 0; ok && !graph && i < n; i++) grad_settle(t, target[i]->root);
    for (int i = 0; ok && i < n; i++) ok = (grad[i] = result(t, target[i], graph)) != NULL;
    for (int i = 0; i < n; i++) {
        wf_var *root = target[i]->root;
        if (graph) {
            root->graph_grad = NULL;
            root->sums = NULL;
        } else {
            grad_drop(t, root);
        }
    }
    return ok;
}

static bool grad_all(wf_tape *t, int n_out, wf_var *const out[], wf_var *const cotangent[],
                     int n_wrt, wf_var *const wrt[], wf_var *grad[], bool graph)
{
    WF_TAPE_SCOPE tape_scope inside = tape_enter(t);
    int64_t bytes = (2 * (int64_t)n_out + n_wrt) * (int64_t)sizeof(wf_var *);
    wf_var **here = tape_take(t, "grad", bytes);
    if (!here) return false;
    wf_var **with = here + n_out, **target = with + n_out;
    if (!sweep_enter(t, "grad", n_out, out, cotangent, here, with)) return false;
    for (int i = 0; i < n_wrt; i++) {
        target[i] = wf_enter(t, wrt[i], "grad: wrt %d", i);
        if (!target[i]) return false;
        if (target[i]->flags & VAR_WANTS_GRAD || !wf_param_frozen(wrt[i])) continue;
        wf_fail(t, "grad: wrt %d: '%s' is frozen, so that it has no gradient", i,
                wf_param_path(wrt[i]));
        return false;
    }
    for (int i = 0; i < n_wrt; i++) target[i]->root->flags |= VAR_NEEDED | VAR_HELD;
    uint64_t epoch = t->epoch;
    bool ok = graph ? graph_sweep(t, NULL, n_out, here, with)
                    : sweep_run(t, NULL, n_out, here, with, NULL);
    return epoch_good(t, epoch) && collect(t, n_wrt, target, grad, graph, ok);
}

/* grad[] may be the list of wrt, out or cotangent itself: it is written last. */
bool wf_grad(wf_tape *t, int n_out, wf_var *const out[], wf_var *const cotangent[], int n_wrt,
             wf_var *const wrt[], wf_var *grad[], const wf_grad_options *options)
{
    bool ok = false;
    if (!wf_tape_ok(t)) {
        ok = false;
    } else if (n_out < 0 || n_wrt < 0 || (n_out > 0 && !out) || (n_wrt > 0 && (!wrt || !grad))) {
        wf_fail(t, "grad: %d outputs and %d vars were promised and not given", n_out, n_wrt);
    } else {
        WF_SWEEP calling before = sweep_begin(t, "grad");
        bool graph = options && options->create_graph;
        ok = before.tape && grad_all(t, n_out, out, cotangent, n_wrt, wrt, grad, graph);
    }
    for (int i = 0; !ok && grad && i < n_wrt; i++) grad[i] = NULL;
    return ok;
}
