/* A linear-chain conditional random field on top of a tagger (Lafferty et al. 2001; as in Lample et
 * al. 2016): its loss, its best tag sequences and its marginals. */
#ifndef WEFT_LAYERS_CRF_H
#define WEFT_LAYERS_CRF_H

#include "autograd/module.h"
#include "autograd/ops.h"

WF_BEGIN

typedef struct wf_crf_options {
    int64_t tags; /* required */
    wf_init init; /* zero: pytorch-crf's, uniform +-0.1 */
    const void *reserved[4];
} wf_crf_options;
/* Fields to read; a transition that must not be is set to -inf. Named as pytorch-crf has them. */
typedef struct wf_crf {
    wf_module *module;
    wf_var *start_transitions, *end_transitions; /* (tags) each */
    wf_var *transitions;                         /* (tags, tags): from, to */
} wf_crf;
WF_API wf_crf *wf_crf_new(wf_module *parent, const char *name, const wf_crf_options *options);

/* Minus the log-likelihood of tags I32 (T, B) given emissions (T, B, tags), by wf_crf_loss: the
 * mean over sequences, or what options say. Lengths I32 (B), each 0..T, or NULL. */
WF_API wf_var *wf_crf_forward(wf_tape *t, const wf_crf *layer, wf_var *emissions, wf_var *tags,
                              wf_var *lengths, const wf_crf_loss_options *options);
/* The best tag sequences (Viterbi), I32 (T, B), 0 past a sequence's end, and unless score is NULL
 * their scores in *score, (B): 0 of no steps, -inf where no tag sequence is allowed. Of several
 * that are as good it is one. Constants on the tape, in any mode. NULL after failing it. */
WF_API wf_var *wf_crf_decode(wf_tape *t, const wf_crf *layer, wf_var *emissions, wf_var *lengths,
                             wf_var **score);
/* The probability of each tag at each step, (T, B, tags), 0 past a sequence's end and where no tag
 * sequence is allowed: values without a history. */
WF_API wf_var *wf_crf_marginals(wf_tape *t, const wf_crf *layer, wf_var *emissions,
                                wf_var *lengths);

WF_END

#endif
