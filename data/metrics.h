/* Numbers that say how well a model does, added up batch by batch: perplexity and accuracy. BLEU,
 * chrF and error rates of text have headers of their own. */
#ifndef WEFT_DATA_METRICS_H
#define WEFT_DATA_METRICS_H

#include "tensor/tensor.h"

WF_BEGIN

/* Perplexity: exp of the mean of -ln p over tokens. Begins as { 0 }; owns nothing. */
typedef struct wf_perplexity {
    double nats;    /* the sum of -ln p so far ... */
    double lost;    /* ... and what its rounding lost (Neumaier 1974): the order of batches and
                     * their number hardly matter */
    int64_t tokens; /* that there were */
} wf_perplexity;

/* Adds a batch: the sum of -ln p of its tokens (a mean times their number), in nats, and how many
 * tokens that are. Padding is neither. A number below 0 of tokens is taken for 0. */
WF_API void wf_perplexity_add(wf_perplexity *perplexity, double nats, int64_t tokens);
/* Nats per token, and the perplexity, which is exp of it; NaN where there was no token. */
WF_API double wf_perplexity_nats(const wf_perplexity *perplexity);
WF_API double wf_perplexity_result(const wf_perplexity *perplexity);

/* How many tokens, and whole sequences, were predicted right. Begins as { 0 }; owns nothing. */
typedef struct wf_accuracy {
    int64_t right, tokens;    /* tokens predicted right, of how many */
    int64_t whole, sequences; /* sequences all of whose tokens are right, of how many; those without
                               * tokens are none */
} wf_accuracy;

/* Adds a batch of predictions against targets, I32 of one shape: (T, B), or (B), which is one step
 * of each sequence. lengths, I32 (B), says how many steps of each sequence count; NULL: all. Any
 * strides. False and the reason, and nothing was added, when shapes or dtypes are others, or a
 * length is not within 0..T. */
WF_API bool wf_accuracy_add(wf_accuracy *accuracy, const wf_tensor *predicted,
                            const wf_tensor *target, const wf_tensor *lengths, wf_error *error);
/* The parts that are right, 0 to 1; NaN where there was nothing. */
WF_API double wf_accuracy_tokens(const wf_accuracy *accuracy);
WF_API double wf_accuracy_sequences(const wf_accuracy *accuracy);

WF_END

#endif
