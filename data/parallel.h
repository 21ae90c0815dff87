/* Parallel text: sentences and their translations, line by line, as ids to learn from. */
#ifndef WEFT_DATA_PARALLEL_H
#define WEFT_DATA_PARALLEL_H

#include "data/batch.h"
#include "data/vocab.h"

WF_BEGIN

/* Pairs of sentences. Line i of one text belongs to line i of the other; a line ends with U+000A or
 * with U+000D U+000A, the last one also with its text. A line of nothing but white space is a
 * sentence of no tokens. What a token is (a word, a letter) is its vocabulary's choice. */
typedef struct wf_parallel wf_parallel;
typedef enum wf_side { WF_SOURCE = 0, WF_TARGET = 1 } wf_side;

typedef struct wf_parallel_options {
    int64_t max_length; /* tokens of a sentence, <bos> and <eos> not counted; 0: no limit */
    bool cut;           /* a longer sentence loses what is behind; else its pair is left
                                  * out */
    bool drop_empty;    /* pairs in which a side has no tokens are left out */
    bool source_bos, source_eos; /* a source begins with <bos>, ends with <eos>, as targets do */
    const void *reserved[4];
} wf_parallel_options;

/* Two UTF-8 files (a pipe will do, and one may be "-", standard input), or two texts in memory,
 * which are copied. A byte order mark at the start of a text is skipped. The vocabularies, which
 * may be the same one, are only read while it is made. NULL and the reason when a text is missing,
 * a folder, not UTF-8 or holds U+0000; when there are more lines on one side than on the other, or
 * no pair is left; or when an option makes no sense. NULL options are all zero. Yours to free. */
WF_API wf_parallel *wf_parallel_new(const char *source, const char *target,
                                    const wf_vocab *source_vocab, const wf_vocab *target_vocab,
                                    const wf_parallel_options *options, wf_error *error);
WF_API wf_parallel *wf_parallel_from_parts(const wf_text *source, const wf_text *target,
                                           const wf_vocab *source_vocab,
                                           const wf_vocab *target_vocab,
                                           const wf_parallel_options *options, wf_error *error);
WF_API void wf_parallel_free(wf_parallel *parallel);

/* What became of the texts; [WF_SOURCE] and [WF_TARGET] where there is one of each side. */
typedef struct wf_parallel_counts {
    int64_t lines, pairs;    /* lines of each text; pairs of them that are kept */
    int64_t too_long, empty; /* pairs left out: longer than .max_length; else with an empty side */
    int64_t cut[2];          /* sentences kept that lost their end */
    int64_t tokens[2];       /* in the sentences kept, without <bos> and <eos> */
    int64_t unknown[2];      /* of these, those that are <unk> */
    int64_t longest[2];      /* tokens of the longest sentence kept, without <bos> and <eos> */
} wf_parallel_counts;
WF_API wf_parallel_counts wf_parallel_count(const wf_parallel *parallel);

/* Pair i of 0 .. pairs - 1, in the order of the lines; everything lives as long as the parallel
 * text, and is all zero out of range. Its ids: of a target with <bos> before and <eos> behind, also
 * where it was cut; of a source with those that were asked for. Its text as it stands in its line,
 * uncut and without its line end, for references (not terminated; .name is NULL). Its line, from 1
 * (0: no such pair). */
WF_API wf_ids wf_parallel_ids(const wf_parallel *parallel, wf_side side, int64_t i);
WF_API wf_text wf_parallel_text(const wf_parallel *parallel, wf_side side, int64_t i);
WF_API int64_t wf_parallel_line(const wf_parallel *parallel, int64_t i);
/* A number by which a checkpoint knows the pairs again: equal ids have the same (FNV-1a). 0 of
 * NULL. */
WF_API uint64_t wf_parallel_hash(const wf_parallel *parallel);

/* ---- batches ---- */

/* Batches of pairs of similar length. */
typedef struct wf_buckets wf_buckets;

typedef enum wf_bucket_order {
    WF_BUCKETS_SHUFFLED = 0, /* similar lengths, equal ones in a random order; then the batches in a
                              * random order: both depend on (seed, epoch) alone */
    WF_BUCKETS_SORTED,       /* short to long, the same in each epoch: quick to evaluate */
    WF_BUCKETS_IN_ORDER,     /* as the lines are, the same in each epoch */
} wf_bucket_order;

typedef struct wf_buckets_options {
    int64_t max_tokens;    /* of a batch, padding included, on its longer side: max(S, T) * B;
                            * 0: no limit */
    int64_t max_sentences; /* of a batch, B; 0: no limit, but then .max_tokens must be given */
    wf_bucket_order order;
    int64_t pool; /* shuffled only: as many pairs, drawn anew in each epoch, are sorted by length
                   * among themselves, so that a sentence meets others than those next in length;
                   * 0: all together, which pads least */
    uint64_t seed;
    const void *reserved[4];
} wf_buckets_options;

/* Batches of `data`, which is borrowed and must outlive them. NULL and the reason when an option
 * makes no sense, or a pair alone is above .max_tokens. Yours to free. */
WF_API wf_buckets *wf_buckets_new(const wf_parallel *data, const wf_buckets_options *options,
                                  wf_error *error);
WF_API void wf_buckets_free(wf_buckets *buckets);

/* A batch for an encoder and a decoder that is taught with the true words (teacher forcing), ids
 * and lengths I32: source (S, B); before (T, B), what the decoder reads, <bos> first; after (T, B),
 * what it is to say, <eos> last; WF_PAD behind each end. S and T are the longest of the batch. */
typedef struct wf_pairs {
    wf_tensor source, source_lengths; /* (S, B), (B) */
    wf_tensor before, after;          /* (T, B) */
    wf_tensor target_lengths;         /* (B): tokens of a sentence, and one more for <eos> */
    const int64_t *pair;              /* of column b: which pair of the data it is */
    int64_t count, tokens;            /* B; the sum of target_lengths */
} wf_pairs;

/* The next batch, good until the next call of this or of seek; NULL, once, when the epoch is over:
 * then the next one has begun, which the call after that reads. Never fails, never allocates. NULL
 * of NULL. */
WF_API const wf_pairs *wf_buckets_next(wf_buckets *buckets);

/* The batches of the epoch that is being read; which epoch that is (from 0), and how many of its
 * batches were handed out: what a checkpoint keeps. Seeking there goes on as if all before had just
 * been read. Seek is false, and nothing changes, for a place that there is not. */
WF_API int64_t wf_buckets_count(const wf_buckets *buckets);
WF_API int64_t wf_buckets_epoch(const wf_buckets *buckets);
WF_API int64_t wf_buckets_position(const wf_buckets *buckets);
WF_API bool wf_buckets_seek(wf_buckets *buckets, int64_t epoch, int64_t position);

WF_END

#endif
