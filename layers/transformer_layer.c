/* Blocks of the transformer and stacks of them: over whole sequences, and over one that grows. */
#include "autograd/scan.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "layers/transformer.h"
#include "tensor/par.h"
#include "tensor/text.h"

/* ---- making them ---- */

static wf_layer_norm_layer *norm_of(wf_module *module, const char *name,
                                    const wf_transformer_layer_options *o)
{
    return wf_layer_norm_new(
        module, name,
        &(wf_layer_norm_options){ .input = o->width, .eps = o->eps, .no_bias = o->no_bias });
}

static wf_multihead *attention_of(wf_module *module, const char *name,
                                  const wf_transformer_layer_options *o, bool rotary)
{
    return wf_multihead_new(module, name,
                            &(wf_multihead_options){ .width = o->width,
                                                     .heads = o->heads,
                                                     .dropout = o->dropout,
                                                     .no_bias = o->no_bias,
                                                     .rotary = rotary,
                                                     .init = o->init });
}

wf_transformer_layer *wf_transformer_layer_new(wf_module *parent, const char *name,
                                               const wf_transformer_layer_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_transformer_layer_options o = options ? *options : (wf_transformer_layer_options){ 0 };
    if (!layer_size(parent, "transformer_layer", name, "width", o.width)) return NULL;
    if (!layer_size(parent, "transformer_layer", name, "heads", o.heads)) return NULL;
    if (!layer_chance(parent, "transformer_layer", name, "dropout", o.dropout)) return NULL;
    if (!o.hidden) o.hidden = o.width > INT64_MAX / 4 ? INT64_MAX : 4 * o.width;
    if (!layer_size(parent, "transformer_layer", name, "hidden", o.hidden)) return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_transformer_layer *layer = wf_module_memory(module, sizeof *layer);
    if (!layer) return NULL;
    *layer = (wf_transformer_layer){ .module = module,
                                     .width = o.width,
                                     .dropout = o.dropout,
                                     .pre_norm = o.pre_norm,
                                     .gelu = o.gelu };
    layer->self_attn = attention_of(module, "self_attn", &o, o.rotary);
    if (o.cross) layer->multihead_attn = attention_of(module, "multihead_attn", &o, false);
    wf_linear_options inner = {
        .input = o.width, .output = o.hidden, .no_bias = o.no_bias, .init = o.init
    };
    layer->linear1 = wf_linear_new(module, "linear1", &inner);
    inner.input = o.hidden, inner.output = o.width;
    layer->linear2 = wf_linear_new(module, "linear2", &inner);
    layer->norm1 = norm_of(module, "norm1", &o);
    layer->norm2 = norm_of(module, "norm2", &o);
    if (o.cross) layer->norm3 = norm_of(module, "norm3", &o);
    return wf_module_ok(module, NULL) ? layer : NULL;
}

wf_transformer_stack *wf_transformer_stack_new(wf_module *parent, const char *name,
                                               const wf_transformer_stack_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const wf_transformer_stack_options o = options ? *options : (wf_transformer_stack_options){ 0 };
    if (!layer_size(parent, "transformer_stack", name, "layers", o.layers)) return NULL;
    if (o.layers > INT32_MAX) {
        wf_module_fail(parent, "transformer_stack '%s': %lld layers are too many", name ? name : "",
                       (long long)o.layers);
        return NULL;
    }
    wf_module *module = wf_module_child(parent, name), *layers = wf_module_child(module, "layers");
    wf_transformer_stack *s = wf_module_memory(module, sizeof *s);
    if (!s) return NULL;
    *s = (wf_transformer_stack){ .module = module,
                                 .layers = o.layers,
                                 .width = o.layer.width,
                                 .heads = o.layer.heads,
                                 .cross = o.layer.cross };
    s->layer = wf_module_memory(module, (size_t)o.layers * sizeof *s->layer);
    for (int64_t i = 0; s->layer && i < o.layers; i++) {
        char number[24];
        wf_format(number, sizeof number, "%lld", (long long)i);
        s->layer[i] = wf_transformer_layer_new(layers, number, &o.layer);
        if (!s->layer[i]) return NULL;
    }
    if (o.final_norm > 0 || (o.final_norm == 0 && o.layer.pre_norm))
        s->norm = norm_of(module, "norm", &o.layer);
    return wf_module_ok(module, NULL) ? s : NULL;
}

/* ---- what a call is given ---- */

/* What layers work with: sequences that are cleared of what is hidden. */
typedef struct work {
    wf_var *mask, *memory_mask; /* broadcasting to (B, H, T, T) and (B, H, T, S) */
    bool causal;
    wf_var *memory; /* (S, B, E), or NULL: there is none, or it is kept */
    wf_var *within; /* (T, B), where x is; NULL: everywhere */
} work;

static layer_caller of_layer(const wf_transformer_layer *layer)
{
    layer_caller c = { .kind = "transformer_layer" };
    if (layer) c.module = layer->module, c.weight = layer->linear1->weight;
    return c;
}

static layer_caller of_stack(const wf_transformer_stack *stack)
{
    layer_caller c = { .kind = "transformer_stack" };
    if (stack) c.module = stack->module, c.weight = stack->layer[0]->linear1->weight;
    return c;
}

/* Lengths of a sequence of `time` steps as a mask (time, B). NULL after failing the tape. */
static wf_var *within_lengths(wf_tape *t, const layer_caller *c, const char *whose, wf_var *lengths,
                              int64_t time, int64_t batch)
{
    lengths = wf_enter_lengths(t, lengths, time, batch, "%s '%s'%s", c->kind,
                               wf_module_path(c->module), whose);
    return lengths ? wf_length_mask(t, lengths, time) : NULL;
}

/* A memory is given exactly where there is somebody to attend to it. */
static bool memory_is_due(wf_tape *t, const layer_caller *c, bool cross, bool given,
                          const wf_transformer_call *call)
{
    const char *path = wf_module_path(c->module);
    if (cross && !given) wf_fail(t, "%s '%s': the memory was never made", c->kind, path);
    if (!cross && (given || call->memory_lengths || call->memory_mask))
        wf_fail(t, "%s '%s': it attends to no memory, but was told of one", c->kind, path);
    return wf_tape_ok(t);
}

/* What hides steps of a memory of S: a call's lengths and mask in one. */
static bool memory_masks(wf_tape *t, const layer_caller *c, const wf_transformer_call *call,
                         wf_shape scores, work *w, wf_var **there)
{
    const int64_t B = scores.dim[0], S = scores.dim[3];
    *there = NULL;
    w->memory_mask = call->memory_mask;
    if (w->memory_mask) {
        w->memory_mask = mask_enter(t, c, w->memory_mask, ".memory_mask", scores);
        if (!w->memory_mask) return false;
    }
    if (!call->memory_lengths) return true;
    *there = within_lengths(t, c, ": the memory", call->memory_lengths, S, B);
    w->memory_mask = mask_both(t, w->memory_mask, mask_of_keys(t, *there));
    return *there != NULL;
}

/* Enters all that a call over whole sequences is given, clears it, and joins what hides. */
static wf_var *begin(wf_tape *t, const layer_caller *c, const wf_transformer_layer *first,
                     wf_var *x, wf_var *memory, const wf_transformer_call *call, work *w)
{
    const int64_t E = first ? first->width : 0, heads = first ? first->self_attn->heads : 0;
    x = sequence_enter(t, c, x, "x", -1, E);
    if (!x || !memory_is_due(t, c, first->multihead_attn != NULL, memory != NULL, call))
        return NULL;
    const int64_t T = wf_dim(x, 0), B = wf_dim(x, 1);
    *w = (work){ .mask = call->mask, .causal = call->causal };
    if (w->mask) {
        w->mask = mask_enter(t, c, w->mask, ".mask", WF_SHAPE(B, heads, T, T));
        if (!w->mask) return NULL;
    }
    if (call->lengths) {
        w->within = within_lengths(t, c, "", call->lengths, T, B);
        if (!w->within) return NULL;
        w->mask = mask_both(t, w->mask, mask_of_keys(t, w->within));
    }
    wf_var *there = NULL;
    if (memory) {
        memory = sequence_enter(t, c, memory, "memory", B, E);
        if (!memory) return NULL;
        wf_shape scores = WF_SHAPE(B, heads, T, wf_dim(memory, 0));
        if (!memory_masks(t, c, call, scores, w, &there)) return NULL;
        w->memory = mask_clear(t, memory, there);
    }
    return mask_clear(t, x, w->within);
}

/* ---- one layer ---- */

static wf_var *dropped(wf_tape *t, const wf_transformer_layer *layer, wf_var *x)
{
    return layer->dropout > 0 ? wf_dropout(t, x, layer->dropout) : x;
}

/* What a branch begins with, and x with what the branch made of it: its norm is at one end. */
static wf_var *open_branch(wf_tape *t, const wf_transformer_layer *layer, wf_var *x,
                           const wf_layer_norm_layer *norm)
{
    return layer->pre_norm ? wf_layer_norm_forward(t, norm, x) : x;
}

static wf_var *close_branch(wf_tape *t, const wf_transformer_layer *layer, wf_var *x, wf_var *y,
                            const wf_layer_norm_layer *norm)
{
    x = wf_add(t, x, dropped(t, layer, y));
    return layer->pre_norm ? x : wf_layer_norm_forward(t, norm, x);
}

static wf_var *feed_forward(wf_tape *t, const wf_transformer_layer *layer, wf_var *x)
{
    x = wf_linear_forward(t, layer->linear1, x); /* (T, B, hidden) */
    x = layer->gelu ? wf_gelu(t, x) : wf_relu(t, x);
    return wf_linear_forward(t, layer->linear2, dropped(t, layer, x));
}

/* x (T, B, E), cleared of what is hidden, through a layer. state NULL: x is whole; else it is
 * appended to what is there, and kept is the memory as this layer attends to it. call may ask for
 * weights. */
static wf_var *run_layer(wf_tape *t, const wf_transformer_layer *layer, wf_var *x, const work *w,
                         wf_var **state, wf_var *kept, const wf_transformer_call *call)
{
    const bool cross = layer->multihead_attn != NULL;
    const wf_layer_norm_layer *last = cross ? layer->norm3 : layer->norm2;
    wf_multihead_call itself = { .mask = w->mask, .causal = w->causal },
                      to_memory = { .mask = w->memory_mask };
    wf_multihead_call *asked = cross ? &to_memory : &itself;
    if (call) asked->weights = call->weights, asked->heads_apart = call->heads_apart;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *y = open_branch(t, layer, x, layer->norm1);
    y = state ? wf_multihead_append(t, layer->self_attn, y, state, &itself)
              : wf_multihead_forward(t, layer->self_attn, y, NULL, NULL, &itself);
    x = close_branch(t, layer, x, y, layer->norm1);
    if (cross) {
        y = open_branch(t, layer, x, layer->norm2);
        y = state ? wf_multihead_attend(t, layer->multihead_attn, y, kept, &to_memory)
                  : wf_multihead_forward(t, layer->multihead_attn, y, w->memory, NULL, &to_memory);
        x = close_branch(t, layer, x, y, layer->norm2);
    }
    y = feed_forward(t, layer, open_branch(t, layer, x, last));
    x = close_branch(t, layer, x, y, last);
    wf_scope_pop(t);
    return x;
}

static const wf_transformer_call plain = { .lengths = NULL };

/* The call, its place of weights empty. */
static const wf_transformer_call *call_of(const wf_transformer_call *call)
{
    if (call && call->weights) *call->weights = NULL;
    return call ? call : &plain;
}

/* What is given back at last: nothing at all after a failure. */
static wf_var *finish(wf_tape *t, wf_var *x, const wf_transformer_call *call)
{
    if (!wf_tape_ok(t)) x = NULL;
    if (!x && call->weights) *call->weights = NULL;
    return x;
}

wf_var *wf_transformer_layer_forward(wf_tape *t, const wf_transformer_layer *layer, wf_var *x,
                                     wf_var *memory, const wf_transformer_call *call)
{
    const layer_caller c = of_layer(layer);
    work w;
    call = call_of(call);
    x = begin(t, &c, layer, x, memory, call, &w);
    if (!x) return NULL;
    x = run_layer(t, layer, x, &w, NULL, NULL, call);
    return finish(t, mask_clear(t, x, w.within), call);
}

/* ---- a stack ---- */

static wf_var *run_stack(wf_tape *t, const wf_transformer_stack *stack, wf_var *x, const work *w,
                         wf_var *state[], wf_var *const kept[], const wf_transformer_call *call)
{
    wf_scope_push(t, wf_module_name(stack->module));
    for (int64_t i = 0; i < stack->layers && x; i++) {
        x = run_layer(t, stack->layer[i], x, w, state ? &state[i] : NULL, kept ? kept[i] : NULL,
                      i == stack->layers - 1 ? call : NULL);
    }
    if (stack->norm) x = wf_layer_norm_forward(t, stack->norm, x);
    wf_scope_pop(t);
    return x;
}

wf_var *wf_transformer_stack_forward(wf_tape *t, const wf_transformer_stack *stack, wf_var *x,
                                     wf_var *memory, const wf_transformer_call *call)
{
    const layer_caller c = of_stack(stack);
    work w;
    call = call_of(call);
    x = begin(t, &c, stack ? stack->layer[0] : NULL, x, memory, call, &w);
    if (!x) return NULL;
    x = run_stack(t, stack, x, &w, NULL, NULL, call);
    return finish(t, mask_clear(t, x, w.within), call);
}

bool wf_transformer_stack_memory(wf_tape *t, const wf_transformer_stack *stack, wf_var *memory,
                                 wf_var *lengths, wf_var *kept[])
{
    const layer_caller c = of_stack(stack);
    for (int64_t i = 0; stack && kept && i < stack->layers; i++) kept[i] = NULL;
    memory = sequence_enter(t, &c, memory, "memory", -1, stack ? stack->width : 0);
    if (!memory || !memory_is_due(t, &c, stack->cross, true, &plain)) return false;
    if (!kept) {
        wf_fail(t, "transformer_stack '%s': the list of what is kept was never made",
                wf_module_path(c.module));
        return false;
    }
    if (lengths) {
        wf_var *there = within_lengths(t, &c, "", lengths, wf_dim(memory, 0), wf_dim(memory, 1));
        if (!there) return false;
        memory = mask_clear(t, memory, there);
    }
    wf_scope_push(t, wf_module_name(stack->module));
    for (int64_t i = 0; i < stack->layers; i++)
        kept[i] = wf_multihead_memory(t, stack->layer[i]->multihead_attn, memory, NULL, NULL);
    wf_scope_pop(t);
    for (int64_t i = 0; !wf_tape_ok(t) && i < stack->layers; i++) kept[i] = NULL;
    return wf_tape_ok(t);
}

wf_var *wf_transformer_stack_append(wf_tape *t, const wf_transformer_stack *stack, wf_var *x,
                                    wf_var *state[], wf_var *const kept[],
                                    const wf_transformer_call *call)
{
    const layer_caller c = of_stack(stack);
    const bool cross = stack && stack->cross;
    wf_var **before = NULL, *there;
    work w = { .causal = true };
    call = call_of(call);
    if (stack && state) { /* read whole before anything is written: kept may be the same array */
        const int64_t n = stack->layers;
        before = wf_tape_memory(t, (size_t)(2 * n) * sizeof *before);
        for (int64_t i = 0; before && i < n; i++) {
            before[i] = state[i];
            if (kept) before[n + i] = kept[i];
        }
        if (before && kept) kept = before + n;
        for (int64_t i = 0; i < n; i++) state[i] = NULL;
    }
    x = sequence_enter(t, &c, x, "x", -1, stack ? stack->width : 0);
    if (!x || !memory_is_due(t, &c, cross, kept != NULL, call)) return NULL;
    const char *path = wf_module_path(c.module);
    if (call->lengths || call->mask) {
        return wf_fail(t,
                       "transformer_stack '%s': a sequence that grows has no .lengths and no "
                       ".mask",
                       path);
    }
    if (!before)
        return wf_fail(t, "transformer_stack '%s': the list of states was never made", path);
    if (cross) {
        wf_var *first = wf_enter(t, kept[0], "transformer_stack '%s': what is kept", path);
        wf_shape scores = WF_SHAPE(wf_dim(x, 1), stack->heads, wf_dim(x, 0), wf_dim(first, 3));
        if (!first) return NULL;
        if (!memory_masks(t, &c, call, scores, &w, &there)) return NULL;
    }
    x = finish(t, run_stack(t, stack, x, &w, before, kept, call), call);
    for (int64_t i = 0; x && i < stack->layers; i++) state[i] = before[i];
    return x;
}
