/* What a process sets once, and what it gets when it sets nothing: memory, log, POSIX files, the
 * ceiling for threads. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tensor/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor/private.h"
#include "tensor/text.h"


static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool frozen;
static wf_runtime runtime; /* written under lock until frozen, read freely afterwards */
static wf_files files;

const char *wf_version(void)
{
    return WF_VERSION;
}

static void *default_alloc(void *user, size_t bytes)
{
    (void)user;
    if (bytes > SIZE_MAX - (WF_ALIGNMENT - 1)) return NULL;
    return aligned_alloc(WF_ALIGNMENT, (bytes + WF_ALIGNMENT - 1) & ~(size_t)(WF_ALIGNMENT - 1));
}

static void default_release(void *user, void *memory)
{
    (void)user;
    free(memory);
}

static void default_log(void *user, const char *text)
{
    (void)user;
    flockfile(stderr); /* or lines of several threads would mix */
    fputs(text, stderr);
    putc_unlocked('\n', stderr);
    funlockfile(stderr);
}

static int file_open(void *user, const char *path, int flags, int mode)
{
    (void)user;
    return open(path, flags, (mode_t)mode);
}

static long file_read(void *user, int fd, void *data, size_t bytes)
{
    (void)user;
    return read(fd, data, bytes);
}

static long file_write(void *user, int fd, const void *data, size_t bytes)
{
    (void)user;
    return write(fd, data, bytes);
}

static int64_t file_size(void *user, int fd)
{
    (void)user;
    struct stat about;
    if (fstat(fd, &about) != 0) return -1;
    if (S_ISREG(about.st_mode)) return about.st_size;
    errno = S_ISDIR(about.st_mode) ? EISDIR : EINVAL;
    return -1;
}

static int file_sync(void *user, int fd)
{
    (void)user;
    return fsync(fd);
}

static int file_close(void *user, int fd)
{
    (void)user;
    return close(fd);
}

static int file_rename(void *user, const char *from, const char *to)
{
    (void)user;
    return rename(from, to);
}

static int file_unlink(void *user, const char *path)
{
    (void)user;
    return unlink(path);
}

/* The processors that this process may run on. */
static int processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than a cpu_set_t holds */
    return online > WF_THREADS ? WF_THREADS : (int)online;
}

int wf_threads_alive(void)
{
    struct stat tasks; /* a folder for each, and "." and ".." */
    return stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > 2 ? (int)tasks.st_nlink - 2 : 0;
}

/* Lowers *threads to what an environment variable says; false if it says something that is not a
 * number of threads. OMP_NUM_THREADS may be a list by nesting level, of which the first counts. */
static bool lower_by(const char *name, int *threads)
{
    const char *value = getenv(name);
    if (!value || !*value) return true;
    int n = 0;
    const char *at = value;
    while (*at == ' ') at++;
    const char *digits = at;
    for (; *at >= '0' && *at <= '9'; at++)
        if (n <= WF_THREADS) n = 10 * n + (*at - '0'); /* a large number lowers nothing */
    while (*at == ' ') at++;
    if (at == digits || n < 1 || (*at && *at != ',')) return false;
    if (n < *threads) *threads = n;
    return true;
}

/* Fills in what was left at zero. Returns the names of the variables that said nonsense in
 * nonsense[]. */
static int fill(const char *nonsense[2])
{
    static const char *const variables[] = { "OMP_NUM_THREADS", "WEFT_THREADS" };
    int bad = 0;
    if (!runtime.alloc) runtime.alloc = default_alloc;
    if (!runtime.release) runtime.release = default_release;
    if (!runtime.log) runtime.log = default_log;
    if (runtime.files) files = *runtime.files;
    if (!files.open) files.open = file_open;
    if (!files.read) files.read = file_read;
    if (!files.write) files.write = file_write;
    if (!files.size) files.size = file_size;
    if (!files.sync) files.sync = file_sync;
    if (!files.close) files.close = file_close;
    if (!files.rename) files.rename = file_rename;
    if (!files.unlink) files.unlink = file_unlink;
    runtime.files = &files;
    if (runtime.threads == 0) {
        runtime.threads = processors();
        for (int i = 0; i < 2; i++)
            if (!lower_by(variables[i], &runtime.threads)) nonsense[bad++] = variables[i];
    }
    if (runtime.threads < 1) runtime.threads = 1;
    if (runtime.threads > WF_THREADS) runtime.threads = WF_THREADS;
    return bad;
}

/* A thread that freezes the runtime while another one forks would leave the child a lock that
 * nobody opens. */
static void hold(void)
{
    pthread_mutex_lock(&lock);
}

static void let_go(void)
{
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void at_load(void)
{
    pthread_atfork(hold, let_go, let_go);
}

static const wf_runtime *freeze(void)
{
    const char *nonsense[2];
    int bad = 0;
    pthread_mutex_lock(&lock);
    if (!atomic_load_explicit(&frozen, memory_order_relaxed)) {
        bad = fill(nonsense);
        atomic_store_explicit(&frozen, true, memory_order_release);
    }
    pthread_mutex_unlock(&lock);
    /* Only now: the log is the user's function and may itself use the library. */
    for (int i = 0; i < bad; i++)
        wf_log_line("%s: '%s' is not a number of threads; ignored", nonsense[i],
                    getenv(nonsense[i]));
    return &runtime;
}

const wf_runtime *wf_runtime_use(void)
{
    if (atomic_load_explicit(&frozen, memory_order_acquire)) return &runtime;
    return freeze();
}

static bool acceptable(const wf_runtime *r, wf_error *error)
{
    if (!r->alloc != !r->release)
        return wf_error_set(error, "runtime: %s is given without %s",
                            r->alloc ? "alloc" : "release", r->alloc ? "release" : "alloc");
    if (r->threads < 0 || r->threads > WF_THREADS)
        return wf_error_set(error, "runtime: threads is %d; expected 0 (the default) to %d",
                            r->threads, WF_THREADS);
    for (int i = 0; i < 4; i++)
        if (r->reserved[i] || (r->files && r->files->reserved[i]))
            return wf_error_set(error,
                                "runtime: a reserved field is not zero; this library is version %s",
                                WF_VERSION);
    return true;
}

bool wf_runtime_set(const wf_runtime *given, wf_error *error)
{
    wf_error_clear(error);
    static const wf_runtime defaults;
    if (!given) given = &defaults;
    if (!acceptable(given, error)) return false;
    pthread_mutex_lock(&lock);
    bool late = atomic_load_explicit(&frozen, memory_order_relaxed);
    if (!late) runtime = *given;
    pthread_mutex_unlock(&lock);
    if (late)
        return wf_error_set(
            error, "runtime: set after first use; set it before anything else of the library runs");
    return true;
}

int wf_threads(void)
{
    return wf_runtime_use()->threads;
}

void *wf_alloc(size_t bytes)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX) return NULL;
    const wf_runtime *r = wf_runtime_use();
    void *memory = r->alloc(r->user, bytes);
    if (((uintptr_t)memory & (WF_ALIGNMENT - 1)) == 0) return memory;
    r->release(r->user, memory); /* aligned loads would crash far from the cause */
    wf_log_line("runtime: alloc gave memory that is not 64-byte aligned; taken as none");
    return NULL;
}

void *wf_alloc_zero(size_t bytes)
{
    void *memory = wf_alloc(bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

void wf_release(void *memory)
{
    if (!memory) return;
    const wf_runtime *r = wf_runtime_use();
    r->release(r->user, memory);
}

char *wf_strdup(const char *text)
{
    if (!text) return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = wf_alloc(bytes);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

void wf_log_line(const char *format, ...)
{
    char text[2048];
    if (!format) format = "log: a line without text (NULL)";
    va_list arguments;
    va_start(arguments, format);
    wf_vformat(text, sizeof text, format, arguments);
    va_end(arguments);
    const wf_runtime *r = wf_runtime_use();
    r->log(r->user, text);
}
