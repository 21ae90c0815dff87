/* Layers without time: linear, embedding, dropout, layer normalisation. Each belongs to the tree of
 * its parent; NULL, and the tree knows why (wf_module_ok), when an option is out of range or
 * missing. */
#ifndef WEFT_LAYERS_BASIC_H
#define WEFT_LAYERS_BASIC_H

#include "autograd/module.h"
#include "autograd/ops.h"

WF_BEGIN

typedef struct wf_linear_options {
    int64_t input, output;                         /* required */
    bool no_bias;
    wf_init init;                      /* weight; zero: PyTorch's, uniform +-1 / sqrt(input) */
    wf_init init_bias;                 /* zero: the same */
    const void *reserved[4];
} wf_linear_options;
/* y = x W^T + b over the last axis. Fields to read (weight tying: pass them to ops). */
typedef struct wf_linear {
    wf_module *module;
    wf_var *weight, *bias;                         /* (output, input), (output) or NULL */
} wf_linear;
WF_API wf_linear *wf_linear_new(wf_module *parent, const char *name,
                                const wf_linear_options *options);
/* (..., input) to (..., output) */
WF_API wf_var *wf_linear_forward(wf_tape *t, const wf_linear *layer, wf_var *x);
/* The loss of a classifier whose last layer this is: cross entropy of its output with target, ids
 * (...) I32 on the tape, in nats, as one op that never holds the output as a whole
 * (wf_affine_cross_entropy); options NULL: the mean. x (..., input). Faster than the two, and for
 * many classes the memory of a step less; whoever wants the output too takes wf_linear_forward. */
WF_API wf_var *wf_linear_cross_entropy(wf_tape *t, const wf_linear *layer, wf_var *x,
                                       wf_var *target, const wf_cross_entropy_options *options);

/* A vector for each id: a table whose rows are looked up. */
typedef struct wf_embedding_options {
    int64_t input, output;                         /* how many ids, how wide a row; required */
    wf_init init;                                  /* zero: standard normal, PyTorch's */
    const void *reserved[4];
} wf_embedding_options;
typedef struct wf_embedding {
    wf_module *module;
    wf_var *weight;                                /* (input, output) */
} wf_embedding;
WF_API wf_embedding *wf_embedding_new(wf_module *parent, const char *name,
                                      const wf_embedding_options *options);
/* ids (...) I32 to rows (..., output). Ids from outside are brought in by wf_constant_tensor. */
WF_API wf_var *wf_embedding_forward(wf_tape *t, const wf_embedding *layer, wf_var *ids);

/* Srivastava et al. 2014: in train mode each number is 0 with probability p, 0 <= p < 1, and else
 * divided by 1 - p; in the others x is handed through. */
typedef struct wf_dropout_options { double p; const void *reserved[4]; } wf_dropout_options;
typedef struct wf_dropout_layer { wf_module *module; double p; } wf_dropout_layer;
WF_API wf_dropout_layer *wf_dropout_new(wf_module *parent, const char *name,
                                        const wf_dropout_options *options);
WF_API wf_var *wf_dropout_forward(wf_tape *t, const wf_dropout_layer *layer, wf_var *x);

typedef struct wf_layer_norm_options {
    int64_t input; /* size of the last axis; required */
    double eps;    /* 0: 1e-5, PyTorch's */
    bool no_bias;
    bool no_weight; /* nor a bias: nothing is learned */
    const void *reserved[4];
} wf_layer_norm_options;
/* wf_layer_norm (Ba et al. 2016) with a learned scale and shift, which begin as ones and zeros. */
typedef struct wf_layer_norm_layer {
    wf_module *module;
    wf_var *weight, *bias; /* (input) each, or NULL */
    int64_t input;
    double eps;
} wf_layer_norm_layer;
WF_API wf_layer_norm_layer *wf_layer_norm_new(wf_module *parent, const char *name,
                                              const wf_layer_norm_options *options);
/* (..., input) to (..., input) */
WF_API wf_var *wf_layer_norm_forward(wf_tape *t, const wf_layer_norm_layer *layer, wf_var *x);

WF_END

#endif
