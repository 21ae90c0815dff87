/* Translation: learns from lines of one text and the same lines in another language. Recurrent,
 * with attention of any kind (Bahdanau, Cho and Bengio 2015; Luong, Pham and Manning 2015), or a
 * transformer (Vaswani et al. 2017). Without --data it learns dates as people write them ("March
 * 3rd, 1994", "1994년 3월 3일"), letter by letter, and writes them as ISO 8601 does. Run with
 * --help for the options.
 *
 * Expected: without --data, 99.9 % of 2,001 unseen dates or more (seeds 0 to 2), in a minute. On
 * Multi30k, German to English, BLEU of 40.8 (--average 3; 51 minutes on two cores) and of 39.7
 * (--model transformer --average 5; 37 minutes). */
#include "examples/translate.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

int failed(const char *text)
{
    fprintf(stderr, "translate: %s\n", text);
    return 1;
}

/* ---- options ---- */

#define AT(field) offsetof(options, field)

/* clang-format off */
static const option_row rows[] = {
    { "data", "FOLDER", "with train.FROM and train.TO, val.*, and any test*.*, a sentence a line,\n"
      "words apart (without it: dates are made)", AT(data), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "from", "ENDING", "of the files to read (de)", AT(from), OPTION_TEXT, OPTION_KEPT, 0, 0 },
    { "to", "ENDING", "of those to write (en)", AT(to), OPTION_TEXT, OPTION_KEPT, 0, 0 },
    { "letters", NULL, "by letters, not words",
      AT(letters), OPTION_FLAG, OPTION_KEPT, 0, 0 },
    { "min-count", "N", "words that are rarer are <unk> (2)",
      AT(min_count), OPTION_WHOLE, OPTION_KEPT, 1, 1e9 },
    { "longest", "N", "longer sentences are not learned from (100)",
      AT(longest), OPTION_WHOLE, OPTION_KEPT, 1, 1e6 },
    { "pairs", "N", "dates to learn from (20000)", AT(pairs), OPTION_WHOLE, OPTION_KEPT, 1, 1e7 },
    { "model", "NAME", "recurrent or transformer (recurrent)",
      AT(model), OPTION_TEXT, OPTION_FIXED, 0, 0 },
    { "cell", "NAME", "of the recurrent one: gru, lstm or rnn (gru)",
      AT(cell), OPTION_TEXT, OPTION_FIXED, 0, 0 },
    { "attention", "NAME", "additive, dot, scaled, general, concat, location or none (additive)",
      AT(attention), OPTION_TEXT, OPTION_FIXED, 0, 0 },
    { "after", NULL, "looks after the cell's step, and feeds what it saw to the next (Luong)",
      AT(after), OPTION_FLAG, OPTION_KEPT, 0, 0 },
    { "embedding", "N", "width of a word, and of all in a transformer (256; dates 64)",
      AT(embedding), OPTION_WHOLE, OPTION_FIXED, 1, 65536 },
    { "hidden", "N", "width of a state, or of a transformer's inner layer (512; dates 128)",
      AT(hidden), OPTION_WHOLE, OPTION_FIXED, 1, 65536 },
    { "layers", "N", "on each side (1; transformer 3, dates 2)",
      AT(layers), OPTION_WHOLE, OPTION_FIXED, 1, 14 },
    { "heads", "N", "of a transformer (8; dates 4)",
      AT(heads), OPTION_WHOLE, OPTION_FIXED, 1, 1024 },
    { "dropout", "P", "(0.5; transformer 0.1; dates 0)",
      AT(dropout), OPTION_BELOW, OPTION_KEPT, 0, 1 },
    { "smoothing", "P", "of labels (0.1; dates 0)",
      AT(smoothing), OPTION_BELOW, OPTION_KEPT, 0, 1 },
    { "batch", "N", "sentences in a step (128; transformer: as --tokens says; dates 64)",
      AT(batch), OPTION_WHOLE, OPTION_KEPT, 0, 1e6 },
    { "tokens", "N", "words in a step, padding included (0: no limit; transformer 2000)",
      AT(tokens), OPTION_WHOLE, OPTION_KEPT, 0, 1e9 },
    { "epochs", "N", "in all, a saved model's included (20; dates 4, a transformer 6);\n"
      "0: do not train",
      AT(epochs), OPTION_WHOLE, OPTION_KEPT, 0, 1e6 },
    { "steps", "N", "at most, a saved model's included (0: until the epochs are over)",
      AT(steps), OPTION_WHOLE, OPTION_FORGOTTEN, 0, 1e12 },
    { "lr", "X", "learning rate of Adam, the highest (1e-3; dates 3e-3)",
      AT(lr), OPTION_NUMBER, OPTION_KEPT, 1e-12, 1e3 },
    { "schedule", "NAME", "decay: constant, in the last third down to a fiftieth (the default);\n"
      "halve: halved when an epoch brings nothing; inverse: up over --warmup\n"
      "steps, then as 1 / sqrt(step) (a transformer's default); constant",
      AT(schedule), OPTION_TEXT, OPTION_KEPT, 0, 0 },
    { "warmup", "N", "steps (1000; dates 400)", AT(warmup), OPTION_WHOLE, OPTION_KEPT, 0, 1e9 },
    { "clip", "X", "the most that the gradient's norm may be (1; 0: off)",
      AT(clip), OPTION_NUMBER, OPTION_KEPT, 0, 1e9 },
    { "sampling", "P", "scheduled sampling: how often a step is told the model's own word, from\n"
      "0 up to this at the end (0)", AT(sampling), OPTION_NUMBER, OPTION_KEPT, 0, 1 },
    { "average", "N", "what translates is the mean of the N best epochs by validation (1)",
      AT(average), OPTION_WHOLE, OPTION_KEPT, 1, KEPT },
    { "seed", "N", "of everything random (0)", AT(seed), OPTION_WHOLE, OPTION_KEPT, 0, 0 },
    { "threads", "N", "(all processors)", AT(threads), OPTION_WHOLE, OPTION_FORGOTTEN, 1, 64 },
    { "beam", "N", "hypotheses that go on (5; 1: greedy)",
      AT(beam), OPTION_WHOLE, OPTION_FORGOTTEN, 1, 1000 },
    { "alpha", "X", "length penalty, Wu et al. 2016 (0.6)",
      AT(alpha), OPTION_NUMBER, OPTION_FORGOTTEN, 0, 10 },
    { "unknown", "NAME", "<unk> in a translation: copy the word that is looked at most, keep\n"
      "it, or never say it (copy)", AT(unknown), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "save", "FILE", "where the model goes at the end, or at SIGINT, SIGTERM, SIGHUP",
      AT(save), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "every", "N", "saves after every N steps, too",
      AT(every), OPTION_WHOLE, OPTION_FORGOTTEN, 1, 0 },
    { "load", "FILE", "goes on where a saved model stood; or, with --translate or --show, uses it",
      AT(load), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "log", "FILE", "CSV of every step: step, epoch, loss, perplexity, norm, rate, speed",
      AT(log), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "translate", NULL, "lines of standard input to lines of standard output",
      AT(translate), OPTION_FLAG, OPTION_FORGOTTEN, 0, 0 },
    { "show", "SENTENCE", "its translation, and where the model looked",
      AT(show), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "svg", "FILE", "the same as a picture", AT(svg), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof rows[0] };

void options_save(const options *o, wf_bundle *b)
{
    options_put(rows, ROWS, o, b);
}

/* What was given neither on the command line nor by a saved model (below 0, or NULL). */
void options_fill(options *o)
{
    const bool dates = !o->data, recurrent = strcmp(o->model, "transformer") != 0;
    const struct {
        int64_t *at, dates, recurrent, transformer;
    } whole[] = {
        { &o->embedding, 64, 256, 256 },           { &o->hidden, 128, 512, 512 },
        { &o->layers, recurrent ? 1 : 2, 1, 3 },   { &o->heads, 4, 8, 8 },
        { &o->epochs, recurrent ? 4 : 6, 20, 20 }, { &o->warmup, 400, 1000, 1000 },
    };
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        if (*whole[i].at < 0)
            *whole[i].at = dates       ? whole[i].dates
                           : recurrent ? whole[i].recurrent
                                       : whole[i].transformer;
    if (o->batch < 0 && o->tokens < 0) {
        o->batch = dates ? 64 : recurrent ? 128 : 0;
        o->tokens = dates || recurrent ? 0 : 2000;
    }
    if (o->batch < 0) o->batch = 0;
    if (o->tokens < 0) o->tokens = 0;
    if (o->dropout < 0) o->dropout = dates ? 0 : recurrent ? 0.5 : 0.1;
    if (o->smoothing < 0) o->smoothing = dates ? 0 : 0.1;
    if (o->lr < 0) o->lr = dates ? 3e-3 : 1e-3;
    if (!o->schedule) o->schedule = recurrent ? "decay" : "inverse";
}

static options nothing_given(void)
{
    return (options){ .from = "de",
                      .to = "en",
                      .model = "recurrent",
                      .cell = "gru",
                      .attention = "additive",
                      .unknown = "copy",
                      .embedding = -1,
                      .hidden = -1,
                      .layers = -1,
                      .heads = -1,
                      .batch = -1,
                      .tokens = -1,
                      .epochs = -1,
                      .warmup = -1,
                      .dropout = -1,
                      .smoothing = -1,
                      .lr = -1,
                      .min_count = 2,
                      .longest = 100,
                      .pairs = 20000,
                      .average = 1,
                      .beam = 5,
                      .alpha = 0.6,
                      .clip = 1 };
}

static bool outputs_are_sound(const options *o, wf_error *err)
{
    if (same_file(o->log, o->save) || same_file(o->log, o->load))
        return wf_error_set(err, "--log %s would replace the model", o->log);
    if (same_file(o->svg, o->save) || same_file(o->svg, o->load) || same_file(o->svg, o->log))
        return wf_error_set(err, "--svg %s would replace the model or the log", o->svg);
    if (!texts_are_spared(o, err)) return false;
    if (o->every && !o->save) return wf_error_set(err, "--every needs --save, a file to save to");
    if (o->svg && !o->show) return wf_error_set(err, "--svg needs --show, a sentence to show");
    if (o->show && !*o->show) return wf_error_set(err, "--show is empty; it must be a sentence");
    if (!o->batch && !o->tokens)
        return wf_error_set(err, "--batch and --tokens are both 0; one must say how large a step "
                                 "is");
    return (!o->save || can_save(o->save, err)) && (!o->svg || can_save(o->svg, err));
}

/* Takes what a saved model keeps, where the command line does not say otherwise. */
static bool take_saved(const wf_archive *file, options *o, const bool given[ROWS], wf_error *err)
{
    const char *kind = wf_archive_meta(file, "weft.model");
    if (!kind || strcmp(kind, "translate"))
        return wf_error_set(err, "load %s: this is not a model that translate saved", o->load);
    return options_take(rows, ROWS, o, given, file, o->load, err);
}

/* ---- the program ---- */

/* A saved model that is only to be used is not trained, unless that is asked for. */
static bool is_to_train(const options *o, bool loaded, bool epochs_given)
{
    if (o->epochs == 0) return false;
    return !loaded || epochs_given || !(o->translate || o->show);
}

static void print_what_there_is(const run *r, bool train)
{
    const wf_vocab *const *v = (const wf_vocab *const *)r->x.vocab;
    if (train)
        fprintf(stderr, "%" PRId64 " pairs to learn from, %" PRId64 " to judge by, %d tests; ",
                wf_parallel_count(r->x.train).pairs, wf_parallel_count(r->x.valid).pairs,
                r->x.tests);
    fprintf(stderr, "%" PRId64 " and %" PRId64 " %s; %s, %" PRId64 " weights; %d threads, %s\n",
            wf_vocab_size(v[0]), wf_vocab_size(v[1]), wf_vocab_letters(v[0]) ? "letters" : "words",
            r->o->model, wf_module_weights(r->used.net), wf_tape_threads(r->t),
            wf_isa_name(wf_isa_level()));
}

/* A model that learned from files does not go on with dates. */
static bool has_its_data(const options *o, const wf_archive *saved, wf_error *err)
{
    const char *of = saved ? wf_archive_meta(saved, "texts") : NULL;
    if (!of || strcmp(of, o->data ? "dates" : "files")) return true;
    return o->data
               ? wf_error_set(err, "load %s: it learned dates; it goes on without --data", o->load)
               : wf_error_set(err, "load %s: it learned from files; --data says where they are",
                              o->load);
}

static int go(run *r, const wf_archive *saved, bool train)
{
    const options *o = r->o;
    wf_error err = { { 0 } };
    const bool uses = o->translate || o->show, all = train || !uses;
    if ((all && !has_its_data(o, saved, &err)) || !texts_open(&r->x, o, saved, all, &err) ||
        !model_new(&r->used, o, &r->x, &err) || (saved && !run_load(r, saved, &err)) ||
        (train && !model_new(&r->m, o, &r->x, &err)))
        return failed(err.text);
    print_what_there_is(r, all);
    if (train && !learn(r, saved)) return 1;
    if (all && !stopped && !test_all(r)) return 1;
    if (o->show && !stopped && !show_attention(r, o->show, o->svg, &err))
        return err.text[0] ? failed(err.text) : 1;
    if (o->translate && !stopped && !translate_input(r)) return 1;
    if (fflush(stdout) || ferror(stdout)) return failed("stdout: it could not be written");
    return stopped ? 128 + (int)stopped : 0;
}

int main(int argc, char **argv)
{
    options o = nothing_given();
    bool given[ROWS] = { false }, epochs_given;
    int begin = options_read("translate", rows, ROWS, argc, argv, &o, given);
    if (begin <= 0) return begin < 0;
    epochs_given = o.epochs >= 0;
    wf_error err = { { 0 } };
    if (o.threads && !wf_runtime_set(&(wf_runtime){ .threads = (int)o.threads }, &err))
        return failed(err.text);
    stop_at_signals();
    wf_archive *saved = o.load ? wf_safetensors_load(o.load, &err) : NULL;
    int status;
    if (o.load && (!saved || !take_saved(saved, &o, given, &err))) {
        status = failed(err.text);
    } else {
        options_fill(&o);
        run r = { .o = &o };
        if (!options_name_what_there_is(&o, &err) || !outputs_are_sound(&o, &err))
            status = failed(err.text);
        else if (!(r.t = wf_tape_new(&(wf_tape_options){ .seed = (uint64_t)o.seed })))
            status = failed("out of memory");
        else
            status = go(&r, saved, is_to_train(&o, o.load, epochs_given));
        run_free(&r);
    }
    wf_archive_free(saved);
    return status;
}
