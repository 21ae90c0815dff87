/* Clipping: all gradients by their joint norm, summed in double over fixed blocks in a fixed
 * order, or each by its value. */
#include "optim/private.h"

#include <math.h>

static void sum_block(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block, void *context)
{
    (void)context;
    o->sum[block] = optim_kernels()->squares(s->dtype, n,
                                             s->grad + start * wf_dtype_size(s->dtype));
}

static void scale_block(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block,
                        void *context)
{
    (void)o;
    (void)block;
    optim_kernels()->scale(s->dtype, n, s->grad + start * wf_dtype_size(s->dtype),
                           *(const double *)context);
}

static void limit_block(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block,
                        void *context)
{
    (void)o;
    (void)block;
    optim_kernels()->limit(s->dtype, n, s->grad + start * wf_dtype_size(s->dtype),
                           *(const double *)context);
}

/* Logs a norm that is not finite, with the first parameter that is to blame, and clears all
 * gradients. */
static void refuse(wf_optim *o, double norm)
{
    const char *where = NULL;
    for (int64_t i = 0; i < o->slots && !where; i++) {
        const slot *s = &o->slot[i];
        int64_t end = s->first + (s->count + OPTIM_BLOCK - 1) / OPTIM_BLOCK;
        for (int64_t b = s->first; b < end && s->grad && !where; b++) {
            if (!isfinite(o->sum[b])) where = wf_param_path(s->param);
        }
    }
    if (!o->complained) {
        optim_complain("clip: the gradients' norm is %s%s%s; the step after it changes nothing",
                       isnan(norm) ? "nan" : "inf", where ? ", first in " : "", where ? where : "");
    }
    o->complained = true;
    for (int64_t i = 0; i < o->slots; i++) wf_param_clear_grad(o->slot[i].param);
}

/* Is the limit one? Says so once otherwise. */
static bool limits(wf_optim *o, double most)
{
    if (most >= 0) return true;
    if (!o->complained_most)
        optim_complain("clip: the limit is %g; it must be 0 or more, and nothing was clipped",
                       most);
    o->complained_most = true;
    return false;
}

double wf_optim_clip_norm(wf_optim *o, double most)
{
    if (!o) return (double)NAN;
    if (optim_gather(o) == 0) return 0;
    optim_for_blocks(o, sum_block, NULL);
    double sum = 0;
    for (int64_t i = 0; i < o->slots; i++) {
        const slot *s = &o->slot[i];
        int64_t end = s->first + (s->count + OPTIM_BLOCK - 1) / OPTIM_BLOCK;
        for (int64_t b = s->first; b < end && s->grad; b++) sum += o->sum[b];
    }
    double norm = sqrt(sum);
    if (!isfinite(norm)) {
        refuse(o, norm);
        return norm;
    }
    o->complained = false;
    double by = most / (norm + 1e-6);
    if (limits(o, most) && by < 1) optim_for_blocks(o, scale_block, &by);
    return norm;
}

void wf_optim_clip_value(wf_optim *o, double most)
{
    if (!o || !limits(o, most) || optim_gather(o) == 0) return;
    optim_for_blocks(o, limit_block, &most);
}
