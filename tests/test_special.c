/* What every op answers where values are special: NaN, infinities, zeros and ties, in value and in
 * derivative, swept and as a graph, in both precisions; and that the checkers see to it for every
 * row and at every dispatch level. */
#include "autograd/check_row_private.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/isa.h"
#include "tensor/runtime.h"
#include "tests/fixture.h"
#include "tests/toy_op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define N NAN
#define I INFINITY

/* ---- an op on a few numbers ---- */

enum { MOST = 12 };
typedef wf_var *op_fn(wf_tape *t, wf_var *const x[]);

/* Numbers in a shape; n < 0 ends a list. */
typedef struct numbers {
    wf_shape shape;
    double at[MOST];
} numbers;

static void same_numbers(const char *what, const wf_var *got, const double *want)
{
    ck_assert_msg(got, "%s was never made", what);
    for (int64_t i = 0; i < wf_count(got); i++) {
        double x = wf_at(got, i);
        bool same = isnan(want[i])   ? isnan(x)
                    : isinf(want[i]) ? x == want[i]
                                     : fabs(x - want[i]) <= 1e-6 * (1 + fabs(want[i]));
        ck_assert_msg(same, "%s, element %d: %g, expected %g", what, (int)i, x, want[i]);
    }
}

/* fn of n inputs gives y, and for the cotangent g the gradients: however it is differentiated. */
static void answers(const char *name, op_fn *fn, int n, const numbers in[], const double *y,
                    const double *g, const double gradient[][MOST])
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int way = 0; way < 4; way++) {
        wf_dtype dtype = way & 1 ? WF_F32 : WF_F64;
        wf_var *x[4], *grad[4], *with;
        char what[96];
        wf_tape_reset(t);
        for (int i = 0; i < n; i++) {
            wf_tensor from = wf_tensor_of(WF_F64, in[i].shape, (void *)(uintptr_t)in[i].at);
            x[i] = wf_leaf(t, dtype, in[i].shape, NULL);
            wf_tensor_copy(&from, wf_value(x[i]));
        }
        wf_var *out = fn(t, x);
        snprintf(what, sizeof what, "%s, %s", name, wf_dtype_name(dtype));
        same_numbers(what, out, y);
        with = wf_leaf(t, dtype, wf_shape_of(out), NULL);
        wf_tensor from = wf_tensor_of(WF_F64, wf_shape_of(out), (void *)(uintptr_t)g);
        wf_tensor_copy(&from, wf_value(with));
        ck_assert_msg(
            wf_grad(t, 1, &out, &with, n, x, grad, &(wf_grad_options){ .create_graph = way & 2 }),
            "%s: %s", name, wf_tape_error(t));
        for (int i = 0; i < n; i++) {
            snprintf(what, sizeof what, "%s, %s, the %s derivative by input %d", name,
                     wf_dtype_name(dtype), way & 2 ? "graph's" : "swept", i);
            same_numbers(what, grad[i], gradient[i]);
        }
    }
}

static const double ones[MOST] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

/* ---- pointwise ops ---- */

#define OP(name, expression)                                                                       \
    static wf_var *name(wf_tape *t, wf_var *const x[])                                             \
    {                                                                                              \
        return expression;                                                                         \
    }
OP(f_abs, wf_abs(t, x[0]))
OP(f_relu, wf_relu(t, x[0]))
OP(f_sign, wf_sign(t, x[0]))
OP(f_sqrt, wf_sqrt(t, x[0]))
OP(f_log, wf_log(t, x[0]))
OP(f_exp, wf_exp(t, x[0]))
OP(f_reciprocal, wf_reciprocal(t, x[0]))
OP(f_tanh, wf_tanh(t, x[0]))
OP(f_sigmoid, wf_sigmoid(t, x[0]))
OP(f_erf, wf_erf(t, x[0]))
OP(f_silu, wf_silu(t, x[0]))
OP(f_gelu, wf_gelu(t, x[0]))
OP(f_gelu_tanh, wf_gelu_tanh(t, x[0]))
OP(f_leaky_relu, wf_leaky_relu(t, x[0], 0.25))
OP(f_elu, wf_elu(t, x[0], 0.5))
OP(f_pow_0, wf_pow_scalar(t, x[0], 0))
OP(f_pow_1, wf_pow_scalar(t, x[0], 1))
OP(f_pow_2, wf_pow_scalar(t, x[0], 2))
OP(f_pow_half, wf_pow_scalar(t, x[0], 0.5))
OP(f_pow_minus, wf_pow_scalar(t, x[0], -1))
OP(f_clamp, wf_clamp(t, x[0], -1, 2))
OP(f_maximum, wf_maximum(t, x[0], x[1]))
OP(f_minimum, wf_minimum(t, x[0], x[1]))
OP(f_above, wf_above(t, x[0], x[1]))

static const struct {
    const char *name;
    op_fn *fn;
    double x[5], y[5], derivative[5];
} pointwise[] = {
    { "abs", f_abs, { 0, -0.0, N, -I, I }, { 0, 0, N, I, I }, { 0, 0, 1, -1, 1 } },
    { "relu", f_relu, { 0, -0.0, N, -I, I }, { 0, 0, N, 0, I }, { 0, 0, 1, 0, 1 } },
    { "sign", f_sign, { 0, -0.0, N, -I, I }, { 0, 0, N, -1, 1 }, { 0, 0, 0, 0, 0 } },
    { "sqrt", f_sqrt, { 0, 4, N, -1, I }, { 0, 2, N, N, I }, { I, 0.25, N, N, 0 } },
    { "log", f_log, { 0, -0.0, N, 1, I }, { -I, -I, N, 0, I }, { I, -I, N, 1, 0 } },
    { "exp", f_exp, { 0, -0.0, N, -I, I }, { 1, 1, N, 0, I }, { 1, 1, N, 0, I } },
    { "reciprocal", f_reciprocal, { 0, -0.0, N, -I, I }, { I, -I, N, 0, 0 }, { -I, -I, N, 0, 0 } },
    { "tanh", f_tanh, { 0, -0.0, N, -I, I }, { 0, 0, N, -1, 1 }, { 1, 1, N, 0, 0 } },
    { "sigmoid", f_sigmoid, { 0, -0.0, N, -I, I }, { .5, .5, N, 0, 1 }, { .25, .25, N, 0, 0 } },
    { "erf", f_erf, { 0, -0.0, N, -I, I }, { 0, 0, N, -1, 1 }, { 1.1283792, 1.1283792, N, 0, 0 } },
    { "silu", f_silu, { 0, -0.0, N, -I, I }, { 0, 0, N, 0, I }, { .5, .5, N, 0, 1 } },
    { "gelu", f_gelu, { 0, -0.0, N, -I, I }, { 0, 0, N, 0, I }, { .5, .5, N, 0, 1 } },
    { "gelu_tanh", f_gelu_tanh, { 0, -0.0, N, -I, I }, { 0, 0, N, 0, I }, { .5, .5, N, 0, 1 } },
    { "leaky", f_leaky_relu, { 0, -0.0, N, -I, I }, { 0, 0, N, -I, I }, { .25, .25, 1, .25, 1 } },
    { "elu", f_elu, { 0, -0.0, N, -I, I }, { 0, 0, N, -.5, I }, { .5, .5, N, 0, 1 } },
    { "pow 0", f_pow_0, { 0, -0.0, N, -I, I }, { 1, 1, 1, 1, 1 }, { 0, 0, 0, 0, 0 } },
    { "pow 1", f_pow_1, { 0, -0.0, N, -I, I }, { 0, 0, N, -I, I }, { 1, 1, 1, 1, 1 } },
    { "pow 2", f_pow_2, { 0, -0.0, N, -I, I }, { 0, 0, N, I, I }, { 0, 0, N, -I, I } },
    { "pow 0.5", f_pow_half, { 0, 4, N, -1, I }, { 0, 2, N, N, I }, { I, 0.25, N, N, 0 } },
    { "pow -1", f_pow_minus, { 0, 2, N, -1, I }, { I, .5, N, -1, 0 }, { -I, -.25, N, -1, 0 } },
    { "clamp", f_clamp, { -1, 2, N, -I, I }, { -1, 2, N, -1, 2 }, { 1, 1, 1, 0, 0 } },
};
enum { POINTWISE = (int)(sizeof pointwise / sizeof pointwise[0]) };

TEST_EACH(a_pointwise_op_answers_special_numbers_as_documented, POINTWISE)
{
    double derivative[1][MOST] = { { 0 } };
    numbers in = { WF_SHAPE(5), { 0 } };
    memcpy(in.at, pointwise[_i].x, sizeof pointwise[_i].x);
    memcpy(derivative[0], pointwise[_i].derivative, sizeof pointwise[_i].derivative);
    answers(pointwise[_i].name, pointwise[_i].fn, 1, &in, pointwise[_i].y, ones, derivative);
}

TEST(the_larger_and_the_smaller_share_at_a_tie_and_choose_nan_first)
{
    const numbers in[2] = { { WF_SHAPE(7), { 1, 2, N, 1, N, I, -0.0 } },
                            { WF_SHAPE(7), { 2, 2, 1, N, N, I, 0 } } };
    const double larger[2][MOST] = { { 0, .5, 1, 0, .5, .5, .5 }, { 1, .5, 0, 1, .5, .5, .5 } };
    const double smaller[2][MOST] = { { 1, .5, 1, 0, .5, .5, .5 }, { 0, .5, 0, 1, .5, .5, .5 } };
    const double none[2][MOST] = { { 0 } };
    answers("maximum", f_maximum, 2, in, (double[]){ 2, 2, N, N, N, I, 0 }, ones, larger);
    answers("minimum", f_minimum, 2, in, (double[]){ 1, 2, N, N, N, I, 0 }, ones, smaller);
    answers("above", f_above, 2, in, larger[0], ones, none);
}

TEST(what_was_not_chosen_gets_zero_even_of_a_derivative_that_is_no_number)
{
    const double bad[MOST] = { N, I, -I, N, I, -I };
    const numbers in[2] = { { WF_SHAPE(6), { 1, 1, 1, -1, -1, -1 } },
                            { WF_SHAPE(6), { 2, 2, 2, -2, -2, -2 } } };
    const double larger[2][MOST] = { { 0, 0, 0, N, I, -I }, { N, I, -I, 0, 0, 0 } };
    answers("maximum", f_maximum, 2, in, (double[]){ 2, 2, 2, -1, -1, -1 }, bad, larger);
    answers("relu", f_relu, 1, in, (double[]){ 1, 1, 1, 0, 0, 0 }, bad,
            (const double[1][MOST]){ { N, I, -I, 0, 0, 0 } });
    answers("abs", f_abs, 1, in, ones, bad, (const double[1][MOST]){ { N, I, -I, N, -I, I } });
    answers("clamp", f_clamp, 1, &in[1], (double[]){ 2, 2, 2, -1, -1, -1 }, bad,
            (const double[1][MOST]){ { N, I, -I, 0, 0, 0 } });
}

OP(f_where,
   wf_where(t, wf_constant(t, WF_I32, WF_SHAPE(4), (int32_t[]){ 1, 0, -3, 0 }), x[0], x[1]))

/* The root of what lies there is infinite in derivative; the branch was not taken. */
OP(f_where_of_log, wf_where(t, wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 1, 0 }),
                            wf_relu(t, x[0]), wf_neg(t, x[0])))

TEST(the_branch_that_where_does_not_take_gets_zero_whatever_lies_there)
{
    const numbers in[2] = { { WF_SHAPE(4), { 1, N, 2, I } }, { WF_SHAPE(4), { N, 3, -I, 4 } } };
    answers("where", f_where, 2, in, (double[]){ 1, 3, 2, 4 }, (double[]){ 1, N, I, 2 },
            (const double[2][MOST]){ { 1, 0, I, 0 }, { 0, N, 0, 2 } });
    const numbers x = { WF_SHAPE(2), { N, 2 } };
    answers("where of relu", f_where_of_log, 1, &x, (double[]){ N, -2 }, (double[]){ 0, 1 },
            (const double[1][MOST]){ { 0, -1 } });
}

OP(f_masked_fill,
   wf_masked_fill(t, x[0], wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 0, 2 }), 7))

TEST(what_is_filled_has_no_derivative_whatever_lies_there)
{
    const numbers in = { WF_SHAPE(2, 2), { N, N, 2, I } };
    answers("masked_fill", f_masked_fill, 1, &in, (double[]){ N, 7, 2, 7 },
            (double[]){ 1, N, I, 2 }, (const double[1][MOST]){ { 1, 0, I, 0 } });
}

/* ---- over rows ---- */

OP(f_max, wf_max(t, x[0], WF_AXES(-1)))

TEST(the_largest_of_a_row_is_nan_where_one_is_and_those_share_the_derivative)
{
    const numbers in = { WF_SHAPE(4, 3), { 1, N, 3, N, 2, N, -I, -I, -I, I, 0, I } };
    answers("max", f_max, 1, &in, (double[]){ N, N, -I, I }, (double[]){ 6, 6, 6, I },
            (const double[1][MOST]){ { 0, 6, 0, 3, 0, 3, 2, 2, 2, I, 0, I } });
}

OP(f_mean, wf_mean(t, x[0], WF_AXES(0)))

OP(f_sum, wf_sum(t, x[0], WF_AXES(0)))

TEST(the_mean_of_nothing_is_nan_the_sum_zero_and_the_largest_is_refused)
{
    const numbers in = { WF_SHAPE(0, 3), { 0 } };
    const double none[1][MOST] = { { 0 } };
    answers("mean", f_mean, 1, &in, (double[]){ N, N, N }, ones, none);
    answers("sum", f_sum, 1, &in, (double[]){ 0, 0, 0 }, ones, none);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    ck_assert_ptr_null(wf_max(t, wf_leaf(t, WF_F32, WF_SHAPE(0, 3), NULL), WF_AXES(0)));
    ck_assert_str_eq(wf_tape_error(t), "max: (0, 3) has nothing to choose from");
}

OP(f_softmax, wf_softmax(t, x[0], -1))

OP(f_log_softmax, wf_log_softmax(t, x[0], -1))

TEST(a_softmax_shares_nothing_out_among_minus_infinities_and_is_nan_beyond_its_range)
{
    const numbers in = { WF_SHAPE(4, 2), { -I, -I, -I, 0, I, 0, N, 0 } };
    const double g[MOST] = { 1, 2, 1, 2, 1, 2, 1, 2 };
    answers("softmax", f_softmax, 1, &in, (double[]){ 0, 0, 0, 1, N, N, N, N }, g,
            (const double[1][MOST]){ { 0, 0, 0, 0, N, N, N, N } });
    answers("log_softmax", f_log_softmax, 1, &in, (double[]){ -I, -I, -I, 0, N, N, N, N }, g,
            (const double[1][MOST]){ { 0, 0, 1, -1, N, N, N, N } });
    answers("softmax", f_softmax, 1, &in, (double[]){ 0, 0, 0, 1, N, N, N, N }, (double[8]){ 0 },
            (const double[1][MOST]){ { 0, 0, 0, 0, N, N, N, N } });
}

OP(f_logsumexp, wf_logsumexp(t, x[0], WF_AXES(-1)))

TEST(a_logsumexp_of_nothing_is_minus_infinity_and_shares_nothing_out)
{
    const numbers in = { WF_SHAPE(5, 2), { -I, -I, 0, 0, I, 0, N, 0, 2000, -I } };
    answers("logsumexp", f_logsumexp, 1, &in, (double[]){ -I, log(2), I, N, 2000 }, ones,
            (const double[1][MOST]){ { 0, 0, .5, .5, N, 0, N, N, 1, 0 } });
    const numbers none = { WF_SHAPE(2, 0), { 0 } };
    answers("logsumexp", f_logsumexp, 1, &none, (double[]){ -I, -I }, ones,
            (const double[1][MOST]){ { 0 } });
}

OP(f_cumsum, wf_cumsum(t, x[0], 0))

TEST(a_running_sum_is_no_number_from_the_first_on_that_is_none)
{
    const numbers in = { WF_SHAPE(5), { 1, I, 2, -I, 3 } };
    answers("cumsum", f_cumsum, 1, &in, (double[]){ 1, I, I, N, N }, (double[]){ 1, 2, I, 3, 4 },
            (const double[1][MOST]){ { I, I, I, 7, 4 } });
}

OP(f_masked_softmax, wf_masked_softmax(t, x[0],
                                       wf_constant(t, WF_I32, WF_SHAPE(5, 2),
                                                   (int32_t[]){ 0, 0, 1, 0, 0, -1, 1, 0, 1, 1 }),
                                       1))

TEST(what_a_softmax_is_not_to_see_gets_zero_whatever_lies_there_and_arrives_there)
{
    const numbers in = { WF_SHAPE(5, 2), { N, I, 0, N, I, -I, N, I, -I, I } };
    answers("masked_softmax", f_masked_softmax, 1, &in, (double[]){ 0, 0, 1, 0, 0, 0, N, 0, N, N },
            (double[]){ N, 1, 2, N, I, 3, 1, -I, 1, 2 },
            (const double[1][MOST]){ { 0, 0, 0, 0, 0, 0, N, 0, N, N } });
}

/* ---- losses and tables ---- */

static wf_cross_entropy_options how;

static wf_var *f_entropy(wf_tape *t, wf_var *const x[])
{
    wf_var *target = wf_constant(t, WF_I32, WF_SHAPE(4), (int32_t[]){ 0, -1, 0, 1 });
    return wf_cross_entropy_with(t, x[0], target, &how);
}

TEST(cross_entropy_does_not_look_at_ignored_rows_and_blames_no_logit_of_nothing)
{
    const numbers in = { WF_SHAPE(4, 2), { 0, 0, N, I, -I, -I, -I, 0 } };
    const double l2 = log(2);
    for (int smoothed = 0; smoothed < 2; smoothed++) {
        how = (wf_cross_entropy_options){ .has_ignore = true,
                                          .ignore = -1,
                                          .reduction = WF_REDUCE_NONE,
                                          .label_smoothing = 0.2 * smoothed };
        double s = how.label_smoothing / 2;
        answers("cross entropy", f_entropy, 1, &in, (double[]){ l2, 0, I, smoothed ? I : 0 }, ones,
                (const double[1][MOST]){ { -.5 + s, .5 - s, 0, 0, 0, 0, -s, s } });
        answers("cross entropy, unseen", f_entropy, 1, &in,
                (double[]){ l2, 0, I, smoothed ? I : 0 }, (double[4]){ 0 },
                (const double[1][MOST]){ { 0 } });
        how.reduction = WF_REDUCE_MEAN;
        answers("mean cross entropy", f_entropy, 1, &in, (double[]){ I }, (double[]){ 3 },
                (const double[1][MOST]){ { -.5 + s, .5 - s, 0, 0, 0, 0, -s, s } });
    }
}

static wf_var *f_entropy_two(wf_tape *t, wf_var *const x[])
{
    wf_var *target = wf_constant(t, WF_I32, WF_SHAPE(4), (int32_t[]){ 0, 0, 1, 1 });
    return wf_cross_entropy_with(t, x[0], target,
                                 &(wf_cross_entropy_options){ .reduction = WF_REDUCE_NONE });
}

TEST(cross_entropy_is_infinite_for_what_cannot_be_and_nan_for_what_is_no_number)
{
    const numbers in = { WF_SHAPE(4, 2), { -I, 0, I, 0, N, -I, 0, N } };
    answers("cross entropy", f_entropy_two, 1, &in, (double[]){ I, N, N, N }, ones,
            (const double[1][MOST]){ { -1, 1, N, N, N, N, N, N } });
}

static wf_var *f_entropy_none(wf_tape *t, wf_var *const x[])
{
    wf_var *target = wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 7, 7 });
    return wf_cross_entropy_with(t, x[0], target,
                                 &(wf_cross_entropy_options){ .has_ignore = true, .ignore = 7 });
}

TEST(the_mean_over_positions_that_are_all_ignored_is_zero_and_so_is_its_derivative)
{
    const numbers in = { WF_SHAPE(2, 2), { N, I, 1, 2 } };
    answers("cross entropy", f_entropy_none, 1, &in, (double[]){ 0 }, ones,
            (const double[1][MOST]){ { 0 } });
}

OP(f_mse, wf_mse(t, x[0], x[1]))

TEST(a_squared_error_to_infinity_is_infinite_and_between_infinities_nan)
{
    const numbers one[2] = { { WF_SHAPE(2), { I, 1 } }, { WF_SHAPE(2), { 2, 2 } } };
    answers("mse", f_mse, 2, one, (double[]){ I }, ones,
            (const double[2][MOST]){ { I, -1 }, { -I, 1 } });
    const numbers two[2] = { { WF_SHAPE(2), { I, 1 } }, { WF_SHAPE(2), { I, 2 } } };
    answers("mse", f_mse, 2, two, (double[]){ N }, ones,
            (const double[2][MOST]){ { N, -1 }, { N, 1 } });
    const numbers none[2] = { { WF_SHAPE(0), { 0 } }, { WF_SHAPE(0), { 0 } } };
    answers("mse", f_mse, 2, none, (double[]){ N }, ones, (const double[2][MOST]){ { 0 } });
}

OP(f_rows, wf_gather_rows(t, x[0], wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 2, 2 })))

TEST(rows_that_no_id_names_are_not_seen)
{
    const numbers in = { WF_SHAPE(3, 2), { N, I, 1, N, 5, -I } };
    answers("gather_rows", f_rows, 1, &in, (double[]){ 5, -I, 5, -I }, (double[]){ 1, N, 2, 3 },
            (const double[1][MOST]){ { 0, 0, 0, 0, 3, N } });
}

TEST(what_is_dropped_out_is_zero_even_if_it_was_nan)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double x[40];
    for (int i = 0; i < 40; i++) x[i] = NAN;
    wf_var *leaf = wf_leaf(t, WF_F64, WF_SHAPE(40), x), *y = wf_dropout(t, leaf, 0.5), *grad[2];
    wf_var *g = wf_leaf(t, WF_F64, WF_SHAPE(40), x);
    ck_assert(wf_grad(t, 1, &y, &g, 1, &leaf, &grad[0], NULL));
    ck_assert(wf_grad(t, 1, &y, &g, 1, &leaf, &grad[1], &with_graph));
    int dropped = 0;
    for (int i = 0; i < 40; i++) {
        bool kept = isnan(wf_at(y, i));
        dropped += !kept;
        ck_assert(kept || wf_at(y, i) == 0);
        for (int way = 0; way < 2; way++)
            ck_assert(kept ? isnan(wf_at(grad[way], i)) : wf_at(grad[way], i) == 0);
    }
    ck_assert(dropped > 5 && dropped < 35);
}

/* ---- the checker sees to it ---- */

static void backward_blind_to_nan(const wf_call *c)
{
    if (!c->gout[0]) return;
    for (int64_t i = 0; i < wf_tensor_count(c->out[0]); i++) {
        double a = get(c->in[0], i), b = get(c->in[1], i), g = get(c->gout[0], i);
        if (c->gin[0] && !isnan(b)) put(c->gin[0], i, get(c->gin[0], i) + g * b * b);
        if (c->gin[1]) put(c->gin[1], i, get(c->gin[1], i) + 2 * g * a * b);
    }
}

/* Elements whose cotangent is 0 are left out; the graph multiplies them. */
static void backward_of_what_is_seen(const wf_call *c)
{
    for (int64_t i = 0; c->gout[0] && i < wf_tensor_count(c->out[0]); i++) {
        double a = get(c->in[0], i), b = get(c->in[1], i), g = get(c->gout[0], i);
        if (g == 0) continue;
        if (c->gin[0]) put(c->gin[0], i, get(c->gin[0], i) + g * b * b);
        if (c->gin[1]) put(c->gin[1], i, get(c->gin[1], i) + 2 * g * a * b);
    }
}

static void backward_of_numbers_only_in_f32(const wf_call *c)
{
    toy_backward(c);
    for (int64_t i = 0; c->gin[0] && i < wf_tensor_count(c->gin[0]); i++)
        if (c->gin[0]->dtype == WF_F32 && isinf(get(c->gin[0], i))) put(c->gin[0], i, 1e30);
}

static void backward_of_numbers_only_in_rows(const wf_call *c)
{
    toy_backward(c);
    for (int64_t i = 0; c->gin[0] && i < wf_tensor_count(c->gin[0]); i++)
        if (!wf_tensor_is_contiguous(c->in[0]) && isnan(get(c->gin[0], i))) put(c->gin[0], i, 0);
}

static void gradient_that_hides(wf_tape *t, const wf_gradient *g)
{
    toy_gradient(t, g);
    if (!g->gin[0]) return;
    /* x / x is 1, but not of infinities. */
    wf_var *b = wf_add_scalar(t, wf_square(t, g->in[1]), 1);
    g->gin[0] = wf_mul(t, g->gin[0], wf_div(t, b, b));
}

static bool reference_that_hides(wf_tape *t, const wf_reference *r)
{
    /* The smaller of a and 1e9: the same, but of infinities. */
    r->out[0] = wf_mul(t, wf_minimum_scalar(t, r->in[0], 1e9), wf_square(t, r->in[1]));
    return r->out[0] != NULL;
}

TEST(a_spelling_that_differs_where_values_are_special_is_told)
{
    only_law(LAW_SPECIAL, TOY(backward = backward_blind_to_nan),
             "toy, sample 'matrix': nan in all of input 1: the gradient of input 0 at (0, 0): "
             "gradient nan, backward ");
    only_law(LAW_SPECIAL, TOY(backward = backward_of_what_is_seen),
             "nan in all of input 0: the gradient of input 1 at (0, 0): gradient nan, "
             "backward 0");
    only_law(LAW_SPECIAL, TOY(backward = backward_of_numbers_only_in_f32),
             "f32 1.00000002e+30, backward ");
    only_law(LAW_SPECIAL, TOY(backward = backward_of_numbers_only_in_rows), "stepped ");
    only_law(LAW_SPECIAL, TOY(gradient = gradient_that_hides),
             "inf in all of input 1: the gradient of input 0 at (0, 0): gradient ");
    only_law(LAW_SPECIAL, TOY(reference = reference_that_hides),
             "inf in all of input 0: output 0 at (0, 0): reference ");
}

TEST(a_row_may_say_why_its_spellings_differ_but_not_for_nothing)
{
    wf_op op = toy();
    op.backward = backward_blind_to_nan;
    op.special = "backward leaves NaN out";
    wf_report r = wf_op_check(&op, NULL);
    ck_assert_msg(r.ok, "%s", r.text);
    ck_assert_msg(strstr(r.text, "; special values may differ: backward leaves NaN out"), "%s",
                  r.text);
    /* The excuse is for the two spellings, not for layouts and precisions. */
    op.backward = backward_of_numbers_only_in_rows;
    must_fail(&op, "stepped ");
    op.backward = toy_backward;
    must_fail(&op, "toy: its row says why special values may differ ('backward leaves NaN out'), "
                   "but they do not");
}

TEST(no_row_of_the_library_needs_an_excuse)
{
    for (int i = 0; wf_op_at(i); i++)
        ck_assert_msg(!wf_op_at(i)->special, "%s: %s", wf_op_at(i)->name, wf_op_at(i)->special);
}

/* ---- at every level ---- */

static int print_kinds(void)
{
    for (int i = 0; wf_op_at(i); i++) {
        uint64_t kinds = 0;
        wf_report r = op_check_without(0, wf_op_at(i), NULL, &kinds);
        printf("%s %d %llx\n", wf_op_at(i)->name, r.ok, (unsigned long long)kinds);
    }
    return 0;
}

TEST(the_kinds_of_answers_are_one_at_every_dispatch_level)
{
    char command[512], said[256], expected[256];
    if (wf_isa_level() == WF_ISA_C) return; /* the others are held against this one */
    if (HARNESS_ADDRESSES) {
        harness_skip("kinds of answers: held by builds without sanitizers; test_check runs them");
        return;
    }
    snprintf(command, sizeof command, "WEFT_ISA=c '%s/tests/test_special' --kinds",
             getenv("WEFT_BUILD") ? getenv("WEFT_BUILD") : "build/release");
    FILE *f = popen(command, "r");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; wf_op_at(i); i++) {
        uint64_t kinds = 0;
        wf_report r = op_check_without(0, wf_op_at(i), NULL, &kinds);
        ck_assert_msg(r.ok, "%s", r.text);
        snprintf(expected, sizeof expected, "%s 1 %llx\n", wf_op_at(i)->name,
                 (unsigned long long)kinds);
        ck_assert_ptr_nonnull(fgets(said, sizeof said, f));
        ck_assert_str_eq(said, expected);
    }
    ck_assert_int_eq(pclose(f), 0);
}

const harness_suite suite = { .child = print_kinds };
