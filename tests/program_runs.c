/* Whether loops do what their steps say: a program by plan, on several threads, in the plain loop
 * and by hand, and how far apart the results may be.
 *
 * A plan adds up in another order, so that both results are the exact ones of slightly other
 * numbers. What may differ is 1e-12 of the largest number of its kind in f64, 2e-6 in f32, and 16
 * units in the last place of 1, because inputs and cotangents are as large as that, and what is
 * added up of them may cancel. Or it is what the program itself makes of such differences: its
 * inputs are moved by up to four units in the last place, in four random ways, and a plan's results
 * may be four times as far from those by hand as the results by hand of moved inputs are. So far
 * may results be apart that amplify what is put in, or choose between numbers that nearly tie. In
 * f32 all are compared with the results by hand in f64 of the same numbers, and how far those by
 * hand in f32 are from them counts as well. */
#include "tests/programs.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct program_counts program_counts;
bool program_eager;

enum { HAND_ROWS = 5, HAND_TIME = 9 };

const char *program_text(const program *p)
{
    static char text[240];
    snprintf(text, sizeof text,
             "seed %llu: %d ops, %d sequences, %d states, %d outputs, T %lld, B %lld, W %lld, "
             "%d threads%s%s%s%s%s, %s",
             (unsigned long long)p->seed, p->ops, p->sequences, p->states, p->outputs,
             (long long)p->time, (long long)p->batch, (long long)program_width(p, 0), p->threads,
             p->ragged ? ", ragged" : "", p->reverse ? ", reverse" : "",
             p->mixing ? ", mixing" : "", p->mode == WF_INFER ? ", infer" : "",
             p->plain ? ", plain" : "", wf_dtype_name(p->dtype));
    return text;
}

/* ---- the same loop by hand ---- */

/* Row b of x, (1, ...). */
static wf_var *row_of(wf_tape *t, wf_var *x, int64_t b)
{
    return wf_slice(t, x, 0, b, b + 1, 1);
}

/* Sequences, longest first; those of one length as they came. */
static void in_order(const program_vars *v, int64_t order[HAND_ROWS])
{
    for (int64_t b = 0; b < v->p->batch; b++) {
        int64_t r = b;
        for (; r > 0 && v->length[order[r - 1]] < v->length[b]; r--) order[r] = order[r - 1];
        order[r] = b;
    }
}

/* What every sequence has: its states, and its outputs (1, ...) at each step. */
typedef struct by_hand {
    const program_vars *in;
    wf_var *state[WF_SCAN_VARS][HAND_ROWS], *y[WF_SCAN_VARS][HAND_TIME][HAND_ROWS];
    wf_var *form[WF_SCAN_VARS];
} by_hand;

/* Step i of n sequences at once. */
static void hand_step(wf_tape *t, by_hand *h, int64_t i, int n, const int64_t which[])
{
    const program *p = h->in->p;
    wf_var *x[WF_SCAN_VARS], *state[WF_SCAN_VARS], *y[WF_SCAN_VARS] = { NULL }, *row[HAND_ROWS];
    for (int k = 0; k < p->sequences; k++) {
        for (int r = 0; r < n; r++) row[r] = row_of(t, wf_select(t, h->in->x[k], 0, i), which[r]);
        x[k] = n == 1 ? row[0] : wf_concat(t, 0, (wf_vars){ n, row });
    }
    for (int k = 0; k < p->states; k++) {
        for (int r = 0; r < n; r++) row[r] = h->state[k][which[r]];
        state[k] = n == 1 ? row[0] : wf_concat(t, 0, (wf_vars){ n, row });
    }
    program_step(t, h->in, x, state, y);
    for (int r = 0; r < n; r++) {
        for (int k = 0; k < p->states; k++) h->state[k][which[r]] = row_of(t, state[k], r);
        for (int j = 0; j < p->outputs; j++) h->form[j] = h->y[j][i][which[r]] = row_of(t, y[j], r);
    }
}

/* The results of a program: outputs (NULL: no step says what they are), then final states. */
static bool run_by_hand(wf_tape *t, const program_vars *v, wf_var *out[])
{
    const program *p = v->p;
    by_hand h = { .in = v };
    int64_t order[HAND_ROWS];
    in_order(v, order);
    for (int k = 0; k < p->states; k++)
        for (int64_t b = 0; b < p->batch; b++) h.state[k][b] = row_of(t, v->initial[k], b);
    for (int64_t s = 0; s < p->time; s++) {
        const int64_t i = p->reverse ? p->time - 1 - s : s;
        int n = 0;
        while (n < p->batch && v->length[order[n]] > i) n++;
        if (p->mixing && n > 0) hand_step(t, &h, i, n, order);
        for (int r = 0; r < n && !p->mixing; r++) hand_step(t, &h, i, 1, order + r);
    }
    for (int j = 0; j < p->outputs; j++) {
        wf_var *at[HAND_TIME], *zero = NULL;
        out[j] = NULL;
        if (!h.form[j]) continue;
        zero = wf_zeros(t, wf_dtype_of(h.form[j]), wf_shape_of(h.form[j]));
        for (int64_t i = 0; i < p->time; i++) {
            for (int64_t b = 0; b < p->batch; b++)
                if (!h.y[j][i][b]) h.y[j][i][b] = zero;
            at[i] = wf_concat(t, 0, (wf_vars){ (int)p->batch, h.y[j][i] });
        }
        out[j] = wf_stack(t, 0, (wf_vars){ (int)p->time, at });
    }
    for (int k = 0; k < p->states; k++)
        out[p->outputs + k] = wf_concat(t, 0, (wf_vars){ (int)p->batch, h.state[k] });
    return wf_tape_ok(t);
}

static bool run_scan(wf_tape *t, const program_vars *v, bool plain, wf_var *out[])
{
    const program *p = v->p;
    wf_explain_begin(t);
    const bool ok = wf_scan(t,
                            &(wf_scan_call){ .step = program_step,
                                             .context = v,
                                             .sequences = { p->sequences, v->x },
                                             .time = p->time,
                                             .initial = { p->states, v->initial },
                                             .outputs = p->outputs,
                                             .lengths = v->lengths,
                                             .reverse = p->reverse,
                                             .plain = plain },
                            out, out + p->outputs);
    const char *text = wf_explain_end(t);
    program_counts.loops++;
    program_counts.planned += text && strstr(text, ": planned");
    return ok;
}

/* ---- what a run leaves ---- */

enum { RESULTS, GRADIENTS, SECOND, KINDS };
enum { OUTS = 2 * WF_SCAN_VARS, WRT = 2 * WF_SCAN_VARS + PROGRAM_CLOSED };
static const char *const kinds[KINDS] = { "result", "gradient", "second derivative" };

typedef struct numbers {
    wf_shape shape;
    int64_t n;
    double *at; /* NULL: nobody knows them */
} numbers;

typedef struct outcome {
    bool ok;
    char error[160];
    int n[KINDS];
    numbers of[KINDS][WRT];
} outcome;

static void free_outcome(outcome *o)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < o->n[kind]; i++) free(o->of[kind][i].at);
}

static void note(outcome *o, int kind, const wf_var *x)
{
    numbers *to = &o->of[kind][o->n[kind]++];
    *to = (numbers){ 0 };
    if (!x) return;
    *to = (numbers){ wf_shape_of(x), wf_count(x), NULL };
    to->at = calloc((size_t)to->n + 1, sizeof *to->at);
    for (int64_t i = 0; to->at && i < to->n; i++) to->at[i] = wf_at(x, i);
}

typedef enum manner { BY_PLAN, BY_LOOP, BY_HAND } manner;
typedef struct way {
    manner manner;
    wf_dtype dtype;
    int threads;
    uint64_t moved; /* 0: the inputs as they are */
} way;

static bool is_float(const wf_var *x)
{
    return x && wf_dtype_of(x) != WF_I32;
}

/* Numbers that f32 holds if the program is one of f32; and moved by up to four units in the last
 * place. */
static void settle(const program *p, wf_var *x, uint64_t moved, uint64_t key)
{
    const double unit = p->dtype == WF_F32 ? (double)FLT_EPSILON : DBL_EPSILON;
    if (!is_float(x) || (p->dtype == WF_F64 && moved == 0)) return;
    for (int64_t i = 0; i < wf_count(x); i++) {
        double v = wf_at(x, i);
        if (moved) v *= 1 + unit * (double)(wf_random_below(moved * 64 + key, (uint64_t)i, 9) - 4);
        put(wf_value(x), i, p->dtype == WF_F32 ? (double)(float)v : v);
    }
}

static void settle_all(const program *p, program_vars *v, uint64_t moved)
{
    for (int i = 0; i < WF_SCAN_VARS; i++) {
        settle(p, v->x[i], moved, (uint64_t)i);
        settle(p, v->initial[i], moved, (uint64_t)(20 + i));
    }
    for (int i = 0; i < PROGRAM_CLOSED; i++) settle(p, v->leaf[i], moved, (uint64_t)(40 + i));
}

/* Numbers for a cotangent, the same ones on any tape. */
static wf_var *direction(wf_tape *t, const program *p, const wf_var *like, uint64_t key)
{
    wf_var *x = drawn(t, wf_dtype_of(like), wf_shape_of(like), p->seed * 64 + key, -1, 1);
    settle(p, x, 0, 0);
    return x;
}

/* Gradients of the results that are chosen, and of sums of those. */
static bool derive(wf_tape *t, const program *p, program_vars *v, int outs, wf_var *results[],
                   outcome *o)
{
    wf_var *wrt[WRT], *out[OUTS], *cotangent[OUTS], *u[WRT], *first[WRT], *second[WRT];
    int n = 0, m = 0;
    for (int i = 0; i < p->sequences; i++)
        if (is_float(v->x[i])) wrt[m++] = v->x[i];
    for (int k = 0; k < p->states; k++)
        if (is_float(v->initial[k])) wrt[m++] = v->initial[k];
    for (int i = 0; i < PROGRAM_CLOSED; i++) wrt[m++] = v->leaf[i];
    for (int i = 0; i < outs; i++) {
        if (!is_float(results[i]) || !(p->chosen >> i & 1)) continue;
        cotangent[n] = direction(t, p, results[i], (uint64_t)i);
        out[n++] = results[i];
    }
    if (n == 0) return wf_tape_ok(t);
    if (!wf_grad(t, n, out, cotangent, m, wrt, first,
                 &(wf_grad_options){ .create_graph = p->second }))
        return false;
    for (int i = 0; i < m; i++) note(o, GRADIENTS, first[i]);
    if (!p->second) return true;
    for (int i = 0; i < m; i++) u[i] = direction(t, p, first[i], (uint64_t)(32 + i));
    if (!wf_grad(t, m, first, u, m, wrt, second, NULL)) return false;
    for (int i = 0; i < m; i++) note(o, SECOND, second[i]);
    return true;
}

static void run(const program *p, way w, outcome *o)
{
    program q = *p;
    q.dtype = w.dtype;
    heap.soiled = w.manner == BY_PLAN;
    OWN(wf_module) *net = program_net(&q);
    OWN(wf_tape) *t = wf_tape_new(
        &(wf_tape_options){ .mode = p->mode, .seed = p->seed, .threads = w.threads });
    program_vars v;
    wf_var *out[OUTS];
    const int outs = p->outputs + p->states;
    o->ok = program_vars_make(t, &q, net, &v);
    if (o->ok) settle_all(p, &v, w.moved);
    o->ok = o->ok && program_vars_close(t, &v);
    o->ok = o->ok && (w.manner == BY_HAND ? run_by_hand(t, &v, out)
                                          : run_scan(t, &v, w.manner == BY_LOOP, out));
    for (int i = 0; o->ok && i < outs; i++) note(o, RESULTS, out[i]);
    o->ok = o->ok && (p->mode == WF_INFER || derive(t, p, &v, outs, out, o));
    snprintf(o->error, sizeof o->error, "%s", wf_tape_error(t));
    heap.soiled = false;
}

/* ---- how far results may be apart ---- */

#define OUTCOME __attribute__((cleanup(free_outcome))) outcome

/* INFINITY where there is one, or no number. */
static double largest(int n, const numbers x[])
{
    double most = 0;
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < x[i].n; k++) {
            if (!isfinite(x[i].at[k])) return (double)INFINITY;
            most = fmax(most, fabs(x[i].at[k]));
        }
    return most;
}

/* Where two outcomes of a kind are furthest apart. Of what nobody knows zeros are wanted. */
typedef struct gap {
    double most; /* INFINITY: another shape, or one of two is no number */
    int item;
    int64_t element;
} gap;

static gap gap_of(const outcome *got, const outcome *want, int kind)
{
    gap g = { 0 };
    for (int i = 0; i < want->n[kind]; i++) {
        const numbers *a = &got->of[kind][i], *b = &want->of[kind][i];
        if (i >= got->n[kind] || (b->at && !wf_shape_equal(&a->shape, &b->shape)))
            return (gap){ (double)INFINITY, i, 0 };
        for (int64_t k = 0; k < a->n; k++) {
            const double x = a->at[k], y = b->at ? b->at[k] : 0, d = fabs(x - y);
            if (!(d <= g.most)) g = (gap){ isnan(d) ? (double)INFINITY : d, i, k };
        }
    }
    return g;
}

static bool same_bits(const outcome *a, const outcome *b, char why[static 200])
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < a->n[kind]; i++) {
            const numbers *x = &a->of[kind][i], *y = &b->of[kind][i];
            for (int64_t k = 0; k < x->n; k++) {
                if (!memcmp(&x->at[k], &y->at[k], sizeof *x->at)) continue;
                snprintf(why, 200, "%s %d: element %lld is %.17g, on one thread %.17g", kinds[kind],
                         i, (long long)k, y->at[k], x->at[k]);
                return false;
            }
        }
    return true;
}

enum { MOVES = 4 };

/* How far the results without a plan are from those wanted when the inputs are moved. */
static void add_noise(const program *p, manner by, const outcome *want, double noise[KINDS])
{
    for (uint64_t k = 1; k <= MOVES; k++) {
        OUTCOME moved = { 0 };
        run(p, (way){ by, p->dtype, 1, k }, &moved);
        for (int kind = 0; moved.ok && kind < KINDS; kind++)
            noise[kind] = fmax(noise[kind], gap_of(&moved, want, kind).most);
    }
}

static bool close(const program *p, manner by, const outcome *got, const outcome *want,
                  double noise[KINDS], char why[static 200])
{
    bool moved = false;
    for (int kind = 0; kind < KINDS; kind++) {
        const gap g = gap_of(got, want, kind);
        const double beyond = p->dtype == WF_F32 ? 1e30 : 1e100;
        const double most = largest(want->n[kind], want->of[kind]),
                     few = p->dtype == WF_F32 ? 2e-6 * most + 16 * (double)FLT_EPSILON
                                              : 1e-12 * most + 16 * DBL_EPSILON;
        if (!(most < beyond)) continue; /* some loops grow until there are no numbers */
        if (g.most <= few + 4 * noise[kind]) continue;
        if (!moved) add_noise(p, by, want, noise);
        moved = true;
        if (g.most <= few + 4 * noise[kind]) continue;
        const numbers *a = &got->of[kind][g.item], *b = &want->of[kind][g.item];
        snprintf(why, 200, "%s %d: element %lld is %.17g, not %.17g (largest %g, noise %g)",
                 kinds[kind], g.item, (long long)g.element, a->at ? a->at[g.element] : (double)NAN,
                 b->at ? b->at[g.element] : 0, most, noise[kind]);
        return false;
    }
    return true;
}

bool program_agrees(const program *p, char why[static 200])
{
    const manner by = p->batch <= HAND_ROWS && p->time <= HAND_TIME ? BY_HAND : BY_LOOP;
    const manner of = p->plain ? BY_LOOP : BY_PLAN;
    OUTCOME got = { 0 };
    OUTCOME want = { 0 };
    OUTCOME more = { 0 };
    double noise[KINDS] = { 0 };
    run(p, (way){ of, p->dtype, 1, 0 }, &got);
    if (!got.ok) {
        snprintf(why, 200, "the loop: %.150s", got.error);
        return false;
    }
    program_eager = true;
    run(p, (way){ of, p->dtype, p->threads, 0 }, &more);
    program_eager = false;
    if (!more.ok) snprintf(why, 200, "on %d threads: %.150s", p->threads, more.error);
    if (!more.ok || !same_bits(&got, &more, why)) return false;
    if (p->batch == 0) return true;
    run(p, (way){ by, WF_F64, 1, 0 }, &want);
    if (!want.ok) {
        snprintf(why, 200, "by hand: %.150s", want.error);
        return false;
    }
    if (p->dtype == WF_F32) {
        OUTCOME plain = { 0 };
        run(p, (way){ by, WF_F32, 1, 0 }, &plain);
        for (int kind = 0; kind < KINDS; kind++) noise[kind] = gap_of(&plain, &want, kind).most;
    }
    return close(p, by, &got, &want, noise, why);
}

/* ---- many programs ---- */

/* A smaller program that fails too, or the same. */
static program shrunk(program p)
{
    char why[200];
    for (bool smaller = true; smaller;) {
        smaller = false;
        for (int i = 0; i < 13; i++) {
            program q = p;
            if (i == 0) q.ops = p.ops / 2;
            if (i == 1) q.ops--;
            if (i == 2) q.time -= q.time > 20 ? q.time / 4 : 1;
            if (i == 3) q.batch--;
            if (i == 4) q.outputs--;
            if (i == 5) q.states--;
            if (i == 6) q.sequences--;
            if (i == 7) q.ragged = q.reverse = q.mixing = false;
            if (i == 8) q.threads = 1;
            if (i == 9) q.size = 0;
            if (i == 10) q.dtype = WF_F64, q.finer = false;
            if (i == 11) q.second = false;
            if (i == 12) q.threads = p.threads > 2 ? 2 : p.threads;
            const bool sound = q.ops >= 0 && q.time > 0 && q.batch > 0 && q.outputs >= 0 &&
                               q.states >= 0 && q.sequences >= 0 && q.states + q.sequences > 0;
            if (!sound || !memcmp(&p, &q, sizeof p) || program_agrees(&q, why)) continue;
            p = q;
            smaller = true;
        }
    }
    return p;
}

int programs_failing(uint64_t from, uint64_t count, char told[static 700])
{
    char why[200];
    int failures = 0;
    for (uint64_t seed = from; seed < from + count; seed++) {
        const program p = program_drawn(seed);
        if (program_agrees(&p, why) || failures++) continue;
        program small = shrunk(p);
        size_t n = (size_t)snprintf(told, 700, "%s: %s\n  ", program_text(&p), why);
        program_agrees(&small, why);
        snprintf(told + n, 700 - n, "%s: %s", program_text(&small), why);
    }
    return failures;
}
