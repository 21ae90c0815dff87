/* A table from paths to what bears them: the parameters of a tree, and its modules. Looking up is
 * one step on average, however many there are. */
#include "autograd/private.h"
#include "tensor/runtime.h"

#include <string.h>

struct path_entry {
    uint64_t hash;
    const char *path; /* NULL: a free place */
    void *item;
};

/* FNV-1a, piece by piece. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001B3);
    return hash;
}

static uint64_t hash_joined(const char *path, const char *name)
{
    uint64_t hash = hash_text(UINT64_C(0xCBF29CE484222325), path);
    if (*path) hash = hash_text(hash, ".");
    hash = hash_text(hash, name);
    return hash ^ hash >> 29;
}

/* Is `whole` the path joined with the name? */
static bool is_joined(const char *whole, const char *path, const char *name)
{
    size_t n = strlen(path);
    if (strncmp(whole, path, n) != 0) return false;
    if (n && whole[n++] != '.') return false;
    return !strcmp(whole + n, name);
}

void *paths_find(const paths *t, const char *path, const char *name)
{
    if (!t->n) return NULL;
    uint64_t hash = hash_joined(path, name), mask = (uint64_t)t->room - 1;
    for (uint64_t at = hash & mask; t->at[at].path; at = (at + 1) & mask)
        if (t->at[at].hash == hash && is_joined(t->at[at].path, path, name)) return t->at[at].item;
    return NULL;
}

static void put(path_entry *all, uint64_t mask, const path_entry *entry)
{
    uint64_t at = entry->hash & mask;
    while (all[at].path) at = (at + 1) & mask;
    all[at] = *entry;
}

bool paths_add(paths *t, const char *path, void *item)
{
    if (2 * (t->n + 1) > t->room) {
        int64_t room = t->room ? 2 * t->room : 64;
        path_entry *more = wf_alloc_zero((size_t)room * sizeof *more);
        if (!more) return false;
        for (int64_t i = 0; i < t->room; i++)
            if (t->at[i].path) put(more, (uint64_t)room - 1, &t->at[i]);
        wf_release(t->at);
        t->at = more;
        t->room = room;
    }
    path_entry entry = { hash_joined("", path), path, item };
    put(t->at, (uint64_t)t->room - 1, &entry);
    t->n++;
    return true;
}

void paths_free(paths *t)
{
    wf_release(t->at);
    *t = (paths){ 0 };
}
