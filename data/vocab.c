/* A vocabulary: words (or letters) counted in a hash table, the frequent ones put in order, and
 * looked up by the same hash. */
#include "data/vocab.h"

#include "data/text_private.h"
#include "data/words_private.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <stdlib.h>
#include <string.h>

static const char *const special[WF_SPECIAL_IDS] = { "<pad>", "<unk>", "<bos>", "<eos>" };
static const char letters_line[] = "<letters>\n"; /* before them, where ids are letters */

/* ---- the vocabulary: words in the order of their ids ---- */

struct wf_vocab {
    word_table words;
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
        if (words_enter(&v->words, special[i], (int64_t)strlen(special[i]), what, error) < 0) {
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

static bool count_words(word_table *t, bool letters, const wf_text *part, wf_error *error)
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
        const int64_t i = words_enter(t, text.bytes + start, n, what, error);
        if (i < 0) return false;
        words_at(t, i)->count++;
    }
    return true;
}

/* Enters the counted words that are frequent enough, in their order. */
static bool choose(wf_vocab *v, const word_table *counted, const wf_vocab_options *o,
                   wf_error *error)
{
    static const char what[] = "vocab";
    int64_t n = 0;
    if (counted->n == 0) return true;
    const int64_t bytes = counted->n * (int64_t)sizeof(candidate);
    candidate *list = text_memory(wf_alloc((size_t)bytes), bytes, what, error);
    if (!list) return false;
    for (int64_t i = 0; i < counted->n; i++) {
        const word_entry *e = words_at(counted, i);
        const char *letters = words_letters(counted, i);
        bool has_id = false; /* <unk> in a text is one already */
        for (int k = 0; k < WF_SPECIAL_IDS; k++) has_id |= !strcmp(letters, special[k]);
        if (!has_id && e->count >= o->min_count) list[n++] = (candidate){ letters, e->n, e->count };
    }
    qsort(list, (size_t)n, sizeof *list, by_count);
    bool ok = true;
    for (int64_t i = 0; ok && i < n && (o->max_size == 0 || v->words.n < o->max_size); i++)
        ok = words_enter(&v->words, list[i].word, list[i].n, what, error) >= 0;
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
    word_table counted = { .n = 0 };
    if (!options) options = &none;
    if (!text_given(parts, n, "vocab", error)) return NULL;
    if (!check_options(options, error)) return NULL;
    wf_vocab *v = blank(options->letters, "vocab", error);
    if (!v) return NULL;
    bool ok = true;
    for (int i = 0; ok && i < n; i++)
        ok = count_words(&counted, options->letters, &parts[i], error);
    v = finished(v, ok && choose(v, &counted, options, error), "vocab", error);
    words_free(&counted);
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
    words_free(&v->words);
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
    const int64_t i = words_enter(&v->words, text, n, what, error);
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
    return words_letters(&v->words, id);
}

int32_t wf_vocab_id(const wf_vocab *v, const char *word, int64_t n)
{
    if (!v || !word || n < 0) return WF_UNK;
    const int64_t found = words_find(&v->words, word, n);
    return found >= 0 ? (int32_t)found : WF_UNK;
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
