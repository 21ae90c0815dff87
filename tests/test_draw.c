/* Ops that draw: how often each id comes, against what it should (chi-square, fixed seeds), special
 * weights, layouts, and draws in a loop whose rows are shared by threads. */
#include "autograd/ops.h"
#include "autograd/scan.h"
#include "autograd/views.h"
#include "tests/programs.h"
#include "tests/tape.h"

#include <math.h>
#include <string.h>

/* Pearson's statistic of counts n[i] of what should come `all` p[i] times, over its expectation:
 * what is likely is near 1. Where p is 0 nothing may come. */
static double chi_square(int classes, const int64_t *n, const double *p, double all)
{
    double x = 0;
    int free = -1;
    for (int i = 0; i < classes; i++) {
        if (p[i] == 0) ck_assert_msg(n[i] == 0, "%d came %lld times", i, (long long)n[i]);
        if (p[i] == 0) continue;
        x += pow((double)n[i] - all * p[i], 2) / (all * p[i]);
        free++;
    }
    return x / free;
}

/* With `classes` - 1 degrees of freedom: within five standard deviations of what is expected. */
static void assert_likely(int classes, const int64_t *n, const double *p, double all)
{
    const double x = chi_square(classes, n, p, all), sd = sqrt(2.0 / (classes - 1));
    ck_assert_msg(fabs(x - 1) < 5 * sd, "chi-square / degrees of freedom is %g, allowed 1 +- %g", x,
                  5 * sd);
}

/* ---- categorical ---- */

enum { ROWS = 20000, MOST = 1000 };

/* Logits whose softmax is p (V), for ROWS rows; strides of 0 are no matter. */
static wf_var *rows_of(wf_dtype dtype, int classes, const double *logit)
{
    wf_var *one = wf_cast(t, wf_leaf(t, WF_F64, WF_SHAPE(classes), logit), dtype);
    return wf_expand(t, one, WF_SHAPE(ROWS, classes));
}

static void weigh(int classes, double *logit, double *p)
{
    double all = 0;
    for (int i = 0; i < classes; i++) all += p[i] = exp(logit[i]);
    for (int i = 0; i < classes; i++) p[i] /= all;
}

TEST(ids_come_as_often_as_softmax_says)
{
    static const int sizes[] = { 2, 7, 64, 65, 500 };
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++)
        for (int k = 0; k < 5; k++) {
            const int classes = sizes[k];
            double logit[MOST], p[MOST];
            int64_t n[MOST] = { 0 };
            for (int i = 0; i < classes; i++) logit[i] = (i * 37 % 11) * 0.25 + 50;
            if (classes > 7) logit[3] = logit[classes - 1] = -(double)INFINITY;
            weigh(classes, logit, p);
            wf_var *ids = wf_categorical(t, rows_of((wf_dtype)dtype, classes, logit));
            ck_assert_int_eq(wf_count(ids), ROWS);
            ck_assert_int_eq(wf_dtype_of(ids), WF_I32);
            for (int64_t i = 0; i < ROWS; i++) n[(int)wf_at(ids, i)]++;
            assert_likely(classes, n, p, ROWS);
        }
}

/* Neighbours have nothing to do with one another: pairs come as often as the product says. */
TEST(rows_are_drawn_apart_and_so_are_rows_of_rows)
{
    double logit[3] = { 0, 1, 0.5 }, p[3], pair[9];
    weigh(3, logit, p);
    wf_var *x = rows_of(WF_F64, 3, logit);
    for (int inner = 1; inner <= 4; inner *= 4) {
        int64_t n[9] = { 0 };
        for (int i = 0; i < 9; i++) pair[i] = p[i / 3] * p[i % 3];
        wf_var *ids = wf_categorical(t, wf_reshape(t, x, WF_SHAPE(ROWS / inner, inner, 3)));
        for (int64_t i = 0; i < ROWS; i += 2) n[(int)(3 * wf_at(ids, i) + wf_at(ids, i + 1))]++;
        assert_likely(9, n, pair, ROWS / 2.0);
    }
}

TEST(a_seed_a_step_and_the_place_on_the_tape_say_what_is_drawn)
{
    wf_var *x = drawn(t, WF_F32, WF_SHAPE(300, 9), 1, -1, 1);
    wf_var *a = wf_categorical(t, x), *b = wf_categorical(t, x);
    int32_t first[300];
    memcpy(first, wf_data(a), sizeof first);
    ck_assert(memcmp(first, wf_data(b), sizeof first) != 0);
    for (int step = 0; step < 2; step++) {
        wf_tape_reset(t);
        wf_tape_set_step(t, (uint64_t)step);
        wf_tape_set_mode(t, step ? WF_TRAIN : WF_INFER); /* in every mode the same */
        x = drawn(t, WF_F32, WF_SHAPE(300, 9), 1, -1, 1);
        ck_assert_int_eq(memcmp(first, wf_data(wf_categorical(t, x)), sizeof first) == 0,
                         step == 0);
    }
}

TEST(a_layout_and_where_rows_begin_do_not_matter)
{
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *x = drawn(t, (wf_dtype)dtype, WF_SHAPE(70, 131), 1, -3, 3);
        wf_var *layout[] = { x, wf_transpose(t, wf_copy(t, wf_transpose(t, x, 0, 1)), 0, 1),
                             wf_slice(t, wf_concat(t, 1, WF_VARS(x, x)), 1, 131, 262, 1) };
        int32_t first[70];
        for (int k = 0; k < 3; k++) {
            wf_tape *other = wf_tape_new(&(wf_tape_options){ .seed = 11 });
            wf_tensor form = *wf_value(layout[k]);
            wf_var *ids = wf_categorical(other, wf_leaf_tensor(other, &form));
            if (k == 0) memcpy(first, wf_data(ids), sizeof first);
            ck_assert(memcmp(first, wf_data(ids), sizeof first) == 0);
            wf_tape_free(other);
        }
    }
}

TEST(what_is_beyond_numbers_is_chosen_as_argmax_chooses)
{
    enum { N = 200 };
    const double inf = (double)INFINITY, nan = (double)NAN;
    const int at[4][3] = { { -1, -1, -1 }, { 100, -1, -1 }, { 60, 150, -1 }, { 60, 150, 70 } };
    const double what[4][3] = { { 0 }, { inf }, { inf, inf }, { inf, inf, nan } };
    const int want[4] = { 0, 100, 60, 70 };
    double x[4][N];
    for (int r = 0; r < 4; r++) {
        for (int i = 0; i < N; i++) x[r][i] = r ? i % 7 : -inf;
        for (int k = 0; k < 3; k++)
            if (at[r][k] >= 0) x[r][at[r][k]] = what[r][k];
    }
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *v = wf_cast(t, wf_leaf(t, WF_F64, WF_SHAPE(4, N), x), (wf_dtype)dtype);
        wf_var *ids = wf_categorical(t, v), *most = wf_argmax(t, v, -1);
        for (int r = 0; r < 4; r++) {
            ck_assert_double_eq(wf_at(ids, r), want[r]);
            ck_assert_double_eq(wf_at(most, r), want[r]);
        }
    }
}

/* ---- several of a row ---- */

TEST(with_replacement_ids_come_as_often_as_weights_say)
{
    enum { V = 13, N = 50000 };
    double w[V], p[V], all = 0;
    for (int i = 0; i < V; i++) all += w[i] = i % 4 == 1 ? 0 : (i % 5 + 1) * 0.3;
    for (int i = 0; i < V; i++) p[i] = w[i] / all;
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++)
        for (int huge = 0; huge < 2; huge++) {
            wf_var *x = wf_mul_scalar(t, wf_leaf(t, WF_F64, WF_SHAPE(V), w), huge ? 1e37 : 1);
            wf_var *ids = wf_multinomial(t, wf_cast(t, x, (wf_dtype)dtype), N, true);
            int64_t n[V] = { 0 };
            ck_assert_int_eq(wf_count(ids), N);
            for (int64_t i = 0; i < N; i++) n[(int)wf_at(ids, i)]++;
            assert_likely(V, n, p, N);
        }
}

/* The first by its weight, the second by its weight among those that are left. */
TEST(without_replacement_pairs_come_as_often_as_drawing_one_by_one_says)
{
    enum { V = 5 };
    const double w[V] = { 1, 0, 3, 0.5, 2 };
    double p[V * V] = { 0 };
    for (int i = 0; i < V; i++)
        for (int k = 0; k < V; k++)
            if (i != k && w[i] > 0) p[i * V + k] = w[i] / 6.5 * w[k] / (6.5 - w[i]);
    wf_var *x = wf_expand(t, wf_leaf(t, WF_F64, WF_SHAPE(V), w), WF_SHAPE(ROWS / 4, 4, V));
    wf_var *ids = wf_multinomial(t, x, 2, false), *four = wf_multinomial(t, x, 4, false);
    int64_t n[V * V] = { 0 };
    for (int64_t i = 0; i < ROWS; i++) n[(int)(wf_at(ids, 2 * i) * V + wf_at(ids, 2 * i + 1))]++;
    int pairs = 0;
    for (int i = 0; i < V * V; i++) pairs += p[i] > 0;
    ck_assert_int_eq(pairs, 12);
    const double chance = chi_square(V * V, n, p, ROWS), sd = sqrt(2.0 / (pairs - 1));
    ck_assert_msg(fabs(chance - 1) < 5 * sd, "chi-square / degrees of freedom is %g", chance);
    for (int64_t i = 0; i < ROWS; i++) { /* all that have weight, each once */
        int seen = 0;
        for (int k = 0; k < 4; k++) seen |= 1 << (int)wf_at(four, 4 * i + k);
        ck_assert_int_eq(seen, 29);
    }
}

TEST(what_weights_cannot_be_is_said)
{
    const struct {
        double w[4];
        int64_t n;
        bool replacement;
        const char *said;
    } tried[] = {
        { { 1, 2, 3, -1 },
          1,
          true,
          "multinomial: the weight at (1, 1) is -1; expected a finite number, 0 or more" },
        { { 1, (double)NAN, 1, 1 },
          1,
          true,
          "multinomial: the weight at (0, 1) is nan; expected a finite number, 0 or more" },
        { { 1, 1, (double)INFINITY, 1 },
          2,
          false,
          "multinomial: the weight at (1, 0) is inf; expected a finite number, 0 or more" },
        { { 1, 1, 0, 0 }, 3, true, "multinomial: row (1) has 0 weights above 0; 1 are needed" },
        { { 1, 1, 0, 2 }, 2, false, "multinomial: row (1) has 1 weights above 0; 2 are needed" },
        { { 1, 1, 1, 1 }, 3, false, "multinomial: 3 draws without replacement of 2 weights" },
        { { 1, 1, 1, 1 }, -1, true, "multinomial: -1 draws" },
    };
    for (int k = 0; k < 7; k++) {
        wf_var *p = wf_leaf(t, WF_F64, WF_SHAPE(2, 2), tried[k].w);
        ck_assert_ptr_null(wf_multinomial(t, p, tried[k].n, tried[k].replacement));
        assert_fails(t, tried[k].said);
    }
}

/* ---- coins ---- */

TEST(coins_fall_as_p_says)
{
    static const double p[] = { 0, 0.001, 0.25, 0.5, 0.9, 1 };
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++)
        for (int k = 0; k < 6; k++) {
            wf_var *coins = wf_bernoulli(t, wf_full(t, (wf_dtype)dtype, WF_SHAPE(400, 250), p[k]));
            double n = 0;
            ck_assert_int_eq(wf_dtype_of(coins), WF_I32);
            for (int64_t i = 0; i < 100000; i++) n += wf_at(coins, i);
            const double sd = sqrt(100000 * p[k] * (1 - p[k]));
            ck_assert_msg(fabs(n - 100000 * p[k]) <= 5 * sd, "%g of 100000 with p %g", n, p[k]);
        }
}

TEST(a_probability_beyond_0_and_1_is_refused)
{
    const struct {
        double p;
        const char *said;
    } tried[] = {
        { -0.5, "bernoulli: p is -0.5 at (1, 0); expected 0 <= p <= 1" },
        { 1.5, "bernoulli: p is 1.5 at (1, 0); expected 0 <= p <= 1" },
        { (double)NAN, "bernoulli: p is nan at (1, 0); expected 0 <= p <= 1" },
    };
    for (int k = 0; k < 3; k++) {
        set_up();
        ck_assert_ptr_null(wf_bernoulli(
            t, wf_leaf(t, WF_F64, WF_SHAPE(2, 2), (double[]){ 0.5, 1, tried[k].p, 0 })));
        ck_assert_str_eq(wf_tape_error(t), tried[k].said);
    }
}

/* ---- in a loop ---- */

/* With two outputs coins are tossed, too: their check sees all rows at once. */
typedef struct chain {
    wf_var *table;
    int outputs;
} chain;

/* Each id is drawn by what the one before says. No product rounds: a plan's ids are the plain
 * loop's. */
static void chain_step(wf_tape *tape, const void *context, wf_var *const x[], wf_var *state[],
                       wf_var *y[])
{
    const chain *c = context;
    wf_var *one = wf_full(tape, WF_F32, WF_SCALAR, 1), *none = wf_zeros(tape, WF_F32, WF_SCALAR);
    wf_var *hot = wf_where(tape, wf_one_hot(tape, state[0], wf_dim(c->table, 0)), one, none);
    y[0] = wf_categorical(tape, wf_add(tape, x[0], wf_matmul(tape, hot, c->table)));
    if (c->outputs == 2) y[1] = wf_bernoulli(tape, wf_sigmoid(tape, x[0]));
    state[0] = y[0];
}

static uint64_t chain_hash(int threads, int outputs, bool ragged, bool plain)
{
    enum { T = 12, B = 37, V = 24 };
    set_up_with((wf_tape_options){ .seed = 5, .threads = threads });
    const chain c = { drawn(t, WF_F32, WF_SHAPE(V, V), 1, -1, 1), outputs };
    wf_var *out[2] = { NULL }, *last[1];
    wf_scan_call call = { .step = chain_step,
                          .context = &c,
                          .sequences = WF_VARS(drawn(t, WF_F32, WF_SHAPE(T, B, V), 2, -1, 1)),
                          .initial = WF_VARS(wf_zeros(t, WF_I32, WF_SHAPE(B))),
                          .outputs = outputs,
                          .plain = plain };
    if (ragged) call.lengths = drawn(t, WF_I32, WF_SHAPE(B), 3, 0, T + 1);
    ck_assert(wf_explain_begin(t) && wf_scan(t, &call, out, last));
    const char *text = wf_explain_end(t);
    ck_assert_msg((strstr(text, "step by step") != NULL) == plain, "%s", text);
    uint64_t hash = hash_tensor(HASH, wf_value(last[0]));
    for (int j = 0; j < outputs; j++) hash = hash_tensor(hash, wf_value(out[j]));
    return hash;
}

TEST(a_loop_draws_the_same_with_a_plan_without_and_on_any_number_of_threads)
{
    program_eager = true;
    for (int outputs = 1; outputs <= 2; outputs++)
        for (int ragged = 0; ragged < 2; ragged++) {
            const uint64_t plain = chain_hash(1, outputs, ragged, true);
            for (int threads = 1; threads <= 5; threads++)
                ck_assert(chain_hash(threads, outputs, ragged, false) == plain);
        }
    program_eager = false;
}

const harness_suite suite = { .before = set_up, .after = tear_down, .threads = 5 };
