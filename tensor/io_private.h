/* What the file readers and writers share: sentences about files, UTF-8, the JSON subset of a
 * safetensors header, and the careful way to replace a file. Not installed. */
#ifndef WEFT_TENSOR_IO_PRIVATE_H
#define WEFT_TENSOR_IO_PRIVATE_H

#include "tensor/io.h"
#include "tensor/runtime.h"

/* ---- words for messages ---- */

/* Bytes that a shown name, the head of a sentence, and a path may take. */
enum { WF_SHOWN = 128, WF_WHAT = 640, WF_PATH = 4096 };

/* Text as a message may hold it, in out: control characters become '?', and what is longer than
 * `bytes` allows loses its middle, never in the middle of a letter. Returns out. */
char *wf_shown(char *out, size_t bytes, const char *text, int64_t n);

/* The head of a sentence about a file, in what (WF_WHAT bytes): before, the path as wf_shown gives
 * it, after. */
const char *wf_what(char *what, const char *before, const char *path, const char *after);

/* What errno means, in lower case and the same in every locale; text (at least 32 bytes) is used
 * for unknown ones. */
const char *wf_errno_text(int number, char *text);

/* ---- files ---- */

/* As wf_file_read, with sentences that begin with `what`. */
char *wf_file_take(const char *what, const char *path, int64_t most, int64_t *bytes,
                   wf_error *error);

/* Where bytes come from, in order: a file, or memory. n: how many there are; at: how many were
 * taken. */
typedef struct wf_reader {
    const wf_runtime *runtime;
    const char *what; /* how its sentences begin */
    wf_error *error;
    const char *memory;
    int file; /* open, or -1 */
    int64_t n, at;
} wf_reader;

/* False after a failure that has been described. Only regular files are read: of others nobody can
 * tell how long they are. */
bool wf_reader_begin(wf_reader *r, const char *what, const char *path, wf_error *error);
void wf_reader_begin_memory(wf_reader *r, const char *what, const void *bytes, int64_t n,
                            wf_error *error);
/* The next n bytes, of which there must be as many; with the last it is seen that the file ends. */
bool wf_reader_take(wf_reader *r, void *bytes, int64_t n);
/* Must follow a `begin` that succeeded. */
void wf_reader_end(wf_reader *r);

/* A file being replaced: bytes go to a temporary beside it, which takes its place at the end or is
 * removed. As long as it lives it is locked: what another saver finds unlocked was left by one that
 * was killed. */
typedef struct wf_writer {
    const wf_runtime *runtime;
    const char *what; /* how its sentences begin */
    wf_error *error;
    int file, lock, folder;                 /* open, or -1 */
    bool made;                              /* is the temporary there? */
    char path[WF_PATH], temporary[WF_PATH]; /* where the links lead; and beside it */
} wf_writer;

/* ---- temporaries that nobody writes any more (stale.c) ---- */

/* Removes those of killed savers in this folder, before room is needed. That it cannot is nobody's
 * failure. */
void wf_stale_sweep(const char *folder);
/* Locks a temporary that was just created, so that nobody sweeps it; false if somebody was faster
 * and it is gone. Where there are no locks, nobody can sweep either. */
bool wf_stale_lock(int file, int *lock);
void wf_stale_unlock(int *lock);

/* ---- writing ---- */

/* Each is false after a failure that has been described; then the temporary is gone and the writer
 * is done with. */
bool wf_writer_begin(wf_writer *w, const char *what, const char *path, wf_error *error);
bool wf_writer_put(wf_writer *w, const void *bytes, int64_t n);
bool wf_writer_end(wf_writer *w);

/* ---- UTF-8 ---- */

/* The letter that text (n bytes) begins with, strictly: no overlong form, no surrogate, nothing
 * above U+10FFFF. Returns the bytes it takes, 1 to 4; 0 if n is 0 or the bytes are not UTF-8. */
int wf_utf8_take(const char *text, int64_t n, int32_t *letter);
/* Writes 1 to 4 bytes and returns how many; 0 if letter is not a Unicode scalar value. */
int wf_utf8_give(int32_t letter, char out[4]);
/* The offset of the first byte that is not UTF-8, or n. */
int64_t wf_utf8_good(const char *text, int64_t n);

/* ---- the JSON subset: objects, arrays, strings, whole numbers, read one token at a time ---- */

typedef struct wf_json {
    char *text; /* strings are decoded in place, so it is used up */
    int64_t n, at;
    const char *what; /* how its sentences begin */
    wf_error *error;
} wf_json;

/* One character of structure, after any white space; `expect` describes what is missing, `is` only
 * looks. */
bool wf_json_expect(wf_json *j, char c);
bool wf_json_is(wf_json *j, char c);
/* A string, decoded and terminated; *raw and *raw_bytes (may be NULL) say where its quotes' inside
 * lay in the text. */
bool wf_json_string(wf_json *j, char **string, int64_t *raw, int64_t *raw_bytes);
/* Takes a null, if there is one. */
bool wf_json_null(wf_json *j);
/* A whole number from 0 to INT64_MAX. */
bool wf_json_integer(wf_json *j, int64_t *number);

/* Bytes that text takes as a JSON string with its quotes; out may be NULL to count only. */
int64_t wf_json_quote(const char *text, char *out);

#endif
