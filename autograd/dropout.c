/* Dropout (Srivastava et al. 2014), inverted: what is kept is divided by 1 - p, so that eval
 * needs no other scale. A bit for each element remembers which were. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "autograd/private.h"

#include <math.h>
#include <string.h>

enum { GRAIN = 16384 };

/* Bits lie one behind another. Where rows are long, as many words as whole rows of them take: a
 * planned loop keeps what it has by rows. Of the most that there can be, as many as fit: the engine
 * says that x is too large. */
static wf_shape words_of(const wf_tensor *x)
{
    enum { LONG = 8 };
    const wf_shape shape = wf_tensor_shape(x);
    const int64_t n = wf_shape_check(&shape, x->dtype, NULL);
    if (n <= 0) return WF_SHAPE(0);
    const int64_t row = x->rank > 0 ? n / x->dim[0] : 1;
    if (row < LONG) return WF_SHAPE((n + DROPOUT_WORD - 1) / DROPOUT_WORD);
    return WF_SHAPE(x->dim[0], (row + DROPOUT_WORD - 1) / DROPOUT_WORD);
}

static bool shape(wf_shaping *s)
{
    const double p = *(const double *)s->attr;
    if (!isgreaterequal(p, 0) ||
        !isless(p, 1)) /* raise nothing for NaN: a shape runs in any state */
        return wf_refuse(s->error, "p is %g; expected 0 <= p < 1", p);
    if (!takes_floats(s, 0)) return false;
    s->out[0] = *s->in[0];
    form_out(&s->out[1], WF_I32, words_of(s->in[0])); /* what is kept */
    return true;
}

static double p_of(const wf_call *c)
{
    return *(const double *)c->attr;
}

/* x is y's memory when it had to be made contiguous first. */
typedef struct drawing {
    const wf_call *call;
    const char *x;
} drawing;

static void draw_part(void *context, int64_t begin, int64_t end)
{
    const drawing *d = context;
    const wf_call *c = d->call;
    const int64_t bytes = bytes_of(c->out[0]);
    op_kernels_of(c->out[0]->dtype)
        ->dropout(begin, end - begin, d->x + begin * bytes, (char *)c->out[0]->data + begin * bytes,
                  (uint32_t *)c->out[1]->data + begin / DROPOUT_WORD, p_of(c), c->key, c->counter);
}

static void forward(const wf_call *c)
{
    drawing d = { c, c->in[0]->data };
    if (!wf_tensor_is_contiguous(c->in[0])) {
        wf_tensor_assign(c->in[0], c->out[0], c->threads);
        d.x = c->out[0]->data;
    }
    wf_par_for(c->threads, wf_tensor_count(c->out[0]), GRAIN, draw_part, &d);
}

/* g is row-major: where an element lies in it is its place among the bits. */
static void back_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const wf_call *c = context;
    const wf_tensor *g = c->gout[0];
    const int64_t bytes = bytes_of(g), first = (pointer[1] - (char *)g->data) / bytes;
    const int64_t step = stride[1] / bytes;
    op_kernels_of(g->dtype)->dropout_back(n, c->out[1]->data, first, step, pointer[1], step,
                                          pointer[0], stride[0] / bytes, p_of(c));
}

static void backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0]) return;
    walk_over(c->out[0], c->threads, OPERANDS(c->gin[0], c->gout[0]), back_run, (void *)c);
}

static void gradient(wf_tape *t, const wf_gradient *g)
{
    wf_tensor mask;
    wf_var *kept = wf_constant_fill(t, WF_I32, wf_shape_of(g->out[0]), &mask);
    const int64_t n = kept ? wf_count(kept) : 0;
    for (int64_t i = 0; i < n; i++)
        ((int32_t *)mask.data)[i] = kept_bit(wf_value(g->out[1])->data, i);
    wf_var *scaled = wf_mul_scalar(t, g->gout[0], 1 / (1 - *(const double *)g->attr));
    g->gin[0] = wf_where(t, kept, scaled, wf_zeros(t, wf_dtype_of(scaled), WF_SCALAR));
}

static bool sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape shape;
        double p;
    } tried[] = {
        { "a half", { 2, { 7, 5 } }, 0.5 }, { "most, over a block", { 2, { 3, 35 } }, 0.9 },
        { "none", { 2, { 3, 5 } }, 0 },     { "a scalar", { 0, { 0 } }, 0.3 },
        { "empty", { 2, { 0, 3 } }, 0.3 },
    };
    return k < COUNT_OF(tried) &&
           sample_one(s, tried[k].label, WF_F64, tried[k].shape, 2, &tried[k].p, sizeof tried[k].p);
}

const wf_op op_dropout = {
    .name = OP_NAME(dropout),
    .inputs = 1,
    .outputs = 1,
    .hidden = 1,
    .attr_size = sizeof(double),
    .flags = WF_OP_RANDOM,
    .reads_out = 2,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
    .sample = sample,
};

wf_var *wf_dropout(wf_tape *t, wf_var *x, double p)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    bool idle = p == 0 || (p > 0 && p < 1 && wf_tape_mode(t) != WF_TRAIN);
    if (!idle) return wf_apply_one(t, &op_dropout, 1, &x, &p);
    return wf_tape_ok(t) ? var_enter(t, x, op_dropout.name, 0) : NULL;
}
