/* Inside the engine: what a var, a node and a tape are made of. The one file that defines struct
 * wf_var. */
#ifndef WEFT_AUTOGRAD_PRIVATE_H
#define WEFT_AUTOGRAD_PRIVATE_H

#include "autograd/arena_private.h"
#include "autograd/module.h"
#include "autograd/op.h"

#include <stdatomic.h>

typedef struct node node;
typedef struct scope scope;
typedef struct trace trace;
typedef struct partials partials;
typedef struct param_grad param_grad;
typedef struct graph_sums graph_sums;

enum {
    VAR_WANTS_GRAD = 1,       /* differentiable and recorded */
    VAR_NEEDED = 2,           /* roots, during a sweep: a gradient here leads to a target */
    VAR_HELD = 4,             /* roots, during a sweep: a target, whose gradient stays */
    VAR_IMPORT = 8,           /* stands for a parameter: a struct imported */
    VAR_OWNED = 16,           /* roots, during a graph sweep: graph_grad is ours alone */
    VAR_LANDS = 32,           /* imports, during a sweep: the gradient lies where it will be read */
    VAR_TRACED = 64           /* its value has an address and no memory yet */
};

struct wf_var {
    wf_tensor value;
    wf_tape *tape;            /* NULL for a parameter */
    wf_var *root;             /* whose memory a view looks into, row-major; itself if it is none */
    node *producer;           /* NULL: a leaf, a constant, a parameter */
    uint64_t epoch;           /* the tape's when it was made */
    int64_t bytes;            /* roots: of the value, and of a gradient */
    uint32_t flags;
    uint32_t gathered;        /* roots, during a sweep: contributions in grad, in parts of UNIT */
    union {
        void *grad;           /* roots, during a sweep over kernels: the gradient, row-major */
        graph_sums *sums;     /* roots, during a graph sweep: what waits beside graph_grad */
    };
    wf_tensor *kept;          /* by wf_keep_grad, for wf_grad_of (data NULL: none yet) */
    union {
        wf_var *graph_grad;   /* roots, during a sweep that builds a graph: the gradient so far */
        partials *partials;   /* roots, during a sweep over kernels: sums that wait beside grad */
    };
};

struct node {
    const wf_op *op;
    node *prev, *next;        /* in the order of recording */
    int32_t n_in, n_out;
    wf_var **in;              /* NULL entries: optional inputs not given */
    wf_var *out;              /* n_out of them, side by side */
    const void *attr;
    int64_t scratch_forward, scratch_backward;
    uint64_t key, counter;
    const scope *where;       /* where it was recorded, for messages */
    bool needed;
};

struct scope {
    const scope *outer;
    const char *name;
};

enum { SPARE_GRADS = 8 }; /* tapes that may sweep at once without asking for memory in each step */
typedef struct param {
    wf_var var;               /* first: a parameter is a var */
    wf_module *module;
    char *path;               /* whole, from the root */
    param_grad *grad;         /* what was committed; NULL: nothing since it was cleared */
    _Atomic(param_grad *) spare[SPARE_GRADS];
    bool frozen, buffer; /* a buffer is not learned: frozen for good */
    uint64_t version, grad_version;
} param;

typedef struct import {
    param *param;
    wf_var *var;              /* what stands for it here */
    bool bound, frozen;       /* frozen: when it was imported */
    uint64_t version;         /* of the parameter when it was imported */
    param_grad *pending;      /* of sweeps that were not committed yet */
} import;

typedef struct hook {
    void (*fn)(void *context);
    void *context;
} hook;

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
    list hooks;               /* of hook: those that wait */
    int64_t hooked;           /* hooks that were ever registered in this generation */
    list marks;               /* of uint64_t: epochs of the marks that can still be returned to */
    list gone;                /* of span: what rewinds made stale, in order and apart */
    uint64_t epoch;           /* a new one at each reset, mark and rewind; larger than any before */
    uint64_t fresh;           /* what is of this epoch or a later one is good */
    uintptr_t frame;          /* of the engine's function that calls out just now; 0: none does */
    const char *sweeping;     /* the sweep, commit or trace that has not ended */
    trace *tracing;           /* ops are recorded and not run */
    struct explanation *explaining;    /* NULL: none was begun */
    const struct stand_ins *stand_ins; /* NULL: none */
    struct replay *replaying; /* the step of a loop runs, of whose ops some have run before it */
    bool inside;              /* kernels run, or were left by a jump */
    uint32_t callers_fp;      /* and the floating-point state to be given back then */
    int64_t looping, sweeps;  /* a loop's step and one, 0: none; backward passes since the reset */
    wf_error error;
};

/* Epochs from..to: what was made in them is forgotten. */
typedef struct span {
    uint64_t from, to;
} span;

/* Is what the tape made in this epoch still there? */
bool epoch_good(const wf_tape *t, uint64_t epoch);
/* Begins an epoch: later ones are larger, on every tape. */
void epoch_begin(wf_tape *t);
/* The import table for exactly the first n imports; the gradients of others are freed. */
void imports_cut(wf_tape *t, int64_t n);

/* A callback may use the tape that is calling it: record on it, fail it, even reset it. Around
 * calls: the frame that makes them, so that the tape is not freed meanwhile; after them: has the
 * tape survived? If not it is failed, and nothing that the caller held of it may be touched. */
typedef struct calling {
    wf_tape *tape;
    uintptr_t frame;          /* of the call around it */
} calling;

static inline calling call_begin(wf_tape *t)
{
    calling before = { t, t->frame };
    t->frame = (uintptr_t)__builtin_frame_address(0);
    return before;
}

static inline void call_end(const calling *before)
{
    before->tape->frame = before->frame;
}
/* `WF_CALLING calling before = call_begin(t);` ends with its block, after an exception too. */
#define WF_CALLING __attribute__((cleanup(call_end), unused))

COLD bool call_survived(wf_tape *t, uint64_t epoch, const char *what);

/* A constant, or a leaf if it shall be differentiable: of a tensor, of data, or zeros. */
wf_var *enter_values(wf_tape *t, const char *who, wf_dtype dtype, wf_shape shape,
                     const wf_tensor *from, const void *data, bool differentiable);
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
/* Makes strides row-major; false if the size does not fit. */
bool tensor_settle(wf_tensor *x, int64_t *bytes);
COLD void tape_fail_oom(wf_tape *t, const char *who, int64_t bytes);

/* A table of what bears paths, which it does not own. find: by a path and a name below it. */
typedef struct path_entry path_entry;
typedef struct paths {
    path_entry *at;
    int64_t n, room;
} paths;
void *paths_find(const paths *t, const char *path, const char *name);
bool paths_add(paths *t, const char *path, void *item);
void paths_free(paths *t);

/* The module root's part in a commit: one tape at a time. */
bool module_try_lock(wf_module *root, const wf_tape *t);
void module_unlock(wf_module *root, const wf_tape *t);
wf_module *module_root(const wf_module *module);
/* Fills a row-major tensor with initial values; false when there is no memory. */
bool param_fill(const wf_tensor *x, wf_init init, uint64_t key);

#endif
