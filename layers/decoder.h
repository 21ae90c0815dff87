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

WF_END

#endif
