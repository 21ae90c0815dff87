/* Columns of words and tags: read, as ids, converted and written again. */
#include "data/conll.h"
#include "tests/fixture.h"

#include <stdio.h>
#include <string.h>

static const char text[] = "\xEF\xBB\xBF-DOCSTART- -X- O\r\n"
                           "\r\n"
                           "# 1\r\n"
                           "서울 NNP I-LOC\r\n"
                           "에  JKB\tO \r\n"
                           "\r\n"
                           " \r\n"
                           "EU NNP I-ORG\n"
                           "UN NNP B-ORG\n"
                           "-DOCSTART-\n"
                           "é NN O";

static wf_conll *made(const char *bytes, const wf_conll_options *options, wf_error *error)
{
    const wf_text t = { "t", bytes, (int64_t)strlen(bytes) };
    return wf_conll_from_text(&t, options, error);
}

static const wf_conll_options comments = { .comment = "# " };

TEST(sentences_are_read_whatever_ends_their_lines)
{
    wf_error e = { "" };
    OWN(wf_conll) *c = made(text, &comments, &e);
    ck_assert_msg(c, "%s", e.text);
    ck_assert(wf_conll_sentences(c) == 3 && wf_conll_columns(c) == 3 && wf_conll_words(c) == 5);
    ck_assert(wf_conll_length(c, 0) == 2 && wf_conll_length(c, 2) == 1 &&
              wf_conll_length(c, 3) == 0);
    ck_assert_str_eq(wf_conll_fields(c, 0, 0)[0], "서울");
    ck_assert_str_eq(wf_conll_fields(c, 0, 1)[1], "JKB");
    ck_assert_str_eq(wf_conll_fields(c, 0, 2)[1], "O");
    ck_assert_str_eq(wf_conll_fields(c, 1, 2)[1], "B-ORG");
    ck_assert_str_eq(wf_conll_fields(c, 2, 0)[0], "é");
    ck_assert(!wf_conll_fields(c, 3, 0) && !wf_conll_fields(c, 0, 3));
    /* With tabs alone, fields hold spaces and may be empty. */
    OWN(wf_conll) *t = made("New York\t\tB\n", &(wf_conll_options){ .separator = '\t' }, NULL);
    ck_assert(t && wf_conll_columns(t) == 3);
    ck_assert_str_eq(wf_conll_fields(t, 0, 0)[0], "New York");
    ck_assert_str_eq(wf_conll_fields(t, 0, 1)[0], "");
}

TEST(what_is_no_table_is_refused_with_its_line)
{
    wf_error e;
    ck_assert(!made("a O\nb O\n\nc\n", NULL, &e));
    ck_assert_str_eq(e.text, "conll 't': line 4 has 1 column; there must be 2");
    ck_assert(!made("a O\n", &(wf_conll_options){ .columns = 4 }, &e));
    ck_assert_str_eq(e.text, "conll 't': line 1 has 2 columns; there must be 4");
    ck_assert(!made("\n-DOCSTART- O\n", NULL, &e));
    ck_assert_str_eq(e.text, "conll 't': there is no word");
    ck_assert(!made("a \xC0\n", NULL, &e));
    ck_assert(!made("a\n", &(wf_conll_options){ .separator = '\n' }, &e));
    ck_assert(!made("a\n", &(wf_conll_options){ .columns = -1 }, &e));
    ck_assert_str_eq(e.text, "conll 't': .columns is -1; it must be 0 or more");
}

TEST(words_tags_and_letters_become_ids)
{
    OWN(wf_conll) *c = made(text, &comments, NULL);
    OWN(wf_vocab) *words = wf_conll_vocab(c, 0, NULL, 0, NULL, NULL);
    OWN(wf_vocab) *tags = wf_conll_vocab(c, 2, NULL, 0, NULL, NULL);
    OWN(wf_vocab) *letters = wf_conll_vocab(c, 0, NULL, 0, &(wf_vocab_options){ .letters = true },
                                            NULL);
    ck_assert(wf_vocab_size(words) == WF_SPECIAL_IDS + 5);
    OWN(wf_vocab) *few = wf_conll_vocab(c, 0, (const int64_t[]){ 2, 0 }, 2, NULL, NULL);
    ck_assert(wf_vocab_size(few) == WF_SPECIAL_IDS + 3 && wf_vocab_id(few, "EU", 2) == WF_UNK);
    OWN(wf_vocab) *no = wf_conll_vocab(c, 0, (const int64_t[]){ 2 }, 0, NULL, NULL);
    ck_assert(wf_vocab_size(no) == WF_SPECIAL_IDS);
    ck_assert(wf_vocab_size(letters) == WF_SPECIAL_IDS + 7);
    const int64_t list[2] = { 2, 0 };
    wf_padded b = { .memory = NULL };
    ck_assert(wf_conll_batch(c, WF_CONLL_WORDS, 0, words, list, 2, &b, NULL));
    ck_assert(b.ids.dim[0] == 2 && b.ids.dim[1] == 2 && wf_tensor_at(&b.lengths, 0) == 1);
    ck_assert(wf_tensor_at(&b.ids, 0) == wf_vocab_id(words, "é", 2));
    ck_assert(wf_tensor_at(&b.ids, 1) == wf_vocab_id(words, "서울", 6));
    ck_assert(wf_tensor_at(&b.ids, 2) == WF_PAD);
    ck_assert(wf_conll_batch(c, WF_CONLL_TAGS, 2, tags, list, 2, &b, NULL));
    ck_assert(wf_tensor_at(&b.ids, 1) == wf_vocab_id(tags, "I-LOC", 5) - WF_SPECIAL_IDS);
    ck_assert(wf_tensor_at(&b.ids, 2) == 0 && wf_tensor_at(&b.lengths, 1) == 2);
    ck_assert(wf_conll_batch(c, WF_CONLL_LETTERS, 0, letters, list, 2, &b, NULL));
    ck_assert(b.ids.dim[0] == 2 && b.ids.dim[1] == 4); /* t * B + b */
    const int64_t lengths[4] = { 1, 2, 0, 1 };
    for (int i = 0; i < 4; i++) ck_assert(wf_tensor_at(&b.lengths, i) == (double)lengths[i]);
    ck_assert(wf_tensor_at(&b.ids, 4 + 1) == wf_vocab_id(letters, "울", 3));
    ck_assert(wf_tensor_at(&b.ids, 3) == wf_vocab_id(letters, "에", 3));
    /* A tag that the vocabulary does not have is refused; batches ask for memory but once. */
    wf_error e;
    ck_assert(!wf_conll_batch(c, WF_CONLL_TAGS, 1, tags, list, 2, &b, &e));
    ck_assert_str_eq(e.text, "conll 't': line 11 has the tag 'NN', which is not in the vocabulary");
    ck_assert(b.ids.dim[1] == 4);
    const long long asked = heap.asked;
    for (int i = 0; i < 3; i++)
        ck_assert(wf_conll_batch(c, WF_CONLL_LETTERS, 0, letters, list, 2, &b, NULL));
    ck_assert(heap.asked == asked);
    wf_padded_free(&b);
}

TEST(a_scheme_has_all_tags_of_the_types_there)
{
    static const struct {
        wf_tag_scheme scheme;
        const char *text;
    } want[] = { { WF_IOB2, "<pad>\n<unk>\n<bos>\n<eos>\nO\nB\nI\nB-a-b\nI-a-b\nB-시\nI-시\n" },
                 { WF_IOB1, "<pad>\n<unk>\n<bos>\n<eos>\nO\nB\nI\nB-a-b\nI-a-b\nB-시\nI-시\n" },
                 { WF_IOBES, "<pad>\n<unk>\n<bos>\n<eos>\nO\nB\nI\nE\nS\nB-a-b\nI-a-b\nE-a-b\n"
                             "S-a-b\nB-시\nI-시\nE-시\nS-시\n" } };
    wf_error e;
    OWN(wf_conll) *c = made("x I-시\ny S-a-b\n\nz O\nz E\n", NULL, NULL);
    OWN(wf_conll) *none = made("x O\n", NULL, NULL);
    OWN(wf_vocab) *o = wf_conll_tags(none, 1, WF_IOBES, NULL);
    ck_assert(wf_vocab_size(o) == WF_SPECIAL_IDS + 1);
    for (size_t i = 0; i < 3; i++) {
        OWN(wf_vocab) *tags = wf_conll_tags(c, 1, want[i].scheme, &e);
        ck_assert_msg(tags, "%s", e.text);
        ck_assert_str_eq(wf_vocab_text(tags), want[i].text);
    }
    ck_assert(!wf_conll_tags(c, 0, WF_IOB2, &e));
    ck_assert_str_eq(e.text,
                     "conll 't': line 1 has 'x' in column 0, which is no tag: O, or B, I, E "
                     "or S, alone or with a hyphen and a type");
}

TEST(a_column_more_is_written_and_all_else_stays)
{
    static const char *const more[5] = { "B-LOC", "O", "O", "B-인물", "O" };
    static const char want[] = "\xEF\xBB\xBF-DOCSTART- -X- O\r\n"
                               "\r\n"
                               "# 1\r\n"
                               "서울 NNP B-LOC B-LOC\r\n"
                               "에  JKB\tO\tO \r\n"
                               "\r\n"
                               " \r\n"
                               "EU NNP B-ORG O\n"
                               "UN NNP B-ORG B-인물\n"
                               "-DOCSTART-\n"
                               "é NN O O";
    char path[512];
    int64_t n;
    wf_error e;
    OWN(wf_conll) *c = made(text, &comments, NULL);
    ck_assert(wf_conll_convert(c, 2, WF_IOB2, NULL));
    ck_assert_str_eq(wf_conll_fields(c, 1, 2)[0], "B-ORG");
    snprintf(path, sizeof path, "%s/out", harness_folder());
    ck_assert(wf_conll_save(c, path, more, NULL));
    char *got = wf_file_read(path, 0, &n, NULL);
    ck_assert_str_eq(got, want);
    wf_release(got);
    got = wf_conll_text(c, more, &n, NULL);
    ck_assert(got && n == (int64_t)strlen(want));
    ck_assert_str_eq(got, want);
    wf_release(got);
    OWN(wf_conll) *again = wf_conll_new(path, &comments, NULL);
    ck_assert(again && wf_conll_columns(again) == 4);
    ck_assert_str_eq(wf_conll_fields(again, 1, 3)[1], "B-인물");
    /* No word of it is a tag, and nothing was changed. */
    ck_assert(!wf_conll_convert(c, 0, WF_IOBES, &e));
    ck_assert_str_eq(e.text,
                     "conll 't': line 4 has '서울' in column 0, which is no tag: O, or B, I, "
                     "E or S, alone or with a hyphen and a type");
    ck_assert_str_eq(wf_conll_fields(c, 0, 0)[0], "서울");
    const char *const odd[5] = { "O", "a b", "O", "O", "O" };
    ck_assert(!wf_conll_save(c, path, odd, &e));
    ck_assert_str_eq(e.text, "conll: field 1 to be written is not UTF-8, or holds a separator or a "
                             "line end");
    got = wf_file_read(path, 0, &n, NULL);
    ck_assert_str_eq(got, want);
    wf_release(got);
    /* Without more it is the text, and what was converted. */
    OWN(wf_conll) *same = made(text, &comments, NULL);
    got = wf_conll_text(same, NULL, &n, NULL);
    ck_assert_str_eq(got, text);
    wf_release(got);
    got = wf_conll_text(c, NULL, &n, NULL);
    ck_assert(got && strstr(got, "서울 NNP B-LOC\r\n") && n == (int64_t)sizeof text - 1);
    wf_release(got);
}
