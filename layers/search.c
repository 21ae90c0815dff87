/* Who goes on: tokens are chosen for each row, by threads, then the rows of each sequence compete
 * for its beams. */
#include "layers/generate_private.h"

#include "tensor/par.h"
#include "tensor/rng.h"

#include <math.h>
#include <string.h>

enum { SHARE = 1 << 15 }; /* logits that are worth a thread */

/* ---- each row by itself ---- */

typedef struct rows_choosing {
    const generating *g;
    const wf_tensor *logits;
    choosing how;
    int64_t room, u; /* bytes of a thread; where in them its uniform numbers are */
    int64_t *counts; /* of each row: how many were chosen; below 0: -row_is */
} rows_choosing;

static int64_t aligned(int64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static bool may_end(const generating *g)
{
    return g->o.end >= 0 && g->step >= g->o.min_length;
}

/* Is anything forbidden at this step? */
static bool forbids(const generating *g)
{
    return g->o.n_banned > 0 || g->o.no_repeat > 0 || (g->o.end >= 0 && !may_end(g));
}

static void forbid(const generating *g, const row *r, wf_dtype dtype, void *logits)
{
    const wf_dtype_info *number = wf_dtype_describe(dtype);
    for (int64_t i = 0; i < g->o.n_banned; i++)
        number->store(logits, g->o.banned[i], -(double)INFINITY);
    if (g->o.end >= 0 && !may_end(g)) number->store(logits, g->o.end, -(double)INFINITY);
    if (g->o.no_repeat > 0) forbid_repeated(g, r->last, dtype, logits);
}

/* The uniform numbers of a row's draws: at the first step it is the parent of all of its
 * sequence's. */
static void uniforms(const generating *g, const row *r, int64_t n, double *u)
{
    const uint64_t key = wf_key_with(g->key, (uint64_t)(g->o.numbered + r->sequence));
    for (int64_t i = 0; i < n; i++)
        u[i] = wf_random_uniform(wf_key_with(key, (uint64_t)(r->draw + i)), (uint64_t)g->step);
}

/* room holds, one behind the other: a copy of the row, as many choices, uniform numbers. */
static int64_t choose_row(const rows_choosing *c, int64_t i, char *room)
{
    const generating *g = c->g;
    const row *r = row_at(g, i);
    const wf_dtype dtype = c->logits->dtype;
    const int64_t bytes = g->classes * wf_dtype_size(dtype);
    wf_tensor copy = wf_tensor_of(dtype, WF_SHAPE(g->classes), room), one;
    if (!wf_view_select(c->logits, 0, i, &one)) return 0;
    double *u = (double *)(void *)(room + c->u);
    logit_row x = { .dtype = dtype, .n = g->classes, .at = one.data };
    if (one.stride[0] != 1 && g->classes > 1) {
        char *dense = room + c->room - aligned(bytes);
        const wf_tensor to = wf_tensor_of(dtype, WF_SHAPE(g->classes), dense);
        wf_tensor_copy(&one, &to);
        x.at = dense;
    }
    const row_is is = logits_judge(&x);
    if (is != ROW_SOUND) return -(int64_t)is;
    const void *allowed = x.at;
    if (forbids(g)) {
        memcpy(copy.data, x.at, (size_t)bytes);
        forbid(g, r, dtype, copy.data);
        allowed = copy.data;
    }
    if (c->how.temperature > 0) uniforms(g, r, c->how.most, u);
    return logits_choose(&x, allowed, &c->how, u, (choice *)(void *)(room + aligned(bytes)),
                         (choice *)g->w->chosen.at + i * c->how.most);
}

static void choose_rows(void *context, wf_team *team, int id, int size)
{
    (void)team;
    const rows_choosing *c = context;
    char *room = (char *)c->g->w->scratch.at + id * c->room;
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    for (int64_t i = id; i < c->g->n; i += size) c->counts[i] = choose_row(c, i, room);
}

/* Fills w->chosen and w->counts; how says how many may have been chosen for each row. */
static bool choose_all(const generating *g, const wf_tensor *logits, choosing *how)
{
    wf_generation *w = g->w;
    const bool draws = g->o.temperature > 0;
    *how = (choosing){ g->o.beams + g->o.refill, g->o.temperature, g->o.top_p, g->o.top_k };
    if (draws) how->most = g->step == 0 ? g->o.best : 1;
    if (!draws && how->most > g->classes) how->most = g->classes;
    const int64_t bytes = aligned(g->classes * wf_dtype_size(logits->dtype));
    const int64_t choices = draws ? aligned(g->classes * (int64_t)sizeof(choice)) : 0;
    const int64_t u = draws ? aligned(how->most * (int64_t)sizeof(double)) : 0;
    rows_choosing c = { g, logits, *how, 2 * bytes + choices + u, bytes + choices, NULL };
    int64_t threads = wf_tape_threads(g->t);
    if (threads > g->n) threads = g->n;
    if (g->n * g->classes < 2 * SHARE) threads = 1;
    if (!generate_grow(g, &w->chosen, g->n * how->most, sizeof(choice)) ||
        !generate_grow(g, &w->counts, g->n, sizeof(int64_t)) ||
        !generate_grow(g, &w->scratch, threads, c.room))
        return false;
    c.counts = w->counts.at;
    if (threads > 1)
        wf_par_team((int)threads, choose_rows, &c);
    else
        choose_rows(&c, NULL, 0, 1);
    for (int64_t i = 0; i < g->n; i++) {
        if (c.counts[i] >= 0) continue;
        return generate_fail(g, "a logit of step %lld is %s, in row %lld (sequence %lld)",
                             (long long)g->step, c.counts[i] == -ROW_NAN ? "NaN" : "inf",
                             (long long)i, (long long)row_at(g, i)->sequence);
    }
    return true;
}

/* ---- the rows of a sequence ---- */

/* One sequence's rows, begin to end - 1, and what is chosen from them. */
typedef struct contest {
    generating *g;
    const wf_tensor *weights;
    int64_t begin, end, most, next; /* next: rows that go on, so far, of all sequences */
    uint32_t fp;                    /* the caller's state, which .told runs in */
} contest;

/* Is told the token; false after failing the tape. */
static bool tell(contest *c, const row *r, choice chosen)
{
    const generating *g = c->g;
    if (!g->o.told) return true;
    const uint64_t generation = wf_tape_generation(g->t);
    wf_fp_leave(c->fp);
    const bool more = g->o.told(g->o.context, r->sequence, chosen.id, chosen.value);
    c->fp = wf_fp_enter();
    if (!more) lane_at(g, r->sequence)->told_off = true;
    if (wf_tape_generation(g->t) != generation)
        return generate_fail(g, "the tape was reset by .told");
    return wf_tape_ok(g->t);
}

/* Row `from` goes on with what is chosen, or is finished with it. */
static bool go_on(contest *c, int64_t from, choice chosen, int64_t draw)
{
    generating *g = c->g;
    const row *r = row_at(g, from);
    row next = { r->sequence, draw, from, 0, chosen.id, r->log_prob + chosen.value };
    const int64_t n = g->step + 1;
    next.last = say(g, r, from, chosen, c->weights);
    if (next.last < 0 || !tell(c, r, chosen)) return false;
    const lane *l = lane_at(g, r->sequence);
    if (chosen.id == g->o.end)
        finish(g, &next, next.last, n, next.log_prob, true);
    else if (n >= l->limit || l->told_off)
        finish(g, &next, next.last, n, next.log_prob, false);
    else
        ((row *)g->w->next.at)[c->next++] = next;
    return true;
}

/* Every row for itself: `most` draws. */
static bool each_draws(contest *c)
{
    const choice *chosen = c->g->w->chosen.at;
    for (int64_t i = c->begin; i < c->end; i++)
        for (int64_t k = 0; k < ((const int64_t *)c->g->w->counts.at)[i]; k++)
            if (!go_on(c, i, chosen[i * c->most + k], row_at(c->g, i)->draw + k)) return false;
    return true;
}

/* The row whose next choice is the likeliest as a whole, the first of several; -1: none has any. */
static int64_t likeliest_row(const contest *c, const int64_t *taken)
{
    const generating *g = c->g;
    const int64_t *counts = g->w->counts.at;
    const choice *chosen = g->w->chosen.at;
    int64_t found = -1;
    double most = 0;
    for (int64_t i = c->begin; i < c->end; i++) {
        if (taken[i] >= counts[i]) continue;
        const double log_prob = row_at(g, i)->log_prob + chosen[i * c->most + taken[i]].value;
        if (found < 0 || log_prob > most) found = i, most = log_prob;
    }
    return found;
}

/* The beams go to the likeliest choices of all rows. What ends takes one, or with .refill only ends
 * if it is among as many likeliest as there are beams. */
static bool beams_compete(contest *c, int64_t *taken)
{
    generating *g = c->g;
    lane *l = lane_at(g, row_at(g, c->begin)->sequence);
    const int64_t beams = g->o.beams, first = c->next;
    const int64_t places = g->o.refill ? beams : beams - l->ended;
    int64_t used = 0;
    for (int64_t rank = 0; used < places; rank++) {
        const int64_t i = likeliest_row(c, taken);
        if (i < 0) break;
        const choice chosen = ((const choice *)g->w->chosen.at)[i * c->most + taken[i]++];
        const bool ends = chosen.id == g->o.end;
        if (g->o.refill && ends && rank >= beams) continue;
        if (!go_on(c, i, chosen, 0)) return false;
        used += !(g->o.refill && ends);
    }
    bool goes_on = l->ended < beams;
    if (goes_on && c->next > first) {
        const row *next = (const row *)g->w->next.at + first;
        double most = next->log_prob; /* the first is the likeliest */
        goes_on = may_come(g, next->sequence, most);
    }
    if (!goes_on) c->next = first;
    return true;
}

/* A row after which nothing is allowed is finished. */
static void finish_stuck(const contest *c)
{
    const generating *g = c->g;
    for (int64_t i = c->begin; i < c->end; i++) {
        const row *r = row_at(g, i);
        if (((const int64_t *)g->w->counts.at)[i] > 0) continue;
        const int64_t draws = g->o.temperature > 0 && g->step == 0 ? g->o.best : 1;
        for (int64_t k = 0; k < draws; k++) {
            row one = *r;
            one.draw += k;
            finish(g, &one, r->last, g->step, r->log_prob, false);
        }
    }
}

bool search_step(generating *g, const wf_tensor *logits, const wf_tensor *weights, int64_t *n)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    choosing how;
    if (!choose_all(g, logits, &how)) return false;
    const int64_t width = g->o.temperature > 0 ? g->o.best : g->o.beams;
    if (!generate_grow(g, &g->w->next, g->batch * width, sizeof(row)) ||
        !generate_grow(g, &g->w->scratch, g->n, sizeof(int64_t)))
        return false;
    int64_t *taken = g->w->scratch.at; /* what was chosen has been written down */
    memset(taken, 0, (size_t)g->n * sizeof *taken);
    contest c = { .g = g, .weights = weights, .most = how.most, .fp = fp };
    for (; c.begin < g->n; c.begin = c.end) {
        c.end = c.begin + 1;
        while (c.end < g->n && row_at(g, c.end)->sequence == row_at(g, c.begin)->sequence) c.end++;
        finish_stuck(&c);
        if (g->o.temperature > 0 ? !each_draws(&c) : !beams_compete(&c, taken)) return false;
    }
    *n = c.next;
    return true;
}
