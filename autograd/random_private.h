/* Dropout's random numbers in blocks, for kernels that are compiled once per dispatch level. Not
 * installed. */
#ifndef WEFT_AUTOGRAD_RANDOM_PRIVATE_H
#define WEFT_AUTOGRAD_RANDOM_PRIVATE_H

#include "tensor/api.h"

enum { DROPOUT_BLOCK = 64, DROPOUT_LONG = 8 };

/* Of `count` elements in `rows` rows of axis 0: how many share a counter. Long rows have one each,
 * so that rows can be computed apart; else all do. */
static inline int64_t dropout_share(int64_t count, int64_t rows)
{
    return rows > 0 && count / rows >= DROPOUT_LONG ? count / rows : count;
}

/* As many words of Philox4x32-10 (tensor/rng.h) as a block has elements: word i is word i / 16 of
 * what wf_philox gives for the counter and, as its upper half, first + i % 16, so that a row needs
 * no more than one counter. Side by side, because so they vectorise. */
static inline void random_block(uint64_t key, uint64_t counter, uint32_t first,
                                uint32_t word[DROPOUT_BLOCK])
{
    enum { LANES = DROPOUT_BLOCK / 4 };
    uint32_t *c0 = word, *c1 = word + LANES, *c2 = word + 2 * LANES, *c3 = word + 3 * LANES;
    for (int i = 0; i < LANES; i++) {
        c0[i] = (uint32_t)counter;
        c1[i] = (uint32_t)(counter >> 32);
        c2[i] = first + (uint32_t)i;
        c3[i] = 0;
    }
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
#pragma omp simd
        for (int i = 0; i < LANES; i++) {
            const uint64_t p = (uint64_t)0xD2511F53 * c0[i], q = (uint64_t)0xCD9E8D57 * c2[i];
            c0[i] = (uint32_t)(q >> 32) ^ c1[i] ^ k0;
            c1[i] = (uint32_t)q;
            c2[i] = (uint32_t)(p >> 32) ^ c3[i] ^ k1;
            c3[i] = (uint32_t)p;
        }
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
}

/* Words below it are elements that dropout drops. */
static inline uint32_t dropped_below(double p)
{
    return (uint32_t)(p * 4294967296.0);
}

#endif
