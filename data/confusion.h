/* What a classifier takes for what: the confusion matrix, precision, recall and F1 of classes, and
 * the area under the ROC curve. */
#ifndef WEFT_DATA_CONFUSION_H
#define WEFT_DATA_CONFUSION_H

#include "tensor/tensor.h"

WF_BEGIN

/* Counts of (true class, predicted class), batch by batch; its numbers may be asked for at any
 * time. */
typedef struct wf_confusion wf_confusion;

/* Of classes 0 to classes - 1, with a name for each in UTF-8, copied (NULL: their numbers). NULL
 * and the reason when classes is below 1, a name is missing or not UTF-8, or there is no memory.
 * Yours to free. */
WF_API wf_confusion *wf_confusion_new(int64_t classes, const char *const *names, wf_error *error);
WF_API void wf_confusion_free(wf_confusion *confusion);
/* Forgets all that was counted. */
WF_API void wf_confusion_clear(wf_confusion *confusion);

/* Adds predictions against targets, I32 of one shape: (B), or (T, B) with lengths I32 (B) that say
 * how many steps of each sequence count; NULL: all. Any strides. False and the reason, and nothing
 * was added, when shapes or dtypes are others, or an id that counts is no class. */
WF_API bool wf_confusion_add(wf_confusion *confusion, const wf_tensor *predicted,
                             const wf_tensor *target, const wf_tensor *lengths, wf_error *error);

/* How many classes; how often class `predicted` was said of class `target` (0 out of range); how
 * many items in all, and the part of them that is right (NaN of none). */
WF_API int64_t wf_confusion_classes(const wf_confusion *confusion);
WF_API int64_t wf_confusion_at(const wf_confusion *confusion, int64_t target, int64_t predicted);
WF_API int64_t wf_confusion_total(const wf_confusion *confusion);
WF_API double wf_confusion_accuracy(const wf_confusion *confusion);

/* Of a class: right / predicted, right / target, and the harmonic mean of both, each 0 where it
 * would be 0 / 0 (as scikit-learn has it). */
typedef struct wf_class_scores {
    double precision, recall, f1;
    int64_t right, predicted, target; /* items: both of the class, said to be, really are */
} wf_class_scores;
/* All zero out of range. */
WF_API wf_class_scores wf_confusion_class(const wf_confusion *confusion, int64_t i);

typedef enum wf_average {
    WF_MACRO = 0, /* the mean over classes that occur, as target or prediction */
    WF_WEIGHTED,  /* the same, each class counting as often as it is a target */
    WF_MICRO,     /* of all items as one: precision, recall and F1 are all the accuracy */
} wf_average;
/* .right, .predicted and .target are those of all classes together. All zero of nothing. */
WF_API wf_class_scores wf_confusion_average(const wf_confusion *confusion, wf_average average);

/* The matrix as a table: a row for each true class with its name, how often each class was said of
 * it, precision, recall and F1 as percentages; then the averages, of which micro is
 * the accuracy. Columns stand
 * under each other on a terminal, where letters of East Asia are twice as wide. Into text (at most
 * bytes, always terminated); returns the length that the whole would have. */
WF_API size_t wf_confusion_text(const wf_confusion *confusion, char *text, size_t bytes);

/* The area under the ROC curve: how likely a positive item has a higher score than a negative one,
 * equal scores counting one half (Mann and Whitney 1947). Scores are floats of any shape and
 * strides; labels I32 of that shape, 1 for positive and 0. False and the reason, and *area as it
 * was, when there is none of either, a label is another, a score is NaN, or there is no memory. */
WF_API bool wf_roc_area(const wf_tensor *scores, const wf_tensor *labels, double *area,
                        wf_error *error);

WF_END

#endif
