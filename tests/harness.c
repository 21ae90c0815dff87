/* The suites' main: chooses tests by name, counts what was skipped in child processes, and
 * clears their folders away. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define SANITIZED 1
#else
#define SANITIZED HARNESS_ADDRESSES
#endif

enum { TIMEOUT = SANITIZED ? 600 : 300, TESTS = 256, REASON = 400, PATHS = 8, LONGEST_PATH = 4096 };

static struct {
    const TTest *test;
    int count;
} tests[TESTS]; /* in the order of their lines: constructors may come in any */
static int n_tests;
static FILE *notes; /* what tests leave for the parent: lines "skip REASON" and "folder PATH" */
static char reason[REASON];             /* why the running test is skipped; empty if it is not */
static char folder[LONGEST_PATH];       /* the running test's, or empty */
static char paths[PATHS][LONGEST_PATH]; /* harness_data's latest answers */

/* One write, appended whole: children that share the file do not mix their lines. */
static void note(const char *kind, const char *text)
{
    char line[LONGEST_PATH + 16];
    int n = snprintf(line, sizeof line, "%s %s\n", kind, text);
    for (int i = 0; i < n - 1; i++)
        if (line[i] == '\n') line[i] = ' ';
    if (write(fileno(notes), line, (size_t)n) != n) perror("harness");
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_folder(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void before_test(void)
{
    reason[0] = folder[0] = 0;
}

int op_count(void)
{
    int n = 0;
    while (wf_op_at(n)) n++;
    return n;
}

const wf_op *op_named(const char *name)
{
    int i = 0;
    while (wf_op_at(i) && strcmp(wf_op_at(i)->name, name)) i++;
    ck_assert_msg(wf_op_at(i), "there is no op '%s'", name);
    return wf_op_at(i);
}

/* Reached only by a test that did not fail, so that a failure after harness_skip counts as a
 * failure. */
static void after_test(void)
{
    if (reason[0]) note("skip", reason);
    if (folder[0]) remove_folder(folder);
    reason[0] = folder[0] = 0;
}

void harness_skip(const char *format, ...)
{
    va_list arguments;
    if (reason[0]) return;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    if (!reason[0]) snprintf(reason, sizeof reason, "no reason given");
}

const char *harness_data(const char *name)
{
    static int next;
    char *path = paths[next++ % PATHS];
    const char *data = getenv("WEFT_DATA");
    if (!data || !*data) {
        harness_skip("%s: WEFT_DATA is not set", name);
        return NULL;
    }
    int n = snprintf(path, LONGEST_PATH, "%s/%s", data, name);
    if (n < LONGEST_PATH && access(path, R_OK) == 0) return path;
    harness_skip("%s is not in WEFT_DATA", name);
    return NULL;
}

const char *harness_folder(void)
{
    if (folder[0]) return folder;
    const char *base = getenv("TMPDIR");
    if (!base || !*base) base = P_tmpdir;
    int n = snprintf(folder, sizeof folder, "%s/weft-test-XXXXXX", base);
    if (n >= (int)sizeof folder || !mkdtemp(folder)) {
        folder[0] = 0;
        ck_abort_msg("no folder can be made in %s: %s", base, strerror(errno));
    }
    note("folder", folder); /* for the parent, should this test crash */
    return folder;
}

void harness_add(const TTest *test, int count)
{
    int at = n_tests++;
    if (n_tests > TESTS) abort();
    for (; at > 0 && tests[at - 1].test->line > test->line; at--) tests[at] = tests[at - 1];
    tests[at].test = test;
    tests[at].count = count;
}

/* Prints why tests were skipped, removes what crashed tests left, and counts the former. */
static int read_notes(void)
{
    char line[LONGEST_PATH + 16];
    int skipped = 0;
    rewind(notes);
    while (fgets(line, sizeof line, notes)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "skip ", 5) == 0) {
            printf("skipped: %s\n", line + 5);
            skipped++;
        } else if (strncmp(line, "folder ", 7) == 0) {
            remove_folder(line + 7);
        }
    }
    return skipped;
}

/* ---- the runtime ---- */

struct harness_heap heap;
struct harness_said log_kept;

static void *heap_alloc(void *user, size_t bytes)
{
    (void)user;
    const int64_t now = ++heap.asked;
    if (bytes > heap.largest) heap.largest = bytes;
    if (heap.fail_at && (heap.fail_on ? now >= heap.fail_at : now == heap.fail_at)) return NULL;
    if (heap.most && bytes > heap.most) return NULL;
    void *x = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (x && heap.soiled) memset(x, 0xff, bytes);
    heap.live += x != NULL;
    heap.large += bytes >= heap.large_from;
    return x;
}

static void heap_release(void *user, void *x)
{
    (void)user;
    heap.live--;
    free(x);
}

static void keep_log(void *user, const char *text)
{
    (void)user;
    log_kept.times++;
    snprintf(log_kept.text, sizeof log_kept.text, "%s", text);
}

/* ---- main ---- */

static TCase *all_tests(const char *part, const harness_suite *own)
{
    TCase *all = tcase_create("tests");
    tcase_set_timeout(all, TIMEOUT);
    tcase_add_checked_fixture(all, before_test, after_test);
    if (own->before || own->after) tcase_add_checked_fixture(all, own->before, own->after);
    for (int i = 0; i < n_tests; i++)
        if (strstr(tests[i].test->name, part))
            tcase_add_loop_test(all, tests[i].test, 0, tests[i].count);
    return all;
}

int main(int argc, char **argv)
{
    const harness_suite own = &suite ? suite : (harness_suite){ 0 };
    const char *slash = strrchr(argv[0], '/'), *part = argc > 1 ? argv[1] : "";
    wf_error e = { "" };
    const wf_runtime runtime = { .alloc = heap_alloc,
                                 .release = heap_release,
                                 .log = own.log ? own.log : keep_log,
                                 .files = own.files,
                                 .threads = own.threads };
    if (&suite && !wf_runtime_set(&runtime, &e)) return fprintf(stderr, "%s\n", e.text), 1;
    if (own.child && strncmp(part, "--", 2) == 0) return own.child();
    notes = tmpfile();
    if (!notes || fcntl(fileno(notes), F_SETFL, O_APPEND | O_RDWR) != 0) {
        perror("harness: no temporary file");
        return 1;
    }
    Suite *all = suite_create(slash ? slash + 1 : argv[0]);
    suite_add_tcase(all, all_tests(part, &own));
    SRunner *runner = srunner_create(all);
    srunner_run_all(runner, getenv("CK_VERBOSITY") ? CK_ENV : CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    int passed = srunner_ntests_run(runner) - failed;
    srunner_free(runner);
    int skipped = read_notes();
    if (skipped > passed) skipped = passed;
    fclose(notes);
    printf("%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped);
    fflush(stdout);
    return failed > 0;
}
