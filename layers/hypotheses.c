/* What generation has said: tokens as chains that share their beginnings, the best that have
 * finished, and what is handed out of them. */
#include "layers/generate_private.h"

#include "tensor/runtime.h"
#include "tensor/size.h"

#include <math.h>
#include <string.h>

bool grow(grown *g, int64_t n, int64_t size)
{
    int64_t bytes;
    if (!wf_size_mul(n, size, &bytes) || bytes > INT64_MAX / 4) return false;
    if (bytes <= g->bytes) return true;
    const int64_t more = bytes > 2 * g->bytes ? bytes : 2 * g->bytes;
    void *at = wf_alloc((size_t)more);
    if (!at) return false;
    if (g->bytes > 0) memcpy(at, g->at, (size_t)g->bytes);
    wf_release(g->at);
    g->at = at;
    g->bytes = more;
    return true;
}

void generation_free(wf_generation *w)
{
    if (!w) return;
    const grown list[] = { w->lanes,   w->rows, w->next,    w->finished,   w->chosen, w->counts,
                           w->scratch, w->said, w->weights, w->hypotheses, w->numbers };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) wf_release(list[i].at);
    wf_release(w);
}

static const said *said_at(const generating *g, int64_t i)
{
    return (const said *)g->w->said.at + i;
}

/* Bytes of the attention of one token. */
static int64_t weight_bytes(const generating *g)
{
    return g->source * wf_dtype_size(g->weight_dtype);
}

/* Row `at` of weights (n, S), of any strides, becomes that of token i. */
static void keep_weights(const generating *g, int64_t i, const wf_tensor *weights, int64_t at)
{
    wf_tensor from, to = wf_tensor_of(g->weight_dtype, WF_SHAPE(g->source),
                                      (char *)g->w->weights.at + i * weight_bytes(g));
    if (wf_view_select(weights, 0, at, &from)) wf_tensor_copy(&from, &to);
}

int64_t say(const generating *g, const row *parent, int64_t at, choice c, const wf_tensor *weights)
{
    wf_generation *w = g->w;
    const int64_t i = w->n_said;
    if (!generate_grow(g, &w->said, i + 1, sizeof(said))) return -1;
    if (weights && !generate_grow(g, &w->weights, i + 1, weight_bytes(g))) return -1;
    w->n_said++;
    ((said *)w->said.at)[i] = (said){ parent->last, c.value, c.id };
    if (weights) keep_weights(g, i, weights, at);
    return i;
}

/* ---- how good it is ---- */

static double length_penalty(const wf_generate_options *o, int64_t n)
{
    if (o->length_alpha == 0) return 1;
    const double base = o->length_penalty == WF_LENGTH_GNMT ? (5 + (double)n) / 6 : (double)n;
    return n > 0 ? pow(base, o->length_alpha) : 1;
}

/* The sum over positions of the source of log min(what attended to it, 1). */
static double coverage(const generating *g, int64_t sequence, int64_t last)
{
    const wf_dtype_info *number = wf_dtype_describe(g->weight_dtype);
    const int64_t told = lane_at(g, sequence)->source;
    const int64_t source = told >= 0 && told < g->source ? told : g->source;
    double all = 0;
    for (int64_t s = 0; s < source; s++) {
        double sum = 0;
        for (int64_t i = last; i >= 0; i = said_at(g, i)->before)
            sum += number->load((const char *)g->w->weights.at + i * weight_bytes(g), s);
        all += sum < 1 ? log(sum > 1e-10 ? sum : 1e-10) : 0;
    }
    return all;
}

static finished *finished_of(const generating *g, int64_t sequence)
{
    return (finished *)g->w->finished.at + sequence * g->o.best;
}

/* Does a come before b, which was there first? */
static bool comes_before(const finished *a, const finished *b)
{
    if (!b->there) return true;
    return a->ended != b->ended ? a->ended : a->score > b->score;
}

void finish(const generating *g, const row *r, int64_t last, int64_t n, double log_prob, bool ended)
{
    finished *best = finished_of(g, r->sequence);
    finished f = { last, n, log_prob, log_prob / length_penalty(&g->o, n), true, ended };
    if (g->o.coverage_beta > 0 && g->source >= 0)
        f.score += g->o.coverage_beta * coverage(g, r->sequence, last);
    lane_at(g, r->sequence)->ended += ended;
    if (g->o.temperature > 0) { /* draws stay in their order */
        best[r->draw] = f;
        return;
    }
    int64_t at = g->o.best;
    while (at > 0 && comes_before(&f, &best[at - 1])) at--;
    if (at == g->o.best) return;
    memmove(best + at + 1, best + at, (size_t)(g->o.best - 1 - at) * sizeof *best);
    best[at] = f;
}

bool may_come(const generating *g, int64_t sequence, double log_prob)
{
    const finished *last = finished_of(g, sequence) + g->o.best - 1;
    if (g->o.temperature > 0 || !last->there || !last->ended) return true;
    /* log P only falls, a longer one is divided by more, and coverage adds nothing above 0. */
    return log_prob / length_penalty(&g->o, lane_at(g, sequence)->limit) > last->score;
}

/* ---- n-grams ---- */

/* Are the n tokens up to a those up to b? */
static bool same(const generating *g, int64_t a, int64_t b, int64_t n)
{
    for (; n > 0; n--) {
        if (a < 0 || b < 0 || said_at(g, a)->id != said_at(g, b)->id) return false;
        a = said_at(g, a)->before;
        b = said_at(g, b)->before;
    }
    return true;
}

void forbid_repeated(const generating *g, int64_t last, wf_dtype dtype, void *logits)
{
    const wf_dtype_info *number = wf_dtype_describe(dtype);
    for (int64_t i = last; i >= 0; i = said_at(g, i)->before)
        if (same(g, said_at(g, i)->before, last, g->o.no_repeat - 1))
            number->store(logits, said_at(g, i)->id, -(double)INFINITY);
}

/* ---- what is handed out ---- */

/* Where the parts of what is handed out lie. */
typedef struct places {
    double *log_probs;
    char *weights;
    int32_t *ids;
} places;

static wf_hypothesis hypothesis_of(const generating *g, const finished *f, places *p)
{
    wf_hypothesis h = { .log_prob = 0, .score = -(double)INFINITY };
    if (!f->there) return h;
    h = (wf_hypothesis){ .ids = p->ids,
                         .log_probs = p->log_probs,
                         .n = f->n,
                         .ended = f->ended,
                         .log_prob = f->log_prob,
                         .score = f->score };
    int64_t at = f->n;
    for (int64_t i = f->last; i >= 0; i = said_at(g, i)->before) {
        p->ids[--at] = said_at(g, i)->id;
        p->log_probs[at] = said_at(g, i)->log_prob;
        if (g->o.weights && weight_bytes(g) > 0)
            memcpy(p->weights + at * weight_bytes(g),
                   (const char *)g->w->weights.at + i * weight_bytes(g), (size_t)weight_bytes(g));
    }
    if (g->o.weights && g->source >= 0) {
        h.weights = wf_tensor_of(g->weight_dtype, WF_SHAPE(f->n, g->source), p->weights);
        p->weights += f->n * weight_bytes(g);
    }
    p->ids += f->n;
    p->log_probs += f->n;
    return h;
}

bool hand_out(const generating *g)
{
    wf_generation *w = g->w;
    const int64_t all = g->batch * g->o.best, each = g->o.weights ? weight_bytes(g) : 0;
    int64_t tokens = 1; /* one more, so that an empty one lies somewhere */
    for (int64_t i = 0; i < all; i++) tokens += ((const finished *)w->finished.at)[i].n;
    const int64_t size = (int64_t)sizeof(double) + (int64_t)sizeof(int32_t) + (each > 0 ? each : 0);
    if (!generate_grow(g, &w->hypotheses, all, sizeof(wf_hypothesis))) return false;
    if (!generate_grow(g, &w->numbers, tokens, size)) return false;
    places p = { .log_probs = w->numbers.at };
    p.weights = (char *)(p.log_probs + tokens);
    p.ids = (int32_t *)(void *)(p.weights + (each > 0 ? tokens * each : 0));
    wf_hypothesis *to = w->hypotheses.at;
    for (int64_t i = 0; i < all; i++)
        to[i] = hypothesis_of(g, (const finished *)w->finished.at + i, &p);
    g->to->sequences = g->batch;
    g->to->best = g->o.best;
    g->to->at = to;
    return true;
}
