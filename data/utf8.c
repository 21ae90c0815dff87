/* The public face of the UTF-8 reader that lies under the file formats. */
#include "data/utf8.h"

#include "data/text_private.h"

#include <string.h>

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

/* ---- columns on a terminal ---- */

typedef struct range {
    int32_t first, last;
} range;

static bool within(const range *list, int n, int32_t letter)
{
    for (int i = 0; i < n; i++)
        if (letter >= list[i].first && letter <= list[i].last) return true;
    return false;
}

int64_t text_width(const char *text)
{
    /* Blocks of letters that are wide, and of marks without a width: those of scripts in use. */
    static const range wide[] = {
        { 0x1100, 0x115F },   { 0x2E80, 0x303E },   { 0x3041, 0xA4CF },   { 0xA960, 0xA97F },
        { 0xAC00, 0xD7A3 },   { 0xF900, 0xFAFF },   { 0xFE30, 0xFE6F },   { 0xFF01, 0xFF60 },
        { 0xFFE0, 0xFFE6 },   { 0x1F300, 0x1F64F }, { 0x1F680, 0x1F6FF }, { 0x1F900, 0x1F9FF },
        { 0x20000, 0x3FFFD },
    };
    static const range none[] = {
        { 0x0300, 0x036F }, { 0x0483, 0x0489 }, { 0x0591, 0x05BD }, { 0x064B, 0x065F },
        { 0x1160, 0x11FF }, { 0x200B, 0x200F }, { 0x20D0, 0x20F0 }, { 0x302A, 0x302D },
        { 0x3099, 0x309A }, { 0xFE00, 0xFE0F }, { 0xFE20, 0xFE2F }, { 0xFEFF, 0xFEFF },
    };
    const int64_t n = (int64_t)strlen(text);
    int64_t width = 0;
    for (int64_t at = 0; at < n;) {
        int32_t letter = 0;
        const int bytes = wf_utf8_take(text + at, n - at, &letter);
        at += bytes ? bytes : 1;
        if (within(none, sizeof none / sizeof *none, letter)) continue;
        width += within(wide, sizeof wide / sizeof *wide, letter) ? 2 : 1;
    }
    return width;
}
