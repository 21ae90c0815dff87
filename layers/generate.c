/* Generation: what a call is given is judged, and steps run on the rows that go on until there are
 * none. */
#include "layers/generate_private.h"

#include "autograd/scan.h"
#include "autograd/views.h"
#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

bool generate_fail(const generating *g, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    wf_vformat(text, sizeof text, format, list);
    va_end(list);
    wf_fail(g->t, "%s: %s", g->name, text);
    return false;
}

bool generate_grow(const generating *g, grown *list, int64_t n, int64_t size)
{
    if (grow(list, n, size)) return true;
    return generate_fail(g, "not enough memory for %lld times %lld bytes", (long long)n,
                         (long long)size);
}

/* ---- what a call is given ---- */

/* A number of the options in its range? */
static bool whole_is_sound(const generating *g, const char *field, int64_t value)
{
    if (value >= 0 && value <= INT32_MAX) return true;
    return generate_fail(g, ".%s is %lld; it must be 0 to %d", field, (long long)value, INT32_MAX);
}

static bool number_is_sound(const generating *g, const char *field, double value, double most)
{
    if (value >= 0 && value <= most) return true;
    return generate_fail(g, ".%s is %g; it must be 0 to %g", field, value, most);
}

static bool numbers_are_sound(const generating *g)
{
    const wf_generate_options *o = &g->o;
    const struct {
        const char *field;
        int64_t value;
    } whole[] = { { "max_length", o->max_length },
                  { "min_length", o->min_length },
                  { "no_repeat", o->no_repeat },
                  { "n_banned", o->n_banned },
                  { "best", o->best },
                  { "top_k", o->top_k },
                  { "beams", o->beams } };
    const struct {
        const char *field;
        double value, most;
    } number[] = { { "max_ratio", o->max_ratio, 1e6 },
                   { "temperature", o->temperature, 1e6 },
                   { "top_p", o->top_p, 1 },
                   { "length_alpha", o->length_alpha, 100 },
                   { "coverage_beta", o->coverage_beta, 1e6 } };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!whole_is_sound(g, whole[i].field, whole[i].value)) return false;
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        if (!number_is_sound(g, number[i].field, number[i].value, number[i].most)) return false;
    if (o->temperature > 0 && o->temperature < 1e-6)
        return generate_fail(g, ".temperature is %g; it must be 0, or 1e-6 to 1e6", o->temperature);
    return true;
}

/* Do the options go together? beams and best are 1 or more here. */
static bool options_agree(const generating *g)
{
    const wf_generate_options *o = &g->o;
    if (o->begin < 0) return generate_fail(g, ".begin is %d; an id is 0 or more", (int)o->begin);
    if (o->end < -1) {
        return generate_fail(g, ".end is %d; it must be an id, or -1: none ends a sequence",
                             (int)o->end);
    }
    if (o->max_length == 0 && o->max_ratio == 0)
        return generate_fail(g, ".max_length and .max_ratio are 0: there is room for no token");
    if (o->max_ratio > 0 && !o->lengths)
        return generate_fail(g, ".max_ratio is %g, of .lengths that were not given", o->max_ratio);
    if (o->n_banned > 0 && !o->banned)
        return generate_fail(g, "%lld banned ids were promised and not given",
                             (long long)o->n_banned);
    if (o->length_penalty != WF_LENGTH_GNMT && o->length_penalty != WF_LENGTH_POWER)
        return generate_fail(g, ".length_penalty is %d; there is none of that number",
                             (int)o->length_penalty);
    if (o->beams > 1 && o->temperature > 0)
        return generate_fail(g,
                             ".beams is %lld and .temperature %g; either beams are searched or "
                             "tokens drawn",
                             (long long)o->beams, o->temperature);
    if (o->temperature == 0 && o->top_k > 0)
        return generate_fail(g, ".top_k is %lld and .temperature 0; nothing is drawn",
                             (long long)o->top_k);
    if (o->temperature == 0 && o->top_p > 0)
        return generate_fail(g, ".top_p is %g and .temperature 0; nothing is drawn", o->top_p);
    if (o->temperature == 0 && o->best > o->beams)
        return generate_fail(g, ".best is %lld, of %lld beams", (long long)o->best,
                             (long long)o->beams);
    if (o->told && (o->beams > 1 || o->best > 1))
        return generate_fail(g, ".told is of one hypothesis; .beams is %lld and .best %lld",
                             (long long)o->beams, (long long)o->best);
    return true;
}

/* The sequences there are, by the first size of v; false where it is another than before. */
static bool count_by(generating *g, const wf_var *v, const char *what)
{
    char text[128];
    const wf_shape shape = wf_shape_of(v);
    if (shape.rank >= 1 && g->batch < 0) g->batch = shape.dim[0];
    if (shape.rank >= 1 && shape.dim[0] == g->batch) return true;
    wf_shape_text(text, sizeof text, shape.rank, shape.dim);
    if (g->batch < 0)
        return generate_fail(g, "%s is %s; it needs a row for each sequence", what, text);
    return generate_fail(g, "%s is %s; there are %lld sequences", what, text, (long long)g->batch);
}

/* Vars of the decoder on this tape, a row of each for each sequence. */
static bool vars_enter(generating *g, wf_vars list, const char *what, wf_var *to[WF_DECODER_VARS])
{
    char name[64];
    if (list.n < 0 || list.n > WF_DECODER_VARS)
        return generate_fail(g, "there can be %d vars of %s; %d were given", WF_DECODER_VARS, what,
                             list.n);
    if (list.n > 0 && !list.at)
        return generate_fail(g, "the list of %s was never made (NULL)", what);
    for (int i = 0; i < list.n; i++) {
        wf_format(name, sizeof name, "%s %d", what, i);
        to[i] = wf_enter(g->t, list.at[i], "%s: %s", g->name, name);
        if (!to[i] || !count_by(g, to[i], name)) return false;
    }
    return true;
}

/* What the sequences are begun with, and how long they may become. */
static bool lanes_begin(generating *g)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const wf_generate_options *o = &g->o;
    wf_var *lengths = NULL, *first = NULL;
    if (o->first) {
        first = wf_enter(g->t, o->first, "%s: .first", g->name);
        if (!first || !count_by(g, first, ".first")) return false;
        if (wf_dtype_of(first) != WF_I32 || wf_rank(first) != 1)
            return generate_fail(g, ".first must be i32, an id for each sequence");
    }
    if (g->batch < 0) g->batch = 1;
    if (o->lengths) {
        lengths = wf_enter_lengths(g->t, o->lengths, INT32_MAX, g->batch, "%s", g->name);
        if (!lengths) return false;
    }
    const int64_t best = g->batch > INT32_MAX / o->best ? -1 : g->batch * o->best;
    if (best < 0 || g->batch > INT32_MAX / o->beams)
        return generate_fail(g, "%lld sequences have more hypotheses than i32 can count",
                             (long long)g->batch);
    if (!generate_grow(g, &g->w->lanes, g->batch, sizeof(lane)) ||
        !generate_grow(g, &g->w->finished, best, sizeof(finished)))
        return false;
    if (best > 0) memset(g->w->finished.at, 0, (size_t)best * sizeof(finished));
    for (int64_t b = 0; b < g->batch; b++) {
        lane *l = lane_at(g, b);
        *l = (lane){ .source = lengths ? (int64_t)wf_at(lengths, b) : -1, .begin = o->begin };
        if (first) l->begin = (int32_t)wf_at(first, b);
        const double most = (double)o->max_length +
                            (lengths ? o->max_ratio * (double)l->source : 0);
        l->limit = most < INT32_MAX ? (int64_t)most : INT32_MAX;
    }
    return wf_tape_ok(g->t);
}

/* ---- one step ---- */

/* What a step works on. */
typedef struct working {
    wf_mark outer, inner;           /* of before the call; of before each step */
    wf_var *whole[WF_DECODER_VARS]; /* the memories of all sequences */
    wf_var *memory[WF_DECODER_VARS], *state[WF_DECODER_VARS]; /* of the rows there are */
    wf_var *logits, *weights;
} working;

static bool rows_fit(const generating *g, const wf_var *v, const char *what)
{
    char text[128];
    const wf_shape shape = wf_shape_of(v);
    if (shape.rank >= 1 && shape.dim[0] == g->n) return true;
    return generate_fail(g, "%s is %s after a step of %lld rows", what,
                         wf_shape_text(text, sizeof text, shape.rank, shape.dim), (long long)g->n);
}

static bool states_are_sound(const generating *g, working *x, const wf_dtype *dtype)
{
    char name[64];
    for (int k = 0; k < g->decoder->initial.n; k++) {
        wf_format(name, sizeof name, "state %d", k);
        x->state[k] = wf_enter(g->t, x->state[k], "%s: %s", g->name, name);
        if (!x->state[k] || !rows_fit(g, x->state[k], name)) return false;
        if (wf_dtype_of(x->state[k]) == dtype[k]) continue;
        return generate_fail(g, "%s is %s after a step; it was %s", name,
                             wf_dtype_name(wf_dtype_of(x->state[k])), wf_dtype_name(dtype[k]));
    }
    return true;
}

/* A matrix of floats with a row for each row of the step, and as many columns as in the steps
 * before. */
static wf_var *matrix_enter(const generating *g, wf_var *v, const char *what, int64_t *columns)
{
    char text[128];
    v = wf_enter(g->t, v, "%s: the var of %s", g->name, what);
    if (!v) return NULL;
    const wf_shape shape = wf_shape_of(v);
    wf_shape_text(text, sizeof text, shape.rank, shape.dim);
    if (!wf_dtype_is_float(wf_dtype_of(v))) {
        generate_fail(g, "the %s of a step are %s; they must be f32 or f64", what,
                      wf_dtype_name(wf_dtype_of(v)));
    } else if (shape.rank != 2 || shape.dim[0] != g->n) {
        generate_fail(g, "the %s of a step are %s; expected (%lld, ...)", what, text,
                      (long long)g->n);
    } else if (*columns >= 0 && shape.dim[1] != *columns) {
        generate_fail(g, "the %s of a step are %s; there were %lld columns before", what, text,
                      (long long)*columns);
    } else {
        *columns = shape.dim[1];
        return v;
    }
    return NULL;
}

/* Are all ids that were given classes? Once V is known. */
static bool ids_are_classes(const generating *g)
{
    const long long n = (long long)g->classes;
    if (n < 1 || n > INT32_MAX) return generate_fail(g, "there are %lld logits to choose from", n);
    if (g->o.end >= n)
        return generate_fail(g, ".end is %d; there are %lld logits, ids 0 to %lld", (int)g->o.end,
                             n, n - 1);
    for (int64_t i = 0; i < g->o.n_banned; i++)
        if (g->o.banned[i] < 0 || g->o.banned[i] >= n)
            return generate_fail(g, "banned id %lld is %d; there are %lld logits, ids 0 to %lld",
                                 (long long)i, (int)g->o.banned[i], n, n - 1);
    return true;
}

static wf_var *words_of(const generating *g)
{
    wf_tensor to;
    wf_var *word = wf_constant_fill(g->t, WF_I32, WF_SHAPE(g->n), &to);
    for (int64_t i = 0; word && i < g->n; i++) ((int32_t *)to.data)[i] = row_at(g, i)->word;
    return word;
}

/* The decoder alone knows which words it takes: what it refuses in the first step may be the begin
 * that it was given, so the message has that. */
static void step_by(const generating *g, wf_decoder_rows *rows)
{
    char scope[64];
    const bool first = g->step == 0;
    if (first && g->o.first)
        wf_format(scope, sizeof scope, "the first step, told .first");
    else if (first)
        wf_format(scope, sizeof scope, "the first step, told .begin %d", (int)g->o.begin);
    if (first) wf_scope_push(g->t, scope);
    g->decoder->step(g->t, g->decoder->self, rows);
    if (first) wf_scope_pop(g->t);
}

static bool run_step(generating *g, working *x)
{
    const wf_decoder *d = g->decoder;
    wf_dtype dtype[WF_DECODER_VARS];
    for (int k = 0; k < d->initial.n; k++) dtype[k] = wf_dtype_of(x->state[k]);
    wf_decoder_rows rows = {
        .word = words_of(g), .memory = x->memory, .state = x->state, .weigh = wants_weights(g)
    };
    if (!rows.word) return false;
    const uint64_t generation = wf_tape_generation(g->t);
    step_by(g, &rows);
    if (wf_tape_generation(g->t) != generation)
        return generate_fail(g, "the tape was reset by a step");
    if (!wf_tape_ok(g->t) || !states_are_sound(g, x, dtype)) return false;
    if (!rows.features) return generate_fail(g, "its step gave no features");
    wf_var *logits = rows.features;
    if (d->output) {
        logits = wf_enter(g->t, logits, "%s: the var of features", g->name);
        if (!logits || !rows_fit(g, logits, "the var of features")) return false;
        logits = d->output(g->t, d->self, logits);
        if (wf_tape_generation(g->t) != generation)
            return generate_fail(g, "the tape was reset by the output");
        if (!wf_tape_ok(g->t)) return false;
    }
    const bool first = g->classes < 0;
    x->logits = matrix_enter(g, logits, "logits", &g->classes);
    if (!x->logits || (first && !ids_are_classes(g))) return false;
    x->weights = NULL;
    if (!wants_weights(g)) return true;
    if (!rows.weights)
        return generate_fail(g, "a step left no attention weights, which %s takes",
                             g->o.weights ? ".weights" : ".coverage_beta");
    x->weights = matrix_enter(g, rows.weights, "attention weights", &g->source);
    if (x->weights) g->weight_dtype = wf_dtype_of(x->weights);
    return x->weights != NULL;
}

/* ---- from one step to the next ---- */

/* Rows of v by ids (m). */
static wf_var *rows_of(wf_tape *t, wf_var *v, wf_var *ids)
{
    wf_shape shape = wf_shape_of(v);
    const int64_t each = shape.dim[0] > 0 ? wf_count(v) / shape.dim[0] : 0, n = shape.dim[0];
    shape.dim[0] = wf_count(ids);
    if (each == 0) return wf_zeros(t, wf_dtype_of(v), shape);
    return wf_reshape(t, wf_gather_rows(t, wf_reshape(t, v, WF_SHAPE(n, each)), ids), shape);
}

/* The memories of the sequences whose rows there are. */
static bool memory_take(const generating *g, working *x)
{
    wf_tensor to;
    bool all = g->n == g->batch;
    wf_var *ids = wf_constant_fill(g->t, WF_I32, WF_SHAPE(g->n), &to);
    if (!ids) return false;
    for (int64_t i = 0; i < g->n; i++) {
        ((int32_t *)to.data)[i] = (int32_t)row_at(g, i)->sequence;
        all = all && row_at(g, i)->sequence == i;
    }
    for (int k = 0; k < g->decoder->memory.n; k++)
        x->memory[k] = all ? x->whole[k] : rows_of(g->t, x->whole[k], ids);
    return wf_tape_ok(g->t);
}

/* The states of the rows that go on, by their parents in a step of `before` rows. */
static bool states_take(const generating *g, working *x, int64_t before)
{
    wf_tensor to;
    bool all = g->n == before;
    for (int64_t i = 0; i < g->n && all; i++) all = row_at(g, i)->parent == i;
    if (all) return true;
    wf_var *ids = wf_constant_fill(g->t, WF_I32, WF_SHAPE(g->n), &to);
    if (!ids) return false;
    for (int64_t i = 0; i < g->n; i++) ((int32_t *)to.data)[i] = (int32_t)row_at(g, i)->parent;
    for (int k = 0; k < g->decoder->initial.n; k++) x->state[k] = rows_of(g->t, x->state[k], ids);
    return wf_tape_ok(g->t);
}

/* The rows that go on, n of them, become those of the step to come. Of what the tape holds, only
 * states stay, and memories as long as they are of the same sequences. */
static bool advance(generating *g, working *x, int64_t n)
{
    const int64_t before = g->n;
    bool moved = n != before;
    const row *next = g->w->next.at;
    for (int64_t i = 0; i < n && !moved; i++) moved = next[i].sequence != row_at(g, i)->sequence;
    const grown rows = g->w->rows;
    g->w->rows = g->w->next;
    g->w->next = rows;
    g->n = n;
    g->step++;
    if (!wf_tape_rewind(g->t, moved ? x->outer : x->inner, n > 0 ? g->decoder->initial.n : 0,
                        x->state))
        return false;
    if (n == 0) return true;
    if (moved && !memory_take(g, x)) return false;
    if (moved) x->inner = wf_tape_mark(g->t);
    return states_take(g, x, before);
}

/* A row for each sequence that there is room for a token in. */
static bool rows_begin(generating *g)
{
    if (!generate_grow(g, &g->w->rows, g->batch, sizeof(row))) return false;
    for (int64_t b = 0; b < g->batch; b++) {
        const row r = { .sequence = b, .parent = b, .last = -1, .word = lane_at(g, b)->begin };
        if (lane_at(g, b)->limit > 0) {
            *row_at(g, g->n++) = r;
            continue;
        }
        for (int64_t k = 0; k < (g->o.temperature > 0 ? g->o.best : 1); k++) {
            row none = r;
            none.draw = k;
            finish(g, &none, -1, 0, 0, false);
        }
    }
    return true;
}

static bool run(generating *g, working *x)
{
    if (!vars_enter(g, g->decoder->initial, "initial", x->state) ||
        !vars_enter(g, g->decoder->memory, "memory", x->whole) || !lanes_begin(g) || !rows_begin(g))
        return false;
    if (g->o.temperature > 0) g->key = g->o.seed ? g->o.seed : wf_tape_key(g->t);
    x->outer = wf_tape_mark(g->t);
    if (!wf_tape_ok(g->t) || !memory_take(g, x) || !states_take(g, x, g->batch)) return false;
    x->inner = wf_tape_mark(g->t);
    while (g->n > 0) {
        int64_t next = 0;
        g->to->steps++;
        g->to->rows += g->n;
        if (!run_step(g, x)) return false;
        const wf_tensor *weights = x->weights ? wf_value(x->weights) : NULL;
        const wf_tensor *logits = wf_value(x->logits);
        if (!logits || !search_step(g, logits, weights, &next) || !advance(g, x, next))
            return false;
    }
    return true;
}

/* ---- the call ---- */

static bool call_is_sound(const generating *g)
{
    if (!g->to) return generate_fail(g, "there is nothing to fill (NULL)");
    if (!g->decoder->step) return generate_fail(g, ".step was never made (NULL)");
    return numbers_are_sound(g);
}

/* The memory goes back to where it came from, by whatever way the call is left. An inner call of
 * .told or the decoder may have put some there. */
static void give_back(const generating *g)
{
    if (!g->w) return;
    wf_generation *const inner = g->to->work;
    g->to->work = g->w;
    generation_free(inner);
}

bool wf_generate(wf_tape *t, const wf_decoder *decoder, const wf_generate_options *options,
                 wf_generated *to)
{
    static const wf_generate_options none;
    if (to) *to = (wf_generated){ .work = to->work };
    if (!wf_tape_ok(t)) return false;
    if (!decoder) {
        wf_fail(t, "generate: the decoder was never made (NULL)");
        return false;
    }
    __attribute__((cleanup(give_back)))
    generating g = { .t = t,
                     .decoder = decoder,
                     .o = options ? *options : none,
                     .name = decoder->name ? decoder->name : "decoder",
                     .batch = -1,
                     .classes = -1,
                     .source = -1,
                     .to = to };
    if (!call_is_sound(&g)) return false;
    if (g.o.beams == 0) g.o.beams = 1;
    if (g.o.best == 0) g.o.best = 1;
    if (!options_agree(&g)) return false;
    g.w = to->work ? to->work : wf_alloc_zero(sizeof *g.w);
    if (!g.w) return generate_fail(&g, "not enough memory");
    to->work = NULL;
    g.w->n_said = 0;
    working x = { .logits = NULL };
    return run(&g, &x) && hand_out(&g);
}

void wf_generated_free(wf_generated *g)
{
    if (!g) return;
    generation_free(g->work);
    *g = (wf_generated){ .work = NULL };
}
