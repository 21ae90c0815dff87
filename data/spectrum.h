/* Sound as features of short frames: power spectra, log-mel energies, cepstra (MFCC), and how they
 * change (deltas); what a recogniser of speech or of music reads. */
#ifndef WEFT_DATA_SPECTRUM_H
#define WEFT_DATA_SPECTRUM_H

#include "tensor/tensor.h"

WF_BEGIN

/* What a frame becomes. */
typedef enum wf_spectrum_kind {
    WF_SPECTRUM_LOG_MEL = 0, /* the logarithms of mel energies */
    WF_SPECTRUM_MEL,         /* mel energies: sums of the power spectrum under each filter */
    WF_SPECTRUM_MFCC,        /* mel-frequency cepstral coefficients (Davis and Mermelstein 1980) */
    WF_SPECTRUM_POWER        /* |DFT|^2 of the bins 0 .. fft / 2 */
} wf_spectrum_kind;

/* Which frames there are of T samples. */
typedef enum wf_framing {
    WF_FRAMES_WITHIN = 0, /* those whose window lies within them: 1 + (T - window) / hop, as Kaldi
                           * has it (and librosa, center=False, where window = fft) */
    WF_FRAMES_CENTRED,    /* the middle of frame t is sample t hop, with zeros before the first and
                           * behind the last sample: 1 + T / hop, librosa's */
    WF_FRAMES_REFLECTED   /* the same with the samples mirrored there: torchaudio's; T > fft / 2 */
} wf_framing;

typedef enum wf_mel_scale {
    WF_MEL_SLANEY = 0, /* linear below 1000 Hz, logarithmic above (Slaney 1998): librosa's */
    WF_MEL_HTK         /* 2595 log10(1 + f / 700) (O'Shaughnessy 1987): torchaudio's */
} wf_mel_scale;

/* All zero but .rate is what recognisers of speech read: 80 log-mel energies of windows of 25 ms
 * every 10 ms. The window is Hann's, periodic (librosa's and torchaudio's), in the middle of the
 * DFT's samples; the others are zero. */
typedef struct wf_spectrum_options {
    int64_t rate; /* of the samples, in Hz */
    wf_spectrum_kind kind;
    wf_framing framing;
    int64_t window, hop; /* samples of a frame, and from frame to frame; 0: 25 ms, 10 ms */
    int64_t fft;         /* points of the DFT, at least .window; 0: the next power of two */
    double pre_emphasis; /* samples become x[t] - c x[t - 1], the first stays; 0: no; 0.97 */
    int64_t mels;        /* filters; 0: 80 */
    wf_mel_scale scale;
    double low, high; /* Hz that the filters lie between; 0: 0, half the rate */
    bool peaks;       /* filters have a peak of 1 (HTK, torchaudio); else an area of 1 (Slaney) */
    double floor;     /* what smaller energies are taken for; 0: 1e-10 */
    bool decibels;    /* 10 log10 instead of the natural logarithm: librosa's power_to_db */
    double range;     /* what lies more than this below the recording's largest logarithm is
                          * raised to that (top_db, in the same unit); 0: nothing is */
    int64_t cepstra;  /* of MFCC, from the 0th: DCT-II, orthonormal; 0: 13 */
    double lifter;    /* L: c[n] is multiplied by 1 + L / 2 sin(pi (n + 1) / L); 0: no */
    int64_t deltas;   /* orders of change added behind: 0, 1 or 2; features times 1 + deltas */
    int64_t reach;    /* frames on each side that a delta is taken from; 0: 2. It is
                          * sum n (x[t + n] - x[t - n]) / (2 sum n^2), n = 1 .. reach, the first and
                          * the last frame repeated (the HTK book; torchaudio's compute_deltas) */
    bool normalise;   /* each feature over the recording: mean 0, variance 1 (of one that does
                       * not change: 0) */
    bool together;    /* .normalise takes all features as one (of each order of deltas), so that
                       * what the recording sounds like on average is kept, but not how loud */
    const void *reserved[4];
} wf_spectrum_options;

/* What turns samples into features: tables, and memory that it uses again. One thread at a time.
 * NULL and the reason when an option makes no sense, or there is no memory. Yours to free. */
typedef struct wf_spectrum wf_spectrum;
WF_API wf_spectrum *wf_spectrum_new(const wf_spectrum_options *options, wf_error *error);
WF_API void wf_spectrum_free(wf_spectrum *spectrum);

/* The frames of so many samples (0: too few for one), and the features of each frame. */
WF_API int64_t wf_spectrum_frames(const wf_spectrum *spectrum, int64_t samples);
WF_API int64_t wf_spectrum_features(const wf_spectrum *spectrum);
/* The mel filters, F64 (mels, fft / 2 + 1); NULL of WF_SPECTRUM_POWER. */
WF_API const wf_tensor *wf_spectrum_filters(const wf_spectrum *spectrum);

/* Samples, floats of (T) or (T, 1) (wf_wav's with .mono), become features: floats of (frames,
 * features) in the caller's memory. Any strides: a lane of a padded batch (T, B, features) will do.
 * Computed in double. Memory is asked for only by a recording longer than all before. False and
 * the reason, and nothing was written, when shapes do not fit, there are too few samples for a
 * frame, one is not finite, or there is no memory. */
WF_API bool wf_spectrum_compute(wf_spectrum *spectrum, const wf_tensor *samples,
                                const wf_tensor *features, wf_error *error);

WF_END

#endif
