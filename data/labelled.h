/* Texts with a class each: what a classifier of sentences learns from. */
#ifndef WEFT_DATA_LABELLED_H
#define WEFT_DATA_LABELLED_H

#include "data/batch.h"
#include "data/text.h"
#include "data/vocab.h"

WF_BEGIN

typedef struct wf_labelled wf_labelled;

typedef struct wf_labelled_options {
    const char *label, *text; /* the columns of a table, by name or number; NULL: see below */
    bool as_is;               /* words are what white space separates; else see wf_text_separate */
    const char *known;        /* classes by number, a name a line, as a saved model has them
                               * (wf_labelled_known): a text of another is refused; NULL: any */
    const void *reserved[4];
} wf_labelled_options;

/* From several files: each line that is not empty is a text of a class that is named as the file
 * is, "pos" of "folder/pos.txt". From one: a table (data/csv.h: commas, semicolons or tabs) with a
 * column of classes and one of texts; of two columns that are not named the one with fewer
 * different entries is the classes, of more they must be named. Rows without a text are left out.
 * UTF-8; "-" is standard input. Classes are numbered in the order in which they come. Yours to
 * free; NULL and the reason when a file cannot be read, is not UTF-8 or empty, when a class is
 * missing, or there is but one (and none is known). */
WF_API wf_labelled *wf_labelled_from_files(const char *const *paths, int64_t n,
                                           const wf_labelled_options *options, wf_error *error);
/* Begins without texts, to which _add adds copies of one and _add_files of all that files hold, in
 * either form. */
WF_API wf_labelled *wf_labelled_new(const wf_labelled_options *options, wf_error *error);
WF_API bool wf_labelled_add_files(wf_labelled *labelled, const char *const *paths, int64_t n,
                                  wf_error *error);
WF_API bool wf_labelled_add(wf_labelled *labelled, const char *label, const char *text, int64_t n,
                            wf_error *error);
WF_API void wf_labelled_free(wf_labelled *labelled);

/* How many there are; each text (words as they were separated) and the number of its class; the
 * name of a class. Out of range: nothing, -1, NULL. */
WF_API int64_t wf_labelled_count(const wf_labelled *labelled);
WF_API wf_text wf_labelled_text(const wf_labelled *labelled, int64_t i);
WF_API int32_t wf_labelled_class(const wf_labelled *labelled, int64_t i);
WF_API int64_t wf_labelled_classes(const wf_labelled *labelled);
WF_API const char *wf_labelled_name(const wf_labelled *labelled, int64_t label);
/* All names, in an array; and a name a line, to be saved with a model and given back in .known
 * (NULL without memory). Good until the next text of a new class. */
WF_API const char *const *wf_labelled_names(const wf_labelled *labelled);
WF_API const char *wf_labelled_known(wf_labelled *labelled);
/* All numbers of classes, one for each text. */
WF_API const int32_t *wf_labelled_all(const wf_labelled *labelled);
/* What was understood, in a line, of classes the first twenty: "662 texts of 3 classes: Romeo 160,
 * Petruchio 158, Menenius 344 (classes are in column who, texts in what was said; 3 rows without a
 * text are left out)". Into text (at most bytes, always terminated); returns the length that the
 * whole would have. */
WF_API size_t wf_labelled_report(const wf_labelled *labelled, char *text, size_t bytes);

/* The vocabulary of n texts by number, the training part say (NULL: of all). */
WF_API wf_vocab *wf_labelled_vocab(const wf_labelled *labelled, const int64_t *texts, int64_t n,
                                   const wf_vocab_options *options, wf_error *error);

/* Words and signs with spaces between, ASCII in lower case: "Great, isn't it?" becomes
 * "great , isn't it ?". An apostrophe, a hyphen, a slash, a point or a comma between two letters or
 * digits stays where it is; letters that are not ASCII stay as they are. Into `to`, at most `bytes`
 * and always terminated; returns the length that the whole has, at most 3 n. */
WF_API size_t wf_text_separate(const char *text, int64_t n, char *to, size_t bytes);
/* The ids of the words of a text, separated so. False and the reason, and none, when it is not
 * UTF-8, the vocabulary is one of letters, or there is no memory; yours to free by
 * wf_text_ids_free. */
WF_API bool wf_text_ids(const wf_vocab *vocab, const char *text, int64_t n, wf_ids *ids,
                        wf_error *error);
WF_API void wf_text_ids_free(wf_ids *ids);

WF_END

#endif
