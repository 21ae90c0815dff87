/* Recordings that are put together and changed, and batches of their features: what makes many
 * utterances of few recordings. */
#ifndef WEFT_DATA_SOUND_H
#define WEFT_DATA_SOUND_H

#include "data/spectrum.h"

WF_BEGIN

/* A recording that grows: samples F32 (T). Begins as { 0 }; its memory is its own, kept from one
 * recording to the next, given back by wf_sound_free. */
typedef struct wf_sound {
    wf_tensor samples;
    void *memory;
    int64_t bytes;
} wf_sound;

/* Adds samples behind what is there: floats of (T) or (T, 1), any strides, not the sound's own.
 * They are read at `speed` times their own (Ko et al. 2015; 0: 1, as they are): at 1.1 they last
 * T / 1.1 samples and are higher by that; between samples they are interpolated linearly. _silence
 * adds n zeros. False and the reason, and nothing was added, when they do not fit, or there is no
 * memory. */
WF_API bool wf_sound_append(wf_sound *sound, const wf_tensor *samples, double speed,
                            wf_error *error);
WF_API bool wf_sound_silence(wf_sound *sound, int64_t n, wf_error *error);
/* Adds white noise to all samples: so many decibels below their mean power (the signal-to-noise
 * ratio). It depends on key alone; to silence none is added. */
WF_API void wf_sound_noise(wf_sound *sound, double decibels, uint64_t key);
/* Begins the next recording; gives the memory back. */
WF_API void wf_sound_clear(wf_sound *sound);
WF_API void wf_sound_free(wf_sound *sound);

/* The features of several recordings: F32 (T, B, features), zeros behind each end, and how many
 * frames each has, I32 (B), as wf_rnn and wf_ctc_loss take them. Begins as { 0 }; its memory is
 * kept from one batch to the next, and grows when a batch is larger than all before. */
typedef struct wf_features {
    wf_tensor values, lengths;
    void *memory;
    int64_t bytes;
} wf_features;

/* Fills batch from the samples of n recordings, each as wf_spectrum_compute takes them; recording b
 * is lane b. False and the reason (with the recording's number), and the batch is empty, when one
 * has too few samples or some that are not finite, or there is no memory. */
WF_API bool wf_features_compute(wf_features *batch, wf_spectrum *spectrum,
                                const wf_tensor samples[], int64_t n, wf_error *error);
WF_API void wf_features_free(wf_features *batch);

/* What of each recording is hidden. */
typedef struct wf_spec_augment_options {
    int64_t bands, stretches; /* of features, of time: how many; 0: 2 of each; -1: none */
    double band, stretch;     /* the widest, as a part of all features, of the recording's frames;
                               * 0: a third, a tenth */
    const void *reserved[4];
} wf_spec_augment_options;
/* SpecAugment without warping (Park et al. 2019): bands of neighbouring features and stretches of
 * frames become 0, the mean of features that were made with .normalise. Each is as wide as it is
 * drawn, from 0 on, and anywhere; what is drawn depends on key, the lane and the recording's
 * length alone. NULL options are all zero. False and the reason, and nothing was hidden, when they
 * make no sense. */
WF_API bool wf_spec_augment(wf_features *batch, const wf_spec_augment_options *options,
                            uint64_t key, wf_error *error);

WF_END

#endif
