/* Columns, cut in a copy of the text, each field with a zero behind it, so that the text itself can
 * be written again. */
#include "data/conll.h"

#include "data/spans_private.h"
#include "data/text_private.h"
#include "data/utf8.h"
#include "data/words_private.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

/* A sentence: its first word, and how many. */
typedef struct sentence {
    int64_t first, n;
} sentence;

struct wf_conll {
    wf_conll_options o;
    char what[WF_WHAT]; /* "conll 'FILE'" */
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
    wf_format(c->what, sizeof c->what, "%s", what);
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
           wf_error_set(error, "%s: there is no column %lld; there are %lld", c->what,
                        (long long)column, (long long)c->columns);
}

/* The line of a word, from 1. */
static int64_t line_of(const wf_conll *c, int64_t word)
{
    return text_line(c->text, ((const int64_t *)(const void *)c->places.at)[word * c->columns]);
}

/* Are all fields of a column tags? */
static bool tags_given(const wf_conll *c, int64_t column, wf_error *error)
{
    for (int64_t w = 0; w < c->words; w++) {
        const char *field = c->field[column * c->words + w];
        if (!tag_given(field))
            return wf_error_set(error,
                                "%s: line %lld has '%s' in column %lld, which is no tag: O, or B, "
                                "I, E or S, alone or with a hyphen and a type",
                                c->what, (long long)line_of(c, w), field, (long long)column);
    }
    return true;
}

bool wf_conll_convert(wf_conll *c, int64_t column, wf_tag_scheme to, wf_error *error)
{
    wf_error_clear(error);
    if (!column_given(c, column, error) || !tags_given(c, column, error)) return false;
    char *const *field = (char *const *)(void *)(c->field + column * c->words);
    for (int64_t i = 0; i < sentences_of(c); i++) {
        const sentence *s = sentence_at(c, i);
        if (!wf_tags_convert(to, s->n, field + s->first, error)) return false;
        for (int64_t w = s->first; w < s->first + s->n; w++)
            c->text[field[w] - c->cut] = field[w][0];
    }
    return true;
}

/* ---- ids ---- */

static bool add_text(growing *g, const char *text, int64_t n, wf_error *error)
{
    char *to = growing_more(g, n, "conll", error);
    if (to && n) memcpy(to, text, (size_t)n);
    return to;
}

/* Is there a sentence of this number? */
static bool sentence_given(const wf_conll *c, int64_t i, wf_error *error)
{
    return (i >= 0 && i < sentences_of(c)) ||
           wf_error_set(error, "%s: there is no sentence %lld; there are %lld", c->what,
                        (long long)i, (long long)sentences_of(c));
}

static bool list_given(const int64_t *sentences, int64_t n, wf_error *error)
{
    return (n >= 0 && (n == 0 || sentences)) ||
           wf_error_set(error, "conll: there are %lld sentences that were not given", (long long)n);
}

wf_vocab *wf_conll_vocab(const wf_conll *c, int64_t column, const int64_t *sentences, int64_t n,
                         const wf_vocab_options *options, wf_error *error)
{
    growing all = { 0 };
    wf_error_clear(error);
    bool ok = column_given(c, column, error) && (!sentences || list_given(sentences, n, error));
    if (ok && !sentences) n = sentences_of(c);
    for (int64_t i = 0; ok && i < n; i++) {
        const int64_t which = sentences ? sentences[i] : i;
        const char *const *field = wf_conll_fields(c, which, column);
        ok = sentence_given(c, which, error);
        for (int64_t w = 0; ok && w < wf_conll_length(c, which); w++)
            ok = add_text(&all, field[w], (int64_t)strlen(field[w]), error) &&
                 add_text(&all, "\n", 1, error);
    }
    const wf_text text = { NULL, all.at ? all.at : "", all.bytes };
    wf_vocab *v = ok ? wf_vocab_from_parts(&text, 1, options, error) : NULL;
    growing_free(&all);
    return v;
}

/* A line of a vocabulary for each letter, with a type or without. */
static bool add_tags(growing *g, const char *letters, const char *type, wf_error *error)
{
    bool ok = true;
    for (; *letters && ok; letters++)
        ok = add_text(g, letters, 1, error) && (!*type || add_text(g, "-", 1, error)) &&
             add_text(g, type, (int64_t)strlen(type), error) && add_text(g, "\n", 1, error);
    return ok;
}

wf_vocab *wf_conll_tags(const wf_conll *c, int64_t column, wf_tag_scheme scheme, wf_error *error)
{
    static const char special[] = "<pad>\n<unk>\n<bos>\n<eos>\nO\n";
    growing all = { 0 };
    wf_error_clear(error);
    if (!column_given(c, column, error) || !tags_given(c, column, error) ||
        !wf_tags_check(scheme, 0, NULL, error))
        return NULL;
    wf_spans *spans = wf_spans_new(error);
    const char *const *field = c->field + column * c->words;
    bool ok = spans && wf_spans_add(spans, c->words, field, field, error) &&
              add_text(&all, special, sizeof special - 1, error);
    for (int64_t i = 0; ok && i < wf_spans_types(spans); i++)
        ok = add_tags(&all, scheme == WF_IOBES ? "BIES" : "BI", wf_spans_type(spans, i, NULL),
                      error);
    wf_vocab *v = ok ? wf_vocab_from_text("tags", all.at, all.bytes, error) : NULL;
    growing_free(&all);
    wf_spans_free(spans);
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

static bool add_ids(wf_conll *c, int64_t which, int64_t column, bool tags, const wf_vocab *vocab,
                    wf_error *error)
{
    const char *const *field = wf_conll_fields(c, which, column);
    const int64_t n = wf_conll_length(c, which);
    int32_t *ids = more_ids(c, n, error);
    for (int64_t t = 0; ids && t < n; t++) {
        ids[t] = wf_vocab_id(vocab, field[t], (int64_t)strlen(field[t]));
        if (!tags) continue;
        if (ids[t] < WF_SPECIAL_IDS)
            return wf_error_set(
                error, "%s: line %lld has the tag '%s', which is not in the vocabulary", c->what,
                (long long)line_of(c, sentence_at(c, which)->first + t), field[t]);
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
        if (!sentence_given(c, list[b], error)) return false;
        const int64_t length = wf_conll_length(c, list[b]);
        if (length > time) time = length;
        if (what != WF_CONLL_LETTERS &&
            !add_ids(c, list[b], column, what == WF_CONLL_TAGS, vocab, error))
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
    if (!list_given(sentences, n, error) || !add_all(c, what, column, vocab, sentences, n, error))
        return false;
    wf_ids *list = (wf_ids *)(void *)c->lists.at;
    const int64_t lists = c->lists.bytes / (int64_t)sizeof *list;
    const int32_t *ids = (const int32_t *)(const void *)c->ids.at;
    for (int64_t i = 0; i < lists; ids += list[i++].n) list[i].at = ids;
    return wf_pad(batch, list, lists, NULL, error);
}

/* ---- writing ---- */

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

/* A line's word and what is behind it, up to its last field; then a separator and one more. */
static bool add_field(const wf_conll *c, int64_t word, int64_t *from, const char *field,
                      growing *out, wf_error *error)
{
    const int64_t *place = (const int64_t *)(const void *)c->places.at + word * c->columns;
    const int64_t end = place[c->columns - 1] + (int64_t)strlen(c->cut + place[c->columns - 1]);
    const bool tab = memchr(c->text + place[0], '\t', (size_t)(end - place[0]));
    const char between = c->o.separator ? c->o.separator : tab ? '\t' : ' ';
    const int64_t start = *from;
    *from = end;
    return field_given(c, field, word, error) &&
           add_text(out, c->text + start, end - start, error) &&
           add_text(out, &between, 1, error) && add_text(out, field, (int64_t)strlen(field), error);
}

char *wf_conll_text(const wf_conll *c, const char *const *more, int64_t *bytes, wf_error *error)
{
    growing out = { 0 };
    int64_t from = 0;
    wf_error_clear(error);
    if (bytes) *bytes = 0;
    if (!c || !bytes) {
        wf_error_set(error, c ? "conll: there is no place for the length (NULL)"
                              : "conll: it was never made (NULL)");
        return NULL;
    }
    bool ok = true;
    for (int64_t w = 0; more && w < c->words && ok; w++)
        ok = add_field(c, w, &from, more[w], &out, error);
    if (ok && add_text(&out, c->text + from, c->n - from, error) && add_text(&out, "", 1, error)) {
        *bytes = out.bytes - 1;
        return out.at;
    }
    growing_free(&out);
    return NULL;
}

bool wf_conll_save(const wf_conll *c, const char *path, const char *const *more, wf_error *error)
{
    int64_t n;
    wf_error_clear(error);
    if (!c) return wf_error_set(error, "conll: it was never made (NULL)");
    if (!more) return wf_error_set(error, "conll: no fields were given (NULL)");
    char *text = wf_conll_text(c, more, &n, error);
    const bool ok = text && wf_file_write(path, text, n, error);
    wf_release(text);
    return ok;
}
