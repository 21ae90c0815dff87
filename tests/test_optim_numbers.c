/* Optimisers where numbers are hardest: variances that vanish, squares that over- or underflow,
 * an eps of zero, counts without end, and gradients that are no numbers. */
#include "tests/rules.h"

#include <fenv.h>
#include <float.h>
#include <math.h>

static void expect_near(double got, double want, double relative)
{
    ck_assert_msg(fabs(got - want) <= relative * fabs(want), "%.17g is not %.17g", got, want);
}

static double at(const fixture *a, int64_t i)
{
    return wf_tensor_at(wf_param_value(a->p), i);
}

/* ---- roots ---- */

TEST_EACH(centered_rmsprop_takes_no_root_of_a_variance_below_zero, 4)
{
    /* The variance of a steady gradient tends to nothing, and rounding takes it below. */
    static const double steady[] = { 0.1, -0.3, 7, 1e-5 };
    static const char *const options[] = { "alpha 0.9, centered 1, eps 1e-3",
                                           "alpha 0.9, centered 1, eps 1e-3, momentum 0.5" };
    OWN(fixture) a = fixture_with(_i & 1 ? WF_F64 : WF_F32, 20, 0, "rmsprop", options[_i / 2]);
    for (int step = 1; step <= 2000; step++) {
        give_number(a.t, a.p, 0);
        for (int64_t i = 0; i < 20; i++)
            put(wf_param_grad(a.p), i, steady[i % 4] * (1 + 0.01 * (double)i));
        ck_assert(wf_optim_step(a.optim));
        for (int64_t i = 0; i < 20; i++)
            ck_assert_msg(isfinite(at(&a, i)), "step %d: element %lld is %g", step, (long long)i,
                          at(&a, i));
    }
}

TEST_EACH(an_eps_of_zero_divides_by_no_zero, 10)
{
    /* Gradients of nothing, gradients whose squares underflow, and others: with eps 0 the update
     * is bounded by the rate, or is nothing. */
    static const struct {
        const char *rule;
        const char *options;
        double most; /* of |update| / lr over five steps */
    } rules[] = {
        { "adam", "eps 0", 5.01 },
        { "adam", "eps 0, amsgrad 1", 5.01 },
        { "adamw", "eps 0, weight_decay 0", 5.01 },
        { "rmsprop", "eps 0, lr 1e-3", 5 * 10.01 }, /* 1 / sqrt(1 - alpha) */
        { "rmsprop", "eps 0, lr 1e-3, alpha 0", 5.01 },
    };
    static const double sizes[2][4] = { { 0, 1e-30, 3e-20, 2 }, { 0, 1e-200, 3e-160, 2 } };
    int k = _i / 2;
    OWN(fixture) a = fixture_with(_i % 2 ? WF_F64 : WF_F32, 4, 0, rules[k].rule, rules[k].options);
    double before[4];
    for (int i = 0; i < 4; i++) before[i] = at(&a, i);
    for (int step = 0; step < 5; step++) {
        give_number(a.t, a.p, 0);
        for (int i = 0; i < 4; i++) put(wf_param_grad(a.p), i, sizes[_i % 2][i]);
        ck_assert(wf_optim_step(a.optim));
    }
    ck_assert_double_eq(at(&a, 0), before[0]);
    for (int i = 1; i < 4; i++) {
        double moved = (before[i] - at(&a, i)) / 1e-3;
        ck_assert_msg(moved >= 0 && moved <= rules[k].most, "%s: element %d moved %g rates",
                      rules[k].rule, i, moved);
    }
    ck_assert_double_gt(before[3] - at(&a, 3), 4e-3);
}

/* ---- counts ---- */

TEST_EACH(counts_stop_at_the_largest_number_and_training_goes_on, KINDS)
{
    OWN(fixture) a = fixture_of(WF_F64, 3, 0, _i);
    ck_assert(wf_optim_set_steps_of(a.optim, 0, INT64_MAX - 1));
    for (int step = 0; step < 3; step++) {
        uint64_t before = hash_all(a.net, a.optim);
        give_number(a.t, a.p, 0.5);
        ck_assert(wf_optim_step(a.optim));
        ck_assert_int_eq(wf_optim_steps_of(a.optim, 0), INT64_MAX);
        ck_assert_int_eq(wf_optim_steps(a.optim), INT64_MAX);
        ck_assert(isfinite(at(&a, 1)) && hash_all(a.net, a.optim) != before);
    }
}

TEST(adams_corrections_are_right_at_the_first_step_and_gone_at_huge_ones)
{
    /* The largest betas below one: 1 - beta^t is the smallest there is. */
    OWN(fixture)
    a = fixture_with(WF_F64, 1, 0, "adam",
                     "beta1 0x0.fffffffffffff8p0, beta2 0x0.fffffffffffff8p0, eps 0");
    double before = at(&a, 0);
    give_number(a.t, a.p, 3);
    ck_assert(wf_optim_step(a.optim));
    expect_near(before - at(&a, 0), 1e-3, 1e-9); /* the first step of Adam is the rate */

    OWN(fixture) b = fixture_with(WF_F64, 1, 0, "adam", "beta1 0.5, beta2 0.75");
    ck_assert(wf_optim_set_steps_of(b.optim, 0, INT64_C(1) << 62));
    before = at(&b, 0);
    give_number(b.t, b.p, 3);
    ck_assert(wf_optim_step(b.optim));
    expect_near(before - at(&b, 0), 1e-3 * 1.5 / 1.5, 1e-6); /* m / sqrt(v), uncorrected */
}

/* ---- norms ---- */

TEST_EACH(a_norm_is_found_wherever_it_can_be_represented, 18)
{
    static const double sizes[2][9] = {
        { 1e30, 3e38, 1e19, 1, 1e-10, 1e-19, 1e-30, 3e-36, 0 },
        { 1e200, 1e308, 1e154, 1, 1e-100, 1e-154, 1e-200, 4e-306, 0 },
    };
    double size = sizes[_i % 2][_i / 2];
    OWN(fixture) a = fixture_with(_i % 2 ? WF_F64 : WF_F32, 9000, 1000, "sgd", "");
    give_number(a.t, a.p, 0.006 * size); /* 9000 x 36 + 1000 x 64 = 388,000 */
    give_number(a.t, a.q, -0.008 * size);
    double first = wf_tensor_at(wf_param_grad(a.p), 8999), norm = sqrt(0.388) * size;
    expect_near(wf_optim_clip_norm(a.optim, (double)INFINITY), norm, 1e-6);
    ck_assert_double_eq(wf_tensor_at(wf_param_grad(a.p), 8999), first);
    if (size < 1e-10) return; /* the norm is small beside the 1e-6 that is added to it */
    double most = size > 1 ? 2 : 0.5 * size, by = fmin(most / (norm + 1e-6), 1);
    expect_near(wf_optim_clip_norm(a.optim, most), norm, 1e-6);
    expect_near(wf_tensor_at(wf_param_grad(a.p), 8999), 0.006 * size * by, 1e-5);
    expect_near(wf_tensor_at(wf_param_grad(a.q), 3), -0.008 * size * by, 1e-5);
}

TEST(a_norm_above_all_doubles_is_infinite_and_clears_the_gradients)
{
    OWN(fixture) a = fixture_with(WF_F64, 9, 0, "sgd", "");
    give_number(a.t, a.p, 1e308);
    ck_assert(isinf(wf_optim_clip_norm(a.optim, 1)));
    ck_assert_ptr_null(wf_param_grad(a.p));
    ck_assert_str_eq(log_kept.text,
                     "clip: the gradients' norm is inf; the step after it changes nothing");
}

/* ---- gradients that are no numbers ---- */

TEST_EACH(a_gradient_that_is_not_finite_reaches_no_weight_and_is_said_once, 6 * KINDS)
{
    static const struct {
        double number;
        const char *said;
    } bad[] = { { (double)NAN, "nan" },
                { (double)INFINITY, "inf" },
                { -(double)INFINITY, "-inf" } };
    int which = _i / 2 % 3;
    OWN(fixture) a = fixture_of(_i % 2 ? WF_F64 : WF_F32, 9, 5000, _i / 6);
    give_number(a.t, a.p, 1);
    give_number(a.t, a.q, 1);
    ck_assert(wf_optim_step(a.optim));
    uint64_t hash = hash_all(a.net, a.optim);
    for (int again = 0; again < 2; again++) {
        give_number(a.t, a.p, 1);
        give_number(a.t, a.q, 1);
        put(wf_param_grad(a.q), 4999, bad[which].number);
        ck_assert(!wf_optim_step(a.optim));
        ck_assert_uint_eq(hash_all(a.net, a.optim), hash);
        ck_assert_ptr_null(wf_param_grad(a.p));
        ck_assert_ptr_null(wf_param_grad(a.q));
        ck_assert_int_eq(log_kept.times, 1);
    }
    ck_assert_str_eq(
        log_kept.text,
        worded("%s: the gradient of 'q' holds %s; no parameter was changed, and all gradients were "
               "cleared",
               wf_optim_rule_of(a.optim)->name, bad[which].said));
    give_number(a.t, a.p, 1);
    ck_assert(wf_optim_step(a.optim)); /* all is well again */
    ck_assert_uint_ne(hash_all(a.net, a.optim), hash);
    give_number(a.t, a.p, 1);
    put(wf_param_grad(a.p), 3, (double)NAN);
    ck_assert(!wf_optim_step(a.optim));
    ck_assert_int_eq(log_kept.times, 2);
}

TEST(a_gradient_whose_square_overflows_is_refused_by_rules_that_square)
{
    OWN(fixture) a = fixture_with(WF_F32, 5, 0, "adam", "");
    uint64_t hash = hash_all(a.net, a.optim);
    give_number(a.t, a.p, 1e20);
    ck_assert(!wf_optim_step(a.optim));
    ck_assert_uint_eq(hash_all(a.net, a.optim), hash);
    ck_assert_str_eq(log_kept.text,
                     "adam: the gradient of 'p' holds 1e+20, whose square is too large for f32; "
                     "no parameter was changed, and all gradients were cleared");
    /* Clipped, it is welcome; measured alone, it is not. */
    give_number(a.t, a.p, 1e20);
    expect_near(wf_optim_clip_norm(a.optim, 1), sqrt(5) * 1e20, 1e-6);
    ck_assert(wf_optim_step(a.optim));
    give_number(a.t, a.p, 1e20);
    expect_near(wf_optim_clip_norm(a.optim, (double)INFINITY), sqrt(5) * 1e20, 1e-6);
    ck_assert(!wf_optim_step(a.optim));
    OWN(fixture) b = fixture_with(WF_F32, 5, 0, "sgd", "lr 1e-20");
    double before = at(&b, 0);
    give_number(b.t, b.p, 1e20);
    ck_assert(wf_optim_step(b.optim));
    expect_near(before - at(&b, 0), 1, 1e-6);
}

TEST(what_is_committed_after_clipping_is_looked_at_all_the_same)
{
    OWN(fixture) a = fixture_with(WF_F32, 5000, 0, "adam", "");
    give_number(a.t, a.p, 1);
    wf_optim_clip_norm(a.optim, 1);
    uint64_t hash = hash_all(a.net, a.optim);
    give_number(a.t, a.p, 1);
    put(wf_param_grad(a.p), 4711, (double)NAN);
    ck_assert(!wf_optim_step(a.optim));
    ck_assert_uint_eq(hash_all(a.net, a.optim), hash);
    ck_assert_int_eq(log_kept.times, 1);
}

/* ---- the caller's floating-point state ---- */

TEST_EACH(the_callers_rounding_mode_changes_no_bit_and_its_traps_are_not_sprung, KINDS)
{
    static const int modes[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
    uint64_t hash[4];
    for (int k = 0; k < 4; k++) {
        OWN(wf_module) *net = module_of(WF_F32);
        wf_var *p = param_of(net, "p", 9001);
        OWN(wf_optim) *optim = optimiser(net, _i);
        OWN(wf_tape) *t = wf_tape_new(NULL);
        double norm = 0;
        for (uint64_t step = 0; step < 4; step++) {
            give_grad(t, p, step);
            fesetround(modes[k]);
            int traps = feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW | FE_INEXACT);
            norm = wf_optim_clip_norm(optim, 3);
            ck_assert(wf_optim_step(optim) && !wf_optim_set(optim, 0, "lr", (double)NAN));
            fedisableexcept(FE_ALL_EXCEPT);
            feenableexcept(traps);
            ck_assert_int_eq(fegetround(), modes[k]);
            fesetround(FE_TONEAREST);
        }
        hash[k] = hash_bytes(hash_all(net, optim), &norm, sizeof norm);
        ck_assert_uint_eq(hash[k], hash[0]);
        ck_assert_str_eq(log_kept.text + strlen(wf_optim_rule_of(optim)->name),
                         ": .lr is nan; it must be in [0, inf), and nothing was changed");
    }
}
