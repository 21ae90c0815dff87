/* The one door to threads. Above the line: what every region does, whoever runs it. Below: one
 * backend of three functions, OpenMP, or plain pthreads when built with WF_PAR_PTHREAD (what a race
 * detector can follow) or without OpenMP. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tensor/par.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/private.h"

#if defined(_OPENMP) && !defined(WF_PAR_PTHREAD)
#include <omp.h>
#define BACKEND_OPENMP 1
#else
#define BACKEND_OPENMP 0
#endif

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
/* How many threads of `width` (2..64) a region of this thread can have; 1: none but itself. */
static int backend_width(int width);
static void backend_barrier(wf_team *team);

static atomic_int widest;

static void enter_region(const region *r, wf_team *team, int id)
{
    WF_FP_SCOPE uint32_t state = wf_fp_enter();
    r->body(r, team, id);
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
    return threads <= 1 || backend_alone() ? 1 : backend_width(threads);
}

/* Once in a process: more will not be had by saying it again. */
static void say_fewer(int size, int wanted)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&said)) return;
    wf_log_line("threads: %d of %d could be made; parallel loops go on with those\n"
                "  hint: memory (ulimit -v, OMP_STACKSIZE) or processes (ulimit -u) are limited",
                size, wanted);
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
    int width = allowed(threads, (n - 1) / grain + 1);
    if (width == 1) {
        fn(context, 0, n);
        return;
    }
    if (reversed) {
        run_reversed(n, grain, fn, context);
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
    WF_FP_SCOPE uint32_t state = wf_fp_enter();
    int width = allowed(threads, WF_THREADS);
    if (width == 1) {
        wf_team alone = { .size = 1 };
        fn(context, &alone, 0, 1);
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

/* OpenMP's records of its threads are a forked child's as well, the threads are not: a region in it
 * would wait for them for ever. Whose threads its parent had nobody can ask OpenMP (a program may
 * have run regions of its own), so a child of a process with more than one thread works alone, and
 * its children too. One of a process with a single thread has nothing to wait for. */
static atomic_bool orphaned;
static bool had_threads; /* written by the forking thread, read by its copy in the child */

static void before_fork(void)
{
    had_threads = wf_threads_alive() != 1;
}

static void in_forked_child(void)
{
    if (had_threads) atomic_store(&orphaned, true);
}

/* libgomp ends the process when it cannot make a thread. So as many are made here first, with
 * stacks as large as libgomp will give them. */
static size_t stack_bytes; /* 0: the system's default */

/* The size that libgomp reads in an environment variable: a number and b, k (or nothing), m or g;
 * 0 if that is not what it says. */
static size_t stack_size(const char *text)
{
    size_t value = 0;
    int shift = 10;
    if (!text) return 0;
    text += strspn(text, " \t\n\v\f\r");
    if (*text < '0' || *text > '9') return 0;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (size_t)(*text - '0'), &value))
            return 0;
    text += strspn(text, " \t\n\v\f\r");
    const char *units = "bBkKmMgG", *unit = *text ? strchr(units, *text) : NULL;
    if (unit) {
        shift = (int)(unit - units) / 2 * 10;
        text++;
    }
    text += strspn(text, " \t\n\v\f\r");
    return *text || value << shift >> shift != value ? 0 : value << shift;
}

/* When the library is loaded: whatever the program does before it uses the library, it may fork,
 * and libgomp reads its environment now. */
__attribute__((constructor)) static void at_load(void)
{
    pthread_atfork(before_fork, NULL, in_forked_child);
    stack_bytes = stack_size(getenv("OMP_STACKSIZE"));
    if (stack_bytes == 0) stack_bytes = stack_size(getenv("GOMP_STACKSIZE"));
}

static void *wait_at_gate(void *argument)
{
    pthread_mutex_t *gate = argument; /* closed until all are there */
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* How many threads of `wanted` can be made at once; they are gone again on return. */
static int threads_to_be_had(int wanted)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread[WF_THREADS];
    pthread_attr_t attributes;
    int made = 0, before = wf_threads_alive();
    if (pthread_attr_init(&attributes) != 0) return 0;
    if (stack_bytes) pthread_attr_setstacksize(&attributes, stack_bytes);
    pthread_mutex_lock(&gate);
    while (made < wanted && pthread_create(&thread[made], &attributes, wait_at_gate, &gate) == 0)
        made++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < made; i++) pthread_join(thread[i], NULL);
    pthread_attr_destroy(&attributes);
    /* The system counts a thread for a moment after it was joined; at a limit that would be the one
     * too many. */
    for (int i = 0; made && i < 1000 && wf_threads_alive() > before; i++) sched_yield();
    return made;
}

/* OpenMP keeps a team for each thread that runs regions: how large this one's is, and the most that
 * it can be. */
static _Thread_local int latest = 1, most = WF_THREADS;

static int backend_width(int width)
{
    if (width > most) width = most;
    if (width <= latest) return width;
    int got = latest + threads_to_be_had(width - latest);
    if (got < width) {
        say_fewer(got, width);
        most = got;
    }
    return got;
}

static bool backend_alone(void)
{
    return atomic_load_explicit(&orphaned, memory_order_relaxed) || omp_in_parallel();
}

static void backend_run(const region *r, int width)
{
    /* libgomp ends the threads that a smaller team leaves over, and makes them anew for the next
     * larger one, which takes ten times as long as a loop. Nobody waits for them in a loop, so
     * there they stay and have nothing to do. */
    int team = r->member || width > latest ? width : latest;
#pragma omp parallel num_threads(team)
    {
        /* Perhaps fewer than asked for; one copy for each thread. */
        int size = omp_get_num_threads(), id = omp_get_thread_num();
        wf_team mine = { .size = size < width ? size : width };
        if (id == 0) latest = size;
        if (id < width) enter_region(r, &mine, id);
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

static int backend_width(int width)
{
    return width;
}

static void backend_run(const region *r, int width)
{
    gate g = { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER, .region = r };
    worker workers[WF_THREADS];
    int size = 1;
    for (; size < width; size++) {
        workers[size].gate = &g;
        workers[size].id = size;
        if (pthread_create(&workers[size].thread, NULL, work, &workers[size]) != 0) break;
    }
    g.team.size = size;
    if (size < width) say_fewer(size, width);
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
