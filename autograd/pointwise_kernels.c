/* The loops of the pointwise ops over contiguous elements, both precisions, expanded from
 * autograd/pointwise.def and compiled once per dispatch level; the level's suffix is in the name
 * of the one table that other files see. */
#include "autograd/kernels.h"
#include "tensor/log1p.h"

#include <math.h>

/* What the lines of the .def file are written in; every kernel has its own T. */
#define R(x) ((T)(x))
#define ABS(x) _Generic((x), float : fabsf, double : fabs)(x)
#define EXP(x) _Generic((x), float : wf_expf_inline, double : wf_exp_inline)(x)
#define LOG(x) _Generic((x), float : wf_logf_inline, double : wf_log_inline)(x)
#define TANH(x) _Generic((x), float : wf_tanhf_inline, double : wf_tanh_inline)(x)
#define SIGMOID(x) _Generic((x), float : wf_sigmoidf_inline, double : wf_sigmoid_inline)(x)
#define LOG1P(x) _Generic((x), float : wf_log1pf_inline, double : wf_log1p_inline)(x)
#define EXPM1(x) _Generic((x), float : wf_expm1f_inline, double : wf_expm1_inline)(x)
#define SOFTPLUS(x) _Generic((x), float : wf_softplusf_inline, double : wf_softplus_inline)(x)
#define SQRT(x) _Generic((x), float : sqrtf, double : sqrt)(x)
#define SIN(x) _Generic((x), float : sinf, double : sin)(x)
#define COS(x) _Generic((x), float : cosf, double : cos)(x)
#define POW(x, s) _Generic((x), float : powf, double : pow)(x, s)
#define LERP(a, b, c) _Generic((a), float : lerp_float, double : lerp_double)(a, b, c)

/* From the nearer end, so that a step of 0 is that end, bit for bit, and rounding never carries the
 * result past one. Where b - a leaves the range, a and b do their parts apart. */
#define LERP_OF(T)                                                                                 \
    static inline T lerp_##T(T a, T b, T c)                                                        \
    {                                                                                              \
        const T half = (T)0.5, whole = 1;                                                          \
        const bool near_a = c < half;                                                              \
        const T end = near_a ? a : b, other = near_a ? b : a;                                      \
        const T step = near_a ? c : c - whole, way = b - a;                                        \
        const T inside = end + step * way, apart = (whole - c) * a + c * b;                        \
        const T between = way - way == 0 ? inside : apart;                                         \
        return ((step == 0) & (other == other)) ? end : between;                                   \
    }
LERP_OF(float)
LERP_OF(double)

/* y from the inputs that `read` declares. */
#define FORWARD(name, element, result, read, value)                                                \
    static void name(int64_t n, void *const p[], double number)                                    \
    {                                                                                              \
        typedef element T;                                                                         \
        const T s = (T)number;                                                                     \
        result *restrict to = p[AT_OUT];                                                           \
        (void)s;                                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                          \
            read;                                                                                  \
            to[i] = (result)(value);                                                               \
        }                                                                                          \
    }

/* One loop for one input's gradient, if it is wanted; the compiler drops reads of what the
 * derivative does not use. */
#define INTO(input, read, derivative)                                                              \
    if (p[AT_GIN + input]) {                                                                       \
        T *restrict to = p[AT_GIN + input];                                                        \
        for (int64_t i = 0; i < n; i++) {                                                          \
            read;                                                                                  \
            const T y = ((const T *)p[AT_OUT])[i], g = ((const T *)p[AT_GOUT])[i];                 \
            (void)y, (void)g;                                                                      \
            to[i] += (derivative);                                                                 \
        }                                                                                          \
    }
#define BACKWARD(name, element, loops)                                                             \
    static void name(int64_t n, void *const p[], double number)                                    \
    {                                                                                              \
        typedef element T;                                                                         \
        const T s = (T)number;                                                                     \
        (void)s;                                                                                   \
        loops                                                                                      \
    }

#define AT(type, k) (((const type *)p[k])[i])
#define READ_1                                                                                     \
    const T a = AT(T, 0);                                                                          \
    (void)a
#define READ_2                                                                                     \
    const T a = AT(T, 0), b = AT(T, 1);                                                            \
    (void)a, (void)b
#define READ_3                                                                                     \
    const T a = AT(T, 0), b = AT(T, 1), c = AT(T, 2);                                              \
    (void)a, (void)b, (void)c
#define READ_M                                                                                     \
    const int32_t m = AT(int32_t, 0);                                                              \
    const T a = AT(T, 1), b = AT(T, 2);                                                            \
    (void)m, (void)a, (void)b

#define BOTH_1(name, t, element, value, d_a)                                                       \
    FORWARD(name##_forward_##t, element, T, READ_1, value)                                         \
    BACKWARD(name##_backward_##t, element, INTO(0, READ_1, d_a))
#define BOTH_2(name, t, element, value, d_a, d_b)                                                  \
    FORWARD(name##_forward_##t, element, T, READ_2, value)                                         \
    BACKWARD(name##_backward_##t, element, INTO(0, READ_2, d_a) INTO(1, READ_2, d_b))
#define BOTH_3(name, t, element, value, d_a, d_b, d_c)                                             \
    FORWARD(name##_forward_##t, element, T, READ_3, value)                                         \
    BACKWARD(name##_backward_##t, element,                                                         \
             INTO(0, READ_3, d_a) INTO(1, READ_3, d_b) INTO(2, READ_3, d_c))
#define BOTH_M(name, t, element, value, d_a, d_b)                                                  \
    FORWARD(name##_forward_##t, element, T, READ_M, value)                                         \
    BACKWARD(name##_backward_##t, element, INTO(1, READ_M, d_a) INTO(2, READ_M, d_b))

#define WF_POINTWISE_1(name, doc, value, d_a, ...)                                                 \
    BOTH_1(name, f32, float, value, d_a) BOTH_1(name, f64, double, value, d_a)
#define WF_POINTWISE_S(name, doc, value, d_a, ...)                                                 \
    BOTH_1(name, f32, float, value, d_a) BOTH_1(name, f64, double, value, d_a)
#define WF_POINTWISE_2(name, doc, value, d_a, d_b, ...)                                            \
    BOTH_2(name, f32, float, value, d_a, d_b) BOTH_2(name, f64, double, value, d_a, d_b)
#define WF_POINTWISE_3(name, doc, value, d_a, d_b, d_c, ...)                                       \
    BOTH_3(name, f32, float, value, d_a, d_b, d_c) BOTH_3(name, f64, double, value, d_a, d_b, d_c)
#define WF_POINTWISE_WHERE(name, doc, value, d_a, d_b, ...)                                        \
    BOTH_M(name, f32, float, value, d_a, d_b) BOTH_M(name, f64, double, value, d_a, d_b)
#define WF_POINTWISE_COMPARE(name, doc, value)                                                     \
    FORWARD(name##_forward_f32, float, int32_t, READ_2, value)                                     \
    FORWARD(name##_forward_f64, double, int32_t, READ_2, value)                                    \
    FORWARD(name##_forward_i32, int32_t, int32_t, READ_2, value)
#include "autograd/pointwise.def"

#define FLOATS(name)                                                                               \
    [POINTWISE_##name] = { { name##_forward_f32, name##_forward_f64 },                             \
                           { name##_backward_f32, name##_backward_f64 } },
#define WF_POINTWISE_1(name, ...) FLOATS(name)
#define WF_POINTWISE_S(name, ...) FLOATS(name)
#define WF_POINTWISE_2(name, ...) FLOATS(name)
#define WF_POINTWISE_3(name, ...) FLOATS(name)
#define WF_POINTWISE_WHERE(name, ...) FLOATS(name)
#define WF_POINTWISE_COMPARE(name, ...)                                                            \
    [POINTWISE_##name] = { { name##_forward_f32, name##_forward_f64, name##_forward_i32 }, { 0 } },
const pointwise_table WF_ISA_OWN(pointwise_kernels) = {
#include "autograd/pointwise.def"
};
