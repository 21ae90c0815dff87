/* Items put into parts: k folds for cross-validation, or training, validation and test. */
#ifndef WEFT_DATA_FOLDS_H
#define WEFT_DATA_FOLDS_H

#include "tensor/error.h"

WF_BEGIN

typedef struct wf_partition_options {
    uint64_t seed;
    const int32_t *labels; /* of each item: a part gets its share of each label (stratified); NULL:
                            * all alike */
    const int32_t *groups; /* of each item: those of one group (of one speaker, one document) come
                            * into one part; NULL: each is its own */
    const void *reserved[4];
} wf_partition_options;

/* Puts each of n items into one of k folds: fold[i] is that of item i. A pure function of n, k and
 * the options. No two folds differ by more than one item in all, nor in those of any label. With
 * groups, the largest comes first, each into the fold where the chi-square statistic of labels (or
 * sizes) against equal shares then grows least. False and the reason, and fold as it was, when k is
 * below 1, or above the number of items, or of groups; or when there is no memory. NULL options are
 * all zero. */
WF_API bool wf_kfold(int64_t n, int64_t k, const wf_partition_options *options, int32_t *fold,
                     wf_error *error);

/* The same with parts of given sizes, as fractions of the fractions' sum (0.8, 0.1, 0.1; or 8, 1
 * and 1): part[i] is that of item i, 0 to parts - 1. Each part is within one item of its share of
 * all, and within two of its share of any label (the quota method: Balinski and Young 1975). False
 * when fractions are not finite, below 0, or all 0. */
WF_API bool wf_partition(int64_t n, const double *fractions, int64_t parts,
                         const wf_partition_options *options, int32_t *part, wf_error *error);

/* The items i that have part[i] == which (`others`: that do not: what a fold learns from), in their
 * order: at most `room` are written, and how many there are is returned. */
WF_API int64_t wf_partition_items(const int32_t *part, int64_t n, int32_t which, bool others,
                                  int64_t *items, int64_t room);

WF_END

#endif
