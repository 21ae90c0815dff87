/* Cells and layers as they are made: parameters, second derivatives, formulas, and the proof of a
 * cell. */
#include "tests/cells.h"

/* ---- second derivatives ---- */

typedef struct checked {
    const wf_rnn *rnn;
} checked;

static bool run_checked(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    const checked *c = context;
    wf_var *final[WF_CELL_STATES];
    out[0] = wf_rnn_forward(t, c->rnn, in[0],
                            &(wf_rnn_call){ .initial = in + 1, .lengths = in[3], .final = final });
    out[1] = final[0];
    out[2] = final[1];
    *n_out = 3;
    return out[0] != NULL;
}

TEST_EACH(second_derivatives_of_a_ragged_lstm_of_two_layers_agree_with_differences, 2)
{
    enum { T = 3, B = 3, I = 2, H = 3 };
    static int32_t lengths[B] = { 1, T, 2 };
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 5 });
    checked c = { wf_lstm_new(
        net, "lstm",
        &(wf_rnn_options){ .input = I, .hidden = H, .layers = 2, .bidirectional = _i == 1 }) };
    ck_assert(wf_module_ok(net, NULL));
    int64_t stacked = _i == 1 ? 4 : 2;
    double *x = normals(1, T * B * I, 1), *h = normals(2, stacked * B * H, 0.5),
           *s = normals(3, stacked * B * H, 0.5);
    const wf_tensor in[4] = {
        wf_tensor_of(WF_F64, WF_SHAPE(T, B, I), x),
        wf_tensor_of(WF_F64, WF_SHAPE(stacked, B, H), h),
        wf_tensor_of(WF_F64, WF_SHAPE(stacked, B, H), s),
        wf_tensor_of(WF_I32, WF_SHAPE(B), lengths),
    };
    wf_report r = wf_gradcheck(run_checked, &c, 4, in, &(wf_check_options){ .module = net });
    ck_assert_msg(r.ok, "%s", r.text);
    ck_assert_int_gt(r.checked, 0);
}

/* ---- parameters ---- */

TEST(parameters_are_named_and_shaped_as_pytorch_has_them)
{
    static const struct {
        const char *name;
        wf_shape shape;
    } want[] = {
        { "rnn.weight_ih_l0", { 2, { 28, 4 } } },
        { "rnn.weight_hh_l0", { 2, { 28, 3 } } },
        { "rnn.bias_ih_l0", { 1, { 28 } } },
        { "rnn.bias_hh_l0", { 1, { 28 } } },
        { "rnn.weight_hr_l0", { 2, { 3, 7 } } },
        { "rnn.weight_ih_l0_reverse", { 2, { 28, 4 } } },
        { "rnn.weight_hh_l0_reverse", { 2, { 28, 3 } } },
        { "rnn.bias_ih_l0_reverse", { 1, { 28 } } },
        { "rnn.bias_hh_l0_reverse", { 1, { 28 } } },
        { "rnn.weight_hr_l0_reverse", { 2, { 3, 7 } } },
        { "rnn.weight_ih_l1", { 2, { 28, 6 } } },
        { "rnn.weight_hh_l1", { 2, { 28, 3 } } },
    };
    OWN(fixture) b = fixture_of(kind_named("lstm, projected"), true, WF_F32);
    ck_assert_int_eq(wf_module_param_count(b.net), 20);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        wf_var *p = wf_module_param_at(b.net, (int64_t)i);
        ck_assert_str_eq(wf_param_path(p), want[i].name);
        wf_shape shape = wf_shape_of(p);
        ck_assert(wf_shape_equal(&shape, &want[i].shape));
        double bound = 1 / sqrt(HIDDEN), largest = 0;
        for (int64_t k = 0; k < wf_count(p); k++) {
            largest = fmax(largest, fabs(wf_at(p, k)));
            ck_assert(fabs(wf_at(p, k)) <= bound);
        }
        ck_assert(largest > bound / 2);
    }
}

TEST(initial_values_are_an_option_for_either_side)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_gru_new(net, "gru",
               &(wf_rnn_options){ .input = 4,
                                  .hidden = 3,
                                  .init_input = { .kind = WF_INIT_CONSTANT, .a = 0.25 },
                                  .init_hidden = { .kind = WF_INIT_IDENTITY, .a = 2, .rows = 3 } });
    ck_assert(wf_module_ok(net, NULL));
    const wf_var *in = wf_module_param_find(net, "gru.weight_ih_l0"),
                 *back = wf_module_param_find(net, "gru.weight_hh_l0");
    const wf_var *bias = wf_module_param_find(net, "gru.bias_hh_l0");
    for (int64_t i = 0; i < wf_count(in); i++) ck_assert(wf_at(in, i) == 0.25);
    for (int64_t i = 0; i < wf_count(back); i++)
        ck_assert(wf_at(back, i) == (i % 9 % 4 == 0 ? 2 : 0));
    for (int64_t i = 0; i < wf_count(bias); i++)
        ck_assert(wf_at(bias, i) != 0 && wf_at(bias, i) != 0.25);
}

TEST(without_biases_there_are_none)
{
    OWN(fixture) b = fixture_of(kind_named("gru without biases"), true, WF_F32);
    ck_assert_int_eq(wf_module_param_count(b.net), 4);
    for (int64_t i = 0; i < 4; i++)
        ck_assert_ptr_null(strstr(wf_param_path(wf_module_param_at(b.net, i)), "bias"));
}

/* ---- the GRU as it was first published ---- */

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

/* Row `row` of w (rows, n) times x, plus b. */
static double row_times(const wf_var *w, const wf_var *b, int64_t row, int64_t n, const double *x)
{
    double sum = b ? wf_at(b, row) : 0;
    for (int64_t i = 0; i < n; i++) sum += wf_at(w, row * n + i) * x[i];
    return sum;
}

/* One sequence by the formulas of Cho et al. 2014: the gate works on h, before the product. */
static void gru_by_hand(const wf_module *net, int64_t time, int64_t stride, const double *x,
                        double h[HIDDEN], double y[])
{
    const wf_var *w_x = wf_module_param_find(net, "gru.weight_ih_l0"),
                 *w_h = wf_module_param_find(net, "gru.weight_hh_l0"),
                 *b_x = wf_module_param_find(net, "gru.bias_ih_l0"),
                 *b_h = wf_module_param_find(net, "gru.bias_hh_l0");
    for (int64_t i = 0; i < time; i++, x += stride) {
        double z[HIDDEN], reset[HIDDEN];
        for (int j = 0; j < HIDDEN; j++) {
            reset[j] = h[j] * logistic(row_times(w_x, b_x, j, INPUT, x) +
                                       row_times(w_h, b_h, j, HIDDEN, h));
            z[j] = logistic(row_times(w_x, b_x, HIDDEN + j, INPUT, x) +
                            row_times(w_h, b_h, HIDDEN + j, HIDDEN, h));
        }
        for (int j = 0; j < HIDDEN; j++) {
            double n = tanh(row_times(w_x, b_x, 2 * HIDDEN + j, INPUT, x) +
                            row_times(w_h, b_h, 2 * HIDDEN + j, HIDDEN, reset));
            y[i * HIDDEN + j] = (1 - z[j]) * n + z[j] * h[j];
        }
        memcpy(h, y + i * HIDDEN, HIDDEN * sizeof *h);
    }
}

TEST_EACH(a_gru_that_resets_before_the_product_is_the_published_one, 2)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 4, .dtype = WF_F64 });
    wf_rnn *gru = wf_gru_new(
        net, "gru",
        &(wf_rnn_options){
            .input = INPUT, .hidden = HIDDEN, .no_bias = _i == 1, .prototype = &reset_before });
    ck_assert(wf_module_ok(net, NULL));
    double *x = normals(1, TIME * BATCH * INPUT, 1), *h = normals(2, BATCH * HIDDEN, 0.5),
           want[TIME * HIDDEN];
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *initial = cell_var(t, WF_F64, false, WF_SHAPE(1, BATCH, HIDDEN), h);
    wf_var *y = wf_rnn_forward(t, gru, cell_var(t, WF_F64, false, WF_SHAPE(TIME, BATCH, INPUT), x),
                               &(wf_rnn_call){ .initial = &initial });
    ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
    for (int b = 0; b < BATCH; b++) {
        gru_by_hand(net, TIME, BATCH * INPUT, x + b * INPUT, h + b * HIDDEN, want);
        for (int64_t i = 0; i < TIME * HIDDEN; i++)
            ck_assert_double_eq_tol(wf_at(y, (i / HIDDEN * BATCH + b) * HIDDEN + i % HIDDEN),
                                    want[i], 1e-13);
    }
}

/* ---- cells with one fault each, and the law that finds it ---- */

typedef struct plain {
    wf_var *w_x, *w_h;
} plain;

static wf_var *plain_sum(wf_tape *t, const plain *p, wf_var *x, wf_var *h)
{
    return wf_add(t, wf_affine(t, x, p->w_x, NULL), wf_affine(t, h, p->w_h, NULL)); /* (B, H) */
}

static void sound_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    state[0] = wf_tanh(t, plain_sum(t, self, x, state[0]));
}

static void counting_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    static int calls;
    state[0] = wf_tanh(t, wf_add_scalar(t, plain_sum(t, self, x, state[0]), 0.01 * ++calls));
}

static void mixing_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    wf_var *mean = wf_mean_keep(t, state[0], WF_AXES(0)); /* (1, H): over the batch */
    state[0] = wf_tanh(t, wf_add(t, plain_sum(t, self, x, state[0]), mean));
}

static void sulking_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    (void)t;
    (void)self;
    state[0] = x; /* (B, input): not (B, hidden) */
}

static void cutting_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    state[0] = wf_tanh(t, plain_sum(t, self, x, wf_detach(t, state[0])));
}

static void cancelling_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    wf_var *far = wf_add_scalar(t, plain_sum(t, self, x, state[0]), 1e5);
    state[0] = wf_tanh(t, wf_sub_scalar(t, far, 1e5));
}

/* Not defined where its input is zero: in the value, and in the derivative alone. */
static void dividing_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    wf_var *norm = wf_sqrt(t, wf_sum_keep(t, wf_square(t, x), WF_AXES(-1))); /* (B, 1) */
    sound_step(t, self, wf_div(t, x, norm), state);
}

static void logging_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    wf_var *size = wf_log(t, wf_sum_keep(t, wf_square(t, x), WF_AXES(-1))); /* (B, 1) */
    sound_step(t, self, wf_mul(t, x, wf_sigmoid(t, size)), state);
}

static void normed_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    wf_var *norm = wf_sqrt(t, wf_sum_keep(t, wf_square(t, x), WF_AXES(-1))); /* (B, 1) */
    sound_step(t, self, wf_div(t, x, wf_add_scalar(t, norm, 1)), state);
}

/* A step on all sequences, of which the mask (B, 1) hides what the finished ones get. */
static void hiding_step(wf_tape *t, wf_cell_step *step, const void *self, wf_var *x, wf_var *mask,
                        wf_var *state[])
{
    wf_var *zero = wf_zeros(t, wf_dtype_of(x), WF_SCALAR), *next[1] = { state[0] };
    step(t, self, wf_where(t, mask, x, zero), next);
    state[0] = wf_where(t, mask, next[0], state[0]);
}

static bool hiding(wf_tape *t, wf_cell_step *step, const void *self, wf_sequence *s)
{
    int64_t time = wf_dim(s->x, 0), batch = wf_dim(s->x, 1);
    wf_var *y[16] = { NULL };
    for (int64_t k = 0; k < time; k++) {
        int64_t i = s->reverse ? time - 1 - k : k;
        int32_t on[16];
        for (int64_t b = 0; b < batch; b++)
            on[b] = !s->lengths || i < (int64_t)wf_at(s->lengths, b);
        wf_var *mask = wf_constant(t, WF_I32, WF_SHAPE(batch, 1), on);
        hiding_step(t, step, self, wf_select(t, s->x, 0, i), mask, s->state);
        y[i] = wf_where(t, mask, s->state[0], wf_zeros(t, wf_dtype_of(s->x), WF_SCALAR));
    }
    s->output = wf_stack(t, 0, (wf_vars){ (int)time, y });
    return true;
}

/* What layers did once: right for a cell that is defined everywhere, if every state is finite. */
static bool hiding_sound(wf_tape *t, const void *self, wf_sequence *s)
{
    return hiding(t, sound_step, self, s);
}

static bool hiding_dividing(wf_tape *t, const void *self, wf_sequence *s)
{
    return hiding(t, dividing_step, self, s);
}

static bool by_steps(wf_tape *t, const void *self, wf_sequence *s, int64_t skip)
{
    int64_t time = wf_dim(s->x, 0);
    wf_var *y[16] = { NULL };
    if (s->reverse) return false;
    for (int64_t i = 0; i < time; i++) {
        wf_var *next[1] = { s->state[0] };
        if (i != skip) sound_step(t, self, wf_select(t, s->x, 0, i), next);
        s->state[0] = y[i] = next[0];
    }
    s->output = wf_stack(t, 0, (wf_vars){ (int)time, y });
    return true;
}

static bool skipping_sequence(wf_tape *t, const void *self, wf_sequence *s)
{
    return s->lengths ? false : by_steps(t, self, s, 2);
}

static bool greedy_sequence(wf_tape *t, const void *self, wf_sequence *s)
{
    return by_steps(t, self, s, -1); /* as if there were no lengths */
}

#define PLAIN(title, ...)                                                                          \
    {                                                                                              \
        .name = title, .size = sizeof(plain), .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),       \
        .params = WF_PARAMS(WF_PARAM(plain, w_x, WF_HIDDEN, WF_INPUT),                             \
                            WF_PARAM(plain, w_h, WF_HIDDEN, WF_HIDDEN)),                           \
        __VA_ARGS__                                                                                \
    }

static const wf_cell sound_cell = PLAIN("sound", .step = sound_step);
static const wf_cell undefined[] = { PLAIN("dividing", .step = dividing_step),
                                     PLAIN("logging", .step = logging_step),
                                     PLAIN("normed", .step = normed_step) };
static const wf_cell hides[] = {
    PLAIN("hiding", .step = sound_step, .sequence = hiding_sound),
    PLAIN("dividing", .step = dividing_step, .sequence = hiding_dividing),
};
static const struct faulty {
    wf_cell cell;
    const char *text;
} faulty[] = {
    { PLAIN("counting", .step = counting_step),
      "cell 'counting': a step again: element (0, 0) of a state is " },
    { PLAIN("mixing", .step = mixing_step), "cell 'mixing': ragged against one at a time: " },
    { PLAIN("cutting", .step = cutting_step), "cell 'cutting': gradients of its steps: " },
    { PLAIN("cancelling", .step = cancelling_step), "cell 'cancelling': f32 against f64: " },
    { PLAIN("skipping", .step = sound_step, .sequence = skipping_sequence),
      "cell 'skipping': sequence against steps: element (2, 0, 0) of y is " },
    { PLAIN("greedy", .step = sound_step, .sequence = greedy_sequence),
      "cell 'greedy': sequence against steps: " },
    { PLAIN("hiding", .step = sound_step, .sequence = hiding_sound),
      "cell 'hiding': sequence against steps: the gradient of an empty sequence's initial state" },
    { PLAIN("sulking", .step = sulking_step), "cell 'sulking': gradients of its steps: " },
    { PLAIN("stepless", .step = NULL), "cell 'stepless': rnn 'rnn': cell 'stepless' lacks a step" },
};

TEST(a_cell_that_is_not_defined_at_zero_is_proved)
{
    static const wf_cell_check_options sizes[] = { { .time = 4, .batch = 2 },
                                                   { .time = 3, .batch = 7, .input = 2 },
                                                   { .time = 5 } };
    for (int i = 0; i < 9; i++) {
        assert_proved(wf_cell_check(&undefined[i / 3], &sizes[i % 3]));
    }
}

TEST(a_sequence_that_computes_padding_and_hides_it_is_found_out_where_the_step_is_undefined)
{
    static const wf_cell_check_options none_empty = { .time = 4, .batch = 2 };
    wf_report r = wf_cell_check(&hides[0], &none_empty);
    ck_assert_msg(r.ok, "%s", r.text);
    r = wf_cell_check(&hides[1], &none_empty);
    ck_assert_msg(!r.ok && strstr(r.text, "'dividing': sequence against steps: "), "%s", r.text);
}

TEST_EACH(a_faulty_cell_is_found_out, sizeof faulty / sizeof faulty[0])
{
    wf_report r = wf_cell_check(&faulty[_i].cell, NULL);
    ck_assert_msg(!r.ok && strncmp(r.text, faulty[_i].text, strlen(faulty[_i].text)) == 0,
                  "found: %s", r.text);
}

TEST(a_sound_cell_is_found_sound_at_any_size)
{
    static const wf_cell_check_options sizes[] = {
        { .time = 1 }, { .batch = 1 }, { .input = 1, .hidden = 1 }, { .time = 2, .batch = 6 }
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        wf_report r = wf_cell_check(&sound_cell, &sizes[i]);
        ck_assert_msg(r.ok, "%s", r.text);
        assert_proved(wf_cell_check(wf_lstm_row(), &sizes[i]));
    }
    wf_report r = wf_cell_check(&sound_cell, &(wf_cell_check_options){ .time = -1 });
    ck_assert_str_eq(r.text, "cell 'sound': the sizes to check it at must be 1 or more");
    r = wf_cell_check(&sound_cell, &(wf_cell_check_options){ .hidden = INT64_MAX });
    ck_assert_str_eq(r.text, "cell 'sound': the sizes to check it at must be 32767 or less");
}
