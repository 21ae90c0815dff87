/* Clipping: all gradients by their joint norm, summed in double over fixed blocks in a fixed
 * order, or each by its value. */
#include "optim/private.h"
#include "tensor/par.h"

#include <math.h>

static void sum_block(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block, void *context)
{
    (void)context;
    o->sum[block] = optim_kernels(s->dtype)->squares(n, wf_element(s->dtype, s->grad, start));
}

static void scale_block(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block,
                        void *context)
{
    (void)o;
    (void)block;
    optim_kernels(s->dtype)->scale(n, wf_element(s->dtype, s->grad, start),
                                   *(const double *)context);
}

static void limit_block(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block,
                        void *context)
{
    (void)o;
    (void)block;
    optim_kernels(s->dtype)->limit(n, wf_element(s->dtype, s->grad, start),
                                   *(const double *)context);
}

static void largest_block(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block,
                          void *context)
{
    (void)context;
    o->sum[block] = optim_kernels(s->dtype)->largest(n, wf_element(s->dtype, s->grad, start));
}

static void sum_scaled_block(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block,
                             void *context)
{
    o->sum[block] = optim_kernels(s->dtype)->squares_scaled(n, wf_element(s->dtype, s->grad, start),
                                                            *(const double *)context);
}

/* Blocks are added in their order; NaN and the largest of them if `most`. */
static double over_blocks(const wf_optim *o, bool most)
{
    double all = 0;
    for (int64_t i = 0; i < o->slots; i++) {
        const slot *s = &o->slot[i];
        int64_t end = s->first + (s->count + OPTIM_BLOCK - 1) / OPTIM_BLOCK;
        for (int64_t b = s->first; b < end && s->grad; b++) {
            double x = o->sum[b];
            if (!most)
                all += x;
            else if (!(x <= all) && !isnan(all))
                all = x;
        }
    }
    return all;
}

/* The joint norm. Where the squares overflowed or came near nothing (either is rare), they are
 * summed anew, of numbers divided by a power of two near the largest. */
static double norm_of(wf_optim *o)
{
    optim_for_blocks(o, sum_block, NULL);
    double sum = over_blocks(o, false);
    if (sum > 0x1p-900 && sum < (double)INFINITY) return sqrt(sum);
    if (isnan(sum)) return sum;
    optim_for_blocks(o, largest_block, NULL);
    double largest = over_blocks(o, true);
    if (largest == 0 || !isfinite(largest)) return largest;
    int exponent;
    frexp(largest, &exponent);
    double down = ldexp(1, exponent > 1000 ? -1000 : exponent < -1000 ? 1000 : -exponent);
    optim_for_blocks(o, sum_scaled_block, &down);
    return sqrt(over_blocks(o, false)) / down;
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
    wf_optim_clear(o);
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

/* No gradient is above their norm: where the rule can take that, the step need not look. */
static void note_good(wf_optim *o, double norm)
{
    for (int64_t i = 0; i < o->slots; i++) {
        slot *s = &o->slot[i];
        if (s->grad && norm <= 0.5 * optim_largest(o, s->dtype))
            s->found_good = wf_param_grad_version(s->param);
    }
}

/* Multiplies all gradients by most / (norm + 1e-6) if that is below 1, and returns what their
 * norm is then. The factor of a huge norm may be no normal number: it is applied in two. */
static double scale_to(wf_optim *o, double most, double norm)
{
    if (most / (norm + 1e-6) >= 1) return norm;
    double first = 1;
    if (norm > 0x1p90) {
        int exponent;
        frexp(norm, &exponent);
        first = ldexp(1, -exponent / 2);
        optim_for_blocks(o, scale_block, &first);
    }
    double by = most / (norm * first + 1e-6 * first);
    optim_for_blocks(o, scale_block, &by);
    return most;
}

double wf_optim_clip_norm(wf_optim *o, double most)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!o) return (double)NAN;
    if (optim_gather(o) == 0) return 0;
    double norm = norm_of(o);
    if (!isfinite(norm)) {
        refuse(o, norm);
    } else {
        o->complained = false;
        note_good(o, limits(o, most) ? scale_to(o, most, norm) : norm);
    }
    return norm;
}

void wf_optim_clip_value(wf_optim *o, double most)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!o || !limits(o, most) || optim_gather(o) == 0) return;
    optim_for_blocks(o, limit_block, &most);
}
