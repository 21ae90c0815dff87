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

TEST(optimisers_that_cannot_be_made_fail_their_tree)
{
    wf_optim_rule r = idle;
    QUIET(wf_sgd_defaults().lr == 1e-3 && wf_rmsprop_defaults().alpha == 0.99);
    QUIET(wf_adam_defaults().weight_decay == 0 && wf_adamw_defaults().weight_decay == 1e-2);
    r.options_size = SIZE_MAX;
    TREE_REFUSES(rule(r, 1, &r), NULL);
    TREE_REFUSES(rule(idle, -1, NULL), "idle: .lr is -1; it must be in [0, inf)");
    TREE_REFUSES(rule(idle, (double)INFINITY, NULL), "idle: .lr is inf; it must be in [0, inf)");
    TREE_REFUSES(rule(idle, (double)NAN, NULL), NULL);
    wf_adam_options adam = wf_adam_defaults();
    TREE_REFUSES(
        wf_sgd_new(tree_with_a_param(), &(wf_sgd_options){ .lr = 1 }),
        "sgd: its options did not begin as wf_sgd_defaults()\n  hint: what that returns is "
        "to be changed and given");
    TREE_REFUSES(wf_rmsprop_new(tree_with_a_param(), &(wf_rmsprop_options){ .lr = 1 }), NULL);
    TREE_REFUSES(wf_adam_new(tree_with_a_param(), &(wf_adam_options){ .lr = 1 }), NULL);
    TREE_REFUSES(wf_adamw_new(tree_with_a_param(), &adam),
                 "adamw: its options did not begin as wf_adamw_defaults()\n  hint: what that "
                 "returns is to be changed and given");
    wf_module_fail(now.tree, "test: failed on purpose");
    TREE_REFUSES(rule(idle, 1, NULL), "test: failed on purpose");
}

TEST(an_optimiser_takes_no_limit_and_no_rate_that_is_none)
{
    wf_optim *o = now.adam;
    QUIET(!wf_optim_state(o, -1, 0) && !wf_optim_state(o, INT64_MAX, 0) &&
          !wf_optim_state(o, 0, -1));
    QUIET(!wf_optim_state(o, 0, 2) && !wf_optim_state(o, 0, INT_MAX) &&
          wf_optim_rule_of(o)->states == 2);
    /* Without gradients nothing happens. */
    QUIET(wf_optim_step(o) && wf_optim_clip_norm(o, 1) == 0);
    const double bad[3] = { -1, (double)NAN, (double)INFINITY };
    for (int i = 0; i < 3; i++) {
        wf_optim_set_lr(o, bad[i]);
        ck_assert_int_eq(log_kept.times, now.messages + i + 1);
        ck_assert_uint_eq(misuse_hash(), now.hash);
    }
    ck_assert_str_eq(
        log_kept.text,
        "adam: the learning rate was to be inf; it must be in [0, inf), and stays 0.001");
    misuse_renew();
    /* A limit that is none clips nothing and is said once; a norm that is none clears the
     * gradients. */
    ck_assert(wf_backward(now.t, wf_sum(now.t, now.param, NULL)));
    now.hash = misuse_hash();
    wf_optim_clip_value(o, (double)NAN);
    wf_optim_clip_value(o, -1);
    ck_assert(wf_optim_clip_norm(o, -1) > 0 && wf_optim_clip_norm(o, (double)NAN) > 0);
    ck_assert_int_eq(log_kept.times, now.messages + 1);
    ck_assert_str_eq(log_kept.text,
                     "clip: the limit is nan; it must be 0 or more, and nothing was clipped");
    ck_assert(wf_optim_clip_norm(o, (double)INFINITY) > 0);
    ck_assert_uint_eq(misuse_hash(), now.hash);
}

/* A call that is false, logs one sentence and changes nothing. */
static void logged(int line, bool gave, const char *says)
{
    ck_assert_msg(!gave && log_kept.times == now.messages + 1, "line %d: %s", line, log_kept.text);
    ck_assert_msg(!strcmp(log_kept.text, says), "line %d: %s", line, log_kept.text);
    ck_assert_uint_eq(misuse_hash(), now.hash);
    misuse_renew();
}

TEST(counts_of_updates_that_cannot_be_stay_what_they_were)
{
    wf_optim *o = now.adam;
    QUIET(wf_optim_steps_of(o, -1) == -1 && wf_optim_steps_of(o, INT64_MAX) == -1);
    int n = (int)wf_module_param_count(now.net);
    logged(__LINE__, wf_optim_set_steps_of(o, -1, 3),
           worded("adam: there is no parameter -1; there are %d", n));
    logged(__LINE__, wf_optim_set_steps_of(o, n, 3),
           worded("adam: there is no parameter %d; there are %d", n, n));
    logged(
        __LINE__, wf_optim_set_steps_of(o, 0, -7),
        "adam: the updates of 'linear.weight' were to be -7; they must be 0 or more, and stay 1");
}

TEST(options_that_cannot_be_change_nothing)
{
    wf_optim *o = now.adam;
    QUIET(wf_optim_group_of(o, -1) == -1);
    QUIET(wf_optim_group_of(o, INT64_MAX) == -1 && wf_optim_groups(o) == 1);
    QUIET(!wf_optim_set(o, -1, "lr", 1));
    QUIET(isnan(wf_optim_get(o, 1, "lr")));
    QUIET(isnan(wf_optim_get(o, -1, "lr")) && isnan(wf_optim_get(o, 0, NULL)));
    QUIET(isnan(wf_optim_get(o, 0, "momentum")) && wf_optim_get(o, 0, "beta1") == 0.9);
    logged(__LINE__, wf_optim_set(o, 1, "lr", 1), "adam: there is no group 1; the last is 0");
    logged(__LINE__, wf_optim_set(o, -2, "lr", 1), "adam: there is no group -2; the last is 0");
    logged(__LINE__, wf_optim_set(o, 0, "lr", -1),
           "adam: .lr is -1; it must be in [0, inf), and nothing was changed");
    logged(__LINE__, wf_optim_set(o, 0, "momentum", 1), "adam: it has no option 'momentum'");
    logged(__LINE__, wf_optim_set(o, 0, NULL, 1), "adam: it has no option ''");
    logged(__LINE__, wf_optim_set(o, 0, "beta2", 1),
           "adam: .beta2 is 1; it must be in [0, 1), and nothing was changed");
    logged(__LINE__, wf_optim_set(o, 0, "amsgrad", 2),
           "adam: .amsgrad is 2; it must be 0 or 1, and nothing was changed");
    logged(__LINE__, wf_optim_set(o, 0, "amsgrad", 1),
           "adam: .amsgrad works in the buffer 'max_exp_avg_sq', which it was made without, and "
           "nothing was changed");
    wf_param_new(now.tree, "v", WF_SHAPE(2), (wf_init){ 0 });
    wf_optim *two = wf_adam_new(tree_with_a_param(), NULL);
    TREE_REFUSES(wf_optim_group(two, NULL) + 1, "adam: a group needs a pattern of paths");
    wf_optim_free(two);
    wf_param_new(now.tree, "v", WF_SHAPE(2), (wf_init){ 0 });
    two = wf_adam_new(tree_with_a_param(), NULL);
    TREE_REFUSES(wf_optim_group(two, "b*") + 1,
                 "adam: no parameter matches 'b*'; the first of 2 is 'v'");
    wf_optim_free(two);
    wf_param_new(now.tree, "v", WF_SHAPE(2), (wf_init){ 0 });
    two = wf_adam_new(tree_with_a_param(), NULL);
    ck_assert_int_eq(wf_optim_group(two, "w"), 1);
    TREE_REFUSES(wf_optim_group(two, "?") + 1,
                 "adam: '?' matches 'w', which is in group 'w' already");
    wf_optim_free(two);
}

TEST(files_of_optimisers_that_cannot_be_are_refused)
{
    wf_optim *o = now.adam;
    wf_bundle *b = wf_bundle_new();
    char none[1100];
    snprintf(none, sizeof none, "%s/none/none", harness_folder());
    ERROR_SAYS(wf_optim_save(o, none, &now.error), NULL);
    ERROR_SAYS(wf_optim_save(o, NULL, &now.error), NULL);
    ERROR_SAYS(wf_optim_load(o, none, &now.error), NULL);
    ERROR_SAYS(wf_optim_load(o, NULL, &now.error), NULL);
    QUIET(!wf_optim_to_bundle(o, NULL, NULL) && !wf_optim_load_archive(o, "a", NULL, "b", NULL));
    ERROR_CLEARED(wf_optim_save(o, path_of("adam"), &now.error));
    ERROR_CLEARED(wf_optim_load(o, path_of("adam"), &now.error));
    wf_archive *a = wf_safetensors_load(path_of("adam"), &now.error);
    ERROR_CLEARED(wf_optim_load_archive(o, "adam", a, NULL, &now.error));
    wf_archive_free(a);
    ck_assert(!wf_optim_to_bundle(NULL, b, NULL));
    ERROR_SAYS(wf_bundle_ok(b, &now.error), "optim: it was never made (NULL)");
    wf_bundle_free(b);
    b = wf_bundle_new();
    wf_optim *failed = wf_adam_new(tree_with_a_param(), NULL);
    wf_module_fail(now.tree, "test: failed on purpose");
    QUIET(!wf_optim_to_bundle(failed, b, NULL));
    ERROR_SAYS(wf_bundle_ok(b, &now.error), "test: failed on purpose");
    ERROR_SAYS(wf_optim_load(failed, none, &now.error), NULL);
    wf_optim_free(failed);
    wf_bundle_free(b);
}

/* ---- the checkers ---- */

static void report_is(int line, wf_report r, const char *says)
{
    bool well = islower((unsigned char)r.text[0]) && strchr(r.text, ':');
    ck_assert_msg(!r.ok && well, "line %d: \"%s\"", line, r.text);
    ck_assert_msg(!says || !strcmp(r.text, says), "line %d: %s", line, r.text);
    ck_assert_uint_eq(misuse_hash(), now.hash);
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

static bool negates(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    (void)context;
    out[0] = wf_neg(t, in[0]);
    *n_out = 1;
    return out[0] != NULL;
}

TEST(what_is_no_op_is_not_checked)
{
    double x[2] = { 1, 2 };
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(2), x), bad = in;
    wf_op op = *op_named("tanh");
    op.forward = NULL;
    report_is(__LINE__, wf_op_check(&op, NULL), "tanh: its row has no forward");
    op = *op_named("tanh"), op.outputs = 99;
    report_is(__LINE__, wf_op_check(&op, NULL),
              "tanh: its row has 99 outputs and 0 hidden ones; 1 to 16 can be");
    op = *op_named("tanh"), op.outputs = INT32_MAX, op.hidden = INT32_MAX;
    report_is(__LINE__, wf_op_check(&op, NULL), NULL);
    op = *op_named("tanh"), op.attr_size = -1;
    report_is(__LINE__, wf_op_check(&op, NULL), NULL);
    op = *op_named("tanh"), op.inputs = 2;
    report_is(__LINE__, wf_op_check(&op, NULL), NULL);
    report_is(__LINE__, wf_gradcheck(negates, NULL, 1, NULL, NULL), NULL);
    report_is(__LINE__, wf_gradcheck(negates, NULL, -1, &in, NULL), NULL);
    report_is(__LINE__, wf_gradcheck(gives_too_many, NULL, 1, &in, NULL),
              "gradcheck: the function gave 9 outputs; 1 to 8 can be");
    report_is(__LINE__, wf_gradcheck(gives_null, NULL, 1, &in, NULL),
              "gradcheck: output 0 was never made (NULL)");
    report_is(__LINE__, wf_gradcheck(gives_up, NULL, 1, &in, NULL), NULL);
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
