/* The built-in cells, in PyTorch's formulas, names and orders of gates, each written as one step
 * in public ops. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "layers/private.h"

#include <string.h>

/* W x + b and W h + b, side by side as PyTorch has them. */
static wf_var *both(wf_tape *t, wf_var *x, wf_var *w_x, wf_var *b_x, wf_var *h, wf_var *w_h,
                    wf_var *b_h)
{
    return wf_add(t, wf_affine(t, x, w_x, b_x), wf_affine(t, h, w_h, b_h));
}

/* ---- elman: Elman 1990; h = tanh(W_ih x + b_ih + W_hh h + b_hh) ---- */

static void elman_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const wf_elman_cell *c = self;
    wf_var *a = both(t, x, c->weight_ih, c->bias_ih, state[0], c->weight_hh,
                     c->bias_hh); /* (B, H) */
    state[0] = c->relu ? wf_relu(t, a) : wf_tanh(t, a);
}

static const wf_cell elman_cell = {
    .name = "rnn",
    .size = sizeof(wf_elman_cell),
    .step = elman_step,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(WF_PARAM(wf_elman_cell, weight_ih, WF_HIDDEN, WF_INPUT),
                        WF_PARAM(wf_elman_cell, weight_hh, WF_HIDDEN, WF_HIDDEN),
                        WF_BIAS(wf_elman_cell, bias_ih, WF_HIDDEN),
                        WF_BIAS(wf_elman_cell, bias_hh, WF_HIDDEN)),
};

/* ---- lstm: Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; gates i,
 * f, g, o: c = f c + i g, h = o tanh(c); projected as by Sak et al. 2014: h = W_hr (o tanh(c))
 * ---- */

static void lstm_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const wf_lstm_cell *p = self;
    wf_var *gate[4];                                           /* (B, H) each */
    wf_split(t, both(t, x, p->weight_ih, p->bias_ih, state[0], p->weight_hh, p->bias_hh), -1, 4,
             gate);
    wf_var *kept = wf_mul(t, wf_sigmoid(t, gate[1]), state[1]);           /* (B, H) */
    wf_var *new = wf_mul(t, wf_sigmoid(t, gate[0]), wf_tanh(t, gate[2])); /* (B, H) */
    wf_var *c = wf_add(t, kept, new);
    wf_var *h = wf_mul(t, wf_sigmoid(t, gate[3]), wf_tanh(t, c));
    state[0] = p->weight_hr ? wf_affine(t, h, p->weight_hr, NULL) : h; /* (B, output) */
    state[1] = c;
}

static const wf_cell lstm_cell = {
    .name = "lstm",
    .size = sizeof(wf_lstm_cell),
    .step = lstm_step,
    .states = WF_STATES(WF_STATE("h", WF_OUTPUT), WF_STATE("c", WF_HIDDEN)),
    .params = WF_PARAMS(WF_PARAM(wf_lstm_cell, weight_ih, 4 * WF_HIDDEN, WF_INPUT),
                        WF_PARAM(wf_lstm_cell, weight_hh, 4 * WF_HIDDEN, WF_OUTPUT),
                        WF_BIAS(wf_lstm_cell, bias_ih, 4 * WF_HIDDEN),
                        WF_BIAS(wf_lstm_cell, bias_hh, 4 * WF_HIDDEN),
                        WF_PROJECTION(wf_lstm_cell, weight_hr, WF_OUTPUT, WF_HIDDEN)),
    .gates = WF_GATES(WF_GATE("bias_ih", WF_GATE_FORGET, WF_HIDDEN, WF_HIDDEN),
                      WF_GATE("bias_hh", WF_GATE_FORGET, WF_HIDDEN, WF_HIDDEN),
                      WF_GATE("bias_ih", WF_GATE_INPUT, 0, WF_HIDDEN),
                      WF_GATE("bias_hh", WF_GATE_INPUT, 0, WF_HIDDEN)),
};

/* ---- gru: Cho et al. 2014; gates r, z, n: h = (1 - z) n + z h. The reset gate behind the product,
 * as in cuDNN and PyTorch, n = tanh(W_in x + b_in + r (W_hn h + b_hn)), or before it, as published,
 * n = tanh(W_in x + b_in + W_hn (r h) + b_hn) ---- */

/* W_h h + b_h of the gates from `first` on, (B, n H). */
static wf_var *gru_back(wf_tape *t, const wf_gru_cell *p, wf_var *h, int64_t first, int64_t n)
{
    int64_t hidden = wf_dim(h, -1), from = first * hidden, to = from + n * hidden;
    wf_var *b = p->bias_hh ? wf_slice(t, p->bias_hh, 0, from, to, 1) : NULL;
    return wf_affine(t, h, wf_slice(t, p->weight_hh, 0, from, to, 1), b);
}

static void gru_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const wf_gru_cell *p = self;
    wf_var *h = state[0], *in[3], *back[3];                    /* (B, H) each */
    wf_split(t, wf_affine(t, x, p->weight_ih, p->bias_ih), -1, 3, in);
    if (p->reset_before)
        wf_split(t, gru_back(t, p, h, 0, 2), -1, 2, back);
    else
        wf_split(t, wf_affine(t, h, p->weight_hh, p->bias_hh), -1, 3, back);
    wf_var *r = wf_sigmoid(t, wf_add(t, in[0], back[0]));
    wf_var *z = wf_sigmoid(t, wf_add(t, in[1], back[1]));
    wf_var *past = p->reset_before ? gru_back(t, p, wf_mul(t, r, h), 2, 1) : wf_mul(t, r, back[2]);
    wf_var *n = wf_tanh(t, wf_add(t, in[2], past));
    state[0] = wf_lerp(t, n, h, z);                            /* n + z (h - n) */
}

static const wf_cell gru_cell = {
    .name = "gru",
    .size = sizeof(wf_gru_cell),
    .step = gru_step,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(WF_PARAM(wf_gru_cell, weight_ih, 3 * WF_HIDDEN, WF_INPUT),
                        WF_PARAM(wf_gru_cell, weight_hh, 3 * WF_HIDDEN, WF_HIDDEN),
                        WF_BIAS(wf_gru_cell, bias_ih, 3 * WF_HIDDEN),
                        WF_BIAS(wf_gru_cell, bias_hh, 3 * WF_HIDDEN)),
    /* z keeps, 1 - z lets in: one gate is both. */
    .gates = WF_GATES(WF_GATE("bias_ih", WF_GATE_FORGET, WF_HIDDEN, WF_HIDDEN),
                      WF_GATE("bias_hh", WF_GATE_FORGET, WF_HIDDEN, WF_HIDDEN)),
};

/* ---- the list: a line here is the row's function, the layer's, and a place in cell_at ---- */

#define CELLS(EACH) EACH(elman) EACH(lstm) EACH(gru)

#define FUNCTIONS(name)                                                                            \
    const wf_cell *wf_##name##_row(void)                                                           \
    {                                                                                              \
        return &name##_cell;                                                                       \
    }                                                                                              \
    wf_rnn *wf_##name##_new(wf_module *parent, const char *title, const wf_rnn_options *options)   \
    {                                                                                              \
        return wf_rnn_new(parent, title, &name##_cell, options);                                   \
    }
CELLS(FUNCTIONS)

const wf_cell *cell_at(int i)
{
#define ROW(name) &name##_cell,
    static const wf_cell *const rows[] = { CELLS(ROW) };
    return i >= 0 && i < (int)(sizeof rows / sizeof rows[0]) ? rows[i] : NULL;
}

const wf_cell *wf_cell_named(const char *name)
{
    const wf_cell *cell = NULL;
    for (int i = 0; name && (cell = cell_at(i)) && strcmp(cell->name, name); i++) continue;
    return cell;
}
