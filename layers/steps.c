/* A cell over time: the loop of its steps, which is the meaning of a sequence of its own. */
#include "autograd/scan.h"
#include "layers/private.h"
#include "tensor/text.h"

/* One step of a cell, as a loop calls it. */
typedef struct stepper {
    const wf_cell *cell;
    const void *self;
} stepper;

static void step(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    const stepper *s = context;
    s->cell->step(t, s->self, x[0], state);
    y[0] = state[0];
}

bool cell_steps(wf_tape *t, const wf_cell *cell, const void *self, bool plain, wf_sequence *s)
{
    const int states = cell_states(cell);
    struct loop {
        stepper context;
        const char *state[WF_CELL_STATES];
        char name[128];
    } *n = wf_tape_memory(t, sizeof *n);
    if (!n) return false;
    n->context = (stepper){ cell, self };
    for (int k = 0; k < states; k++) n->state[k] = cell->states[k].name;
    wf_format(n->name, sizeof n->name, "cell '%s'", cell->name);
    return wf_scan(t,
                   &(wf_scan_call){ .step = step,
                                    .context = &n->context,
                                    .sequences = WF_VARS(s->x),
                                    .initial = { states, s->state },
                                    .outputs = 1,
                                    .lengths = s->lengths,
                                    .reverse = s->reverse,
                                    .plain = plain,
                                    .name = n->name,
                                    .state_names = n->state },
                   &s->output, s->state);
}
