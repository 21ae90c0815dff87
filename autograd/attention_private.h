/* What the files of the fused attention share: its attributes, and its kernels on a tile of scores.
 * Not installed. */
#ifndef WEFT_AUTOGRAD_ATTENTION_PRIVATE_H
#define WEFT_AUTOGRAD_ATTENTION_PRIVATE_H

#include "autograd/ops.h"
#include "tensor/isa.h"

/* scale 0: 1 / sqrt(D). dropout 0: nothing is drawn. */
typedef struct attention {
    double scale, dropout;
    int32_t causal, reserved;
} attention;

/* The inputs, and the outputs: out[STATE] (..., T, 2), F64, holds of each row what its weights are
 * made of: exp(score - state[0]) * state[1]. */
enum { QUERY, KEY, VALUE, SHOWN, INPUTS };
enum { ATTENDED, STATE, OUTPUTS };

double attention_scale(const attention *a, int64_t width);
/* The mask, repeated to (..., T, S) by strides of 0; without data where there is none. */
wf_tensor attention_mask(const wf_call *c);
/* Bytes to work with; -1: too many. And the two kernels of the row. */
int64_t attention_scratch(const wf_shaping *s, bool back);
void attention_forward(const wf_call *c);
void attention_backward(const wf_call *c);

/* Scores of some queries with some keys: `rows` rows of n, `row` elements apart. */
typedef struct score_tile {
    int64_t rows, n, row;
    const int32_t *seen; /* 0: hidden; `seen_row` from row to row; NULL: all are seen */
    int64_t seen_row;
    const int32_t *kept; /* 0: dropped; `row` from row to row; NULL: all are kept */
    double kept_by;      /* what kept weights are multiplied by */
} score_tile;

/* Kernels of one dtype. base, sum, inverse and inner hold a number for each row of the tile. */
typedef struct attention_kernels {
    /* One step of the online softmax: the scores s become exp(s - base), 0 where hidden, base being
     * the largest so far, which sum and base then tell of, and the rows of x (of `width` elements,
     * side by side), which were weighted with the base of before, follow. */
    void (*soften)(const score_tile *t, void *s, double *base, double *sum, int64_t width, void *x);
    /* Dropped weights become 0, the others larger; used[r] becomes 1 where there is such. */
    void (*drop)(const score_tile *t, void *s, int32_t *used);
    /* y (y_row from row to row) = x / sum, and base and sum become a row of the state. A row that
     * saw nothing is zero, and so is one (of used, unless NULL) that dropped all it saw, whatever
     * the sum is. */
    void (*finish)(int64_t rows, int64_t width, const void *x, const double *base,
                   const double *sum, const int32_t *used, void *y, int64_t y_row, double *state);
    /* The way back: scores s become the weights that values were multiplied by, and d, the
     * derivatives to these, becomes the derivatives to the scores. inner: of each row the sum of
     * weights times derivatives. */
    void (*turn)(const score_tile *t, void *s, void *d, const double *state, const double *inner);
    /* That sum over a tile of one row, added term by term. */
    double (*inner)(const score_tile *t, const void *s, const void *d, const double *state);
    /* sums[r] = the sum of x * y along row r. */
    void (*dot)(int64_t rows, int64_t n, const void *x, int64_t x_row, const void *y, int64_t y_row,
                double *sums);
    /* to (to_row apart, side by side) = by * x, any strides; and the other way: to += by * x. */
    void (*load)(int64_t rows, int64_t n, double by, const void *x, int64_t x_row, int64_t x_col,
                 void *to, int64_t to_row);
    void (*store)(int64_t rows, int64_t n, double by, const void *x, int64_t x_row, void *to,
                  int64_t to_row, int64_t to_col);
    /* c (m, n), side by side, += a (m, k) times b (k, n), but for products with what is hidden,
     * which may be anything. */
    void (*add_seen)(int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row, int64_t a_col,
                     const int32_t *seen, int64_t seen_row, int64_t seen_col, const void *b,
                     int64_t b_row, int64_t b_col, void *c, int64_t c_row);
} attention_kernels;

/* Kernels that know no dtype. */
typedef struct attention_table {
    const attention_kernels *of[WF_DTYPES];
    /* seen[r * row + j] = mask is not 0 (NULL: anywhere) and j <= last + r. Bit 0 of what is
     * returned: something is seen; bit 1: something is hidden. */
    int (*see)(int64_t rows, int64_t n, const int32_t *mask, int64_t mask_row, int64_t mask_col,
               int64_t last, int32_t *seen, int64_t row);
    /* kept[j] = what dropout keeps of elements first .. first + n - 1, in the places and by the
     * numbers of op_dropout. */
    void (*draw)(int64_t first, int64_t n, double p, uint64_t key, uint64_t counter, int32_t *kept);
} attention_table;

extern const attention_table WF_ISA_EACH(attention_kernels);

#endif
