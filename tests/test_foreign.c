/* Files that others made: numbers of every kind become those of tensors, exact or rounded to the
 * nearest, checked against an independent spelling; every loss is said, what is no safetensors file
 * is named, and what cannot be read keeps nothing else from it. */
#include "tensor/io.h"
#include "tensor/rng.h"
#include "tests/fixture.h"

#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An archive of one tensor "w". */
static wf_archive *archive(const char *dtype, const char *shape, const void *bytes, size_t n)
{
    char header[256];
    wf_error error = { "" };
    snprintf(header, sizeof header, "{'w':{'dtype':'%s','shape':[%s],'data_offsets':[0,%zu]}}",
             dtype, shape, n);
    wf_archive *a = archive_of(header, bytes, n, &error);
    ck_assert_msg(a, "%s", error.text);
    return a;
}

/* ---- numbers ---- */

/* What sign, exponent and fraction of so many bits mean, by arithmetic. */
static double meaning(uint32_t bits, int exponent_bits, int fraction_bits)
{
    uint32_t top = (1u << exponent_bits) - 1, exponent = bits >> fraction_bits & top,
             fraction = bits & ((1u << fraction_bits) - 1);
    int bias = (1 << (exponent_bits - 1)) - 1;
    double sign = bits >> (exponent_bits + fraction_bits) ? -1 : 1;
    if (exponent == top) return fraction ? (double)NAN : sign * HUGE_VAL;
    double of_one = (double)fraction / (double)(1u << fraction_bits);
    return exponent ? sign * ldexp(1 + of_one, (int)exponent - bias)
                    : sign * ldexp(of_one, 1 - bias);
}

static void all_halves(const char *dtype, int exponent_bits, int fraction_bits)
{
    enum { N = 65536 };
    static uint16_t half[N];
    static float narrow[N];
    static double wide[N];
    for (int i = 0; i < N; i++) half[i] = (uint16_t)i;
    OWN(wf_archive) *a = archive(dtype, "65536", half, sizeof half);
    wf_tensor to = wf_tensor_of(WF_F32, WF_SHAPE(N), narrow);
    ck_assert(wf_archive_read(a, "w", &to, NULL));
    to = wf_tensor_of(WF_F64, WF_SHAPE(N), wide);
    ck_assert(wf_archive_read(a, "w", &to, NULL));
    for (uint32_t i = 0; i < N; i++) {
        double x = meaning(i, exponent_bits, fraction_bits), y = (double)narrow[i];
        if (isnan(x)) {
            ck_assert(isnan(y) && isnan(wide[i]));
            continue;
        }
        ck_assert_msg(memcmp(&x, &y, sizeof x) == 0, "%s %04x: %a instead of %a", dtype, i, y, x);
        ck_assert_msg(memcmp(&x, &wide[i], sizeof x) == 0, "%s %04x: %a", dtype, i, wide[i]);
    }
}

TEST(all_65536_halves_of_both_kinds_mean_what_arithmetic_says)
{
    static const int modes[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
    for (int i = 0; i < 4; i++) {
        fesetround(modes[i]);
        all_halves("F16", 5, 10);
        all_halves("BF16", 8, 7);
        ck_assert_int_eq(fegetround(), modes[i]);
        fesetround(FE_TONEAREST);
    }
}

TEST(doubles_become_floats_rounded_to_the_nearest_in_any_mode)
{
    enum { N = 3000 };
    static double x[N];
    static float expected[N], got[N];
    for (uint64_t i = 0; i < N; i++) {
        uint64_t bits;
        uint32_t words[4];
        wf_philox(5, i, 0, words);
        memcpy(&bits, words, sizeof bits);
        /* exponents from below the smallest float to the largest one */
        bits = (bits & ~(UINT64_C(0x7FF) << 52)) | (uint64_t)(860 + i % 290) << 52;
        memcpy(&x[i], &bits, sizeof bits);
        expected[i] = (float)x[i];
    }
    OWN(wf_archive) *a = archive("F64", "3000", x, sizeof x);
    const wf_tensor to = wf_tensor_of(WF_F32, WF_SHAPE(N), got);
    static const int modes[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
    for (int i = 0; i < 4; i++) {
        fesetround(modes[i]);
        bool read = wf_archive_read(a, "w", &to, NULL);
        fesetround(FE_TONEAREST);
        ck_assert(read);
        ck_assert_mem_eq(got, expected, sizeof got);
    }
}

TEST(integers_of_every_kind_are_the_numbers_they_are)
{
    static const uint8_t bytes[4] = { 0, 1, 127, 255 };
    static const int16_t shorts[4] = { 0, -1, INT16_MAX, INT16_MIN };
    static const int32_t ints[4] = { 0, -1, 1 << 24, INT32_MIN };
    static const int64_t longs[4] = { 0, -1, INT32_MAX, INT32_MIN };
    static const uint64_t unsigneds[4] = { 0, 1, 255, INT32_MAX };
    static const struct {
        const char *dtype;
        const void *bytes;
        size_t n;
        double value[4];
        bool exact_f32;
    } kinds[] = {
        { "BOOL", bytes, 4, { 0, 1, 1, 1 }, true },
        { "U8", bytes, 4, { 0, 1, 127, 255 }, true },
        { "I8", bytes, 4, { 0, 1, 127, -1 }, true },
        { "U16", shorts, 8, { 0, 65535, 32767, 32768 }, true },
        { "I16", shorts, 8, { 0, -1, 32767, -32768 }, true },
        { "I32", ints, 16, { 0, -1, 16777216, -2147483648.0 }, true },
        { "I64", longs, 32, { 0, -1, 2147483647, -2147483648.0 }, false },
        { "U64", unsigneds, 32, { 0, 1, 255, 2147483647 }, false },
    };
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        OWN(wf_archive) *a = archive(kinds[k].dtype, "2,2", kinds[k].bytes, kinds[k].n);
        int32_t i[4];
        float f[4];
        double d[4];
        wf_tensor turned, to = wf_tensor_of(WF_I32, WF_SHAPE(2, 2), i);
        ck_assert(wf_archive_read(a, "w", &to, NULL));
        to = wf_tensor_of(WF_F32, WF_SHAPE(2, 2), f);
        ck_assert_int_eq(wf_archive_fits(a, "w", &to, NULL), kinds[k].exact_f32);
        ck_assert_int_eq(wf_archive_read(a, "w", &to, NULL), kinds[k].exact_f32);
        to = wf_tensor_of(WF_F64, WF_SHAPE(2, 2), d);
        ck_assert(wf_view_transpose(&to, 0, 1, &turned));
        ck_assert(wf_archive_read(a, "w", &turned, NULL));
        for (int e = 0; e < 4; e++) {
            ck_assert_msg((double)i[e] == kinds[k].value[e], "%s", kinds[k].dtype);
            ck_assert_msg(d[e % 2 * 2 + e / 2] == kinds[k].value[e], "%s", kinds[k].dtype);
            if (kinds[k].exact_f32)
                ck_assert_msg((double)f[e] == kinds[k].value[e], "%s", kinds[k].dtype);
        }
    }
}

/* The numbers 1 and `last` in a (2) of the file's dtype. */
static void refused(const char *from, const void *last, size_t size, wf_dtype to, const char *said)
{
    char bytes[16] = { 0 };
    double memory[2] = { 7, 7 };
    memcpy(bytes + size, last, size);
    OWN(wf_archive) *a = archive(from, "2,1", bytes, 2 * size);
    wf_error error = { "" };
    const wf_tensor tensor = wf_tensor_of(to, WF_SHAPE(2, 1), memory);
    ck_assert_msg(!wf_archive_fits(a, "w", &tensor, &error), "%s: %s", from, said);
    error.text[0] = 0;
    ck_assert_msg(!wf_archive_read(a, "w", &tensor, &error), "%s: %s", from, said);
    ck_assert_str_eq(error.text, said);
    ck_assert(memory[0] == 7 && memory[1] == 7);
}

#define LOSES(from, type, number, to, said)                                                        \
    refused(from, &(type){ number }, sizeof(type), to, "read 'w': element (1, 0) is " said)

TEST(what_the_dtype_cannot_hold_is_said_with_number_and_place_and_nothing_is_written)
{
    LOSES("F64", double, 1e300, WF_F32, "1e+300, which is beyond the range of f32");
    LOSES("F64", double, -3.5e38, WF_F32, "-3.5e+38, which is beyond the range of f32");
    LOSES("F64", double, 1e300, WF_I32, "1e+300, which is beyond the range of i32");
    LOSES("F64", double, -0.5, WF_I32, "-0.5, which is not a whole number");
    LOSES("F32", float, 1.5f, WF_I32, "1.5, which is not a whole number");
    LOSES("F32", float, 2147483648.0f, WF_I32, "2.14748365e+09, which is beyond the range of i32");
    LOSES("F32", float, INFINITY, WF_I32, "inf, which is beyond the range of i32");
    LOSES("F64", double, NAN, WF_I32, "nan, which is not a whole number");
    LOSES("F16", uint16_t, 0x3E00, WF_I32, "1.5, which is not a whole number");
    LOSES("BF16", uint16_t, 0x7F00, WF_I32, "1.70141183e+38, which is beyond the range of i32");
    LOSES("I64", int64_t, INT64_C(1) << 31, WF_I32, "2147483648, which is beyond the range of i32");
    LOSES("I64", int64_t, -(INT64_C(1) << 31) - 1, WF_I32,
          "-2147483649, which is beyond the range of i32");
    LOSES("U32", uint32_t, UINT32_MAX, WF_I32, "4294967295, which is beyond the range of i32");
    LOSES("U64", uint64_t, UINT64_MAX, WF_I32,
          "18446744073709551615, which is beyond the range of i32");
    LOSES("I32", int32_t, (1 << 24) + 1, WF_F32, "16777217, which f32 cannot hold exactly");
    LOSES("I32", int32_t, INT32_MAX, WF_F32, "2147483647, which f32 cannot hold exactly");
    LOSES("I64", int64_t, INT64_MAX, WF_F64, "9223372036854775807, which f64 cannot hold exactly");
    LOSES("U64", uint64_t, UINT64_MAX, WF_F64,
          "18446744073709551615, which f64 cannot hold exactly");
}

TEST(what_lies_just_within_the_dtype_is_read)
{
    static const int64_t longs[] = { INT64_MIN, INT64_C(1) << 62, (INT64_C(1) << 53) - 1,
                                     -(INT64_C(1) << 40) };
    static const double doubles[] = { (double)INT32_MIN, (double)INT32_MAX, -0.0, 3 };
    double d[4];
    int32_t i[4];
    wf_archive *a = archive("I64", "4", longs, sizeof longs);
    wf_tensor to = wf_tensor_of(WF_F64, WF_SHAPE(4), d);
    ck_assert(wf_archive_read(a, "w", &to, NULL));
    for (int k = 0; k < 4; k++) ck_assert_double_eq(d[k], (double)longs[k]);
    wf_archive_free(a);
    a = archive("F64", "4", doubles, sizeof doubles);
    to = wf_tensor_of(WF_I32, WF_SHAPE(4), i);
    ck_assert(wf_archive_read(a, "w", &to, NULL));
    for (int k = 0; k < 4; k++) ck_assert_double_eq(i[k], doubles[k]);
    wf_archive_free(a);
    /* The largest double that rounds to a float, infinities and not-a-numbers. */
    static const double edges[] = { 3.4028235677973362e38, -INFINITY, NAN, 1e-300 };
    float f[4];
    a = archive("F64", "4", edges, sizeof edges);
    to = wf_tensor_of(WF_F32, WF_SHAPE(4), f);
    ck_assert(wf_archive_read(a, "w", &to, NULL));
    ck_assert(isfinite(f[0]) && f[1] < 0 && isinf(f[1]) && isnan(f[2]) && f[3] == 0);
    wf_archive_free(a);
}

TEST(the_same_dtype_keeps_every_bit_in_any_order_of_memory)
{
    uint32_t words[6], got[6];
    for (uint32_t i = 0; i < 6; i++) words[i] = 0x7F800001u + i; /* signalling not-a-numbers */
    OWN(wf_archive) *a = archive("F32", "2,3", words, sizeof words);
    wf_tensor to = wf_tensor_of(WF_F32, WF_SHAPE(2, 3), got), turned;
    ck_assert(wf_archive_read(a, "w", &to, NULL));
    ck_assert_mem_eq(got, words, sizeof got);
    to = wf_tensor_of(WF_F32, WF_SHAPE(3, 2), got);
    ck_assert(wf_view_transpose(&to, 0, 1, &turned));
    ck_assert(wf_archive_read(a, "w", &turned, NULL));
    for (int i = 0; i < 6; i++) ck_assert_uint_eq(got[i % 3 * 2 + i / 3], words[i]);
}

TEST(halves_of_a_long_tensor_equal_the_whole_and_empty_ones_are_read)
{
    enum { N = 1999 };
    static uint16_t half[N];
    static float whole[N], parts[N];
    for (int i = 0; i < N; i++) half[i] = (uint16_t)(i * 13);
    OWN(wf_archive) *a = archive("BF16", "1999", half, sizeof half),
                    *left = archive("BF16", "777", half, 777 * 2),
                    *right = archive("BF16", "1222", half + 777, 1222 * 2),
                    *none = archive("I64", "3,0", half, 0);
    wf_tensor to = wf_tensor_of(WF_F32, WF_SHAPE(N), whole);
    ck_assert(wf_archive_read(a, "w", &to, NULL));
    to = wf_tensor_of(WF_F32, WF_SHAPE(777), parts);
    ck_assert(wf_archive_read(left, "w", &to, NULL));
    to = wf_tensor_of(WF_F32, WF_SHAPE(1222), parts + 777);
    ck_assert(wf_archive_read(right, "w", &to, NULL));
    ck_assert_mem_eq(whole, parts, sizeof whole);
    to = wf_tensor_of(WF_I32, WF_SHAPE(3, 0), NULL);
    ck_assert(wf_archive_read(none, "w", &to, NULL));
}

/* ---- files ---- */

#define LOOKS "load x: this is no safetensors file; it looks like "
#define TORCH "\n  hint: safetensors.torch.save_file(model.state_dict(), path) writes one"

TEST(a_file_of_another_kind_is_named)
{
    static const struct {
        const char *bytes;
        int64_t n;
        const char *sentence;
    } files[] = {
#define BYTES(text) text, sizeof(text) - 1
        { BYTES("version 1.0\nhello, world"), LOOKS "text" },
        { BYTES("한국어 문장이다"), LOOKS "text" },
        { BYTES("0123456\xEA\xB0"), LOOKS "text" }, /* cut within a letter */
        { BYTES("0123456\xEA\xB0\x01\x02\x03\x04"), NULL },
        { BYTES("01234567\0"), NULL },
        { BYTES("<!DOCTYPE html><html>"), LOOKS "a web page" },
        { BYTES("{\"metadata\": {\"total_size\": 1}}"), LOOKS "JSON" },
        { BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:4d"),
          LOOKS "a pointer of Git LFS\n  hint: git lfs pull fetches the file that it stands for" },
        { BYTES("PK\3\4\0\0\10\10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\20\0\22\0model/data.pklFB"),
          LOOKS "a zip as PyTorch writes it (.pt, .pth, .bin)" TORCH },
        { BYTES("PK\3\4\24\0\0\0\0\0\0\0!\0\0\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0w.npy\x93NUMPY"),
          LOOKS "a zip of NumPy arrays (.npz)" },
        { BYTES("PK\3\4\24\0\0\0\10\0"), LOOKS "a zip" },
        { BYTES("\x80\2\x8a\nl\xfc\x9c\x46\xf9"),
          LOOKS "a pickle of Python (old PyTorch files are ones)" TORCH },
        { BYTES("GGUF\3\0\0\0\1\0"), LOOKS "GGUF" },
        { BYTES("\x89HDF\r\n\x1a\n\0\0"), LOOKS "HDF5 (Keras and others write it)" },
        { BYTES("\x93NUMPY\1\0v\0{"), LOOKS "an array of NumPy (.npy)" },
        { BYTES("\x1f\x8b\10\0\0\0\0\0\0\3"), LOOKS "something compressed by gzip" },
#undef BYTES
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        wf_error error = { "" };
        ck_assert_ptr_null(wf_safetensors_parse("x", files[i].bytes, files[i].n, &error));
        if (files[i].sentence)
            ck_assert_str_eq(error.text, files[i].sentence);
        else
            ck_assert_ptr_nonnull(strstr(error.text, "no safetensors file: its header would take"));
    }
}

/* Everything in this file is foreign to tensors but "w". */
TEST(what_no_tensor_holds_keeps_nothing_else_from_being_read)
{
    char bytes[29];
    wf_error error = { "" };
    for (int i = 0; i < 29; i++) bytes[i] = (char)i;
    OWN(wf_archive) *a = archive_of(
        "{'a':{'dtype':'F8_E4M3','shape':[2],'data_offsets':[0,2]},"
        "'b':{'dtype':'F4','shape':[2,2],'data_offsets':[2,4]},"
        "'c':{'dtype':'C64','shape':[1],'data_offsets':[4,12]},"
        "'d':{'dtype':'of tomorrow','shape':[7],'data_offsets':[12,15]},"
        "'e':{'dtype':'F32','shape':[1,1,1,1,1,1,1,1,1],'data_offsets':[15,19]},"
        "'f':{'dtype':'','shape':[0],'data_offsets':[19,19]},"
        "'g':{'dtype':'F16','shape':[],'data_offsets':[19,21]},"
        "'w':{'dtype':'F32','shape':[2],'data_offsets':[21,29]}}",
        bytes, sizeof bytes, &error);
    ck_assert_msg(a, "%s", error.text);
    ck_assert_int_eq(wf_archive_count(a), 1);
    ck_assert_str_eq(wf_archive_at(a, 0)->name, "w");
    ck_assert_int_eq(((const char *)wf_archive_find(a, "w")->data)[7], 28);
    ck_assert_int_eq(wf_archive_entry_count(a), 8);
    for (int64_t i = 0, at = 0; i < 8; i++) {
        const wf_entry *e = wf_archive_entry_at(a, i);
        ck_assert_ptr_eq(e, wf_archive_entry(a, e->name));
        for (int64_t k = 0; k < e->n_bytes; k++)
            ck_assert_int_eq(((const char *)e->bytes)[k], at++);
    }
    ck_assert_str_eq(wf_archive_entry(a, "d")->dtype, "of tomorrow");
    ck_assert_int_eq(wf_archive_entry(a, "e")->rank, 9);
    ck_assert_ptr_null(wf_archive_find(a, "g"));
    static const struct {
        const char *name, *said;
    } refused[] = {
        { "a",
          "read 'a': it is F8_E4M3; F16, BF16, F32, F64, BOOL and integers of 8 to 64 bits can "
          "be read" },
        { "d",
          "read 'd': it is of tomorrow; F16, BF16, F32, F64, BOOL and integers of 8 to 64 bits "
          "can be read" },
        { "e", "read 'e': it has 9 axes; at most 8 can be read" },
        { "w", "read 'w': it is (2) in the file and () in memory" },
        { "z", "read 'z': the file has no tensor of this name" },
    };
    float number = 7;
    const wf_tensor scalar = wf_tensor_of(WF_F32, WF_SCALAR, &number);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        error.text[0] = 0;
        ck_assert(!wf_archive_read(a, refused[i].name, &scalar, &error));
        ck_assert_str_eq(error.text, refused[i].said);
    }
    ck_assert(number == 7 && wf_archive_read(a, "g", &scalar, NULL) && number != 7);
}

TEST(a_foreign_file_that_ends_early_or_late_is_refused)
{
    static const char header[] =
        "{'__metadata__':null,'a':{'dtype':'BF16','shape':[3],'data_offsets':[0,6]},"
        "'b':{'dtype':'BOOL','shape':[1],'data_offsets':[6,7]},"
        "'c':{'dtype':'I64','shape':[],'data_offsets':[7,15]},"
        "'d':{'dtype':'F4','shape':[2,3],'data_offsets':[15,18]},"
        "'e':{'dtype':'new','shape':[9],'data_offsets':[18,20]}}";
    static const char data[21];
    int64_t size;
    char *file = safetensors_of(header, data, 21, &size); /* a byte more than it takes */
    for (int64_t n = 0; n <= size; n++) {
        /* Of this very size, for those who watch its ends. */
        char *exact = malloc(n ? (size_t)n : 1);
        wf_error error = { "" };
        memcpy(exact, file, (size_t)n);
        OWN(wf_archive) *a = wf_safetensors_parse("x", exact, n, &error);
        ck_assert_msg((a != NULL) == (n == size - 1), "%lld bytes", (long long)n);
        ck_assert_int_eq(error.text[0] != 0, n != size - 1);
        free(exact);
    }
    free(file);
}
