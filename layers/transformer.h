/* The transformer (Vaswani et al. 2017): encoder and decoder blocks under PyTorch's names, stacks
 * of them, and the whole model that reads ids and writes ids. T is the time of what is worked on, S
 * that of a memory, B the batch, E the width, H the heads. */
#ifndef WEFT_LAYERS_TRANSFORMER_H
#define WEFT_LAYERS_TRANSFORMER_H

#include "layers/decoder.h"
#include "layers/multihead.h"

WF_BEGIN

typedef struct wf_transformer_layer_options {
    int64_t width, heads; /* E and H, which divides it; required */
    int64_t hidden;       /* between linear1 and linear2; 0: 4 E */
    bool cross;           /* attends to a memory, too: PyTorch's decoder layer */
    bool pre_norm;        /* norms before attention and feed-forward, not behind */
    bool gelu;            /* exact, in place of relu (Hendrycks and Gimpel 2016) */
    bool no_bias;         /* of products and norms */
    bool rotary;          /* wf_rotary in self attention */
    double dropout;       /* of attention weights, within feed-forward, of branches */
    double eps;           /* of norms; 0: 1e-5 */
    wf_init init;         /* linear1, linear2, out_proj; zero: PyTorch's */
    const void *reserved[4];
} wf_transformer_layer_options;

/* nn.TransformerEncoderLayer, and with .cross nn.TransformerDecoderLayer: self attention, attention
 * to the memory, feed-forward, each a branch of a residual with a norm: behind it, x = norm(x +
 * branch(x)), or before, x + branch(norm(x)) (Xiong et al. 2020). A language model's block is one
 * without .cross, called with .causal. */
typedef struct wf_transformer_layer {
    wf_module *module;
    wf_multihead *self_attn, *multihead_attn;   /* the latter NULL without .cross */
    wf_linear *linear1, *linear2;               /* (hidden, E) and (E, hidden) */
    wf_layer_norm_layer *norm1, *norm2, *norm3; /* in the order of the branches */
    int64_t width;
    double dropout;
    bool pre_norm, gelu;
} wf_transformer_layer;
WF_API wf_transformer_layer *wf_transformer_layer_new(wf_module *parent, const char *name,
                                                      const wf_transformer_layer_options *options);

/* What one call may be given; masks as those of wf_multihead_call. */
typedef struct wf_transformer_call {
    wf_var *lengths; /* I32 (B), 0..T: past the end nothing is read */
    wf_var *mask;    /* of self attention, broadcasting to (B, H, T, T) */
    bool causal;
    wf_var *memory_lengths; /* I32 (B), 0..S */
    wf_var *memory_mask;    /* broadcasting to (B, H, T, S) */
    bool heads_apart;
    wf_var **weights; /* receives the (last) layer's weights: of the memory, (B, T,
                                        * S), or without one of x itself; see wf_multihead_call */
    const void *reserved[4];
} wf_transformer_call;

/* x (T, B, E) and, with .cross, memory (S, B, E), else NULL, to (T, B, E). With .lengths what comes
 * out past a sequence's end is exactly zero, and nothing of x there is read; nor of the memory past
 * its. */
WF_API wf_var *wf_transformer_layer_forward(wf_tape *t, const wf_transformer_layer *layer,
                                            wf_var *x, wf_var *memory,
                                            const wf_transformer_call *call);

typedef struct wf_transformer_stack_options {
    wf_transformer_layer_options layer;
    int64_t layers; /* required */
    int final_norm; /* behind the last layer: 1; none: -1; 0: with .pre_norm */
    const void *reserved[4];
} wf_transformer_stack_options;
/* nn.TransformerEncoder, with .cross nn.TransformerDecoder: layers.0, layers.1 ... and norm. */
typedef struct wf_transformer_stack {
    wf_module *module;
    wf_transformer_layer **layer; /* `layers` of them */
    wf_layer_norm_layer *norm;    /* or NULL */
    int64_t layers, width, heads;
    bool cross;
} wf_transformer_stack;
WF_API wf_transformer_stack *wf_transformer_stack_new(wf_module *parent, const char *name,
                                                      const wf_transformer_stack_options *options);
WF_API wf_var *wf_transformer_stack_forward(wf_tape *t, const wf_transformer_stack *stack,
                                            wf_var *x, wf_var *memory,
                                            const wf_transformer_call *call);

/* For generation: the memory as each layer attends to it, kept[layer] (B, 2, H, S, E / H),
 * projected once; and the next T steps x (T, B, E) of a sequence that grows, which attend to
 * themselves and to all before. state[layer] holds what wf_multihead_append keeps of the steps
 * before, NULL: none, and receives it of all; kept is NULL without .cross. Of the call
 * .memory_lengths, .memory_mask and .weights are heeded. One call after another give what one
 * causal forward gives. False, and NULLs, after failing the tape. */
WF_API bool wf_transformer_stack_memory(wf_tape *t, const wf_transformer_stack *stack,
                                        wf_var *memory, wf_var *lengths, wf_var *kept[]);
WF_API wf_var *wf_transformer_stack_append(wf_tape *t, const wf_transformer_stack *stack, wf_var *x,
                                           wf_var *state[], wf_var *const kept[],
                                           const wf_transformer_call *call);

/* ---- the model ---- */

typedef enum wf_positions {
    WF_POSITIONS_SINUSOIDAL = 0, /* wf_sinusoidal, added to the embeddings */
    WF_POSITIONS_LEARNED,        /* a table of .longest rows for each side */
    WF_POSITIONS_ROTARY,         /* wf_rotary in self attention */
    WF_POSITIONS_NONE
} wf_positions;

typedef struct wf_transformer_options {
    int64_t source, target; /* how many ids each side has; required */
    /* Of both sides; .init zero: Glorot and Bengio 2010, as nn.Transformer's; .cross and .rotary
     * are not looked at (the decoder's; .positions); .dropout is that of embeddings, too. */
    wf_transformer_layer_options layer;
    int64_t encoder_layers, decoder_layers; /* 0: 6 */
    int final_norm;                         /* of both sides, as in wf_transformer_stack_options */
    wf_positions positions;
    int64_t longest;    /* of learned positions; required with them */
    bool one_embedding; /* source and target share it, and have as many ids */
    bool tie_output;    /* to the target's embedding (Press and Wolf 2017) */
    const void *reserved[4];
} wf_transformer_options;

/* Embeddings, which begin as normal with deviation 1 / sqrt(E) and are multiplied by sqrt(E)
 * (section 3.4), plus positions; encoder; decoder; output, E to target. */
typedef struct wf_transformer {
    wf_module *module;
    wf_embedding *source, *target;                     /* one and the same with .one_embedding */
    wf_embedding *source_positions, *target_positions; /* learned ones, or NULL */
    wf_transformer_stack *encoder, *decoder;
    wf_linear *output; /* for wf_linear_cross_entropy, say */
    wf_positions positions;
    double dropout;
} wf_transformer;
WF_API wf_transformer *wf_transformer_new(wf_module *parent, const char *name,
                                          const wf_transformer_options *options);
/* Source ids I32 (S, B), of lengths (B) or NULL, to the memory (S, B, E). */
WF_API wf_var *wf_transformer_encode(wf_tape *t, const wf_transformer *model, wf_var *source,
                                     wf_var *lengths);
/* Training: of source (S, B) and the words so far, target (T, B), what tells the next word at every
 * step at once, (T, B, E), for wf_linear_cross_entropy with model->output. The call's lengths are
 * the target's, its memory_lengths the source's; the decoder is causal anyway. */
WF_API wf_var *wf_transformer_forward(wf_tape *t, const wf_transformer *model, wf_var *source,
                                      wf_var *target, const wf_transformer_call *call);
/* Generation: reads the sources, (S, B) with lengths or NULL, and makes a decoder of them, which
 * keeps keys and values (states) and the projected memory; weights are those of the last layer,
 * the mean over heads. False after failing the tape: at most 15 layers can be kept. */
WF_API bool wf_transformer_decoder(wf_tape *t, const wf_transformer *model, wf_var *source,
                                   wf_var *lengths, wf_decoder *decoder);

WF_END

#endif
