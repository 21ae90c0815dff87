/* The kernels of the dispatch level, and what several op families do to whole tensors: adding
 * one into another, copying, saying where an element is. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "tensor/loop.h"
#include "tensor/sum.h"
#include "tensor/text.h"

#include <string.h>

const op_kernels *op_kernels_of(wf_dtype dtype)
{
    static const op_kernels *const *const each[] = { WF_ISA_EACH(op_kernels) };
    return each[wf_isa_level()][dtype];
}

/* Both are row-major and of one shape, and there are few elements. */
static bool small_and_alike(const wf_tensor *a, const wf_tensor *b, int64_t *n)
{
    if (a->rank != b->rank) return false;
    int64_t count = 1;
    for (int i = a->rank - 1; i >= 0; i--) {
        if (a->dim[i] != b->dim[i] || a->stride[i] != count || b->stride[i] != count) return false;
        count *= a->dim[i];
    }
    *n = count;
    return count <= 16384;
}

typedef struct accumulation {
    const op_kernels *kernels;
    double scale;
    int64_t bytes;
} accumulation;

static void accumulate_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const accumulation *a = context;
    a->kernels->add(n, pointer[0], stride[0] / a->bytes, pointer[1], stride[1] / a->bytes,
                    a->scale);
}

void tensor_accumulate(const wf_tensor *to, const wf_tensor *from, double scale, int threads)
{
    accumulation a = { op_kernels_of(to->dtype), scale, bytes_of(to) };
    int64_t n;
    if (small_and_alike(to, from, &n)) {
        a.kernels->add(n, to->data, 1, from->data, 1, scale);
        return;
    }
    wf_shape one = wf_tensor_shape(to), other = wf_tensor_shape(from), both;
    wf_tensor whole;
    wf_loop loop;
    if (!wf_shape_broadcast(&one, &other, &both)) return;
    if (!wf_shape_equal(&one, &both)) {
        if (wf_view_expand(from, both, &whole)) wf_sum_tensor(&whole, to, scale, 1, threads);
    } else if (wf_loop_plan(&loop, both, 2, (const wf_tensor *[]){ to, from }, -1)) {
        wf_loop_run(&loop, threads, 1, accumulate_run, &a);
    }
}

static void assign_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const int64_t bytes = *(const int64_t *)context;
    char *to = pointer[0];
    const char *from = pointer[1];
    if (stride[0] == bytes && stride[1] == bytes) {
        memcpy(to, from, (size_t)(n * bytes));
    } else if (bytes == 4) {
        for (int64_t i = 0; i < n; i++) memcpy(to + i * stride[0], from + i * stride[1], 4);
    } else {
        for (int64_t i = 0; i < n; i++) memcpy(to + i * stride[0], from + i * stride[1], 8);
    }
}

void tensor_assign(const wf_tensor *to, const wf_tensor *from, int threads)
{
    int64_t n, bytes = bytes_of(to);
    if (small_and_alike(to, from, &n)) {
        if (n) memcpy(to->data, from->data, (size_t)(n * bytes));
        return;
    }
    wf_loop loop;
    if (wf_loop_plan(&loop, wf_tensor_shape(to), 2, (const wf_tensor *[]){ to, from }, -1))
        wf_loop_run(&loop, threads, 1, assign_run, &bytes);
}

bool varies(const wf_call *c, int i)
{
    const wf_tensor *x = c->in[i], *y = c->out[0];
    return x && x->rank > 0 && x->rank == y->rank && x->dim[0] == y->dim[0];
}

uint32_t broadcast_varying(const wf_call *c)
{
    uint32_t mask = 0;
    for (int i = 0; c->n_in <= 32 && i < c->n_in; i++) mask |= (uint32_t)varies(c, i) << i;
    return mask;
}

uint32_t axis_varying(const wf_call *c)
{
    if (c->n_in > 32 || wf_axis(c->out[0]->rank, *(const int32_t *)c->attr) <= 0) return 0;
    return UINT32_MAX >> (32 - c->n_in);
}

bool same_dtype(const wf_shaping *s, int i, int as, const char *const names[])
{
    const wf_tensor *x = s->in[i], *y = s->in[as];
    if (x->dtype == y->dtype) return true;
    char text[WF_SHAPE_TEXT], number[2][24] = { "", "" };
    for (int k = 0; k < 2; k++) wf_format(number[k], sizeof number[k], "input %d", k ? as : i);
    return wf_refuse(s->error, "%s is %s %s; expected %s, as %s is\n  hint: cast changes a dtype",
                     names ? names[i] : number[0], wf_dtype_name(x->dtype), shape_text(text, x),
                     wf_dtype_name(y->dtype), names ? names[as] : number[1]);
}

const char *element_text(char text[WF_SHAPE_TEXT], const wf_tensor *x, int64_t index)
{
    int64_t where[WF_RANK] = { 0 };
    for (int k = x->rank - 1; k >= 0; k--) {
        where[k] = index % x->dim[k];
        index /= x->dim[k];
    }
    return wf_shape_text(text, WF_SHAPE_TEXT, x->rank, where);
}
