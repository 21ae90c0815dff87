/* The transformer as a model: embeddings and positions, encoder, decoder and output, for training
 * over whole sequences and, as a wf_decoder, for generation. */
#include "layers/transformer.h"

#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"

#include <math.h>

/* ---- making one ---- */

static bool options_are_sound(wf_module *parent, const char *name, const wf_transformer_options *o)
{
    const char *title = name ? name : "";
    if (!layer_size(parent, "transformer", name, "source", o->source)) return false;
    if (!layer_size(parent, "transformer", name, "target", o->target)) return false;
    if (!layer_size(parent, "transformer", name, "layer.width", o->layer.width)) return false;
    if (!layer_size(parent, "transformer", name, "encoder_layers", o->encoder_layers)) return false;
    if (!layer_size(parent, "transformer", name, "decoder_layers", o->decoder_layers)) return false;
    if (o->positions < WF_POSITIONS_SINUSOIDAL || o->positions > WF_POSITIONS_NONE) {
        return wf_module_fail(parent,
                              "transformer '%s': .positions is %d, which is no kind of them", title,
                              (int)o->positions);
    }
    if (o->positions == WF_POSITIONS_LEARNED &&
        !layer_size(parent, "transformer", name, "longest", o->longest))
        return false;
    if (!o->one_embedding || o->source == o->target) return true;
    return wf_module_fail(
        parent,
        "transformer '%s': .source is %lld and .target is %lld; one embedding has "
        "as many ids on both sides",
        title, (long long)o->source, (long long)o->target);
}

static wf_embedding *embedding_of(wf_module *module, const char *name, int64_t ids, int64_t width)
{
    const wf_init normal = { .kind = WF_INIT_NORMAL, .b = 1 / sqrt((double)width) };
    return wf_embedding_new(
        module, name, &(wf_embedding_options){ .input = ids, .output = width, .init = normal });
}

/* E to target; tied, its weight is the target's embedding and its own is the bias alone. */
static wf_linear *output_of(wf_module *module, const wf_transformer_options *o,
                            const wf_embedding *target)
{
    const wf_init none = { .kind = WF_INIT_CONSTANT, .a = 0 };
    if (!o->tie_output) {
        return wf_linear_new(module, "output",
                             &(wf_linear_options){ .input = o->layer.width,
                                                   .output = o->target,
                                                   .init = o->layer.init,
                                                   .init_bias = none });
    }
    if (!target) return NULL;
    wf_module *own = wf_module_child(module, "output");
    wf_linear *output = wf_module_memory(own, sizeof *output);
    if (!output) return NULL;
    *output = (wf_linear){ .module = own, .weight = target->weight };
    output->bias = wf_param_new(own, "bias", WF_SHAPE(o->target), none);
    return output;
}

static void make_parts(wf_transformer *m, const wf_transformer_options *o)
{
    const int64_t E = o->layer.width;
    m->source = embedding_of(m->module, o->one_embedding ? "embedding" : "source", o->source, E);
    m->target = o->one_embedding ? m->source : embedding_of(m->module, "target", o->target, E);
    if (o->positions == WF_POSITIONS_LEARNED) {
        const wf_embedding_options table = { .input = o->longest, .output = E };
        m->source_positions = wf_embedding_new(m->module, "source_positions", &table);
        m->target_positions = wf_embedding_new(m->module, "target_positions", &table);
    }
    wf_transformer_stack_options stack = { .layer = o->layer,
                                           .layers = o->encoder_layers,
                                           .final_norm = o->final_norm };
    stack.layer.cross = false;
    stack.layer.rotary = o->positions == WF_POSITIONS_ROTARY;
    m->encoder = wf_transformer_stack_new(m->module, "encoder", &stack);
    stack.layer.cross = true;
    stack.layers = o->decoder_layers;
    m->decoder = wf_transformer_stack_new(m->module, "decoder", &stack);
    m->output = output_of(m->module, o, m->target);
}

wf_transformer *wf_transformer_new(wf_module *parent, const char *name,
                                   const wf_transformer_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_transformer_options o = options ? *options : (wf_transformer_options){ 0 };
    if (!o.encoder_layers) o.encoder_layers = 6;
    if (!o.decoder_layers) o.decoder_layers = 6;
    o.layer.init = layer_init(o.layer.init, (wf_init){ .kind = WF_INIT_XAVIER, .a = 1 });
    if (!options_are_sound(parent, name, &o)) return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_transformer *m = wf_module_memory(module, sizeof *m);
    if (!m) return NULL;
    *m = (wf_transformer){ .module = module, .positions = o.positions, .dropout = o.layer.dropout };
    make_parts(m, &o);
    return wf_module_ok(module, NULL) ? m : NULL;
}

/* ---- whole sequences ---- */

/* Ids I32 (time, batch) on this tape; batch below 0: any. NULL after failing it. */
static wf_var *enter_ids(wf_tape *t, const wf_transformer *m, wf_var *ids, const char *what,
                         int64_t batch)
{
    ids = layer_enter(t, "transformer", m ? m->module : NULL, ids, what);
    if (!ids) return NULL;
    const char *path = wf_module_path(m->module);
    wf_shape shape = wf_shape_of(ids);
    char text[128];
    if (wf_dtype_of(ids) != WF_I32) {
        return wf_fail(t, "transformer '%s': %s is %s; it must be i32", path, what,
                       wf_dtype_name(wf_dtype_of(ids)));
    }
    if (shape.rank == 2 && (batch < 0 || shape.dim[1] == batch)) return ids;
    wf_shape_text(text, sizeof text, shape.rank, shape.dim);
    if (batch < 0)
        return wf_fail(t, "transformer '%s': %s is %s; expected (time, batch)", path, what, text);
    return wf_fail(t,
                   "transformer '%s': %s is %s; expected (time, %lld), as many sequences as the "
                   "source has",
                   path, what, text, (long long)batch);
}

/* Ids (T, B), the first of which stand at a position, to what the layers see of them: (T, B, E). */
static wf_var *embed(wf_tape *t, const wf_transformer *m, const wf_embedding *table,
                     const wf_embedding *positions, wf_var *ids, int64_t start)
{
    const int64_t T = wf_dim(ids, 0), E = wf_dim(table->weight, 1);
    wf_var *x = wf_embedding_forward(t, table, ids), *at = NULL;
    x = wf_mul_scalar(t, x, sqrt((double)E));
    if (positions) {
        const int64_t longest = wf_dim(positions->weight, 0);
        if (start + T > longest) {
            return wf_fail(t,
                           "transformer '%s': %lld steps; there are positions for %lld "
                           "(.longest)",
                           wf_module_path(m->module), (long long)(start + T), (long long)longest);
        }
        at = wf_slice(t, positions->weight, 0, start, start + T, 1);
    } else if (m->positions == WF_POSITIONS_SINUSOIDAL) {
        at = wf_sinusoidal(t, wf_dtype_of(x), start, T, E, 0);
    }
    if (at) x = wf_add(t, x, wf_unsqueeze(t, at, 1)); /* (T, 1, E) */
    return m->dropout > 0 ? wf_dropout(t, x, m->dropout) : x;
}

static wf_var *encode(wf_tape *t, const wf_transformer *m, wf_var *source, wf_var *lengths)
{
    wf_var *x = embed(t, m, m->source, m->source_positions, source, 0);
    if (!x) return NULL;
    return wf_transformer_stack_forward(t, m->encoder, x, NULL,
                                        &(wf_transformer_call){ .lengths = lengths });
}

wf_var *wf_transformer_encode(wf_tape *t, const wf_transformer *model, wf_var *source,
                              wf_var *lengths)
{
    source = enter_ids(t, model, source, "source", -1);
    if (!source) return NULL;
    wf_scope_push(t, wf_module_name(model->module));
    wf_var *memory = encode(t, model, source, lengths);
    wf_scope_pop(t);
    return memory;
}

wf_var *wf_transformer_forward(wf_tape *t, const wf_transformer *model, wf_var *source,
                               wf_var *target, const wf_transformer_call *call)
{
    wf_transformer_call c = call ? *call : (wf_transformer_call){ .lengths = NULL };
    if (c.weights) *c.weights = NULL;
    source = enter_ids(t, model, source, "source", -1);
    if (!source || !(target = enter_ids(t, model, target, "target", wf_dim(source, 1))))
        return NULL;
    c.causal = true;
    wf_scope_push(t, wf_module_name(model->module));
    wf_var *memory = encode(t, model, source, c.memory_lengths), *x = NULL;
    if (memory) x = embed(t, model, model->target, model->target_positions, target, 0);
    if (x) x = wf_transformer_stack_forward(t, model->decoder, x, memory, &c);
    wf_scope_pop(t);
    return x;
}

/* ---- one word after another ---- */

/* wf_decoder: memories are who is there, (n, S), and what each layer kept; states what each layer
 * appends to. */
static void decode_step(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    const wf_transformer *m = self;
    const int64_t start = wf_dim(rows->state[0], 3);
    wf_var *weights = NULL, *word = wf_unsqueeze(t, rows->word, 0); /* (1, n) */
    wf_var *x = embed(t, m, m->target, m->target_positions, word, start);
    wf_var *there = wf_unsqueeze(t, wf_unsqueeze(t, rows->memory[0], 1), 1); /* (n, 1, 1, S) */
    if (!x || !there) return;
    wf_transformer_call call = { .memory_mask = there, .weights = rows->weigh ? &weights : NULL };
    x = wf_transformer_stack_append(t, m->decoder, x, rows->state, rows->memory + 1, &call);
    if (!x) return;
    rows->features = wf_select(t, x, 0, 0);
    if (rows->weigh) rows->weights = wf_select(t, weights, 1, 0); /* (n, S) */
}

static wf_var *decode_output(wf_tape *t, const void *self, wf_var *features)
{
    const wf_transformer *m = self;
    return wf_linear_forward(t, m->output, features);
}

bool wf_transformer_decoder(wf_tape *t, const wf_transformer *model, wf_var *source,
                            wf_var *lengths, wf_decoder *decoder)
{
    if (decoder) *decoder = (wf_decoder){ .step = NULL };
    source = enter_ids(t, model, source, "source", -1);
    if (!source) return false;
    const wf_transformer_stack *stack = model->decoder;
    const char *path = wf_module_path(model->module);
    if (!decoder || stack->layers >= WF_DECODER_VARS) {
        if (!decoder)
            wf_fail(t, "transformer '%s': the decoder's place is NULL", path);
        else
            wf_fail(t, "transformer '%s': %lld layers; a decoder can keep the memories of %d", path,
                    (long long)stack->layers, WF_DECODER_VARS - 1);
        return false;
    }
    const int64_t S = wf_dim(source, 0), B = wf_dim(source, 1), H = stack->heads;
    const int n = (int)stack->layers;
    wf_var **all = wf_tape_memory(t, (size_t)(2 * n + 1) * sizeof *all);
    if (!all) return false;
    wf_scope_push(t, wf_module_name(model->module));
    wf_var *memory = encode(t, model, source, lengths);
    bool ok = memory && wf_transformer_stack_memory(t, stack, memory, NULL, all + 1);
    wf_scope_pop(t);
    if (!ok) return false;
    /* Past a length the memory is zero: nothing of it is not finite. */
    all[0] = lengths ? wf_copy(t, wf_transpose(t, wf_length_mask(t, lengths, S), 0, 1))
                     : wf_full(t, WF_I32, WF_SHAPE(B, S), 1);
    wf_shape empty = WF_SHAPE(B, 2, H, 0, stack->width / H);
    for (int i = 0; i < n; i++) all[1 + n + i] = wf_zeros(t, wf_dtype_of(memory), empty);
    if (!wf_tape_ok(t)) return false;
    *decoder = (wf_decoder){ .step = decode_step,
                             .output = decode_output,
                             .self = model,
                             .memory = { n + 1, all },
                             .initial = { n, all + n + 1 },
                             .name = wf_module_name(model->module) };
    return true;
}
