/* The list of built-in rows: the pointwise ones, then those of autograd/ops.def; and the meanings
 * of these. */
#include "autograd/ops_private.h"

#define WF_OP(name, arguments, meaning) const char doc_##name[] = meaning;
#define WF_HIDDEN_OP(name, meaning) const char doc_##name[] = meaning;
#include "autograd/ops.def"

const wf_op *wf_op_at(int index)
{
    static const wf_op *const rows[] = {
#define WF_OP(name, arguments, meaning) &op_##name,
#define WF_HIDDEN_OP(name, meaning) &op_##name,
#include "autograd/ops.def"
    };
    int count;
    const wf_op *const *pointwise = pointwise_rows(&count);
    if (index < 0) return NULL;
    if (index < count) return pointwise[index];
    return index - count < COUNT_OF(rows) ? rows[index - count] : NULL;
}
