/* Ops that draw: coins, and an id of each row's categorical distribution. Row r of a result is
 * drawn from the call's counter and r alone, so that a planned loop may compute rows apart. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "tensor/rng.h"

#include <math.h>

/* ---- numbers of a row ---- */

/* Elements of x in a row along axis 0. */
static int64_t inner_of(const wf_tensor *x)
{
    const int64_t n = wf_tensor_count(x);
    return x->rank < 1 || n == 0 ? 1 : n / x->dim[0];
}

/* Number `at` of row r, uniform in [0, 1) with 53 bits. */
static double uniform_at(const wf_call *c, int64_t r, int64_t at)
{
    uint32_t w[4];
    wf_philox(c->key, c->counter + (uint64_t)r, (uint64_t)at / 2, w);
    const uint32_t *half = w + at % 2 * 2;
    return (double)(((uint64_t)half[1] << 32 | half[0]) >> 11) * 0x1p-53;
}

static uint32_t first_varies(const wf_call *c)
{
    return c->out[0]->rank > 0;
}

/* ---- coins ---- */

static bool bernoulli_shape(wf_shaping *s)
{
    if (!takes_floats(s, 0)) return false;
    s->out[0] = *s->in[0];
    s->out[0].dtype = WF_I32;
    return true;
}

static bool bernoulli_check(const wf_call *c, wf_error *error)
{
    const wf_tensor *p = c->in[0];
    const op_rows each = rows_along(p, p->rank);
    const wf_dtype_info *dtype = wf_dtype_describe(p->dtype);
    const int64_t n = wf_tensor_count(p);
    for (int64_t i = 0; i < n; i++) {
        const double v = dtype->load(row_at(&each, i), 0);
        if (!isgreaterequal(v, 0) || !islessequal(v, 1))
            return wf_refuse(error, "p is %g at %s; expected 0 <= p <= 1", v, INDEX_TEXT(p, i));
    }
    return true;
}

static void some_coins(void *context, int64_t begin, int64_t end)
{
    const wf_call *c = context;
    const op_rows each = rows_along(c->in[0], c->in[0]->rank);
    const wf_dtype_info *dtype = wf_dtype_describe(c->in[0]->dtype);
    const int64_t inner = inner_of(c->in[0]);
    int32_t *y = c->out[0]->data;
    for (int64_t i = begin; i < end; i++)
        y[i] = uniform_at(c, i / inner, i % inner) < dtype->load(row_at(&each, i), 0);
}

static void bernoulli_forward(const wf_call *c)
{
    enum { WORK = 8 }; /* one number takes as long as so many elements of other ops */
    each_row(c->threads, wf_tensor_count(c->out[0]), WORK, some_coins, (void *)c);
}

static bool bernoulli_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape shape;
    } tried[] = {
        { "a matrix", { 2, { 7, 5 } } },
        { "a row", { 1, { 31 } } },
        { "nothing", { 2, { 0, 3 } } },
        { "a scalar", { 0, { 0 } } },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->label = tried[k].label;
    sample_input(s, WF_F64, tried[k].shape, 0, 1);
    return true;
}

/* ---- an id of each row ---- */

static bool categorical_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const int axis = takes_axis(s, -1);
    if (axis < 0 || !takes_floats(s, 0)) return false;
    wf_tensor *y = &s->out[0];
    *y = *x;
    y->dtype = WF_I32;
    y->rank = axis;
    if (x->dim[axis] == 0 && wf_tensor_count(y) > 0)
        return wf_refuse(s->error, "%s has nothing to choose from", SHAPE_TEXT(x));
    if (x->dim[axis] > INT32_MAX)
        return wf_refuse(s->error, "axis %d of %s is longer than i32 can say", axis, SHAPE_TEXT(x));
    return true;
}

/* The first place of what is larger than every finite number, NaN before infinity; where all is
 * -inf the first place. */
static int32_t beyond_all(const wf_dtype_info *dtype, const char *x, int64_t n, int64_t step)
{
    int64_t found = 0;
    for (int64_t i = n - 1; i >= 0; i--) {
        const double v = dtype->load(x, i * step), best = dtype->load(x, found * step);
        if (isnan(v) || (v >= best && !isnan(best))) found = i;
    }
    return (int32_t)found;
}

/* The inverse of the cumulative distribution: the first id at which the sum of the exponentials is
 * above u times that of all. Sums of blocks are kept, so that only one block is made again. */
static int32_t drawn_id(wf_dtype dtype, const char *x, int64_t n, int64_t step, double u)
{
    enum { BLOCKS = 128, LEAST = 64 };
    const wf_dtype_info *d = wf_dtype_describe(dtype);
    const op_kernels *k = op_kernels_of(dtype);
    double sum[BLOCKS], block[LEAST], all = 0, below = 0, largest;
    d->store(&largest, 0, -(double)INFINITY);
    k->max(n, &largest, 0, x, step);
    const double m = d->load(&largest, 0);
    if (!isfinite(m)) return beyond_all(d, x, n, step);
    const int64_t even = (n + BLOCKS - 1) / BLOCKS, size = even < LEAST ? LEAST : even;
    for (int64_t at = 0; at < n; at += size) {
        const int64_t some = n - at < size ? n - at : size;
        all += sum[at / size] = k->exponentials(some, x + at * step * d->size, step, m, NULL);
    }
    int64_t at = 0, found = 0;
    while (at + size < n && below + sum[at / size] <= u * all) below += sum[at / size], at += size;
    /* The block's sum may be rounded another way: then it is its last id that has any weight. */
    for (const int64_t end = n - at < size ? n : at + size; at < end; at += LEAST) {
        const int64_t some = end - at < LEAST ? end - at : LEAST;
        k->exponentials(some, x + at * step * d->size, step, m, block);
        for (int64_t i = 0; i < some; i++) {
            if (block[i] > 0) found = at + i;
            below += block[i];
            if (below > u * all) return (int32_t)found;
        }
    }
    return (int32_t)found;
}

static void some_ids(void *context, int64_t begin, int64_t end)
{
    const wf_call *c = context;
    const wf_tensor *x = c->in[0];
    const op_rows rows = rows_along(x, x->rank - 1);
    const int64_t inner = inner_of(c->out[0]);
    int32_t *y = c->out[0]->data;
    for (int64_t i = begin; i < end; i++)
        y[i] = drawn_id(x->dtype, row_at(&rows, i), rows.n, rows.step,
                        uniform_at(c, i / inner, i % inner));
}

static void categorical_forward(const wf_call *c)
{
    const wf_tensor *x = c->in[0];
    each_row(c->threads, wf_tensor_count(c->out[0]), x->dim[x->rank - 1], some_ids, (void *)c);
}

static bool categorical_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape shape;
    } tried[] = {
        { "rows", { 2, { 7, 5 } } },       { "rows of rows", { 3, { 3, 2, 7 } } },
        { "one row", { 1, { 131 } } },     { "over some blocks", { 2, { 3, 211 } } },
        { "one of one", { 2, { 5, 1 } } }, { "no rows", { 2, { 0, 3 } } },
    };
    return k < COUNT_OF(tried) && sample_one(s, tried[k].label, WF_F64, tried[k].shape, 2, NULL, 0);
}

const wf_op op_bernoulli = {
    .name = OP_NAME(bernoulli),
    .inputs = 1,
    .outputs = 1,
    .flags = WF_OP_RANDOM,
    .reads_check = 1,
    .varying = first_varies,
    .shape = bernoulli_shape,
    .check = bernoulli_check,
    .forward = bernoulli_forward,
    .backward = no_backward,
    .gradient = no_gradient,
    .sample = bernoulli_sample,
};

const wf_op op_categorical = {
    .name = OP_NAME(categorical),
    .inputs = 1,
    .outputs = 1,
    .flags = WF_OP_RANDOM,
    .varying = first_varies,
    .shape = categorical_shape,
    .forward = categorical_forward,
    .backward = no_backward,
    .gradient = no_gradient,
    .sample = categorical_sample,
};

wf_var *wf_bernoulli(wf_tape *t, wf_var *p)
{
    return wf_apply_one(t, &op_bernoulli, 1, &p, NULL);
}

wf_var *wf_categorical(wf_tape *t, wf_var *logits)
{
    return wf_apply_one(t, &op_categorical, 1, &logits, NULL);
}
