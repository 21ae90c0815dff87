/* Includes a file of loops once per float dtype: a kernel is written once, in the words below, and
 * is there for every precision.
 *     #define WF_EACH_FLOAT "my_loops.inc"
 *     #include <weft/tensor/each_float.h>
 * A loop is then `static void NAME(scale)(int64_t n, T *x, T by)`, and a table of what came out is
 * { WF_FLOATS(ENTRY) } (tensor/tensor.h). This header may be included many times. Its words, which
 * are gone afterwards:
 *     T            the type
 *     NAME(name)   the name with the dtype's own: name_f32
 *     BITS         the unsigned whole number of its size
 *     TINY         its smallest normal number; LARGEST, its largest finite one
 *     SQRT(x)      the square root
 *     VMATH(name)  a function of tensor/vmath.h: VMATH(exp)(x) */
#include "tensor/vmath.h"

#include <float.h>

#ifdef WF_EACH_FLOAT

#define T float
#define NAME(name) name##_f32
#define BITS uint32_t
#define TINY FLT_MIN
#define LARGEST FLT_MAX
#define SQRT(x) __builtin_sqrtf(x)
#define VMATH(name) wf_##name##f_inline
#include WF_EACH_FLOAT
#undef T
#undef NAME
#undef BITS
#undef TINY
#undef LARGEST
#undef SQRT
#undef VMATH

#define T double
#define NAME(name) name##_f64
#define BITS uint64_t
#define TINY DBL_MIN
#define LARGEST DBL_MAX
#define SQRT(x) __builtin_sqrt(x)
#define VMATH(name) wf_##name##_inline
#include WF_EACH_FLOAT
#undef T
#undef NAME
#undef BITS
#undef TINY
#undef LARGEST
#undef SQRT
#undef VMATH

#undef WF_EACH_FLOAT
#endif
