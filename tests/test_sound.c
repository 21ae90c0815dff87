/* Recordings that grow, are made faster, noisy, and hidden in part; batches of their features. */
#include "data/sound.h"
#include "tests/fixture.h"

#include <math.h>
#include <string.h>

enum { RATE = 8000, T = 2400, MELS = 20 };

/* Fills with a tone of so many Hz. */
static wf_tensor tone(float *x, int64_t n, double hz)
{
    for (int64_t t = 0; t < n; t++)
        x[t] = (float)(0.5 * sin(2 * 3.14159265358979 * hz * (double)t / RATE));
    return wf_tensor_of(WF_F32, WF_SHAPE(n), x);
}

static void append(wf_sound *sound, const wf_tensor *samples, double speed)
{
    wf_error e = { "old" };
    ck_assert_msg(wf_sound_append(sound, samples, speed, &e) && !*e.text, "%s", e.text);
}

static const float *at(const wf_sound *sound)
{
    return sound->samples.data;
}

TEST(recordings_follow_one_another_with_silence_between)
{
    const float two[] = { 1, 9, 2, 9, 3, 9 };
    const double one[] = { 0.5, 0.25 };
    const float want[] = { 1, 2, 3, 0, 0, 0.5, 0.25 };
    const wf_tensor a = { (void *)(uintptr_t)two, WF_F32, 2, { 3, 1 }, { 2, 1 } };
    const wf_tensor b = wf_tensor_over(WF_F64, WF_SHAPE(2), one);
    wf_sound s = { 0 };
    wf_error e;
    for (int again = 0; again < 3; again++) {
        const int64_t asked = heap.asked;
        wf_sound_clear(&s);
        append(&s, &a, 0);
        ck_assert(wf_sound_silence(&s, 2, &e));
        append(&s, &b, 1);
        ck_assert(s.samples.rank == 1 && s.samples.dim[0] == 7 && s.samples.dtype == WF_F32);
        ck_assert_mem_eq(at(&s), want, sizeof want);
        ck_assert(!again || heap.asked == asked); /* the memory is kept */
    }
    wf_sound_free(&s);
    ck_assert(!s.memory && s.samples.rank == 0);
}

TEST(a_faster_recording_is_shorter_and_higher)
{
    float x[T];
    const double each[] = { 0.5, 0.9, 1.1, 2, 3 };
    const wf_tensor slow = tone(x, T, 100);
    for (int i = 0; i < 5; i++) {
        wf_sound s = { 0 };
        append(&s, &slow, each[i]);
        const int64_t n = s.samples.dim[0];
        ck_assert_int_eq(n, (int64_t)ceil(T / each[i]));
        for (int64_t t = 0; t < n && (double)t * each[i] < T - 1; t++) {
            const double want = 0.5 * sin(2 * 3.14159265358979 * 100 * each[i] * (double)t / RATE);
            ck_assert_double_le(fabs((double)at(&s)[t] - want), 5e-4); /* a line's bend */
        }
        wf_sound_free(&s);
    }
    const float short_one[] = { 3, 5 };
    const float want[] = { 3, 4, 5, 5 };
    const wf_tensor pair = wf_tensor_over(WF_F32, WF_SHAPE(2), short_one);
    wf_sound s = { 0 };
    append(&s, &pair, 0.5);
    ck_assert_int_eq(s.samples.dim[0], 4);
    ck_assert_mem_eq(at(&s), want, sizeof want);
    wf_sound_free(&s);
}

TEST(noise_is_as_loud_as_was_asked_for_and_depends_on_its_key_alone)
{
    static float x[40000], first[40000];
    const wf_tensor samples = tone(x, 40000, 440);
    wf_sound s = { 0 };
    for (int i = 0; i < 3; i++) {
        double power = 0, noise = 0;
        wf_sound_clear(&s);
        append(&s, &samples, 1);
        wf_sound_noise(&s, 20, i < 2 ? 7 : 8);
        for (int t = 0; t < 40000; t++) {
            const double d = (double)(at(&s)[t] - x[t]);
            power += (double)(x[t] * x[t]), noise += d * d;
        }
        ck_assert_double_le(fabs(10 * log10(power / noise) - 20), 0.1);
        if (i == 0) memcpy(first, at(&s), sizeof first);
        ck_assert((memcmp(first, at(&s), sizeof first) == 0) == (i < 2));
    }
    wf_error e;
    wf_sound_clear(&s);
    wf_sound_noise(&s, 20, 1);
    ck_assert(wf_sound_silence(&s, 100, &e));
    wf_sound_noise(&s, 0, 1);
    wf_sound_noise(&s, (double)NAN, 1);
    for (int t = 0; t < 100; t++) ck_assert(at(&s)[t] == 0);
    wf_sound_noise(NULL, 20, 1);
    wf_sound_free(&s);
}

/* Three recordings of different lengths. */
static void make_three(float x[3][T], wf_tensor samples[3])
{
    for (int b = 0; b < 3; b++) {
        samples[b] = wf_tensor_of(WF_F32, WF_SHAPE(b == 1 ? T : 700 + 300 * b), x[b]);
        for (uint64_t t = 0; t < T; t++)
            x[b][t] = (float)(0.1 * wf_random_normal((uint64_t)b + 1, t));
    }
}

static wf_spectrum *spectrum_new(void)
{
    return wf_spectrum_new(&(wf_spectrum_options){ .rate = RATE, .mels = MELS, .normalise = true },
                           NULL);
}

TEST(a_batch_of_features_is_that_of_each_alone_with_zeros_behind)
{
    static float x[3][T], alone[64 * MELS];
    wf_tensor samples[3];
    wf_features batch = { 0 };
    wf_error e = { "old" };
    OWN(wf_spectrum) *s = spectrum_new();
    make_three(x, samples);
    for (int again = 0; again < 2; again++) {
        const int64_t asked = heap.asked;
        ck_assert(wf_features_compute(&batch, s, samples, 3, &e) && !*e.text);
        ck_assert(!again || heap.asked == asked);
    }
    const int64_t time = wf_spectrum_frames(s, T);
    ck_assert(batch.values.rank == 3 && batch.values.dim[0] == time && batch.values.dim[1] == 3 &&
              batch.values.dim[2] == MELS && batch.lengths.dim[0] == 3);
    const float *values = batch.values.data;
    for (int64_t b = 0; b < 3; b++) {
        const int64_t frames = wf_spectrum_frames(s, samples[b].dim[0]);
        const wf_tensor to = wf_tensor_of(WF_F32, WF_SHAPE(frames, MELS), alone);
        ck_assert(wf_spectrum_compute(s, &samples[b], &to, &e));
        ck_assert(((const int32_t *)batch.lengths.data)[b] == frames);
        for (int64_t t = 0; t < time; t++)
            for (int64_t f = 0; f < MELS; f++)
                ck_assert(values[(t * 3 + b) * MELS + f] == (t < frames ? alone[t * MELS + f] : 0));
    }
    ck_assert(wf_features_compute(&batch, s, NULL, 0, &e));
    ck_assert(batch.values.dim[0] == 0 && batch.lengths.dim[0] == 0);
    wf_features_free(&batch);
    ck_assert_ptr_null(batch.memory);
}

/* Which frames and which features of lane b are hidden as a whole; true if nothing else is. */
static bool hidden_of(const wf_features *batch, int64_t b, int64_t *frames, int64_t *features)
{
    const int64_t n = ((const int32_t *)batch->lengths.data)[b], all = batch->values.dim[1];
    const float *x = batch->values.data;
    bool frame[64], feature[MELS], only = true;
    *frames = *features = 0;
    for (int64_t t = 0; t < n; t++) {
        frame[t] = true;
        for (int64_t f = 0; f < MELS; f++) frame[t] &= x[(t * all + b) * MELS + f] == 0;
        *frames += frame[t];
    }
    for (int64_t f = 0; f < MELS; f++) {
        feature[f] = true;
        for (int64_t t = 0; t < n; t++) feature[f] &= x[(t * all + b) * MELS + f] == 0;
        *features += feature[f];
    }
    for (int64_t t = 0; t < n; t++)
        for (int64_t f = 0; f < MELS; f++)
            only &= (x[(t * all + b) * MELS + f] == 0) == (frame[t] || feature[f]);
    return only;
}

TEST(what_is_hidden_are_whole_bands_and_stretches_of_each_length_that_may_be)
{
    static float x[3][T];
    wf_tensor samples[3];
    wf_features batch = { 0 };
    wf_error e;
    OWN(wf_spectrum) *s = spectrum_new();
    make_three(x, samples);
    const wf_spec_augment_options one = { .bands = 1, .band = 0.25, .stretches = -1 },
                                  time = { .bands = -1, .stretches = 1, .stretch = 0.5 };
    int seen[2][64] = { { 0 } };
    for (uint64_t key = 0; key < 300; key++)
        for (int axis = 0; axis < 2; axis++) {
            ck_assert(wf_features_compute(&batch, s, samples, 3, &e));
            ck_assert(wf_spec_augment(&batch, axis ? &time : &one, key, &e) && !*e.text);
            for (int64_t b = 0; b < 3; b++) {
                int64_t frames, features;
                ck_assert(hidden_of(&batch, b, &frames, &features));
                ck_assert(axis ? features == 0 : frames == 0);
                if (b == 1) seen[axis][axis ? frames : features]++;
            }
        }
    const int64_t most[2] = { MELS / 4, wf_spectrum_frames(s, T) / 2 };
    for (int axis = 0; axis < 2; axis++)
        for (int64_t i = 0; i < 64; i++) ck_assert((seen[axis][i] > 0) == (i <= most[axis]));
    wf_features_free(&batch);
}

TEST(what_is_hidden_depends_on_the_key_and_the_lane_alone)
{
    static float x[3][T];
    wf_tensor samples[3];
    wf_features batch = { 0 }, other = { 0 };
    wf_error e;
    OWN(wf_spectrum) *s = spectrum_new();
    make_three(x, samples);
    int differ = 0;
    for (uint64_t key = 0; key < 20; key++) {
        ck_assert(wf_features_compute(&batch, s, samples, 3, &e));
        ck_assert(wf_spec_augment(&batch, NULL, key, &e));
        ck_assert(wf_features_compute(&other, s, samples, 2, &e)); /* fewer lanes: the same */
        ck_assert(wf_spec_augment(&other, NULL, key, &e));
        wf_tensor a;
        ck_assert(wf_view_slice(&batch.values, 1, 0, 2, 1, &a));
        for (int64_t i = 0; i < wf_tensor_count(&other.values); i++)
            ck_assert(wf_tensor_at(&a, i) == wf_tensor_at(&other.values, i));
        ck_assert(wf_features_compute(&other, s, samples, 3, &e));
        ck_assert(wf_spec_augment(&other, NULL, key + 1, &e));
        differ += memcmp(batch.values.data, other.values.data,
                         (size_t)wf_tensor_count(&other.values) * sizeof(float)) != 0;
    }
    ck_assert_int_ge(differ, 18);
    wf_features_free(&batch), wf_features_free(&other);
}

TEST(what_makes_no_features_is_one_sentence_and_leaves_an_empty_batch)
{
    static float x[3][T];
    wf_tensor samples[3];
    wf_features batch = { 0 };
    wf_error e;
    OWN(wf_spectrum) *s = spectrum_new();
    make_three(x, samples);
    ck_assert(wf_features_compute(&batch, s, samples, 3, &e));
    x[2][5] = NAN;
    ck_assert(!wf_features_compute(&batch, s, samples, 3, &e));
    ck_assert_str_eq(e.text, "features: recording (2): spectrum: sample 5 is nan");
    ck_assert(batch.values.dim[1] == 0 && batch.lengths.dim[0] == 0);
    ck_assert(wf_spec_augment(&batch, NULL, 1, &e));
    samples[1].dim[0] = 199;
    ck_assert(!wf_features_compute(&batch, s, samples, 3, &e));
    ck_assert_str_eq(e.text, "features: recording (1) has 199 samples, too few for a frame");
    samples[1] = wf_tensor_of(WF_I32, WF_SHAPE(T), x[1]);
    ck_assert(!wf_features_compute(&batch, s, samples, 2, &e));
    ck_assert_str_eq(e.text, "features: recording (1): spectrum: samples are f32 or f64 of (time) "
                             "or (time, 1)");
    wf_features_free(&batch);
}

TEST(memory_may_run_out_anywhere)
{
    static float x[3][T];
    wf_tensor samples[3];
    bool ok = false;
    const long long before = heap.live;
    make_three(x, samples);
    for (int k = 1; !ok; k++) {
        wf_sound sound = { 0 };
        wf_features batch = { 0 };
        wf_error e = { "" };
        OWN(wf_spectrum) *s = spectrum_new();
        ck_assert_int_lt(k, 10);
        heap.fail_at = heap.asked + k;
        ok = wf_sound_silence(&sound, 3, &e);
        const int64_t had = ok ? 3 : 0;
        ok = ok && wf_sound_append(&sound, &samples[1], 1, &e);
        ck_assert(ok || (sound.samples.rank ? sound.samples.dim[0] : 0) == had);
        ok = ok && wf_features_compute(&batch, s, samples, 3, &e);
        heap.fail_at = 0;
        ck_assert(ok || strstr(e.text, "not enough memory"));
        wf_sound_free(&sound);
        wf_features_free(&batch);
        wf_spectrum_free(s), s = NULL;
        ck_assert_int_eq(heap.live, before);
    }
}

const harness_suite suite = { .after = nothing_is_left };
