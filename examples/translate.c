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

#define ATTENTIONS "additive dot scaled general concat location none"

static const wf_option rows[] = {
    { WF_OPTION(options, data), "FOLDER",
      "with train.FROM and train.TO, val.*, and any test*.*, a sentence a line,\n"
      "words apart (without it: dates are made)" },
    { WF_OPTION(options, from), "ENDING", "of the files to read", WF_OPTION_FIXED },
    { WF_OPTION(options, to), "ENDING", "of those to write", WF_OPTION_FIXED },
    { WF_OPTION(options, letters), .help = "by letters, not words", .keep = WF_OPTION_KEPT },
    { WF_OPTION(options, min_count), "N", "words that are rarer are <unk>", WF_OPTION_KEPT, 1,
      1e9 },
    { WF_OPTION(options, longest), "N", "longer sentences are not learned from", WF_OPTION_KEPT, 1,
      1e6 },
    { WF_OPTION(options, pairs), "N", "dates to learn from", WF_OPTION_KEPT, 1, 1e7 },
    { WF_OPTION(options, model), "NAME", "", WF_OPTION_FIXED, .choices = "recurrent transformer" },
    { WF_OPTION(options, cell), "NAME", "of the recurrent one", WF_OPTION_FIXED,
      .choices = "gru lstm rnn" },
    { WF_OPTION(options, attention), "NAME", "of the recurrent one", WF_OPTION_FIXED,
      .choices = ATTENTIONS },
    { WF_OPTION(options, after),
      .help = "looks after the cell's step, and feeds what it saw to the next (Luong)",
      .keep = WF_OPTION_KEPT },
    { WF_OPTION(options, embedding), "N",
      "width of a word, and of all in a transformer (256; dates 64)", WF_OPTION_FIXED, 1, 65536 },
    { WF_OPTION(options, hidden), "N",
      "width of a state, or of a transformer's inner layer (512; dates 128)", WF_OPTION_FIXED, 1,
      65536 },
    { WF_OPTION(options, layers), "N", "on each side (1; transformer 3, dates 2)", WF_OPTION_FIXED,
      1, 14 },
    { WF_OPTION(options, heads), "N", "of a transformer (8; dates 4)", WF_OPTION_FIXED, 1, 1024 },
    { WF_OPTION(options, dropout), "P", "(0.5; transformer 0.1; dates 0)", WF_OPTION_KEPT, 0, 1,
      .below = true },
    { WF_OPTION(options, smoothing), "P", "of labels (0.1; dates 0)", WF_OPTION_KEPT, 0, 1,
      .below = true },
    { WF_OPTION(options, batch), "N",
      "sentences in a step (128; transformer: as --tokens says; dates 64)", WF_OPTION_KEPT, 0,
      1e6 },
    { WF_OPTION(options, tokens), "N",
      "words in a step, padding included (0: no limit; transformer 2000)", WF_OPTION_KEPT, 0, 1e9 },
    { WF_OPTION(options, sampling), "P",
      "scheduled sampling: how often a step is told the model's own word, from\n"
      "0 up to this at the end",
      WF_OPTION_KEPT, 0, 1 },
    { WF_OPTION(options, beam), "N", "hypotheses that go on; 1: greedy", 0, 1, 1000 },
    { WF_OPTION(options, alpha), "X", "length penalty, Wu et al. 2016", 0, 0, 10 },
    { WF_OPTION(options, unknown), "NAME",
      "<unk> in a translation: the word that is looked at most, <unk>, or never", 0,
      .choices = "copy keep never" },
    { WF_OPTION(options, translate),
      .help = "lines of standard input to lines of standard output" },
    { WF_OPTION(options, show), "SENTENCE", "its translation, and where the model looked" },
    { WF_OPTION(options, svg), "FILE", "the same as a picture" },
};

static const char about[] =
    "Learns to translate lines of text. With --load and --translate or --show it translates;\n"
    "with --load and --epochs 0 it is judged again. By default 20 epochs (dates 4, a transformer\n"
    "6), a rate of 1e-3 (dates 3e-3), --schedule decay, and for a transformer inverse with\n"
    "--warmup 1000 (dates 400). --log has the loss (smoothing included), the perplexity of the\n"
    "validation text where an epoch ends, the gradient's norm, the rate, and words a second.";

/* What was given neither on the command line nor by a saved model. */
static void fill(options *o, const wf_run *run)
{
    const bool dates = !o->data, recurrent = strcmp(o->model, "transformer") != 0;
    const bool batch = wf_run_given(run, "batch"), tokens = wf_run_given(run, "tokens");
    const bool inverse = o->run.schedule ? !strcmp(o->run.schedule, "inverse") : !recurrent;
    const struct {
        const char *name;
        int64_t *at, dates, recurrent, transformer;
    } whole[] = {
        { "embedding", &o->embedding, 64, 256, 256 },
        { "hidden", &o->hidden, 128, 512, 512 },
        { "layers", &o->layers, recurrent ? 1 : 2, 1, 3 },
        { "heads", &o->heads, 4, 8, 8 },
        { "epochs", &o->run.epochs, recurrent ? 4 : 6, 20, 20 },
        { "warmup", &o->run.warmup, inverse ? 400 : 0, inverse ? 1000 : 0, inverse ? 1000 : 0 },
    };
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        if (!wf_run_given(run, whole[i].name))
            *whole[i].at = dates       ? whole[i].dates
                           : recurrent ? whole[i].recurrent
                                       : whole[i].transformer;
    if (!batch && !tokens) {
        o->batch = dates ? 64 : recurrent ? 128 : 0;
        o->tokens = dates || recurrent ? 0 : 2000;
    }
    if (!wf_run_given(run, "dropout")) o->dropout = dates ? 0 : recurrent ? 0.5 : 0.1;
    if (!wf_run_given(run, "smoothing")) o->smoothing = dates ? 0 : 0.1;
    if (!wf_run_given(run, "lr")) o->run.lr = dates ? 3e-3 : 1e-3;
    if (!o->run.schedule) o->run.schedule = recurrent ? "decay" : "inverse";
}

/* Options that the other kind of model has. */
static bool fits_the_model(const options *o, wf_run *run)
{
    static const char *const of[] = { "cell", "attention", "after", "sampling" };
    const bool recurrent = !strcmp(o->model, "recurrent");
    for (int i = 0; !recurrent && i < 4; i++)
        if (wf_run_given(run, of[i]))
            return wf_run_fail(run, "option --%s: a transformer has none", of[i]);
    if (recurrent && wf_run_given(run, "heads"))
        return wf_run_fail(run, "option --heads: a recurrent model has none");
    if (!recurrent && (o->embedding % o->heads || o->embedding % 2))
        return wf_run_fail(
            run, "option --embedding: %" PRId64 " is no even multiple of --heads %" PRId64,
            o->embedding, o->heads);
    if (o->svg && recurrent && !strcmp(o->attention, "none"))
        return wf_run_fail(run, "option --svg: without attention there is nothing to draw");
    return true;
}

static bool outputs_are_sound(const options *o, wf_run *run)
{
    if (o->svg && !o->show)
        return wf_run_fail(run, "option --svg: it needs --show, a sentence to show");
    if (o->show && (!*o->show || strpbrk(o->show, "\r\n")))
        return wf_run_fail(run, "option --show: it must be a sentence of one line");
    return wf_run_writes(run, "svg", o->svg);
}

/* Do the options make sense with each other, and with what was saved? `all`: texts are read. */
static bool is_sound(const options *o, wf_run *run, bool all)
{
    const wf_archive *saved = wf_run_archive(run);
    const char *of = wf_archive_meta(saved, "texts");
    const bool files = of && strcmp(of, "dates");
    if (!saved && !o->run.epochs && (o->translate || o->show))
        return wf_run_fail(run, "option --epochs: 0 needs --load, a model that has learned");
    if (saved && wf_run_given(run, "letters"))
        return wf_run_fail(run, "option --letters: the saved model says what its words are");
    if (!all && o->data)
        return wf_run_fail(run, "option --data: a saved model translates without it");
    if (o->data && !strcmp(o->from, o->to))
        return wf_run_fail(run, "option --to: it is '%s', as --from is", o->to);
    if (saved && all && of && files != (o->data != NULL))
        return wf_run_fail(run, "load %s: it learned %s", o->run.load,
                           files ? "from files; --data says where they are"
                                 : "dates; it goes on without --data");
    if (!o->batch && !o->tokens)
        return wf_run_fail(run, "option --batch: it and --tokens are 0; one must say how large a "
                                "step is");
    return fits_the_model(o, run) && outputs_are_sound(o, run);
}

/* ---- the program ---- */

static void say_what_there_is(const translator *r, bool all)
{
    if (all)
        wf_run_say(r->run, "%" PRId64 " pairs to learn from, %" PRId64 " to judge by, %d tests",
                   wf_parallel_count(r->x.train).pairs, wf_parallel_count(r->x.valid).pairs,
                   r->x.tests);
    wf_run_say(r->run, "%" PRId64 " and %" PRId64 " %s; %s", wf_vocab_size(r->x.vocab[WF_SOURCE]),
               wf_vocab_size(r->x.vocab[WF_TARGET]),
               wf_vocab_letters(r->x.vocab[WF_SOURCE]) ? "letters" : "words", r->o.model);
}

static bool go(translator *r)
{
    options *o = &r->o;
    const wf_archive *saved = wf_run_archive(r->run);
    /* A saved model that is only to be used is not trained, unless that is asked for. */
    const bool uses = o->translate || o->show;
    if (!saved) fill(o, r->run);
    const bool train = o->run.epochs && (!saved || wf_run_given(r->run, "epochs") || !uses);
    const bool all = train || !uses;
    r->t = wf_run_tape(r->run);
    r->x.of = wf_archive_meta(saved, "texts");
    if (!is_sound(o, r->run, all) || !texts_open(&r->x, o, r->run, all) ||
        !model_new(&r->m, o, &r->x, wf_run_error(r->run)))
        return false;
    say_what_there_is(r, all);
    return learn(r, train) && (!all || test_all(r)) &&
           (!o->show || show_attention(r, o->show, o->svg, wf_run_error(r->run))) &&
           (!o->translate || translate_input(r));
}

int main(int argc, char **argv)
{
    translator r = { .o = { .run = { .average = 1, .clip = 1 },
                            .from = "de",
                            .to = "en",
                            .model = "recurrent",
                            .cell = "gru",
                            .attention = "additive",
                            .unknown = "copy",
                            .min_count = 2,
                            .longest = 100,
                            .pairs = 20000,
                            .beam = 5,
                            .alpha = 0.6 } };
    r.run = wf_run_new(&(wf_run_call){ .name = "translate",
                                       .about = about,
                                       .own = WF_OPTIONS(rows, &r.o),
                                       .options = &r.o.run },
                       argc, argv);
    if (wf_run_ok(r.run)) go(&r);
    wf_generated_free(&r.written);
    wf_optim_free(r.adam);
    wf_buckets_free(r.batches);
    wf_module_free(r.m.net);
    texts_free(&r.x);
    return wf_run_free(r.run);
}
