/* A traced step becomes values: parts of what it is given, of products, tiles and calls; and which
 * of them have a gradient, and are read on the way back. */
#include "autograd/ops_private.h"
#include "autograd/plan_parts_private.h"

#include <string.h>

bool same_view(const wf_tensor *a, const wf_tensor *b)
{
    bool same = a->data == b->data && a->dtype == b->dtype && a->rank == b->rank;
    for (int k = 0; same && k < a->rank; k++)
        same = a->dim[k] == b->dim[k] && a->stride[k] == b->stride[k];
    return same;
}

/* ---- values ---- */

static int32_t value_add(plan *p, value_kind kind, wf_dtype dtype, int64_t width)
{
    value *v = PLAN_ADD(p, value, LIST_VALUE);
    if (!v) return -1;
    const place nowhere = { -1, INDEX_STILL, 0 };
    *v = (value){ .kind = kind,
                  .dtype = dtype,
                  .width = width,
                  .source = -1,
                  .term = -1,
                  .bias = -1,
                  .last = -1,
                  .state = -1,
                  .y = -1,
                  .stage = -1,
                  .sum = -1,
                  .at = nowhere,
                  .slope = nowhere,
                  .biased = nowhere };
    return p->n[LIST_VALUE] - 1;
}

static bool arg_add(plan *p, int32_t v)
{
    int32_t *at = v >= 0 ? PLAN_ADD(p, arg, LIST_ARG) : NULL;
    if (at) *at = v;
    return at != NULL;
}

/* Columns of a constant, repeated to a row of the inner sizes. */
static int32_t row_value(plan *p, const given *g, wf_shape inner, int64_t column, int64_t width)
{
    int32_t i = 0;
    closed of = g->closed;
    while (of.form.rank > inner.rank) { /* leading axes are of size 1 */
        of.form.rank--;
        memmove(of.form.dim, of.form.dim + 1, sizeof of.form.dim - sizeof of.form.dim[0]);
        memmove(of.form.stride, of.form.stride + 1,
                sizeof of.form.stride - sizeof of.form.stride[0]);
    }
    for (; i < p->n[LIST_ROW]; i++) {
        const constant_row *r = &p->of_row[i];
        if (r->of.constant == of.constant && wf_shape_equal(&r->inner, &inner) &&
            same_view(&r->of.form, &of.form))
            break;
    }
    if (i == p->n[LIST_ROW]) {
        constant_row *r = PLAN_ADD(p, of_row, LIST_ROW);
        if (!r) return -1;
        *r = (constant_row){ .of = of, .inner = inner, .width = 1, .sum = -1 };
        for (int k = 0; k < inner.rank; k++) r->width *= inner.dim[k];
        r->buffer = -1;
    }
    const int32_t v = value_add(p, VALUE_ROW, g->closed.form.dtype, width);
    if (v < 0) return -1;
    p->value[v].source = i;
    p->value[v].column = column;
    return v;
}

/* What a tile reads of its input: columns at.. of the op's output. */
static int32_t tile_input(plan *p, const step_node *s, const given *g, int64_t at, int64_t width)
{
    if (g->rows) return part_at(&p->trunk[g->trunk], g->from + at);
    if (!g->sliced) {
        wf_shape inner = wf_tensor_shape(&s->node->out->value);
        memmove(inner.dim, inner.dim + 1, sizeof inner.dim - sizeof inner.dim[0]);
        inner.rank--;
        return row_value(p, g, inner, at, width);
    }
    const int32_t v = value_add(p, VALUE_ROWS, g->closed.form.dtype, width);
    if (v < 0) return -1;
    p->value[v].source = g->closed.constant;
    const int32_t b = plan_buffer(p, SPACE_INPUT, input_of_constant(p, g->closed.constant),
                                  g->closed.form.dtype, g->closed.form.stride[0]);
    if (b < 0) return -1;
    p->buffer[b].offset = (int64_t)((uintptr_t)g->closed.form.data -
                                    (uintptr_t)p->constant[g->closed.constant].root->value.data);
    p->value[v].at = (place){ b, INDEX_STILL, at };
    return v;
}

static bool tile_parts(plan *p, const step_node *s)
{
    trunk *out = &p->trunk[s->trunk];
    const node *n = s->node;
    for (int i = 0; i + 1 < out->cuts; i++) {
        const int64_t at = out->cut[i], width = out->cut[i + 1] - at;
        int32_t args[3];
        for (int k = 0; k < n->n_in; k++)
            if ((args[k] = tile_input(p, s, &s->in[k], at, width)) < 0) return false;
        const int32_t first = p->n[LIST_ARG];
        for (int k = 0; k < n->n_in; k++)
            if (!arg_add(p, args[k])) return false;
        const int32_t v = out->part[i] = value_add(p, VALUE_TILE, n->out->value.dtype, width);
        if (v < 0) return false;
        value *x = &p->value[v];
        x->arg = first;
        x->args = n->n_in;
        x->op = n->op;
        x->number = n->op->attr_size ? *(const double *)n->attr : 0;
    }
    return true;
}

static bool bias_add(plan *p, int32_t v, const given *g, int64_t at)
{
    const int32_t row = row_value(p, g, WF_SHAPE(g->closed.form.dim[0]), at, p->value[v].width);
    bias *b = row >= 0 ? PLAN_ADD(p, bias, LIST_BIAS) : NULL;
    if (!b) return false;
    *b = (bias){ p->value[row].source, p->value[v].bias, at };
    p->value[v].bias = p->n[LIST_BIAS] - 1;
    p->value[row].dead = true; /* read as a bias */
    return true;
}

static bool product_parts(plan *p, const step_node *s)
{
    trunk *out = &p->trunk[s->trunk];
    const node *n = s->node;
    const given *x = &s->in[0], *w = &s->in[n->op->product.weight];
    const given *b = n->op->product.bias ? &s->in[n->op->product.bias] : NULL;
    const trunk *in = &p->trunk[x->trunk];
    closed weight = w->closed;
    if (!n->op->product.transposed) wf_view_transpose(&w->closed.form, 0, 1, &weight.form);
    for (int i = 0; i + 1 < out->cuts; i++) {
        const int64_t at = out->cut[i], width = out->cut[i + 1] - at;
        const int32_t v = out->part[i] = value_add(p, VALUE_PRODUCT, n->out->value.dtype, width);
        if (v < 0) return false;
        p->value[v].source = (int32_t)(s - p->node);
        p->value[v].column = at;
        for (int k = in->cuts - 1; k-- > 0;) { /* the first term first in the list */
            if (in->cut[k] < x->from || in->cut[k] >= x->from + x->width) continue;
            term *m = PLAN_ADD(p, term, LIST_TERM);
            if (!m) return false;
            *m = (term){ .value = in->part[k],
                         .weight = weight,
                         .next = p->value[v].term,
                         .row = at,
                         .column = in->cut[k] - x->from };
            p->value[v].term = p->n[LIST_TERM] - 1;
        }
        if (b && b->there && !bias_add(p, v, b, at)) return false;
    }
    return true;
}

static bool name_parts(plan *p, const step_node *s)
{
    trunk *out = &p->trunk[s->trunk];
    int i = 0;
    int64_t begin = 0;
    for (int k = 0; k < s->node->n_in; k++) {
        const given *g = &s->in[k];
        for (; out->cut[i] < begin + g->width; i++)
            out->part[i] = part_at(&p->trunk[g->trunk], g->from + out->cut[i] - begin);
        begin += g->width;
    }
    return true;
}

/* Columns from..from + width of a root as one value: a part, or its parts side by side. */
static int32_t whole_value(plan *p, const trunk *r, int64_t from, int64_t width)
{
    int first = 0, last;
    while (r->cut[first] != from) first++;
    for (last = first; r->cut[last] != from + width; last++) continue;
    if (last == first + 1) return r->part[first];
    const int32_t arg = p->n[LIST_ARG];
    for (int i = first; i < last; i++)
        if (!arg_add(p, r->part[i])) return -1;
    const int32_t v = value_add(p, VALUE_COPY, r->root->value.dtype, width);
    if (v < 0) return -1;
    p->value[v].arg = arg;
    p->value[v].args = last - first;
    return v;
}

static bool call_input(plan *p, const step_node *s, int i, operand *to)
{
    const given *g = &s->in[i];
    *to = (operand){ .value = -1, .given = g->there, .rows = g->rows || g->sliced };
    if (!g->there) return true;
    if (!g->rows) {
        to->closed = g->closed;
        return true;
    }
    const trunk *r = &p->trunk[g->trunk];
    to->form = g->form;
    to->offset = g->run ? 0 : g->from;
    if (!p->infer && wf_tensor_overlaps_itself(&to->form))
        return plan_refuse(p, "%s reads a view that overlaps itself", s->node->op->name);
    to->value = g->run ? whole_value(p, r, g->from, g->width) : whole_value(p, r, 0, r->width);
    return to->value >= 0;
}

/* The gradients of two inputs are never the same memory: what comes again is copied. */
static bool call_inputs_apart(plan *p, const step_node *s, operand in[])
{
    for (int i = 1; i < s->node->n_in; i++)
        for (int k = 0; k < i; k++) {
            if (!in[i].given || !in[k].given) continue;
            if (in[i].value < 0 && in[k].value < 0 &&
                in[i].closed.constant == in[k].closed.constant &&
                p->constant[in[i].closed.constant].wants)
                return plan_refuse(p, "%s takes one constant twice", s->node->op->name);
            if (in[i].value < 0 || in[i].value != in[k].value) continue;
            const int32_t arg = p->n[LIST_ARG], of = in[i].value;
            const int32_t copy = value_add(p, VALUE_COPY, p->value[of].dtype, p->value[of].width);
            if (copy < 0 || !arg_add(p, of)) return false;
            p->value[copy].arg = arg;
            p->value[copy].args = 1;
            in[i].value = copy;
        }
    return true;
}

static bool call_parts(plan *p, const step_node *s)
{
    const node *n = s->node;
    operand *in = wf_tape_memory(p->t, (size_t)n->n_in * sizeof *in);
    if (!in) return false;
    for (int i = 0; i < n->n_in; i++)
        if (!call_input(p, s, i, &in[i])) return false;
    if (!call_inputs_apart(p, s, in)) return false;
    call *c = PLAN_ADD(p, call, LIST_CALL);
    if (!c) return false;
    *c = (call){ .node = n, .in = in, .stage = -1, .draw = s->draw, .whole = s->whole };
    c->number = (int32_t)(s - p->node);
    for (int k = 0; k < n->op->outputs; k++) {
        trunk *out = &p->trunk[s->trunk + k];
        c->value[k] = p->n[LIST_VALUE];
        c->values[k] = out->cuts - 1;
        for (int i = 0; i + 1 < out->cuts; i++) {
            const int32_t v = out->part[i] = value_add(p, VALUE_CALL, n->out[k].value.dtype,
                                                       out->cut[i + 1] - out->cut[i]);
            if (v < 0) return false;
            p->value[v].source = p->n[LIST_CALL] - 1;
            p->value[v].output = k;
            p->value[v].column = out->cut[i];
        }
    }
    return true;
}

static bool make_values(plan *p)
{
    for (int32_t i = 0; i < p->n[LIST_TRUNK]; i++) {
        trunk *r = &p->trunk[i];
        if (r->kind != VALUE_SEQUENCE && r->kind != VALUE_STATE) continue;
        for (int k = 0; k + 1 < r->cuts; k++) {
            const int32_t v = r->part[k] = value_add(p, r->kind, r->root->value.dtype,
                                                     r->cut[k + 1] - r->cut[k]);
            if (v < 0) return false;
            p->value[v].source = r->source;
            p->value[v].column = r->cut[k];
        }
    }
    bool ok = true;
    for (int64_t i = 0; ok && i < p->nodes; i++) {
        const step_node *s = &p->node[i];
        if (s->kind == NODE_NAME) ok = name_parts(p, s);
        if (s->kind == NODE_TILE) ok = tile_parts(p, s);
        if (s->kind == NODE_PRODUCT) ok = product_parts(p, s);
        if (s->kind == NODE_CALL) ok = call_parts(p, s);
    }
    return ok;
}

/* ---- what the step leaves ---- */

/* Binds a value to columns of a state or an output, through a copy if it has a place already. */
static bool bind(plan *p, int32_t v, int32_t state, int32_t y, int64_t column)
{
    value *x = &p->value[v];
    if (x->kind != VALUE_TILE || x->state >= 0 || x->y >= 0) {
        const int32_t arg = p->n[LIST_ARG], copy = value_add(p, VALUE_COPY, x->dtype, x->width);
        if (copy < 0 || !arg_add(p, v)) return false;
        x = &p->value[copy];
        x->arg = arg;
        x->args = 1;
    }
    x->state = state;
    x->y = y;
    x->bound = column;
    return true;
}

static bool leave(plan *p, wf_var *left, int32_t state, int32_t y)
{
    given g;
    if (!plan_given(p, left, &g)) return false;
    if (!g.rows) {
        if (!p->full || g.inner.rank != left->value.rank - 1)
            return plan_refuse(p, "the step leaves a constant");
        const int32_t v = g.width > 0 ? value_add(p, VALUE_ROWS, left->value.dtype, g.width) : -1;
        const int32_t b = v >= 0
                              ? plan_buffer(p, SPACE_INPUT, input_of_constant(p, g.closed.constant),
                                            left->value.dtype, g.closed.form.stride[0])
                              : -1;
        if (b < 0 || !g.run) return plan_refuse(p, "the step leaves a constant");
        p->buffer[b].offset = (int64_t)((uintptr_t)g.closed.form.data -
                                        (uintptr_t)p->constant[g.closed.constant].root->value.data);
        p->value[v].source = g.closed.constant;
        p->value[v].at = (place){ b, INDEX_STILL, 0 };
        return bind(p, v, state, y, 0);
    }
    const trunk *r = &p->trunk[g.trunk];
    for (int i = 0; i + 1 < r->cuts; i++)
        if (r->cut[i] >= g.from && r->cut[i] < g.from + g.width &&
            !bind(p, r->part[i], state, y, r->cut[i] - g.from))
            return false;
    return true;
}

static bool leave_all(plan *p)
{
    const traced_step *step = p->step;
    for (int k = 0; k < p->s->states; k++)
        if (!leave(p, step->next[k], k, -1)) return false;
    for (int j = 0; j < p->s->outputs; j++) {
        p->y_state[j] = -1;
        for (int k = p->s->states; k-- > 0;)
            if (step->y[j]->root == step->next[k]->root &&
                same_view(&step->y[j]->value, &step->next[k]->value))
                p->y_state[j] = k;
        if (p->y_state[j] < 0 && !leave(p, step->y[j], -1, j)) return false;
    }
    for (int k = 0; k < p->s->states; k++) {
        p->ring[k] = p->infer;
        for (int j = 0; j < p->s->outputs; j++) p->ring[k] &= p->y_state[j] != k;
    }
    return true;
}

/* ---- uses, and sums of products ---- */

static void use(plan *p, int32_t v, int32_t by)
{
    p->value[v].uses++;
    p->value[v].last = by;
}

static void count_uses(plan *p)
{
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) p->value[i].uses = 0;
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        const value *v = &p->value[i];
        if (v->dead) continue;
        for (int k = 0; k < v->args; k++) use(p, p->arg[v->arg + k], i);
        for (int32_t m = v->term; m >= 0; m = p->term[m].next) use(p, p->term[m].value, i);
    }
    for (int32_t c = 0; c < p->n[LIST_CALL]; c++)
        for (int k = 0; k < p->call[c].node->n_in; k++)
            if (p->call[c].in[k].value >= 0) use(p, p->call[c].in[k].value, p->call[c].value[0]);
}

/* A sum of two products, or of a product and a constant row, that nobody else reads is one. */
static bool merge_sums(plan *p)
{
    const wf_op *add = plan_pointwise(POINTWISE_add);
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        value *v = &p->value[i];
        if (v->kind != VALUE_TILE || v->op != add || v->state >= 0 || v->y >= 0) continue;
        value *a = &p->value[p->arg[v->arg]], *b = &p->value[p->arg[v->arg + 1]];
        if (a->kind == VALUE_ROW) {
            value *swap = a;
            a = b;
            b = swap;
        }
        if (a == b || a->kind != VALUE_PRODUCT || a->uses != 1 || b->uses != 1 || a->state >= 0)
            continue;
        if (b->kind == VALUE_ROW && b->dtype == a->dtype) {
            bias *more = PLAN_ADD(p, bias, LIST_BIAS);
            if (!more) return false;
            *more = (bias){ b->source, -1, b->column };
            b->bias = p->n[LIST_BIAS] - 1;
        } else if (b->kind != VALUE_PRODUCT) {
            continue;
        }
        int32_t *tail = &a->term;
        while (*tail >= 0) tail = &p->term[*tail].next;
        *tail = b->term;
        for (tail = &a->bias; *tail >= 0; tail = &p->bias[*tail].next) continue;
        *tail = b->bias;
        v->kind = VALUE_PRODUCT;
        v->args = 0;
        v->term = a->term;
        v->bias = a->bias;
        v->source = a->source;
        v->column = a->column;
        a->dead = b->dead = true;
        a->term = a->bias = b->term = b->bias = -1;
    }
    count_uses(p);
    return true;
}

/* ---- gradients that are wanted ---- */

static bool row_wants(const plan *p, int32_t row)
{
    const constant_row *r = &p->of_row[row];
    return r->of.form.dtype != WF_I32 && p->constant[r->of.constant].wants;
}

/* Does a derivative lead from the value to its argument k? */
bool plan_leads(const plan *p, const value *v, int k)
{
    return p->value[p->arg[v->arg + k]].wants &&
           (v->kind == VALUE_COPY || v->op->pointwise[wf_isa_level()].gradient[k][v->dtype]);
}

/* Is an input of floats another at each step? */
static bool has_steps(const call *c)
{
    for (int i = 0; i < c->node->n_in; i++)
        if (c->in[i].value >= 0 && c->in[i].rows && c->node->in[i]->value.dtype != WF_I32)
            return true;
    return false;
}

/* Is input k a constant with rows of its own, larger than what each step makes of it? Its gradient
 * is then one call over all steps, not a sum of one for each, where time is one more of the op's
 * leading axes. */
static bool is_over_time(const call *c, int k)
{
    const wf_tensor *made = &c->node->out->value, *of = &c->in[k].closed.form;
    return c->node->op->flags & WF_OP_LEADING && has_steps(c) && c->in[k].rows &&
           made->rank < WF_RANK && of->rank < WF_RANK &&
           wf_tensor_count(made) < wf_tensor_count(of);
}

static bool call_wants(plan *p, call *c)
{
    for (int k = 0; k < c->node->n_in; k++) {
        const operand *x = &c->in[k];
        const bool fixed = x->given && x->value < 0 && x->closed.form.dtype != WF_I32 &&
                           p->constant[x->closed.constant].wants;
        c->wants |= fixed || (x->value >= 0 && p->value[x->value].wants);
        c->over_time |= fixed && is_over_time(c, k);
        c->shared |= fixed && (!x->rows || c->over_time);
    }
    return c->wants;
}

static bool wants(plan *p, value *v)
{
    if (v->dtype == WF_I32) return false;
    bool any = false;
    switch (v->kind) {
    case VALUE_SEQUENCE: return !p->infer && (p->sequence[v->source]->flags & VAR_WANTS_GRAD) != 0;
    case VALUE_STATE: return p->state_wants[v->source];
    case VALUE_ROW: return row_wants(p, v->source);
    case VALUE_ROWS: return p->constant[v->source].wants;
    case VALUE_CALL: return call_wants(p, &p->call[v->source]);
    case VALUE_PRODUCT:
        for (int32_t m = v->term; m >= 0; m = p->term[m].next)
            any |= p->value[p->term[m].value].wants ||
                   p->constant[p->term[m].weight.constant].wants;
        for (int32_t b = v->bias; b >= 0; b = p->bias[b].next) any |= row_wants(p, p->bias[b].row);
        return any;
    default:
        for (int k = 0; k < v->args; k++) any |= plan_leads(p, v, k);
        return any;
    }
}

static void find_wants(plan *p)
{
    for (int k = 0; k < p->s->states; k++)
        p->state_wants[k] = !p->infer && (p->s->state[k]->flags & VAR_WANTS_GRAD) &&
                            p->s->state[k]->value.dtype != WF_I32;
    for (bool changed = true; changed;) {
        changed = false;
        for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
            value *v = &p->value[i];
            v->wants = !p->infer && wants(p, v);
            if (v->wants && v->state >= 0 && !p->state_wants[v->state])
                changed = p->state_wants[v->state] = true;
        }
    }
}

static void save(plan *p, int32_t v)
{
    p->value[v].saved = true;
}

/* Marks what the way back reads. */
static void find_saved(plan *p)
{
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        value *v = &p->value[i];
        if (v->dead || !v->wants) continue;
        for (int32_t m = v->term; m >= 0; m = p->term[m].next)
            if (p->constant[p->term[m].weight.constant].wants) save(p, p->term[m].value);
        if (v->kind != VALUE_TILE) continue;
        v->saved |= v->op->reads_out != 0;
        for (int k = 0; k < v->args; k++)
            if (v->op->reads_in >> k & 1) save(p, p->arg[v->arg + k]);
    }
    for (int32_t i = 0; i < p->n[LIST_CALL]; i++) {
        const call *c = &p->call[i];
        if (!c->wants) continue;
        for (int k = 0; k < c->node->n_in; k++)
            if (c->in[k].value >= 0 && c->node->op->reads_in >> k & 1) save(p, c->in[k].value);
    }
}

bool plan_values(plan *p)
{
    if (!plan_parts(p) || !make_values(p) || !leave_all(p)) return false;
    count_uses(p);
    if (!merge_sums(p)) return false;
    find_wants(p);
    find_saved(p);
    return true;
}
