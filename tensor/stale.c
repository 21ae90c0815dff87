/* Temporaries that killed saves left: those that are being written are locked, and what can be
 * locked is nobody's any more. Locks and lists are the system's own, beside the runtime's table of
 * files: where a table gives descriptors of its own, nothing is locked and nothing swept. */
#include "tensor/io_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Is this the name of a temporary of ours? */
static bool temporary_name(const char *name)
{
    return strncmp(name, ".weft-", 6) == 0 && strspn(name + 6, "0123456789abcdef") == 16 &&
           strcmp(name + 22, ".tmp") == 0;
}

/* Removes a temporary that nobody is writing any more: it can be locked, and was not put in its
 * place meanwhile. */
static void remove_stale(int folder, const char *name)
{
    struct stat info, now;
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode) ||
        info.st_uid != geteuid())
        return;
    int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return;
    if (flock(file, LOCK_EX | LOCK_NB) == 0 && fstat(file, &info) == 0 &&
        fstatat(folder, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && info.st_ino == now.st_ino &&
        info.st_dev == now.st_dev)
        unlinkat(folder, name, 0);
    close(file);
}

/* What killed savers left in this folder goes, before room is needed. That it cannot is nobody's
 * failure. */
void wf_stale_sweep(const char *folder)
{
    DIR *all = opendir(folder);
    if (!all) return;
    for (struct dirent *one; (one = readdir(all));)
        if (temporary_name(one->d_name)) remove_stale(dirfd(all), one->d_name);
    closedir(all);
}

bool wf_stale_lock(int file, int *lock)
{
    struct stat info;
    *lock = fcntl(file, F_DUPFD_CLOEXEC, 0); /* outlives the close that is checked */
    if (*lock < 0) return true;
    while (flock(*lock, LOCK_EX) != 0 && errno == EINTR) {}
    if (fstat(*lock, &info) != 0 || info.st_nlink > 0) return true;
    wf_stale_unlock(lock);
    return false;
}

void wf_stale_unlock(int *lock)
{
    if (*lock >= 0) close(*lock);
    *lock = -1;
}
