/* The functions of tensor/vmath.h and tensor/log1p.h over arrays: flush-to-zero inside, the
 * caller's floating-point state given back. */
#include "tensor/kernels.h"
#include "tensor/log1p.h"
#include "tensor/par.h"

void wf_exp_f32(int64_t n, const float *x, float *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->exp_f32(n, x, y);
    wf_fp_leave(fp);
}

void wf_exp_f64(int64_t n, const double *x, double *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->exp_f64(n, x, y);
    wf_fp_leave(fp);
}

void wf_tanh_f32(int64_t n, const float *x, float *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->tanh_f32(n, x, y);
    wf_fp_leave(fp);
}

void wf_tanh_f64(int64_t n, const double *x, double *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->tanh_f64(n, x, y);
    wf_fp_leave(fp);
}

void wf_sigmoid_f32(int64_t n, const float *x, float *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->sigmoid_f32(n, x, y);
    wf_fp_leave(fp);
}

void wf_sigmoid_f64(int64_t n, const double *x, double *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->sigmoid_f64(n, x, y);
    wf_fp_leave(fp);
}

void wf_log_f32(int64_t n, const float *x, float *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->log_f32(n, x, y);
    wf_fp_leave(fp);
}

void wf_log_f64(int64_t n, const double *x, double *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->log_f64(n, x, y);
    wf_fp_leave(fp);
}

void wf_log1p_f32(int64_t n, const float *x, float *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->log1p_f32(n, x, y);
    wf_fp_leave(fp);
}

void wf_log1p_f64(int64_t n, const double *x, double *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->log1p_f64(n, x, y);
    wf_fp_leave(fp);
}

void wf_expm1_f32(int64_t n, const float *x, float *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->expm1_f32(n, x, y);
    wf_fp_leave(fp);
}

void wf_expm1_f64(int64_t n, const double *x, double *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->expm1_f64(n, x, y);
    wf_fp_leave(fp);
}

void wf_softplus_f32(int64_t n, const float *x, float *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->softplus_f32(n, x, y);
    wf_fp_leave(fp);
}

void wf_softplus_f64(int64_t n, const double *x, double *y)
{
    if (n <= 0 || !x || !y) return;
    uint32_t fp = wf_fp_enter();
    wf_vmath_kernels()->softplus_f64(n, x, y);
    wf_fp_leave(fp);
}
