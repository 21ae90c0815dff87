/* Clipping: all gradients by their joint norm, summed in double over fixed blocks in a fixed
 * order, or each by its value. */
#include "optim/private.h"
#include "tensor/par.h"

#include <math.h>

/* Blocks are added in their order. */
static double sum_of_squares(wf_optim *o, double by)
{
    double all = 0;
    optim_for_blocks(o, OPTIM_SQUARES, by);
    for (int64_t i = 0; i < o->blocks; i++) all += o->block[i].sum;
    return all;
}

/* The joint norm. Where the squares overflowed or came near nothing (either is rare), they are
 * summed anew, of numbers divided by a power of two near the largest. */
static double norm_of(wf_optim *o)
{
    double sum = sum_of_squares(o, 1), largest = 0;
    if (sum > 0x1p-900 && sum < (double)INFINITY) return sqrt(sum);
    if (isnan(sum)) return sum;
    optim_for_blocks(o, OPTIM_LARGEST, 0);
    for (int64_t i = 0; i < o->blocks && !isnan(largest); i++)
        if (!(o->block[i].sum <= largest)) largest = o->block[i].sum;
    if (largest == 0 || !isfinite(largest)) return largest;
    int exponent;
    frexp(largest, &exponent);
    double down = ldexp(1, exponent > 1000 ? -1000 : exponent < -1000 ? 1000 : -exponent);
    return sqrt(sum_of_squares(o, down)) / down;
}

/* Logs a norm that is not finite, with the first parameter that is to blame, and clears all
 * gradients. */
static void refuse(wf_optim *o, double norm)
{
    const char *where = NULL;
    for (const block *b = o->block; b < o->block + o->blocks && !where; b++)
        if (!isfinite(b->sum)) where = wf_param_path(b->slot->param);
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
        optim_for_blocks(o, OPTIM_SCALE, first);
    }
    double by = most / (norm * first + 1e-6 * first);
    optim_for_blocks(o, OPTIM_SCALE, by);
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
    optim_for_blocks(o, OPTIM_LIMIT, most);
}
