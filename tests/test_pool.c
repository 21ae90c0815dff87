/* The threads that wait for work: they are there when it comes, asleep or not, however few
 * processors they share and however many threads of the user's want some at once; a process ends,
 * forks and unloads the library while they wait or work. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tensor/par.h"
#include "tests/fixture.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CEILING = 5, WATCH = 60 };

static void add_lengths(void *context, int64_t begin, int64_t end)
{
    atomic_fetch_add((atomic_llong *)context, end - begin);
}

/* Does a loop over so many indices reach each? */
static bool loop_is_right(int threads, int64_t n)
{
    atomic_llong sum = 0;
    wf_par_for(threads, n, 1, add_lengths, &sum);
    return atomic_load(&sum) == n;
}

/* Members that write, meet, and read what all have written; one may be slow. */
typedef struct meeting {
    int rounds, slow;  /* who is late at each meeting; -1: nobody */
    int said[CEILING]; /* plain memory: the barrier alone orders it */
    atomic_int members, wrong;
} meeting;

static void meet(void *context, wf_team *team, int id, int size)
{
    meeting *m = context;
    atomic_fetch_add(&m->members, 1);
    for (int round = 1; round <= m->rounds; round++) {
        if (id == m->slow) usleep(300);
        m->said[id] = round * (id + 1);
        wf_team_barrier(team);
        for (int other = 0; other < size; other++)
            if (m->said[other] != round * (other + 1)) atomic_fetch_add(&m->wrong, 1);
        wf_team_barrier(team);
    }
}

/* How many members there were, or 0 if they met wrongly. */
static int members_that_meet(int threads, int rounds, int slow)
{
    meeting m = { .rounds = rounds, .slow = slow };
    wf_par_team(threads, meet, &m);
    return atomic_load(&m.wrong) ? 0 : atomic_load(&m.members);
}

TEST(a_hundred_thousand_tiny_regions_do_all_of_their_work)
{
    for (int i = 0; i < 100000; i++) {
        ck_assert(loop_is_right(2 + i % 2, 2 + i % 3));
        if (i % 100 == 0) ck_assert_int_eq(members_that_meet(2 + i % 2, 3, -1), 2 + i % 2);
    }
}

TEST(threads_that_have_fallen_asleep_are_woken)
{
    for (int i = 0; i < 200; i++) {
        ck_assert(loop_is_right(3, 1000));
        usleep(500);
        ck_assert_int_eq(members_that_meet(3, 2, -1), 3);
        usleep(500);
    }
}

TEST_EACH(who_comes_late_to_a_meeting_is_waited_for, CEILING)
{
    ck_assert_int_eq(members_that_meet(CEILING, 100, _i), CEILING);
}

static void be_slow(void *context, int64_t begin, int64_t end)
{
    if (begin == *(const int64_t *)context) usleep(2000);
    (void)end;
}

TEST(whoever_is_slow_with_a_part_is_waited_for)
{
    for (int64_t slow = 0; slow < CEILING; slow++)
        for (int i = 0; i < 20; i++) {
            wf_par_for(CEILING, CEILING, 1, be_slow, &slow);
            ck_assert(loop_is_right(CEILING, 1000));
        }
}

TEST(teams_grow_and_shrink_as_they_are_asked_for)
{
    static const int widths[] = { 2, 3, 2, 5, 4, 1, 5, 3, 2 };
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            ck_assert_int_eq(members_that_meet(widths[i], 5, -1), widths[i]);
            ck_assert(loop_is_right(widths[i], 100));
            if (round == 1) usleep(500);
        }
}

TEST(five_threads_on_one_processor_do_their_work)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    for (size_t i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    for (int i = 0; i < 2000; i++) ck_assert(loop_is_right(CEILING, 100));
    ck_assert_int_eq(members_that_meet(CEILING, 100, -1), CEILING);
}

static void *use_threads(void *argument)
{
    atomic_int *wrong = argument;
    for (int i = 0; i < 200; i++)
        if (!loop_is_right(2, 100) || (i % 10 == 0 && members_that_meet(2, 3, -1) < 1))
            atomic_fetch_add(wrong, 1);
    return NULL;
}

TEST(more_threads_of_the_users_than_there_are_pools_all_get_their_work_done)
{
    enum { USERS = 100 };
    pthread_t thread[USERS];
    atomic_int wrong = 0;
    for (int repeat = 0; repeat < 2; repeat++) {
        for (int i = 0; i < USERS; i++)
            ck_assert_int_eq(pthread_create(&thread[i], NULL, use_threads, &wrong), 0);
        for (int i = 0; i < USERS; i++) pthread_join(thread[i], NULL);
        ck_assert_int_eq(atomic_load(&wrong), 0);
    }
}

static int threads_alive(void)
{
    struct stat tasks;
    return stat("/proc/self/task", &tasks) == 0 ? (int)tasks.st_nlink - 2 : 0;
}

static void *use_threads_once(void *argument)
{
    *(bool *)argument = loop_is_right(3, 100);
    return NULL;
}

TEST(threads_of_the_users_that_come_and_go_leave_no_threads_behind)
{
    int settled = 0;
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        bool right = false;
        ck_assert_int_eq(pthread_create(&thread, NULL, use_threads_once, &right), 0);
        pthread_join(thread, NULL);
        ck_assert(right);
        if (i == 10) settled = threads_alive();
    }
    ck_assert_int_le(threads_alive(), settled + 1); /* who was joined may still be counted */
}

/* ---- ends, forks, unloading ---- */

static atomic_bool at_work;

static void *work_for_ever(void *argument)
{
    for (int i = 0;; i++) {
        if (!loop_is_right(3, 1000)) _exit(3);
        if (i == 100) atomic_store(&at_work, true);
    }
    return argument;
}

static void begin_to_work(void)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, work_for_ever, NULL), 0);
    while (!atomic_load(&at_work)) usleep(100);
}

static void exit_from_a_part(void *context, int64_t begin, int64_t end)
{
    (void)context, (void)end;
    if (begin == 0) exit(7);
    usleep(1000);
}

/* How a process may end, and what it did before. */
static const char *const endings[] = { "asleep", "awake", "at work", "within a part" };

TEST_EACH(a_process_ends_whatever_its_threads_do, 4)
{
    for (int repeat = 0; repeat < 20; repeat++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            alarm(WATCH);
            if (!loop_is_right(3, 100) || members_that_meet(3, 3, -1) != 3) _exit(1);
            if (_i == 0) usleep(2000);
            if (_i == 2) begin_to_work();
            if (_i == 3) wf_par_for(3, 3, 1, exit_from_a_part, NULL);
            exit(7);
        }
        const int status = exit_of(child);
        ck_assert_msg(status == 7, "%s: ended with %d", endings[_i], status);
    }
}

TEST(a_process_may_fork_while_its_threads_work)
{
    begin_to_work();
    for (int i = 0; i < 50; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            alarm(WATCH);
            _exit(loop_is_right(3, 100) && members_that_meet(3, 3, -1) == 1 ? 7 : 1);
        }
        ck_assert_int_eq(exit_of(child), 7);
    }
    ck_assert(loop_is_right(3, 100));
    ck_assert_int_eq(members_that_meet(3, 3, -1), 3);
}

TEST(the_library_may_be_opened_and_closed_a_hundred_times)
{
#if HARNESS_ADDRESSES
    harness_skip("the leak checker reads the thread-local memory of opened libraries wrongly");
    return;
#endif
    char path[4096];
    const char *build = getenv("WEFT_BUILD");
    wf_format(path, sizeof path, "%s/libweft.so", build ? build : "");
    if (!build || access(path, R_OK) != 0) {
        harness_skip("WEFT_BUILD names no folder with the shared library");
        return;
    }
    int settled = 0;
    for (int i = 0; i < 100; i++) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        ck_assert_msg(library, "%s", dlerror());
        void (*loop)(int, int64_t, int64_t, wf_par_fn *, void *) = NULL;
        *(void **)&loop = dlsym(library, "wf_par_for");
        ck_assert_ptr_nonnull((void *)loop);
        atomic_llong sum = 0;
        loop(2, 1000, 1, add_lengths, &sum);
        ck_assert(atomic_load(&sum) == 1000);
        if (i % 10 == 0) usleep(1000);
        ck_assert_int_eq(dlclose(library), 0);
        if (i == 0) settled = threads_alive();
    }
    ck_assert_int_eq(threads_alive(), settled);
}

const harness_suite suite = { .threads = CEILING };
