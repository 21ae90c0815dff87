/* A character model: embedding, a recurrent net, a linear head. It learns to write what it
 * reads: a text that it is given, or Weft's own sources. Run with --help for the options. */
#include <weft.h>

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "examples/sources.h" /* the text that is built in */

typedef struct options {
    const char *data, *cell, *save, *load, *prompt;
    int64_t layers, hidden, embed, time, batch, steps, seed, threads, generate;
    double lr, dropout, clip, valid, temperature;
    bool cell_given, layers_given, hidden_given, embed_given;
} options;

/* The net: its sizes are in the saved file's metadata, its alphabet too. */
typedef struct model {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *rnn;
    wf_linear *head;
    wf_carry *lane; /* the state of one text, for judging and writing */
} model;

static volatile sig_atomic_t stopped; /* the signal that asked us to stop */

static void on_signal(int number)
{
    stopped = number;
    signal(number, SIG_DFL); /* a second one ends the program at once */
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Says what went wrong, in one line; the exit status. */
static int failed(const char *text)
{
    fprintf(stderr, "charlm: %s\n", text);
    return 1;
}

static const char *usage =
    "usage: charlm [options]\n"
    "  --data FILE        UTF-8 text to learn (without it: Weft's own sources, built in)\n"
    "  --cell NAME        lstm, gru or rnn (lstm)\n"
    "  --layers N         recurrent layers (2)          --hidden N   their width (256)\n"
    "  --embed N          width of a character (64)     --dropout P  between layers (0)\n"
    "  --time N           characters per step (64)      --batch N    lanes of text (32)\n"
    "  --steps N          training steps (2000); 0: do not train\n"
    "  --lr X             learning rate of Adam (2e-3)  --clip X     gradient norm (1; 0: off)\n"
    "  --valid P          part of the text held out, from its end (0.05)\n"
    "  --seed N           of everything random (0)      --threads N  (all processors)\n"
    "  --save FILE        where the model goes at the end, or at a SIGINT or SIGTERM\n"
    "  --load FILE        begin with a saved model: its cell, sizes and alphabet hold\n"
    "  --prompt TEXT      what the sample begins with   --generate N its length (300)\n"
    "  --temperature X    of the sample (0.8; 0: always the likeliest character)\n";

/* ---- options ---- */

static bool whole(const char *name, const char *text, int64_t least, int64_t most, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (!*text || *end || errno || v < least || v > most) {
        fprintf(stderr, "charlm: --%s is '%s'; it must be a whole number from %lld to %lld\n", name,
                text, (long long)least, (long long)most);
        return false;
    }
    *out = v;
    return true;
}

/* A number in [least, most], or below most when `open`. */
static bool number(const char *name, const char *text, double least, double most, bool open,
                   double *out)
{
    char *end;
    double v = strtod(text, &end);
    if (!*text || *end || !(v >= least) || !(open ? v < most : v <= most)) {
        fprintf(stderr, "charlm: --%s is '%s'; it must be a number from %g to %s%g\n", name, text,
                least, open ? "below " : "", most);
        return false;
    }
    *out = v;
    return true;
}

enum {
    DATA = 1000,
    CELL,
    LAYERS,
    HIDDEN,
    EMBED,
    TIME,
    BATCH,
    STEPS,
    LR,
    DROPOUT,
    CLIP,
    VALID,
    SEED,
    THREADS,
    SAVE,
    LOAD,
    PROMPT,
    GENERATE,
    TEMPERATURE,
    HELP
};

/* Reads the command line: 1 to go on, 0 and -1 to exit well and badly. */
static int read_options(int argc, char **argv, options *o)
{
    static const struct option all[] = {
        { "data", 1, 0, DATA },
        { "cell", 1, 0, CELL },
        { "layers", 1, 0, LAYERS },
        { "hidden", 1, 0, HIDDEN },
        { "embed", 1, 0, EMBED },
        { "time", 1, 0, TIME },
        { "batch", 1, 0, BATCH },
        { "steps", 1, 0, STEPS },
        { "lr", 1, 0, LR },
        { "dropout", 1, 0, DROPOUT },
        { "clip", 1, 0, CLIP },
        { "valid", 1, 0, VALID },
        { "seed", 1, 0, SEED },
        { "threads", 1, 0, THREADS },
        { "save", 1, 0, SAVE },
        { "load", 1, 0, LOAD },
        { "prompt", 1, 0, PROMPT },
        { "generate", 1, 0, GENERATE },
        { "temperature", 1, 0, TEMPERATURE },
        { "help", 0, 0, HELP },
        { 0, 0, 0, 0 },
    };
    *o = (options){ .cell = "lstm",
                    .layers = 2,
                    .hidden = 256,
                    .embed = 64,
                    .time = 64,
                    .batch = 32,
                    .steps = 2000,
                    .generate = 300,
                    .lr = 2e-3,
                    .clip = 1,
                    .valid = 0.05,
                    .temperature = 0.8 };
    bool ok = true;
    for (int found, at = 0; ok && (found = getopt_long(argc, argv, "", all, &at)) != -1;) {
        if (found == '?') {
            fprintf(stderr, "charlm: --help lists the options\n");
            return -1;
        }
        const char *name = all[at].name;
        switch (found) {
        case DATA: o->data = optarg; break;
        case CELL: o->cell = optarg, o->cell_given = true; break;
        case LAYERS: ok = whole(name, optarg, 1, 100, &o->layers), o->layers_given = true; break;
        case HIDDEN: ok = whole(name, optarg, 1, 65536, &o->hidden), o->hidden_given = true; break;
        case EMBED: ok = whole(name, optarg, 1, 65536, &o->embed), o->embed_given = true; break;
        case TIME: ok = whole(name, optarg, 1, 1000000, &o->time); break;
        case BATCH: ok = whole(name, optarg, 1, 1000000, &o->batch); break;
        case STEPS: ok = whole(name, optarg, 0, INT64_MAX, &o->steps); break;
        case LR: ok = number(name, optarg, 1e-12, 1e3, false, &o->lr); break;
        case DROPOUT: ok = number(name, optarg, 0, 1, true, &o->dropout); break;
        case CLIP: ok = number(name, optarg, 0, 1e9, false, &o->clip); break;
        case VALID: ok = number(name, optarg, 0, 1, true, &o->valid); break;
        case SEED: ok = whole(name, optarg, 0, INT64_MAX, &o->seed); break;
        case THREADS: ok = whole(name, optarg, 1, 64, &o->threads); break;
        case SAVE: o->save = optarg; break;
        case LOAD: o->load = optarg; break;
        case PROMPT: o->prompt = optarg; break;
        case GENERATE: ok = whole(name, optarg, 0, 100000000, &o->generate); break;
        case TEMPERATURE: ok = number(name, optarg, 0, 100, false, &o->temperature); break;
        case HELP: fputs(usage, stdout); return 0;
        }
    }
    if (ok && optind < argc) {
        fprintf(stderr, "charlm: '%s' is no option; --help lists them\n", argv[optind]);
        return -1;
    }
    return ok ? 1 : -1;
}

static const wf_cell *cell_named(const char *name)
{
    if (!strcmp(name, "lstm")) return wf_cell_lstm();
    if (!strcmp(name, "gru")) return wf_cell_gru();
    return strcmp(name, "rnn") ? NULL : wf_cell_rnn();
}

/* ---- the model, in memory and in files ---- */

static bool model_new(model *m, const options *o, int64_t letters, wf_error *err)
{
    m->net = wf_module_new("charlm", &(wf_module_options){ .seed = (uint64_t)o->seed });
    m->embed = wf_embedding_new(m->net, "embed",
                                &(wf_embedding_options){ .input = letters, .output = o->embed });
    m->rnn = wf_rnn_new(m->net, "rnn", cell_named(o->cell),
                        &(wf_rnn_options){ .input = o->embed,
                                           .hidden = o->hidden,
                                           .layers = o->layers,
                                           .dropout = o->layers > 1 ? o->dropout : 0 });
    m->head = wf_linear_new(m->net, "head",
                            &(wf_linear_options){ .input = o->hidden, .output = letters });
    if (!wf_module_ok(m->net, err)) return false;
    m->lane = wf_carry_new(m->rnn, 1);
    return wf_carry_ok(m->lane, err);
}

static bool model_save(const model *m, const options *o, const wf_corpus *text, wf_error *err)
{
    char layers[32], hidden[32], embed[32];
    snprintf(layers, sizeof layers, "%lld", (long long)o->layers);
    snprintf(hidden, sizeof hidden, "%lld", (long long)o->hidden);
    snprintf(embed, sizeof embed, "%lld", (long long)o->embed);
    const wf_meta meta[] = {
        { "weft.model", "charlm" }, { "cell", o->cell },
        { "layers", layers },       { "hidden", hidden },
        { "embed", embed },         { "alphabet", wf_corpus_alphabet_text(text) },
    };
    return wf_module_save(m->net, o->save, meta, sizeof meta / sizeof meta[0], err);
}

/* A size from a saved model; what the command line says must be the same. */
static bool saved_size(const wf_archive *file, const char *path, const char *key, bool given,
                       int64_t *size, wf_error *err)
{
    const char *text = wf_archive_meta(file, key);
    char *end = NULL;
    long long v = text ? strtoll(text, &end, 10) : 0;
    if (!text || *end || v < 1 || v > 65536)
        return wf_error_set(err, "load %s: it does not say its number of '%s'", path, key);
    if (given && *size != v)
        return wf_error_set(err, "load %s: the saved model has --%s %lld, not %lld", path, key, v,
                            (long long)*size);
    *size = v;
    return true;
}

/* Takes cell and sizes from a saved model's metadata. */
static bool read_saved(const wf_archive *file, options *o, wf_error *err)
{
    const char *kind = wf_archive_meta(file, "weft.model"), *cell = wf_archive_meta(file, "cell");
    if (!kind || strcmp(kind, "charlm") || !wf_archive_meta(file, "alphabet"))
        return wf_error_set(err, "load %s: this is not a model that charlm saved", o->load);
    if (!cell || !cell_named(cell))
        return wf_error_set(err, "load %s: it does not name a cell that charlm knows", o->load);
    if (o->cell_given && strcmp(cell, o->cell))
        return wf_error_set(err, "load %s: the saved model has --cell %s, not %s", o->load, cell,
                            o->cell);
    o->cell = cell;
    return saved_size(file, o->load, "layers", o->layers_given, &o->layers, err) &&
           saved_size(file, o->load, "hidden", o->hidden_given, &o->hidden, err) &&
           saved_size(file, o->load, "embed", o->embed_given, &o->embed, err);
}

/* ---- what the net computes ---- */

static wf_var *logits(wf_tape *t, const model *m, const wf_tensor *ids, wf_carry *past)
{
    wf_var *x = wf_embedding_forward(t, m->embed, ids);                        /* (T, B, embed) */
    wf_var *h = wf_rnn_forward(t, m->rnn, x, &(wf_rnn_call){ .carry = past }); /* (T, B, hidden) */
    return wf_linear_forward(t, m->head, h);                                   /* (T, B, letters) */
}

/* Bits per character over the held-out text (at most `most` characters of it): one pass, one
 * lane, zero initial state. NaN when a signal ended it or the tape failed. */
static double evaluate(wf_tape *t, const model *m, const wf_corpus *text, int64_t most)
{
    enum { WINDOW = 256 };
    const wf_tensor *ids = wf_corpus_valid(text);
    int64_t n = wf_corpus_valid_count(text) - 1;
    if (n > most) n = most;
    wf_carry_reset(m->lane);
    double nats = 0;
    wf_mode before = wf_tape_mode(t);
    wf_tape_set_mode(t, WF_INFER);
    for (int64_t at = 0; at < n && !stopped; at += WINDOW) {
        int64_t end = at + WINDOW < n ? at + WINDOW : n;
        wf_tensor input, target;
        wf_view_slice(ids, 0, at, end, 1, &input);
        wf_view_slice(ids, 0, at + 1, end + 1, 1, &target);
        wf_tape_reset(t);
        nats += wf_item(wf_cross_entropy(t, logits(t, m, &input, m->lane), &target)) *
                (double)(end - at);
    }
    wf_tape_set_mode(t, before);
    return stopped ? (double)NAN : nats / (double)n / log(2);
}

/* Draws from softmax(logits / temperature); the likeliest at temperature 0. */
static int32_t draw(const wf_var *y, double temperature, uint64_t key, uint64_t counter)
{
    int64_t n = wf_count(y), best = 0;
    double top = wf_at(y, 0), sum = 0;
    for (int64_t i = 1; i < n; i++)
        if (wf_at(y, i) > top) top = wf_at(y, best = i);
    if (temperature <= 0) return (int32_t)best;
    for (int64_t i = 0; i < n; i++) sum += exp((wf_at(y, i) - top) / temperature);
    double u = wf_random_uniform(key, counter) * sum;
    for (int64_t i = 0; i < n; i++)
        if ((u -= exp((wf_at(y, i) - top) / temperature)) < 0) return (int32_t)i;
    return (int32_t)best;
}

/* Reads the prompt, then writes `count` characters, each read in turn. False when the tape
 * failed. */
static bool write_sample(wf_tape *t, const model *m, const wf_corpus *text, const options *o,
                         const int32_t *prompt, int64_t n_prompt, int64_t count, FILE *out)
{
    wf_carry_reset(m->lane);
    wf_mode before = wf_tape_mode(t);
    wf_tape_set_mode(t, WF_INFER);
    uint64_t key = wf_key_named((uint64_t)o->seed, "sample");
    int32_t id = 0;
    for (int64_t i = 0; i < n_prompt + count - 1 && !stopped; i++) {
        if (i < n_prompt) id = prompt[i];
        wf_tensor one = wf_tensor_of(WF_I32, WF_SHAPE(1, 1), &id);
        wf_tape_reset(t);
        wf_var *y = logits(t, m, &one, m->lane);
        if (!wf_tape_ok(t)) break;
        if (i + 1 < n_prompt) continue;
        id = draw(y, o->temperature, key, (uint64_t)i);
        char letter[5];
        fwrite(letter, 1, (size_t)wf_utf8_encode(wf_corpus_letter(text, id), letter), out);
    }
    bool ok = wf_tape_ok(t);
    wf_tape_set_mode(t, before);
    return ok;
}

/* ---- training ---- */

typedef struct progress {
    double begun, shown, bits; /* bits: a running mean */
    bool live;                 /* a terminal: one line that is written over */
} progress;

static void show(progress *p, const options *o, int64_t step, double nats)
{
    double bits = nats / log(2), t = now();
    p->bits = step == 1 ? bits : 0.98 * p->bits + 0.02 * bits;
    int64_t every = o->steps >= 20 ? o->steps / 20 : 1;
    if (p->live ? t - p->shown < 0.1 && step < o->steps : step % every && step < o->steps) return;
    p->shown = t;
    double rate = (double)(step * o->time * o->batch) / (t - p->begun);
    int64_t left = (int64_t)((double)(o->steps - step) * (t - p->begun) / (double)step + 0.5);
    fprintf(stderr, "%sstep %lld/%lld  %.3f bits/char  %.0f characters/s  %lld:%02lld left%s",
            p->live ? "\r\033[K" : "", (long long)step, (long long)o->steps, p->bits, rate,
            (long long)left / 60, (long long)left % 60, p->live ? "" : "\n");
}

/* A look at what the net can do by now. */
static void look(progress *p, wf_tape *t, const model *m, const wf_corpus *text, const options *o,
                 int64_t step, const int32_t *prompt, int64_t n_prompt)
{
    double begun = now();
    fprintf(stderr, "%sstep %lld", p->live ? "\r\033[K" : "", (long long)step);
    double bits = wf_corpus_valid_count(text) > 1 ? evaluate(t, m, text, 10000) : (double)NAN;
    if (isfinite(bits)) fprintf(stderr, "  held out: %.3f bits/char", bits);
    fputs("  writes:\n  | ", stderr);
    char *sample = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&sample, &bytes);
    if (memory) {
        write_sample(t, m, text, o, prompt, n_prompt, 120, memory);
        fclose(memory);
        for (const char *c = sample; *c; c++)
            fputs(*c == '\n' ? "\n  | " : (char[]){ *c, 0 }, stderr);
        free(sample);
    }
    fputc('\n', stderr);
    p->begun += now() - begun; /* the rate is of training alone */
}

/* The steps that were made: all, or fewer after a signal; -1 after a failure, which was said. */
static int64_t train(wf_tape *t, model *m, wf_corpus *text, const options *o, const int32_t *prompt,
                     int64_t n_prompt)
{
    wf_error err = { { 0 } };
    wf_adam_options rates = wf_adam_defaults();
    rates.lr = o->lr;
    wf_optim *adam = wf_adam_new(m->net, &rates);
    wf_carry *past = wf_carry_new(m->rnn, o->batch);
    if (!wf_module_ok(m->net, &err) || !wf_carry_ok(past, &err)) {
        failed(err.text);
        wf_carry_free(past);
        wf_optim_free(adam);
        return -1;
    }
    progress p = { .begun = now(), .live = isatty(STDERR_FILENO) };
    int64_t interval = o->steps >= 4 ? o->steps / 4 : 0, step = 1;
    for (; step <= o->steps && !stopped; step++) {
        wf_batch b = wf_corpus_next(text);
        if (b.restart) wf_carry_reset(past); /* the text begins anew */
        wf_tape_reset(t);
        wf_var *y = logits(t, m, b.input, past);         /* (T, B, letters) */
        wf_var *loss = wf_cross_entropy(t, y, b.target); /* nats per character */
        if (!wf_backward(t, loss)) break;                /* the reason has been said */
        double nats = wf_item(loss);
        if (o->clip > 0) wf_optim_clip_norm(adam, o->clip);
        wf_optim_step(adam);
        show(&p, o, step, nats);
        if (interval && step % interval == 0 && step < o->steps)
            look(&p, t, m, text, o, step, prompt, n_prompt);
    }
    bool ok = step > o->steps || stopped;
    if (p.live) fputc('\n', stderr);
    if (stopped)
        fprintf(stderr, "charlm: stopped by signal %d after %lld steps\n", (int)stopped,
                (long long)step - 1);
    else if (ok)
        fprintf(stderr, "%lld steps in %.1f s\n", (long long)o->steps, now() - p.begun);
    wf_carry_free(past);
    wf_optim_free(adam);
    return ok ? step - 1 : -1;
}

/* ---- the program ---- */

static wf_corpus *open_text(const options *o, const char *alphabet, wf_error *err)
{
    wf_corpus_options how = {
        .time = o->time, .batch = o->batch, .valid = o->valid, .alphabet = alphabet
    };
    if (o->steps == 0 && !o->data && alphabet) return wf_corpus_from_alphabet(alphabet, err);
    if (o->data) return wf_corpus_new(o->data, &how, err);
    return wf_corpus_from_parts(built_in_text, built_in_count, &how, err);
}

static int run(options *o, const wf_archive *saved, model *m, wf_corpus **text, wf_tape *t,
               int32_t **prompt)
{
    wf_error err = { { 0 } };
    *text = open_text(o, saved ? wf_archive_meta(saved, "alphabet") : NULL, &err);
    if (!*text || !model_new(m, o, wf_corpus_alphabet(*text), &err)) return failed(err.text);
    if (saved && !wf_module_load_archive(m->net, o->load, saved, &err)) return failed(err.text);

    /* Without a prompt the sample begins as a new line would. */
    const char *begin = o->prompt && *o->prompt ? o->prompt : NULL;
    int64_t n_prompt = begin ? (int64_t)strlen(begin) : 1;
    *prompt = malloc((size_t)n_prompt * sizeof **prompt);
    if (!*prompt) return failed("out of memory");
    int32_t line = wf_corpus_id(*text, '\n');
    **prompt = line < 0 ? 0 : line;
    if (begin) n_prompt = wf_corpus_encode(*text, begin, n_prompt, *prompt, n_prompt, &err);
    if (n_prompt < 0) return failed(err.text);

    fprintf(stderr,
            "%lld letters, %lld to learn from, %lld held out; %s, %lld weights; %d threads, %s\n",
            (long long)wf_corpus_alphabet(*text), (long long)wf_corpus_train_count(*text),
            (long long)wf_corpus_valid_count(*text), o->cell, (long long)wf_module_weights(m->net),
            wf_tape_threads(t), wf_isa_name(wf_isa_level()));
    int64_t made = o->steps ? train(t, m, *text, o, *prompt, n_prompt) : 0;
    if (made < 0) return 1;
    if (o->save && stopped && made == 0) {
        fprintf(stderr, "charlm: nothing was learned, so %s is left as it was\n", o->save);
    } else if (o->save) {
        if (!model_save(m, o, *text, &err)) return failed(err.text);
        fprintf(stderr, "saved %s\n", o->save);
    }
    if (!stopped && o->generate) {
        if (o->prompt) fputs(o->prompt, stdout);
        if (!write_sample(t, m, *text, o, *prompt, n_prompt, o->generate, stdout)) return 1;
        putchar('\n');
    }
    if (!stopped && o->steps && wf_corpus_valid_count(*text) > 1) {
        double bits = evaluate(t, m, *text, INT64_MAX);
        if (!stopped && !isfinite(bits)) return failed("the held-out text gives no finite figure");
        if (!stopped) printf("valid bits/char: %.4f\n", bits);
    }
    if (fflush(stdout) || ferror(stdout)) return failed("stdout: it could not be written");
    return stopped ? 128 + (int)stopped : 0;
}

int main(int argc, char **argv)
{
    options o;
    int go = read_options(argc, argv, &o);
    if (go <= 0) return go < 0;
    if (!cell_named(o.cell)) {
        fprintf(stderr, "charlm: --cell is '%s'; it must be lstm, gru or rnn\n", o.cell);
        return 1;
    }
    wf_error err = { { 0 } };
    if (o.threads && !wf_runtime_set(&(wf_runtime){ .threads = (int)o.threads }, &err))
        return failed(err.text);
    struct sigaction act = { .sa_handler = on_signal };
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);

    wf_archive *saved = o.load ? wf_safetensors_load(o.load, &err) : NULL;
    if (o.load && (!saved || !read_saved(saved, &o, &err))) {
        wf_archive_free(saved);
        return failed(err.text);
    }
    model m = { 0 };
    wf_corpus *text = NULL;
    int32_t *prompt = NULL;
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .seed = (uint64_t)o.seed });
    int status = t ? run(&o, saved, &m, &text, t, &prompt) : failed("out of memory");
    free(prompt);
    wf_tape_free(t);
    wf_carry_free(m.lane);
    wf_module_free(m.net);
    wf_corpus_free(text);
    wf_archive_free(saved);
    return status;
}
