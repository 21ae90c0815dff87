/* Vars, parameters, an optimiser and a carry, none of which a refused call may change. Each suite
 * of misuse includes its own copy. */
#ifndef WEFT_TESTS_MISUSE_FIXTURE_H
#define WEFT_TESTS_MISUSE_FIXTURE_H

#include "tests/fixture.h"

#include <stdio.h>
#include <string.h>

/* ck_assert_msg, for what is asked a million times: Check notes each of its own in a file. */
#define HOLDS(condition, ...) ((condition) ? (void)0 : ck_abort_msg(__VA_ARGS__))

/* ---- the fixture ---- */

typedef struct fixture {
    wf_tape *t, *other;
    wf_module *net, *tree; /* tree: a scratch one, to be failed */
    wf_linear *linear;
    wf_embedding *embed;
    wf_dropout_layer *dropout;
    wf_layer_norm_layer *layer_norm;
    wf_conv1d_layer *conv1d;
    wf_conv2d_layer *conv2d;
    wf_batch_norm_layer *batch_norm;
    wf_rnn *rnn;
    wf_multihead *multihead;
    wf_transformer *transformer;
    wf_optim *adam;
    wf_carry *carry;
    wf_error error; /* for calls that fill one */
    wf_var *matrix, *more, *vector, *scalar, *weight,
        *tall;                          /* (2, 3) (2, 3) (3) () (4, 3) (3, 2) */
    wf_var *single, *ids, *mask;        /* (2, 3) of f32; (2) and (2, 3) of i32 */
    wf_var *empty, *deep, *window;      /* (0, 3); rank 8; (3, 3), overlapping itself */
    wf_var *sequence, *foreign, *param; /* (4, 2, 3); of another tape; (4, 3) of net */
    wf_var *picture;                    /* (2, 3, 2, 2) */
    int messages;                       /* logged when all this was renewed */
    uint64_t hash;
} fixture;

static fixture now;

/* Twos, of a rank that may be none. */
static inline wf_shape shape_of_rank(int rank)
{
    wf_shape s = { .rank = rank };
    for (int i = 0; i < WF_RANK; i++) s.dim[i] = 2;
    return s;
}

/* All that must outlive a mistake. */
static inline uint64_t misuse_hash(void)
{
    uint64_t hash = HASH, number;
    const wf_tensor *x;
    for (int64_t i = 0; i < wf_module_param_count(now.net); i++) {
        const wf_var *p = wf_module_param_at(now.net, i);
        hash = hash_tensor(hash, wf_param_value(p));
        hash = hash_tensor(hash, wf_param_grad(p));
        hash = hash_bytes(hash, &(uint64_t){ wf_param_version(p) }, 8);
        for (int k = 0; (x = wf_optim_state(now.adam, i, k)); k++) hash = hash_tensor(hash, x);
    }
    for (int64_t i = 0; i < wf_module_buffer_count(now.net); i++)
        hash = hash_tensor(hash, wf_param_value(wf_module_buffer_at(now.net, i)));
    for (int k = 0; (x = wf_carry_state(now.carry, 0, 0, k)); k++) hash = hash_tensor(hash, x);
    number = (uint64_t)wf_optim_steps(now.adam);
    hash = hash_bytes(hash, &number, sizeof number);
    return hash_bytes(hash, &(double){ wf_optim_lr(now.adam) }, sizeof(double));
}

static inline wf_var *misuse_leaf(wf_tape *t, wf_shape shape)
{
    double x[32];
    for (int i = 0; i < 32; i++) x[i] = 0.25 + 0.125 * i;
    return wf_leaf(t, WF_F64, shape, x);
}

/* A new step on a healthy tape. */
static inline void misuse_renew(void)
{
    const float f[6] = { 1, 2, 3, 4, 5, 6 };
    const int32_t i[6] = { 1, 0, 1, 0, 1, 1 };
    wf_tape *t = now.t;
    wf_tape_reset(t);
    wf_tape_set_mode(t, WF_TRAIN);
    now.matrix = misuse_leaf(t, WF_SHAPE(2, 3));
    now.more = misuse_leaf(t, WF_SHAPE(2, 3));
    now.vector = misuse_leaf(t, WF_SHAPE(3));
    now.scalar = misuse_leaf(t, WF_SCALAR);
    now.weight = misuse_leaf(t, WF_SHAPE(4, 3));
    now.tall = misuse_leaf(t, WF_SHAPE(3, 2));
    now.single = wf_leaf(t, WF_F32, WF_SHAPE(2, 3), f);
    now.ids = wf_constant(t, WF_I32, WF_SHAPE(2), i);
    now.mask = wf_constant(t, WF_I32, WF_SHAPE(2, 3), i);
    now.empty = misuse_leaf(t, WF_SHAPE(0, 3));
    now.deep = misuse_leaf(t, WF_SHAPE(1, 2, 1, 1, 1, 1, 2, 3));
    now.window = wf_window(t, misuse_leaf(t, WF_SHAPE(5)), 0, 3, 1);
    now.sequence = misuse_leaf(t, WF_SHAPE(4, 2, 3));
    now.picture = misuse_leaf(t, WF_SHAPE(2, 3, 2, 2));
    memset(&now.error, 0, sizeof now.error);
    now.messages = log_kept.times;
    now.hash = misuse_hash();
    HOLDS(wf_tape_ok(t) && now.window && now.deep, "%s", wf_tape_error(t));
}

static inline void misuse_new_tree(void)
{
    wf_module_free(now.tree);
    now.tree = wf_module_new("tree", &(wf_module_options){ .dtype = WF_F64 });
    HOLDS(now.tree, "no tree");
}

static inline void misuse_set_up(void)
{
    memset(&now, 0, sizeof now);
    heap.live = 0;
    heap.most = (size_t)1 << 30;
    now.t = wf_tape_new(&(wf_tape_options){ .seed = 7 });
    now.other = wf_tape_new(NULL);
    now.foreign = misuse_leaf(now.other, WF_SHAPE(2, 3));
    now.net = wf_module_new("net", &(wf_module_options){ .seed = 3, .dtype = WF_F64 });
    now.linear = wf_linear_new(now.net, "linear", &(wf_linear_options){ .input = 3, .output = 4 });
    now.embed = wf_embedding_new(now.net, "embed",
                                 &(wf_embedding_options){ .input = 5, .output = 3 });
    now.dropout = wf_dropout_new(now.net, "dropout", &(wf_dropout_options){ .p = 0.5 });
    now.layer_norm = wf_layer_norm_new(now.net, "norm", &(wf_layer_norm_options){ .input = 3 });
    now.conv1d = wf_conv1d_new(now.net, "conv1d",
                               &(wf_conv1d_layer_options){ .input = 2, .output = 2, .kernel = 2 });
    now.conv2d = wf_conv2d_new(
        now.net, "conv2d",
        &(wf_conv2d_layer_options){ .input = 3, .output = 2, .kernel = { 2, 1 } });
    now.batch_norm = wf_batch_norm_new(now.net, "batch", &(wf_batch_norm_options){ .features = 3 });
    now.rnn = wf_gru_new(now.net, "gru", &(wf_rnn_options){ .input = 3, .hidden = 4 });
    now.multihead = wf_multihead_new(now.net, "heads",
                                     &(wf_multihead_options){ .width = 3, .heads = 3 });
    now.transformer = wf_transformer_new(
        now.net, "transformer",
        &(wf_transformer_options){ .source = 5,
                                   .target = 5,
                                   .layer = { .width = 3, .heads = 3, .hidden = 2 },
                                   .encoder_layers = 1,
                                   .decoder_layers = 1 });
    now.adam = wf_adam_new(now.net, NULL);
    now.carry = wf_carry_new(now.rnn, 2);
    now.param = now.linear ? now.linear->weight : NULL;
    ck_assert_msg(wf_module_ok(now.net, &now.error), "%s", now.error.text);
    /* One step, so that there are gradients, buffers and a carried state to be spoilt. */
    wf_var *x = misuse_leaf(now.t, WF_SHAPE(4, 2, 3));
    wf_var *y = wf_rnn_forward(now.t, now.rnn, x, &(wf_rnn_call){ .carry = now.carry });
    wf_var *z = wf_linear_forward(now.t, now.linear, x);
    wf_var *loss = wf_add(now.t, wf_sum(now.t, y, NULL), wf_sum(now.t, z, NULL));
    ck_assert_msg(wf_backward(now.t, loss), "%s", wf_tape_error(now.t));
    ck_assert(wf_optim_step(now.adam));
    ck_assert_ptr_nonnull(now.carry);
    misuse_new_tree();
    misuse_renew();
}

static inline void misuse_tear_down(void)
{
    wf_tape_free(now.t);
    wf_tape_free(now.other);
    wf_carry_free(now.carry);
    wf_optim_free(now.adam);
    wf_module_free(now.net);
    wf_module_free(now.tree);
    memset(&now, 0, sizeof now);
    ck_assert_int_eq(heap.live, 0);
}

const harness_suite suite = { .before = misuse_set_up, .after = misuse_tear_down };

#endif
