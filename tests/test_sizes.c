/* Sizes whose products and sums leave an int64_t, or come near its end: one sentence, and no
 * arithmetic that overflows on the way (which the sanitizer build sees). */
#include "tests/harness.h"
#include "tests/toy_op.h"

#include <weft.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define HUGE (INT64_C(1) << 60)

static wf_tape *t;

static void begin(void)
{
    t = wf_tape_new(NULL);
}

static void end(void)
{
    wf_tape_free(t);
}

static void says(const wf_var *made, const char *sentence)
{
    ck_assert_ptr_null(made);
    ck_assert_str_eq(wf_tape_error(t), sentence);
    wf_tape_reset(t);
}

static wf_var *empty(int64_t rows, int64_t columns)
{
    wf_var *x = wf_leaf(t, WF_F32, WF_SHAPE(rows, columns), NULL);
    ck_assert_msg(x, "%s", wf_tape_error(t));
    return x;
}

#define LARGE "the result (1152921504606846976) is more than memory can hold"
#define SQUARE "the result (1073741824, 1073741824) is more than memory can hold"

TEST(a_result_of_2_to_the_60_elements_out_of_nothing_is_refused_in_a_sentence)
{
    says(wf_sum(t, empty(0, HUGE), WF_AXES(0)), "sum: " LARGE);
    says(wf_mean(t, empty(HUGE, 0), WF_AXES(1)), "mean: " LARGE);
    says(wf_sum_to(t, empty(0, HUGE), WF_SHAPE(HUGE)), "sum_to: " LARGE);
    says(wf_max(t, empty(0, HUGE), WF_AXES(0)),
         "max: (0, 1152921504606846976) has nothing to choose from");
    says(wf_norm(t, empty(0, HUGE), WF_AXES(0)), "norm: its work is more than memory can hold");
    says(wf_expand(t, empty(1, 1), WF_SHAPE(1 << 30, 1 << 30)), "expand: " SQUARE);
    says(wf_matmul(t, empty(1 << 30, 0), empty(0, 1 << 30)), "matmul: " SQUARE);
    says(wf_affine(t, empty(1 << 30, 0), empty(1 << 30, 0), NULL), "affine: " SQUARE);
}

/* Scratch near the end of an int64_t, of a row that asks for it. */
static int64_t asked[2];

static bool greedy_shape(wf_shaping *s)
{
    if (!toy_shape(s)) return false;
    s->scratch_forward = asked[0];
    s->scratch_backward = asked[1];
    return true;
}

TEST(scratch_near_the_end_of_the_range_is_out_of_memory_and_nothing_else)
{
    static const int64_t sizes[] = { INT64_MAX,      INT64_MAX - 1, INT64_MAX - 62,
                                     INT64_MAX - 63, INT64_MAX / 2, INT64_MAX / 4 + 1,
                                     INT64_MAX / 4 };
    wf_op greedy = toy();
    greedy.name = "greedy";
    greedy.shape = greedy_shape;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const char *sentence = worded("greedy: out of memory for %lld bytes", (long long)sizes[i]);
        double x[3] = { 1, 2, 3 };
        asked[0] = sizes[i], asked[1] = 16;
        wf_var *in[2] = { wf_leaf(t, WF_F64, WF_SHAPE(3), x), wf_leaf(t, WF_F64, WF_SHAPE(3), x) };
        says(wf_apply_one(t, &greedy, 2, in, NULL), sentence);
        asked[0] = 16, asked[1] = sizes[i];
        in[0] = wf_leaf(t, WF_F64, WF_SHAPE(3), x);
        in[1] = wf_leaf(t, WF_F64, WF_SHAPE(3), x);
        wf_var *y = wf_sum(t, wf_apply_one(t, &greedy, 2, in, NULL), NULL);
        ck_assert(wf_keep_grad(t, in[0]) && !wf_backward(t, y));
        says(NULL, sentence);
        for (int k = 0; k < 2; k++) {
            asked[0] = k ? 16 : sizes[i], asked[1] = k ? sizes[i] : 16;
            wf_report report = wf_op_check(&greedy, NULL);
            ck_assert(!report.ok);
            ck_assert_msg(strstr(report.text, "no memory"), "%s", report.text);
        }
    }
}

/* A cell without parameters, so that nothing else refuses its width. */
static void idle_step(wf_tape *tape, const void *self, wf_var *x, wf_var *state[])
{
    (void)tape, (void)self, (void)x, (void)state;
}

TEST(layers_that_are_too_wide_for_a_number_are_refused_in_a_sentence)
{
    const wf_cell idle = {
        .name = "idle",
        .size = sizeof(int64_t),
        .step = idle_step,
        .states = WF_STATES(WF_STATE("h", WF_OUTPUT), WF_STATE("c", WF_HIDDEN)),
    };
    wf_rnn_options o = {
        .input = 1, .hidden = INT64_MAX / 2 + 1, .layers = 2, .bidirectional = true
    };
    wf_module *net = wf_module_new("net", NULL);
    ck_assert_ptr_null(wf_rnn_new(net, "rnn", &idle, &o));
    assert_tree_fails(net, "rnn: an output of 4611686018427387904 in 2 directions is too wide");
    net = wf_module_new("net", NULL);
    o.bidirectional = false;
    ck_assert_ptr_null(wf_carry_new(wf_rnn_new(net, "rnn", &idle, &o), 3));
    assert_tree_fails(net, "carry: out of memory for 3 sequences");
}

const harness_suite suite = { .before = begin, .after = end };
