/* Initial values of parameters, each a pure function of the key and the shape. */
#include "autograd/private.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"

#include <math.h>
#include <string.h>

static void put(const wf_tensor *x, int64_t i, double value)
{
    wf_dtype_describe(x->dtype)->store(x->data, i, value);
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* `count` orthonormal rows of length n (count <= n) out of normal numbers: Gram-Schmidt, twice
 * for accuracy. */
static void orthonormal(double *q, int64_t count, int64_t n)
{
    for (int64_t r = 0; r < count; r++) {
        double *row = q + r * n;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t s = 0; s < r; s++) {
                double along = dot(row, q + s * n, n);
                for (int64_t i = 0; i < n; i++) row[i] -= along * q[s * n + i];
            }
        double length = sqrt(dot(row, row, n));
        for (int64_t i = 0; i < n; i++) row[i] /= length;
    }
}

/* One (rows, columns) block at element `first`: rows orthonormal if there are at most as many as
 * columns, else the columns. */
static bool orthogonal(const wf_tensor *x, int64_t first, int64_t rows, int64_t columns,
                       double gain, uint64_t key)
{
    int64_t n = rows * columns;
    double *q = wf_alloc((size_t)n * sizeof *q);
    if (!q) return n == 0;
    for (int64_t i = 0; i < n; i++) q[i] = wf_random_normal(key, (uint64_t)(first + i));
    bool wide = rows <= columns;
    orthonormal(q, wide ? rows : columns, wide ? columns : rows);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            put(x, first + r * columns + c, gain * (wide ? q[r * columns + c] : q[c * rows + r]));
    wf_release(q);
    return true;
}

bool param_fill(const wf_tensor *x, wf_init init, uint64_t key)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    int64_t n = wf_tensor_count(x), columns = x->rank ? x->dim[x->rank - 1] : 1;
    int64_t rows = columns > 0 ? n / columns : 0, block = init.rows > 0 ? init.rows : rows;
    double low = init.a, high = init.b, scale = init.a != 0 ? init.a : 1.0;
    switch (init.kind) {
    case WF_INIT_ZERO: memset(x->data, 0, (size_t)(n * wf_dtype_size(x->dtype))); return true;
    case WF_INIT_CONSTANT: wf_tensor_fill(x, init.a); return true;
    case WF_INIT_NORMAL:
        for (int64_t i = 0; i < n; i++)
            put(x, i, init.a + init.b * wf_random_normal(key, (uint64_t)i));
        return true;
    case WF_INIT_FAN_IN:
        high = scale / sqrt((double)(columns > 0 ? columns : 1));
        low = -high;
        break;
    case WF_INIT_XAVIER:
        high = scale * sqrt(6.0 / (double)(rows + columns > 0 ? rows + columns : 1));
        low = -high;
        break;
    case WF_INIT_ORTHOGONAL:
        for (int64_t r = 0; r < rows; r += block) {
            int64_t some = rows - r < block ? rows - r : block;
            if (!orthogonal(x, r * columns, some, columns, scale, key)) return false;
        }
        return true;
    case WF_INIT_IDENTITY:
        for (int64_t i = 0; i < n; i++) put(x, i, i / columns % block == i % columns ? scale : 0.0);
        return true;
    case WF_INIT_UNIFORM: break;
    }
    for (int64_t i = 0; i < n; i++)
        put(x, i, low + (high - low) * wf_random_uniform(key, (uint64_t)i));
    return true;
}
