/* Interpolation ends where it should: at a for c = 0 and at b for c = 1, bit for bit, however the
 * operands lie, in the gated cells and in the optimisers that are made of it. */
#include "tests/fixture.h"

#include <weft.h>

#include <math.h>
#include <string.h>

enum { PAIRS = 20000 };

/* Numbers of every size: most of the range of a float's exponents, both signs, zeros and the ends
 * of the range. */
static double number(uint64_t key, int64_t i)
{
    static const double corner[] = {
        0.0, -0.0, 1, -1, 1e8, (double)0x1.fffffep127f, -(double)0x1.fffffep127f, 0x1p-126
    };
    const int64_t which = wf_random_below(key, (uint64_t)i, 12);
    if (which < 8) {
        const int64_t exponent = wf_random_below(key + 1, (uint64_t)i, 60) - 30;
        return (double)(float)ldexp(wf_random_uniform(key + 2, (uint64_t)i) * 2 - 1, (int)exponent);
    }
    return corner[wf_random_below(key + 3, (uint64_t)i, 8)];
}

/* The pairs as (n, 2), or as a view whose neighbours lie apart. */
static wf_var *numbers(wf_tape *t, wf_dtype dtype, uint64_t key, bool apart)
{
    wf_var *x = wf_leaf(t, dtype, apart ? WF_SHAPE(2, PAIRS) : WF_SHAPE(PAIRS, 2), NULL);
    const wf_tensor *at = wf_value(x);
    for (int64_t i = 0; i < 2 * PAIRS; i++) {
        if (dtype == WF_F32)
            ((float *)at->data)[i] = (float)number(key, i);
        else
            ((double *)at->data)[i] = number(key, i);
    }
    return apart ? wf_transpose(t, x, 0, 1) : x;
}

static bool same_bits(const wf_var *x, const wf_var *y, int64_t i)
{
    const double p = wf_at(x, i), q = wf_at(y, i);
    return memcmp(&p, &q, sizeof p) == 0;
}

TEST_EACH(the_ends_of_an_interpolation_are_its_operands_bit_for_bit, 8)
{
    const wf_dtype dtype = _i & 1 ? WF_F64 : WF_F32;
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *a = numbers(t, dtype, 1, _i & 2), *b = numbers(t, dtype, 7, _i & 4);
    wf_var *zero = wf_zeros(t, dtype, _i & 4 ? WF_SCALAR : wf_shape_of(a));
    wf_var *one = wf_full(t, dtype, _i & 2 ? WF_SHAPE(PAIRS, 1) : wf_shape_of(a), 1);
    wf_var *from = wf_lerp(t, a, b, zero), *to = wf_lerp(t, a, b, one);
    ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
    for (int64_t i = 0; i < wf_count(a); i++) {
        ck_assert_msg(same_bits(from, a, i), "from %a to %a begins at %a", wf_at(a, i), wf_at(b, i),
                      wf_at(from, i));
        ck_assert_msg(same_bits(to, b, i), "from %a to %a ends at %a", wf_at(a, i), wf_at(b, i),
                      wf_at(to, i));
    }
}

TEST_EACH(between_its_ends_an_interpolation_stays_between_them_and_of_equals_is_the_same, 2)
{
    const wf_dtype dtype = _i & 1 ? WF_F64 : WF_F32;
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *a = numbers(t, dtype, 1, false), *b = numbers(t, dtype, 7, false);
    wf_var *before = NULL;
    for (int k = 0; k <= 16; k++) {
        wf_var *c = wf_full(t, dtype, WF_SCALAR, k / 16.0);
        wf_var *y = wf_lerp(t, a, b, c), *same = wf_lerp(t, a, a, c);
        for (int64_t i = 0; i < wf_count(a); i++) {
            const double p = wf_at(a, i), q = wf_at(b, i), got = wf_at(y, i);
            ck_assert_msg(got >= fmin(p, q) && got <= fmax(p, q), "%a of %a and %a is %a", k / 16.0,
                          p, q, got);
            ck_assert(wf_at(same, i) == p);
            /* The interpolation does not turn back on the way. */
            if (k > 0 && p < q) ck_assert(got >= wf_at(before, i));
            if (k > 0 && p > q) ck_assert(got <= wf_at(before, i));
        }
        before = y;
    }
}

TEST(infinite_ends_are_reached_and_nan_is_not_hidden)
{
    static const struct {
        double a, b, c, want;
    } cases[] = {
        { 1, INFINITY, 0, 1 },
        { 1, INFINITY, 0.25, INFINITY },
        { 1, INFINITY, 0.75, INFINITY },
        { 1, INFINITY, 1, INFINITY },
        { -INFINITY, 2, 0, -INFINITY },
        { -INFINITY, 2, 0.25, -INFINITY },
        { -INFINITY, 2, 0.75, -INFINITY },
        { -INFINITY, 2, 1, 2 },
        { INFINITY, INFINITY, 0.5, INFINITY },
        { INFINITY, -INFINITY, 0.5, NAN },
        { INFINITY, -INFINITY, 1, -INFINITY },
        { NAN, 1, 1, NAN },
        { 1, NAN, 0, NAN },
        { 1, 2, NAN, NAN },
        { 3, 3, 0.3, 3 },
        { 1e8, 1, 1, 1 },
    };
    for (int d = 0; d < 2; d++) {
        OWN(wf_tape) *t = wf_tape_new(NULL);
        const wf_dtype dtype = d ? WF_F64 : WF_F32;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const double got = wf_item(wf_lerp(t, wf_full(t, dtype, WF_SCALAR, cases[i].a),
                                               wf_full(t, dtype, WF_SCALAR, cases[i].b),
                                               wf_full(t, dtype, WF_SCALAR, cases[i].c)));
            ck_assert_msg(isnan(cases[i].want) ? isnan(got) : got == cases[i].want,
                          "%g of %g and %g is %g, not %g", cases[i].c, cases[i].a, cases[i].b, got,
                          cases[i].want);
        }
    }
}

/* An update gate that is shut or open: what the state was, or what it would be without it. */
TEST(a_gru_whose_gate_is_one_keeps_its_state_and_whose_gate_is_zero_takes_the_new_one)
{
    enum { B = 3, H = 5, I = 2 };
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 3 });
    wf_rnn *rnn = wf_gru_new(net, "rnn", &(wf_rnn_options){ .input = I, .hidden = H });
    wf_var *bias = wf_module_param_find(net, "rnn.bias_ih_l0");
    wf_var *back = wf_module_param_find(net, "rnn.weight_hh_l0");
    ck_assert(bias && back);
    wf_tensor_fill(wf_param_value(back), 0); /* the state decides no gate */
    wf_param_changed(back);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int open = 0; open < 2; open++) {
        float *b = wf_param_value(bias)->data;
        for (int i = 0; i < H; i++) b[H + i] = open ? -200 : 200; /* z */
        wf_param_changed(bias);
        wf_tape_reset(t);
        float start[B * H], x[4 * B * I];
        for (int i = 0; i < B * H; i++) start[i] = 1e8f + (float)i * 8;
        for (int i = 0; i < 4 * B * I; i++) x[i] = 0.1f * (float)i;
        wf_var *h[] = { wf_constant(t, WF_F32, WF_SHAPE(1, B, H), start) };
        wf_var *last[1];
        wf_var *in = wf_constant(t, WF_F32, WF_SHAPE(4, B, I), x);
        wf_var *y = wf_rnn_forward(t, rnn, in, &(wf_rnn_call){ .initial = h, .final = last });
        ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
        ck_assert_int_eq(wf_count(y), 4 * B * H);
        for (int i = 0; i < B * H; i++) {
            if (!open)
                ck_assert(wf_at(last[0], i) == (double)start[i]);
            else
                ck_assert(fabs(wf_at(last[0], i)) <= 1);
        }
    }
}

/* beta1 = 0 and alpha = 0: the mean of gradients is the last one. */
TEST(a_mean_of_gradients_that_forgets_at_once_is_the_gradient)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_var *p = wf_param_new(net, "p", WF_SHAPE(2, PAIRS), (wf_init){ .kind = WF_INIT_ZERO });
    wf_adam_options o = wf_adam_defaults();
    o.beta1 = 0;
    OWN(wf_optim) *adam = wf_adam_new(net, &o);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (uint64_t step = 0; step < 3; step++) {
        static float g[2 * PAIRS];
        for (int64_t i = 0; i < 2 * PAIRS; i++) {
            const double x = number(11 * step + 5, i);
            g[i] = (float)(fabs(x) > 1e15 ? 1 : x);
        }
        wf_tape_reset(t);
        wf_var *by = wf_constant(t, WF_F32, WF_SHAPE(2, PAIRS), g);
        ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, p, by), NULL)));
        ck_assert(wf_optim_step(adam));
        for (int64_t i = 0; i < 2 * PAIRS; i++)
            ck_assert(wf_tensor_at(wf_optim_state(adam, 0, 0), i) == (double)g[i]);
    }
}
