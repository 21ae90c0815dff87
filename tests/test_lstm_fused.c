/* The fused LSTM against its steps: the same numbers at every size and shape, the same bits for
 * any number of threads. */
#include "layers/private.h"
#include "tests/harness.h"
#include "tests/recurrent.h"

#include <stdio.h>

/* ---- a runtime that counts, with more threads than processors ---- */

enum { MOST_THREADS = 5 };

static int64_t allocations;

static void *counting_alloc(void *user, size_t bytes)
{
    (void)user;
    allocations++;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void counting_release(void *user, void *memory)
{
    (void)user;
    free(memory);
}

/* ---- layers ---- */

typedef struct size {
    int64_t time, batch, input, hidden;
} size;

/* Beyond one tile of rows, one panel of units, one group of rows; one step and one sequence; few
 * steps, which are not packed. */
static const size sizes[] = {
    { 7, 19, 11, 37 }, { 5, 33, 24, 70 }, { 9, 1, 8, 131 }, { 1, 3, 5, 6 },
    { 2, 6, 5, 67 },   { 3, 9, 4, 16 },   { 12, 6, 3, 64 }, { 4, 40, 1, 1 },
};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

typedef struct lab {
    wf_module *net;
    double *memory[6];
    int32_t *lengths;
    trial trial;
} lab;

static lab lab_of(const size *z, wf_dtype dtype, bool bidirectional, bool stepwise, bool ragged)
{
    lab l = { .net = wf_module_new("net", &(wf_module_options){ .seed = 17, .dtype = dtype }) };
    wf_rnn *rnn = wf_lstm_new(l.net, "rnn",
                              &(wf_rnn_options){ .input = z->input,
                                                 .hidden = z->hidden,
                                                 .stepwise = stepwise,
                                                 .bidirectional = bidirectional });
    ck_assert(wf_module_ok(l.net, NULL));
    for (int64_t i = 0; i < wf_module_param_count(l.net); i++) {
        const wf_tensor *value = wf_param_value(wf_module_param_at(l.net, i));
        for (int64_t k = 0; dtype == WF_F64 && k < wf_tensor_count(value); k++) {
            ((double *)value->data)[k] = (double)(float)((double *)value->data)[k];
        }
        wf_param_changed(wf_module_param_at(l.net, i));
    }
    int64_t places = bidirectional ? 2 : 1, state = places * z->batch * z->hidden;
    l.trial = (trial){ .rnn = rnn,
                       .time = z->time,
                       .batch = z->batch,
                       .input = z->input,
                       .places = places,
                       .states = 2,
                       .width = { z->hidden, z->hidden },
                       .threads = 1 };
    l.trial.x = l.memory[0] = normals(1, z->time * z->batch * z->input, 1);
    l.trial.gy = l.memory[1] = normals(2, z->time * state, 1);
    for (int k = 0; k < 2; k++) {
        l.trial.initial[k] = l.memory[2 + k] = normals(3 + (uint64_t)k, state, 0.5);
        l.trial.gfinal[k] = l.memory[4 + k] = normals(5 + (uint64_t)k, state, 1);
    }
    for (int i = 0; i < 6; i++) {
        int64_t n = i == 0 ? z->time * z->batch * z->input : i == 1 ? z->time * state : state;
        for (int64_t k = 0; k < n; k++) l.memory[i][k] = (double)(float)l.memory[i][k];
    }
    if (!ragged) return l;
    l.lengths = malloc((size_t)z->batch * sizeof *l.lengths);
    for (int64_t b = 0; b < z->batch; b++) {
        l.lengths[b] = b == 1 ? 0 : (int32_t)wf_random_below(9, (uint64_t)b, z->time + 1);
        for (int64_t i = l.lengths[b]; i < z->time; i++) {
            for (int64_t j = 0; j < z->input; j++)
                l.memory[0][(i * z->batch + b) * z->input + j] = (double)NAN;
            for (int64_t j = 0; j < places * z->hidden; j++)
                l.memory[1][(i * z->batch + b) * places * z->hidden + j] = (double)INFINITY;
        }
    }
    l.trial.lengths = l.lengths;
    return l;
}

static void lab_free(lab *l)
{
    for (int i = 0; i < 6; i++) free(l->memory[i]);
    free(l->lengths);
    wf_module_free(l->net);
}

TEST(the_row_is_proved)
{
    wf_report r = wf_op_check(wf_lstm_sequence_op(), NULL);
    ck_assert_msg(r.ok, "%s", r.text);
    ck_assert_int_gt(r.checked, 1000);
}

TEST_EACH(fused_is_composed_in_double, 4 * SIZES)
{
    lab fused = lab_of(&sizes[_i / 4], WF_F64, _i & 1, false, _i & 2),
        steps = lab_of(&sizes[_i / 4], WF_F64, _i & 1, true, _i & 2);
    outcome got = run_trial(&fused.trial), want = run_trial(&steps.trial);
    assert_same_outcome(&got, &want, 1e-12);
    outcome_free(&got);
    outcome_free(&want);
    lab_free(&fused);
    lab_free(&steps);
}

/* The bounds hold for values of order one and sums over up to a few hundred terms: values within
 * 2e-6 and gradients within 1e-5 of the largest. */
TEST_EACH(fused_in_float_is_close_to_composed_in_double, 4 * SIZES)
{
    lab fused = lab_of(&sizes[_i / 4], WF_F32, _i & 1, false, _i & 2),
        steps = lab_of(&sizes[_i / 4], WF_F64, _i & 1, true, _i & 2);
    outcome got = run_trial(&fused.trial), want = run_trial(&steps.trial);
    assert_close("y", want.n_y, got.y, want.y, 2e-6);
    assert_close("h_n", want.n_state[0], got.final[0], want.final[0], 2e-6);
    assert_close("c_n", want.n_state[1], got.final[1], want.final[1], 2e-6);
    assert_same_outcome(&got, &want, 1e-5);
    outcome_free(&got);
    outcome_free(&want);
    lab_free(&fused);
    lab_free(&steps);
}

/* Many sequences are shared out by rows, few by units; both must really run on that many
 * threads. */
TEST_EACH(the_bits_are_the_same_for_any_number_of_threads, 6)
{
    static const size wide[] = { { 11, 37, 48, 133 }, { 10, 1, 40, 330 }, { 10, 6, 64, 330 } };
    static const int counts[] = { 1, 2, 3, 5 };
    uint64_t first = 0;
    for (int i = 0; i < 4; i++) {
        lab l = lab_of(&wide[_i / 2], WF_F32, true, false, _i % 2 == 1);
        l.trial.threads = counts[i];
        wf_par_width();
        outcome o = run_trial(&l.trial);
        ck_assert_int_eq(wf_par_width(), counts[i]);
        uint64_t h = hash_outcome(&o);
        if (i == 0) first = h;
        ck_assert_msg(h == first, "with %d threads other bits come out than with one", counts[i]);
        outcome_free(&o);
        lab_free(&l);
    }
}

TEST_EACH(inference_gives_the_values_of_training, SIZES)
{
    lab l = lab_of(&sizes[_i], WF_F32, true, false, true);
    outcome train = run_trial(&l.trial);
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER, .threads = 1 });
    wf_var *initial[2], *final[2];
    for (int k = 0; k < 2; k++)
        initial[k] = var_of(t, WF_F32, false, WF_SHAPE(2, l.trial.batch, sizes[_i].hidden),
                            l.trial.initial[k]);
    wf_var *x = var_of(t, WF_F32, false, WF_SHAPE(l.trial.time, l.trial.batch, l.trial.input),
                       l.trial.x);
    wf_var *n = wf_constant(t, WF_I32, WF_SHAPE(l.trial.batch), l.lengths);
    wf_var *y = wf_rnn_forward(t, l.trial.rnn, x,
                               &(wf_rnn_call){ .lengths = n, .initial = initial, .final = final });
    double *got[3] = { doubles_of(y), doubles_of(final[0]), doubles_of(final[1]) };
    assert_close("y", train.n_y, got[0], train.y, 0);
    assert_close("h_n", train.n_state[0], got[1], train.final[0], 0);
    assert_close("c_n", train.n_state[1], got[2], train.final[1], 0);
    for (int k = 0; k < 3; k++) free(got[k]);
    wf_tape_free(t);
    outcome_free(&train);
    lab_free(&l);
}

TEST_EACH(a_nan_in_one_sequence_stays_in_it, 2)
{
    lab l = lab_of(&sizes[0], WF_F32, false, false, _i == 1);
    const int64_t batch = l.trial.batch, hidden = sizes[0].hidden, input = sizes[0].input;
    int64_t bad = 4;
    while (l.lengths && l.lengths[bad] == 0) bad++;
    outcome clean = run_trial(&l.trial);
    l.memory[0][bad * input] = (double)NAN;
    outcome dirty = run_trial(&l.trial);
    bool arrived = false;
    for (int64_t k = 0; k < clean.n_y; k++) {
        if (k / hidden % batch == bad)
            arrived |= isnan(dirty.y[k]) != 0;
        else
            ck_assert(dirty.y[k] == clean.y[k]);
    }
    for (int64_t k = 0; k < clean.n_x; k++)
        if (k / input % batch != bad) ck_assert(dirty.dx[k] == clean.dx[k]);
    ck_assert(arrived);
    outcome_free(&clean);
    outcome_free(&dirty);
    lab_free(&l);
}

TEST(x_may_be_a_view_of_any_kind)
{
    enum { T = 4, B = 3, I = 5, H = 6 };
    wf_module *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_rnn *rnn = wf_lstm_new(net, "rnn", &(wf_rnn_options){ .input = I, .hidden = H });
    double *values = normals(1, 2 * T * B * I, 1), *cotangents = normals(2, T * B * H, 1);
    for (int kind = 0; kind < 4; kind++) {
        wf_tape *t = wf_tape_new(NULL);
        wf_var *base, *x;
        if (kind == 0) { /* batch first */
            base = wf_leaf(t, WF_F64, WF_SHAPE(B, T, I), values);
            x = wf_transpose(t, base, 0, 1);
        } else if (kind == 1) { /* every second sequence */
            base = wf_leaf(t, WF_F64, WF_SHAPE(T, 2 * B, I), values);
            x = wf_slice(t, base, 1, 0, WF_LAST, 2);
        } else if (kind == 2) { /* features outside */
            base = wf_leaf(t, WF_F64, WF_SHAPE(I, T, B), values);
            x = wf_transpose(t, wf_transpose(t, base, 0, 2), 0, 1);
        } else { /* a window that slides over a signal */
            base = wf_leaf(t, WF_F64, WF_SHAPE(B, T + I - 1), values);
            x = wf_transpose(t, wf_window(t, base, 1, I, 1), 0, 1);
        }
        wf_var *gy = wf_constant(t, WF_F64, WF_SHAPE(T, B, H), cotangents), *grad[2], *same[2];
        wf_var *y = wf_rnn_forward(t, rnn, x, NULL),
               *copied = wf_rnn_forward(t, rnn, wf_copy(t, x), NULL);
        wf_var *w = wf_module_param_at(net, 0);
        ck_assert_msg(wf_grad(t, 1, &y, &gy, 2, (wf_var *[]){ base, w }, grad, NULL), "%s",
                      wf_tape_error(t));
        ck_assert(wf_grad(t, 1, &copied, &gy, 2, (wf_var *[]){ base, w }, same, NULL));
        wf_var *pairs[3][2] = { { y, copied }, { grad[0], same[0] }, { grad[1], same[1] } };
        for (int k = 0; k < 3; k++) {
            double *got = doubles_of(pairs[k][0]), *want = doubles_of(pairs[k][1]);
            assert_close("a view", wf_count(pairs[k][1]), got, want, 1e-14);
            free(got);
            free(want);
        }
        wf_tape_free(t);
    }
    free(values);
    free(cotangents);
    wf_module_free(net);
}

TEST(after_the_second_step_nothing_is_allocated)
{
    lab l = lab_of(&(size){ 6, 9, 5, 70 }, WF_F32, false, false, true);
    wf_carry *carry = wf_carry_new(l.trial.rnn, 9);
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = 2 });
    int64_t after = 0;
    for (int step = 0; step < HARNESS_SETTLED + 4; step++) {
        wf_tape_reset(t);
        wf_var *x = var_of(t, WF_F32, false, WF_SHAPE(6, 9, 5), l.trial.x);
        wf_var *n = wf_constant(t, WF_I32, WF_SHAPE(9), l.lengths);
        wf_var *y = wf_rnn_forward(t, l.trial.rnn, x,
                                   &(wf_rnn_call){ .lengths = n, .carry = carry });
        ck_assert(wf_backward(t, wf_mean(t, wf_square(t, y), NULL)));
        if (step == HARNESS_SETTLED - 1) after = allocations;
    }
    ck_assert_int_gt(after, 0);
    ck_assert_int_eq(allocations, after);
    wf_tape_free(t);
    wf_carry_free(carry);
    lab_free(&l);
}

TEST(inputs_that_do_not_fit_are_told_what_does)
{
    enum { T = 4, B = 3, I = 5, H = 6 };
    static const struct {
        int input;
        wf_dtype dtype;
        wf_shape shape;
        const char *text;
    } wrong[] = {
        { 0, WF_F32, { 2, { B, I } }, "lstm_sequence: x is (3, 5); expected (time, batch, input)" },
        { 0,
          WF_F32,
          { 3, { 0, B, I } },
          "lstm_sequence: x has 0 time steps; there must be from 1 to 2147483647" },
        { 1, WF_F32, { 2, { 2, H } }, "lstm_sequence: h0 is (2, 6); expected (batch, hidden)" },
        { 2,
          WF_F32,
          { 2, { B, 7 } },
          "lstm_sequence: c0 is (3, 7); expected (batch, hidden), as h0" },
        { 3,
          WF_F32,
          { 2, { 24, 4 } },
          "lstm_sequence: weight_ih is (24, 4); expected (4 * hidden, input)" },
        { 4, WF_F64, { 2, { 24, H } }, "lstm_sequence: weight_hh is f64; expected f32" },
        { 5, WF_F32, { 1, { 23 } }, "lstm_sequence: bias_ih is (23); expected (4 * hidden)" },
        { 7, WF_F32, { 1, { B } }, "lstm_sequence: lengths is f32; expected i32" },
        { 7, WF_I32, { 1, { 4 } }, "lstm_sequence: lengths is (4); expected (batch)" },
    };
    const wf_shape right[8] = { { 3, { T, B, I } },  { 2, { B, H } },     { 2, { B, H } },
                                { 2, { 4 * H, I } }, { 2, { 4 * H, H } }, { 1, { 4 * H } },
                                { 1, { 4 * H } },    { 1, { B } } };
    wf_tape *t = wf_tape_new(NULL);
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        wf_var *in[8], *out[3];
        wf_tape_reset(t);
        for (int i = 0; i < 8; i++) {
            bool bad = i == wrong[k].input;
            in[i] = wf_zeros(t,
                             bad      ? wrong[k].dtype
                             : i == 7 ? WF_I32
                                      : WF_F32,
                             bad ? wrong[k].shape : right[i]);
        }
        ck_assert(!wf_apply(t, wf_lstm_sequence_op(), 8, in, &(lstm_attr){ 0 }, out));
        ck_assert_str_eq(wf_tape_error(t), wrong[k].text);
    }
    wf_tape_free(t);
}

const harness_suite suite = { .runtime = &(const wf_runtime){ .alloc = counting_alloc,
                                                              .release = counting_release,
                                                              .threads = MOST_THREADS } };
