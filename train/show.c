/* What a run tells while it goes on: a line that is written over on a terminal, lines elsewhere,
 * and a CSV file with a line for each step. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tensor/runtime.h"
#include "tensor/text.h"
#include "train/private.h"

enum { LOG_BYTES = 1 << 16, LINE_BYTES = 1024 };

double wf_run_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void wf_run_print(bool error, const char *text)
{
    FILE *to = error ? stderr : stdout;
    fputs(text, to);
    fflush(to);
}

bool wf_run_printed(void)
{
    return !fflush(stdout) && !ferror(stdout);
}

void wf_run_clear_line(const wf_run *run)
{
    if (run->p.live) wf_run_print(true, "\r\033[K");
}

/* ---- the live line ---- */

/* Units in a second of training. */
static double speed(const wf_run *run)
{
    const progress *p = &run->p;
    const double passed = p->left_at - p->begun;
    return passed > 0 ? (double)p->counted / passed : 0;
}

/* Steps in all, as far as they are known. */
static int64_t last_step(const wf_run *run)
{
    const wf_run_options *o = run->o;
    const int64_t per = run->plan.steps_per_epoch;
    int64_t last = o->steps ? o->steps : INT64_MAX;
    if (o->epochs && o->epochs < INT64_MAX / per) {
        const int64_t by_epochs = run->step - run->position + (o->epochs - run->epoch) * per;
        if (by_epochs < last) last = by_epochs;
    }
    return last;
}

void wf_run_show(wf_run *run, bool always)
{
    progress *p = &run->p;
    const wf_run_options *o = run->o;
    const int64_t per = run->plan.steps_per_epoch, last = last_step(run);
    const int64_t lines = o->epochs ? per : last - p->first, every = lines >= 20 ? lines / 20 : 1;
    const double t = wf_run_now();
    const int64_t at = o->epochs ? run->position : run->step - p->first;
    const double passed = t - p->shown;
    if (!always && !(p->live ? passed >= 0.1 : passed >= (at % every == 0 ? 1 : 5))) return;
    p->shown = t;
    char text[LINE_BYTES] = "";
    if (p->live) wf_append(text, sizeof text, "\r\033[K");
    if (o->epochs)
        wf_append(text, sizeof text, "epoch %" PRId64 "/%" PRId64 "  %" PRId64 "/%" PRId64,
                  run->ended ? run->epoch : run->epoch + 1, o->epochs,
                  run->ended ? per : run->position, per);
    else
        wf_append(text, sizeof text, "step %" PRId64 "/%" PRId64, run->step, last);
    const char *loss = run->plan.loss ? run->plan.loss : "loss";
    const bool is_unit = strchr(loss, '/') != NULL; /* "1.23 bits/char", but "loss 1.23" */
    wf_append(text, sizeof text, is_unit ? "  %s%.3f %s" : "  %s %.3f%s", is_unit ? "" : loss,
              p->sum / p->weight, is_unit ? loss : "");
    const double made = (double)(run->step - p->first);
    const double left = (double)(last - run->step) * (p->left_at - p->begun) / fmax(made, 1);
    wf_append(text, sizeof text, "  %.0f %s/s  %.0f:%02.0f left%s", speed(run),
              run->plan.unit ? run->plan.unit : "items", floor(left / 60), floor(fmod(left, 60)),
              p->live ? "" : "\n");
    wf_run_print(true, text);
}

/* ---- the log ---- */

/* Keeps of an older log the lines of the steps that were made: those after them are made again. */
static bool keep_lines(wf_run *run, const char *columns)
{
    const char *path = run->o->log;
    int64_t n = 0, good = 0;
    wf_error none = { "" };
    char *old = run->step ? wf_file_read(path, 0, &n, &none) : NULL;
    const size_t head = strlen(columns);
    if (old && (size_t)n >= head && !memcmp(old, columns, head)) {
        for (int64_t at = good = (int64_t)head; at < n;) {
            const char *end = memchr(old + at, '\n', (size_t)(n - at));
            int64_t step = 0;
            for (const char *c = old + at; end && c < end && *c >= '0' && *c <= '9'; c++)
                if (step <= run->step) step = 10 * step + (*c - '0');
            if (!end || step == 0 || step > run->step) break;
            good = at = end - old + 1;
        }
    }
    bool ok = good ? wf_file_write(path, old, good, &run->error)
                   : wf_file_write(path, columns, (int64_t)head, &run->error);
    wf_release(old);
    return ok;
}

bool wf_run_log_open(wf_run *run)
{
    char columns[LINE_BYTES] = "";
    if (!run->o->log) return true;
    wf_append(columns, sizeof columns, "step,epoch,%s", run->plan.loss ? run->plan.loss : "loss");
    for (int i = 0; i < WF_RUN_FIGURES && run->plan.figures[i]; i++)
        wf_append(columns, sizeof columns, ",%s", run->plan.figures[i]);
    wf_append(columns, sizeof columns, ",norm,rate,speed\n");
    if (!keep_lines(run, columns)) return false;
    run->p.lines = wf_alloc(LOG_BYTES);
    return run->p.lines || wf_error_set(&run->error, "log: not enough memory");
}

bool wf_run_log_write(wf_run *run, bool all)
{
    progress *p = &run->p;
    if (!p->lines || !p->used) return true;
    const double t = wf_run_now();
    if (!all && p->used < LOG_BYTES / 2 && t - p->written < 0.2) return true;
    p->written = t;
    const int64_t n = (int64_t)p->used;
    p->used = 0;
    return wf_file_append(run->o->log, p->lines, n, &run->error);
}

void wf_run_log_step(wf_run *run)
{
    progress *p = &run->p;
    char line[LINE_BYTES] = "";
    if (!p->pending || !p->lines) return;
    p->pending = false;
    wf_append(line, sizeof line, "%" PRId64 ",%" PRId64 ",%.6f", run->step,
              run->position ? run->epoch + 1 : run->epoch, p->loss);
    for (int i = 0; i < WF_RUN_FIGURES && run->plan.figures[i]; i++) {
        wf_append(line, sizeof line, ",");
        if (run->judged && isfinite(p->figures[i]))
            wf_append(line, sizeof line, "%.6f", p->figures[i]);
    }
    wf_append(line, sizeof line, ",%.6g,%.6g,%.0f\n", p->norm, p->rate, speed(run));
    const size_t n = strlen(line);
    if (p->used + n > LOG_BYTES && !wf_run_log_write(run, true)) return;
    memcpy(p->lines + p->used, line, n);
    p->used += n;
    wf_run_log_write(run, false);
}
