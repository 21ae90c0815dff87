/* The loops of the fused attention, compiled once per dispatch level. */
#include "autograd/attention_private.h"
#include "autograd/random_private.h"

#include <math.h>

#ifdef __clang__
/* It does not vectorise the maximum of a row, for the sake of NaN, and says so. */
#pragma clang diagnostic ignored "-Wpass-failed"
#endif

#define ROW static inline __attribute__((always_inline))

ROW int see_row(int64_t n, const int32_t *mask, int64_t mask_col, int64_t last, int32_t *seen)
{
    int32_t some = 0, all = 1;
#pragma omp simd reduction(| : some) reduction(& : all)
    for (int64_t j = 0; j < n; j++) {
        const int32_t there = mask ? mask[j * mask_col] != 0 : 1;
        seen[j] = j <= last ? there : 0;
        some |= seen[j];
        all &= seen[j];
    }
    return some | (all ? 0 : 2);
}

static int see(int64_t rows, int64_t n, const int32_t *mask, int64_t mask_row, int64_t mask_col,
               int64_t last, int32_t *seen, int64_t row)
{
    int found = 0;
    for (int64_t r = 0; r < rows; r++) {
        if (!mask)
            found |= see_row(n, NULL, 1, last + r, seen + r * row);
        else if (mask_col == 1)
            found |= see_row(n, mask + r * mask_row, 1, last + r, seen + r * row);
        else
            found |= see_row(n, mask + r * mask_row, mask_col, last + r, seen + r * row);
    }
    return found;
}

static void draw(int64_t first, int64_t n, double p, uint64_t key, uint64_t counter, int32_t *kept)
{
    const uint32_t below = dropped_below(p);
    uint32_t word[DROPOUT_BLOCK];
    for (int64_t at = first / DROPOUT_BLOCK * DROPOUT_BLOCK; at < first + n; at += DROPOUT_BLOCK) {
        const int64_t from = at < first ? first - at : 0;
        const int64_t to = first + n - at < DROPOUT_BLOCK ? first + n - at : DROPOUT_BLOCK;
        random_block(key, counter, (uint32_t)(at / 4), word);
#pragma omp simd
        for (int64_t i = from; i < to; i++) kept[at + i - first] = word[i] >= below;
    }
}

#define WF_EACH_FLOAT "autograd/attention_kernels.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...) [dtype] = &table_##suffix,
const attention_table WF_ISA_OWN(attention_kernels) = {
    .of = { WF_FLOATS(TABLE) },
    .see = see,
    .draw = draw,
};
