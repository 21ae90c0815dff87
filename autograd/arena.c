/* The tape's memory: a bump allocator whose chunks merge at reset, and a pool on top of one that
 * hands blocks out again by size. A steady loop therefore asks the heap for nothing. */
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

enum { ALIGN = 64, CHUNK = 64 * 1024 };

struct chunk {
    chunk *next;
    int64_t size; /* bytes behind this header */
    char *at;     /* where the used part ended when the arena moved on */
};

static char *chunk_begin(chunk *c)
{
    return (char *)c + ALIGN;
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
    if (!wf_size_align(bytes, ALIGN, &bytes) || !wf_size_add(bytes, ALIGN, &all)) return NULL;
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
    if (a->current) a->current->at = a->at;
    while (a->current && a->current->next) {
        chunk *next = a->current->next;
        if (next->size >= bytes) {
            arena_enter(a, next);
            return true;
        }
        a->current = next;
        next->at = chunk_begin(next);
    }
    int64_t size = a->total > CHUNK ? a->total : CHUNK;
    if (size < bytes) size = bytes;
    chunk *c = chunk_new(a, size);
    if (!c && size > bytes) c = chunk_new(a, bytes);
    if (!c) {
        /* Leave the arena at the end of its last chunk: the next take, if smaller, tries again. */
        if (a->current) a->at = a->end = chunk_begin(a->current) + a->current->size;
        return false;
    }
    if (a->current)
        a->current->next = c;
    else
        a->first = c;
    arena_enter(a, c);
    return true;
}

void *arena_take(arena *a, int64_t bytes, int64_t align)
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
    int64_t used = 0;
    for (chunk *c = a->first; c; c = c->next) {
        if (c == a->current) return used + (a->at - chunk_begin(c));
        used += c->at - chunk_begin(c);
    }
    return used;
}

void arena_free(arena *a)
{
    for (chunk *c = a->first; c;) {
        chunk *next = c->next;
        ASAN_UNPOISON_MEMORY_REGION(chunk_begin(c), (size_t)c->size);
        wf_release(c);
        c = next;
    }
    *a = (arena){ 0 };
}

void arena_reset(arena *a)
{
    if (!a->first) return;
    if (a->first->next) {
        int64_t total = a->total;
        arena_free(a);
        /* Without memory for the whole the arena starts small again, which is no error. */
        a->first = chunk_new(a, total);
        if (!a->first) return;
    }
    ASAN_POISON_MEMORY_REGION(chunk_begin(a->first), (size_t)a->first->size);
    arena_enter(a, a->first);
}

void arena_place(const arena *a, uint64_t place[2])
{
    place[0] = (uint64_t)(uintptr_t)a->current;
    place[1] = (uint64_t)(uintptr_t)a->at;
}

void arena_return(arena *a, const uint64_t place[2])
{
    if (!place[0]) {
        /* The mark was set before the first chunk. */
        if (a->first) arena_enter(a, a->first);
        return;
    }
    chunk *c = (chunk *)(uintptr_t)place[0];
    arena_enter(a, c);
    a->at = (char *)(uintptr_t)place[1];
    ASAN_POISON_MEMORY_REGION(a->at, (size_t)(a->end - a->at));
}

struct pool_block {
    pool_block *next;
    int64_t bytes;
};

static int64_t pool_round(int64_t bytes)
{
    return bytes <= ALIGN ? ALIGN : (bytes + ALIGN - 1) & ~(int64_t)(ALIGN - 1);
}

static pool_block **pool_bucket(pool *p, int64_t bytes)
{
    uint64_t units = (uint64_t)bytes / ALIGN;
    return &p->free[(units ^ units >> 6 ^ units >> 12) % POOL_BUCKETS];
}

void *pool_take(pool *p, int64_t bytes)
{
    if (bytes > INT64_MAX - 2 * ALIGN) return NULL;
    bytes = pool_round(bytes);
    for (pool_block **at = pool_bucket(p, bytes); *at; at = &(*at)->next)
        if ((*at)->bytes == bytes) {
            pool_block *block = *at;
            *at = block->next;
            ASAN_UNPOISON_MEMORY_REGION(block, (size_t)bytes);
            return block;
        }
    return arena_take(&p->arena, bytes, ALIGN);
}

void pool_give(pool *p, void *block, int64_t bytes)
{
    bytes = pool_round(bytes);
    pool_block **bucket = pool_bucket(p, bytes), *b = block;
    *b = (pool_block){ .next = *bucket, .bytes = bytes };
    *bucket = b;
    ASAN_POISON_MEMORY_REGION((char *)block + sizeof *b, (size_t)bytes - sizeof *b);
}

void pool_reset(pool *p)
{
    memset(p->free, 0, sizeof p->free);
    arena_reset(&p->arena);
}
