/* Names in a text: a tagger as Lample et al. 2016 and Ma and Hovy 2016 have it. A word is its own
 * vector and what a bidirectional LSTM made of its letters; another one reads the sentence, and a
 * conditional random field chooses all of its tags together. Columns as the CoNLL tasks have them,
 * in any language.
 *
 * Expected: `tagger`, on sentences that it makes, an F1 of 99.8, 100.0 and 99.8 on the test (seeds
 * 1 to 3) in some ten seconds; with `--letters 0` 90.0, 87.9 and 88.2, because three names
 * in five have a word there that training never had. */
#include "tagger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    wf_run_options run;
    const char *data, *valid, *test, *made, *tag, *out, *scheme;
    int64_t column, word_column, embedding, letters, hidden, batch, min_count;
    double dropout, word_dropout;
} options;

static const wf_option rows[] = {
    { WF_OPTION(options, data), "FILE",
      "UTF-8: a line is a word and its tag, of any scheme, among other columns; an\n"
      "empty line ends a sentence (without it: sentences that it makes)" },
    { WF_OPTION(options, valid), "FILE",
      "says which epoch is best (without it: a tenth of --data)" },
    { WF_OPTION(options, test), "FILE", "is judged at the end (without it: a tenth of --data)" },
    { WF_OPTION(options, made), "FILE", "where the sentences that it makes are written, too" },
    { WF_OPTION(options, column), "N", "of the tags, from 0; -1: the last", WF_OPTION_KEPT, -1,
      999 },
    { WF_OPTION(options, word_column), "N", "of the words", WF_OPTION_KEPT, 0, 999 },
    { WF_OPTION(options, scheme), "NAME", "of the tags that it learns and writes", WF_OPTION_FIXED,
      .choices = "iob2 iob1 iobes" },
    { WF_OPTION(options, embedding), "N", "width of a word", WF_OPTION_FIXED, 1, 65536 },
    { WF_OPTION(options, letters), "N",
      "width of a letter, and units in each direction that read a word's; 0: none", WF_OPTION_FIXED,
      0, 65536 },
    { WF_OPTION(options, hidden), "N", "units in each direction", WF_OPTION_FIXED, 1, 65536 },
    { WF_OPTION(options, batch), "N", "sentences in a step", WF_OPTION_KEPT, 1, 65536 },
    { WF_OPTION(options, min_count), "N", "rarer words are unknown", WF_OPTION_KEPT, 1, 1e9 },
    { WF_OPTION(options, dropout), "P", "of features", WF_OPTION_KEPT, 0, 1, .below = true },
    { WF_OPTION(options, word_dropout), "P", "of words; their letters stay", WF_OPTION_KEPT, 0, 1,
      .below = true },
    { WF_OPTION(options, tag), "FILE",
      "is read at the end (-: standard input), words alone or more columns," },
    { WF_OPTION(options, out), "FILE", "and written here with one more (without it: to stdout)" },
};

/* ---- columns of words and tags ---- */

enum { WORDS = WF_CONLL_WORDS, TAGS = WF_CONLL_TAGS, LETTERS = WF_CONLL_LETTERS, KINDS };
enum { LEARN, VALID, TEST, TAG, PARTS, AT_ONCE = 64 };

typedef struct part { /* some sentences of a text */
    wf_conll *text;
    int64_t *which, n;
} part;

typedef struct data {
    const options *o;
    wf_tag_scheme scheme;
    wf_conll *files[PARTS];
    part parts[PARTS];
    wf_vocab *vocab[KINDS];
    wf_padded batch[KINDS];
} data;

static const char *const kinds[] = { "vocab.words", "vocab.tags", "vocab.letters" };

static wf_tag_scheme scheme_of(const char *name)
{
    return !strcmp(name, "iob2") ? WF_IOB2 : !strcmp(name, "iob1") ? WF_IOB1 : WF_IOBES;
}

static int64_t column_of(const data *d, const wf_conll *text, int kind)
{
    if (kind != TAGS) return d->o->word_column;
    return d->o->column < 0 ? wf_conll_columns(text) - 1 : d->o->column;
}

static int64_t tags_in(const data *d)
{
    return wf_vocab_size(d->vocab[TAGS]) - WF_SPECIAL_IDS;
}

/* At most n sentences of a part from one on, with tags or without; how many there are, or 0. */
static int64_t batch_of(data *d, const part *p, int64_t at, int64_t n, bool tags, wf_error *e)
{
    if (p->n - at < n) n = p->n - at;
    for (int k = 0; k < KINDS; k++)
        if ((k != TAGS || tags) &&
            !wf_conll_batch(p->text, (wf_conll_ids)k, column_of(d, p->text, k), d->vocab[k],
                            p->which + at, n, &d->batch[k], e))
            return 0;
    return n;
}

/* What has no file of its own is a tenth of the sentences to learn from. */
static bool read_parts(data *d, bool learns, wf_error *e)
{
    const options *o = d->o;
    const char *const paths[] = { o->data, learns ? o->valid : NULL, o->test, o->tag };
    for (int k = 0; k < PARTS; k++) {
        if (k == LEARN ? !learns : !paths[k]) continue;
        wf_conll *c = paths[k] ? wf_conll_new(paths[k], NULL, e)
                               : made_sentences((uint64_t)o->run.seed, o->made, e);
        d->files[k] = c;
        if (!c || (k != TAG && !wf_conll_convert(c, column_of(d, c, TAGS), d->scheme, e)))
            return false;
    }
    const double sizes[] = { 8, !d->files[VALID], !d->files[TEST] };
    const wf_partition_options how = { .seed = (uint64_t)o->run.seed };
    const int64_t all = wf_conll_sentences(d->files[LEARN]);
    int32_t *at = calloc((size_t)all + 1, sizeof *at);
    bool ok = at && (!learns || wf_partition(all, sizes, 3, &how, at, e));
    for (int k = 0; k < PARTS && ok; k++) {
        part *p = &d->parts[k];
        p->text = d->files[k] ? d->files[k] : d->files[LEARN];
        const int64_t n = wf_conll_sentences(p->text);
        p->which = malloc((size_t)(n + 1) * sizeof *p->which);
        ok = p->which;
        if (ok && p->text == d->files[LEARN])
            p->n = wf_partition_items(at, n, k, false, p->which, n);
        for (; ok && p->text != d->files[LEARN] && p->n < n; p->n++) p->which[p->n] = p->n;
    }
    free(at);
    return ok || wf_error_set(e, "not enough memory");
}

/* The words, letters and tags are the saved model's, or those of the training part. */
static bool read_data(data *d, const wf_archive *saved, wf_error *e)
{
    const options *o = d->o;
    if (!read_parts(d, !saved || o->data || !(o->tag || o->test), e)) return false;
    const part *p = d->parts;
    for (int k = 0; k < KINDS; k++) {
        const wf_vocab_options how = { .min_count = k ? 1 : o->min_count, .letters = k == LETTERS };
        const int64_t column = column_of(d, p->text, k);
        d->vocab[k] = saved       ? wf_vocab_from_archive(saved, kinds[k], e)
                      : k == TAGS ? wf_conll_tags(p->text, column, d->scheme, e)
                                  : wf_conll_vocab(p->text, column, p->which, p->n, &how, e);
        if (!d->vocab[k]) return false;
    }
    for (int k = 0; k < PARTS; k++) /* what cannot be made a batch is told now */
        for (int64_t at = 0, n; at < p[k].n; at += n)
            if (!(n = batch_of(d, p + k, at, AT_ONCE, k != TAG, e))) return false;
    return true;
}

/* ---- the model ---- */

typedef struct model {
    wf_module *net;
    wf_embedding *words, *letters;
    wf_rnn *speller, *reader;
    wf_linear *head;
    wf_crf *crf;
} model;

static model model_new(const options *o, const data *d)
{
    const int64_t words = wf_vocab_size(d->vocab[WORDS]),
                  letters = wf_vocab_size(d->vocab[LETTERS]);
    const wf_embedding_options table = { .input = words, .output = o->embedding },
                               spell = { .input = letters, .output = o->letters };
    const wf_rnn_options speller = { .input = o->letters,
                                     .hidden = o->letters,
                                     .bidirectional = true },
                         reader = { .input = o->embedding + 2 * o->letters,
                                    .hidden = o->hidden,
                                    .bidirectional = true };
    const wf_linear_options head = { .input = 2 * o->hidden, .output = tags_in(d) };
    wf_module *net = wf_module_new("tagger", &(wf_module_options){ .seed = (uint64_t)o->run.seed });
    return (model){ net,
                    wf_embedding_new(net, "words", &table),
                    o->letters ? wf_embedding_new(net, "letters", &spell) : NULL,
                    o->letters ? wf_lstm_new(net, "speller", &speller) : NULL,
                    wf_lstm_new(net, "reader", &reader),
                    wf_linear_new(net, "head", &head),
                    wf_crf_new(net, "crf", &(wf_crf_options){ .tags = tags_in(d) }) };
}

/* What the scheme does not allow can never be: -inf, which no step moves. */
static bool forbid(const model *m, const data *d, wf_error *e)
{
    if (!wf_module_ok(m->net, e)) return false;
    wf_var *const w[] = { m->crf->start_transitions, m->crf->end_transitions, m->crf->transitions };
    const char **tags = malloc((size_t)tags_in(d) * sizeof *tags);
    if (!tags) return wf_error_set(e, "not enough memory");
    for (int64_t i = 0; i < tags_in(d); i++)
        tags[i] = wf_vocab_word(d->vocab[TAGS], i + WF_SPECIAL_IDS);
    const bool ok = wf_tags_forbid(d->scheme, tags_in(d), tags, wf_param_value(w[0]),
                                   wf_param_value(w[1]), wf_param_value(w[2]), e);
    for (int i = 0; i < 3; i++) wf_param_changed(w[i]);
    free(tags);
    return ok;
}

/* A batch to the scores of tags, (T, B, tags). */
static wf_var *scores_of(wf_tape *t, const model *m, const data *d, wf_var **lengths)
{
    const wf_padded *words = &d->batch[WORDS], *letters = &d->batch[LETTERS];
    wf_var *x = wf_embedding_forward(t, m->words, wf_constant_tensor(t, &words->ids));
    *lengths = wf_constant_tensor(t, &words->lengths);
    if (m->speller) {
        wf_var *last[2]; /* h and c, (2, T B, letters) */
        const wf_rnn_call call = { .lengths = wf_constant_tensor(t, &letters->lengths),
                                   .final = last };
        wf_var *spelled = wf_embedding_forward(t, m->letters, wf_constant_tensor(t, &letters->ids));
        wf_rnn_forward(t, m->speller, spelled, &call);
        spelled = wf_reshape(t, wf_transpose(t, last[0], 0, 1),
                             WF_SHAPE(wf_dim(x, 0), wf_dim(x, 1), 2 * d->o->letters));
        x = wf_concat(t, -1, WF_VARS(x, spelled));
    }
    x = wf_dropout(t, x, d->o->dropout);
    x = wf_rnn_forward(t, m->reader, x, &(wf_rnn_call){ .lengths = *lengths });
    return wf_linear_forward(t, m->head, wf_dropout(t, x, d->o->dropout));
}

/* The tags that the net gives all words of a part, sentence by sentence; yours to free. */
static const char **tags_of(wf_run *run, const model *m, data *d, const part *p)
{
    wf_tape *t = wf_run_tape(run);
    const char **found = malloc((size_t)(wf_conll_words(p->text) + 1) * sizeof *found);
    if (!found) wf_run_fail(run, "not enough memory");
    for (int64_t at = 0, word = 0, n; found && at < p->n; at += n) {
        wf_tape_reset(t);
        n = batch_of(d, p, at, AT_ONCE, false, wf_run_error(run));
        wf_var *lengths, *scores = n ? scores_of(t, m, d, &lengths) : NULL;
        wf_var *best = scores ? wf_crf_decode(t, m->crf, scores, lengths, NULL) : NULL;
        if (!best) return free(found), NULL;
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < wf_conll_length(p->text, p->which[at + i]); k++)
                found[word++] = wf_vocab_word(d->vocab[TAGS],
                                              (int64_t)wf_at(best, k * n + i) + WF_SPECIAL_IDS);
    }
    return found;
}

/* ---- the program ---- */

/* F1 and accuracy, and the report of conlleval. */
static bool judge(wf_run *run, const model *m, data *d, const part *p, double figures[2],
                  char *text, size_t bytes)
{
    wf_error *e = wf_run_error(run);
    const char **found = tags_of(run, m, d, p);
    wf_spans *spans = found ? wf_spans_new(e) : NULL;
    for (int64_t i = 0, word = 0, n; spans && i < p->n; i++, word += n) {
        n = wf_conll_length(p->text, p->which[i]);
        wf_spans_add(spans, n, found + word,
                     wf_conll_fields(p->text, p->which[i], column_of(d, p->text, TAGS)), e);
    }
    const wf_span_counts counts = wf_spans_count(spans);
    const wf_span_scores scores = wf_span_scores_of(&counts);
    figures[0] = scores.f1, figures[1] = scores.accuracy;
    if (spans) wf_spans_text(spans, text, bytes);
    free(found), wf_spans_free(spans);
    return spans && wf_run_ok(run);
}

static void learn(wf_run *run, const model *m, data *d)
{
    const options *o = d->o;
    wf_tape *t = wf_run_tape(run);
    const part *all = &d->parts[LEARN];
    int64_t *order = malloc((size_t)(all->n + 1) * 2 * sizeof *order), shuffled = -1;
    const part now = { all->text, order + all->n, all->n };
    if (!order) wf_run_fail(run, "not enough memory");
    while (wf_run_next(run)) {
        const uint64_t key = wf_key_with((uint64_t)o->run.seed, (uint64_t)wf_run_epoch(run));
        const int64_t at = wf_run_position(run) * o->batch;
        if (shuffled != wf_run_epoch(run)) wf_permutation(now.n, key, order);
        for (int64_t i = 0; shuffled != wf_run_epoch(run) && i < now.n; i++)
            now.which[i] = all->which[order[i]];
        shuffled = wf_run_epoch(run);
        const int64_t n = batch_of(d, &now, at, o->batch, true, wf_run_error(run));
        if (!n) break;
        int32_t *ids = d->batch[WORDS].ids.data;
        const uint64_t drop = wf_key_with(key, (uint64_t)at);
        for (int64_t i = 0; i < wf_tensor_count(&d->batch[WORDS].ids); i++)
            if (wf_random_uniform(drop, (uint64_t)i) < o->word_dropout) ids[i] = WF_UNK;
        wf_var *lengths, *scores = scores_of(t, m, d, &lengths);
        wf_var *tags = wf_constant_tensor(t, &d->batch[TAGS].ids);
        double figures[2];
        wf_run_learn(run, wf_crf_forward(t, m->crf, scores, tags, lengths, NULL), n);
        if (wf_run_epoch_ended(run) && judge(run, m, d, &d->parts[VALID], figures, NULL, 0))
            wf_run_judge(run, figures);
    }
    free(order);
}

/* Each word's line with its tag behind it. */
static void tag(wf_run *run, const model *m, data *d)
{
    const part *p = &d->parts[TAG];
    int64_t n = 0;
    const char **found = tags_of(run, m, d, p);
    char *lines = found ? wf_conll_text(p->text, found, &n, wf_run_error(run)) : NULL;
    if (lines && d->o->out) wf_file_write(d->o->out, lines, n, wf_run_error(run));
    if (lines && !d->o->out) fwrite(lines, 1, (size_t)n, stdout);
    wf_release(lines), free(found);
}

static void save(const void *self, wf_bundle *b)
{
    const data *d = self;
    for (int k = 0; k < KINDS; k++) wf_vocab_to_bundle(d->vocab[k], b, kinds[k]);
}

int main(int argc, char **argv)
{
    options o = { .run = { .epochs = 10, .lr = 2e-3, .clip = 5 },
                  .scheme = "iobes",
                  .column = -1,
                  .embedding = 100,
                  .letters = 25,
                  .hidden = 100,
                  .batch = 20,
                  .min_count = 1,
                  .dropout = 0.5,
                  .word_dropout = 0.1 };
    const wf_run_call call = {
        "tagger", "Learns which words of a text are names.", WF_OPTIONS(rows, &o), &o.run, NULL,
        { NULL }
    };
    wf_run *run = wf_run_new(&call, argc, argv);
    const wf_archive *saved = wf_run_archive(run);
    const char *const files[] = { o.data, o.valid, o.test, o.tag };
    data d = { .o = &o, .scheme = scheme_of(o.scheme) };
    model m = { 0 };
    wf_optim *adam = NULL;
    for (int i = 0; i < 4; i++) wf_run_reads(run, files[i]);
    if (o.out && !o.tag) wf_run_fail(run, "option --out: it is for what --tag reads");
    if (o.made && o.data) wf_run_fail(run, "option --made: with --data no sentences are made");
    wf_run_writes(run, "out", o.out), wf_run_writes(run, "made", o.made);
    if (wf_run_ok(run) && read_data(&d, saved, wf_run_error(run))) {
        const int64_t steps = (d.parts[LEARN].n + o.batch - 1) / o.batch;
        m = model_new(&o, &d);
        if (!saved) forbid(&m, &d, wf_run_error(run));
        adam = wf_adam_new(m.net, NULL);
        wf_run_begin(run, &(wf_run_plan){ .net = m.net,
                                          .optim = steps ? adam : NULL,
                                          .steps_per_epoch = steps ? steps : 1,
                                          .unit = "sentences",
                                          .figures = { "f1", "accuracy" },
                                          .higher = true,
                                          .last = !d.parts[VALID].n,
                                          .save = save,
                                          .self = &d });
        learn(run, &m, &d);
    }
    char text[65536] = "";
    double figures[2];
    if (wf_run_finish(run)) { /* the report goes elsewhere than tags */
        if (d.parts[TEST].n && judge(run, &m, &d, &d.parts[TEST], figures, text, sizeof text))
            fprintf(o.tag && !o.out ? stderr : stdout, "test: %s", text);
        if (o.tag) tag(run, &m, &d);
    }
    for (int k = 0; k < PARTS; k++) free(d.parts[k].which), wf_conll_free(d.files[k]);
    for (int k = 0; k < KINDS; k++) wf_padded_free(&d.batch[k]), wf_vocab_free(d.vocab[k]);
    wf_optim_free(adam), wf_module_free(m.net);
    return wf_run_free(run);
}
