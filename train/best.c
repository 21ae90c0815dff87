/* The weights that were best, kept in memory, and their mean, which is what is used: the mean of
 * several epochs' weights (Vaswani et al. 2017, section 6.1) is mostly better than any of them. */
#include <math.h>
#include <string.h>

#include "tensor/runtime.h"
#include "train/private.h"

int64_t wf_run_value_count(const wf_run *run)
{
    return wf_module_param_count(run->plan.net) + wf_module_buffer_count(run->plan.net);
}

wf_var *wf_run_value_at(const wf_run *run, int64_t i)
{
    const int64_t n = wf_module_param_count(run->plan.net);
    return i < n ? wf_module_param_at(run->plan.net, i) : wf_module_buffer_at(run->plan.net, i - n);
}

/* What a parameter takes in such memory: each begins where a double may. */
static size_t bytes_of(const wf_tensor *x)
{
    return ((size_t)(wf_tensor_count(x) * wf_dtype_size(x->dtype)) + 7) / 8 * 8;
}

size_t wf_run_weight_bytes(const wf_run *run)
{
    size_t bytes = 0;
    const int64_t n = wf_run_value_count(run);
    for (int64_t i = 0; i < n; i++) {
        const wf_tensor *x = wf_param_value(wf_run_value_at(run, i));
        bytes += bytes_of(x);
    }
    return bytes;
}

wf_tensor wf_run_part_of(const wf_var *param, char *weights, size_t *at)
{
    const wf_tensor *x = wf_param_value(param);
    wf_shape shape = { .rank = x->rank };
    memcpy(shape.dim, x->dim, sizeof shape.dim);
    wf_tensor part = wf_tensor_of(x->dtype, shape, weights + *at);
    *at += bytes_of(x);
    return part;
}

static void flatten(const wf_run *run, char *weights)
{
    size_t at = 0;
    for (int64_t i = 0; i < wf_run_value_count(run); i++) {
        const wf_var *param = wf_run_value_at(run, i);
        wf_tensor to = wf_run_part_of(param, weights, &at);
        wf_tensor_copy(wf_param_value(param), &to);
    }
}

void wf_run_restore(const wf_run *run, const char *weights)
{
    size_t at = 0;
    for (int64_t i = 0; i < wf_run_value_count(run); i++) {
        wf_var *param = wf_run_value_at(run, i);
        const wf_tensor from = wf_run_part_of(param, (char *)(uintptr_t)weights, &at);
        wf_tensor to = *wf_param_value(param);
        wf_tensor_copy(&from, &to);
        wf_param_changed(param);
    }
}

bool wf_run_better(const wf_run *run, double a, double b)
{
    return run->plan.higher ? a > b : a < b;
}

static int worst_of(const wf_run *run)
{
    int worst = 0;
    for (int k = 1; k < run->n_best; k++)
        if (wf_run_better(run, run->best[worst].figure, run->best[k].figure)) worst = k;
    return worst;
}

/* Lets go of those that are too many, the worst first. */
void wf_run_forget_best(wf_run *run, int most)
{
    while (run->n_best > most) {
        const int worst = most ? worst_of(run) : run->n_best - 1;
        wf_release(run->best[worst].weights);
        run->best[worst] = run->best[--run->n_best];
        run->best[run->n_best] = (kept){ 0 };
    }
}

bool wf_run_keep(wf_run *run, double figure)
{
    const int most = run->o->average > 1 ? (int)run->o->average : 1;
    int at = run->n_best;
    if (at >= most) {
        at = worst_of(run);
        if (!wf_run_better(run, figure, run->best[at].figure)) return true;
    } else {
        run->best[at].weights = wf_alloc(wf_run_weight_bytes(run));
        if (!run->best[at].weights)
            return wf_run_fail(run, "run: not enough memory for a copy of the net");
        run->n_best++;
    }
    run->best[at].figure = figure;
    flatten(run, run->best[at].weights);
    return true;
}

/* The mean of one parameter or buffer, in double; of whole numbers, which count, those of one
 * epoch. */
static void mean_part(const wf_run *run, const wf_var *param, char *weights, size_t *at)
{
    const size_t begin = *at;
    const wf_tensor to = wf_run_part_of(param, weights, at);
    const int64_t n = wf_tensor_count(&to);
    if (to.dtype == WF_I32)
        memcpy(to.data, run->best[run->n_best - 1].weights + begin, (size_t)n * sizeof(int32_t));
    for (int64_t i = 0; to.dtype != WF_I32 && i < n; i++) {
        double sum = 0;
        for (int k = 0; k < run->n_best; k++) {
            const char *from = run->best[k].weights + begin;
            sum += to.dtype == WF_F64 ? ((const double *)(const void *)from)[i]
                                      : (double)((const float *)(const void *)from)[i];
        }
        if (to.dtype == WF_F64)
            ((double *)to.data)[i] = sum / run->n_best;
        else
            ((float *)to.data)[i] = (float)(sum / run->n_best);
    }
}

void wf_run_used(const wf_run *run, char *weights)
{
    size_t at = 0;
    if (!run->n_best) flatten(run, weights);
    for (int64_t i = 0; run->n_best && i < wf_run_value_count(run); i++)
        mean_part(run, wf_run_value_at(run, i), weights, &at);
}
