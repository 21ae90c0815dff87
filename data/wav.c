/* WAV files: a strict reader, for which every size in the header must fit the bytes that are there,
 * and a writer. */
#include "data/wav.h"

#include "data/text_private.h"
#include "tensor/par.h"
#include "tensor/private.h"
#include "tensor/size.h"

#include <math.h>
#include <string.h>

/* What a file is made of: "RIFF", the size of what follows, "WAVE", and chunks of a name, a size
 * and as many bytes, each with a byte more if that is odd. Numbers are little-endian. */
enum { HEAD = 8, RIFF = 12, FORMAT = 16, EXTENSIBLE = 40 };
enum { TAG_PCM = 1, TAG_FLOAT = 3, TAG_EXTENSIBLE = 0xFFFE };

/* All but the first two bytes, a tag, of the names that the extensible header gives encodings. */
static const unsigned char family[14] = { 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80,
                                          0x00, 0x00, 0xAA, 0x00, 0x38, 0x9B, 0x71 };

typedef struct layout {
    int64_t tag, channels, rate, frame, bits; /* frame: bytes of a sample of every channel */
    const unsigned char *samples;
    int64_t bytes;
} layout;

static uint32_t take16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t take32(const unsigned char *p)
{
    return take16(p) | take16(p + 2) << 16;
}

static uint64_t take64(const unsigned char *p)
{
    return take32(p) | (uint64_t)take32(p + 4) << 32;
}

/* ---- the header ---- */

static bool read_format(layout *l, const unsigned char *p, int64_t n, const char *what,
                        wf_error *error)
{
    if (n < FORMAT)
        return wf_error_set(error, "%s: its chunk 'fmt ' has %lld bytes; it takes %d or more", what,
                            (long long)n, FORMAT);
    l->tag = take16(p), l->channels = take16(p + 2), l->rate = take32(p + 4);
    l->frame = take16(p + 12), l->bits = take16(p + 14);
    if (l->tag == TAG_EXTENSIBLE && n < EXTENSIBLE)
        return wf_error_set(error, "%s: its extensible chunk 'fmt ' has %lld bytes; it takes %d",
                            what, (long long)n, EXTENSIBLE);
    if (l->tag == TAG_EXTENSIBLE && memcmp(p + 26, family, sizeof family) == 0)
        l->tag = take16(p + 24);
    const bool pcm = l->tag == TAG_PCM &&
                     (l->bits == 8 || l->bits == 16 || l->bits == 24 || l->bits == 32);
    if (!pcm && !(l->tag == TAG_FLOAT && (l->bits == 32 || l->bits == 64)))
        return wf_error_set(error,
                            "%s: samples of %lld bits in encoding %lld are not read; PCM (1) of 8, "
                            "16, 24 or 32 bits is, and floats (3) of 32 or 64",
                            what, (long long)l->bits, (long long)l->tag);
    if (l->channels < 1) return wf_error_set(error, "%s: it has 0 channels", what);
    if (l->rate < 1) return wf_error_set(error, "%s: its rate is 0 Hz", what);
    if (l->frame != l->channels * l->bits / 8)
        return wf_error_set(error,
                            "%s: %lld channels of %lld bits are said to take %lld bytes; they take "
                            "%lld",
                            what, (long long)l->channels, (long long)l->bits, (long long)l->frame,
                            (long long)(l->channels * l->bits / 8));
    return true;
}

/* Is this the beginning of a file that is there as a whole? */
static bool read_riff(const unsigned char *p, int64_t n, const char *what, wf_error *error)
{
    char shown[WF_SHOWN];
    if (n == 0) return wf_error_set(error, "%s: it is empty", what);
    if (memcmp(p, "RIFF", (size_t)(n < 4 ? n : 4)) != 0)
        return wf_error_set(error, "%s: this is not a WAV file: it does not begin with 'RIFF'",
                            what);
    if (n < RIFF)
        return wf_error_set(error, "%s: it is cut: %lld bytes are no header of a WAV file", what,
                            (long long)n);
    if (memcmp(p + HEAD, "WAVE", 4) != 0)
        return wf_error_set(error, "%s: this RIFF file holds '%s', not 'WAVE'", what,
                            wf_utf8_good((const char *)p + HEAD, 4) == 4
                                ? wf_shown(shown, sizeof shown, (const char *)p + HEAD, 4)
                                : "?");
    const int64_t size = take32(p + 4);
    if (size < 4)
        return wf_error_set(error, "%s: its header says that %lld bytes follow; 4 do at least",
                            what, (long long)size);
    /* The byte that makes the last chunk even is often left out. */
    if (size > n - HEAD + 1)
        return wf_error_set(error,
                            "%s: it is cut: its header says that %lld bytes follow, and "
                            "%lld do",
                            what, (long long)size, (long long)(n - HEAD));
    return true;
}

/* Finds the format and the samples behind it; what follows them is not looked at. */
static bool read_header(layout *l, const unsigned char *p, int64_t n, const char *what,
                        wf_error *error)
{
    if (!read_riff(p, n, what, error)) return false;
    const int64_t said = HEAD + (int64_t)take32(p + 4);
    if (said < n) n = said;
    for (int64_t at = RIFF; at < n;) {
        if (n - at < HEAD)
            return wf_error_set(error, "%s: it is cut: %lld bytes are no header of a chunk", what,
                                (long long)(n - at));
        const unsigned char *const chunk = p + at;
        const int64_t size = take32(chunk + 4), there = n - at - HEAD;
        const bool format = !memcmp(chunk, "fmt ", 4), data = !memcmp(chunk, "data", 4);
        if (size > there)
            return wf_error_set(
                error, "%s: it is cut: %s says that it has %lld bytes, and %lld are there", what,
                format ? "its chunk 'fmt '"
                : data ? "its chunk 'data'"
                       : "a chunk",
                (long long)size, (long long)there);
        if (format && !l->frame && !read_format(l, chunk + HEAD, size, what, error)) return false;
        if (data) {
            l->samples = chunk + HEAD, l->bytes = size;
            return l->frame ||
                   wf_error_set(error, "%s: no chunk 'fmt ' says what its samples are", what);
        }
        at += HEAD + size + size % 2;
    }
    return wf_error_set(error, "%s: it has no samples (no chunk 'data')", what);
}

/* ---- the samples ---- */

static double sample(const unsigned char *p, const layout *l)
{
    float single;
    double number;
    uint32_t bits = 0;
    uint64_t wide;
    switch (l->bits) {
    case 8: return ((double)p[0] - 128) / 128;
    case 16: bits = take16(p) << 16; break;
    case 24: bits = take16(p) << 8 | (uint32_t)p[2] << 24; break;
    case 32: bits = take32(p); break;
    default: wide = take64(p), memcpy(&number, &wide, sizeof number); return number;
    }
    if (l->tag == TAG_FLOAT) {
        memcpy(&single, &bits, sizeof single);
        return (double)single;
    }
    return (double)(int32_t)bits * 0x1p-31;
}

static bool read_samples(wf_wav *wav, const layout *l, bool mono, const char *what, wf_error *error)
{
    float *to = wav->samples.data;
    const unsigned char *p = l->samples;
    for (int64_t t = 0; t < wav->samples.dim[0]; t++) {
        double sum = 0;
        for (int64_t c = 0; c < l->channels; c++, p += l->bits / 8) {
            const double x = sample(p, l);
            /* What is no finite float is found here, not in a loss an hour later. */
            if (!isfinite((float)x))
                return wf_error_set(error, "%s: sample (%lld, %lld) is %g", what, (long long)t,
                                    (long long)c, x);
            sum += x;
            if (!mono) *to++ = (float)x;
        }
        if (mono) *to++ = (float)(sum / (double)l->channels);
    }
    return true;
}

static wf_wav *read_wav(const char *what, const void *bytes, int64_t n,
                        const wf_wav_options *options, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    const bool mono = options && options->mono;
    layout l = { 0 };
    if (!read_header(&l, bytes, n, what, error)) return NULL;
    if (l.bytes % l.frame) {
        wf_error_set(error, "%s: it is cut: %lld bytes of samples are no whole number of %lld",
                     what, (long long)l.bytes, (long long)l.frame);
        return NULL;
    }
    /* At most 4 bytes for each that is there, which is less than 2^32. */
    const int64_t time = l.bytes / l.frame, channels = mono ? 1 : l.channels;
    const int64_t room = WF_ALIGNMENT * 4 + time * channels * (int64_t)sizeof(float);
    _Static_assert(sizeof(wf_wav) <= WF_ALIGNMENT * 4, "the samples lie behind it");
    wf_wav *wav = text_memory(wf_alloc((size_t)room), room, what, error);
    if (!wav) return NULL;
    wav->rate = l.rate;
    wav->samples = wf_tensor_of(WF_F32, WF_SHAPE(time, channels), (char *)wav + WF_ALIGNMENT * 4);
    if (read_samples(wav, &l, mono, what, error)) return wav;
    wf_release(wav);
    return NULL;
}

wf_wav *wf_wav_load(const char *path, const wf_wav_options *options, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    int64_t n;
    char *bytes = text_take(text_what(what, "wav", path), path, 0, &n, error);
    wf_wav *wav = bytes ? read_wav(what, bytes, n, options, error) : NULL;
    wf_release(bytes);
    return wav;
}

wf_wav *wf_wav_from_memory(const char *name, const void *bytes, int64_t n,
                           const wf_wav_options *options, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    text_what(what, "wav", name ? name : "(memory)");
    if (n >= 0 && (bytes || n == 0)) return read_wav(what, bytes ? bytes : "", n, options, error);
    wf_error_set(error, "%s: no bytes were given", what);
    return NULL;
}

void wf_wav_free(wf_wav *wav)
{
    wf_release(wav);
}

/* ---- writing ---- */

enum { PLAIN = RIFF + HEAD + FORMAT + HEAD }; /* a header without anything else in it */

static void give16(unsigned char *p, int64_t number)
{
    p[0] = (unsigned char)number, p[1] = (unsigned char)(number >> 8);
}

static void give32(unsigned char *p, int64_t number)
{
    give16(p, number), give16(p + 2, number >> 16);
}

static void write_header(unsigned char *p, int64_t time, int64_t channels, int64_t rate)
{
    const int64_t bytes = time * channels * 2;
    memcpy(p, "RIFF....WAVEfmt ", 16);
    give32(p + 4, PLAIN - HEAD + bytes);
    give32(p + 16, FORMAT);
    give16(p + 20, TAG_PCM), give16(p + 22, channels), give32(p + 24, rate);
    give32(p + 28, rate * channels * 2), give16(p + 32, channels * 2), give16(p + 34, 16);
    memcpy(p + 36, "data", 4);
    give32(p + 40, bytes);
}

/* The time and the channels of what can be written; false and the reason. */
static bool measure(const wf_tensor *x, int64_t rate, int64_t *time, int64_t *channels,
                    const char *what, wf_error *error)
{
    if (!x || !wf_dtype_is_float(x->dtype) || (x->rank != 1 && x->rank != 2))
        return wf_error_set(error, "%s: samples are f32 or f64 of (time) or (time, channels)",
                            what);
    *time = x->dim[0], *channels = x->rank == 2 ? x->dim[1] : 1;
    const wf_shape shape = wf_tensor_shape(x);
    if (wf_shape_check(&shape, x->dtype, NULL) < 0 || (!x->data && *time && *channels))
        return wf_error_set(error, "%s: no samples were given", what);
    if (*channels < 1 || *channels > INT16_MAX)
        return wf_error_set(error, "%s: %lld channels cannot be written; 1 to 32767 can", what,
                            (long long)*channels);
    if (rate < 1 || rate > UINT32_MAX)
        return wf_error_set(error, "%s: a rate of %lld Hz cannot be written; 1 to 4294967295 can",
                            what, (long long)rate);
    if (*time > (UINT32_MAX - PLAIN) / 2 / *channels)
        return wf_error_set(error, "%s: %lld samples are more than a WAV file has room for", what,
                            (long long)wf_shape_count(&shape));
    return true;
}

static bool write_samples(unsigned char *p, const wf_tensor *x, int64_t channels, const char *what,
                          wf_error *error)
{
    const wf_dtype_info *kind = wf_dtype_describe(x->dtype);
    for (int64_t i = 0; i < wf_tensor_count(x); i++, p += 2) {
        const double value = kind->load(x->data, wf_tensor_offset(x, x->rank, i));
        if (!isfinite(value))
            return wf_error_set(error, "%s: sample (%lld, %lld) is %g", what,
                                (long long)(i / channels), (long long)(i % channels), value);
        const double scaled = nearbyint(value * 32768);
        give16(p, (int64_t)(scaled < -32768 ? -32768 : scaled > 32767 ? 32767 : scaled));
    }
    return true;
}

bool wf_wav_save(const char *path, const wf_tensor *samples, int64_t rate, wf_error *error)
{
    wf_error_clear(error);
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    char what[WF_WHAT];
    int64_t time = 0, channels = 0;
    text_what(what, "wav", path);
    if (!measure(samples, rate, &time, &channels, what, error)) return false;
    const int64_t bytes = PLAIN + time * channels * 2;
    unsigned char *file = text_memory(wf_alloc((size_t)bytes), bytes, what, error);
    if (!file) return false;
    write_header(file, time, channels, rate);
    wf_writer w;
    const bool ok = write_samples(file + PLAIN, samples, channels, what, error) &&
                    wf_writer_begin(&w, what, path, error) && wf_writer_put(&w, file, bytes) &&
                    wf_writer_end(&w);
    wf_release(file);
    return ok;
}
