/* BLEU, chrF and error rates against sacreBLEU, multi-bleu.perl, jiwer and brute force
 * (tests/fixtures/make_metrics.py), and laws of all metrics: what is the same is perfect, the order
 * of sentences changes nothing, and a score may be asked for at any time. */
#include "data/segments_private.h"
#include "tensor/rng.h"
#include "tensor/text.h"
#include "tests/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static wf_text text_of(const char *bytes)
{
    return (wf_text){ NULL, bytes, (int64_t)strlen(bytes) };
}

/* ---- the fixture: lines of fields ---- */

enum { SEGMENTS = 64, REFERENCES = 4, FIELDS = 8, NUMBERS = 64 };

typedef struct segment {
    wf_text hypothesis, references[REFERENCES];
    int n;
} segment;

static struct {
    char *text;
    const char *set; /* its name */
    segment segment[SEGMENTS];
    int segments, lines; /* lines: that were looked at */
} file;

static void unescape(char *text)
{
    char *to = text;
    for (; *text; text++) {
        if (*text == '\\') text++, *text = *text == 'n' ? '\n' : *text == 't' ? '\t' : '\\';
        *to++ = *text;
    }
    *to = 0;
}

static void add_segment(char **field)
{
    if (*field[0] == 'h') {
        ck_assert_int_lt(file.segments, SEGMENTS);
        file.segment[file.segments++] = (segment){ .hypothesis = text_of(field[1]) };
    } else {
        segment *s = &file.segment[file.segments - 1];
        ck_assert_int_lt(s->n, REFERENCES);
        s->references[s->n++] = text_of(field[1]);
    }
}

/* Calls fn for each line of that kind, when file.segment holds the segments it is about. */
static void each_line(const char *kind, void (*fn)(char **field))
{
    char path[512];
    wf_error error = { "" };
    int64_t n;
    snprintf(path, sizeof path, "%s/tests/fixtures/metrics.txt", WF_SOURCE_DIR);
    file.text = wf_text_read(path, 0, &n, &error);
    ck_assert_msg(file.text, "%s", error.text);
    for (char *line = file.text, *next; *line; line = next) {
        char *field[FIELDS] = { line };
        next = strchr(line, '\n');
        *next++ = 0;
        for (int i = 1; i < FIELDS && (field[i] = strchr(field[i - 1], '\t')); i++) *field[i]++ = 0;
        for (int i = 0; i < FIELDS && field[i]; i++) unescape(field[i]);
        if (!strcmp(field[0], "set"))
            file.set = field[1], file.segments = 0;
        else if (!strcmp(field[0], "h") || !strcmp(field[0], "r"))
            add_segment(field);
        else if (!strcmp(field[0], kind))
            fn(field), file.lines++;
    }
    wf_release(file.text);
    ck_assert_int_gt(file.lines, 0);
}

/* The numbers between spaces. */
static int numbers_of(char *text, double *out)
{
    int n = 0;
    char *rest;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        ck_assert_int_lt(n, NUMBERS);
        ck_assert(wf_parse_number(word, &out[n++]));
    }
    return n;
}

static void assert_near(double got, double want, const char *what)
{
    ck_assert_msg(fabs(got - want) <= 1e-12 * (1 + fabs(want)), "%s: %s: %.17g, not %.17g",
                  file.set, what, got, want);
}

/* The text that a function writes is that, up to a version at its end. */
static void assert_written(size_t (*write)(const void *, char *, size_t), const void *of,
                           const char *want, const char *version)
{
    char text[512], all[512];
    snprintf(all, sizeof all, "%s%s", want, version);
    ck_assert_uint_eq(write(of, text, sizeof text), strlen(all));
    ck_assert_str_eq(text, all);
    ck_assert_uint_eq(write(of, text, 5), strlen(all)); /* cut, and whole in length */
    ck_assert_int_eq(strncmp(text, all, 4) || text[4], 0);
}

static const char version[] = "|version:weft-" WF_VERSION;

/* ---- tokens ---- */

static void assert_tokens(char **field)
{
    segments s = { .lists = 0 };
    char joined[512] = "";
    ck_assert(segments_add_13a(&s, field[1], (int64_t)strlen(field[1]), "13a", NULL));
    const wf_ids ids = segments_list(&s, 0);
    for (int64_t i = 0; i < ids.n; i++)
        wf_append(joined, sizeof joined, "%s%s", i ? " " : "", words_letters(&s.words, ids.at[i]));
    ck_assert_msg(!strcmp(joined, field[2]), "'%s': '%s', not '%s'", field[1], joined, field[2]);
    segments_free(&s);
}

TEST(tokens_of_13a_are_sacrebleu_s)
{
    each_line("13a", assert_tokens);
    ck_assert_int_gt(file.lines, 60);
}

/* ---- BLEU ---- */

static wf_bleu *bleu_of(const char *options)
{
    static const char *const tokens[] = { "13a", "none", "char" };
    static const char *const smooth[] = { "exp", "none", "floor", "add-k" };
    char how[8], method[8];
    wf_bleu_options o = { .tokenize = WF_TOKENIZE_13A };
    int effective;
    wf_error error = { "" };
    ck_assert_int_eq(sscanf(options, "%7s %7s %lf %d %d", how, method, &o.smoothing_value,
                            &o.max_order, &effective),
                     5);
    while (strcmp(tokens[o.tokenize], how)) o.tokenize++;
    while (strcmp(smooth[o.smoothing], method)) o.smoothing++;
    o.effective_order = effective;
    if (o.max_order == 4) o.max_order = 0; /* which is the same */
    wf_bleu *b = wf_bleu_new(&o, &error);
    ck_assert_msg(b, "%s", error.text);
    return b;
}

static void add_bleu(wf_bleu *b, const segment *s)
{
    wf_error error = { "" };
    ck_assert_msg(wf_bleu_add(b, &s->hypothesis, s->references, s->n, &error), "%s", error.text);
}

static size_t write_bleu(const void *b, char *text, size_t bytes)
{
    return wf_bleu_text(b, text, bytes);
}

static size_t sign_bleu(const void *b, char *text, size_t bytes)
{
    return wf_bleu_signature(b, text, bytes);
}

static void assert_bleu(char **field)
{
    OWN(wf_bleu) *b = bleu_of(field[1]);
    double want[NUMBERS];
    const int orders = (numbers_of(field[2], want) - 4) / 3;
    for (int i = 0; i < file.segments; i++) add_bleu(b, &file.segment[i]);
    const wf_bleu_score is = wf_bleu_result(b);
    assert_near(is.bleu, want[0], field[1]);
    assert_near(is.brevity_penalty, want[1], "brevity penalty");
    ck_assert_int_eq(is.hypothesis_length, (int64_t)want[2]);
    ck_assert_int_eq(is.reference_length, (int64_t)want[3]);
    ck_assert_int_eq(is.sentences, file.segments);
    for (int i = 0; i < orders; i++) {
        ck_assert_int_eq(is.matches[i], (int64_t)want[4 + i]);
        ck_assert_int_eq(is.totals[i], (int64_t)want[4 + orders + i]);
        assert_near(is.precision[i], want[4 + 2 * orders + i], "precision");
    }
    assert_written(write_bleu, b, field[3], "");
    assert_written(sign_bleu, b, field[4], version);
}

TEST(bleu_of_a_corpus_is_sacrebleu_s)
{
    each_line("bleu", assert_bleu);
    ck_assert_int_gt(file.lines, 120);
}

static void assert_sentences(char **field)
{
    OWN(wf_bleu) *b = bleu_of(field[1]);
    double want[NUMBERS];
    ck_assert_int_eq(numbers_of(field[2], want), file.segments);
    for (int i = 0; i < file.segments; i++) {
        wf_bleu_clear(b);
        add_bleu(b, &file.segment[i]);
        assert_near(wf_bleu_result(b).bleu, want[i], field[1]);
    }
}

TEST(bleu_of_a_sentence_is_sacrebleu_s)
{
    each_line("sentence", assert_sentences);
}

static void assert_multi_bleu(char **field)
{
    OWN(wf_bleu) *b = bleu_of("none none 0 4 0");
    char line[256];
    for (int i = 0; i < file.segments; i++) add_bleu(b, &file.segment[i]);
    const wf_bleu_score s = wf_bleu_result(b);
    double p[4]; /* which the script gives also where none of a higher order is right */
    for (int i = 0; i < 4; i++)
        p[i] = s.totals[i] ? 100 * (double)s.matches[i] / (double)s.totals[i] : 0;
    snprintf(line, sizeof line,
             "BLEU = %.2f, %.1f/%.1f/%.1f/%.1f (BP=%.3f, ratio=%.3f, hyp_len=%d, ref_len=%d)",
             s.bleu, p[0], p[1], p[2], p[3], s.brevity_penalty,
             (double)s.hypothesis_length / (double)s.reference_length, (int)s.hypothesis_length,
             (int)s.reference_length);
    ck_assert_str_eq(line, field[1]);
}

TEST(bleu_without_tokens_and_smoothing_is_multi_bleu_s)
{
    each_line("multi-bleu", assert_multi_bleu);
}

/* The example of Papineni et al.: candidate 1 of their section 2. */
TEST(bleu_counts_what_its_paper_counts)
{
    static const char *const references[] = {
        "It is a guide to action that ensures that the military will forever heed Party commands",
        ("It is the guiding principle which guarantees the military forces always being under the "
         "command of the Party"),
        "It is the practical guide for the army always to heed the directions of the party"
    };
    const wf_text good = text_of("It is a guide to action which ensures that the military always "
                                 "obeys the commands of the party");
    const wf_text r[3] = { text_of(references[0]), text_of(references[1]), text_of(references[2]) };
    OWN(wf_bleu) *b = wf_bleu_new(NULL, NULL);
    ck_assert(wf_bleu_add(b, &good, r, 3, NULL));
    const wf_bleu_score is = wf_bleu_result(b);
    ck_assert(is.matches[0] == 17 && is.totals[0] == 18 && is.matches[1] == 10 &&
              is.totals[1] == 17);
    ck_assert_int_eq(is.reference_length, 18);
}

/* ---- chrF ---- */

static size_t write_chrf(const void *c, char *text, size_t bytes)
{
    return wf_chrf_text(c, text, bytes);
}

static size_t sign_chrf(const void *c, char *text, size_t bytes)
{
    return wf_chrf_signature(c, text, bytes);
}

static void assert_chrf(char **field)
{
    double want[NUMBERS], o[NUMBERS];
    wf_error error = { "" };
    ck_assert_int_eq(numbers_of(field[1], o), 5);
    ck_assert_int_eq(numbers_of(field[2], want), 1);
    const wf_chrf_options options = { .letter_order = (int32_t)o[0],
                                      .word_order = (int32_t)o[1],
                                      .beta = (int32_t)o[2],
                                      .white_space = o[3] != 0,
                                      .every_order = o[4] != 0 };
    OWN(wf_chrf) *c = wf_chrf_new(&options, &error);
    for (int i = 0; i < file.segments; i++)
        ck_assert_msg(wf_chrf_add(c, &file.segment[i].hypothesis, file.segment[i].references,
                                  file.segment[i].n, &error),
                      "%s", error.text);
    assert_near(wf_chrf_result(c), want[0], field[4]);
    assert_written(write_chrf, c, field[3], "");
    assert_written(sign_chrf, c, field[4], version);
}

TEST(chrf_is_sacrebleu_s)
{
    each_line("chrf", assert_chrf);
    ck_assert_int_gt(file.lines, 60);
}

/* ---- edits ---- */

static void assert_edits(char **field)
{
    const wf_edit_unit unit = *field[1] == 'w'   ? WF_EDIT_WORDS
                              : *field[1] == 'l' ? WF_EDIT_LETTERS
                                                 : WF_EDIT_BAG;
    double want[NUMBERS];
    OWN(wf_edits) *e = wf_edits_new(unit, NULL);
    ck_assert_int_eq(numbers_of(field[2], want), 5);
    for (int i = 0; i < file.segments; i++)
        ck_assert(wf_edits_add(e, &file.segment[i].hypothesis, file.segment[i].references, NULL));
    const wf_edit_counts n = wf_edits_count(e);
    ck_assert_msg(n.substitutions == (int64_t)want[0] && n.insertions == (int64_t)want[1] &&
                      n.deletions == (int64_t)want[2] && n.right == (int64_t)want[3] &&
                      n.exact == (int64_t)want[4],
                  "%s: %s: %d %d %d %d %d", file.set, field[1], (int)n.substitutions,
                  (int)n.insertions, (int)n.deletions, (int)n.right, (int)n.exact);
    ck_assert(n.sentences == file.segments &&
              n.reference == n.right + n.substitutions + n.deletions &&
              n.hypothesis == n.right + n.substitutions + n.insertions);
    const double edits = want[0] + want[1] + want[2];
    if (n.reference) assert_near(wf_edits_rate(e), edits / (double)n.reference, field[1]);
}

TEST(edits_are_those_of_all_alignments_tried)
{
    each_line("edits", assert_edits);
}

TEST(edits_of_ids_are_those_of_words_and_rates_have_edges)
{
    static const int32_t a[] = { 5, -1, 7, 7 }, b[] = { 5, 7, 8 };
    OWN(wf_edits) *e = wf_edits_new(WF_EDIT_WORDS, NULL);
    ck_assert(wf_edits_rate(e) == 0);
    ck_assert(wf_edits_add_ids(e, (wf_ids){ a, 4 }, (wf_ids){ b, 3 }, NULL));
    const wf_edit_counts n = wf_edits_count(e); /* 5 -1 7 7 of 5 7 8: one more, one other */
    ck_assert(n.substitutions == 1 && n.insertions == 1 && n.deletions == 0 && n.right == 2);
    assert_near(wf_edits_rate(e), 2.0 / 3, "ids");
    wf_edits_clear(e);
    const wf_text none = text_of(""), word = text_of("가 나");
    ck_assert(wf_edits_add(e, &none, &none, NULL) && wf_edits_rate(e) == 0 &&
              wf_edits_count(e).exact == 1);
    ck_assert(wf_edits_add(e, &word, &none, NULL) && isinf(wf_edits_rate(e)));
    OWN(wf_edits) *letters = wf_edits_new(WF_EDIT_LETTERS, NULL);
    const wf_text other = text_of("가나");
    ck_assert(wf_edits_add(letters, &other, &word, NULL));
    assert_near(wf_edits_rate(letters), 1.0 / 3, "letters are code points, spaces too");
}

/* ---- laws ---- */

/* A metric of text, whichever. */
typedef struct metric {
    wf_bleu *bleu;
    wf_chrf *chrf;
    wf_edits *edits;
} metric;
enum { METRICS = 9 };

static metric metric_at(int i)
{
    return i < 3   ? (metric){ .bleu = wf_bleu_new(&(wf_bleu_options){ .tokenize = (wf_tokenize)i },
                                                   NULL) }
           : i < 6 ? (metric){ .chrf = wf_chrf_new(
                                   &(wf_chrf_options){ .word_order = i - 3, .white_space = i == 5 },
                                   NULL) }
                   : (metric){ .edits = wf_edits_new((wf_edit_unit)(i - 6), NULL) };
}

static void metric_free(metric m)
{
    wf_bleu_free(m.bleu);
    wf_chrf_free(m.chrf);
    wf_edits_free(m.edits);
}

static void metric_clear(metric m)
{
    wf_bleu_clear(m.bleu);
    wf_chrf_clear(m.chrf);
    wf_edits_clear(m.edits);
}

static bool metric_add(metric m, const wf_text *h, const wf_text *r, wf_error *error)
{
    if (m.bleu) return wf_bleu_add(m.bleu, h, r, 1, error);
    if (m.chrf) return wf_chrf_add(m.chrf, h, r, 1, error);
    return wf_edits_add(m.edits, h, r, error);
}

static double metric_result(metric m)
{
    if (m.bleu) return wf_bleu_result(m.bleu).bleu;
    if (m.chrf) return wf_chrf_result(m.chrf);
    return wf_edits_rate(m.edits);
}

enum { SENTENCES = 60, BYTES = 120 };

/* Random words of letters of one to four bytes; those of an odd number are like the one before. */
static void random_sentences(char out[SENTENCES][BYTES])
{
    static const char *const words[] = { "a", "bc.", "é", "가",     "나다",
                                         "😀", "3.5", ",", "\u00a0", "it's" };
    for (int i = 0; i < SENTENCES; i++) {
        const uint64_t seed = (uint64_t)(i - i % 2), n = (uint64_t)wf_random_below(seed, 99, 12);
        out[i][0] = 0;
        for (uint64_t k = 0; k < n; k++) {
            const bool other = i % 2 && wf_random_below((uint64_t)i, k, 4) == 0;
            wf_append(out[i], BYTES, "%s ", words[wf_random_below(seed, k + 1000 * other, 10)]);
        }
    }
}

TEST_EACH(what_is_the_same_is_perfect, METRICS)
{
    static char s[SENTENCES][BYTES];
    const metric m = metric_at(_i);
    random_sentences(s);
    for (int i = 0; i < SENTENCES; i++) {
        const wf_text text = text_of(s[i]);
        ck_assert(metric_add(m, &text, &text, NULL));
    }
    assert_near(metric_result(m), m.edits ? 0 : 100, "the same");
    metric_free(m);
}

TEST_EACH(neither_order_nor_asking_changes_a_score, METRICS)
{
    static char s[SENTENCES][BYTES];
    int64_t order[SENTENCES / 2];
    const metric one = metric_at(_i), other = metric_at(_i);
    random_sentences(s);
    wf_permutation(SENTENCES / 2, 3, order);
    double before = -1;
    int changed = 0;
    for (int i = 0; i < SENTENCES / 2; i++) {
        const wf_text h = text_of(s[2 * i]), r = text_of(s[2 * i + 1]);
        const wf_text g = text_of(s[2 * order[i]]), q = text_of(s[2 * order[i] + 1]);
        ck_assert(metric_add(one, &h, &r, NULL) && metric_add(other, &g, &q, NULL));
        changed += metric_result(one) != before; /* it may be asked for at any time */
        before = metric_result(one);
    }
    ck_assert(changed > 10 && before > 0 && before < 100);
    ck_assert(metric_result(one) == metric_result(other));
    /* Cleared it begins anew, and all that it holds already is used again. */
    const int64_t asked = heap.asked;
    metric_clear(one);
    for (int i = 0; i < SENTENCES / 2; i++) {
        const wf_text h = text_of(s[2 * i]), r = text_of(s[2 * i + 1]);
        ck_assert(metric_add(one, &h, &r, NULL));
    }
    ck_assert(metric_result(one) == before && heap.asked == asked);
    metric_free(one);
    metric_free(other);
}

TEST_EACH(what_is_no_text_is_refused_and_nothing_is_added, METRICS)
{
    wf_error error = { "" };
    const metric m = metric_at(_i);
    const wf_text good = text_of("a b c d e"), close = text_of("a b c d f");
    const wf_text bad = text_of("a\n\xFF"), zero = { NULL, "a\0b", 3 }, none = { NULL, NULL, 2 };
    ck_assert(metric_add(m, &good, &close, &error));
    const double before = metric_result(m);
    const char *who = m.bleu ? "bleu" : m.chrf ? "chrf" : "edits";
    char want[128];
    ck_assert(!metric_add(m, &bad, &good, &error));
    snprintf(want, sizeof want, "%s: hypothesis: byte 2 (line 2) is 0xFF, which is not UTF-8 there",
             who);
    ck_assert_str_eq(error.text, want);
    ck_assert(!metric_add(m, &good, &zero, &error));
    snprintf(want, sizeof want, "%s: reference%s: byte 1 is zero: this is not text", who,
             m.edits ? "" : " (0)");
    ck_assert_str_eq(error.text, want);
    ck_assert(!metric_add(m, &none, &good, &error));
    snprintf(want, sizeof want, "%s: hypothesis: no bytes were given", who);
    ck_assert_str_eq(error.text, want);
    ck_assert(!metric_add(m, NULL, &good, &error));
    ck_assert_str_eq(error.text, want);
    ck_assert(metric_result(m) == before);
    metric_free(m);
}

TEST_EACH(when_memory_runs_out_nothing_is_added_and_nothing_leaks, METRICS)
{
    const wf_text h = text_of("a b, c"), r = text_of("a c, d e");
    double want = 0;
    for (int k = 0, failed = 1; failed; k++) {
        wf_error error = { "" };
        heap.fail_at = k, heap.asked = 0;
        const metric m = metric_at(_i);
        const bool made = m.bleu || m.chrf || m.edits;
        failed = !made || !metric_add(m, &h, &r, &error);
        if (made && failed) {
            ck_assert_ptr_nonnull(strstr(error.text, ": not enough memory for "));
            heap.fail_at = 0;
            ck_assert(metric_add(m, &h, &r, &error)); /* as if it had not been tried */
        }
        if (k == 0) failed = 1, want = metric_result(m);
        if (made) ck_assert(metric_result(m) == want);
        metric_free(m);
        ck_assert(failed || k > 3);
    }
    heap.fail_at = 0;
    ck_assert_int_eq(heap.live, 0);
}

TEST(more_references_never_harm_the_counts)
{
    static char s[SENTENCES][BYTES];
    random_sentences(s);
    OWN(wf_bleu) *one = wf_bleu_new(NULL, NULL), *two = wf_bleu_new(NULL, NULL);
    for (int i = 0; i + 2 < SENTENCES; i += 2) {
        const wf_text h = text_of(s[i]), r[2] = { text_of(s[i + 1]), text_of(s[i + 2]) };
        ck_assert(wf_bleu_add(one, &h, r, 1, NULL) && wf_bleu_add(two, &h, r, 2, NULL));
    }
    const wf_bleu_score a = wf_bleu_result(one), b = wf_bleu_result(two);
    for (int i = 0; i < 4; i++)
        ck_assert(a.matches[i] <= b.matches[i] && a.totals[i] == b.totals[i]);
    ck_assert_int_gt(b.matches[0], a.matches[0]);
}

/* ---- perplexity and accuracy ---- */

TEST(perplexity_is_exp_of_the_mean_however_it_is_cut_into_batches)
{
    wf_perplexity whole = { 0 }, parts = { 0 }, back = { 0 };
    ck_assert(isnan(wf_perplexity_result(&whole)) && isnan(wf_perplexity_nats(NULL)));
    double exact = 0;
    for (int i = 0; i < 100000; i++) exact += (i % 7) * 0x1p-10; /* without rounding */
    for (int i = 0; i < 100000; i++) wf_perplexity_add(&parts, (i % 7) * 0x1p-10 * 0.1, 1);
    for (int i = 99999; i >= 0; i--) wf_perplexity_add(&back, (i % 7) * 0x1p-10 * 0.1, 1);
    wf_perplexity_add(&whole, exact * 0.1, 100000);
    assert_near(wf_perplexity_nats(&parts), wf_perplexity_nats(&whole), "parts");
    ck_assert(fabs(wf_perplexity_nats(&parts) - wf_perplexity_nats(&back)) < 1e-17);
    wf_perplexity uniform = { 0 };
    for (int i = 1; i < 9; i++) wf_perplexity_add(&uniform, i * log(1000), i);
    assert_near(wf_perplexity_result(&uniform), 1000, "of 1,000 equally likely words");
    wf_perplexity_add(&uniform, 0, -5); /* no tokens */
    wf_perplexity_add(NULL, 1, 1);
    ck_assert_int_eq(uniform.tokens, 36);
    wf_perplexity_add(&uniform, INFINITY, 1); /* a word that was held impossible */
    wf_perplexity_add(&uniform, 1, 1);
    ck_assert(isinf(wf_perplexity_result(&uniform)));
    wf_perplexity_add(&uniform, (double)NAN, 1);
    ck_assert(isnan(wf_perplexity_result(&uniform)));
}

TEST(accuracy_counts_tokens_and_whole_sequences_up_to_their_lengths)
{
    int32_t target[4][3] = { { 1, 2, 3 }, { 4, 5, 6 }, { 7, 0, 8 }, { 9, 0, 8 } };
    int32_t said[4][3] = { { 1, 2, 3 }, { 4, 9, 6 }, { 7, 5, 8 }, { 1, 5, 8 } };
    int32_t length[3] = { 3, 2, 0 };
    const wf_tensor t = wf_tensor_of(WF_I32, WF_SHAPE(4, 3), target);
    const wf_tensor p = wf_tensor_of(WF_I32, WF_SHAPE(4, 3), said);
    const wf_tensor n = wf_tensor_of(WF_I32, WF_SHAPE(3), length);
    wf_accuracy a = { 0 };
    wf_error e = { "" };
    ck_assert(isnan(wf_accuracy_tokens(&a)) && isnan(wf_accuracy_sequences(&a)));
    ck_assert(wf_accuracy_add(&a, &p, &t, &n, &e));
    ck_assert(a.right == 4 && a.tokens == 5 && a.whole == 1 && a.sequences == 2);
    ck_assert(wf_accuracy_tokens(&a) == 0.8 && wf_accuracy_sequences(&a) == 0.5);
    ck_assert(wf_accuracy_add(&a, &p, &t, NULL, &e));
    ck_assert(a.right == 12 && a.tokens == 17 && a.whole == 2 && a.sequences == 5);
    /* Strided: the second column, as (T, 1) and as (B). */
    wf_tensor column = wf_tensor_of(WF_I32, WF_SHAPE(4, 1), &target[0][1]), other = column;
    column.stride[0] = other.stride[0] = 3;
    other.data = &said[0][1];
    a = (wf_accuracy){ 0 };
    ck_assert(wf_accuracy_add(&a, &other, &column, NULL, &e));
    ck_assert(a.right == 1 && a.tokens == 4 && a.whole == 0 && a.sequences == 1);
    column.rank = other.rank = 1;
    ck_assert(wf_accuracy_add(&a, &other, &column, NULL, &e));
    ck_assert(a.right == 2 && a.tokens == 8 && a.whole == 1 && a.sequences == 5);
    length[1] = 5;
    ck_assert(!wf_accuracy_add(&a, &p, &t, &n, &e));
    ck_assert_str_eq(e.text, "accuracy: length (1) is 5; there are 4 steps");
    ck_assert(!wf_accuracy_add(&a, &p, &column, NULL, &e));
    ck_assert_str_eq(e.text, "accuracy: predictions are (4, 3), targets (4)");
    ck_assert(!wf_accuracy_add(&a, &p, &t, &column, &e));
    ck_assert_str_eq(e.text, "accuracy: the lengths must be i32 of shape (3)");
    ck_assert(a.tokens == 8);
}

const harness_suite suite = { .after = nothing_is_left };
