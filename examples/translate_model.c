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

static const wf_cell *cell_named(const char *name)
{
    if (!strcmp(name, "gru")) return wf_gru_row();
    if (!strcmp(name, "lstm")) return wf_lstm_row();
    return strcmp(name, "rnn") ? NULL : wf_elman_row();
}

static bool is_one_of(const char *option, const char *value, const char *const *names,
                      const char *said, wf_error *err)
{
    for (; *names; names++)
        if (!strcmp(value, *names)) return true;
    return wf_error_set(err, "--%s is '%s'; it must be %s", option, value, said);
}

bool options_name_what_there_is(const options *o, wf_error *err)
{
    static const char *const models[] = { "recurrent", "transformer", NULL };
    static const char *const schedules[] = { "constant", "decay", "halve", "inverse", NULL };
    static const char *const unknowns[] = { "copy", "keep", "never", NULL };
    if (!is_one_of("model", o->model, models, "recurrent or transformer", err) ||
        !is_one_of("schedule", o->schedule, schedules, "constant, decay, halve or inverse", err) ||
        !is_one_of("unknown", o->unknown, unknowns, "copy, keep or never", err))
        return false;
    if (!cell_named(o->cell))
        return wf_error_set(err, "--cell is '%s'; it must be gru, lstm or rnn", o->cell);
    if (attention_named(o->attention) < 0 && strcmp(o->attention, "none"))
        return wf_error_set(err,
                            "--attention is '%s'; it must be additive, dot, scaled, general, "
                            "concat, location or none",
                            o->attention);
    return true;
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
                               .cell = cell_named(o->cell),
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
    m->net = wf_module_new("translate", &(wf_module_options){ .seed = (uint64_t)o->seed });
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

/* The part of `flat` that is parameter i; *at moves behind it. */
static wf_tensor part_of(const wf_tensor *value, const float *flat, int64_t *at)
{
    wf_tensor part = wf_tensor_over(WF_F32, wf_tensor_shape(value), flat + *at);
    *at += wf_tensor_count(value);
    return part;
}

void model_flatten(const model *m, float *to)
{
    for (int64_t i = 0, at = 0; i < wf_module_param_count(m->net); i++) {
        const wf_tensor *value = wf_param_value(wf_module_param_at(m->net, i));
        const wf_tensor part = part_of(value, to, &at);
        wf_tensor_copy(value, &part);
    }
}

void model_restore(const model *m, const float *from)
{
    for (int64_t i = 0, at = 0; i < wf_module_param_count(m->net); i++) {
        wf_var *param = wf_module_param_at(m->net, i);
        const wf_tensor *value = wf_param_value(param), part = part_of(value, from, &at);
        wf_tensor_copy(&part, value);
        wf_param_changed(param);
    }
}
