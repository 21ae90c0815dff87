/* What the op families know of each other: their rows, and how a shape is written in a message.
 * Not installed. */
#ifndef WEFT_AUTOGRAD_OPS_PRIVATE_H
#define WEFT_AUTOGRAD_OPS_PRIVATE_H

#include "autograd/ops.h"

/* Each row of autograd/ops.def, from the file of its family. */
#define WF_OP(row, function, arguments) const wf_op *op_##row(void);
#define WF_HIDDEN_OP(row) const wf_op *op_##row(void);
#include "autograd/ops.def"

/* The rows of autograd/pointwise.def; NULL past the end. */
const wf_op *pointwise_at(int index);

/* cross_entropy with class weights, or of a target of probabilities, in other ops. */
wf_var *cross_entropy_spelled(wf_tape *t, wf_var *logits, wf_var *target,
                              const wf_cross_entropy_options *o);

/* Bytes that hold any shape as text. */
enum { WF_SHAPE_TEXT = 192 };

static inline const char *shape_text(char text[WF_SHAPE_TEXT], const wf_tensor *x)
{
    return wf_shape_text(text, WF_SHAPE_TEXT, x->rank, x->dim);
}

static inline bool is_float(const wf_tensor *x)
{
    return x->dtype != WF_I32;
}

static inline int64_t bytes_of(const wf_tensor *x)
{
    return x->dtype == WF_F64 ? 8 : 4;
}

#endif
