/* Training: epochs, what is kept of them, the rate, files to go on from. */
#include "examples/translate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what is kept ---- */

/* What translates becomes the mean of what is kept (Vaswani et al. 2017, section 6.1), and before
 * the first epoch is over what there is. */
static bool use_kept(run *r)
{
    const int64_t n = wf_module_weights(r->m.net);
    float *mean = malloc((size_t)n * sizeof *mean);
    if (!mean) return !failed("out of memory");
    if (!r->kept) model_flatten(&r->m, mean);
    for (int64_t i = 0; r->kept && i < n; i++) {
        double sum = 0;
        for (int k = 0; k < r->kept; k++) sum += (double)r->best[k].weights[i];
        mean[i] = (float)(sum / r->kept);
    }
    model_restore(&r->used, mean);
    free(mean);
    return true;
}

static int worst_of(const run *r)
{
    int worst = 0;
    for (int k = 1; k < r->kept; k++)
        if (r->best[k].nats > r->best[worst].nats) worst = k;
    return worst;
}

/* Keeps the weights if they are among the best. */
static bool keep(run *r, double nats)
{
    int at = r->kept;
    if (at == r->o->average) {
        at = worst_of(r);
        if (!(nats < r->best[at].nats)) return true;
    } else {
        float *weights = malloc((size_t)wf_module_weights(r->m.net) * sizeof *weights);
        if (!weights) return !failed("out of memory");
        r->best[r->kept++].weights = weights;
    }
    r->best[at].nats = nats;
    model_flatten(&r->m, r->best[at].weights);
    return true;
}

static double lowest(const run *r)
{
    double nats = (double)INFINITY;
    for (int k = 0; k < r->kept; k++) nats = fmin(nats, r->best[k].nats);
    return nats;
}

/* ---- files ---- */

/* Everything that goes on, in one file: under their own names the weights that translate, under
 * "now." those that learn. Killed at any moment, the old or the new one is there. */
static bool run_save(run *r, wf_error *err)
{
    if (!use_kept(r)) return wf_error_set(err, "save %s: out of memory", r->o->save);
    wf_bundle *b = wf_bundle_new();
    wf_module_to_bundle(r->used.net, b, NULL);
    wf_module_to_bundle(r->m.net, b, "now.");
    wf_optim_to_bundle(r->adam, b, "optim.");
    wf_bundle_meta(b, "weft.model", "translate");
    wf_vocab_to_bundle(r->x.vocab[WF_SOURCE], b, "source.vocab");
    wf_vocab_to_bundle(r->x.vocab[WF_TARGET], b, "target.vocab");
    options_save(r->o, b);
    wf_bundle_meta(b, "texts", "%s", r->x.dates ? "dates" : "files");
    wf_bundle_meta(b, "text", "%016" PRIx64, wf_parallel_hash(r->x.train));
    wf_bundle_meta(b, "step", "%" PRId64, r->step);
    wf_bundle_meta(b, "epoch", "%" PRId64, r->epoch);
    wf_bundle_meta(b, "position", "%" PRId64, r->position);
    wf_bundle_meta(b, "halvings", "%" PRId64, r->halvings);
    for (int k = 0; k < r->kept; k++) {
        char key[32];
        const wf_tensor flat = wf_tensor_over(WF_F32, WF_SHAPE(wf_module_weights(r->m.net)),
                                              r->best[k].weights);
        wf_bundle_addf(b, &flat, "kept.%d", k);
        wf_format(key, sizeof key, "kept.%d.nats", k);
        wf_bundle_meta(b, key, "%.17g", r->best[k].nats);
    }
    bool ok = wf_bundle_save(b, r->o->save, err);
    wf_bundle_free(b);
    return ok;
}

/* The weights that translate. */
bool run_load(run *r, const wf_archive *saved, wf_error *err)
{
    const wf_load_options how = { .allow_unexpected = true }; /* all that training needs besides */
    return wf_module_load_archive_with(r->used.net, r->o->load, saved, &how, NULL, err);
}

static bool load_kept(run *r, const wf_archive *saved, wf_error *err)
{
    const int64_t n = wf_module_weights(r->m.net);
    for (const wf_tensor *flat; r->kept < KEPT; r->kept++) {
        char key[32];
        kept *one = &r->best[r->kept];
        if (!(flat = wf_archive_findf(saved, "kept.%d", r->kept))) break;
        wf_format(key, sizeof key, "kept.%d.nats", r->kept);
        if (wf_tensor_count(flat) != n || flat->dtype != WF_F32 ||
            !wf_archive_meta_number(saved, key, &one->nats))
            return wf_error_set(err, "load %s: kept.%d is not what this model keeps", r->o->load,
                                r->kept);
        if (!(one->weights = malloc((size_t)n * sizeof *one->weights)))
            return wf_error_set(err, "out of memory");
        memcpy(one->weights, flat->data, (size_t)n * sizeof *one->weights);
    }
    while (r->kept > r->o->average) { /* fewer are asked for now */
        const int worst = worst_of(r);
        free(r->best[worst].weights);
        r->best[worst] = r->best[--r->kept];
        r->best[r->kept] = (kept){ 0 };
    }
    return true;
}

/* Where a saved run stood. */
static bool go_on(run *r, const wf_archive *saved, wf_error *err)
{
    const char *path = r->o->load, *text = wf_archive_meta(saved, "text");
    const wf_load_options now = { .prefix = "now.", .allow_unexpected = true };
    char print[24];
    if (!wf_module_load_archive_with(r->m.net, path, saved, &now, NULL, err) ||
        !wf_optim_load_archive(r->adam, path, saved, "optim.", err) || !load_kept(r, saved, err))
        return false;
    if (!wf_archive_meta_integer(saved, "step", &r->step) || r->step < 0 ||
        !wf_archive_meta_integer(saved, "epoch", &r->epoch) ||
        !wf_archive_meta_integer(saved, "position", &r->position) ||
        !wf_archive_meta_integer(saved, "halvings", &r->halvings))
        return wf_error_set(err, "load %s: it does not say where its training stood", path);
    wf_format(print, sizeof print, "%016" PRIx64, wf_parallel_hash(r->x.train));
    if (text && !strcmp(text, print) && wf_buckets_seek(r->batches, r->epoch, r->position) &&
        r->position < wf_buckets_count(r->batches))
        return true;
    fprintf(stderr,
            "translate: another text, --batch or --tokens: epoch %" PRId64
            " is read from its start\n",
            r->epoch + 1);
    r->position = 0;
    return wf_buckets_seek(r->batches, r->epoch, 0) ||
           wf_error_set(err, "load %s: there is no epoch %" PRId64, path, r->epoch);
}

static bool begin(run *r, const wf_archive *saved, wf_error *err)
{
    const options *o = r->o;
    const int64_t sentences = o->batch ? o->batch : o->tokens / 20 + 1;
    const wf_buckets_options how = { .max_tokens = o->tokens,
                                     .max_sentences = o->batch,
                                     .pool = 50 * sentences,
                                     .seed = (uint64_t)o->seed };
    wf_adam_options adam = wf_adam_defaults();
    adam.lr = o->lr;
    if (r->m.transformer) {
        adam.beta2 = 0.98;
        adam.eps = 1e-9;
    }
    if (!(r->batches = wf_buckets_new(r->x.train, &how, err))) return false;
    r->adam = wf_adam_new(r->m.net, &adam);
    if (!wf_module_ok(r->m.net, err)) return false;
    return !saved || go_on(r, saved, err);
}

/* ---- a step ---- */

/* How much of the training is behind us, 0 to 1. */
static double part_done(const run *r)
{
    const int64_t count = wf_buckets_count(r->batches);
    const double epochs = (double)r->epoch + (double)r->position / (double)(count ? count : 1);
    return fmin(1, epochs / (double)r->o->epochs);
}

/* "inverse": linearly up to --lr, then as 1 / sqrt(step), Vaswani et al. 2017; "decay": --lr, and
 * in the last third down to a fiftieth of it, by the same factor in each step; "halve": halved
 * after each epoch that brought nothing. */
static double rate_of(const run *r)
{
    const options *o = r->o;
    const double step = (double)r->step + 1, warmup = (double)o->warmup;
    if (!strcmp(o->schedule, "inverse"))
        return o->lr * (step < warmup ? step / warmup : sqrt(fmax(warmup, 1) / step));
    if (!strcmp(o->schedule, "halve")) return o->lr * pow(0.5, (double)r->halvings);
    if (!strcmp(o->schedule, "constant")) return o->lr;
    return o->lr * pow(1.0 / 50, fmax(0, 3 * part_done(r) - 2));
}

typedef struct progress {
    double begun, shown, sum, weight, nats, norm, rate; /* sum / weight: a running mean of nats */
    int64_t first, words;                               /* the step that was made before */
    bool live; /* a terminal: one line that is written over */
    FILE *log;
} progress;

static bool train_step(run *r, progress *p, const wf_pairs *batch)
{
    const options *o = r->o;
    const wf_cross_entropy_options how = { .has_ignore = true,
                                           .ignore = WF_PAD,
                                           .label_smoothing = o->smoothing };
    wf_tape_reset(r->t);
    wf_tape_set_step(r->t, (uint64_t)r->step); /* what is drawn depends on the step alone */
    wf_var *loss = model_loss(r->t, &r->m, batch, o->sampling * part_done(r), &how);
    if (!wf_backward(r->t, loss)) return false; /* the reason has been said */
    p->nats = wf_item(loss);
    p->norm = wf_optim_clip_norm(r->adam, o->clip > 0 ? o->clip : (double)INFINITY);
    wf_optim_set_lr(r->adam, p->rate = rate_of(r));
    wf_optim_step(r->adam);
    p->words += batch->tokens;
    r->step++;
    r->position++;
    return true;
}

/* On a terminal a live line; elsewhere twenty lines an epoch, and one every five seconds. */
static void show(progress *p, const run *r)
{
    const int64_t count = wf_buckets_count(r->batches), every = count >= 20 ? count / 20 : 1;
    const double t = now(), passed = t - p->begun;
    const char *unit = r->x.dates || r->o->letters ? "letters" : "words";
    p->sum = 0.98 * p->sum + 0.02 * p->nats;
    p->weight = 0.98 * p->weight + 0.02;
    bool due = p->live ? t - p->shown >= 0.1 : r->position % every == 0 || t - p->shown >= 5;
    if (!due && r->position < count) return;
    p->shown = t;
    const int64_t steps = r->step - p->first;
    const double epochs = (double)(r->o->epochs - r->epoch);
    const double left = (epochs * (double)count - (double)r->position) * passed / (double)steps;
    fprintf(stderr,
            "%sepoch %" PRId64 "/%" PRId64 "  %" PRId64 "/%" PRId64
            "  loss %.3f  %.0f %s/s  %.0f:%02.0f left%s",
            p->live ? "\r\033[K" : "", r->epoch + 1, r->o->epochs, r->position, count,
            p->sum / p->weight, (double)p->words / passed, unit, floor(left / 60),
            floor(fmod(left, 60)), p->live ? "" : "\n");
}

/* The loss of a step, smoothing included, in nats; perplexity on the validation text, where an
 * epoch ends; the gradient's norm before clipping; the rate; words (or letters) per second. */
static void log_line(const progress *p, int64_t step, int64_t epoch, double perplexity)
{
    if (!p->log) return;
    fprintf(p->log, "%" PRId64 ",%" PRId64 ",%.6f,", step, epoch + 1, p->nats);
    if (isfinite(perplexity)) fprintf(p->log, "%.6f", perplexity);
    fprintf(p->log, ",%.6g,%.6g,%.0f\n", p->norm, p->rate, (double)p->words / (now() - p->begun));
}

/* ---- epochs ---- */

/* Three sentences of the validation text, translated greedily. */
static bool show_samples(run *r)
{
    const wf_parallel *v = r->x.valid;
    const int64_t pairs = wf_parallel_count(v).pairs;
    for (int64_t k = 0; k < 3 && k < pairs; k++) {
        const int64_t i = k * (pairs / 3);
        const wf_text source = wf_parallel_text(v, WF_SOURCE, i);
        wf_error err = { { 0 } };
        char *said = translate_line(r, &r->m, source, 1, NULL, &err);
        if (!said) return !err.text[0] || !failed(err.text);
        fprintf(stderr, "  | %.*s\n  > %s\n", (int)source.n, source.bytes, said);
        free(said);
    }
    return wf_tape_ok(r->t);
}

/* Judges what an epoch brought, and goes to the next one. A signal waits for the end of that. */
static bool end_epoch(run *r, progress *p, double *perplexity)
{
    const double before = now(), least = lowest(r);
    *perplexity = perplexity_of(r, &r->m, r->x.valid);
    if (!wf_tape_ok(r->t)) return false;
    const double nats = log(*perplexity);
    fprintf(stderr, "%sepoch %" PRId64 "  validation perplexity %.3f\n", p->live ? "\r\033[K" : "",
            r->epoch + 1, *perplexity);
    if (isfinite(nats) && !keep(r, nats)) return false;
    r->halvings += !strcmp(r->o->schedule, "halve") && !(nats < least);
    r->epoch++;
    r->position = 0;
    bool ok = show_samples(r);
    p->begun += now() - before; /* the speed is that of training alone */
    return ok;
}

static bool is_over(const run *r)
{
    return stopped || r->epoch >= r->o->epochs || (r->o->steps && r->step >= r->o->steps);
}

/* A step and, behind an epoch's last, its end. */
static bool train_on(run *r, progress *p)
{
    double perplexity = (double)NAN;
    const int64_t epoch = r->epoch;
    bool ok = train_step(r, p, wf_buckets_next(r->batches));
    if (ok) show(p, r);
    if (ok && r->position == wf_buckets_count(r->batches)) {
        wf_buckets_next(r->batches); /* NULL: the next epoch begins */
        ok = end_epoch(r, p, &perplexity);
    }
    if (ok) log_line(p, r->step, epoch, perplexity);
    return ok;
}

static bool train(run *r)
{
    static const char columns[] = "step,epoch,loss,perplexity,norm,rate,speed";
    const options *o = r->o;
    wf_error err = { { 0 } };
    progress p = {
        .begun = now(), .shown = now(), .first = r->step, .live = isatty(STDERR_FILENO)
    };
    if (o->log && !(p.log = log_open(o->log, columns, r->step, &err))) return !failed(err.text);
    bool ok = true;
    while (ok && !is_over(r)) {
        const int64_t before = r->step;
        ok = train_on(r, &p);
        /* A disk that is full for a while ends no training; the last save tells. */
        if (ok && o->every && r->step != before && r->step % o->every == 0 && !run_save(r, &err)) {
            fprintf(stderr, "%stranslate: %s; going on\n", p.live ? "\n" : "", err.text);
            err.text[0] = 0;
        }
    }
    if (p.live) fputc('\n', stderr);
    if (stopped)
        fprintf(stderr, "translate: stopped by signal %d after %" PRId64 " steps\n", (int)stopped,
                r->step);
    else if (ok)
        fprintf(stderr, "%" PRId64 " steps in %.1f s\n", r->step - p.first, now() - p.begun);
    if (p.log && (ferror(p.log) | fclose(p.log))) return !failed("the log could not be written");
    return ok;
}

bool learn(run *r, const wf_archive *saved)
{
    const options *o = r->o;
    wf_error err = { { 0 } };
    if (!begin(r, saved, &err)) return !failed(err.text);
    const int64_t before = r->step;
    if (is_over(r) && !stopped)
        fprintf(stderr,
                "translate: the saved model has made %" PRId64 " epochs and %" PRId64
                " steps; more than those need larger --epochs\n",
                r->epoch, r->step);
    else if (!train(r))
        return false;
    if (!use_kept(r)) return false;
    if (!o->save) return true;
    if (r->step == before && stopped) {
        fprintf(stderr, "translate: nothing was learned, so %s is left as it was\n", o->save);
        return true;
    }
    if (!run_save(r, &err)) return !failed(err.text);
    fprintf(stderr, "saved %s\n", o->save);
    return true;
}

void run_free(run *r)
{
    wf_generated_free(&r->written);
    wf_tape_free(r->t);
    wf_optim_free(r->adam);
    wf_buckets_free(r->batches);
    for (int k = 0; k < r->kept; k++) free(r->best[k].weights);
    wf_module_free(r->m.net);
    wf_module_free(r->used.net);
    texts_free(&r->x);
}
