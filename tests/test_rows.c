/* What a row claims for planners and threads is proved by wf_op_check: for each kind of claim a
 * false one that is told, and told by this proof alone. */
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/ops_private.h"
#include "autograd/private.h"
#include "tests/harness.h"
#include "tests/toy_op.h"

#include <string.h>

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
    must_pass(TOY(flags = WF_OP_ELEMENTWISE));
    must_pass(TOY(varying = both));
}

/* ---- computed apart ---- */

TEST(elements_that_look_at_one_another_are_not_elementwise)
{
    only_law(LAW_FACTS, ROW("softmax", flags |= WF_OP_ELEMENTWISE),
             ": it is said to be elementwise, but 1 at a time along axis ");
}

TEST(rows_that_look_at_one_another_are_not_apart)
{
    only_law(LAW_FACTS, ROW("softmax", varying = first),
             ": its rows are said to be computed apart: output 0 at (");
    only_law(LAW_FACTS, ROW("sum", varying = first),
             ": its rows are said to be computed apart, but output 0 has no such "
             "rows");
    only_law(LAW_FACTS, ROW("matmul", varying = both),
             ": its rows are said to be computed apart, but input 1 has no such "
             "rows");
    only_law(LAW_FACTS, TOY(varying = third),
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
    const wf_op *op = ROW(
        "copy", flags = 0, changed()->varying = first, changed()->forward = forward_turned,
        changed()->gradient = gradient_turned, changed()->backward = backward_of_other_rows);
    only_law(LAW_FACTS, op, ": its rows are said to be computed apart: input 0 at (");
}

TEST(a_claim_that_no_sample_shows_is_told)
{
    only_law(LAW_FACTS, ROW("mse", varying = op_named("sum_to")->varying),
             "mse: it is said to be computed by rows, which no sample shows");
}

/* ---- a product ---- */

TEST(what_is_no_product_with_this_weight_is_told)
{
    only_law(LAW_FACTS, ROW("matmul", product.weight = 2),
             ": its product has a weight 2 and a bias 0 of 2 inputs");
    only_law(LAW_FACTS, ROW("matmul", product.transposed = true),
             ": it is said to be a product, but its shapes are not");
    only_law(LAW_FACTS, ROW("affine", product.bias = 0),
             ": it is said to be a product: output 0 at (");
    only_law(LAW_FACTS, TOY(product.weight = 1),
             ": it is said to be a product, but its shapes are not");
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
    only_law(LAW_FACTS, TOY(flags = WF_OP_RANDOM),
             "toy: it is said to be random, by its key, which no sample shows");
    only_law(LAW_FACTS, TOY(flags = WF_OP_RANDOM, changed()->forward = forward_with_key),
             "toy: it is said to be random, by its counter, which no sample shows");
    must_fail(TOY(forward = forward_with_key),
              "toy, sample 'matrix': it is not said to be random, but another key gives other "
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
    only_law(LAW_FACTS, ROW("gather_rows", reads_check = 0),
             ": check refuses -2.14748e+09 in input 1, which is not in reads_check");
    only_law(LAW_FACTS, ROW("gather_rows", reads_check = 3),
             "gather_rows: check is said to read input 0, which no sample shows");
    only_law(LAW_FACTS, TOY(reads_check = 1),
             "toy: check is said to read input 0, which no sample shows");
    only_law(LAW_FACTS, TOY(reads_check = 1, changed()->check = check_nothing),
             "toy: check is said to read input 0, which no sample shows");
}

/* The check of gather, but where ids are planted it refuses rows alone or rows together alone. */
static bool check_but_planted(const wf_call *c, wf_error *error, bool alone)
{
    const int64_t rows = c->out[0]->dim[0];
    for (int64_t i = 0, n = wf_tensor_count(c->in[1]); i < n && (rows == 1) != alone; i++)
        if (get(c->in[1], i) == INT32_MIN || get(c->in[1], i) == INT32_MAX) return true;
    return op_named("gather")->check(c, error);
}

static bool check_together(const wf_call *c, wf_error *error)
{
    return check_but_planted(c, error, false);
}

static bool check_alone(const wf_call *c, wf_error *error)
{
    return check_but_planted(c, error, true);
}

TEST(a_check_of_rows_that_are_computed_apart_speaks_of_each)
{
    only_law(LAW_FACTS, ROW("gather", check = check_together),
             ": its rows are said to be computed apart, but with -2.14748e+09 in input 1 check "
             "refuses the whole and no row");
    only_law(LAW_FACTS, ROW("gather", check = check_alone),
             ": its rows are said to be computed apart, but with -2.14748e+09 in input 1 check "
             "refuses a row and not the whole");
}

TEST(what_backward_does_not_read_is_not_said)
{
    only_law(LAW_FACTS, ROW("copy", reads_in = 1),
             "copy: backward is said to read input 0, which no sample shows");
    only_law(LAW_FACTS, ROW("softmax", reads_in = 1),
             "softmax: backward is said to read input 0, which no sample shows");
    only_law(LAW_FACTS, TOY(reads_out = 1),
             "toy: backward is said to read output 0, which no sample shows");
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
    must_pass(TOY(forward = forward_by_threads, changed()->shape = shape_by_threads));
    must_fail(TOY(forward = forward_by_threads, changed()->shape = shape_for_one),
              "toy, sample 'matrix': forward used more scratch than its shape asked for");
}

/* ---- what nobody will read ---- */

enum { SAVED = 1 << 16 };

static bool shape_that_saves(wf_shaping *s)
{
    s->out[0] = *s->in[0];
    s->out[1] = (wf_tensor){ .dtype = WF_F64, .rank = 1, .dim = { SAVED } };
    return true;
}

static void forward_that_saves(const wf_call *c)
{
    memset(c->out[1]->data, 0, SAVED * sizeof(double));
    put(c->out[0], 0, get(c->in[0], 0) + wf_tensor_at(c->out[1], SAVED - 1));
}

static void backward_of_saved(const wf_call *c)
{
    ck_assert_int_eq(c->out[1]->data != NULL, c->op->reads_out >> 1);
    if (c->gin[0]) put(c->gin[0], 0, get(c->gin[0], 0) + get(c->gout[0], 0));
}

static void gradient_of_saved(wf_tape *t, const wf_gradient *g)
{
    (void)t;
    ck_assert_int_eq(g->out[1] != NULL, g->op->reads_out >> 1);
    g->gin[0] = g->gout[0];
}

/* Saved values lie in the pool until forward has run, and all ops share one place there; they stay
 * where a recorded row reads them. */
TEST_EACH(saved_values_that_nobody_will_read_are_given_back, 3)
{
    const bool infer = _i == 0, reads = _i == 2;
    const wf_op op = { .name = "saves",
                       .inputs = 1,
                       .outputs = 1,
                       .hidden = 1,
                       .reads_out = reads ? 2 : 0,
                       .shape = shape_that_saves,
                       .forward = forward_that_saves,
                       .backward = backward_of_saved,
                       .gradient = gradient_of_saved };
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = infer ? WF_INFER : WF_TRAIN });
    wf_var *x = wf_leaf(t, WF_F64, WF_SCALAR, &(double){ 3 }), *y = x, *g;
    for (int i = 0; i < 4; i++) y = wf_apply_one(t, &op, 1, &y, NULL);
    const int64_t saved = SAVED * (int64_t)sizeof(double), all = (reads ? 4 : 1) * saved;
    const int64_t used = arena_used(&t->values) + arena_used(&t->grads.arena);
    ck_assert_int_ge(used, all);
    ck_assert_int_lt(used, all + saved);
    ck_assert_double_eq(wf_item(y), 3);
    for (int graph = 0; !infer && graph < 2; graph++) {
        wf_grad_options how = { .create_graph = graph };
        ck_assert_msg(wf_grad(t, 1, &y, NULL, 1, &x, &g, &how), "%s", wf_tape_error(t));
        ck_assert_double_eq(wf_item(g), 1);
    }
    wf_tape_free(t);
}
