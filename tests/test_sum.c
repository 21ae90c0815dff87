/* Sums in which many terms meet: every set of axes and layout against the definition, in parts and
 * whole, and the same bits for any number of threads, of which this program allows five. */
#include "tensor/gemm.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/sum.h"
#include "tests/fixture.h"
#include "tests/harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int widths[] = { 1, 2, 3, 5 };
enum { WIDTHS = sizeof widths / sizeof widths[0], MANY = 300000 };
static const wf_dtype floats[] = { WF_F32, WF_F64 };

static double get(const wf_tensor *x, int64_t at)
{
    return x->dtype == WF_F32 ? (double)((const float *)x->data)[at]
                              : ((const double *)x->data)[at];
}

/* Numbers in [-1, 2) with all bits used, wherever the tensor lies. */
static void fill(const wf_tensor *x, uint64_t key)
{
    const int64_t n = wf_tensor_count(x);
    for (int64_t i = 0; i < n; i++) put(x, i, 3 * wf_random_uniform(key, (uint64_t)i) - 1);
}

/* to += `by` times the sum of x, by the definition; and the sums of |x|. */
static void define(const wf_tensor *x, const wf_tensor *to, double by, long double *exact,
                   double *size)
{
    const wf_shape shape = wf_tensor_shape(x), small = wf_tensor_shape(to);
    const int64_t n = wf_tensor_count(x), sums = wf_tensor_count(to);
    for (int64_t i = 0; i < sums; i++) {
        exact[i] = (long double)get(to, offset_of(to, i));
        size[i] = 0;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t index[WF_RANK], at = 0;
        unflatten(&shape, i, index);
        for (int k = 0; k < small.rank; k++) {
            const int64_t own = index[shape.rank - small.rank + k];
            at = at * small.dim[k] + (small.dim[k] == 1 ? 0 : own);
        }
        const double value = get(x, offset_of(x, i));
        exact[at] += (long double)value * (long double)by;
        size[at] += fabs(value * by);
    }
}

static void check_sum(const wf_tensor *x, const wf_tensor *to, double scale, double divisor,
                      const char *what)
{
    const int64_t sums = wf_tensor_count(to);
    long double *exact = malloc((size_t)sums * sizeof *exact);
    double *size = malloc((size_t)sums * 3 * sizeof *size), *before = size + sums,
           *first = before + sums;
    for (int64_t i = 0; i < sums; i++) before[i] = get(to, offset_of(to, i));
    define(x, to, scale / divisor, exact, size);
    const double u = x->dtype == WF_F32 ? 0x1p-24 : 0x1p-53;
    const double terms = (double)wf_tensor_count(x) / (double)(sums ? sums : 1);
    for (int w = 0; w < WIDTHS; w++) {
        for (int64_t i = 0; i < sums; i++) put(to, i, before[i]);
        wf_sum_tensor(x, to, scale, divisor, widths[w]);
        for (int64_t i = 0; i < sums; i++) {
            const double got = get(to, offset_of(to, i)), true_sum = (double)exact[i];
            /* What tensor/sum.h says, and a rounding each for scale, divisor and `to`. */
            const double bound = 3 * u * (fabs(true_sum) + fabs(before[i])) +
                                 (x->dtype == WF_F32 ? (terms + 4) * 0x1p-53 : 16 * u) * size[i];
            ck_assert_msg(fabs(got - true_sum) <= bound,
                          "%s, %s: sum %d is %.17g for %.17g, %g beyond the bound", what,
                          wf_dtype_name(x->dtype), (int)i, got, true_sum,
                          fabs(got - true_sum) - bound);
            if (w == 0) first[i] = got;
            ck_assert_msg(memcmp(&first[i], &got, sizeof got) == 0, "%s: %d threads change bits",
                          what, widths[w]);
        }
    }
    free(exact);
    free(size);
}

TEST(a_sum_over_any_axes_in_any_layout_is_the_definition)
{
    static double memory[ROOM], result[ROOM];
    for (int d = 0; d < 2; d++) {
        for (int layout = 0; layout < LAYOUTS; layout++) {
            for (int axes = 0; axes < 8; axes++) {
                const wf_tensor x = laid_out(layout, floats[d], memory);
                wf_shape small = laid_out_form;
                for (int k = 0; k < 3; k++)
                    if (axes >> k & 1) small.dim[k] = 1;
                fill(&x, (uint64_t)layout + 1);
                wf_tensor to = wf_tensor_of(floats[d], small, result);
                fill(&to, 9);
                check_sum(&x, &to, 1, 1, "small");
                /* Into a result whose axes are turned round. */
                wf_shape turned = small;
                turned.dim[0] = small.dim[2];
                turned.dim[2] = small.dim[0];
                to = wf_tensor_of(floats[d], turned, result);
                ck_assert(wf_view_transpose(&to, 0, 2, &to));
                check_sum(&x, &to, -1.5, 3, "turned");
            }
        }
    }
}

/* Forms that are cut into parts and that are not, with few sums and many, rows and runs. */
static const struct {
    const char *label;
    wf_shape from, to;
} forms[] = {
    { "everything", { 1, { MANY } }, { 0, { 0 } } },
    { "everything, axes that do not merge", { 3, { 7, 301, 101 } }, { 0, { 0 } } },
    { "rows", { 2, { MANY / 3, 3 } }, { 1, { 3 } } },
    { "rows of more than a block", { 2, { 261, 1031 } }, { 1, { 1031 } } },
    { "rows of some", { 2, { 1181, 255 } }, { 1, { 255 } } },
    { "columns", { 2, { 3, MANY / 3 } }, { 2, { 3, 1 } } },
    { "many columns", { 2, { 70001, 3 } }, { 2, { 70001, 1 } } },
    { "the middle", { 3, { 5, 20011, 3 } }, { 3, { 5, 1, 3 } } },
    { "around the middle", { 3, { 211, 5, 301 } }, { 2, { 5, 1 } } },
    { "around a long middle", { 3, { 3, 20011, 5 } }, { 2, { 20011, 1 } } },
    { "every second axis", { 5, { 7, 11, 13, 5, 31 } }, { 5, { 1, 11, 1, 5, 1 } } },
    { "the other axes", { 5, { 7, 11, 13, 5, 31 } }, { 5, { 7, 1, 13, 1, 31 } } },
    { "few rows of long runs", { 3, { 2, 5, 30011 } }, { 2, { 5, 1 } } },
    { "nothing", { 2, { 0, 3 } }, { 1, { 3 } } },
    { "no sums", { 2, { 3, 0 } }, { 1, { 0 } } },
};
enum { FORMS = sizeof forms / sizeof forms[0] };

TEST_EACH(a_long_sum_has_its_bound_and_the_same_bits_for_any_threads, FORMS)
{
    static double memory[2 * MANY], result[MANY];
    ck_assert_int_le(wf_shape_count(&forms[_i].from), 2 * MANY);
    ck_assert_int_le(wf_shape_count(&forms[_i].to), MANY);
    for (int d = 0; d < 2; d++) {
        wf_tensor x = wf_tensor_of(floats[d], forms[_i].from, memory);
        wf_tensor to = wf_tensor_of(floats[d], forms[_i].to, result);
        fill(&x, 3);
        fill(&to, 4);
        check_sum(&x, &to, 1, 1, forms[_i].label);
        check_sum(&x, &to, 0.7, 11, forms[_i].label);
    }
}

TEST(rows_and_runs_of_any_number_and_step_are_summed)
{
    static double memory[40 * 40 * 4];
    for (int d = 0; d < 2; d++) {
        for (int64_t rows = 0; rows < 20; rows++) {
            for (int64_t step = 1; step < 4; step += 2) {
                const int64_t n = 37;
                const wf_tensor all = wf_tensor_of(floats[d], WF_SHAPE(40 * 40 * 4), memory);
                const void *row[20];
                double high[37] = { 0 }, low[37] = { 0 }, sum = 0, rest = 0;
                fill(&all, (uint64_t)rows + 1);
                for (int64_t r = 0; r < rows; r++)
                    row[r] = (char *)memory + r * 120 * wf_dtype_size(floats[d]);
                wf_sum_rows(floats[d], rows, n, row, step, high, low);
                for (int64_t j = 0; j < n; j++) {
                    long double exact = 0;
                    for (int64_t r = 0; r < rows; r++)
                        exact += (long double)get(&all, r * 120 + j * step);
                    ck_assert_double_eq_tol(wf_sum_value(high[j], low[j]), (double)exact, 1e-14);
                }
                wf_sum_run(floats[d], rows * 97, memory, step, &sum, &rest);
                long double exact = 0;
                for (int64_t i = 0; i < rows * 97; i++) exact += (long double)get(&all, i * step);
                ck_assert_double_eq_tol(wf_sum_value(sum, rest), (double)exact, 1e-11);
                for (int64_t j = 0; j < n; j++) put(&all, j * step, 5);
                wf_sum_into(floats[d], n, high, low, memory, step);
                for (int64_t j = 0; j < n; j++)
                    ck_assert_double_eq_tol(get(&all, j * step), 5 + wf_sum_value(high[j], low[j]),
                                            1e-5);
            }
        }
    }
}

/* ---- products with a long k ---- */

static const struct {
    int64_t m, n, k;
    bool a_turned, b_turned, c_turned;
    double alpha, beta;
} products[] = {
    { 3, 5, 100000, true, false, false, 1, 1 },     { 1, 7, 50000, false, true, false, 0.5, 0 },
    { 1, 40, 40000, false, false, false, 1, 0 },    { 97, 70, 17001, true, false, false, 1, 1 },
    { 130, 3, 20000, false, true, true, -2, 0.25 }, { 300, 70, 16900, true, false, false, 1, 1 },
    { 2, 2, 16384, false, false, false, 1, 0 },     { 2, 3, 16385, true, true, true, 1, 1 },
};
enum { PRODUCTS = sizeof products / sizeof products[0] };

TEST_EACH(a_product_with_a_long_inner_size_has_its_bound_and_the_same_bits_for_any_threads,
          PRODUCTS)
{
    const int64_t m = products[_i].m, n = products[_i].n, k = products[_i].k;
    for (int d = 0; d < 2; d++) {
        const wf_dtype dtype = floats[d];
        const size_t size = (size_t)wf_dtype_size(dtype);
        const int64_t bytes = wf_gemm_scratch(dtype, m, n, k);
        ck_assert_int_eq(bytes, k > WF_GEMM_SPAN ? 2 * m * n * (int64_t)size : 0);
        const wf_tensor a = wf_tensor_of(dtype, WF_SHAPE(m * k), malloc((size_t)(m * k) * size)),
                        b = wf_tensor_of(dtype, WF_SHAPE(n * k), malloc((size_t)(n * k) * size)),
                        was = wf_tensor_of(dtype, WF_SHAPE(m * n), malloc((size_t)(m * n) * size)),
                        c = wf_tensor_of(dtype, WF_SHAPE(m * n), malloc((size_t)(m * n) * size));
        void *scratch = bytes ? malloc((size_t)bytes) : NULL,
             *first = malloc((size_t)(m * n) * size);
        fill(&a, 1);
        fill(&b, 2);
        fill(&was, 3);
        const int64_t a_row = products[_i].a_turned ? 1 : k, a_col = products[_i].a_turned ? m : 1,
                      b_row = products[_i].b_turned ? 1 : n, b_col = products[_i].b_turned ? k : 1,
                      c_row = products[_i].c_turned ? 1 : n, c_col = products[_i].c_turned ? m : 1;
        const double u = dtype == WF_F32 ? 0x1p-24 : 0x1p-53;
        for (int w = 0; w < WIDTHS; w++) {
            memcpy(c.data, was.data, (size_t)(m * n) * size);
            wf_gemm_long(widths[w], products[_i].alpha,
                         wf_matrix_strided(dtype, a.data, m, k, a_row, a_col),
                         wf_matrix_strided(dtype, b.data, k, n, b_row, b_col), products[_i].beta,
                         wf_matrix_strided(dtype, c.data, m, n, c_row, c_col), scratch);
            if (w == 0) memcpy(first, c.data, (size_t)(m * n) * size);
            ck_assert_int_eq(memcmp(first, c.data, (size_t)(m * n) * size), 0);
        }
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < n && (i + j) % 3 == 0; j++) {
                const double old = products[_i].beta * get(&was, i * c_row + j * c_col);
                long double sum = (long double)old;
                double all = fabs(old);
                for (int64_t l = 0; l < k; l++) {
                    const double x = products[_i].alpha * get(&a, i * a_row + l * a_col) *
                                     get(&b, l * b_row + j * b_col);
                    sum += (long double)x;
                    all += fabs(x);
                }
                const double got = get(&c, i * c_row + j * c_col);
                ck_assert_msg(fabs(got - (double)sum) <= 560 * u * all,
                              "(%d, %d): %.9g for %.9g, %g of the bound", (int)i, (int)j, got,
                              (double)sum, fabs(got - (double)sum) / (560 * u * all));
            }
        }
        free(a.data);
        free(b.data);
        free(c.data);
        free(was.data);
        free(scratch);
        free(first);
    }
}

TEST(an_infinite_product_stays_infinite_however_long_it_is)
{
    static double a[20000], b[20000], scratch[2];
    double c = 0;
    for (int i = 0; i < 20000; i++) a[i] = b[i] = 1;
    a[5] = (double)INFINITY;
    wf_gemm_long(1, 1, wf_matrix_of(WF_F64, a, 1, 20000), wf_matrix_of(WF_F64, b, 20000, 1), 0,
                 wf_matrix_of(WF_F64, &c, 1, 1), scratch);
    ck_assert(c == (double)INFINITY);
    a[5] = 1e308, a[19000] = 1e308;
    wf_gemm_long(1, 1, wf_matrix_of(WF_F64, a, 1, 20000), wf_matrix_of(WF_F64, b, 20000, 1), 0,
                 wf_matrix_of(WF_F64, &c, 1, 1), scratch);
    ck_assert(c == (double)INFINITY);
    a[19000] = (double)NAN;
    wf_gemm_long(1, 1, wf_matrix_of(WF_F64, a, 1, 20000), wf_matrix_of(WF_F64, b, 20000, 1), 0,
                 wf_matrix_of(WF_F64, &c, 1, 1), scratch);
    ck_assert(isnan(c));
    ck_assert_int_eq(wf_gemm_scratch(WF_F64, INT64_MAX, 3, 17000), -1);
    ck_assert_int_eq(wf_gemm_scratch(WF_F64, INT64_MAX / 4, 1, 17000), -1);
}

const harness_suite suite = { .threads = 5 };
