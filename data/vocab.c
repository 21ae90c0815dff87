/* A vocabulary: words (or letters) counted in a hash table, the frequent ones put in order, and
 * looked up by the same hash. */
#include "data/vocab.h"

#include "data/text_private.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <stdlib.h>
#include <string.h>

static const char *const special[WF_SPECIAL_IDS] = { "<pad>", "<unk>", "<bos>", "<eos>" };
static const char letters_line[] = "<letters>\n"; /* before them, where ids are letters */

/* ---- memory that grows ---- */

typedef struct growing {
    char *at;
    int64_t bytes, room;
} growing;

/* Room for `more` bytes behind those there are, which then count as there. */
static char *more_of(growing *g, int64_t more, const char *what, wf_error *error)
{
    int64_t need, room;
    if (!wf_size_add(g->bytes, more, &need) || !wf_size_mul(need, 2, &room))
        need = room = INT64_MAX;
    if (need > g->room) {
        char *at = text_memory(wf_alloc((size_t)room), room, what, error);
        if (!at) return NULL;
        if (g->bytes) memcpy(at, g->at, (size_t)g->bytes);
        wf_release(g->at);
        g->at = at;
        g->room = room;
    }
    char *place = g->at + g->bytes;
    g->bytes += more;
    return place;
}

/* ---- words by their hash ---- */

/* In `letters` at `at`: n bytes and a zero. */
typedef struct entry {
    int64_t at, n, count;
} entry;

/* Slots hold the number of an entry plus 1, 0 where they are free; at least half of them are. */
typedef struct table {
    growing entries, letters;
    int32_t *slot;
    int64_t slots, n;
} table;

static uint64_t hash_of(const char *word, int64_t n)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (int64_t i = 0; i < n; i++) h = (h ^ (unsigned char)word[i]) * UINT64_C(0x100000001B3);
    return h ^ h >> 32;
}

static entry *entries_of(const table *t)
{
    return (entry *)(void *)t->entries.at;
}

/* The slot where the word is, or would be. */
static int32_t *slot_of(const table *t, const char *word, int64_t n)
{
    const entry *e = entries_of(t);
    const uint64_t mask = (uint64_t)t->slots - 1;
    for (uint64_t at = hash_of(word, n) & mask;; at = (at + 1) & mask) {
        const int32_t found = t->slot[at];
        if (!found ||
            (e[found - 1].n == n && !memcmp(t->letters.at + e[found - 1].at, word, (size_t)n)))
            return &t->slot[at];
    }
}

static bool more_slots(table *t, const char *what, wf_error *error)
{
    if (2 * (t->n + 1) <= t->slots) return true;
    const int64_t slots = t->slots ? 2 * t->slots : 1024;
    const int64_t bytes = slots * (int64_t)sizeof *t->slot;
    int32_t *slot = text_memory(wf_alloc_zero((size_t)bytes), bytes, what, error);
    if (!slot) return false;
    wf_release(t->slot);
    t->slot = slot;
    t->slots = slots;
    for (int64_t i = 0; i < t->n; i++) {
        const entry *e = entries_of(t) + i;
        *slot_of(t, t->letters.at + e->at, e->n) = (int32_t)i + 1;
    }
    return true;
}

/* The number of the word's entry, which is made if it is not there; -1 when there is no memory. */
static int64_t enter(table *t, const char *word, int64_t n, const char *what, wf_error *error)
{
    if (!more_slots(t, what, error)) return -1;
    int32_t *slot = slot_of(t, word, n);
    if (*slot) return *slot - 1;
    if (t->n == INT32_MAX - 1) {
        wf_error_set(error, "%s: there are more words than ids", what);
        return -1;
    }
    char *letters = more_of(&t->letters, n + 1, what, error);
    entry *e = letters ? (entry *)(void *)more_of(&t->entries, sizeof *e, what, error) : NULL;
    if (!e) return -1;
    memcpy(letters, word, (size_t)n);
    letters[n] = 0;
    *e = (entry){ .at = letters - t->letters.at, .n = n };
    *slot = (int32_t)++t->n;
    return t->n - 1;
}

static void table_free(table *t)
{
    wf_release(t->entries.at);
    wf_release(t->letters.at);
    wf_release(t->slot);
}

/* ---- the vocabulary: a table whose entries are in the order of ids ---- */

struct wf_vocab {
    table words;
    char *text;   /* all of it, as it is saved */
    bool letters; /* what `words` holds */
};

/* The next word of text that is UTF-8, or the next letter that ends no line: see wf_text_word. */
static int64_t token(bool letters, const char *text, int64_t n, int64_t *at, int64_t *start)
{
    int32_t letter = 0;
    if (!letters) return wf_text_word(text, n, at, start);
    while (*at < n && (text[*at] == '\n' || text[*at] == '\r')) ++*at;
    const int64_t bytes = *at < n ? wf_utf8_take(text + *at, n - *at, &letter) : 0;
    *start = *at;
    *at += bytes;
    return bytes;
}

/* Joins the words to text once all are there. NULL, and the vocabulary is gone, when there is no
 * memory, or `ok` says that it was not to be. */
static wf_vocab *finished(wf_vocab *v, bool ok, const char *what, wf_error *error)
{
    const int64_t first = v->letters ? (int64_t)strlen(letters_line) : 0;
    const int64_t bytes = first + v->words.letters.bytes + 1;
    if (ok) v->text = text_memory(wf_alloc((size_t)bytes), bytes, what, error);
    if (!v->text) {
        wf_vocab_free(v);
        return NULL;
    }
    /* The words stand in the order of ids already, each with a zero behind it. */
    memcpy(v->text, letters_line, (size_t)first);
    for (int64_t i = 0; i < v->words.letters.bytes; i++)
        v->text[first + i] = v->words.letters.at[i] ? v->words.letters.at[i] : '\n';
    v->text[bytes - 1] = 0;
    return v;
}

static wf_vocab *blank(bool letters, const char *what, wf_error *error)
{
    wf_vocab *v = text_memory(wf_alloc_zero(sizeof *v), sizeof *v, what, error);
    if (!v) return NULL;
    v->letters = letters;
    for (int i = 0; i < WF_SPECIAL_IDS; i++)
        if (enter(&v->words, special[i], (int64_t)strlen(special[i]), what, error) < 0) {
            wf_vocab_free(v);
            return NULL;
        }
    return v;
}

/* What is sorted: an entry and its letters. */
typedef struct candidate {
    const char *word;
    int64_t n, count;
} candidate;

static int by_count(const void *one, const void *other)
{
    const candidate *a = one, *b = other;
    if (a->count != b->count) return a->count > b->count ? -1 : 1;
    return strcmp(a->word, b->word); /* UTF-8 sorts as its code points do */
}

static bool count_words(table *t, bool letters, const wf_text *part, wf_error *error)
{
    char what[WF_WHAT];
    const wf_text text = text_body(part);
    int64_t at = 0, start, n;
    int32_t letter;
    text_what(what, "vocab", text_name(part));
    while (at < text.n)
        if (!text_letter(text.bytes, text.n, &at, &letter, what, error)) return false;
    at = 0;
    while ((n = token(letters, text.bytes, text.n, &at, &start))) {
        const int64_t i = enter(t, text.bytes + start, n, what, error);
        if (i < 0) return false;
        entries_of(t)[i].count++;
    }
    return true;
}

/* Enters the counted words that are frequent enough, in their order. */
static bool choose(wf_vocab *v, const table *counted, const wf_vocab_options *o, wf_error *error)
{
    static const char what[] = "vocab";
    int64_t n = 0;
    if (counted->n == 0) return true;
    const int64_t bytes = counted->n * (int64_t)sizeof(candidate);
    candidate *list = text_memory(wf_alloc((size_t)bytes), bytes, what, error);
    if (!list) return false;
    for (int64_t i = 0; i < counted->n; i++) {
        const entry *e = entries_of(counted) + i;
        const char *word = counted->letters.at + e->at;
        bool has_id = false; /* <unk> in a text is one already */
        for (int k = 0; k < WF_SPECIAL_IDS; k++) has_id |= !strcmp(word, special[k]);
        if (!has_id && e->count >= o->min_count) list[n++] = (candidate){ word, e->n, e->count };
    }
    qsort(list, (size_t)n, sizeof *list, by_count);
    bool ok = true;
    for (int64_t i = 0; ok && i < n && (o->max_size == 0 || v->words.n < o->max_size); i++)
        ok = enter(&v->words, list[i].word, list[i].n, what, error) >= 0;
    wf_release(list);
    return ok;
}

static bool check_options(const wf_vocab_options *o, wf_error *error)
{
    if (o->min_count < 0)
        return wf_error_set(error, "vocab: .min_count is %lld; it must be 0 or more",
                            (long long)o->min_count);
    if (o->max_size != 0 && o->max_size < WF_SPECIAL_IDS)
        return wf_error_set(error, "vocab: .max_size is %lld; it must be 0, or %d and more",
                            (long long)o->max_size, WF_SPECIAL_IDS);
    return true;
}

wf_vocab *wf_vocab_from_parts(const wf_text *parts, int n, const wf_vocab_options *options,
                              wf_error *error)
{
    wf_error_clear(error);
    static const wf_vocab_options none;
    table counted = { .slots = 0 };
    if (!options) options = &none;
    if (!text_given(parts, n, "vocab", error)) return NULL;
    if (!check_options(options, error)) return NULL;
    wf_vocab *v = blank(options->letters, "vocab", error);
    if (!v) return NULL;
    bool ok = true;
    for (int i = 0; ok && i < n; i++)
        ok = count_words(&counted, options->letters, &parts[i], error);
    v = finished(v, ok && choose(v, &counted, options, error), "vocab", error);
    table_free(&counted);
    return v;
}

wf_vocab *wf_vocab_from_files(const char *const *paths, int n, const wf_vocab_options *options,
                              wf_error *error)
{
    wf_error_clear(error);
    wf_text *parts = text_take_all("vocab", paths, n, error);
    wf_vocab *v = parts ? wf_vocab_from_parts(parts, n, options, error) : NULL;
    text_release_all(parts, n);
    return v;
}

wf_vocab *wf_vocab_new(const char *path, const wf_vocab_options *options, wf_error *error)
{
    return wf_vocab_from_files(&path, 1, options, error);
}

void wf_vocab_free(wf_vocab *v)
{
    if (!v) return;
    table_free(&v->words);
    wf_release(v->text);
    wf_release(v);
}

/* ---- as text ---- */

const char *wf_vocab_text(const wf_vocab *v)
{
    return v ? v->text : NULL;
}

/* Line `line` (from 1) of a saved vocabulary, n bytes without its end: the word of id `line - 1`,
 * or `line - 2` after a line <letters>. */
static bool take_line(wf_vocab *v, const char *text, int64_t n, int64_t line, const char *what,
                      wf_error *error)
{
    const int64_t id = line - 1 - v->letters;
    const bool letter = v->letters && id >= WF_SPECIAL_IDS;
    int64_t at = 0, start;
    char shown[WF_SHOWN];
    if (n == 0 || token(letter, text, n, &at, &start) != n)
        return wf_error_set(error, "%s: line %lld is no %s: '%s'", what, (long long)line,
                            letter ? "letter" : "word", wf_shown(shown, sizeof shown, text, n));
    if (id < WF_SPECIAL_IDS) {
        if (n == (int64_t)strlen(special[id]) && !memcmp(text, special[id], (size_t)n)) return true;
        return wf_error_set(error, "%s: line %lld is '%s'; expected %s", what, (long long)line,
                            wf_shown(shown, sizeof shown, text, n), special[id]);
    }
    const int64_t i = enter(&v->words, text, n, what, error);
    if (i >= 0 && i < id)
        wf_error_set(error, "%s: lines %lld and %lld are both '%s'", what,
                     (long long)i + 1 + v->letters, (long long)line,
                     wf_shown(shown, sizeof shown, text, n));
    return i == id;
}

/* Takes each line; false and the reason where it is none. Returns how many there are in *lines. */
static bool take_lines(wf_vocab *v, const wf_text *body, int64_t *lines, const char *what,
                       wf_error *error)
{
    int64_t start, n;
    int32_t letter;
    *lines = 0;
    for (int64_t at = 0; at < body->n;)
        if (!text_letter(body->bytes, body->n, &at, &letter, what, error)) return false;
    for (int64_t at = 0; text_next_line(body->bytes, body->n, &at, &start, &n);) {
        const char *line = body->bytes + start;
        if (++*lines == 1 && n == (int64_t)strlen(letters_line) - 1 &&
            !memcmp(line, letters_line, (size_t)n))
            v->letters = true;
        else if (!take_line(v, line, n, *lines, what, error))
            return false;
    }
    return true;
}

wf_vocab *wf_vocab_from_text(const char *name, const char *text, int64_t n, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    const wf_text part = { name, text, n };
    if (!text_given(&part, 1, "vocab", error)) return NULL;
    text_what(what, "vocab", text_name(&part));
    const wf_text body = text_body(&part);
    wf_vocab *v = blank(false, what, error);
    if (!v) return NULL;
    int64_t line;
    bool ok = take_lines(v, &body, &line, what, error);
    if (ok && line - v->letters < WF_SPECIAL_IDS)
        ok = wf_error_set(error, "%s: it has %lld lines; expected %s and more", what,
                          (long long)line, "<pad>, <unk>, <bos>, <eos>");
    return finished(v, ok, what, error);
}

bool wf_vocab_save(const wf_vocab *v, const char *path, wf_error *error)
{
    wf_error_clear(error);
    if (!v) return wf_error_set(error, "vocab: it was never made (NULL)");
    return wf_file_write(path, v->text, (int64_t)strlen(v->text), error);
}

wf_vocab *wf_vocab_load(const char *path, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    int64_t n;
    char *text = text_take(text_what(what, "vocab", path), path, 0, &n, error);
    wf_vocab *v = text ? wf_vocab_from_text(path, text, n, error) : NULL;
    wf_release(text);
    return v;
}

bool wf_vocab_to_bundle(const wf_vocab *v, wf_bundle *bundle, const char *key)
{
    if (!v) return wf_bundle_fail(bundle, "vocab: it was never made (NULL)");
    return wf_bundle_meta(bundle, key, "%s", v->text);
}

wf_vocab *wf_vocab_from_archive(const wf_archive *archive, const char *key, wf_error *error)
{
    wf_error_clear(error);
    char shown[WF_SHOWN];
    const char *text = wf_archive_meta(archive, key);
    if (text) return wf_vocab_from_text(key, text, (int64_t)strlen(text), error);
    if (archive && key)
        wf_error_set(error, "vocab: the file's metadata have no '%s'",
                     wf_shown(shown, sizeof shown, key, (int64_t)strlen(key)));
    else
        wf_error_set(error, "vocab: no %s was given (NULL)", archive ? "key" : "archive");
    return NULL;
}

/* ---- words and ids ---- */

bool wf_vocab_letters(const wf_vocab *v)
{
    return v && v->letters;
}

int64_t wf_vocab_size(const wf_vocab *v)
{
    return v ? v->words.n : 0;
}

const char *wf_vocab_word(const wf_vocab *v, int64_t id)
{
    if (!v || id < 0 || id >= v->words.n) return NULL;
    return v->words.letters.at + entries_of(&v->words)[id].at;
}

int32_t wf_vocab_id(const wf_vocab *v, const char *word, int64_t n)
{
    if (!v || !word || n < 0) return WF_UNK;
    const int32_t found = *slot_of(&v->words, word, n);
    return found ? found - 1 : WF_UNK;
}

int64_t wf_vocab_encode(const wf_vocab *v, const char *text, int64_t n, int32_t *ids, int64_t room,
                        wf_error *error)
{
    wf_error_clear(error);
    int64_t words = 0, bytes, start;
    int32_t letter;
    if (!v || n < 0 || (n > 0 && !text) || (room > 0 && !ids)) {
        wf_error_set(error, "encode: %s",
                     v ? "no text was given" : "the vocabulary was never made");
        return -1;
    }
    for (int64_t at = 0; at < n;)
        if (!text_letter(text, n, &at, &letter, "encode", error)) return -1;
    for (int64_t at = 0; (bytes = token(v->letters, text, n, &at, &start)); words++)
        if (words < room) ids[words] = wf_vocab_id(v, text + start, bytes);
    return words;
}

size_t wf_vocab_decode(const wf_vocab *v, const int32_t *ids, int64_t n, char *text, size_t bytes)
{
    size_t length = 0;
    if (text && bytes) text[0] = 0;
    if (!text) bytes = 0;
    for (int64_t i = 0; v && ids && i < n; i++) {
        const char *word = wf_vocab_word(v, ids[i]);
        const bool whole = length < bytes; /* nothing was cut off yet */
        length += wf_format(whole ? text + length : NULL, whole ? bytes - length : 0, "%s%s",
                            i && !v->letters ? " " : "", word ? word : special[WF_UNK]);
    }
    return length;
}
