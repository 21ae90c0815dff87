/* Whole files in and out: reading one into memory, and replacing one so that whatever fails, the
 * old file or the new one is there complete. */
#include "tensor/io.h"

#include "tensor/io_private.h"
#include "tensor/private.h"
#include "tensor/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- words for messages ---- */

char *wf_shown(char *out, size_t bytes, const char *text, int64_t n)
{
    size_t room = bytes - 1, size = (size_t)n, head = size, tail = 0;
    if (size > room) {
        head = (room - 3) / 2;
        tail = room - 3 - head;
        while (head && (text[head] & 0xC0) == 0x80) head--;
        while (tail && (text[size - tail] & 0xC0) == 0x80) tail--;
    }
    memcpy(out, text, head);
    size_t used = head;
    if (size > room) {
        memcpy(out + used, "...", 3);
        memcpy(out + used + 3, text + size - tail, tail);
        used += 3 + tail;
    }
    out[used] = 0;
    for (size_t i = 0; i < used; i++)
        if ((unsigned char)out[i] < 0x20 || out[i] == 0x7F) out[i] = '?';
    return out;
}

const char *wf_what(char *what, const char *before, const char *path, const char *after)
{
    char shown[WF_WHAT - WF_SHOWN];
    if (!path) path = "(no path)";
    wf_format(what, WF_WHAT, "%s%s%s", before,
              wf_shown(shown, sizeof shown, path, (int64_t)strlen(path)), after);
    return what;
}

const char *wf_errno_text(int number, char *text)
{
    switch (number) {
    case ENOENT: return "no such file or folder";
    case EACCES: return "permission denied";
    case EPERM: return "not permitted";
    case ENOSPC: return "no space left on the device";
    case EDQUOT: return "the disk quota is used up";
    case EFBIG: return "the file would be too large";
    case EIO: return "input/output error";
    case EROFS: return "the file system is read-only";
    case ENOTDIR: return "a part of the path is not a folder";
    case EISDIR: return "it is a folder";
    case ENAMETOOLONG: return "the name is too long";
    case ELOOP: return "too many links lead to each other";
    case EMFILE:
    case ENFILE: return "too many files are open";
    case ENOMEM: return "not enough memory";
    case EEXIST: return "it exists already";
    case EBUSY: return "it is in use";
    case ENODEV:
    case ENXIO: return "no such device";
    default: wf_format(text, 32, "error %d", number); return text;
    }
}

/* ---- reading ---- */

static int open_file(const wf_runtime *r, const char *path, int flags, int mode)
{
    int file;
    do file = r->files->open(r->user, path, flags, mode);
    while (file < 0 && errno == EINTR);
    return file;
}

/* Reads until n bytes are there or the file ends; the bytes read, or -1 and errno. */
static int64_t read_all(const wf_runtime *r, int file, char *bytes, int64_t n)
{
    int64_t at = 0;
    while (at < n) {
        long some = r->files->read(r->user, file, bytes + at, (size_t)(n - at));
        if (some < 0 && errno == EINTR) continue;
        if (some < 0) return -1;
        if (some == 0) break;
        at += some;
    }
    return at;
}

/* The size of the open file, or -1 and the sentence that it has none. */
static int64_t size_of(const wf_reader *r, const char *path)
{
    char text[32];
    struct stat info;
    int64_t n = r->runtime->files->size(r->runtime->user, r->file);
    int why = errno;
    if (n >= 0) return n;
    bool known = stat(path, &info) == 0;
    if (known && S_ISDIR(info.st_mode))
        wf_error_set(r->error, "%s: it is a folder", r->what);
    else if (known && !S_ISREG(info.st_mode))
        wf_error_set(r->error, "%s: it is not a regular file", r->what);
    else
        wf_error_set(r->error, "%s: cannot tell its size: %s", r->what, wf_errno_text(why, text));
    return -1;
}

bool wf_reader_begin(wf_reader *r, const char *what, const char *path, wf_error *error)
{
    char text[32];
    *r = (wf_reader){ .runtime = wf_runtime_use(), .what = what, .error = error, .file = -1 };
    if (!path || !*path) return wf_error_set(error, "%s: no path was given", what);
    /* O_NONBLOCK: a named pipe is refused instead of waited for. */
    r->file = open_file(r->runtime, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (r->file < 0) return wf_error_set(error, "%s: %s", what, wf_errno_text(errno, text));
    r->n = size_of(r, path);
    if (r->n < 0) wf_reader_end(r);
    return r->n >= 0;
}

void wf_reader_begin_memory(wf_reader *r, const char *what, const void *bytes, int64_t n,
                            wf_error *error)
{
    *r = (wf_reader){ .what = what, .error = error, .file = -1, .memory = bytes, .n = n };
}

bool wf_reader_take(wf_reader *r, void *bytes, int64_t n)
{
    char text[32], more;
    if (r->memory) {
        if (n) memcpy(bytes, r->memory + r->at, (size_t)n);
        r->at += n;
        return true;
    }
    int64_t got = read_all(r->runtime, r->file, bytes, n);
    bool whole = got == n;
    if (whole && (r->at += n) == r->n) { /* one more, to see that it really ends there */
        got = read_all(r->runtime, r->file, &more, 1);
        whole = got == 0;
    }
    if (whole) return true;
    if (got < 0)
        return wf_error_set(r->error, "%s: cannot read: %s", r->what, wf_errno_text(errno, text));
    return wf_error_set(r->error, "%s: its size changed from %lld bytes while it was read", r->what,
                        (long long)r->n);
}

void wf_reader_end(wf_reader *r)
{
    /* Nothing was written: nothing can be lost. */
    if (r->file >= 0) r->runtime->files->close(r->runtime->user, r->file);
    r->file = -1;
}

char *wf_file_take(const char *what, const char *path, int64_t most, int64_t *bytes,
                   wf_error *error)
{
    wf_reader r;
    char *data = NULL;
    *bytes = 0;
    if (!wf_reader_begin(&r, what, path, error)) return NULL;
    if (most > 0 && r.n > most)
        wf_error_set(error, "%s: %lld bytes are more than the %lld allowed", what, (long long)r.n,
                     (long long)most);
    else if (!(data = r.n == INT64_MAX ? NULL : wf_alloc((size_t)r.n + 1)))
        wf_error_set(error, "%s: not enough memory for its %lld bytes", what, (long long)r.n);
    if (data && wf_reader_take(&r, data, r.n)) {
        data[r.n] = 0;
        *bytes = r.n;
    } else {
        wf_release(data);
        data = NULL;
    }
    wf_reader_end(&r);
    return data;
}

char *wf_file_read(const char *path, int64_t most, int64_t *bytes, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    int64_t n;
    char *data = wf_file_take(wf_what(what, "read ", path, ""), path, most, &n, error);
    if (bytes) *bytes = n;
    return data;
}

/* ---- replacing ---- */

static void close_all(wf_writer *w)
{
    if (w->file >= 0) w->runtime->files->close(w->runtime->user, w->file);
    if (w->folder >= 0) w->runtime->files->close(w->runtime->user, w->folder);
    wf_stale_unlock(&w->lock);
    w->file = w->folder = -1;
}

/* Describes the failure, then removes what was begun. */
static bool fail(wf_writer *w, const char *doing, int number)
{
    char text[32];
    wf_error_set(w->error, "%s: %s: %s", w->what, doing, wf_errno_text(number, text));
    if (w->made) w->runtime->files->unlink(w->runtime->user, w->temporary);
    w->made = false;
    close_all(w);
    return false;
}

/* Bytes of path up to and with its last '/'; 0 if it has none. */
static size_t folder_bytes(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* Follows symbolic links from w->path, so that a link stays one and the file it leads to is
 * replaced. The last target need not exist. Returns 0 or an errno. */
static int follow(wf_writer *w)
{
    for (int hops = 0; hops < 40; hops++) {
        ssize_t n = readlink(w->path, w->temporary, sizeof w->temporary);
        if (n < 0) return 0; /* not a link, or not there: whoever opens it will say why */
        size_t folder = w->temporary[0] == '/' ? 0 : folder_bytes(w->path);
        if (folder + (size_t)n >= sizeof w->path) return ENAMETOOLONG;
        memcpy(w->path + folder, w->temporary, (size_t)n);
        w->path[folder + (size_t)n] = 0;
    }
    return ELOOP;
}

/* A number that nobody else in this folder has picked, most likely; O_EXCL sees to the rest. */
static uint64_t unlikely(void)
{
    uint64_t number;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) == (ssize_t)sizeof number) return number;
    struct timespec now = { 0 };
    clock_gettime(CLOCK_REALTIME, &now);
    number = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 30 ^ (uint64_t)getpid() << 48 ^
             (uint64_t)(uintptr_t)&number;
    return number * 0x9E3779B97F4A7C15u;
}

/* Locks the new temporary; false if a sweeper was faster and removed it. */
static bool keep_locked(wf_writer *w)
{
    if (wf_stale_lock(w->file, &w->lock)) return true;
    w->runtime->files->close(w->runtime->user, w->file);
    w->file = -1;
    return false;
}

/* Creates the temporary beside w->path with the access that the file there has. */
static bool create(wf_writer *w, const struct stat *old)
{
    size_t folder = folder_bytes(w->path);
    char *name = w->temporary;
    if (folder + 32 > sizeof w->temporary)
        return fail(w, "cannot create a temporary file", ENAMETOOLONG);
    memcpy(name, folder ? w->path : "./", folder ? folder : 3);
    if (folder) name[folder] = 0;
    w->folder = open_file(w->runtime, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (w->folder < 0) return fail(w, "cannot open its folder", errno);
    wf_stale_sweep(name);

    int mode = old ? (int)(old->st_mode & 0777) : 0666;
    for (int attempt = 0; w->file < 0; attempt++) {
        wf_format(name + folder, 32, ".weft-%016llx.tmp", (unsigned long long)unlikely());
        w->file = open_file(w->runtime, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (w->file < 0 && (errno != EEXIST || attempt >= 15))
            return fail(w, "cannot create a temporary file in its folder", errno);
        if (w->file >= 0 && !keep_locked(w) && attempt >= 15)
            return fail(w, "cannot create a temporary file in its folder", EBUSY);
    }
    w->made = true;
    /* The process's umask may have taken away what the old file gives. */
    struct stat now;
    if (old && stat(name, &now) == 0 && (int)(now.st_mode & 0777) != mode &&
        chmod(name, (mode_t)mode) != 0)
        return fail(w, "cannot give the new file the access of the old one", errno);
    return true;
}

bool wf_writer_begin(wf_writer *w, const char *what, const char *path, wf_error *error)
{
    w->runtime = wf_runtime_use();
    w->what = what;
    w->error = error;
    w->file = w->lock = w->folder = -1;
    w->made = false;
    if (!path || !*path) return wf_error_set(error, "%s: no path was given", what);
    size_t n = strlen(path);
    if (n >= sizeof w->path) return fail(w, "cannot create it", ENAMETOOLONG);
    memcpy(w->path, path, n + 1);
    struct stat old;
    bool there = stat(path, &old) == 0;
    if (there && S_ISDIR(old.st_mode)) return wf_error_set(error, "%s: it is a folder", what);
    /* A rename would replace the device or the pipe itself. */
    if (there && !S_ISREG(old.st_mode))
        return wf_error_set(error, "%s: it is not a regular file", what);
    int why = follow(w);
    if (why) return fail(w, "cannot create it", why);
    return create(w, there ? &old : NULL);
}

bool wf_writer_put(wf_writer *w, const void *bytes, int64_t n)
{
    const char *from = bytes;
    while (n > 0) {
        long some = w->runtime->files->write(w->runtime->user, w->file, from, (size_t)n);
        if (some < 0 && errno == EINTR) continue;
        if (some <= 0) return fail(w, "cannot write", some < 0 ? errno : ENOSPC);
        from += some;
        n -= some;
    }
    return true;
}

static int sync_file(wf_writer *w, int file)
{
    int result;
    do result = w->runtime->files->sync(w->runtime->user, file);
    while (result != 0 && errno == EINTR);
    return result;
}

bool wf_writer_end(wf_writer *w)
{
    const wf_files *files = w->runtime->files;
    void *user = w->runtime->user;
    if (sync_file(w, w->file) != 0) return fail(w, "cannot bring it to the disk", errno);
    int closed = files->close(user, w->file);
    w->file = -1; /* even a close that fails gives the number back */
    if (closed != 0 && errno != EINTR) return fail(w, "cannot close", errno);
    if (files->rename(user, w->temporary, w->path) != 0)
        return fail(w, "cannot put it in the place of the old one", errno);
    w->made = false;
    /* Some file systems cannot sync a folder; for the others it is what makes the rename survive a
     * power cut. */
    if (sync_file(w, w->folder) != 0 && errno != EINVAL && errno != ENOTSUP)
        return fail(
            w, "written, but a power cut may bring the old one back: its folder cannot be synced",
            errno);
    close_all(w);
    return true;
}

bool wf_file_write(const char *path, const void *bytes, int64_t n, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    wf_writer w;
    wf_what(what, "write ", path, "");
    if (n < 0 || (n > 0 && !bytes)) return wf_error_set(error, "%s: no bytes were given", what);
    return wf_writer_begin(&w, what, path, error) && wf_writer_put(&w, bytes, n) &&
           wf_writer_end(&w);
}

/* ---- beside whole files ---- */

bool wf_file_append(const char *path, const void *bytes, int64_t n, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT], text[32];
    wf_what(what, "append to ", path, "");
    if (!path || !*path) return wf_error_set(error, "%s: no path was given", what);
    if (n < 0 || (n > 0 && !bytes)) return wf_error_set(error, "%s: no bytes were given", what);
    const wf_runtime *r = wf_runtime_use();
    int file = open_file(r, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0) return wf_error_set(error, "%s: %s", what, wf_errno_text(errno, text));
    const char *from = bytes;
    bool ok = true;
    while (ok && n > 0) {
        const long some = r->files->write(r->user, file, from, (size_t)n);
        if (some < 0 && errno == EINTR) continue;
        ok = some > 0;
        if (!ok)
            wf_error_set(error, "%s: cannot write: %s", what,
                         wf_errno_text(some < 0 ? errno : ENOSPC, text));
        from += some;
        n -= some;
    }
    if (r->files->close(r->user, file) != 0 && errno != EINTR && ok)
        ok = wf_error_set(error, "%s: cannot close: %s", what, wf_errno_text(errno, text));
    return ok;
}

bool wf_file_can_write(const char *path, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    wf_writer w;
    wf_what(what, "write ", path, "");
    if (!wf_writer_begin(&w, what, path, error)) return false;
    w.runtime->files->unlink(w.runtime->user, w.temporary);
    close_all(&w);
    return true;
}

bool wf_file_same(const char *a, const char *b)
{
    struct stat at, bt;
    if (!a || !b) return false;
    if (!strcmp(a, b)) return true;
    return stat(a, &at) == 0 && stat(b, &bt) == 0 && at.st_dev == bt.st_dev &&
           at.st_ino == bt.st_ino;
}
