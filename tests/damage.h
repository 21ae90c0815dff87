/* What readers of files are tested with: bytes put together, damaged by chance, and the sentences
 * that are said of them. */
#ifndef WEFT_TESTS_DAMAGE_H
#define WEFT_TESTS_DAMAGE_H

#include "tensor/rng.h"
#include "tests/fixture.h"

#include <ctype.h>
#include <string.h>

/* ---- files in memory ---- */

enum { ROOM_OF_FILE = 512 };

typedef struct file {
    unsigned char bytes[ROOM_OF_FILE];
    int64_t n;
} file;

static inline void add_bytes(file *f, const void *bytes, size_t n)
{
    ck_assert_int_le(f->n + (int64_t)n, ROOM_OF_FILE);
    memcpy(f->bytes + f->n, bytes, n);
    f->n += (int64_t)n;
}

/* The file with n bytes at an offset replaced. */
static inline file with(file f, int64_t at, const void *bytes, size_t n)
{
    memcpy(f.bytes + at, bytes, n);
    return f;
}

/* Its first n bytes. */
static inline file first(file f, int64_t n)
{
    f.n = n;
    return f;
}

/* One to four bytes become others, and sometimes the end is lost. */
static inline file damaged(file f, uint64_t key, uint64_t *draw)
{
    static const unsigned char often[] = { 0, 1, 0x7F, 0x80, 0xFE, 0xFF };
    for (int64_t edits = 1 + wf_random_below(key, (*draw)++, 4); edits && f.n; edits--) {
        const int64_t at = wf_random_below(key, (*draw)++, f.n);
        const int64_t what = wf_random_below(key, (*draw)++, 512);
        f.bytes[at] = what < 256 ? (unsigned char)what : often[what % 6];
        if (wf_random_below(key, (*draw)++, 16) == 0) f.n = wf_random_below(key, (*draw)++, f.n);
    }
    return f;
}

/* ---- sentences ---- */

/* One line, "what: what is wrong", without a full stop. */
static inline bool well_said(const char *text)
{
    const size_t n = strlen(text);
    return n && islower((unsigned char)*text) && strstr(text, ": ") && !strchr(text, '\n') &&
           !strstr(text, "(null)") && !strchr(".: ,", text[n - 1]);
}

#endif
