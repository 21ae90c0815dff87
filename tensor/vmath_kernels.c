/* Loops over the inline functions of tensor/vmath.h and tensor/log1p.h, compiled once per dispatch
 * level; the level's suffix is in the name of the one table that other files see. */
#include "tensor/kernels.h"
#include "tensor/log1p.h"

static void exp_f32(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_expf_inline(x[i]);
}

static void exp_f64(int64_t n, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_exp_inline(x[i]);
}

static void tanh_f32(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_tanhf_inline(x[i]);
}

static void tanh_f64(int64_t n, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_tanh_inline(x[i]);
}

static void sigmoid_f32(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_sigmoidf_inline(x[i]);
}

static void sigmoid_f64(int64_t n, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_sigmoid_inline(x[i]);
}

static void log_f32(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_logf_inline(x[i]);
}

static void log_f64(int64_t n, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_log_inline(x[i]);
}

static void log1p_f32(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_log1pf_inline(x[i]);
}

static void log1p_f64(int64_t n, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_log1p_inline(x[i]);
}

static void expm1_f32(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_expm1f_inline(x[i]);
}

static void expm1_f64(int64_t n, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_expm1_inline(x[i]);
}

static void softplus_f32(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_softplusf_inline(x[i]);
}

static void softplus_f64(int64_t n, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = wf_softplus_inline(x[i]);
}

const wf_vmath_table WF_ISA_OWN(wf_vmath_kernels) = {
    .exp_f32 = exp_f32,
    .exp_f64 = exp_f64,
    .tanh_f32 = tanh_f32,
    .tanh_f64 = tanh_f64,
    .sigmoid_f32 = sigmoid_f32,
    .sigmoid_f64 = sigmoid_f64,
    .log_f32 = log_f32,
    .log_f64 = log_f64,
    .log1p_f32 = log1p_f32,
    .log1p_f64 = log1p_f64,
    .expm1_f32 = expm1_f32,
    .expm1_f64 = expm1_f64,
    .softplus_f32 = softplus_f32,
    .softplus_f64 = softplus_f64,
};
