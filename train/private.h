/* What the files of a run share. */
#ifndef WEFT_TRAIN_PRIVATE_H
#define WEFT_TRAIN_PRIVATE_H

#include "train/run.h"

/* Weights that were best: all numbers of all parameters and buffers, one after another. */
typedef struct kept {
    char *weights;
    double figure;
} kept;

/* What is shown and logged. */
typedef struct progress {
    double begun, shown, due;             /* times; due: when a sample last was */
    double sum, weight, loss, norm, rate; /* sum / weight: a running mean of losses */
    double left_at;                       /* when the last step ended */
    int64_t first, counted;               /* the step that was made before; units */
    bool live, pending;                   /* a terminal; the last step is not in the log yet */
    double figures[WF_RUN_FIGURES];
    char *lines; /* of the log, not written yet; NULL: there is none */
    size_t used;
    double written; /* when they last were */
} progress;

enum { RUN_ROWS = 16 };

typedef struct named_file named_file;

struct wf_run {
    wf_run_call call;
    wf_run_options *o;
    wf_option rows[RUN_ROWS]; /* those of the run's options that are offered */
    wf_options tables[2];     /* the program's own, the run's */
    wf_tape *tape;
    wf_archive *archive;
    wf_run_plan plan;
    wf_error error, given; /* the first failure; where others put theirs */
    bool help, failed, begun, finished, ended, judged;
    int64_t step, epoch, position, halvings, since_best, saved; /* saved: the step */
    char data[24];                                              /* plan.data as files have it */
    double figure; /* the best of the first figures; NaN: there is none */
    kept best[WF_RUN_AVERAGE];
    int n_best;
    double *rates;     /* of each group, before the schedule */
    named_file *files; /* that are read and written */
    progress p;
};

/* Takes over what stands in run->given, and that the tape has failed. False if the run has. */
bool wf_run_sound(wf_run *run);
/* Is there nothing (more) to learn? */
bool wf_run_over(const wf_run *run);

/* ---- best.c ---- */

/* The net's parameters, and behind them its buffers. */
int64_t wf_run_value_count(const wf_run *run);
wf_var *wf_run_value_at(const wf_run *run, int64_t i);
size_t wf_run_weight_bytes(const wf_run *run);
/* Keeps the net's weights if they are among the best. */
bool wf_run_keep(wf_run *run, double figure);
bool wf_run_better(const wf_run *run, double a, double b);
/* The weights that are used, the mean of those kept, into the caller's memory; and into the net. */
void wf_run_used(const wf_run *run, char *weights);
void wf_run_restore(const wf_run *run, const char *weights);
/* The parameter's numbers in such memory, as a tensor; *at moves behind it. */
wf_tensor wf_run_part_of(const wf_var *param, char *weights, size_t *at);
void wf_run_forget_best(wf_run *run, int from);

/* ---- groups.c ---- */

/* Makes what --freeze and --group ask for, and notes each group's rate; false after failing. */
bool wf_run_groups_begin(wf_run *run);
/* All rates become this part of what was noted. */
void wf_run_set_rates(wf_run *run, double part);

/* ---- paths.c ---- */

/* Notes a file that is read, or is written for an option; NULL and "-" are none. False after
 * failing, where one would replace another. */
bool wf_run_name_file(wf_run *run, const char *option, const char *what, const char *path);
void wf_run_forget_files(wf_run *run);

/* ---- files.c ---- */

bool wf_run_save_now(wf_run *run); /* false: the reason is in run->error */
bool wf_run_load(wf_run *run);

/* ---- show.c ---- */

double wf_run_now(void); /* seconds */
void wf_run_print(bool error, const char *text);
bool wf_run_printed(void); /* has stdout taken all that it was given? */
void wf_run_show(wf_run *run, bool always);
void wf_run_clear_line(const wf_run *run);
bool wf_run_log_open(wf_run *run);
void wf_run_log_step(wf_run *run); /* the last step's line, where one is pending */
bool wf_run_log_write(wf_run *run, bool all);

/* ---- signals.c ---- */

void wf_run_signals_begin(void);
void wf_run_signals_end(void);
int wf_run_signal(void);

#endif
