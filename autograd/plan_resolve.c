/* Before a pass: what it needs is laid out in its scratch, and places become addresses. */
#include "autograd/plan_run_private.h"
#include "tensor/sequence.h"
#include "tensor/size.h"

#include <string.h>

enum { MOST_LIVES = 8 };

static int64_t call_bytes(const plan *p)
{
    int64_t most = 0;
    for (int32_t i = 0; i < p->n[LIST_CALL]; i++)
        if (p->call[i].scratch > most) most = p->call[i].scratch;
    return (most + 63) / 64 * 64;
}

/* What the products over all steps work with. */
static int64_t product_bytes(const plan *p, int64_t *widest)
{
    int64_t most = 0;
    *widest = 0;
    for (int32_t i = p->hoisted; i < p->n[LIST_BULK]; i++) {
        const value *x = &p->value[p->term[p->bulk[i].term].value];
        const int64_t bytes = wf_gemm_scratch(x->dtype, p->bulk[i].width, x->width, p->slope_rows);
        const int64_t row = x->width * wf_dtype_size(x->dtype);
        if (bytes > most) most = bytes;
        if (row > *widest && x->kind != VALUE_SEQUENCE) *widest = row;
    }
    return most;
}

static int64_t shared_bytes(const plan *p)
{
    int64_t most = 0;
    for (int32_t i = 0; i < p->n[LIST_CALL]; i++)
        if (p->call[i].scratch_all > most) most = p->call[i].scratch_all;
    return most;
}

int64_t run_layout(run *r, const plan *p, int threads, int way, char *memory)
{
    wf_parts x = { .memory = memory };
    *r = (run){ .p = p, .way = way, .rows = &p->s->plan, .batch = p->s->batch };
    r->threads = p->serial ? 1 : threads;
    r->stage = wf_part(&x, p->n[LIST_STAGE], 1, sizeof *r->stage);
    r->line = wf_part(&x, p->n[LIST_ORDER] + 3 * p->n[LIST_VALUE], 1, sizeof *r->line);
    r->alive = wf_part(&x, way == 1 ? MOST_LIVES + 1 : 1, p->n[LIST_VALUE], sizeof(bool));
    r->life = wf_part(&x, way == 1 ? p->steps : 0, 1, 1);
    r->lives = 1;
    r->unwritten = wf_part(&x, p->n[LIST_VALUE], 1, sizeof(bool));
    r->multiply = wf_part(&x, p->n[LIST_PRODUCT], 1, sizeof *r->multiply);
    r->packed = wf_part(&x, p->pack[way], 1, 1);
    for (int32_t i = 0; i < p->n[LIST_ORDER]; i++) /* a line wider than a tile has a row of it */
        if (p->order[i].width > TILE_AREA) r->tile_area = p->order[i].width;
    if (r->tile_area < TILE_AREA) r->tile_area = TILE_AREA;
    r->tile_bytes = p->tiles * r->tile_area * (int64_t)sizeof(double);
    r->tiles = wf_part(&x, r->threads, r->tile_bytes, 1);
    r->call_bytes = call_bytes(p);
    r->calls = wf_part(&x, r->threads, r->call_bytes, 1);
    for (int k = 0; k < SPACES; k++) {
        const bool here = k == SPACE_ROW || (way == 0 && k == SPACE_STEP) ||
                          (way == 1 &&
                           (k == SPACE_SLOPES || k == SPACE_STEP_SLOPES || k == SPACE_CARRY));
        if (here) r->memory[k] = wf_part(&x, p->space[k], 1, 1);
    }
    if (way == 0) return x.used;
    const int64_t groups = wf_seq_groups(r->batch);
    int64_t widest;
    r->parts = wf_part(&x, groups, p->sums, SUM_BYTES);
    r->high = wf_part(&x, groups, p->sums, sizeof(double));
    r->low = wf_part(&x, groups, p->sums, sizeof(double));
    r->product = wf_part(&x, product_bytes(p, &widest), 1, 1);
    r->gathered = wf_part(&x, p->full ? 0 : p->slope_rows, widest, 1);
    r->shared = wf_part(&x, shared_bytes(p), 1, 1);
    return x.used;
}

int64_t plan_scratch(const plan *p, int threads, bool back)
{
    run r;
    return run_layout(&r, p, threads, back, NULL);
}

spot run_spot(const run *r, place where)
{
    const buffer *b = &r->p->buffer[where.buffer];
    const int64_t size = wf_dtype_size(b->dtype);
    spot s = {
        .row = b->width * size, .tile = -1, .size = (int16_t)size, .index = (int16_t)where.index
    };
    const wf_tensor *of = NULL;
    switch (b->space) {
    case SPACE_INPUT: of = r->c->in[b->number]; break;
    case SPACE_OUTPUT: of = r->c->out[b->number]; break;
    case SPACE_KEPT: of = r->c->out[r->c->n_out - 1]; break;
    case SPACE_INPUT_SLOPE: of = r->c->gin[b->number]; break;
    case SPACE_OUTPUT_SLOPE: of = r->c->gout[b->number]; break;
    case SPACE_TILE: s.tile = b->number; return s;
    default: s.base = r->memory[b->space]; break;
    }
    if (b->space == SPACE_ROW) s.row = 0;
    if (of) s.base = of->data;
    if (s.base) s.base += b->offset + where.column * size;
    return s;
}

/* Those of f32 first, so that neighbours lie side by side in either dtype. */
char *run_part(const run *r, wf_dtype dtype, int64_t column)
{
    return r->parts + (dtype == WF_F32 ? column * 4 : r->p->sums * 4 + column * 8);
}

/* ---- what gradients arrive at ---- */

/* Are all bits zero? Those of most gradients are not, from the first on. */
static bool zeros(const char *at, int64_t bytes)
{
    uint64_t some;
    for (; bytes >= (int64_t)sizeof some; at += sizeof some, bytes -= (int64_t)sizeof some) {
        memcpy(&some, at, sizeof some);
        if (some != 0) return false;
    }
    some = 0;
    memcpy(&some, at, (size_t)bytes);
    return some == 0;
}

/* The outputs of which a gradient that is not all zero arrived at a step. */
static uint32_t arrived_at(const run *r, const step_rows *s)
{
    const plan *p = r->p;
    uint32_t arrived = 0;
    for (int k = 0; k < p->row.outputs; k++) {
        const wf_tensor *g = r->c->gout[k];
        if (!g || g->dim[0] == 0) continue;
        const int64_t row = wf_tensor_count(g) / g->dim[0] * wf_dtype_size(g->dtype);
        const int64_t first = s->at[k < p->s->states ? INDEX_AFTER : INDEX_ROW];
        arrived |= (uint32_t)!zeros((const char *)g->data + first * row, s->n * row) << k;
    }
    return arrived;
}

/* Which of the lives there are has just these values, or a new one, whose are the last; of too many
 * the rest are as in any step. */
static uint8_t life_of(run *r, const bool alive[])
{
    const size_t values = (size_t)r->p->n[LIST_VALUE];
    for (int32_t l = 0; l < r->lives; l++)
        if (!memcmp(r->alive + (size_t)l * values, alive, values)) return (uint8_t)l;
    return r->lives < MOST_LIVES ? (uint8_t)r->lives++ : 0;
}

/* Where a gradient arrives at some steps alone, say at the last state, others may lead to none of
 * it: 0 times a derivative that is infinite there would be NaN. */
static void find_lives(run *r)
{
    const plan *p = r->p;
    bool carried[WF_SCAN_VARS] = { false }, after[WF_SCAN_VARS], before[WF_SCAN_VARS];
    uint32_t last = 0;
    uint8_t life = 0;
    for (int64_t k = p->steps; k-- > 0; memcpy(carried, before, sizeof carried)) {
        const step_rows s = run_step(r, k);
        const uint32_t arrived = arrived_at(r, &s);
        if (k + 1 == p->steps || arrived != last || memcmp(carried, after, sizeof carried) != 0) {
            bool *alive = r->alive + (size_t)r->lives * (size_t)p->n[LIST_VALUE];
            memset(alive, 0, (size_t)p->n[LIST_VALUE]);
            memset(before, 0, sizeof before);
            plan_alive(p, arrived, carried, before, alive);
            life = life_of(r, alive);
            last = arrived;
            memcpy(after, carried, sizeof after);
        }
        r->life[k] = life;
    }
}

/* Do two values live at the same steps? */
static bool live_alike(const run *r, int32_t a, int32_t b)
{
    const int32_t values = r->p->n[LIST_VALUE];
    for (int32_t l = 0; l < r->lives && a != b; l++)
        if (a < 0 || b < 0 || r->alive[l * values + a] != r->alive[l * values + b]) return false;
    return true;
}

bool run_call_alive(const run *r, const call *c, const step_rows *s)
{
    const bool *alive = s && s->alive ? s->alive : r->alive;
    bool any = false;
    for (int k = 0; k < c->node->op->outputs; k++)
        for (int32_t j = 0; j < c->values[k]; j++) any |= alive[c->value[k] + j];
    return any;
}

/* ---- lines ---- */

static line zero_line(const run *r, place where, int64_t width)
{
    line l = { .kind = ORDER_ZERO, .width = width, .to = WF_AT_GIN, .from = -1 };
    for (int i = 0; i < WF_AT; i++) l.at[i] = run_spot(r, where);
    return l;
}

/* Gradients of a stage that are read whole though nothing arrives at them in this pass. */
static int32_t zeros_before(const run *r, int32_t number, int32_t lines)
{
    const plan *p = r->p;
    for (int32_t i = 0; r->way == 1 && i < p->n[LIST_VALUE]; i++) {
        const value *v = &p->value[i];
        if (v->dead || !v->arrived || r->alive[i] || v->stage != number) continue;
        if (v->kind == VALUE_PRODUCT || v->kind == VALUE_CALL)
            r->line[lines++] = zero_line(r, v->slope, v->width);
    }
    return lines;
}

/* And what a call adds to, if what was to write it is left out. One that is left out itself writes
 * nothing. */
static int32_t zeros_for_call(const run *r, const call *c, int32_t lines)
{
    const plan *p = r->p;
    if (r->way == 0 || !c) return lines;
    for (int k = 0; k < c->node->n_in && !run_call_alive(r, c, NULL); k++)
        if (c->begins >> k & 1) r->unwritten[c->in[k].value] = true;
    if (!run_call_alive(r, c, NULL)) return lines;
    for (int k = 0; k < c->node->n_in; k++) {
        const int32_t i = c->in[k].value;
        if (i < 0 || !r->unwritten[i]) continue;
        r->line[lines++] = zero_line(r, p->value[i].slope, p->value[i].width);
        r->unwritten[i] = false;
    }
    return lines;
}

/* And of states, of which nothing is left that would have written them. */
static void zeros_at_end(run *r, int32_t lines)
{
    const plan *p = r->p;
    r->ends = (run_stage){ .line = lines };
    for (int32_t i = 0; r->way == 1 && i < p->n[LIST_VALUE]; i++) {
        const value *v = &p->value[i];
        if (v->kind != VALUE_STATE || !r->unwritten[i]) continue;
        r->line[lines++] = zero_line(r, v->slope, v->width);
        if (v->width > r->ends.units) r->ends.units = v->width;
    }
    r->ends.line_end = lines;
    r->ends.rows = run_tile_rows(r, r->ends.units > 0 ? r->ends.units : 1);
}

/* What reads a gradient that did not arrive is left out; what adds to one that is then not there
 * writes it. False: left out. */
static bool arrives(const run *r, int32_t from, int32_t to, bool *add)
{
    if (r->way == 0) return true;
    if (from >= 0 && !r->alive[from]) {
        if (to >= 0 && !*add) r->unwritten[to] = true;
        return false;
    }
    if (to >= 0 && r->unwritten[to]) *add = r->unwritten[to] = false;
    return true;
}

/* False: it comes to nothing in this pass. */
static bool resolve_line(const run *r, const order *o, line *l)
{
    bool add = o->add;
    if (!arrives(r, o->from, o->to, &add)) return false;
    *l = (line){ .kind = o->kind,
                 .add = add,
                 .fn = o->fn,
                 .number = o->number,
                 .width = o->width,
                 .to = r->way == 0 ? WF_AT_OUT : WF_AT_GIN,
                 .from = r->way == 1 && o->kind == ORDER_TILE ? o->from : -1 };
    const int stand_in = r->way == 0 ? 0 : WF_AT_GOUT;
    for (int i = 0; i < WF_AT; i++)
        if (o->used >> i & 1) l->at[i] = run_spot(r, o->at[i]);
    if (o->used >> WF_AT_GIN & 1 && l->at[WF_AT_GIN].tile < 0 && !l->at[WF_AT_GIN].base)
        return false; /* not wanted */
    if (o->sum >= 0) l->sums = run_part(r, r->p->buffer[o->at[WF_AT_GOUT].buffer].dtype, o->sum);
    if (o->kind == ORDER_TAKE) {
        const bool arrived = l->at[WF_AT_GOUT].base != NULL;
        if (!arrived && add) return false;
        l->kind = arrived ? ORDER_TILE : ORDER_ZERO;
    }
    if (l->kind == ORDER_TILE)
        for (int i = 0; i <= l->to; i++)
            if (!(o->used >> i & 1)) l->at[i] = l->at[stand_in];
    return true;
}

static bool within(const char *at, const spot *s, int64_t width)
{
    return at >= s->base && at < s->base + width * s->size;
}

/* Does b go on to the right of a, in all that they name? */
static bool line_follows(const line *a, const line *b, int to)
{
    bool next = a->kind == b->kind && a->fn == b->fn && a->add == b->add &&
                a->number == b->number && (a->kind == ORDER_TILE || a->kind == ORDER_SUM);
    for (int i = 0; next && i <= to; i++) {
        const spot *x = &a->at[i], *y = &b->at[i];
        if (a->kind == ORDER_SUM && i != WF_AT_GOUT) continue;
        next = x->tile < 0 && y->tile < 0 && x->row == y->row && x->index == y->index &&
               x->base + a->width * x->size == y->base;
        /* Neither may read what the other writes: of one line nobody says what comes first. */
        const spot *to_a = &a->at[to], *to_b = &b->at[to];
        next = next &&
               (i == to || (!within(y->base, to_a, a->width) && !within(x->base, to_b, b->width)));
    }
    return next && (a->kind != ORDER_SUM || a->sums + a->width * a->at[WF_AT_GOUT].size == b->sums);
}

/* ---- products ---- */

static bool same_spot(const spot *a, const spot *b)
{
    return a->base == b->base && a->row == b->row && a->index == b->index;
}

/* Does the product go on where the last one ends? */
static bool follows(const run *r, const multiply *a, const multiply *b)
{
    const term *x = &r->p->term[a->term], *y = &r->p->term[b->term];
    return same_spot(&a->from, &b->from) && a->add == b->add &&
           x->weight.constant == y->weight.constant && x->column == y->column &&
           same_view(&x->weight.form, &y->weight.form) && a->weight_row + a->n == b->weight_row &&
           a->to.base + a->n * a->to.size == b->to.base;
}

static void resolve_products(run *r, const stage *of, run_stage *s, int32_t *n, int64_t *packed)
{
    s->multiply = *n;
    for (int32_t i = of->product[r->way]; i < of->product_end[r->way]; i++) {
        const product *x = &r->p->product[i];
        const value *v = &r->p->value[r->p->term[x->term].value];
        multiply m = { .from = run_spot(r, x->from),
                       .to = run_spot(r, x->to),
                       .k = x->k,
                       .n = x->n,
                       .weight_row = x->row,
                       .term = x->term,
                       .add = x->add,
                       .dtype = v->dtype };
        if (r->way == 1) arrives(r, -1, r->p->term[x->term].value, &m.add);
        multiply *last = *n > s->multiply ? &r->multiply[*n - 1] : NULL;
        if (r->way == 0 && s->merged && last && follows(r, last, &m))
            last->n += m.n;
        else
            r->multiply[(*n)++] = m;
    }
    s->multiply_end = *n;
    for (int32_t i = s->multiply; i < s->multiply_end; i++) {
        multiply *m = &r->multiply[i];
        const int64_t width = wf_pack_width(m->dtype);
        m->panels = (m->n + width - 1) / width;
        m->packed = r->packed + *packed;
        *packed += packed_bytes(m->dtype, m->k, m->n);
    }
}

static wf_dtype dtype_of(const plan *p, const stage *s)
{
    if (s->product_end[0] > s->product[0])
        return p->value[p->term[p->product[s->product[0]].term].value].dtype;
    const order *o = s->order_end[0] > s->order[0] ? &p->order[s->order[0]] : NULL;
    const int at = o && o->used >> WF_AT_OUT & 1 ? WF_AT_OUT : WF_AT_GIN;
    return o && o->at[at].buffer >= 0 ? p->buffer[o->at[at].buffer].dtype : WF_F32;
}

int64_t run_tile_rows(const run *r, int64_t units)
{
    const int64_t most = r->way == 0 ? TILE_ROWS : BACK_ROWS;
    return units * most <= TILE_AREA ? most : units < TILE_AREA ? TILE_AREA / units : 1;
}

/* What a call works on in a row, in bytes. */
static int64_t bytes_of_row(const plan *p, const call *c)
{
    int64_t bytes = 0;
    for (int k = 0; k < c->node->n_out; k++) {
        const buffer *b = &p->buffer[c->buffer[k]];
        bytes += b->width * wf_dtype_size(b->dtype);
    }
    for (int k = 0; k < c->node->n_in; k++)
        if (c->in[k].value >= 0)
            bytes += p->value[c->in[k].value].width * wf_dtype_size(p->value[c->in[k].value].dtype);
    return bytes;
}

/* Which stages run a block of rows at a time: neighbours without products, of calls that take any
 * rows. */
static void find_together(run *r)
{
    const int32_t n = r->p->n[LIST_STAGE];
    int64_t most = 0;
    for (int32_t k = n; k-- > 0;) { /* the last one that runs is the first here */
        run_stage *s = &r->stage[r->way == 0 ? k : n - 1 - k];
        const run_stage *next = r->way == 0 ? s + 1 : s - 1;
        s->together = 0;
        if (s->multiply < s->multiply_end || (s->call && s->call->whole)) continue;
        s->together = 1 + (k + 1 < n ? next->together : 0);
        const int64_t bytes = s->call ? bytes_of_row(r->p, s->call) : 0;
        most = s->together > 1 && most > bytes ? most : bytes;
        s->groups = 1 + BLOCK_BYTES / (4 * most + 1);
    }
}

void run_resolve(run *r, const wf_call *c)
{
    const plan *p = r->p;
    int32_t lines = 0, products = 0;
    int64_t packed = 0;
    r->c = c;
    r->panels = 1;
    for (int k = 0; r->way == 1 && k < p->s->states; k++)
        if (p->carry[k] >= 0) r->carry[k] = run_spot(r, (place){ p->carry[k], INDEX_NOW, 0 });
    for (int32_t i = 0; i < p->n[LIST_PRODUCT]; i++)
        r->flops += 2 * p->product[i].k * p->product[i].n / (p->infer ? 1 : 2);
    for (int32_t i = 0; i < p->n[LIST_STAGE]; i++) {
        const stage *of = &p->stage[i];
        run_stage *s = &r->stage[i];
        *s = (run_stage){ .width = of->width, .line = lines };
        s->call = of->call >= 0 ? &p->call[of->call] : NULL;
        s->panel = wf_pack_width(dtype_of(p, of));
        if (s->panel > 0) s->panels = (of->width + s->panel - 1) / s->panel;
        if (s->panels > r->panels) r->panels = s->panels;
    }
    const bool units = wf_seq_shares_units(r->rows, r->threads, r->panels, r->flops);
    if (r->way == 1) {
        bool carried[WF_SCAN_VARS] = { false };
        uint32_t arrived = 0;
        for (int k = 0; k < p->row.outputs; k++) arrived |= (uint32_t)(c->gout[k] != NULL) << k;
        memset(r->alive, 0, (size_t)p->n[LIST_VALUE]);
        memset(r->unwritten, 0, (size_t)p->n[LIST_VALUE]);
        while (plan_alive(p, arrived, carried, carried, r->alive)) continue;
        find_lives(r);
    }
    for (int32_t k = 0; k < p->n[LIST_STAGE]; k++) { /* in the order in which they run */
        const int32_t i = r->way == 0 ? k : p->n[LIST_STAGE] - 1 - k;
        const stage *of = &p->stage[i];
        run_stage *s = &r->stage[i];
        s->line = lines;
        lines = zeros_before(r, i, lines);
        s->merged = s->panels > 0 && !units && (r->batch <= 2 || s->panels <= 2);
        for (int32_t o = of->order[r->way]; o < of->order_end[r->way]; o++) {
            line *now = &r->line[lines];
            if (!resolve_line(r, &p->order[o], now)) continue;
            if (s->merged && lines > s->line && line_follows(now - 1, now, now->to) &&
                live_alike(r, now[-1].from, now->from))
                now[-1].width += now->width;
            else
                lines++;
        }
        s->line_end = lines = zeros_for_call(r, s->call, lines);
        s->units = 1;
        for (int32_t l = s->line; l < lines; l++)
            if (r->line[l].width > s->units) s->units = r->line[l].width;
        s->rows = run_tile_rows(r, s->units);
        resolve_products(r, of, s, &products, &packed);
    }
    zeros_at_end(r, lines);
    find_together(r);
}
