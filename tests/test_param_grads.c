/* Where parameters' gradients lie: written where they are read, asked for when they are needed,
 * and never lost, whoever forgets what. */
#include "tests/fixture.h"

enum { ROWS = 1024, COLUMNS = 96, BYTES = ROWS * COLUMNS * 4 };

static wf_module *net;
static wf_var *w;

static wf_tape *begin(wf_tape_options options)
{
    heap.large_from = BYTES;
    wf_module_free(net); /* of a turn before this one */
    net = wf_module_new("net", NULL);
    w = wf_param_new(net, "w", WF_SHAPE(ROWS, COLUMNS), (wf_init){ .kind = WF_INIT_ZERO });
    ck_assert(w != NULL);
    return wf_tape_new(&options);
}

/* A sweep that gives each number of w the gradient `number`. */
static bool sweep(wf_tape *t, double number)
{
    return wf_backward(t, wf_sum(t, wf_mul_scalar(t, w, number), NULL));
}

static void end(void)
{
    wf_module_free(net);
    nothing_is_left();
}

static double gradient(void)
{
    const wf_tensor *g = wf_param_grad(w);
    return g ? wf_tensor_at(g, wf_tensor_count(g) - 1) : 0;
}

TEST(a_program_that_only_infers_has_no_memory_for_gradients)
{
    OWN(wf_tape) *t = begin((wf_tape_options){ .mode = WF_INFER });
    for (int i = 0; i < 3; i++, wf_tape_reset(t)) ck_assert(wf_sum(t, w, NULL) != NULL);
    ck_assert_int_eq(heap.large, 1); /* its values */
}

TEST(the_first_sweep_writes_where_it_is_read_and_a_loop_keeps_the_memory)
{
    OWN(wf_tape) *t = begin((wf_tape_options){ 0 });
    int64_t settled = 0;
    for (int i = 0; i < 8; i++) {
        wf_tape_reset(t);
        wf_var *y = wf_mse(t, wf_select(t, w, 0, 0), wf_full(t, WF_F32, WF_SHAPE(COLUMNS), 1));
        ck_assert(wf_backward(t, y));
        ck_assert_int_lt(wf_tape_grad_bytes(t), BYTES / 2); /* no copy of it */
        wf_param_clear_grad(w);
        if (i == HARNESS_SETTLED - 1) settled = heap.asked;
    }
    ck_assert_int_eq(heap.large, 2);
    ck_assert_int_eq(heap.asked, settled);
}

TEST(sweeps_that_add_up_keep_one_memory_more)
{
    OWN(wf_tape) *t = begin((wf_tape_options){ 0 });
    for (int i = 0; i < 9; i++) {
        wf_tape_reset(t);
        if (i % 3 == 0) wf_param_clear_grad(w);
        ck_assert(sweep(t, 1 + i % 3));
        ck_assert(gradient() == (i % 3 == 0 ? 1 : i % 3 == 1 ? 3 : 6));
    }
    ck_assert(wf_grad_of(w) == wf_param_grad(w));
}

TEST(more_uses_than_are_added_up_in_turn_end_where_they_are_read)
{
    OWN(wf_tape) *t = begin((wf_tape_options){ 0 });
    wf_var *out[300];
    for (int i = 0; i < 300; i++) out[i] = wf_sum(t, wf_mul_scalar(t, w, i + 1), NULL);
    ck_assert(wf_backward_from(t, 300, out, NULL));
    ck_assert(gradient() == 300 * 301 / 2);
}

TEST_EACH(two_tapes_that_wait_commit_in_either_order, 2)
{
    OWN(wf_tape) *first = begin((wf_tape_options){ .defer_commit = true });
    OWN(wf_tape) *second = wf_tape_new(&(wf_tape_options){ .defer_commit = true });
    wf_tape *t[2] = { first, second };
    for (int step = 0; step < 4; step++) {
        for (int k = 0; k < 2; k++) {
            wf_tape_reset(t[k]);
            ck_assert(sweep(t[k], k + 1) && sweep(t[k], 10));
        }
        ck_assert(!wf_param_grad(w));
        ck_assert(wf_tape_commit(t[_i]));
        ck_assert(gradient() == 11 + _i);
        ck_assert(wf_tape_commit(t[!_i]));
        ck_assert(gradient() == 23);
        wf_param_clear_grad(w);
        ck_assert(!wf_param_grad(w));
    }
}

TEST(what_was_never_committed_is_freed_with_its_tape_or_by_its_reset)
{
    OWN(wf_tape) *t = begin((wf_tape_options){ .defer_commit = true });
    for (int i = 0; i < 3; i++, wf_tape_reset(t)) ck_assert(sweep(t, 1));
    ck_assert(sweep(t, 1));
    wf_module_free(net); /* of which the tape knows nothing */
    net = NULL;
}

TEST(a_sweep_that_fails_leaves_what_was_there)
{
    OWN(wf_tape) *t = begin((wf_tape_options){ 0 });
    ck_assert(sweep(t, 3));
    uint64_t version = wf_param_grad_version(w);
    wf_var *y = wf_sum(t, wf_mul(t, w, wf_full(t, WF_F32, WF_SHAPE(1), 1e30)), NULL);
    y = wf_mul_scalar(t, wf_mul_scalar(t, y, 1e30), 1e30); /* 0, and its derivative is infinite */
    ck_assert(!wf_backward(t, y));
    ck_assert_str_eq(wf_tape_error(t), "backward: the gradient of 'w' became infinite at step 0; "
                                       "the first such value came from the derivative of "
                                       "mul_scalar");
    ck_assert(gradient() == 3 && wf_param_grad_version(w) == version);
    wf_tape_reset(t);
    ck_assert(sweep(t, 4));
    ck_assert(gradient() == 7);
}

TEST(no_memory_for_a_gradient_is_an_error_and_nothing_is_lost)
{
    int failed = 0;
    for (int64_t k = 1, asked = 1; asked >= k; k++) {
        OWN(wf_tape) *t = begin((wf_tape_options){ 0 });
        wf_var *y = wf_sum(t, wf_mul_scalar(t, w, 2), NULL);
        heap.asked = 0;
        heap.fail_at = k;
        bool ok = wf_backward(t, y);
        asked = heap.asked;
        heap.fail_at = 0;
        if (!ok) {
            failed++;
            ck_assert_str_eq(wf_tape_error(t), "backward: out of memory for 393216 bytes");
            ck_assert(!wf_param_grad(w));
            wf_tape_reset(t);
            ck_assert(sweep(t, 2));
        }
        ck_assert(gradient() == 2);
    }
    ck_assert_int_eq(failed, 1); /* a smaller piece of memory does for what is no parameter's */
}

const harness_suite suite = { .after = end };
