/* Signals, files and the log of programs that train for long. */
#include "examples/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    stopped = number;
    signal(number, SIG_DFL);
}

void stop_at_signals(void)
{
    struct sigaction act = { .sa_handler = on_signal };
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    signal(SIGPIPE, SIG_IGN);
}

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool can_save(const char *path, wf_error *err)
{
    struct stat there;
    if (!stat(path, &there) && S_ISDIR(there.st_mode))
        return wf_error_set(err, "save %s: it is a folder", path);
    size_t bytes = strlen(path) + 32;
    char *tried = malloc(bytes);
    if (!tried) return wf_error_set(err, "out of memory");
    wf_format(tried, bytes, "%s.%ld", path, (long)getpid());
    int file = open(tried, O_WRONLY | O_CREAT | O_EXCL, 0600);
    int why = errno;
    if (file >= 0) {
        close(file);
        unlink(tried);
    }
    free(tried);
    return file >= 0 || wf_error_set(err, "save %s: %s", path, strerror(why));
}

bool same_file(const char *a, const char *b)
{
    struct stat at, bt;
    if (!a || !b || !strcmp(a, "-")) return false;
    if (!strcmp(a, b)) return true;
    return !stat(a, &at) && !stat(b, &bt) && at.st_dev == bt.st_dev && at.st_ino == bt.st_ino;
}

FILE *log_open(const char *path, const char *columns, int64_t step, wf_error *err)
{
    FILE *log = step ? fopen(path, "r+") : NULL;
    char *line = NULL;
    size_t room = 0;
    long good = 0;
    while (log && getline(&line, &room, log) > 0 && (good == 0 || strtoll(line, NULL, 10) <= step))
        good = ftell(log);
    free(line);
    if (log && (fflush(log) || ftruncate(fileno(log), good) || fseek(log, good, SEEK_SET))) {
        fclose(log);
        log = NULL;
    } else if (!log) {
        log = fopen(path, "w");
    }
    if (!log) {
        wf_error_set(err, "log %s: %s", path, strerror(errno));
        return NULL;
    }
    setvbuf(log, NULL, _IOLBF, 0);
    if (good == 0) fprintf(log, "%s\n", columns);
    return log;
}
