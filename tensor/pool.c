/* The one file that makes threads. They are the members of an OpenMP region that a thread of ours
 * opens and that stays open, or plain pthreads when built with WF_PAR_PTHREAD (what a race detector
 * can follow) or without OpenMP. Either way they wait for work here, and not where OpenMP's threads
 * wait between regions: those spin for milliseconds, and beside another busy process that takes
 * from the very thread that they wait for.
 *
 * Whoever waits, waits for a word of memory to change: a while in a loop, then asleep. The lowest
 * bit of a word says that somebody sleeps until it changes, so that nobody else is woken. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tensor/pool_private.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#if defined(__linux__)
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(_OPENMP) && !defined(WF_PAR_PTHREAD)
#include <omp.h>
#define BACKEND_OPENMP 1
#else
#define BACKEND_OPENMP 0
#endif

/* ---- words that are waited for --------------------------------------------------------------- */

enum { ASLEEP = 1 };

/* How often a word is looked at before its reader sleeps: 50 microseconds on a Zen 4, which is what
 * steps of training leave between their loops. Half as often costs 2 % of a small step; ten times
 * as often gains nothing, and takes the processor from those that are waited for. */
enum { LOOKS = 2000 };
static int looks = LOOKS; /* 0 with OMP_WAIT_POLICY=passive */

#if defined(__linux__)

static void sleep_on(atomic_uint *word, unsigned value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake_all(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#else

static pthread_mutex_t bedroom = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t alarm_clock = PTHREAD_COND_INITIALIZER;

static void sleep_on(atomic_uint *word, unsigned value)
{
    pthread_mutex_lock(&bedroom);
    while (atomic_load(word) == value) pthread_cond_wait(&alarm_clock, &bedroom);
    pthread_mutex_unlock(&bedroom);
}

static void wake_all(atomic_uint *word)
{
    (void)word;
    pthread_mutex_lock(&bedroom);
    pthread_cond_broadcast(&alarm_clock);
    pthread_mutex_unlock(&bedroom);
}

#endif

static inline void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* What a word says, whoever sleeps. */
static inline unsigned read_word(atomic_uint *word)
{
    return atomic_load_explicit(word, memory_order_acquire) & ~(unsigned)ASLEEP;
}

static void set_word(atomic_uint *word, unsigned value)
{
    if (atomic_exchange(word, value) & ASLEEP) wake_all(word);
}

/* Returns once the word says something else than `value`. */
static void wait_while(atomic_uint *word, unsigned value, int times)
{
    for (int i = 0; i < times; i++) {
        if (read_word(word) != value) return;
        pause_briefly();
    }
    for (;;) {
        unsigned now = value;
        /* Either it still says so, now with the bit, or somebody else has set the bit. */
        if (!atomic_compare_exchange_strong(word, &now, value | ASLEEP) && now != (value | ASLEEP))
            return;
        sleep_on(word, value | ASLEEP);
    }
}

/* ---- pools ----------------------------------------------------------------------------------- */

enum { LINE = WF_ALIGNMENT };

/* A member's seat: what it is offered, which it alone sleeps on, and whether its work is done,
 * which the pool's holder alone sleeps on. */
enum { NOTHING = 0, WORK = 2, LEAVE = 4 };
enum { BUSY = 0, DONE = 2 };

typedef struct seat {
    _Alignas(LINE) atomic_uint offer;
    atomic_uint done;
    int id;
    wf_pool *pool;
    _Alignas(LINE) atomic_uint round; /* the last meeting that it has come to */
} seat;

/* What is not atomic belongs to the thread that has taken the pool; the members read it between an
 * offer and their answer. */
struct wf_pool {
    _Alignas(LINE) atomic_bool taken;
    int size; /* members that there are, the holder included; 0: it was never taken */
    int most; /* members that it can have */
    wf_pool_work *work;
    const void *context;
    /* The OpenMP region: whether it is open, and with how many members it is to be. */
    _Alignas(LINE) atomic_uint door;
    int wanted;
    bool hosted; /* there is a thread that opens it */
    seat seats[WF_THREADS];
};

/* One for each thread of the user's at work; more of them than this work alone. Memory that is
 * never touched costs nothing. */
enum { POOLS = 64 };
static wf_pool pools[POOLS];

/* Does this thread work in a region of ours? */
static _Thread_local bool inside;

/* Makes members until there are `width`, or as many as can be had. */
static void backend_grow(wf_pool *p, int width);
/* Is the calling thread in an OpenMP region of the user's? */
static bool backend_inside(void);
/* Are there threads that a forked child might count on? */
static bool backend_has_threads(void);
/* What is read from the environment when the library is loaded. */
static void backend_load(void);

/* A fork does not copy threads: a child would wait for ever for those of its pools. And to make new
 * ones in a child of several threads is more than POSIX promises. So it works alone, and its
 * children too. */
static atomic_bool orphaned;
static bool had_threads; /* written by the forking thread, read by its copy in the child */

static void before_fork(void)
{
    had_threads = backend_has_threads();
}

static void in_forked_child(void)
{
    if (had_threads) atomic_store(&orphaned, true);
}

/* When the library is loaded: whatever the program does before it uses the library, it may fork,
 * and OpenMP reads its environment now. */
__attribute__((constructor)) static void at_load(void)
{
    const char *policy = getenv("OMP_WAIT_POLICY");
    pthread_atfork(before_fork, NULL, in_forked_child);
    if (policy && strcasecmp(policy, "passive") == 0) looks = 0;
    backend_load();
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

/* What a member does until it is sent home. */
static void serve(seat *s)
{
    const wf_pool *p = s->pool;
    inside = true;
    for (;;) {
        wait_while(&s->offer, NOTHING, looks);
        unsigned offer = WORK;
        if (atomic_compare_exchange_strong(&s->offer, &offer, NOTHING)) {
            p->work(p->context, s->id);
            set_word(&s->done, DONE);
        } else if (offer == LEAVE) {
            atomic_store(&s->offer, NOTHING);
            return;
        } /* or it came too late, and was relieved */
    }
}

static wf_pool *free_pool(void)
{
    /* Where a thread looks first: the one that it had last may still have its data in cache. */
    static _Thread_local int latest;
    for (int n = 0, i = latest; n < POOLS; n++, i = i + 1 < POOLS ? i + 1 : 0) {
        if (atomic_load_explicit(&pools[i].taken, memory_order_relaxed) ||
            atomic_exchange_explicit(&pools[i].taken, true, memory_order_acquire))
            continue;
        latest = i;
        return &pools[i];
    }
    return NULL;
}

wf_pool *wf_pool_take(int width, int *members)
{
    if (inside || atomic_load_explicit(&orphaned, memory_order_relaxed) || backend_inside())
        return NULL;
    wf_pool *p = free_pool();
    if (!p) return NULL;
    if (p->size == 0) {
        p->size = 1;
        p->most = WF_THREADS;
        for (int i = 0; i < WF_THREADS; i++) {
            p->seats[i].id = i;
            p->seats[i].pool = p;
        }
    }
    if (width > p->most) width = p->most;
    if (width > p->size) backend_grow(p, width);
    *members = width < p->size ? width : p->size;
    if (*members > 1) {
        inside = true;
        return p;
    }
    wf_pool_give(p);
    return NULL;
}

void wf_pool_give(wf_pool *p)
{
    inside = false;
    atomic_store_explicit(&p->taken, false, memory_order_release);
}

void wf_pool_begin(wf_pool *p, int members, wf_pool_work *work, const void *context)
{
    p->work = work;
    p->context = context;
    for (int id = 0; id < members; id++)
        atomic_store_explicit(&p->seats[id].round, 0, memory_order_relaxed);
    for (int id = 1; id < members; id++) {
        atomic_store_explicit(&p->seats[id].done, BUSY, memory_order_relaxed);
        set_word(&p->seats[id].offer, WORK);
    }
}

void wf_pool_wait(wf_pool *p, int id)
{
    wait_while(&p->seats[id].done, BUSY, looks);
}

bool wf_pool_relieve(wf_pool *p, int id)
{
    unsigned offer = WORK;
    if (!atomic_compare_exchange_strong(&p->seats[id].offer, &offer, NOTHING)) return false;
    atomic_store_explicit(&p->seats[id].done, DONE, memory_order_relaxed);
    return true;
}

void wf_pool_meet(wf_pool *p, int members, int id, unsigned round)
{
    set_word(&p->seats[id].round, 2 * round);
    for (int other = 0; other < members; other++)
        if (other != id) wait_while(&p->seats[other].round, 2 * (round - 1), looks);
}

/* ---- who makes the threads ------------------------------------------------------------------- */

/* A thread that nobody will wait for. */
static bool start_thread(void *(*begin)(void *), void *argument)
{
    pthread_t thread;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    const bool started = pthread_create(&thread, &attributes, begin, argument) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

#if BACKEND_OPENMP

static bool backend_inside(void)
{
    return omp_in_parallel();
}

/* OpenMP's records of its threads are a forked child's as well, and whose threads its parent had
 * nobody can ask OpenMP: a program may have run regions of its own. A process with a single thread
 * has none. */
static bool backend_has_threads(void)
{
    return wf_threads_alive() != 1;
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

static void backend_load(void)
{
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

enum { SHUT = 0, OPEN = 2 };

/* The thread that opens a pool's region. It is the region's first member, in the place of whoever
 * takes the pool: OpenMP counts, limits and binds the others as if that one had opened it. */
static void *host(void *pool)
{
    wf_pool *p = pool;
    for (;;) {
#pragma omp parallel num_threads(p->wanted)
        {
            const int id = omp_get_thread_num();
            if (id != 0) {
                serve(&p->seats[id]);
            } else {
                p->size = omp_get_num_threads(); /* perhaps fewer than wanted */
                set_word(&p->door, OPEN);
                wait_while(&p->door, OPEN, 0);
            }
        }
    }
    return NULL;
}

/* The region anew with so many members: OpenMP keeps the threads that it has. */
static void open_region(wf_pool *p, int width)
{
    p->wanted = width;
    for (int id = 1; id < p->size; id++) set_word(&p->seats[id].offer, LEAVE);
    set_word(&p->door, SHUT);
    if (!p->hosted && !(p->hosted = start_thread(host, p))) return;
    wait_while(&p->door, SHUT, 0);
}

static void backend_grow(wf_pool *p, int width)
{
    const int hosts = !p->hosted; /* one thread more */
    int had = threads_to_be_had(width - p->size + hosts) - hosts;
    if (p->size + had < width) say_fewer(p->size + (had > 0 ? had : 0), width);
    if (had > 0) open_region(p, p->size + had);
    if (p->size < width) p->most = p->size;
}

#else

static bool backend_inside(void)
{
    return false;
}

static atomic_bool made;

static bool backend_has_threads(void)
{
    return atomic_load(&made);
}

static void backend_load(void)
{
}

static void *begin_to_serve(void *seat_of_its_own)
{
    serve(seat_of_its_own);
    return NULL;
}

static void backend_grow(wf_pool *p, int width)
{
    for (; p->size < width; p->size++) {
        if (!start_thread(begin_to_serve, &p->seats[p->size])) break;
        atomic_store(&made, true);
    }
    if (p->size == width) return;
    say_fewer(p->size, width);
    p->most = p->size;
}

#endif
