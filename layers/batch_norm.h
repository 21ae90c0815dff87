/* Batch normalisation as a layer: by the batch while it trains, by running statistics later. */
#ifndef WEFT_LAYERS_BATCH_NORM_H
#define WEFT_LAYERS_BATCH_NORM_H

#include "autograd/module.h"
#include "autograd/ops.h"

WF_BEGIN

typedef struct wf_batch_norm_options {
    int64_t features;           /* channels: the size of axis 1; required */
    double eps;                 /* 0: 1e-5 */
    double momentum;            /* what a batch counts in the running statistics; 0: 0.1 */
    bool cumulative;            /* they are the mean over all batches (PyTorch's momentum None) */
    bool no_affine;             /* neither weight nor bias */
    bool no_running_statistics; /* the batch's in every mode */
    const void *reserved[4];
} wf_batch_norm_options;

/* wf_batch_norm (Ioffe and Szegedy 2015) with a learned scale and shift, which begin as ones and
 * zeros. In train mode by the statistics of the batch, and when wf_backward commits the running
 * ones (buffers, PyTorch's names) move: r = (1 - momentum) r + momentum * the batch's, its variance
 * divided by count - 1. A failed step and a rehearsal leave them as they were, and so does, for its
 * channel, a mean or variance that is not finite or of fewer than two elements. In eval and infer
 * mode x is normalised by the running statistics. (Fine-tuning that holds them still: set the mode
 * to eval around the call; weight and bias learn all the same.) */
typedef struct wf_batch_norm_layer {
    wf_module *module;
    wf_var *weight, *bias;                                    /* (features) each, or NULL */
    wf_var *running_mean, *running_var, *num_batches_tracked; /* (C), (C), () I32; or NULL */
    int64_t features;
    double eps, momentum;
    bool cumulative;
} wf_batch_norm_layer;
WF_API wf_batch_norm_layer *wf_batch_norm_new(wf_module *parent, const char *name,
                                              const wf_batch_norm_options *options);

/* What of x counts. The rest is not looked at, gets 0, and so does its derivative. */
typedef struct wf_batch_norm_call {
    wf_var *lengths; /* (N) I32, each 0..L, of x (N, C, L) */
    wf_var *mask;    /* I32, broadcasting to x: not 0 where an element counts */
    const void *reserved[4];
} wf_batch_norm_call;
/* x (N, C), (N, C, L), (N, C, H, W) ... to the same, in any strides: a sequence (T, B, C) is
 * normalised as wf_permute(t, x, WF_AXES(1, 2, 0)), and turned back by (2, 0, 1). call may be NULL:
 * everything counts. */
WF_API wf_var *wf_batch_norm_forward(wf_tape *t, const wf_batch_norm_layer *layer, wf_var *x,
                                     const wf_batch_norm_call *call);

WF_END

#endif
