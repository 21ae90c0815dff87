/* Matrix products: matmul, whose leading axes broadcast, and affine, x times w transposed plus
 * b. Strides go straight to wf_gemm, and leading axes that are one long axis become rows of one
 * product. */
#include "autograd/ops_private.h"
#include "autograd/views.h"
#include "tensor/gemm.h"
#include "tensor/size.h"

#include <string.h>

static bool two_floats(const wf_shaping *s, int i, int as, const char *const names[])
{
    return same_dtype(s, i, as, names) && takes_floats(s, as);
}

/* ---- many products ---- */

/* A matrix for each index of some leading axes, which broadcast. */
typedef struct matrices {
    wf_matrix of;          /* the first */
    int64_t step[WF_RANK]; /* along each leading axis, in elements; 0 where it repeats */
} matrices;

/* c += a b, or c = a b, for each index of the leading axes `dim`. */
typedef struct products {
    wf_dtype dtype;
    int threads, rank;
    int64_t dim[WF_RANK], count;
    matrices a, b, c;
    double beta;
    const wf_tensor *begun; /* what c lies in, if it holds nothing yet; or NULL */
    char *scratch;          /* as scratch_for says */
} products;

static matrices matrices_of(const wf_tensor *x, int rank)
{
    const int lead = x->rank - 2;
    matrices m = { wf_matrix_strided(x->dtype, x->data, x->dim[lead], x->dim[lead + 1],
                                     x->stride[lead], x->stride[lead + 1]),
                   { 0 } };
    for (int k = 0; k < lead; k++) m.step[rank - lead + k] = x->dim[k] == 1 ? 0 : x->stride[k];
    return m;
}

static matrices transposed(matrices m)
{
    m.of = wf_matrix_transposed(m.of);
    return m;
}

/* The same matrix, so many elements further on. */
static wf_matrix moved(wf_matrix m, int64_t elements)
{
    m.data = wf_element(m.dtype, m.data, elements);
    return m;
}

/* Products that add into one matrix before their sum is folded into it (see tensor/gemm.h): a chain
 * of so many additions. */
enum { CHAIN = 64 };

/* What is worked with where `turns` products with an inner size of k meet in each of `count`
 * elements: twice the elements, or nothing. -1: too much. */
static int64_t scratch_for(wf_dtype dtype, int64_t turns, int64_t k, int64_t count)
{
    int64_t depth, bytes = -1;
    if (turns <= CHAIN && k <= WF_GEMM_SPAN && wf_size_mul(turns, k, &depth) &&
        depth <= WF_GEMM_SPAN)
        return 0;
    wf_size_mul(count, 2 * wf_dtype_size(dtype), &bytes);
    return bytes;
}

/* Where product i is: offsets in elements. In what is worked with, matrices of c lie one after
 * another; `turn` counts the products that add into the same one. */
typedef struct spot {
    int64_t a, b, c, work, turn;
} spot;

static spot spot_of(const products *p, int64_t i)
{
    spot s = { 0, 0, 0, 0, 0 };
    int64_t others = 1, turns = 1;
    for (int k = p->rank - 1; k >= 0; k--) {
        const int64_t index = i % p->dim[k];
        i /= p->dim[k];
        s.a += index * p->a.step[k];
        s.b += index * p->b.step[k];
        s.c += index * p->c.step[k];
        if (p->c.step[k] != 0) {
            s.work += index * others;
            others *= p->dim[k];
        } else {
            s.turn += index * turns;
            turns *= p->dim[k];
        }
    }
    s.work *= p->c.of.rows * p->c.of.columns;
    return s;
}

/* Products begin .. end - 1, each with the given threads. */
static void some_products(const products *p, int64_t begin, int64_t end, int threads)
{
    for (int64_t i = begin; i < end; i++) {
        const spot s = spot_of(p, i);
        wf_gemm_long(threads, 1, moved(p->a.of, s.a), moved(p->b.of, s.b), p->beta,
                     moved(p->c.of, s.c), wf_element(p->dtype, p->scratch, 2 * s.work));
    }
}

static void part_of_products(void *context, int64_t begin, int64_t end)
{
    some_products(context, begin, end, 1);
}

/* `turns` products add into each matrix of c: a few of them into a matrix of their own, which is
 * then folded into c. */
static void add_products(const products *p, int64_t turns)
{
    const int64_t k = p->a.of.columns, m = p->c.of.rows, n = p->c.of.columns;
    const wf_matrix sums = wf_matrix_of(p->dtype, p->scratch, m, n);
    const wf_matrix low = moved(sums, p->count / turns * m * n);
    int64_t chain = k > 0 ? WF_GEMM_SPAN / k : CHAIN;
    chain = chain < 1 ? 1 : chain > CHAIN ? CHAIN : chain;
    memset(low.data, 0, (size_t)(p->count / turns * m * n * wf_dtype_size(p->dtype)));
    for (int64_t i = 0; i < p->count; i++) {
        const spot s = spot_of(p, i);
        const wf_matrix a = moved(p->a.of, s.a), b = moved(p->b.of, s.b), c = moved(p->c.of, s.c);
        const wf_matrix sum = moved(sums, s.work), lost = moved(low, s.work);
        for (int64_t l = 0; l < k; l += WF_GEMM_SPAN) {
            const int64_t deep = k - l < WF_GEMM_SPAN ? k - l : WF_GEMM_SPAN;
            wf_gemm(p->threads, 1, wf_matrix_part(a, 0, l, m, deep),
                    wf_matrix_part(b, l, 0, deep, n), s.turn % chain == 0 ? 0 : 1, sum);
            if (s.turn % chain == chain - 1 || s.turn == turns - 1)
                wf_gemm_fold(p->threads, sum.data, lost.data, c);
        }
        if (s.turn == turns - 1) wf_gemm_settle(p->threads, lost.data, c);
    }
}

/* Can an axis of `size` go on along a further one, each `step` after the last? Its stride, then,
 * or -1. */
static int64_t longer(int64_t size, int64_t stride, int64_t step)
{
    return size == 1 ? step : step == size * stride ? stride : -1;
}

static bool grow(int64_t *size_a, int64_t *stride_a, int64_t step_a, int64_t *size_b,
                 int64_t *stride_b, int64_t step_b, int64_t n)
{
    const int64_t a = longer(*size_a, *stride_a, step_a), b = longer(*size_b, *stride_b, step_b);
    if (a < 0 || b < 0) return false;
    *stride_a = a;
    *stride_b = b;
    *size_a *= n;
    *size_b *= n;
    return true;
}

/* Where one of the three stays along the last leading axis, and the other two go on as their
 * rows or columns do, that axis is more of those: (n, m, k) (k, l) is one product of n m rows; a
 * sum of n products is one with a longer inner size. */
static bool fold_last(products *p)
{
    const int k = p->rank - 1;
    const int64_t n = p->dim[k];
    matrices *a = &p->a, *b = &p->b, *c = &p->c;
    if (n != 1 &&
        !(b->step[k] == 0 && grow(&a->of.rows, &a->of.row_stride, a->step[k], &c->of.rows,
                                  &c->of.row_stride, c->step[k], n)) &&
        !(a->step[k] == 0 && grow(&b->of.columns, &b->of.column_stride, b->step[k], &c->of.columns,
                                  &c->of.column_stride, c->step[k], n)) &&
        !(c->step[k] == 0 && grow(&a->of.columns, &a->of.column_stride, a->step[k], &b->of.rows,
                                  &b->of.row_stride, b->step[k], n)))
        return false;
    p->count /= n;
    p->rank--;
    return true;
}

static void multiply(products *p)
{
    p->count = 1;
    for (int k = 0; k < p->rank; k++) p->count *= p->dim[k];
    if (p->count == 0 || p->c.of.rows == 0 || p->c.of.columns == 0) {
        if (p->begun) wf_tensor_fill(p->begun, 0);
        return;
    }
    while (p->rank > 0 && fold_last(p)) continue;
    if (p->begun && p->count == 1)
        p->beta = 0;
    else if (p->begun)
        wf_tensor_fill(p->begun, 0);
    if (p->count == 1) {
        wf_gemm_long(p->threads, 1, p->a.of, p->b.of, p->beta, p->c.of, p->scratch);
        return;
    }
    int64_t turns = 1; /* how many products add into one matrix */
    for (int k = 0; k < p->rank; k++) turns *= p->c.step[k] == 0 ? p->dim[k] : 1;
    if (turns > 1 && scratch_for(p->dtype, turns, p->a.of.columns, 1) != 0) {
        add_products(p, turns);
        return;
    }
    if (turns > 1 || p->count < 2 * p->threads) {
        some_products(p, 0, p->count, p->threads);
        return;
    }
    const int64_t work = p->c.of.rows * p->c.of.columns * (p->a.of.columns + 1);
    wf_par_for(p->threads, p->count, 32768 / work + 1, part_of_products, p);
}

static const wf_tensor *begun(const wf_call *c, int i)
{
    return c->fresh >> i & 1 ? c->gin[i] : NULL;
}

/* ---- matmul ---- */

/* How many matrices of the result one matrix of x is used for; 1 where there are none. */
static int64_t uses(const wf_tensor *x, const wf_tensor *y)
{
    int64_t n = 1;
    for (int k = 0; k + 2 < y->rank; k++) {
        const int own = k - (y->rank - x->rank);
        const bool repeats = own < 0 || x->dim[own] != y->dim[k];
        if (repeats && !wf_size_mul(n, y->dim[k], &n)) return INT64_MAX;
    }
    return n > 0 ? n : 1;
}

static bool matmul_scratch(wf_shaping *s)
{
    const wf_tensor *a = s->in[0], *b = s->in[1], *y = &s->out[0];
    const int64_t m = a->dim[a->rank - 2], k = a->dim[a->rank - 1], n = b->dim[b->rank - 1];
    const wf_shape shape = wf_tensor_shape(y);
    const int64_t count = wf_shape_check(&shape, y->dtype, NULL);
    if (count < 0) return true; /* the tape says it of every op's result */
    return takes_scratch(s, &s->scratch_forward, scratch_for(y->dtype, 1, k, count), 1) &&
           takes_scratch(s, &s->scratch_backward,
                         scratch_for(y->dtype, uses(a, y), n, wf_tensor_count(a)), 1) &&
           takes_scratch(s, &s->scratch_backward,
                         scratch_for(y->dtype, uses(b, y), m, wf_tensor_count(b)), 1);
}

static bool matmul_shape(wf_shaping *s)
{
    const wf_tensor *a = s->in[0], *b = s->in[1];
    if (!two_floats(s, 1, 0, NULL)) return false;
    if (a->rank < 2 || b->rank < 2)
        return wf_refuse(
            s->error,
            "%s times %s: both need two axes or more\n  hint: unsqueeze makes a vector a row or "
            "a column",
            SHAPE_TEXT(a), SHAPE_TEXT(b));
    if (a->dim[a->rank - 1] != b->dim[b->rank - 2])
        return wf_refuse(s->error, "inner sizes differ: %s times %s", SHAPE_TEXT(a), SHAPE_TEXT(b));
    wf_shape lead_a = wf_tensor_shape(a), lead_b = wf_tensor_shape(b), lead;
    lead_a.rank -= 2;
    lead_b.rank -= 2;
    if (!wf_shape_broadcast(&lead_a, &lead_b, &lead))
        return wf_refuse(s->error, "leading axes do not broadcast: %s times %s", SHAPE_TEXT(a),
                         SHAPE_TEXT(b));
    lead.dim[lead.rank++] = a->dim[a->rank - 2];
    lead.dim[lead.rank++] = b->dim[b->rank - 1];
    form_out(&s->out[0], a->dtype, lead);
    return matmul_scratch(s);
}

static products products_of(const wf_call *c)
{
    const wf_tensor *y = c->out[0];
    products p = {
        .dtype = y->dtype, .threads = c->threads, .rank = y->rank - 2, .scratch = c->scratch
    };
    for (int i = 0; i < p.rank; i++) p.dim[i] = y->dim[i];
    return p;
}

/* The rows of a matrix, or the products of a batch. */
static uint32_t matmul_varying(const wf_call *c)
{
    return c->out[0]->rank == 2 ? 1 : broadcast_varying(c);
}

static void matmul_forward(const wf_call *c)
{
    products p = products_of(c);
    p.a = matrices_of(c->in[0], p.rank);
    p.b = matrices_of(c->in[1], p.rank);
    p.c = matrices_of(c->out[0], p.rank);
    multiply(&p);
}

static void matmul_backward(const wf_call *c)
{
    if (!c->gout[0]) return;
    products p = products_of(c), q = p;
    p.beta = q.beta = 1;
    if (c->gin[0]) { /* g b^T */
        p.a = matrices_of(c->gout[0], p.rank);
        p.b = transposed(matrices_of(c->in[1], p.rank));
        p.c = matrices_of(c->gin[0], p.rank);
        p.begun = begun(c, 0);
        multiply(&p);
    }
    if (c->gin[1]) { /* a^T g */
        q.a = transposed(matrices_of(c->in[0], q.rank));
        q.b = matrices_of(c->gout[0], q.rank);
        q.c = matrices_of(c->gin[1], q.rank);
        q.begun = begun(c, 1);
        multiply(&q);
    }
}

static void matmul_gradient(wf_tape *t, const wf_gradient *g)
{
    wf_var *a = g->in[0], *b = g->in[1], *gy = g->gout[0];
    if (g->wanted[0])
        g->gin[0] = wf_sum_to(t, wf_matmul(t, gy, wf_transpose(t, b, -1, -2)), wf_shape_of(a));
    if (g->wanted[1])
        g->gin[1] = wf_sum_to(t, wf_matmul(t, wf_transpose(t, a, -1, -2), gy), wf_shape_of(b));
}

/* ---- affine ---- */

static bool affine_scratch(wf_shaping *s)
{
    const wf_tensor *x = s->in[0], *w = s->in[1], *y = &s->out[0];
    const wf_shape shape = wf_tensor_shape(y);
    const int64_t count = wf_shape_check(&shape, y->dtype, NULL);
    int64_t rows = 1;
    if (count < 0) return true; /* the tape says it of every op's result */
    for (int i = 0; i + 1 < x->rank; i++)
        if (!wf_size_mul(rows, x->dim[i], &rows)) rows = INT64_MAX;
    return takes_scratch(s, &s->scratch_forward, scratch_for(x->dtype, 1, w->dim[1], count), 1) &&
           takes_scratch(s, &s->scratch_backward,
                         scratch_for(x->dtype, 1, w->dim[0], wf_tensor_count(x)), 1) &&
           takes_scratch(s, &s->scratch_backward,
                         scratch_for(x->dtype, rows, 1, wf_tensor_count(w)), 1);
}

bool affine_sound(const wf_shaping *s)
{
    const wf_tensor *x = s->in[0], *w = s->in[1], *b = s->in[2];
    static const char *const names[] = { "x", "w", "b" };
    if (!two_floats(s, 1, 0, names) || (b && !two_floats(s, 2, 0, names))) return false;
    if (w->rank != 2)
        return wf_refuse(s->error, "w is %s; expected (outputs, inputs)", SHAPE_TEXT(w));
    if (x->rank < 1)
        return wf_refuse(s->error, "x is %s; expected (..., %lld)", SHAPE_TEXT(x),
                         (long long)w->dim[1]);
    if (x->dim[x->rank - 1] != w->dim[1])
        return wf_refuse(s->error, "x is %s, w is %s; expected x (..., %lld)", SHAPE_TEXT(x),
                         SHAPE_TEXT(w), (long long)w->dim[1]);
    if (b && (b->rank != 1 || b->dim[0] != w->dim[0]))
        return wf_refuse(s->error, "b is %s; expected (%lld)", SHAPE_TEXT(b), (long long)w->dim[0]);
    return true;
}

static bool affine_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0], *w = s->in[1];
    if (!affine_sound(s)) return false;
    s->out[0] = *x;
    s->out[0].dim[x->rank - 1] = w->dim[0];
    return affine_scratch(s);
}

/* Every leading index of x (..., n) holds a matrix of one row. */
static matrices rows_of(const wf_tensor *x)
{
    const int last = x->rank - 1;
    matrices m = {
        wf_matrix_strided(x->dtype, x->data, 1, x->dim[last], x->dim[last], x->stride[last]), { 0 }
    };
    for (int k = 0; k < last; k++) m.step[k] = x->stride[k];
    return m;
}

static matrices the_matrix(const wf_tensor *w)
{
    return (matrices){ wf_matrix_of_tensor(w), { 0 } };
}

static products rows_products(const wf_call *c, const wf_tensor *x, double beta)
{
    products p = { .dtype = x->dtype,
                   .threads = c->threads,
                   .rank = x->rank - 1,
                   .beta = beta,
                   .scratch = c->scratch };
    for (int i = 0; i < p.rank; i++) p.dim[i] = x->dim[i];
    return p;
}

static uint32_t affine_varying(const wf_call *c)
{
    return c->in[0]->rank > 1;
}

static void affine_forward(const wf_call *c)
{
    products p = rows_products(c, c->in[0], c->in[2] ? 1 : 0);
    if (c->in[2]) wf_tensor_assign(c->in[2], c->out[0], c->threads);
    p.a = rows_of(c->in[0]);
    p.b = transposed(the_matrix(c->in[1]));
    p.c = rows_of(c->out[0]);
    multiply(&p);
}

static void affine_backward(const wf_call *c)
{
    const wf_tensor *g = c->gout[0];
    if (!g) return;
    products p = rows_products(c, c->in[0], 1), q = p;
    if (c->gin[0]) { /* g w */
        p.a = rows_of(g);
        p.b = the_matrix(c->in[1]);
        p.c = rows_of(c->gin[0]);
        p.begun = begun(c, 0);
        multiply(&p);
    }
    if (c->gin[1]) { /* g^T x, summed over the rows */
        q.a = transposed(rows_of(g));
        q.b = rows_of(c->in[0]);
        q.c = the_matrix(c->gin[1]);
        q.begun = begun(c, 1);
        multiply(&q);
    }
    if (begun(c, 2)) wf_tensor_fill(c->gin[2], 0);
    if (c->gin[2]) wf_tensor_accumulate(g, c->gin[2], 1, c->threads);
}

static void affine_gradient(wf_tape *t, const wf_gradient *g)
{
    wf_var *x = g->in[0], *w = g->in[1], *gy = g->gout[0];
    int64_t n = 1;
    for (int i = 0; i + 1 < wf_rank(x); i++) n *= wf_dim(x, i);
    wf_var *rows = wf_reshape(t, gy, WF_SHAPE(n, wf_dim(w, 0)));
    if (g->wanted[0]) g->gin[0] = wf_reshape(t, wf_matmul(t, rows, w), wf_shape_of(x));
    if (g->wanted[1])
        g->gin[1] = wf_matmul(t, wf_transpose(t, rows, 0, 1),
                              wf_reshape(t, x, WF_SHAPE(n, wf_dim(w, 1))));
    if (g->wanted[2]) g->gin[2] = wf_sum_to(t, gy, wf_shape_of(g->in[2]));
}

/* ---- samples and rows ---- */

static bool matmul_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape a, b;
    } tried[] = {
        { "matrices", { 2, { 3, 5 } }, { 2, { 5, 7 } } },
        { "one row, one column", { 2, { 1, 5 } }, { 2, { 5, 1 } } },
        { "batches", { 3, { 2, 3, 5 } }, { 3, { 2, 5, 1 } } },
        { "one right factor", { 4, { 2, 3, 1, 5 } }, { 2, { 5, 7 } } },
        { "one left factor", { 2, { 3, 5 } }, { 3, { 7, 5, 2 } } },
        { "leading axes broadcast", { 4, { 3, 1, 2, 5 } }, { 3, { 2, 5, 1 } } },
        { "no rows", { 2, { 0, 3 } }, { 2, { 3, 5 } } },
        { "no inner size", { 2, { 3, 0 } }, { 2, { 0, 5 } } },
        { "no batches", { 3, { 0, 3, 5 } }, { 2, { 5, 7 } } },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->label = tried[k].label;
    sample_input(s, WF_F64, tried[k].a, -2, 2);
    sample_input(s, WF_F64, tried[k].b, -2, 2);
    return true;
}

static bool affine_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape x, w, b;
    } tried[] = {
        { "a batch", { 2, { 3, 5 } }, { 2, { 7, 5 } }, { 1, { 7 } } },
        { "no bias", { 2, { 3, 5 } }, { 2, { 7, 5 } }, { -1, { 0 } } },
        { "time and batch", { 3, { 2, 3, 5 } }, { 2, { 1, 5 } }, { 1, { 1 } } },
        { "a vector", { 1, { 5 } }, { 2, { 3, 5 } }, { 1, { 3 } } },
        { "no rows", { 2, { 0, 5 } }, { 2, { 3, 5 } }, { 1, { 3 } } },
        { "no inputs", { 2, { 3, 0 } }, { 2, { 5, 0 } }, { 1, { 5 } } },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->label = tried[k].label;
    sample_input(s, WF_F64, tried[k].x, -2, 2);
    sample_input(s, WF_F64, tried[k].w, -2, 2);
    sample_input(s, WF_F64, tried[k].b, -2, 2);
    return true;
}

const wf_op op_matmul = {
    .name = OP_NAME(matmul),
    .inputs = 2,
    .outputs = 1,
    .flags = WF_OP_BEGINS | WF_OP_LEADING,
    .reads_in = 3,
    .varying = matmul_varying,
    .product = { .weight = 1 },
    .shape = matmul_shape,
    .forward = matmul_forward,
    .backward = matmul_backward,
    .gradient = matmul_gradient,
    .sample = matmul_sample,
};

const wf_op op_affine = {
    .name = OP_NAME(affine),
    .inputs = 3,
    .outputs = 1,
    .flags = WF_OP_BEGINS,
    .optional = 4,
    .reads_in = 3,
    .varying = affine_varying,
    .product = { .weight = 1, .bias = 2, .transposed = true },
    .shape = affine_shape,
    .forward = affine_forward,
    .backward = affine_backward,
    .gradient = affine_gradient,
    .sample = affine_sample,
};

wf_var *wf_matmul(wf_tape *t, wf_var *a, wf_var *b)
{
    return wf_apply_one(t, &op_matmul, 2, (wf_var *[]){ a, b }, NULL);
}

wf_var *wf_affine(wf_tape *t, wf_var *x, wf_var *w, wf_var *b)
{
    return wf_apply_one(t, &op_affine, 3, (wf_var *[]){ x, w, b }, NULL);
}
