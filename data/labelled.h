/* Texts with a class each: what a classifier of sentences learns from. */
#ifndef WEFT_DATA_LABELLED_H
#define WEFT_DATA_LABELLED_H

#include "data/text.h"

WF_BEGIN

typedef struct wf_labelled wf_labelled;

typedef struct wf_labelled_options {
    const char *label, *text; /* the columns of a table, by name or number; NULL: see below */
    bool as_is;               /* words are what white space separates; else see wf_text_separate */
    const void *reserved[4];
} wf_labelled_options;

/* From several files: each line that is not empty is a text of a class that is named as the file
 * is, "pos" of "folder/pos.txt". From one: a table (data/csv.h: commas, semicolons or tabs) with a
 * column of classes and one of texts; of two columns that are not named the one with fewer
 * different entries is the classes. UTF-8; "-" is standard input. Classes are numbered in the order
 * in which they come. Yours to free; NULL and the reason when a file cannot be read, is not UTF-8
 * or empty, when a class or a text is missing, or there is but one class. */
WF_API wf_labelled *wf_labelled_from_files(const char *const *paths, int64_t n,
                                           const wf_labelled_options *options, wf_error *error);
/* Begins without texts, to which _add adds copies. */
WF_API wf_labelled *wf_labelled_new(const wf_labelled_options *options, wf_error *error);
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
/* All numbers of classes, one for each text. */
WF_API const int32_t *wf_labelled_all(const wf_labelled *labelled);

/* Words and signs with spaces between, ASCII in lower case: "Great, isn't it?" becomes
 * "great , isn't it ?". An apostrophe, a hyphen, a slash, a point or a comma between two letters or
 * digits stays where it is; letters that are not ASCII stay as they are. Into `to`, at most `bytes`
 * and always terminated; returns the length that the whole has, at most 3 n. */
WF_API size_t wf_text_separate(const char *text, int64_t n, char *to, size_t bytes);

WF_END

#endif
