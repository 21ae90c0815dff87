/* Where recurrent layers begin: the bias of the forget gate, the chrono start, orthogonal and
 * identity matrices, zeros; and what cells must say for it. */
#include "tests/parity.h"

enum { H = 16, T_MAX = 50 };

typedef struct made {
    wf_module *net;
    const wf_tensor *ih, *hh; /* the biases of layer 0 */
} made;

static made made_of(const wf_cell *cell, wf_dtype dtype, wf_rnn_options o)
{
    made m = { .net = wf_module_new("net", &(wf_module_options){ .seed = 5, .dtype = dtype }) };
    o.input = 3;
    o.hidden = H;
    wf_error e = { { 0 } };
    wf_rnn_new(m.net, "rnn", cell, &o);
    ck_assert_msg(wf_module_ok(m.net, &e), "%s", e.text);
    m.ih = wf_param_value(wf_module_param_find(m.net, "rnn.bias_ih_l0"));
    m.hh = wf_param_value(wf_module_param_find(m.net, "rnn.bias_hh_l0"));
    return m;
}

/* Gate 1 of an LSTM (i f g o) and of a GRU (r z n) keeps; the other rows are PyTorch's. */
TEST_EACH(a_forget_bias_is_what_the_gates_biases_add_up_to, 2)
{
    const wf_cell *cell = _i ? wf_gru_row() : wf_lstm_row();
    made plain = made_of(cell, WF_F32, (wf_rnn_options){ 0 }),
         m = made_of(cell, WF_F32, (wf_rnn_options){ .forget_bias = 1.5 });
    for (int64_t i = 0; i < wf_tensor_count(m.ih); i++) {
        const bool keeps = i / H == 1;
        ck_assert(wf_tensor_at(m.ih, i) == (keeps ? 1.5 : wf_tensor_at(plain.ih, i)));
        ck_assert(wf_tensor_at(m.hh, i) == (keeps ? 0 : wf_tensor_at(plain.hh, i)));
    }
    wf_module_free(m.net);
    wf_module_free(plain.net);
}

TEST_EACH(a_chrono_start_lets_units_keep_for_times_up_to_the_longest, 2)
{
    const wf_cell *cell = _i ? wf_gru_row() : wf_lstm_row();
    made m = made_of(cell, WF_F64, (wf_rnn_options){ .chrono = T_MAX, .layers = 2 }),
         again = made_of(cell, WF_F32, (wf_rnn_options){ .chrono = T_MAX });
    double least = HUGE_VAL, most = 0;
    for (int64_t j = 0; j < H; j++) {
        const double b = wf_tensor_at(m.ih, H + j);
        ck_assert(b >= 0 && b < log(T_MAX - 1));
        ck_assert(wf_tensor_at(again.ih, H + j) == (double)(float)b); /* by (seed, path) alone */
        ck_assert(wf_tensor_at(m.hh, H + j) == 0);
        if (_i == 0) ck_assert(wf_tensor_at(m.ih, j) == -b && wf_tensor_at(m.hh, j) == 0);
        least = fmin(least, exp(b));
        most = fmax(most, exp(b));
    }
    ck_assert(least < T_MAX / 4. && most > T_MAX * 3 / 4.);
    const wf_tensor *next = wf_param_value(wf_module_param_find(m.net, "rnn.bias_ih_l1"));
    ck_assert(wf_tensor_at(next, H) != wf_tensor_at(m.ih, H));
    wf_module_free(m.net);
    wf_module_free(again.net);
}

/* Le, Jaitly and Hinton 2015: relu, the identity, biases of zero. */
TEST(an_irnn_is_three_options)
{
    made m = made_of(wf_elman_row(), WF_F32,
                     (wf_rnn_options){ .init_hidden = { .kind = WF_INIT_IDENTITY },
                                       .init_bias = { .kind = WF_INIT_CONSTANT },
                                       .prototype = &(wf_elman_cell){ .relu = true } });
    const wf_tensor *w = wf_param_value(wf_module_param_find(m.net, "rnn.weight_hh_l0"));
    for (int64_t i = 0; i < H * H; i++) ck_assert(wf_tensor_at(w, i) == (i / H == i % H));
    for (int64_t i = 0; i < H; i++)
        ck_assert(wf_tensor_at(m.ih, i) == 0 && wf_tensor_at(m.hh, i) == 0);
    wf_module_free(m.net);
}

TEST(the_recurrent_blocks_of_an_lstm_begin_orthogonal)
{
    made m = made_of(wf_lstm_row(), WF_F64,
                     (wf_rnn_options){ .init_hidden = { .kind = WF_INIT_ORTHOGONAL, .rows = H } });
    const wf_tensor *w = wf_param_value(wf_module_param_find(m.net, "rnn.weight_hh_l0"));
    for (int64_t r = 0; r < 4 * H; r++) {
        for (int64_t s = r / H * H; s < r / H * H + H; s++) {
            double sum = 0;
            for (int64_t k = 0; k < H; k++)
                sum += wf_tensor_at(w, r * H + k) * wf_tensor_at(w, s * H + k);
            ck_assert_double_eq_tol(sum, r == s, 1e-12);
        }
    }
    wf_module_free(m.net);
}

/* ---- a cell of one's own, and what is refused ---- */

typedef struct leaky {
    wf_var *weight, *bias; /* (2H, I + H) (2H): how much is kept, and what is new */
} leaky;

static void leaky_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const leaky *c = self;
    wf_var *part[2];
    wf_var *in = wf_concat(t, -1, WF_VARS(x, state[0]));
    wf_split(t, wf_affine(t, in, c->weight, c->bias), -1, 2, part);
    state[0] = wf_lerp(t, wf_tanh(t, part[1]), state[0], wf_sigmoid(t, part[0]));
}

static const wf_cell_param leaky_params[] = {
    WF_PARAM(leaky, weight, 2 * WF_HIDDEN, WF_INPUT + WF_HIDDEN),
    WF_BIAS(leaky, bias, 2 * WF_HIDDEN),
    { .name = NULL },
};
static const wf_cell_state leaky_states[] = { WF_STATE("h", WF_HIDDEN), { .name = NULL } };

static wf_cell leaky_with(const wf_cell_gate *gates)
{
    return (wf_cell){ .name = "leaky",
                      .size = sizeof(leaky),
                      .step = leaky_step,
                      .states = leaky_states,
                      .params = leaky_params,
                      .gates = gates };
}

TEST(a_cell_of_ones_own_says_where_its_gate_is)
{
    const wf_cell cell = leaky_with(WF_GATES(WF_GATE("bias", WF_GATE_FORGET, 0, WF_HIDDEN)));
    wf_module *net = wf_module_new("net", NULL);
    wf_rnn_options o = { .input = 2, .hidden = 3, .bidirectional = true, .forget_bias = 2 };
    ck_assert_ptr_nonnull(wf_rnn_new(net, "rnn", &cell, &o));
    for (int d = 0; d < 2; d++) {
        const wf_tensor *b = wf_param_value(
            wf_module_param_find(net, d ? "rnn.bias_l0_reverse" : "rnn.bias_l0"));
        for (int64_t i = 0; i < 6; i++) ck_assert((wf_tensor_at(b, i) == 2) == (i < 3));
    }
    wf_module_free(net);
    assert_proved(wf_cell_check(&cell, NULL));
}

static void refused(const wf_cell *cell, wf_rnn_options o, const char *text)
{
    wf_module *net = wf_module_new("net", NULL);
    o.input = 2;
    o.hidden = 3;
    ck_assert_ptr_null(wf_rnn_new(net, "rnn", cell, &o));
    assert_tree_fails(net, text);
}

TEST(what_a_cell_cannot_begin_with_is_refused_with_one_sentence)
{
    const wf_rnn_options plain = { 0 }, one = { .forget_bias = 1 };
    refused(wf_elman_row(), one, "rnn 'rnn': .forget_bias is 1; cell 'rnn' has no forget gate");
    refused(wf_elman_row(), (wf_rnn_options){ .chrono = 9 },
            "rnn 'rnn': .chrono is 9; cell 'rnn' has no forget gate");
    refused(wf_lstm_row(), (wf_rnn_options){ .forget_bias = 1, .no_bias = true },
            "rnn 'rnn': .forget_bias is 1 and there is no bias");
    refused(wf_lstm_row(), (wf_rnn_options){ .forget_bias = 1, .chrono = 9 },
            "rnn 'rnn': .forget_bias and .chrono are both given; a bias begins in one way");
    refused(wf_lstm_row(), (wf_rnn_options){ .chrono = 1 },
            "rnn 'rnn': .chrono is 1; it must be 2 or more and finite, or 0");
    refused(wf_gru_row(), (wf_rnn_options){ .forget_bias = HUGE_VAL },
            "rnn 'rnn': .forget_bias is inf; it must be finite");
    wf_cell cell = leaky_with(WF_GATES(WF_GATE("b", WF_GATE_FORGET, 0, WF_HIDDEN)));
    refused(&cell, plain, "rnn 'rnn': cell 'leaky': a gate is said to be of b, and there is none");
    cell = leaky_with(WF_GATES(WF_GATE("weight", WF_GATE_FORGET, 0, WF_HIDDEN)));
    refused(&cell, plain,
            "rnn 'rnn': cell 'leaky': a gate is said to be of weight, which is no bias: it has two "
            "sizes or more");
    cell = leaky_with(WF_GATES(WF_GATE("bias", 7, 0, WF_HIDDEN)));
    refused(&cell, plain, "rnn 'rnn': cell 'leaky': bias has a gate of no kind there is: 7");
    cell = leaky_with(WF_GATES(WF_GATE("bias", WF_GATE_FORGET, WF_HIDDEN, 2 * WF_HIDDEN)));
    refused(&cell, one, "rnn: cell 'leaky': rows 3 to 9 of bias are said to be a gate; it has 6");
}

const harness_suite suite = { .after = nothing_is_left };
