/* The tape's memory: arenas, a pool of blocks, growing lists. */
#ifndef WEFT_AUTOGRAD_ARENA_PRIVATE_H
#define WEFT_AUTOGRAD_ARENA_PRIVATE_H

#include "tensor/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of what a tiny op's way leads past: where one fails, for example. */
#define COLD __attribute__((cold))

/* A bump allocator of chunks, which stay: a reset begins again with the first. So what a stale
 * pointer shows is at least memory, and can be refused. Under a sanitizer what was given up is
 * poisoned and rests, before it is handed out again. */
typedef struct chunk chunk;
#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
enum { ARENA_WATCHED = true };
#else
enum { ARENA_WATCHED = false };
#endif
enum { ARENA_RESTS = 3 };
typedef struct arena {
    chunk *first, *current;
    char *at, *end;           /* what is left of the current chunk */
    int64_t total;            /* bytes in all chunks */
    int64_t before;           /* bytes in use before the current chunk */
    chunk *resting[ARENA_RESTS]; /* under a sanitizer: what earlier steps used, newest first */
    int stays;                /* under a sanitizer: returns since memory was handed out again */
} arena;

/* `bytes` bytes at a multiple of align (a power of two), or NULL when there is no memory. */
void *arena_take_more(arena *a, int64_t bytes, int64_t align);
static inline void *arena_take(arena *a, int64_t bytes, int64_t align)
{
    uintptr_t at = ((uintptr_t)a->at + (uintptr_t)align - 1) & ~((uintptr_t)align - 1);
    if (ARENA_WATCHED || !a->current || at > (uintptr_t)a->end ||
        bytes > (int64_t)((uintptr_t)a->end - at))
        return arena_take_more(a, bytes, align);
    a->at = (char *)at + bytes;
    return (char *)at;
}

/* Gives back what was taken last from `from` on, if it ends at `end`. */
static inline void arena_shorten(arena *a, void *end, void *from)
{
    if (!ARENA_WATCHED && a->at == end) a->at = from;
}

void arena_reset(arena *a);
void arena_free(arena *a);
int64_t arena_used(const arena *a);
/* Where the arena stands, and back to there: what was taken since is free again. */
void arena_place(const arena *a, uint64_t place[3]);
void arena_return(arena *a, const uint64_t place[3]);

/* Blocks given back are handed out again by size, which is rounded up to one of its classes. */
enum { POOL_CLASSES = 8 * 56 };
typedef struct pool_block pool_block;
typedef struct pool {
    arena arena;
    pool_block *free[POOL_CLASSES];
} pool;

struct pool_block {
    pool_block *next;
};

void *pool_take_more(pool *p, int64_t bytes);
void pool_give_more(pool *p, void *block, int64_t bytes);

/* Of a small block the class is a division: the ways of a tiny op. */
enum { POOL_UNIT = WF_ALIGNMENT, POOL_SMALL = 8 * POOL_UNIT };
static inline pool_block **pool_small(pool *p, int64_t bytes)
{
    if (ARENA_WATCHED || bytes <= 0 || bytes > POOL_SMALL) return NULL;
    return &p->free[(bytes - 1) / POOL_UNIT];
}

static inline void *pool_take(pool *p, int64_t bytes)
{
    pool_block **bucket = pool_small(p, bytes), *block = bucket ? *bucket : NULL;
    if (!block) return pool_take_more(p, bytes);
    *bucket = block->next;
    return block;
}

static inline void pool_give(pool *p, void *block, int64_t bytes)
{
    pool_block **bucket = pool_small(p, bytes), *b = block;
    if (!bucket) {
        pool_give_more(p, block, bytes);
        return;
    }
    b->next = *bucket;
    *bucket = b;
}

void pool_reset(pool *p);

/* A growing array that lives as long as its tape. */
typedef struct list {
    void *at;
    int64_t n, room;
} list;

/* Room for one more item at the end of a list, or NULL when there is no memory. */
void *list_add(list *l, size_t item);

#endif
