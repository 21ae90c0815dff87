/* Shapes, views and element-wise work on them, each held against plain index arithmetic. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor.h"
#include "tests/fixture.h"
#include "tests/harness.h"

/* Numbers 0, 1, 2, ... in row-major order: an element's value is its place. */
static double places[ROOM];

static wf_tensor counted(wf_shape shape)
{
    ck_assert_int_le(wf_shape_count(&shape), ROOM);
    for (int i = 0; i < ROOM; i++) places[i] = i;
    return wf_tensor_of(WF_F64, shape, places);
}

TEST(dtypes_have_sizes_and_names)
{
    ck_assert_int_eq(wf_dtype_size(WF_F32), sizeof(float));
    ck_assert_int_eq(wf_dtype_size(WF_F64), sizeof(double));
    ck_assert_int_eq(wf_dtype_size(WF_I32), sizeof(int32_t));
    ck_assert_int_eq(wf_dtype_size((wf_dtype)3), 0);
    ck_assert_str_eq(wf_dtype_name(WF_F32), "f32");
    ck_assert_str_eq(wf_dtype_name(WF_F64), "f64");
    ck_assert_str_eq(wf_dtype_name(WF_I32), "i32");
    ck_assert_str_eq(wf_dtype_name((wf_dtype)3), "unknown");
}

TEST(counts_are_products_of_sizes)
{
    wf_shape scalar = WF_SCALAR, shape = WF_SHAPE(2, 3, 5, 7), empty = WF_SHAPE(4, 0, 9);
    ck_assert_int_eq(wf_shape_count(&scalar), 1);
    ck_assert_int_eq(wf_shape_count(&shape), 210);
    ck_assert_int_eq(wf_shape_count(&empty), 0);
    ck_assert_int_eq(wf_shape_check(&scalar, WF_F64, NULL), 1);
    ck_assert_int_eq(wf_shape_check(&shape, WF_F32, NULL), 210);
    ck_assert_int_eq(wf_shape_check(&empty, WF_I32, NULL), 0);
    wf_tensor x = wf_tensor_of(WF_F32, shape, NULL);
    wf_shape back = wf_tensor_shape(&x);
    ck_assert_int_eq(wf_tensor_count(&x), 210);
    ck_assert(wf_shape_equal(&back, &shape));
    ck_assert(!wf_shape_equal(&shape, &empty) && !wf_shape_equal(&shape, &scalar));
    ck_assert(!wf_shape_equal(&WF_SHAPE(2, 3), &WF_SHAPE(3, 2)));
}

static const struct impossible {
    wf_shape shape;
    wf_dtype dtype;
    const char *text;
} impossibles[] = {
    { { 9, { 1 } }, WF_F32, "shape: rank is 9; expected 0 to 8" },
    { { -1, { 1 } }, WF_F32, "shape: rank is -1; expected 0 to 8" },
    { { 2, { 3, -4 } }, WF_F32, "shape: size of axis 1 is -4 in (3, -4); expected 0 or more" },
    { { 2, { 2, INT64_MIN } },
      WF_F32,
      "shape: size of axis 1 is -9223372036854775808 in (2, -9223372036854775808); expected 0 or "
      "more" },
    { { 1, { 3 } }, (wf_dtype)7, "shape: dtype is 7; expected f32, f64 or i32" },
    { { 2, { (int64_t)1 << 31, (int64_t)1 << 30 } },
      WF_F32,
      "shape: (2147483648, 1073741824) of f32 has more bytes than can be counted" },
    { { 1, { INT64_MAX } },
      WF_F64,
      "shape: (9223372036854775807) of f64 has more bytes than can be counted" },
    { { 3, { 0, INT64_MAX, 2 } },
      WF_F32,
      "shape: (0, 9223372036854775807, 2) of f32 has more bytes than can be counted" },
};

TEST_EACH(shapes_that_cannot_be_are_refused_with_the_numbers,
          sizeof impossibles / sizeof impossibles[0])
{
    const struct impossible *i = &impossibles[_i];
    wf_error e = { 0 };
    ck_assert_int_eq(wf_shape_check(&i->shape, i->dtype, &e), -1);
    ck_assert_str_eq(e.text, i->text);
}

TEST(the_largest_shape_that_can_be_counted_is_accepted)
{
    wf_shape shape = WF_SHAPE((int64_t)1 << 31, ((int64_t)1 << 30) - 1);
    ck_assert_int_eq(wf_shape_check(&shape, WF_F32, NULL), shape.dim[0] * shape.dim[1]);
}

TEST(a_shape_in_words_is_cut_and_terminated_like_snprintf)
{
    static const int64_t dim[] = { 2, 30, 400, 0, 5, 6, 7, INT64_MAX };
    static const char whole[] = "(2, 30, 400, 0, 5, 6, 7, 9223372036854775807)";
    char text[80];
    ck_assert_str_eq(wf_shape_text(text, sizeof text, 8, dim), whole);
    ck_assert_str_eq(wf_shape_text(text, sizeof text, 2, dim), "(2, 30)");
    ck_assert_str_eq(wf_shape_text(text, sizeof text, 1, dim), "(2)");
    ck_assert_str_eq(wf_shape_text(text, sizeof text, 0, dim), "()");
    for (size_t bytes = 1; bytes <= sizeof whole; bytes++) {
        memset(text, 'x', sizeof text);
        wf_shape_text(text, bytes, 8, dim);
        ck_assert_uint_eq(strlen(text), bytes - 1);
        ck_assert_int_eq(strncmp(text, whole, bytes - 1), 0);
        ck_assert_int_eq(text[bytes], 'x');
    }
    text[0] = 'x';
    wf_shape_text(text, 0, 2, dim);
    ck_assert_int_eq(text[0], 'x');
}

TEST(axes_count_from_the_end_when_negative)
{
    for (int rank = 0; rank <= WF_RANK; rank++) {
        for (int axis = -rank - 3; axis < rank + 3; axis++) {
            int expected = axis >= rank || axis < -rank ? -1 : axis < 0 ? rank + axis : axis;
            ck_assert_int_eq(wf_axis(rank, axis), expected);
        }
    }
}

TEST(a_fresh_tensor_is_row_major_at_every_rank)
{
    wf_shape shape = { 0, { 2, 3, 1, 4, 2, 3, 2, 5 } };
    for (; shape.rank <= WF_RANK; shape.rank++) {
        wf_tensor x = counted(shape);
        ck_assert(wf_tensor_is_contiguous(&x));
        ck_assert(!wf_tensor_overlaps_itself(&x));
        for (int64_t i = 0; i < wf_tensor_count(&x); i++) {
            ck_assert_int_eq(offset_of(&x, i), i);
            ck_assert(wf_tensor_at(&x, i) == (double)i);
        }
    }
}

TEST(sizes_of_one_and_none_do_not_break_contiguity_and_strides_do)
{
    wf_tensor x = counted(WF_SHAPE(3, 1, 5)), view;
    x.stride[1] = 77;
    ck_assert(wf_tensor_is_contiguous(&x));
    ck_assert(wf_view_transpose(&x, 0, 1, &view) && wf_tensor_is_contiguous(&view));
    ck_assert(wf_view_transpose(&x, 0, 2, &view) && !wf_tensor_is_contiguous(&view));
    ck_assert(wf_view_slice(&x, 2, 0, 4, 1, &view) && !wf_tensor_is_contiguous(&view));
    ck_assert(wf_view_slice(&x, 2, 2, 2, 1, &view) && wf_tensor_is_contiguous(&view));
    ck_assert(wf_view_slice(&x, 0, 1, 3, 1, &view) && wf_tensor_is_contiguous(&view));
    ck_assert(wf_view_expand(&x, WF_SHAPE(3, 2, 5), &view) && !wf_tensor_is_contiguous(&view));
}

TEST(a_slice_holds_every_step_th_index_from_start_to_before_stop)
{
    const wf_shape shape = WF_SHAPE(3, 5, 7);
    const wf_tensor untouched = { .rank = 99 };
    int made = 0;
    for (int axis = -3; axis < 3; axis++) {
        int a = axis < 0 ? axis + 3 : axis;
        for (int64_t start = -1; start <= shape.dim[a] + 1; start++) {
            for (int64_t stop = -1; stop <= shape.dim[a] + 1; stop++) {
                for (int64_t step = 0; step <= 4; step++) {
                    wf_tensor x = counted(shape), view = untouched;
                    bool sensible = start >= 0 && start <= stop && stop <= shape.dim[a] &&
                                    step >= 1;
                    ck_assert_int_eq(wf_view_slice(&x, axis, start, stop, step, &view), sensible);
                    if (!sensible) {
                        ck_assert_int_eq(memcmp(&view, &untouched, sizeof view), 0);
                        continue;
                    }
                    int64_t n = 0;
                    for (int64_t i = start; i < stop; i += step) n++;
                    wf_shape sliced = shape, got = wf_tensor_shape(&view);
                    sliced.dim[a] = n;
                    ck_assert(wf_shape_equal(&got, &sliced));
                    for (int64_t i = 0; i < wf_tensor_count(&view); i++) {
                        int64_t index[WF_RANK];
                        unflatten(&sliced, i, index);
                        index[a] = start + index[a] * step;
                        ck_assert(wf_tensor_at(&view, i) == (double)flatten(&shape, index));
                    }
                    made++;
                }
            }
        }
    }
    ck_assert_int_gt(made, 500);
}

TEST(the_largest_step_takes_one_element)
{
    wf_tensor x = counted(WF_SHAPE(3, 5)), view;
    ck_assert(wf_view_slice(&x, 0, 1, 3, INT64_MAX, &view));
    ck_assert_int_eq(view.dim[0], 1);
    ck_assert(wf_tensor_at(&view, 2) == 7);
    ck_assert(wf_view_window(&x, 1, 2, INT64_MAX, &view));
    ck_assert_int_eq(view.dim[1], 1);
}

TEST(an_empty_view_does_not_leave_the_memory_it_was_given)
{
    wf_tensor x = counted(WF_SHAPE(4, 6)), half, view;
    ck_assert(wf_view_slice(&x, 1, 0, 2, 1, &half));
    for (int axis = 0; axis < 2; axis++) {
        ck_assert(wf_view_slice(&half, axis, half.dim[axis], half.dim[axis], 1, &view));
        ck_assert_ptr_eq(view.data, half.data);
        ck_assert_int_eq(wf_tensor_count(&view), 0);
    }
    x.data = NULL; /* a form without numbers stays one */
    ck_assert(wf_view_slice(&x, 0, 2, 4, 1, &view) && view.data == NULL);
    ck_assert(wf_view_select(&x, 0, 3, &view) && view.data == NULL);
}

TEST(a_selection_drops_the_axis)
{
    const wf_shape shape = WF_SHAPE(3, 4, 2, 5);
    for (int axis = -4; axis < 4; axis++) {
        int a = axis < 0 ? axis + 4 : axis;
        for (int64_t at = -1; at <= shape.dim[a]; at++) {
            wf_tensor x = counted(shape), view = x;
            bool sensible = at >= 0 && at < shape.dim[a];
            ck_assert_int_eq(wf_view_select(&x, axis, at, &view), sensible);
            if (!sensible) continue;
            ck_assert_int_eq(view.rank, 3);
            wf_shape rest = wf_tensor_shape(&view);
            for (int64_t i = 0; i < wf_tensor_count(&view); i++) {
                int64_t index[WF_RANK], whole[WF_RANK];
                unflatten(&rest, i, index);
                for (int k = 0; k < 4; k++)
                    whole[k] = k < a ? index[k] : k == a ? at : index[k - 1];
                ck_assert(wf_tensor_at(&view, i) == (double)flatten(&shape, whole));
            }
        }
    }
}

TEST(a_transposition_exchanges_two_indices_and_undoes_itself)
{
    const wf_shape shape = WF_SHAPE(3, 4, 2, 5);
    for (int a = -4; a < 4; a++) {
        for (int b = -4; b < 4; b++) {
            wf_tensor x = counted(shape), view, back;
            int p = wf_axis(4, a), q = wf_axis(4, b);
            ck_assert(wf_view_transpose(&x, a, b, &view));
            wf_shape turned = wf_tensor_shape(&view);
            for (int64_t i = 0; i < wf_tensor_count(&view); i++) {
                int64_t index[WF_RANK];
                unflatten(&turned, i, index);
                int64_t keep = index[p];
                index[p] = index[q];
                index[q] = keep;
                ck_assert(wf_tensor_at(&view, i) == (double)flatten(&shape, index));
            }
            ck_assert(wf_view_transpose(&view, a, b, &back));
            ck_assert_int_eq(memcmp(&back, &x, sizeof x), 0);
        }
    }
    wf_tensor x = counted(shape), view;
    ck_assert(!wf_view_transpose(&x, 0, 4, &view) && !wf_view_transpose(&x, -5, 0, &view));
}

TEST(a_window_slides_over_its_axis)
{
    const wf_shape shape = WF_SHAPE(3, 7, 2);
    for (int axis = -3; axis < 3; axis++) {
        int a = wf_axis(3, axis);
        for (int64_t size = 0; size <= shape.dim[a] + 1; size++) {
            for (int64_t step = 0; step <= 5; step++) {
                wf_tensor x = counted(shape), view = x;
                bool sensible = size >= 1 && size <= shape.dim[a] && step >= 1;
                ck_assert_int_eq(wf_view_window(&x, axis, size, step, &view), sensible);
                if (!sensible) continue;
                wf_shape windows = shape, got = wf_tensor_shape(&view);
                windows.rank = 4;
                windows.dim[a] = (shape.dim[a] - size) / step + 1;
                windows.dim[3] = size;
                ck_assert(wf_shape_equal(&got, &windows));
                for (int64_t i = 0; i < wf_tensor_count(&view); i++) {
                    int64_t index[WF_RANK];
                    unflatten(&windows, i, index);
                    index[a] = index[a] * step + index[3];
                    ck_assert(wf_tensor_at(&view, i) == (double)flatten(&shape, index));
                }
                ck_assert_int_eq(wf_tensor_overlaps_itself(&view),
                                 size > step && windows.dim[a] > 1);
            }
        }
    }
    wf_tensor full = counted((wf_shape){ 8, { 1, 2, 1, 2, 1, 2, 1, 3 } }), view;
    ck_assert(!wf_view_window(&full, 7, 2, 1, &view)); /* there is no ninth axis */
}

/* Every view of a small tensor that one or two steps lead to. */
static int some_views(wf_tensor list[], int room)
{
    int n = 0;
    wf_tensor base[3] = { counted(WF_SHAPE(4, 6)), counted(WF_SHAPE(2, 3, 4)),
                          counted(WF_SHAPE(1, 12, 1, 2)) };
    for (int b = 0; b < 3; b++) list[n++] = base[b];
    for (int from = 0, stop = n; from < 2; from++, stop = n) {
        for (int v = from ? 3 : 0; v < stop; v++) {
            wf_tensor x = list[v];
            for (int k = 0; k < x.rank && n + 5 < room; k++) {
                n += wf_view_slice(&x, k, 1, x.dim[k], 2, &list[n]);
                n += wf_view_slice(&x, k, 0, x.dim[k] / 2, 1, &list[n]);
                n += k > 0 && wf_view_transpose(&x, k, k - 1, &list[n]);
                n += wf_view_window(&x, k, 2, 1, &list[n]);
                wf_shape wide = wf_tensor_shape(&x);
                if (wide.dim[k] == 1) {
                    wide.dim[k] = 3;
                    n += wf_view_expand(&x, wide, &list[n]);
                }
            }
        }
    }
    return n;
}

/* Do strides exist that lay the view's elements out in this shape? Each follows from one element;
 * then all are tried. */
static bool can_be_laid_out(const wf_tensor *x, const wf_shape *shape)
{
    int64_t stride[WF_RANK], index[WF_RANK] = { 0 }, count = wf_tensor_count(x);
    for (int k = 0; k < shape->rank; k++) {
        if (shape->dim[k] < 2) continue;
        index[k] = 1;
        stride[k] = offset_of(x, flatten(shape, index));
        index[k] = 0;
        if (stride[k] < 0) return false;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0;
        unflatten(shape, i, index);
        for (int k = 0; k < shape->rank; k++)
            if (shape->dim[k] > 1) at += index[k] * stride[k];
        if (at != offset_of(x, i)) return false;
    }
    return true;
}

TEST(a_reshape_keeps_the_order_and_is_refused_only_when_no_strides_would_do)
{
    static wf_tensor views[600];
    int n = some_views(views, 600), made = 0, refused = 0;
    ck_assert_int_gt(n, 200);
    for (int v = 0; v < n; v++) {
        int64_t count = wf_tensor_count(&views[v]);
        for (int64_t a = 1; a <= 24; a++) {
            for (int64_t b = 1; b <= 24; b++) {
                if (count % (a * b) != 0) continue;
                wf_shape shapes[] = { WF_SHAPE(a, b, count / (a * b)),
                                      WF_SHAPE(a, 1, b, count / (a * b), 1) };
                for (int s = 0; s < 2; s++) {
                    wf_tensor y;
                    bool done = count == 0 || can_be_laid_out(&views[v], &shapes[s]);
                    ck_assert_int_eq(wf_view_reshape(&views[v], shapes[s], &y), done);
                    refused += !done;
                    if (!done) continue;
                    made++;
                    wf_shape got = wf_tensor_shape(&y);
                    ck_assert(wf_shape_equal(&got, &shapes[s]));
                    for (int64_t i = 0; i < count; i++)
                        ck_assert(wf_tensor_at(&y, i) == wf_tensor_at(&views[v], i));
                }
            }
        }
    }
    ck_assert_int_gt(made, 1000);
    ck_assert_int_gt(refused, 1000);
}

TEST(a_reshape_needs_as_many_elements)
{
    wf_tensor x = counted(WF_SHAPE(4, 6)), one = counted(WF_SHAPE(1, 1)),
              none = counted(WF_SHAPE(3, 0)), y;
    ck_assert(!wf_view_reshape(&x, WF_SHAPE(4, 5), &y) && !wf_view_reshape(&x, WF_SHAPE(0), &y) &&
              !wf_view_reshape(&x, WF_SCALAR, &y));
    ck_assert(!wf_view_reshape(&x, WF_SHAPE(-4, -6), &y) &&
              !wf_view_reshape(&x, (wf_shape){ 9, { 24 } }, &y));
    ck_assert(wf_view_reshape(&one, WF_SCALAR, &y) && y.rank == 0);
    ck_assert(wf_view_reshape(&one, (wf_shape){ 8, { 1, 1, 1, 1, 1, 1, 1, 1 } }, &y) &&
              y.rank == 8);
    ck_assert(wf_view_reshape(&none, WF_SHAPE(0, 5), &y) && wf_tensor_count(&y) == 0);
    ck_assert(!wf_view_reshape(&none, WF_SHAPE(0, INT64_MAX, INT64_MAX), &y));
}

TEST(broadcasting_follows_numpys_rule)
{
    static const wf_shape shapes[] = { { 0, { 0 } },       { 1, { 1 } },         { 1, { 3 } },
                                       { 2, { 1, 3 } },    { 2, { 4, 1 } },      { 2, { 4, 3 } },
                                       { 2, { 0, 3 } },    { 3, { 2, 4, 3 } },   { 3, { 2, 1, 1 } },
                                       { 3, { 1, 0, 1 } }, { 4, { 5, 1, 4, 1 } } };
    enum { N = sizeof shapes / sizeof shapes[0] };
    int joined = 0;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            const wf_shape *a = &shapes[i], *b = &shapes[j];
            wf_shape got = { .rank = 77 },
                     expected = { .rank = a->rank > b->rank ? a->rank : b->rank };
            bool possible = true;
            for (int k = 1; k <= expected.rank; k++) { /* from the right */
                int64_t m = k <= a->rank ? a->dim[a->rank - k] : 1,
                        n = k <= b->rank ? b->dim[b->rank - k] : 1;
                if (m != 1 && n != 1 && m != n) possible = false;
                expected.dim[expected.rank - k] = m == 1 ? n : n == 1 ? m : m;
            }
            ck_assert_int_eq(wf_shape_broadcast(a, b, &got), possible);
            if (!possible) {
                ck_assert_int_eq(got.rank, 77);
                continue;
            }
            ck_assert(wf_shape_equal(&got, &expected));
            joined++;
            wf_tensor x = counted(*a), wide;
            ck_assert(wf_view_expand(&x, got, &wide));
            for (int64_t e = 0; e < wf_tensor_count(&wide); e++) {
                int64_t index[WF_RANK], own[WF_RANK];
                unflatten(&got, e, index);
                for (int k = 0; k < a->rank; k++)
                    own[k] = a->dim[k] == 1 ? 0 : index[k + got.rank - a->rank];
                ck_assert(wf_tensor_at(&wide, e) == (double)flatten(a, own));
            }
        }
    }
    ck_assert_int_gt(joined, N);
    wf_tensor x = counted(WF_SHAPE(2, 3)), wide;
    ck_assert(!wf_view_expand(&x, WF_SHAPE(3), &wide) &&
              !wf_view_expand(&x, WF_SHAPE(2, 6), &wide));
    ck_assert(!wf_view_expand(&x, WF_SHAPE(INT64_MAX, 2, 3), &wide));
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool shares_an_element(const wf_tensor *x)
{
    int64_t at[ROOM], n = wf_tensor_count(x);
    for (int64_t i = 0; i < n; i++) at[i] = offset_of(x, i);
    qsort(at, (size_t)n, sizeof *at, ascending);
    for (int64_t i = 1; i < n; i++)
        if (at[i] == at[i - 1]) return true;
    return false;
}

TEST(an_overlap_is_found_exactly_when_two_indices_share_an_element)
{
    int with = 0, without = 0;
    for (int code = 0; code < 60000; code++) {
        /* Sizes 0..6 and strides 0..13 on up to four axes, in an order that mixes them. */
        uint32_t h = (uint32_t)code * 2654435761u;
        wf_tensor x = { .dtype = WF_F64, .rank = 1 + code % 4 };
        for (int k = 0; k < x.rank; k++) {
            h = h * 1664525u + 1013904223u;
            x.dim[k] = (h >> 27) % 17 ? 1 + (h >> 24) % 6 : 0;
            x.stride[k] = (h >> 12) % 29 ? 1 + (h >> 8) % 13 * ((h >> 16) % 3 ? 1 : 5) : 0;
        }
        bool shares = shares_an_element(&x);
        with += shares;
        without += !shares;
        ck_assert_msg(wf_tensor_overlaps_itself(&x) == shares, "case %d", code);
    }
    ck_assert_int_gt(with, 5000);
    ck_assert_int_gt(without, 5000);
}

TEST(an_overlap_is_decided_quickly_for_large_tensors_too)
{
    const int64_t n = (int64_t)1 << 30;
    wf_tensor rows = { .rank = 2, .dim = { n, 7 }, .stride = { 7, 1 } },
              slide = { .rank = 2, .dim = { n, 7 }, .stride = { 6, 1 } };
    wf_tensor turned = { .rank = 3, .dim = { 5, n, 3 }, .stride = { 1, 15, 5 } },
              comb = { .rank = 2, .dim = { n, n }, .stride = { 3, 2 } };
    ck_assert(!wf_tensor_overlaps_itself(&rows) && !wf_tensor_overlaps_itself(&turned));
    ck_assert(wf_tensor_overlaps_itself(&slide) && wf_tensor_overlaps_itself(&comb));
}

TEST(a_copy_holds_the_same_numbers_whatever_the_strides_and_dtypes_and_touches_no_others)
{
    static double from[ROOM], to[ROOM], before[ROOM];
    for (int a = 0; a < LAYOUTS * 3; a++) {
        for (int b = 0; b < LAYOUTS * 3; b++) {
            wf_tensor x = laid_out(a / 3, (wf_dtype)(a % 3), from),
                      y = laid_out(b / 3, (wf_dtype)(b % 3), to);
            int64_t n = wf_tensor_count(&x);
            for (int64_t i = 0; i < n; i++) put(&x, i, (double)(i * 37 % 101 - 50) * 1.75);
            memset(to, 0x3C, sizeof to);
            wf_tensor_copy(&x, &y);
            for (int64_t i = 0; i < n; i++) {
                double v = wf_tensor_at(&x, i);
                ck_assert(wf_tensor_at(&y, i) == (y.dtype == WF_I32 ? trunc(v) : v));
                put(&y, i, 0);
            }
            /* With the elements themselves set back, nothing differs from the memory as it was. */
            memset(before, 0x3C, sizeof before);
            wf_tensor z = laid_out(b / 3, y.dtype, before);
            for (int64_t i = 0; i < n; i++) put(&z, i, 0);
            ck_assert_int_eq(memcmp(before, to, sizeof to), 0);
        }
    }
}

TEST(a_copy_to_i32_truncates_and_stays_in_range)
{
    static const double given[] = { 1.9,
                                    -1.9,
                                    -0.5,
                                    2147483646.7,
                                    2147483647.0,
                                    2147483648.0,
                                    1e300,
                                    -2147483648.0,
                                    -2147483648.9,
                                    -2147483649.0,
                                    -1e300,
                                    (double)INFINITY,
                                    (double)-INFINITY,
                                    (double)NAN };
    static const int32_t expected[] = { 1,         -1,        0,         2147483646, INT32_MAX,
                                        INT32_MAX, INT32_MAX, INT32_MIN, INT32_MIN,  INT32_MIN,
                                        INT32_MIN, INT32_MAX, INT32_MIN, 0 };
    enum { N = sizeof given / sizeof given[0] };
    int32_t got[N];
    double memory[N];
    memcpy(memory, given, sizeof given);
    wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(N), memory),
              y = wf_tensor_of(WF_I32, WF_SHAPE(N), got);
    wf_tensor_copy(&x, &y);
    for (int i = 0; i < N; i++) ck_assert_int_eq(got[i], expected[i]);
}

TEST(a_copy_within_a_dtype_keeps_every_bit)
{
    static const uint32_t bits[] = { 1,          0x80000000, 0x7fc12345, 0xff800001,
                                     0x007fffff, 0x3f800000, 0x80000001 };
    uint32_t from[14], to[14], odd[7];
    for (int i = 0; i < 7; i++) from[2 * i] = from[2 * i + 1] = bits[i];
    wf_tensor x = wf_tensor_of(WF_F32, WF_SHAPE(14), from),
              y = wf_tensor_of(WF_F32, WF_SHAPE(14), to), half;
    wf_tensor_copy(&x, &y);
    ck_assert_int_eq(memcmp(from, to, sizeof from), 0);
    ck_assert(wf_view_slice(&x, 0, 1, 14, 2, &half));
    y = wf_tensor_of(WF_F32, WF_SHAPE(7), odd);
    wf_tensor_copy(&half, &y);
    ck_assert_int_eq(memcmp(odd, bits, sizeof odd), 0);
}

TEST(a_copy_repeats_what_is_broadcast)
{
    double three[3] = { 10, 20, 30 }, out[24];
    wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(1, 3), three),
              y = wf_tensor_of(WF_F64, WF_SHAPE(2, 4, 3), out), wide;
    ck_assert(wf_view_expand(&x, WF_SHAPE(2, 4, 3), &wide));
    wf_tensor_copy(&wide, &y);
    for (int i = 0; i < 24; i++) ck_assert(out[i] == three[i % 3]);
}

TEST(adding_adds_whatever_the_strides)
{
    static double from[ROOM], to[ROOM], before[ROOM];
    for (int a = 0; a < LAYOUTS * 2; a++) {
        for (int b = 0; b < LAYOUTS; b++) {
            wf_dtype dtype = (wf_dtype)(a % 2);
            wf_tensor x = laid_out(a / 2, dtype, from), y = laid_out(b, dtype, to),
                      z = laid_out(b, dtype, before);
            memset(to, 0x3C, sizeof to);
            int64_t n = wf_tensor_count(&x);
            for (int64_t i = 0; i < n; i++) {
                put(&x, i, (double)(i * 37 % 101 - 50) * 1.75);
                put(&y, i, (double)(i % 13) * 0.5);
            }
            memcpy(before, to, sizeof to);
            wf_tensor_add(&x, &y);
            for (int64_t i = 0; i < n; i++) {
                ck_assert(wf_tensor_at(&y, i) ==
                          wf_tensor_at(&z, i) + wf_tensor_at(&x, i)); /* exact in either dtype */
                put(&y, i, wf_tensor_at(&z, i));
            }
            ck_assert_int_eq(memcmp(before, to, sizeof to), 0);
            wf_tensor_accumulate(&x, &y, -2, 3);
            for (int64_t i = 0; i < n; i++)
                ck_assert(wf_tensor_at(&y, i) == wf_tensor_at(&z, i) - 2 * wf_tensor_at(&x, i));
        }
    }
}

/* y += x with the elements of y taken one after another, in float. */
static void add_in_order(const wf_tensor *x, const wf_tensor *y, float *memory)
{
    for (int64_t i = 0; i < wf_tensor_count(y); i++)
        memory[offset_of(y, i)] += ((const float *)x->data)[offset_of(x, i)];
}

TEST(adding_into_a_view_that_overlaps_itself_is_done_in_index_order)
{
    enum { LONG = 50000 };
    static float memory[LONG], oracle[LONG], x_memory[7 * LONG];
    wf_tensor line = wf_tensor_of(WF_F32, WF_SHAPE(LONG), memory), y[7];
    wf_tensor box = wf_tensor_of(WF_F32, WF_SHAPE(9, 11, 13), memory),
              one = wf_tensor_of(WF_F32, WF_SHAPE(1, 11, 1), memory);
    ck_assert(wf_view_window(&box, 1, 4, 3, &y[0]));
    ck_assert(wf_view_window(&box, 0, 5, 2, &y[1]) && wf_view_transpose(&y[1], 0, 3, &y[1]));
    ck_assert(wf_view_window(
        &line, 0, 7, 1, &y[2])); /* long enough to be shared among threads, which it must not be */
    ck_assert(wf_view_transpose(&y[2], 0, 1, &y[3]));
    ck_assert(wf_view_expand(&one, WF_SHAPE(17, 11, 19), &y[4]));
    ck_assert(wf_view_transpose(&y[4], 1, 2, &y[5]));
    ck_assert(wf_view_window(&box, 2, 13, 1, &y[6])); /* one position: no overlap */
    /* x row-major, then with its axes turned round, which tempts the walk into another order. */
    for (int v = 0; v < 14; v++) {
        const wf_tensor *to = &y[v % 7];
        int64_t n = wf_tensor_count(to);
        wf_shape shape = wf_tensor_shape(to), turned = shape;
        for (int k = 0; k < shape.rank; k++) turned.dim[k] = shape.dim[shape.rank - 1 - k];
        wf_tensor x = wf_tensor_of(WF_F32, v < 7 ? shape : turned, x_memory);
        for (int k = 0; k < shape.rank / 2 && v >= 7; k++)
            ck_assert(wf_view_transpose(&x, k, shape.rank - 1 - k, &x));
        ck_assert_int_le(n, 7 * LONG);
        /* Numbers of such different size that another order gives other bits. */
        for (int64_t i = 0; i < n; i++)
            x_memory[i] = (float)((i * 7919 % 10007) - 5003) * (i % 3 ? 1e-4f : 37.0f);
        for (int i = 0; i < LONG; i++) memory[i] = oracle[i] = (float)(i % 17) * 0.3f;
        add_in_order(&x, to, oracle);
        wf_tensor_add(&x, to);
        ck_assert_msg(memcmp(memory, oracle, sizeof oracle) == 0, "view %d", v);
    }
}

/* Integers of few digits: every sum is exact, in whatever order and dtype. */
TEST(accumulating_converts_broadcasts_and_sums_by_any_number_of_threads)
{
    enum { M = 211, N = 307 };
    static double from[M * N], to[2][M * N];
    const wf_shape whole = WF_SHAPE(M, N), less[] = {
        { 2, { M, N } }, { 2, { 1, N } }, { 2, { M, 1 } }, { 1, { N } }, { 0, { 0 } }
    };
    for (int kind = 0; kind < 4; kind++) {
        const wf_dtype a = (wf_dtype)(kind & 1), b = (wf_dtype)(kind >> 1);
        for (int k = 0; k < 10; k++) {
            const bool sums = k >= 5;
            if (sums && a != b) continue;
            const wf_tensor x = wf_tensor_of(a, sums ? whole : less[k], from);
            const int64_t n = wf_shape_count(&whole);
            for (int64_t i = 0; i < wf_tensor_count(&x); i++) put(&x, i, (double)(i % 23 - 11));
            for (int turn = 0; turn < 2; turn++) {
                const wf_tensor y = wf_tensor_of(b, sums ? less[k - 5] : whole, to[turn]);
                wf_tensor_fill(&y, 5);
                wf_tensor_accumulate(&x, &y, 3, turn ? 3 : 1);
            }
            wf_tensor y = wf_tensor_of(b, sums ? less[k - 5] : whole, to[0]), wide;
            ck_assert_int_eq(memcmp(to[0], to[1], (size_t)(wf_tensor_count(&y) * 4)), 0);
            ck_assert(wf_view_expand(sums ? &y : &x, whole, &wide));
            for (int64_t i = 0; i < n; i++) { /* sums are undone, element by element */
                if (sums)
                    put(&wide, i, wf_tensor_at(&wide, i) - 3 * wf_tensor_at(&x, i));
                else
                    ck_assert(wf_tensor_at(&y, i) == 5 + 3 * wf_tensor_at(&wide, i));
            }
            for (int64_t i = 0; sums && i < wf_tensor_count(&y); i++)
                ck_assert(wf_tensor_at(&y, i) == 5);
        }
    }
}

TEST(filling_reaches_every_element_and_no_other)
{
    static double memory[ROOM], before[ROOM];
    for (int a = 0; a < LAYOUTS * 3; a++) {
        wf_tensor y = laid_out(a / 3, (wf_dtype)(a % 3), memory),
                  z = laid_out(a / 3, y.dtype, before);
        memset(memory, 0x3C, sizeof memory);
        memset(before, 0x3C, sizeof before);
        wf_tensor_fill(&y, -3.75);
        for (int64_t i = 0; i < wf_tensor_count(&y); i++)
            put(&z, i, y.dtype == WF_I32 ? -3 : -3.75);
        ck_assert_int_eq(memcmp(before, memory, sizeof memory), 0);
    }
    int32_t one[1];
    wf_tensor scalar = wf_tensor_of(WF_I32, WF_SCALAR, one);
    wf_tensor_fill(&scalar, 1e99);
    ck_assert_int_eq(one[0], INT32_MAX);
}

TEST(a_tensor_over_const_memory_is_read_where_it_lies)
{
    static const double table[6] = { 1, 2, 3, 4, 5, 6 };
    const wf_tensor x = wf_tensor_over(WF_F64, WF_SHAPE(2, 3), table);
    ck_assert_ptr_eq(x.data, table);
    ck_assert_double_eq(wf_tensor_at(&x, 5), 6);
    float copy[6];
    const wf_tensor y = wf_tensor_of(WF_F32, WF_SHAPE(2, 3), copy);
    wf_tensor_copy(&x, &y);
    for (int i = 0; i < 6; i++) ck_assert(copy[i] == (float)table[i]);
}
