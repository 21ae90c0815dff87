/* The list of built-in rows: the pointwise ones, then those of autograd/ops.def. */
#include "autograd/ops_private.h"

const wf_op *wf_op_at(int index)
{
    static const wf_op *const rows[] = {
#define WF_OP(row, function, arguments) &op_##row,
#define WF_HIDDEN_OP(row) &op_##row,
#include "autograd/ops.def"
    };
    const int others = (int)(sizeof rows / sizeof rows[0]);
    int count;
    const wf_op *const *pointwise = pointwise_rows(&count);
    if (index < 0) return NULL;
    if (index < count) return pointwise[index];
    return index - count < others ? rows[index - count] : NULL;
}
