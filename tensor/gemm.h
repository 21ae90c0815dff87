/* Matrix products: general ones (large ones through BLIS, Van Zee and van de Geijn 2015), and
 * products with weights packed once for what runs at every time step. */
#ifndef WEFT_TENSOR_GEMM_H
#define WEFT_TENSOR_GEMM_H

#include "tensor/tensor.h"

WF_BEGIN

/* A matrix of f32 or f64: where its elements lie, with strides in elements. What is only read may
 * be const; what is written must not overlap itself. */
typedef struct wf_matrix {
    void *data;
    wf_dtype dtype;
    int64_t rows, columns, row_stride, column_stride;
} wf_matrix;

/* Row-major; with any strides; a tensor of two axes. */
static inline wf_matrix wf_matrix_of(wf_dtype dtype, const void *data, int64_t rows,
                                     int64_t columns)
{
    wf_matrix m = { (void *)(uintptr_t)data, dtype, rows, columns, columns, 1 };
    return m;
}

static inline wf_matrix wf_matrix_strided(wf_dtype dtype, const void *data, int64_t rows,
                                          int64_t columns, int64_t row_stride,
                                          int64_t column_stride)
{
    wf_matrix m = { (void *)(uintptr_t)data, dtype, rows, columns, row_stride, column_stride };
    return m;
}

static inline wf_matrix wf_matrix_of_tensor(const wf_tensor *x)
{
    return wf_matrix_strided(x->dtype, x->data, x->dim[0], x->dim[1], x->stride[0], x->stride[1]);
}

static inline wf_matrix wf_matrix_transposed(wf_matrix m)
{
    return wf_matrix_strided(m.dtype, m.data, m.columns, m.rows, m.column_stride, m.row_stride);
}

/* Where an element lies; `rows` rows and `columns` columns from an element on. */
static inline void *wf_matrix_at(wf_matrix m, int64_t row, int64_t column)
{
    return wf_element(m.dtype, m.data, row * m.row_stride + column * m.column_stride);
}

static inline wf_matrix wf_matrix_part(wf_matrix m, int64_t row, int64_t column, int64_t rows,
                                       int64_t columns)
{
    return wf_matrix_strided(m.dtype, wf_matrix_at(m, row, column), rows, columns, m.row_stride,
                             m.column_stride);
}

/* C = alpha A B + beta C, A (m, k), B (k, n), C (m, n) of one dtype; matrices that do not fit one
 * another, or have no data, are left alone. beta = 0 overwrites, NaN included. Sizes may be 0. At
 * most `threads` threads; the bits do not depend on how many. Called inside a parallel region it
 * uses one. */
WF_API void wf_gemm(int threads, double alpha, wf_matrix a, wf_matrix b, double beta, wf_matrix c);

/* The same for a k of any length: at most WF_GEMM_SPAN of it are one product, and products are
 * added with what their rounding loses, in fixed places and order. Within a product the terms of an
 * element meet in chains of 512 at most (or as many as BLIS's blocks are deep, some hundred), and
 * what those come to is added one after another. The error of an element with terms t[l] is then
 * at most 560 u sum |t[l]| for any k, u being 2^-24 or 2^-53. scratch: wf_gemm_scratch bytes; that
 * is 0 if k is no longer than a span, and -1 if they are too many. */
enum { WF_GEMM_SPAN = 16384 };
WF_API int64_t wf_gemm_scratch(wf_dtype dtype, int64_t m, int64_t n, int64_t k);
WF_API void wf_gemm_long(int threads, double alpha, wf_matrix a, wf_matrix b, double beta,
                         wf_matrix c, void *scratch);
/* Its two steps, for sums of several products: C + low += P, where low holds what rounding lost,
 * and C += low. P and low are as C, row-major. */
WF_API void wf_gemm_fold(int threads, const void *p, void *low, wf_matrix c);
WF_API void wf_gemm_settle(int threads, const void *low, wf_matrix c);

/* Packed weights: B (k, n) laid out in panels of wf_pack_width columns, padded with zeros, into
 * memory of the caller's, 64-byte aligned. Columns per panel at this dispatch level, elements in
 * all (-1: too many); 0 of what is no float. The layout is the level's: not for files. */
WF_API int64_t wf_pack_width(wf_dtype dtype);
WF_API int64_t wf_pack_count(wf_dtype dtype, int64_t k, int64_t n);
WF_API void wf_pack(int threads, wf_matrix b, void *packed);

/* C (m, n) = A (m, k) B, on the calling thread, for panels first <= p < last (columns p * width on;
 * C is the whole of it). C has its columns side by side. Every element is one chain of fused
 * multiply-adds over k, so the bits do not depend on how rows and panels are shared out; what was
 * in C begins the chain, or what the chain comes to is added to it: a sum of many such products
 * then has chains no longer than theirs, if k is at most 1024. */
typedef enum wf_packed_into {
    WF_PACKED_SET = 0,
    WF_PACKED_CHAIN = 1,
    WF_PACKED_ADD = 2
} wf_packed_into;
WF_API void wf_gemm_packed(wf_matrix a, const void *packed, int64_t first, int64_t last,
                           wf_packed_into into, wf_matrix c);

WF_END

#endif
