/* A planned loop as one node of the tape: its row, which is made for the call, and what of the
 * call goes into it and comes out of it. */
#include "autograd/memory_private.h"
#include "autograd/ops.h"
#include "autograd/ops_private.h"
#include "autograd/plan_private.h"
#include "autograd/sweep_private.h"
#include "autograd/trace_private.h"
#include "autograd/views.h"
#include "tensor/rng.h"

#include <string.h>

/* ---- the row ---- */

static int64_t rows_of_state(const plan *p, int k)
{
    const int64_t batch = p->s->batch;
    return p->ring[k] ? 2 * batch : batch + p->s->plan.rows + !p->full;
}

static void form_of(wf_tensor *out, const wf_var *like, int64_t rows)
{
    *out = (wf_tensor){ .dtype = like->value.dtype, .rank = like->value.rank };
    memcpy(out->dim, like->value.dim, sizeof out->dim);
    out->dim[0] = rows;
}

static bool plan_shape(wf_shaping *s)
{
    const plan *p = (const plan *)(const void *)s->op;
    for (int k = 0; k < p->s->states; k++)
        form_of(&s->out[k], p->step->state[k], rows_of_state(p, k));
    for (int j = 0; j < p->s->outputs; j++)
        if (p->y_state[j] < 0)
            form_of(&s->out[p->y_output[j]], p->step->y[j], p->s->plan.rows + !p->full);
    s->out[s->n_out - 1] = (wf_tensor){ .dtype = WF_F64, .rank = 1 };
    s->out[s->n_out - 1].dim[0] = p->space[SPACE_KEPT] / (int64_t)sizeof(double);
    s->scratch_forward = plan_scratch(p, s->threads, false);
    s->scratch_backward = p->infer ? 0 : plan_scratch(p, s->threads, true);
    return true;
}

/* ---- its meaning: the steps one after another, in rows ---- */

/* What steps leave, in the order of their rows. */
typedef struct left {
    int64_t n;
    wf_var **at;
} left;

static wf_var *joined(wf_tape *t, left *l)
{
    return l->n == 1 ? l->at[0] : wf_concat(t, 0, (wf_vars){ (int)l->n, l->at });
}

static wf_var *zero_row(wf_tape *t, const wf_var *like)
{
    wf_shape form = wf_shape_of(like);
    form.dim[0] = 1;
    return wf_zeros(t, wf_dtype_of(like), form);
}

/* The states before step i, (n, ...): those after the last one of rows that go on, and initial ones
 * of rows that begin. */
static void states_before(wf_tape *t, const plan *p, const wf_reference *r, int64_t n, int64_t old,
                          wf_var *now[])
{
    for (int k = 0; k < p->s->states; k++) {
        wf_var *begin = r->in[input_of_state(p, k)];
        if (old > n) old = n;
        wf_var *more = old < n ? wf_slice(t, begin, 0, old, n, 1) : NULL;
        if (old > 0) now[k] = wf_slice(t, now[k], 0, 0, old, 1);
        now[k] = old == 0 ? more : more ? wf_concat(t, 0, WF_VARS(now[k], more)) : now[k];
    }
}

static bool steps_in_rows(wf_tape *t, const plan *p, const wf_reference *r, left state[], left y[])
{
    const scan *s = p->s;
    wf_var *now[WF_SCAN_VARS], *made[WF_SCAN_VARS], *first[WF_SCAN_VARS] = { NULL };
    wf_var *x[WF_SCAN_VARS];
    int64_t old = 0;
    for (int64_t k = 0; k < p->steps; k++) {
        const int64_t i = s->reverse ? p->steps - 1 - k : k, n = s->plan.active[i];
        for (int q = 0; q < s->sequences; q++)
            x[q] = wf_slice(t, r->in[q], 0, s->plan.begin[i], s->plan.begin[i] + n, 1);
        states_before(t, p, r, n, old, now);
        /* In reverse the rows before a step are a piece, and lie behind those of earlier times. */
        for (int q = 0; q < s->states && s->reverse; q++) state[q].at[1 + i] = now[q];
        if (!scan_step(t, s, n, x, now, made, first)) return false;
        for (int q = 0; q < s->states; q++) {
            if (!s->reverse) state[q].at[1 + i] = now[q];
            wf_var *rest = s->reverse && i == 0 && n < s->batch
                               ? wf_slice(t, r->in[input_of_state(p, q)], 0, n, s->batch, 1)
                               : NULL;
            if (s->reverse && i == 0)
                state[q].at[0] = rest ? wf_concat(t, 0, WF_VARS(now[q], rest)) : now[q];
        }
        for (int j = 0; j < s->outputs; j++) y[j].at[i] = first[j] = made[j];
        old = n;
    }
    return wf_tape_ok(t);
}

static bool reference_on(wf_tape *t, const plan *p, const wf_reference *r)
{
    const scan *s = p->s;
    left state[WF_SCAN_VARS], y[WF_SCAN_VARS];
    wf_var **at = wf_tape_memory(t,
                                 (size_t)((s->states + s->outputs) * (p->steps + 2)) * sizeof *at);
    if (!at) return false;
    for (int k = 0; k < s->states; k++, at += p->steps + 2) {
        state[k] = (left){ p->steps + 1, at };
        state[k].at[0] = r->in[input_of_state(p, k)];
    }
    for (int j = 0; j < s->outputs; j++, at += p->steps + 2) y[j] = (left){ p->steps, at };
    if (!steps_in_rows(t, p, r, state, y)) return false;
    for (int k = 0; k < s->states; k++) {
        if (!p->full) state[k].at[state[k].n++] = zero_row(t, r->in[input_of_state(p, k)]);
        r->out[k] = joined(t, &state[k]);
    }
    for (int j = 0; j < s->outputs; j++) {
        if (p->y_state[j] >= 0) continue;
        if (!p->full) y[j].at[y[j].n++] = zero_row(t, y[j].at[0]);
        r->out[p->y_output[j]] = joined(t, &y[j]);
    }
    return wf_tape_ok(t);
}

/* The step's own vars stand for those that the node was recorded on, and it draws what it drew. */
static bool plan_reference(wf_tape *t, const wf_reference *r)
{
    const plan *p = (const plan *)(const void *)r->op;
    const int32_t n = p->n[LIST_CONSTANT];
    wf_var **root = wf_tape_memory(t, (size_t)(n + 1) * sizeof *root);
    if (!root) return false;
    for (int32_t i = 0; i < n; i++) root[i] = p->constant[i].root;
    const stand_ins others = { n, root, r->in + input_of_constant(p, 0) }, *before = t->stand_ins;
    const uint64_t fresh = t->fresh, drawn = t->random_ops;
    t->stand_ins = &others;
    t->fresh = UINT64_MAX;
    if (p->draws > 0) t->random_ops = p->counter >> 32;
    const wf_mode mode = t->mode;
    t->mode = p->mode;
    const bool ok = reference_on(t, p, r);
    t->mode = mode;
    t->stand_ins = before;
    t->fresh = fresh;
    t->random_ops = drawn;
    return ok;
}

/* ---- steps of fewer rows ---- */

/* Of a root that is the same for all rows. */
#define STILL (UINT32_C(1) << 31)

/* Numbers the roots of a traced step by the order in which they were made. */
static void number_roots(const scan *s, const traced_step *step)
{
    uint32_t n = 1;
    const hoisted *at = s->replay->at, *end = at + s->replay->n;
    for (int i = 0; i < s->sequences; i++) step->x[i]->gathered = n++;
    for (int k = 0; k < s->states; k++) step->state[k]->gathered = n++;
    for (const node *x = step->first; x; x = x->next, at++) {
        const bool still = at < end && at->all && !at->rows;
        for (int k = 0; k < x->n_out; k++) x->out[k].gathered = n++ | (still ? STILL : 0);
    }
}

/* Is v of a step of n rows what w is in one of `batch`? */
static bool alike(const wf_var *v, const wf_var *w, int64_t n, int64_t batch)
{
    if (!v || !w) return v == w;
    const wf_tensor *a = &v->value, *b = &w->value;
    const bool traced = v->root->flags & VAR_TRACED;
    if (traced != ((w->root->flags & VAR_TRACED) != 0) || a->rank != b->rank ||
        a->dtype != b->dtype)
        return false;
    for (int k = 0; k < a->rank; k++) {
        const bool row = traced && k == 0 && !(w->root->gathered & STILL);
        if (a->dim[k] != (row ? n : b->dim[k]) || (row && b->dim[k] != batch)) return false;
        if (a->dim[k] > 1 && b->dim[k] > 1 && a->stride[k] != b->stride[k]) return false;
    }
    if (!traced && a->data == b->data) return true;
    if (!traced)
        return wf_tensor_count(a) == 1 && wf_tensor_count(b) == 1 &&
               !memcmp(a->data, b->data, (size_t)wf_dtype_size(a->dtype));
    return v->root->gathered == w->root->gathered &&
           (uintptr_t)a->data - (uintptr_t)v->root->value.data ==
               (uintptr_t)b->data - (uintptr_t)w->root->value.data;
}

/* Attributes may differ; where they do is noted. */
static bool same_steps(const scan *s, const traced_step *a, const traced_step *b, int64_t n)
{
    const node *y = b->first;
    hoisted *at = s->replay->at;
    if (a->nodes != b->nodes) return false;
    for (const node *x = a->first; x; x = x->next, y = y->next, at++) {
        if (x->op != y->op || x->n_in != y->n_in || x->n_out != y->n_out) return false;
        if (x->op->attr_size && memcmp(x->attr, y->attr, (size_t)x->op->attr_size) != 0)
            at->varied = true;
        if (at->varied && at->all) return false;
        for (int i = 0; i < x->n_in; i++)
            if (!alike(x->in[i], y->in[i], n, s->batch)) return false;
    }
    for (int k = 0; k < s->states; k++)
        if (!alike(a->next[k], b->next[k], n, s->batch)) return false;
    for (int j = 0; j < s->outputs; j++)
        if (!alike(a->y[j], b->y[j], n, s->batch)) return false;
    return true;
}

/* Is the step the same for every number of rows that it will have? */
static bool same_for_fewer(plan *p)
{
    const scan *s = p->s;
    int64_t last = s->batch;
    number_roots(s, p->step);
    for (int64_t i = 0; i < p->steps; i++) {
        const int64_t n = s->plan.active[i];
        traced_step other;
        if (n == last) continue;
        last = n;
        if (!scan_trace(p->t, s, n, false, &other))
            return wf_tape_ok(p->t) &&
                   plan_refuse(p, "its step cannot be recorded on %lld rows", (long long)n);
        number_roots(s, &other);
        if (!same_steps(s, &other, p->step, n))
            return plan_refuse(p, "its step depends on how many rows there are");
        other_step *more = PLAN_ADD(p, other, LIST_OTHER);
        const node **nodes = wf_tape_memory(p->t, (size_t)other.nodes * sizeof *nodes);
        if (!more || !nodes) return false;
        *more = (other_step){ n, nodes };
        for (const node *x = other.first; x; x = x->next) *nodes++ = x;
    }
    return true;
}

/* ---- from the call to the node and back ---- */

/* I32 (n) row numbers that `fill` writes. */
typedef int64_t row_fn(const plan *p, int64_t r);

static wf_var *numbered(plan *p, int64_t n, row_fn *row)
{
    wf_tensor to;
    wf_var *ids = wf_constant_fill(p->t, WF_I32, WF_SHAPE(n), &to);
    for (int64_t i = 0; ids && i < n; i++) ((int32_t *)to.data)[i] = (int32_t)row(p, i);
    return ids;
}

/* The row of a sequence. */
static int64_t row_of(const plan *p, int64_t b)
{
    const int32_t *rows = p->s->place ? wf_data(p->s->place) : NULL;
    return rows ? rows[b] : b;
}

/* Where the state after a sequence's last step lies. */
static int64_t final_row(const plan *p, int64_t b)
{
    const wf_seq_plan *q = &p->s->plan;
    const int64_t r = row_of(p, b), length = q->length[r];
    return p->s->reverse || length == 0 ? r : q->batch + q->begin[length - 1] + r;
}

static int64_t final_in_ring(const plan *p, int64_t b)
{
    const int64_t r = row_of(p, b), length = p->s->plan.length[r];
    return ((p->s->reverse ? p->steps : length) & 1) * p->s->batch + r;
}

/* Where element i of (time, batch) is among rows; the row of zeros past a sequence's end. */
static int64_t output_row(const plan *p, int64_t i)
{
    const wf_seq_plan *q = &p->s->plan;
    const int64_t time = i / q->batch, r = row_of(p, i % q->batch);
    return time < q->length[r] ? q->begin[time] + r : q->rows;
}

static int64_t output_in_state(const plan *p, int64_t i)
{
    const wf_seq_plan *q = &p->s->plan;
    const int64_t time = i / q->batch, r = row_of(p, i % q->batch);
    if (time >= q->length[r]) return q->batch + q->rows;
    if (!p->s->reverse) return q->batch + q->begin[time] + r;
    return time > 0 ? q->batch + q->begin[time - 1] + r : r;
}

static bool leave(plan *p, scan *s, wf_var *out[])
{
    wf_tape *t = p->t;
    wf_var *final = NULL, *in_ring = NULL, *rows = NULL, *in_state = NULL;
    const int64_t batch = s->batch, all = s->time * batch;
    for (int j = 0; j < s->outputs; j++) {
        const int k = p->y_state[j];
        wf_var *from = k >= 0 ? out[k] : out[p->y_output[j]];
        if (p->full && k >= 0)
            from = wf_slice(t, from, 0, s->reverse ? 0 : batch, (s->reverse ? 0 : batch) + all, 1);
        wf_var **ids = k >= 0 ? &in_state : &rows;
        if (!p->full && !*ids) *ids = numbered(p, all, k >= 0 ? output_in_state : output_row);
        if (!p->full) from = scan_rows_of(t, from, *ids);
        if (!(s->y[j] = scan_with_time(t, s, from))) return false;
    }
    for (int k = 0; k < s->states; k++) {
        const int64_t at = p->ring[k] ? (s->time & 1) * batch : s->reverse ? 0 : all;
        if (p->full) {
            s->state[k] = wf_slice(t, out[k], 0, at, at + batch, 1);
        } else {
            wf_var **ids = p->ring[k] ? &in_ring : &final;
            if (!*ids) *ids = numbered(p, batch, p->ring[k] ? final_in_ring : final_row);
            s->state[k] = scan_rows_of(t, out[k], *ids);
        }
    }
    return wf_tape_ok(t);
}

static bool apply(plan *p, scan *s)
{
    wf_tape *t = p->t;
    const int32_t inputs = input_of_constant(p, p->n[LIST_CONSTANT]);
    wf_var **in = wf_tape_memory(t, (size_t)inputs * sizeof *in), *out[WF_OP_OUTPUTS];
    if (!in) return false;
    for (int32_t i = 0; i < p->n[LIST_SEQUENCE]; i++) in[i] = p->sequence[i];
    for (int k = 0; k < s->states; k++)
        in[input_of_state(p, k)] = s->sorted ? s->state[k] : scan_rows_of(t, s->state[k], s->order);
    for (int32_t i = 0; i < p->n[LIST_CONSTANT]; i++)
        in[input_of_constant(p, i)] = p->constant[i].root;
    const uint64_t drawn = t->random_ops;
    p->key = wf_key_with(t->seed, t->step);
    p->counter = drawn << 32;
    t->random_ops += (uint64_t)(p->draws * p->steps);
    if (!wf_apply(t, &p->row, inputs, in, NULL, out)) return false;
    if (!p->refused) return leave(p, s, out);
    t->random_ops = drawn; /* the steps say what it was, and draw the same until then */
    s->refused = true;
    return true;
}

static void count_packed(plan *p)
{
    for (int32_t i = 0; i < p->n[LIST_STAGE]; i++)
        for (int way = 0; way < 2; way++)
            for (int32_t k = p->stage[i].product[way]; k < p->stage[i].product_end[way]; k++) {
                const product *x = &p->product[k];
                p->pack[way] += packed_bytes(p->value[p->term[x->term].value].dtype, x->k, x->n);
            }
}

static bool make(plan *p, scan *s)
{
    for (int i = 0; i < s->sequences; i++)
        if (!scan_rows(p->t, s, i)) return false;
    if (s->states + s->outputs >= WF_OP_OUTPUTS)
        return plan_refuse(p, "it has more than %d states and outputs", WF_OP_OUTPUTS - 1);
    if (!p->full && !same_for_fewer(p)) return false;
    if (!plan_values(p) || !plan_calls(p) || !plan_forward(p) || !plan_backward(p) ||
        !plan_bulks(p))
        return false;
    plan_beginnings(p);
    count_packed(p);
    int outputs = s->states;
    for (int j = 0; j < s->outputs; j++) outputs += p->y_state[j] < 0;
    p->row = (wf_op){ .name = s->name,
                      .inputs = -1,
                      .outputs = outputs,
                      .hidden = 1,
                      .flags = WF_OP_BEGINS | OP_LOOP,
                      .reads_in = UINT32_MAX,
                      .reads_out = UINT32_MAX,
                      .shape = plan_shape,
                      .forward = plan_run_forward,
                      .backward = plan_run_backward,
                      .reference = plan_reference };
    return plan_inputs(p);
}

bool scan_planned(wf_tape *t, scan *s, const traced_step *step, bool *done)
{
    /* As many rows as make a product efficient: those that are computed ahead in infer mode, and
     * that go back at once, in at most so many parts, of which weights' gradients are the sums. */
    enum { KEPT_ROWS = 1024, PARTS = 8 };
    struct {
        plan p;
        scan s;
        traced_step step;
    } *all = wf_tape_memory(t, sizeof *all);
    if (!all) return false;
    memset(all, 0, sizeof *all);
    plan *p = &all->p;
    all->s = *s;
    all->step = *step;
    *p = (plan){ .t = t, .s = &all->s, .step = &all->step };
    p->mode = t->mode;
    p->infer = t->mode == WF_INFER;
    p->full = s->plan.full;
    while (p->steps < s->time && s->plan.active[p->steps] > 0) p->steps++;
    p->chunk = p->steps;
    p->kept_rows = p->slope_rows = s->plan.rows;
    int64_t parts = s->plan.rows / KEPT_ROWS;
    if (parts > PARTS) parts = PARTS;
    if (parts > 1) p->slope_rows = s->plan.rows / parts + s->batch;
    if (p->infer && s->plan.rows > 2 * KEPT_ROWS) {
        p->chunk = KEPT_ROWS / s->batch > 0 ? KEPT_ROWS / s->batch : 1;
        p->kept_rows = p->chunk * s->batch;
    }
    if (!make(p, &all->s)) {
        if (p->why[0]) wf_explain(t, "%s: step by step: %s\n", s->name, p->why);
        memcpy(s->rows, all->s.rows, sizeof s->rows); /* what was made for the plan */
        return wf_tape_ok(t);
    }
    plan_explain(p);
    if (!apply(p, s)) return false;
    *done = !s->refused;
    return true;
}
