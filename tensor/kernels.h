/* The kernels that are compiled once per dispatch level, as tables of functions. Not installed;
 * only tensor/ includes it. */
#ifndef WEFT_TENSOR_KERNELS_H
#define WEFT_TENSOR_KERNELS_H

#include "tensor/gemm.h"
#include "tensor/isa.h"
#include "tensor/tensor.h"

/* Of one dtype, the meaning of tensor/sum.h: eight rows of n neighbours, one row, one sum. */
typedef struct wf_sum_table {
    void (*eight)(int64_t n, const void *const row[], double *high, double *low);
    void (*one)(int64_t n, const void *row, int64_t step, double *high, double *low);
    void (*run)(int64_t n, const void *x, int64_t step, double *high, double *low);
    /* to[i * step] += scale / divisor times sum i. */
    void (*into)(int64_t n, const double *high, const double *low, double scale, double divisor,
                 void *to, int64_t step);
    /* A row of wf_gemm_fold and of wf_gemm_settle. */
    void (*fold)(int64_t n, const void *p, void *low, void *c, int64_t step);
    void (*settle)(int64_t n, const void *low, void *c, int64_t step);
    /* to[i * to_step] += scale * x[i * step], x of F32 or F64. */
    void (*add[WF_DTYPES])(int64_t n, double scale, const void *x, int64_t step, void *to,
                   int64_t to_step);
} wf_sum_table;

/* A product's operands as wf_gemm takes them. */
typedef struct wf_gemm_call {
    int64_t m, n, k;
    const void *a;
    int64_t a_row, a_col;
    const void *b;
    int64_t b_row, b_col;
    void *c;
    int64_t c_row, c_col;
    double alpha, beta;
} wf_gemm_call;

/* The kernels of one dtype: the meaning of wf_pack and wf_gemm_packed on panels first <= p < last
 * of `width` columns, and a whole product by its units, begin <= unit < end of units(call,
 * &span), in any order and without memory of their own, for sizes of 1 or more. A unit spans some
 * rows and `span` columns. */
typedef struct wf_gemm_table {
    int64_t width;
    void (*pack)(int64_t k, int64_t n, const void *b, int64_t b_row, int64_t b_col, void *packed,
                 int64_t first, int64_t last);
    void (*packed)(int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row, int64_t a_col,
                   const void *packed, int64_t first, int64_t last, wf_packed_into into, void *c,
                   int64_t c_row);
    int64_t (*units)(const wf_gemm_call *call, int64_t *span);
    void (*run)(const wf_gemm_call *call, int64_t begin, int64_t end);
} wf_gemm_table;

/* A panel for the calling thread, aligned to 64 bytes, which gives it back before it calls anything
 * else. With more threads at work than there are panels it waits for one. In a forked child, where
 * the threads that had some are gone, all are free again. */
enum { WF_PANEL_BYTES = 32 << 10 };
void *wf_panel_take(void);
void wf_panel_give(void *panel);

typedef wf_gemm_table wf_gemm_tables[WF_DTYPES]; /* by dtype, where it is one of floats */
typedef const wf_sum_table *wf_sum_tables[WF_DTYPES];
extern const wf_gemm_tables WF_ISA_EACH(wf_gemm_kernels);
extern const wf_sum_tables WF_ISA_EACH(wf_sum_kernels);

/* Those of the dispatch level. */
const wf_gemm_table *wf_gemm_kernels(wf_dtype dtype);
const wf_sum_table *wf_sum_kernels(wf_dtype dtype);

/* The processor itself, whatever WEFT_ISA says. */
wf_isa wf_isa_found(void);
typedef struct wf_cpu {
    bool intel, amd;
    int family, model;
} wf_cpu;
wf_cpu wf_cpu_id(void);

/* blis.c: a product by BLIS on the calling thread alone, sizes of 1 or more. The first call of
 * either function chooses BLIS's kernels and warms its pools, for all threads when it comes from
 * outside parallel regions: ask for the units before. A product may be cut at multiples of a unit
 * of rows or of columns without changing a bit. */
bool wf_blis_takes(wf_dtype dtype);
void wf_blis_units(wf_dtype dtype, bool c_by_rows, int64_t *m, int64_t *n);
void wf_blis_gemm(wf_dtype dtype, const wf_gemm_call *call);

#endif
