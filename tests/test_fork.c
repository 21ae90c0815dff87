/* Processes that fork, whatever they did before, and threads that the system does not give: the
 * work is done all the same, with the same bits. Each history is a process of its own, and no child
 * waits longer than its alarm. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/harness.h"
#include "tests/model.h"

#include <grp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(_OPENMP) && !defined(WF_PAR_PTHREAD)
#define OPENMP 1
#else
#define OPENMP 0
#endif

/* The race detector has a thread of its own, and ends a child of several threads that makes
 * more. */
#if defined(__SANITIZE_THREAD__)
#define RACES 1
#else
#define RACES 0
#endif

enum { CEILING = 3, WATCH = 60 };

/* What a process did: the bits of a training run and of a product, how many threads it had at
 * once, what it logged. */
typedef struct run_result {
    uint64_t hash;
    int width;
    bool good;
    char log[300];
} run_result;

static char logged[300];

static void keep_log(void *user, const char *text)
{
    (void)user;
    wf_append(logged, sizeof logged, "%s;", text);
}

static void count(void *context, int64_t begin, int64_t end)
{
    atomic_fetch_add((atomic_llong *)context, end - begin);
}

static void meet(void *context, wf_team *team, int id, int size)
{
    atomic_int *arrived = context;
    for (int round = 1; round <= 5; round++) {
        atomic_fetch_add(arrived, 1);
        wf_team_barrier(team);
        if (atomic_load(arrived) < round * size) atomic_fetch_add(arrived, 1000 + id);
        wf_team_barrier(team);
    }
}

static bool loops(void)
{
    atomic_llong sum = 0;
    atomic_int arrived = 0;
    for (int threads = CEILING; threads > 0; threads--) wf_par_for(threads, 1000, 7, count, &sum);
    wf_par_team(CEILING, meet, &arrived);
    int meetings = atomic_load(&arrived);
    return atomic_load(&sum) == 1000 * CEILING && meetings % 5 == 0 && meetings <= 5 * CEILING;
}

/* Large enough that BLIS computes it. */
enum { SIDE = 600 };

static void multiply(float *a, float *c, int threads)
{
    for (int i = 0; i < SIDE * SIDE; i++) a[i] = (float)(i % 613 - 306) / 97;
    const wf_matrix x = wf_matrix_of(WF_F32, a, SIDE, SIDE);
    wf_gemm(threads, 1, x, wf_matrix_transposed(x), 0, wf_matrix_of(WF_F32, c, SIDE, SIDE));
}

static uint64_t product(int threads)
{
    static float a[SIDE * SIDE], c[SIDE * SIDE];
    multiply(a, c, threads);
    wf_tensor x = wf_tensor_of(WF_F32, WF_SHAPE(SIDE, SIDE), c);
    return hash_tensor(1, &x);
}

static bool train(uint64_t *hash)
{
    model r;
    wf_error e = { { 0 } };
    const model_size size = { .cell = wf_lstm_row(),
                              .letters = 65,
                              .time = 12,
                              .batch = 9,
                              .embed = 40,
                              .hidden = 72,
                              .layers = 2,
                              .dropout = 0.2,
                              .clip = 1,
                              .ragged = true };
    if (!model_make(&r, size, &e)) return false;
    bool good = model_step(&r, 0) && model_step(&r, 1);
    *hash = *hash * 31 + model_hash(&r);
    model_free(&r);
    return good;
}

static run_result work(void)
{
    run_result o = { 0 };
    o.good = loops();
    o.width = wf_par_width();
    o.hash = product(CEILING);
    o.good &= train(&o.hash);
    snprintf(o.log, sizeof o.log, "%s", logged);
    return o;
}

/* Forks; the child runs body, which fills what it is told to be of one thread or another's
 * making. */
static run_result in_child(void (*body)(run_result *o, const void *context), const void *context)
{
    run_result o = { 0 };
    int ends[2];
    fflush(NULL);
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(WATCH);
        body(&o, context);
        _exit(write(ends[1], &o, sizeof o) == sizeof o ? 0 : 1);
    }
    close(ends[1]);
    bool got = read(ends[0], &o, sizeof o) == sizeof o;
    close(ends[0]);
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(got, "the child %s %d",
                  WIFSIGNALED(status) ? "was ended by signal" : "ended with status",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    ck_assert(o.good);
    return o;
}

static void just_work(run_result *o, const void *context)
{
    (void)context;
    *o = work();
}

static void fork_and_work(run_result *o, const void *context)
{
    *o = in_child(just_work, context);
}

static void work_then_fork(run_result *o, const void *context)
{
    run_result own = work();
    *o = in_child(just_work, context);
    o->good &= own.good && own.hash == o->hash;
}

static void fork_twice(run_result *o, const void *context)
{
    *o = in_child(work_then_fork, context);
}

/* ---- what a process did before it forked ---- */

static void nothing(void)
{
}

#if OPENMP
static void openmp_of_ones_own(void)
{
    atomic_int n = 0;
#pragma omp parallel num_threads(4)
    atomic_fetch_add(&n, 1);
    ck_assert_int_gt(atomic_load(&n), 1);
}
#endif

static void *sleep_on(void *argument)
{
    for (;;) pause();
    return argument;
}

static void threads_of_ones_own(void)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, sleep_on, NULL), 0);
}

static void loops_of_ours(void)
{
    ck_assert(loops());
}

static void a_product_on_one_thread(void)
{
    ck_assert(product(1));
}

static void training(void)
{
    ck_assert(work().good);
}

static void training_on_another_thread(void)
{
    pthread_t thread;
    ck_assert_int_eq(
        pthread_create(&thread, NULL, (void *(*)(void *))(void (*)(void))training, NULL), 0);
    pthread_join(thread, NULL);
}

static void *multiply_for_ever(void *memory)
{
    for (;;) multiply(memory, (float *)memory + SIDE * SIDE, 1);
    return NULL;
}

static void products_under_way(void)
{
    static float memory[2][2 * SIDE * SIDE];
    pthread_t thread;
    ck_assert(product(1));
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&thread, NULL, multiply_for_ever, memory[i]), 0);
}

/* More threads than the library has panels to pack pieces of products into. Most have one when the
 * process forks, and rest afterwards. */
enum { MULTIPLIERS = 200 };
static atomic_bool forked;
static atomic_int multiplying;

static void in_parent(void)
{
    atomic_store(&forked, true);
}

static void *multiply_until_forked(void *argument)
{
    enum { N = 64 };
    float a[N * N] = { 0 }, c[N * N];
    const wf_matrix x = wf_matrix_of(WF_F32, a, N, N), y = wf_matrix_of(WF_F32, c, N, N);
    atomic_fetch_add(&multiplying, 1);
    while (!atomic_load(&forked)) wf_gemm(1, 1, x, wf_matrix_transposed(x), 0, y);
    return sleep_on(argument);
}

static void more_products_than_panels(void)
{
    pthread_t thread;
    pthread_atfork(NULL, in_parent, NULL);
    for (int i = 0; i < MULTIPLIERS; i++)
        ck_assert_int_eq(pthread_create(&thread, NULL, multiply_until_forked, NULL), 0);
    while (atomic_load(&multiplying) < MULTIPLIERS) usleep(1000);
}

static const struct history {
    const char *name;
    void (*live)(void);
    int width; /* how many threads a child must have; 0: that depends on how fast others end */
} histories[] = {
    { "nothing", nothing, CEILING },
#if OPENMP
    { "OpenMP of its own", openmp_of_ones_own, 1 },
#endif
    { "threads of its own", threads_of_ones_own, OPENMP ? 1 : CEILING },
    { "loops", loops_of_ours, 1 },
    { "a product on one thread", a_product_on_one_thread, 1 },
    { "a training run", training, 1 },
    { "a training run on another thread", training_on_another_thread, 0 },
    { "products under way", products_under_way, 1 },
    { "more products than panels", more_products_than_panels, 0 },
};
enum { HISTORIES = sizeof histories / sizeof histories[0] };

TEST_EACH(a_child_works_whatever_its_parent_did_before, HISTORIES)
{
    const struct history *h = &histories[_i];
    const bool at_work = h->live == products_under_way || h->live == more_products_than_panels;
    if (RACES && (h->live == threads_of_ones_own || at_work)) {
        harness_skip("%s: the race detector ends such a child", h->name);
        return;
    }
    if (HARNESS_ADDRESSES && at_work) {
        harness_skip("%s: the address sanitizer's own lock may be held in the child", h->name);
        return;
    }
    run_result want = in_child(just_work, NULL); /* of a process that did nothing yet */
    ck_assert_int_eq(want.width, CEILING);
    h->live();
    wf_par_width();
    void (*const bodies[])(run_result *, const void *) = { just_work, fork_and_work, work_then_fork,
                                                           fork_twice };
    for (int repeat = 0; repeat < (h->live == products_under_way ? 10 : 2); repeat++) {
        for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
            if (h->live == products_under_way && i) continue;
            run_result got = in_child(bodies[i], NULL);
            ck_assert_msg(got.hash == want.hash, "after %s: other bits", h->name);
            if (i == 0 && h->width)
                ck_assert_msg(got.width == h->width, "after %s: %d threads", h->name, got.width);
            ck_assert_str_eq(got.log, "");
        }
    }
    run_result own = work(); /* and the parent has its threads */
    ck_assert(own.good && own.hash == want.hash);
    ck_assert_int_eq(own.width, CEILING);
}

/* ---- threads that cannot be made ---- */

/* What the process may have no more of. */
typedef struct limit {
    bool memory;
    rlim_t processes;
} limit;

static long virtual_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static void within_limits(run_result *o, const void *context)
{
    const limit *l = context;
    struct rlimit r = { l->processes, l->processes };
    /* The superuser's processes are not counted. */
    bool set = l->memory ||
               ((geteuid() || (!setgroups(0, NULL) && !setgid(61234) && !setuid(61234))) &&
                !setrlimit(RLIMIT_NPROC, &r));
    if (l->memory) { /* enough for a loop, not for a stack */
        r.rlim_cur = r.rlim_max = (rlim_t)virtual_bytes() + (6 << 20);
        set = virtual_bytes() > 0 && !setrlimit(RLIMIT_AS, &r);
    }
    o->good = true;
    if (!set) {
        snprintf(o->log, sizeof o->log, "limits cannot be set here");
        return;
    }
    o->good = loops() && loops();
    o->width = wf_par_width();
    o->hash = l->memory ? 0 : product(CEILING);
    o->good &= l->memory || train(&o->hash);
    snprintf(o->log, sizeof o->log, "%s", logged);
}

static void check_fewer(const run_result *o, int width)
{
    char said[300];
    snprintf(said, sizeof said,
             "threads: %d of %d could be made; parallel loops go on with those\n"
             "  hint: memory (ulimit -v, OMP_STACKSIZE) or processes (ulimit -u) are limited;",
             width, CEILING);
    ck_assert_str_eq(o->log, said);
    ck_assert_int_eq(o->width, width);
}

TEST(where_the_system_gives_fewer_threads_the_work_is_done_by_those)
{
    run_result want = in_child(just_work, NULL);
    for (int repeat = 0; repeat < 20; repeat++) {
        /* One process, one more thread, and with OpenMP the one that opens its region: exactly at
         * the limit, so none may be counted twice. */
        bool counted = geteuid() == 0;
        const limit l = { .processes = counted ? 2 + OPENMP : 0 };
        run_result o = in_child(within_limits, &l);
        if (strstr(o.log, "cannot be set")) {
            harness_skip("the number of processes cannot be limited here");
            return;
        }
        ck_assert(o.hash == want.hash);
        check_fewer(&o, counted && !RACES ? 2 : 1);
    }
}

TEST(where_memory_has_no_room_for_stacks_the_caller_works_alone)
{
#if defined(__SANITIZE_ADDRESS__)
    harness_skip("the sanitizer's own memory cannot be limited");
#else
    /* A process whose stacks are larger than what the limit leaves. */
    const limit l = { .memory = true };
    run_result o = in_child(within_limits, &l);
    if (strstr(o.log, "cannot be set"))
        harness_skip("memory cannot be limited here");
    else
        check_fewer(&o, 1);
#endif
}

static void again_with_huge_stacks(run_result *o, const void *context)
{
    (void)o;
    setenv("OMP_STACKSIZE", context, 1);
    execl("/proc/self/exe", "test_fork", "--result", (char *)NULL);
    _exit(98);
}

TEST(where_openmp_is_told_of_stacks_that_nobody_has_the_caller_works_alone)
{
    static const char *const sizes[] = { "200G", " 300000 M ", "100000g", "nonsense", "4M" };
    run_result want = in_child(just_work, NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int ends[2], status = 0;
        run_result o = { 0 };
        fflush(NULL);
        ck_assert_int_eq(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], 3);
            alarm(WATCH);
            again_with_huge_stacks(&o, sizes[i]);
        }
        close(ends[1]);
        bool got = read(ends[0], &o, sizeof o) == sizeof o;
        close(ends[0]);
        waitpid(child, &status, 0);
        ck_assert_msg(got && o.good, "with OMP_STACKSIZE='%s' it died", sizes[i]);
        ck_assert(o.hash == want.hash);
        if (i < 3 && OPENMP && o.width != CEILING) check_fewer(&o, 1);
        if (i >= 3 || !OPENMP) ck_assert_int_eq(o.width, CEILING);
    }
}

/* For a parent that reads it from descriptor 3. */
static int give_outcome(void)
{
    run_result o = work();
    return write(3, &o, sizeof o) != sizeof o;
}

const harness_suite suite = { .threads = CEILING, .log = keep_log, .child = give_outcome };
