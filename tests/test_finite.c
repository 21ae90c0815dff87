/* What is not finite: which op is named for it, and that it never reaches a parameter. */
#include "autograd/module.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/runtime.h"
#include "tests/harness.h"

#include <math.h>
#include <string.h>

static wf_tape *t;
static wf_module *m;
static wf_var *w; /* a parameter (4): 0, 1, 2, 3; its gradient is 1 everywhere */

static void tear_down(void)
{
    wf_tape_free(t);
    wf_module_free(m);
    t = NULL;
    m = NULL;
}

static void set_up_with(wf_tape_options options)
{
    tear_down();
    t = wf_tape_new(&(wf_tape_options){ .mode = WF_TRAIN });
    m = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    w = wf_param_new(m, "w", WF_SHAPE(4), (wf_init){ .kind = WF_INIT_ZERO });
    for (int i = 0; i < 4; i++) ((double *)wf_param_value(w)->data)[i] = i;
    wf_param_changed(w);
    ck_assert(wf_backward(t, wf_sum(t, w, NULL)));
    wf_tape_free(t);
    t = wf_tape_new(&options);
    log_kept.times = 0;
}

static void set_up(void)
{
    set_up_with((wf_tape_options){ .mode = WF_TRAIN });
}

/* The sweep was refused with this sentence, and the parameter's gradient is what it was. */
static void refused(bool ok, const char *says)
{
    ck_assert(!ok);
    ck_assert_str_eq(wf_tape_error(t), says);
    ck_assert_int_eq(log_kept.times, 1);
    for (int i = 0; i < 4; i++) ck_assert(wf_tensor_at(wf_param_grad(w), i) == 1);
    wf_tape_reset(t);
    log_kept.times = 0;
}

static wf_var *scores_of(int row, double masked)
{
    double x[4] = { masked, masked, row ? masked : 0, row ? masked : 0 };
    return wf_add(t, w, wf_constant(t, WF_F64, WF_SHAPE(4), x));
}

TEST(a_mask_of_minus_infinity_is_not_to_blame_for_the_division_of_nothing_by_nothing)
{
    wf_scope_push(t, "attention");
    wf_var *p = wf_softmax(t, scores_of(0, -(double)INFINITY), -1);
    ck_assert(wf_at(p, 0) == 0 && wf_at(p, 3) > 0.5);
    wf_scope_push(t, "mean");
    wf_var *none = wf_sub(t, p, p), *q = wf_div(t, none, none);
    wf_scope_pop(t);
    wf_scope_pop(t);
    refused(wf_backward(t, wf_sum(t, wf_mul(t, q, p), NULL)),
            "backward: loss became nan at step 0; the first such value came from div\n"
            "  in attention > mean");
    /* All masked: infinity less infinity. */
    p = scores_of(1, -(double)INFINITY);
    p = wf_exp(t, wf_sub(t, p, wf_max(t, p, NULL)));
    refused(wf_backward(t, wf_sum(t, p, NULL)),
            "backward: loss became nan at step 1; the first such value came from sub");
}

TEST(an_infinite_loss_names_the_op_that_overflowed)
{
    wf_var *y = wf_exp(t, wf_mul_scalar(t, w, 400));
    refused(wf_backward(t, wf_sum(t, wf_mul_scalar(t, y, 2), NULL)),
            "backward: loss became infinite at step 0; the first such value came from exp");
}

TEST(data_and_parameters_that_were_not_finite_already_are_named_as_such)
{
    double x[4] = { 1, (double)NAN, 2, 3 };
    wf_var *in = wf_constant(t, WF_F64, WF_SHAPE(4), x);
    refused(wf_backward(t, wf_sum(t, wf_mul(t, w, wf_slice(t, in, 0, 0, WF_LAST, 1)), NULL)),
            "backward: loss became nan at step 0; mul took a value, which was nan already");
    ((double *)wf_param_value(w)->data)[2] = (double)INFINITY;
    wf_param_changed(w);
    refused(wf_backward(t, wf_sum(t, wf_square(t, w), NULL)),
            "backward: loss became infinite at step 1; square took parameter 'w', which was "
            "infinite already");
    wf_var *s = wf_leaf(t, WF_F64, WF_SCALAR, (double[]){ (double)NAN });
    ck_assert(wf_keep_grad(t, s));
    refused(wf_backward(t, s), "backward: loss was nan at step 2 when it entered the tape");
}

/* sqrt(w^2) at w = 0: the loss is 2 1/2, the derivative of the root infinite, times 0 NaN. */
static wf_var *root_at_zero(void)
{
    wf_scope_push(t, "norm");
    wf_var *y = wf_sqrt(t, wf_square(t, w));
    wf_scope_pop(t);
    return wf_mean(t, wf_mul(t, y, wf_tanh(t, w)), NULL);
}

TEST(a_gradient_that_is_not_finite_under_a_finite_loss_is_an_error_that_names_the_op)
{
    for (int defer = 0; defer < 2; defer++) {
        set_up_with((wf_tape_options){ .defer_commit = defer });
        wf_var *x = wf_leaf(t, WF_F64, WF_SHAPE(4), NULL);
        ck_assert(wf_keep_grad(t, x));
        wf_var *y = wf_sum(t, wf_sqrt(t, wf_square(t, wf_add(t, w, x))), NULL);
        ck_assert(isfinite(wf_item(y)));
        refused(wf_backward(t, y), "backward: the gradient of 'w' became nan at step 0; the first "
                                   "such value came from the derivative of sqrt");
        y = wf_sum(t, wf_sqrt(t, w), NULL);
        refused(wf_backward(t, y), "backward: the gradient of 'w' became infinite at step 1; the "
                                   "first such value came from the derivative of sqrt");
        /* Where nothing is handed back to it, its derivative is not taken. */
        ck_assert(isfinite(wf_item(root_at_zero())));
        wf_tape_reset(t);
        ck_assert(wf_backward(t, wf_sum(t, w, NULL)));
        if (defer) ck_assert(wf_tape_commit(t));
        ck_assert(wf_tensor_at(wf_param_grad(w), 0) == 2);
    }
}

TEST(a_cotangent_that_is_not_finite_is_named)
{
    double c[4] = { 1, 2, -(double)INFINITY, 3 };
    wf_var *y[2] = { wf_sum(t, w, NULL), wf_square(t, w) };
    wf_var *with[2] = { NULL, wf_constant(t, WF_F64, WF_SHAPE(4), c) };
    refused(wf_backward_from(t, 2, y, with), "backward: the gradient of 'w' became infinite at "
                                             "step 0; cotangent 1 was not finite already");
}

/* wf_grad and wf_keep_grad hand out a gradient to look at: nothing is committed or refused. */
TEST(what_is_only_looked_at_may_be_anything)
{
    set_up_with((wf_tape_options){ .rehearsal = true });
    wf_var *x = wf_leaf(t, WF_F64, WF_SHAPE(4), NULL), *g, *wrt[1] = { x };
    ck_assert(wf_keep_grad(t, x));
    wf_var *y = wf_sum(t, wf_sqrt(t, wf_square(t, wf_add(t, w, x))), NULL);
    ck_assert(wf_grad(t, 1, &y, NULL, 1, wrt, &g, NULL));
    ck_assert(isnan(wf_at(g, 0)) && wf_at(g, 1) == 1);
    ck_assert(wf_backward(t, y));
    ck_assert(isnan(wf_tensor_at(wf_grad_of(x), 0)) && wf_tensor_at(wf_grad_of(x), 1) == 1);
    set_up();
    x = wf_leaf(t, WF_F64, WF_SHAPE(4), NULL);
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, wf_sum(t, wf_sqrt(t, x), NULL)));
    ck_assert(isinf(wf_tensor_at(wf_grad_of(x), 0)));
}

/* The search for a number that is not finite takes whole vectors and several threads. */
TEST(one_of_a_million_is_found_wherever_it_lies)
{
    enum { N = 1000003 };
    for (int f32 = 0; f32 < 2; f32++) {
        wf_dtype dtype = f32 ? WF_F32 : WF_F64;
        tear_down();
        m = wf_module_new("net", &(wf_module_options){ .dtype = dtype });
        w = wf_param_new(m, "w", WF_SHAPE(N), (wf_init){ .kind = WF_INIT_CONSTANT, .a = 1 });
        t = wf_tape_new(NULL);
        const int64_t places[] = { 0, 1, 16383, 16384, 500000, N - 2, N - 1 };
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            wf_tape_reset(t);
            wf_tensor numbers;
            wf_var *c = wf_constant_fill(t, dtype, WF_SHAPE(N), &numbers);
            wf_tensor_fill(&numbers, 0.5);
            wf_dtype_describe(dtype)->store(numbers.data, places[i],
                                            (double)(i % 2 ? NAN : -INFINITY));
            wf_var *y = wf_sub_scalar(t, w, 1); /* zeros: what the loss sees is finite */
            ck_assert(!wf_backward_from(t, 1, &y, &c));
            ck_assert_msg(strstr(wf_tape_error(t), "the gradient of 'w' became "), "%s",
                          wf_tape_error(t));
            ck_assert_ptr_null(wf_param_grad(w));
        }
        wf_tape_reset(t);
        ck_assert(wf_backward(t, wf_sum(t, w, NULL)));
    }
}

const harness_suite suite = { .before = set_up, .after = tear_down };
