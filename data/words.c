/* Words by their hash, and lists that grow: what vocabularies and metrics keep text in. */
#include "data/words_private.h"

#include "data/text_private.h"
#include "tensor/size.h"

#include <string.h>

/* ---- memory that grows ---- */

void *growing_more(growing *g, int64_t more, const char *what, wf_error *error)
{
    int64_t need, room;
    if (!wf_size_add(g->bytes, more, &need) || !wf_size_mul(need, 2, &room))
        need = room = INT64_MAX;
    if (need > g->room) {
        char *at = text_memory(wf_alloc((size_t)room), room, what, error);
        if (!at) return NULL;
        if (g->bytes) memcpy(at, g->at, (size_t)g->bytes);
        wf_release(g->at);
        g->at = at;
        g->room = room;
    }
    char *place = g->at + g->bytes;
    g->bytes += more;
    return place;
}

void growing_free(growing *g)
{
    wf_release(g->at);
    *g = (growing){ 0 };
}

/* ---- words by their hash ---- */

static uint64_t hash_of(const char *word, int64_t n)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (int64_t i = 0; i < n; i++) h = (h ^ (unsigned char)word[i]) * UINT64_C(0x100000001B3);
    return h ^ h >> 32;
}

word_entry *words_at(const word_table *w, int64_t i)
{
    return (word_entry *)(void *)w->entries.at + i;
}

const char *words_letters(const word_table *w, int64_t i)
{
    return w->letters.at + words_at(w, i)->at;
}

/* The slot where the word is, or would be. */
static int32_t *slot_of(const word_table *w, const char *letters, int64_t n)
{
    const uint64_t mask = (uint64_t)w->slots - 1;
    for (uint64_t at = hash_of(letters, n) & mask;; at = (at + 1) & mask) {
        const int32_t found = w->slot[at];
        if (!found || (words_at(w, found - 1)->n == n &&
                       !memcmp(words_letters(w, found - 1), letters, (size_t)n)))
            return &w->slot[at];
    }
}

static bool more_slots(word_table *w, const char *what, wf_error *error)
{
    if (2 * (w->n + 1) <= w->slots) return true;
    const int64_t slots = w->slots ? 2 * w->slots : 1024;
    const int64_t bytes = slots * (int64_t)sizeof *w->slot;
    int32_t *slot = text_memory(wf_alloc_zero((size_t)bytes), bytes, what, error);
    if (!slot) return false;
    wf_release(w->slot);
    w->slot = slot;
    w->slots = slots;
    for (int64_t i = 0; i < w->n; i++)
        *slot_of(w, words_letters(w, i), words_at(w, i)->n) = (int32_t)i + 1;
    return true;
}

int64_t words_enter(word_table *w, const char *letters, int64_t n, const char *what,
                    wf_error *error)
{
    if (!more_slots(w, what, error)) return -1;
    int32_t *slot = slot_of(w, letters, n);
    if (*slot) return *slot - 1;
    if (w->n == INT32_MAX - 1) {
        wf_error_set(error, "%s: there are more words than ids", what);
        return -1;
    }
    char *copy = growing_more(&w->letters, n + 1, what, error);
    word_entry *e = copy ? growing_more(&w->entries, sizeof *e, what, error) : NULL;
    if (!e) return -1;
    memcpy(copy, letters, (size_t)n);
    copy[n] = 0;
    *e = (word_entry){ .at = copy - w->letters.at, .n = n };
    *slot = (int32_t)++w->n;
    return w->n - 1;
}

int64_t words_find(const word_table *w, const char *letters, int64_t n)
{
    return w->slots ? *slot_of(w, letters, n) - 1 : -1;
}

void words_free(word_table *w)
{
    growing_free(&w->entries);
    growing_free(&w->letters);
    wf_release(w->slot);
    *w = (word_table){ .n = 0 };
}
