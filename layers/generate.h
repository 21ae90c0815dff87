/* Generation by any decoder (layers/decoder.h): greedy, by drawing, and by beam search. */
#ifndef WEFT_LAYERS_GENERATE_H
#define WEFT_LAYERS_GENERATE_H

#include "layers/decoder.h"

WF_BEGIN

/* Told each token as it is made; false: that is enough, and the sequence is cut off there. */
typedef bool wf_token_told(void *context, int64_t sequence, int32_t id, double log_prob);

/* What log P is divided by, for a hypothesis of n tokens, its end counted. */
typedef enum wf_length_penalty {
    WF_LENGTH_GNMT = 0, /* ((5 + n) / 6)^length_alpha, Wu et al. 2016 */
    WF_LENGTH_POWER     /* n^length_alpha */
} wf_length_penalty;

/* How B sequences are generated; all zero: greedily, the id 0 being both begin and end. One of
 * max_length and max_ratio must be given. What is forbidden (end before min_length, .banned, an
 * n-gram for a second time, a logit of -inf) is not chosen; the probabilities that are told are the
 * model's own all the same: of a softmax over all logits. Where nothing is allowed to follow, a
 * hypothesis is cut off. */
typedef struct wf_generate_options {
    int32_t begin;         /* the word before the first token */
    int32_t end;           /* the token that ends a sequence; -1: none does */
    wf_var *first;         /* I32 (B): a begin for each sequence; NULL: begin */
    wf_var *lengths;       /* I32 (B): of the sources; for max_ratio and coverage */
    int64_t max_length;    /* at most max_length + max_ratio * lengths[b] tokens, */
    double max_ratio;      /* cut off to whole ones; the end is one of them */
    int64_t min_length;    /* as many tokens must come before the end */
    int64_t no_repeat;     /* n-grams of so many tokens come once only; 0: as they do */
    const int32_t *banned; /* ids that are never chosen: padding, say */
    int64_t n_banned;
    int64_t best; /* hypotheses of each sequence; 0: 1 */

    /* Drawing (0: the likeliest is taken, or beams are searched): from softmax(logits /
     * temperature) of the top_k likeliest (0: of all), and of these of the fewest whose
     * probabilities come to top_p or more (0: of all; Holtzman et al. 2020), which need a
     * temperature. .best hypotheses are independent draws, in their order. */
    double temperature; /* 0, or 1e-6 to 1e6 */
    int64_t top_k;
    double top_p; /* 0 to 1 */
    /* Draws depend on seed, on the sequence's number (numbered + its place), the hypothesis and the
     * token's place alone: neither on the batch's other rows nor on threads. 0: a seed of the
     * tape's, another at each call (wf_tape_key). */
    uint64_t seed;
    int64_t numbered;

    /* Beam search. Each step goes on from the `beams` likeliest hypotheses of a sequence, by log P.
     * One that ends keeps its place, so that fewer go on (with .refill others take it). A sequence
     * is done when `beams` have ended, or none goes on, or none that does could still come among
     * the best. Those that ended come before those cut off, each ordered by score:
     *     log P / length penalty + coverage_beta sum over s of log min(sum of weights[s], 1)
     * (Wu et al. 2016), s being positions of the source and the inner sum over the tokens, at
     * least 1e-10. Beams of 1 are greedy. */
    int64_t beams; /* 0: 1 */
    bool refill;
    wf_length_penalty length_penalty;
    double length_alpha; /* 0: no penalty */
    double coverage_beta;

    bool weights;        /* keep those of attention */
    wf_token_told *told; /* of one hypothesis alone; may be NULL */
    void *context;       /* handed to told */
    const void *reserved[4];
} wf_generate_options;

typedef struct wf_hypothesis {
    const int32_t *ids;      /* n of them, the end included where it has ended */
    const double *log_probs; /* of each */
    int64_t n;
    bool ended;             /* else cut off */
    double log_prob, score; /* the sum; what it was ordered by */
    wf_tensor weights;      /* (n, S), where asked for */
} wf_hypothesis;

/* What was generated: hypothesis k of sequence b is at[b * best + k], or one of no tokens and a
 * score of -inf where a search found no more. Begins as { 0 }; its memory is kept from one call to
 * the next, and grows when more is produced than ever before. */
typedef struct wf_generated {
    int64_t sequences, best;
    const wf_hypothesis *at;
    int64_t steps, rows;        /* steps that were run, and rows in all of them */
    struct wf_generation *work; /* its own: given back by wf_generated_free */
    const void *reserved[4];
} wf_generated;

/* Runs the decoder from its initial states until all sequences are done. Rows that are done leave:
 * later steps have fewer. How many sequences there are (B, which may be 0) is told by initial
 * states, memory or .first; where there is none of these it is one. The steps run in the tape's
 * mode (WF_INFER is cheapest; in train mode dropout is on), take no more memory for more steps, and
 * leave nothing on the tape. False, and `to` empty, after failing the tape: for a logit that is NaN
 * or inf, for one, with step and row. */
WF_API bool wf_generate(wf_tape *t, const wf_decoder *decoder, const wf_generate_options *options,
                        wf_generated *to);
WF_API void wf_generated_free(wf_generated *g);

WF_END

#endif
