/* Where the biases of a cell's gates begin: a constant that keeps, or the chrono start, by what the
 * cell's row says of them. */
#include "layers/private.h"
#include "tensor/rng.h"

#include <math.h>
#include <string.h>

static const wf_cell_param *bias_of(const wf_cell *cell, const wf_cell_gate *g)
{
    for (const wf_cell_param *p = cell->params; p && p->name; p++)
        if (!strcmp(p->name, g->name)) return p;
    return NULL;
}

bool gates_are_sound(wf_module *parent, const char *who, const wf_cell *cell)
{
    for (const wf_cell_gate *g = cell->gates; g && g->name; g++) {
        const wf_cell_param *p = bias_of(cell, g);
        if (!p)
            return wf_module_fail(parent, "%s: a gate is said to be of %s, and there is none", who,
                                  g->name);
        if (p->size[1])
            return wf_module_fail(parent,
                                  "%s: a gate is said to be of %s, which is no bias: it "
                                  "has two sizes or more",
                                  who, g->name);
        if (g->gate != WF_GATE_FORGET && g->gate != WF_GATE_INPUT)
            return wf_module_fail(parent, "%s: %s has a gate of no kind there is: %d", who, g->name,
                                  (int)g->gate);
    }
    return true;
}

static const wf_cell_gate *first_gate(const wf_cell *cell, int32_t gate)
{
    for (const wf_cell_gate *g = cell->gates; g && g->name; g++)
        if (g->gate == gate) return g;
    return NULL;
}

bool gate_options_are_sound(wf_module *parent, const char *name, const wf_cell *cell,
                            const wf_rnn_options *o)
{
    if (o->forget_bias == 0 && o->chrono == 0) return true;
    const char *option = o->chrono != 0 ? "chrono" : "forget_bias";
    const double value = o->chrono != 0 ? o->chrono : o->forget_bias;
    if (o->forget_bias != 0 && o->chrono != 0)
        return wf_module_fail(parent,
                              "rnn '%s': .forget_bias and .chrono are both given; a bias "
                              "begins in one way",
                              name);
    if (!isfinite(value) || (o->chrono != 0 && o->chrono < 2))
        return wf_module_fail(parent, "rnn '%s': .%s is %g; it must be %s", name, option, value,
                              o->chrono != 0 ? "2 or more and finite, or 0" : "finite");
    const wf_cell_gate *g = first_gate(cell, WF_GATE_FORGET);
    if (!g)
        return wf_module_fail(parent, "rnn '%s': .%s is %g; cell '%s' has no forget gate", name,
                              option, value, cell->name);
    if (o->no_bias && bias_of(cell, g)->optional == WF_CELL_BIAS)
        return wf_module_fail(parent, "rnn '%s': .%s is %g and there is no bias", name, option,
                              value);
    return true;
}

/* What the bias of unit j begins with. */
static double begins_with(const wf_rnn_options *o, int32_t gate, uint64_t key, int64_t j)
{
    if (o->chrono == 0) return o->forget_bias;
    const double b = log(1 + (o->chrono - 2) * wf_random_uniform(key, (uint64_t)j));
    return gate == WF_GATE_FORGET ? b : -b;
}

bool gates_begin(wf_module *module, const wf_cell *cell, const char *self, const gate_sizes *sizes,
                 const wf_rnn_options *o)
{
    uint64_t key = 0; /* both gates draw by the path of the first one's bias: b_i = -b_f */
    if (o->forget_bias == 0 && o->chrono == 0) return true;
    for (const wf_cell_gate *g = cell->gates; g && g->name; g++) {
        if (g->gate == WF_GATE_INPUT && o->chrono == 0) continue;
        const int64_t first = cell_size(g->first, sizes->input, sizes->hidden, sizes->output),
                      rows = cell_size(g->rows, sizes->input, sizes->hidden, sizes->output);
        wf_var *bias;
        memcpy(&bias, self + bias_of(cell, g)->offset, sizeof bias);
        if (!bias) continue; /* it was left out */
        const wf_tensor *x = wf_param_value(bias);
        if (first < 0 || rows < 0 || first > x->dim[0] || rows > x->dim[0] - first)
            return wf_module_fail(module,
                                  "rnn: cell '%s': rows %lld to %lld of %s are said to be a gate; "
                                  "it has %lld",
                                  cell->name, (long long)first, (long long)(first + rows), g->name,
                                  (long long)x->dim[0]);
        const bool leads = g == first_gate(cell, g->gate);
        if (g == first_gate(cell, WF_GATE_FORGET)) key = wf_key_named(wf_param_key(bias), "chrono");
        for (int64_t j = 0; j < rows; j++)
            wf_dtype_describe(x->dtype)->store(x->data, first + j,
                                               leads ? begins_with(o, g->gate, key, j) : 0);
        wf_param_changed(bias);
    }
    return true;
}
