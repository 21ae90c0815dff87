/* A run: how it begins, its steps, how it ends. */
#include "train/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "tensor/isa.h"
#include "tensor/runtime.h"
#include "tensor/text.h"
#include "train/private.h"

/* ---- options ---- */

static const wf_option rows[RUN_ROWS] = {
    { WF_OPTION(wf_run_options, epochs), "N",
      "epochs in all, a saved model's included; 0: do not train", WF_OPTION_KEPT },
    { WF_OPTION(wf_run_options, steps), "N", "steps in all, a saved model's included",
      WF_OPTION_KEPT },
    { WF_OPTION(wf_run_options, lr), "X", "learning rate", WF_OPTION_KEPT, 0, 1e3 },
    { WF_OPTION(wf_run_options, group), "NAMES=X",
      "a rate of their own for some parameters: 'rnn.*=1e-3'", WF_OPTION_KEPT },
    { WF_OPTION(wf_run_options, freeze), "NAMES", "parameters that do not learn: 'embed.*'",
      WF_OPTION_KEPT },
    { WF_OPTION(wf_run_options, schedule), "NAME",
      "of the rate (constant); decay: in the last third down to a fiftieth;\n"
      "cosine: down to 0; inverse: with 1 / sqrt(step); halve: when an epoch\n"
      "brings nothing",
      WF_OPTION_KEPT, .choices = "constant decay cosine inverse halve" },
    { WF_OPTION(wf_run_options, warmup), "N", "steps in which the rate grows from 0",
      WF_OPTION_KEPT },
    { WF_OPTION(wf_run_options, clip), "X", "the most that the gradient's norm may be; 0: off",
      WF_OPTION_KEPT, 0, 1e9 },
    { WF_OPTION(wf_run_options, patience), "N", "ends after N epochs that brought nothing",
      WF_OPTION_KEPT },
    { WF_OPTION(wf_run_options, average), "N", "uses the mean weights of the N best epochs",
      WF_OPTION_KEPT, 0, WF_RUN_AVERAGE },
    { WF_OPTION(wf_run_options, seed), "N", "of everything random", WF_OPTION_KEPT },
    { WF_OPTION(wf_run_options, threads), "N", "all processors, if not given", 0, 0, 1024 },
    { WF_OPTION(wf_run_options, save), "FILE",
      "where the model goes at the end, or at SIGINT, SIGTERM, SIGHUP" },
    { WF_OPTION(wf_run_options, every), "N", "saves after every N steps, too" },
    { WF_OPTION(wf_run_options, load), "FILE",
      "goes on where a saved model stood; its sizes hold, and how it was\n"
      "trained where nothing else is said" },
    { WF_OPTION(wf_run_options, log), "FILE", "CSV of every step" },
};

/* Is the word among those of the list? */
static bool lists(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *c = list; c && *c; c += strspn(c, " ")) {
        const size_t letters = strcspn(c, " ");
        if (letters == n && !memcmp(c, word, n)) return true;
        c += letters;
    }
    return false;
}

static wf_options offered(wf_run *run)
{
    int64_t n = 0;
    for (int i = 0; i < RUN_ROWS; i++)
        if (!lists(run->call.without, rows[i].name)) run->rows[n++] = rows[i];
    return (wf_options){ run->rows, n, run->o, 0 };
}

/* Prints what --help says. */
static void print_help(wf_run *run)
{
    char about[8192];
    const size_t bytes = 1 +
                         wf_options_text(run->tables, 2, run->call.name, run->call.about, NULL, 0);
    char *text = bytes <= sizeof about ? about : wf_alloc(bytes);
    if (!text) {
        wf_run_fail(run, "run: not enough memory");
        return;
    }
    wf_options_text(run->tables, 2, run->call.name, run->call.about, text, bytes);
    wf_run_print(false, text);
    if (text != about) wf_release(text);
}

static bool open_saved(wf_run *run)
{
    const char *path = run->o->load;
    if (!path) return true;
    if (!(run->archive = wf_safetensors_load(path, &run->error))) return false;
    const char *kind = wf_archive_meta(run->archive, "weft.model");
    if (!kind || strcmp(kind, run->call.name))
        return wf_error_set(&run->error, "load %s: this is not a model that %s saved", path,
                            run->call.name);
    return wf_options_load_archive(run->tables, 2, path, run->archive, &run->error);
}

static bool names_files(const wf_run_options *o, wf_error *error)
{
    const char *const path[] = { o->save, o->load, o->log };
    static const char *const option[] = { "save", "load", "log" };
    for (int i = 0; i < 3; i++)
        if (path[i] && (!*path[i] || !strcmp(path[i], "-")))
            return wf_error_set(error, "option --%s: '%s' is no file", option[i], path[i]);
    return true;
}

static bool prepare(wf_run *run, int argc, char *const argv[])
{
    wf_run_options *o = run->o;
    wf_error *error = &run->error;
    if (!wf_options_read(run->tables, 2, argc, argv, &run->help, error)) return false;
    if (run->help) return true;
    if (!names_files(o, error) || !open_saved(run)) return false;
    if (o->every && !o->save)
        return wf_error_set(error, "option --every: it needs --save, a file to save to");
    if (!wf_run_name_file(run, NULL, "the model", o->load) ||
        !wf_run_name_file(run, "save", "the model", o->save) ||
        !wf_run_name_file(run, "log", "the log", o->log))
        return false;
    if (o->save && !wf_file_can_write(o->save, error)) return false;
    return !o->threads || wf_runtime_set(&(wf_runtime){ .threads = (int)o->threads }, error) ||
           /* a second run of a process: the ceiling stands */
           (wf_error_clear(error), true);
}

wf_run *wf_run_new(const wf_run_call *call, int argc, char *const argv[])
{
    wf_run *run = wf_alloc_zero(sizeof *run);
    if (!run) return NULL;
    static wf_run_options none;
    run->call = call ? *call : (wf_run_call){ 0 };
    if (!run->call.name) run->call.name = "run";
    run->o = call && call->options ? call->options : &none;
    run->tables[0] = run->call.own;
    run->tables[1] = offered(run);
    run->figure = (double)NAN;
    wf_run_signals_begin();
    if (!call || !call->options)
        wf_run_fail(run, "wf_run_new: there are no options to read into");
    else if (!prepare(run, argc, argv))
        wf_run_fail(run, "run: not enough memory");
    else if (run->help)
        print_help(run);
    else if (!(run->tape = wf_tape_new(&(wf_tape_options){ .seed = (uint64_t)run->o->seed,
                                                           .threads = (int)run->o->threads })))
        wf_run_fail(run, "run: not enough memory");
    return run;
}

int wf_run_free(wf_run *run)
{
    if (!run) return 1;
    if (wf_run_sound(run) && !wf_run_printed()) wf_run_fail(run, "stdout: it could not be written");
    const int signal = wf_run_signal();
    const bool failed = run->failed;
    if (run->p.live && !run->finished) wf_run_print(true, "\n");
    if (run->error.text[0]) {
        char text[sizeof run->error.text + 256];
        wf_format(text, sizeof text, "%s: %s\n", run->call.name, run->error.text);
        wf_run_print(true, text);
    }
    wf_run_forget_best(run, 0);
    wf_release(run->p.lines);
    wf_release(run->rates);
    wf_run_forget_files(run);
    wf_tape_free(run->tape);
    wf_archive_free(run->archive);
    wf_run_signals_end();
    wf_release(run);
    return failed ? 1 : signal ? 128 + signal : 0;
}

/* ---- errors ---- */

bool wf_run_sound(wf_run *run)
{
    if (!run) return false;
    if (run->given.text[0] && !run->failed) wf_run_fail(run, "%s", run->given.text);
    if (run->tape && !wf_tape_ok(run->tape)) run->failed = true; /* the tape has said why */
    return !run->failed && !run->help;
}

bool wf_run_ok(const wf_run *run)
{
    return run && !run->failed && !run->help && !run->given.text[0];
}

bool wf_run_given(const wf_run *run, const char *field)
{
    for (int k = 0; run && field && k < 2; k++)
        for (int64_t i = 0; i < run->tables[k].n; i++)
            if (run->tables[k].given >> i & 1 && !strcmp(run->tables[k].rows[i].name, field))
                return true;
    return false;
}

bool wf_run_due(wf_run *run)
{
    if (!wf_run_sound(run) || !run->begun) return false;
    const double now = wf_run_now();
    if (now - run->p.due < 1 && !wf_run_over(run)) return false;
    run->p.due = now;
    return true;
}

int wf_run_stopped(const wf_run *run)
{
    return run ? wf_run_signal() : 0;
}

bool wf_run_fail(wf_run *run, const char *format, ...)
{
    if (!run || run->failed) return false;
    va_list arguments;
    va_start(arguments, format);
    char text[sizeof run->error.text];
    wf_vformat(text, sizeof text, format, arguments);
    va_end(arguments);
    run->failed = true;
    return wf_error_set(&run->error, "%s", text); /* unless it holds the reason already */
}

wf_error *wf_run_error(wf_run *run)
{
    return run ? &run->given : NULL;
}

void wf_run_say(wf_run *run, const char *format, ...)
{
    char text[2048];
    if (!run) return;
    va_list arguments;
    va_start(arguments, format);
    wf_vformat(text, sizeof text - 1, format, arguments);
    va_end(arguments);
    wf_append(text, sizeof text, "\n");
    wf_run_clear_line(run);
    wf_run_print(true, text);
}

/* ---- what there is ---- */

wf_tape *wf_run_tape(const wf_run *run)
{
    return run ? run->tape : NULL;
}

const wf_archive *wf_run_archive(const wf_run *run)
{
    return run ? run->archive : NULL;
}

int64_t wf_run_step(const wf_run *run)
{
    return run ? run->step : 0;
}

int64_t wf_run_epoch(const wf_run *run)
{
    return run ? run->epoch : 0;
}

int64_t wf_run_position(const wf_run *run)
{
    return run ? run->position : 0;
}

double wf_run_part(const wf_run *run)
{
    if (!run || !run->begun) return 0;
    const double per = (double)run->plan.steps_per_epoch, steps = (double)run->o->steps;
    const double epochs = (double)run->epoch + (double)run->position / per;
    const double by_epochs = run->o->epochs ? epochs / (double)run->o->epochs : 0;
    return fmin(1, fmax(by_epochs, run->o->steps ? (double)run->step / steps : 0));
}

/* ---- the beginning ---- */

bool wf_run_over(const wf_run *run)
{
    const wf_run_options *o = run->o;
    return wf_run_signal() || !run->plan.optim || (!o->epochs && !o->steps) ||
           (o->epochs && run->epoch >= o->epochs) || (o->steps && run->step >= o->steps) ||
           (o->patience && run->since_best >= o->patience);
}

static void say_all_is_made(wf_run *run)
{
    if (run->o->epochs)
        wf_run_say(run,
                   "%s: the saved model has made %" PRId64 " epochs, %" PRId64 " steps; more than "
                   "those need larger --epochs or --steps",
                   run->call.name, run->epoch, run->step);
    else
        wf_run_say(run,
                   "%s: the saved model has made %" PRId64 " steps; more than those need a larger "
                   "--steps",
                   run->call.name, run->step);
}

bool wf_run_begin(wf_run *run, const wf_run_plan *plan)
{
    if (!wf_run_sound(run)) return false;
    if (run->begun || !plan || plan->steps_per_epoch < 1)
        return wf_run_fail(run, run->begun ? "wf_run_begin: the run has begun"
                                : !plan    ? "wf_run_begin: there is no plan"
                                           : "wf_run_begin: there is nothing to learn from");
    run->plan = *plan;
    wf_format(run->data, sizeof run->data, "%016" PRIx64, plan->data);
    if (!wf_module_ok(plan->net, &run->error)) return wf_run_fail(run, "run: there is no net");
    if (!wf_run_groups_begin(run)) return false;
    if (run->archive && !wf_run_load(run)) return wf_run_fail(run, "load");
    run->begun = true;
    const double now = wf_run_now();
    const bool over = wf_run_over(run);
    run->p = (progress){ .begun = now,
                         .shown = now,
                         .due = now,
                         .left_at = now,
                         .first = run->step,
                         .live = isatty(STDERR_FILENO) != 0 };
    run->saved = -1;
    if (plan->optim)
        wf_run_say(run, "%" PRId64 " weights; %d threads, %s", wf_module_weights(plan->net),
                   wf_tape_threads(run->tape), wf_isa_name(wf_isa_level()));
    if (over) {
        run->p.live = false;
        if (run->archive && plan->optim && (run->o->epochs || run->o->steps) && !wf_run_signal())
            say_all_is_made(run);
        return true;
    }
    return wf_run_log_open(run) || wf_run_fail(run, "log");
}

/* ---- steps ---- */

/* What follows a step when its epoch has been judged: its line, a save. */
static bool settle(wf_run *run)
{
    wf_run_log_step(run);
    if (run->ended) { /* the speed is of training alone */
        const double now = wf_run_now();
        run->p.begun += now - run->p.left_at;
        run->p.left_at = now;
    }
    run->ended = false;
    /* What stands in the log is no less than what is saved. A disk that is full for a while ends no
     * training; the last save tells. */
    if (run->o->every && run->step > run->p.first && run->step % run->o->every == 0 &&
        run->saved != run->step && wf_run_log_write(run, true) && !wf_run_save_now(run)) {
        wf_run_say(run, "%s: %s; going on", run->call.name, run->error.text);
        wf_error_clear(&run->error);
    }
    if (!run->error.text[0]) return true;
    return wf_run_fail(run, "log");
}

bool wf_run_next(wf_run *run)
{
    if (!wf_run_sound(run) || !run->begun || run->finished) return false;
    if (!settle(run) || wf_run_over(run)) return false;
    wf_tape_reset(run->tape);
    wf_tape_set_mode(run->tape, WF_TRAIN);
    wf_tape_set_step(run->tape, (uint64_t)run->step); /* what is drawn depends on the step alone */
    return true;
}

/* The part of its rate with which a group learns in this step. "decay" falls by the same factor in
 * each step of the last third; "inverse": Vaswani et al. 2017; "cosine": Loshchilov and Hutter
 * 2017, without restarts. */
static double part_of_rate(const wf_run *run)
{
    const wf_run_options *o = run->o;
    const char *schedule = o->schedule ? o->schedule : "constant";
    const double step = (double)run->step + 1, warmup = (double)o->warmup, part = wf_run_part(run);
    const double rise = o->warmup && step < warmup ? step / warmup : 1;
    double fall = 1;
    if (!strcmp(schedule, "decay")) fall = pow(1.0 / 50, fmax(0, 3 * part - 2));
    if (!strcmp(schedule, "cosine")) fall = 0.5 + 0.5 * cos(3.14159265358979323846 * part);
    if (!strcmp(schedule, "halve")) fall = pow(0.5, (double)run->halvings);
    if (!strcmp(schedule, "inverse") && rise >= 1) fall = sqrt(fmax(warmup, 1) / step);
    return rise * fall;
}

bool wf_run_learn(wf_run *run, wf_var *loss, int64_t count)
{
    if (!wf_run_sound(run)) return false;
    if (!wf_backward(run->tape, loss)) {
        run->failed = true; /* the tape has said why */
        return false;
    }
    return wf_run_update(run, wf_item(loss), count);
}

bool wf_run_update(wf_run *run, double loss, int64_t count)
{
    if (!wf_run_sound(run)) return false;
    if (!run->begun || !run->plan.optim || run->ended)
        return wf_run_fail(run, "wf_run_update: no step has begun: wf_run_next comes first");
    progress *p = &run->p;
    p->loss = loss * (run->plan.scale > 0 ? run->plan.scale : 1);
    p->norm = wf_optim_clip_norm(run->plan.optim,
                                 run->o->clip > 0 ? run->o->clip : (double)INFINITY);
    const double part = part_of_rate(run);
    wf_run_set_rates(run, part);
    p->rate = run->o->lr * part;
    wf_optim_step(run->plan.optim);
    p->sum = 0.98 * p->sum + 0.02 * p->loss;
    p->weight = 0.98 * p->weight + 0.02;
    p->counted += count;
    p->pending = true;
    p->left_at = wf_run_now();
    run->step++;
    run->judged = false;
    if (++run->position == run->plan.steps_per_epoch) {
        run->position = 0;
        run->epoch++;
        run->ended = true;
    }
    /* Off a terminal, what an epoch's judgement says is enough; without one, its last line. Where
     * only steps are counted, the last of them. */
    wf_run_show(run, run->o->epochs ? run->ended && (p->live || !run->plan.figures[0])
                                    : run->step == run->o->steps);
    return true;
}

bool wf_run_set_steps(wf_run *run, int64_t steps_per_epoch)
{
    if (!wf_run_sound(run)) return false;
    if (!run->begun || !run->plan.uneven || steps_per_epoch <= run->position)
        return wf_run_fail(run, "wf_run_set_steps: %s",
                           run->begun && run->plan.uneven
                               ? "the epoch has made more steps than that"
                               : "no run of .uneven epochs has begun");
    run->plan.steps_per_epoch = steps_per_epoch;
    return true;
}

bool wf_run_epoch_ended(wf_run *run)
{
    if (!wf_run_sound(run) || !run->ended) return false;
    wf_tape_reset(run->tape);
    wf_tape_set_mode(run->tape, WF_INFER);
    return true;
}

bool wf_run_judge(wf_run *run, const double figures[])
{
    if (!wf_run_sound(run)) return false;
    if (!run->ended || !figures)
        return wf_run_fail(run, "wf_run_judge: %s",
                           figures ? "no epoch has just ended" : "there are no figures");
    char text[1024] = "";
    wf_append(text, sizeof text, run->o->epochs ? "epoch %" PRId64 : "step %" PRId64,
              run->o->epochs ? run->epoch : run->step);
    for (int i = 0; i < WF_RUN_FIGURES && run->plan.figures[i]; i++) {
        run->p.figures[i] = figures[i];
        wf_append(text, sizeof text, "  %s %.4f", run->plan.figures[i], figures[i]);
    }
    run->judged = true;
    if (run->plan.figures[0]) {
        const bool better = isfinite(figures[0]) &&
                            (isnan(run->figure) || wf_run_better(run, figures[0], run->figure));
        run->since_best = better ? 0 : run->since_best + 1;
        run->halvings += !better;
        if (better) run->figure = figures[0];
        if (!run->plan.last && isfinite(figures[0]) && !wf_run_keep(run, figures[0])) return false;
        if (better && !run->plan.last) wf_append(text, sizeof text, "  (best)");
    }
    wf_run_say(run, "%s", text);
    return true;
}

/* ---- the end ---- */

/* The last save; nothing where nothing was learned. */
static bool save_last(wf_run *run)
{
    const wf_run_options *o = run->o;
    if (!o->save) return true;
    if (run->step == run->p.first && wf_run_signal()) {
        wf_run_say(run, "%s: nothing was learned, so %s is left as it was", run->call.name,
                   o->save);
        return true;
    }
    if (!wf_run_save_now(run)) return wf_run_fail(run, "save");
    wf_run_say(run, "saved %s", o->save);
    return true;
}

bool wf_run_finish(wf_run *run)
{
    if (!wf_run_sound(run) || !run->begun || run->finished) return false;
    settle(run);
    run->finished = true;
    const int64_t made = run->step - run->p.first;
    if (run->p.live) wf_run_print(true, "\n");
    run->p.live = false;
    if (!wf_run_log_write(run, true)) wf_run_fail(run, "log");
    if (wf_run_signal())
        wf_run_say(run, "%s: stopped by signal %d after %" PRId64 " steps", run->call.name,
                   wf_run_signal(), run->step);
    else if (made)
        wf_run_say(run, "%" PRId64 " steps in %.1f s", made, run->p.left_at - run->p.begun);
    if (!run->failed) save_last(run);
    if (run->n_best && !run->failed) {
        char *used = wf_alloc(wf_run_weight_bytes(run));
        if (!used) return wf_run_fail(run, "run: not enough memory");
        wf_run_used(run, used);
        wf_run_restore(run, used);
        wf_release(used);
    }
    wf_tape_reset(run->tape);
    wf_tape_set_mode(run->tape, WF_INFER);
    return !run->failed && !wf_run_signal();
}
