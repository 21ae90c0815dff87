/* Recordings that grow, are changed, and become batches of features. */
#include "data/sound.h"

#include <math.h>
#include <string.h>

#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/size.h"

/* ---- a recording ---- */

static int64_t count_of(const wf_sound *sound)
{
    return sound->samples.rank == 1 ? sound->samples.dim[0] : 0;
}

/* Makes room for n more samples, which count from now on: where they begin. NULL after failing. */
static float *grow(wf_sound *sound, int64_t n, wf_error *error)
{
    const int64_t before = count_of(sound);
    int64_t all = 0, bytes;
    if (!wf_size_add(before, n, &all) || !wf_size_add(all, 1, &bytes) ||
        !wf_size_mul(bytes, (int64_t)sizeof(float), &bytes))
        bytes = INT64_MAX;
    if (bytes > sound->bytes) {
        /* Half as much again: what grows bit by bit is not copied each time. */
        if (before && bytes < INT64_MAX / 2) bytes += bytes / 2;
        float *memory = bytes < INT64_MAX ? wf_alloc((size_t)bytes) : NULL;
        if (!memory) {
            wf_error_set(error, "sound: not enough memory for %lld bytes", (long long)bytes);
            return NULL;
        }
        if (before) memcpy(memory, sound->memory, (size_t)before * sizeof(float));
        wf_release(sound->memory);
        sound->memory = memory;
        sound->bytes = bytes;
    }
    sound->samples = wf_tensor_of(WF_F32, WF_SHAPE(all), sound->memory);
    return (float *)sound->memory + before;
}

bool wf_sound_silence(wf_sound *sound, int64_t n, wf_error *error)
{
    wf_error_clear(error);
    if (!sound) return wf_error_set(error, "sound: there is none to add to (NULL)");
    if (n < 0) return wf_error_set(error, "sound: %lld samples of silence", (long long)n);
    float *to = grow(sound, n, error);
    if (to) memset(to, 0, (size_t)n * sizeof *to);
    return to;
}

bool wf_sound_append(wf_sound *sound, const wf_tensor *x, double speed, wf_error *error)
{
    wf_error_clear(error);
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if (!sound) return wf_error_set(error, "sound: there is none to add to (NULL)");
    if (!x || !wf_dtype_is_float(x->dtype) || x->rank < 1 || x->rank > 2 ||
        (x->rank == 2 && x->dim[1] != 1) || (x->dim[0] > 0 && !x->data))
        return wf_error_set(error, "sound: samples are f32 or f64 of (time) or (time, 1)");
    if (speed == 0) speed = 1;
    if (!(speed >= 1e-3 && speed <= 1e3))
        return wf_error_set(error, "sound: a speed of %g; it must be 0.001 to 1000", speed);
    const int64_t n = x->dim[0];
    const double length = ceil((double)n / speed);
    float *to = grow(sound, length < 0x1p62 ? (int64_t)length : INT64_MAX, error);
    if (!to) return false;
    const wf_dtype_info *info = wf_dtype_describe(x->dtype);
    for (int64_t i = 0; i < (int64_t)length; i++) {
        const double at = fmin((double)i * speed, (double)(n - 1));
        const int64_t before = (int64_t)at, after = before + 1 < n ? before + 1 : before;
        const double a = info->load(x->data, before * x->stride[0]);
        const double b = info->load(x->data, after * x->stride[0]);
        to[i] = (float)(at > (double)before ? a + (at - (double)before) * (b - a) : a);
    }
    return true;
}

void wf_sound_noise(wf_sound *sound, double decibels, uint64_t key)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    const int64_t n = sound ? count_of(sound) : 0;
    float *x = n ? sound->memory : NULL;
    double power = 0;
    for (int64_t i = 0; i < n; i++) power += (double)x[i] * (double)x[i];
    const double scale = sqrt(power / (double)n) * pow(10, -decibels / 20);
    if (!isfinite(scale) || scale == 0) return;
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)((double)x[i] + scale * wf_random_normal(key, (uint64_t)i));
}

void wf_sound_clear(wf_sound *sound)
{
    if (sound) sound->samples = wf_tensor_of(WF_F32, WF_SHAPE(0), sound->memory);
}

void wf_sound_free(wf_sound *sound)
{
    if (!sound) return;
    wf_release(sound->memory);
    memset(sound, 0, sizeof *sound);
}

/* ---- batches ---- */

static void forget(wf_features *batch)
{
    batch->values = wf_tensor_of(WF_F32, WF_SHAPE(0, 0, 0), batch->memory);
    batch->lengths = wf_tensor_of(WF_I32, WF_SHAPE(0), batch->memory);
}

/* The frames of the longest recording, or -1 and the reason. */
static int64_t longest_of(const wf_spectrum *spectrum, const wf_tensor samples[], int64_t n,
                          wf_error *error)
{
    int64_t longest = 0;
    if (!spectrum) wf_error_set(error, "spectrum: it was never made (NULL)");
    if (!spectrum) return -1;
    if (n < 0 || (n > 0 && !samples)) {
        wf_error_set(error, "features: %lld recordings were promised and not given", (long long)n);
        return -1;
    }
    for (int64_t b = 0; b < n; b++) {
        const int64_t count = samples[b].rank > 0 ? samples[b].dim[0] : 0;
        const int64_t frames = wf_spectrum_frames(spectrum, count);
        if (frames < 1 || frames > INT32_MAX) {
            wf_error_set(error, "features: recording (%lld) has %lld samples, too %s", (long long)b,
                         (long long)count, frames < 1 ? "few for a frame" : "many");
            return -1;
        }
        if (frames > longest) longest = frames;
    }
    return longest;
}

/* Memory for the batch, its forms within it: zeros. */
static bool lay_out(wf_features *batch, int64_t time, int64_t n, int64_t features, wf_error *error)
{
    int64_t bytes;
    /* The lengths stand behind the values; one number more, so that an empty batch lies
     * somewhere. */
    const bool fits = wf_size_mul(time, features, &bytes) && wf_size_add(bytes, 1, &bytes) &&
                      wf_size_mul(bytes, n, &bytes) && wf_size_add(bytes, 1, &bytes) &&
                      wf_size_mul(bytes, (int64_t)sizeof(float), &bytes);
    if (!fits) bytes = INT64_MAX;
    if (bytes > batch->bytes) {
        void *memory = fits ? wf_alloc((size_t)bytes) : NULL;
        if (!memory)
            return wf_error_set(error, "features: not enough memory for %lld bytes",
                                (long long)bytes);
        wf_release(batch->memory);
        batch->memory = memory;
        batch->bytes = bytes;
    }
    memset(batch->memory, 0, (size_t)bytes);
    float *values = batch->memory;
    batch->values = wf_tensor_of(WF_F32, WF_SHAPE(time, n, features), values);
    batch->lengths = wf_tensor_of(WF_I32, WF_SHAPE(n), values + time * n * features);
    return true;
}

/* The frames of recording b, (frames, features). */
static wf_tensor lane_of(const wf_features *batch, int64_t b)
{
    wf_tensor lane = batch->values;
    const int64_t frames = ((const int32_t *)batch->lengths.data)[b];
    wf_view_select(&batch->values, 1, b, &lane);
    wf_view_slice(&lane, 0, 0, frames, 1, &lane);
    return lane;
}

bool wf_features_compute(wf_features *batch, wf_spectrum *spectrum, const wf_tensor samples[],
                         int64_t n, wf_error *error)
{
    wf_error_clear(error);
    if (!batch) return wf_error_set(error, "features: there is no batch to fill (NULL)");
    forget(batch);
    const int64_t time = longest_of(spectrum, samples, n, error);
    if (time < 0 || !lay_out(batch, time, n, wf_spectrum_features(spectrum), error)) return false;
    for (int64_t b = 0; b < n; b++) {
        wf_error why;
        ((int32_t *)batch->lengths.data)[b] = (int32_t)wf_spectrum_frames(spectrum,
                                                                          samples[b].dim[0]);
        const wf_tensor lane = lane_of(batch, b);
        if (wf_spectrum_compute(spectrum, &samples[b], &lane, &why)) continue;
        forget(batch);
        return wf_error_set(error, "features: recording (%lld): %s", (long long)b, why.text);
    }
    return true;
}

void wf_features_free(wf_features *batch)
{
    if (!batch) return;
    wf_release(batch->memory);
    memset(batch, 0, sizeof *batch);
}

/* Hides up to `part` of an axis, at a place that key draws. */
static void hide(const wf_tensor *x, int axis, double part, uint64_t key)
{
    const int64_t most = (int64_t)(part * (double)x->dim[axis]);
    const int64_t size = wf_random_below(key, 0, most + 1);
    const int64_t from = wf_random_below(key, 1, x->dim[axis] - size + 1);
    wf_tensor hidden;
    if (wf_view_slice(x, axis, from, from + size, 1, &hidden)) wf_tensor_fill(&hidden, 0);
}

bool wf_spec_augment(wf_features *batch, const wf_spec_augment_options *options, uint64_t key,
                     wf_error *error)
{
    wf_error_clear(error);
    if (!batch || batch->lengths.rank != 1)
        return wf_error_set(error, "spec_augment: the batch was never filled");
    static const wf_spec_augment_options none;
    const wf_spec_augment_options *o = options ? options : &none;
    const int64_t count[2] = { o->stretches ? o->stretches : 2, o->bands ? o->bands : 2 };
    const double part[2] = { o->stretch != 0 ? o->stretch : 0.1, o->band != 0 ? o->band : 1.0 / 3 };
    for (int axis = 0; axis < 2; axis++) {
        const char *name = axis ? "band" : "stretch";
        if (!(part[axis] > 0 && part[axis] <= 1))
            return wf_error_set(error, "spec_augment: .%s is %g; it must be 0 to 1", name,
                                part[axis]);
        if (count[axis] < -1 || count[axis] > 1000)
            return wf_error_set(error, "spec_augment: .%s is %lld; it must be -1 to 1000",
                                axis ? "bands" : "stretches", (long long)count[axis]);
    }
    for (int64_t b = 0; b < batch->lengths.dim[0]; b++) {
        const wf_tensor lane = lane_of(batch, b);
        for (int axis = 0; axis < 2; axis++)
            for (int64_t k = 0; k < count[axis]; k++)
                hide(&lane, axis, part[axis],
                     wf_key_with(wf_key_with(key, (uint64_t)b), (uint64_t)(2 * k + axis)));
    }
    return true;
}
