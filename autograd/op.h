/* The op contract: an op is a constant struct, and built-in, plugin and user ops are the same
 * struct. */
#ifndef WEFT_AUTOGRAD_OP_H
#define WEFT_AUTOGRAD_OP_H

#include "autograd/tape.h"

WF_BEGIN

typedef struct wf_op wf_op;
typedef struct wf_pointwise wf_pointwise;

/* All that a kernel sees. It reads in and out, never allocates and cannot fail. */
typedef struct wf_call {
    const wf_op *op;
    int32_t n_in, n_out;                           /* n_out counts hidden outputs, which trail */
    const wf_tensor *const *in;                    /* NULL entry: optional, not given */
    /* Row-major; written by forward, uninitialised before. In backward hidden ones that are not in
     * reads_out have no data. */
    const wf_tensor *const *out;
    /* In backward: row-major; NULL entry: no gradient arrived; hidden ones are always NULL. */
    const wf_tensor *const *gout;
    /* Backward adds here; NULL entry: not wanted. Any strides, but never overlapping itself or
     * another gin. */
    const wf_tensor *const *gin;
    const void *attr;
    void *scratch;                                 /* what shape asked for, 64-byte aligned */
    uint64_t key, counter;                         /* of random ops: up to counter + 2^32 */
    int threads;                                   /* for wf_par_for, wf_gemm, wf_walk_run */
    /* Bit i: gin[i] holds nothing yet, is row-major, and is written whole instead of added to. 0
     * for all but WF_OP_BEGINS and the ops of autograd/pointwise.h. */
    uint32_t fresh;
    /* In forward, bit i (mod 32): a gradient of in[i] may be asked for later; of the others none
     * will be, and what backward needs for these alone may be left out. */
    uint32_t wanted;
} wf_call;

/* What shape sees and fills. Only shapes, dtypes and attr may be read: data is not there yet. */
typedef struct wf_shaping {
    const wf_op *op;
    int32_t n_in, n_out;
    const wf_tensor *const *in;
    const void *attr;
    int threads;                                   /* that the kernels will be given */
    wf_tensor *out;                                /* fill dtype, rank, dim of all n_out */
    int64_t scratch_forward, scratch_backward;     /* bytes, 0 at the start */
    uint32_t wanted;                               /* as forward will see it: for hidden outputs */
    wf_error *error;
} wf_shaping;

/* Refuses: writes the sentence (without the op's name, which is put before it) and returns
 * false. */
WF_API bool wf_refuse(wf_error *error, const char *format, ...) WF_PRINTF(2, 3);

/* What gradient sees: the derivative is built out of public ops on vars. Called only where a
 * gradient arrived and one is wanted: an only output has gout[0], an only input is wanted. */
typedef struct wf_gradient {
    const wf_op *op;
    int32_t n_in, n_out;
    wf_var *const *in, *const *out;                /* hidden ones not in reads_out are NULL */
    wf_var *const *gout;                           /* NULL entry: absent */
    const bool *wanted;
    wf_var **gin;                                  /* to fill where wanted, as in[i]; NULL: zero */
    const void *attr;
} wf_gradient;

/* What reference sees: the op is spelled in other ops on vars. */
typedef struct wf_reference {
    const wf_op *op;
    int32_t n_in, n_out;                           /* n_out counts visible outputs */
    wf_var *const *in;
    const void *attr;
    wf_var **out;                                  /* to fill */
} wf_reference;

/* One set of inputs on which an op is tested. shape.rank -1: an optional input left out. Floats
 * are drawn from [low, high], at least `gap` from 0; ids are whole numbers in [low, high]. */
typedef struct wf_sample {
    const char *label;
    int32_t n_in;
    struct { wf_dtype dtype; wf_shape shape; double low, high, gap; } in[WF_SAMPLE_INPUTS];
    union { char bytes[WF_SAMPLE_ATTR]; double align; int64_t align_int; } attr;
    /* Only to hold one thread against several. Of a row without such samples the others are made
     * large, if attr names no sizes. */
    bool large;
} wf_sample;

enum {
    /* Draws from key and counter; a row whose `varying` is not 0 draws for row r of a result from
     * key and counter + r alone. */
    WF_OP_RANDOM = 1,
    /* An element of the outputs is made of those of the inputs at its index, broadcast, in the same
     * way wherever that is. */
    WF_OP_ELEMENTWISE = 2,
    /* Backward adds to gin[0] only in the rows (along axis 0) that ids, in[1], name: others are
     * neither looked at nor moved. */
    WF_OP_SPARSE = 4,
    /* Backward, where a cotangent arrived, heeds wf_call.fresh: what it is the first to add to is
     * not cleared before. */
    WF_OP_BEGINS = 8,
    /* Where rows of axis 0 are computed apart, a further axis may be put in behind it: an input
     * without rows has none, another may have a size of 1 there, which is then the same for all,
     * unless that leaves no input of floats that has steps. Backward then takes outputs and
     * cotangents in any strides. */
    WF_OP_LEADING = 16
};

struct wf_op {
    const char *name, *doc;            /* doc: the meaning, with shapes */
    int32_t inputs;                    /* how many; -1: one or more */
    int32_t outputs, hidden;           /* visible outputs; saved values that trail them */
    int32_t attr_size;                 /* bytes copied with the node; no pointers, no padding */
    uint32_t flags;
    uint32_t optional;                 /* bit i: input i may be NULL */
    /* Bit i: backward or gradient reads the numbers of in[i] (out[i]), or check does. Of what is
     * not named they may read the shape. */
    uint32_t reads_in, reads_out, reads_check;
    /* Which inputs vary with axis 0: bit i, if row r of every output, hidden ones too, is made of
     * row r of such in[i] and the whole of the others, and row r of their gradients of row r of
     * gout, whatever else is computed with it (to rounding; of elementwise ops to the bit). 0: not
     * so. Check then refuses a whole where it refuses one of its rows, and nowhere else. Sees
     * shapes, dtypes and attr; may be NULL: not so, or of elementwise ops what broadcasting
     * says. */
    uint32_t (*varying)(const wf_call *c);
    /* out[0] is in[0] (..., I) times in[weight] (I, O), transposed: (O, I), wherever that has two
     * axes, plus in[bias] (O) unless bias is 0. weight 0: it is no such product. */
    struct { int8_t weight, bias; bool transposed; } product;
    bool (*shape)(wf_shaping *s);
    bool (*check)(const wf_call *c, wf_error *error);      /* may be NULL: ids in range */
    void (*forward)(const wf_call *c);
    void (*backward)(const wf_call *c);
    void (*gradient)(wf_tape *t, const wf_gradient *g);    /* or NULL, and then: */
    bool (*reference)(wf_tape *t, const wf_reference *r);  /* the slow spelling */
    bool (*sample)(int k, wf_sample *s);           /* fills sample k (zeroed); false: no more */
    /* NULL: where values are NaN, infinite, zero or tied, backward, gradient and reference give the
     * same numbers, or the same kind of none. Else why not, for users and the report to read. */
    const char *special;
    /* of elementwise ops: kernels on tiles, by level (autograd/tile.h); or NULL */
    const wf_pointwise *pointwise;
    const void *reserved[2];
};

/* Runs an op on vars of this tape and parameters (NULL: an optional input left out) and records
 * it. out receives op->outputs vars; NULLs and false after any failure. attr (attr_size bytes) is
 * copied, and all of its bytes say what is applied: a loop compares them from step to step, so
 * that what lies in a struct's padding, or was never written, would decide how the loop runs. The
 * row must stay until the tape's next reset. */
WF_API bool wf_apply(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], const void *attr,
                     wf_var *out[]);
/* The same for an op with one output. */
WF_API wf_var *wf_apply_one(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[],
                            const void *attr);

/* The built-in rows, in a fixed order; NULL past the end. */
WF_API const wf_op *wf_op_at(int index);

/* Lists of vars and of axes: WF_VARS(x, h), WF_AXES(0, -1). In C they live to the end of their
 * block; in C++ to the end of the statement, or as long as `auto list = WF_VARS(x, h);`. */
typedef struct wf_vars { int n; wf_var *const *at; } wf_vars;
typedef struct wf_axes { int n; const int *at; } wf_axes;
#ifdef __cplusplus
extern "C++" {
template <int n> struct wf_cxx_vars {
    wf_var *at[n];
    operator wf_vars() const { return wf_vars{ n, at }; }
};
template <class... var> constexpr wf_cxx_vars<(int)sizeof...(var)> wf_cxx_vars_of(var... each)
{
    return { { each... } };
}
template <int n> struct wf_cxx_axes {
    int at[n];
    wf_axes list;
    template <class... axis> explicit wf_cxx_axes(axis... each) : at{ each... }, list{ n, at } {}
    wf_cxx_axes(const wf_cxx_axes &) = delete;
    wf_cxx_axes &operator=(const wf_cxx_axes &) = delete;
    operator const wf_axes *() const { return &list; }
};
}
#define WF_VARS(...) (wf_cxx_vars_of(__VA_ARGS__))
#define WF_AXES(...) (wf_cxx_axes<wf_cxx_count(__VA_ARGS__)>(__VA_ARGS__))
#else
#define WF_VARS(...) ((wf_vars){ WF_COUNT(wf_var *, __VA_ARGS__), (wf_var *[]){ __VA_ARGS__ } })
#define WF_AXES(...) (&(wf_axes){ WF_COUNT(int, __VA_ARGS__), (int[]){ __VA_ARGS__ } })
#endif

WF_END

#endif
