/* Signals that end a run well: the first asks the loop to stop, a second one is the system's. */
#include <errno.h>
#include <signal.h>

#include "train/private.h"

static const int handled[] = { SIGINT, SIGTERM, SIGHUP };
enum { HANDLED = sizeof handled / sizeof *handled };

static volatile sig_atomic_t stopped;
static struct sigaction before[HANDLED], before_pipe;
static int runs; /* that are between begin and end */

static void on_signal(int number)
{
    stopped = number;
    signal(number, SIG_DFL);
}

void wf_run_signals_begin(void)
{
    if (runs++) return;
    const struct sigaction act = { .sa_handler = on_signal };
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    stopped = 0;
    for (int i = 0; i < HANDLED; i++) {
        sigaction(handled[i], NULL, &before[i]);
        /* What nohup ignores stays ignored. A shell's script starts what runs behind it with
         * SIGINT ignored, though, and who sends that one by hand means it. */
        if (handled[i] != SIGHUP || before[i].sa_handler != SIG_IGN)
            sigaction(handled[i], &act, NULL);
    }
    sigaction(SIGPIPE, &ignore, &before_pipe);
}

void wf_run_signals_end(void)
{
    if (!runs || --runs) return;
    for (int i = 0; i < HANDLED; i++) sigaction(handled[i], &before[i], NULL);
    sigaction(SIGPIPE, &before_pipe, NULL);
}

int wf_run_signal(void)
{
    return stopped;
}
