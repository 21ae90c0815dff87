/* Columns, cut in a copy of the text, each field with a zero behind it, so that the text itself can
 * be written again. */
#include "data/conll.h"

#include "data/text_private.h"
#include "data/utf8.h"
#include "data/words_private.h"
#include "tensor/size.h"

#include <string.h>

/* A sentence: its first word, and how many. */
typedef struct sentence {
    int64_t first, n;
} sentence;

struct wf_conll {
    wf_conll_options o;
    char *text, *cut; /* as it was read; with a zero behind each field. Both of n bytes and one */
    int64_t n;
    int64_t columns, words;
    growing places;     /* int64_t: where the fields begin, word by word */
    growing sentences;  /* sentence */
    const char **field; /* (columns, words) */
    growing ids, lists; /* int32_t, wf_ids: of a batch that is being made */
};

static sentence *sentence_at(const wf_conll *c, int64_t i)
{
    return (sentence *)(void *)c->sentences.at + i;
}

static int64_t sentences_of(const wf_conll *c)
{
    return c->sentences.bytes / (int64_t)sizeof(sentence);
}

/* ---- reading ---- */

static bool separates(const wf_conll *c, char letter)
{
    return c->o.separator ? letter == c->o.separator : letter == ' ' || letter == '\t';
}

/* Cuts a line into fields, and says how many; -1 and the reason when there is no memory. */
static int64_t cut_fields(wf_conll *c, int64_t at, int64_t n, const char *what, wf_error *error)
{
    const int64_t end = at + n;
    int64_t fields = 0;
    c->cut[end] = 0;
    while (at <= end) {
        if (!c->o.separator)
            while (at < end && separates(c, c->cut[at])) at++;
        if (!c->o.separator && at == end) break;
        int64_t *place = growing_more(&c->places, sizeof *place, what, error);
        if (!place) return -1;
        *place = at;
        fields++;
        while (at < end && !separates(c, c->cut[at])) at++;
        c->cut[at++] = 0;
    }
    return fields;
}

static bool is_blank(const wf_conll *c, int64_t at, int64_t n)
{
    for (int64_t i = at; i < at + n; i++)
        if (c->text[i] != ' ' && c->text[i] != '\t') return false;
    return true;
}

static bool is_docstart(const wf_conll *c, int64_t at, int64_t n)
{
    static const char mark[] = "-DOCSTART-";
    const int64_t bytes = sizeof mark - 1;
    return n >= bytes && !memcmp(c->text + at, mark, (size_t)bytes) &&
           (n == bytes || separates(c, c->text[at + bytes]));
}

static bool is_comment(const wf_conll *c, int64_t at, int64_t n)
{
    const int64_t bytes = c->o.comment ? (int64_t)strlen(c->o.comment) : 0;
    return bytes > 0 && n >= bytes && !memcmp(c->text + at, c->o.comment, (size_t)bytes);
}

static bool add_word(wf_conll *c, int64_t at, int64_t n, bool first, const char *what,
                     wf_error *error)
{
    const int64_t fields = cut_fields(c, at, n, what, error);
    if (fields < 0) return false;
    if (c->columns == 0) c->columns = fields;
    if (fields != c->columns)
        return wf_error_set(error, "%s: line %lld has %lld column%s; there must be %lld", what,
                            (long long)text_line(c->text, at), (long long)fields,
                            fields == 1 ? "" : "s", (long long)c->columns);
    if (first) {
        sentence *s = growing_more(&c->sentences, sizeof *s, what, error);
        if (!s) return false;
        *s = (sentence){ .first = c->words };
    }
    sentence_at(c, sentences_of(c) - 1)->n++;
    c->words++;
    return true;
}

static bool read_lines(wf_conll *c, const char *what, wf_error *error)
{
    const wf_text whole = { NULL, c->text, c->n };
    const wf_text body = text_body(&whole);
    int64_t at = body.bytes - c->text, start, n;
    for (int64_t i = at; i < c->n;) {
        int32_t letter;
        if (!text_letter(c->text, c->n, &i, &letter, what, error)) return false;
    }
    for (bool first = true; text_next_line(c->text, c->n, &at, &start, &n);) {
        if (is_comment(c, start, n)) continue;
        if (is_blank(c, start, n) || is_docstart(c, start, n)) {
            first = true;
            continue;
        }
        if (!add_word(c, start, n, first, what, error)) return false;
        first = false;
    }
    return c->words > 0 || wf_error_set(error, "%s: there is no word", what);
}

static bool list_fields(wf_conll *c, const char *what, wf_error *error)
{
    const int64_t *place = (const int64_t *)(const void *)c->places.at;
    const int64_t bytes = c->places.bytes / (int64_t)sizeof *place * (int64_t)sizeof *c->field;
    c->field = text_memory(wf_alloc((size_t)bytes), bytes, what, error);
    if (!c->field) return false;
    for (int64_t w = 0; w < c->words; w++)
        for (int64_t k = 0; k < c->columns; k++)
            c->field[k * c->words + w] = c->cut + place[w * c->columns + k];
    return true;
}

static bool options_given(const wf_conll_options *o, const char *what, wf_error *error)
{
    const char c = o->separator;
    if (o->columns < 0)
        return wf_error_set(error, "%s: .columns is %lld; it must be 0 or more", what,
                            (long long)o->columns);
    return (c >= 0 && c < 0x7F && c != '\n' && c != '\r') ||
           wf_error_set(error,
                        "%s: .separator is 0x%02X; it must be one letter of ASCII, and no "
                        "line end",
                        what, (unsigned)(unsigned char)c);
}

/* Takes over the text, of n bytes and a zero. */
static wf_conll *made_of(char *text, int64_t n, const char *what, const wf_conll_options *options,
                         wf_error *error)
{
    wf_conll *c = text_memory(wf_alloc_zero(sizeof *c), sizeof *c, what, error);
    if (!c) {
        wf_release(text);
        return NULL;
    }
    if (options) c->o = *options;
    c->columns = c->o.columns;
    c->text = text;
    c->n = n;
    c->cut = text_memory(wf_alloc((size_t)n + 1), n + 1, what, error);
    if (c->cut) memcpy(c->cut, text, (size_t)n + 1);
    if (c->cut && read_lines(c, what, error) && list_fields(c, what, error)) {
        c->o.comment = NULL; /* the caller's */
        return c;
    }
    wf_conll_free(c);
    return NULL;
}

wf_conll *wf_conll_new(const char *path, const wf_conll_options *options, wf_error *error)
{
    char what[WF_WHAT];
    int64_t n = 0;
    wf_error_clear(error);
    text_what(what, "conll", path);
    if (options && !options_given(options, what, error)) return NULL;
    char *text = text_take(what, path, 0, &n, error);
    return text ? made_of(text, n, what, options, error) : NULL;
}

wf_conll *wf_conll_from_text(const wf_text *text, const wf_conll_options *options, wf_error *error)
{
    char what[WF_WHAT];
    wf_error_clear(error);
    if (!text) {
        wf_error_set(error, "conll: no text was given (NULL)");
        return NULL;
    }
    text_what(what, "conll", text_name(text));
    if (!text_given(text, 1, "conll", error)) return NULL;
    if (options && !options_given(options, what, error)) return NULL;
    char *copy = text_memory(wf_alloc((size_t)text->n + 1), text->n + 1, what, error);
    if (!copy) return NULL;
    if (text->n) memcpy(copy, text->bytes, (size_t)text->n);
    copy[text->n] = 0;
    return made_of(copy, text->n, what, options, error);
}

void wf_conll_free(wf_conll *c)
{
    if (!c) return;
    growing_free(&c->places);
    growing_free(&c->sentences);
    growing_free(&c->ids);
    growing_free(&c->lists);
    wf_release(c->text);
    wf_release(c->cut);
    wf_release((void *)c->field);
    wf_release(c);
}

/* ---- what there is ---- */

int64_t wf_conll_sentences(const wf_conll *c)
{
    return c ? sentences_of(c) : 0;
}

int64_t wf_conll_columns(const wf_conll *c)
{
    return c ? c->columns : 0;
}

int64_t wf_conll_words(const wf_conll *c)
{
    return c ? c->words : 0;
}

int64_t wf_conll_length(const wf_conll *c, int64_t i)
{
    return c && i >= 0 && i < sentences_of(c) ? sentence_at(c, i)->n : 0;
}

const char *const *wf_conll_fields(const wf_conll *c, int64_t i, int64_t column)
{
    if (!c || i < 0 || i >= sentences_of(c) || column < 0 || column >= c->columns) return NULL;
    return c->field + column * c->words + sentence_at(c, i)->first;
}

static bool column_given(const wf_conll *c, int64_t column, wf_error *error)
{
    if (!c) return wf_error_set(error, "conll: it was never made (NULL)");
    return (column >= 0 && column < c->columns) ||
           wf_error_set(error, "conll: there is no column %lld; there are %lld", (long long)column,
                        (long long)c->columns);
}

bool wf_conll_convert(wf_conll *c, int64_t column, wf_tag_scheme to, wf_error *error)
{
    wf_error_clear(error);
    if (!column_given(c, column, error)) return false;
    char *const *field = (char *const *)(void *)(c->field + column * c->words);
    /* All are tags, or none is changed. */
    wf_spans *judge = wf_spans_new(error);
    const bool ok = judge && wf_spans_add(judge, c->words, (const char *const *)field,
                                          (const char *const *)field, error);
    wf_spans_free(judge);
    if (!ok) return false;
    for (int64_t i = 0; i < sentences_of(c); i++) {
        const sentence *s = sentence_at(c, i);
        if (!wf_tags_convert(to, s->n, field + s->first, error)) return false;
        for (int64_t w = s->first; w < s->first + s->n; w++)
            c->text[field[w] - c->cut] = field[w][0];
    }
    return true;
}

/* ---- ids ---- */

wf_vocab *wf_conll_vocab(const wf_conll *c, int64_t column, const wf_vocab_options *options,
                         wf_error *error)
{
    growing all = { 0 };
    wf_error_clear(error);
    if (!column_given(c, column, error)) return NULL;
    for (int64_t w = 0; w < c->words; w++) {
        const char *field = c->field[column * c->words + w];
        const int64_t n = (int64_t)strlen(field);
        char *to = growing_more(&all, n + 1, "conll", error);
        if (!to) {
            growing_free(&all);
            return NULL;
        }
        memcpy(to, field, (size_t)n);
        to[n] = '\n';
    }
    wf_vocab *v = wf_vocab_from_parts(&(wf_text){ NULL, all.at, all.bytes }, 1, options, error);
    growing_free(&all);
    return v;
}

/* Adds a list of n ids, which are to be written; NULL and the reason when there is no memory. */
static int32_t *more_ids(wf_conll *c, int64_t n, wf_error *error)
{
    /* One more than that, so that no ids lie somewhere, too. */
    int32_t *ids = growing_more(&c->ids, (n + 1) * (int64_t)sizeof *ids, "conll", error);
    if (ids) c->ids.bytes -= (int64_t)sizeof *ids;
    wf_ids *list = ids ? growing_more(&c->lists, sizeof *list, "conll", error) : NULL;
    if (!list) return NULL;
    *list = (wf_ids){ NULL, n }; /* where it lies is said when nothing moves any more */
    return ids;
}

static bool add_letters(wf_conll *c, const char *field, const wf_vocab *vocab, wf_error *error)
{
    const int64_t bytes = (int64_t)strlen(field);
    const int64_t n = wf_vocab_encode(vocab, field, bytes, NULL, 0, error);
    int32_t *ids = n < 0 ? NULL : more_ids(c, n, error);
    return ids && wf_vocab_encode(vocab, field, bytes, ids, n, error) == n;
}

static bool add_ids(wf_conll *c, const char *const *field, int64_t n, bool tags,
                    const wf_vocab *vocab, wf_error *error)
{
    int32_t *ids = more_ids(c, n, error);
    for (int64_t t = 0; ids && t < n; t++) {
        ids[t] = wf_vocab_id(vocab, field[t], (int64_t)strlen(field[t]));
        if (!tags) continue;
        if (ids[t] < WF_SPECIAL_IDS)
            return wf_error_set(error, "conll: the tag '%s' is not in the vocabulary", field[t]);
        ids[t] -= WF_SPECIAL_IDS;
    }
    return ids;
}

static bool add_all(wf_conll *c, wf_conll_ids what, int64_t column, const wf_vocab *vocab,
                    const int64_t *list, int64_t n, wf_error *error)
{
    int64_t time = 0;
    c->ids.bytes = c->lists.bytes = 0;
    for (int64_t b = 0; b < n; b++) {
        if (list[b] < 0 || list[b] >= sentences_of(c))
            return wf_error_set(error, "conll: there is no sentence %lld; there are %lld",
                                (long long)list[b], (long long)sentences_of(c));
        const int64_t length = wf_conll_length(c, list[b]);
        if (length > time) time = length;
        if (what != WF_CONLL_LETTERS && !add_ids(c, wf_conll_fields(c, list[b], column), length,
                                                 what == WF_CONLL_TAGS, vocab, error))
            return false;
    }
    for (int64_t i = 0; i < time * n && what == WF_CONLL_LETTERS; i++) {
        const bool there = i / n < wf_conll_length(c, list[i % n]);
        const char *field = there ? wf_conll_fields(c, list[i % n], column)[i / n] : "";
        if (!add_letters(c, field, vocab, error)) return false;
    }
    return true;
}

bool wf_conll_batch(wf_conll *c, wf_conll_ids what, int64_t column, const wf_vocab *vocab,
                    const int64_t *sentences, int64_t n, wf_padded *batch, wf_error *error)
{
    wf_error_clear(error);
    if (!column_given(c, column, error)) return false;
    if (what < WF_CONLL_WORDS || what > WF_CONLL_LETTERS)
        return wf_error_set(error, "conll: there are no ids of kind %d", (int)what);
    if (!vocab || wf_vocab_letters(vocab) != (what == WF_CONLL_LETTERS))
        return wf_error_set(error, "conll: a vocabulary of %s must be given",
                            what == WF_CONLL_LETTERS ? "letters" : "words");
    if (n < 0 || (n > 0 && !sentences))
        return wf_error_set(error, "conll: there are %lld sentences that were not given",
                            (long long)n);
    if (!add_all(c, what, column, vocab, sentences, n, error)) return false;
    wf_ids *list = (wf_ids *)(void *)c->lists.at;
    const int64_t lists = c->lists.bytes / (int64_t)sizeof *list;
    const int32_t *ids = (const int32_t *)(const void *)c->ids.at;
    for (int64_t i = 0; i < lists; ids += list[i++].n) list[i].at = ids;
    return wf_pad(batch, list, lists, NULL, error);
}

/* ---- writing ---- */

static bool add_text(growing *g, const char *text, int64_t n, wf_error *error)
{
    char *to = growing_more(g, n, "conll", error);
    if (to && n) memcpy(to, text, (size_t)n);
    return to;
}

/* A field that is read again as it was written. */
static bool field_given(const wf_conll *c, const char *field, int64_t word, wf_error *error)
{
    bool good = field && *field && wf_utf8_count(field, (int64_t)strlen(field), NULL) >= 0;
    for (const char *at = field; good && *at; at++)
        good = !separates(c, *at) && *at != '\n' && *at != '\r';
    return good || wf_error_set(error, "conll: field %lld to be written is %s", (long long)word,
                                !field    ? "missing (NULL)"
                                : !*field ? "empty"
                                          : "not UTF-8, or holds a separator or a line end");
}

bool wf_conll_save(const wf_conll *c, const char *path, const char *const *more, wf_error *error)
{
    growing out = { 0 };
    int64_t from = 0;
    bool ok = true;
    wf_error_clear(error);
    if (!c) return wf_error_set(error, "conll: it was never made (NULL)");
    if (!more) return wf_error_set(error, "conll: no fields were given (NULL)");
    const int64_t *place = (const int64_t *)(const void *)c->places.at;
    for (int64_t w = 0; w < c->words && ok; w++) {
        const int64_t first = place[w * c->columns], last = place[(w + 1) * c->columns - 1];
        const int64_t end = last + (int64_t)strlen(c->cut + last);
        const bool tab = memchr(c->text + first, '\t', (size_t)(end - first));
        const char between = c->o.separator ? c->o.separator : tab ? '\t' : ' ';
        ok = field_given(c, more[w], w, error) &&
             add_text(&out, c->text + from, end - from, error) &&
             add_text(&out, &between, 1, error) &&
             add_text(&out, more[w], (int64_t)strlen(more[w]), error);
        from = end;
    }
    ok = ok && add_text(&out, c->text + from, c->n - from, error) &&
         wf_file_write(path, out.at, out.bytes, error);
    growing_free(&out);
    return ok;
}
