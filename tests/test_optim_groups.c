/* Who moves, and how: frozen parameters and modules, two optimisers on one tree, and groups with
 * options of their own under one optimiser and one clip. */
#include "tests/rules.h"

#include <math.h>

/* ---- freezing ---- */

TEST(a_frozen_parameter_gets_no_gradient_and_the_others_theirs)
{
    OWN(wf_module) *net = module_of(WF_F64);
    wf_var *p = param_of(net, "p", 3), *q = param_of(net, "q", 3);
    set_number(p, 2);
    set_number(q, 5);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    give_number(t, p, 100);
    wf_param_freeze(p, true);
    ck_assert(wf_param_frozen(p) && !wf_param_frozen(q));
    ck_assert_ptr_null(wf_param_grad(p)); /* what it had is cleared */
    for (int again = 0; again < 2; again++) {
        wf_tape_reset(t);
        wf_var *square = wf_mul(t, p, p); /* leads to nothing that moves: not even recorded */
        ck_assert_int_eq(wf_tape_nodes(t), 0);
        ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, square, q), NULL)));
        ck_assert_ptr_null(wf_param_grad(p));
        ck_assert_double_eq(wf_tensor_at(wf_param_grad(q), 1), 4 * (again + 1));
    }
    wf_param_freeze(p, false);
    wf_tape_reset(t);
    ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, p, q), NULL)));
    ck_assert_double_eq(wf_tensor_at(wf_param_grad(p), 2), 5);
}

TEST(a_module_freezes_all_it_has_and_what_is_made_later_begins_thawed)
{
    OWN(wf_module) *net = module_of(WF_F32);
    wf_module *body = wf_module_child(net, "body"), *inner = wf_module_child(body, "inner");
    wf_var *p = param_of(net, "p", 1), *q = param_of(body, "q", 2), *r = param_of(inner, "r", 3);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    give_number(t, r, 1);
    wf_module_freeze(body, true);
    ck_assert(!wf_param_frozen(p) && wf_param_frozen(q) && wf_param_frozen(r));
    ck_assert_ptr_null(wf_param_grad(r));
    wf_var *late = param_of(inner, "late", 1);
    ck_assert(!wf_param_frozen(late));
    wf_module_freeze(net, false);
    ck_assert(!wf_param_frozen(q) && !wf_param_frozen(r));
}

TEST(those_of_a_name_freeze_by_patterns_of_paths_as_the_module_sees_them)
{
    OWN(wf_module) *net = module_of(WF_F32);
    wf_module *body = wf_module_child(net, "몸");
    wf_var *p = param_of(net, "q", 1), *q = param_of(body, "q", 2), *r = param_of(body, "ra", 3);
    ck_assert_int_eq(wf_module_freeze_named(net, "q", true), 1);
    ck_assert(wf_param_frozen(p) && !wf_param_frozen(q) && !wf_param_frozen(r));
    ck_assert_int_eq(wf_module_freeze_named(body, "q", true), 1);
    ck_assert(wf_param_frozen(q) && !wf_param_frozen(r));
    ck_assert_int_eq(wf_module_freeze_named(net, "*q", false), 2);
    ck_assert(!wf_param_frozen(p) && !wf_param_frozen(q));
    ck_assert_int_eq(wf_module_freeze_named(net, "?.r*", true), 1); /* ? is a letter, not a byte */
    ck_assert(wf_param_frozen(r));
    ck_assert_int_eq(wf_module_freeze_named(net, "몸", true), 0);
    ck_assert_int_eq(wf_module_freeze_named(net, "", true), 0);
    ck_assert(wf_path_matches("a*b*c", "axxbyybzc") && !wf_path_matches("a*b*c", "axxbyybz"));
    ck_assert(wf_path_matches("*", "") && !wf_path_matches("?", "") && wf_path_matches("**", "몸"));
}

TEST(a_modules_gradients_are_cleared_and_no_others)
{
    OWN(wf_module) *net = module_of(WF_F32);
    wf_module *body = wf_module_child(net, "body");
    wf_var *p = param_of(net, "p", 1), *q = param_of(body, "q", 2);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    give_number(t, p, 1);
    give_number(t, q, 1);
    wf_module_clear_grads(body);
    ck_assert_ptr_null(wf_param_grad(q));
    ck_assert_ptr_nonnull(wf_param_grad(p));
    wf_module_clear_grads(net);
    ck_assert_ptr_null(wf_param_grad(p));
}

TEST(what_a_parameter_is_when_it_enters_a_tape_it_stays_there)
{
    OWN(wf_module) *net = module_of(WF_F64);
    wf_var *p = param_of(net, "p", 1), *q = param_of(net, "q", 1);
    set_number(p, 3);
    set_number(q, 4);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .defer_commit = true });
    /* Frozen after it entered, before or after the sweep: no gradient is committed, not even when
     * its value was changed meanwhile. */
    for (int late = 0; late < 2; late++) {
        wf_tape_reset(t);
        wf_param_freeze(p, false);
        wf_var *loss = wf_sum(t, wf_mul(t, p, q), NULL);
        if (!late) wf_param_freeze(p, true);
        ck_assert(wf_backward(t, loss));
        if (late) {
            wf_param_freeze(p, true);
            wf_param_changed(p);
        }
        ck_assert_msg(wf_tape_commit(t), "%s", wf_tape_error(t));
        ck_assert_ptr_null(wf_param_grad(p));
        ck_assert_double_eq(wf_tensor_at(wf_param_grad(q), 0), 3 * (late + 1));
    }
    /* Thawed after it entered: a constant until the reset, at every use. */
    wf_tape_reset(t);
    wf_var *first = wf_mul(t, p, q);
    wf_param_freeze(p, false);
    ck_assert(wf_backward(t, wf_sum(t, wf_add(t, first, wf_mul(t, p, q)), NULL)));
    ck_assert(wf_tape_commit(t));
    ck_assert_ptr_null(wf_param_grad(p));
    wf_tape_reset(t);
    ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, p, q), NULL)) && wf_tape_commit(t));
    ck_assert_double_eq(wf_tensor_at(wf_param_grad(p), 0), 4);
}

TEST(what_is_asked_of_a_frozen_parameter_by_name_is_refused_by_name)
{
    OWN(wf_module) *net = module_of(WF_F64);
    wf_var *p = param_of(net, "p", 1), *q = param_of(net, "q", 1), *grad[2];
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_module_freeze(net, true);
    ck_assert(!wf_backward(t, wf_sum(t, wf_mul(t, p, q), NULL)));
    ck_assert_str_eq(wf_tape_error(t),
                     "backward: no parameter led here, and no var that wf_keep_grad named");
    wf_tape_reset(t);
    ck_assert(!wf_keep_grad(t, p));
    ck_assert_str_eq(wf_tape_error(t), "keep_grad: 'p' is frozen, so that it has no gradient");
    wf_tape_reset(t);
    wf_param_freeze(q, false);
    wf_var *loss = wf_sum(t, wf_mul(t, p, q), NULL);
    ck_assert(!wf_grad(t, 1, &loss, NULL, 2, (wf_var *[]){ q, p }, grad, NULL));
    ck_assert_str_eq(wf_tape_error(t), "grad: wrt 1: 'p' is frozen, so that it has no gradient");
}

/* An embedding, a recurrent layer and a head; a loss over three steps of two sequences. */
typedef struct stack {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *rnn;
    wf_linear *head;
} stack;

static void free_stack(stack *s)
{
    wf_module_free(s->net);
}

static stack stack_of(int cell)
{
    stack s = { .net = module_of(WF_F64) };
    wf_rnn_options size = { .input = 3, .hidden = 4, .layers = 2, .bidirectional = true };
    s.embed = wf_embedding_new(s.net, "embed", &(wf_embedding_options){ .input = 5, .output = 3 });
    s.rnn = cell == 0 ? wf_lstm_new(s.net, "rnn", &size) : wf_gru_new(s.net, "rnn", &size);
    s.head = wf_linear_new(s.net, "head", &(wf_linear_options){ .input = 8, .output = 5 });
    ck_assert(wf_module_ok(s.net, NULL));
    return s;
}

static void stack_sweep(wf_tape *t, const stack *s)
{
    int32_t ids[8] = { 1, 4, 0, 2, 2, 3, 1, 0 };
    wf_tensor in = wf_tensor_of(WF_I32, WF_SHAPE(3, 2), ids),
              out = wf_tensor_of(WF_I32, WF_SHAPE(3, 2), ids + 2);
    wf_tape_reset(t);
    wf_var *h = wf_rnn_forward(t, s->rnn,
                               wf_embedding_forward(t, s->embed, wf_constant_tensor(t, &in)), NULL);
    wf_var *loss = wf_cross_entropy(t, wf_linear_forward(t, s->head, h), &out);
    ck_assert_msg(wf_backward(t, loss), "%s", wf_tape_error(t));
}

TEST_EACH(a_frozen_layer_changes_no_other_layers_gradient, 6)
{
    /* _i: the cell, and which of the three is frozen. */
    OWN(stack) plain = stack_of(_i / 3), cold = stack_of(_i / 3);
    wf_module *frozen[3] = { cold.embed->module, wf_rnn_module(cold.rnn), cold.head->module };
    wf_module_freeze(frozen[_i % 3], true);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    stack_sweep(t, &plain);
    stack_sweep(t, &cold);
    int64_t quiet = 0, n = wf_module_param_count(plain.net);
    for (int64_t i = 0; i < n; i++) {
        const wf_var *p = wf_module_param_at(cold.net, i);
        const wf_tensor *want = wf_param_grad(wf_module_param_at(plain.net, i));
        const wf_tensor *got = wf_param_grad(p);
        quiet += got == NULL;
        ck_assert_int_eq(got == NULL, wf_param_frozen(p));
        for (int64_t k = 0; got && k < wf_tensor_count(got); k++)
            ck_assert_double_eq_tol(wf_tensor_at(got, k), wf_tensor_at(want, k), 1e-13);
    }
    ck_assert_int_eq(quiet, wf_module_param_count(frozen[_i % 3]));
}

/* ---- two optimisers ---- */

typedef enum manner { CLEARS, FREEZES, NEITHER } manner;

TEST_EACH(a_generator_and_its_critic_move_as_in_pytorch, 3)
{
    /* PyTorch's sequence, with CLEARS:
     *     d.zero_grad(); ((w * p.detach() - 2 * w) ** 2).backward(); d.step()
     *     g.zero_grad(); ((w * p - 1) ** 2).backward(); g.step()
     * With FREEZES, w.requires_grad_(False) during the generator's step instead of d.zero_grad().
     * With NEITHER, what the generator's loss leaves at w is part of the critic's next step. */
    OWN(wf_module) *net = module_of(WF_F64);
    wf_module *generator = wf_module_child(net, "generator");
    wf_module *critic = wf_module_child(net, "critic");
    wf_var *p = param_of(generator, "p", 1), *w = param_of(critic, "w", 1);
    OWN(wf_optim) *g = optimiser_with(generator, "sgd", "lr 0.125");
    OWN(wf_optim) *d = optimiser_with(critic, "sgd", "lr 0.0625, momentum 0.5");
    OWN(wf_tape) *t = wf_tape_new(NULL);
    set_number(p, 0.75);
    set_number(w, 0.5);
    double pp = 0.75, ww = 0.5, buffer = 0, stray = 0;
    for (int step = 0; step < 4; step++) {
        if (_i == CLEARS) wf_optim_clear(d);
        wf_tape_reset(t);
        wf_var *x = wf_mul(t, w, wf_add_scalar(t, wf_detach(t, p), -2));
        ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, x, x), NULL)));
        ck_assert(wf_optim_step(d));
        if (_i == CLEARS) wf_optim_clear(g);
        if (_i == FREEZES) wf_module_freeze(critic, true);
        wf_tape_reset(t);
        wf_var *y = wf_add_scalar(t, wf_mul(t, w, p), -1);
        ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, y, y), NULL)));
        ck_assert(wf_optim_step(g));
        if (_i == FREEZES) wf_module_freeze(critic, false);

        double slope = 2 * ww * (pp - 2) * (pp - 2) + (_i == NEITHER ? stray : 0);
        buffer = 0.5 * buffer + slope;
        ww -= 0.0625 * buffer;
        stray = 2 * (ww * pp - 1) * pp;
        pp -= 0.125 * 2 * (ww * pp - 1) * ww;
        ck_assert_double_eq_tol(wf_at(w, 0), ww, 1e-15);
        ck_assert_double_eq_tol(wf_at(p, 0), pp, 1e-15);
    }
}

/* ---- groups ---- */

static wf_module *halves(wf_dtype dtype, wf_module *half[2], wf_var *p[4])
{
    wf_module *net = module_of(dtype);
    half[0] = wf_module_child(net, "left");
    half[1] = wf_module_child(net, "right");
    for (int k = 0; k < 4; k++)
        p[k] = param_of(half[k / 2], k % 2 ? "bias" : "weight", 5 + 4093 * k);
    return net;
}

/* Another value for an option: flags go off, numbers are halved, and what was 0 and needs no buffer
 * is one half. Options are changed from the last on: Nesterov goes before its momentum. */
static double other_value(const wf_optim_option *option, double now)
{
    if (option->flag) return 0;
    return now != 0 ? now / 2 : option->state ? 0 : 0.5;
}

TEST_EACH(a_group_moves_as_under_an_optimiser_of_its_own, 2 * KINDS)
{
    const struct kind kind = kind_at(_i / 2);
    wf_dtype dtype = _i % 2 ? WF_F64 : WF_F32;
    wf_module *half[2], *half_alone[2];
    wf_var *p[4], *alone[4];
    OWN(wf_module) *net = halves(dtype, half, p), *apart = halves(dtype, half_alone, alone);
    OWN(wf_optim) *one = optimiser_with(net, kind.rule, kind.options);
    ck_assert_int_eq(wf_optim_group(one, "right.*"), 1);
    OWN(wf_optim) *left = optimiser_with(half_alone[0], kind.rule, kind.options);
    OWN(wf_optim) *right = optimiser_with(half_alone[1], kind.rule, kind.options);
    const wf_optim_option *options = wf_optim_rule_of(one)->options;
    int count = 0;
    while (options[count].name) count++;
    ck_assert(wf_optim_set(one, 1, "lr", 0.25) && wf_optim_set(right, 0, "lr", 0.25));
    while (count-- > 0) {
        const char *name = options[count].name;
        double value = other_value(&options[count], wf_optim_get(one, 1, name));
        ck_assert(wf_optim_set(one, 1, name, value));
        ck_assert_double_eq(wf_optim_get(one, 1, name), value);
        ck_assert(wf_optim_set(right, 0, name, value));
    }
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (uint64_t step = 0; step < 4; step++) {
        for (uint64_t k = 0; k < 4; k++) {
            give_grad(t, p[k], 4 * step + k);
            give_grad(t, alone[k], 4 * step + k);
        }
        ck_assert(wf_optim_step(one) && wf_optim_step(left) && wf_optim_step(right));
    }
    for (int k = 0; k < 4; k++)
        ck_assert_uint_eq(hash_tensor(HASH, wf_value(p[k])), hash_tensor(HASH, wf_value(alone[k])));
}

TEST_EACH(options_that_are_off_in_a_group_move_it_as_options_never_on, 6)
{
    /* A group whose momentum, centering or amsgrad is off has the buffers and does not use them. */
    static const struct {
        const char *rule, *on, *off, *never;
    } cases[] = {
        { "sgd", "momentum 0.9", "momentum", "" },
        { "rmsprop", "momentum 0.9", "momentum", "" },
        { "rmsprop", "centered 1", "centered", "" },
        { "rmsprop", "momentum 0.9, centered 1", "centered", "momentum 0.9" },
        { "rmsprop", "momentum 0.9, centered 1", "momentum", "centered 1" },
        { "adam", "amsgrad 1", "amsgrad", "" },
    };
    OWN(fixture) a = fixture_with(WF_F64, 7, 0, cases[_i].rule, cases[_i].on);
    OWN(fixture) b = fixture_with(WF_F64, 7, 0, cases[_i].rule, cases[_i].never);
    ck_assert_int_eq(wf_optim_group(a.optim, "p"), 1);
    ck_assert(wf_optim_set(a.optim, 1, cases[_i].off, 0));
    for (uint64_t step = 0; step < 4; step++) {
        give_grad(a.t, a.p, step);
        give_grad(b.t, b.p, step);
        ck_assert(wf_optim_step(a.optim) && wf_optim_step(b.optim));
    }
    ck_assert_mem_eq(wf_data(a.p), wf_data(b.p), 7 * sizeof(double));
}

TEST(patterns_match_whole_paths_as_the_optimiser_sees_them)
{
    static const struct {
        const char *pattern;
        int matched; /* bits: enc.weight, enc.lstm.bias_hh_l0, enc.한글.w, dec.bias */
    } cases[] = {
        { "*", 15 },      { "*.*", 15 },     { "enc.*", 7 },    { "*bias*", 10 },
        { "*.bias", 8 },  { "dec.bias", 8 }, { "enc.*.*", 6 },  { "enc.??.w", 4 },
        { "*?.w", 4 },    { "enc.한*", 4 },  { "*.w", 4 },      { "*w*", 5 },
        { "**eight", 1 }, { "*_?h_l?", 2 },  { "e*c.*t*0", 2 }, { "???.bias", 8 },
    };
    static const char *const none[] = {
        "",         "enc",       "bias", "enc.???.w", "enc.?????????.w",
        "?.한글.w", "net.enc.*", "*x",   "dec.bias?", "dec.bias.*"
    };
    wf_module *net = module_of(WF_F32), *top = wf_module_child(net, "top");
    wf_module *enc = wf_module_child(top, "enc"), *dec = wf_module_child(top, "dec");
    param_of(enc, "weight", 1);
    param_of(wf_module_child(enc, "lstm"), "bias_hh_l0", 1);
    param_of(wf_module_child(enc, "한글"), "w", 1);
    param_of(dec, "bias", 1);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        OWN(wf_optim) *optim = wf_sgd_new(top, NULL);
        ck_assert_int_eq(wf_optim_group(optim, cases[k].pattern), 1);
        for (int i = 0; i < 4; i++)
            ck_assert_msg(wf_optim_group_of(optim, i) == (cases[k].matched >> i & 1), "%s: %d",
                          cases[k].pattern, i);
    }
    OWN(wf_optim) *optim = wf_sgd_new(top, NULL);
    for (size_t k = 0; k < sizeof none / sizeof *none; k++)
        ck_assert_msg(wf_optim_group(optim, none[k]) == -1, "%s", none[k]);
    ck_assert_int_eq(wf_optim_groups(optim), 1);
    wf_error e = { "" };
    ck_assert(!wf_module_ok(net, &e));
    ck_assert_str_eq(e.text, "sgd: no parameter matches ''; the first of 4 is 'enc.weight'");
    wf_module_free(net);
}

TEST(rates_are_set_for_one_group_or_for_all_and_clipping_is_joint)
{
    wf_module *half[2];
    wf_var *p[4];
    OWN(wf_module) *net = halves(WF_F64, half, p);
    OWN(wf_optim) *optim = wf_sgd_new(net, NULL);
    ck_assert_int_eq(wf_optim_group(optim, "*.bias"), 1);
    ck_assert_int_eq(wf_optim_group(optim, "left.weight"), 2);
    ck_assert_int_eq(wf_optim_groups(optim), 3);
    ck_assert(wf_optim_set(optim, 1, "lr", 0.5) && wf_optim_set(optim, 2, "lr", 0));
    ck_assert_double_eq(wf_optim_lr(optim), 1e-3);
    ck_assert_double_eq(wf_optim_get(optim, 1, "lr"), 0.5);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double before[4];
    for (int k = 0; k < 4; k++) {
        before[k] = wf_at(p[k], 3);
        give_number(t, p[k], 1);
    }
    double norm = sqrt(4 * 5 + 4093 * 6);
    ck_assert_double_eq_tol(wf_optim_clip_norm(optim, 1), norm, 1e-9);
    ck_assert(wf_optim_step(optim));
    const double rate[4] = { 0, 0.5, 1e-3, 0.5 };
    for (int k = 0; k < 4; k++)
        ck_assert_double_eq_tol(before[k] - wf_at(p[k], 3), rate[k] / norm, 1e-8);
    wf_optim_set_lr(optim, 0.125);
    for (int g = 0; g < 3; g++) ck_assert_double_eq(wf_optim_get(optim, g, "lr"), 0.125);
}

TEST(a_group_that_finds_no_memory_leaves_the_optimiser_as_it_was)
{
    int64_t needed = 0;
    for (int64_t k = 1; needed == 0 && k < 50; k++) {
        wf_module *half[2];
        wf_var *p[4];
        wf_module *net = halves(WF_F32, half, p);
        wf_optim *adam = wf_adam_new(net, NULL);
        wf_error e = { "" };
        int64_t asked = heap.asked;
        heap.fail_at = asked + k;
        int group = wf_optim_group(adam, "left.*");
        heap.fail_at = 0;
        if (group == 1) {
            needed = k - 1;
        } else {
            ck_assert(!wf_module_ok(net, &e));
            ck_assert_str_eq(e.text, "adam: out of memory for group 'left.*'");
            ck_assert_int_eq(wf_optim_groups(adam), 1);
            ck_assert_int_eq(wf_optim_group_of(adam, 0), 0);
        }
        wf_optim_free(adam);
        wf_module_free(net);
        ck_assert_int_eq(heap.live, 0);
    }
    ck_assert_int_ge(needed, 2);
}

/* ---- options of a rule of one's own ---- */

typedef struct pull_options {
    bool odd; /* before the double, so that the options have a hole */
    double pull;
} pull_options;

static void pull(const wf_optim_call *c)
{
    const pull_options *o = c->options;
    double *value = c->value;
    const double *grad = c->grad;
    for (int64_t i = 0; i < c->n; i++)
        value[i] = (o->odd ? -value[i] : value[i]) * (1 - o->pull) - c->lr * grad[i];
}

static bool pull_check(const wf_optim_rule *rule, const void *options, wf_error *error)
{
    const pull_options *o = options;
    if (!o->odd || o->pull < 0.5) return true;
    return wf_error_set(error, "%s: .odd wants a .pull below 0.5; it is %g", rule->name, o->pull);
}

static const wf_optim_option pull_table[] = {
    { .name = "pull", .offset = offsetof(pull_options, pull), .least = 0, .below = 1 },
    { .name = "odd", .offset = offsetof(pull_options, odd), .flag = true },
    { .name = NULL },
};
static const wf_optim_rule pull_rule = {
    .name = "pull",
    .options_size = sizeof(pull_options),
    .options = pull_table,
    .check = pull_check,
    .update = pull,
};

TEST(a_rule_of_ones_own_has_named_options_checks_and_groups_too)
{
    wf_module *half[2];
    wf_var *p[4];
    OWN(wf_module) *net = halves(WF_F64, half, p);
    OWN(wf_optim) *optim = wf_optim_new(net, &pull_rule, 0.5, &(pull_options){ .pull = 0.25 });
    ck_assert_int_eq(wf_optim_group(optim, "right.*"), 1);
    ck_assert(wf_optim_set(optim, 1, "odd", 1));
    ck_assert(!wf_optim_set(optim, 1, "pull", 0.75));
    ck_assert_str_eq(log_kept.text,
                     "pull: .odd wants a .pull below 0.5; it is 0.75, and nothing was changed");
    ck_assert(!wf_optim_set(optim, 1, "pull", 1));
    ck_assert_str_eq(log_kept.text,
                     "pull: .pull is 1; it must be in [0, 1), and nothing was changed");
    ck_assert(wf_optim_set(optim, 0, "pull", 0.75));
    ck_assert_double_eq(wf_optim_get(optim, 1, "pull"), 0.25);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double before[4];
    for (int k = 0; k < 4; k++) {
        before[k] = wf_at(p[k], 2);
        give_number(t, p[k], 1);
    }
    ck_assert(wf_optim_step(optim));
    for (int k = 0; k < 4; k++)
        ck_assert_double_eq(wf_at(p[k], 2), before[k] * (k < 2 ? 0.25 : -0.75) - 0.5);
    ck_assert_ptr_null(wf_optim_new(net, &pull_rule, 1, &(pull_options){ .pull = 1 }));
    wf_error e = { "" };
    ck_assert(!wf_module_ok(net, &e));
    ck_assert_str_eq(e.text, "pull: .pull is 1; it must be in [0, 1)");
}
