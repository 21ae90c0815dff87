/* Checked arithmetic: the one place where sizes are multiplied and added before memory is asked
 * for. */
#ifndef WEFT_TENSOR_SIZE_H
#define WEFT_TENSOR_SIZE_H

#include "tensor/api.h"

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

#endif
