/* Plain index arithmetic, and views of every kind to hold against it. */
#ifndef WEFT_TESTS_FORMS_H
#define WEFT_TESTS_FORMS_H

#include <check.h>

#include "tensor/tensor.h"

enum { ROOM = 4096 };

/* Where the element of a view at a flat index lies, in elements from its data: the plain
 * definition. */
static inline int64_t offset_of(const wf_tensor *x, int64_t flat)
{
    int64_t at = 0;
    for (int k = x->rank - 1; k >= 0; k--) {
        at += flat % x->dim[k] * x->stride[k];
        flat /= x->dim[k];
    }
    return at;
}

/* A flat row-major index as one index per axis, and back. */
static inline void unflatten(const wf_shape *shape, int64_t flat, int64_t index[WF_RANK])
{
    for (int k = shape->rank - 1; k >= 0; k--) {
        index[k] = flat % shape->dim[k];
        flat /= shape->dim[k];
    }
}

static inline int64_t flatten(const wf_shape *shape, const int64_t index[WF_RANK])
{
    int64_t flat = 0;
    for (int k = 0; k < shape->rank; k++) flat = flat * shape->dim[k] + index[k];
    return flat;
}

/* One view of every kind onto memory of its own, in each dtype. */
static const wf_shape form = { 3, { 3, 5, 7 } };
enum { LAYOUTS = 5 };

static inline wf_tensor laid_out(int layout, wf_dtype dtype, void *memory)
{
    wf_tensor x = wf_tensor_of(dtype, form, memory);
    if (layout == 1) { /* axes turned round */
        x = wf_tensor_of(dtype, WF_SHAPE(7, 5, 3), memory);
        ck_assert(wf_view_transpose(&x, 0, 2, &x));
    } else if (layout == 2) { /* every second element of longer rows */
        x = wf_tensor_of(dtype, WF_SHAPE(3, 6, 15), memory);
        ck_assert(wf_view_slice(&x, 2, 1, 15, 2, &x) && wf_view_slice(&x, 1, 1, 6, 1, &x));
    } else if (layout == 3) { /* the middle axis innermost */
        x = wf_tensor_of(dtype, WF_SHAPE(3, 7, 5), memory);
        ck_assert(wf_view_transpose(&x, 1, 2, &x));
    } else if (layout == 4) { /* one slice of a larger one */
        x = wf_tensor_of(dtype, WF_SHAPE(3, 2, 5, 7), memory);
        ck_assert(wf_view_select(&x, 1, 1, &x));
    }
    return x;
}

#endif
