/* Parallel text: lines paired, judged and kept as ids; batches of similar length within a budget,
 * in an order that depends on (seed, epoch) alone; vocabularies of letters, and in a model's
 * file. */
#include "data/parallel.h"
#include "tensor/io.h"
#include "tensor/rng.h"
#include "tests/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static wf_text text_of(const char *name, const char *bytes)
{
    return (wf_text){ name, bytes, (int64_t)strlen(bytes) };
}

static wf_vocab *vocab_of(const char *bytes, bool letters)
{
    wf_error error = { "" };
    const wf_text part = text_of("text", bytes);
    wf_vocab *v = wf_vocab_from_parts(&part, 1, &(wf_vocab_options){ .letters = letters }, &error);
    ck_assert_msg(v, "%s", error.text);
    return v;
}

/* Two texts with a vocabulary of each. */
static wf_parallel *pairs_of(const char *source, const char *target,
                             const wf_parallel_options *options)
{
    wf_error error = { "" };
    OWN(wf_vocab) *v = vocab_of(source, false), *w = vocab_of(target, false);
    const wf_text s = text_of("s", source), t = text_of("t", target);
    wf_parallel *p = wf_parallel_from_parts(&s, &t, v, w, options, &error);
    ck_assert_msg(p, "%s", error.text);
    return p;
}

static void assert_ids(wf_ids ids, int64_t n, const int32_t *want)
{
    ck_assert_int_eq(ids.n, n);
    ck_assert(!n || !memcmp(ids.at, want, (size_t)n * sizeof *want));
}
#define IDS(ids, ...)                                                                              \
    assert_ids(ids, sizeof((const int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t),                    \
               (const int32_t[]){ __VA_ARGS__ })

static void assert_text(wf_text text, const char *want)
{
    ck_assert_int_eq(text.n, (int64_t)strlen(want));
    ck_assert_int_eq(strncmp(text.bytes, want, strlen(want)), 0);
}

/* ---- vocabularies of letters, and in a model's file ---- */

TEST(a_vocabulary_of_letters_has_white_space_and_korean_and_no_line_ends)
{
    OWN(wf_vocab) *v = vocab_of("가 나 가\r\n7 <unk>\n", true);
    ck_assert(wf_vocab_letters(v));
    ck_assert_str_eq(wf_vocab_text(v), "<letters>\n<pad>\n<unk>\n<bos>\n<eos>\n"
                                       " \n가\n7\n<\n>\nk\nn\nu\n나\n");
    int32_t ids[8];
    ck_assert_int_eq(wf_vocab_encode(v, "나 x\n가", 9, ids, 8, NULL), 4);
    ck_assert(ids[0] == 12 && ids[1] == 4 && ids[2] == WF_UNK && ids[3] == 5);
    char out[32];
    ck_assert_uint_eq(wf_vocab_decode(v, ids, 4, out, sizeof out), 12);
    ck_assert_str_eq(out, "나 <unk>가");
    OWN(wf_vocab) *again = wf_vocab_from_text("v", wf_vocab_text(v),
                                              (int64_t)strlen(wf_vocab_text(v)), NULL);
    ck_assert(wf_vocab_letters(again));
    ck_assert_str_eq(wf_vocab_text(again), wf_vocab_text(v));
    OWN(wf_vocab) *words = vocab_of("a", false);
    ck_assert(!wf_vocab_letters(words) && !wf_vocab_letters(NULL));
}

static const struct {
    const char *lines, *says;
} wrong[] = {
    { "<letters>\n<pad>\n<unk>\n<bos>\n",
      "vocab 'v': it has 4 lines; expected <pad>, <unk>, <bos>, <eos> and more" },
    { "<letters>\n<pad>\n<unk>\n<eos>\n<bos>\n", "vocab 'v': line 4 is '<eos>'; expected <bos>" },
    { "<letters>\n<pad>\n<unk>\n<bos>\n<eos>\nab\n", "vocab 'v': line 6 is no letter: 'ab'" },
    { "<letters>\n<pad>\n<unk>\n<bos>\n<eos>\n\n", "vocab 'v': line 6 is no letter: ''" },
    { "<letters>\n<pad>\n<unk>\n<bos>\n<eos>\na\n \na\n", "vocab 'v': lines 6 and 8 are both 'a'" },
    { "<letters>\n<letters>\n", "vocab 'v': line 2 is '<letters>'; expected <pad>" },
};

TEST_EACH(what_is_no_vocabulary_of_letters_is_refused, sizeof wrong / sizeof *wrong)
{
    wf_error error = { "" };
    ck_assert_ptr_null(
        wf_vocab_from_text("v", wrong[_i].lines, (int64_t)strlen(wrong[_i].lines), &error));
    ck_assert_str_eq(error.text, wrong[_i].says);
}

TEST(a_model_s_file_alone_is_enough_to_read_and_write_words)
{
    wf_error error = { "" };
    const char *path = path_of("모델.safetensors");
    OWN(wf_vocab) *v = vocab_of("하나 \"둘\" \\셋 \x01", false), *w = vocab_of("t w \t", true);
    OWN(wf_bundle) *b = wf_bundle_new();
    ck_assert(wf_vocab_to_bundle(v, b, "source") && wf_vocab_to_bundle(w, b, "target"));
    ck_assert_msg(wf_bundle_save(b, path, &error), "%s", error.text);
    OWN(wf_archive) *file = wf_safetensors_load(path, &error);
    ck_assert_msg(file, "%s", error.text);
    OWN(wf_vocab) *source = wf_vocab_from_archive(file, "source", &error);
    OWN(wf_vocab) *target = wf_vocab_from_archive(file, "target", &error);
    ck_assert_msg(source && target, "%s", error.text);
    ck_assert_str_eq(wf_vocab_text(source), wf_vocab_text(v));
    ck_assert_str_eq(wf_vocab_text(target), wf_vocab_text(w));
    ck_assert_ptr_null(wf_vocab_from_archive(file, "words", &error));
    ck_assert_str_eq(error.text, "vocab: the file's metadata have no 'words'");
    ck_assert_ptr_null(wf_vocab_from_archive(file, "weft.format", &error));
    ck_assert_str_eq(error.text, "vocab 'weft.format': line 1 is '1'; expected <pad>");
    ck_assert(!wf_vocab_to_bundle(NULL, b, "third") && !wf_bundle_ok(b, &error));
    ck_assert_str_eq(error.text, "vocab: it was never made (NULL)");
}

/* ---- pairs ---- */

static const char german[] = "ein Hund .\nzwei Hunde .\r\n\n  drei\tKatzen 셋\nein";
static const char english[] = "a dog .\ntwo dogs\n. .\n\nthe one and only";

TEST(lines_become_pairs_of_ids)
{
    OWN(wf_parallel) *p = pairs_of(german, english, NULL);
    const wf_parallel_counts n = wf_parallel_count(p);
    ck_assert(n.lines == 5 && n.pairs == 5 && n.too_long == 0 && n.empty == 0);
    ck_assert(n.tokens[0] == 10 && n.tokens[1] == 11 && n.unknown[0] + n.unknown[1] == 0);
    ck_assert(n.longest[0] == 3 && n.longest[1] == 4 && n.cut[0] + n.cut[1] == 0);
    /* . ein Hund Hunde Katzen drei zwei 셋; . a and dog dogs one only the two */
    IDS(wf_parallel_ids(p, WF_SOURCE, 0), 5, 6, 4);
    IDS(wf_parallel_ids(p, WF_TARGET, 0), WF_BOS, 5, 7, 4, WF_EOS);
    IDS(wf_parallel_ids(p, WF_SOURCE, 1), 10, 7, 4);
    ck_assert_int_eq(wf_parallel_ids(p, WF_SOURCE, 2).n, 0);
    IDS(wf_parallel_ids(p, WF_TARGET, 3), WF_BOS, WF_EOS);
    IDS(wf_parallel_ids(p, WF_SOURCE, 3), 9, 8, 11);
    IDS(wf_parallel_ids(p, WF_TARGET, 4), WF_BOS, 11, 9, 6, 10, WF_EOS);
    assert_text(wf_parallel_text(p, WF_SOURCE, 1), "zwei Hunde .");
    assert_text(wf_parallel_text(p, WF_SOURCE, 3), "  drei\tKatzen 셋");
    assert_text(wf_parallel_text(p, WF_TARGET, 4), "the one and only");
    for (int64_t i = 0; i < 5; i++) ck_assert_int_eq(wf_parallel_line(p, i), i + 1);
    ck_assert_int_eq(wf_parallel_line(p, 5), 0);
}

TEST(what_is_long_is_left_out_or_cut_and_what_is_empty_may_be)
{
    wf_parallel_options o = { .max_length = 3, .source_bos = true, .source_eos = true };
    OWN(wf_parallel) *p = pairs_of(german, english, &o);
    wf_parallel_counts n = wf_parallel_count(p);
    ck_assert(n.lines == 5 && n.pairs == 4 && n.too_long == 1 && n.empty == 0);
    IDS(wf_parallel_ids(p, WF_SOURCE, 0), WF_BOS, 5, 6, 4, WF_EOS);
    IDS(wf_parallel_ids(p, WF_SOURCE, 2), WF_BOS, WF_EOS);
    o = (wf_parallel_options){ .max_length = 2, .cut = true, .drop_empty = true };
    OWN(wf_parallel) *q = pairs_of(german, english, &o);
    n = wf_parallel_count(q);
    ck_assert(n.lines == 5 && n.pairs == 3 && n.too_long == 0 && n.empty == 2);
    ck_assert(n.cut[0] == 2 && n.cut[1] == 2 && n.longest[0] == 2 && n.longest[1] == 2);
    ck_assert(n.tokens[0] == 5 && n.tokens[1] == 6);
    IDS(wf_parallel_ids(q, WF_SOURCE, 0), 5, 6);
    IDS(wf_parallel_ids(q, WF_TARGET, 0), WF_BOS, 5, 7, WF_EOS);
    assert_text(wf_parallel_text(q, WF_TARGET, 0), "a dog ."); /* references are not cut */
    ck_assert_int_eq(wf_parallel_line(q, 2), 5);
    assert_text(wf_parallel_text(q, WF_SOURCE, 2), "ein");
    o.cut = false;
    const wf_text s = text_of("s.de", "a b c\n\n"), t = text_of("s.en", "a\na\n");
    OWN(wf_vocab) *v = vocab_of("a", false);
    wf_error error = { "" };
    ck_assert_ptr_null(wf_parallel_from_parts(&s, &t, v, v, &o, &error));
    ck_assert_str_eq(error.text, "parallel 's.de' and 's.en': no pair is left of 2 lines: 1 are "
                                 "longer than .max_length, 1 have an empty side");
}

TEST(words_that_a_vocabulary_lacks_are_unknown_and_counted)
{
    OWN(wf_vocab) *v = vocab_of("a b", false), *w = vocab_of("12", true);
    const wf_text s = text_of(NULL, "a x b y\nz"), t = text_of(NULL, "1 2\n\xEB\x91\x98"
                                                                     "1");
    OWN(wf_parallel) *p = wf_parallel_from_parts(&s, &t, v, w, NULL, NULL);
    const wf_parallel_counts n = wf_parallel_count(p);
    ck_assert(n.tokens[0] == 5 && n.unknown[0] == 3 && n.tokens[1] == 5 && n.unknown[1] == 2);
    IDS(wf_parallel_ids(p, WF_SOURCE, 0), 4, WF_UNK, 5, WF_UNK);
    IDS(wf_parallel_ids(p, WF_TARGET, 0), WF_BOS, 4, WF_UNK, 5, WF_EOS);
    IDS(wf_parallel_ids(p, WF_TARGET, 1), WF_BOS, WF_UNK, 4, WF_EOS);
}

static const struct {
    const char *source, *target, *says;
} refused[] = {
    { "a\nb\n", "a",
      "parallel 's.de' and 's.en': 2 and 1 lines; each sentence needs the line of "
      "its translation" },
    { "a\n", "a\n\n",
      "parallel 's.de' and 's.en': 1 and 2 lines; each sentence needs the line of "
      "its translation" },
    { "", "", "parallel 's.de' and 's.en': there are no lines" },
    { "a\nb\xFF\n", "a\nb\n",
      "parallel 's.de': byte 3 (line 2) is 0xFF, which is not UTF-8 there" },
    { "a\n", "\xC3", "parallel 's.en': byte 0 is 0xC3, which is not UTF-8 there" },
    { NULL, "a", "parallel 's.de': no bytes were given" },
};

TEST_EACH(texts_that_are_no_pairs_are_refused, sizeof refused / sizeof *refused)
{
    wf_error error = { "" };
    OWN(wf_vocab) *v = vocab_of("a", false);
    wf_text s = { "s.de", NULL, 1 }, t = text_of("s.en", refused[_i].target);
    if (refused[_i].source) s = text_of("s.de", refused[_i].source);
    ck_assert_ptr_null(wf_parallel_from_parts(&s, &t, v, v, NULL, &error));
    ck_assert_str_eq(error.text, refused[_i].says);
}

TEST(files_are_read_as_texts_are)
{
    wf_error error = { "" };
    static const char *const source = "s.de", *const target = "t.en";
    ck_assert(wf_file_write(path_of(source),
                            "\xEF\xBB\xBF"
                            "a b\r\nb\r\n",
                            11, NULL));
    ck_assert(wf_file_write(path_of(target), "x\ny", 3, NULL));
    char *const from = strdup(path_of(source)), *const to = strdup(path_of(target));
    OWN(wf_vocab) *v = wf_vocab_from_files((const char *[]){ from, to }, 2, NULL, &error);
    OWN(wf_parallel) *p = wf_parallel_new(from, to, v, v, NULL, &error);
    ck_assert_msg(p, "%s", error.text);
    IDS(wf_parallel_ids(p, WF_SOURCE, 0), 5, 4);
    IDS(wf_parallel_ids(p, WF_TARGET, 1), WF_BOS, 7, WF_EOS);
    assert_text(wf_parallel_text(p, WF_SOURCE, 0), "a b");
    ck_assert_ptr_null(wf_parallel_new(from, "/no/such.en", v, v, NULL, &error));
    ck_assert_str_eq(error.text, "parallel '/no/such.en': no such file or folder");
    ck_assert_ptr_null(wf_parallel_new("-", "-", v, v, NULL, &error));
    ck_assert_str_eq(error.text,
                     "parallel: - (standard input) is named twice; it can be read once");
    free(from);
    free(to);
}

TEST(equal_pairs_have_the_same_hash_and_others_another)
{
    OWN(wf_parallel) *p = pairs_of("a b\nc", "x\ny", NULL),
                     *q = pairs_of("a  b\nc\n", "x\ny", NULL);
    OWN(wf_parallel) *r = pairs_of("a\nb c", "x\ny", NULL), *s = pairs_of("a b\nc", "y\nx x", NULL);
    ck_assert(wf_parallel_hash(p) == wf_parallel_hash(q) && wf_parallel_hash(p) != 0);
    ck_assert(wf_parallel_hash(p) != wf_parallel_hash(r));
    ck_assert(wf_parallel_hash(p) != wf_parallel_hash(s));
}

/* ---- buckets ---- */

enum { PAIRS = 500 };

/* Sentences of 0 to 19 words, those of the target about as long; words are numbers. */
static wf_parallel *random_pairs(uint64_t seed)
{
    static char text[2][PAIRS * 20 * 4];
    size_t n[2] = { 0, 0 };
    for (int i = 0; i < PAIRS; i++) {
        const int64_t base = wf_random_below(seed, (uint64_t)i, 16);
        for (int k = 0; k < 2; k++) {
            const int64_t words = base + wf_random_below(seed + 1 + (uint64_t)k, (uint64_t)i, 4);
            for (int64_t j = 0; j < words; j++)
                n[k] += (size_t)snprintf(text[k] + n[k], 5, "%d ", (int)((i * 7 + j) % 97));
            n[k] += (size_t)snprintf(text[k] + n[k], 2, "\n");
        }
    }
    return pairs_of(text[0], text[1], &(wf_parallel_options){ .source_eos = true });
}

static wf_buckets *buckets_of(const wf_parallel *p, const wf_buckets_options *o)
{
    wf_error error = { "" };
    wf_buckets *b = wf_buckets_new(p, o, &error);
    ck_assert_msg(b, "%s", error.text);
    return b;
}

static int32_t at(const wf_tensor *x, int64_t t, int64_t b)
{
    return ((const int32_t *)x->data)[t * x->dim[1] + b];
}

static void assert_column(const wf_tensor *x, int64_t b, const int32_t *ids, int64_t n)
{
    bool same = true;
    for (int64_t t = 0; t < x->dim[0]; t++) same &= at(x, t, b) == (t < n ? ids[t] : WF_PAD);
    ck_assert(same && n <= x->dim[0]);
}

/* Everything in a batch, against the pairs that it says it has. */
static void assert_pairs(const wf_parallel *p, const wf_pairs *batch)
{
    const int64_t n = batch->count;
    int64_t tokens = 0, longest[2] = { 0, 0 };
    ck_assert(n > 0 && batch->source.dim[1] == n && batch->before.dim[1] == n &&
              batch->after.dim[1] == n && batch->source_lengths.dim[0] == n &&
              batch->target_lengths.dim[0] == n && batch->before.dim[0] == batch->after.dim[0]);
    for (int64_t b = 0; b < n; b++) {
        const wf_ids s = wf_parallel_ids(p, WF_SOURCE, batch->pair[b]);
        const wf_ids t = wf_parallel_ids(p, WF_TARGET, batch->pair[b]);
        assert_column(&batch->source, b, s.at, s.n);
        assert_column(&batch->before, b, t.at, t.n - 1);
        assert_column(&batch->after, b, t.at + 1, t.n - 1);
        ck_assert(at(&batch->before, 0, b) == WF_BOS && at(&batch->after, t.n - 2, b) == WF_EOS);
        ck_assert_double_eq(wf_tensor_at(&batch->source_lengths, b), (double)s.n);
        ck_assert_double_eq(wf_tensor_at(&batch->target_lengths, b), (double)(t.n - 1));
        tokens += t.n - 1;
        if (s.n > longest[0]) longest[0] = s.n;
        if (t.n - 1 > longest[1]) longest[1] = t.n - 1;
    }
    ck_assert_int_eq(batch->tokens, tokens);
    ck_assert(batch->source.dim[0] == longest[0] && batch->before.dim[0] == longest[1]);
}

static const wf_buckets_options budgets[] = {
    { .max_tokens = 100, .seed = 3 },
    { .max_sentences = 7, .seed = 3 },
    { .max_tokens = 100, .max_sentences = 7, .seed = 9 },
    { .max_tokens = 200, .pool = 60, .seed = 3 },
    { .max_sentences = 16, .pool = 33 },
    { .max_tokens = 100, .order = WF_BUCKETS_SORTED },
    { .max_tokens = 100, .order = WF_BUCKETS_IN_ORDER },
    { .max_sentences = 10000, .pool = 10000 },
    { .max_sentences = 1 },
    { .max_tokens = 20 },
};
enum { BUDGETS = sizeof budgets / sizeof *budgets };

TEST_EACH(an_epoch_has_each_pair_once_within_the_budget, BUDGETS)
{
    const wf_buckets_options *o = &budgets[_i];
    OWN(wf_parallel) *p = random_pairs(5);
    OWN(wf_buckets) *b = buckets_of(p, o);
    const wf_pairs *batch;
    const int64_t asked = heap.asked;
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        bool seen[PAIRS] = { false };
        int64_t n = 0, batches = 0;
        ck_assert_int_eq(wf_buckets_epoch(b), epoch);
        const int64_t all = wf_buckets_count(b);
        while ((batch = wf_buckets_next(b))) {
            const int64_t s = batch->source.dim[0], t = batch->before.dim[0];
            assert_pairs(p, batch);
            ck_assert(!o->max_sentences || batch->count <= o->max_sentences);
            ck_assert(!o->max_tokens || (s > t ? s : t) * batch->count <= o->max_tokens);
            for (int64_t i = 0; i < batch->count; i++) {
                ck_assert(!seen[batch->pair[i]]);
                seen[batch->pair[i]] = true;
            }
            n += batch->count;
            ck_assert_int_eq(wf_buckets_position(b), ++batches);
        }
        ck_assert_int_eq(n, PAIRS);
        ck_assert_int_eq(batches, all);
        ck_assert_int_eq(wf_buckets_position(b), 0);
    }
    ck_assert_int_eq(heap.asked, asked); /* no batch and no epoch asks for memory */
}

/* The pairs of n batches, one after another, a -1 behind each; a -2 where an epoch ended. */
static int64_t taken(wf_buckets *b, int64_t n, int64_t *out)
{
    int64_t written = 0;
    for (int64_t i = 0; i < n; i++) {
        const wf_pairs *batch = wf_buckets_next(b);
        for (int64_t k = 0; batch && k < batch->count; k++) out[written++] = batch->pair[k];
        out[written++] = batch ? -1 : -2;
    }
    return written;
}

TEST_EACH(who_seeks_goes_on_as_who_read_all_before, BUDGETS)
{
    static int64_t whole[8 * PAIRS], part[8 * PAIRS];
    OWN(wf_parallel) *p = random_pairs(5);
    OWN(wf_buckets) *b = buckets_of(p, &budgets[_i]);
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        ck_assert(wf_buckets_seek(b, epoch, 0));
        const int64_t n = wf_buckets_count(b);
        for (int64_t at = 0; at <= n; at += n / 2 + 1) {
            ck_assert(wf_buckets_seek(b, epoch, at));
            const int64_t numbers = taken(b, n, whole);
            OWN(wf_buckets) *c = buckets_of(p, &budgets[_i]);
            for (int64_t e = 0; e < epoch; e++)
                while (wf_buckets_next(c)) continue;
            for (int64_t i = 0; i < at; i++) ck_assert_ptr_nonnull(wf_buckets_next(c));
            ck_assert_int_eq(wf_buckets_epoch(c), epoch);
            ck_assert_int_eq(wf_buckets_position(c), at);
            ck_assert_int_eq(taken(c, n, part), numbers);
            ck_assert(!memcmp(whole, part, (size_t)numbers * sizeof *whole));
        }
    }
    ck_assert(wf_buckets_seek(b, 2, 1));
    ck_assert(!wf_buckets_seek(b, 2, -1) && !wf_buckets_seek(b, -1, 0) &&
              !wf_buckets_seek(b, 5, PAIRS + 1) && !wf_buckets_seek(b, INT64_MAX, 0));
    ck_assert(wf_buckets_epoch(b) == 2 && wf_buckets_position(b) == 1);
}

TEST(epochs_and_seeds_differ_and_what_is_not_shuffled_does_not)
{
    static int64_t a[4 * PAIRS], c[4 * PAIRS];
    OWN(wf_parallel) *p = random_pairs(5);
    for (int i = 0; i < BUDGETS; i++) {
        wf_buckets_options o = budgets[i];
        OWN(wf_buckets) *b = buckets_of(p, &o);
        const bool shuffled = o.order == WF_BUCKETS_SHUFFLED;
        const int64_t n = taken(b, wf_buckets_count(b), a);
        ck_assert(wf_buckets_seek(b, 1, 0));
        const int64_t m = taken(b, wf_buckets_count(b), c);
        ck_assert_int_eq(shuffled, n != m || memcmp(a, c, (size_t)n * sizeof *a) != 0);
        o.seed++;
        OWN(wf_buckets) *d = buckets_of(p, &o);
        const int64_t k = taken(d, wf_buckets_count(d), c);
        ck_assert_int_eq(shuffled, n != k || memcmp(a, c, (size_t)n * sizeof *a) != 0);
    }
}

TEST(an_order_that_is_not_shuffled_is_that_of_the_lines_or_of_the_lengths)
{
    OWN(wf_parallel) *p = random_pairs(5);
    OWN(wf_buckets) *b = buckets_of(p, &budgets[6]), *c = buckets_of(p, &budgets[5]);
    const wf_pairs *batch;
    int64_t next = 0, last = -1;
    while ((batch = wf_buckets_next(b)))
        for (int64_t i = 0; i < batch->count; i++) ck_assert_int_eq(batch->pair[i], next++);
    while ((batch = wf_buckets_next(c)))
        for (int64_t i = 0; i < batch->count; i++) {
            const int64_t s = wf_parallel_ids(p, WF_SOURCE, batch->pair[i]).n;
            const int64_t t = wf_parallel_ids(p, WF_TARGET, batch->pair[i]).n;
            ck_assert_int_lt(last, (s * 100 + t) * PAIRS + batch->pair[i]);
            last = (s * 100 + t) * PAIRS + batch->pair[i];
        }
}

/* The same numbers on every machine, at every dispatch level. */
TEST(a_shuffled_order_is_these_numbers)
{
    static const int64_t want[] = {
        2, 4, -1, 1, 3, -1, 0, 5, -1, -2, 4, 5, -1, 1, 3, -1, 0, 2, -1
    };
    OWN(wf_parallel) *p = pairs_of("a\nb b\nc\nd d\ne\nf", "a\nb b\nc\nd d\ne\nf", NULL);
    OWN(wf_buckets) *b = buckets_of(p, &(wf_buckets_options){ .max_sentences = 2, .seed = 1 });
    int64_t got[32];
    const int64_t n = taken(b, 7, got);
    ck_assert_int_eq(n, (int64_t)(sizeof want / sizeof *want));
    for (int64_t i = 0; i < n; i++) ck_assert_int_eq(got[i], want[i]);
}

static const struct {
    wf_buckets_options o;
    const char *says;
} senseless[] = {
    { { .seed = 1 }, "buckets: neither .max_tokens nor .max_sentences was given" },
    { { .max_tokens = -1 }, "buckets: .max_tokens is -1; it must be 0 or more" },
    { { .max_sentences = -2 }, "buckets: .max_sentences is -2; it must be 0 or more" },
    { { .max_sentences = 2, .pool = -3 }, "buckets: .pool is -3; it must be 0 or more" },
    { { .max_sentences = 2, .order = (wf_bucket_order)3 }, "buckets: there is no .order 3" },
    { { .max_sentences = 2, .pool = 4, .order = WF_BUCKETS_SORTED },
      "buckets: .pool is 4, but nothing is shuffled" },
    { { .max_tokens = 3 },
      "buckets: pair 1 (line 2) alone has 4 tokens; .max_tokens is 3\n"
      "  hint: .max_length of the parallel text leaves out or cuts what is "
      "longer" },
};

TEST_EACH(options_that_make_no_batches_are_refused, sizeof senseless / sizeof *senseless)
{
    wf_error error = { "" };
    OWN(wf_parallel) *p = pairs_of("a\nb", "x\nx y z", NULL);
    ck_assert_ptr_null(wf_buckets_new(p, &senseless[_i].o, &error));
    ck_assert_str_eq(error.text, senseless[_i].says);
}

TEST(the_largest_numbers_are_taken_quietly)
{
    OWN(wf_parallel) *p = random_pairs(5);
    OWN(wf_buckets) *b = buckets_of(p, &(wf_buckets_options){ .max_tokens = INT64_MAX,
                                                              .max_sentences = INT64_MAX,
                                                              .pool = INT64_MAX,
                                                              .seed = UINT64_MAX });
    const wf_pairs *batch = wf_buckets_next(b);
    assert_pairs(p, batch);
    ck_assert_int_eq(batch->count, PAIRS);
    ck_assert(!wf_buckets_next(b) && wf_buckets_seek(b, INT64_MAX - 1, 1));
}

TEST(when_memory_runs_out_there_is_a_sentence_and_no_leak)
{
    OWN(wf_vocab) *v = vocab_of("a b", false);
    const long long live = heap.live;
    const wf_text s = text_of("s", "a b\nb\n");
    for (int k = 1;; k++) {
        wf_error error = { "" };
        heap.fail_at = k, heap.asked = 0;
        wf_parallel *p = wf_parallel_from_parts(&s, &s, v, v, NULL, &error);
        wf_buckets *b = p ? wf_buckets_new(p, &(wf_buckets_options){ .max_tokens = 9 }, &error)
                          : NULL;
        wf_buckets_free(b);
        wf_parallel_free(p);
        ck_assert_int_eq(heap.live, live);
        if (b) {
            ck_assert_int_gt(k, 18);
            break;
        }
        ck_assert_ptr_nonnull(strstr(error.text, ": not enough memory for "));
    }
    heap.fail_at = 0;
}

/* ---- real text ---- */

/* What part of the numbers of an epoch's batches is padding. */
static double padding_of(wf_buckets *b)
{
    int64_t there = 0, all = 0;
    const wf_pairs *batch;
    while ((batch = wf_buckets_next(b))) {
        there += batch->tokens;
        for (int64_t i = 0; i < batch->count; i++)
            there += (int64_t)wf_tensor_at(&batch->source_lengths, i);
        all += (batch->source.dim[0] + batch->before.dim[0]) * batch->count;
    }
    return 1 - (double)there / (double)all;
}

TEST(captions_in_two_languages_are_read_and_hardly_padded)
{
    wf_error error = { "" };
    const char *path = harness_data("multi30k/train.de");
    if (!path) return;
    char *de = strdup(path), *en = strdup(path);
    memcpy(en + strlen(en) - 2, "en", 2);
    const wf_vocab_options twice = { .min_count = 2 };
    OWN(wf_vocab) *v = wf_vocab_new(de, &twice, &error), *w = wf_vocab_new(en, &twice, &error);
    OWN(wf_parallel) *p = wf_parallel_new(de, en, v, w, NULL, &error);
    ck_assert_msg(p, "%s", error.text);
    const wf_parallel_counts n = wf_parallel_count(p);
    ck_assert(n.lines == 29000 && n.pairs == 29000);
    ck_assert(n.unknown[0] > 0 && n.unknown[0] < n.tokens[0] / 20 && n.longest[0] > 30);
    OWN(wf_buckets) *b = buckets_of(p, &(wf_buckets_options){ .max_tokens = 2048, .seed = 1 });
    OWN(wf_buckets) *c = buckets_of(
        p, &(wf_buckets_options){ .max_tokens = 2048, .order = WF_BUCKETS_IN_ORDER });
    const double sorted = padding_of(b), as_they_are = padding_of(c);
    ck_assert_msg(sorted < 0.05 && as_they_are > 0.4, "padding: %g and %g", sorted, as_they_are);
    free(de);
    free(en);
}

const harness_suite suite = { .after = nothing_is_left };
