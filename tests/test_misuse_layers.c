/* Misuse of what owns parameters: modules and their files, layers, and carried states. */
#include "tests/misuse.h"

#include <limits.h>
#include <math.h>

/* ---- modules ---- */

TEST(modules_that_cannot_be_made_fail_their_tree)
{
    wf_error e = { "" };
    const char *none = NULL;
    wf_module_free(wf_linear_new(NULL, "x", NULL) ? now.tree : NULL);
    ERROR_CLEARED(wf_module_ok(now.net, &now.error));
    QUIET(!wf_module_ok(NULL, &e) && wf_module_ok(now.tree, NULL));
    QUIET(!*wf_module_name(NULL) && !*wf_module_path(NULL) && wf_module_dtype(NULL) == WF_F32);
    wf_module *nameless = wf_module_new(NULL, NULL), *odd = NULL;
    QUIET(nameless && wf_module_ok(nameless, NULL) && *wf_module_name(nameless));
    wf_module_free(nameless);
    odd = wf_module_new("odd", &(wf_module_options){ .dtype = (wf_dtype)42 });
    QUIET(!wf_module_ok(odd, NULL) && !wf_module_child(odd, "x") &&
          !wf_linear_new(odd, "x", &(wf_linear_options){ .input = 1, .output = 1 }));
    wf_module_free(odd);
    odd = wf_module_new("odd", &(wf_module_options){ .dtype = WF_I32 });
    ERROR_SAYS(wf_module_ok(odd, &now.error),
               "module 'odd': .dtype is i32; parameters are f32 or f64");
    wf_module_free(odd);
    TREE_REFUSES(wf_module_child(now.tree, ""),
                 "module '': a name without '.', spaces or control characters is needed");
    TREE_REFUSES(wf_module_child(now.tree, "a\nb"),
                 "module 'a?b': a name without '.', spaces or control characters is needed");
    QUIET(wf_module_child(now.tree, "twin") != NULL);
    TREE_REFUSES(wf_module_child(now.tree, "twin"),
                 "module 'twin': there is one of this name in 'tree' already");
    TREE_REFUSES(wf_module_memory(now.tree, SIZE_MAX),
                 "module 'tree': out of memory for 18446744073709551615 bytes");
    TREE_REFUSES(wf_module_memory(now.tree, (size_t)1 << 40),
                 "module 'tree': out of memory for 1099511627776 bytes");
    QUIET(wf_module_memory(now.tree, 0) != NULL);
    TREE_REFUSES(wf_module_fail(now.tree, none, 0), NULL);
    wf_module *child = wf_module_child(now.tree, "child");
    TREE_REFUSES(wf_module_fail(child, "test: %d", 1) || wf_module_fail(child, "test: %d", 2),
                 "test: 1");
    /* Only a root is freed; a child of it stays good. */
    child = wf_module_child(now.tree, "child");
    wf_module_free(child);
    QUIET(!strcmp(wf_module_path(child), "child"));
}

static wf_var *param(const char *name, wf_shape shape, wf_init init)
{
    return wf_param_new(now.tree, name, shape, init);
}

TEST(parameters_that_cannot_be_made_fail_their_tree)
{
    const wf_init zero = { .kind = WF_INIT_ZERO };
    QUIET(param("w", WF_SHAPE(2), zero) != NULL);
    TREE_REFUSES(param("w", WF_SHAPE(2), zero), "parameter 'w': there is one already");
    /* Every kind takes a scalar, nothing, and blocks that do not divide the rows. */
    for (int kind = WF_INIT_ZERO; kind <= WF_INIT_IDENTITY; kind++) {
        wf_init init = { .kind = (wf_init_kind)kind, .a = 1, .b = 2, .rows = kind % 2 ? -4 : 2 };
        QUIET(param("scalar", WF_SCALAR, init) && param("empty", WF_SHAPE(0, 3), init));
        QUIET(param("columnless", WF_SHAPE(3, 0), init) && param("deep", shape_of_rank(8), init));
        QUIET(param("matrix", WF_SHAPE(5, 3), init) != NULL);
        misuse_new_tree();
    }
}

TEST(what_is_read_of_no_parameter_is_none)
{
    wf_var *x = now.matrix; /* no parameter */
    QUIET(!wf_param_path(x) && !wf_param_value(x));
    QUIET(!wf_param_grad(x));
    QUIET(wf_param_version(x) == 0);
    wf_param_changed(x);
    wf_param_clear_grad(x);
    wf_param_freeze(x, true);
    wf_module_freeze(now.tree, true);
    wf_module_clear_grads(now.tree);
    QUIET(!wf_param_frozen(x) && wf_module_freeze_named(now.tree, NULL, true) == 0);
    QUIET(!wf_path_matches(NULL, NULL));
    QUIET(wf_param_grad_version(x) == 0);
    QUIET(!wf_param_grad_rows(x).grad);
    QUIET(wf_module_param_count(now.tree) == 0 && wf_module_weights(now.tree) == 0);
    char text[8] = "before";
    QUIET(wf_module_text(NULL, NULL, 0) == strlen("(no module)"));
    QUIET(wf_module_text(now.net, text, 0) > 0 && !strcmp(text, "before"));
    QUIET(wf_module_text(now.net, text, 4) > 4 && strlen(text) == 3);
    int was = misuse_hush();
    wf_module_print(now.tree);
    misuse_speak(was);
    QUIET(!wf_module_param_at(now.net, -1));
    QUIET(!wf_module_param_at(now.net, wf_module_param_count(now.net)));
    QUIET(!wf_module_param_at(now.net, INT64_MAX) && !wf_module_param_at(now.net, INT64_MIN));
    QUIET(!wf_module_param_find(now.net, NULL));
    QUIET(!wf_module_param_find(now.net, "") && !wf_module_param_find(now.net, "linear"));
    QUIET(wf_module_param_find(now.net, "linear.weight") == now.param);
}

/* ---- layers without time ---- */

static wf_linear *linear(wf_linear_options o)
{
    return wf_linear_new(now.tree, "layer", &o);
}

TEST(layers_of_sizes_that_cannot_be_fail_their_tree)
{
    const wf_linear_options good = { .input = 2, .output = 3 };
    QUIET(wf_dropout_new(now.tree, "idle", NULL) != NULL);
    /* One of the same name; and nothing is made in a tree that has failed. */
    QUIET(linear(good) != NULL);
    TREE_REFUSES(linear(good), "module 'layer': there is one of this name in 'tree' already");
    wf_module_fail(now.tree, "test: failed on purpose");
    TREE_REFUSES(linear(good), "test: failed on purpose");
    wf_module_fail(now.tree, "test: failed on purpose");
    TREE_REFUSES(wf_embedding_new(now.tree, "layer", NULL), "test: failed on purpose");
    wf_module_fail(now.tree, "test: failed on purpose");
    TREE_REFUSES(wf_dropout_new(now.tree, "layer", NULL), "test: failed on purpose");
}

TEST(layers_take_what_is_empty_or_deep)
{
    wf_tape *t = now.t;
    QUIET(wf_count(wf_linear_forward(t, now.linear, now.empty)) == 0);
    QUIET(wf_rank(wf_linear_forward(t, now.linear, now.deep)) == 8);
    QUIET(wf_count(wf_embedding_forward(t, now.embed, wf_zeros(t, WF_I32, WF_SHAPE(0)))) == 0);
    wf_fail(t, "test: failed on purpose");
    ck_assert(!wf_linear_forward(t, NULL, NULL) && !wf_dropout_forward(t, NULL, NULL));
    ck_assert_ptr_null(wf_embedding_forward(t, NULL, NULL));
    ck_assert_str_eq(wf_tape_error(t), "test: failed on purpose");
}

TEST(a_decoding_of_ctc_empties_its_error_first)
{
    wf_error *e = &now.error;
    float z[6] = { 0 };
    const wf_tensor good = wf_tensor_of(WF_F32, WF_SHAPE(2, 1, 3), z);
    wf_ctc_decoded found = { 0 };
    ERROR_CLEARED(wf_ctc_decode(&found, &good, NULL, NULL, e));
    wf_ctc_decoded_free(&found);
}

/* ---- layers over time ---- */

static wf_rnn *lstm(wf_rnn_options o)
{
    return wf_lstm_new(now.tree, "layer", &o);
}

static void step_nothing(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    (void)t, (void)self, (void)x;
    state[0] = NULL;
}

static void step_wrongly(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    (void)self, (void)x;
    state[0] = wf_transpose(t, state[0], 0, 1);
}

typedef struct small {
    wf_var *w;
} small;

static const wf_cell sound = {
    .name = "small",
    .size = sizeof(small),
    .step = step_nothing,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(WF_PARAM(small, w, WF_HIDDEN, WF_INPUT)),
};

static wf_rnn *of_cell(const wf_cell *cell)
{
    return wf_rnn_new(now.tree, "layer", cell, &(wf_rnn_options){ .input = 2, .hidden = 3 });
}

TEST(recurrent_layers_that_cannot_be_made_fail_their_tree)
{
    wf_cell cell = sound;
    cell.name = NULL;
    TREE_REFUSES(of_cell(&cell), "rnn 'layer': cell '' lacks a name");
    cell = sound, cell.step = NULL;
    TREE_REFUSES(of_cell(&cell), "rnn 'layer': cell 'small' lacks a step");
    cell = sound, cell.states = NULL;
    TREE_REFUSES(of_cell(&cell), "rnn 'layer': cell 'small' lacks a state");
    cell = sound, cell.size = 0;
    TREE_REFUSES(of_cell(&cell), "rnn 'layer': cell 'small' lacks a size");
    cell = sound, cell.params = NULL;
    QUIET(of_cell(&cell) != NULL);
    misuse_new_tree();
    TREE_REFUSES(lstm((wf_rnn_options){ .input = 2, .hidden = INT64_MAX }), NULL);
    TREE_REFUSES(lstm((wf_rnn_options){ .input = INT64_MAX, .hidden = 3 }), NULL);
    TREE_REFUSES(lstm((wf_rnn_options){ .input = 2, .hidden = 1 << 20 }), NULL);
    TREE_REFUSES(lstm((wf_rnn_options){ .input = 2, .hidden = 3, .layers = INT64_MAX }), NULL);
    TREE_REFUSES(lstm((wf_rnn_options){ .input = 2, .hidden = 3, .layers = INT64_C(1) << 40 }),
                 NULL);
    QUIET(wf_elman_row() && wf_lstm_row() && wf_gru_row());
    QUIET(wf_cell_named("gru") == wf_gru_row() && !wf_cell_named("GRU") && !wf_cell_named(NULL));
}

static wf_var *forward(wf_rnn_call call)
{
    return wf_rnn_forward(now.t, now.rnn, now.sequence, &call);
}

static wf_var *forward_x(wf_var *x)
{
    return wf_rnn_forward(now.t, now.rnn, x, NULL);
}

static wf_var *lengths(int32_t first, int32_t second)
{
    return wf_constant(now.t, WF_I32, WF_SHAPE(2), (int32_t[]){ first, second });
}

TEST(recurrent_layers_take_what_is_empty_and_no_more_than_can_be_counted)
{
    wf_tape *t = now.t;
    wf_var *last[1] = { now.matrix };
    wf_rnn_call call = { .final = last };
    QUIET(!wf_rnn_forward(NULL, now.rnn, now.sequence, &call) && !last[0]);
    REFUSES(forward_x(wf_zeros(t, WF_F64, WF_SHAPE(0, INT64_C(1) << 31, 3))),
            "rnn 'gru': x is (0, 2147483648, 3); there can be 2147483647 time steps and sequences");
    REFUSES(forward_x(wf_zeros(t, WF_F64, WF_SHAPE(INT64_C(1) << 31, 0, 3))),
            "rnn 'gru': x is (2147483648, 0, 3); there can be 2147483647 time steps and sequences");
    QUIET(wf_count(forward_x(wf_zeros(t, WF_F64, WF_SHAPE(0, 2, 3)))) == 0);
    QUIET(wf_count(forward_x(wf_zeros(t, WF_F64, WF_SHAPE(4, 0, 3)))) == 0);
    REFUSES(forward((wf_rnn_call){ .lengths = lengths(INT32_MIN, INT32_MAX) }), NULL);
    QUIET(wf_at(forward((wf_rnn_call){ .lengths = lengths(0, 0) }), 0) == 0);
    last[0] = now.matrix;
    REFUSES(wf_rnn_forward(t, now.rnn, now.matrix, &call), NULL);
    ck_assert_ptr_null(last[0]);
    wf_fail(t, "test: failed on purpose");
    last[0] = now.matrix;
    ck_assert(!wf_rnn_forward(t, now.rnn, now.sequence, &call) && !last[0]);
}

TEST(a_layer_without_single_steps_says_so)
{
    wf_tape *t = now.t;
    wf_rnn_options both = { .input = 2, .hidden = 3, .bidirectional = true };
    wf_var *x = wf_zeros(t, WF_F64, WF_SHAPE(2, 3)), *state[1] = { x };
    QUIET(!wf_rnn_step(NULL, now.rnn, x, state) && !state[0]);
    QUIET(wf_rnn_step(t, now.rnn, x, state) && state[0]);
    state[0] = wf_zeros(now.other, WF_F64, WF_SHAPE(1, 2, 4));
    REFUSES(wf_rnn_step(t, now.rnn, now.matrix, state),
            "rnn 'gru': the initial h belongs to another tape");
    ck_assert_ptr_null(state[0]);
    REFUSES(wf_rnn_step(t, lstm(both), wf_zeros(t, WF_F64, WF_SHAPE(2, 2)), (wf_var *[2]){ NULL }),
            "rnn 'layer': a bidirectional rnn has no single step: its reverse direction begins at "
            "the end of what is still to come");
    misuse_new_tree();
    wf_var *half[2] = { wf_zeros(t, WF_F64, WF_SHAPE(1, 2, 3)), NULL };
    REFUSES(wf_rnn_step(t, lstm((wf_rnn_options){ .input = 2, .hidden = 3 }),
                        wf_zeros(t, WF_F64, WF_SHAPE(2, 2)), half),
            "rnn 'layer': the initial c was never made");
    misuse_new_tree();
    wf_fail(t, "test: failed on purpose");
    state[0] = now.matrix;
    ck_assert(!wf_rnn_step(t, now.rnn, now.matrix, state) && !state[0]);
}

static void step_elsewhere(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    (void)t, (void)self, (void)x;
    state[0] = wf_zeros(now.other, WF_F64, WF_SHAPE(2, 3));
}

static bool sequence_of_nothing(wf_tape *t, const void *self, wf_sequence *s)
{
    (void)t, (void)self;
    s->output = NULL;
    return true;
}

static bool sequence_elsewhere(wf_tape *t, const void *self, wf_sequence *s)
{
    (void)self;
    s->output = wf_zeros(t, WF_F64, WF_SHAPE(3, 2, 3));
    s->state[0] = wf_zeros(now.other, WF_F64, WF_SHAPE(2, 3));
    return true;
}

static bool sequence_wrongly(wf_tape *t, const void *self, wf_sequence *s)
{
    (void)self;
    s->output = wf_zeros(t, WF_F64, WF_SHAPE(3, 3, 2));
    return true;
}

static void misbehaves(wf_cell cell, const char *says)
{
    misuse_new_tree();
    wf_rnn *rnn = of_cell(&cell);
    wf_var *x = wf_zeros(now.t, WF_F64, WF_SHAPE(3, 2, 2));
    REFUSES(wf_rnn_forward(now.t, rnn, x, NULL), says);
}

/* Steps that leave what they should not. */
TEST(a_cell_that_leaves_what_it_should_not_is_refused)
{
    wf_cell cell = sound;
    misbehaves(cell, "cell 'small': its step left no state h\n  in layer");
    cell.step = step_wrongly;
    misbehaves(cell,
               "cell 'small': its step made state h f64 (3, 2); expected f64 (2, 3)\n  in layer");
    cell.step = step_elsewhere;
    misbehaves(cell,
               "cell 'small': the state h that its step left belongs to another tape\n  in layer");
    cell.sequence = sequence_of_nothing;
    misbehaves(cell, "cell 'small': the output that its sequence left was never made (NULL)\n"
                     "  in layer");
    cell.sequence = sequence_elsewhere;
    misbehaves(cell, "cell 'small': the state h that its sequence left belongs to another tape\n"
                     "  in layer");
    cell.sequence = sequence_wrongly;
    misbehaves(cell, "cell 'small': its sequence made the output f64 (3, 3, 2); expected f64 "
                     "(3, 2, 3)\n  in layer");
}

TEST(what_cannot_be_carried_is_refused)
{
    wf_error *e = &now.error;
    wf_rnn_options o = { .input = 2, .hidden = 3 };
    ERROR_CLEARED(wf_carry_ok(now.carry, e));
    QUIET(!wf_carry_state(now.carry, -1, 0, 0) && !wf_carry_state(now.carry, 1, 0, 0));
    QUIET(!wf_carry_state(now.carry, 0, 1, 0) && !wf_carry_state(now.carry, 0, -1, 0));
    QUIET(!wf_carry_state(now.carry, 0, 0, 1) && !wf_carry_state(now.carry, INT64_MIN, 0, INT_MIN));
    TREE_REFUSES(wf_carry_new(lstm(o), 0), "carry: its batch is 0; it must be 1 or more");
    TREE_REFUSES(wf_carry_new(lstm(o), -4), "carry: its batch is -4; it must be 1 or more");
    TREE_REFUSES(wf_carry_new(lstm(o), INT64_MAX),
                 "carry: out of memory for 9223372036854775807 sequences");
    TREE_REFUSES(wf_carry_new(lstm(o), INT64_C(1) << 40),
                 "carry: out of memory for 1099511627776 sequences");
    o.bidirectional = true;
    TREE_REFUSES(wf_carry_new(lstm(o), 2),
                 "carry: a bidirectional rnn cannot be carried: its reverse direction begins at "
                 "the end of what is still to come");
    o.bidirectional = false, o.reverse = true;
    TREE_REFUSES(wf_carry_new(lstm(o), 2),
                 "carry: a reverse rnn cannot be carried: it begins at the end of what is still "
                 "to come");
    /* Of another layer, or for another batch; the state stays what it was. */
    wf_carry *other = wf_carry_new(lstm((wf_rnn_options){ .input = 2, .hidden = 3 }), 2);
    wf_carry *wide = wf_carry_new(now.rnn, 5);
    REFUSES(forward((wf_rnn_call){ .carry = other }),
            "rnn 'gru': the carry was made for another rnn");
    REFUSES(forward((wf_rnn_call){ .carry = wide }),
            "rnn 'gru': x has 2 sequences; the carry was made for 5");
    wf_carry_free(other);
    wf_carry_free(wide);
    QUIET(!wf_carry_reset_sequence(now.carry, -1) && !wf_carry_reset_sequence(now.carry, 2));
    /* What a failed step, a rehearsal or a forgotten one would have carried is not carried. */
    ck_assert_ptr_nonnull(forward((wf_rnn_call){ .carry = now.carry }));
    REFUSES(wf_backward(now.t, now.matrix), NULL);
    ck_assert_ptr_nonnull(forward((wf_rnn_call){ .carry = now.carry }));
    misuse_renew();
    QUIET(wf_tape_commit(now.t));
}

TEST(truncation)
{
    wf_rnn_options o = { .input = 2, .hidden = 3 };
    TREE_REFUSES(wf_carry_new_truncated(lstm(o), 2, 0, 3),
                 "carry: its update interval is 0; it must be 1 to 2147483647");
    TREE_REFUSES(wf_carry_new_truncated(lstm(o), 2, 3, -1),
                 "carry: its backward length is -1; it must be 1 to 2147483647");
    TREE_REFUSES(wf_carry_new_truncated(lstm(o), 2, 1, INT64_C(1) << 31),
                 "carry: its backward length is 2147483648; it must be 1 to 2147483647");
    TREE_REFUSES(wf_carry_new_truncated(lstm(o), 0, 3, 3),
                 "carry: its batch is 0; it must be 1 or more");
    TREE_REFUSES(wf_carry_new_truncated(lstm(o), INT64_C(1) << 40, 1, INT32_MAX),
                 "carry: out of memory for 1099511627776 sequences");
    o.bidirectional = true;
    TREE_REFUSES(wf_carry_new_truncated(lstm(o), 2, 3, 3),
                 "carry: a bidirectional rnn cannot be carried: its reverse direction begins at "
                 "the end of what is still to come");
    /* now.sequence has four steps. */
    QUIET(wf_carry_overlap(now.t, NULL) == 0 && wf_carry_overlap(now.t, now.carry) == 0);
    wf_carry *few = wf_carry_new_truncated(now.rnn, 2, 3, 1);
    wf_carry *many = wf_carry_new_truncated(now.rnn, 2, 4, 8);
    wf_carry *ended = wf_carry_new_truncated(now.rnn, 2, 5, 6);
    REFUSES(forward((wf_rnn_call){ .carry = few }),
            "rnn 'gru': x has 4 steps; the carry takes 1 to 3 new ones");
    ck_assert_ptr_nonnull(forward((wf_rnn_call){ .carry = many }));
    REFUSES(forward((wf_rnn_call){ .carry = many }),
            "rnn 'gru': x has 4 steps; the carry takes 4 to be read again and 1 to 4 new ones");
    misuse_renew();
    wf_tape_set_mode(now.t, WF_EVAL);
    ck_assert_ptr_nonnull(forward((wf_rnn_call){ .carry = ended }));
    wf_carry_reset_sequence(ended, 0); /* sequence 1 has not begun anew */
    REFUSES(forward((wf_rnn_call){ .carry = ended }),
            "rnn 'gru': a window below the update interval of 5 has ended the text; reset the "
            "carry for another");
    misuse_renew();
    wf_carry_free(few);
    wf_carry_free(ended);
    wf_carry_free(many);
}

/* A step of the layer of now.carry over x, in which sequence 1 has a NaN or an infinity. */
static void spoil_a_step(double value)
{
    double *x = wf_value(now.sequence)->data;
    x[3] = value;
    ck_assert_ptr_nonnull(forward((wf_rnn_call){ .carry = now.carry }));
}

TEST(a_carry_keeps_what_it_held_for_what_is_not_finite)
{
    misuse_renew();
    wf_tape_set_mode(now.t, WF_EVAL);
    int messages = log_kept.times;
    spoil_a_step((double)NAN);
    ck_assert_str_eq(log_kept.text, "rnn 'gru': state h of layer 0 is nan in sequence 1; the carry "
                                    "keeps what it held for it");
    spoil_a_step((double)NAN);
    ck_assert_int_eq(log_kept.times, messages + 1); /* once, until all are finite again */
    spoil_a_step(1);
    spoil_a_step((double)NAN);
    ck_assert_int_eq(log_kept.times, messages + 2);
    for (int64_t i = 0; i < 8; i++)
        ck_assert(isfinite(wf_tensor_at(wf_carry_state(now.carry, 0, 0, 0), i)));
    ck_assert(wf_tape_ok(now.t));
    wf_carry_reset(now.carry);
    misuse_renew();
}

/* A bundle of one tensor, saved under a name and read. */
static wf_archive *file_with(const char *name, wf_tensor x)
{
    wf_error e = { "" };
    wf_bundle *bundle = wf_bundle_new();
    wf_bundle_add(bundle, name, &x);
    ck_assert_msg(wf_bundle_save(bundle, path_of("carry"), &e), "%s", e.text);
    wf_bundle_free(bundle);
    wf_archive *archive = wf_safetensors_load(path_of("carry"), &e);
    ck_assert_msg(archive != NULL, "%s", e.text);
    return archive;
}

static void load_fails(const char *name, wf_tensor x, const char *says)
{
    wf_archive *archive = file_with(name, x);
    ERROR_SAYS(wf_carry_load_archive(now.carry, "ck", archive, "c.", &now.error), says);
    wf_archive_free(archive);
}

/* What a truncated carry does not find in a file beside its states. */
TEST(truncations_that_do_not_fit_are_not_loaded)
{
    wf_error e = { "" };
    wf_carry *carry = wf_carry_new_truncated(now.rnn, 2, 3, 6); /* keeps two states */
    double zero[16] = { 0 };
    int32_t both[3] = { 3, 6, 0 }, windows[2] = { 0, -1 };
    wf_tensor state = wf_tensor_of(WF_F64, WF_SHAPE(2, 2, 4), zero),
              truncation = wf_tensor_of(WF_I32, WF_SHAPE(2), both),
              known = wf_tensor_of(WF_I32, WF_SHAPE(2), windows);
    const char *const says[] = {
        "load ck: missing 'c.truncation'",
        "load ck: 'c.truncation' is i32 (3) in the file and i32 (2) in the carry",
        "load ck: 'c.truncation' is 3, 5 in the file and 3, 6 in the carry",
        "load ck: missing 'c.windows'",
        "load ck: 'c.windows' is f64 (2) in the file and i32 (2) in the carry",
        "load ck: 'c.windows' is 3 in sequence 1; it must be -1 to 2",
        "load ck: 'c.windows' is -2 in sequence 1; it must be -1 to 2",
        "load ck: 'c.h_l0' is nan in sequence 1; a carry holds finite states",
        NULL,
    };
    for (int i = 0; i < 9; i++) {
        wf_tensor a = truncation, b = known;
        if (i == 1) a.dim[0] = 3;
        if (i == 4) b = wf_tensor_of(WF_F64, WF_SHAPE(2), zero);
        both[1] = i == 2 ? 5 : 6;
        windows[1] = i == 5 ? 3 : i == 6 ? -2 : -1;
        zero[13] = i == 7 ? (double)NAN : 0; /* of the second state, sequence 1 */
        wf_bundle *bundle = wf_bundle_new();
        ck_assert(wf_bundle_add(bundle, "c.h_l0", &state));
        if (i > 0) ck_assert(wf_bundle_add(bundle, "c.truncation", &a));
        if (i != 3) ck_assert(wf_bundle_add(bundle, "c.windows", &b));
        ck_assert_msg(wf_bundle_save(bundle, path_of("carry"), &e), "%s", e.text);
        wf_bundle_free(bundle);
        wf_archive *archive = wf_safetensors_load(path_of("carry"), &e);
        ck_assert_msg(archive != NULL, "%s", e.text);
        bool ok = wf_carry_load_archive(carry, "ck", archive, "c.", &now.error);
        ck_assert_str_eq(now.error.text, says[i] ? says[i] : "");
        ck_assert(ok == !says[i]);
        wf_archive_free(archive);
    }
    wf_carry_free(carry);
}

TEST(states_that_do_not_fit_are_not_loaded)
{
    wf_error *e = &now.error;
    double x[8] = { 0 };
    wf_tensor good = wf_tensor_of(WF_F64, WF_SHAPE(2, 4), x), wide = good;
    QUIET(!wf_carry_to_bundle(now.carry, NULL, "a"));
    wf_bundle *bundle = wf_bundle_new();
    ck_assert(!wf_carry_to_bundle(NULL, bundle, "a"));
    ERROR_SAYS(wf_bundle_ok(bundle, e), "carry: it was never made; wf_module_ok says why");
    wf_bundle_free(bundle);
    bundle = wf_bundle_new();
    ck_assert(wf_carry_to_bundle(now.carry, bundle, "a.") &&
              !wf_carry_to_bundle(now.carry, bundle, "a."));
    ERROR_SAYS(wf_bundle_ok(bundle, e), "bundle: two tensors are named 'a.h_l0'");
    wf_bundle_free(bundle);
    load_fails("h_l0", good, "load ck: missing 'c.h_l0'");
    wide = wf_tensor_of(WF_F64, WF_SHAPE(4, 2), x);
    load_fails("c.h_l0", wide, "load ck: 'c.h_l0' is (4, 2) in the file and (2, 4) in the carry");
    wide = wf_tensor_of(WF_I32, WF_SHAPE(2, 4), x);
    load_fails("c.h_l0", wide, "load ck: 'c.h_l0' is i32 in the file; a state is f32 or f64");
    x[5] = (double)INFINITY;
    load_fails("c.h_l0", good,
               "load ck: 'c.h_l0' is infinite in sequence 1; a carry holds finite states");
    x[5] = 1e-9;
    wf_archive *archive = file_with("c.h_l0", good);
    ERROR_CLEARED(wf_carry_load_archive(now.carry, "ck", archive, "c.", e));
    ck_assert(wf_tensor_at(wf_carry_state(now.carry, 0, 0, 0), 5) == 1e-9);
    wf_archive_free(archive);
    wf_carry_reset(now.carry);
}
