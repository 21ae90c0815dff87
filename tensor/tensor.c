/* What a tensor is made of, counted and checked, and the few things done to its elements: copy,
 * add, fill, read one. */
#include "tensor/tensor.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tensor/loop.h"
#include "tensor/par.h"
#include "tensor/private.h"
#include "tensor/size.h"
#include "tensor/text.h"

int64_t wf_dtype_size(wf_dtype dtype)
{
    switch (dtype) {
    case WF_F32: return 4;
    case WF_F64: return 8;
    case WF_I32: return 4;
    }
    return 0;
}

const char *wf_dtype_name(wf_dtype dtype)
{
    switch (dtype) {
    case WF_F32: return "f32";
    case WF_F64: return "f64";
    case WF_I32: return "i32";
    }
    return "unknown";
}

int64_t wf_shape_count(const wf_shape *shape)
{
    if (!shape) return 0;
    int64_t count = 1;
    for (int k = 0; k < shape->rank; k++) count *= shape->dim[k];
    return count;
}

int64_t wf_tensor_count(const wf_tensor *x)
{
    if (!x) return 0;
    int64_t count = 1;
    for (int k = 0; k < x->rank; k++) count *= x->dim[k];
    return count;
}

int64_t wf_shape_check(const wf_shape *shape, wf_dtype dtype, wf_error *error)
{
    wf_error_clear(error);
    char text[256];
    int64_t bytes = wf_dtype_size(dtype);
    if (!shape) {
        wf_error_set(error, "shape: there is none");
        return -1;
    }
    if (bytes == 0) {
        wf_error_set(error, "shape: dtype is %d; expected f32, f64 or i32", (int)dtype);
        return -1;
    }
    if (shape->rank < 0 || shape->rank > WF_RANK) {
        wf_error_set(error, "shape: rank is %d; expected 0 to %d", (int)shape->rank, WF_RANK);
        return -1;
    }
    for (int k = 0; k < shape->rank; k++) {
        if (shape->dim[k] < 0) {
            wf_error_set(error, "shape: size of axis %d is %" PRId64 " in %s; expected 0 or more",
                         k, shape->dim[k],
                         wf_shape_text(text, sizeof text, shape->rank, shape->dim));
            return -1;
        }
        /* A size of 0 counts as 1 here: strides are products too, and must fit. */
        if (!wf_size_mul(bytes, shape->dim[k] ? shape->dim[k] : 1, &bytes)) {
            wf_error_set(error, "shape: %s of %s has more bytes than can be counted",
                         wf_shape_text(text, sizeof text, shape->rank, shape->dim),
                         wf_dtype_name(dtype));
            return -1;
        }
    }
    return wf_shape_count(shape);
}

wf_shape wf_tensor_shape(const wf_tensor *x)
{
    wf_shape shape = { 0 };
    if (!x) return shape;
    shape.rank = x->rank; /* also one out of range, for wf_shape_check to refuse */
    for (int k = 0; k < x->rank && k < WF_RANK; k++) shape.dim[k] = x->dim[k];
    return shape;
}

bool wf_shape_equal(const wf_shape *a, const wf_shape *b)
{
    if (!a || !b || a->rank != b->rank) return false;
    for (int k = 0; k < a->rank; k++)
        if (a->dim[k] != b->dim[k]) return false;
    return true;
}

char *wf_shape_text(char *text, size_t bytes, int rank, const int64_t dim[])
{
    if (!text || bytes == 0) return text;
    text[0] = 0;
    if (rank > WF_RANK || (rank > 0 && !dim)) { /* there are not so many sizes to read */
        wf_format(text, bytes, "(rank %d)", rank);
        return text;
    }
    for (int k = 0; k < rank; k++) wf_append(text, bytes, "%s%" PRId64, k ? ", " : "(", dim[k]);
    wf_append(text, bytes, rank > 0 ? ")" : "()");
    return text;
}

char *wf_index_text(char *text, size_t bytes, int rank, const int64_t dim[], int64_t index)
{
    int64_t where[WF_RANK] = { 0 };
    for (int k = rank - 1; dim && rank <= WF_RANK && k >= 0; k--) {
        const int64_t n = dim[k] > 0 ? dim[k] : 1;
        where[k] = index % n;
        index /= n;
    }
    return wf_shape_text(text, bytes, rank, dim ? where : NULL);
}

wf_tensor wf_tensor_of(wf_dtype dtype, wf_shape shape, void *data)
{
    wf_tensor x = { .data = data, .dtype = dtype, .rank = shape.rank };
    int64_t stride = 1;
    if (shape.rank < 0 || shape.rank > WF_RANK) return (wf_tensor){ .dtype = dtype };
    for (int k = shape.rank - 1; k >= 0; k--) {
        x.dim[k] = shape.dim[k];
        x.stride[k] = stride;
        stride *= shape.dim[k] ? shape.dim[k] : 1;
    }
    return x;
}

wf_tensor wf_tensor_over(wf_dtype dtype, wf_shape shape, const void *data)
{
    return wf_tensor_of(dtype, shape, (void *)(uintptr_t)data);
}

bool wf_tensor_is_contiguous(const wf_tensor *x)
{
    if (!x) return false;
    int64_t expected = 1;
    bool row_major = true;
    for (int k = x->rank - 1; k >= 0; k--) {
        if (x->dim[k] == 0) return true; /* no element is out of place */
        if (x->dim[k] != 1 && x->stride[k] != expected) row_major = false;
        expected *= x->dim[k];
    }
    return row_major;
}

int wf_axis(int rank, int axis)
{
    if (axis < 0) axis += rank;
    return axis >= 0 && axis < rank ? axis : -1;
}

/* A double as an int32: truncated, held within range, 0 for NaN. The plain conversion is undefined
 * outside the range. */
static int32_t to_i32(double value)
{
    if (!(value > -2147483649.0)) return value != value ? 0 : INT32_MIN;
    return value < 2147483648.0 ? (int32_t)value : INT32_MAX;
}

/* One element as a double, which holds every value of all three dtypes. */
static inline __attribute__((always_inline)) double load(wf_dtype dtype, const char *at)
{
    if (dtype == WF_F32) return (double)*(const float *)at;
    if (dtype == WF_F64) return *(const double *)at;
    return (double)*(const int32_t *)at;
}

static inline __attribute__((always_inline)) void store(wf_dtype dtype, char *at, double value)
{
    if (dtype == WF_F32)
        *(float *)at = (float)value;
    else if (dtype == WF_F64)
        *(double *)at = value;
    else
        *(int32_t *)at = to_i32(value);
}

/* One run of a conversion; compiled once for each pair of dtypes below, and there once more for
 * contiguous runs. */
static inline __attribute__((always_inline)) void convert(wf_dtype from, wf_dtype to,
                                                          char *const pointer[],
                                                          const int64_t stride[], int64_t n)
{
    const int64_t s = from == WF_F64 ? 8 : 4, t = to == WF_F64 ? 8 : 4;
    const char *restrict source = pointer[0];
    char *restrict target = pointer[1];
    if (stride[0] == s && stride[1] == t)
        for (int64_t i = 0; i < n; i++) store(to, target + i * t, load(from, source + i * s));
    else
        for (int64_t i = 0; i < n; i++)
            store(to, target + i * stride[1], load(from, source + i * stride[0]));
}

static void f32_to_f64(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    (void)context;
    convert(WF_F32, WF_F64, pointer, stride, n);
}

static void f32_to_i32(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    (void)context;
    convert(WF_F32, WF_I32, pointer, stride, n);
}

static void f64_to_f32(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    (void)context;
    convert(WF_F64, WF_F32, pointer, stride, n);
}

static void f64_to_i32(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    (void)context;
    convert(WF_F64, WF_I32, pointer, stride, n);
}

static void i32_to_f32(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    (void)context;
    convert(WF_I32, WF_F32, pointer, stride, n);
}

static void i32_to_f64(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    (void)context;
    convert(WF_I32, WF_F64, pointer, stride, n);
}

/* Bytes as they are, denormals and the payload of a NaN included. */
static void move(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const int64_t size = *(const int64_t *)context;
    const char *from = pointer[0];
    char *to = pointer[1];
    if (stride[0] == size && stride[1] == size)
        memcpy(to, from, (size_t)(n * size));
    else if (size == 4)
        for (int64_t i = 0; i < n; i++) memcpy(to + i * stride[1], from + i * stride[0], 4);
    else
        for (int64_t i = 0; i < n; i++) memcpy(to + i * stride[1], from + i * stride[0], 8);
}

void wf_tensor_assign(const wf_tensor *x, const wf_tensor *y, int threads)
{
    static wf_loop_fn *const conversion[3][3] = {
        { move, f32_to_f64, f32_to_i32 },
        { f64_to_f32, move, f64_to_i32 },
        { i32_to_f32, i32_to_f64, move },
    };
    if (!x || !y || !x->data || !y->data || !wf_dtype_size(x->dtype) || !wf_dtype_size(y->dtype))
        return;
    wf_loop loop;
    int64_t size = wf_dtype_size(y->dtype);
    if (!wf_loop_plan(&loop, wf_tensor_shape(y), 2, (const wf_tensor *const[]){ x, y }) ||
        loop.count == 0)
        return;
    wf_loop_run(&loop, threads, 2, conversion[x->dtype][y->dtype], &size);
}

void wf_tensor_copy(const wf_tensor *x, const wf_tensor *y)
{
    wf_tensor_assign(x, y, 1);
}

void wf_tensor_add(const wf_tensor *x, const wf_tensor *y)
{
    if (!x || !y || x->dtype != y->dtype) return;
    const wf_shape from = wf_tensor_shape(x), to = wf_tensor_shape(y);
    wf_shape both;
    if (wf_shape_broadcast(&from, &to, &both) && wf_shape_equal(&both, &to))
        wf_tensor_accumulate(x, y, 1, 1);
}

typedef union scalar {
    float f32;
    double f64;
    int32_t i32;
} scalar;

static void fill_32(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const int32_t bits = ((const scalar *)context)->i32; /* of either kind */
    if (stride[0] == 4)
        for (int64_t i = 0; i < n; i++) ((int32_t *)pointer[0])[i] = bits;
    else
        for (int64_t i = 0; i < n; i++) *(int32_t *)(pointer[0] + i * stride[0]) = bits;
}

static void fill_64(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const double value = ((const scalar *)context)->f64;
    if (stride[0] == 8)
        for (int64_t i = 0; i < n; i++) ((double *)pointer[0])[i] = value;
    else
        for (int64_t i = 0; i < n; i++) *(double *)(pointer[0] + i * stride[0]) = value;
}

void wf_tensor_fill(const wf_tensor *y, double value)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if (!y || !y->data) return;
    wf_loop loop;
    scalar v;
    switch (y->dtype) {
    case WF_F32: v.f32 = (float)value; break;
    case WF_F64: v.f64 = value; break;
    case WF_I32: v.i32 = to_i32(value); break;
    default: return;
    }
    if (wf_loop_plan(&loop, wf_tensor_shape(y), 1, (const wf_tensor *const[]){ y }))
        wf_loop_run(&loop, 1, 0, y->dtype == WF_F64 ? fill_64 : fill_32, &v);
}

double wf_tensor_at(const wf_tensor *x, int64_t index)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if (!x || !x->data || index < 0 || index >= wf_tensor_count(x)) return (double)NAN;
    const int64_t at = wf_tensor_offset(x, x->rank, index);
    switch (x->dtype) {
    case WF_F32: return (double)((const float *)x->data)[at];
    case WF_F64: return ((const double *)x->data)[at];
    case WF_I32: return (double)((const int32_t *)x->data)[at];
    }
    return (double)NAN;
}
