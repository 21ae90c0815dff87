/* Products: small ones by kernels of our own, without memory or threads; large ones by BLIS, cut
 * among our threads; and products with weights packed once. */
#include "tensor/gemm.h"
#include "tensor/kernels.h"
#include "tensor/par.h"
#include "tensor/size.h"

#include <string.h>

/* Multiply-adds that are worth a thread: what it writes comes back from its cache. An element of B
 * costs about as much to read as a few rows of A to be multiplied with it. */
enum { SHARE = 1 << 22, READ = 8 };
enum { CUT = 256 }; /* rows and columns below which BLIS does not pay */

/* C = beta C: what is left of a product without depth. */
static void scale(wf_dtype dtype, const wf_gemm_call *g)
{
    const wf_dtype_info *x = wf_dtype_describe(dtype);
    const double beta = wf_dtype_round(dtype, g->beta);
    for (int64_t i = 0; i < g->m; i++) {
        for (int64_t j = 0; j < g->n; j++) {
            const int64_t at = i * g->c_row + j * g->c_col;
            x->store(g->c, at, beta == 0 ? 0 : beta * x->load(g->c, at));
        }
    }
}

/* The same product of the transposes: C' = B' A'. */
static wf_gemm_call turned(const wf_gemm_call *g)
{
    wf_gemm_call t = *g;
    t.m = g->n, t.n = g->m;
    t.a = g->b, t.a_row = g->b_col, t.a_col = g->b_row;
    t.b = g->a, t.b_row = g->a_col, t.b_col = g->a_row;
    t.c_row = g->c_col, t.c_col = g->c_row;
    return t;
}

/* Whether BLIS takes a product, which pays where both operands outgrow the caches: a matter of
 * shape and strides alone, never of the threads at hand. Measured on Zen 4; our kernels pack B
 * but read A in place, which costs most when its columns lie apart. */
static bool is_large(wf_dtype dtype, const wf_gemm_call *g)
{
    if (g->m <= CUT || !wf_blis_takes(dtype)) return false;
    const double m = (double)g->m, n = (double)g->n, k = (double)g->k;
    const double bytes = m * k * (double)wf_dtype_size(dtype);
    if (g->a_col != 1 && bytes >= 4 << 20) return n > CUT / 4;
    return m * n * k > 1 << 27 && n > CUT;
}

/* The units of a product by our own kernels. */
typedef struct own {
    const wf_gemm_table *kernels;
    const wf_gemm_call *call;
} own;

static void run_units(void *context, int64_t begin, int64_t end)
{
    const own *x = context;
    x->kernels->run(x->call, begin, end);
}

/* A large product, cut into units of columns or rows. */
typedef struct cut {
    wf_dtype dtype;
    const wf_gemm_call *call;
    bool columns;
} cut;

static void run_part(void *context, int64_t begin, int64_t end)
{
    const cut *x = context;
    wf_gemm_call g = *x->call;
    if (x->columns) {
        g.n = end - begin;
        g.b = wf_element(x->dtype, g.b, begin * g.b_col);
        g.c = wf_element(x->dtype, g.c, begin * g.c_col);
    } else {
        g.m = end - begin;
        g.a = wf_element(x->dtype, g.a, begin * g.a_row);
        g.c = wf_element(x->dtype, g.c, begin * g.c_row);
    }
    wf_blis_gemm(x->dtype, &g);
}

static void large(wf_dtype dtype, int threads, const wf_gemm_call *g)
{
    int64_t rows, columns;
    wf_blis_units(dtype, g->c_col == 1, &rows, &columns);
    /* Each thread packs the whole of the operand that is not cut: cut the longer side. */
    cut x = { .dtype = dtype, .call = g, .columns = g->n > g->m };
    wf_par_for(threads, x.columns ? g->n : g->m, x.columns ? columns : rows, run_part, &x);
}

/* The kernels of the product of a and b into c, or NULL where they do not fit. */
static inline const wf_gemm_table *kernels_for(const wf_matrix *a, const wf_matrix *b,
                                               const wf_matrix *c)
{
    if (a->rows != c->rows || b->columns != c->columns || a->columns != b->rows ||
        a->dtype != c->dtype || b->dtype != c->dtype || (unsigned)c->dtype >= WF_DTYPES ||
        c->rows <= 0 || c->columns <= 0 || !c->data || (a->columns > 0 && (!a->data || !b->data)))
        return NULL;
    const wf_gemm_table *kernels = wf_gemm_kernels(c->dtype);
    return kernels->width > 0 ? kernels : NULL;
}

void wf_gemm(int threads, double alpha, wf_matrix a, wf_matrix b, double beta, wf_matrix c)
{
    const wf_gemm_table *kernels = kernels_for(&a, &b, &c);
    if (!kernels) return;
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const wf_dtype dtype = c.dtype;
    const int64_t m = c.rows, n = c.columns, k = a.columns;
    wf_gemm_call g = { .m = m,
                       .n = n,
                       .k = k,
                       .a = a.data,
                       .a_row = a.row_stride,
                       .a_col = a.column_stride,
                       .b = b.data,
                       .b_row = b.row_stride,
                       .b_col = b.column_stride,
                       .c = c.data,
                       .c_row = c.row_stride,
                       .c_col = c.column_stride,
                       .alpha = alpha,
                       .beta = beta };
    /* One row rather than one column, and C's columns next to each other. */
    if (n == 1 ? m > 1 : g.c_col != 1 && g.c_row == 1) g = turned(&g);
    if (g.n == 1) g.c_col = 1;
    if (k > 0 && alpha != 0 && is_large(dtype, &g)) {
        large(dtype, threads, &g);
        return;
    }
    own x = { kernels, &g };
    const double work = (double)(g.m + READ) * (double)g.n * (double)k;
    if (threads > 1 && k > 0 && alpha != 0 && work >= 2 * SHARE) {
        int64_t span;
        if (work < SHARE * (double)threads) threads = (int)(work / SHARE);
        wf_par_for(threads, x.kernels->units(&g, &span), 1, run_units, &x);
        return;
    }
    if (k <= 0 || alpha == 0)
        scale(dtype, &g);
    else
        x.kernels->run(&g, 0, INT64_MAX);
}

/* ---- a long k ---- */

enum { PART = 16384 }; /* elements that are worth a thread */

int64_t wf_gemm_scratch(wf_dtype dtype, int64_t m, int64_t n, int64_t k)
{
    int64_t bytes = -1;
    if (!wf_dtype_is_float(dtype) || k <= WF_GEMM_SPAN || m <= 0 || n <= 0) return 0;
    if (!wf_size_mul(m, n, &m) || !wf_size_mul(m, 2 * wf_dtype_size(dtype), &bytes)) return -1;
    return bytes;
}

/* Rows of C that take up what is in p and low; without p, low. */
typedef struct folding {
    const void *p;
    wf_matrix low, c;
} folding;

static void fold_rows(void *context, int64_t begin, int64_t end)
{
    const folding *f = context;
    const wf_sum_table *kernels = wf_sum_kernels(f->c.dtype);
    const int64_t n = f->c.columns, step = f->c.column_stride;
    for (int64_t i = begin; i < end; i++) {
        void *low = wf_matrix_at(f->low, i, 0), *c = wf_matrix_at(f->c, i, 0);
        if (f->p)
            kernels->fold(n, wf_element(f->c.dtype, f->p, i * n), low, c, step);
        else
            kernels->settle(n, low, c, step);
    }
}

static void fold(int threads, const void *p, const void *low, wf_matrix c)
{
    if (!wf_dtype_is_float(c.dtype) || c.rows <= 0 || c.columns <= 0 || !low || !c.data) return;
    folding f = { p, wf_matrix_of(c.dtype, low, c.rows, c.columns), c };
    wf_par_for(threads, c.rows, PART / c.columns + 1, fold_rows, &f);
}

void wf_gemm_fold(int threads, const void *p, void *low, wf_matrix c)
{
    if (p) fold(threads, p, low, c);
}

void wf_gemm_settle(int threads, const void *low, wf_matrix c)
{
    fold(threads, NULL, low, c);
}

void wf_gemm_long(int threads, double alpha, wf_matrix a, wf_matrix b, double beta, wf_matrix c,
                  void *scratch)
{
    const int64_t k = a.columns;
    if (!kernels_for(&a, &b, &c) || !scratch || k <= WF_GEMM_SPAN) {
        wf_gemm(threads, alpha, a, b, beta, c);
        return;
    }
    const wf_matrix p = wf_matrix_of(c.dtype, scratch, c.rows, c.columns);
    const wf_matrix low = wf_matrix_of(c.dtype, wf_matrix_at(p, c.rows, 0), c.rows, c.columns);
    memset(low.data, 0, (size_t)(c.rows * c.columns * wf_dtype_size(c.dtype)));
    for (int64_t l = 0; l < k; l += WF_GEMM_SPAN) {
        const int64_t deep = k - l < WF_GEMM_SPAN ? k - l : WF_GEMM_SPAN;
        wf_gemm(threads, alpha, wf_matrix_part(a, 0, l, c.rows, deep),
                wf_matrix_part(b, l, 0, deep, c.columns), l == 0 ? beta : 0, l == 0 ? c : p);
        if (l > 0) wf_gemm_fold(threads, p.data, low.data, c);
    }
    wf_gemm_settle(threads, low.data, c);
}

/* ---- packed weights ---- */

int64_t wf_pack_width(wf_dtype dtype)
{
    return wf_dtype_is_float(dtype) ? wf_gemm_kernels(dtype)->width : 0;
}

int64_t wf_pack_count(wf_dtype dtype, int64_t k, int64_t n)
{
    if (!wf_dtype_is_float(dtype) || k <= 0 || n <= 0) return 0;
    int64_t count = -1, columns;
    if (wf_size_align(n, wf_gemm_kernels(dtype)->width, &columns)) wf_size_mul(columns, k, &count);
    return count;
}

typedef struct packing {
    const wf_gemm_table *kernels;
    wf_matrix b;
    void *packed;
} packing;

static void pack_part(void *context, int64_t first, int64_t last)
{
    const packing *x = context;
    x->kernels->pack(x->b.rows, x->b.columns, x->b.data, x->b.row_stride, x->b.column_stride,
                     x->packed, first, last);
}

void wf_pack(int threads, wf_matrix b, void *packed)
{
    if (!wf_dtype_is_float(b.dtype) || b.rows <= 0 || b.columns <= 0 || !b.data || !packed) return;
    packing x = { wf_gemm_kernels(b.dtype), b, packed };
    int64_t width = x.kernels->width, grain = 1 + (32 << 10) / (b.rows * width);
    wf_par_for(threads, (b.columns + width - 1) / width, grain, pack_part, &x);
}

void wf_gemm_packed(wf_matrix a, const void *packed, int64_t first, int64_t last,
                    wf_packed_into into, wf_matrix c)
{
    const int64_t m = c.rows, n = c.columns, k = a.columns;
    if (!wf_dtype_is_float(c.dtype) || a.dtype != c.dtype || a.rows != m || m <= 0 || n <= 0 ||
        k < 0 || first < 0 || first >= last)
        return;
    if (!c.data || (k > 0 && (!a.data || !packed))) return;
    const wf_gemm_table *kernels = wf_gemm_kernels(c.dtype);
    if (first >= (n + kernels->width - 1) / kernels->width) return;
    uint32_t fp = wf_fp_enter();
    kernels->packed(m, n, k, a.data, a.row_stride, a.column_stride, packed, first, last, into,
                    c.data, c.row_stride);
    wf_fp_leave(fp);
}
