/* Checked arithmetic: the one place where sizes are multiplied and added before memory is asked
 * for. */
#ifndef WEFT_TENSOR_SIZE_H
#define WEFT_TENSOR_SIZE_H

#include "tensor/api.h"
#include "tensor/limits.h"

/* Each returns false, and leaves *out alone, when the result does not fit or an operand is
 * negative. */
static inline bool wf_size_mul(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool wf_size_add(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;
    if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* a rounded up to a multiple of unit (a power of two). */
static inline bool wf_size_align(int64_t a, int64_t unit, int64_t *out)
{
    int64_t r;
    if (!wf_size_add(a, unit - 1, &r)) return false;
    *out = r & ~(unit - 1);
    return true;
}

/* What is worked with, cut into parts that are aligned to WF_ALIGNMENT: first only counted (memory
 * NULL), then handed out. */
typedef struct wf_parts {
    void *memory;
    int64_t used;                                  /* -1: too much */
} wf_parts;

/* rows times columns items of `size` bytes; NULL while only counting. */
static inline void *wf_part(wf_parts *p, int64_t rows, int64_t columns, int64_t size)
{
    int64_t items, bytes, begin = p->used;
    if (begin < 0 || !wf_size_mul(rows, columns, &items) || !wf_size_mul(items, size, &bytes) ||
        !wf_size_add(begin, bytes, &bytes) || !wf_size_align(bytes, WF_ALIGNMENT, &p->used)) {
        p->used = -1;
        return NULL;
    }
    return p->memory ? (char *)p->memory + begin : NULL;
}

#endif
