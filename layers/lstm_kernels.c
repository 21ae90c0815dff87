/* The LSTM's gates, forward and backward, for a few rows of a step; there for both dtypes from
 * lstm_gates_kernels.inc. The loops are plain C that vectorises: every element is computed alike
 * wherever a row is cut. */
#include "layers/kernels.h"

#define INLINE static inline __attribute__((always_inline))

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

#define WF_EACH_FLOAT "layers/lstm_gates_kernels.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...) [dtype] = { forward_##suffix, backward_##suffix },
const lstm_tables WF_ISA_OWN(lstm_kernels) = { WF_FLOATS(TABLE) };
