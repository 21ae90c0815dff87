/* WAV files: every encoding to the bit, what is written read back, each bad file one sentence, and
 * thousands of damaged ones that do no harm. */
#include "data/wav.h"
#include "tensor/io.h"
#include "tests/damage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void nothing_held(void)
{
    ck_assert_int_eq(heap.live, 0);
}

const harness_suite suite = { .after = nothing_held };

/* ---- files in memory ---- */

static void add_number(file *f, int bytes, uint64_t number)
{
    for (int i = 0; i < bytes; i++) add_bytes(f, &(unsigned char){ number >> 8 * i & 0xFF }, 1);
}

static void add_chunk(file *f, const char *name, const void *bytes, uint32_t n)
{
    add_bytes(f, name, 4);
    add_number(f, 4, n);
    add_bytes(f, bytes, n);
    if (n % 2) add_bytes(f, "", 1);
}

static void add_format(file *f, uint64_t tag, uint64_t channels, uint64_t rate, uint64_t bits)
{
    add_bytes(f, "fmt ", 4);
    add_number(f, 4, tag == 0xFFFE ? 40 : 16);
    add_number(f, 2, tag);
    add_number(f, 2, channels);
    add_number(f, 4, rate);
    add_number(f, 4, rate * channels * bits / 8);
    add_number(f, 2, channels * bits / 8);
    add_number(f, 2, bits);
}

/* The size in the header becomes what is there. */
static void finish(file *f)
{
    const int64_t n = f->n;
    f->n = 4;
    add_number(f, 4, (uint64_t)(n - 8));
    f->n = n;
}

static file begin(void)
{
    file f = { .n = 0 };
    add_bytes(&f, "RIFF....WAVE", 12);
    return f;
}

static file wav_file(uint64_t tag, uint64_t channels, uint64_t bits, const void *data, uint32_t n)
{
    file f = begin();
    add_format(&f, tag, channels, 8000, bits);
    add_chunk(&f, "data", data, n);
    finish(&f);
    return f;
}

static wf_wav *read_file(const file *f, const wf_wav_options *options)
{
    wf_error error = { "old" };
    wf_wav *wav = wf_wav_from_memory("x", f->bytes, f->n, options, &error);
    ck_assert_msg(wav && !*error.text, "%s", error.text);
    return wav;
}

static void samples_are(const file *f, const wf_wav_options *options, int64_t time,
                        int64_t channels, const float *want)
{
    wf_wav *wav = read_file(f, options);
    ck_assert_int_eq(wav->rate, 8000);
    ck_assert(wav->samples.dtype == WF_F32 && wav->samples.rank == 2);
    ck_assert_int_eq(wav->samples.dim[0], time);
    ck_assert_int_eq(wav->samples.dim[1], channels);
    for (int64_t i = 0; i < time * channels; i++)
        ck_assert(((float *)wav->samples.data)[i] == want[i]);
    wf_wav_free(wav);
}

/* ---- reading ---- */

TEST(every_encoding_is_read_to_the_bit)
{
    const float edges[] = { -1, -0.5f, 0, 0.5f };
    const unsigned char eight[] = { 0, 64, 128, 192 };
    const unsigned char sixteen[] = { 0, 0x80, 0, 0xC0, 0, 0, 0, 0x40 };
    const unsigned char more[] = { 0, 0, 0x80, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0x40 };
    const unsigned char most[] = { 0, 0, 0, 0x80, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0x40 };
    const double wide[] = { -1, -0.5, 0, 0.5 };
    file f = wav_file(1, 1, 8, eight, 4);
    samples_are(&f, NULL, 4, 1, edges);
    f = wav_file(1, 1, 16, sixteen, 8);
    samples_are(&f, NULL, 4, 1, edges);
    f = wav_file(1, 2, 24, more, 12);
    samples_are(&f, NULL, 2, 2, edges);
    f = wav_file(1, 4, 32, most, 16);
    samples_are(&f, NULL, 1, 4, edges);
    f = wav_file(3, 1, 32, edges, 16);
    samples_are(&f, NULL, 4, 1, edges);
    f = wav_file(3, 2, 64, wide, 32);
    samples_are(&f, NULL, 2, 2, edges);
    f = wav_file(1, 1, 24, (unsigned char[]){ 1, 0, 0, 0xFF, 0xFF, 0x7F }, 6);
    samples_are(&f, NULL, 2, 1, (float[]){ 0x1p-23f, 1 - 0x1p-23f });
    f = wav_file(1, 1, 16, "", 0);
    samples_are(&f, NULL, 0, 1, NULL);
}

TEST(channels_are_mixed_down_to_their_mean)
{
    const float two[] = { 1, -0.5f, 0.25f, 0.75f };
    const file f = wav_file(3, 2, 32, two, 16);
    samples_are(&f, &(wf_wav_options){ .mono = true }, 2, 1, (float[]){ 0.25f, 0.5f });
}

TEST(the_extensible_header_and_other_chunks_are_read)
{
    file f = begin();
    add_chunk(&f, "LIST", "odd", 3);
    add_format(&f, 0xFFFE, 1, 8000, 16);
    add_number(&f, 2, 22);
    add_number(&f, 2, 12); /* of 16 bits, those that are used */
    add_number(&f, 4, 4);
    add_bytes(&f, "\1\0\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71", 16);
    add_chunk(&f, "fact", "1234", 4);
    add_chunk(&f, "data", "\0\x40", 2);
    add_chunk(&f, "LIST", "behind", 6);
    finish(&f);
    samples_are(&f, NULL, 1, 1, (float[]){ 0.5f });
    add_bytes(&f, "what is behind the file as its header has it", 20);
    samples_are(&f, NULL, 1, 1, (float[]){ 0.5f });
    f.bytes[0x3A] ^= 1; /* another family of encodings */
    wf_error error;
    ck_assert_ptr_null(wf_wav_from_memory("x", f.bytes, f.n, NULL, &error));
    ck_assert_str_eq(error.text, "wav 'x': samples of 16 bits in encoding 65534 are not read; PCM "
                                 "(1) of 8, 16, 24 or 32 bits is, and floats (3) of 32 or 64");
}

TEST(the_last_byte_that_makes_it_even_may_be_missing)
{
    file f = wav_file(1, 1, 8, "\x80\x80\xC0", 3);
    samples_are(&f, NULL, 3, 1, (float[]){ 0, 0, 0.5f });
    f.n--;
    samples_are(&f, NULL, 3, 1, (float[]){ 0, 0, 0.5f });
}

/* ---- what is bad ---- */

static void refused(const file *f, const char *says)
{
    wf_error error = { "old" };
    ck_assert_ptr_null(wf_wav_from_memory("x", f->bytes, f->n, NULL, &error));
    ck_assert_str_eq(error.text, says);
    ck_assert(well_said(error.text));
}

/* The file with a number at an offset. */
static file where(file f, int64_t at, int bytes, uint64_t number)
{
    const int64_t n = f.n;
    f.n = at;
    add_number(&f, bytes, number);
    f.n = n;
    return f;
}

TEST(each_bad_file_is_one_sentence)
{
    const file good = wav_file(1, 1, 16, "abcd", 4); /* 12 + 24 + 12 bytes */
    const struct {
        file f;
        const char *says;
    } bad[] = {
        { first(good, 0), "wav 'x': it is empty" },
        { first(good, 3), "wav 'x': it is cut: 3 bytes are no header of a WAV file" },
        { first(good, 11), "wav 'x': it is cut: 11 bytes are no header of a WAV file" },
        { first(good, 30), "wav 'x': it is cut: its header says that 40 bytes follow, and 22 do" },
        { first(good, 46), "wav 'x': it is cut: its header says that 40 bytes follow, and 38 do" },
        { where(good, 0, 1, 'X'),
          "wav 'x': this is not a WAV file: it does not begin with 'RIFF'" },
        { where(good, 8, 1, 'S'), "wav 'x': this RIFF file holds 'SAVE', not 'WAVE'" },
        { where(good, 8, 1, 0xFF), "wav 'x': this RIFF file holds '?', not 'WAVE'" },
        { where(good, 4, 4, 3), "wav 'x': its header says that 3 bytes follow; 4 do at least" },
        { where(good, 4, 4, 0xFFFFFFFF),
          "wav 'x': it is cut: its header says that 4294967295 bytes follow, and 40 do" },
        { where(good, 4, 4, 4), "wav 'x': it has no samples (no chunk 'data')" },
        { where(good, 4, 4, 5), "wav 'x': it is cut: 1 bytes are no header of a chunk" },
        { where(good, 12, 1, 'g'), "wav 'x': no chunk 'fmt ' says what its samples are" },
        { where(good, 16, 4, 8), "wav 'x': its chunk 'fmt ' has 8 bytes; it takes 16 or more" },
        { where(good, 16, 4, 0xFFFFFFFF), "wav 'x': it is cut: its chunk 'fmt ' says that it has "
                                          "4294967295 bytes, and 28 are there" },
        { where(good, 36, 1, 'D'), "wav 'x': it has no samples (no chunk 'data')" },
        { where(good, 40, 4, 0x7FFFFFFF), "wav 'x': it is cut: its chunk 'data' says that it has "
                                          "2147483647 bytes, and 4 are there" },
        { where(good, 40, 4, 3),
          "wav 'x': it is cut: 3 bytes of samples are no whole number of 2" },
        { where(good, 22, 2, 0), "wav 'x': it has 0 channels" },
        { where(good, 24, 4, 0), "wav 'x': its rate is 0 Hz" },
        { where(good, 32, 2, 4),
          "wav 'x': 1 channels of 16 bits are said to take 4 bytes; they take 2" },
        { where(good, 34, 2, 12), "wav 'x': samples of 12 bits in encoding 1 are not read; PCM (1) "
                                  "of 8, 16, 24 or 32 bits is, and floats (3) of 32 or 64" },
        { where(good, 20, 2, 85),
          "wav 'x': samples of 16 bits in encoding 85 are not read; PCM (1) "
          "of 8, 16, 24 or 32 bits is, and floats (3) of 32 or 64" },
        { where(good, 20, 2, 0xFFFE), "wav 'x': its extensible chunk 'fmt ' has 16 bytes; it takes "
                                      "40" },
        { wav_file(3, 1, 32, (float[]){ 0, NAN }, 8), "wav 'x': sample (1, 0) is nan" },
        { wav_file(3, 2, 64, (double[]){ 0, 1e300 }, 16), "wav 'x': sample (0, 1) is 1e+300" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) refused(&bad[i].f, bad[i].says);
}

TEST(files_that_are_none_are_one_sentence)
{
    wf_error e;
    ck_assert_ptr_null(wf_wav_load(NULL, NULL, &e));
    ck_assert_str_eq(e.text, "wav '(no path)': no path was given");
    ck_assert_ptr_null(wf_wav_load(harness_folder(), NULL, &e));
    ck_assert_str_eq(e.text, worded("wav '%s': it is a folder", harness_folder()));
    const char *path = path_of("소리.wav");
    ck_assert_ptr_null(wf_wav_load(path, NULL, &e));
    ck_assert_str_eq(e.text, worded("wav '%s': no such file or folder", path));
    ck_assert(wf_file_write(path, "RIF", 3, &e));
    ck_assert_ptr_null(wf_wav_load(path, NULL, &e));
    ck_assert_str_eq(e.text,
                     worded("wav '%s': it is cut: 3 bytes are no header of a WAV file", path));
    ck_assert_ptr_null(wf_wav_from_memory(NULL, NULL, 4, NULL, &e));
    ck_assert_str_eq(e.text, "wav '(memory)': no bytes were given");
    ck_assert_ptr_null(wf_wav_from_memory(NULL, "RIFF", -1, NULL, &e));
    ck_assert_str_eq(e.text, "wav '(memory)': no bytes were given");
    ck_assert_ptr_null(wf_wav_from_memory(NULL, NULL, 0, NULL, &e));
    ck_assert_str_eq(e.text, "wav '(memory)': it is empty");
}

/* What is given may not be read one byte too far: each is in memory of its own. */
static bool reads(const unsigned char *bytes, int64_t n)
{
    wf_error error = { "old" };
    unsigned char *own = malloc(n ? (size_t)n : 1);
    memcpy(own, bytes, (size_t)n);
    wf_wav *wav = wf_wav_from_memory("x", own, n, NULL, &error);
    ck_assert((wav != NULL) == !*error.text);
    ck_assert_msg(wav || well_said(error.text), "%s", error.text);
    for (int64_t i = 0; wav && i < wf_tensor_count(&wav->samples); i++)
        ck_assert(isfinite(wf_tensor_at(&wav->samples, i)));
    free(own);
    const bool read = wav;
    wf_wav_free(wav);
    return read;
}

TEST(what_is_cut_anywhere_is_refused)
{
    const file good = wav_file(1, 2, 16, "abcdefghijklmnopqrstuvwxyz12", 28);
    ck_assert(reads(good.bytes, good.n));
    for (int64_t n = 0; n + 1 < good.n; n++) ck_assert(!reads(good.bytes, n));
}

TEST_EACH(damaged_files_do_no_harm, 4)
{
    const file good[] = { wav_file(1, 1, 8, "abcdefgh", 8), wav_file(1, 2, 16, "abcdefgh", 8),
                          wav_file(3, 1, 32, "abcdefgh", 8), wav_file(1, 3, 24, "abcdefghi", 9) };
    int read = 0;
    const uint64_t key = (uint64_t)_i + 71;
    uint64_t draw = 0;
    for (int k = 0; k < 10000; k++) {
        const file f = damaged(good[_i], key, &draw);
        read += reads(f.bytes, f.n);
    }
    ck_assert(read > 100 && read < 9900);
}

/* ---- writing ---- */

TEST(what_is_written_has_this_header_and_these_samples)
{
    wf_error e;
    const float x[] = { 0, 0.5f, -1, 1, 2, -3, 0x1.8p-16f, 0x1p-16f };
    const wf_tensor samples = wf_tensor_over(WF_F32, WF_SHAPE(4, 2), x);
    ck_assert(wf_wav_save(path_of("a.wav"), &samples, 44100, &e));
    int64_t n;
    char *bytes = wf_file_read(path_of("a.wav"), 0, &n, &e);
    const char want[] = "RIFF\x34\0\0\0WAVEfmt \x10\0\0\0\1\0\2\0\x44\xAC\0\0\x10\xB1\2\0\4\0\x10\0"
                        "data\x10\0\0\0"
                        "\0\0\0\x40\0\x80\xFF\x7F\xFF\x7F\0\x80\1\0\0\0";
    ck_assert_int_eq(n, (int64_t)sizeof want - 1);
    ck_assert_mem_eq(bytes, want, sizeof want - 1);
    wf_release(bytes);
}

TEST(what_is_saved_is_loaded)
{
    enum { T = 50, C = 3 };
    wf_error e;
    double x[C][2 * T];
    for (int i = 0; i < C * 2 * T; i++)
        x[i / (2 * T)][i % (2 * T)] = 2 * wf_random_uniform(5, (uint64_t)i) - 1;
    wf_tensor samples = wf_tensor_of(WF_F64, WF_SHAPE(C, 2 * T), x); /* (T, C), strided */
    ck_assert(wf_view_slice(&samples, 1, 0, 2 * T, 2, &samples));
    ck_assert(wf_view_transpose(&samples, 0, 1, &samples));
    ck_assert(wf_wav_save(path_of("소리.wav"), &samples, 8000, &e));
    wf_wav *wav = wf_wav_load(path_of("소리.wav"), NULL, &e);
    ck_assert_msg(wav, "%s", e.text);
    ck_assert(wav->samples.dim[0] == T && wav->samples.dim[1] == C && wav->rate == 8000);
    for (int64_t i = 0; i < T * C; i++) {
        const double want = wf_tensor_at(&samples, i), got = wf_tensor_at(&wav->samples, i);
        ck_assert_double_le(fabs(want - got), want > 1 - 0x1p-16 ? 0x1p-15 : 0x1p-16);
    }
    ck_assert(wf_wav_save(path_of("again.wav"), &wav->samples, 8000, &e));
    wf_wav *again = wf_wav_load(path_of("again.wav"), NULL, &e);
    ck_assert_mem_eq(again->samples.data, wav->samples.data, T * C * sizeof(float));
    wf_wav_free(wav);
    wf_wav_free(again);
}

TEST(what_cannot_be_written_leaves_the_old_file)
{
    wf_error e;
    const char *path = path_of("a.wav");
    float x[4] = { 0, 0, 0, INFINITY };
    int32_t ids[4] = { 0 };
    ck_assert(wf_file_write(path, "old", 3, &e));
    const struct {
        wf_tensor x;
        int64_t rate;
        const char *says;
    } bad[] = {
        { wf_tensor_of(WF_F32, WF_SHAPE(2, 2), x), 8000, "sample (1, 1) is inf" },
        { wf_tensor_of(WF_F32, WF_SHAPE(3), x), 0,
          "a rate of 0 Hz cannot be written; 1 to 4294967295 can" },
        { wf_tensor_of(WF_F32, WF_SHAPE(3), x), INT64_C(1) << 32,
          "a rate of 4294967296 Hz cannot be written; 1 to 4294967295 can" },
        { wf_tensor_of(WF_F32, WF_SHAPE(3, 0), x), 8000,
          "0 channels cannot be written; 1 to 32767 can" },
        { wf_tensor_of(WF_F32, WF_SHAPE(INT64_C(1) << 31), x), 8000,
          "2147483648 samples are more than a WAV file has room for" },
        { wf_tensor_of(WF_F32, WF_SHAPE(4), NULL), 8000, "no samples were given" },
        { wf_tensor_of(WF_F32, WF_SHAPE(-4), x), 8000, "no samples were given" },
        { wf_tensor_of(WF_I32, WF_SHAPE(4), ids), 8000,
          "samples are f32 or f64 of (time) or (time, channels)" },
        { wf_tensor_of(WF_F32, WF_SHAPE(1, 2, 2), x), 8000,
          "samples are f32 or f64 of (time) or (time, channels)" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert(!wf_wav_save(path, &bad[i].x, bad[i].rate, &e));
        ck_assert_str_eq(e.text, worded("wav '%s': %s", path, bad[i].says));
    }
    ck_assert(!wf_wav_save(NULL, &bad[1].x, 8000, &e));
    ck_assert_str_eq(e.text, "wav '(no path)': no path was given");
    int64_t n;
    char *bytes = wf_file_read(path, 0, &n, &e);
    ck_assert_str_eq(bytes, "old");
    wf_release(bytes);
}

TEST(memory_may_run_out_anywhere)
{
    wf_error e;
    float x[4] = { 0 };
    const wf_tensor samples = wf_tensor_of(WF_F32, WF_SHAPE(4), x);
    const char *path = path_of("a.wav");
    bool ok = false;
    for (int at = 1; !ok; at++) {
        ck_assert_int_lt(at, 20);
        heap.fail_at = heap.asked + at, heap.fail_on = true;
        ok = wf_wav_save(path, &samples, 8000, &e);
        wf_wav *wav = ok ? wf_wav_load(path, NULL, &e) : NULL;
        ok = wav;
        heap.fail_at = 0, heap.fail_on = false;
        ck_assert(ok || strstr(e.text, "not enough memory"));
        wf_wav_free(wav);
        ck_assert_int_eq(heap.live, 0);
    }
}

TEST(real_recordings_are_read)
{
    const char *path = harness_data("fsdd/recordings/7_jackson_0.wav");
    wf_error e;
    if (!path) return;
    wf_wav *wav = wf_wav_load(path, NULL, &e);
    ck_assert_msg(wav, "%s", e.text);
    ck_assert(wav->rate == 8000 && wav->samples.dim[1] == 1 && wav->samples.dim[0] > 1000);
    wf_wav_free(wav);
}
