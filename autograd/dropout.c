/* Dropout (Srivastava et al. 2014), inverted: what is kept is divided by 1 - p, so that eval needs
 * no other scale. A bit for each element remembers which were. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "autograd/private.h"
#include "autograd/random_private.h"

#include <math.h>
#include <string.h>

enum { GRAIN = 16384 };

/* How x is drawn: row by row, where the rows of axis 0 are long, each from a counter and in words
 * of bits of its own, so that rows can be computed apart; else all of it as one row. */
typedef struct drop_form {
    int64_t rows, n, words; /* n elements and as many words in each */
    bool apart;             /* rows are those of axis 0 */
} drop_form;

/* Of the most elements that there can be, as many words as fit: the engine says that x is too
 * large. */
static drop_form form_of(const wf_tensor *x)
{
    const wf_shape shape = wf_tensor_shape(x);
    const int64_t n = wf_shape_check(&shape, x->dtype, NULL);
    drop_form f = { 1, n < 0 ? 0 : n, 0, false };
    if (n > 0 && x->rank > 0 && n / x->dim[0] >= DROPOUT_LONG) {
        f.apart = true;
        f.rows = x->dim[0];
        f.n = dropout_share(n, f.rows);
    }
    f.words = f.n / DROPOUT_WORD + (f.n % DROPOUT_WORD != 0);
    return f;
}

static uint32_t varying(const wf_call *c)
{
    return form_of(c->in[0]).apart ? 1 : 0;
}

static bool shape(wf_shaping *s)
{
    const double p = *(const double *)s->attr;
    if (!isgreaterequal(p, 0) ||
        !isless(p, 1)) /* raise nothing for NaN: a shape runs in any state */
        return wf_refuse(s->error, "p is %g; expected 0 <= p < 1", p);
    if (!takes_floats(s, 0)) return false;
    s->out[0] = *s->in[0];
    const drop_form f = form_of(s->in[0]);
    form_out(&s->out[1], WF_I32, f.apart ? WF_SHAPE(f.rows, f.words) : WF_SHAPE(f.words));
    return true;
}

static double p_of(const wf_call *c)
{
    return *(const double *)c->attr;
}

/* A row is cut into pieces of GRAIN elements. x is y's memory when it had to be made contiguous
 * first; of backward it is the gradient to add to. */
typedef struct dropping {
    const wf_call *call;
    const wf_tensor *x;
    drop_form form;
    int64_t pieces;
} dropping;

static dropping dropping_of(const wf_call *c, const wf_tensor *x)
{
    const drop_form f = form_of(c->out[0]);
    return (dropping){ c, x, f, (f.n + GRAIN - 1) / GRAIN };
}

static void each_piece(const dropping *d, wf_par_fn *fn)
{
    const int64_t grain = d->form.n > 0 && d->form.n < GRAIN ? GRAIN / d->form.n : 1;
    wf_par_for(d->call->threads, d->form.rows * d->pieces, grain, fn, (void *)(uintptr_t)d);
}

/* Piece i: its row, and which elements of that; returns how many. */
static int64_t piece_at(const dropping *d, int64_t i, int64_t *row, int64_t *first)
{
    *row = i / d->pieces;
    *first = i % d->pieces * GRAIN;
    return d->form.n - *first < GRAIN ? d->form.n - *first : GRAIN;
}

static uint32_t *kept_row(const dropping *d, int64_t row)
{
    return (uint32_t *)d->call->out[1]->data + row * d->form.words;
}

static void draw_pieces(void *context, int64_t begin, int64_t end)
{
    const dropping *d = context;
    const wf_call *c = d->call;
    const wf_tensor *y = c->out[0];
    for (int64_t i = begin; i < end; i++) {
        int64_t row, first;
        const int64_t n = piece_at(d, i, &row, &first), at = row * d->form.n + first;
        op_kernels_of(y->dtype)->dropout(
            first, n, wf_element(y->dtype, d->x->data, at), wf_element(y->dtype, y->data, at),
            kept_row(d, row) + first / DROPOUT_WORD, p_of(c), c->key, c->counter + (uint64_t)row);
    }
}

static void forward(const wf_call *c)
{
    const bool dense = wf_tensor_is_contiguous(c->in[0]);
    if (!dense) wf_tensor_assign(c->in[0], c->out[0], c->threads);
    const dropping d = dropping_of(c, dense ? c->in[0] : c->out[0]);
    each_piece(&d, draw_pieces);
}

/* One row of what the walk below sees: where an element lies in g, which is row-major, is its place
 * among the bits. */
typedef struct row_back {
    const dropping *of;
    const char *g;
    const uint32_t *kept;
} row_back;

static void back_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const row_back *r = context;
    const wf_tensor *g = r->of->call->gout[0];
    const int64_t bytes = bytes_of(g), first = (pointer[1] - r->g) / bytes;
    const int64_t step = stride[1] / bytes;
    op_kernels_of(g->dtype)->dropout_back(n, r->kept, first, step, pointer[1], step, pointer[0],
                                          stride[0] / bytes, p_of(r->of->call));
}

static void back_pieces(void *context, int64_t begin, int64_t end)
{
    const dropping *d = context;
    const wf_tensor *g = d->call->gout[0];
    for (int64_t i = begin; i < end; i++) {
        int64_t row, first;
        const int64_t n = piece_at(d, i, &row, &first), at = row * d->form.n + first;
        op_kernels_of(g->dtype)->dropout_back(
            n, kept_row(d, row), first, 1, wf_element(g->dtype, g->data, at), 1,
            wf_element(g->dtype, d->x->data, at), 1, p_of(d->call));
    }
}

/* Rows of a gradient of other strides. */
static void back_rows(void *context, int64_t begin, int64_t end)
{
    const dropping *d = context;
    const wf_tensor *g = d->call->gout[0];
    for (int64_t row = begin; row < end; row++) {
        wf_tensor here = *d->x, there = *g;
        if (d->form.apart) {
            wf_view_slice(d->x, 0, row, row + 1, 1, &here);
            wf_view_slice(g, 0, row, row + 1, 1, &there);
        }
        row_back r = { d, there.data, kept_row(d, row) };
        walk_over(&there, 1, OPERANDS(&here, &there), back_run, &r);
    }
}

static void backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0] || wf_tensor_count(c->out[0]) == 0) return;
    const dropping d = dropping_of(c, c->gin[0]);
    if (wf_tensor_is_contiguous(c->gin[0]))
        each_piece(&d, back_pieces);
    else
        each_row(c->threads, d.form.rows, d.form.n, back_rows, (void *)(uintptr_t)&d);
}

static void gradient(wf_tape *t, const wf_gradient *g)
{
    wf_tensor mask;
    wf_var *kept = wf_constant_fill(t, WF_I32, wf_shape_of(g->out[0]), &mask);
    const drop_form f = form_of(wf_value(g->out[0]));
    for (int64_t i = 0; kept && i < f.rows * f.n; i++)
        ((int32_t *)mask.data)[i] = kept_bit(wf_value(g->out[1])->data,
                                             i / f.n * f.words * DROPOUT_WORD + i % f.n);
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
        { "a half", { 2, { 7, 5 } }, 0.5 },
        { "long rows", { 2, { 4, 11 } }, 0.5 },
        { "most, over a block", { 2, { 3, 35 } }, 0.9 },
        { "none", { 2, { 3, 5 } }, 0 },
        { "a scalar", { 0, { 0 } }, 0.3 },
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
    .varying = varying,
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
