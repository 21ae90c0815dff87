/* Sequence to sequence: what is read, the bridge to the decoder's states, and the decoder's step.
 */
#include "layers/seq2seq.h"

#include "autograd/scan.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/text.h"

#include <string.h>

static const char kind_name[] = "seq2seq";

/* ---- making one ---- */

static bool sizes_are_sound(wf_module *parent, const char *name, const wf_seq2seq_options *o)
{
    return layer_size(parent, kind_name, name, "source", o->source) &&
           layer_size(parent, kind_name, name, "target", o->target) &&
           layer_size(parent, kind_name, name, "embedding", o->embedding) &&
           layer_size(parent, kind_name, name, "hidden", o->hidden) &&
           layer_size(parent, kind_name, name, "encoder_hidden", o->encoder_hidden) &&
           layer_size(parent, kind_name, name, "layers", o->layers) &&
           layer_size(parent, kind_name, name, "readout", o->readout) &&
           layer_chance(parent, kind_name, name, "dropout", o->dropout);
}

static int64_t memory_width(const wf_seq2seq_options *o)
{
    return o->encoder_hidden * (o->bidirectional ? 2 : 1);
}

static bool options_are_sound(wf_module *parent, const char *name, const wf_seq2seq_options *o)
{
    const char *title = name ? name : "";
    if (!sizes_are_sound(parent, name, o)) return false;
    if ((int)o->bridge < 0 || o->bridge > WF_BRIDGE_ZERO)
        return wf_module_fail(parent, "seq2seq '%s': .bridge is %d; there are 0 to %d", title,
                              (int)o->bridge, WF_BRIDGE_ZERO);
    if (o->tied && o->readout != o->embedding)
        return wf_module_fail(parent,
                              "seq2seq '%s': .readout is %lld and .embedding %lld; tied, they "
                              "are one",
                              title, (long long)o->readout, (long long)o->embedding);
    if (o->shared && o->source != o->target)
        return wf_module_fail(parent,
                              "seq2seq '%s': .source is %lld and .target %lld; a shared "
                              "vocabulary has one size",
                              title, (long long)o->source, (long long)o->target);
    if (o->fixed_context && !o->no_attention)
        return wf_module_fail(parent,
                              "seq2seq '%s': .fixed_context stands for attention; it goes with "
                              ".no_attention",
                              title);
    if (o->bridge == WF_BRIDGE_COPY && memory_width(o) != o->hidden)
        return wf_module_fail(parent,
                              "seq2seq '%s': the encoder's states are %lld wide and the decoder's "
                              "%lld; a bridge that copies takes equal ones",
                              title, (long long)memory_width(o), (long long)o->hidden);
    return true;
}

/* How wide is what a step sees of the source? */
static int64_t seen_width(const wf_seq2seq_options *o)
{
    return o->no_attention && !o->fixed_context ? 0 : memory_width(o);
}

static bool feeds(const wf_seq2seq_options *o)
{
    return o->attend_after && !o->no_feeding;
}

static wf_embedding *make_embedding(wf_module *m, const char *name, int64_t words, int64_t width)
{
    /* So that a row is about 1 long: as an output's weight, too, it is of use from the start. */
    const wf_init init = { WF_INIT_NORMAL, 0, 1 / __builtin_sqrt((double)width), 0 };
    return wf_embedding_new(m, name, &(wf_embedding_options){ words, width, init, { NULL } });
}

static bool make_bridge(wf_seq2seq *s, wf_module *m)
{
    static const char *const unnamed = "state";
    const wf_seq2seq_options *o = &s->options;
    const rnn_form to = rnn_form_of(s->decoder), from = rnn_form_of(s->encoder);
    const wf_cell_state *row = wf_rnn_row(s->decoder)->states;
    if (to.layers * to.states > WF_DECODER_VARS - 2)
        return wf_module_fail(m,
                              "seq2seq '%s': %lld layers of %d states are too many; at most %d "
                              "states in all",
                              wf_module_name(m), (long long)to.layers, to.states,
                              WF_DECODER_VARS - 2);
    if (o->bridge == WF_BRIDGE_ZERO || o->bridge == WF_BRIDGE_COPY) return true;
    wf_module *bridge = wf_module_child(m, "bridge");
    for (int64_t l = 0; l < to.layers; l++)
        for (int k = 0; k < to.states; k++) {
            char name[64];
            wf_format(name, sizeof name, "%s_l%lld", row[k].name ? row[k].name : unnamed,
                      (long long)l);
            const int64_t width = o->bridge == WF_BRIDGE_MEAN ? memory_width(o)
                                                              : from.width[k] * from.directions;
            wf_linear *made = wf_linear_new(
                bridge, name, &(wf_linear_options){ .input = width, .output = to.width[k] });
            if (!(s->bridge[l * to.states + k] = made)) return false;
        }
    return true;
}

static bool make_parts(wf_seq2seq *s, wf_module *m)
{
    wf_seq2seq_options *o = &s->options;
    const int64_t M = memory_width(o), seen = seen_width(o);
    const wf_cell *cell = o->cell ? o->cell : wf_gru_row();
    const double between = o->layers > 1 ? o->dropout : 0;
    s->target = make_embedding(m, "target", o->target, o->embedding);
    s->source = o->shared ? s->target : make_embedding(m, "source", o->source, o->embedding);
    s->encoder = wf_rnn_new(m, "encoder", cell,
                            &(wf_rnn_options){ .input = o->embedding,
                                               .hidden = o->encoder_hidden,
                                               .layers = o->layers,
                                               .bidirectional = o->bidirectional,
                                               .dropout = between,
                                               .prototype = o->prototype });
    const int64_t told = o->attend_after ? feeds(o) ? o->readout : 0 : seen;
    s->decoder = wf_rnn_new(m, "decoder", cell,
                            &(wf_rnn_options){ .input = o->embedding + told,
                                               .hidden = o->hidden,
                                               .layers = o->layers,
                                               .dropout = between,
                                               .prototype = o->prototype });
    o->attention.query = o->hidden;
    o->attention.memory = M;
    if (!o->no_attention) s->attention = wf_attention_new(m, "attention", &o->attention);
    const int64_t read = o->hidden + seen + (o->attend_after ? 0 : o->embedding);
    s->readout = wf_linear_new(m, "readout",
                               &(wf_linear_options){ .input = read, .output = o->readout });
    if (!s->target || !s->source || !s->encoder || !s->decoder || !s->readout ||
        (!o->no_attention && !s->attention))
        return false;
    wf_module *output = wf_module_child(m, "output");
    const wf_init torch = { .kind = WF_INIT_FAN_IN, .a = 1 };
    s->weight = o->tied ? s->target->weight
                        : wf_param_new(output, "weight", WF_SHAPE(o->target, o->readout), torch);
    s->bias = wf_param_new(output, "bias", WF_SHAPE(o->target), (wf_init){ WF_INIT_ZERO, 0, 0, 0 });
    return s->weight && s->bias && make_bridge(s, m);
}

wf_seq2seq *wf_seq2seq_new(wf_module *parent, const char *name, const wf_seq2seq_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_seq2seq_options o = options ? *options : (wf_seq2seq_options){ 0 };
    if (o.encoder_hidden == 0) o.encoder_hidden = o.hidden;
    if (o.layers == 0) o.layers = 1;
    if (o.readout == 0) o.readout = o.embedding;
    if (!options_are_sound(parent, name, &o)) return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_seq2seq *s = wf_module_memory(module, sizeof *s);
    if (!s) return NULL;
    s->module = module;
    s->options = o;
    return make_parts(s, module) ? s : NULL;
}

/* ---- reading ---- */

static wf_var *dropped(wf_tape *t, const wf_seq2seq *s, wf_var *x)
{
    return s->options.dropout > 0 ? wf_dropout(t, x, s->options.dropout) : x;
}

/* Both directions of the encoder's last state k in a layer, (B, directions * width). */
static wf_var *last_of(wf_tape *t, const rnn_form *f, wf_var *final, int64_t layer)
{
    if (f->directions == 1) return wf_select(t, final, 0, layer);
    return wf_concat(
        t, -1, WF_VARS(wf_select(t, final, 0, 2 * layer), wf_select(t, final, 0, 2 * layer + 1)));
}

/* The mean of outputs (S, B, M), which are zero past their ends, over what is there; of an empty
 * source zeros. */
static wf_var *mean_of(wf_tape *t, wf_var *outputs, wf_var *lengths)
{
    wf_var *sum = wf_sum(t, outputs, WF_AXES(0));
    const int64_t S = wf_dim(outputs, 0);
    if (!lengths) return wf_div_scalar(t, sum, S > 0 ? (double)S : 1);
    wf_var *count = wf_maximum_scalar(t, wf_cast(t, lengths, wf_dtype_of(outputs)), 1);
    return wf_div(t, sum, wf_unsqueeze(t, count, -1));
}

/* A batch as it is being decoded, on the tape. */
typedef struct reading {
    const wf_seq2seq *of;
    int states;
    wf_var *memory[WF_ATTENTION_MEMORY], *state[WF_DECODER_VARS];
} reading;

/* The states to begin with, one for each layer and state of the cell, (B, width). */
static bool cross_bridge(wf_tape *t, reading *r, wf_var *outputs, wf_var *const final[],
                         wf_var *lengths)
{
    const wf_seq2seq *s = r->of;
    const wf_bridge bridge = s->options.bridge;
    const rnn_form to = rnn_form_of(s->decoder), from = rnn_form_of(s->encoder);
    wf_var *mean = bridge == WF_BRIDGE_MEAN ? mean_of(t, outputs, lengths) : NULL;
    for (int64_t l = 0; l < to.layers; l++)
        for (int k = 0; k < to.states; k++) {
            wf_var **state = &r->state[r->states++];
            if (bridge == WF_BRIDGE_ZERO) {
                const wf_shape form = WF_SHAPE(wf_dim(outputs, 1), to.width[k]);
                *state = wf_zeros(t, wf_dtype_of(outputs), form);
                continue;
            }
            wf_var *f = mean ? mean : last_of(t, &from, final[k], l);
            *state = bridge == WF_BRIDGE_COPY
                         ? f
                         : wf_tanh(t, wf_linear_forward(t, s->bridge[l * to.states + k], f));
        }
    return wf_tape_ok(t);
}

/* ---- a step ---- */

/* The cell's states as wf_rnn_step takes them, (layers, n, width), and back. */
static wf_var *cell_step(wf_tape *t, const wf_seq2seq *s, wf_var *in, wf_var *state[])
{
    const rnn_form f = rnn_form_of(s->decoder);
    wf_var *deep[WF_CELL_STATES];
    for (int k = 0; k < f.states; k++) {
        wf_var *layer[WF_DECODER_VARS];
        for (int64_t l = 0; l < f.layers; l++) layer[l] = state[l * f.states + k];
        deep[k] = f.layers == 1 ? wf_unsqueeze(t, layer[0], 0)
                                : wf_stack(t, 0, (wf_vars){ (int)f.layers, layer });
    }
    wf_var *out = wf_rnn_step(t, s->decoder, in, deep);
    for (int k = 0; k < f.states; k++)
        for (int64_t l = 0; l < f.layers; l++)
            state[l * f.states + k] = wf_select(t, deep[k], 0, l);
    return out;
}

/* What is seen of the source by the state `query`, (n, M), or NULL without attention. Of a
 * location-aware attention *before are the weights of the step before, and become those of now. */
static wf_var *look(wf_tape *t, const wf_seq2seq *s, wf_decoder_rows *r, wf_var *query,
                    wf_var **before)
{
    if (!s->attention) return s->options.fixed_context ? r->memory[0] : NULL;
    r->weights = before ? *before : NULL;
    wf_var *seen = wf_attention_forward(t, s->attention, query, r->memory, &r->weights);
    if (before) *before = r->weights;
    return seen;
}

static wf_var *joined(wf_tape *t, wf_var *a, wf_var *b, wf_var *c)
{
    wf_var *part[3] = { a };
    int n = 1;
    if (b) part[n++] = b;
    if (c) part[n++] = c;
    return n == 1 ? a : wf_concat(t, -1, (wf_vars){ n, part });
}

static wf_var *readout(wf_tape *t, const wf_seq2seq *s, wf_var *x)
{
    return dropped(t, s, wf_tanh(t, wf_linear_forward(t, s->readout, x)));
}

/* States: the cell's; then, where there are such, what is fed, and where the attention was. */
static void step(wf_tape *t, const void *self, wf_decoder_rows *r)
{
    const wf_seq2seq *s = ((const reading *)self)->of;
    const rnn_form f = rnn_form_of(s->decoder);
    const wf_seq2seq_options *o = &s->options;
    const int64_t cells = f.layers * f.states;
    const bool local = s->attention && o->attention.kind == WF_ATTENTION_LOCATION;
    wf_var **fed = feeds(o) ? &r->state[cells] : NULL;
    wf_var **before = local ? &r->state[cells + (fed != NULL)] : NULL;
    wf_var *word = dropped(t, s, wf_embedding_forward(t, s->target, r->word));
    if (o->attend_after) {
        wf_var *out = cell_step(t, s, joined(t, word, fed ? *fed : NULL, NULL), r->state);
        r->features = joined(t, out, look(t, s, r, out, before), NULL);
        if (fed) *fed = r->features = readout(t, s, r->features);
        return;
    }
    wf_var *seen = look(t, s, r, r->state[cells - f.states], before); /* by the top layer's */
    wf_var *out = cell_step(t, s, joined(t, word, seen, NULL), r->state);
    r->features = joined(t, out, seen, word);
}

/* What the last layer reads of features: of a step that feeds none, made of all steps at once. */
static wf_var *read_out(wf_tape *t, const wf_seq2seq *s, wf_var *features)
{
    return feeds(&s->options) ? features : readout(t, s, features);
}

static wf_var *output(wf_tape *t, const void *self, wf_var *features)
{
    return wf_seq2seq_logits(t, ((const reading *)self)->of, features);
}

/* ---- what is public ---- */

static wf_var *ids_enter(wf_tape *t, const wf_seq2seq *s, wf_var *ids, const char *what)
{
    if (!(ids = layer_enter(t, kind_name, s ? s->module : NULL, ids, what))) return NULL;
    if (wf_dtype_of(ids) == WF_I32 && wf_rank(ids) == 2) return ids;
    char text[160];
    const wf_shape shape = wf_shape_of(ids);
    return wf_fail(t, "seq2seq '%s': %s is %s %s; expected i32 (time, batch)",
                   wf_module_path(s->module), what, wf_dtype_name(wf_dtype_of(ids)),
                   wf_shape_text(text, sizeof text, shape.rank, shape.dim));
}

/* The states that come after the cell's. */
static void add_states(wf_tape *t, reading *r, int64_t S, int64_t B, wf_dtype dtype)
{
    const wf_seq2seq_options *o = &r->of->options;
    if (feeds(o)) r->state[r->states++] = wf_zeros(t, dtype, WF_SHAPE(B, o->readout));
    if (r->of->attention && o->attention.kind == WF_ATTENTION_LOCATION)
        r->state[r->states++] = wf_zeros(t, dtype, WF_SHAPE(B, S));
}

bool wf_seq2seq_decoder(wf_tape *t, const wf_seq2seq *s, wf_var *source, wf_var *lengths,
                        wf_decoder *decoder)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (decoder) *decoder = (wf_decoder){ 0 };
    if (!(source = ids_enter(t, s, source, "the source"))) return false;
    const char *path = wf_module_path(s->module);
    if (!decoder)
        return wf_fail(t, "seq2seq '%s': there is no place for the decoder (NULL)", path) != NULL;
    const int64_t S = wf_dim(source, 0), B = wf_dim(source, 1);
    if (lengths && !(lengths = wf_enter_lengths(t, lengths, S, B, "seq2seq '%s'", path)))
        return false;
    reading *r = wf_tape_memory(t, sizeof *r);
    if (!r) return false;
    r->of = s;
    wf_scope_push(t, wf_module_name(s->module));
    wf_var *final[WF_CELL_STATES];
    wf_var *words = dropped(t, s, wf_embedding_forward(t, s->source, source));
    wf_var *outputs = wf_rnn_forward(t, s->encoder, words,
                                     &(wf_rnn_call){ .lengths = lengths, .final = final });
    int memories = 0;
    if (outputs && cross_bridge(t, r, outputs, final, lengths)) {
        const rnn_form f = rnn_form_of(s->encoder);
        add_states(t, r, S, B, wf_dtype_of(outputs));
        if (s->attention) {
            wf_attention_read(t, s->attention, dropped(t, s, outputs), lengths, NULL, r->memory);
            memories = WF_ATTENTION_MEMORY;
        } else if (s->options.fixed_context) {
            r->memory[memories++] = last_of(t, &f, final[0], f.layers - 1);
        }
    }
    wf_scope_pop(t);
    if (!wf_tape_ok(t)) return false;
    *decoder = (wf_decoder){ .step = step,
                             .output = output,
                             .self = r,
                             .memory = { memories, r->memory },
                             .initial = { r->states, r->state },
                             .name = wf_module_name(s->module) };
    return true;
}

wf_var *wf_seq2seq_logits(wf_tape *t, const wf_seq2seq *s, wf_var *features)
{
    features = layer_enter(t, kind_name, s ? s->module : NULL, features, "the features");
    if (!features) return NULL;
    wf_scope_push(t, wf_module_name(s->module));
    wf_var *y = wf_affine(t, read_out(t, s, features), s->weight, s->bias);
    wf_scope_pop(t);
    return y;
}

wf_var *wf_seq2seq_loss(wf_tape *t, const wf_seq2seq *s, wf_var *source, wf_var *lengths,
                        const wf_decode_call *call, wf_var *after,
                        const wf_cross_entropy_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_decoder decoder;
    if (!(after = ids_enter(t, s, after, "what follows")) ||
        !wf_seq2seq_decoder(t, s, source, lengths, &decoder))
        return NULL;
    wf_var *features = wf_decode(t, &decoder, call);
    if (!features) return NULL;
    wf_scope_push(t, wf_module_name(s->module));
    wf_var *loss = wf_affine_cross_entropy(t, read_out(t, s, features), s->weight, s->bias, after,
                                           options);
    wf_scope_pop(t);
    return loss;
}
