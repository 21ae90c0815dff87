/* What wf_rnn gives every cell, stated as laws: over time, direction, lengths, batch and carried
 * state. */
#include "tests/cells.h"

#include <stdio.h>

/* Some of the sequences of (outer, BATCH, inner) numbers, as a copy: sequence i of the copy is
 * `which[i]`. */
static double *pick(const double *x, int64_t outer, int64_t inner, int n, const int which[])
{
    if (!x) return NULL;
    double *y = zeros(outer * n * inner);
    for (int64_t o = 0; o < outer; o++) {
        for (int i = 0; i < n; i++) {
            memcpy(y + (o * n + i) * inner, x + (o * BATCH + which[i]) * inner,
                   (size_t)inner * sizeof *y);
        }
    }
    return y;
}

/* A cell_case on some sequences of another, and the first `time` steps. */
static cell_case some_of(const cell_case *whole, int64_t time, int n, const int which[])
{
    cell_case c = *whole;
    c.time = time;
    c.batch = n;
    c.lengths = NULL;
    c.x = pick(whole->x, time, whole->input, n, which);
    for (int k = 0; k < c.states; k++) {
        c.initial[k] = pick(whole->initial[k], c.stacked, c.width[k], n, which);
        c.gfinal[k] = pick(whole->gfinal[k], c.stacked, c.width[k], n, which);
    }
    return c;
}

/* ---- lengths ---- */

static const int32_t uneven[BATCH] = { 3, TIME, 0, 1, 4 }; /* unsorted, with 0, 1 and all */

/* One loop index is a kind and whether it has both directions. */
TEST_EACH(a_ragged_batch_is_its_sequences_one_at_a_time_and_padding_is_never_read, 2 * KINDS)
{
    OWN(fixture) b = fixture_of(_i / 2, _i % 2 == 1, WF_F64);
    const cell_case *c = &b.on;
    int64_t output = c->width[0] * (1 + _i % 2);
    cell_case ragged = *c;
    double *x = normals(1, TIME * BATCH * INPUT, 1), *gy = normals(2, TIME * BATCH * output, 1);
    for (int64_t i = 0; i < TIME; i++) {
        for (int s = 0; s < BATCH; s++) {
            if (i < uneven[s]) continue;
            for (int j = 0; j < INPUT; j++) x[(i * BATCH + s) * INPUT + j] = (double)NAN;
            for (int j = 0; j < output; j++) gy[(i * BATCH + s) * output + j] = (double)NAN;
        }
    }
    double *spoilt[WF_CELL_STATES] = { NULL };
    for (int k = 0; k < c->states; k++) {
        spoilt[k] = normals(3 + (uint64_t)k, c->stacked * BATCH * c->width[k], 0.5);
        for (int64_t i = 0; i < c->stacked * BATCH * c->width[k]; i++)
            if (uneven[i / c->width[k] % BATCH] == 0)
                spoilt[k][i] = i % 2 ? (double)NAN : -(double)INFINITY;
        ragged.initial[k] = spoilt[k];
    }
    ragged.x = x;
    ragged.gy = gy;
    ragged.lengths = uneven;
    cell_result all = run_case(&ragged);
    double *sum = zeros(all.n_params);
    for (int s = 0; s < BATCH; s++) {
        char what[64];
        snprintf(what, sizeof what, "%s, sequence %d", kinds[_i / 2].name, s);
        for (int64_t i = uneven[s]; i < TIME; i++) {
            for (int j = 0; j < output; j++) ck_assert(all.y[(i * BATCH + s) * output + j] == 0);
            for (int j = 0; j < INPUT; j++) ck_assert(all.dx[(i * BATCH + s) * INPUT + j] == 0);
        }
        double *final[WF_CELL_STATES], *dinitial[WF_CELL_STATES];
        for (int k = 0; k < c->states; k++) {
            final[k] = pick(all.final[k], c->stacked, c->width[k], 1, &s);
            dinitial[k] = pick(all.dinitial[k], c->stacked, c->width[k], 1, &s);
        }
        if (uneven[s] == 0) {
            for (int k = 0; k < c->states; k++) {
                double *initial = pick(spoilt[k], c->stacked, c->width[k], 1, &s);
                double *gfinal = pick(c->gfinal[k], c->stacked, c->width[k], 1, &s);
                for (int64_t i = 0; i < c->stacked * c->width[k]; i++)
                    ck_assert(isnan(initial[i]) ? isnan(final[k][i]) : final[k][i] == initial[i]);
                assert_close(what, c->stacked * c->width[k], dinitial[k], gfinal, 0);
            }
        } else {
            cell_case alone = some_of(c, uneven[s], 1, &s);
            alone.gy = pick(c->gy, uneven[s], output, 1, &s);
            cell_result one = run_case(&alone);
            double *y = pick(all.y, uneven[s], output, 1, &s),
                   *dx = pick(all.dx, uneven[s], INPUT, 1, &s);
            assert_close(what, one.n_y, y, one.y, 1e-12);
            assert_close(what, one.n_x, dx, one.dx, 1e-12);
            for (int k = 0; k < c->states; k++) {
                assert_close(what, one.n_state[k], final[k], one.final[k], 1e-12);
                assert_close(what, one.n_state[k], dinitial[k], one.dinitial[k], 1e-12);
            }
            add_to(sum, one.n_params, one.dparams);
        }
        for (int k = 0; k < c->states; k++) {}
    }
    assert_close("parameters", all.n_params, all.dparams, sum, 1e-12);
}

TEST_EACH(full_lengths_are_no_lengths, 2 * KINDS)
{
    static const int32_t full[BATCH] = { TIME, TIME, TIME, TIME, TIME };
    OWN(fixture) b = fixture_of(_i / 2, _i % 2 == 1, WF_F64);
    cell_result plain = run_case(&b.on);
    b.on.lengths = full;
    cell_result given = run_case(&b.on);
    ck_assert_uint_eq(hash_result(&plain), hash_result(&given));
}

TEST_EACH(the_order_of_sequences_in_a_batch_does_not_matter, 2 * KINDS)
{
    static const int order[BATCH] = { 3, 0, 4, 2, 1 };
    OWN(fixture) b = fixture_of(_i / 2, _i % 2 == 1, WF_F64);
    int64_t output = b.on.width[0] * (1 + _i % 2);
    int32_t lengths[BATCH];
    cell_case other = some_of(&b.on, TIME, BATCH, order);
    other.gy = pick(b.on.gy, TIME, output, BATCH, order);
    for (int s = 0; s < BATCH; s++) lengths[s] = uneven[order[s]];
    b.on.lengths = uneven;
    other.lengths = lengths;
    cell_result want = run_case(&b.on), got = run_case(&other);
    double *y = pick(want.y, TIME, output, BATCH, order),
           *dx = pick(want.dx, TIME, INPUT, BATCH, order);
    assert_close("y", want.n_y, got.y, y, 1e-12);
    assert_close("dx", want.n_x, got.dx, dx, 1e-12);
    assert_close("parameters", want.n_params, got.dparams, want.dparams, 1e-12);
}

/* ---- time and direction ---- */

/* y, the final states, and what goes back from them under the cell_case's cotangents, against an
 * cell_result. */
static void assert_sweep(wf_tape *t, const fixture *b, wf_var *x, wf_var *y,
                         wf_var *const initial[], wf_var *const final[], const cell_result *want)
{
    const cell_case *c = &b->on;
    wf_var *out[1 + WF_CELL_STATES] = { y }, *cotangent[1 + WF_CELL_STATES], *wrt[64] = { x },
                    *grad[64];
    int params = (int)wf_module_param_count(b->net), at = 1 + c->states;
    cotangent[0] = cell_var(t, WF_F64, false, wf_shape_of(y), c->gy);
    for (int k = 0; k < c->states; k++) {
        out[1 + k] = final[k];
        cotangent[1 + k] = cell_var(t, WF_F64, false, wf_shape_of(final[k]), c->gfinal[k]);
        wrt[1 + k] = initial[k];
        double *last = doubles_of(final[k]);
        assert_close("final state", want->n_state[k], last, want->final[k], 1e-12);
    }
    double *value = doubles_of(y);
    assert_close("y", want->n_y, value, want->y, 1e-12);
    for (int i = 0; i < params; i++) wrt[at + i] = wf_module_param_at(b->net, i);
    ck_assert_msg(wf_grad(t, at, out, cotangent, at + params, wrt, grad, NULL), "%s",
                  wf_tape_error(t));
    double *dx = doubles_of(grad[0]);
    assert_close("dx", want->n_x, dx, want->dx, 1e-12);
    for (int k = 0; k < c->states; k++) {
        double *d = doubles_of(grad[1 + k]);
        assert_close("initial state", want->n_state[k], d, want->dinitial[k], 1e-12);
    }
    const double *rest = want->dparams;
    for (int i = 0; i < params; i++) {
        double *g = doubles_of(grad[at + i]);
        assert_close(wf_param_path(wrt[at + i]), wf_count(grad[at + i]), g, rest, 1e-12);
        rest += wf_count(grad[at + i]);
    }
}

TEST_EACH(two_halves_are_the_whole, KINDS)
{
    enum { CUT = 2 };
    OWN(fixture) b = fixture_of(_i, false, WF_F64);
    const cell_case *c = &b.on;
    for (int ragged = 0; ragged < 2; ragged++) {
        b.on.lengths = ragged ? uneven : NULL;
        cell_result whole = run_case(c);
        int32_t first[BATCH], second[BATCH];
        for (int s = 0; s < BATCH; s++) {
            first[s] = uneven[s] < CUT ? uneven[s] : CUT;
            second[s] = uneven[s] - first[s];
        }
        OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = 1 });
        wf_var *x = cell_var(t, WF_F64, true, WF_SHAPE(TIME, BATCH, INPUT), c->x),
               *initial[WF_CELL_STATES], *middle[WF_CELL_STATES], *final[WF_CELL_STATES];
        for (int k = 0; k < c->states; k++)
            initial[k] = cell_var(t, WF_F64, true, WF_SHAPE(c->stacked, BATCH, c->width[k]),
                                  c->initial[k]);
        wf_var *n1 = ragged ? wf_constant(t, WF_I32, WF_SHAPE(BATCH), first) : NULL;
        wf_var *n2 = ragged ? wf_constant(t, WF_I32, WF_SHAPE(BATCH), second) : NULL;
        wf_var *y1 = wf_rnn_forward(
            t, b.rnn, wf_slice(t, x, 0, 0, CUT, 1),
            &(wf_rnn_call){ .lengths = n1, .initial = initial, .final = middle });
        wf_var *y2 = wf_rnn_forward(
            t, b.rnn, wf_slice(t, x, 0, CUT, WF_LAST, 1),
            &(wf_rnn_call){ .lengths = n2, .initial = middle, .final = final });
        wf_var *y = wf_concat(t, 0, WF_VARS(y1, y2));
        ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
        assert_sweep(t, &b, x, y, initial, final, &whole);
    }
}

/* Copies the parameters of one layer and direction into a layer of one layer and direction. */
static void copy_params(const wf_module *from, const char *suffix, const wf_module *to)
{
    for (int64_t i = 0; i < wf_module_param_count(to); i++) {
        wf_var *p = wf_module_param_at(to, i);
        const char *name = strrchr(wf_param_path(p), '.') + 1;
        char path[128];
        snprintf(path, sizeof path, "rnn.%.*s%s", (int)(strlen(name) - strlen("_l0")), name,
                 suffix);
        wf_var *source = wf_module_param_find(from, path);
        ck_assert_msg(source != NULL, "there is no %s", path);
        wf_tensor_copy(wf_param_value(source), wf_param_value(p));
        wf_param_changed(p);
    }
}

/* (TIME, BATCH, width) with each sequence turned round within its own length. */
static double *flip(const double *x, int64_t row, int64_t first, int64_t width,
                    const int32_t lengths[])
{
    double *y = zeros(TIME * BATCH * width);
    for (int s = 0; s < BATCH; s++) {
        for (int64_t i = 0; i < lengths[s]; i++) {
            memcpy(y + (i * BATCH + s) * width,
                   x + ((lengths[s] - 1 - i) * BATCH + s) * row + first, (size_t)width * sizeof *y);
        }
    }
    return y;
}

static double *columns(const double *x, int64_t row, int64_t first, int64_t width)
{
    double *y = zeros(TIME * BATCH * width);
    for (int64_t r = 0; r < TIME * BATCH; r++)
        memcpy(y + r * width, x + r * row + first, (size_t)width * sizeof *y);
    return y;
}

TEST_EACH(both_directions_are_a_run_and_a_run_on_the_flipped_sequence, KINDS)
{
    static const int32_t full[BATCH] = { TIME, TIME, TIME, TIME, TIME };
    if (kinds[_i].options.layers != 1)
        return; /* deeper ones mix directions: the law is about one layer */
    for (int ragged = 0; ragged < 2; ragged++) {
        const int32_t *lengths = ragged ? uneven : full;
        OWN(fixture) two = fixture_of(_i, true, WF_F64), one = fixture_of(_i, false, WF_F64);
        int64_t output = two.on.width[0];
        two.on.lengths = ragged ? uneven : NULL;
        cell_result both = run_case(&two.on);
        double *dx = zeros(both.n_x);
        for (int d = 0; d < 2; d++) {
            copy_params(two.net, d ? "_l0_reverse" : "_l0", one.net);
            cell_case single = one.on;
            double *x = d ? flip(two.on.x, INPUT, 0, INPUT, lengths)
                          : columns(two.on.x, INPUT, 0, INPUT);
            double *gy = d ? flip(two.on.gy, 2 * output, output, output, lengths)
                           : columns(two.on.gy, 2 * output, 0, output);
            single.x = x;
            single.gy = gy;
            single.lengths = two.on.lengths;
            for (int k = 0; k < single.states; k++) {
                single.initial[k] = two.on.initial[k] + d * BATCH * single.width[k];
                single.gfinal[k] = two.on.gfinal[k] + d * BATCH * single.width[k];
            }
            cell_result o = run_case(&single);
            double *y = d ? flip(o.y, output, 0, output, lengths) : columns(o.y, output, 0, output);
            double *want = columns(both.y, 2 * output, d * output, output);
            assert_close("y", o.n_y, y, want, 1e-13);
            double *part = d ? flip(o.dx, INPUT, 0, INPUT, lengths)
                             : columns(o.dx, INPUT, 0, INPUT);
            add_to(dx, both.n_x, part);
            assert_close("parameters", o.n_params, o.dparams, both.dparams + d * o.n_params, 1e-12);
            for (int k = 0; k < single.states; k++) {
                int64_t n = BATCH * single.width[k];
                assert_close("final state", n, o.final[k], both.final[k] + d * n, 1e-13);
                assert_close("initial state", n, o.dinitial[k], both.dinitial[k] + d * n, 1e-12);
            }
        }
        assert_close("dx", both.n_x, dx, both.dx, 1e-12);
    }
}

TEST_EACH(a_reverse_layer_is_a_run_on_the_flipped_sequence, KINDS)
{
    static const int32_t full[BATCH] = { TIME, TIME, TIME, TIME, TIME };
    for (int ragged = 0; ragged < 2; ragged++) {
        const int32_t *lengths = ragged ? uneven : full;
        OWN(fixture)
        back = fixture_like(_i, false, true, WF_F64), forth = fixture_of(_i, false, WF_F64);
        int64_t output = back.on.width[0];
        back.on.lengths = forth.on.lengths = ragged ? uneven : NULL;
        cell_case flipped = forth.on;
        double *x = flip(forth.on.x, INPUT, 0, INPUT, lengths),
               *gy = flip(forth.on.gy, output, 0, output, lengths);
        flipped.x = x;
        flipped.gy = gy;
        cell_result got = run_case(&back.on), want = run_case(&flipped);
        double *y = flip(want.y, output, 0, output, lengths),
               *dx = flip(want.dx, INPUT, 0, INPUT, lengths);
        assert_close("y", got.n_y, got.y, y, 1e-13);
        assert_close("dx", got.n_x, got.dx, dx, 1e-12);
        assert_close("parameters", got.n_params, got.dparams, want.dparams, 1e-12);
        for (int k = 0; k < back.on.states; k++) {
            assert_close("final state", got.n_state[k], got.final[k], want.final[k], 1e-13);
            assert_close("initial state", got.n_state[k], got.dinitial[k], want.dinitial[k], 1e-12);
        }
        ck_assert_str_eq(wf_param_path(wf_module_param_at(back.net, 0)),
                         wf_param_path(wf_module_param_at(forth.net, 0)));
    }
}

/* ---- one step at a time ---- */

/* One loop index is a kind and whether it goes from right to left. */
TEST_EACH(a_step_at_a_time_is_the_whole, 2 * KINDS)
{
    bool reverse = _i % 2 == 1;
    OWN(fixture) b = fixture_like(_i / 2, false, reverse, WF_F64);
    const cell_case *c = &b.on;
    cell_result whole = run_case(c);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = 1 });
    wf_var *x = cell_var(t, WF_F64, true, WF_SHAPE(TIME, BATCH, INPUT), c->x), *y[TIME],
           *initial[WF_CELL_STATES] = { NULL }, *state[WF_CELL_STATES];
    for (int k = 0; k < c->states; k++) {
        initial[k] = cell_var(t, WF_F64, true, WF_SHAPE(c->stacked, BATCH, c->width[k]),
                              c->initial[k]);
        state[k] = initial[k];
    }
    for (int64_t k = 0; k < TIME; k++) {
        int64_t i = reverse ? TIME - 1 - k : k;
        y[i] = wf_rnn_step(t, b.rnn, wf_select(t, x, 0, i), state);
        ck_assert_msg(y[i] != NULL, "%s", wf_tape_error(t));
        ck_assert(wf_rank(y[i]) == 2 && wf_dim(y[i], 0) == BATCH);
    }
    wf_var *all = wf_stack(t, 0, (wf_vars){ TIME, y });
    assert_sweep(t, &b, x, all, initial, state, &whole);
}

TEST_EACH(a_first_step_from_no_states_is_one_from_zeros, KINDS)
{
    OWN(fixture) b = fixture_of(_i, false, WF_F64);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = cell_var(t, WF_F64, false, WF_SHAPE(BATCH, INPUT), b.on.x), *none[WF_CELL_STATES],
           *zero[WF_CELL_STATES];
    for (int k = 0; k < WF_CELL_STATES; k++) {
        none[k] = NULL;
        zero[k] = wf_zeros(t, WF_F64, WF_SHAPE(b.on.stacked, BATCH, b.on.width[k]));
    }
    double *one = doubles_of(wf_rnn_step(t, b.rnn, x, none)),
           *other = doubles_of(wf_rnn_step(t, b.rnn, x, zero));
    ck_assert_msg(one && other, "%s", wf_tape_error(t));
    assert_close("y", BATCH * b.on.width[0], one, other, 0);
}

/* ---- what a call may be given ---- */

TEST_EACH(no_steps_at_all_leave_the_initial_states_and_pass_their_gradients_through, 2 * KINDS)
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

TEST_EACH(one_array_may_give_the_initial_states_and_receive_the_final_ones, 2 * KINDS)
{
    OWN(fixture) b = fixture_of(_i / 2, _i % 2 == 1, WF_F64);
    const cell_case *c = &b.on;
    cell_result whole = run_case(c);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = 1 });
    wf_var *x = cell_var(t, WF_F64, true, WF_SHAPE(TIME, BATCH, INPUT), c->x),
           *initial[WF_CELL_STATES] = { NULL }, *state[WF_CELL_STATES] = { NULL };
    for (int k = 0; k < c->states; k++) {
        initial[k] = cell_var(t, WF_F64, true, WF_SHAPE(c->stacked, BATCH, c->width[k]),
                              c->initial[k]);
        state[k] = initial[k];
    }
    wf_var *y = wf_rnn_forward(t, b.rnn, x, &(wf_rnn_call){ .initial = state, .final = state });
    ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
    assert_sweep(t, &b, x, y, initial, state, &whole);
    /* After a failure the array holds NULLs, as any other would. */
    ck_assert_ptr_null(wf_rnn_forward(t, b.rnn, wf_select(t, x, 0, 0),
                                      &(wf_rnn_call){ .initial = state, .final = state }));
    for (int k = 0; k < c->states; k++) ck_assert_ptr_null(state[k]);
}

TEST_EACH(one_step_of_one_layer_is_the_cell, KINDS)
{
    if (kinds[_i].options.layers != 1 || kinds[_i].options.no_bias) return;
    OWN(fixture) b = fixture_of(_i, false, WF_F64);
    const wf_cell *cell = kinds[_i].cell();
    double self[16] = { 0 }; /* the cell's struct, aligned */
    ck_assert_uint_le(cell->size, sizeof self);
    for (const wf_cell_param *p = cell->params; p->name; p++) {
        char path[128];
        snprintf(path, sizeof path, "rnn.%s_l0", p->name);
        wf_var *param = wf_module_param_find(b.net, path);
        memcpy((char *)self + p->offset, &param, sizeof param);
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

TEST_EACH(no_initial_state_is_a_state_of_zeros, KINDS)
{
    OWN(fixture) b = fixture_of(_i, true, WF_F64);
    double *none_yet = zeros(b.on.stacked * BATCH * HIDDEN);
    cell_case none = b.on, given = b.on;
    for (int k = 0; k < none.states; k++) {
        none.initial[k] = NULL;
        given.initial[k] = none_yet;
    }
    cell_result a = run_case(&none), o = run_case(&given);
    assert_close("y", a.n_y, a.y, o.y, 0);
    assert_close("dx", a.n_x, a.dx, o.dx, 0);
    assert_close("parameters", a.n_params, a.dparams, o.dparams, 0);
}

TEST_EACH(each_cotangent_alone_adds_up_to_all_together, 2 * KINDS)
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
        add_to(sum, all.n_params, o.dparams);
        add_to(dx, all.n_x, o.dx);
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
