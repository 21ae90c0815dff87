/* What sequences begin with, where that is learned: the layer's own parameters in the place of
 * .initial, at the beginning of each text that a carry reads, and in files. */
#include "tests/cells.h"

const harness_suite suite = { .after = NULL };

static fixture learned(const wf_cell *cell, bool bidirectional, wf_dtype dtype, wf_init init)
{
    fixture f = { .net = wf_module_new("net", &(wf_module_options){ .seed = 11, .dtype = dtype }) };
    f.rnn = wf_rnn_new(f.net, "rnn", cell,
                       &(wf_rnn_options){ .input = INPUT,
                                          .hidden = HIDDEN,
                                          .layers = 2,
                                          .bidirectional = bidirectional,
                                          .learned_initial = true,
                                          .init_state = init });
    wf_error error = { { 0 } };
    ck_assert_msg(wf_module_ok(f.net, &error), "%s", error.text);
    f.on = case_of(f.rnn, TIME, BATCH, INPUT);
    return f;
}

static const wf_init spread = { .kind = WF_INIT_UNIFORM, .a = -0.5, .b = 0.5 };

static wf_var *initial_of(const fixture *f, int64_t layer, int direction, int k)
{
    char path[64];
    snprintf(path, sizeof path, "rnn.initial_%s_l%d%s", wf_rnn_row(f->rnn)->states[k].name,
             (int)layer, direction ? "_reverse" : "");
    wf_var *param = wf_module_param_find(f->net, path);
    ck_assert_msg(param != NULL, "%s", path);
    return param;
}

/* ---- in the place of .initial ---- */

TEST(they_are_parameters_of_each_layer_and_direction_and_begin_as_zeros)
{
    OWN(fixture) f = learned(wf_lstm_row(), true, WF_F32, (wf_init){ 0 });
    wf_module *net = wf_module_new("net", NULL);
    wf_rnn_options plain = { .input = INPUT, .hidden = HIDDEN, .layers = 2, .bidirectional = true };
    wf_lstm_new(net, "rnn", &plain);
    ck_assert_int_eq(wf_module_weights(f.net), wf_module_weights(net) + 8 * HIDDEN);
    wf_module_free(net);
    for (int i = 0; i < 8; i++) {
        const wf_tensor *x = wf_param_value(initial_of(&f, i / 4, i / 2 % 2, i % 2));
        ck_assert(x->rank == 1 && x->dim[0] == HIDDEN);
        for (int64_t j = 0; j < HIDDEN; j++) ck_assert(wf_tensor_at(x, j) == 0);
    }
}

/* What no call gives is what .initial of their values gives; their gradients are its sums. */
static const wf_cell *cell_of(int i)
{
    return i == 0 ? wf_lstm_row() : i == 1 ? wf_gru_row() : &mgu_cell;
}

TEST_EACH(values_and_gradients_are_those_of_given_ones, 3 * 2 * 2)
{
    static const int32_t lengths[BATCH] = { 2, 0, TIME, 1, 4 };
    const bool both = _i / 3 % 2;
    OWN(fixture) f = learned(cell_of(_i % 3), both, WF_F64, spread);
    f.on.lengths = _i / 6 ? lengths : NULL;
    cell_case none = f.on, given = f.on;
    const int directions = both ? 2 : 1;
    for (int k = 0; k < f.on.states; k++) {
        none.initial[k] = NULL;
        double *at = zeros(f.on.stacked * BATCH * HIDDEN);
        given.initial[k] = at;
        for (int64_t i = 0; i < f.on.stacked * BATCH * HIDDEN; i++) {
            const int64_t place = i / (BATCH * HIDDEN);
            at[i] = wf_tensor_at(
                wf_param_value(initial_of(&f, place / directions, (int)(place % directions), k)),
                i % HIDDEN);
        }
    }
    cell_result got = run_case(&none), want = run_case(&given);
    double *p = want.dparams; /* of given ones, nothing reaches those of the layer */
    for (int64_t i = 0; i < wf_module_param_count(f.net); i++) {
        const wf_var *param = wf_module_param_at(f.net, i);
        for (int64_t place = 0; place < f.on.stacked; place++)
            for (int k = 0; k < f.on.states; k++)
                if (param == initial_of(&f, place / directions, (int)(place % directions), k))
                    for (int64_t j = 0; j < BATCH * HIDDEN; j++)
                        p[j % HIDDEN] += want.dinitial[k][place * BATCH * HIDDEN + j];
        p += wf_count(param);
    }
    for (int k = 0; k < f.on.states; k++) want.dinitial[k] = NULL;
    assert_result(&got, &want, 0, 1e-14);
}

static bool final_of(wf_tape *t, void *context, wf_var *const in[], wf_var *out[WF_CHECK_OUTPUTS],
                     int *n_out)
{
    const fixture *f = context;
    wf_var *final[WF_CELL_STATES];
    out[0] = wf_rnn_forward(t, f->rnn, in[0], &(wf_rnn_call){ .lengths = in[1], .final = final });
    out[1] = final[0];
    *n_out = 2;
    return out[0] && out[1];
}

TEST_EACH(derivatives_are_those_of_differences, 2)
{
    OWN(fixture) f = { .net = wf_module_new("net", &(wf_module_options){ .seed = 3 }) };
    f.rnn = wf_rnn_new(f.net, "rnn", cell_of(_i),
                       &(wf_rnn_options){ .input = 2,
                                          .hidden = 3,
                                          .bidirectional = true,
                                          .learned_initial = true,
                                          .init_state = spread });
    int32_t lengths[3] = { 3, 0, 1 };
    const wf_tensor in[2] = { wf_tensor_of(WF_F64, WF_SHAPE(3, 3, 2), normals(4, 18, 1)),
                              wf_tensor_of(WF_I32, WF_SHAPE(3), lengths) };
    wf_report r = wf_gradcheck(final_of, &f, 2, in, &(wf_check_options){ .module = f.net });
    ck_assert_msg(r.ok, "%s", r.text);
}

TEST(a_first_step_begins_with_them_and_frozen_ones_stay)
{
    OWN(fixture) f = learned(wf_lstm_row(), false, WF_F64, spread);
    f.on.initial[0] = f.on.initial[1] = NULL;
    cell_result whole = run_case(&f.on);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int i = 0; i < 4; i++) wf_param_freeze(initial_of(&f, i / 2, 0, i % 2), true);
    wf_var *state[WF_CELL_STATES] = { NULL }, *y = NULL;
    for (int step = 0; step < TIME; step++) {
        wf_var *x = cell_var(t, WF_F64, false, WF_SHAPE(BATCH, INPUT),
                             f.on.x + step * BATCH * INPUT);
        y = wf_rnn_step(t, f.rnn, x, state);
        ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
        assert_close("y", BATCH * HIDDEN, doubles_of(y), whole.y + step * BATCH * HIDDEN, 1e-14);
    }
    ck_assert(wf_backward(t, wf_mean(t, y, NULL)));
    for (int i = 0; i < 4; i++) ck_assert_ptr_null(wf_param_grad(initial_of(&f, i / 2, 0, i % 2)));
    ck_assert_ptr_nonnull(wf_param_grad(wf_module_param_find(f.net, "rnn.weight_ih_l0")));
}

/* ---- where a carry begins ---- */

/* Is there a gradient of any learned state? */
static bool reached(const fixture *f)
{
    const wf_tensor *g = wf_param_grad(initial_of(f, 0, 0, 0));
    bool any = false;
    for (int64_t i = 0; g && i < wf_tensor_count(g); i++) any = any || wf_tensor_at(g, i) != 0;
    return any;
}

/* Two steps by the carry, and their sweep; y's numbers. */
static double *window_of(wf_tape *t, const fixture *f, wf_carry *carry, const int32_t *lengths)
{
    wf_tape_reset(t);
    wf_module_clear_grads(f->net);
    wf_var *x = cell_var(t, wf_module_dtype(f->net), false, WF_SHAPE(2, BATCH, INPUT), f->on.x);
    wf_rnn_call call = { .carry = carry };
    if (lengths) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(BATCH), lengths);
    wf_var *y = wf_rnn_forward(t, f->rnn, x, &call);
    ck_assert_msg(wf_backward(t, wf_mean(t, wf_square(t, y), NULL)), "%s", wf_tape_error(t));
    return doubles_of(y);
}

/* Moves what is learned. */
static void move(const fixture *f, double by)
{
    for (int i = 0; i < 2 * f->on.states; i++) {
        wf_var *param = initial_of(f, i / f->on.states, 0, i % f->on.states);
        for (int64_t j = 0; j < HIDDEN; j++)
            put(wf_value(param), j, wf_tensor_at(wf_value(param), j) + by);
        wf_param_changed(param);
    }
}

TEST(each_sequence_begins_with_them_once_and_again_where_it_was_reset)
{
    OWN(fixture) f = learned(wf_gru_row(), false, WF_F64, spread);
    OWN(wf_carry) *carry = wf_carry_new(f.rnn, BATCH);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double *first = window_of(t, &f, carry, NULL);
    ck_assert(reached(&f));
    double *second = window_of(t, &f, carry, NULL);
    ck_assert(!reached(&f));
    ck_assert(wf_carry_reset_sequence(carry, 3));
    double *third = window_of(t, &f, carry, NULL);
    ck_assert(reached(&f));
    for (int64_t i = 0; i < 2 * BATCH * HIDDEN; i++) {
        ck_assert(first[i] != second[i]);
        ck_assert((i / HIDDEN % BATCH == 3) == (third[i] == first[i]));
    }
    /* They are read where a text begins: as they are then. */
    move(&f, 0.25);
    wf_carry_reset(carry);
    double *moved = window_of(t, &f, carry, NULL);
    for (int64_t i = 0; i < 2 * BATCH * HIDDEN; i++) ck_assert(moved[i] != first[i]);
}

TEST(a_sequence_of_which_nothing_was_read_has_not_begun)
{
    static const int32_t lengths[BATCH] = { 2, 0, 1, 2, 0 };
    OWN(fixture) f = learned(wf_lstm_row(), false, WF_F64, spread);
    OWN(wf_carry) *carry = wf_carry_new(f.rnn, BATCH), *other = wf_carry_new(f.rnn, BATCH);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    window_of(t, &f, carry, lengths);
    OWN(wf_tape) *eval = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    wf_var *none = wf_zeros(eval, WF_F64, WF_SHAPE(0, BATCH, INPUT));
    ck_assert_ptr_nonnull(wf_rnn_forward(eval, f.rnn, none, &(wf_rnn_call){ .carry = other }));
    move(&f, 0.25);
    double *later = window_of(t, &f, carry, NULL);
    ck_assert(reached(&f));
    double *first = window_of(t, &f, other, NULL);
    for (int64_t i = 0; i < 2 * BATCH * HIDDEN; i++)
        ck_assert((lengths[i / HIDDEN % BATCH] == 0) == (later[i] == first[i]));
}

TEST(a_first_window_that_is_not_finite_leaves_what_it_began_with)
{
    OWN(fixture) f = learned(wf_lstm_row(), false, WF_F32, spread);
    OWN(wf_carry) *carry = wf_carry_new(f.rnn, BATCH);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    double *x = normals(9, 2 * BATCH * INPUT, 1);
    x[3 * INPUT] = (double)NAN; /* of sequence 3 */
    wf_var *bad = cell_var(t, WF_F32, false, WF_SHAPE(2, BATCH, INPUT), x);
    ck_assert_ptr_nonnull(wf_rnn_forward(t, f.rnn, bad, &(wf_rnn_call){ .carry = carry }));
    for (int i = 0; i < 4; i++) {
        const wf_tensor *kept_state = wf_carry_state(carry, i / 2, 0, i % 2),
                        *want = wf_param_value(initial_of(&f, i / 2, 0, i % 2));
        for (int64_t j = 0; j < HIDDEN; j++) {
            ck_assert(wf_tensor_at(kept_state, 3 * HIDDEN + j) == wf_tensor_at(want, j));
            ck_assert(wf_tensor_at(kept_state, 2 * HIDDEN + j) != wf_tensor_at(want, j));
        }
    }
}

/* ---- in files ---- */

TEST(a_file_says_which_sequences_have_begun)
{
    OWN(fixture) f = learned(wf_lstm_row(), false, WF_F32, spread);
    OWN(wf_carry) *carry = wf_carry_new(f.rnn, BATCH), *loaded = wf_carry_new(f.rnn, BATCH);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    window_of(t, &f, carry, NULL);
    ck_assert(wf_carry_reset_sequence(carry, 1));
    wf_error e = { { 0 } };
    OWN(wf_bundle) *bundle = wf_bundle_new();
    ck_assert(wf_carry_to_bundle(carry, bundle, NULL));
    ck_assert_msg(wf_bundle_save(bundle, path_of("carry"), &e), "%s", e.text);
    OWN(wf_archive) *archive = wf_safetensors_load(path_of("carry"), &e);
    ck_assert_ptr_null(wf_archive_find(archive, "truncation"));
    ck_assert_msg(wf_carry_load_archive(loaded, "carry", archive, NULL, &e), "%s", e.text);
    double *want = window_of(t, &f, carry, NULL), *got = window_of(t, &f, loaded, NULL);
    ck_assert(reached(&f));
    assert_close("y", 2 * BATCH * HIDDEN, got, want, 0);
}

TEST(a_file_that_does_not_say_it_is_refused)
{
    OWN(fixture) f = learned(wf_gru_row(), false, WF_F32, spread);
    OWN(wf_carry) *carry = wf_carry_new(f.rnn, BATCH);
    const int32_t ages[3][BATCH] = { { 0, 1, 1, 1, 2 }, { 0, -1, 1, 1, 1 }, { 0 } };
    const char *const said[] = { "load file: 'windows' is 2 in sequence 4; it must be 0 to 1",
                                 "load file: 'windows' is -1 in sequence 1; it must be 0 to 1",
                                 "load file: missing 'windows'" };
    for (int i = 0; i < 3; i++) {
        wf_error e = { { 0 } };
        wf_bundle *bundle = wf_bundle_new();
        for (int64_t layer = 0; layer < 2; layer++)
            wf_bundle_addf(bundle, wf_carry_state(carry, layer, 0, 0), "h_l%d", (int)layer);
        const wf_tensor windows = wf_tensor_of(WF_I32, WF_SHAPE(BATCH), (void *)(uintptr_t)ages[i]);
        if (i < 2) wf_bundle_add(bundle, "windows", &windows);
        ck_assert_msg(wf_bundle_save(bundle, path_of("carry"), &e), "%s", e.text);
        wf_bundle_free(bundle);
        OWN(wf_archive) *archive = wf_safetensors_load(path_of("carry"), &e);
        ck_assert(!wf_carry_load_archive(carry, "file", archive, NULL, &e));
        ck_assert_str_eq(e.text, said[i]);
    }
}
