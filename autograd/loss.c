/* Losses with kernels of their own: cross entropy of ids, fused and stable, and the mean squared
 * error. */
#include "autograd/kernels.h"
#include "autograd/loss_private.h"
#include "autograd/private.h"
#include "autograd/views.h"
#include "tensor/sum.h"

#include <math.h>
#include <string.h>

/* ---- cross entropy: outputs are the loss and, hidden, (..., 2): what the rows' derivatives
 * need ---- */

void entropy_set(entropy *e, const wf_cross_entropy_options *options)
{
    *e = (entropy){ 0 };
    if (!options) return;
    e->smoothing = options->label_smoothing;
    e->ignore = options->ignore;
    e->has_ignore = options->has_ignore;
    e->reduction = (int32_t)options->reduction;
}

bool entropy_sound(const wf_shaping *s, const entropy *e)
{
    if (!isgreaterequal(e->smoothing, 0) || !isless(e->smoothing, 1))
        return wf_refuse(s->error, "label_smoothing is %g; expected 0 <= label_smoothing < 1",
                         e->smoothing);
    if (e->reduction < WF_REDUCE_MEAN || e->reduction > WF_REDUCE_NONE)
        return wf_refuse(s->error, "reduction is %d; expected mean, sum or none",
                         (int)e->reduction);
    return true;
}

bool entropy_takes_ids(const wf_shaping *s, const wf_tensor *target)
{
    return target->dtype == WF_I32 ||
           wf_refuse(s->error, "the target is %s; expected i32 ids", wf_dtype_name(target->dtype));
}

bool entropy_fits(const wf_tensor *x, const wf_tensor *target)
{
    bool fits = x->rank == target->rank + 1;
    for (int i = 0; fits && i < target->rank; i++) fits = x->dim[i] == target->dim[i];
    return fits;
}

bool entropy_ids_sound(const entropy *e, const wf_tensor *target, int64_t classes, wf_error *error)
{
    const op_rows ids = rows_along(target, target->rank);
    const int64_t n = wf_tensor_count(target);
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = id_at(&ids, i);
        if ((id >= 0 && id < classes) || !entropy_counts(e, id)) continue;
        return wf_refuse(error, "target %d at %s is out of range: there are %lld classes", id,
                         INDEX_TEXT(target, i), (long long)classes);
    }
    return true;
}

double entropy_divisor(const entropy *e, const wf_tensor *target)
{
    const op_rows ids = rows_along(target, target->rank);
    const int64_t n = wf_tensor_count(target);
    int64_t counted = n;
    if (e->reduction != WF_REDUCE_MEAN) return 1;
    for (int64_t i = 0; e->has_ignore && i < n; i++) counted -= !entropy_counts(e, id_at(&ids, i));
    return counted > 0 ? (double)counted : 1; /* the mean over nothing is 0 */
}

void entropy_store(const entropy *e, int64_t n, const double *loss, double divisor,
                   const wf_tensor *y)
{
    const wf_dtype_info *dtype = wf_dtype_describe(y->dtype);
    if (e->reduction == WF_REDUCE_NONE) {
        for (int64_t i = 0; i < n; i++) dtype->store(y->data, i, loss[i]);
        return;
    }
    double high = 0, low = 0;
    wf_sum_run(WF_F64, n, loss, 1, &high, &low);
    dtype->store(y->data, 0, wf_sum_value(high, low) / divisor);
}

static bool entropy_shape(wf_shaping *s)
{
    const wf_tensor *z = s->in[0], *target = s->in[1];
    const entropy *e = s->attr;
    if (!is_float(z)) return wf_refuse(s->error, "logits are i32; expected f32 or f64");
    if (!entropy_takes_ids(s, target)) return false;
    if (!entropy_fits(z, target))
        return wf_refuse(s->error,
                         "logits are %s and the target is %s; expected (..., classes) and (...)",
                         SHAPE_TEXT(z), SHAPE_TEXT(target));
    if (!entropy_sound(s, e)) return false;
    wf_tensor *loss = &s->out[0], *normal = &s->out[1];
    *loss = *normal = *z;
    loss->rank = e->reduction == WF_REDUCE_NONE ? target->rank : 0;
    normal->dim[target->rank] = 2;
    return takes_scratch(s, &s->scratch_forward, wf_tensor_count(target), sizeof(double));
}

static bool entropy_check(const wf_call *c, wf_error *error)
{
    const wf_tensor *target = c->in[1];
    return entropy_ids_sound(c->attr, target, c->in[0]->dim[target->rank], error);
}

/* The rows of a call: logits, ids, and in backward the gradient of logits and what the mean divides
 * by. */
typedef struct entropy_rows {
    const wf_call *call;
    const op_kernels *kernels;
    op_rows z, ids, gz;
    double divisor;
} entropy_rows;

static entropy_rows rows_of(const wf_call *c)
{
    const wf_tensor *z = c->in[0], *target = c->in[1];
    entropy_rows r;
    r.call = c;
    r.kernels = op_kernels_of(z->dtype);
    r.z = rows_along(z, target->rank);
    r.ids = rows_along(target, target->rank);
    r.divisor = 1;
    return r;
}

static void *normal_of(const entropy_rows *r, int64_t i)
{
    return (char *)r->call->out[1]->data + 2 * i * r->z.bytes;
}

static void forward_rows(void *context, int64_t begin, int64_t end)
{
    const entropy_rows *r = context;
    const entropy *e = r->call->attr;
    double *loss = r->call->scratch;
    for (int64_t i = begin; i < end; i++) {
        const int32_t id = id_at(&r->ids, i);
        if (entropy_counts(e, id)) {
            loss[i] = r->kernels->entropy(r->z.n, row_at(&r->z, i), r->z.step, id, e->smoothing,
                                          normal_of(r, i));
        } else {
            loss[i] = 0;
            memset(normal_of(r, i), 0, (size_t)(2 * r->z.bytes));
        }
    }
}

static void entropy_forward(const wf_call *c)
{
    const entropy *e = c->attr;
    const wf_tensor *target = c->in[1];
    const int64_t n = wf_tensor_count(target);
    entropy_rows r = rows_of(c);
    each_row(c->threads, n, r.z.n, forward_rows, &r);
    entropy_store(e, n, c->scratch, entropy_divisor(e, target), c->out[0]);
}

static void backward_rows(void *context, int64_t begin, int64_t end)
{
    const entropy_rows *r = context;
    const entropy *e = r->call->attr;
    const wf_tensor *g = r->call->gout[0];
    for (int64_t i = begin; i < end; i++) {
        const int32_t id = id_at(&r->ids, i);
        if (!entropy_counts(e, id)) continue;
        const double scale = number_at(g, e->reduction == WF_REDUCE_NONE ? i : 0) / r->divisor;
        r->kernels->entropy_back(r->z.n, row_at(&r->z, i), r->z.step, id, e->smoothing,
                                 normal_of(r, i), scale, row_at(&r->gz, i), r->gz.step);
    }
}

static void entropy_backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0]) return;
    entropy_rows r = rows_of(c);
    r.gz = rows_along(c->gin[0], c->in[1]->rank);
    r.divisor = entropy_divisor(c->attr, c->in[1]);
    each_row(c->threads, wf_tensor_count(c->in[1]), r.z.n, backward_rows, &r);
}

static bool entropy_reference(wf_tape *t, const wf_reference *r)
{
    const entropy *e = r->attr;
    wf_var *z = r->in[0], *target = r->in[1];
    const int64_t n = wf_count(target);
    const wf_dtype dtype = wf_dtype_of(z);
    wf_var *none = wf_zeros(t, dtype, WF_SCALAR), *count = NULL, *ignored = NULL;
    if (e->has_ignore) { /* what lies at ignored positions is not even looked at: it may be NaN */
        ignored = wf_equal(t, target, wf_full(t, WF_I32, WF_SCALAR, e->ignore)); /* (...) */
        z = wf_where(t, wf_unsqueeze(t, ignored, -1), none, z);
    }
    wf_var *log_p = wf_log_softmax(t, z, -1);                                       /* (..., C) */
    wf_var *own = wf_where(t, wf_one_hot(t, target, wf_dim(z, -1)), log_p, none);   /* (..., C) */
    wf_var *loss = wf_mul_scalar(t, wf_sum(t, own, WF_AXES(-1)), e->smoothing - 1); /* (...) */
    if (e->smoothing > 0)
        loss = wf_add(t, loss, wf_mul_scalar(t, wf_mean(t, log_p, WF_AXES(-1)), -e->smoothing));
    if (ignored) {
        loss = wf_where(t, ignored, none, loss);
        wf_var *counted = wf_where(t, ignored, none, wf_full(t, dtype, WF_SCALAR, 1)); /* (...) */
        count = wf_maximum_scalar(t, wf_sum(t, counted, NULL), 1);                     /* () */
    }
    if (e->reduction != WF_REDUCE_NONE) loss = wf_sum(t, loss, NULL); /* () */
    if (e->reduction == WF_REDUCE_MEAN)
        loss = count ? wf_div(t, loss, count) : wf_div_scalar(t, loss, n > 0 ? (double)n : 1);
    r->out[0] = loss;
    return loss != NULL;
}

static bool entropy_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape logits, target;
        entropy e;
        double low;
    } tried[] = {
        { "time and batch", { 3, { 2, 3, 5 } }, { 2, { 2, 3 } }, { .ignore = 0 }, 0 },
        { "one position", { 1, { 5 } }, { 0, { 0 } }, { .ignore = 0 }, 0 },
        { "more classes than a vector holds", { 2, { 3, 19 } }, { 1, { 3 } }, { .ignore = 0 }, 0 },
        { "a loss for each", { 2, { 7, 3 } }, { 1, { 7 } }, { .reduction = WF_REDUCE_NONE }, 0 },
        { "summed and smoothed",
          { 2, { 7, 3 } },
          { 1, { 7 } },
          { .reduction = WF_REDUCE_SUM, .smoothing = 0.1 },
          0 },
        { "ignored ones",
          { 2, { 11, 3 } },
          { 1, { 11 } },
          { .has_ignore = true, .ignore = -1, .smoothing = 0.2 },
          -1 },
        { "ignored ones, each",
          { 2, { 11, 3 } },
          { 1, { 11 } },
          { .has_ignore = true, .ignore = 1, .reduction = WF_REDUCE_NONE },
          0 },
        { "no positions", { 2, { 0, 3 } }, { 1, { 0 } }, { .ignore = 0 }, 0 },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->label = tried[k].label;
    sample_input(s, WF_F64, tried[k].logits, -2, 2);
    sample_input(s, WF_I32, tried[k].target, tried[k].low,
                 (double)(tried[k].logits.dim[tried[k].logits.rank - 1] - 1));
    memcpy(s->attr.bytes, &tried[k].e, sizeof tried[k].e);
    return true;
}

const wf_op op_cross_entropy = {
    .name = OP_NAME(cross_entropy),
    .inputs = 2,
    .outputs = 1,
    .hidden = 1,
    .attr_size = sizeof(entropy),
    .reads_in = 3,
    .reads_out = 2,
    .reads_check = 2,
    .shape = entropy_shape,
    .check = entropy_check,
    .forward = entropy_forward,
    .backward = entropy_backward,
    .reference = entropy_reference,
    .sample = entropy_sample,
};

/* ---- mean squared error ---- */

static bool mse_shape(wf_shaping *s)
{
    const wf_tensor *a = s->in[0], *b = s->in[1];
    if (!same_dtype(s, 1, 0, NULL) || !takes_floats(s, 0)) return false;
    wf_shape one = wf_tensor_shape(a), other = wf_tensor_shape(b);
    if (!wf_shape_equal(&one, &other)) /* broadcasting here has hidden many a mistake */
        return wf_refuse(s->error, "shapes differ: %s and %s", SHAPE_TEXT(a), SHAPE_TEXT(b));
    form_out(&s->out[0], a->dtype, WF_SCALAR);
    return true;
}

typedef struct squares {
    const op_kernels *kernels;
    int64_t bytes;
    double scale;
} squares;

static void squares_tile(void *context, const wf_sum_tile *t)
{
    const squares *q = context;
    for (int64_t r = 0; r < t->rows; r++)
        q->kernels->mse(t->run, t->pointer[1] + r * t->row_stride[1], t->run_stride[1] / q->bytes,
                        t->pointer[2] + r * t->row_stride[2], t->run_stride[2] / q->bytes, t->high,
                        t->low);
}

static void mse_forward(const wf_call *c)
{
    const wf_tensor *a = c->in[0], *b = c->in[1], *y = c->out[0];
    squares q = { op_kernels_of(a->dtype), bytes_of(a), 0 };
    const int64_t n = wf_tensor_count(a);
    wf_walk loop;
    wf_tensor_fill(y, n > 0 ? 0 : (double)NAN);
    if (wf_walk_plan(&loop, wf_tensor_shape(a), 3, (const wf_tensor *[]){ y, a, b }))
        wf_walk_sum(&loop, 0, y->dtype, 1, (double)n, c->threads, squares_tile, &q);
}

static void squares_back_run(void *context, char *const pointer[], const int64_t stride[],
                             int64_t n)
{
    const squares *q = context;
    q->kernels->mse_back(n, pointer[1], stride[1] / q->bytes, pointer[2], stride[2] / q->bytes,
                         q->scale, pointer[0], stride[0] / q->bytes);
}

static void mse_backward(const wf_call *c)
{
    if (!c->gout[0]) return;
    const wf_tensor *in[2] = { c->in[0], c->in[1] };
    const int64_t n = wf_tensor_count(in[0]);
    squares q = { op_kernels_of(in[0]->dtype), bytes_of(in[0]),
                  2 * number_at(c->gout[0], 0) / (double)n };
    for (int i = 0; i < 2; i++) /* the derivative to b is that to a with a and b exchanged */
        if (c->gin[i])
            walk_over(in[0], c->threads, OPERANDS(c->gin[i], in[i], in[1 - i]), squares_back_run,
                      &q);
}

static bool mse_reference(wf_tape *t, const wf_reference *r)
{
    r->out[0] = wf_mean(t, wf_square(t, wf_sub(t, r->in[0], r->in[1])), NULL);
    return r->out[0] != NULL;
}

static bool mse_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape shape;
    } tried[] = {
        { "matrices", { 2, { 3, 5 } } },
        { "scalars", { 0, { 0 } } },
        { "three axes", { 3, { 2, 3, 7 } } },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->label = tried[k].label;
    for (int i = 0; i < 2; i++) sample_input(s, WF_F64, tried[k].shape, -2, 2);
    return true;
}

const wf_op op_mse = {
    .name = OP_NAME(mse),
    .inputs = 2,
    .outputs = 1,
    .reads_in = 3,
    .shape = mse_shape,
    .forward = mse_forward,
    .backward = mse_backward,
    .reference = mse_reference,
    .sample = mse_sample,
};

/* ---- rows and functions ---- */

/* Is the target one of probabilities: floats in the logits' form? */
static bool is_soft(const wf_var *logits, const wf_var *target)
{
    wf_shape z = wf_shape_of(logits), p = wf_shape_of(target);
    return z.rank > 0 && wf_dtype_of(target) != WF_I32 &&
           wf_dtype_of(target) == wf_dtype_of(logits) && wf_shape_equal(&z, &p);
}

wf_var *wf_cross_entropy_with(wf_tape *t, wf_var *logits, wf_var *target,
                              const wf_cross_entropy_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!wf_tape_ok(t) || !(logits = var_enter(t, logits, op_cross_entropy.name, 0)) ||
        !(target = var_enter(t, target, op_cross_entropy.name, 1)))
        return NULL;
    if (options && options->weight) return cross_entropy_spelled(t, logits, target, options);
    if (is_soft(logits, target))
        return cross_entropy_spelled(t, logits, target,
                                     options ? options : &(wf_cross_entropy_options){ 0 });
    entropy e;
    entropy_set(&e, options);
    return wf_apply_one(t, &op_cross_entropy, 2, (wf_var *[]){ logits, target }, &e);
}

wf_var *wf_cross_entropy(wf_tape *t, wf_var *logits, const wf_tensor *target)
{
    return wf_cross_entropy_with(t, logits, wf_constant_tensor(t, target), NULL);
}

wf_var *wf_mse(wf_tape *t, wf_var *a, wf_var *b)
{
    return wf_apply_one(t, &op_mse, 2, (wf_var *[]){ a, b }, NULL);
}
