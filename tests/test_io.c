/* Whole files: every call to the system and every request for memory may fail, and what was there
 * before stays. */
#define _GNU_SOURCE
#include "tensor/io.h"
#include "tensor/io_private.h"
#include "tensor/runtime.h"
#include "tests/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a runtime that fails on demand ---- */

enum {
    OPEN = 1,
    READ = 2,
    WRITE = 4,
    SIZE = 8,
    SYNC = 16,
    CLOSE = 32,
    RENAME = 64,
    UNLINK = 128,
    ANY = 255
};

static struct {
    int kinds, number;         /* which calls fail, with which errno (0: none) */
    int at, calls;             /* the call of those kinds that fails, from 1; how many there were */
    bool interrupted, trickle; /* every other call says EINTR; at most 7 bytes are moved */
    bool die;                  /* instead of failing, the process is killed */
    int last;                  /* the kind of the last call of all */
    int open;                  /* files now open */
    int64_t grow;              /* added to what size says */
    int64_t moved;             /* bytes that were read */
} os;

static bool fails(int kind)
{
    static int toggle;
    os.last = kind;
    if (!(os.kinds & kind)) return false;
    if (os.interrupted && kind & (OPEN | READ | WRITE | SYNC) && ++toggle % 2)
        return errno = EINTR, true;
    if (++os.calls != os.at) return false;
    if (os.die) raise(SIGKILL);
    return errno = os.number, os.number != 0;
}

static int hook_open(void *user, const char *path, int flags, int mode)
{
    (void)user;
    if (fails(OPEN)) return -1;
    int file = open(path, flags, (mode_t)mode);
    os.open += file >= 0;
    return file;
}

static long hook_read(void *user, int file, void *data, size_t bytes)
{
    (void)user;
    if (fails(READ)) return -1;
    long n = read(file, data, os.trickle && bytes > 7 ? 7 : bytes);
    if (n > 0) os.moved += n;
    return n;
}

static long hook_write(void *user, int file, const void *data, size_t bytes)
{
    (void)user;
    if (fails(WRITE)) return -1;
    return write(file, data, os.trickle && bytes > 7 ? 7 : bytes);
}

static int64_t hook_size(void *user, int file)
{
    (void)user;
    struct stat info;
    if (fails(SIZE)) return -1;
    if (fstat(file, &info) != 0) return -1;
    if (!S_ISREG(info.st_mode)) return errno = EINVAL, -1;
    return info.st_size + os.grow;
}

static int hook_sync(void *user, int file)
{
    (void)user;
    return fails(SYNC) ? -1 : fsync(file);
}

static int hook_close(void *user, int file)
{
    (void)user;
    int result = close(file);
    os.open--;
    return fails(CLOSE) ? -1 : result;
}

static int hook_rename(void *user, const char *from, const char *to)
{
    (void)user;
    return fails(RENAME) ? -1 : rename(from, to);
}

static int hook_unlink(void *user, const char *path)
{
    (void)user;
    return fails(UNLINK) ? -1 : unlink(path);
}

static const wf_files hooks = { .open = hook_open,
                                .read = hook_read,
                                .write = hook_write,
                                .size = hook_size,
                                .sync = hook_sync,
                                .close = hook_close,
                                .rename = hook_rename,
                                .unlink = hook_unlink };

static void begin(void)
{
    memset(&os, 0, sizeof os);
    memset(&heap, 0, sizeof heap);
}

const harness_suite suite = { .before = begin, .files = &hooks };

/* ---- files of a test ---- */

/* How many entries the test's folder has. */
static int entries(void)
{
    DIR *folder = opendir(harness_folder());
    int n = 0;
    ck_assert_ptr_nonnull(folder);
    while (readdir(folder)) n++;
    closedir(folder);
    return n - 2;
}

static char *contents(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file, "%s is gone", path);
    char *bytes = malloc(1 << 20);
    *n = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void make(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

static bool holds(const char *path, const char *text)
{
    size_t n;
    char *bytes = contents(path, &n);
    bool same = n == strlen(text) && memcmp(bytes, text, n) == 0;
    free(bytes);
    return same;
}

/* Two tensors: one strided, so that a save takes several writes, and behind one of three floats, so
 * that a load has to move it. */
static bool save(const char *path, double value, wf_error *error)
{
    static double w[64 * 64];
    static float b[3];
    for (int i = 0; i < 64 * 64; i++) w[i] = value;
    wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(64, 64), w);
    wf_named all[] = { { "b", wf_tensor_of(WF_F32, WF_SHAPE(3), b) }, { "w", x } };
    wf_view_transpose(&x, 0, 1, &all[1].tensor);
    return wf_safetensors_save(path, all, 2, &(wf_meta){ "cell", "lstm" }, 1, error);
}

static double loaded(const char *path)
{
    wf_error error = { "" };
    OWN(wf_archive) *a = wf_safetensors_load(path, &error);
    ck_assert_msg(a, "%s", error.text);
    double value = wf_tensor_at(wf_archive_find(a, "w"), 77);
    return value;
}

/* ---- saving ---- */

TEST(whatever_call_fails_in_a_save_the_old_file_or_the_new_one_is_there_whole)
{
    const char *path = path_of("model");
    static const struct {
        int kind, number;
        const char *doing, *why;
    } faults[] = {
        { OPEN, EACCES, "", "permission denied" },
        { OPEN, ENOSPC, "", "no space left on the device" },
        { OPEN, EMFILE, "", "too many files are open" },
        { WRITE, ENOSPC, "cannot write: ", "no space left on the device" },
        { WRITE, EIO, "cannot write: ", "input/output error" },
        { WRITE, EDQUOT, "cannot write: ", "the disk quota is used up" },
        { WRITE, EFBIG, "cannot write: ", "the file would be too large" },
        { SYNC, EIO, "", "input/output error" },
        { CLOSE, EIO, "cannot close: ", "input/output error" },
        { CLOSE, ENOSPC, "cannot close: ", "no space left on the device" },
        { RENAME, EACCES, "cannot put it in the place of the old one: ", "permission denied" },
        { RENAME, 1234, "", "error 1234" },
    };
    ck_assert(save(path, 1, NULL));
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        int failed = 0;
        for (int k = 1;; k++) {
            wf_error error = { "" };
            ck_assert(save(path, 1, NULL));
            os.kinds = faults[f].kind, os.number = faults[f].number, os.at = k, os.calls = 0;
            bool saved = save(path, 2, &error);
            int calls = os.calls;
            os.kinds = 0;
            ck_assert_int_eq(entries(), 1);
            ck_assert_int_eq(os.open, 0);
            ck_assert_int_eq(heap.live, 0);
            if (saved) {
                ck_assert_double_eq(loaded(path), 2);
                /* The folder's own close comes when nothing can be lost any more. */
                if (calls >= k) ck_assert_int_eq(faults[f].kind, CLOSE);
                if (calls < k) break;
                continue;
            }
            failed++;
            const char *begins = worded("save %s: %s", path, faults[f].doing);
            ck_assert_msg(strstr(error.text, begins) == error.text, "%s", error.text);
            ck_assert_msg(strstr(error.text, faults[f].why), "%s", error.text);
            /* Only a folder that cannot be synced is noticed after the new file has taken its
             * place. */
            bool late = strstr(error.text, ": written, but a power cut may bring the old one back: "
                                           "its folder cannot be synced") != NULL;
            ck_assert_int_eq(late, faults[f].kind == SYNC && k == 2);
            ck_assert_double_eq(loaded(path), late ? 2 : 1);
        }
        ck_assert_int_ge(failed, faults[f].kind == WRITE                            ? 3
                                 : faults[f].kind == OPEN || faults[f].kind == SYNC ? 2
                                                                                    : 1);
    }
}

TEST(a_folder_that_knows_no_sync_is_no_failure)
{
    const char *path = path_of("model");
    os.kinds = SYNC, os.number = EINVAL, os.at = 2;
    ck_assert(save(path, 3, NULL));
    ck_assert_int_eq(os.calls, 2);
    os.kinds = 0;
    ck_assert_double_eq(loaded(path), 3);
}

TEST(interrupted_and_short_writes_and_reads_are_continued)
{
    const char *path = path_of("model");
    os.kinds = ANY, os.interrupted = os.trickle = true;
    ck_assert(save(path, 4, NULL));
    ck_assert_double_eq(loaded(path), 4);
    ck_assert_int_eq(os.open, 0);
}

TEST(a_process_killed_at_any_call_leaves_the_old_file_or_the_new_one)
{
    const char *path = path_of("model");
    bool done = false, old = false, new = false, left = false;
    for (int k = 1; !done; k++) {
        left |= entries() > 1;
        ck_assert(save(path, 1, NULL));
        ck_assert_int_eq(entries(), 1); /* what the killed one left is gone */
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            os.kinds = ANY, os.at = k, os.calls = 0, os.die = true;
            _exit(save(path, 2, NULL) ? 0 : 1);
        }
        const int ended = exit_of(child);
        ck_assert(ended == 0 || ended == -SIGKILL);
        done = ended == 0;
        double value = loaded(path);
        ck_assert(value == 1 || value == 2);
        ck_assert(!new || value == 2); /* never back to the old one */
        old |= value == 1;
        new |= value == 2;
    }
    ck_assert(old && new &&left);
}

static const char abandoned[] = ".weft-0123456789abcdef.tmp";

TEST(only_what_a_killed_save_left_is_removed_by_the_next_one)
{
    const char *const others[] = { ".weft-0123456789abcde.tmp",  ".weft-0123456789abcdef.tm",
                                   ".weft-0123456789abcdeF.tmp", ".weft-0123456789abcdef.tmp2",
                                   "weft-0123456789abcdef.tmp",  ".weft-.tmp" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) make(path_of(others[i]), "x");
    ck_assert_int_eq(mkdir(path_of(".weft-000000000000000f.tmp"), 0777), 0);
    ck_assert_int_eq(mkfifo(path_of(".weft-000000000000001f.tmp"), 0666), 0);
    ck_assert_int_eq(symlink(others[0], path_of(".weft-000000000000002f.tmp")), 0);
    int held = open(path_of(".weft-000000000000003f.tmp"), O_WRONLY | O_CREAT, 0666);
    ck_assert_int_eq(flock(held, LOCK_EX), 0);
    make(path_of(abandoned), "x");
    int before = entries();
    ck_assert(wf_file_write(path_of("file"), "new", 3, NULL));
    ck_assert_int_eq(entries(), before); /* one came, one went */
    ck_assert_int_ne(access(path_of(abandoned), F_OK), 0);
    close(held);
    ck_assert(wf_file_write(path_of("file"), "new", 3, NULL));
    ck_assert_int_eq(entries(), before - 1);
    ck_assert_int_eq(os.open, 0);
}

TEST(a_saver_that_is_still_at_work_is_left_alone)
{
    int hold[2], ready[2];
    char byte = 0;
    const char *slow = path_of("slow");
    ck_assert(pipe(hold) == 0 && pipe(ready) == 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) { /* stops in the middle: until told to go on, its temporary is half written */
        wf_writer w;
        bool ok = wf_writer_begin(&w, "write", slow, NULL) && wf_writer_put(&w, "abc", 3) &&
                  write(ready[1], &byte, 1) == 1 && read(hold[0], &byte, 1) == 1 &&
                  wf_writer_put(&w, "def", 3) && wf_writer_end(&w);
        _exit(ok ? 0 : 1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    for (int i = 0; i < 3; i++) ck_assert(wf_file_write(path_of("fast"), "x", 1, NULL));
    ck_assert_int_eq(entries(), 2);
    ck_assert_int_eq(write(hold[1], &byte, 1), 1);
    ck_assert_int_eq(exit_of(child), 0);
    ck_assert(holds(slow, "abcdef"));
    ck_assert_int_eq(entries(), 2);
}

TEST(savers_in_one_folder_do_not_disturb_each_other)
{
    enum { SAVERS = 4, TIMES = 100 };
    pid_t child[SAVERS];
    const char *shared = path_of("shared");
    for (int k = 0; k < SAVERS; k++) {
        ck_assert_int_ge(child[k] = fork(), 0);
        if (child[k] > 0) continue;
        char name[16];
        wf_error error = { "" };
        snprintf(name, sizeof name, k % 2 ? "own%d" : "shared", k);
        for (int i = 0; i < TIMES; i++)
            if (!wf_file_write(path_of(name), "whole", 5, &error)) {
                fprintf(stderr, "%s\n", error.text);
                _exit(1);
            }
        _exit(0);
    }
    for (int k = 0; k < SAVERS; k++) ck_assert_int_eq(exit_of(child[k]), 0);
    ck_assert(holds(shared, "whole"));
    ck_assert_int_eq(entries(), 3);
}

TEST(when_memory_runs_out_there_is_an_error_no_leak_and_the_old_file)
{
    const char *path = path_of("model");
    ck_assert(save(path, 1, NULL));
    for (int on = 0; on < 2; on++)
        for (int what = 0; what < 2; what++) {
            int failed = 0;
            for (heap.fail_at = 1;; heap.fail_at++) {
                wf_error error = { "" };
                wf_archive *a = NULL;
                heap.asked = 0;
                heap.fail_on = on;
                bool ok = what == 0 ? save(path, 2, &error)
                                    : (a = wf_safetensors_load(path, &error)) != NULL;
                bool reached = heap.asked >= heap.fail_at;
                wf_archive_free(a);
                ck_assert_int_eq(heap.live, 0);
                ck_assert_int_eq(os.open, 0);
                ck_assert_int_eq(entries(), 1);
                ck_assert_int_eq(ok, !reached);
                if (ok) break;
                failed++;
                ck_assert_msg(strstr(error.text, "not enough memory for "), "%s", error.text);
                const int64_t at = heap.fail_at;
                heap.fail_at = 0;
                ck_assert_double_eq(loaded(path), what == 0 ? 1 : 2);
                heap.fail_at = at;
            }
            ck_assert_int_ge(failed, what == 0 ? 2 : 8);
            heap.fail_at = 0;
            if (what == 1) ck_assert(save(path, 1, NULL));
        }
}

TEST(a_symbolic_link_stays_one_and_its_file_is_replaced)
{
    const char *real = path_of("real"), *link = path_of("link"), *far = path_of("far");
    ck_assert_int_eq(mkdir(path_of("sub"), 0777), 0);
    make(real, "old");
    ck_assert_int_eq(symlink("../real", path_of("sub/link")), 0);
    ck_assert_int_eq(symlink("sub/link", link), 0);
    ck_assert_int_eq(symlink(path_of("sub/not yet"), far), 0);
    ck_assert(wf_file_write(link, "new", 3, NULL));
    ck_assert(wf_file_write(far, "there", 5, NULL));
    ck_assert(holds(path_of("real"), "new"));
    ck_assert(holds(path_of("sub/not yet"), "there"));
    struct stat info;
    ck_assert(lstat(path_of("link"), &info) == 0 && S_ISLNK(info.st_mode));
    ck_assert(lstat(path_of("sub/link"), &info) == 0 && S_ISLNK(info.st_mode));
    ck_assert(lstat(path_of("far"), &info) == 0 && S_ISLNK(info.st_mode));
    ck_assert_int_eq(entries(), 4);

    wf_error error = { "" };
    const char *loop = path_of("loop");
    ck_assert_int_eq(symlink("loop", loop), 0);
    ck_assert(!wf_file_write(loop, "x", 1, &error));
    ck_assert_str_eq(error.text,
                     worded("write %s: cannot create it: too many links lead to each other", loop));
}

TEST(the_old_files_access_is_kept_and_a_new_one_follows_the_umask)
{
    umask(027);
    const char *path = path_of("file");
    struct stat info;
    ck_assert(wf_file_write(path, "a", 1, NULL));
    ck_assert(stat(path, &info) == 0);
    ck_assert_int_eq(info.st_mode & 07777, 0640);
    static const int modes[] = { 0600, 0666, 0444, 0755, 0604 };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        ck_assert_int_eq(chmod(path, (mode_t)modes[i]), 0);
        ck_assert(wf_file_write(path, "b", 1, NULL));
        ck_assert(stat(path, &info) == 0);
        ck_assert_int_eq(info.st_mode & 07777, modes[i]);
    }
}

TEST(what_is_not_a_file_is_refused_by_name)
{
    static const struct {
        const char *name, *writing, *reading;
    } cases[] = {
        { "folder", "it is a folder", "it is a folder" },
        { "folder/", "it is a folder", "it is a folder" },
        { "pipe", "it is not a regular file", "it is not a regular file" },
        { "/dev/zero", NULL, "it is not a regular file" }, /* one that is saved to might be gone */
        { "/dev/null", NULL, "it is not a regular file" },
        { "absent/file", "cannot open its folder: no such file or folder",
          "no such file or folder" },
        { "file/below", "cannot open its folder: a part of the path is not a folder",
          "a part of the path is not a folder" },
    };
    ck_assert_int_eq(mkdir(path_of("folder"), 0777), 0);
    ck_assert_int_eq(mkfifo(path_of("pipe"), 0666), 0);
    make(path_of("file"), "x");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wf_error error = { "" }, other = { "" };
        const char *path = *cases[i].name == '/' ? cases[i].name : path_of(cases[i].name);
        ck_assert(!cases[i].writing || !wf_safetensors_save(path, NULL, 0, NULL, 0, &error));
        if (cases[i].writing)
            ck_assert_str_eq(error.text, worded("save %s: %s", path, cases[i].writing));
        os.moved = 0, heap.largest = 0;
        ck_assert_ptr_null(wf_safetensors_load(path, &other));
        ck_assert_str_eq(other.text, worded("load %s: %s", path, cases[i].reading));
        ck_assert(os.moved == 0 && heap.largest == 0 && os.open == 0); /* at once */
    }
    ck_assert_int_eq(entries(), 3);
    wf_error error = { "" };
    ck_assert(!wf_safetensors_save(NULL, NULL, 0, NULL, 0, &error));
    ck_assert_str_eq(error.text, "save (no path): no path was given");
    error.text[0] = 0;
    ck_assert_ptr_null(wf_safetensors_load("", &error));
    ck_assert_str_eq(error.text, "load : no path was given");
}

TEST(a_path_that_is_too_long_is_refused_and_shown_shortened)
{
    char path[6000];
    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = 0;
    wf_error error = { "" };
    ck_assert(!wf_file_write(path, "x", 1, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "ppp...ppp"));
    ck_assert_ptr_nonnull(strstr(error.text, ": cannot create it: the name is too long"));
    error.text[0] = 0;
    ck_assert_ptr_null(wf_file_read(path, 0, NULL, &error));
    ck_assert_ptr_nonnull(strstr(error.text, ": the name is too long"));
    error.text[0] = 0;
    ck_assert_ptr_null(wf_file_read("two\nlines\x1b[2J", 0, NULL, &error));
    ck_assert_str_eq(error.text, "read two?lines?[2J: no such file or folder");
}

TEST(a_file_in_the_present_folder_needs_no_slash)
{
    char here[512];
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    ck_assert_int_eq(chdir(harness_folder()), 0);
    ck_assert(wf_file_write("file", "x", 1, NULL));
    ck_assert(wf_file_write("file", "yz", 2, NULL));
    ck_assert(holds("file", "yz"));
    ck_assert_int_eq(chdir(here), 0);
    ck_assert_int_eq(entries(), 1);
}

#ifndef __SANITIZE_ADDRESS__ /* whose frames are larger */
static void *save_and_load(void *path)
{
    return save(path, 3, NULL) && loaded(path) == 3 ? path : NULL;
}

TEST(a_save_and_a_load_need_little_stack)
{
    char *path = (char *)(uintptr_t)path_of("model");
    pthread_attr_t small;
    pthread_t thread;
    void *result;
    ck_assert_int_eq(pthread_attr_init(&small), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&small, 40 * 1024), 0);
    ck_assert_int_eq(pthread_create(&thread, &small, save_and_load, path), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_ptr_eq(result, path);
}
#endif

/* ---- reading ---- */

TEST(a_file_is_read_whole_with_a_zero_after_it_or_not_at_all)
{
    const char *path = path_of("file");
    int64_t n = -1;
    ck_assert(wf_file_write(path, "a\0b", 3, NULL));
    char *bytes = wf_file_read(path, 3, &n, NULL);
    ck_assert_int_eq(n, 3);
    ck_assert_mem_eq(bytes, "a\0b\0", 4);
    wf_release(bytes);
    wf_error error = { "" };
    ck_assert_ptr_null(wf_file_read(path, 2, &n, &error));
    ck_assert_str_eq(error.text, worded("read %s: 3 bytes are more than the 2 allowed", path));
    ck_assert_int_eq(n, 0);
    ck_assert(wf_file_write(path, NULL, 0, NULL));
    bytes = wf_file_read(path, 0, &n, NULL);
    ck_assert_int_eq(n, 0);
    ck_assert_mem_eq(bytes, "", 1);
    wf_release(bytes);
    ck_assert(!wf_file_write(path, NULL, 1, NULL));
}

TEST(whatever_call_fails_in_a_load_is_described_and_leaves_nothing)
{
    const char *path = path_of("model");
    ck_assert(save(path, 1, NULL));
    static const struct {
        int kind, number;
        const char *said;
    } faults[] = {
        { OPEN, EACCES, "permission denied" },
        { READ, EIO, "cannot read: input/output error" },
        { SIZE, EIO, "cannot tell its size: input/output error" },
    };
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        os.trickle = true, os.kinds = faults[f].kind, os.number = faults[f].number, os.at = 0,
        os.calls = 0;
        wf_archive_free(wf_safetensors_load(path, NULL));
        int calls = os.calls;
        ck_assert_int_ge(calls, 1);
        for (int k = 1; k <= calls; k += calls > 100 ? 97 : 1) {
            wf_error error = { "" };
            os.at = k, os.calls = 0;
            ck_assert_ptr_null(wf_safetensors_load(path, &error));
            ck_assert_str_eq(error.text, worded("load %s: %s", path, faults[f].said));
            ck_assert_int_eq(os.open, 0);
            ck_assert_int_eq(heap.live, 0);
        }
    }
}

TEST(a_file_that_changes_while_it_is_read_is_refused)
{
    const char *path = path_of("file");
    make(path, "0123456789");
    const char *model = path_of("model");
    ck_assert(save(model, 1, NULL));
    for (os.grow = -2; os.grow <= 2; os.grow++) {
        wf_error error = { "" };
        char *bytes = wf_file_read(path, 0, NULL, &error);
        if (os.grow)
            ck_assert_str_eq(error.text,
                             worded("read %s: its size changed from %d bytes while it was read",
                                    path, 10 + (int)os.grow));
        else
            ck_assert_mem_eq(bytes, "0123456789", 11);
        ck_assert_int_eq(bytes != NULL, os.grow == 0);
        wf_release(bytes);
        error.text[0] = 0;
        OWN(wf_archive) *a = wf_safetensors_load(model, &error);
        ck_assert_int_eq(a != NULL, os.grow == 0);
        ck_assert_msg(a || strstr(error.text, os.grow < 0 ? "of the data, which has only"
                                                          : "follow the last tensor"),
                      "%s", error.text);
    }
    ck_assert_int_eq(heap.live, 0);
    ck_assert_int_eq(os.open, 0);
}

/* A file of 5 GB that takes no place on the disk: so many bytes, then nothing but zeros. */
static const char *sparse(const char *bytes, size_t n)
{
    const char *path = path_of("sparse");
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(truncate(path, 5000000000), 0);
    return path;
}

TEST(a_file_is_judged_by_its_header_before_its_numbers_are_read)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *said;
        int64_t most; /* bytes read and asked for */
    } files[] = {
#define BYTES(text) text, sizeof(text) - 1
        { BYTES(""), "the header is empty", 1024 },
        { BYTES("hello, world"),
          "this is no safetensors file: its header would take 8583909746840200552 bytes, and the "
          "format allows 100000000",
          1024 },
        { BYTES("\0\341\365\5\0\0\0\0"), "header byte 0: expected '{', found 0x00", 1024 },
        { BYTES("\0\0\1\0\0\0\0\0{}"), "header byte 2: more than spaces after its end", 70000 },
        { BYTES("\2\0\0\0\0\0\0\0{}"), "4999999990 bytes follow the last tensor", 1024 },
        { BYTES(
              "\66\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"),
          "4999999930 bytes follow the last tensor", 2048 },
#undef BYTES
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        wf_error error = { "" };
        const char *path = sparse(files[i].bytes, files[i].n);
        heap.largest = 0, os.moved = 0;
        ck_assert_ptr_null(wf_safetensors_load(path, &error));
        ck_assert_str_eq(error.text, worded("load %s: %s", path, files[i].said));
        ck_assert_int_le(os.moved, files[i].most);
        ck_assert_uint_le(heap.largest, (size_t)files[i].most);
        ck_assert_int_eq(heap.live, 0);
        ck_assert_int_eq(os.open, 0);
    }
}
