/* Products: small ones by kernels of our own, without memory or threads; large ones by BLIS, cut
 * among our threads; and products with weights packed once. */
#include "tensor/gemm.h"
#include "tensor/kernels.h"
#include "tensor/par.h"
#include "tensor/size.h"

#include <string.h>

enum {
    SHARE = 1 << 22
}; /* multiply-adds that are worth a thread: what it writes comes back from its cache */
enum { CUT = 256 }; /* rows and columns below which BLIS does not pay */

/* C = beta C: what is left of a product without depth. */
static void scale(wf_dtype dtype, const wf_gemm_call *g)
{
    const wf_dtype_info *x = wf_dtype_describe(dtype);
    double held; /* beta as the dtype holds it */
    x->store(&held, 0, g->beta);
    const double beta = x->load(&held, 0);
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
    const double m = (double)g->m, n = (double)g->n, k = (double)g->k;
    const double bytes = m * k * (double)wf_dtype_size(dtype);
    if (g->a_col != 1 && bytes >= 4 << 20) return m > CUT && n > CUT / 4;
    return m * n * k > 1 << 27 && m > CUT && n > CUT;
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

void wf_gemm(wf_dtype dtype, int threads, int64_t m, int64_t n, int64_t k, double alpha,
             const void *a, int64_t a_row, int64_t a_col, const void *b, int64_t b_row,
             int64_t b_col, double beta, void *c, int64_t c_row, int64_t c_col)
{
    if (m <= 0 || n <= 0 || !wf_dtype_is_float(dtype) || !c || (k > 0 && (!a || !b))) return;
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_gemm_call g = { m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_row, c_col, alpha, beta };
    /* One row rather than one column, and C's columns next to each other. */
    if (n == 1 ? m > 1 : c_col != 1 && c_row == 1) g = turned(&g);
    if (g.n == 1) g.c_col = 1;
    if (k > 0 && alpha != 0 && is_large(dtype, &g)) {
        large(dtype, threads, &g);
        return;
    }
    own x = { wf_gemm_kernels(dtype), &g };
    const double work = (double)m * (double)n * (double)k;
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
    wf_dtype dtype;
    int64_t n;
    const char *p;
    char *low, *c;
    int64_t c_row, c_col;
} folding;

static void fold_rows(void *context, int64_t begin, int64_t end)
{
    const folding *f = context;
    const wf_sum_table *kernels = wf_sum_kernels(f->dtype);
    const int64_t size = wf_dtype_size(f->dtype);
    for (int64_t i = begin; i < end; i++) {
        char *low = f->low + i * f->n * size, *c = f->c + i * f->c_row * size;
        if (f->p)
            kernels->fold(f->n, f->p + i * f->n * size, low, c, f->c_col);
        else
            kernels->settle(f->n, low, c, f->c_col);
    }
}

void wf_gemm_fold(wf_dtype dtype, int threads, int64_t m, int64_t n, const void *p, void *low,
                  void *c, int64_t c_row, int64_t c_col)
{
    if (!wf_dtype_is_float(dtype) || m <= 0 || n <= 0 || !p || !low || !c) return;
    folding f = { dtype, n, p, low, c, c_row, c_col };
    wf_par_for(threads, m, PART / n + 1, fold_rows, &f);
}

void wf_gemm_settle(wf_dtype dtype, int threads, int64_t m, int64_t n, const void *low, void *c,
                    int64_t c_row, int64_t c_col)
{
    if (!wf_dtype_is_float(dtype) || m <= 0 || n <= 0 || !low || !c) return;
    folding f = { dtype, n, NULL, (char *)(uintptr_t)low, c, c_row, c_col };
    wf_par_for(threads, m, PART / n + 1, fold_rows, &f);
}

void wf_gemm_long(wf_dtype dtype, int threads, int64_t m, int64_t n, int64_t k, double alpha,
                  const void *a, int64_t a_row, int64_t a_col, const void *b, int64_t b_row,
                  int64_t b_col, double beta, void *c, int64_t c_row, int64_t c_col, void *scratch)
{
    const bool whole = !scratch || k <= WF_GEMM_SPAN || m <= 0 || n <= 0 ||
                       !wf_dtype_is_float(dtype);
    const int64_t first = whole ? k : WF_GEMM_SPAN;
    wf_gemm(dtype, threads, m, n, first, alpha, a, a_row, a_col, b, b_row, b_col, beta, c, c_row,
            c_col);
    if (whole || !a || !b || !c) return;
    char *p = scratch, *low = wf_element(dtype, p, m * n);
    memset(low, 0, (size_t)(m * n * wf_dtype_size(dtype)));
    for (int64_t l = first; l < k; l += WF_GEMM_SPAN) {
        const int64_t deep = k - l < WF_GEMM_SPAN ? k - l : WF_GEMM_SPAN;
        wf_gemm(dtype, threads, m, n, deep, alpha, wf_element(dtype, a, l * a_col), a_row, a_col,
                wf_element(dtype, b, l * b_row), b_row, b_col, 0, p, n, 1);
        wf_gemm_fold(dtype, threads, m, n, p, low, c, c_row, c_col);
    }
    wf_gemm_settle(dtype, threads, m, n, low, c, c_row, c_col);
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
    int64_t k, n, b_row, b_col;
    const void *b;
    void *packed;
} packing;

static void pack_part(void *context, int64_t first, int64_t last)
{
    const packing *x = context;
    x->kernels->pack(x->k, x->n, x->b, x->b_row, x->b_col, x->packed, first, last);
}

void wf_pack(wf_dtype dtype, int threads, int64_t k, int64_t n, const void *b, int64_t b_row,
             int64_t b_col, void *packed)
{
    if (!wf_dtype_is_float(dtype) || k <= 0 || n <= 0 || !b || !packed) return;
    packing x = { wf_gemm_kernels(dtype), k, n, b_row, b_col, b, packed };
    int64_t width = x.kernels->width, grain = 1 + (32 << 10) / (k * width);
    wf_par_for(threads, (n + width - 1) / width, grain, pack_part, &x);
}

void wf_gemm_packed(wf_dtype dtype, int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row,
                    const void *packed, int64_t first, int64_t last, bool add, void *c,
                    int64_t c_row)
{
    if (!wf_dtype_is_float(dtype) || m <= 0 || n <= 0 || k < 0 || first < 0 || first >= last)
        return;
    if (!c || (k > 0 && (!a || !packed))) return;
    const wf_gemm_table *kernels = wf_gemm_kernels(dtype);
    if (first >= (n + kernels->width - 1) / kernels->width) return;
    uint32_t fp = wf_fp_enter();
    kernels->packed(m, n, k, a, a_row, packed, first, last, add, c, c_row);
    wf_fp_leave(fp);
}
