/* The pass through a planned loop: what all steps share before and after it, and each step's
 * products, tiles and calls, by rows or units of every thread. */
#include "autograd/plan_run_private.h"
#include "tensor/par.h"
#include "tensor/sequence.h"
#include "tensor/sum.h"

#include <string.h>

/* ---- where rows are ---- */

step_rows run_step(const run *r, int64_t k)
{
    const plan *p = r->p;
    const bool reverse = p->s->reverse;
    const int64_t i = reverse ? p->steps - 1 - k : k, batch = r->batch;
    const int64_t *begin = r->rows->begin;
    const int64_t later = batch + begin[i], earlier = i > 0 ? batch + begin[i - 1] : 0;
    const int32_t life = r->way == 1 && r->lives > 1 ? r->life[k] : 0;
    return (step_rows){ .k = k,
                        .alive = life > 0 ? r->alive + life * p->n[LIST_VALUE] : NULL,
                        .time = i,
                        .n = r->rows->active[i],
                        .at = { [INDEX_ROW] = begin[i],
                                [INDEX_KEPT] = begin[i] - (r->way == 0 ? r->row_from : 0),
                                [INDEX_SLOPES] = begin[i] - r->row_from,
                                [INDEX_BEFORE] = reverse ? later : earlier,
                                [INDEX_AFTER] = reverse ? earlier : later,
                                [INDEX_STILL] = 0,
                                [INDEX_PAST] = (k & 1) * batch,
                                [INDEX_NOW] = ((k + 1) & 1) * batch } };
}

step_rows run_earliest(const run *r)
{
    return run_step(r, r->p->s->reverse ? r->last - 1 : r->first);
}

/* Steps first..last - 1 are at hand. */
static void take_steps(run *r, int64_t first, int64_t last)
{
    const plan *p = r->p;
    const int64_t *begin = r->rows->begin;
    r->first = first;
    r->last = last;
    r->row_from = begin[p->s->reverse ? p->steps - last : first];
    r->row_count = begin[p->s->reverse ? p->steps - first : last] - r->row_from;
}

/* ---- tile programs ---- */

/* A tile: rows of a step, and columns. */
typedef struct tile {
    char *memory; /* the thread's, `apart` bytes from buffer to buffer */
    int64_t apart;
    int64_t first, rows, u, units; /* units 0: every line its whole width */
    int64_t stride;                /* elements from row to row in its own buffers */
    const step_rows *step;
} tile;

static inline char *address(const spot *s, const tile *t, int64_t *row)
{
    if (s->tile >= 0) {
        *row = t->stride * s->size;
        return t->memory + s->tile * t->apart;
    }
    *row = s->row;
    return s->base + (t->step->at[s->index] + t->first) * s->row + t->u * s->size;
}

static void copy_rows(const line *l, const tile *t, int64_t n, bool zero)
{
    int64_t to_row, from_row = 0;
    char *to = address(&l->at[WF_AT_GIN], t, &to_row);
    const char *from = zero ? NULL : address(&l->at[WF_AT_OUT], t, &from_row);
    const size_t bytes = (size_t)(n * l->at[WF_AT_GIN].size);
    for (int64_t i = 0; i < t->rows; i++) {
        if (zero)
            memset(to + i * to_row, 0, bytes);
        else if (to != from)
            memcpy(to + i * to_row, from + i * from_row, bytes);
    }
}

/* Rows of a group are added up in the dtype itself, at most SUM_STEPS steps of them. */
static void sum_rows(const run *r, const line *l, const tile *t, int64_t n)
{
    int64_t row[WF_AT] = { 0 };
    void *at[WF_AT];
    char *from = address(&l->at[WF_AT_GOUT], t, &row[WF_AT_GOUT]);
    const int64_t batch = r->batch, end = t->first + t->rows;
    for (int i = 0; i < WF_AT_GIN; i++) row[i] = row[WF_AT_GOUT];
    const bool alone = batch == 1;
    for (int64_t g = alone ? 0 : t->first * wf_seq_groups(batch) / batch, a = t->first; a < end;) {
        const int64_t group_end = alone ? 1 : wf_seq_group_begin(batch, g + 1);
        if (group_end <= a) {
            g++;
            continue;
        }
        const int64_t to = group_end < end ? group_end : end;
        for (int i = 0; i < WF_AT_GIN; i++) at[i] = from + (a - t->first) * row[WF_AT_GOUT];
        at[WF_AT_GIN] = l->sums + g * r->p->sums * SUM_BYTES + t->u * l->at[WF_AT_GOUT].size;
        l->fn(to - a, n, at, row, 0, true);
        a = to;
        g++;
    }
}

static inline void run_line(const run *r, const line *l, const tile *t)
{
    const int64_t n = t->units > 0 ? t->units : l->width;
    int64_t row[WF_AT];
    void *at[WF_AT];
    if (l->from >= 0 && t->step->alive && !t->step->alive[l->from]) {
        if (!l->add) copy_rows(l, t, n, true); /* nothing of it arrives at this step */
    } else if (l->kind == ORDER_TILE) {
        for (int i = 0; i <= l->to; i++) at[i] = address(&l->at[i], t, &row[i]);
        l->fn(t->rows, n, at, row, l->number, l->add);
    } else if (l->kind == ORDER_SUM) {
        sum_rows(r, l, t, n);
    } else {
        copy_rows(l, t, n, l->kind == ORDER_ZERO);
    }
}

static void run_tile(const run *r, const run_stage *s, const tile *t)
{
    for (const line *l = r->line + s->line, *end = r->line + s->line_end; l < end; l++)
        run_line(r, l, t);
}

/* On the way back a tile ends where a group of rows does, or within the first one: what a group
 * adds up is then the same wherever a thread's rows begin. */
static int64_t tile_rows(const run *r, int64_t first, int64_t to, int64_t most)
{
    if (to - first <= most && r->way == 0) return to - first;
    if (r->way == 0 || r->batch <= 1) return to - first < most ? to - first : most;
    int64_t rows = 0, g = first * wf_seq_groups(r->batch) / r->batch;
    for (; rows < to - first; g++) {
        const int64_t end = wf_seq_group_begin(r->batch, g + 1);
        if (end <= first) continue;
        const int64_t more = (end < to ? end : to) - first;
        if (more > most) return rows > 0 ? rows : most;
        rows = more;
    }
    return rows;
}

/* The tile program of a stage for rows from..to - 1 and units u..u_end - 1, 0: each line's own. */
static void run_tiles(const run *r, const run_stage *s, tile *t, int64_t from, int64_t to,
                      int64_t u, int64_t u_end)
{
    if (s->line == s->line_end) return;
    enum { MOST_UNITS = TILE_AREA / TILE_ROWS };
    const int64_t units = u_end == 0 ? s->units : u_end - u < MOST_UNITS ? u_end - u : MOST_UNITS;
    const int64_t rows = u_end == 0 ? s->rows : r->way == 0 ? TILE_ROWS : BACK_ROWS;
    t->stride = units;
    for (t->first = from; t->first < to; t->first += t->rows) {
        t->rows = tile_rows(r, t->first, to, rows);
        for (t->u = u; t->u == u || t->u < u_end; t->u += units) {
            t->units = u_end == 0 ? 0 : u_end - t->u < units ? u_end - t->u : units;
            run_tile(r, s, t);
        }
    }
}

/* ---- products ---- */

static wf_matrix matrix_at(const spot *s, const step_rows *step, wf_dtype dtype, int64_t first,
                           int64_t rows, int64_t columns)
{
    return wf_matrix_strided(dtype, s->base + (step->at[s->index] + first) * s->row, rows, columns,
                             s->row / s->size, 1);
}

static void run_products(const run *r, const run_stage *s, const step_rows *step, int64_t from,
                         int64_t to, int64_t panel, int64_t panel_end, int64_t of)
{
    if (to <= from) return;
    for (const multiply *m = r->multiply + s->multiply, *end = r->multiply + s->multiply_end;
         m < end; m++) {
        const bool all = panel == 0 && panel_end == of;
        const int64_t first = all ? 0 : panel * m->panels / of,
                      last = all ? m->panels : panel_end * m->panels / of;
        if (first >= last) continue;
        wf_gemm_packed(matrix_at(&m->from, step, m->dtype, from, to - from, m->k), m->packed, first,
                       last, m->add, matrix_at(&m->to, step, m->dtype, from, to - from, m->n));
    }
}

/* ---- a share of the steps ---- */

typedef struct share {
    const run *r;
    const wf_seq_share *mine;
    int64_t from, to; /* rows */
    bool units;       /* threads share units, and meet */
    bool leads;       /* does what is not shared */
    tile tile;
    char *scratch;
} share;

/* My panels of `panels`. */
static void my_panels(const share *h, int64_t panels, int64_t *first, int64_t *last)
{
    *first = h->units ? h->mine->panel * panels / h->r->panels : 0;
    *last = h->units ? h->mine->panel_end * panels / h->r->panels : panels;
}

/* The call for rows from..to - 1, of which the first one begins a group: a group at a time. What a
 * kernel makes of a row may hang, to rounding, on how many it is given, and where threads' rows
 * begin must not be seen in it. */
static void call_groups(const share *h, const call *c, const step_rows *step, int64_t from,
                        int64_t to)
{
    const run *r = h->r;
    const int64_t groups = wf_seq_groups(r->batch);
    if (c->whole) {
        run_call(r, c, step, from, to - from, h->scratch);
        return;
    }
    for (int64_t g = from * groups / r->batch; from < to; g++) {
        int64_t end = wf_seq_group_begin(r->batch, g + 1);
        if (end <= from) continue;
        if (end > to) end = to;
        run_call(r, c, step, from, end - from, h->scratch);
        from = end;
    }
}

static void stage_call(share *h, const run_stage *s, const step_rows *step, int64_t to)
{
    if (h->leads && to > h->from) {
        run_tiles(h->r, s, &h->tile, h->from, to, 0, 0);
        call_groups(h, s->call, step, h->from, to);
    }
    wf_seq_meet(h->mine);
}

static int64_t unit_at(const run_stage *s, int64_t panel)
{
    return panel * s->panel < s->width ? panel * s->panel : s->width;
}

/* A panel of units at a time, so that what its products make stays in the nearest cache; of few
 * rows all at once. */
static void forward_by_panels(share *h, const run_stage *s, const step_rows *step, int64_t to)
{
    int64_t first, last;
    my_panels(h, s->panels, &first, &last);
    const int64_t some = s->merged || h->to - h->from <= 2 ? last - first : 2;
    for (int64_t q = first; q < last; q += some) {
        const int64_t end = q + some < last ? q + some : last;
        if (s->merged)
            run_products(h->r, s, step, h->from, to, 0, 1, 1);
        else
            run_products(h->r, s, step, h->from, to, q, end, s->panels);
        run_tiles(h->r, s, &h->tile, h->from, to, s->merged ? 0 : unit_at(s, q),
                  s->merged ? 0 : unit_at(s, end));
    }
}

static void stage_forward(share *h, const run_stage *s, const step_rows *step, int64_t to)
{
    if (s->panels > 0) {
        forward_by_panels(h, s, step, to);
    } else {
        run_products(h->r, s, step, h->from, to, h->mine->panel, h->mine->panel_end, h->r->panels);
        wf_seq_meet(h->mine);
        if (h->leads) run_tiles(h->r, s, &h->tile, h->from, to, 0, 0);
    }
    wf_seq_meet(h->mine);
}

static void stage_backward(share *h, const run_stage *s, const step_rows *step, int64_t to)
{
    int64_t first, last;
    my_panels(h, s->panels, &first, &last);
    if (first < last && !s->merged)
        run_tiles(h->r, s, &h->tile, h->from, to, unit_at(s, first), unit_at(s, last));
    else if ((s->panels == 0 && h->leads) || s->merged)
        run_tiles(h->r, s, &h->tile, h->from, to, 0, 0);
    wf_seq_meet(h->mine);
    if (s->multiply == s->multiply_end) return;
    run_products(h->r, s, step, h->from, to, h->mine->panel, h->mine->panel_end, h->r->panels);
    wf_seq_meet(h->mine);
}

/* Rows that come to a state's gradient from no later step hold zeros. */
static void clear_carry(const share *h, const step_rows *step, int64_t to)
{
    const run *r = h->r;
    const plan *p = r->p;
    int64_t later = 0; /* rows of the step after */
    if (step->k + 1 < p->steps) later = r->rows->active[step->time + (p->s->reverse ? -1 : 1)];
    if (later >= step->n) return;
    if (later < h->from) later = h->from;
    for (int k = 0; k < p->s->states && later < to && h->leads; k++) {
        const spot s = r->carry[k];
        if (s.base)
            memset(s.base + (step->at[INDEX_NOW] + later) * s.row, 0,
                   (size_t)((to - later) * s.row));
    }
    wf_seq_meet(h->mine);
}

/* Sums over a few steps join those over all: of a share's groups. Where threads share units one of
 * them does it for all. */
static void gather_sums(const share *h)
{
    const run *r = h->r;
    const plan *p = r->p;
    if (p->sums == 0) return;
    wf_seq_meet(h->mine);
    for (int32_t i = 0; h->leads && i < p->n[LIST_SUM]; i++) {
        const sum_range *s = &p->range[i];
        for (int64_t g = h->mine->group; g < h->mine->group_end; g++) {
            const int64_t at = g * p->sums + s->from;
            char *few = run_part(r, s->dtype, s->from) + g * p->sums * SUM_BYTES;
            wf_sum_rows(s->dtype, 1, s->width, (const void *[]){ few }, 1, r->high + at,
                        r->low + at);
            memset(few, 0, (size_t)(s->width * wf_dtype_size(s->dtype)));
        }
    }
    wf_seq_meet(h->mine);
}

static share share_of(run *r, const wf_seq_share *mine)
{
    share h = { .r = r, .mine = mine };
    h.from = wf_seq_group_begin(r->batch, mine->group);
    h.to = wf_seq_group_begin(r->batch, mine->group_end);
    h.units = mine->team != NULL;
    h.leads = mine->panel == 0;
    const int32_t number = __atomic_fetch_add(&r->taken, 1, __ATOMIC_RELAXED);
    h.tile.memory = r->tiles + number * r->tile_bytes;
    h.tile.apart = r->tile_area * (int64_t)sizeof(double);
    h.scratch = r->calls + number * r->call_bytes;
    return h;
}

/* Stages of calls and tiles alone, a block of rows at a time: what one makes is still near when the
 * next reads it. */
static void stages_by_rows(share *h, int32_t first, const step_rows *step, int64_t to)
{
    const run *r = h->r;
    const run_stage *begin = &r->stage[first];
    const int64_t from = h->from, groups = wf_seq_groups(r->batch);
    for (int64_t g = h->mine->group; h->from < to;) {
        g += begin->groups - g % begin->groups;
        int64_t end = wf_seq_group_begin(r->batch, g < groups ? g : groups);
        if (end > to) end = to;
        for (int32_t k = 0; k < begin->together; k++) {
            const run_stage *s = r->way == 0 ? begin + k : begin - k;
            run_tiles(r, s, &h->tile, h->from, end, 0, 0);
            if (s->call) call_groups(h, s->call, step, h->from, end);
        }
        h->from = end;
    }
    h->from = from;
}

static void run_stages(share *h, const step_rows *step, int64_t to)
{
    const run *r = h->r;
    const int32_t n = r->p->n[LIST_STAGE];
    for (int32_t k = 0; k < n;) {
        const int32_t i = r->way == 0 ? k : n - 1 - k;
        const run_stage *s = &r->stage[i];
        const bool rows = s->together > 1 && !h->units;
        if (rows)
            stages_by_rows(h, i, step, to);
        else if (s->call)
            stage_call(h, s, step, to);
        else if (r->way == 0)
            stage_forward(h, s, step, to);
        else
            stage_backward(h, s, step, to);
        k += rows ? s->together : 1;
    }
}

static void forward_steps(void *context, const wf_seq_share *mine)
{
    run *r = context;
    share h = share_of(r, mine);
    for (int64_t k = r->first; k < r->last; k++) {
        const step_rows step = run_step(r, k);
        const int64_t to = step.n < h.to ? step.n : h.to;
        h.tile.step = &step;
        if (to > h.from) run_stages(&h, &step, to);
    }
}

static void backward_steps(void *context, const wf_seq_share *mine)
{
    run *r = context;
    share h = share_of(r, mine);
    for (int64_t k = r->last; k-- > r->first;) {
        const step_rows step = run_step(r, k);
        const int64_t to = step.n < h.to ? step.n : h.to;
        h.tile.step = &step;
        if (to <= h.from) continue;
        clear_carry(&h, &step, to);
        run_stages(&h, &step, to);
        if (r->ends.line < r->ends.line_end) stage_backward(&h, &r->ends, &step, to);
        if (k % SUM_STEPS == 0) gather_sums(&h);
    }
    gather_sums(&h);
}

/* ---- what all steps share ---- */

/* A constant as an op sees it: its numbers, or its gradient. */
wf_tensor run_closed(const run *r, const closed *c, bool slope)
{
    const wf_var *root = r->p->constant[c->constant].root;
    const int32_t i = input_of_constant(r->p, c->constant);
    const wf_tensor *all = slope ? r->c->gin[i] : r->c->in[i];
    wf_tensor x = c->form;
    x.data = all ? (char *)all->data + ((uintptr_t)x.data - (uintptr_t)root->value.data) : NULL;
    return x;
}

wf_matrix run_weight(const run *r, const term *m, int64_t row, int64_t width, int64_t k, bool slope)
{
    const wf_tensor w = run_closed(r, &m->weight, slope);
    if (!w.data) return (wf_matrix){ 0 };
    return wf_matrix_part(wf_matrix_of_tensor(&w), row, m->column, width, k);
}

static wf_tensor row_tensor(const run *r, const constant_row *row)
{
    const spot s = run_spot(r, (place){ row->buffer, INDEX_STILL, 0 });
    return wf_tensor_of(row->of.form.dtype, row->inner, s.base);
}

/* Constants that are used as rows, and sums of biases. */
static void fill_rows(const run *r)
{
    const plan *p = r->p;
    for (int32_t i = 0; i < p->n[LIST_ROW]; i++) {
        const constant_row *row = &p->of_row[i];
        const wf_tensor from = run_closed(r, &row->of, false), to = row_tensor(r, row);
        wf_tensor_assign(&from, &to, 1);
    }
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        const value *v = &p->value[i];
        if (v->dead || v->bias < 0) continue;
        const spot to = run_spot(r, v->biased);
        memset(to.base, 0, (size_t)(v->width * to.size));
        for (int32_t b = v->bias; b >= 0; b = p->bias[b].next) {
            const wf_tensor from = row_tensor(r, &p->of_row[p->bias[b].row]);
            wf_run_add(v->dtype, v->width, 1, wf_element(v->dtype, from.data, p->bias[b].column), 1,
                       to.base, 1);
        }
    }
}

static void pack_all(const run *r)
{
    for (int32_t i = 0; i < r->p->n[LIST_STAGE]; i++) {
        const run_stage *s = &r->stage[i];
        for (int32_t k = s->multiply; k < s->multiply_end; k++) {
            const multiply *m = &r->multiply[k];
            const term *t = &r->p->term[m->term];
            const wf_matrix w = r->way == 0 ? wf_matrix_transposed(run_weight(r, t, m->weight_row,
                                                                              m->n, m->k, false))
                                            : run_weight(r, t, m->weight_row, m->k, m->n, false);
            wf_pack(r->c->threads, w, m->packed);
        }
    }
}

static void run_loop(run *r, wf_seq_fn *steps)
{
    r->taken = 0;
    wf_seq_run(r->rows, r->threads, r->panels, r->flops, steps, r);
}

/* Rows of sequences times weights, of the steps at hand. */
static void run_hoisted(const run *r)
{
    const plan *p = r->p;
    const int64_t rows = r->row_count;
    for (int32_t i = 0; i < p->hoisted; i++) {
        const bulk *b = &p->bulk[i];
        const term *m = &p->term[b->term];
        const value *x = &p->value[m->value];
        const spot from = run_spot(r, x->at), to = run_spot(r, b->of);
        wf_gemm(r->c->threads, 1,
                wf_matrix_strided(x->dtype, from.base + r->row_from * from.row, rows, x->width,
                                  from.row / from.size, 1),
                wf_matrix_transposed(run_weight(r, m, m->row, b->width, x->width, false)),
                b->add ? 1 : 0,
                wf_matrix_strided(x->dtype, to.base, rows, b->width, to.row / to.size, 1));
    }
}

/* A tensor of rows, as row-major as its rows are. */
static wf_tensor dense_rows(const wf_tensor *like, int64_t rows, void *data)
{
    wf_tensor x = *like;
    int64_t bytes;
    x.dim[0] = rows;
    x.data = data;
    tensor_settle(&x, &bytes);
    return x;
}

static void put_rows(const wf_tensor *from, int64_t first, int64_t last, char *to)
{
    wf_tensor some;
    if (first >= last || !wf_view_slice(from, 0, first, last, 1, &some)) return;
    const wf_tensor rows = dense_rows(&some, last - first, to);
    wf_tensor_assign(&some, &rows, 1);
}

/* Initial states, where the steps find them. */
static void begin_state(const run *r, int k)
{
    const plan *p = r->p;
    const wf_tensor *from = r->c->in[input_of_state(p, k)], *out = r->c->out[k];
    const int64_t row = p->buffer[p->state_buffer[k]].width * wf_dtype_size(out->dtype);
    const int64_t batch = r->batch, *active = r->rows->active;
    char *to = out->data;
    if (p->ring[k]) {
        put_rows(from, 0, batch, to);
        put_rows(from, 0, batch, to + batch * row);
        return;
    }
    if (!p->full) memset(to + (out->dim[0] - 1) * row, 0, (size_t)row);
    if (!p->s->reverse) {
        put_rows(from, 0, batch, to);
        return;
    }
    put_rows(from, active[0], batch, to + active[0] * row);
    for (int64_t i = 0; i < p->steps; i++) /* rows that begin at step i */
        put_rows(from, active[i + 1], active[i],
                 to + (batch + r->rows->begin[i] + active[i + 1]) * row);
}

static void begin_outputs(const run *r)
{
    const plan *p = r->p;
    for (int k = 0; k < p->s->states; k++) begin_state(r, k);
    for (int j = 0; !p->full && j < p->s->outputs; j++) {
        if (p->y_state[j] >= 0) continue;
        const wf_tensor *out = r->c->out[p->y_output[j]]; /* the last row is the padding's */
        const int64_t row = p->buffer[p->y_buffer[j]].width * wf_dtype_size(out->dtype);
        memset((char *)out->data + (out->dim[0] - 1) * row, 0, (size_t)row);
    }
}

void plan_run_forward(const wf_call *c)
{
    run r;
    const plan *p = (const plan *)(const void *)c->op;
    run_layout(&r, p, c->threads, 0, c->scratch);
    run_resolve(&r, c);
    fill_rows(&r);
    pack_all(&r);
    begin_outputs(&r);
    for (int64_t k = 0; k < p->steps; k += p->chunk) {
        take_steps(&r, k, k + p->chunk < p->steps ? k + p->chunk : p->steps);
        run_hoisted(&r);
        run_loop(&r, forward_steps);
    }
}

/* ---- after the way back ---- */

static bool end_row(const run *r, int32_t i, const wf_tensor *dense)
{
    const plan *p = r->p;
    const constant_row *row = &p->of_row[i];
    const wf_dtype dtype = dense->dtype;
    bool any = row->sum >= 0;
    memset(dense->data, 0, (size_t)(row->width * wf_dtype_size(dtype)));
    if (any) wf_sum_into(dtype, row->width, r->high + row->sum, r->low + row->sum, dense->data, 1);
    for (int32_t k = 0; k < p->n[LIST_VALUE]; k++) {
        const value *v = &p->value[k];
        for (int32_t b = v->sum >= 0 ? v->bias : -1; b >= 0; b = p->bias[b].next) {
            if (p->bias[b].row != i) continue;
            wf_sum_into(dtype, v->width, r->high + v->sum, r->low + v->sum,
                        wf_element(dtype, dense->data, p->bias[b].column), 1);
            any = true;
        }
    }
    return any;
}

static void end_sums(const run *r)
{
    const plan *p = r->p;
    if (p->sums == 0) return;
    wf_seq_add_groups(wf_seq_groups(r->batch), p->sums, r->high, r->low);
    for (int32_t i = 0; i < p->n[LIST_ROW]; i++) {
        const constant_row *row = &p->of_row[i];
        if (row->of.form.dtype == WF_I32 || !p->constant[row->of.constant].wants) continue;
        const wf_tensor to = run_closed(r, &row->of, true), dense = row_tensor(r, row);
        if (to.data && end_row(r, i, &dense)) wf_sum_tensor(&dense, &to, 1, 1, 1);
    }
}

static void take_rows(const wf_tensor *to, int64_t first, int64_t last, char *from)
{
    wf_tensor some;
    if (first >= last || !wf_view_slice(to, 0, first, last, 1, &some)) return;
    const wf_tensor rows = dense_rows(&some, last - first, from);
    wf_tensor_accumulate(&rows, &some, 1, 1);
}

/* Gradients of initial states: of rows that begin at a step, and of those that none has. */
static void end_states(const run *r)
{
    const plan *p = r->p;
    for (int k = 0; k < p->s->states; k++) {
        const wf_tensor *gin = r->c->gin[input_of_state(p, k)], *gout = r->c->gout[k];
        if (!gin || p->carry[k] < 0) continue;
        const spot s = run_spot(r, (place){ p->carry[k], INDEX_PAST, 0 });
        int64_t old = 0;
        for (int64_t i = 0; i < p->steps; i++) {
            const step_rows step = run_step(r, i);
            take_rows(gin, old, step.n, s.base + (step.at[INDEX_PAST] + old) * s.row);
            old = step.n;
        }
        const int64_t from = p->s->reverse ? r->rows->active[0] : 0;
        if (gout) take_rows(gin, from, r->batch, (char *)gout->data + from * s.row);
    }
}

wf_matrix run_rows(const run *r, place where, wf_dtype dtype, int64_t width)
{
    const spot s = run_spot(r, where);
    const int64_t rows = r->row_count, first = run_earliest(r).at[where.index];
    bool gaps = false;
    for (int64_t k = r->first; k < r->last && !gaps; k++) {
        const step_rows step = run_step(r, k);
        gaps = step.at[where.index] != first + step.at[INDEX_SLOPES];
    }
    if (!gaps)
        return wf_matrix_strided(dtype, s.base + first * s.row, rows, width, s.row / s.size, 1);
    for (int64_t k = r->first; k < r->last; k++) {
        const step_rows step = run_step(r, k);
        for (int64_t i = 0; i < step.n; i++)
            memcpy(r->gathered + (step.at[INDEX_SLOPES] + i) * width * s.size,
                   s.base + (step.at[where.index] + i) * s.row, (size_t)(width * s.size));
    }
    return wf_matrix_of(dtype, r->gathered, rows, width);
}

static bool fresh(const run *r, int32_t input)
{
    return input < 32 && r->c->fresh >> input & 1;
}

/* Gradients that hold nothing yet and that no product begins. */
static void clear_fresh(const run *r)
{
    const plan *p = r->p;
    const wf_call *c = r->c;
    uint32_t begun = 0;
    for (int32_t i = p->hoisted; i < p->n[LIST_BULK]; i++) {
        const bulk *b = &p->bulk[i];
        const term *m = &p->term[b->term];
        const int32_t of = input_of_constant(p, m->weight.constant);
        if (b->begins && of < 32) begun |= UINT32_C(1) << of;
        if (b->begins_sequence) begun |= UINT32_C(1) << p->value[m->value].source;
    }
    for (int32_t i = 0; i < c->n_in; i++)
        if (c->gin[i] && fresh(r, i) && !(begun >> i & 1)) wf_tensor_fill(c->gin[i], 0);
}

/* Weights' gradients, and those of sequences: one product each over the steps at hand. */
static void run_deferred(const run *r)
{
    const plan *p = r->p;
    const int threads = r->c->threads;
    const bool begin = r->last == p->steps;
    for (int32_t i = p->hoisted; i < p->n[LIST_BULK]; i++) {
        const bulk *b = &p->bulk[i];
        const term *m = &p->term[b->term];
        const value *x = &p->value[m->value];
        const wf_matrix d = run_rows(r, b->of, x->dtype, b->width);
        const wf_matrix slope = run_weight(r, m, m->row, b->width, x->width, true);
        const bool writes = begin && b->begins &&
                            fresh(r, input_of_constant(p, m->weight.constant));
        if (slope.data)
            wf_gemm_long(threads, 1, wf_matrix_transposed(d),
                         run_rows(r, x->at, x->dtype, x->width), writes ? 0 : 1, slope, r->product);
        if (x->kind != VALUE_SEQUENCE || !x->wants) continue;
        wf_matrix to = run_rows(r, x->at, x->dtype, x->width);
        const wf_tensor *gin = r->c->gin[x->source];
        if (!gin) continue;
        const int64_t row = p->buffer[x->at.buffer].width;
        to.data = wf_element(x->dtype, gin->data, r->row_from * row + x->column);
        wf_gemm(threads, 1, d, run_weight(r, m, m->row, b->width, x->width, false),
                b->begins_sequence && fresh(r, x->source) ? 0 : 1, to);
    }
}

/* The first of the steps that go back at once, down from last - 1. */
static int64_t steps_back(const run *r, int64_t last)
{
    int64_t first = last - 1, rows = run_step(r, first).n;
    while (first > 0 && rows + run_step(r, first - 1).n <= r->p->slope_rows)
        rows += run_step(r, --first).n;
    return first;
}

void plan_run_backward(const wf_call *c)
{
    run r;
    const plan *p = (const plan *)(const void *)c->op;
    run_layout(&r, p, c->threads, 1, c->scratch);
    run_resolve(&r, c);
    fill_rows(&r);
    pack_all(&r);
    const size_t sums = (size_t)(wf_seq_groups(r.batch) * p->sums) * sizeof(double);
    memset(r.parts, 0, (size_t)(wf_seq_groups(r.batch) * p->sums) * SUM_BYTES);
    memset(r.high, 0, sums);
    memset(r.low, 0, sums);
    clear_fresh(&r);
    for (int64_t last = p->steps; last > 0; last = r.first) {
        take_steps(&r, steps_back(&r, last), last);
        run_loop(&r, backward_steps);
        run_deferred(&r);
        for (int32_t i = 0; i < p->n[LIST_CALL]; i++)
            if (p->call[i].shared && p->call[i].done && run_call_alive(&r, &p->call[i], NULL))
                run_call_shared(&r, &p->call[i]);
    }
    end_states(&r);
    end_sums(&r);
}
