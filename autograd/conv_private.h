/* How convolutions and pooling run: their sizes, always with two axes of positions, how the work
 * is cut into blocks that stay in a cache, and the loops that are compiled once per dispatch level.
 * Not installed. */
#ifndef WEFT_AUTOGRAD_CONV_PRIVATE_H
#define WEFT_AUTOGRAD_CONV_PRIVATE_H

#include "autograd/ops_private.h"
#include "tensor/isa.h"

/* Attributes of a convolution; of one axis of positions, the second entries count. */
typedef struct conv_attr {
    int64_t stride[2], padding[2], dilation[2], groups, same, axes;
} conv_attr;

/* Sizes: x (samples, groups * inputs, in), w (groups * outputs, inputs, kernel), y (samples,
 * groups * outputs, out). A tap is an element of the kernel for one of the inputs: there are
 * inputs * kernel[0] * kernel[1], in w's order. */
typedef struct conv {
    wf_dtype dtype;
    int threads;
    int64_t samples, groups, inputs, outputs;
    int64_t in[2], out[2], kernel[2], stride[2], before[2], dilation[2];
} conv;

/* The band is a piece of x as a block of positions needs it: some inputs, each with some rows,
 * zeros where there is padding. Where the stride along a row is s, its columns 0, s, 2 s, .. lie
 * side by side, then 1, s + 1, ..: s phases of `quarter` elements. So what one tap has for a row
 * of positions is always a run of neighbours. */
typedef struct conv_band {
    int64_t channels, rows, columns, phases, quarter;
    int64_t channel;                    /* elements from one channel to the next */
    int64_t x_channel, x_row, x_column; /* strides of x, in elements */
    int64_t first_row, first_column;    /* of the band, in x; negative in the padding */
    int64_t in_rows, in_columns;        /* of x */
} conv_band;

/* n neighbours, `from` elements into the band after a tap's own offset, `to` into its row. */
typedef struct conv_run {
    int64_t from, to, n;
} conv_run;

/* What of a run fits a vector of the dispatch level: n neighbours, as above. */
typedef struct conv_lanes {
    int64_t from;
    int32_t to, n;
} conv_lanes;

/* What a block of positions and a chunk of taps is to a product: its rows are the taps, row l at
 * band + offset[l], its columns the positions, vector by vector. */
typedef struct conv_taps {
    int64_t outputs, taps, vectors;
    const int64_t *offset;
    const conv_lanes *vector;
} conv_taps;

/* What a kernel may read and write beyond a run's end. */
enum { CONV_SLACK = 64 };

/* A row of pooled positions: position i looks at columns i * step .. i * step + kernel - 1 of x,
 * less `before`, of rows first_row .. last_row - 1. */
typedef struct pool_row {
    int64_t n, step, before, kernel, columns;
    int64_t first_row, last_row, x_row, x_column;
} pool_row;

/* Loops of one dtype. Elements of bands and of what is made of them are counted in elements. */
typedef struct conv_kernels {
    void (*fill)(const conv_band *b, const void *x, void *band);
    /* x += what lies in the band; what lies in the padding goes. */
    void (*add)(const conv_band *b, const void *band, void *x);
    /* Row l of `to`, `width` apart, gets the runs at offset[l]; what is behind a run's end in `to`
     * may be anything afterwards. And the other way: runs of the band get rows added. */
    void (*gather)(int64_t taps, const int64_t *offset, const void *band, int64_t runs,
                   const conv_run *run, void *to, int64_t width);
    void (*scatter)(int64_t taps, const int64_t *offset, void *band, int64_t runs,
                    const conv_run *run, const void *from, int64_t width);
    /* The largest, and where in the plane; NaN is larger than everything, the first of several
     * counts. */
    void (*pool_max)(const pool_row *r, const void *x, void *y, int32_t *place);
    /* sum[i] += the window's elements; x += g[i] in the whole window. */
    void (*pool_sum)(const pool_row *r, const void *x, double *sum);
    void (*pool_spread)(const pool_row *r, const void *g, void *x);
} conv_kernels;

/* Products whose rows stay where they lie in the band, in chains of fused multiply-adds. */
typedef struct conv_products {
    int64_t lanes;
    /* y (outputs, positions) = (adds: +=) w times the band; chains begin with the bias, if there
     * is one. A row of w, and of y, is so many elements behind the one before. */
    void (*multiply)(const conv_taps *c, const void *w, int64_t w_row, const void *band,
                     const void *bias, int64_t bias_step, bool adds, void *y, int64_t y_row);
    /* p (outputs, taps) = (adds: +=) g (outputs, positions) times the band. */
    void (*weigh)(const conv_taps *c, const void *g, int64_t g_row, const void *band, bool adds,
                  void *p, int64_t p_row);
    /* band += w', turned around, times g. */
    void (*spread)(const conv_taps *c, const void *w, int64_t w_row, const void *g, int64_t g_row,
                   void *band);
} conv_products;

typedef const conv_products *conv_product_tables[WF_DTYPES];
extern const conv_product_tables WF_ISA_EACH(conv_products);
const conv_products *conv_products_of(wf_dtype dtype);

typedef const conv_kernels *conv_tables[WF_DTYPES];
extern const conv_tables WF_ISA_EACH(conv_kernels);
const conv_kernels *conv_kernels_of(wf_dtype dtype);

/* Bytes that the two directions work with (-1: too many), and the two directions. */
int64_t conv_forward_bytes(const conv *v);
int64_t conv_backward_bytes(const conv *v);
void conv_forward(const conv *v, const wf_call *c);
void conv_backward(const conv *v, const wf_call *c);

/* x (N, C, H, W) of an op with one axis of positions: (N, C, 1, W). */
static inline wf_tensor with_two_axes(const wf_tensor *x)
{
    return x->rank == 3 ? tensor_with_axis(*x, 2, 1, 0) : *x;
}

#endif
