/* Tags as letters and types, and the spans that they say. */
#include "data/spans.h"

#include "data/spans_private.h"
#include "data/text_private.h"
#include "data/words_private.h"
#include "tensor/par.h"
#include "tensor/text.h"

#include <math.h>
#include <string.h>

/* ---- tags ---- */

typedef struct tag {
    char letter; /* O, B, I, E, S */
    const char *type;
} tag;

static const tag outside = { 'O', "" };

static tag tag_of(const char *text)
{
    return (tag){ *text, text + (text[1] ? 2 : 1) };
}

static bool same_type(tag a, tag b)
{
    return a.letter != 'O' && b.letter != 'O' && !strcmp(a.type, b.type);
}

bool tag_given(const char *text)
{
    if (!text || !*text || !strchr("OBIES", *text)) return false;
    return !text[1] || (*text != 'O' && text[1] == '-');
}

/* Are there n tags? `of` says which they are: "found ", or nothing. */
static bool tags_given(const char *what, const char *of, int64_t n, const char *const *tags,
                       wf_error *error)
{
    if (n < 0 || (n > 0 && !tags))
        return wf_error_set(error, "%s: there are %lld %stags that were not given", what,
                            (long long)n, of);
    for (int64_t i = 0; i < n; i++)
        if (!tag_given(tags[i]))
            return wf_error_set(error,
                                "%s: %stag %lld is %s%s%s; it must be O, or B, I, E or S, alone or "
                                "with a hyphen and a type",
                                what, of, (long long)i, tags[i] ? "'" : "",
                                tags[i] ? tags[i] : "missing", tags[i] ? "'" : "");
    return true;
}

/* Does a span begin with `now`, behind `before`? Does one end with `before`, in front of `now`? */
static bool begins(tag before, tag now)
{
    if (now.letter == 'O') return false;
    return now.letter == 'B' || now.letter == 'S' || before.letter == 'E' || before.letter == 'S' ||
           !same_type(before, now);
}

static bool ends(tag before, tag now)
{
    return before.letter != 'O' && (now.letter == 'O' || begins(before, now));
}

/* ---- schemes ---- */

static const char *const schemes[] = { "IOB2", "IOB1", "IOBES" };

static bool scheme_given(wf_tag_scheme scheme, wf_error *error)
{
    return (scheme >= WF_IOB2 && scheme <= WF_IOBES) ||
           wf_error_set(error, "tags: there is no scheme %d", (int)scheme);
}

static bool has_letter(wf_tag_scheme scheme, tag t)
{
    return scheme == WF_IOBES || strchr("OBI", t.letter);
}

/* May one follow the other? What lies around a sentence is outside. */
static bool may_follow(wf_tag_scheme scheme, tag before, tag now)
{
    const bool same = same_type(before, now);
    const bool open = before.letter == 'B' || before.letter == 'I';
    switch (scheme) {
    case WF_IOB1: return now.letter != 'B' || same;
    case WF_IOB2: return now.letter != 'I' || same;
    default: return open == (now.letter == 'I' || now.letter == 'E') && (!open || same);
    }
}

bool wf_tags_check(wf_tag_scheme scheme, int64_t n, const char *const *tags, wf_error *error)
{
    wf_error_clear(error);
    if (!scheme_given(scheme, error) || !tags_given("tags", "", n, tags, error)) return false;
    tag before = outside;
    for (int64_t i = 0; i <= n; i++) {
        const tag now = i < n ? tag_of(tags[i]) : outside;
        if (!has_letter(scheme, now))
            return wf_error_set(error, "tags: tag %lld, '%s', is none of %s", (long long)i, tags[i],
                                schemes[scheme]);
        if (!may_follow(scheme, before, now))
            return wf_error_set(error, "tags: tag %lld, '%s', cannot %s %s%s%s in %s",
                                (long long)(i < n ? i : n - 1), tags[i < n ? i : n - 1],
                                i == n   ? "end"
                                : i == 0 ? "begin"
                                         : "follow",
                                i == 0 || i == n ? "a sentence" : "'",
                                i == 0 || i == n ? "" : tags[i - 1], i == 0 || i == n ? "" : "'",
                                schemes[scheme]);
        before = now;
    }
    return true;
}

/* The letter of a tag in a scheme: does a span begin with it, does it end with it, and does one of
 * its type end just before? */
static char letter_in(wf_tag_scheme scheme, bool first, bool last, bool touches)
{
    switch (scheme) {
    case WF_IOB1: return first && touches ? 'B' : 'I';
    case WF_IOB2: return first ? 'B' : 'I';
    default: return first ? (last ? 'S' : 'B') : last ? 'E' : 'I';
    }
}

bool wf_tags_convert(wf_tag_scheme to, int64_t n, char *const *tags, wf_error *error)
{
    wf_error_clear(error);
    if (!scheme_given(to, error) || !tags_given("tags", "", n, (const char *const *)tags, error))
        return false;
    tag before = outside, now = n > 0 ? tag_of(tags[0]) : outside;
    for (int64_t i = 0; i < n; i++) {
        const tag after = i + 1 < n ? tag_of(tags[i + 1]) : outside;
        const bool first = begins(before, now), last = ends(now, after);
        if (now.letter != 'O') tags[i][0] = letter_in(to, first, last, same_type(before, now));
        before = now;
        now = after;
    }
    return true;
}

static bool is_form(const wf_tensor *x, int rank, int64_t n)
{
    if (!x || !wf_dtype_is_float(x->dtype) || x->rank != rank || !x->data) return false;
    for (int k = 0; k < rank; k++)
        if (x->dim[k] != n) return false;
    return true;
}

static void forbid(const wf_tensor *x, int64_t i, int64_t j)
{
    const int64_t at = i * x->stride[0] + (x->rank == 2 ? j * x->stride[1] : 0);
    wf_dtype_describe(x->dtype)->store(x->data, at, -(double)INFINITY);
}

bool wf_tags_forbid(wf_tag_scheme scheme, int64_t n, const char *const *tags,
                    const wf_tensor *start, const wf_tensor *end, const wf_tensor *between,
                    wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (!scheme_given(scheme, error) || !tags_given("tags", "", n, tags, error)) return false;
    if (!is_form(start, 1, n) || !is_form(end, 1, n) || !is_form(between, 2, n))
        return wf_error_set(error,
                            "tags: the transitions must be f32 or f64 of shapes (%lld), (%lld) and "
                            "(%lld, %lld)",
                            (long long)n, (long long)n, (long long)n, (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const tag from = tag_of(tags[i]);
        const bool is = has_letter(scheme, from);
        if (!is || !may_follow(scheme, outside, from)) forbid(start, i, 0);
        if (!is || !may_follow(scheme, from, outside)) forbid(end, i, 0);
        for (int64_t j = 0; j < n; j++) {
            const tag to = tag_of(tags[j]);
            if (!is || !has_letter(scheme, to) || !may_follow(scheme, from, to))
                forbid(between, i, j);
        }
    }
    return true;
}

/* ---- spans, counted ---- */

struct wf_spans {
    word_table types;
    growing counts; /* wf_span_counts, of each type */
    wf_span_counts all;
};

wf_spans *wf_spans_new(wf_error *error)
{
    wf_error_clear(error);
    return text_memory(wf_alloc_zero(sizeof(wf_spans)), sizeof(wf_spans), "spans", error);
}

void wf_spans_free(wf_spans *s)
{
    if (!s) return;
    words_free(&s->types);
    growing_free(&s->counts);
    wf_release(s);
}

void wf_spans_clear(wf_spans *s)
{
    if (!s) return;
    s->all = (wf_span_counts){ 0 };
    if (s->counts.bytes) memset(s->counts.at, 0, (size_t)s->counts.bytes);
}

static wf_span_counts *counts_of(const wf_spans *s, int64_t type)
{
    return (wf_span_counts *)(void *)s->counts.at + type;
}

/* Makes room for the types of these tags, all with counts of 0 where they are new. */
static bool enter_types(wf_spans *s, int64_t n, const char *const *tags, wf_error *error)
{
    for (int64_t i = 0; i < n; i++) {
        const tag t = tag_of(tags[i]);
        if (t.letter == 'O') continue;
        const int64_t type = words_enter(&s->types, t.type, (int64_t)strlen(t.type), "spans",
                                         error);
        if (type < 0) return false;
        while (s->counts.bytes <= type * (int64_t)sizeof(wf_span_counts)) {
            wf_span_counts *more = growing_more(&s->counts, sizeof *more, "spans", error);
            if (!more) return false;
            *more = (wf_span_counts){ 0 };
        }
    }
    return true;
}

/* One more of a kind, of this type and in all. */
#define ONE_MORE(s, t, kind)                                                                       \
    ((s)->all.kind++,                                                                              \
     counts_of(s, words_find(&(s)->types, (t).type, (int64_t)strlen((t).type)))->kind++)

bool wf_spans_add(wf_spans *s, int64_t n, const char *const *found, const char *const *truth,
                  wf_error *error)
{
    wf_error_clear(error);
    if (!s) return wf_error_set(error, "spans: it was never made (NULL)");
    if (!tags_given("spans", "found ", n, found, error) ||
        !tags_given("spans", "true ", n, truth, error) || !enter_types(s, n, found, error) ||
        !enter_types(s, n, truth, error))
        return false;
    tag said = outside, is = outside; /* of the word before */
    bool open = false;                /* both are in spans that began together and have one type */
    for (int64_t i = 0; i <= n; i++) {
        const tag now = i < n ? tag_of(found[i]) : outside;
        const tag really = i < n ? tag_of(truth[i]) : outside;
        if (open && ends(said, now) && ends(is, really)) ONE_MORE(s, is, right);
        if (ends(said, now) || ends(is, really)) open = false;
        if (begins(said, now)) ONE_MORE(s, now, found);
        if (begins(is, really)) ONE_MORE(s, really, truth);
        if (begins(said, now) && begins(is, really)) open = same_type(now, really);
        s->all.words += i < n;
        s->all.right_words += i < n && !strcmp(found[i], truth[i]);
        said = now;
        is = really;
    }
    return true;
}

wf_span_counts wf_spans_count(const wf_spans *s)
{
    return s ? s->all : (wf_span_counts){ 0 };
}

/* ---- types in order ---- */

/* Has it a span? Those that had some before wf_spans_clear are kept, with zeros. */
static bool occurs(const wf_spans *s, int64_t type)
{
    return type * (int64_t)sizeof(wf_span_counts) < s->counts.bytes &&
           (counts_of(s, type)->found > 0 || counts_of(s, type)->truth > 0);
}

int64_t wf_spans_types(const wf_spans *s)
{
    int64_t n = 0;
    for (int64_t i = 0; s && i < s->types.n; i++) n += occurs(s, i);
    return n;
}

const char *wf_spans_type(const wf_spans *s, int64_t i, wf_span_counts *counts)
{
    if (counts) *counts = (wf_span_counts){ 0 };
    for (int64_t type = 0; s && type < s->types.n; type++) {
        if (!occurs(s, type)) continue;
        int64_t before = 0;
        for (int64_t k = 0; k < s->types.n; k++)
            before += occurs(s, k) &&
                      strcmp(words_letters(&s->types, k), words_letters(&s->types, type)) < 0;
        if (before != i) continue;
        if (counts) *counts = *counts_of(s, type);
        return words_letters(&s->types, type);
    }
    return NULL;
}

/* ---- scores ---- */

static double part(int64_t of, int64_t all)
{
    return all > 0 ? (double)of / (double)all : 0;
}

wf_span_scores wf_span_scores_of(const wf_span_counts *c)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if (!c) return (wf_span_scores){ 0 };
    return (wf_span_scores){ .precision = part(c->right, c->found),
                             .recall = part(c->right, c->truth),
                             .f1 = part(2 * c->right, c->found + c->truth),
                             .accuracy = part(c->right_words, c->words) };
}

/* As the script computes them, so that the last digit is its own: percentages, and F1 of these. */
static size_t scores_text(const wf_span_counts *c, char *text, size_t bytes)
{
    const double precision = c->found ? 100.0 * (double)c->right / (double)c->found : 0;
    const double recall = c->truth ? 100.0 * (double)c->right / (double)c->truth : 0;
    const double f1 = c->right ? 2 * precision * recall / (precision + recall) : 0;
    return wf_format(text, bytes, "precision: %6.2f%%; recall: %6.2f%%; FB1: %6.2f", precision,
                     recall, f1);
}

size_t wf_spans_text(const wf_spans *s, char *text, size_t bytes)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    const wf_span_counts all = wf_spans_count(s);
    char scores[128];
    size_t n = 0;
    bytes = text ? bytes : 0;
    /* What comes next is written where there is still room. */
#define NEXT(...)                                                                                  \
    (n += wf_format(n < bytes ? text + n : NULL, n < bytes ? bytes - n : 0, __VA_ARGS__))
    NEXT("processed %lld tokens with %lld phrases; found: %lld phrases; correct: %lld.\n",
         (long long)all.words, (long long)all.truth, (long long)all.found, (long long)all.right);
    scores_text(&all, scores, sizeof scores);
    if (all.words)
        NEXT("accuracy: %6.2f%%; %s\n", 100.0 * (double)all.right_words / (double)all.words,
             scores);
    for (int64_t i = 0; i < wf_spans_types(s); i++) {
        wf_span_counts c;
        const char *type = wf_spans_type(s, i, &c);
        scores_text(&c, scores, sizeof scores);
        NEXT("%17s: %s  %lld\n", type, scores, (long long)c.found);
    }
#undef NEXT
    return n;
}
