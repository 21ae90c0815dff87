/* What every suite is written with: Check, skipping with a reason, and one closing line of counts.
 * The suites have no main of their own: `test_NAME [PART]` runs the tests whose names contain PART
 * (all), prints "N passed, N failed, N skipped" last, and returns 0 when none failed. */
#ifndef WEFT_TESTS_HARNESS_H
#define WEFT_TESTS_HARNESS_H

#include <check.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "autograd/op.h"
#include "tensor/runtime.h"

/* Check tells its parent of every assertion that holds, by a call of the system each: of millions
 * of them in loops that is most of a suite's time. Those that fail say where they are. */
#define _mark_point(file, line) ((void)0)

/* Steps after which a steady loop asks for no more memory. Under the address sanitizer a tape lets
 * the memory of some steps rest before it uses it again. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HARNESS_ADDRESSES 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HARNESS_ADDRESSES 1
#endif
#ifndef HARNESS_ADDRESSES
#define HARNESS_ADDRESSES 0
#endif
enum { HARNESS_SETTLED = HARNESS_ADDRESSES ? 6 : 2 };

/* A test, and all that there is to say of it: TEST(what_holds) { ... }. TEST_EACH(what_holds, n)
 * { ... } is n tests, each with its own number in `_i`. Each runs in a process of its own
 * (CK_FORK=no: in this one), in the order in which they are written. */
#define TEST(name) TEST_EACH(name, 1)
#define TEST_EACH(name, count)                                                                     \
    static void name(int);                                                                         \
    __attribute__((constructor)) static void add_##name(void)                                      \
    {                                                                                              \
        static const TTest test = { #name, name, __FILE__, __LINE__ };                             \
        harness_add(&test, (int)(count));                                                          \
    }                                                                                              \
    static void name(int _i CK_ATTRIBUTE_UNUSED)
void harness_add(const TTest *test, int count);

/* What a suite may say of itself, where it wants anything but its tests: `const harness_suite
 * suite = { .before = ... };`. It then has the runtime below. */
typedef struct harness_suite {
    int threads;                               /* the ceiling; 0: as many as there are processors */
    void (*log)(void *user, const char *text); /* NULL: kept in `log_kept` */
    const wf_files *files;                     /* NULL: the system's */
    void (*before)(void);                      /* begins every test, in its process */
    void (*after)(void);                       /* ends every test that has not failed */
    int (*child)(void); /* runs instead of the tests where argv[1] begins with "--" */
} harness_suite;
extern const harness_suite suite __attribute__((weak));

/* Memory is counted, and can be made to run out; what is logged is kept. */
extern struct harness_heap {
    atomic_llong asked, live, large; /* requests so far; blocks that are held; large requests */
    size_t large_from;               /* bytes that make a request large */
    size_t largest;                  /* request so far, in bytes */
    size_t most;              /* bytes above which a request fails; 0: no bound */
    int64_t fail_at;          /* the request that fails, 0: none */
    bool fail_on;             /* and every one after it */
    bool soiled;              /* what is handed out holds no numbers, but NaN */
} heap;
extern struct harness_said {
    int times;
    char text[4096];
} log_kept;

/* The built-in row of that name; without one the test fails. */
const wf_op *op_named(const char *name);
int op_count(void); /* rows there are */

/* Marks the running test as skipped, for a reason that is printed; the test must return after it.
 */
void harness_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The path of a real data file below WEFT_DATA, or NULL (after marking the test as skipped) when it
 * is not there. */
const char *harness_data(const char *name);

/* A folder of this test's own below TMPDIR, removed when the test's process ends. */
const char *harness_folder(void);

#endif
