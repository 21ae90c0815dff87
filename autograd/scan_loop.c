/* A loop over time, step by step in public ops: the meaning of every other way to run it. Only rows
 * of sequences that still go on are computed, so padding, finished sequences and the states of
 * empty ones reach no sum: masking what a step made of them would leave 0 x NaN in the gradients.
 */
#include "autograd/ops.h"
#include "autograd/scan_private.h"
#include "autograd/views.h"

#include <string.h>

/* What goes from step to step: where rows are, the states of `rows` sequences, and of those that
 * have ended, last ended first. */
typedef struct flow {
    bool sorted;           /* sequences came in the order of the plan */
    wf_var *order, *place; /* (B) I32: row r is sequence order[r]; the way back */
    int64_t rows, pieces, first;
    wf_var *initial[WF_SCAN_VARS], *now[WF_SCAN_VARS];
    wf_var **ended; /* (states, pieces); filled from the end, from `first` on */
} flow;

/* Rows of x (B, ...) by id. */
static wf_var *rows_of(wf_tape *t, wf_var *x, wf_var *ids)
{
    wf_shape form = wf_shape_of(x);
    int64_t width = 1;
    for (int i = 1; i < form.rank; i++) width *= form.dim[i];
    if (form.rank != 2) x = wf_reshape(t, x, WF_SHAPE(form.dim[0], width));
    x = wf_gather_rows(t, x, ids);
    form.dim[0] = wf_dim(ids, 0);
    return form.rank == 2 ? x : wf_reshape(t, x, form);
}

/* Are all sequences of one length, so that a step has every row or none? */
static bool even(const wf_seq_plan *p)
{
    return p->batch == 0 || p->length[0] == p->length[p->batch - 1];
}

static bool flow_begin(wf_tape *t, const scan *s, flow *f)
{
    const wf_seq_plan *p = &s->plan;
    *f = (flow){ .sorted = true, .rows = s->reverse && !even(p) ? 0 : p->batch };
    f->pieces = f->first = 2 + (p->time < p->batch ? p->time : p->batch);
    f->ended = wf_tape_memory(t, (size_t)(s->states * f->pieces) * sizeof *f->ended);
    if (!f->ended) return false;
    if (!even(p)) {
        wf_tensor rows, places;
        f->order = wf_constant_fill(t, WF_I32, WF_SHAPE(p->batch), &rows);
        f->place = wf_constant_fill(t, WF_I32, WF_SHAPE(p->batch), &places);
        if (!f->order || !f->place) return false;
        int32_t *order = rows.data, *place = places.data;
        for (int64_t r = 0; r < p->batch; r++) {
            order[r] = (int32_t)p->order[r];
            place[p->order[r]] = (int32_t)r;
            f->sorted &= p->order[r] == r;
        }
    }
    for (int k = 0; k < s->states; k++) {
        f->initial[k] = f->sorted ? s->state[k] : rows_of(t, s->state[k], f->order);
        f->now[k] = f->initial[k];
    }
    return wf_tape_ok(t);
}

/* The next step has n rows: sequences that have ended leave, and those that begin now, in reverse,
 * come with their initial states. */
static void flow_rows(wf_tape *t, const scan *s, flow *f, int64_t n)
{
    if (n < f->rows) f->first--;
    for (int k = 0; k < s->states; k++) {
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

/* The final states, (B, ...) each, in the order of the batch. */
static void flow_end(wf_tape *t, scan *s, flow *f)
{
    bool unbegun = f->rows < s->batch && s->reverse, going = f->rows > 0 || !unbegun;
    for (int k = 0; k < s->states; k++) {
        int64_t first = f->first;
        wf_var **piece = f->ended + k * f->pieces;
        if (unbegun) piece[--first] = wf_slice(t, f->initial[k], 0, f->rows, WF_LAST, 1);
        if (going) piece[--first] = f->now[k];
        int n = (int)(f->pieces - first);
        wf_var *all = n > 1 ? wf_concat(t, 0, (wf_vars){ n, piece + first }) : piece[first];
        s->state[k] = f->sorted ? all : rows_of(t, all, f->place);
    }
}

/* Zeros of a step's output, with n rows. */
static wf_var *zeros_like(wf_tape *t, const wf_var *y, int64_t n)
{
    wf_shape form = wf_shape_of(y);
    form.dim[0] = n;
    return wf_zeros(t, wf_dtype_of(y), form);
}

/* Step i on the rows that it has; y receives its outputs in the order of the batch, (B, ...) each,
 * zero where a sequence has ended. */
static bool step(wf_tape *t, const scan *s, flow *f, int64_t i, wf_var *y[], wf_var *const first[])
{
    const int64_t n = s->plan.active[i];
    const bool whole = f->sorted && n == s->batch;
    wf_var *x[WF_SCAN_VARS], *ids = f->sorted ? NULL : wf_slice(t, f->order, 0, 0, n, 1);
    flow_rows(t, s, f, n);
    for (int k = 0; k < s->sequences; k++) {
        x[k] = wf_select(t, s->x[k], 0, i); /* (B, ...) */
        if (!f->sorted)
            x[k] = rows_of(t, x[k], ids);
        else if (!whole)
            x[k] = wf_slice(t, x[k], 0, 0, n, 1); /* (n, ...) */
    }
    if (!scan_step(t, s, n, x, f->now, y, first)) return false;
    for (int j = 0; j < s->outputs; j++) {
        if (n < s->batch) y[j] = wf_concat(t, 0, WF_VARS(y[j], zeros_like(t, y[j], s->batch - n)));
        if (!f->sorted) y[j] = rows_of(t, y[j], f->place);
        if (!y[j]) return false;
    }
    return true;
}

bool scan_loop(wf_tape *t, scan *s)
{
    const int64_t time = s->time;
    flow f;
    wf_var *y[WF_SCAN_VARS], *first[WF_SCAN_VARS] = { NULL };
    wf_var **all = wf_tape_memory(t, (size_t)(s->outputs * time) * sizeof *all);
    if (!all || !flow_begin(t, s, &f)) return false;
    for (int64_t k = 0; k < time; k++) {
        const int64_t i = s->reverse ? time - 1 - k : k;
        if (s->plan.active[i] == 0 && s->batch > 0) continue;
        if (!step(t, s, &f, i, y, first)) return false;
        for (int j = 0; j < s->outputs; j++) {
            all[j * time + i] = y[j];
            if (!first[j]) first[j] = y[j];
        }
    }
    flow_end(t, s, &f);
    for (int j = 0; j < s->outputs; j++) {
        wf_var *nothing = NULL;
        for (int64_t i = 0; i < time; i++) {
            if (all[j * time + i]) continue;
            if (!nothing) nothing = zeros_like(t, first[j], s->batch);
            all[j * time + i] = nothing;
        }
        s->y[j] = wf_stack(t, 0, (wf_vars){ (int)time, all + j * time }); /* (T, B, ...) */
    }
    return wf_tape_ok(t);
}
