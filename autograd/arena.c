/* The tape's memory: a bump allocator that keeps its chunks, and a pool on top of one that hands
 * blocks out again by size. A steady loop therefore asks the heap for nothing. */
#include "autograd/private.h"
#include "tensor/runtime.h"
#include "tensor/size.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { CHUNK = 64 * 1024, STAYS = 8, STAY_BYTES = 64 << 20 };

struct chunk {
    chunk *next;
    int64_t size; /* bytes behind this header */
    char *at;     /* where the used part ended when the arena moved on */
};

static char *chunk_begin(chunk *c)
{
    return (char *)c + WF_ALIGNMENT;
}

static void arena_enter(arena *a, chunk *c)
{
    a->current = c;
    a->at = chunk_begin(c);
    a->end = a->at + c->size;
}

static chunk *chunk_new(arena *a, int64_t bytes)
{
    int64_t all;
    if (!wf_size_align(bytes, WF_ALIGNMENT, &bytes) || !wf_size_add(bytes, WF_ALIGNMENT, &all))
        return NULL;
    chunk *c = wf_alloc((size_t)all);
    if (!c) return NULL;
    *c = (chunk){ .size = bytes };
    ASAN_POISON_MEMORY_REGION(chunk_begin(c), (size_t)bytes);
    a->total += bytes;
    return c;
}

/* Moves to a chunk with room for `bytes`: one kept from before, or a new one as large as all so
 * far. */
static bool arena_grow(arena *a, int64_t bytes)
{
    while (a->current && a->current->next) {
        a->before += a->at - chunk_begin(a->current);
        arena_enter(a, a->current->next);
        if (a->current->size >= bytes) return true;
    }
    int64_t size = a->total > CHUNK ? a->total : CHUNK;
    if (size < bytes) size = bytes;
    chunk *c = chunk_new(a, size);
    if (!c && size > bytes) c = chunk_new(a, bytes);
    /* Without memory the arena stays in its last chunk: the next take, if smaller, tries again. */
    if (!c) return false;
    if (a->current) {
        a->before += a->at - chunk_begin(a->current);
        a->current->next = c;
    } else {
        a->first = c;
    }
    arena_enter(a, c);
    return true;
}

void *arena_take_more(arena *a, int64_t bytes, int64_t align)
{
    uintptr_t at = ((uintptr_t)a->at + (uintptr_t)align - 1) & ~((uintptr_t)align - 1);
    if (!a->current || bytes > (int64_t)((uintptr_t)a->end - at) || at > (uintptr_t)a->end) {
        if (!arena_grow(a, bytes)) return NULL;
        at = (uintptr_t)a->at;
    }
    a->at = (char *)at + bytes;
    ASAN_UNPOISON_MEMORY_REGION((void *)at, (size_t)bytes);
    return (void *)at;
}

int64_t arena_used(const arena *a)
{
    return a->current ? a->before + (a->at - chunk_begin(a->current)) : 0;
}

static void chunks_free(chunk *c)
{
    while (c) {
        chunk *next = c->next;
        ASAN_UNPOISON_MEMORY_REGION(chunk_begin(c), (size_t)c->size);
        wf_release(c);
        c = next;
    }
}

void arena_free(arena *a)
{
    chunks_free(a->first);
    for (int i = 0; i < ARENA_RESTS; i++) chunks_free(a->resting[i]);
    *a = (arena){ 0 };
}

/* Poisons from a place in a chunk to where the arena stands, and counts the bytes. */
static int64_t give_up(arena *a, chunk *c, char *at)
{
    int64_t bytes = 0;
    for (; c; c = c->next, at = c ? chunk_begin(c) : NULL) {
        char *end = c == a->current ? a->at : chunk_begin(c) + c->size;
        ASAN_POISON_MEMORY_REGION(at, (size_t)(end - at));
        bytes += end - at;
        if (c == a->current) break;
    }
    return bytes;
}

void arena_reset(arena *a)
{
    if (ARENA_WATCHED) {
        give_up(a, a->first, a->first ? chunk_begin(a->first) : NULL);
        chunk *rested = a->resting[ARENA_RESTS - 1];
        for (int i = ARENA_RESTS - 1; i > 0; i--) a->resting[i] = a->resting[i - 1];
        a->resting[0] = a->first;
        a->first = rested;
        a->current = NULL;
        a->at = a->end = NULL;
        a->total = 0;
        for (chunk *c = a->first; c; c = c->next) a->total += c->size;
    }
    a->before = 0;
    a->stays = 0;
    if (a->first) arena_enter(a, a->first);
}

void arena_place(const arena *a, uint64_t place[3])
{
    place[0] = (uint64_t)(uintptr_t)a->current;
    place[1] = (uint64_t)(uintptr_t)a->at;
    place[2] = (uint64_t)arena_used(a);
}

void arena_return(arena *a, const uint64_t place[3])
{
    chunk *c = (chunk *)(uintptr_t)place[0];
    char *at = (char *)(uintptr_t)place[1];
    if (!c && !(c = a->first)) return;
    if (!place[0]) at = chunk_begin(c); /* the mark was set before the first chunk */
    if (ARENA_WATCHED) {
        /* What comes next is made behind what was given up, for some returns at least. */
        int64_t bytes = give_up(a, c, at);
        if (++a->stays < STAYS || bytes < STAY_BYTES) {
            a->before = (int64_t)place[2] - (a->at - chunk_begin(a->current));
            return;
        }
        a->stays = 0;
    }
    arena_enter(a, c);
    a->at = at;
    a->before = (int64_t)place[2] - (at - chunk_begin(c));
}

/* A block's class, and its size: multiples of 64 up to 512, then eight to each doubling. All free
 * blocks of a class are one list, so that to take and to give is one step however many sizes a
 * tape has seen. */
static int pool_class(int64_t bytes, int64_t *size)
{
    uint64_t units = bytes <= WF_ALIGNMENT ? 1
                                           : ((uint64_t)bytes + WF_ALIGNMENT - 1) / WF_ALIGNMENT;
    if (units <= 8) {
        *size = (int64_t)units * WF_ALIGNMENT;
        return (int)units - 1;
    }
    int shift = 60 - __builtin_clzll(units - 1); /* 8 <= (units - 1) >> shift < 16 */
    uint64_t eighths = ((units - 1) >> shift) + 1;
    *size = (int64_t)(eighths << shift) * WF_ALIGNMENT;
    return 8 * shift + (int)eighths - 1;
}

void *pool_take_more(pool *p, int64_t bytes)
{
    if (bytes > INT64_MAX / 4) return NULL;
    int64_t size;
    pool_block **bucket = &p->free[pool_class(bytes, &size)], *block = *bucket;
    if (!block) return arena_take(&p->arena, size, WF_ALIGNMENT);
    *bucket = block->next;
    ASAN_UNPOISON_MEMORY_REGION(block, (size_t)bytes);
    return block;
}

void pool_give_more(pool *p, void *block, int64_t bytes)
{
    int64_t size;
    pool_block **bucket = &p->free[pool_class(bytes, &size)], *b = block;
    *b = (pool_block){ .next = *bucket };
    *bucket = b;
    ASAN_POISON_MEMORY_REGION((char *)block + sizeof *b, (size_t)size - sizeof *b);
}

void pool_reset(pool *p)
{
    memset(p->free, 0, sizeof p->free);
    arena_reset(&p->arena);
}
