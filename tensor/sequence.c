/* Where rows lie, who computes them and how weights are packed: the machinery of fused
 * sequences, whatever their cell. */
#include "tensor/sequence.h"

#include "tensor/gemm.h"
#include "tensor/size.h"
#include "tensor/sum.h"

#include <string.h>

/* ---- the plan ---- */

int64_t wf_seq_plan_bytes(int64_t time, int64_t batch)
{
    int64_t steps, items, bytes;
    if (!wf_size_add(time, 1, &steps) || !wf_size_add(steps, batch, &items) ||
        !wf_size_mul(items, 16, &bytes))
        return -1;
    return bytes;
}

static int64_t length_of(const wf_tensor *lengths, int64_t b, int64_t time)
{
    if (!lengths) return time;
    const int32_t n = ((const int32_t *)lengths->data)[b * lengths->stride[0]];
    return n < 0 ? 0 : n < time ? n : time;
}

wf_seq_plan wf_seq_plan_make(int64_t time, int64_t batch, const wf_tensor *lengths, void *memory)
{
    if (time < 0 || batch < 0 || !memory || (lengths && !lengths->data)) return (wf_seq_plan){ 0 };
    int64_t *order = memory, *length = order + batch, *active = length + batch,
            *begin = active + time + 1;
    /* How many have each length, then how many go on at each step, then where those of each
     * length begin. */
    memset(active, 0, (size_t)(time + 1) * sizeof *active);
    for (int64_t b = 0; b < batch; b++) active[length_of(lengths, b, time)]++;
    int64_t longer = 0;
    for (int64_t n = time; n >= 0; n--) {
        int64_t those = active[n];
        begin[n] = longer; /* the place of the first of length n */
        active[n] = longer;
        longer += those;
    }
    for (int64_t b = 0; b < batch; b++) {
        int64_t n = length_of(lengths, b, time), place = begin[n]++;
        order[place] = b;
        length[place] = n;
    }
    int64_t rows = 0;
    for (int64_t i = 0; i < time; i++) {
        begin[i] = rows;
        rows += active[i];
    }
    begin[time] = rows;
    return (wf_seq_plan){ .time = time,
                          .batch = batch,
                          .rows = rows,
                          .full = rows == time * batch,
                          .order = order,
                          .length = length,
                          .active = active,
                          .begin = begin };
}

int64_t wf_seq_before(const wf_seq_plan *p, int64_t i, bool reverse)
{
    if (!p || i >= p->time) return -1;
    if (!reverse) return i - 1;
    return i + 1 < p->time ? i + 1 : -1;
}

int64_t wf_seq_continuing(const wf_seq_plan *p, int64_t i, bool reverse)
{
    if (!p || i < 0 || i >= p->time) return 0;
    if (reverse) return p->active[i + 1]; /* active[time] is 0 */
    return i > 0 ? p->active[i] : 0;
}

/* ---- moving rows ---- */

/* n numbers side by side out of a line of x. */
static void copy_row(wf_dtype dtype, int64_t n, const void *x, int64_t stride, void *y)
{
    const int64_t size = wf_dtype_size(dtype);
    if (stride == 1)
        memcpy(y, x, (size_t)(n * size));
    else if (size == sizeof(float))
        for (int64_t j = 0; j < n; j++) ((uint32_t *)y)[j] = ((const uint32_t *)x)[j * stride];
    else
        for (int64_t j = 0; j < n; j++)
            memcpy(wf_element(dtype, y, j), wf_element(dtype, x, j * stride), (size_t)size);
}

static void *row_of(const wf_tensor *x, int64_t i, int64_t b)
{
    return wf_element(x->dtype, x->data, i * x->stride[0] + b * x->stride[1]);
}

/* Is x of `rank` axes, and is there all that a move needs? */
static bool can_move(const wf_seq_plan *p, const wf_tensor *x, int rank, const void *rows)
{
    return p && x && x->data && x->rank == rank && rows;
}

bool wf_seq_in_place(const wf_seq_plan *p, const wf_tensor *x)
{
    if (!p || !x || x->rank != 3 || !p->full || (x->dim[2] > 1 && x->stride[2] != 1)) return false;
    int64_t row = p->batch > 1 ? x->stride[1] : x->stride[0];
    if (row < x->dim[2]) return false; /* rows that share memory */
    return p->batch == 1 || p->time == 1 || x->stride[0] == p->batch * row;
}

/* rows: (plan->rows, width), row-major. */
typedef struct move {
    const wf_seq_plan *plan;
    const wf_tensor *tensor;
    wf_matrix rows;
    const void *initial;
    bool reverse;
} move;

static void gather_steps(void *context, int64_t first, int64_t last)
{
    const move *m = context;
    const wf_seq_plan *p = m->plan;
    for (int64_t i = first; i < last; i++)
        for (int64_t r = 0; r < p->active[i]; r++)
            copy_row(m->tensor->dtype, m->rows.columns, row_of(m->tensor, i, p->order[r]),
                     m->tensor->stride[2], wf_matrix_at(m->rows, p->begin[i] + r, 0));
}

static void scatter_steps(void *context, int64_t first, int64_t last)
{
    const move *m = context;
    const wf_seq_plan *p = m->plan;
    for (int64_t i = first; i < last; i++)
        for (int64_t r = 0; r < p->active[i]; r++)
            wf_run_add(m->tensor->dtype, m->rows.columns, 1,
                       wf_matrix_at(m->rows, p->begin[i] + r, 0), 1,
                       row_of(m->tensor, i, p->order[r]), m->tensor->stride[2]);
}

static void before_steps(void *context, int64_t first, int64_t last)
{
    const move *m = context;
    const wf_seq_plan *p = m->plan;
    const wf_matrix to = m->rows;
    for (int64_t i = first; i < last; i++) {
        int64_t before = wf_seq_before(p, i, m->reverse), old = wf_seq_continuing(p, i, m->reverse);
        for (int64_t r = 0; r < p->active[i]; r++) {
            const void *from = r < old ? row_of(m->tensor, before, p->order[r])
                                       : wf_element(to.dtype, m->initial, r * to.columns);
            memcpy(wf_matrix_at(to, p->begin[i] + r, 0), from,
                   (size_t)(to.columns * wf_dtype_size(to.dtype)));
        }
    }
}

static void run_move(const wf_seq_plan *p, int threads, const wf_tensor *x, const void *rows,
                     wf_par_fn *steps, move m)
{
    m.plan = p;
    m.tensor = x;
    m.rows = wf_matrix_of(x->dtype, rows, p->rows, x->dim[2]);
    const bool small = p->rows * x->dim[2] < 1 << 15; /* not worth a second thread */
    wf_par_for(small ? 1 : threads, p->time, 1, steps, &m);
}

void wf_seq_gather(const wf_seq_plan *p, int threads, const wf_tensor *x, void *to)
{
    if (can_move(p, x, 3, to)) run_move(p, threads, x, to, gather_steps, (move){ 0 });
}

void wf_seq_scatter_add(const wf_seq_plan *p, int threads, const void *from, const wf_tensor *y)
{
    if (can_move(p, y, 3, from)) run_move(p, threads, y, from, scatter_steps, (move){ 0 });
}

void wf_seq_gather_before(const wf_seq_plan *p, int threads, bool reverse, const wf_tensor *y,
                          const void *initial, void *to)
{
    if (can_move(p, y, 3, to) && initial)
        run_move(p, threads, y, to, before_steps, (move){ .initial = initial, .reverse = reverse });
}

void wf_seq_gather_state(const wf_seq_plan *p, const wf_tensor *x, int64_t width, wf_dtype dtype,
                         void *to)
{
    if (!x && p && to && width >= 0)
        memset(to, 0, (size_t)(p->batch * width * wf_dtype_size(dtype)));
    if (!can_move(p, x, 2, to)) return;
    for (int64_t r = 0; r < p->batch; r++)
        copy_row(dtype, width, wf_element(dtype, x->data, p->order[r] * x->stride[0]), x->stride[1],
                 wf_element(dtype, to, r * width));
}

void wf_seq_scatter_state_add(const wf_seq_plan *p, const void *from, const wf_tensor *y)
{
    if (!can_move(p, y, 2, from)) return;
    for (int64_t r = 0; r < p->batch; r++)
        wf_run_add(y->dtype, y->dim[1], 1, wf_element(y->dtype, from, r * y->dim[1]), 1,
                   wf_element(y->dtype, y->data, p->order[r] * y->stride[0]), y->stride[1]);
}

void wf_seq_add_groups(int64_t groups, int64_t n, double *high, double *low)
{
    if (!high || !low) return;
    for (int64_t g = 1; g < groups; g++) {
        for (int64_t j = 0; j < n; j++) {
            wf_sum_term(&high[j], &low[j], high[g * n + j]);
            low[j] += low[g * n + j];
        }
    }
}

/* ---- threads ---- */

int64_t wf_seq_groups(int64_t batch)
{
    return batch <= 1 ? 1 : 2 * ((batch + 7) / 8); /* even, so that two threads have the same */
}

int64_t wf_seq_group_begin(int64_t batch, int64_t group)
{
    return group * batch / wf_seq_groups(batch);
}

typedef struct run {
    const wf_seq_plan *plan;
    int64_t panels;
    bool by_rows;
    wf_seq_fn *fn;
    void *context;
} run;

/* The first group of which a share's steps begin: shares have about as many steps each. */
static int64_t share_begin(const wf_seq_plan *p, int id, int size)
{
    int64_t groups = wf_seq_groups(p->batch), steps = 0, row = 0, group = 0;
    if (id == 0) return 0;
    if (id == size) return groups;
    for (; group < groups; group++) {
        int64_t end = wf_seq_group_begin(p->batch, group + 1), more = 0;
        for (; row < end; row++) more += p->length[row];
        /* The group that straddles the cut goes to the side where most of it lies. */
        if ((2 * steps + more) * size >= 2 * p->rows * id) break;
        steps += more;
    }
    return group;
}

static void run_member(void *context, wf_team *team, int id, int size)
{
    const run *r = context;
    wf_seq_share mine = { .group_end = wf_seq_groups(r->plan->batch), .panel_end = r->panels };
    if (r->by_rows) {
        mine.group = share_begin(r->plan, id, size);
        mine.group_end = share_begin(r->plan, id + 1, size);
    } else {
        mine.panel = id * r->panels / size;
        mine.panel_end = (id + 1) * r->panels / size;
        mine.team = size > 1 ? team : NULL;
    }
    r->fn(r->context, &mine);
}

/* On how many threads? Rows of their own for every thread, four or more, need no meeting in all of
 * time. Few rows share the weights: half of them stays in a processor's own cache. A meeting must
 * be worth its time. */
static int threads_for(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops,
                       bool by_rows)
{
    enum { WORTH_A_REGION = 4000000, WORTH_A_MEETING = 400000 };
    if (p->rows * flops < WORTH_A_REGION) return 1;
    if (by_rows) return threads;
    if (panels < 2 || p->rows * flops < WORTH_A_MEETING * p->time) return 1;
    return threads > panels ? (int)panels : threads;
}

static bool by_rows(const wf_seq_plan *p, int threads)
{
    return p->batch >= 4 * threads;
}

bool wf_seq_shares_units(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops)
{
    return p && !by_rows(p, threads) && threads_for(p, threads, panels, flops, false) > 1;
}

void wf_seq_run(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops, wf_seq_fn *fn,
                void *context)
{
    if (!p || !fn) return;
    run r = {
        .plan = p, .panels = panels, .by_rows = by_rows(p, threads), .fn = fn, .context = context
    };
    wf_par_team(threads_for(p, threads, panels, flops, r.by_rows), run_member, &r);
}

void wf_seq_meet(const wf_seq_share *mine)
{
    if (mine && mine->team) wf_team_barrier(mine->team);
}

/* ---- recurrent weights ---- */

int64_t wf_seq_pack_bytes(wf_dtype dtype, int64_t units)
{
    int64_t count = wf_pack_count(dtype, units, units), bytes = -1;
    wf_size_mul(count, wf_dtype_size(dtype), &bytes);
    return bytes;
}

int64_t wf_seq_panels(wf_dtype dtype, int64_t units)
{
    int64_t width = wf_pack_width(dtype);
    return width > 0 && units > 0 ? (units + width - 1) / width : 0;
}

void wf_seq_pack(int threads, int64_t blocks, int64_t units, bool turned, const wf_tensor *w,
                 void *packed)
{
    if (!w || !w->data || !packed || units <= 0) return;
    const wf_matrix all = wf_matrix_strided(w->dtype, w->data, blocks * units, units, w->stride[0],
                                            w->stride[1]);
    const int64_t each = wf_seq_pack_bytes(w->dtype, units);
    for (int64_t g = 0; g < blocks; g++) {
        const wf_matrix block = wf_matrix_part(all, g * units, 0, units, units);
        wf_pack(threads, turned ? wf_matrix_transposed(block) : block, (char *)packed + g * each);
    }
}
