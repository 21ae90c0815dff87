/* What wf_rnn gives every cell, stated as laws: over time, direction, lengths, batch and carried
 * state. */
#include "tests/harness.h"
#include "tests/kinds.h"

#include <stdio.h>

/* Some of the sequences of (outer, BATCH, inner) numbers, as a copy: sequence i of the copy is
 * `which[i]`. */
static double *pick(const double *x, int64_t outer, int64_t inner, int n, const int which[])
{
    if (!x) return NULL;
    double *y = malloc((size_t)(outer * n * inner) * sizeof *y);
    for (int64_t o = 0; o < outer; o++) {
        for (int i = 0; i < n; i++) {
            memcpy(y + (o * n + i) * inner, x + (o * BATCH + which[i]) * inner,
                   (size_t)inner * sizeof *y);
        }
    }
    return y;
}

/* A trial on some sequences of another, and the first `time` steps. Its arrays are the caller's
 * to free. */
static trial trial_on(const trial *whole, int64_t time, int n, const int which[])
{
    trial c = *whole;
    c.time = time;
    c.batch = n;
    c.lengths = NULL;
    c.x = pick(whole->x, time, whole->input, n, which);
    for (int k = 0; k < c.states; k++) {
        c.initial[k] = pick(whole->initial[k], c.places, c.width[k], n, which);
        c.gfinal[k] = pick(whole->gfinal[k], c.places, c.width[k], n, which);
    }
    return c;
}

static void trial_free(trial *c)
{
    free((void *)(uintptr_t)c->x);
    free((void *)(uintptr_t)c->gy);
    for (int k = 0; k < c->states; k++) {
        free((void *)(uintptr_t)c->initial[k]);
        free((void *)(uintptr_t)c->gfinal[k]);
    }
}

static void add_to(double *sum, int64_t n, const double *x)
{
    for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

/* ---- lengths ---- */

static const int32_t uneven[BATCH] = { 3, TIME, 0, 1, 4 };     /* unsorted, with 0, 1 and all */

/* One loop index is a kind and whether it has both directions. */
START_TEST(a_ragged_batch_is_its_sequences_one_at_a_time_and_padding_is_never_read)
{
    bench b = bench_of(_i / 2, _i % 2 == 1, WF_F64);
    const trial *c = &b.trial;
    int64_t output = c->width[0] * (1 + _i % 2);
    trial ragged = *c;
    double *x = normals(1, TIME * BATCH * INPUT, 1), *gy = normals(2, TIME * BATCH * output, 1);
    for (int64_t i = 0; i < TIME; i++) {
        for (int s = 0; s < BATCH; s++) {
            if (i < uneven[s]) continue;
            for (int j = 0; j < INPUT; j++) x[(i * BATCH + s) * INPUT + j] = (double)NAN;
            for (int j = 0; j < output; j++) gy[(i * BATCH + s) * output + j] = (double)NAN;
        }
    }
    ragged.x = x;
    ragged.gy = gy;
    ragged.lengths = uneven;
    outcome all = run_trial(&ragged);
    double *sum = calloc((size_t)all.n_params, sizeof *sum);
    for (int s = 0; s < BATCH; s++) {
        char what[64];
        snprintf(what, sizeof what, "%s, sequence %d", kinds[_i / 2].name, s);
        for (int64_t i = uneven[s]; i < TIME; i++) {
            for (int j = 0; j < output; j++) ck_assert(all.y[(i * BATCH + s) * output + j] == 0);
            for (int j = 0; j < INPUT; j++) ck_assert(all.dx[(i * BATCH + s) * INPUT + j] == 0);
        }
        double *final[STATES], *dinitial[STATES];
        for (int k = 0; k < c->states; k++) {
            final[k] = pick(all.final[k], c->places, c->width[k], 1, &s);
            dinitial[k] = pick(all.dinitial[k], c->places, c->width[k], 1, &s);
        }
        if (uneven[s] == 0) {
            for (int k = 0; k < c->states; k++) {
                double *initial = pick(c->initial[k], c->places, c->width[k], 1, &s);
                double *gfinal = pick(c->gfinal[k], c->places, c->width[k], 1, &s);
                assert_close(what, c->places * c->width[k], final[k], initial, 0);
                assert_close(what, c->places * c->width[k], dinitial[k], gfinal, 0);
                free(initial);
                free(gfinal);
            }
        } else {
            trial alone = trial_on(c, uneven[s], 1, &s);
            alone.gy = pick(c->gy, uneven[s], output, 1, &s);
            outcome one = run_trial(&alone);
            double *y = pick(all.y, uneven[s], output, 1, &s),
                   *dx = pick(all.dx, uneven[s], INPUT, 1, &s);
            assert_close(what, one.n_y, y, one.y, 1e-12);
            assert_close(what, one.n_x, dx, one.dx, 1e-12);
            for (int k = 0; k < c->states; k++) {
                assert_close(what, one.n_state[k], final[k], one.final[k], 1e-12);
                assert_close(what, one.n_state[k], dinitial[k], one.dinitial[k], 1e-12);
            }
            add_to(sum, one.n_params, one.dparams);
            outcome_free(&one);
            trial_free(&alone);
            free(y);
            free(dx);
        }
        for (int k = 0; k < c->states; k++) {
            free(final[k]);
            free(dinitial[k]);
        }
    }
    assert_close("parameters", all.n_params, all.dparams, sum, 1e-12);
    free(sum);
    free(x);
    free(gy);
    outcome_free(&all);
    bench_free(&b);
}
END_TEST

START_TEST(full_lengths_are_no_lengths)
{
    static const int32_t full[BATCH] = { TIME, TIME, TIME, TIME, TIME };
    bench b = bench_of(_i / 2, _i % 2 == 1, WF_F64);
    outcome plain = run_trial(&b.trial);
    b.trial.lengths = full;
    outcome given = run_trial(&b.trial);
    ck_assert_uint_eq(hash_outcome(&plain), hash_outcome(&given));
    outcome_free(&plain);
    outcome_free(&given);
    bench_free(&b);
}
END_TEST

START_TEST(the_order_of_sequences_in_a_batch_does_not_matter)
{
    static const int order[BATCH] = { 3, 0, 4, 2, 1 };
    bench b = bench_of(_i / 2, _i % 2 == 1, WF_F64);
    int64_t output = b.trial.width[0] * (1 + _i % 2);
    int32_t lengths[BATCH];
    trial other = trial_on(&b.trial, TIME, BATCH, order);
    other.gy = pick(b.trial.gy, TIME, output, BATCH, order);
    for (int s = 0; s < BATCH; s++) lengths[s] = uneven[order[s]];
    b.trial.lengths = uneven;
    other.lengths = lengths;
    outcome want = run_trial(&b.trial), got = run_trial(&other);
    double *y = pick(want.y, TIME, output, BATCH, order),
           *dx = pick(want.dx, TIME, INPUT, BATCH, order);
    assert_close("y", want.n_y, got.y, y, 1e-12);
    assert_close("dx", want.n_x, got.dx, dx, 1e-12);
    assert_close("parameters", want.n_params, got.dparams, want.dparams, 1e-12);
    free(y);
    free(dx);
    outcome_free(&want);
    outcome_free(&got);
    trial_free(&other);
    bench_free(&b);
}
END_TEST

/* ---- time and direction ---- */

START_TEST(two_halves_are_the_whole)
{
    enum { CUT = 2 };
    bench b = bench_of(_i, false, WF_F64);
    const trial *c = &b.trial;
    int64_t output = c->width[0];
    for (int ragged = 0; ragged < 2; ragged++) {
        b.trial.lengths = ragged ? uneven : NULL;
        outcome whole = run_trial(c);
        int32_t first[BATCH], second[BATCH];
        for (int s = 0; s < BATCH; s++) {
            first[s] = uneven[s] < CUT ? uneven[s] : CUT;
            second[s] = uneven[s] - first[s];
        }
        wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = 1 });
        wf_var *x = var_of(t, WF_F64, true, WF_SHAPE(TIME, BATCH, INPUT), c->x), *initial[STATES],
               *middle[STATES], *final[STATES];
        for (int k = 0; k < c->states; k++)
            initial[k] = var_of(t, WF_F64, true, WF_SHAPE(c->places, BATCH, c->width[k]),
                                c->initial[k]);
        wf_var *n1 = ragged ? wf_constant(t, WF_I32, WF_SHAPE(BATCH), first) : NULL;
        wf_var *n2 = ragged ? wf_constant(t, WF_I32, WF_SHAPE(BATCH), second) : NULL;
        wf_var *y1 = wf_rnn_forward(
            t, b.rnn, wf_slice(t, x, 0, 0, CUT, 1),
            &(wf_rnn_call){ .lengths = n1, .initial = initial, .final = middle });
        wf_var *y2 = wf_rnn_forward(
            t, b.rnn, wf_slice(t, x, 0, CUT, WF_LAST, 1),
            &(wf_rnn_call){ .lengths = n2, .initial = middle, .final = final });
        wf_var *y = wf_concat(t, 0, WF_VARS(y1, y2)), *out[3] = { y }, *cotangent[3],
               *wrt[64] = { x }, *grad[64];
        ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
        cotangent[0] = var_of(t, WF_F64, false, WF_SHAPE(TIME, BATCH, output), c->gy);
        for (int k = 0; k < c->states; k++) {
            out[1 + k] = final[k];
            cotangent[1 + k] = var_of(t, WF_F64, false, wf_shape_of(final[k]), c->gfinal[k]);
            wrt[1 + k] = initial[k];
        }
        int params = (int)wf_module_param_count(b.net), at = 1 + c->states;
        for (int i = 0; i < params; i++) wrt[at + i] = wf_module_param_at(b.net, i);
        ck_assert(wf_grad(t, 1 + c->states, out, cotangent, at + params, wrt, grad, NULL));
        double *got = doubles_of(y), *dx = doubles_of(grad[0]);
        assert_close("y", whole.n_y, got, whole.y, 1e-12);
        assert_close("dx", whole.n_x, dx, whole.dx, 1e-12);
        free(got);
        free(dx);
        for (int k = 0; k < c->states; k++) {
            double *last = doubles_of(final[k]), *first_of = doubles_of(grad[1 + k]);
            assert_close("final state", whole.n_state[k], last, whole.final[k], 1e-12);
            assert_close("initial state", whole.n_state[k], first_of, whole.dinitial[k], 1e-12);
            free(last);
            free(first_of);
        }
        const double *want = whole.dparams;
        for (int i = 0; i < params; i++) {
            double *g = doubles_of(grad[at + i]);
            assert_close(wf_param_path(wrt[at + i]), wf_count(grad[at + i]), g, want, 1e-12);
            want += wf_count(grad[at + i]);
            free(g);
        }
        outcome_free(&whole);
        wf_tape_free(t);
    }
    bench_free(&b);
}
END_TEST

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
    double *y = calloc((size_t)(TIME * BATCH * width), sizeof *y);
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
    double *y = malloc((size_t)(TIME * BATCH * width) * sizeof *y);
    for (int64_t r = 0; r < TIME * BATCH; r++)
        memcpy(y + r * width, x + r * row + first, (size_t)width * sizeof *y);
    return y;
}

START_TEST(both_directions_are_a_run_and_a_run_on_the_flipped_sequence)
{
    static const int32_t full[BATCH] = { TIME, TIME, TIME, TIME, TIME };
    if (kinds[_i].options.layers != 1)
        return; /* deeper ones mix directions: the law is about one layer */
    for (int ragged = 0; ragged < 2; ragged++) {
        const int32_t *lengths = ragged ? uneven : full;
        bench two = bench_of(_i, true, WF_F64), one = bench_of(_i, false, WF_F64);
        int64_t output = two.trial.width[0];
        two.trial.lengths = ragged ? uneven : NULL;
        outcome both = run_trial(&two.trial);
        double *dx = calloc((size_t)both.n_x, sizeof *dx);
        for (int d = 0; d < 2; d++) {
            copy_params(two.net, d ? "_l0_reverse" : "_l0", one.net);
            trial single = one.trial;
            double *x = d ? flip(two.trial.x, INPUT, 0, INPUT, lengths)
                          : columns(two.trial.x, INPUT, 0, INPUT);
            double *gy = d ? flip(two.trial.gy, 2 * output, output, output, lengths)
                           : columns(two.trial.gy, 2 * output, 0, output);
            single.x = x;
            single.gy = gy;
            single.lengths = two.trial.lengths;
            for (int k = 0; k < single.states; k++) {
                single.initial[k] = two.trial.initial[k] + d * BATCH * single.width[k];
                single.gfinal[k] = two.trial.gfinal[k] + d * BATCH * single.width[k];
            }
            outcome o = run_trial(&single);
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
            free(y);
            free(want);
            free(part);
            free(x);
            free(gy);
            outcome_free(&o);
        }
        assert_close("dx", both.n_x, dx, both.dx, 1e-12);
        free(dx);
        outcome_free(&both);
        bench_free(&one);
        bench_free(&two);
    }
}
END_TEST

START_TEST(one_step_of_one_layer_is_the_cell)
{
    if (kinds[_i].options.layers != 1 || kinds[_i].options.no_bias) return;
    bench b = bench_of(_i, false, WF_F64);
    const wf_cell *cell = kinds[_i].cell();
    double self[16] = { 0 };                                   /* the cell's struct, aligned */
    ck_assert_uint_le(cell->size, sizeof self);
    for (const wf_cell_param *p = cell->params; p->name; p++) {
        char path[128];
        snprintf(path, sizeof path, "rnn.%s_l0", p->name);
        wf_var *param = wf_module_param_find(b.net, path);
        memcpy((char *)self + p->offset, &param, sizeof param);
    }
    wf_tape *t = wf_tape_new(NULL);
    wf_var *x = var_of(t, WF_F64, false, WF_SHAPE(1, BATCH, INPUT), b.trial.x), *initial[STATES],
           *final[STATES], *state[STATES];
    for (int k = 0; k < b.trial.states; k++) {
        initial[k] = var_of(t, WF_F64, false, WF_SHAPE(1, BATCH, b.trial.width[k]),
                            b.trial.initial[k]);
        state[k] = wf_select(t, initial[k], 0, 0);
    }
    wf_var *y = wf_rnn_forward(t, b.rnn, x, &(wf_rnn_call){ .initial = initial, .final = final });
    cell->step(t, self, wf_select(t, x, 0, 0), state);
    double *got = doubles_of(y), *want = doubles_of(state[0]);
    ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
    assert_close("y", wf_count(state[0]), got, want, 1e-14);
    free(got);
    free(want);
    for (int k = 0; k < b.trial.states; k++) {
        got = doubles_of(final[k]);
        want = doubles_of(state[k]);
        assert_close("final state", wf_count(state[k]), got, want, 1e-14);
        free(got);
        free(want);
    }
    wf_tape_free(t);
    bench_free(&b);
}
END_TEST

START_TEST(no_initial_state_is_a_state_of_zeros)
{
    bench b = bench_of(_i, true, WF_F64);
    double *zeros = calloc((size_t)(b.trial.places * BATCH * HIDDEN), sizeof *zeros);
    trial none = b.trial, given = b.trial;
    for (int k = 0; k < none.states; k++) {
        none.initial[k] = NULL;
        given.initial[k] = zeros;
    }
    outcome a = run_trial(&none), o = run_trial(&given);
    assert_close("y", a.n_y, a.y, o.y, 0);
    assert_close("dx", a.n_x, a.dx, o.dx, 0);
    assert_close("parameters", a.n_params, a.dparams, o.dparams, 0);
    free(zeros);
    outcome_free(&a);
    outcome_free(&o);
    bench_free(&b);
}
END_TEST

START_TEST(each_cotangent_alone_adds_up_to_all_together)
{
    bench b = bench_of(_i / 2, _i % 2 == 1, WF_F64);
    b.trial.lengths = uneven;
    outcome all = run_trial(&b.trial);
    double *sum = calloc((size_t)all.n_params, sizeof *sum),
           *dx = calloc((size_t)all.n_x, sizeof *dx);
    for (int part = -1; part < b.trial.states; part++) {
        trial one = b.trial;
        if (part >= 0) one.gy = NULL;
        for (int k = 0; k < one.states; k++) if (k != part) one.gfinal[k] = NULL;
        outcome o = run_trial(&one);
        add_to(sum, all.n_params, o.dparams);
        add_to(dx, all.n_x, o.dx);
        outcome_free(&o);
    }
    assert_close("parameters", all.n_params, sum, all.dparams, 1e-12);
    assert_close("dx", all.n_x, dx, all.dx, 1e-12);
    free(sum);
    free(dx);
    outcome_free(&all);
    bench_free(&b);
}
END_TEST

/* ---- dropout between layers ---- */

START_TEST(dropout_between_layers_is_a_matter_of_training)
{
    enum { WIDE = 400 };
    wf_module *net = wf_module_new("net", NULL);
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
        wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = (wf_mode)mode, .seed = 3 });
        wf_var *in = var_of(t, WF_F32, false, WF_SHAPE(TIME, BATCH, INPUT), x), *first[1],
               *other[1];
        wf_rnn_forward(t, plain, in, &(wf_rnn_call){ .final = first });
        wf_rnn_forward(t, dropping, in, &(wf_rnn_call){ .final = other });
        ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
        int64_t same[2] = { 0, 0 };
        for (int64_t i = 0; i < 2 * BATCH * WIDE; i++)
            same[i / (BATCH * WIDE)] += wf_at(first[0], i) == wf_at(other[0], i);
        ck_assert_int_eq(same[0], BATCH * WIDE); /* nothing is dropped before the first layer */
        if (mode == WF_TRAIN) ck_assert_int_lt(same[1], BATCH * WIDE / 10);
        else ck_assert_int_eq(same[1], BATCH * WIDE);
        wf_tape_free(t);
    }
    free(x);
    wf_module_free(net);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests,
                        a_ragged_batch_is_its_sequences_one_at_a_time_and_padding_is_never_read, 0,
                        2 * KINDS);
    tcase_add_loop_test(tests, full_lengths_are_no_lengths, 0, 2 * KINDS);
    tcase_add_loop_test(tests, the_order_of_sequences_in_a_batch_does_not_matter, 0, 2 * KINDS);
    tcase_add_loop_test(tests, two_halves_are_the_whole, 0, KINDS);
    tcase_add_loop_test(tests, both_directions_are_a_run_and_a_run_on_the_flipped_sequence, 0,
                        KINDS);
    tcase_add_loop_test(tests, one_step_of_one_layer_is_the_cell, 0, KINDS);
    tcase_add_loop_test(tests, no_initial_state_is_a_state_of_zeros, 0, KINDS);
    tcase_add_loop_test(tests, each_cotangent_alone_adds_up_to_all_together, 0, 2 * KINDS);
    tcase_add_test(tests, dropout_between_layers_is_a_matter_of_training);
}

int main(int argc, char **argv)
{
    return harness_main(argc, argv, "rnn", add);
}
