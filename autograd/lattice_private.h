/* What the losses over paths share, CTC and the linear-chain CRF: kernels on the rows of a lattice,
 * sequences shared out among threads, and how their losses become one. Not installed. */
#ifndef WEFT_AUTOGRAD_LATTICE_PRIVATE_H
#define WEFT_AUTOGRAD_LATTICE_PRIVATE_H

#include "autograd/ops_private.h"
#include "tensor/isa.h"

/* Kernels, compiled once per dispatch level. What runs along a lattice are logarithms of
 * probabilities, in double whatever the dtype: their sums over thousands of steps are large, and
 * what counts are small differences between them. -inf is a path that there is not. */
typedef struct lattice_kernels {
    /* One step of CTC: plain[i] becomes the logarithm of the sum of what comes from states i, i - 1
     * and, where skip[i] is 0 and not -inf, i - 2, with[i] the same plus own[i]. No NaN. */
    void (*merge)(int64_t n, const double *from, const double *skip, const double *own,
                  double *plain, double *with);
    /* One step of a chain: what comes from every state i to j over w[i * n + j]. */
    void (*reach)(int64_t n, const double *from, const double *w, const double *own, double *plain,
                  double *with);
    /* to[i] = exp(a[i] + b[i * step] - all); sum[i * n + j] += exp(a[i] + w[i * n + j] + b[j] -
     * all). */
    void (*meet)(int64_t n, const double *a, const double *b, int64_t step, double all, double *to);
    void (*meet_pairs)(int64_t n, const double *a, const double *w, const double *b, double all,
                       double *sum);
    /* Of the dtype's numbers: to[i] = from[at[i]]; y[i] = exp(y[i]) - share[i]. */
    void (*pick)(int64_t n, const void *from, const int32_t *at, double *to);
    void (*turn)(int64_t n, void *y, const double *share);
} lattice_kernels;

typedef const lattice_kernels *lattice_tables[WF_DTYPES]; /* by dtype; NULL where not of floats */
extern const lattice_tables WF_ISA_EACH(lattice_kernels);

static inline const lattice_kernels *lattice_kernels_of(wf_dtype dtype)
{
    static const lattice_kernels *const *const each[] = { WF_ISA_EACH(lattice_kernels) };
    return each[wf_isa_level()][dtype];
}

/* ---- lengths ---- */

/* Are they I32 (batch), or none? `name` is theirs in messages. */
bool lattice_takes_lengths(const wf_shaping *s, int input, const char *name, int64_t batch);
/* Is each from 0 to most? */
bool lattice_lengths_sound(const wf_tensor *lengths, const char *name, int64_t most,
                           wf_error *error);

/* A sequence's length: most where there are none. */
static inline int64_t lattice_length(const wf_tensor *lengths, int64_t b, int64_t most)
{
    return lengths ? ((const int32_t *)lengths->data)[b * lengths->stride[0]] : most;
}

/* An id of x (n, batch). */
static inline int32_t lattice_id(const wf_tensor *x, int64_t i, int64_t b)
{
    return ((const int32_t *)x->data)[i * x->stride[0] + b * x->stride[1]];
}

/* ---- sequences ---- */

/* A piece of `count` numbers of 8 bytes from *at on, which becomes -1 when that is too much; NULL
 * where base is. */
void *lattice_piece(char *base, int64_t *at, int64_t count);

/* In how many parts `batch` sequences of `work` numbers each are shared out: of part k are the
 * sequences k, k + parts, k + 2 parts, ..., so that those put in order of their lengths are shared
 * evenly. */
int64_t lattice_parts(int threads, int64_t batch, int64_t work);

/* The losses of a batch become what the reduction says: each times factor(b), summed. */
void lattice_store(wf_reduction how, int64_t batch, const double *loss, const double *factor,
                   const wf_tensor *y);
/* What the derivative of sequence b's loss is multiplied by. */
double lattice_scale(wf_reduction how, const wf_tensor *g, int64_t b, double factor);

/* One sequence of x (T, B, n), of `length` steps: (length, n). */
wf_tensor lattice_sequence(const wf_tensor *x, int64_t b, int64_t length);

/* In ops, for references: log(sum(exp(x))) along axis 0; where all is -inf, -inf and a derivative
 * of 0. */
wf_var *lattice_sum_spelled(wf_tape *t, wf_var *x);
/* x at a sequence's steps, and 0 past its end, whatever lies there: x (T, B, n). */
wf_var *lattice_cut_spelled(wf_tape *t, wf_var *x, wf_var *lengths);
/* Losses (B) as the reduction says. */
wf_var *lattice_reduced_spelled(wf_tape *t, wf_var *loss, wf_reduction how, const double *factor);

#endif
