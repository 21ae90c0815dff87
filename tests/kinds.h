/* Recurrent layers of every kind. Included by the suites, whose own copy it becomes. */
#ifndef WEFT_TESTS_KINDS_H
#define WEFT_TESTS_KINDS_H

#include <weft.h>

typedef struct {
    wf_var *w_f, *b_f, *w_c, *b_c;
} mgu; /* minimal gated unit, Zhou et al. 2016 */

static void mgu_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const mgu *m = self;
    wf_var *h = state[0]; /* (B, H) */
    wf_var *f = wf_sigmoid(t, wf_affine(t, wf_concat(t, -1, WF_VARS(x, h)), m->w_f, m->b_f));
    wf_var *g = wf_mul(t, f, h); /* (B, H) */
    wf_var *c = wf_tanh(t, wf_affine(t, wf_concat(t, -1, WF_VARS(x, g)), m->w_c, m->b_c));
    state[0] = wf_lerp(t, h, c, f);
}

static const wf_cell mgu_cell = {
    .name = "mgu",
    .size = sizeof(mgu),
    .step = mgu_step,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(
        WF_PARAM(mgu, w_f, WF_HIDDEN, WF_INPUT + WF_HIDDEN), WF_PARAM(mgu, b_f, WF_HIDDEN),
        WF_PARAM(mgu, w_c, WF_HIDDEN, WF_INPUT + WF_HIDDEN), WF_PARAM(mgu, b_c, WF_HIDDEN)),
};

static const wf_cell *cell_mgu(void)
{
    return &mgu_cell;
}

/* Elman's cell of the direction of its input: not defined where that is zero, as padding, and
 * the output of a layer below past a sequence's end, may well be. */
static void unit_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const wf_elman_cell *c = self;
    wf_var *norm = wf_sqrt(t, wf_sum_keep(t, wf_square(t, x), WF_AXES(-1))); /* (B, 1) */
    wf_var *in = wf_affine(t, wf_div(t, x, norm), c->weight_ih, c->bias_ih); /* (B, H) */
    state[0] = wf_tanh(t, wf_add(t, in, wf_affine(t, state[0], c->weight_hh, NULL)));
}

static const wf_cell unit_cell = {
    .name = "unit",
    .size = sizeof(wf_elman_cell),
    .step = unit_step,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(WF_PARAM(wf_elman_cell, weight_ih, WF_HIDDEN, WF_INPUT),
                        WF_PARAM(wf_elman_cell, weight_hh, WF_HIDDEN, WF_HIDDEN),
                        WF_BIAS(wf_elman_cell, bias_ih, WF_HIDDEN)),
};

static const wf_cell *cell_unit(void)
{
    return &unit_cell;
}

static const wf_gru_cell reset_before = { .reset_before = true };

static const struct kind {
    const char *name;
    const wf_cell *(*cell)(void);
    int states;
    bool relu;
    wf_rnn_options options;
} kinds[] = {
    { "rnn", wf_elman_row, 1, false, { .layers = 1 } },
    { "rnn, relu", wf_elman_row, 1, true, { .layers = 2 } },
    { "gru", wf_gru_row, 1, false, { .layers = 2 } },
    { "gru without biases", wf_gru_row, 1, false, { .layers = 1, .no_bias = true } },
    { "lstm", wf_lstm_row, 2, false, { .layers = 1 } },
    { "lstm of two layers", wf_lstm_row, 2, false, { .layers = 2 } },
    { "lstm in steps", wf_lstm_row, 2, false, { .layers = 2, .stepwise = true } },
    { "lstm, projected", wf_lstm_row, 2, false, { .layers = 2, .output = 3 } },
    { "lstm without biases", wf_lstm_row, 2, false, { .layers = 1, .no_bias = true } },
    { "mgu", cell_mgu, 1, false, { .layers = 2 } },
    { "unit", cell_unit, 1, false, { .layers = 2 } },
    { "gru, reset before", wf_gru_row, 1, false, { .layers = 2, .prototype = &reset_before } },
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

#endif
