/* Attention of a recurrent decoder: a memory prepared once, scores of every kind, and the mean that
 * their softmax takes. */
#include "layers/attention.h"

#include "autograd/scan.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/text.h"

#include <math.h>

enum { VALUES, KEYS, MASK }; /* of a memory that was read */

static const char kind_name[] = "attention";

/* ---- making one ---- */

static bool tells_by_tanh(wf_attention_kind kind)
{
    return kind == WF_ATTENTION_ADDITIVE || kind == WF_ATTENTION_CONCAT ||
           kind == WF_ATTENTION_LOCATION;
}

static bool is_dot(wf_attention_kind kind)
{
    return kind == WF_ATTENTION_DOT || kind == WF_ATTENTION_SCALED_DOT;
}

static bool options_are_sound(wf_module *parent, const char *name, wf_attention_options *o)
{
    const char *title = name ? name : "";
    const bool local = o->kind == WF_ATTENTION_LOCATION;
    if (!layer_size(parent, kind_name, name, "query", o->query) ||
        !layer_size(parent, kind_name, name, "memory", o->memory) ||
        !layer_chance(parent, kind_name, name, "dropout", o->dropout))
        return false;
    if ((int)o->kind < 0 || o->kind > WF_ATTENTION_LOCATION)
        return wf_module_fail(parent, "attention '%s': .kind is %d; there are 0 to %d", title,
                              (int)o->kind, WF_ATTENTION_LOCATION);
    if (is_dot(o->kind) && o->query != o->memory)
        return wf_module_fail(parent,
                              "attention '%s': .query is %lld and .memory %lld; a dot product "
                              "takes equal ones",
                              title, (long long)o->query, (long long)o->memory);
    if (o->units == 0) o->units = o->query;
    if (local && o->filters == 0) o->filters = 10;
    if (local && o->reach == 0) o->reach = 31;
    if (!layer_size(parent, kind_name, name, "units", o->units)) return false;
    if (!local) return true;
    if (!layer_size(parent, kind_name, name, "filters", o->filters) ||
        !layer_size(parent, kind_name, name, "reach", o->reach))
        return false;
    return o->reach % 2 == 1 ||
           wf_module_fail(parent, "attention '%s': .reach is %lld; it must be odd", title,
                          (long long)o->reach);
}

/* A weight as PyTorch's linear layer begins it; *ok becomes false where there is none. */
static wf_var *weight(wf_attention *a, const char *name, wf_shape shape, int64_t fan_in, bool *ok)
{
    const double bound = 1 / __builtin_sqrt((double)fan_in);
    wf_var *made = *ok ? wf_param_new(a->module, name, shape,
                                      (wf_init){ WF_INIT_UNIFORM, -bound, bound, 0 })
                       : NULL;
    *ok = made != NULL;
    return made;
}

static bool make_weights(wf_attention *a)
{
    const wf_attention_options *o = &a->options;
    const int64_t Q = o->query, M = o->memory, U = o->units;
    bool ok = true;
    switch (o->kind) {
    case WF_ATTENTION_DOT:
    case WF_ATTENTION_SCALED_DOT: return true;
    case WF_ATTENTION_GENERAL:
        a->key_weight = weight(a, "key_weight", WF_SHAPE(Q, M), M, &ok);
        break;
    case WF_ATTENTION_CONCAT:
        a->weight = weight(a, "weight", WF_SHAPE(U, Q + M), Q + M, &ok);
        break;
    case WF_ATTENTION_LOCATION:
        a->location_filter = weight(a, "location_filter", WF_SHAPE(o->filters, o->reach), o->reach,
                                    &ok);
        a->location_weight = weight(a, "location_weight", WF_SHAPE(U, o->filters), o->filters, &ok);
        /* fall through */
    case WF_ATTENTION_ADDITIVE:
        a->query_weight = weight(a, "query_weight", WF_SHAPE(U, Q), Q, &ok);
        if (!o->no_bias) a->query_bias = weight(a, "query_bias", WF_SHAPE(U), Q, &ok);
        a->key_weight = weight(a, "key_weight", WF_SHAPE(U, M), M, &ok);
    }
    if (tells_by_tanh(o->kind)) a->score = weight(a, "score", WF_SHAPE(U), U, &ok);
    return ok;
}

wf_attention *wf_attention_new(wf_module *parent, const char *name,
                               const wf_attention_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_attention_options o = options ? *options : (wf_attention_options){ 0 };
    if (!options_are_sound(parent, name, &o)) return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_attention *a = wf_module_memory(module, sizeof *a);
    if (!a) return NULL;
    a->module = module;
    a->options = o;
    return make_weights(a) ? a : NULL;
}

/* ---- the memory ---- */

/* x, if it has these sizes (-1: any); fails the tape otherwise. */
static bool has_form(wf_tape *t, const wf_attention *a, const wf_var *x, const char *what,
                     wf_shape form, const char *expected)
{
    bool fits = wf_rank(x) == form.rank;
    for (int k = 0; fits && k < form.rank; k++)
        fits = form.dim[k] < 0 || form.dim[k] == wf_dim(x, k);
    if (fits) return true;
    char text[160];
    const wf_shape shape = wf_shape_of(x);
    wf_fail(t, "attention '%s': %s is %s; expected %s", wf_module_path(a->module), what,
            wf_shape_text(text, sizeof text, shape.rank, shape.dim), expected);
    return false;
}

/* Which places are there, I32 (B, S); NULL after failing the tape. */
static wf_var *places(wf_tape *t, const wf_attention *a, wf_var *lengths, wf_var *mask, int64_t S,
                      int64_t B)
{
    const layer_caller c = { kind_name, a->module, NULL };
    if (lengths) {
        lengths = wf_enter_lengths(t, lengths, S, B, "attention '%s'", wf_module_path(a->module));
        if (!lengths) return NULL;
        lengths = wf_length_mask(t, lengths, S);
    }
    if (mask && !(mask = mask_enter(t, &c, mask, "the mask", WF_SHAPE(S, B)))) return NULL;
    if (mask) mask = wf_expand(t, mask, WF_SHAPE(S, B));
    mask = mask_both(t, lengths, mask);
    if (!mask) return wf_full(t, WF_I32, WF_SHAPE(B, S), 1);
    return wf_copy(t, wf_transpose(t, mask, 0, 1));
}

static wf_var *keys_of(wf_tape *t, const wf_attention *a, wf_var *values)
{
    const wf_attention_options *o = &a->options;
    if (is_dot(o->kind)) return values;
    if (o->kind != WF_ATTENTION_CONCAT) return wf_affine(t, values, a->key_weight, NULL);
    return wf_affine(t, values, wf_slice(t, a->weight, 1, o->query, WF_LAST, 1), NULL);
}

bool wf_attention_read(wf_tape *t, const wf_attention *a, wf_var *memory, wf_var *lengths,
                       wf_var *mask, wf_var *out[WF_ATTENTION_MEMORY])
{
    for (int i = 0; out && i < WF_ATTENTION_MEMORY; i++) out[i] = NULL;
    memory = layer_enter(t, kind_name, a ? a->module : NULL, memory, "the memory");
    if (!memory) return false;
    const char *path = wf_module_path(a->module);
    if (!out) return wf_fail(t, "attention '%s': there is no place for what is read (NULL)", path);
    char expected[64];
    wf_format(expected, sizeof expected, "(time, batch, %lld)", (long long)a->options.memory);
    if (!has_form(t, a, memory, "the memory", WF_SHAPE(-1, -1, a->options.memory), expected))
        return false;
    const int64_t S = wf_dim(memory, 0), B = wf_dim(memory, 1);
    const bool hides = lengths || mask;
    wf_var *there = places(t, a, lengths, mask, S, B);
    if (!there) return false;
    wf_scope_push(t, wf_module_name(a->module));
    wf_var *values = wf_transpose(t, memory, 0, 1); /* row-major by what is next: one pass */
    values = hides ? mask_clear(t, values, there) : wf_copy(t, values);
    out[KEYS] = keys_of(t, a, values);
    out[MASK] = there;
    out[VALUES] = values;
    wf_scope_pop(t);
    if (out[KEYS]) return true;
    for (int i = 0; i < WF_ATTENTION_MEMORY; i++) out[i] = NULL;
    return false;
}

/* ---- a look ---- */

/* What a call works with: the query and the memory's parts on this tape. */
typedef struct look {
    const wf_attention *a;
    wf_var *query, *of[WF_ATTENTION_MEMORY];
    bool several; /* (B, T, Q) */
} look;

static bool look_enter(wf_tape *t, look *l, const wf_attention *a, wf_var *query,
                       wf_var *const memory[])
{
    static const char *const names[] = { "the values", "the keys", "the mask" };
    l->a = a;
    l->query = layer_enter(t, kind_name, a ? a->module : NULL, query, "the query");
    if (!l->query) return false;
    const char *path = wf_module_path(a->module);
    const wf_attention_options *o = &a->options;
    l->several = wf_rank(l->query) == 3;
    char expected[64];
    wf_format(expected, sizeof expected, "(rows, %lld) or (rows, time, %lld)", (long long)o->query,
              (long long)o->query);
    if (!has_form(t, a, l->query, "the query",
                  l->several ? WF_SHAPE(-1, -1, o->query) : WF_SHAPE(-1, o->query), expected))
        return false;
    for (int i = 0; i < WF_ATTENTION_MEMORY; i++) {
        l->of[i] = memory ? memory[i] : NULL;
        if (!l->of[i]) return wf_fail(t, "attention '%s': %s are missing", path, names[i]) != NULL;
        if (!(l->of[i] = wf_enter(t, l->of[i], "attention '%s': %s", path, names[i]))) return false;
    }
    const int64_t n = wf_dim(l->query, 0), S = wf_dim(l->of[VALUES], 1);
    const int64_t width = is_dot(o->kind)                   ? o->memory
                          : o->kind == WF_ATTENTION_GENERAL ? o->query
                                                            : o->units;
    const wf_shape form[] = { WF_SHAPE(n, S, o->memory), WF_SHAPE(n, S, width), WF_SHAPE(n, S) };
    for (int i = 0; i < WF_ATTENTION_MEMORY; i++) {
        char sizes[128];
        wf_shape_text(sizes, sizeof sizes, form[i].rank, form[i].dim);
        if (!has_form(t, a, l->of[i], names[i], form[i], sizes)) return false;
    }
    return true;
}

/* q k of every place, (n, S) or (B, T, S). */
static wf_var *products(wf_tape *t, const look *l, wf_var *query)
{
    if (l->several) return wf_matmul(t, query, wf_transpose(t, l->of[KEYS], 1, 2));
    return wf_squeeze(t, wf_matmul(t, l->of[KEYS], wf_unsqueeze(t, query, -1)), -1);
}

static wf_var *by_tanh(wf_tape *t, const look *l, wf_var *query, wf_var *keys)
{
    if (!l->several) return wf_additive_score(t, keys, query, l->a->score, l->of[MASK]);
    return wf_additive_score(t, wf_unsqueeze(t, keys, 1), query, l->a->score,
                             wf_unsqueeze(t, l->of[MASK], 1));
}

/* Scores, whatever is hidden. */
static wf_var *scores(wf_tape *t, const look *l)
{
    const wf_attention *a = l->a;
    const wf_attention_options *o = &a->options;
    switch (o->kind) {
    case WF_ATTENTION_DOT:
    case WF_ATTENTION_GENERAL: return products(t, l, l->query);
    case WF_ATTENTION_SCALED_DOT:
        return products(t, l, wf_mul_scalar(t, l->query, 1 / __builtin_sqrt((double)o->memory)));
    case WF_ATTENTION_CONCAT:
        return by_tanh(t, l,
                       wf_affine(t, l->query, wf_slice(t, a->weight, 1, 0, o->query, 1), NULL),
                       l->of[KEYS]);
    default:
        return by_tanh(t, l, wf_affine(t, l->query, a->query_weight, a->query_bias), l->of[KEYS]);
    }
}

/* The mask as the scores need it. */
static wf_var *mask_of(wf_tape *t, const look *l)
{
    return l->several ? wf_unsqueeze(t, l->of[MASK], 1) : l->of[MASK];
}

static bool not_location(wf_tape *t, const look *l, const char *what)
{
    if (l->a->options.kind != WF_ATTENTION_LOCATION) return true;
    wf_fail(t, "attention '%s': %s, which a location-aware one cannot have",
            wf_module_path(l->a->module), what);
    return false;
}

/* Additive, with what filters see of the weights before: `before` (n, S). */
static wf_var *location_scores(wf_tape *t, const look *l, wf_var *before)
{
    const wf_attention *a = l->a;
    const int64_t side = a->options.reach / 2;
    wf_var *query = wf_affine(t, l->query, a->query_weight, a->query_bias);
    if (!before) return by_tanh(t, l, query, l->of[KEYS]);
    before = wf_constant_pad(t, before, -1, side, side, 0); /* nothing lies beyond the ends */
    wf_var *seen = wf_affine(t, wf_window(t, before, -1, a->options.reach, 1), a->location_filter,
                             NULL); /* (n, S, filters) */
    wf_var *keys = wf_add(t, l->of[KEYS], wf_affine(t, seen, a->location_weight, NULL));
    return by_tanh(t, l, query, keys);
}

wf_var *wf_attention_forward(wf_tape *t, const wf_attention *a, wf_var *query,
                             wf_var *const memory[WF_ATTENTION_MEMORY], wf_var **weights)
{
    wf_var *before = weights ? *weights : NULL, *score;
    look l;
    if (weights) *weights = NULL;
    if (!look_enter(t, &l, a, query, memory)) return NULL;
    const char *path = wf_module_path(a->module);
    const bool local = a->options.kind == WF_ATTENTION_LOCATION;
    if (local) {
        if (!weights)
            return wf_fail(t,
                           "attention '%s': weights has no place (NULL); a location-aware one "
                           "keeps there where it was",
                           path);
        if (l.several && !not_location(t, &l, "the query has several steps at once")) return NULL;
        if (before && !(before = wf_enter(t, before, "attention '%s': the weights", path)))
            return NULL;
        const wf_shape form = wf_shape_of(l.of[MASK]);
        char sizes[64];
        wf_shape_text(sizes, sizeof sizes, form.rank, form.dim);
        if (before && !has_form(t, a, before, "the weights", form, sizes)) return NULL;
    }
    wf_scope_push(t, wf_module_name(a->module));
    score = local ? location_scores(t, &l, before) : scores(t, &l);
    wf_var *weight = wf_masked_softmax(t, score, mask_of(t, &l), -1), *mean;
    wf_var *kept = a->options.dropout > 0 ? wf_dropout(t, weight, a->options.dropout) : weight;
    if (l.several)
        mean = wf_matmul(t, kept, l.of[VALUES]);
    else
        mean = wf_squeeze(t, wf_matmul(t, wf_unsqueeze(t, kept, 1), l.of[VALUES]), 1);
    if (local && a->options.cumulative && before) weight = wf_add(t, before, weight);
    wf_scope_pop(t);
    if (weights) *weights = mean ? weight : NULL;
    return mean;
}

wf_var *wf_attention_scores(wf_tape *t, const wf_attention *a, wf_var *query,
                            wf_var *const memory[WF_ATTENTION_MEMORY])
{
    look l;
    if (!look_enter(t, &l, a, query, memory) || !not_location(t, &l, "scores alone are asked for"))
        return NULL;
    wf_scope_push(t, wf_module_name(a->module));
    wf_var *hidden = wf_full(t, wf_dtype_of(l.query), WF_SCALAR, -(double)INFINITY);
    wf_var *score = wf_where(t, mask_of(t, &l), scores(t, &l), hidden);
    wf_scope_pop(t);
    return score;
}

/* ---- words that are copied ---- */

wf_var *wf_copy_mixture(wf_tape *t, wf_var *logits, wf_var *weights, wf_var *ids, wf_var *gate,
                        int64_t words)
{
    static const double least = 1e-30;
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!(logits = wf_enter(t, logits, "copy_mixture: logits")) ||
        !(weights = wf_enter(t, weights, "copy_mixture: weights")) ||
        !(ids = wf_enter(t, ids, "copy_mixture: ids")) ||
        !(gate = wf_enter(t, gate, "copy_mixture: gate")))
        return NULL;
    const int64_t own = wf_dim(logits, -1);
    if (words < own)
        return wf_fail(t, "copy_mixture: %lld words in all; the vocabulary alone has %lld",
                       (long long)words, (long long)own);
    wf_scope_push(t, "copy_mixture");
    wf_var *written = wf_constant_pad(t, wf_softmax(t, logits, -1), -1, 0, words - own, 0);
    ids = wf_expand(t, ids, wf_shape_of(weights));
    wf_var *copied = wf_scatter_add(t, weights, -1, ids, words);
    wf_var *mixed = wf_lerp(t, copied, written, wf_sigmoid(t, gate));
    wf_var *y = wf_log(t, wf_maximum_scalar(t, mixed, least));
    wf_scope_pop(t);
    return y;
}
