/* Where the rows of a loop over sequences lie, and who computes them. */
#include "tensor/sequence.h"

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

/* What a step costs besides its rows, in rows: the weights pass through the caches. */
enum { STEP_ROWS = 2 };

/* The group before which a share ends that begins with `group`, costs no more than `most` and is
 * not empty. A share takes part in as many steps as its first row, the longest, has. */
static int64_t share_end(const wf_seq_plan *p, int64_t group, int64_t most)
{
    const int64_t groups = wf_seq_groups(p->batch);
    int64_t row = wf_seq_group_begin(p->batch, group);
    int64_t cost = row < p->batch ? STEP_ROWS * p->length[row] : 0;
    const int64_t first = group;
    for (; group < groups; group++) {
        const int64_t end = wf_seq_group_begin(p->batch, group + 1);
        for (; row < end; row++) cost += p->length[row];
        if (cost > most && group > first) break;
    }
    return group;
}

/* The first group of share `id` of `size`, of which the dearest costs as little as can be. */
static int64_t share_begin(const wf_seq_plan *p, int id, int size)
{
    const int64_t groups = wf_seq_groups(p->batch);
    int64_t low = 0, high = p->rows + STEP_ROWS * p->time, group;
    while (low < high) {
        const int64_t most = low + (high - low) / 2;
        group = 0;
        for (int k = 0; k < size && group < groups; k++) group = share_end(p, group, most);
        if (group < groups)
            low = most + 1;
        else
            high = most;
    }
    group = 0;
    for (int k = 0; k < id && group < groups; k++) group = share_end(p, group, low);
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
