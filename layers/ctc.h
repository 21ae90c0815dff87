/* What a network trained with wf_ctc_loss says: the best path, or the most probable labellings by
 * prefix beam search; and where in time it says a target that is known. */
#ifndef WEFT_LAYERS_CTC_H
#define WEFT_LAYERS_CTC_H

#include "autograd/ops.h"

WF_BEGIN

typedef struct wf_ctc_decode_options {
    int32_t blank;
    /* 0: the best path (Graves et al. 2006), the likeliest class of each frame, with repeats merged
     * and blanks dropped. Else prefix beam search (Hannun et al. 2014, without a language model):
     * after each frame so many prefixes go on. Wide enough, it is exact. */
    int64_t beam;
    int64_t best; /* how many labellings of each sequence; 0: 1; no more than the beam */
    const void *reserved[4];
} wf_ctc_decode_options;

/* A labelling, and the logarithm of its probability: of the best path that of the path alone, of
 * the beam that of all paths that were followed. */
typedef struct wf_ctc_labelling {
    const int32_t *at; /* n ids */
    int64_t n;         /* -1: there are not so many */
    double log_p;
} wf_ctc_labelling;

/* The labellings of a batch, those of sequence b from at[b * best] on, the likeliest first. Begins
 * as { 0 }; its memory is its own, kept from one call to the next, given back by
 * wf_ctc_decoded_free. */
typedef struct wf_ctc_decoded {
    int64_t batch, best;
    wf_ctc_labelling *at;
    void *memory;
    int64_t bytes;
} wf_ctc_decoded;

/* Fills decoded from logits or log-probabilities (T, B, C) and lengths I32 (B) or NULL; what lies
 * past a sequence's end is not read. NULL options are all zero. False and the reason, and decoded
 * as it was, when they do not fit, a logit is NaN or inf, or there is no memory. */
WF_API bool wf_ctc_decode(wf_ctc_decoded *decoded, const wf_tensor *logits,
                          const wf_tensor *lengths, const wf_ctc_decode_options *options,
                          wf_error *error);
WF_API void wf_ctc_decoded_free(wf_ctc_decoded *decoded);

/* Forced alignment: of all paths that are read as the target the likeliest (Viterbi), the class of
 * each frame, I32 (T, B). Everything as it is given to wf_ctc_loss; of the options .blank counts.
 * Unless NULL, *log_p receives the log-probability of each frame's class, (T, B), and *score their
 * sums, (B). Past a sequence's end, and of a target that no path fits (score -inf), classes are -1
 * and log_p 0. Constants on the tape, in any mode; of several paths that are as likely it is one.
 * NULL after failing the tape. */
WF_API wf_var *wf_ctc_align(wf_tape *t, wf_var *logits, wf_var *targets, wf_var *input_lengths,
                            wf_var *target_lengths, const wf_ctc_options *options, wf_var **log_p,
                            wf_var **score);

WF_END

#endif
