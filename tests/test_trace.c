/* A step that is recorded without being run, and run afterwards: the tape, the values and the
 * gradients are those of a step that ran at once. */
#include "autograd/ops.h"
#include "autograd/trace_private.h"
#include "autograd/views.h"
#include "layers/rnn.h"
#include "tests/harness.h"

#include <math.h>
#include <string.h>

enum { BATCH = 3, INPUT = 5, HIDDEN = 7, NUMBERS = 3 * HIDDEN * HIDDEN };

static wf_tape *t;

static void set_up(void)
{
    t = wf_tape_new(&(wf_tape_options){ .mode = WF_TRAIN, .seed = 3 });
}

const harness_suite suite = { .before = set_up };

static wf_var *leaf(wf_shape shape, double first)
{
    float x[NUMBERS];
    for (int64_t i = 0; i < wf_shape_count(&shape); i++) x[i] = (float)sin(first + 1.7 * (double)i);
    wf_var *v = wf_leaf(t, WF_F32, shape, x);
    ck_assert(wf_keep_grad(t, v));
    return v;
}

/* What a step is made of, and what it leaves: NaN first, so that what is not written shows. */
typedef struct fixture {
    wf_gru_cell cell;
    wf_var *in[6], *h;
    float y[BATCH * HIDDEN], grad[6][NUMBERS];
    int64_t nodes;
} fixture;

static void begin(fixture *w)
{
    memset(w, 0xff, sizeof *w);
    wf_tape_reset(t);
    wf_tape_set_step(t, 5);
    wf_var **in = w->in;
    in[0] = leaf(WF_SHAPE(BATCH, INPUT), 1);
    in[1] = leaf(WF_SHAPE(BATCH, HIDDEN), 2);
    in[2] = leaf(WF_SHAPE(3 * HIDDEN, INPUT), 3);
    in[3] = leaf(WF_SHAPE(3 * HIDDEN, HIDDEN), 4);
    in[4] = leaf(WF_SHAPE(3 * HIDDEN), 5);
    in[5] = leaf(WF_SHAPE(3 * HIDDEN), 6);
    w->cell =
        (wf_gru_cell){ .weight_ih = in[2], .weight_hh = in[3], .bias_ih = in[4], .bias_hh = in[5] };
    w->h = in[1];
}

/* Views, random numbers and several outputs of one op are among it. */
static void step(fixture *w)
{
    wf_gru_row()->step(t, &w->cell, w->in[0], &w->h);
    w->h = wf_dropout(t, w->h, 0.3);
    w->h = wf_transpose(t, wf_transpose(t, w->h, 0, 1), 0, 1);
}

static void end(fixture *w)
{
    w->nodes = t->nodes;
    ck_assert_msg(wf_copy_out(w->h, w->y, BATCH * HIDDEN), "%s", wf_tape_error(t));
    ck_assert_msg(wf_backward(t, wf_sum(t, wf_square(t, w->h), NULL)), "%s", wf_tape_error(t));
    for (int i = 0; i < 6; i++) {
        const wf_tensor *g = wf_grad_of(w->in[i]);
        memcpy(w->grad[i], g->data, (size_t)wf_tensor_count(g) * sizeof(float));
    }
}

static void same(const fixture *a, const fixture *b)
{
    ck_assert_int_eq(a->nodes, b->nodes);
    ck_assert_mem_eq(a->y, b->y, sizeof a->y);
    ck_assert_mem_eq(a->grad, b->grad, sizeof a->grad);
}

TEST(a_step_recorded_and_then_run_is_one_that_ran_at_once)
{
    static fixture eager, traced;
    begin(&eager);
    step(&eager);
    end(&eager);
    trace r;
    begin(&traced);
    int64_t before = arena_used(&t->values);
    ck_assert(trace_begin(t, &r));
    step(&traced);
    ck_assert_msg(trace_end(t, &r), "%s", wf_tape_error(t));
    ck_assert_int_gt(r.bytes, 15 * BATCH * HIDDEN * 4);
    /* The nodes and vars alone take memory, and no random number is spent. */
    ck_assert_int_lt(arena_used(&t->values) - before, (t->nodes + 12) * 512);
    ck_assert_uint_eq(t->random_ops, 0);
    ck_assert_msg(trace_run(t, &r), "%s", wf_tape_error(t));
    end(&traced);
    same(&eager, &traced);
    wf_tape_free(t);
}

TEST(what_was_recorded_can_be_taken_back_and_leaves_nothing)
{
    static fixture eager, after;
    begin(&eager);
    step(&eager);
    end(&eager);
    trace r;
    begin(&after);
    wf_mark mark = wf_tape_mark(t);
    ck_assert(trace_begin(t, &r));
    step(&after);
    ck_assert(trace_end(t, &r));
    ck_assert(wf_tape_rewind(t, mark, 0, NULL));
    after.h = after.in[1];
    step(&after);
    end(&after);
    same(&eager, &after);
    wf_tape_free(t);
}

/* ids out of range are told when the step runs. */
TEST(the_checks_of_values_wait_until_the_step_runs)
{
    wf_tensor ids = wf_tensor_of(WF_I32, WF_SHAPE(2), (int32_t[]){ 1, 9 });
    wf_var *table = leaf(WF_SHAPE(4, 3), 1), *which = wf_constant_tensor(t, &ids);
    trace r;
    ck_assert(trace_begin(t, &r));
    wf_var *y = wf_gather_rows(t, table, which);
    ck_assert_int_eq(wf_dim(y, 0), 2);
    ck_assert(trace_end(t, &r));
    ck_assert(!trace_run(t, &r));
    ck_assert_str_eq(wf_tape_error(t),
                     "gather_rows: id 9 at (1) is out of range: there are 4 rows");
    wf_tape_free(t);
}

/* Whatever reads x, and is true where it could not. */
#define READS(name, ...)                                                                           \
    static bool name(wf_var *x)                                                                    \
    {                                                                                              \
        return __VA_ARGS__;                                                                        \
    }
READS(item, isnan(wf_item(x)))
READS(element, isnan(wf_at(x, 0)))
READS(value, !wf_value(x))
READS(data, !wf_data(wf_unsqueeze(t, x, 0)))
READS(copied, !wf_copy_out(x, &(float){ 0 }, 1))
READS(kept, !wf_tape_rewind(t, wf_tape_mark(t), 1, &x))
READS(swept, !wf_backward(t, x))

TEST_EACH(nothing_reads_a_value_that_is_not_there, 7)
{
    static const struct {
        bool (*fails)(wf_var *x);
        const char *sentence;
    } all[] = {
        { item, "read: the value is not there: a step is being recorded" },
        { element, "read: the value is not there: a step is being recorded" },
        { value, "read: the value is not there: a step is being recorded" },
        { data, "read: the value is not there: a step is being recorded" },
        { copied, "read: the value is not there: a step is being recorded" },
        { kept, "read: the value is not there: a step is being recorded" },
        { swept, "backward: trace has not ended on this tape, and this was called from within it" },
    };
    wf_var *x = leaf(WF_SCALAR, 1);
    trace r;
    ck_assert(trace_begin(t, &r));
    wf_var *y = wf_tanh(t, x);
    ck_assert(wf_item(x) == (double)(float)sin(1));
    ck_assert(all[_i].fails(y));
    ck_assert(!trace_end(t, &r));
    ck_assert_str_eq(wf_tape_error(t), all[_i].sentence);
    wf_tape_reset(t);
    x = leaf(WF_SCALAR, 1);
    ck_assert_double_eq_tol(wf_item(wf_tanh(t, x)), tanh(sin(1)), 1e-6);
    wf_tape_free(t);
}

TEST(a_trace_within_a_trace_leaves_the_outer_one_as_it_was)
{
    wf_var *x = leaf(WF_SHAPE(3), 1), *y[3];
    trace outer, inner;
    ck_assert(trace_begin(t, &outer));
    y[0] = wf_tanh(t, x);
    ck_assert(trace_begin(t, &inner));
    y[1] = wf_tanh(t, x);
    ck_assert(trace_end(t, &inner));
    y[2] = wf_tanh(t, x); /* still recorded alone, and apart from both */
    ck_assert(trace_end(t, &outer));
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < i; k++) ck_assert_ptr_ne(y[i]->value.data, y[k]->value.data);
    ck_assert_msg(trace_run(t, &outer), "%s", wf_tape_error(t));
    for (int i = 0; i < 3; i++) ck_assert_double_eq_tol(wf_at(y[i], 0), tanh(wf_at(x, 0)), 1e-6);
    wf_tape_free(t);
}
