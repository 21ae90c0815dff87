/* A character model: embedding, a recurrent net, a linear head. It learns to write what it
 * reads: texts that it is given, or Weft's own sources. Run with --help for the options.
 *
 * Expected: `charlm --steps 1000` on Weft's sources, about 1.7 bits per character on what was held
 * out; `charlm --data tinyshakespeare.txt`, about 2.24 (seeds 0 to 2). */
#include <weft.h>

#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "examples/options.h"
#include "examples/program.h"
#include "examples/sources.h" /* the text that is built in */

typedef struct options {
    const char *cell, *save, *load, *log, *prompt;
    option_list data, freeze, group;
    int64_t layers, hidden, embed, time, batch, steps, every, seed, threads, generate;
    double lr, dropout, clip, valid, temperature;
    bool new_letters;
} options;

/* The net: its sizes are in the saved file's metadata, its alphabet too. */
typedef struct model {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *rnn;
    wf_linear *head;
    wf_carry *lane; /* the state of one text, for judging and writing */
} model;

/* Everything that training changes: what a saved file holds, and what goes on where it stood. */
typedef struct run {
    options *o;
    model m;
    wf_corpus *text;
    wf_optim *adam;
    wf_carry *past; /* the lanes' states */
    wf_tape *t;
    int64_t step;    /* training steps made */
    int32_t *prompt; /* what a sample begins with */
    int64_t n_prompt;
} run;

/* Says what went wrong, in one line; the exit status. */
static int failed(const char *text)
{
    fprintf(stderr, "charlm: %s\n", text);
    return 1;
}

/* ---- options ---- */

#define AT(field) offsetof(options, field)

/* clang-format off */
static const option_row rows[] = {
    { "data", "FILE", "UTF-8 text to learn; several times: several texts; -: standard input\n"
      "(without it: Weft's own sources, built in)", AT(data), OPTION_LIST, OPTION_FORGOTTEN, 0, 0 },
    { "cell", "NAME", "lstm, gru or rnn (lstm)", AT(cell), OPTION_TEXT, OPTION_FIXED, 0, 0 },
    { "layers", "N", "recurrent layers (2)", AT(layers), OPTION_WHOLE, OPTION_FIXED, 1, 100 },
    { "hidden", "N", "their width (256)", AT(hidden), OPTION_WHOLE, OPTION_FIXED, 1, 65536 },
    { "embed", "N", "width of a character (64)", AT(embed), OPTION_WHOLE, OPTION_FIXED, 1, 65536 },
    { "time", "N", "characters per step (64)", AT(time), OPTION_WHOLE, OPTION_KEPT, 1, 1e6 },
    { "batch", "N", "lanes of text (32)", AT(batch), OPTION_WHOLE, OPTION_KEPT, 1, 1e6 },
    { "steps", "N", "training steps in all, a saved model's included (2000); 0: do not train",
      AT(steps), OPTION_WHOLE, OPTION_KEPT, 0, 0 },
    { "lr", "X", "learning rate of Adam (2e-3)", AT(lr), OPTION_NUMBER, OPTION_KEPT, 1e-12, 1e3 },
    { "group", "NAMES=X", "a rate of their own for some parameters: 'rnn.*=1e-3'",
      AT(group), OPTION_LIST, OPTION_KEPT, 0, 0 },
    { "freeze", "NAMES", "parameters that do not learn: 'embed.*'",
      AT(freeze), OPTION_LIST, OPTION_KEPT, 0, 0 },
    { "dropout", "P", "between layers (0)", AT(dropout), OPTION_BELOW, OPTION_KEPT, 0, 1 },
    { "clip", "X", "the most that the gradient's norm may be (1; 0: off)",
      AT(clip), OPTION_NUMBER, OPTION_KEPT, 0, 1e9 },
    { "valid", "P", "part of each text held out, from its end (0.05)",
      AT(valid), OPTION_BELOW, OPTION_KEPT, 0, 1 },
    { "seed", "N", "of everything random (0)", AT(seed), OPTION_WHOLE, OPTION_KEPT, 0, 0 },
    { "threads", "N", "(all processors)", AT(threads), OPTION_WHOLE, OPTION_FORGOTTEN, 1, 64 },
    { "save", "FILE", "where the model goes at the end, or at SIGINT, SIGTERM, SIGHUP",
      AT(save), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "every", "N", "saves after every N steps, too",
      AT(every), OPTION_WHOLE, OPTION_FORGOTTEN, 1, 0 },
    { "load", "FILE", "goes on where a saved model stood; its cell, sizes and letters hold,\n"
      "and how it was trained where nothing else is said",
      AT(load), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "new-letters", NULL, "letters that a saved model does not know are learned",
      AT(new_letters), OPTION_FLAG, OPTION_FORGOTTEN, 0, 0 },
    { "log", "FILE", "CSV of every step: step, loss, held_out (bits/char), norm, rate",
      AT(log), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "prompt", "TEXT", "what the sample begins with",
      AT(prompt), OPTION_TEXT, OPTION_FORGOTTEN, 0, 0 },
    { "generate", "N", "its length (300)", AT(generate), OPTION_WHOLE, OPTION_FORGOTTEN, 0, 1e8 },
    { "temperature", "X", "of the sample (0.8; 0: always the likeliest character)",
      AT(temperature), OPTION_NUMBER, OPTION_FORGOTTEN, 0, 100 },
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof rows[0] };

static const wf_cell *cell_named(const char *name)
{
    if (!strcmp(name, "lstm")) return wf_lstm_row();
    if (!strcmp(name, "gru")) return wf_gru_row();
    return strcmp(name, "rnn") ? NULL : wf_elman_row();
}

/* ---- the model, in memory and in files ---- */

static bool model_new(model *m, const options *o, int64_t letters, wf_error *err)
{
    m->net = wf_module_new("charlm", &(wf_module_options){ .seed = (uint64_t)o->seed });
    m->embed = wf_embedding_new(m->net, "embed",
                                &(wf_embedding_options){ .input = letters, .output = o->embed });
    m->rnn = wf_rnn_new(
        m->net, "rnn", cell_named(o->cell),
        &(wf_rnn_options){
            .input = o->embed, .hidden = o->hidden, .layers = o->layers, .dropout = o->dropout });
    m->head = wf_linear_new(m->net, "head",
                            &(wf_linear_options){ .input = o->hidden, .output = letters });
    if (!wf_module_ok(m->net, err)) return false;
    m->lane = wf_carry_new(m->rnn, 1);
    return wf_carry_ok(m->lane, err);
}

/* Takes what a saved model keeps, where the command line does not say otherwise. */
static bool take_saved(const wf_archive *file, options *o, const bool given[ROWS], wf_error *err)
{
    const char *kind = wf_archive_meta(file, "weft.model");
    if (!kind || strcmp(kind, "charlm") || !wf_archive_meta(file, "alphabet"))
        return wf_error_set(err, "load %s: this is not a model that charlm saved", o->load);
    if (!options_take(rows, ROWS, o, given, file, o->load, err)) return false;
    if (!cell_named(o->cell))
        return wf_error_set(err, "load %s: it does not name a cell that charlm knows", o->load);
    return true;
}

/* Everything that goes on, in one file. Killed at any moment, the old or the new one is there. */
static bool run_save(run *r, wf_error *err)
{
    wf_bundle *b = wf_bundle_new();
    wf_module_to_bundle(r->m.net, b, NULL);
    wf_bundle_meta(b, "weft.model", "charlm");
    wf_bundle_meta(b, "alphabet", "%s", wf_corpus_alphabet_text(r->text));
    options_put(rows, ROWS, r->o, b);
    if (r->adam) {
        wf_optim_to_bundle(r->adam, b, "optim.");
        wf_carry_to_bundle(r->past, b, "carry.");
        wf_bundle_meta(b, "step", "%" PRId64, r->step);
        wf_bundle_meta(b, "place", "%" PRId64, wf_corpus_position(r->text));
        wf_bundle_meta(b, "text", "%016" PRIx64, wf_corpus_hash(r->text));
    }
    bool ok = wf_bundle_save(b, r->o->save, err);
    wf_bundle_free(b);
    return ok;
}

static bool outputs_are_sound(const options *o, wf_error *err)
{
    for (int i = 0; i < o->data.n; i++) {
        if (same_file(o->data.at[i], o->save))
            return wf_error_set(err, "--save %s would replace the text that --data reads", o->save);
        if (same_file(o->data.at[i], o->log))
            return wf_error_set(err, "--log %s would replace the text that --data reads", o->log);
    }
    if (same_file(o->log, o->save) || same_file(o->log, o->load))
        return wf_error_set(err, "--log %s would replace the model", o->log);
    if (o->every && !o->save) return wf_error_set(err, "--every needs --save, a file to save to");
    return !o->save || can_save(o->save, err);
}

/* ---- what the net computes ---- */

static wf_var *hidden(wf_tape *t, const model *m, const wf_tensor *ids, wf_carry *past)
{
    wf_var *x = wf_embedding_forward(t, m->embed, wf_constant_tensor(t, ids)); /* (T, B, embed) */
    return wf_rnn_forward(t, m->rnn, x, &(wf_rnn_call){ .carry = past });      /* (T, B, hidden) */
}

/* Nats per character: (). */
static wf_var *loss_of(wf_tape *t, const model *m, const wf_tensor *ids, const wf_tensor *target,
                       wf_carry *past)
{
    return wf_linear_cross_entropy(t, m->head, hidden(t, m, ids, past),
                                   wf_constant_tensor(t, target), NULL);
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
        nats += wf_item(loss_of(t, m, &input, &target, m->lane)) * (double)(end - at);
    }
    wf_tape_set_mode(t, before);
    return stopped ? (double)NAN : nats / (double)n / log(2);
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

/* Reads the prompt, then writes `count` characters, each read in turn. False when the tape
 * failed. */
static bool write_sample(const run *r, int64_t count, FILE *out)
{
    wf_tape *t = r->t;
    wf_carry_reset(r->m.lane);
    wf_mode before = wf_tape_mode(t);
    wf_tape_set_mode(t, WF_INFER);
    uint64_t key = wf_key_named((uint64_t)r->o->seed, "sample");
    int32_t id = 0;
    for (int64_t i = 0; i < r->n_prompt + count - 1 && !stopped && !ferror(out); i++) {
        if (i < r->n_prompt) id = r->prompt[i];
        wf_tensor one = wf_tensor_of(WF_I32, WF_SHAPE(1, 1), &id);
        wf_tape_reset(t);
        wf_var *y = wf_linear_forward(t, r->m.head, hidden(t, &r->m, &one, r->m.lane));
        if (!wf_tape_ok(t)) break;
        if (i + 1 < r->n_prompt) continue;
        id = draw(y, r->o->temperature, key, (uint64_t)i);
        if (id < 0) {
            wf_fail(t, "charlm: the model gives numbers that are not finite, so it writes nothing");
            break;
        }
        char letter[5];
        fwrite(letter, 1, (size_t)wf_utf8_encode(wf_corpus_letter(r->text, id), letter), out);
    }
    bool ok = wf_tape_ok(t);
    wf_tape_set_mode(t, before);
    return ok;
}

/* ---- training ---- */

typedef struct progress {
    double begun, shown, sum, weight, nats, norm; /* sum / weight: a running mean of nats */
    int64_t first;                                /* the step that was made before */
    bool live;                                    /* a terminal: one line that is written over */
    FILE *log;
} progress;

static double rate_of(const progress *p, const run *r)
{
    return (double)((r->step - p->first) * r->o->time * r->o->batch) / (now() - p->begun);
}

/* On a terminal a live line; elsewhere twenty lines in all, and one at least every five seconds. */
static void show(progress *p, const run *r)
{
    const options *o = r->o;
    int64_t step = r->step, steps = o->steps - p->first, every = steps >= 20 ? steps / 20 : 1;
    double t = now();
    p->sum = 0.98 * p->sum + 0.02 * p->nats;
    p->weight = 0.98 * p->weight + 0.02;
    bool due = p->live ? t - p->shown >= 0.1 : (step - p->first) % every == 0 || t - p->shown >= 5;
    if (!due && step < o->steps) return;
    p->shown = t;
    double left = (double)(o->steps - step) * (t - p->begun) / (double)(step - p->first);
    fprintf(stderr,
            "%sstep %" PRId64 "/%" PRId64 "  %.3f bits/char  %.0f characters/s  %.0f:%02.0f left%s",
            p->live ? "\r\033[K" : "", step, o->steps, p->sum / p->weight / log(2), rate_of(p, r),
            floor(left / 60), floor(fmod(left, 60)), p->live ? "" : "\n");
}

/* A look at what the net can do by now; the held-out figure, NaN where there is none. */
static double look(progress *p, const run *r)
{
    double begun = now();
    fprintf(stderr, "%sstep %" PRId64, p->live ? "\r\033[K" : "", r->step);
    double bits = wf_corpus_valid_count(r->text) > 1 ? evaluate(r->t, &r->m, r->text, 10000)
                                                     : (double)NAN;
    if (isfinite(bits)) fprintf(stderr, "  held out: %.3f bits/char", bits);
    fputs("  writes:\n  | ", stderr);
    char *sample = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&sample, &bytes);
    if (memory) {
        write_sample(r, 120, memory);
        fclose(memory);
        for (const char *c = sample; *c; c++)
            fputs(*c == '\n' ? "\n  | " : (char[]){ *c, 0 }, stderr);
        free(sample);
    }
    fputc('\n', stderr);
    p->begun += now() - begun; /* the rate is of training alone */
    return bits;
}

/* loss and held-out in bits per character, the gradient's norm before clipping, characters/s. */
static void log_line(const progress *p, const run *r, double held_out)
{
    if (!p->log) return;
    fprintf(p->log, "%" PRId64 ",%.6f,", r->step, p->nats / log(2));
    if (isfinite(held_out)) fprintf(p->log, "%.6f", held_out);
    fprintf(p->log, ",%.6g,%.0f\n", p->norm, rate_of(p, r));
}

/* One step; false after failing the tape or a signal within it. */
static bool train_step(run *r, progress *p)
{
    wf_batch b = wf_corpus_next(r->text);
    if (b.restart) wf_carry_reset(r->past); /* the text begins anew */
    wf_tape_reset(r->t);
    wf_tape_set_step(r->t, (uint64_t)r->step);         /* what is drawn depends on the step alone */
    wf_var *loss = loss_of(r->t, &r->m, b.input, b.target, r->past);
    if (!wf_backward(r->t, loss)) return false; /* the reason has been said */
    p->nats = wf_item(loss);
    p->norm = wf_optim_clip_norm(r->adam, r->o->clip > 0 ? r->o->clip : (double)INFINITY);
    wf_optim_step(r->adam);
    r->step++;
    return true;
}

/* Until the steps are made or a signal comes. False after a failure, which was said. */
static bool train(run *r)
{
    const options *o = r->o;
    static const char columns[] = "step,loss,held_out,norm,rate";
    wf_error err = { { 0 } };
    progress p = {
        .begun = now(), .shown = now(), .first = r->step, .live = isatty(STDERR_FILENO)
    };
    if (o->log && !(p.log = log_open(o->log, columns, r->step, &err))) return !failed(err.text);
    int64_t interval = o->steps >= 4 ? o->steps / 4 : 0;
    bool ok = true;
    while (r->step < o->steps && !stopped && (ok = train_step(r, &p))) {
        double held_out = (double)NAN;
        show(&p, r);
        if (interval && r->step % interval == 0 && r->step < o->steps) held_out = look(&p, r);
        log_line(&p, r, held_out);
        /* A disk that is full for a while ends no training; the last save tells. */
        if (o->every && r->step % o->every == 0 && !run_save(r, &err)) {
            fprintf(stderr, "%scharlm: %s; going on\n", p.live ? "\n" : "", err.text);
            err.text[0] = 0;
        }
    }
    if (p.live) fputc('\n', stderr);
    if (stopped)
        fprintf(stderr, "charlm: stopped by signal %d after %" PRId64 " steps\n", (int)stopped,
                r->step);
    else if (ok)
        fprintf(stderr, "%" PRId64 " steps in %.1f s\n", r->step - p.first, now() - p.begun);
    if (p.log && (ferror(p.log) | fclose(p.log))) return !failed("the log could not be written");
    return ok;
}

/* ---- going on ---- */

static bool matches(const char *pattern, const wf_var *param)
{
    return fnmatch(pattern, wf_param_path(param), 0) == 0;
}

/* Freezes, and gives groups their rates. */
static bool apply_groups(run *r, wf_error *err)
{
    const options *o = r->o;
    for (int i = 0; i < o->freeze.n; i++) {
        int64_t found = 0;
        for (int64_t k = 0; k < wf_module_param_count(r->m.net); k++) {
            wf_var *param = wf_module_param_at(r->m.net, k);
            if (!matches(o->freeze.at[i], param)) continue;
            wf_param_freeze(param, true);
            found++;
        }
        if (!found)
            return wf_error_set(err, "--freeze is '%s'; no parameter has such a name",
                                o->freeze.at[i]);
    }
    for (int i = 0; i < o->group.n; i++) {
        const char *equals = strrchr(o->group.at[i], '=');
        double rate;
        if (!equals || !wf_parse_number(equals + 1, &rate) || !(rate >= 0 && rate <= 1e3))
            return wf_error_set(err, "--group is '%s'; it must be NAMES=X, X a rate from 0 to 1000",
                                o->group.at[i]);
        char names[256];
        snprintf(names, sizeof names, "%.*s", (int)(equals - o->group.at[i]), o->group.at[i]);
        int group = wf_optim_group(r->adam, names);
        if (group < 0 || !wf_optim_set(r->adam, group, "lr", rate))
            return wf_module_ok(r->m.net, err) &&
                   wf_error_set(err, "--group is '%s'; this group cannot be made", o->group.at[i]);
    }
    return true;
}

/* What training needs beside the net, and, after a saved model, where that stood. */
static bool begin_training(run *r, const wf_archive *saved, bool grown, wf_error *err)
{
    const options *o = r->o;
    wf_adam_options adam = wf_adam_defaults();
    adam.lr = o->lr;
    r->adam = wf_adam_new(r->m.net, &adam);
    r->past = wf_carry_new(r->m.rnn, o->batch);
    if (!wf_module_ok(r->m.net, err) || !wf_carry_ok(r->past, err) || !apply_groups(r, err))
        return false;
    int64_t step = 0, place = 0, time = 0, batch = 0;
    if (!saved || !wf_archive_meta_integer(saved, "step", &step)) return true;
    r->step = step;
    if (grown) {
        fprintf(stderr, "charlm: with new letters the optimiser and the text begin anew\n");
        return true;
    }
    if (!wf_optim_load_archive(r->adam, o->load, saved, "optim.", err)) return false;
    char print[24];
    snprintf(print, sizeof print, "%016" PRIx64, wf_corpus_hash(r->text));
    const char *text = wf_archive_meta(saved, "text");
    wf_archive_meta_integer(saved, "time", &time);
    wf_archive_meta_integer(saved, "batch", &batch);
    if (!text || strcmp(text, print) || time != o->time || batch != o->batch) {
        fprintf(stderr, "charlm: another text, --time or --batch: it is read from its start\n");
        return true;
    }
    if (!wf_archive_meta_integer(saved, "place", &place) || !wf_corpus_seek(r->text, place))
        return wf_error_set(err, "load %s: it does not say where in the text it stood", o->load);
    return wf_carry_load_archive(r->past, o->load, saved, "carry.", err);
}

/* ---- the program ---- */

/* The texts: files, pipes, standard input; or what is built in. */
static wf_corpus *open_text(run *r, const char *alphabet, wf_error *err)
{
    const options *o = r->o;
    wf_corpus_options how = { .time = o->time,
                              .batch = o->batch,
                              .valid = o->valid,
                              .alphabet = alphabet,
                              .extend = o->new_letters };
    if (o->steps == 0 && !o->data.n && alphabet) return wf_corpus_from_alphabet(alphabet, err);
    if (o->data.n) return wf_corpus_from_files(o->data.at, o->data.n, &how, err);
    return wf_corpus_from_parts(built_in_text, built_in_count, &how, err);
}

/* The saved parameters. Where letters are new, what the net knows of the old ones comes first, and
 * `grown` is set. */
static bool load_model(run *r, const wf_archive *saved, bool *grown, wf_error *err)
{
    const wf_load_options how = { .allow_unexpected = true }; /* the optimiser's, the lanes' */
    const wf_tensor *bias = wf_archive_find(saved, "head.bias");
    int64_t letters = bias && bias->rank == 1 ? bias->dim[0] : 0;
    *grown = letters > 0 && letters < wf_corpus_alphabet(r->text);
    if (!*grown) return wf_module_load_archive_with(r->m.net, r->o->load, saved, &how, NULL, err);
    model old = { 0 };
    bool ok = model_new(&old, r->o, letters, err) &&
              wf_module_load_archive_with(old.net, r->o->load, saved, &how, NULL, err);
    for (int64_t i = 0; ok && i < wf_module_param_count(old.net); i++) {
        const wf_tensor *from = wf_param_value(wf_module_param_at(old.net, i));
        wf_var *param = wf_module_param_at(r->m.net, i);
        wf_tensor to;
        wf_view_slice(wf_param_value(param), 0, 0, from->dim[0], 1, &to);
        wf_tensor_copy(from, &to);
        wf_param_changed(param);
    }
    wf_carry_free(old.lane);
    wf_module_free(old.net);
    return ok;
}

static bool read_prompt(run *r, wf_error *err)
{
    /* Without a prompt the sample begins as a new line would. */
    const char *begin = r->o->prompt && *r->o->prompt ? r->o->prompt : NULL;
    r->n_prompt = begin ? (int64_t)strlen(begin) : 1;
    r->prompt = malloc((size_t)r->n_prompt * sizeof *r->prompt);
    if (!r->prompt) return wf_error_set(err, "out of memory");
    int32_t line = wf_corpus_id(r->text, '\n');
    *r->prompt = line < 0 ? 0 : line;
    if (begin)
        r->n_prompt = wf_corpus_encode(r->text, begin, r->n_prompt, r->prompt, r->n_prompt, err);
    return r->n_prompt >= 0;
}

/* Trains as far as asked, and saves; false after a failure, which was said. */
static bool learn(run *r, const wf_archive *saved, bool grown)
{
    options *o = r->o;
    wf_error err = { { 0 } };
    if (!o->steps) return !o->save || run_save(r, &err) || !failed(err.text);
    if (!begin_training(r, saved, grown, &err)) return !failed(err.text);
    if (r->step >= o->steps)
        fprintf(stderr,
                "charlm: the saved model has made %" PRId64
                " steps; more than those need a larger --steps\n",
                r->step);
    int64_t before = r->step;
    if (!train(r)) return false;
    if (!o->save) return true;
    if (r->step == before && stopped) {
        fprintf(stderr, "charlm: nothing was learned, so %s is left as it was\n", o->save);
    } else {
        if (!run_save(r, &err)) return !failed(err.text);
        fprintf(stderr, "saved %s\n", o->save);
    }
    return true;
}

static int go(run *r, const wf_archive *saved)
{
    options *o = r->o;
    wf_error err = { { 0 } };
    bool grown = false;
    if (!outputs_are_sound(o, &err)) return failed(err.text);
    r->text = open_text(r, saved ? wf_archive_meta(saved, "alphabet") : NULL, &err);
    if (!r->text || !model_new(&r->m, o, wf_corpus_alphabet(r->text), &err))
        return failed(err.text);
    if (saved && !load_model(r, saved, &grown, &err)) return failed(err.text);
    if (!read_prompt(r, &err)) return failed(err.text);
    fprintf(stderr,
            "%" PRId64 " letters, %" PRId64 " to learn from, %" PRId64 " held out; %s, %" PRId64
            " weights; %d threads, %s\n",
            wf_corpus_alphabet(r->text), wf_corpus_train_count(r->text),
            wf_corpus_valid_count(r->text), o->cell, wf_module_weights(r->m.net),
            wf_tape_threads(r->t), wf_isa_name(wf_isa_level()));
    if (!learn(r, saved, grown)) return 1;
    if (!stopped && o->generate) {
        if (o->prompt) fputs(o->prompt, stdout);
        if (!write_sample(r, o->generate, stdout)) return 1;
        putchar('\n');
    }
    if (!stopped && o->steps && wf_corpus_valid_count(r->text) > 1) {
        double bits = evaluate(r->t, &r->m, r->text, INT64_MAX);
        if (!stopped && !isfinite(bits)) return failed("the held-out text gives no finite figure");
        if (!stopped) printf("valid bits/char: %.4f\n", bits);
    }
    if (fflush(stdout) || ferror(stdout)) return failed("stdout: it could not be written");
    return stopped ? 128 + (int)stopped : 0;
}

int main(int argc, char **argv)
{
    options o = { .cell = "lstm",
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
    bool given[ROWS] = { false };
    int begin = options_read("charlm", rows, ROWS, argc, argv, &o, given);
    if (begin <= 0) return begin < 0;
    if (!cell_named(o.cell)) {
        fprintf(stderr, "charlm: --cell is '%s'; it must be lstm, gru or rnn\n", o.cell);
        return 1;
    }
    wf_error err = { { 0 } };
    if (o.threads && !wf_runtime_set(&(wf_runtime){ .threads = (int)o.threads }, &err))
        return failed(err.text);
    stop_at_signals();

    wf_archive *saved = o.load ? wf_safetensors_load(o.load, &err) : NULL;
    if (o.load && (!saved || !take_saved(saved, &o, given, &err))) {
        wf_archive_free(saved);
        return failed(err.text);
    }
    run r = { .o = &o, .t = wf_tape_new(&(wf_tape_options){ .seed = (uint64_t)o.seed }) };
    int status = r.t ? go(&r, saved) : failed("out of memory");
    free(r.prompt);
    wf_tape_free(r.t);
    wf_carry_free(r.past);
    wf_carry_free(r.m.lane);
    wf_optim_free(r.adam);
    wf_module_free(r.m.net);
    wf_corpus_free(r.text);
    wf_archive_free(saved);
    return status;
}
