/* The update rules and the arithmetic of clipping in both precisions, compiled once per dispatch
 * level; the level's suffix is in the name of the one table that other files see. */
#include "optim/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define REAL float
#define BITS uint32_t
#define TINY FLT_MIN
#define NAME(name) name##_f32
#define UPDATE(rule) WF_ISA_OWN(optim_##rule##_f32)
#include "optim/loops_kernels.inc"
#undef REAL
#undef BITS
#undef TINY
#undef NAME
#undef UPDATE

#define REAL double
#define BITS uint64_t
#define TINY DBL_MIN
#define NAME(name) name##_f64
#define UPDATE(rule) WF_ISA_OWN(optim_##rule##_f64)
#include "optim/loops_kernels.inc"
#undef REAL
#undef BITS
#undef TINY
#undef NAME
#undef UPDATE

#define LOOPS(dtype)                                                                               \
    {                                                                                              \
        [OPTIM_SQUARES] = squares_##dtype, [OPTIM_LARGEST] = largest_##dtype,                      \
        [OPTIM_SCALE] = scale_##dtype, [OPTIM_LIMIT] = limit_##dtype                               \
    }
const optim_loops WF_ISA_OWN(optim_kernels) = { [WF_F32] = LOOPS(f32), [WF_F64] = LOOPS(f64) };
