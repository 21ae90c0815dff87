/* A loop over time, step by step in public ops: the meaning of every other way to run it. Only rows
 * of sequences that still go on are computed, so padding, finished sequences and the states of
 * empty ones reach no sum: masking what a step made of them would leave 0 x NaN in the gradients.
 */
#include "autograd/ops.h"
#include "autograd/scan_private.h"
#include "autograd/views.h"

#include <string.h>

/* What goes from step to step: the states of `rows` sequences, and of those that have ended, last
 * ended first. */
typedef struct flow {
    int64_t rows, pieces, first;
    wf_var *initial[WF_SCAN_VARS], *now[WF_SCAN_VARS];
    wf_var **ended; /* (states, pieces); filled from the end, from `first` on */
} flow;

/* x with its first `axes` axes as one of n. */
static wf_var *joined(wf_tape *t, wf_var *x, int axes, int64_t n)
{
    wf_shape form = wf_shape_of(x);
    memmove(form.dim + 1, form.dim + axes, (size_t)(form.rank - axes) * sizeof *form.dim);
    form.rank += 1 - axes;
    form.dim[0] = n;
    return wf_reshape(t, x, form);
}

wf_var *scan_rows_of(wf_tape *t, wf_var *x, wf_var *ids)
{
    wf_shape form = wf_shape_of(x);
    int64_t width = 1;
    for (int i = 1; i < form.rank; i++) width *= form.dim[i];
    if (form.rank != 2) x = wf_reshape(t, x, WF_SHAPE(form.dim[0], width));
    x = wf_gather_rows(t, x, ids);
    form.dim[0] = wf_dim(ids, 0);
    return form.rank == 2 ? x : wf_reshape(t, x, form);
}

static bool row_major(const wf_var *x)
{
    int64_t stride = 1;
    const wf_tensor *v = wf_value(x);
    for (int k = v ? v->rank : 0; k-- > 0; stride *= v->dim[k])
        if (v->stride[k] != stride) return false;
    return true;
}

wf_var *scan_rows(wf_tape *t, scan *s, int i)
{
    wf_var *x = s->x[i];
    if (s->rows[i]) return s->rows[i];
    if (s->even) {
        const int64_t steps = s->batch > 0 ? s->plan.length[0] : 0;
        x = joined(t, wf_slice(t, x, 0, 0, steps, 1), 2, steps * s->batch);
        if (x && !row_major(x)) x = wf_copy(t, x);
    } else {
        x = scan_rows_of(t, joined(t, x, 2, s->time * s->batch), s->ids);
    }
    return s->rows[i] = x;
}

/* Are all sequences of one length, so that a step has every row or none? */
static bool even(const wf_seq_plan *p)
{
    return p->batch == 0 || p->length[0] == p->length[p->batch - 1];
}

/* Which element of (time * batch) each row is. */
static wf_var *ids_of_rows(wf_tape *t, const wf_seq_plan *p)
{
    wf_tensor to;
    wf_var *ids = wf_constant_fill(t, WF_I32, WF_SHAPE(p->rows), &to);
    int32_t *id = to.data;
    for (int64_t i = 0; ids && i < p->time; i++)
        for (int64_t r = 0; r < p->active[i]; r++)
            id[p->begin[i] + r] = (int32_t)(i * p->batch + p->order[r]);
    return ids;
}

bool scan_begin(wf_tape *t, scan *s)
{
    const wf_seq_plan *p = &s->plan;
    wf_tensor rows, places;
    s->even = even(p);
    s->sorted = true;
    if (s->even) return true;
    s->order = wf_constant_fill(t, WF_I32, WF_SHAPE(p->batch), &rows);
    s->place = wf_constant_fill(t, WF_I32, WF_SHAPE(p->batch), &places);
    s->ids = ids_of_rows(t, p);
    if (!s->order || !s->place || !s->ids) return false;
    int32_t *order = rows.data, *place = places.data;
    for (int64_t r = 0; r < p->batch; r++) {
        order[r] = (int32_t)p->order[r];
        place[p->order[r]] = (int32_t)r;
        s->sorted &= p->order[r] == r;
    }
    return true;
}

static bool flow_begin(wf_tape *t, scan *s, flow *f)
{
    const wf_seq_plan *p = &s->plan;
    *f = (flow){ .rows = s->reverse && !s->even ? 0 : p->batch };
    f->pieces = f->first = 2 + (p->time < p->batch ? p->time : p->batch);
    f->ended = wf_tape_memory(t, (size_t)(s->states * f->pieces) * sizeof *f->ended);
    if (!f->ended) return false;
    for (int k = 0; k < s->states; k++) {
        f->initial[k] = s->sorted ? s->state[k] : scan_rows_of(t, s->state[k], s->order);
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
        s->state[k] = s->sorted ? all : scan_rows_of(t, all, s->place);
    }
}

/* Zeros of a step's output, with n rows. */
static wf_var *zeros_like(wf_tape *t, const wf_var *y, int64_t n)
{
    wf_shape form = wf_shape_of(y);
    form.dim[0] = n;
    return wf_zeros(t, wf_dtype_of(y), form);
}

/* Step i on the rows that it has; y receives its outputs, (n, ...) each. */
static bool step(wf_tape *t, scan *s, flow *f, int64_t i, wf_var *y[], wf_var *const first[])
{
    const int64_t n = s->plan.active[i], begin = s->plan.begin[i];
    wf_var *x[WF_SCAN_VARS];
    flow_rows(t, s, f, n);
    for (int k = 0; k < s->sequences; k++)
        x[k] = s->even && !s->rows[k] ? wf_select(t, s->x[k], 0, i)
                                      : wf_slice(t, scan_rows(t, s, k), 0, begin, begin + n, 1);
    if (s->replay) {
        s->replay->next = 0;
        s->replay->begin = begin;
        s->replay->rows = n;
        s->replay->x = x;
        if (wf_tape_ok(t)) t->replaying = s->replay;
    }
    const int64_t outer = t->looping;
    if (s->time > 1) t->looping = i + 1; /* of a single one there is nothing to say */
    const bool ok = scan_step(t, s, n, x, f->now, y, first);
    t->looping = outer;
    if (s->replay) t->replaying = NULL;
    return ok;
}

wf_var *scan_with_time(wf_tape *t, const scan *s, wf_var *x)
{
    wf_shape form = wf_shape_of(x);
    memmove(form.dim + 1, form.dim, (size_t)form.rank++ * sizeof *form.dim);
    form.dim[0] = s->time;
    form.dim[1] = s->batch;
    return wf_reshape(t, x, form);
}

/* The outputs y[i] (n, ...) of all steps, NULL where there was none, as (T, B, ...): zero past a
 * sequence's end. */
static wf_var *stacked(wf_tape *t, const scan *s, wf_var *y[], const wf_var *like)
{
    const int64_t time = s->time, all = time * s->batch;
    wf_var *nothing = NULL;
    if (s->even) {
        for (int64_t i = 0; i < time; i++) {
            if (y[i]) continue;
            if (!nothing) nothing = zeros_like(t, like, s->batch);
            y[i] = nothing;
        }
        return wf_stack(t, 0, (wf_vars){ (int)time, y });
    }
    wf_tensor to;
    wf_var *ids = wf_constant_fill(t, WF_I32, WF_SHAPE(all), &to);
    if (!ids) return NULL;
    int32_t *id = to.data;
    const int32_t *row = wf_data(s->ids);
    for (int64_t k = 0; k < all; k++) id[k] = (int32_t)s->plan.rows; /* the row of zeros */
    for (int64_t k = 0; k < s->plan.rows; k++) id[row[k]] = (int32_t)k;
    int n = 0;
    for (int64_t i = 0; i < time; i++)
        if (y[i]) y[n++] = y[i];
    y[n++] = zeros_like(t, like, 1);
    wf_var *x = scan_rows_of(t, wf_concat(t, 0, (wf_vars){ n, y }), ids); /* (T * B, ...) */
    return scan_with_time(t, s, x);
}

bool scan_loop(wf_tape *t, scan *s)
{
    const int64_t time = s->time;
    flow f;
    wf_var *y[WF_SCAN_VARS], *first[WF_SCAN_VARS] = { NULL };
    wf_var **all = wf_tape_memory(t, (size_t)(s->outputs * (time + 1)) * sizeof *all);
    if (!all || !flow_begin(t, s, &f)) return false;
    for (int64_t k = 0; k < time; k++) {
        const int64_t i = s->reverse ? time - 1 - k : k;
        if (s->plan.active[i] == 0 && s->batch > 0) continue;
        if (!step(t, s, &f, i, y, first)) return false;
        for (int j = 0; j < s->outputs; j++) {
            all[j * (time + 1) + i] = y[j];
            if (!first[j]) first[j] = y[j];
        }
    }
    flow_end(t, s, &f);
    for (int j = 0; j < s->outputs; j++)
        s->y[j] = stacked(t, s, all + j * (time + 1), first[j]); /* (T, B, ...) */
    return wf_tape_ok(t);
}
