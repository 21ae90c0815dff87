/* The tape: owns everything computed on it, remembers how, and sweeps back over it. */
#ifndef WEFT_AUTOGRAD_TAPE_H
#define WEFT_AUTOGRAD_TAPE_H

#include "tensor/tensor.h"

WF_BEGIN

typedef struct wf_tape wf_tape;                    /* one tape belongs to one thread */
typedef struct wf_var wf_var;                      /* a value on a tape, or a parameter */

/* train: dropout is on, steps are recorded. eval: dropout off, recorded. infer: dropout off,
 * nothing recorded. */
typedef enum wf_mode { WF_TRAIN = 0, WF_EVAL = 1, WF_INFER = 2 } wf_mode;

typedef struct wf_tape_options {
    wf_mode mode;
    int threads;                                   /* 0, or more than that: wf_threads() */
    uint64_t seed;                                 /* of random ops; a reset begins a new step */
    bool defer_commit;                             /* gradients stay here for wf_tape_commit */
    bool rehearsal;                                /* no gradient or carried state leaves it */
    const void *reserved[4];
} wf_tape_options;

/* A new tape, or NULL when there is no memory. Yours to free; NULL options are all zero. */
WF_API wf_tape *wf_tape_new(const wf_tape_options *options);
/* Refused, and logged, within a function that t calls (one that has reset t must not free it). */
WF_API void wf_tape_free(wf_tape *t);
/* Forgets every var and any error, keeps the memory, begins the next random step. Also what makes
 * a tape good again after a longjmp or an exception out of a function that it called; after a
 * longjmp it gives the thread its floating-point state back, too. */
WF_API void wf_tape_reset(wf_tape *t);
/* Of NULL: infer, 1 thread, and below 0. The mode may change between two ops. */
WF_API wf_mode wf_tape_mode(const wf_tape *t);
WF_API void wf_tape_set_mode(wf_tape *t, wf_mode mode);
WF_API int wf_tape_threads(const wf_tape *t);
/* The random step (0 before the first reset); setting it makes a resumed run draw what the first
 * would have. */
WF_API uint64_t wf_tape_step(const wf_tape *t);
WF_API void wf_tape_set_step(wf_tape *t, uint64_t step);
/* A key for random numbers that a layer of your own draws (tensor/rng.h): made of the tape's seed,
 * its random step and how many random ops came before, of which it counts as one. 0 after failing
 * the tape, within a step that is being recorded. */
WF_API uint64_t wf_tape_key(wf_tape *t);
/* A number that changes with every reset and differs between tapes: tells whether a var is still
 * good. */
WF_API uint64_t wf_tape_generation(const wf_tape *t);
/* Bytes in use by values, and by gradients at their highest since the reset. */
WF_API int64_t wf_tape_bytes(const wf_tape *t);
WF_API int64_t wf_tape_grad_bytes(const wf_tape *t);
/* Ops recorded since the reset. */
WF_API int64_t wf_tape_nodes(const wf_tape *t);

/* A place to come back to, as often as one likes, and the way: everything made since the mark is
 * forgotten, except the n vars of keep, which survive as constants and are written back into keep.
 * Not while a var made before the mark is a view of one after it. False after failing the tape: the
 * mark is of before a reset or was rewound past; or what was made after it waits for a commit, a
 * carried state in train mode or a gradient under .defer_commit. */
typedef struct wf_mark { uint64_t generation, epoch, depth, place[7]; } wf_mark;
WF_API wf_mark wf_tape_mark(wf_tape *t);
WF_API bool wf_tape_rewind(wf_tape *t, wf_mark mark, int n, wf_var *keep[]);

/* Errors stick: the first failure on a tape is described once, later ops return NULL and say
 * nothing. */
WF_API bool wf_tape_ok(const wf_tape *t);
WF_API const char *wf_tape_error(const wf_tape *t);               /* "" while there is none */
/* Fails the tape with one sentence (the scopes are appended); for ops and layers of your own.
 * Returns NULL. */
WF_API wf_var *wf_fail(wf_tape *t, const char *format, ...) WF_PRINTF(2, 3);
/* Names of where we are ("decoder", "attention"), shown in messages. Pushed and popped in pairs;
 * text is copied. */
WF_API void wf_scope_push(wf_tape *t, const char *name);
WF_API void wf_scope_pop(wf_tape *t);

/* Values enter a tape by copy: data are the numbers of the shape, row-major, of that dtype (NULL:
 * zeros). A leaf is differentiable, a constant is not; I32 never is, and in infer mode nothing.
 * NULL after failing the tape, as from all that returns a var. */
WF_API wf_var *wf_leaf(wf_tape *t, wf_dtype dtype, wf_shape shape, const void *data);
WF_API wf_var *wf_constant(wf_tape *t, wf_dtype dtype, wf_shape shape, const void *data);
WF_API wf_var *wf_leaf_tensor(wf_tape *t, const wf_tensor *x); /* of any strides; row-major then */
WF_API wf_var *wf_constant_tensor(wf_tape *t, const wf_tensor *x);
WF_API wf_var *wf_zeros(wf_tape *t, wf_dtype dtype, wf_shape shape);
WF_API wf_var *wf_full(wf_tape *t, wf_dtype dtype, wf_shape shape, double value);
/* A constant whose numbers are written by you: *to becomes its value, row-major zeros, to be filled
 * before anything reads the constant. NULL, and *to without data, after failing the tape. */
WF_API wf_var *wf_constant_fill(wf_tape *t, wf_dtype dtype, wf_shape shape, wf_tensor *to);
/* Memory for what a layer or an op of your own notes down: zeroed, aligned to WF_ALIGNMENT, the
 * tape's until its reset, or until it is rewound to an earlier mark. NULL after failing it. */
WF_API void *wf_tape_memory(wf_tape *t, size_t bytes);
/* x without its history: the same numbers, no gradient. */
WF_API wf_var *wf_detach(wf_tape *t, wf_var *x);

/* x as it is on this tape: itself, or what stands for it if it is a parameter. NULL after failing
 * the tape when it was never made, is another tape's or was made before a reset; `what` begins the
 * sentence: "mine: the mask" gives "mine: the mask belongs to another tape". What a layer of your
 * own does with each var it is given before it reads anything of it; ops do it by themselves. */
WF_API wf_var *wf_enter(wf_tape *t, wf_var *x, const char *what, ...) WF_PRINTF(3, 4);

/* What a var is. Of NULL: rank 0, size 1, F32, NaN, NULL. Reads parameters too. */
WF_API int wf_rank(const wf_var *x);
WF_API int64_t wf_dim(const wf_var *x, int axis);      /* axes below 0 from the end; else 1 */
WF_API wf_shape wf_shape_of(const wf_var *x);
WF_API wf_dtype wf_dtype_of(const wf_var *x);
WF_API int64_t wf_count(const wf_var *x);
WF_API double wf_item(const wf_var *x);                /* the only element; NaN if of several */
WF_API double wf_at(const wf_var *x, int64_t index);   /* by flat row-major index; else NaN */
WF_API const wf_tensor *wf_value(const wf_var *x);     /* a view's has strides; until the reset */
WF_API const void *wf_data(const wf_var *x);           /* where that begins */
/* Copies the n elements out row-major, in the var's dtype. False, and nothing is written, when n is
 * not their count. False for NULL, whose dtype nobody knows: n F32 NaNs are written. */
WF_API bool wf_copy_out(const wf_var *x, void *data, int64_t n);
WF_API void wf_print(const wf_var *x);
WF_API void wf_print_as(const char *name, const wf_var *x);        /* "h = [0.1 0.2]  f32 (2)" */

/* Sweeps back from a var of one element and commits the gradients to the parameters, all or none.
 * False, with the reason said: nothing has changed. Gradients add up over calls until an optimiser
 * consumes them. A loss or a parameter's gradient that is not finite is an error, which names the
 * op that made it so; whoever wants to go on after it skips the step. So is a loss to which no
 * parameter led, a parameter changed since its use, and infer mode, which records nothing. */
WF_API WF_MUST_USE bool wf_backward(wf_tape *t, wf_var *loss);
/* The same from any vars of floats, with cotangents of their shapes and dtypes (NULL entry, or
 * NULL: 1 for a var of one element). */
WF_API WF_MUST_USE bool wf_backward_from(wf_tape *t, int n, wf_var *const out[],
                                          wf_var *const cotangent[]);
/* After .defer_commit: adds the tape's gradients to the parameters. */
WF_API WF_MUST_USE bool wf_tape_commit(wf_tape *t);

/* Asks, before the sweep, that x's gradient can be read after it. The gradient of a view is that
 * view of the gradient. A parameter's is committed anyway, and read off the parameter. False after
 * failing the tape: no leaf and no parameter led to x. */
WF_API bool wf_keep_grad(wf_tape *t, wf_var *x);
/* A kept gradient, of x's shape and dtype, good until the reset, or the committed one of a
 * parameter, good until it is cleared (wf_param_grad); NULL when there is none. */
WF_API const wf_tensor *wf_grad_of(const wf_var *x);

/* Gradients as vars: grad[i] becomes d(sum_k <cotangent[k], out[k]>)/d wrt[i], of the form of
 * wrt[i], zeros where nothing leads. Cotangents are as for wf_backward_from. With create_graph the
 * gradients are differentiable in turn. Parameters and views may be named in wrt. Commits nothing.
 * False, and all of grad NULL, after failing the tape. */
typedef struct wf_grad_options {
    bool create_graph;
    const void *reserved[4];
} wf_grad_options;
WF_API WF_MUST_USE bool wf_grad(wf_tape *t, int n_out, wf_var *const out[],
                                 wf_var *const cotangent[], int n_wrt, wf_var *const wrt[],
                                 wf_var *grad[], const wf_grad_options *options);

/* On this tape, param stands for var (same shape) until the reset, also in another dtype: how
 * checkers work in double and how a weight is dropped or converted. Before the parameter's first
 * use on the tape. */
WF_API bool wf_tape_bind(wf_tape *t, wf_var *param, wf_var *var);

/* fn(context) runs when what this tape computes becomes permanent: when wf_backward commits in
 * train mode, at once in eval and infer, never on a rehearsal or after an error. Forgotten at
 * reset. What fn registers waits for the next commit; if it resets the tape, it must be the last.
 */
WF_API bool wf_tape_on_commit(wf_tape *t, void (*fn)(void *context), void *context);

WF_END

#endif
