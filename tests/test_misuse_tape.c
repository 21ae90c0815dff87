/* Misuse of the tape: values that cannot enter, sweeps from what has no gradient, marks out of
 * order, errors and scopes, bindings, and op rows of a stranger's that lack what they need. */
#include "tests/misuse.h"

#include <limits.h>
#include <math.h>

/* ---- the tape itself ---- */

TEST(options_of_a_tape_out_of_range_are_the_nearest_that_can_be)
{
    wf_tape *t = now.t;
    uint64_t step = wf_tape_step(t);
    QUIET(wf_tape_mode(NULL) == WF_INFER);
    QUIET(wf_tape_step(t) == step);
    QUIET(*wf_tape_error(NULL) && !*wf_tape_error(t));
    /* Options out of range are taken as the nearest that can be. */
    const wf_tape_options odd = { .mode = (wf_mode)77, .threads = -5 },
                          many = { .threads = INT_MAX };
    wf_tape *a = wf_tape_new(&odd), *b = wf_tape_new(&many);
    ck_assert_int_eq(wf_tape_threads(a), wf_threads());
    ck_assert_int_eq(wf_tape_threads(b), wf_threads());
    ck_assert(wf_tape_ok(a) && wf_sum(a, misuse_leaf(a, WF_SHAPE(3)), NULL));
    wf_tape_set_mode(b, (wf_mode)-3);
    wf_tape_set_step(b, UINT64_MAX);
    ck_assert_ptr_nonnull(wf_dropout(b, misuse_leaf(b, WF_SHAPE(3)), 0.5));
    wf_tape_reset(b);
    ck_assert_uint_eq(wf_tape_step(b), 0);
    wf_tape_free(a);
    wf_tape_free(b);
}

TEST(a_commit_of_nothing_is_one)
{
    wf_tape *t = now.t;
    QUIET(wf_tape_commit(t)); /* nothing waits */
    QUIET(wf_tape_commit(t));
    wf_fail(t, "test: failed on purpose");
    ck_assert(!wf_tape_commit(t));
}

/* ---- errors and scopes ---- */

TEST(what_a_user_fails_a_tape_with_is_said_as_it_stands)
{
    const char *none = NULL;
    REFUSES(wf_fail(now.t, "test: %d of %s", 7, "it"), "test: 7 of it");
    REFUSES(wf_fail(now.t, none, 0), NULL);
    char longest[5000];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "test: ", 6);
    longest[sizeof longest - 1] = '\0';
    wf_scope_push(now.t, longest + 6);
    REFUSES(wf_fail(now.t, "%s", longest), NULL);
    wf_fail(now.t, "test: the first");
    wf_fail(now.t, "test: the second");
    ck_assert_str_eq(wf_tape_error(now.t), "test: the first");
}

TEST(scopes_that_are_not_balanced_do_no_harm)
{
    wf_tape *t = now.t;
    for (int i = 0; i < 3; i++) wf_scope_pop(t); /* more pops than pushes */
    QUIET(wf_tape_ok(t));
    wf_scope_push(t, NULL);
    wf_scope_push(t, "inner");
    REFUSES(wf_fail(t, "test: where"), "test: where\n  in (unnamed) > inner");
    wf_scope_push(t, "outer");
    REFUSES(wf_matmul(t, now.vector, now.tall),
            "matmul: (3) times (3, 2): both need two axes or more\n  in outer\n"
            "  hint: unsqueeze makes a vector a row or a column");
    /* Pushes that were never popped: neither the stack nor the sentence overflows. */
    for (int i = 0; i < 300000; i++) wf_scope_push(t, "deeper");
    REFUSES(wf_fail(t, "test: deep"), NULL);
    wf_scope_push(t, "forgotten by the reset");
    misuse_renew();
    REFUSES(wf_fail(t, "test: plain"), "test: plain");
}

/* ---- values that enter ---- */

TEST(memory_of_a_tape_is_zeros_and_no_more_than_there_is)
{
    char *memory = wf_tape_memory(now.t, 0), *more = wf_tape_memory(now.t, 1000);
    QUIET(memory && more && (uintptr_t)memory % WF_ALIGNMENT == 0);
    QUIET((uintptr_t)more % WF_ALIGNMENT == 0);
    for (int i = 0; i < 1000; i++) ck_assert_int_eq(more[i], 0);
    REFUSES(wf_tape_memory(now.t, SIZE_MAX),
            "tape_memory: out of memory for 18446744073709551615 bytes");
    REFUSES(wf_tape_memory(now.t, SIZE_MAX / 4),
            "tape_memory: out of memory for 4611686018427387903 bytes");
}

TEST(a_constant_to_be_filled_says_where_its_numbers_lie)
{
    wf_tensor to;
    wf_var *v = wf_constant_fill(now.t, WF_F32, WF_SHAPE(3), &to);
    QUIET(v && to.data == wf_data(v) && wf_tensor_count(&to) == 3);
    REFUSES(wf_constant_fill(now.t, WF_F32, WF_SHAPE(-3), &to), NULL);
    QUIET(!to.data && wf_count(wf_constant_fill(now.t, WF_F32, WF_SHAPE(3), NULL)) == 3);
}

TEST(a_tensor_that_is_broadcast_enters_in_full)
{
    double x[6] = { 1, 2, 3, 4, 5, 6 };
    wf_tensor ones = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x);
    ones.stride[0] = ones.stride[1] = 0;
    QUIET(wf_item(wf_sum(now.t, wf_leaf_tensor(now.t, &ones), NULL)) == 6);
    QUIET(wf_item(wf_sum(now.t, wf_constant_tensor(now.t, &ones), NULL)) == 6);
    /* The arena takes what is smaller after what was too large. */
    REFUSES(wf_zeros(now.t, WF_F64, WF_SHAPE(INT64_C(1) << 40)),
            "zeros: out of memory for 8796093022208 bytes");
    QUIET(wf_count(wf_zeros(now.t, WF_F64, WF_SHAPE(70000))) == 70000);
}

/* ---- parts ---- */

TEST(parts_that_are_not_equal_are_refused)
{
    wf_tape *t = now.t;
    wf_var *part[4] = { now.matrix, now.matrix, now.matrix, now.matrix };
    REFUSES(wf_split(t, now.matrix, 1, 2, part), "split: axis 1 of (2, 3) into 2 equal parts");
    ck_assert(!part[0] && !part[1]);
    REFUSES(wf_split(t, now.matrix, 1, 0, part), "split: axis 1 of (2, 3) into 0 equal parts");
    REFUSES(wf_split(t, now.matrix, 1, -1, part), "split: axis 1 of (2, 3) into -1 equal parts");
    REFUSES(wf_split(t, now.matrix, 5, 1, part), "split: axis 5 of (2, 3)");
    REFUSES(wf_split(t, now.foreign, 1, 1, part), "split: input 0 belongs to another tape");
    REFUSES(wf_split(t, now.matrix, 0, INT_MAX, NULL), NULL);
    REFUSES(wf_split(t, now.matrix, INT_MIN, INT_MIN, part), NULL);
    QUIET(wf_split(t, wf_zeros(t, WF_F32, WF_SHAPE(3, 0)), 1, 2, part) && wf_dim(part[1], 1) == 0);
    part[0] = now.matrix;
    REFUSES(wf_split(t, NULL, 1, 1, part), "split: input 0 was never made (NULL)");
    ck_assert_ptr_null(part[0]);
    ck_assert_ptr_nonnull(part[2]);
}

/* ---- reading ---- */

TEST(what_is_read_of_no_var_is_none)
{
    float out[4] = { 1, 1, 1, 1 };
    double six[6];
    QUIET(wf_shape_of(NULL).rank == 0 && wf_dtype_of(NULL) == WF_F32 && !wf_grad_of(now.matrix));
    QUIET(wf_dim(now.matrix, 2) == 1 && wf_dim(now.matrix, -3) == 1 && wf_dim(now.matrix, -1) == 3);
    QUIET(wf_dim(now.matrix, INT_MAX) == 1 && wf_dim(now.matrix, INT_MIN) == 1);
    QUIET(isnan(wf_item(now.matrix)) && isnan(wf_item(now.empty)));
    QUIET(isnan(wf_at(now.matrix, -1)) && isnan(wf_at(now.matrix, 6)) &&
          !isnan(wf_at(now.matrix, 5)));
    QUIET(isnan(wf_at(now.matrix, INT64_MAX)) && isnan(wf_at(now.empty, 0)));
    QUIET(!wf_copy_out(now.matrix, six, 5) && !wf_copy_out(now.matrix, six, 7));
    QUIET(!wf_copy_out(now.matrix, NULL, 6) && !wf_copy_out(now.matrix, six, -6));
    QUIET(wf_copy_out(now.empty, six, 0) && wf_copy_out(now.matrix, six, 6));
    QUIET(!wf_copy_out(NULL, out, 3) && isnan(out[0]) && isnan(out[2]) && out[3] == 1);
    int was = misuse_hush();
    wf_print(now.empty);
    wf_print(now.deep);
    wf_print_as("h", NULL);
    wf_print_as("\xC0\n", now.empty);
    misuse_speak(was);
    QUIET(true);
}

/* ---- sweeps ---- */

TEST(a_sweep_from_what_has_no_gradient_is_refused)
{
    wf_tape *t = now.t;
    REFUSES(wf_backward(t, now.foreign), "backward: output 0 belongs to another tape");
    REFUSES(wf_backward(t, now.matrix),
            "backward: output 0 is (2, 3); without a cotangent it must be one number");
    REFUSES(wf_backward(t, now.empty),
            "backward: output 0 is (0, 3); without a cotangent it must be one number");
    REFUSES(wf_backward(t, wf_zeros(t, WF_I32, WF_SCALAR)),
            "backward: output 0 is i32; only f32 and f64 have gradients");
    REFUSES(wf_backward(t, now.scalar),
            "backward: no parameter led here, and no var that wf_keep_grad named");
    REFUSES(wf_backward(t, wf_full(t, WF_F64, WF_SCALAR, (double)NAN)), NULL);
    REFUSES(wf_backward(t, wf_log(t, wf_mul_scalar(t, wf_sum(t, now.param, NULL), 0))), NULL);
    /* Far from finite, and the parameters have gradients of an earlier step that must stay. */
    REFUSES(wf_backward(
                t, wf_mul_scalar(t, wf_sum(t, wf_exp(t, wf_mul_scalar(t, now.param, 1e6)), NULL),
                                 (double)INFINITY)),
            NULL);
    wf_tape_set_mode(t, WF_INFER);
    REFUSES(wf_backward(t, now.scalar), "backward: nothing is recorded in infer mode");
}

TEST(a_sweep_with_cotangents_that_do_not_fit_is_refused)
{
    wf_tape *t = now.t;
    wf_var *loss[2] = { NULL }, *with[2];
    REFUSES(wf_backward_from(t, 0, loss, NULL),
            "backward: 0 outputs were promised and there must be 1 or more");
    REFUSES(wf_backward_from(t, -3, loss, NULL),
            "backward: -3 outputs were promised and there must be 1 or more");
    loss[0] = wf_mul(t, now.param, now.param), loss[1] = NULL;
    with[0] = with[1] = wf_zeros(t, WF_F64, WF_SHAPE(4, 3));
    REFUSES(wf_backward_from(t, 2, loss, with), "backward: output 1 was never made (NULL)");
    loss[0] = wf_mul(t, now.param, now.param), with[0] = now.matrix;
    REFUSES(wf_backward_from(t, 1, loss, with),
            "backward: output 0 is f64 (4, 3); its cotangent is f64 (2, 3)");
    loss[0] = wf_mul(t, now.param, now.param), with[0] = wf_zeros(t, WF_F32, WF_SHAPE(4, 3));
    REFUSES(wf_backward_from(t, 1, loss, with),
            "backward: output 0 is f64 (4, 3); its cotangent is f32 (4, 3)");
    loss[0] = wf_mul(t, now.param, now.param), with[0] = now.foreign;
    REFUSES(wf_backward_from(t, 1, loss, with), "backward: cotangent 0 belongs to another tape");
    loss[0] = wf_mul(t, now.param, now.param), with[0] = NULL;
    REFUSES(wf_backward_from(t, 1, loss, with),
            "backward: output 0 is (4, 3); without a cotangent it must be one number");
    /* A parameter that was changed after it was used. */
    loss[0] = wf_sum(t, now.param, NULL);
    wf_param_changed(now.param);
    now.hash = misuse_hash();
    REFUSES(wf_backward(t, loss[0]),
            "backward: 'linear.weight' was changed between its use on this tape and the sweep"
            "\n  hint: wf_tape_reset begins the next step, after the optimiser's");
}

TEST(a_gradient_of_what_has_none_is_not_kept)
{
    wf_tape *t = now.t;
    REFUSES(wf_keep_grad(t, now.foreign), "keep_grad: input 0 belongs to another tape");
    REFUSES(wf_keep_grad(t, now.mask), "keep_grad: nothing differentiable led to this var");
    REFUSES(wf_keep_grad(t, wf_detach(t, now.matrix)),
            "keep_grad: nothing differentiable led to this var");
    QUIET(wf_keep_grad(t, now.matrix) && wf_keep_grad(t, now.matrix) && wf_keep_grad(t, now.param));
    QUIET(!wf_grad_of(now.matrix)); /* before the sweep */
    QUIET(wf_keep_grad(t, now.empty));
    QUIET(wf_keep_grad(t, now.window));
}

TEST(whoever_asks_at_the_door_names_the_var)
{
    wf_tape *t = now.t;
    QUIET(wf_enter(t, now.matrix, "x") == now.matrix);
    QUIET(wf_enter(t, now.param, "mine: w") == wf_enter(t, now.param, "mine: w"));
    QUIET(wf_enter(t, now.param, "mine: w") != now.param);
    REFUSES(wf_enter(t, NULL, "mine: x"), "mine: x was never made (NULL)");
    wf_var *two = wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 0, 3 });
    QUIET(wf_enter_lengths(t, two, 3, 2, "mine") == two);
    REFUSES(wf_enter_lengths(t, NULL, 3, 2, "mine"), "mine: .lengths was never made (NULL)");
    two = wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 0, 3 });
    REFUSES(wf_enter_lengths(t, two, 3, 1, "mine '%s'", "a"),
            "mine 'a': lengths are i32 (2); expected i32 (1)");
    two = wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 0, 3 });
    REFUSES(wf_enter_lengths(t, two, 2, 2, "mine"),
            "mine: lengths[1] is 3; it must be from 0 to 2");
    REFUSES(wf_enter(t, now.foreign, "mine '%s': state %d", "a.b", 3),
            "mine 'a.b': state 3 belongs to another tape");
    if (!HARNESS_ADDRESSES) {
        for (int k = 0; k < 30; k++) misuse_leaf(t, WF_SHAPE(5));
        wf_var *old = misuse_leaf(t, WF_SHAPE(2, 3));
        misuse_renew();
        REFUSES(wf_enter(t, old, "mine: x"), "mine: x was made before the tape was reset");
    }
    wf_fail(t, "test: failed on purpose");
    ck_assert(!wf_enter(t, now.matrix, "mine: x"));
}

static bool grad(int n_out, wf_var *const out[], wf_var *const with[], int n_wrt,
                 wf_var *const wrt[], wf_var *result[])
{
    return wf_grad(now.t, n_out, out, with, n_wrt, wrt, result, NULL);
}

TEST(gradients_of_what_has_none_are_refused)
{
    wf_tape *t = now.t;
    wf_var *y[1], *x[2] = { now.matrix, now.more }, *g[2] = { now.scalar, now.scalar };
    y[0] = wf_sum(t, now.matrix, NULL);
    QUIET(!wf_grad(NULL, 1, y, NULL, 1, x, g, NULL) && !g[0] && g[1]);
    REFUSES(grad(-1, y, NULL, 1, x, g), "grad: -1 outputs and 1 vars were promised and not given");
    REFUSES(grad(1, y, NULL, -1, x, g), "grad: 1 outputs and -1 vars were promised and not given");
    y[0] = now.matrix;
    REFUSES(grad(1, y, NULL, 1, x, g),
            "grad: output 0 is (2, 3); without a cotangent it must be one number");
    y[0] = NULL;
    REFUSES(grad(1, y, NULL, 1, x, g), "grad: output 0 was never made (NULL)");
    y[0] = wf_sum(t, now.matrix, NULL), x[0] = now.matrix, x[1] = NULL, g[0] = g[1] = now.scalar;
    REFUSES(grad(1, y, NULL, 2, x, g), "grad: wrt 1 was never made (NULL)");
    ck_assert(!g[0] && !g[1]);
    y[0] = wf_sum(t, now.matrix, NULL), x[0] = now.matrix, x[1] = now.foreign;
    REFUSES(grad(1, y, NULL, 2, x, g), "grad: wrt 1 belongs to another tape");
    y[0] = now.ids;
    REFUSES(grad(1, y, NULL, 1, x, g), "grad: output 0 is i32; only f32 and f64 have gradients");
    /* No outputs, no vars, the same var twice, one that nothing leads to, a constant of whole
     * numbers. */
    x[0] = x[1] = now.matrix, y[0] = wf_sum(t, now.matrix, NULL);
    QUIET(grad(0, NULL, NULL, 2, x, g) && wf_item(wf_sum(t, g[1], NULL)) == 0);
    QUIET(grad(1, y, NULL, 0, NULL, NULL));
    QUIET(grad(1, y, NULL, 2, x, g) && wf_at(g[0], 0) == 1 && wf_at(g[1], 5) == 1);
    x[0] = now.ids, x[1] = now.empty;
    QUIET(grad(1, y, NULL, 2, x, g) && wf_count(g[0]) == 2 && wf_count(g[1]) == 0);
    wf_tape_set_mode(t, WF_INFER);
    REFUSES(grad(1, y, NULL, 1, x, g), "grad: nothing is recorded in infer mode");
}

TEST(what_was_used_in_infer_mode_counts_from_when_the_mode_is_set)
{
    wf_tape *t = now.t;
    wf_tape_set_mode(t, WF_INFER);
    wf_var *unrecorded = wf_sum(t, now.param, NULL);
    wf_tape_set_mode(t, WF_TRAIN);
    wf_var *recorded = wf_sum(t, now.param, NULL), *g[1];
    REFUSES(wf_keep_grad(t, unrecorded), NULL);
    wf_tape_set_mode(t, WF_INFER);
    ck_assert_ptr_nonnull(wf_sum(t, now.param, NULL));
    wf_tape_set_mode(t, WF_TRAIN);
    recorded = wf_sum(t, now.param, NULL);
    ck_assert(wf_grad(t, 1, &recorded, NULL, 1, &now.param, g, NULL));
    QUIET(wf_at(g[0], 3) == 1);
}

/* ---- bindings and hooks ---- */

static void never(void *context)
{
    ck_abort_msg("%s was called", (const char *)context);
}

static bool never_on(wf_tape *t, const char *what)
{
    return wf_tape_on_commit(t, never, (void *)(uintptr_t)what);
}

TEST(what_cannot_be_bound_to_a_parameter_is_refused)
{
    wf_tape *t = now.t;
    REFUSES(wf_tape_bind(t, now.matrix, now.weight), "bind: the first var must be a parameter");
    REFUSES(wf_tape_bind(t, now.param, NULL), "bind: the second var was never made (NULL)");
    REFUSES(wf_tape_bind(t, now.param, now.foreign),
            "bind: the second var belongs to another tape");
    REFUSES(wf_tape_bind(t, now.param, now.matrix),
            "bind: 'linear.weight' is f64 (4, 3); the var is f64 (2, 3)");
    QUIET(wf_tape_bind(t, now.param, now.weight));
    REFUSES(wf_tape_bind(t, now.param, now.weight),
            "bind: 'linear.weight' was used on this tape already");
    wf_neg(t, now.param);
    REFUSES(wf_tape_bind(t, now.param, now.weight),
            "bind: 'linear.weight' was used on this tape already");
    REFUSES(wf_tape_bind(t, now.param, now.param), NULL);
}

TEST(hooks_of_steps_that_commit_nothing_are_not_called)
{
    wf_tape *t = now.t;
    QUIET(!never_on(NULL, "a hook on no tape"));
    wf_tape_set_mode(t, WF_EVAL);
    REFUSES(wf_tape_on_commit(t, NULL, NULL), "on_commit: there is no function to call (NULL)");
    QUIET(never_on(t, "a hook of a forgotten step"));
    misuse_renew();
    QUIET(never_on(t, "a hook of a failed step"));
    REFUSES(wf_backward(t, now.matrix), NULL);
    wf_tape *rehearsal = wf_tape_new(&(wf_tape_options){ .rehearsal = true });
    ck_assert(never_on(rehearsal, "a hook of a rehearsal"));
    wf_var *x = misuse_leaf(rehearsal, WF_SCALAR);
    ck_assert(wf_keep_grad(rehearsal, x) && wf_backward(rehearsal, x) && wf_tape_commit(rehearsal));
    wf_tape_set_mode(rehearsal, WF_EVAL);
    ck_assert(never_on(rehearsal, "a hook of a rehearsal in eval mode"));
    wf_tape_free(rehearsal);
}

/* ---- marks ---- */

TEST(a_tape_is_not_rewound_to_marks_that_are_none)
{
    wf_tape *t = now.t;
    wf_var *keep[2] = { NULL, NULL };
    wf_mark mark = wf_tape_mark(NULL);
    QUIET(mark.generation == 0);
    REFUSES(wf_tape_rewind(t, wf_tape_mark(now.other), 0, NULL),
            "rewind: the mark was set before the tape was reset");
    mark = wf_tape_mark(t);
    misuse_renew();
    REFUSES(wf_tape_rewind(t, mark, 0, NULL), "rewind: the mark was set before the tape was reset");
    REFUSES(wf_tape_rewind(t, wf_tape_mark(t), 2, NULL),
            "rewind: 2 vars to keep were promised and not given");
    REFUSES(wf_tape_rewind(t, wf_tape_mark(t), -1, keep),
            "rewind: -1 vars to keep were promised and not given");
    REFUSES(wf_tape_rewind(t, wf_tape_mark(t), 2, keep), "rewind: keep 0 was never made (NULL)");
    keep[0] = now.matrix, keep[1] = now.foreign;
    REFUSES(wf_tape_rewind(t, wf_tape_mark(t), 2, keep), "rewind: keep 1 belongs to another tape");
    ck_assert_ptr_eq(keep[1], now.foreign);
    /* Twice to the same, and one var twice. */
    mark = wf_tape_mark(t);
    keep[0] = keep[1] = wf_neg(t, now.empty);
    QUIET(wf_tape_rewind(t, mark, 2, keep) && wf_count(keep[0]) == 0 && keep[0] != keep[1]);
    keep[0] = wf_neg(t, now.matrix);
    QUIET(wf_tape_rewind(t, mark, 1, keep) && wf_at(keep[0], 0) == -wf_at(now.matrix, 0));
}

/* A carried state that waits for the commit would be left pointing into reused memory. */
TEST(a_tape_is_not_rewound_past_what_waits_for_a_commit)
{
    wf_tape *t = now.t;
    wf_rnn_call call = { .carry = now.carry };
    wf_mark mark = wf_tape_mark(t);
    ck_assert_ptr_nonnull(wf_rnn_forward(t, now.rnn, now.sequence, &call));
    REFUSES(wf_tape_rewind(t, mark, 0, NULL),
            "rewind: a carried state was written after the mark and waits for wf_backward\n"
            "  hint: rewind in eval or infer mode, where states are permanent at once");
    wf_tape *rehearsal = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL, .rehearsal = true });
    mark = wf_tape_mark(rehearsal);
    ck_assert_ptr_nonnull(
        wf_rnn_forward(rehearsal, now.rnn, misuse_leaf(rehearsal, WF_SHAPE(4, 2, 3)), &call));
    ck_assert(!wf_tape_rewind(rehearsal, mark, 0, NULL));
    wf_tape_free(rehearsal);
    misuse_renew();
    QUIET(wf_carry_state(now.carry, 0, 0, 0) != NULL);
}

/* ---- rows ---- */

static bool shape_as_input(wf_shaping *s)
{
    for (int i = 0; i < s->n_out; i++) s->out[i] = *s->in[0];
    return true;
}

static bool shape_forgotten(wf_shaping *s)
{
    (void)s;
    return true;
}

/* One output, as it is given here, and as much scratch for backward. */
static wf_tensor form;
static int64_t scratch;

static bool shape_given(wf_shaping *s)
{
    s->out[0] = form;
    s->scratch_backward = scratch;
    return true;
}

static bool shape_without_sizes(wf_shaping *s)
{
    s->out[0].dtype = WF_F64;
    s->out[0].rank = 2;
    return true;
}

static bool refuse_mutely(wf_shaping *s)
{
    (void)s;
    return false;
}

static bool refuse_aloud(wf_shaping *s)
{
    return wf_refuse(s->error, "rank is %d", s->in[0]->rank);
}

static bool check_mutely(const wf_call *c, wf_error *error)
{
    (void)c, (void)error;
    return false;
}

static void fill(const wf_call *c)
{
    for (int i = 0; i < c->n_out; i++) wf_tensor_fill(c->out[i], 1);
}

static const wf_op plain = {
    .name = "plain",
    .doc = "ones",
    .inputs = 1,
    .outputs = 1,
    .shape = shape_as_input,
    .forward = fill,
};

static wf_var *apply(const wf_op *op, int n, wf_var *const in[], const void *attr)
{
    return wf_apply_one(now.t, op, n, in, attr);
}

static wf_var *apply_with(bool (*shape)(wf_shaping *s))
{
    wf_op op = plain;
    op.shape = shape;
    return apply(&op, 1, &now.matrix, NULL);
}

static wf_var *apply_giving(wf_dtype dtype, int rank, int64_t size, int64_t bytes)
{
    form = (wf_tensor){ .dtype = dtype, .rank = rank, .dim = { size, 3 } };
    scratch = bytes;
    return apply_with(shape_given);
}

TEST(an_op_of_one_output_is_refused_for_what_its_row_lacks)
{
    wf_tape *t = now.t;
    wf_op op = plain;
    QUIET(wf_apply_one(t, &plain, 1, &now.matrix, NULL) != NULL);
    op = plain, op.name = NULL;
    REFUSES(apply(&op, 1, &now.matrix, NULL), "apply: its row has no name");
    op = plain, op.forward = NULL;
    REFUSES(apply(&op, 1, &now.matrix, NULL), "plain: its row has no forward");
    op = plain, op.check = check_mutely;
    REFUSES(apply(&op, 1, &now.matrix, NULL), "plain: a value is out of range");
    op = plain, op.outputs = 2;
    REFUSES(apply(&op, 1, &now.matrix, NULL), "plain: it has 2 outputs, not one");
    REFUSES(apply_with(NULL), "plain: its row has no shape");
    REFUSES(apply_with(refuse_mutely), "plain: these shapes do not go together");
    REFUSES(apply_with(refuse_aloud), "plain: rank is 2");
    REFUSES(apply_with(shape_forgotten), NULL);
    REFUSES(apply_with(shape_without_sizes),
            "plain: the result (-1, -1) is more than memory can hold");
    REFUSES(apply_giving(WF_F64, 99, 2, 0), "plain: its row gave output 0 rank 99 and dtype f64");
    REFUSES(apply_giving((wf_dtype)5, 2, 2, 0),
            "plain: its row gave output 0 rank 2 and dtype unknown");
    REFUSES(apply_giving(WF_F64, 2, -7, 0),
            "plain: the result (-7, 3) is more than memory can hold");
    REFUSES(apply_giving(WF_F64, 2, 2, -64), "plain: its row asked for -64 bytes of scratch");
    /* A row without a backward computes; the sweep over it is refused, and one beside it is not. */
    wf_var *y = wf_sum(t, wf_mul(t, now.param, wf_apply_one(t, &plain, 1, &now.param, NULL)), NULL);
    REFUSES(wf_backward(t, y), "plain: its row has no backward");
    y = wf_sum(t, wf_apply_one(t, &plain, 1, &now.param, NULL), NULL);
    wf_var *g[1];
    REFUSES(wf_grad(t, 1, &y, NULL, 1, &now.param, g, &with_graph),
            "plain: it has neither a gradient nor a reference, so no graph of its gradient");
}

TEST(a_row_that_cannot_be_applied_is_refused_in_one_sentence)
{
    wf_tape *t = now.t;
    wf_op op = plain;
    wf_var *out[17] = { now.matrix };
    QUIET(!wf_apply(NULL, &plain, 1, &now.matrix, NULL, out) && !out[0]);
    static const int32_t counts[][2] = { { 17, 0 },        { 0, 0 },         { 1, -1 },
                                         { 1, INT32_MAX }, { INT32_MAX, 0 }, { -1, 2 } };
    for (int i = 0; i < 6; i++) {
        op.outputs = counts[i][0], op.hidden = counts[i][1];
        REFUSES(wf_apply(t, &op, 1, &now.matrix, NULL, out),
                worded("plain: its row has %d outputs and %d hidden ones; 1 to 16 can be",
                       op.outputs, op.hidden));
    }
    char attr[64] = { 0 };
    op = plain, op.attr_size = -4096;
    REFUSES(wf_apply(t, &op, 1, &now.matrix, attr, out),
            "plain: its row has -4096 bytes of attributes; 0 to 1048576 can be");
    op.attr_size = INT32_MAX;
    REFUSES(wf_apply(t, &op, 1, &now.matrix, attr, out),
            "plain: its row has 2147483647 bytes of attributes; 0 to 1048576 can be");
    op = plain, op.inputs = -2;
    REFUSES(wf_apply(t, &op, 1, &now.matrix, NULL, out),
            "plain: its row takes -2 inputs; it can be 0 or more, and -1 for any");
    op = plain, op.inputs = -1;
    wf_var *many[40];
    for (int i = 0; i < 40; i++) many[i] = now.matrix;
    QUIET(wf_apply(t, &op, 40, many, NULL, out) && out[0]);
    for (int i = 0; i < 40; i++) many[i] = now.matrix;
    many[33] = NULL;
    REFUSES(wf_apply(t, &op, 40, many, NULL, out), "plain: input 33 was never made (NULL)");
}

TEST(the_first_sentence_of_a_row_counts)
{
    wf_error e = { "" };
    const char *none = NULL;
    QUIET(!wf_refuse(&e, "first %d", 1) && !wf_refuse(&e, "second") && !strcmp(e.text, "first 1"));
    memset(&e, 0, sizeof e);
    QUIET(!wf_refuse(&e, none, 0) && e.text[0]);
}

TEST(there_are_no_rows_but_those_of_the_list)
{
    QUIET(!wf_op_at(-1) && !wf_op_at(INT_MIN) && !wf_op_at(INT_MAX) && !wf_op_at(10000));
}
