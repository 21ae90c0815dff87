/* What the cross entropies of ids share: their attributes, which positions count, and how the
 * losses of positions become one. Not installed. */
#ifndef WEFT_AUTOGRAD_LOSS_PRIVATE_H
#define WEFT_AUTOGRAD_LOSS_PRIVATE_H

#include "autograd/ops_private.h"

typedef struct entropy {
    double smoothing;
    int32_t ignore;
    int32_t reduction;
    int64_t has_ignore; /* no bool: without padding, as attributes are */
} entropy;

/* Of options that name no weight of classes (NULL: all zero). */
void entropy_set(entropy *e, const wf_cross_entropy_options *options);

/* Are the attributes sound, and the target ids? And has it one for each position of x (..., n)? */
bool entropy_sound(const wf_shaping *s, const entropy *e);
bool entropy_takes_ids(const wf_shaping *s, const wf_tensor *target);
bool entropy_fits(const wf_tensor *x, const wf_tensor *target);
/* Are the ids of the positions that count in range? */
bool entropy_ids_sound(const entropy *e, const wf_tensor *target, int64_t classes, wf_error *error);

static inline bool entropy_counts(const entropy *e, int32_t id)
{
    return !(e->has_ignore && id == e->ignore);
}

/* What the sum of all losses is divided by. */
double entropy_divisor(const entropy *e, const wf_tensor *target);
/* Stores the losses of n positions in y, or what they come to. */
void entropy_store(const entropy *e, int64_t n, const double *loss, double divisor,
                   const wf_tensor *y);

/* Of row-major numbers, as the kernels see them. */
static inline double number_at(const wf_tensor *x, int64_t at)
{
    return wf_dtype_describe(x->dtype)->load(x->data, at);
}

#endif
