/* Views on vars: each checks its numbers, says what is wrong with them, and makes a var that
 * looks into its root. */
#include "autograd/views.h"
#include "autograd/ops_private.h"
#include "autograd/private.h"

/* Enters x and resolves the axis; NULL after failing the tape. */
static wf_var *enter_axis(wf_tape *t, wf_var *x, const char *who, int *axis)
{
    if (!t || t->failed || !(x = var_enter(t, x, who, 0))) return NULL;
    const int found = wf_axis(x->value.rank, *axis);
    if (found < 0) return wf_fail(t, "%s: axis %d of %s", who, *axis, SHAPE_TEXT(&x->value));
    *axis = found;
    return x;
}

wf_var *wf_slice(wf_tape *t, wf_var *x, int axis, int64_t start, int64_t stop, int64_t step)
{
    wf_tensor v;
    if (!(x = enter_axis(t, x, "slice", &axis))) return NULL;
    const int64_t n = x->value.dim[axis], end = stop == WF_LAST ? n : stop;
    if (step < 1)
        return wf_fail(t, "slice: the step is %lld; it must be 1 or more", (long long)step);
    if (!wf_view_slice(&x->value, axis, start < 0 ? start + n : start, end < 0 ? end + n : end,
                       step, &v))
        return wf_fail(t, "slice: %lld to %lld of axis %d of %s", (long long)start, (long long)end,
                       axis, SHAPE_TEXT(&x->value));
    return view_new(t, x, &v);
}

wf_var *wf_select(wf_tape *t, wf_var *x, int axis, int64_t index)
{
    wf_tensor v;
    if (!(x = enter_axis(t, x, "select", &axis))) return NULL;
    if (!wf_view_select(&x->value, axis, index < 0 ? index + x->value.dim[axis] : index, &v))
        return wf_fail(t, "select: index %lld of axis %d of %s", (long long)index, axis,
                       SHAPE_TEXT(&x->value));
    return view_new(t, x, &v);
}

bool wf_split(wf_tape *t, wf_var *x, int axis, int n, wf_var *part[])
{
    for (int i = 0; part && i < n; i++) part[i] = NULL;
    if (!(x = enter_axis(t, x, "split", &axis))) return false;
    const int64_t size = x->value.dim[axis];
    if (!part)
        wf_fail(t, "split: the list of parts was never made (NULL)");
    else if (n < 1 || size % n)
        wf_fail(t, "split: axis %d of %s into %d equal parts", axis, SHAPE_TEXT(&x->value), n);
    for (int i = 0; !t->failed && i < n; i++) {
        const int64_t each = size / n;
        wf_tensor v;
        if (wf_view_slice(&x->value, axis, i * each, (i + 1) * each, 1, &v))
            part[i] = view_new(t, x, &v);
    }
    for (int i = 0; t->failed && part && i < n; i++) part[i] = NULL;
    return !t->failed;
}

wf_var *wf_transpose(wf_tape *t, wf_var *x, int a, int b)
{
    wf_tensor v;
    if (!(x = enter_axis(t, x, "transpose", &a)) || !(x = enter_axis(t, x, "transpose", &b)) ||
        !wf_view_transpose(&x->value, a, b, &v))
        return NULL;
    return view_new(t, x, &v);
}

wf_var *wf_permute(wf_tape *t, wf_var *x, const wf_axes *axes)
{
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, "permute", 0))) return NULL;
    const int rank = x->value.rank;
    if (!axes || (axes->n > 0 && !axes->at))
        return wf_fail(t, "permute: the list of axes was never made (NULL)");
    if (axes->n != rank)
        return wf_fail(t, "permute: %d axes named; %s has %d", axes->n, SHAPE_TEXT(&x->value),
                       rank);
    wf_tensor v = x->value;
    uint32_t named = 0;
    for (int i = 0; i < rank; i++) {
        const int axis = wf_axis(rank, axes->at[i]);
        if (axis < 0)
            return wf_fail(t, "permute: axis %d of %s", axes->at[i], SHAPE_TEXT(&x->value));
        if (named >> axis & 1) return wf_fail(t, "permute: axis %d is named twice", axis);
        named |= 1u << axis;
        v.dim[i] = x->value.dim[axis];
        v.stride[i] = x->value.stride[axis];
    }
    return view_new(t, x, &v);
}

wf_var *wf_window(wf_tape *t, wf_var *x, int axis, int64_t size, int64_t step)
{
    wf_tensor v;
    if (!(x = enter_axis(t, x, "window", &axis))) return NULL;
    if (x->value.rank == WF_RANK)
        return wf_fail(t, "window: %s has rank %d already", SHAPE_TEXT(&x->value), WF_RANK);
    if (!wf_view_window(&x->value, axis, size, step, &v))
        return wf_fail(t, "window: size %lld, step %lld over axis %d of %s", (long long)size,
                       (long long)step, axis, SHAPE_TEXT(&x->value));
    return view_new(t, x, &v);
}

wf_var *wf_reshape(wf_tape *t, wf_var *x, wf_shape shape)
{
    if (!t || t->failed || !(x = var_enter(t, x, "reshape", 0))) return NULL;
    int64_t count = wf_tensor_count(&x->value), known = 1;
    int free_axis = -1;
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
        return wf_fail(t, "reshape: %s has %lld numbers; they do not make %s",
                       SHAPE_TEXT(&x->value), (long long)count, SHAPE_TEXT(&asked));
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
    if (at < 0 || at > x->value.rank || x->value.rank == WF_RANK)
        return wf_fail(t, "unsqueeze: axis %d of %s", axis, SHAPE_TEXT(&x->value));
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
    wf_tensor v;
    if (!(x = enter_axis(t, x, "squeeze", &axis))) return NULL;
    if (x->value.dim[axis] != 1 || !wf_view_select(&x->value, axis, 0, &v))
        return wf_fail(t, "squeeze: axis %d of %s has size %lld; expected 1", axis,
                       SHAPE_TEXT(&x->value), (long long)x->value.dim[axis]);
    return view_new(t, x, &v);
}
