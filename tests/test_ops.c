/* The ops from outside: their values against plain loops in both precisions, NaN and infinities.
 * What they say about wrong inputs is in test_misuse.c; derivatives, broadcasting back and the same
 * bits for any number of threads are proved in test_check.c. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/rng.h"
#include "tests/tape.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static wf_var *doubles(wf_shape shape, const double *data)
{
    return wf_leaf(t, WF_F64, shape, data);
}

static void assert_near(double got, double want, double relative)
{
    if (isnan(want))
        ck_assert_msg(isnan(got), "%.17g is not nan", got);
    else if (isinf(want))
        ck_assert_msg(got == want, "%.17g is not %.17g", got, want);
    else
        ck_assert_msg(fabs(got - want) <= relative * fmax(1, fabs(want)), "%.17g is not %.17g", got,
                      want);
}

#define F32(...) wf_leaf(t, WF_F32, WF_SHAPE(__VA_ARGS__), NULL)
#define F64(...) wf_leaf(t, WF_F64, WF_SHAPE(__VA_ARGS__), NULL)

TEST(what_changes_nothing_returns_its_input)
{
    wf_var *x = F32(3, 5);
    ck_assert_ptr_eq(wf_sum_to(t, x, WF_SHAPE(3, 5)), x);
    ck_assert_ptr_eq(wf_expand(t, x, WF_SHAPE(3, 5)), x);
    ck_assert_ptr_eq(wf_dropout(t, x, 0), x);
    ck_assert_ptr_ne(wf_dropout(t, x, 0.5), x);
    wf_tape_set_mode(t, WF_EVAL);
    ck_assert_ptr_eq(wf_dropout(t, x, 0.5), x);
    ck_assert(wf_tape_ok(t));
}

/* ---- values ---- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}
static double relu(double x)
{
    return x > 0 ? x : 0;
}
static double square(double x)
{
    return x * x;
}
static double reciprocal(double x)
{
    return 1 / x;
}
static double negative(double x)
{
    return -x;
}
static double sign(double x)
{
    return (x > 0) - (x < 0);
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double log_sigmoid(double x)
{
    return -softplus(-x);
}

static double silu(double x)
{
    return x * sigmoid(x);
}
static double gelu(double x)
{
    return (double)(x / 2 * erfcl((long double)x * -0.707106781186547524400844362104849039L));
}

static const struct {
    wf_var *(*op)(wf_tape *, wf_var *);
    double (*oracle)(double);
    double low, high;
} unary[] = {
    { wf_neg, negative, -3, 3 },
    { wf_abs, fabs, -3, 3 },
    { wf_sign, sign, -3, 3 },
    { wf_exp, exp, -20, 20 },
    { wf_log, log, 1e-6, 30 },
    { wf_sqrt, sqrt, 0, 30 },
    { wf_square, square, -9, 9 },
    { wf_sin, sin, -9, 9 },
    { wf_cos, cos, -9, 9 },
    { wf_tanh, tanh, -9, 9 },
    { wf_sigmoid, sigmoid, -30, 30 },
    { wf_relu, relu, -3, 3 },
    { wf_log1p, log1p, -0.999, 30 },
    { wf_expm1, expm1, -20, 20 },
    { wf_softplus, softplus, -30, 30 },
    { wf_log_sigmoid, log_sigmoid, -30, 30 },
    { wf_reciprocal, reciprocal, 0.2, 9 },
    { wf_erf, erf, -5, 5 },
    { wf_silu, silu, -30, 30 },
    { wf_gelu, gelu, -4, 9 },
};

TEST_EACH(a_pointwise_op_is_its_function_in_every_layout, sizeof unary / sizeof *unary)
{
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *x = drawn(t, (wf_dtype)dtype, WF_SHAPE(700, 31), 1, unary[_i].low, unary[_i].high);
        wf_var *layout[] = { x, wf_transpose(t, x, 0, 1), wf_slice(t, x, 1, 1, 29, 3) };
        for (int k = 0; k < 3; k++) {
            wf_var *y = unary[_i].op(t, layout[k]);
            ck_assert_int_eq(wf_count(y), wf_count(layout[k]));
            for (int64_t i = 0; i < wf_count(y); i += k ? 13 : 1) {
                double want = unary[_i].oracle(wf_at(layout[k], i)), got = wf_at(y, i);
                double allowed = dtype == WF_F32 ? 4e-7 : 2e-15;
                ck_assert_msg(fabs(got - want) <=
                                  allowed * fmax(fabs(want), dtype == WF_F32 ? 1e-7 : 1e-14),
                              "%.17g, not %.17g", got, want);
            }
        }
    }
}

static wf_var *leaky(wf_tape *on, wf_var *x)
{
    return wf_leaky_relu(on, x, 0.2);
}
static wf_var *elu(wf_tape *on, wf_var *x)
{
    return wf_elu(on, x, 0.7);
}

/* Values and derivatives of PyTorch 2.15 (torch.erf, functional.silu, gelu, gelu with
 * approximate='tanh', leaky_relu(x, 0.2), elu(x, 0.7)), in f64. */
enum { TORCH = 8 };
static const double torch_at[TORCH] = { -8, -3, -1, -0.5, 0.25, 1, 2.5, 6 };
static const struct {
    wf_var *(*op)(wf_tape *, wf_var *);
    double y[TORCH], slope[TORCH];
} torch[] = {
    { wf_erf,
      { -1.0, -0.9999779095030014, -0.8427007929497149, -0.5204998778130465, 0.27632639016823696,
        0.8427007929497149, 0.999593047982555, 1.0 },
      { 1.8097067968559843e-28, 0.00013925305194674786, 0.4151074974205947, 0.8787825789354448,
        1.0600141293761143, 0.4151074974205947, 0.00217828423035271, 2.617301239249265e-16 } },
    { wf_silu,
      { -0.002682801043731825, -0.14227761953270035, -0.2689414213699951, -0.1887703343990727,
        0.14054412522144952, 0.7310585786300049, 2.3103545499468914, 5.985164261060192 },
      { -0.0023465512355853157, -0.08810410601516962, 0.07232948812851325, 0.2600388126973482,
        0.6237100215701977, 0.9276705118714869, 1.0994011113415267, 1.0123264325915249 } },
    { wf_gelu,
      { -4.884981308350689e-15, -0.00404969409489031, -0.15865525393145702, -0.15426876936299344,
        0.14967658142073093, 0.841344746068543, 2.4844758366855597, 5.999999994080474 },
      { -3.9807546004751306e-14, -0.01194564720418392, -0.08331547058768635, 0.13250487534383712,
        0.695373354883636, 1.0833154705876864, 1.037611085908145, 1.0000000354687093 } },
    { wf_gelu_tanh,
      { -0.0, -0.0036373920817729943, -0.15880800939172324, -0.15428599017485606, 0.149675350701685,
        0.8411919906082768, 2.484915733910001, 5.9999999999156035 },
      { 0.0, -0.011584166630969648, -0.08296408384578252, 0.13263009646535764, 0.6953540951510604,
        1.0829640838457826, 1.037951576212666, 1.0000000007709977 } },
    { leaky,
      { -1.6, -0.6000000000000001, -0.2, -0.1, 0.25, 1.0, 2.5, 6.0 },
      { 0.2, 0.2, 0.2, 0.2, 1.0, 1.0, 1.0, 1.0 } },
    { elu,
      { -0.6997651761604682, -0.6651490521424952, -0.44248439117999033, -0.2754285382011566, 0.25,
        1.0, 2.5, 6.0 },
      { 0.0002348238395317583, 0.03485094785750476, 0.2575156088200096, 0.42457146179884336, 1.0,
        1.0, 1.0, 1.0 } },
};

TEST_EACH(an_activation_and_its_derivative_are_pytorch_s, sizeof torch / sizeof *torch)
{
    wf_var *x = doubles(WF_SHAPE(TORCH), torch_at), *y = torch[_i].op(t, x),
           *g = wf_full(t, WF_F64, WF_SHAPE(TORCH), 1), *slope;
    for (int graph = 0; graph < 2; graph++) {
        ck_assert(
            wf_grad(t, 1, &y, &g, 1, &x, &slope, &(wf_grad_options){ .create_graph = graph }));
        for (int i = 0; i < TORCH; i++) {
            assert_near(wf_at(y, i), torch[_i].y[i], 2e-15);
            assert_near(wf_at(slope, i), torch[_i].slope[i], 2e-15);
        }
    }
}

TEST(two_inputs_broadcast_as_numpy_does)
{
    wf_var *a = drawn(t, WF_F64, WF_SHAPE(3, 1, 5), 1, 0.5, 2),
           *b = drawn(t, WF_F64, WF_SHAPE(7, 1), 2, 0.5, 2);
    wf_var *y[] = { wf_add(t, a, b),     wf_sub(t, a, b),        wf_mul(t, a, b),
                    wf_div(t, a, b),     wf_maximum(t, a, b),    wf_minimum(t, a, b),
                    wf_greater(t, a, b), wf_less_equal(t, a, b), wf_lerp(t, a, b, a) };
    for (int64_t i = 0; i < 3 * 7 * 5; i++) {
        double p = wf_at(a, i / 35 * 5 + i % 5), q = wf_at(b, i / 5 % 7);
        double between = p < 0.5 ? p + p * (q - p) : q - (1 - p) * (q - p);
        double want[] = {
            p + q, p - q, p * q, p / q, fmax(p, q), fmin(p, q), p > q, p <= q, between
        };
        for (int k = 0; k < 9; k++) ck_assert_double_eq(wf_at(y[k], i), want[k]);
    }
    ck_assert_int_eq(wf_rank(y[0]), 3);
    ck_assert_int_eq(wf_dtype_of(y[6]), WF_I32);
}

TEST(a_number_may_stand_for_one_input)
{
    wf_var *x = doubles(WF_SHAPE(3), (double[]){ -2, 0.5, 4 });
    wf_var *y[] = { wf_add_scalar(t, x, 3), wf_sub_scalar(t, x, 3),     wf_rsub_scalar(t, x, 3),
                    wf_mul_scalar(t, x, 3), wf_div_scalar(t, x, 3),     wf_rdiv_scalar(t, x, 3),
                    wf_pow_scalar(t, x, 3), wf_maximum_scalar(t, x, 1), wf_minimum_scalar(t, x, 1),
                    wf_clamp(t, x, -1, 1) };
    for (int64_t i = 0; i < 3; i++) {
        double v = wf_at(x, i);
        double want[] = { v + 3, v - 3,     3 - v,      v * 3,      v / 3,
                          3 / v, v * v * v, fmax(v, 1), fmin(v, 1), fmax(-1, fmin(v, 1)) };
        for (int k = 0; k < 10; k++) assert_near(wf_at(y[k], i), want[k], 1e-15);
    }
}

TEST(where_chooses_between_ids_too)
{
    wf_var *mask = wf_constant(t, WF_I32, WF_SHAPE(2, 3), (int32_t[]){ 1, 0, -7, 0, 0, 1 }),
           *a = wf_constant(t, WF_I32, WF_SHAPE(3), (int32_t[]){ 4, INT32_MAX, INT32_MIN }),
           *b = wf_constant(t, WF_I32, WF_SHAPE(2, 1), (int32_t[]){ 8, 9 });
    static const int32_t want[2][6] = { { 4, 8, INT32_MIN, 9, 9, INT32_MIN },
                                        { 8, INT32_MAX, 8, 4, INT32_MAX, 9 } };
    for (int k = 0; k < 2; k++) {
        wf_var *y = k ? wf_where(t, mask, b, a) : wf_where(t, mask, a, b);
        ck_assert_int_eq(wf_dtype_of(y), WF_I32);
        ck_assert_mem_eq(wf_data(y), want[k], sizeof want[k]);
    }
}

/* Sizes that are one product, several, and odd; the factors whole, transposed or repeated. */
static const struct {
    wf_shape a, b;
} factors[] = {
    { { 2, { 3, 5 } }, { 2, { 5, 7 } } },          { { 3, { 6, 37, 19 } }, { 2, { 19, 23 } } },
    { { 3, { 5, 3, 7 } }, { 3, { 5, 7, 2 } } },    { { 4, { 3, 1, 2, 9 } }, { 3, { 4, 9, 5 } } },
    { { 2, { 67, 131 } }, { 3, { 2, 131, 33 } } }, { { 2, { 1, 300 } }, { 2, { 300, 1 } } },
};

static void assert_matmul(wf_var *a, wf_var *b, double allowed)
{
    wf_var *y = wf_matmul(t, a, b);
    int64_t m = wf_dim(a, -2), k = wf_dim(a, -1), n = wf_dim(b, -1), each = m * n;
    wf_shape lead = wf_shape_of(y);
    ck_assert_int_eq(wf_dim(y, -2), m);
    ck_assert_int_eq(wf_dim(y, -1), n);
    const int64_t count = wf_count(y), step = count > 4000 ? 7 : 1;
    for (int64_t i = 0; i < count; i += step) {
        /* Which matrices meet here: the leading index, without the axes that repeat. */
        int64_t rest = i / each, at[2] = { 0, 0 }, unit[2] = { 1, 1 };
        for (int d = lead.rank - 3; d >= 0; d--) {
            int64_t index = rest % lead.dim[d];
            rest /= lead.dim[d];
            wf_var *both[] = { a, b };
            for (int f = 0; f < 2; f++) {
                int64_t size = lead.rank - d <= wf_rank(both[f]) ? wf_dim(both[f], d - lead.rank)
                                                                 : 1;
                at[f] += (size == 1 ? 0 : index) * unit[f];
                unit[f] *= size;
            }
        }
        double sum = 0, size = 0;
        for (int64_t j = 0; j < k; j++) {
            double term = wf_at(a, at[0] * m * k + i % each / n * k + j) *
                          wf_at(b, at[1] * k * n + j * n + i % n);
            sum += term;
            size += fabs(term);
        }
        ck_assert_msg(fabs(wf_at(y, i) - sum) <= allowed * size, "element %lld: %g, not %g",
                      (long long)i, wf_at(y, i), sum);
    }
}

TEST_EACH(a_matrix_product_is_the_sum_of_products, sizeof factors / sizeof *factors)
{
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        double allowed = dtype == WF_F32 ? 2e-6 : 1e-14;
        wf_shape sa = factors[_i].a, sb = factors[_i].b, ta = sa, tb = sb;
        ta.dim[ta.rank - 1] = sa.dim[sa.rank - 2];
        ta.dim[ta.rank - 2] = sa.dim[sa.rank - 1];
        tb.dim[tb.rank - 1] = sb.dim[sb.rank - 2];
        tb.dim[tb.rank - 2] = sb.dim[sb.rank - 1];
        wf_var *a = drawn(t, (wf_dtype)dtype, sa, 1, -1, 1),
               *b = drawn(t, (wf_dtype)dtype, sb, 2, -1, 1);
        assert_matmul(a, b, allowed);
        assert_matmul(wf_transpose(t, drawn(t, (wf_dtype)dtype, ta, 1, -1, 1), -1, -2), b, allowed);
        assert_matmul(a, wf_transpose(t, drawn(t, (wf_dtype)dtype, tb, 2, -1, 1), -1, -2), allowed);
    }
}

TEST(affine_is_a_product_with_the_transpose_and_a_sum)
{
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(5, 3, 7), 1, -1, 1),
           *w = drawn(t, WF_F64, WF_SHAPE(11, 7), 2, -1, 1);
    wf_var *b = drawn(t, WF_F64, WF_SHAPE(11), 3, -1, 1);
    wf_var *layout[] = { x, wf_transpose(t, x, 0, 1) };
    for (int k = 0; k < 2; k++) {
        wf_var *y = wf_affine(t, layout[k], w, b), *z = wf_affine(t, layout[k], w, NULL);
        wf_var *want = wf_matmul(t, layout[k], wf_transpose(t, w, 0, 1));
        for (int64_t i = 0; i < wf_count(y); i++) {
            assert_near(wf_at(z, i), wf_at(want, i), 1e-14);
            assert_near(wf_at(y, i), wf_at(want, i) + wf_at(b, i % 11), 1e-14);
        }
    }
}

TEST(a_product_over_nothing_is_zero_and_overwrites_what_was_there)
{
    ck_assert(isnan(wf_at(wf_full(t, WF_F32, WF_SHAPE(64, 64), (double)NAN), 0)));
    wf_tape_reset(t); /* its memory is full of NaN now */
    wf_var *y = wf_matmul(t, F32(3, 0), F32(0, 5)), *z = wf_matmul(t, F32(5, 7), F32(7, 3));
    for (int64_t i = 0; i < 15; i++) {
        ck_assert_double_eq(wf_at(y, i), 0);
        ck_assert_double_eq(wf_at(z, i), 0);
    }
}

TEST(reductions_reduce_the_axes_that_are_named)
{
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(3, 5, 7), 1, -1, 1);
    wf_var *sum = wf_sum(t, x, WF_AXES(1)), *mean = wf_mean_keep(t, x, WF_AXES(0, -1)),
           *max = wf_max(t, x, WF_AXES(2, 1));
    wf_var *all = wf_sum(t, x, NULL), *to = wf_sum_to(t, x, WF_SHAPE(5, 1));
    ck_assert_int_eq(wf_rank(all), 0);
    ck_assert_int_eq(wf_rank(mean), 3);
    ck_assert_int_eq(wf_rank(to), 2);
    double whole = 0;
    for (int64_t i = 0; i < 3; i++) {
        double largest = -(double)INFINITY;
        for (int64_t k = 0; k < 7; k++) {
            double s = 0;
            for (int64_t j = 0; j < 5; j++) {
                s += wf_at(x, (i * 5 + j) * 7 + k);
                largest = fmax(largest, wf_at(x, (i * 5 + j) * 7 + k));
            }
            assert_near(wf_at(sum, i * 7 + k), s, 1e-14);
            whole += s;
        }
        ck_assert_double_eq(wf_at(max, i), largest);
    }
    assert_near(wf_item(all), whole, 1e-14);
    for (int64_t j = 0; j < 5; j++) {
        double s = 0;
        for (int64_t i = 0; i < 21; i++) s += wf_at(x, (i / 7 * 5 + j) * 7 + i % 7);
        assert_near(wf_at(mean, j), s / 21, 1e-14);
        assert_near(wf_at(to, j), s, 1e-14);
    }
    ck_assert_double_eq(wf_item(wf_sum(t, F64(0, 3), NULL)), 0);
    ck_assert(isnan(wf_item(wf_mean(t, F64(0, 3), NULL))));
}

/* The softmax of what is left when the hidden elements are taken out. */
TEST(a_masked_softmax_is_that_of_what_takes_part)
{
    enum { B = 4, H = 3, N = 37 };
    int32_t hidden[B * N];
    for (int i = 0; i < B * N; i++) hidden[i] = i / N == 1 ? 0 : i * 7 % 5 ? 3 * (i % 3) - 1 : 0;
    wf_var *mask = wf_constant(t, WF_I32, WF_SHAPE(B, 1, N), hidden);
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(B, H, N), 1, -5, 5);
    x = wf_where(t, mask, x, wf_full(t, WF_F64, WF_SCALAR, (double)NAN));
    wf_var *y = wf_masked_softmax(t, x, mask, -1),
           *turned = wf_masked_softmax(t, wf_transpose(t, x, 0, 2), wf_transpose(t, mask, 0, 2), 0);
    wf_var *all = wf_masked_softmax(t, y, NULL, 1), *plain = wf_softmax(t, y, 1);
    for (int64_t r = 0; r < B * H; r++) {
        double sum = 0;
        for (int64_t i = 0; i < N; i++) sum += hidden[r / H * N + i] ? exp(wf_at(x, r * N + i)) : 0;
        for (int64_t i = 0; i < N; i++) {
            const double want = hidden[r / H * N + i] ? exp(wf_at(x, r * N + i)) / sum : 0;
            ck_assert(fabs(wf_at(y, r * N + i) - want) <= 4e-16);
            ck_assert(want != 0 || wf_at(y, r * N + i) == 0);
            assert_near(wf_at(turned, (i * H + r % H) * B + r / H), want, 4e-16);
        }
    }
    ck_assert_mem_eq(wf_data(all), wf_data(plain), B * H * N * sizeof(double));
}

TEST(logsumexp_is_the_logarithm_of_a_sum_of_exponentials)
{
    wf_var *x = wf_add_scalar(t, drawn(t, WF_F64, WF_SHAPE(3, 5, 7), 1, -4, 4), 5000);
    wf_var *y = wf_logsumexp(t, x, WF_AXES(1)), *kept = wf_logsumexp_keep(t, x, WF_AXES(0, -1)),
           *all = wf_logsumexp(t, x, NULL), *slope, *g = wf_full(t, WF_F64, WF_SHAPE(3, 7), 1),
           *softmax = wf_softmax(t, x, 1);
    double whole = 0, middle[5] = { 0 };
    for (int64_t i = 0; i < 3; i++)
        for (int64_t k = 0; k < 7; k++) {
            double sum = 0;
            for (int64_t j = 0; j < 5; j++) {
                const double e = exp(wf_at(x, (i * 5 + j) * 7 + k) - 5000);
                sum += e;
                middle[j] += e;
                whole += e;
            }
            assert_near(wf_at(y, i * 7 + k), 5000 + log(sum), 1e-15);
        }
    ck_assert_int_eq(wf_rank(y), 2);
    ck_assert_int_eq(wf_rank(kept), 3);
    for (int64_t j = 0; j < 5; j++) assert_near(wf_at(kept, j), 5000 + log(middle[j]), 1e-15);
    assert_near(wf_item(all), 5000 + log(whole), 1e-15);
    for (int graph = 0; graph < 2; graph++) {
        const wf_grad_options how = { .create_graph = graph };
        ck_assert(wf_grad(t, 1, &y, &g, 1, &x, &slope, &how));
        for (int64_t i = 0; i < 105; i++) assert_near(wf_at(slope, i), wf_at(softmax, i), 4e-15);
    }
}

/* Rounded once, however many there are. */
TEST(a_running_sum_is_as_exact_as_its_dtype)
{
    enum { N = 100000 };
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *x = drawn(t, (wf_dtype)dtype, WF_SHAPE(2, N), 1, -1, 2), *y = wf_cumsum(t, x, -1),
               *turned = wf_cumsum(t, wf_transpose(t, x, 0, 1), 0);
        for (int64_t r = 0; r < 2; r++) {
            long double sum = 0;
            for (int64_t i = 0; i < N; i++) {
                sum += (long double)wf_at(x, r * N + i);
                const double u = dtype == WF_F32 ? 0x1p-24 : 0x1p-53;
                ck_assert(fabsl((long double)wf_at(y, r * N + i) - sum) <= 1.5L * u * fabsl(sum));
                ck_assert(wf_at(turned, i * 2 + r) == wf_at(y, r * N + i));
            }
        }
    }
}

TEST(a_float_sum_is_as_exact_as_a_float_can_be)
{
    wf_var *x = drawn(t, WF_F32, WF_SHAPE(1000, 300), 1, 0, 1);
    double want = 0;
    for (int64_t i = 0; i < 300000; i++) want += wf_at(x, i);
    ck_assert_double_eq(wf_item(wf_sum(t, x, NULL)), (double)(float)want);
    wf_var *columns = wf_sum(t, x, WF_AXES(0));
    for (int64_t k = 0; k < 300; k++) {
        want = 0;
        for (int64_t i = 0; i < 1000; i++) want += wf_at(x, i * 300 + k);
        ck_assert_double_eq(wf_at(columns, k), (double)(float)want);
    }
}

TEST(joining_and_gathering_move_numbers_to_their_places)
{
    wf_var *a = drawn(t, WF_F32, WF_SHAPE(2, 3), 1, 0, 1),
           *b = drawn(t, WF_F32, WF_SHAPE(2, 5), 2, 0, 1);
    wf_var *c = wf_concat(t, -1, WF_VARS(a, b)), *s = wf_stack(t, 1, WF_VARS(a, a));
    for (int64_t i = 0; i < 2; i++)
        for (int64_t k = 0; k < 8; k++)
            ck_assert_double_eq(wf_at(c, i * 8 + k),
                                k < 3 ? wf_at(a, i * 3 + k) : wf_at(b, i * 5 + k - 3));
    for (int64_t i = 0; i < 12; i++) ck_assert_double_eq(wf_at(s, i), wf_at(a, i / 6 * 3 + i % 3));
    wf_var *ids = wf_constant(t, WF_I32, WF_SHAPE(4), (int32_t[]){ 1, 0, 1, 1 });
    wf_var *rows = wf_gather_rows(t, b, ids), *back = wf_scatter_rows(t, rows, ids, 3),
           *hot = wf_one_hot(t, ids, 2);
    for (int64_t k = 0; k < 5; k++) {
        ck_assert_double_eq(wf_at(rows, k), wf_at(b, 5 + k));
        ck_assert_double_eq(wf_at(rows, 5 + k), wf_at(b, k));
        ck_assert_double_eq(wf_at(back, k), wf_at(b, k));
        assert_near(wf_at(back, 5 + k), 3 * wf_at(b, 5 + k), 1e-6);
        ck_assert_double_eq(wf_at(back, 10 + k), 0);
    }
    for (int64_t i = 0; i < 8; i++) ck_assert_double_eq(wf_at(hot, i), i == 2 || (i % 2 && i != 3));
}

TEST(dropout_keeps_what_its_counter_says_and_scales_it)
{
    enum { N = 70000 };
    wf_var *x = wf_add_scalar(t, wf_zeros(t, WF_F32, WF_SHAPE(N)), 3), *y = wf_dropout(t, x, 0.25);
    wf_var *again = wf_dropout(t, x, 0.25);
    int64_t kept = 0, same = 0;
    for (int64_t i = 0; i < N; i++) {
        ck_assert(wf_at(y, i) == 0 || wf_at(y, i) == 4);
        kept += wf_at(y, i) != 0;
        same += wf_at(y, i) == wf_at(again, i);
    }
    /* Five standard deviations of the two counts. */
    ck_assert_int_le(llabs(kept - N * 3 / 4), 575);
    ck_assert_int_le(llabs(same - N * 10 / 16), 641);
    /* Of row r, word 1 of (1000 + r, 16) to (1000 + r, 31) decides over elements 80 to 95. */
    enum { ROWS = 2, WIDE = 100, WORDS = 4 };
    const wf_op *op = op_named("dropout");
    float from[ROWS * WIDE], to[ROWS * WIDE];
    uint32_t keep[ROWS][WORDS]; /* a bit for each */
    double p = 0.25;
    for (int i = 0; i < ROWS * WIDE; i++) from[i] = 1;
    wf_tensor in = wf_tensor_of(WF_F32, WF_SHAPE(ROWS, WIDE), from),
              out = wf_tensor_of(WF_F32, WF_SHAPE(ROWS, WIDE), to);
    wf_tensor mask = wf_tensor_of(WF_I32, WF_SHAPE(ROWS, WORDS), keep);
    op->forward(&(wf_call){ .op = op,
                            .n_in = 1,
                            .n_out = 2,
                            .in = (const wf_tensor *[]){ &in },
                            .threads = 1,
                            .out = (const wf_tensor *[]){ &out, &mask },
                            .attr = &p,
                            .key = 7,
                            .counter = 1000 });
    for (int k = 0; k < ROWS * WIDE; k++) {
        const int r = k / WIDE, i = k % WIDE;
        uint32_t word[4];
        wf_philox(7, 1000 + (uint64_t)r, (uint64_t)(i / 64 * 16 + i % 16), word);
        ck_assert_int_eq(keep[r][i / 32] >> i % 32 & 1, word[i % 64 / 16] >= 0x40000000u);
        ck_assert((to[k] != 0) == (word[i % 64 / 16] >= 0x40000000u));
    }
}

/* ---- losses, NaN and infinities ---- */

static double plain_entropy(const double *z, int n, int id)
{
    double largest = -(double)INFINITY, sum = 0;
    for (int i = 0; i < n; i++) largest = fmax(largest, z[i]);
    for (int i = 0; i < n; i++) sum += exp(z[i] - largest);
    return log(sum) - (z[id] - largest);
}

TEST(cross_entropy_holds_far_from_zero)
{
    static const float rows[][3] = {
        { 1, 2, 3 },          { 1e4f, 9999, -1e4f },      { -1e4f, -10002, -9999 },
        { 3e38f, -3e38f, 0 }, { -3e38f, -3e38f, -3e38f }, { 0, 0, -INFINITY },
    };
    for (int k = 0; k < 6; k++)
        for (int id = 0; id < 3; id++) {
            const float *z = rows[k];
            double exact[3] = { (double)z[0], (double)z[1], (double)z[2] };
            double want = plain_entropy(exact, 3, id);
            wf_var *target = wf_constant(t, WF_I32, WF_SHAPE(1), &(int32_t){ id });
            wf_var *x = wf_leaf(t, WF_F32, WF_SHAPE(1, 3), z),
                   *y = wf_cross_entropy_with(t, x, target, NULL);
            wf_var *d = wf_cross_entropy_with(t, doubles(WF_SHAPE(1, 3), exact), target, NULL);
            wf_var *p = wf_log_softmax(t, x, -1);
            assert_near(wf_item(d), want, 2e-15);
            assert_near(wf_item(y), (double)(float)want, 4 * (double)FLT_EPSILON);
            assert_near(-wf_at(p, id), (double)(float)want, 4 * (double)FLT_EPSILON);
        }
}

TEST(options_of_cross_entropy_weigh_positions_and_classes)
{
    enum { N = 37, C = 19 };
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(N, C), 1, -3, 3),
           *ids = drawn(t, WF_I32, WF_SHAPE(N), 2, -1, C);
    double z[C], sum = 0;
    int64_t counted = 0;
    wf_cross_entropy_options o = { .has_ignore = true, .ignore = -1, .label_smoothing = 0.1 };
    wf_var *mean = wf_cross_entropy_with(t, x, ids, &o);
    o.reduction = WF_REDUCE_SUM;
    wf_var *whole = wf_cross_entropy_with(t, x, ids, &o);
    o.reduction = WF_REDUCE_NONE;
    wf_var *each = wf_cross_entropy_with(t, x, ids, &o);
    for (int64_t i = 0; i < N; i++) {
        int id = (int)wf_at(ids, i);
        double want = 0;
        for (int c = 0; c < C; c++) z[c] = wf_at(x, i * C + c);
        for (int c = 0; id >= 0 && c < C; c++)
            want += plain_entropy(z, C, c) * ((c == id) * 0.9 + 0.1 / C);
        assert_near(wf_at(each, i), want, 1e-14);
        sum += want;
        counted += id >= 0;
    }
    ck_assert(counted > 0 && counted < N);
    assert_near(wf_item(whole), sum, 1e-14);
    assert_near(wf_item(mean), sum / (double)counted, 1e-14);
    o = (wf_cross_entropy_options){ .has_ignore = true, .ignore = 0 };
    ck_assert_double_eq(
        wf_item(wf_cross_entropy_with(t, x, wf_constant(t, WF_I32, WF_SHAPE(N), NULL), &o)), 0);
}

TEST(nan_gives_nan)
{
    for (int i = 0; wf_op_at(i); i++) {
        const wf_op *op = wf_op_at(i);
        wf_sample s = { 0 };
        ck_assert(op->sample(0, &s));
        bool picks = !strcmp(op->name, "gather_rows") || !strcmp(op->name, "where") ||
                     !strcmp(op->name, "masked_softmax") || !strcmp(op->name, "add_into");
        if (picks || op->flags & WF_OP_RANDOM) continue;
        for (int poisoned = 0; poisoned < s.n_in; poisoned++) {
            wf_var *in[WF_SAMPLE_INPUTS], *out[8];
            if (s.in[poisoned].dtype == WF_I32 || s.in[poisoned].shape.rank < 0) continue;
            for (int k = 0; k < s.n_in; k++) {
                in[k] = s.in[k].shape.rank < 0 ? NULL
                        : k == poisoned
                            ? wf_full(t, WF_F64, s.in[k].shape, (double)NAN)
                            : drawn(t, s.in[k].dtype, s.in[k].shape, 1, s.in[k].low, s.in[k].high);
            }
            ck_assert(wf_apply(t, op, s.n_in, in, s.attr.bytes, out));
            /* Comparisons with NaN are 0, as is above; a join has other inputs too. */
            if (wf_dtype_of(out[0]) == WF_I32 || !strcmp(op->name, "above")) continue;
            int64_t bad = 0;
            for (int64_t e = 0; e < wf_count(out[0]); e++) bad += isnan(wf_at(out[0], e));
            bool joins = !strcmp(op->name, "concat") || !strcmp(op->name, "stack") ||
                         !strcmp(op->name, "scatter_rows") || !strcmp(op->name, "scatter_add") ||
                         !strcmp(op->name, "constant_pad");
            if (joins)
                ck_assert_msg(bad > 0, "%s", op->name);
            else
                ck_assert_msg(bad == wf_count(out[0]), "%s, input %d: %lld", op->name, poisoned,
                              (long long)bad);
        }
    }
}

const harness_suite suite = { .before = set_up, .after = tear_down };

/* ---- layer_norm ---- */

TEST(a_row_is_normalised_however_far_from_zero_it_lies)
{
    enum { N = 21 };
    for (int far = 0; far < 2; far++) {
        double scale[N], shift[N], mean = 0, variance = 0;
        float x[N];
        for (int i = 0; i < N; i++) {
            x[i] = (float)(far * 65536 + (double)((i * 8) % N) / 8);
            scale[i] = 1 + i;
            shift[i] = -i;
            mean += (double)x[i] / N;
        }
        for (int i = 0; i < N; i++) variance += pow((double)x[i] - mean, 2) / N;
        wf_var *rows = wf_leaf(t, WF_F32, WF_SHAPE(1, N), x),
               *a = wf_cast(t, doubles(WF_SHAPE(N), scale), WF_F32),
               *b = wf_cast(t, doubles(WF_SHAPE(N), shift), WF_F32);
        wf_var *plain = wf_layer_norm(t, rows, NULL, NULL, 0),
               *whole = wf_layer_norm(t, rows, a, b, 0.5);
        for (int i = 0; i < N; i++) {
            const double d = (double)x[i] - mean;
            assert_near(wf_at(plain, i), d / sqrt(variance + 1e-5), 1e-6);
            assert_near(wf_at(whole, i), d / sqrt(variance + 0.5) * scale[i] + shift[i], 2e-6);
        }
    }
}
