/* A cell is a row: what happens in one step, as a pure function. Time, depth, direction, lengths
 * and speed are supplied. */
#ifndef WEFT_LAYERS_CELL_H
#define WEFT_LAYERS_CELL_H

#include "autograd/check.h"

WF_BEGIN

/* Sizes are linear in these three: 4 * WF_HIDDEN, WF_INPUT + WF_HIDDEN; factors and constants up
 * to 32,767. */
#define WF_OUTPUT (INT64_C(1) << 16)
#define WF_INPUT (INT64_C(1) << 32)
#define WF_HIDDEN (INT64_C(1) << 48)

/* What may be left out, and is NULL then: a bias under .no_bias; a projection when output and
 * hidden are equal. */
enum { WF_CELL_BIAS = 1, WF_CELL_PROJECTION = 2 };

/* A parameter: the field of the cell's struct that holds it (a wf_var *), its sizes and its
 * initial value. The default (all zero) is PyTorch's: uniform, +-1 / sqrt(hidden). */
typedef struct wf_cell_param {
    const char *name;
    size_t offset;
    int64_t size[4];                               /* zero ends the list */
    wf_init init;
    int32_t optional;                  /* WF_CELL_BIAS, WF_CELL_PROJECTION; 0: always there */
    const void *reserved[2];
} wf_cell_param;

/* Which rows of a bias belong to a gate, so that .forget_bias and .chrono of wf_rnn can begin it:
 * the sigmoid that says how much of the old state is kept (FORGET: at 1 all of it), or how much of
 * the new one is let in, where that is a gate of its own (INPUT). Where several biases of a gate
 * are added each has a line: the first receives the value, the others become 0. Sizes as above;
 * first may be 0. */
enum { WF_GATE_FORGET = 1, WF_GATE_INPUT = 2 };
typedef struct wf_cell_gate {
    const char *name; /* of the bias */
    int32_t gate;
    int64_t first, rows;
    const void *reserved[2];
} wf_cell_gate;

/* A state: (B, width) per sequence. State 0 is the output of a step. */
typedef struct wf_cell_state {
    const char *name;
    int64_t width;
    const void *reserved[2];
} wf_cell_state;

/* One direction of one layer over all time, for a sequence of the cell's own. */
typedef struct wf_sequence {
    wf_var *x;                                     /* (T, B, input) */
    wf_var *lengths;                               /* (B) I32, or NULL: all T */
    bool reverse;                      /* each sequence from its own last step to its first */
    wf_var *state[WF_CELL_STATES]; /* in: (B, width) initial, all given; out: final */
    wf_var *output;                    /* out: (T, B, width of state 0), zero past the end */
} wf_sequence;

/* x is (n, input), state[k] (n, width): it holds the state before the step and receives the one
 * after it. The rows are the sequences that go on at this step, n of B in an order of the layer's,
 * and each is computed by itself: what has ended, padding and empty sequences are never seen. self
 * is the cell's struct, read only: its parameters are vars of this tape. As any step of wf_scan it
 * is called on shapes alone where the loop can be planned (wf_rnn_explain). */
typedef void wf_cell_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[]);
/* Does what T steps would do (T is 1 or more), or returns false without having failed the tape:
 * then the steps run. Neither may compute anything from what lies past a sequence's end, not even
 * to hide it afterwards: a gradient would be 0 x NaN. */
typedef bool wf_cell_sequence(wf_tape *t, const void *self, wf_sequence *s);

typedef struct wf_cell {
    const char *name;
    size_t size;                       /* of the cell's struct: parameters, then plain options */
    wf_cell_step *step;
    wf_cell_sequence *sequence;                    /* or NULL */
    /* Up to WF_CELL_STATES; the first without a name ends them. */
    const wf_cell_state *states;
    const wf_cell_param *params;                   /* the first without a name ends them */
    const wf_cell_gate *gates;                     /* or NULL; the first without a name ends them */
    const void *reserved[7];
} wf_cell;

/* WF_PARAM(mgu, w_f, WF_HIDDEN, WF_INPUT + WF_HIDDEN): the field w_f of struct mgu with its sizes.
 * WF_PARAM_INIT with an initial value besides, WF_INIT(WF_INIT_ORTHOGONAL, 1, 0) say. The lists
 * WF_PARAMS and WF_STATES live as long as the program where they stand outside of functions, in
 * C++ anywhere. */
#ifdef __cplusplus
extern "C++" {
template <class... each>
constexpr wf_cell_param wf_cxx_param(const char *name, size_t offset, const wf_init &init,
                                     int32_t optional, each... size)
{
    static_assert(sizeof...(each) <= 4, "a parameter has at most 4 sizes");
    return wf_cell_param{ name, offset, { (int64_t)size... }, init, optional, {} };
}
}
#define WF_VAR_OFFSET(type, field) offsetof(type, field)
#define WF_INIT(kind, a, b) (wf_init{ kind, a, b, 0 })
#define WF_PARAM_INIT(type, field, initial, ...) \
    (wf_cxx_param(#field, offsetof(type, field), initial, 0, __VA_ARGS__))
#define WF_PARAM(type, field, ...) \
    (wf_cxx_param(#field, offsetof(type, field), wf_init{}, 0, __VA_ARGS__))
#define WF_BIAS(type, field, ...) \
    (wf_cxx_param(#field, offsetof(type, field), wf_init{}, WF_CELL_BIAS, __VA_ARGS__))
#define WF_PROJECTION(type, field, ...) \
    (wf_cxx_param(#field, offsetof(type, field), wf_init{}, WF_CELL_PROJECTION, __VA_ARGS__))
#define WF_STATE(title, size) (wf_cell_state{ title, size, {} })
#define WF_GATE(title, gate, first, rows) (wf_cell_gate{ title, gate, first, rows, {} })
#define WF_GATES(...)                                                                              \
    ([] {                                                                                          \
        static const wf_cell_gate list[] = { __VA_ARGS__, wf_cell_gate{} };                        \
        return &list[0];                                                                           \
    }())
#define WF_PARAMS(...)                                                                             \
    ([] {                                                                                          \
        static const wf_cell_param list[] = { __VA_ARGS__, wf_cell_param{} };                      \
        return &list[0];                                                                           \
    }())
#define WF_STATES(...)                                                                             \
    ([] {                                                                                          \
        static const wf_cell_state list[] = { __VA_ARGS__, wf_cell_state{} };                      \
        return &list[0];                                                                           \
    }())
#else
/* The offset of a field, which must be a wf_var *. */
#define WF_VAR_OFFSET(type, field) \
    _Generic(((type *)0)->field, wf_var *: offsetof(type, field))
#define WF_INIT(kind, a, b) { kind, a, b, 0 }
#define WF_PARAM_INIT(type, field, initial, ...) \
    { .name = #field, .offset = WF_VAR_OFFSET(type, field), \
      .size = { __VA_ARGS__ }, .init = initial }
#define WF_PARAM(type, field, ...) \
    { .name = #field, .offset = WF_VAR_OFFSET(type, field), .size = { __VA_ARGS__ } }
#define WF_BIAS(type, field, ...) \
    { .name = #field, .offset = WF_VAR_OFFSET(type, field), \
      .size = { __VA_ARGS__ }, .optional = WF_CELL_BIAS }
#define WF_PROJECTION(type, field, ...) \
    { .name = #field, .offset = WF_VAR_OFFSET(type, field), \
      .size = { __VA_ARGS__ }, .optional = WF_CELL_PROJECTION }
#define WF_STATE(title, size) { .name = title, .width = size }
/* WF_GATE("bias_ih", WF_GATE_FORGET, WF_HIDDEN, WF_HIDDEN): its second H rows. */
#define WF_GATE(title, of, from, count)                                                            \
    {                                                                                              \
        .name = title, .gate = of, .first = from, .rows = count                                    \
    }
#define WF_GATES(...) ((const wf_cell_gate[]){ __VA_ARGS__, { .name = NULL } })
#define WF_PARAMS(...) ((const wf_cell_param[]){ __VA_ARGS__, { .name = NULL } })
#define WF_STATES(...) ((const wf_cell_state[]){ __VA_ARGS__, { .name = NULL } })
#endif

/* Proves a cell: gradients of steps in double; ragged = one at a time (NaN and infinities in the
 * padding and in the initial states of empty sequences); halves = whole through a carry and
 * through explicit states; reverse = flipped; the planned loop, or the sequence, = steps one after
 * another, values and gradients; f32 close to f64; purity. */
typedef struct wf_cell_check_options {
    wf_check_options check;
    const void *prototype;             /* a struct of the cell with plain options set, or NULL */
    int64_t time, batch, input, hidden, output;    /* 0: 5, 4, 3, 6, = hidden */
    const void *reserved[4];
} wf_cell_check_options;
WF_API wf_report wf_cell_check(const wf_cell *cell, const wf_cell_check_options *options);

WF_END

#endif
