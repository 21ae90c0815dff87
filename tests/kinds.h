/* Recurrent layers of every kind, and what they are run on. */
#ifndef WEFT_TESTS_KINDS_H
#define WEFT_TESTS_KINDS_H

#include "tests/recurrent.h"

typedef struct {
    wf_var *w_f, *b_f, *w_c, *b_c;
} mgu; /* minimal gated unit, Zhou et al. 2016 */

static inline void mgu_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const mgu *m = self;
    wf_var *h = state[0]; /* (B, H) */
    wf_var *f = wf_sigmoid(t, wf_affine(t, wf_concat(t, -1, WF_VARS(x, h)), m->w_f, m->b_f));
    wf_var *g = wf_mul(t, f, h); /* (B, H) */
    wf_var *c = wf_tanh(t, wf_affine(t, wf_concat(t, -1, WF_VARS(x, g)), m->w_c, m->b_c));
    state[0] = wf_lerp(t, h, c, f);
}

static const wf_cell mgu_cell = {
    .name = "mgu", .size = sizeof(mgu), .step = mgu_step,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(
        WF_PARAM(mgu, w_f, WF_HIDDEN, WF_INPUT + WF_HIDDEN), WF_PARAM(mgu, b_f, WF_HIDDEN),
        WF_PARAM(mgu, w_c, WF_HIDDEN, WF_INPUT + WF_HIDDEN), WF_PARAM(mgu, b_c, WF_HIDDEN)),
};

static inline const wf_cell *cell_mgu(void)
{
    return &mgu_cell;
}

/* Elman's cell of the direction of its input: not defined where that is zero, as padding, and
 * the output of a layer below past a sequence's end, may well be. */
static inline void unit_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const wf_rnn_cell *c = self;
    wf_var *norm = wf_sqrt(t, wf_sum_keep(t, wf_square(t, x), WF_AXES(-1))); /* (B, 1) */
    wf_var *in = wf_affine(t, wf_div(t, x, norm), c->weight_ih, c->bias_ih); /* (B, H) */
    state[0] = wf_tanh(t, wf_add(t, in, wf_affine(t, state[0], c->weight_hh, NULL)));
}

static const wf_cell unit_cell = {
    .name = "unit", .size = sizeof(wf_rnn_cell), .step = unit_step,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(
        WF_PARAM(wf_rnn_cell, weight_ih, WF_HIDDEN, WF_INPUT),
        WF_PARAM(wf_rnn_cell, weight_hh, WF_HIDDEN, WF_HIDDEN),
        WF_BIAS(wf_rnn_cell, bias_ih, WF_HIDDEN)),
};

static inline const wf_cell *cell_unit(void)
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
    { "rnn", wf_cell_rnn, 1, false, { .layers = 1 } },
    { "rnn, relu", wf_cell_rnn, 1, true, { .layers = 2 } },
    { "gru", wf_cell_gru, 1, false, { .layers = 2 } },
    { "gru without biases", wf_cell_gru, 1, false, { .layers = 1, .no_bias = true } },
    { "lstm", wf_cell_lstm, 2, false, { .layers = 1 } },
    { "lstm of two layers", wf_cell_lstm, 2, false, { .layers = 2 } },
    { "lstm in steps", wf_cell_lstm, 2, false, { .layers = 2, .stepwise = true } },
    { "lstm, projected", wf_cell_lstm, 2, false, { .layers = 2, .output = 3 } },
    { "lstm without biases", wf_cell_lstm, 2, false, { .layers = 1, .no_bias = true } },
    { "mgu", cell_mgu, 1, false, { .layers = 2 } },
    { "unit", cell_unit, 1, false, { .layers = 2 } },
    { "gru, reset before", wf_cell_gru, 1, false, { .layers = 2, .cell = &reset_before } },
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

enum { TIME = 6, BATCH = 5, INPUT = 4, HIDDEN = 7 };

typedef struct bench {
    wf_module *net;
    wf_rnn *rnn;
    double *memory[3 + 2 * STATES];
    trial trial;
} bench;

static inline bench bench_like(int kind, bool bidirectional, bool reverse, wf_dtype dtype)
{
    const struct kind *k = &kinds[kind];
    const wf_rnn_cell relu = { .relu = k->relu };
    wf_rnn_options options = k->options;
    options.input = INPUT;
    options.hidden = HIDDEN;
    options.bidirectional = bidirectional;
    options.reverse = reverse;
    if (k->relu) options.cell = &relu;
    bench b = { .net = wf_module_new("net", &(wf_module_options){ .seed = 11, .dtype = dtype }) };
    b.rnn = wf_rnn_new(b.net, "rnn", k->cell(), &options);
    wf_error error = { { 0 } };
    ck_assert_msg(wf_module_ok(b.net, &error), "%s", error.text);
    int64_t places = options.layers * (bidirectional ? 2 : 1),
            output = options.output ? options.output : HIDDEN;
    trial *c = &b.trial;
    *c = (trial){ .rnn = b.rnn,
                  .time = TIME,
                  .batch = BATCH,
                  .input = INPUT,
                  .places = places,
                  .states = k->states,
                  .width = { output, HIDDEN },
                  .threads = 1 };
    c->x = b.memory[0] = normals(1, TIME * BATCH * INPUT, 1);
    c->gy = b.memory[1] = normals(2, TIME * BATCH * output * (bidirectional ? 2 : 1), 1);
    for (int i = 0; i < k->states; i++) {
        c->initial[i] = b.memory[2 + i] = normals(3 + (uint64_t)i, places * BATCH * c->width[i],
                                                  0.5);
        c->gfinal[i] = b.memory[4 + i] = normals(5 + (uint64_t)i, places * BATCH * c->width[i], 1);
    }
    return b;
}

static inline bench bench_of(int kind, bool bidirectional, wf_dtype dtype)
{
    return bench_like(kind, bidirectional, false, dtype);
}

static inline void bench_free(bench *b)
{
    for (size_t i = 0; i < sizeof b->memory / sizeof b->memory[0]; i++) free(b->memory[i]);
    wf_module_free(b->net);
}

#endif
