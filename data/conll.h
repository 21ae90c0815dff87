/* Columns of words and their tags as the CoNLL tasks have them: read, as ids in batches, and
 * written again with a column more. */
#ifndef WEFT_DATA_CONLL_H
#define WEFT_DATA_CONLL_H

#include "data/batch.h"
#include "data/spans.h"
#include "data/vocab.h"

WF_BEGIN

/* Sentences of words: a line is a word, its fields are columns, an empty line ends a sentence, and
 * so does one whose first field is -DOCSTART-, which is no word. Lines end with U+000A, a U+000D
 * before it or not. */
typedef struct wf_conll wf_conll;

typedef struct wf_conll_options {
    char separator;      /* of fields; 0: spaces and tabs, one or more */
    const char *comment; /* lines that begin so are no words ("# " in CoNLL-U); NULL: none */
    int64_t columns;     /* that there must be; 0: as many as the first word has */
    const void *reserved[4];
} wf_conll_options;

/* A UTF-8 file (a pipe will do; "-" is standard input), or a text in memory, which is copied. NULL
 * and the reason when it is missing, a folder, not UTF-8 or holds U+0000; when a word has another
 * number of columns, with its line; when there is no word; or when an option makes no sense. NULL
 * options are all zero. Yours to free. */
WF_API wf_conll *wf_conll_new(const char *path, const wf_conll_options *options, wf_error *error);
WF_API wf_conll *wf_conll_from_text(const wf_text *text, const wf_conll_options *options,
                                    wf_error *error);
WF_API void wf_conll_free(wf_conll *conll);

/* Sentences; columns; words of all sentences (0 of NULL); words of one sentence (0 out of range),
 * none of which is empty. */
WF_API int64_t wf_conll_sentences(const wf_conll *conll);
WF_API int64_t wf_conll_columns(const wf_conll *conll);
WF_API int64_t wf_conll_words(const wf_conll *conll);
WF_API int64_t wf_conll_length(const wf_conll *conll, int64_t sentence);
/* The fields of a column of a sentence, as many as it has words, each terminated, in one list that
 * wf_spans_add takes: good as long as the table. NULL out of range. */
WF_API const char *const *wf_conll_fields(const wf_conll *conll, int64_t sentence, int64_t column);
/* Writes the tags of a column in a scheme (wf_tags_convert). False and the reason, with its
 * line, and nothing was changed, when one of them is no tag. */
WF_API bool wf_conll_convert(wf_conll *conll, int64_t column, wf_tag_scheme to, wf_error *error);

/* The vocabulary of a column of n sentences, or of its letters (wf_vocab_options); sentences NULL:
 * of all. */
WF_API wf_vocab *wf_conll_vocab(const wf_conll *conll, int64_t column, const int64_t *sentences,
                                int64_t n, const wf_vocab_options *options, wf_error *error);
/* The tags of a scheme for a tagger that learns from a column, of any scheme: O, and of each type
 * of span there, in the order of their bytes, all that it may need (B, I, with IOBES E and S),
 * whether they occur or not. NULL and the reason when a field is no tag. */
WF_API wf_vocab *wf_conll_tags(const wf_conll *conll, int64_t column, wf_tag_scheme scheme,
                               wf_error *error);
/* What wf_conll_batch makes of a field. */
typedef enum wf_conll_ids {
    WF_CONLL_WORDS = 0, /* its id, WF_UNK where it has none: I32 (T, B), and lengths (B) */
    WF_CONLL_TAGS,      /* its id less WF_SPECIAL_IDS, so that the first tag is 0, as wf_crf has
                         * them; one that has no id is refused: I32 (T, B), and lengths (B) */
    WF_CONLL_LETTERS,   /* the ids of its letters: I32 (letters, T * B), word t of sentence b being
                         * column t * B + b, and lengths (T * B), 0 behind a sentence's end */
} wf_conll_ids;
/* Fills batch from n sentences, sentence b of the list becoming column b; padded with WF_PAD (tags:
 * 0). False and the reason, and batch as it was, when a sentence or a column is not there, the
 * vocabulary is of another kind, or there is no memory. */
WF_API bool wf_conll_batch(wf_conll *conll, wf_conll_ids what, int64_t column,
                           const wf_vocab *vocab, const int64_t *sentences, int64_t n,
                           wf_padded *batch, wf_error *error);

/* The text again, each word's line with one field more behind it, of `more`, which has one for each
 * word of all sentences; all else as it was, but for tags that were converted. With separator 0
 * there is a tab before it where the line has one, else a space. NULL: no more fields. Terminated,
 * its length in *bytes, yours to wf_release. NULL and the reason when a field is missing, is empty,
 * or holds a separator or a line end. */
WF_API char *wf_conll_text(const wf_conll *conll, const char *const *more, int64_t *bytes,
                           wf_error *error);
/* The same with `more` into a file (wf_file_write: whole or not at all). */
WF_API bool wf_conll_save(const wf_conll *conll, const char *path, const char *const *more,
                          wf_error *error);

WF_END

#endif
