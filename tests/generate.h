/* Decoders for the suites of generation: one that is a table of all that can be said, one that says
 * the same whatever was said, and a small GRU with attention. */
#ifndef WEFT_TESTS_GENERATE_H
#define WEFT_TESTS_GENERATE_H

#include "harness.h"

#include "autograd/module.h"
#include "autograd/views.h"
#include "layers/basic.h"
#include "layers/generate.h"
#include "layers/rnn.h"
#include "tensor/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SOURCE = 3 };

/* Logits, and attention, are what stands in a table for all that was said before. */
typedef struct table {
    int64_t classes, source, prefixes; /* source 0: no attention */
    wf_var *logits, *weights;          /* (sequences * prefixes, classes), (.., source) */
    int64_t steps, rows;               /* that were asked for */
    int64_t peak;                      /* of the tape's bytes */
} table;

static inline int64_t prefixes_of(int64_t classes, int64_t time)
{
    int64_t n = 1, all = 1;
    for (int64_t i = 0; i < time; i++) all += n *= classes;
    return all * classes + classes + 1;
}

/* memory 0: where the sequence's part of the table begins, F64 (n); state 0: the number of what was
 * said, F64 (n). */
static inline void table_step(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    table *m = (table *)(uintptr_t)self;
    wf_var *word = wf_cast(t, rows->word, WF_F64);
    wf_var *code = wf_add(t, wf_mul_scalar(t, rows->state[0], (double)m->classes), word);
    wf_var *at = wf_cast(t, wf_add(t, code, rows->memory[0]), WF_I32);
    rows->state[0] = wf_add_scalar(t, code, 1);
    rows->features = wf_gather_rows(t, m->logits, at);
    if (m->weights) rows->weights = wf_gather_rows(t, m->weights, at);
    m->steps++;
    m->rows += wf_dim(rows->word, 0);
    if (wf_tape_bytes(t) > m->peak) m->peak = wf_tape_bytes(t);
}

static inline double *normals(int64_t n, uint64_t key, double scale)
{
    double *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = scale * wf_random_normal(key, (uint64_t)i);
    return x;
}

static inline table table_new(wf_tape *t, int64_t sequences, int64_t classes, int64_t time,
                              int64_t source, uint64_t key, wf_dtype dtype)
{
    table m = { .classes = classes, .source = source, .prefixes = prefixes_of(classes, time) };
    const int64_t n = sequences * m.prefixes;
    double *x = normals(n * classes, key, 1.5);
    m.logits = wf_cast(t, wf_constant(t, WF_F64, WF_SHAPE(n, classes), x), dtype);
    free(x);
    x = normals(n * source, key + 1, 1);
    if (source) m.weights = wf_softmax(t, wf_constant(t, WF_F64, WF_SHAPE(n, source), x), -1);
    free(x);
    return m;
}

/* memory and state live as long as the caller's arrays. */
static inline wf_decoder table_decoder(wf_tape *t, const table *m, int64_t sequences,
                                       wf_var *held[2])
{
    wf_tensor to;
    held[0] = wf_constant_fill(t, WF_F64, WF_SHAPE(sequences), &to);
    for (int64_t b = 0; b < sequences; b++) ((double *)to.data)[b] = (double)(b * m->prefixes);
    held[1] = wf_zeros(t, WF_F64, WF_SHAPE(sequences));
    return (wf_decoder){
        .step = table_step, .self = m, .memory = { 1, &held[0] }, .initial = { 1, &held[1] }
    };
}

/* A GRU with dot attention, in double. */
typedef struct small {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *gru;
    wf_linear *out;
} small;

enum { HIDDEN = 5 };

static inline small small_new(int64_t classes, uint64_t seed)
{
    small s = { .net = wf_module_new("small",
                                     &(wf_module_options){ .seed = seed, .dtype = WF_F64 }) };
    s.embed = wf_embedding_new(s.net, "embed",
                               &(wf_embedding_options){ .input = classes, .output = HIDDEN });
    s.gru = wf_gru_new(s.net, "gru", &(wf_rnn_options){ .input = 2 * HIDDEN, .hidden = HIDDEN });
    s.out = wf_linear_new(s.net, "out",
                          &(wf_linear_options){ .input = HIDDEN,
                                                .output = classes,
                                                .init = { WF_INIT_NORMAL, 0, 2, 0 } });
    ck_assert(wf_module_ok(s.net, NULL));
    return s;
}

static inline void small_free(wf_tape *t, const small *s)
{
    wf_tape_reset(t); /* it reads parameters in place */
    wf_module_free(s->net);
}

/* memory 0: (n, SOURCE, HIDDEN); state 0: (n, HIDDEN). */
static inline void small_step(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    const small *s = self;
    wf_var *h = rows->state[0], *memory = rows->memory[0];
    wf_var *fit = wf_squeeze(t, wf_matmul(t, memory, wf_unsqueeze(t, h, -1)), -1);
    rows->weights = wf_softmax(t, fit, -1);
    wf_var *seen = wf_squeeze(t, wf_matmul(t, wf_unsqueeze(t, rows->weights, 1), memory), 1);
    wf_var *in = wf_concat(t, -1, WF_VARS(wf_embedding_forward(t, s->embed, rows->word), seen));
    wf_var *deep = wf_unsqueeze(t, h, 0);
    rows->features = rows->state[0] = wf_rnn_step(t, s->gru, in, &deep);
}

static inline wf_var *small_output(wf_tape *t, const void *self, wf_var *features)
{
    return wf_linear_forward(t, ((const small *)self)->out, features);
}

/* Sequences first .. first + n - 1 of many, whatever n is. */
static inline wf_decoder small_decoder(wf_tape *t, const small *s, int64_t first, int64_t n,
                                       wf_var *held[2])
{
    double *x = normals((first + n) * (SOURCE + 1) * HIDDEN, 99, 1);
    double *at = x + first * (SOURCE + 1) * HIDDEN;
    wf_var *all = wf_constant(t, WF_F64, WF_SHAPE(n, SOURCE + 1, HIDDEN), at);
    held[0] = wf_slice(t, all, 1, 0, SOURCE, 1);
    held[1] = wf_select(t, all, 1, SOURCE);
    free(x);
    return (wf_decoder){ .step = small_step,
                         .output = small_output,
                         .self = s,
                         .memory = { 1, &held[0] },
                         .initial = { 1, &held[1] } };
}

/* A model of one row of logits, whatever was said; no states, no memory. */
static inline void flat_step(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    table *m = (table *)(uintptr_t)self;
    const int64_t n = wf_dim(rows->word, 0);
    rows->features = wf_expand(t, m->logits, WF_SHAPE(n, wf_dim(m->logits, 1)));
    m->steps++;
    m->rows += n;
    if (wf_tape_bytes(t) > m->peak) m->peak = wf_tape_bytes(t);
}

enum { FLAT = 7 };
static const double flat_logits[FLAT]
    __attribute__((unused)) = { 0.3, -1, 2, 1.1, -0.2, 0.9, -2.5 };

/* Generates from one row of logits for B sequences; NULL logits: FLAT. */
static inline bool flat(wf_tape *t, const double *logits, int64_t classes, wf_generate_options o,
                        wf_generated *g)
{
    table *m = wf_tape_memory(t, sizeof *m);
    m->logits = wf_constant(t, WF_F64, WF_SHAPE(1, classes), logits ? logits : flat_logits);
    return wf_generate(t, &(wf_decoder){ .step = flat_step, .self = m, .name = "flat" }, &o, g);
}

static inline void assert_same(const wf_hypothesis *a, const wf_hypothesis *b, double apart)
{
    ck_assert_int_eq(a->n, b->n);
    ck_assert_int_eq(a->ended, b->ended);
    ck_assert(!a->n || !memcmp(a->ids, b->ids, (size_t)a->n * sizeof *a->ids));
    for (int64_t i = 0; i < a->n; i++)
        ck_assert_double_le(fabs(a->log_probs[i] - b->log_probs[i]), apart);
    ck_assert(a->score == b->score || fabs(a->score - b->score) <= apart);
    for (int64_t i = 0; a->weights.data && i < wf_tensor_count(&a->weights); i++)
        ck_assert_double_le(fabs(wf_tensor_at(&a->weights, i) - wf_tensor_at(&b->weights, i)),
                            apart);
}

#endif
