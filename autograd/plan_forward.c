/* When the values of a step are computed, and where they lie: stages, each of products and a tile
 * program, or of a call. */
#include "autograd/ops_private.h"
#include "autograd/plan_private.h"

#include <string.h>

/* ---- buffers ---- */

static int64_t rows_in(const plan *p, space where)
{
    switch (where) {
    case SPACE_KEPT: return p->kept_rows;
    case SPACE_SLOPES: return p->slope_rows;
    case SPACE_STEP:
    case SPACE_STEP_SLOPES: return p->s->batch;
    case SPACE_CARRY: return 2 * p->s->batch;
    case SPACE_ROW: return 1;
    default: return 0; /* memory of others, or of a tile */
    }
}

int32_t plan_buffer(plan *p, space where, int32_t number, wf_dtype dtype, int64_t width)
{
    buffer *b = PLAN_ADD(p, buffer, LIST_BUFFER);
    if (!b) return -1;
    *b = (buffer){ .space = where, .number = number, .dtype = dtype, .width = width };
    const int64_t bytes = rows_in(p, where) * width * wf_dtype_size(dtype);
    if (bytes > 0) {
        b->offset = p->space[where];
        p->space[where] += (bytes + 63) / 64 * 64;
    }
    return p->n[LIST_BUFFER] - 1;
}

order *plan_order(plan *p, order_kind kind, int64_t width)
{
    order *o = PLAN_ADD(p, order, LIST_ORDER);
    if (!o) return NULL;
    *o = (order){ .kind = kind, .width = width, .sum = -1, .from = -1, .to = -1 };
    for (int i = 0; i < WF_AT; i++) o->at[i].buffer = -1;
    return o;
}

void order_at(order *o, int k, place where)
{
    o->at[k] = where;
    o->used |= 1u << k;
}

/* ---- what is needed ---- */

static bool is_base(const value *v)
{
    return v->kind == VALUE_SEQUENCE || v->kind == VALUE_STATE || v->kind == VALUE_ROW ||
           v->kind == VALUE_ROWS;
}

/* What nobody reads is not computed. */
static void drop_unread(plan *p)
{
    for (int32_t i = p->n[LIST_VALUE]; i-- > 0;) {
        value *v = &p->value[i];
        if (v->dead || v->uses > 0 || v->state >= 0 || v->y >= 0 || is_base(v)) continue;
        if (v->kind == VALUE_CALL) continue;
        v->dead = true;
        for (int k = 0; k < v->args; k++) p->value[p->arg[v->arg + k]].uses--;
        for (int32_t m = v->term; m >= 0; m = p->term[m].next) p->value[p->term[m].value].uses--;
    }
}

/* ---- stages ---- */

static bool there(const plan *p, int32_t v, int32_t before)
{
    const value *x = &p->value[v];
    return is_base(x) || (x->stage >= 0 && x->stage < before);
}

static bool product_ready(const plan *p, const value *v, int32_t now)
{
    for (int32_t m = v->term; m >= 0; m = p->term[m].next)
        if (!there(p, p->term[m].value, now)) return false;
    return true;
}

static bool tile_ready(const plan *p, const value *v, int32_t now)
{
    for (int k = 0; k < v->args; k++)
        if (!there(p, p->arg[v->arg + k], now + 1)) return false;
    return true;
}

static bool call_ready(const plan *p, const call *c, int32_t now)
{
    for (int k = 0; k < c->node->n_in; k++)
        if (c->in[k].value >= 0 && !there(p, c->in[k].value, now)) return false;
    return true;
}

static stage *stage_add(plan *p, int32_t number)
{
    stage *s = PLAN_ADD(p, stage, LIST_STAGE);
    if (s) *s = (stage){ .call = number };
    return s;
}

/* The products that can be computed, and all that follows from them in tiles. */
static bool stage_of_tiles(plan *p, bool *any)
{
    const int32_t now = p->n[LIST_STAGE];
    bool some = false;
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        value *v = &p->value[i];
        if (v->dead || v->stage >= 0 || v->kind != VALUE_PRODUCT || !product_ready(p, v, now))
            continue;
        v->stage = now;
        some = true;
    }
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        value *v = &p->value[i];
        if (v->dead || v->stage >= 0 || (v->kind != VALUE_TILE && v->kind != VALUE_COPY) ||
            !tile_ready(p, v, now))
            continue;
        v->stage = now;
        some = true;
    }
    *any |= some;
    return !some || stage_add(p, -1);
}

static bool stages_of_calls(plan *p, bool *any)
{
    const int32_t before = p->n[LIST_STAGE];
    for (int32_t i = 0; i < p->n[LIST_CALL]; i++) {
        call *c = &p->call[i];
        if (c->stage >= 0 || !call_ready(p, c, before)) continue;
        c->stage = p->n[LIST_STAGE];
        for (int k = 0; k < c->node->op->outputs; k++)
            for (int32_t j = 0; j < c->values[k]; j++) p->value[c->value[k] + j].stage = c->stage;
        if (!stage_add(p, i)) return false;
        *any = true;
    }
    return true;
}

static bool make_stages(plan *p)
{
    for (bool any = true; any;) {
        any = false;
        if (!stage_of_tiles(p, &any) || !stages_of_calls(p, &any)) return false;
    }
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        value *v = &p->value[i];
        for (int k = 0; !v->dead && k < v->args; k++) {
            value *x = &p->value[p->arg[v->arg + k]];
            x->across |= x->stage != v->stage;
        }
        for (int32_t m = v->term; m >= 0; m = p->term[m].next)
            p->value[p->term[m].value].across = true;
        if (v->kind == VALUE_CALL) v->across = true;
    }
    for (int32_t i = 0; i < p->n[LIST_CALL]; i++)
        for (int k = 0; k < p->call[i].node->n_in; k++)
            if (p->call[i].in[k].value >= 0) p->value[p->call[i].in[k].value].across = true;
    return true;
}

/* ---- places ---- */

static place at(int32_t in, row_index index, int64_t column)
{
    return (place){ in, index, column };
}

/* The buffer of a node's products, side by side. */
static bool place_group(plan *p, int32_t group)
{
    int64_t width = 0;
    bool kept = false;
    wf_dtype dtype = WF_F32;
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        value *v = &p->value[i];
        if (v->dead || v->kind != VALUE_PRODUCT || v->source != group) continue;
        v->at.column = 0;
        for (int32_t k = 0; k < p->n[LIST_VALUE]; k++) {
            const value *w = &p->value[k];
            if (!w->dead && w->kind == VALUE_PRODUCT && w->source == group && w->column < v->column)
                v->at.column += w->width;
        }
        width += v->width;
        dtype = v->dtype;
        for (int32_t m = v->term; m >= 0; m = p->term[m].next)
            v->hoisted |= p->value[p->term[m].value].kind == VALUE_SEQUENCE;
        kept |= v->hoisted || v->saved;
    }
    const int32_t b = plan_buffer(p, kept ? SPACE_KEPT : SPACE_STEP, 0, dtype, width);
    if (b < 0) return false;
    p->group[group] = b;
    return true;
}

static bool place_product(plan *p, value *v)
{
    if (p->group[v->source] < 0 && !place_group(p, v->source)) return false;
    const int32_t b = p->group[v->source];
    v->at.buffer = b;
    v->at.index = p->buffer[b].space == SPACE_KEPT ? INDEX_KEPT : INDEX_STILL;
    if (v->bias < 0) return true;
    const int32_t row = plan_buffer(p, SPACE_ROW, 0, v->dtype, v->width);
    v->biased = at(row, INDEX_STILL, 0);
    return row >= 0;
}

static bool place_base(plan *p, value *v)
{
    if (v->kind == VALUE_SEQUENCE) {
        int32_t *b = v->source < WF_SCAN_VARS ? &p->sequence_buffer[v->source] : NULL;
        int32_t made = b ? *b : -1;
        if (made < 0) {
            const wf_tensor *x = &p->sequence[v->source]->value;
            int64_t width = 1;
            for (int k = 1; k < x->rank; k++) width *= x->dim[k];
            made = plan_buffer(p, SPACE_INPUT, v->source, v->dtype, width);
            if (b) *b = made;
        }
        v->at = at(made, INDEX_ROW, v->column);
        return made >= 0;
    }
    if (v->kind == VALUE_STATE)
        v->at = at(p->state_buffer[v->source], p->ring[v->source] ? INDEX_PAST : INDEX_BEFORE,
                   v->column);
    if (v->kind != VALUE_ROW) return true;
    constant_row *r = &p->of_row[v->source];
    if (r->buffer < 0) r->buffer = plan_buffer(p, SPACE_ROW, 0, v->dtype, r->width);
    v->at = at(r->buffer, INDEX_STILL, v->column);
    return r->buffer >= 0;
}

/* Buffers of a tile that are free. */
typedef struct tile_pool {
    int32_t n, room, *free;
} tile_pool;

static bool pool_take_tile(plan *p, tile_pool *f, wf_dtype dtype, place *to)
{
    const int32_t number = f->n > 0 ? f->free[--f->n] : p->tiles++;
    const int32_t b = plan_buffer(p, SPACE_TILE, number, dtype, 0);
    *to = at(b, INDEX_STILL, 0);
    return b >= 0;
}

/* A kept place that ends here: of an argument that is read for the last time, and not again on the
 * way back. */
static bool inherit(const plan *p, value *v, int32_t i)
{
    for (int k = 0; k < v->args; k++) {
        value *x = &p->value[p->arg[v->arg + k]];
        if ((x->kind != VALUE_PRODUCT && x->kind != VALUE_TILE) || x->last != i || x->saved ||
            x->state >= 0 || x->y >= 0 || x->across || x->width != v->width ||
            x->dtype != v->dtype || x->at.index != INDEX_KEPT)
            continue;
        v->at = x->at;
        x->last = -1; /* once */
        return true;
    }
    return false;
}

static bool place_tile(plan *p, value *v, int32_t i, tile_pool *f)
{
    if (v->state >= 0)
        v->at = at(p->state_buffer[v->state], p->ring[v->state] ? INDEX_NOW : INDEX_AFTER,
                   v->bound);
    else if (v->y >= 0)
        v->at = at(p->y_buffer[v->y], INDEX_ROW, v->bound);
    else if (v->saved && !inherit(p, v, i))
        v->at = at(plan_buffer(p, SPACE_KEPT, 0, v->dtype, v->width), INDEX_KEPT, 0);
    else if (!v->saved && v->across)
        v->at = at(plan_buffer(p, SPACE_STEP, 0, v->dtype, v->width), INDEX_STILL, 0);
    else if (!v->saved && (p->infer || !inherit(p, v, i)) && /* which it may leave to a saved one */
             !pool_take_tile(p, f, v->dtype, &v->at))
        return false;
    for (int k = 0; k < v->args; k++) { /* tiles that end here */
        value *x = &p->value[p->arg[v->arg + k]];
        if (x->last != i || x->at.buffer < 0 || p->buffer[x->at.buffer].space != SPACE_TILE)
            continue;
        f->free[f->n++] = p->buffer[x->at.buffer].number;
        x->last = -1;
    }
    return v->at.buffer >= 0;
}

static bool place_call(plan *p, call *c)
{
    const node *n = c->node;
    for (int k = 0; k < n->n_out; k++) {
        bool kept = c->wants && n->op->reads_out >> k & 1;
        for (int32_t j = 0; k < n->op->outputs && j < c->values[k]; j++)
            kept |= p->value[c->value[k] + j].saved;
        const wf_tensor *x = &n->out[k].value;
        int64_t width = 1;
        for (int a = 1; a < x->rank; a++) width *= x->dim[a];
        const int32_t b = plan_buffer(p, kept ? SPACE_KEPT : SPACE_STEP, 0, x->dtype, width);
        if (b < 0) return false;
        c->buffer[k] = b;
        for (int32_t j = 0; k < n->op->outputs && j < c->values[k]; j++) {
            value *v = &p->value[c->value[k] + j];
            v->at = at(b, kept ? INDEX_KEPT : INDEX_STILL, v->column);
        }
    }
    return true;
}

/* ---- tile programs ---- */

static bool order_bias(plan *p, const value *v)
{
    order *o = plan_order(p, ORDER_TILE, v->width);
    if (!o) return false;
    o->fn = plan_pointwise(POINTWISE_add)->pointwise[wf_isa_level()].forward[v->dtype];
    order_at(o, 0, v->at);
    order_at(o, 1, v->biased);
    order_at(o, WF_AT_OUT, v->at);
    return true;
}

static bool order_tile(plan *p, const value *v)
{
    order *o = plan_order(p, ORDER_TILE, v->width);
    if (!o) return false;
    const value *last = &p->value[p->arg[v->arg + v->args - 1]];
    o->fn = v->op->pointwise[wf_isa_level()].forward[last->dtype];
    o->number = v->number;
    for (int k = 0; k < v->args; k++) order_at(o, k, p->value[p->arg[v->arg + k]].at);
    order_at(o, WF_AT_OUT, v->at);
    return true;
}

static bool order_copy(plan *p, const value *v)
{
    int64_t column = 0;
    for (int k = 0; k < v->args; k++) {
        const value *x = &p->value[p->arg[v->arg + k]];
        order *o = plan_order(p, ORDER_COPY, x->width);
        if (!o) return false;
        order_at(o, WF_AT_OUT, x->at);
        order_at(o, WF_AT_GIN, v->at);
        o->at[WF_AT_GIN].column += column;
        column += x->width;
    }
    return true;
}

static bool products_of(plan *p, const value *v)
{
    bool add = v->hoisted;
    for (int32_t m = v->term; m >= 0; m = p->term[m].next) {
        const value *x = &p->value[p->term[m].value];
        if (x->kind == VALUE_SEQUENCE) continue;
        product *r = PLAN_ADD(p, product, LIST_PRODUCT);
        if (!r) return false;
        *r = (product){ .term = m,
                        .add = add,
                        .k = x->width,
                        .n = v->width,
                        .row = p->term[m].row,
                        .from = x->at,
                        .to = v->at };
        add = true;
    }
    return true;
}

/* The one width of a stage's orders and products, or 0. */
static int64_t one_width(const plan *p, const stage *s, int way)
{
    int64_t width = -1;
    for (int32_t i = s->order[way]; i < s->order_end[way]; i++) {
        if (width >= 0 && p->order[i].width != width) return 0;
        width = p->order[i].width;
    }
    for (int32_t i = s->product[way]; way == 0 && i < s->product_end[way]; i++) {
        const wf_dtype dtype = p->value[p->term[p->product[i].term].value].dtype;
        const wf_dtype first = p->value[p->term[p->product[s->product[way]].term].value].dtype;
        if ((width >= 0 && p->product[i].n != width) || dtype != first) return 0;
        width = p->product[i].n;
    }
    return width < 0 ? 0 : width;
}

/* A sum of terms for all steps at once: those that follow one another in weight and place are one
 * product. */
static bool bulk_add(plan *p, int32_t m, int64_t width, place of, bool add, int32_t from)
{
    const term *a = &p->term[m];
    for (int32_t i = from; i < p->n[LIST_BULK]; i++) {
        bulk *b = &p->bulk[i];
        const term *c = &p->term[b->term];
        if (c->value != a->value || c->weight.constant != a->weight.constant ||
            !same_view(&c->weight.form, &a->weight.form) || c->column != a->column ||
            c->row + b->width != a->row || b->of.buffer != of.buffer ||
            b->of.column + b->width != of.column || b->add != add)
            continue;
        b->width += width;
        return true;
    }
    bulk *b = PLAN_ADD(p, bulk, LIST_BULK);
    if (b) *b = (bulk){ .term = m, .add = add, .width = width, .of = of };
    return b != NULL;
}

bool plan_bulks(plan *p)
{
    for (int way = 0; way < 2; way++) {
        const int32_t from = p->n[LIST_BULK];
        for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
            const value *v = &p->value[i];
            bool add = false;
            if (v->dead || v->kind != VALUE_PRODUCT || (way == 1 && !v->arrived)) continue;
            for (int32_t m = v->term; m >= 0; m = p->term[m].next) {
                if (way == 0 && p->value[p->term[m].value].kind != VALUE_SEQUENCE) continue;
                if (!bulk_add(p, m, v->width, way == 0 ? v->at : v->slope, add, from)) return false;
                add |= way == 0;
            }
        }
        if (way == 0) p->hoisted = p->n[LIST_BULK];
    }
    return true;
}

static bool fill_stage(plan *p, int32_t number, tile_pool *f)
{
    stage *s = &p->stage[number];
    s->product[0] = s->product_end[0] = p->n[LIST_PRODUCT];
    s->order[0] = s->order_end[0] = p->n[LIST_ORDER];
    if (s->call >= 0) return place_call(p, &p->call[s->call]);
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        value *v = &p->value[i];
        if (v->dead || v->stage != number || v->kind != VALUE_PRODUCT) continue;
        if (!place_product(p, v) || !products_of(p, v) || (v->bias >= 0 && !order_bias(p, v)))
            return false;
    }
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        value *v = &p->value[i];
        if (v->dead || v->stage != number || (v->kind != VALUE_TILE && v->kind != VALUE_COPY))
            continue;
        if (!place_tile(p, v, i, f) ||
            !(v->kind == VALUE_TILE ? order_tile(p, v) : order_copy(p, v)))
            return false;
    }
    s->product_end[0] = p->n[LIST_PRODUCT];
    s->order_end[0] = p->n[LIST_ORDER];
    s->width = one_width(p, s, 0);
    return true;
}

static int64_t width_behind(const wf_var *x)
{
    int64_t width = 1;
    for (int k = 1; k < x->value.rank; k++) width *= x->value.dim[k];
    return width;
}

/* Buffers of what goes in and out. */
static bool place_ends(plan *p)
{
    int32_t out = 0;
    for (int k = 0; k < p->s->states; k++) {
        const wf_var *x = p->step->state[k];
        p->state_buffer[k] = plan_buffer(p, SPACE_OUTPUT, out++, x->value.dtype, width_behind(x));
        if (p->state_buffer[k] < 0) return false;
    }
    for (int j = 0; j < p->s->outputs; j++) {
        const wf_var *x = p->step->y[j];
        if (p->y_state[j] >= 0) continue;
        p->y_output[j] = out;
        p->y_buffer[j] = plan_buffer(p, SPACE_OUTPUT, out++, x->value.dtype, width_behind(x));
        if (p->y_buffer[j] < 0) return false;
    }
    for (int i = 0; i < WF_SCAN_VARS; i++) p->sequence_buffer[i] = -1;
    const size_t bytes = (size_t)p->nodes * sizeof *p->group;
    p->group = wf_tape_memory(p->t, bytes);
    p->group_slope = wf_tape_memory(p->t, bytes);
    if (!p->group || !p->group_slope) return false;
    memset(p->group, 0xff, bytes);
    memset(p->group_slope, 0xff, bytes);
    return true;
}

bool plan_forward(plan *p)
{
    drop_unread(p);
    if (!make_stages(p) || !place_ends(p)) return false;
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++)
        if (is_base(&p->value[i]) && !place_base(p, &p->value[i])) return false;
    tile_pool f = { .free = wf_tape_memory(p->t, (size_t)p->n[LIST_VALUE] * sizeof *f.free) };
    if (!f.free) return false;
    for (int32_t i = 0; i < p->n[LIST_STAGE]; i++)
        if (!fill_stage(p, i, &f)) return false;
    return true;
}
