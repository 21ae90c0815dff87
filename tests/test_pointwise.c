/* Pointwise ops of a user's own, each a line, and the kernels on tiles that lines become. */
#include "autograd/pointwise.h"
#include "tensor/par.h"
#include "tests/fixture.h"

#include <math.h>
#include <string.h>

WF_POINTWISE_1(swish, "a sigmoid(a)", a * SIGMOID(a), g * SIGMOID(a) * (R(1) + a * SIGMOID(-a)),
               wf_mul(t, G, wf_mul(t, wf_sigmoid(t, A),
                                   wf_add_scalar(t, wf_mul(t, A, wf_sigmoid(t, wf_neg(t, A))), 1))),
               READS_A, -2, 2, 0)
WF_POINTWISE_1(mine, "every word of one number",
               EXP(a) + LOG(a) + TANH(a) + SIGMOID(a) + LOG1P(a) + EXPM1(a) + SOFTPLUS(a) +
                   SQRT(a) + SIN(a) + COS(a) + POW(a, R(2)) + ABS(a),
               g, G, READS_NONE, 0.3, 2, 0)
WF_POINTWISE_S(leaky, "a, below 0 a s", a < 0 ? a * s : a, a < 0 ? g * s : g,
               wf_where(t, wf_less(t, A, ZERO), wf_mul_scalar(t, G, s), G), READS_A, -2, 2, 0.1,
               0.2)
WF_POINTWISE_2(gate, "a sigmoid(b)", a * SIGMOID(b), g * SIGMOID(b),
               g * a * SIGMOID(b) * SIGMOID(-b), wf_mul(t, G, wf_sigmoid(t, B)),
               wf_mul(t, wf_mul(t, G, A), wf_mul(t, wf_sigmoid(t, B), wf_sigmoid(t, wf_neg(t, B)))),
               READS_A | READS_B, -2, 2, 0)
WF_POINTWISE_3(muladd, "a b + c", a * b + c, g * b, g * a, g, wf_mul(t, G, B), wf_mul(t, G, A), G,
               READS_A | READS_B, -2, 2, 0)
/* tanh again, which has a twin in the library. */
WF_POINTWISE_1(twin, "hyperbolic tangent of a", TANH(a), g * (R(1) - y * y),
               wf_mul(t, G, wf_rsub_scalar(t, wf_square(t, Y), 1)), READS_Y, -2, 2, 0)
/* Wrong: the derivative's value, its graph, and what it is said to read. */
WF_POINTWISE_1(wrong_value, "a a", a * a, g * a, wf_mul(t, G, wf_mul_scalar(t, A, 2)), READS_A, -2,
               2, 0)
WF_POINTWISE_1(wrong_graph, "a a", a * a, g * (a + a), wf_mul(t, G, A), READS_A, -2, 2, 0)
WF_POINTWISE_1(wrong_reads, "a a", a * a, g * (a + a), wf_mul(t, G, wf_mul_scalar(t, A, 2)),
               READS_NONE, -2, 2, 0)

static const wf_op *const right[] = { &swish_row, &leaky_row, &gate_row, &muladd_row, &twin_row },
                          *const wrong[] = { &wrong_value_row, &wrong_graph_row, &wrong_reads_row };

TEST_EACH(a_line_is_an_op_that_the_checker_proves, sizeof right / sizeof *right)
{
    const wf_report r = wf_op_check(right[_i], NULL);
    ck_assert_msg(r.ok && r.checked > 1000, "%s", r.text);
}

TEST_EACH(a_line_with_a_wrong_derivative_is_caught, sizeof wrong / sizeof *wrong)
{
    const wf_report r = wf_op_check(wrong[_i], NULL);
    ck_assert_msg(!r.ok && strstr(r.text, wrong[_i]->name), "%s", r.text);
}

TEST(a_line_has_the_bits_of_the_same_line_in_the_library)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        for (int turned = 0; turned < 2; turned++) {
            wf_tape_reset(t);
            wf_var *x = drawn(t, (wf_dtype)dtype, WF_SHAPE(331, 313), 1, -3, 3), *y[2], *g[2];
            if (turned) x = wf_transpose(t, x, 0, 1);
            y[0] = wf_tanh(t, x), y[1] = twin(t, x);
            for (int i = 0; i < 2; i++)
                ck_assert(wf_grad(t, 1, &y[i], (wf_var *[]){ wf_mul(t, y[i], x) }, 1, &x, &g[i],
                                  NULL));
            ck_assert(hash_tensor(HASH, wf_value(y[0])) == hash_tensor(HASH, wf_value(y[1])));
            ck_assert(hash_tensor(HASH, wf_value(g[0])) == hash_tensor(HASH, wf_value(g[1])));
        }
    }
}

TEST(every_word_is_its_function_in_either_dtype)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const double x = 0.75, want = exp(x) + log(x) + tanh(x) + 1 / (1 + exp(-x)) + log1p(x) +
                                  expm1(x) + log1p(exp(x)) + sqrt(x) + sin(x) + cos(x) + x * x + x;
    ck_assert(fabs(wf_item(mine(t, wf_full(t, WF_F64, WF_SCALAR, x))) / want - 1) < 1e-15);
    ck_assert(fabs(wf_item(mine(t, wf_full(t, WF_F32, WF_SCALAR, x))) / want - 1) < 3e-7);
}

TEST(what_a_line_does_not_take_it_refuses_by_its_name)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *ids = wf_zeros(t, WF_I32, WF_SHAPE(2)), *x = wf_zeros(t, WF_F32, WF_SHAPE(2));
    ck_assert(!swish(t, ids));
    assert_fails(t, "swish: takes f32 or f64, not i32");
    x = wf_zeros(t, WF_F32, WF_SHAPE(2));
    ck_assert(!gate(t, x, wf_zeros(t, WF_F32, WF_SHAPE(3))));
    assert_fails(t, "gate: shapes do not broadcast: (2) and (3)");
}

/* ---- tiles ---- */

enum { ROWS = 7, N = 37, APART = 41 };

/* Every kernel of the library: tiles whose rows lie apart, in the place of each input, written and
 * added to, are what single rows are. */
static void tile(wf_tile_fn *fn, int inputs, bool whole, int to, int in_place)
{
    static float memory[WF_AT][ROWS * APART];
    static float want[ROWS * APART];
    for (int add = 0; add <= (to == WF_AT_GIN); add++) {
        void *at[WF_AT];
        int64_t row[WF_AT];
        for (int k = 0; k < WF_AT; k++) {
            const bool mask = whole && k < inputs;
            for (int i = 0; i < ROWS * APART; i++) {
                const float x = 0.25f + 0.125f * (float)((i * 7 + k * 3) % 13);
                if (mask)
                    ((int32_t *)memory[k])[i] = i % 3;
                else
                    memory[k][i] = x;
            }
            at[k] = memory[k];
            row[k] = k == 1 ? 0 : APART * (int64_t)sizeof(float); /* input 1: the same row again */
        }
        const uint32_t fp = wf_fp_enter();
        for (int r = 0; r < ROWS; r++) {
            void *from[WF_AT];
            for (int k = 0; k < WF_AT; k++) from[k] = (char *)at[k] + r * row[k];
            memcpy(want + r * APART, memory[in_place < 0 ? to : in_place] + r * APART,
                   APART * sizeof(float));
            from[to] = want + r * APART;
            fn(1, N, from, row, 0.5, add);
        }
        if (in_place >= 0) at[to] = at[in_place];
        fn(ROWS, N, at, row, 0.5, add);
        wf_fp_leave(fp);
        ck_assert_int_eq(memcmp(at[to], want, sizeof want), 0);
    }
}

TEST(a_tile_may_be_written_where_an_input_or_a_gradient_lies)
{
    const wf_op *op;
    for (int i = 0; (op = wf_op_at(i)); i++) {
        if (!op->pointwise) continue;
        ck_assert(op->flags & WF_OP_ELEMENTWISE && op->inputs <= WF_AT_OUT);
        const wf_pointwise *k = &op->pointwise[wf_isa_level()];
        const bool where = !strcmp(op->name, "where");
        for (int place = -1; place < op->inputs; place++) {
            if (place == 1 || (where && place == 0)) continue;
            tile(k->forward[WF_F32], op->inputs, false, WF_AT_OUT, place);
        }
        for (int input = 0; input < op->inputs; input++) {
            if (!k->gradient[input][WF_F32]) continue;
            tile(k->gradient[input][WF_F32], op->inputs, false, WF_AT_GIN, -1);
            tile(k->gradient[input][WF_F32], op->inputs, false, WF_AT_GIN, WF_AT_GOUT);
        }
        if (k->forward[WF_I32]) tile(k->forward[WF_I32], op->inputs, true, WF_AT_OUT, -1);
    }
}

/* To the bit: 0 + -0 is 0. */
TEST(a_first_contribution_is_written_as_it_would_be_added_to_zeros)
{
    enum { COUNT = 37 };
    static const int64_t row[WF_AT];
    float from[COUNT], written[COUNT];
    for (int i = 0; i < COUNT; i++) from[i] = (float[]){ 0.5f, -0.0f, 0, -2, 1 }[i % 5];
    const wf_op *op;
    for (int i = 0; (op = wf_op_at(i)); i++) {
        for (int input = 0; op->pointwise && input < op->inputs; input++) {
            wf_tile_fn *fn = op->pointwise[wf_isa_level()].gradient[input][WF_F32];
            if (!fn) continue;
            float added[COUNT] = { 0 };
            void *at[WF_AT];
            for (int k = 0; k < WF_AT; k++) at[k] = from;
            at[WF_AT_GIN] = added;
            fn(1, COUNT, at, row, -0.5, true);
            memset(written, 0xff, sizeof written);
            at[WF_AT_GIN] = written;
            fn(1, COUNT, at, row, -0.5, false);
            ck_assert_msg(memcmp(written, added, sizeof added) == 0, "%s, input %d", op->name,
                          input);
        }
    }
}
