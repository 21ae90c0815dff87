/* The losses and the ops around log(1 + e^x): values against plain double arithmetic, both
 * spellings of each derivative where numbers are special, and what options mean, by laws. */
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tests/tape.h"

#include <math.h>
#include <stdio.h>

static void assert_near(const char *what, double got, double want, double relative)
{
    bool same = isnan(want)   ? isnan(got)
                : isinf(want) ? got == want
                              : fabs(got - want) <= relative * fabs(want);
    ck_assert_msg(same, "%s: %.17g is not %.17g", what, got, want);
}

/* ---- special values, in both spellings of the derivative ---- */

/* The derivative of sum(y) to x's only element by the kernels, and by ops. */
static void assert_slope(const char *what, wf_var *y, wf_var *x, double want)
{
    wf_var *kernel, *graph, *loss = wf_sum(t, y, NULL);
    ck_assert(wf_grad(t, 1, &loss, NULL, 1, &x, &kernel, NULL));
    ck_assert(wf_grad(t, 1, &loss, NULL, 1, &x, &graph, &with_graph));
    assert_near(what, wf_item(kernel), want, 4e-7);
    assert_near(what, wf_item(graph), want, 4e-7);
}

typedef wf_var *unary(wf_tape *t, wf_var *a);

static const struct special {
    const char *name;
    unary *op;
    double at, value, slope;
} specials[] = {
    { "softplus(inf)", wf_softplus, INFINITY, INFINITY, 1 },
    { "softplus(-inf)", wf_softplus, -INFINITY, 0, 0 },
    { "softplus(0)", wf_softplus, 0, 0.69314718055994531, 0.5 },
    { "softplus(-0)", wf_softplus, -0.0, 0.69314718055994531, 0.5 },
    { "softplus(1e30)", wf_softplus, 1e30, 1e30, 1 },
    { "softplus(-80)", wf_softplus, -80, 1.8048513878454153e-35, 1.8048513878454153e-35 },
    { "softplus(nan)", wf_softplus, NAN, NAN, NAN },
    { "log_sigmoid(inf)", wf_log_sigmoid, INFINITY, -0.0, 0 },
    { "log_sigmoid(-inf)", wf_log_sigmoid, -INFINITY, -INFINITY, 1 },
    { "log_sigmoid(80)", wf_log_sigmoid, 80, -1.8048513878454153e-35, 1.8048513878454153e-35 },
    { "log_sigmoid(-1e30)", wf_log_sigmoid, -1e30, -1e30, 1 },
    { "log_sigmoid(nan)", wf_log_sigmoid, NAN, NAN, NAN },
    { "log1p(-1)", wf_log1p, -1, -INFINITY, INFINITY },
    { "log1p(inf)", wf_log1p, INFINITY, INFINITY, 0 },
    { "log1p(1e-30)", wf_log1p, 1e-30, 1e-30, 1 },
    { "log1p(-0)", wf_log1p, -0.0, -0.0, 1 },
    { "log1p(-2)", wf_log1p, -2, NAN, -1 },
    { "log1p(nan)", wf_log1p, NAN, NAN, NAN },
    { "expm1(-inf)", wf_expm1, -INFINITY, -1, 0 },
    { "expm1(inf)", wf_expm1, INFINITY, INFINITY, INFINITY },
    { "expm1(1e-30)", wf_expm1, 1e-30, 1e-30, 1 },
    { "expm1(-60)", wf_expm1, -60, -1, 8.7565107626965204e-27 },
    { "expm1(-0)", wf_expm1, -0.0, -0.0, 1 },
    { "expm1(nan)", wf_expm1, NAN, NAN, NAN },
};

TEST_EACH(where_numbers_are_special_values_and_both_derivatives_are_the_limits,
          sizeof specials / sizeof *specials)
{
    const struct special *s = &specials[_i];
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *x = wf_leaf(t, (wf_dtype)dtype, WF_SHAPE(1), NULL);
        wf_tensor_fill(wf_value(x), s->at);
        wf_var *y = s->op(t, x);
        assert_near(s->name, wf_at(y, 0), s->value, 4e-7);
        ck_assert_msg(isnan(s->value) || signbit(wf_at(y, 0)) == signbit(s->value), "%s", s->name);
        assert_slope(s->name, y, x, s->slope);
    }
}

/* logit, target, weight of positives; the loss and its derivatives to the three. */
static const double limits[][7] = {
    { INFINITY, 1, 1, 0, 0, -INFINITY, 0 },
    { INFINITY, 0, 1, INFINITY, 1, -INFINITY, 0 },
    { -INFINITY, 0, 1, 0, 0, INFINITY, 0 },
    { -INFINITY, 1, 2, INFINITY, -2, INFINITY, INFINITY },
    { -INFINITY, 1, 0, 0, 0, NAN, INFINITY },
    { 1e4, 1, 1, 0, 0, -1e4, 0 },
    { 1e4, 0, 1, 1e4, 1, -1e4, 0 },
    { -1e4, 1, 3, 3e4, -3, 3e4, 1e4 },
    { 50, 1, 1, 1.9287498479639178e-22, -1.9287498479639178e-22, -50, 1.9287498479639178e-22 },
    { -50, 0, 1, 1.9287498479639178e-22, 1.9287498479639178e-22, 50, 0 },
    { 0, 1, 1, 0.69314718055994531, -0.5, 0, 0.69314718055994531 },
    { -0.0, 0, 1, 0.69314718055994531, 0.5, 0, 0 },
    { NAN, 1, 1, NAN, NAN, NAN, NAN },
    { NAN, 0, 1, NAN, NAN, NAN, 0 },
};
enum { LIMITS = (int)(sizeof limits / sizeof limits[0]) };

TEST_EACH(binary_cross_entropy_is_exact_for_any_logit_and_its_limit_at_infinite_ones, LIMITS)
{
    const double *want = limits[_i];
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *in[3];
        char what[64];
        for (int k = 0; k < 3; k++) {
            in[k] = wf_leaf(t, (wf_dtype)dtype, WF_SHAPE(1), NULL);
            wf_tensor_fill(wf_value(in[k]), want[k]);
        }
        wf_var *y = wf_logistic_loss(t, in[0], in[1], in[2]);
        snprintf(what, sizeof what, "logit %g, target %g, weight %g", want[0], want[1], want[2]);
        assert_near(what, wf_at(y, 0), want[3], 4e-7);
        for (int k = 0; k < 3; k++) assert_slope(what, y, in[k], want[4 + k]);
    }
}

/* ---- binary cross-entropy ---- */

TEST(binary_cross_entropy_is_what_its_definition_says)
{
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        const double allowed = dtype == WF_F32 ? 1e-6 : 1e-14;
        wf_var *x = drawn(t, (wf_dtype)dtype, WF_SHAPE(7, 5), 1, -6, 6),
               *y = drawn(t, (wf_dtype)dtype, WF_SHAPE(7, 5), 2, 0, 1),
               *w = drawn(t, (wf_dtype)dtype, WF_SHAPE(7, 1), 3, 0, 2),
               *p = drawn(t, (wf_dtype)dtype, WF_SHAPE(5), 4, 0, 3);
        wf_binary_cross_entropy_options o = { .weight = w, .pos_weight = p };
        wf_var *loss[3];
        for (int k = 0; k < 3; k++) {
            o.reduction = (wf_reduction)k;
            loss[k] = wf_binary_cross_entropy_with(t, x, y, &o);
        }
        double sum = 0;
        for (int64_t i = 0; i < 35; i++) {
            const double s = 1 / (1 + exp(-wf_at(x, i))), q = wf_at(y, i);
            const double l = -wf_at(w, i / 5) *
                             (wf_at(p, i % 5) * q * log(s) + (1 - q) * log1p(-s));
            sum += l;
            assert_near("each", wf_at(loss[WF_REDUCE_NONE], i), l, allowed);
        }
        ck_assert_int_eq(wf_rank(loss[WF_REDUCE_NONE]), 2);
        assert_near("sum", wf_item(loss[WF_REDUCE_SUM]), sum, allowed);
        assert_near("mean", wf_item(loss[WF_REDUCE_MEAN]), sum / 35, allowed);
        assert_near("tensor", wf_item(wf_binary_cross_entropy(t, x, wf_value(y))),
                    wf_item(wf_binary_cross_entropy_with(t, x, y, NULL)), 0);
    }
}

TEST(the_mean_of_no_losses_is_nan_and_their_sum_is_0)
{
    wf_var *x = wf_leaf(t, WF_F32, WF_SHAPE(0, 3), NULL);
    wf_binary_cross_entropy_options o = { .reduction = WF_REDUCE_SUM };
    ck_assert(isnan(wf_item(wf_binary_cross_entropy_with(t, x, x, NULL))));
    assert_near("sum", wf_item(wf_binary_cross_entropy_with(t, x, x, &o)), 0, 0);
}

/* A 0 logit and two classes: a sigmoid is a softmax over (x, 0). */
TEST(binary_cross_entropy_is_cross_entropy_of_two_classes)
{
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(11), 1, -5, 5), *none = wf_zeros(t, WF_F64, WF_SHAPE(11));
    int32_t ids[11];
    for (int i = 0; i < 11; i++) ids[i] = i % 3 == 0;
    wf_var *id = wf_constant(t, WF_I32, WF_SHAPE(11), ids);
    wf_var *one = wf_full(t, WF_F64, WF_SCALAR, 1), *zero = wf_zeros(t, WF_F64, WF_SCALAR);
    wf_var *y = wf_where(t, id, one, zero);
    assert_near("loss", wf_item(wf_binary_cross_entropy_with(t, x, y, NULL)),
                wf_item(wf_cross_entropy_with(t, wf_stack(t, -1, WF_VARS(none, x)), id, NULL)),
                1e-14);
}

/* ---- cross entropy: classes that weigh, and probabilities ---- */

static wf_var *ids_of(const wf_var *logits, uint64_t seed)
{
    wf_tensor to;
    wf_var *id = wf_constant_fill(t, WF_I32, WF_SHAPE(wf_dim(logits, 0)), &to);
    for (int64_t i = 0; i < wf_count(id); i++)
        ((int32_t *)to.data)[i] = (int32_t)wf_random_below(seed, (uint64_t)i, wf_dim(logits, 1));
    return id;
}

TEST(probabilities_of_one_class_are_its_id)
{
    wf_var *z = drawn(t, WF_F64, WF_SHAPE(13, 5), 1, -3, 3),
           *w = drawn(t, WF_F64, WF_SHAPE(5), 2, 0.2, 2);
    wf_var *id = ids_of(z, 3);
    wf_var *q = wf_where(t, wf_one_hot(t, id, 5), wf_full(t, WF_F64, WF_SCALAR, 1),
                         wf_zeros(t, WF_F64, WF_SCALAR));
    for (int k = 0; k < 12; k++) {
        wf_cross_entropy_options o = { .reduction = (wf_reduction)(k % 3),
                                       .label_smoothing = k / 3 % 2 ? 0.3 : 0,
                                       .weight = k / 6 ? w : NULL };
        if (o.weight && o.reduction == WF_REDUCE_MEAN) continue; /* their means differ */
        wf_var *hard = wf_cross_entropy_with(t, z, id, &o),
               *soft = wf_cross_entropy_with(t, z, q, &o);
        ck_assert_int_eq(wf_count(hard), wf_count(soft));
        for (int64_t i = 0; i < wf_count(hard); i++)
            assert_near("loss", wf_at(soft, i), wf_at(hard, i), 1e-14);
    }
}

TEST(weights_of_1_change_nothing_and_a_mean_is_over_the_weights)
{
    wf_var *z = drawn(t, WF_F64, WF_SHAPE(13, 5), 1, -3, 3),
           *w = drawn(t, WF_F64, WF_SHAPE(5), 2, 0.2, 2);
    wf_var *id = ids_of(z, 3), *ones = wf_full(t, WF_F64, WF_SHAPE(5), 1);
    for (int k = 0; k < 12; k++) {
        wf_cross_entropy_options o = { .reduction = (wf_reduction)(k % 3),
                                       .label_smoothing = k / 3 % 2 ? 0.3 : 0,
                                       .has_ignore = k / 6,
                                       .ignore = 2 };
        wf_var *plain = wf_cross_entropy_with(t, z, id, &o);
        o.weight = ones;
        wf_var *same = wf_cross_entropy_with(t, z, id, &o);
        for (int64_t i = 0; i < wf_count(plain); i++)
            assert_near("loss", wf_at(same, i), wf_at(plain, i), 1e-14);
    }
    wf_var *each = wf_cross_entropy_with(
        t, z, id, &(wf_cross_entropy_options){ .reduction = WF_REDUCE_NONE });
    double sum = 0, weights = 0;
    for (int64_t i = 0; i < 13; i++) {
        const double own = wf_at(w, (int64_t)wf_at(id, i));
        sum += own * wf_at(each, i);
        weights += own;
    }
    wf_cross_entropy_options o = { .weight = w };
    assert_near("mean", wf_item(wf_cross_entropy_with(t, z, id, &o)), sum / weights, 1e-14);
}

TEST(what_is_ignored_or_weighs_nothing_leaves_a_loss_of_0_and_no_derivative)
{
    const int32_t ids[3] = { -1, -1, -1 };
    wf_var *z = drawn(t, WF_F64, WF_SHAPE(3, 5), 1, -3, 3), *grad;
    wf_var *id = wf_constant(t, WF_I32, WF_SHAPE(3), ids);
    wf_cross_entropy_options o = { .has_ignore = true,
                                   .ignore = -1,
                                   .label_smoothing = 0.1,
                                   .weight = wf_full(t, WF_F64, WF_SHAPE(5), 2) };
    for (int k = 0; k < 2; k++) {
        wf_var *loss = wf_cross_entropy_with(t, z, id, &o);
        assert_near("loss", wf_item(loss), 0, 0);
        ck_assert(wf_grad(t, 1, &loss, NULL, 1, &z, &grad, NULL));
        for (int64_t i = 0; i < 15; i++) assert_near("derivative", wf_at(grad, i), 0, 0);
        o = (wf_cross_entropy_options){ .weight = wf_zeros(t, WF_F64, WF_SHAPE(5)) };
        id = ids_of(z, 2);
    }
}

TEST(a_class_that_cannot_be_and_is_not_costs_nothing)
{
    const double logits[3] = { 1, 2, -INFINITY }, q[3] = { 0.25, 0.75, 0 };
    wf_var *z = wf_leaf(t, WF_F64, WF_SHAPE(1, 3), logits), *grad[2];
    wf_var *p = wf_constant(t, WF_F64, WF_SHAPE(1, 3), q);
    wf_var *loss = wf_cross_entropy_with(t, z, p, NULL);
    const double e = exp(1), s = 1 + e;
    assert_near("loss", wf_item(loss), 0.25 * log(s) + 0.75 * log(s / e), 1e-14);
    for (int graph = 0; graph < 2; graph++) {
        ck_assert(wf_grad(t, 1, &loss, NULL, 1, &z, grad,
                          &(wf_grad_options){ .create_graph = graph == 1 }));
        assert_near("first", wf_at(grad[0], 0), 1 / s - 0.25, 1e-13);
        assert_near("last", wf_at(grad[0], 2), 0, 0);
    }
}

/* ---- derivatives, to the second order ---- */

/* Inputs: logits, target, weight, pos_weight. */
static bool binary_form(wf_tape *tape, void *context, wf_var *const in[], wf_var *out[8], int *n)
{
    const int k = *(const int *)context;
    wf_binary_cross_entropy_options o = { .weight = k & 1 ? in[2] : NULL,
                                          .pos_weight = k & 2 ? in[3] : NULL,
                                          .reduction = (wf_reduction)(k % 3) };
    out[0] = wf_binary_cross_entropy_with(tape, in[0], in[1], &o);
    *n = 1;
    return out[0] != NULL;
}

/* Inputs: logits, probabilities, weight, ids. */
static bool entropy_form(wf_tape *tape, void *context, wf_var *const in[], wf_var *out[8], int *n)
{
    const int k = *(const int *)context;
    wf_cross_entropy_options o = { .label_smoothing = k & 1 ? 0.2 : 0,
                                   .reduction = (wf_reduction)(k % 3),
                                   .weight = in[2] };
    out[0] = wf_cross_entropy_with(tape, in[0], in[1], &o);
    o.has_ignore = (k & 2) != 0;
    o.ignore = 1;
    out[1] = wf_cross_entropy_with(tape, in[0], in[3], &o);
    *n = 2;
    return out[0] && out[1];
}

TEST_EACH(the_losses_have_their_derivatives_and_second_ones, 6)
{
    double x[15], y[15], w[5] = { 0.5, 1.5, 0.75, 1.25, 2 }, p[3] = { 0.5, 2, 3 };
    int32_t id[3] = { 4, 1, 2 };
    int k = _i;
    for (int i = 0; i < 15; i++) {
        x[i] = 4 * wf_random_uniform(1, (uint64_t)i) - 2;
        y[i] = wf_random_uniform(2, (uint64_t)i);
    }
    const wf_shape rows = WF_SHAPE(3, 5);
    wf_tensor in[4] = { wf_tensor_of(WF_F64, rows, x), wf_tensor_of(WF_F64, rows, y),
                        wf_tensor_of(WF_F64, WF_SHAPE(5), w),
                        wf_tensor_of(WF_F64, WF_SHAPE(3, 1), p) };
    assert_proved(wf_gradcheck(binary_form, &k, 4, in, NULL));
    in[3] = wf_tensor_of(WF_I32, WF_SHAPE(3), id);
    assert_proved(wf_gradcheck(entropy_form, &k, 4, in, NULL));
}

const harness_suite suite = { .before = set_up, .after = tear_down };
