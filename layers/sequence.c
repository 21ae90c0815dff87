/* Where rows lie, who computes them and how weights are packed: the machinery of fused
 * sequences, whatever their cell. */
#include "layers/sequence_private.h"

#include "tensor/gemm.h"
#include "tensor/size.h"
#include "tensor/sum.h"

#include <string.h>

/* ---- the plan ---- */

int64_t seq_plan_bytes(int64_t time, int64_t batch)
{
    int64_t steps, items, bytes;
    if (!wf_size_add(time, 1, &steps) || !wf_size_add(steps, batch, &items) ||
        !wf_size_mul(items, 16, &bytes))
        return -1;
    return bytes;
}

static int64_t length_of(const wf_tensor *lengths, int64_t b, int64_t time)
{
    return lengths ? ((const int32_t *)lengths->data)[b * lengths->stride[0]] : time;
}

seq_plan seq_plan_make(int64_t time, int64_t batch, const wf_tensor *lengths, void *memory)
{
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
    return (seq_plan){ .time = time, .batch = batch, .rows = rows, .full = rows == time * batch,
                       .order = order, .length = length, .active = active, .begin = begin };
}

int64_t seq_before(const seq_plan *p, int64_t i, bool reverse)
{
    if (!reverse) return i - 1;
    return i + 1 < p->time ? i + 1 : -1;
}

int64_t seq_continuing(const seq_plan *p, int64_t i, bool reverse)
{
    if (reverse) return p->active[i + 1];                      /* active[time] is 0 */
    return i > 0 ? p->active[i] : 0;
}

/* ---- moving rows ---- */

static void copy_row(wf_dtype dtype, int64_t n, const char *x, int64_t stride, char *y)
{
    if (stride == 1) {
        memcpy(y, x, (size_t)(n * wf_dtype_size(dtype)));
    } else if (dtype == WF_F32) {
        for (int64_t j = 0; j < n; j++) ((float *)y)[j] = ((const float *)x)[j * stride];
    } else {
        for (int64_t j = 0; j < n; j++) ((double *)y)[j] = ((const double *)x)[j * stride];
    }
}

static char *row_of(const wf_tensor *x, int64_t i, int64_t b)
{
    return (char *)x->data + (i * x->stride[0] + b * x->stride[1]) * wf_dtype_size(x->dtype);
}

bool seq_in_place(const seq_plan *p, const wf_tensor *x)
{
    if (!p->full || (x->dim[2] > 1 && x->stride[2] != 1)) return false;
    int64_t row = p->batch > 1 ? x->stride[1] : x->stride[0];
    if (row < x->dim[2]) return false;                         /* rows that share memory */
    return p->batch == 1 || p->time == 1 || x->stride[0] == p->batch * row;
}

typedef struct move {
    const seq_plan *plan;
    const wf_tensor *tensor;
    char *rows;
    const char *initial;
    bool reverse;
} move;

static void gather_steps(void *context, int64_t first, int64_t last)
{
    const move *m = context;
    const seq_plan *p = m->plan;
    int64_t width = m->tensor->dim[2], bytes = width * wf_dtype_size(m->tensor->dtype);
    for (int64_t i = first; i < last; i++) {
        for (int64_t r = 0; r < p->active[i]; r++) {
            copy_row(m->tensor->dtype, width, row_of(m->tensor, i, p->order[r]),
                     m->tensor->stride[2], m->rows + (p->begin[i] + r) * bytes);
        }
    }
}

static void scatter_steps(void *context, int64_t first, int64_t last)
{
    const move *m = context;
    const seq_plan *p = m->plan;
    int64_t width = m->tensor->dim[2], bytes = width * wf_dtype_size(m->tensor->dtype);
    for (int64_t i = first; i < last; i++) {
        for (int64_t r = 0; r < p->active[i]; r++) {
            wf_run_add(m->tensor->dtype, width, 1, m->rows + (p->begin[i] + r) * bytes, 1,
                       row_of(m->tensor, i, p->order[r]), m->tensor->stride[2]);
        }
    }
}

static void before_steps(void *context, int64_t first, int64_t last)
{
    const move *m = context;
    const seq_plan *p = m->plan;
    int64_t bytes = m->tensor->dim[2] * wf_dtype_size(m->tensor->dtype);
    for (int64_t i = first; i < last; i++) {
        int64_t before = seq_before(p, i, m->reverse), old = seq_continuing(p, i, m->reverse);
        char *to = m->rows + p->begin[i] * bytes;
        for (int64_t r = 0; r < p->active[i]; r++) {
            const char *from = r < old ? row_of(m->tensor, before, p->order[r])
                                       : m->initial + r * bytes;
            memcpy(to + r * bytes, from, (size_t)bytes);
        }
    }
}

/* Moves this small are not worth a second thread. */
static int movers(const seq_plan *p, int threads, int64_t width)
{
    return p->rows * width < 1 << 15 ? 1 : threads;
}

void seq_gather(const seq_plan *p, int threads, const wf_tensor *x, void *to)
{
    move m = { .plan = p, .tensor = x, .rows = to };
    wf_par_for(movers(p, threads, x->dim[2]), p->time, 1, gather_steps, &m);
}

void seq_scatter_add(const seq_plan *p, int threads, const void *from, const wf_tensor *y)
{
    move m = { .plan = p, .tensor = y, .rows = (char *)(uintptr_t)from };
    wf_par_for(movers(p, threads, y->dim[2]), p->time, 1, scatter_steps, &m);
}

void seq_gather_before(const seq_plan *p, int threads, bool reverse, const wf_tensor *y,
                       const void *initial, void *to)
{
    move m = { .plan = p, .tensor = y, .rows = to, .initial = initial, .reverse = reverse };
    wf_par_for(movers(p, threads, y->dim[2]), p->time, 1, before_steps, &m);
}

void seq_gather_state(const seq_plan *p, const wf_tensor *x, int64_t width, wf_dtype dtype,
                      void *to)
{
    int64_t size = wf_dtype_size(dtype);
    if (!x) {
        memset(to, 0, (size_t)(p->batch * width * size));
        return;
    }
    for (int64_t r = 0; r < p->batch; r++) {
        copy_row(dtype, width, (const char *)x->data + p->order[r] * x->stride[0] * size,
                 x->stride[1], (char *)to + r * width * size);
    }
}

void seq_scatter_state_add(const seq_plan *p, const void *from, const wf_tensor *y)
{
    int64_t size = wf_dtype_size(y->dtype), width = y->dim[1];
    for (int64_t r = 0; r < p->batch; r++) {
        wf_run_add(y->dtype, width, 1, (const char *)from + r * width * size, 1,
                   (char *)y->data + p->order[r] * y->stride[0] * size, y->stride[1]);
    }
}

void seq_add_groups(int64_t groups, int64_t n, double *high, double *low)
{
    for (int64_t g = 1; g < groups; g++) {
        for (int64_t j = 0; j < n; j++) {
            wf_sum_term(&high[j], &low[j], high[g * n + j]);
            low[j] += low[g * n + j];
        }
    }
}

/* ---- threads ---- */

int64_t seq_groups(int64_t batch)
{
    return batch <= 1 ? 1 : 2 * ((batch + 7) / 8); /* even, so that two threads have the same */
}

int64_t seq_group_begin(int64_t batch, int64_t group)
{
    return group * batch / seq_groups(batch);
}

typedef struct run {
    const seq_plan *plan;
    int64_t panels;
    bool by_rows;
    seq_fn *fn;
    void *context;
} run;

/* The first group of which a share's steps begin: shares have about as many steps each. */
static int64_t share_begin(const seq_plan *p, int id, int size)
{
    int64_t groups = seq_groups(p->batch), steps = 0, row = 0, group = 0;
    if (id == 0) return 0;
    if (id == size) return groups;
    for (; group < groups; group++) {
        int64_t end = seq_group_begin(p->batch, group + 1), more = 0;
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
    seq_share mine = { .group_end = seq_groups(r->plan->batch), .panel_end = r->panels };
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

void seq_run(const seq_plan *p, int threads, int64_t panels, int64_t flops, seq_fn *fn,
             void *context)
{
    /* Rows of their own for every thread, four or more, need no meeting in all of time. Few rows
     * share the weights: half of them stays in a processor's own cache. A meeting must be worth
     * its time. */
    enum { WORTH_A_REGION = 4000000, WORTH_A_MEETING = 400000 };
    run r = { .plan = p,
              .panels = panels,
              .by_rows = p->batch >= 4 * threads,
              .fn = fn,
              .context = context };
    if (p->rows * flops < WORTH_A_REGION) threads = 1;
    if (!r.by_rows && (panels < 2 || p->rows * flops < WORTH_A_MEETING * p->time)) threads = 1;
    if (!r.by_rows && threads > panels) threads = (int)panels;
    wf_par_team(threads, run_member, &r);
}

void seq_meet(const seq_share *mine)
{
    if (mine->team) wf_team_barrier(mine->team);
}

/* ---- recurrent weights ---- */

int64_t seq_pack_bytes(wf_dtype dtype, int64_t units)
{
    int64_t count = wf_pack_count(dtype, units, units), bytes = -1;
    wf_size_mul(count, wf_dtype_size(dtype), &bytes);
    return bytes;
}

int64_t seq_panels(wf_dtype dtype, int64_t units)
{
    int64_t width = wf_pack_width(dtype);
    return (units + width - 1) / width;
}

void seq_pack(int threads, int64_t blocks, int64_t units, bool turned, const wf_tensor *w,
              void *packed)
{
    int64_t size = wf_dtype_size(w->dtype), each = seq_pack_bytes(w->dtype, units);
    for (int64_t g = 0; g < blocks; g++) {
        wf_pack(w->dtype, threads, units, units,
                (const char *)w->data + g * units * w->stride[0] * size, w->stride[turned],
                w->stride[!turned], (char *)packed + g * each);
    }
}
