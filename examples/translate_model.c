/* The two models of translate. */
#include "examples/translate.h"

#include <string.h>

static const struct {
    const char *name;
    wf_attention_kind kind;
} attentions[] = {
    { "additive", WF_ATTENTION_ADDITIVE }, { "dot", WF_ATTENTION_DOT },
    { "scaled", WF_ATTENTION_SCALED_DOT }, { "general", WF_ATTENTION_GENERAL },
    { "concat", WF_ATTENTION_CONCAT },     { "location", WF_ATTENTION_LOCATION },
};
enum { ATTENTIONS = sizeof attentions / sizeof attentions[0] };

static int attention_named(const char *name)
{
    for (int i = 0; i < ATTENTIONS; i++)
        if (!strcmp(attentions[i].name, name)) return i;
    return -1;
}

static wf_seq2seq *recurrent_new(wf_module *net, const options *o, int64_t source, int64_t target)
{
    const int attention = attention_named(o->attention);
    wf_seq2seq_options how = { .source = source,
                               .target = target,
                               .embedding = o->embedding,
                               .hidden = o->hidden,
                               .layers = o->layers,
                               .bidirectional = true,
                               .cell = wf_cell_named(o->cell),
                               .attend_after = o->after,
                               .no_attention = attention < 0,
                               .fixed_context = attention < 0,
                               .tied = true,
                               .dropout = o->dropout };
    if (attention >= 0) how.attention.kind = attentions[attention].kind;
    /* A product of query and memory wants both of one width. */
    if (how.attention.kind == WF_ATTENTION_DOT || how.attention.kind == WF_ATTENTION_SCALED_DOT)
        how.encoder_hidden = o->hidden / 2;
    return wf_seq2seq_new(net, "recurrent", &how);
}

static wf_transformer *transformer_new(wf_module *net, const options *o, int64_t source,
                                       int64_t target)
{
    const wf_transformer_options how = { .source = source,
                                         .target = target,
                                         .layer = { .width = o->embedding,
                                                    .heads = o->heads,
                                                    .hidden = o->hidden,
                                                    .dropout = o->dropout },
                                         .encoder_layers = o->layers,
                                         .decoder_layers = o->layers,
                                         .tie_output = true };
    return wf_transformer_new(net, "transformer", &how);
}

bool model_new(model *m, const options *o, const texts *x, wf_error *err)
{
    const int64_t source = wf_vocab_size(x->vocab[WF_SOURCE]);
    const int64_t target = wf_vocab_size(x->vocab[WF_TARGET]);
    m->net = wf_module_new("translate", &(wf_module_options){ .seed = (uint64_t)o->run.seed });
    if (!strcmp(o->model, "recurrent")) {
        m->recurrent = recurrent_new(m->net, o, source, target);
        m->looks = m->recurrent && m->recurrent->attention;
    } else {
        m->transformer = transformer_new(m->net, o, source, target);
        m->looks = true;
    }
    return wf_module_ok(m->net, err);
}

wf_var *model_loss(wf_tape *t, const model *m, const wf_pairs *batch, double sampling,
                   const wf_cross_entropy_options *how)
{
    wf_var *source = wf_constant_tensor(t, &batch->source);
    wf_var *lengths = wf_constant_tensor(t, &batch->source_lengths);
    wf_var *before = wf_constant_tensor(t, &batch->before);
    wf_var *after = wf_constant_tensor(t, &batch->after);
    if (m->recurrent) {
        const wf_decode_call call = { .words = before, .sampling = sampling };
        return wf_seq2seq_loss(t, m->recurrent, source, lengths, &call, after, how);
    }
    const wf_transformer_call call = { .lengths = wf_constant_tensor(t, &batch->target_lengths),
                                       .memory_lengths = lengths };
    wf_var *features = wf_transformer_forward(t, m->transformer, source, before, &call);
    return wf_linear_cross_entropy(t, m->transformer->output, features, after, how);
}

bool model_decoder(wf_tape *t, const model *m, wf_var *source, wf_var *lengths, wf_decoder *to)
{
    if (m->recurrent) return wf_seq2seq_decoder(t, m->recurrent, source, lengths, to);
    return wf_transformer_decoder(t, m->transformer, source, lengths, to);
}
