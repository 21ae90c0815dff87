/* The one door to threads. Above the line: what every region does, whoever runs it. Below: one
 * backend of three functions, OpenMP, or plain pthreads when built with WF_PAR_PTHREAD (what a race
 * detector can follow) or without OpenMP. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tensor/par.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tensor/runtime.h"

#if defined(_OPENMP) && !defined(WF_PAR_PTHREAD)
#include <omp.h>
#define BACKEND_OPENMP 1
#else
#define BACKEND_OPENMP 0
#endif

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

enum { MOST_THREADS = 64 };

struct wf_team {
    int size;
#if !BACKEND_OPENMP
    pthread_barrier_t barrier; /* only when size > 1 */
#endif
};

/* One region: what each of its threads calls. */
typedef struct region {
    void (*body)(const struct region *region, wf_team *team, int id);
    void *context;
    wf_par_fn *part;
    int64_t n, grain;
    wf_team_fn *member;
} region;

/* The backend. Runs enter_region(r, team, id) once on each of at most `width` threads (2..64), id 0
 * on the calling one; team->size says how many there are. */
static void backend_run(const region *r, int width);
/* Must the calling thread work alone: is it inside a parallel region, ours or the user's? */
static bool backend_alone(void);
static void backend_barrier(wf_team *team);

static atomic_int widest;

#ifdef __SSE2__
/* Between the outermost wf_fp_enter and its wf_fp_leave. Asked for with every small op: hence the
 * quickest way to reach it. */
static _Thread_local __attribute__((tls_model("initial-exec"))) bool prepared;

/* MXCSR: rounding in bits 13-14, flush-to-zero 15, denormals-are-zero 6. Exceptions, 7-12, are
 * masked, or a program that traps them would be stopped by an overflow that a kernel handles. */
static const uint32_t control = 0xFFC0, right = 0x8040 | 0x1F80;
static const uint32_t nested = UINT32_MAX; /* no state: the register's upper half is always zero */

uint32_t wf_fp_enter(void)
{
    if (prepared) return nested; /* reading the register costs as much as a small op */
    uint32_t was = _mm_getcsr();
    if ((was & control) != right) _mm_setcsr((was & ~control) | right);
    prepared = true;
    return was;
}

void wf_fp_leave(uint32_t state)
{
    if (state == nested) return;
    prepared = false;
    if ((state & control) != right) _mm_setcsr(state);
}
#else
uint32_t wf_fp_enter(void)
{
    return 0;
}

void wf_fp_leave(uint32_t state)
{
    (void)state;
}
#endif

static void enter_region(const region *r, wf_team *team, int id)
{
    uint32_t state = wf_fp_enter();
    r->body(r, team, id);
    wf_fp_leave(state);
    if (id != 0) return;
    int was = atomic_load_explicit(&widest, memory_order_relaxed);
    while (was < team->size && !atomic_compare_exchange_weak(&widest, &was, team->size)) continue;
}

/* How many threads a region may have: 1 inside another one. */
static int allowed(int threads, int64_t parts)
{
    if (threads > parts) threads = (int)parts;
    if (threads <= 1) return 1;
    int ceiling = wf_threads();
    if (threads > ceiling) threads = ceiling;
    return threads <= 1 || backend_alone() ? 1 : threads;
}

/* Shares the units of grain out in contiguous ranges that differ by one unit at most. */
static void for_body(const region *r, wf_team *team, int id)
{
    int64_t units = (r->n - 1) / r->grain + 1;
    int64_t each = units / team->size, extra = units % team->size;
    int64_t first = id * each + (id < extra ? id : extra);
    int64_t last = first + each + (id < extra);
    if (first == last) return;
    r->part(r->context, first * r->grain, last == units ? r->n : last * r->grain);
}

void wf_par_for(int threads, int64_t n, int64_t grain, wf_par_fn *fn, void *context)
{
    if (n <= 0 || !fn) return;
    if (grain < 1) grain = 1;
    int width = allowed(threads, (n - 1) / grain + 1);
    if (width == 1) {
        uint32_t state = wf_fp_enter();
        fn(context, 0, n);
        wf_fp_leave(state);
        return;
    }
    region r = { .body = for_body, .context = context, .part = fn, .n = n, .grain = grain };
    backend_run(&r, width);
}

static void team_body(const region *r, wf_team *team, int id)
{
    r->member(r->context, team, id, team->size);
}

void wf_par_team(int threads, wf_team_fn *fn, void *context)
{
    if (!fn) return;
    int width = allowed(threads, MOST_THREADS);
    if (width == 1) {
        wf_team alone = { .size = 1 };
        uint32_t state = wf_fp_enter();
        fn(context, &alone, 0, 1);
        wf_fp_leave(state);
        return;
    }
    region r = { .body = team_body, .context = context, .member = fn };
    backend_run(&r, width);
}

void wf_team_barrier(wf_team *team)
{
    if (team && team->size > 1) backend_barrier(team);
}

int wf_par_width(void)
{
    int width = atomic_exchange(&widest, 1);
    return width < 1 ? 1 : width;
}

/* ---- the backends --------------------------------------------------------------------------- */

#if BACKEND_OPENMP

/* A forked child has the pool's records without its threads: a region in it would wait for ever. It
 * works alone. */
static _Thread_local bool has_pool;
static atomic_bool orphaned;
static pthread_once_t watch_forks = PTHREAD_ONCE_INIT;

static void in_forked_child(void)
{
    if (has_pool) atomic_store(&orphaned, true);
}

static void begin_watching(void)
{
    pthread_atfork(NULL, NULL, in_forked_child);
}

static bool backend_alone(void)
{
    return atomic_load_explicit(&orphaned, memory_order_relaxed) || omp_in_parallel();
}

static void backend_run(const region *r, int width)
{
    pthread_once(&watch_forks, begin_watching);
    has_pool = true;
#pragma omp parallel num_threads(width)
    {
        /* Perhaps fewer than asked for; one copy for each thread. */
        wf_team mine = { .size = omp_get_num_threads() };
        enter_region(r, &mine, omp_get_thread_num());
    }
}

static void backend_barrier(wf_team *team)
{
    (void)team;
#pragma omp barrier
}

#else

static _Thread_local bool inside;

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open; /* it is known how many threads could be made */
    const region *region;
    wf_team team;
} gate;

typedef struct worker {
    pthread_t thread;
    gate *gate;
    int id;
} worker;

static void *work(void *argument)
{
    const worker *w = argument;
    pthread_mutex_lock(&w->gate->lock);
    while (!w->gate->open) pthread_cond_wait(&w->gate->opened, &w->gate->lock);
    pthread_mutex_unlock(&w->gate->lock);
    inside = true;
    enter_region(w->gate->region, &w->gate->team, w->id);
    return NULL;
}

static bool backend_alone(void)
{
    return inside;
}

static void backend_run(const region *r, int width)
{
    gate g = { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER, .region = r };
    worker workers[MOST_THREADS];
    int size = 1;
    for (; size < width; size++) {
        workers[size].gate = &g;
        workers[size].id = size;
        if (pthread_create(&workers[size].thread, NULL, work, &workers[size]) != 0) break;
    }
    g.team.size = size;
    if (size > 1) pthread_barrier_init(&g.team.barrier, NULL, (unsigned)size);
    pthread_mutex_lock(&g.lock);
    g.open = true;
    pthread_cond_broadcast(&g.opened);
    pthread_mutex_unlock(&g.lock);
    inside = true;
    enter_region(r, &g.team, 0);
    inside = false;
    for (int i = 1; i < size; i++) pthread_join(workers[i].thread, NULL);
    if (size > 1) pthread_barrier_destroy(&g.team.barrier);
    pthread_cond_destroy(&g.opened);
    pthread_mutex_destroy(&g.lock);
}

static void backend_barrier(wf_team *team)
{
    pthread_barrier_wait(&team->barrier);
}

#endif
