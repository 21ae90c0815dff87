/* The layers without time: shapes, initial values and derivatives. */
#include "tests/fixture.h"

#include <math.h>
#include <string.h>

/* ---- linear ---- */

TEST_EACH(linear_is_a_product_and_a_bias_over_the_last_axis, 2)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 3, .dtype = WF_F64 });
    wf_linear *layer = wf_linear_new(
        net, "head", &(wf_linear_options){ .input = 3, .output = 2, .no_bias = _i == 1 });
    ck_assert(wf_module_ok(net, NULL));
    ck_assert((layer->bias == NULL) == (_i == 1));
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(2, 5, 3), 1, -2, 2), *y = wf_linear_forward(t, layer, x);
    wf_shape shape = wf_shape_of(y), want = WF_SHAPE(2, 5, 2);
    ck_assert(wf_shape_equal(&shape, &want));
    for (int64_t i = 0; i < 20; i++) {
        double sum = layer->bias ? wf_at(layer->bias, i % 2) : 0;
        for (int64_t k = 0; k < 3; k++)
            sum += wf_at(layer->weight, i % 2 * 3 + k) * wf_at(x, i / 2 * 3 + k);
        ck_assert_double_eq_tol(wf_at(y, i), sum, 1e-14);
    }
}

TEST(the_loss_of_a_linear_layer_is_that_of_its_output_and_says_where_it_was)
{
    const int32_t ids[10] = { 0, 1, 1, 0, 1, 1, 1, 0, 0, 7 };
    const wf_cross_entropy_options some = { .has_ignore = true, .ignore = 7 };
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 3, .dtype = WF_F64 });
    wf_linear *layer = wf_linear_new(net, "head", &(wf_linear_options){ .input = 3, .output = 2 });
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(2, 5, 3), 1, -2, 2);
    wf_var *id = wf_constant(t, WF_I32, WF_SHAPE(2, 5), ids);
    wf_var *loss = wf_linear_cross_entropy(t, layer, x, id, &some);
    wf_var *want = wf_cross_entropy_with(t, wf_linear_forward(t, layer, x), id, &some);
    ck_assert_double_eq_tol(wf_item(loss), wf_item(want), 1e-14);
    ck_assert_ptr_null(wf_linear_cross_entropy(t, layer, x, id, NULL));
    ck_assert_str_eq(wf_tape_error(t),
                     "affine_cross_entropy: target 7 at (1, 4) is out of range: there are 2 "
                     "classes\n  in head");
}

typedef struct plain {
    wf_linear *linear;
    wf_embedding *embedding;
} plain;

static bool plain_forward(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    const plain *p = context;
    wf_var *rows = wf_embedding_forward(t, p->embedding, in[0]);
    out[0] = wf_affine(t, wf_linear_forward(t, p->linear, rows), p->embedding->weight,
                       NULL); /* tied */
    *n_out = 1;
    return out[0] != NULL;
}

TEST(a_model_that_ties_its_embedding_to_its_output_has_the_derivatives_of_both_uses)
{
    static int32_t ids[4] = { 2, 0, 2, 4 };
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 3 });
    plain p = { .embedding = wf_embedding_new(net, "embed",
                                              &(wf_embedding_options){ .input = 5, .output = 3 }),
                .linear = wf_linear_new(net, "linear",
                                        &(wf_linear_options){ .input = 3, .output = 3 }) };
    ck_assert(wf_module_ok(net, NULL));
    const wf_tensor in = wf_tensor_of(WF_I32, WF_SHAPE(2, 2), ids);
    assert_proved(wf_gradcheck(plain_forward, &p, 1, &in, &(wf_check_options){ .module = net }));
}

TEST(initial_values_are_those_of_pytorch)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 9 });
    wf_linear *linear = wf_linear_new(net, "linear",
                                      &(wf_linear_options){ .input = 100, .output = 60 });
    wf_embedding *embed = wf_embedding_new(net, "embed",
                                           &(wf_embedding_options){ .input = 90, .output = 70 });
    wf_linear *zero = wf_linear_new(
        net, "zero",
        &(wf_linear_options){
            .input = 4, .output = 4, .init = { .kind = WF_INIT_CONSTANT, .a = 0.5 } });
    ck_assert(wf_module_ok(net, NULL));
    double sum = 0, squares = 0, largest = 0;
    for (int64_t i = 0; i < wf_count(linear->weight); i++) {
        double w = wf_at(linear->weight, i);
        largest = fmax(largest, fabs(w));
        squares += w * w;
    }
    ck_assert(largest <= 0.1 && largest > 0.099); /* uniform, +-1 / sqrt(100) */
    ck_assert_double_eq_tol(squares / 6000, 0.01 / 3, 2e-4);
    for (int64_t i = 0; i < 60; i++) ck_assert(fabs(wf_at(linear->bias, i)) <= 0.1);
    squares = 0;
    for (int64_t i = 0; i < wf_count(embed->weight); i++) {
        double w = wf_at(embed->weight, i);
        sum += w;
        squares += w * w;
    }
    ck_assert_double_eq_tol(sum / 6300, 0, 0.05); /* standard normal */
    ck_assert_double_eq_tol(squares / 6300, 1, 0.1);
    for (int64_t i = 0; i < 16; i++) ck_assert(wf_at(zero->weight, i) == 0.5);
}

TEST(an_embedding_gives_the_rows_of_its_ids)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_embedding *layer = wf_embedding_new(net, "embed",
                                           &(wf_embedding_options){ .input = 7, .output = 3 });
    const int32_t want[6] = { 6, 0, 3, 3, 1, 6 };
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *y = wf_embedding_forward(t, layer, wf_constant(t, WF_I32, WF_SHAPE(2, 3), want));
    ck_assert_int_eq(wf_rank(y), 3);
    for (int64_t i = 0; i < 18; i++)
        ck_assert(wf_at(y, i) == wf_at(layer->weight, want[i / 3] * 3 + i % 3));
}

TEST(dropout_drops_in_training_alone)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_dropout_layer *layer = wf_dropout_new(net, "drop", &(wf_dropout_options){ .p = 0.25 });
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = wf_full(t, WF_F32, WF_SHAPE(100, 100), 3), *y = wf_dropout_forward(t, layer, x);
    int64_t zeros = 0;
    for (int64_t i = 0; i < 10000; i++) {
        zeros += wf_at(y, i) == 0;
        ck_assert(wf_at(y, i) == 0 || wf_at(y, i) == 4);
    }
    ck_assert(zeros > 2300 && zeros < 2700);
    wf_tape_set_mode(t, WF_EVAL);
    y = wf_dropout_forward(t, layer, x);
    for (int64_t i = 0; i < 10000; i++) ck_assert(wf_at(y, i) == 3);
}

/* ---- layer normalisation ---- */

static bool normed(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    *n_out = 1;
    return (out[0] = wf_layer_norm_forward(t, context, in[0])) != NULL;
}

TEST_EACH(layer_norm_learns_what_it_is_told_to_and_has_its_derivatives, 3)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_layer_norm_layer *layer = wf_layer_norm_new(
        net, "norm",
        &(wf_layer_norm_options){
            .input = 5, .eps = 0.1, .no_bias = _i == 1, .no_weight = _i == 2 });
    ck_assert(wf_module_ok(net, NULL));
    ck_assert_int_eq(wf_module_param_count(net), 2 - _i);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(2, 3, 5), 1, -2, 2),
           *y = wf_layer_norm_forward(t, layer, x);
    wf_var *same = wf_layer_norm(t, x, NULL, NULL, 0.1); /* it begins with ones and zeros */
    for (int64_t i = 0; i < 30; i++) ck_assert_double_eq(wf_at(y, i), wf_at(same, i));
    assert_proved(
        wf_gradcheck(normed, layer, 1, wf_value(x), &(wf_check_options){ .module = net }));
}
