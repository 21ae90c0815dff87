/* Features of sound against librosa's and torchaudio's formulas (tests/fixtures/make_spectrum.py),
 * laws of them, and every refusal. */
#include "data/spectrum.h"
#include "tensor/rng.h"
#include "tests/fixture.h"

#include <math.h>
#include <string.h>

static wf_spectrum *spectrum_of(wf_spectrum_options o)
{
    wf_error error = { "old" };
    wf_spectrum *s = wf_spectrum_new(&o, &error);
    ck_assert_msg(s && !*error.text, "%s", error.text);
    return s;
}

static void compute(wf_spectrum *s, const wf_tensor *samples, const wf_tensor *to)
{
    wf_error error = { "old" };
    const bool ok = wf_spectrum_compute(s, samples, to, &error);
    ck_assert_msg(ok && !*error.text, "%s", error.text);
}

static wf_archive *fixture_of(void)
{
    wf_error error;
    wf_archive *a = wf_safetensors_load(WF_SOURCE_DIR "/tests/fixtures/spectrum.safetensors",
                                        &error);
    ck_assert_msg(a, "%s", error.text);
    return a;
}

/* ---- against other implementations ---- */

TEST(features_are_those_of_librosa_and_torchaudio)
{
    const struct {
        const char *name;
        wf_spectrum_options o;
    } each[] = {
        { "power",
          { .rate = 8000, .kind = WF_SPECTRUM_POWER, .framing = WF_FRAMES_CENTRED, .fft = 256 } },
        { "odd",
          { .rate = 8000,
            .kind = WF_SPECTRUM_POWER,
            .framing = WF_FRAMES_REFLECTED,
            .window = 75,
            .hop = 64 } },
        { "log_mel", { .rate = 8000 } },
        { "torchaudio_mel",
          { .rate = 8000,
            .kind = WF_SPECTRUM_MEL,
            .framing = WF_FRAMES_REFLECTED,
            .window = 400,
            .hop = 200,
            .fft = 400,
            .mels = 23,
            .scale = WF_MEL_HTK,
            .peaks = true } },
        { "librosa_mfcc",
          { .rate = 8000,
            .kind = WF_SPECTRUM_MFCC,
            .framing = WF_FRAMES_CENTRED,
            .window = 512,
            .hop = 128,
            .mels = 40,
            .low = 20,
            .high = 3800,
            .decibels = true,
            .range = 30,
            .cepstra = 20,
            .lifter = 22 } },
        { "deltas",
          { .rate = 8000,
            .kind = WF_SPECTRUM_MFCC,
            .pre_emphasis = 0.97,
            .mels = 26,
            .scale = WF_MEL_HTK,
            .peaks = true,
            .floor = 1e-6,
            .deltas = 2,
            .normalise = true } },
    };
    OWN(wf_archive) *a = fixture_of();
    const wf_tensor *samples = wf_archive_find(a, "samples");
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        OWN(wf_spectrum) *s = spectrum_of(each[i].o);
        const wf_tensor *want = wf_archive_find(a, each[i].name);
        const int64_t frames = wf_spectrum_frames(s, samples->dim[0]),
                      features = wf_spectrum_features(s);
        ck_assert_int_eq(frames, want->dim[0]);
        ck_assert_int_eq(features, want->dim[1]);
        OWN(double) *got = malloc((size_t)(frames * features) * sizeof *got);
        const wf_tensor to = wf_tensor_of(WF_F64, WF_SHAPE(frames, features), got);
        compute(s, samples, &to);
        assert_close(each[i].name, frames * features, got, want->data, 1e-12);
    }
}

TEST(mel_filters_are_those_of_librosa)
{
    OWN(wf_archive) *a = fixture_of();
    OWN(wf_spectrum) *s = spectrum_of((wf_spectrum_options){ .rate = 8000 });
    const wf_tensor *got = wf_spectrum_filters(s), *want = wf_archive_find(a, "filters");
    ck_assert(got->dim[0] == 80 && got->dim[1] == 129 && want->dim[0] == 80);
    assert_close("filters", 80 * 129, got->data, want->data, 1e-13);
}

/* ---- laws ---- */

enum { T = 2000, RATE = 8000 };

static void tone(float *x, double hz)
{
    for (int t = 0; t < T; t++) x[t] = (float)sin(2 * acos(-1) * hz * t / RATE);
}

TEST(a_tone_is_found_where_it_sounds)
{
    float x[T];
    tone(x, 440);
    const wf_tensor samples = wf_tensor_of(WF_F32, WF_SHAPE(T), x);
    for (int kind = WF_SPECTRUM_LOG_MEL; kind <= WF_SPECTRUM_POWER; kind += WF_SPECTRUM_POWER) {
        OWN(wf_spectrum) *s = spectrum_of((wf_spectrum_options){
            .rate = RATE, .kind = (wf_spectrum_kind)kind, .mels = 20, .window = 256 });
        const int64_t frames = wf_spectrum_frames(s, T), n = wf_spectrum_features(s);
        OWN(double) *y = malloc((size_t)(frames * n) * sizeof *y);
        const wf_tensor to = wf_tensor_of(WF_F64, WF_SHAPE(frames, n), y);
        compute(s, &samples, &to);
        const wf_tensor *filters = wf_spectrum_filters(s);
        for (int64_t t = 0; t < frames; t++) {
            int64_t best = 0;
            for (int64_t k = 1; k < n; k++)
                if (y[t * n + k] > y[t * n + best]) best = k;
            /* 440 Hz lies at 14.08 bins of 31.25 Hz. */
            if (kind == WF_SPECTRUM_POWER)
                ck_assert_int_eq(best, 14);
            else
                ck_assert_double_gt(wf_tensor_at(filters, best * 129 + 14), 0);
        }
    }
}

TEST(all_strides_and_dtypes_give_the_same)
{
    enum { B = 3, F = 26 };
    float x[T];
    double wide[T][2];
    tone(x, 1000);
    for (int t = 0; t < T; t++) wide[t][0] = (double)x[t], wide[t][1] = (double)NAN;
    OWN(wf_spectrum) *s = spectrum_of(
        (wf_spectrum_options){ .rate = RATE, .kind = WF_SPECTRUM_MFCC, .deltas = 1, .mels = 40 });
    const int64_t frames = wf_spectrum_frames(s, T);
    ck_assert_int_eq(wf_spectrum_features(s), F);
    float dense[200][F], batch[200][B][F];
    ck_assert_int_le(frames, 200);
    for (int i = 0; i < 200 * B * F; i++) batch[i / (B * F)][i / F % B][i % F] = -7;
    const wf_tensor a = wf_tensor_of(WF_F32, WF_SHAPE(T), x);
    const wf_tensor b = { wide, WF_F64, 2, { T, 1 }, { 2, 1 } };
    const wf_tensor to_a = wf_tensor_of(WF_F32, WF_SHAPE(frames, F), dense);
    const wf_tensor to_b = { batch[0][1], WF_F32, 2, { frames, F }, { B * F, 1 } };
    compute(s, &a, &to_a);
    compute(s, &b, &to_b);
    for (int64_t t = 0; t < frames; t++) {
        ck_assert_mem_eq(batch[t][1], dense[t], sizeof dense[t]);
        for (int f = 0; f < F; f++) ck_assert(batch[t][0][f] == -7 && batch[t][2][f] == -7);
    }
}

TEST(recordings_after_one_another_disturb_nothing_and_take_no_memory)
{
    float x[T], first[4096], again[4096];
    OWN(wf_spectrum) *s = spectrum_of((wf_spectrum_options){
        .rate = RATE, .framing = WF_FRAMES_CENTRED, .mels = 40, .normalise = true });
    int64_t asked = 0;
    for (int i = 0; i < 4; i++) {
        const int64_t time = i == 1 ? T : T / 2 + i, frames = wf_spectrum_frames(s, time);
        tone(x, i == 1 ? 3000 : 500);
        const wf_tensor samples = wf_tensor_of(WF_F32, WF_SHAPE(time), x);
        const wf_tensor to = wf_tensor_of(WF_F32, WF_SHAPE(frames, 40), i ? again : first);
        if (i == 2) asked = heap.asked;
        compute(s, &samples, &to);
    }
    ck_assert_int_eq(heap.asked, asked);
    const wf_tensor samples = wf_tensor_of(WF_F32, WF_SHAPE(T / 2), x);
    const wf_tensor to = wf_tensor_of(WF_F32, WF_SHAPE(wf_spectrum_frames(s, T / 2), 40), again);
    compute(s, &samples, &to);
    ck_assert_mem_eq(first, again, sizeof(float) * (size_t)wf_tensor_count(&to));
}

TEST(normalised_features_have_mean_0_and_variance_1_and_silence_is_0)
{
    float x[T];
    for (int silent = 0; silent < 2; silent++) {
        for (uint64_t t = 0; t < T; t++) x[t] = (float)wf_random_normal(3, t);
        if (silent) memset(x, 0, sizeof x);
        OWN(wf_spectrum) *s = spectrum_of(
            (wf_spectrum_options){ .rate = RATE, .mels = 20, .deltas = 2, .normalise = true });
        const int64_t frames = wf_spectrum_frames(s, T), n = wf_spectrum_features(s);
        OWN(double) *y = malloc((size_t)(frames * n) * sizeof *y);
        const wf_tensor samples = wf_tensor_of(WF_F32, WF_SHAPE(T), x),
                        to = wf_tensor_of(WF_F64, WF_SHAPE(frames, n), y);
        compute(s, &samples, &to);
        for (int64_t f = 0; f < n; f++) {
            double mean = 0, squares = 0;
            for (int64_t t = 0; t < frames; t++)
                mean += y[t * n + f] / (double)frames,
                    squares += y[t * n + f] * y[t * n + f] / (double)frames;
            ck_assert_double_le(fabs(mean), 1e-12);
            ck_assert_double_le(fabs(squares - !silent), 1e-12);
        }
    }
}

TEST(features_normalised_together_keep_their_differences)
{
    float x[T], plain[64 * 20], y[64 * 20];
    tone(x, 700);
    const wf_spectrum_options o = { .rate = RATE, .mels = 20 };
    wf_spectrum_options both = o;
    both.normalise = both.together = true;
    OWN(wf_spectrum) *s = spectrum_of(o), *whole = spectrum_of(both);
    const int64_t frames = wf_spectrum_frames(s, T), n = frames * 20;
    ck_assert_int_le(n, 64 * 20);
    const wf_tensor samples = wf_tensor_of(WF_F32, WF_SHAPE(T), x);
    const wf_tensor a = wf_tensor_of(WF_F32, WF_SHAPE(frames, 20), plain);
    const wf_tensor b = wf_tensor_of(WF_F32, WF_SHAPE(frames, 20), y);
    compute(s, &samples, &a), compute(whole, &samples, &b);
    double mean = 0, squares = 0, middle = 0, spread = 0;
    for (int64_t i = 0; i < n; i++) {
        mean += (double)y[i] / (double)n, squares += (double)(y[i] * y[i]) / (double)n;
        middle += (double)plain[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) spread += pow((double)plain[i] - middle, 2) / (double)n;
    ck_assert_double_le(fabs(mean), 1e-6);
    ck_assert_double_le(fabs(squares - 1), 1e-6);
    for (int64_t i = 0; i < n; i++)
        ck_assert_double_le(fabs(((double)plain[i] - middle) / sqrt(spread) - (double)y[i]), 1e-5);
}

TEST(there_are_as_many_frames_as_fit)
{
    OWN(wf_spectrum) *within = spectrum_of((wf_spectrum_options){ .rate = 8000 });
    OWN(wf_spectrum) *centred = spectrum_of(
        (wf_spectrum_options){ .rate = 8000, .framing = WF_FRAMES_CENTRED });
    OWN(wf_spectrum) *mirrored = spectrum_of(
        (wf_spectrum_options){ .rate = 8000, .framing = WF_FRAMES_REFLECTED });
    const int64_t samples[] = { -1, 0, 1, 128, 129, 199, 200, 279, 280 };
    const int64_t want[3][9] = { { 0, 0, 0, 0, 0, 0, 1, 1, 2 },
                                 { 0, 0, 1, 2, 2, 3, 3, 4, 4 },
                                 { 0, 0, 0, 0, 2, 3, 3, 4, 4 } };
    for (int i = 0; i < 9; i++) {
        ck_assert_int_eq(wf_spectrum_frames(within, samples[i]), want[0][i]);
        ck_assert_int_eq(wf_spectrum_frames(centred, samples[i]), want[1][i]);
        ck_assert_int_eq(wf_spectrum_frames(mirrored, samples[i]), want[2][i]);
    }
}

/* ---- refusals ---- */

TEST(options_that_make_no_sense_are_refused)
{
    const struct {
        wf_spectrum_options o;
        const char *says;
    } bad[] = {
        { { 0 }, "spectrum: .rate is 0; it must be 1 to 2147483647" },
        { { .rate = 8000, .kind = (wf_spectrum_kind)4 }, "spectrum: there is no .kind 4" },
        { { .rate = 8000, .framing = (wf_framing)-1 }, "spectrum: there is no .framing -1" },
        { { .rate = 8000, .scale = (wf_mel_scale)2 }, "spectrum: there is no .scale 2" },
        { { .rate = 8000, .window = -1 }, "spectrum: .window is -1; it must be 1 to 8192" },
        { { .rate = 8000, .hop = -1 }, "spectrum: .hop is -1; it must be 1 to 1048576" },
        { { .rate = 8000, .fft = 128 }, "spectrum: .fft is 128; it must be 200 to 8192" },
        { { .rate = 8000, .mels = -3 }, "spectrum: .mels is -3; it must be 1 to 4096" },
        { { .rate = 8000, .cepstra = 81 }, "spectrum: .cepstra is 81; it must be 1 to 80" },
        { { .rate = 8000, .deltas = 3 }, "spectrum: .deltas is 3; it must be 0 to 2" },
        { { .rate = 8000, .reach = -1 }, "spectrum: .reach is -1; it must be 1 to 100" },
        { { .rate = 8000, .pre_emphasis = -1 },
          "spectrum: .pre_emphasis is -1; it must be 0 or more" },
        { { .rate = 8000, .floor = (double)NAN }, "spectrum: .floor is nan; it must be 0 or more" },
        { { .rate = 8000, .range = (double)INFINITY },
          "spectrum: .range is inf; it must be 0 or more" },
        { { .rate = 8000, .lifter = -2 }, "spectrum: .lifter is -2; it must be 0 or more" },
        { { .rate = 8000, .low = 4000 },
          "spectrum: filters from 4000 to 4000 Hz; it must be upwards, and within the 4000 that "
          "8000 samples a second have" },
        { { .rate = 8000, .high = 4001 },
          "spectrum: filters from 0 to 4001 Hz; it must be upwards, and within the 4000 that 8000 "
          "samples a second have" },
        { { .rate = 8000, .mels = 256 },
          "spectrum: filter 0 of 256, 0.0 to 18.2 Hz, holds no bin of the DFT; it takes fewer "
          ".mels or a longer .fft" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wf_error e = { "old" };
        ck_assert_ptr_null(wf_spectrum_new(&bad[i].o, &e));
        ck_assert_str_eq(e.text, bad[i].says);
    }
}

TEST(samples_that_make_no_features_are_refused)
{
    float x[T] = { 0 }, y[2000];
    OWN(wf_spectrum) *s = spectrum_of((wf_spectrum_options){ .rate = 8000, .mels = 20 });
    const wf_tensor good = wf_tensor_of(WF_F32, WF_SHAPE(280), x),
                    to = wf_tensor_of(WF_F32, WF_SHAPE(2, 20), y);
    const char *samples = "spectrum: samples are f32 or f64 of (time) or (time, 1)";
    const char *features = "spectrum: the features of these samples are f32 or f64 of (2, 20)";
    const struct {
        wf_tensor x, y;
        const char *says;
    } bad[] = {
        { wf_tensor_of(WF_I32, WF_SHAPE(280), x), to, samples },
        { wf_tensor_of(WF_F32, WF_SHAPE(280, 2), x), to, samples },
        { wf_tensor_of(WF_F32, WF_SHAPE(280), NULL), to, samples },
        { wf_tensor_of(WF_F32, WF_SCALAR, x), to, samples },
        { wf_tensor_of(WF_F32, WF_SHAPE(199), x), to,
          "spectrum: 199 samples are too few for a frame; it takes 200" },
        { good, wf_tensor_of(WF_F32, WF_SHAPE(2, 21), y), worded("%s, not (2, 21)", features) },
        { good, wf_tensor_of(WF_F32, WF_SHAPE(40), y), worded("%s, not (40)", features) },
        { good,
          { y, WF_F32, 2, { 2, 20 }, { 0, 1 } },
          "spectrum: the features' elements share memory" },
    };
    wf_error e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert(!wf_spectrum_compute(s, &bad[i].x, &bad[i].y, &e));
        ck_assert_str_eq(e.text, bad[i].says);
    }
    ck_assert(!wf_spectrum_compute(s, &good, NULL, &e));
    ck_assert_str_eq(e.text, features);
    ck_assert(!wf_spectrum_compute(s, NULL, &to, &e));
    ck_assert_str_eq(e.text, samples);
    ck_assert(!wf_spectrum_compute(NULL, &good, &to, &e));
    ck_assert_str_eq(e.text, "spectrum: it was never made (NULL)");
    x[7] = NAN, y[0] = 77;
    ck_assert(!wf_spectrum_compute(s, &good, &to, &e));
    ck_assert_str_eq(e.text, "spectrum: sample 7 is nan");
    ck_assert(y[0] == 77);
}

TEST(memory_may_run_out_anywhere)
{
    float x[T] = { 0 }, y[4096];
    wf_error e;
    const wf_tensor samples = wf_tensor_of(WF_F32, WF_SHAPE(280), x),
                    to = wf_tensor_of(WF_F32, WF_SHAPE(2, 80), y);
    bool ok = false;
    const long long before = heap.live;
    for (int at = 1; !ok; at++) {
        ck_assert_int_lt(at, 10);
        heap.fail_at = heap.asked + at;
        wf_spectrum *s = wf_spectrum_new(&(wf_spectrum_options){ .rate = 8000 }, &e);
        ok = s && wf_spectrum_compute(s, &samples, &to, &e);
        heap.fail_at = 0;
        ck_assert(ok || strstr(e.text, "spectrum: not enough memory"));
        wf_spectrum_free(s);
        ck_assert_int_eq(heap.live, before);
    }
}
