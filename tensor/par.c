/* The one door to threads: loops that are shared out and teams that meet, whoever's the threads are
 * (tensor/pool.c). */
#include "tensor/par.h"

#include <stdatomic.h>

#include "tensor/pool_private.h"

struct wf_team {
    int size, id;
    unsigned meetings;
    wf_pool *pool; /* NULL: a team of one */
};

static atomic_int widest;

static void note_width(int width)
{
    int was = atomic_load_explicit(&widest, memory_order_relaxed);
    while (was < width && !atomic_compare_exchange_weak(&widest, &was, width)) continue;
}

int wf_par_width(void)
{
    int width = atomic_exchange(&widest, 1);
    return width < 1 ? 1 : width;
}

/* A pool for a region of so many parts, and how many members have one each; NULL: the caller alone.
 */
static wf_pool *take(int threads, int64_t parts, int *members)
{
    if (threads > parts) threads = (int)parts;
    if (threads <= 1) return NULL;
    int ceiling = wf_threads();
    if (threads > ceiling) threads = ceiling;
    return threads <= 1 ? NULL : wf_pool_take(threads, members);
}

/* ---- loops ----------------------------------------------------------------------------------- */

typedef struct loop {
    wf_par_fn *fn;
    void *context;
    int64_t n, grain;
    int parts;
} loop;

/* The units of grain are shared out in contiguous ranges that differ by one unit at most. */
static void run_part(const void *context, int id)
{
    WF_FP_SCOPE uint32_t state = wf_fp_enter();
    const loop *l = context;
    int64_t units = (l->n - 1) / l->grain + 1;
    int64_t each = units / l->parts, extra = units % l->parts;
    int64_t first = id * each + (id < extra ? id : extra);
    int64_t last = first + each + (id < extra);
    if (first == last) return;
    l->fn(l->context, first * l->grain, last == units ? l->n : last * l->grain);
}

static _Thread_local bool reversed;

void wf_par_reverse(bool on)
{
    reversed = on;
}

static void run_reversed(int64_t n, int64_t grain, wf_par_fn *fn, void *context)
{
    uint32_t state = wf_fp_enter();
    for (int64_t unit = (n - 1) / grain; unit >= 0; unit--)
        fn(context, unit * grain, n - unit * grain < grain ? n : (unit + 1) * grain);
    wf_fp_leave(state);
}

void wf_par_for(int threads, int64_t n, int64_t grain, wf_par_fn *fn, void *context)
{
    if (n <= 0 || !fn) return;
    WF_FP_SCOPE uint32_t state = wf_fp_enter(); /* OpenMP computes, too */
    if (grain < 1) grain = 1;
    loop l = { .fn = fn, .context = context, .n = n, .grain = grain };
    wf_pool *pool = take(threads, (n - 1) / grain + 1, &l.parts);
    if (!pool) {
        fn(context, 0, n);
        return;
    }
    if (reversed) {
        wf_pool_give(pool);
        run_reversed(n, grain, fn, context);
        return;
    }
    note_width(l.parts);
    wf_pool_begin(pool, l.parts, run_part, &l);
    run_part(&l, 0);
    /* A thread that was not there in time (others may use its processor) is not waited for. */
    for (int id = 1; id < l.parts; id++)
        if (wf_pool_relieve(pool, id)) run_part(&l, id);
    for (int id = 1; id < l.parts; id++) wf_pool_wait(pool, id);
    wf_pool_give(pool);
}

/* ---- teams ----------------------------------------------------------------------------------- */

typedef struct gathering {
    wf_team_fn *fn;
    void *context;
    wf_team team;
} gathering;

static void run_member(const void *context, int id)
{
    WF_FP_SCOPE uint32_t state = wf_fp_enter();
    const gathering *g = context;
    wf_team team = g->team;
    team.id = id;
    g->fn(g->context, &team, id, team.size);
}

void wf_par_team(int threads, wf_team_fn *fn, void *context)
{
    if (!fn) return;
    WF_FP_SCOPE uint32_t state = wf_fp_enter();
    gathering g = { .fn = fn, .context = context, .team = { .size = 1 } };
    wf_pool *pool = g.team.pool = take(threads, WF_THREADS, &g.team.size);
    if (pool) {
        note_width(g.team.size);
        wf_pool_begin(pool, g.team.size, run_member, &g);
    }
    run_member(&g, 0);
    if (!pool) return;
    for (int id = 1; id < g.team.size; id++) wf_pool_wait(pool, id);
    wf_pool_give(pool);
}

void wf_team_barrier(wf_team *team)
{
    if (team && team->pool) wf_pool_meet(team->pool, team->size, team->id, ++team->meetings);
}
