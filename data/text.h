/* Text from outside: whole files, pipes and standard input, and how it falls into words. */
#ifndef WEFT_DATA_TEXT_H
#define WEFT_DATA_TEXT_H

#include "tensor/error.h"

WF_BEGIN

/* One of several texts; its name is for messages, NULL is fine. The bytes need no terminator. */
typedef struct wf_text {
    const char *name, *bytes;
    int64_t n;
} wf_text;

/* All that a file, a pipe, or for "-" standard input gives until it ends, in memory from wf_alloc
 * (a zero byte follows the last one; yours to wf_release), and how many bytes that is. NULL and the
 * reason for a folder, for what cannot be read, and for more than `most` bytes (0: no limit). */
WF_API char *wf_text_read(const char *path, int64_t most, int64_t *bytes, wf_error *error);

/* The next word of text from byte *at on: what lies between white space (Unicode's property
 * White_Space, in UTF-8). Returns its length in bytes and moves *at behind it; *start is where it
 * begins. 0 when there are no more. Bytes that are not UTF-8 belong to words. */
WF_API int64_t wf_text_word(const char *text, int64_t n, int64_t *at, int64_t *start);

WF_END

#endif
