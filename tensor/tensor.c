/* What a tensor is made of, counted and checked, and the few things done to its elements: copy,
 * add, fill, read one. */
#include "tensor/tensor.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tensor/par.h"
#include "tensor/private.h"
#include "tensor/size.h"
#include "tensor/text.h"
#include "tensor/walk.h"

/* A double as an int32: truncated, held within range, 0 for NaN. The plain conversion is undefined
 * outside the range. */
static int32_t to_i32(double value)
{
    if (!(value > -2147483649.0)) return value != value ? 0 : INT32_MIN;
    return value < 2147483648.0 ? (int32_t)value : INT32_MAX;
}

/* A double holds every value of all dtypes. */
#define ACCESS(name, type, from)                                                                   \
    static inline double load_##name(const void *data, int64_t at)                                 \
    {                                                                                              \
        return (double)((const type *)data)[at];                                                   \
    }                                                                                              \
    static inline void store_##name(void *data, int64_t at, double value)                          \
    {                                                                                              \
        ((type *)data)[at] = from(value);                                                          \
    }
ACCESS(f32, float, (float))
ACCESS(f64, double, )
ACCESS(i32, int32_t, to_i32)

/* No exponent has all its bits set. */
#define FINITE(name, type, exponent)                                                               \
    static bool finite_##name(int64_t n, const void *data, int64_t step)                           \
    {                                                                                              \
        const type *x = data;                                                                      \
        type found = 0;                                                                            \
        if (step == 1)                                                                             \
            for (int64_t i = 0; i < n; i++) found |= (x[i] & (exponent)) == (exponent);            \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++) found |= (x[i * step] & (exponent)) == (exponent);     \
        return !found;                                                                             \
    }
FINITE(f32, uint32_t, UINT32_C(0x7F800000))
FINITE(f64, uint64_t, UINT64_C(0x7FF) << 52)

static bool finite_whole(int64_t n, const void *data, int64_t step)
{
    (void)n, (void)data, (void)step;
    return true;
}

const wf_dtype_info wf_dtype_rows[WF_DTYPES] = {
    [WF_F32] = { "f32", sizeof(float), true, FLT_MANT_DIG, (double)FLT_MAX, load_f32, store_f32,
                 finite_f32 },
    [WF_F64] = { "f64", sizeof(double), true, DBL_MANT_DIG, DBL_MAX, load_f64, store_f64,
                 finite_f64 },
    [WF_I32] = { "i32", sizeof(int32_t), false, 31, INT32_MAX, load_i32, store_i32, finite_whole },
};

const wf_dtype_info *wf_dtype_describe(wf_dtype dtype)
{
    return (unsigned)dtype < WF_DTYPES ? &wf_dtype_rows[dtype] : NULL;
}

int64_t wf_dtype_size(wf_dtype dtype)
{
    return (unsigned)dtype < WF_DTYPES ? wf_dtype_rows[dtype].size : 0;
}

const char *wf_dtype_name(wf_dtype dtype)
{
    return (unsigned)dtype < WF_DTYPES ? wf_dtype_rows[dtype].name : "unknown";
}

bool wf_dtype_is_float(wf_dtype dtype)
{
    return (unsigned)dtype < WF_DTYPES && wf_dtype_rows[dtype].is_float;
}

double wf_dtype_round(wf_dtype dtype, double value)
{
    double held;
    if ((unsigned)dtype >= WF_DTYPES) return (double)NAN;
    wf_dtype_rows[dtype].store(&held, 0, value);
    return wf_dtype_rows[dtype].load(&held, 0);
}

void *wf_element(wf_dtype dtype, const void *data, int64_t at)
{
    return data ? (char *)(uintptr_t)data + at * wf_dtype_size(dtype) : NULL;
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

/* One run of a conversion; compiled once for each pair of dtypes below, and there once more for
 * contiguous runs. */
static inline __attribute__((always_inline)) void convert(const wf_dtype_info *from,
                                                          const wf_dtype_info *to,
                                                          char *const pointer[],
                                                          const int64_t stride[], int64_t n)
{
    const char *restrict source = pointer[0];
    char *restrict target = pointer[1];
    if (stride[0] == from->size && stride[1] == to->size)
        for (int64_t i = 0; i < n; i++) to->store(target, i, from->load(source, i));
    else
        for (int64_t i = 0; i < n; i++)
            to->store(target + i * stride[1], 0, from->load(source + i * stride[0], 0));
}

#define CONVERSION(name, from, to)                                                                 \
    static void name(void *context, char *const pointer[], const int64_t stride[], int64_t n)      \
    {                                                                                              \
        (void)context;                                                                             \
        convert(&wf_dtype_rows[from], &wf_dtype_rows[to], pointer, stride, n);                     \
    }
CONVERSION(f32_to_f64, WF_F32, WF_F64)
CONVERSION(f32_to_i32, WF_F32, WF_I32)
CONVERSION(f64_to_f32, WF_F64, WF_F32)
CONVERSION(f64_to_i32, WF_F64, WF_I32)
CONVERSION(i32_to_f32, WF_I32, WF_F32)
CONVERSION(i32_to_f64, WF_I32, WF_F64)

/* Of any two dtypes. */
static void convert_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const wf_dtype_info *const *pair = context;
    convert(pair[0], pair[1], pointer, stride, n);
}

/* Bytes as they are, denormals and the payload of a NaN included; one element again and again is
 * worth its own loop. */
#define MOVE(bits)                                                                                 \
    static void move_##bits(void *context, char *const pointer[], const int64_t stride[],          \
                            int64_t n)                                                             \
    {                                                                                              \
        (void)context;                                                                             \
        const int64_t size = bits / 8;                                                             \
        uint##bits##_t one;                                                                        \
        memcpy(&one, pointer[0], sizeof one);                                                      \
        if (stride[0] == size && stride[1] == size)                                                \
            memcpy(pointer[1], pointer[0], (size_t)(n * size));                                    \
        else if (stride[0] == 0 && stride[1] == size)                                              \
            for (int64_t i = 0; i < n; i++) ((uint##bits##_t *)pointer[1])[i] = one;               \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++)                                                        \
                memcpy(pointer[1] + i * stride[1], pointer[0] + i * stride[0], sizeof one);        \
    }
MOVE(16)
MOVE(32)
MOVE(64)

void wf_tensor_assign(const wf_tensor *x, const wf_tensor *y, int threads)
{
    static wf_walk_fn *const conversion[WF_DTYPES][WF_DTYPES] = {
        [WF_F32] = { [WF_F64] = f32_to_f64, [WF_I32] = f32_to_i32 },
        [WF_F64] = { [WF_F32] = f64_to_f32, [WF_I32] = f64_to_i32 },
        [WF_I32] = { [WF_F32] = i32_to_f32, [WF_F64] = i32_to_f64 },
    };
    static wf_walk_fn *const move[] = { [2] = move_16, [4] = move_32, [8] = move_64 };
    if (!x || !y || !x->data || !y->data || !wf_dtype_size(x->dtype) || !wf_dtype_size(y->dtype))
        return;
    const wf_dtype_info *pair[] = { &wf_dtype_rows[x->dtype], &wf_dtype_rows[y->dtype] };
    wf_walk_fn *fn = x->dtype == y->dtype ? move[pair[1]->size] : conversion[x->dtype][y->dtype];
    wf_walk loop;
    if (!wf_walk_plan(&loop, wf_tensor_shape(y), 2, (const wf_tensor *const[]){ x, y }) ||
        loop.count == 0)
        return;
    wf_walk_run(&loop, threads, 2, fn ? fn : convert_run, pair);
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

void wf_tensor_fill(const wf_tensor *y, double value)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    double one;
    if (!y || !y->data || !wf_dtype_size(y->dtype)) return;
    wf_dtype_rows[y->dtype].store(&one, 0, value);
    const wf_tensor scalar = wf_tensor_of(y->dtype, WF_SCALAR, &one);
    wf_tensor_copy(&scalar, y);
}

double wf_tensor_at(const wf_tensor *x, int64_t index)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    const wf_dtype_info *dtype = x ? wf_dtype_describe(x->dtype) : NULL;
    if (!dtype || !x->data || index < 0 || index >= wf_tensor_count(x)) return (double)NAN;
    return dtype->load(x->data, wf_tensor_offset(x, x->rank, index));
}
