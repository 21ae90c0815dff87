/* Sequence to sequence: an encoder and a decoder of any cell, with attention of any kind or none
 * (Sutskever, Vinyals and Le 2014; Cho et al. 2014; Bahdanau, Cho and Bengio 2015; Luong, Pham and
 * Manning 2015). S is the source's time, T the target's, B the batch. */
#ifndef WEFT_LAYERS_SEQ2SEQ_H
#define WEFT_LAYERS_SEQ2SEQ_H

#include "layers/attention.h"
#include "layers/basic.h"
#include "layers/decoder.h"
#include "layers/rnn.h"

WF_BEGIN

/* What the decoder's states begin as, layer by layer and state by state. */
typedef enum wf_bridge {
    WF_BRIDGE_DENSE = 0, /* tanh(W f + b), f the encoder's last state, of both directions */
    WF_BRIDGE_MEAN,      /* the same of the mean of the top layer's outputs, Sennrich et al. 2017 */
    WF_BRIDGE_COPY,      /* f itself, whose width must be the decoder's */
    WF_BRIDGE_ZERO
} wf_bridge;

typedef struct wf_seq2seq_options {
    int64_t source, target;    /* words of the two vocabularies; required */
    int64_t embedding, hidden; /* widths of embeddings, of the decoder's state; required */
    int64_t encoder_hidden;    /* of each of the encoder's directions; 0: hidden */
    int64_t layers;            /* of encoder and decoder; 0: 1 */
    bool bidirectional;        /* the encoder */
    const wf_cell *cell;       /* of both; NULL: GRU */
    const void *prototype;     /* a struct of the cell, whose plain options are copied */
    bool no_attention;         /* and .fixed_context: then every step sees the encoder's last */
    bool fixed_context;        /* state of the top layer (Cho et al. 2014) */
    wf_attention_options attention; /* .query and .memory are filled in */
    /* Luong's order: the cell first, then the look by its new state. A step's readout is what the
     * next one's cell is told besides its word (input feeding) unless .no_feeding. Otherwise the
     * look comes first, by the state before, and the cell is told what was seen. */
    bool attend_after, no_feeding;
    wf_bridge bridge;
    int64_t readout; /* width that logits are made of; 0: embedding */
    bool tied;       /* the target's embedding is the output's weight, too; the */
                     /* readout is then as wide */
    bool shared;     /* one embedding for source and target, of one vocabulary */
    double dropout;  /* of embeddings, between layers, and of the readout */
    const void *reserved[8];
} wf_seq2seq_options;

/* Fields to read; what the options leave out is NULL. */
typedef struct wf_seq2seq {
    wf_module *module;
    wf_embedding *source, *target; /* one and the same if shared */
    wf_rnn *encoder, *decoder;
    wf_attention *attention;
    wf_linear *bridge[WF_DECODER_VARS]; /* layer by layer, state by state */
    wf_linear *readout;                 /* tanh of it is what logits are made of */
    wf_var *weight, *bias;              /* of the logits: (target, readout), (target) */
    wf_seq2seq_options options;         /* with the defaults filled in */
} wf_seq2seq;

/* A model under parent. NULL, and the tree knows why, when an option is out of range or missing.
 * Owned by the tree. */
WF_API wf_seq2seq *wf_seq2seq_new(wf_module *parent, const char *name,
                                  const wf_seq2seq_options *options);

/* Reads source I32 (S, B), with lengths I32 (B) or NULL, and makes *decoder one that writes what
 * comes of it: for wf_decode, whose features are what wf_seq2seq_logits takes, and for wf_generate.
 * It is the tape's, until its reset. What lies behind a sentence's end is never read; an empty
 * source leaves the initial states of nothing and has nothing to look at. False after failing the
 * tape. */
WF_API bool wf_seq2seq_decoder(wf_tape *t, const wf_seq2seq *model, wf_var *source, wf_var *lengths,
                               wf_decoder *decoder);
/* Logits (..., target) of features. */
WF_API wf_var *wf_seq2seq_logits(wf_tape *t, const wf_seq2seq *model, wf_var *features);
/* The loss of a batch: cross entropy of the words I32 (T, B) that follow each step (of `after`,
 * those of WF_PARALLEL's batches) where the decoder is told `call`'s, in nats; the logits are never
 * held as a whole. options NULL: the mean over all. */
WF_API wf_var *wf_seq2seq_loss(wf_tape *t, const wf_seq2seq *model, wf_var *source, wf_var *lengths,
                               const wf_decode_call *call, wf_var *after,
                               const wf_cross_entropy_options *options);

WF_END

#endif
