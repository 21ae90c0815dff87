/* What one pass of a planned loop works with. Not installed. */
#ifndef WEFT_AUTOGRAD_PLAN_RUN_PRIVATE_H
#define WEFT_AUTOGRAD_PLAN_RUN_PRIVATE_H

#include "autograd/plan_private.h"

/* Columns of a buffer, where they are in this pass. */
typedef struct spot {
    char *base;   /* of row 0; NULL: nothing is there */
    int64_t row;  /* bytes from row to row */
    int32_t tile; /* number of a tile's buffer; -1: it is none */
    int16_t size, index;
} spot;

typedef struct line {
    order_kind kind;
    bool add;
    int32_t to;   /* the last of at[] */
    int32_t from; /* the value whose gradient it passes on; -1: it runs at any step */
    wf_tile_fn *fn;
    double number;
    int64_t width;
    char *sums;
    spot at[WF_AT];
} line;

typedef struct multiply {
    spot from, to;
    int64_t k, n, panels, weight_row;
    int32_t term;
    bool add;
    char *packed;
    wf_dtype dtype;
} multiply;

typedef struct run_stage {
    int32_t line, line_end, multiply, multiply_end;
    int64_t width, panel, panels; /* units that threads may share, by panels; panels 0: none */
    int64_t units, rows;          /* of a tile, where every line has its whole width */
    bool merged;                  /* its products make all units at once */
    const call *call;
    int32_t together; /* this stage and those that run after it are a block of rows at a time */
    int64_t groups;   /* of rows, in such a block */
} run_stage;

typedef struct run {
    const plan *p;
    const wf_call *c;
    int way; /* 0: forward, 1: back */
    const wf_seq_plan *rows;
    int64_t batch, first, last;  /* steps first..last - 1 of the loop are at hand, */
    int64_t row_from, row_count; /* which have these rows */
    char *memory[SPACES];
    run_stage *stage, ends; /* ends: zeros where a state's gradient is not made by a step */
    line *line;
    multiply *multiply;
    bool *alive;     /* by value: a gradient arrives in this pass */
    int32_t lives;   /* steps differ in that: alive[l * values..] in those of life l, 0: in any */
    uint8_t *life;   /* by step */
    bool *unwritten; /* what was to write it is left out: the next that adds does */
    char *packed, *tiles, *calls;
    int64_t tile_area;              /* elements of a tile's buffer */
    int64_t tile_bytes, call_bytes; /* of each thread */
    int threads;
    int32_t taken; /* of the memory of threads */
    int64_t flops;
    char *parts;              /* of each group, sums over a few steps: see run_part */
    double *high, *low;       /* (groups, sums): over all, see tensor/sum.h */
    spot carry[WF_SCAN_VARS]; /* gradients of states, of the step at hand; no base: none */
    char *gathered;           /* rows of a state, where they have gaps */
    void *product;            /* what wf_gemm_long works with */
    char *shared;             /* what calls over all steps work with */
    int64_t panels;
} run;

enum { BLOCK_BYTES = 256 << 10 }; /* of a block of rows, what stages that run together work on */
enum { TILE_AREA = 4096, TILE_ROWS = 16, BACK_ROWS = 8, SUM_STEPS = 8 };

/* Where group 0 adds up a column, in the dtype itself; each group has SUM_BYTES for a column. */
enum { SUM_BYTES = 12 };
char *run_part(const run *r, wf_dtype dtype, int64_t column);

/* Step k of the loop: which of time, how many rows, and where its rows begin. */
typedef struct step_rows {
    int64_t k, time, n;
    int64_t at[INDICES];
    const bool *alive; /* by value: a gradient arrives at it; NULL: as in any step */
} step_rows;
step_rows run_step(const run *r, int64_t k);
/* The step at hand whose rows come first. */
step_rows run_earliest(const run *r);

/* Lays out what a pass needs in `memory`, and returns the bytes; with NULL only that. */
int64_t run_layout(run *r, const plan *p, int threads, int way, char *memory);
void run_resolve(run *r, const wf_call *c);
spot run_spot(const run *r, place where);
/* How many rows a tile of so many columns has. */
int64_t run_tile_rows(const run *r, int64_t units);
/* Does a gradient arrive at a call in this pass, or at this step of it (NULL: at any)? */
bool run_call_alive(const run *r, const call *c, const step_rows *s);
/* Forward and back through a call for rows first..first + n - 1 of a step. */
void run_call(const run *r, const call *c, const step_rows *s, int64_t first, int64_t n,
              char *scratch);
/* The gradients of what all rows of a call share, over the steps at hand. */
void run_call_shared(const run *r, const call *c);
/* A constant as an op sees it: its numbers, or its gradient (no data: not wanted). */
wf_tensor run_closed(const run *r, const closed *c, bool slope);
/* The rows of a value, of the steps at hand, as a matrix; gathered where they have gaps. */
wf_matrix run_rows(const run *r, place where, wf_dtype dtype, int64_t width);
/* The block of a term's weight, `width` rows of it; of its gradient where `slope`. */
wf_matrix run_weight(const run *r, const term *m, int64_t row, int64_t width, int64_t k,
                     bool slope);

#endif
