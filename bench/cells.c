/* What a cell of one's own costs beside the built-in LSTM, with all sequences full and with lengths
 * drawn from 1..T. usage: cells [--only CELL] [--shape 0..5] [--runs N] [--threads N]
 *
 * Training is forward and backward with a random cotangent on all of y, the gradients of x and of
 * every parameter included, no optimiser. The built-in LSTM is timed anew beside every cell, in
 * alternation; GF/s counts what each cell's products must do for the tokens that are there. */
#include "bench/timing.h"

#include <string.h>

enum { MOST_RUNS = 99 };

/* ---- the cells ---- */

typedef struct gates {
    wf_var *weight_ih, *weight_hh, *bias_ih, *bias_hh;
} gates;

/* What an LSTM does with its gates i f g o. */
static void lstm_states(wf_tape *t, wf_var *g[4], wf_var *state[])
{
    wf_var *c = wf_add(t, wf_mul(t, wf_sigmoid(t, g[1]), state[1]),
                       wf_mul(t, wf_sigmoid(t, g[0]), wf_tanh(t, g[2])));
    state[0] = wf_mul(t, wf_sigmoid(t, g[3]), wf_tanh(t, c));
    state[1] = c;
}

static wf_var *both(wf_tape *t, const gates *p, wf_var *x, wf_var *h)
{
    return wf_add(t, wf_affine(t, x, p->weight_ih, p->bias_ih),
                  wf_affine(t, h, p->weight_hh, p->bias_hh));
}

static void two_affines(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    wf_var *g[4];
    if (wf_split(t, both(t, self, x, state[0]), -1, 4, g)) lstm_states(t, g, state);
}

#define GATES(n)                                                                                   \
    WF_PARAMS(WF_PARAM(gates, weight_ih, n *WF_HIDDEN, WF_INPUT),                                  \
              WF_PARAM(gates, weight_hh, n *WF_HIDDEN, WF_HIDDEN),                                 \
              WF_PARAM(gates, bias_ih, n *WF_HIDDEN), WF_PARAM(gates, bias_hh, n *WF_HIDDEN))
#define H_AND_C WF_STATES(WF_STATE("h", WF_HIDDEN), WF_STATE("c", WF_HIDDEN))
#define H_ALONE WF_STATES(WF_STATE("h", WF_HIDDEN))

static const wf_cell lstm_by_affines = { .name = "lstm by two affines",
                                         .size = sizeof(gates),
                                         .step = two_affines,
                                         .states = H_AND_C,
                                         .params = GATES(4) };

typedef struct joined {
    wf_var *w, *b;
} joined;

static void one_affine(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const joined *p = self;
    wf_var *g[4], *all = wf_concat(t, -1, WF_VARS(x, state[0]));
    if (wf_split(t, wf_affine(t, all, p->w, p->b), -1, 4, g)) lstm_states(t, g, state);
}

static const wf_cell lstm_by_concat = {
    .name = "lstm by concat",
    .size = sizeof(joined),
    .step = one_affine,
    .states = H_AND_C,
    .params = WF_PARAMS(WF_PARAM(joined, w, 4 * WF_HIDDEN, WF_INPUT + WF_HIDDEN),
                        WF_PARAM(joined, b, 4 * WF_HIDDEN)),
};

/* Gers and Schmidhuber 2000: the gates see the cell, too. */
typedef struct peephole {
    wf_var *weight_ih, *weight_hh, *bias_ih, *bias_hh, *see_i, *see_f, *see_o;
} peephole;

static void peephole_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const peephole *p = self;
    const gates products = { p->weight_ih, p->weight_hh, p->bias_ih, p->bias_hh };
    wf_var *g[4], *c = state[1];
    if (!wf_split(t, both(t, &products, x, state[0]), -1, 4, g)) return;
    wf_var *i = wf_sigmoid(t, wf_add(t, g[0], wf_mul(t, c, p->see_i)));
    wf_var *f = wf_sigmoid(t, wf_add(t, g[1], wf_mul(t, c, p->see_f)));
    c = wf_add(t, wf_mul(t, f, c), wf_mul(t, i, wf_tanh(t, g[2])));
    state[0] = wf_mul(t, wf_sigmoid(t, wf_add(t, g[3], wf_mul(t, c, p->see_o))), wf_tanh(t, c));
    state[1] = c;
}

static const wf_cell peephole_lstm = {
    .name = "peephole lstm",
    .size = sizeof(peephole),
    .step = peephole_step,
    .states = H_AND_C,
    .params = WF_PARAMS(WF_PARAM(peephole, weight_ih, 4 * WF_HIDDEN, WF_INPUT),
                        WF_PARAM(peephole, weight_hh, 4 * WF_HIDDEN, WF_HIDDEN),
                        WF_PARAM(peephole, bias_ih, 4 * WF_HIDDEN),
                        WF_PARAM(peephole, bias_hh, 4 * WF_HIDDEN),
                        WF_PARAM(peephole, see_i, WF_HIDDEN), WF_PARAM(peephole, see_f, WF_HIDDEN),
                        WF_PARAM(peephole, see_o, WF_HIDDEN)),
};

/* Ba, Kiros and Hinton 2016: both products and the cell are normalised. */
typedef struct normed {
    wf_var *weight_ih, *weight_hh, *bias_ih, *bias_hh, *scale_ih, *scale_hh, *scale_c, *shift_c;
} normed;

static void normed_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const normed *p = self;
    wf_var *g[4];
    wf_var *in = wf_layer_norm(t, wf_affine(t, x, p->weight_ih, NULL), p->scale_ih, p->bias_ih, 0);
    wf_var *back = wf_layer_norm(t, wf_affine(t, state[0], p->weight_hh, NULL), p->scale_hh,
                                 p->bias_hh, 0);
    if (!wf_split(t, wf_add(t, in, back), -1, 4, g)) return;
    wf_var *c = wf_add(t, wf_mul(t, wf_sigmoid(t, g[1]), state[1]),
                       wf_mul(t, wf_sigmoid(t, g[0]), wf_tanh(t, g[2])));
    wf_var *shown = wf_tanh(t, wf_layer_norm(t, c, p->scale_c, p->shift_c, 0));
    state[0] = wf_mul(t, wf_sigmoid(t, g[3]), shown);
    state[1] = c;
}

#define ONES                                                                                       \
    {                                                                                              \
        WF_INIT_CONSTANT, 1, 0, 0                                                                  \
    }
static const wf_cell layer_norm_lstm = {
    .name = "layer-norm lstm",
    .size = sizeof(normed),
    .step = normed_step,
    .states = H_AND_C,
    .params = WF_PARAMS(
        WF_PARAM(normed, weight_ih, 4 * WF_HIDDEN, WF_INPUT),
        WF_PARAM(normed, weight_hh, 4 * WF_HIDDEN, WF_HIDDEN),
        WF_PARAM(normed, bias_ih, 4 * WF_HIDDEN), WF_PARAM(normed, bias_hh, 4 * WF_HIDDEN),
        WF_PARAM_INIT(normed, scale_ih, ONES, 4 * WF_HIDDEN),
        WF_PARAM_INIT(normed, scale_hh, ONES, 4 * WF_HIDDEN),
        WF_PARAM_INIT(normed, scale_c, ONES, WF_HIDDEN), WF_PARAM(normed, shift_c, WF_HIDDEN)),
};

/* Zhou, Wu, Zhang and Zhou 2016: the minimal gated unit, two products one after the other. */
typedef struct mgu {
    wf_var *w_f, *b_f, *w_c, *b_c;
} mgu;

static void mgu_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const mgu *m = self;
    wf_var *h = state[0];
    wf_var *f = wf_sigmoid(t, wf_affine(t, wf_concat(t, -1, WF_VARS(x, h)), m->w_f, m->b_f));
    wf_var *kept = wf_concat(t, -1, WF_VARS(x, wf_mul(t, f, h)));
    state[0] = wf_lerp(t, h, wf_tanh(t, wf_affine(t, kept, m->w_c, m->b_c)), f);
}

static const wf_cell mgu_cell = {
    .name = "mgu",
    .size = sizeof(mgu),
    .step = mgu_step,
    .states = H_ALONE,
    .params = WF_PARAMS(
        WF_PARAM(mgu, w_f, WF_HIDDEN, WF_INPUT + WF_HIDDEN), WF_PARAM(mgu, b_f, WF_HIDDEN),
        WF_PARAM(mgu, w_c, WF_HIDDEN, WF_INPUT + WF_HIDDEN), WF_PARAM(mgu, b_c, WF_HIDDEN)),
};

/* ---- what is timed ---- */

typedef struct shape {
    int64_t batch, time, input, hidden;
} shape;

static const shape shapes[] = {
    { 1, 100, 32, 64 },  { 16, 32, 64, 128 },   { 32, 50, 128, 256 },
    { 32, 8, 128, 256 }, { 64, 100, 512, 512 }, { 64, 50, 1024, 1024 },
};

typedef struct model {
    shape s;
    double work; /* operations of a training step, per token */
    wf_module *net;
    wf_rnn *rnn;
    float *x, *g;
    int32_t *length; /* of each sequence, 1..T */
    int64_t tokens;  /* their sum */
} model;

static model model_new(shape s, const wf_cell *cell, const void *prototype, double products)
{
    model m = { .s = s, .net = wf_module_new("bench", NULL) };
    m.work = 6 * products * (double)(s.hidden * (s.input + s.hidden));
    m.rnn = wf_rnn_new(
        m.net, "rnn", cell,
        &(wf_rnn_options){ .input = s.input, .hidden = s.hidden, .prototype = prototype });
    m.x = random_floats(s.time * s.batch * s.input, 4);
    m.g = random_floats(s.time * s.batch * s.hidden, 5);
    m.length = wf_alloc((size_t)s.batch * sizeof *m.length);
    wf_error err = { { 0 } };
    if (!wf_module_ok(m.net, &err) || !m.length)
        exit((fprintf(stderr, "cells: %s\n", err.text), 1));
    for (int64_t b = 0; b < s.batch; b++) {
        m.length[b] = (int32_t)(1 + wf_random_below(6, (uint64_t)b, s.time));
        m.tokens += m.length[b];
    }
    return m;
}

static void model_free(model *m)
{
    wf_module_free(m->net);
    wf_release(m->x);
    wf_release(m->g);
    wf_release(m->length);
}

static void step(wf_tape *t, const model *m, bool ragged)
{
    shape s = m->s;
    wf_tape_reset(t);
    wf_var *x = wf_leaf(t, WF_F32, WF_SHAPE(s.time, s.batch, s.input), m->x);
    wf_rnn_call call = { .lengths = NULL };
    if (ragged) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(s.batch), m->length);
    wf_var *y = wf_rnn_forward(t, m->rnn, x, &call); /* (T, B, H) */
    if (!y) exit(1);                                 /* the reason has been said */
    if (wf_tape_mode(t) == WF_INFER) return;
    wf_var *g = wf_constant(t, WF_F32, WF_SHAPE(s.time, s.batch, s.hidden), m->g);
    wf_keep_grad(t, x);
    if (!wf_backward_from(t, 1, &y, &g)) exit(1);
    wf_module_clear_grads(m->net);
}

/* Seconds per step, over about `least` seconds. */
static double timed(wf_tape *t, const model *m, bool ragged, double least)
{
    int n = 0;
    double begun = now(), spent;
    do step(t, m, ragged), n++;
    while ((spent = now() - begun) < least);
    return spent / n;
}

/* Medians of alternating runs of n models; ratio[i] becomes the median of the runs' ratios to the
 * first. */
static void measure(wf_tape *t, int n, const model *const m[], bool ragged, int runs,
                    double seconds[], double ratio[])
{
    double each[4][MOST_RUNS], by[4][MOST_RUNS];
    for (int i = 0; i < n; i++) step(t, m[i], ragged), step(t, m[i], ragged);
    for (int r = 0; r < runs; r++)
        for (int i = 0; i < n; i++) {
            each[i][r] = timed(t, m[i], ragged, 0.1);
            by[i][r] = each[i][r] / each[0][r];
        }
    for (int i = 0; i < n; i++) {
        seconds[i] = median(each[i], runs);
        ratio[i] = median(by[i], runs);
    }
}

static void row(const char *name, const model *m, const model *lstm, int threads, int runs)
{
    const model *const both_models[] = { lstm, m };
    double train[2], infer[2], ragged[2], ratio[2], of_infer[2], of_ragged[2];
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = threads });
    measure(t, 2, both_models, false, runs, train, ratio);
    measure(t, 2, both_models, true, runs, ragged, of_ragged);
    wf_tape_set_mode(t, WF_INFER);
    measure(t, 2, both_models, false, runs, infer, of_infer);
    wf_tape_free(t);
    const double all = (double)(m->s.time * m->s.batch), there = (double)m->tokens;
    printf("  %-20s train %9.3f ms (%4.2f of lstm) %6.1f GF/s   infer %8.3f ms (%4.2f)   ragged "
           "%9.3f ms (%4.2f), %4.2f of its share\n",
           name, train[1] * 1e3, ratio[1], m->work * all / train[1] / 1e9, infer[1] * 1e3,
           of_infer[1], ragged[1] * 1e3, of_ragged[1], ragged[1] / train[1] * all / there);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const wf_gru_cell before = { .reset_before = true };
    const struct {
        const char *name;
        const wf_cell *cell;
        const void *prototype;
        double products; /* of hidden by input + hidden */
    } cells[] = {
        { "lstm", wf_lstm_row(), NULL, 4 },
        { "lstm by two affines", &lstm_by_affines, NULL, 4 },
        { "lstm by concat", &lstm_by_concat, NULL, 4 },
        { "gru", wf_gru_row(), NULL, 3 },
        { "gru, reset before", wf_gru_row(), &before, 3 },
        { "rnn", wf_elman_row(), NULL, 1 },
        { "mgu", &mgu_cell, NULL, 2 },
        { "peephole lstm", &peephole_lstm, NULL, 4 },
        { "layer-norm lstm", &layer_norm_lstm, NULL, 4 },
    };
    const char *only = NULL;
    int runs = 7, threads = 2, shape_only = -1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--only") && i + 1 < argc)
            only = argv[++i];
        else if (!strcmp(argv[i], "--runs") && i + 1 < argc)
            runs = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--shape") && i + 1 < argc)
            shape_only = atoi(argv[++i]);
        else
            return fprintf(stderr, "usage: cells [--only CELL] [--shape N] [--runs N] "
                                   "[--threads N]\n"),
                   1;
    }
    if (runs < 1 || runs > MOST_RUNS || threads < 1)
        return fprintf(stderr, "cells: --runs from 1 to %d, --threads 1 or more\n", MOST_RUNS), 1;
    printf("%s; dispatch %s; %d threads, medians of %d runs\n", wf_processor(),
           wf_isa_name(wf_isa_level()), threads, runs);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const shape s = shapes[k];
        if (shape_only >= 0 && shape_only != (int)k) continue;
        model lstm = model_new(s, wf_lstm_row(), NULL, 4);
        printf("B=%lld T=%lld I=%lld H=%lld\n", (long long)s.batch, (long long)s.time,
               (long long)s.input, (long long)s.hidden);
        for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
            if (only && strcmp(only, cells[i].name)) continue;
            model m = model_new(s, cells[i].cell, cells[i].prototype, cells[i].products);
            row(cells[i].name, &m, &lstm, threads, runs);
            model_free(&m);
        }
        model_free(&lstm);
    }
    return 0;
}
