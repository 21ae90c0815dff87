/* A pointwise op in one line: its kernels in both precisions and at every dispatch level, any
 * strides, broadcasting, the derivative and its graph, samples for wf_op_check, documentation. The
 * library's own are lines of the same kind (autograd/pointwise.def). weft.h does not include this
 * header: the words that a line is written in are macros with short names. */
#ifndef WEFT_AUTOGRAD_POINTWISE_H
#define WEFT_AUTOGRAD_POINTWISE_H

#include "autograd/tile.h"
#include "tensor/erf.h"
#include "tensor/log1p.h"

#include <math.h>

/* Outside of functions,
 *
 *   WF_POINTWISE_1(name, doc, value, d_a, tape_a, reads, low, high, gap)              name(t, a)
 *   WF_POINTWISE_S(name, doc, value, d_a, tape_a, reads, low, high, gap, sample)   name(t, a, s)
 *   WF_POINTWISE_2(name, doc, value, d_a, d_b, tape_a, tape_b, reads, low, high, gap)
 *                                                                                  name(t, a, b)
 *   WF_POINTWISE_3(name, doc, value, d_a, d_b, d_c, tape_a, tape_b, tape_c, reads, low, high, gap)
 *                                                                               name(t, a, b, c)
 *
 * makes the function of vars on the right, and the row `name_row` for wf_op_check.
 *
 * value and d_... are C expressions of the inputs a, b, c, the value y, its gradient g and the
 * number s (a double on the tape), all of type T, float or double; d_... is what is added to that
 * input's gradient. They are written in the words below. tape_... is the same derivative in ops on
 * vars: t, A, B, C, Y, G, the number s, and ZERO and NUMBER(s), constants of G's dtype; NULL is
 * zero. reads: which of them d_... reads, besides g and s: READS_A | READS_Y. wf_op_check draws
 * inputs from [low, high], at least gap away from 0; `sample` is s there.
 *
 * Inputs broadcast against each other by NumPy's rule and have one dtype, F32 or F64.
 *
 * With gcc a line is as fast as a built-in op whatever the flags: its kernels are compiled for each
 * dispatch level, with -O3 and no contraction. clang wants -O2, and -ffp-contract=off for the bits
 * of the built-in ops. SIN, COS, POW and functions of your own that are not inline do not
 * vectorise. */
#define WFP_FUNCTION static inline __attribute__((unused)) wf_var
#define WF_POINTWISE_1(name, ...) WFP_1(WFP_FUNCTION *name, name, __VA_ARGS__)
#define WF_POINTWISE_S(name, ...) WFP_S(WFP_FUNCTION *name, name, __VA_ARGS__)
#define WF_POINTWISE_2(name, ...) WFP_2(WFP_FUNCTION *name, name, __VA_ARGS__)
#define WF_POINTWISE_3(name, ...) WFP_3(WFP_FUNCTION *name, name, __VA_ARGS__)

/* The words. */
#define R(x) ((T)(x)) /* a constant of type T */
#define ABS(x) WFP_OF(fabsf((float)(x)), fabs((double)(x)))
#define SQRT(x) WFP_OF(sqrtf((float)(x)), sqrt((double)(x)))
#define SIN(x) WFP_OF(sinf((float)(x)), sin((double)(x)))
#define COS(x) WFP_OF(cosf((float)(x)), cos((double)(x)))
#define POW(x, s) WFP_OF(powf((float)(x), (float)(s)), pow((double)(x), (double)(s)))
#define EXP(x) WFP_INLINE(exp, x)
#define LOG(x) WFP_INLINE(log, x)
#define TANH(x) WFP_INLINE(tanh, x)
#define SIGMOID(x) WFP_INLINE(sigmoid, x)
#define LOG1P(x) WFP_INLINE(log1p, x)
#define EXPM1(x) WFP_INLINE(expm1, x)
#define SOFTPLUS(x) WFP_INLINE(softplus, x)
#define ERF(x) WFP_INLINE(erf, x)
#define GELU(x) WFP_INLINE(gelu, x)
#define GELU_SLOPE(x) WFP_INLINE(gelu_slope, x)
#define WFP_OF(single, twice) (sizeof(T) == sizeof(float) ? (T)(single) : (T)(twice))
#define WFP_INLINE(name, x)                                                                        \
    WFP_OF(wf_##name##f_with(FUSED, (float)(x)), wf_##name##_with(FUSED, (double)(x)))
#define ZERO wf_zeros(t, wf_dtype_of(G), WF_SCALAR)
#define NUMBER(x) wf_full(t, wf_dtype_of(G), WF_SCALAR, x)
enum { READS_NONE = 0, READS_A = 1, READS_B = 2, READS_C = 4, READS_Y = 8 };

/* `function`: the head of the function of vars, up to its name. */
#define WFP_1(function, op, doc, value, d_a, tape_a, reads, low, high, gap)                        \
    WFP_FORWARD(op, WFP_IN_1, WFP_READ_1, value)                                                   \
    WFP_BACKWARD(op, 0, WFP_IN_1, WFP_READ_1, d_a)                                                 \
    WFP_OP(op, doc, 1, 0, reads, WFP_LEVEL_1, wf_pointwise_shape,                                  \
           wf_pointwise_sample(k, s, 1, low, high, gap, 0), WFP_A, WFP_FITTED(0, tape_a))          \
    function(wf_tape *t, wf_var *a) { return wf_apply_one(t, &op##_row, 1, &a, NULL); }
#define WFP_S(function, op, doc, value, d_a, tape_a, reads, low, high, gap, number)                \
    WFP_FORWARD(op, WFP_IN_1, WFP_READ_1, value)                                                   \
    WFP_BACKWARD(op, 0, WFP_IN_1, WFP_READ_1, d_a)                                                 \
    WFP_OP(op, doc, 1, sizeof(double), reads, WFP_LEVEL_1, wf_pointwise_shape,                     \
           wf_pointwise_sample(k, s, 1, low, high, gap, number),                                   \
           WFP_A; const double s = *(const double *)d->attr; (void)s, WFP_FITTED(0, tape_a))       \
    function(wf_tape *t, wf_var *a, double s)                                                      \
    {                                                                                              \
        return wf_apply_one(t, &op##_row, 1, &a, &s);                                              \
    }
#define WFP_2(function, op, doc, value, d_a, d_b, tape_a, tape_b, reads, low, high, gap)           \
    WFP_FORWARD(op, WFP_IN_2, WFP_READ_2, value)                                                   \
    WFP_BACKWARD(op, 0, WFP_IN_2, WFP_READ_2, d_a)                                                 \
    WFP_BACKWARD(op, 1, WFP_IN_2, WFP_READ_2, d_b)                                                 \
    WFP_OP(op, doc, 2, 0, reads, WFP_LEVEL_2, wf_pointwise_shape,                                  \
           wf_pointwise_sample(k, s, 2, low, high, gap, 0), WFP_B,                                 \
           WFP_FITTED(0, tape_a); WFP_FITTED(1, tape_b))                                           \
    function(wf_tape *t, wf_var *a, wf_var *b)                                                     \
    {                                                                                              \
        wf_var *in[] = { a, b };                                                                   \
        return wf_apply_one(t, &op##_row, 2, in, NULL);                                            \
    }
#define WFP_3(function, op, doc, value, d_a, d_b, d_c, tape_a, tape_b, tape_c, reads, low, high,   \
              gap)                                                                                 \
    WFP_FORWARD(op, WFP_IN_3, WFP_READ_3, value)                                                   \
    WFP_BACKWARD(op, 0, WFP_IN_3, WFP_READ_3, d_a)                                                 \
    WFP_BACKWARD(op, 1, WFP_IN_3, WFP_READ_3, d_b)                                                 \
    WFP_BACKWARD(op, 2, WFP_IN_3, WFP_READ_3, d_c)                                                 \
    WFP_OP(op, doc, 3, 0, reads, WFP_LEVEL_3, wf_pointwise_shape,                                  \
           wf_pointwise_sample(k, s, 3, low, high, gap, 0), WFP_C,                                 \
           WFP_FITTED(0, tape_a); WFP_FITTED(1, tape_b); WFP_FITTED(2, tape_c))                    \
    function(wf_tape *t, wf_var *a, wf_var *b, wf_var *c)                                          \
    {                                                                                              \
        wf_var *in[] = { a, b, c };                                                                \
        return wf_apply_one(t, &op##_row, 3, in, NULL);                                            \
    }

#endif
