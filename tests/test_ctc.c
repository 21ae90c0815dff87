/* The loss of connectionist temporal classification: every path counted one by one, PyTorch's
 * numbers, long sequences, and all that is at an edge: nothing to read, nothing to say, targets
 * that do not fit, and padding that is no number; decoding, and the alignment of targets. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/rng.h"
#include "tests/tape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct problem {
    wf_var *logits, *targets, *frames, *labels;
    wf_ctc_options o;
} problem;

static const double never = -(double)INFINITY;

static wf_var *loss_of(const problem *p)
{
    return wf_ctc_loss(t, p->logits, p->targets, p->frames, p->labels, &p->o);
}

/* The gradient of y, with a cotangent or none, to the logits. */
static wf_var *gradient(const problem *p, wf_var *y, wf_var *cotangent)
{
    wf_var *grad = NULL;
    ck_assert_msg(wf_grad(t, 1, &y, cotangent ? &cotangent : NULL, 1, &p->logits, &grad, NULL),
                  "%s", wf_tape_error(t));
    return grad;
}

static wf_var *ids(int64_t rows, int64_t columns, const int32_t *id)
{
    return wf_constant(t, WF_I32, WF_SHAPE(rows, columns), id);
}

static wf_var *lengths(int64_t n, const int32_t *length)
{
    return wf_constant(t, WF_I32, WF_SHAPE(n), length);
}

/* ---- every path ---- */

enum { MOST_FRAMES = 6, MOST_CLASSES = 4, MOST_LABELS = 4, TARGETS = 1 + 3 + 9 + 27 + 81 };

/* All targets of up to MOST_LABELS of `labels` kinds are numbered: those of n labels come after
 * all shorter ones. */
static int64_t first_of(int n, int labels)
{
    int64_t first = 0;
    for (int64_t k = 0, many = 1; k < n; k++, many *= labels) first += many;
    return first;
}

/* What is counted of one target: the probability of its paths, and of those that visit a class in
 * a frame. */
typedef struct counted {
    double all, visits[MOST_FRAMES][MOST_CLASSES];
} counted;

/* Counts all paths of `time` frames with probabilities p. */
static void count_paths(int time, int classes, int blank, double p[MOST_FRAMES][MOST_CLASSES],
                        counted *c)
{
    int64_t paths = 1;
    for (int i = 0; i < time; i++) paths *= classes;
    for (int64_t path = 0; path < paths; path++) {
        int at[MOST_FRAMES], n = 0, before = blank;
        double probability = 1;
        int64_t rest = path, code = 0;
        for (int i = 0; i < time; i++, rest /= classes) {
            at[i] = (int)(rest % classes);
            probability *= p[i][at[i]];
            if (at[i] != blank && at[i] != before) {
                code = code * (classes - 1) + (at[i] - (at[i] > blank));
                n++;
            }
            before = at[i];
        }
        if (n > MOST_LABELS) continue;
        counted *of = &c[first_of(n, classes - 1) + code];
        of->all += probability;
        for (int i = 0; i < time; i++) of->visits[i][at[i]] += probability;
    }
}

/* Every target at once, as a batch; `wide` frames, of which `time` count and the others are NaN. */
static problem all_targets(int wide, int time, int classes, int blank, int64_t n)
{
    wf_tensor z, id, length;
    problem p = { .o = { .blank = blank, .reduction = WF_REDUCE_NONE } };
    wf_var *one = drawn(t, WF_F64, WF_SHAPE(wide, 1, classes),
                        (uint64_t)(100 * time + 10 * classes + blank), -2, 2);
    p.logits = wf_leaf(t, WF_F64, WF_SHAPE(wide, n, classes), NULL);
    z = *wf_value(p.logits);
    for (int64_t i = 0; i < wf_count(p.logits); i++)
        put(&z, i,
            i / (n * classes) < time ? wf_at(one, i / (n * classes) * classes + i % classes)
                                     : (double)NAN);
    p.targets = wf_constant_fill(t, WF_I32, WF_SHAPE(MOST_LABELS, n), &id);
    p.labels = wf_constant_fill(t, WF_I32, WF_SHAPE(n), &length);
    for (int64_t b = 0; b < n; b++) {
        int labels = 0;
        while (labels < MOST_LABELS && first_of(labels + 1, classes - 1) <= b) labels++;
        int64_t code = b - first_of(labels, classes - 1);
        put(&length, b, labels);
        for (int i = 0; i < MOST_LABELS; i++) put(&id, i * n + b, i < labels ? 0 : -9);
        for (int i = labels - 1; i >= 0; i--, code /= classes - 1) {
            const int64_t label = code % (classes - 1);
            put(&id, i * n + b, (double)(label + (label >= blank)));
        }
    }
    wf_tensor frames;
    p.frames = wf_constant_fill(t, WF_I32, WF_SHAPE(n), &frames);
    wf_tensor_fill(&frames, time);
    return p;
}

/* The numbers of frames, classes and the blank that are tried. */
enum { TRIALS = (MOST_FRAMES + 1) * 3 * 2 };

TEST_EACH(losses_and_gradients_are_those_of_all_paths_counted_one_by_one, TRIALS)
{
    static counted c[TARGETS];
    const int time = _i % (MOST_FRAMES + 1), classes = 2 + _i / (MOST_FRAMES + 1) % 3;
    const int blank = _i / (3 * (MOST_FRAMES + 1)) ? classes - 1 : 0;
    const int64_t n = first_of(MOST_LABELS + 1, classes - 1);
    problem p = all_targets(time + 1, time, classes, blank, n);
    double probability[MOST_FRAMES][MOST_CLASSES];
    for (int i = 0; i < time; i++) {
        double sum = 0;
        for (int v = 0; v < classes; v++) sum += exp(wf_at(p.logits, i * n * classes + v));
        for (int v = 0; v < classes; v++)
            probability[i][v] = exp(wf_at(p.logits, i * n * classes + v)) / sum;
    }
    memset(c, 0, sizeof c);
    count_paths(time, classes, blank, probability, c);
    wf_var *loss = loss_of(&p), *grad = gradient(&p, loss, wf_full(t, WF_F64, WF_SHAPE(n), 1));
    int64_t fits = 0;
    for (int64_t b = 0; b < n; b++) {
        const double want = -log(c[b].all);
        fits += c[b].all > 0;
        ck_assert(isinf(want) ? wf_at(loss, b) == want
                              : fabs(wf_at(loss, b) - want) <= 1e-12 * fmax(want, 1));
        for (int64_t i = 0; i <= time; i++)
            for (int v = 0; v < classes; v++) {
                const double g = wf_at(grad, (i * n + b) * classes + v);
                if (i == time || c[b].all == 0)
                    ck_assert(g == 0);
                else
                    ck_assert(fabs(g - (probability[i][v] - c[b].visits[i][v] / c[b].all)) <=
                              1e-12);
            }
    }
    ck_assert(fits >= 1 && (time < 1 || fits > 1));
}

/* ---- PyTorch's numbers ---- */

static const wf_tensor *stored(const wf_archive *a, const char *name)
{
    const wf_tensor *x = wf_archive_find(a, name);
    ck_assert_msg(x != NULL, "the fixture has no '%s'", name);
    return x;
}

static void assert_stored(const char *what, const wf_var *got, const wf_tensor *want)
{
    ck_assert_int_eq(wf_count(got), wf_tensor_count(want));
    for (int64_t i = 0; i < wf_count(got); i++)
        ck_assert_msg(fabs(wf_at(got, i) - wf_tensor_at(want, i)) <= 1e-12,
                      "%s: %.17g is not %.17g", what, wf_at(got, i), wf_tensor_at(want, i));
}

TEST(values_and_gradients_are_pytorchs)
{
    static const char *const how[] = { "mean", "sum", "none" };
    wf_error e = { "" };
    OWN(wf_archive) *a = wf_safetensors_load(WF_SOURCE_DIR "/tests/fixtures/ctc.safetensors", &e);
    ck_assert_msg(a != NULL, "%s", e.text);
    const int64_t batch = stored(a, "frames")->dim[0];
    for (int k = 0; k < 6; k++) {
        const bool zero = k / 3;
        const int64_t n = batch - !zero; /* the last one's target does not fit */
        wf_var *z = wf_leaf_tensor(t, stored(a, "logits"));
        problem p = {
            .logits = wf_slice(t, z, 1, 0, n, 1),
            .targets = wf_slice(t, wf_constant_tensor(t, stored(a, "targets")), 1, 0, n, 1),
            .frames = wf_slice(t, wf_constant_tensor(t, stored(a, "frames")), 0, 0, n, 1),
            .labels = wf_slice(t, wf_constant_tensor(t, stored(a, "lengths")), 0, 0, n, 1),
            .o = { .blank = 2, .reduction = (wf_reduction)(k % 3), .zero_infinity = zero },
        };
        wf_var *cotangent = wf_slice(t, wf_constant_tensor(t, stored(a, "cotangent")), 0, 0, n, 1);
        char name[32], slope[40];
        snprintf(name, sizeof name, "%s%s", zero ? "zero_" : "", how[k % 3]);
        snprintf(slope, sizeof slope, "%s.grad", name);
        for (int normalised = 0; normalised < 2; normalised++) {
            problem q = p;
            if (normalised) q.logits = wf_log_softmax(t, p.logits, -1);
            wf_var *loss = loss_of(&q);
            assert_stored(name, loss, stored(a, name));
            assert_stored(slope, gradient(&p, loss, k % 3 == WF_REDUCE_NONE ? cotangent : NULL),
                          stored(a, slope));
        }
    }
}

/* ---- long sequences ---- */

TEST(sequences_of_thousands_of_frames_stay_finite_in_both_precisions)
{
    enum { LONG = 2500, CLASSES = 7, LABELS = 400, MANY = 2 };
    for (int hard = 0; hard < 2; hard++) {
        wf_var *loss[2], *grad[2];
        for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
            wf_tensor id;
            const double reach = hard ? 300 : 3; /* paths that are all but impossible */
            problem p = { .logits = drawn(t, (wf_dtype)dtype, WF_SHAPE(LONG, MANY, CLASSES), 1,
                                          -reach, reach),
                          .targets = wf_constant_fill(t, WF_I32, WF_SHAPE(LABELS, MANY), &id),
                          .o = { .reduction = WF_REDUCE_NONE } };
            for (int64_t i = 0; i < LABELS * MANY; i++)
                put(&id, i, 1 + (double)wf_random_below(2, (uint64_t)i, CLASSES - 1));
            if (dtype == WF_F64) /* rounded to floats, as those of the other */
                p.logits = wf_cast(t, wf_cast(t, p.logits, WF_F32), WF_F64);
            loss[dtype] = loss_of(&p);
            grad[dtype] = gradient(&p, loss[dtype], wf_full(t, (wf_dtype)dtype, WF_SHAPE(MANY), 1));
        }
        for (int64_t b = 0; b < MANY; b++) {
            ck_assert(isfinite(wf_at(loss[1], b)) && wf_at(loss[1], b) > 1000);
            ck_assert(fabs(wf_at(loss[0], b) / wf_at(loss[1], b) - 1) < 1e-6);
        }
        for (int64_t i = 0; i < wf_count(grad[0]); i++)
            ck_assert(fabs(wf_at(grad[0], i) - wf_at(grad[1], i)) < 2e-3);
        for (int64_t i = 0; i < LONG * MANY; i++) { /* what softmax shares out, paths use up */
            double sum = 0;
            for (int v = 0; v < CLASSES; v++) sum += wf_at(grad[1], i * CLASSES + v);
            ck_assert(fabs(sum) < 1e-8);
        }
    }
}

/* ---- edges ---- */

TEST(an_empty_target_is_all_blanks_and_of_no_frames_it_costs_nothing)
{
    problem p = { .logits = drawn(t, WF_F64, WF_SHAPE(4, 3, 3), 1, -2, 2),
                  .targets = ids(2, 3, (int32_t[]){ 7, -1, 1, 7, 0, 2 }),
                  .frames = lengths(3, (int32_t[]){ 4, 0, 0 }),
                  .labels = lengths(3, (int32_t[]){ 0, 0, 1 }),
                  .o = { .reduction = WF_REDUCE_NONE } };
    wf_var *loss = loss_of(&p), *log_p = wf_log_softmax(t, p.logits, -1);
    double blanks = 0;
    for (int64_t i = 0; i < 4; i++) blanks -= wf_at(log_p, i * 9);
    ck_assert(fabs(wf_at(loss, 0) - blanks) < 1e-12);
    ck_assert(wf_at(loss, 1) == 0 && wf_at(loss, 2) == (double)INFINITY);
    p.o.zero_infinity = true;
    loss = loss_of(&p);
    ck_assert(wf_at(loss, 1) == 0 && wf_at(loss, 2) == 0);
    p.o.reduction = WF_REDUCE_MEAN;
    ck_assert(fabs(wf_item(loss_of(&p)) - blanks / 3) < 1e-12);
}

TEST(repeated_labels_need_a_frame_more_each)
{
    const int32_t repeats[3] = { 1, 1, 1 };
    for (int time = 3; time <= 5; time++) {
        problem p = { .logits = wf_leaf(t, WF_F64, WF_SHAPE(time, 1, 2), NULL),
                      .targets = ids(3, 1, repeats),
                      .o = { .reduction = WF_REDUCE_NONE } };
        const double loss = wf_at(loss_of(&p), 0);
        ck_assert(time < 5 ? loss == (double)INFINITY : fabs(loss - 5 * log(2)) < 1e-12);
    }
}

/* What is at no step of a sequence, and what another sequence is, moves no bit of it. */
TEST(padding_full_of_nan_and_sequences_without_a_path_reach_nothing)
{
    enum { TIME = 6, BATCH = 4, CLASSES = 4 };
    const int32_t frames[BATCH] = { 4, 1, 0, 6 }, labels[BATCH] = { 2, 3, 0, 1 };
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *z = drawn(t, (wf_dtype)dtype, WF_SHAPE(TIME, BATCH, CLASSES), 1, -2, 2);
        problem p = { .logits = z,
                      .targets = ids(3, BATCH,
                                     (int32_t[]){ 1, 1, -5, 3, 2, 1, 99, 0, 99, 1, 0, 99 }),
                      .frames = lengths(BATCH, frames),
                      .labels = lengths(BATCH, labels),
                      .o = { .reduction = WF_REDUCE_NONE } };
        wf_var *ones = wf_full(t, (wf_dtype)dtype, WF_SHAPE(BATCH), 1);
        wf_var *loss = loss_of(&p), *grad = gradient(&p, loss, ones);
        p.logits = wf_leaf_tensor(t, wf_value(z));
        for (int64_t i = 0; i < TIME * BATCH * CLASSES; i++)
            if (i / (BATCH * CLASSES) >= frames[i / CLASSES % BATCH])
                put(wf_value(p.logits), i, i % 2 ? (double)NAN : (double)INFINITY);
        wf_var *same = loss_of(&p), *slope = gradient(&p, same, ones);
        ck_assert(hash_tensor(HASH, wf_value(same)) == hash_tensor(HASH, wf_value(loss)));
        ck_assert(hash_tensor(HASH, wf_value(slope)) == hash_tensor(HASH, wf_value(grad)));
        ck_assert(wf_at(loss, 1) == (double)INFINITY);
        for (int64_t i = 0; i < wf_count(grad); i++) {
            const int64_t b = i / CLASSES % BATCH;
            if (b == 1 || i / (BATCH * CLASSES) >= frames[b]) ck_assert(wf_at(grad, i) == 0);
        }
        /* Nor does the second derivative of the spelling see it. */
        wf_var *graph, *twice;
        ck_assert(wf_grad(t, 1, &same, &ones, 1, &p.logits, &graph, &with_graph));
        wf_var *norm = wf_sum(t, wf_square(t, graph), NULL);
        ck_assert(wf_grad(t, 1, &norm, NULL, 1, &p.logits, &twice, NULL));
        for (int64_t i = 0; i < wf_count(twice); i++) ck_assert(isfinite(wf_at(twice, i)));
    }
}

/* Classes that a model rules out are no paths, and no NaN. */
TEST(logits_of_minus_infinity_rule_labels_out)
{
    problem p = { .logits = wf_leaf(t, WF_F64, WF_SHAPE(3, 2, 3), NULL),
                  .targets = ids(1, 2, (int32_t[]){ 1, 2 }),
                  .o = { .reduction = WF_REDUCE_NONE } };
    for (int64_t i = 0; i < 6; i++) put(wf_value(p.logits), 3 * i + 2, -(double)INFINITY);
    wf_var *loss = loss_of(&p), *grad = gradient(&p, loss, wf_full(t, WF_F64, WF_SHAPE(2), 1));
    ck_assert(fabs(wf_at(loss, 0) - log(8.0 / 6)) < 1e-12); /* 1 at any run of the three frames */
    ck_assert(wf_at(loss, 1) == (double)INFINITY);
    for (int64_t i = 0; i < wf_count(grad); i++)
        ck_assert(isfinite(wf_at(grad, i)) && (i / 3 % 2 == 0 || wf_at(grad, i) == 0));
}

/* ---- decoding ---- */

/* The likeliest `n` labellings of all_targets' counts, as their losses say. */
static int by_loss(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

TEST_EACH(a_wide_beam_finds_all_labellings_and_their_exact_probabilities, MOST_LABELS)
{
    enum { FRAMES = 4, CLASSES = 4 };
    const int time = 1 + _i;
    const int64_t n = first_of(MOST_LABELS + 1, CLASSES - 1);
    problem p = all_targets(FRAMES, time, CLASSES, 0, n);
    wf_var *loss = loss_of(&p);
    double want[TARGETS];
    for (int64_t b = 0; b < n; b++) want[b] = wf_at(loss, b);
    qsort(want, (size_t)n, sizeof *want, by_loss);
    wf_ctc_decoded found = { 0 };
    wf_error e = { "" };
    const wf_ctc_decode_options o = { .beam = 1000, .best = 1000 };
    wf_var *one = wf_slice(t, p.logits, 1, 0, 1, 1); /* all sequences are this one */
    const int32_t length[1] = { time };
    const wf_tensor lengths_of_one = wf_tensor_of(WF_I32, WF_SHAPE(1), (void *)(uintptr_t)length);
    ck_assert_msg(wf_ctc_decode(&found, wf_value(one), &lengths_of_one, &o, &e), "%s", e.text);
    for (int64_t k = 0; k < 1000; k++) {
        const wf_ctc_labelling *y = &found.at[k];
        if (k >= n || want[k] == (double)INFINITY) {
            ck_assert(y->n == -1 && y->log_p == never);
            continue;
        }
        ck_assert(y->n >= 0 && fabs(y->log_p + want[k]) < 1e-12);
        wf_var *own = wf_ctc_loss(t, one, ids(y->n, 1, y->at), lengths(1, length), NULL,
                                  &(wf_ctc_options){ .reduction = WF_REDUCE_SUM });
        ck_assert_msg(fabs(wf_item(own) + y->log_p) < 1e-12, "%s", wf_tape_error(t));
    }
    wf_ctc_decoded_free(&found);
}

TEST(the_best_path_is_the_likeliest_class_of_each_frame_collapsed)
{
    enum { TIME = 7 };
    const int32_t path[TIME] = { 0, 2, 2, 0, 2, 1, 1 }, length[2] = { 7, 4 };
    wf_var *z = wf_leaf(t, WF_F32, WF_SHAPE(TIME, 2, 3), NULL);
    for (int i = 0; i < TIME; i++)
        for (int b = 0; b < 2; b++) put(wf_value(z), (i * 2 + b) * 3 + path[i], 2);
    for (int64_t i = 4; i < TIME; i++) put(wf_value(z), (i * 2 + 1) * 3, (double)NAN);
    const wf_tensor n = wf_tensor_of(WF_I32, WF_SHAPE(2), (void *)(uintptr_t)length);
    wf_ctc_decoded found = { 0 };
    wf_error e = { "" };
    ck_assert_msg(wf_ctc_decode(&found, wf_value(z), &n, NULL, &e), "%s", e.text);
    ck_assert(found.batch == 2 && found.best == 1 && found.at[0].n == 3 && found.at[1].n == 1);
    ck_assert(!memcmp(found.at[0].at, (int32_t[]){ 2, 2, 1 }, 12) && found.at[1].at[0] == 2);
    ck_assert(fabs(found.at[0].log_p - 7 * (2 - log(exp(2) + 2))) < 1e-6);
    const void *memory = found.memory;
    ck_assert(wf_ctc_decode(&found, wf_value(z), &n, NULL, &e) && found.memory == memory);
    wf_ctc_decoded_free(&found);
    ck_assert(!found.memory && !found.at);
}

/* Batched is alone, and a beam never loses to the best path that it contains. */
TEST(a_batch_is_decoded_as_its_sequences_are_one_by_one)
{
    enum { TIME = 30, MANY = 3, CLASSES = 6 };
    const int32_t length[MANY] = { 30, 0, 17 };
    wf_var *z = drawn(t, WF_F64, WF_SHAPE(TIME, MANY, CLASSES), 5, -3, 3);
    const wf_tensor n = wf_tensor_of(WF_I32, WF_SHAPE(MANY), (void *)(uintptr_t)length);
    const wf_ctc_decode_options o = { .beam = 8, .best = 4, .blank = 5 };
    wf_ctc_decoded all = { 0 }, one = { 0 };
    wf_error e = { "" };
    ck_assert(wf_ctc_decode(&all, wf_value(z), &n, &o, &e));
    for (int64_t b = 0; b < MANY; b++) {
        wf_var *own = wf_slice(t, wf_slice(t, z, 1, b, b + 1, 1), 0, 0, length[b], 1);
        ck_assert(wf_ctc_decode(&one, wf_value(own), NULL, &o, &e));
        for (int k = 0; k < 4; k++) {
            const wf_ctc_labelling *x = &all.at[4 * b + k], *y = &one.at[k];
            ck_assert(x->n == y->n && x->log_p == y->log_p);
            for (int64_t i = 0; i < x->n; i++) ck_assert(x->at[i] == y->at[i]);
        }
    }
    ck_assert(all.at[4].n == 0 && all.at[4].log_p == 0 && all.at[5].n == -1);
    wf_ctc_decoded_free(&all);
    wf_ctc_decoded_free(&one);
}

TEST(what_cannot_be_decoded_is_one_sentence)
{
    wf_var *z = drawn(t, WF_F64, WF_SHAPE(2, 1, 3), 5, -3, 3);
    wf_ctc_decoded found = { 0 };
    wf_error e = { "" };
    const struct {
        wf_ctc_decode_options o;
        const char *says;
    } tried[] = {
        { { .blank = 3 }, "ctc_decode: .blank is 3; there are 3 classes" },
        { { .beam = -1 }, "ctc_decode: .beam is -1; it must be 0 or more" },
        { { .beam = 2, .best = 3 }, "ctc_decode: .best is 3; it must be from 0 to 2, which go on" },
    };
    for (int k = 0; k < 3; k++) {
        ck_assert(!wf_ctc_decode(&found, wf_value(z), NULL, &tried[k].o, &e));
        ck_assert_str_eq(e.text, tried[k].says);
    }
    put(wf_value(z), 4, (double)NAN);
    ck_assert(!wf_ctc_decode(&found, wf_value(z), NULL, NULL, &e));
    ck_assert_str_eq(e.text, "ctc_decode: the logit at (1, 0, 1) is nan");
    ck_assert_ptr_null(found.memory);
}

/* ---- forced alignment ---- */

/* What a path of `time` frames reads: is it the first n labels of column b? */
static bool reads(const problem *p, const wf_var *path, int64_t time, int64_t b, int64_t n)
{
    const int64_t batch = wf_dim(path, 1);
    int64_t read = 0;
    double before = p->o.blank;
    for (int64_t i = 0; i < time; i++) {
        const double id = wf_at(path, i * batch + b);
        if (id != p->o.blank && id != before) {
            if (read == n || id != wf_at(p->targets, read * batch + b)) return false;
            read++;
        }
        before = id;
    }
    return read == n;
}

/* The probability of the likeliest path to each target, all paths one by one. */
static void best_paths(int time, int classes, int blank, const wf_var *log_p, double *best)
{
    int64_t paths = 1;
    for (int i = 0; i < TARGETS; i++) best[i] = never;
    for (int i = 0; i < time; i++) paths *= classes;
    for (int64_t path = 0; path < paths; path++) {
        int n = 0, before = blank;
        double sum = 0;
        int64_t rest = path, code = 0;
        for (int i = 0; i < time; i++, rest /= classes) {
            const int at = (int)(rest % classes);
            sum += wf_at(log_p, i * classes + at);
            if (at != blank && at != before) {
                code = code * (classes - 1) + (at - (at > blank));
                n++;
            }
            before = at;
        }
        if (n > MOST_LABELS) continue;
        double *of = &best[first_of(n, classes - 1) + code];
        if (sum > *of) *of = sum;
    }
}

TEST_EACH(an_alignment_is_the_likeliest_of_all_paths_that_read_as_the_target, TRIALS)
{
    static double best[TARGETS];
    const int time = _i % (MOST_FRAMES + 1), classes = 2 + _i / (MOST_FRAMES + 1) % 3;
    const int blank = _i / (3 * (MOST_FRAMES + 1)) ? classes - 1 : 0;
    const int64_t n = first_of(MOST_LABELS + 1, classes - 1);
    problem p = all_targets(time + 1, time, classes, blank, n);
    wf_var *one = wf_slice(t, p.logits, 1, 0, 1, 1), *log_p, *score;
    wf_var *path = wf_ctc_align(t, p.logits, p.targets, p.frames, p.labels, &p.o, &log_p, &score);
    ck_assert_msg(path && log_p && score, "%s", wf_tape_error(t));
    best_paths(time, classes, blank, wf_log_softmax(t, one, -1), best);
    for (int64_t b = 0; b < n; b++) {
        double sum = 0;
        for (int64_t i = 0; i <= time; i++) {
            const double id = wf_at(path, i * n + b), each = wf_at(log_p, i * n + b);
            if (i == time || best[b] == never) ck_assert(id == -1 && each == 0);
            sum += each;
        }
        if (best[b] == never) {
            ck_assert(wf_at(score, b) == never);
            continue;
        }
        ck_assert(fabs(wf_at(score, b) - best[b]) <= 1e-12 && fabs(sum - best[b]) <= 1e-12);
        ck_assert(reads(&p, path, time, b, (int64_t)wf_at(p.labels, b)));
    }
}

/* A batch is its sequences alone, in either precision, and no path is likelier than all of them. */
TEST_EACH(a_batch_is_aligned_as_its_sequences_are_one_by_one, 2)
{
    enum { TIME = 40, MANY = 4, LABELS = 7, CLASSES = 5 };
    const int32_t frames[MANY] = { 40, 17, 0, 9 }, labels[MANY] = { 7, 5, 0, 3 };
    const wf_dtype dtype = _i ? WF_F32 : WF_F64;
    problem p = { .logits = drawn(t, dtype, WF_SHAPE(TIME, MANY, CLASSES), 5, -3, 3),
                  .targets = wf_zeros(t, WF_I32, WF_SHAPE(LABELS, MANY)),
                  .frames = lengths(MANY, frames),
                  .labels = lengths(MANY, labels),
                  .o = { .reduction = WF_REDUCE_NONE } };
    for (int i = 0; i < LABELS * MANY; i++)
        put(wf_value(p.targets), i, i / MANY < labels[i % MANY] ? 1 + i % 3 % 2 : -1);
    for (int64_t i = 0; i < wf_count(p.logits); i++)
        if (i / (MANY * CLASSES) >= frames[i / CLASSES % MANY])
            put(wf_value(p.logits), i, (double)NAN);
    wf_var *loss = loss_of(&p), *log_p, *score, *own_score;
    wf_var *path = wf_ctc_align(t, p.logits, p.targets, p.frames, p.labels, &p.o, &log_p, &score);
    ck_assert_msg(path && wf_dtype_of(log_p) == dtype, "%s", wf_tape_error(t));
    for (int64_t b = 0; b < MANY; b++) {
        wf_var *z = wf_slice(t, wf_slice(t, p.logits, 1, b, b + 1, 1), 0, 0, frames[b], 1);
        wf_var *y = wf_slice(t, wf_slice(t, p.targets, 1, b, b + 1, 1), 0, 0, labels[b], 1);
        wf_var *own = wf_ctc_align(t, z, y, NULL, NULL, NULL, NULL, &own_score);
        ck_assert(wf_at(own_score, 0) == wf_at(score, b));
        ck_assert(wf_at(score, b) <= -wf_at(loss, b) + 1e-5);
        ck_assert(reads(&p, path, frames[b], b, labels[b]));
        for (int64_t i = 0; i < TIME; i++)
            ck_assert(wf_at(path, i * MANY + b) == (i < frames[b] ? wf_at(own, i) : -1));
    }
    ck_assert(wf_at(score, 2) == 0);
}

TEST(what_cannot_be_aligned_is_one_sentence)
{
    static const struct {
        int32_t id, frames, labels, blank;
        const char *says;
    } tried[] = {
        { 0, 4, 1, 0, "ctc_align: target 0 at (0, 1) is the blank" },
        { 3, 4, 1, 0, "ctc_align: target 3 at (0, 1) is out of range: there are 3 classes" },
        { 2, 5, 1, 0, "ctc_align: input lengths: lengths[1] is 5; it must be from 0 to 4" },
        { 2, 4, 2, 0, "ctc_align: target lengths: lengths[1] is 2; it must be from 0 to 1" },
        { 2, 4, 1, 3, "ctc_align: .blank is 3; there are 3 classes" },
    };
    for (int k = 0; k < (int)(sizeof tried / sizeof *tried); k++) {
        const wf_ctc_options o = { .blank = tried[k].blank };
        ck_assert_ptr_null(wf_ctc_align(
            t, drawn(t, WF_F64, WF_SHAPE(4, 2, 3), 1, -1, 1),
            ids(1, 2, (int32_t[]){ 1, tried[k].id }), lengths(2, (int32_t[]){ 4, tried[k].frames }),
            lengths(2, (int32_t[]){ 1, tried[k].labels }), &o, NULL, NULL));
        assert_fails(t, tried[k].says);
    }
    wf_var *z = drawn(t, WF_F64, WF_SHAPE(4, 2, 3), 1, -1, 1);
    const int32_t good[2] = { 1, 2 };
    ck_assert_ptr_null(wf_ctc_align(t, z, ids(2, 1, good), NULL, NULL, NULL, NULL, NULL));
    assert_fails(t, "ctc_align: logits are f64 (4, 2, 3) and targets i32 (2, 1); expected floats "
                    "(frames, sequences, classes) and i32 (labels, sequences)");
    z = wf_full(t, WF_F64, WF_SHAPE(4, 2, 3), (double)NAN);
    ck_assert_ptr_null(wf_ctc_align(t, z, ids(1, 2, good), NULL, NULL, NULL, NULL, NULL));
    assert_fails(t, "ctc_align: the logit at (0, 0, 0) is nan");
}

/* ---- what is refused ---- */

TEST(what_it_cannot_take_is_one_sentence)
{
    wf_var *z = drawn(t, WF_F64, WF_SHAPE(4, 2, 3), 1, -1, 1);
    const int32_t good[2] = { 1, 2 };
    static const struct {
        int32_t id, frames, labels, blank;
        const char *says;
    } tried[] = {
        { 0, 4, 1, 0, "ctc_loss: target 0 at (0, 1) is the blank" },
        { 3, 4, 1, 0, "ctc_loss: target 3 at (0, 1) is out of range: there are 3 classes" },
        { -1, 4, 1, 0, "ctc_loss: target -1 at (0, 1) is out of range: there are 3 classes" },
        { 2, 5, 1, 0, "ctc_loss: input lengths[1] is 5; it must be from 0 to 4" },
        { 2, 4, 2, 0, "ctc_loss: target lengths[1] is 2; it must be from 0 to 1" },
        { 2, 4, 1, 3, "ctc_loss: the blank is 3; there are 3 classes" },
        { 2, 4, 1, -1, "ctc_loss: the blank is -1; there are 3 classes" },
    };
    for (int k = 0; k < (int)(sizeof tried / sizeof *tried); k++) {
        z = drawn(t, WF_F64, WF_SHAPE(4, 2, 3), 1, -1, 1);
        problem p = { .logits = z,
                      .targets = ids(1, 2, (int32_t[]){ 1, tried[k].id }),
                      .frames = lengths(2, (int32_t[]){ 4, tried[k].frames }),
                      .labels = lengths(2, (int32_t[]){ 1, tried[k].labels }),
                      .o = { .blank = tried[k].blank } };
        ck_assert_ptr_null(loss_of(&p));
        assert_fails(t, tried[k].says);
    }
    z = drawn(t, WF_F64, WF_SHAPE(4, 2, 3), 1, -1, 1);
    ck_assert_ptr_null(wf_ctc_loss(t, z, ids(2, 1, good), NULL, NULL, NULL));
    assert_fails(t, "ctc_loss: logits are (4, 2, 3) and targets (2, 1); expected (frames, "
                    "sequences, classes) and (labels, sequences)");
}

const harness_suite suite = { .before = set_up, .after = tear_down };
