/* What the files of optim/ know of each other: how an optimiser is laid out and cut into blocks.
 * Not installed. */
#ifndef WEFT_OPTIM_PRIVATE_H
#define WEFT_OPTIM_PRIVATE_H

#include "optim/kernels.h"
#include "optim/optim.h"

/* Work is shared out in blocks of one parameter each, and sums are kept per block: their places
 * are what makes results the same for any number of threads. A part given to a thread holds about
 * OPTIM_GRAIN numbers at least: a tiny net is done sooner than a thread is woken. */
enum { OPTIM_BLOCK = 4096, OPTIM_GRAIN = 4 * OPTIM_BLOCK };

typedef struct slot {
    wf_var *param;
    const char *path;                              /* as seen from the optimiser's module */
    int64_t count;                                 /* numbers in it */
    int64_t steps;                                 /* updates so far */
    uint64_t found_good;                           /* version of the gradient that clipping saw */
    wf_dtype dtype;
    int group;
    char *value, *grad;                            /* during a pass; grad NULL: it has none */
    wf_grad_rows rows;                             /* what is known of the gradient */
    int64_t width;                                 /* numbers in a row */
    wf_tensor state[WF_OPTIM_STATES];
} slot;

/* A block that a pass visits: up to OPTIM_BLOCK numbers of a parameter from `start` on. */
typedef struct block {
    slot *slot;
    int64_t start;
    int64_t row;                                   /* the first in the list within; -1: all */
    double sum;
} block;

/* Parameters with options of their own. */
typedef struct group {
    char *pattern;                                 /* NULL: group 0, the rest */
    double lr;
    void *options;
} group;

struct wf_optim {
    wf_optim_rule rule;
    wf_module *module;
    group *group;
    int groups, room;                              /* there are; there is memory for */
    void *memory;                                  /* all state buffers */
    void *candidate;                               /* options that are being looked at */
    int64_t steps;
    int64_t slots, blocks, numbers;                /* blocks: that the pass visits, of so many */
    int64_t grain;                                 /* stretches of rows end at multiples of it */
    bool whole;                                    /* the pass visits all of every gradient */
    slot *slot;
    block *block;                                  /* room for all there are */
    bool complained;                               /* of a norm that is not finite */
    bool complained_most;                          /* of a limit that is none */
    bool complained_grad;                          /* of a gradient that is not finite */
};

/* Looks up values and gradients for passes; how many parameters have a gradient. Of those that
 * are known by rows only these are visited: the blocks and lanes that their numbers are summed in
 * are those of the whole. */
int64_t optim_gather(wf_optim *o);

/* Runs one of the loops of optim/kernels.h over every stretch of numbers to visit, by several
 * threads. A block's sum becomes that of its lanes. */
void optim_for_blocks(wf_optim *o, int loop, double by);

/* The largest gradient that the rule can take in a parameter of this dtype. */
double optim_largest(const wf_optim *o, wf_dtype dtype);

/* Is a learning rate one? Are all options in range, and do they fit each other? */
bool optim_is_rate(double lr);
bool optim_options_check(const wf_optim_rule *rule, const void *options, wf_error *error);
/* The value of an option within options, by its name (NaN if there is none), and setting it. */
double optim_option_get(const wf_optim_option *option, const void *options);
double optim_option_named(const wf_optim_rule *rule, const void *options, const char *name);
void optim_option_set(const wf_optim_option *option, void *options, double value);

/* Adds a group that no parameter is in yet, with options as given; NULL when there is no
 * memory. */
group *optim_group_add(wf_optim *o, const char *pattern, double lr, const void *options);
/* Gives back the last group. */
void optim_group_drop(wf_optim *o);

/* Logs a sentence about a mistake that does not stop anything. */
void optim_complain(const char *format, ...) WF_PRINTF(1, 2);

#endif
