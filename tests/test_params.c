/* Parameters on a tape: imported once, committed all or none, deferred, collided, rehearsed,
 * bound to other vars. */
#include "autograd/ops.h"
#include "autograd/private.h"
#include "tensor/runtime.h"
#include "tests/tape.h"

#include <stdio.h>

TEST(a_tied_parameter_is_imported_once_and_gathers_everything)
{
    wf_var *y = wf_mul(t, weight, weight);
    for (int i = 0; i < 20; i++) y = wf_add(t, y, weight);
    ck_assert_int_eq(t->imports.n, 1);
    ck_assert(wf_backward(t, wf_sum(t, y, NULL)));
    param_grad_is(22, 24, 26);
    /* Many parameters: each is found again. */
    wf_var *many[100];
    for (int i = 0; i < 100; i++)
        many[i] = wf_param_new(net, worded("p%d", i), WF_SHAPE(1),
                               (wf_init){ .kind = WF_INIT_CONSTANT, .a = i });
    wf_tape_reset(t);
    wf_var *sum = wf_zeros(t, WF_F64, WF_SHAPE(1));
    for (int turn = 0; turn < 3; turn++)
        for (int i = 0; i < 100; i++)
            sum = wf_add(t, sum, wf_mul_scalar(t, many[(i * 37) % 100], turn + 1));
    ck_assert_int_eq(t->imports.n, 100);
    ck_assert(wf_item(sum) == 6 * 4950);
    ck_assert(wf_backward(t, sum));
    for (int i = 0; i < 100; i++) ck_assert(wf_tensor_at(wf_param_grad(many[i]), 0) == 6);
}

TEST(gradients_add_up_over_calls_and_steps_until_they_are_cleared)
{
    wf_var *y = wf_sum(t, wf_square(t, weight), NULL);
    ck_assert(wf_backward(t, y));
    param_grad_is(2, 4, 6);
    ck_assert(wf_backward(t, y)); /* the same again */
    param_grad_is(4, 8, 12);
    wf_tape_reset(t);
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    param_grad_is(5, 9, 13);
    wf_param_clear_grad(weight);
    ck_assert_ptr_null(wf_param_grad(weight));
    ck_assert_ptr_null(wf_grad_of(weight));
    wf_tape_reset(t);
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    param_grad_is(1, 1, 1);
}

TEST(a_kept_parameter_has_the_sweeps_gradient_and_commits_all_the_same)
{
    for (int turn = 1; turn <= 2; turn++) {
        wf_tape_reset(t);
        wf_var *y = wf_sum(t, wf_square(t, weight), NULL);
        ck_assert(wf_keep_grad(t, weight));
        ck_assert(wf_backward(t, y));
        param_grad_is(2 * turn, 4 * turn, 6 * turn);
        ck_assert(wf_tensor_at(wf_grad_of(weight), 0) == 2 * turn);
    }
}

TEST(after_an_error_no_gradient_has_changed)
{
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    wf_var *v = wf_param_new(net, "v", WF_SHAPE(3), (wf_init){ .kind = WF_INIT_CONSTANT, .a = 1 });
    wf_tape_reset(t);
    wf_var *y = wf_sum(t, wf_mul(t, weight, v), NULL);
    wf_matmul(t, weight, v);
    ck_assert(!wf_backward(t, y));
    param_grad_is(1, 1, 1);
    ck_assert_ptr_null(wf_param_grad(v));
    /* The second parameter changed: neither receives anything. */
    wf_tape_reset(t);
    y = wf_sum(t, wf_mul(t, weight, v), NULL);
    wf_param_changed(v);
    ck_assert(!wf_backward(t, y));
    ck_assert_str_eq(wf_tape_error(t),
                     "backward: 'v' was changed between its use on this tape and the sweep"
                     "\n  hint: wf_tape_reset begins the next step, after the optimiser's");
    param_grad_is(1, 1, 1);
    ck_assert_ptr_null(wf_param_grad(v));
    /* And the step made again succeeds. */
    wf_tape_reset(t);
    ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, weight, v), NULL)));
    param_grad_is(2, 2, 2);
}

TEST(a_deferred_commit_waits_and_adds_up)
{
    set_up_with((wf_tape_options){ .defer_commit = true });
    wf_var *y = wf_sum(t, wf_square(t, weight), NULL);
    ck_assert(wf_backward(t, y));
    ck_assert(wf_backward(t, y));
    ck_assert_ptr_null(wf_param_grad(weight));
    ck_assert(wf_tape_commit(t));
    param_grad_is(4, 8, 12);
    ck_assert(wf_tape_commit(t)); /* nothing is left */
    param_grad_is(4, 8, 12);
    /* What was not committed is forgotten with its step. */
    wf_tape_reset(t);
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    wf_tape_reset(t);
    ck_assert(wf_tape_commit(t));
    param_grad_is(4, 8, 12);
    /* A change between sweep and commit is an error like one before the sweep. */
    wf_tape_reset(t);
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    wf_param_changed(weight);
    ck_assert(!wf_tape_commit(t));
    param_grad_is(4, 8, 12);
}

TEST(commits_that_collide_are_an_error_not_a_race)
{
    OWN(wf_tape) *other = wf_tape_new(NULL);
    ck_assert(module_try_lock(module_root(net),
                              other)); /* as if the other tape's thread stood in its commit */
    ck_assert(!wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert_str_eq(wf_tape_error(t),
                     "backward: another tape is committing to 'w'\n  hint: order the commits of "
                     "several threads with .defer_commit and wf_tape_commit");
    ck_assert_ptr_null(wf_param_grad(weight));
    module_unlock(module_root(net), other);
    wf_tape_reset(t);
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    param_grad_is(1, 1, 1);
}

TEST(two_tapes_read_one_model_and_both_commit)
{
    OWN(wf_tape) *other = wf_tape_new(NULL);
    wf_var *a = wf_sum(t, wf_square(t, weight), NULL), *b = wf_sum(other, weight, NULL);
    ck_assert(wf_backward(other, b));
    ck_assert(wf_backward(t, a));
    param_grad_is(3, 5, 7);
}

TEST(a_rehearsal_leaves_nothing_behind)
{
    set_up_with((wf_tape_options){ .rehearsal = true });
    wf_var *x = numbers(3), *y = wf_sum(t, wf_mul(t, weight, x), NULL);
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, y));
    ck_assert(wf_tensor_at(wf_grad_of(x), 2) == 3);
    ck_assert(wf_tape_commit(t));
    ck_assert_ptr_null(wf_param_grad(weight));
}

TEST(a_bound_var_stands_for_its_parameter_until_the_reset)
{
    tear_down();
    net = wf_module_new("net", NULL); /* floats, checked in double */
    wf_var *p = wf_param_new(net, "p", WF_SHAPE(3), (wf_init){ .kind = WF_INIT_CONSTANT, .a = 1 });
    t = wf_tape_new(NULL);
    wf_var *x = numbers(3);
    ck_assert(wf_tape_bind(t, p, x));
    wf_var *y = wf_sum(t, wf_square(t, p), NULL);
    ck_assert_int_eq(wf_dtype_of(y), WF_F64);
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, y));
    for (int i = 0; i < 3; i++) ck_assert(wf_tensor_at(wf_grad_of(x), i) == 2 * wf_at(x, i));
    ck_assert_ptr_null(wf_param_grad(p));
    /* The parameter may be named where its var is meant. */
    wf_var *g;
    ck_assert(wf_grad(t, 1, &y, NULL, 1, &p, &g, NULL));
    ck_assert(wf_at(g, 0) == 2 * wf_at(x, 0));
    wf_tape_reset(t);
    ck_assert_int_eq(wf_dtype_of(wf_square(t, p)), WF_F32);
}

/* A weight that was computed stands for the parameter: gradients flow through to what it was
 * computed from. */
TEST(a_binding_to_a_computed_var_is_differentiated_through)
{
    wf_var *x = numbers(3);
    ck_assert(wf_tape_bind(t, weight, wf_mul_scalar(t, x, 3)));
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, wf_sum(t, wf_square(t, weight), NULL)));
    for (int i = 0; i < 3; i++) ck_assert(wf_tensor_at(wf_grad_of(x), i) == 18 * wf_at(x, i));
    ck_assert_ptr_null(wf_param_grad(weight));
}

const harness_suite suite = { .before = set_up, .after = tear_down };
