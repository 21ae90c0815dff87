/* What every suite is written with: Check, skipping with a reason, and one closing line of counts.
 */
#ifndef WEFT_TESTS_HARNESS_H
#define WEFT_TESTS_HARNESS_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>

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

/* A suite's main: adds its tests to a case with a long timeout, runs each in a process of its own
 * (CK_FORK=no: in this one), and prints "N passed, N failed, N skipped" last. `only` in argv[1]
 * runs the tests whose name contains it. Returns 0 when none failed. */
int harness_main(int argc, char **argv, const char *suite, void (*add)(TCase *tests));

/* Marks the running test as skipped, for a reason that is printed; the test must return after it.
 */
void harness_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The path of a real data file below WEFT_DATA, or NULL (after marking the test as skipped) when it
 * is not there. */
const char *harness_data(const char *name);

/* A folder of this test's own below TMPDIR, removed when the test's process ends. */
const char *harness_folder(void);

/* What tcase_add_test and its kin come down to: Check cannot choose tests by name, so they pass
 * through here. */
void harness_add(TCase *tests, const TTest *test, int signal, int exit_value, int start, int end);
#define _tcase_add_test harness_add

#endif
