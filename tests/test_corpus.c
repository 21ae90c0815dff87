/* Text as ids: UTF-8 to the letter of the standard, lanes as PyTorch's character models cut them,
 * and every refusal. */
#include "data/corpus.h"
#include "data/utf8.h"
#include "tensor/io.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tests/fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static wf_corpus *open_text(const char *text, const wf_corpus_options *options)
{
    wf_error error = { "" };
    wf_corpus *c = wf_corpus_from_memory("text", text, (int64_t)strlen(text), options, &error);
    ck_assert_msg(c, "%s", error.text);
    return c;
}

static int32_t value(const wf_tensor *x, int64_t index)
{
    return (int32_t)wf_tensor_at(x, index);
}

/* ---- UTF-8 ---- */

TEST(every_unicode_letter_comes_back_from_utf8)
{
    for (int32_t letter = -1; letter <= 0x110000; letter++) {
        char text[5] = "????";
        int32_t again = -1;
        int bytes = wf_utf8_encode(letter, text);
        bool scalar = letter >= 0 && letter <= 0x10FFFF && !(letter >= 0xD800 && letter <= 0xDFFF);
        int takes = !scalar ? 0 : letter < 0x80 ? 1 : letter < 0x800 ? 2 : letter < 0x10000 ? 3 : 4;
        bool right = bytes == takes && text[bytes] == 0 &&
                     wf_utf8_decode(text, bytes, &again) == bytes &&
                     again == (scalar ? letter : -1);
        for (int fewer = 0; fewer < bytes; fewer++)
            right &= wf_utf8_decode(text, fewer, &again) == 0;
        if (!right) ck_abort_msg("U+%04X", (unsigned)letter);
    }
}

/* Well-formed UTF-8 as table 3-7 of the Unicode standard lists it: the bytes that it takes, or
 * 0. */
static int well_formed(const unsigned char *p)
{
    static const struct {
        int low, high, second_low, second_high, bytes;
    } rows[] = {
        { 0x00, 0x7F, 0x00, 0xFF, 1 }, { 0xC2, 0xDF, 0x80, 0xBF, 2 }, { 0xE0, 0xE0, 0xA0, 0xBF, 3 },
        { 0xE1, 0xEC, 0x80, 0xBF, 3 }, { 0xED, 0xED, 0x80, 0x9F, 3 }, { 0xEE, 0xEF, 0x80, 0xBF, 3 },
        { 0xF0, 0xF0, 0x90, 0xBF, 4 }, { 0xF1, 0xF3, 0x80, 0xBF, 4 }, { 0xF4, 0xF4, 0x80, 0x8F, 4 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (p[0] < rows[i].low || p[0] > rows[i].high) continue;
        if (p[1] < rows[i].second_low || p[1] > rows[i].second_high) return 0;
        for (int k = 2; k < rows[i].bytes; k++)
            if (p[k] < 0x80 || p[k] > 0xBF) return 0;
        return rows[i].bytes;
    }
    return 0;
}

TEST(utf8_is_exactly_what_the_unicode_standard_lists)
{
    static const unsigned char edges[] = { 0x00, 0x22, 0x7F, 0x80, 0x81, 0x8F, 0x90,
                                           0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xFF };
    enum { EDGES = sizeof edges };
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++)
            for (int i = 0; i < EDGES * EDGES; i++) {
                const unsigned char p[4] = { (unsigned char)a, (unsigned char)b, edges[i / EDGES],
                                             edges[i % EDGES] };
                int32_t letter = -1;
                int bytes = wf_utf8_decode((const char *)p, 4, &letter);
                if (bytes != well_formed(p) || (letter < 0) != (bytes == 0))
                    ck_abort_msg("%02x %02x %02x %02x: %d bytes", p[0], p[1], p[2], p[3], bytes);
            }
}

TEST(letters_are_counted_up_to_the_first_bad_byte)
{
    int64_t bad = -1;
    ck_assert_int_eq(wf_utf8_count("가나다 abc", 13, &bad), 7);
    ck_assert_int_eq(bad, -1);
    ck_assert_int_eq(wf_utf8_count("가나다", 8, &bad), -1);
    ck_assert_int_eq(bad, 6);
    ck_assert_int_eq(wf_utf8_count("", 0, NULL), 0);
    ck_assert_int_eq(wf_utf8_count("\xff", 1, NULL), -1);
}

/* ---- lanes ---- */

TEST(what_is_read_again_stands_before_the_batch_in_each_lane)
{
    wf_corpus *c = open_text("abcdefghijklmnopqrstuvwxyz",
                             &(wf_corpus_options){ .time = 3, .batch = 2 });
    ck_assert_ptr_null(wf_corpus_reread(c, 0)); /* nothing has been read */
    for (int step = 0; step < 3; step++) {
        const wf_batch b = wf_corpus_next(c);
        for (int64_t again = 0; again <= 3 * step; again++) {
            const wf_tensor *x = wf_corpus_reread(c, again);
            ck_assert(x && x->dim[0] == again + 3 && x->dim[1] == 2);
            for (int64_t i = 0; i < 2 * (again + 3); i++)
                ck_assert_int_eq(wf_corpus_letter(c, value(x, i)),
                                 'a' + 13 * (i % 2) + 3 * step - again + i / 2);
        }
        ck_assert_ptr_null(wf_corpus_reread(c, 3 * step + 1));
        ck_assert_ptr_null(wf_corpus_reread(c, -1));
        ck_assert(b.input->dim[0] == 3);
    }
    ck_assert(wf_corpus_seek(c, 9));
    ck_assert_int_eq(wf_corpus_letter(c, value(wf_corpus_reread(c, 2), 0)), 'e');
    wf_corpus_free(c);
}

TEST(batches_are_those_of_torch_charlm_for_any_sizes)
{
    int cases = 0;
    for (uint64_t k = 0; k < 200; k++) {
        char text[700];
        int64_t n = 20 + wf_random_below(1, k, 600), batch = 1 + wf_random_below(2, k, 5),
                time = 1 + wf_random_below(3, k, 9);
        for (int64_t i = 0; i < n; i++)
            text[i] = (char)('a' + wf_random_below(4 + k, (uint64_t)i, 26));
        text[n] = 0;
        double valid = k % 3 ? 0 : 0.05 * (double)(1 + k % 7);
        int64_t train = (int64_t)((double)n * (1 - valid)), lane = train / batch, at = 0;
        if (lane < time + 1 || (valid > 0 && n - train < 2)) continue;
        wf_corpus *c = open_text(
            text, &(wf_corpus_options){ .time = time, .batch = batch, .valid = valid });
        ck_assert_int_eq(wf_corpus_train_count(c), train);
        ck_assert_int_eq(wf_corpus_valid_count(c), n - train);
        int64_t requests = heap.asked, wrong = 0;
        for (int step = 0; step < 40; step++) {
            bool restart = step == 0;
            if (at + time + 1 > lane) at = 0, restart = true;
            wf_batch b = wf_corpus_next(c);
            ck_assert_int_eq(b.restart, restart);
            ck_assert(b.input->dtype == WF_I32 && b.input->rank == 2 && b.input->dim[0] == time &&
                      b.input->dim[1] == batch);
            for (int64_t t = 0; t < time; t++)
                for (int64_t l = 0; l < batch; l++) {
                    const char *here = &text[l * lane + at + t];
                    wrong += wf_corpus_letter(c, value(b.input, t * batch + l)) != here[0];
                    wrong += wf_corpus_letter(c, value(b.target, t * batch + l)) != here[1];
                }
            at += time;
        }
        ck_assert_int_eq(wrong, 0);
        ck_assert_int_eq(heap.asked, requests);
        for (int64_t i = train; i < n; i++)
            wrong += wf_corpus_letter(c, value(wf_corpus_valid(c), i - train)) != text[i];
        ck_assert_int_eq(wrong, 0);
        wf_corpus_free(c);
        cases++;
    }
    ck_assert_int_gt(cases, 150);
    ck_assert_int_eq(heap.live, 0);
}

TEST(a_corpus_resumed_at_a_position_goes_on_as_if_never_stopped)
{
    const char *text = "the quick brown fox jumps over the lazy dog and runs away";
    const wf_corpus_options options = { .time = 4, .batch = 3 };
    OWN(wf_corpus) *whole = open_text(text, &options);
    for (int stop = 0; stop < 12; stop++) {
        OWN(wf_corpus) *again = open_text(text, &options);
        ck_assert(wf_corpus_seek(whole, 0));
        for (int i = 0; i < stop; i++) wf_corpus_next(whole);
        ck_assert(wf_corpus_seek(again, wf_corpus_position(whole)));
        for (int i = 0; i < 9; i++) {
            wf_batch a = wf_corpus_next(whole), b = wf_corpus_next(again);
            ck_assert_int_eq(a.restart, b.restart);
            ck_assert_int_eq(wf_corpus_position(whole), wf_corpus_position(again));
            for (int64_t k = 0; k < 12; k++)
                ck_assert_int_eq(value(a.target, k), value(b.target, k));
        }
    }
    int64_t lane = (int64_t)strlen(text) / 3;
    ck_assert(wf_corpus_seek(whole, 5));
    ck_assert(!wf_corpus_seek(whole, -1));
    ck_assert(!wf_corpus_seek(whole, lane + 1));
    ck_assert_int_eq(wf_corpus_position(whole), 5);
    ck_assert(!wf_corpus_next(whole).restart);
    ck_assert(wf_corpus_seek(whole, lane));
    ck_assert(wf_corpus_next(whole).restart);
}

TEST(a_text_of_just_enough_letters_begins_anew_at_every_batch)
{
    OWN(wf_corpus) *c = open_text("abcdefgh", &(wf_corpus_options){ .time = 3, .batch = 2 });
    for (int i = 0; i < 3; i++) {
        wf_batch b = wf_corpus_next(c);
        ck_assert(b.restart);
        ck_assert_int_eq(value(b.input, 1), 4);
        ck_assert_int_eq(value(b.target, 5), 7);
    }
}

TEST(each_part_holds_out_its_own_end)
{
    const wf_text parts[] = { { "one",
                                "\xEF\xBB\xBF"
                                "0123456789",
                                13 },
                              { NULL, "", 0 },
                              { "two", "가나다라abcdefghij", 22 } };
    wf_error error = { "" };
    OWN(wf_corpus) *c = wf_corpus_from_parts(
        parts, 3, &(wf_corpus_options){ .time = 16, .batch = 1, .valid = 0.25 }, &error);
    ck_assert_msg(c, "%s", error.text);
    ck_assert_int_eq(wf_corpus_train_count(c), 7 + 10);
    ck_assert_int_eq(wf_corpus_valid_count(c), 3 + 4);
    wf_batch b = wf_corpus_next(c);
    const int32_t learned[] = { '0',    '1',    '2', '3', '4', '5', '6', 0xAC00, 0xB098,
                                0xB2E4, 0xB77C, 'a', 'b', 'c', 'd', 'e', 'f' };
    for (int i = 0; i < 16; i++) {
        ck_assert_int_eq(wf_corpus_letter(c, value(b.input, i)), learned[i]);
        ck_assert_int_eq(wf_corpus_letter(c, value(b.target, i)), learned[i + 1]);
    }
    const wf_tensor *valid = wf_corpus_valid(c);
    ck_assert(valid->rank == 2 && valid->dim[0] == 7 && valid->dim[1] == 1);
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(wf_corpus_letter(c, value(valid, i)), "789ghij"[i]);
}

/* ---- letters ---- */

TEST(korean_text_has_the_alphabet_of_its_code_points_in_order)
{
    const char *text = "나라말이 한자와 달라\n서로 통하지 않는다 🧵";
    OWN(wf_corpus) *c = open_text(text, &(wf_corpus_options){ .time = 4, .batch = 2 });
    int64_t n = wf_corpus_alphabet(c);
    for (int64_t i = 0; i < n; i++) {
        ck_assert_int_eq(wf_corpus_id(c, wf_corpus_letter(c, i)), i);
        if (i > 0) ck_assert_int_lt(wf_corpus_letter(c, i - 1), wf_corpus_letter(c, i));
    }
    ck_assert_int_eq(wf_corpus_letter(c, 0), '\n');
    ck_assert_int_eq(wf_corpus_letter(c, n - 1), 0x1F9F5);
    ck_assert_int_eq(wf_corpus_letter(c, n), -1);
    ck_assert_int_eq(wf_corpus_letter(c, -1), -1);
    ck_assert_int_eq(wf_corpus_id(c, 'x'), -1);
    ck_assert_int_eq(wf_corpus_id(c, -5), -1);
    ck_assert_int_eq(wf_corpus_id(c, 0x110000), -1);
    ck_assert_int_eq(wf_utf8_count(wf_corpus_alphabet_text(c),
                                   (int64_t)strlen(wf_corpus_alphabet_text(c)), NULL),
                     n);

    int32_t ids[64];
    char back[256] = "", *end = back;
    int64_t letters = wf_corpus_encode(c, text, (int64_t)strlen(text), ids, 64, NULL);
    ck_assert_int_eq(letters, 24);
    for (int64_t i = 0; i < letters; i++) end += wf_utf8_encode(wf_corpus_letter(c, ids[i]), end);
    ck_assert_str_eq(back, text);
    ck_assert_int_eq(wf_corpus_train_count(c), 24);
}

TEST(a_saved_alphabet_gives_the_same_ids_in_any_order)
{
    OWN(wf_corpus) *c = open_text(
        "hello, world", &(wf_corpus_options){ .time = 2, .batch = 2, .alphabet = "wor,힣 held" });
    ck_assert_str_eq(wf_corpus_alphabet_text(c), "wor,힣 held");
    ck_assert_int_eq(wf_corpus_alphabet(c), 10);
    const int32_t ids[] = { 6, 7, 8, 8, 1, 3, 5, 0, 1, 2, 8, 9 };
    int32_t got[12];
    ck_assert_int_eq(wf_corpus_encode(c, "hello, world", 12, got, 12, NULL), 12);
    ck_assert_mem_eq(got, ids, sizeof ids);
    ck_assert_int_eq(wf_corpus_id(c, 0xD7A3), 4);
    /* Only as many as there is room for. */
    memset(got, 0, sizeof got);
    ck_assert_int_eq(wf_corpus_encode(c, "hello", 5, got, 2, NULL), 5);
    ck_assert(got[1] == 7 && got[2] == 0);
    ck_assert_int_eq(wf_corpus_encode(c, "hello", 5, NULL, 0, NULL), 5);
}

TEST(a_text_is_known_again_by_its_letters_and_what_is_held_out_of_them)
{
    const wf_text parts[] = { { NULL, "가나다라마바", 18 }, { NULL, "abcdef", 6 } };
    const wf_corpus_options how[] = {
        { .time = 2, .batch = 1, .valid = 0.5 }, /* as it is */
        { .time = 1, .batch = 2, .valid = 0.5 }, /* in other steps */
        { .time = 2,
          .batch = 1,
          .valid = 0.5,
          .alphabet = "fedcba가라나다바마" },    /* with other ids */
        { .time = 2, .batch = 1, .valid = 0.2 }, /* held out elsewhere */
    };
    uint64_t hash[5];
    for (int i = 0; i < 5; i++) {
        OWN(wf_corpus) *c = wf_corpus_from_parts(parts, i == 4 ? 1 : 2, &how[i % 4], NULL);
        ck_assert_ptr_nonnull(c);
        hash[i] = wf_corpus_hash(c);
    }
    ck_assert_uint_eq(hash[0], hash[1]);
    ck_assert_uint_eq(hash[0], hash[2]);
    ck_assert_uint_ne(hash[0], hash[3]);
    ck_assert_uint_ne(hash[0], hash[4]);
}

TEST(an_alphabet_alone_reads_and_writes_ids)
{
    wf_error error = { "" };
    OWN(wf_corpus) *c = wf_corpus_from_alphabet("ㄱㄴㄷ\n", &error);
    ck_assert_msg(c, "%s", error.text);
    int32_t ids[2];
    ck_assert_int_eq(wf_corpus_encode(c, "\nㄷ", 4, ids, 2, &error), 2);
    ck_assert(ids[0] == 3 && ids[1] == 2);
    wf_batch b = wf_corpus_next(c);
    ck_assert(!b.input && !b.target);
    ck_assert_int_eq(wf_tensor_count(wf_corpus_valid(c)), 0);
}

TEST(a_byte_order_mark_is_skipped_only_at_the_start)
{
    OWN(wf_corpus) *c = open_text("\xEF\xBB\xBF"
                                  "ab\xEF\xBB\xBF"
                                  "c",
                                  &(wf_corpus_options){ .time = 1, .batch = 1 });
    ck_assert_int_eq(wf_corpus_train_count(c), 4);
    ck_assert_int_eq(wf_corpus_id(c, 0xFEFF), 3);
}

/* ---- refusals ---- */

static const struct {
    const char *text, *says; /* of corpus 'x.txt' */
    int64_t time, batch;
    double valid;
    const char *alphabet;
} refused[] = {
    { "twelve chars", "12 letters; 4 lanes of 64 + 1 letters need 260", 64, 4, 0, NULL },
    { "열두글자라고", "6 letters; 2 lanes of 3 + 1 letters need 8", 3, 2, 0, NULL },
    { "twelve chars", "12 letters, 11 of them to learn from; 2 lanes of 5 + 1 letters need 12", 5,
      2, 0.05, NULL },
    { "twelve chars", "of 12 letters, 0.01 held out are 1; at least 2 are needed", 5, 1, 0.01,
      NULL },
    { "twelve chars",
      "12 letters; 2 lanes of 9223372036854775807 + 1 letters need 9223372036854775807", INT64_MAX,
      2, 0, NULL },
    { "", "it is empty", 1, 1, 0, NULL },
    { "\xEF\xBB\xBF", "it is empty", 1, 1, 0, NULL },
    { "ab\nc\xE9"
      "d",
      "byte 4 (line 2) is 0xE9, which is not UTF-8 there", 1, 1, 0, NULL },
    { "ab\n\n\xEA\xB0", "byte 4 (line 3) is 0xEA, which is not UTF-8 there", 1, 1, 0, NULL },
    { "\xFF\xFE"
      "a",
      "byte 0 is 0xFF, which is not UTF-8 there", 1, 1, 0, NULL },
    { "abc", ".time is 0; it must be 1 or more", 0, 1, 0, NULL },
    { "abc", ".batch is 0; it must be 1 or more", 1, 0, 0, NULL },
    { "abc", ".valid is 1; it must be at least 0 and below 1", 1, 1, 1, NULL },
    { "abc", ".valid is -0.5; it must be at least 0 and below 1", 1, 1, -0.5, NULL },
    { "abc", ".valid is nan; it must be at least 0 and below 1", 1, 1, (double)NAN, NULL },
    { "ab\n가c", "letter 3 (line 2), '가' (U+AC00), is not in the alphabet", 1, 1, 0, "a\nbc" },
    { "ab\tc", "letter 2, U+0009, is not in the alphabet", 1, 1, 0, "abc" },
    { "abc", "the alphabet is empty", 1, 1, 0, "" },
    { "abc", "the alphabet has 'b' (U+0062) twice", 1, 1, 0, "abcb" },
    { "abc", "the alphabet is not UTF-8 at its byte 2", 1, 1, 0, "ab\x80" },
};

TEST_EACH(a_text_that_cannot_be_learned_from_is_refused_when_it_is_opened,
          sizeof refused / sizeof refused[0])
{
    const wf_corpus_options o = { .time = refused[_i].time,
                                  .batch = refused[_i].batch,
                                  .valid = refused[_i].valid,
                                  .alphabet = refused[_i].alphabet };
    const char *text = refused[_i].text;
    wf_error error = { "" };
    ck_assert_ptr_null(wf_corpus_from_memory("x.txt", text, (int64_t)strlen(text), &o, &error));
    ck_assert_str_eq(error.text, worded("corpus 'x.txt': %s", refused[_i].says));
}

TEST(texts_that_are_none_or_too_few_are_refused_by_their_names)
{
    const wf_corpus_options one = { .time = 1, .batch = 1 }, six = { .time = 6, .batch = 1 };
    const wf_text parts[] = { { "a.c", "12", 2 }, { "b.c", "345", 3 }, { "c.c", "6", 1 } };
    wf_error error = { "" };
    ck_assert_ptr_null(wf_corpus_from_memory("x.txt", "ab\n\0c", 5, &one, &error));
    ck_assert_str_eq(error.text, "corpus 'x.txt': byte 3 (line 2) is zero: this is not text");
    ck_assert_ptr_null(wf_corpus_from_parts(parts, 3, &six, &error));
    ck_assert_str_eq(error.text,
                     "corpus 'a.c' and 2 more: 6 letters; 1 lanes of 6 + 1 letters need 7");
    ck_assert_ptr_null(wf_corpus_from_parts(parts, 0, &six, &error));
    ck_assert_str_eq(error.text, "corpus: 0 texts were given; it takes 1 or more");
}

TEST(a_letter_outside_the_alphabet_is_named_with_its_place)
{
    OWN(wf_corpus) *c = open_text("abc\nabc", &(wf_corpus_options){ .time = 1, .batch = 1 });
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        { "abX", "encode: letter 2, 'X' (U+0058), is not in the alphabet" },
        { "ab\n한", "encode: letter 3 (line 2), '한' (U+D55C), is not in the alphabet" },
        { "\x1b", "encode: letter 0, U+001B, is not in the alphabet" },
        { "a\xC3", "encode: byte 1 is 0xC3, which is not UTF-8 there" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wf_error error = { "" };
        int32_t ids[8];
        ck_assert_int_eq(
            wf_corpus_encode(c, cases[i].text, (int64_t)strlen(cases[i].text), ids, 8, &error), -1);
        ck_assert_str_eq(error.text, cases[i].sentence);
    }
}

TEST(a_corpus_file_is_read_or_the_reason_said)
{
    const char *path = path_of("본문.txt");
    ck_assert(wf_file_write(path,
                            "\xEF\xBB\xBF"
                            "가나다라",
                            15, NULL));
    wf_error error = { "" };
    const wf_corpus_options options = { .time = 3, .batch = 1 };
    wf_corpus *c = wf_corpus_new(path, &options, &error);
    ck_assert_msg(c, "%s", error.text);
    ck_assert_int_eq(wf_corpus_train_count(c), 4);
    ck_assert_int_eq(wf_corpus_letter(c, 0), 0xAC00);
    wf_corpus_free(c);
    ck_assert_ptr_null(wf_corpus_new(path, &(wf_corpus_options){ .time = 4, .batch = 1 }, &error));
    ck_assert_str_eq(error.text,
                     worded("corpus '%s': 4 letters; 1 lanes of 4 + 1 letters need 5", path));
    ck_assert_ptr_null(wf_corpus_new(harness_folder(), &options, &error));
    ck_assert_str_eq(error.text, worded("corpus '%s': it is a folder", harness_folder()));
}

/* What a child writes into one end comes out of the other, bit by bit. */
static void feed(int to, const char *bytes, int64_t n)
{
    for (int64_t i = 0; i < n; i += 3) {
        const size_t some = (size_t)(n - i < 3 ? n - i : 3);
        ck_assert_int_eq(write(to, bytes + i, some), (ssize_t)some);
    }
}

TEST(several_files_pipes_and_standard_input_are_one_corpus)
{
    int end[2], was = dup(0);
    wf_error error = { "" };
    const char *path = path_of("first"), *fifo = path_of("pipe");
    ck_assert(wf_file_write(path, "abcdef", 6, NULL));
    ck_assert_int_eq(pipe(end), 0);
    feed(end[1], "가나다라", 12);
    close(end[1]);
    ck_assert_int_eq(dup2(end[0], 0), 0);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int to = open(fifo, O_WRONLY);
        feed(to, "xyz", 3);
        _exit(0);
    }
    const wf_corpus_options options = { .time = 2, .batch = 2, .valid = 0.25 };
    wf_corpus *c = wf_corpus_from_files((const char *[]){ path, "-", fifo }, 3, &options, &error);
    ck_assert_msg(c, "%s", error.text);
    ck_assert_int_eq(wf_corpus_train_count(c), 4 + 3 + 2);
    ck_assert_int_eq(wf_corpus_valid_count(c), 2 + 1 + 1);
    ck_assert_str_eq(wf_corpus_alphabet_text(c), "abcdefxyz가나다라");
    wf_corpus_free(c);
    waitpid(child, NULL, 0);
    ck_assert_ptr_null(wf_corpus_new("-", &options, &error)); /* it is used up */
    ck_assert_str_eq(error.text, "corpus '(standard input)': it is empty");
    ck_assert_ptr_null(
        wf_corpus_from_files((const char *[]){ "-", path, "-" }, 3, &options, &error));
    ck_assert_str_eq(error.text, "corpus: - (standard input) is named twice; it can be read once");
    dup2(was, 0);
    close(was);
    close(end[0]);
}

TEST(a_text_is_read_whole_whatever_its_size_and_no_more_than_allowed)
{
    enum { MOST = 200000 };
    static char bytes[MOST];
    const char *path = path_of("sizes");
    for (int i = 0; i < MOST; i++) bytes[i] = (char)('a' + i % 26);
    static const int64_t sizes[] = { 0, 1, 65534, 65535, 65536, 131072, MOST };
    for (int k = 0; k < 7; k++) {
        int64_t n = -1;
        wf_error error = { "" };
        ck_assert(wf_file_write(path, bytes, sizes[k], NULL));
        char *text = wf_text_read(path, sizes[k], &n, &error);
        ck_assert_msg(text, "%s", error.text);
        ck_assert_int_eq(n, sizes[k]);
        ck_assert(!memcmp(text, bytes, (size_t)n) && text[n] == 0);
        wf_release(text);
        if (sizes[k] < 2) continue;
        ck_assert_ptr_null(wf_text_read(path, sizes[k] - 1, &n, &error));
        ck_assert_str_eq(error.text, worded("text '%s': there are more than the %lld bytes allowed",
                                            path, (long long)sizes[k] - 1));
    }
}

TEST(an_alphabet_that_may_grow_keeps_its_ids_and_adds_new_letters_behind)
{
    wf_corpus_options options = { .time = 2, .batch = 1, .alphabet = "ca힣", .extend = true };
    wf_corpus *c = open_text("abcabz힣가b", &options);
    ck_assert_str_eq(wf_corpus_alphabet_text(c), "ca힣bz가");
    for (int32_t id = 0; id < 6; id++)
        ck_assert_int_eq(wf_corpus_id(c, wf_corpus_letter(c, id)), id);
    ck_assert_int_eq(wf_corpus_id(c, 'c'), 0);
    ck_assert_int_eq(wf_corpus_id(c, 0xD7A3), 2);
    wf_batch b = wf_corpus_next(c);
    ck_assert_int_eq(value(b.input, 0), 1);
    ck_assert_int_eq(value(b.input, 1), 3);
    wf_corpus_free(c);
    c = open_text("aacc", &options); /* nothing new, and one letter that does not occur */
    ck_assert_str_eq(wf_corpus_alphabet_text(c), "ca힣");
    wf_corpus_free(c);
    options.alphabet = NULL; /* none to keep: as without */
    c = open_text("cab", &options);
    ck_assert_str_eq(wf_corpus_alphabet_text(c), "abc");
    wf_corpus_free(c);
}

TEST(when_memory_runs_out_there_is_an_error_and_no_leak)
{
    const char *path = path_of("text");
    ck_assert(wf_file_write(path, "some text", 9, NULL));
    for (int form = 0; form < 2; form++) {
        int k = 1;
        for (;; k++) {
            wf_error error = { "" };
            heap.fail_at = k, heap.asked = 0;
            wf_corpus *c = form ? wf_corpus_from_alphabet("abc", &error)
                                : wf_corpus_new(
                                      path,
                                      &(wf_corpus_options){ .time = 2, .batch = 2, .valid = 0.3 },
                                      &error);
            bool reached = heap.asked >= k;
            heap.fail_at = 0;
            wf_corpus_free(c);
            ck_assert_int_eq(heap.live, 0);
            ck_assert_int_eq(c == NULL, reached);
            if (!reached) break;
            ck_assert_ptr_nonnull(strstr(error.text, "not enough memory for "));
        }
        ck_assert_int_eq(k - 1, form ? 5 : 8);
    }
}

TEST(shakespeare_is_cut_as_pytorch_cuts_it)
{
    const char *path = harness_data("tinyshakespeare.txt");
    if (!path) return;
    wf_error error = { "" };
    OWN(wf_corpus) *c = wf_corpus_new(
        path, &(wf_corpus_options){ .time = 64, .batch = 32, .valid = 0.05 }, &error);
    ck_assert_msg(c, "%s", error.text);
    ck_assert_int_eq(wf_corpus_alphabet(c), 65);
    ck_assert_int_eq(wf_corpus_train_count(c), 1059624);
    ck_assert_int_eq(wf_corpus_valid_count(c), 55770);
    int restarts = 0, steps = 0;
    for (; restarts < 2; steps++) restarts += wf_corpus_next(c).restart;
    ck_assert_int_eq(steps - 1, (1059624 / 32 - 1) / 64);
}

const harness_suite suite = { .after = nothing_is_left };
