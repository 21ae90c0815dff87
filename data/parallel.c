/* Parallel text: both sides read line by line, counted, judged pair by pair, and kept as ids. */
#include "data/parallel.h"

#include "data/text_private.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

/* One side's sentences, by pair. */
typedef struct side {
    char *text;
    int64_t bytes;
    int64_t *start, *length; /* of its line in text; a line that is not kept is written over */
    int64_t *begin;          /* of its ids; one more, where all end */
    int32_t *ids;
} side;

struct wf_parallel {
    side side[2];
    int64_t *line;
    wf_parallel_counts is;
};

/* What is known while one is made. */
typedef struct reading {
    wf_parallel *p;
    const wf_vocab *vocab[2];
    const wf_parallel_options *o;
    char what[2 * WF_WHAT + 16]; /* "parallel 'train.de' and 'train.en'" */
    wf_error *error;
} reading;

static void *take(int64_t n, int64_t size, const char *what, wf_error *error)
{
    int64_t bytes = INT64_MAX;
    const bool fits = wf_size_mul(n, size, &bytes);
    return text_memory(fits ? wf_alloc((size_t)bytes) : NULL, bytes, what, error);
}

/* Copies a text after its byte order mark, if every byte of it is text. */
static bool copy_text(side *s, const wf_text *part, int64_t *lines, wf_error *error)
{
    char what[WF_WHAT];
    const wf_text text = text_body(part);
    int32_t letter;
    int64_t start, n;
    text_what(what, "parallel", text_name(part));
    for (int64_t at = 0; at < text.n;)
        if (!text_letter(text.bytes, text.n, &at, &letter, what, error)) return false;
    *lines = 0;
    for (int64_t at = 0; text_next_line(text.bytes, text.n, &at, &start, &n);) ++*lines;
    s->text = take(text.n + 1, 1, what, error);
    if (!s->text) return false;
    if (text.n) memcpy(s->text, text.bytes, (size_t)text.n);
    s->bytes = text.n;
    return true;
}

static bool make_lists(reading *r, int64_t lines)
{
    wf_parallel *p = r->p;
    const int64_t size = (int64_t)sizeof(int64_t);
    p->line = take(lines, size, r->what, r->error);
    for (int k = 0; k < 2; k++) {
        side *s = &p->side[k];
        s->start = p->line ? take(lines, size, r->what, r->error) : NULL;
        s->length = s->start ? take(lines, size, r->what, r->error) : NULL;
        s->begin = s->length ? take(lines + 1, size, r->what, r->error) : NULL;
        if (!s->begin) return false;
        s->begin[0] = 0;
    }
    return true;
}

/* The ids of a side's sentence that are no words of it. */
static int64_t marks(const wf_parallel_options *o, int k)
{
    return k == WF_TARGET ? 2 : o->source_bos + o->source_eos;
}

/* Is the pair of these many tokens kept? Counts it. */
static bool judge(reading *r, const int64_t tokens[2])
{
    const int64_t most = r->o->max_length > 0 ? r->o->max_length : INT64_MAX;
    wf_parallel_counts *is = &r->p->is;
    const bool longer[2] = { tokens[0] > most, tokens[1] > most };
    if ((longer[0] || longer[1]) && !r->o->cut) {
        is->too_long++;
        return false;
    }
    if (r->o->drop_empty && (tokens[0] == 0 || tokens[1] == 0)) {
        is->empty++;
        return false;
    }
    for (int k = 0; k < 2; k++) {
        const int64_t kept = longer[k] ? most : tokens[k];
        side *s = &r->p->side[k];
        is->cut[k] += longer[k];
        is->tokens[k] += kept;
        if (kept > is->longest[k]) is->longest[k] = kept;
        s->begin[is->pairs + 1] = s->begin[is->pairs] + kept + marks(r->o, k);
    }
    return true;
}

/* Chooses the pairs, and says where their ids will lie. */
static bool choose(reading *r)
{
    wf_parallel *p = r->p;
    int64_t at[2] = { 0, 0 }, tokens[2];
    for (int64_t line = 0; line < p->is.lines; line++) {
        for (int k = 0; k < 2; k++) {
            side *s = &p->side[k];
            int64_t *start = &s->start[p->is.pairs], *length = &s->length[p->is.pairs];
            text_next_line(s->text, s->bytes, &at[k], start, length);
            tokens[k] = wf_vocab_encode(r->vocab[k], s->text + *start, *length, NULL, 0, NULL);
        }
        p->line[p->is.pairs] = line + 1;
        p->is.pairs += judge(r, tokens);
    }
    if (p->is.pairs == 0)
        return wf_error_set(r->error,
                            "%s: no pair is left of %lld lines: %lld are longer than .max_length, "
                            "%lld have an empty side",
                            r->what, (long long)p->is.lines, (long long)p->is.too_long,
                            (long long)p->is.empty);
    if (p->is.longest[0] > INT32_MAX - 2 || p->is.longest[1] > INT32_MAX - 2)
        return wf_error_set(r->error, "%s: a sentence has more tokens than i32 can count", r->what);
    return true;
}

static bool write_ids(reading *r, int k)
{
    wf_parallel *p = r->p;
    side *s = &p->side[k];
    s->ids = take(s->begin[p->is.pairs], (int64_t)sizeof *s->ids, r->what, r->error);
    if (!s->ids && s->begin[p->is.pairs]) return false;
    for (int64_t i = 0; i < p->is.pairs; i++) {
        int32_t *to = s->ids + s->begin[i];
        const int64_t n = s->begin[i + 1] - s->begin[i] - marks(r->o, k);
        if (k == WF_TARGET || r->o->source_bos) *to++ = WF_BOS;
        wf_vocab_encode(r->vocab[k], s->text + s->start[i], s->length[i], to, n, NULL);
        for (int64_t j = 0; j < n; j++) p->is.unknown[k] += *to++ == WF_UNK;
        if (k == WF_TARGET || r->o->source_eos) *to = WF_EOS;
    }
    return true;
}

static bool read_both(reading *r, const wf_text *parts)
{
    int64_t lines[2];
    for (int k = 0; k < 2; k++)
        if (!copy_text(&r->p->side[k], &parts[k], &lines[k], r->error)) return false;
    if (lines[0] != lines[1])
        return wf_error_set(r->error,
                            "%s: %lld and %lld lines; each sentence needs the line of its "
                            "translation",
                            r->what, (long long)lines[0], (long long)lines[1]);
    if (lines[0] == 0) return wf_error_set(r->error, "%s: there are no lines", r->what);
    r->p->is.lines = lines[0];
    return make_lists(r, lines[0]) && choose(r) && write_ids(r, 0) && write_ids(r, 1);
}

wf_parallel *wf_parallel_from_parts(const wf_text *source, const wf_text *target,
                                    const wf_vocab *source_vocab, const wf_vocab *target_vocab,
                                    const wf_parallel_options *options, wf_error *error)
{
    wf_error_clear(error);
    static const wf_parallel_options none;
    char second[WF_WHAT];
    reading r = { .vocab = { source_vocab, target_vocab }, .o = options ? options : &none };
    r.error = error;
    if (!source || !target) {
        wf_error_set(error, "parallel: no %s text was given (NULL)", source ? "target" : "source");
        return NULL;
    }
    const wf_text parts[2] = { *source, *target };
    if (!text_given(parts, 2, "parallel", error)) return NULL;
    text_what(r.what, "parallel", text_name(source));
    wf_append(r.what, sizeof r.what, "%s", text_what(second, " and", text_name(target)));
    if (!source_vocab || !target_vocab) {
        wf_error_set(error, "%s: no %s vocabulary was given (NULL)", r.what,
                     source_vocab ? "target" : "source");
        return NULL;
    }
    if (r.o->max_length < 0) {
        wf_error_set(error, "%s: .max_length is %lld; it must be 0 or more", r.what,
                     (long long)r.o->max_length);
        return NULL;
    }
    r.p = text_memory(wf_alloc_zero(sizeof *r.p), sizeof *r.p, r.what, error);
    if (!r.p || read_both(&r, parts)) return r.p;
    wf_parallel_free(r.p);
    return NULL;
}

wf_parallel *wf_parallel_new(const char *source, const char *target, const wf_vocab *source_vocab,
                             const wf_vocab *target_vocab, const wf_parallel_options *options,
                             wf_error *error)
{
    wf_error_clear(error);
    wf_text *parts = text_take_all("parallel", (const char *[]){ source, target }, 2, error);
    wf_parallel *p = parts ? wf_parallel_from_parts(&parts[0], &parts[1], source_vocab,
                                                    target_vocab, options, error)
                           : NULL;
    text_release_all(parts, 2);
    return p;
}

void wf_parallel_free(wf_parallel *p)
{
    if (!p) return;
    for (int k = 0; k < 2; k++) {
        wf_release(p->side[k].text);
        wf_release(p->side[k].start);
        wf_release(p->side[k].length);
        wf_release(p->side[k].begin);
        wf_release(p->side[k].ids);
    }
    wf_release(p->line);
    wf_release(p);
}

/* ---- what it holds ---- */

wf_parallel_counts wf_parallel_count(const wf_parallel *p)
{
    return p ? p->is : (wf_parallel_counts){ 0 };
}

static const side *side_of(const wf_parallel *p, wf_side k, int64_t i)
{
    const bool there = p && (k == WF_SOURCE || k == WF_TARGET) && i >= 0 && i < p->is.pairs;
    return there ? &p->side[k] : NULL;
}

wf_ids wf_parallel_ids(const wf_parallel *p, wf_side k, int64_t i)
{
    const side *s = side_of(p, k, i);
    return s ? (wf_ids){ s->ids + s->begin[i], s->begin[i + 1] - s->begin[i] } : (wf_ids){ 0 };
}

wf_text wf_parallel_text(const wf_parallel *p, wf_side k, int64_t i)
{
    const side *s = side_of(p, k, i);
    return s ? (wf_text){ .bytes = s->text + s->start[i], .n = s->length[i] } : (wf_text){ 0 };
}

int64_t wf_parallel_line(const wf_parallel *p, int64_t i)
{
    return side_of(p, WF_SOURCE, i) ? p->line[i] : 0;
}

uint64_t wf_parallel_hash(const wf_parallel *p)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (int k = 0; p && k < 2; k++)
        for (int64_t i = 0; i < p->is.pairs; i++) {
            const wf_ids ids = wf_parallel_ids(p, (wf_side)k, i);
            /* The length too, or words could move to the sentence before. */
            hash = (hash ^ (uint64_t)ids.n) * 0x100000001b3;
            for (int64_t j = 0; j < ids.n; j++) hash = (hash ^ (uint32_t)ids.at[j]) * 0x100000001b3;
        }
    return p ? hash : 0;
}
