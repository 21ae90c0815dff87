/* Decoding of CTC: the best path, and prefix beam search over a tree of prefixes; and the likeliest
 * path of a target, by Viterbi's algorithm over its chain of states. */
#include "layers/ctc.h"

#include "autograd/scan.h"
#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <math.h>
#include <string.h>

static const double never = -(double)INFINITY;

/* A prefix: its last label, and the prefix before it. Node 0 is the empty one. */
typedef struct node {
    int32_t label, length;
    int64_t parent, child, sibling; /* 0: none */
} node;

/* A prefix that goes on, with the logarithms of what its paths come to that end in a blank, and in
 * its last label. node -1: to be made, of `label` behind `parent`. */
typedef struct prefix {
    int64_t node, parent;
    int32_t label;
    double blank, last, both;
} prefix;

/* One call's numbers, and what is worked with. */
typedef struct search {
    const char *who;
    const wf_tensor *logits, *lengths;
    wf_ctc_decode_options o;
    int64_t time, batch, classes, width; /* width: prefixes that go on */
    wf_ctc_labelling *found;             /* results: batch * best, and their ids */
    int32_t *ids;
    double *log_p;               /* classes: a frame */
    int64_t *into;               /* classes: which prefix one becomes by a label; -1 */
    node *nodes;                 /* 1 + time * width */
    prefix *before, *now, *next; /* of the frame before, of this one, and the likeliest */
    int64_t made, count, kept;   /* nodes; prefixes of before and now, and of next */
} search;

static double log_add(double a, double b)
{
    const double high = a > b ? a : b, low = a > b ? b : a;
    return low == never ? high : high + log1p(exp(low - high));
}

/* ---- what is asked for ---- */

static bool sound(const search *s, wf_error *error)
{
    const wf_tensor *z = s->logits, *n = s->lengths;
    char text[128], other[128];
    if (!z || z->dtype == WF_I32 || z->rank != 3)
        return wf_error_set(error,
                            "ctc_decode: logits are %s %s; expected f32 or f64 (frames, "
                            "sequences, classes)",
                            z ? wf_dtype_name(z->dtype) : "NULL",
                            z ? wf_shape_text(text, sizeof text, z->rank, z->dim) : "()");
    if (n && (n->dtype != WF_I32 || n->rank != 1 || n->dim[0] != z->dim[1]))
        return wf_error_set(
            error, "ctc_decode: lengths are %s %s; expected i32 (%lld)", wf_dtype_name(n->dtype),
            wf_shape_text(other, sizeof other, n->rank, n->dim), (long long)z->dim[1]);
    if (s->o.blank < 0 || s->o.blank >= z->dim[2])
        return wf_error_set(error, "ctc_decode: .blank is %d; there are %lld classes", s->o.blank,
                            (long long)z->dim[2]);
    if (s->o.beam < 0)
        return wf_error_set(error, "ctc_decode: .beam is %lld; it must be 0 or more",
                            (long long)s->o.beam);
    if (s->o.best < 1 || s->o.best > s->width)
        return wf_error_set(error,
                            "ctc_decode: .best is %lld; it must be from 0 to %lld, which "
                            "go on",
                            (long long)s->o.best, (long long)s->width);
    return true;
}

static int64_t length_of(const search *s, int64_t b)
{
    return s->lengths ? (int64_t)wf_tensor_at(s->lengths, b) : s->time;
}

static double logit(const search *s, int64_t t, int64_t b, int64_t c)
{
    const wf_tensor *z = s->logits;
    return wf_dtype_describe(z->dtype)->load(z->data, t * z->stride[0] + b * z->stride[1] +
                                                          c * z->stride[2]);
}

/* Are all lengths and logits numbers that can be? */
static bool numbers_are_sound(const search *s, wf_error *error)
{
    for (int64_t b = 0; b < s->batch; b++) {
        const int64_t length = length_of(s, b);
        if (length < 0 || length > s->time)
            return wf_error_set(error, "%s: lengths[%lld] is %lld; it must be from 0 to %lld",
                                s->who, (long long)b, (long long)length, (long long)s->time);
        for (int64_t i = 0; i < length * s->classes; i++) {
            const int64_t t = i / s->classes, c = i % s->classes;
            const double z = logit(s, t, b, c);
            if (isnan(z) || z == (double)INFINITY)
                return wf_error_set(error, "%s: the logit at (%lld, %lld, %lld) is %g", s->who,
                                    (long long)t, (long long)b, (long long)c, z);
        }
    }
    return true;
}

/* ---- memory ---- */

/* A piece of count * each bytes from *at on, which becomes -1 when that is too much. */
static void *piece(char *base, int64_t *at, int64_t count, int64_t each)
{
    int64_t bytes, from = *at;
    if (from < 0 || !wf_size_mul(count, each, &bytes) ||
        !wf_size_align(bytes, WF_ALIGNMENT, &bytes) || !wf_size_add(from, bytes, at)) {
        *at = -1;
        return NULL;
    }
    return base ? base + from : NULL;
}

static int64_t lay_out(search *s, char *base)
{
    const int64_t beam = s->o.beam > 0 ? s->width : 0;
    int64_t at = 0, many = -1, nodes = -1;
    if (!wf_size_mul(s->batch, s->o.best, &many)) return -1;
    if (!wf_size_mul(s->time, beam, &nodes) || nodes == INT64_MAX) return -1;
    s->found = piece(base, &at, many + 1, sizeof *s->found);
    s->log_p = piece(base, &at, s->classes, sizeof *s->log_p);
    s->into = piece(base, &at, s->classes, sizeof *s->into);
    s->nodes = piece(base, &at, nodes + 1, sizeof *s->nodes);
    s->before = piece(base, &at, beam + 1, sizeof *s->before);
    s->now = piece(base, &at, beam + 1, sizeof *s->now);
    s->next = piece(base, &at, beam + 1, sizeof *s->next);
    if (!wf_size_mul(many, s->time, &many)) return -1;
    s->ids = piece(base, &at, many, sizeof *s->ids);
    return at;
}

static bool make_room(wf_ctc_decoded *d, search *s, wf_error *error)
{
    const int64_t bytes = lay_out(s, NULL);
    if (bytes < 0 || bytes > d->bytes) {
        void *memory = bytes < 0 ? NULL : wf_alloc((size_t)bytes);
        if (!memory)
            return wf_error_set(error,
                                "ctc_decode: not enough memory for %lld frames of %lld "
                                "sequences",
                                (long long)s->time, (long long)s->batch);
        wf_release(d->memory);
        d->memory = memory;
        d->bytes = bytes;
    }
    lay_out(s, d->memory);
    return true;
}

/* ---- frames ---- */

/* Fills log_p; a frame whose logits are all -inf has no path. */
static void read_frame(const search *s, int64_t t, int64_t b)
{
    double top = never, sum = 0;
    for (int64_t c = 0; c < s->classes; c++) {
        s->log_p[c] = logit(s, t, b, c);
        top = s->log_p[c] > top ? s->log_p[c] : top;
    }
    if (top == never) return;
    for (int64_t c = 0; c < s->classes; c++) sum += exp(s->log_p[c] - top);
    const double all = top + log(sum);
    for (int64_t c = 0; c < s->classes; c++) s->log_p[c] -= all;
}

static void best_path(const search *s, int64_t b, wf_ctc_labelling *y, int32_t *ids)
{
    int64_t before = s->o.blank;
    *y = (wf_ctc_labelling){ .at = ids };
    for (int64_t t = 0; t < length_of(s, b); t++) {
        int64_t c = 0;
        read_frame(s, t, b);
        for (int64_t k = 1; k < s->classes; k++)
            if (s->log_p[k] > s->log_p[c]) c = k;
        y->log_p += s->log_p[c];
        if (c != s->o.blank && c != before) ids[y->n++] = (int32_t)c;
        before = c;
    }
}

/* ---- prefix beam search ---- */

/* Puts a prefix among the likeliest, a heap whose root is the least likely. */
static void offer(search *s, prefix p)
{
    prefix *heap = s->next;
    int64_t at;
    p.both = log_add(p.blank, p.last);
    if (p.both == never) return;
    if (s->kept < s->width) {
        for (at = s->kept++; at > 0 && heap[(at - 1) / 2].both > p.both; at = (at - 1) / 2)
            heap[at] = heap[(at - 1) / 2];
        heap[at] = p;
        return;
    }
    if (p.both <= heap[0].both) return;
    for (at = 0;;) {
        int64_t child = 2 * at + 1;
        if (child + 1 < s->kept && heap[child + 1].both < heap[child].both) child++;
        if (child >= s->kept || heap[child].both >= p.both) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = p;
}

/* The node of a label behind a prefix: one that was there, or a new one. */
static int64_t node_of(search *s, int64_t parent, int32_t label)
{
    int64_t at = s->nodes[parent].child;
    while (at && s->nodes[at].label != label) at = s->nodes[at].sibling;
    if (at) return at;
    at = s->made++;
    s->nodes[at] = (node){ label, s->nodes[parent].length + 1, parent, 0, s->nodes[parent].child };
    s->nodes[parent].child = at;
    return at;
}

/* A prefix goes on by each label; into another one of the beam, where that is there. */
static void extend(search *s, const prefix *from)
{
    const node *own = &s->nodes[from->node];
    for (int64_t c = 0; c < s->classes; c++) s->into[c] = -1;
    for (int64_t j = 0; j < s->count; j++)
        if (s->now[j].node && s->nodes[s->now[j].node].parent == from->node)
            s->into[s->nodes[s->now[j].node].label] = j;
    for (int64_t c = 0; c < s->classes; c++) {
        if (c == s->o.blank) continue;
        const bool repeated = from->node && c == own->label;
        const double p = s->log_p[c] + (repeated ? from->blank : from->both);
        prefix *to = s->into[c] < 0 ? NULL : &s->now[s->into[c]];
        if (to)
            to->last = log_add(to->last, p);
        else
            offer(s, (prefix){ -1, from->node, (int32_t)c, never, p, p });
    }
}

static void beam_frame(search *s)
{
    memcpy(s->before, s->now, (size_t)s->count * sizeof *s->now);
    for (int64_t i = 0; i < s->count; i++) { /* what stays: a blank more, or the label again */
        prefix *p = &s->now[i];
        p->last = p->node ? p->last + s->log_p[s->nodes[p->node].label] : never;
        p->blank = p->both + s->log_p[s->o.blank];
    }
    s->kept = 0;
    for (int64_t i = 0; i < s->count; i++) extend(s, &s->before[i]);
    for (int64_t i = 0; i < s->count; i++) offer(s, s->now[i]);
    for (int64_t i = 0; i < s->kept; i++)
        if (s->next[i].node < 0) s->next[i].node = node_of(s, s->next[i].parent, s->next[i].label);
    prefix *other = s->now;
    s->now = s->next;
    s->next = other;
    s->count = s->kept;
}

/* The likeliest of what is left, out of it. */
static prefix take_best(search *s)
{
    int64_t best = 0;
    for (int64_t i = 1; i < s->count; i++)
        if (s->now[i].both > s->now[best].both) best = i;
    const prefix p = s->now[best];
    s->now[best] = s->now[--s->count];
    return p;
}

static void beam_search(search *s, int64_t b, wf_ctc_labelling *y, int32_t *ids)
{
    s->nodes[0] = (node){ 0 };
    s->now[0] = (prefix){ .blank = 0, .last = never, .both = 0 };
    s->made = s->count = 1;
    for (int64_t t = 0; t < length_of(s, b); t++) {
        read_frame(s, t, b);
        beam_frame(s);
    }
    for (int64_t k = 0; k < s->o.best; k++, ids += s->time) {
        y[k] = (wf_ctc_labelling){ .at = ids, .n = -1, .log_p = never };
        if (s->count == 0) continue;
        const prefix p = take_best(s);
        y[k].n = s->nodes[p.node].length;
        y[k].log_p = p.both;
        for (int64_t at = p.node, i = y[k].n - 1; at; at = s->nodes[at].parent, i--)
            ids[i] = s->nodes[at].label;
    }
}

bool wf_ctc_decode(wf_ctc_decoded *decoded, const wf_tensor *logits, const wf_tensor *lengths,
                   const wf_ctc_decode_options *options, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_error_clear(error);
    search s = { .who = "ctc_decode", .logits = logits, .lengths = lengths };
    if (options) s.o = *options;
    if (s.o.best == 0) s.o.best = 1;
    s.width = s.o.beam > 0 ? s.o.beam : 1;
    if (!decoded) return wf_error_set(error, "ctc_decode: there is nothing to fill (NULL)");
    if (!sound(&s, error)) return false;
    s.time = logits->dim[0];
    s.batch = logits->dim[1];
    s.classes = logits->dim[2];
    if (!numbers_are_sound(&s, error) || !make_room(decoded, &s, error)) return false;
    decoded->batch = s.batch;
    decoded->best = s.o.best;
    decoded->at = s.found;
    for (int64_t b = 0; b < s.batch; b++) {
        wf_ctc_labelling *y = s.found + b * s.o.best;
        int32_t *ids = s.ids + b * s.o.best * s.time;
        if (s.o.beam > 0)
            beam_search(&s, b, y, ids);
        else
            best_path(&s, b, y, ids);
    }
    return true;
}

void wf_ctc_decoded_free(wf_ctc_decoded *decoded)
{
    if (!decoded) return;
    wf_release(decoded->memory);
    memset(decoded, 0, sizeof *decoded);
}

/* ---- forced alignment ---- */

/* The targets of a batch, and what is worked with. A target of n labels is a chain of 2n + 1 states
 * as in autograd/ctc.c: even ones are blanks, label l is state 2l + 1. */
typedef struct alignment {
    search s;
    int64_t labels;           /* L, most of a target */
    int32_t *targets, *count; /* (L, B); (B): how many labels */
    double *now, *before;     /* states: the best path to each, up to a frame */
    signed char *from;        /* (T, states): how many states before that it came */
} alignment;

static int32_t class_of(const alignment *a, int64_t b, int64_t state)
{
    return state & 1 ? a->targets[state / 2 * a->s.batch + b] : a->s.o.blank;
}

/* Fills `from` and returns the best path's logarithm, with the state that it ends in. */
static double follow(alignment *a, int64_t b, int64_t *last)
{
    const int64_t states = 2 * a->count[b] + 1, most = 2 * a->labels + 1;
    for (int64_t i = 0; i < states; i++) a->before[i] = i == 0 ? 0 : never;
    for (int64_t t = 0; t < length_of(&a->s, b); t++) {
        read_frame(&a->s, t, b);
        for (int64_t i = 0; i < states; i++) {
            const bool skips = i > 2 && i & 1 && class_of(a, b, i) != class_of(a, b, i - 2);
            signed char from = 0;
            for (signed char k = 1; k <= 1 + skips && k <= i; k++)
                if (a->before[i - k] > a->before[i - from]) from = k;
            a->from[t * most + i] = from;
            a->now[i] = a->before[i - from] + a->s.log_p[class_of(a, b, i)];
        }
        double *other = a->now;
        a->now = a->before;
        a->before = other;
    }
    *last = states - 1;
    if (states > 1 && a->before[states - 2] > a->before[states - 1]) *last = states - 2;
    return a->before[*last];
}

/* Writes the path of sequence b that ends in a state. */
static void write_path(alignment *a, int64_t b, int64_t state, int32_t *ids, const wf_tensor *p)
{
    const wf_dtype_info *dtype = wf_dtype_describe(p->dtype);
    for (int64_t t = length_of(&a->s, b) - 1; t >= 0; t--) {
        const int32_t id = class_of(a, b, state);
        read_frame(&a->s, t, b);
        ids[t * a->s.batch + b] = id;
        dtype->store(p->data, t * a->s.batch + b, a->s.log_p[id]);
        state -= a->from[t * (2 * a->labels + 1) + state];
    }
}

static bool targets_are_sound(wf_tape *t, const alignment *a)
{
    const search *s = &a->s;
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t l = 0; l < a->count[b]; l++) {
            const int32_t id = a->targets[l * s->batch + b];
            if (id == s->o.blank)
                wf_fail(t, "%s: target %d at (%lld, %lld) is the blank", s->who, id, (long long)l,
                        (long long)b);
            else if (id < 0 || id >= s->classes)
                wf_fail(t, "%s: target %d at (%lld, %lld) is out of range: there are %lld classes",
                        s->who, id, (long long)l, (long long)b, (long long)s->classes);
            if (!wf_tape_ok(t)) return false;
        }
    return true;
}

/* Numbers of lengths, or `all` of each; NULL after failing the tape. */
static int32_t *counts_of(wf_tape *t, wf_var *lengths, int64_t all, int64_t batch, const char *what)
{
    if (lengths && !(lengths = wf_enter_lengths(t, lengths, all, batch, "%s", what))) return NULL;
    int32_t *to = wf_tape_memory(t, (size_t)(batch + 1) * sizeof *to);
    for (int64_t b = 0; to && !lengths && b < batch; b++) to[b] = (int32_t)all;
    return to && (!lengths || wf_copy_out(lengths, to, batch)) ? to : NULL;
}

static bool enter_forms(wf_tape *t, alignment *a, wf_var **logits, wf_var **targets)
{
    search *s = &a->s;
    if (!(*logits = wf_enter(t, *logits, "%s: the logits", s->who)) ||
        !(*targets = wf_enter(t, *targets, "%s: the targets", s->who)))
        return false;
    const wf_shape z = wf_shape_of(*logits), y = wf_shape_of(*targets);
    char text[2][128];
    s->time = z.dim[0], s->batch = z.dim[1], s->classes = z.dim[2], a->labels = y.dim[0];
    if (wf_dtype_of(*logits) == WF_I32 || wf_dtype_of(*targets) != WF_I32 || z.rank != 3 ||
        y.rank != 2 || y.dim[1] != s->batch || s->time >= INT32_MAX || a->labels >= INT32_MAX / 2)
        wf_fail(t,
                "%s: logits are %s %s and targets %s %s; expected floats (frames, sequences, "
                "classes) and i32 (labels, sequences)",
                s->who, wf_dtype_name(wf_dtype_of(*logits)),
                wf_shape_text(text[0], sizeof text[0], z.rank, z.dim),
                wf_dtype_name(wf_dtype_of(*targets)),
                wf_shape_text(text[1], sizeof text[1], y.rank, y.dim));
    else if (s->o.blank < 0 || s->o.blank >= s->classes)
        wf_fail(t, "%s: .blank is %d; there are %lld classes", s->who, s->o.blank,
                (long long)s->classes);
    return wf_tape_ok(t);
}

/* All that is read, and room to work in. False after failing the tape. */
static bool alignment_make(wf_tape *t, alignment *a, wf_var *logits, wf_var *targets,
                           wf_var *frames, wf_var *labels, wf_tensor *lengths)
{
    search *s = &a->s;
    wf_error error = { "" };
    if (!enter_forms(t, a, &logits, &targets)) return false;
    const int64_t states = 2 * a->labels + 1;
    int64_t steps;
    int32_t *length = counts_of(t, frames, s->time, s->batch, "ctc_align: input lengths");
    a->count = counts_of(t, labels, a->labels, s->batch, "ctc_align: target lengths");
    if (!length || !a->count) return false;
    if (!wf_size_mul(s->time + 1, states, &steps)) steps = INT64_MAX;
    a->targets = wf_tape_memory(t, (size_t)(wf_count(targets) + 1) * sizeof *a->targets);
    a->now = wf_tape_memory(t, (size_t)states * sizeof *a->now);
    a->before = wf_tape_memory(t, (size_t)states * sizeof *a->before);
    a->from = wf_tape_memory(t, (size_t)steps);
    s->log_p = wf_tape_memory(t, (size_t)(s->classes + 1) * sizeof *s->log_p);
    s->logits = wf_value(logits);
    if (!wf_tape_ok(t) || !wf_copy_out(targets, a->targets, wf_count(targets))) return false;
    *lengths = wf_tensor_of(WF_I32, WF_SHAPE(s->batch), length);
    s->lengths = lengths;
    if (!numbers_are_sound(s, &error)) wf_fail(t, "%s", error.text);
    return wf_tape_ok(t) && targets_are_sound(t, a);
}

wf_var *wf_ctc_align(wf_tape *t, wf_var *logits, wf_var *targets, wf_var *input_lengths,
                     wf_var *target_lengths, const wf_ctc_options *options, wf_var **log_p,
                     wf_var **score)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    alignment a = { .s = { .who = "ctc_align", .o = { .blank = options ? options->blank : 0 } } };
    wf_tensor lengths, ids, frames, scores;
    if (log_p) *log_p = NULL;
    if (score) *score = NULL;
    if (!wf_tape_ok(t) ||
        !alignment_make(t, &a, logits, targets, input_lengths, target_lengths, &lengths))
        return NULL;
    const wf_dtype dtype = a.s.logits->dtype;
    const wf_shape steps = WF_SHAPE(a.s.time, a.s.batch);
    wf_var *path = wf_constant_fill(t, WF_I32, steps, &ids);
    wf_var *each = wf_constant_fill(t, dtype, steps, &frames);
    wf_var *all = wf_constant_fill(t, dtype, WF_SHAPE(a.s.batch), &scores);
    if (!path || !each || !all) return NULL;
    wf_tensor_fill(&ids, -1);
    for (int64_t b = 0; b < a.s.batch; b++) {
        int64_t last;
        const double reached = follow(&a, b, &last);
        wf_dtype_describe(dtype)->store(scores.data, b, reached);
        if (reached != never) write_path(&a, b, last, ids.data, &frames);
    }
    if (log_p) *log_p = each;
    if (score) *score = all;
    return path;
}
