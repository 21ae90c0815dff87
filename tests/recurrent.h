/* A recurrent layer run as a whole: its outputs and every gradient under given cotangents, as
 * plain doubles, so that laws can be stated over them. */
#ifndef WEFT_TESTS_RECURRENT_H
#define WEFT_TESTS_RECURRENT_H

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "weft.h"

enum { STATES = 2 };

/* n standard normals, times `scale`; the caller frees them. */
static inline double *normals(uint64_t key, int64_t n, double scale)
{
    double *x = malloc((size_t)(n > 0 ? n : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < n; i++) x[i] = scale * wf_random_normal(key, (uint64_t)i);
    return x;
}

static inline wf_var *var_of(wf_tape *t, wf_dtype dtype, bool leaf, wf_shape shape,
                             const double *values)
{
    wf_var *v = leaf ? wf_leaf(t, dtype, shape, NULL) : wf_constant(t, dtype, shape, NULL);
    ck_assert_msg(v != NULL, "%s", wf_tape_error(t));
    wf_tensor from = wf_tensor_of(WF_F64, shape, (void *)(uintptr_t)values);
    wf_tensor_copy(&from, wf_value(v));
    return v;
}

/* The elements as doubles, NULL for NULL; the caller frees them. */
static inline double *doubles_of(const wf_var *v)
{
    if (!v) return NULL;
    double *x = malloc((size_t)(wf_count(v) > 0 ? wf_count(v) : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    wf_tensor to = wf_tensor_of(WF_F64, wf_shape_of(v), x);
    wf_tensor_copy(wf_value(v), &to);
    return x;
}

/* What a layer is run on. Initial states are (places, batch, width); NULL: zeros. Cotangents;
 * NULL: absent. */
typedef struct trial {
    const wf_rnn *rnn;
    int64_t time, batch, input, places;
    int states;
    int64_t width[STATES];
    const double *x;
    const int32_t *lengths;
    const double *initial[STATES];
    const double *gy, *gfinal[STATES];
    int threads;
    wf_mode mode;
} trial;

/* What came out. dparams holds the gradients of all parameters, one behind the other. */
typedef struct outcome {
    double *y, *final[STATES], *dx, *dinitial[STATES], *dparams;
    int64_t n_y, n_x, n_state[STATES], n_params;
} outcome;

static inline void outcome_free(outcome *o)
{
    free(o->y);
    free(o->dx);
    free(o->dparams);
    for (int k = 0; k < STATES; k++) {
        free(o->final[k]);
        free(o->dinitial[k]);
    }
}

static inline outcome run_trial(const trial *c)
{
    const wf_module *module = wf_rnn_module(c->rnn);
    wf_dtype dtype = wf_module_dtype(module);
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = c->threads, .mode = c->mode });
    wf_var *initial[STATES] = { NULL }, *final[STATES] = { NULL };
    wf_var *x = var_of(t, dtype, true, WF_SHAPE(c->time, c->batch, c->input), c->x);
    for (int k = 0; k < c->states && c->initial[0]; k++) {
        initial[k] = var_of(t, dtype, true, WF_SHAPE(c->places, c->batch, c->width[k]),
                            c->initial[k]);
    }
    wf_var *lengths = c->lengths ? wf_constant(t, WF_I32, WF_SHAPE(c->batch), c->lengths) : NULL;
    wf_var *y = wf_rnn_forward(t, c->rnn, x,
                               &(wf_rnn_call){ .lengths = lengths,
                                               .initial = c->initial[0] ? initial : NULL,
                                               .final = final });
    ck_assert_msg(y != NULL, "%s", wf_tape_error(t));

    wf_var *out[1 + STATES], *cotangent[1 + STATES], *wrt[64], *grad[64];
    int n_out = 0, n_wrt = 0, params = (int)wf_module_param_count(module);
    if (c->gy) {
        out[n_out] = y;
        cotangent[n_out++] = var_of(t, dtype, false, wf_shape_of(y), c->gy);
    }
    for (int k = 0; k < c->states; k++) {
        if (!c->gfinal[k]) continue;
        out[n_out] = final[k];
        cotangent[n_out++] = var_of(t, dtype, false, wf_shape_of(final[k]), c->gfinal[k]);
    }
    wrt[n_wrt++] = x;
    for (int k = 0; k < c->states && c->initial[0]; k++) wrt[n_wrt++] = initial[k];
    int first = n_wrt;
    ck_assert_int_le(params + n_wrt, 64);
    for (int i = 0; i < params; i++) wrt[n_wrt++] = wf_module_param_at(module, i);
    ck_assert_msg(wf_grad(t, n_out, out, cotangent, n_wrt, wrt, grad, NULL), "%s",
                  wf_tape_error(t));

    outcome o = {
        .y = doubles_of(y), .n_y = wf_count(y), .dx = doubles_of(grad[0]), .n_x = wf_count(x)
    };
    for (int k = 0; k < c->states; k++) {
        o.final[k] = doubles_of(final[k]);
        o.n_state[k] = wf_count(final[k]);
        if (c->initial[0]) o.dinitial[k] = doubles_of(grad[1 + k]);
    }
    o.n_params = wf_module_weights(module);
    o.dparams = calloc((size_t)o.n_params, sizeof *o.dparams);
    int64_t at = 0;
    for (int i = 0; i < params; i++) {
        double *g = doubles_of(grad[first + i]);
        memcpy(o.dparams + at, g, (size_t)wf_count(grad[first + i]) * sizeof *g);
        at += wf_count(grad[first + i]);
        free(g);
    }
    wf_tape_free(t);
    return o;
}

/* Are n numbers equal up to `relative` of the largest wanted one? NaN is equal to nothing. */
static inline void assert_close(const char *what, int64_t n, const double *got, const double *want,
                                double relative)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < n; i++) {
        ck_assert_msg(fabs(got[i] - want[i]) <= relative * (largest > 0 ? largest : 1),
                      "%s: element %lld of %lld is %.17g; expected %.17g (the largest is %g)", what,
                      (long long)i, (long long)n, got[i], want[i], largest);
    }
}

static inline void assert_same_outcome(const outcome *got, const outcome *want, double relative)
{
    ck_assert_int_eq(got->n_y, want->n_y);
    ck_assert_int_eq(got->n_params, want->n_params);
    assert_close("y", want->n_y, got->y, want->y, relative);
    assert_close("dx", want->n_x, got->dx, want->dx, relative);
    assert_close("parameters", want->n_params, got->dparams, want->dparams, relative);
    for (int k = 0; k < STATES; k++) {
        if (want->final[k])
            assert_close("final state", want->n_state[k], got->final[k], want->final[k], relative);
        if (want->dinitial[k])
            assert_close("initial state", want->n_state[k], got->dinitial[k], want->dinitial[k],
                         relative);
    }
}

/* FNV-1a over the bits. */
static inline uint64_t hash_doubles(uint64_t h, int64_t n, const double *x)
{
    for (int64_t i = 0; x && i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        for (int k = 0; k < 8; k++) h = (h ^ (bits >> 8 * k & 0xff)) * UINT64_C(0x100000001b3);
    }
    return h;
}

static inline uint64_t hash_outcome(const outcome *o)
{
    uint64_t h = hash_doubles(UINT64_C(0xcbf29ce484222325), o->n_y, o->y);
    h = hash_doubles(h, o->n_x, o->dx);
    h = hash_doubles(h, o->n_params, o->dparams);
    for (int k = 0; k < STATES; k++) {
        h = hash_doubles(h, o->n_state[k], o->final[k]);
        h = hash_doubles(h, o->n_state[k], o->dinitial[k]);
    }
    return h;
}

#endif
