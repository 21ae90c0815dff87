/* Tag schemes, and the numbers of conlleval.pl and seqeval (tests/fixtures/make_spans.py) for what
 * tags say, whether they are sentences of a scheme or not. */
#include "data/spans.h"
#include "tensor/rng.h"
#include "tensor/text.h"
#include "tests/fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WORDS = 64 };

/* ---- spans ---- */

TEST(the_report_is_that_of_conlleval_to_the_letter)
{
    char path[512], line[256], report[2048] = "", got[2048];
    static char tag[2][WORDS][32];
    const char *list[2][WORDS];
    int n = 0, cases = 0;
    OWN(wf_spans) *s = wf_spans_new(NULL);
    snprintf(path, sizeof path, "%s/tests/fixtures/spans.txt", WF_SOURCE_DIR);
    FILE *file = fopen(path, "r");
    ck_assert(file);
    for (bool more = true; more;) {
        more = fgets(line, sizeof line, file);
        if ((!more || line[0] == 'c') && *report) { /* the next case, or the end */
            ck_assert_uint_eq(wf_spans_text(s, got, sizeof got), strlen(report));
            ck_assert_str_eq(got, report);
            wf_spans_clear(s);
            *report = 0;
            cases++;
        }
        if (!more) break;
        if (line[0] == 'r') {
            wf_append(report, sizeof report, "%s", line + 2);
        } else if (line[0] == 's') {
            for (int k = 0; k < 2; k++)
                for (int i = 0; i < n; i++) list[k][i] = tag[k][i];
            ck_assert(wf_spans_add(s, n, list[1], list[0], NULL));
            n = 0;
        } else if (line[0] == 't') {
            ck_assert(n < WORDS && sscanf(line, "t %31s %31s", tag[0][n], tag[1][n]) == 2);
            n++;
        }
    }
    fclose(file);
    ck_assert_int_eq(cases, 22);
}

TEST(counts_and_scores_are_of_each_type)
{
    static const char *const truth[5] = { "B-LOC", "I-LOC", "O", "B-PER", "B-PER" };
    static const char *const found[5] = { "B-LOC", "I-LOC", "O", "B-PER", "I-PER" };
    OWN(wf_spans) *s = wf_spans_new(NULL);
    wf_span_counts c;
    ck_assert(wf_spans_add(s, 5, found, truth, NULL));
    ck_assert(wf_spans_types(s) == 2);
    ck_assert_str_eq(wf_spans_type(s, 0, &c), "LOC");
    ck_assert(c.right == 1 && c.found == 1 && c.truth == 1 && c.words == 0);
    ck_assert_str_eq(wf_spans_type(s, 1, &c), "PER");
    ck_assert(c.right == 0 && c.found == 1 && c.truth == 2);
    c = wf_spans_count(s);
    const wf_span_scores is = wf_span_scores_of(&c);
    ck_assert(is.precision == 0.5 && is.recall == 1 / 3.0 && is.f1 == 0.4 && is.accuracy == 0.8);
    char less[50];
    for (size_t n = 1; n <= sizeof less; n++) {
        ck_assert_uint_eq(wf_spans_text(s, less, n), wf_spans_text(s, NULL, 0));
        ck_assert_uint_eq(strlen(less), n - 1);
    }
    wf_spans_clear(s);
    ck_assert(wf_spans_types(s) == 0 && wf_spans_count(s).truth == 0);
    /* Tags without types, as words of a text without spaces have them. */
    ck_assert(wf_spans_add(s, 3, (const char *const[]){ "B", "E", "S" },
                           (const char *const[]){ "B", "E", "S" }, NULL));
    ck_assert(wf_spans_types(s) == 1 && !*wf_spans_type(s, 0, &c) && c.right == 2);
}

/* ---- schemes ---- */

static const char *said(wf_tag_scheme scheme, int64_t n, const char *const *tags)
{
    static wf_error e;
    return wf_tags_check(scheme, n, tags, &e) ? "" : e.text;
}
#define SAID(scheme, ...)                                                                          \
    said(scheme, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *),                         \
         (const char *[]){ __VA_ARGS__ })

TEST(a_sentence_is_of_a_scheme_or_not)
{
    ck_assert_str_eq(SAID(WF_IOB2, "O", "B-A", "I-A", "B-A", "B-B"), "");
    ck_assert_str_eq(SAID(WF_IOB2, "I-A"), "tags: tag 0, 'I-A', cannot begin a sentence in IOB2");
    ck_assert_str_eq(SAID(WF_IOB2, "B-A", "I-B"),
                     "tags: tag 1, 'I-B', cannot follow 'B-A' in IOB2");
    ck_assert_str_eq(SAID(WF_IOB2, "S-A"), "tags: tag 0, 'S-A', is none of IOB2");
    ck_assert_str_eq(SAID(WF_IOB1, "I-A", "I-A", "B-A", "I-B", "O", "I"), "");
    ck_assert_str_eq(SAID(WF_IOB1, "O", "B-A"), "tags: tag 1, 'B-A', cannot follow 'O' in IOB1");
    ck_assert_str_eq(SAID(WF_IOBES, "S-A", "B-A", "I-A", "E-A", "O", "B", "E"), "");
    ck_assert_str_eq(SAID(WF_IOBES, "O", "B-A"),
                     "tags: tag 1, 'B-A', cannot end a sentence in IOBES");
    ck_assert_str_eq(SAID(WF_IOBES, "B-A", "S-A"),
                     "tags: tag 1, 'S-A', cannot follow 'B-A' in IOBES");
    ck_assert_str_eq(SAID(WF_IOBES, "B-A", "E-B"),
                     "tags: tag 1, 'E-B', cannot follow 'B-A' in IOBES");
    ck_assert_str_eq(said(WF_IOBES, 0, NULL), "");
}

static void converts(wf_tag_scheme to, int n, const char *const *from, const char *const *want)
{
    char text[WORDS][32], *tag[WORDS];
    for (int i = 0; i < n; i++) tag[i] = strcpy(text[i], from[i]);
    ck_assert(wf_tags_convert(to, n, tag, NULL));
    for (int i = 0; i < n; i++) ck_assert_str_eq(tag[i], want[i]);
}

TEST(each_scheme_becomes_each_other)
{
    static const char *const as[3][8] = {
        { "B-인물", "I-인물", "B-인물", "O", "B-A", "B-B", "I-B", "I-B" },
        { "I-인물", "I-인물", "B-인물", "O", "I-A", "I-B", "I-B", "I-B" },
        { "B-인물", "E-인물", "S-인물", "O", "S-A", "B-B", "I-B", "E-B" },
    };
    for (int from = 0; from < 3; from++)
        for (int to = 0; to < 3; to++) converts((wf_tag_scheme)to, 8, as[from], as[to]);
}

/* Any tags become a sentence of the scheme that says the same spans. */
TEST(what_is_no_sentence_becomes_one_with_the_same_spans)
{
    static const char *const tags[9] = {
        "O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"
    };
    for (uint64_t round = 0; round < 300; round++) {
        char text[12][32], *tag[12];
        const char *was[12];
        for (uint64_t i = 0; i < 12; i++) {
            was[i] = tags[wf_random_below(round, i, 9)];
            tag[i] = strcpy(text[i], was[i]);
        }
        const wf_tag_scheme to = (wf_tag_scheme)(round % 3);
        OWN(wf_spans) *s = wf_spans_new(NULL);
        ck_assert(wf_tags_convert(to, 12, tag, NULL));
        ck_assert(wf_tags_check(to, 12, (const char *const *)tag, NULL));
        ck_assert(wf_spans_add(s, 12, (const char *const *)tag, was, NULL));
        const wf_span_counts c = wf_spans_count(s);
        ck_assert(c.right == c.found && c.right == c.truth);
    }
}

/* The transitions of a CRF allow exactly the sentences that the check takes. */
TEST(transitions_allow_the_sentences_of_the_scheme_alone)
{
    static const char *const tags[9] = {
        "O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"
    };
    for (int scheme = 0; scheme < 3; scheme++) {
        float start[9] = { 0 }, end[9] = { 0 }, between[81] = { 0 };
        const wf_tensor b = wf_tensor_of(WF_F32, WF_SHAPE(9, 9), between);
        const wf_tensor s = wf_tensor_of(WF_F32, WF_SHAPE(9), start);
        const wf_tensor e = wf_tensor_of(WF_F32, WF_SHAPE(9), end);
        between[0] = start[0] = 0.25f;
        ck_assert(wf_tags_forbid((wf_tag_scheme)scheme, 9, tags, &s, &e, &b, NULL));
        ck_assert(between[0] == 0.25f && start[0] == 0.25f); /* O and O: left as they were */
        for (int code = 0; code < 729; code++) {
            const int i[3] = { code % 9, code / 9 % 9, code / 81 };
            const char *const sentence[3] = { tags[i[0]], tags[i[1]], tags[i[2]] };
            const float score = start[i[0]] + between[i[0] * 9 + i[1]] + between[i[1] * 9 + i[2]] +
                                end[i[2]];
            ck_assert(isfinite(score) == wf_tags_check((wf_tag_scheme)scheme, 3, sentence, NULL));
        }
    }
}
