/* Reading text to its end, wherever it comes from, and finding its words. */
#include "data/text.h"

#include "data/text_private.h"
#include "tensor/io_private.h"
#include "tensor/private.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { FIRST = 65536 };

void *text_memory(void *memory, int64_t bytes, const char *what, wf_error *error)
{
    if (!memory && bytes > 0)
        wf_error_set(error, "%s: not enough memory for %lld bytes", what, (long long)bytes);
    return memory;
}

/* ---- reading ---- */

typedef struct stream {
    const wf_runtime *runtime;
    const char *what; /* how its sentences begin */
    wf_error *error;
    int file;
    char *bytes;
    int64_t n, room;
} stream;

/* Room for at least one byte more and the final zero; at first for `hint` bytes. */
static bool grow(stream *s, int64_t hint)
{
    int64_t room = hint > FIRST ? hint : FIRST;
    if (s->n + 1 < s->room) return true;
    if (s->room && !wf_size_mul(s->room, 2, &room)) room = INT64_MAX;
    char *more = text_memory(wf_alloc((size_t)room), room, s->what, s->error);
    if (!more) return false;
    if (s->n) memcpy(more, s->bytes, (size_t)s->n);
    wf_release(s->bytes);
    s->bytes = more;
    s->room = room;
    return true;
}

static bool read_on(stream *s, int64_t most)
{
    char text[32];
    /* What a file has now is only where to begin: it may grow, and a pipe has no size at all. */
    const int64_t size = s->runtime->files->size(s->runtime->user, s->file);
    for (;;) {
        if (!grow(s, size < INT64_MAX - 2 ? size + 2 : 0)) return false;
        const long some = s->runtime->files->read(s->runtime->user, s->file, s->bytes + s->n,
                                                  (size_t)(s->room - 1 - s->n));
        if (some == 0) return true;
        if (some < 0 && errno == EINTR) continue;
        if (some < 0 && errno == EISDIR)
            return wf_error_set(s->error, "%s: it is a folder", s->what);
        if (some < 0)
            return wf_error_set(s->error, "%s: cannot read: %s", s->what,
                                wf_errno_text(errno, text));
        s->n += some;
        if (most > 0 && s->n > most)
            return wf_error_set(s->error, "%s: there are more than the %lld bytes allowed", s->what,
                                (long long)most);
    }
}

char *text_take(const char *what, const char *path, int64_t most, int64_t *bytes, wf_error *error)
{
    char text[32];
    stream s = { .runtime = wf_runtime_use(), .what = what, .error = error };
    *bytes = 0;
    if (!path || !*path) {
        wf_error_set(error, "%s: no path was given", what);
        return NULL;
    }
    const bool standard = !strcmp(path, "-");
    s.file = STDIN_FILENO;
    while (!standard &&
           (s.file = s.runtime->files->open(s.runtime->user, path, O_RDONLY | O_CLOEXEC, 0)) < 0) {
        if (errno == EINTR) continue;
        wf_error_set(error, "%s: %s", what, wf_errno_text(errno, text));
        return NULL;
    }
    const bool whole = read_on(&s, most);
    if (!standard) s.runtime->files->close(s.runtime->user, s.file);
    if (!whole) {
        wf_release(s.bytes);
        return NULL;
    }
    s.bytes[s.n] = 0;
    *bytes = s.n;
    return s.bytes;
}

char *wf_text_read(const char *path, int64_t most, int64_t *bytes, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    int64_t n;
    char *text = text_take(text_what(what, "text", path), path, most, &n, error);
    if (bytes) *bytes = n;
    return text;
}

const char *text_what(char what[WF_WHAT], const char *kind, const char *name)
{
    char before[32];
    wf_format(before, sizeof before, "%s '", kind);
    return wf_what(what, before, name && !strcmp(name, "-") ? "(standard input)" : name, "'");
}

/* ---- words ---- */

bool text_space(int32_t letter)
{
    return (letter >= 0x09 && letter <= 0x0D) || letter == 0x20 || letter == 0x85 ||
           letter == 0xA0 || letter == 0x1680 || (letter >= 0x2000 && letter <= 0x200A) ||
           letter == 0x2028 || letter == 0x2029 || letter == 0x202F || letter == 0x205F ||
           letter == 0x3000;
}

int64_t wf_text_word(const char *text, int64_t n, int64_t *at, int64_t *start)
{
    if (!text || !at || !start || *at < 0) return 0;
    int64_t found = 0;
    *start = *at;
    while (*at < n) {
        int32_t letter = 0;
        const int bytes = wf_utf8_take(text + *at, n - *at, &letter);
        if (bytes && text_space(letter)) {
            if (found) return found;
            *start = *at += bytes;
        } else {
            *at += bytes ? bytes : 1;
            found = *at - *start;
        }
    }
    return found;
}

bool text_next_line(const char *text, int64_t n, int64_t *at, int64_t *start, int64_t *bytes)
{
    if (*at >= n) return false;
    const char *from = text + *at, *feed = memchr(from, '\n', (size_t)(n - *at));
    *start = *at;
    *bytes = feed ? feed - from : n - *at;
    *at += *bytes + 1;
    if (*bytes && from[*bytes - 1] == '\r') --*bytes;
    return true;
}

int64_t text_line(const char *text, int64_t at)
{
    int64_t line = 1;
    for (int64_t i = 0; i < at; i++) line += text[i] == '\n';
    return line;
}

const char *text_place(const char *text, int64_t n, int64_t at, char to[static TEXT_PLACE])
{
    to[0] = '\0';
    if (memchr(text, '\n', (size_t)n))
        wf_format(to, TEXT_PLACE, " (line %lld)", (long long)text_line(text, at));
    return to;
}

bool text_letter(const char *text, int64_t n, int64_t *at, int32_t *letter, const char *what,
                 wf_error *error)
{
    const int bytes = wf_utf8_take(text + *at, n - *at, letter);
    if (bytes && *letter) {
        *at += bytes;
        return true;
    }
    char line[TEXT_PLACE];
    text_place(text, n, *at, line);
    if (bytes)
        return wf_error_set(error, "%s: byte %lld%s is zero: this is not text", what,
                            (long long)*at, line);
    return wf_error_set(error, "%s: byte %lld%s is 0x%02X, which is not UTF-8 there", what,
                        (long long)*at, line, (unsigned char)text[*at]);
}

wf_text text_body(const wf_text *part)
{
    wf_text text = *part;
    if (text.n >= 3 && memcmp(text.bytes, "\xEF\xBB\xBF", 3) == 0) text.bytes += 3, text.n -= 3;
    return text;
}

bool text_given(const wf_text *parts, int n, const char *kind, wf_error *error)
{
    char what[WF_WHAT];
    if (n < 1 || !parts)
        return wf_error_set(error, "%s: %d texts were given; it takes 1 or more", kind, n);
    for (int i = 0; i < n; i++)
        if (parts[i].n < 0 || (parts[i].n > 0 && !parts[i].bytes))
            return wf_error_set(error, "%s: no bytes were given",
                                text_what(what, kind, text_name(&parts[i])));
    return true;
}

const char *text_name(const wf_text *part)
{
    return part->name ? part->name : "(memory)";
}

wf_text *text_take_all(const char *kind, const char *const *paths, int n, wf_error *error)
{
    char what[WF_WHAT];
    if (n < 1 || !paths) {
        wf_error_set(error, "%s: %d files were named; it takes 1 or more", kind, n);
        return NULL;
    }
    for (int i = 0, standard = 0; i < n; i++) {
        standard += paths[i] && !strcmp(paths[i], "-");
        if (standard < 2) continue;
        wf_error_set(error, "%s: - (standard input) is named twice; it can be read once", kind);
        return NULL;
    }
    const int64_t bytes = n * (int64_t)sizeof(wf_text);
    wf_text *parts = text_memory(wf_alloc_zero((size_t)bytes), bytes, kind, error);
    for (int i = 0; parts && i < n; i++) {
        parts[i].name = paths[i];
        parts[i].bytes = text_take(text_what(what, kind, paths[i]), paths[i], 0, &parts[i].n,
                                   error);
        if (parts[i].bytes) continue;
        text_release_all(parts, n);
        parts = NULL;
    }
    return parts;
}

void text_release_all(wf_text *parts, int n)
{
    for (int i = 0; parts && i < n; i++) wf_release((void *)(uintptr_t)parts[i].bytes);
    wf_release(parts);
}
