/* Recurrent layers of every kind, what they are run on, and what comes out. Included by the suites,
 * whose own copy it becomes. */
#ifndef WEFT_TESTS_CELLS_H
#define WEFT_TESTS_CELLS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "layers/cell_run_private.h"
#include "tests/fixture.h"

enum { TIME = 6, BATCH = 5, INPUT = 4, HIDDEN = 7 };

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
    return (bias || !options->no_bias) && (projection || !options->output) &&
           (cell->sequence || !options->stepwise);
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
        { "%s in steps", { .layers = 2, .stepwise = true } },
    };
    const kind others[] = {
        { "rnn, relu", wf_elman_row(), { .layers = 2, .prototype = &relu } },
        { "gru, reset before", wf_gru_row(), { .layers = 2, .prototype = &reset_before } },
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

/* ---- numbers that live as long as the test's process ---- */

static cell_memory *kept;

static inline double *zeros(int64_t n)
{
    double *x = cell_take(&kept, n, sizeof *x);
    ck_assert_ptr_nonnull(x);
    return x;
}

/* n standard normals, times `scale`. */
static inline double *normals(uint64_t key, int64_t n, double scale)
{
    double *x = zeros(n);
    for (int64_t i = 0; i < n; i++) x[i] = scale * wf_random_normal(key, (uint64_t)i);
    return x;
}

static inline double *doubles_of(const wf_var *v)
{
    return cell_doubles(&kept, v);
}

/* ---- a layer, and what it is run on ---- */

typedef struct fixture {
    wf_module *net;
    wf_rnn *rnn;
    cell_case on;
} fixture;

static inline void free_fixture(fixture *f)
{
    wf_module_free(f->net);
}

/* Inputs, initial states and cotangents for a layer. */
static inline cell_case case_of(const wf_rnn *rnn, int64_t time, int64_t batch, int64_t input)
{
    rnn_form form = rnn_form_of(rnn);
    int64_t output = form.directions * form.width[0];
    cell_case c = { .rnn = rnn,
                    .time = time,
                    .batch = batch,
                    .input = input,
                    .stacked = form.layers * form.directions,
                    .states = form.states,
                    .x = normals(1, time * batch * input, 1),
                    .gy = normals(2, time * batch * output, 1) };
    memcpy(c.width, form.width, sizeof c.width);
    for (int k = 0; k < c.states; k++) {
        int64_t n = c.stacked * batch * c.width[k];
        c.initial[k] = normals(3 + (uint64_t)k, n, 0.5);
        c.gfinal[k] = normals(3 + WF_CELL_STATES + (uint64_t)k, n, 1);
    }
    return c;
}

static inline fixture fixture_like(int of_kind, bool bidirectional, bool reverse, wf_dtype dtype)
{
    kind k = kind_at(of_kind);
    k.options.input = INPUT;
    k.options.hidden = HIDDEN;
    k.options.bidirectional = bidirectional;
    k.options.reverse = reverse;
    fixture f = { .net = wf_module_new("net", &(wf_module_options){ .seed = 11, .dtype = dtype }) };
    f.rnn = wf_rnn_new(f.net, "rnn", k.cell, &k.options);
    wf_error error = { { 0 } };
    ck_assert_msg(wf_module_ok(f.net, &error), "%s", error.text);
    f.on = case_of(f.rnn, TIME, BATCH, INPUT);
    return f;
}

static inline fixture fixture_of(int of_kind, bool bidirectional, wf_dtype dtype)
{
    return fixture_like(of_kind, bidirectional, false, dtype);
}

/* ---- what comes out ---- */

static inline cell_result run_on(const cell_case *c, int threads)
{
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = threads });
    cell_result o;
    ck_assert_msg(cell_run(t, c, &kept, &o), "%s", wf_tape_error(t));
    return o;
}

static inline cell_result run_case(const cell_case *c)
{
    return run_on(c, 1);
}

/* Values within `value` of the largest, gradients within `derivative`. */
static inline void assert_result(const cell_result *got, const cell_result *want, double value,
                                 double derivative)
{
    ck_assert_int_eq(got->n_params, want->n_params);
    assert_close("y", want->n_y, got->y, want->y, value);
    assert_close("dx", want->n_x, got->dx, want->dx, derivative);
    assert_close("parameters", want->n_params, got->dparams, want->dparams, derivative);
    for (int k = 0; k < WF_CELL_STATES; k++) {
        const int64_t n = want->n_state[k];
        if (want->final[k]) assert_close("final state", n, got->final[k], want->final[k], value);
        if (want->dinitial[k])
            assert_close("initial state", n, got->dinitial[k], want->dinitial[k], derivative);
    }
}

static inline uint64_t hash_doubles(uint64_t hash, int64_t n, const double *x)
{
    return x ? hash_bytes(hash, x, n * (int64_t)sizeof *x) : hash;
}

static inline uint64_t hash_result(const cell_result *o)
{
    uint64_t hash = hash_doubles(HASH, o->n_y, o->y);
    hash = hash_doubles(hash, o->n_x, o->dx);
    hash = hash_doubles(hash, o->n_params, o->dparams);
    for (int k = 0; k < WF_CELL_STATES; k++) {
        hash = hash_doubles(hash, o->n_state[k], o->final[k]);
        hash = hash_doubles(hash, o->n_state[k], o->dinitial[k]);
    }
    return hash;
}

#endif
