/* Views: another shape and other strides over the same numbers. Each is made whole before *out is
 * touched, which may be *x. */
#include "tensor/private.h"
#include "tensor/size.h"
#include "tensor/tensor.h"

/* Do these sizes stand for a tensor: rank and sizes in range, the bytes within an int64_t? */
static bool possible(const wf_shape *shape, wf_dtype dtype)
{
    int64_t bytes = wf_dtype_size(dtype);
    if (shape->rank < 0 || shape->rank > WF_RANK || bytes == 0) return false;
    for (int k = 0; k < shape->rank; k++)
        if (shape->dim[k] < 0 || !wf_size_mul(bytes, shape->dim[k] ? shape->dim[k] : 1, &bytes))
            return false;
    return true;
}

/* x moved by `steps` along an axis. An empty view stays where it is: one past a strided end is no
 * valid address. */
static void advance(wf_tensor *view, int64_t steps, int64_t stride)
{
    if (view->data && wf_tensor_count(view) > 0)
        view->data = wf_element(view->dtype, view->data, steps * stride);
}

/* A multiple of a stride, where the axis is long enough for it to matter: a step may be any number.
 */
static int64_t stretched(int64_t stride, int64_t step, int64_t dim)
{
    return dim > 1 ? stride * step : stride;
}

bool wf_view_slice(const wf_tensor *x, int axis, int64_t start, int64_t stop, int64_t step,
                   wf_tensor *out)
{
    if (!x || !out || (axis = wf_axis(x->rank, axis)) < 0) return false;
    if (start < 0 || stop < start || stop > x->dim[axis] || step < 1) return false;
    wf_tensor view = *x;
    view.dim[axis] = stop > start ? (stop - start - 1) / step + 1 : 0;
    view.stride[axis] = stretched(x->stride[axis], step, view.dim[axis]);
    advance(&view, start, x->stride[axis]);
    *out = view;
    return true;
}

bool wf_view_select(const wf_tensor *x, int axis, int64_t index, wf_tensor *out)
{
    if (!x || !out || (axis = wf_axis(x->rank, axis)) < 0) return false;
    if (index < 0 || index >= x->dim[axis]) return false;
    wf_tensor view = *x;
    view.rank--;
    for (int k = axis; k < view.rank; k++) {
        view.dim[k] = x->dim[k + 1];
        view.stride[k] = x->stride[k + 1];
    }
    view.dim[view.rank] = view.stride[view.rank] = 0;
    advance(&view, index, x->stride[axis]);
    *out = view;
    return true;
}

bool wf_view_transpose(const wf_tensor *x, int a, int b, wf_tensor *out)
{
    if (!x || !out || (a = wf_axis(x->rank, a)) < 0 || (b = wf_axis(x->rank, b)) < 0) return false;
    wf_tensor view = *x;
    view.dim[a] = x->dim[b];
    view.dim[b] = x->dim[a];
    view.stride[a] = x->stride[b];
    view.stride[b] = x->stride[a];
    *out = view;
    return true;
}

bool wf_view_window(const wf_tensor *x, int axis, int64_t size, int64_t step, wf_tensor *out)
{
    if (!x || !out || (axis = wf_axis(x->rank, axis)) < 0 || x->rank == WF_RANK) return false;
    if (size < 1 || size > x->dim[axis] || step < 1) return false;
    wf_tensor view = *x;
    view.dim[axis] = (x->dim[axis] - size) / step + 1;
    view.stride[axis] = stretched(x->stride[axis], step, view.dim[axis]);
    view.dim[x->rank] = size;
    view.stride[x->rank] = x->stride[axis];
    view.rank++;
    wf_shape shape = wf_tensor_shape(&view);
    if (!possible(&shape, x->dtype)) return false;
    *out = view;
    return true;
}

bool wf_view_reshape(const wf_tensor *x, wf_shape shape, wf_tensor *out)
{
    if (!x || !out || !possible(&shape, x->dtype)) return false;
    int64_t count = wf_tensor_count(x);
    if (wf_shape_count(&shape) != count) return false;
    wf_tensor view = wf_tensor_of(x->dtype, shape, x->data);
    if (count == 0 || wf_tensor_is_contiguous(x)) {
        *out = view;
        return true;
    }
    int64_t dim[WF_RANK], stride[WF_RANK];
    int kept = 0;
    for (int k = 0; k < x->rank; k++) {
        if (x->dim[k] == 1) continue;
        dim[kept] = x->dim[k];
        stride[kept++] = x->stride[k];
    }
    /* The smallest groups of old axes and of new ones that hold equally many elements, from the
     * left. The old axes of a group must lie as one line; then the new ones can be laid out along
     * it. */
    int made = 0;
    for (int old = 0; old < kept;) {
        int first = made;
        int64_t have = dim[old++], want = shape.dim[made++];
        while (have != want) {
            if (want < have) {
                want *= shape.dim[made++];
            } else {
                if (stride[old - 1] != stride[old] * dim[old]) return false;
                have *= dim[old++];
            }
        }
        int64_t step = stride[old - 1];
        for (int k = made - 1; k >= first; k--) {
            view.stride[k] = step;
            step *= shape.dim[k];
        }
    }
    *out = view; /* what is left are sizes of 1, whose strides do not matter */
    return true;
}

bool wf_view_expand(const wf_tensor *x, wf_shape shape, wf_tensor *out)
{
    if (!x || !out || !possible(&shape, x->dtype) || shape.rank < x->rank) return false;
    wf_tensor view = { .data = x->data, .dtype = x->dtype, .rank = shape.rank };
    int missing = shape.rank - x->rank;
    for (int k = 0; k < shape.rank; k++) {
        bool present = k >= missing && x->dim[k - missing] == shape.dim[k];
        if (!present && k >= missing && x->dim[k - missing] != 1) return false;
        view.dim[k] = shape.dim[k];
        view.stride[k] = present ? x->stride[k - missing] : 0;
    }
    *out = view;
    return true;
}

bool wf_shape_broadcast(const wf_shape *a, const wf_shape *b, wf_shape *out)
{
    if (!a || !b || !out) return false;
    if (a->rank < 0 || a->rank > WF_RANK || b->rank < 0 || b->rank > WF_RANK) return false;
    wf_shape shape = { .rank = a->rank > b->rank ? a->rank : b->rank };
    for (int k = 0; k < shape.rank; k++) {
        int i = k - (shape.rank - a->rank), j = k - (shape.rank - b->rank);
        int64_t m = i < 0 ? 1 : a->dim[i], n = j < 0 ? 1 : b->dim[j];
        if (m != n && m != 1 && n != 1) return false;
        shape.dim[k] = m == 1 ? n : m;
    }
    *out = shape;
    return true;
}

/* Is there a way to reach `offset` by moving at most dim - 1 steps, forwards or backwards, along
 * each of n axes of falling strides? `reach` is how far the axes from here on go together; `budget`
 * bounds the search, which is exponential at worst. */
static bool reachable(int n, const int64_t dim[], const int64_t stride[], int64_t reach,
                      int64_t offset, int *budget)
{
    if (--*budget < 0) return true; /* taken as an overlap: the cost is a copy, never a wrong sum */
    if (n == 0) return offset == 0;
    int64_t s = stride[0], most = dim[0] - 1, rest = reach - most * s;
    /* The steps d with |offset - d * s| <= rest. */
    int64_t low = offset - rest, high = offset + rest;
    int64_t from = low > 0 ? (low + s - 1) / s : -(-low / s),
            to = high >= 0 ? high / s : -((-high + s - 1) / s);
    if (from < -most) from = -most;
    if (to > most) to = most;
    for (int64_t d = from; d <= to; d++)
        if (reachable(n - 1, dim + 1, stride + 1, rest, offset - d * s, budget)) return true;
    return false;
}

bool wf_tensor_overlaps_itself(const wf_tensor *x)
{
    if (!x) return false;
    int64_t dim[WF_RANK], stride[WF_RANK];
    int n = 0;
    if (wf_tensor_count(x) < 2) return false;
    for (int k = 0; k < x->rank; k++) {
        if (x->dim[k] == 1) continue;
        if (x->stride[k] == 0) return true;
        int at = n++;
        for (; at > 0 && stride[at - 1] < x->stride[k]; at--) {
            stride[at] = stride[at - 1];
            dim[at] = dim[at - 1];
        }
        stride[at] = x->stride[k];
        dim[at] = x->dim[k];
    }
    int64_t reach = 0;
    int budget = 4096;
    /* Two indices share an element when their difference, not zero in all axes, moves nowhere. Its
     * first axis that is not zero moves forwards, without loss; where a stride is longer than all
     * below it reach together, that cannot be undone. */
    for (int k = n - 1; k >= 0; k--) {
        if (stride[k] <= reach)
            for (int64_t d = 1; d < dim[k] && d <= reach / stride[k]; d++)
                if (reachable(n - 1 - k, dim + k + 1, stride + k + 1, reach, -d * stride[k],
                              &budget))
                    return true;
        reach += (dim[k] - 1) * stride[k];
    }
    return false;
}
