/* A small training run that several suites share: embedding, recurrent net, head, Adam and a
 * carried state, over letters from a formula; and a hash of all that it learns. Included by the
 * suites, whose own copy it becomes. */
#ifndef WEFT_TESTS_MODEL_H
#define WEFT_TESTS_MODEL_H

#include "layers/private.h"
#include "tests/fixture.h"

#include <string.h>

/* How many cells are built in. */
static inline int cells_built_in(void)
{
    int n = 0;
    while (cell_at(n)) n++;
    return n;
}

typedef struct model_size {
    const wf_cell *cell;
    int64_t letters, time, batch, embed, hidden, layers;
    double dropout, clip;
    bool ragged;
} model_size;

typedef struct model {
    model_size size;
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *rnn;
    wf_linear *head;
    wf_optim *adam;
    wf_carry *past;
    wf_tape *t;
    int32_t *ids, *lengths; /* (T + 1, B) and (B) */
} model;

/* The id of a place in the text. */
static inline int32_t model_id(int64_t place, int64_t letters)
{
    return (int32_t)((uint64_t)(place * place * 7 + place * 3 + 1) % 8191 % (uint64_t)letters);
}

static inline void model_free(model *r)
{
    wf_tape_free(r->t);
    wf_carry_free(r->past);
    wf_optim_free(r->adam);
    wf_module_free(r->net);
    wf_release(r->ids);
    wf_release(r->lengths);
    memset(r, 0, sizeof *r);
}

/* False, with everything freed, when something could not be made; the reason is in *e. */
static inline bool model_make(model *r, model_size s, wf_error *e)
{
    memset(r, 0, sizeof *r);
    r->size = s;
    r->net = wf_module_new("model", &(wf_module_options){ .seed = 3 });
    r->embed = wf_embedding_new(r->net, "embed",
                                &(wf_embedding_options){ .input = s.letters, .output = s.embed });
    r->rnn = wf_rnn_new(
        r->net, "rnn", s.cell,
        &(wf_rnn_options){
            .input = s.embed, .hidden = s.hidden, .layers = s.layers, .dropout = s.dropout });
    r->head = wf_linear_new(r->net, "head",
                            &(wf_linear_options){ .input = s.hidden, .output = s.letters });
    wf_adam_options adam = wf_adam_defaults();
    adam.lr = 2e-3;
    r->adam = wf_adam_new(r->net, &adam);
    bool ok = wf_module_ok(r->net, e);
    r->past = ok ? wf_carry_new(r->rnn, s.batch) : NULL;
    r->t = ok ? wf_tape_new(&(wf_tape_options){ .seed = 5 }) : NULL;
    r->ids = wf_alloc((size_t)((s.time + 1) * s.batch) * sizeof *r->ids);
    r->lengths = wf_alloc((size_t)s.batch * sizeof *r->lengths);
    ok = ok && wf_carry_ok(r->past, e) && r->t && r->ids && r->lengths;
    if (ok) return true;
    if (!e->text[0]) wf_error_set(e, "model: out of memory");
    model_free(r);
    return false;
}

/* One training step, `step` counting from 0; false when the tape failed. The tape's random step
 * is set, so that a step can be made again. */
static inline bool model_step(model *r, int64_t step)
{
    model_size s = r->size;
    for (int64_t i = 0; i <= s.time; i++)
        for (int64_t b = 0; b < s.batch; b++)
            r->ids[i * s.batch + b] = model_id(b * 1013 + step * s.time + i, s.letters);
    for (int64_t b = 0; b < s.batch; b++)
        r->lengths[b] = (int32_t)(1 + (b * 37 + step * 11) % s.time);
    if (s.batch > 2) r->lengths[1] = 0, r->lengths[2] = (int32_t)s.time;
    wf_tensor input = wf_tensor_of(WF_I32, WF_SHAPE(s.time, s.batch), r->ids);
    wf_tensor target = wf_tensor_of(WF_I32, WF_SHAPE(s.time, s.batch), r->ids + s.batch);
    wf_tape *t = r->t;
    wf_tape_reset(t);
    wf_tape_set_step(t, (uint64_t)step);
    wf_rnn_call call = { .carry = r->past };
    if (s.ragged) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(s.batch), r->lengths);
    wf_var *x = wf_embedding_forward(t, r->embed, wf_constant_tensor(t, &input));
    wf_var *h = wf_dropout(t, wf_rnn_forward(t, r->rnn, x, &call), s.dropout);
    wf_var *loss = wf_cross_entropy(t, wf_linear_forward(t, r->head, h), &target);
    if (!wf_backward(t, loss)) return false;
    if (s.clip > 0) wf_optim_clip_norm(r->adam, s.clip);
    return wf_optim_step(r->adam);
}

/* The bits of parameters, optimiser and carry. */
static inline uint64_t model_hash(const model *r)
{
    uint64_t hash = hash_params(HASH, r->net);
    const wf_tensor *x;
    for (int64_t i = 0; i < wf_module_param_count(r->net); i++)
        for (int k = 0; (x = wf_optim_state(r->adam, i, k)); k++) hash = hash_tensor(hash, x);
    for (int64_t layer = 0; layer < r->size.layers; layer++)
        for (int k = 0; (x = wf_carry_state(r->past, layer, 0, k)); k++)
            hash = hash_tensor(hash, x);
    return hash;
}

#endif
