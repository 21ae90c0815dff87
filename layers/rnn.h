/* Recurrent layers: any cell over time, depth and both directions, with lengths and carried
 * state. */
#ifndef WEFT_LAYERS_RNN_H
#define WEFT_LAYERS_RNN_H

#include "layers/cell.h"
#include "tensor/io.h"

WF_BEGIN

typedef struct wf_rnn wf_rnn;

typedef struct wf_rnn_options {
    int64_t input, hidden;                         /* required */
    int64_t output;                    /* width of state 0 of a cell that projects; 0: hidden */
    int64_t layers;                                /* 0: 1 */
    bool bidirectional;                /* both directions, concatenated: (T, B, 2 * output) */
    bool reverse;                      /* each sequence from its own last step to its first */
    bool no_bias;
    bool stepwise;                     /* one step after another: for comparison */
    double dropout;                    /* between layers, as PyTorch's; of one: refused */
    wf_init init_input, init_hidden;   /* of weights over the input, the state; zero: the cell's */
    const void *prototype;             /* a struct of the cell, whose plain options are copied */
    wf_init init_bias;                 /* of biases; zero: the cell's ({ WF_INIT_CONSTANT }: 0) */
    /* What the bias of the forget gate begins with, its biases added up; 0: as the others. 1 or 2
     * lets gradients pass at first (Gers et al. 2000; Jozefowicz et al. 2015). Of a GRU it is that
     * of z, which keeps. */
    double forget_bias;
    /* T_max, the longest dependence that is expected, 2 or more; 0: none. Chrono start (Tallec and
     * Ollivier 2018): b_f = log(u), u uniform in [1, T_max - 1), drawn for each unit from (seed,
     * path), and b_i = -b_f; of a GRU b_z = log(u). Not with .forget_bias. */
    double chrono;
    /* What sequences begin with, where a call does not say, is learned: initial_h_l0, initial_c_l0
     * (width), initial_h_l0_reverse ..., the same for each sequence. Not learned: zeros. */
    bool learned_initial;
    wf_init init_state; /* of these; zero: zeros */
    const void *reserved[4];
} wf_rnn_options;

/* A layer under parent; parameters are named field_l0, field_l0_reverse, field_l1 ... NULL, and
 * the tree knows why, when an option is out of range or missing. Owned by the tree. */
WF_API wf_rnn *wf_rnn_new(wf_module *parent, const char *name, const wf_cell *cell,
                          const wf_rnn_options *options);
/* ---- the built-in cells: a struct with PyTorch's names, orders and orientations, its row, and a
 * layer of it ---- */

/* Elman 1990: h = tanh(W_ih x + b_ih + W_hh h + b_hh); .relu: relu in place of tanh. */
typedef struct wf_elman_cell {
    wf_var *weight_ih, *weight_hh, *bias_ih, *bias_hh;     /* (H, I) (H, H) (H) (H) */
    bool relu;                         /* .prototype = &(wf_elman_cell){ .relu = true } */
} wf_elman_cell;
WF_API const wf_cell *wf_elman_row(void);
WF_API wf_rnn *wf_elman_new(wf_module *parent, const char *name, const wf_rnn_options *options);

/* Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000: c = f c + i g,
 * h = o tanh(c); with .output as Sak et al. 2014: h = W_hr (o tanh(c)). */
typedef struct wf_lstm_cell {
    wf_var *weight_ih, *weight_hh, *bias_ih, *bias_hh;     /* (4H, I) (4H, O) (4H) (4H): i f g o */
    wf_var *weight_hr;                                     /* (O, H), or NULL: not projected */
} wf_lstm_cell;
WF_API const wf_cell *wf_lstm_row(void);
WF_API wf_rnn *wf_lstm_new(wf_module *parent, const char *name, const wf_rnn_options *options);

/* Cho et al. 2014: h = (1 - z) n + z h. */
typedef struct wf_gru_cell {
    wf_var *weight_ih, *weight_hh, *bias_ih, *bias_hh;     /* (3H, I) (3H, H) (3H) (3H): r z n */
    /* The reset gate before the product: W_hn (r h) + b_hn, as first published (ONNX's
     * linear_before_reset = 0, Keras' reset_after = False), not r (W_hn h + b_hn). */
    bool reset_before;
} wf_gru_cell;
WF_API const wf_cell *wf_gru_row(void);
WF_API wf_rnn *wf_gru_new(wf_module *parent, const char *name, const wf_rnn_options *options);

/* The built-in cell of that name, "rnn", "lstm" or "gru"; NULL: there is none. */
WF_API const wf_cell *wf_cell_named(const char *name);

/* State that outlives a step: the truncation of backpropagation through time. Copied, never
 * borrowed: visible at once to later calls on the same tape, permanent when wf_backward commits
 * (train) or at once (eval, infer). Always finite: a sequence whose state has become NaN or
 * infinite in a call goes on from the state before it, in all layers, and one sentence is logged.
 * Not for a bidirectional or a reverse layer. Begins as zeros or, with .learned_initial, each
 * sequence as that is on the tape when its first step is read, gradient and all; NULL, and the
 * layer's tree knows why, for such a layer, a batch below 1 or without memory. Yours to free, once
 * the tapes that used it have been reset or freed. */
typedef struct wf_carry wf_carry;
WF_API wf_carry *wf_carry_new(const wf_rnn *rnn, int64_t batch);
WF_API void wf_carry_free(wf_carry *carry);
WF_API void wf_carry_reset(wf_carry *carry); /* all sequences begin anew */
/* One does: where its next text begins, between two steps of training; the others go on. False out
 * of range, and then nothing has changed. */
WF_API bool wf_carry_reset_sequence(wf_carry *carry, int64_t sequence);
/* Was it made? Else where to look for the reason. */
WF_API bool wf_carry_ok(const wf_carry *carry, wf_error *error);
/* The permanent state k of (layer, direction), (B, width), to read or write in place; NULL out
 * of range. Of several (below), the newest. Of a sequence that has not begun: zeros, and if its
 * beginning is learned, what is written there is not read. */
WF_API const wf_tensor *wf_carry_state(const wf_carry *carry, int64_t layer, int direction, int k);

/* ---- truncated backpropagation through time: BPTT(h; h') of Williams and Peng 1990, TBPTT(k1, k2)
 * of Sutskever 2013 ----
 *
 * A carry for texts read in windows of k1 = `update` steps, one wf_rnn_forward and one update each,
 * in which a loss leads back through at most k2 = `backward` steps, counted from the window's end.
 * Both are 1 or more; NULL else, and the tree knows why. Each step is new once: the loss is taken
 * of the k1 new ones alone. With steps counted from a text's start, the update of the window that
 * ends before step e begins as follows.
 *
 * k2 > k1: at step max(0, e - k2), from the state there, kept since that step was new; from there
 * to e - k1 steps are read again, with the weights of now: no loss, but the way of the gradient. x
 * holds these wf_carry_overlap steps and then the new ones, and the output is sliced to the new
 * ones before a loss. .lengths count from the first step of x. A window below k1 begins where a
 * whole one would, and ends the text: wf_carry_reset, or a wf_carry_reset_sequence of each, comes
 * next. Of a sequence whose text began within what is read again, steps before that are not read.
 * k2 <= k1: at step e - k1. States before e - k2, e - 2 k2 ... are detached: each loss leads back
 * to the last of them before it. A window below k1 is as another, by its own end.
 * k1 = k2 is wf_carry_new with windows of k1 at most: one window of the whole text is plain BPTT.
 *
 * floor(k2 / k1) states are kept (at least one), each of k2 mod k1 steps before a window's end (of
 * its end, if k2 <= k1). To read again what random layers drew before is not asked for: dropout is
 * drawn anew. One call of a tape after another is the next window, whether or not the one before
 * was committed. */
WF_API wf_carry *wf_carry_new_truncated(const wf_rnn *rnn, int64_t batch, int64_t update,
                                        int64_t backward);
/* How many steps the next x of this tape (NULL: of a tape that begins) reads again, 0 to k2 - k1:
 * fewer at a text's start. */
WF_API int64_t wf_carry_overlap(const wf_tape *t, const wf_carry *carry);

/* Adds the permanent states to a bundle, (B, width) each, or (kept, B, width) with the oldest first
 * where several are, as prefix (NULL: none) and h_l0, c_l0, h_l1 ...; with k2 > k1 also
 * "truncation", k1 and k2, and, there and with .learned_initial, "windows": how many of each
 * sequence's text are known (-1: it has ended). Their numbers are borrowed until the bundle has
 * been saved. What goes wrong is the bundle's to say. */
WF_API bool wf_carry_to_bundle(const wf_carry *carry, wf_bundle *bundle, const char *prefix);
/* Takes them from a file (`name`, in messages) again, as they are permanent from now on; f32 and
 * f64 convert. A missing state, another shape or truncation and what is not finite are one
 * sentence, and then nothing has changed. */
WF_API bool wf_carry_load_archive(wf_carry *carry, const char *name, const wf_archive *archive,
                                  const char *prefix, wf_error *error);

/* What one call may be given, and gives back. */
typedef struct wf_rnn_call {
    wf_var *lengths;                               /* (B) I32, each 0..T, any order */
    wf_carry *carry;                   /* read before, written after; not with .initial */
    /* One (layers * directions, B, width) per state, as PyTorch's h_0, c_0; NULL: zeros, or what
     * is learned. */
    wf_var *const *initial;
    wf_var **final;                    /* receives one such var per state; may be .initial */
    const void *reserved[4];
} wf_rnn_call;

/* x (T, B, input) to (T, B, directions * output); T and B may be 0. Past a sequence's end the
 * output is exactly zero, and nothing of x is read or computed; an empty sequence's final state is
 * its initial one. */
WF_API wf_var *wf_rnn_forward(wf_tape *t, const wf_rnn *rnn, wf_var *x, const wf_rnn_call *call);
/* How that runs, as text, layer by layer and direction by direction (autograd/scan.h): runs it
 * without a carry, and the tape is as it was, but for the text, which lives until its reset. NULL
 * after failing the tape. */
WF_API const char *wf_rnn_explain(wf_tape *t, const wf_rnn *rnn, wf_var *x,
                                  const wf_rnn_call *call);
/* One step of all layers, for loops that generate or decode: x (B, input) to (B, output). state[k]
 * holds (layers, B, width) before the step, in the form of .initial, and receives what is after it;
 * all NULL: as a sequence begins. NULLs after a failure. Not of a bidirectional layer; a reverse
 * one is given its last step first. */
WF_API wf_var *wf_rnn_step(wf_tape *t, const wf_rnn *rnn, wf_var *x, wf_var *state[]);
WF_API const wf_cell *wf_rnn_row(const wf_rnn *rnn); /* its cell's */
WF_API wf_module *wf_rnn_module(const wf_rnn *rnn);

WF_END

#endif
