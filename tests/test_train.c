/* Options as tables, and runs: what is read, shown, logged, kept, saved, and gone on with. */
#include "tests/fixture.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "layers/basic.h"
#include "layers/batch_norm.h"
#include "optim/optim.h"
#include "train/run.h"

/* ---- options ---- */

typedef struct options {
    wf_run_options run;
    const char *data, *cell;
    wf_option_list texts;
    int64_t hidden_size;
    double dropout;
    bool flag;
} options;

static const wf_option rows[] = {
    { WF_OPTION(options, data), "FILE", "text to learn" },
    { WF_OPTION(options, cell), "NAME", "of the layer", WF_OPTION_FIXED, .choices = "lstm gru" },
    { WF_OPTION(options, texts), "TEXT", "more\nof them", WF_OPTION_KEPT },
    { WF_OPTION(options, hidden_size), "N", "units", WF_OPTION_FIXED, 1, 64 },
    { WF_OPTION(options, dropout), "P", "", WF_OPTION_KEPT, 0, 1, .below = true },
    { WF_OPTION(options, flag), .help = "says yes", .keep = WF_OPTION_KEPT },
};

static options defaults(void)
{
    return (options){ .run = { .epochs = 3, .lr = 0.05, .clip = 1 },
                      .cell = "lstm",
                      .hidden_size = 4,
                      .dropout = 0.25 };
}

#define WORDS(...) ((const char *const[]){ "mine", __VA_ARGS__, NULL })
#define ARGV(...) (char *const *)WORDS(__VA_ARGS__)
#define COUNT(...) ((int)(sizeof WORDS(__VA_ARGS__) / sizeof(char *)) - 1)

/* Reads words into *o; the sentence, "" where all is well. */
static const char *read_words(options *o, wf_options *table, int argc, char *const argv[])
{
    static wf_error e;
    bool help = false;
    *o = defaults();
    *table = (wf_options)WF_OPTIONS(rows, o);
    const bool ok = wf_options_read(table, 1, argc, argv, &help, &e);
    ck_assert(ok == !e.text[0] && !help);
    return e.text;
}
#define READ(...) read_words(&o, &table, COUNT(__VA_ARGS__), ARGV(__VA_ARGS__))

TEST(options_go_where_their_fields_are)
{
    options o;
    wf_options table;
    ck_assert_str_eq(READ("--data", "글.txt", "--hidden-size=7", "--flag", "--dropout", "0.5",
                          "--texts", "a", "--texts=", "--cell=gru"),
                     "");
    ck_assert_str_eq(o.data, "글.txt");
    ck_assert_str_eq(o.cell, "gru");
    ck_assert(o.hidden_size == 7 && o.flag && o.texts.n == 2 && o.dropout == 0.5);
    ck_assert_str_eq(o.texts.at[1], "");
    ck_assert_uint_eq(table.given, 63);
}

TEST(what_an_option_cannot_be_is_one_sentence)
{
    options o;
    wf_options table;
    ck_assert_str_eq(READ("word"), "options: 'word' is none; --help lists them");
    ck_assert_str_eq(READ("--"), "options: '--' is none; --help lists them");
    ck_assert_str_eq(READ("--datum", "x"),
                     "option --datum: there is no such (--data?); --help lists them");
    ck_assert_str_eq(READ("--hidden_size", "x"),
                     "option --hidden_size: there is no such (--hidden-size?); --help lists them");
    ck_assert_str_eq(READ("--unlike"), "option --unlike: there is no such; --help lists them");
    ck_assert_str_eq(READ("--data"), "option --data: it needs a value, FILE");
    ck_assert_str_eq(READ("--flag=no"), "option --flag: it takes no value");
    ck_assert_str_eq(READ("--cell", "LSTM"), "option --cell: 'LSTM' is not one of lstm gru");
    ck_assert_str_eq(READ("--cell="), "option --cell: '' is not one of lstm gru");
    ck_assert_str_eq(READ("--hidden-size", "0"),
                     "option --hidden-size: '0' is no whole number from 1 to 64");
    ck_assert_str_eq(READ("--hidden-size", "4.5"),
                     "option --hidden-size: '4.5' is no whole number from 1 to 64");
    ck_assert_str_eq(
        READ("--hidden-size", "99999999999999999999"),
        "option --hidden-size: '99999999999999999999' is no whole number from 1 to 64");
    ck_assert_str_eq(READ("--dropout", "1"),
                     "option --dropout: '1' is no number from 0 to below 1");
    ck_assert_str_eq(READ("--dropout", "nan"),
                     "option --dropout: 'nan' is no number from 0 to below 1");
    const char *many[2 * WF_OPTION_VALUES + 4] = { "mine" };
    for (int i = 0; i <= WF_OPTION_VALUES; i++) many[2 * i + 1] = "--texts", many[2 * i + 2] = "x";
    ck_assert_str_eq(read_words(&o, &table, 2 * WF_OPTION_VALUES + 3, (char *const *)many),
                     "option --texts: it is given more than 64 times");
}

TEST(help_tells_each_option_and_what_it_is_by_default)
{
    options o = defaults();
    wf_options table = WF_OPTIONS(rows, &o);
    char text[1024];
    bool help = false;
    ck_assert(wf_options_read(&table, 1, 3, ARGV("--wrong", "--help"), &help, NULL) && help);
    const size_t n = wf_options_text(&table, 1, "mine", "Learns.", text, sizeof text);
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_str_eq(text, "Learns.\n\nusage: mine [options]\n"
                           "  --data FILE         text to learn\n"
                           "  --cell NAME         of the layer: lstm gru (lstm)\n"
                           "  --texts TEXT        more\n"
                           "                      of them\n"
                           "  --hidden-size N     units (4)\n"
                           "  --dropout P          (0.25)\n"
                           "  --flag              says yes\n"
                           "  --help              this list\n");
    char cut[40];
    ck_assert_uint_eq(wf_options_text(&table, 1, "mine", "Learns.", cut, sizeof cut), n);
    ck_assert(!strncmp(cut, text, sizeof cut - 1) && !cut[sizeof cut - 1]);
    ck_assert_uint_eq(wf_options_text(&table, 1, "mine", "Learns.", NULL, 0), n);
}

/* A file that keeps what these words say; then `argv` beside it. */
static const char *reload(options *o, int argc, char *const argv[])
{
    static wf_error e;
    options before;
    wf_options table;
    const char *path = path_of("kept");
    read_words(
        &before, &table, 9,
        ARGV("--cell", "gru", "--texts", "하나", "--dropout", "0.1", "--flag", "--texts=둘"));
    wf_bundle *b = wf_bundle_new();
    ck_assert(wf_options_to_bundle(&table, 1, b) && wf_bundle_save(b, path, &e));
    wf_bundle_free(b);
    read_words(o, &table, argc, argv);
    wf_archive *a = wf_safetensors_load(path, &e);
    static char kept[4096]; /* texts live as long as the archive: looked at below, so not freed */
    const bool ok = wf_options_load_archive(&table, 1, "kept", a, &e);
    snprintf(kept, sizeof kept, "%s %s %s %g %d", o->cell, o->texts.n ? o->texts.at[0] : "",
             o->texts.n > 1 ? o->texts.at[1] : "", o->dropout, o->flag);
    wf_archive_free(a);
    return ok ? kept : e.text;
}

TEST(a_saved_model_says_what_holds)
{
    options o;
    ck_assert_str_eq(reload(&o, 1, ARGV(NULL)), "gru 하나 둘 0.1 1");
    ck_assert_str_eq(reload(&o, 3, ARGV("--dropout", "0.5")), "gru 하나 둘 0.5 1");
    ck_assert_str_eq(reload(&o, 3, ARGV("--cell", "gru")), "gru 하나 둘 0.1 1");
    ck_assert_str_eq(reload(&o, 3, ARGV("--cell", "lstm")),
                     "load kept: the saved model has --cell gru, not what was asked for");
    ck_assert_str_eq(reload(&o, 3, ARGV("--hidden-size", "5")),
                     "load kept: the saved model has --hidden-size 4, not what was asked for");
}

/* ---- a run ---- */

enum { PER = 5 }; /* steps of an epoch */

typedef struct outcome {
    int status, due;
    float weight[3];
    int64_t steps, epochs, judged;
    bool finished;
    double rate[2]; /* of the optimiser's groups */
} outcome;

typedef struct how {
    double figures[16];
    int64_t stop_at, fail_at; /* the step before which a signal comes, or a bad loss */
    bool higher, plain;       /* plain: nothing is judged */
    bool last, endless, adapted, uneven;
    int per; /* steps of an epoch; 0: PER */
    uint64_t data;
    const char *reads, *writes, *also, *without;
} how;

static void put_word(const void *self, wf_bundle *b)
{
    wf_bundle_meta(b, "word", "%s", (const char *)self);
}

static bool take_word(void *self, const char *path, const wf_archive *archive, wf_error *error)
{
    const char *word = wf_archive_meta(archive, "word");
    if (word && !strcmp(word, self)) return true;
    return wf_error_set(error, "load %s: it has no word", path);
}

/* A linear layer learns from numbers that depend on the step alone. */
static outcome run_once(const how *h, int argc, char *const argv[])
{
    options o = defaults();
    outcome out = { 0 };
    wf_run *run = wf_run_new(&(wf_run_call){ .name = "mine",
                                             .about = "Learns.",
                                             .own = WF_OPTIONS(rows, &o),
                                             .options = &o.run,
                                             .without = h->without },
                             argc, argv);
    wf_module *net = wf_module_new("net", &(wf_module_options){ .seed = (uint64_t)o.run.seed });
    wf_linear *l = wf_linear_new(net, "l", &(wf_linear_options){ .input = 3, .output = 1 });
    /* Its running statistics are buffers: best weights, files and going on must have them, too. */
    wf_batch_norm_layer *norm = wf_batch_norm_new(net, "norm",
                                                  &(wf_batch_norm_options){ .features = 3 });
    wf_adam_options adam = wf_adam_defaults();
    wf_optim *optim = wf_adam_new(net, &adam);
    wf_run_writes(run, "svg", h->writes);
    wf_run_reads(run, h->reads);
    wf_run_writes(run, "csv", h->also);
    wf_run_begin(run, &(wf_run_plan){ .net = net,
                                      .optim = optim,
                                      .steps_per_epoch = h->per ? h->per : PER,
                                      .figures = { h->plain ? NULL : "error" },
                                      .higher = h->higher,
                                      .last = h->last,
                                      .endless = h->endless,
                                      .adapted = h->adapted,
                                      .uneven = h->uneven,
                                      .data = h->data,
                                      .save = put_word,
                                      .load = take_word,
                                      .self = (void *)(uintptr_t) "말" });
    if (h->uneven && wf_run_ok(run)) wf_run_set_steps(run, PER + wf_run_epoch(run) % 2);
    wf_tape *t = wf_run_tape(run);
    while (wf_run_next(run)) {
        float x[6];
        for (int i = 0; i < 6; i++)
            x[i] = (float)wf_random_uniform((uint64_t)wf_run_step(run), (uint64_t)i);
        if (h->stop_at && wf_run_step(run) == h->stop_at) raise(SIGINT);
        wf_var *y = wf_linear_forward(
            t, l, wf_batch_norm_forward(t, norm, wf_constant(t, WF_F32, WF_SHAPE(2, 3), x), NULL));
        if (h->fail_at && wf_run_step(run) == h->fail_at) y = wf_fail(t, "mine: a bad loss");
        wf_run_learn(run, wf_mean(t, wf_mul(t, y, y), NULL), 2);
        if (!wf_run_epoch_ended(run) || h->plain) continue;
        const double figure = h->figures[wf_run_epoch(run) - 1];
        out.judged++;
        out.due += wf_run_due(run);
        wf_run_judge(run, &figure);
        if (h->uneven) wf_run_set_steps(run, PER + wf_run_epoch(run) % 2);
    }
    out.steps = wf_run_step(run);
    out.epochs = wf_run_epoch(run);
    out.finished = wf_run_finish(run);
    for (int g = 0; g < 2; g++) out.rate[g] = wf_optim_get(optim, g, "lr");
    if (l) memcpy(out.weight, wf_param_value(l->weight)->data, sizeof out.weight);
    wf_optim_free(optim);
    wf_module_free(net);
    out.status = wf_run_free(run);
    return out;
}

/* The same, with stderr and stdout in the file "said". */
static outcome run_hushed(const how *h, int argc, char *const argv[])
{
    fflush(NULL);
    const int out = dup(1), err = dup(2);
    const int file = open(path_of("said"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert(out >= 0 && err >= 0 && file >= 0 && dup2(file, 1) == 1 && dup2(file, 2) == 2);
    outcome o = run_once(h, argc, argv);
    fflush(NULL);
    dup2(out, 1), dup2(err, 2);
    close(out), close(err), close(file);
    return o;
}
#define RUN(h, ...) run_hushed(h, COUNT(__VA_ARGS__), ARGV(__VA_ARGS__))

static char *text_of(const char *name)
{
    int64_t n;
    return wf_file_read(path_of(name), 0, &n, NULL);
}

static bool holds(const char *words, bool wanted)
{
    char *text = text_of("said");
    const bool there = text && strstr(text, words);
    if (there != wanted) fprintf(stderr, "%ssaid: %s\nbut: %s\n", there ? "" : "not ", words, text);
    wf_release(text);
    return there == wanted;
}

static bool says(const char *words)
{
    return holds(words, true);
}

static bool hides(const char *words)
{
    return holds(words, false);
}

static bool same_files(const char *a, const char *b)
{
    int64_t n = -1, m = -2;
    char *x = wf_file_read(path_of(a), 0, &n, NULL);
    char *y = wf_file_read(path_of(b), 0, &m, NULL);
    const bool same = x && y && n == m && !memcmp(x, y, (size_t)n);
    wf_release(x), wf_release(y);
    return same;
}

/* Copies a path, as path_of has one place for all. */
#define PATH(name) strdup(path_of(name))

static const how plain = { .plain = true };
static const how falling = { .figures = { 5, 4, 3, 2, 1, 0.5, 0.25 } };
static const how second = { .figures = { 3, 1, 2, 4, 5, 6, 7 } }; /* the second epoch is best */

TEST(a_run_makes_its_steps_and_ends_well)
{
    outcome o = RUN(&falling, "--epochs", "4");
    ck_assert(o.status == 0 && o.finished && o.steps == 20 && o.epochs == 4 && o.judged == 4);
    ck_assert(says("2 threads") || says("1 threads"));
    ck_assert(says("epoch 4  error 2.0000  (best)\n"));
    o = RUN(&plain, "--epochs", "0", "--steps", "7");
    ck_assert(o.status == 0 && o.steps == 7 && o.epochs == 1);
    o = RUN(&plain, "--epochs", "0");
    ck_assert(o.status == 0 && o.steps == 0 && o.finished);
}

TEST(help_is_printed_and_nothing_else_happens)
{
    outcome o = RUN(&falling, "--help", "--wrong");
    ck_assert(o.status == 0 && !o.finished && o.steps == 0);
    ck_assert(says("usage: mine [options]") && says("--patience N"));
}

TEST(what_is_wrong_is_said_once_and_is_status_1)
{
    wf_error e;
    char *there = PATH("there");
    ck_assert(wf_file_write(there, "text", 4, &e));
    ck_assert(RUN(&plain, "--lr", "x").status == 1 &&
              says("mine: option --lr: 'x' is no number from 0 to 1000\n"));
    ck_assert(RUN(&plain, "--every", "2").status == 1 &&
              says("mine: option --every: it needs --save, a file to save to\n"));
    ck_assert(RUN(&plain, "--load", "/nowhere/x").status == 1 && says("no such file or folder"));
    ck_assert(RUN(&plain, "--save", "").status == 1 &&
              says("mine: option --save: '' is no file\n"));
    ck_assert(RUN(&plain, "--log=-").status == 1 && says("mine: option --log: '-' is no file\n"));
    ck_assert(RUN(&plain, "--save", "/nowhere/x").status == 1 && says("cannot open its folder"));
    ck_assert(RUN(&plain, "--save", there, "--log", there).status == 1 &&
              says("would replace the model"));
    how reads = plain;
    reads.reads = there;
    ck_assert(RUN(&reads, "--save", there).status == 1 && says("would replace what is read"));
    ck_assert(RUN(&reads, "--log", there).status == 1 && says("would replace what is read"));
    /* In either order, and whatever else is written. */
    reads.writes = there;
    ck_assert(RUN(&reads, "--lr", "1").status == 1 && says("mine: option --svg: ") &&
              says("would replace what is read"));
    reads.writes = NULL, reads.also = there;
    ck_assert(RUN(&reads, "--lr", "1").status == 1 && says("mine: option --csv: ") &&
              says("would replace what is read"));
    char *other = PATH("other");
    how writes = { .plain = true, .writes = other, .also = other };
    ck_assert(RUN(&writes, "--lr", "1").status == 1 && says("would replace what --svg writes"));
    writes.also = NULL;
    ck_assert(RUN(&writes, "--save", other).status == 1 && says("would replace the model"));
    ck_assert(RUN(&writes, "--log", other).status == 1 && says("would replace the log"));
    ck_assert(RUN(&writes, "--lr", "1").status == 0);
    writes.writes = "-";
    ck_assert(RUN(&writes, "--lr", "1").status == 1 &&
              says("mine: option --svg: '-' is no file\n"));
    writes.writes = "/nowhere/x";
    ck_assert(RUN(&writes, "--lr", "1").status == 1 && says("cannot open its folder"));
    free(other);
    ck_assert(RUN(&plain, "--load", there).status == 1);
    char *text = text_of("there");
    ck_assert_str_eq(text, "text");
    wf_release(text);
    how bad = plain;
    bad.fail_at = 3;
    outcome o = RUN(&bad, "--epochs", "2");
    ck_assert(o.status == 1 && !o.finished && o.steps == 3);
    free(there);
}

/* Stopped by a signal after any number of steps, and gone on with: the same file, weights and log
 * as of a run that was not. */
TEST_EACH(a_run_that_was_stopped_goes_on_to_the_bit, 14)
{
    char *whole = PATH("whole"), *part = PATH("part"), *on = PATH("on");
    char *log = PATH("log"), *other = PATH("other");
    const char *average = _i % 2 ? "1" : "3";
    how stops = second;
    stops.stop_at = _i + 1;
    outcome a = RUN(&second, "--epochs", "4", "--save", whole, "--log", log, "--average", average,
                    "--schedule", "halve");
    outcome b = RUN(&stops, "--epochs", "4", "--save", part, "--log", other, "--average", average,
                    "--schedule", "halve");
    ck_assert(a.status == 0 && b.status == 128 + SIGINT && !b.finished);
    ck_assert_int_eq(b.steps, _i + 2); /* the step that was begun is made */
    ck_assert(says("stopped by signal 2 after"));
    outcome c = RUN(&second, "--load", part, "--save", on, "--log", other);
    ck_assert(c.status == 0 && c.steps == a.steps);
    ck_assert(same_files("whole", "on"));
    ck_assert_mem_eq(a.weight, c.weight, sizeof a.weight);
    char *x = text_of("log"), *y = text_of("other");
    for (char *p = x, *q = y; *p || *q;) { /* all columns but the last, the speed */
        const size_t n = strcspn(p, "\n"), m = strcspn(q, "\n");
        size_t i = n, k = m;
        while (i && p[i - 1] != ',') i--;
        while (k && q[k - 1] != ',') k--;
        ck_assert(i == k && !strncmp(p, q, i));
        p += n + (p[n] != 0), q += m + (q[m] != 0);
    }
    wf_release(x), wf_release(y);
    free(whole), free(part), free(on), free(log), free(other);
}

TEST(the_best_weights_are_used_and_the_last_ones_learn_on)
{
    char *file = PATH("file"), *on = PATH("on"), *whole = PATH("whole");
    const outcome at2 = RUN(&falling, "--epochs", "2");
    outcome best = RUN(&second, "--epochs", "4", "--save", file);
    ck_assert_mem_eq(best.weight, at2.weight, sizeof best.weight);
    /* A program that only uses the file has them, too. */
    outcome use = RUN(&second, "--epochs", "0", "--load", file);
    ck_assert(use.steps == 20 && use.finished);
    ck_assert_mem_eq(use.weight, at2.weight, sizeof use.weight);
    /* And who saves it again has lost nothing. */
    RUN(&second, "--load", file, "--epochs", "4", "--save", on);
    RUN(&second, "--load", on, "--epochs", "6", "--save", on);
    RUN(&second, "--epochs", "6", "--save", whole);
    ck_assert(same_files("whole", "on"));
    how higher = second;
    higher.higher = true; /* the last epoch is best */
    const outcome last = RUN(&plain, "--epochs", "4");
    best = RUN(&higher, "--epochs", "4");
    ck_assert_mem_eq(best.weight, last.weight, sizeof best.weight);
    free(file), free(on), free(whole);
}

TEST(the_mean_of_the_best_is_the_mean)
{
    const outcome at1 = RUN(&plain, "--epochs", "1"), at2 = RUN(&plain, "--epochs", "2"),
                  at3 = RUN(&plain, "--epochs", "3"), mean = RUN(&second, "--average", "3");
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq((double)mean.weight[i],
                            (double)(float)(((double)at1.weight[i] + (double)at2.weight[i] +
                                             (double)at3.weight[i]) /
                                            3));
}

TEST(patience_ends_and_nan_is_no_figure)
{
    outcome o = RUN(&second, "--epochs", "9", "--patience", "2");
    ck_assert(o.steps == 4 * PER && o.finished);
    const how nan = { .figures = { (double)NAN, (double)NAN, (double)NAN } };
    o = RUN(&nan, "--epochs", "3");
    ck_assert(o.steps == 3 * PER && o.finished && o.status == 0);
    const outcome last = RUN(&plain, "--epochs", "3");
    ck_assert_mem_eq(o.weight, last.weight, sizeof o.weight);
}

TEST(the_rate_follows_its_schedule)
{
    static const struct {
        const char *name;
        double at[20];
    } schedules[] = {
        { "constant", { [0] = 0.025, [1] = 0.05, [19] = 0.05 } },
        { "cosine", { [0] = 0.025, [10] = 0.025 } },
        { "inverse", { [0] = 0.025, [1] = 0.05, [7] = 0.025 } },
        { "decay", { [1] = 0.05, [12] = 0.05 } },
        { "halve", { [9] = 0.05, [10] = 0.05, [15] = 0.025 } },
    };
    char *log = PATH("log");
    for (int k = 0; k < 5; k++) {
        RUN(&second, "--epochs", "4", "--warmup", "2", "--log", log, "--schedule",
            schedules[k].name);
        char *text = text_of("log"), *line = text;
        for (int i = 0; i < 20; i++) {
            double rate = -1;
            line = strchr(line, '\n') + 1;
            char *end = strchr(line, '\n');
            ck_assert_int_eq(strtol(line, NULL, 10), i + 1);
            const char *comma = end;
            for (int c = 0; c < 2; comma--) c += comma[-1] == ',';
            rate = strtod(comma + 1, NULL);
            if (schedules[k].at[i] > 0) ck_assert_double_eq_tol(rate, schedules[k].at[i], 1e-7);
        }
        wf_release(text);
    }
    free(log);
}

TEST(what_is_frozen_stays_and_a_group_has_its_own_rate_by_the_same_schedule)
{
    char *whole = PATH("whole"), *file = PATH("file"), *on = PATH("on");
    const outcome first = RUN(&plain, "--epochs", "0"), moved = RUN(&plain, "--epochs", "2");
    ck_assert_mem_ne(moved.weight, first.weight, sizeof first.weight);
    outcome o = RUN(&plain, "--epochs", "2", "--warmup", "20", "--freeze", "l.w*", "--group",
                    "norm.*=0.5", "--save", whole);
    ck_assert_mem_eq(o.weight, first.weight, sizeof first.weight);
    ck_assert_double_eq_tol(o.rate[0], 0.05 / 2, 1e-15); /* step 10 of 20 */
    ck_assert_double_eq_tol(o.rate[1], 0.5 / 2, 1e-15);
    /* A saved model keeps them. */
    RUN(&plain, "--epochs", "1", "--warmup", "20", "--freeze", "l.w*", "--group", "norm.*=0.5",
        "--save", file);
    RUN(&plain, "--epochs", "2", "--load", file, "--save", on);
    ck_assert(same_files("whole", "on"));
    ck_assert(RUN(&plain, "--freeze", "m.*").status == 1);
    ck_assert(says("mine: option --freeze: no parameter has a name like 'm.*'\n"));
    static const char *const bad[] = { "l.*", "l.*=", "l.*=-1", "l.*=nan", "l.*=1001" };
    for (int i = 0; i < 5; i++)
        ck_assert(RUN(&plain, "--group", bad[i]).status == 1 && says("is not NAMES=X, X a rate"));
    ck_assert(RUN(&plain, "--group", "m.*=1").status == 1);
    ck_assert(says("mine: adam: no parameter matches 'm.*'; the first of 4 is 'l.weight'\n"));
    free(whole), free(file), free(on);
}

TEST(other_data_begin_the_epoch_anew)
{
    char *file = PATH("file");
    how other = second;
    RUN(&second, "--epochs", "0", "--steps", "7", "--save", file);
    other.data = 1;
    outcome o = RUN(&other, "--load", file, "--epochs", "2", "--steps", "0");
    ck_assert(o.steps == 12 && o.epochs == 2 && says("epoch 2 begins anew"));
    free(file);
}

TEST(the_last_weights_are_used_where_the_plan_says_so)
{
    char *file = PATH("file"), *on = PATH("on"), *whole = PATH("whole");
    how last = second;
    last.last = true;
    outcome o = RUN(&last, "--epochs", "4", "--save", whole, "--schedule", "halve");
    ck_assert(says("epoch 2  error 1.0000\n")); /* and no word of the best */
    RUN(&last, "--epochs", "3", "--save", file, "--schedule", "halve");
    RUN(&last, "--epochs", "4", "--load", file, "--save", on);
    ck_assert(same_files("whole", "on")); /* the best figure is kept, for --schedule halve */
    const outcome plainly = RUN(&plain, "--epochs", "2");
    o = RUN(&last, "--epochs", "2");
    ck_assert_mem_eq(o.weight, plainly.weight, sizeof o.weight);
    o = RUN(&last, "--epochs", "9", "--patience", "2");
    ck_assert_int_eq(o.steps, 4 * PER);
    free(file), free(on), free(whole);
}

/* Data without an end: epochs of another length do not move the place. */
TEST(an_epoch_of_endless_data_is_so_many_steps)
{
    char *file = PATH("file");
    how endless = second;
    endless.endless = true;
    RUN(&endless, "--epochs", "0", "--steps", "7", "--save", file);
    ck_assert(says("step 5  error 3.0000  (best)\n") && says("step 7/7  loss"));
    endless.per = 3;
    outcome o = RUN(&endless, "--load", file, "--steps", "10");
    ck_assert(o.steps == 10 && o.epochs == 3 && o.judged == 1 && hides("anew"));
    o = RUN(&endless, "--load", file);
    ck_assert(says("has made 7 steps; more than those need a larger --steps"));
    free(file);
}

/* Epochs of 5 and of 6 steps, left anywhere. */
TEST_EACH(epochs_may_differ_in_their_steps, 12)
{
    char *whole = PATH("whole"), *part = PATH("part"), *on = PATH("on"), steps[16];
    how uneven = second;
    uneven.uneven = true;
    snprintf(steps, sizeof steps, "%d", _i + 1);
    const outcome a = RUN(&uneven, "--epochs", "3", "--save", whole);
    ck_assert(a.steps == 5 + 6 + 5 && a.judged == 3);
    RUN(&uneven, "--epochs", "3", "--steps", steps, "--save", part);
    const outcome b = RUN(&uneven, "--load", part, "--steps", "0", "--save", on);
    ck_assert(b.steps == a.steps && hides("anew"));
    ck_assert(same_files("whole", "on"));
    free(whole), free(part), free(on);
}

TEST(steps_of_an_epoch_are_told_in_their_time)
{
    const how plainly = { .figures = { 1, 1, 1 } };
    how uneven = plainly;
    uneven.uneven = true;
    uneven.per = 9; /* more than what is told: fewer hold */
    ck_assert_int_eq(RUN(&uneven, "--epochs", "1").steps, PER);
    options o = defaults();
    wf_run *run = wf_run_new(
        &(wf_run_call){ .name = "mine", .own = WF_OPTIONS(rows, &o), .options = &o.run }, 1,
        ARGV(NULL));
    ck_assert(!wf_run_set_steps(run, 3) && !wf_run_set_steps(NULL, 3));
    fflush(NULL);
    const int err = dup(2), file = open(path_of("said"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(file, 2);
    ck_assert_int_eq(wf_run_free(run), 1);
    dup2(err, 2);
    close(err), close(file);
    ck_assert(says("mine: wf_run_set_steps: no run of .uneven epochs has begun\n"));
}

/* Of a net that the program made of the saved one, only the counts are read. */
TEST(an_adapted_net_goes_on_with_the_counts_alone)
{
    char *file = PATH("file");
    RUN(&second, "--epochs", "2", "--steps", "7", "--save", file);
    how adapted = second;
    adapted.adapted = true;
    const outcome start = RUN(&second, "--epochs", "0");
    outcome o = RUN(&adapted, "--load", file, "--steps", "7");
    ck_assert(o.steps == 7 && o.finished);
    ck_assert_mem_eq(o.weight, start.weight, sizeof o.weight);
    o = RUN(&adapted, "--load", file, "--steps", "0", "--epochs", "3");
    ck_assert(o.steps == 17 && o.epochs == 3);
    free(file);
}

/* What is only used, with other data, and saved again, goes on as if it had not been. */
TEST(a_saved_model_that_is_saved_again_stands_where_it_stood)
{
    char *whole = PATH("whole"), *file = PATH("file"), *on = PATH("on");
    how other = second;
    other.data = 7;
    RUN(&second, "--epochs", "4", "--save", whole);
    RUN(&second, "--epochs", "4", "--steps", "7", "--save", file);
    RUN(&other, "--load", file, "--epochs", "0", "--save", on);
    RUN(&second, "--load", on, "--epochs", "4", "--steps", "0", "--save", on);
    ck_assert(hides("anew"));
    ck_assert(same_files("whole", "on"));
    free(whole), free(file), free(on);
}

TEST(options_that_make_no_sense_are_not_offered)
{
    char *file = PATH("file");
    how without = second;
    without.without = "patience  average";
    ck_assert(RUN(&without, "--patience", "2").status == 1 && says("--patience: there is no such"));
    RUN(&without, "--help");
    ck_assert(hides("--patience") && hides("--average") && says("--epochs"));
    RUN(&without, "--epochs", "1", "--save", file);
    wf_archive *a = wf_safetensors_load(file, NULL);
    ck_assert(!wf_archive_meta(a, "patience") && wf_archive_meta(a, "epochs"));
    wf_archive_free(a);
    free(file);
}

TEST(a_run_tells_what_was_given_and_when_a_sample_is_due)
{
    options o = defaults();
    wf_run *run = wf_run_new(
        &(wf_run_call){ .name = "mine", .own = WF_OPTIONS(rows, &o), .options = &o.run }, 5,
        ARGV("--hidden-size", "4", "--lr", "0.1"));
    ck_assert(wf_run_given(run, "hidden_size") && wf_run_given(run, "lr"));
    ck_assert(!wf_run_given(run, "flag") && !wf_run_given(run, "epochs"));
    ck_assert(!wf_run_given(run, NULL) && !wf_run_given(NULL, "lr") && !wf_run_due(run));
    ck_assert_int_eq(wf_run_free(run), 0);
    /* Epochs of no time: only the last one is worth a sample. */
    const outcome once = RUN(&falling, "--epochs", "6");
    ck_assert(once.judged == 6 && once.due == 1);
}

/* What fails the tape between two steps fails the run. */
TEST(a_tape_that_failed_in_a_judgement_ends_the_run)
{
    options o = defaults();
    fflush(NULL);
    const int err = dup(2), file = open(path_of("said"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(file, 2);
    wf_run *run = wf_run_new(
        &(wf_run_call){ .name = "mine", .own = WF_OPTIONS(rows, &o), .options = &o.run }, 1,
        ARGV(NULL));
    wf_fail(wf_run_tape(run), "mine: no judgement");
    ck_assert(!wf_run_judge(run, &(double){ 1 }) && !wf_run_ok(run));
    ck_assert_int_eq(wf_run_free(run), 1);
    dup2(err, 2);
    close(err), close(file);
    ck_assert(says("mine: no judgement") && hides("mine: mine"));
}

TEST(a_save_that_fails_loses_nothing_and_a_full_memory_is_one_sentence)
{
    char *file = PATH("file");
    RUN(&second, "--epochs", "1", "--save", file);
    for (int64_t k = 1; k < 400; k += 7) {
        heap.fail_at = heap.asked + k;
        heap.fail_on = true;
        outcome o = RUN(&second, "--load", file, "--epochs", "2", "--save", file, "--every", "3");
        heap.fail_at = 0;
        heap.fail_on = false;
        o = RUN(&second, "--load", file, "--epochs", "0");
        ck_assert_msg(o.finished, "after request %lld", (long long)k);
    }
    free(file);
}

/* A steady loop asks the heap for nothing. */
TEST(steps_ask_for_no_memory)
{
    options o = defaults();
    o.run.epochs = 4;
    char *log = PATH("log");
    fflush(NULL);
    const int err = dup(2), file = open("/dev/null", O_WRONLY);
    dup2(file, 2);
    wf_run *run = wf_run_new(
        &(wf_run_call){ .name = "mine", .own = WF_OPTIONS(rows, &o), .options = &o.run }, 3,
        ARGV("--log", log));
    wf_module *net = wf_module_new("net", NULL);
    wf_linear *l = wf_linear_new(net, "l", &(wf_linear_options){ .input = 3, .output = 1 });
    wf_optim *optim = wf_adam_new(net, NULL);
    ck_assert(wf_run_begin(
        run,
        &(wf_run_plan){ .net = net, .optim = optim, .figures = { "x" }, .steps_per_epoch = 10 }));
    long long asked = 0;
    while (wf_run_next(run)) {
        if (wf_run_step(run) == 12) asked = heap.asked;
        wf_tape *t = wf_run_tape(run);
        wf_var *y = wf_linear_forward(t, l, wf_full(t, WF_F32, WF_SHAPE(2, 3), 1));
        wf_run_learn(run, wf_mean(t, wf_mul(t, y, y), NULL), 2);
        if (wf_run_epoch_ended(run)) wf_run_judge(run, &(double){ 1 });
    }
    const long long now = heap.asked;
    ck_assert(wf_run_finish(run));
    ck_assert_int_eq(wf_run_free(run), 0);
    dup2(err, 2);
    close(err), close(file);
    ck_assert_int_eq(now, asked);
    wf_optim_free(optim), wf_module_free(net);
    free(log);
}

TEST(what_comes_out_of_order_is_refused)
{
    options o = defaults();
    wf_run *run = wf_run_new(
        &(wf_run_call){ .name = "mine", .own = WF_OPTIONS(rows, &o), .options = &o.run }, 1,
        ARGV(NULL));
    ck_assert(!wf_run_next(run) && !wf_run_finish(run) && wf_run_ok(run));
    ck_assert(!wf_run_update(run, 1, 1) && !wf_run_ok(run));
    ck_assert(!wf_run_begin(run, NULL));
    fflush(NULL);
    const int err = dup(2), file = open(path_of("said"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(file, 2);
    ck_assert_int_eq(wf_run_free(run), 1);
    dup2(err, 2);
    close(err), close(file);
    ck_assert(says("mine: wf_run_update: no step has begun: wf_run_next comes first\n"));
}
