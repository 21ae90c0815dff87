/* A character model: embedding, a recurrent net, a linear head. It learns to write what it
 * reads: texts that it is given, or Weft's own sources. Run with --help for the options.
 *
 * Expected: `charlm --steps 1000` on Weft's sources, about 1.7 bits per character on what was held
 * out; `charlm --data tinyshakespeare.txt`, about 2.24 (seeds 0 to 2). */
#include <weft.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/sources.h" /* the text that is built in */

typedef struct options {
    wf_run_options run;
    const char *cell, *prompt;
    wf_option_list data;
    int64_t layers, hidden, embed, time, backward, batch, generate;
    double dropout, valid, temperature;
    bool new_letters;
} options;

typedef struct model {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *rnn;
    wf_linear *head;
    wf_carry *lane; /* the state of one text, for judging and writing */
} model;

typedef struct charlm {
    options o;
    wf_run *run;
    model m;
    bool grown; /* the saved model knew fewer letters */
    wf_optim *adam;
    wf_corpus *text;
    wf_carry *past;  /* the lanes' states */
    int64_t place;   /* in the text */
    char hash[24];   /* of the text, by which a saved model knows it again */
    int32_t *prompt; /* what a sample begins with */
    int64_t n_prompt;
} charlm;

/* ---- options ---- */

static const wf_option rows[] = {
    { WF_OPTION(options, data), "FILE",
      "UTF-8 text to learn; several times: several texts; -: standard input\n"
      "(without it: Weft's own sources, built in)" },
    { WF_OPTION(options, cell), "NAME", "", WF_OPTION_FIXED, .choices = "lstm gru rnn" },
    { WF_OPTION(options, layers), "N", "recurrent layers", WF_OPTION_FIXED, 1, 100 },
    { WF_OPTION(options, hidden), "N", "their width", WF_OPTION_FIXED, 1, 65536 },
    { WF_OPTION(options, embed), "N", "width of a character", WF_OPTION_FIXED, 1, 65536 },
    { WF_OPTION(options, time), "N", "characters per step", WF_OPTION_KEPT, 1, 1e6 },
    { WF_OPTION(options, backward), "N",
      "characters that a loss leads back; 0: as many as a step has", WF_OPTION_KEPT, 0, 1e6 },
    { WF_OPTION(options, batch), "N", "lanes of text", WF_OPTION_KEPT, 1, 1e6 },
    { WF_OPTION(options, dropout), "P", "between layers; it needs two or more", WF_OPTION_KEPT, 0,
      1, .below = true },
    { WF_OPTION(options, valid), "P", "part of each text held out, from its end", WF_OPTION_KEPT, 0,
      1, .below = true },
    { WF_OPTION(options, new_letters),
      .help = "letters that a saved model does not know are learned" },
    { WF_OPTION(options, prompt), "TEXT", "what the sample begins with" },
    { WF_OPTION(options, generate), "N", "its length", 0, 0, 1e8 },
    { WF_OPTION(options, temperature), "X", "of the sample; 0: always the likeliest character", 0,
      0, 100 },
};

/* ---- what the net computes ---- */

static bool model_new(model *m, const options *o, int64_t letters, wf_error *err)
{
    m->net = wf_module_new("charlm", &(wf_module_options){ .seed = (uint64_t)o->run.seed });
    m->embed = wf_embedding_new(m->net, "embed",
                                &(wf_embedding_options){ .input = letters, .output = o->embed });
    m->rnn = wf_rnn_new(
        m->net, "rnn", wf_cell_named(o->cell),
        &(wf_rnn_options){
            .input = o->embed, .hidden = o->hidden, .layers = o->layers, .dropout = o->dropout });
    m->head = wf_linear_new(m->net, "head",
                            &(wf_linear_options){ .input = o->hidden, .output = letters });
    if (!wf_module_ok(m->net, err)) return false;
    m->lane = wf_carry_new(m->rnn, 1);
    return wf_carry_ok(m->lane, err);
}

static wf_var *hidden(wf_tape *t, const model *m, const wf_tensor *ids, wf_carry *past)
{
    wf_var *x = wf_embedding_forward(t, m->embed, wf_constant_tensor(t, ids)); /* (T, B, embed) */
    return wf_rnn_forward(t, m->rnn, x, &(wf_rnn_call){ .carry = past });      /* (T, B, hidden) */
}

/* Nats per character: (), of the last ones read, as many as there are targets. */
static wf_var *loss_of(wf_tape *t, const model *m, const wf_tensor *ids, const wf_tensor *target,
                       wf_carry *past)
{
    wf_var *h = hidden(t, m, ids, past), *next = wf_constant_tensor(t, target);
    const int64_t end = wf_dim(h, 0), begin = end - wf_dim(next, 0);
    return wf_linear_cross_entropy(t, m->head, wf_slice(t, h, 0, begin, end, 1), next, NULL);
}

enum { LOOK = 10000, WINDOW = 256 };

/* Bits per character over the held-out text, at most `most` characters of it: one pass, one lane,
 * zero initial state. NaN when a signal ended it (what a look reads is read to its end). */
static double evaluate(const charlm *c, int64_t most)
{
    const wf_tensor *ids = wf_corpus_valid(c->text);
    wf_tape *t = wf_run_tape(c->run);
    int64_t n = wf_corpus_valid_count(c->text) - 1;
    if (n > most) n = most;
    wf_carry_reset(c->m.lane);
    double nats = 0;
    for (int64_t at = 0; at < n; at += WINDOW) {
        if (at > LOOK && wf_run_stopped(c->run)) return (double)NAN;
        const int64_t end = at + WINDOW < n ? at + WINDOW : n;
        wf_tensor input, target;
        wf_view_slice(ids, 0, at, end, 1, &input);
        wf_view_slice(ids, 0, at + 1, end + 1, 1, &target);
        wf_tape_reset(t);
        nats += wf_item(loss_of(t, &c->m, &input, &target, c->m.lane)) * (double)(end - at);
    }
    return nats / (double)n / log(2);
}

/* Draws from softmax(logits / temperature); the likeliest at temperature 0; -1 where numbers are
 * not finite. */
static int32_t draw(const wf_var *y, double temperature, uint64_t key, uint64_t counter)
{
    int64_t n = wf_count(y), best = 0;
    double top = wf_at(y, 0), sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(wf_at(y, i))) return -1;
        if (wf_at(y, i) > top) top = wf_at(y, best = i);
    }
    if (temperature <= 0) return (int32_t)best;
    for (int64_t i = 0; i < n; i++) sum += exp((wf_at(y, i) - top) / temperature);
    double u = wf_random_uniform(key, counter) * sum;
    for (int64_t i = 0; i < n; i++)
        if ((u -= exp((wf_at(y, i) - top) / temperature)) < 0) return (int32_t)i;
    return (int32_t)best;
}

/* Reads the prompt, then writes `count` characters, each read in turn. */
static void write_sample(const charlm *c, int64_t count, FILE *out)
{
    wf_tape *t = wf_run_tape(c->run);
    const uint64_t key = wf_key_named((uint64_t)c->o.run.seed, "sample");
    wf_carry_reset(c->m.lane);
    int32_t id = 0;
    for (int64_t i = 0; i < c->n_prompt + count - 1 && !ferror(out); i++) {
        if (i < c->n_prompt) id = c->prompt[i];
        const wf_tensor one = wf_tensor_of(WF_I32, WF_SHAPE(1, 1), &id);
        wf_tape_reset(t);
        wf_var *y = wf_linear_forward(t, c->m.head, hidden(t, &c->m, &one, c->m.lane));
        if (!wf_tape_ok(t) || wf_run_stopped(c->run)) return;
        if (i + 1 < c->n_prompt) continue;
        id = draw(y, c->o.temperature, key, (uint64_t)i);
        if (id < 0) {
            wf_run_fail(c->run,
                        "the model gives numbers that are not finite, so it writes nothing");
            return;
        }
        char letter[5];
        fwrite(letter, 1, (size_t)wf_utf8_encode(wf_corpus_letter(c->text, id), letter), out);
    }
}

/* What the net can write by now, each line behind a bar. */
static void show_sample(const charlm *c)
{
    char *sample = NULL, text[2000] = "writes:\n  | ";
    size_t bytes = 0;
    FILE *memory = open_memstream(&sample, &bytes);
    if (!memory) return;
    write_sample(c, 120, memory);
    fclose(memory);
    for (const char *s = sample; *s; s++)
        wf_append(text, sizeof text, *s == '\n' ? "\n  | " : "%c", *s);
    wf_run_say(c->run, "%s", text);
    free(sample);
}

/* ---- training ---- */

static void save_place(const void *self, wf_bundle *b)
{
    const charlm *c = self;
    wf_bundle_meta(b, "alphabet", "%s", wf_corpus_alphabet_text(c->text));
    wf_bundle_meta(b, "text", "%s", c->hash);
    wf_bundle_meta(b, "place", "%" PRId64, c->place);
    wf_carry_to_bundle(c->past, b, "carry.");
}

/* Where a saved run stood in its text. Without a text that stays as it is. */
static bool load_place(void *self, const char *path, const wf_archive *saved, wf_error *err)
{
    charlm *c = self;
    int64_t time = 0, batch = 0, backward = 0, place = 0;
    const char *text = wf_archive_meta(saved, "text");
    if (!text || strlen(text) >= sizeof c->hash || !wf_archive_meta_integer(saved, "place", &place))
        return wf_error_set(err, "load %s: it does not say where in the text it stood", path);
    wf_archive_meta_integer(saved, "time", &time);
    wf_archive_meta_integer(saved, "batch", &batch);
    wf_archive_meta_integer(saved, "backward", &backward);
    const bool has_text = wf_corpus_train_count(c->text) > 0;
    if (time != c->o.time || batch != c->o.batch || backward != c->o.backward ||
        (has_text && strcmp(text, c->hash))) {
        wf_run_say(c->run, "charlm: another text, --time, --backward or --batch: it is read from "
                           "its start");
        return true;
    }
    strcpy(c->hash, text);
    c->place = place;
    if (has_text && !wf_corpus_seek(c->text, place))
        return wf_error_set(err, "load %s: it does not say where in the text it stood", path);
    return wf_carry_load_archive(c->past, path, saved, "carry.", err);
}

static bool begin(charlm *c)
{
    const options *o = &c->o;
    wf_adam_options adam = wf_adam_defaults();
    adam.lr = o->run.lr;
    c->adam = wf_adam_new(c->m.net, &adam);
    c->past = wf_carry_new_truncated(c->m.rnn, o->batch, o->time,
                                     o->backward ? o->backward : o->time);
    wf_format(c->hash, sizeof c->hash, "%016" PRIx64, wf_corpus_hash(c->text));
    if (!wf_module_ok(c->m.net, wf_run_error(c->run)) ||
        !wf_carry_ok(c->past, wf_run_error(c->run)))
        return false;
    wf_run_say(c->run, "%" PRId64 " letters, %" PRId64 " to learn from, %" PRId64 " held out; %s",
               wf_corpus_alphabet(c->text), wf_corpus_train_count(c->text),
               wf_corpus_valid_count(c->text), o->cell);
    if (c->grown)
        wf_run_say(c->run, "charlm: with new letters the optimiser and the text begin anew");
    return wf_run_begin(c->run,
                        &(wf_run_plan){ .net = c->m.net,
                                        .optim = c->adam,
                                        .steps_per_epoch = o->run.steps > 4 ? o->run.steps / 4 : 1,
                                        .unit = "characters",
                                        .loss = "bits/char",
                                        .scale = 1 / log(2),
                                        .figures = { "held_out" },
                                        .last = true,
                                        .endless = true,
                                        .adapted = c->grown,
                                        .save = save_place,
                                        .load = load_place,
                                        .self = c });
}

/* A quarter of the steps is an epoch, behind which there is a look at what the net can do. */
static void train(charlm *c)
{
    while (wf_run_next(c->run)) {
        const wf_batch b = wf_corpus_next(c->text);
        if (b.restart) wf_carry_reset(c->past); /* the text begins anew */
        wf_tape *t = wf_run_tape(c->run);
        const wf_tensor *read = wf_corpus_reread(c->text, wf_carry_overlap(t, c->past));
        wf_var *loss = loss_of(t, &c->m, read, b.target, c->past);
        wf_run_learn(c->run, loss, c->o.time * c->o.batch);
        c->place = wf_corpus_position(c->text);
        if (!wf_run_epoch_ended(c->run)) continue;
        const bool held_out = wf_corpus_valid_count(c->text) > 1;
        wf_run_judge(c->run, (double[]){ held_out ? evaluate(c, LOOK) : (double)NAN });
        if (wf_run_part(c->run) < 1) show_sample(c);
    }
}

/* ---- the program ---- */

/* The texts: files, pipes, standard input; or what is built in. */
static bool open_text(charlm *c, const wf_archive *saved)
{
    const options *o = &c->o;
    const char *alphabet = wf_archive_meta(saved, "alphabet");
    wf_error *err = wf_run_error(c->run);
    const wf_corpus_options how = { .time = o->time,
                                    .batch = o->batch,
                                    .valid = o->valid,
                                    .alphabet = alphabet,
                                    .extend = o->new_letters };
    if (saved && !alphabet)
        return wf_run_fail(c->run, "load %s: it does not say its letters", o->run.load);
    for (int64_t i = 0; i < o->data.n; i++)
        if (!wf_run_reads(c->run, o->data.at[i])) return false;
    if (o->run.steps == 0 && !o->data.n && saved)
        c->text = wf_corpus_from_alphabet(alphabet, err);
    else if (o->data.n)
        c->text = wf_corpus_from_files(o->data.at, (int)o->data.n, &how, err);
    else
        c->text = wf_corpus_from_parts(built_in_text, built_in_count, &how, err);
    return c->text != NULL;
}

static void model_free(model *m)
{
    wf_carry_free(m->lane);
    wf_module_free(m->net);
}

/* Where a saved model knew fewer letters, what it knows of them comes first in what we have. */
static bool take_smaller(charlm *c, const wf_archive *saved)
{
    const wf_load_options how = { .allow_unexpected = true }; /* the optimiser's, the lanes' */
    const wf_tensor *bias = wf_archive_find(saved, "head.bias");
    const int64_t letters = bias && bias->rank == 1 ? bias->dim[0] : 0;
    wf_error *err = wf_run_error(c->run);
    model old = { 0 };
    c->grown = letters > 0 && letters < wf_corpus_alphabet(c->text);
    if (!c->grown) return true;
    bool ok = model_new(&old, &c->o, letters, err) &&
              wf_module_load_archive_with(old.net, c->o.run.load, saved, &how, NULL, err);
    for (int64_t i = 0; ok && i < wf_module_param_count(old.net); i++) {
        const wf_tensor *from = wf_param_value(wf_module_param_at(old.net, i));
        wf_var *param = wf_module_param_at(c->m.net, i);
        wf_tensor to;
        wf_view_slice(wf_param_value(param), 0, 0, from->dim[0], 1, &to);
        wf_tensor_copy(from, &to);
        wf_param_changed(param);
    }
    model_free(&old);
    return ok;
}

/* Without a prompt the sample begins as a new line would. */
static bool read_prompt(charlm *c)
{
    const char *begin = c->o.prompt && *c->o.prompt ? c->o.prompt : NULL;
    const int32_t line = wf_corpus_id(c->text, '\n');
    c->n_prompt = begin ? (int64_t)strlen(begin) : 1;
    c->prompt = malloc((size_t)c->n_prompt * sizeof *c->prompt);
    if (!c->prompt) return wf_run_fail(c->run, "not enough memory");
    *c->prompt = line < 0 ? 0 : line;
    if (begin)
        c->n_prompt = wf_corpus_encode(c->text, begin, c->n_prompt, c->prompt, c->n_prompt,
                                       wf_run_error(c->run));
    return c->n_prompt >= 0;
}

static void go(charlm *c)
{
    const wf_archive *saved = wf_run_archive(c->run);
    if (!open_text(c, saved) ||
        !model_new(&c->m, &c->o, wf_corpus_alphabet(c->text), wf_run_error(c->run)) ||
        !take_smaller(c, saved) || !read_prompt(c) || !begin(c))
        return;
    train(c);
    if (!wf_run_finish(c->run)) return;
    if (c->o.generate) {
        if (c->o.prompt) fputs(c->o.prompt, stdout);
        write_sample(c, c->o.generate, stdout);
        if (wf_run_ok(c->run)) putchar('\n');
    }
    if (!wf_run_ok(c->run) || wf_run_stopped(c->run) || !c->o.run.steps ||
        wf_corpus_valid_count(c->text) < 2)
        return;
    const double bits = evaluate(c, INT64_MAX);
    if (wf_run_stopped(c->run)) return;
    if (isfinite(bits))
        printf("valid bits/char: %.4f\n", bits);
    else
        wf_run_fail(c->run, "the held-out text gives no finite figure");
}

int main(int argc, char **argv)
{
    charlm c = { .o = { .run = { .steps = 2000, .lr = 2e-3, .clip = 1 },
                        .cell = "lstm",
                        .layers = 2,
                        .hidden = 256,
                        .embed = 64,
                        .time = 64,
                        .batch = 32,
                        .generate = 300,
                        .valid = 0.05,
                        .temperature = 0.8 } };
    c.run = wf_run_new(
        &(wf_run_call){ .name = "charlm",
                        .about = "Learns to write what it reads, letter by letter. Four times on\n"
                                 "the way it shows what it can write.",
                        .own = WF_OPTIONS(rows, &c.o),
                        .options = &c.o.run,
                        .without = "epochs patience average" },
        argc, argv);
    if (wf_run_ok(c.run)) go(&c);
    free(c.prompt);
    wf_carry_free(c.past);
    wf_optim_free(c.adam);
    model_free(&c.m);
    wf_corpus_free(c.text);
    return wf_run_free(c.run);
}
