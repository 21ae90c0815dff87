/* What a step of a loop may be, beyond the random ones: it hands on what it was given, takes views
 * of it, reads it, rewinds, differentiates, loops in turn, leaves by a jump. Each is held against
 * the same step by hand, one sequence at a time. */
#include "tests/fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

enum { TIME = 4, BATCH = 3, WIDTH = 2, OUTPUTS = 2 };
static const int32_t ragged[BATCH] = { 2, 0, 4 };

/* A step, and what the loop is run on. */
typedef struct example {
    const char *name;
    wf_scan_step *step;
    int outputs;
} example;

typedef struct given {
    wf_var *x, *state, *closed; /* (T, B, 2), (B, 2), (2, 2): what steps close over */
    const int32_t *length;      /* NULL: all T */
    bool reverse;
} given;

static wf_var *numbers(wf_tape *t, wf_shape shape, uint64_t key)
{
    return drawn(t, WF_F64, shape, key, -1, 1);
}

static given given_of(wf_tape *t, const int32_t *length, bool reverse)
{
    return (given){ .x = numbers(t, WF_SHAPE(TIME, BATCH, WIDTH), 1),
                    .state = numbers(t, WF_SHAPE(BATCH, WIDTH), 2),
                    .closed = numbers(t, WF_SHAPE(WIDTH, WIDTH), 3),
                    .length = length,
                    .reverse = reverse };
}

/* Outputs (T, B, 2), then the final state (B, 2). */
static bool by_scan(wf_tape *t, const example *e, const given *g, wf_var *out[])
{
    wf_scan_call call = { .step = e->step,
                          .context = g,
                          .sequences = WF_VARS(g->x),
                          .initial = WF_VARS(g->state),
                          .outputs = e->outputs,
                          .reverse = g->reverse };
    if (g->length) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(BATCH), g->length);
    return wf_scan(t, &call, out, out + e->outputs);
}

static void by_hand(wf_tape *t, const example *e, const given *g, wf_var *out[])
{
    wf_var *zero = wf_zeros(t, WF_F64, WF_SHAPE(1, WIDTH)), *y[OUTPUTS][TIME][BATCH];
    wf_var *last[BATCH], *at[TIME];
    for (int b = 0; b < BATCH; b++) {
        const int n = g->length ? g->length[b] : TIME;
        last[b] = wf_slice(t, g->state, 0, b, b + 1, 1);
        for (int j = 0; j < e->outputs; j++)
            for (int i = 0; i < TIME; i++) y[j][i][b] = zero;
        for (int k = 0; k < n; k++) {
            const int i = g->reverse ? n - 1 - k : k;
            wf_var *x = wf_slice(t, wf_select(t, g->x, 0, i), 0, b, b + 1, 1), *made[WF_SCAN_VARS];
            e->step(t, g, &x, &last[b], made);
            for (int j = 0; j < e->outputs; j++) y[j][i][b] = made[j];
        }
    }
    for (int j = 0; j < e->outputs; j++) {
        for (int i = 0; i < TIME; i++) at[i] = wf_concat(t, 0, (wf_vars){ BATCH, y[j][i] });
        out[j] = wf_stack(t, 0, (wf_vars){ TIME, at });
    }
    out[e->outputs] = wf_concat(t, 0, (wf_vars){ BATCH, last });
}

static void assert_equal(const char *name, const char *what, const wf_var *got, const wf_var *want)
{
    ck_assert_int_eq(wf_count(got), wf_count(want));
    for (int64_t i = 0; i < wf_count(want); i++)
        ck_assert_msg(fabs(wf_at(got, i) - wf_at(want, i)) <= 1e-12 * (1 + fabs(wf_at(want, i))),
                      "%s: %s, element %lld: %.17g, by hand %.17g", name, what, (long long)i,
                      wf_at(got, i), wf_at(want, i));
}

/* A scalar in which every element of n vars counts differently. */
static wf_var *mixed(wf_tape *t, int n, wf_var *const x[])
{
    wf_var *sum = wf_zeros(t, WF_F64, WF_SCALAR);
    for (int i = 0; i < n; i++) {
        wf_var *with = wf_detach(t, numbers(t, wf_shape_of(x[i]), 7 + (uint64_t)i));
        sum = wf_add(t, sum, wf_sum(t, wf_mul(t, wf_sin(t, x[i]), with), NULL));
    }
    return sum;
}

/* Values, first and second derivatives. */
static void assert_as_by_hand(wf_tape *t, const example *e, const given *g)
{
    wf_var *got[OUTPUTS + 1], *want[OUTPUTS + 1], *wrt[] = { g->x, g->state, g->closed };
    wf_var *first[2][3], *second[2][3];
    const int n = e->outputs + 1;
    ck_assert_msg(by_scan(t, e, g, got), "%s: %s", e->name, wf_tape_error(t));
    by_hand(t, e, g, want);
    for (int j = 0; j < n; j++) assert_equal(e->name, "a value", got[j], want[j]);
    for (int hand = 0; hand < 2; hand++) {
        wf_var *loss = mixed(t, n, hand ? want : got);
        ck_assert_msg(wf_grad(t, 1, &loss, NULL, 3, wrt, first[hand], &with_graph), "%s: %s",
                      e->name, wf_tape_error(t));
        loss = mixed(t, 3, first[hand]);
        ck_assert_msg(wf_grad(t, 1, &loss, NULL, 3, wrt, second[hand], NULL), "%s: %s", e->name,
                      wf_tape_error(t));
    }
    for (int i = 0; i < 3; i++) {
        assert_equal(e->name, "a derivative", first[0][i], first[1][i]);
        assert_equal(e->name, "a second derivative", second[0][i], second[1][i]);
    }
}

/* ---- what steps do ---- */

#define STEP(name)                                                                                 \
    static void name(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],          \
                     wf_var *y[])

STEP(hands_its_state_on)
{
    (void)t, (void)context, (void)x;
    y[0] = state[0];
}

STEP(hands_its_input_on)
{
    (void)t, (void)context;
    y[0] = state[0] = x[0];
}

STEP(makes_two_of_one)
{
    (void)context, (void)x;
    y[0] = y[1] = state[0] = wf_tanh(t, state[0]);
}

STEP(ignores_its_state)
{
    const given *g = context;
    state[0] = wf_tanh(t, wf_affine(t, x[0], g->closed, NULL));
    y[0] = wf_affine(t, x[0], g->closed, NULL);
}

STEP(ignores_its_input)
{
    const given *g = context;
    (void)x;
    y[0] = state[0] = wf_tanh(t, wf_affine(t, state[0], g->closed, NULL));
}

STEP(splits_a_concat)
{
    wf_var *part[2];
    (void)context;
    wf_split(t, wf_concat(t, -1, WF_VARS(x[0], state[0])), -1, 2, part);
    y[0] = wf_mul(t, part[0], part[1]);
    state[0] = part[1];
}

STEP(multiplies_views)
{
    const given *g = context;
    wf_var *column[2];
    wf_var *turned = wf_transpose(t, wf_transpose(t, x[0], 0, 1), 0, 1);
    wf_var *sum = wf_affine(t, wf_flip(t, x[0], WF_AXES(-1)), g->closed, NULL);
    for (int i = 0; i < 2; i++) {
        column[i] = wf_affine(t, wf_slice(t, turned, -1, i, i + 1, 1),
                              wf_slice(t, g->closed, 1, i, i + 1, 1), NULL);
        sum = wf_add(t, sum, column[i]);
    }
    state[0] = wf_tanh(t, wf_add(t, sum, state[0]));
    y[0] = column[1];
}

STEP(multiplies_elements_as_rows)
{
    const given *g = context;
    const int64_t n = wf_dim(x[0], 0);
    wf_var *flat = wf_reshape(t, x[0], WF_SHAPE(n * WIDTH, 1));
    wf_var *all = wf_affine(t, flat, wf_slice(t, g->closed, 1, 0, 1, 1), NULL); /* (2 n, 2) */
    all = wf_sum(t, wf_reshape(t, all, WF_SHAPE(n, WIDTH, WIDTH)), WF_AXES(1));
    y[0] = state[0] = wf_tanh(t, wf_add(t, all, state[0]));
}

STEP(multiplies_a_product)
{
    const given *g = context;
    wf_var *once = wf_affine(t, x[0], g->closed, NULL),
           *again = wf_affine(t, x[0], g->closed, NULL);
    y[0] = once;
    y[1] = wf_affine(t, again, g->closed, NULL);
    state[0] = wf_tanh(t, wf_add(t, wf_mul(t, once, state[0]), y[1]));
}

STEP(multiplies_each_row_by_itself)
{
    const given *g = context;
    wf_var *row = wf_matmul(t, wf_unsqueeze(t, x[0], 1), g->closed); /* (n, 1, 2) */
    y[0] = state[0] = wf_add(t, wf_mul_scalar(t, state[0], 0.5), wf_select(t, row, 1, 0));
}

/* More than anyone would record. */
STEP(does_very_much)
{
    const given *g = context;
    wf_var *h = wf_add(t, state[0], wf_affine(t, x[0], g->closed, NULL));
    for (int i = 0; i < 600; i++) h = wf_add_scalar(t, h, 1e-3);
    y[0] = state[0] = wf_tanh(t, h);
}

/* By hand and in the loop it sees other rows: only what is the same for all may depend on it. */
STEP(reads_its_input)
{
    const given *g = context;
    bool finite = true;
    for (int64_t i = 0; i < wf_count(x[0]); i++) finite &= isfinite(wf_at(x[0], i));
    wf_var *in = wf_affine(t, x[0], g->closed, NULL);
    if (finite) in = wf_tanh(t, in); /* where there are numbers, they are */
    y[0] = state[0] = wf_tanh(t, wf_add(t, in, state[0]));
}

/* Its history ends at each step in one place, and its weight's in another. */
STEP(detaches)
{
    const given *g = context;
    wf_var *before = wf_sigmoid(t, wf_detach(t, state[0]));
    wf_var *fixed = wf_affine(t, wf_detach(t, x[0]), wf_detach(t, g->closed), NULL);
    wf_var *in = wf_affine(t, wf_mul(t, before, state[0]), g->closed, NULL);
    y[0] = state[0] = wf_tanh(t, wf_add(t, wf_add(t, in, fixed), x[0]));
}

/* Of what it computes on the way nothing stays but a sum. */
STEP(rewinds)
{
    const wf_mark mark = wf_tape_mark(t);
    const given *g = context;
    wf_var *sum = wf_sum(t, wf_affine(t, wf_detach(t, x[0]), wf_detach(t, g->closed), NULL),
                         WF_AXES(-1));
    if (!wf_tape_rewind(t, mark, 1, &sum)) return;
    y[0] = state[0] = wf_mul(t, wf_add(t, state[0], x[0]), wf_unsqueeze(t, sum, -1));
}

/* One step of gradient descent on (state W - x)^2. */
STEP(differentiates)
{
    const given *g = context;
    wf_var *off = wf_sub(t, wf_affine(t, state[0], g->closed, NULL), x[0]), *slope;
    wf_var *loss = wf_sum(t, wf_square(t, off), NULL);
    if (!wf_grad(t, 1, &loss, NULL, 1, state, &slope, &with_graph)) return;
    y[0] = state[0] = wf_sub(t, state[0], wf_mul_scalar(t, slope, 0.1));
}

STEP(loops_in_turn)
{
    const given *g = context;
    const given inner = { .closed = g->closed };
    const int64_t n = wf_dim(x[0], 0);
    wf_var *repeated = wf_expand(t, wf_unsqueeze(t, x[0], 0), WF_SHAPE(TIME, n, WIDTH));
    wf_var *out[1], *last[1];
    const wf_scan_call call = { .step = splits_a_concat,
                                .context = &inner,
                                .sequences = { 1, &repeated },
                                .initial = { 1, state },
                                .outputs = 1 };
    if (!wf_scan(t, &call, out, last)) return;
    y[0] = wf_tanh(t, wf_affine(t, wf_select(t, out[0], 0, TIME - 1), g->closed, NULL));
    state[0] = wf_add(t, last[0], x[0]);
}

static const example examples[] = {
    { "hands its state on", hands_its_state_on, 1 },
    { "hands its input on", hands_its_input_on, 1 },
    { "makes two of one", makes_two_of_one, 2 },
    { "ignores its state", ignores_its_state, 1 },
    { "ignores its input", ignores_its_input, 1 },
    { "splits a concat", splits_a_concat, 1 },
    { "multiplies views", multiplies_views, 1 },
    { "multiplies elements as rows", multiplies_elements_as_rows, 1 },
    { "multiplies a product", multiplies_a_product, 2 },
    { "multiplies each row by itself", multiplies_each_row_by_itself, 1 },
    { "does very much", does_very_much, 1 },
    { "reads its input", reads_its_input, 1 },
    { "detaches", detaches, 1 },
    { "rewinds", rewinds, 1 },
    { "differentiates", differentiates, 1 },
    { "loops in turn", loops_in_turn, 1 },
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

TEST_EACH(a_step_of_any_manner_does_in_a_loop_what_it_does_by_hand, EXAMPLES)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int i = 0; i < 4; i++) {
        wf_tape_reset(t);
        const given g = given_of(t, i % 2 ? ragged : NULL, i / 2);
        assert_as_by_hand(t, &examples[_i], &g);
    }
}

TEST_EACH(a_step_of_any_manner_infers_what_it_trains, EXAMPLES)
{
    OWN(wf_tape) *t = wf_tape_new(NULL), *u = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    const example *e = &examples[_i];
    if (e->step == differentiates) return; /* inference records nothing */
    wf_var *a[OUTPUTS + 1], *b[OUTPUTS + 1];
    const given g = given_of(t, ragged, true), h = given_of(u, ragged, true);
    ck_assert_msg(by_scan(t, e, &g, a) && by_scan(u, e, &h, b), "%s: %s", e->name,
                  wf_tape_error(u));
    for (int j = 0; j <= e->outputs; j++) assert_equal(e->name, "a value", b[j], a[j]);
}

/* ---- what a loop is given ---- */

/* x, or the state, as a view of a larger var, of another order of axes, or of fewer numbers. */
static wf_var *viewed(wf_tape *t, int way)
{
    switch (way) {
    case 0: return wf_transpose(t, numbers(t, WF_SHAPE(BATCH, TIME, WIDTH), 4), 0, 1);
    case 1: return wf_slice(t, numbers(t, WF_SHAPE(2 * TIME, BATCH, WIDTH), 4), 0, 0, WF_LAST, 2);
    case 2: return wf_slice(t, numbers(t, WF_SHAPE(TIME, BATCH + 2, 5), 4), 1, 1, 1 + BATCH, 1);
    case 3:
        return wf_expand(t, numbers(t, WF_SHAPE(TIME, 1, WIDTH), 4), WF_SHAPE(TIME, BATCH, WIDTH));
    default: {
        wf_var *all = numbers(t, WF_SHAPE(TIME + BATCH - 1, WIDTH), 4);
        return wf_permute(t, wf_window(t, all, 0, BATCH, 1), WF_AXES(0, 2, 1));
    }
    }
}

TEST_EACH(sequences_and_states_may_be_views, 5)
{
    static const example e = { "views", multiplies_views, 1 };
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int i = 0; i < 4; i++) {
        wf_tape_reset(t);
        given g = given_of(t, i % 2 ? ragged : NULL, i / 2);
        g.x = viewed(t, _i);
        if (_i == 2) g.x = wf_slice(t, g.x, -1, 0, 4, 2);
        g.state = _i % 2 ? wf_transpose(t, numbers(t, WF_SHAPE(WIDTH, BATCH), 5), 0, 1)
                         : wf_expand(t, numbers(t, WF_SHAPE(1, WIDTH), 5), WF_SHAPE(BATCH, WIDTH));
        assert_as_by_hand(t, &e, &g);
    }
}

static double sum_of(const wf_tensor *x)
{
    double sum = 0;
    for (int64_t i = 0; i < wf_tensor_count(x); i++) sum += wf_tensor_at(x, i);
    return sum;
}

TEST(parameters_may_be_sequences_and_states_and_frozen)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    const wf_init half = { WF_INIT_CONSTANT, 0.5, 0, 0 };
    wf_var *param[] = { wf_param_new(net, "x", WF_SHAPE(TIME, BATCH, WIDTH), half),
                        wf_param_new(net, "h", WF_SHAPE(BATCH, WIDTH), half),
                        wf_param_new(net, "w", WF_SHAPE(WIDTH, WIDTH), half) };
    static const example e = { "parameters", ignores_its_state, 1 };
    for (uint32_t frozen = 0; frozen < 7; frozen++) {
        OWN(wf_tape) *t = wf_tape_new(NULL);
        const given g = { .x = param[0], .state = param[1], .closed = param[2], .length = ragged };
        wf_var *out[2];
        for (int i = 0; i < 3; i++) wf_param_freeze(param[i], frozen >> i & 1);
        ck_assert(by_scan(t, &e, &g, out));
        wf_var *loss = wf_add(t, wf_sum(t, out[0], NULL), wf_sum(t, out[1], NULL));
        ck_assert_msg(wf_backward(t, loss), "%s", wf_tape_error(t));
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(wf_param_grad(param[i]) != NULL, !(frozen >> i & 1));
        /* The state of the empty sequence alone is handed on. */
        if (!(frozen & 2)) ck_assert_double_eq(sum_of(wf_param_grad(param[1])), WIDTH);
        wf_module_clear_grads(net);
    }
}

TEST(one_var_may_be_given_twice_and_receive_what_comes_out)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const given g = given_of(t, NULL, false);
    wf_var *at[] = { g.x, g.state, g.state }, *grad;
    const wf_scan_call call = {
        .step = hands_its_state_on, .sequences = { 1, at }, .initial = { 2, at + 1 }, .outputs = 1
    };
    ck_assert(wf_scan(t, &call, at, at + 1));
    assert_equal("twice", "state 0", at[1], g.state);
    assert_equal("twice", "state 1", at[2], g.state);
    wf_var *sum = wf_add(t, wf_sum(t, at[0], NULL), wf_sum(t, wf_add(t, at[1], at[2]), NULL));
    ck_assert(wf_grad(t, 1, &sum, NULL, 1, &g.state, &grad, NULL));
    for (int i = 0; i < BATCH * WIDTH; i++) ck_assert_double_eq(wf_at(grad, i), TIME + 2);
}

TEST(what_lies_past_the_end_of_a_sequence_reaches_no_gradient)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int i = 0; i < 2; i++) {
        static const example e = { "padding", multiplies_a_product, 2 };
        given g = given_of(t, ragged, i);
        wf_var *out[3], *wrt[] = { g.x, g.closed }, *grad[2];
        for (int k = 0; k < TIME * BATCH * WIDTH; k++)
            if (k / (BATCH * WIDTH) >= ragged[k / WIDTH % BATCH])
                put(wf_value(g.x), k, k % 2 ? NAN : INFINITY);
        ck_assert(by_scan(t, &e, &g, out));
        wf_var *loss = mixed(t, 3, out);
        ck_assert(isfinite(wf_item(loss)));
        ck_assert(wf_grad(t, 1, &loss, NULL, 2, wrt, grad, NULL));
        for (int k = 0; k < TIME * BATCH * WIDTH; k++) {
            const bool past = k / (BATCH * WIDTH) >= ragged[k / WIDTH % BATCH];
            ck_assert(past ? wf_at(grad[0], k) == 0 : isfinite(wf_at(grad[0], k)));
        }
        for (int k = 0; k < WIDTH * WIDTH; k++) ck_assert(isfinite(wf_at(grad[1], k)));
    }
}

/* ---- what a step does besides ---- */

static int hooks;

static void hook(void *context)
{
    (void)context;
    hooks++;
}

STEP(hangs_a_hook)
{
    ignores_its_state(t, context, x, state, y);
    wf_tape_on_commit(t, hook, NULL);
}

TEST_EACH(a_hook_that_a_step_hangs_runs_once_for_each_step, 2)
{
    static const example e = { "hooks", hangs_a_hook, 1 };
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = _i ? WF_EVAL : WF_TRAIN });
    given g = given_of(t, NULL, false);
    wf_var *out[2];
    g.closed = wf_param_new(net, "w", WF_SHAPE(WIDTH, WIDTH), (wf_init){ 0 });
    ck_assert(by_scan(t, &e, &g, out));
    ck_assert_int_eq(hooks, _i ? TIME : 0);
    ck_assert(wf_backward(t, wf_sum(t, out[0], NULL)));
    ck_assert_int_eq(hooks, TIME);
}

STEP(looks_up)
{
    const given *g = context;
    wf_var *ids = wf_argmax(t, x[0], -1); /* (n), 0 or 1 */
    y[0] = state[0] = wf_add(t, state[0], wf_gather_rows(t, g->closed, ids));
}

TEST(a_table_that_a_loop_only_looks_up_in_is_known_by_its_rows)
{
    static const example e = { "lookups", looks_up, 1 };
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    OWN(wf_tape) *t = wf_tape_new(NULL);
    given g = given_of(t, ragged, false);
    wf_var *out[2];
    g.closed = wf_param_new(net, "w", WF_SHAPE(100, WIDTH), (wf_init){ WF_INIT_CONSTANT, 1, 0, 0 });
    ck_assert(by_scan(t, &e, &g, out));
    ck_assert(wf_backward(t, wf_sum(t, out[1], NULL)));
    const wf_grad_rows rows = wf_param_grad_rows(g.closed);
    ck_assert_ptr_nonnull(rows.row);
    ck_assert_int_le(rows.n, WIDTH);
    ck_assert_double_eq(sum_of(rows.grad), (2 + 0 + 4) * WIDTH);
}

static jmp_buf place;
static int steps_before;

STEP(jumps)
{
    ignores_its_state(t, context, x, state, y);
    if (steps_before-- == 0) longjmp(place, 1);
}

TEST_EACH(a_step_may_be_left_by_a_jump_and_the_tape_is_reset, 4)
{
    static const example e = { "jumps", jumps, 1 }, whole = { "after", ignores_its_state, 1 };
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *out[2];
    const given g = given_of(t, ragged, false);
    steps_before = _i; /* where the step is recorded, and where it runs, if it is called again */
    if (!setjmp(place)) {
        ck_assert(by_scan(t, &e, &g, out));
        ck_assert_int_ge(steps_before, 0);
        ck_assert_int_gt(_i, 0);
    }
    wf_tape_reset(t);
    const given anew = given_of(t, ragged, false);
    assert_as_by_hand(t, &whole, &anew);
}

TEST(a_loop_may_lie_between_a_mark_and_the_way_back)
{
    OWN(wf_tape) *t = wf_tape_new(NULL), *u = wf_tape_new(NULL);
    static const example e = { "marks", multiplies_a_product, 2 };
    given g = given_of(t, ragged, true), h = given_of(u, ragged, true);
    for (int i = 0; i < 5; i++) {
        const wf_mark mark = wf_tape_mark(t);
        wf_var *out[3], *want[3];
        ck_assert(by_scan(t, &e, &g, out) && by_scan(u, &e, &h, want));
        ck_assert(wf_tape_rewind(t, mark, 3, out));
        g.state = out[2], h.state = want[2];
        for (int j = 0; j < 3; j++) assert_equal("marks", "a value", out[j], want[j]);
    }
    assert_as_by_hand(t, &e, &g);
}

/* ---- loops of no step ---- */

/* Its weight is of another width than its input: wrong in whatever way the loop runs. */
static void misfits(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    wf_var *const *weight = self;
    state[0] = wf_tanh(t, wf_add(t, wf_affine(t, x, *weight, NULL), state[0]));
}

static const wf_cell_state one_state[] = { WF_STATE("h", WF_HIDDEN), { .name = NULL } };
static const wf_cell_param one_weight[] = { { .name = "w", .size = { WF_HIDDEN, 7 } },
                                            { .name = NULL } };
static const wf_cell misfit = { .name = "misfit",
                                .size = sizeof(wf_var *),
                                .step = misfits,
                                .states = one_state,
                                .params = one_weight };

/* T, B, and whether all sequences are empty: by no step, by the plan, by few steps, of no rows. */
static const struct {
    int64_t time, batch;
    bool empty;
} sizes[] = { { 0, 2, false }, { 5, 2, true },  { 5, 2, false },
              { 2, 2, false }, { 5, 0, false }, { 0, 0, false } };

TEST_EACH(a_mistake_of_a_cell_is_told_whatever_a_batch_is, 6)
{
    const int64_t time = sizes[_i].time, batch = sizes[_i].batch;
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_rnn *rnn = wf_rnn_new(net, "rnn", &misfit, &(wf_rnn_options){ .input = 3, .hidden = 4 });
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = wf_zeros(t, WF_F64, WF_SHAPE(time, batch, 3));
    wf_var *none = sizes[_i].empty ? wf_zeros(t, WF_I32, WF_SHAPE(batch)) : NULL;
    ck_assert_ptr_null(wf_rnn_forward(t, rnn, x, &(wf_rnn_call){ .lengths = none }));
    assert_fails(t, worded("affine: x is (%lld, 3), w is (4, 7); expected x (..., 7)\n  in rnn",
                           (long long)batch));
}

static void reads_its_state(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    (void)self;
    if (wf_at(state[0], 0) > 1) state[0] = wf_tanh(t, state[0]);
    state[0] = wf_add(t, state[0], x);
}

TEST(a_cell_that_reads_values_needs_a_step_to_run)
{
    static const wf_cell cell = {
        .name = "reader", .size = 1, .step = reads_its_state, .states = one_state
    };
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_rnn *rnn = wf_rnn_new(net, "rnn", &cell, &(wf_rnn_options){ .input = 3, .hidden = 3 });
    OWN(wf_tape) *t = wf_tape_new(NULL);
    ck_assert_ptr_nonnull(wf_rnn_forward(t, rnn, wf_zeros(t, WF_F64, WF_SHAPE(4, 2, 3)), NULL));
    ck_assert_ptr_null(wf_rnn_forward(t, rnn, wf_zeros(t, WF_F64, WF_SHAPE(0, 2, 3)), NULL));
    assert_fails(t, "read: the value is not there: a step is being recorded\n  in rnn\n"
                    "  hint: a loop without steps records one, to know what it leaves");
}

/* A loop of no step within one of some. */
STEP(loops_not_at_all)
{
    const given *g = context;
    const int64_t n = wf_dim(x[0], 0);
    wf_var *none[1], *last[1], *from = wf_affine(t, state[0], g->closed, NULL);
    const wf_scan_call call = { .step = splits_a_concat,
                                .context = g,
                                .sequences = WF_VARS(wf_zeros(t, WF_F64, WF_SHAPE(0, n, WIDTH))),
                                .initial = { 1, &from },
                                .outputs = 1 };
    if (!wf_scan(t, &call, none, last)) return;
    y[0] = state[0] = wf_tanh(t, wf_add(t, last[0], x[0]));
}

TEST(a_loop_of_no_step_may_be_a_step_of_another)
{
    static const example e = { "no step within", loops_not_at_all, 1 };
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int i = 0; i < 4; i++) {
        wf_tape_reset(t);
        const given g = given_of(t, i % 2 ? ragged : NULL, i / 2);
        assert_as_by_hand(t, &e, &g);
    }
}

/* ---- what a planned loop says, and hands on, is what a plain one does ---- */

static bool small_enough(const wf_call *c, wf_error *e)
{
    for (int64_t i = 0; i < wf_tensor_count(c->in[0]); i++)
        if (wf_tensor_at(c->in[0], i) > 0.5)
            return wf_refuse(e, "%.3g is too large\n  hint: half of it is not",
                             wf_tensor_at(c->in[0], i));
    return true;
}

static bool as_it_is(wf_shaping *s)
{
    s->out[0] = *s->in[0];
    return true;
}

static void copies(const wf_call *c)
{
    wf_tensor_copy(c->in[0], c->out[0]);
}

static const wf_op limited = { .name = "limited",
                               .inputs = 1,
                               .outputs = 1,
                               .shape = as_it_is,
                               .check = small_enough,
                               .forward = copies };

/* Which mistake is made; the loop has `lines` of ids besides. */
typedef struct mistake {
    int kind;
    wf_var *w, *table;
} mistake;

STEP(errs)
{
    const mistake *m = context;
    wf_scope_push(t, "step");
    state[0] = wf_tanh(t, wf_add(t, wf_affine(t, x[0], m->w, NULL), state[0]));
    y[0] = state[0];
    y[1] = wf_gather_rows(t, m->table, x[1]);
    if (m->kind == 2) y[0] = wf_apply_one(t, &limited, 1, &state[0], NULL);
    if (m->kind == 3) y[0] = wf_log(t, wf_sub(t, state[0], state[0]));
    if (m->kind == 4) y[0] = wf_sqrt(t, wf_mul_scalar(t, state[0], 0));
    if (m->kind == 5) y[1] = y[0] = wf_cos(t, x[0]);
    wf_scope_pop(t);
}

/* Runs its loop and backward from output 0, or 1 where `kind` is 6. What the tape then says, or
 * which parameters have a gradient: "w", "table". */
static const char *erred(int kind, bool plain, bool even)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const wf_init half = { WF_INIT_CONSTANT, 0.5, 0, 0 };
    const mistake m = { .kind = kind,
                        .w = wf_param_new(net, "w", WF_SHAPE(WIDTH, WIDTH), half),
                        .table = wf_param_new(net, "table", WF_SHAPE(4, WIDTH), half) };
    int32_t ids[TIME * BATCH] = { 0 };
    if (kind == 1) ids[2 * BATCH + 2] = 7; /* step 2 of the sequence that is there to its end */
    wf_var *of[] = { numbers(t, WF_SHAPE(TIME, BATCH, WIDTH), 1),
                     wf_constant(t, WF_I32, WF_SHAPE(TIME, BATCH), ids) };
    wf_var *y[2];
    wf_scan_call call = { .step = errs,
                          .context = &m,
                          .sequences = { 2, of },
                          .initial = WF_VARS(numbers(t, WF_SHAPE(BATCH, WIDTH), 2)),
                          .outputs = 2,
                          .plain = plain };
    if (!even) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(BATCH), ragged);
    if (!wf_scan(t, &call, y, NULL) || !wf_backward(t, wf_sum(t, y[kind == 6], NULL)))
        return worded("%s", wf_tape_error(t));
    return worded("%s%s", wf_param_grad(m.w) ? "w " : "", wf_param_grad(m.table) ? "table" : "");
}

TEST_EACH(a_planned_loop_says_what_a_plain_one_says, 7)
{
    static const char *const text[] = {
        "w ",
        "gather_rows: id 7 at (%d) is out of range: there are 4 rows, at step 2 of the loop\n"
        "  in step",
        NULL,
        "backward: loss became infinite at step 0; the first such value came from log\n  in step",
        "backward: the gradient of 'w' became nan at step 0; the first such value came from the "
        "derivative of sqrt\n  in step",
        "backward: no parameter led here, and no var that wf_keep_grad named",
        "table",
    };
    for (int even = 0; even < 2; even++) {
        const char *said = erred(_i, true, even);
        ck_assert_str_eq(erred(_i, false, even), said);
        if (_i == 1) /* in a step of few sequences the longest comes first */
            ck_assert_str_eq(said, worded(text[1], even ? 2 : 0));
        else if (text[_i])
            ck_assert_str_eq(said, text[_i]);
        else
            ck_assert(strstr(said, "is too large, at step 0 of the loop\n  in step\n  hint: half"));
    }
}

/* The weight is scaled before it is used: the same for all rows, however many there are. */
STEP(scales_its_weight)
{
    const given *g = context;
    wf_var *w = wf_mul(t, g->closed, wf_exp(t, wf_mean(t, g->closed, NULL)));
    y[0] = state[0] = wf_tanh(t, wf_affine(t, wf_add(t, x[0], state[0]), w, NULL));
}

/* Where rows are long enough for a bit of each to be kept by rows. */
STEP(drops_some)
{
    const given *g = context;
    wf_var *wide = wf_concat(t, -1, WF_VARS(x[0], state[0], x[0], state[0]));
    wide = wf_dropout(t, wf_tanh(t, wide), 0.4);
    y[0] = wf_slice(t, wide, -1, 0, WIDTH, 1);
    state[0] = wf_affine(t, wf_slice(t, wide, -1, 1, 1 + WIDTH, 1), g->closed, NULL);
}

TEST_EACH(what_is_no_rows_of_a_step_is_planned_for_any_number_of_them, 3)
{
    static const example all[] = { { "scales", scales_its_weight, 1 },
                                   { "drops", drops_some, 1 },
                                   { "detaches", detaches, 1 } };
    wf_var *out[2][2], *grad[2][3];
    for (int i = 0; i < 4; i++) {
        OWN(wf_tape) *t = wf_tape_new(NULL), *u = wf_tape_new(NULL);
        wf_tape *const on[] = { t, u };
        for (int plain = 0; plain < 2; plain++) {
            const given g = given_of(on[plain], i % 2 ? ragged : NULL, i / 2);
            wf_scan_call call = { .step = all[_i].step,
                                  .context = &g,
                                  .sequences = WF_VARS(g.x),
                                  .initial = WF_VARS(g.state),
                                  .outputs = 1,
                                  .reverse = g.reverse,
                                  .plain = plain };
            if (g.length) call.lengths = wf_constant(on[plain], WF_I32, WF_SHAPE(BATCH), g.length);
            ck_assert(wf_explain_begin(on[plain]));
            ck_assert(wf_scan(on[plain], &call, out[plain], out[plain] + 1));
            ck_assert_int_eq(!strstr(wf_explain_end(on[plain]), "scan: planned"), plain);
            wf_var *loss = mixed(on[plain], 2, out[plain]), *wrt[] = { g.x, g.state, g.closed };
            ck_assert(wf_grad(on[plain], 1, &loss, NULL, 3, wrt, grad[plain], NULL));
        }
        for (int k = 0; k < 2; k++) assert_equal(all[_i].name, "a value", out[0][k], out[1][k]);
        for (int k = 0; k < 3; k++) assert_equal(all[_i].name, "a slope", grad[0][k], grad[1][k]);
    }
}
