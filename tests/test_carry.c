/* Carried state: one sequence over calls and steps, and no trace of what did not succeed. */
#include "tests/harness.h"
#include "tests/kinds.h"

static wf_var *carried(wf_tape *t, const bench *b, wf_carry *carry, int64_t from, int64_t to)
{
    wf_var *x = var_of(t, wf_module_dtype(b->net), false, WF_SHAPE(TIME, BATCH, INPUT), b->trial.x);
    return wf_rnn_forward(t, b->rnn, wf_slice(t, x, 0, from, to, 1),
                          &(wf_rnn_call){ .carry = carry });
}

static uint64_t hash_carry(const bench *b, const wf_carry *carry)
{
    uint64_t h = 1;
    for (int64_t layer = 0; layer < b->trial.places; layer++) {
        for (int k = 0; k < b->trial.states; k++) {
            const wf_tensor *s = wf_carry_state(carry, layer, 0, k);
            ck_assert_ptr_nonnull(s);
            for (int64_t i = 0; i < wf_tensor_count(s); i++) {
                double value = wf_tensor_at(s, i);
                h = hash_doubles(h, 1, &value);
            }
        }
    }
    return h;
}

START_TEST(a_carry_joins_calls_and_steps_as_one_sequence)
{
    bench b = bench_of(_i, false, WF_F32);
    for (int k = 0; k < b.trial.states; k++) b.trial.initial[k] = NULL;
    outcome whole = run_trial(&b.trial);
    wf_carry *carry = wf_carry_new(b.rnn, BATCH);
    ck_assert(wf_carry_ok(carry, NULL));
    int64_t row = BATCH * b.trial.width[0];
    for (int mode = WF_TRAIN; mode <= WF_INFER; mode++) {
        wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = (wf_mode)mode });
        wf_carry_reset(carry);
        /* Two calls on one tape, then one on the next step's. */
        const int64_t cut[4] = { 0, 1, 3, TIME };
        for (int part = 0; part < 3; part++) {
            if (part == 2) wf_tape_reset(t);
            wf_var *y = carried(t, &b, carry, cut[part], cut[part + 1]);
            ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
            double *got = doubles_of(y);
            assert_close("y", (cut[part + 1] - cut[part]) * row, got, whole.y + cut[part] * row,
                         2e-6);
            free(got);
            if (mode == WF_TRAIN && part > 0) ck_assert(wf_backward(t, wf_mean(t, y, NULL)));
        }
        for (int k = 0; k < b.trial.states; k++) {
            for (int64_t layer = 0; layer < b.trial.places; layer++) {
                const wf_tensor *s = wf_carry_state(carry, layer, 0, k);
                for (int64_t i = 0; i < BATCH * b.trial.width[k]; i++) {
                    ck_assert_double_eq_tol(wf_tensor_at(s, i),
                                            whole.final[k][layer * BATCH * b.trial.width[k] + i],
                                            2e-6);
                }
            }
        }
        wf_tape_free(t);
    }
    wf_carry_free(carry);
    outcome_free(&whole);
    bench_free(&b);
}
END_TEST

START_TEST(a_carry_is_untouched_until_the_step_succeeds)
{
    bench b = bench_of(5, false, WF_F32);
    wf_carry *carry = wf_carry_new(b.rnn, BATCH);
    wf_tape *t = wf_tape_new(NULL),
            *rehearsal = wf_tape_new(&(wf_tape_options){ .rehearsal = true });
    wf_var *y = carried(t, &b, carry, 0, 2);
    uint64_t zero = hash_carry(&b, carry);
    ck_assert(wf_backward(t, wf_mean(t, y, NULL)));
    uint64_t before = hash_carry(&b, carry);
    ck_assert_uint_ne(before, zero);

    /* A step that is never swept. */
    wf_tape_reset(t);
    ck_assert_ptr_nonnull(carried(t, &b, carry, 2, 4));
    ck_assert_uint_eq(hash_carry(&b, carry), before);
    /* A step that fails after the call. */
    wf_tape_reset(t);
    y = carried(t, &b, carry, 2, 4);
    wf_fail(t, "the test: a step fails on purpose");
    ck_assert(!wf_backward(t, y));
    ck_assert_uint_eq(hash_carry(&b, carry), before);
    /* A rehearsal, swept, in every mode. */
    for (int mode = WF_TRAIN; mode <= WF_INFER; mode++) {
        wf_tape_reset(rehearsal);
        wf_tape_set_mode(rehearsal, (wf_mode)mode);
        y = carried(rehearsal, &b, carry, 2, 4);
        ck_assert_ptr_nonnull(y);
        if (mode == WF_TRAIN) ck_assert(wf_backward(rehearsal, wf_mean(rehearsal, y, NULL)));
        ck_assert_uint_eq(hash_carry(&b, carry), before);
    }
    /* In eval mode the call itself is the step. */
    wf_tape_reset(t);
    wf_tape_set_mode(t, WF_EVAL);
    ck_assert_ptr_nonnull(carried(t, &b, carry, 2, 4));
    ck_assert_uint_ne(hash_carry(&b, carry), before);
    wf_tape_free(t);
    wf_tape_free(rehearsal);
    wf_carry_free(carry);
    bench_free(&b);
}
END_TEST

START_TEST(a_reset_carry_forgets_what_a_tape_would_still_commit)
{
    bench b = bench_of(2, false, WF_F32);
    wf_carry *carry = wf_carry_new(b.rnn, BATCH);
    uint64_t zero = hash_carry(&b, carry);
    wf_tape *t = wf_tape_new(NULL);
    wf_var *y = carried(t, &b, carry, 0, 2);
    wf_carry_reset(carry);
    wf_var *again = carried(t, &b, carry, 0, 2);
    double *first = doubles_of(y), *second = doubles_of(again);
    assert_close("y", wf_count(y), second, first, 0);          /* from zero once more */
    wf_carry_reset(carry);
    ck_assert(wf_backward(t, wf_mean(t, y, NULL)));
    ck_assert_uint_eq(hash_carry(&b, carry), zero);
    free(first);
    free(second);
    wf_tape_free(t);
    wf_carry_free(carry);
    bench_free(&b);
}
END_TEST

START_TEST(a_carry_survives_a_rewind_while_generating)
{
    bench b = bench_of(5, false, WF_F32);
    wf_carry *one = wf_carry_new(b.rnn, BATCH), *other = wf_carry_new(b.rnn, BATCH);
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    for (int64_t i = 0; i < TIME; i++) {
        wf_mark mark = wf_tape_mark(t);
        /* Over what the step before has left behind. */
        ck_assert_ptr_nonnull(wf_full(t, WF_F32, WF_SHAPE(5000 * (i + 1)), (double)NAN));
        ck_assert_ptr_nonnull(carried(t, &b, one, i, i + 1));
        ck_assert(wf_tape_rewind(t, mark, 0, NULL));
    }
    for (int64_t i = 0; i < TIME; i++) ck_assert_ptr_nonnull(carried(t, &b, other, i, i + 1));
    ck_assert_uint_eq(hash_carry(&b, one), hash_carry(&b, other));
    wf_tape_free(t);
    wf_carry_free(one);
    wf_carry_free(other);
    bench_free(&b);
}
END_TEST

START_TEST(a_carry_ends_the_history)
{
    bench b = bench_of(4, false, WF_F32);
    wf_carry *carry = wf_carry_new(b.rnn, BATCH);
    wf_tape *t = wf_tape_new(NULL);
    wf_var *x = var_of(t, WF_F32, true, WF_SHAPE(TIME, BATCH, INPUT), b.trial.x);
    wf_rnn_forward(t, b.rnn, wf_slice(t, x, 0, 0, 3, 1), &(wf_rnn_call){ .carry = carry });
    wf_var *y = wf_rnn_forward(t, b.rnn, wf_slice(t, x, 0, 3, TIME, 1),
                               &(wf_rnn_call){ .carry = carry });
    wf_keep_grad(t, x);
    ck_assert(wf_backward(t, wf_mean(t, y, NULL)));
    double before = 0, after = 0;
    for (int64_t i = 0; i < TIME * BATCH * INPUT; i++) {
        *(i < 3 * BATCH * INPUT ? &before : &after) += fabs(wf_tensor_at(wf_grad_of(x), i));
    }
    ck_assert(before == 0 && after > 0);
    wf_tape_free(t);
    wf_carry_free(carry);
    bench_free(&b);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, a_carry_joins_calls_and_steps_as_one_sequence, 0, KINDS);
    tcase_add_test(tests, a_carry_is_untouched_until_the_step_succeeds);
    tcase_add_test(tests, a_reset_carry_forgets_what_a_tape_would_still_commit);
    tcase_add_test(tests, a_carry_survives_a_rewind_while_generating);
    tcase_add_test(tests, a_carry_ends_the_history);
}

int main(int argc, char **argv)
{
    return harness_main(argc, argv, "carry", add);
}
