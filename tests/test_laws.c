/* The laws that the checkers hold beside differences: for each a fault that this law tells and that
 * every other one lets pass. */
#include "autograd/check.h"
#include "autograd/ops.h"
#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tests/harness.h"
#include "tests/toy_op.h"

#include <math.h>

/* ---- threads that meet ---- */

/* y = a s with one number s: its gradient is a sum, in parts of whatever is handed to a thread. */
enum { GRAIN = 4096 };

static bool scaled_shape(wf_shaping *s)
{
    s->out[0] = *s->in[0];
    s->scratch_backward = (wf_tensor_count(s->in[0]) / GRAIN + 1) * (int64_t)sizeof(double);
    return s->in[1]->rank == 0 || wf_refuse(s->error, "s is no scalar");
}

static void scaled_forward(const wf_call *c)
{
    double s = get(c->in[1], 0);
    for (int64_t i = 0; i < wf_tensor_count(c->out[0]); i++)
        put(c->out[0], i, get(c->in[0], i) * s);
}

static double part_sum(const wf_call *c, int64_t begin, int64_t end)
{
    double sum = 0;
    for (int64_t i = begin; i < end; i++) sum += get(c->gout[0], i) * get(c->in[0], i);
    return sum;
}

static void scaled_part(void *context, int64_t begin, int64_t end)
{
    const wf_call *c = context;
    for (int64_t at = begin; at < end; at += GRAIN)
        ((double *)c->scratch)[at / GRAIN] = part_sum(c, at, at + GRAIN < end ? at + GRAIN : end);
}

static void racing_part(void *context, int64_t begin, int64_t end)
{
    const wf_call *c = context;
    put(c->gin[1], 0, get(c->gin[1], 0) + part_sum(c, begin, end));
}

static void scaled_by(const wf_call *c, bool racing)
{
    int64_t n = wf_tensor_count(c->out[0]);
    if (!c->gout[0]) return;
    double s = get(c->in[1], 0);
    for (int64_t i = 0; c->gin[0] && i < n; i++)
        put(c->gin[0], i, get(c->gin[0], i) + get(c->gout[0], i) * s);
    if (!c->gin[1] || n == 0) return;
    wf_par_for(c->threads, n, GRAIN, racing ? racing_part : scaled_part, (void *)(uintptr_t)c);
    for (int64_t i = 0; !racing && i < (n - 1) / GRAIN + 1; i++)
        put(c->gin[1], 0, get(c->gin[1], 0) + ((double *)c->scratch)[i]);
}

static void scaled_backward(const wf_call *c)
{
    scaled_by(c, false);
}

static void racing_backward(const wf_call *c)
{
    scaled_by(c, true);
}

static bool scaled_reference(wf_tape *t, const wf_reference *r)
{
    return (r->out[0] = wf_mul(t, r->in[0], r->in[1])) != NULL;
}

static bool scaled_sample(int k, wf_sample *s)
{
    if (!toy_sample(k, s)) return false;
    s->in[1].shape = WF_SCALAR;
    return true;
}

TEST(parts_that_add_into_one_number_are_told_by_a_sample_made_large)
{
    wf_op op = toy();
    op.shape = scaled_shape;
    op.forward = scaled_forward;
    op.backward = scaled_backward;
    op.gradient = NULL;
    op.reference = scaled_reference;
    op.sample = scaled_sample;
    must_pass(&op);
#ifdef __SANITIZE_THREAD__
    harness_skip("the race detector would stop at the race that is planted here");
    return;
#endif
    op.backward = racing_backward;
    must_fail(&op, "toy, sample 'matrix': made large, ");
    only_law(LAW_LARGE, &op, ": the gradient of input 1 has other bits than on one thread");
}

/* The same sum, of which what lies before the first whole vector comes apart. */
static void aligned_backward(const wf_call *c)
{
    const wf_tensor *gin[2] = { c->gin[0], NULL };
    wf_call of_a = *c;
    of_a.gin = gin;
    scaled_backward(&of_a);
    if (!c->gout[0] || !c->gin[1]) return;
    const int64_t n = wf_tensor_count(c->out[0]);
    const int64_t apart = (int64_t)(-(uintptr_t)c->in[0]->data / sizeof(double) % 8);
    const int64_t middle = apart < n ? apart : n;
    put(c->gin[1], 0, get(c->gin[1], 0) + (part_sum(c, 0, middle) + part_sum(c, middle, n)));
}

TEST(sums_that_begin_where_memory_is_aligned_are_told_by_a_sample_made_large)
{
    wf_op op = toy();
    op.shape = scaled_shape;
    op.forward = scaled_forward;
    op.backward = aligned_backward;
    op.gradient = NULL;
    op.reference = scaled_reference;
    op.sample = scaled_sample;
    must_fail(&op,
              "toy, sample 'matrix': made large, its numbers elsewhere in memory: the gradient "
              "of input 1 has other bits than on one thread");
    only_law(LAW_LARGE, &op, "its numbers elsewhere in memory");
}

/* A small sample, and one that is large as it is. */
static bool sample_and_large(int k, wf_sample *s)
{
    if (k > 1 || !toy_sample(0, s)) return false;
    if (k == 0) return true;
    s->large = true;
    s->label = "large";
    for (int i = 0; i < 2; i++) s->in[i].shape = WF_SHAPE(301, 251);
    return true;
}

/* On several threads, wrong where there are so many columns or more. */
static int64_t wrong_from;

static void columns_forward(const wf_call *c)
{
    toy_forward(c);
    if (c->threads > 1 && c->out[0]->dim[1] >= wrong_from) put(c->out[0], 0, 1);
}

TEST(a_row_that_brings_large_samples_is_made_large_in_these_alone)
{
    wf_op op = toy();
    op.forward = columns_forward;
    op.sample = sample_and_large;
    wrong_from = 251;
    must_fail(&op, "toy, sample 'large': made large, ");
    only_law(LAW_LARGE, &op, "output 0 has other bits than on one thread");
    wrong_from = 252; /* what the small one would have, made large by one factor */
    must_pass(&op);
    op.sample = toy_sample;
    must_fail(&op, "toy, sample 'matrix': made large, ");
}

static const wf_op *expand;

static bool sample_of_fixed_size(int k, wf_sample *s)
{
    return k < 6 && expand->sample(k, s);
}

TEST(a_row_none_of_whose_samples_can_be_made_large_says_so)
{
    expand = op_named("expand");
    wf_op op = *expand;
    op.sample = sample_of_fixed_size;
    wf_report r = wf_op_check(&op, NULL);
    ck_assert_msg(r.ok && strstr(r.text, "; no sample could be made large"), "%s", r.text);
    for (int i = 0; wf_op_at(i); i++) {
        r = wf_op_check(wf_op_at(i), NULL);
        ck_assert_msg(r.ok && !strstr(r.text, "made large"), "%s", r.text);
    }
}

/* ---- linear in the cotangents, nothing of nothing ---- */

static void backward_bent(const wf_call *c)
{
    if (!c->gout[0]) return;
    for (int64_t i = 0; i < wf_tensor_count(c->out[0]); i++) {
        double a = get(c->in[0], i), b = get(c->in[1], i), g = get(c->gout[0], i);
        g = g + 1e-9 * (g * fabs(g));
        if (c->gin[0]) put(c->gin[0], i, get(c->gin[0], i) + g * b * b);
        if (c->gin[1]) put(c->gin[1], i, get(c->gin[1], i) + 2 * g * a * b);
    }
}

static void gradient_bent(wf_tape *t, const wf_gradient *g)
{
    wf_gradient bent = *g;
    wf_var *y = g->gout[0], *more = wf_mul_scalar(t, wf_mul(t, y, wf_abs(t, y)), 1e-9);
    wf_var *const gout[1] = { wf_add(t, y, more) };
    bent.gout = gout;
    toy_gradient(t, &bent);
}

TEST(a_backward_that_is_not_linear_in_the_cotangents_is_told)
{
    only_law(LAW_LINEAR,
             TOY(backward = backward_bent, changed()->gradient = gradient_bent,
                 changed()->reference = NULL),
             "toy, sample 'matrix': backward is linear in the cotangents: input ");
}

static void backward_of_nothing(const wf_call *c)
{
    toy_backward(c);
    for (int64_t i = 0; !c->gout[0] && c->gin[0] && i < wf_tensor_count(c->gin[0]); i++)
        put(c->gin[0], i, get(c->gin[0], i) + 1);
}

TEST(a_backward_that_makes_something_of_no_cotangent_is_told)
{
    only_law(LAW_LINEAR, TOY(backward = backward_of_nothing),
             "toy, sample 'matrix': backward without any cotangent: input 0 at (0, 0): it 1");
}

/* ---- rows that ids name ---- */

TEST(a_row_whose_gradient_goes_elsewhere_than_its_ids_say_is_told)
{
    must_fail(ROW("cross_entropy", flags |= WF_OP_SPARSE), /* whose ids name columns */
              "cross_entropy, sample 'time and batch': backward adds to row ");
    must_fail(TOY(flags = WF_OP_SPARSE),
              "toy, sample 'matrix': WF_OP_SPARSE says that ids, input 1, name rows of input "
              "0");
}

/* ---- graphs of some gradients, from some outputs ---- */

static void gradient_all_or_nothing(wf_tape *t, const wf_gradient *g)
{
    if (g->wanted[0]) toy_gradient(t, g);
}

TEST(a_gradient_that_is_made_only_in_company_is_told)
{
    only_law(LAW_GRAPHS, TOY(gradient = gradient_all_or_nothing),
             "toy, sample 'matrix': gradient of the inputs 0x2 alone: input 1 at (0, ");
}

/* y = a b, z = a + b. */
static bool two_shape(wf_shaping *s)
{
    s->out[1] = *s->in[0];
    return toy_shape(s);
}

static void two_forward(const wf_call *c)
{
    for (int64_t i = 0; i < wf_tensor_count(c->out[0]); i++) {
        put(c->out[0], i, get(c->in[0], i) * get(c->in[1], i));
        put(c->out[1], i, get(c->in[0], i) + get(c->in[1], i));
    }
}

static void two_backward(const wf_call *c)
{
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; c->gin[k] && i < wf_tensor_count(c->out[0]); i++) {
            double g = c->gout[0] ? get(c->gout[0], i) * get(c->in[1 - k], i) : 0;
            put(c->gin[k], i, get(c->gin[k], i) + g + (c->gout[1] ? get(c->gout[1], i) : 0));
        }
}

static wf_var *two_sum(wf_tape *t, wf_var *a, wf_var *b)
{
    return a && b ? wf_add(t, a, b) : a ? a : b;
}

static void two_gradient(wf_tape *t, const wf_gradient *g)
{
    for (int k = 0; k < 2; k++)
        if (g->wanted[k])
            g->gin[k] = two_sum(t, g->gout[0] ? wf_mul(t, g->gout[0], g->in[1 - k]) : NULL,
                                g->gout[1]);
}

static void two_gradient_of_ones(wf_tape *t, const wf_gradient *g)
{
    wf_gradient call = *g;
    wf_var *gout[2] = { g->gout[0], g->gout[1] };
    if (!gout[1]) gout[1] = wf_full(t, WF_F64, wf_shape_of(g->in[0]), 1);
    call.gout = gout;
    two_gradient(t, &call);
}

TEST(a_gradient_that_takes_no_cotangent_for_another_than_zero_is_told)
{
    wf_op op = toy();
    op.outputs = 2;
    op.shape = two_shape;
    op.forward = two_forward;
    op.backward = two_backward;
    op.gradient = two_gradient;
    op.reference = NULL;
    must_pass(&op);
    op.gradient = two_gradient_of_ones;
    only_law(LAW_GRAPHS, &op,
             "toy, sample 'matrix': gradient from the outputs 0x1 alone: input 0 at (");
}

/* ---- a further axis behind the rows ---- */

/* Takes cotangents for row-major, as they are everywhere but in a planned loop. */
static void backward_of_dense(const wf_call *c)
{
    wf_tensor dense;
    const wf_tensor *gout[1] = { NULL };
    wf_call call = *c;
    if (c->gout[0]) {
        dense = wf_tensor_of(c->gout[0]->dtype, wf_tensor_shape(c->gout[0]), c->gout[0]->data);
        gout[0] = &dense;
    }
    call.gout = gout;
    op_named("matmul")->backward(&call);
}

static uint32_t rows_of_both(const wf_call *c)
{
    (void)c;
    return 3;
}

TEST(steps_at_once_that_are_not_what_they_are_one_by_one_are_told)
{
    only_law(LAW_LEADING, ROW("matmul", backward = backward_of_dense),
             ": it is said to be open to a further axis behind its rows: input ");
    only_law(LAW_LEADING, TOY(flags = WF_OP_LEADING, changed()->varying = rows_of_both),
             "toy, sample 'matrix': it is said to be open to a further axis behind its rows, but "
             "its shape refuses that: the shapes differ");
    only_law(LAW_LEADING, ROW("affine", flags |= WF_OP_LEADING), /* one input has rows */
             "affine: it is said to be open to a further axis behind its rows, which no sample "
             "shows");
}

/* ---- gradients that are begun ---- */

/* y = a b^2, whose backward begins gradients; of the last element of a's it
 * forgets to where b's is added to. */
static void beginning_backward(const wf_call *c)
{
    if (!c->gout[0]) return;
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; c->gin[k] && c->fresh >> k & 1 && i < wf_tensor_count(c->gin[k]); i++)
            put(c->gin[k], i, 0);
    toy_backward(c);
}

static void half_begun_backward(const wf_call *c)
{
    if (c->fresh != 1 || !c->gin[1]) {
        beginning_backward(c);
        return;
    }
    wf_call call = *c;
    call.fresh = 0;
    beginning_backward(&call);
    for (int64_t i = 0; c->gin[0] && i + 1 < wf_tensor_count(c->gin[0]); i++)
        put(c->gin[0], i, get(c->gout[0], i) * get(c->in[1], i) * get(c->in[1], i));
}

TEST(a_gradient_that_is_not_written_whole_where_nothing_lies_is_told)
{
    wf_op op = toy();
    op.flags = WF_OP_BEGINS;
    op.backward = beginning_backward;
    must_pass(&op);
    op.backward = half_begun_backward;
    must_fail(&op, "toy, sample 'matrix': backward that begins gradients 0x1: input 0 at (2, 3): "
                   "begun ");
    op.backward = toy_backward; /* adds to what nobody cleared */
    must_fail(&op, "toy, sample 'matrix': backward that begins gradients 0x1: input 0 at (0, 0): "
                   "begun ");
}

/* ---- what forward is told of backward ---- */

/* The toy saves a b where the gradient of b is wanted. */
static bool saving_shape(wf_shaping *s)
{
    if (!toy_shape(s)) return false;
    s->out[1] = *s->in[0];
    if (!(s->wanted & 2)) s->out[1].dim[0] = 0;
    return true;
}

static void saving_forward(const wf_call *c)
{
    toy_forward(c);
    for (int64_t i = 0; i < wf_tensor_count(c->out[1]); i++)
        put(c->out[1], i, get(c->in[0], i) * get(c->in[1], i));
}

static void forgetful_forward(const wf_call *c)
{
    saving_forward(c);
    if (c->wanted == 2 && wf_tensor_count(c->out[1]) > 0) put(c->out[1], 0, 0);
}

static void saving_backward(const wf_call *c)
{
    if (!c->gout[0]) return;
    for (int64_t i = 0; i < wf_tensor_count(c->out[0]); i++) {
        double b = get(c->in[1], i), g = get(c->gout[0], i);
        if (c->gin[0]) put(c->gin[0], i, get(c->gin[0], i) + g * b * b);
        if (c->gin[1]) put(c->gin[1], i, get(c->gin[1], i) + 2 * g * get(c->out[1], i));
    }
}

TEST(a_forward_that_leaves_out_what_is_wanted_is_told)
{
    wf_op op = toy();
    op.hidden = 1;
    op.reads_in = 2;
    op.reads_out = 2;
    op.shape = saving_shape;
    op.forward = saving_forward;
    op.backward = saving_backward;
    op.gradient = NULL;
    op.reference = toy_reference;
    must_pass(&op);
    op.forward = forgetful_forward;
    must_fail(&op, "toy, sample 'matrix': forward told that gradients 0x2 are wanted: input 1 at "
                   "(0, 0)");
}

static void biased_forward(const wf_call *c)
{
    toy_forward(c);
    if (c->wanted == 1 && wf_tensor_count(c->out[0]) > 0)
        put(c->out[0], 0, get(c->out[0], 0) * (1 + 1e-12));
}

TEST(a_forward_whose_values_depend_on_what_is_wanted_is_told)
{
    only_law(LAW_WANTED, TOY(forward = biased_forward),
             "toy, sample 'matrix': forward told that gradients 0x1 are wanted: output 0 has other "
             "bits");
}

/* ---- second derivatives ---- */

static void gradient_turned(wf_tape *t, const wf_gradient *g)
{
    toy_gradient(t, g);
    if (!g->gin[0]) return;
    /* Zero, but its derivative by b is not. */
    wf_var *b = wf_tanh(t, g->in[1]), *nothing = wf_sub(t, b, wf_detach(t, b));
    g->gin[0] = wf_add(t, g->gin[0], wf_mul_scalar(t, nothing, 1e-9));
}

TEST(second_derivatives_that_are_not_symmetric_are_told)
{
    only_law(LAW_SYMMETRIC, TOY(gradient = gradient_turned),
             "toy, sample 'matrix': second derivatives are symmetric: u'Hv is ");
}

/* ---- with and without recording ---- */

FUNCTION(that_looks_at_the_mode,
         wf_mul_scalar(t, in[0], wf_tape_mode(t) == WF_INFER ? 1 + 1e-9 : 1))

/* |dy/dx|^2 of y = x^3: it cannot run where nothing is recorded. */
static bool that_differentiates(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8],
                                int *n)
{
    (void)context;
    wf_var *y = wf_sum(t, wf_mul(t, in[0], wf_square(t, in[0])), NULL), *grad;
    *n = 1;
    if (!wf_grad(t, 1, &y, NULL, 1, in, &grad, &with_graph)) return false;
    out[0] = wf_square(t, grad);
    return out[0] != NULL;
}

TEST(a_function_whose_value_depends_on_being_recorded_is_told)
{
    double x[3] = { 1, -2, 3 };
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(3), x);
    wf_report r = wf_gradcheck(that_looks_at_the_mode, NULL, 1, &in, NULL);
    ck_assert(!r.ok);
    ck_assert_msg(strstr(r.text, "gradcheck: value by mode: output 0 at (2): infer 3.0000000") ==
                      r.text,
                  "%s", r.text);
    assert_proved(wf_gradcheck(that_differentiates, NULL, 1, &in, NULL));
}

/* ---- kinks ---- */

static bool sample_about_zero(int k, wf_sample *s)
{
    if (k) return false;
    s->label = "about zero";
    s->n_in = 1;
    s->in[0].dtype = WF_F64;
    s->in[0].shape = WF_SHAPE(3);
    s->in[0].low = -1e-4;
    s->in[0].high = 1e-4;
    return true;
}

TEST(a_sample_within_two_steps_of_a_kink_is_told)
{
    static const char *const name[] = { "abs", "relu", "sign" };
    for (int i = 0; i < 3; i++) {
        const wf_op *op = ROW(name[i], sample = sample_about_zero);
        must_fail(op, ", sample 'about zero': input 0 at (");
        must_fail(op, " lies within two steps of a kink of output 0 at (");
        must_fail(op, "\n  hint: give the sample a gap, or other limits");
    }
}

FUNCTION(relu_of, wf_relu(t, in[0]))
FUNCTION(larger_of, wf_maximum(t, in[0], in[1]))
FUNCTION(relu_squared, wf_square(t, wf_relu(t, in[0])))

TEST(a_kink_near_by_is_decided_by_shorter_steps_and_told)
{
    double x[4] = { 1.1e-4, -1.3e-4, 1, -1 };
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(4), x);
    wf_report r = wf_gradcheck(relu_of, NULL, 1, &in,
                               &(wf_check_options){ .first_order_only = true });
    ck_assert_msg(r.ok, "%s", r.text);
    ck_assert_int_eq(r.kinks, 2);
    ck_assert_msg(strstr(r.text, "; 2 within two steps of a kink, the first in input 0 at (0)"),
                  "%s", r.text);
    x[0] = 0.5, x[1] = -0.5;
    r = wf_gradcheck(relu_of, NULL, 1, &in, NULL);
    ck_assert_msg(r.ok && r.kinks == 0 && !strstr(r.text, "kink"), "%s", r.text);
}

TEST(a_kink_at_the_value_itself_has_no_derivative_and_fails)
{
    double x[3] = { 1, 0, -1 }, y[3] = { 2, 0, -2 };
    wf_tensor in[2] = { wf_tensor_of(WF_F64, WF_SHAPE(3), x),
                        wf_tensor_of(WF_F64, WF_SHAPE(3), y) };
    wf_report r = wf_gradcheck(relu_of, NULL, 1, in, NULL);
    ck_assert(!r.ok);
    ck_assert_msg(
        strstr(r.text, "gradcheck: gradient: input 0 at (1) = 0 is at a kink: from the left ") ==
            r.text,
        "%s", r.text);
    ck_assert_msg(strstr(r.text, ", the tape says 0\n  hint: there is no derivative to compare "
                                 "with; move the value"),
                  "%s", r.text);
    /* At a tie half of it agrees with the differences: they are no proof. */
    r = wf_gradcheck(larger_of, NULL, 2, in, NULL);
    ck_assert_msg(!r.ok && strstr(r.text, "at (1) = 0 is at a kink"), "%s", r.text);
    /* The first derivative has none there, the second has. */
    r = wf_gradcheck(relu_squared, NULL, 1, in, NULL);
    ck_assert_msg(!r.ok && strstr(r.text, "gradcheck: second derivative: input 0 at (1) = 0 is "
                                          "at a kink: "),
                  "%s", r.text);
    assert_proved(
        wf_gradcheck(relu_squared, NULL, 1, in, &(wf_check_options){ .first_order_only = true }));
}

const harness_suite suite = { .threads = 3 };
