/* Views on vars: each checks its numbers, says what is wrong with them, and makes a var that
 * looks into its root. */
#include "autograd/views.h"
#include "autograd/ops.h"
#include "autograd/private.h"

#include <string.h>

static const char *shape_of(const wf_var *x, char text[static 256])
{
    return wf_shape_text(text, 256, x->value.rank, x->value.dim);
}

/* Enters x and resolves the axis; NULL after failing the tape. */
static wf_var *enter_axis(wf_tape *t, wf_var *x, const char *who, int *axis)
{
    if (!t || t->failed || !(x = var_enter(t, x, who, 0))) return NULL;
    int found = wf_axis(x->value.rank, *axis);
    char text[256];
    if (found < 0) return wf_fail(t, "%s: axis %d of %s", who, *axis, shape_of(x, text));
    *axis = found;
    return x;
}

wf_var *wf_slice(wf_tape *t, wf_var *x, int axis, int64_t start, int64_t stop, int64_t step)
{
    if (!(x = enter_axis(t, x, "slice", &axis))) return NULL;
    int64_t n = x->value.dim[axis];
    int64_t from = start < 0 ? start + n : start, to = stop == WF_LAST ? n
                                                       : stop < 0      ? stop + n
                                                                       : stop;
    char text[256];
    if (step < 1)
        return wf_fail(t, "slice: the step is %lld; it must be 1 or more", (long long)step);
    if (from < 0 || from > to || to > n)
        return wf_fail(t, "slice: %lld to %lld of axis %d of %s", (long long)start,
                       (long long)(stop == WF_LAST ? n : stop), axis, shape_of(x, text));
    wf_tensor v;
    if (!wf_view_slice(&x->value, axis, from, to, step, &v))
        return wf_fail(t, "slice: out of range");
    return view_new(t, x, &v);
}

wf_var *wf_select(wf_tape *t, wf_var *x, int axis, int64_t index)
{
    if (!(x = enter_axis(t, x, "select", &axis))) return NULL;
    int64_t n = x->value.dim[axis], at = index < 0 ? index + n : index;
    char text[256];
    if (at < 0 || at >= n)
        return wf_fail(t, "select: index %lld of axis %d of %s", (long long)index, axis,
                       shape_of(x, text));
    wf_tensor v;
    if (!wf_view_select(&x->value, axis, at, &v)) return wf_fail(t, "select: out of range");
    return view_new(t, x, &v);
}

bool wf_split(wf_tape *t, wf_var *x, int axis, int n, wf_var *part[])
{
    for (int i = 0; part && i < n; i++) part[i] = NULL;
    if (!(x = enter_axis(t, x, "split", &axis))) return false;
    if (!part) {
        wf_fail(t, "split: the list of parts was never made (NULL)");
        return false;
    }
    int64_t size = x->value.dim[axis];
    char text[256];
    if (n < 1 || size % n) {
        wf_fail(t, "split: axis %d of %s into %d equal parts", axis, shape_of(x, text), n);
        return false;
    }
    for (int i = 0; i < n; i++) {
        wf_tensor v;
        int64_t each = size / n;
        if (!wf_view_slice(&x->value, axis, i * each, (i + 1) * each, 1, &v))
            wf_fail(t, "split: out of range");
        else
            part[i] = view_new(t, x, &v);
        if (part[i]) continue;
        for (int k = 0; k < i; k++) part[k] = NULL;
        return false;
    }
    return true;
}

wf_var *wf_transpose(wf_tape *t, wf_var *x, int a, int b)
{
    if (!(x = enter_axis(t, x, "transpose", &a)) || !(x = enter_axis(t, x, "transpose", &b)))
        return NULL;
    wf_tensor v;
    if (!wf_view_transpose(&x->value, a, b, &v)) return wf_fail(t, "transpose: out of range");
    return view_new(t, x, &v);
}

wf_var *wf_permute(wf_tape *t, wf_var *x, const wf_axes *axes)
{
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, "permute", 0))) return NULL;
    const int rank = x->value.rank;
    char text[256];
    if (!axes || (axes->n > 0 && !axes->at))
        return wf_fail(t, "permute: the list of axes was never made (NULL)");
    if (axes->n != rank)
        return wf_fail(t, "permute: %d axes named; %s has %d", axes->n, shape_of(x, text), rank);
    wf_tensor v = x->value;
    uint32_t named = 0;
    for (int i = 0; i < rank; i++) {
        const int axis = wf_axis(rank, axes->at[i]);
        if (axis < 0) return wf_fail(t, "permute: axis %d of %s", axes->at[i], shape_of(x, text));
        if (named >> axis & 1) return wf_fail(t, "permute: axis %d is named twice", axis);
        named |= 1u << axis;
        v.dim[i] = x->value.dim[axis];
        v.stride[i] = x->value.stride[axis];
    }
    return view_new(t, x, &v);
}

wf_var *wf_window(wf_tape *t, wf_var *x, int axis, int64_t size, int64_t step)
{
    if (!(x = enter_axis(t, x, "window", &axis))) return NULL;
    char text[256];
    if (x->value.rank == WF_RANK)
        return wf_fail(t, "window: %s has rank %d already", shape_of(x, text), WF_RANK);
    if (size < 1 || step < 1 || size > x->value.dim[axis])
        return wf_fail(t, "window: size %lld, step %lld over axis %d of %s", (long long)size,
                       (long long)step, axis, shape_of(x, text));
    wf_tensor v;
    if (!wf_view_window(&x->value, axis, size, step, &v)) return wf_fail(t, "window: out of range");
    return view_new(t, x, &v);
}

wf_var *wf_reshape(wf_tape *t, wf_var *x, wf_shape shape)
{
    if (!t || t->failed || !(x = var_enter(t, x, "reshape", 0))) return NULL;
    int64_t count = wf_tensor_count(&x->value), known = 1;
    int free_axis = -1;
    char text[256], other[256];
    wf_shape asked = shape;
    if (shape.rank < 0 || shape.rank > WF_RANK)
        return wf_fail(t, "reshape: rank is %d; expected 0 to %d", (int)shape.rank, WF_RANK);
    bool good = true;
    for (int i = 0; good && i < shape.rank; i++) {
        if (shape.dim[i] == -1 && free_axis < 0)
            free_axis = i;
        else
            good = shape.dim[i] >= 0 && !__builtin_mul_overflow(known, shape.dim[i], &known);
    }
    if (good && free_axis >= 0) {
        good = known > 0 && count % known == 0;
        if (good) shape.dim[free_axis] = count / known;
    } else {
        good = good && known == count;
    }
    if (!good)
        return wf_fail(t, "reshape: %s has %lld numbers; they do not make %s", shape_of(x, text),
                       (long long)count, wf_shape_text(other, sizeof other, asked.rank, asked.dim));
    wf_error e = { { 0 } };
    if (wf_shape_check(&shape, x->value.dtype, &e) < 0) return wf_fail(t, "reshape: %s", e.text);
    wf_tensor v;
    if (!wf_view_reshape(&x->value, shape, &v)) {
        if (!(x = wf_copy(t, x))) return NULL;
        if (!wf_view_reshape(&x->value, shape, &v)) return wf_fail(t, "reshape: out of range");
    }
    return view_new(t, x, &v);
}

wf_var *wf_unsqueeze(wf_tape *t, wf_var *x, int axis)
{
    if (!t || t->failed || !(x = var_enter(t, x, "unsqueeze", 0))) return NULL;
    int at = axis < 0 ? axis + x->value.rank + 1 : axis;
    char text[256];
    if (at < 0 || at > x->value.rank || x->value.rank == WF_RANK)
        return wf_fail(t, "unsqueeze: axis %d of %s", axis, shape_of(x, text));
    wf_tensor v = x->value;
    for (int i = v.rank; i > at; i--) {
        v.dim[i] = v.dim[i - 1];
        v.stride[i] = v.stride[i - 1];
    }
    v.rank++;
    v.dim[at] = 1;
    v.stride[at] = 1;
    return view_new(t, x, &v);
}

wf_var *wf_squeeze(wf_tape *t, wf_var *x, int axis)
{
    if (!(x = enter_axis(t, x, "squeeze", &axis))) return NULL;
    char text[256];
    if (x->value.dim[axis] != 1)
        return wf_fail(t, "squeeze: axis %d of %s has size %lld; expected 1", axis,
                       shape_of(x, text), (long long)x->value.dim[axis]);
    wf_tensor v = x->value;
    v.rank--;
    for (int i = axis; i < v.rank; i++) {
        v.dim[i] = v.dim[i + 1];
        v.stride[i] = v.stride[i + 1];
    }
    return view_new(t, x, &v);
}
