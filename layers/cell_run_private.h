/* A recurrent layer run as a whole: its outputs, and every gradient under given cotangents, as
 * doubles, so that laws can be stated over them: by wf_cell_check, and by the tests. Not
 * installed. */
#ifndef WEFT_LAYERS_CELL_RUN_PRIVATE_H
#define WEFT_LAYERS_CELL_RUN_PRIVATE_H

#include "layers/private.h"

/* Memory that is let go together. */
typedef struct cell_memory {
    struct cell_memory *next;
} cell_memory;
/* Zeroed memory of at least one byte, or NULL. */
void *cell_take(cell_memory **memory, int64_t items, size_t size);
void cell_let_go(cell_memory **memory);

/* A way to run the layer of a case other than by one wf_rnn_forward: x to y, with what such a call
 * is given and gives back. NULL after failing the tape. */
typedef struct cell_case cell_case;
typedef wf_var *cell_way(wf_tape *t, const cell_case *c, wf_var *x, const wf_rnn_call *call);

/* What a layer is run on. Initial states and cotangents of final ones are (layers * directions,
 * batch, width); no initial[0]: those of the carry, or zeros; no cotangent: absent. */
struct cell_case {
    const wf_rnn *rnn;
    wf_carry *carry;
    cell_way *way;
    int64_t time, batch, input, stacked; /* stacked: layers * directions */
    int states;
    int64_t width[WF_CELL_STATES];
    const int32_t *lengths;
    const double *x, *initial[WF_CELL_STATES], *gy, *gfinal[WF_CELL_STATES];
};

/* What came out: y, the final states, and gradients, those of all parameters one behind the
 * other. */
typedef struct cell_result {
    const wf_module *module; /* whose parameters these are the gradients of */
    wf_shape form_y, form_x, form_state[WF_CELL_STATES];
    int64_t n_y, n_x, n_state[WF_CELL_STATES], n_params;
    double *y, *final[WF_CELL_STATES], *dx, *dinitial[WF_CELL_STATES], *dparams;
} cell_result;

/* A leaf or a constant of any float dtype, from doubles. */
wf_var *cell_var(wf_tape *t, wf_dtype dtype, bool leaf, wf_shape shape, const double *values);
/* Its elements, NULL without memory. */
double *cell_doubles(cell_memory **memory, const wf_var *v);
/* Runs the layer, of at most CELL_PARAMS parameters, on this tape, which says why where that
 * fails. */
enum { CELL_PARAMS = 64 };
bool cell_run(wf_tape *t, const cell_case *c, cell_memory **memory, cell_result *o);

/* wf_cell_check of so many layers of the cell on each other, with biases or without. */
wf_report cell_check_layer(const wf_cell *cell, const wf_cell_check_options *options,
                           int64_t layers, bool no_bias);

#endif
