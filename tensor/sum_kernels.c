/* The loops of tensor/sum.h, and of sums of products, compiled once per dispatch level; the level's
 * suffix is in the name of the one table that other files see. */
#include "tensor/kernels.h"
#include "tensor/sum.h"

#define INLINE static inline __attribute__((always_inline))
#define SIMD _Pragma("omp simd")

/* Terms at most that meet before a sum is added with its rounding kept: LANES sums side by side, so
 * that the order is the same at every level. */
enum { LANES = 16, BLOCK = 8 * LANES };

#define WF_EACH_FLOAT "tensor/sum_kernels.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...) [dtype] = &table_##suffix,
const wf_sum_tables WF_ISA_OWN(wf_sum_kernels) = { WF_FLOATS(TABLE) };
