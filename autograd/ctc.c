/* Connectionist temporal classification (Graves, Fernandez, Gomez and Schmidhuber 2006): minus the
 * logarithm of the probability of all paths that a target is read off.
 *
 * A target of L labels is a chain of S = 2L + 1 states, blanks around and between its labels. From
 * frame to frame a path stays, goes on by one state, or by two where that passes over a blank
 * between different labels; it begins before state 0 and ends in one of the last two. Read from its
 * end, a target is such a chain too, so that one pass does for both directions. Where they meet is
 * how often each state is visited, and softmax minus that is the derivative to the logits: it is
 * made in forward, for a cotangent of 1 of each sequence, by which backward multiplies. */
#include "autograd/kernels.h"
#include "autograd/lattice_private.h"
#include "autograd/views.h"

#include <math.h>
#include <string.h>

enum { LOGITS, TARGETS, FRAMES, LABELS, INPUTS };
/* Hidden: the derivative (T, B, C), and (B): is there one? Of no path there is none, and it is 0,
 * whatever cotangent arrives. */
enum { LOSS, GRAD, ALIVE };
enum { PADS = 2 }; /* states before the first; a path begins in the nearer one */

typedef struct ctc {
    int32_t blank, reduction, zero_infinity;
} ctc;

static const char frames_name[] = "input lengths", labels_name[] = "target lengths";
static const double never = -(double)INFINITY;

/* ---- what a part of the batch works with ---- */

typedef struct work {
    double *plain;      /* (T, S): what reaches a state before its own frame counts; loss, factor */
    double *now, *next; /* S, with PADS before them: the same with its own */
    double *own, *skip; /* S: what a frame gives the states; 0, or -inf where none passes over */
    double *visits;     /* S: how often each state is visited in a frame */
    double *share;      /* C: the same of each class */
    int32_t *state[2];  /* S: the states' classes, forward and back */
    void *row;          /* C of the dtype: a frame, where no derivative is kept */
} work;

/* Lays out the pieces of one part (base NULL: only counts); the bytes, -1: too many. */
static int64_t lay_out(work *k, char *base, const wf_tensor *z, int64_t labels, bool kept)
{
    const int64_t states = 2 * labels + 1, classes = z->dim[2], time = kept ? z->dim[0] : 1;
    int64_t at = 0;
    k->plain = lattice_piece(base, &at, time * states);
    k->now = lattice_piece(base, &at, states + PADS);
    k->next = lattice_piece(base, &at, states + PADS);
    k->own = lattice_piece(base, &at, states);
    k->skip = lattice_piece(base, &at, states);
    k->visits = lattice_piece(base, &at, states);
    k->share = lattice_piece(base, &at, classes);
    k->state[0] = lattice_piece(base, &at, states);
    k->state[1] = lattice_piece(base, &at, states);
    k->row = lattice_piece(base, &at, classes);
    if (base) k->now += PADS, k->next += PADS;
    return at;
}

/* Numbers that one sequence costs, for the sharing among threads. */
static int64_t cost(const wf_tensor *z, int64_t labels)
{
    return z->dim[0] * (z->dim[2] + 8 * (2 * labels + 1));
}

/* ---- shape and check ---- */

static bool form_is_sound(const wf_shaping *s)
{
    const wf_tensor *z = s->in[LOGITS], *target = s->in[TARGETS];
    const ctc *o = s->attr;
    if (!is_float(z)) return wf_refuse(s->error, "logits are i32; expected f32 or f64");
    if (target->dtype != WF_I32)
        return wf_refuse(s->error, "targets are %s; expected i32 ids",
                         wf_dtype_name(target->dtype));
    if (z->rank != 3 || target->rank != 2 || z->dim[1] != target->dim[1])
        return wf_refuse(s->error,
                         "logits are %s and targets %s; expected (frames, sequences, classes) and "
                         "(labels, sequences)",
                         SHAPE_TEXT(z), SHAPE_TEXT(target));
    if (o->blank < 0 || o->blank >= z->dim[2])
        return wf_refuse(s->error, "the blank is %d; there are %lld classes", o->blank,
                         (long long)z->dim[2]);
    if (o->reduction < WF_REDUCE_MEAN || o->reduction > WF_REDUCE_NONE)
        return wf_refuse(s->error, "reduction is %d; expected mean, sum or none", o->reduction);
    return lattice_takes_lengths(s, FRAMES, frames_name, z->dim[1]) &&
           lattice_takes_lengths(s, LABELS, labels_name, z->dim[1]);
}

static bool shape(wf_shaping *s)
{
    if (!form_is_sound(s)) return false;
    const wf_tensor *z = s->in[LOGITS];
    const ctc *o = s->attr;
    const int64_t batch = z->dim[1], labels = s->in[TARGETS]->dim[0];
    const bool kept = s->wanted >> LOGITS & 1;
    form_out(&s->out[LOSS], z->dtype, o->reduction == WF_REDUCE_NONE ? WF_SHAPE(batch) : WF_SCALAR);
    form_out(&s->out[GRAD], z->dtype, kept ? wf_tensor_shape(z) : WF_SHAPE(0));
    form_out(&s->out[ALIVE], WF_I32, WF_SHAPE(batch));
    work k;
    int64_t at = 0;
    const int64_t part = labels < INT32_MAX ? lay_out(&k, NULL, z, labels, kept) : -1;
    lattice_piece(NULL, &at, 2 * batch);
    if (part < 0 || at < 0) return takes_scratch(s, &s->scratch_forward, -1, 1);
    return takes_scratch(s, &s->scratch_forward,
                         lattice_parts(s->threads, batch, cost(z, labels)) + 1,
                         part > at ? part : at);
}

static bool check(const wf_call *c, wf_error *error)
{
    const wf_tensor *z = c->in[LOGITS], *target = c->in[TARGETS];
    const ctc *o = c->attr;
    if (!lattice_lengths_sound(c->in[FRAMES], frames_name, z->dim[0], error) ||
        !lattice_lengths_sound(c->in[LABELS], labels_name, target->dim[0], error))
        return false;
    for (int64_t l = 0; l < target->dim[0]; l++)
        for (int64_t b = 0; b < target->dim[1]; b++) {
            const int32_t id = lattice_id(target, l, b);
            if (l >= lattice_length(c->in[LABELS], b, target->dim[0])) continue;
            if (id < 0 || id >= z->dim[2])
                return wf_refuse(error,
                                 "target %d at (%lld, %lld) is out of range: there are %lld "
                                 "classes",
                                 id, (long long)l, (long long)b, (long long)z->dim[2]);
            if (id == o->blank)
                return wf_refuse(error, "target %d at (%lld, %lld) is the blank", id, (long long)l,
                                 (long long)b);
        }
    return true;
}

/* ---- one sequence ---- */

typedef struct batch_call {
    const wf_call *call;
    const op_kernels *kernels;
    const lattice_kernels *lattice;
    int64_t labels, parts, part_bytes;
    bool kept;
    double *loss, *factor; /* of each sequence */
} batch_call;

typedef struct sequence {
    const batch_call *of;
    int64_t b, frames, states;
    wf_tensor z, grad; /* (frames, C) */
    work k;
} sequence;

/* The states that lie on a path at its i-th frame: begin .. end - 1. */
typedef struct band {
    int64_t begin, end;
} band;

static band band_at(const sequence *q, int64_t i)
{
    const int64_t reached = 2 * (i + 1), needed = q->states - 2 * (q->frames - i);
    return (band){ needed > 0 ? needed : 0, reached < q->states ? reached : q->states };
}

/* A frame's log-probabilities, where they will become its derivative or in passing. */
static void *row_of(const sequence *q, int64_t t)
{
    if (!q->of->kept) return q->k.row;
    return (char *)q->grad.data + t * q->grad.stride[0] * bytes_of(&q->grad);
}

static void normalise(const sequence *q, int64_t t)
{
    const wf_tensor *z = &q->z;
    q->of->kernels->softmax(z->dim[1], (const char *)z->data + t * z->stride[0] * bytes_of(z),
                            z->stride[1], row_of(q, t), 1, true);
}

/* States, and over which blank a path may pass. */
static void write_states(const sequence *q)
{
    const ctc *o = q->of->call->attr;
    const int64_t n = q->states;
    for (int64_t s = 0; s < n; s++) {
        const int32_t id = s % 2 ? lattice_id(q->of->call->in[TARGETS], s / 2, q->b) : o->blank;
        q->k.state[0][s] = q->k.state[1][n - 1 - s] = id;
    }
}

static void begin_pass(const sequence *q, const int32_t *state)
{
    for (int64_t s = 0; s < q->states; s++)
        q->k.skip[s] = s % 2 && (s == 1 || state[s] != state[s - 2]) ? 0 : never;
    for (int64_t s = -PADS; s < q->states; s++) q->k.now[s] = q->k.next[s] = never;
    q->k.now[-1] = 0;
}

/* The i-th frame of a pass, with log-probabilities in row. */
static void go_on(sequence *q, int64_t i, const int32_t *state, const void *row, double *plain)
{
    const lattice_kernels *f = q->of->lattice;
    const band in = band_at(q, i);
    const int64_t s = in.begin, n = in.end - s;
    if (n <= 0) return;
    f->pick(n, row, state + s, q->k.own + s);
    f->merge(n, q->k.now + s, q->k.skip + s, q->k.own + s, plain + s, q->k.next + s);
    double *other = q->k.now;
    q->k.now = q->k.next;
    q->k.next = other;
    q->k.next[-1] = never; /* begun is begun */
}

/* The logarithm of the probability of all paths; NaN if there is one among the logits. */
static double pass_forward(sequence *q)
{
    begin_pass(q, q->k.state[0]);
    bool poisoned = false;
    const wf_dtype_info *dtype = wf_dtype_describe(q->z.dtype);
    for (int64_t t = 0; t < q->frames; t++) {
        normalise(q, t);
        poisoned |= isnan(dtype->load(row_of(q, t), 0));
        go_on(q, t, q->k.state[0], row_of(q, t), q->k.plain + (q->of->kept ? t * q->states : 0));
    }
    if (poisoned) return (double)NAN;
    const double a = q->k.now[q->states - 1], b = q->k.now[q->states - 2];
    const double top = a > b ? a : b;
    return top == never ? never : top + log(exp(a - top) + exp(b - top));
}

/* Turns the log-probabilities into the derivative of -all, from the last frame to the first. */
static void pass_back(sequence *q, double all)
{
    const lattice_kernels *f = q->of->lattice;
    const ctc *o = q->of->call->attr;
    const int64_t classes = q->z.dim[1], n = q->states;
    double *visits = q->k.visits;
    begin_pass(q, q->k.state[1]);
    for (int64_t i = 0; i < q->frames; i++) {
        const int64_t t = q->frames - 1 - i;
        const band in = band_at(q, t);
        double *plain = q->k.plain + t * n, blank = 0;
        go_on(q, i, q->k.state[1], row_of(q, t), visits);
        f->meet(in.end - in.begin, plain + in.begin, q->k.now + (n - 1 - in.begin), -1, all,
                visits + in.begin);
        memset(q->k.share, 0, (size_t)classes * sizeof(double));
        for (int64_t s = in.begin; s < in.end; s++) {
            if (s % 2)
                q->k.share[q->k.state[0][s]] += visits[s];
            else
                blank += visits[s];
        }
        q->k.share[o->blank] = blank;
        f->turn(classes, row_of(q, t), q->k.share);
    }
}

static void do_sequence(const batch_call *l, int64_t b, char *scratch)
{
    const wf_call *c = l->call;
    const wf_tensor *z = c->in[LOGITS];
    const ctc *o = c->attr;
    sequence q = { .of = l, .b = b, .frames = lattice_length(c->in[FRAMES], b, z->dim[0]) };
    const int64_t labels = lattice_length(c->in[LABELS], b, l->labels);
    q.states = 2 * labels + 1;
    q.z = lattice_sequence(z, b, q.frames);
    if (l->kept) q.grad = lattice_sequence(c->out[GRAD], b, q.frames);
    lay_out(&q.k, scratch, z, l->labels, l->kept);
    write_states(&q);
    const double all = pass_forward(&q);
    const bool alive = all != never;
    if (alive && isnan(all))
        for (int64_t t = 0; l->kept && t < q.frames; t++) {
            wf_tensor row = wf_tensor_of(z->dtype, WF_SHAPE(z->dim[2]), row_of(&q, t));
            wf_tensor_fill(&row, (double)NAN);
        }
    else if (alive && l->kept)
        pass_back(&q, all);
    ((int32_t *)c->out[ALIVE]->data)[b] = alive;
    l->loss[b] = !alive && o->zero_infinity ? 0 : -all;
}

static void do_part(void *context, int64_t begin, int64_t end)
{
    const batch_call *l = context;
    const int64_t batch = l->call->in[LOGITS]->dim[1];
    for (int64_t part = begin; part < end; part++)
        for (int64_t b = part; b < batch; b += l->parts)
            do_sequence(l, b, (char *)l->call->scratch + (part + 1) * l->part_bytes);
}

/* PyTorch's mean: that over the batch of each loss per label. */
static double factor_of(const wf_call *c, int64_t b)
{
    const ctc *o = c->attr;
    const int64_t batch = c->in[TARGETS]->dim[1];
    const int64_t labels = lattice_length(c->in[LABELS], b, c->in[TARGETS]->dim[0]);
    return o->reduction == WF_REDUCE_MEAN ? 1 / ((double)(labels > 0 ? labels : 1) * (double)batch)
                                          : 1;
}

static void forward(const wf_call *c)
{
    const wf_tensor *z = c->in[LOGITS];
    const ctc *o = c->attr;
    const int64_t batch = z->dim[1];
    batch_call l = { .call = c,
                     .kernels = op_kernels_of(z->dtype),
                     .lattice = lattice_kernels_of(z->dtype),
                     .labels = c->in[TARGETS]->dim[0],
                     .kept = c->wanted >> LOGITS & 1 };
    work k;
    int64_t at = 0;
    l.part_bytes = lay_out(&k, NULL, z, l.labels, l.kept);
    lattice_piece(NULL, &at, 2 * batch);
    if (at > l.part_bytes) l.part_bytes = at;
    l.parts = lattice_parts(c->threads, batch, cost(z, l.labels));
    l.loss = c->scratch;
    l.factor = l.loss + batch;
    wf_par_for(c->threads, batch > 0 ? l.parts : 0, 1, do_part, &l);
    for (int64_t b = 0; b < batch; b++) l.factor[b] = factor_of(c, b);
    lattice_store((wf_reduction)o->reduction, batch, l.loss, l.factor, c->out[LOSS]);
}

/* ---- the way back ---- */

static void back_sequences(void *context, int64_t begin, int64_t end)
{
    const wf_call *c = context;
    const ctc *o = c->attr;
    for (int64_t b = begin; b < end; b++) {
        if (!((const int32_t *)c->out[ALIVE]->data)[b]) continue;
        const int64_t frames = lattice_length(c->in[FRAMES], b, c->in[LOGITS]->dim[0]);
        const wf_tensor from = lattice_sequence(c->out[GRAD], b, frames),
                        to = lattice_sequence(c->gin[LOGITS], b, frames);
        const double scale = lattice_scale((wf_reduction)o->reduction, c->gout[LOSS], b,
                                           factor_of(c, b));
        wf_tensor_accumulate(&from, &to, isfinite(scale) ? scale : (double)NAN, 1);
    }
}

static void backward(const wf_call *c)
{
    const wf_tensor *z = c->in[LOGITS];
    if (!c->gout[LOSS] || !c->gin[LOGITS]) return;
    each_row(c->threads, z->dim[1], z->dim[0] * z->dim[2], back_sequences, (void *)(uintptr_t)c);
}

/* ---- the spelling in other ops ---- */

/* The classes of the states of all sequences, (S, B), as rows of a table (B C); those past a
 * sequence's own are blanks, that no path ends in. */
static wf_var *spelled_states(wf_tape *t, const wf_reference *r, wf_tensor *ids)
{
    const ctc *o = r->attr;
    const int64_t most = wf_dim(r->in[TARGETS], 0), batch = wf_dim(r->in[TARGETS], 1);
    const int64_t classes = wf_dim(r->in[LOGITS], 2);
    wf_var *states = wf_constant_fill(t, WF_I32, WF_SHAPE(2 * most + 1, batch), ids);
    for (int64_t i = 0; states && i < wf_count(states); i++) {
        const int64_t s = i / batch, b = i % batch;
        const bool label = s % 2 &&
                           s / 2 < (r->in[LABELS] ? (int64_t)wf_at(r->in[LABELS], b) : most);
        const int32_t id = label ? (int32_t)wf_at(r->in[TARGETS], s / 2 * batch + b) : o->blank;
        ((int32_t *)ids->data)[i] = (int32_t)(b * classes) + id;
    }
    return states;
}

/* 0 where a path may pass over a blank to state s, else -inf: (S, B). */
static wf_var *spelled_skips(wf_tape *t, const wf_reference *r, const wf_tensor *ids)
{
    const int64_t batch = wf_dim(r->in[TARGETS], 1);
    wf_tensor to;
    wf_var *skip = wf_constant_fill(t, wf_dtype_of(r->in[LOGITS]), wf_tensor_shape(ids), &to);
    const int32_t *id = ids->data;
    for (int64_t i = 0; skip && i < wf_count(skip); i++) {
        const int64_t s = i / batch;
        const bool may = s % 2 && (s == 1 || id[i] != id[i - 2 * batch]);
        wf_dtype_describe(to.dtype)->store(to.data, i, may ? 0 : never);
    }
    return skip;
}

/* 1 where a path ends, (S + PADS, B). */
static wf_var *spelled_ends(wf_tape *t, const wf_reference *r)
{
    const int64_t most = wf_dim(r->in[TARGETS], 0), batch = wf_dim(r->in[TARGETS], 1);
    wf_tensor to;
    wf_var *ends = wf_constant_fill(t, WF_I32, WF_SHAPE(2 * most + 1 + PADS, batch), &to);
    for (int64_t b = 0; ends && b < batch; b++) {
        const int64_t n = r->in[LABELS] ? (int64_t)wf_at(r->in[LABELS], b) : most;
        for (int64_t s = 2 * n + PADS - 1; s <= 2 * n + PADS; s++)
            ((int32_t *)to.data)[s * batch + b] = 1;
    }
    return ends;
}

/* What the states, with pads before them, hold after a frame that gives them `own`, (S, B). */
static wf_var *spelled_frame(wf_tape *t, wf_var *from, wf_var *skip, wf_var *own, wf_var *pads)
{
    wf_var *stay = wf_slice(t, from, 0, PADS, WF_LAST, 1), *on = wf_slice(t, from, 0, 1, -1, 1);
    wf_var *over = wf_add(t, wf_slice(t, from, 0, 0, -PADS, 1), skip);
    wf_var *sum = lattice_sum_spelled(t, wf_stack(t, 0, WF_VARS(stay, on, over)));
    return wf_concat(t, 0, WF_VARS(pads, wf_add(t, sum, own)));
}

static bool reference(wf_tape *t, const wf_reference *r)
{
    const ctc *o = r->attr;
    wf_var *z = lattice_cut_spelled(t, r->in[LOGITS], r->in[FRAMES]);
    const int64_t time = wf_dim(z, 0), batch = wf_dim(z, 1), classes = wf_dim(z, 2);
    const wf_dtype dtype = wf_dtype_of(z);
    wf_tensor ids;
    wf_var *states = spelled_states(t, r, &ids);
    if (!states) return false;
    wf_var *skip = spelled_skips(t, r, &ids), *ends = spelled_ends(t, r);
    wf_var *log_p = wf_permute(t, wf_log_softmax(t, z, -1), WF_AXES(1, 2, 0)); /* (B, C, T) */
    wf_var *own = wf_gather_rows(t, wf_reshape(t, log_p, WF_SHAPE(batch * classes, time)), states);
    wf_var *pads = wf_full(t, dtype, WF_SHAPE(PADS, batch), never);
    wf_var *from = wf_concat(t, 0,
                             WF_VARS(wf_full(t, dtype, WF_SHAPE(1, batch), never),
                                     wf_zeros(t, dtype, WF_SHAPE(1, batch)),
                                     wf_full(t, dtype, wf_tensor_shape(&ids), never)));
    wf_var *live = r->in[FRAMES] ? wf_length_mask(t, r->in[FRAMES], time) : NULL; /* (T, B) */
    for (int64_t i = 0; i < time; i++) {
        wf_var *next = spelled_frame(t, from, skip, wf_select(t, own, -1, i), pads);
        from = live ? wf_where(t, wf_select(t, live, 0, i), next, from) : next;
    }
    from = wf_where(t, ends, from, wf_full(t, dtype, WF_SCALAR, never));
    wf_var *all = wf_neg(t, lattice_sum_spelled(t, from)); /* (B) */
    wf_var *infinite = wf_full(t, dtype, WF_SCALAR, (double)INFINITY);
    /* Adds nothing, but leads to all logits that count, and makes NaN of an infinite cotangent. */
    wf_var *each = wf_exp(t, log_p); /* (B, C, T) */
    wf_var *loss = wf_add(t, all, wf_mul_scalar(t, wf_sum(t, each, WF_AXES(1, 2)), 0));
    loss = wf_where(t, wf_equal(t, all, infinite),
                    o->zero_infinity ? wf_zeros(t, dtype, WF_SCALAR) : infinite, loss);
    double *factor = wf_tape_memory(t, (size_t)(batch + 1) * sizeof *factor);
    for (int64_t b = 0; factor && b < batch; b++) {
        const int64_t n = r->in[LABELS] ? (int64_t)wf_at(r->in[LABELS], b)
                                        : wf_dim(r->in[TARGETS], 0);
        factor[b] = o->reduction == WF_REDUCE_MEAN ? 1 / ((double)(n > 0 ? n : 1) * (double)batch)
                                                   : 1;
    }
    r->out[0] = factor ? lattice_reduced_spelled(t, loss, (wf_reduction)o->reduction, factor)
                       : NULL;
    return r->out[0] != NULL;
}

/* ---- the row ---- */

static bool sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        int64_t time, batch, classes, labels;
        int32_t least_time, least_labels; /* of lengths; -1: none are given */
        int32_t low, high;                /* labels */
        ctc o;
    } tried[] = {
        { "each of its own length", 6, 3, 4, 2, 4, 0, 1, 3, { 0, WF_REDUCE_MEAN, 0 } },
        { "of one length", 5, 2, 3, 2, -1, -1, 1, 2, { 0, WF_REDUCE_MEAN, 0 } },
        { "a loss for each", 5, 3, 3, 2, 4, 1, 0, 1, { 2, WF_REDUCE_NONE, 0 } },
        { "summed, where some have no path", 3, 5, 3, 2, 0, 0, 1, 2, { 0, WF_REDUCE_SUM, 1 } },
        { "each, where some have no path", 3, 5, 3, 3, 0, -1, 1, 2, { 0, WF_REDUCE_NONE, 1 } },
        { "no labels", 3, 2, 3, 0, 0, -1, 1, 2, { 0, WF_REDUCE_MEAN, 0 } },
        { "no frames", 0, 1, 3, 1, -1, 0, 1, 2, { 0, WF_REDUCE_NONE, 1 } },
        { "no sequences", 3, 0, 3, 1, -1, -1, 1, 2, { 0, WF_REDUCE_MEAN, 0 } },
        { "blanks alone", 3, 2, 1, 0, -1, -1, 0, 0, { 0, WF_REDUCE_SUM, 0 } },
    };
    if (k >= COUNT_OF(tried)) return false;
    const wf_shape none = { .rank = -1 };
    const wf_shape batch = WF_SHAPE(tried[k].batch);
    s->label = tried[k].label;
    sample_input(s, WF_F64, WF_SHAPE(tried[k].time, tried[k].batch, tried[k].classes), -2, 2);
    sample_input(s, WF_I32, WF_SHAPE(tried[k].labels, tried[k].batch), tried[k].low, tried[k].high);
    sample_input(s, WF_I32, tried[k].least_time < 0 ? none : batch, tried[k].least_time,
                 (double)tried[k].time);
    sample_input(s, WF_I32, tried[k].least_labels < 0 ? none : batch, tried[k].least_labels,
                 (double)tried[k].labels);
    memcpy(s->attr.bytes, &tried[k].o, sizeof tried[k].o);
    return true;
}

const wf_op op_ctc_loss = {
    .name = OP_NAME(ctc_loss),
    .inputs = INPUTS,
    .outputs = 1,
    .hidden = 2,
    .attr_size = sizeof(ctc),
    .optional = 1 << FRAMES | 1 << LABELS,
    .reads_in = 1 << FRAMES | 1 << LABELS,
    .reads_out = 1 << GRAD | 1 << ALIVE,
    .reads_check = 1 << TARGETS | 1 << FRAMES | 1 << LABELS,
    .shape = shape,
    .check = check,
    .forward = forward,
    .backward = backward,
    .reference = reference,
    .sample = sample,
};

wf_var *wf_ctc_loss(wf_tape *t, wf_var *logits, wf_var *targets, wf_var *input_lengths,
                    wf_var *target_lengths, const wf_ctc_options *options)
{
    ctc o = { 0 };
    if (options) {
        o.blank = options->blank;
        o.reduction = (int32_t)options->reduction;
        o.zero_infinity = options->zero_infinity;
    }
    return wf_apply_one(t, &op_ctc_loss, INPUTS,
                        (wf_var *[]){ logits, targets, input_lengths, target_lengths }, &o);
}
