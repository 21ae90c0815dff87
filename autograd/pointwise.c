/* The pointwise engine: shapes, broadcasting there and back, and the rows and functions that
 * autograd/pointwise.def expands to. */
#include "autograd/pointwise.h"
#include "autograd/ops_private.h"
#include "autograd/sweep_private.h"
#include "tensor/par.h"
#include "tensor/sum.h"
#include "tensor/walk.h"

#include <string.h>

enum { BLOCK = 256, GRAIN = 16384, LEAF = 8 };

/* ---- shapes ---- */

static bool same_shape(const wf_tensor *a, const wf_tensor *b)
{
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

static bool broadcast_with(const wf_shaping *s, const wf_tensor *b, wf_tensor *out)
{
    wf_shape so_far = wf_tensor_shape(out), more = wf_tensor_shape(b), both;
    if (!wf_shape_broadcast(&so_far, &more, &both))
        return wf_refuse(s->error, "shapes do not broadcast: %s and %s", SHAPE_TEXT(out),
                         SHAPE_TEXT(b));
    out->rank = both.rank;
    memcpy(out->dim, both.dim, sizeof out->dim);
    return true;
}

/* The sizes that inputs broadcast to. */
static inline bool broadcast(const wf_shaping *s, wf_tensor *out)
{
    out->rank = s->in[0]->rank;
    memcpy(out->dim, s->in[0]->dim, sizeof out->dim); /* all of them: so it is no call */
    for (int k = 1; k < s->n_in; k++)
        if (!same_shape(s->in[k], out) && !broadcast_with(s, s->in[k], out)) return false;
    return true;
}

/* Inputs from `first` on have one dtype: a float, or where `whole` says so I32. */
static bool one_dtype(const wf_shaping *s, int first, bool whole)
{
    for (int k = first + 1; k < s->n_in; k++)
        if (!same_dtype(s, k, first, NULL)) return false;
    return whole || is_float(s->in[first]) || takes_floats(s, first); /* mostly without a call */
}

bool wf_pointwise_shape(wf_shaping *s)
{
    if (!one_dtype(s, 0, false)) return false;
    s->out[0].dtype = s->in[0]->dtype;
    return broadcast(s, &s->out[0]);
}

static bool where_shape(wf_shaping *s)
{
    if (s->in[0]->dtype != WF_I32)
        return wf_refuse(s->error, "the mask is %s; expected i32", wf_dtype_name(s->in[0]->dtype));
    if (!one_dtype(s, 1, true)) return false;
    s->out[0].dtype = s->in[1]->dtype;
    return broadcast(s, &s->out[0]);
}

static bool compare_shape(wf_shaping *s)
{
    if (!one_dtype(s, 0, true)) return false;
    s->out[0].dtype = WF_I32;
    return broadcast(s, &s->out[0]);
}

/* ---- kernels on tensors ---- */

/* One kernel and where its operands stand. */
typedef struct evaluation {
    wf_tile_fn *kernel;
    double number;
    int operands, slot[WF_AT], bytes[WF_AT];
    wf_dtype dtype; /* of the last operand */
    char *base[WF_AT];
    bool slope; /* the last operand is a gradient */
    bool add;   /* to what is there */
} evaluation;

static const int64_t one_row[WF_AT];

static void take(evaluation *j, const wf_tensor *operand[], int slot, const wf_tensor *x)
{
    operand[j->operands] = x;
    j->slot[j->operands] = slot;
    j->bytes[j->operands] = (int)bytes_of(x);
    j->dtype = x->dtype;
    j->base[j->operands++] = x->data;
}

/* What a derivative does not read is not there; a kernel's loop may still name it. */
static inline void stand_in(void *p[])
{
    for (int i = 0; i < WF_AT_GOUT; i++)
        if (!p[i]) p[i] = p[WF_AT_GOUT];
}

static void contiguous_part(void *context, int64_t begin, int64_t end)
{
    const evaluation *j = context;
    void *p[WF_AT] = { 0 };
    for (int i = 0; i < j->operands; i++) p[j->slot[i]] = j->base[i] + begin * j->bytes[i];
    if (j->slope) stand_in(p);
    j->kernel(1, end - begin, p, one_row, j->number, j->add);
}

/* What passes through a dense copy: a block of each operand, so that one form of each kernel serves
 * all strides. */
typedef struct copies {
    _Alignas(64) char dense[WF_AT][BLOCK * 8];
} copies;

/* Points the kernel at n elements of each operand but the last, which stand where `from` and
 * `stride` say, in the copies where they do not lie side by side. `again`: operands that stand
 * still are there already. */
static void point_at(const evaluation *j, copies *c, void *p[], char *const from[],
                     const int64_t stride[], int64_t n, bool again)
{
    for (int i = 0; i < j->operands - 1; i++) {
        p[j->slot[i]] = stride[i] == j->bytes[i] ? from[i] : c->dense[i];
        if (stride[i] != j->bytes[i] && (stride[i] != 0 || !again))
            copy_run(c->dense[i], j->bytes[i], from[i], stride[i], n, j->bytes[i]);
    }
    if (j->slope) stand_in(p);
}

/* A run of any strides. The last operand is written. */
static void strided_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const evaluation *j = context;
    copies c;
    char *from[WF_AT];
    void *p[WF_AT] = { 0 };
    const int last = j->operands - 1, bytes = j->bytes[last];
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t part = n - at < BLOCK ? n - at : BLOCK;
        for (int i = 0; i <= last; i++) from[i] = pointer[i] + at * stride[i];
        const bool direct = stride[last] == bytes;
        p[j->slot[last]] = direct ? from[last] : c.dense[last];
        if (!direct && j->add)
            copy_run(c.dense[last], bytes, from[last], stride[last], part, bytes);
        point_at(j, &c, p, from, stride, part, at > 0);
        j->kernel(1, part, p, one_row, j->number, j->add);
        if (!direct) copy_run(from[last], stride[last], c.dense[last], bytes, part, bytes);
    }
}

/* A gradient in which many terms meet. A few rows' are added up where they are computed, in the
 * dtype itself: LEAF terms at most, before they join a sum of tensor/sum.h. */
static void sum_columns(const evaluation *j, const wf_sum_tile *t)
{
    copies c;
    char *from[WF_AT];
    void *p[WF_AT] = { 0 };
    const int last = j->operands - 1;
    const void *sums = p[j->slot[last]] = c.dense[last];
    for (int64_t at = 0; at < t->columns; at += BLOCK) {
        const int64_t part = t->columns - at < BLOCK ? t->columns - at : BLOCK;
        for (int64_t r = 0; r < t->rows; r++) {
            for (int i = 0; i < last; i++)
                from[i] = t->pointer[i] + r * t->row_stride[i] + at * t->column_stride[i];
            point_at(j, &c, p, from, t->column_stride, part, false);
            j->kernel(1, part, p, one_row, j->number, r % LEAF != 0);
            if (r % LEAF == LEAF - 1 || r == t->rows - 1)
                wf_sum_rows(j->dtype, 1, part, &sums, 1, t->high + at, t->low + at);
        }
    }
}

static void sum_run(const evaluation *j, const wf_sum_tile *t, char *const pointer[],
                    int64_t column)
{
    copies c;
    char *from[WF_AT];
    void *p[WF_AT] = { 0 };
    const int last = j->operands - 1;
    p[j->slot[last]] = c.dense[last];
    for (int64_t at = 0; at < t->run; at += BLOCK) {
        const int64_t part = t->run - at < BLOCK ? t->run - at : BLOCK;
        for (int i = 0; i < last; i++) from[i] = pointer[i] + at * t->run_stride[i];
        point_at(j, &c, p, from, t->run_stride, part, at > 0);
        j->kernel(1, part, p, one_row, j->number, false);
        wf_sum_run(j->dtype, part, c.dense[last], 1, t->high + column, t->low + column);
    }
}

static void sum_tile(void *context, const wf_sum_tile *t)
{
    const evaluation *j = context;
    if (t->run == 1) {
        sum_columns(j, t);
        return;
    }
    for (int64_t r = 0; r < t->rows; r++) {
        for (int64_t c = 0; c < t->columns; c++) {
            char *pointer[WF_AT];
            for (int i = 0; i < j->operands; i++)
                pointer[i] = t->pointer[i] + r * t->row_stride[i] + c * t->column_stride[i];
            sum_run(j, t, pointer, c);
        }
    }
}

/* A walk of two axes, the inner one side by side in every operand: rows first .. last - 1. */
typedef struct row_walk {
    const evaluation *evaluation;
    const wf_walk *loop;
} row_walk;

static void some_rows(void *context, int64_t first, int64_t last)
{
    const row_walk *w = context;
    const evaluation *j = w->evaluation;
    void *p[WF_AT] = { 0 };
    int64_t row[WF_AT] = { 0 };
    for (int i = 0; i < j->operands; i++) {
        row[j->slot[i]] = w->loop->stride[i][0];
        p[j->slot[i]] = j->base[i] + first * w->loop->stride[i][0];
    }
    for (int i = 0; j->slope && i < WF_AT_GOUT; i++)
        if (!p[i]) row[i] = row[WF_AT_GOUT];
    if (j->slope) stand_in(p);
    j->kernel(last - first, w->loop->dim[1], p, row, j->number, j->add);
}

static bool has_rows(const evaluation *j, const wf_walk *loop)
{
    if (loop->rank != 2 || loop->dim[1] > GRAIN) return false;
    for (int i = 0; i < j->operands; i++)
        if (loop->stride[i][1] != j->bytes[i]) return false;
    return true;
}

static void walk(evaluation *j, const wf_tensor *const operand[], const wf_tensor *shape,
                 int threads)
{
    const int last = j->operands - 1;
    wf_walk loop;
    if (!wf_walk_plan(&loop, wf_tensor_shape(shape), j->operands, operand)) return;
    /* How many terms meet in one element; a few rows of them are added up where they are. */
    int64_t meet = 1;
    for (int k = 0; k < loop.rank; k++) meet *= loop.stride[last][k] == 0 ? loop.dim[k] : 1;
    if (j->slope && meet > (loop.stride[last][loop.rank - 1] == 0 ? 1 : LEAF))
        wf_walk_sum(&loop, last, operand[last]->dtype, 1, 1, threads, sum_tile, j);
    else if (meet == 1 && has_rows(j, &loop))
        wf_par_for(threads, loop.dim[0], GRAIN / loop.dim[1], some_rows, &(row_walk){ j, &loop });
    else
        wf_walk_run(&loop, threads, 1u << last, strided_run, j);
}

/* Is x laid out element for element as y, which is row-major? */
static inline bool alike(const wf_tensor *x, const wf_tensor *y)
{
    if (x->rank != y->rank) return false;
    for (int i = 0; i < x->rank; i++)
        if (x->dim[i] != y->dim[i] || x->stride[i] != y->stride[i]) return false;
    return true;
}

static inline int64_t count_of(const wf_tensor *x)
{
    int64_t n = 1;
    for (int i = 0; i < x->rank; i++) n *= x->dim[i];
    return n;
}

/* Those of the dispatch level. */
static const wf_pointwise *kernels_of(const wf_call *c)
{
    return &c->op->pointwise[wf_isa_level()];
}

static inline double number_of(const wf_call *c)
{
    return c->op->attr_size ? *(const double *)c->attr : 0;
}

/* More than a tile: by threads, or along strides. In backward gin is the gradient; what is not read
 * may be smaller than y. */
static void run_tiles(const wf_call *c, wf_tile_fn *kernel, const wf_tensor *gin, bool dense,
                      bool add)
{
    const wf_op *op = c->op;
    const wf_tensor *operand[WF_AT], *y = c->out[0];
    evaluation j = { .kernel = kernel, .number = number_of(c), .slope = gin, .add = add };
    for (int i = 0; i < c->n_in; i++)
        if (!gin || op->reads_in >> i & 1) take(&j, operand, i, c->in[i]);
    if (!gin || op->reads_out) take(&j, operand, WF_AT_OUT, y);
    if (gin) {
        take(&j, operand, WF_AT_GOUT, c->gout[0]);
        take(&j, operand, WF_AT_GIN, gin);
    }
    if (dense)
        wf_par_for(c->threads, count_of(y), GRAIN, contiguous_part, &j);
    else
        walk(&j, operand, y, c->threads);
}

void wf_pointwise_forward(const wf_call *c)
{
    const int inputs = c->n_in;
    const wf_tensor *y = c->out[0];
    wf_tile_fn *kernel = kernels_of(c)->forward[c->in[inputs - 1]->dtype];
    void *p[WF_AT];
    bool dense = true;
    for (int i = 0; i < inputs; i++) {
        dense = dense && alike(c->in[i], y);
        p[i] = c->in[i]->data;
    }
    p[WF_AT_OUT] = y->data;
    const int64_t n = count_of(y);
    if (n == 0) return;
    if (dense && n <= GRAIN)
        kernel(1, n, p, one_row, number_of(c), false);
    else
        run_tiles(c, kernel, NULL, dense, false);
}

/* The gradient of input k, where p points at what is read beside each other if it is dense. */
static void backward_into(const wf_call *c, int k, bool dense, int64_t n, void *p[])
{
    const wf_tensor *gin = c->gin[k];
    wf_tile_fn *kernel = kernels_of(c)->gradient[k][c->gout[0]->dtype];
    bool add = !(c->fresh >> k & 1);
    dense = dense && alike(gin, c->out[0]);
    if (!add && !(dense && kernel)) {
        bytes_zero(c->threads, gin->data, count_of(gin) * bytes_of(gin));
        add = true;
    }
    if (!kernel || n == 0) return;
    p[WF_AT_GIN] = gin->data;
    if (dense && n <= GRAIN)
        kernel(1, n, p, one_row, number_of(c), add);
    else
        run_tiles(c, kernel, gin, dense, add);
}

void wf_pointwise_backward(const wf_call *c)
{
    const wf_tensor *y = c->out[0], *g = c->gout[0];
    if (!g) return;
    void *p[WF_AT];
    bool dense = true; /* as y and g always are */
    for (int i = 0; i < WF_AT; i++) p[i] = g->data;
    for (int i = 0; i < c->n_in; i++) {
        if (!(c->op->reads_in >> i & 1)) continue;
        dense = dense && alike(c->in[i], y);
        p[i] = c->in[i]->data;
    }
    if (c->op->reads_out) p[WF_AT_OUT] = y->data;
    const int64_t n = count_of(y);
    for (int k = 0; k < c->n_in; k++)
        if (c->gin[k]) backward_into(c, k, dense, n, p);
}

/* ---- samples ---- */

/* Shapes that broadcast in every way: the sizes are odd and differ. A rank of -1 ends the list. */
typedef struct forms {
    const char *label;
    wf_shape shape[3];
} forms;

static const forms tried[] = {
    { "equal shapes", { { 2, { 3, 5 } }, { 2, { 3, 5 } }, { 2, { 3, 5 } } } },
    { "scalars", { { 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } } } },
    { "empty", { { 2, { 0, 3 } }, { 2, { 0, 3 } }, { 1, { 3 } } } },
    { "a row", { { 2, { 3, 5 } }, { 1, { 5 } }, { 2, { 3, 1 } } } },
    { "a column", { { 2, { 3, 1 } }, { 2, { 3, 5 } }, { 0, { 0 } } } },
    { "a scalar", { { 0, { 0 } }, { 2, { 3, 5 } }, { 2, { 3, 5 } } } },
    { "row and column", { { 2, { 7, 1 } }, { 3, { 3, 1, 5 } }, { 1, { 1 } } } },
    { "empty row", { { 2, { 3, 1 } }, { 2, { 1, 0 } }, { 2, { 3, 0 } } } },
};
enum { FORMS = COUNT_OF(tried), FORMS_ALONE = 3 };

bool wf_pointwise_sample(int k, wf_sample *s, int inputs, double low, double high, double gap,
                         double number)
{
    memcpy(s->attr.bytes, &number, sizeof number);
    if (k >= (inputs == 1 ? FORMS_ALONE : FORMS)) return false;
    s->label = tried[k].label;
    s->n_in = inputs;
    for (int i = 0; i < inputs; i++) {
        s->in[i].dtype = WF_F64;
        s->in[i].shape = tried[k].shape[i];
        s->in[i].low = low;
        s->in[i].high = high;
        s->in[i].gap = gap;
    }
    return true;
}

static bool sample_where(int k, wf_sample *s, double low, double high, double gap)
{
    if (!wf_pointwise_sample(k % FORMS, s, 3, low, high, gap, 0)) return false;
    for (int i = 0; i < (k < FORMS ? 1 : 3); i++) s->in[i].dtype = WF_I32;
    s->in[0].low = s->in[0].gap = 0;
    s->in[0].high = 2;
    return k < 2 * FORMS;
}

static bool sample_compare(int k, wf_sample *s)
{
    if (!wf_pointwise_sample(k % FORMS, s, 2, -2, 2, 0, 0)) return false;
    for (int i = 0; i < 2 && k >= FORMS; i++) s->in[i].dtype = WF_I32;
    return k < 2 * FORMS;
}

/* ---- what the lines of the .def file become ---- */

wf_var *wf_pointwise_fitted(wf_tape *t, wf_var *derivative, wf_var *in)
{
    return derivative ? wf_sum_to(t, derivative, wf_shape_of(in)) : NULL;
}

/* The share of a derivative that an input has: none of it where the share is 0, be it NaN. */
static wf_var *chosen(wf_tape *t, wf_var *derivative, wf_var *share)
{
    wf_var *none = wf_zeros(t, wf_dtype_of(derivative), WF_SCALAR);
    return wf_where(t, wf_greater(t, share, none), wf_mul(t, derivative, share), none);
}

/* Beyond this there is nothing but 0 and 1 of what a sigmoid or a density makes; so an infinite
 * element meets no 0. */
#define BOUNDED(a) ((a) < R(-1000) ? R(-1000) : (a) > R(1000) ? R(1000) : (a))
/* Twice what the tanh of gelu_tanh is taken of, 1 + tanh(u) being 2 sigmoid(2 u). */
#define TWICE_INNER(a) (R(1.5957691216057308) * ((a) + R(0.044715) * ((a) * (a) * (a))))
#define TWICE_INNER_SLOPE(a) (R(1.5957691216057308) + R(0.21406444881780073) * ((a) * (a)))

/* Their derivatives in ops. silu: p (1 + a (1 - p)) with p = sigmoid(a). */
static wf_var *sloped(wf_tape *t, wf_var *p, wf_var *by)
{
    return wf_mul(t, p, wf_add_scalar(t, wf_mul(t, by, wf_rsub_scalar(t, p, 1)), 1));
}

static wf_var *silu_slope(wf_tape *t, wf_var *a)
{
    return sloped(t, wf_sigmoid(t, a), wf_clamp(t, a, -1000, 1000));
}

static wf_var *gelu_tanh_slope(wf_tape *t, wf_var *a)
{
    wf_var *x = wf_clamp(t, a, -1000, 1000), *square = wf_square(t, x);
    wf_var *cube = wf_mul_scalar(t, wf_mul(t, square, x), 0.044715);
    wf_var *p = wf_sigmoid(t, wf_mul_scalar(t, wf_add(t, x, cube), 1.5957691216057308));
    wf_var *slope = wf_add_scalar(t, wf_mul_scalar(t, square, 0.21406444881780073),
                                  1.5957691216057308);
    return sloped(t, p, wf_mul(t, x, slope));
}

/* Phi(a) + a phi(a). */
static wf_var *gelu_slope(wf_tape *t, wf_var *a)
{
    wf_var *x = wf_clamp(t, a, -1000, 1000);
    wf_var *density = wf_exp(t, wf_mul_scalar(t, wf_square(t, x), -0.5));
    wf_var *below = wf_add_scalar(t, wf_erf(t, wf_mul_scalar(t, a, 0.7071067811865476)), 1);
    return wf_add(t, wf_mul_scalar(t, below, 0.5),
                  wf_mul_scalar(t, wf_mul(t, x, density), 0.3989422804014327));
}

/* From the nearer end, so that a step of 0 is that end, bit for bit, and rounding never carries the
 * result past one. Where b - a leaves the range, a and b do their parts apart. */
#define LERP_OF(T)                                                                                 \
    WF_INLINE T lerp_##T(T a, T b, T c)                                                            \
    {                                                                                              \
        const T half = (T)0.5, whole = 1;                                                          \
        const bool near_a = c < half;                                                              \
        const T end = near_a ? a : b, other = near_a ? b : a;                                      \
        const T step = near_a ? c : c - whole, way = b - a;                                        \
        const T inside = end + step * way, apart = (whole - c) * a + c * b;                        \
        const T between = way - way == 0 ? inside : apart;                                         \
        return ((step == 0) & (other == other)) ? end : between;                                   \
    }
LERP_OF(float)
LERP_OF(double)
#define LERP(a, b, c) _Generic((a), float : lerp_float, default : lerp_double)(a, b, c)

#undef WF_POINTWISE_1
#undef WF_POINTWISE_S
#undef WF_POINTWISE_2
#undef WF_POINTWISE_3
#define WF_POINTWISE_1(name, ...) WFP_1(wf_var *wf_##name, name, __VA_ARGS__)
#define WF_POINTWISE_S(name, ...) WFP_S(wf_var *wf_##name, name, __VA_ARGS__)
#define WF_POINTWISE_2(name, ...) WFP_2(wf_var *wf_##name, name, __VA_ARGS__)
#define WF_POINTWISE_3(name, ...) WFP_3(wf_var *wf_##name, name, __VA_ARGS__)

#define IN_M                                                                                       \
    const int32_t *const pm_ = WFP_ROW(int32_t, 0);                                                \
    const T *const pa_ = WFP_ROW(T, 1);                                                            \
    const T *const pb_ = WFP_ROW(T, 2)
#define READ_M                                                                                     \
    const int32_t m = pm_[i_];                                                                     \
    const T a = pa_[i_];                                                                           \
    const T b = pb_[i_];                                                                           \
    (void)m; (void)a; (void)b
#define LEVEL_M(level, attributes, fused, name)                                                    \
    WFP_LEVEL(level, name, name##_i32_##level, WFP_NONE, WFP_D(name, 1, level),                    \
              WFP_D(name, 2, level))
#define WF_POINTWISE_WHERE(op, doc, value, d_a, d_b, tape_a, tape_b, reads, low, high, gap)        \
    WFP_FORWARD(op, IN_M, READ_M, value)                                                           \
    WFP_VALUES(WF_I32, i32, int32_t, op, IN_M, READ_M, value)                                      \
    WFP_BACKWARD(op, 1, IN_M, READ_M, d_a)                                                         \
    WFP_BACKWARD(op, 2, IN_M, READ_M, d_b)                                                         \
    WFP_OP(op, doc, 3, 0, reads, LEVEL_M, where_shape, sample_where(k, s, low, high, gap),         \
           wf_var *M = d->in[0], WFP_FITTED(1, tape_a);                                            \
           WFP_FITTED(2, tape_b))                                                                  \
    wf_var *wf_##op(wf_tape *t, wf_var *m, wf_var *a, wf_var *b)                                   \
    {                                                                                              \
        return wf_apply_one(t, &op##_row, 3, (wf_var *[]){ m, a, b }, NULL);                       \
    }

#define COMPARE_LEVEL(level, attributes, fused, name)                                              \
    WFP_LEVEL(level, name, name##_i32_##level, WFP_NONE, WFP_NONE, WFP_NONE)
#define COMPARE_VALUES(dtype, suffix, type, op, value)                                             \
    WF_ISA_LEVELS(WFP_VALUE, op, type, suffix, int32_t, WFP_IN_2, WFP_READ_2, value)
#define WF_POINTWISE_COMPARE(op, doc, value)                                                       \
    WF_FLOATS(COMPARE_VALUES, op, value)                                                           \
    COMPARE_VALUES(WF_I32, i32, int32_t, op, value)                                                \
    WFP_OP(op, doc, 2, 0, READS_NONE, COMPARE_LEVEL, compare_shape, sample_compare(k, s), , )      \
    wf_var *wf_##op(wf_tape *t, wf_var *a, wf_var *b)                                              \
    {                                                                                              \
        return wf_apply_one(t, &op##_row, 2, (wf_var *[]){ a, b }, NULL);                          \
    }
#include "autograd/pointwise.def"

const wf_op *const *pointwise_rows(int *count)
{
#define WF_POINTWISE_1(name, ...) &name##_row,
#define WF_POINTWISE_S(name, ...) &name##_row,
#define WF_POINTWISE_2(name, ...) &name##_row,
#define WF_POINTWISE_3(name, ...) &name##_row,
#define WF_POINTWISE_WHERE(name, ...) &name##_row,
#define WF_POINTWISE_COMPARE(name, ...) &name##_row,
    static const wf_op *const rows[] = {
#include "autograd/pointwise.def"
    };
    *count = COUNT_OF(rows);
    return rows;
}

/* wf_detach of what is recorded only, or was: its numbers are not there to be shared. */
#define DETACH_LEVEL(level, attributes, fused, name)                                               \
    WFP_LEVEL(level, name, NULL, WFP_NONE, WFP_NONE, WFP_NONE)
WFP_FORWARD(detach, WFP_IN_1, WFP_READ_1, a)
static const wf_pointwise detach_kernels[] = { WF_ISA_LEVELS(DETACH_LEVEL, detach) };

wf_var *detach_applied(wf_tape *t, wf_var *x)
{
    static const wf_op op = {
        .name = "detach",
        .inputs = 1,
        .outputs = 1,
        .flags = WF_OP_ELEMENTWISE | OP_CUTS,
        .shape = wf_pointwise_shape,
        .forward = wf_pointwise_forward,
        .pointwise = detach_kernels,
    };
    return wf_apply_one(t, wf_dtype_is_float(x->value.dtype) ? &op : &op_copy, 1, &x, NULL);
}

wf_var *wf_masked_fill(wf_tape *t, wf_var *x, wf_var *mask, double value)
{
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, "masked_fill", 0))) return NULL;
    return wf_where(t, mask, wf_full(t, wf_dtype_of(x), WF_SCALAR, value), x);
}

wf_var *wf_clamp(wf_tape *t, wf_var *x, double low, double high)
{
    return wf_minimum_scalar(t, wf_maximum_scalar(t, x, low), high);
}
