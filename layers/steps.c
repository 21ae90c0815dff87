/* A cell over time, step by step: the meaning of every fused sequence. Only rows of sequences that
 * still go on are computed, so padding, finished sequences and the states of empty ones reach no
 * sum: masking what a step made of them would leave 0 x NaN in the gradients. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/sequence.h"

#include <string.h>

/* Where the rows of a step are. Sequences are in order, longest first, and a step has those that go
 * on: the first plan.active[i] rows. */
typedef struct walk {
    wf_seq_plan plan;
    bool sorted;           /* they came in this order */
    wf_var *order, *place; /* (B) I32: row r is sequence order[r]; the way back */
} walk;

/* What goes from step to step: the states of `rows` sequences, and of those that have ended, last
 * ended first. */
typedef struct flow {
    int states;
    int64_t rows, pieces, first;
    wf_var *initial[WF_CELL_STATES], *now[WF_CELL_STATES];
    wf_var **ended; /* (states, pieces); filled from the end, from `first` on */
} flow;

/* Are all sequences of one length, so that a step has every row or none? */
static bool even(const wf_seq_plan *p)
{
    return p->batch == 0 || p->length[0] == p->length[p->batch - 1];
}

static bool walk_begin(wf_tape *t, const wf_sequence *s, walk *w)
{
    int64_t time = wf_dim(s->x, 0), batch = wf_dim(s->x, 1);
    void *memory = wf_tape_memory(t, (size_t)wf_seq_plan_bytes(time, batch));
    if (!memory) return false;
    *w = (walk){ .plan = wf_seq_plan_make(time, batch, wf_value(s->lengths), memory),
                 .sorted = true };
    if (even(&w->plan)) return true;
    wf_tensor rows, places;
    w->order = wf_constant_fill(t, WF_I32, WF_SHAPE(batch), &rows);
    w->place = wf_constant_fill(t, WF_I32, WF_SHAPE(batch), &places);
    if (!w->order || !w->place) return false;
    int32_t *order = rows.data, *place = places.data;
    for (int64_t r = 0; r < batch; r++) {
        order[r] = (int32_t)w->plan.order[r];
        place[w->plan.order[r]] = (int32_t)r;
        w->sorted &= w->plan.order[r] == r;
    }
    return true;
}

static bool flow_begin(wf_tape *t, const walk *w, const wf_sequence *s, int states, flow *f)
{
    const wf_seq_plan *p = &w->plan;
    *f = (flow){ .states = states, .rows = s->reverse && !even(p) ? 0 : p->batch };
    f->pieces = f->first = 2 + (p->time < p->batch ? p->time : p->batch);
    f->ended = wf_tape_memory(t, (size_t)(states * f->pieces) * sizeof *f->ended);
    if (!f->ended) return false;
    for (int k = 0; k < states; k++) {
        wf_var *initial = s->state[k]; /* (B, width) */
        f->initial[k] = w->sorted ? initial : wf_gather_rows(t, initial, w->order);
        f->now[k] = f->initial[k];
    }
    return true;
}

/* The next step has n rows: sequences that have ended leave, and those that begin now, in reverse,
 * come with their initial states. */
static void flow_rows(wf_tape *t, flow *f, int64_t n)
{
    if (n < f->rows) f->first--;
    for (int k = 0; k < f->states; k++) {
        wf_var *now = f->now[k];
        if (n < f->rows) {
            f->ended[k * f->pieces + f->first] = wf_slice(t, now, 0, n, f->rows, 1);
            f->now[k] = wf_slice(t, now, 0, 0, n, 1);
        } else if (n > f->rows) {
            wf_var *more = wf_slice(t, f->initial[k], 0, f->rows, n, 1);
            f->now[k] = f->rows > 0 ? wf_concat(t, 0, WF_VARS(now, more)) : more;
        }
    }
    f->rows = n;
}

/* The final states, (B, width) each, in the order of the batch. */
static void flow_end(wf_tape *t, flow *f, const walk *w, wf_sequence *s)
{
    bool unbegun = f->rows < w->plan.batch && s->reverse, going = f->rows > 0 || !unbegun;
    for (int k = 0; k < f->states; k++) {
        int64_t first = f->first;
        wf_var **piece = f->ended + k * f->pieces;
        if (unbegun) piece[--first] = wf_slice(t, f->initial[k], 0, f->rows, WF_LAST, 1);
        if (going) piece[--first] = f->now[k];
        int n = (int)(f->pieces - first);
        wf_var *all = n > 1 ? wf_concat(t, 0, (wf_vars){ n, piece + first }) : piece[first];
        s->state[k] = w->sorted ? all : wf_gather_rows(t, all, w->place);
    }
}

/* What the step made must be what it was given: (rows, width), of one dtype and of this tape. */
static bool step_is_sound(wf_tape *t, const wf_cell *cell, int states, wf_var *const now[],
                          wf_var *next[])
{
    if (!wf_tape_ok(t)) return false;
    for (int k = 0; k < states; k++) {
        const char *name = cell->states[k].name;
        if (!next[k]) {
            wf_fail(t, "cell '%s': its step left no state %s", cell->name, name);
            return false;
        }
        next[k] = wf_enter(t, next[k], "cell '%s': the state %s that its step left", cell->name,
                           name);
        if (!next[k]) return false;
        wf_shape want = wf_shape_of(now[k]), got = wf_shape_of(next[k]);
        if (wf_shape_equal(&want, &got) && wf_dtype_of(next[k]) == wf_dtype_of(now[k])) continue;
        char a[128], b[128];
        wf_fail(t, "cell '%s': its step made state %s %s %s; expected %s %s", cell->name, name,
                wf_dtype_name(wf_dtype_of(next[k])), wf_shape_text(a, sizeof a, got.rank, got.dim),
                wf_dtype_name(wf_dtype_of(now[k])),
                wf_shape_text(b, sizeof b, want.rank, want.dim));
        return false;
    }
    return true;
}

/* Step i on the rows that it has; its output in the order of the batch, (B, width), zero where a
 * sequence has ended. NULL after failing the tape. */
static wf_var *step(wf_tape *t, const wf_cell *cell, const void *self, const walk *w, wf_var *x,
                    int64_t i, flow *f)
{
    int64_t n = w->plan.active[i];
    bool whole = w->sorted && n == w->plan.batch;
    wf_var *next[WF_CELL_STATES], *ids = whole ? NULL : wf_slice(t, w->order, 0, 0, n, 1);
    flow_rows(t, f, n);
    x = wf_select(t, x, 0, i); /* (B, input) */
    if (!w->sorted)
        x = wf_gather_rows(t, x, ids);
    else if (!whole)
        x = wf_slice(t, x, 0, 0, n, 1); /* (n, input) */
    memcpy(next, f->now, sizeof next);
    if (wf_tape_ok(t)) cell->step(t, self, x, next);
    if (!step_is_sound(t, cell, f->states, f->now, next)) return NULL;
    memcpy(f->now, next, sizeof next);
    return whole ? next[0] : wf_scatter_rows(t, next[0], ids, w->plan.batch);
}

bool cell_steps(wf_tape *t, const wf_cell *cell, const void *self, wf_sequence *s)
{
    int64_t time = wf_dim(s->x, 0), batch = wf_dim(s->x, 1);
    wf_shape form = WF_SHAPE(batch, wf_dim(s->state[0], 1));
    walk w;
    flow f;
    wf_var **y = wf_tape_memory(t, (size_t)time * sizeof *y), *nothing = NULL; /* (B, width) each */
    if (!y || !walk_begin(t, s, &w) || !flow_begin(t, &w, s, cell_states(cell), &f)) return false;
    for (int64_t k = 0; k < time; k++) {
        int64_t i = s->reverse ? time - 1 - k : k;
        if (w.plan.active[i] > 0 || batch == 0)
            y[i] = step(t, cell, self, &w, s->x, i, &f);
        else
            y[i] = nothing = nothing ? nothing : wf_zeros(t, wf_dtype_of(s->x), form);
        if (!y[i]) return false;
    }
    flow_end(t, &f, &w, s);
    s->output = time > 0 ? wf_stack(t, 0, (wf_vars){ (int)time, y }) /* (T, B, width) */
                         : wf_zeros(t, wf_dtype_of(s->x), WF_SHAPE(0, batch, form.dim[1]));
    return wf_tape_ok(t);
}
