/* Multi-head attention (Vaswani et al. 2017, section 3.2), of a sequence to itself or to a memory,
 * over whole sequences or a step at a time; and the positions that attention by itself does not
 * see. T is the time of what asks, S that of what is attended to, B the batch, E the width, H the
 * heads and D = E / H the width of one. */
#ifndef WEFT_LAYERS_MULTIHEAD_H
#define WEFT_LAYERS_MULTIHEAD_H

#include "layers/basic.h"

WF_BEGIN

typedef struct wf_multihead_options {
    int64_t width, heads;           /* E and H, which divides it; required */
    int64_t key_width, value_width; /* of what is attended to; 0: E */
    double dropout;                 /* of attention weights */
    bool no_bias;
    bool rotary;  /* wf_rotary of queries and keys: attends to itself alone */
    double base;  /* of rotary; 0: 10000 */
    wf_init init; /* out_proj.weight; zero: PyTorch's, +-1 / sqrt(E) */
    const void *reserved[4];
} wf_multihead_options;

/* Parameters as PyTorch's nn.MultiheadAttention names and turns them: in_proj_weight (3E, E) holds
 * queries, keys and values one under another; where keys or values have a width of their own it is
 * NULL, and q_proj_weight (E, E), k_proj_weight (E, key_width), v_proj_weight (E, value_width)
 * stand for it. The first four begin as Glorot and Bengio's (2010) uniform numbers, biases as 0. */
typedef struct wf_multihead {
    wf_module *module;
    wf_var *in_proj_weight, *q_proj_weight, *k_proj_weight, *v_proj_weight;
    wf_var *in_proj_bias; /* (3E) or NULL */
    wf_linear *out_proj;  /* E to E */
    int64_t width, heads, key_width, value_width;
    double dropout, base; /* base 0: not rotary */
} wf_multihead;
WF_API wf_multihead *wf_multihead_new(wf_module *parent, const char *name,
                                      const wf_multihead_options *options);

/* What one call may be given; all zero: everyone sees everything. Masks are I32, not 0 where
 * something takes part; who is hidden by one of these has a weight of exactly 0. */
typedef struct wf_multihead_call {
    wf_var *lengths;  /* (B), 0..S: how much of each memory is there */
    wf_var *key_mask; /* (S, B), as wf_length_mask's: which of it */
    wf_var *mask;     /* broadcasting to (B, H, T, S): who sees whom; (T, S), say */
    bool causal;      /* step i sees 0 .. i + S - T: with T = S itself and before */
    bool heads_apart; /* weights of each head, (B, H, T, S), not their mean */
    wf_var **weights; /* receives the weights, a constant (B, T, S), as before dropout */
    const void *reserved[4];
} wf_multihead_call;

/* query (T, B, E) attends to key (S, B, key_width; NULL: query) and receives of value (S, B,
 * value_width; NULL: key): (T, B, E). Step i of a sequence gets, through out_proj, the sum over j
 * of softmax_j(q_i k_j / sqrt(D)) v_j, head by head. Who sees nobody (an empty memory, a mask that
 * hides all) gets a sum of nothing: 0 before out_proj. What lengths and key_mask hide is never
 * read, NaN or not, and gets a gradient of 0; what `mask` alone hides must be finite. Where key is
 * query, steps past a length are cleared as queries, too, and what comes out there means nothing.
 */
WF_API wf_var *wf_multihead_forward(wf_tape *t, const wf_multihead *layer, wf_var *query,
                                    wf_var *key, wf_var *value, const wf_multihead_call *call);

/* The same in two parts, for a memory that is asked again and again: its keys and values, (B, 2, H,
 * S, D), row first so that a search can pick rows; and a query to them, with the same call. */
WF_API wf_var *wf_multihead_memory(wf_tape *t, const wf_multihead *layer, wf_var *key,
                                   wf_var *value, const wf_multihead_call *call);
WF_API wf_var *wf_multihead_attend(wf_tape *t, const wf_multihead *layer, wf_var *query,
                                   wf_var *memory, const wf_multihead_call *call);

/* Causal attention to itself, of a sequence that grows: x (T, B, E), its next T steps (1, while
 * generating), attends to itself and to all before. *state holds the keys and values of the S steps
 * before, (B, 2, H, S, D), NULL: none, and receives those of all S + T. The call speaks of all S +
 * T, too; .causal is meant anyway. One call after another give what one forward of the whole gives.
 */
WF_API wf_var *wf_multihead_append(wf_tape *t, const wf_multihead *layer, wf_var *x, wf_var **state,
                                   const wf_multihead_call *call);

/* ---- positions ---- */

/* A constant (time, width): row i tells of position start + i, at 2k sin(position / base^(2k /
 * width)), at 2k + 1 the cosine of the same (Vaswani et al. 2017, section 3.5); base 0: 10000. */
WF_API wf_var *wf_sinusoidal(wf_tape *t, wf_dtype dtype, int64_t start, int64_t time, int64_t width,
                             double base);
/* x (..., T, D), D even, turned by its position: numbers 2k and 2k + 1 of step i, as a point in the
 * plane, by the angle (start + i) / base^(2k / D), so that the product of two steps depends on how
 * far they are apart (Su et al. 2021); base 0: 10000. */
WF_API wf_var *wf_rotary(wf_tape *t, wf_var *x, int64_t start, double base);

WF_END

#endif
