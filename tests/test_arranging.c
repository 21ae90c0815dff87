/* Ops that move numbers or say where they are: flip, permute, squeeze, cast, argmax, arange, masks
 * of lengths, and the norm: their laws, and plain loops. */
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tests/tape.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Whole numbers from -9 to 9, which every dtype holds. */
static wf_var *whole(wf_dtype dtype, wf_shape shape, uint64_t seed)
{
    wf_tensor x;
    ck_assert_ptr_nonnull(wf_constant_fill(t, dtype, shape, &x));
    for (int64_t i = 0; i < wf_tensor_count(&x); i++)
        wf_dtype_describe(dtype)->store(x.data, i,
                                        (double)(wf_random_below(seed, (uint64_t)i, 19) - 9));
    return wf_leaf_tensor(t, &x);
}

static void assert_same(const wf_var *a, const wf_var *b)
{
    wf_shape one = wf_shape_of(a), other = wf_shape_of(b);
    ck_assert_msg(a && b, "%s", wf_tape_error(t));
    ck_assert(wf_shape_equal(&one, &other));
    ck_assert_int_eq(wf_dtype_of(a), wf_dtype_of(b));
    for (int64_t i = 0; i < wf_count(a); i++)
        ck_assert_msg(wf_at(a, i) == wf_at(b, i), "element %lld: %g and %g", (long long)i,
                      wf_at(a, i), wf_at(b, i));
}

/* ---- flip ---- */

TEST(flip_reverses_the_axes_that_are_named)
{
    for (int dtype = WF_F32; dtype <= WF_I32; dtype++) {
        wf_var *x = whole((wf_dtype)dtype, WF_SHAPE(3, 5, 7), 1);
        wf_var *layout[] = { x, wf_transpose(t, x, 0, 2), wf_slice(t, x, 2, 1, WF_LAST, 2) };
        for (int k = 0; k < 3; k++)
            for (unsigned axes = 0; axes < 8; axes++) {
                int list[3], n = 0;
                for (int a = 0; a < 3; a++)
                    if (axes >> a & 1) list[n++] = a - (k & 1 ? 3 : 0);
                wf_var *y = wf_flip(t, layout[k], &(wf_axes){ n, list });
                const wf_shape s = wf_shape_of(layout[k]);
                for (int64_t i = 0; i < wf_count(y); i++) {
                    int64_t at[3] = { i / (s.dim[1] * s.dim[2]), i / s.dim[2] % s.dim[1],
                                      i % s.dim[2] };
                    for (int a = 0; a < 3; a++)
                        if (axes >> a & 1) at[a] = s.dim[a] - 1 - at[a];
                    ck_assert_double_eq(
                        wf_at(y, i),
                        wf_at(layout[k], (at[0] * s.dim[1] + at[1]) * s.dim[2] + at[2]));
                }
                assert_same(wf_flip(t, y, &(wf_axes){ n, list }), layout[k]);
            }
        assert_same(wf_flip(t, x, NULL), wf_flip(t, x, WF_AXES(0, 1, 2)));
    }
}

TEST(the_derivative_of_a_large_flip_is_flipped_for_any_number_of_threads)
{
    wf_var *x = whole(WF_F32, WF_SHAPE(300, 211), 1), *y = whole(WF_F32, WF_SHAPE(300, 211), 2);
    wf_var *loss = wf_sum(t,
                          wf_mul(t, wf_flip(t, wf_transpose(t, x, 0, 1), WF_AXES(0, 1)),
                                 wf_transpose(t, y, 0, 1)),
                          NULL),
           *grad;
    ck_assert(wf_grad(t, 1, &loss, NULL, 1, &x, &grad, NULL));
    assert_same(grad, wf_flip(t, y, NULL));
}

/* ---- views ---- */

TEST(permute_is_transposes_one_after_another_and_its_own_inverse_undoes_it)
{
    wf_var *x = whole(WF_F64, WF_SHAPE(2, 3, 5, 7), 1);
    wf_var *y = wf_permute(t, x, WF_AXES(2, 0, -1, 1));
    assert_same(y, wf_transpose(t, wf_transpose(t, wf_transpose(t, x, 0, 2), 1, 2), 2, 3));
    ck_assert_ptr_eq(wf_data(y), wf_data(x));
    assert_same(wf_permute(t, y, WF_AXES(1, 3, 0, 2)), x);
    wf_var *scalar = wf_leaf(t, WF_F64, WF_SCALAR, NULL);
    ck_assert_int_eq(wf_rank(wf_permute(t, scalar, &(wf_axes){ 0, NULL })), 0);
}

TEST(squeeze_undoes_unsqueeze)
{
    wf_var *x = whole(WF_F64, WF_SHAPE(3, 5), 1);
    for (int axis = -3; axis <= 2; axis++)
        assert_same(wf_squeeze(t, wf_unsqueeze(t, x, axis), axis), x);
    wf_var *one = wf_leaf(t, WF_F64, WF_SHAPE(1), NULL);
    ck_assert_int_eq(wf_rank(wf_squeeze(t, one, 0)), 0);
    ck_assert_ptr_eq(wf_data(wf_squeeze(t, wf_select(t, wf_unsqueeze(t, x, 2), 0, 1), -1)),
                     (const double *)wf_data(x) + 5);
}

static bool arranged(wf_tape *tape, void *context, wf_var *const in[], wf_var *out[8], int *n)
{
    (void)context;
    wf_var *x = in[0]; /* (2, 3, 1, 4) */
    out[0] = wf_permute(tape, wf_square(tape, x), WF_AXES(3, 1, 0, 2));
    out[1] = wf_tanh(tape, wf_squeeze(tape, x, 2));
    out[2] = wf_mul(tape, wf_flip(tape, x, WF_AXES(1, 3)), x);
    out[3] = wf_square(tape, wf_norm(tape, wf_squeeze(tape, x, 2), WF_AXES(1)));
    out[4] = wf_norm_keep(tape, wf_permute(tape, x, WF_AXES(3, 2, 1, 0)), WF_AXES(0, -1));
    *n = 5;
    return wf_tape_ok(tape);
}

TEST(what_is_arranged_has_its_derivatives_and_second_ones)
{
    double x[24];
    for (int i = 0; i < 24; i++) x[i] = 4 * wf_random_uniform(1, (uint64_t)i) - 2;
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(2, 3, 1, 4), x);
    assert_proved(wf_gradcheck(arranged, NULL, 1, &in, NULL));
}

/* ---- cast ---- */

TEST(cast_keeps_what_the_other_dtype_holds_in_every_layout)
{
    for (int from = WF_F32; from <= WF_I32; from++)
        for (int to = WF_F32; to <= WF_I32; to++) {
            wf_var *x = whole((wf_dtype)from, WF_SHAPE(30, 7), 1);
            wf_var *layout[] = { x, wf_transpose(t, x, 0, 1), wf_slice(t, x, 1, 1, 6, 2) };
            for (int k = 0; k < 3; k++) {
                wf_var *y = wf_cast(t, layout[k], (wf_dtype)to);
                ck_assert_int_eq(wf_dtype_of(y), to);
                ck_assert_int_eq(y == layout[k], from == to);
                for (int64_t i = 0; i < wf_count(y); i++)
                    ck_assert_double_eq(wf_at(y, i), wf_at(layout[k], i));
                assert_same(wf_cast(t, y, (wf_dtype)from), layout[k]);
            }
        }
}

TEST(cast_rounds_toward_zero_to_ids_and_to_the_nearest_float)
{
    const double x[6] = { 2.9, -2.9, 0.5, -0.5, 2147483647.9, -2147483648.9 };
    const double id[6] = { 2, -2, 0, 0, 2147483647, -2147483648.0 };
    wf_var *y = wf_cast(t, wf_leaf(t, WF_F64, WF_SHAPE(6), x), WF_I32);
    for (int i = 0; i < 6; i++) ck_assert_double_eq(wf_at(y, i), id[i]);
    const double wide[4] = { 1e300, -1e300, 0.1, NAN };
    wf_var *z = wf_cast(t, wf_leaf(t, WF_F64, WF_SHAPE(4), wide), WF_F32);
    ck_assert_double_eq(wf_at(z, 0), INFINITY);
    ck_assert_double_eq(wf_at(z, 1), -INFINITY);
    ck_assert_double_eq(wf_at(z, 2), (double)0.1f);
    ck_assert(isnan(wf_at(z, 3)));
}

TEST(a_derivative_goes_through_casts_in_the_dtype_of_each_side)
{
    for (int from = WF_F32; from <= WF_F64; from++)
        for (int graph = 0; graph < 2; graph++) {
            wf_var *x = whole((wf_dtype)from, WF_SHAPE(5, 3), 1), *grad;
            wf_var *y = wf_cast(t, wf_transpose(t, x, 0, 1), from == WF_F32 ? WF_F64 : WF_F32);
            wf_var *loss = wf_sum(t, wf_square(t, y), NULL);
            ck_assert(wf_grad(t, 1, &loss, NULL, 1, &x, &grad,
                              &(wf_grad_options){ .create_graph = graph == 1 }));
            assert_same(grad, wf_mul_scalar(t, x, 2));
        }
}

/* ---- argmax ---- */

static double number(wf_dtype dtype, int64_t i)
{
    double v = (double)((i * 37 + i / 5) % 11) - 5; /* with ties */
    return dtype != WF_I32 && i % 13 == 12 ? (double)NAN : v;
}

TEST(argmax_and_argmin_find_the_first_and_nan_before_all)
{
    for (int dtype = WF_F32; dtype <= WF_I32; dtype++) {
        wf_tensor numbers;
        wf_var *x = wf_constant_fill(t, (wf_dtype)dtype, WF_SHAPE(3, 5, 7), &numbers);
        for (int64_t i = 0; i < 105; i++)
            wf_dtype_describe((wf_dtype)dtype)->store(numbers.data, i, number((wf_dtype)dtype, i));
        x = wf_leaf_tensor(t, wf_value(x));
        wf_var *most = wf_argmax(t, x, 1), *least = wf_argmin(t, x, 1),
               *turned = wf_argmax(t, wf_transpose(t, x, 1, 2), -1);
        ck_assert_int_eq(wf_dtype_of(most), WF_I32);
        for (int64_t i = 0; i < 3; i++)
            for (int64_t k = 0; k < 7; k++) {
                int64_t high = 0, low = 0;
                for (int64_t j = 4; j >= 0; j--) {
                    double v = wf_at(x, (i * 5 + j) * 7 + k), h = wf_at(x, (i * 5 + high) * 7 + k),
                           l = wf_at(x, (i * 5 + low) * 7 + k);
                    if (j == 4) h = l = v, high = low = 4;
                    if (isnan(v) || (!isnan(h) && v >= h)) high = j;
                    if (isnan(v) || (!isnan(l) && v <= l)) low = j;
                }
                ck_assert_double_eq(wf_at(most, i * 7 + k), (double)high);
                ck_assert_double_eq(wf_at(turned, i * 7 + k), (double)high);
                ck_assert_double_eq(wf_at(least, i * 7 + k), (double)low);
            }
    }
}

/* ---- constants ---- */

TEST(arange_counts_from_start_up_to_and_without_stop)
{
    static const struct {
        double start, stop, step;
        int64_t n;
    } tried[] = { { 0, 5, 1, 5 },  { 3, -4, -2, 4 }, { 0, 0, 1, 0 },
                  { 2, 2, -1, 0 }, { -1, 6, 3, 3 },  { 0, 1, 7, 1 } };
    for (int dtype = WF_F32; dtype <= WF_I32; dtype++)
        for (int k = 0; k < 6; k++) {
            wf_var *x = wf_arange(t, (wf_dtype)dtype, tried[k].start, tried[k].stop, tried[k].step);
            ck_assert_int_eq(wf_rank(x), 1);
            ck_assert_int_eq(wf_count(x), tried[k].n);
            ck_assert_int_eq(wf_dtype_of(x), dtype);
            for (int64_t i = 0; i < tried[k].n; i++)
                ck_assert_double_eq(wf_at(x, i), tried[k].start + (double)i * tried[k].step);
        }
    wf_var *x = wf_arange(t, WF_F64, 0, 1, 0.1);
    ck_assert_int_eq(wf_count(x), 10);
    ck_assert_double_eq(wf_at(x, 7), 7 * 0.1);
}

TEST(a_mask_of_lengths_is_1_up_to_each_end)
{
    const int32_t lengths[4] = { 3, 0, 5, 1 };
    wf_var *mask = wf_length_mask(t, wf_constant(t, WF_I32, WF_SHAPE(4), lengths), 5);
    ck_assert_int_eq(wf_dim(mask, 0), 5);
    ck_assert_int_eq(wf_dim(mask, 1), 4);
    for (int64_t i = 0; i < 20; i++)
        ck_assert_double_eq(wf_at(mask, i), i / 4 < lengths[i % 4] ? 1 : 0);
    ck_assert_int_eq(wf_dim(wf_length_mask(t, wf_zeros(t, WF_I32, WF_SHAPE(4)), 0), 0), 0);
    ck_assert_int_eq(wf_count(wf_length_mask(t, wf_zeros(t, WF_I32, WF_SHAPE(0)), 3)), 0);
}

/* ---- the norm ---- */

TEST(a_norm_is_the_root_of_the_sum_of_squares)
{
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *x = whole((wf_dtype)dtype, WF_SHAPE(7, 300, 11), 1);
        wf_var *all = wf_norm(t, x, NULL), *some = wf_norm(t, x, WF_AXES(1)),
               *kept = wf_norm_keep(t, x, WF_AXES(0, 2));
        wf_var *squares = wf_square(t, x),
               *want[] = { wf_sqrt(t, wf_sum(t, squares, NULL)),
                           wf_sqrt(t, wf_sum(t, squares, WF_AXES(1))),
                           wf_sqrt(t, wf_sum_keep(t, squares, WF_AXES(0, 2))) };
        assert_same(all, want[0]);
        assert_same(some, want[1]);
        assert_same(kept, want[2]);
    }
}

/* norm(c x) = c norm(x), and the derivative stays. */
TEST(a_norm_does_not_care_how_large_or_small_numbers_are)
{
    static const double by[2][4] = { { 1e30, 1e-30, 3e37, 1e-37 },
                                     { 1e300, 1e-300, 1e160, 1e-160 } };
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++)
        for (int k = 0; k < 4; k++) {
            const double c = by[dtype][k], allowed = dtype == WF_F32 ? 4e-7 : 1e-14;
            wf_tensor numbers;
            wf_var *x = wf_constant_fill(t, (wf_dtype)dtype, WF_SHAPE(2, 3), &numbers), *grad;
            for (int i = 0; i < 6; i++)
                wf_dtype_describe((wf_dtype)dtype)->store(numbers.data, i, (i - 1) * c);
            x = wf_leaf_tensor(t, wf_value(x));
            wf_var *y = wf_norm(t, x, WF_AXES(1));
            ck_assert_double_eq_tol(wf_at(y, 0) / c, sqrt(2), allowed * 2);
            ck_assert_double_eq_tol(wf_at(y, 1) / c, sqrt(29), allowed * 6);
            wf_var *loss = wf_sum(t, y, NULL);
            for (int graph = 0; graph < 2; graph++) {
                ck_assert(wf_grad(t, 1, &loss, NULL, 1, &x, &grad,
                                  &(wf_grad_options){ .create_graph = graph == 1 }));
                for (int i = 0; i < 6; i++)
                    ck_assert_double_eq_tol(wf_at(grad, i), (i - 1) / sqrt(i < 3 ? 2 : 29),
                                            allowed);
            }
        }
}

TEST(at_0_a_norm_has_the_derivative_0_and_special_values_show)
{
    const double x[4][3] = { { 0, 0, -0.0 }, { INFINITY, 1, 0 }, { NAN, 1, 0 }, { 3, 0, 4 } };
    const double norm[4] = { 0, INFINITY, NAN, 5 };
    const double slope[4][3] = { { 0, 0, 0 }, { NAN, 0, 0 }, { NAN, NAN, NAN }, { 0.6, 0, 0.8 } };
    for (int graph = 0; graph < 2; graph++) {
        wf_var *v = wf_leaf(t, WF_F64, WF_SHAPE(4, 3), x), *grad;
        wf_var *y = wf_norm(t, v, WF_AXES(-1)), *loss = wf_sum(t, y, NULL);
        ck_assert(wf_grad(t, 1, &loss, NULL, 1, &v, &grad,
                          &(wf_grad_options){ .create_graph = graph == 1 }));
        for (int i = 0; i < 4; i++) {
            ck_assert(isnan(norm[i]) ? isnan(wf_at(y, i)) : wf_at(y, i) == norm[i]);
            for (int k = 0; k < 3; k++) {
                const double got = wf_at(grad, i * 3 + k), want = slope[i][k];
                ck_assert_msg(isnan(want) ? isnan(got) : fabs(got - want) < 1e-15,
                              "row %d, element %d: %g, not %g", i, k, got, want);
            }
        }
    }
    ck_assert_double_eq(wf_item(wf_norm(t, wf_leaf(t, WF_F32, WF_SHAPE(0, 3), NULL), NULL)), 0);
}

/* What a gradient penalty does at a gradient of 0. */
TEST(the_second_derivative_of_a_norm_at_0_is_0)
{
    wf_var *x = wf_leaf(t, WF_F64, WF_SHAPE(3), NULL), *first, *second;
    wf_var *y = wf_norm(t, x, NULL);
    ck_assert(wf_grad(t, 1, &y, NULL, 1, &x, &first, &with_graph));
    wf_var *loss = wf_sum(t, first, NULL);
    ck_assert(wf_grad(t, 1, &loss, NULL, 1, &x, &second, NULL));
    for (int i = 0; i < 3; i++) ck_assert_double_eq(wf_at(second, i), 0);
}

const harness_suite suite = { .before = set_up, .after = tear_down };
