/* What the op families know of each other: their rows, and how a shape is written in a message.
 * Not installed. */
#ifndef WEFT_AUTOGRAD_OPS_PRIVATE_H
#define WEFT_AUTOGRAD_OPS_PRIVATE_H

#include "autograd/ops.h"

/* Each row of autograd/ops.def, from the file of its family, and its meaning from there. */
#define WF_OP(name, arguments, meaning) WF_HIDDEN_OP(name, meaning)
#define WF_HIDDEN_OP(name, meaning) extern const wf_op op_##name; extern const char doc_##name[];
#include "autograd/ops.def"
/* A row's .name, and with it its .doc. */
#define OP_NAME(op) #op, .doc = doc_##op

/* The rows of autograd/pointwise.def, and how many there are. */
const wf_op *const *pointwise_rows(int *count);

/* cross_entropy with class weights, or of a target of probabilities, in other ops. */
wf_var *cross_entropy_spelled(wf_tape *t, wf_var *logits, wf_var *target,
                              const wf_cross_entropy_options *o);

/* Which axes an op is over. n < 0: all of them. More than WF_RANK are too many, and counted only.
 * keep: they stay, with size 1. */
typedef struct reduction {
    int32_t n;
    int32_t axis[WF_RANK];
    bool keep;
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
/* Has in[i] the rows of the outputs? And which inputs have: what broadcasting says. */
bool varies(const wf_call *c, int i);
uint32_t broadcast_varying(const wf_call *c);

/* Bytes that hold any shape as text. */
enum { WF_SHAPE_TEXT = 192 };

static inline const char *shape_text(char text[WF_SHAPE_TEXT], const wf_tensor *x)
{
    return wf_shape_text(text, WF_SHAPE_TEXT, x->rank, x->dim);
}

/* Has input i the dtype of input `as`? Otherwise refuses it, under its name where messages about
 * shapes use names (NULL: by number). */
bool same_dtype(const wf_shaping *s, int i, int as, const char *const names[]);

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
    return wf_dtype_is_float(x->dtype);
}

static inline int64_t bytes_of(const wf_tensor *x)
{
    return wf_dtype_size(x->dtype);
}

#endif
