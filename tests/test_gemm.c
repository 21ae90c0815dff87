/* Matrix products against sums in long double: every small size, the edges of tiles and blocks,
 * any strides, buffers that end at a page that must not be touched; and the promise that the bits
 * do not depend on the number of threads. */
#include "tensor/gemm.h"
#include "tensor/isa.h"
#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tests/harness.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { THREADS = 5 }; /* more than there may be processors */

/* ---- matrices in memory that is fenced on the right or the left ---- */

typedef struct matrix {
    wf_dtype dtype;
    int64_t rows, columns, row, column; /* sizes and strides */
    int64_t count;                      /* elements from the first to the last, gaps included */
    char *data;
    char *pages;
    size_t bytes;
} matrix;

/* From WINDOW on one element serves several indices: for A and B only. */
enum layout {
    BY_ROWS,
    BY_COLUMNS,
    LOOSE_ROWS,
    LOOSE_COLUMNS,
    ANYHOW,
    WINDOW,
    SAME_ROWS,
    SAME_COLUMNS,
    ALL_SAME,
    ALL_LAYOUTS,
    LAYOUTS = WINDOW
};

static uint64_t seed = 1;

static uint64_t dice(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

static size_t size_of(wf_dtype dtype)
{
    return dtype == WF_F64 ? sizeof(double) : sizeof(float);
}

static void put(const matrix *x, int64_t index, double value)
{
    if (x->dtype == WF_F64)
        ((double *)x->data)[index] = value;
    else
        ((float *)x->data)[index] = (float)value;
}

static double get(const matrix *x, int64_t i, int64_t j)
{
    int64_t index = i * x->row + j * x->column;
    return x->dtype == WF_F64 ? ((double *)x->data)[index] : (double)((float *)x->data)[index];
}

/* Numbers in [-1, 1], many of them alike in size, none of them special. */
static matrix matrix_new(wf_dtype dtype, int64_t rows, int64_t columns, enum layout layout)
{
    matrix x = { .dtype = dtype, .rows = rows, .columns = columns };
    switch (layout) {
    case BY_ROWS: x.row = columns, x.column = 1; break;
    case BY_COLUMNS: x.row = 1, x.column = rows; break;
    case LOOSE_ROWS: x.row = columns + 5, x.column = 1; break;
    case LOOSE_COLUMNS: x.row = 1, x.column = rows + 3; break;
    case ANYHOW: x.row = 2 * columns + 1, x.column = 2; break;
    default:
        x.row = layout == WINDOW || layout == SAME_COLUMNS;
        x.column = layout == WINDOW || layout == SAME_ROWS;
        break;
    }
    x.count = rows > 0 && columns > 0 ? (rows - 1) * x.row + (columns - 1) * x.column + 1 : 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), need = (size_t)x.count * size_of(dtype);
    size_t inner = (need + page - 1) / page * page;
    x.bytes = inner + 2 * page;
    x.pages = mmap(NULL, x.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(x.pages, MAP_FAILED);
    ck_assert_int_eq(mprotect(x.pages, page, PROT_NONE), 0);
    ck_assert_int_eq(mprotect(x.pages + page + inner, page, PROT_NONE), 0);
    x.data = dice() % 4 == 0 ? x.pages + page : x.pages + page + inner - need;
    for (int64_t i = 0; i < x.count; i++) put(&x, i, (double)dice() * 0x1p-30 - 1.0);
    return x;
}

static matrix matrix_copy(const matrix *x)
{
    matrix y = *x;
    y.data = malloc((size_t)x->count * size_of(x->dtype) + 1);
    y.pages = NULL;
    ck_assert_ptr_nonnull(y.data);
    memcpy(y.data, x->data, (size_t)x->count * size_of(x->dtype));
    return y;
}

/* OWNED x = ...: freed where its scope ends. */
#define OWNED __attribute__((cleanup(matrix_free))) matrix

static void matrix_free(matrix *x)
{
    if (x->pages)
        munmap(x->pages, x->bytes);
    else
        free(x->data);
}

static bool same_bits(const matrix *x, const matrix *y)
{
    return memcmp(x->data, y->data, (size_t)x->count * size_of(x->dtype)) == 0;
}

static void multiply(int threads, double alpha, const matrix *a, const matrix *b, double beta,
                     const matrix *c)
{
    wf_gemm(threads, alpha,
            wf_matrix_strided(a->dtype, a->data, c->rows, a->columns, a->row, a->column),
            wf_matrix_strided(a->dtype, b->data, a->columns, c->columns, b->row, b->column), beta,
            wf_matrix_strided(a->dtype, c->data, c->rows, c->columns, c->row, c->column));
}

/* The largest error of C in units of what k sums may lose: u (|alpha| |A||B| + |beta| |C|) times
 * the sums' number. Elements of C's buffer that are not C's must be what they were. */
static double worst(double alpha, const matrix *a, const matrix *b, double beta,
                    const matrix *before, const matrix *c)
{
    const double u = a->dtype == WF_F64 ? DBL_EPSILON / 2 : (double)FLT_EPSILON / 2;
    const int64_t k = a->columns;
    double found = 0;
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t j = 0; j < c->columns; j++) {
            long double sum = 0, size = 0;
            for (int64_t l = 0; l < k; l++) {
                long double x = (long double)get(a, i, l) * get(b, l, j);
                sum += x;
                size += fabsl(x);
            }
            long double old = beta != 0 ? (long double)beta * get(before, i, j) : 0;
            long double bound = (double)(k + 2) * u * (fabsl(alpha * size) + fabsl(old));
            long double error = fabsl(get(c, i, j) - (alpha * sum + old));
            double ratio = error == 0 ? 0 : (double)(error / bound);
            if (!(ratio <= found)) found = ratio;
        }
    }
    OWNED rest = matrix_copy(c);
    for (int64_t i = 0; i < c->rows; i++)
        for (int64_t j = 0; j < c->columns; j++)
            put(&rest, i * c->row + j * c->column, get(before, i, j));
    ck_assert_msg(same_bits(&rest, before), "wrote between the elements of C");
    return found;
}

static void check_product(wf_dtype dtype, int threads, int64_t m, int64_t n, int64_t k,
                          enum layout la, enum layout lb, enum layout lc, double alpha, double beta)
{
    OWNED a = matrix_new(dtype, m, k, la), b = matrix_new(dtype, k, n, lb),
          c = matrix_new(dtype, m, n, lc);
    if (beta == 0)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) put(&c, i * c.row + j * c.column, NAN);
    OWNED before = matrix_copy(&c);
    multiply(threads, alpha, &a, &b, beta, &c);
    double found = worst(alpha, &a, &b, beta, &before, &c);
    ck_assert_msg(
        found <= 1,
        "%s (%d, %d) times (%d, %d), layouts %d %d %d, alpha %g, beta %g: error %g bounds",
        wf_dtype_name(dtype), (int)m, (int)k, (int)k, (int)n, la, lb, lc, alpha, beta, found);
}

static const double factors[] = { 0, 1, -1, 2.5 };

static enum layout any_layout(void)
{
    return (enum layout)(dice() % LAYOUTS);
}

/* ---- the general product ---- */

TEST(every_product_of_sizes_0_to_20_is_right)
{
    for (int dtype = 0; dtype < 2; dtype++)
        for (int64_t m = 0; m <= 20; m++)
            for (int64_t n = 0; n <= 20; n++)
                for (int64_t k = 0; k <= 20; k++)
                    check_product((wf_dtype)dtype, 1 + (int)(dice() % 3), m, n, k, any_layout(),
                                  any_layout(), any_layout(), factors[dice() % 4],
                                  factors[dice() % 4]);
}

TEST(every_layout_and_factor_is_right)
{
    static const int64_t sizes[][3] = { { 1, 1, 40 },   { 1, 37, 21 }, { 37, 1, 21 }, { 2, 35, 9 },
                                        { 13, 19, 33 }, { 7, 130, 5 }, { 101, 67, 3 } };
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int way = 0; way < LAYOUTS * LAYOUTS * LAYOUTS; way++)
            for (int f = 0; f < 16; f++)
                check_product(f & 1 ? WF_F64 : WF_F32, 2, sizes[s][0], sizes[s][1], sizes[s][2],
                              (enum layout)(way % LAYOUTS), (enum layout)(way / LAYOUTS % LAYOUTS),
                              (enum layout)(way / LAYOUTS / LAYOUTS), factors[f / 4],
                              factors[f % 4]);
}

static const int64_t edges[] = { 1,  5,  6,  7,  12, 15, 16,  17,  31,  33, 48,
                                 63, 64, 65, 95, 96, 97, 127, 128, 129, 193 };
enum { EDGES = sizeof edges / sizeof edges[0] };

TEST(products_at_the_edges_of_tiles_and_blocks_are_right)
{
    for (int i = 0; i < 600; i++)
        check_product(i & 1 ? WF_F64 : WF_F32, 1 + i % 3, edges[dice() % EDGES],
                      edges[dice() % EDGES], edges[dice() % EDGES], any_layout(), any_layout(),
                      any_layout(), factors[dice() % 4], factors[dice() % 4]);
}

/* Several units of our own kernels, in each orientation; from the line on, large enough for BLIS
 * in some layouts or in all. */
static const int64_t large[][3] = {
    { 131, 259, 517 },
    { 300, 70, 400 },
    { 65, 700, 130 },
    { 1, 900, 500 },
    { 900, 1, 500 },
    { 3, 1500, 300 },
    { 1500, 3, 300 },
    { 97, 97, 1100 },
    { 20, 20, 3000 },
    { 257, 385, 96 },
    { 400, 600, 64 },
    { 193, 1025, 129 },
    /* --- */
    { 300, 300, 1500 },
    { 517, 70, 2100 },
    { 70, 517, 2100 },
    { 1111, 66, 1000 },
    { 271, 640, 800 },
};
enum { LARGE = sizeof large / sizeof large[0] };

TEST_EACH(large_products_are_right, LARGE)
{
    seed += (uint64_t)_i;
    for (int i = 0; i < 4; i++)
        check_product(i & 1 ? WF_F64 : WF_F32, 2, large[_i][0], large[_i][1], large[_i][2],
                      any_layout(), any_layout(), any_layout(), factors[1 + dice() % 3],
                      factors[dice() % 4]);
}

TEST(windows_and_broadcasts_are_multiplied_as_they_are_however_large)
{
    static const int64_t sizes[][3] = {
        { 5, 7, 9 }, { 1, 70, 40 }, { 70, 1, 40 }, { 300, 300, 1500 }, { 517, 70, 2100 }
    };
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (int layout = WINDOW; layout < ALL_LAYOUTS; layout++) {
            int other = (int)(dice() % ALL_LAYOUTS);
            check_product(WF_F32, 2, sizes[s][0], sizes[s][1], sizes[s][2], (enum layout)layout,
                          (enum layout)other, any_layout(), 1, factors[dice() % 4]);
            check_product(WF_F64, 2, sizes[s][0], sizes[s][1], sizes[s][2], (enum layout)other,
                          (enum layout)layout, any_layout(), 1, factors[dice() % 4]);
        }
    }
}

static void check_threads(wf_dtype dtype, int64_t m, int64_t n, int64_t k, enum layout la,
                          enum layout lb, enum layout lc, double alpha, double beta)
{
    OWNED a = matrix_new(dtype, m, k, la), b = matrix_new(dtype, k, n, lb),
          c = matrix_new(dtype, m, n, lc);
    OWNED one = matrix_copy(&c);
    multiply(1, alpha, &a, &b, beta, &one);
    for (int threads = 2; threads <= THREADS; threads++) {
        OWNED many = matrix_copy(&c);
        multiply(threads, alpha, &a, &b, beta, &many);
        ck_assert_msg(same_bits(&one, &many),
                      "%s (%d, %d) times (%d, %d), layouts %d %d %d: %d threads give other bits",
                      wf_dtype_name(dtype), (int)m, (int)k, (int)k, (int)n, la, lb, lc, threads);
    }
}

TEST_EACH(the_bits_do_not_depend_on_the_number_of_threads, LARGE)
{
    for (int way = _i % 3; way < LAYOUTS * LAYOUTS * LAYOUTS; way += 3)
        check_threads(way & 1 ? WF_F64 : WF_F32, large[_i][0], large[_i][1], large[_i][2],
                      (enum layout)(way % LAYOUTS), (enum layout)(way / LAYOUTS % LAYOUTS),
                      (enum layout)(way / LAYOUTS / LAYOUTS), factors[1 + dice() % 3],
                      factors[dice() % 4]);
}

TEST(the_bits_of_products_of_any_size_do_not_depend_on_the_number_of_threads)
{
    wf_par_width();
    for (int i = 0; i < 200; i++)
        check_threads(i & 1 ? WF_F64 : WF_F32, 1 + (int64_t)(dice() % 300),
                      1 + (int64_t)(dice() % 300), 1 + (int64_t)(dice() % 300), any_layout(),
                      any_layout(), any_layout(), factors[dice() % 4], factors[dice() % 4]);
    ck_assert_int_gt(wf_par_width(), 1);
}

/* 2^-70 times 2^-70 is below the normal numbers: every thread must flush it, or the sum of many
 * would differ. */
TEST(denormal_products_vanish_on_every_thread)
{
    for (int way = 0; way < 8; way++) {
        OWNED a = matrix_new(WF_F32, 300, 200, way & 1),
              b = matrix_new(WF_F32, 200, 400, way >> 1 & 1);
        OWNED c = matrix_new(WF_F32, 300, 400, way >> 2);
        for (int64_t i = 0; i < a.count; i++) put(&a, i, 0x1p-70);
        for (int64_t i = 0; i < b.count; i++) put(&b, i, 0x1p-70);
        multiply(THREADS, 1, &a, &b, 0, &c);
        int64_t left = 0;
        for (int64_t i = 0; i < c.count; i++) left += ((float *)c.data)[i] != 0;
        ck_assert_int_eq(left, 0);
    }
}

typedef struct shared {
    matrix a, b, want;
    int wrong;
} shared;

static void *multiply_often(void *context)
{
    shared *x = context;
    OWNED c = matrix_copy(&x->want);
    for (int i = 0; i < 20; i++) {
        multiply(2, 1, &x->a, &x->b, 0, &c);
        if (!same_bits(&c, &x->want)) __atomic_add_fetch(&x->wrong, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void multiply_inside(void *context, int64_t begin, int64_t end)
{
    for (; begin < end; begin++) multiply_often(context);
}

TEST(products_may_be_asked_for_by_many_threads_and_inside_parallel_regions)
{
    for (int way = 0; way < 2; way++) {
        shared x = { .a = matrix_new(WF_F32, 120, 150, way ? BY_COLUMNS : BY_ROWS),
                     .b = matrix_new(WF_F32, 150, 130, way) };
        x.want = matrix_new(WF_F32, 120, 130, BY_ROWS);
        multiply(1, 1, &x.a, &x.b, 0, &x.want);
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(pthread_create(threads + i, NULL, multiply_often, &x), 0);
        for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        wf_par_for(2, 4, 1, multiply_inside, &x);
        ck_assert_int_eq(x.wrong, 0);
        matrix_free(&x.a);
        matrix_free(&x.b);
        matrix_free(&x.want);
    }
}

/* ---- packed weights ---- */

static matrix packed_new(const matrix *b, int threads)
{
    matrix p = matrix_new(b->dtype, 1, wf_pack_count(b->dtype, b->rows, b->columns), BY_ROWS);
    wf_pack(threads, wf_matrix_strided(b->dtype, b->data, b->rows, b->columns, b->row, b->column),
            p.data);
    return p;
}

static void multiply_packed(const matrix *a, const matrix *p, int64_t n, int64_t first,
                            int64_t last, bool add, const matrix *c)
{
    wf_gemm_packed(wf_matrix_strided(a->dtype, a->data, a->rows, a->columns, a->row, 1), p->data,
                   first, last, add, wf_matrix_strided(a->dtype, c->data, a->rows, n, c->row, 1));
}

static void check_packed(wf_dtype dtype, int64_t m, int64_t n, int64_t k, enum layout lb, bool add)
{
    const int64_t width = wf_pack_width(dtype), panels = (n + width - 1) / width;
    OWNED a = matrix_new(dtype, m, k, dice() & 1 ? BY_ROWS : LOOSE_ROWS),
          b = matrix_new(dtype, k, n, lb);
    OWNED c = matrix_new(dtype, m, n, dice() & 1 ? BY_ROWS : LOOSE_ROWS);
    if (!add)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) put(&c, i * c.row + j, NAN);
    OWNED before = matrix_copy(&c), parts = matrix_copy(&c), p = packed_new(&b, 2);
    multiply_packed(&a, &p, n, 0, panels, add, &c);
    double found = worst(1, &a, &b, add ? 1 : 0, &before, &c);
    ck_assert_msg(found <= 1, "%s (%d, %d) times packed (%d, %d), add %d: error %g bounds",
                  wf_dtype_name(dtype), (int)m, (int)k, (int)k, (int)n, add, found);

    /* The same product by pieces of rows and panels. */
    for (int64_t i = 0, rows; i < m; i += rows) {
        rows = 1 + (int64_t)(dice() % 5);
        if (rows > m - i) rows = m - i;
        matrix some = a, into = parts;
        some.rows = into.rows = rows;
        some.data += i * a.row * (int64_t)size_of(dtype);
        into.data += i * c.row * (int64_t)size_of(dtype);
        for (int64_t f = 0, more; f < panels; f += more) {
            more = 1 + (int64_t)(dice() % 3);
            multiply_packed(&some, &p, n, f, f + more < panels ? f + more : panels, add, &into);
        }
    }
    ck_assert_msg(same_bits(&parts, &c),
                  "%s (%d, %d) times packed (%d, %d), add %d: pieces give other bits",
                  wf_dtype_name(dtype), (int)m, (int)k, (int)k, (int)n, add);
}

TEST(packed_products_are_right_and_do_not_depend_on_how_they_are_shared_out)
{
    static const int64_t widths[] = { 1,  3,  8,   15,  16,  17,  32,  47,
                                      64, 65, 100, 128, 130, 200, 257, 300 };
    static const int64_t depths[] = { 0, 1, 2, 3, 7, 16, 65, 128, 130 };
    for (int dtype = 0; dtype < 2; dtype++)
        for (int64_t m = 0; m <= 14; m++)
            for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
                for (int add = 0; add < 2; add++)
                    check_packed((wf_dtype)dtype, m, widths[i],
                                 depths[dice() % (sizeof depths / sizeof depths[0])], any_layout(),
                                 add);
    for (int add = 0; add < 2; add++) {
        check_packed(WF_F32, 7, 130, 2100, BY_COLUMNS, add);
        check_packed(WF_F64, 13, 70, 1030, BY_ROWS, add);
        check_packed(WF_F32, 700, 70, 300, BY_COLUMNS, add);
        check_packed(WF_F64, 330, 70, 300, LOOSE_COLUMNS, add);
    }
}

TEST(packing_is_the_same_from_any_layout_by_any_number_of_threads_and_padded_with_zeros)
{
    static const int64_t sizes[][2] = { { 1, 1 },    { 3, 65 },   { 5, 64 },    { 64, 10 },
                                        { 130, 97 }, { 67, 300 }, { 300, 1030 } };
    for (int dtype = 0; dtype < 2; dtype++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            const int64_t k = sizes[s][0], n = sizes[s][1], width = wf_pack_width((wf_dtype)dtype);
            OWNED rows = matrix_new((wf_dtype)dtype, k, n, BY_ROWS), first = packed_new(&rows, 1);
            for (int64_t l = 0; l < k; l++) {
                for (int64_t j = 0; j < (n + width - 1) / width * width; j++) {
                    double want = j < n ? get(&rows, l, j) : 0;
                    ck_assert_double_eq(get(&first, 0, (j / width * k + l) * width + j % width),
                                        want);
                }
            }
            for (int layout = 1; layout < LAYOUTS; layout++) {
                OWNED other = matrix_new((wf_dtype)dtype, k, n, (enum layout)layout);
                for (int64_t l = 0; l < k; l++)
                    for (int64_t j = 0; j < n; j++)
                        put(&other, l * other.row + j * other.column, get(&rows, l, j));
                OWNED again = packed_new(&other, layout);
                ck_assert_msg(same_bits(&first, &again),
                              "(%d, %d) packs differently from layout %d", (int)k, (int)n, layout);
            }
        }
    }
}

const harness_suite suite = { .threads = THREADS };
