/* Which files a program reads and writes: none may replace another. */
#include <string.h>

#include "tensor/runtime.h"
#include "tensor/text.h"
#include "train/private.h"

struct named_file {
    named_file *next;
    const char *option; /* that it is written for; NULL: it is read */
    const char *what;   /* for messages; NULL: what the option writes */
    char path[];
};

/* Files that are of no use to compare: none, standard input. */
static bool is_none(const char *path)
{
    return !path || !strcmp(path, "-");
}

/* Would one of the two replace the other? Says so. A saved model may take the place of the one that
 * was loaded. */
static bool collide(wf_run *run, const named_file *a, const named_file *b)
{
    const named_file *writes = b->option ? b : a, *other = writes == b ? a : b;
    const bool one_kind = a->what && b->what && !strcmp(a->what, b->what);
    if (!writes->option || one_kind || !wf_file_same(a->path, b->path)) return false;
    char what[64];
    wf_format(what, sizeof what, "what --%s writes", other->option ? other->option : "");
    wf_run_fail(run, "option --%s: %s would replace %s", writes->option, writes->path,
                other->what ? other->what : what);
    return true;
}

bool wf_run_name_file(wf_run *run, const char *option, const char *what, const char *path)
{
    if (is_none(path)) return true;
    const size_t bytes = strlen(path) + 1;
    named_file *file = wf_alloc(sizeof *file + bytes);
    if (!file) return wf_run_fail(run, "run: not enough memory");
    *file = (named_file){ run->files, option, what };
    memcpy(file->path, path, bytes);
    bool ok = true;
    for (const named_file *f = run->files; ok && f; f = f->next) ok = !collide(run, f, file);
    run->files = file;
    return ok;
}

void wf_run_forget_files(wf_run *run)
{
    while (run->files) {
        named_file *next = run->files->next;
        wf_release(run->files);
        run->files = next;
    }
}

bool wf_run_reads(wf_run *run, const char *path)
{
    return wf_run_sound(run) && wf_run_name_file(run, NULL, "what is read", path);
}

bool wf_run_writes(wf_run *run, const char *option, const char *path)
{
    if (!wf_run_sound(run)) return false;
    if (!path) return true;
    if (!option) return wf_run_fail(run, "wf_run_writes: which option names %s?", path);
    if (!*path || !strcmp(path, "-"))
        return wf_run_fail(run, "option --%s: '%s' is no file", option, path);
    return wf_run_name_file(run, option, NULL, path) &&
           (wf_file_can_write(path, &run->error) || wf_run_fail(run, "write"));
}
