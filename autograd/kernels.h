/* The kernels that are compiled once per dispatch level, as tables of functions, and what the
 * files of the op families share. Not installed; only the op files of autograd/ include it. */
#ifndef WEFT_AUTOGRAD_KERNELS_H
#define WEFT_AUTOGRAD_KERNELS_H

#include "autograd/ops.h"
#include "tensor/isa.h"

enum { DROPOUT_WORD = 32 };

static inline bool kept_bit(const uint32_t *kept, int64_t i)
{
    return kept[i / DROPOUT_WORD] >> (i % DROPOUT_WORD) & 1;
}

/* The terms that additive attention sums: of the score v tanh(keys + query), of its derivative to
 * keys or query, and to v, of n units at some places, or where one place has a unit in each of n
 * sums, of n of those. Strides in elements; g is the cotangent. Where mask (NULL: nowhere) is 0
 * nothing is read. Terms that lie side by side meet by four in the dtype itself before they join a
 * sum. */
typedef enum additive_term { ADDITIVE_SCORE, ADDITIVE_SLOPE, ADDITIVE_TANH } additive_term;
typedef struct additive_row {
    int64_t n, keys_step, query_step, v_step, g_step, mask_step;
    int64_t places, keys_place, query_place, v_place, g_place, mask_place;
    const void *keys, *query, *v, *g;
    const int32_t *mask;
    double *high, *low; /* sums of tensor/sum.h */
} additive_row;

/* n elements of batch_norm, `step`s apart: of one channel, whose numbers have a step of 0, or side
 * by side of n channels. mean and factor are doubles with one step; where mask (NULL: nowhere) is 0
 * nothing counts. x and g NULL: not given. */
typedef enum batch_term { BATCH_COUNT, BATCH_SUM, BATCH_SQUARE, BATCH_SLOPE } batch_term;
typedef struct batch_row {
    int64_t n, x_step, g_step, mask_step, channel, out_step;
    const void *x, *g;
    const int32_t *mask;
    const double *mean, *factor;
} batch_row;

/* Kernels of one dtype, on n elements with strides in elements. */
typedef struct op_kernels {
    /* Adds (scale * from[i]) squared to sums of tensor/sum.h, ts apart: 0 for one sum, or 1. */
    void (*squares)(int64_t n, double *high, double *low, int64_t ts, const void *from, int64_t fs,
                    double scale);
    /* gx[i] += x[i] / y[i] * g[i], or 0 where y[i] is 0. */
    void (*norm_back)(int64_t n, const void *x, int64_t xs, const void *y, int64_t ys,
                      const void *g, int64_t gs, void *gx, int64_t gxs);
    /* to[i] becomes the larger of to[i] and from[i]; NaN is larger than everything. */
    void (*max)(int64_t n, void *to, int64_t ts, const void *from, int64_t fs);
    /* One row of n >= 1 elements: y = softmax x or its logarithm; gx += the derivative. */
    void (*softmax)(int64_t n, const void *x, int64_t xs, void *y, int64_t ys, bool logarithm);
    void (*softmax_back)(int64_t n, const void *y, int64_t ys, const void *g, int64_t gs, void *gx,
                         int64_t gxs, bool logarithm);
    /* exp(x[i] - max), all <= 1, into y side by side; y NULL: their sum is returned instead. */
    double (*exponentials)(int64_t n, const void *x, int64_t xs, double max, double *y);
    /* The same of those elements alone where the mask is not 0; others get 0. */
    void (*masked_softmax)(int64_t n, const void *x, int64_t xs, const int32_t *mask, int64_t ms,
                           void *y, int64_t ys);
    void (*masked_softmax_back)(int64_t n, const int32_t *mask, int64_t ms, const void *y,
                                int64_t ys, const void *g, int64_t gs, void *gx, int64_t gxs);
    /* One row of n >= 1 elements: y = (x - mean) * factor * scale + shift, with the mean and the
     * factor 1 / sqrt(variance + eps) of the row left in *mean and *factor; NULL: no scale, no
     * shift, with a stride of 0. gx += the derivative. */
    void (*layer_norm)(int64_t n, const void *x, int64_t xs, const void *scale, int64_t as,
                       const void *shift, int64_t bs, void *y, int64_t ys, double eps, double *mean,
                       double *factor);
    void (*layer_norm_back)(int64_t n, const void *x, int64_t xs, const void *scale, int64_t as,
                            const void *g, int64_t gs, double mean, double factor, void *gx,
                            int64_t gxs);
    /* Adds g (x - mean) * factor (doubles, ms apart) to n sums of tensor/sum.h, or all to one. */
    void (*layer_norm_scale)(int64_t n, const void *x, int64_t xs, const void *g, int64_t gs,
                             const void *mean, int64_t ms, const void *factor, double *high,
                             double *low, bool each);
    /* Adds 1, x, (x - mean)^2 or g (x - mean) * factor (g NULL: 1) to n sums of tensor/sum.h, or
     * all to one. */
    void (*batch_terms)(const batch_row *r, batch_term what, double *high, double *low, bool each);
    /* y = (x - mean) * factor * scale + shift; NULL: no scale, no shift. */
    void (*batch_norm)(const batch_row *r, const void *scale, int64_t as, const void *shift,
                       int64_t bs, void *y);
    /* gx += a g + b + c (x - mean), the three by channel. */
    void (*batch_norm_back)(const batch_row *r, const double *a, const double *b, const double *c,
                            void *gx);
    /* One row's cross entropy with target id, returned. normal[0] becomes the largest of z,
     * normal[1] the logarithm of the sum of exp(z - it): two numbers, because their sum would
     * lose what the smaller one says. */
    double (*entropy)(int64_t n, const void *z, int64_t zs, int64_t id, double smoothing,
                      void *normal);
    /* gz += scale times its derivative. */
    void (*entropy_back)(int64_t n, const void *z, int64_t zs, int64_t id, double smoothing,
                         const void *normal, double scale, void *gz, int64_t gs);
    /* One row of n >= 1 numbers side by side, to which `bias` (NULL: none) is still to be added:
     * the cross entropy is returned, and in the place of the logits comes scale times its
     * derivative. */
    double (*entropy_turn)(int64_t n, void *z, const void *bias, int64_t id, double smoothing,
                           double scale);
    /* Adds the terms of all places to n sums, or to one. */
    void (*additive)(const additive_row *r, additive_term what, bool each);
    /* Adds (a - b) squared to a sum of tensor/sum.h; ga += scale * (a - b). */
    void (*mse)(int64_t n, const void *a, int64_t as, const void *b, int64_t bs, double *high,
                double *low);
    void (*mse_back)(int64_t n, const void *a, int64_t as, const void *b, int64_t bs, double scale,
                     void *ga, int64_t gs);
    /* Elements first .. first + n - 1 of a row (first is a multiple of 64; x, y and kept begin
     * there) whose counter is its own: y[i] becomes x[i] / (1 - p) or 0, and bit i of kept, 32
     * to a word, says which. x may be y. gx[i] += g[i] / (1 - p) or 0, as bit first + i * step
     * says. */
    void (*dropout)(int64_t first, int64_t n, const void *x, void *y, uint32_t *kept, double p,
                    uint64_t key, uint64_t counter);
    void (*dropout_back)(int64_t n, const uint32_t *kept, int64_t first, int64_t step,
                         const void *g, int64_t gs, void *gx, int64_t gxs, double p);
} op_kernels;

typedef const op_kernels *op_tables[WF_DTYPES]; /* by dtype; NULL where it is none of floats */
extern const op_tables WF_ISA_EACH(op_kernels);

/* Those of the dispatch level, for F32 or F64. */
const op_kernels *op_kernels_of(wf_dtype dtype);

#endif
