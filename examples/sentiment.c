/* What a sentence feels like: many to one. Words become vectors, a bidirectional LSTM reads them,
 * and what is largest of its features over time, and their mean, tells the class, of any number.
 *
 * Expected: `sentiment`, on sentences that it makes, 1.0000 of the test (seeds 0 to 3) within a
 * minute; `sentiment --data pos.txt --data neg.txt --fold K` on rt-polarity 0.7765 in the mean of
 * all ten folds, 0.7514 to 0.7964. */
#include <weft.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    wf_run_options run;
    wf_option_list data, test;
    const char *label, *text;
    int64_t embedding, hidden, batch, min_count, folds, fold;
    double dropout, word_dropout;
    bool judge;
} options;

enum { MOST = 1024 }; /* sentences in a batch */

static const wf_option rows[] = {
    { WF_OPTION(options, data), "FILE",
      "UTF-8. Several times: a text of each class, a sentence a line; the class is\n"
      "named as the file is. Once: CSV or TSV, a column of classes, one of sentences\n"
      "(without it: sentences that it makes)" },
    { WF_OPTION(options, label), "COLUMN", "of classes: a name, or from 0", WF_OPTION_KEPT },
    { WF_OPTION(options, text), "COLUMN", "of sentences", WF_OPTION_KEPT },
    { WF_OPTION(options, test), "FILE", "is judged at the end (without it: a fold of --data)" },
    { WF_OPTION(options, embedding), "N", "width of a word", WF_OPTION_FIXED, 1, 65536 },
    { WF_OPTION(options, hidden), "N", "units in each direction", WF_OPTION_FIXED, 1, 65536 },
    { WF_OPTION(options, batch), "N", "sentences in a step", WF_OPTION_KEPT, 1, MOST },
    { WF_OPTION(options, min_count), "N", "rarer words are unknown", WF_OPTION_KEPT, 1, 1e9 },
    { WF_OPTION(options, folds), "N", "parts; one is the test", WF_OPTION_FIXED, 2, 1000 },
    { WF_OPTION(options, fold), "K", "which one, from 0", WF_OPTION_FIXED, 0, 999 },
    { WF_OPTION(options, dropout), "P", "of features", WF_OPTION_KEPT, 0, 1, .below = true },
    { WF_OPTION(options, word_dropout), "P", "of words, not made ones",
      WF_OPTION_KEPT, 0, 1, .below = true },
    { WF_OPTION(options, judge), .help = "tells the class of each line of standard input" },
};

/* ---- sentences ---- */

typedef struct data {
    wf_labelled *texts; /* NULL: only --judge */
    wf_vocab *words;
    wf_ids *ids;
    int64_t *train, *valid, *test, n, n_train, n_valid, n_test, seed; /* of the parts */
    bool made;
    wf_padded batch;
} data;

/* "the film and the cast is not not warm": each "not" turns the word at the end around. */
static wf_labelled *made_sentences(uint64_t seed, wf_error *e)
{
    static const char *const about[] = { "plot", "film", "cast", "score", "ending", "script" };
    static const char *const words[] = { "dull", "bad",  "flat",  "cold",   "weak",  "stale",
                                         "warm", "good", "fresh", "bright", "clear", "strong" };
    wf_labelled *made = wf_labelled_new(NULL, e);
    for (uint64_t i = 0; made && i < 4000; i++) {
        const uint64_t key = wf_key_with(seed, i);
        const int64_t nots = wf_random_below(key, 0, 3), word = wf_random_below(key, 1, 12);
        char line[256] = "the ";
        for (int64_t k = wf_random_below(key, 2, 4); k >= 0; k--)
            wf_append(line, sizeof line, k ? "%s and the " : "%s is",
                      about[wf_random_below(key, 3 + (uint64_t)k, 6)]);
        for (int64_t k = 0; k < nots; k++) wf_append(line, sizeof line, " not");
        const int64_t n = (int64_t)wf_append(line, sizeof line, " %s", words[word]);
        wf_labelled_add(made, (word < 6) ^ (nots % 2) ? "bad" : "good", line, n, e);
    }
    return made;
}

/* One fold is the test, or what --test adds; of the others a tenth says which epoch is best. */
static bool split(data *d, const options *o, int64_t n, wf_error *e)
{
    const int32_t *label = wf_labelled_all(d->texts);
    int32_t *fold = calloc(2 * (size_t)d->n + 1, sizeof *fold), *part = fold + d->n;
    d->train = malloc((3 * (size_t)d->n + 1) * sizeof *d->train);
    if (!fold || !d->train) return free(fold), wf_error_set(e, "not enough memory");
    const wf_partition_options how = { .seed = (uint64_t)d->seed, .labels = label };
    const bool ok = (!n || n < d->n || wf_kfold(n, o->folds, &how, fold, e)) &&
                    (!n || wf_partition(n, (double[]){ 0.9, 0.1 }, 2, &how, part, e));
    for (int64_t i = 0; ok && i < d->n; i++)
        if (i >= n || (n == d->n && fold[i] == o->fold)) part[i] = 2;
    d->valid = d->train + d->n, d->test = d->valid + d->n;
    d->n_train = wf_partition_items(part, d->n, 0, false, d->train, d->n);
    d->n_valid = wf_partition_items(part, d->n, 1, false, d->valid, d->n);
    d->n_test = wf_partition_items(part, d->n, 2, false, d->test, d->n);
    free(fold);
    return ok && (o->fold < o->folds || wf_error_set(e, "option --fold: it must be below --folds"));
}

/* The sentences, of the classes that a saved model has: all, those of a test alone, or none. */
static bool read_texts(data *d, const options *o, const char *known, wf_error *e)
{
    const wf_labelled_options how = { o->label, o->text, .known = known };
    d->made = !known && !o->data.n;
    d->texts = d->made     ? made_sentences((uint64_t)d->seed, e)
               : o->data.n ? wf_labelled_from_files(o->data.at, o->data.n, &how, e)
                           : wf_labelled_new(&how, e);
    const int64_t n = wf_labelled_count(d->texts);
    if (o->test.n && d->texts) wf_labelled_add_files(d->texts, o->test.at, o->test.n, e);
    d->n = wf_labelled_count(d->texts);
    if (!known && 2 * wf_labelled_classes(d->texts) > d->n && !e->text[0])
        return wf_error_set(e, "%lld classes of %lld texts: are --label and --text swapped?",
                            (long long)wf_labelled_classes(d->texts), (long long)d->n);
    d->ids = calloc((size_t)d->n + 1, sizeof *d->ids);
    return d->texts && d->ids && !e->text[0] && split(d, o, n, e);
}

/* What was understood of the data. */
static void tell(wf_run *run, const data *d)
{
    char text[1024];
    int64_t words = 0, unknown = 0;
    for (int64_t i = 0; i < d->n_test; i++)
        for (int64_t k = 0; k < d->ids[d->test[i]].n; k++, words++)
            unknown += d->ids[d->test[i]].at[k] == WF_UNK;
    wf_labelled_report(d->texts, text, sizeof text);
    wf_run_say(
        run,
        "%s\n%lld to learn from, %lld say which epoch is best, %lld for the test; %lld words "
        "are known, all but %.1f %% of the test's",
        text, (long long)d->n_train, (long long)d->n_valid, (long long)d->n_test,
        (long long)(wf_vocab_size(d->words) - WF_SPECIAL_IDS),
        100 * (double)unknown / (double)(words ? words : 1));
}

/* The words are the saved model's, or those of the training part. */
static bool read_data(data *d, const options *o, const wf_archive *saved, wf_error *e)
{
    const char *known = wf_archive_meta(saved, "classes"), *made = wf_archive_meta(saved, "made");
    d->seed = o->run.seed;
    wf_archive_meta_integer(saved, "parts", &d->seed);
    if (saved && !(d->words = wf_vocab_from_archive(saved, "words", e))) return false;
    if (saved && !known) return wf_error_set(e, "load %s: it knows no classes", o->run.load);
    if (saved && !made && !o->data.n && !o->test.n && !o->judge)
        return wf_error_set(
            e, "load %s: it has learned from files; --data names them, --test others", o->run.load);
    if (!read_texts(d, o, made && !o->judge ? NULL : known, e)) return false;
    if (!saved)
        d->words = wf_labelled_vocab(d->texts, d->train, d->n_train,
                                     &(wf_vocab_options){ .min_count = o->min_count }, e);
    for (int64_t i = 0; d->words && i < d->n; i++)
        wf_text_ids(d->words, wf_labelled_text(d->texts, i).bytes, wf_labelled_text(d->texts, i).n,
                    &d->ids[i], e);
    return d->words && !e->text[0];
}

/* ---- the model ---- */

typedef struct model {
    wf_module *net;
    wf_embedding *words;
    wf_rnn *rnn;
    wf_linear *head;
    const options *o;
} model;

static model model_new(const options *o, const data *d)
{
    wf_module *net = wf_module_new("sentiment",
                                   &(wf_module_options){ .seed = (uint64_t)o->run.seed });
    const int64_t width = 4 * o->hidden + o->embedding; /* see logits_of */
    const wf_embedding_options words = { wf_vocab_size(d->words), o->embedding,
                                         .init = { WF_INIT_UNIFORM, -0.1, 0.1 } };
    const wf_rnn_options rnn = { o->embedding, o->hidden, .bidirectional = true };
    const wf_linear_options head = { .input = width, .output = wf_labelled_classes(d->texts) };
    return (model){ net, wf_embedding_new(net, "words", &words), wf_lstm_new(net, "rnn", &rnn),
                    wf_linear_new(net, "head", &head), o };
}

/* The first columns of a word begin as what naive Bayes knows of it: the logarithm of how much more
 * often it is in sentences of each class than in others (Wang and Manning 2012). */
static bool begin_words(const model *m, const data *d, wf_error *e)
{
    const int64_t n = wf_vocab_size(d->words), classes = wf_labelled_classes(d->texts);
    double *count = calloc((size_t)(n * classes + classes), sizeof *count),
           *all = count + n * classes;
    if (!count) return wf_error_set(e, "not enough memory");
    for (int64_t i = 0; i < n * classes; i++) count[i] = 1;
    for (int64_t i = 0; i < d->n_train; i++) {
        const wf_ids ids = d->ids[d->train[i]];
        for (int64_t k = 0; k < ids.n; k++)
            count[ids.at[k] * classes + wf_labelled_class(d->texts, d->train[i])]++;
    }
    for (int64_t i = 0; i < n * classes; i++) all[i % classes] += count[i];
    const wf_tensor *table = wf_param_value(m->words->weight);
    for (int64_t i = 0; i < n * classes; i++) {
        const int64_t word = i / classes, k = i % classes;
        double of_others = 0, others = 0;
        for (int64_t c = 0; c < classes; c++)
            if (c != k) of_others += count[word * classes + c], others += all[c];
        if (word < WF_SPECIAL_IDS || k >= m->o->embedding) continue;
        ((float *)table->data)[word * m->o->embedding + k] =
            (float)(0.3 * log(count[i] / all[k] * others / of_others));
    }
    wf_param_changed(m->words->weight);
    free(count);
    return true;
}

/* Sentences (T, B) to logits (B, classes). */
static wf_var *logits_of(wf_tape *t, const model *m, const wf_padded *batch)
{
    wf_var *ids = wf_constant_tensor(t, &batch->ids);
    wf_var *lengths = wf_constant_tensor(t, &batch->lengths);
    wf_var *x = wf_embedding_forward(t, m->words, ids); /* (T, B, E) */
    x = wf_dropout(t, x, m->o->dropout);
    wf_var *h = wf_rnn_forward(t, m->rnn, x,
                               &(wf_rnn_call){ .lengths = lengths }); /* (T, B, 2 H) */
    h = wf_concat(t, -1,
                  WF_VARS(wf_max_over_time(t, h, lengths), wf_mean_over_time(t, h, lengths),
                          wf_mean_over_time(t, x, lengths)));
    return wf_linear_forward(t, m->head, wf_dropout(t, h, m->o->dropout));
}

/* n sentences as a batch; in training a word is unknown now and then, by the step's number. */
static bool batch_of(data *d, const int64_t *which, int64_t n, double unknown, uint64_t key,
                     wf_error *e)
{
    wf_ids sequences[MOST];
    for (int64_t i = 0; i < n; i++) sequences[i] = d->ids[which[i]];
    if (!wf_pad(&d->batch, sequences, n, &(wf_pad_options){ .time = 0 }, e)) return false;
    int32_t *ids = d->batch.ids.data;
    for (int64_t i = 0; unknown > 0 && i < wf_tensor_count(&d->batch.ids); i++)
        if (wf_random_uniform(key, (uint64_t)i) < unknown) ids[i] = WF_UNK;
    return true;
}

/* The mean loss of n sentences; which classes they were taken for. */
static double judge(wf_run *run, const model *m, data *d, const int64_t *which, int64_t n,
                    wf_confusion *seen)
{
    wf_tape *t = wf_run_tape(run);
    double nats = 0;
    for (int64_t at = 0, more; wf_run_ok(run) && at < n; at += more) {
        more = n - at < 256 ? n - at : 256;
        wf_tape_reset(t);
        if (!batch_of(d, which + at, more, 0, 0, wf_run_error(run))) return (double)NAN;
        wf_var *logits = logits_of(t, m, &d->batch);
        int32_t labels[256];
        for (int64_t i = 0; i < more; i++) labels[i] = wf_labelled_class(d->texts, which[at + i]);
        wf_var *target = wf_constant(t, WF_I32, WF_SHAPE(more), labels);
        nats += wf_item(wf_cross_entropy_with(t, logits, target, NULL)) * (double)more;
        wf_confusion_add(seen, wf_value(wf_argmax(t, logits, -1)), wf_value(target), NULL,
                         wf_run_error(run));
    }
    return nats / (double)n;
}

/* ---- the program ---- */

static void learn(wf_run *run, const model *m, data *d, wf_confusion *seen)
{
    const options *o = m->o;
    wf_tape *t = wf_run_tape(run);
    int64_t *order = malloc((size_t)d->n_train * 2 * sizeof *order), *now = order + d->n_train;
    int64_t shuffled = -1; /* the epoch that `order` is of */
    if (!order) wf_run_fail(run, "not enough memory");
    while (wf_run_next(run)) {
        const uint64_t key = wf_key_with((uint64_t)o->run.seed, (uint64_t)wf_run_epoch(run));
        const int64_t at = wf_run_position(run) * o->batch;
        const int64_t n = d->n_train - at < o->batch ? d->n_train - at : o->batch;
        int32_t labels[MOST];
        if (shuffled != wf_run_epoch(run)) wf_permutation(d->n_train, key, order);
        shuffled = wf_run_epoch(run);
        for (int64_t i = 0; i < n; i++) {
            now[i] = d->train[order[at + i]];
            labels[i] = wf_labelled_class(d->texts, now[i]);
        }
        const uint64_t drop = wf_key_with(key, (uint64_t)at);
        if (!batch_of(d, now, n, d->made ? 0 : o->word_dropout, drop, wf_run_error(run))) break;
        wf_var *target = wf_constant(t, WF_I32, WF_SHAPE(n), labels);
        wf_run_learn(run, wf_cross_entropy_with(t, logits_of(t, m, &d->batch), target, NULL), n);
        if (!wf_run_epoch_ended(run)) continue;
        wf_confusion_clear(seen);
        const double loss = judge(run, m, d, d->valid, d->n_valid, seen);
        wf_run_judge(run, (double[]){ loss, wf_confusion_accuracy(seen) });
    }
    free(order);
}

/* The test, and which class was taken for which. */
static void report(wf_run *run, const model *m, data *d, wf_confusion *seen)
{
    char text[8192];
    double most = 0;
    wf_confusion_clear(seen);
    judge(run, m, d, d->test, d->n_test, seen);
    for (int64_t k = 0; k < wf_confusion_classes(seen); k++)
        most = fmax(most, (double)wf_confusion_class(seen, k).target / (double)d->n_test);
    wf_confusion_text(seen, text, sizeof text);
    if (wf_run_ok(run))
        printf("test: accuracy %.4f of %lld sentences (%.4f if all were of the largest class)\n%s",
               wf_confusion_accuracy(seen), (long long)d->n_test, most, text);
}

/* Each line of standard input behind its class and how likely that is; "?" where no word is
 * known. */
static void judge_lines(wf_run *run, const model *m, data *d)
{
    wf_tape *t = wf_run_tape(run);
    char *line = NULL;
    size_t room = 0;
    int64_t number = 0;
    for (ssize_t n; wf_run_ok(run) && (n = getline(&line, &room, stdin)) > 0;) {
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
        wf_ids ids;
        wf_error e;
        if (number++, !wf_text_ids(d->words, line, n, &ids, &e))
            wf_run_fail(run, "line %lld of standard input: %s", (long long)number, e.text);
        int64_t known = 0;
        for (int64_t i = 0; i < ids.n; i++) known += ids.at[i] != WF_UNK;
        wf_tape_reset(t);
        if (wf_run_ok(run) && wf_pad(&d->batch, &ids, 1, NULL, wf_run_error(run))) {
            wf_var *p = wf_softmax(t, logits_of(t, m, &d->batch), -1);
            const int best = (int)wf_item(wf_argmax(t, p, -1));
            printf("%s\t%.3f\t%.*s\n", known ? wf_labelled_name(d->texts, best) : "?",
                   known ? wf_at(p, best) : 0, (int)n, line);
            fflush(stdout); /* who reads through a pipe waits for it */
        }
        wf_text_ids_free(&ids);
    }
    free(line);
}

static void save(const void *self, wf_bundle *b)
{
    const data *d = self;
    wf_vocab_to_bundle(d->words, b, "words");
    wf_bundle_meta(b, "parts", "%lld", (long long)d->seed);
    if (d->made) wf_bundle_meta(b, "made", "true");
    wf_bundle_meta(b, "classes", "%s", wf_labelled_known(d->texts));
}

/* Of few sentences, and where nothing else was asked for: smaller steps, and more epochs. */
static int64_t steps_of(const data *d, options *o, wf_run *run)
{
    const bool asked = wf_run_archive(run) || wf_run_given(run, "batch") ||
                       wf_run_given(run, "epochs") || wf_run_given(run, "steps");
    if (!asked && d->n_train < 12 * o->batch) o->batch = d->n_train < 48 ? 4 : d->n_train / 12;
    const int64_t steps = (d->n_train + o->batch - 1) / o->batch;
    if (!asked && steps && 5 * steps < 800)
        o->run.epochs = (800 + steps - 1) / steps,
        wf_run_say(run, "they are few: --batch %d --epochs %d", (int)o->batch, (int)o->run.epochs);
    return steps ? steps : 1;
}

int main(int argc, char **argv)
{
    options o = { .embedding = 100, .hidden = 64, .batch = 50, .min_count = 2, .folds = 10 };
    o.run = (wf_run_options){ .epochs = 5, .lr = 1e-3, .clip = 1, .average = 3 };
    o.dropout = o.word_dropout = 0.5;
    const wf_run_call call = { "sentiment", "Learns which class a sentence is of.",
                               WF_OPTIONS(rows, &o), .options = &o.run };
    wf_run *run = wf_run_new(&call, argc, argv);
    const wf_archive *saved = wf_run_archive(run);
    data d = { 0 };
    model m = { 0 };
    wf_optim *adam = NULL;
    wf_confusion *seen = NULL;
    for (int64_t i = 0; i < o.data.n; i++) wf_run_reads(run, o.data.at[i]);
    for (int64_t i = 0; i < o.test.n; i++) wf_run_reads(run, o.test.at[i]);
    if (o.judge && !saved && !o.data.n)
        wf_run_fail(run, "option --judge: it needs --load, a saved model, or --data to learn from");
    if (wf_run_ok(run) && read_data(&d, &o, saved, wf_run_error(run))) {
        if (d.n) tell(run, &d);
        const int64_t steps = steps_of(&d, &o, run);
        m = model_new(&o, &d);
        if (!saved) begin_words(&m, &d, wf_run_error(run));
        adam = wf_adam_new(m.net, NULL);
        seen = wf_confusion_new(wf_labelled_classes(d.texts), wf_labelled_names(d.texts),
                                wf_run_error(run));
        wf_run_begin(run, &(wf_run_plan){ .net = m.net,
                                          .optim = d.n_train ? adam : NULL,
                                          .steps_per_epoch = steps,
                                          .unit = "sentences",
                                          .figures = { "valid_loss", "valid_accuracy" },
                                          .save = save,
                                          .self = &d });
        learn(run, &m, &d, seen);
    }
    if (wf_run_finish(run)) {
        if (d.n_test) report(run, &m, &d, seen);
        if (o.judge) judge_lines(run, &m, &d);
    }
    for (int64_t i = 0; d.ids && i < d.n; i++) wf_text_ids_free(&d.ids[i]);
    free(d.ids), free(d.train), wf_confusion_free(seen);
    wf_padded_free(&d.batch), wf_vocab_free(d.words), wf_labelled_free(d.texts);
    wf_optim_free(adam), wf_module_free(m.net);
    return wf_run_free(run);
}
