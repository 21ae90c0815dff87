/* Series: missing numbers filled from the past alone, scaled by the training rows and back. */
#include "data/series.h"
#include "tests/fixture.h"

#include <math.h>
#include <string.h>

#define MISSING ((double)NAN)

static wf_tensor rows(double *x, int64_t t, int64_t n)
{
    return wf_tensor_of(WF_F64, WF_SHAPE(t, n), x);
}

static void assert_same(const double *got, const double *want, int n)
{
    for (int i = 0; i < n; i++)
        ck_assert_msg(isnan(want[i]) ? isnan(got[i]) : fabs(got[i] - want[i]) < 1e-15,
                      "%d: %.17g, not %.17g", i, got[i], want[i]);
}

/* ---- memory ---- */

TEST(a_series_is_all_missing_and_keeps_its_memory)
{
    OWN(wf_series) s = { .memory = NULL };
    ck_assert(wf_series_resize(&s, 4, 3, WF_F64, NULL));
    const void *memory = s.memory;
    wf_tensor_fill(&s.values, 1);
    wf_tensor_fill(&s.mask, 1);
    ck_assert(wf_series_resize(&s, 3, 2, WF_F32, NULL));
    ck_assert(s.memory == memory && s.values.dtype == WF_F32 && s.mask.dim[1] == 2);
    for (int i = 0; i < 6; i++)
        ck_assert(isnan(wf_tensor_at(&s.values, i)) && wf_tensor_at(&s.mask, i) == 0);
    ck_assert(!wf_series_resize(&s, INT64_MAX, 2, WF_F32, NULL));
    ck_assert(s.memory == memory && s.mask.dim[0] == 3);
    ck_assert(wf_series_resize(&s, 0, 5, WF_F32, NULL) && wf_tensor_count(&s.values) == 0);
}

/* ---- filling ---- */

TEST(missing_numbers_are_filled_from_the_past)
{
    const double x[10] = { MISSING, 1, 2, MISSING, MISSING, MISSING, 5, 6, MISSING, 8 };
    double a[10], b[10], c[10];
    memcpy(a, x, sizeof x), memcpy(b, x, sizeof x), memcpy(c, x, sizeof x);
    const wf_tensor ta = rows(a, 5, 2), tb = rows(b, 5, 2), tc = rows(c, 5, 2);
    ck_assert(wf_fill_missing(&ta, WF_FILL_LAST, (double[]){ 10, 20 }, NULL));
    assert_same(a, (double[]){ 10, 1, 2, 1, 2, 1, 5, 6, 5, 8 }, 10);
    ck_assert(wf_fill_missing(&tb, WF_FILL_MEAN, (double[]){ 10, 20 }, NULL));
    assert_same(b, (double[]){ 10, 1, 2, 20, 10, 20, 5, 6, 10, 8 }, 10);
    ck_assert(wf_fill_missing(&tc, WF_FILL_LAST, NULL, NULL));
    assert_same(c, (double[]){ 0, 1, 2, 1, 2, 1, 5, 6, 5, 8 }, 10);
    /* What comes later changes nothing before it. */
    double d[10];
    memcpy(d, x, sizeof x);
    const wf_tensor td = rows(d, 3, 2);
    ck_assert(wf_fill_missing(&td, WF_FILL_LAST, (double[]){ 10, 20 }, NULL));
    assert_same(d, a, 6);
}

/* ---- scaling ---- */

TEST(a_scale_is_that_of_the_training_rows_without_the_missing)
{
    double x[10] = { 1, 7, MISSING, 7, 3, 7, 100, 7, 100, 9 };
    const wf_tensor all = rows(x, 5, 2), training = rows(x, 3, 2);
    OWN(wf_scaler) *s = wf_scaler_new(WF_STANDARD, &training, NULL);
    OWN(wf_scaler) *m = wf_scaler_new(WF_MIN_MAX, &training, NULL);
    ck_assert(wf_scaler_offset(s, 0) == 2 && wf_scaler_scale(s, 0) == 1);
    ck_assert(wf_scaler_offset(m, 0) == 1 && wf_scaler_scale(m, 0) == 2);
    ck_assert(wf_scaler_offset(s, 1) == 7 && wf_scaler_scale(s, 1) == 1); /* the same everywhere */
    ck_assert(wf_scaler_columns(s) == 2 && isnan(wf_scaler_scale(s, 2)));
    double was[10];
    memcpy(was, x, sizeof x);
    ck_assert(wf_scaler_apply(s, &all, NULL));
    assert_same(x, (double[]){ -1, 0, MISSING, 0, 1, 0, 98, 0, 98, 2 }, 10);
    ck_assert(wf_scaler_undo(s, &all, NULL));
    assert_same(x, was, 10);
}

/* Mean 0 and deviation 1 afterwards, far from 0 too; and back, in both precisions, any strides. */
TEST_EACH(what_is_scaled_is_standard_and_comes_back, 2)
{
    enum { T = 500, N = 3 };
    const wf_dtype dtype = _i ? WF_F32 : WF_F64;
    OWN(wf_series) s = { .memory = NULL };
    ck_assert(wf_series_resize(&s, N, T, dtype, NULL));
    wf_tensor x;
    ck_assert(wf_view_transpose(&s.values, 0, 1, &x));
    for (int64_t i = 0; i < T * N; i++)
        put(&x, i,
            i % 7 == 3 ? MISSING : (i % N == 1 ? 1e6 : 0) + wf_random_normal(1, (uint64_t)i));
    OWN(wf_series) was = { .memory = NULL };
    ck_assert(wf_series_resize(&was, T, N, dtype, NULL));
    wf_tensor_copy(&x, &was.values);
    OWN(wf_scaler) *scaler = wf_scaler_new(WF_STANDARD, &x, NULL);
    ck_assert(wf_scaler_apply(scaler, &x, NULL));
    for (int64_t c = 0; c < N; c++) {
        double sum = 0, squares = 0, n = 0;
        for (int64_t t = 0; t < T; t++) {
            const double v = wf_tensor_at(&x, t * N + c);
            if (!isnan(v)) sum += v, squares += v * v, n++;
        }
        ck_assert_double_lt(fabs(sum / n), _i ? 1e-4 : 1e-9);
        ck_assert_double_lt(fabs(squares / n - 1), _i ? 1e-4 : 1e-9);
    }
    ck_assert(wf_scaler_undo(scaler, &x, NULL));
    for (int64_t i = 0; i < T * N; i++) {
        const double a = wf_tensor_at(&x, i), b = wf_tensor_at(&was.values, i);
        ck_assert(isnan(b) ? isnan(a) : fabs(a - b) <= (_i ? 1e-6 : 1e-15) * (1 + fabs(b)));
    }
}

TEST(a_scaler_is_kept_in_a_file_to_the_bit)
{
    double x[6] = { 0.1, 2, 0.7, 5, 0.3, 1e-3 };
    const wf_tensor t = rows(x, 3, 2);
    wf_error error = { "" };
    OWN(wf_scaler) *s = wf_scaler_new(WF_STANDARD, &t, NULL);
    OWN(wf_bundle) *bundle = wf_bundle_new();
    ck_assert(wf_scaler_to_bundle(s, bundle, "축척"));
    ck_assert_msg(wf_bundle_save(bundle, path_of("model"), &error), "%s", error.text);
    OWN(wf_archive) *file = wf_safetensors_load(path_of("model"), &error);
    OWN(wf_scaler) *again = wf_scaler_from_archive(file, "축척", &error);
    ck_assert_msg(again, "%s", error.text);
    OWN(wf_scaler) *one = wf_scaler_select(again, (int64_t[]){ 1 }, 1, &error);
    for (int c = 0; c < 2; c++)
        ck_assert(wf_scaler_offset(s, c) == wf_scaler_offset(again, c) &&
                  wf_scaler_scale(s, c) == wf_scaler_scale(again, c));
    ck_assert(wf_scaler_offset(one, 0) == wf_scaler_offset(s, 1) && wf_scaler_columns(one) == 1);
    ck_assert_ptr_null(wf_scaler_from_archive(file, "other", &error));
    ck_assert_str_eq(error.text, "scaler: the file has no 'other.offset' and 'other.scale', f64 of "
                                 "one size");
    OWN(wf_archive) *bad = archive_of(
        "{'s.offset':{'dtype':'F64','shape':[1],'data_offsets':[0,8]},"
        "'s.scale':{'dtype':'F64','shape':[1],'data_offsets':[8,16]}}",
        (double[]){ 1, 0 }, 16, NULL);
    ck_assert_ptr_null(wf_scaler_from_archive(bad, "s", &error));
    ck_assert_str_eq(error.text,
                     "scaler: column 0 of 's' in the file has an offset of 1 and a scale of 0");
}

TEST(rows_without_a_scale_are_refused)
{
    double x[4] = { 1, MISSING, 2, MISSING };
    const wf_tensor t = rows(x, 2, 2);
    wf_error error = { "" };
    ck_assert_ptr_null(wf_scaler_new(WF_STANDARD, &t, &error));
    ck_assert_str_eq(error.text, "scaler: column 1 of the rows has no number");
    x[3] = -(double)INFINITY;
    ck_assert_ptr_null(wf_scaler_new(WF_STANDARD, &t, &error));
    ck_assert_str_eq(error.text, "scaler: row (1, 1) is -inf");
    x[1] = 1e308, x[3] = -1e308;
    ck_assert_ptr_null(wf_scaler_new(WF_MIN_MAX, &t, &error));
    ck_assert_str_eq(error.text, "scaler: the numbers of column 1 are too large to be scaled");
}
