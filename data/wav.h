/* Sound in WAV files (RIFF): read as samples between -1 and 1, and written in 16 bits. */
#ifndef WEFT_DATA_WAV_H
#define WEFT_DATA_WAV_H

#include "tensor/tensor.h"

WF_BEGIN

/* A recording. samples: F32 (time, channels), row-major; a sample of b bits is what it says over
 * 2^(b - 1), so -1 <= x < 1 (8 bits have their zero at 128); floats are taken as they are. */
typedef struct wf_wav {
    wf_tensor samples;
    int64_t rate; /* samples of each channel in a second, 1 or more */
} wf_wav;

typedef struct wf_wav_options {
    bool mono; /* the mean of all channels, as one */
    const void *reserved[4];
} wf_wav_options;

/* A whole recording, of a file (a pipe will do, and "-" is standard input) or of n bytes in memory,
 * which are copied: PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64, with any number of
 * channels, also under the extensible header; other chunks are passed over. NULL and the reason for
 * what is missing, a folder or no such file; for what is cut, in its header or in its samples (no
 * part is given for a whole), or whose sizes do not fit one another; for 0 Hz or 0 channels, other
 * encodings, and samples that are not finite. name is for messages. NULL options are all zero.
 * Yours to free. */
WF_API wf_wav *wf_wav_load(const char *path, const wf_wav_options *options, wf_error *error);
WF_API wf_wav *wf_wav_from_memory(const char *name, const void *bytes, int64_t n,
                                  const wf_wav_options *options, wf_error *error);
WF_API void wf_wav_free(wf_wav *wav);

/* Writes samples, F32 or F64 of (time) or (time, channels) and any strides, as PCM of 16 bits: x
 * becomes the nearest of 32768 x, at least -32768 and at most 32767. All or nothing, as
 * wf_file_write. False and the reason for NaN and infinities, for a rate outside 1 .. 2^32 - 1,
 * channels outside 1 .. 32767, and more samples than a WAV file has room for (4 GB). */
WF_API bool wf_wav_save(const char *path, const wf_tensor *samples, int64_t rate, wf_error *error);

WF_END

#endif
