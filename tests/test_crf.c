/* The linear-chain conditional random field: loss, gradients, best sequences and marginals against
 * all tag sequences one by one; what is forbidden, empty or past an end. */
#include "tests/tape.h"

#include <math.h>
#include <string.h>

enum { STEPS = 6, TAGS = 4, BATCH = 4 };

typedef struct problem {
    wf_crf *crf;
    wf_var *e, *tags, *lengths;
    int64_t n;
    int32_t length[BATCH], right[STEPS * BATCH];
} problem;

/* Weights and emissions of any size; some transitions are forbidden. Sequences of 0, 1, 2, ...
 * steps, with NaN and no tags behind them. */
static problem made(int64_t n, bool forbidden)
{
    problem p = { .n = n, .length = { 5, 0, 1, 3 } };
    p.crf = wf_crf_new(net, "crf", &(wf_crf_options){ .tags = n });
    ck_assert_ptr_nonnull(p.crf);
    wf_var *const w[3] = { p.crf->transitions, p.crf->start_transitions, p.crf->end_transitions };
    for (int k = 0; k < 3; k++) {
        wf_var *x = drawn(t, WF_F64, wf_shape_of(w[k]), (uint64_t)k + 7, -2, 2);
        for (int64_t i = 0; i < wf_count(x); i++) put(wf_param_value(w[k]), i, wf_at(x, i));
        wf_param_changed(w[k]);
    }
    if (forbidden && n > 1) put(wf_param_value(w[0]), 1, -(double)INFINITY); /* 0 to 1 */
    p.e = drawn(t, WF_F64, WF_SHAPE(STEPS, BATCH, n), 3, -2, 2);
    for (int i = 0; i < STEPS * BATCH; i++) {
        const bool there = i / BATCH < p.length[i % BATCH];
        p.right[i] = there ? (int32_t)(i % 3 % n) : -7;
        if (there && forbidden) p.right[i] = 0;
        for (int64_t k = 0; !there && k < n; k++) put(wf_value(p.e), i * n + k, (double)NAN);
    }
    p.tags = wf_constant(t, WF_I32, WF_SHAPE(STEPS, BATCH), p.right);
    p.lengths = wf_constant(t, WF_I32, WF_SHAPE(BATCH), p.length);
    return p;
}

/* What is counted over all tag sequences of one length. */
typedef struct counted {
    double all, right, best;
    double tag[STEPS][TAGS], pair[TAGS][TAGS], first[TAGS], last[TAGS]; /* sums of exp(score) */
    int path[STEPS];                                                    /* the best */
} counted;

static counted count_paths(const problem *p, int64_t b)
{
    counted c = { .best = -(double)INFINITY };
    const int length = p->length[b];
    int64_t paths = 1;
    for (int i = 0; i < length; i++) paths *= p->n;
    for (int64_t path = 0; path < paths; path++) {
        int at[STEPS] = { 0 };
        int64_t rest = path;
        bool right = true;
        double score = 0;
        for (int i = 0; i < length; i++, rest /= p->n) {
            at[i] = (int)(rest % p->n);
            right = right && at[i] == p->right[i * BATCH + b];
            score += wf_at(p->e, (i * BATCH + b) * p->n + at[i]);
            score += i ? wf_at(p->crf->transitions, at[i - 1] * p->n + at[i])
                       : wf_at(p->crf->start_transitions, at[0]);
        }
        if (length > 0) score += wf_at(p->crf->end_transitions, at[length - 1]);
        const double weight_of = exp(score);
        c.all += weight_of;
        if (right) c.right = score;
        if (score > c.best) memcpy(c.path, at, sizeof at), c.best = score;
        for (int i = 0; i < length; i++) {
            c.tag[i][at[i]] += weight_of;
            if (i) c.pair[at[i - 1]][at[i]] += weight_of;
        }
        if (length > 0) c.first[at[0]] += weight_of, c.last[at[length - 1]] += weight_of;
    }
    return c;
}

static void near(double got, double want)
{
    ck_assert_msg(fabs(got - want) <= 1e-11 * fmax(1, fabs(want)), "%.17g is not %.17g", got, want);
}

TEST_EACH(losses_gradients_best_sequences_and_marginals_are_those_of_all_paths, 2 * TAGS)
{
    const problem p = made(1 + _i / 2, _i % 2);
    const wf_crf_loss_options each = { .reduction = WF_REDUCE_NONE };
    wf_var *loss = wf_crf_forward(t, p.crf, p.e, p.tags, p.lengths, &each), *score;
    wf_var *best = wf_crf_decode(t, p.crf, p.e, p.lengths, &score),
           *chance = wf_crf_marginals(t, p.crf, p.e, p.lengths);
    wf_var *sum = wf_sum(t, loss, NULL), *grad[4];
    wf_var *const wrt[4] = { p.e, p.crf->transitions, p.crf->start_transitions,
                             p.crf->end_transitions };
    ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
    ck_assert(wf_grad(t, 1, &sum, NULL, 4, wrt, grad, NULL));
    double pair[TAGS][TAGS] = { { 0 } }, first[TAGS] = { 0 }, last[TAGS] = { 0 };
    for (int64_t b = 0; b < BATCH; b++) {
        const counted c = count_paths(&p, b);
        const int length = p.length[b];
        near(wf_at(loss, b), length ? log(c.all) - c.right : 0);
        near(wf_at(score, b), length ? c.best : 0);
        for (int i = 0; i < STEPS; i++) {
            ck_assert_int_eq((int)wf_at(best, i * BATCH + b), i < length ? c.path[i] : 0);
            const int right = p.right[i * BATCH + b];
            for (int64_t k = 0; k < p.n; k++) {
                const int64_t at = (i * BATCH + b) * p.n + k;
                if (i >= length) {
                    ck_assert(wf_at(grad[0], at) == 0 && wf_at(chance, at) == 0);
                    continue;
                }
                near(wf_at(chance, at), c.tag[i][k] / c.all);
                near(wf_at(grad[0], at), c.tag[i][k] / c.all - (k == right));
            }
            if (i > 0 && i < length) pair[p.right[(i - 1) * BATCH + b]][right] -= 1;
            if (i == 0 && length > 0) first[right] -= 1;
            if (i == length - 1) last[right] -= 1;
        }
        for (int64_t k = 0; length > 0 && k < p.n; k++) {
            first[k] += c.first[k] / c.all, last[k] += c.last[k] / c.all;
            for (int64_t j = 0; j < p.n; j++) pair[k][j] += c.pair[k][j] / c.all;
        }
    }
    for (int64_t k = 0; k < p.n; k++) {
        near(wf_at(grad[2], k), first[k]), near(wf_at(grad[3], k), last[k]);
        for (int64_t j = 0; j < p.n; j++) near(wf_at(grad[1], k * p.n + j), pair[k][j]);
    }
}

TEST(means_are_over_sequences_or_over_their_steps)
{
    const problem p = made(3, false);
    wf_crf_loss_options o = { .reduction = WF_REDUCE_SUM };
    const double sum = wf_item(wf_crf_forward(t, p.crf, p.e, p.tags, p.lengths, &o));
    near(wf_item(wf_crf_forward(t, p.crf, p.e, p.tags, p.lengths, NULL)), sum / BATCH);
    o = (wf_crf_loss_options){ .per_token = true };
    near(wf_item(wf_crf_forward(t, p.crf, p.e, p.tags, p.lengths, &o)), sum / (5 + 0 + 1 + 3));
}

TEST(where_no_sequence_is_allowed_the_loss_is_infinite_and_nothing_is_nan)
{
    const problem p = made(2, false);
    wf_crf_loss_options o = { .reduction = WF_REDUCE_NONE };
    for (int i = 0; i < 4; i++) put(wf_param_value(p.crf->transitions), i, -(double)INFINITY);
    wf_param_changed(p.crf->transitions);
    wf_var *loss = wf_crf_forward(t, p.crf, p.e, p.tags, p.lengths, &o), *score;
    wf_var *chance = wf_crf_marginals(t, p.crf, p.e, p.lengths);
    ck_assert_ptr_nonnull(wf_crf_decode(t, p.crf, p.e, p.lengths, &score));
    ck_assert(wf_at(loss, 0) == (double)INFINITY && wf_at(score, 0) == -(double)INFINITY);
    ck_assert(wf_at(loss, 1) == 0 && isfinite(wf_at(loss, 2)) && wf_at(loss, 3) == wf_at(loss, 0));
    wf_var *ones = wf_full(t, WF_F64, WF_SHAPE(BATCH), 1), *grad[2];
    wf_var *const wrt[2] = { p.e, p.crf->transitions };
    ck_assert(wf_grad(t, 1, &loss, &ones, 2, wrt, grad, NULL));
    for (int64_t i = 0; i < wf_count(grad[0]); i++) {
        ck_assert(isfinite(wf_at(grad[0], i)) && isfinite(wf_at(chance, i)));
        if (i / 2 % BATCH != 2) ck_assert(wf_at(grad[0], i) == 0);
    }
    for (int64_t i = 0; i < 4; i++) ck_assert(wf_at(grad[1], i) == 0);
}

TEST(sequences_of_thousands_of_steps_stay_finite_in_both_precisions)
{
    enum { LONG = 2500 };
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *e = drawn(t, (wf_dtype)dtype, WF_SHAPE(LONG, 2, 5), 1, -300, 300),
               *w = drawn(t, (wf_dtype)dtype, WF_SHAPE(5, 5), 2, -300, 300),
               *ends = drawn(t, (wf_dtype)dtype, WF_SHAPE(5), 3, -3, 3), *grad;
        wf_var *loss = wf_crf_loss(t, e, w, ends, ends, wf_zeros(t, WF_I32, WF_SHAPE(LONG, 2)),
                                   NULL, NULL);
        ck_assert(isfinite(wf_item(loss)) && wf_item(loss) > LONG);
        ck_assert(wf_grad(t, 1, &loss, NULL, 1, &e, &grad, NULL));
        for (int64_t i = 0; i < wf_count(grad); i++) ck_assert(fabs(wf_at(grad, i)) <= 0.5001);
    }
}

static bool checked_loss(wf_tape *tape, void *context, wf_var *const in[], wf_var *out[8], int *n)
{
    const problem *p = context;
    *n = 1;
    out[0] = wf_crf_forward(tape, p->crf, in[0],
                            wf_constant(tape, WF_I32, WF_SHAPE(STEPS, BATCH), p->right),
                            wf_constant(tape, WF_I32, WF_SHAPE(BATCH), p->length), NULL);
    return out[0] != NULL;
}

TEST(a_layer_in_floats_is_proved_in_double)
{
    problem p = made(3, false);
    wf_tensor e = *wf_value(p.e);
    for (int64_t i = 0; i < wf_tensor_count(&e); i++)
        if (isnan(wf_tensor_at(&e, i))) put(&e, i, 1); /* differences would be NaN */
    assert_proved(wf_gradcheck(checked_loss, &p, 1, &e, &(wf_check_options){ .module = net }));
}

TEST(what_it_cannot_take_is_one_sentence)
{
    wf_crf *crf = wf_crf_new(net, "crf", &(wf_crf_options){ .tags = 3 });
    wf_var *e = drawn(t, WF_F64, WF_SHAPE(2, 1, 4), 1, -1, 1);
    ck_assert_ptr_null(wf_crf_decode(t, crf, e, NULL, NULL));
    assert_fails(t, "crf 'crf': emissions are (2, 1, 4); expected (steps, sequences, 3)");
    e = drawn(t, WF_F64, WF_SHAPE(2, 1, 3), 1, -1, 1);
    wf_var *tags = wf_constant(t, WF_I32, WF_SHAPE(2, 1), (int32_t[]){ 0, 3 });
    ck_assert_ptr_null(wf_crf_forward(t, crf, e, tags, NULL, NULL));
    assert_fails(t, "crf_loss: tag 3 at (1, 0) is out of range: there are 3 tags\n  in crf");
    ck_assert_ptr_null(wf_crf_new(net, "none", NULL));
    wf_error error;
    ck_assert(!wf_module_ok(net, &error));
    ck_assert_str_eq(error.text, "crf 'none': .tags is 0; it must be 1 or more");
}

const harness_suite suite = { .before = set_up, .after = tear_down };
