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
