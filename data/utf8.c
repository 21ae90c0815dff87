/* The public face of the UTF-8 reader that lies under the file formats. */
#include "data/utf8.h"

#include "tensor/io_private.h"

int wf_utf8_decode(const char *text, int64_t n, int32_t *letter)
{
    return wf_utf8_take(text, n, letter);
}

int wf_utf8_encode(int32_t letter, char out[5])
{
    if (!out) return 0;
    int bytes = wf_utf8_give(letter, out);
    out[bytes] = 0;
    return bytes;
}

int64_t wf_utf8_count(const char *text, int64_t n, int64_t *bad)
{
    int64_t letters = 0;
    int32_t letter;
    for (int64_t at = 0; at < n; letters++) {
        int bytes = wf_utf8_take(text + at, n - at, &letter);
        if (!bytes) {
            if (bad) *bad = at;
            return -1;
        }
        at += bytes;
    }
    return letters;
}
