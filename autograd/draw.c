/* Ops that draw: coins, an id of each row's categorical distribution, and several by weights. Row r
 * of a result is drawn from the call's counter and r alone, so that a planned loop may compute rows
 * apart. */
#include "autograd/kernels.h"
#include "autograd/ranked_private.h"
#include "tensor/rng.h"

#include <math.h>
#include <string.h>

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

/* ---- several ids of each row ---- */

typedef struct draws {
    int64_t n, replaced; /* replaced 1: with replacement */
} draws;

static bool multinomial_shape(wf_shaping *s)
{
    const wf_tensor *p = s->in[0];
    const draws *d = s->attr;
    const int axis = takes_axis(s, -1);
    if (axis < 0 || !takes_floats(s, 0)) return false;
    const int64_t n = p->dim[axis];
    if (d->n < 0) return wf_refuse(s->error, "%lld draws", (long long)d->n);
    if (n > INT32_MAX)
        return wf_refuse(s->error, "axis %d of %s is longer than i32 can say", axis, SHAPE_TEXT(p));
    if (!d->replaced && d->n > n)
        return wf_refuse(s->error, "%lld draws without replacement of %lld weights",
                         (long long)d->n, (long long)n);
    s->out[0] = *p;
    s->out[0].dtype = WF_I32;
    s->out[0].dim[axis] = d->n;
    return rows_scratch(s, &s->scratch_forward,
                        n * (int64_t)sizeof(double) +
                            (d->replaced ? 0 : largest_bytes(n, d->n, false)));
}

/* Of each row: weights that can be, and as many above 0 as are drawn. */
static bool multinomial_check(const wf_call *c, wf_error *error)
{
    const wf_tensor *p = c->in[0];
    const draws *d = c->attr;
    const op_rows rows = rows_along(p, p->rank - 1);
    const wf_dtype_info *dtype = wf_dtype_describe(p->dtype);
    wf_tensor first = *p;
    first.rank--;
    const int64_t count = wf_tensor_count(&first), needed = d->replaced ? d->n > 0 : d->n;
    for (int64_t row = 0; row < count; row++) {
        int64_t positive = 0;
        for (int64_t i = 0; i < rows.n; i++) {
            const double w = dtype->load(row_at(&rows, row), i * rows.step);
            if (!isgreaterequal(w, 0) || isinf(w))
                return wf_refuse(error,
                                 "the weight at %s is %g; expected a finite number, 0 or "
                                 "more",
                                 INDEX_TEXT(p, row * rows.n + i), w);
            positive += w > 0;
        }
        if (positive < needed)
            return wf_refuse(error, "row %s has %lld weights above 0; %lld are needed",
                             INDEX_TEXT(&first, row), (long long)positive, (long long)needed);
    }
    return true;
}

typedef struct drawing {
    const wf_call *call;
    op_rows rows;
    int64_t inner;
} drawing;

/* By the inverse of the cumulative distribution, in double; of weights over the largest, or their
 * sum might be infinite. */
static void draw_replaced(const drawing *d, int64_t row, const double *w, double *sum, int32_t *id)
{
    const int64_t n = d->rows.n, draws_of = ((const draws *)d->call->attr)->n;
    double all = 0, most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, w[i]);
    for (int64_t i = 0; i < n; i++) sum[i] = all += w[i] / most;
    for (int64_t k = 0; k < draws_of; k++) {
        const double to = all * uniform_at(d->call, row / d->inner, row % d->inner * draws_of + k);
        int64_t low = 0, high = n - 1; /* the first whose sum is above it */
        while (low < high) {
            const int64_t between = (low + high) / 2;
            if (sum[between] > to)
                high = between;
            else
                low = between + 1;
        }
        id[k] = (int32_t)low;
    }
}

/* The first arrivals of an exponential race (Efraimidis and Spirakis 2006), which are the largest
 * of log w plus a Gumbel number each (Vieira 2014). */
static void draw_apart(const drawing *d, int64_t row, double *w, int32_t *id, void *scratch)
{
    const int64_t n = d->rows.n;
    for (int64_t i = 0; i < n; i++) {
        const double u = 1 - uniform_at(d->call, row / d->inner, row % d->inner * n + i);
        w[i] = w[i] > 0 ? log(w[i]) - log(-log(u)) : -(double)INFINITY;
    }
    largest_places(WF_F64, w, n, 1, ((const draws *)d->call->attr)->n, false, id, 1, scratch);
}

static void draw_row(void *context, int64_t row, void *scratch)
{
    const drawing *d = context;
    const draws *how = d->call->attr;
    const wf_dtype_info *dtype = wf_dtype_describe(d->rows.of->dtype);
    const char *from = row_at(&d->rows, row);
    int32_t *id = (int32_t *)d->call->out[0]->data + row * how->n;
    double *w = scratch;
    for (int64_t i = 0; i < d->rows.n; i++) w[i] = dtype->load(from, i * d->rows.step);
    if (how->replaced)
        draw_replaced(d, row, w, w, id);
    else
        draw_apart(d, row, w, id, w + d->rows.n);
}

static void multinomial_forward(const wf_call *c)
{
    const wf_tensor *p = c->in[0];
    const draws *how = c->attr;
    const int64_t n = p->dim[p->rank - 1];
    wf_tensor first = *p;
    first.rank--;
    drawing d = { c, rows_along(p, p->rank - 1), inner_of(&first) };
    if (how->n == 0) return;
    rows_apart(c, wf_tensor_count(&first), 8 * (n + how->n),
               n * (int64_t)sizeof(double) + (how->replaced ? 0 : largest_bytes(n, how->n, false)),
               draw_row, &d);
}

static uint32_t multinomial_varying(const wf_call *c)
{
    return c->out[0]->rank > 1;
}

static bool multinomial_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape shape;
        draws d;
    } tried[] = {
        { "with replacement", { 2, { 3, 7 } }, { 5, 1 } },
        { "without", { 2, { 3, 7 } }, { 5, 0 } },
        { "all in some order", { 3, { 3, 2, 5 } }, { 5, 0 } },
        { "more than there are", { 3, { 3, 2, 5 } }, { 11, 1 } },
        { "one row", { 1, { 5 } }, { 2, 0 } },
        { "no rows", { 2, { 0, 3 } }, { 2, 1 } },
        { "nothing", { 2, { 3, 5 } }, { 0, 1 } },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->label = tried[k].label;
    sample_input(s, WF_F64, tried[k].shape, 0.5, 2);
    memcpy(s->attr.bytes, &tried[k].d, sizeof tried[k].d);
    return true;
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

const wf_op op_multinomial = {
    .name = OP_NAME(multinomial),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(draws),
    .flags = WF_OP_RANDOM,
    .reads_check = 1,
    .varying = multinomial_varying,
    .shape = multinomial_shape,
    .check = multinomial_check,
    .forward = multinomial_forward,
    .backward = no_backward,
    .gradient = no_gradient,
    .sample = multinomial_sample,
};

wf_var *wf_multinomial(wf_tape *t, wf_var *p, int64_t n, bool replacement)
{
    return wf_apply_one(t, &op_multinomial, 1, &p, &(draws){ n, replacement });
}
