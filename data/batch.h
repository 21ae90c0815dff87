/* Sequences as batches: padded to one length, and drawn in a random order. */
#ifndef WEFT_DATA_BATCH_H
#define WEFT_DATA_BATCH_H

#include "tensor/tensor.h"

WF_BEGIN

/* The ids of one sequence, n of them; borrowed. */
typedef struct wf_ids {
    const int32_t *at;
    int64_t n;
} wf_ids;

typedef struct wf_pad_options {
    int64_t time;  /* steps of the batch; 0: as many as the longest sequence has */
    bool truncate; /* longer sequences are cut to .time; else they are refused */
    bool keep_end; /* cut off their beginning, not their end */
    int32_t pad;   /* the id after a sequence's end */
    const void *reserved[4];
} wf_pad_options;

/* A batch of ids I32 (T, B), padded behind each end, and lengths I32 (B), as wf_rnn and
 * wf_length_mask take them. Begins as { 0 }; its memory is kept from one wf_pad to the next, and
 * grows when a batch is larger than all before. */
typedef struct wf_padded {
    wf_tensor ids, lengths;
    void *memory; /* its own: from wf_alloc, given back by wf_padded_free */
    int64_t bytes;
} wf_padded;

/* Fills batch from n sequences, sequence b becoming column b. False and the reason, and batch as it
 * was, when one is missing or longer than .time, or there is no memory. NULL options are all
 * zero. */
WF_API bool wf_pad(wf_padded *batch, const wf_ids *sequences, int64_t n,
                   const wf_pad_options *options, wf_error *error);
WF_API void wf_padded_free(wf_padded *batch);

/* The numbers 0 to n - 1 in an order that depends on n and seed alone, each order as likely as any
 * other (Fisher and Yates; Durstenfeld 1964): out[0..n-1]. n below 1: nothing. */
WF_API void wf_permutation(int64_t n, uint64_t seed, int64_t *out);

WF_END

#endif
