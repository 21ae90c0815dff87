/* Texts and their classes, as files of one class each or as a table. */
#include "data/labelled.h"

#include <string.h>

#include "data/csv.h"
#include "data/utf8.h"
#include "tensor/runtime.h"
#include "tensor/text.h"

struct wf_labelled {
    wf_labelled_options o;
    wf_text *texts;
    int32_t *classes;
    char **names;
    int64_t n, room, n_names, name_room;
    char *columns; /* of the last table, for the report; NULL: there was none */
    char *known;   /* of wf_labelled_known */
    int64_t empty; /* rows without a text */
};

/* ---- words ---- */

static bool is_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 128;
}

static bool is_sign(unsigned char c)
{
    return c > ' ' && c < 127 && !is_letter(c);
}

size_t wf_text_separate(const char *text, int64_t n, char *to, size_t bytes)
{
    size_t length = 0;
    for (int64_t i = 0; text && i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        const bool inside = i > 0 && i + 1 < n && is_letter((unsigned char)text[i - 1]) &&
                            is_letter((unsigned char)text[i + 1]) && strchr("'-/.,", c);
        char piece[3] = { ' ', (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c), ' ' };
        const bool apart = is_sign(c) && !inside;
        for (int k = apart ? 0 : 1; k < (apart ? 3 : 2); k++, length++)
            if (to && length + 1 < bytes) to[length] = piece[k];
    }
    if (to && bytes) to[length < bytes ? length : bytes - 1] = 0;
    return length;
}

bool wf_text_ids(const wf_vocab *vocab, const char *text, int64_t n, wf_ids *ids, wf_error *error)
{
    wf_error_clear(error);
    if (!ids) return wf_error_set(error, "ids: there is nowhere to put them");
    *ids = (wf_ids){ NULL, 0 };
    if (!vocab || !text || n < 0 || wf_vocab_letters(vocab))
        return wf_error_set(error, "ids: there is no %s",
                            text && n >= 0 ? "vocabulary of words" : "text");
    int64_t bad = 0;
    if (wf_utf8_count(text, n, &bad) < 0)
        return wf_error_set(error, "ids: the text is not UTF-8 at its byte %lld", (long long)bad);
    const int64_t bytes = (int64_t)wf_text_separate(text, n, NULL, 0);
    char *words = wf_alloc((size_t)bytes + 1);
    if (words) wf_text_separate(text, n, words, (size_t)bytes + 1);
    const int64_t count = words ? wf_vocab_encode(vocab, words, bytes, NULL, 0, error) : -1;
    int32_t *at = count >= 0 ? wf_alloc((size_t)(count + 1) * sizeof *at) : NULL;
    if (at) wf_vocab_encode(vocab, words, bytes, at, count, error);
    wf_release(words);
    if (!at) return wf_error_set(error, "ids: not enough memory");
    *ids = (wf_ids){ at, count };
    return true;
}

void wf_text_ids_free(wf_ids *ids)
{
    if (!ids) return;
    wf_release((void *)(uintptr_t)ids->at);
    *ids = (wf_ids){ NULL, 0 };
}

/* ---- growing ---- */

/* Makes room for one more of `size` bytes each; the memory that holds n is moved. */
static bool grow(void **memory, int64_t n, int64_t *room, size_t size)
{
    if (n < *room) return true;
    const int64_t more = *room ? 2 * *room : 64;
    void *larger = wf_alloc((size_t)more * size);
    if (!larger) return false;
    if (n) memcpy(larger, *memory, (size_t)n * size);
    wf_release(*memory);
    *memory = larger;
    *room = more;
    return true;
}

/* The number of the class of that name, a new one if need be; -1 without memory. */
static int64_t class_named(wf_labelled *l, const char *name)
{
    void *memory = l->names;
    for (int64_t k = 0; k < l->n_names; k++)
        if (!strcmp(l->names[k], name)) return k;
    if (!grow(&memory, l->n_names, &l->name_room, sizeof *l->names)) return -1;
    l->names = memory;
    if (!(l->names[l->n_names] = wf_strdup(name))) return -1;
    return l->n_names++;
}

/* Classes that are known, a name a line. */
static bool add_known(wf_labelled *l, const char *names, wf_error *error)
{
    for (size_t n; *names; names += n + (names[n] == '\n')) {
        n = strcspn(names, "\n");
        char *name = wf_alloc(n + 1);
        if (name) memcpy(name, names, n), name[n] = 0;
        const int64_t before = l->n_names, k = name ? class_named(l, name) : -1;
        wf_release(name);
        if (k < 0) return wf_error_set(error, "labelled: not enough memory");
        if (!n || k < before)
            return wf_error_set(error, "labelled: known class %lld has %s", (long long)before,
                                n ? "the name of another" : "no name");
    }
    return l->n_names || wf_error_set(error, "labelled: no class is known");
}

wf_labelled *wf_labelled_new(const wf_labelled_options *options, wf_error *error)
{
    wf_error_clear(error);
    wf_labelled *l = wf_alloc_zero(sizeof *l);
    if (!l) wf_error_set(error, "labelled: not enough memory");
    if (l && options) l->o = *options;
    if (!l || !l->o.known || add_known(l, l->o.known, error)) return l;
    wf_labelled_free(l);
    return NULL;
}

void wf_labelled_free(wf_labelled *l)
{
    if (!l) return;
    for (int64_t i = 0; i < l->n; i++) wf_release((char *)(uintptr_t)l->texts[i].bytes);
    for (int64_t k = 0; k < l->n_names; k++) wf_release(l->names[k]);
    wf_release(l->texts), wf_release(l->classes), wf_release(l->names);
    wf_release(l->columns), wf_release(l->known), wf_release(l);
}

/* Room for one more text in both arrays. */
static bool has_room(wf_labelled *l)
{
    void *texts = l->texts, *classes = l->classes;
    int64_t of_texts = l->room, of_classes = l->room;
    bool ok = grow(&texts, l->n, &of_texts, sizeof *l->texts);
    l->texts = texts;
    ok = ok && grow(&classes, l->n, &of_classes, sizeof *l->classes);
    l->classes = classes;
    if (ok) l->room = of_texts;
    return ok;
}

/* Is a class among the known ones, if any are? */
static bool is_known(const wf_labelled *l, const char *label, wf_error *error)
{
    char all[200] = "";
    if (!l->o.known) return true;
    for (int64_t k = 0; k < l->n_names; k++)
        if (!strcmp(l->names[k], label)) return true;
    for (int64_t k = 0; k < l->n_names; k++)
        wf_append(all, sizeof all, "%s%s", k ? ", " : "", l->names[k]);
    return wf_error_set(error, "labelled: '%s' is none of the classes that are known: %s", label,
                        all);
}

bool wf_labelled_add(wf_labelled *l, const char *label, const char *text, int64_t n,
                     wf_error *error)
{
    wf_error_clear(error);
    if (!l) return wf_error_set(error, "labelled: there is nothing to add to");
    if (!label || !*label || !text || n < 0)
        return wf_error_set(error, "labelled: text %lld has no %s", (long long)l->n,
                            label && *label ? "bytes" : "class");
    if (strpbrk(label, "\r\n"))
        return wf_error_set(error, "labelled: the class of text %lld is of several lines",
                            (long long)l->n);
    if (!is_known(l, label, error)) return false;
    int64_t bad = 0;
    if (wf_utf8_count(text, n, &bad) < 0)
        return wf_error_set(error, "labelled: text %lld is not UTF-8 at its byte %lld",
                            (long long)l->n, (long long)bad);
    const size_t bytes = l->o.as_is ? (size_t)n : wf_text_separate(text, n, NULL, 0);
    char *own = wf_alloc(bytes + 1);
    const int64_t k = own && has_room(l) ? class_named(l, label) : -1;
    if (k < 0) {
        wf_release(own);
        return wf_error_set(error, "labelled: not enough memory");
    }
    if (l->o.as_is)
        memcpy(own, text, bytes), own[bytes] = 0;
    else
        wf_text_separate(text, n, own, bytes + 1);
    l->texts[l->n] = (wf_text){ l->names[k], own, (int64_t)bytes };
    l->classes[l->n++] = (int32_t)k;
    return true;
}

/* ---- files ---- */

static bool add_lines(wf_labelled *l, const char *path, wf_error *error)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    char name[256];
    int64_t n;
    const size_t letters = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    wf_format(name, sizeof name, "%.*s", (int)(letters < 255 ? letters : 255), base);
    char *text = wf_text_read(path, 0, &n, error);
    bool ok = text != NULL;
    const int64_t before = l->n;
    for (int64_t at = 0, line = 1; ok && at < n; line++) {
        const char *end = memchr(text + at, '\n', (size_t)(n - at));
        int64_t length = end ? end - (text + at) : n - at;
        const int64_t next = at + length + 1;
        if (length && text[at + length - 1] == '\r') length--;
        wf_error why;
        if (length && !wf_labelled_add(l, name, text + at, length, &why))
            ok = wf_error_set(error, "%s, line %lld: %s", path, (long long)line, why.text);
        at = next;
    }
    if (ok && l->n == before) ok = wf_error_set(error, "%s: it holds no text", path);
    wf_release(text);
    return ok;
}

/* How many pairs of entries in a column's first rows are equal: classes come again, texts do
 * not. */
static int64_t repeats(const wf_csv *csv, int64_t column)
{
    const int64_t rows = wf_csv_rows(csv) < 200 ? wf_csv_rows(csv) : 200;
    int64_t same = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < i; k++)
            same += !strcmp(wf_csv_text(csv, i, column), wf_csv_text(csv, k, column));
    return same;
}

/* A first row whose class no other row has is the names of the columns. */
static bool is_header(const wf_csv *csv, int64_t label)
{
    for (int64_t i = 1; i < wf_csv_rows(csv); i++)
        if (!strcmp(wf_csv_text(csv, i, label), wf_csv_text(csv, 0, label))) return false;
    return true;
}

/* What a column is called: by the first row where no row is known to be the header. */
static const char *name_of(const wf_csv *csv, int64_t column)
{
    const char *name = wf_csv_name(csv, column);
    if (!name) name = wf_csv_text(csv, 0, column);
    return name ? name : "";
}

static bool find_columns(const wf_labelled *l, const wf_csv *csv, const char *path, int64_t *label,
                         int64_t *text, wf_error *error)
{
    if (wf_csv_columns(csv) < 2)
        return wf_error_set(error, "%s: it has one column; a class and a text are expected", path);
    if (wf_csv_columns(csv) > 2 && (!l->o.label || !l->o.text)) {
        char all[200] = "";
        for (int64_t k = 0; k < wf_csv_columns(csv); k++)
            wf_append(all, sizeof all, "%s%s", k ? ", " : "", name_of(csv, k));
        return wf_error_set(error,
                            "%s: it has %lld columns (%s); say which has the label and "
                            "which the text",
                            path, (long long)wf_csv_columns(csv), all);
    }
    if (l->o.label && (*label = wf_csv_find(csv, l->o.label, error)) < 0) return false;
    if (l->o.text && (*text = wf_csv_find(csv, l->o.text, error)) < 0) return false;
    if (!l->o.label) *label = l->o.text ? *text == 0 : repeats(csv, 1) > repeats(csv, 0);
    if (!l->o.text) *text = *label == 0;
    return true;
}

/* For the report: where a table has its classes and its texts. */
static bool note_columns(wf_labelled *l, const wf_csv *csv, bool header, int64_t label,
                         int64_t text)
{
    char said[300];
    if (header)
        wf_format(said, sizeof said, "classes are in column %s, texts in %s", name_of(csv, label),
                  name_of(csv, text));
    else
        wf_format(said, sizeof said, "classes are in column %lld, texts in %lld, from 0",
                  (long long)label, (long long)text);
    wf_release(l->columns);
    l->columns = wf_strdup(said);
    return l->columns != NULL;
}

static bool add_table(wf_labelled *l, const char *path, wf_error *error)
{
    const bool named = l->o.label || l->o.text;
    wf_csv *csv = wf_csv_new(
        path, &(wf_csv_options){ .header = named ? WF_CSV_HEADER_DETECTED : WF_CSV_NO_HEADER },
        error);
    int64_t label = 0, text = 1;
    bool ok = csv && find_columns(l, csv, path, &label, &text, error);
    const bool first = ok && !named && is_header(csv, label); /* the first row has the names */
    if (ok && !note_columns(l, csv, first || wf_csv_name(csv, 0), label, text))
        ok = wf_error_set(error, "labelled: not enough memory");
    for (int64_t i = first; ok && i < wf_csv_rows(csv); i++) {
        const char *of = wf_csv_text(csv, i, text);
        wf_error why;
        if (of && !of[strspn(of, " \t\r\n")]) {
            l->empty++;
            continue;
        }
        ok = wf_labelled_add(l, wf_csv_text(csv, i, label), of, of ? (int64_t)strlen(of) : -1,
                             &why);
        if (!ok)
            wf_error_set(error, "%s, line %lld: %s", path, (long long)wf_csv_line(csv, i),
                         why.text);
    }
    wf_csv_free(csv);
    return ok;
}

bool wf_labelled_add_files(wf_labelled *l, const char *const *paths, int64_t n, wf_error *error)
{
    wf_error_clear(error);
    if (!l) return wf_error_set(error, "labelled: there is nothing to add to");
    bool ok = n > 0 && paths;
    for (int64_t i = 0; ok && i < n; i++) ok = paths[i] != NULL;
    if (!ok) return wf_error_set(error, "labelled: no files were given");
    for (int64_t i = 0; ok && i < n; i++)
        ok = n > 1 ? add_lines(l, paths[i], error) : add_table(l, paths[i], error);
    return ok;
}

wf_labelled *wf_labelled_from_files(const char *const *paths, int64_t n,
                                    const wf_labelled_options *options, wf_error *error)
{
    wf_labelled *l = wf_labelled_new(options, error);
    bool ok = l && wf_labelled_add_files(l, paths, n, error);
    if (ok && l->n == 0) ok = wf_error_set(error, "%s: it holds no text", paths[0]);
    if (ok && l->n_names < 2) ok = wf_error_set(error, "%s: all texts are of one class", paths[0]);
    if (ok) return l;
    wf_labelled_free(l);
    return NULL;
}

/* ---- what there is ---- */

size_t wf_labelled_report(const wf_labelled *l, char *text, size_t bytes)
{
    size_t n = 0;
    bytes = text ? bytes : 0;
    if (bytes) *text = 0;
    if (!l) return 0;
        /* What comes next is written where there is still room. */
#define NEXT(...)                                                                                  \
    (n += wf_format(n < bytes ? text + n : NULL, n < bytes ? bytes - n : 0, __VA_ARGS__))
    NEXT("%lld texts of %lld classes", (long long)l->n, (long long)l->n_names);
    for (int64_t k = 0; k < l->n_names && k < 20; k++) {
        int64_t count = 0;
        for (int64_t i = 0; i < l->n; i++) count += l->classes[i] == k;
        NEXT("%s %s %lld", k ? "," : ":", l->names[k], (long long)count);
    }
    if (l->n_names > 20) NEXT(" and %lld more", (long long)(l->n_names - 20));
    if (l->columns) NEXT(" (%s", l->columns);
    if (l->columns && l->empty)
        NEXT("; %lld rows without a text are left out", (long long)l->empty);
    if (l->columns) NEXT(")");
#undef NEXT
    return n;
}

static bool has(const wf_labelled *l, int64_t i)
{
    return l && i >= 0 && i < l->n;
}

int64_t wf_labelled_count(const wf_labelled *l)
{
    return l ? l->n : 0;
}

wf_text wf_labelled_text(const wf_labelled *l, int64_t i)
{
    return has(l, i) ? l->texts[i] : (wf_text){ 0 };
}

int32_t wf_labelled_class(const wf_labelled *l, int64_t i)
{
    return has(l, i) ? l->classes[i] : -1;
}

int64_t wf_labelled_classes(const wf_labelled *l)
{
    return l ? l->n_names : 0;
}

const char *wf_labelled_name(const wf_labelled *l, int64_t label)
{
    return l && label >= 0 && label < l->n_names ? l->names[label] : NULL;
}

const char *const *wf_labelled_names(const wf_labelled *l)
{
    return l ? (const char *const *)l->names : NULL;
}

const char *wf_labelled_known(wf_labelled *l)
{
    size_t bytes = 1;
    for (int64_t k = 0; l && k < l->n_names; k++) bytes += strlen(l->names[k]) + 1;
    char *known = l ? wf_alloc(bytes) : NULL, *at = known;
    if (!known) return NULL;
    for (int64_t k = 0; k < l->n_names; k++) {
        const size_t n = strlen(l->names[k]);
        if (k) *at++ = '\n';
        memcpy(at, l->names[k], n);
        at += n;
    }
    *at = 0;
    wf_release(l->known);
    return l->known = known;
}

const int32_t *wf_labelled_all(const wf_labelled *l)
{
    return l ? l->classes : NULL;
}

wf_vocab *wf_labelled_vocab(const wf_labelled *l, const int64_t *texts, int64_t n,
                            const wf_vocab_options *options, wf_error *error)
{
    wf_error_clear(error);
    if (!texts) n = wf_labelled_count(l);
    if (n < 1 || n > INT32_MAX) {
        wf_error_set(error, "labelled: a vocabulary of %lld texts cannot be", (long long)n);
        return NULL;
    }
    wf_text *parts = wf_alloc((size_t)n * sizeof *parts);
    bool ok = parts || wf_error_set(error, "labelled: not enough memory");
    for (int64_t i = 0; ok && i < n; i++) {
        const int64_t number = texts ? texts[i] : i;
        parts[i] = wf_labelled_text(l, number);
        ok = has(l, number) ||
             wf_error_set(error, "labelled: there is no text %lld", (long long)number);
    }
    wf_vocab *vocab = ok ? wf_vocab_from_parts(parts, (int)n, options, error) : NULL;
    wf_release(parts);
    return vocab;
}
