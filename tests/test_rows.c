/* What a row claims for planners and threads is proved by wf_op_check: for each kind of claim a
 * false one that is told, and told by this proof alone. */
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/ops_private.h"
#include "tests/harness.h"
#include "tests/toy_op.h"

#include <string.h>

static wf_op row(const char *name)
{
    for (int i = 0; wf_op_at(i); i++)
        if (!strcmp(wf_op_at(i)->name, name)) return *wf_op_at(i);
    ck_abort_msg("there is no op %s", name);
}

static uint32_t first(const wf_call *c)
{
    (void)c;
    return 1;
}

static uint32_t both(const wf_call *c)
{
    (void)c;
    return 3;
}

static uint32_t third(const wf_call *c)
{
    (void)c;
    return 4;
}

TEST(true_claims_of_a_row_pass)
{
    wf_op op = toy();
    op.flags = WF_OP_ELEMENTWISE;
    wf_report r = wf_op_check(&op, NULL);
    ck_assert_msg(r.ok, "%s", r.text);
    op.flags = 0;
    op.varying = both;
    r = wf_op_check(&op, NULL);
    ck_assert_msg(r.ok, "%s", r.text);
}

/* ---- computed apart ---- */

TEST(elements_that_look_at_one_another_are_not_elementwise)
{
    wf_op op = row("softmax");
    op.flags |= WF_OP_ELEMENTWISE;
    only_law(LAW_FACTS, &op, ": it is said to be elementwise, but 1 at a time along axis ");
}

TEST(rows_that_look_at_one_another_are_not_apart)
{
    wf_op op = row("softmax");
    op.varying = first;
    only_law(LAW_FACTS, &op, ": its rows are said to be computed apart: output 0 at (");
    op = row("sum");
    op.varying = first;
    only_law(LAW_FACTS, &op,
             ": its rows are said to be computed apart, but output 0 has no such "
             "rows");
    op = row("matmul");
    op.varying = both;
    only_law(LAW_FACTS, &op,
             ": its rows are said to be computed apart, but input 1 has no such "
             "rows");
    op = toy();
    op.varying = third;
    only_law(LAW_FACTS, &op,
             ": its rows are said to be computed apart, but input 2 has no such "
             "rows");
}

/* Row r of its gradient is of row 0 of the cotangents of the same call: other rows are told. */
static void backward_of_other_rows(const wf_call *c)
{
    const int64_t n = c->gout[0] ? wf_tensor_count(c->out[0]) : 0;
    for (int64_t i = 0; c->gin[0] && i < n; i++) {
        const int64_t from = c->out[0]->dim[0] == 1 ? i : n - 1 - i;
        put(c->gin[0], n - 1 - i, get(c->gin[0], n - 1 - i) + get(c->gout[0], from));
    }
}

static void forward_turned(const wf_call *c)
{
    const int64_t n = wf_tensor_count(c->out[0]);
    for (int64_t i = 0; i < n; i++) put(c->out[0], i, get(c->in[0], i));
}

static void gradient_turned(wf_tape *t, const wf_gradient *g)
{
    (void)t;
    g->gin[0] = g->gout[0];
}

TEST(gradients_of_rows_that_depend_on_how_many_there_are_are_told)
{
    wf_op op = row("copy");
    op.flags = 0;
    op.varying = first;
    op.forward = forward_turned;
    op.gradient = gradient_turned;
    op.backward = backward_of_other_rows;
    only_law(LAW_FACTS, &op, ": its rows are said to be computed apart: input 0 at (");
}

TEST(a_claim_that_no_sample_shows_is_told)
{
    wf_op op = row("mse");
    op.varying = row("sum_to").varying;
    only_law(LAW_FACTS, &op, "mse: it is said to be computed by rows, which no sample shows");
}

/* ---- a product ---- */

TEST(what_is_no_product_with_this_weight_is_told)
{
    wf_op op = row("matmul");
    op.product.weight = 2;
    only_law(LAW_FACTS, &op, ": its product has a weight 2 and a bias 0 of 2 inputs");
    op = row("matmul");
    op.product.transposed = true;
    only_law(LAW_FACTS, &op, ": it is said to be a product, but its shapes are not");
    op = row("affine");
    op.product.bias = 0;
    only_law(LAW_FACTS, &op, ": it is said to be a product: output 0 at (");
    op = toy();
    op.product.weight = 1;
    only_law(LAW_FACTS, &op, ": it is said to be a product, but its shapes are not");
}

/* ---- random numbers ---- */

static void forward_with_key(const wf_call *c)
{
    toy_forward(c);
    if (wf_tensor_count(c->out[0]))
        put(c->out[0], 0, get(c->out[0], 0) + 1e-15 * (double)(c->key % 7));
}

TEST(what_draws_says_so_and_what_says_so_draws)
{
    wf_op op = toy();
    op.flags = WF_OP_RANDOM;
    only_law(LAW_FACTS, &op, "toy: it is said to be random, by its key, which no sample shows");
    op.forward = forward_with_key;
    only_law(LAW_FACTS, &op, "toy: it is said to be random, by its counter, which no sample shows");
    op.flags = 0;
    must_fail(&op, "toy, sample 'matrix': it is not said to be random, but another key gives other "
                   "numbers");
}

/* ---- what is read ---- */

static bool check_nothing(const wf_call *c, wf_error *error)
{
    (void)c, (void)error;
    return true;
}

TEST(what_check_reads_is_said_and_no_more)
{
    wf_op op = row("embedding");
    op.reads_check = 0;
    only_law(LAW_FACTS, &op,
             ": check refuses -2.14748e+09 in input 1, which is not in reads_check");
    op.reads_check = 3;
    only_law(LAW_FACTS, &op, "embedding: check is said to read input 0, which no sample shows");
    op = toy();
    op.reads_check = 1;
    only_law(LAW_FACTS, &op, "toy: check is said to read input 0, which no sample shows");
    op.check = check_nothing;
    only_law(LAW_FACTS, &op, "toy: check is said to read input 0, which no sample shows");
}

TEST(what_backward_does_not_read_is_not_said)
{
    wf_op op = row("copy");
    op.reads_in = 1;
    only_law(LAW_FACTS, &op, "copy: backward is said to read input 0, which no sample shows");
    op = row("softmax");
    op.reads_in = 1;
    only_law(LAW_FACTS, &op, "softmax: backward is said to read input 0, which no sample shows");
    op = toy();
    op.reads_out = 1;
    only_law(LAW_FACTS, &op, "toy: backward is said to read output 0, which no sample shows");
}

/* ---- scratch for each thread ---- */

static bool shape_by_threads(wf_shaping *s)
{
    if (!toy_shape(s)) return false;
    s->scratch_forward = 8 * s->threads;
    return true;
}

static bool shape_for_one(wf_shaping *s)
{
    if (!toy_shape(s)) return false;
    s->scratch_forward = 8;
    return true;
}

static void forward_by_threads(const wf_call *c)
{
    for (int i = 0; i < c->threads; i++) ((double *)c->scratch)[i] = i;
    toy_forward(c);
}

TEST(shape_knows_the_threads_for_which_it_asks_for_scratch)
{
    wf_op op = toy();
    op.forward = forward_by_threads;
    op.shape = shape_by_threads;
    wf_report r = wf_op_check(&op, NULL);
    ck_assert_msg(r.ok, "%s", r.text);
    op.shape = shape_for_one;
    must_fail(&op, "toy, sample 'matrix': forward used more scratch than its shape asked for");
}
