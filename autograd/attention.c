/* Scaled dot-product attention (Vaswani et al. 2017) as one op, and its spelling in others. The
 * work is done in attention_tiles.c. */
#include "autograd/attention_private.h"
#include "autograd/ops_private.h"
#include "autograd/private.h"
#include "autograd/views.h"

#include <math.h>
#include <string.h>

static bool sound(const wf_shaping *s, const attention *a)
{
    if (!isfinite(a->scale))
        return wf_refuse(s->error, "scale is %g; it must be finite, or 0 for 1 / sqrt(D)",
                         a->scale);
    if (!isgreaterequal(a->dropout, 0) || !isless(a->dropout, 1))
        return wf_refuse(s->error, "dropout is %g; expected 0 <= dropout < 1", a->dropout);
    return true;
}

static bool mask_fits(const wf_shaping *s)
{
    const wf_tensor *m = s->in[SHOWN], *q = s->in[QUERY], *k = s->in[KEY];
    if (!m) return true;
    wf_shape own = wf_tensor_shape(m), all = wf_tensor_shape(q), both;
    all.dim[all.rank - 1] = k->dim[k->rank - 2];
    if (m->dtype == WF_I32 && wf_shape_broadcast(&own, &all, &both) && wf_shape_equal(&both, &all))
        return true;
    return wf_refuse(s->error, "the mask is %s %s; expected i32 that broadcasts to %s",
                     wf_dtype_name(m->dtype), SHAPE_TEXT(m), SHAPE_TEXT(&all));
}

static bool shape(wf_shaping *s)
{
    static const char *const names[] = { "q", "k", "v" };
    const wf_tensor *q = s->in[QUERY], *k = s->in[KEY], *v = s->in[VALUE];
    if (!sound(s, s->attr) || !takes_floats(s, QUERY) || !same_dtype(s, KEY, QUERY, names) ||
        !same_dtype(s, VALUE, QUERY, names))
        return false;
    const int lead = q->rank - 2;
    bool keys = lead >= 0 && k->rank == q->rank && k->dim[lead + 1] == q->dim[lead + 1];
    for (int i = 0; keys && i < lead; i++) keys = k->dim[i] == q->dim[i];
    if (!keys)
        return wf_refuse(s->error, "q is %s, k is %s; expected (..., T, D) and (..., S, D)",
                         SHAPE_TEXT(q), SHAPE_TEXT(k));
    bool values = v->rank == k->rank;
    for (int i = 0; values && i <= lead; i++) values = v->dim[i] == k->dim[i];
    if (!values)
        return wf_refuse(s->error, "k is %s, v is %s; expected (..., S, D) and (..., S, V)",
                         SHAPE_TEXT(k), SHAPE_TEXT(v));
    if (!mask_fits(s)) return false;
    wf_shape made = wf_tensor_shape(q);
    made.dim[lead + 1] = v->dim[lead + 1];
    form_out(&s->out[ATTENDED], q->dtype, made);
    made.dim[lead + 1] = 2;
    form_out(&s->out[STATE], WF_F64, made);
    return takes_scratch(s, &s->scratch_forward, attention_scratch(s, false), 1) &&
           takes_scratch(s, &s->scratch_backward, attention_scratch(s, true), 1);
}

/* Matrices of axis 0; of a single matrix the queries, each of which a causal mask sees differently.
 */
static uint32_t varying(const wf_call *c)
{
    const attention *a = c->attr;
    const uint32_t mask = (uint32_t)varies(c, SHOWN) << SHOWN;
    if (c->out[ATTENDED]->rank > 2) return 1 << QUERY | 1 << KEY | 1 << VALUE | mask;
    return a->causal ? 0 : 1 << QUERY | mask;
}

/* ---- in other ops ---- */

/* What of (T, S) is seen, I32: the mask, and the keys that a causal query sees; NULL: all. */
static wf_var *seen_of(wf_tape *t, wf_var *mask, bool causal, int64_t queries, int64_t keys)
{
    if (!causal) return mask;
    wf_var *i = wf_arange(t, WF_I32, (double)(keys - queries), (double)keys, 1);
    wf_var *j = wf_arange(t, WF_I32, 0, (double)keys, 1);
    wf_var *seen = wf_greater_equal(t, wf_unsqueeze(t, i, -1), j);
    if (!mask) return seen;
    return wf_greater(t, seen, wf_equal(t, mask, wf_zeros(t, WF_I32, WF_SCALAR)));
}

/* x where it is seen, else 0: what is hidden may be anything. */
static wf_var *shown(wf_tape *t, wf_var *seen, wf_var *x)
{
    return seen ? wf_where(t, seen, x, wf_zeros(t, wf_dtype_of(x), WF_SCALAR)) : x;
}

/* Weights of scores; a row that sees nothing is zeros. */
static wf_var *weights_of(wf_tape *t, wf_var *scores, wf_var *seen, double scale)
{
    scores = wf_mul_scalar(t, scores, scale);
    if (seen)
        scores = wf_where(t, seen, scores,
                          wf_full(t, wf_dtype_of(scores), WF_SCALAR, -(double)INFINITY));
    return shown(t, seen, wf_softmax(t, scores, -1));
}

static wf_var *dropped(wf_tape *t, wf_var *weights, double p)
{
    return p > 0 ? wf_apply_one(t, &op_dropout, 1, &weights, &p) : weights;
}

/* Nothing is hidden, or the same keys from all queries, (..., 1, S): two products. */
static wf_var *by_products(wf_tape *t, wf_var *const in[], wf_var *seen, const attention *a)
{
    wf_var *of_keys = seen;
    if (seen && wf_rank(seen) > 1) of_keys = wf_squeeze(t, seen, -2);
    if (seen && wf_rank(seen) > 0) of_keys = wf_unsqueeze(t, of_keys, -1);
    wf_var *k = shown(t, of_keys, in[KEY]), *v = shown(t, of_keys, in[VALUE]);
    const double scale = attention_scale(a, wf_dim(in[QUERY], -1));
    wf_var *scores = wf_matmul(t, in[QUERY], wf_transpose(t, k, -1, -2));
    wf_var *w = dropped(t, weights_of(t, scores, seen, scale), a->dropout);
    return wf_matmul(t, shown(t, seen, w), v);
}

/* Each product of a query and a key, a weight and a value, is made only where it is seen: (..., T,
 * S, D) and (..., T, S, V). */
static wf_var *by_pairs(wf_tape *t, wf_var *const in[], wf_var *seen, const attention *a)
{
    wf_var *pair = wf_unsqueeze(t, seen, -1);
    wf_var *q = shown(t, pair, wf_unsqueeze(t, in[QUERY], -2));
    wf_var *k = shown(t, pair, wf_unsqueeze(t, in[KEY], -3));
    wf_var *v = shown(t, pair, wf_unsqueeze(t, in[VALUE], -3));
    const double scale = attention_scale(a, wf_dim(in[QUERY], -1));
    wf_var *scores = wf_sum(t, wf_mul(t, q, k), WF_AXES(-1));
    wf_var *w = dropped(t, weights_of(t, scores, seen, scale), a->dropout);
    w = wf_unsqueeze(t, shown(t, seen, w), -1);
    return wf_sum(t, wf_mul(t, w, v), WF_AXES(-2));
}

static bool reference(wf_tape *t, const wf_reference *r)
{
    const attention *a = r->attr;
    wf_var *mask = r->in[SHOWN], *q = r->in[QUERY], *k = r->in[KEY];
    wf_var *seen = seen_of(t, mask, a->causal, wf_dim(q, -2), wf_dim(k, -2));
    const bool alike = !a->causal && (!mask || wf_rank(mask) < 2 || wf_dim(mask, -2) == 1);
    r->out[ATTENDED] = alike ? by_products(t, r->in, seen, a) : by_pairs(t, r->in, seen, a);
    return r->out[ATTENDED] != NULL;
}

/* ---- samples and rows ---- */

typedef struct attention_sample {
    const char *label;
    wf_shape q, k, v, mask;
    attention a;
    int64_t low; /* of the mask */
} attention_sample;

static bool take_sample(const attention_sample *from, wf_sample *s)
{
    s->label = from->label;
    sample_input(s, WF_F64, from->q, -2, 2);
    sample_input(s, WF_F64, from->k, -2, 2);
    sample_input(s, WF_F64, from->v, -2, 2);
    sample_input(s, WF_I32, from->mask, (double)from->low, from->low < 0 ? 0 : 1);
    memcpy(s->attr.bytes, &from->a, sizeof from->a);
    return true;
}

#define ONE_HEAD(t, s, d, v)                                                                       \
    { 2, { t, d } }, { 2, { s, d } },                                                              \
    {                                                                                              \
        2,                                                                                         \
        {                                                                                          \
            s, v                                                                                   \
        }                                                                                          \
    }
#define HEADS(n, t, s, d, v)                                                                       \
    { 3, { n, t, d } }, { 3, { n, s, d } },                                                        \
    {                                                                                              \
        3,                                                                                         \
        {                                                                                          \
            n, s, v                                                                                \
        }                                                                                          \
    }
#define NO_MASK                                                                                    \
    {                                                                                              \
        -1,                                                                                        \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define PLAIN                                                                                      \
    {                                                                                              \
        .causal = 0                                                                                \
    }

static bool sample(int k, wf_sample *s)
{
    static const attention_sample tried[] = {
        { "one head, all shown", ONE_HEAD(3, 5, 2, 7), { 1, { 5 } }, PLAIN, 1 },
        { "heads", HEADS(2, 3, 5, 7, 3), NO_MASK, { .scale = 0.3 }, 0 },
        { "causal", HEADS(2, 3, 5, 2, 3), NO_MASK, { .causal = 1 }, 0 },
        { "causal, fewer keys", ONE_HEAD(11, 9, 1, 2), NO_MASK, { .causal = 1 }, 0 },
        { "a mask", HEADS(2, 3, 5, 2, 3), { 3, { 2, 3, 5 } }, PLAIN, 0 },
        { "a mask of keys", HEADS(3, 2, 5, 2, 3), { 3, { 3, 1, 5 } }, PLAIN, 0 },
        { "a mask of queries", ONE_HEAD(9, 3, 2, 1), { 2, { 9, 1 } }, PLAIN, 0 },
        { "both", HEADS(2, 3, 5, 2, 2), { 1, { 5 } }, { .causal = 1 }, 0 },
        { "one of all", ONE_HEAD(1, 1, 1, 1), { 0, { 0 } }, PLAIN, 1 },
        { "all hidden", ONE_HEAD(3, 2, 2, 2), { 0, { 0 } }, PLAIN, -1 },
        { "no queries", ONE_HEAD(0, 3, 2, 2), NO_MASK, PLAIN, 0 },
        { "no keys", ONE_HEAD(3, 0, 2, 2), NO_MASK, PLAIN, 0 },
        { "no inner size", ONE_HEAD(3, 2, 0, 2), NO_MASK, PLAIN, 0 },
        { "no values", ONE_HEAD(3, 2, 2, 0), NO_MASK, PLAIN, 0 },
    };
    return k < COUNT_OF(tried) && take_sample(&tried[k], s);
}

static bool dropping_sample(int k, wf_sample *s)
{
    static const attention_sample tried[] = {
        { "heads", HEADS(2, 5, 7, 2, 3), NO_MASK, { .dropout = 0.3 }, 0 },
        { "masks", HEADS(1, 9, 5, 2, 2), { 2, { 9, 5 } }, { .causal = 1, .dropout = 0.4 }, 0 },
        { "a mask of keys", HEADS(2, 3, 5, 2, 3), { 1, { 5 } }, { .dropout = 0.4 }, 0 },
    };
    return k < COUNT_OF(tried) && take_sample(&tried[k], s);
}

const wf_op op_scaled_dot_attention = {
    .name = OP_NAME(scaled_dot_attention),
    .inputs = INPUTS,
    .outputs = 1,
    .hidden = OUTPUTS - 1,
    .attr_size = sizeof(attention),
    .optional = 1 << SHOWN,
    .reads_in = 15,
    .reads_out = 3,
    .varying = varying,
    .shape = shape,
    .forward = attention_forward,
    .backward = attention_backward,
    .reference = reference,
    .sample = sample,
};

const wf_op op_scaled_dot_dropped = {
    .name = OP_NAME(scaled_dot_dropped),
    .inputs = INPUTS,
    .outputs = 1,
    .hidden = OUTPUTS - 1,
    .attr_size = sizeof(attention),
    .flags = WF_OP_RANDOM,
    .optional = 1 << SHOWN,
    .reads_in = 15,
    .reads_out = 3,
    .shape = shape,
    .forward = attention_forward,
    .backward = attention_backward,
    .reference = reference,
    .sample = dropping_sample,
};

static attention attention_of(const wf_scaled_dot_options *o)
{
    attention a = { .scale = 0 };
    if (o) a = (attention){ .scale = o->scale, .dropout = o->dropout, .causal = o->causal };
    return a;
}

wf_var *wf_scaled_dot_attention(wf_tape *t, wf_var *q, wf_var *k, wf_var *v, wf_var *mask,
                                const wf_scaled_dot_options *options)
{
    attention a = attention_of(options);
    const bool drops = a.dropout > 0 && a.dropout < 1;
    if (drops && wf_tape_mode(t) != WF_TRAIN) a.dropout = 0;
    return wf_apply_one(t,
                        a.dropout > 0 && drops ? &op_scaled_dot_dropped : &op_scaled_dot_attention,
                        INPUTS, (wf_var *[]){ q, k, v, mask }, &a);
}

wf_var *wf_scaled_dot_weights(wf_tape *t, wf_var *q, wf_var *k, wf_var *mask,
                              const wf_scaled_dot_options *options)
{
    static const char name[] = "scaled_dot_weights";
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const attention a = attention_of(options);
    if (!wf_tape_ok(t) || !(q = var_enter(t, q, name, QUERY)) ||
        !(k = var_enter(t, k, name, KEY)) || (mask && !(mask = var_enter(t, mask, name, VALUE))))
        return NULL;
    wf_error error = { "" };
    wf_tensor out[OUTPUTS];
    const wf_tensor *in[] = { wf_value(q), wf_value(k), wf_value(k), mask ? wf_value(mask) : NULL };
    wf_shaping s = { .op = &op_scaled_dot_attention,
                     .n_in = INPUTS,
                     .n_out = OUTPUTS,
                     .in = in,
                     .attr = &a,
                     .threads = 1,
                     .out = out,
                     .error = &error };
    if (!shape(&s)) return wf_fail(t, "%s: %s", name, error.text);
    q = wf_detach(t, q), k = wf_detach(t, k);
    wf_var *seen = seen_of(t, mask, a.causal, wf_dim(q, -2), wf_dim(k, -2));
    wf_var *scores = wf_matmul(t, q, wf_transpose(t, k, -1, -2));
    return weights_of(t, scores, seen, attention_scale(&a, wf_dim(q, -1)));
}
