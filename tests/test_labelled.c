/* Texts with classes: files of a class each, tables of every form, words and signs. */
#include "data/labelled.h"

#include <stdio.h>
#include <string.h>

#include "tensor/io.h"
#include "tests/fixture.h"

static const char *separated(const char *text)
{
    static char to[256];
    const size_t n = wf_text_separate(text, (int64_t)strlen(text), to, sizeof to);
    ck_assert_uint_eq(n, strlen(to));
    return to;
}

TEST(words_and_signs_are_separated)
{
    ck_assert_str_eq(separated("Great, isn't it?"), "great ,  isn't it ? ");
    ck_assert_str_eq(separated("well-known 3.5 1,000 and/or"), "well-known 3.5 1,000 and/or");
    ck_assert_str_eq(separated("- a. (b)"), " -  a .   ( b ) ");
    ck_assert_str_eq(separated("ÄÖ 영화는, 좋다!"), "ÄÖ 영화는 ,  좋다 ! ");
    ck_assert_str_eq(separated(""), "");
    char cut[4];
    ck_assert_uint_eq(wf_text_separate("A,b", 3, cut, sizeof cut), 3);
    ck_assert_str_eq(cut, "a,b");
    ck_assert_uint_eq(wf_text_separate("!!", 2, cut, sizeof cut), 6);
    ck_assert_str_eq(cut, " ! ");
    ck_assert_uint_eq(wf_text_separate("!!", 2, NULL, 0), 6);
}

/* A file of that name with that text; its path. */
static const char *file_with(const char *name, const char *text)
{
    static char paths[2][4096]; /* of the two last ones */
    static int at;
    char *path = paths[at++ % 2];
    snprintf(path, sizeof paths[0], "%s", path_of(name));
    ck_assert(wf_file_write(path, text, (int64_t)strlen(text), NULL));
    return path;
}

static void holds(const wf_labelled *l, int64_t i, const char *name, const char *text)
{
    const wf_text got = wf_labelled_text(l, i);
    ck_assert_str_eq(wf_labelled_name(l, wf_labelled_class(l, i)), name);
    ck_assert_int_eq(got.n, (int64_t)strlen(text));
    ck_assert_mem_eq(got.bytes, text, strlen(text));
    ck_assert(wf_labelled_all(l)[i] == wf_labelled_class(l, i));
}

TEST(files_of_a_class_each_are_named_after_them)
{
    wf_error e;
    const char *const paths[] = { file_with("좋음.txt", "Good one\r\n\r\nnice\n"),
                                  file_with("bad.part.txt", "awful") };
    wf_labelled *l = wf_labelled_from_files(paths, 2, NULL, &e);
    ck_assert_msg(l != NULL, "%s", e.text);
    ck_assert(wf_labelled_count(l) == 3 && wf_labelled_classes(l) == 2);
    holds(l, 0, "좋음", "good one");
    holds(l, 1, "좋음", "nice");
    holds(l, 2, "bad.part", "awful");
    wf_labelled_free(l);
    l = wf_labelled_from_files(paths, 2, &(wf_labelled_options){ .as_is = true }, &e);
    holds(l, 0, "좋음", "Good one");
    wf_labelled_free(l);
}

/* The same table in every form that it may have. */
TEST(a_table_has_its_classes_in_either_column)
{
    static const char *const forms[] = {
        "pos,a b\nneg,c d\npos,e\n",
        "label,text\npos,a b\nneg,c d\npos,e\n",
        "a b\tpos\r\nc d\tneg\r\ne\tpos\r\n",
        "text;label\na b;pos\nc d;neg\ne;pos\n",
        "\xEF\xBB\xBFpos,\"a b\"\nneg,\"c d\"\npos,\"e\"",
    };
    for (int k = 0; k < 5; k++) {
        wf_error e;
        const char *path = file_with("table.csv", forms[k]);
        wf_labelled *l = wf_labelled_from_files(&path, 1, NULL, &e);
        ck_assert_msg(l != NULL, "%d: %s", k, e.text);
        ck_assert_int_eq(wf_labelled_count(l), 3);
        holds(l, 0, "pos", "a b");
        holds(l, 1, "neg", "c d");
        holds(l, 2, "pos", "e");
        wf_labelled_free(l);
    }
    wf_error e;
    const char *path = file_with("wide.csv", "id,stars,words\n1,up,a\n2,down,b\n");
    wf_labelled *l = wf_labelled_from_files(
        &path, 1, &(wf_labelled_options){ .label = "stars", .text = "words" }, &e);
    ck_assert_msg(l != NULL, "%s", e.text);
    holds(l, 1, "down", "b");
    wf_labelled_free(l);
}

TEST(what_was_understood_is_a_line)
{
    wf_error e;
    const char *path = file_with("wide.csv", "id,who,words\n1,up,a\n2,내려,b\n3,up, \n4,up,\n");
    wf_labelled *l = wf_labelled_from_files(
        &path, 1, &(wf_labelled_options){ .label = "who", .text = "2" }, &e);
    static const char want[] =
        "2 texts of 2 classes: up 1, 내려 1 (classes are in column who, texts "
        "in words; 2 rows without a text are left out)";
    char text[sizeof want + 8];
    ck_assert_uint_eq(wf_labelled_report(l, text, sizeof text), sizeof want - 1);
    ck_assert_str_eq(text, want);
    ck_assert_uint_eq(wf_labelled_report(l, NULL, 0), sizeof want - 1);
    ck_assert_uint_eq(wf_labelled_report(l, text, 10), sizeof want - 1);
    ck_assert_str_eq(text, "2 texts o");
    wf_labelled_free(l);
    path = file_with("table.csv", "up,a\ndown,b\nup,c\n");
    l = wf_labelled_from_files(&path, 1, NULL, &e);
    wf_labelled_report(l, text, sizeof text);
    ck_assert_str_eq(text,
                     "3 texts of 2 classes: up 2, down 1 (classes are in column 0, texts in 1, "
                     "from 0)");
    wf_labelled_free(l);
}

/* By the names that a saved model has, classes keep their numbers, in whatever order they come. */
TEST(known_classes_keep_their_numbers)
{
    wf_error e;
    const char *paths[] = { file_with("b.txt", "one\n"), file_with("가.txt", "two\nthree\n") };
    wf_labelled *l = wf_labelled_from_files(paths, 2, NULL, &e);
    char known[64];
    strcpy(known, wf_labelled_known(l));
    ck_assert_str_eq(known, "b\n가");
    ck_assert_str_eq(wf_labelled_names(l)[1], "가");
    wf_labelled_free(l);
    const char *other[] = { paths[1], paths[0] };
    const wf_labelled_options how = { .known = known };
    l = wf_labelled_from_files(other, 2, &how, &e);
    ck_assert_msg(l != NULL, "%s", e.text);
    ck_assert(wf_labelled_class(l, 0) == 1 && wf_labelled_class(l, 2) == 0);
    ck_assert(wf_labelled_add_files(l, paths, 2, &e) && wf_labelled_count(l) == 6);
    ck_assert(!wf_labelled_add(l, "c", "text", 4, &e));
    ck_assert_str_eq(e.text, "labelled: 'c' is none of the classes that are known: b, 가");
    ck_assert(!wf_labelled_add(l, "b\nc", "text", 4, &e));
    ck_assert_str_eq(e.text, "labelled: the class of text 6 is of several lines");
    ck_assert_int_eq(wf_labelled_count(l), 6);
    wf_labelled_free(l);
    /* Of one class alone, too: the other is known. */
    l = wf_labelled_new(&how, &e);
    ck_assert(wf_labelled_classes(l) == 2 && wf_labelled_count(l) == 0);
    wf_labelled_free(l);
    static const char *const bad[][2] = {
        { "", "labelled: no class is known" },
        { "a\n\nb", "labelled: known class 1 has no name" },
        { "a\nb\na", "labelled: known class 2 has the name of another" },
    };
    for (int i = 0; i < 3; i++) {
        ck_assert(!wf_labelled_new(&(wf_labelled_options){ .known = bad[i][0] }, &e));
        ck_assert_str_eq(e.text, bad[i][1]);
    }
}

TEST(words_become_ids)
{
    wf_error e;
    wf_labelled *l = wf_labelled_new(NULL, &e);
    ck_assert(wf_labelled_add(l, "x", "Good, not bad", 13, &e) &&
              wf_labelled_add(l, "y", "좋다", 6, &e));
    const int64_t first = 0, none = 2;
    wf_vocab *all = wf_labelled_vocab(l, NULL, 0, NULL, &e),
             *part = wf_labelled_vocab(l, &first, 1, NULL, &e);
    ck_assert(wf_vocab_size(all) == WF_SPECIAL_IDS + 5 &&
              wf_vocab_size(part) == WF_SPECIAL_IDS + 4);
    wf_ids ids;
    ck_assert(wf_text_ids(all, "BAD 좋다? not", 15, &ids, &e));
    ck_assert_int_eq(ids.n, 4);
    ck_assert_str_eq(wf_vocab_word(all, ids.at[0]), "bad");
    ck_assert_str_eq(wf_vocab_word(all, ids.at[1]), "좋다");
    ck_assert(ids.at[2] == WF_UNK && ids.at[3] == wf_vocab_id(all, "not", 3));
    wf_text_ids_free(&ids);
    ck_assert(wf_text_ids(all, "", 0, &ids, &e) && ids.n == 0 && ids.at && !e.text[0]);
    wf_text_ids_free(&ids);
    ck_assert(!wf_text_ids(all, "a\xFF", 2, &ids, &e) && !ids.at && !ids.n);
    ck_assert_str_eq(e.text, "ids: the text is not UTF-8 at its byte 1");
    ck_assert(!wf_labelled_vocab(l, &none, 1, NULL, &e));
    ck_assert_str_eq(e.text, "labelled: there is no text 2");
    ck_assert(!wf_labelled_vocab(l, &first, 0, NULL, &e));
    ck_assert_str_eq(e.text, "labelled: a vocabulary of 0 texts cannot be");
    wf_vocab_free(all), wf_vocab_free(part), wf_labelled_free(l);
}

static const char *refused(const char *text)
{
    static wf_error e;
    const char *path = file_with("refused.csv", text);
    const char *const twice[] = { path, path };
    ck_assert(!wf_labelled_from_files(&path, 1, NULL, &e));
    static char said[sizeof e.text];
    strcpy(said, e.text);
    ck_assert(!wf_labelled_from_files(twice, 2, NULL, &e)); /* one class alone, or no text */
    return strstr(said, "refused.csv") ? strstr(said, "refused.csv") : said;
}

TEST(what_is_no_such_file_is_one_sentence)
{
    ck_assert_str_eq(refused("pos\nneg\n"),
                     "refused.csv: it has one column; a class and a text are expected");
    ck_assert_str_eq(refused("pos,a\npos,b\n"), "refused.csv: all texts are of one class");
    ck_assert_str_eq(refused("pos,a\n,b\npos,c\n"),
                     "refused.csv, line 2: labelled: text 1 has no class");
    ck_assert(strstr(refused("pos,a\nneg,\xFF\n"), "UTF-8"));
    ck_assert_str_eq(refused("nr,who,what\n1,a,b\n2,c,d\n"),
                     "refused.csv: it has 3 columns (nr, who, what); say which has the label and "
                     "which the text");
    ck_assert(*refused(""));
    wf_error e;
    ck_assert(!wf_labelled_from_files(NULL, 0, NULL, &e));
    ck_assert_str_eq(e.text, "labelled: no files were given");
}

TEST(without_memory_nothing_is_lost)
{
    const char *path = file_with("table.csv", "pos,a b\nneg,c d\npos,e\n");
    wf_labelled *l = NULL;
    for (int64_t k = 1; !l; k++) {
        wf_error e;
        heap.fail_at = heap.asked + k;
        l = wf_labelled_from_files(&path, 1, NULL, &e);
        ck_assert(l || e.text[0]);
    }
    heap.fail_at = 0;
    wf_labelled_free(l);
}
