/* Optimisers: what they refuse, what they leave alone, and that neither threads, blocks nor a
 * restart change a bit. Their formulas are held against PyTorch's in test_parity.c. */
#include "tests/rules.h"

#include <float.h>
#include <math.h>
#include <unistd.h>

/* ---- options ---- */

static const struct {
    const char *rule;
    const char *options;
    const char *said;
} refusals[] = {
    { "sgd", "lr -1", "sgd: .lr is -1; it must be in [0, inf)" },
    { "adam", "lr inf", "adam: .lr is inf; it must be in [0, inf)" },
    { "adam", "lr nan", "adam: .lr is nan; it must be in [0, inf)" },
    { "sgd", "momentum -0.5", "sgd: .momentum is -0.5; it must be in [0, inf)" },
    { "sgd", "momentum 1, dampening nan", "sgd: .dampening is nan; it must be finite" },
    { "sgd", "weight_decay -2", "sgd: .weight_decay is -2; it must be in [0, inf)" },
    { "sgd", "nesterov 1",
      "sgd: .nesterov wants .momentum above 0 and .dampening 0; they are 0 and 0" },
    { "sgd", "momentum 0.9, dampening 0.1, nesterov 1",
      "sgd: .nesterov wants .momentum above 0 and .dampening 0; they are 0.9 and 0.1" },
    { "rmsprop", "alpha 1", "rmsprop: .alpha is 1; it must be in [0, 1)" },
    { "rmsprop", "alpha -1", "rmsprop: .alpha is -1; it must be in [0, 1)" },
    { "rmsprop", "eps -1e-8", "rmsprop: .eps is -1e-08; it must be in [0, inf)" },
    { "adam", "beta1 1.5", "adam: .beta1 is 1.5; it must be in [0, 1)" },
    { "adamw", "beta2 -1", "adamw: .beta2 is -1; it must be in [0, 1)" },
    { "adamw", "weight_decay -1", "adamw: .weight_decay is -1; it must be in [0, inf)" },
};
enum { REFUSALS = sizeof refusals / sizeof refusals[0] };

TEST_EACH(options_out_of_range_are_refused_by_name_and_number, REFUSALS)
{
    wf_error e = { 0 };
    OWN(wf_module) *net = module_of(WF_F32);
    param_of(net, "p", 3);
    ck_assert_ptr_null(optimiser_with(net, refusals[_i].rule, refusals[_i].options));
    ck_assert(!wf_module_ok(net, &e));
    ck_assert_str_eq(e.text, refusals[_i].said);
}

TEST(buffers_have_pytorchs_names_the_parameters_shapes_and_begin_at_zero)
{
    OWN(wf_module) *net = module_of(WF_F32);
    wf_param_new(net, "p", WF_SHAPE(3, 5), (wf_init){ 0 });
    param_of(net, "q", 7);
    OWN(wf_optim) *optim = optimiser_with(net, "adam", "amsgrad 1");
    const wf_optim_rule *rule = wf_optim_rule_of(optim);
    ck_assert_int_eq(rule->states, 3);
    ck_assert_str_eq(rule->state_names[0], "exp_avg");
    ck_assert_str_eq(rule->state_names[2], "max_exp_avg_sq");
    for (int k = 0; k < 3; k++) {
        wf_shape shape = wf_tensor_shape(wf_optim_state(optim, 0, k));
        ck_assert(wf_shape_equal(&shape, &WF_SHAPE(3, 5)));
        for (int64_t i = 0; i < 7; i++)
            ck_assert_double_eq(wf_tensor_at(wf_optim_state(optim, 1, k), i), 0);
    }
}

/* ---- steps ---- */

/* As the transitions of a CRF that must not be. */
TEST_EACH(a_value_that_is_infinite_stays_and_enters_nothing, 2 * KINDS)
{
    const double infinity = (double)INFINITY;
    const wf_dtype dtype = _i % 2 ? WF_F32 : WF_F64;
    OWN(fixture) a = fixture_of(dtype, 100, 100, _i / 2);
    wf_tensor *value = (wf_tensor *)(uintptr_t)wf_param_value(a.p);
    for (int64_t i = 3; i < 100; i += 9)
        wf_dtype_describe(dtype)->store(value->data, i, i % 2 ? -infinity : infinity);
    wf_param_changed(a.p);
    for (int step = 1; step <= 5; step++) {
        give_grad(a.t, a.p, (uint64_t)step);
        ck_assert(isfinite(wf_optim_clip_norm(a.optim, 0.5)));
        ck_assert(wf_optim_step(a.optim));
    }
    for (int64_t i = 0; i < 100; i++) {
        const double x = wf_tensor_at(value, i);
        ck_assert(i % 9 == 3 ? x == (i % 2 ? -infinity : infinity) : isfinite(x));
        for (int k = 0; k < wf_optim_rule_of(a.optim)->states; k++) {
            const wf_tensor *state = wf_optim_state(a.optim, 0, k);
            ck_assert(!state || isfinite(wf_tensor_at(state, i)));
        }
    }
}

TEST_EACH(a_step_moves_what_has_a_gradient_and_consumes_it, KINDS)
{
    OWN(fixture) a = fixture_of(WF_F64, 100, 100, _i);
    double before[100];
    memcpy(before, wf_param_value(a.q)->data, sizeof before);
    uint64_t hash = hash_all(a.net, a.optim), version = wf_param_version(a.p),
             still = wf_param_version(a.q);

    ck_assert(wf_optim_step(a.optim)); /* no gradient at all: nothing happens */
    ck_assert_uint_eq(hash_all(a.net, a.optim), hash);
    ck_assert_int_eq(wf_optim_steps(a.optim), 0);

    give_grad(a.t, a.p, 1);
    ck_assert(wf_optim_step(a.optim));
    ck_assert_int_eq(wf_optim_steps(a.optim), 1);
    ck_assert_uint_ne(hash_all(a.net, a.optim), hash);
    ck_assert_uint_gt(wf_param_version(a.p), version);
    ck_assert_uint_eq(wf_param_version(a.q), still);
    ck_assert_ptr_null(wf_param_grad(a.p));
    ck_assert_mem_eq(wf_param_value(a.q)->data, before, sizeof before);

    hash = hash_all(a.net, a.optim);
    ck_assert(wf_optim_step(a.optim)); /* the gradient is gone: the second step is none */
    ck_assert_uint_eq(hash_all(a.net, a.optim), hash);
    ck_assert_int_eq(wf_optim_steps(a.optim), 1);
}

TEST_EACH(a_learning_rate_of_zero_moves_nothing, KINDS)
{
    OWN(fixture) a = fixture_of(WF_F32, 100, 0, _i);
    float before[100];
    memcpy(before, wf_param_value(a.p)->data, sizeof before);
    wf_optim_set_lr(a.optim, 0);
    give_grad(a.t, a.p, 1);
    ck_assert(wf_optim_step(a.optim));
    ck_assert_mem_eq(wf_param_value(a.p)->data, before, sizeof before);
    ck_assert_int_eq(wf_optim_steps(a.optim), 1);
}

TEST(gradients_of_several_sweeps_add_up)
{
    OWN(fixture) a = fixture_with(WF_F64, 1, 0, "sgd", "lr 0.5");
    double before = wf_at(a.p, 0);
    give_number(a.t, a.p, 0.25);
    give_number(a.t, a.p, 1);
    ck_assert(wf_optim_step(a.optim));
    ck_assert_double_eq(wf_at(a.p, 0), before - 0.5 * 1.25);
}

TEST(a_parameter_used_twice_moves_once_by_the_sum_of_its_gradients)
{
    OWN(fixture) a = fixture_with(WF_F64, 1, 0, "sgd", "lr 0.5, momentum 0.5");
    double before = wf_at(a.p, 0);
    wf_var *loss = wf_sum(
        a.t, wf_add(a.t, wf_mul_scalar(a.t, a.p, 0.25), wf_mul_scalar(a.t, a.p, 1.0)), NULL);
    ck_assert_msg(wf_backward(a.t, loss), "%s", wf_tape_error(a.t));
    ck_assert(wf_optim_step(a.optim));
    ck_assert_double_eq(wf_at(a.p, 0), before - 0.5 * 1.25);
    ck_assert_double_eq(wf_tensor_at(wf_optim_state(a.optim, 0, 0), 0), 1.25);
}

TEST(an_optimiser_of_a_subtree_leaves_the_rest_alone)
{
    OWN(wf_module) *net = module_of(WF_F64);
    wf_module *left = wf_module_child(net, "left"), *right = wf_module_child(net, "right");
    wf_var *p = param_of(left, "p", 1), *q = param_of(right, "q", 1);
    OWN(wf_optim) *sgd = optimiser_with(right, "sgd", "lr 0.5");
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double before[2] = { wf_at(p, 0), wf_at(q, 0) };
    give_number(t, p, 3);
    give_number(t, q, 4);
    ck_assert_double_eq(wf_optim_clip_norm(sgd, (double)INFINITY), 4);
    ck_assert(wf_optim_step(sgd));
    ck_assert_double_eq(wf_at(p, 0), before[0]);
    ck_assert_double_eq(wf_at(q, 0), before[1] - 2);
    ck_assert_double_eq(wf_tensor_at(wf_param_grad(p), 0), 3);
}

TEST_EACH(one_large_parameter_moves_as_its_pieces_do, 2 * KINDS)
{
    /* Pieces that end inside blocks, at their ends, and one short of them. */
    static const int64_t sizes[] = { 1, 15, 4080, 4096, 4097, 8191, 0, 520 };
    enum { PIECES = 8, WHOLE = 1 + 15 + 4080 + 4096 + 4097 + 8191 + 520 };
    wf_dtype dtype = _i % 2 ? WF_F64 : WF_F32;
    OWN(wf_module) *one = module_of(dtype), *many = module_of(dtype);
    wf_var *whole = param_of(one, "whole", WHOLE), *piece[PIECES];
    OWN(wf_tape) *t = wf_tape_new(NULL);
    size_t size = (size_t)wf_dtype_size(dtype), at = 0;
    for (int k = 0; k < PIECES; k++) {
        piece[k] = param_of(many, worded("p%d", k), sizes[k]);
        memcpy(wf_param_value(piece[k])->data, (char *)wf_param_value(whole)->data + at,
               (size_t)sizes[k] * size);
        wf_param_changed(piece[k]);
        at += (size_t)sizes[k] * size;
    }
    OWN(wf_optim) *a = optimiser(one, _i / 2), *b = optimiser(many, _i / 2);
    ck_assert(a && b);
    for (uint64_t step = 0; step < 3; step++) {
        give_grad(t, whole, step);
        at = 0;
        for (int k = 0; k < PIECES; k++) {
            give_number(t, piece[k], 1);
            if (sizes[k] == 0) continue;
            memcpy(wf_param_grad(piece[k])->data, (char *)wf_param_grad(whole)->data + at,
                   (size_t)sizes[k] * size);
            at += (size_t)sizes[k] * size;
        }
        double limit = (double)INFINITY;
        ck_assert_double_eq_tol(wf_optim_clip_norm(a, limit), wf_optim_clip_norm(b, limit), 1e-10);
        ck_assert(wf_optim_step(a) && wf_optim_step(b));
    }
    at = 0;
    for (int k = 0; k < PIECES; k++) {
        ck_assert_msg(memcmp(wf_param_value(piece[k])->data,
                             (char *)wf_param_value(whole)->data + at,
                             (size_t)sizes[k] * size) == 0,
                      "optimiser %d: piece %d moved differently", _i / 2, k);
        at += (size_t)sizes[k] * size;
    }
}

/* As if b had moved as far as a. */
static void give_values(const fixture *a, const fixture *b)
{
    wf_tensor_copy(wf_param_value(a->p), wf_param_value(b->p));
    wf_param_changed(b->p);
}

static void step_with_grad(const fixture *a, uint64_t key)
{
    give_grad(a->t, a->p, key);
    ck_assert(wf_optim_step(a->optim));
}

TEST_EACH(floats_move_as_doubles_do_within_rounding, KINDS)
{
    enum { COUNT = 1000 };
    OWN(fixture) a = fixture_of(WF_F32, COUNT, 0, _i);
    OWN(fixture) b = fixture_of(WF_F64, COUNT, 0, _i);
    give_values(&a, &b);
    for (uint64_t step = 0; step < 20; step++) {
        step_with_grad(&a, step);
        step_with_grad(&b, step);
    }
    for (int64_t i = 0; i < COUNT; i++) ck_assert_double_eq_tol(wf_at(a.p, i), wf_at(b.p, i), 2e-5);
}

TEST_EACH(a_run_goes_on_from_saved_buffers_and_steps_as_if_never_stopped, KINDS)
{
    OWN(fixture) a = fixture_of(WF_F32, 5000, 0, _i);
    OWN(fixture) b = fixture_of(WF_F32, 5000, 0, _i);
    for (uint64_t step = 0; step < 3; step++) step_with_grad(&a, step);
    give_values(&a, &b);
    for (int k = 0; k < wf_optim_rule_of(a.optim)->states; k++)
        wf_tensor_copy(wf_optim_state(a.optim, 0, k), wf_optim_state(b.optim, 0, k));
    ck_assert(wf_optim_set_steps_of(b.optim, 0, wf_optim_steps_of(a.optim, 0)));
    for (uint64_t step = 3; step < 6; step++) {
        step_with_grad(&a, step);
        step_with_grad(&b, step);
    }
    ck_assert_int_eq(wf_optim_steps(b.optim), 6);
    ck_assert_uint_eq(hash_all(a.net, a.optim), hash_all(b.net, b.optim));
}

/* Five clipped steps over parameters of awkward sizes, with a given number of threads: the hash,
 * and how many there were. */
static void train_with(int threads, int kind, uint64_t result[2])
{
    int out[2];
    ck_assert_int_eq(pipe(out), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!wf_runtime_set(&(wf_runtime){ .threads = threads }, NULL)) _exit(1);
        wf_module *net = module_of(WF_F32);
        wf_var *p[3] = { param_of(net, "p", 70001), param_of(net, "q", 3),
                         param_of(net, "r", 54321) };
        wf_optim *optim = optimiser(net, kind);
        wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = 1 });
        int width = 0;
        for (uint64_t step = 0; step < 5; step++) {
            for (int k = 0; k < 3; k++) give_grad(t, p[k], 3 * step + (uint64_t)k);
            (void)wf_par_width();
            wf_optim_clip_norm(optim, 1);
            wf_optim_step(optim);
            int now = wf_par_width();
            width = now > width ? now : width;
        }
        uint64_t said[2] = { hash_all(net, optim), (uint64_t)width };
        _exit(write(out[1], said, sizeof said) != (ssize_t)sizeof said);
    }
    ck_assert_int_eq(read(out[0], result, 2 * sizeof *result), 2 * (ssize_t)sizeof *result);
    close(out[0]);
    close(out[1]);
    ck_assert_int_eq(exit_of(child), 0);
}

TEST_EACH(any_number_of_threads_gives_the_same_bits, KINDS)
{
    static const int threads[] = { 1, 2, 3, 5 };
    uint64_t first[2];
    train_with(1, _i, first);
    ck_assert_uint_eq(first[1], 1);
    for (int k = 1; k < 4; k++) {
        uint64_t other[2];
        train_with(threads[k], _i, other);
        ck_assert_uint_eq(other[1], (uint64_t)threads[k]);
        ck_assert_msg(other[0] == first[0], "optimiser %d: %d threads give other bits than one", _i,
                      threads[k]);
    }
}

/* ---- a rule of one's own ---- */

typedef struct sign_options {
    double pull;
} sign_options;

/* Moves by the sign of the gradient and counts the updates of each number in its buffer. */
static void sign_update(const wf_optim_call *c)
{
    const sign_options *o = c->options;
    double *value = c->value, *seen = c->state[0];
    const double *grad = c->grad;
    for (int64_t i = 0; i < c->n; i++) {
        value[i] = value[i] * (1 - o->pull) - c->lr * (grad[i] > 0 ? 1 : -1);
        seen[i] += 1;
        if (seen[i] != (double)c->step) value[i] = (double)NAN;
    }
}

TEST(a_rule_of_ones_own_sees_every_number_once_and_its_options_are_copied)
{
    static const wf_optim_rule rule = { .name = "sign",
                                        .states = 1,
                                        .state_names = { "seen" },
                                        .options_size = sizeof(sign_options),
                                        .update = sign_update };
    OWN(wf_module) *net = module_of(WF_F64);
    wf_var *p = param_of(net, "p", 10000), *q = param_of(net, "q", 10);
    sign_options mine = { .pull = 0.5 };
    OWN(wf_optim) *optim = wf_optim_new(net, &rule, 0.25, &mine);
    mine.pull = 1000;
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double before[2] = { wf_at(p, 9999), wf_at(q, 3) };
    for (int step = 0; step < 2; step++) {
        give_number(t, p, -7);
        if (step == 0) give_number(t, q, 7);
        ck_assert(wf_optim_step(optim));
    }
    ck_assert_double_eq(wf_at(p, 9999), (before[0] * 0.5 + 0.25) * 0.5 + 0.25);
    ck_assert_double_eq(wf_at(q, 3), before[1] * 0.5 - 0.25);
    for (int64_t i = 0; i < 10000; i++)
        ck_assert_double_eq(wf_tensor_at(wf_optim_state(optim, 0, 0), i), 2);
}

/* ---- clipping ---- */

TEST_EACH(clipping_brings_the_joint_norm_down_and_leaves_smaller_ones_alone, 2)
{
    wf_dtype dtype = _i ? WF_F64 : WF_F32;
    OWN(fixture) a = fixture_with(dtype, 9, 16, "sgd", "");
    ck_assert_double_eq(wf_optim_clip_norm(a.optim, 1), 0); /* no gradient, no norm */
    give_number(a.t, a.p, 1);                               /* 9 ones and 16 ones: 5 */
    give_number(a.t, a.q, -1);
    ck_assert_double_eq(wf_optim_clip_norm(a.optim, (double)INFINITY), 5);
    ck_assert_double_eq(wf_optim_clip_norm(a.optim, 5.5), 5);
    ck_assert_double_eq(wf_tensor_at(wf_param_grad(a.q), 15), -1);
    ck_assert_double_eq(wf_optim_clip_norm(a.optim, 0.5), 5);
    ck_assert_double_eq_tol(wf_tensor_at(wf_param_grad(a.p), 0), 0.1, 1e-7);
    ck_assert_double_eq_tol(wf_optim_clip_norm(a.optim, (double)INFINITY), 0.5, 1e-6);
    ck_assert_double_eq_tol(wf_optim_clip_norm(a.optim, 0), 0.5, 1e-6);
    ck_assert_double_eq(wf_optim_clip_norm(a.optim, 1), 0); /* a limit of 0 leaves zeros */
}

TEST_EACH(a_norm_that_is_not_finite_is_returned_said_once_and_the_step_changes_nothing, 2)
{
    double bad = _i ? (double)INFINITY : (double)NAN;
    OWN(fixture) a = fixture_with(WF_F32, 9, 5000, "adam", "");
    give_number(a.t, a.p, 1);
    ck_assert(wf_optim_step(a.optim));
    uint64_t hash = hash_all(a.net, a.optim);
    for (int again = 0; again < 2; again++) {
        give_number(a.t, a.p, 1);
        give_number(a.t, a.q, 1);
        ((float *)wf_param_grad(a.q)->data)[4999] = (float)bad;
        double norm = wf_optim_clip_norm(a.optim, 1);
        ck_assert(_i ? isinf(norm) : isnan(norm));
        ck_assert_ptr_null(wf_param_grad(a.p));
        ck_assert_ptr_null(wf_param_grad(a.q));
        ck_assert(wf_optim_step(a.optim));
        ck_assert_uint_eq(hash_all(a.net, a.optim), hash);
        ck_assert_int_eq(wf_optim_steps(a.optim), 1);
        ck_assert_int_eq(log_kept.times, 1);
    }
    ck_assert_str_eq(
        log_kept.text,
        _i ? "clip: the gradients' norm is inf, first in q; the step after it changes nothing"
           : "clip: the gradients' norm is nan, first in q; the step after it changes nothing");
}

TEST(clipping_by_value_limits_both_sides_and_keeps_nan)
{
    OWN(fixture) a = fixture_with(WF_F64, 5, 0, "sgd", "");
    give_number(a.t, a.p, 1);
    const double g[5] = { -3, -0.5, 0.25, 7, (double)NAN }, limited[4] = { -0.5, -0.5, 0.25, 0.5 };
    memcpy(wf_param_grad(a.p)->data, g, sizeof g);
    wf_optim_clip_value(a.optim, 0.5);
    ck_assert_mem_eq(wf_param_grad(a.p)->data, limited, sizeof limited);
    ck_assert(isnan(wf_tensor_at(wf_param_grad(a.p), 4)));
}

/* ---- memory ---- */

TEST(an_allocation_that_fails_leaves_no_optimiser_a_reason_and_no_leak)
{
    int64_t needed = 0;
    for (int64_t k = 1; needed == 0 && k < 50; k++) {
        wf_error e = { 0 };
        wf_module *net = module_of(WF_F32);
        param_of(net, "p", 100);
        param_of(net, "q", 9000);
        int64_t live = heap.live, asked = heap.asked;
        heap.fail_at = asked + k;
        wf_optim *adam = wf_adam_new(net, NULL);
        heap.fail_at = 0;
        if (adam) {
            needed = k - 1;
            ck_assert_int_eq(heap.asked, asked + needed);
        } else {
            ck_assert(!wf_module_ok(net, &e));
            ck_assert_msg(strncmp(e.text, "adam: out of memory for its buffers of ", 39) == 0, "%s",
                          e.text);
            ck_assert_int_eq(heap.live, live);
        }
        wf_optim_free(adam);
        ck_assert_int_eq(heap.live, live);
        wf_module_free(net);
    }
    ck_assert_int_ge(needed, 2);
}

TEST_EACH(clipping_and_stepping_ask_for_no_memory, KINDS)
{
    OWN(fixture) a = fixture_of(WF_F32, 50000, 0, _i);
    give_grad(a.t, a.p, 1);
    int64_t asked = heap.asked;
    ck_assert(wf_optim_clip_norm(a.optim, 1) > 1);
    wf_optim_clip_value(a.optim, 1e-3);
    ck_assert(wf_optim_step(a.optim));
    ck_assert_int_eq(heap.asked, asked);
}
