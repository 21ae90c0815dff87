/* Words as ids: counted, ordered, cut off, saved and read again; sequences padded; orders drawn. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "data/batch.h"
#include "data/vocab.h"
#include "layers/basic.h"
#include "layers/rnn.h"
#include "tensor/io.h"
#include "tensor/runtime.h"
#include "tests/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char head[] = "<pad>\n<unk>\n<bos>\n<eos>\n";

static wf_vocab *counted(const char *text, const wf_vocab_options *options)
{
    wf_error error = { "" };
    const wf_text part = { "text", text, (int64_t)strlen(text) };
    wf_vocab *v = wf_vocab_from_parts(&part, 1, options, &error);
    ck_assert_msg(v, "%s", error.text);
    return v;
}

/* The words after the special ones, each with a newline. */
static void assert_words(const wf_vocab *v, const char *words)
{
    ck_assert_int_eq(strncmp(wf_vocab_text(v), head, strlen(head)), 0);
    ck_assert_str_eq(wf_vocab_text(v) + strlen(head), words);
}

static int32_t id_of(const wf_vocab *v, const char *word)
{
    return wf_vocab_id(v, word, (int64_t)strlen(word));
}

/* ---- vocabularies ---- */

TEST(words_are_in_the_order_of_how_often_they_occur)
{
    OWN(wf_vocab) *v = counted("the cat and the dog and 강아지 the\n", NULL);
    assert_words(v, "the\nand\ncat\ndog\n강아지\n");
    ck_assert_int_eq(wf_vocab_size(v), 9);
    ck_assert_int_eq(id_of(v, "<pad>"), WF_PAD);
    ck_assert_int_eq(id_of(v, "<unk>"), WF_UNK);
    ck_assert_int_eq(id_of(v, "<bos>"), WF_BOS);
    ck_assert_int_eq(id_of(v, "<eos>"), WF_EOS);
    for (int64_t i = 0; i < 9; i++) ck_assert_int_eq(id_of(v, wf_vocab_word(v, i)), i);
    ck_assert_int_eq(id_of(v, "bird"), WF_UNK);
    ck_assert_int_eq(id_of(v, ""), WF_UNK);
    ck_assert_int_eq(wf_vocab_id(v, "the cat", 3), 4);
    ck_assert_ptr_null(wf_vocab_word(v, 9));
    ck_assert_ptr_null(wf_vocab_word(v, -1));
}

TEST(the_order_of_the_texts_changes_nothing)
{
    const wf_text one = { "one", "b a c a", 7 }, other = { "other", "c d b d e", 9 };
    OWN(wf_vocab) *v = wf_vocab_from_parts((wf_text[]){ one, other }, 2, NULL, NULL);
    OWN(wf_vocab) *w = wf_vocab_from_parts((wf_text[]){ other, one }, 2, NULL, NULL);
    assert_words(v, "a\nb\nc\nd\ne\n");
    ck_assert_str_eq(wf_vocab_text(v), wf_vocab_text(w));
}

TEST_EACH(rare_words_are_left_out_and_a_size_is_kept, 4)
{
    static const struct {
        const char *text, *words;
        wf_vocab_options options;
    } cases[] = {
        { "a a a b b c c d", "a\nb\nc\n", { .min_count = 2 } },
        { "a a a b b c c d", "a\nb\n", { .max_size = 6 } },
        { "a a a b b c c d", "", { .max_size = 4 } },
        { "", "", { .min_count = 0 } },
    };
    OWN(wf_vocab) *v = counted(cases[_i].text, &cases[_i].options);
    assert_words(v, cases[_i].words);
}

TEST(special_words_in_a_text_are_the_special_ids)
{
    int32_t ids[4];
    OWN(wf_vocab) *v = counted("a <unk> b <unk> <eos>", NULL);
    assert_words(v, "a\nb\n");
    ck_assert_int_eq(wf_vocab_encode(v, "a <eos> <unk>", 13, ids, 4, NULL), 3);
    ck_assert(ids[0] == 4 && ids[1] == WF_EOS && ids[2] == WF_UNK);
}

/* Every letter with Unicode's property White_Space, and some that look like one and are none. */
TEST(words_end_at_unicode_white_space_and_nowhere_else)
{
    static const char *const spaces[] = { "\t",     "\n",       "\v",       "\f",     "\r",
                                          " ",      "\xC2\x85", "\xC2\xA0", "\u1680", "\u2000",
                                          "\u2001", "\u2002",   "\u2003",   "\u2004", "\u2005",
                                          "\u2006", "\u2007",   "\u2008",   "\u2009", "\u200A",
                                          "\u2028", "\u2029",   "\u202F",   "\u205F", "\u3000" };
    static const char *const none[] = { "\u200B", "\u2060", "\uFEFF", "\u180E", "\x1F", "." };
    char text[32];
    int64_t at, start;
    for (int i = 0; i < 25; i++) {
        snprintf(text, sizeof text, "%sab%s%s가", spaces[i], spaces[i], spaces[i]);
        const int64_t n = (int64_t)strlen(text), s = (int64_t)strlen(spaces[i]);
        at = 0;
        ck_assert_int_eq(wf_text_word(text, n, &at, &start), 2);
        ck_assert_int_eq(start, s);
        ck_assert_int_eq(wf_text_word(text, n, &at, &start), 3);
        ck_assert_int_eq(start, 3 * s + 2);
        ck_assert_int_eq(wf_text_word(text, n, &at, &start), 0);
        ck_assert_int_eq(at, n);
    }
    for (int i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "a%sb", none[i]);
        at = 0;
        ck_assert_int_eq(wf_text_word(text, (int64_t)strlen(text), &at, &start),
                         (int64_t)strlen(text));
    }
}

TEST(encoding_gives_ids_and_decoding_words)
{
    OWN(wf_vocab) *v = counted("하나 둘 둘 three", NULL);
    int32_t ids[5] = { -7, -7, -7, -7, -7 };
    static const char text[] = "\n둘  four three　하나";
    ck_assert_int_eq(wf_vocab_encode(v, text, (int64_t)strlen(text), ids, 3, NULL), 4);
    ck_assert(ids[0] == 4 && ids[1] == WF_UNK && ids[2] == 5 && ids[3] == -7);
    ck_assert_int_eq(wf_vocab_encode(v, text, (int64_t)strlen(text), ids, 5, NULL), 4);
    ids[4] = 77;
    char out[64];
    static const char words[] = "둘 <unk> three 하나 <unk>";
    ck_assert_uint_eq(wf_vocab_decode(v, ids, 5, out, sizeof out), strlen(words));
    ck_assert_str_eq(out, words);
    for (size_t bytes = 1; bytes <= strlen(words); bytes++) { /* cut, but within no letter */
        memset(out, '#', sizeof out);
        ck_assert_uint_eq(wf_vocab_decode(v, ids, 5, out, bytes), strlen(words));
        const size_t got = strlen(out);
        ck_assert(got < bytes && got + 3 >= bytes && !strncmp(out, words, got));
        ck_assert((words[got] & 0xC0) != 0x80 && out[bytes] == '#');
    }
    ck_assert_uint_eq(wf_vocab_decode(v, ids, 5, NULL, 0), strlen(words));
    ck_assert_uint_eq(wf_vocab_decode(v, ids, 0, out, sizeof out), 0);
    ck_assert_str_eq(out, "");
}

TEST(many_words_are_all_found_again)
{
    enum { WORDS = 20000 };
    static char text[WORDS * 8];
    char word[16];
    int64_t n = 0;
    for (int i = 0; i < WORDS; i++) n += snprintf(text + n, sizeof text - (size_t)n, "w%d ", i);
    OWN(wf_vocab) *v = counted(text, NULL);
    ck_assert_int_eq(wf_vocab_size(v), WORDS + 4);
    for (int i = 0; i < WORDS; i++) {
        snprintf(word, sizeof word, "w%d", i);
        ck_assert_str_eq(wf_vocab_word(v, id_of(v, word)), word);
    }
}

TEST(a_vocabulary_that_was_saved_is_the_same_when_loaded)
{
    const char *path = path_of("낱말.txt");
    wf_error error = { "" };
    ck_assert(wf_file_write(path, "\xEF\xBB\xBF나 너 너 a", 16, NULL));
    OWN(wf_vocab) *v = wf_vocab_new(path, NULL, &error);
    ck_assert_msg(v, "%s", error.text);
    assert_words(v, "너\na\n나\n");
    ck_assert_msg(wf_vocab_save(v, path, &error), "%s", error.text);
    OWN(wf_vocab) *w = wf_vocab_load(path, &error);
    ck_assert_msg(w, "%s", error.text);
    ck_assert_str_eq(wf_vocab_text(v), wf_vocab_text(w));
    ck_assert_int_eq(id_of(w, "나"), 6);
    static const char edited[] = "<pad>\r\n<unk>\r\n<bos>\r\n<eos>\r\n너\r\na\r\n나";
    OWN(wf_vocab) *e = wf_vocab_from_text("edited", edited, (int64_t)strlen(edited), &error);
    ck_assert_msg(e, "%s", error.text);
    ck_assert_str_eq(wf_vocab_text(e), wf_vocab_text(v));
}

static const struct {
    const char *lines, *says;
} wrong[] = {
    { "", "vocab 'v': it has 0 lines; expected <pad>, <unk>, <bos>, <eos> and more" },
    { "<pad>\n<unk>\n", "vocab 'v': it has 2 lines; expected <pad>, <unk>, <bos>, <eos> and more" },
    { "<pad>\n<bos>\n<unk>\n<eos>\n", "vocab 'v': line 2 is '<bos>'; expected <unk>" },
    { "<pad>\n<unk>\n<bos>\n<eos>\na\nb\na\n", "vocab 'v': lines 5 and 7 are both 'a'" },
    { "<pad>\n<unk>\n<bos>\n<eos>\n<unk>\n", "vocab 'v': lines 2 and 5 are both '<unk>'" },
    { "<pad>\n<unk>\n<bos>\n<eos>\na\n\nb", "vocab 'v': line 6 is no word: ''" },
    { "<pad>\n<unk>\n<bos>\n<eos>\na b\n", "vocab 'v': line 5 is no word: 'a b'" },
    { "<pad>\n<unk>\n<bos>\n<eos>\n\xFF",
      "vocab 'v': byte 24 (line 5) is 0xFF, which is not UTF-8 there" },
};

TEST_EACH(what_is_no_vocabulary_is_refused_with_the_line, sizeof wrong / sizeof *wrong)
{
    wf_error error = { "" };
    ck_assert_ptr_null(
        wf_vocab_from_text("v", wrong[_i].lines, (int64_t)strlen(wrong[_i].lines), &error));
    ck_assert_str_eq(error.text, wrong[_i].says);
}

TEST(when_memory_runs_out_there_is_a_sentence_and_no_leak)
{
    static char text[9000];
    int64_t n = 0;
    for (int i = 0; i < 1100; i++) n += snprintf(text + n, sizeof text - (size_t)n, "v%d ", i);
    const wf_text part = { "text", text, n };
    for (int k = 1;; k++) {
        wf_error error = { "" };
        heap.fail_at = k, heap.asked = 0;
        wf_vocab *v = wf_vocab_from_parts(&part, 1, NULL, &error);
        wf_vocab_free(v);
        ck_assert_int_eq(heap.live, 0);
        if (v) {
            ck_assert_int_gt(k, 8);
            break;
        }
        ck_assert_ptr_nonnull(strstr(error.text, ": not enough memory for "));
    }
    heap.fail_at = 0;
}

/* ---- padding ---- */

static const int32_t one[] = { 11, 12, 13 }, two[] = { 21 }, three[] = { 31, 32, 33, 34, 35 };
static const wf_ids lists[4] = { { one, 3 }, { two, 1 }, { NULL, 0 }, { three, 5 } };

static void assert_batch(const wf_padded *p, int64_t time, int32_t pad, bool keep_end)
{
    ck_assert_int_eq(p->ids.rank, 2);
    ck_assert_int_eq(p->ids.dim[0], time);
    ck_assert_int_eq(p->ids.dim[1], 4);
    ck_assert_int_eq(p->lengths.dim[0], 4);
    for (int64_t b = 0; b < 4; b++) {
        const int64_t n = lists[b].n, length = n < time ? n : time;
        ck_assert_double_eq(wf_tensor_at(&p->lengths, b), (double)length);
        for (int64_t t = 0; t < time; t++) {
            const int64_t from = keep_end ? n - length + t : t;
            ck_assert_double_eq(wf_tensor_at(&p->ids, t * 4 + b),
                                t < length ? lists[b].at[from] : pad);
        }
    }
}

TEST(lists_are_padded_to_the_longest_to_a_time_or_cut)
{
    wf_padded p = { 0 };
    wf_error error = { "" };
    ck_assert(wf_pad(&p, lists, 4, NULL, &error));
    assert_batch(&p, 5, 0, false);
    ck_assert(wf_pad(&p, lists, 4, &(wf_pad_options){ .time = 7, .pad = -1 }, &error));
    assert_batch(&p, 7, -1, false);
    const int64_t requests = heap.asked;
    for (int end = 0; end < 2; end++) {
        const wf_pad_options o = { .time = 2, .truncate = true, .keep_end = end, .pad = 9 };
        ck_assert(wf_pad(&p, lists, 4, &o, &error));
        assert_batch(&p, 2, 9, end);
    }
    ck_assert_int_eq(heap.asked, requests); /* a smaller batch needs no new memory */
    ck_assert(!wf_pad(&p, lists, 4, &(wf_pad_options){ .time = 3 }, &error));
    ck_assert_str_eq(error.text, "pad: sequence (3) has 5 ids; .time is 3\n"
                                 "  hint: .truncate cuts what is longer");
    assert_batch(&p, 2, 9, true);
    ck_assert(wf_pad(&p, NULL, 0, NULL, &error));
    ck_assert(p.ids.data && p.ids.dim[0] == 0 && p.ids.dim[1] == 0 && p.lengths.dim[0] == 0);
    wf_padded_free(&p);
    ck_assert_ptr_null(p.ids.data);
}

TEST(a_batch_that_fits_nowhere_is_one_sentence)
{
    wf_padded p = { 0 };
    wf_error error = { "" };
    ck_assert(!wf_pad(&p, lists, 4, &(wf_pad_options){ .time = INT64_MAX }, &error));
    ck_assert_str_eq(error.text, "pad: not enough memory for 9223372036854775807 bytes");
    ck_assert(!wf_pad(&p, lists, 4, &(wf_pad_options){ .time = INT64_C(1) << 40 }, &error));
    ck_assert_str_eq(error.text, "pad: not enough memory for 17592186044436 bytes");
    wf_padded_free(&p);
}

/* ---- from text to a loss ---- */

/* Nats per word of the next word, of a batch padded with `pad`: the mean over what is there. */
static double loss_of(const wf_embedding *embed, const wf_rnn *gru, const wf_linear *out,
                      const wf_padded *p)
{
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_var *ids = wf_constant_tensor(t, &p->ids), *lengths = wf_constant_tensor(t, &p->lengths);
    wf_var *x = wf_slice(t, ids, 0, 0, -1, 1), *target = wf_slice(t, ids, 0, 1, WF_LAST, 1);
    const int64_t time = wf_dim(x, 0);
    wf_var *steps = wf_cast(t, wf_sub_scalar(t, wf_cast(t, lengths, WF_F64), 1), WF_I32);
    wf_var *h = wf_rnn_forward(t, gru, wf_embedding_forward(t, embed, x),
                               &(wf_rnn_call){ .lengths = steps });
    wf_cross_entropy_options each = { .reduction = WF_REDUCE_NONE };
    wf_var *loss = wf_cross_entropy_with(t, wf_linear_forward(t, out, h), target, &each);
    wf_var *mask = wf_length_mask(t, steps, time);
    wf_var *kept = wf_sum(t, wf_where(t, mask, loss, wf_zeros(t, WF_F64, WF_SCALAR)), NULL);
    const double mean = wf_item(wf_div(t, kept, wf_sum(t, wf_cast(t, mask, WF_F64), NULL)));
    ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
    return mean;
}

TEST(a_padded_batch_has_the_loss_of_its_sentences_alone)
{
    static const char *const lines[3] = { "나 는 간다", "a b a c a", "b 나" };
    OWN(wf_vocab) *v = counted("나 는 간다 a b a c a b 나", NULL);
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64, .seed = 4 });
    const int64_t n = wf_vocab_size(v);
    wf_embedding *embed = wf_embedding_new(net, "embed",
                                           &(wf_embedding_options){ .input = n, .output = 5 });
    wf_rnn *gru = wf_gru_new(net, "gru", &(wf_rnn_options){ .input = 5, .hidden = 7 });
    wf_linear *out = wf_linear_new(net, "head", &(wf_linear_options){ .input = 7, .output = n });
    int32_t ids[3][8];
    wf_ids list[3];
    wf_padded p = { 0 };
    double sum = 0, words = 0;
    for (int i = 0; i < 3; i++) {
        ids[i][0] = WF_BOS;
        list[i].n = 2 +
                    wf_vocab_encode(v, lines[i], (int64_t)strlen(lines[i]), ids[i] + 1, 6, NULL);
        ids[i][list[i].n - 1] = WF_EOS;
        list[i].at = ids[i];
        ck_assert(wf_pad(&p, &list[i], 1, NULL, NULL));
        sum += loss_of(embed, gru, out, &p) * (double)(list[i].n - 1);
        words += (double)(list[i].n - 1);
    }
    ck_assert(wf_pad(&p, list, 3, &(wf_pad_options){ .pad = WF_PAD, .time = 9 }, NULL));
    ck_assert_double_eq_tol(loss_of(embed, gru, out, &p), sum / words, 1e-14);
    wf_padded_free(&p);
}

/* ---- orders ---- */

TEST(a_permutation_has_every_number_once_and_depends_on_its_seed_alone)
{
    enum { N = 1000 };
    static int64_t a[N], b[N];
    bool seen[N] = { false };
    wf_permutation(N, 7, a);
    wf_permutation(N, 7, b);
    ck_assert(!memcmp(a, b, sizeof a));
    int moved = 0;
    for (int i = 0; i < N; i++) {
        ck_assert(a[i] >= 0 && a[i] < N && !seen[a[i]]);
        seen[a[i]] = true;
        moved += a[i] != i;
    }
    ck_assert_int_gt(moved, 980);
    wf_permutation(N, 8, b);
    ck_assert(memcmp(a, b, sizeof a) != 0);
    wf_permutation(1, 3, a);
    ck_assert_int_eq(a[0], 0);
}

/* The same numbers on every machine. */
TEST(a_permutation_is_these_numbers)
{
    static const int64_t want[8] = { 6, 7, 4, 5, 2, 0, 3, 1 };
    int64_t a[8];
    wf_permutation(8, 1, a);
    for (int i = 0; i < 8; i++) ck_assert_int_eq(a[i], want[i]);
}

/* Chi-square over the 24 orders of 4 numbers: 23 degrees of freedom, below 60 but once in
 * 40,000. */
TEST(each_order_is_as_likely_as_any_other)
{
    enum { DRAWS = 24000 };
    int count[256] = { 0 };
    double chi = 0;
    int64_t a[4];
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        wf_permutation(4, seed, a);
        count[a[0] << 6 | a[1] << 4 | a[2] << 2 | a[3]]++;
    }
    int orders = 0;
    for (int i = 0; i < 256; i++) {
        if (!count[i]) continue;
        orders++;
        chi += (count[i] - DRAWS / 24.0) * (count[i] - DRAWS / 24.0) / (DRAWS / 24.0);
    }
    ck_assert_int_eq(orders, 24);
    ck_assert_double_lt(chi, 60);
}

const harness_suite suite = { .after = nothing_is_left };
