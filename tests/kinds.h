/* Layers of every kind: of the library's cells, in all ways in which they can be made, and of our
 * own. Included by the suites, whose own copy it becomes. */
#ifndef WEFT_TESTS_KINDS_H
#define WEFT_TESTS_KINDS_H

#include <stdio.h>
#include <string.h>

#include "layers/private.h"
#include "tests/fixture.h"

/* ---- cells of our own ---- */

typedef struct mgu {
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

/* ---- kinds of layers ---- */

typedef struct kind {
    char name[48];
    const wf_cell *cell; /* NULL: there are no more kinds */
    wf_rnn_options options;
} kind;

static const wf_elman_cell relu = { .relu = true };
static const wf_gru_cell reset_before = { .reset_before = true };

/* Can a layer of this cell have these options? */
static inline bool can_have(const wf_cell *cell, const wf_rnn_options *options)
{
    bool bias = false, projection = false;
    for (const wf_cell_param *p = cell->params; p->name; p++) {
        bias |= p->optional == WF_CELL_BIAS;
        projection |= p->optional == WF_CELL_PROJECTION;
    }
    return (bias || !options->no_bias) && (projection || !options->output);
}

/* Kinds are counted from 0: layers of each built-in cell in all ways that it can have, then those
 * with plain options of a cell set, and those of our own cells. */
static inline kind kind_at(int i)
{
    static const struct {
        const char *name;
        wf_rnn_options options;
    } ways[] = {
        { "%s", { .layers = 1 } },
        { "%s of two layers", { .layers = 2 } },
        { "%s without biases", { .layers = 1, .no_bias = true } },
        { "%s, projected", { .layers = 2, .output = 3 } },
    };
    const kind others[] = {
        { "lstm in steps", wf_lstm_row(), { .layers = 2, .stepwise = true } },
        { "rnn, relu", wf_elman_row(), { .layers = 2, .prototype = &relu } },
        { "gru, reset before", wf_gru_row(), { .layers = 2, .prototype = &reset_before } },
        { "lstm, learned start",
          wf_lstm_row(),
          { .layers = 2, .learned_initial = true, .init_state = { WF_INIT_UNIFORM, -0.5, 0.5 } } },
        { "mgu", &mgu_cell, { .layers = 2 } },
        { "unit", &unit_cell, { .layers = 2 } },
    };
    kind k = { .options = { 0 } };
    for (int c = 0; (k.cell = cell_at(c)); c++) {
        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
            if (!can_have(k.cell, &ways[w].options) || i-- > 0) continue;
            snprintf(k.name, sizeof k.name, ways[w].name, k.cell->name);
            k.options = ways[w].options;
            return k;
        }
    }
    return i < (int)(sizeof others / sizeof others[0]) ? others[i] : k;
}

static inline int kinds(void)
{
    int n = 0;
    while (kind_at(n).cell) n++;
    return n;
}

static inline int kind_named(const char *name)
{
    for (int i = 0; i < kinds(); i++)
        if (!strcmp(kind_at(i).name, name)) return i;
    ck_abort_msg("there is no kind of layer named %s", name);
    return 0;
}

#endif
