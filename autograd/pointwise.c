/* The pointwise engine: shapes, broadcasting there and back, and the rows and functions that
 * autograd/pointwise.def expands to. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "tensor/loop.h"
#include "tensor/par.h"
#include "tensor/sum.h"

#include <string.h>

enum { READS_NONE = 0, READS_A = 1, READS_B = 2, READS_C = 4, READS_Y = 8 };
/* OPERANDS: three inputs, the value, its gradient and one to add to. */
enum { BLOCK = 256, OPERANDS = 6, GRAIN = 16384, LEAF = 8 };

static const pointwise_kernel *pointwise_kernels(void)
{
    static const pointwise_kernel *const each[] = { WF_ISA_EACH(pointwise_kernels) };
    return each[wf_isa_level()];
}

/* ---- shapes ---- */

static bool same_shape(const wf_tensor *a, const wf_tensor *b)
{
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

/* The sizes that inputs broadcast to. */
static bool broadcast(const wf_shaping *s, wf_tensor *out)
{
    const wf_tensor *a = s->in[0];
    out->rank = a->rank;
    for (int i = 0; i < a->rank; i++) out->dim[i] = a->dim[i];
    for (int k = 1; k < s->n_in; k++) {
        const wf_tensor *b = s->in[k];
        if (same_shape(b, out)) continue;
        wf_shape so_far = wf_tensor_shape(out), more = wf_tensor_shape(b), both;
        if (!wf_shape_broadcast(&so_far, &more, &both)) {
            char text[2][WF_SHAPE_TEXT];
            return wf_refuse(s->error, "shapes do not broadcast: %s and %s",
                             shape_text(text[0], out), shape_text(text[1], b));
        }
        out->rank = both.rank;
        for (int i = 0; i < both.rank; i++) out->dim[i] = both.dim[i];
    }
    return true;
}

/* Inputs from `first` on have one dtype: a float, or I32 where `whole` says so. */
static bool one_dtype(const wf_shaping *s, int first, bool whole)
{
    wf_dtype dtype = s->in[first]->dtype;
    for (int k = first + 1; k < s->n_in; k++)
        if (!same_dtype(s, k, first, NULL)) return false;
    if (dtype == WF_I32 && !whole) return wf_refuse(s->error, "takes f32 or f64, not i32");
    return true;
}

static bool floats_shape(wf_shaping *s)
{
    if (!one_dtype(s, 0, false)) return false;
    s->out[0].dtype = s->in[0]->dtype;
    return broadcast(s, &s->out[0]);
}

static bool where_shape(wf_shaping *s)
{
    if (s->in[0]->dtype != WF_I32)
        return wf_refuse(s->error, "the mask is %s; expected i32", wf_dtype_name(s->in[0]->dtype));
    if (!one_dtype(s, 1, false)) return false;
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

/* One kernel and where its operands stand, for a walk or for a part of contiguous elements. */
typedef struct job {
    pointwise_fn *kernel;
    double number;
    int operands, slot[POINTWISE_POINTERS], bytes[POINTWISE_POINTERS];
    char *base[POINTWISE_POINTERS];
    bool sums; /* the last operand is a gradient: read, added to, written */
} job;

static void take(job *j, const wf_tensor *operand[], int slot, const wf_tensor *x)
{
    operand[j->operands] = x;
    j->slot[j->operands] = slot;
    j->bytes[j->operands] = x->dtype == WF_F64 ? 8 : 4;
    j->base[j->operands++] = x->data;
}

/* What a derivative does not read is not there; a kernel's loop may still name it. */
static inline void stand_in(void *p[])
{
    for (int i = 0; i < AT_GOUT; i++)
        if (!p[i]) p[i] = p[AT_GOUT];
}

static void contiguous_part(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    void *p[POINTWISE_POINTERS] = { 0 };
    for (int i = 0; i < j->operands; i++) p[j->slot[i]] = j->base[i] + begin * j->bytes[i];
    if (j->sums) stand_in(p);
    j->kernel(end - begin, p, j->number);
}

/* n elements of 4 or 8 bytes between a strided place and a dense one. */
static void gather(char *to, const char *from, int64_t stride, int64_t n, int bytes)
{
    if (bytes == 4)
        for (int64_t i = 0; i < n; i++) memcpy(to + 4 * i, from + i * stride, 4);
    else
        for (int64_t i = 0; i < n; i++) memcpy(to + 8 * i, from + i * stride, 8);
}

static void scatter(char *to, int64_t stride, const char *from, int64_t n, int bytes)
{
    if (bytes == 4)
        for (int64_t i = 0; i < n; i++) memcpy(to + i * stride, from + 4 * i, 4);
    else
        for (int64_t i = 0; i < n; i++) memcpy(to + i * stride, from + 8 * i, 8);
}

/* What passes through a dense copy: a block of each operand, so that one form of each kernel serves
 * all strides. */
typedef struct copies {
    _Alignas(64) char dense[OPERANDS][BLOCK * 8];
} copies;

/* Points the kernel at n elements of each operand but the last, which stand where `from` and
 * `stride` say, in the copies where they do not lie side by side. `again`: operands that stand
 * still are there already. */
static void point_at(const job *j, copies *c, void *p[], char *const from[], const int64_t stride[],
                     int64_t n, bool again)
{
    for (int i = 0; i < j->operands - 1; i++) {
        p[j->slot[i]] = stride[i] == j->bytes[i] ? from[i] : c->dense[i];
        if (stride[i] != j->bytes[i] && (stride[i] != 0 || !again))
            gather(c->dense[i], from[i], stride[i], n, j->bytes[i]);
    }
    if (j->sums) stand_in(p);
}

/* A run of any strides. The last operand is written. */
static void strided_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const job *j = context;
    copies c;
    char *from[OPERANDS];
    void *p[POINTWISE_POINTERS] = { 0 };
    const int last = j->operands - 1, bytes = j->bytes[last];
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t part = n - at < BLOCK ? n - at : BLOCK;
        for (int i = 0; i <= last; i++) from[i] = pointer[i] + at * stride[i];
        const bool direct = stride[last] == bytes;
        p[j->slot[last]] = direct ? from[last] : c.dense[last];
        if (!direct && j->sums) gather(c.dense[last], from[last], stride[last], part, bytes);
        point_at(j, &c, p, from, stride, part, at > 0);
        j->kernel(part, p, j->number);
        if (!direct) scatter(from[last], stride[last], c.dense[last], part, bytes);
    }
}

/* A gradient in which many terms meet. A few rows' are added up where they are computed, in the
 * dtype itself: LEAF terms at most, before they join a sum of tensor/sum.h. */
static void sum_columns(const job *j, const wf_sum_tile *t, wf_dtype dtype)
{
    copies c;
    char *from[OPERANDS];
    void *p[POINTWISE_POINTERS] = { 0 };
    const int last = j->operands - 1;
    const void *sums = p[j->slot[last]] = c.dense[last];
    for (int64_t at = 0; at < t->columns; at += BLOCK) {
        const int64_t part = t->columns - at < BLOCK ? t->columns - at : BLOCK;
        for (int64_t r = 0; r < t->rows; r++) {
            if (r % LEAF == 0) memset(c.dense[last], 0, (size_t)(part * j->bytes[last]));
            for (int i = 0; i < last; i++)
                from[i] = t->pointer[i] + r * t->row_stride[i] + at * t->column_stride[i];
            point_at(j, &c, p, from, t->column_stride, part, false);
            j->kernel(part, p, j->number);
            if (r % LEAF == LEAF - 1 || r == t->rows - 1)
                wf_sum_rows(dtype, 1, part, &sums, 1, t->high + at, t->low + at);
        }
    }
}

static void sum_run(const job *j, const wf_sum_tile *t, wf_dtype dtype, char *const pointer[],
                    int64_t column)
{
    copies c;
    char *from[OPERANDS];
    void *p[POINTWISE_POINTERS] = { 0 };
    const int last = j->operands - 1;
    p[j->slot[last]] = c.dense[last];
    for (int64_t at = 0; at < t->run; at += BLOCK) {
        const int64_t part = t->run - at < BLOCK ? t->run - at : BLOCK;
        for (int i = 0; i < last; i++) from[i] = pointer[i] + at * t->run_stride[i];
        memset(c.dense[last], 0, (size_t)(part * j->bytes[last]));
        point_at(j, &c, p, from, t->run_stride, part, at > 0);
        j->kernel(part, p, j->number);
        wf_sum_run(dtype, part, c.dense[last], 1, t->high + column, t->low + column);
    }
}

static void sum_tile(void *context, const wf_sum_tile *t)
{
    const job *j = context;
    const wf_dtype dtype = j->bytes[j->operands - 1] == 8 ? WF_F64 : WF_F32;
    if (t->run == 1) {
        sum_columns(j, t, dtype);
        return;
    }
    for (int64_t r = 0; r < t->rows; r++) {
        for (int64_t c = 0; c < t->columns; c++) {
            char *pointer[OPERANDS];
            for (int i = 0; i < j->operands; i++)
                pointer[i] = t->pointer[i] + r * t->row_stride[i] + c * t->column_stride[i];
            sum_run(j, t, dtype, pointer, c);
        }
    }
}

static void walk(job *j, const wf_tensor *const operand[], const wf_tensor *shape, int threads)
{
    const int last = j->operands - 1;
    wf_loop loop;
    if (!wf_loop_plan(&loop, wf_tensor_shape(shape), j->operands, operand)) return;
    /* How many terms meet in one element; a few rows of them are added up where they are. */
    int64_t meet = 1;
    for (int k = 0; k < loop.rank; k++) meet *= loop.stride[last][k] == 0 ? loop.dim[k] : 1;
    if (j->sums && meet > (loop.stride[last][loop.rank - 1] == 0 ? 1 : LEAF))
        wf_loop_sum(&loop, last, operand[last]->dtype, 1, 1, threads, sum_tile, j);
    else
        wf_loop_run(&loop, threads, 1u << last, strided_run, j);
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

static inline void forward(const wf_call *c, int which, int inputs, wf_dtype dtype, double number)
{
    pointwise_fn *kernel = pointwise_kernels()[which].forward[dtype];
    const wf_tensor *y = c->out[0];
    void *p[POINTWISE_POINTERS];
    bool dense = true;
    for (int i = 0; i < inputs; i++) {
        dense = dense && alike(c->in[i], y);
        p[i] = c->in[i]->data;
    }
    p[AT_OUT] = y->data;
    int64_t n = count_of(y);
    if (n == 0) return;
    if (dense && n <= GRAIN) {
        kernel(n, p, number);
        return;
    }
    job j = { .kernel = kernel, .number = number };
    const wf_tensor *operand[POINTWISE_POINTERS];
    for (int i = 0; i < inputs; i++) take(&j, operand, i, c->in[i]);
    take(&j, operand, AT_OUT, y);
    if (dense)
        wf_par_for(c->threads, n, GRAIN, contiguous_part, &j);
    else
        walk(&j, operand, y, c->threads);
}

static inline void backward(const wf_call *c, int which, int inputs, int reads, double number)
{
    const wf_tensor *y = c->out[0], *g = c->gout[0];
    if (!g) return;
    pointwise_fn *kernel = pointwise_kernels()[which].backward[g->dtype];
    void *p[POINTWISE_POINTERS] = { 0 };
    bool dense = alike(g, y), wanted = false;
    for (int i = 0; i < inputs; i++) {
        if (reads >> i & 1) dense = dense && alike(c->in[i], y);
        p[i] = (reads >> i & 1 ? c->in[i] : g)->data; /* what is not read may be smaller */
        if (!c->gin[i]) continue;
        wanted = true;
        dense = dense && alike(c->gin[i], y);
        p[AT_GIN + i] = c->gin[i]->data;
    }
    p[AT_OUT] = (reads & READS_Y ? y : g)->data;
    p[AT_GOUT] = g->data;
    int64_t n = count_of(y);
    if (n == 0 || !wanted) return;
    if (dense && n <= GRAIN) {
        kernel(n, p, number);
        return;
    }
    /* All gradients at once where each element has one of its own; else one after another, since
     * no two need be summed along the same axes. */
    for (int k = 0; k < inputs; k++) {
        if (!c->gin[k]) continue;
        job j = { .kernel = kernel, .number = number, .sums = true };
        const wf_tensor *operand[POINTWISE_POINTERS];
        for (int i = 0; i < inputs; i++)
            if (reads >> i & 1) take(&j, operand, i, c->in[i]);
        if (reads & READS_Y) take(&j, operand, AT_OUT, y);
        take(&j, operand, AT_GOUT, g);
        for (int i = k; dense && i < inputs; i++)
            if (c->gin[i]) take(&j, operand, AT_GIN + i, c->gin[i]);
        if (dense) {
            wf_par_for(c->threads, n, GRAIN, contiguous_part, &j);
            return;
        }
        take(&j, operand, AT_GIN + k, c->gin[k]);
        walk(&j, operand, y, c->threads);
    }
}

static inline double number_of(const wf_call *c)
{
    return *(const double *)c->attr;
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
enum { FORMS = (int)(sizeof tried / sizeof tried[0]), FORMS_ALONE = 3 };

static bool sample_floats(int k, wf_sample *s, int inputs, double low, double high, double gap)
{
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

static bool sample_number(int k, wf_sample *s, double low, double high, double gap, double number)
{
    memcpy(s->attr.bytes, &number, sizeof number);
    return sample_floats(k, s, 1, low, high, gap);
}

static bool sample_where(int k, wf_sample *s, double low, double high, double gap)
{
    if (!sample_floats(k, s, 3, low, high, gap)) return false;
    s->in[0].dtype = WF_I32;
    s->in[0].low = s->in[0].gap = 0;
    s->in[0].high = 2;
    return true;
}

static bool sample_compare(int k, wf_sample *s)
{
    if (!sample_floats(k % FORMS, s, 2, -2, 2, 0)) return false;
    for (int i = 0; i < 2 && k >= FORMS; i++) s->in[i].dtype = WF_I32;
    return k < 2 * FORMS;
}

/* ---- what the lines of the .def file become ---- */

/* A contribution in the form of the input that it belongs to. */
static wf_var *fitted(wf_tape *t, wf_var *contribution, wf_var *in)
{
    return contribution ? wf_sum_to(t, contribution, wf_shape_of(in)) : NULL;
}

/* The share of a derivative that an input has: none of it where the share is 0, be it NaN. */
static wf_var *chosen(wf_tape *t, wf_var *derivative, wf_var *share)
{
    wf_var *none = wf_zeros(t, wf_dtype_of(derivative), WF_SCALAR);
    return wf_where(t, wf_greater(t, share, none), wf_mul(t, derivative, share), none);
}

#define ZERO wf_zeros(t, wf_dtype_of(G), WF_SCALAR)
#define NUMBER(x) wf_full(t, wf_dtype_of(G), WF_SCALAR, x)
#define FITTED(k, tape)                                                                            \
    if (g->wanted[k]) g->gin[k] = fitted(t, tape, g->in[k])
#define MASK(reads) ((reads) & ~READS_Y), .reads_out = ((reads)&READS_Y) != 0

#define KERNELS(op, count, reads, typed, number)                                                   \
    static void op##_forward(const wf_call *c)                                                     \
    {                                                                                              \
        forward(c, POINTWISE_##op, count, c->in[typed]->dtype, number);                            \
    }                                                                                              \
    static void op##_backward(const wf_call *c)                                                    \
    {                                                                                              \
        backward(c, POINTWISE_##op, count, reads, number);                                         \
    }
#define GRADIENT(op, names, body)                                                                  \
    static void op##_gradient(wf_tape *t, const wf_gradient *g)                                    \
    {                                                                                              \
        wf_var *const *in = g->in, *Y = g->out[0], *G = g->gout[0];                                \
        (void)in, (void)Y;                                                                         \
        if (!G) return;                                                                            \
        names;                                                                                     \
        body;                                                                                      \
    }
#define ROW(op, meaning, count, attributes, reads, shaping, sampling)                              \
    static bool op##_sample(int k, wf_sample *s)                                                   \
    {                                                                                              \
        return sampling;                                                                           \
    }                                                                                              \
    static const wf_op op##_row = {                                                                \
        .name = #op,                                                                               \
        .doc = meaning,                                                                            \
        .inputs = count,                                                                           \
        .outputs = 1,                                                                              \
        .attr_size = attributes,                                                                   \
        .flags = WF_OP_ELEMENTWISE,                                                                \
        .reads_in = MASK(reads),                                                                   \
        .shape = shaping,                                                                          \
        .forward = op##_forward,                                                                   \
        .backward = op##_backward,                                                                 \
        .gradient = op##_gradient,                                                                 \
        .sample = op##_sample,                                                                     \
    };

#define WF_POINTWISE_1(name, doc, value, d_a, tape_a, reads, low, high, gap)                       \
    KERNELS(name, 1, reads, 0, 0)                                                                  \
    GRADIENT(name, wf_var *A = in[0]; (void)A, FITTED(0, tape_a))                                  \
    ROW(name, doc, 1, 0, reads, floats_shape, sample_floats(k, s, 1, low, high, gap))              \
    wf_var *wf_##name(wf_tape *t, wf_var *a)                                                       \
    {                                                                                              \
        return wf_apply_one(t, &name##_row, 1, &a, NULL);                                          \
    }

#define WF_POINTWISE_S(name, doc, value, d_a, tape_a, reads, low, high, gap, number)               \
    KERNELS(name, 1, reads, 0, number_of(c))                                                       \
    GRADIENT(name, wf_var *A = in[0]; double s = *(const double *)g->attr; (void)A;                \
             (void)s, FITTED(0, tape_a))                                                           \
    ROW(name, doc, 1, sizeof(double), reads, floats_shape,                                         \
        sample_number(k, s, low, high, gap, number))                                               \
    wf_var *wf_##name(wf_tape *t, wf_var *a, double s)                                             \
    {                                                                                              \
        return wf_apply_one(t, &name##_row, 1, &a, &s);                                            \
    }

#define WF_POINTWISE_2(name, doc, value, d_a, d_b, tape_a, tape_b, reads, low, high, gap)          \
    KERNELS(name, 2, reads, 0, 0)                                                                  \
    GRADIENT(name, wf_var *A = in[0]; wf_var *B = in[1]; (void)A; (void)B, FITTED(0, tape_a);      \
             FITTED(1, tape_b))                                                                    \
    ROW(name, doc, 2, 0, reads, floats_shape, sample_floats(k, s, 2, low, high, gap))              \
    wf_var *wf_##name(wf_tape *t, wf_var *a, wf_var *b)                                            \
    {                                                                                              \
        return wf_apply_one(t, &name##_row, 2, (wf_var *[]){ a, b }, NULL);                        \
    }

#define WF_POINTWISE_3(name, doc, value, d_a, d_b, d_c, tape_a, tape_b, tape_c, reads, low, high,  \
                       gap)                                                                        \
    KERNELS(name, 3, reads, 0, 0)                                                                  \
    GRADIENT(name, wf_var *A = in[0]; wf_var *B = in[1]; wf_var *C = in[2], FITTED(0, tape_a);     \
             FITTED(1, tape_b); FITTED(2, tape_c))                                                 \
    ROW(name, doc, 3, 0, reads, floats_shape, sample_floats(k, s, 3, low, high, gap))              \
    wf_var *wf_##name(wf_tape *t, wf_var *a, wf_var *b, wf_var *c)                                 \
    {                                                                                              \
        return wf_apply_one(t, &name##_row, 3, (wf_var *[]){ a, b, c }, NULL);                     \
    }

#define WF_POINTWISE_WHERE(name, doc, value, d_a, d_b, tape_a, tape_b, reads, low, high, gap)      \
    KERNELS(name, 3, reads, 1, 0)                                                                  \
    GRADIENT(name, wf_var *M = in[0], FITTED(1, tape_a); FITTED(2, tape_b))                        \
    ROW(name, doc, 3, 0, reads, where_shape, sample_where(k, s, low, high, gap))                   \
    wf_var *wf_##name(wf_tape *t, wf_var *m, wf_var *a, wf_var *b)                                 \
    {                                                                                              \
        return wf_apply_one(t, &name##_row, 3, (wf_var *[]){ m, a, b }, NULL);                     \
    }

#define WF_POINTWISE_COMPARE(name, doc, value)                                                     \
    static void name##_forward(const wf_call *c)                                                   \
    {                                                                                              \
        forward(c, POINTWISE_##name, 2, c->in[0]->dtype, 0);                                       \
    }                                                                                              \
    static void name##_backward(const wf_call *c)                                                  \
    {                                                                                              \
        (void)c;                                                                                   \
    }                                                                                              \
    static void name##_gradient(wf_tape *t, const wf_gradient *g)                                  \
    {                                                                                              \
        (void)t, (void)g;                                                                          \
    }                                                                                              \
    ROW(name, doc, 2, 0, READS_NONE, compare_shape, sample_compare(k, s))                          \
    wf_var *wf_##name(wf_tape *t, wf_var *a, wf_var *b)                                            \
    {                                                                                              \
        return wf_apply_one(t, &name##_row, 2, (wf_var *[]){ a, b }, NULL);                        \
    }
#include "autograd/pointwise.def"

const wf_op *pointwise_at(int index)
{
#define WF_POINTWISE_1(name, ...) &name##_row,
#define WF_POINTWISE_S(name, ...) &name##_row,
#define WF_POINTWISE_2(name, ...) &name##_row,
#define WF_POINTWISE_3(name, ...) &name##_row,
#define WF_POINTWISE_WHERE(name, ...) &name##_row,
#define WF_POINTWISE_COMPARE(name, ...) &name##_row,
    static const wf_op *const rows[POINTWISE_COUNT] = {
#include "autograd/pointwise.def"
    };
    return index >= 0 && index < POINTWISE_COUNT ? rows[index] : NULL;
}

wf_var *wf_clamp(wf_tape *t, wf_var *x, double low, double high)
{
    return wf_minimum_scalar(t, wf_maximum_scalar(t, x, low), high);
}
