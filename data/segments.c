/* Segments as lists of tokens, and their n-grams counted. */
#include "data/segments_private.h"

#include "data/text_private.h"
#include "tensor/size.h"

#include <string.h>

void segments_free(segments *s)
{
    words_free(&s->words);
    growing_free(&s->tokens);
    growing_free(&s->ends);
    growing_free(&s->work);
}

void segments_clear(segments *s)
{
    s->tokens.bytes = s->ends.bytes = s->work.bytes = 0;
    s->lists = 0;
}

static int64_t end_of(const segments *s, int64_t i)
{
    return i < 0 ? 0 : ((const int64_t *)(const void *)s->ends.at)[i];
}

wf_ids segments_list(const segments *s, int64_t i)
{
    const int64_t begin = end_of(s, i - 1);
    return (wf_ids){ (const int32_t *)(const void *)s->tokens.at + begin, end_of(s, i) - begin };
}

bool segments_good(const wf_text *text, const char *what, wf_error *error)
{
    int32_t letter;
    if (!text || text->n < 0 || (text->n > 0 && !text->bytes))
        return wf_error_set(error, "%s: no bytes were given", what);
    for (int64_t at = 0; at < text->n;)
        if (!text_letter(text->bytes, text->n, &at, &letter, what, error)) return false;
    return true;
}

/* ---- tokens ---- */

static bool put(segments *s, int32_t token, const char *what, wf_error *error)
{
    int32_t *place = growing_more(&s->tokens, sizeof *place, what, error);
    if (place) *place = token;
    return place != NULL;
}

static bool put_word(segments *s, const char *word, int64_t n, const char *what, wf_error *error)
{
    const int64_t token = words_enter(&s->words, word, n, what, error);
    return token >= 0 && put(s, (int32_t)token, what, error);
}

static bool end_list(segments *s, const char *what, wf_error *error)
{
    int64_t *end = growing_more(&s->ends, sizeof *end, what, error);
    if (!end) return false;
    *end = s->tokens.bytes / (int64_t)sizeof(int32_t);
    s->lists++;
    return true;
}

static bool is_space(int32_t letter)
{
    return text_space(letter) || (letter >= 0x1C && letter <= 0x1F);
}

/* The next word from byte *at on, as wf_text_word. */
static int64_t next_word(const char *text, int64_t n, int64_t *at, int64_t *start)
{
    int64_t found = 0;
    *start = *at;
    while (*at < n) {
        int32_t letter = 0;
        const int bytes = wf_utf8_take(text + *at, n - *at, &letter);
        if (is_space(letter) && found) return found;
        *at += bytes;
        if (is_space(letter))
            *start = *at;
        else
            found = *at - *start;
    }
    return found;
}

bool segments_add_words(segments *s, const char *text, int64_t n, const char *what, wf_error *error)
{
    int64_t start, bytes;
    for (int64_t at = 0; (bytes = next_word(text, n, &at, &start));)
        if (!put_word(s, text + start, bytes, what, error)) return false;
    return end_list(s, what, error);
}

bool segments_add_all_letters(segments *s, const char *text, int64_t n, const char *what,
                              wf_error *error)
{
    int32_t letter = 0;
    for (int64_t at = 0; at < n;) {
        at += wf_utf8_take(text + at, n - at, &letter);
        if (!put(s, letter, what, error)) return false;
    }
    return end_list(s, what, error);
}

bool segments_add_letters(segments *s, const char *text, int64_t n, const char *what,
                          wf_error *error)
{
    int32_t letter = 0;
    for (int64_t at = 0; at < n;) {
        at += wf_utf8_take(text + at, n - at, &letter);
        if (!is_space(letter) && !put(s, letter, what, error)) return false;
    }
    return end_list(s, what, error);
}

bool segments_add_ids(segments *s, wf_ids ids, const char *what, wf_error *error)
{
    for (int64_t i = 0; i < ids.n; i++)
        if (!put(s, ids.at[i], what, error)) return false;
    return end_list(s, what, error);
}

/* What Python calls string.punctuation: ASCII's. */
static bool is_mark(char c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
}

bool segments_add_chrf_words(segments *s, const char *text, int64_t n, const char *what,
                             wf_error *error)
{
    int64_t start, bytes;
    int32_t letter;
    for (int64_t at = 0; (bytes = next_word(text, n, &at, &start));) {
        const char *word = text + start;
        int64_t cut = 0; /* where it falls into two */
        if (bytes > wf_utf8_take(word, bytes, &letter)) {
            if (is_mark(word[bytes - 1]))
                cut = bytes - 1;
            else if (is_mark(word[0]))
                cut = 1;
        }
        if (cut && !put_word(s, word, cut, what, error)) return false;
        if (!put_word(s, word + cut, bytes - cut, what, error)) return false;
    }
    return end_list(s, what, error);
}

/* ---- 13a: four substitutions, one after another, as sacreBLEU makes them ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* mteval's [\{-\~\[-\` -\&\(-\+\:-\@\/]: ASCII's punctuation but ' , - . and the space. */
static bool stands_alone(char c)
{
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
           (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

/* Copies n bytes with every `what` replaced by `by`, which is no longer; returns how many they are
 * then. `to` may be `from`. */
static int64_t replace(const char *from, int64_t n, const char *what, const char *by, char *to)
{
    const int64_t length = (int64_t)strlen(what), other = (int64_t)strlen(by);
    int64_t out = 0;
    for (int64_t i = 0; i < n;) {
        if (n - i >= length && !memcmp(from + i, what, (size_t)length)) {
            for (int64_t k = 0; k < other; k++) to[out++] = by[k];
            i += length;
        } else {
            to[out++] = from[i++];
        }
    }
    return out;
}

static int64_t put_apart(const char *from, int64_t n, char *to)
{
    int64_t out = 0;
    for (int64_t i = 0; i < n; i++) {
        if (stands_alone(from[i])) to[out++] = ' ';
        to[out++] = from[i];
        if (stands_alone(from[i])) to[out++] = ' ';
    }
    return out;
}

/* Pairs of bytes, from the left and never overlapping: "ab" becomes "a b " where a is no digit and
 * b a point or comma (or, `dash`, a a digit and b a dash). */
static int64_t space_second(const char *from, int64_t n, bool dash, char *to)
{
    int64_t out = 0;
    for (int64_t i = 0; i < n; i++) {
        to[out++] = from[i];
        const char next = i + 1 < n ? from[i + 1] : 0;
        if (dash ? !(is_digit(from[i]) && next == '-')
                 : is_digit(from[i]) || !(next == '.' || next == ','))
            continue;
        to[out++] = ' ';
        to[out++] = from[++i];
        to[out++] = ' ';
    }
    return out;
}

/* "ab" becomes " a b" where a is a point or comma and b no digit. */
static int64_t space_first(const char *from, int64_t n, char *to)
{
    int64_t out = 0;
    for (int64_t i = 0; i < n; i++) {
        const bool apart = (from[i] == '.' || from[i] == ',') && i + 1 < n &&
                           !is_digit(from[i + 1]);
        if (apart) to[out++] = ' ';
        to[out++] = from[i];
        if (!apart) continue;
        to[out++] = ' ';
        to[out++] = from[++i];
    }
    return out;
}

/* The text that is cut at white space then, n bytes of it, within `a` or `b`. */
static const char *tokenize(char *a, char *b, int64_t *n)
{
    static const char *const entities[4][2] = {
        { "&quot;", "\"" }, { "&amp;", "&" }, { "&lt;", "<" }, { "&gt;", ">" }
    };
    *n = replace(a, *n, "<skipped>", "", a);
    *n = replace(a, *n, "-\n", "", a);
    *n = replace(a, *n, "\n", " ", a);
    for (int i = 0; i < 4; i++) *n = replace(a, *n, entities[i][0], entities[i][1], a);
    b[0] = ' ';
    if (*n) memcpy(b + 1, a, (size_t)*n);
    b[*n + 1] = ' ';
    *n = put_apart(b, *n + 2, a);
    *n = space_second(a, *n, false, b);
    *n = space_first(b, *n, a);
    *n = space_second(a, *n, true, b);
    return b;
}

bool segments_add_13a(segments *s, const char *text, int64_t n, const char *what, wf_error *error)
{
    int64_t start, bytes, length = 0, room;
    for (int64_t at = 0; (bytes = next_word(text, n, &at, &start));) length = start + bytes;
    /* A byte becomes at most five: " , " within " , ". */
    if (!wf_size_add(length, 2, &room) || !wf_size_mul(room, 10, &room)) room = INT64_MAX;
    s->work.bytes = 0;
    char *work = growing_more(&s->work, room, what, error);
    if (!work) return false;
    if (length > 0) memcpy(work, text, (size_t)length);
    const char *tokens = tokenize(work, work + room / 2, &length);
    return segments_add_words(s, tokens, length, what, error);
}

/* ---- n-grams ---- */

bool segments_begin(segments *s, const char *what, wf_error *error)
{
    const int64_t n = s->tokens.bytes / (int64_t)sizeof(int32_t);
    int64_t slots = 64, bytes = 0;
    while (slots < 2 * n && slots < INT64_MAX / 4) slots *= 2;
    /* Keys, then the four lists by place or gram, then the table. */
    const bool fits = n < INT32_MAX &&
                      wf_size_mul(n, sizeof(uint64_t) + 4 * sizeof(int32_t), &bytes) &&
                      wf_size_add(bytes, slots * (int64_t)sizeof(int32_t), &bytes);
    s->work.bytes = 0;
    char *work = growing_more(&s->work, fits ? bytes : INT64_MAX, what, error);
    if (!work) return false;
    s->key = (uint64_t *)(void *)work;
    s->gram = (int32_t *)(s->key + n);
    for (int k = 0; k < 3; k++) s->count[k] = s->gram + (k + 1) * n;
    s->slot = s->gram + 4 * n;
    s->slots = slots;
    segments_again(s);
    return true;
}

void segments_again(segments *s)
{
    if (s->tokens.bytes) memset(s->gram, 0, (size_t)s->tokens.bytes); /* one for each token */
    s->order = 0;
}

/* The number of the n-gram with this key. */
static int32_t number_of(segments *s, uint64_t key)
{
    const uint64_t mask = (uint64_t)s->slots - 1;
    uint64_t at = key * UINT64_C(0x9E3779B97F4A7C15);
    for (at = (at ^ at >> 32) & mask;; at = (at + 1) & mask) {
        if (s->slot[at] && s->key[s->slot[at] - 1] != key) continue;
        if (!s->slot[at]) {
            s->key[s->grams] = key;
            s->slot[at] = (int32_t)++s->grams;
        }
        return s->slot[at] - 1;
    }
}

void segments_next(segments *s)
{
    const int32_t *token = (const int32_t *)(const void *)s->tokens.at;
    const int64_t last = s->order++;
    memset(s->slot, 0, (size_t)s->slots * sizeof *s->slot);
    s->grams = 0;
    for (int64_t i = 0; i < s->lists; i++)
        for (int64_t at = end_of(s, i - 1); at + last < end_of(s, i); at++)
            s->gram[at] = number_of(s, (uint64_t)s->gram[at] << 32 | (uint32_t)token[at + last]);
}

int64_t segments_count(segments *s, int64_t i, int k)
{
    const int64_t begin = end_of(s, i - 1), end = end_of(s, i) - s->order + 1;
    if (s->grams) memset(s->count[k], 0, (size_t)s->grams * sizeof *s->count[k]);
    for (int64_t at = begin; at < end; at++) s->count[k][s->gram[at]]++;
    return end > begin ? end - begin : 0;
}
