/* Padding and shuffling: what stands between a list of sequences and a batch. */
#include "data/batch.h"

#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/size.h"

#include <string.h>

/* The batch's steps, or -1 and the reason. */
static int64_t time_of(const wf_ids *s, int64_t n, const wf_pad_options *o, wf_error *error)
{
    int64_t longest = 0;
    if (n < 0 || (n > 0 && !s)) {
        wf_error_set(error, "pad: %lld sequences were promised and not given", (long long)n);
        return -1;
    }
    if (o->time < 0) {
        wf_error_set(error, "pad: .time is %lld; it must be 0 or more", (long long)o->time);
        return -1;
    }
    for (int64_t b = 0; b < n; b++) {
        if (s[b].n < 0 || (s[b].n > 0 && !s[b].at)) {
            wf_error_set(error, "pad: sequence (%lld) has %lld ids that were not given",
                         (long long)b, (long long)s[b].n);
            return -1;
        }
        if (o->time > 0 && s[b].n > o->time && !o->truncate) {
            wf_error_set(error,
                         "pad: sequence (%lld) has %lld ids; .time is %lld\n"
                         "  hint: .truncate cuts what is longer",
                         (long long)b, (long long)s[b].n, (long long)o->time);
            return -1;
        }
        if (s[b].n > longest) longest = s[b].n;
    }
    if (longest > INT32_MAX) {
        wf_error_set(error, "pad: a sequence of %lld ids is longer than i32 can say",
                     (long long)longest);
        return -1;
    }
    return o->time > 0 ? o->time : longest;
}

bool wf_pad(wf_padded *batch, const wf_ids *sequences, int64_t n, const wf_pad_options *options,
            wf_error *error)
{
    wf_error_clear(error);
    static const wf_pad_options none;
    const wf_pad_options *o = options ? options : &none;
    int64_t bytes;
    if (!batch) return wf_error_set(error, "pad: there is no batch to fill (NULL)");
    const int64_t time = time_of(sequences, n, o, error);
    if (time < 0) return false;
    /* The lengths stand behind the ids; one number more, so that an empty batch lies somewhere. */
    const bool fits = wf_size_add(time, 1, &bytes) && wf_size_mul(bytes, n, &bytes) &&
                      wf_size_add(bytes, 1, &bytes) &&
                      wf_size_mul(bytes, (int64_t)sizeof(int32_t), &bytes);
    if (!fits) bytes = INT64_MAX;
    if (bytes > batch->bytes) {
        void *memory = fits ? wf_alloc((size_t)bytes) : NULL;
        if (!memory)
            return wf_error_set(error, "pad: not enough memory for %lld bytes", (long long)bytes);
        wf_release(batch->memory);
        batch->memory = memory;
        batch->bytes = bytes;
    }
    int32_t *ids = batch->memory, *lengths = ids + time * n;
    batch->ids = wf_tensor_of(WF_I32, WF_SHAPE(time, n), ids);
    batch->lengths = wf_tensor_of(WF_I32, WF_SHAPE(n), lengths);
    for (int64_t b = 0; b < n; b++) {
        const int64_t all = sequences[b].n, length = all < time ? all : time;
        const int32_t *from = sequences[b].at;
        if (o->keep_end && all > length) from += all - length;
        for (int64_t t = 0; t < time; t++) ids[t * n + b] = t < length ? from[t] : o->pad;
        lengths[b] = (int32_t)length;
    }
    return true;
}

void wf_padded_free(wf_padded *batch)
{
    if (!batch) return;
    wf_release(batch->memory);
    memset(batch, 0, sizeof *batch);
}

void wf_permutation(int64_t n, uint64_t seed, int64_t *out)
{
    const uint64_t key = wf_key_named(seed, "permutation");
    if (!out) return;
    for (int64_t i = 0; i < n; i++) {
        /* The "inside-out" form: out[0..i] is a permutation of 0..i after each step. */
        const int64_t at = wf_random_below(key, (uint64_t)i, i + 1);
        out[i] = out[at];
        out[at] = i;
    }
}
