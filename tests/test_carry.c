/* Carried state: one sequence over calls and steps, and no trace of what did not succeed. */
#include "tests/cells.h"

static wf_var *carried(wf_tape *t, const fixture *b, wf_carry *carry, int64_t from, int64_t to)
{
    wf_var *x = cell_var(t, wf_module_dtype(b->net), false, WF_SHAPE(TIME, BATCH, INPUT), b->on.x);
    return wf_rnn_forward(t, b->rnn, wf_slice(t, x, 0, from, to, 1),
                          &(wf_rnn_call){ .carry = carry });
}

static uint64_t hash_carry(const fixture *b, const wf_carry *carry)
{
    uint64_t h = 1;
    for (int64_t layer = 0; layer < b->on.stacked; layer++) {
        for (int k = 0; k < b->on.states; k++) {
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

TEST_EACH(a_carry_joins_calls_and_steps_as_one_sequence, kinds())
{
    OWN(fixture) b = fixture_of(_i, false, WF_F32);
    for (int k = 0; k < b.on.states; k++) b.on.initial[k] = NULL;
    cell_result whole = run_case(&b.on);
    OWN(wf_carry) *carry = wf_carry_new(b.rnn, BATCH);
    ck_assert(wf_carry_ok(carry, NULL));
    int64_t row = BATCH * b.on.width[0];
    for (int mode = WF_TRAIN; mode <= WF_INFER; mode++) {
        OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = (wf_mode)mode });
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
            if (mode == WF_TRAIN && part > 0) ck_assert(wf_backward(t, wf_mean(t, y, NULL)));
        }
        for (int k = 0; k < b.on.states; k++) {
            for (int64_t layer = 0; layer < b.on.stacked; layer++) {
                const wf_tensor *s = wf_carry_state(carry, layer, 0, k);
                for (int64_t i = 0; i < BATCH * b.on.width[k]; i++) {
                    ck_assert_double_eq_tol(wf_tensor_at(s, i),
                                            whole.final[k][layer * BATCH * b.on.width[k] + i],
                                            2e-6);
                }
            }
        }
    }
}

TEST(a_carry_is_untouched_until_the_step_succeeds)
{
    OWN(fixture) b = fixture_of(kind_named("lstm of two layers"), false, WF_F32);
    OWN(wf_carry) *carry = wf_carry_new(b.rnn, BATCH);
    OWN(wf_tape) *t = wf_tape_new(NULL),
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
}

TEST(a_reset_carry_forgets_what_a_tape_would_still_commit)
{
    OWN(fixture) b = fixture_of(kind_named("gru of two layers"), false, WF_F32);
    OWN(wf_carry) *carry = wf_carry_new(b.rnn, BATCH);
    uint64_t zero = hash_carry(&b, carry);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *y = carried(t, &b, carry, 0, 2);
    wf_carry_reset(carry);
    wf_var *again = carried(t, &b, carry, 0, 2);
    double *first = doubles_of(y), *second = doubles_of(again);
    assert_close("y", wf_count(y), second, first, 0); /* from zero once more */
    wf_carry_reset(carry);
    ck_assert(wf_backward(t, wf_mean(t, y, NULL)));
    ck_assert_uint_eq(hash_carry(&b, carry), zero);
}

TEST(a_carry_survives_a_rewind_while_generating)
{
    OWN(fixture) b = fixture_of(kind_named("lstm of two layers"), false, WF_F32);
    OWN(wf_carry) *one = wf_carry_new(b.rnn, BATCH), *other = wf_carry_new(b.rnn, BATCH);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    for (int64_t i = 0; i < TIME; i++) {
        wf_mark mark = wf_tape_mark(t);
        /* Over what the step before has left behind. */
        ck_assert_ptr_nonnull(wf_full(t, WF_F32, WF_SHAPE(5000 * (i + 1)), (double)NAN));
        ck_assert_ptr_nonnull(carried(t, &b, one, i, i + 1));
        ck_assert(wf_tape_rewind(t, mark, 0, NULL));
    }
    for (int64_t i = 0; i < TIME; i++) ck_assert_ptr_nonnull(carried(t, &b, other, i, i + 1));
    ck_assert_uint_eq(hash_carry(&b, one), hash_carry(&b, other));
}

/* The first state was committed, so as many wait as did at the mark; but the one that waits now
 * lies behind it. */
TEST(a_carry_that_waits_refuses_a_rewind_also_after_a_commit)
{
    OWN(fixture) b = fixture_of(kind_named("rnn, relu"), false, WF_F32);
    OWN(wf_carry) *carry = wf_carry_new(b.rnn, BATCH), *alone = wf_carry_new(b.rnn, BATCH);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *y = carried(t, &b, carry, 0, 2);
    wf_mark mark = wf_tape_mark(t);
    ck_assert_msg(wf_backward(t, wf_mean(t, y, NULL)), "%s", wf_tape_error(t));
    wf_mark later = wf_tape_mark(t);
    ck_assert(wf_tape_rewind(t, later, 0, NULL)); /* nothing waits */
    ck_assert_ptr_nonnull(carried(t, &b, carry, 2, 4));
    ck_assert(!wf_tape_rewind(t, mark, 0, NULL));
    ck_assert_str_eq(wf_tape_error(t),
                     "rewind: a carried state was written after the mark and waits for wf_backward"
                     "\n  hint: rewind in eval or infer mode, where states are permanent at once");
    wf_tape_reset(t);
    y = carried(t, &b, alone, 0, 2);
    ck_assert(wf_backward(t, wf_mean(t, y, NULL)));
    ck_assert_uint_eq(hash_carry(&b, carry), hash_carry(&b, alone));
}

TEST(a_carry_ends_the_history)
{
    OWN(fixture) b = fixture_of(kind_named("lstm"), false, WF_F32);
    OWN(wf_carry) *carry = wf_carry_new(b.rnn, BATCH);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = cell_var(t, WF_F32, true, WF_SHAPE(TIME, BATCH, INPUT), b.on.x);
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
}

/* ---- what is not finite ---- */

/* Rows of sequence s of every permanent state, one behind the other. */
static double *rows_of(const fixture *b, const wf_carry *carry, int64_t s, int64_t *n)
{
    int64_t width = 0;
    for (int k = 0; k < b->on.states; k++) width += b->on.width[k];
    double *rows = zeros(b->on.stacked * width);
    *n = 0;
    for (int64_t layer = 0; layer < b->on.stacked; layer++)
        for (int k = 0; k < b->on.states; k++)
            for (int64_t j = 0; j < b->on.width[k]; j++)
                rows[(*n)++] = wf_tensor_at(wf_carry_state(carry, layer, 0, k),
                                            s * b->on.width[k] + j);
    return rows;
}

/* A loss that sees neither y nor the states, but the layer's first parameter. */
static bool unseen_step(wf_tape *t, const fixture *b)
{
    wf_var *w = wf_module_param_at(b->net, 0);
    bool ok = wf_backward(t, wf_mean(t, wf_square(t, w), NULL));
    wf_module_clear_grads(b->net);
    return ok;
}

TEST_EACH(a_sequence_that_is_no_longer_finite_goes_on_from_its_last_good_state, kinds())
{
    OWN(fixture) b = fixture_of(_i, false, WF_F32);
    const bool spoilt[BATCH] = { false, false, true, false, true };
    double *x = normals(9, 2 * BATCH * INPUT, 1), *bad = normals(9, 2 * BATCH * INPUT, 1);
    bad[2 * INPUT + 1] = (double)NAN;       /* step 0 of sequence 2 */
    bad[(BATCH + 4) * INPUT] = (double)NAN; /* step 1 of sequence 4 */
    wf_shape form = WF_SHAPE(2, BATCH, INPUT);
    for (int mode = WF_TRAIN; mode <= WF_INFER; mode++) {
        OWN(wf_carry) *one = wf_carry_new(b.rnn, BATCH), *other = wf_carry_new(b.rnn, BATCH);
        OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = (wf_mode)mode }),
                     *tried = wf_tape_new(
                         &(wf_tape_options){ .mode = (wf_mode)mode, .rehearsal = true });
        ck_assert(carried(t, &b, one, 0, 3) && carried(t, &b, other, 0, 3));
        if (mode == WF_TRAIN) ck_assert(unseen_step(t, &b));
        double *before[BATCH];
        int64_t n;
        for (int s = 0; s < BATCH; s++) before[s] = rows_of(&b, one, s, &n);

        /* Later calls on a tape begin from what is finite. */
        wf_rnn_forward(tried, b.rnn, cell_var(tried, WF_F32, false, form, bad),
                       &(wf_rnn_call){ .carry = other });
        wf_var *again = carried(tried, &b, other, 3, TIME);
        ck_assert_msg(again != NULL, "%s", wf_tape_error(tried));
        for (int64_t i = 0; i < wf_count(again); i++) ck_assert(isfinite(wf_at(again, i)));

        /* So do later steps, and the other sequences notice nothing. */
        wf_tape_reset(t);
        wf_rnn_forward(t, b.rnn, cell_var(t, WF_F32, false, form, x),
                       &(wf_rnn_call){ .carry = one });
        wf_rnn_forward(t, b.rnn, cell_var(t, WF_F32, false, form, bad),
                       &(wf_rnn_call){ .carry = other });
        if (mode == WF_TRAIN) ck_assert_msg(unseen_step(t, &b), "%s", wf_tape_error(t));
        for (int s = 0; s < BATCH; s++) {
            double *got = rows_of(&b, other, s, &n), *want = rows_of(&b, one, s, &n);
            assert_close("a state", n, got, spoilt[s] ? before[s] : want, spoilt[s] ? 0 : 1e-6);
        }
    }
}

/* ---- in files ---- */

TEST_EACH(a_carry_saved_is_the_carry_loaded, kinds())
{
    OWN(fixture) b = fixture_of(_i, false, WF_F32), wide = fixture_of(_i, false, WF_F64);
    OWN(wf_carry) *saved = wf_carry_new(b.rnn, BATCH), *loaded = wf_carry_new(b.rnn, BATCH),
                  *converted = wf_carry_new(wide.rnn, BATCH);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    ck_assert_ptr_nonnull(carried(t, &b, saved, 0, TIME));
    const char *path = path_of("carry");
    wf_bundle *bundle = wf_bundle_new();
    wf_error error = { { 0 } };
    ck_assert(wf_carry_to_bundle(saved, bundle, "a."));
    ck_assert(wf_carry_to_bundle(loaded, bundle, NULL)); /* another, beside it */
    ck_assert_msg(wf_bundle_save(bundle, path, &error), "%s", error.text);
    wf_bundle_free(bundle);
    OWN(wf_archive) *archive = wf_safetensors_load(path, &error);
    ck_assert_msg(archive != NULL, "%s", error.text);
    const bool windows = rnn_form_of(b.rnn).learned; /* which sequences have begun is there, too */
    ck_assert_int_eq(wf_archive_count(archive), 2 * (b.on.stacked * b.on.states + windows));
    ck_assert_ptr_nonnull(wf_archive_find(archive, "a.h_l0"));
    /* What a tape has left there and would still commit does not come back over it. */
    OWN(wf_tape) *train = wf_tape_new(NULL);
    ck_assert_ptr_nonnull(carried(train, &b, loaded, 0, 2));
    ck_assert_msg(wf_carry_load_archive(loaded, "carry", archive, "a.", &error), "%s", error.text);
    ck_assert(unseen_step(train, &b));
    ck_assert_uint_eq(hash_carry(&b, loaded), hash_carry(&b, saved));
    ck_assert(wf_carry_load_archive(converted, "carry", archive, "a.", &error));
    ck_assert_uint_eq(hash_carry(&b, converted), hash_carry(&b, saved));
    ck_assert(wf_carry_load_archive(loaded, "carry", archive, NULL, &error));
    wf_carry_reset(saved);
    ck_assert_uint_eq(hash_carry(&b, loaded), hash_carry(&b, saved));
}
