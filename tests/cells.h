/* What recurrent layers are run on, and what comes out. Included by the suites, whose own copy it
 * becomes. */
#ifndef WEFT_TESTS_CELLS_H
#define WEFT_TESTS_CELLS_H

#include <math.h>

#include "layers/cell_run_private.h"
#include "tests/kinds.h"

enum { TIME = 6, BATCH = 5, INPUT = 4, HIDDEN = 7 };

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
