/* What a refusal must look like, for the suites of misuse: one clear sentence, said once, and
 * nothing changed. Included by the suites, whose own copy it becomes. */
#ifndef WEFT_TESTS_MISUSE_H
#define WEFT_TESTS_MISUSE_H

#include "tests/misuse_fixture.h"

#include <ctype.h>
#include <fcntl.h>
#include <unistd.h>

/* ---- what a refusal looks like ---- */

/* One clear sentence: "what: what is wrong", then perhaps where and a hint, on lines of their
 * own. */
static inline bool misuse_well_said(const char *text)
{
    const char *c = text;
    if (!islower((unsigned char)*c)) return false;
    while (isalnum((unsigned char)*c) || *c == '_') c++;
    if (*c != ':' && *c != ' ') return false;
    for (const char *line = strchr(text, '\n'); line; line = strchr(line + 1, '\n'))
        if (strncmp(line, "\n  in ", 6) != 0 && strncmp(line, "\n  hint: ", 9) != 0) return false;
    size_t n = strlen(text);
    return strchr(text, ':') && !strchr(".\n :,", text[n - 1]) && !strstr(text, "invalid") &&
           !strstr(text, "please") && !strstr(text, "(null)");
}

/* Has the sentence been said as it should be, whatever it was said to? `says` NULL: any. */
static inline void misuse_said(int line, const char *call, const char *got, const char *says)
{
    ck_assert_msg(misuse_well_said(got), "line %d: %s: badly said: \"%s\"", line, call, got);
    ck_assert_msg(!says || !strcmp(got, says), "line %d: %s:\n  said     %s\n  expected %s", line,
                  call, got, says ? says : "");
    ck_assert_msg(misuse_hash() == now.hash, "line %d: %s: it changed something", line, call);
    ck_assert_msg(wf_tape_ok(now.other), "line %d: %s: another tape has failed", line, call);
}

/* The call failed now.t: once, aloud, and for good. Then begins a new step. */
static inline void misuse_refused(int line, const char *call, bool gave, const char *says)
{
    wf_tape *t = now.t;
    char text[1024];
    snprintf(text, sizeof text, "%s", wf_tape_error(t));
    ck_assert_msg(!gave, "line %d: %s: it was not refused", line, call);
    ck_assert_msg(!wf_tape_ok(t), "line %d: %s: refused without failing the tape", line, call);
    misuse_said(line, call, text, says);
    ck_assert_msg(log_kept.times == now.messages + 1, "line %d: %s: logged %lld times", line, call,
                  (long long)(log_kept.times - now.messages));
    ck_assert_str_eq(log_kept.text, text);
    ck_assert_ptr_null(wf_zeros(t, WF_F64, WF_SCALAR));
    ck_assert(!wf_backward(t, now.scalar));
    ck_assert(!wf_tape_commit(t));
    ck_assert_str_eq(wf_tape_error(t), text);
    ck_assert_int_eq(log_kept.times, now.messages + 1);
    ck_assert_msg(misuse_hash() == now.hash, "line %d: %s: it changed something", line, call);
    misuse_renew();
}

/* The call failed now.tree. Then makes a new one. */
static inline void misuse_tree_refused(int line, const char *call, bool gave, const char *says)
{
    wf_error e = { "" };
    ck_assert_msg(!gave, "line %d: %s: it was not refused", line, call);
    ck_assert_msg(!wf_module_ok(now.tree, &e), "line %d: %s: refused without failing the tree",
                  line, call);
    misuse_said(line, call, e.text, says);
    ck_assert_msg(log_kept.times == now.messages, "line %d: %s: it was logged", line, call);
    misuse_new_tree();
}

/* now.error holds a failure of an earlier call, as a struct that is used again does. */
static inline void misuse_older_failure(void)
{
    wf_error_clear(&now.error);
    wf_error_set(&now.error, "test: an older failure");
}

/* The call succeeded, and an older failure is forgotten. */
static inline void misuse_error_cleared(int line, const char *call, bool gave)
{
    ck_assert_msg(gave, "line %d: %s: %s", line, call, now.error.text);
    ck_assert_msg(!now.error.text[0], "line %d: %s leaves \"%s\"", line, call, now.error.text);
}

/* The call filled now.error. */
static inline void misuse_error_filled(int line, const char *call, bool gave, const char *says)
{
    ck_assert_msg(!gave, "line %d: %s: it was not refused", line, call);
    misuse_said(line, call, now.error.text, says);
    ck_assert_msg(log_kept.times == now.messages, "line %d: %s: it was logged", line, call);
    memset(&now.error, 0, sizeof now.error);
}

/* The call was taken quietly: nothing failed, was said or changed. */
static inline void misuse_quiet(int line, const char *call, bool as_it_should)
{
    ck_assert_msg(as_it_should, "line %d: %s does not hold", line, call);
    ck_assert_msg(wf_tape_ok(now.t), "line %d: %s: %s", line, call, wf_tape_error(now.t));
    ck_assert_msg(log_kept.times == now.messages, "line %d: %s: it was logged: %s", line, call,
                  log_kept.text);
    ck_assert_msg(!now.error.text[0], "line %d: %s: %s", line, call, now.error.text);
    ck_assert_msg(misuse_hash() == now.hash, "line %d: %s: it changed something", line, call);
}

/* A call that gives NULL or false, and the exact sentence (NULL: any) with which it fails the tape,
 * the tree or the error; one that succeeds and empties the error; and one that is taken quietly and
 * for which a condition holds. */
#define REFUSES(call, says) misuse_refused(__LINE__, #call, (call) != 0, says)
#define TREE_REFUSES(call, says) misuse_tree_refused(__LINE__, #call, (call) != 0, says)
#define ERROR_SAYS(call, says)                                                                     \
    (misuse_older_failure(), misuse_error_filled(__LINE__, #call, (call) != 0, says))
#define ERROR_CLEARED(call)                                                                        \
    (misuse_older_failure(), misuse_error_cleared(__LINE__, #call, (call) != 0))
#define QUIET(condition) misuse_quiet(__LINE__, #condition, condition)

/* ---- stdout, for functions that print ---- */

static inline int misuse_hush(void)
{
    fflush(stdout);
    int was = dup(1), nowhere = open("/dev/null", O_WRONLY);
    ck_assert(was >= 0 && nowhere >= 0 && dup2(nowhere, 1) == 1);
    close(nowhere);
    return was;
}

static inline void misuse_speak(int was)
{
    fflush(stdout);
    ck_assert_int_eq(dup2(was, 1), 1);
    close(was);
}

#endif
