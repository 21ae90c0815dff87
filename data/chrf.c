/* chrF: n-grams of letters and words counted against the most alike reference, sentence by
 * sentence; the score computed from sums when it is asked for. */
#include "data/chrf.h"

#include "data/segments_private.h"
#include "data/text_private.h"
#include "tensor/par.h"
#include "tensor/text.h"

#include <string.h>

/* Of one order: n-grams of the hypothesis (0 where the reference has none), of the reference, and
 * of both. */
typedef struct tally {
    int64_t hypothesis, reference, matches;
} tally;
enum { TALLIES = 2 * WF_CHRF_ORDERS }; /* of letters, then of words */

struct wf_chrf {
    wf_chrf_options o; /* without zeros that mean something else */
    segments letters, words;
    tally sum[TALLIES];
    int references; /* of every sentence; 0: there was none yet; -1: not always as many */
};

/* ---- making ---- */

static bool check(const wf_chrf_options *o, wf_error *error)
{
    if (o->letter_order < 0 || o->letter_order > WF_CHRF_ORDERS)
        return wf_error_set(error, "chrf: .letter_order is %d; it must be 0 to %d",
                            (int)o->letter_order, WF_CHRF_ORDERS);
    if (o->word_order < 0 || o->word_order > WF_CHRF_ORDERS)
        return wf_error_set(error, "chrf: .word_order is %d; it must be 0 to %d",
                            (int)o->word_order, WF_CHRF_ORDERS);
    if (o->beta < 0)
        return wf_error_set(error, "chrf: .beta is %d; it must be 0 or more", (int)o->beta);
    return true;
}

wf_chrf *wf_chrf_new(const wf_chrf_options *options, wf_error *error)
{
    wf_error_clear(error);
    static const wf_chrf_options none;
    if (!check(options ? options : &none, error)) return NULL;
    wf_chrf *c = text_memory(wf_alloc_zero(sizeof *c), sizeof *c, "chrf", error);
    if (!c) return NULL;
    c->o = options ? *options : none;
    if (c->o.letter_order == 0) c->o.letter_order = 6;
    if (c->o.beta == 0) c->o.beta = 2;
    return c;
}

void wf_chrf_free(wf_chrf *c)
{
    if (!c) return;
    segments_free(&c->letters);
    segments_free(&c->words);
    wf_release(c);
}

void wf_chrf_clear(wf_chrf *c)
{
    if (!c) return;
    memset(c->sum, 0, sizeof c->sum);
    c->references = 0;
}

/* ---- the score of some counts ---- */

static double score_of(const wf_chrf_options *o, const tally *sum)
{
    const double factor = (double)o->beta * o->beta, tiny = 1e-16;
    const int orders = o->letter_order + o->word_order;
    double each = 0, precision = 0, recall = 0;
    int there = 0;
    for (int i = 0; i < orders; i++) {
        const double n = (double)sum[i].matches;
        const double p = sum[i].hypothesis > 0 ? n / (double)sum[i].hypothesis : tiny;
        const double r = sum[i].reference > 0 ? n / (double)sum[i].reference : tiny;
        const double below = factor * p + r;
        each += below > 0 ? (1 + factor) * p * r / below : tiny;
        if (sum[i].hypothesis == 0 || sum[i].reference == 0) continue;
        precision += p;
        recall += r;
        there++;
    }
    if (o->every_order) return 100 * each / orders;
    if (precision + recall == 0) return 0; /* also where no order is there */
    precision /= there;
    recall /= there;
    return 100 * ((1 + factor) * precision * recall / (factor * precision + recall));
}

/* ---- counting ---- */

/* Adds list 0 against list `reference` of one kind of tokens, in all orders, to n tallies. */
static void tally_list(segments *s, int64_t reference, int n, tally *out)
{
    for (int order = 0; order < n; order++) {
        tally *t = &out[order];
        segments_next(s);
        t->hypothesis = segments_count(s, 0, 0);
        t->reference = segments_count(s, reference, 1);
        t->matches = 0;
        if (t->reference == 0) t->hypothesis = 0;
        for (int64_t g = 0; g < s->grams; g++)
            t->matches += s->count[0][g] < s->count[1][g] ? s->count[0][g] : s->count[1][g];
    }
}

static bool read_sentence(wf_chrf *c, const wf_text *hypothesis, const wf_text *references, int n,
                          wf_error *error)
{
    segments_fn *const add = c->o.white_space ? segments_add_all_letters : segments_add_letters;
    segments_clear(&c->letters);
    segments_clear(&c->words);
    for (int i = -1; i < n; i++) {
        const wf_text *text = i < 0 ? hypothesis : &references[i];
        if (!add(&c->letters, text->bytes, text->n, "chrf", error)) return false;
        if (c->o.word_order > 0 &&
            !segments_add_chrf_words(&c->words, text->bytes, text->n, "chrf", error))
            return false;
    }
    return segments_begin(&c->letters, "chrf", error) && segments_begin(&c->words, "chrf", error);
}

bool wf_chrf_add(wf_chrf *c, const wf_text *hypothesis, const wf_text *references, int n,
                 wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    char what[64];
    if (!c) return wf_error_set(error, "chrf: it was never made (NULL)");
    if (n < 1 || !references)
        return wf_error_set(error, "chrf: %d references were given; it takes 1 or more", n);
    if (!segments_good(hypothesis, "chrf: hypothesis", error)) return false;
    for (int i = 0; i < n; i++) {
        wf_format(what, sizeof what, "chrf: reference (%d)", i);
        if (!segments_good(&references[i], what, error)) return false;
    }
    if (!read_sentence(c, hypothesis, references, n, error)) return false;
    tally best[TALLIES], one[TALLIES];
    double most = -1;
    for (int i = 0; i < n; i++) {
        segments_again(&c->letters);
        segments_again(&c->words);
        tally_list(&c->letters, i + 1, c->o.letter_order, one);
        tally_list(&c->words, i + 1, c->o.word_order, one + c->o.letter_order);
        const double score = score_of(&c->o, one);
        if (score <= most) continue; /* of equally good ones the first */
        most = score;
        memcpy(best, one, sizeof best);
    }
    for (int i = 0; i < c->o.letter_order + c->o.word_order; i++) {
        c->sum[i].hypothesis += best[i].hypothesis;
        c->sum[i].reference += best[i].reference;
        c->sum[i].matches += best[i].matches;
    }
    c->references = c->references == 0 || c->references == n ? n : -1;
    return true;
}

/* ---- results ---- */

double wf_chrf_result(const wf_chrf *c)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    return c ? score_of(&c->o, c->sum) : 0;
}

size_t wf_chrf_text(const wf_chrf *c, char *text, size_t bytes)
{
    char plus[WF_CHRF_ORDERS + 1] = "";
    for (int i = 0; c && i < c->o.word_order; i++) wf_append(plus, sizeof plus, "+");
    return wf_format(text, bytes, "chrF%d%s = %.2f", c ? (int)c->o.beta : 2, plus,
                     wf_chrf_result(c));
}

size_t wf_chrf_signature(const wf_chrf *c, char *text, size_t bytes)
{
    char references[16] = "var";
    if (!c) return wf_format(text, bytes, "%s", "");
    if (c->references >= 0) wf_format(references, sizeof references, "%d", c->references);
    return wf_format(text, bytes, "nrefs:%s|case:mixed|eff:%s|nc:%d|nw:%d|space:%s|version:weft-%s",
                     references, c->o.every_order ? "no" : "yes", (int)c->o.letter_order,
                     (int)c->o.word_order, c->o.white_space ? "yes" : "no", wf_version());
}
