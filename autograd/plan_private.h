/* The plan of a loop: its step, recorded once by shapes, as products, tile programs and calls of
 * rows. Not installed. */
#ifndef WEFT_AUTOGRAD_PLAN_PRIVATE_H
#define WEFT_AUTOGRAD_PLAN_PRIVATE_H

#include "autograd/plan_values_private.h"
#include "autograd/tile.h"
#include "tensor/gemm.h"
#include "tensor/limits.h"

/* ---- how it is computed ---- */

/* COPY: `width` columns of OUT to GIN. ZERO: GIN. SUM: GOUT into sums. TAKE: what arrives at an
 * output, GOUT, written or added to GIN; zeros where nothing does. */
typedef enum order_kind { ORDER_TILE, ORDER_COPY, ORDER_ZERO, ORDER_SUM, ORDER_TAKE } order_kind;

/* One line of a tile program. */
typedef struct order {
    order_kind kind;
    bool add;
    wf_tile_fn *fn;
    double number;
    int64_t width, sum;
    int32_t from, to; /* on the way back: whose gradient is read, whose is made; -1: nobody's */
    uint32_t used;    /* which of at[] */
    place at[WF_AT];
} order;

/* to = from times a packed block, or += where add. */
typedef struct product {
    int32_t term;
    bool add;
    int64_t k, n, row; /* row: of the block in its weight */
    place from, to;
} product;

/* A term and its neighbours, `width` rows of the weight, for all steps at once: before the loop
 * into `of`, or after it from the gradients there. */
typedef struct bulk {
    int32_t term;
    bool add;
    bool begins, begins_sequence; /* the gradient of all of the weight; of all of the sequence */
    int64_t width;
    place of;
} bulk;

/* Columns in which the gradients of rows are gathered. */
typedef struct sum_range {
    int64_t from, width;
    wf_dtype dtype;
} sum_range;

/* Products, then a tile program; or a call. */
typedef struct stage {
    int32_t call;                                               /* -1: none */
    int32_t product[2], product_end[2], order[2], order_end[2]; /* forward, back */
    int64_t width; /* of everything in it; 0: they differ */
} stage;

typedef struct trunk trunk;
typedef struct step_node step_node;

enum {
    LIST_SEQUENCE,
    LIST_CONSTANT,
    LIST_ROW,
    LIST_VALUE,
    LIST_ARG,
    LIST_TERM,
    LIST_BIAS,
    LIST_CALL,
    LIST_STAGE,
    LIST_ORDER,
    LIST_PRODUCT,
    LIST_BUFFER,
    LIST_TRUNK,
    LIST_BULK,
    LIST_SUM,
    LIST_OTHER,
    LISTS
};

/* The step as it is on fewer rows: its nodes, of which some may have other attributes. */
typedef struct other_step {
    int64_t rows;
    const node **node;
} other_step;

typedef struct plan {
    wf_op row; /* first: a kernel finds the plan by its row */
    wf_tape *t;
    const scan *s;
    const traced_step *step;
    char why[200]; /* why there is none */
    bool infer, serial, full;
    wf_mode mode;
    int64_t steps, chunk; /* steps with rows; and how many are kept at once */
    int64_t kept_rows;    /* rows of those, at most */
    int64_t slope_rows;   /* rows of the steps that go back at once, at most */
    int32_t n[LISTS];
    int64_t room[LISTS];
    wf_var **sequence; /* (rows, ...) */
    constant *constant;
    constant_row *of_row;
    value *value;
    int32_t *arg;
    term *term;
    bias *bias;
    call *call;
    stage *stage;
    order *order;
    product *product;
    buffer *buffer;
    bulk *bulk;
    int32_t hoisted; /* bulks before the loop; the others are behind it, on the way back */
    sum_range *range;
    other_step *other;
    trunk *trunk;
    step_node *node;
    int64_t nodes;
    int32_t draws;         /* random ops in a step */
    uint64_t key, counter; /* of the first draw */
    int64_t sums;          /* columns of gradients of rows */
    int64_t pack[2];       /* bytes: forward, back */
    int64_t space[SPACES]; /* bytes */
    int32_t tiles;         /* buffers of a tile */
    bool state_wants[WF_SCAN_VARS], ring[WF_SCAN_VARS];
    int32_t state_buffer[WF_SCAN_VARS], carry[WF_SCAN_VARS], y_buffer[WF_SCAN_VARS];
    int32_t sequence_buffer[WF_SCAN_VARS], *group, *group_slope; /* by node; -1: none */
    int32_t y_state[WF_SCAN_VARS], y_output[WF_SCAN_VARS];       /* y_state: it is that; -1: none */
    uint64_t made_of[WF_OP_OUTPUTS];                             /* inputs, see loop_inputs */
    bool refused; /* a check refused a value: atomic, some rows on each thread */
} plan;

/* The list with room for one more item, or NULL after failing the tape. */
void *plan_room(plan *p, void *list, int which, size_t item);
#define PLAN_ADD(p, list, which)                                                                   \
    ((p)->list = plan_room(p, (p)->list, which, sizeof *(p)->list),                                \
     (p)->list ? &(p)->list[(p)->n[which]++] : NULL)

/* Says why there is no plan, the first time. False. */
bool plan_refuse(plan *p, const char *format, ...) WF_PRINTF(2, 3);

/* Does a derivative lead from a value to its argument k? */
bool plan_leads(const plan *p, const value *v, int k);

/* Marks the values that lead to node outputs of which a gradient arrived (a bit each) or to states
 * that are carried on; and the states before the step that are among them: true when there are any
 * that were not marked. `before` may be `carried`: called until it is false, for all steps. */
bool plan_alive(const plan *p, uint32_t arrived, const bool carried[], bool before[], bool alive[]);
/* Finds what outputs are made of. False after failing the tape. */
bool plan_inputs(plan *p);

/* The parts of planning, in this order. False: refused, or the tape failed. */
bool plan_values(plan *p);
bool plan_forward(plan *p);
bool plan_backward(plan *p);
bool plan_bulks(plan *p);
void plan_beginnings(plan *p);
bool plan_calls(plan *p);

/* The node's inputs: sequences, states, constants. */
static inline int32_t input_of_state(const plan *p, int32_t k)
{
    return p->n[LIST_SEQUENCE] + k;
}
static inline int32_t input_of_constant(const plan *p, int32_t i)
{
    return p->n[LIST_SEQUENCE] + p->s->states + i;
}

/* What a packed block takes. */
static inline int64_t packed_bytes(wf_dtype dtype, int64_t k, int64_t n)
{
    return (wf_pack_count(dtype, k, n) * wf_dtype_size(dtype) + WF_ALIGNMENT - 1) / WF_ALIGNMENT *
           WF_ALIGNMENT;
}

/* Are they the same view of the same numbers? What lies behind the rank says nothing. */
bool same_view(const wf_tensor *a, const wf_tensor *b);
int32_t plan_buffer(plan *p, space where, int32_t number, wf_dtype dtype, int64_t width);
void order_at(order *o, int k, place where);
order *plan_order(plan *p, order_kind kind, int64_t width);

/* Adds the plan to the text of wf_scan_explain, if there is one. */
void plan_explain(const plan *p);

/* The node's kernels, and the scratch that they need. */
void plan_run_forward(const wf_call *c);
void plan_run_backward(const wf_call *c);
int64_t plan_scratch(const plan *p, int threads, bool back);

#endif
