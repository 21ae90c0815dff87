/* Training: the batches of an epoch, what is judged and shown at its end, what a file holds. */
#include "examples/translate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* For programs that use a saved model: examples of such are in tests/check_translate. Beside the
 * weights and the options (layers, hidden, embedding ... as --help has them) the file has both
 * vocabularies. A recurrent model is a wf_seq2seq named "recurrent" with .bidirectional and .tied
 * true, .cell, .attention and .attend_after (--after) as the options say, with --attention dot or
 * scaled .encoder_hidden of hidden / 2, with none .no_attention and .fixed_context; a transformer
 * is a wf_transformer named "transformer" with .tie_output true, .layer's width, heads and hidden,
 * and both numbers of layers. Sources end with WF_EOS. */
static void save(const void *self, wf_bundle *b)
{
    const translator *r = self;
    wf_vocab_to_bundle(r->x.vocab[WF_SOURCE], b, "source.vocab");
    wf_vocab_to_bundle(r->x.vocab[WF_TARGET], b, "target.vocab");
    wf_bundle_meta(b, "texts", "%s", r->o.data ? "files" : r->x.dates ? "dates" : r->x.of);
}

static wf_optim *adam_new(const translator *r)
{
    wf_adam_options adam = wf_adam_defaults();
    adam.lr = r->o.run.lr;
    if (r->m.transformer) {
        adam.beta2 = 0.98;
        adam.eps = 1e-9;
    }
    return wf_adam_new(r->m.net, &adam);
}

/* Without training nothing is counted; what the file says of it stays. */
static bool begin(translator *r, bool train)
{
    options *o = &r->o;
    wf_error *err = wf_run_error(r->run);
    const int64_t sentences = o->batch ? o->batch : o->tokens / 20 + 1;
    const wf_buckets_options how = { .max_tokens = o->tokens,
                                     .max_sentences = o->batch,
                                     .pool = 50 * sentences,
                                     .seed = (uint64_t)o->run.seed };
    if (train && !(r->batches = wf_buckets_new(r->x.train, &how, err))) return false;
    if (train || o->run.save) r->adam = adam_new(r);
    if (!wf_module_ok(r->m.net, err)) return false;
    const uint64_t data = wf_parallel_hash(r->x.train);
    const wf_run_plan plan = {
        .net = r->m.net,
        .optim = r->adam,
        .steps_per_epoch = train ? wf_buckets_count(r->batches) : 1,
        .unit = wf_vocab_letters(r->x.vocab[WF_TARGET]) ? "letters" : "words",
        .figures = { "perplexity" },
        .uneven = true,
        .data = wf_key_with(wf_key_with(data, (uint64_t)o->batch), (uint64_t)o->tokens),
        .save = save,
        .self = r,
    };
    const int64_t epochs = o->run.epochs, steps = o->run.steps;
    if (!train) o->run.epochs = o->run.steps = 0;
    const bool ok = wf_run_begin(r->run, &plan);
    o->run.epochs = epochs, o->run.steps = steps;
    if (!ok || !train) return ok;
    if (!wf_buckets_seek(r->batches, wf_run_epoch(r->run), wf_run_position(r->run)))
        return wf_error_set(err, "load %s: there is no such place in its epoch", o->run.load);
    return wf_run_set_steps(r->run, wf_buckets_count(r->batches));
}

/* Three sentences of the validation text, translated greedily. */
static void show_samples(translator *r)
{
    const wf_parallel *v = r->x.valid;
    const int64_t pairs = wf_parallel_count(v).pairs, n = pairs < 3 ? pairs : 3;
    for (int64_t k = 0; k < n; k++) {
        const wf_text source = wf_parallel_text(v, WF_SOURCE, k * pairs / n);
        char *said = translate_line(r, source, 1, NULL, wf_run_error(r->run));
        if (said) wf_run_say(r->run, "  | %.*s\n  > %s", (int)source.n, source.bytes, said);
        free(said);
    }
}

bool learn(translator *r, bool train)
{
    const wf_cross_entropy_options how = { .has_ignore = true,
                                           .ignore = WF_PAD,
                                           .label_smoothing = r->o.smoothing };
    if (!begin(r, train)) return false;
    while (train && wf_run_next(r->run)) {
        const wf_pairs *batch = wf_buckets_next(r->batches);
        const double sampling = r->o.sampling * wf_run_part(r->run);
        wf_run_learn(r->run, model_loss(r->t, &r->m, batch, sampling, &how), batch->tokens);
        if (!wf_run_epoch_ended(r->run)) continue;
        wf_run_judge(r->run, (double[]){ perplexity_of(r, r->x.valid) });
        if (wf_run_due(r->run)) show_samples(r);
        wf_buckets_next(r->batches); /* NULL: the next epoch begins */
        wf_run_set_steps(r->run, wf_buckets_count(r->batches));
    }
    return wf_run_finish(r->run);
}
