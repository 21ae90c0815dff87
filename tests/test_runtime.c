/* The runtime, memory, log and errors: what a process may set, when it is too late, and what it
 * gets when it sets nothing. A process can set its runtime once: each test has one of its own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tensor/private.h"
#include "tensor/rng.h"
#include "tests/harness.h"

/* A runtime that counts what passes through it. */
static struct counts {
    int allocs, releases, logs;
    size_t bytes;
    char text[4096];
} counts;

static void *counting_alloc(void *user, size_t bytes)
{
    struct counts *c = user;
    c->allocs++;
    c->bytes += bytes;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void counting_release(void *user, void *memory)
{
    struct counts *c = user;
    c->releases += memory != NULL;
    free(memory);
}

static void counting_log(void *user, const char *text)
{
    struct counts *c = user;
    c->logs++;
    snprintf(c->text, sizeof c->text, "%s", text);
}

static const wf_runtime counting = {
    .alloc = counting_alloc, .release = counting_release, .log = counting_log, .user = &counts
};

TEST(the_runtime_can_be_set_until_it_is_used_and_not_after)
{
    wf_error e = { 0 };
    ck_assert(wf_runtime_set(&(wf_runtime){ .threads = 3 }, &e));
    ck_assert(wf_runtime_set(&(wf_runtime){ .threads = 7 }, &e)); /* not used yet: it counts */
    ck_assert_int_eq(wf_threads(), 7);
    ck_assert(!wf_runtime_set(&(wf_runtime){ .threads = 2 }, &e));
    ck_assert_str_eq(
        e.text, "runtime: set after first use; set it before anything else of the library runs");
    ck_assert_int_eq(wf_threads(), 7);
}

TEST(all_memory_goes_through_the_hook_and_nothing_is_asked_for_zero_bytes)
{
    ck_assert(wf_runtime_set(&counting, NULL));
    char *a = wf_alloc(100), *b = wf_alloc_zero(1000), *c = wf_strdup("weft");
    ck_assert(a && b && c && counts.allocs == 3 && counts.bytes == 1105);
    for (int i = 0; i < 1000; i++) ck_assert_int_eq(b[i], 0);
    ck_assert_str_eq(c, "weft");
    ck_assert(!wf_alloc(0) && !wf_alloc_zero(0) && !wf_strdup(NULL) && counts.allocs == 3);
    wf_release(a);
    wf_release(b);
    wf_release(c);
    wf_release(NULL);
    ck_assert_int_eq(counts.releases, 3);
}

static void *crooked_alloc(void *user, size_t bytes)
{
    return (char *)counting_alloc(user, bytes + 64) + 8;
}

static void crooked_release(void *user, void *memory)
{
    counting_release(user, (char *)memory - 8);
}

TEST(memory_that_is_not_aligned_is_given_back_and_counts_as_none)
{
    wf_runtime r = counting;
    r.alloc = crooked_alloc;
    r.release = crooked_release;
    ck_assert(wf_runtime_set(&r, NULL));
    ck_assert_ptr_null(wf_alloc(10));
    ck_assert(counts.allocs == 1 && counts.releases == 1 && counts.logs == 1);
    ck_assert_ptr_nonnull(strstr(counts.text, "not 64-byte aligned"));
}

TEST(memory_is_aligned_and_writable_for_every_size)
{
    for (size_t bytes = 1; bytes < 5000; bytes = bytes * 3 / 2 + 1) {
        unsigned char *p = wf_alloc(bytes);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        memset(p, 0xA5, bytes);
        ck_assert_uint_eq(p[bytes - 1], 0xA5);
        wf_release(p);
    }
}

static const struct refusal {
    wf_runtime runtime;
    const char *text;
} refusals[] = {
    { { .threads = -1 }, NULL }, /* and nobody to tell */
    { { .threads = -1 }, "runtime: threads is -1; expected 0 (the default) to 64" },
    { { .threads = 65 }, "runtime: threads is 65; expected 0 (the default) to 64" },
    { { .alloc = counting_alloc }, "runtime: alloc is given without release" },
    { { .release = counting_release }, "runtime: release is given without alloc" },
    { { .reserved = { NULL, NULL, NULL, &counts } },
      "runtime: a reserved field is not zero; this library is version " WF_VERSION },
    { { .files = &(const wf_files){ .reserved = { &counts } } },
      "runtime: a reserved field is not zero; this library is version " WF_VERSION },
};

TEST(a_runtime_that_makes_no_sense_is_refused_with_the_reason_and_changes_nothing)
{
    wf_error e = { 0 };
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        ck_assert(!wf_runtime_set(&refusals[i].runtime, i ? &e : NULL));
        ck_assert(!i || !strcmp(e.text, refusals[i].text));
    }
    ck_assert(wf_runtime_set(NULL, &e) && !e.text[0]);
    ck_assert(wf_threads() >= 1 && wf_threads() <= 64);
}

static int available(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return -1;
    int n = CPU_COUNT(&set);
    return n > 64 ? 64 : n;
}

static const struct environment {
    const char *omp, *weft;
    int most;     /* of threads, besides the processors */
    int messages; /* to the log */
} environments[] = {
    { NULL, NULL, 64, 0 },  { "", "", 64, 0 },     { "1", NULL, 1, 0 },
    { NULL, "1", 1, 0 },    { "1", "64", 1, 0 },   { "2,4", NULL, 2, 0 },
    { "1 ", "1000", 1, 0 }, { "many", "1", 1, 1 }, { "0", "-2", 64, 2 },
    { "1x", "1.5", 64, 2 }, { NULL, "1,2", 1, 0 }, { "99999999999999999999", "1", 1, 0 },
};

TEST_EACH(the_environment_lowers_the_number_of_threads_and_nonsense_in_it_is_ignored_with_a_word,
          sizeof environments / sizeof environments[0])
{
    const struct environment *environment = &environments[_i];
    unsetenv("OMP_NUM_THREADS");
    unsetenv("WEFT_THREADS");
    if (environment->omp) setenv("OMP_NUM_THREADS", environment->omp, 1);
    if (environment->weft) setenv("WEFT_THREADS", environment->weft, 1);
    ck_assert(wf_runtime_set(&counting, NULL));
    ck_assert_int_eq(wf_threads(),
                     available() < environment->most ? available() : environment->most);
    ck_assert(!counts.logs || strstr(counts.text, "is not a number of threads; ignored"));
    wf_threads();
    ck_assert_int_eq(counts.logs, environment->messages); /* said once */
}

TEST(threads_that_the_program_gives_count_more_than_the_environment)
{
    setenv("OMP_NUM_THREADS", "1", 1);
    setenv("WEFT_THREADS", "1", 1);
    ck_assert(wf_runtime_set(&(wf_runtime){ .threads = 5 }, NULL));
    ck_assert_int_eq(wf_threads(), 5);
}

static void logging_log(void *user, const char *text)
{
    struct counts *c = user;
    counting_log(user, text);
    if (c->logs == 1) wf_log_line("from the log: %d threads", wf_threads());
}

TEST(the_log_may_itself_use_the_library)
{
    wf_runtime r = counting;
    r.log = logging_log;
    setenv("WEFT_THREADS", "x", 1);
    ck_assert(wf_runtime_set(&r, NULL));
    wf_threads();
    ck_assert_int_eq(counts.logs, 2);
    ck_assert(!strncmp(counts.text, "from the log", 12));
}

static void *first_use(void *argument)
{
    const wf_runtime **seen = argument;
    *seen = wf_runtime_use();
    return NULL;
}

TEST(threads_that_use_the_library_first_at_once_see_one_runtime_and_hear_one_message)
{
    pthread_t thread[8];
    const wf_runtime *seen[8] = { NULL };
    setenv("WEFT_THREADS", "x", 1);
    ck_assert(wf_runtime_set(&counting, NULL));
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, first_use, &seen[i]), 0);
    for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 8; i++)
        ck_assert(seen[i] == seen[0] && seen[i]->alloc == counting_alloc && seen[i]->files->rename);
    ck_assert_int_eq(counts.logs, 1);
}

static int fail_to_sync(void *user, int fd)
{
    (void)user;
    (void)fd;
    errno = EIO;
    return -1;
}

TEST(file_functions_that_are_not_given_are_the_posix_ones)
{
    static const wf_files files = { .sync = fail_to_sync };
    ck_assert(wf_runtime_set(&(wf_runtime){ .files = &files }, NULL));
    const wf_files *f = wf_runtime_use()->files;
    ck_assert(f->sync(NULL, 1) == -1 && errno == EIO);
    ck_assert(f->open && f->read && f->write && f->size && f->close && f->rename && f->unlink);
}

TEST(the_default_file_functions_write_rename_read_and_remove)
{
    const wf_files *f = wf_runtime_use()->files;
    char a[300], b[300], back[16] = { 0 };
    snprintf(a, sizeof a, "%s/a", harness_folder());
    snprintf(b, sizeof b, "%s/b", harness_folder());
    int fd = f->open(NULL, a, O_CREAT | O_WRONLY | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(f->write(NULL, fd, "warp and weft", 13), 13);
    ck_assert_int_eq(f->sync(NULL, fd), 0);
    ck_assert_int_eq(f->close(NULL, fd), 0);
    ck_assert_int_eq(f->rename(NULL, a, b), 0);
    errno = 0;
    ck_assert_int_eq(f->open(NULL, a, O_RDONLY, 0), -1);
    ck_assert_int_eq(errno, ENOENT);
    fd = f->open(NULL, b, O_RDONLY, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(f->size(NULL, fd), 13);
    ck_assert_int_eq(f->read(NULL, fd, back, sizeof back), 13);
    ck_assert_str_eq(back, "warp and weft");
    ck_assert_int_eq(f->close(NULL, fd), 0);
    ck_assert_int_eq(f->unlink(NULL, b), 0);
    ck_assert_int_eq(access(b, F_OK), -1);
}

TEST(only_a_regular_file_has_a_size)
{
    const wf_files *f = wf_runtime_use()->files;
    int fd = f->open(NULL, harness_folder(), O_RDONLY, 0), ends[2];
    ck_assert_int_ge(fd, 0);
    errno = 0;
    ck_assert_int_eq(f->size(NULL, fd), -1);
    ck_assert_int_eq(errno, EISDIR);
    f->close(NULL, fd);
    ck_assert_int_eq(pipe(ends), 0);
    errno = 0;
    ck_assert_int_eq(f->size(NULL, ends[0]), -1);
    ck_assert_int_eq(errno, EINVAL);
    close(ends[0]);
    close(ends[1]);
}

TEST(the_default_log_is_a_line_on_stderr)
{
    FILE *caught = tmpfile();
    char text[100] = { 0 };
    const int was = dup(2);
    ck_assert(caught && was >= 0 && dup2(fileno(caught), 2) >= 0);
    wf_log_line("%d %s", 17, "warps");
    dup2(was, 2);
    rewind(caught);
    ck_assert_uint_eq(fread(text, 1, sizeof text - 1, caught), 9);
    ck_assert_str_eq(text, "17 warps\n");
    fclose(caught);
    close(was);
}

TEST(an_error_may_be_made_of_itself)
{
    wf_error e = { "inner" }, outer = { 0 };
    wf_error_set(&outer, "outer: %s", e.text);
    ck_assert_str_eq(outer.text, "outer: inner");
    e.text[0] = 0;
    wf_error_set(&e, "<%s>", e.text);
    ck_assert_str_eq(e.text, "<>");
}

TEST(the_version_is_that_of_the_headers)
{
    char text[40];
    snprintf(text, sizeof text, "%d.%d.%d", WF_VERSION_MAJOR, WF_VERSION_MINOR, WF_VERSION_PATCH);
    ck_assert_str_eq(wf_version(), text);
    ck_assert_str_eq(wf_version(), WF_VERSION);
}

/* The known answers of Random123's kat_vectors, philox4x32 with 10 rounds. */
TEST(philox_gives_the_known_answers)
{
    static const struct answer {
        uint64_t key, low, high;
        uint32_t out[4];
    } answers[] = {
        { 0, 0, 0, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { UINT64_MAX, UINT64_MAX, UINT64_MAX, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        /* counter words 243f6a88 85a308d3 13198a2e 03707344, key words a4093822 299f31d0, the first
           word lowest */
        { 0x299f31d0a4093822,
          0x85a308d3243f6a88,
          0x0370734413198a2e,
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        wf_philox(answers[i].key, answers[i].low, answers[i].high, out);
        for (int w = 0; w < 4; w++) ck_assert_uint_eq(out[w], answers[i].out[w]);
    }
}

TEST(uniform_numbers_are_philox_bits_below_one_with_the_right_moments)
{
    enum { N = 200000 };
    double sum = 0, square = 0, least = 1, most = 0;
    int bins[16] = { 0 };
    for (uint64_t i = 0; i < N; i++) {
        double u = wf_random_uniform(42, i);
        uint32_t w[4];
        wf_philox(42, i, 0, w);
        ck_assert(u == (double)(((uint64_t)w[1] << 32 | w[0]) >> 11) / 9007199254740992.0);
        ck_assert(u >= 0 && u < 1);
        sum += u;
        square += u * u;
        bins[(int)(u * 16)]++;
        if (u < least) least = u;
        if (u > most) most = u;
    }
    ck_assert_double_eq_tol(sum / N, 0.5, 5 * 0.2887 / sqrt(N));
    ck_assert_double_eq_tol(square / N, 1.0 / 3, 5 * 0.298 / sqrt(N));
    ck_assert(least < 1e-4 && most > 1 - 1e-4);
    double chi = 0;
    for (int b = 0; b < 16; b++) chi += pow(bins[b] - N / 16.0, 2) / (N / 16.0);
    ck_assert_msg(chi < 45, "chi-square with 15 degrees of freedom: %g", chi);
}

TEST(normal_numbers_have_the_moments_of_a_normal)
{
    enum { N = 200000 };
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, lagged = 0, before = 0;
    for (uint64_t i = 0; i < N; i++) {
        double z = wf_random_normal(7, i);
        ck_assert(isfinite(z) && fabs(z) < 9);
        m1 += z;
        m2 += z * z;
        m3 += z * z * z;
        m4 += z * z * z * z;
        lagged += z * before;
        before = z;
    }
    ck_assert_double_eq_tol(m1 / N, 0, 5 / sqrt(N));
    ck_assert_double_eq_tol(m2 / N, 1, 5 * sqrt(2.0 / N));
    ck_assert_double_eq_tol(m3 / N, 0, 5 * sqrt(15.0 / N));
    ck_assert_double_eq_tol(m4 / N, 3, 5 * sqrt(96.0 / N));
    ck_assert_double_eq_tol(lagged / N, 0, 5 / sqrt(N));
}

TEST(whole_numbers_below_n_are_all_reached_evenly)
{
    enum { N = 60000 };
    for (int64_t n = 1; n <= 13; n += 3) {
        int seen[13] = { 0 };
        for (uint64_t i = 0; i < N; i++) {
            int64_t v = wf_random_below(3, i, n);
            ck_assert(v >= 0 && v < n);
            seen[v]++;
        }
        for (int64_t v = 0; v < n; v++)
            ck_assert_double_eq_tol(seen[v], (double)N / (double)n,
                                    5 * sqrt((double)N / (double)n));
    }
    /* 2^64 / n is 8/3: without rejection, remainders by 3 would come up as 3 to 3 to 2. */
    const int64_t large = (int64_t)3 << 61;
    int remainder[3] = { 0 };
    for (uint64_t i = 0; i < N; i++) {
        int64_t v = wf_random_below(5, i, large);
        ck_assert(v >= 0 && v < large);
        remainder[v % 3]++;
    }
    for (int r = 0; r < 3; r++) ck_assert_double_eq_tol(remainder[r], N / 3.0, 5 * sqrt(N) / 2);
}

TEST(keys_made_of_different_names_and_numbers_differ)
{
    static const char *const names[] = { "",
                                         "a",
                                         "b",
                                         "ab",
                                         "ba",
                                         "a.b",
                                         "layer.weight_ih_l0",
                                         "layer.weight_hh_l0",
                                         "layer.weight_ih_l1",
                                         "12345678",
                                         "1234567",
                                         "123456789",
                                         "12345678\x01",
                                         "\xC3\xB6" };
    enum { NAMES = sizeof names / sizeof names[0], ALL = 2 * (NAMES + 64) };
    uint64_t key[ALL];
    int n = 0;
    for (uint64_t root = 0; root < 2; root++) {
        for (int i = 0; i < NAMES; i++) key[n++] = wf_key_named(root, names[i]);
        for (uint64_t i = 0; i < 64; i++) key[n++] = wf_key_with(root, i);
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) ck_assert_uint_ne(key[i], key[j]);
    ck_assert_uint_eq(wf_key_named(9, "same"), wf_key_named(9, "same"));
    ck_assert_uint_ne(wf_key_with(wf_key_with(0, 1), 2), wf_key_with(wf_key_with(0, 2), 1));
}
