/* The same bits: a training run of full size ends in the same parameters, optimiser and carry
 * whatever the number of threads. */
#include "tests/harness.h"
#include "tests/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const int threads[] = { 1, 2, 3, 5 };
enum { COUNTS = sizeof threads / sizeof threads[0] };

typedef struct outcome {
    uint64_t hash;
    int width; /* how many threads really ran at once */
} outcome;

/* Runs in a child: the number of threads is the runtime's, set once in a process. */
static outcome run(const wf_cell *cell, int n, int64_t steps, bool full)
{
    outcome out = { 0, -1 };
    int pipes[2];
    ck_assert_int_eq(pipe(pipes), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        rig r;
        wf_error e = { { 0 } };
        rig_size size = { .cell = cell,
                          .letters = 65,
                          .time = full ? 64 : 16,
                          .batch = 33,
                          .embed = 64,
                          .hidden = full ? 256 : 96,
                          .layers = 2,
                          .dropout = 0.2,
                          .clip = 1,
                          .ragged = true };
        if (!wf_runtime_set(&(wf_runtime){ .threads = n }, &e) || !rig_make(&r, size, &e)) {
            fprintf(stderr, "%s\n", e.text);
            _exit(1);
        }
        wf_par_width();
        for (int64_t i = 0; i < steps; i++)
            if (!rig_step(&r, i)) _exit(1);
        out = (outcome){ rig_hash(&r), wf_par_width() };
        rig_free(&r);
        _exit(write(pipes[1], &out, sizeof out) == sizeof out ? 0 : 1);
    }
    close(pipes[1]);
    bool got = read(pipes[0], &out, sizeof out) == sizeof out;
    close(pipes[0]);
    int status = 0;
    waitpid(child, &status, 0);
    ck_assert_msg(got && WIFEXITED(status) && WEXITSTATUS(status) == 0,
                  "the run with %d threads died", n);
    return out;
}

static const wf_cell *cell_at(int i)
{
    return i == 0 ? wf_cell_rnn() : i == 1 ? wf_cell_lstm() : wf_cell_gru();
}

/* Full size with vector kernels; all 50 steps at the highest level, and everywhere when time was
 * given (WEFT_FULL). */
START_TEST(a_training_run_has_the_same_bits_for_any_number_of_threads)
{
    const wf_cell *cell = cell_at(_i);
    bool time_given = getenv("WEFT_FULL") != NULL;
#if defined(__SANITIZE_ADDRESS__)
    bool full = false;
#else
    bool full = time_given || wf_isa_level() != WF_ISA_C;
#endif
    int64_t steps = time_given || (full && wf_isa_level() == WF_ISA_AVX512) ? 50 : 5;
    outcome first = { 0 };
    for (int i = 0; i < COUNTS; i++) {
        outcome o = run(cell, threads[i], steps, full);
        ck_assert_msg(o.width == threads[i], "%s: %d threads ran where %d were asked for",
                      cell->name, o.width, threads[i]);
        if (i == 0) first = o;
        ck_assert_msg(o.hash == first.hash, "%s: %d threads give %016llx, 1 gives %016llx",
                      cell->name, threads[i], (unsigned long long)o.hash,
                      (unsigned long long)first.hash);
    }
    printf("%s: %lld steps, hash %016llx for 1, 2, 3 and 5 threads\n", cell->name, (long long)steps,
           (unsigned long long)first.hash);
}
END_TEST

static void add(TCase *tests)
{
    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, a_training_run_has_the_same_bits_for_any_number_of_threads, 0, 3);
}

int main(int argc, char **argv)
{
    return harness_main(argc, argv, "bits", add);
}
