/* Misuse of tables and series: CSV, missing numbers, scales, windows, forecasts. */
#include "tests/misuse.h"

#include <limits.h>
#include <math.h>

TEST(tables_that_are_none_are_refused)
{
    wf_error *e = &now.error;
    const wf_text good = { "t", "a,b\n1,2\n", 8 }, less = { "t", "a", -1 }, null = { "t", NULL, 3 };
    const int64_t column[2] = { 1, 2 };
    wf_series s = { 0 };
    wf_csv *c;
    ERROR_SAYS(wf_csv_from_text(&less, NULL, e), "csv 't': no bytes were given");
    ERROR_SAYS(wf_csv_from_text(&null, NULL, e), "csv 't': no bytes were given");
    ERROR_SAYS(wf_csv_from_text(NULL, NULL, e), "csv: no text was given (NULL)");
    ERROR_SAYS(wf_csv_new(NULL, NULL, e), NULL);
    ERROR_SAYS(wf_csv_new("", NULL, e), "csv '': no path was given");
    ERROR_SAYS(wf_csv_new(harness_folder(), NULL, e), NULL);
    ERROR_SAYS(wf_csv_from_text(&good, &(wf_csv_options){ .separator = '\n' }, e),
               "csv 't': .separator is 0x0A; it must be one letter of ASCII, and neither a quote "
               "nor a line end");
    ck_assert(wf_file_write(path_of("table"), good.bytes, good.n, e));
    ERROR_CLEARED(c = wf_csv_new(path_of("table"), NULL, e));
    wf_csv_free(c);
    ERROR_CLEARED(c = wf_csv_from_text(&good, NULL, e));
    ERROR_CLEARED(wf_csv_find(c, "b", e) == 1);
    ERROR_CLEARED(wf_csv_select(c, NULL, NULL, 0, e) == 2);
    ERROR_SAYS(wf_csv_find(c, NULL, e) + 1, "csv: no column was named (NULL)");
    ERROR_SAYS(wf_csv_find(NULL, "b", e) + 1, "csv: it was never made (NULL)");
    ERROR_SAYS(wf_csv_find(c, "-1", e) + 1,
               "csv 't': there is no column '-1'\n  hint: there are 'a', 'b'");
    ERROR_SAYS(wf_csv_select(NULL, "b", NULL, 0, e) + 1, "csv: it was never made (NULL)");
    ERROR_SAYS(wf_csv_select(c, "", NULL, 0, e) + 1, NULL);
    ERROR_SAYS(wf_csv_series(NULL, column, 1, WF_F32, &s, e), "csv: it was never made (NULL)");
    ERROR_SAYS(wf_csv_series(c, column, 2, WF_F32, &s, e),
               "csv 't': there is no column 2; there are 2");
    ERROR_SAYS(wf_csv_series(c, NULL, 2, WF_F32, &s, e), "csv 't': no columns were given");
    ERROR_SAYS(wf_csv_series(c, column, 1, WF_I32, &s, e),
               "series: the dtype is i32; it must be f32 or f64");
    ERROR_SAYS(wf_csv_series(c, column, 1, WF_F32, NULL, e),
               "series: there is nothing to fill (NULL)");
    QUIET(!wf_csv_text(c, 0, 2) && !wf_csv_text(c, 1, 0) && !wf_csv_text(c, -1, INT64_MIN));
    QUIET(!wf_csv_text(NULL, 0, 0) && !wf_csv_name(NULL, 0) && !wf_csv_name(c, INT64_MAX));
    QUIET(!wf_csv_missing(c, 5, 5) && wf_csv_line(NULL, 0) == 0 && wf_csv_rows(NULL) == 0);
    ERROR_CLEARED(wf_csv_series(c, column, 1, WF_F32, &s, e));
    wf_series_free(&s);
    wf_csv_free(c);
}

TEST(series_that_are_none_are_refused)
{
    wf_error *e = &now.error;
    double number[4] = { 1, 2, 3, 4 };
    wf_series s = { 0 };
    const wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(2, 2), number);
    const wf_tensor flat = wf_tensor_of(WF_F64, WF_SHAPE(4), number);
    const wf_tensor none = wf_tensor_of(WF_F64, WF_SHAPE(2, 2), NULL);
    ERROR_SAYS(wf_series_resize(NULL, 1, 1, WF_F32, e), "series: there is nothing to fill (NULL)");
    ERROR_SAYS(wf_series_resize(&s, -1, 1, WF_F32, e), "series: a size of (-1, 1) is below 0");
    ERROR_SAYS(wf_series_resize(&s, 1, 1, (wf_dtype)9, e),
               "series: the dtype is unknown; it must be f32 or f64");
    ERROR_SAYS(wf_series_resize(&s, INT64_MAX, INT64_MAX, WF_F32, e),
               "series: not enough memory for 9223372036854775807 bytes");
    ERROR_CLEARED(wf_series_resize(&s, 1, 1, WF_F32, e));
    ERROR_SAYS(wf_fill_missing(&x, (wf_filling)2, NULL, e), "fill: there is no filling 2");
    ERROR_SAYS(wf_fill_missing(NULL, WF_FILL_LAST, NULL, e),
               "fill: it takes f32 or f64 of shape (T, n)");
    ERROR_SAYS(wf_fill_missing(&flat, WF_FILL_LAST, NULL, e),
               "fill: it takes f32 or f64 of shape (T, n)");
    ERROR_SAYS(wf_fill_missing(&none, WF_FILL_LAST, NULL, e),
               "fill: it takes f32 or f64 of shape (T, n)");
    ERROR_CLEARED(wf_fill_missing(&x, WF_FILL_LAST, NULL, e));
    wf_series_free(&s);
}

TEST(scales_that_are_none_are_refused)
{
    wf_error *e = &now.error;
    double number[4] = { 1, 2, 3, 4 };
    const int64_t column[1] = { 2 };
    const wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(2, 2), number);
    const wf_tensor three = wf_tensor_of(WF_F64, WF_SHAPE(1, 3), number);
    wf_tensor wide;
    wf_scaler *s, *again;
    wf_bundle *b = wf_bundle_new();
    wf_archive *file;
    ERROR_SAYS(wf_scaler_new((wf_scaling)-1, &x, e), "scaler: there is no scaling -1");
    ERROR_SAYS(wf_scaler_new(WF_STANDARD, NULL, e),
               "scaler: it takes rows of f32 or f64, (T, n) with n of 1 or more");
    ERROR_CLEARED(s = wf_scaler_new(WF_STANDARD, &x, e));
    ERROR_SAYS(wf_scaler_select(NULL, column, 1, e), "scaler: it was never made (NULL)");
    ERROR_SAYS(wf_scaler_select(s, NULL, 1, e), "scaler: no columns were given");
    ERROR_SAYS(wf_scaler_select(s, column, 1, e), "scaler: there is no column 2; there are 2");
    ERROR_CLEARED(again = wf_scaler_select(s, (int64_t[]){ 0 }, 1, e));
    wf_scaler_free(again);
    ERROR_SAYS(wf_scaler_apply(NULL, &x, e), "scaler: it was never made (NULL)");
    ERROR_SAYS(wf_scaler_undo(NULL, &x, e), "scaler: it was never made (NULL)");
    ERROR_SAYS(wf_scaler_apply(s, &three, e), "scaler: it takes f32 or f64 whose last axis is 2");
    ERROR_SAYS(wf_scaler_undo(s, NULL, e), "scaler: it takes f32 or f64 whose last axis is 2");
    ck_assert(wf_view_expand(&x, WF_SHAPE(3, 2, 2), &wide));
    ERROR_SAYS(wf_scaler_undo(s, &wide, e),
               "scaler: elements of what it is to scale share their memory");
    ERROR_CLEARED(wf_scaler_apply(s, &x, e));
    ERROR_CLEARED(wf_scaler_undo(s, &x, e));
    QUIET(wf_scaler_to_bundle(s, b, "s") && !wf_scaler_to_bundle(s, NULL, "s"));
    ERROR_CLEARED(wf_bundle_save(b, path_of("model"), e));
    ERROR_CLEARED(file = wf_safetensors_load(path_of("model"), e));
    ERROR_CLEARED(again = wf_scaler_from_archive(file, "s", e));
    ERROR_SAYS(wf_scaler_from_archive(NULL, "s", e), "scaler: no archive was given (NULL)");
    ERROR_SAYS(wf_scaler_from_archive(file, NULL, e), "scaler: no name was given (NULL)");
    QUIET(!wf_scaler_to_bundle(NULL, b, "s"));
    ERROR_SAYS(wf_bundle_ok(b, e), "scaler: it was never made (NULL)");
    QUIET(wf_scaler_columns(NULL) == 0 && isnan(wf_scaler_offset(s, -1)));
    wf_scaler_free(s);
    wf_scaler_free(again);
    wf_archive_free(file);
    wf_bundle_free(b);
}

/* Options of windows with one row to be forecast. */
#define SIZES(in, of, ...)                                                                         \
    (&(wf_windows_options){ .input = (in), .horizon = 1, .batch = (of), __VA_ARGS__ })

TEST(windows_that_are_none_are_refused)
{
    wf_error *e = &now.error;
    float number[8] = { 0 };
    int32_t mask[8] = { 0 };
    const int64_t two[1] = { 2 };
    const wf_tensor x = wf_tensor_of(WF_F32, WF_SHAPE(4, 2), number);
    const wf_tensor m = wf_tensor_of(WF_I32, WF_SHAPE(4, 2), mask);
    const wf_tensor other = wf_tensor_of(WF_I32, WF_SHAPE(2, 4), mask);
    wf_windows *w;
    ERROR_SAYS(wf_windows_new(&x, NULL, NULL, e), "windows: .input is 0; it must be 1 or more");
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(1, 0, .end = 0), e),
               "windows: .batch is 0; it must be 1 or more");
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(1, 1, .stride = -1), e),
               "windows: .stride is -1; it must be 0 or more");
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(1, 1, .n_targets = 1), e),
               "windows: .n_targets is 1, but .targets were not given");
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(1, 1, .targets = two), e),
               "windows: .n_targets is 0; it must be 1 or more");
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(1, 1, .targets = two, .n_targets = 1), e),
               "windows: target 0 is column 2; there are 2");
    ERROR_SAYS(wf_windows_new(NULL, NULL, SIZES(1, 1, .end = 0), e),
               "windows: the values must be f32 or f64 of shape (T, n), n of 1 or more");
    ERROR_SAYS(wf_windows_new(&m, NULL, SIZES(1, 1, .end = 0), e),
               "windows: the values must be f32 or f64 of shape (T, n), n of 1 or more");
    ERROR_SAYS(wf_windows_new(&x, &other, SIZES(1, 1, .end = 0), e),
               "windows: the mask must be i32 of shape (4, 2)");
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(1, 1, .end = 5), e),
               "windows: .begin is 0 and .end 5; there are 4 rows");
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(1, 1, .begin = 3, .end = 2), e),
               "windows: .begin is 3 and .end 2; there are 4 rows");
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(4, 1, .end = 0), e),
               "windows: 4 rows in and 1 to forecast fit nowhere into rows 0 to 3");
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(INT64_MAX, INT64_MAX, .end = 0), e), NULL);
    ERROR_SAYS(
        wf_windows_new(&x, &m, SIZES(1, 1, .end = 0), e),
        "windows: 1 rows in and 1 to forecast fit nowhere into rows 0 to 3 where a target is "
        "there");
    number[5] = NAN;
    ERROR_SAYS(wf_windows_new(&x, NULL, SIZES(1, 1, .end = 0), e),
               "windows: value (2, 1) is nan\n  hint: wf_fill_missing fills what is missing");
    number[5] = 0;
    ERROR_CLEARED(w = wf_windows_new(&x, NULL, SIZES(1, 1, .end = 0), e));
    QUIET(!wf_windows_seek(w, 0, 4) && !wf_windows_seek(w, -1, 0) && !wf_windows_next(NULL));
    QUIET(!wf_windows_seek(NULL, 0, 0) && wf_windows_count(w) == 3 && !wf_windows_total(NULL));
    wf_windows_free(w);
}

TEST(folds_of_a_rolling_origin_that_do_not_fit_are_refused)
{
    wf_error *e = &now.error;
    wf_fold f = { 7, 7, 7, 7 };
    const wf_rolling_options o = { .folds = 3, .test = 2 };
    ERROR_SAYS(wf_rolling_origin(9, 0, NULL, &f, e),
               "rolling origin: .folds is 0; it must be 1 or more");
    ERROR_SAYS(
        wf_rolling_origin(9, 0, &(wf_rolling_options){ .folds = 1, .test = 1, .gap = -1 }, &f, e),
        "rolling origin: .gap is -1; it must be 0 or more");
    ERROR_SAYS(wf_rolling_origin(9, 3, &o, &f, e),
               "rolling origin: there is no fold 3; there are 3");
    ERROR_SAYS(wf_rolling_origin(9, 0, &o, NULL, e),
               "rolling origin: there is no fold to fill (NULL)");
    ERROR_SAYS(wf_rolling_origin(6, 2, &o, &f, e),
               "rolling origin: 3 folds of 2 rows, 2 apart, behind 1 to learn from and a gap of 0 "
               "do not fit into 6 rows");
    ERROR_SAYS(
        wf_rolling_origin(9, 0, &(wf_rolling_options){ .folds = INT64_MAX, .test = 2 }, &f, e),
        NULL);
    QUIET(f.train_end == 7);
    ERROR_CLEARED(wf_rolling_origin(7, 0, &o, &f, e));
}

TEST(errors_that_are_no_windows_are_refused)
{
    wf_error *e = &now.error;
    double number[4] = { 1, 2, 3, 4 }, score[4];
    const wf_tensor flat = wf_tensor_of(WF_F64, WF_SHAPE(4), number);
    const wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(2, 2, 1), number);
    const wf_tensor wide = wf_tensor_of(WF_F64, WF_SHAPE(2, 1, 2), number);
    const wf_tensor ids = wf_tensor_of(WF_I32, WF_SHAPE(2, 1, 1), number);
    const wf_tensor out = wf_tensor_of(WF_F64, WF_SHAPE(2, 2), score);
    wf_novelty *v;
    const char *form = "novelty: it takes errors of f32 or f64, (N, W, n), none of them 0";
    ERROR_SAYS(wf_novelty_new(NULL, NULL, e), form);
    ERROR_SAYS(wf_novelty_new(&flat, NULL, e), form);
    ERROR_SAYS(wf_novelty_new(&ids, NULL, e), form);
    ERROR_SAYS(wf_novelty_new(&x, &(wf_novelty_options){ .around = 4 }, e),
               "novelty: around is 4; it must be an odd number");
    ERROR_SAYS(wf_novelty_new(&x, &(wf_novelty_options){ .around = -1 }, e),
               "novelty: around is -1; it must be an odd number");
    ERROR_SAYS(wf_novelty_new(&x, &(wf_novelty_options){ .alarms = 1 }, e),
               "novelty: alarms is 1; it must be in (0, 1)");
    number[2] = (double)INFINITY;
    ERROR_SAYS(wf_novelty_new(&x, NULL, e), "novelty: an error is not finite");
    number[2] = 3;
    ERROR_CLEARED(v = wf_novelty_new(&x, NULL, e));
    ERROR_SAYS(wf_novelty_score(NULL, &x, &out, e), "novelty: it was never made (NULL)");
    ERROR_SAYS(wf_novelty_score(v, &wide, &out, e),
               "novelty: it takes errors of f32 or f64, (N, W, 1)");
    ERROR_SAYS(wf_novelty_score(v, &x, &flat, e),
               "novelty: scores must be f32 or f64 of (2, 2) or (2)");
    ERROR_SAYS(wf_novelty_score(v, &x, NULL, e),
               "novelty: scores must be f32 or f64 of (2, 2) or (2)");
    ERROR_CLEARED(wf_novelty_score(v, &x, &out, e));
    QUIET(isnan(wf_novelty_threshold(NULL)) && wf_novelty_threshold(v) > 0);
    wf_novelty_free(v);
    wf_novelty_free(NULL);
    double one[4] = { 1, 2, 3, 4 };
    const wf_tensor column = wf_tensor_of(WF_F64, WF_SHAPE(4, 1), one);
    wf_tensor again;
    ck_assert(wf_view_expand(&column, WF_SHAPE(4, 3), &again));
    form = "oddity: a window is f32 or f64 of (W, n), without overlap";
    ERROR_SAYS(wf_make_odd(NULL, WF_ODD_FLAT, 4, 1, e), form);
    ERROR_SAYS(wf_make_odd(&flat, WF_ODD_FLAT, 4, 1, e), form);
    ERROR_SAYS(wf_make_odd(&again, WF_ODD_FLAT, 4, 1, e), form);
    ERROR_SAYS(wf_make_odd(&column, WF_ODDITIES, 4, 1, e), "oddity: there is no kind 4");
    ERROR_SAYS(wf_make_odd(&column, (wf_oddity)-1, 4, 1, e), "oddity: there is no kind -1");
    ERROR_SAYS(wf_make_odd(&column, WF_ODD_FLAT, 3, 1, e),
               "oddity: the period is 3; it must be 4 to 4");
    ERROR_SAYS(wf_make_odd(&column, WF_ODD_FLAT, 5, 1, e),
               "oddity: the period is 5; it must be 4 to 4");
    QUIET(one[0] == 1 && one[3] == 4);
    ERROR_CLEARED(wf_make_odd(&column, WF_ODD_MISSING, 4, 1, e));
    QUIET(one[0] == 0 && one[3] == 0);
}

TEST(forecasts_that_are_none_are_refused)
{
    wf_error *e = &now.error;
    double number[4] = { 1, 2, 3, 4 }, scale[2];
    const wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(2, 2), number);
    const wf_tensor flat = wf_tensor_of(WF_F64, WF_SHAPE(4), number);
    const wf_tensor ids = wf_tensor_of(WF_I32, WF_SHAPE(4), number);
    wf_forecast_errors f = { 0 };
    ERROR_SAYS(wf_seasonal_naive(&x, 0, &x, e),
               "seasonal naive: the season is 0; it must be 1 or more");
    ERROR_SAYS(wf_seasonal_naive(&flat, 1, &x, e),
               "seasonal naive: the history must be f32 or f64 of shape (T, n)");
    ERROR_SAYS(wf_seasonal_naive(&x, 1, &flat, e),
               "seasonal naive: it writes f32 or f64 of shape (horizon, 2), without overlap");
    ERROR_CLEARED(wf_seasonal_naive(&x, 1, &x, e));
    ERROR_SAYS(wf_mase_scale(&x, -1, scale, e), "mase: the season is -1; it must be 1 or more");
    ERROR_SAYS(wf_mase_scale(NULL, 1, scale, e),
               "mase: the training rows must be f32 or f64 of shape (T, n)");
    ERROR_SAYS(wf_mase_scale(&x, 1, NULL, e), "mase: there is no scale to fill (NULL)");
    ERROR_CLEARED(wf_mase_scale(&x, INT64_MAX, scale, e));
    ERROR_SAYS(wf_forecast_errors_add(NULL, &x, &x, NULL, NULL, e),
               "forecast errors: there is nothing to add to (NULL)");
    ERROR_SAYS(wf_forecast_errors_add(&f, &ids, &flat, NULL, NULL, e),
               "forecast errors: the forecasts must be f32 or f64");
    ERROR_SAYS(wf_forecast_errors_add(&f, &flat, NULL, NULL, NULL, e),
               "forecast errors: the actual values must be f32 or f64");
    ERROR_SAYS(wf_forecast_errors_add(&f, &flat, &x, NULL, NULL, e),
               "forecast errors: forecasts are (4), actual values (2, 2)");
    ERROR_SAYS(wf_forecast_errors_add(&f, &x, &x, &ids, NULL, e),
               "forecast errors: the mask must be i32 of shape (2, 2)");
    ERROR_CLEARED(wf_forecast_errors_add(&f, &flat, &flat, &ids, NULL, e));
    QUIET(isnan(wf_mae(NULL)) && isnan(wf_rmse(NULL)) && isnan(wf_mase(&f)) &&
          isnan(wf_smape(NULL)));
}

TEST(parts_that_cannot_be_are_refused)
{
    wf_error *e = &now.error;
    int32_t part[3] = { 7, 7, 7 };
    const int32_t group[3] = { 4, 9, 4 };
    const double fraction[3] = { 0.5, -0.1, INFINITY }, large[2] = { 1e308, 1e308 };
    const double nothing[2] = { 0, 0 };
    ERROR_SAYS(wf_kfold(3, 0, NULL, part, e), "kfold: k is 0; it must be 1 or more");
    ERROR_SAYS(wf_kfold(3, INT64_MAX, NULL, part, e),
               "kfold: k is 9223372036854775807; it must be 1 or more, and fit into i32");
    ERROR_SAYS(wf_kfold(3, 4, NULL, part, e), "kfold: 4 folds of 3 items: one would be empty");
    ERROR_SAYS(wf_kfold(3, 3, &(wf_partition_options){ .groups = group }, part, e),
               "kfold: 3 folds of 2 groups: one would be empty");
    ERROR_SAYS(wf_kfold(0, 1, NULL, NULL, e), "kfold: 1 folds of 0 items: one would be empty");
    ERROR_SAYS(wf_kfold(-1, 1, NULL, part, e), "kfold: there is no room for the parts of -1 items");
    ERROR_SAYS(wf_kfold(3, 1, NULL, NULL, e), "kfold: there is no room for the parts of 3 items");
    ERROR_SAYS(wf_partition(3, NULL, 2, NULL, part, e),
               "partition: 0 fractions were given; it takes 1 to 1024");
    ERROR_SAYS(wf_partition(3, fraction, 1025, NULL, part, e),
               "partition: 1025 fractions were given; it takes 1 to 1024");
    ERROR_SAYS(wf_partition(3, fraction, 2, NULL, part, e),
               "partition: fraction 1 is -0.1; it must be a number of 0 or more");
    ERROR_SAYS(wf_partition(3, fraction + 2, 1, NULL, part, e),
               "partition: fraction 0 is inf; it must be a number of 0 or more");
    ERROR_SAYS(wf_partition(3, large, 2, NULL, part, e),
               "partition: the sum of the fractions is inf");
    ERROR_SAYS(wf_partition(3, nothing, 2, NULL, part, e),
               "partition: the sum of the fractions is 0");
    ERROR_SAYS(wf_partition(3, fraction, 1, NULL, NULL, e),
               "partition: there is no room for the parts of 3 items");
    QUIET(part[0] == 7 && part[2] == 7 && wf_partition_items(NULL, 3, 0, true, NULL, 0) == 0);
    ERROR_CLEARED(wf_kfold(3, 2, &(wf_partition_options){ .groups = group }, part, e));
    ERROR_CLEARED(wf_partition(0, fraction, 1, NULL, NULL, e));
}

TEST(classes_that_are_none_are_refused)
{
    wf_error *e = &now.error;
    int32_t id[4] = { 0, 1, 2, 0 }, n[2] = { 2, 3 };
    double number[4] = { 0, NAN, 1, 2 }, area = 7;
    const char *const names[3] = { "a", NULL, "\xFF" };
    const wf_tensor four = wf_tensor_of(WF_I32, WF_SHAPE(4), id);
    const wf_tensor two = wf_tensor_of(WF_I32, WF_SHAPE(2), id);
    const wf_tensor square = wf_tensor_of(WF_I32, WF_SHAPE(2, 2), id);
    const wf_tensor lengths = wf_tensor_of(WF_I32, WF_SHAPE(2), n);
    const wf_tensor score = wf_tensor_of(WF_F64, WF_SHAPE(4), number);
    const wf_tensor good = wf_tensor_of(WF_F64, WF_SHAPE(2), number + 2);
    const wf_tensor none = wf_tensor_of(WF_F64, WF_SHAPE(2), NULL);
    wf_confusion *c;
    ERROR_SAYS(wf_confusion_new(0, NULL, e), "confusion: there are 0 classes; it takes 1 or more");
    ERROR_SAYS(wf_confusion_new(INT64_MAX, names, e),
               "confusion: not enough memory for 9223372036854775807 bytes");
    ERROR_SAYS(wf_confusion_new(2, names, e), "confusion: the name of class 1 is missing (NULL)");
    ERROR_SAYS(wf_confusion_new(1, names + 2, e), "confusion: the name of class 0 is not UTF-8");
    ERROR_CLEARED(c = wf_confusion_new(2, NULL, e));
    ERROR_SAYS(wf_confusion_add(NULL, &four, &four, NULL, e),
               "confusion: it was never made (NULL)");
    ERROR_SAYS(wf_confusion_add(c, NULL, &four, NULL, e),
               "confusion: the predictions must be i32 of shape (T, B) or (B)");
    ERROR_SAYS(wf_confusion_add(c, &two, &four, NULL, e),
               "confusion: predictions are (2), targets (4)");
    ERROR_SAYS(wf_confusion_add(c, &square, &square, &four, e),
               "confusion: the lengths must be i32 of shape (2)");
    ERROR_SAYS(wf_confusion_add(c, &square, &square, &lengths, e),
               "confusion: length (1) is 3; there are 2 steps");
    ERROR_SAYS(wf_confusion_add(c, &four, &four, NULL, e),
               "confusion: a target is 2; there are classes 0 to 1");
    n[1] = 1;
    ERROR_CLEARED(wf_confusion_add(c, &two, &two, NULL, e));
    QUIET(wf_confusion_at(c, 2, 0) == 0 && wf_confusion_at(NULL, 0, 0) == 0);
    QUIET(wf_confusion_class(c, -1).target == 0 && wf_confusion_class(NULL, 0).target == 0);
    QUIET(isnan(wf_confusion_accuracy(NULL)) && wf_confusion_text(NULL, NULL, 9) == 0);
    QUIET(wf_confusion_text(c, NULL, 9) == wf_confusion_text(c, NULL, 0));
    wf_confusion_free(c);
    ERROR_SAYS(wf_roc_area(&good, &two, NULL, e), "roc: there is no area to fill (NULL)");
    ERROR_SAYS(wf_roc_area(NULL, &two, &area, e), "roc: the scores must be f32 or f64");
    ERROR_SAYS(wf_roc_area(&four, &two, &area, e), "roc: the scores must be f32 or f64");
    ERROR_SAYS(wf_roc_area(&good, &four, &area, e), "roc: the labels must be i32 of shape (2)");
    ERROR_SAYS(wf_roc_area(&good, NULL, &area, e), "roc: the labels must be i32 of shape (2)");
    ERROR_SAYS(wf_roc_area(&none, &two, &area, e), "roc: the scores have no data");
    ERROR_SAYS(wf_roc_area(&score, &four, &area, e), "roc: score (1) is nan");
    number[1] = 0;
    ERROR_SAYS(wf_roc_area(&score, &four, &area, e), "roc: label (2) is 2; it must be 0 or 1");
    id[1] = 0;
    ERROR_SAYS(wf_roc_area(&good, &two, &area, e), "roc: there is no item that is positive");
    id[0] = id[1] = 1;
    ERROR_SAYS(wf_roc_area(&good, &two, &area, e), "roc: there is no item that is negative");
    QUIET(area == 7);
    id[0] = 0;
    ERROR_CLEARED(wf_roc_area(&good, &two, &area, e));
}

TEST(tags_that_are_none_are_refused)
{
    wf_error *e = &now.error;
    const char *const good[2] = { "B-A", "O" }, *const odd[2] = { "O", "X-A" };
    const char *const missing[1] = { NULL };
    double number[4] = { 0 };
    const wf_tensor two = wf_tensor_of(WF_F64, WF_SHAPE(2), number);
    const wf_tensor square = wf_tensor_of(WF_F64, WF_SHAPE(2, 2), number);
    char text[2][4] = { "O", "Ox" }, *tag[2] = { text[0], text[1] };
    wf_spans *s;
    ERROR_SAYS(wf_tags_check((wf_tag_scheme)3, 2, good, e), "tags: there is no scheme 3");
    ERROR_SAYS(wf_tags_check(WF_IOB2, 2, odd, e),
               "tags: tag 1 is 'X-A'; it must be O, or B, I, E or S, alone or with a hyphen and a "
               "type");
    ERROR_SAYS(wf_tags_check(WF_IOB2, -1, good, e), "tags: there are -1 tags that were not given");
    ERROR_CLEARED(wf_tags_check(WF_IOB2, 2, good, e));
    ERROR_SAYS(wf_tags_convert((wf_tag_scheme)-1, 2, tag, e), "tags: there is no scheme -1");
    ERROR_SAYS(wf_tags_convert(WF_IOB2, 2, NULL, e), "tags: there are 2 tags that were not given");
    ERROR_SAYS(wf_tags_convert(WF_IOB2, 2, tag, e),
               "tags: tag 1 is 'Ox'; it must be O, or B, I, E or S, alone or with a hyphen and a "
               "type");
    ERROR_CLEARED(wf_tags_convert(WF_IOB2, 1, tag, e));
    ERROR_SAYS(wf_tags_forbid(WF_IOB2, 2, good, &two, &two, &two, e),
               "tags: the transitions must be f32 or f64 of shapes (2), (2) and (2, 2)");
    ERROR_SAYS(wf_tags_forbid(WF_IOB2, 2, good, NULL, &two, &square, e),
               "tags: the transitions must be f32 or f64 of shapes (2), (2) and (2, 2)");
    QUIET(number[0] == 0 && number[3] == 0);
    ERROR_CLEARED(wf_tags_forbid(WF_IOB2, 2, good, &two, &two, &square, e));
    ERROR_CLEARED(s = wf_spans_new(e));
    ERROR_SAYS(wf_spans_add(NULL, 2, good, good, e), "spans: it was never made (NULL)");
    ERROR_SAYS(wf_spans_add(s, 2, NULL, good, e),
               "spans: there are 2 found tags that were not given");
    ERROR_SAYS(
        wf_spans_add(s, 1, good, missing, e),
        "spans: true tag 0 is missing; it must be O, or B, I, E or S, alone or with a hyphen "
        "and a type");
    QUIET(wf_spans_count(s).words == 0 && wf_spans_types(s) == 0 && !wf_spans_type(s, 0, NULL));
    ERROR_CLEARED(wf_spans_add(s, 2, good, good, e));
    QUIET(!wf_spans_type(s, -1, NULL) && !wf_spans_type(NULL, 0, NULL) && !wf_spans_types(NULL));
    QUIET(wf_span_scores_of(NULL).f1 == 0 && wf_spans_count(NULL).found == 0);
    wf_spans_free(s);
}

TEST(columns_of_words_that_are_none_are_refused)
{
    wf_error *e = &now.error;
    const wf_text good = { "t", "a B-A\nb O\n", 10 }, null = { "t", NULL, 3 };
    const int64_t list[2] = { 0, 1 };
    const char *const more[2] = { "O", NULL }, *const nothing[2] = { "O", "" };
    wf_padded batch = { .memory = NULL };
    wf_vocab *words, *letters, *tags;
    wf_conll *c;
    char *text;
    int64_t n;
    ERROR_SAYS(wf_conll_new(NULL, NULL, e), NULL);
    ERROR_SAYS(wf_conll_new(harness_folder(), NULL, e), NULL);
    ERROR_SAYS(wf_conll_new("", NULL, e), "conll '': no path was given");
    ERROR_SAYS(wf_conll_from_text(NULL, NULL, e), "conll: no text was given (NULL)");
    ERROR_SAYS(wf_conll_from_text(&null, NULL, e), "conll 't': no bytes were given");
    ERROR_SAYS(wf_conll_from_text(&good, &(wf_conll_options){ .separator = '\r' }, e),
               "conll 't': .separator is 0x0D; it must be one letter of ASCII, and no line end");
    ck_assert(wf_file_write(path_of("words"), good.bytes, good.n, e));
    ERROR_CLEARED(c = wf_conll_new(path_of("words"), NULL, e));
    wf_conll_free(c);
    ERROR_CLEARED(c = wf_conll_from_text(&good, NULL, e));
    ERROR_SAYS(wf_conll_vocab(NULL, 0, NULL, 0, NULL, e), "conll: it was never made (NULL)");
    ERROR_SAYS(wf_conll_vocab(c, 2, NULL, 0, NULL, e),
               "conll 't': there is no column 2; there are 2");
    ERROR_SAYS(wf_conll_vocab(c, 0, list, 2, NULL, e),
               "conll 't': there is no sentence 1; there are 1");
    ERROR_SAYS(wf_conll_vocab(c, 0, list, -1, NULL, e),
               "conll: there are -1 sentences that were not given");
    ERROR_CLEARED(words = wf_conll_vocab(c, 0, NULL, 0, NULL, e));
    ERROR_CLEARED(
        letters = wf_conll_vocab(c, 0, NULL, 0, &(wf_vocab_options){ .letters = true }, e));
    ERROR_SAYS(wf_conll_convert(NULL, 0, WF_IOB1, e), "conll: it was never made (NULL)");
    ERROR_SAYS(wf_conll_convert(c, -1, WF_IOB1, e),
               "conll 't': there is no column -1; there are 2");
    ERROR_SAYS(wf_conll_convert(c, 0, WF_IOB1, e),
               "conll 't': line 1 has 'a' in column 0, which "
               "is no tag: O, or B, I, E or S, alone or with a hyphen and a type");
    ERROR_SAYS(wf_conll_convert(c, 1, (wf_tag_scheme)7, e), "tags: there is no scheme 7");
    ERROR_SAYS(wf_conll_tags(NULL, 0, WF_IOB2, e), "conll: it was never made (NULL)");
    ERROR_SAYS(wf_conll_tags(c, 2, WF_IOB2, e), "conll 't': there is no column 2; there are 2");
    ERROR_SAYS(wf_conll_tags(c, 1, (wf_tag_scheme)7, e), "tags: there is no scheme 7");
    ERROR_SAYS(wf_conll_tags(c, 0, WF_IOB2, e), NULL);
    ERROR_CLEARED(tags = wf_conll_tags(c, 1, WF_IOB2, e));
    wf_vocab_free(tags);
    ERROR_SAYS(wf_conll_batch(NULL, WF_CONLL_WORDS, 0, words, list, 1, &batch, e),
               "conll: it was never made (NULL)");
    ERROR_SAYS(wf_conll_batch(c, (wf_conll_ids)3, 0, words, list, 1, &batch, e),
               "conll: there are no ids of kind 3");
    ERROR_SAYS(wf_conll_batch(c, WF_CONLL_WORDS, 0, letters, list, 1, &batch, e),
               "conll: a vocabulary of words must be given");
    ERROR_SAYS(wf_conll_batch(c, WF_CONLL_LETTERS, 0, NULL, list, 1, &batch, e),
               "conll: a vocabulary of letters must be given");
    ERROR_SAYS(wf_conll_batch(c, WF_CONLL_WORDS, 0, words, NULL, 1, &batch, e),
               "conll: there are 1 sentences that were not given");
    ERROR_SAYS(wf_conll_batch(c, WF_CONLL_WORDS, 0, words, list, 2, &batch, e),
               "conll 't': there is no sentence 1; there are 1");
    ERROR_SAYS(wf_conll_batch(c, WF_CONLL_WORDS, 0, words, list, 1, NULL, e),
               "pad: there is no batch to fill (NULL)");
    ERROR_CLEARED(wf_conll_batch(c, WF_CONLL_WORDS, 0, words, list, 1, &batch, e));
    ERROR_SAYS(wf_conll_save(NULL, path_of("columns"), more, e), "conll: it was never made (NULL)");
    ERROR_SAYS(wf_conll_save(c, path_of("columns"), NULL, e), "conll: no fields were given (NULL)");
    ERROR_SAYS(wf_conll_save(c, path_of("columns"), more, e),
               "conll: field 1 to be written is missing (NULL)");
    ERROR_SAYS(wf_conll_save(c, path_of("columns"), nothing, e),
               "conll: field 1 to be written is empty");
    ERROR_SAYS(wf_conll_text(NULL, more, &n, e), "conll: it was never made (NULL)");
    ERROR_SAYS(wf_conll_text(c, more, NULL, e), "conll: there is no place for the length (NULL)");
    ERROR_SAYS(wf_conll_text(c, more, &n, e), "conll: field 1 to be written is missing (NULL)");
    ck_assert(n == 0);
    ERROR_CLEARED(text = wf_conll_text(c, NULL, &n, e));
    wf_release(text);
    ERROR_CLEARED(wf_conll_convert(c, 1, WF_IOB1, e));
    ERROR_CLEARED(wf_conll_save(c, path_of("columns"), (const char *const[]){ "O", "O" }, e));
    QUIET(!wf_conll_sentences(NULL) && !wf_conll_columns(NULL) && !wf_conll_words(NULL));
    QUIET(!wf_conll_length(NULL, 0) && !wf_conll_fields(c, 1, 0) && !wf_conll_fields(NULL, 0, 0));
    wf_padded_free(&batch);
    wf_vocab_free(words);
    wf_vocab_free(letters);
    wf_conll_free(c);
}
