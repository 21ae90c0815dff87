/* Sequences made one row each: against loops by hand, with padding that is no number, and the
 * derivatives of it. */
#include "layers/over_time.h"

#include <math.h>
#include <string.h>

#include "autograd/check.h"
#include "autograd/ops.h"
#include "tests/tape.h"

enum { TIME = 5, BATCH = 4, WIDTH = 3, EACH = TIME * BATCH * WIDTH, KINDS = 3 };

static const int32_t length[BATCH] = { 3, 0, 5, 1 };
static wf_var *(*const kinds[KINDS])(wf_tape *, wf_var *, wf_var *) = { wf_max_over_time,
                                                                        wf_mean_over_time,
                                                                        wf_last_of_time };

static wf_var *lengths_of(bool ragged)
{
    return ragged ? wf_constant(t, WF_I32, WF_SHAPE(BATCH), length) : NULL;
}

static double by_hand(int kind, const double *x, int n, int b, int w)
{
    double most = n ? -(double)INFINITY : 0, sum = 0, last = 0;
    for (int i = 0; i < n; i++) {
        last = x[(i * BATCH + b) * WIDTH + w];
        most = last > most ? last : most;
        sum += last;
    }
    return kind == 0 ? most : kind == 1 ? (n ? sum / n : 0) : last;
}

/* Both dtypes, ragged and full, and whatever lies past the ends: NaN and infinities. */
TEST_EACH(each_row_is_what_its_steps_come_to, KINDS * 2 * 2)
{
    const int kind = _i % KINDS;
    const bool ragged = _i / KINDS % 2, f32 = _i / KINDS / 2;
    double x[EACH];
    float single[EACH];
    for (int i = 0; i < EACH; i++) {
        const int step = i / WIDTH / BATCH, b = i / WIDTH % BATCH;
        x[i] = (double)(float)(2 * wf_random_uniform(7, (uint64_t)i) - 1);
        if (ragged && step >= length[b]) x[i] = i % 2 ? (double)NAN : (double)INFINITY;
        single[i] = (float)x[i];
    }
    wf_var *leaf = wf_leaf(t, f32 ? WF_F32 : WF_F64, WF_SHAPE(TIME, BATCH, WIDTH),
                           f32 ? (const void *)single : x);
    wf_var *y = kinds[kind](t, leaf, lengths_of(ragged));
    ck_assert(wf_rank(y) == 2 && wf_dim(y, 0) == BATCH && wf_dim(y, 1) == WIDTH);
    for (int i = 0; i < BATCH * WIDTH; i++) {
        const int n = ragged ? length[i / WIDTH] : TIME;
        ck_assert_double_eq_tol(wf_at(y, i), by_hand(kind, x, n, i / WIDTH, i % WIDTH), 1e-6);
    }
    ck_assert(wf_keep_grad(t, leaf) && wf_backward(t, wf_sum(t, wf_mul(t, y, y), NULL)));
    const wf_tensor *grad = wf_grad_of(leaf);
    for (int i = 0; i < EACH; i++) {
        const int step = i / WIDTH / BATCH, b = i / WIDTH % BATCH;
        const double g = wf_tensor_at(grad, i);
        ck_assert(isfinite(g) && (!ragged || step < length[b] || g == 0));
    }
}

static bool of_kind(wf_tape *tape, void *context, wf_var *const in[], wf_var *out[WF_CHECK_OUTPUTS],
                    int *n_out)
{
    const int which = *(const int *)context;
    wf_var *lengths = which / KINDS ? wf_constant(tape, WF_I32, WF_SHAPE(BATCH), length) : NULL;
    out[0] = kinds[which % KINDS](tape, in[0], lengths);
    *n_out = 1;
    return out[0] != NULL;
}

TEST_EACH(derivatives_are_those_of_differences, 2 * KINDS)
{
    double x[EACH];
    for (int i = 0; i < EACH; i++) x[i] = 2 * wf_random_uniform(9, (uint64_t)i) - 1;
    const wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(TIME, BATCH, WIDTH), x);
    wf_report r = wf_gradcheck(of_kind, &_i, 1, &in, NULL);
    ck_assert_msg(r.ok, "%s", r.text);
}

TEST(of_no_steps_at_all_are_zeros_and_bad_input_is_one_sentence)
{
    for (int k = 0; k < KINDS; k++) {
        wf_var *y = kinds[k](t, wf_zeros(t, WF_F32, WF_SHAPE(0, 2, 3)), NULL);
        ck_assert(wf_rank(y) == 2 && wf_count(y) == 6 && wf_at(y, 0) == 0);
        y = kinds[k](t, wf_zeros(t, WF_F32, WF_SHAPE(4, 0, 3)), NULL);
        ck_assert(y && wf_count(y) == 0);
    }
    ck_assert(!wf_max_over_time(t, wf_zeros(t, WF_F32, WF_SHAPE(4)), NULL));
    ck_assert_str_eq(wf_tape_error(t), "max_over_time: the sequences have rank 1, of f32; "
                                       "expected floats (T, B, ...)");
    wf_tape_reset(t);
    ck_assert(!wf_mean_over_time(t, wf_zeros(t, WF_I32, WF_SHAPE(4, 2)), NULL));
    ck_assert_str_eq(wf_tape_error(t), "mean_over_time: the sequences have rank 2, of i32; "
                                       "expected floats (T, B, ...)");
    wf_tape_reset(t);
    ck_assert(!wf_last_of_time(t, wf_zeros(t, WF_F32, WF_SHAPE(4, 2)),
                               wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 1, 5 })));
    ck_assert(strstr(wf_tape_error(t), "last_of_time"));
}

const harness_suite suite = { .before = set_up, .after = tear_down };
