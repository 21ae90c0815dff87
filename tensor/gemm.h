/* Matrix products: general ones through BLIS, and products with weights packed once for what
 * runs at every time step. */
#ifndef WEFT_TENSOR_GEMM_H
#define WEFT_TENSOR_GEMM_H

#include "tensor/tensor.h"

WF_BEGIN

/* C = alpha A B + beta C for f32 or f64, A (m, k), B (k, n), C (m, n), any strides (in elements;
 * row stride, column stride; C's must not overlap). beta = 0 overwrites, NaN included. Sizes may
 * be 0. The bits do not depend on `threads`. Called inside a parallel region it uses one thread. */
WF_API void wf_gemm(wf_dtype dtype, int threads, int64_t m, int64_t n, int64_t k, double alpha,
                    const void *a, int64_t a_row, int64_t a_col, const void *b, int64_t b_row, int64_t b_col,
                    double beta, void *c, int64_t c_row, int64_t c_col);

/* The same for a k of any length: at most WF_GEMM_SPAN of it are one product, and products are
 * added with what their rounding loses, in fixed places and order. Within a product the terms of an
 * element meet in chains of 512 at most (or as many as BLIS's blocks are deep, some hundred), and
 * what those come to is added one after another. The error of an element with terms t[l] is then
 * at most 560 u sum |t[l]| for any k, u being 2^-24 or 2^-53. scratch: wf_gemm_scratch bytes; that
 * is 0 if k is no longer than a span, and -1 if they are too many. */
enum { WF_GEMM_SPAN = 16384 };
WF_API int64_t wf_gemm_scratch(wf_dtype dtype, int64_t m, int64_t n, int64_t k);
WF_API void wf_gemm_long(wf_dtype dtype, int threads, int64_t m, int64_t n, int64_t k, double alpha,
                         const void *a, int64_t a_row, int64_t a_col, const void *b, int64_t b_row, int64_t b_col,
                         double beta, void *c, int64_t c_row, int64_t c_col, void *scratch);
/* Its two steps, for sums of several products: C + low += P, where low holds what rounding lost,
 * and C += low. P and low are (m, n) row-major. */
WF_API void wf_gemm_fold(wf_dtype dtype, int threads, int64_t m, int64_t n, const void *p, void *low,
                         void *c, int64_t c_row, int64_t c_col);
WF_API void wf_gemm_settle(wf_dtype dtype, int threads, int64_t m, int64_t n, const void *low,
                           void *c, int64_t c_row, int64_t c_col);

/* Packed weights: B (k, n) laid out in panels of wf_pack_width columns, padded with zeros,
 * 64-byte aligned. */
WF_API int64_t wf_pack_width(wf_dtype dtype);                          /* columns per panel at this dispatch level */
WF_API int64_t wf_pack_count(wf_dtype dtype, int64_t k, int64_t n);    /* elements that it takes; -1: too many */
WF_API void wf_pack(wf_dtype dtype, int threads, int64_t k, int64_t n, const void *b, int64_t b_row, int64_t b_col, void *packed);

/* C (m, n) = A (m, k) B, or += when `add`, on the calling thread, for panels first <= p < last
 * (columns p * width on; n is still the whole width of C). A and C are row-major with row
 * strides a_row and c_row. Every element is one chain of fused multiply-adds over k, so the bits
 * do not depend on how rows and panels are shared out. */
WF_API void wf_gemm_packed(wf_dtype dtype, int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row,
                           const void *packed, int64_t first, int64_t last, bool add, void *c, int64_t c_row);

WF_END

#endif
