/* Training of a decoder: its step as a loop, told the true words or its own. */
#include "layers/decoder.h"

#include "autograd/scan.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/text.h"

#include <math.h>

/* What the steps of one call share, on the tape. */
typedef struct decoding {
    const wf_decoder *of;
    wf_var *memory[WF_DECODER_VARS];
    int states; /* the decoder's own; its last choice follows them */
    bool samples, draws, weighs;
} decoding;

static const char *name_of(const wf_decoder *d)
{
    return d && d->name ? d->name : "decoder";
}

/* ---- a step ---- */

static wf_var *choice(wf_tape *t, const decoding *d, wf_var *features)
{
    wf_var *logits = wf_detach(t, features);
    if (d->of->output) logits = d->of->output(t, d->of->self, logits);
    return d->draws ? wf_categorical(t, logits) : wf_argmax(t, logits, -1);
}

/* x: the true word (n), and a coin (n); state: the decoder's, and the last choice (n); y: features
 * (n, F), and weights (n, S). */
static void step(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    const decoding *d = context;
    wf_decoder_rows rows = {
        .word = x[0], .memory = d->memory, .state = state, .weigh = d->weighs
    };
    if (d->samples) rows.word = wf_where(t, x[1], state[d->states], x[0]);
    d->of->step(t, d->of->self, &rows);
    if (!wf_tape_ok(t)) return;
    if (!rows.features) {
        wf_fail(t, "%s: its step gave no features", name_of(d->of));
        return;
    }
    if (d->weighs && !rows.weights) {
        wf_fail(t, "%s: weights are asked for, and its step gave none", name_of(d->of));
        return;
    }
    if (d->samples) state[d->states] = choice(t, d, rows.features);
    y[0] = rows.features;
    if (d->weighs) y[1] = rows.weights;
}

/* ---- what is given ---- */

/* vars of B rows each into `to`; fails the tape otherwise. */
static bool rows_enter(wf_tape *t, const wf_decoder *d, const char *what, wf_vars vars, int most,
                       int64_t B, wf_var *to[])
{
    const char *name = name_of(d);
    if (vars.n < 0 || vars.n > most || (vars.n > 0 && !vars.at)) {
        wf_fail(t, "%s: %s has %d vars; expected 0 to %d", name, what, vars.n, most);
        return false;
    }
    for (int i = 0; i < vars.n; i++) {
        to[i] = vars.at[i];
        if (!to[i]) return wf_fail(t, "%s: %s %d was never made", name, what, i) != NULL;
        if (!(to[i] = wf_enter(t, to[i], "%s: %s %d", name, what, i))) return false;
        if (wf_rank(to[i]) >= 1 && wf_dim(to[i], 0) == B) continue;
        char text[160];
        const wf_shape shape = wf_shape_of(to[i]);
        wf_fail(t, "%s: %s %d is %s; expected a row for each of %lld sequences", name, what, i,
                wf_shape_text(text, sizeof text, shape.rank, shape.dim), (long long)B);
        return false;
    }
    return true;
}

static wf_var *words_enter(wf_tape *t, const wf_decoder *d, wf_var *words)
{
    const char *name = name_of(d);
    if (!words) return wf_fail(t, "%s: words were never made", name);
    if (!(words = wf_enter(t, words, "%s: words", name))) return NULL;
    if (wf_dtype_of(words) == WF_I32 && wf_rank(words) == 2) return words;
    char text[160];
    const wf_shape shape = wf_shape_of(words);
    return wf_fail(t, "%s: words are %s %s; expected i32 (time, batch)", name,
                   wf_dtype_name(wf_dtype_of(words)),
                   wf_shape_text(text, sizeof text, shape.rank, shape.dim));
}

static bool call_is_sound(wf_tape *t, const wf_decoder *d, const wf_decode_call *c)
{
    if (!wf_tape_ok(t)) return false;
    if (!d || !d->step) return wf_fail(t, "%s: it has no step (NULL)", name_of(d)) != NULL;
    if (!c) return wf_fail(t, "%s: it is given nothing to decode (NULL)", name_of(d)) != NULL;
    if (!(c->sampling >= 0 && c->sampling <= 1))
        return wf_fail(t, "%s: .sampling is %g; it must be 0 to 1", name_of(d), c->sampling) !=
               NULL;
    if ((int)c->coin < 0 || c->coin > WF_COIN_STEP)
        return wf_fail(t, "%s: .coin is %d; there are 0 to %d", name_of(d), (int)c->coin,
                       WF_COIN_STEP) != NULL;
    return true;
}

/* I32 (T, B): 1 where a step is told the decoder's own word. */
static wf_var *coins(wf_tape *t, const wf_decode_call *c, int64_t T, int64_t B)
{
    const wf_shape all = WF_SHAPE(T, B);
    const wf_shape thrown = c->coin == WF_COIN_SEQUENCE ? WF_SHAPE(1, B)
                            : c->coin == WF_COIN_STEP   ? WF_SHAPE(T, 1)
                                                        : all;
    return wf_expand(t, wf_bernoulli(t, wf_full(t, WF_F64, thrown, c->sampling)), all);
}

/* ---- the loop ---- */

/* All that wf_scan is told; the arrays are those of the call. */
typedef struct loop {
    wf_scan_call scan;
    wf_var *sequence[2], *state[WF_DECODER_VARS + 1];
} loop;

static bool loop_make(wf_tape *t, loop *l, const wf_decoder *d, const wf_decode_call *c)
{
    wf_var *words;
    if (!call_is_sound(t, d, c) || !(words = words_enter(t, d, c->words))) return false;
    const int64_t T = wf_dim(words, 0), B = wf_dim(words, 1);
    decoding *shared = wf_tape_memory(t, sizeof *shared);
    wf_decoder *copy = wf_tape_memory(t, sizeof *copy); /* the steps run again in the sweep */
    if (!shared || !copy) return false;
    *copy = *d;
    shared->of = copy;
    shared->states = d->initial.n;
    shared->samples = c->sampling > 0;
    shared->draws = c->draw;
    shared->weighs = c->weights != NULL;
    if (!rows_enter(t, d, "memory", d->memory, WF_DECODER_VARS, B, shared->memory) ||
        !rows_enter(t, d, "state", d->initial, WF_DECODER_VARS - 1, B, l->state))
        return false;
    l->sequence[0] = words;
    int states = d->initial.n;
    if (shared->samples) {
        l->sequence[1] = coins(t, c, T, B);
        /* Before the first step nothing was chosen: it is told the truth either way. */
        l->state[states++] = T > 0 ? wf_select(t, words, 0, 0)
                                   : wf_constant(t, WF_I32, WF_SHAPE(B), NULL);
    }
    l->scan = (wf_scan_call){ .step = step,
                              .context = shared,
                              .sequences = { 1 + shared->samples, l->sequence },
                              .initial = { states, l->state },
                              .outputs = 1 + shared->weighs,
                              .name = name_of(copy) };
    return wf_tape_ok(t);
}

wf_var *wf_decode(wf_tape *t, const wf_decoder *d, const wf_decode_call *c)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_var *output[2] = { NULL, NULL };
    loop l;
    const bool ok = loop_make(t, &l, d, c) && wf_scan(t, &l.scan, output, l.state);
    if (c && c->weights) *c->weights = ok ? output[1] : NULL;
    for (int i = 0; c && c->final && d && i < d->initial.n; i++)
        c->final[i] = ok ? l.state[i] : NULL;
    return ok ? output[0] : NULL;
}

const char *wf_decode_explain(wf_tape *t, const wf_decoder *d, const wf_decode_call *c)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    loop l;
    if (!wf_tape_ok(t) || !wf_explain_begin(t)) return NULL;
    wf_var *output[2];
    if (loop_make(t, &l, d, c)) wf_scan(t, &l.scan, output, l.state);
    return wf_explain_forget(t);
}

/* ---- schedules ---- */

double wf_sampling_linear(int64_t i, int64_t steps, double least)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (i < 0 || steps < 1 || !(least >= 0 && least <= 1)) return 0;
    return 1 - fmax(least, 1 - (double)i / (double)steps);
}

double wf_sampling_exponential(int64_t i, double k)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    return i < 0 || !(k >= 0 && k < 1) ? 0 : 1 - pow(k, (double)i);
}

double wf_sampling_inverse_sigmoid(int64_t i, double k)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (i < 0 || !(k >= 1 && k < (double)INFINITY)) return 0;
    return 1 - k / (k + exp((double)i / k)); /* exp may be inf: then it is 1 */
}
