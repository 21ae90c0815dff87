/* BLEU: n-grams counted sentence by sentence, the score computed from sums when it is asked for. */
#include "data/bleu.h"

#include "data/segments_private.h"
#include "data/text_private.h"
#include "tensor/par.h"
#include "tensor/text.h"

#include <math.h>

struct wf_bleu {
    wf_bleu_options o; /* without zeros that mean something else */
    segments segments;
    wf_bleu_score sum; /* its counts; the rest is computed */
    int references;    /* of every sentence; 0: there was none yet; -1: not always as many */
};

/* ---- making ---- */

static bool takes_value(wf_smoothing smoothing)
{
    return smoothing == WF_SMOOTH_FLOOR || smoothing == WF_SMOOTH_ADD;
}

static bool check(const wf_bleu_options *o, wf_error *error)
{
    if (o->tokenize < WF_TOKENIZE_13A || o->tokenize > WF_TOKENIZE_LETTERS)
        return wf_error_set(error, "bleu: there is no .tokenize %d", (int)o->tokenize);
    if (o->smoothing < WF_SMOOTH_EXP || o->smoothing > WF_SMOOTH_ADD)
        return wf_error_set(error, "bleu: there is no .smoothing %d", (int)o->smoothing);
    if (!(o->smoothing_value >= 0) || isinf(o->smoothing_value))
        return wf_error_set(error, "bleu: .smoothing_value is %g; it must be 0 or more",
                            o->smoothing_value);
    if (o->smoothing_value > 0 && !takes_value(o->smoothing))
        return wf_error_set(error, "bleu: .smoothing_value is %g, but this .smoothing takes none",
                            o->smoothing_value);
    if (o->max_order < 0 || o->max_order > WF_BLEU_ORDERS)
        return wf_error_set(error, "bleu: .max_order is %d; it must be 0 to %d", (int)o->max_order,
                            WF_BLEU_ORDERS);
    return true;
}

wf_bleu *wf_bleu_new(const wf_bleu_options *options, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    static const wf_bleu_options none;
    if (!check(options ? options : &none, error)) return NULL;
    wf_bleu *b = text_memory(wf_alloc_zero(sizeof *b), sizeof *b, "bleu", error);
    if (!b) return NULL;
    b->o = options ? *options : none;
    if (b->o.max_order == 0) b->o.max_order = 4;
    if (takes_value(b->o.smoothing) && b->o.smoothing_value == 0)
        b->o.smoothing_value = b->o.smoothing == WF_SMOOTH_FLOOR ? 0.1 : 1;
    return b;
}

void wf_bleu_free(wf_bleu *b)
{
    if (!b) return;
    segments_free(&b->segments);
    wf_release(b);
}

void wf_bleu_clear(wf_bleu *b)
{
    if (!b) return;
    b->sum = (wf_bleu_score){ .bleu = 0 };
    b->references = 0;
}

/* ---- counting ---- */

/* The sentence is list 0, its references are those behind it. */
static void count_sentence(wf_bleu *b)
{
    segments *s = &b->segments;
    const int64_t length = segments_list(s, 0).n;
    int64_t closest = segments_list(s, 1).n;
    for (int64_t i = 2; i < s->lists; i++) {
        const int64_t n = segments_list(s, i).n, far = n < length ? length - n : n - length;
        const int64_t least = closest < length ? length - closest : closest - length;
        if (far < least || (far == least && n < closest)) closest = n;
    }
    b->sum.hypothesis_length += length;
    b->sum.reference_length += closest;
    b->sum.sentences++;
    for (int order = 0; order < b->o.max_order; order++) {
        segments_next(s);
        b->sum.totals[order] += segments_count(s, 0, 0);
        segments_count(s, 1, 1);
        for (int64_t i = 2; i < s->lists; i++) {
            segments_count(s, i, 2);
            for (int64_t g = 0; g < s->grams; g++)
                if (s->count[2][g] > s->count[1][g]) s->count[1][g] = s->count[2][g];
        }
        for (int64_t g = 0; g < s->grams; g++)
            b->sum.matches[order] += s->count[0][g] < s->count[1][g] ? s->count[0][g]
                                                                     : s->count[1][g];
    }
}

bool wf_bleu_add(wf_bleu *b, const wf_text *hypothesis, const wf_text *references, int n,
                 wf_error *error)
{
    static segments_fn *const add[] = { segments_add_13a, segments_add_words,
                                        segments_add_letters };
    wf_error_clear(error);
    char what[64];
    if (!b) return wf_error_set(error, "bleu: it was never made (NULL)");
    if (n < 1 || !references)
        return wf_error_set(error, "bleu: %d references were given; it takes 1 or more", n);
    if (!segments_good(hypothesis, "bleu: hypothesis", error)) return false;
    for (int i = 0; i < n; i++) {
        wf_format(what, sizeof what, "bleu: reference (%d)", i);
        if (!segments_good(&references[i], what, error)) return false;
    }
    segments *s = &b->segments;
    segments_clear(s);
    for (int i = -1; i < n; i++) {
        const wf_text *text = i < 0 ? hypothesis : &references[i];
        if (!add[b->o.tokenize](s, text->bytes, text->n, "bleu", error)) return false;
    }
    if (!segments_begin(s, "bleu", error)) return false;
    count_sentence(b);
    b->references = b->references == 0 || b->references == n ? n : -1;
    return true;
}

/* ---- the score ---- */

wf_bleu_score wf_bleu_result(const wf_bleu *b)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_bleu_score is = { .bleu = 0 };
    bool any = false;
    if (!b) return is;
    is = b->sum;
    const int64_t length = is.hypothesis_length, other = is.reference_length;
    is.brevity_penalty = length >= other ? 1
                         : length > 0    ? exp(1 - (double)other / (double)length)
                                         : 0;
    for (int i = 0; i < b->o.max_order; i++) any |= is.matches[i] > 0;
    if (!any) return is;
    double halves = 1, sum = 0;
    int orders = b->o.max_order, last = 0;
    for (; last < b->o.max_order; last++) {
        const double more = b->o.smoothing == WF_SMOOTH_ADD && last > 0 ? b->o.smoothing_value : 0;
        const double matches = (double)is.matches[last] + more;
        const double total = (double)is.totals[last] + more;
        if (total == 0) break;
        if (matches > 0)
            is.precision[last] = 100 * matches / total;
        else if (b->o.smoothing == WF_SMOOTH_EXP)
            is.precision[last] = 100 / ((halves *= 2) * total);
        else if (b->o.smoothing == WF_SMOOTH_FLOOR)
            is.precision[last] = 100 * b->o.smoothing_value / total;
    }
    if (b->o.effective_order) orders = last;
    for (int i = 0; i < orders; i++) sum += log(is.precision[i]); /* of 0: -inf, a score of 0 */
    is.bleu = is.brevity_penalty * exp(sum / orders);
    return is;
}

/* ---- as text ---- */

size_t wf_bleu_text(const wf_bleu *b, char *text, size_t bytes)
{
    const wf_bleu_score is = wf_bleu_result(b);
    const double ratio = is.reference_length
                             ? (double)is.hypothesis_length / (double)is.reference_length
                             : 0;
    char precisions[16 * WF_BLEU_ORDERS] = "";
    for (int i = 0; b && i < b->o.max_order; i++)
        wf_append(precisions, sizeof precisions, "%s%.1f", i ? "/" : " ", is.precision[i]);
    return wf_format(text, bytes,
                     "BLEU = %.2f%s (BP = %.3f ratio = %.3f hyp_len = %lld ref_len = %lld)",
                     is.bleu, precisions, is.brevity_penalty, ratio,
                     (long long)is.hypothesis_length, (long long)is.reference_length);
}

size_t wf_bleu_signature(const wf_bleu *b, char *text, size_t bytes)
{
    static const char *const tokens[] = { "13a", "none", "char" };
    static const char *const smooth[] = { "exp", "none", "floor", "add-k" };
    char value[32] = "", references[16] = "var";
    if (!b) return wf_format(text, bytes, "%s", "");
    if (takes_value(b->o.smoothing)) wf_format(value, sizeof value, "[%.2f]", b->o.smoothing_value);
    if (b->references >= 0) wf_format(references, sizeof references, "%d", b->references);
    return wf_format(text, bytes, "nrefs:%s|case:mixed|eff:%s|tok:%s|smooth:%s%s|version:weft-%s",
                     references, b->o.effective_order ? "yes" : "no", tokens[b->o.tokenize],
                     smooth[b->o.smoothing], value, wf_version());
}
