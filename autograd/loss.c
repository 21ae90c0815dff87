/* Losses with kernels of their own: cross entropy of ids, fused and stable, and the mean squared
 * error. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "autograd/private.h"
#include "autograd/views.h"
#include "tensor/par.h"
#include "tensor/size.h"
#include "tensor/sum.h"
#include "tensor/walk.h"

#include <math.h>
#include <string.h>

enum { ELEMENTS = 8192 };

/* ---- cross entropy: outputs are the loss and, hidden, (..., 2): what the rows' derivatives
 * need ---- */

typedef struct entropy {
    double smoothing;
    int32_t ignore;
    int32_t reduction;
    bool has_ignore;
} entropy;

static bool entropy_shape(wf_shaping *s)
{
    const wf_tensor *z = s->in[0], *target = s->in[1];
    const entropy *e = s->attr;
    char text[2][WF_SHAPE_TEXT];
    if (!is_float(z)) return wf_refuse(s->error, "logits are i32; expected f32 or f64");
    if (target->dtype != WF_I32)
        return wf_refuse(s->error, "the target is %s; expected i32 ids",
                         wf_dtype_name(target->dtype));
    bool fits = z->rank == target->rank + 1;
    for (int i = 0; fits && i < target->rank; i++) fits = z->dim[i] == target->dim[i];
    if (!fits)
        return wf_refuse(s->error,
                         "logits are %s and the target is %s; expected (..., classes) and (...)",
                         shape_text(text[0], z), shape_text(text[1], target));
    if (!isgreaterequal(e->smoothing, 0) || !isless(e->smoothing, 1))
        return wf_refuse(s->error, "label_smoothing is %g; expected 0 <= label_smoothing < 1",
                         e->smoothing);
    if (e->reduction < WF_REDUCE_MEAN || e->reduction > WF_REDUCE_NONE)
        return wf_refuse(s->error, "reduction is %d; expected mean, sum or none",
                         (int)e->reduction);
    wf_tensor *loss = &s->out[0], *normal = &s->out[1];
    loss->dtype = normal->dtype = z->dtype;
    loss->rank = e->reduction == WF_REDUCE_NONE ? target->rank : 0;
    normal->rank = z->rank;
    for (int i = 0; i < target->rank; i++) loss->dim[i] = normal->dim[i] = target->dim[i];
    normal->dim[target->rank] = 2;
    if (!wf_size_mul(wf_tensor_count(target), sizeof(double), &s->scratch_forward))
        return wf_refuse(s->error, "its work is more than memory can hold");
    return true;
}

static int32_t id_at(const wf_tensor *target, int64_t i)
{
    return ((const int32_t *)target->data)[wf_tensor_offset(target, target->rank, i)];
}

static bool counts(const entropy *e, int32_t id)
{
    return !(e->has_ignore && id == e->ignore);
}

static bool entropy_check(const wf_call *c, wf_error *error)
{
    const wf_tensor *target = c->in[1];
    const int64_t n = wf_tensor_count(target), classes = c->in[0]->dim[target->rank];
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = id_at(target, i);
        if ((id >= 0 && id < classes) || !counts(c->attr, id)) continue;
        char text[WF_SHAPE_TEXT];
        return wf_refuse(error, "target %d at %s is out of range: there are %lld classes", id,
                         wf_index_text(text, sizeof text, target->rank, target->dim, i),
                         (long long)classes);
    }
    return true;
}

static double divisor(const wf_call *c)
{
    const entropy *e = c->attr;
    if (e->reduction != WF_REDUCE_MEAN) return 1;
    const int64_t n = wf_tensor_count(c->in[1]);
    int64_t counted = n;
    for (int64_t i = 0; e->has_ignore && i < n; i++) counted -= !counts(e, id_at(c->in[1], i));
    return counted > 0 ? (double)counted : 1; /* the mean over nothing is 0 */
}

static void forward_rows(void *context, int64_t begin, int64_t end)
{
    const wf_call *c = context;
    const wf_tensor *z = c->in[0];
    const entropy *e = c->attr;
    const op_kernels *kernels = op_kernels_of(z->dtype);
    const int axes = z->rank - 1;
    const int64_t bytes = bytes_of(z), stride = z->dim[axes] == 1 ? 1 : z->stride[axes];
    double *loss = c->scratch;
    for (int64_t i = begin; i < end; i++) {
        const int32_t id = id_at(c->in[1], i);
        char *normal = (char *)c->out[1]->data + 2 * i * bytes;
        if (counts(e, id)) {
            loss[i] = kernels->entropy(z->dim[axes],
                                       (char *)z->data + wf_tensor_offset(z, axes, i) * bytes,
                                       stride, id, e->smoothing, normal);
        } else {
            loss[i] = 0;
            memset(normal, 0, (size_t)(2 * bytes));
        }
    }
}

static void each_row(const wf_call *c, wf_par_fn *fn, void *context)
{
    const int64_t classes = c->in[0]->dim[c->in[1]->rank];
    wf_par_for(c->threads, wf_tensor_count(c->in[1]), ELEMENTS / (classes + 1) + 1, fn, context);
}

static void entropy_forward(const wf_call *c)
{
    const entropy *e = c->attr;
    const wf_tensor *y = c->out[0];
    const double *loss = c->scratch;
    const int64_t n = wf_tensor_count(c->in[1]);
    const wf_dtype_info *dtype = wf_dtype_describe(y->dtype);
    each_row(c, forward_rows, (void *)c);
    if (e->reduction == WF_REDUCE_NONE) {
        for (int64_t i = 0; i < n; i++) dtype->store(y->data, i, loss[i]);
        return;
    }
    double high = 0, low = 0;
    wf_sum_run(WF_F64, n, loss, 1, &high, &low);
    dtype->store(y->data, 0, wf_sum_value(high, low) / divisor(c));
}

static double number_at(const wf_tensor *x, int64_t at)
{
    return wf_dtype_describe(x->dtype)->load(x->data, at);
}

/* With the mean's divisor. */
typedef struct back {
    const wf_call *call;
    double divisor;
} back;

static void backward_rows(void *context, int64_t begin, int64_t end)
{
    const back *b = context;
    const wf_call *c = b->call;
    const wf_tensor *z = c->in[0], *g = c->gout[0], *gz = c->gin[0];
    const entropy *e = c->attr;
    const op_kernels *kernels = op_kernels_of(z->dtype);
    const int axes = z->rank - 1;
    const int64_t bytes = bytes_of(z), n = z->dim[axes];
    const bool each = e->reduction == WF_REDUCE_NONE;
    for (int64_t i = begin; i < end; i++) {
        const int32_t id = id_at(c->in[1], i);
        if (!counts(e, id)) continue;
        kernels->entropy_back(n, (char *)z->data + wf_tensor_offset(z, axes, i) * bytes,
                              n == 1 ? 1 : z->stride[axes], id, e->smoothing,
                              (char *)c->out[1]->data + 2 * i * bytes,
                              number_at(g, each ? wf_tensor_offset(g, axes, i) : 0) / b->divisor,
                              (char *)gz->data + wf_tensor_offset(gz, axes, i) * bytes,
                              n == 1 ? 1 : gz->stride[axes]);
    }
}

static void entropy_backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0]) return;
    back b = { c, divisor(c) };
    each_row(c, backward_rows, &b);
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
    if (k >= (int)(sizeof tried / sizeof tried[0])) return false;
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
    char text[2][WF_SHAPE_TEXT];
    if (!same_dtype(s, 1, 0, NULL)) return false;
    if (!is_float(a)) return wf_refuse(s->error, "takes f32 or f64, not i32");
    wf_shape one = wf_tensor_shape(a), other = wf_tensor_shape(b);
    if (!wf_shape_equal(&one, &other)) /* broadcasting here has hidden many a mistake */
        return wf_refuse(s->error, "shapes differ: %s and %s", shape_text(text[0], a),
                         shape_text(text[1], b));
    s->out[0].dtype = a->dtype;
    s->out[0].rank = 0;
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
    for (int i = 0; i < 2; i++) { /* the derivative to b is that to a with a and b exchanged */
        wf_walk loop;
        if (c->gin[i] && wf_walk_plan(&loop, wf_tensor_shape(in[0]), 3,
                                      (const wf_tensor *[]){ c->gin[i], in[i], in[1 - i] }))
            wf_walk_run(&loop, c->threads, 1, squares_back_run, &q);
    }
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
    if (k >= (int)(sizeof tried / sizeof tried[0])) return false;
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
    entropy e;
    memset(&e, 0, sizeof e); /* the padding too: attributes are compared bytewise */
    if (!wf_tape_ok(t) || !(logits = var_enter(t, logits, "cross_entropy", 0)) ||
        !(target = var_enter(t, target, "cross_entropy", 1)))
        return NULL;
    if (options && options->weight) return cross_entropy_spelled(t, logits, target, options);
    if (is_soft(logits, target))
        return cross_entropy_spelled(t, logits, target,
                                     options ? options : &(wf_cross_entropy_options){ 0 });
    if (options) {
        e.smoothing = options->label_smoothing;
        e.ignore = options->ignore;
        e.has_ignore = options->has_ignore;
        e.reduction = (int32_t)options->reduction;
    }
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
