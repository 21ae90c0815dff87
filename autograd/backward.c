/* The sweep: kernels run backwards over the tape, adding into gradients, which are committed to
 * parameters all or none. */
#include "autograd/private.h"
#include "tensor/par.h"

#include <math.h>
#include <string.h>

enum { FEW = 16, OUTPUTS = 16 };

static int64_t var_bytes(const wf_var *v)
{
    return wf_tensor_count(&v->value) * wf_dtype_size(v->value.dtype);
}

static void zero_part(void *context, int64_t begin, int64_t end)
{
    memset((char *)context + begin, 0, (size_t)(end - begin));
}

/* Zeroed memory from the gradient pool; NULL after failing the tape. */
static void *grad_new(wf_tape *t, int64_t bytes)
{
    void *g = pool_take(&t->grads, bytes);
    if (!g) {
        tape_fail_oom(t, "backward", bytes);
        return NULL;
    }
    if (bytes < 1 << 18)
        memset(g, 0, (size_t)bytes);
    else
        wf_par_for(t->threads, bytes, 1 << 17, zero_part, g);
    return g;
}

static void grad_drop(wf_tape *t, wf_var *root)
{
    if (root->grad) pool_give(&t->grads, root->grad, var_bytes(root));
    root->grad = NULL;
}

/* A var's gradient as a tensor: its root's, made if need be, seen as the var sees its root. */
static bool grad_view(wf_tape *t, wf_var *v, wf_tensor *out)
{
    wf_var *root = v->root;
    if (!root->grad && !(root->grad = grad_new(t, var_bytes(root)))) return false;
    out->dtype = v->value.dtype;
    out->rank = v->value.rank;
    for (int i = 0; i < v->value.rank; i++) {
        out->dim[i] = v->value.dim[i];
        out->stride[i] = v->value.stride[i];
    }
    out->data = (char *)root->grad + ((char *)v->value.data - (char *)root->value.data);
    return true;
}

static int64_t last_offset(const wf_tensor *x)
{
    int64_t at = 0;
    for (int i = 0; i < x->rank; i++) at += (x->dim[i] - 1) * x->stride[i];
    return at * wf_dtype_size(x->dtype);
}

bool tensors_meet(const wf_tensor *a, const wf_tensor *b)
{
    if (!wf_tensor_count(a) || !wf_tensor_count(b)) return false;
    const char *a0 = a->data, *b0 = b->data;
    return a0 <= b0 + last_offset(b) && b0 <= a0 + last_offset(a);
}

void sweep_mark(wf_tape *t, node *low)
{
    for (node *n = low ? low->next : t->first; n; n = n->next) {
        bool needed = false;
        for (int i = 0; i < n->n_in && !needed; i++)
            needed = n->in[i] && n->in[i]->root->flags & VAR_NEEDED &&
                     n->in[i]->flags & VAR_WANTS_GRAD;
        n->needed = needed;
        for (int i = 0; i < n->n_out; i++) {
            wf_var *v = &n->out[i];
            v->grad = NULL;
            v->graph_grad = NULL;
            if (needed || v->flags & VAR_HELD)
                v->flags |= VAR_NEEDED;
            else
                v->flags &= ~(uint32_t)VAR_NEEDED;
        }
    }
}

/* One node backwards. The arrays have room for its inputs. */
static bool node_backward(wf_tape *t, node *n, wf_tensor gin[], const wf_tensor *in[],
                          const wf_tensor *wanted[])
{
    if (!n->op->backward) {
        wf_fail(t, "%s: its row has no backward", n->op->name);
        return false;
    }
    const wf_tensor *out[OUTPUTS], *gout[OUTPUTS];
    wf_tensor gout_form[OUTPUTS];
    for (int i = 0; i < n->n_out; i++) {
        wf_var *v = &n->out[i];
        out[i] = &v->value;
        gout[i] = NULL;
        if (v->grad && i < n->op->outputs && grad_view(t, v, &gout_form[i]))
            gout[i] = &gout_form[i];
    }
    bool temporary = false;
    uint64_t folded = 0; /* inputs below 64 whose gin is a temporary */
    for (int i = 0; i < n->n_in; i++) {
        wf_var *v = n->in[i];
        in[i] = v ? &v->value : NULL;
        wanted[i] = NULL;
        if (!v || !(v->flags & VAR_WANTS_GRAD) || !(v->root->flags & VAR_NEEDED)) continue;
        if (!grad_view(t, v, &gin[i])) return false;
        wanted[i] = &gin[i];
        /* A kernel may read, add and store whole vectors: it never meets one gradient twice. */
        bool meets = v->root != v && wf_tensor_overlaps_itself(&gin[i]);
        for (int k = 0; k < i && !meets; k++)
            meets = wanted[k] && n->in[k]->root == v->root &&
                    (i >= 64 || !(folded >> k & 1) || k >= 64) && tensors_meet(&gin[k], &gin[i]);
        if (!meets) continue;
        int64_t bytes;
        wf_tensor own = gin[i];
        if (!tensor_settle(&own, &bytes) || !(own.data = grad_new(t, bytes))) return false;
        gin[i] = own;
        temporary = true;
        if (i < 64) folded |= UINT64_C(1) << i;
    }
    wf_call c = { .op = n->op,
                  .n_in = n->n_in,
                  .n_out = n->n_out,
                  .in = in,
                  .out = out,
                  .gout = gout,
                  .gin = wanted,
                  .attr = n->attr,
                  .key = n->key,
                  .counter = n->counter,
                  .threads = t->threads };
    if (n->scratch_backward > 0 && !(c.scratch = pool_take(&t->grads, n->scratch_backward))) {
        tape_fail_oom(t, n->op->name, n->scratch_backward);
        return false;
    }
    n->op->backward(&c);
    if (c.scratch) pool_give(&t->grads, c.scratch, n->scratch_backward);
    for (int i = 0; temporary && i < n->n_in; i++) {
        if (!wanted[i]) continue;
        wf_tensor place;
        if (!grad_view(t, n->in[i], &place)) return false;
        if (place.data == gin[i].data) continue;
        wf_tensor_add(&gin[i], &place);
        pool_give(&t->grads, gin[i].data, wf_tensor_count(&gin[i]) * wf_dtype_size(gin[i].dtype));
    }
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i].grad && !(n->out[i].flags & VAR_HELD)) grad_drop(t, &n->out[i]);
    return true;
}

static bool sweep_nodes(wf_tape *t, node *from)
{
    wf_tensor few[FEW];
    const wf_tensor *few_in[FEW], *few_gin[FEW];
    for (node *n = from; n; n = n->prev) {
        if (!n->needed) continue;
        bool arrived = false;
        for (int i = 0; i < n->op->outputs && !arrived; i++) arrived = n->out[i].grad != NULL;
        if (!arrived) continue;
        if (n->n_in <= FEW) {
            if (!node_backward(t, n, few, few_in, few_gin)) return false;
            continue;
        }
        int64_t bytes = n->n_in * (int64_t)(sizeof few[0] + 2 * sizeof few_in[0]);
        wf_tensor *gin = pool_take(&t->grads, bytes);
        if (!gin) {
            tape_fail_oom(t, "backward", bytes);
            return false;
        }
        const wf_tensor **in = (const wf_tensor **)(gin + n->n_in);
        bool ok = node_backward(t, n, gin, in, in + n->n_in);
        pool_give(&t->grads, gin, bytes);
        if (!ok) return false;
    }
    return true;
}

/* Adds each cotangent into the gradient of its output. */
static bool seed(wf_tape *t, int n, wf_var *const out[], wf_var *const cotangent[])
{
    for (int i = 0; i < n; i++) {
        wf_tensor g;
        if (!(out[i]->root->flags & VAR_NEEDED) || !(out[i]->flags & VAR_WANTS_GRAD)) continue;
        if (!grad_view(t, out[i], &g)) return false;
        if (cotangent[i]) {
            wf_tensor_add(&cotangent[i]->value, &g);
        } else if (g.dtype == WF_F32) {
            *(float *)g.data += 1.0f;
        } else {
            *(double *)g.data += 1.0;
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
        wf_var *v = out_here[i] = var_enter(t, out[i], who, i + 1), *g = NULL;
        if (!v) return false;
        if (v->value.dtype == WF_I32) {
            wf_fail(t, "%s: output %d is i32; only f32 and f64 have gradients", who, i + 1);
            return false;
        }
        char shape[128], other[128];
        wf_shape_text(shape, sizeof shape, v->value.rank, v->value.dim);
        if (cotangent && cotangent[i]) {
            if (!(g = var_enter(t, cotangent[i], who, n + i + 1))) return false;
            wf_shape a = wf_tensor_shape(&v->value), b = wf_tensor_shape(&g->value);
            if (!wf_shape_equal(&a, &b) || g->value.dtype != v->value.dtype) {
                wf_fail(t, "%s: output %d is %s %s; its cotangent is %s %s", who, i + 1,
                        wf_dtype_name(v->value.dtype), shape, wf_dtype_name(g->value.dtype),
                        wf_shape_text(other, sizeof other, b.rank, b.dim));
                return false;
            }
        } else if (wf_tensor_count(&v->value) != 1) {
            wf_fail(t, "%s: output %d is %s; without a cotangent it must be one number", who, i + 1,
                    shape);
            return false;
        }
        cotangent_here[i] = g;
    }
    return true;
}

bool sweep_run(wf_tape *t, const char *who, int n, wf_var *const out[], wf_var *const cotangent[])
{
    sweep_mark(t, NULL);
    bool leads = false;
    for (int i = 0; i < n; i++)
        leads |= (out[i]->root->flags & VAR_NEEDED) && (out[i]->flags & VAR_WANTS_GRAD);
    if (!leads && who) {
        wf_fail(t, "%s: no parameter led here, and no var that wf_keep_grad named", who);
        return false;
    }
    uint32_t fp = wf_fp_enter();
    bool ok = seed(t, n, out, cotangent) && sweep_nodes(t, t->last);
    wf_fp_leave(fp);
    return ok;
}

/* ---- wf_backward ---- */

static void part_add_f32(void *context, int64_t begin, int64_t end)
{
    float *const *p = context;
    for (int64_t i = begin; i < end; i++) p[0][i] += p[1][i];
}

static void part_add_f64(void *context, int64_t begin, int64_t end)
{
    double *const *p = context;
    for (int64_t i = begin; i < end; i++) p[0][i] += p[1][i];
}

static void part_copy(void *context, int64_t begin, int64_t end)
{
    char *const *p = context;
    memcpy(p[0] + begin, p[1] + begin, (size_t)(end - begin));
}

static void add_into_param(wf_tape *t, param *p, void *from)
{
    void *both[2] = { p->grad, from };
    int64_t n = wf_tensor_count(&p->var.value);
    bool f32 = p->var.value.dtype == WF_F32;
    if (p->has_grad)
        wf_par_for(t->threads, n, 1 << 14, f32 ? part_add_f32 : part_add_f64, both);
    else
        wf_par_for(t->threads, n * wf_dtype_size(p->var.value.dtype), 1 << 16, part_copy, both);
    p->has_grad = true;
    p->grad_version++;
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
            wf_fail(t, "backward: '%s' was changed between its use on this tape and the sweep",
                    p->path);
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
        if (!all[i].param->frozen) add_into_param(t, all[i].param, all[i].pending);
        pool_give(&t->grads, all[i].pending, var_bytes(all[i].var));
        all[i].pending = NULL;
    }
    for (int64_t i = 0; i < locked; i++) module_unlock(module_root(all[i].param->module), t);
    if (!ok) return false;
    const hook *h = t->hooks.at;
    for (int64_t i = 0; i < t->hooks.n; i++) h[i].fn(h[i].context);
    t->hooks.n = 0;
    return true;
}

/* What a sweep left at the imports waits for the commit; on a rehearsal it is dropped. */
static bool collect_imports(wf_tape *t, bool good)
{
    import *all = t->imports.at;
    for (int64_t i = 0; i < t->imports.n; i++) {
        wf_var *v = all[i].var;
        if (all[i].bound) continue;
        v->flags &= ~(uint32_t)(VAR_NEEDED | VAR_HELD);
        if (!v->grad) continue;
        if (!good || t->rehearsal) {
            grad_drop(t, v);
        } else if (all[i].pending) {
            wf_tensor pending = v->value, more = v->value;
            pending.data = all[i].pending;
            more.data = v->grad;
            wf_tensor_add(&more, &pending);
            grad_drop(t, v);
        } else {
            all[i].pending = v->grad;
            v->grad = NULL;
        }
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
        if (!good || !root->grad) continue;
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

static bool finite_tensor(const wf_tensor *x)
{
    if (x->dtype == WF_I32) return true;
    int64_t n = wf_tensor_count(x);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(wf_tensor_at(x, i))) return false;
    return true;
}

/* Only on the way to an error: which op made the first value that is not finite. */
static void fail_not_finite(wf_tape *t, const wf_var *loss)
{
    double value = wf_item(loss);
    const char *what = isnan(value) ? "nan" : "infinite";
    for (const node *n = t->first; n; n = n->next)
        for (int i = 0; i < n->n_out; i++)
            if (!finite_tensor(&n->out[i].value)) {
                t->where = n->where;
                wf_fail(t,
                        "backward: loss became %s at step %llu; the first such value came from %s",
                        what, (unsigned long long)t->step, n->op->name);
                return;
            }
    wf_fail(t, "backward: loss became %s at step %llu", what, (unsigned long long)t->step);
}

static bool backward(wf_tape *t, int n, wf_var *const out[], wf_var *const cotangent[],
                     wf_var *here[], wf_var *with[])
{
    if (!sweep_enter(t, "backward", n, out, cotangent, here, with)) return false;
    for (int i = 0; i < n; i++)
        if (!with[i] && !isfinite(wf_item(here[i]))) {
            fail_not_finite(t, here[i]);
            return false;
        }
    import *all = t->imports.at;
    for (int64_t i = 0; i < t->imports.n; i++) {
        if (all[i].bound) continue;
        if (!all[i].param->frozen) all[i].var->flags |= VAR_NEEDED | VAR_HELD;
        if (all[i].param->version != all[i].version) {
            wf_fail(t, "backward: '%s' was changed between its use on this tape and the sweep",
                    all[i].param->path);
            return collect_imports(t, false);
        }
    }
    wf_var **kept = t->kept.at;
    for (int64_t i = 0; i < t->kept.n; i++) {
        kept[i]->root->flags |= VAR_NEEDED | VAR_HELD;
        kept[i]->kept->data = NULL;
    }
    bool ok = sweep_run(t, "backward", n, here, with);
    ok = collect_kept(t, ok);
    return collect_imports(t, ok);
}

static bool backward_all(wf_tape *t, int n, wf_var *const out[], wf_var *const cotangent[])
{
    wf_var *few[2 * FEW];
    wf_var **here = few;
    int64_t bytes = 2 * n * (int64_t)sizeof *here;
    if (n > FEW && !(here = pool_take(&t->grads, bytes))) {
        tape_fail_oom(t, "backward", bytes);
        return false;
    }
    bool ok = backward(t, n, out, cotangent, here, here + n);
    if (here != few) pool_give(&t->grads, here, bytes);
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
    if (!backward_all(t, n, out, cotangent)) return false;
    if (t->rehearsal || t->defer_commit) return true;
    return commit(t);
}

bool wf_backward(wf_tape *t, wf_var *loss)
{
    return wf_backward_from(t, 1, &loss, NULL);
}

bool wf_tape_commit(wf_tape *t)
{
    if (!wf_tape_ok(t)) return false;
    return t->rehearsal || commit(t);
}
