/* Frames, power spectra, mel filters and cepstra. The DFT of frames is a product of matrices: that
 * of the samples, in which row t begins `hop` after row t - 1, so that no frame is copied, with the
 * window times the cosines and sines. At these sizes it takes as long as reading the file did. */
#include "data/spectrum.h"

#include "data/text_private.h"
#include "tensor/gemm.h"
#include "tensor/par.h"
#include "tensor/private.h"
#include "tensor/size.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

enum { BLOCK = 64 };                   /* frames whose spectra are held at a time */
enum { POINTS = 8192, HOP = 1 << 20 }; /* at most; the tables of so many points take 500 MB */

struct wf_spectrum {
    wf_spectrum_options o; /* every default filled in */
    int64_t bins, features;
    double *dft;    /* (window, 2 bins): cosines, then sines */
    double *filter; /* (mels, bins) */
    double *dct;    /* (mels, cepstra), liftered */
    wf_tensor filters;
    void *work; /* of one recording, grown */
    int64_t room;
};

/* ---- tables ---- */

static double mel_of(double hz, wf_mel_scale scale)
{
    if (scale == WF_MEL_HTK) return 2595 * log10(1 + hz / 700);
    return hz < 1000 ? 3 * hz / 200 : 15 + 27 * log(hz / 1000) / log(6.4);
}

static double hz_of(double mel, wf_mel_scale scale)
{
    if (scale == WF_MEL_HTK) return 700 * (pow(10, mel / 2595) - 1);
    return mel < 15 ? 200 * mel / 3 : 1000 * exp(log(6.4) * (mel - 15) / 27);
}

/* Triangles from edge to edge to edge, edges being equally far apart in mel. False and the reason
 * where one is so narrow that it lies between two bins: its energy would always be 0. */
static bool fill_filters(wf_spectrum *s, wf_error *error)
{
    const wf_spectrum_options *o = &s->o;
    const double low = mel_of(o->low, o->scale), high = mel_of(o->high, o->scale);
    for (int64_t m = 0; m < o->mels; m++) {
        double edge[3];
        for (int i = 0; i < 3; i++)
            edge[i] = hz_of(low + (high - low) * (double)(m + i) / (double)(o->mels + 1), o->scale);
        const double peak = o->peaks ? 1 : 2 / (edge[2] - edge[0]);
        double sum = 0;
        for (int64_t k = 0; k < s->bins; k++) {
            const double hz = (double)(k * o->rate) / (double)o->fft;
            const double up = (hz - edge[0]) / (edge[1] - edge[0]);
            const double down = (edge[2] - hz) / (edge[2] - edge[1]);
            sum += s->filter[m * s->bins + k] = peak * fmax(0, fmin(up, down));
        }
        if (sum <= 0)
            return wf_error_set(
                error,
                "spectrum: filter %lld of %lld, %.1f to %.1f Hz, holds no bin of the "
                "DFT; it takes fewer .mels or a longer .fft",
                (long long)m, (long long)o->mels, edge[0], edge[2]);
    }
    return true;
}

static void fill_dft(wf_spectrum *s)
{
    const int64_t n = s->o.window, fft = s->o.fft;
    for (int64_t t = 0; t < n; t++) {
        const double hann = 0.5 - 0.5 * cos(2 * PI * (double)t / (double)n);
        for (int64_t k = 0; k < s->bins; k++) {
            /* Reduced first: the angle's rounding would grow with t k. */
            const double angle = 2 * PI * (double)(t * k % fft) / (double)fft;
            s->dft[t * 2 * s->bins + k] = hann * cos(angle);
            s->dft[(t * 2 + 1) * s->bins + k] = hann * sin(angle);
        }
    }
}

static void fill_dct(wf_spectrum *s)
{
    const int64_t mels = s->o.mels, cepstra = s->o.cepstra;
    for (int64_t m = 0; m < mels; m++)
        for (int64_t c = 0; c < cepstra; c++) {
            const double lift = s->o.lifter > 0
                                    ? 1 + s->o.lifter / 2 * sin(PI * (double)(c + 1) / s->o.lifter)
                                    : 1;
            s->dct[m * cepstra + c] = lift * sqrt((c ? 2 : 1) / (double)mels) *
                                      cos(PI * (double)(c * (2 * m + 1)) / (double)(2 * mels));
        }
}

/* ---- options ---- */

/* What is 0 becomes the default; false and the reason where something is out of range. */
static bool size_given(int64_t *size, const char *name, int64_t fallback, int64_t least,
                       int64_t most, wf_error *error)
{
    if (!*size) *size = fallback;
    return (*size >= least && *size <= most) ||
           wf_error_set(error, "spectrum: .%s is %lld; it must be %lld to %lld", name,
                        (long long)*size, (long long)least, (long long)most);
}

static bool number_given(double value, const char *name, wf_error *error)
{
    return (value >= 0 && isfinite(value)) ||
           wf_error_set(error, "spectrum: .%s is %g; it must be 0 or more", name, value);
}

static bool kinds_given(const wf_spectrum_options *o, wf_error *error)
{
    if ((unsigned)o->kind > WF_SPECTRUM_POWER)
        return wf_error_set(error, "spectrum: there is no .kind %d", (int)o->kind);
    if ((unsigned)o->framing > WF_FRAMES_REFLECTED)
        return wf_error_set(error, "spectrum: there is no .framing %d", (int)o->framing);
    if ((unsigned)o->scale > WF_MEL_HTK)
        return wf_error_set(error, "spectrum: there is no .scale %d", (int)o->scale);
    return true;
}

static bool complete(wf_spectrum_options *o, wf_error *error)
{
    int64_t points = 1;
    if (!kinds_given(o, error) || !size_given(&o->rate, "rate", 0, 1, INT32_MAX, error) ||
        !size_given(&o->window, "window", o->rate / 40 ? o->rate / 40 : 1, 1, POINTS, error) ||
        !size_given(&o->hop, "hop", o->rate / 100 ? o->rate / 100 : 1, 1, HOP, error))
        return false;
    while (points < o->window) points *= 2;
    if (!size_given(&o->fft, "fft", points, o->window, POINTS, error) ||
        !size_given(&o->mels, "mels", 80, 1, 4096, error) ||
        !size_given(&o->cepstra, "cepstra", o->mels < 13 ? o->mels : 13, 1, o->mels, error) ||
        !size_given(&o->deltas, "deltas", 0, 0, 2, error) ||
        !size_given(&o->reach, "reach", 2, 1, 100, error) ||
        !number_given(o->pre_emphasis, "pre_emphasis", error) ||
        !number_given(o->low, "low", error) || !number_given(o->high, "high", error) ||
        !number_given(o->floor, "floor", error) || !number_given(o->range, "range", error) ||
        !number_given(o->lifter, "lifter", error))
        return false;
    if (o->high == 0) o->high = (double)o->rate / 2;
    if (o->floor == 0) o->floor = 1e-10;
    if (!(o->low < o->high && o->high <= (double)o->rate / 2))
        return wf_error_set(
            error,
            "spectrum: filters from %g to %g Hz; it must be upwards, and within the "
            "%g that %lld samples a second have",
            o->low, o->high, (double)o->rate / 2, (long long)o->rate);
    return true;
}

static int64_t plain_features(const wf_spectrum *s)
{
    return s->o.kind == WF_SPECTRUM_POWER  ? s->bins
           : s->o.kind == WF_SPECTRUM_MFCC ? s->o.cepstra
                                           : s->o.mels;
}

wf_spectrum *wf_spectrum_new(const wf_spectrum_options *options, wf_error *error)
{
    wf_error_clear(error);
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_spectrum_options o = options ? *options : (wf_spectrum_options){ 0 };
    if (!complete(&o, error)) return NULL;
    const int64_t bins = o.fft / 2 + 1;
    wf_parts p = { 0 };
    wf_spectrum *s = NULL;
    for (int pass = 0; pass < 2; pass++) { /* counts, then hands out */
        wf_spectrum *self = wf_part(&p, 1, 1, (int64_t)sizeof *s);
        double *dft = wf_part(&p, o.window, 2 * bins, (int64_t)sizeof *dft);
        double *filter = wf_part(&p, o.mels, bins, (int64_t)sizeof *filter);
        double *dct = wf_part(&p, o.mels, o.cepstra, (int64_t)sizeof *dct);
        if (self)
            *self = (wf_spectrum){ .o = o, .bins = bins, .dft = dft, .filter = filter, .dct = dct };
        s = self;
        if (pass) break;
        p.memory = text_memory(wf_alloc((size_t)p.used), p.used, "spectrum", error);
        if (!p.memory) return NULL;
        p.used = 0;
    }
    s->features = plain_features(s) * (1 + o.deltas);
    s->filters = wf_tensor_of(WF_F64, WF_SHAPE(o.mels, bins), s->filter);
    fill_dft(s);
    fill_dct(s);
    if (s->o.kind == WF_SPECTRUM_POWER || fill_filters(s, error)) return s;
    wf_spectrum_free(s);
    return NULL;
}

void wf_spectrum_free(wf_spectrum *s)
{
    if (s) wf_release(s->work);
    wf_release(s);
}

const wf_tensor *wf_spectrum_filters(const wf_spectrum *s)
{
    return s && s->o.kind != WF_SPECTRUM_POWER ? &s->filters : NULL;
}

int64_t wf_spectrum_features(const wf_spectrum *s)
{
    return s ? s->features : 0;
}

int64_t wf_spectrum_frames(const wf_spectrum *s, int64_t samples)
{
    if (!s || samples < 1) return 0;
    if (s->o.framing == WF_FRAMES_WITHIN)
        return samples < s->o.window ? 0 : 1 + (samples - s->o.window) / s->o.hop;
    if (s->o.framing == WF_FRAMES_REFLECTED && samples <= s->o.fft / 2) return 0;
    return 1 + samples / s->o.hop;
}

/* ---- a recording ---- */

/* What is worked on. signal: before samples that there are not, the samples, and others behind. */
typedef struct recording {
    int64_t time, frames, before;
    double *signal, *spectra, *power, *energy, *feature;
} recording;

static int64_t lay_out(const wf_spectrum *s, recording *r, void *memory)
{
    wf_parts p = { .memory = memory };
    const int64_t size = (int64_t)sizeof(double), last = (r->frames - 1) * s->o.hop + s->o.window;
    const int64_t whole = r->time + r->before > last ? r->time + r->before : last;
    r->signal = wf_part(&p, 1, whole, size);
    r->spectra = wf_part(&p, BLOCK, 2 * s->bins, size);
    r->power = wf_part(&p, BLOCK, s->bins, size);
    r->energy = wf_part(&p, r->frames, s->o.mels, size);
    r->feature = wf_part(&p, r->frames, s->features, size);
    return p.used;
}

static bool make_room(wf_spectrum *s, recording *r, wf_error *error)
{
    const int64_t bytes = lay_out(s, r, NULL);
    if (bytes < 0)
        return wf_error_set(error, "spectrum: %lld samples are too many", (long long)r->time);
    if (bytes > s->room) {
        void *more = text_memory(wf_alloc((size_t)bytes), bytes, "spectrum", error);
        if (!more) return false;
        wf_release(s->work);
        s->work = more, s->room = bytes;
    }
    lay_out(s, r, s->work);
    return true;
}

/* The samples with what lies around them. */
static bool take_signal(const wf_spectrum *s, recording *r, const wf_tensor *samples,
                        wf_error *error)
{
    const int64_t last = (r->frames - 1) * s->o.hop + s->o.window;
    double *x = r->signal + r->before;
    const wf_tensor to = wf_tensor_of(WF_F64, wf_tensor_shape(samples), x);
    wf_tensor_copy(samples, &to);
    for (int64_t t = 0; t < r->time; t++)
        if (!isfinite(x[t]))
            return wf_error_set(error, "spectrum: sample %lld is %g", (long long)t, x[t]);
    for (int64_t t = r->time - 1; t > 0 && s->o.pre_emphasis > 0; t--)
        x[t] -= s->o.pre_emphasis * x[t - 1];
    const bool mirrored = s->o.framing == WF_FRAMES_REFLECTED;
    for (int64_t t = -r->before; t < 0; t++) x[t] = mirrored ? x[-t] : 0;
    for (int64_t t = r->time; t < last - r->before; t++)
        x[t] = mirrored ? x[2 * r->time - 2 - t] : 0;
    return true;
}

/* n frames from `first` on: their power spectra. */
static void take_power(const wf_spectrum *s, recording *r, int64_t first, int64_t n, double *power)
{
    const int64_t bins = s->bins, window = s->o.window;
    const wf_matrix frames = wf_matrix_strided(WF_F64, r->signal + first * s->o.hop, n, window,
                                               s->o.hop, 1);
    wf_gemm(wf_threads(), 1, frames, wf_matrix_of(WF_F64, s->dft, window, 2 * bins), 0,
            wf_matrix_of(WF_F64, r->spectra, n, 2 * bins));
    for (int64_t t = 0; t < n; t++)
        for (int64_t k = 0; k < bins; k++) {
            const double re = r->spectra[2 * t * bins + k], im = r->spectra[(2 * t + 1) * bins + k];
            power[t * bins + k] = re * re + im * im;
        }
}

/* Mel energies of all frames. */
static void take_energy(const wf_spectrum *s, recording *r, double *energy)
{
    const int64_t mels = s->o.mels;
    const wf_matrix filters = wf_matrix_of(WF_F64, s->filter, mels, s->bins);
    for (int64_t t = 0; t < r->frames; t += BLOCK) {
        const int64_t n = r->frames - t < BLOCK ? r->frames - t : BLOCK;
        take_power(s, r, t, n, r->power);
        wf_gemm(wf_threads(), 1, wf_matrix_of(WF_F64, r->power, n, s->bins),
                wf_matrix_transposed(filters), 0, wf_matrix_of(WF_F64, energy + t * mels, n, mels));
    }
}

static void take_logarithms(const wf_spectrum *s, const recording *r, double *x)
{
    const int64_t n = r->frames * s->o.mels;
    double largest = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        const double energy = fmax(x[i], s->o.floor);
        x[i] = s->o.decibels ? 10 * log10(energy) : log(energy);
        largest = fmax(largest, x[i]);
    }
    for (int64_t i = 0; i < n && s->o.range > 0; i++) x[i] = fmax(x[i], largest - s->o.range);
}

/* Features without their deltas, (frames, n). */
static void take_plain(const wf_spectrum *s, recording *r, double *to)
{
    const int64_t mels = s->o.mels, cepstra = s->o.cepstra;
    if (s->o.kind == WF_SPECTRUM_POWER) {
        for (int64_t t = 0; t < r->frames; t += BLOCK)
            take_power(s, r, t, r->frames - t < BLOCK ? r->frames - t : BLOCK, to + t * s->bins);
        return;
    }
    double *energy = s->o.kind == WF_SPECTRUM_MFCC ? r->energy : to;
    take_energy(s, r, energy);
    if (s->o.kind != WF_SPECTRUM_MEL) take_logarithms(s, r, energy);
    if (s->o.kind == WF_SPECTRUM_MFCC)
        wf_gemm(wf_threads(), 1, wf_matrix_of(WF_F64, energy, r->frames, mels),
                wf_matrix_of(WF_F64, s->dct, mels, cepstra), 0,
                wf_matrix_of(WF_F64, to, r->frames, cepstra));
}

/* The change of each of n features (frames, n), whose neighbours in the first and the last frame
 * are themselves. */
static void take_delta(const double *x, int64_t frames, int64_t n, int64_t reach, double *to)
{
    double squares = 0;
    for (int64_t k = 1; k <= reach; k++) squares += (double)(2 * k * k);
    for (int64_t t = 0; t < frames; t++)
        for (int64_t f = 0; f < n; f++) {
            double sum = 0;
            for (int64_t k = 1; k <= reach; k++) {
                const int64_t after = t + k < frames ? t + k : frames - 1,
                              prior = t > k ? t - k : 0;
                sum += (double)k * (x[after * n + f] - x[prior * n + f]);
            }
            to[t * n + f] = sum / squares;
        }
}

static void normalise(double *x, int64_t frames, int64_t n)
{
    for (int64_t f = 0; f < n; f++) {
        double squares = 0, size = 0;
        for (int64_t t = 0; t < frames; t++) size = fmax(size, fabs(x[t * n + f]));
        for (int pass = 0; pass < 2; pass++) { /* the second takes the rounding of the first */
            double mean = 0;
            for (int64_t t = 0; t < frames; t++) mean += x[t * n + f] / (double)frames;
            for (int64_t t = 0; t < frames; t++) x[t * n + f] -= mean;
        }
        for (int64_t t = 0; t < frames; t++) squares += x[t * n + f] * x[t * n + f];
        const double deviation = sqrt(squares / (double)frames);
        /* What is less is the rounding of a constant. */
        for (int64_t t = 0; t < frames; t++)
            x[t * n + f] = deviation > 1e-13 * size ? x[t * n + f] / deviation : 0;
    }
}

/* All orders one after another, each (frames, n), then to their places in `features`. */
static void give_features(const wf_spectrum *s, recording *r, const wf_tensor *features)
{
    const int64_t n = plain_features(s), whole = r->frames * n;
    take_plain(s, r, r->feature);
    for (int64_t order = 0; order <= s->o.deltas; order++) {
        double *x = r->feature + order * whole;
        if (order) take_delta(x - whole, r->frames, n, s->o.reach, x);
    }
    for (int64_t order = 0; order <= s->o.deltas; order++) {
        wf_tensor from, to = { 0 };
        double *x = r->feature + order * whole;
        if (s->o.normalise && s->o.together) normalise(x, whole, 1);
        if (s->o.normalise && !s->o.together) normalise(x, r->frames, n);
        from = wf_tensor_of(WF_F64, WF_SHAPE(r->frames, n), x);
        if (wf_view_slice(features, 1, order * n, (order + 1) * n, 1, &to))
            wf_tensor_copy(&from, &to);
    }
}

/* Are these tensors that can be read and written? */
static bool shapes_fit(const wf_spectrum *s, const wf_tensor *x, const wf_tensor *y,
                       wf_error *error)
{
    char text[2][64];
    if (!s) return wf_error_set(error, "spectrum: it was never made (NULL)");
    const wf_shape shape = x && x->rank >= 0 && x->rank <= 2 ? wf_tensor_shape(x) : WF_SCALAR;
    if (!x || !wf_dtype_is_float(x->dtype) || wf_shape_check(&shape, x->dtype, NULL) < 0 ||
        shape.rank < 1 || (shape.rank == 2 && shape.dim[1] != 1) || (!x->data && shape.dim[0]))
        return wf_error_set(error, "spectrum: samples are f32 or f64 of (time) or (time, 1)");
    const int64_t frames = wf_spectrum_frames(s, shape.dim[0]);
    if (frames < 1)
        return wf_error_set(error, "spectrum: %lld samples are too few for a frame; it takes %lld",
                            (long long)shape.dim[0],
                            (long long)(s->o.framing == WF_FRAMES_WITHIN      ? s->o.window
                                        : s->o.framing == WF_FRAMES_REFLECTED ? s->o.fft / 2 + 1
                                                                              : 1));
    if (!y || !wf_dtype_is_float(y->dtype) || !y->data || y->rank != 2 || y->dim[0] != frames ||
        y->dim[1] != s->features)
        return wf_error_set(
            error, "spectrum: the features of these samples are f32 or f64 of %s%s%s",
            wf_shape_text(text[0], sizeof text[0], 2, (int64_t[]){ frames, s->features }),
            y && y->rank >= 0 && y->rank <= WF_RANK ? ", not " : "",
            y && y->rank >= 0 && y->rank <= WF_RANK
                ? wf_shape_text(text[1], sizeof text[1], y->rank, y->dim)
                : "");
    return true;
}

bool wf_spectrum_compute(wf_spectrum *s, const wf_tensor *samples, const wf_tensor *features,
                         wf_error *error)
{
    wf_error_clear(error);
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!shapes_fit(s, samples, features, error)) return false;
    if (wf_tensor_overlaps_itself(features))
        return wf_error_set(error, "spectrum: the features' elements share memory");
    recording r = { .time = samples->dim[0], .frames = wf_spectrum_frames(s, samples->dim[0]) };
    /* The DFT's samples are centred; of them the window's, in their middle, are read. */
    if (s->o.framing != WF_FRAMES_WITHIN) r.before = s->o.fft / 2 - (s->o.fft - s->o.window) / 2;
    if (!make_room(s, &r, error) || !take_signal(s, &r, samples, error)) return false;
    give_features(s, &r, features);
    return true;
}
