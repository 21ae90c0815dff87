/* The loops of convolutions and pooling, compiled once per dispatch level; the level's suffix is in
 * the name of the one table that other files see. */
#include "autograd/conv_private.h"

#include <string.h>

/* Whole words of so many bytes are copied, whatever a run's length. */
#ifdef __AVX512F__
enum { WORD = 64 };
#elif defined __AVX2__
enum { WORD = 32 };
#else
enum { WORD = 16 };
#endif

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#define WF_EACH_FLOAT "autograd/conv_kernels.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...) [dtype] = &table_##suffix,
const conv_tables WF_ISA_OWN(conv_kernels) = { WF_FLOATS(TABLE) };
