/* The last layer of a classifier and its cross entropy as one op, without the logits as a whole
 * (after Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models"). Blocks of
 * rows are made, turned into derivatives where they lie, and multiplied on while they are near.
 *
 * Where all losses meet in one number, so do their cotangents: forward makes the gradients for a
 * cotangent of 1, and backward scales them, so that no logit is computed twice. Where each position
 * has a cotangent of its own, or that one number is infinite or NaN and must not meet sums that are
 * made already, backward makes the blocks anew. */
#include "autograd/kernels.h"
#include "autograd/loss_private.h"
#include "autograd/private.h"
#include "autograd/views.h"
#include "tensor/gemm.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/sum.h"

#include <math.h>
#include <string.h>

/* Rows of a block: enough for a sum over them to be worth its pass over the gradient of w, few
 * enough for a cache. Powers of two, of which a whole number makes a span of a long sum. Within a
 * block rows are worked on some at a time, by one thread each where there are enough. */
enum { FEWEST_ROWS = 256, CHUNK = 128, BLOCK_BYTES = 2 << 20 };
/* Elements, and multiply-adds, that are worth a thread. */
enum { SUM_GRAIN = 16384, WORK_GRAIN = 1 << 22 };

enum { X, W, B, TARGET, INPUTS, GRADS = 3 };

static int64_t block_rows(wf_dtype dtype, int64_t positions, int64_t classes)
{
    int64_t rows = FEWEST_ROWS;
    while (rows < positions && rows < WF_GEMM_SPAN &&
           classes <= BLOCK_BYTES / (2 * rows * wf_dtype_size(dtype)))
        rows *= 2;
    return rows < positions ? rows : positions;
}

/* ---- what is worked with ---- */

typedef struct work {
    double *loss;       /* of each position */
    int64_t *counted;   /* the positions that count */
    void *block;        /* rows by classes: logits, then derivatives */
    void *x, *gx;       /* rows by inputs: rows of x, and gradients of them, that lie apart */
    void *bias;         /* b, side by side */
    double *high, *low; /* the gradient of b, as sums of tensor/sum.h */
    void *spare;        /* of products with a long inner size, for each chunk */
    void *sum, *lost;   /* a span of the gradient of w, and what its roundings lost; or NULL */
} work;

/* A piece of `count` times `each` bytes from *at on, which becomes -1 when that is too much. */
static void *piece(char *base, int64_t *at, int64_t count, int64_t each)
{
    int64_t bytes, from = *at;
    if (from < 0 || !wf_size_mul(count, each, &bytes) ||
        !wf_size_align(bytes, WF_ALIGNMENT, &bytes) || !wf_size_add(from, bytes, at)) {
        *at = -1;
        return NULL;
    }
    return base && bytes > 0 ? base + from : NULL;
}

static int64_t chunks_of(int64_t rows)
{
    return (rows + CHUNK - 1) / CHUNK;
}

/* Bytes that the products of a chunk work with; -1: too many. */
static int64_t spare_of(wf_dtype dtype, int64_t classes, int64_t inputs)
{
    const int64_t there = wf_gemm_scratch(dtype, CHUNK, classes, inputs);
    const int64_t back = wf_gemm_scratch(dtype, CHUNK, inputs, classes);
    return there < 0 || back < 0 ? -1 : there > back ? there : back;
}

/* Lays the pieces out (base NULL: only counts); the bytes in all, -1: too many. */
static int64_t lay_out(work *k, char *base, wf_dtype dtype, int64_t positions, int64_t classes,
                       int64_t inputs)
{
    const int64_t rows = block_rows(dtype, positions, classes), size = wf_dtype_size(dtype);
    int64_t at = 0, weights = -1, line;
    k->loss = piece(base, &at, positions, sizeof(double));
    k->counted = piece(base, &at, positions, sizeof(int64_t));
    k->high = piece(base, &at, classes, sizeof(double));
    k->low = piece(base, &at, classes, sizeof(double));
    if (!wf_size_mul(classes, size, &line) || !wf_size_mul(inputs, size, &weights)) return -1;
    k->block = piece(base, &at, rows, line);
    k->x = piece(base, &at, rows, weights);
    k->gx = piece(base, &at, rows, weights);
    k->bias = piece(base, &at, line, 1);
    k->spare = piece(base, &at, chunks_of(rows), spare_of(dtype, classes, inputs));
    k->sum = k->lost = NULL;
    if (positions <= WF_GEMM_SPAN) return at;
    if (!wf_size_mul(weights, classes, &weights)) return -1;
    k->sum = piece(base, &at, weights, 1);
    k->lost = piece(base, &at, weights, 1);
    return at;
}

static bool shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[X], *w = s->in[W], *target = s->in[TARGET];
    const entropy *e = s->attr;
    if (!affine_sound(s) || !entropy_takes_ids(s, target)) return false;
    if (!entropy_fits(x, target))
        return wf_refuse(s->error, "x is %s and the target is %s; expected (..., %lld) and (...)",
                         SHAPE_TEXT(x), SHAPE_TEXT(target), (long long)w->dim[1]);
    if (!entropy_sound(s, e)) return false;
    wf_tensor *loss = &s->out[0], *saved = &s->out[1];
    const bool each = e->reduction == WF_REDUCE_NONE;
    *loss = *x;
    loss->rank = each ? target->rank : 0;
    for (int i = 0; i < GRADS; i++) { /* the gradients for a cotangent of 1 */
        const bool made = s->in[i] && !each && s->wanted >> i & 1;
        form_out(&saved[i], x->dtype, made ? wf_tensor_shape(s->in[i]) : WF_SHAPE(0));
    }
    work k;
    const int64_t bytes = lay_out(&k, NULL, x->dtype, wf_tensor_count(target), w->dim[0],
                                  w->dim[1]);
    return takes_scratch(s, &s->scratch_forward, bytes, 1) &&
           takes_scratch(s, &s->scratch_backward, bytes, 1);
}

static bool check(const wf_call *c, wf_error *error)
{
    return entropy_ids_sound(c->attr, c->in[TARGET], c->in[W]->dim[0], error);
}

/* ---- a call, and a block of it ---- */

typedef struct loss_call {
    const wf_call *call;
    const op_kernels *kernels;
    const entropy *e;
    op_rows x, ids, gx;
    const wf_tensor *grad[GRADS]; /* to x, w, b; NULL: not wanted */
    const wf_tensor *g;           /* the cotangent; NULL: it is 1 */
    bool fresh;                   /* the gradients hold nothing yet */
    int64_t counted, classes, inputs, rows;
    double divisor;
    const void *bias; /* side by side; or NULL */
    work k;
} loss_call;

/* Some of the positions that count: a block, or a chunk of one. */
typedef struct block {
    const loss_call *of;
    int64_t first, n;
    wf_matrix x, z; /* rows of x, and their logits, which become derivatives */
    int threads;
} block;

static loss_call begin(const wf_call *c, const wf_tensor *const grad[GRADS], const wf_tensor *g,
                       bool fresh)
{
    const wf_tensor *x = c->in[X], *w = c->in[W], *target = c->in[TARGET];
    const int64_t positions = wf_tensor_count(target);
    loss_call l = { .call = c,
                    .kernels = op_kernels_of(x->dtype),
                    .e = c->attr,
                    .x = rows_along(x, target->rank),
                    .ids = rows_along(target, target->rank),
                    .g = g,
                    .fresh = fresh,
                    .classes = w->dim[0],
                    .inputs = w->dim[1],
                    .rows = block_rows(x->dtype, positions, w->dim[0]),
                    .divisor = entropy_divisor(c->attr, target) };
    for (int i = 0; i < GRADS; i++) l.grad[i] = grad[i];
    if (grad[X]) l.gx = rows_along(grad[X], target->rank);
    lay_out(&l.k, c->scratch, x->dtype, positions, l.classes, l.inputs);
    const wf_tensor *b = c->in[B];
    if (b && wf_tensor_is_contiguous(b)) {
        l.bias = b->data;
    } else if (b) {
        const wf_tensor line = wf_tensor_of(b->dtype, wf_tensor_shape(b), l.k.bias);
        wf_tensor_copy(b, &line);
        l.bias = l.k.bias;
    }
    for (int64_t i = 0; i < positions; i++) {
        l.k.loss[i] = 0;
        if (entropy_counts(l.e, id_at(&l.ids, i))) l.k.counted[l.counted++] = i;
    }
    return l;
}

/* The rows of a block, where they are one matrix as they lie. */
static bool lies_as_matrix(const block *b, const op_rows *r, wf_matrix *m)
{
    const int64_t *at = b->of->k.counted + b->first;
    if (at[b->n - 1] - at[0] != b->n - 1 || (b->n > 1 && !r->apart)) return false;
    *m = wf_matrix_strided(r->of->dtype, row_at(r, at[0]), b->n, r->n, b->n > 1 ? r->apart : r->n,
                           r->step);
    return true;
}

static block block_at(const loss_call *l, int64_t first)
{
    const op_rows *x = &l->x;
    const wf_dtype dtype = x->of->dtype;
    block b = { .of = l, .first = first, .n = l->counted - first, .threads = l->call->threads };
    if (b.n > l->rows) b.n = l->rows;
    b.z = wf_matrix_of(dtype, l->k.block, b.n, l->classes);
    if (lies_as_matrix(&b, x, &b.x)) return b;
    b.x = wf_matrix_of(dtype, l->k.x, b.n, l->inputs);
    for (int64_t i = 0; l->inputs > 0 && i < b.n; i++)
        copy_run(wf_matrix_at(b.x, i, 0), x->bytes, row_at(x, l->k.counted[first + i]),
                 x->step * x->bytes, x->n, x->bytes);
    return b;
}

/* ---- rows of a block: logits, losses, derivatives, and the gradient of x ---- */

static void turn_rows(void *context, int64_t begin, int64_t end)
{
    const block *b = context;
    const loss_call *l = b->of;
    for (int64_t i = begin; i < end; i++) {
        const int64_t at = l->k.counted[b->first + i];
        double g = 1;
        if (l->g) g = number_at(l->g, l->e->reduction == WF_REDUCE_NONE ? at : 0);
        l->k.loss[at] = l->kernels->entropy_turn(l->classes, wf_matrix_at(b->z, i, 0), l->bias,
                                                 id_at(&l->ids, at), l->e->smoothing,
                                                 g / l->divisor);
    }
}

/* moved: where the chunk's part of what is worked with lies. */
static void add_to_x(const block *b, wf_matrix moved, void *spare)
{
    const loss_call *l = b->of;
    const op_rows *r = &l->gx;
    const int64_t *at = l->k.counted + b->first;
    wf_matrix m;
    const bool lies = lies_as_matrix(b, r, &m);
    wf_gemm_long(b->threads, 1, b->z, wf_matrix_of_tensor(l->call->in[W]),
                 lies && !l->fresh ? 1 : 0, lies ? m : moved, spare);
    for (int64_t i = 0; !lies && r->n > 0 && i < b->n; i++) {
        if (l->fresh)
            memcpy(row_at(r, at[i]), wf_matrix_at(moved, i, 0), (size_t)(r->n * r->bytes));
        else
            wf_run_add(r->of->dtype, r->n, 1, wf_matrix_at(moved, i, 0), 1, row_at(r, at[i]),
                       r->step);
    }
}

/* All of it for one chunk, c, of the block. */
static void do_chunk(const block *b, int64_t c, int threads)
{
    const loss_call *l = b->of;
    const wf_dtype dtype = b->z.dtype;
    const int64_t chunks = chunks_of(b->n), from = c * b->n / chunks;
    const int64_t n = (c + 1) * b->n / chunks - from; /* of even height: none is left thin */
    const wf_matrix w = wf_matrix_of_tensor(l->call->in[W]);
    const block part = { l,
                         b->first + from,
                         n,
                         wf_matrix_part(b->x, from, 0, n, l->inputs),
                         wf_matrix_part(b->z, from, 0, n, l->classes),
                         threads };
    char *spare = l->k.spare;
    if (spare) spare += c * spare_of(dtype, l->classes, l->inputs);
    wf_gemm_long(threads, 1, part.x, wf_matrix_transposed(w), 0, part.z, spare);
    each_row(threads, n, l->classes, turn_rows, (void *)(uintptr_t)&part);
    if (!l->grad[X]) return;
    const wf_matrix moved = wf_matrix_of(dtype, l->k.gx, b->n, l->inputs);
    add_to_x(&part, wf_matrix_part(moved, from, 0, n, l->inputs), spare);
}

static void do_chunks(void *context, int64_t begin, int64_t end)
{
    for (int64_t c = begin; c < end; c++) do_chunk(context, c, 1);
}

/* Chunks are shared out where each thread gets about as many; else each is shared. */
static void do_rows(const block *b)
{
    const loss_call *l = b->of;
    const int64_t chunks = chunks_of(b->n), adds = 2 * CHUNK * l->classes * l->inputs;
    const int threads = b->threads;
    if (threads > 1 && (chunks % threads == 0 || chunks >= 3 * (int64_t)threads)) {
        wf_par_for(threads, chunks, WORK_GRAIN / (adds + 1) + 1, do_chunks, (void *)(uintptr_t)b);
        return;
    }
    for (int64_t c = 0; c < chunks; c++) do_chunk(b, c, threads);
}

/* ---- what the rows of a block share ---- */

/* The first of what is summed is written where nothing was. */
static double beta(const block *b)
{
    return b->of->fresh && b->first == 0 ? 0 : 1;
}

/* A sum over more positions than a span is cut as those of wf_gemm_long are. */
static void add_to_w(const block *b)
{
    const loss_call *l = b->of;
    const wf_matrix d = wf_matrix_transposed(b->z), w = wf_matrix_of_tensor(l->grad[W]);
    const int64_t end = b->first + b->n;
    if (b->first < WF_GEMM_SPAN) {
        wf_gemm(b->threads, 1, d, b->x, beta(b), w);
        return;
    }
    wf_gemm(b->threads, 1, d, b->x, b->first % WF_GEMM_SPAN == 0 ? 0 : 1,
            wf_matrix_of(w.dtype, l->k.sum, w.rows, w.columns));
    if (end % WF_GEMM_SPAN == 0 || end == l->counted)
        wf_gemm_fold(b->threads, l->k.sum, l->k.lost, w);
}

/* Classes begin .. end - 1 of the sum over the block's rows. */
static void add_columns(void *context, int64_t begin, int64_t end)
{
    const block *b = context;
    const wf_matrix d = b->z;
    for (int64_t i = 0; i < d.rows; i += 8) {
        const void *row[8];
        const int64_t some = d.rows - i < 8 ? d.rows - i : 8;
        for (int64_t r = 0; r < some; r++) row[r] = wf_matrix_at(d, i + r, begin);
        wf_sum_rows(d.dtype, some, end - begin, row, 1, b->of->k.high + begin,
                    b->of->k.low + begin);
    }
}

static void clear(const wf_tensor *x)
{
    const int64_t n = wf_tensor_count(x);
    if (n > 0) memset(x->data, 0, (size_t)(n * bytes_of(x)));
}

static void prepare(const loss_call *l)
{
    const size_t sums = (size_t)l->classes * sizeof(double);
    const wf_tensor *gx = l->grad[X], *gw = l->grad[W], *gb = l->grad[B];
    if (l->fresh && gx && l->counted < wf_tensor_count(l->call->in[TARGET])) clear(gx);
    if (l->fresh && gw && l->counted == 0) clear(gw);
    if (l->fresh && gb) clear(gb);
    if (gb && sums > 0) {
        memset(l->k.high, 0, sums);
        memset(l->k.low, 0, sums);
    }
    if (gw && l->k.lost) memset(l->k.lost, 0, (size_t)(l->classes * l->inputs * bytes_of(gw)));
}

/* All blocks: losses into the call's work, gradients where they are wanted. */
static void run(const loss_call *l)
{
    const int threads = l->call->threads;
    const wf_tensor *gw = l->grad[W], *gb = l->grad[B];
    prepare(l);
    for (int64_t first = 0; first < l->counted; first += l->rows) {
        block b = block_at(l, first);
        do_rows(&b);
        if (gw) add_to_w(&b);
        if (gb) wf_par_for(threads, l->classes, SUM_GRAIN / b.n + 16, add_columns, &b);
    }
    if (gw && l->counted > WF_GEMM_SPAN)
        wf_gemm_settle(threads, l->k.lost, wf_matrix_of_tensor(gw));
    if (gb) wf_sum_into(gb->dtype, l->classes, l->k.high, l->k.low, gb->data, gb->stride[0]);
}

static void forward(const wf_call *c)
{
    const wf_tensor *grad[GRADS];
    const entropy *e = c->attr;
    for (int i = 0; i < GRADS; i++) {
        const bool made = c->in[i] && e->reduction != WF_REDUCE_NONE && c->wanted >> i & 1;
        grad[i] = made ? c->out[1 + i] : NULL;
    }
    const loss_call l = begin(c, grad, NULL, true);
    run(&l);
    entropy_store(e, wf_tensor_count(c->in[TARGET]), l.k.loss, l.divisor, c->out[0]);
}

static void backward(const wf_call *c)
{
    const wf_tensor *g = c->gout[0];
    const entropy *e = c->attr;
    if (!g || !(c->gin[X] || c->gin[W] || c->gin[B])) return;
    const bool again = e->reduction == WF_REDUCE_NONE || !isfinite(number_at(g, 0));
    const bool one = !again && number_at(g, 0) == 1;
    for (int i = 0; i < GRADS; i++) /* a gradient for 1 that nobody added to is what was made */
        if (c->gin[i] && c->fresh >> i & 1 && !one) clear(c->gin[i]);
    if (again) {
        const loss_call l = begin(c, c->gin, g, false);
        run(&l);
        return;
    }
    for (int i = 0; i < GRADS; i++) {
        if (!c->gin[i]) continue;
        if (one && c->fresh >> i & 1)
            wf_tensor_assign(c->out[1 + i], c->gin[i], c->threads);
        else
            wf_tensor_accumulate(c->out[1 + i], c->gin[i], number_at(g, 0), c->threads);
    }
}

static bool reference(wf_tape *t, const wf_reference *r)
{
    const entropy *e = r->attr;
    wf_var *x = r->in[X], *target = r->in[TARGET];
    const wf_cross_entropy_options options = { .has_ignore = e->has_ignore,
                                               .ignore = e->ignore,
                                               .label_smoothing = e->smoothing,
                                               .reduction = (wf_reduction)e->reduction };
    if (e->has_ignore) { /* what lies at ignored positions is not even looked at: it may be NaN */
        wf_var *ignored = wf_equal(t, target, wf_full(t, WF_I32, WF_SCALAR, e->ignore));
        x = wf_where(t, wf_unsqueeze(t, ignored, -1), wf_zeros(t, wf_dtype_of(x), WF_SCALAR), x);
    }
    wf_var *logits = wf_affine(t, x, r->in[W], r->in[B]); /* (..., C) */
    r->out[0] = wf_cross_entropy_with(t, logits, target, &options);
    return r->out[0] != NULL;
}

static bool sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape x, w, b, target;
        entropy e;
        double low;
    } tried[] = {
        { "time and batch",
          { 3, { 2, 3, 5 } },
          { 2, { 7, 5 } },
          { 1, { 7 } },
          { 2, { 2, 3 } },
          { .ignore = 0 },
          0 },
        { "no bias",
          { 2, { 3, 2 } },
          { 2, { 19, 2 } },
          { -1, { 0 } },
          { 1, { 3 } },
          { .reduction = WF_REDUCE_SUM, .smoothing = 0.1 },
          0 },
        { "one position",
          { 1, { 3 } },
          { 2, { 5, 3 } },
          { 1, { 5 } },
          { 0, { 0 } },
          { .ignore = 0 },
          0 },
        { "a loss for each",
          { 2, { 7, 2 } },
          { 2, { 3, 2 } },
          { 1, { 3 } },
          { 1, { 7 } },
          { .reduction = WF_REDUCE_NONE },
          0 },
        { "ignored ones",
          { 2, { 11, 2 } },
          { 2, { 3, 2 } },
          { 1, { 3 } },
          { 1, { 11 } },
          { .has_ignore = true, .ignore = -1, .smoothing = 0.2 },
          -1 },
        { "ignored ones, each",
          { 2, { 11, 2 } },
          { 2, { 3, 2 } },
          { -1, { 0 } },
          { 1, { 11 } },
          { .has_ignore = true, .ignore = 1, .reduction = WF_REDUCE_NONE },
          0 },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->label = tried[k].label;
    sample_input(s, WF_F64, tried[k].x, -2, 2);
    sample_input(s, WF_F64, tried[k].w, -2, 2);
    sample_input(s, WF_F64, tried[k].b, -2, 2);
    sample_input(s, WF_I32, tried[k].target, tried[k].low, (double)(tried[k].w.dim[0] - 1));
    memcpy(s->attr.bytes, &tried[k].e, sizeof tried[k].e);
    return true;
}

const wf_op op_affine_cross_entropy = {
    .name = OP_NAME(affine_cross_entropy),
    .inputs = INPUTS,
    .outputs = 1,
    .hidden = GRADS,
    .attr_size = sizeof(entropy),
    .flags = WF_OP_BEGINS,
    .optional = 1 << B,
    .reads_in = 15,
    .reads_out = 14,
    .reads_check = 1 << TARGET,
    .shape = shape,
    .check = check,
    .forward = forward,
    .backward = backward,
    .reference = reference,
    .sample = sample,
};

wf_var *wf_affine_cross_entropy(wf_tape *t, wf_var *x, wf_var *w, wf_var *b, wf_var *target,
                                const wf_cross_entropy_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!wf_tape_ok(t) || !(target = var_enter(t, target, op_affine_cross_entropy.name, TARGET)))
        return NULL;
    if ((options && options->weight) || wf_dtype_of(target) != WF_I32)
        return wf_cross_entropy_with(t, wf_affine(t, x, w, b), target, options);
    entropy e;
    entropy_set(&e, options);
    return wf_apply_one(t, &op_affine_cross_entropy, INPUTS, (wf_var *[]){ x, w, b, target }, &e);
}
