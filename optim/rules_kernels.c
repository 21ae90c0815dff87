/* The update rules and the arithmetic of clipping in both precisions, compiled once per dispatch
 * level; the level's suffix is in the name of the one function that other files see. */
#include "optim/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

#define REAL float
#define BITS uint32_t
#define TINY FLT_MIN
#define NAME(name) JOIN(name, _f32)
#include "optim/loops_kernels.inc"
#undef REAL
#undef BITS
#undef TINY
#undef NAME

#define REAL double
#define BITS uint64_t
#define TINY DBL_MIN
#define NAME(name) JOIN(name, _f64)
#include "optim/loops_kernels.inc"
#undef REAL
#undef BITS
#undef TINY
#undef NAME

static void sgd(const wf_optim_call *c)
{
    if (c->dtype == WF_F32) {
        sgd_f32(c);
    } else {
        sgd_f64(c);
    }
}

static void rmsprop(const wf_optim_call *c)
{
    if (c->dtype == WF_F32) {
        rmsprop_f32(c);
    } else {
        rmsprop_f64(c);
    }
}

static void adam(const wf_optim_call *c)
{
    const wf_adam_options *o = c->options;
    if (c->dtype == WF_F32) {
        adam_f32(c, 1, o->weight_decay > 0);
    } else {
        adam_f64(c, 1, o->weight_decay > 0);
    }
}

static void adamw(const wf_optim_call *c)
{
    const wf_adam_options *o = c->options;
    if (c->dtype == WF_F32) {
        adam_f32(c, 1 - c->lr * o->weight_decay, false);
    } else {
        adam_f64(c, 1 - c->lr * o->weight_decay, false);
    }
}

static double squares(wf_dtype dtype, int64_t n, const void *x)
{
    return dtype == WF_F32 ? squares_f32(n, x) : squares_f64(n, x);
}

static double squares_scaled(wf_dtype dtype, int64_t n, const void *x, double by)
{
    return dtype == WF_F32 ? squares_scaled_f32(n, x, by) : squares_scaled_f64(n, x, by);
}

static double largest(wf_dtype dtype, int64_t n, const void *x)
{
    return dtype == WF_F32 ? largest_f32(n, x) : largest_f64(n, x);
}

static void scale(wf_dtype dtype, int64_t n, void *x, double by)
{
    if (dtype == WF_F32) {
        scale_f32(n, x, (float)by);
    } else {
        scale_f64(n, x, by);
    }
}

static void limit(wf_dtype dtype, int64_t n, void *x, double most)
{
    if (dtype == WF_F32) {
        limit_f32(n, x, (float)most);
    } else {
        limit_f64(n, x, most);
    }
}

const optim_table *JOIN(wf_optim_kernels_, WF_ISA_SUFFIX)(void)
{
    static const optim_table table = {
        .sgd = sgd,
        .rmsprop = rmsprop,
        .adam = adam,
        .adamw = adamw,
        .squares = squares,
        .squares_scaled = squares_scaled,
        .largest = largest,
        .scale = scale,
        .limit = limit,
    };
    return &table;
}
