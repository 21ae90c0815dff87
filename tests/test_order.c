/* Ops that say where numbers are, or take them from there: top_k, sort, argsort, gather,
 * scatter_add, constant_pad and repeats, against plain loops; their gradients in laws. */
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/rng.h"
#include "tests/tape.h"

#include <math.h>
#include <string.h>

/* The index of an element with another along an axis. */
static int64_t with_index(const wf_shape *shape, int64_t flat, const wf_shape *other, int axis,
                          int64_t index)
{
    int64_t at[WF_RANK];
    unflatten(shape, flat, at);
    at[axis] = index;
    return flatten(other, at);
}

static int64_t index_along(const wf_shape *shape, int64_t flat, int axis)
{
    int64_t at[WF_RANK];
    unflatten(shape, flat, at);
    return at[axis];
}

/* Numbers with ties, both zeros, infinities and, of floats, NaN. */
static wf_var *tied(wf_dtype dtype, wf_shape shape)
{
    static const double special[] = { (double)NAN, -0.0, (double)INFINITY, 0, -(double)INFINITY };
    wf_tensor x;
    ck_assert_ptr_nonnull(wf_constant_fill(t, dtype, shape, &x));
    for (int64_t i = 0; i < wf_tensor_count(&x); i++) {
        double v = (double)wf_random_below(9, (uint64_t)i, 60) - 30;
        if (dtype != WF_I32 && i % 7 == 3) v = special[i / 7 % 5];
        wf_dtype_describe(dtype)->store(x.data, i, v);
    }
    return wf_leaf_tensor(t, &x);
}

/* Does a come before b from the largest? */
static bool before(double a, double b)
{
    return isnan(a) ? !isnan(b) : a > b;
}

/* By its definition: how many elements of the row come before each says its place. */
static void assert_in_order(const wf_var *x, int axis, int64_t k, bool descending,
                            const wf_var *values, const wf_var *ids)
{
    const wf_shape all = wf_shape_of(x), few = wf_shape_of(ids);
    ck_assert_int_eq(wf_dtype_of(ids), WF_I32);
    ck_assert_int_eq(few.dim[axis], k);
    for (int64_t i = 0; i < wf_count(x); i++) {
        const int64_t own = index_along(&all, i, axis);
        const double v = wf_at(x, i);
        int64_t place = 0;
        for (int64_t j = 0; j < all.dim[axis]; j++) {
            const double w = wf_at(x, with_index(&all, i, &all, axis, j));
            const bool same = !before(v, w) && !before(w, v);
            place += same ? j < own : descending ? before(w, v) : before(v, w);
        }
        if (place >= k) continue;
        const int64_t to = with_index(&all, i, &few, axis, place);
        ck_assert_int_eq((int)wf_at(ids, to), own);
        if (values) ck_assert(isnan(v) ? isnan(wf_at(values, to)) : wf_at(values, to) == v);
    }
}

TEST(sort_and_top_k_are_what_they_say_of_every_dtype_layout_and_axis)
{
    for (int dtype = WF_F32; dtype <= WF_I32; dtype++) {
        wf_var *x = tied((wf_dtype)dtype, WF_SHAPE(5, 31, 3));
        wf_var *layout[] = { x, wf_transpose(t, x, 0, 1), wf_slice(t, x, 1, 1, WF_LAST, 2) };
        for (int l = 0; l < 3; l++)
            for (int axis = 0; axis < 3; axis++) {
                const int64_t n = wf_dim(layout[l], axis);
                wf_var *ids, *values;
                for (int down = 0; down < 2; down++) {
                    values = wf_sort(t, layout[l], axis - 3 * down, down, &ids);
                    assert_in_order(layout[l], axis, n, down, values, ids);
                    ids = wf_argsort(t, layout[l], axis, down);
                    assert_in_order(layout[l], axis, n, down, NULL, ids);
                }
                for (int64_t k = 0; k <= n; k += k < 2 ? 1 : n - k > 1 ? n - k - 1 : 1) {
                    values = wf_top_k(t, layout[l], k, axis, &ids);
                    assert_in_order(layout[l], axis, k, true, values, ids);
                }
            }
    }
}

/* Past what is kept in order, and from one dispatch of the search to the other. */
TEST(long_rows_are_put_in_order)
{
    static const int64_t few[] = { 1, 5, 50, 128, 129, 700 };
    for (int dtype = WF_F32; dtype <= WF_I32; dtype++) {
        wf_var *x = tied((wf_dtype)dtype, WF_SHAPE(2, 1000)), *ids;
        for (int k = 0; k < 6; k++) {
            wf_var *values = wf_top_k(t, x, few[k], -1, &ids);
            assert_in_order(x, 1, few[k], true, values, ids);
        }
        wf_var *values = wf_sort(t, x, -1, false, &ids);
        assert_in_order(x, 1, 1000, false, values, ids);
    }
    wf_var *wide = drawn(t, WF_F64, WF_SHAPE(3, 777), 4, -1e9, 1e9), *ids;
    wf_var *values = wf_sort(t, wide, -1, true, &ids);
    assert_in_order(wide, 1, 777, true, values, ids);
    ck_assert_ptr_nonnull(wf_top_k(t, wide, 3, 1, NULL));
}

/* ---- by ids along an axis ---- */

static wf_var *some_ids(wf_shape shape, int64_t below)
{
    return drawn(t, WF_I32, shape, 5, 0, (double)below);
}

TEST(gather_takes_what_ids_name_along_each_axis)
{
    for (int dtype = WF_F32; dtype <= WF_I32; dtype++) {
        wf_var *x = tied((wf_dtype)dtype, WF_SHAPE(5, 7, 3));
        wf_var *layout[] = { x, wf_transpose(t, x, 0, 1), wf_slice(t, x, 1, 1, WF_LAST, 2) };
        for (int l = 0; l < 3; l++)
            for (int axis = 0; axis < 3; axis++)
                for (int thin = -1; thin < 3; thin++) { /* an axis that ids have with size 1 */
                    const wf_shape of = wf_shape_of(layout[l]);
                    wf_shape form = of, to = of;
                    form.dim[axis] = to.dim[axis] = 11;
                    if (thin >= 0) form.dim[thin] = 1;
                    if (thin == axis) to.dim[axis] = 1;
                    wf_var *ids = some_ids(form, of.dim[axis]);
                    wf_var *y = wf_gather(t, layout[l], axis, ids);
                    const wf_shape got = wf_shape_of(y);
                    ck_assert(wf_shape_equal(&got, &to));
                    for (int64_t i = 0; i < wf_count(y); i++) {
                        const int64_t at = thin < 0 ? i : with_index(&to, i, &form, thin, 0);
                        const double want = wf_at(
                            layout[l], with_index(&to, i, &of, axis,
                                                  (int64_t)wf_at(ids, thin == axis ? i : at)));
                        ck_assert(isnan(want) ? isnan(wf_at(y, i)) : wf_at(y, i) == want);
                    }
                }
    }
}

TEST(of_x_sizes_of_1_beside_the_axis_are_repeated)
{
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(1, 7), 1, -1, 1), *ids = some_ids(WF_SHAPE(4, 3), 7);
    wf_var *y = wf_gather(t, x, 1, ids), *loss = wf_sum(t, y, NULL), *grad;
    for (int i = 0; i < 12; i++) ck_assert_double_eq(wf_at(y, i), wf_at(x, (int64_t)wf_at(ids, i)));
    ck_assert(wf_grad(t, 1, &loss, NULL, 1, &x, &grad, NULL));
    double n[7] = { 0 };
    for (int i = 0; i < 12; i++) n[(int)wf_at(ids, i)]++;
    for (int i = 0; i < 7; i++) ck_assert_double_eq(wf_at(grad, i), n[i]);
}

TEST(scatter_add_adds_up_what_ids_name_and_undoes_a_sort)
{
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++)
        for (int axis = 0; axis < 3; axis++)
            for (int long_axis = 0; long_axis < 2; long_axis++) {
                wf_shape form = WF_SHAPE(3, 5, 2), to;
                form.dim[axis] = long_axis ? 70 : 4;
                to = form;
                to.dim[axis] = 6;
                wf_var *x = drawn(t, (wf_dtype)dtype, form, 1, -1, 1), *ids = some_ids(form, 6);
                wf_var *y = wf_scatter_add(t, x, axis, ids, 6);
                double want[420] = { 0 };
                for (int64_t i = 0; i < wf_count(x); i++)
                    want[with_index(&form, i, &to, axis, (int64_t)wf_at(ids, i))] += wf_at(x, i);
                for (int64_t i = 0; i < wf_count(y); i++)
                    ck_assert_double_eq_tol(wf_at(y, i), want[i], dtype == WF_F32 ? 2e-6 : 1e-14);
                wf_var *place, *sorted = wf_sort(t, x, axis, false, &place);
                wf_var *back = wf_scatter_add(t, sorted, axis, place, form.dim[axis]);
                for (int64_t i = 0; i < wf_count(x); i++)
                    ck_assert_double_eq(wf_at(back, i), wf_at(x, i));
            }
}

/* What many ids name does not lose its digits. */
TEST(long_sums_by_id_are_exact_to_rounding)
{
    enum { N = 100000 };
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        wf_var *tenth = wf_full(t, (wf_dtype)dtype, WF_SHAPE(N), 0.1);
        wf_var *y = wf_scatter_add(t, tenth, 0, wf_zeros(t, WF_I32, WF_SHAPE(N)), 2);
        const double want = N * wf_at(tenth, 0);
        ck_assert_double_eq_tol(wf_at(y, 0) / want, 1, dtype == WF_F32 ? 1e-7 : 2e-16);
        ck_assert_double_eq(wf_at(y, 1), 0);
    }
}

TEST(an_id_out_of_range_is_told)
{
    const int32_t far[4] = { 0, 2, 3, 1 }, low[4] = { 0, -1, 0, 0 };
    wf_var *x = drawn(t, WF_F32, WF_SHAPE(2, 3), 1, -1, 1);
    ck_assert_ptr_null(wf_gather(t, x, -1, wf_constant(t, WF_I32, WF_SHAPE(2, 2), far)));
    assert_fails(t, "gather: id 3 at (1, 0) is out of range: axis 1 has 3");
    x = drawn(t, WF_F32, WF_SHAPE(2, 2), 1, -1, 1);
    wf_scatter_add(t, x, 0, wf_constant(t, WF_I32, WF_SHAPE(2, 2), low), 2);
    assert_fails(t, "scatter_add: id -1 at (0, 1) is out of range: axis 0 has 2");
}

/* ---- padding and repeats ---- */

TEST(a_pad_is_a_concat_with_a_number_and_a_slice_takes_it_off)
{
    for (int dtype = WF_F32; dtype <= WF_I32; dtype++)
        for (int axis = 0; axis < 3; axis++) {
            wf_var *x = wf_transpose(t, tied((wf_dtype)dtype, WF_SHAPE(3, 5, 2)), 0, 1);
            wf_shape left = wf_shape_of(x), right = left;
            left.dim[axis] = 2, right.dim[axis] = 1;
            wf_var *y = wf_constant_pad(t, x, axis, 2, 1, -3);
            wf_var *want = wf_concat(t, axis,
                                     WF_VARS(wf_full(t, (wf_dtype)dtype, left, -3), x,
                                             wf_full(t, (wf_dtype)dtype, right, -3)));
            ck_assert_int_eq(wf_count(y), wf_count(want));
            ck_assert(memcmp(wf_data(y), wf_data(want),
                             (size_t)(wf_count(y) * wf_dtype_size((wf_dtype)dtype))) == 0);
        }
}

TEST(repeats_are_those_of_numpy)
{
    const double x[6] = { 0, 1, 2, 3, 4, 5 };
    const double tiled[24] = { 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5,
                               0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5 };
    const double each[12] = { 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5 };
    const double rows[12] = { 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5 };
    wf_var *v = wf_leaf(t, WF_F64, WF_SHAPE(2, 3), x);
    wf_var *tile = wf_repeat(t, v, WF_SHAPE(2, 2)), *wide = wf_repeat(t, v, WF_SHAPE(3, 1, 2));
    for (int i = 0; i < 24; i++) ck_assert_double_eq(wf_at(tile, i), tiled[i]);
    ck_assert_int_eq(wf_rank(wide), 3);
    for (int i = 0; i < 36; i++) ck_assert_double_eq(wf_at(wide, i), tiled[i % 12]);
    wf_var *columns = wf_repeat_interleave(t, v, -1, 2), *twice = wf_repeat_interleave(t, v, 0, 2);
    for (int i = 0; i < 12; i++) {
        ck_assert_double_eq(wf_at(columns, i), each[i]);
        ck_assert_double_eq(wf_at(twice, i), rows[i]);
    }
    ck_assert_int_eq(wf_count(wf_repeat(t, v, WF_SHAPE(0, 2))), 0);
    ck_assert_ptr_eq(wf_repeat_interleave(t, v, 0, 1), v);
    ck_assert_int_eq(wf_dtype_of(wf_repeat(t, some_ids(WF_SHAPE(3), 4), WF_SHAPE(2))), WF_I32);
}

static bool moved(wf_tape *tape, void *context, wf_var *const in[], wf_var *out[8], int *n)
{
    (void)context;
    wf_var *x = in[0], *ids; /* (2, 3, 4) */
    out[0] = wf_square(tape, wf_repeat(tape, x, WF_SHAPE(2, 1, 3)));
    out[1] = wf_mul(tape, wf_repeat_interleave(tape, x, 1, 2),
                    wf_repeat(tape, x, WF_SHAPE(1, 2, 1)));
    out[2] = wf_square(tape, wf_top_k(tape, wf_tanh(tape, x), 2, 1, &ids));
    out[3] = wf_square(tape, wf_gather(tape, wf_square(tape, x), 1, ids));
    out[4] = wf_tanh(tape, wf_constant_pad(tape, wf_transpose(tape, x, 0, 2), 1, 1, 2, 0.5));
    *n = 5;
    return wf_tape_ok(tape);
}

TEST(what_is_moved_has_its_derivatives_and_second_ones)
{
    double x[24];
    for (int i = 0; i < 24; i++) x[i] = 4 * wf_random_uniform(1, (uint64_t)i) - 2;
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(2, 3, 4), x);
    assert_proved(wf_gradcheck(moved, NULL, 1, &in, NULL));
}

const harness_suite suite = { .before = set_up, .after = tear_down };
