/* What every program that trains has around its loop: options, a saved model to go on from, a live
 * line, a log, the best weights, a schedule, an end at a signal. */
#ifndef WEFT_TRAIN_RUN_H
#define WEFT_TRAIN_RUN_H

#include "autograd/module.h"
#include "autograd/tape.h"
#include "optim/optim.h"
#include "train/options.h"

WF_BEGIN

/* The loop stays the program's:
 *
 *     options o = { .run = { .epochs = 10, .lr = 1e-3, .clip = 1 }, .hidden = 128 };
 *     wf_run *run = wf_run_new(&(wf_run_call){ "mine", "Learns this.", WF_OPTIONS(rows, &o),
 *                                              &o.run }, argc, argv);
 *     ... data and net, from o and wf_run_archive(run) ...
 *     wf_run_begin(run, &(wf_run_plan){ .net = net, .optim = adam, .steps_per_epoch = batches,
 *                                       .unit = "sentences", .figures = { "accuracy" },
 *                                       .higher = true });
 *     while (wf_run_next(run)) {
 *         wf_run_learn(run, loss of batch wf_run_position(run) of epoch wf_run_epoch(run), count);
 *         if (wf_run_epoch_ended(run)) wf_run_judge(run, (double[]){ accuracy });
 *     }
 *     if (wf_run_finish(run)) ... the net has its best weights ...
 *     return wf_run_free(run);
 *
 * As on a tape, the first thing that goes wrong is kept, everything after it does nothing, and
 * wf_run_free says it. What a step computes must depend on (seed, epoch, position) alone; then a
 * run that was stopped, or killed after a save, goes on to the bit. */
typedef struct wf_run wf_run;

/* What any such program is told; its own struct begins as the defaults, zero being: not at all. */
typedef struct wf_run_options {
    int64_t epochs, steps; /* in all, a saved run's included; 0: no limit of this kind,
                                        * both 0: no training */
    double lr, clip;       /* of group 0; the most that the gradient's norm may be */
    wf_option_list freeze, group; /* parameters that do not learn; with rates of their own: names,
                                   * as wf_optim_group matches them; "rnn.*=1e-3" */
    const char *schedule;  /* of the rate: NULL is "constant"; see --help */
    int64_t warmup;        /* steps in which the rate grows linearly from 0 */
    int64_t patience;      /* epochs that may bring nothing before the run ends */
    int64_t average;       /* the best epochs whose mean weights are used; 0: 1 */
    int64_t seed, threads;
    const char *save, *load, *log;
    int64_t every; /* steps from one save to the next */
    const void *reserved[4];
} wf_run_options;

typedef struct wf_run_call {
    const char *name;        /* begins its messages, and names the kind of model in files */
    const char *about;       /* what --help begins with */
    wf_options own;          /* the program's own options */
    wf_run_options *options; /* lives as long as the run */
    const char *without;     /* of the run's options those that make no sense here: "patience lr";
                              * neither read nor listed nor kept: what the struct says holds */
    const void *reserved[4];
} wf_run_call;

/* Reads the options; answers --help; takes from the file of --load what it keeps of them; sets the
 * threads and the tape's seed; from now on SIGINT, SIGTERM and SIGHUP end the loop well, a second
 * one at once, and a reader that goes away (SIGPIPE) is noticed where we write. NULL when there is
 * no memory; everything takes that quietly. */
WF_API wf_run *wf_run_new(const wf_run_call *call, int argc, char *const argv[]);
/* Says what went wrong, in one line on stderr (that stdout could not be written, too), and gives
 * the signals back. The program's exit status: 0, 1, or 128 and the signal. The net and its
 * optimiser are yours to free. */
WF_API int wf_run_free(wf_run *run);

/* Has nothing gone wrong, and was no --help asked for? */
WF_API bool wf_run_ok(const wf_run *run);
/* The signal that asked the run to stop, or 0; for loops of one's own that take long. */
WF_API int wf_run_stopped(const wf_run *run);
/* Did the command line name the option of this field ("hidden", "new_letters")? */
WF_API bool wf_run_given(const wf_run *run, const char *field);
/* Is it time for something longer than a line (a sample of what the net can do)? True a second
 * after it last was, and behind the last step: short epochs flood nobody. */
WF_API bool wf_run_due(wf_run *run);
/* Fails the run with one sentence, if it is the first. Returns false. */
WF_API bool wf_run_fail(wf_run *run, const char *format, ...) WF_PRINTF(2, 3);
/* Where functions of the library say what went wrong, for the run to say: what is in there when
 * the next function of the run is called has failed it. NULL of NULL. */
WF_API wf_error *wf_run_error(wf_run *run);
/* A line on stderr, in the place of the live line. */
WF_API void wf_run_say(wf_run *run, const char *format, ...) WF_PRINTF(2, 3);
/* The run's tape, in train mode and reset at each wf_run_next. What fails it fails the run. */
WF_API wf_tape *wf_run_tape(const wf_run *run);
/* The file of --load, for what the program put into it; NULL without one. */
WF_API const wf_archive *wf_run_archive(const wf_run *run);
/* Says that the program reads a file, or will write one for an option of that name; before any is
 * written. One that would replace another, the model or the log, or cannot be written, is an error;
 * NULL is no file, and so is "-" where it is read. */
WF_API bool wf_run_reads(wf_run *run, const char *path);
WF_API bool wf_run_writes(wf_run *run, const char *option, const char *path);

enum { WF_RUN_FIGURES = 8, WF_RUN_AVERAGE = 32 };
typedef struct wf_run_plan {
    wf_module *net; /* all that is saved; it and optim are referred to */
    wf_optim *optim;         /* NULL: there is nothing to learn, and nothing is said of it */
    int64_t steps_per_epoch; /* 1 or more */
    const char *unit;        /* what wf_run_learn counts: "words" (NULL: "items") */
    const char *loss;        /* the loss in the live line and the log (NULL: "loss"), */
    double scale;            /* times this (0: 1): "bits/char", 1 / log(2) */
    /* What wf_run_judge is given. The first one says which epochs are best: the lowest, or the
     * highest. Without any, the last weights are used. */
    const char *figures[WF_RUN_FIGURES];
    bool higher;
    bool last; /* the last weights are used all the same, and no copies are kept */
    /* The data have no end: an epoch is so many steps, whatever it was before, and where the
     * program stands in its data is its own to save. */
    bool endless;
    bool uneven; /* epochs differ in their steps: wf_run_set_steps tells */
    /* The program has made its net of the saved one (which lacked words, say): of the file only how
     * many steps and epochs were made is taken; the rest begins anew. */
    bool adapted;
    uint64_t data; /* a hash of what is read: other data begin their epoch anew */
    /* What the program adds to a file (a vocabulary, a carry) and takes from it; or NULL. What goes
     * wrong in save is the bundle's to say. */
    void (*save)(const void *self, wf_bundle *bundle);
    bool (*load)(void *self, const char *path, const wf_archive *archive, wf_error *error);
    void *self;
    const void *reserved[4];
} wf_run_plan;

/* Freezes and groups parameters as the options say, groups that the program made first; the rate of
 * each is from now on what it is here, times what the schedule says. Loads the net from the saved
 * model: to go on, with the optimiser and where the run stood; where
 * no training is left, the weights that are used. Opens the log. Prints what is learned with what:
 * weights, threads, dispatch level. */
WF_API bool wf_run_begin(wf_run *run, const wf_run_plan *plan);
/* Makes the tape ready for the next step; false when training is over: all is made, patience is at
 * its end, a signal came, something failed. Saves where --every says so. */
WF_API bool wf_run_next(wf_run *run);
/* Steps made, over all runs; epochs ended; steps made in this epoch: what comes next. */
WF_API int64_t wf_run_step(const wf_run *run);
WF_API int64_t wf_run_epoch(const wf_run *run);
WF_API int64_t wf_run_position(const wf_run *run);
/* How many steps the epoch that is being made has; told when one has ended and been judged. */
WF_API bool wf_run_set_steps(wf_run *run, int64_t steps_per_epoch);
/* The part of the training that is made, 0 to 1, for schedules of one's own. */
WF_API double wf_run_part(const wf_run *run);
/* Sweeps back from the loss, clips, steps; `count` units were learned from. False after failing.
 * Whoever sweeps by himself (several losses, micro-batches) calls _update with what to show. */
WF_API bool wf_run_learn(wf_run *run, wf_var *loss, int64_t count);
WF_API bool wf_run_update(wf_run *run, double loss, int64_t count);
/* Was this step an epoch's last? Then it is time to judge: one number for each of the figures, any
 * of which may be NaN; a first one that is NaN keeps no weights. The tape is reset and in infer
 * mode while the program judges (wf_run_epoch_ended made it so). */
WF_API bool wf_run_epoch_ended(wf_run *run);
WF_API bool wf_run_judge(wf_run *run, const double figures[]);
/* Ends the training: the net gets the weights that are used (the mean of the best ones), the last
 * save is made, the tape is in infer mode. True when the program may go on to use the net: nothing
 * failed, no signal came. */
WF_API bool wf_run_finish(wf_run *run);

WF_END

#endif
