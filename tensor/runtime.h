/* What a process sets once: memory, log, files and the ceiling for threads. Frozen at first use. */
#ifndef WEFT_TENSOR_RUNTIME_H
#define WEFT_TENSOR_RUNTIME_H

#include "tensor/error.h"

WF_BEGIN

/* The file functions that the library uses for writing and reading; a test replaces them to fail
 * at every call. Each has the meaning and the errno of the POSIX function of its name. */
typedef struct wf_files {
    int (*open)(void *user, const char *path, int flags, int mode);
    long (*read)(void *user, int fd, void *data, size_t bytes);
    long (*write)(void *user, int fd, const void *data, size_t bytes);
    int64_t (*size)(void *user, int fd); /* bytes in a regular file, -1 and errno otherwise */
    int (*sync)(void *user, int fd);
    int (*close)(void *user, int fd);
    int (*rename)(void *user, const char *from, const char *to);
    int (*unlink)(void *user, const char *path);
    const void *reserved[4];
} wf_files;

/* Zero fields take the default: aligned_alloc and free, stderr, POSIX, one thread per processor
 * that this process may run on (OMP_NUM_THREADS and WEFT_THREADS lower it). alloc, release and the
 * file functions are called from within everything and call nothing of the library themselves. */
typedef struct wf_runtime {
    void *(*alloc)(void *user, size_t bytes);      /* 64-byte aligned, or NULL */
    void (*release)(void *user, void *memory);     /* given NULL never */
    void (*log)(void *user, const char *text);     /* one message, without the final newline */
    const wf_files *files;                         /* borrowed for the life of the process */
    int threads; /* the ceiling for every parallel loop, at most WF_THREADS */
    void *user;                                    /* handed to every function above */
    const void *reserved[4];
} wf_runtime;

/* Sets the runtime. Fails, with a reason, once anything in the library has used it. */
WF_API bool wf_runtime_set(const wf_runtime *runtime, wf_error *error);

/* The ceiling for threads, 1 or more. */
WF_API int wf_threads(void);

/* Memory through the runtime's hook: 64-byte aligned, uninitialised or all zero; NULL when there is
 * none or when bytes is 0. Owned by the caller, returned with wf_release (NULL is fine). */
WF_API void *wf_alloc(size_t bytes);
WF_API void *wf_alloc_zero(size_t bytes);
WF_API void wf_release(void *memory);
/* A copy of a string, owned alike; NULL of NULL, and when there is no memory. */
WF_API char *wf_strdup(const char *text);

/* Hands one message to the runtime's log. */
WF_API void wf_log_line(const char *format, ...) WF_PRINTF(1, 2);

WF_END

#endif
