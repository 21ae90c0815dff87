/* Ops that are no tiles and no products: their rows run through their own kernels, on tensors that
 * are rows of buffers. */
#include "autograd/ops_private.h"
#include "autograd/plan_run_private.h"

#include <string.h>

/* A gradient of more rows than that, for each row that is looked up, is not made whole. */
enum { MOST_INPUTS = 32, FEW_ROWS = 64 };

/* ---- shapes of other numbers of rows ---- */

/* As the trace has it: a gradient may be asked for of each. */
static uint32_t wanted_of(const node *n)
{
    uint32_t wanted = 0;
    for (int i = 0; i < n->n_in; i++)
        wanted |= (uint32_t)(n->in[i] && n->in[i]->flags & VAR_WANTS_GRAD) << (i & 31);
    return wanted;
}

/* Of x (n, ...) the form (n, steps, ...), `apart` elements from step to step; one: the same for
 * all. */
static wf_tensor with_steps(wf_tensor x, int64_t steps, int64_t apart)
{
    return tensor_with_axis(x, 1, steps, steps > 1 ? apart : 0);
}

/* Can the op's shape be had of so many rows, and of steps behind that axis unless they are 0, and
 * nothing else differ? */
static bool shape_of_rows(const call *c, int64_t rows, int64_t steps, int threads, int64_t *scratch)
{
    const node *n = c->node;
    wf_tensor form[MOST_INPUTS], out[WF_OP_OUTPUTS];
    const wf_tensor *in[MOST_INPUTS];
    wf_error error = { { 0 } };
    memset(out, 0, sizeof out);
    for (int i = 0; i < n->n_in; i++) {
        in[i] = n->in[i] ? &form[i] : NULL;
        if (!n->in[i]) continue;
        form[i] = n->in[i]->value;
        if (c->in[i].rows) form[i].dim[0] = rows;
        if (steps > 0 && c->in[i].rows)
            form[i] = with_steps(form[i], c->in[i].value < 0 ? 1 : steps, 0);
    }
    wf_shaping s = { .op = n->op,
                     .n_in = n->n_in,
                     .n_out = n->n_out,
                     .in = in,
                     .attr = n->attr,
                     .threads = threads,
                     .out = out,
                     .wanted = wanted_of(n),
                     .error = &error };
    if (!n->op->shape(&s)) return false;
    for (int i = 0; i < n->n_out; i++) {
        const wf_tensor one = steps > 0 ? with_steps(n->out[i].value, steps, 0) : n->out[i].value;
        if (out[i].dtype != one.dtype || out[i].rank != one.rank) return false;
        for (int k = 0; k < one.rank; k++)
            if (out[i].dim[k] != (k == 0 ? rows : one.dim[k])) return false;
    }
    if (s.scratch_forward > *scratch) *scratch = s.scratch_forward;
    if (s.scratch_backward > *scratch) *scratch = s.scratch_backward;
    return true;
}

/* Looks at the calls: into how many rows may they be cut? */
bool plan_calls(plan *p)
{
    for (int32_t i = 0; i < p->n[LIST_CALL]; i++) {
        call *c = &p->call[i];
        const wf_op *op = c->node->op;
        if (!shape_of_rows(c, p->s->batch, 0, 1, &c->scratch))
            return plan_refuse(p, "%s is not of these shapes", op->name);
        int64_t unused = 0;
        const bool varied = p->s->replay->at[c->number].varied;
        const bool any_rows = !varied && shape_of_rows(c, 1, 0, 1, &unused);
        if (!any_rows && !varied && !p->full)
            return plan_refuse(p, "%s names the number of rows", op->name);
        c->whole |= !any_rows;
        if (c->over_time &&
            !shape_of_rows(c, p->s->batch, p->steps, p->t->threads, &c->scratch_all))
            return plan_refuse(p, "%s is not of these shapes", op->name);
        c->whole |= c->shared && !c->over_time &&
                    !shape_of_rows(c, p->slope_rows, 0, p->t->threads, &c->scratch_all);
        if (c->scratch_all < c->scratch) c->scratch_all = c->scratch;
        p->serial |= c->whole;
        const operand *table = &c->in[0];
        if (op->flags & WF_OP_SPARSE && c->shared && table->value < 0 &&
            table->closed.form.dim[0] > FEW_ROWS * p->s->plan.rows)
            return plan_refuse(p, "%s has a large table, whose gradient is kept by rows", op->name);
    }
    return true;
}

/* ---- tensors of rows ---- */

static wf_tensor dense_of(const run *r, const wf_tensor *form, place where, const step_rows *s,
                          int64_t first, int64_t n)
{
    wf_tensor x = *form;
    const spot at = run_spot(r, where);
    int64_t bytes;
    x.dim[0] = n;
    tensor_settle(&x, &bytes);
    x.data = at.base + (s->at[at.index] + first) * at.row;
    return x;
}

/* Rows of an input, or with `slope` of its gradient; data NULL: there is none. */
static wf_tensor input_of(const run *r, const operand *o, const step_rows *s, int64_t first,
                          int64_t n, bool slope)
{
    if (o->value < 0) {
        wf_tensor x = run_closed(r, &o->closed, slope);
        if (!o->rows || !x.data) return x;
        x.dim[0] = n;
        x.data = wf_element(x.dtype, x.data, first * x.stride[0]);
        return x;
    }
    const value *v = &r->p->value[o->value];
    wf_tensor x = o->form;
    const spot at = run_spot(r, slope ? v->slope : v->at);
    x.dim[0] = n;
    x.stride[0] = at.row / at.size;
    x.data = at.base ? at.base + (s->at[at.index] + first) * at.row + o->offset * at.size : NULL;
    return x;
}

typedef struct tensors {
    wf_tensor in[MOST_INPUTS], out[WF_OP_OUTPUTS], gout[WF_OP_OUTPUTS], gin[MOST_INPUTS];
    const wf_tensor *in_at[MOST_INPUTS], *out_at[WF_OP_OUTPUTS], *gout_at[WF_OP_OUTPUTS],
        *gin_at[MOST_INPUTS];
} tensors;

static void point_at(const run *r, const call *c, const step_rows *s, int64_t first, int64_t n,
                     tensors *x)
{
    const node *of = c->node;
    for (int i = 0; i < of->n_in; i++) {
        x->in_at[i] = c->in[i].given ? &x->in[i] : NULL;
        if (c->in[i].given) x->in[i] = input_of(r, &c->in[i], s, first, n, false);
    }
    for (int k = 0; k < of->n_out; k++) {
        const buffer *b = &r->p->buffer[c->buffer[k]];
        const row_index index = b->space == SPACE_KEPT ? INDEX_KEPT : INDEX_STILL;
        x->out_at[k] = &x->out[k];
        x->out[k] = of->out[k].value;
        x->out[k].dim[0] = n;
        x->out[k].data = NULL;
        if (r->way == 0 || b->space == SPACE_KEPT)
            x->out[k] = dense_of(r, &of->out[k].value, (place){ c->buffer[k], index, 0 }, s, first,
                                 n);
        x->gout_at[k] = NULL;
        if (r->way == 0 || k >= of->op->outputs || c->slope[k] < 0) continue;
        const row_index there = c->shared ? INDEX_SLOPES : INDEX_STILL;
        x->gout[k] = dense_of(r, &of->out[k].value, (place){ c->slope[k], there, 0 }, s, first, n);
        x->gout_at[k] = &x->gout[k];
    }
}

/* The attributes that the op has on so many rows. */
static const void *attr_of(const plan *p, const call *c, int64_t n)
{
    for (int32_t i = 0; i < p->n[LIST_OTHER]; i++)
        if (p->other[i].rows == n) return p->other[i].node[c->number]->attr;
    return c->node->attr;
}

static wf_call call_of(const run *r, const call *c, const step_rows *s, int64_t first,
                       const tensors *x, char *scratch)
{
    const node *n = c->node;
    wf_call made = { .wanted = wanted_of(n),
                     .op = n->op,
                     .n_in = n->n_in,
                     .n_out = n->n_out,
                     .in = x->in_at,
                     .out = x->out_at,
                     .attr = attr_of(r->p, c, s->n),
                     .scratch = scratch,
                     .threads = 1 };
    if (c->draw >= 0) {
        made.key = r->p->key;
        made.counter = r->p->counter + ((uint64_t)(s->k * r->p->draws + c->draw) << 32) +
                       (uint64_t)first;
    }
    if (r->way == 1) {
        made.gout = x->gout_at;
        made.gin = x->gin_at;
    }
    return made;
}

static bool closed_wants(const run *r, const operand *o)
{
    return o->given && o->value < 0 && o->closed.form.dtype != WF_I32 &&
           r->p->constant[o->closed.constant].wants;
}

/* Of a call that is left out: the gradients that it would have written. */
static void begin_with_zeros(const wf_call *c)
{
    for (int i = 0; i < c->n_in; i++)
        if (c->fresh >> i & 1 && c->gin[i]) wf_tensor_fill(c->gin[i], 0);
}

/* Does the row's check refuse a value? */
static bool refuses(const wf_call *c)
{
    if (!c->op->check) return false;
    wf_error error = { { 0 } };
    return !c->op->check(c, &error);
}

void run_call(const run *r, const call *c, const step_rows *s, int64_t first, int64_t n,
              char *scratch)
{
    tensors x;
    if (__atomic_load_n(&r->p->refused, __ATOMIC_RELAXED) ||
        (r->way == 1 && (!c->wants || !c->done || !run_call_alive(r, c, NULL))))
        return;
    point_at(r, c, s, first, n, &x);
    for (int i = 0; r->way == 1 && i < c->node->n_in; i++) {
        const operand *o = &c->in[i];
        const bool wants = o->value >= 0 ? r->p->value[o->value].wants
                                         : o->rows && !c->over_time && closed_wants(r, o);
        x.gin_at[i] = NULL;
        if (!wants) continue;
        x.gin[i] = input_of(r, o, s, first, n, true);
        if (x.gin[i].data) x.gin_at[i] = &x.gin[i];
    }
    wf_call made = call_of(r, c, s, first, &x, scratch);
    made.fresh = r->way == 1 ? c->begins : 0;
    if (r->way == 1) {
        if (run_call_alive(r, c, s))
            made.op->backward(&made);
        else
            begin_with_zeros(&made);
        return;
    }
    if (refuses(&made))
        __atomic_store_n(&((plan *)(uintptr_t)r->p)->refused, true, __ATOMIC_RELAXED);
    else
        made.op->forward(&made);
}

/* Do the rows of all steps of an input lie as the kept ones do? */
static bool lies_even(const run *r, const operand *o)
{
    if (o->value < 0) return !o->rows;
    const row_index index = r->p->value[o->value].at.index;
    if (index == INDEX_ROW || index == INDEX_KEPT) return true;
    return r->p->full && (index == INDEX_BEFORE || index == INDEX_AFTER);
}

/* Steps s and on of a call whose constant has rows of its own. */
static void call_over_time(const run *r, const call *c, const step_rows *s, int64_t steps)
{
    const node *n = c->node;
    const int64_t batch = r->batch;
    tensors x;
    point_at(r, c, s, 0, batch, &x);
    for (int i = 0; i < n->n_in; i++) {
        const operand *o = &c->in[i];
        x.gin_at[i] = NULL;
        if (o->given && o->rows)
            x.in[i] = with_steps(x.in[i], o->value < 0 ? 1 : steps, batch * x.in[i].stride[0]);
        if (!closed_wants(r, o)) continue;
        x.gin[i] = input_of(r, o, s, 0, batch, true);
        if (o->rows) x.gin[i] = with_steps(x.gin[i], 1, 0);
        if (x.gin[i].data) x.gin_at[i] = &x.gin[i];
    }
    for (int k = 0; k < n->n_out; k++) {
        x.out[k] = with_steps(x.out[k], steps, batch * x.out[k].stride[0]);
        if (x.gout_at[k]) x.gout[k] = with_steps(x.gout[k], steps, batch * x.gout[k].stride[0]);
    }
    wf_call made = call_of(r, c, s, 0, &x, r->shared);
    made.threads = r->c->threads;
    made.op->backward(&made);
}

void run_call_shared(const run *r, const call *c)
{
    const node *n = c->node;
    bool even = !c->whole && r->lives == 1 && c->draw < 0;
    for (int i = 0; i < n->n_in; i++)
        even &= !c->in[i].given || !c->in[i].rows || (c->over_time && c->in[i].value < 0) ||
                lies_even(r, &c->in[i]);
    for (int64_t k = r->first; k < (even ? r->first + 1 : r->last); k++) {
        const step_rows s = even ? run_earliest(r) : run_step(r, k);
        if (c->over_time) {
            call_over_time(r, c, &s, even ? r->last - r->first : 1);
            continue;
        }
        tensors x;
        if (!even && !run_call_alive(r, c, &s)) continue;
        point_at(r, c, &s, 0, even ? r->row_count : s.n, &x);
        for (int i = 0; i < n->n_in; i++) {
            x.gin_at[i] = NULL;
            if (c->in[i].rows || !closed_wants(r, &c->in[i])) continue;
            x.gin[i] = run_closed(r, &c->in[i].closed, true);
            if (x.gin[i].data) x.gin_at[i] = &x.gin[i];
        }
        wf_call made = call_of(r, c, &s, 0, &x, r->shared);
        made.threads = r->c->threads;
        made.op->backward(&made);
    }
}
