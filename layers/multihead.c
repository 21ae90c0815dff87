/* Multi-head attention: projections, masks, and the product of every step with every other, head
 * by head. */
#include "layers/multihead.h"

#include "autograd/scan.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/text.h"

#include <math.h>

/* ---- making one ---- */

static bool sizes_are_sound(wf_module *parent, const char *name, const wf_multihead_options *o)
{
    const char *title = name ? name : "";
    if (!layer_size(parent, "multihead", name, "width", o->width)) return false;
    if (!layer_size(parent, "multihead", name, "heads", o->heads)) return false;
    if (o->key_width && !layer_size(parent, "multihead", name, "key_width", o->key_width))
        return false;
    if (o->value_width && !layer_size(parent, "multihead", name, "value_width", o->value_width))
        return false;
    if (!layer_chance(parent, "multihead", name, "dropout", o->dropout)) return false;
    if (o->width % o->heads) {
        return wf_module_fail(parent, "multihead '%s': .heads is %lld; it must divide .width, %lld",
                              title, (long long)o->heads, (long long)o->width);
    }
    if (!(o->base >= 0 && o->base < (double)INFINITY)) {
        return wf_module_fail(
            parent, "multihead '%s': .base is %g; it must be 0 or more and finite", title, o->base);
    }
    if (!o->rotary) return true;
    if (o->width / o->heads % 2) {
        return wf_module_fail(parent,
                              "multihead '%s': a head is %lld wide; rotary positions need an even "
                              "number",
                              title, (long long)(o->width / o->heads));
    }
    if ((o->key_width && o->key_width != o->width) ||
        (o->value_width && o->value_width != o->width)) {
        return wf_module_fail(parent,
                              "multihead '%s': .rotary is for a sequence that attends to itself; "
                              "keys and values have no width of their own then",
                              title);
    }
    return true;
}

/* The projections' weights, named and begun as PyTorch's. */
static bool make_projections(wf_multihead *m, bool no_bias)
{
    const wf_init glorot = { .kind = WF_INIT_XAVIER, .a = 1 };
    const int64_t E = m->width;
    if (m->key_width == E && m->value_width == E) {
        m->in_proj_weight = wf_param_new(m->module, "in_proj_weight", WF_SHAPE(3 * E, E), glorot);
        if (!m->in_proj_weight) return false;
    } else {
        m->q_proj_weight = wf_param_new(m->module, "q_proj_weight", WF_SHAPE(E, E), glorot);
        m->k_proj_weight = wf_param_new(m->module, "k_proj_weight", WF_SHAPE(E, m->key_width),
                                        glorot);
        m->v_proj_weight = wf_param_new(m->module, "v_proj_weight", WF_SHAPE(E, m->value_width),
                                        glorot);
        if (!m->q_proj_weight || !m->k_proj_weight || !m->v_proj_weight) return false;
    }
    if (no_bias) return true;
    m->in_proj_bias = wf_param_new(m->module, "in_proj_bias", WF_SHAPE(3 * E), (wf_init){ 0 });
    return m->in_proj_bias != NULL;
}

wf_multihead *wf_multihead_new(wf_module *parent, const char *name,
                               const wf_multihead_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const wf_multihead_options o = options ? *options : (wf_multihead_options){ 0 };
    if (!sizes_are_sound(parent, name, &o)) return NULL;
    if (o.width > INT64_MAX / 3) {
        wf_module_fail(parent, "multihead '%s': .width is %lld; that is too much", name ? name : "",
                       (long long)o.width);
        return NULL;
    }
    wf_module *module = wf_module_child(parent, name);
    wf_multihead *m = wf_module_memory(module, sizeof *m);
    if (!m) return NULL;
    *m = (wf_multihead){ .module = module,
                         .width = o.width,
                         .heads = o.heads,
                         .key_width = o.key_width ? o.key_width : o.width,
                         .value_width = o.value_width ? o.value_width : o.width,
                         .dropout = o.dropout,
                         .base = !o.rotary    ? 0
                                 : o.base > 0 ? o.base
                                              : 10000 };
    if (!make_projections(m, o.no_bias)) return NULL;
    m->out_proj = wf_linear_new(
        module, "out_proj",
        &(wf_linear_options){ .input = o.width,
                              .output = o.width,
                              .no_bias = o.no_bias,
                              .init = o.init,
                              .init_bias = { .kind = WF_INIT_CONSTANT, .a = 0 } });
    return m->out_proj ? m : NULL;
}

/* ---- what a call is given ---- */

/* As it is on this tape. */
typedef struct given {
    wf_var *query, *key, *value; /* (T, B, E), (S, B, key_width), (S, B, value_width) */
    wf_var *lengths, *key_mask, *mask;
    bool causal, heads_apart;
    wf_var **weights;
} given;

static given given_of(wf_var *query, wf_var *key, wf_var *value, const wf_multihead_call *call)
{
    static const wf_multihead_call plain = { .lengths = NULL };
    if (!call) call = &plain;
    if (call->weights) *call->weights = NULL;
    return (given){ .query = query,
                    .key = key,
                    .value = value,
                    .lengths = call->lengths,
                    .key_mask = call->key_mask,
                    .mask = call->mask,
                    .causal = call->causal,
                    .heads_apart = call->heads_apart,
                    .weights = call->weights };
}

static layer_caller caller_of(const wf_multihead *m)
{
    layer_caller c = { .kind = "multihead" };
    if (!m) return c;
    c.module = m->module;
    c.weight = m->in_proj_weight ? m->in_proj_weight : m->q_proj_weight;
    return c;
}

wf_var *sequence_enter(wf_tape *t, const layer_caller *c, wf_var *x, const char *what,
                       int64_t batch, int64_t width)
{
    x = layer_enter(t, c->kind, c->module, x, what);
    if (!x) return NULL;
    const char *path = wf_module_path(c->module);
    wf_shape shape = wf_shape_of(x);
    char text[128], wanted[32] = "batch";
    if (batch >= 0) wf_format(wanted, sizeof wanted, "%lld", (long long)batch);
    if (shape.rank != 3 || shape.dim[2] != width || (batch >= 0 && shape.dim[1] != batch)) {
        return wf_fail(t, "%s '%s': %s is %s; expected (time, %s, %lld)", c->kind, path, what,
                       wf_shape_text(text, sizeof text, shape.rank, shape.dim), wanted,
                       (long long)width);
    }
    wf_var *weight = wf_enter(t, c->weight, "%s '%s': a weight", c->kind, path);
    if (!weight || wf_dtype_of(x) == wf_dtype_of(weight)) return weight ? x : NULL;
    return wf_fail(t, "%s '%s': %s is %s; the layer's weights are %s", c->kind, path, what,
                   wf_dtype_name(wf_dtype_of(x)), wf_dtype_name(wf_dtype_of(weight)));
}

wf_var *mask_enter(wf_tape *t, const layer_caller *c, wf_var *mask, const char *what, wf_shape form)
{
    const char *path = wf_module_path(c->module);
    mask = wf_enter(t, mask, "%s '%s': %s", c->kind, path, what);
    if (!mask) return NULL;
    if (wf_dtype_of(mask) != WF_I32) {
        return wf_fail(t, "%s '%s': %s is %s; it must be i32", c->kind, path, what,
                       wf_dtype_name(wf_dtype_of(mask)));
    }
    wf_shape shape = wf_shape_of(mask), both;
    if (wf_shape_broadcast(&shape, &form, &both) && wf_shape_equal(&both, &form)) return mask;
    char a[128], b[128];
    return wf_fail(t, "%s '%s': %s is %s; it must broadcast to %s", c->kind, path, what,
                   wf_shape_text(a, sizeof a, shape.rank, shape.dim),
                   wf_shape_text(b, sizeof b, form.rank, form.dim));
}

static wf_var *query_enter(wf_tape *t, const wf_multihead *m, wf_var *query, const char *what)
{
    const layer_caller c = caller_of(m);
    return sequence_enter(t, &c, query, what, -1, m ? m->width : 0);
}

/* Enters the memory that is attended to; batch below 0: any. */
static bool memory_is_sound(wf_tape *t, const wf_multihead *m, given *g, int64_t batch)
{
    const layer_caller c = caller_of(m);
    bool same = g->value == g->key;
    g->key = sequence_enter(t, &c, g->key, "key", batch, m->key_width);
    if (!g->key) return false;
    g->value = sequence_enter(t, &c, same ? g->key : g->value, "value", wf_dim(g->key, 1),
                              m->value_width);
    if (!g->value || wf_dim(g->value, 0) == wf_dim(g->key, 0)) return g->value != NULL;
    wf_fail(t, "multihead '%s': value has %lld steps; key has %lld", wf_module_path(m->module),
            (long long)wf_dim(g->value, 0), (long long)wf_dim(g->key, 0));
    return false;
}

/* Enters the masks of T steps that attend to S of B sequences. */
static bool masks_are_sound(wf_tape *t, const wf_multihead *m, given *g, int64_t T, int64_t S,
                            int64_t B)
{
    const layer_caller c = caller_of(m);
    if (g->lengths) {
        g->lengths = wf_enter_lengths(t, g->lengths, S, B, "multihead '%s'",
                                      wf_module_path(m->module));
        if (!g->lengths) return false;
    }
    if (g->key_mask) {
        g->key_mask = mask_enter(t, &c, g->key_mask, ".key_mask", WF_SHAPE(S, B));
        if (!g->key_mask) return false;
        while (wf_rank(g->key_mask) < 2) g->key_mask = wf_unsqueeze(t, g->key_mask, 0);
    }
    if (g->mask) {
        g->mask = mask_enter(t, &c, g->mask, ".mask", WF_SHAPE(B, m->heads, T, S));
        if (!g->mask) return false;
    }
    return true;
}

/* ---- masks ---- */

wf_var *mask_both(wf_tape *t, wf_var *a, wf_var *b)
{
    if (!a || !b) return a ? a : b;
    return wf_where(t, a, b, wf_zeros(t, WF_I32, WF_SCALAR));
}

/* Which steps of each memory are there, of two axes that broadcast to (S, B); NULL: all. */
static wf_var *keys_there(wf_tape *t, const given *g, int64_t S)
{
    return mask_both(t, g->lengths ? wf_length_mask(t, g->lengths, S) : NULL, g->key_mask);
}

wf_var *mask_clear(wf_tape *t, wf_var *x, wf_var *there)
{
    if (!there) return x;
    return wf_where(t, wf_unsqueeze(t, there, -1), x, wf_zeros(t, wf_dtype_of(x), WF_SCALAR));
}

wf_var *mask_of_keys(wf_tape *t, wf_var *there)
{
    if (!there) return NULL;
    there = wf_transpose(t, there, 0, 1); /* (B, S) */
    return wf_unsqueeze(t, wf_unsqueeze(t, there, 1), 1);
}

/* ---- projections ---- */

/* n projections of x (T, B, width), the first of which is 0 (queries), 1 (keys) or 2 (values), by
 * one product: out[i] (B, H, T, D). */
static bool project(wf_tape *t, const wf_multihead *m, wf_var *x, int first, int n, wf_var *out[])
{
    wf_var *const apart[3] = { m->q_proj_weight, m->k_proj_weight, m->v_proj_weight };
    const int64_t E = m->width, T = wf_dim(x, 0), B = wf_dim(x, 1);
    wf_var *w = m->in_proj_weight, *b = m->in_proj_bias;
    if (!w)
        w = apart[first];
    else if (n < 3)
        w = wf_slice(t, w, 0, first * E, (first + n) * E, 1);
    if (b && n < 3) b = wf_slice(t, b, 0, first * E, (first + n) * E, 1);
    x = wf_affine(t, x, w, b); /* (T, B, n E) */
    x = wf_reshape(t, x, WF_SHAPE(T, B, n, m->heads, E / m->heads));
    x = wf_permute(t, x, WF_AXES(2, 1, 3, 0, 4)); /* (n, B, H, T, D) */
    for (int i = 0; i < n; i++) out[i] = wf_select(t, x, 0, i);
    return wf_tape_ok(t);
}

/* Keys and values (B, H, S, D) of a memory that was cleared of what is hidden. */
static bool project_memory(wf_tape *t, const wf_multihead *m, wf_var *key, wf_var *value,
                           wf_var *kv[2])
{
    if (key == value && m->in_proj_weight) return project(t, m, key, 1, 2, kv);
    return project(t, m, key, 1, 1, kv) && project(t, m, value, 2, 1, kv + 1);
}

/* Turns queries and keys whose first step is at a position. */
static void turn(wf_tape *t, const wf_multihead *m, wf_var *qkv[3], int64_t start)
{
    if (m->base == 0) return;
    for (int i = 0; i < 2; i++) qkv[i] = wf_rotary(t, qkv[i], start, m->base);
}

/* ---- attention ---- */

/* Queries (B, H, T, D) to keys and values (B, H, S, D), who is there by key: (T, B, E). */
static wf_var *attend(wf_tape *t, const wf_multihead *m, wf_var *q, wf_var *const kv[2],
                      wf_var *there, const given *g)
{
    const wf_scaled_dot_options how = { .causal = g->causal, .dropout = m->dropout };
    wf_var *mask = mask_both(t, g->mask, mask_of_keys(t, there));        /* to (B, H, T, S) */
    wf_var *y = wf_scaled_dot_attention(t, q, kv[0], kv[1], mask, &how); /* (B, H, T, D) */
    y = wf_permute(t, y, WF_AXES(2, 0, 1, 3));
    y = wf_reshape(t, y, WF_SHAPE(wf_dim(q, 2), wf_dim(q, 0), m->width));
    y = wf_linear_forward(t, m->out_proj, y);
    if (!y || !g->weights) return y;
    wf_var *weights = wf_scaled_dot_weights(t, q, kv[0], mask, &how);
    if (!g->heads_apart) weights = wf_mean(t, weights, WF_AXES(1));
    *g->weights = weights;
    return weights ? y : NULL;
}

static wf_var *forward(wf_tape *t, const wf_multihead *m, given *g, bool itself)
{
    const int64_t S = wf_dim(g->key, 0);
    wf_var *within = g->lengths ? wf_length_mask(t, g->lengths, S) : NULL, *qkv[3];
    wf_var *there = mask_both(t, within, g->key_mask);
    bool one = g->value == g->key;
    /* A step past the end of a sequence does not ask, either; one that is hidden as a key may. */
    if (itself) g->query = mask_clear(t, g->query, within);
    g->key = itself && there == within ? g->query : mask_clear(t, g->key, there);
    g->value = one ? g->key : mask_clear(t, g->value, there);
    if (g->query == g->value && m->in_proj_weight) {
        if (!project(t, m, g->query, 0, 3, qkv)) return NULL;
    } else {
        if (!project(t, m, g->query, 0, 1, qkv)) return NULL;
        if (!project_memory(t, m, g->key, g->value, qkv + 1)) return NULL;
    }
    turn(t, m, qkv, 0);
    return attend(t, m, qkv[0], qkv + 1, there, g);
}

/* Rotary positions are of one sequence. */
static bool takes_a_memory(wf_tape *t, const wf_multihead *m)
{
    if (m->base == 0) return true;
    wf_fail(t,
            "multihead '%s': rotary positions are of one sequence; it attends to itself, to no "
            "memory",
            wf_module_path(m->module));
    return false;
}

wf_var *wf_multihead_forward(wf_tape *t, const wf_multihead *layer, wf_var *query, wf_var *key,
                             wf_var *value, const wf_multihead_call *call)
{
    if (!key) key = query;
    if (!value) value = key;
    given g = given_of(query, key, value, call);
    bool itself = key == query;
    g.query = query_enter(t, layer, query, "query");
    if (!g.query || (!itself && !takes_a_memory(t, layer))) return NULL;
    const int64_t T = wf_dim(g.query, 0), B = wf_dim(g.query, 1);
    if (!memory_is_sound(t, layer, &g, B)) return NULL;
    if (!masks_are_sound(t, layer, &g, T, wf_dim(g.key, 0), B)) return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *y = forward(t, layer, &g, itself);
    wf_scope_pop(t);
    return y;
}

/* ---- a memory once, and a sequence that grows ---- */

wf_var *wf_multihead_memory(wf_tape *t, const wf_multihead *layer, wf_var *key, wf_var *value,
                            const wf_multihead_call *call)
{
    given g = { .key = key,
                .value = value ? value : key,
                .lengths = call ? call->lengths : NULL,
                .key_mask = call ? call->key_mask : NULL };
    if (!layer_enter(t, "multihead", layer ? layer->module : NULL, key, "key")) return NULL;
    if (!takes_a_memory(t, layer) || !memory_is_sound(t, layer, &g, -1)) return NULL;
    const int64_t S = wf_dim(g.key, 0);
    if (!masks_are_sound(t, layer, &g, 0, S, wf_dim(g.key, 1))) return NULL;
    /* Who sees whom is of queries, which are not here; but it must be a var. */
    if (call && call->mask &&
        !wf_enter(t, call->mask, "multihead '%s': .mask", wf_module_path(layer->module)))
        return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *there = keys_there(t, &g, S), *kv[2] = { NULL };
    bool one = g.value == g.key;
    g.key = mask_clear(t, g.key, there);
    g.value = one ? g.key : mask_clear(t, g.value, there);
    bool ok = project_memory(t, layer, g.key, g.value, kv);
    wf_var *memory = ok ? wf_stack(t, 1, (wf_vars){ 2, kv }) : NULL; /* (B, 2, H, S, D) */
    wf_scope_pop(t);
    return memory;
}

/* Keys and values (B, 2, H, S, D) as they are on this tape; NULL after failing it. */
static wf_var *enter_kept(wf_tape *t, const wf_multihead *m, wf_var *kept, const char *what,
                          const wf_var *x)
{
    const char *path = wf_module_path(m->module);
    kept = wf_enter(t, kept, "multihead '%s': %s", path, what);
    if (!kept) return NULL;
    wf_shape shape = wf_shape_of(kept),
             want = WF_SHAPE(wf_dim(x, 1), 2, m->heads, shape.dim[3], m->width / m->heads);
    char text[128];
    if (shape.rank != 5 || !wf_shape_equal(&shape, &want)) {
        return wf_fail(t, "multihead '%s': %s is %s; expected (%lld, 2, %lld, time, %lld)", path,
                       what, wf_shape_text(text, sizeof text, shape.rank, shape.dim),
                       (long long)want.dim[0], (long long)m->heads, (long long)want.dim[4]);
    }
    if (wf_dtype_of(kept) == wf_dtype_of(x)) return kept;
    return wf_fail(t, "multihead '%s': %s is %s; the layer's weights are %s", path, what,
                   wf_dtype_name(wf_dtype_of(kept)), wf_dtype_name(wf_dtype_of(x)));
}

wf_var *wf_multihead_attend(wf_tape *t, const wf_multihead *layer, wf_var *query, wf_var *memory,
                            const wf_multihead_call *call)
{
    given g = given_of(query, NULL, NULL, call);
    g.query = query_enter(t, layer, query, "query");
    if (!g.query || !takes_a_memory(t, layer)) return NULL;
    memory = enter_kept(t, layer, memory, "the memory", g.query);
    if (!memory) return NULL;
    const int64_t S = wf_dim(memory, 3);
    if (!masks_are_sound(t, layer, &g, wf_dim(g.query, 0), S, wf_dim(g.query, 1))) return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *q = NULL, *y = NULL,
           *kv[2] = { wf_select(t, memory, 1, 0), wf_select(t, memory, 1, 1) };
    if (project(t, layer, g.query, 0, 1, &q)) y = attend(t, layer, q, kv, keys_there(t, &g, S), &g);
    wf_scope_pop(t);
    return y;
}

/* x's queries, keys and values; those of before are put in front of the last two. */
static wf_var *append(wf_tape *t, const wf_multihead *m, given *g, wf_var *before, wf_var **after)
{
    const int64_t past = before ? wf_dim(before, 3) : 0;
    wf_var *qkv[3] = { NULL };
    if (m->in_proj_weight) {
        if (!project(t, m, g->query, 0, 3, qkv)) return NULL;
    } else {
        for (int i = 0; i < 3; i++)
            if (!project(t, m, g->query, i, 1, qkv + i)) return NULL;
    }
    turn(t, m, qkv, past);
    wf_var *all = wf_stack(t, 1, (wf_vars){ 2, qkv + 1 }); /* (B, 2, H, T, D) */
    if (before) all = wf_concat(t, 3, WF_VARS(before, all));
    wf_var *kv[2] = { wf_select(t, all, 1, 0), wf_select(t, all, 1, 1) };
    wf_var *there = keys_there(t, g, past + wf_dim(g->query, 0));
    wf_var *y = attend(t, m, qkv[0], kv, there, g);
    *after = y ? all : NULL;
    return y;
}

wf_var *wf_multihead_append(wf_tape *t, const wf_multihead *layer, wf_var *x, wf_var **state,
                            const wf_multihead_call *call)
{
    given g = given_of(x, NULL, NULL, call);
    wf_var *before = state ? *state : NULL;
    if (state) *state = NULL;
    g.query = query_enter(t, layer, x, "x");
    if (!g.query) return NULL;
    const char *path = wf_module_path(layer->module);
    if (!state) return wf_fail(t, "multihead '%s': the state's place is NULL", path);
    if (layer->key_width != layer->width || layer->value_width != layer->width) {
        return wf_fail(t,
                       "multihead '%s': its keys and values have widths of their own; it cannot "
                       "attend to x itself",
                       path);
    }
    if (before && !(before = enter_kept(t, layer, before, "the state", g.query))) return NULL;
    const int64_t T = wf_dim(g.query, 0), past = before ? wf_dim(before, 3) : 0;
    g.causal = true;
    if (!masks_are_sound(t, layer, &g, T, past + T, wf_dim(g.query, 1))) return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *y = append(t, layer, &g, before, state);
    wf_scope_pop(t);
    return y;
}
