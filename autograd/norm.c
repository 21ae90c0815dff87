/* The Euclidean norm over axes. Squares are summed in double, where those of floats cannot leave
 * the range; those of doubles are scaled and summed anew where they do. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "tensor/sum.h"

#include <float.h>
#include <math.h>
#include <string.h>

static bool norm_shape(wf_shaping *s)
{
    if (!reduction_shape(s)) return false;
    /* A double for each element of the result. */
    const wf_shape shape = wf_tensor_shape(&s->out[0]);
    const int64_t count = wf_shape_check(&shape, s->out[0].dtype, NULL);
    if (count < 0) return true; /* the tape says it of every op's result */
    return takes_scratch(s, &s->scratch_forward, count, sizeof(double));
}

typedef struct squaring {
    const op_kernels *kernels;
    int64_t bytes;
    double scale;
} squaring;

static void squares_tile(void *context, const wf_sum_tile *t)
{
    const squaring *q = context;
    const bool columns = t->run == 1;
    for (int64_t r = 0; r < t->rows; r++) {
        const char *x = t->pointer[1] + r * t->row_stride[1];
        if (columns)
            q->kernels->squares(t->columns, t->high, t->low, 1, x, t->column_stride[1] / q->bytes,
                                q->scale);
        for (int64_t c = 0; c < t->columns && !columns; c++)
            q->kernels->squares(t->run, &t->high[c], &t->low[c], 0, x + c * t->column_stride[1],
                                t->run_stride[1] / q->bytes, q->scale);
    }
}

/* Sums (scale x)^2 into doubles, which have the shape of `like`. */
static void squares_into(double *sums, const wf_tensor *like, const wf_tensor *x, double scale,
                         int threads)
{
    squaring q = { op_kernels_of(x->dtype), bytes_of(x), scale };
    const wf_tensor to = wf_tensor_of(WF_F64, wf_tensor_shape(like), sums);
    wf_walk loop;
    wf_tensor_fill(&to, 0);
    if (wf_walk_plan(&loop, wf_tensor_shape(x), 2, (const wf_tensor *[]){ &to, x }))
        wf_walk_sum(&loop, 0, WF_F64, 1, 1, threads, squares_tile, &q);
}

/* Norms of doubles whose squares overflowed (scale < 1) or lost digits to underflow (scale > 1). */
static void norms_anew(const wf_call *c, const wf_tensor *like, double scale)
{
    double *y = c->out[0]->data, *sums = c->scratch;
    const int64_t n = wf_tensor_count(like);
    squares_into(sums, like, c->in[0], scale, c->threads);
    for (int64_t i = 0; i < n; i++)
        if (scale < 1 ? isinf(y[i]) : y[i] < 0x1p-450) y[i] = sqrt(sums[i]) / scale;
}

static void norm_forward(const wf_call *c)
{
    const wf_tensor *y = c->out[0], like = reduction_beside(y, c->in[0], c->attr);
    const double *sums = c->scratch;
    const int64_t n = wf_tensor_count(y);
    const wf_dtype_info *dtype = wf_dtype_describe(y->dtype);
    bool large = false, small = false;
    squares_into(c->scratch, &like, c->in[0], 1, c->threads);
    for (int64_t i = 0; i < n; i++) {
        large = large || isinf(sums[i]);
        small = small || sums[i] < 0x1p-900;
        dtype->store(y->data, i, sqrt(sums[i]));
    }
    if (dtype->digits < DBL_MANT_DIG) return; /* the squares of its numbers are doubles */
    if (large) norms_anew(c, &like, 0x1p-600);
    if (small) norms_anew(c, &like, 0x1p600);
}

/* Operands: gx, x, y, g. */
static void back_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const squaring *q = context;
    q->kernels->norm_back(n, pointer[1], stride[1] / q->bytes, pointer[2], stride[2] / q->bytes,
                          pointer[3], stride[3] / q->bytes, pointer[0], stride[0] / q->bytes);
}

static void norm_backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0]) return;
    const wf_tensor *x = c->in[0], y = reduction_beside(c->out[0], x, c->attr),
                    g = reduction_beside(c->gout[0], x, c->attr);
    squaring q = { .kernels = op_kernels_of(x->dtype), .bytes = bytes_of(x) };
    walk_over(x, c->threads, OPERANDS(c->gin[0], x, &y, &g), back_run, &q);
}

static void norm_gradient(wf_tape *t, const wf_gradient *g)
{
    wf_var *x = g->in[0], *y = g->out[0];
    const wf_dtype dtype = wf_dtype_of(x);
    wf_var *none = wf_zeros(t, dtype, WF_SCALAR), *zero = wf_equal(t, y, none);
    wf_var *norm = wf_where(t, zero, wf_full(t, dtype, WF_SCALAR, 1), y);
    wf_var *by = wf_where(t, zero, none, g->gout[0]);
    g->gin[0] = wf_mul(t, wf_div(t, x, reduction_repeated(t, norm, x, g->attr)),
                       reduction_repeated(t, by, x, g->attr));
}

static bool norm_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape shape;
        reduction r;
    } tried[] = {
        { "of everything", { 2, { 3, 5 } }, { .n = -1 } },
        { "of rows", { 2, { 3, 5 } }, { .n = 1, .axis = { -1 } } },
        { "of columns, kept", { 2, { 3, 5 } }, { .n = 1, .axis = { 0 }, .keep = true } },
        { "of the outer axes", { 3, { 2, 3, 5 } }, { .n = 2, .axis = { 2, 0 } } },
        { "of no axis", { 2, { 3, 5 } }, { .n = 0 } },
        { "of a scalar", { 0, { 0 } }, { .n = -1 } },
        { "of empty rows", { 2, { 3, 0 } }, { .n = 1, .axis = { 1 } } },
        { "of no rows", { 2, { 0, 3 } }, { .n = 1, .axis = { 1 } } },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->in[0].gap = 0.1; /* of single elements it is |x|, with its corner at 0 */
    return sample_one(s, tried[k].label, WF_F64, tried[k].shape, 2, &tried[k].r, sizeof tried[k].r);
}

const wf_op op_norm = {
    .name = OP_NAME(norm),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(reduction),
    .reads_in = 1,
    .reads_out = 1,
    .varying = reduction_varying,
    .shape = norm_shape,
    .forward = norm_forward,
    .backward = norm_backward,
    .gradient = norm_gradient,
    .sample = norm_sample,
};
