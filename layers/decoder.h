/* A decoder says what happens in one step: from the word before, what was read and its states to
 * what the next word is told by. Training, generation and search are supplied. */
#ifndef WEFT_LAYERS_DECODER_H
#define WEFT_LAYERS_DECODER_H

#include "autograd/ops.h"

WF_BEGIN

enum { WF_DECODER_VARS = 16 }; /* states, and memories, at most */

/* One step on n rows. memory and state are arrays of as many vars as the decoder has. */
typedef struct wf_decoder_rows {
    wf_var *word;          /* in: I32 (n), the word before */
    wf_var *const *memory; /* in: (n, ...) each, the same at every step */
    wf_var **state;        /* in: (n, ...) each, before the step; out: after it */
    bool weigh;            /* in: are weights asked for? Else they may be left out */
    wf_var *features;      /* out: (n, F) */
    wf_var *weights;       /* out, if there are any: of attention, (n, S) */
} wf_decoder_rows;

/* A pure function of rows, of self and of the parameters that it refers to; each row by itself. */
typedef void wf_decoder_step(wf_tape *t, const void *self, wf_decoder_rows *rows);
/* Features (..., F) to logits (..., V), of all steps at once where that is possible. */
typedef wf_var *wf_decoder_output(wf_tape *t, const void *self, wf_var *features);

/* A decoder at work on a batch of B sequences, made for one tape. */
typedef struct wf_decoder {
    wf_decoder_step *step;     /* required */
    wf_decoder_output *output; /* NULL: features are logits */
    const void *self;          /* handed to both; good until the tape's reset */
    wf_vars memory;            /* (B, ...) each, floats or ids: what was read */
    wf_vars initial;           /* states to begin with, (B, ...) each, floats or ids */
    const char *name;          /* begins the messages; NULL: "decoder" */
    const void *reserved[4];
} wf_decoder;

/* ---- training ---- */

/* For what a coin is thrown that decides which word a step is told. */
typedef enum wf_coin { WF_COIN_EACH = 0, WF_COIN_SEQUENCE, WF_COIN_STEP } wf_coin;

typedef struct wf_decode_call {
    wf_var *words; /* I32 (T, B): the true word before each step, that of the beginning first */
    /* Scheduled sampling (Bengio et al. 2015): with this probability, 0 to 1, a step is not told
     * the true word, but the one that the decoder itself would have chosen in the step before: the
     * likeliest, or with .draw one drawn from its softmax. 0 is teacher forcing; a teacher forcing
     * ratio r is 1 - r here. No gradient leads through a choice. */
    double sampling;
    bool draw;
    wf_coin coin;     /* one for each sequence and step, or for each sequence, or each step */
    wf_var **weights; /* receives the attention weights of all steps, (T, B, S); the decoder's
                       * steps must have some */
    wf_var **final;   /* receives the states after the last step, as many as the decoder has */
    const void *reserved[4];
} wf_decode_call;

/* The decoder on T steps, as one loop (wf_scan): features (T, B, F), for a loss over all steps at
 * once (wf_linear_cross_entropy of the layer that makes logits of them). Sequences that end before
 * T go on with the words that they are given; what a loss ignores there has no gradient. NULL, and
 * NULLs where more was asked for, after failing the tape. */
WF_API wf_var *wf_decode(wf_tape *t, const wf_decoder *decoder, const wf_decode_call *call);
/* How that loop runs, as text (autograd/scan.h); the tape is as it was, but for the text. */
WF_API const char *wf_decode_explain(wf_tape *t, const wf_decoder *decoder,
                                     const wf_decode_call *call);

/* Probabilities of sampling at step i = 0, 1, .. of training, 1 less Bengio et al.'s of the truth:
 * linear, max(least, 1 - i / steps); exponential, k^i, k < 1; inverse sigmoid, k / (k + exp(i /
 * k)), k >= 1. Within 0 and 1; of what makes no sense (steps or k out of range) 0. */
WF_API double wf_sampling_linear(int64_t i, int64_t steps, double least);
WF_API double wf_sampling_exponential(int64_t i, double k);
WF_API double wf_sampling_inverse_sigmoid(int64_t i, double k);

WF_END

#endif
