/* The loops of the ops that are not pointwise, compiled once per dispatch level; the level's
 * suffix is in the name of the one table that other files see. */
#include "autograd/kernels.h"
#include "tensor/sum.h"

#include <math.h>

#ifdef __clang__
/* It does not vectorise the maximum of a row, for the sake of NaN, and says so. */
#pragma clang diagnostic ignored "-Wpass-failed"
#endif

/* As many words of Philox4x32-10 (tensor/rng.h) as a block has elements, from 16 counters: word
 * i is word i / 16 of what wf_philox gives for counter + i % 16. Side by side, because so they
 * vectorise. */
static void random_block(uint64_t key, uint64_t counter, uint32_t word[DROPOUT_BLOCK])
{
    enum { LANES = DROPOUT_BLOCK / 4 };
    uint32_t *c0 = word, *c1 = word + LANES, *c2 = word + 2 * LANES, *c3 = word + 3 * LANES;
    for (int i = 0; i < LANES; i++) {
        const uint64_t c = counter + (uint64_t)i;
        c0[i] = (uint32_t)c;
        c1[i] = (uint32_t)(c >> 32);
        c2[i] = c3[i] = 0;
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

#define WF_EACH_FLOAT "autograd/loops_kernels.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...) [dtype] = &table_##suffix,
const op_tables WF_ISA_OWN(op_kernels) = { WF_FLOATS(TABLE) };
