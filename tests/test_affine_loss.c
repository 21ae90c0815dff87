/* The last layer and its cross entropy as one op, held against the two ops that it stands for:
 * where there are several blocks, spans of long sums, ignored positions, gradients of some inputs
 * alone; and that no logits are stored. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/rng.h"
#include "tests/tape.h"

#include <math.h>
#include <stdio.h>

typedef struct problem {
    wf_var *x, *w, *b, *id;
    wf_cross_entropy_options o;
} problem;

/* Positions of `inputs` numbers, classes of ids 0 .. classes - 1, and of each fourth position
 * `ignore`. */
static problem made(wf_dtype dtype, int64_t positions, int64_t inputs, int64_t classes, int ignore)
{
    wf_tensor ids;
    problem p = { .x = drawn(t, dtype, WF_SHAPE(positions, inputs), 1, -1, 1),
                  .w = drawn(t, dtype, WF_SHAPE(classes, inputs), 2, -1, 1),
                  .b = drawn(t, dtype, WF_SHAPE(classes), 3, -1, 1),
                  .id = wf_constant_fill(t, WF_I32, WF_SHAPE(positions), &ids),
                  .o = { .has_ignore = ignore != 0, .ignore = ignore } };
    for (int64_t i = 0; i < positions; i++)
        ((int32_t *)ids.data)[i] = ignore && i % 4 == 1
                                       ? ignore
                                       : (int32_t)wf_random_below(4, (uint64_t)i, classes);
    return p;
}

static wf_var *one(const problem *p)
{
    return wf_affine_cross_entropy(t, p->x, p->w, p->b, p->id, &p->o);
}

static wf_var *two(const problem *p)
{
    return wf_cross_entropy_with(t, wf_affine(t, p->x, p->w, p->b), p->id, &p->o);
}

/* To `within` times the largest of `want`. */
static void assert_all_near(const char *what, const wf_var *got, const wf_var *want, double within)
{
    double largest = 0, worst = 0;
    ck_assert_int_eq(wf_count(got), wf_count(want));
    for (int64_t i = 0; i < wf_count(got); i++) {
        largest = fmax(largest, fabs(wf_at(want, i)));
        worst = fmax(worst, fabs(wf_at(got, i) - wf_at(want, i)));
    }
    ck_assert_msg(worst <= within * largest, "%s: off by %g of %g", what, worst, largest);
}

static void assert_as_two_ops(const problem *p, double within)
{
    static const char *const name[] = { "x", "w", "b" };
    wf_var *in[3] = { p->x, p->w, p->b }, *loss[2] = { one(p), two(p) }, *grad[2][3];
    ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
    assert_all_near("the loss", loss[0], loss[1], within);
    wf_var *g = drawn(t, wf_dtype_of(p->x), wf_shape_of(loss[0]), 7, 0.5, 2);
    for (int k = 0; k < 2; k++)
        ck_assert(wf_grad(t, 1, &loss[k], &g, p->b ? 3 : 2, in, grad[k], NULL));
    for (int i = 0; i < (p->b ? 3 : 2); i++) {
        char what[64];
        snprintf(what, sizeof what, "the gradient of %s", name[i]);
        assert_all_near(what, grad[0][i], grad[1][i], within);
    }
}

static const struct {
    int64_t positions, inputs, classes;
} sizes[] = {
    { 700, 3, 3000 },  /* blocks that the last one does not fill, and several chunks in each */
    { 300, 5, 7 },     /* one block of several chunks */
    { 130, 70, 2100 }, /* wide products */
    { 33000, 2, 3 },   /* three spans, of one block each */
    { 17000, 2, 200 }, /* two spans, of many blocks */
    { 129, 3, 17000 }, /* more classes than a product adds up at once */
};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

TEST_EACH(it_is_the_two_ops_whatever_the_sizes, SIZES)
{
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++)
        for (int k = 0; k < 3; k++) {
            problem p = made((wf_dtype)dtype, sizes[_i].positions, sizes[_i].inputs,
                             sizes[_i].classes, k == 1 ? -5 : 0);
            p.o.label_smoothing = k == 2 ? 0.1 : 0;
            p.o.reduction = (wf_reduction)k;
            assert_as_two_ops(&p, dtype == WF_F32 ? 2e-5 : 1e-13);
            p.b = NULL;
            assert_as_two_ops(&p, dtype == WF_F32 ? 2e-5 : 1e-13);
            wf_tape_reset(t);
        }
}

TEST(inputs_may_lie_anyhow)
{
    problem p = made(WF_F64, 330, 6, 40, -1);
    wf_var *columns = drawn(t, WF_F64, WF_SHAPE(6, 330), 8, -1, 1);
    p.x = wf_transpose(t, columns, 0, 1);
    assert_as_two_ops(&p, 1e-13);
    p.x = wf_slice(t, drawn(t, WF_F64, WF_SHAPE(330, 12), 8, -1, 1), 1, 0, 12, 2);
    p.b = wf_slice(t, drawn(t, WF_F64, WF_SHAPE(80), 9, -1, 1), 0, 0, 80, 2);
    assert_as_two_ops(&p, 1e-13);
    p.o.has_ignore = false;
    p.x = wf_expand(t, drawn(t, WF_F64, WF_SHAPE(1, 6), 8, -1, 1), WF_SHAPE(330, 6));
    p.w = wf_transpose(t, drawn(t, WF_F64, WF_SHAPE(6, 40), 8, -1, 1), 0, 1);
    for (int64_t i = 0; i < 330; i++)
        if (i % 4 == 1) ((int32_t *)wf_value(p.id)->data)[i] = 2;
    assert_as_two_ops(&p, 1e-13);
}

TEST(weights_of_classes_and_probabilities_are_the_two_ops)
{
    problem p = made(WF_F64, 9, 4, 5, -1);
    p.o.weight = drawn(t, WF_F64, WF_SHAPE(5), 5, 0.5, 2);
    assert_as_two_ops(&p, 1e-14);
    p.o = (wf_cross_entropy_options){ .label_smoothing = 0.2 };
    p.id = wf_softmax(t, drawn(t, WF_F64, WF_SHAPE(9, 5), 6, -1, 1), -1);
    assert_as_two_ops(&p, 1e-14);
}

/* ---- what is not looked at, and what is not made ---- */

TEST(what_lies_at_ignored_positions_is_not_looked_at)
{
    problem p = made(WF_F64, 330, 4, 6, -1);
    wf_var *loss = one(&p), *in[3] = { p.x, p.w, p.b }, *clean[3], *spoilt[3];
    ck_assert(wf_grad(t, 1, &loss, NULL, 3, in, clean, NULL));
    const double want = wf_item(loss);
    double *x = wf_value(p.x)->data;
    for (int64_t i = 1; i < 330; i += 4)
        for (int64_t j = 0; j < 4; j++) x[4 * i + j] = j % 2 ? NAN : INFINITY;
    loss = one(&p);
    ck_assert(wf_item(loss) == want);
    for (int graph = 0; graph < 2; graph++) {
        ck_assert(wf_grad(t, 1, &loss, NULL, 3, in, spoilt,
                          &(wf_grad_options){ .create_graph = graph == 1 }));
        for (int k = 0; k < 3; k++) assert_all_near("a gradient", spoilt[k], clean[k], 1e-14);
        for (int64_t j = 0; j < 4; j++) ck_assert(wf_at(spoilt[0], 4 + j) == 0);
    }
}

TEST(where_all_is_ignored_the_loss_is_0_and_so_are_the_gradients)
{
    problem p = made(WF_F32, 3, 4, 6, 0);
    p.o = (wf_cross_entropy_options){ .has_ignore = true, .ignore = 1 };
    for (int i = 0; i < 3; i++) ((int32_t *)wf_value(p.id)->data)[i] = 1;
    wf_var *loss = one(&p), *in[3] = { p.x, p.w, p.b }, *grad[3];
    ck_assert(wf_item(loss) == 0);
    ck_assert(wf_grad(t, 1, &loss, NULL, 3, in, grad, NULL));
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < wf_count(grad[k]); i++) ck_assert(wf_at(grad[k], i) == 0);
}

TEST(the_loss_has_the_same_bits_whoever_wants_a_gradient_and_however_many_threads_there_are)
{
    double want = 0, first[3] = { 0 };
    for (int k = 0; k < 8; k++) {
        set_up_with((wf_tape_options){ .threads = 1 + k % 3 });
        if (k == 6) wf_tape_set_mode(t, WF_INFER);
        problem p = made(WF_F32, 900, 20, 1500, -1);
        wf_var *in[3] = { p.x, p.w, p.b }, *grad[3];
        if (k == 7) p.w = wf_detach(t, p.w), p.b = wf_detach(t, p.b);
        wf_var *loss = one(&p);
        if (k == 0) want = wf_item(loss);
        ck_assert(wf_item(loss) == want);
        if (k >= 6) continue;
        ck_assert(wf_grad(t, 1, &loss, NULL, 3, in, grad, NULL));
        for (int i = 0; i < 3; i++) {
            double sum = 0; /* in one order: of the same bits it is the same */
            for (int64_t j = 0; j < wf_count(grad[i]); j++) sum += wf_at(grad[i], j) * (double)j;
            if (k == 0) first[i] = sum;
            ck_assert(sum == first[i]);
        }
    }
}

/* Logits of all positions would be 16 MB. */
TEST(no_step_holds_the_logits_and_no_later_one_takes_more_memory)
{
    enum { POSITIONS = 2000, CLASSES = 2000, LOGITS = 4 * POSITIONS * CLASSES };
    int64_t values = 0, grads = 0;
    for (int step = 0; step < 5; step++) {
        wf_tape_reset(t);
        problem p = made(WF_F32, POSITIONS, 8, CLASSES, 0);
        ck_assert(wf_keep_grad(t, p.w) && wf_keep_grad(t, p.x) && wf_backward(t, one(&p)));
        if (step == 2) values = wf_tape_bytes(t), grads = wf_tape_grad_bytes(t);
    }
    ck_assert_int_lt(values + grads, LOGITS / 2);
    ck_assert_int_eq(wf_tape_bytes(t), values);
    ck_assert_int_eq(wf_tape_grad_bytes(t), grads);
}

/* ---- cotangents ---- */

TEST(a_cotangent_that_is_not_finite_goes_where_the_two_ops_send_it)
{
    const double special[3] = { INFINITY, -INFINITY, NAN };
    for (int k = 0; k < 3; k++) {
        problem p = made(WF_F64, 5, 3, 4, -1);
        wf_var *g = wf_full(t, WF_F64, WF_SCALAR, special[k]), *grad[2][3];
        wf_var *in[3] = { p.x, p.w, p.b }, *loss[2] = { one(&p), two(&p) };
        for (int way = 0; way < 2; way++)
            ck_assert(wf_grad(t, 1, &loss[way], &g, 3, in, grad[way], NULL));
        for (int64_t i = 0; i < 4; i++) { /* of b, a sum: infinite or NaN as that is */
            const double got = wf_at(grad[0][2], i), want = wf_at(grad[1][2], i);
            ck_assert(isnan(want) ? isnan(got) : got == want);
        }
    }
}

const harness_suite suite = { .before = set_up, .after = tear_down };
