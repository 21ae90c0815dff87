/* The checkers, and through them every row: each op is proved on its own samples; then faults of
 * kinds that a checker might miss are planted in a small row, and each must be told by name. */
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tests/fixture.h"
#include "tests/toy_op.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

TEST_EACH(every_op_agrees_with_differences_in_every_layout_and_order, op_count())
{
    wf_report r = wf_op_check(wf_op_at(_i), NULL);
    ck_assert_msg(r.ok, "%s", r.text);
    ck_assert_msg(r.checked > 0, "%s: nothing was compared", wf_op_at(_i)->name);
}

TEST_EACH(every_op_is_found_by_its_name_and_no_name_is_used_twice, op_count())
{
    ck_assert_ptr_eq(op_named(wf_op_at(_i)->name), wf_op_at(_i));
}

TEST(other_seeds_prove_the_same)
{
    static const char *const name[] = { "mul", "matmul", "softmax", "max", "dropout" };
    for (uint64_t seed = 1; seed <= 3; seed++)
        for (int i = 0; i < (int)(sizeof name / sizeof name[0]); i++) {
            wf_report r = wf_op_check(op_named(name[i]), &(wf_check_options){ .seed = seed });
            ck_assert_msg(r.ok, "seed %d: %s", (int)seed, r.text);
        }
}

/* ---- a small row, and what can be wrong with it ---- */

TEST(a_row_that_is_right_passes_with_gradient_or_reference_or_both)
{
    wf_op op = toy();
    wf_report r = wf_op_check(&op, NULL);
    ck_assert_msg(r.ok, "%s", r.text);
    ck_assert(r.worst < 1e-9 && r.checked > 1000);
    must_pass(TOY(gradient = NULL));
    must_pass(TOY(reference = NULL));
}

static bool no_samples(int k, wf_sample *s)
{
    (void)k;
    (void)s;
    return false;
}

TEST(a_row_that_lacks_a_part_is_told_which)
{
    must_fail(NULL, "op check: no op was given (NULL)");
    must_fail(TOY(name = NULL), "its row has no name");
    must_fail(TOY(doc = NULL), "toy: its row has no doc");
    must_fail(TOY(sample = NULL), "toy: its row has no sample");
    must_fail(TOY(sample = no_samples), "toy: it has no samples");
    must_fail(TOY(gradient = NULL, changed()->reference = NULL),
              "toy: it has a backward, but neither gradient nor reference");
    must_fail(TOY(backward = NULL),
              "toy, sample 'matrix': it has inputs and outputs of floats, but no backward");
}

static wf_sample given;

static bool given_sample(int k, wf_sample *s)
{
    if (k == 0) *s = given;
    return k == 0;
}

static bool samples_without_end(int k, wf_sample *s)
{
    (void)k;
    *s = given;
    return true;
}

static bool shape_of_nothing(wf_shaping *s)
{
    (void)s;
    return true;
}

static bool shape_of_rank_99(wf_shaping *s)
{
    s->out[0].rank = 99;
    return true;
}

static bool shape_of_negative_scratch(wf_shaping *s)
{
    const bool fits = toy_shape(s);
    s->scratch_backward = -1;
    return fits;
}

/* What is wrong with a row's numbers, word for word: test_misuse_tape.c. */
TEST(a_row_that_cannot_be_run_is_refused_with_one_sentence)
{
    must_fail(TOY(attr_size = -8), "toy: its row has -8 bytes of attributes; 0 to 1048576 can be");
    must_fail(TOY(attr_size = WF_SAMPLE_ATTR + 1),
              "toy: its attr of 257 bytes does not fit into a sample");
    must_fail(TOY(shape = shape_of_rank_99),
              "toy, sample 'matrix': output 0 has no shape that can be: shape: rank is 99; "
              "expected 0 to 8");
    must_fail(TOY(shape = shape_of_nothing),
              "toy, sample 'matrix': output 0 has no shape that can be: shape: rank is -1; "
              "expected 0 to 8");
    must_fail(TOY(shape = shape_of_negative_scratch),
              "toy, sample 'matrix': its shape asked for -1 bytes of scratch");
}

/* The toy's sample with one number in it changed. */
#define SAMPLE(...) (given = (wf_sample){ 0 }, toy_sample(0, &given), given.__VA_ARGS__)

TEST(a_sample_that_cannot_be_made_is_refused_with_one_sentence)
{
    const wf_op *op = TOY(sample = given_sample);
    SAMPLE(n_in = 17), must_fail(op, "toy, sample 'matrix': it has 17 inputs, the row 2");
    SAMPLE(n_in = -1), must_fail(op, "toy, sample 'matrix': it has -1 inputs, the row 2");
    SAMPLE(in[1].shape.rank = 9);
    must_fail(op, "toy, sample 'matrix': input 1 has no shape that can be: shape: rank is 9; "
                  "expected 0 to 8");
    SAMPLE(in[1].shape.rank = -2);
    must_fail(op, "input 1 has no shape that can be: shape: rank is -2; expected 0 to 8");
    SAMPLE(in[1].shape.rank = -1);
    must_fail(op, "toy, sample 'matrix': input 1 is left out but not optional");
    SAMPLE(in[0].shape.dim[1] = -4);
    must_fail(op, "input 0 has no shape that can be: shape: size of axis 1 is -4");
    SAMPLE(in[0].shape.dim[1] = INT64_MAX);
    must_fail(op, "input 0 has no shape that can be: shape: ");
    SAMPLE(in[0].dtype = (wf_dtype)7);
    must_fail(op, "input 0 has no shape that can be: shape: dtype is 7; expected f32, f64 or i32");
    SAMPLE(in[0].low = 3);
    must_fail(op, "input 0 is drawn from [3, 2]; low must not be above high");
    SAMPLE(in[0].high = NAN);
    must_fail(op, "input 0 is drawn from [-2, nan]; low must not be above high");
    SAMPLE(in[0].gap = 2.5), must_fail(op, "input 0 keeps 2.5 away from 0 in [-2, 2]");
    SAMPLE(in[0].dtype = WF_I32, given.in[0].high = 1e10);
    must_fail(op, "input 0 is drawn from [-2, 1e+10], which an i32 cannot hold");
    SAMPLE(in[0].shape = given.in[1].shape = WF_SCALAR);
    must_fail(TOY(sample = samples_without_end),
              "toy: its samples do not end: there are more than 256");
}

static void backward_assigning(const wf_call *c)
{
    for (int64_t i = 0; c->gin[1] && i < wf_tensor_count(c->gin[1]); i++) put(c->gin[1], i, 0);
    toy_backward(c);
}

static void backward_all_or_nothing(const wf_call *c)
{
    if (c->gin[0] && c->gin[1]) toy_backward(c);
}

static void backward_row_major(const wf_call *c)
{
    wf_tensor gin[2];
    const wf_tensor *at_gin[2] = { NULL, NULL };
    for (int i = 0; i < 2; i++)
        if (c->gin[i]) {
            gin[i] = wf_tensor_of(c->gin[i]->dtype, wf_tensor_shape(c->gin[i]), c->gin[i]->data);
            at_gin[i] = &gin[i];
        }
    wf_call plain = *c;
    plain.gin = at_gin;
    toy_backward(&plain);
}

static void backward_of_output(const wf_call *c)
{
    if (!c->gout[0]) return;
    for (int64_t i = 0; i < wf_tensor_count(c->out[0]); i++) {
        double b = get(c->in[1], i), g = get(c->gout[0], i);
        if (c->gin[0]) put(c->gin[0], i, get(c->gin[0], i) + g * b * b);
        if (c->gin[1]) put(c->gin[1], i, get(c->gin[1], i) + 2 * g * get(c->out[0], i) / b);
    }
}

static void backward_beyond_scratch(const wf_call *c)
{
    toy_backward(c);
    ((char *)c->scratch)[16] = 1;
}

static void backward_into_cotangent(const wf_call *c)
{
    toy_backward(c);
    if (c->gout[0] && wf_tensor_count(c->gout[0])) put(c->gout[0], 0, 7);
}

static void backward_by_threads(const wf_call *c)
{
    toy_backward(c);
    if (c->gin[0] && c->threads > 1 && wf_tensor_count(c->gin[0]))
        put(c->gin[0], 0, get(c->gin[0], 0) * (1 + 3e-16));
}

static void backward_wrong_in_single(const wf_call *c)
{
    toy_backward(c);
    if (c->gin[0] && c->gin[0]->dtype == WF_F32 && wf_tensor_count(c->gin[0]))
        put(c->gin[0], 0, get(c->gin[0], 0) + 1e-2);
}

TEST(faults_of_a_backward_are_told)
{
    must_fail(TOY(backward = backward_assigning), "Jacobian of output 0: input 1");
    must_fail(TOY(backward = backward_all_or_nothing),
              "toy, sample 'matrix': gradients wanted 0x1, cotangents present 0x1: input 0");
    must_fail(TOY(backward = backward_row_major), "their gradients transposed: input 0");
    must_fail(TOY(backward = backward_of_output), "reads_in and reads_out is NaN: input 1");
    must_pass(TOY(backward = backward_of_output, changed()->reads_in = 2, changed()->reads_out = 1,
                  changed()->special = "backward divides by b, gradient does not"));
    must_fail(TOY(backward = backward_beyond_scratch),
              "backward used more scratch than its shape asked for");
    must_fail(TOY(backward = backward_into_cotangent),
              "backward wrote into output 0 or its gradient");
    must_fail(TOY(backward = backward_by_threads), "backward with three threads gives other bits");
    must_fail(TOY(backward = backward_wrong_in_single),
              "single precision, backward: input 0 at (0, 0): ");
}

static int calls;

static void forward_by_chance(const wf_call *c)
{
    toy_forward(c);
    calls++;
    if (wf_tensor_count(c->out[0]))
        put(c->out[0], 0, get(c->out[0], 0) * (1 + 4e-16 * (calls % 2)));
}

static void forward_beyond(const wf_call *c)
{
    toy_forward(c);
    int64_t n = wf_tensor_count(c->out[0]);
    if (c->out[0]->dtype == WF_F64) ((double *)c->out[0]->data)[n] = 0;
}

static void forward_into_input(const wf_call *c)
{
    toy_forward(c);
    if (wf_tensor_count(c->in[1])) put(c->in[1], 0, get(c->in[1], 0) + 1);
}

static void forward_row_major(const wf_call *c)
{
    wf_tensor in[2];
    const wf_tensor *at_in[2] = { &in[0], &in[1] };
    for (int i = 0; i < 2; i++)
        in[i] = wf_tensor_of(c->in[i]->dtype, wf_tensor_shape(c->in[i]), c->in[i]->data);
    wf_call plain = *c;
    plain.in = at_in;
    toy_forward(&plain);
}

static bool shape_that_reads(wf_shaping *s)
{
    return toy_shape(s) && (s->in[0]->data || wf_refuse(s->error, "there is no data yet"));
}

TEST(faults_of_a_forward_are_told)
{
    must_fail(TOY(forward = forward_by_chance), "forward once more: output 0 has other bits");
    must_fail(TOY(forward = forward_beyond), "forward wrote around output 0");
    must_fail(TOY(forward = forward_into_input), "forward wrote into input 1 or around it");
    must_fail(TOY(forward = forward_row_major), "transposed");
    must_fail(TOY(shape = shape_that_reads), "toy, sample 'matrix': refused: there is no data yet");
}

static void gradient_constant(wf_tape *t, const wf_gradient *g)
{
    toy_gradient(t, g);
    if (g->gin[0]) g->gin[0] = wf_detach(t, g->gin[0]);
}

static void gradient_of_the_value_only(wf_tape *t, const wf_gradient *g)
{
    toy_gradient(t, g);
    if (g->gin[1]) g->gin[1] = wf_mul_scalar(t, g->gin[1], 1 + 1e-5);
}

static bool reference_of_another_op(wf_tape *t, const wf_reference *r)
{
    toy_reference(t, r);
    r->out[0] = wf_mul_scalar(t, r->out[0], 1 + 1e-9);
    return true;
}

static bool reference_cut_off(wf_tape *t, const wf_reference *r)
{
    wf_reference cut = *r;
    cut.in = (wf_var *[]){ wf_detach(t, r->in[0]), r->in[1] };
    return toy_reference(t, &cut);
}

TEST(faults_of_a_gradient_or_a_reference_are_told)
{
    must_fail(TOY(gradient = gradient_constant), "second derivative by the inputs: input 1");
    must_fail(TOY(gradient = gradient_of_the_value_only), "gradient by value: input 1");
    must_fail(TOY(reference = reference_of_another_op), "reference: output 0");
    must_fail(TOY(reference = reference_cut_off), "reference differentiated: input 0");
}

TEST(a_failure_names_op_sample_input_element_and_both_figures)
{
    wf_report r = wf_op_check(TOY(backward = backward_assigning), NULL);
    ck_assert(!r.ok);
    ck_assert_ptr_eq(strstr(r.text, "toy, sample 'matrix': Jacobian of output 0: input 1 at ("),
                     r.text);
    ck_assert_msg(strstr(r.text, ": backward -") && strstr(r.text, ", differences "), "%s", r.text);
}

/* ---- any function of vars ---- */

/* The report is of a failure, and begins so. */
static void refused(wf_report r, const char *begins)
{
    ck_assert_msg(!r.ok && strstr(r.text, begins) == r.text, "%s", r.text);
}

/* y = tanh(x w + b) summed over rows, and the rows of w that ids name. */
static bool small_net(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n)
{
    (void)context;
    out[0] = wf_sum(t, wf_tanh(t, wf_add(t, wf_matmul(t, in[0], in[1]), in[2])), WF_AXES(0));
    out[1] = wf_square(t, wf_gather_rows(t, in[1], in[3]));
    *n = 2;
    return out[0] && out[1];
}

static void draw(uint64_t key, int64_t n, double *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = wf_random_normal(key, (uint64_t)i);
}

TEST(a_function_of_floats_and_ids_is_proved_to_second_order)
{
    double x[6], w[12], b[4];
    float w32[12];
    int32_t ids[5] = { 0, 2, 2, 1, 0 };
    draw(1, 6, x);
    draw(2, 12, w);
    draw(3, 4, b);
    for (int i = 0; i < 12; i++) w32[i] = (float)w[i];
    wf_tensor in[4] = { wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x),
                        wf_tensor_of(WF_F32, WF_SHAPE(3, 4), w32),
                        wf_tensor_of(WF_F64, WF_SHAPE(4), b),
                        wf_tensor_of(WF_I32, WF_SHAPE(5), ids) };
    wf_report r = wf_gradcheck(small_net, NULL, 4, in, NULL);
    ck_assert_msg(r.ok, "%s", r.text);
    ck_assert(r.worst < 1e-8);
    int64_t both = r.checked;
    r = wf_gradcheck(small_net, NULL, 4, in, &(wf_check_options){ .first_order_only = true });
    ck_assert_msg(r.ok, "%s", r.text);
    ck_assert_int_eq(r.checked, 6 + 12 + 4);
    ck_assert_int_gt(both, r.checked);
}

TEST(views_do_not_confuse_the_inputs_of_a_gradcheck)
{
    double x[24];
    draw(4, 24, x);
    wf_tensor whole = wf_tensor_of(WF_F64, WF_SHAPE(4, 6), x), turned;
    ck_assert(wf_view_transpose(&whole, 0, 1, &turned));
    ck_assert(wf_view_slice(&turned, 0, 1, 6, 2, &turned)); /* (3, 4) */
    double b[12];
    draw(5, 12, b);
    wf_tensor in[4] = { wf_tensor_of(WF_F64, WF_SHAPE(4, 3), b), turned,
                        wf_tensor_of(WF_F64, WF_SHAPE(4), b),
                        wf_tensor_of(WF_I32, WF_SHAPE(1), (int32_t[]){ 2 }) };
    assert_proved(wf_gradcheck(small_net, NULL, 4, in, NULL));
}

static bool with_params(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n)
{
    wf_module *m = context;
    wf_var *w = wf_module_param_at(m, 0), *b = wf_module_param_at(m, 1);
    out[0] = wf_sigmoid(t, wf_affine(t, wf_affine(t, in[0], w, b), w, NULL));
    *n = 1;
    return out[0];
}

TEST(the_parameters_of_a_module_are_proved_in_double_and_left_alone)
{
    OWN(wf_module) *m = wf_module_new("net", NULL);
    wf_var *w = wf_param_new(m, "w", WF_SHAPE(3, 3), (wf_init){ .kind = WF_INIT_NORMAL, .b = 1 });
    wf_var *b = wf_param_new(m, "b", WF_SHAPE(3), (wf_init){ .kind = WF_INIT_NORMAL, .b = 1 });
    double x[6];
    draw(6, 6, x);
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x);
    wf_report r = wf_gradcheck(with_params, m, 1, &in, &(wf_check_options){ .module = m });
    ck_assert_msg(r.ok, "%s", r.text);
    ck_assert(r.worst < 1e-8);
    ck_assert_ptr_null(wf_param_grad(w));
    ck_assert_ptr_null(wf_param_grad(b));
    /* Without the module they stay floats, which an op does not mix with doubles. */
    r = wf_gradcheck(with_params, m, 1, &in, NULL);
    ck_assert(!r.ok);
}

static wf_op planted;

FUNCTION(by_planted_op, wf_apply_one(t, &planted, 2, in, NULL))

static void backward_off(const wf_call *c)
{
    toy_backward(c);
    int64_t n = wf_tensor_count(c->in[1]);
    for (int64_t i = 0; c->gin[1] && i < n; i++)
        put(c->gin[1], i,
            get(c->gin[1], i) + 2e-5 * get(c->gout[0], i) * get(c->in[0], i) * get(c->in[1], i));
}

TEST(a_gradcheck_finds_an_error_of_one_in_a_hundred_thousand)
{
    double x[24];
    draw(7, 24, x);
    wf_tensor in[2] = { wf_tensor_of(WF_F64, WF_SHAPE(3, 4), x),
                        wf_tensor_of(WF_F64, WF_SHAPE(3, 4), x + 12) };
    planted = toy();
    assert_proved(wf_gradcheck(by_planted_op, NULL, 2, in, NULL));
    planted.backward = backward_off;
    refused(wf_gradcheck(by_planted_op, NULL, 2, in, NULL), "gradcheck: gradient: input 1 at (");
    planted = toy();
    planted.gradient = gradient_of_the_value_only;
    refused(wf_gradcheck(by_planted_op, NULL, 2, in, NULL),
            "gradcheck: gradient by value: input 1");
    planted.gradient = gradient_constant;
    refused(wf_gradcheck(by_planted_op, NULL, 2, in, NULL),
            "gradcheck: derivative of the gradient by the cotangents: output 0");
}

FUNCTION(that_fails, wf_matmul(t, in[0], in[0]))
FUNCTION(that_changes, wf_mul_scalar(t, in[0], 1 + 1e-9 * calls++))
static bool that_gives_nothing(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8],
                               int *n)
{
    (void)t;
    (void)context;
    (void)in;
    (void)out;
    *n = 0;
    return true;
}

FUNCTION(that_is_not_finite, wf_log(t, wf_neg(t, wf_abs(t, in[0]))))

TEST(a_function_that_cannot_be_proved_is_refused_with_a_sentence)
{
    double x[6] = { 1, 2, 3, 4, 5, 6 };
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x);
    refused(wf_gradcheck(that_fails, NULL, 1, &in, NULL), "gradcheck: the function: matmul: ");
    refused(wf_gradcheck(that_changes, NULL, 1, &in, NULL),
            "gradcheck: the function is not deterministic: called twice, it gave other values");
    refused(wf_gradcheck(that_gives_nothing, NULL, 1, &in, NULL),
            "gradcheck: the function gave 0 outputs; 1 to 8 can be");
    refused(wf_gradcheck(that_is_not_finite, NULL, 1, &in, NULL),
            "gradcheck: an output is not finite");
    refused(wf_gradcheck(NULL, NULL, 1, &in, NULL),
            "gradcheck: no function or no inputs were given (NULL)");
    refused(wf_gradcheck(that_fails, NULL, 0, NULL, NULL),
            "gradcheck: there is nothing to differentiate by");
}

FUNCTION(with_dropout, wf_square(t, wf_dropout(t, in[0], 0.5)))

/* ---- on a small stack ---- */

static void *check_on_it(void *context)
{
    static double x[4] = { 0.3, -0.2, 0.5, 1 };
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(4), x);
    wf_report *r = context;
    r[0] = wf_op_check(op_named("tanh"), NULL);
    r[1] = wf_op_check(op_named("max"), NULL);
    r[2] = wf_gradcheck(with_dropout, NULL, 1, &in, NULL);
    return NULL;
}

TEST(the_checkers_run_on_a_stack_of_48_kilobytes)
{
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    harness_skip("sanitizers put guards around everything on a stack");
    return;
#endif
    static _Alignas(4096) char stack[48 << 10];
    static wf_report r[3];
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    ck_assert_int_eq(pthread_attr_setstack(&attributes, stack, sizeof stack), 0);
    ck_assert_int_eq(pthread_create(&thread, &attributes, check_on_it, r), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++) ck_assert_msg(r[i].ok, "%s", r[i].text);
}

/* ---- when memory fails ---- */

static wf_report check_toy(void)
{
    wf_op op = toy();
    return wf_op_check(&op, NULL);
}

static wf_report check_function(void)
{
    static double x[6] = { 0.3, -0.2, 0.5, 1, -1, 0.7 };
    wf_tensor in = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x);
    return wf_gradcheck(with_dropout, NULL, 1, &in, NULL);
}

TEST_EACH(a_check_without_memory_fails_with_a_sentence_and_leaks_nothing, 4)
{
    wf_report (*const check[])(void) = { check_toy, check_function };
    wf_report r = check[_i % 2]();
    ck_assert_msg(r.ok, "%s", r.text);
    heap.fail_on = _i / 2;
    long before = heap.live, k = 1, refused = 0;
    for (;; k += k < 200 ? 1 : k / 6) {
        heap.asked = 0;
        heap.fail_at = k;
        r = check[_i % 2]();
        heap.fail_at = 0;
        ck_assert_int_eq(heap.live, before);
        if (heap.asked < k) break;
        refused += !r.ok;
        /* A tape may do without (it keeps its chunks unmerged); then the proof is whole. */
        ck_assert_msg(r.ok || strstr(r.text, "memory"), "allocation %ld: %s", k, r.text);
    }
    ck_assert_int_gt(refused, 3);
    ck_assert_msg(r.ok, "%s", r.text);
}

const harness_suite suite = { .threads = 3 };
