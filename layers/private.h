/* What the files of layers/ know of each other and nobody else sees. Not installed. */
#ifndef WEFT_LAYERS_PRIVATE_H
#define WEFT_LAYERS_PRIVATE_H

#include "autograd/op.h"
#include "layers/rnn.h"

/* ---- what every layer says alike (basic.c) ---- */

/* A size that must be given: 1 or more, else the tree fails with "kind 'name': .field is 0; it
 * must be 1 or more". */
bool layer_size(wf_module *parent, const char *kind, const char *name, const char *field,
                int64_t size);
/* A probability: "kind 'name': .field is 2; it must be 0 or more and below 1" otherwise. */
bool layer_chance(wf_module *parent, const char *kind, const char *name, const char *field,
                  double p);
/* x as it is on this tape, to be asked for before anything of x is read. NULL when the tape has
 * failed (quietly), and after failing it when the layer or x was never made or x is none of its
 * vars. */
wf_var *layer_enter(wf_tape *t, const char *kind, const wf_module *module, wf_var *x,
                    const char *x_name);
/* Is x of the weights' dtype? Fails the tape otherwise. */
bool layer_dtype(wf_tape *t, const char *kind, const wf_module *module, const wf_var *x,
                 wf_var *weight);

/* What parameters begin with: as asked for, or, where all of that is zero, as usual. */
static inline wf_init layer_init(wf_init asked, wf_init usual)
{
    bool zero = asked.kind == WF_INIT_ZERO && asked.a == 0 && asked.b == 0 && asked.rows == 0;
    return zero ? usual : asked;
}

/* ---- what attention is given (multihead.c) ---- */

/* Whose call it is, for messages. */
typedef struct layer_caller {
    const char *kind;
    const wf_module *module; /* NULL: the layer was never made */
    wf_var *weight;          /* one of its weights */
} layer_caller;

/* A sequence (time, batch, width) in the weights' dtype, on this tape; batch below 0: any. NULL
 * after failing it. */
wf_var *sequence_enter(wf_tape *t, const layer_caller *c, wf_var *x, const char *what,
                       int64_t batch, int64_t width);
/* A mask on this tape, I32 and broadcasting to a form. NULL after failing it. */
wf_var *mask_enter(wf_tape *t, const layer_caller *c, wf_var *mask, const char *what,
                   wf_shape form);
/* Masks are not 0 where something takes part; NULL hides nothing. Where both are not 0: */
wf_var *mask_both(wf_tape *t, wf_var *a, wf_var *b);
/* x (.., width) where there is something, by all axes but the last, else 0: so that nothing of what
 * is hidden, nor 0 times it, is in a product or in the gradient of a weight. */
wf_var *mask_clear(wf_tape *t, wf_var *x, wf_var *there);
/* The same steps as keys: (S, B) as (B, 1, 1, S), which broadcasts to scores. */
wf_var *mask_of_keys(wf_tape *t, wf_var *there);

/* ---- cells over time (cells.c, rnn.c, steps.c) ---- */

/* The built-in cells, from 0; NULL past the last. */
const wf_cell *cell_at(int i);

/* A cell's size, linear in the three widths, worked out. */
int64_t cell_size(int64_t size, int64_t input, int64_t hidden, int64_t output);
/* How many states a row lists, 0 to WF_CELL_STATES. */
int cell_states(const wf_cell *cell);
/* One direction of one layer as a loop over its steps, planned unless `plain`: the meaning of every
 * sequence of a cell's own. False after failing the tape. */
bool cell_steps(wf_tape *t, const wf_cell *cell, const void *self, bool plain, wf_sequence *s);

/* ---- where the biases of gates begin (gates.c) ---- */

typedef struct gate_sizes {
    int64_t input, hidden, output;
} gate_sizes;

/* Do a cell's gates name rows that it has? Can the options be had from them? False after failing
 * the tree. */
bool gates_are_sound(wf_module *parent, const char *who, const wf_cell *cell);
bool gate_options_are_sound(wf_module *parent, const char *name, const wf_cell *cell,
                            const wf_rnn_options *o);
/* Writes what .forget_bias or .chrono asks for into the parameters of a cell's struct. */
bool gates_begin(wf_module *module, const wf_cell *cell, const char *self, const gate_sizes *sizes,
                 const wf_rnn_options *o);

/* What a carry must know of a layer. */
typedef struct rnn_form {
    int64_t layers, width[WF_CELL_STATES];
    int directions, states;
    bool reverse, learned; /* learned: what sequences begin with */
} rnn_form;
rnn_form rnn_form_of(const wf_rnn *rnn);

/* ---- carried state (carry.c) ---- */

/* The steps of one call, counted from the first of x. */
typedef struct carry_window {
    int64_t time;    /* how many there are */
    int64_t overlap; /* how many of them, from the first, are read again */
    int64_t keep;    /* the state after so many is kept */
    int64_t cut;     /* states are detached so many before the end, twice so many ...; 0: none */
    bool ends;       /* the text */
} carry_window;

/* Is it a carry of this layer, for as many sequences and steps as x (T, B, input) has? Fails the
 * tape otherwise. */
bool carry_fits(wf_tape *t, const wf_carry *carry, const wf_rnn *rnn, const wf_var *x,
                carry_window *window);
/* State k of a layer to begin with, (B, width): what is carried has no history; a sequence that
 * begins does so as in `first`, (B, width), unless that is NULL. NULL after failing the tape. */
wf_var *carry_read(wf_tape *t, const wf_carry *carry, int64_t layer, int k, wf_dtype dtype,
                   wf_var *first);
/* How many sequences begin with the next call on this tape. */
int64_t carry_beginners(const wf_tape *t, const wf_carry *carry);
/* Where the piece that begins at a step ends: at the next one before which something is kept or
 * detached or a sequence's text begins, or at the end of x. */
int64_t carry_next(const wf_tape *t, const wf_carry *carry, const carry_window *window, int64_t at);
/* How much each sequence has of that piece: *lengths, of the whole call, becomes (B) of the piece,
 * or stays NULL where all have all of it. False after failing the tape. */
bool carry_lengths(wf_tape *t, const wf_carry *carry, const carry_window *window, int64_t from,
                   int64_t to, wf_var **lengths);
/* Remembers layers * states vars, in this order; begun: those that the call began with. A sequence
 * of which nothing was read (lengths, or NULL) has not begun. False after failing the tape. */
bool carry_write(wf_tape *t, wf_carry *carry, const carry_window *window, const wf_var *lengths,
                 wf_var *const begun[], wf_var *const state[]);

#endif
