/* The LSTM's gates, forward and backward, for a few rows of a step; there for both dtypes from
 * lstm_gates_kernels.inc. The loops are plain C that vectorises: every element is computed alike
 * wherever a row is cut. */
#include "layers/kernels.h"

#include "tensor/vmath.h"

#define INLINE static inline __attribute__((always_inline))

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

#define REAL float
#define NAME(x) x##_f32
#define SIGMOID wf_sigmoidf_inline
#define TANH wf_tanhf_inline
#include "layers/lstm_gates_kernels.inc"
#undef REAL
#undef NAME
#undef SIGMOID
#undef TANH

#define REAL double
#define NAME(x) x##_f64
#define SIGMOID wf_sigmoid_inline
#define TANH wf_tanh_inline
#include "layers/lstm_gates_kernels.inc"

const lstm_tables WF_ISA_OWN(lstm_kernels) = {
    [WF_F32] = { forward_f32, backward_f32 },
    [WF_F64] = { forward_f64, backward_f64 },
};
