/* The loss of a linear-chain conditional random field (Lafferty, McCallum and Pereira 2001): the
 * logarithm of the sum over all tag sequences of exp(score), minus the score of the right one.
 *
 * What reaches each tag from the front and from the back meets in how often it is taken, alone and
 * as a pair. Minus the right sequence's, that is the derivative: it is made in forward, for a
 * cotangent of 1 of each sequence, by which backward multiplies. */
#include "autograd/lattice_private.h"
#include "autograd/views.h"
#include "tensor/sum.h"

#include <math.h>
#include <string.h>

enum { EMISSIONS, TRANSITIONS, START, END, TAGS, LENGTHS, INPUTS };
/* Hidden: the derivatives to emissions (T, B, K), and of each sequence to transitions (B, K, K);
 * and (B): is there one? Of no path there is none, and it is 0, whatever cotangent arrives. */
enum { LOSS, GRAD, PAIRS, ALIVE };

typedef struct crf {
    int32_t reduction, per_token;
} crf;

static const char lengths_name[] = "lengths";
static const double never = -(double)INFINITY;

/* ---- shape and check ---- */

/* What all parts share, in double; and what one part works with. */
typedef struct shared {
    double *loss, *factor;            /* of each sequence */
    double *w, *turned, *start, *end; /* (K, K), its transpose, K, K */
} shared;

typedef struct work {
    double *own, *plain, *with; /* (T, K): emissions, what reaches a tag without and with its own */
    double *now, *next, *spare; /* K: the same from the back */
    double *pairs;              /* (K, K) */
} work;

static int64_t lay_out_shared(shared *k, char *base, int64_t batch, int64_t tags)
{
    int64_t at = 0;
    k->loss = lattice_piece(base, &at, batch);
    k->factor = lattice_piece(base, &at, batch);
    k->w = lattice_piece(base, &at, tags * tags);
    k->turned = lattice_piece(base, &at, tags * tags);
    k->start = lattice_piece(base, &at, tags);
    k->end = lattice_piece(base, &at, tags);
    return at;
}

static int64_t lay_out(work *k, char *base, int64_t time, int64_t tags)
{
    int64_t at = 0;
    k->own = lattice_piece(base, &at, time * tags);
    k->plain = lattice_piece(base, &at, time * tags);
    k->with = lattice_piece(base, &at, time * tags);
    k->now = lattice_piece(base, &at, tags);
    k->next = lattice_piece(base, &at, tags);
    k->spare = lattice_piece(base, &at, tags);
    k->pairs = lattice_piece(base, &at, tags * tags);
    return at;
}

static int64_t parts_of(int threads, const wf_tensor *e)
{
    return lattice_parts(threads, e->dim[1], 4 * e->dim[0] * e->dim[2] * e->dim[2]);
}

static bool form_is_sound(const wf_shaping *s)
{
    static const char *const name[] = { "emissions", "transitions", "start", "end" };
    const wf_tensor *e = s->in[EMISSIONS], *tags = s->in[TAGS];
    const crf *o = s->attr;
    if (!is_float(e)) return wf_refuse(s->error, "emissions are i32; expected f32 or f64");
    for (int i = TRANSITIONS; i <= END; i++)
        if (!same_dtype(s, i, EMISSIONS, name)) return false;
    if (tags->dtype != WF_I32)
        return wf_refuse(s->error, "the tags are %s; expected i32 ids", wf_dtype_name(tags->dtype));
    if (e->rank != 3 || tags->rank != 2 || tags->dim[0] != e->dim[0] || tags->dim[1] != e->dim[1])
        return wf_refuse(s->error,
                         "emissions are %s and the tags %s; expected (steps, sequences, tags) and "
                         "(steps, sequences)",
                         SHAPE_TEXT(e), SHAPE_TEXT(tags));
    const int64_t n = e->dim[2];
    for (int i = TRANSITIONS; i <= END; i++) {
        const wf_tensor *x = s->in[i];
        wf_shape got = wf_tensor_shape(x), want = i == TRANSITIONS ? WF_SHAPE(n, n) : WF_SHAPE(n);
        if (!wf_shape_equal(&got, &want))
            return wf_refuse(s->error, "%s is %s; expected %s, as emissions are %s", name[i],
                             SHAPE_TEXT(x), SHAPE_TEXT(&want), SHAPE_TEXT(e));
    }
    if (n < 1) return wf_refuse(s->error, "emissions are %s; there is no tag", SHAPE_TEXT(e));
    if (o->reduction < WF_REDUCE_MEAN || o->reduction > WF_REDUCE_NONE)
        return wf_refuse(s->error, "reduction is %d; expected mean, sum or none", o->reduction);
    return lattice_takes_lengths(s, LENGTHS, lengths_name, e->dim[1]);
}

static bool shape(wf_shaping *s)
{
    if (!form_is_sound(s)) return false;
    const wf_tensor *e = s->in[EMISSIONS];
    const crf *o = s->attr;
    const int64_t batch = e->dim[1], n = e->dim[2];
    const bool grad = s->wanted & (1 << EMISSIONS | 1 << START | 1 << END);
    const bool pairs = s->wanted & 1 << TRANSITIONS;
    form_out(&s->out[LOSS], e->dtype, o->reduction == WF_REDUCE_NONE ? WF_SHAPE(batch) : WF_SCALAR);
    form_out(&s->out[GRAD], e->dtype, grad ? wf_tensor_shape(e) : WF_SHAPE(0));
    form_out(&s->out[PAIRS], e->dtype, pairs ? WF_SHAPE(batch, n, n) : WF_SHAPE(0));
    form_out(&s->out[ALIVE], WF_I32, WF_SHAPE(batch));
    shared all;
    work one;
    const bool few = n < INT32_MAX && e->dim[0] <= INT64_MAX / 64 / n;
    const int64_t common = few ? lay_out_shared(&all, NULL, batch, n) : -1;
    const int64_t part = few ? lay_out(&one, NULL, e->dim[0], n) : -1;
    if (common < 0 || part < 0) return takes_scratch(s, &s->scratch_forward, -1, 1);
    const int64_t parts = parts_of(s->threads, e);
    return takes_scratch(s, &s->scratch_forward, parts + 1, part > common ? part : common) &&
           takes_scratch(s, &s->scratch_backward, n * n + batch, sizeof(double));
}

static bool check(const wf_call *c, wf_error *error)
{
    const wf_tensor *e = c->in[EMISSIONS], *tags = c->in[TAGS];
    if (!lattice_lengths_sound(c->in[LENGTHS], lengths_name, e->dim[0], error)) return false;
    for (int64_t i = 0; i < e->dim[0]; i++)
        for (int64_t b = 0; b < e->dim[1]; b++) {
            const int32_t id = lattice_id(tags, i, b);
            if ((id >= 0 && id < e->dim[2]) || i >= lattice_length(c->in[LENGTHS], b, e->dim[0]))
                continue;
            return wf_refuse(error, "tag %d at (%lld, %lld) is out of range: there are %lld tags",
                             id, (long long)i, (long long)b, (long long)e->dim[2]);
        }
    return true;
}

/* ---- one sequence ---- */

typedef struct batch_call {
    const wf_call *call;
    const lattice_kernels *lattice;
    shared all;
    int64_t parts, part_bytes, n; /* n tags */
    bool grad, pairs;
} batch_call;

static double total(int64_t n, const double *x, const double *y)
{
    double top = never, sum = 0;
    for (int64_t i = 0; i < n; i++) top = x[i] + y[i] > top ? x[i] + y[i] : top;
    for (int64_t i = 0; i < n; i++) sum += exp(x[i] + y[i] - (top == never ? 0 : top));
    return top + log(sum);
}

/* The logarithm of the sum over all tag sequences. */
static double go_forward(const batch_call *l, const work *k, int64_t length)
{
    const int64_t n = l->n;
    for (int64_t j = 0; j < n; j++) {
        k->plain[j] = l->all.start[j];
        k->with[j] = k->plain[j] + k->own[j];
    }
    for (int64_t i = 1; i < length; i++)
        l->lattice->reach(n, k->with + (i - 1) * n, l->all.w, k->own + i * n, k->plain + i * n,
                          k->with + i * n);
    return total(n, k->with + (length - 1) * n, l->all.end);
}

static double score(const batch_call *l, const work *k, int64_t b, int64_t length)
{
    const wf_tensor *tags = l->call->in[TAGS];
    const int64_t n = l->n;
    int32_t before = lattice_id(tags, 0, b);
    double sum = l->all.start[before] + k->own[before];
    for (int64_t i = 1; i < length; i++) {
        const int32_t tag = lattice_id(tags, i, b);
        sum += l->all.w[before * n + tag] + k->own[i * n + tag];
        before = tag;
    }
    return sum + l->all.end[before];
}

/* The derivative of all - score, from the last step to the first. */
static void go_back(const batch_call *l, work *k, int64_t b, int64_t length, double all)
{
    const wf_tensor *tags = l->call->in[TAGS];
    const int64_t n = l->n;
    const wf_tensor grad = l->grad ? lattice_sequence(l->call->out[GRAD], b, length)
                                   : (wf_tensor){ 0 };
    memset(k->pairs, 0, (size_t)(n * n) * sizeof(double));
    for (int64_t j = 0; j < n; j++) k->now[j] = l->all.end[j] + k->own[(length - 1) * n + j];
    for (int64_t i = length - 1; i >= 0; i--) {
        const int32_t tag = lattice_id(tags, i, b);
        if (l->grad) {
            wf_tensor row = wf_tensor_of(WF_F64, WF_SHAPE(n), k->spare), to = grad;
            l->lattice->meet(n, k->plain + i * n, k->now, 1, all, k->spare);
            k->spare[tag] -= 1;
            if (wf_view_select(&grad, 0, i, &to)) wf_tensor_copy(&row, &to);
        }
        if (i == 0) break;
        if (l->pairs) {
            l->lattice->meet_pairs(n, k->with + (i - 1) * n, l->all.w, k->now, all, k->pairs);
            k->pairs[lattice_id(tags, i - 1, b) * n + tag] -= 1;
        }
        l->lattice->reach(n, k->now, l->all.turned, k->own + (i - 1) * n, k->spare, k->next);
        double *other = k->now;
        k->now = k->next;
        k->next = other;
    }
    if (!l->pairs) return;
    const wf_tensor from = wf_tensor_of(WF_F64, WF_SHAPE(n, n), k->pairs);
    wf_tensor to;
    if (wf_view_select(l->call->out[PAIRS], 0, b, &to)) wf_tensor_copy(&from, &to);
}

static void do_sequence(const batch_call *l, int64_t b, char *scratch)
{
    const wf_call *c = l->call;
    const wf_tensor *e = c->in[EMISSIONS];
    const int64_t length = lattice_length(c->in[LENGTHS], b, e->dim[0]);
    int32_t *alive = (int32_t *)c->out[ALIVE]->data + b;
    l->all.loss[b] = 0;
    *alive = length > 0;
    if (length == 0) return;
    work k;
    lay_out(&k, scratch, e->dim[0], l->n);
    const wf_tensor part = lattice_sequence(e, b, length),
                    own = wf_tensor_of(WF_F64, WF_SHAPE(length, l->n), k.own);
    wf_tensor_copy(&part, &own);
    const double all = go_forward(l, &k, length);
    *alive = all != never;
    l->all.loss[b] = *alive ? all - score(l, &k, b, length) : (double)INFINITY;
    if (*alive && (l->grad || l->pairs)) go_back(l, &k, b, length, all);
}

static void do_part(void *context, int64_t begin, int64_t end)
{
    const batch_call *l = context;
    const int64_t batch = l->call->in[EMISSIONS]->dim[1];
    for (int64_t part = begin; part < end; part++)
        for (int64_t b = part; b < batch; b += l->parts)
            do_sequence(l, b, (char *)l->call->scratch + (part + 1) * l->part_bytes);
}

/* What the sum of all losses is multiplied by. */
static double factor_of(const crf *o, const wf_tensor *lengths, int64_t time, int64_t batch)
{
    int64_t count = batch;
    if (o->reduction != WF_REDUCE_MEAN) return 1;
    if (o->per_token) count = 0;
    for (int64_t b = 0; o->per_token && b < batch; b++) count += lattice_length(lengths, b, time);
    return count > 0 ? 1 / (double)count : 1;
}

static double factor(const wf_call *c)
{
    return factor_of(c->attr, c->in[LENGTHS], c->in[EMISSIONS]->dim[0], c->in[EMISSIONS]->dim[1]);
}

static void forward(const wf_call *c)
{
    const wf_tensor *e = c->in[EMISSIONS];
    const crf *o = c->attr;
    const int64_t batch = e->dim[1], n = e->dim[2];
    batch_call l = { .call = c,
                     .lattice = lattice_kernels_of(e->dtype),
                     .n = n,
                     .grad = c->wanted & (1 << EMISSIONS | 1 << START | 1 << END),
                     .pairs = c->wanted & 1 << TRANSITIONS };
    work k;
    const int64_t common = lay_out_shared(&l.all, c->scratch, batch, n);
    l.part_bytes = lay_out(&k, NULL, e->dim[0], n);
    if (common > l.part_bytes) l.part_bytes = common;
    double *const to[] = { l.all.w, l.all.start, l.all.end };
    for (int i = TRANSITIONS; i <= END; i++) {
        const wf_tensor copy = wf_tensor_of(WF_F64, wf_tensor_shape(c->in[i]), to[i - TRANSITIONS]);
        wf_tensor_copy(c->in[i], &copy);
    }
    for (int64_t i = 0; i < n * n; i++) l.all.turned[i % n * n + i / n] = l.all.w[i];
    l.parts = parts_of(c->threads, e);
    wf_par_for(c->threads, batch > 0 ? l.parts : 0, 1, do_part, &l);
    for (int64_t b = 0; b < batch; b++) l.all.factor[b] = factor(c);
    lattice_store((wf_reduction)o->reduction, batch, l.all.loss, l.all.factor, c->out[LOSS]);
}

/* ---- the way back ---- */

static bool is_alive(const wf_call *c, int64_t b)
{
    return ((const int32_t *)c->out[ALIVE]->data)[b];
}

/* What sequence b's derivative is multiplied by: of an infinite cotangent NaN, for it meets both
 * signs. */
static double scale_of(const wf_call *c, int64_t b)
{
    const crf *o = c->attr;
    const double scale = lattice_scale((wf_reduction)o->reduction, c->gout[LOSS], b, factor(c));
    return isfinite(scale) ? scale : (double)NAN;
}

static void back_sequences(void *context, int64_t begin, int64_t end)
{
    const wf_call *c = context;
    for (int64_t b = begin; b < end; b++) {
        if (!is_alive(c, b)) continue;
        const int64_t length = lattice_length(c->in[LENGTHS], b, c->in[EMISSIONS]->dim[0]);
        const wf_tensor from = lattice_sequence(c->out[GRAD], b, length),
                        to = lattice_sequence(c->gin[EMISSIONS], b, length);
        wf_tensor_accumulate(&from, &to, ((const double *)c->scratch)[b], 1);
    }
}

/* One sequence's derivative to input i; NULL where it has none. */
static const wf_tensor *part_of(const wf_call *c, int i, int64_t b, wf_tensor *part)
{
    const int64_t length = lattice_length(c->in[LENGTHS], b, c->in[EMISSIONS]->dim[0]);
    if (!is_alive(c, b) || (i == TRANSITIONS && length < 2)) return NULL;
    if (i == TRANSITIONS) return wf_view_select(c->out[PAIRS], 0, b, part) ? part : NULL;
    const wf_tensor all = lattice_sequence(c->out[GRAD], b, length);
    return wf_view_select(&all, 0, i == START ? 0 : length - 1, part) ? part : NULL;
}

/* Sums over the batch into input i. */
static void back_shared(const wf_call *c, int i)
{
    const int64_t batch = c->in[EMISSIONS]->dim[1], count = wf_tensor_count(c->in[i]);
    double *sum = (double *)c->scratch + batch;
    const wf_dtype_info *dtype = wf_dtype_describe(c->in[i]->dtype);
    for (int64_t j = 0; j < count; j++) {
        double high = 0, low = 0;
        wf_tensor part;
        for (int64_t b = 0; b < batch; b++)
            if (part_of(c, i, b, &part))
                wf_sum_term(&high, &low,
                            ((const double *)c->scratch)[b] * dtype->load(part.data, j));
        sum[j] = wf_sum_value(high, low);
    }
    const wf_tensor from = wf_tensor_of(WF_F64, wf_tensor_shape(c->in[i]), sum);
    wf_tensor_accumulate(&from, c->gin[i], 1, 1);
}

static void backward(const wf_call *c)
{
    const wf_tensor *e = c->in[EMISSIONS];
    if (!c->gout[LOSS]) return;
    for (int64_t b = 0; b < e->dim[1]; b++) ((double *)c->scratch)[b] = scale_of(c, b);
    if (c->gin[EMISSIONS])
        each_row(c->threads, e->dim[1], e->dim[0] * e->dim[2], back_sequences,
                 (void *)(uintptr_t)c);
    for (int i = TRANSITIONS; i <= END; i++)
        if (c->gin[i]) back_shared(c, i);
}

/* ---- the spelling in other ops ---- */

/* The right tags as ids, (T, B); first and last of each sequence, (B); and pairs before * K + tag,
 * (T - 1, B). -1 where there is none. */
typedef struct spelled_tags {
    wf_var *each, *first, *last, *pairs;
} spelled_tags;

static spelled_tags tags_of(wf_tape *t, const wf_reference *r)
{
    const int64_t time = wf_dim(r->in[TAGS], 0), batch = wf_dim(r->in[TAGS], 1);
    const int64_t n = wf_dim(r->in[EMISSIONS], 2);
    wf_tensor each, first, last, pairs;
    spelled_tags s = {
        .each = wf_constant_fill(t, WF_I32, WF_SHAPE(time, batch), &each),
        .first = wf_constant_fill(t, WF_I32, WF_SHAPE(batch), &first),
        .last = wf_constant_fill(t, WF_I32, WF_SHAPE(batch), &last),
        .pairs = wf_constant_fill(t, WF_I32, WF_SHAPE(time > 1 ? time - 1 : 0, batch), &pairs),
    };
    for (int64_t b = 0; s.pairs && b < batch; b++) {
        const int64_t length = r->in[LENGTHS] ? (int64_t)wf_at(r->in[LENGTHS], b) : time;
        int32_t before = -1, tag = -1;
        ((int32_t *)first.data)[b] = -1;
        for (int64_t i = 0; i < time; i++, before = tag) {
            const bool there = i < length;
            if (there) tag = (int32_t)wf_at(r->in[TAGS], i * batch + b);
            if (there && i == 0) ((int32_t *)first.data)[b] = tag;
            ((int32_t *)each.data)[i * batch + b] = there ? tag : -1;
            if (i > 0)
                ((int32_t *)pairs.data)[(i - 1) * batch + b] = there ? before * (int32_t)n + tag
                                                                     : -1;
        }
        ((int32_t *)last.data)[b] = tag;
    }
    return s;
}

/* x (..., n) where an id names a number of it, summed over all but the batch. */
static wf_var *picked(wf_tape *t, wf_var *ids, int64_t n, wf_var *x)
{
    wf_var *chosen = wf_where(t, wf_one_hot(t, ids, n), x, wf_zeros(t, wf_dtype_of(x), WF_SCALAR));
    return wf_rank(ids) == 1 ? wf_sum(t, chosen, WF_AXES(1)) : wf_sum(t, chosen, WF_AXES(0, 2));
}

/* The logarithm of the sum over all tag sequences, (B). */
static wf_var *spelled_total(wf_tape *t, const wf_reference *r, wf_var *e, wf_var *mask)
{
    wf_var *w = wf_unsqueeze(t, r->in[TRANSITIONS], 1); /* (K, 1, K) */
    wf_var *first = wf_add(t, wf_select(t, e, 0, 0), r->in[START]);
    wf_var *from = wf_transpose(t, first, 0, 1); /* (K, B) */
    for (int64_t i = 1; i < wf_dim(e, 0); i++) {
        wf_var *live = mask ? wf_select(t, mask, 0, i) : NULL; /* (B) */
        wf_var *going = live ? wf_where(t, live, from, wf_zeros(t, wf_dtype_of(e), WF_SCALAR))
                             : from; /* no derivative of what has ended meets a NaN of w */
        wf_var *all = lattice_sum_spelled(t, wf_add(t, wf_unsqueeze(t, going, -1), w)); /* (B, K) */
        wf_var *next = wf_transpose(t, wf_add(t, all, wf_select(t, e, 0, i)), 0, 1);
        from = live ? wf_where(t, live, next, from) : next;
    }
    return lattice_sum_spelled(t, wf_add(t, from, wf_unsqueeze(t, r->in[END], -1)));
}

/* The sum of tanh(x) where any sequence is longer than `than`, else 0, and no NaN of x. */
static wf_var *spelled_squashed(wf_tape *t, wf_var *x, wf_var *lengths, int than)
{
    bool any = false;
    for (int64_t b = 0; b < wf_count(lengths); b++) any |= wf_at(lengths, b) > than;
    wf_var *used = wf_full(t, WF_I32, WF_SCALAR, any);
    x = wf_where(t, used, x, wf_zeros(t, wf_dtype_of(x), WF_SCALAR));
    return wf_sum(t, wf_tanh(t, x), NULL);
}

/* Adds nothing, but leads to all that counts, and makes NaN of an infinite cotangent, (B). */
static wf_var *spelled_nothing(wf_tape *t, const wf_reference *r, wf_var *e, wf_var *lengths)
{
    wf_var *none = wf_zeros(t, wf_dtype_of(e), WF_SCALAR), *one = wf_full(t, WF_I32, WF_SCALAR, 1);
    wf_var *ends = wf_add(t, spelled_squashed(t, r->in[START], lengths, 0),
                          spelled_squashed(t, r->in[END], lengths, 0));
    wf_var *w = spelled_squashed(t, r->in[TRANSITIONS], lengths, 1);
    w = wf_where(t, wf_greater(t, lengths, one), w, none); /* (B) */
    wf_var *all = wf_sum(t, wf_tanh(t, e), WF_AXES(0, 2));
    return wf_mul_scalar(t, wf_add(t, wf_add(t, all, ends), w), 0);
}

static bool reference(wf_tape *t, const wf_reference *r)
{
    const crf *o = r->attr;
    wf_var *e = lattice_cut_spelled(t, r->in[EMISSIONS], r->in[LENGTHS]);
    const int64_t time = wf_dim(e, 0), batch = wf_dim(e, 1), n = wf_dim(e, 2);
    const wf_dtype dtype = wf_dtype_of(e);
    wf_var *lengths = r->in[LENGTHS] ? r->in[LENGTHS]
                                     : wf_full(t, WF_I32, WF_SHAPE(batch), (double)time);
    wf_var *mask = r->in[LENGTHS] ? wf_length_mask(t, lengths, time) : NULL;
    wf_var *loss = spelled_nothing(t, r, e, lengths), *none = wf_zeros(t, dtype, WF_SCALAR);
    if (time > 0) {
        const spelled_tags tags = tags_of(t, r);
        wf_var *all = spelled_total(t, r, e, mask);
        wf_var *right = wf_add(
            t, picked(t, tags.each, n, e),
            wf_add(t, picked(t, tags.first, n, r->in[START]), picked(t, tags.last, n, r->in[END])));
        wf_var *flat = wf_reshape(t, r->in[TRANSITIONS], WF_SHAPE(n * n));
        right = wf_add(t, right, picked(t, tags.pairs, n * n, flat));
        wf_var *dead = wf_equal(t, all, wf_full(t, dtype, WF_SCALAR, never));
        loss = wf_add(t, loss, wf_sub(t, all, right));
        loss = wf_where(t, dead, wf_full(t, dtype, WF_SCALAR, (double)INFINITY), loss);
    }
    loss = wf_where(t, wf_equal(t, lengths, wf_zeros(t, WF_I32, WF_SCALAR)), none, loss);
    double *by = wf_tape_memory(t, (size_t)(batch + 1) * sizeof *by);
    for (int64_t b = 0; by && b < batch; b++)
        by[b] = factor_of(o, r->in[LENGTHS] ? wf_value(lengths) : NULL, time, batch);
    r->out[0] = by ? lattice_reduced_spelled(t, loss, (wf_reduction)o->reduction, by) : NULL;
    return r->out[0] != NULL;
}

/* ---- the row ---- */

static bool sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        int64_t time, batch, tags;
        int32_t least; /* of lengths; -1: none are given */
        crf o;
    } tried[] = {
        { "each of its own length", 4, 3, 3, 2, { WF_REDUCE_MEAN, 0 } },
        { "of one length", 3, 2, 2, -1, { WF_REDUCE_SUM, 0 } },
        { "a loss for each, some empty", 3, 5, 2, 0, { WF_REDUCE_NONE, 0 } },
        { "per token", 4, 3, 3, 1, { WF_REDUCE_MEAN, 1 } },
        { "one step", 1, 3, 3, -1, { WF_REDUCE_NONE, 0 } },
        { "no sequences", 3, 0, 2, -1, { WF_REDUCE_MEAN, 1 } },
    };
    if (k >= COUNT_OF(tried)) return false;
    const int64_t n = tried[k].tags, batch = tried[k].batch, time = tried[k].time;
    s->label = tried[k].label;
    sample_input(s, WF_F64, WF_SHAPE(time, batch, n), -2, 2);
    sample_input(s, WF_F64, WF_SHAPE(n, n), -2, 2);
    sample_input(s, WF_F64, WF_SHAPE(n), -2, 2);
    sample_input(s, WF_F64, WF_SHAPE(n), -2, 2);
    sample_input(s, WF_I32, WF_SHAPE(time, batch), 0, (double)(n - 1));
    sample_input(s, WF_I32, tried[k].least < 0 ? (wf_shape){ .rank = -1 } : WF_SHAPE(batch),
                 tried[k].least, (double)time);
    memcpy(s->attr.bytes, &tried[k].o, sizeof tried[k].o);
    return true;
}

const wf_op op_crf_loss = {
    .name = OP_NAME(crf_loss),
    .inputs = INPUTS,
    .outputs = 1,
    .hidden = 3,
    .attr_size = sizeof(crf),
    .optional = 1 << LENGTHS,
    .reads_in = 1 << LENGTHS,
    .reads_out = 1 << GRAD | 1 << PAIRS | 1 << ALIVE,
    .reads_check = 1 << TAGS | 1 << LENGTHS,
    .shape = shape,
    .check = check,
    .forward = forward,
    .backward = backward,
    .reference = reference,
    .sample = sample,
};

wf_var *wf_crf_loss(wf_tape *t, wf_var *emissions, wf_var *transitions, wf_var *start, wf_var *end,
                    wf_var *tags, wf_var *lengths, const wf_crf_loss_options *options)
{
    crf o = { 0 };
    if (options) {
        o.reduction = (int32_t)options->reduction;
        o.per_token = options->per_token;
    }
    return wf_apply_one(t, &op_crf_loss, INPUTS,
                        (wf_var *[]){ emissions, transitions, start, end, tags, lengths }, &o);
}
