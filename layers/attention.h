/* Attention of a recurrent decoder: a query looks over a memory, the states of an encoder say, and
 * receives a mean of it. S is the memory's time, B the batch, M its width, Q the query's, U the
 * units in which the two are compared. (Of whole sequences to each other: layers/multihead.h.) */
#ifndef WEFT_LAYERS_ATTENTION_H
#define WEFT_LAYERS_ATTENTION_H

#include "autograd/module.h"
#include "autograd/ops.h"

WF_BEGIN

/* How a place s of the memory m is scored for a query q; the weights are the scores' softmax. */
typedef enum wf_attention_kind {
    /* v tanh(W_k m_s + W_q q + b), Bahdanau, Cho and Bengio 2015. */
    WF_ATTENTION_ADDITIVE = 0,
    /* Luong, Pham and Manning 2015: q m_s, where Q = M; q W_k m_s; v tanh(W [q; m_s]). */
    WF_ATTENTION_DOT,
    WF_ATTENTION_GENERAL,
    WF_ATTENTION_CONCAT,
    /* q m_s / sqrt(M), where Q = M, Vaswani et al. 2017. */
    WF_ATTENTION_SCALED_DOT,
    /* Additive, with U_f f_s inside tanh, f the weights of the step before convolved with filters:
     * it knows where it was, Chorowski et al. 2015. */
    WF_ATTENTION_LOCATION
} wf_attention_kind;

typedef struct wf_attention_options {
    wf_attention_kind kind;
    int64_t query, memory; /* Q and M; required */
    int64_t units;         /* U of additive, concat and location; 0: Q */
    int64_t filters;       /* location: how many, and how many places each sees, an odd number; */
    int64_t reach;         /* 0: 10 and 31 */
    bool cumulative;       /* location: filters see the sum of all weights so far */
    bool no_bias;          /* additive, location: no b */
    double dropout;        /* of the weights, in train mode */
    const void *reserved[4];
} wf_attention_options;

/* Fields to read; parameters that a kind has not are NULL. */
typedef struct wf_attention {
    wf_module *module;
    wf_var *query_weight, *query_bias;         /* W_q (U, Q), b (U) */
    wf_var *key_weight;                        /* W_k (U, M); general: (Q, M) */
    wf_var *weight;                            /* concat: W (U, Q + M) */
    wf_var *score;                             /* v (U) */
    wf_var *location_filter, *location_weight; /* (filters, reach), U_f (U, filters) */
    wf_attention_options options;              /* with the defaults filled in */
} wf_attention;

/* A layer under parent; weights begin as PyTorch's linear layers do. NULL, and the tree knows why,
 * when an option is out of range or missing. Owned by the tree. */
WF_API wf_attention *wf_attention_new(wf_module *parent, const char *name,
                                      const wf_attention_options *options);

/* What is done to a memory once, before it is looked over again and again: memory (S, B, M) becomes
 * out[0], its values (B, S, M), zero where they are hidden; out[1], its keys (B, S, U), which may
 * be out[0]; and out[2], the mask I32 (B, S), row first so that a search can pick rows. What is
 * hidden, behind lengths I32 (B) or where mask I32, broadcasting to (S, B), is 0 (NULL: nothing),
 * may be NaN: nothing of it is read, and it gets a gradient of 0. False, and NULLs, after failing
 * the tape. */
enum { WF_ATTENTION_MEMORY = 3 };
WF_API bool wf_attention_read(wf_tape *t, const wf_attention *layer, wf_var *memory,
                              wf_var *lengths, wf_var *mask, wf_var *out[WF_ATTENTION_MEMORY]);

/* The look itself: query (n, Q) at what wf_attention_read left of n sequences gives the mean of
 * their values, (n, M). weights, unless NULL, receives the weights (n, S), before dropout, each row
 * of which comes to 1, or to 0 where all is hidden: then the mean is 0. Of a location-aware one
 * *weights is first what this function left there at the step before (NULL: nowhere yet, zeros;
 * with .cumulative it is left the sum of all so far), and must be given. Several queries at once,
 * (B, T, Q), give (B, T, M) and (B, T, S); not of a location-aware one. */
WF_API wf_var *wf_attention_forward(wf_tape *t, const wf_attention *layer, wf_var *query,
                                    wf_var *const memory[WF_ATTENTION_MEMORY], wf_var **weights);
/* The scores alone, (n, S) or (B, T, S), -inf where a place is hidden: the logits of a pointer
 * network (Vinyals, Fortunato and Jaitly 2015), whose output is a place of its input. Not of a
 * location-aware one. */
WF_API wf_var *wf_attention_scores(wf_tape *t, const wf_attention *layer, wf_var *query,
                                   wf_var *const memory[WF_ATTENTION_MEMORY]);

/* Words that are copied from the source (See, Liu and Manning 2017, after Gulcehre et al. 2016 and
 * Gu et al. 2016): logits (..., V) of a vocabulary, weights (..., S) of attention to the ids I32
 * (..., S, broadcasting to the weights) that stand there, and gate (..., 1), the logit of writing
 * rather than copying, give the logarithms (..., words) of sigmoid(gate) softmax(logits) +
 * sigmoid(-gate) weights, each weight added to its id's. words V or more: ids from V on are words
 * that only the source has. They are floored at 1e-30, so that a cross entropy of them stays
 * finite. */
WF_API wf_var *wf_copy_mixture(wf_tape *t, wf_var *logits, wf_var *weights, wf_var *ids,
                               wf_var *gate, int64_t words);

WF_END

#endif
