/* A tensor is a strided view: where numbers lie, of what kind and in what order. It never owns
 * memory. */
#ifndef WEFT_TENSOR_TENSOR_H
#define WEFT_TENSOR_TENSOR_H

#include "tensor/error.h"
#include "tensor/limits.h"

WF_BEGIN

/* float, double, int32_t. */
typedef enum wf_dtype { WF_F32 = 0, WF_F64 = 1, WF_I32 = 2 } wf_dtype;
enum { WF_DTYPES = 3 };
/* WF_FLOATS(x, ...) is x(dtype, suffix, type, ...) for each dtype of floats. */
#define WF_FLOATS(x, ...) x(WF_F32, f32, float, __VA_ARGS__) x(WF_F64, f64, double, __VA_ARGS__)

/* All that is known of a dtype; tables of kernels are indexed by it. */
typedef struct wf_dtype_info {
    const char *name;                              /* "f32" */
    int64_t size;                                  /* bytes per element */
    bool is_float;                                 /* has gradients; ids and masks have none */
    int digits;                                    /* whole numbers of as many bits are exact */
    double largest;                                /* the largest finite number */
    /* Element `at` from data on; stored as it is rounded, of i32 cut off and kept in its range. */
    double (*load)(const void *data, int64_t at);
    void (*store)(void *data, int64_t at, double value);
    /* Are n of them, `step` apart, all finite? Looked at by their bits, whole vectors at a time. */
    bool (*finite)(int64_t n, const void *data, int64_t step);
} wf_dtype_info;

/* NULL, 0, "unknown" and false of what is no dtype. */
WF_API const wf_dtype_info *wf_dtype_describe(wf_dtype dtype);
WF_API int64_t wf_dtype_size(wf_dtype dtype);
WF_API const char *wf_dtype_name(wf_dtype dtype);
WF_API bool wf_dtype_is_float(wf_dtype dtype);
/* The number that stands there when value is stored; NaN of what is no dtype. */
WF_API double wf_dtype_round(wf_dtype dtype, double value);
/* Where element `at` from data on lies; NULL of NULL. */
WF_API void *wf_element(wf_dtype dtype, const void *data, int64_t at);

/* Sizes by value: WF_SHAPE(2, 3); a scalar is WF_SCALAR. */
typedef struct wf_shape {
    int32_t rank;
    int64_t dim[WF_RANK];
} wf_shape;

#ifdef __cplusplus
extern "C++" {
template <class... size> constexpr wf_shape wf_cxx_shape(size... each)
{
    static_assert(sizeof...(size) <= WF_RANK, "a shape has at most WF_RANK sizes");
    return wf_shape{ (int32_t)sizeof...(size), { (int64_t)each... } };
}
}
#define WF_SHAPE(...) (wf_cxx_shape(__VA_ARGS__))
#define WF_SCALAR (wf_cxx_shape())
#else
#define WF_SHAPE(...) ((wf_shape){ WF_COUNT(int64_t, __VA_ARGS__), { __VA_ARGS__ } })
#define WF_SCALAR ((wf_shape){ 0, { 0 } })
#endif

/* Strides are in elements, zero or more (0: broadcast). Data may be NULL where only the form
 * matters. */
typedef struct wf_tensor {
    void *data;
    wf_dtype dtype;
    int32_t rank;
    int64_t dim[WF_RANK];
    int64_t stride[WF_RANK];
} wf_tensor;

/* Elements in all; 1 for a scalar, 0 when a size is 0. The shape must have passed
 * wf_shape_check. */
WF_API int64_t wf_shape_count(const wf_shape *shape);
WF_API int64_t wf_tensor_count(const wf_tensor *x);
/* The element count if rank and sizes are in range and the bytes fit an int64_t; otherwise -1 and
 * one sentence in error. */
WF_API int64_t wf_shape_check(const wf_shape *shape, wf_dtype dtype, wf_error *error);
WF_API wf_shape wf_tensor_shape(const wf_tensor *x);
WF_API bool wf_shape_equal(const wf_shape *a, const wf_shape *b);
/* "(2, 3)", "()" for a scalar; into text, at most bytes, always terminated. Returns text. */
WF_API char *wf_shape_text(char *text, size_t bytes, int rank, const int64_t dim[]);
/* The same of an element's index along each axis, from its flat row-major index: "(1, 2)". */
WF_API char *wf_index_text(char *text, size_t bytes, int rank, const int64_t dim[], int64_t index);

/* A row-major view of data. */
WF_API wf_tensor wf_tensor_of(wf_dtype dtype, wf_shape shape, void *data);
/* The same over memory that is only read (a table in the program, a mapped file): keep it in a
 * `const wf_tensor`, and hand it to what takes one and writes nothing: whatever copies it into a
 * tape, saves, prints or reads it. */
WF_API wf_tensor wf_tensor_over(wf_dtype dtype, wf_shape shape, const void *data);
WF_API bool wf_tensor_is_contiguous(const wf_tensor *x);
/* The offset, in elements, of what stands at a flat row-major index of the first `axes` axes. */
static inline int64_t wf_tensor_offset(const wf_tensor *x, int axes, int64_t index)
{
    int64_t at = 0;
    for (int k = axes - 1; k >= 0; k--) {
        if (x->dim[k] == 1) continue;
        at += index % x->dim[k] * x->stride[k];
        index /= x->dim[k];
    }
    return at;
}
/* Does one element of memory serve two indices (a stride of 0, a sliding window)? */
WF_API bool wf_tensor_overlaps_itself(const wf_tensor *x);

/* Axes count from the end when negative: -1 is the last. Returns the axis in 0..rank-1, or -1. */
WF_API int wf_axis(int rank, int axis);

/* Views. Each is false, with *out untouched, when the numbers do not fit; the caller says why.
 * slice: start <= index < stop with a step of 1 or more, 0 <= start <= stop <= size. window:
 * axis of size n becomes (n - size) / step + 1 positions, and a last axis of `size` is added.
 * reshape: only where strides allow it without copying. expand: sizes of 1 (and missing leading
 * axes) repeat with stride 0. */
WF_API bool wf_view_slice(const wf_tensor *x, int axis, int64_t start, int64_t stop, int64_t step,
                          wf_tensor *out);
WF_API bool wf_view_select(const wf_tensor *x, int axis, int64_t index, wf_tensor *out);
WF_API bool wf_view_transpose(const wf_tensor *x, int a, int b, wf_tensor *out);
WF_API bool wf_view_window(const wf_tensor *x, int axis, int64_t size, int64_t step,
                           wf_tensor *out);
WF_API bool wf_view_reshape(const wf_tensor *x, wf_shape shape, wf_tensor *out);
WF_API bool wf_view_expand(const wf_tensor *x, wf_shape shape, wf_tensor *out);
/* The shape that a and b broadcast to (NumPy's rule). */
WF_API bool wf_shape_broadcast(const wf_shape *a, const wf_shape *b, wf_shape *out);

/* y = x, element by element over any strides: x is broadcast to y, which overlaps neither itself
 * nor x. Dtypes are converted; f64 to i32 truncates. assign: by up to `threads` threads. */
WF_API void wf_tensor_copy(const wf_tensor *x, const wf_tensor *y);
WF_API void wf_tensor_assign(const wf_tensor *x, const wf_tensor *y, int threads);
/* y += x of one float dtype: x is broadcast to y. Any overlap within y is honoured, one element
 * after another in index order. */
WF_API void wf_tensor_add(const wf_tensor *x, const wf_tensor *y);
/* y += scale * x by up to `threads` threads, of any float dtypes. Where y has a size of 1, or no
 * axis, and x has more, all of those are summed into it, with the error of tensor/sum.h; then the
 * dtypes are equal and y does not overlap itself. */
WF_API void wf_tensor_accumulate(const wf_tensor *x, const wf_tensor *y, double scale, int threads);
/* Every element becomes value, as wf_dtype_round has it. */
WF_API void wf_tensor_fill(const wf_tensor *y, double value);
/* The element at a flat row-major index, as a double; NaN when x is NULL or has no data. */
WF_API double wf_tensor_at(const wf_tensor *x, int64_t index);

/* Writes the tensor to stdout as a person wants to read it: aligned columns, rows in brackets,
 * the middle of long axes left out, dtype and shape at the end. NULL prints "(no tensor)". _text
 * writes into text (at most bytes, always terminated) and returns the length that the whole
 * would have, as snprintf does. */
WF_API void wf_tensor_print(const wf_tensor *x);
/* The same after "name = ", its rows in line. name NULL: as wf_tensor_print. */
WF_API void wf_tensor_print_as(const char *name, const wf_tensor *x);
WF_API size_t wf_tensor_text(const wf_tensor *x, char *text, size_t bytes);

WF_END

#endif
