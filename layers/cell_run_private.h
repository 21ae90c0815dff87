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

/* What a layer is run on. Initial states and cotangents of final ones are (layers * directions,
 * batch, width); no initial[0]: zeros; no cotangent: absent. */
typedef struct cell_case {
    const wf_rnn *rnn;
    int64_t time, batch, input, stacked; /* stacked: layers * directions */
    int states;
    int64_t width[WF_CELL_STATES];
    const int32_t *lengths;
    const double *x, *initial[WF_CELL_STATES], *gy, *gfinal[WF_CELL_STATES];
} cell_case;

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

#endif
