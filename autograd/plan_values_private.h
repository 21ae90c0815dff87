/* What a planned loop is made of: places in buffers, and the values of a step that lie there. Not
 * installed.
 *
 * Rows: row r of a step is a sequence, longest first. All rows of all steps lie one behind another
 * (scan_private.h); a row has columns, its numbers behind axis 0. */
#ifndef WEFT_AUTOGRAD_PLAN_VALUES_PRIVATE_H
#define WEFT_AUTOGRAD_PLAN_VALUES_PRIVATE_H

#include "autograd/scan_private.h"

/* ---- where numbers lie ---- */

/* Whose memory a buffer is. */
typedef enum space {
    SPACE_INPUT,       /* of the node's input `number` */
    SPACE_OUTPUT,      /* of its output `number` */
    SPACE_KEPT,        /* in the hidden output: rows of all steps at once */
    SPACE_STEP,        /* one step's rows, in forward */
    SPACE_ROW,         /* a single row, the same for all */
    SPACE_TILE,        /* a tile's own, of each thread */
    SPACE_INPUT_SLOPE, /* gradients: of an input, of an output, */
    SPACE_OUTPUT_SLOPE,
    SPACE_SLOPES,      /* of values, all steps that go back at once, */
    SPACE_STEP_SLOPES, /* of a step's, */
    SPACE_CARRY,       /* and of states: two steps' rows in turn */
    SPACES
} space;

/* What is counted to find a step's first row in a buffer. */
typedef enum row_index {
    INDEX_ROW,    /* rows of all steps */
    INDEX_KEPT,   /* of the steps that are kept */
    INDEX_SLOPES, /* of the steps that go back at once */
    INDEX_BEFORE, /* of a state's buffer: before the step, after it */
    INDEX_AFTER,
    INDEX_STILL, /* 0 */
    INDEX_PAST,  /* of two steps' rows in turn: before the step, after it */
    INDEX_NOW,
    INDICES
} row_index;

typedef struct buffer {
    space space;
    int32_t number;
    wf_dtype dtype;
    int64_t width;  /* elements from row to row */
    int64_t offset; /* bytes from the beginning of the space, or of the input's memory */
} buffer;

/* Columns of a buffer. */
typedef struct place {
    int32_t buffer; /* -1: nowhere */
    row_index index;
    int64_t column;
} place;

/* ---- what a step computes ---- */

typedef enum value_kind {
    VALUE_SEQUENCE, /* columns of sequence `source` */
    VALUE_STATE,    /* of state `source` before the step */
    VALUE_ROW,      /* of constant row `source` */
    VALUE_ROWS,     /* of constant `source`, which has the rows of the batch */
    VALUE_PRODUCT,  /* a sum of terms and biases, of the group of node `source` */
    VALUE_TILE,     /* op of args */
    VALUE_COPY,     /* args side by side */
    VALUE_CALL      /* of output `output` of call `source` */
} value_kind;

typedef struct value {
    value_kind kind;
    wf_dtype dtype;
    int64_t width, column; /* column: in what `source` names */
    int32_t source, output;
    int32_t arg, args; /* plan.arg[arg..] */
    const wf_op *op;
    double number;
    int32_t term, bias;    /* the first of plan.term[], plan.bias[]; -1: none */
    int32_t uses, last;    /* who reads it in a step, and the last of those */
    int32_t contributions; /* to its gradient */
    int32_t state, y;      /* it is state `state` after the step, or output `y`; -1: not */
    int64_t bound;         /* from this column on */
    int32_t stage;
    bool dead, wants, saved, across, hoisted, arrived;
    place at, slope;
    place biased; /* products: the sum of the biases, a row */
    int64_t sum;  /* and where their gradient is gathered; -1: nowhere */
} value;

typedef struct bias {
    int32_t row, next; /* a constant row, from `column` on */
    int64_t column;
} bias;

/* What a step is closed over: the root of a var, whole. */
typedef struct constant {
    wf_var *root;
    bool wants;
} constant;

/* A constant as an op sees it. */
typedef struct closed {
    int32_t constant;
    wf_tensor form;
} closed;

/* A value times a block of a weight, from `row` and `column` on: (outputs, inputs). */
typedef struct term {
    int32_t value, next;
    closed weight;
    int64_t row, column;
} term;

/* A constant repeated to one row (`inner`, row-major), and where the gradient of that is gathered.
 */
typedef struct constant_row {
    closed of;
    wf_shape inner;
    int64_t width, sum; /* sum: -1: it wants none */
    int32_t buffer;
} constant_row;

/* An input of a call: columns of a value, seen as `form`; or closed over. */
typedef struct operand {
    int32_t value; /* -1: closed over, or not given */
    bool given, rows;
    closed closed;
    wf_tensor form;
    int64_t offset; /* elements into the value */
} operand;

typedef struct call {
    const node *node;
    operand *in;
    int32_t number;      /* of its node */
    int32_t stage, draw; /* draw: which of the step; -1: none */
    int32_t buffer[WF_OP_OUTPUTS], slope[WF_OP_OUTPUTS];
    int32_t value[WF_OP_OUTPUTS], values[WF_OP_OUTPUTS]; /* of each visible output */
    int64_t scratch, scratch_all;
    bool whole;         /* of all rows of a step at once */
    bool wants, shared; /* shared: a gradient of a constant is made after the loop */
    bool over_time;     /* that is one with rows of its own, which all steps use */
    bool done;
    uint32_t begins; /* by input: the call writes its gradient, to which others add */
} call;

/* The rows of autograd/pointwise.def, by number. */
enum {
#define WF_POINTWISE_1(name, ...) POINTWISE_##name,
#define WF_POINTWISE_S(name, ...) POINTWISE_##name,
#define WF_POINTWISE_2(name, ...) POINTWISE_##name,
#define WF_POINTWISE_3(name, ...) POINTWISE_##name,
#define WF_POINTWISE_WHERE(name, ...) POINTWISE_##name,
#define WF_POINTWISE_COMPARE(name, ...) POINTWISE_##name,
#include "autograd/pointwise.def"
};
const wf_op *plan_pointwise(int number);

#endif
