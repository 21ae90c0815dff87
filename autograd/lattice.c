/* What the losses over paths share: lengths, parts of a batch, reductions, and pieces of their
 * spelling in other ops. */
#include "autograd/lattice_private.h"

#include "autograd/loss_private.h"
#include "autograd/private.h"
#include "autograd/views.h"
#include "tensor/size.h"
#include "tensor/sum.h"

#include <math.h>

enum { PART_WORK = 1 << 16 }; /* numbers that are worth another thread */

bool lattice_takes_lengths(const wf_shaping *s, int input, const char *name, int64_t batch)
{
    const wf_tensor *x = s->in[input];
    if (!x || (x->dtype == WF_I32 && x->rank == 1 && x->dim[0] == batch)) return true;
    return wf_refuse(s->error, "%s are %s %s; expected i32 (%lld)", name, wf_dtype_name(x->dtype),
                     SHAPE_TEXT(x), (long long)batch);
}

bool lattice_lengths_sound(const wf_tensor *lengths, const char *name, int64_t most,
                           wf_error *error)
{
    for (int64_t b = 0; lengths && b < lengths->dim[0]; b++) {
        const int64_t n = lattice_length(lengths, b, most);
        if (n < 0 || n > most)
            return wf_refuse(error, "%s[%lld] is %lld; it must be from 0 to %lld", name,
                             (long long)b, (long long)n, (long long)most);
    }
    return true;
}

void *lattice_piece(char *base, int64_t *at, int64_t count)
{
    const int64_t from = *at;
    int64_t bytes;
    if (from < 0 || !wf_size_mul(count, sizeof(double), &bytes) ||
        !wf_size_align(bytes, WF_ALIGNMENT, &bytes) || !wf_size_add(from, bytes, at)) {
        *at = -1;
        return NULL;
    }
    return base ? base + from : NULL;
}

int64_t lattice_parts(int threads, int64_t batch, int64_t work)
{
    if (threads < 2 || batch < 2 || (double)batch * (double)work < 2.0 * PART_WORK) return 1;
    return threads < batch ? threads : batch;
}

void lattice_store(wf_reduction how, int64_t batch, const double *loss, const double *factor,
                   const wf_tensor *y)
{
    const wf_dtype_info *dtype = wf_dtype_describe(y->dtype);
    double high = 0, low = 0;
    for (int64_t b = 0; b < batch; b++) {
        if (how == WF_REDUCE_NONE)
            dtype->store(y->data, b, loss[b]);
        else
            wf_sum_term(&high, &low, loss[b] * factor[b]);
    }
    if (how != WF_REDUCE_NONE) dtype->store(y->data, 0, wf_sum_value(high, low));
}

double lattice_scale(wf_reduction how, const wf_tensor *g, int64_t b, double factor)
{
    return how == WF_REDUCE_NONE ? number_at(g, b) : number_at(g, 0) * factor;
}

wf_tensor lattice_sequence(const wf_tensor *x, int64_t b, int64_t length)
{
    wf_tensor part = *x;
    part.rank = 2;
    part.dim[0] = length;
    part.dim[1] = x->dim[2];
    part.stride[1] = x->stride[2];
    if (x->data && wf_tensor_count(x) > 0)
        part.data = (char *)x->data + b * x->stride[1] * bytes_of(x);
    return part;
}

/* ---- in ops ---- */

wf_var *lattice_sum_spelled(wf_tape *t, wf_var *x)
{
    const wf_dtype dtype = wf_dtype_of(x);
    wf_var *nothing = wf_zeros(t, dtype, WF_SCALAR), *one = wf_full(t, dtype, WF_SCALAR, 1);
    wf_var *never = wf_full(t, dtype, WF_SCALAR, -(double)INFINITY);
    wf_var *top = wf_detach(t, wf_max(t, x, WF_AXES(0)));
    top = wf_where(t, wf_equal(t, top, never), nothing, top);
    wf_var *sum = wf_sum(t, wf_exp(t, wf_sub(t, x, top)), WF_AXES(0));
    wf_var *dead = wf_equal(t, sum, nothing); /* log has no derivative there */
    return wf_where(t, dead, never, wf_add(t, wf_log(t, wf_where(t, dead, one, sum)), top));
}

wf_var *lattice_cut_spelled(wf_tape *t, wf_var *x, wf_var *lengths)
{
    if (!lengths) return x;
    wf_var *mask = wf_length_mask(t, lengths, wf_dim(x, 0)); /* (T, B) */
    return wf_where(t, wf_unsqueeze(t, mask, -1), x, wf_zeros(t, wf_dtype_of(x), WF_SCALAR));
}

wf_var *lattice_reduced_spelled(wf_tape *t, wf_var *loss, wf_reduction how, const double *factor)
{
    if (how == WF_REDUCE_NONE) return loss;
    wf_tensor to;
    wf_var *by = wf_constant_fill(t, wf_dtype_of(loss), wf_shape_of(loss), &to);
    for (int64_t b = 0; by && b < wf_count(by); b++)
        wf_dtype_describe(to.dtype)->store(to.data, b, factor[b]);
    return wf_sum(t, wf_mul(t, loss, by), NULL);
}
