/* What a traced step is before it becomes values: roots, cut into parts, and nodes. Not installed.
 */
#ifndef WEFT_AUTOGRAD_PLAN_PARTS_PRIVATE_H
#define WEFT_AUTOGRAD_PLAN_PARTS_PRIVATE_H

#include "autograd/plan_private.h"

/* The root of a value with rows, and its parts: part[i] from cut[i] to cut[i + 1]. */
struct trunk {
    const wf_var *root;
    value_kind kind;
    int32_t source; /* sequence, state, node; VALUE_ROW: it is closed over, as `all` */
    int64_t width;  /* columns; -1: it has no rows */
    int64_t pieces; /* of which each has the rows, one behind another: of a stack along axis 0 */
    const wf_var *all;
    int32_t cuts, room;
    int64_t *cut;
    int32_t *part;
};

typedef enum node_kind { NODE_GONE, NODE_NAME, NODE_PRODUCT, NODE_TILE, NODE_CALL } node_kind;

/* An input of a node. */
typedef struct given {
    bool there, rows; /* rows: those of the step */
    bool run, sliced; /* its columns are a run; closed over, with the batch's rows */
    int32_t trunk;
    int64_t from, width;
    wf_shape inner; /* behind axis 0 */
    wf_tensor form; /* as it is in rows */
    closed closed;
} given;

struct step_node {
    const node *node;
    const hoisted *at; /* computed before the loop, or NULL */
    node_kind kind;
    bool live, whole; /* whole: rows are made of one another */
    int32_t trunk;    /* of its first output */
    int32_t draw;     /* random: which of the step */
    given *in;
};

/* Looks at the nodes, and cuts their roots. False: refused, or the tape failed. */
bool plan_parts(plan *p);
/* What a node or the step's end is given by v. */
bool plan_given(plan *p, wf_var *v, given *g);
/* The part that begins at a column. */
int32_t part_at(const trunk *r, int64_t column);

#endif
