/* What wf_rnn gives every cell, stated as laws: over time, direction, lengths, batch and carried
 * state. */
#include "tests/cells.h"

static const int32_t uneven[BATCH] = { 3, TIME, 0, 1, 4 }; /* unsorted, with 0, 1 and all */
static const int32_t full[BATCH] = { TIME, TIME, TIME, TIME, TIME };

/* Ragged as one at a time, halves as the whole, both directions as two runs, a fused sequence as
 * its steps, and derivatives: on several layers, too. */
TEST_EACH(every_kind_is_proved, kinds())
{
    kind k = kind_at(_i);
    const wf_cell_check_options o = { .output = k.options.output,
                                      .prototype = k.options.prototype };
    wf_report r = cell_check_layer(k.cell, &o, k.options.layers, k.options.no_bias);
    ck_assert_msg(r.ok, "%s: %s", k.name, r.text);
    ck_assert_int_gt(r.checked, 100);
}

/* ---- lengths and direction ---- */

/* One loop index is a kind and whether it has both directions. */
TEST_EACH(full_lengths_are_no_lengths, 2 * kinds())
{
    OWN(fixture) b = fixture_of(_i / 2, _i % 2 == 1, WF_F64);
    cell_result plain = run_case(&b.on);
    b.on.lengths = full;
    cell_result given = run_case(&b.on);
    ck_assert_uint_eq(hash_result(&plain), hash_result(&given));
}

/* From the longest to the shortest of `uneven`. */
static const int sorted[BATCH] = { 1, 4, 0, 3, 2 };

/* The sequences of (outer, BATCH, inner) numbers in sorted order. */
static double *in_order(const double *x, int64_t outer, int64_t inner)
{
    double *y = zeros(outer * BATCH * inner);
    for (int64_t r = 0; r < outer * BATCH; r++) {
        memcpy(y + r * inner, x + (r / BATCH * BATCH + sorted[r % BATCH]) * inner,
               (size_t)inner * sizeof *y);
    }
    return y;
}

TEST_EACH(the_order_of_sequences_in_a_batch_does_not_matter, 2 * kinds())
{
    int32_t lengths[BATCH];
    for (int s = 0; s < BATCH; s++) lengths[s] = uneven[sorted[s]];
    OWN(fixture) b = fixture_of(_i / 2, _i % 2 == 1, WF_F64);
    int64_t output = b.on.width[0] * (1 + _i % 2);
    cell_case other = b.on;
    other.x = in_order(b.on.x, TIME, INPUT);
    other.gy = in_order(b.on.gy, TIME, output);
    for (int k = 0; k < b.on.states; k++) {
        other.initial[k] = in_order(b.on.initial[k], b.on.stacked, b.on.width[k]);
        other.gfinal[k] = in_order(b.on.gfinal[k], b.on.stacked, b.on.width[k]);
    }
    b.on.lengths = uneven;
    other.lengths = lengths;
    cell_result want = run_case(&b.on), got = run_case(&other);
    want.y = in_order(want.y, TIME, output);
    want.dx = in_order(want.dx, TIME, INPUT);
    for (int k = 0; k < b.on.states; k++) {
        want.final[k] = in_order(want.final[k], b.on.stacked, b.on.width[k]);
        want.dinitial[k] = in_order(want.dinitial[k], b.on.stacked, b.on.width[k]);
    }
    assert_result(&got, &want, 1e-12, 1e-12);
}

/* (TIME, BATCH, width) with each sequence turned round within its own length. */
static double *turned(const double *x, int64_t width, const int32_t lengths[])
{
    double *y = zeros(TIME * BATCH * width);
    for (int s = 0; s < BATCH; s++) {
        for (int64_t i = 0; i < lengths[s]; i++) {
            memcpy(y + (i * BATCH + s) * width, x + ((lengths[s] - 1 - i) * BATCH + s) * width,
                   (size_t)width * sizeof *y);
        }
    }
    return y;
}

/* One loop index is a kind and whether the lengths differ. */
TEST_EACH(a_reverse_layer_is_a_run_on_the_flipped_sequence, 2 * kinds())
{
    const int32_t *lengths = _i % 2 ? uneven : full;
    OWN(fixture) back = fixture_like(_i / 2, false, true, WF_F64);
    OWN(fixture) forth = fixture_of(_i / 2, false, WF_F64);
    int64_t output = back.on.width[0];
    back.on.lengths = forth.on.lengths = lengths;
    forth.on.x = turned(back.on.x, INPUT, lengths);
    forth.on.gy = turned(back.on.gy, output, lengths);
    cell_result got = run_case(&back.on), want = run_case(&forth.on);
    want.y = turned(want.y, output, lengths);
    want.dx = turned(want.dx, INPUT, lengths);
    assert_result(&got, &want, 1e-13, 1e-12);
    ck_assert_str_eq(wf_param_path(wf_module_param_at(back.net, 0)),
                     wf_param_path(wf_module_param_at(forth.net, 0)));
}

/* ---- one step at a time ---- */

static wf_var *in_steps(wf_tape *t, const cell_case *c, wf_var *x, const wf_rnn_call *call)
{
    wf_var *y[TIME];
    bool reverse = rnn_form_of(c->rnn).reverse;
    memcpy(call->final, call->initial, (size_t)c->states * sizeof *call->final);
    for (int64_t k = 0; k < TIME; k++) {
        int64_t i = reverse ? TIME - 1 - k : k;
        y[i] = wf_rnn_step(t, c->rnn, wf_select(t, x, 0, i), call->final);
        ck_assert_msg(y[i] != NULL, "%s", wf_tape_error(t));
        ck_assert(wf_rank(y[i]) == 2 && wf_dim(y[i], 0) == BATCH);
    }
    return wf_stack(t, 0, (wf_vars){ TIME, y });
}

/* One loop index is a kind and whether it goes from right to left. */
TEST_EACH(a_step_at_a_time_is_the_whole, 2 * kinds())
{
    OWN(fixture) b = fixture_like(_i / 2, false, _i % 2 == 1, WF_F64);
    cell_result whole = run_case(&b.on);
    b.on.way = in_steps;
    cell_result steps = run_case(&b.on);
    assert_result(&steps, &whole, 1e-12, 1e-12);
}

TEST_EACH(a_first_step_from_no_states_is_one_from_zeros, kinds())
{
    OWN(fixture) b = fixture_of(_i, false, WF_F64);
    if (rnn_form_of(b.rnn).learned) return; /* tests/test_initial.c */
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = cell_var(t, WF_F64, false, WF_SHAPE(BATCH, INPUT), b.on.x),
           *none[WF_CELL_STATES] = { NULL }, *zero[WF_CELL_STATES];
    for (int k = 0; k < b.on.states; k++)
        zero[k] = wf_zeros(t, WF_F64, WF_SHAPE(b.on.stacked, BATCH, b.on.width[k]));
    double *one = doubles_of(wf_rnn_step(t, b.rnn, x, none)),
           *other = doubles_of(wf_rnn_step(t, b.rnn, x, zero));
    ck_assert_msg(one && other, "%s", wf_tape_error(t));
    assert_close("y", BATCH * b.on.width[0], one, other, 0);
}

/* ---- what a call may be given ---- */

TEST_EACH(no_steps_at_all_leave_the_initial_states_and_pass_their_gradients_through, 2 * kinds())
{
    static const int32_t none[BATCH] = { 0 };
    OWN(fixture) b = fixture_of(_i / 2, _i % 2 == 1, WF_F64);
    b.on.time = 0;
    for (int given = 0; given < 2; given++) {
        b.on.lengths = given ? none : NULL;
        cell_result o = run_case(&b.on);
        ck_assert_int_eq(o.n_y, 0);
        ck_assert_int_eq(o.n_x, 0);
        for (int k = 0; k < b.on.states; k++) {
            assert_close("final state", o.n_state[k], o.final[k], b.on.initial[k], 0);
            assert_close("initial state", o.n_state[k], o.dinitial[k], b.on.gfinal[k], 0);
        }
        for (int64_t i = 0; i < o.n_params; i++) ck_assert(o.dparams[i] == 0);
    }
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *y = wf_rnn_forward(t, b.rnn, wf_zeros(t, WF_F64, WF_SHAPE(0, BATCH, INPUT)), NULL);
    wf_shape want = WF_SHAPE(0, BATCH, b.on.width[0] * (1 + _i % 2)), got = wf_shape_of(y);
    ck_assert(wf_shape_equal(&want, &got));
}

static wf_var *through_one_array(wf_tape *t, const cell_case *c, wf_var *x, const wf_rnn_call *call)
{
    memcpy(call->final, call->initial, (size_t)c->states * sizeof *call->final);
    return wf_rnn_forward(t, c->rnn, x,
                          &(wf_rnn_call){ .initial = call->final, .final = call->final });
}

TEST_EACH(one_array_may_give_the_initial_states_and_receive_the_final_ones, 2 * kinds())
{
    OWN(fixture) b = fixture_of(_i / 2, _i % 2 == 1, WF_F64);
    cell_result apart = run_case(&b.on);
    b.on.way = through_one_array;
    cell_result together = run_case(&b.on);
    ck_assert_uint_eq(hash_result(&together), hash_result(&apart));
}

TEST_EACH(one_step_of_one_layer_is_the_cell, kinds())
{
    const wf_cell *cell = kind_at(_i).cell;
    OWN(fixture) b = fixture_of(_i, false, WF_F64);
    if (b.on.stacked > 1) return;
    char *self = cell_take(&kept, 1, cell->size);
    for (const wf_cell_param *p = cell->params; p->name; p++) {
        char path[128];
        snprintf(path, sizeof path, "rnn.%s_l0", p->name);
        wf_var *param = wf_module_param_find(b.net, path);
        memcpy(self + p->offset, &param, sizeof param);
    }
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = cell_var(t, WF_F64, false, WF_SHAPE(1, BATCH, INPUT), b.on.x),
           *initial[WF_CELL_STATES], *final[WF_CELL_STATES], *state[WF_CELL_STATES];
    for (int k = 0; k < b.on.states; k++) {
        initial[k] = cell_var(t, WF_F64, false, WF_SHAPE(1, BATCH, b.on.width[k]), b.on.initial[k]);
        state[k] = wf_select(t, initial[k], 0, 0);
    }
    wf_var *y = wf_rnn_forward(t, b.rnn, x, &(wf_rnn_call){ .initial = initial, .final = final });
    cell->step(t, self, wf_select(t, x, 0, 0), state);
    double *got = doubles_of(y), *want = doubles_of(state[0]);
    ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
    assert_close("y", wf_count(state[0]), got, want, 1e-14);
    for (int k = 0; k < b.on.states; k++) {
        got = doubles_of(final[k]);
        want = doubles_of(state[k]);
        assert_close("final state", wf_count(state[k]), got, want, 1e-14);
    }
}

TEST_EACH(no_initial_state_is_a_state_of_zeros, kinds())
{
    OWN(fixture) b = fixture_of(_i, true, WF_F64);
    if (rnn_form_of(b.rnn).learned) return; /* tests/test_initial.c */
    cell_case none = b.on, given = b.on;
    for (int k = 0; k < none.states; k++) {
        none.initial[k] = NULL;
        given.initial[k] = zeros(b.on.stacked * BATCH * b.on.width[k]);
    }
    cell_result a = run_case(&none), o = run_case(&given);
    assert_close("y", a.n_y, a.y, o.y, 0);
    assert_close("dx", a.n_x, a.dx, o.dx, 0);
    assert_close("parameters", a.n_params, a.dparams, o.dparams, 0);
}

TEST_EACH(each_cotangent_alone_adds_up_to_all_together, 2 * kinds())
{
    OWN(fixture) b = fixture_of(_i / 2, _i % 2 == 1, WF_F64);
    b.on.lengths = uneven;
    cell_result all = run_case(&b.on);
    double *sum = zeros(all.n_params), *dx = zeros(all.n_x);
    for (int part = -1; part < b.on.states; part++) {
        cell_case one = b.on;
        if (part >= 0) one.gy = NULL;
        for (int k = 0; k < one.states; k++)
            if (k != part) one.gfinal[k] = NULL;
        cell_result o = run_case(&one);
        for (int64_t i = 0; i < all.n_params; i++) sum[i] += o.dparams[i];
        for (int64_t i = 0; i < all.n_x; i++) dx[i] += o.dx[i];
    }
    assert_close("parameters", all.n_params, sum, all.dparams, 1e-12);
    assert_close("dx", all.n_x, dx, all.dx, 1e-12);
}

/* ---- dropout between layers ---- */

TEST(dropout_between_layers_is_a_matter_of_training)
{
    enum { WIDE = 400 };
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_rnn *plain = wf_gru_new(net, "plain",
                               &(wf_rnn_options){ .input = INPUT, .hidden = WIDE, .layers = 2 });
    wf_rnn *dropping = wf_gru_new(
        net, "dropping",
        &(wf_rnn_options){ .input = INPUT, .hidden = WIDE, .layers = 2, .dropout = 0.5 });
    ck_assert(wf_module_ok(net, NULL));
    for (int64_t i = 0; i < wf_module_param_count(wf_rnn_module(plain)); i++) {
        wf_var *p = wf_module_param_at(wf_rnn_module(plain), i),
               *q = wf_module_param_at(wf_rnn_module(dropping), i);
        wf_tensor_copy(wf_param_value(p), wf_param_value(q));
        wf_param_changed(q);
    }
    double *x = normals(1, TIME * BATCH * INPUT, 1);
    for (int mode = WF_TRAIN; mode <= WF_INFER; mode++) {
        OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = (wf_mode)mode, .seed = 3 });
        wf_var *in = cell_var(t, WF_F32, false, WF_SHAPE(TIME, BATCH, INPUT), x), *first[1],
               *other[1];
        wf_rnn_forward(t, plain, in, &(wf_rnn_call){ .final = first });
        wf_rnn_forward(t, dropping, in, &(wf_rnn_call){ .final = other });
        ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
        int64_t same[2] = { 0, 0 };
        for (int64_t i = 0; i < 2 * BATCH * WIDE; i++)
            same[i / (BATCH * WIDE)] += wf_at(first[0], i) == wf_at(other[0], i);
        ck_assert_int_eq(same[0], BATCH * WIDE); /* nothing is dropped before the first layer */
        if (mode == WF_TRAIN)
            ck_assert_int_lt(same[1], BATCH * WIDE / 10);
        else
            ck_assert_int_eq(same[1], BATCH * WIDE);
    }
}

/* Keeps its states, and gives zeros. */
static bool sequence_of_zeros(wf_tape *t, const void *self, wf_sequence *s)
{
    (void)self;
    s->output = wf_zeros(t, wf_dtype_of(s->x),
                         WF_SHAPE(wf_dim(s->x, 0), wf_dim(s->x, 1), wf_dim(s->state[0], 1)));
    return s->output != NULL;
}

TEST(a_layer_tells_how_it_runs)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const wf_rnn_options two = { .input = 3, .hidden = 4, .layers = 2 };
    wf_cell own = *wf_gru_row();
    own.sequence = sequence_of_zeros;
    wf_rnn *gru = wf_gru_new(net, "gru", &two), *fast = wf_rnn_new(net, "fast", &own, &two);
    wf_var *x = wf_zeros(t, WF_F32, WF_SHAPE(5, 2, 3));
    const char *text = wf_rnn_explain(t, gru, x, NULL);
    ck_assert_ptr_nonnull(text);
    const char *first = strstr(text, "cell 'gru': planned, 5 steps of 2 rows");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(strstr(first + 1, "cell 'gru': planned"));
    text = wf_rnn_explain(t, fast, x, NULL);
    ck_assert_ptr_nonnull(strstr(text, "cell 'gru': by a sequence of its own\n"));
    ck_assert_ptr_null(wf_rnn_explain(t, NULL, x, NULL));
}

TEST(what_tells_how_a_layer_runs_draws_nothing)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_rnn *rnn = wf_gru_new(
        net, "gru", &(wf_rnn_options){ .input = 3, .hidden = 64, .layers = 2, .dropout = 0.5 });
    double *y[2];
    for (int told = 0; told < 2; told++) {
        OWN(wf_tape) *t = wf_tape_new(NULL);
        wf_var *x = wf_full(t, WF_F32, WF_SHAPE(5, 2, 3), 1);
        const int64_t nodes = wf_tape_nodes(t);
        ck_assert(!told || wf_rnn_explain(t, rnn, x, NULL));
        ck_assert_int_eq(wf_tape_nodes(t), nodes);
        y[told] = doubles_of(wf_rnn_forward(t, rnn, x, NULL));
    }
    for (int i = 0; i < 5 * 2 * 64; i++) ck_assert(y[0][i] == y[1][i]);
}
