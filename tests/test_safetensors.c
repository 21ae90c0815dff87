/* The safetensors format: what is written is read back bit for bit, what is damaged or lies is
 * refused in one sentence. */
#define WEFT_FUZZ_LOOP
#include "tests/fuzz_safetensors.c"

#include "tests/fixture.h"

#include <stdio.h>

/* ---- making files ---- */

/* The archive of a header and of data 0 1 2 ... */
static wf_archive *parse_header(const char *header, size_t data, wf_error *error)
{
    char bytes[64];
    ck_assert_uint_le(data, sizeof bytes);
    for (size_t i = 0; i < data; i++) bytes[i] = (char)i;
    return archive_of(header, bytes, data, error);
}

static void expect_refusal(const char *header, size_t data, const char *sentence)
{
    wf_error error = { "" };
    char whole[sizeof error.text];
    snprintf(whole, sizeof whole, "load x: %s", sentence);
    wf_archive *a = parse_header(header, data, &error);
    ck_assert_msg(!a, "accepted: %s", header);
    ck_assert_msg(strcmp(error.text, whole) == 0, "%s\n  said     %s\n  expected %s", header,
                  error.text, whole);
}

/* Saves into fuzz_file. */
static void save(const wf_named *tensors, int64_t n, const wf_meta *meta, int64_t n_meta)
{
    wf_error error = { "" };
    fuzz_prepare();
    fuzz_file.n = 0;
    ck_assert_msg(wf_safetensors_save("no-such-folder-of-weft/x", tensors, n, meta, n_meta, &error),
                  "%s", error.text);
}

static wf_archive *parse_saved(void)
{
    wf_error error = { "" };
    wf_archive *a = wf_safetensors_parse("x", fuzz_file.bytes, (int64_t)fuzz_file.n, &error);
    ck_assert_msg(a, "%s", error.text);
    return a;
}

static void save_small(void)
{
    static float w[6] = { 1, -2, 3.5f, 0, -0.0f, 1e-40f };
    static double b[3] = { 1, 2, 3 };
    static int32_t ids[1] = { -7 };
    const wf_named tensors[] = { { "layer.weight", wf_tensor_of(WF_F32, WF_SHAPE(2, 3), w) },
                                 { "layer.bias", wf_tensor_of(WF_F64, WF_SHAPE(3), b) },
                                 { "step", wf_tensor_of(WF_I32, WF_SCALAR, ids) } };
    save(tensors, 3, (wf_meta[]){ { "alphabet", "ab\n가" }, { "cell", "lstm" } }, 2);
}

/* ---- writing and reading back ---- */

TEST(saved_tensors_of_every_dtype_and_rank_load_with_the_same_bits)
{
    enum { MOST = 2 * 3 * 2 * 2 };
    static double numbers[MOST];
    wf_named all[3 * (WF_RANK + 1)];
    char names[3 * (WF_RANK + 1)][32];
    const int64_t sizes[WF_RANK] = { 2, 3, 1, 2, 1, 2, 1, 1 };
    for (int i = 0; i < MOST; i += 2) { /* any bits, so not-a-numbers too */
        uint32_t words[4];
        wf_philox(1, (uint64_t)i, 0, words);
        memcpy(&numbers[i], words, sizeof words);
    }
    int n = 0;
    for (int rank = 0; rank <= WF_RANK; rank++)
        for (int dtype = 0; dtype < 3; dtype++) {
            wf_shape shape = { .rank = rank };
            memcpy(shape.dim, sizes, sizeof sizes);
            snprintf(names[n], sizeof names[n], "%d of %d", dtype, rank);
            all[n] = (wf_named){ names[n], wf_tensor_of((wf_dtype)dtype, shape, numbers) };
            n++;
        }
    save(all, n, NULL, 0);
    OWN(wf_archive) *a = parse_saved();
    ck_assert_int_eq(wf_archive_count(a), n);
    for (int i = 0; i < n; i++) {
        const wf_tensor *x = &all[i].tensor, *y = wf_archive_find(a, names[i]);
        ck_assert_ptr_nonnull(y);
        wf_shape p = wf_tensor_shape(x), q = wf_tensor_shape(y);
        ck_assert(wf_shape_equal(&p, &q) && x->dtype == y->dtype);
        ck_assert_mem_eq(x->data, y->data, (size_t)bytes_in(x));
        ck_assert_int_eq((intptr_t)y->data % wf_dtype_size(y->dtype), 0);
        ck_assert_ptr_eq(y, &wf_archive_at(a, i)->tensor);
    }
    ck_assert_ptr_null(wf_archive_at(a, n));
    ck_assert_ptr_null(wf_archive_at(a, -1));
    ck_assert_ptr_null(wf_archive_find(a, "absent"));
}

TEST(strided_tensors_are_written_in_row_major_order)
{
    enum { N = 96 };
    OWN(double) *numbers = malloc(sizeof *numbers * N * N);
    for (int i = 0; i < N * N; i++) numbers[i] = i;
    wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(N, N), numbers), row;
    wf_named views[5] = {
        { "turned", x }, { "stepped", x }, { "repeated", x }, { "windows", x }, { "odd", x }
    };
    ck_assert(wf_view_transpose(&x, 0, 1, &views[0].tensor));
    ck_assert(wf_view_slice(&x, 1, 3, 90, 4, &views[1].tensor));
    ck_assert(wf_view_select(&x, 0, 5, &row));
    ck_assert(wf_view_expand(&row, WF_SHAPE(7, N), &views[2].tensor));
    ck_assert(wf_view_window(&row, 0, 9, 2, &views[3].tensor));
    /* One number more than a whole buffer of the writer takes. */
    x = wf_tensor_of(WF_F64, WF_SHAPE(N * N), numbers);
    ck_assert(wf_view_slice(&x, 0, 0, 2 * 2049, 2, &views[4].tensor));
    save(views, 5, NULL, 0);
    OWN(wf_archive) *a = parse_saved();
    for (int i = 0; i < 5; i++) {
        const wf_tensor *y = wf_archive_find(a, views[i].name);
        ck_assert(wf_tensor_is_contiguous(y));
        ck_assert_int_eq(wf_tensor_count(y), wf_tensor_count(&views[i].tensor));
        for (int64_t k = 0; k < wf_tensor_count(y); k++)
            ck_assert_double_eq(((const double *)y->data)[k], wf_tensor_at(&views[i].tensor, k));
    }
}

TEST(empty_tensors_and_empty_files_are_kept)
{
    const wf_named empty[] = { { "none", wf_tensor_of(WF_F32, WF_SHAPE(0), NULL) },
                               { "", wf_tensor_of(WF_F64, WF_SHAPE(3, 0, 2), NULL) } };
    save(empty, 2, NULL, 0);
    wf_archive *a = parse_saved();
    ck_assert_int_eq(wf_archive_find(a, "")->dim[2], 2);
    ck_assert_int_eq(wf_tensor_count(wf_archive_find(a, "none")), 0);
    wf_archive_free(a);
    save(NULL, 0, NULL, 0);
    a = parse_saved();
    ck_assert_int_eq(wf_archive_count(a), 0);
    wf_archive_free(a);
}

TEST(any_text_is_kept_in_names_and_metadata)
{
    static float x[1] = { 1 };
    char controls[128] = "";
    for (int c = 1; c < 128; c++) controls[c - 1] = (char)c;
    const char *const texts[] = {
        controls, "한국어 글자", "\xF0\x9F\xA7\xB5 weft", "\\u0041 \"quoted\"", "", " "
    };
    enum { N = sizeof texts / sizeof *texts };
    wf_named named[N];
    wf_meta meta[N];
    for (int i = 0; i < N; i++) {
        named[i] = (wf_named){ texts[i], wf_tensor_of(WF_F32, WF_SHAPE(1), x) };
        meta[i] = (wf_meta){ texts[i], texts[N - 1 - i] };
    }
    save(named, N, meta, N);
    OWN(wf_archive) *a = parse_saved();
    for (int i = 0; i < N; i++) {
        ck_assert_str_eq(wf_archive_at(a, i)->name, texts[i]);
        ck_assert_ptr_nonnull(wf_archive_find(a, texts[i]));
        ck_assert_str_eq(wf_archive_meta(a, texts[i]), texts[N - 1 - i]);
    }
    ck_assert_ptr_null(wf_archive_meta(a, "absent"));
}

/* CRC-64/XZ as its definition says, a bit at a time. */
static uint64_t crc_by_bits(const char *bytes, size_t n)
{
    uint64_t v = ~(uint64_t)0;
    for (size_t i = 0; i < n; i++) {
        v ^= (unsigned char)bytes[i];
        for (int bit = 0; bit < 8; bit++) v = v & 1 ? v >> 1 ^ 0xC96C5795D7870F42u : v >> 1;
    }
    return ~v;
}

TEST(the_checksum_is_crc_64_xz_with_its_own_digits_as_zeros)
{
    ck_assert(crc_by_bits("123456789", 9) == 0x995DC9BBDF1939FA); /* the catalogue's check value */
    save_small();
    OWN(wf_archive) *a = parse_saved();
    ck_assert_str_eq(wf_archive_meta(a, "weft.format"), "1");
    char digits[17], *at = NULL;
    for (size_t i = 0; i + 16 <= fuzz_file.n && !at; i++)
        if (memcmp(fuzz_file.bytes + i, wf_archive_meta(a, "weft.checksum"), 16) == 0)
            at = fuzz_file.bytes + i;
    ck_assert_ptr_nonnull(at);
    memset(at, '0', 16);
    snprintf(digits, sizeof digits, "%016llx",
             (unsigned long long)crc_by_bits(fuzz_file.bytes, fuzz_file.n));
    ck_assert_str_eq(digits, wf_archive_meta(a, "weft.checksum"));
}

TEST(the_data_begins_at_a_multiple_of_eight)
{
    char name[12] = "";
    for (int i = 0; i < 10; i++) {
        name[i] = 'n';
        save(&(wf_named){ name, wf_tensor_of(WF_F64, WF_SHAPE(1), (double[]){ 1 }) }, 1, NULL, 0);
        uint64_t header;
        memcpy(&header, fuzz_file.bytes, 8);
        ck_assert_uint_eq(header % 8, 0);
        ck_assert_uint_eq(fuzz_file.n, 8 + header + 8);
    }
}

/* ---- damage ---- */

TEST(every_single_bit_flip_of_a_file_is_refused)
{
    save_small();
    for (size_t i = 0; i < fuzz_file.n * 8; i++) {
        wf_error error = { "" };
        fuzz_file.bytes[i / 8] = (char)(fuzz_file.bytes[i / 8] ^ 1 << i % 8);
        wf_archive *a = wf_safetensors_parse("x", fuzz_file.bytes, (int64_t)fuzz_file.n, &error);
        ck_assert_msg(!a, "bit %zu of byte %zu", i % 8, i / 8);
        ck_assert_msg(strncmp(error.text, "load x: ", 8) == 0 && !strchr(error.text, '\n'), "%s",
                      error.text);
        fuzz_file.bytes[i / 8] = (char)(fuzz_file.bytes[i / 8] ^ 1 << i % 8);
    }
    wf_archive_free(parse_saved());
}

TEST(a_file_that_ends_early_or_late_is_refused)
{
    save_small();
    for (size_t n = 0; n < fuzz_file.n; n++) {
        wf_error error = { "" };
        char *exact = malloc(n + 1); /* so that a read past the end is seen */
        memcpy(exact, fuzz_file.bytes, n);
        ck_assert_msg(!wf_safetensors_parse("x", exact, (int64_t)n, &error), "%zu bytes", n);
        ck_assert_msg(strncmp(error.text, "load x: ", 8) == 0, "%s", error.text);
        free(exact);
    }
    wf_error error = { "" };
    fuzz_write(NULL, 0, "", 1);
    ck_assert_ptr_null(wf_safetensors_parse("x", fuzz_file.bytes, (int64_t)fuzz_file.n, &error));
    ck_assert_str_eq(error.text, "load x: 1 bytes follow the last tensor");
}

TEST(a_checksum_and_a_format_need_each_other_and_be_right)
{
    fuzz_prepare();
    expect_refusal("{'__metadata__':{'weft.format':'1'}}", 0,
                   "it has a 'weft.format' but no 'weft.checksum'");
    expect_refusal("{'__metadata__':{'weft.checksum':'0000000000000000'}}", 0,
                   "it has a 'weft.checksum' but no 'weft.format'");
    expect_refusal("{'__metadata__':{'weft.checksum':'0000000000000000','weft.format':'2'}}", 0,
                   "it has the format '2'; this library reads '1'");
    expect_refusal("{'__metadata__':{'weft.checksum':'000000000000000','weft.format':'1'}}", 0,
                   "its checksum takes 15 bytes instead of 16");
    expect_refusal("{'__metadata__':{'weft.checksum':'000000000000000\\u0030','weft.format':'1'}}",
                   0, "its checksum takes 21 bytes instead of 16");
    expect_refusal(
        "{'__metadata__':{'weft.checksum':'0000000000000000','weft.format':'1'}}", 0,
        "it is damaged: its checksum is '0000000000000000', its bytes give '4d25d86907836567'");
}

/* ---- headers that lie ---- */

#define W "{'w':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}"
#define SHAPED(shape) "{'w':{'dtype':'F32','shape':" shape ",'data_offsets':[0,8]}}"
#define PLACED(ends) "{'w':{'dtype':'F32','shape':[2],'data_offsets':" ends "}}"
#define TYPED(dtype) "{'w':{'dtype':" dtype ",'shape':[2],'data_offsets':[0,8]}}"
#define META(meta)                                                                                 \
    "{'__metadata__':" meta ","                                                                    \
    "'w':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}"
#define NAMED(name) "{" name ":{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}"
#define PAIR(a, b)                                                                                 \
    "{'a':{'dtype':'F32','shape':[1],'data_offsets':" a                                            \
    "},'b':{'dtype':'F32','shape':[1],'data_offsets':" b "}}"

static const struct {
    const char *header;
    size_t data;
    const char *sentence;
} lies[] = {
    { "", 0, "the header is empty" },
    { " " W "}", 8, "header byte 0: expected '{', found white space" },
    { "\n{}", 0, "header byte 0: expected '{', found white space" },
    { "\xEF\xBB\xBF{}", 0, "header byte 0: expected '{', found 0xef" },
    { "[]", 0, "header byte 0: expected '{', found '['" },
    { "null", 0, "header byte 0: expected '{', found 'n'" },
    { "'w'", 0, "header byte 0: expected '{', found '\"'" },
    { "{", 0, "header byte 1: expected a string, found the end" },
    { "{,}", 0, "header byte 1: expected a string, found ','" },
    { "{}{}", 0, "header byte 2: more than spaces after its end" },
    { "{}\n", 0, "header byte 2: more than spaces after its end" },
    { "{}}", 0, "header byte 2: more than spaces after its end" },
    { "{} x", 0, "header byte 3: more than spaces after its end" },
    { "{/**/}", 0, "header byte 1: expected a string, found '/'" },
    { "{w:{}}", 0, "header byte 1: expected a string, found 'w'" },
    { "{1:{}}", 0, "header byte 1: expected a string, found '1'" },
    { "{'w'}", 0, "header byte 4: expected ':', found '}'" },
    { "{'w':}", 0, "header byte 5: expected '{', found '}'" },
    { "{'w':null}", 0, "header byte 5: expected '{', found 'n'" },
    { "{'w':[]}", 0, "header byte 5: expected '{', found '['" },
    { "{'w':'F32'}", 0, "header byte 5: expected '{', found '\"'" },
    { "{'w':{'dtype':{}}}", 0, "header byte 14: expected a string, found '{'" },
    { W, 8, "header byte 53: expected '}', found the end" },
    { W ",}", 8, "header byte 54: expected a string, found '}'" },
    { W " 'v':{}}", 8, "header byte 54: expected '}', found '\"'" },
    { W "]", 8, "header byte 53: expected '}', found ']'" },
    { "{'w", 0, "header byte 1: a string without an end" },
    { "{'w\\'", 0, "header byte 1: a string without an end" },
    { "{'w\n':{}}", 0, "header byte 3: 0x0a in a string" },
    { "{'w\x1f':{}}", 0, "header byte 3: 0x1f in a string" },
    { "{'w\t':{}}", 0, "header byte 3: 0x09 in a string" },
    { "{'\\", 0, "header byte 2: a broken escape" },
    { "{'\\x41':{}}", 0, "header byte 2: a broken escape" },
    { "{'\\U0041':{}}", 0, "header byte 2: a broken escape" },
    { "{'\\u':{}}", 0, "header byte 2: a broken escape" },
    { "{'\\u12':{}}", 0, "header byte 2: a broken escape" },
    { "{'\\u12g4':{}}", 0, "header byte 2: a broken escape" },
    { "{'\\u004", 0, "header byte 2: a broken escape" },
    { "{'\\u+041':{}}", 0, "header byte 2: a broken escape" },
    { "{'\\ud800':{}}", 0, "header byte 2: a broken escape" },
    { "{'\\ud800\\u0041':{}}", 0, "header byte 2: a broken escape" },
    { "{'\\ud800\\ud800':{}}", 0, "header byte 2: a broken escape" },
    { "{'\\ud800x':{}}", 0, "header byte 2: a broken escape" },
    { "{'ab\\udc00':{}}", 0, "header byte 4: a broken escape" },
    { "{'\\u0000':{}}", 0, "header byte 2: U+0000 in a string" },
    { "{'\xff':{}}", 0, "header byte 2: not UTF-8" },
    { "{'\x80':{}}", 0, "header byte 2: not UTF-8" },
    { "{'\xc0\xaf':{}}", 0, "header byte 2: not UTF-8" },
    { "{'\xc3':{}}", 0, "header byte 2: not UTF-8" },
    { "{'\xe0\x80\x80':{}}", 0, "header byte 2: not UTF-8" },
    { "{'\xed\xa0\x80':{}}", 0, "header byte 2: not UTF-8" },
    { "{'\xf4\x90\x80\x80':{}}", 0, "header byte 2: not UTF-8" },
    { "{'ab\xf0\x9f\xa7", 0, "header byte 4: not UTF-8" },
    { "{'w':{}}", 0, "tensor 'w' has no 'dtype'" },
    { "{'w':{'dtype':'F32'}}", 0, "tensor 'w' has no 'shape'" },
    { "{'w':{'dtype':'F32','shape':[0]}}", 0, "tensor 'w' has no 'data_offsets'" },
    { "{'w':{'shape':[0],'data_offsets':[0,0]}}", 0, "tensor 'w' has no 'dtype'" },
    { "{'w':{'dtype':'F32','dtype':'F32'}}", 0, "tensor 'w' has two fields 'dtype'" },
    { "{'w':{'shape':[0],'shape':[0]}}", 0, "tensor 'w' has two fields 'shape'" },
    { "{'w':{'data_offsets':[0,0],'data_offsets':[0,0]}}", 0,
      "tensor 'w' has two fields 'data_offsets'" },
    { "{'w':{'Dtype':'F32'}}", 0, "tensor 'w' has the unknown field 'Dtype'" },
    { "{'w':{'dtype ':'F32'}}", 0, "tensor 'w' has the unknown field 'dtype '" },
    { "{'w':{'':'F32'}}", 0, "tensor 'w' has the unknown field ''" },
    { "{'w':{'dtype':'F32','shape':[2],'data_offsets':[0,8],'x':{'y':[[[[]]]]}}}", 8,
      "tensor 'w' has the unknown field 'x'" },
    { "{'w':{'dtype':'F32',}}", 8, "header byte 20: expected a string, found '}'" },
    { "{'w':{'dtype':'F32' 'shape':[0]}}", 8, "header byte 20: expected '}', found '\"'" },
    { TYPED("'F16'"), 8, "tensor 'w' (2) of F16 takes 4 bytes, but has 8" },
    { TYPED("'BF16'"), 8, "tensor 'w' (2) of BF16 takes 4 bytes, but has 8" },
    { TYPED("'I64'"), 8, "tensor 'w' (2) of I64 takes 16 bytes, but has 8" },
    { TYPED("'BOOL'"), 8, "tensor 'w' (2) of BOOL takes 2 bytes, but has 8" },
    { TYPED("'F8_E4M3'"), 8, "tensor 'w' (2) of F8_E4M3 takes 2 bytes, but has 8" },
    { TYPED("'F4'"), 8, "tensor 'w' (2) of F4 takes 1 bytes, but has 8" },
    { "{'w':{'dtype':'F4','shape':[3],'data_offsets':[0,1]}}", 1,
      "tensor 'w' (3) of F4 takes 1 bytes and a part of one, but has 1" },
    { "{'w':{'dtype':'F6_E2M3','shape':[4611686018427387904],'data_offsets':[0,1]}}", 1,
      "the sizes of tensor 'w' do not fit 63 bits" },
    { "{'w':{'dtype':'NEW','shape':[4294967296,4294967296],'data_offsets':[0,1]}}", 1,
      "the sizes of tensor 'w' do not fit 63 bits" },
    { TYPED("'C64'"), 8, "tensor 'w' (2) of C64 takes 16 bytes, but has 8" },
    { TYPED("32"), 8, "header byte 14: expected a string, found '3'" },
    { SHAPED("2"), 8, "header byte 28: expected '[', found '2'" },
    { SHAPED("[-2]"), 8, "header byte 29: expected a whole number, found '-'" },
    { SHAPED("[+2]"), 8, "header byte 29: expected a whole number, found '+'" },
    { SHAPED("[2.0]"), 8, "header byte 29: a number that is not whole" },
    { SHAPED("[2e0]"), 8, "header byte 29: a number that is not whole" },
    { SHAPED("[2E0]"), 8, "header byte 29: a number that is not whole" },
    { SHAPED("[02]"), 8, "header byte 29: a number that begins with 0" },
    { SHAPED("[00]"), 8, "header byte 29: a number that begins with 0" },
    { SHAPED("[0x2]"), 8, "header byte 30: expected ']', found 'x'" },
    { SHAPED("['2']"), 8, "header byte 29: expected a whole number, found '\"'" },
    { SHAPED("[null]"), 8, "header byte 29: expected a whole number, found 'n'" },
    { SHAPED("[NaN]"), 8, "header byte 29: expected a whole number, found 'N'" },
    { SHAPED("[[2]]"), 8, "header byte 29: expected a whole number, found '['" },
    { SHAPED("[2,]"), 8, "header byte 31: expected a whole number, found ']'" },
    { SHAPED("[,2]"), 8, "header byte 29: expected a whole number, found ','" },
    { SHAPED("[2 1]"), 8, "header byte 31: expected ']', found '1'" },
    { SHAPED("[9223372036854775808]"), 8, "header byte 29: a number above 2^63 - 1" },
    { SHAPED("[18446744073709551618]"), 8, "header byte 29: a number above 2^63 - 1" },
    { SHAPED("[99999999999999999999999999999999]"), 8, "header byte 29: a number above 2^63 - 1" },
    { SHAPED("[1,1,1,1,1,1,1,1,3]"), 8,
      "tensor 'w' (1, 1, 1, 1, 1, 1, 1, 1) with more axes of F32 takes 12 bytes, but has 8" },
    { SHAPED("[1,1,1,1,1,1,1,1,9223372036854775807]"), 8,
      "the sizes of tensor 'w' do not fit 63 bits" },
    { SHAPED("[9223372036854775807]"), 8, "the sizes of tensor 'w' do not fit 63 bits" },
    { SHAPED("[4611686018427387904,4]"), 8, "the sizes of tensor 'w' do not fit 63 bits" },
    { SHAPED("[4294967296,4294967296]"), 8, "the sizes of tensor 'w' do not fit 63 bits" },
    { SHAPED("[0,4294967296,4294967296]"), 8, "the sizes of tensor 'w' do not fit 63 bits" },
    { SHAPED("[2305843009213693951]"), 8,
      "tensor 'w' (2305843009213693951) of F32 takes 9223372036854775804 bytes, but has 8" },
    { SHAPED("[3]"), 8, "tensor 'w' (3) of F32 takes 12 bytes, but has 8" },
    { SHAPED("[]"), 8, "tensor 'w' () of F32 takes 4 bytes, but has 8" },
    { SHAPED("[0]"), 8, "tensor 'w' (0) of F32 takes 0 bytes, but has 8" },
    { PLACED("[]"), 8, "tensor 'w': 'data_offsets' has 0 numbers instead of 2" },
    { PLACED("[0]"), 8, "tensor 'w': 'data_offsets' has 1 numbers instead of 2" },
    { PLACED("[0,4,8]"), 8, "tensor 'w': 'data_offsets' has 3 numbers instead of 2" },
    { PLACED("{'0':8}"), 8, "header byte 47: expected '[', found '{'" },
    { PLACED("[8,0]"), 8, "tensor 'w' ends at byte 0, before it begins at 8" },
    { PLACED("[-8,0]"), 8, "header byte 48: expected a whole number, found '-'" },
    { PLACED("[0,16]"), 16, "tensor 'w' (2) of F32 takes 8 bytes, but has 16" },
    { PLACED("[8,16]"), 8, "tensor 'w' ends at byte 16 of the data, which has only 8" },
    { PLACED("[9223372036854775799,9223372036854775807]"), 8,
      "tensor 'w' ends at byte 9223372036854775807 of the data, which has only 8" },
    { PLACED("[0,8]"), 7, "tensor 'w' ends at byte 8 of the data, which has only 7" },
    { PLACED("[0,8]"), 9, "1 bytes follow the last tensor" },
    { PLACED("[4,12]"), 12, "4 bytes that belong to nothing lie before tensor 'w'" },
    { "{}", 1, "1 bytes follow the last tensor" },
    { PAIR("[0,4]", "[0,4]"), 4, "tensors 'a' and 'b' overlap" },
    { PAIR("[0,4]", "[2,6]"), 6, "tensors 'a' and 'b' overlap" },
    { PAIR("[4,8]", "[0,4]"), 12, "4 bytes follow the last tensor" },
    { PAIR("[8,12]", "[0,4]"), 12, "4 bytes that belong to nothing lie before tensor 'a'" },
    { "{'w':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'e':{'dtype':'F32','shape':[0],'data_"
      "offsets':[4,4]}}",
      8, "tensors 'w' and 'e' overlap" },
    { W ",'w':{'dtype':'F32','shape':[2],'data_offsets':[8,16]}}", 16,
      "two tensors are named 'w'" },
    { W ",'\\u0077':{'dtype':'F32','shape':[2],'data_offsets':[8,16]}}", 16,
      "two tensors are named 'w'" },
    { META("nul"), 8, "header byte 16: expected '{', found 'n'" },
    { META("nulL"), 8, "header byte 16: expected '{', found 'n'" },
    { META("null,'__metadata__':null"), 8, "the header has two '__metadata__'" },
    { META("null,'__metadata__':{}"), 8, "the header has two '__metadata__'" },
    { META("{},'__metadata__':null"), 8, "the header has two '__metadata__'" },
    { META("[]"), 8, "header byte 16: expected '{', found '['" },
    { META("{'a':1}"), 8, "header byte 21: expected a string, found '1'" },
    { META("{'a':null}"), 8, "header byte 21: expected a string, found 'n'" },
    { META("{'a':{'b':'c'}}"), 8, "header byte 21: expected a string, found '{'" },
    { META("{'a':'b',}"), 8, "header byte 25: expected a string, found '}'" },
    { META("{'a' 'b'}"), 8, "header byte 21: expected ':', found '\"'" },
    { META("{'a':'b','a':'c'}"), 8, "the metadata 'a' is there twice" },
    { META("{'a':'b','\\u0061':'c'}"), 8, "the metadata 'a' is there twice" },
    { META("{'a':'\\ud800'}"), 8, "header byte 22: a broken escape" },
    { META("{},'__metadata__':{}"), 8, "the header has two '__metadata__'" },
    { META("{'a':'b'},'\\u005f_metadata__':{}"), 8, "the header has two '__metadata__'" },
    { NAMED("'__metadata__'"), 8, "header byte 39: expected a string, found '['" },
};

TEST(every_lie_in_a_header_is_refused_in_its_own_words)
{
    fuzz_prepare();
    ck_assert_uint_ge(sizeof lies / sizeof *lies, 100);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        fuzz_largest = 0;
        expect_refusal(lies[i].header, lies[i].data, lies[i].sentence);
        ck_assert_uint_le(fuzz_largest, 4 * (8 + strlen(lies[i].header) + lies[i].data) + 65536);
    }
}

TEST(a_length_that_lies_is_refused_and_reserves_nothing)
{
    fuzz_prepare();
    static const struct {
        const char *bytes;
        int64_t n;
        const char *sentence;
    } files[] = {
        { "", 0, "load x: 0 bytes are too few: the length of the header alone takes 8" },
        { "\2\0\0\0\0\0\0", 7,
          "load x: 7 bytes are too few: the length of the header alone takes 8" },
        { "\0\0\0\0\0\0\0\0", 8, "load x: the header is empty" },
        { "\3\0\0\0\0\0\0\0{}", 10, "load x: a header of 3 bytes, but only 2 follow" },
        { "\0\341\365\5\0\0\0\0{}", 10, "load x: a header of 100000000 bytes, but only 2 follow" },
        { "\1\341\365\5\0\0\0\0{}", 10,
          "load x: this is no safetensors file: its header would take 100000001 bytes, and the "
          "format "
          "allows 100000000" },
        { "\377\377\377\377\377\377\377\377{}", 10,
          "load x: this is no safetensors file: its header would take 18446744073709551615 bytes, "
          "and the format allows 100000000" },
        { "PK\3\5\0\0\0\0{}", 10, "load x: a header of 84101968 bytes, but only 2 follow" },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        wf_error error = { "" };
        fuzz_largest = 0;
        ck_assert_ptr_null(wf_safetensors_parse("x", files[i].bytes, files[i].n, &error));
        ck_assert_str_eq(error.text, files[i].sentence);
        ck_assert_uint_le(fuzz_largest, 4096);
    }
}

TEST(what_others_may_write_is_read)
{
    static const struct {
        const char *header;
        size_t data;
    } files[] = {
        { "{}", 0 },
        { "{}      ", 0 },
        { W "}", 8 },
        { W "}   ", 8 },
        { "{ 'w'\t:\r\n{ 'shape' : [ 2 ] , 'data_offsets' : [ 0 , 8 ] , 'dtype' : 'F32' } }", 8 },
        { "{'\\u0077':{'d\\u0074ype':'\\u004632','shape':[2],'data_offsets':[0,8]}}", 8 },
        { META("{}"), 8 },
        { META("null"), 8 },
        { META(" null "), 8 },
        { META("{'format':'pt'}"), 8 },
        { W ",'__metadata__':{'format':'pt'}}", 8 },
        { W ",'e':{'dtype':'F64','shape':[0,3],'data_offsets':[0,0]}}", 8 },
        { W ",'e':{'dtype':'F64','shape':[0,3],'data_offsets':[8,8]}}", 8 },
        { "{'v':{'dtype':'I32','shape':[],'data_offsets':[8,12]},'w':{'dtype':'F32','shape':[2],'"
          "data_offsets':[0,8]}}",
          12 },
    };
    fuzz_prepare();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        wf_error error = { "" };
        OWN(wf_archive) *a = parse_header(files[i].header, files[i].data, &error);
        ck_assert_msg(a, "%s: %s", files[i].header, error.text);
        const wf_tensor *w = wf_archive_find(a, "w");
        static const char bytes[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
        if (i >= 2) ck_assert_msg(w && memcmp(w->data, bytes, 8) == 0, "%s", files[i].header);
    }
}

TEST(every_escape_in_a_string_is_the_letter_it_stands_for)
{
    fuzz_prepare();
    wf_error error = { "" };
    OWN(wf_archive) *a = parse_header(
        "{'__metadata__':{'k':'\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u00E9\\uac00"
        "\\uFFFF\\ud83e\\uddf5\\uD800\\uDC00\\uDBFF\\uDFFF\\u0041.'}}",
        0, &error);
    ck_assert_msg(a, "%s", error.text);
    ck_assert_str_eq(wf_archive_meta(a, "k"),
                     "\"\\/\b\f\n\r\t\x01é가\xEF\xBF\xBF🧵\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"
                     "A.");
}

TEST(countless_tiny_entries_ask_for_no_more_than_four_times_their_size)
{
    enum { ENTRIES = 33000 };
    fuzz_prepare();
    wf_error error = { "" };
    char *header = malloc(64 + ENTRIES * 6), *end = stpcpy(header, "{'__metadata__':{");
    for (int i = 0; i < ENTRIES; i++) end = stpcpy(end, "'':'',");
    strcpy(end - 1, "}}");
    fuzz_largest = 0;
    ck_assert_ptr_null(parse_header(header, 0, &error));
    ck_assert_str_eq(error.text, "load x: the metadata '' is there twice");
    ck_assert_uint_le(fuzz_largest, 4 * (8 + strlen(header)) + 65536);
    free(header);
}

TEST(numbers_at_odd_places_are_moved_to_even_ones)
{
    fuzz_prepare();
    for (int spaces = 0; spaces < 8; spaces++) {
        char header[256];
        wf_error error = { "" };
        snprintf(header, sizeof header,
                 "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},"
                 "'b':{'dtype':'F64','shape':[2],'data_offsets':[4,20]},'c':{'dtype':'F64','shape':"
                 "[1],'data_offsets':[20,28]}}%*s",
                 spaces, "");
        OWN(wf_archive) *a = parse_header(header, 28, &error);
        ck_assert_msg(a, "%s", error.text);
        for (int64_t i = 0, byte = 0; i < 3; i++) {
            const wf_tensor *x = &wf_archive_at(a, i)->tensor;
            ck_assert_int_eq((intptr_t)x->data % wf_dtype_size(x->dtype), 0);
            for (int64_t k = 0; k < bytes_in(x); k++)
                ck_assert_int_eq(((const char *)x->data)[k], byte++);
        }
    }
}

/* ---- what cannot be saved ---- */

static float four[4];
static const wf_named good = {
    "a", { .data = four, .dtype = WF_F32, .rank = 1, .dim = { 4 }, .stride = { 1 } }
};

/* The good tensor and another, if it has anything, with two lines of metadata at most. */
static void not_saved(wf_named other, const wf_meta meta[2], const char *sentence)
{
    wf_error error = { "" };
    const bool two = other.name || other.tensor.data;
    const wf_named tensors[2] = { good, other };
    fuzz_file.n = 0;
    ck_assert(
        !wf_safetensors_save("x", tensors, 1 + two, meta, meta ? 1 + !!meta[1].key : 0, &error));
    ck_assert_str_eq(error.text, worded("save x: %s", sentence));
    ck_assert_uint_eq(fuzz_file.n, 0);
}

static void tensor_not_saved(wf_tensor tensor, const char *sentence)
{
    not_saved((wf_named){ "b", tensor }, NULL, sentence);
}

#define META_NOT_SAVED(sentence, ...)                                                              \
    not_saved((wf_named){ NULL, { .data = NULL } }, (const wf_meta[2]){ __VA_ARGS__ }, sentence)

TEST(tensors_that_cannot_be_saved_are_refused_before_anything_is_written)
{
    fuzz_prepare();
    const wf_tensor x = good.tensor;
    wf_tensor y = x;
    not_saved((wf_named){ NULL, x }, NULL, "the name of tensor 1 is missing");
    not_saved((wf_named){ "b\xff", x }, NULL, "the name of tensor 1 is not UTF-8 at its byte 1");
    not_saved(good, NULL, "two tensors are named 'a'");
    not_saved((wf_named){ "__metadata__", x }, NULL, "no tensor can be named '__metadata__'");
    y.data = NULL;
    tensor_not_saved(y, "tensor 'b' has no data");
    y = x, y.dim[0] = -1;
    tensor_not_saved(y, "the sizes of tensor 'b' are negative or do not fit 63 bits");
    y.dim[0] = INT64_MAX;
    tensor_not_saved(y, "the sizes of tensor 'b' are negative or do not fit 63 bits");
    y = x, y.rank = 9;
    tensor_not_saved(y, "tensor 'b' has the rank 9, outside 0 to 8");
    y = x, y.dtype = (wf_dtype)3;
    tensor_not_saved(y, "tensor 'b' has the unknown dtype 3");
    wf_error error = { "" };
    ck_assert(!wf_safetensors_save("x", NULL, 1, NULL, 0, &error));
    ck_assert_str_eq(error.text, "save x: 1 tensors and 0 metadata were promised and not given");
}

TEST(metadata_that_cannot_be_saved_are_refused_before_anything_is_written)
{
    fuzz_prepare();
    META_NOT_SAVED("the key of metadata 0 is missing", { NULL, "v" });
    META_NOT_SAVED("the value of metadata 0 is missing", { "k", NULL });
    META_NOT_SAVED("the value of metadata 0 is not UTF-8 at its byte 0", { "k", "\xc0\x80" });
    META_NOT_SAVED("the metadata 'k' is given twice", { "k", "v" }, { "k", "w" });
    META_NOT_SAVED("the metadata 'weft.format' is not the caller's to give",
                   { "weft.format", "1" });
    META_NOT_SAVED("the metadata 'weft.checksum' is not the caller's to give",
                   { "weft.checksum", "" });
    wf_error error = { "" };
    char *huge = malloc(100000001);
    memset(huge, 'v', 100000000);
    huge[100000000] = 0;
    ck_assert(!wf_safetensors_save("x", NULL, 0, &(wf_meta){ "k", huge }, 1, &error));
    ck_assert_str_eq(error.text, "save x: names and metadata take 100000080 bytes, above the "
                                 "100000000 that the format allows");
    free(huge);
}

TEST(long_names_are_shortened_in_sentences_between_letters)
{
    fuzz_prepare();
    char header[1200] = "{'", *end = header + 2;
    for (int i = 0; i < 300; i++) end = stpcpy(end, "글");
    strcpy(end, "':{}}");
    wf_error error = { "" };
    ck_assert_ptr_null(parse_header(header, 0, &error));
    ck_assert_uint_lt(strlen(error.text), 200);
    ck_assert_ptr_nonnull(strstr(error.text, "글...글"));
    ck_assert_ptr_nonnull(strstr(error.text, "글' has no 'dtype'"));
    ck_assert_ptr_eq(strstr(error.text, "load x: tensor '글"), error.text);
}

TEST(ten_thousand_tensors_and_as_many_metadata_are_quickly_found)
{
    enum { N = 10000 };
    static char names[N][16];
    static int32_t values[N];
    wf_named *tensors = malloc(sizeof *tensors * N);
    wf_meta *meta = malloc(sizeof *meta * N);
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%d", i * 7919 % N);
        values[i] = i;
        tensors[i] = (wf_named){ names[i], wf_tensor_of(WF_I32, WF_SCALAR, &values[i]) };
        meta[i] = (wf_meta){ names[i], names[N - 1 - i] };
    }
    save(tensors, N, meta, N);
    fuzz_largest = 0;
    OWN(wf_archive) *a = parse_saved();
    ck_assert_uint_le(fuzz_largest, 4 * fuzz_file.n + 65536);
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(*(const int32_t *)wf_archive_find(a, names[i])->data, i);
        ck_assert_str_eq(wf_archive_meta(a, names[i]), names[N - 1 - i]);
    }
    free(meta);
    free(tensors);
}

TEST(nothing_made_of_nothing_breaks)
{
    fuzz_prepare();
    wf_error error = { "" };
    ck_assert_ptr_null(wf_safetensors_parse(NULL, NULL, 4, &error));
    ck_assert_str_eq(error.text, "load (memory): no bytes were given");
    ck_assert_ptr_null(wf_safetensors_parse("x", "", 0, NULL));
}

/* ---- fuzzing without a fuzzer ---- */

TEST(mutated_files_are_refused_or_mean_the_same)
{
    enum { TRIED = 20000 };
    int accepted = fuzz_mutate(TRIED);
    /* Both doors were used: many files are broken, and many a mutation is harmless. */
    ck_assert_int_gt(accepted, TRIED / 5);
    ck_assert_int_lt(accepted, TRIED / 2);
}
