/* Threads: parts cover, teams meet, nesting works alone, floating-point state comes back, and no
 * result depends on how many threads there were. The runtime of this program allows five, however
 * few processors there are. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/walk.h"
#include "tests/fixture.h"

enum { CEILING = 5, MOST = 4000 };

static const int widths[] = { 1, 2, 3, 5 };

/* What a parallel loop did: how often each index was reached, and the parts. */
typedef struct record {
    atomic_int reached[MOST];
    atomic_int parts;
    int64_t begin[64], end[64];
} record;

static void note_part(void *context, int64_t begin, int64_t end)
{
    record *r = context;
    int part = atomic_fetch_add(&r->parts, 1);
    r->begin[part] = begin;
    r->end[part] = end;
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&r->reached[i], 1);
}

static void check_cover(int threads, int64_t n, int64_t grain)
{
    static record r;
    memset(&r, 0, sizeof r);
    wf_par_for(threads, n, grain, note_part, &r);
    for (int64_t i = 0; i < MOST; i++)
        ck_assert_msg(r.reached[i] == (i < n),
                      "index %d of %d, grain %d, %d threads: reached %d times", (int)i, (int)n,
                      (int)grain, threads, r.reached[i]);
    int parts = atomic_load(&r.parts);
    ck_assert_int_le(parts, threads < 1 ? 1 : threads);
    ck_assert_int_le(parts, CEILING);
    int64_t least = INT64_MAX, most = 0;
    for (int p = 0; p < parts; p++) {
        int64_t units = (r.end[p] - r.begin[p] + grain - 1) / grain;
        ck_assert_int_lt(r.begin[p], r.end[p]);
        ck_assert_int_eq(r.begin[p] % grain, 0);
        ck_assert(r.end[p] % grain == 0 || r.end[p] == n);
        if (units < least) least = units;
        if (units > most) most = units;
    }
    if (n > 0) ck_assert_int_le(most - least, 1);
}

TEST(parts_cover_every_index_once_and_end_at_multiples_of_the_grain)
{
    static const int64_t sizes[] = { 0, 1, 2, 3, 7, 63, 64, 65, 1000, 3989 },
                         grains[] = { 1, 3, 16, 64, 999, 5000 };
    static const int threads[] = { -1, 0, 1, 2, 3, 5, 7, 64, 1000 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof grains / sizeof *grains; j++)
            for (size_t k = 0; k < sizeof threads / sizeof *threads; k++)
                check_cover(threads[k], sizes[i], grains[j]);
}

TEST(there_are_as_many_threads_as_asked_for_up_to_the_ceiling)
{
    static record r;
    ck_assert_int_eq(wf_threads(), CEILING);
    for (int i = 0; i < 4; i++) {
        wf_par_width();
        memset(&r, 0, sizeof r);
        wf_par_for(widths[i], 1000, 10, note_part, &r);
        ck_assert_int_eq(atomic_load(&r.parts), widths[i]);
        ck_assert_int_eq(wf_par_width(), widths[i]);
        ck_assert_int_eq(wf_par_width(), 1); /* asked again: nothing since */
    }
    wf_par_for(64, 1000, 10, note_part, &r);
    ck_assert_int_eq(wf_par_width(), CEILING);
    wf_par_for(64, 1000, 400, note_part, &r);
    ck_assert_int_eq(wf_par_width(), 3); /* no more threads than parts */
}

typedef struct whoami {
    pthread_t thread;
    int calls;
    int64_t begin, end;
} whoami;

static void note_thread(void *context, int64_t begin, int64_t end)
{
    whoami *w = context;
    w->thread = pthread_self();
    w->calls++;
    w->begin = begin;
    w->end = end;
}

TEST(one_part_is_one_call_on_the_calling_thread)
{
    whoami w = { 0 };
    wf_par_for(5, 1000, 1000, note_thread, &w);
    wf_par_for(1, 1000, 1, note_thread, &w);
    wf_par_for(0, 1000, 1, note_thread, &w);
    ck_assert_int_eq(w.calls, 3);
    ck_assert(w.begin == 0 && w.end == 1000);
    ck_assert(pthread_equal(w.thread, pthread_self()));
    wf_par_for(5, 0, 1, note_thread, &w);
    wf_par_for(5, -3, 1, note_thread, &w);
    ck_assert_int_eq(w.calls, 3);
    wf_par_for(1, INT64_MAX, 1, note_thread, &w);
    ck_assert(w.end == INT64_MAX);
}

static void add_lengths(void *context, int64_t begin, int64_t end)
{
    atomic_fetch_add((atomic_llong *)context, end - begin);
}

TEST(the_largest_range_is_cut_without_overflow)
{
    for (int i = 0; i < 4; i++) {
        atomic_llong sum = 0;
        wf_par_for(widths[i], INT64_MAX, 3, add_lengths, &sum);
        ck_assert(atomic_load(&sum) == INT64_MAX);
    }
}

/* A team whose members write, meet, and read what all have written, round after round. */
enum { ROUNDS = 300 };
typedef struct meeting {
    int said[64]; /* plain memory: the barrier alone orders it */
    atomic_int members, wrong, size, ids;
} meeting;

static void meet(void *context, wf_team *team, int id, int size)
{
    meeting *m = context;
    atomic_fetch_add(&m->members, 1);
    atomic_fetch_or(&m->ids, 1 << id);
    atomic_store(&m->size, size);
    for (int round = 1; round <= ROUNDS; round++) {
        m->said[id] = round * (id + 1);
        wf_team_barrier(team);
        for (int other = 0; other < size; other++)
            if (m->said[other] != round * (other + 1)) atomic_fetch_add(&m->wrong, 1);
        wf_team_barrier(team);
    }
}

TEST(a_team_meets_at_its_barrier)
{
    for (int i = 0; i < 4; i++) {
        meeting m = { 0 };
        wf_par_width();
        wf_par_team(widths[i], meet, &m);
        ck_assert_int_eq(atomic_load(&m.size), widths[i]);
        ck_assert_int_eq(atomic_load(&m.members), widths[i]);
        ck_assert_int_eq(atomic_load(&m.ids), (1 << widths[i]) - 1);
        ck_assert_int_eq(atomic_load(&m.wrong), 0);
        ck_assert_int_eq(wf_par_width(), widths[i]);
    }
}

typedef struct nesting {
    atomic_int inner_parts, inner_members, strangers;
} nesting;

static void innermost(void *context, int64_t begin, int64_t end)
{
    whoami *w = context;
    note_thread(w, begin, end);
}

static void innermost_team(void *context, wf_team *team, int id, int size)
{
    nesting *n = context;
    wf_team_barrier(team); /* of one: does not wait for the others */
    atomic_fetch_add(&n->inner_members, size + id);
}

static void nest(void *context, int64_t begin, int64_t end)
{
    nesting *n = context;
    (void)begin;
    (void)end;
    whoami w = { 0 };
    wf_par_for(5, 100, 1, innermost, &w);
    atomic_fetch_add(&n->inner_parts, w.calls);
    atomic_fetch_add(&n->strangers,
                     !pthread_equal(w.thread, pthread_self()) || w.begin != 0 || w.end != 100);
    wf_par_team(5, innermost_team, n);
}

static void nest_in_team(void *context, wf_team *team, int id, int size)
{
    nest(context, id, size);
    wf_team_barrier(team);
}

TEST(a_parallel_loop_within_another_or_within_a_team_runs_on_its_own_thread)
{
    for (int team = 0; team < 2; team++) {
        nesting n = { 0 };
        wf_par_width();
        if (team)
            wf_par_team(3, nest_in_team, &n);
        else
            wf_par_for(3, 3, 1, nest, &n);
        ck_assert_int_eq(wf_par_width(), 3);
        ck_assert_int_eq(atomic_load(&n.inner_parts), 3);
        ck_assert_int_eq(atomic_load(&n.inner_members), 3);
        ck_assert_int_eq(atomic_load(&n.strangers), 0);
    }
    static record r; /* and afterwards there are threads again */
    memset(&r, 0, sizeof r);
    wf_par_for(3, 30, 1, note_part, &r);
    ck_assert_int_eq(atomic_load(&r.parts), 3);
}

static void nest_below_one_part(void *context, int64_t begin, int64_t end)
{
    (void)begin;
    (void)end;
    wf_par_for(3, 30, 1, note_part, context);
}

TEST(a_loop_below_a_single_part_still_has_threads)
{
    static record r;
    memset(&r, 0, sizeof r);
    wf_par_for(5, 10, 10, nest_below_one_part, &r);
    ck_assert_int_eq(atomic_load(&r.parts), 3);
}

#if defined(_OPENMP) && !defined(WF_PAR_PTHREAD)
TEST(within_a_parallel_region_of_the_users_it_runs_on_its_own_thread)
{
    nesting n = { 0 };
    wf_par_width();
#pragma omp parallel num_threads(2)
    nest(&n, 0, 0);
    ck_assert_int_eq(wf_par_width(), 1);
    ck_assert_int_eq(atomic_load(&n.inner_parts), 2);
    ck_assert_int_eq(atomic_load(&n.inner_members), 2);
    ck_assert_int_eq(atomic_load(&n.strangers), 0);
}
#endif

static void *use_threads(void *argument)
{
    atomic_int *wrong = argument;
    for (int round = 0; round < 20; round++) {
        atomic_llong sum = 0;
        meeting m = { 0 };
        wf_par_for(3, 1000, 7, add_lengths, &sum);
        if (atomic_load(&sum) != 1000) atomic_fetch_add(wrong, 1);
        if (round % 10 == 0) wf_par_team(2, meet, &m);
        if (atomic_load(&m.wrong)) atomic_fetch_add(wrong, 1);
    }
    return NULL;
}

TEST(several_threads_of_the_users_may_each_run_loops_at_once)
{
    pthread_t thread[4];
    atomic_int wrong = 0;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, use_threads, &wrong), 0);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    ck_assert_int_eq(atomic_load(&wrong), 0);
}

/* Tests of this program, run again under an environment in which OpenMP gives fewer threads than
 * asked for, or more levels of them. */
static const struct surroundings {
    const char *name, *value, *tests;
} surroundings[] = {
    { "OMP_THREAD_LIMIT", "2", "cover" },         { "OMP_THREAD_LIMIT", "2", "do_not_depend" },
    { "OMP_THREAD_LIMIT", "1", "do_not_depend" }, { "OMP_THREAD_LIMIT", "2", "largest_range" },
    { "OMP_DYNAMIC", "true", "do_not_depend" },   { "OMP_MAX_ACTIVE_LEVELS", "4", "within" },
    { "OMP_WAIT_POLICY", "passive", "meets" },    { "OMP_WAIT_POLICY", "active", "meets" },
    { "OMP_PROC_BIND", "true", "do_not_depend" },
};

TEST_EACH(whatever_openmp_is_told_by_the_environment_the_results_are_the_same,
          sizeof surroundings / sizeof *surroundings)
{
    const struct surroundings *s = &surroundings[_i];
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout)) _exit(99);
        setenv(s->name, s->value, 1);
        execl("/proc/self/exe", "test_par", s->tests, (char *)NULL);
        _exit(98);
    }
    ck_assert_msg(exit_of(child) == 0, "%s=%s: %s failed", s->name, s->value, s->tests);
}

#ifdef __SSE2__
/* Floating point in a part: 1 for each thing that is not as promised. */
static int strange_arithmetic(void)
{
    volatile float tiny = 1e-30f, denormal = 1e-40f, one = 1, third = 3;
    volatile double least = 2.2250738585072014e-308;
    int strange = 0;
    strange += tiny * tiny * 1e20f != 0; /* underflow is flushed */
    strange += denormal * 1e10f != 0;    /* a denormal counts as zero */
    strange += least / 4 != 0;
    strange += one / third != 0x1.555556p-2f || -one / third != -0x1.555556p-2f; /* to nearest */
    return strange;
}

static void calculate(void *context, int64_t begin, int64_t end)
{
    (void)begin;
    (void)end;
    atomic_fetch_add((atomic_int *)context, strange_arithmetic());
}

static void calculate_in_team(void *context, wf_team *team, int id, int size)
{
    calculate(context, id, size);
    wf_team_barrier(team);
    calculate(context, id, size);
}

static void calculate_in_loop(void *context, char *const pointer[], const int64_t stride[],
                              int64_t n)
{
    (void)pointer;
    (void)stride;
    calculate(context, 0, n);
}

static const uint32_t states[] = {
    0x1F80,                   /* the default */
    0x1F80 | 0x2000,          /* rounding down */
    0x1F80 | 0x4000 | 0x8000, /* up, flushing */
    0x1F80 | 0x6000 | 0x0040, /* towards zero, denormals are zero */
    0x9FC0,                   /* as inside */
    0x1F80 | 0x0021,          /* flags raised before */
    0x1F80 & ~0x0400u,        /* overflow trapped */
};

TEST_EACH(floating_point_is_set_inside_and_given_back_untouched, sizeof states / sizeof *states)
{
    static float data[100000];
    wf_tensor x = wf_tensor_of(WF_F32, WF_SHAPE(100000), data);
    wf_walk loop;
    ck_assert(wf_walk_plan(&loop, WF_SHAPE(100000), 1, (const wf_tensor *const[]){ &x }));
    uint32_t first = _mm_getcsr(), flags = states[_i] == 0x9FC0 ? 0x3F : 0;
    atomic_int strange = 0;
    for (int i = 0; i < 4; i++) {
        for (int kind = 0; kind < 4; kind++) {
            _mm_setcsr(states[_i]);
            if (kind == 0) wf_par_for(widths[i], 100, 1, calculate, &strange);
            if (kind == 1) wf_par_team(widths[i], calculate_in_team, &strange);
            if (kind == 2) wf_walk_run(&loop, widths[i], 1, calculate_in_loop, &strange);
            if (kind == 3) {
                uint32_t outer = wf_fp_enter(), inner = wf_fp_enter();
                atomic_fetch_add(&strange, strange_arithmetic());
                wf_fp_leave(inner);
                atomic_fetch_add(&strange, strange_arithmetic());
                uint32_t exact = wf_fp_enter_exact(); /* denormals, to nearest */
                atomic_fetch_add(&strange, strange_arithmetic() != 2);
                wf_fp_leave(exact);
                atomic_fetch_add(&strange, strange_arithmetic());
                wf_fp_leave(outer);
            }
            uint32_t after = _mm_getcsr();
            _mm_setcsr(first);
            /* Where the state was right already nothing is written, so flags may have been raised.
             */
            ck_assert_msg((after & ~flags) == (states[_i] & ~flags),
                          "kind %d, %d threads: %x after %x", kind, widths[i], after, states[_i]);
        }
    }
    ck_assert_int_eq(atomic_load(&strange), 0);
}
#endif

/* A walk whose result would show how it was cut: the sum of each run is rounded, then mixed with
 * where the run began. */
typedef struct cuts {
    atomic_llong hash;
    atomic_int runs;
    const char *origin;
} cuts;

static void hash_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    cuts *c = context;
    uint64_t at = (uint64_t)(pointer[0] - c->origin);
    atomic_fetch_add(
        &c->hash, (long long)((at * 0x9E3779B97F4A7C15u ^ (uint64_t)n * 0xBF58476D1CE4E5B9u) >> 8));
    atomic_fetch_add(&c->runs, 1);
    /* y += x in float, in the order of the walk */
    for (int64_t i = 0; i < n; i++)
        *(float *)(pointer[0] + i * stride[0]) += *(const float *)(pointer[1] + i * stride[1]);
}

/* y (given axes of x dropped to stride 0) += x for a number of threads, into out. */
static void sum_to(const wf_tensor *x, const wf_tensor *y, int threads, cuts *c)
{
    wf_walk loop;
    wf_tensor wide;
    memset(c, 0, sizeof *c);
    c->origin = y->data;
    ck_assert(wf_view_expand(y, wf_tensor_shape(x), &wide));
    ck_assert(wf_walk_plan(&loop, wf_tensor_shape(x), 2, (const wf_tensor *const[]){ &wide, x }));
    wf_walk_run(&loop, threads, 1, hash_run, c);
}

static const wf_shape walks[][2] = {
    /* x, y */
    { { 1, { 100003 } }, { 1, { 100003 } } },
    { { 1, { 100003 } }, { 1, { 1 } } },
    { { 2, { 331, 313 } }, { 2, { 331, 1 } } },
    { { 2, { 331, 313 } }, { 2, { 1, 313 } } },
    { { 2, { 331, 313 } }, { 2, { 331, 313 } } },
    { { 2, { 9973, 11 } }, { 2, { 1, 11 } } },
    { { 2, { 3, 33331 } }, { 2, { 3, 33331 } } },
    { { 3, { 7, 97, 149 } }, { 3, { 7, 1, 149 } } },
    { { 3, { 7, 97, 149 } }, { 3, { 1, 97, 1 } } },
    { { 4, { 13, 17, 19, 23 } }, { 4, { 13, 1, 19, 1 } } },
    { { 2, { 31, 37 } }, { 2, { 31, 37 } } },
};

TEST_EACH(the_bits_and_the_cuts_of_a_walk_do_not_depend_on_the_number_of_threads,
          sizeof walks / sizeof *walks)
{
    const wf_shape *shape = walks[_i];
    int64_t n = wf_shape_count(&shape[0]), m = wf_shape_count(&shape[1]);
    float *x = wf_alloc((size_t)n * sizeof *x), *y = wf_alloc((size_t)m * sizeof *y),
          *once = wf_alloc((size_t)m * sizeof *once);
    ck_assert(x && y && once);
    for (int64_t i = 0; i < n; i++) x[i] = (float)((i * 7919 % 10007) - 5003) * 1.37e-3f;
    for (int order = 0; order < 2; order++) {
        wf_tensor a = wf_tensor_of(WF_F32, shape[0], x), b = wf_tensor_of(WF_F32, shape[1], y);
        if (order == 1) { /* the same sizes from the other end: x transposed, y not */
            wf_shape turned = { .rank = shape[0].rank };
            for (int k = 0; k < turned.rank; k++) turned.dim[k] = shape[0].dim[turned.rank - 1 - k];
            a = wf_tensor_of(WF_F32, turned, x);
            for (int k = 0; k < turned.rank / 2; k++)
                ck_assert(wf_view_transpose(&a, k, turned.rank - 1 - k, &a));
        }
        cuts first;
        for (int i = 0; i < 4; i++) {
            cuts c;
            memset(y, 0, (size_t)m * sizeof *y);
            sum_to(&a, &b, widths[i], &c);
            if (i == 0) {
                memcpy(once, y, (size_t)m * sizeof *y);
                memcpy(&first, &c, sizeof c);
                /* Against a plain sum in double. */
                double total = 0, ours = 0;
                for (int64_t k = 0; k < n; k++) total += (double)x[k];
                for (int64_t k = 0; k < m; k++) ours += (double)y[k];
                ck_assert_double_eq_tol(ours, total, 1e-3 * sqrt((double)n));
                continue;
            }
            ck_assert_int_eq(memcmp(once, y, (size_t)m * sizeof *y), 0);
            ck_assert_int_eq(atomic_load(&c.runs), atomic_load(&first.runs));
            ck_assert(atomic_load(&c.hash) == atomic_load(&first.hash));
        }
    }
    wf_release(x);
    wf_release(y);
    wf_release(once);
}

TEST(a_long_walk_really_is_shared_and_a_short_one_is_not)
{
    static float x[40000], y[40000];
    wf_tensor a = wf_tensor_of(WF_F32, WF_SHAPE(200, 200), x),
              b = wf_tensor_of(WF_F32, WF_SHAPE(200, 200), y), short_a, short_b;
    cuts c;
    wf_par_width();
    sum_to(&a, &b, 3, &c);
    ck_assert_int_eq(wf_par_width(), 3);
    ck_assert(wf_view_slice(&a, 0, 0, 160, 1, &short_a) &&
              wf_view_slice(&b, 0, 0, 160, 1, &short_b));
    sum_to(&short_a, &short_b, 3, &c);
    ck_assert_int_eq(wf_par_width(), 1);
    /* Rows too short to be cut: the sums of 11 columns are added row by row, on one thread. */
    a = wf_tensor_of(WF_F32, WF_SHAPE(3600, 11), x);
    b = wf_tensor_of(WF_F32, WF_SHAPE(1, 11), y);
    sum_to(&a, &b, 3, &c);
    ck_assert_int_eq(atomic_load(&c.runs), 3600);
}

const harness_suite suite = { .threads = CEILING };
