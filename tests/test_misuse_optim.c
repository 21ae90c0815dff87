/* Misuse of optimisers, and of the checkers, which are given what cannot be checked. */
#include "tests/misuse.h"

#include <limits.h>
#include <math.h>

/* ---- optimisers ---- */

static void update_nothing(const wf_optim_call *c)
{
    (void)c;
}

static const wf_optim_rule idle = { .name = "idle", .update = update_nothing };

static wf_module *tree_with_a_param(void)
{
    wf_param_new(now.tree, "w", WF_SHAPE(3), (wf_init){ .kind = WF_INIT_ZERO });
    return now.tree;
}

static wf_optim *rule(wf_optim_rule r, double lr, const void *options)
{
    return wf_optim_new(tree_with_a_param(), &r, lr, options);
}

static wf_optim *sgd(wf_sgd_options o)
{
    return wf_sgd_new(tree_with_a_param(), &o);
}

static void optimisers_made(void)
{
    wf_optim_rule r = idle;
    QUIET(!wf_optim_new(NULL, NULL, 1, NULL) && !wf_optim_new(NULL, &idle, 1, NULL));
    QUIET(!wf_sgd_new(NULL, NULL) && !wf_rmsprop_new(NULL, NULL) && !wf_adam_new(NULL, NULL));
    QUIET(!wf_adamw_new(NULL, &(wf_adamw_options){ .lr = -1 }));
    const char *wants = "optim: the rule needs a name, an update and 0 to 4 states";
    TREE_REFUSES(wf_optim_new(tree_with_a_param(), NULL, 1, NULL), wants);
    r.name = NULL;
    TREE_REFUSES(rule(r, 1, NULL), wants);
    r = idle, r.update = NULL;
    TREE_REFUSES(rule(r, 1, NULL), wants);
    r = idle, r.states = 5;
    TREE_REFUSES(rule(r, 1, NULL), wants);
    r.states = -1;
    TREE_REFUSES(rule(r, 1, NULL), wants);
    r = idle, r.options_size = 8;
    TREE_REFUSES(rule(r, 1, NULL), "idle: it has options and none were given");
    r.options_size = SIZE_MAX;
    TREE_REFUSES(rule(r, 1, &r), NULL);
    TREE_REFUSES(rule(idle, -1, NULL), "idle: .lr is -1; it must be in [0, inf)");
    TREE_REFUSES(rule(idle, (double)INFINITY, NULL), "idle: .lr is inf; it must be in [0, inf)");
    TREE_REFUSES(rule(idle, (double)NAN, NULL), NULL);
    TREE_REFUSES(wf_optim_new(now.tree, &idle, 1, NULL), "idle: the module has no parameters");
    TREE_REFUSES(wf_adam_new(now.tree, NULL), "adam: the module has no parameters");
    TREE_REFUSES(sgd((wf_sgd_options){ .lr = -1 }), "sgd: .lr is -1; it must be in [0, inf)");
    TREE_REFUSES(sgd((wf_sgd_options){ .momentum = -0.5 }),
                 "sgd: .momentum is -0.5; it must be in [0, inf)");
    TREE_REFUSES(sgd((wf_sgd_options){ .weight_decay = (double)NAN }), NULL);
    TREE_REFUSES(sgd((wf_sgd_options){ .dampening = (double)INFINITY }),
                 "sgd: .dampening is inf; it must be finite");
    TREE_REFUSES(sgd((wf_sgd_options){ .nesterov = true }),
                 "sgd: .nesterov wants .momentum above 0 and .dampening 0; they are 0 and 0");
    TREE_REFUSES(wf_rmsprop_new(tree_with_a_param(), &(wf_rmsprop_options){ .alpha = 1 }),
                 "rmsprop: .alpha is 1; it must be in [0, 1)");
    TREE_REFUSES(wf_rmsprop_new(tree_with_a_param(), &(wf_rmsprop_options){ .eps = -2 }), NULL);
    TREE_REFUSES(wf_adam_new(tree_with_a_param(), &(wf_adam_options){ .beta1 = 1 }),
                 "adam: .beta1 is 1; it must be in [0, 1)");
    TREE_REFUSES(wf_adam_new(tree_with_a_param(), &(wf_adam_options){ .beta2 = (double)NAN }),
                 NULL);
    TREE_REFUSES(wf_adamw_new(tree_with_a_param(), &(wf_adamw_options){ .weight_decay = -3 }),
                 "adamw: .weight_decay is -3; it must be in [0, inf)");
    wf_module_fail(now.tree, "test: failed on purpose");
    TREE_REFUSES(rule(idle, 1, NULL), "test: failed on purpose");
}

static void optimisers_used(void)
{
    wf_optim *o = now.adam;
    wf_optim_free(NULL);
    wf_optim_clip_value(NULL, 1);
    wf_optim_set_lr(NULL, 1);
    wf_optim_set_steps(NULL, 1);
    QUIET(!wf_optim_step(NULL) && isnan(wf_optim_clip_norm(NULL, 1)) && isnan(wf_optim_lr(NULL)));
    QUIET(wf_optim_steps(NULL) == -1 && !wf_optim_state(NULL, 0, 0) && !wf_optim_rule_of(NULL));
    QUIET(!wf_optim_state(o, -1, 0) && !wf_optim_state(o, INT64_MAX, 0) &&
          !wf_optim_state(o, 0, -1));
    QUIET(!wf_optim_state(o, 0, 2) && !wf_optim_state(o, 0, INT_MAX) &&
          wf_optim_rule_of(o)->states == 2);
    /* Without gradients nothing happens. */
    QUIET(wf_optim_step(o) && wf_optim_clip_norm(o, 1) == 0);
    const double bad[3] = { -1, (double)NAN, (double)INFINITY };
    for (int i = 0; i < 3; i++) {
        wf_optim_set_lr(o, bad[i]);
        ck_assert_int_eq(misuse_messages, now.messages + i + 1);
        ck_assert(misuse_well_said(misuse_logged));
        ck_assert_uint_eq(misuse_hash(), now.hash);
    }
    misuse_renew();
    /* A limit that is none clips nothing and is said once; a norm that is none clears the
     * gradients. */
    ck_assert(wf_backward(now.t, wf_sum(now.t, now.param, NULL)));
    now.hash = misuse_hash();
    wf_optim_clip_value(o, (double)NAN);
    wf_optim_clip_value(o, -1);
    ck_assert(wf_optim_clip_norm(o, -1) > 0 && wf_optim_clip_norm(o, (double)NAN) > 0);
    ck_assert_int_eq(misuse_messages, now.messages + 1);
    ck_assert_str_eq(misuse_logged,
                     "clip: the limit is nan; it must be 0 or more, and nothing was clipped");
    ck_assert(wf_optim_clip_norm(o, (double)INFINITY) > 0);
    ck_assert_uint_eq(misuse_hash(), now.hash);
}

static void optimisers_and_gradients_that_are_none(void)
{
    wf_optim *o = now.adam;
    const double many[12] = { 1, 2, (double)INFINITY };
    wf_var *y = wf_mul(now.t, now.param, wf_constant(now.t, WF_F64, WF_SHAPE(4, 3), many));
    wf_var *with = wf_full(now.t, WF_F64, WF_SHAPE(4, 3), 1);
    ck_assert(wf_backward_from(now.t, 1, &y, &with));
    ck_assert(!isfinite(wf_optim_clip_norm(o, 1)));
    ck_assert_msg(strstr(misuse_logged, "linear.weight"), "%s", misuse_logged);
    ck_assert(misuse_well_said(misuse_logged) && !wf_param_grad(now.param));
    ck_assert_uint_eq(misuse_hash(), now.hash);
    ck_assert(wf_optim_step(o));
    ck_assert_uint_eq(misuse_hash(), now.hash);
    wf_optim_set_steps(o, -7);
    ck_assert_int_eq(wf_optim_steps(o), 0);
}

/* ---- the checkers ---- */

static void report_is(int line, wf_report r, const char *says)
{
    bool well = islower((unsigned char)r.text[0]) && strchr(r.text, ':');
    ck_assert_msg(!r.ok && well, "line %d: \"%s\"", line, r.text);
    ck_assert_msg(!says || !strcmp(r.text, says), "line %d: %s", line, r.text);
    ck_assert_uint_eq(misuse_hash(), now.hash);
}

static bool gives_nothing(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    (void)t, (void)context, (void)in, (void)out, (void)n_out;
    return true;
}

static bool gives_too_many(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8],
                           int *n_out)
{
    (void)context;
    out[0] = wf_neg(t, in[0]);
    *n_out = 9;
    return true;
}

static bool gives_null(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    (void)t, (void)context, (void)in;
    out[0] = NULL;
    *n_out = 1;
    return true;
}

static bool gives_up(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    (void)t, (void)context, (void)in, (void)out, (void)n_out;
    return false;
}

static bool gives_nan(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    (void)context;
    out[0] = wf_mul_scalar(t, in[0], (double)NAN);
    *n_out = 1;
    return true;
}

static bool negates(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    (void)context;
    out[0] = wf_neg(t, in[0]);
    *n_out = 1;
    return out[0] != NULL;
}

static void checkers(void)
{
    double x[2] = { 1, 2 };
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(2), x), bad = in;
    wf_op op = *wf_op_named("tanh");
    report_is(__LINE__, wf_op_check(NULL, NULL), "op check: no op was given (NULL)");
    op.sample = NULL;
    report_is(__LINE__, wf_op_check(&op, NULL), "tanh: its row has no sample");
    op = *wf_op_named("tanh"), op.forward = NULL;
    report_is(__LINE__, wf_op_check(&op, NULL), "tanh: its row has no forward");
    op = *wf_op_named("tanh"), op.name = NULL;
    report_is(__LINE__, wf_op_check(&op, NULL), NULL);
    op = *wf_op_named("tanh"), op.outputs = 99;
    report_is(__LINE__, wf_op_check(&op, NULL), "tanh: its row has 99 outputs and 0 hidden ones");
    op = *wf_op_named("tanh"), op.outputs = INT32_MAX, op.hidden = INT32_MAX;
    report_is(__LINE__, wf_op_check(&op, NULL), NULL);
    op = *wf_op_named("tanh"), op.attr_size = -1;
    report_is(__LINE__, wf_op_check(&op, NULL), NULL);
    op = *wf_op_named("tanh"), op.inputs = 2;
    report_is(__LINE__, wf_op_check(&op, NULL), NULL);
    op = *wf_op_named("tanh"), op.gradient = NULL;
    report_is(__LINE__, wf_op_check(&op, NULL),
              "tanh: it has a backward, but neither gradient nor reference");
    report_is(__LINE__, wf_gradcheck(NULL, NULL, 1, &in, NULL),
              "gradcheck: no function or no inputs were given (NULL)");
    report_is(__LINE__, wf_gradcheck(negates, NULL, 1, NULL, NULL), NULL);
    report_is(__LINE__, wf_gradcheck(negates, NULL, -1, &in, NULL), NULL);
    report_is(__LINE__, wf_gradcheck(gives_null, NULL, 0, NULL, NULL),
              "gradcheck: there is nothing to differentiate by");
    report_is(__LINE__, wf_gradcheck(gives_nothing, NULL, 1, &in, NULL),
              "gradcheck: the function gave 0 outputs; 1 to 8 can be");
    report_is(__LINE__, wf_gradcheck(gives_too_many, NULL, 1, &in, NULL),
              "gradcheck: the function gave 9 outputs; 1 to 8 can be");
    report_is(__LINE__, wf_gradcheck(gives_null, NULL, 1, &in, NULL),
              "gradcheck: output 0 was never made (NULL)");
    report_is(__LINE__, wf_gradcheck(gives_up, NULL, 1, &in, NULL), NULL);
    report_is(__LINE__, wf_gradcheck(gives_nan, NULL, 1, &in, NULL),
              "gradcheck: an output is not finite");
    bad.data = NULL;
    report_is(__LINE__, wf_gradcheck(negates, NULL, 1, &bad, NULL), NULL);
    bad = in, bad.rank = 9;
    report_is(__LINE__, wf_gradcheck(negates, NULL, 1, &bad, NULL), NULL);
    bad = in, bad.dim[0] = -1;
    report_is(__LINE__, wf_gradcheck(negates, NULL, 1, &bad, NULL), NULL);
    bad = in, bad.dtype = (wf_dtype)6;
    report_is(__LINE__, wf_gradcheck(negates, NULL, 1, &bad, NULL), NULL);
    const wf_check_options odd = { .tolerance = (double)NAN, .step = -1 };
    ck_assert(wf_gradcheck(negates, NULL, 1, &in, &odd).ok);
}

static void step_nothing(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    (void)t, (void)self, (void)x;
    state[0] = NULL;
}

static void step_wrongly(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    (void)self, (void)x;
    state[0] = wf_transpose(t, state[0], 0, 1);
}

typedef struct small {
    wf_var *w;
} small;

static const wf_cell sound = {
    .name = "small",
    .size = sizeof(small),
    .step = step_nothing,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(WF_PARAM(small, w, WF_HIDDEN, WF_INPUT)),
};

static void cell_checker(void)
{
    wf_cell cell = sound;
    int64_t was = misuse_messages;
    report_is(__LINE__, wf_cell_check(NULL, NULL), NULL);
    cell.step = NULL;
    report_is(__LINE__, wf_cell_check(&cell, NULL), NULL);
    cell = sound, cell.states = NULL;
    report_is(__LINE__, wf_cell_check(&cell, NULL), NULL);
    report_is(__LINE__, wf_cell_check(&sound, NULL), NULL);
    cell = sound, cell.step = step_wrongly;
    report_is(__LINE__, wf_cell_check(&cell, NULL), NULL);
    report_is(__LINE__, wf_cell_check(wf_cell_gru(), &(wf_cell_check_options){ .time = -1 }), NULL);
    report_is(__LINE__, wf_cell_check(wf_cell_gru(), &(wf_cell_check_options){ .hidden = -1 }),
              NULL);
    report_is(__LINE__,
              wf_cell_check(wf_cell_gru(), &(wf_cell_check_options){ .hidden = INT64_MAX }),
              "cell 'gru': the sizes to check it at must be 32767 or less");
    report_is(__LINE__, wf_cell_check(wf_cell_gru(), &(wf_cell_check_options){ .output = 3 }),
              NULL);
    ck_assert_int_ge(misuse_messages, was);
}

/* ---- the table ---- */

static const misuse table[] = {
    { OF(wf_optim_new), optimisers_made },
    { OF(wf_sgd_new), optimisers_made },
    { OF(wf_rmsprop_new), optimisers_made },
    { OF(wf_adam_new), optimisers_made },
    { OF(wf_adamw_new), optimisers_made },
    { OF(wf_optim_free), optimisers_used },
    { OF(wf_optim_step), optimisers_used },
    { OF(wf_optim_clip_value), optimisers_used },
    { OF(wf_optim_lr), optimisers_used },
    { OF(wf_optim_set_lr), optimisers_used },
    { OF(wf_optim_state), optimisers_used },
    { OF(wf_optim_rule_of), optimisers_used },
    { OF(wf_optim_clip_norm), optimisers_and_gradients_that_are_none },
    { OF(wf_optim_steps), optimisers_and_gradients_that_are_none },
    { OF(wf_optim_set_steps), optimisers_and_gradients_that_are_none },
    { OF(wf_op_check), checkers },
    { OF(wf_gradcheck), checkers },
    { OF(wf_cell_check), cell_checker },
};

enum { TABLE = (int)(sizeof table / sizeof table[0]) };

START_TEST(optimisers_and_checkers_refuse_what_they_cannot_use)
{
    if (_i > 0 && table[_i].run == table[_i - 1].run) return;
    misuse_set_up();
    table[_i].run();
    misuse_tear_down();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_loop_test(tests, optimisers_and_checkers_refuse_what_they_cannot_use, 0, TABLE);
}

int main(int argc, char **argv)
{
    return misuse_runtime()
               ? harness_main(argc, argv, "misuse of optimisers and checkers", add_tests)
               : 1;
}
