/* Losses of sequences that do not end together: what is not there is not read, and counts nothing
 * in what a mean divides by. */
#ifndef WEFT_LAYERS_LOSSES_H
#define WEFT_LAYERS_LOSSES_H

#include "layers/basic.h"

WF_BEGIN

/* What becomes of the losses of single tokens (steps of a sequence that count). */
typedef enum wf_sequence_reduction {
    WF_PER_TOKEN,    /* the mean over all tokens of the batch */
    WF_PER_SEQUENCE, /* the mean over sequences, of each the mean over its tokens: long ones count
                        as short ones do, and those without a token not at all */
    WF_TOTAL,        /* the sum over all tokens */
    WF_EACH_SEQUENCE /* (B): of each sequence the sum over its tokens */
} wf_sequence_reduction;

/* All zero: the mean over tokens. */
typedef struct wf_sequence_loss_options {
    wf_sequence_reduction reduction;
    double label_smoothing; /* of cross entropy: as in wf_cross_entropy_options */
    const void *reserved[4];
} wf_sequence_loss_options;

/* In all of these lengths I32 (B), each 0..T, and mask I32, broadcasting to (T, B), not 0 where a
 * token counts, say together what is there; NULL: everything. Whatever lies elsewhere (NaN, ids
 * that are none) reaches neither loss nor derivatives, which are exactly 0 there. Over no tokens
 * at all every reduction is 0. options NULL: all zero. NULL after failing the tape. */

/* Cross entropy, in nats, of logits (T, B, C) with targets I32 (T, B): the exponential of what it
 * is per token is the perplexity. */
WF_API wf_var *wf_sequence_cross_entropy(wf_tape *t, wf_var *logits, wf_var *targets,
                                         wf_var *lengths, wf_var *mask,
                                         const wf_sequence_loss_options *options);
/* The same of what a linear layer makes of x (T, B, input), which is never stored as a whole
 * (wf_linear_cross_entropy). */
WF_API wf_var *wf_linear_sequence_cross_entropy(wf_tape *t, const wf_linear *layer, wf_var *x,
                                                wf_var *targets, wf_var *lengths, wf_var *mask,
                                                const wf_sequence_loss_options *options);
/* The squared error of x (T, B, ...) against targets of the same form; a token's is the mean over
 * what lies behind the first two axes, of nothing 0. */
WF_API wf_var *wf_sequence_mse(wf_tape *t, wf_var *x, wf_var *targets, wf_var *lengths,
                               wf_var *mask, const wf_sequence_loss_options *options);

WF_END

#endif
