/* The way back through a step: where the gradient of each value lies, and the tile programs and
 * products that make it. The first contribution is written, the others are added. */
#include "autograd/ops_private.h"
#include "autograd/plan_private.h"

#include <string.h>

typedef struct back {
    plan *p;
    int32_t free_tiles, *free; /* buffers of a tile */
    int32_t *holders;          /* by buffer of a tile: whose gradient it is */
} back;

/* ---- where gradients lie ---- */

static bool is_tile(const plan *p, place where)
{
    return where.buffer >= 0 && p->buffer[where.buffer].space == SPACE_TILE;
}

static bool take_tile(back *b, wf_dtype dtype, place *to)
{
    plan *p = b->p;
    const int32_t number = b->free_tiles > 0 ? b->free[--b->free_tiles] : p->tiles++;
    const int32_t made = plan_buffer(p, SPACE_TILE, number, dtype, 0);
    *to = (place){ made, INDEX_STILL, 0 };
    b->holders[number] = 1;
    return made >= 0;
}

static void hold(back *b, place where)
{
    if (is_tile(b->p, where)) b->holders[b->p->buffer[where.buffer].number]++;
}

static void drop(back *b, place where)
{
    if (!is_tile(b->p, where)) return;
    const int32_t number = b->p->buffer[where.buffer].number;
    if (--b->holders[number] == 0) b->free[b->free_tiles++] = number;
}

static bool group_slope(plan *p, value *v)
{
    int32_t *g = &p->group_slope[v->source];
    const buffer like = p->buffer[p->group[v->source]];
    if (*g < 0) *g = plan_buffer(p, SPACE_SLOPES, 0, like.dtype, like.width);
    v->slope = (place){ *g, INDEX_SLOPES, v->at.column };
    return *g >= 0;
}

static bool call_slope(plan *p, value *v)
{
    call *c = &p->call[v->source];
    const buffer like = p->buffer[c->buffer[v->output]];
    int32_t *g = &c->slope[v->output];
    if (*g < 0)
        *g = plan_buffer(p, c->shared ? SPACE_SLOPES : SPACE_STEP_SLOPES, 0, like.dtype,
                         like.width);
    v->slope = (place){ *g, c->shared ? INDEX_SLOPES : INDEX_STILL, v->column };
    return *g >= 0;
}

static bool input_slope(plan *p, value *v)
{
    const buffer of = p->buffer[v->at.buffer];
    const int32_t g = plan_buffer(p, SPACE_INPUT_SLOPE, of.number, of.dtype, of.width);
    if (g < 0) return false;
    p->buffer[g].offset = of.offset;
    v->slope = (place){ g, v->at.index, v->at.column };
    v->arrived = true; /* there is something to add to */
    return true;
}

/* Is the gradient of argument k the value's own? */
static bool passes(const value *v, int k)
{
    if (v->kind == VALUE_COPY) return true;
    return v->op == plan_pointwise(POINTWISE_add) ||
           (v->op == plan_pointwise(POINTWISE_sub) && k == 0) ||
           v->op == plan_pointwise(POINTWISE_add_scalar) ||
           v->op == plan_pointwise(POINTWISE_sub_scalar);
}

/* A product's place, where the value's gradient is that of the product. */
static bool slope_of_product(plan *p, value *v)
{
    for (int k = 0; k < v->args && v->kind == VALUE_TILE; k++) {
        value *x = &p->value[p->arg[v->arg + k]];
        if (!passes(v, k) || x->kind != VALUE_PRODUCT || x->contributions != 1 || !x->wants)
            continue;
        if (x->slope.buffer < 0 && !group_slope(p, x)) return false;
        v->slope = x->slope;
        return true;
    }
    return false;
}

static bool slope_for(back *b, value *v)
{
    plan *p = b->p;
    if (v->slope.buffer >= 0) return true;
    if (v->state >= 0) { /* what the step after left is there */
        v->slope = (place){ p->carry[v->state], INDEX_NOW, v->bound };
        return v->arrived = true;
    }
    switch (v->kind) {
    case VALUE_SEQUENCE:
    case VALUE_ROWS: return input_slope(p, v);
    case VALUE_STATE: v->slope = (place){ p->carry[v->source], INDEX_PAST, v->column }; return true;
    case VALUE_PRODUCT: return group_slope(p, v);
    case VALUE_CALL: return call_slope(p, v);
    default: break;
    }
    if (v->y < 0 && slope_of_product(p, v)) return true;
    if (!v->across) return take_tile(b, v->dtype, &v->slope);
    const int32_t made = plan_buffer(p, SPACE_STEP_SLOPES, 0, v->dtype, v->width);
    v->slope = (place){ made, INDEX_STILL, 0 };
    return made >= 0;
}

/* ---- contributions ---- */

static wf_tile_fn *gradient_of(const wf_op *op, int k, wf_dtype dtype)
{
    return op->pointwise[wf_isa_level()].gradient[k][dtype];
}

static place shifted(place where, int64_t columns)
{
    where.column += columns;
    return where;
}

static int32_t number_of(const plan *p, const value *v)
{
    return (int32_t)(v - p->value);
}

/* x's gradient = from, v's own, or += where something has arrived. */
static bool order_pass(plan *p, const value *v, place from, const value *x, bool add)
{
    order *o = plan_order(p, ORDER_TILE, x->width);
    if (!o) return false;
    o->fn = gradient_of(plan_pointwise(POINTWISE_add), 0, x->dtype);
    o->add = add;
    o->from = number_of(p, v);
    o->to = number_of(p, x);
    order_at(o, WF_AT_GOUT, from);
    order_at(o, WF_AT_GIN, x->slope);
    return true;
}

/* into: whose gradient lies there; -1: nobody's. */
static bool order_gradient(plan *p, const value *v, int k, place to, int32_t into, bool add)
{
    order *o = plan_order(p, ORDER_TILE, v->width);
    if (!o) return false;
    o->from = number_of(p, v);
    o->to = into;
    o->fn = gradient_of(v->op, k, v->dtype);
    o->number = v->number;
    o->add = add;
    for (int i = 0; i < v->args; i++)
        if (v->op->reads_in >> i & 1) order_at(o, i, p->value[p->arg[v->arg + i]].at);
    if (v->op->reads_out) order_at(o, WF_AT_OUT, v->at);
    order_at(o, WF_AT_GOUT, v->slope);
    order_at(o, WF_AT_GIN, to);
    return true;
}

static bool order_sum(plan *p, const value *v, place from, int64_t width, int64_t sum)
{
    order *o = plan_order(p, ORDER_SUM, width);
    if (!o) return false;
    const wf_dtype dtype = p->buffer[from.buffer].dtype;
    o->fn = gradient_of(plan_pointwise(POINTWISE_add), 0, dtype);
    o->add = true;
    o->from = number_of(p, v);
    o->sum = sum;
    order_at(o, WF_AT_GOUT, from);
    sum_range *r = PLAN_ADD(p, range, LIST_SUM);
    if (r) *r = (sum_range){ .from = sum, .width = width, .dtype = dtype };
    return r != NULL;
}

static int64_t take_sums(plan *p, int64_t width)
{
    p->sums += width;
    return p->sums - width;
}

/* Into a constant row: over the rows of a tile, and those of all steps. */
static bool into_row(back *b, const value *v, int k, const value *x, place through)
{
    plan *p = b->p;
    constant_row *r = &p->of_row[x->source];
    if (r->sum < 0) r->sum = take_sums(p, r->width);
    if (passes(v, k)) return order_sum(p, v, through, x->width, r->sum + x->column);
    place own;
    if (!take_tile(b, x->dtype, &own) || !order_gradient(p, v, k, own, -1, false) ||
        !order_sum(p, v, own, x->width, r->sum + x->column))
        return false;
    drop(b, own);
    return true;
}

/* May x have the value's own gradient? */
static bool lends(const plan *p, const value *v, const value *x)
{
    return x->contributions == 1 && x->slope.buffer < 0 && x->state < 0 && x->y < 0 &&
           (x->kind == VALUE_TILE || x->kind == VALUE_COPY) &&
           (!is_tile(p, v->slope) || !x->across);
}

static bool contribute(back *b, value *v, int k, int64_t column)
{
    plan *p = b->p;
    value *x = &p->value[p->arg[v->arg + k]];
    if (!plan_leads(p, v, k)) return true;
    const place through = shifted(v->slope, column);
    if (x->kind == VALUE_ROW) return into_row(b, v, k, x, through);
    if (passes(v, k) && lends(p, v, x)) {
        x->slope = through;
        x->arrived = true;
        hold(b, through);
        return true;
    }
    if (!slope_for(b, x)) return false;
    const bool same = x->slope.buffer == through.buffer && x->slope.index == through.index &&
                      x->slope.column == through.column;
    if (passes(v, k) && same) {
        x->arrived = true;
        return true;
    }
    const bool add = x->arrived;
    x->arrived = true;
    return passes(v, k) ? order_pass(p, v, through, x, add)
                        : order_gradient(p, v, k, x->slope, number_of(p, x), add);
}

/* What arrives at an output of the node. */
static bool order_take(plan *p, const value *v, int32_t out, row_index index, int64_t width)
{
    const int32_t g = plan_buffer(p, SPACE_OUTPUT_SLOPE, out, v->dtype, width);
    order *o = g >= 0 ? plan_order(p, ORDER_TAKE, v->width) : NULL;
    if (!o) return false;
    o->fn = gradient_of(plan_pointwise(POINTWISE_add), 0, v->dtype);
    o->add = v->arrived;
    o->from = o->to = number_of(p, v);
    order_at(o, WF_AT_GOUT, (place){ g, index, v->bound });
    order_at(o, WF_AT_GIN, v->slope);
    return true;
}

static bool value_back(back *b, value *v)
{
    plan *p = b->p;
    if (v->state >= 0) {
        if (!slope_for(b, v) ||
            !order_take(p, v, v->state, INDEX_AFTER, p->buffer[p->state_buffer[v->state]].width))
            return false;
    }
    if (v->y >= 0) {
        if (!slope_for(b, v) ||
            !order_take(p, v, p->y_output[v->y], INDEX_ROW, p->buffer[p->y_buffer[v->y]].width))
            return false;
        v->arrived = true;
    }
    if (!v->arrived) return true;
    int64_t column = 0;
    for (int k = 0; k < v->args; k++) {
        if (!contribute(b, v, k, column)) return false;
        column += v->kind == VALUE_COPY ? p->value[p->arg[v->arg + k]].width : 0;
    }
    drop(b, v->slope);
    return true;
}

/* ---- stages ---- */

static bool biases_back(plan *p, value *v)
{
    bool any = false;
    for (int32_t i = v->bias; i >= 0; i = p->bias[i].next) {
        const constant_row *r = &p->of_row[p->bias[i].row];
        any |= p->constant[r->of.constant].wants;
    }
    if (!any) return true;
    v->sum = take_sums(p, v->width);
    return order_sum(p, v, v->slope, v->width, v->sum);
}

/* Rows of a weight that follow those of an earlier product, and gradients that lie so: one. */
static bool joined(plan *p, const stage *s, const value *v, const term *m)
{
    for (int32_t i = s->product[1]; i < p->n[LIST_PRODUCT]; i++) {
        product *o = &p->product[i];
        const term *a = &p->term[o->term];
        if (a->value != m->value || a->weight.constant != m->weight.constant ||
            !same_view(&a->weight.form, &m->weight.form) || a->column != m->column ||
            o->row + o->k != m->row || o->from.buffer != v->slope.buffer ||
            o->from.column + o->k != v->slope.column)
            continue;
        o->k += v->width;
        return true;
    }
    return false;
}

static bool products_back(back *b, const stage *s, const value *v)
{
    plan *p = b->p;
    for (int32_t i = v->term; i >= 0; i = p->term[i].next) {
        const term *m = &p->term[i];
        value *x = &p->value[m->value];
        if (x->kind == VALUE_SEQUENCE || !x->wants) continue;
        if (joined(p, s, v, m)) continue;
        if (!slope_for(b, x)) return false;
        product *o = PLAN_ADD(p, product, LIST_PRODUCT);
        if (!o) return false;
        *o = (product){ .term = i,
                        .add = x->arrived,
                        .k = v->width,
                        .n = x->width,
                        .row = m->row,
                        .from = v->slope,
                        .to = x->slope };
        x->arrived = true;
    }
    return true;
}

static bool order_zero(plan *p, place where, int64_t width)
{
    order *o = plan_order(p, ORDER_ZERO, width);
    if (o) order_at(o, WF_AT_GIN, where);
    return o != NULL;
}

/* May the call write the whole gradient of input k, as one that nobody added to yet? */
static bool call_begins(const plan *p, const call *c, int k)
{
    const wf_op *op = c->node->op;
    const value *x = &p->value[c->in[k].value];
    return (op->pointwise || op->flags & WF_OP_BEGINS) && scan_rows_run(&c->in[k].form) &&
           p->buffer[x->slope.buffer].width == x->width;
}

/* Gradients that a call adds to must be there, and those that it reads must be whole. */
static bool call_back(back *b, call *c)
{
    plan *p = b->p;
    for (int k = 0; k < c->node->op->outputs; k++) {
        bool some = false;
        for (int32_t j = 0; j < c->values[k]; j++) some |= p->value[c->value[k] + j].arrived;
        c->done |= some;
        for (int32_t j = 0; some && j < c->values[k]; j++) {
            value *v = &p->value[c->value[k] + j];
            if (v->arrived) continue;
            if (!call_slope(p, v) || !order_zero(p, v->slope, v->width)) return false;
        }
    }
    if (!c->done || !c->wants) return true;
    for (int k = 0; k < c->node->n_in; k++) {
        value *x = c->in[k].value >= 0 ? &p->value[c->in[k].value] : NULL;
        if (!x || !x->wants) continue;
        if (!slope_for(b, x)) return false;
        if (!x->arrived && call_begins(p, c, k))
            c->begins |= UINT32_C(1) << k;
        else if (!x->arrived && !order_zero(p, x->slope, x->width))
            return false;
        x->arrived = true;
    }
    return true;
}

static bool stage_back(back *b, int32_t number)
{
    plan *p = b->p;
    stage *s = &p->stage[number];
    s->product[1] = p->n[LIST_PRODUCT];
    s->order[1] = p->n[LIST_ORDER];
    if (s->call >= 0 && !call_back(b, &p->call[s->call])) return false;
    for (int32_t i = s->call >= 0 ? 0 : p->n[LIST_VALUE]; i-- > 0;) {
        value *v = &p->value[i];
        if (v->dead || !v->wants || v->stage != number) continue;
        if ((v->kind == VALUE_TILE || v->kind == VALUE_COPY) && !value_back(b, v)) return false;
    }
    for (int32_t i = 0; s->call < 0 && i < p->n[LIST_VALUE]; i++) {
        value *v = &p->value[i];
        if (v->dead || !v->arrived || v->stage != number || v->kind != VALUE_PRODUCT) continue;
        if (!biases_back(p, v) || !products_back(b, s, v)) return false;
    }
    for (int32_t i = 0; number == 0 && i < p->n[LIST_VALUE]; i++) {
        const value *v = &p->value[i];
        if (v->kind != VALUE_STATE || !p->state_wants[v->source] || v->arrived) continue;
        const place where = { p->carry[v->source], INDEX_PAST, v->column };
        if (!order_zero(p, where, v->width)) return false;
    }
    s->product_end[1] = p->n[LIST_PRODUCT];
    s->order_end[1] = p->n[LIST_ORDER];
    return true;
}

static void count_contributions(plan *p)
{
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        const value *v = &p->value[i];
        if (v->dead || !v->wants) continue;
        for (int k = 0; k < v->args; k++)
            if (plan_leads(p, v, k)) p->value[p->arg[v->arg + k]].contributions++;
        for (int32_t m = v->term; m >= 0; m = p->term[m].next)
            p->value[p->term[m].value].contributions++;
    }
    for (int32_t i = 0; i < p->n[LIST_CALL]; i++)
        for (int k = 0; k < p->call[i].node->n_in; k++)
            if (p->call[i].in[k].value >= 0) p->value[p->call[i].in[k].value].contributions++;
}

/* In a stage of one width threads may share units. */
static void find_widths(plan *p)
{
    for (int32_t i = 0; i < p->n[LIST_STAGE]; i++) {
        stage *s = &p->stage[i];
        for (int32_t k = s->order[1]; k < s->order_end[1]; k++)
            if (p->order[k].width != s->width) s->width = 0;
    }
}

bool plan_backward(plan *p)
{
    const size_t bytes = (size_t)(p->n[LIST_VALUE] + 1) * sizeof(int32_t);
    back b = { .p = p };
    for (int32_t i = 0; i < p->n[LIST_CALL]; i++)
        memset(p->call[i].slope, 0xff, sizeof p->call[i].slope);
    if (p->infer) return true;
    count_contributions(p);
    const int32_t tiles = p->tiles; /* the way back has the same ones */
    p->tiles = 0;
    b.free = wf_tape_memory(p->t, 4 * bytes);
    if (!b.free) return false;
    b.holders = b.free + 2 * (p->n[LIST_VALUE] + 1);
    for (int k = 0; k < p->s->states; k++) {
        const buffer of = p->buffer[p->state_buffer[k]];
        p->carry[k] = p->state_wants[k] ? plan_buffer(p, SPACE_CARRY, k, of.dtype, of.width) : -1;
        if (p->state_wants[k] && p->carry[k] < 0) return false;
    }
    for (int32_t i = p->n[LIST_STAGE]; i-- > 0;)
        if (!stage_back(&b, i)) return false;
    if (tiles > p->tiles) p->tiles = tiles;
    find_widths(p);
    p->sums += p->sums & 1; /* so that doubles are aligned */
    return true;
}

/* ---- what a product begins ---- */

/* Is it the only one that makes the weight's gradient, or the first, and of all of it? */
static bool begins_weight(const plan *p, int32_t number)
{
    const bulk *b = &p->bulk[number];
    const term *m = &p->term[b->term];
    const wf_tensor *form = &m->weight.form;
    const int64_t all = wf_tensor_count(&p->constant[m->weight.constant].root->value);
    if (b->width * p->value[m->value].width != all || wf_tensor_count(form) != all ||
        wf_tensor_overlaps_itself(form))
        return false;
    for (int32_t i = p->hoisted; i < number; i++)
        if (p->term[p->bulk[i].term].weight.constant == m->weight.constant) return false;
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) { /* used as rows of the batch, too */
        const value *v = &p->value[i];
        if (v->kind == VALUE_ROWS && v->source == m->weight.constant) return false;
    }
    for (int32_t i = 0; i < p->n[LIST_CALL]; i++)
        for (int k = 0; k < p->call[i].node->n_in; k++) {
            const operand *o = &p->call[i].in[k];
            if (o->given && o->value < 0 && o->closed.constant == m->weight.constant) return false;
        }
    return true;
}

/* And of a sequence: are its rows read as they are, and by products alone? */
static bool begins_sequence(const plan *p, int32_t number)
{
    const int32_t of = p->term[p->bulk[number].term].value;
    const value *x = &p->value[of];
    if (x->kind != VALUE_SEQUENCE || x->slope.buffer >= 0 ||
        x->width != p->buffer[x->at.buffer].width)
        return false;
    for (int32_t i = p->hoisted; i < number; i++)
        if (p->term[p->bulk[i].term].value == of) return false;
    return true;
}

void plan_beginnings(plan *p)
{
    for (int32_t i = p->hoisted; i < p->n[LIST_BULK]; i++) {
        p->bulk[i].begins = begins_weight(p, i);
        p->bulk[i].begins_sequence = begins_sequence(p, i);
    }
}
