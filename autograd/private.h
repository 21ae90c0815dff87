/* Inside the engine: what a var, a node and a tape are made of. The one file that defines struct
 * wf_var. */
#ifndef WEFT_AUTOGRAD_PRIVATE_H
#define WEFT_AUTOGRAD_PRIVATE_H

#include "autograd/module.h"
#include "autograd/op.h"

typedef struct node node;
typedef struct scope scope;

enum {
    VAR_WANTS_GRAD = 1,       /* differentiable and recorded */
    VAR_NEEDED = 2,           /* roots, during a sweep: a gradient here leads to a target */
    VAR_HELD = 4,             /* roots, during a sweep: a target, its gradient outlives its producer */
    VAR_IMPORT = 8,           /* stands for a parameter: what it gathers is committed */
    VAR_OWNED = 16            /* roots, during a graph sweep: graph_grad was made here and is nobody else's yet */
};

struct wf_var {
    wf_tensor value;
    wf_tape *tape;            /* NULL for a parameter */
    wf_var *root;             /* the var whose memory a view looks into; itself if it is none */
    node *producer;           /* NULL: a leaf, a constant, a parameter */
    uint64_t generation;
    uint32_t flags;
    void *grad;               /* roots, during a sweep: the gradient, row-major */
    wf_tensor *kept;          /* asked for by wf_keep_grad: what wf_grad_of hands out (data NULL: none yet) */
    wf_var *graph_grad;       /* roots, during a sweep that builds a graph: the gradient so far */
};

/* Every root's value is row-major, so a view's place in the gradient is its place in the value. */

struct node {
    const wf_op *op;
    node *prev, *next;        /* in the order of recording */
    int32_t n_in, n_out;
    wf_var **in;              /* NULL entries: optional inputs not given */
    wf_var *out;              /* n_out of them, side by side */
    const void *attr;
    int64_t scratch_backward;
    uint64_t key, counter;
    const scope *where;       /* where it was recorded, for messages */
    bool needed;
};

struct scope {
    const scope *outer;
    const char *name;
};

/* A bump allocator of chunks; reset merges them into one. */
typedef struct chunk chunk;
typedef struct arena {
    chunk *first, *current;
    char *at, *end;           /* what is left of the current chunk */
    int64_t total;            /* bytes in all chunks */
} arena;

void *arena_take(arena *a, int64_t bytes, int64_t align);
void arena_reset(arena *a);
void arena_free(arena *a);
int64_t arena_used(const arena *a);
/* Where the arena stands, and back to there: what was taken since is free again. */
void arena_place(const arena *a, uint64_t place[2]);
void arena_return(arena *a, const uint64_t place[2]);

/* Blocks given back are handed out again by size. */
enum { POOL_BUCKETS = 64 };
typedef struct pool_block pool_block;
typedef struct pool {
    arena arena;
    pool_block *free[POOL_BUCKETS];
} pool;

void *pool_take(pool *p, int64_t bytes);
void pool_give(pool *p, void *block, int64_t bytes);
void pool_reset(pool *p);

typedef struct param {
    wf_var var;               /* first: a parameter is a var */
    wf_module *module;
    char *path;               /* whole, from the root */
    void *grad;               /* as many elements as the value */
    bool has_grad, frozen;
    uint64_t version, grad_version;
    wf_tensor grad_tensor;
} param;

typedef struct import {
    param *param;
    wf_var *var;              /* what stands for it here */
    bool bound, frozen;       /* frozen: when it was imported */
    uint64_t version;         /* of the parameter when it was imported */
    void *pending;            /* gradients of sweeps that were not committed yet */
} import;

typedef struct hook {
    void (*fn)(void *context);
    void *context;
} hook;

/* A growing array that lives as long as its tape. */
typedef struct list {
    void *at;
    int64_t n, room;
} list;

struct wf_tape {
    arena values;
    pool grads;
    uint64_t generation, step, seed, random_ops;
    wf_mode mode;
    int threads;
    bool failed, defer_commit, rehearsal;
    node *first, *last;
    int64_t nodes;
    const scope *where;
    list imports;             /* of import, in the order of first use */
    list slots;               /* of int32_t: hash of param to index in imports + 1 */
    list kept;                /* of wf_var * */
    list hooks;               /* of hook */
    list marks;               /* of uint64_t: serials of the marks that can still be returned to */
    uint64_t mark_serial;
    wf_error error;
};

/* Room for one more item at the end of a list, or NULL when there is no memory. */
void *list_add(list *l, size_t item);

/* Makes *v, whose value's form is set, a root on the tape, and gives it memory unless it has
 * some. False after failing the tape. */
bool var_begin(wf_tape *t, wf_var *v, const char *who);
/* A new var (and its memory, unless value->data is given) in the form of *value; its own root.
 * NULL after failing the tape. */
wf_var *var_new(wf_tape *t, const char *who, const wf_tensor *value);
/* A view of x with other dims and strides into the same memory; shares its root's gradient. NULL
 * when the tape has failed. */
wf_var *view_new(wf_tape *t, wf_var *x, const wf_tensor *as);
/* x, or what stands for it on this tape if it is a parameter. NULL after failing the tape if it
 * may not be used here. */
wf_var *var_enter(wf_tape *t, wf_var *x, const char *who, int position);
/* An identity node: the same memory under a new root, so that gradients are collected there on
 * their own. */
wf_var *alias_new(wf_tape *t, wf_var *x);
/* The check of a row, before anything else reads it: false, with the sentence (without the op's
 * name) in *error, if a number in it is none that the engine can count on. */
bool row_sound(const wf_op *op, wf_error *error);
/* Adds a node for out[0..n_out-1] to the tape. NULL after failing it. */
node *node_record(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], wf_var *out, int n_out, const void *attr);
/* Makes strides row-major; false if the size does not fit. */
bool tensor_settle(wf_tensor *x, int64_t *bytes);
void tape_fail_oom(wf_tape *t, const char *who, int64_t bytes);

/* Marks what leads to a target among the nodes after `low` (NULL: all). */
void sweep_mark(wf_tape *t, node *low);
/* Enters the outputs and cotangents of a sweep (NULL: one for a scalar) into the given arrays;
 * false after failing the tape. */
bool sweep_enter(wf_tape *t, const char *who, int n, wf_var *const out[], wf_var *const cotangent[],
                 wf_var *out_here[], wf_var *cotangent_here[]);
/* Sweeps the whole tape; targets are flagged VAR_NEEDED | VAR_HELD before. With `who`, fails
 * when nothing leads to a target. */
bool sweep_run(wf_tape *t, const char *who, int n, wf_var *const out[], wf_var *const cotangent[]);
/* Is the element memory of two views of one root shared? Conservative: compares ranges. */
bool tensors_meet(const wf_tensor *a, const wf_tensor *b);

const wf_op *op_alias(void);
const wf_op *op_add_into(void);
typedef struct add_into_attr {
    int64_t offset;           /* elements from the base's first */
    int32_t rank;
    int64_t dim[WF_RANK], stride[WF_RANK];
} add_into_attr;
void add_into_layout(const wf_tensor *base, const add_into_attr *a, wf_tensor *view);

/* The module root's part in a commit: one tape at a time. */
bool module_try_lock(wf_module *root, const wf_tape *t);
void module_unlock(wf_module *root, const wf_tape *t);
wf_module *module_root(const wf_module *module);
/* A parameter's path as seen from module. */
const char *module_param_name(const wf_module *module, const wf_var *param);
/* Fills a row-major tensor with initial values; false when there is no memory. */
bool param_fill(const wf_tensor *x, wf_init init, uint64_t key);

#endif
