/* What the files of generation know of each other: generate.c (steps), search.c (who goes on),
 * hypotheses.c (what has been said) and choose.c (tokens out of a row of logits). Not installed. */
#ifndef WEFT_LAYERS_GENERATE_PRIVATE_H
#define WEFT_LAYERS_GENERATE_PRIVATE_H

#include "layers/generate.h"
#include "tensor/isa.h"

/* ---- memory that is kept and grows ---- */

typedef struct grown {
    void *at;
    int64_t bytes;
} grown;
/* At least n items of `size` bytes, what is there being kept; grows by doubling. False where there
 * is no memory. */
bool grow(grown *g, int64_t n, int64_t size);
/* wf_generation is below; NULL is fine. */
void generation_free(struct wf_generation *w);

/* ---- tokens out of logits (choose.c) ---- */

typedef struct choice {
    double value; /* log P of it; while it is chosen, a logit or a weight */
    int32_t id;
} choice;

/* What is chosen from a row, and how; the same for all rows of a step. */
typedef struct choosing {
    int64_t most;              /* the likeliest so many, or so many draws */
    double temperature, top_p; /* temperature 0: the likeliest; top_p 0: of all */
    int64_t top_k;             /* 0: of all */
} choosing;

typedef enum row_is { ROW_SOUND = 0, ROW_NAN, ROW_INFINITE } row_is;

/* One row of logits, dense. The log-softmax of row[id] is row[id] - largest - log_sum. */
typedef struct logit_row {
    wf_dtype dtype;
    int64_t n;
    const void *at;
    double largest, log_sum; /* of all, as judged; -inf where all are */
} logit_row;
/* Passes over a row: the largest; the sum of e^((x - largest) scale), NaN where an x is; and the
 * id at which that sum goes beyond target, or the last that counts for anything. */
typedef struct choose_table {
    double (*largest)(int64_t n, const void *logits);
    double (*mass)(int64_t n, const void *logits, double largest, double scale);
    int32_t (*passing)(int64_t n, const void *logits, double largest, double scale, double target);
} choose_table;
typedef struct choose_level {
    choose_table of[2]; /* by dtype */
} choose_level;
extern const choose_level WF_ISA_EACH(choose_kernels);
row_is logits_judge(logit_row *x);
/* How many were chosen of `allowed`, a copy of x or x itself in which what is forbidden is -inf:
 * chosen[0 .. most - 1], the likeliest first (of equals the lowest id), or draw by draw with the
 * uniform numbers u. room: x->n choices, for draws. */
int64_t logits_choose(const logit_row *x, const void *allowed, const choosing *how,
                      const double u[], choice *room, choice *chosen);

/* ---- what has been said (hypotheses.c) ---- */

/* A token, and the one before it: -1, the first. */
typedef struct said {
    int64_t before;
    double log_prob;
    int32_t id;
} said;

/* A hypothesis that is finished. */
typedef struct finished {
    int64_t last, n; /* its last token, -1: none; how many */
    double log_prob, score;
    bool there, ended;
} finished;

/* A row of the step to come. */
typedef struct row {
    int64_t sequence, draw, parent; /* parent: its row in the step before */
    int64_t last;                   /* its last token, -1: none */
    int32_t word;
    double log_prob;
} row;

/* A sequence. */
typedef struct lane {
    int64_t limit, source; /* tokens at most; length of the source, -1: all of it */
    int64_t ended;         /* hypotheses so far */
    int32_t begin;
    bool told_off; /* by .told */
} lane;

/* All memory of generation: a wf_generated's own. Lists are of what their names say. */
typedef struct wf_generation {
    grown lanes, rows, next, finished, chosen, counts, scratch;
    grown said, weights;       /* side by side: weights has S numbers for each token */
    grown hypotheses, numbers; /* what is handed out */
    int64_t n_said;
} wf_generation;

/* One call. */
typedef struct generating {
    wf_tape *t;
    const wf_decoder *decoder;
    wf_generate_options o; /* beams and best are 1 or more, once judged */
    const char *name;
    wf_generation *w;
    int64_t batch, n, step;  /* sequences; rows of this step; tokens before it */
    int64_t classes, source; /* V and S; -1 before the first step */
    wf_dtype weight_dtype;
    uint64_t key;
    wf_generated *to;
} generating;

static inline lane *lane_at(const generating *g, int64_t b)
{
    return (lane *)g->w->lanes.at + b;
}
static inline row *row_at(const generating *g, int64_t i)
{
    return (row *)g->w->rows.at + i;
}

/* Says what is wrong, after the decoder's name. Returns false. */
bool generate_fail(const generating *g, const char *format, ...) WF_PRINTF(2, 3);
bool generate_grow(const generating *g, grown *list, int64_t n, int64_t size);
static inline bool wants_weights(const generating *g)
{
    return g->o.weights || g->o.coverage_beta > 0;
}

/* Adds a token of row `parent`; -1 after failing the tape. weights is NULL or (n, S). */
int64_t say(const generating *g, const row *parent, int64_t at, choice c, const wf_tensor *weights);
/* Puts what ends with token `last` among the best of its sequence. */
void finish(const generating *g, const row *r, int64_t last, int64_t n, double log_prob,
            bool ended);
/* Could a row that goes on with log_prob still come among the best of its sequence? */
bool may_come(const generating *g, int64_t sequence, double log_prob);
/* Forbids each id that would say an n-gram for a second time. */
void forbid_repeated(const generating *g, int64_t last, wf_dtype dtype, void *logits);
/* Makes what is handed out of what is finished. */
bool hand_out(const generating *g);

/* ---- who goes on (search.c) ---- */

/* Chooses from logits (n, V), and puts what is done among what is finished; the rows that go on
 * are then in w->next, and *n says how many. False after failing the tape. */
bool search_step(generating *g, const wf_tensor *logits, const wf_tensor *weights, int64_t *n);

#endif
