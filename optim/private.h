/* What the files of optim/ know of each other: how an optimiser is laid out and cut into blocks.
 * Not installed. */
#ifndef WEFT_OPTIM_PRIVATE_H
#define WEFT_OPTIM_PRIVATE_H

#include "optim/kernels.h"
#include "optim/optim.h"

/* Work is shared out in blocks of one parameter each, and sums are kept per block: their places
 * are what makes results the same for any number of threads. A part given to a thread is at
 * least OPTIM_GRAIN of them. */
enum { OPTIM_BLOCK = 4096, OPTIM_GRAIN = 4 };

typedef struct slot {
    wf_var *param;
    int64_t count, first;                          /* numbers in it; its first block */
    int64_t steps;                                 /* updates so far */
    wf_dtype dtype;
    char *value, *grad;                            /* during a pass; grad NULL: it has none */
    wf_tensor state[4];
} slot;

struct wf_optim {
    wf_optim_rule rule;
    void *options, *memory;                        /* a copy; all state buffers */
    double lr;
    int64_t steps;
    int64_t slots, blocks;
    slot *slot;
    double *sum;                                   /* one per block */
    bool complained;                               /* of a norm that is not finite */
    bool complained_most;                          /* of a limit that is none */
};

/* Calls fn for every block of every parameter that has a gradient: numbers start .. start + n -
 * 1 of s; block counts over all. */
typedef void optim_block_fn(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block,
                            void *context);
void optim_for_blocks(wf_optim *o, optim_block_fn *fn, void *context);

/* Looks up values and gradients for a pass; how many parameters have a gradient. */
int64_t optim_gather(wf_optim *o);

/* Logs a sentence about a mistake that does not stop anything. */
void optim_complain(const char *format, ...) WF_PRINTF(1, 2);

#endif
