/* Planned loops: what they say of themselves, and what they leave out on the way back. That they
 * compute what their steps say is test_scan's. */
#include "tests/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cell {
    wf_var *w, *u;
    bool reads, rowless; /* a value that has no rows: no plan */
    bool mixes;          /* makes rows of others */
} cell;

/* h = tanh(W x + U h). */
static void elman(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    const cell *c = context;
    if (c->reads) (void)wf_at(x[0], 0);
    wf_var *a = wf_add(t, wf_affine(t, x[0], c->w, NULL), wf_affine(t, state[0], c->u, NULL));
    if (c->rowless) a = wf_add(t, a, wf_mul_scalar(t, wf_sum(t, state[0], NULL), 0));
    y[0] = state[0] = wf_tanh(t, a);
}

/* What wf_scan_explain says of elman's loop, as `call` has it. */
static const char *explained(wf_tape *t, cell *c, int64_t time, bool plain)
{
    c->w = drawn(t, WF_F64, WF_SHAPE(5, 4), 3, -1, 1);
    c->u = drawn(t, WF_F64, WF_SHAPE(5, 5), 4, -1, 1);
    const wf_scan_call call = { .step = elman,
                                .context = c,
                                .sequences = WF_VARS(
                                    drawn(t, WF_F64, WF_SHAPE(time, 3, 4), 1, -1, 1)),
                                .initial = WF_VARS(wf_zeros(t, WF_F64, WF_SHAPE(3, 5))),
                                .outputs = 1,
                                .plain = plain };
    return wf_scan_explain(t, &call);
}

static void assert_says(const char *text, const char *part)
{
    ck_assert_msg(text && strstr(text, part), "no '%s' in:\n%s", part, text ? text : "(nothing)");
}

TEST(a_loop_tells_how_it_runs)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    cell c = { .reads = false };
    const char *text = explained(t, &c, 7, false);
    assert_says(text, "scan: planned, 7 steps of 3 rows\n");
    assert_says(text, "before the loop, for all steps: a product (5, 4)\n");
    assert_says(text, "1. products with packed (5, 5) added; tiles of all units alike: tanh\n");
    assert_says(text, "on the way back, over 21 rows at a time: 2 products\n");
    assert_says(text, "90 operations in products (40 of them before the loop)");
    assert_says(explained(t, &c, 7, true), "scan: step by step: as .plain asks\n");
    assert_says(explained(t, &c, 2, false), "step by step: it has fewer than 3 steps\n");
    c.reads = true;
    assert_says(explained(t, &c, 7, false), "step by step: its step reads values, or cannot be");
    c = (cell){ .rowless = true };
    assert_says(explained(t, &c, 7, false), "step by step: sum makes a value without the step's");
    ck_assert(wf_tape_ok(t));
    ck_assert(wf_explain_begin(t));
    wf_explain(t, "a line of %s\n", "one's own");
    ck_assert_str_eq(wf_explain_end(t), "a line of one's own\n");
    ck_assert_ptr_null(wf_explain_end(t));
    ck_assert_ptr_null(wf_explain_forget(t));
    const int64_t nodes = wf_tape_nodes(t);
    ck_assert(wf_explain_begin(t) && wf_zeros(t, WF_F32, WF_SHAPE(2)));
    wf_explain(t, "forgotten\n");
    ck_assert_str_eq(wf_explain_forget(t), "forgotten\n");
    ck_assert_int_eq(wf_tape_nodes(t), nodes);
    ck_assert(wf_explain_begin(t) && !wf_explain_begin(t));
    ck_assert_str_eq(wf_tape_error(t), "explain_begin: loops are being explained already");
    ck_assert_ptr_null(wf_explain_end(t));
}

static void assert_finite(const wf_var *x)
{
    for (int64_t i = 0; i < wf_count(x); i++) ck_assert(isfinite(wf_at(x, i)));
}

/* The derivative of its second output is infinite, and of its third, through its own op. */
static void has_corners(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                        wf_var *y[])
{
    const cell *c = context;
    y[0] = state[0] = wf_tanh(t, wf_affine(t, wf_add(t, x[0], state[0]), c->u, NULL));
    wf_var *none = wf_mul_scalar(t, wf_square(t, state[0]), 0);
    y[1] = wf_sqrt(t, none);
    y[2] = wf_norm_keep(t, wf_sqrt(t, wf_affine(t, none, c->u, NULL)), WF_AXES(-1));
}

TEST(what_no_gradient_arrives_at_is_not_differentiated)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    cell c = { .u = wf_leaf(t, WF_F64, WF_SHAPE(3, 3), (double[]){ 1, 2, 3, 4, 5, 6, 7, 8, 9 }) };
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(6, 2, 3), 1, -1, 1), *y[3], *sum, *g[2];
    wf_scan_call call = { .step = has_corners,
                          .context = &c,
                          .sequences = WF_VARS(x),
                          .initial = WF_VARS(wf_zeros(t, WF_F64, WF_SHAPE(2, 3))),
                          .outputs = 3 };
    wf_var *planned[2];
    for (int plain = 0; plain < 2; plain++) {
        call.plain = plain;
        ck_assert(wf_scan(t, &call, y, NULL));
        sum = wf_sum(t, y[0], NULL);
        ck_assert(wf_grad(t, 1, &sum, NULL, 2, (wf_var *[]){ x, c.u }, g, NULL));
        for (int i = 0; i < 2; i++) assert_finite(g[i]);
        if (!plain) memcpy(planned, g, sizeof g);
    }
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < wf_count(g[i]); k++)
            ck_assert_double_eq_tol(wf_at(planned[i], k), wf_at(g[i], k), 1e-13);
}

/* Two cells, one on top of the other, in a step: their states in one row (n, 2, 5), as the layer
 * takes and leaves them: (2, n, 5). */
static void deep(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    wf_var *both = wf_transpose(t, state[0], 0, 1);
    y[0] = wf_rnn_step(t, context, x[0], &both);
    wf_var *back = wf_stack(t, 1, WF_VARS(wf_select(t, both, 0, 1), wf_select(t, both, 0, 0)));
    wf_var *again = wf_stack(t, 0, WF_VARS(wf_select(t, back, 1, 1), wf_select(t, back, 1, 0)));
    state[0] = wf_transpose(t, again, 0, 1);
}

TEST(a_stack_is_no_more_than_names)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    OWN(wf_module) *m = wf_module_new("net", NULL);
    const wf_rnn *rnn = wf_gru_new(m, "rnn",
                                   &(wf_rnn_options){ .input = 4, .hidden = 5, .layers = 2 });
    for (int64_t batch = 1; batch <= 3; batch++) { /* of two rows, as of two pieces */
        wf_var *x = drawn(t, WF_F32, WF_SHAPE(6, batch, 4), 1, -1, 1), *y, *last, *sum[2], *g[2];
        wf_var *h = drawn(t, WF_F32, WF_SHAPE(batch, 2, 5), 2, -1, 1), *value[2], *planned[2];
        wf_scan_call call = { .step = deep,
                              .context = rnn,
                              .sequences = WF_VARS(x),
                              .initial = WF_VARS(h),
                              .outputs = 1 };
        const char *text = wf_scan_explain(t, &call);
        assert_says(text, "scan: planned, 6 steps of");
        ck_assert(!strstr(text, "step by step") && !strstr(text, "own kernel"));
        for (int plain = 0; plain < 2; plain++) {
            call.plain = plain;
            ck_assert(wf_scan(t, &call, &y, &last));
            sum[0] = wf_sum(t, wf_square(t, y), NULL);
            sum[1] = wf_sum(t, wf_square(t, wf_select(t, last, 1, 1)), NULL);
            ck_assert(wf_grad(t, 2, sum, NULL, 2, (wf_var *[]){ x, h }, g, NULL));
            if (!plain) memcpy(planned, g, sizeof g), value[0] = y, value[1] = last;
        }
        for (int64_t i = 0; i < wf_count(y); i++)
            ck_assert_double_eq_tol(wf_at(value[0], i), wf_at(y, i), 1e-6);
        for (int64_t i = 0; i < wf_count(last); i++)
            ck_assert_double_eq_tol(wf_at(value[1], i), wf_at(last, i), 1e-6);
        for (int i = 0; i < 2; i++)
            for (int64_t k = 0; k < wf_count(g[i]); k++)
                ck_assert_double_eq_tol(wf_at(planned[i], k), wf_at(g[i], k), 1e-5);
    }
}

/* Attention over a slice (n, S, H) of its sequence: many numbers in a row, in calls and tiles. */
static void attends(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                    wf_var *y[])
{
    const cell *c = context;
    wf_var *asked[2];
    wf_split(t, wf_affine(t, state[0], c->u, NULL), -1, 2, asked);
    wf_var *fit = wf_tanh(t, wf_add(t, x[0], wf_unsqueeze(t, asked[0], 1)));
    if (c->mixes) fit = wf_flip(t, fit, 0);
    y[1] = wf_softmax(t, wf_squeeze(t, wf_affine(t, fit, c->w, NULL), -1), -1);
    wf_var *seen = wf_matmul(t, wf_unsqueeze(t, y[1], 1), x[0]);
    y[0] = state[0] = wf_tanh(t, wf_add(t, wf_squeeze(t, seen, 1), asked[1]));
}

/* Values and gradients of that loop, one after another. */
static void attend(int threads, int kind, bool plain, float *to)
{
    enum { T = 3, B = 9, S = 40, H = 512 };
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = threads });
    cell c = { .mixes = kind == 2,
               .u = drawn(t, WF_F32, WF_SHAPE(2 * H, H), 1, -0.1, 0.1),
               .w = drawn(t, WF_F32, WF_SHAPE(1, H), 2, -0.1, 0.1) };
    wf_var *x = drawn(t, WF_F32, WF_SHAPE(T, B, S, H), 3, -1, 1), *y[2], *sum[2], *g[4];
    wf_var *h = drawn(t, WF_F32, WF_SHAPE(B, H), 4, -1, 1);
    wf_var *n = wf_constant(t, WF_I32, WF_SHAPE(B), (int32_t[]){ 3, 0, 2, 3, 1, 1, 3, 2, 2 });
    ck_assert(wf_scan(t,
                      &(wf_scan_call){ .step = attends,
                                       .context = &c,
                                       .sequences = WF_VARS(x),
                                       .initial = WF_VARS(h),
                                       .outputs = 2,
                                       .lengths = kind == 1 ? n : NULL,
                                       .plain = plain },
                      y, NULL));
    for (int j = 0; j < 2; j++)
        sum[j] = wf_sum(t, wf_mul(t, y[j], drawn(t, WF_F32, wf_shape_of(y[j]), 5, -1, 1)), NULL);
    ck_assert(wf_grad(t, 2, sum, NULL, 4, (wf_var *[]){ x, h, c.u, c.w }, g, NULL));
    wf_var *const all[] = { y[0], y[1], g[0], g[1], g[2], g[3] };
    for (int i = 0; i < 6; to += wf_count(all[i++]))
        for (int64_t k = 0; k < wf_count(all[i]); k++) to[k] = (float)wf_at(all[i], k);
}

TEST_EACH(rows_that_outgrow_the_caches_are_taken_in_blocks, 3)
{
    enum { N = 3 * 9 * (512 + 40) + 3 * 9 * 40 * 512 + 9 * 512 + 2 * 512 * 512 + 512 };
    float *one = calloc(N, sizeof *one), *other = calloc(N, sizeof *other);
    attend(1, _i, false, one);
    for (int threads = 2; threads <= 3; threads++) {
        attend(threads, _i, false, other);
        ck_assert_mem_eq(one, other, N * sizeof *one);
    }
    attend(1, _i, true, other);
    for (int64_t k = 0; k < N; k++) ck_assert(fabsf(one[k] - other[k]) < 1e-4f);
    free(one), free(other);
}

/* Two heads attend over a memory (n, 2, S, H) that the loop closes over; and
 * another matrix of every row is smaller than what is made of it. */
static void recalls(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                    wf_var *y[])
{
    const cell *c = context;
    wf_var *fit = wf_matmul(t, c->w, wf_unsqueeze(t, state[0], -1)); /* (n, 2, S, 1) */
    wf_var *weight = wf_softmax(t, wf_transpose(t, fit, -1, -2), -1);
    wf_var *seen = wf_matmul(t, weight, c->w);                    /* (n, 2, 1, H) */
    wf_var *more = wf_matmul(t, wf_unsqueeze(t, x[0], -1), c->u); /* (n, 2, H, 3) */
    y[0] = wf_mean(t, more, WF_AXES(-1));
    state[0] = wf_tanh(t, wf_add(t, wf_squeeze(t, seen, 2), y[0]));
}

TEST_EACH(the_gradient_of_a_memory_is_one_product_over_all_steps, 4)
{
    enum { B = 5, S = 3, H = 4, GRADS = 4 };
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = 1 + _i / 2 });
    wf_var *w = drawn(t, WF_F64, WF_SHAPE(B, 2, S, H), 1, -1, 1), *y, *last, *sum[2];
    wf_var *u = drawn(t, WF_F64, WF_SHAPE(B, 2, 1, 3), 2, -1, 1), *g[2][GRADS];
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(300, B, 2, H), 3, -1, 1);
    wf_var *h = drawn(t, WF_F64, WF_SHAPE(B, 2, H), 4, -1, 1);
    const cell c = { .w = w, .u = u };
    wf_scan_call call = { .step = recalls,
                          .context = &c,
                          .sequences = WF_VARS(x),
                          .initial = WF_VARS(h),
                          .outputs = 1,
                          .reverse = _i % 2 };
    assert_says(wf_scan_explain(t, &call), "scan: planned, 300 steps of 5 rows");
    for (int plain = 0; plain < 2; plain++) {
        call.plain = plain;
        ck_assert(wf_scan(t, &call, &y, &last));
        sum[0] = wf_sum(t, wf_mul(t, y, x), NULL);
        sum[1] = wf_sum(t, wf_mul(t, last, h), NULL);
        ck_assert(wf_grad(t, 2, sum, NULL, GRADS, (wf_var *[]){ w, u, x, h }, g[plain], NULL));
    }
    for (int i = 0; i < GRADS; i++)
        for (int64_t k = 0; k < wf_count(g[0][i]); k++)
            ck_assert_double_eq_tol(wf_at(g[0][i], k), wf_at(g[1][i], k), 1e-11);
}

/* ---- steps at which no gradient arrives ---- */

/* x is zero at one step, where each of these has a derivative that is infinite: of the state before
 * nothing, or what came a step earlier, is left. */
#define CORNER(name)                                                                               \
    static void name(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],          \
                     wf_var *y[])

CORNER(overwrites)
{
    const cell *c = context;
    state[0] = wf_affine(t, wf_sqrt(t, x[0]), c->w, NULL);
    y[0] = wf_square(t, state[0]);
}

CORNER(delays)
{
    (void)context;
    y[0] = wf_tanh(t, state[0]);
    state[0] = wf_log(t, x[0]);
}

CORNER(delays_two)
{
    (void)context;
    wf_var *before = state[0];
    state[0] = wf_div(t, state[1], x[0]);
    state[1] = wf_sqrt(t, wf_mul(t, x[0], x[0]));
    y[0] = wf_tanh(t, before);
}

/* By ops with kernels of their own, one of them over what is closed over. */
CORNER(calls)
{
    const cell *c = context;
    wf_var *share = wf_div(t, wf_select(t, c->w, 0, 0), wf_sum_keep(t, x[0], WF_AXES(-1)));
    wf_var *some = wf_matmul(t, wf_unsqueeze(t, wf_sqrt(t, x[0]), 1), c->w);
    state[0] = wf_mul(t, wf_select(t, some, 1, 0), share);
    y[0] = wf_square(t, state[0]);
}

/* What a call is the first to add to goes on where the call does not. */
CORNER(carries_beside_a_call)
{
    (void)context;
    wf_var *all = wf_exp(t, wf_add(t, x[0], state[1]));
    state[0] = wf_div(t, all, wf_sum_keep(t, x[0], WF_AXES(-1)));
    state[1] = wf_mul_scalar(t, all, 0.1);
    y[0] = wf_square(t, state[1]);
}

static const struct {
    wf_scan_step *step;
    int states;
} corners[] = {
    { overwrites, 1 }, { delays, 1 }, { delays_two, 2 }, { calls, 1 }, { carries_beside_a_call, 2 }
};
enum { CORNERS = sizeof corners / sizeof *corners, STEPS = 6, MOST = 9 };

/* The gradients of x, the weight and the initial states under a loss of the last final state. */
static void last_alone(wf_tape *t, int which, const wf_scan_call *how, int64_t batch, wf_var *g[])
{
    cell c = { .w = drawn(t, WF_F64, WF_SHAPE(4, 4), 3, 0.1, 1) };
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(STEPS, batch, 4), 1, 0.1, 1), *y, *final[2];
    wf_var *wrt[] = { x, c.w, drawn(t, WF_F64, WF_SHAPE(batch, 4), 2, 0.1, 1),
                      drawn(t, WF_F64, WF_SHAPE(batch, 4), 4, 0.1, 1) };
    wf_scan_call call = *how;
    for (int64_t i = 0; i < batch * 4; i++) put(wf_value(x), batch * 4 + i, 0); /* at step 1 */
    call.step = corners[which].step;
    call.context = &c;
    call.sequences = WF_VARS(x);
    call.initial = (wf_vars){ corners[which].states, wrt + 2 };
    call.outputs = 1;
    if (how->lengths) call.lengths = wf_constant_tensor(t, wf_value(how->lengths));
    ck_assert_msg(wf_scan(t, &call, &y, final), "%s", wf_tape_error(t));
    wf_var *loss = wf_sum(t, final[0], NULL);
    ck_assert(wf_grad(t, 1, &loss, NULL, 2 + corners[which].states, wrt, g, NULL));
}

TEST_EACH(no_zero_meets_an_infinite_derivative_at_a_step_that_nothing_leads_to, CORNERS)
{
    static const int32_t lengths[MOST] = { 6, 3, 0, 4, 6, 5, 5, 3, 6 };
    for (int64_t batch = 1; batch <= MOST; batch += 2)
        for (int i = 0; i < 4; i++) {
            OWN(wf_tape) *t = wf_tape_new(NULL), *u = wf_tape_new(NULL);
            wf_scan_call how = { .reverse = i / 2 };
            wf_var *got[4], *want[4];
            if (i % 2) how.lengths = wf_constant(t, WF_I32, WF_SHAPE(batch), lengths);
            last_alone(t, _i, &how, batch, got);
            how.plain = true;
            last_alone(u, _i, &how, batch, want);
            for (int k = 0; k < 2 + corners[_i].states; k++)
                for (int64_t j = 0; j < wf_count(want[k]); j++) {
                    const double a = wf_at(got[k], j), b = wf_at(want[k], j);
                    if (!isfinite(b)) continue;
                    ck_assert_msg(fabs(a - b) <= 1e-12 * (1 + fabs(b)), "%lld: %.17g %.17g",
                                  (long long)j, a, b);
                }
        }
}

/* The one product over all steps that makes a weight's gradient asks each of them. */
CORNER(multiplies_what_is_infinite)
{
    const cell *c = context;
    y[0] = state[0] = wf_affine(t, wf_log(t, x[0]), c->w, NULL);
}

TEST(a_weight_times_what_is_infinite_has_no_gradient_even_where_nothing_leads)
{
    for (int plain = 0; plain < 2; plain++) {
        OWN(wf_tape) *t = wf_tape_new(NULL);
        cell c = { .w = drawn(t, WF_F64, WF_SHAPE(4, 4), 3, 0.1, 1) };
        wf_var *x = drawn(t, WF_F64, WF_SHAPE(STEPS, 3, 4), 1, 0.1, 1), *y, *final, *g;
        for (int64_t i = 0; i < 12; i++) put(wf_value(x), 12 + i, 0);
        const wf_scan_call call = { .step = multiplies_what_is_infinite,
                                    .context = &c,
                                    .sequences = WF_VARS(x),
                                    .initial = WF_VARS(wf_zeros(t, WF_F64, WF_SHAPE(3, 4))),
                                    .outputs = 1,
                                    .plain = plain };
        ck_assert(wf_scan(t, &call, &y, &final));
        wf_var *loss = wf_sum(t, final, NULL);
        ck_assert(wf_grad(t, 1, &loss, NULL, 1, &c.w, &g, NULL));
        for (int i = 0; i < 16; i++) ck_assert_int_eq(isnan(wf_at(g, i)), !plain);
    }
}

enum { ROWS = 24, WIDTH = 240 }; /* a product that is worth threads */

/* Whole numbers that grow until one is no id. */
static void counts(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    wf_var *id = wf_cast(t, wf_mul(t, state[0], x[0]), WF_I32);
    y[0] = state[0] = wf_cast(t, id, WF_F64);
    state[1] = wf_affine(t, state[1], ((const cell *)context)->w, NULL);
}

/* Each thread judges its own rows, and what is refused is told as the steps tell it. */
TEST(a_check_in_a_planned_loop_leaves_it_to_all_threads)
{
    enum { TIME = 5, AT = 17 };
    double factor[TIME * ROWS];
    for (int i = 0; i < TIME * ROWS; i++) factor[i] = i % ROWS == AT ? 1e3 : 2;
    for (int bad = 0; bad < 2; bad++) {
        char said[sizeof(wf_error)] = "";
        for (int threads = 0; threads < 4; threads++) {
            OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = threads ? threads : 1 });
            const wf_shape rows = WF_SHAPE(bad ? TIME : 3, ROWS, 1);
            const cell c = { .w = wf_zeros(t, WF_F64, WF_SHAPE(WIDTH, WIDTH)) };
            wf_var *one = wf_full(t, WF_F64, WF_SHAPE(ROWS, 1), 1), *y = NULL;
            wf_var *wide = wf_zeros(t, WF_F64, WF_SHAPE(ROWS, WIDTH));
            const wf_scan_call call = { .step = counts,
                                        .context = &c,
                                        .sequences = WF_VARS(wf_constant(t, WF_F64, rows, factor)),
                                        .initial = WF_VARS(one, wide),
                                        .outputs = 1,
                                        .plain = !threads };
            if (threads && !bad)
                assert_says(wf_scan_explain(t, &call), "cast, by its own kernel\n");
            wf_par_width();
            ck_assert_int_eq(wf_scan(t, &call, &y, NULL), !bad);
            if (threads) ck_assert_int_eq(wf_par_width(), threads);
            if (!threads) snprintf(said, sizeof said, "%s", wf_tape_error(t));
            ck_assert_str_eq(wf_tape_error(t), said);
            ck_assert_int_eq(said[0] != 0, bad);
            if (!bad) ck_assert_double_eq(wf_at(y, 2 * ROWS + AT), 1e9);
        }
    }
}

typedef struct choice {
    wf_var *w, *few, *keys, *v;
} choice;

/* Kernels that choose by the number of their rows: a product over two axes, sums over places. */
static void chooses(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                    wf_var *y[])
{
    const choice *c = context;
    wf_var *two = wf_reshape(t, state[0], WF_SHAPE(wf_dim(state[0], 0), 2, WIDTH / 2));
    wf_var *by = wf_select(t, wf_affine(t, two, c->few, NULL), 1, 1);
    wf_var *score = wf_additive_score(t, c->keys, wf_slice(t, state[0], 1, 0, 130, 1), c->v, NULL);
    y[0] = wf_concat(t, -1, WF_VARS(by, score));
    state[0] = wf_tanh(t, wf_add(t, wf_affine(t, state[0], c->w, NULL), x[0]));
}

TEST(calls_have_the_same_bits_for_any_number_of_threads)
{
    enum { TIME = 6 };
    static const int32_t lengths[ROWS] = { 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 5,
                                           5, 5, 5, 4, 4, 4, 3, 3, 2, 1, 1, 1 };
    for (int ragged = 0; ragged < 2; ragged++) {
        uint64_t first = 0;
        for (int threads = 1; threads <= 5; threads++) {
            OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = threads });
            wf_var *x = drawn(t, WF_F32, WF_SHAPE(TIME, ROWS, WIDTH), 1, -1, 1), *y, *g[5];
            const choice c = { .w = drawn(t, WF_F32, WF_SHAPE(WIDTH, WIDTH), 2, -0.1, 0.1),
                               .few = drawn(t, WF_F32, WF_SHAPE(50, WIDTH / 2), 3, -1, 1),
                               .keys = drawn(t, WF_F32, WF_SHAPE(32, 130), 4, -1, 1),
                               .v = drawn(t, WF_F32, WF_SHAPE(130), 5, -1, 1) };
            const wf_scan_call call = {
                .step = chooses,
                .context = &c,
                .sequences = WF_VARS(x),
                .initial = WF_VARS(wf_zeros(t, WF_F32, WF_SHAPE(ROWS, WIDTH))),
                .outputs = 1,
                .lengths = ragged ? wf_constant(t, WF_I32, WF_SHAPE(ROWS), lengths) : NULL
            };
            wf_par_width();
            ck_assert_msg(wf_scan(t, &call, &y, NULL), "%s", wf_tape_error(t));
            ck_assert_int_eq(wf_par_width(), threads);
            wf_var *loss = wf_sum(t, wf_square(t, y), NULL);
            wf_var *wrt[] = { x, c.w, c.few, c.keys, c.v };
            ck_assert(wf_grad(t, 1, &loss, NULL, 5, wrt, g, NULL));
            uint64_t h = hash_tensor(HASH, wf_value(y));
            for (int i = 0; i < 5; i++) h = hash_tensor(h, wf_value(g[i]));
            if (threads == 1) first = h;
            ck_assert_msg(h == first, "%d threads, ragged %d", threads, ragged);
        }
    }
}

/* What is looked at, and by what, is the same at each step; what is hidden is not. */
static void hides(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    wf_var *const *of = context;
    (void)x;
    y[0] = wf_additive_score(t, of[0], of[1], of[2], wf_cast(t, state[0], WF_I32));
    state[0] = wf_sub(t, wf_full(t, WF_F64, WF_SCALAR, 1), state[0]);
}

TEST(a_memory_that_only_ids_vary_over_is_planned_and_has_the_gradient_of_its_steps)
{
    double got[2][2 * 3 * 5];
    for (int plain = 0; plain < 2; plain++) {
        OWN(wf_tape) *t = wf_tape_new(NULL);
        wf_var *of[] = { drawn(t, WF_F64, WF_SHAPE(2, 3, 5), 1, -1, 1),
                         drawn(t, WF_F64, WF_SHAPE(2, 5), 2, -1, 1),
                         drawn(t, WF_F64, WF_SHAPE(5), 3, -1, 1) };
        static const double shown[] = { 1, 0, 0, 1, 1, 0 };
        wf_var *y, *g, *first = wf_constant(t, WF_F64, WF_SHAPE(2, 3), shown);
        const wf_scan_call call = { .step = hides,
                                    .context = of,
                                    .time = 3,
                                    .initial = WF_VARS(first),
                                    .outputs = 1,
                                    .plain = plain };
        if (!plain) assert_says(wf_scan_explain(t, &call), "planned, 3 steps of 2 rows");
        ck_assert_msg(wf_scan(t, &call, &y, NULL), "%s", wf_tape_error(t));
        wf_var *loss = wf_sum(t, wf_square(t, y), NULL);
        ck_assert(wf_grad(t, 1, &loss, NULL, 1, of, &g, NULL));
        for (int i = 0; i < 30; i++) got[plain][i] = wf_at(g, i);
    }
    for (int i = 0; i < 30; i++) {
        ck_assert_double_eq_tol(got[0][i], got[1][i], 1e-14);
        ck_assert_double_ne(got[0][i], 0);
    }
}

TEST(a_plan_is_small)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_rnn *rnn = wf_lstm_new(net, "lstm", &(wf_rnn_options){ .input = 1, .hidden = 1 });
    wf_var *x = wf_zeros(t, WF_F32, WF_SHAPE(3, 1, 1));
    const int64_t before = wf_tape_bytes(t);
    ck_assert(wf_rnn_forward(t, rnn, x, NULL));
    ck_assert_int_le(wf_tape_bytes(t) - before, 56 << 10);
}

const harness_suite suite = { .threads = 5 };
