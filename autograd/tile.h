/* What the lines of autograd/pointwise.h become: kernels that work on tiles, compiled for each
 * dispatch level, and the row that holds them. */
#ifndef WEFT_AUTOGRAD_TILE_H
#define WEFT_AUTOGRAD_TILE_H

#include "autograd/ops.h"
#include "tensor/isa.h"

WF_BEGIN

/* Where a kernel's operands stand: up to three inputs, the value, its gradient, and the gradient of
 * an input, which is written or added to. */
enum { WF_AT_OUT = 3, WF_AT_GOUT, WF_AT_GIN, WF_AT };

/* A tile: rows of n elements that lie side by side, row[k] bytes from one row of operand k to the
 * next (0: the same again). What is written may be what is read, element for element. s: the
 * number of an op that takes one. add: to what is there. */
typedef void wf_tile_fn(int64_t rows, int64_t n, void *const at[], const int64_t row[], double s,
                        bool add);

/* An op's kernels at one dispatch level, by the dtype of the last input. NULL: it does not take
 * that; the derivative is zero. */
struct wf_pointwise {
    wf_tile_fn *forward[WF_DTYPES], *gradient[3][WF_DTYPES]; /* by dtype; of each input */
};

/* What the functions of a pointwise row are. */
WF_API bool wf_pointwise_shape(wf_shaping *s);
WF_API void wf_pointwise_forward(const wf_call *c);
WF_API void wf_pointwise_backward(const wf_call *c);
/* Sample k of an op of so many inputs, from [low, high] and at least `gap` from 0, `number` being
 * its attr; false past the last. */
WF_API bool wf_pointwise_sample(int k, wf_sample *s, int inputs, double low, double high,
                                double gap, double number);
/* A derivative, summed to the form of the input that it belongs to; NULL of NULL. */
WF_API wf_var *wf_pointwise_fitted(wf_tape *t, wf_var *derivative, wf_var *in);

WF_END

#ifdef __clang__
#define WFP_FAST unused
#define WFP_LOOP _Pragma("clang loop vectorize(assume_safety)") for (int64_t i_ = 0; i_ < n_; i_++)
#define WFP_HUSH                                                                                   \
    _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wpass-failed\"")
#define WFP_UNHUSH _Pragma("clang diagnostic pop")
#else
#define WFP_FAST optimize("O3", "no-math-errno", "no-trapping-math", "fp-contract=off")
#define WFP_LOOP _Pragma("GCC ivdep") for (int64_t i_ = 0; i_ < n_; i_++)
#define WFP_HUSH
#define WFP_UNHUSH
#endif

#define WFP_ROW(type, k) ((type *)(void *)((char *)at_[k] + r_ * row_[k]))
#define WFP_IN_1 const T *const pa_ = WFP_ROW(T, 0)
#define WFP_IN_2 WFP_IN_1; const T *const pb_ = WFP_ROW(T, 1)
#define WFP_IN_3 WFP_IN_2; const T *const pc_ = WFP_ROW(T, 2)
#define WFP_READ_1 const T a = pa_[i_]; (void)a
#define WFP_READ_2 WFP_READ_1; const T b = pb_[i_]; (void)b
#define WFP_READ_3 WFP_READ_2; const T c = pc_[i_]; (void)c
#define WFP_OUT                                                                                    \
    const T *const py_ = WFP_ROW(T, WF_AT_OUT); const T *const pg_ = WFP_ROW(T, WF_AT_GOUT)
#define WFP_READ_OUT const T y = py_[i_]; const T g = pg_[i_]; (void)y; (void)g

/* What is written in place of a sum: 0 + x, which is not -0 either. */
#define WFP_FIRST_0(x) (x)
#define WFP_FIRST_1(x) ((T)0 + (x))

/* The loops of a kernel: `pointers` stands before the one over a row, `reads` in it. What is not of
 * a line's own words ends in _, or it could shadow something of the program's. */
#define WFP_ROWS(result, place, pointers, reads, value)                                            \
    for (int64_t r_ = 0; r_ < rows_; r_++) {                                                       \
        pointers;                                                                                  \
        result *const to_ = WFP_ROW(result, place);                                                \
        WFP_LOOP { reads; to_[i_] = (result)(value); }                                             \
    }
#define WFP_TILE(name, attributes, fused, type, result, place, adds, pointers, reads, expression)  \
    WFP_HUSH static __attribute__((attributes, WFP_FAST)) void name(                               \
        int64_t rows_, int64_t n_, void *const at_[], const int64_t row_[], double number_,        \
        bool add_)                                                                                 \
    {                                                                                              \
        typedef type T;                                                                            \
        enum { FUSED = fused };                                                                    \
        const T s = (T)number_;                                                                    \
        (void)s, (void)add_, (void)(FUSED);                                                        \
        if (adds && add_)                                                                          \
            WFP_ROWS(result, place, pointers, reads, to_[i_] + (expression))                       \
        else                                                                                       \
            WFP_ROWS(result, place, pointers, reads, WFP_FIRST_##adds(expression))                 \
    }                                                                                              \
    WFP_UNHUSH
#define WFP_VALUE(level, attributes, fused, name, type, dtype, result, pointers, reads, value)     \
    WFP_TILE(name##_##dtype##_##level, attributes, fused, type, result, WF_AT_OUT, 0, pointers,    \
             reads, value)
#define WFP_SLOPE(level, attributes, fused, name, k, type, dtype, pointers, reads, d)              \
    WFP_TILE(name##_d##k##_##dtype##_##level, attributes, fused, type, type, WF_AT_GIN, 1,         \
             pointers; WFP_OUT, reads; WFP_READ_OUT, d)
#define WFP_FORWARD(name, pointers, reads, value)                                                  \
    WF_FLOATS(WFP_VALUES, name, pointers, reads, value)
#define WFP_VALUES(dtype, suffix, type, name, pointers, reads, value)                              \
    WF_ISA_LEVELS(WFP_VALUE, name, type, suffix, type, pointers, reads, value)
#define WFP_BACKWARD(name, k, pointers, reads, d)                                                  \
    WF_FLOATS(WFP_SLOPES, name, k, pointers, reads, d)
#define WFP_SLOPES(dtype, suffix, type, name, k, pointers, reads, d)                               \
    WF_ISA_LEVELS(WFP_SLOPE, name, k, type, suffix, pointers, reads, d)

/* The kernels of a level: those of the value, and of each input's derivative or WFP_NONE. */
#define WFP_D(name, k, level) { WF_FLOATS(WFP_KERNEL, name##_d##k, level) }
#define WFP_KERNEL(dtype, suffix, type, name, level) name##_##suffix##_##level,
#define WFP_NONE { NULL, NULL }
#define WFP_LEVEL(level, name, whole, a, b, c)                                                     \
    { { WF_FLOATS(WFP_KERNEL, name, level) whole }, { a, b, c } },
#define WFP_LEVEL_1(level, attributes, fused, name)                                                \
    WFP_LEVEL(level, name, NULL, WFP_D(name, 0, level), WFP_NONE, WFP_NONE)
#define WFP_LEVEL_2(level, attributes, fused, name)                                                \
    WFP_LEVEL(level, name, NULL, WFP_D(name, 0, level), WFP_D(name, 1, level), WFP_NONE)
#define WFP_LEVEL_3(level, attributes, fused, name)                                                \
    WFP_LEVEL(level, name, NULL, WFP_D(name, 0, level), WFP_D(name, 1, level),                     \
              WFP_D(name, 2, level))

/* C++17 has no designated initialisers. */
#ifdef __cplusplus
static inline wf_op wfp_op(const char *name, const char *doc, int inputs, size_t bytes,
                           uint32_t reads, const wf_pointwise *kernels,
                           bool (*shape)(wf_shaping *),
                           void (*gradient)(wf_tape *, const wf_gradient *),
                           bool (*sample)(int, wf_sample *))
{
    wf_op op = wf_op();
    op.name = name, op.doc = doc;
    op.inputs = inputs, op.outputs = 1, op.attr_size = (int32_t)bytes;
    op.flags = WF_OP_ELEMENTWISE, op.reads_in = reads & 7, op.reads_out = reads >> 3;
    op.shape = shape, op.forward = wf_pointwise_forward, op.backward = wf_pointwise_backward;
    op.gradient = gradient, op.sample = sample, op.pointwise = kernels;
    return op;
}
#define WFP_INIT wfp_op
#else
#define WFP_INIT(name_, doc_, inputs_, bytes, reads, kernels, shape_, gradient_, sample_)          \
    { .name = name_, .doc = doc_, .inputs = inputs_, .outputs = 1, .attr_size = bytes,             \
      .flags = WF_OP_ELEMENTWISE, .reads_in = (reads) & 7, .reads_out = (reads) >> 3,              \
      .shape = shape_, .forward = wf_pointwise_forward, .backward = wf_pointwise_backward,         \
      .gradient = gradient_, .sample = sample_, .pointwise = kernels }
#endif

/* The row, from the table of kernels, `vars` and `derivatives` of the graph. */
#define WFP_FITTED(k, tape)                                                                        \
    if (d->wanted[k]) d->gin[k] = wf_pointwise_fitted(t, tape, d->in[k])
#define WFP_OP(op, meaning, inputs, bytes, reads, table, shaping, sampling, vars, derivatives)     \
    static const wf_pointwise op##_kernels[] = { WF_ISA_LEVELS(table, op) };                       \
    static void op##_gradient(wf_tape *t, const wf_gradient *d)                                    \
    {                                                                                              \
        wf_var *G = d->gout[0], *Y = d->out[0];                                                    \
        vars;                                                                                      \
        (void)t, (void)G, (void)Y;                                                                 \
        derivatives;                                                                               \
    }                                                                                              \
    static bool op##_sample(int k, wf_sample *s)                                                   \
    {                                                                                              \
        return sampling;                                                                           \
    }                                                                                              \
    static const wf_op op##_row = WFP_INIT(#op, meaning, inputs, bytes, reads, op##_kernels,       \
                                           shaping, op##_gradient, op##_sample);
#define WFP_A wf_var *A = d->in[0]; (void)A
#define WFP_B WFP_A; wf_var *B = d->in[1]; (void)B
#define WFP_C WFP_B; wf_var *C = d->in[2]; (void)C

#endif
