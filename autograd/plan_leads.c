/* What a planned loop's outputs are made of: which values of a step lead to them, and through those
 * which inputs of the node. */
#include "autograd/ops_private.h"
#include "autograd/plan_private.h"
#include "autograd/sweep_private.h"

#include <string.h>

bool plan_alive(const plan *p, uint32_t arrived, const bool carried[], bool before[], bool alive[])
{
    bool more = false;
    for (int32_t i = p->n[LIST_VALUE]; i-- > 0;) { /* what a value reads stands before it */
        const value *v = &p->value[i];
        if (v->state >= 0) alive[i] |= carried[v->state] || arrived >> v->state & 1;
        if (v->y >= 0) alive[i] |= arrived >> p->y_output[v->y] & 1;
        alive[i] &= v->wants; /* no gradient goes through ids */
        if (!alive[i]) continue;
        if (v->kind == VALUE_STATE && !before[v->source]) more = before[v->source] = true;
        for (int k = 0; k < v->args; k++)
            if (plan_leads(p, v, k)) alive[p->arg[v->arg + k]] = true;
        for (int32_t m = v->term; m >= 0; m = p->term[m].next) alive[p->term[m].value] = true;
        const call *c = v->kind == VALUE_CALL ? &p->call[v->source] : NULL;
        for (int k = 0; c && k < c->node->n_in; k++)
            if (c->in[k].value >= 0) alive[c->in[k].value] = true;
    }
    return more;
}

/* ---- inputs ---- */

static uint64_t input(int32_t i)
{
    return UINT64_C(1) << (i < 63 ? i : 63);
}

static uint64_t constant_input(const plan *p, int32_t i)
{
    return input(input_of_constant(p, i));
}

/* What a value itself is made of, beside others. */
static uint64_t inputs_of(const plan *p, const value *v)
{
    uint64_t made_of = 0;
    if (v->kind == VALUE_SEQUENCE) made_of |= input(v->source);
    if (v->kind == VALUE_STATE) made_of |= input(input_of_state(p, v->source));
    if (v->kind == VALUE_ROW) made_of |= constant_input(p, p->of_row[v->source].of.constant);
    if (v->kind == VALUE_ROWS) made_of |= constant_input(p, v->source);
    for (int32_t m = v->term; m >= 0; m = p->term[m].next)
        made_of |= constant_input(p, p->term[m].weight.constant);
    for (int32_t b = v->bias; b >= 0; b = p->bias[b].next)
        made_of |= constant_input(p, p->of_row[p->bias[b].row].of.constant);
    const call *c = v->kind == VALUE_CALL ? &p->call[v->source] : NULL;
    for (int k = 0; c && k < c->node->n_in; k++)
        if (c->in[k].given && c->in[k].value < 0)
            made_of |= constant_input(p, c->in[k].closed.constant);
    return made_of;
}

bool plan_inputs(plan *p)
{
    const int32_t values = p->n[LIST_VALUE];
    const bool passes = p->s->plan.length[p->s->batch - 1] == 0; /* a state as it came */
    bool *alive = wf_tape_memory(p->t, (size_t)values + 1);
    if (!alive) return false;
    for (int o = 0; o < p->row.outputs; o++) {
        bool carried[WF_SCAN_VARS] = { false };
        memset(alive, 0, (size_t)values);
        while (plan_alive(p, UINT32_C(1) << o, carried, carried, alive)) continue;
        p->made_of[o] = o < p->s->states && passes ? input(input_of_state(p, o)) : 0;
        for (int32_t i = 0; i < values; i++)
            if (alive[i]) p->made_of[o] |= inputs_of(p, &p->value[i]);
    }
    return true;
}

uint64_t loop_inputs(const wf_op *op, int output)
{
    return ((const plan *)(const void *)op)->made_of[output];
}
