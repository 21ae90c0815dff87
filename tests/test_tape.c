/* The tape's life: errors and what they say, marks, modes, hooks, and no allocation once it runs.
 * (What is refused, and NULL: test_misuse_tape.c and test_misuse.c.) */
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/private.h"
#include "autograd/views.h"
#include "tensor/runtime.h"
#include "tests/tape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ---- */

TEST(a_failed_tape_has_no_gradients_until_its_reset)
{
    wf_var *a = numbers(3), *g = a;
    wf_fail(t, "test: failed on purpose");
    ck_assert(!wf_keep_grad(t, a) && !wf_grad(t, 1, &a, NULL, 1, &a, &g, NULL) && !g);
    wf_tape_reset(t);
    ck_assert(wf_tape_ok(t));
    ck_assert_str_eq(wf_tape_error(t), "");
    ck_assert_ptr_nonnull(wf_add(t, numbers(3), numbers(3)));
}

TEST(a_failure_says_in_which_scopes)
{
    wf_scope_push(t, "translate");
    wf_scope_push(t, "encoder");
    wf_scope_pop(t);
    char name[16] = "decoder";
    wf_scope_push(t, name);
    memset(name, 'x', 7); /* the text was copied */
    wf_scope_push(t, "attention");
    wf_fail(t, "attention: %d heads of width %d; the model is %d wide", 3, 5, 16);
    ck_assert_str_eq(wf_tape_error(t), "attention: 3 heads of width 5; the model is 16 wide\n"
                                       "  in translate > decoder > attention");
}

/* ---- values ---- */

TEST(what_a_var_is_can_be_read)
{
    wf_var *x = wf_reshape(t, numbers(6), WF_SHAPE(2, 3)),
           *s = wf_select(t, wf_select(t, x, 0, 1), 0, 0);
    ck_assert(wf_item(s) == 0.5 && wf_at(x, 3) == 0.5);
    double out[6];
    ck_assert(wf_copy_out(wf_transpose(t, x, 0, 1), out, 6));
    ck_assert(out[0] == -1 && out[1] == 0.5 && out[2] == -0.5);
    ck_assert(wf_at(weight, 1) == 2 && wf_count(weight) == 3); /* parameters are read too */
}

TEST(values_enter_by_copy)
{
    double x[3] = { 1, 2, 3 };
    int32_t ids[2] = { 4, 5 };
    wf_var *a = wf_leaf(t, WF_F64, WF_SHAPE(3), x), *b = wf_constant(t, WF_I32, WF_SHAPE(2), ids);
    wf_tensor turned, whole = wf_tensor_of(WF_F64, WF_SHAPE(3, 1), x);
    ck_assert(wf_view_transpose(&whole, 0, 1, &turned));
    wf_var *c = wf_leaf_tensor(t, &turned);
    memset(x, 0, sizeof x);
    memset(ids, 0, sizeof ids);
    ck_assert(wf_at(a, 2) == 3 && wf_at(b, 1) == 5 && wf_at(c, 1) == 2);
    ck_assert_int_eq(wf_dim(c, 1), 3);
    ck_assert(wf_at(wf_full(t, WF_F32, WF_SHAPE(2), 1.5), 1) == 1.5);
    ck_assert(wf_at(wf_zeros(t, WF_I32, WF_SHAPE(2)), 1) == 0);
}

/* ---- marks ---- */

TEST(a_rewind_forgets_what_came_after_and_keeps_what_was_named)
{
    set_up_with((wf_tape_options){ .mode = WF_INFER });
    wf_var *h = numbers(8), *before = numbers(2);
    int64_t most = 0;
    for (int step = 0; step < 200; step++) {
        wf_mark mark = wf_tape_mark(t);
        double want = wf_at(h, 3) * 0.5 + 1;
        wf_var *next = wf_add_scalar(t, wf_mul_scalar(t, h, 0.5), 1), *keep[1];
        for (int i = 0; i < 20; i++) wf_tanh(t, next);
        keep[0] = wf_slice(t, next, 0, 0, WF_LAST, 1);
        ck_assert(wf_tape_rewind(t, mark, 1, keep));
        h = keep[0];
        ck_assert(wf_at(h, 3) == want && wf_count(h) == 8);
        if (step == 0) most = wf_tape_bytes(t);
        /* What is kept was made after the mark: each step leaves one var, and nothing of the
         * other twenty. */
        ck_assert_int_le(wf_tape_bytes(t), most + step * 512);
    }
    ck_assert(wf_at(before, 1) == -0.5);
}

TEST(a_rewind_to_one_mark_again_and_again_takes_no_more_memory)
{
    set_up_with((wf_tape_options){ .mode = WF_INFER });
    wf_var *state[2] = { numbers(8), wf_reshape(t, numbers(6), WF_SHAPE(2, 3)) };
    wf_mark mark = wf_tape_mark(t);
    int64_t bytes = 0, from = 0;
    for (int step = 0; step < 100; step++) {
        double a = wf_at(state[0], 1) + 1, b = wf_at(state[1], 2);
        wf_var *keep[2] = { wf_add_scalar(t, state[0], 1), wf_transpose(t, state[1], 0, 1) };
        ck_assert(wf_tape_rewind(t, mark, 2, keep));
        ck_assert(wf_at(keep[0], 1) == a);
        ck_assert(wf_at(wf_transpose(t, keep[1], 0, 1), 2) == b);
        state[0] = keep[0];
        state[1] = keep[1];
        if (step == 9) bytes = wf_tape_bytes(t), from = heap.asked;
    }
    ck_assert_int_le(wf_tape_bytes(t), bytes);
    if (!HARNESS_ADDRESSES) ck_assert_int_eq(heap.asked, from); /* or what was given up rests */
}

TEST(what_came_before_a_mark_is_still_differentiated_after_the_rewind)
{
    wf_var *y = wf_square(t, weight);
    wf_mark mark = wf_tape_mark(t);
    int64_t nodes = wf_tape_nodes(t);
    wf_var *z = wf_tanh(t, y), *keep[1] = { z };
    double value = wf_at(z, 1);
    ck_assert(wf_tape_rewind(t, mark, 1, keep));
    ck_assert_int_eq(wf_tape_nodes(t), nodes);
    ck_assert(wf_at(keep[0], 1) == value);
    ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, y, keep[0]), NULL)));
    for (int i = 0; i < 3; i++) /* what was kept is a constant */
        ck_assert(wf_tensor_at(wf_param_grad(weight), i) ==
                  2 * wf_at(weight, i) * wf_at(keep[0], i));
}

TEST(a_parameter_first_used_after_a_mark_is_imported_anew_after_the_rewind)
{
    wf_mark mark = wf_tape_mark(t);
    wf_square(t, weight);
    ck_assert(wf_tape_rewind(t, mark, 0, NULL));
    ck_assert(wf_backward(t, wf_sum(t, wf_square(t, weight), NULL)));
    param_grad_is(2, 4, 6);
}

TEST(a_mark_behind_the_one_rewound_to_stays_dead_when_the_tape_has_grown_past_it)
{
    wf_mark outer = wf_tape_mark(t);
    wf_zeros(t, WF_F64, WF_SHAPE(50));
    wf_mark inner = wf_tape_mark(t);
    ck_assert(wf_tape_rewind(t, outer, 0, NULL));
    wf_zeros(t, WF_F64, WF_SHAPE(1000));
    ck_assert(!wf_tape_rewind(t, inner, 0, NULL));
    ck_assert_str_eq(wf_tape_error(t),
                     "rewind: the mark was set after one that the tape was rewound to");
}

TEST(a_rewind_is_refused_while_gradients_made_after_the_mark_wait_for_the_commit)
{
    set_up_with((wf_tape_options){ .defer_commit = true });
    wf_mark mark = wf_tape_mark(t);
    ck_assert(wf_backward(t, wf_sum(t, wf_square(t, weight), NULL)));
    ck_assert(!wf_tape_rewind(t, mark, 0, NULL));
    ck_assert_str_eq(wf_tape_error(t), "rewind: the gradient of 'w' was made after the mark and "
                                       "waits for wf_tape_commit");
}

TEST(a_gradient_kept_after_a_mark_is_forgotten_by_the_rewind_and_may_be_kept_again)
{
    wf_var *x = numbers(3);
    wf_mark mark = wf_tape_mark(t);
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, wf_sum(t, wf_square(t, x), NULL)));
    ck_assert_ptr_nonnull(wf_grad_of(x));
    ck_assert(wf_tape_rewind(t, mark, 0, NULL));
    ck_assert_ptr_null(wf_grad_of(x));
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, wf_sum(t, wf_square(t, x), NULL)));
    for (int i = 0; i < 3; i++) ck_assert(wf_tensor_at(wf_grad_of(x), i) == 2 * wf_at(x, i));
}

TEST(gradients_of_nothing_by_nothing_are_no_error_on_a_fresh_tape)
{
    ck_assert(wf_grad(t, 0, NULL, NULL, 0, NULL, NULL, NULL));
    ck_assert(wf_tape_ok(t));
}

/* ---- modes, random numbers, hooks ---- */

TEST(infer_mode_records_nothing)
{
    set_up_with((wf_tape_options){ .mode = WF_INFER });
    wf_var *y = wf_sum(t, wf_mul(t, weight, numbers(3)), NULL);
    ck_assert(wf_item(y) == -1 - 1);
    ck_assert_int_eq(wf_tape_nodes(t), 0);
    ck_assert(!wf_backward(t, y));
    ck_assert_str_eq(wf_tape_error(t), "backward: nothing is recorded in infer mode");
    ck_assert_ptr_null(wf_param_grad(weight));
    wf_tape_reset(t);
    wf_tape_set_mode(t, WF_EVAL);
    ck_assert_int_eq(wf_tape_mode(t), WF_EVAL);
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert_int_eq(wf_tape_nodes(t), 1);
}

TEST(constants_are_not_recorded_either)
{
    wf_var *c = wf_constant(t, WF_F64, WF_SHAPE(3), NULL);
    wf_exp(t, wf_add(t, c, c));
    wf_square(t, wf_detach(t, weight));
    ck_assert_int_eq(wf_tape_nodes(t), 0);
}

TEST(random_numbers_depend_on_seed_and_step_alone)
{
    double first[64], again[64], other[64];
    set_up_with((wf_tape_options){ .seed = 9 });
    wf_tape_set_step(t, 5);
    wf_var *one = wf_full(t, WF_F64, WF_SHAPE(64), 1);
    ck_assert(wf_copy_out(wf_dropout(t, one, 0.5), first, 64));
    ck_assert(wf_copy_out(wf_dropout(t, one, 0.5), other, 64));
    ck_assert(memcmp(first, other, sizeof first) != 0); /* two ops, two masks */
    wf_tape_reset(t);
    ck_assert_int_eq((int)wf_tape_step(t), 6);
    one = wf_full(t, WF_F64, WF_SHAPE(64), 1);
    ck_assert(wf_copy_out(wf_dropout(t, one, 0.5), other, 64));
    ck_assert(memcmp(first, other, sizeof first) != 0);
    set_up_with((wf_tape_options){ .seed = 9, .threads = 1 });
    wf_tape_set_step(t, 5);
    one = wf_full(t, WF_F64, WF_SHAPE(64), 1);
    wf_tanh(t, one); /* other ops draw nothing */
    ck_assert(wf_copy_out(wf_dropout(t, one, 0.5), again, 64));
    ck_assert(memcmp(first, again, sizeof first) == 0);
    wf_tape_set_mode(t, WF_EVAL);
    ck_assert_ptr_eq(wf_dropout(t, one, 0.5), one);
}

static int committed;

static void count_commit(void *context)
{
    committed += *(int *)context;
}

TEST(hooks_run_when_what_was_computed_becomes_permanent)
{
    int one = 1, ten = 10;
    committed = 0;
    set_up();
    ck_assert(wf_tape_on_commit(t, count_commit, &one) && wf_tape_on_commit(t, count_commit, &ten));
    ck_assert_int_eq(committed, 0);
    wf_var *y = wf_sum(t, weight, NULL);
    ck_assert(wf_backward(t, y));
    ck_assert_int_eq(committed, 11);
    ck_assert(wf_backward(t, y)); /* they ran, and are done */
    ck_assert_int_eq(committed, 11);
    ck_assert(wf_tape_on_commit(t, count_commit, &one));
    wf_tape_reset(t); /* forgotten */
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert_int_eq(committed, 11);
    wf_tape_reset(t);
    ck_assert(wf_tape_on_commit(t, count_commit, &one));
    wf_var *lost = wf_sum(t, weight, NULL);
    wf_fail(t, "no");
    ck_assert(!wf_backward(t, lost));
    ck_assert(!wf_tape_on_commit(t, count_commit, &one));
    ck_assert_int_eq(committed, 11);

    set_up_with((wf_tape_options){ .defer_commit = true });
    ck_assert(wf_tape_on_commit(t, count_commit, &one));
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert_int_eq(committed, 11);
    ck_assert(wf_tape_commit(t));
    ck_assert_int_eq(committed, 12);

    for (int mode = WF_EVAL; mode <= WF_INFER; mode++) {
        set_up_with((wf_tape_options){ .mode = (wf_mode)mode });
        ck_assert(wf_tape_on_commit(t, count_commit, &one));
        ck_assert_int_eq(committed, 12 + mode);
        set_up_with((wf_tape_options){ .mode = (wf_mode)mode, .rehearsal = true });
        ck_assert(wf_tape_on_commit(t, count_commit, &ten));
        ck_assert_int_eq(committed, 12 + mode);
    }
    set_up_with((wf_tape_options){ .rehearsal = true });
    ck_assert(wf_tape_on_commit(t, count_commit, &one));
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert_int_eq(committed, 14);
}

/* ---- steady state ---- */

static bool one_step(int64_t n)
{
    wf_tape_reset(t);
    wf_var *x = wf_full(t, WF_F64, WF_SHAPE(n, 3), 0.5), *y = wf_mul(t, x, weight), *g;
    for (int i = 0; i < 30; i++)
        y = wf_tanh(t, wf_add(t, wf_slice(t, y, 0, 0, WF_LAST, 1), weight));
    wf_var *loss = wf_sum(t, wf_square(t, y), NULL);
    if (!wf_grad(t, 1, &loss, NULL, 1, &weight, &g, &with_graph)) return false;
    return wf_keep_grad(t, y) && wf_backward(t, wf_add(t, loss, wf_sum(t, g, NULL)));
}

TEST(a_steady_loop_allocates_nothing_after_its_second_step)
{
    tear_down();
    int64_t before = heap.live;
    set_up();
    for (int i = 0; i < HARNESS_SETTLED; i++) ck_assert(one_step(100));
    int64_t settled = heap.asked, nodes = wf_tape_nodes(t), bytes = wf_tape_bytes(t);
    for (int i = 0; i < 20; i++) ck_assert(one_step(100));
    ck_assert_int_eq(heap.asked, settled);
    ck_assert_int_eq(wf_tape_nodes(t), nodes);
    ck_assert_int_eq(wf_tape_bytes(t), bytes);
    ck_assert(one_step(50)); /* less needs no more */
    ck_assert_int_eq(heap.asked, settled);
    tear_down();
    ck_assert_int_eq(heap.live, before);
}

const harness_suite suite = { .before = set_up, .after = tear_down };
