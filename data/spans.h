/* Spans that a tagger finds, named entities or chunks: tag schemes, and precision, recall and F1 as
 * conlleval has them (Tjong Kim Sang and Buchholz 2000). */
#ifndef WEFT_DATA_SPANS_H
#define WEFT_DATA_SPANS_H

#include "tensor/tensor.h"

WF_BEGIN

/* A tag is "O", or one of B, I, E and S, alone or with a hyphen and a type, which may have hyphens:
 * "B-PER". Terminated, UTF-8. */
typedef enum wf_tag_scheme {
    WF_IOB2 = 0, /* BIO: every span begins with B */
    WF_IOB1,     /* B only where a span of that type ends just before; else I */
    WF_IOBES,    /* BIOES: E ends a span, S is one of a single word */
} wf_tag_scheme;

/* Is it a sentence of the scheme? False with the first tag that cannot be where it is. */
WF_API bool wf_tags_check(wf_tag_scheme scheme, int64_t n, const char *const *tags,
                          wf_error *error);
/* Writes a sentence's tags in a scheme, in place: only first letters change. Spans are those that
 * wf_spans_add sees, so that tags of any scheme are read; what was no sentence of any becomes one.
 * False and the reason, and nothing was changed, when a tag is missing or none. */
WF_API bool wf_tags_convert(wf_tag_scheme to, int64_t n, char *const *tags, wf_error *error);
/* Which tag may follow which of n, all different, as numbers for a CRF (wf_crf): -inf is written
 * into between (n, n), from and to, into start (n) and end (n) where a tag may not be, and all else
 * is left as it is. Floats of any strides. False and the reason, and nothing was written, when a
 * tag is missing or none, or a shape or dtype is another. */
WF_API bool wf_tags_forbid(wf_tag_scheme scheme, int64_t n, const char *const *tags,
                           const wf_tensor *start, const wf_tensor *end, const wf_tensor *between,
                           wf_error *error);

/* Spans of sentence after sentence; the numbers of all so far may be asked for at any time. */
typedef struct wf_spans wf_spans;

/* NULL and the reason when there is no memory. Yours to free. */
WF_API wf_spans *wf_spans_new(wf_error *error);
WF_API void wf_spans_free(wf_spans *spans);
/* Forgets all sentences. */
WF_API void wf_spans_clear(wf_spans *spans);

/* Adds a sentence of n words: the tags found, and the true ones. No tags are wrong: a span begins
 * at B and S, and at I and E behind O, E, S or another type; it ends with E and S, before the next
 * one and before O. That is conlleval.pl with IOB1 and IOB2, and for E and S seqeval, as that
 * script's rules miss a B behind an E. A span is found when its ends and its type are. False and
 * the reason, and nothing was added, when a tag is missing or none, or there is no memory, which is
 * asked for only when a type is new. */
WF_API bool wf_spans_add(wf_spans *spans, int64_t n, const char *const *found,
                         const char *const *truth, wf_error *error);

typedef struct wf_span_counts {
    int64_t right, found, truth; /* spans: found rightly, found, there */
    int64_t words, right_words;  /* words; those with the right tag. 0 of a single type */
} wf_span_counts;
/* Of all spans (zero of NULL). */
WF_API wf_span_counts wf_spans_count(const wf_spans *spans);
/* How many types there are; the name of type i in the order of their bytes, good until the next
 * sentence, and its counts (may be NULL). NULL and all zero out of range. */
WF_API int64_t wf_spans_types(const wf_spans *spans);
WF_API const char *wf_spans_type(const wf_spans *spans, int64_t i, wf_span_counts *counts);

/* Of some counts, 0 to 1: right / found, right / truth, their harmonic mean, and right_words /
 * words; each 0 where it would be 0 / 0. */
typedef struct wf_span_scores {
    double precision, recall, f1, accuracy;
} wf_span_scores;
WF_API wf_span_scores wf_span_scores_of(const wf_span_counts *counts);

/* The report of conlleval.pl to the letter, into text (at most bytes, always terminated); returns
 * the length that the whole would have. */
WF_API size_t wf_spans_text(const wf_spans *spans, char *text, size_t bytes);

WF_END

#endif
