/* What a million terms add up to: losses and the gradients that rows, steps and groups share, in
 * f32 held against the same graph in f64, and in f64 against what is known exactly. */
#include "tests/fixture.h"

#include <weft.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MANY = 1000000, MOST = 3 * MANY + 64 };

/* Positive, so that the sum says how large an error may be: 0.1 everywhere, whose roundings all
 * go the same way, or numbers about it. */
static bool even;

static double term(int64_t i)
{
    if (even) return (double)0.1f;
    const uint64_t mixed = ((uint64_t)i + 1) * 0x9E3779B97F4A7C15u;
    return (double)(0.05f + 0.1f * (float)(mixed >> 40) * 0x1p-24f);
}

static wf_var *terms(wf_tape *t, wf_dtype dtype, wf_shape shape)
{
    static union {
        float f32[MOST];
        double f64[MOST];
    } memory;
    const int64_t n = wf_shape_count(&shape);
    ck_assert_int_le(n, MOST);
    for (int64_t i = 0; i < n; i++) {
        if (dtype == WF_F32)
            memory.f32[i] = (float)term(i);
        else
            memory.f64[i] = term(i);
    }
    return wf_constant(t, dtype, shape, &memory);
}

/* The sum of x times cotangents of its own. */
static wf_var *weighed(wf_tape *t, wf_var *x)
{
    return wf_sum(t, wf_mul(t, x, terms(t, wf_dtype_of(x), wf_shape_of(x))), NULL);
}

static wf_var *few(wf_tape *t, wf_dtype dtype, wf_shape shape)
{
    wf_var *x = terms(t, dtype, shape);
    return wf_leaf_tensor(t, wf_value(x));
}

/* ---- graphs: p is what many terms meet in; a result, and p ---- */

typedef wf_var *graph_fn(wf_tape *t, wf_dtype dtype, wf_var **p);

/* p of this shape, and the result. */
#define GRAPH(name, shape, ...)                                                                    \
    static wf_var *name(wf_tape *t, wf_dtype dtype, wf_var **p)                                    \
    {                                                                                              \
        *p = few(t, dtype, shape);                                                                 \
        return __VA_ARGS__;                                                                        \
    }
#define TERMS(...) terms(t, dtype, WF_SHAPE(__VA_ARGS__))

GRAPH(bias_of_affine, WF_SHAPE(3), weighed(t, wf_affine(t, TERMS(MANY, 1), TERMS(3, 1), *p)))
GRAPH(weight_of_affine, WF_SHAPE(3, 2), weighed(t, wf_affine(t, TERMS(MANY, 2), *p, NULL)))
GRAPH(weight_of_matmul, WF_SHAPE(2, 3), weighed(t, wf_matmul(t, TERMS(MANY, 2), *p)))
/* Products that share a factor and are no single one: their rows lie apart. */
GRAPH(weight_of_batches, WF_SHAPE(2, 3),
      weighed(t, wf_matmul(t, wf_transpose(t, TERMS(5, MANY / 10, 2), 0, 1), *p)))
GRAPH(product_of_long_rows, WF_SHAPE(1, 1),
      weighed(t, wf_matmul(t, wf_mul(t, TERMS(2, MANY), *p), TERMS(MANY, 1))))
GRAPH(row, WF_SHAPE(3), weighed(t, wf_add(t, TERMS(MANY, 3), *p)))
GRAPH(wide_row, WF_SHAPE(700), weighed(t, wf_mul(t, *p, TERMS(MANY / 350, 700))))
GRAPH(column, WF_SHAPE(3, 1), weighed(t, wf_mul(t, TERMS(3, MANY), *p)))
GRAPH(scalar, WF_SCALAR, weighed(t, wf_div(t, TERMS(MANY), *p)))
GRAPH(middle, WF_SHAPE(5, 1, 3),
      weighed(t, wf_lerp(t, TERMS(5, MANY / 8, 3), wf_mul_scalar(t, TERMS(5, MANY / 8, 3), 2), *p)))
GRAPH(outside, WF_SHAPE(1, 5, 1), weighed(t, wf_add(t, *p, TERMS(300, 5, 1000))))
GRAPH(both_of_lerp, WF_SHAPE(3),
      weighed(t, wf_lerp(t, wf_mul_scalar(t, *p, 2), *p, TERMS(MANY, 1))))
GRAPH(expanded, WF_SHAPE(2, 1), weighed(t, wf_expand(t, *p, WF_SHAPE(MANY / 2, 2, 3))))
GRAPH(normalised, WF_SCALAR, weighed(t, wf_mul(t, wf_softmax(t, TERMS(MANY), 0), *p)))
GRAPH(log_normalised, WF_SCALAR, weighed(t, wf_mul(t, wf_log_softmax(t, TERMS(MANY), 0), *p)))

/* One element apart from the others, which share one logit: what comes back sums over all. */
static wf_var *one_and_others(wf_tape *t, wf_var *p)
{
    wf_var *others = wf_expand(t, wf_slice(t, p, 0, 1, 2, 1), WF_SHAPE(MANY));
    wf_var *own = wf_add_scalar(t, wf_slice(t, p, 0, 0, 1, 1), 14);
    return wf_concat(t, 0, WF_VARS(own, others));
}

GRAPH(softmax_of, WF_SHAPE(2), wf_select(t, wf_softmax(t, one_and_others(t, *p), 0), 0, 0))
GRAPH(log_softmax_of, WF_SHAPE(2), wf_select(t, wf_log_softmax(t, one_and_others(t, *p), 0), 0, 0))

static wf_var *ids_below(wf_tape *t, int64_t n, int32_t end)
{
    wf_tensor ids;
    wf_var *x = wf_constant_fill(t, WF_I32, WF_SHAPE(n), &ids);
    for (int64_t i = 0; i < n; i++) ((int32_t *)ids.data)[i] = (int32_t)(i * i % end);
    return x;
}

GRAPH(loss_of_ids, WF_SHAPE(3),
      wf_cross_entropy_with(t, wf_mul(t, TERMS(MANY, 3), *p), ids_below(t, MANY, 3),
                            &(wf_cross_entropy_options){ .reduction = WF_REDUCE_SUM }))
GRAPH(weight_of_loss, WF_SHAPE(3, 3),
      wf_affine_cross_entropy(t, TERMS(MANY, 3), *p, NULL, ids_below(t, MANY, 3),
                              &(wf_cross_entropy_options){ .reduction = WF_REDUCE_SUM }))
GRAPH(bias_of_loss, WF_SHAPE(3),
      wf_affine_cross_entropy(t, TERMS(MANY, 3), few(t, dtype, WF_SHAPE(3, 3)), *p,
                              ids_below(t, MANY, 3), NULL))
GRAPH(squared_error, WF_SHAPE(3),
      wf_mse(t, wf_mul(t, TERMS(MANY, 3), *p), wf_mul_scalar(t, TERMS(MANY, 3), 2)))
GRAPH(embedding_of_one_id, WF_SHAPE(4, 3), weighed(t, wf_gather_rows(t, *p, ids_below(t, MANY, 1))))
GRAPH(embedding_of_some_ids, WF_SHAPE(300, 3),
      weighed(t, wf_gather_rows(t, *p, ids_below(t, MANY, 263))))
GRAPH(rows_added_up, WF_SHAPE(3),
      weighed(t, wf_scatter_rows(t, wf_mul(t, TERMS(MANY, 3), *p), ids_below(t, MANY, 2), 2)))

static wf_var *mean_of_rows(wf_tape *t, wf_dtype dtype, wf_var **p)
{
    *p = few(t, dtype, WF_SHAPE(3));
    wf_var *x = wf_mul(t, TERMS(MANY, 3), *p);
    return weighed(t, wf_add(t, wf_mean(t, x, WF_AXES(0)), wf_sum(t, x, WF_AXES(-2))));
}

static const struct {
    const char *label;
    graph_fn *graph;
    double within; /* of f32, relative */
} graphs[] = {
    { "the bias of an affine", bias_of_affine, 1e-6 },
    { "the weight of an affine", weight_of_affine, 1e-5 },
    { "the weight of a matmul", weight_of_matmul, 1e-5 },
    { "the weight of products that lie apart", weight_of_batches, 1e-5 },
    { "a product of long rows", product_of_long_rows, 1e-5 },
    { "a row", row, 1e-6 },
    { "a wide row", wide_row, 1e-6 },
    { "a column", column, 1e-6 },
    { "a scalar", scalar, 1e-6 },
    { "the middle axis", middle, 1e-6 },
    { "the axes outside", outside, 1e-6 },
    { "both ends of a lerp", both_of_lerp, 1e-6 },
    { "what is expanded", expanded, 1e-6 },
    { "a softmax", normalised, 1e-6 },
    { "a log_softmax", log_normalised, 1e-6 },
    { "what a softmax is taken of", softmax_of, 1e-5 },
    { "what a log_softmax is taken of", log_softmax_of, 1e-5 },
    { "a cross entropy", loss_of_ids, 1e-5 },
    { "the weight of a last layer", weight_of_loss, 1e-5 },
    { "the bias of a last layer", bias_of_loss, 1e-5 },
    { "a mean squared error", squared_error, 1e-6 },
    { "a row that every id names", embedding_of_one_id, 1e-6 },
    { "rows of a table", embedding_of_some_ids, 1e-6 },
    { "rows added up", rows_added_up, 1e-6 },
    { "a mean and a sum of rows", mean_of_rows, 1e-6 },
};
enum { GRAPHS = sizeof graphs / sizeof graphs[0], NUMBERS = 1024 };

/* The value and the gradient of p, as doubles; how many. By wf_backward, or by wf_grad with a graph
 * of its own. */
static int64_t run(graph_fn *graph, wf_dtype dtype, bool graph_of_gradient, double out[NUMBERS])
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = 2 });
    wf_var *p = NULL, *grad = NULL, *value = graph(t, dtype, &p);
    const wf_tensor *g = NULL;
    ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
    if (graph_of_gradient) {
        ck_assert(wf_grad(t, 1, &value, NULL, 1, &p, &grad, &with_graph));
        g = wf_value(grad);
    } else {
        ck_assert(wf_keep_grad(t, p) && wf_backward(t, value));
        g = wf_grad_of(p);
    }
    const int64_t n = wf_tensor_count(g);
    ck_assert_int_lt(n, NUMBERS);
    out[0] = wf_item(value);
    for (int64_t i = 0; i < n; i++) out[1 + i] = wf_tensor_at(g, i);
    wf_tape_free(t);
    return n + 1;
}

TEST_EACH(what_a_million_terms_meet_in_is_right_in_f32, GRAPHS)
{
    static double exact[NUMBERS], got[NUMBERS];
    for (int k = 0; k < 2; k++) {
        even = k > 0;
        const int64_t n = run(graphs[_i].graph, WF_F64, false, exact);
        for (int way = 0; way < 2; way++) {
            ck_assert_int_eq(run(graphs[_i].graph, WF_F32, way > 0, got), n);
            double worst = 0, largest = 0;
            for (int64_t i = 1; i < n; i++) largest = fmax(largest, fabs(exact[i]));
            for (int64_t i = 1; i < n; i++)
                if (fabs(exact[i]) > largest * 1e-3)
                    worst = fmax(worst, fabs(got[i] / exact[i] - 1));
            ck_assert_msg(worst <= graphs[_i].within,
                          "%s, %s: the gradient is off by %g; at most %g", graphs[_i].label,
                          way > 0 ? "by its graph" : "by its kernel", worst, graphs[_i].within);
            ck_assert_msg(fabs(got[0] / exact[0] - 1) <= graphs[_i].within,
                          "%s: the value is off by %g", graphs[_i].label,
                          fabs(got[0] / exact[0] - 1));
        }
    }
}

TEST(a_bias_that_a_million_rows_of_a_tenth_share_has_its_gradient_to_a_millionth)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    even = true;
    wf_var *b = few(t, WF_F32, WF_SHAPE(1)), *one = terms(t, WF_F32, WF_SHAPE(1, 1));
    wf_var *y = wf_affine(t, terms(t, WF_F32, WF_SHAPE(MANY, 1)), one, b);
    wf_var *g = terms(t, WF_F32, WF_SHAPE(MANY, 1));
    ck_assert(wf_keep_grad(t, b) && wf_backward_from(t, 1, &y, &g));
    const double exact = MANY * (double)0.1f, got = wf_tensor_at(wf_grad_of(b), 0);
    ck_assert_msg(fabs(got / exact - 1) <= 1e-6, "%.9g for %.9g", got, exact);
}

/* A planned loop: its biases over many steps, and over many sequences. */
static void check_lstm(int64_t time, int64_t batch)
{
    enum { HIDDEN = 3, INPUT = 2 };
    double exact[4][4 * HIDDEN * HIDDEN];
    for (int way = 0; way < 2; way++) {
        const wf_dtype dtype = way == 0 ? WF_F64 : WF_F32;
        OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 5 });
        wf_rnn *rnn = wf_lstm_new(net, "rnn",
                                  &(wf_rnn_options){ .input = INPUT, .hidden = HIDDEN });
        OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = 2 });
        wf_var *bound[4];
        for (int i = 0; i < 4; i++) {
            wf_var *param = wf_module_param_at(net, i);
            wf_var *wide = wf_leaf(t, dtype, wf_shape_of(param), NULL);
            wf_tensor_copy(wf_param_value(param), wf_value(wide));
            ck_assert(wf_tape_bind(t, param, wide));
            bound[i] = wide;
            wf_keep_grad(t, wide);
        }
        wf_var *y = wf_rnn_forward(t, rnn, terms(t, dtype, WF_SHAPE(time, batch, INPUT)), NULL);
        ck_assert(wf_backward(t, weighed(t, y)));
        for (int i = 0; i < 4; i++) {
            const wf_tensor *g = wf_grad_of(bound[i]);
            double worst = 0, largest = 0;
            for (int64_t k = 0; k < wf_tensor_count(g); k++) {
                if (way == 0) exact[i][k] = wf_tensor_at(g, k);
                largest = fmax(largest, fabs(exact[i][k]));
                worst = fmax(worst, fabs(wf_tensor_at(g, k) - exact[i][k]));
            }
            ck_assert_msg(worst <= (i < 2 ? 1e-5 : 3e-6) * largest,
                          "T %d, B %d: parameter %d is off by %g of %g", (int)time, (int)batch, i,
                          worst, largest);
        }
    }
}

TEST_EACH(the_biases_and_weights_of_an_lstm_are_right_over_many_steps_and_sequences, 4)
{
    even = _i % 2 == 1;
    if (_i < 2)
        check_lstm(100000, 2);
    else
        check_lstm(5, 50000);
}

/* 2^52 + 1/2 - 2^52: in f64 a plain sum loses what the small terms say. */
TEST(in_f64_nothing_is_lost_beside_a_large_term_that_cancels)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    OWN(double) *x = malloc(MANY * sizeof *x);
    for (int64_t i = 0; i < MANY; i++) x[i] = 0.25;
    x[5] = 0x1p60, x[MANY - 3] = -0x1p60;
    const double exact = (MANY - 2) * 0.25;
    wf_var *flat = wf_constant(t, WF_F64, WF_SHAPE(MANY), x);
    wf_var *rows = wf_reshape(t, flat, WF_SHAPE(MANY / 2, 2));
    /* 64 terms may meet before the rounding is kept. */
    ck_assert_double_eq_tol(wf_item(wf_sum(t, flat, NULL)), exact, 64);
    ck_assert_double_eq_tol(wf_item(wf_sum(t, wf_sum(t, rows, WF_AXES(0)), NULL)), exact, 64);
    wf_var *p = wf_leaf(t, WF_F64, WF_SCALAR, NULL);
    wf_keep_grad(t, p);
    ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, flat, wf_add(t, p, flat)), NULL)));
    ck_assert_double_eq_tol(wf_tensor_at(wf_grad_of(p), 0), exact, 256);
}

TEST(sums_that_leave_the_range_are_infinite_and_nan_stays_nan)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double x[300];
    for (int i = 0; i < 300; i++) x[i] = 1e308;
    ck_assert(wf_item(wf_sum(t, wf_constant(t, WF_F64, WF_SHAPE(300), x), NULL)) ==
              (double)INFINITY);
    wf_var *rows = wf_constant(t, WF_F64, WF_SHAPE(100, 3), x);
    ck_assert(wf_at(wf_sum(t, rows, WF_AXES(0)), 1) == (double)INFINITY);
    x[7] = -(double)INFINITY;
    for (int i = 0; i < 300; i++)
        if (i != 7) x[i] = 1;
    ck_assert(wf_item(wf_sum(t, wf_constant(t, WF_F64, WF_SHAPE(300), x), NULL)) ==
              -(double)INFINITY);
    x[299] = (double)INFINITY;
    ck_assert(isnan(wf_item(wf_sum(t, wf_constant(t, WF_F64, WF_SHAPE(300), x), NULL))));
}

TEST(a_norm_of_a_million_gradients_is_right)
{
    even = true;
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_var *p = wf_param_new(net, "p", WF_SHAPE(MANY), (wf_init){ .kind = WF_INIT_ZERO });
    OWN(wf_optim) *sgd = wf_sgd_new(net, NULL);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    ck_assert(wf_backward(t, weighed(t, p)));
    const double norm = wf_optim_clip_norm(sgd, 1e9);
    ck_assert_double_eq_tol(norm, sqrt((double)MANY) * (double)0.1f, 1e-10);
}
