/* What the op families know of each other: their rows, and how a shape is written in a message.
 * Not installed. */
#ifndef WEFT_AUTOGRAD_OPS_PRIVATE_H
#define WEFT_AUTOGRAD_OPS_PRIVATE_H

#include "autograd/ops.h"
#include "tensor/par.h"
#include "tensor/private.h"
#include "tensor/walk.h"

/* Each row of autograd/ops.def, from the file of its family, and its meaning from there. */
#define WF_OP(name, arguments, meaning) WF_HIDDEN_OP(name, meaning)
#define WF_HIDDEN_OP(name, meaning)                                                                \
    extern const wf_op op_##name;                                                                  \
    extern const char doc_##name[];
#include "autograd/ops.def"
/* A row's .name, and with it its .doc. */
#define OP_NAME(op) #op, .doc = doc_##op

/* Of a row's flags: no gradient leads to its inputs. */
enum { OP_CUTS = 1 << 29 };
/* x without its history, as an op. */
wf_var *detach_applied(wf_tape *t, wf_var *x);

/* The rows of autograd/pointwise.def, and how many there are. */
const wf_op *const *pointwise_rows(int *count);

/* Are inputs 0 to 2 those of an affine: x (..., I), w (O, I), b (O) or none? */
bool affine_sound(const wf_shaping *s);

/* cross_entropy with class weights, or of a target of probabilities, in other ops. */
wf_var *cross_entropy_spelled(wf_tape *t, wf_var *logits, wf_var *target,
                              const wf_cross_entropy_options *o);

/* A shape as an attribute: without wf_shape's padding, and zeros behind the rank (op.h: attr_size).
 */
typedef struct shape_attr {
    int64_t rank, dim[WF_RANK];
} shape_attr;

shape_attr shape_attr_of(wf_shape shape);
wf_shape attr_shape(const shape_attr *a);

/* Which axes an op is over. n < 0: all of them. More than WF_RANK are too many, and counted only.
 * keep: they stay, with size 1. */
typedef struct reduction {
    int32_t n;
    int32_t axis[WF_RANK];
    int32_t keep; /* no bool: without padding, as attributes are */
} reduction;

reduction reduction_of(const wf_axes *axes, bool keep);
/* Can the axes be those of the only input? And what shape has the result of a reduction? */
bool reduction_sound(const wf_shaping *s, const reduction *r);
bool reduction_shape(wf_shaping *s);
/* As a row's `varying`: the axes of attr, a reduction or an int32_t, leave axis 0 alone. */
uint32_t reduction_varying(const wf_call *c);
uint32_t axis_varying(const wf_call *c);
/* A bit for each axis. */
uint32_t reduction_axes(const reduction *r, int rank);
/* The result y as it stands beside x: the axes that went are there with size 1. And a var of the
 * result's form, repeated to x's. */
wf_tensor reduction_beside(const wf_tensor *y, const wf_tensor *x, const reduction *r);
wf_var *reduction_repeated(wf_tape *t, wf_var *y, wf_var *x, const reduction *r);

/* What the row of a call says of its inputs: its `varying`. */
uint32_t op_varying(const wf_call *c);
/* x with an axis of n put in at `axis`. */
wf_tensor tensor_with_axis(wf_tensor x, int axis, int64_t n, int64_t stride);
/* Has in[i] the rows of the outputs? And which inputs have: what broadcasting says. */
bool varies(const wf_call *c, int i);
uint32_t broadcast_varying(const wf_call *c);

/* The shape of a tensor or a wf_shape, or the index of an element, as text for a message: good to
 * the end of the block. */
enum { WF_SHAPE_TEXT = 192 };
#define SHAPE_TEXT(x) wf_shape_text((char[WF_SHAPE_TEXT]){ 0 }, WF_SHAPE_TEXT, (x)->rank, (x)->dim)
#define INDEX_TEXT(x, i)                                                                           \
    wf_index_text((char[WF_SHAPE_TEXT]){ 0 }, WF_SHAPE_TEXT, (x)->rank, (x)->dim, i)

/* What many shapes ask, and refuse in the same words. Has input i the dtype of input `as`? It is
 * told under its name where messages about shapes use names (NULL: by number). */
bool same_dtype(const wf_shaping *s, int i, int as, const char *const names[]);
/* Is input i of floats, or of ids? */
bool takes_floats(const wf_shaping *s, int i);
bool takes_ids(const wf_shaping *s, int i);
/* The axis of the first input that is meant; -1 after refusing it. */
int takes_axis(const wf_shaping *s, int axis);
/* Raises *scratch to `count` times `bytes` bytes. */
bool takes_scratch(const wf_shaping *s, int64_t *scratch, int64_t count, int64_t bytes);

/* An output's form. The sizes may be more than memory can hold: the engine says so. */
static inline void form_out(wf_tensor *y, wf_dtype dtype, wf_shape shape)
{
    y->dtype = dtype;
    y->rank = shape.rank;
    for (int i = 0; i < shape.rank; i++) y->dim[i] = shape.dim[i];
}

/* A row whose outputs hold its input's numbers, broadcast: y = x, and gx += g, summed. */
void forward_copy(const wf_call *c);
void backward_add(const wf_call *c);
/* What a row without a derivative has for .backward and .gradient. */
void no_backward(const wf_call *c);
void no_gradient(wf_tape *t, const wf_gradient *g);

/* The rows of x along an axis: n elements each, `step` elements from one to the next. Row i counts
 * row-major over the other axes. An axis of x->rank: every element is a row. */
typedef struct op_rows {
    const wf_tensor *of;
    int64_t n, step, bytes;
    int64_t apart;              /* elements from row to row; 0: they are not evenly apart */
    int axis;
} op_rows;

op_rows rows_along(const wf_tensor *x, int axis);
int64_t row_offset(const op_rows *r, int64_t i);

static inline void *row_at(const op_rows *r, int64_t i)
{
    return (char *)r->of->data + (r->apart ? i * r->apart : row_offset(r, i)) * r->bytes;
}

/* n elements from one stride to another, in bytes. */
void copy_run(void *to, int64_t to_stride, const void *from, int64_t from_stride, int64_t n,
              int64_t bytes);

static inline int32_t id_at(const op_rows *ids, int64_t i)
{
    return *(const int32_t *)row_at(ids, i);
}

/* Calls fn for parts of `count` rows of n elements. */
void each_row(int threads, int64_t count, int64_t n, wf_par_fn *fn, void *context);

/* Walks over operands that broadcast to the shape of x; the first one is written. */
void walk_over(const wf_tensor *x, int threads, int operands, const wf_tensor *const operand[],
               wf_walk_fn *fn, void *context);
#define OPERANDS(...)                                                                              \
    WF_COUNT(const wf_tensor *, __VA_ARGS__), (const wf_tensor *[]){ __VA_ARGS__ }

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

/* Numbers in [low, high] as one more input of a sample; and all of a sample of one input, in
 * [-reach, reach], with the `bytes` bytes of its attr. */
static inline void sample_input(wf_sample *s, wf_dtype dtype, wf_shape shape, double low,
                                double high)
{
    const int i = s->n_in++;
    s->in[i].dtype = dtype;
    s->in[i].shape = shape;
    s->in[i].low = low;
    s->in[i].high = high;
}

bool sample_one(wf_sample *s, const char *label, wf_dtype dtype, wf_shape shape, double reach,
                const void *attr, size_t bytes);

static inline bool is_float(const wf_tensor *x)
{
    return wf_dtype_rows[x->dtype].is_float;
}

static inline int64_t bytes_of(const wf_tensor *x)
{
    return wf_dtype_rows[x->dtype].size;
}

#endif
