/* What a forecaster stands on: windows that never look ahead, folds of a rolling origin, naive
 * forecasts and errors. */
#include "data/forecast.h"
#include "data/windows.h"
#include "tests/fixture.h"

#include <math.h>
#include <string.h>

#define MISSING ((double)NAN)

/* ---- windows ---- */

enum { T = 23, N = 3 };
static double number[T * N];
static int32_t there[T * N];

/* Row t, column c is 10 t + c: each number says where it comes from. */
static wf_windows *windows_of(const wf_windows_options *options)
{
    const wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(T, N), number);
    const wf_tensor m = wf_tensor_of(WF_I32, WF_SHAPE(T, N), there);
    wf_error error = { "" };
    for (int i = 0; i < T * N; i++)
        number[i] = 10 * (i / N) + i % N, there[i] = i % 5 != 0 && i / N != 20;
    wf_windows *w = wf_windows_new(&x, &m, options, &error);
    ck_assert_msg(w, "%s", error.text);
    return w;
}

static void assert_batch(const wf_window_batch *p, const wf_windows_options *o)
{
    const int64_t n = o->mask_features ? 2 * N : N, m = o->targets ? o->n_targets : N;
    ck_assert(p->input.dim[0] == o->input && p->input.dim[1] == p->count && p->input.dim[2] == n);
    ck_assert(p->target.dim[0] == o->horizon && p->target.dim[2] == m);
    for (int64_t i = 0; i < wf_tensor_count(&p->input); i++) {
        const int64_t t = p->origin[i / n % p->count] - o->input + i / n / p->count, c = i % n;
        ck_assert(wf_tensor_at(&p->input, i) ==
                  (c < N ? (double)(10 * t + c) : there[t * N + c - N]));
    }
    for (int64_t i = 0; i < wf_tensor_count(&p->target); i++) {
        const int64_t t = p->origin[i / m % p->count] + i / m / p->count;
        const int64_t c = o->targets ? o->targets[i % m] : i % m;
        ck_assert(wf_tensor_at(&p->target, i) == (double)(10 * t + c));
        ck_assert(wf_tensor_at(&p->target_mask, i) == there[t * N + c]);
    }
}

TEST_EACH(each_window_is_the_rows_around_its_origin, 6)
{
    static const int64_t targets[2] = { 2, 0 };
    static const struct {
        wf_windows_options o;
        int64_t first, last, total; /* origins */
    } cases[] = {
        { { .input = 4, .horizon = 2, .batch = 5 }, 4, 21, 18 },
        { { .input = 4, .horizon = 2, .batch = 5, .in_order = true }, 4, 21, 18 },
        { { .input = 1, .horizon = 1, .batch = 50, .mask_features = true }, 1, 22, 21 },
        { { .input = 3, .horizon = 4, .batch = 2, .stride = 3, .begin = 8 }, 8, 17, 4 },
        { { .input = 5, .horizon = 2, .batch = 3, .begin = 2, .end = 9 }, 5, 7, 3 },
        { { .input = 2, .horizon = 3, .batch = 4, .targets = targets, .n_targets = 2 }, 2, 20, 19 },
    };
    const wf_windows_options *o = &cases[_i].o;
    OWN(wf_windows) *w = windows_of(o);
    ck_assert_int_eq(wf_windows_total(w), cases[_i].total);
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        int seen[T] = { 0 };
        int64_t all = 0, batches = 0, least = T, most = 0;
        ck_assert(wf_windows_epoch(w) == epoch);
        for (const wf_window_batch *p; (p = wf_windows_next(w)); all += p->count, batches++) {
            assert_batch(p, o);
            for (int64_t b = 0; b < p->count; b++) {
                seen[p->origin[b]]++;
                if (p->origin[b] < least) least = p->origin[b];
                if (p->origin[b] > most) most = p->origin[b];
                if (o->in_order) ck_assert_int_eq(p->origin[b], cases[_i].first + all + b);
            }
        }
        for (int t = 0; t < T; t++) ck_assert_int_le(seen[t], 1);
        ck_assert(all == cases[_i].total && batches == wf_windows_count(w));
        ck_assert(least == cases[_i].first && most == cases[_i].last);
    }
}

TEST(an_order_depends_on_seed_and_epoch_alone)
{
    const wf_windows_options o = { .input = 2, .horizon = 1, .batch = 4, .seed = 7 };
    wf_windows_options other = o;
    other.seed = 8;
    OWN(wf_windows) *a = windows_of(&o);
    OWN(wf_windows) *b = windows_of(&o);
    OWN(wf_windows) *c = windows_of(&other);
    int differ = 0, epochs = 0;
    int64_t first = wf_windows_next(a)->origin[0];
    for (int64_t epoch = 5; epoch >= 0; epoch--)
        for (int64_t at = wf_windows_count(a) - 1; at >= 0; at--) {
            ck_assert(wf_windows_seek(a, epoch, at) && wf_windows_seek(b, epoch, at));
            ck_assert(wf_windows_seek(c, epoch, at) && wf_windows_position(c) == at);
            const wf_window_batch *p = wf_windows_next(a), *q = wf_windows_next(b);
            ck_assert(p->count == q->count && p->origin != q->origin);
            ck_assert_int_eq(memcmp(p->origin, q->origin, (size_t)p->count * sizeof(int64_t)), 0);
            differ += wf_windows_next(c)->origin[0] != p->origin[0];
            epochs += at == 0 && p->origin[0] != first;
        }
    ck_assert(differ > 10 && epochs >= 3);
}

TEST(steady_windows_ask_for_no_memory)
{
    const wf_windows_options o = { .input = 2, .horizon = 1, .batch = 4 };
    OWN(wf_windows) *w = windows_of(&o);
    const long long asked = heap.asked;
    for (int i = 0; i < 50; i++) wf_windows_next(w);
    ck_assert_int_eq(heap.asked, asked);
}

TEST(when_memory_runs_out_there_is_a_sentence_and_no_leak)
{
    const wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(T, N), number);
    for (int64_t k = 1;; k++) {
        wf_error error = { "" };
        heap.fail_at = k, heap.asked = 0;
        OWN(wf_windows) *w = wf_windows_new(
            &x, NULL, &(wf_windows_options){ .input = 2, .horizon = 1, .batch = 4 }, &error);
        heap.fail_at = 0;
        if (w) break;
        ck_assert_msg(strstr(error.text, "windows: not enough memory for "), "%s", error.text);
    }
}

/* ---- rolling origin ---- */

TEST(folds_roll_forward_and_end_with_the_rows)
{
    static const struct {
        wf_rolling_options o;
        wf_fold fold[3];
    } cases[] = {
        { { .folds = 3, .test = 2 }, { { 0, 4, 4, 6 }, { 0, 6, 6, 8 }, { 0, 8, 8, 10 } } },
        { { .folds = 3, .test = 4, .step = 1 },
          { { 0, 4, 4, 8 }, { 0, 5, 5, 9 }, { 0, 6, 6, 10 } } },
        { { .folds = 3, .test = 2, .window = 3, .gap = 1 },
          { { 0, 3, 4, 6 }, { 2, 5, 6, 8 }, { 4, 7, 8, 10 } } },
    };
    for (int i = 0; i < 3; i++)
        for (int64_t k = 0; k < 3; k++) {
            wf_fold f;
            const wf_fold *want = &cases[i].fold[k];
            ck_assert(wf_rolling_origin(10, k, &cases[i].o, &f, NULL));
            ck_assert(f.train_begin == want->train_begin && f.train_end == want->train_end);
            ck_assert(f.test_begin == want->test_begin && f.test_end == want->test_end);
        }
}

/* ---- naive forecasts ---- */

TEST(a_naive_forecast_is_the_last_value_of_the_phase)
{
    double history[14] = {
        0, 100, 1, 101, 2, MISSING, 3, MISSING, 4, 104, MISSING, 105, 6, MISSING
    };
    float got[10];
    const wf_tensor h = wf_tensor_of(WF_F64, WF_SHAPE(7, 2), history);
    const wf_tensor out = wf_tensor_of(WF_F32, WF_SHAPE(5, 2), got);
    static const float naive[10] = { 6, 105, 6, 105, 6, 105, 6, 105, 6, 105 };
    static const float seasonal[10] = { 4, 104, 2, 105, 6, 100, 4, 104, 2, 105 }; /* of 3 */
    ck_assert(wf_seasonal_naive(&h, 1, &out, NULL));
    for (int i = 0; i < 10; i++) ck_assert(got[i] == naive[i]);
    history[11] = 105;
    ck_assert(wf_seasonal_naive(&h, 3, &out, NULL));
    for (int i = 0; i < 10; i++) ck_assert_msg(got[i] == seasonal[i], "%d: %g", i, (double)got[i]);
    ck_assert(wf_seasonal_naive(&h, 9, &out, NULL));
    ck_assert(isnan(got[0]) && isnan(got[3]) && got[4] == 0 && got[5] == 100);
}

/* ---- errors ---- */

TEST(errors_are_those_of_the_definitions)
{
    const double y[6] = { 3, MISSING, -1, 0, 2, 8 }, f[6] = { 2, 5, 1, 0, MISSING, 4 };
    const int32_t mask[6] = { 1, 1, 1, 1, 0, 1 };
    const double scale[2] = { 2, 4 };
    const wf_tensor ty = wf_tensor_over(WF_F64, WF_SHAPE(3, 2), y);
    const wf_tensor tf = wf_tensor_over(WF_F64, WF_SHAPE(3, 2), f);
    const wf_tensor tm = wf_tensor_over(WF_I32, WF_SHAPE(3, 2), mask);
    wf_forecast_errors e = { .n = 0 };
    ck_assert(isnan(wf_mae(&e)) && isnan(wf_mase(&e)));
    ck_assert(wf_forecast_errors_add(&e, &tf, &ty, &tm, scale, NULL));
    ck_assert_int_eq(e.n, 4); /* 1 of 3, 2 of -1, 0 of 0, 4 of 8 */
    ck_assert_double_eq(wf_mae(&e), 7.0 / 4);
    ck_assert_double_eq(wf_rmse(&e), sqrt(21.0 / 4));
    ck_assert_double_eq_tol(wf_mase(&e), (0.5 + 1 + 0 + 1) / 4, 1e-15);
    ck_assert_double_eq_tol(wf_smape(&e), 200 * (1.0 / 5 + 1 + 0 + 4.0 / 12) / 4, 1e-13);
    /* A forecast that is none where a target is there is not passed over. */
    ck_assert(wf_forecast_errors_add(&e, &tf, &ty, NULL, NULL, NULL));
    ck_assert(isnan(wf_mae(&e)) && isnan(wf_smape(&e)) && !isnan(wf_mase(&e)));
}

TEST(the_scale_of_mase_is_the_naive_error_in_training)
{
    const double x[12] = { 1, 5, 3, MISSING, 2, 5, 6, 7, 4, 1, 4, 1 };
    double scale[2];
    const wf_tensor t = wf_tensor_over(WF_F64, WF_SHAPE(6, 2), x);
    ck_assert(wf_mase_scale(&t, 1, scale, NULL));
    ck_assert_double_eq(scale[0], (2 + 1 + 4 + 2 + 0) / 5.0);
    ck_assert_double_eq(scale[1], (2 + 6 + 0) / 3.0);
    ck_assert(wf_mase_scale(&t, 2, scale, NULL));
    ck_assert_double_eq(scale[0], (1 + 3 + 2 + 2) / 4.0);
    ck_assert(wf_mase_scale(&t, 6, scale, NULL) && isnan(scale[0]));
}

/* A forecast that is the seasonal naive one has a MASE of 1 over its own training rows; batches of
 * any sizes give one number. */
TEST(batches_in_any_number_give_the_same_errors)
{
    enum { ROWS = 300 };
    float x[ROWS], scale_of[1];
    double scale[1];
    for (int i = 0; i < ROWS; i++) x[i] = (float)wf_random_normal(3, (uint64_t)i) + 100;
    const wf_tensor all = wf_tensor_of(WF_F32, WF_SHAPE(ROWS, 1), x);
    ck_assert(wf_mase_scale(&all, 7, scale, NULL));
    scale_of[0] = (float)scale[0];
    ck_assert(scale_of[0] > 0.5f);
    wf_forecast_errors whole = { .n = 0 }, parts = { .n = 0 };
    wf_tensor y, f;
    ck_assert(wf_view_slice(&all, 0, 7, ROWS, 1, &y) && wf_view_slice(&all, 0, 0, ROWS - 7, 1, &f));
    ck_assert(wf_forecast_errors_add(&whole, &f, &y, NULL, scale, NULL));
    ck_assert_double_eq_tol(wf_mase(&whole), 1, 1e-14);
    for (int64_t i = 0, n = 1; i < ROWS - 7; i += n, n = n % 13 + 1) {
        wf_tensor a, b;
        const int64_t end = i + n < ROWS - 7 ? i + n : ROWS - 7;
        ck_assert(wf_view_slice(&y, 0, i, end, 1, &a) && wf_view_slice(&f, 0, i, end, 1, &b));
        ck_assert(wf_forecast_errors_add(&parts, &b, &a, NULL, scale, NULL));
    }
    ck_assert(parts.n == whole.n && wf_mae(&parts) == wf_mae(&whole));
    ck_assert(wf_rmse(&parts) == wf_rmse(&whole) && wf_smape(&parts) == wf_smape(&whole));
}
