/* Loops over time: random steps in wf_scan equal the same steps by hand, one sequence at a time;
 * and what a loop says of what it cannot take. `FROM=1 COUNT=20000 test_scan --programs`: more. */
#include "autograd/scan_private.h"
#include "tests/programs.h"

#include <stdio.h>
#include <string.h>

static int more_programs(void);
const harness_suite suite = { .child = more_programs, .threads = 5 };

enum { PARTS = 4, EACH = 500 };

TEST_EACH(a_random_step_in_a_loop_equals_itself_by_hand, PARTS)
{
    char told[700];
    int failures = programs_failing((uint64_t)(_i * EACH + 1), EACH, told);
    ck_assert_msg(failures == 0, "%d of %d programs differ\n%s", failures, EACH, told);
    /* Of the others most have fewer than three steps, or mix rows. */
    ck_assert_int_gt(3 * program_counts.planned, program_counts.loops);
}

TEST(random_steps_apply_every_row_there_is)
{
    char told[700];
    ck_assert_int_eq(programs_failing(100000, 500, told), 0);
    for (int i = 0; wf_op_at(i); i++) {
        const char *name = wf_op_at(i)->name;
        static const char *const elsewhere[] = {
            "add_into",          "alias", "ctc_loss", "crf_loss", "scaled_dot_attention",
            "scaled_dot_dropped"
        };
        bool not_drawn = false;
        for (size_t k = 0; k < sizeof elsewhere / sizeof elsewhere[0]; k++)
            not_drawn |= !strcmp(name, elsewhere[k]);
        ck_assert_int_lt(i, PROGRAM_ROWS);
        ck_assert_msg(program_used[i] != not_drawn, "%s", name);
    }
}

/* ---- by numbers ---- */

/* Row b of x, (1, ...). */
static wf_var *row_of(wf_tape *t, wf_var *x, int64_t b)
{
    return wf_slice(t, x, 0, b, b + 1, 1);
}

static void assert_near(const wf_var *got, const wf_var *want, double relative)
{
    ck_assert_int_eq(wf_count(got), wf_count(want));
    for (int64_t i = 0; i < wf_count(want); i++)
        ck_assert_double_eq_tol(wf_at(got, i), wf_at(want, i), relative);
}

/* The sum so far, and twice x. */
static void sums(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    (void)context;
    state[0] = wf_add(t, state[0], x[0]);
    y[0] = state[0];
    y[1] = wf_mul_scalar(t, x[0], 2);
}

static void assert_numbers(const wf_var *x, const double *want)
{
    for (int64_t i = 0; i < wf_count(x); i++) ck_assert_double_eq(wf_at(x, i), want[i]);
}

TEST(sums_of_sequences_of_different_lengths)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const double x[] = { 1, 10, 100, 2, 20, 200, 3, 30, 300 };
    wf_scan_call call = {
        .step = sums,
        .sequences = WF_VARS(wf_leaf(t, WF_F64, WF_SHAPE(3, 3), x)),
        .initial = WF_VARS(wf_leaf(t, WF_F64, WF_SHAPE(3), (double[]){ 0.5, 0, 0 })),
        .outputs = 2,
        .lengths = wf_constant(t, WF_I32, WF_SHAPE(3), (int32_t[]){ 2, 0, 3 }),
    };
    wf_var *y[2], *final[1];
    ck_assert(wf_scan(t, &call, y, final));
    assert_numbers(y[0], (double[]){ 1.5, 0, 100, 3.5, 0, 300, 0, 0, 600 });
    assert_numbers(y[1], (double[]){ 2, 0, 200, 4, 0, 400, 0, 0, 600 });
    assert_numbers(final[0], (double[]){ 3.5, 0, 600 });
    call.reverse = true;
    ck_assert(wf_scan(t, &call, y, final));
    assert_numbers(y[0], (double[]){ 3.5, 0, 600, 2.5, 0, 500, 0, 0, 300 });
    assert_numbers(final[0], (double[]){ 3.5, 0, 600 });
    ck_assert(wf_scan(t, &call, y, NULL));
}

/* The largest of a row of `context`'s table becomes the next id. */
static void decodes(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                    wf_var *y[])
{
    (void)x;
    wf_var *const *table = context;
    state[0] = wf_argmax(t, wf_gather_rows(t, *table, state[0]), -1);
    y[0] = state[0];
}

TEST(a_loop_without_sequences_feeds_itself)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *table = wf_leaf(t, WF_F32, WF_SHAPE(3, 3), (float[]){ 0, 1, 0, 0, 0, 1, 1, 0, 0 }), *y,
           *state = wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 0, 2 });
    const wf_scan_call call = {
        .step = decodes, .context = &table, .time = 4, .initial = WF_VARS(state), .outputs = 1
    };
    ck_assert(wf_scan(t, &call, &y, &state));
    assert_numbers(y, (double[]){ 1, 0, 2, 1, 0, 2, 1, 0 });
    assert_numbers(state, (double[]){ 1, 0 });
}

TEST(a_loop_of_no_step_knows_what_its_outputs_would_be)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *y[2], *state = wf_leaf(t, WF_F64, WF_SHAPE(2, 5), NULL), *final;
    wf_scan_call call = { .step = sums,
                          .sequences = WF_VARS(wf_leaf(t, WF_F64, WF_SHAPE(0, 2, 5), NULL)),
                          .initial = WF_VARS(state),
                          .outputs = 2 };
    const wf_shape none = WF_SHAPE(0, 2, 5), empty = WF_SHAPE(3, 2, 5);
    ck_assert(wf_scan(t, &call, y, &final));
    for (int j = 0; j < 2; j++) {
        const wf_shape got = wf_shape_of(y[j]);
        ck_assert(wf_shape_equal(&got, &none));
    }
    ck_assert_ptr_eq(final, state);
    call.sequences = WF_VARS(wf_leaf(t, WF_F64, WF_SHAPE(3, 2, 5), NULL));
    call.lengths = wf_constant(t, WF_I32, WF_SHAPE(2), NULL);
    ck_assert(wf_scan(t, &call, y, &final));
    const wf_shape got = wf_shape_of(y[1]);
    ck_assert(wf_shape_equal(&got, &empty));
    for (int j = 0; j < 2; j++)
        for (int64_t i = 0; i < wf_count(y[j]); i++) ck_assert_double_eq(wf_at(y[j], i), 0);
}

/* ---- what is computed before the loop ---- */

static wf_op counted; /* affine, whose forward counts */
static int products;
static int64_t most_rows;

static void count_forward(const wf_call *c)
{
    products++;
    if (c->in[0]->dim[0] > most_rows) most_rows = c->in[0]->dim[0];
    wf_call call = *c;
    call.op = op_named("affine");
    call.op->forward(&call);
}

typedef struct cell {
    wf_var *w, *u;
    bool reads, rowless; /* a value that has no rows: no plan */
} cell;

static wf_var *product(wf_tape *t, wf_var *x, wf_var *w)
{
    return wf_apply_one(t, &counted, 3, (wf_var *[]){ x, w, NULL }, NULL);
}

/* h = tanh(W x + U h), all of it by the op that counts. */
static void elman(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    const cell *c = context;
    if (c->reads) (void)wf_at(x[0], 0);
    wf_var *a = wf_add(t, product(t, x[0], c->w), product(t, state[0], c->u));
    if (c->rowless) a = wf_add(t, a, wf_mul_scalar(t, wf_sum(t, state[0], NULL), 0));
    y[0] = state[0] = wf_tanh(t, a);
}

/* Seven steps, by wf_scan or by hand. */
static wf_var *seven(wf_tape *t, cell *c, bool looped, const int32_t *length)
{
    counted = *op_named("affine");
    counted.forward = count_forward;
    products = 0;
    most_rows = 0;
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(7, 3, 4), 1, -1, 1), *y, *all[7];
    wf_var *state = drawn(t, WF_F64, WF_SHAPE(3, 5), 2, -1, 1);
    c->w = drawn(t, WF_F64, WF_SHAPE(5, 4), 3, -1, 1);
    c->u = drawn(t, WF_F64, WF_SHAPE(5, 5), 4, -1, 1);
    wf_scan_call call = { .step = elman,
                          .context = c,
                          .sequences = WF_VARS(x),
                          .initial = WF_VARS(state),
                          .outputs = 1 };
    if (length) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(3), length);
    if (looped) return wf_scan(t, &call, &y, NULL) ? y : NULL;
    for (int i = 0; i < 7; i++) {
        wf_var *now = wf_select(t, x, 0, i);
        elman(t, c, &now, &state, &all[i]);
    }
    return wf_stack(t, 0, (wf_vars){ 7, all });
}

TEST(what_depends_on_no_state_is_computed_for_all_steps_at_once)
{
    OWN(wf_tape) *t = wf_tape_new(NULL), *h = wf_tape_new(NULL);
    cell c = { .rowless = true };
    wf_var *got = seven(t, &c, true, NULL);
    ck_assert_int_eq(products, 1 + 7);
    ck_assert_int_eq(most_rows, 7 * 3);
    wf_var *want = seven(h, &c, false, NULL);
    ck_assert_int_eq(products, 7 + 7);
    assert_near(got, want, 1e-15);
    wf_tape_reset(t);
    ck_assert_ptr_nonnull(seven(t, &c, true, (int32_t[]){ 2, 0, 5 }));
    ck_assert_int_eq(products, 1 + 5);
    ck_assert_int_eq(most_rows, 2 + 5); /* none of padding */
}

TEST(a_step_that_reads_values_runs_as_it_is_and_nothing_is_said)
{
    OWN(wf_tape) *t = wf_tape_new(NULL), *h = wf_tape_new(NULL);
    cell c = { .reads = true };
    wf_var *got = seven(t, &c, true, NULL);
    ck_assert_int_eq(products, 7 + 7);
    ck_assert_int_eq(log_kept.times, 0);
    ck_assert_str_eq(wf_tape_error(t), "");
    wf_var *want = seven(h, &c, false, NULL);
    assert_near(got, want, 1e-15);
}

/* It chooses what it reads, by which op, and how much of what is closed over, by how many rows
 * there are. */
static void chooses(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                    wf_var *y[])
{
    const cell *c = context;
    const int64_t n = wf_dim(x[0], 0);
    wf_var *some = wf_sum(t, wf_slice(t, c->w, 0, 0, n, 1), WF_AXES(0)); /* (4) */
    wf_var *in = n == 1 ? wf_affine(t, x[0], c->w, NULL)
                        : product(t, n == 2 ? x[1] : x[0], c->w); /* (n, 5) */
    state[0] = wf_add(t, wf_add(t, in, wf_sum_keep(t, some, NULL)), state[0]);
    y[0] = state[0];
}

TEST(what_a_step_is_handed_was_made_by_the_op_and_of_the_inputs_that_it_names)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const int32_t length[3] = { 4, 3, 2 };
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(4, 3, 4), 1, -1, 1),
           *z = drawn(t, WF_F64, WF_SHAPE(4, 3, 4), 2, -1, 1), *y, *last, *want[3];
    cell c = { .w = drawn(t, WF_F64, WF_SHAPE(5, 4), 3, -1, 1) };
    counted = *op_named("affine");
    counted.forward = count_forward;
    const wf_scan_call call = { .step = chooses,
                                .context = &c,
                                .sequences = WF_VARS(x, z),
                                .initial = WF_VARS(wf_zeros(t, WF_F64, WF_SHAPE(3, 5))),
                                .outputs = 1,
                                .lengths = wf_constant(t, WF_I32, WF_SHAPE(3), length) };
    products = 0;
    ck_assert(wf_scan(t, &call, &y, &last));
    ck_assert_int_eq(products, 1 + 1); /* for all rows; anew where another input was named */
    for (int b = 0; b < 3; b++) want[b] = wf_zeros(t, WF_F64, WF_SHAPE(1, 5));
    for (int i = 0; i < 4; i++) {
        const int n = i < 2 ? 3 : i < 3 ? 2 : 1;
        wf_var *some = wf_sum_keep(t, wf_slice(t, c.w, 0, 0, n, 1), NULL);
        for (int b = 0; b < n; b++) {
            wf_var *from = row_of(t, wf_select(t, n == 2 ? z : x, 0, i), b);
            want[b] = wf_add(t, wf_add(t, wf_affine(t, from, c.w, NULL), some), want[b]);
        }
    }
    wf_var *all = wf_concat(t, 0, (wf_vars){ 3, want });
    assert_near(last, all, 1e-14);
}

/* A loop of one step within a step: what is around it is still handed its rows. */
static void inner(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    const cell *c = context;
    wf_var *one = wf_unsqueeze(t, x[0], 0), *made;
    const wf_scan_call call = {
        .step = sums, .sequences = { 1, &one }, .initial = { 1, x }, .outputs = 2
    };
    wf_var *both[2];
    if (!wf_scan(t, &call, both, NULL)) return;
    made = product(t, x[0], c->w);
    made = wf_add(t, made, wf_mul_scalar(t, wf_sum(t, state[0], NULL), 0)); /* so it has no plan */
    y[0] = state[0] = wf_add(t, made, state[0]);
}

/* ---- what lies in memory by chance ---- */

static void assert_same_attributes(const program *p, const traced_step *a, const traced_step *b)
{
    const node *y = b->first;
    ck_assert_int_eq(a->nodes, b->nodes);
    for (const node *x = a->first; x; x = x->next, y = y->next) {
        ck_assert_ptr_eq(x->op, y->op);
        ck_assert_msg(!memcmp(x->attr, y->attr, (size_t)x->op->attr_size),
                      "%s: attributes of %s hold what lay in memory", program_text(p), x->op->name);
    }
}

/* A loop compares them from step to step: what it computes ahead, and how, would depend on it. */
TEST(what_lay_in_memory_is_no_part_of_an_ops_attributes)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        const program p = program_drawn(seed);
        OWN(wf_module) *net = program_net(&p);
        OWN(wf_tape) *t = wf_tape_new(NULL);
        program_vars v;
        traced_step step[2];
        scan s = { .name = "scan", .step = program_step, .context = &v };
        ck_assert(program_vars_make(t, &p, net, &v) && program_vars_close(t, &v));
        s.sequences = p.sequences;
        s.states = p.states;
        s.outputs = p.outputs;
        memcpy(s.x, v.x, sizeof s.x);
        memcpy(s.state, v.initial, sizeof s.state);
        for (int i = 0; i < 2; i++) ck_assert(scan_trace(t, &s, p.batch, false, &step[i]));
        assert_same_attributes(&p, &step[0], &step[1]);
    }
}

static int leftover;

static wf_shape soiled(int64_t size)
{
    wf_shape shape;
    memset(&shape, leftover, sizeof shape);
    leftover += 3;
    shape.rank = 1;
    shape.dim[0] = size;
    return shape;
}

static void repeats(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                    wf_var *y[])
{
    wf_var *const *w = context; /* (1), whose uses are once for all steps */
    wf_var *row = wf_tanh(t, wf_expand(t, *w, soiled(4)));
    wf_var *one = wf_sum_to(t, row, soiled(1));
    state[0] = wf_tanh(t, wf_add(t, wf_mul(t, state[0], row), wf_mul(t, x[0], one)));
    y[0] = state[0];
}

TEST(how_a_loop_runs_is_not_decided_by_what_was_left_over_in_a_shape)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *w = drawn(t, WF_F64, WF_SHAPE(1), 1, -1, 1);
    const wf_scan_call call = {
        .step = repeats,
        .context = &w,
        .sequences = WF_VARS(drawn(t, WF_F64, WF_SHAPE(5, 3, 4), 2, -1, 1)),
        .initial = WF_VARS(drawn(t, WF_F64, WF_SHAPE(3, 4), 3, -1, 1)),
        .lengths = wf_constant(t, WF_I32, WF_SHAPE(3), (int32_t[]){ 5, 3, 1 }),
        .outputs = 1,
    };
    leftover = 1;
    ck_assert_ptr_nonnull(strstr(wf_scan_explain(t, &call), "planned, 5 steps"));
}

TEST(a_loop_within_a_step_leaves_the_outer_one_what_it_has)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    cell c = { .w = drawn(t, WF_F64, WF_SHAPE(5, 4), 3, -1, 1) };
    wf_var *y;
    counted = *op_named("affine");
    counted.forward = count_forward;
    products = 0;
    const wf_scan_call call = { .step = inner,
                                .context = &c,
                                .sequences = WF_VARS(drawn(t, WF_F64, WF_SHAPE(7, 3, 4), 1, -1, 1)),
                                .initial = WF_VARS(wf_zeros(t, WF_F64, WF_SHAPE(3, 5))),
                                .outputs = 1 };
    ck_assert(wf_scan(t, &call, &y, NULL));
    ck_assert_int_eq(products, 1);
}

TEST(a_plain_loop_gives_what_a_planned_one_does)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    cell c = { .reads = false };
    wf_var *got = seven(t, &c, true, (int32_t[]){ 2, 7, 5 }), *want;
    wf_scan_call call = { .step = elman,
                          .context = &c,
                          .sequences = WF_VARS(drawn(t, WF_F64, WF_SHAPE(7, 3, 4), 1, -1, 1)),
                          .initial = WF_VARS(drawn(t, WF_F64, WF_SHAPE(3, 5), 2, -1, 1)),
                          .outputs = 1,
                          .lengths = wf_constant(t, WF_I32, WF_SHAPE(3), (int32_t[]){ 2, 7, 5 }),
                          .plain = true };
    ck_assert_int_eq(products, 0); /* a plan multiplies by itself */
    ck_assert(wf_scan(t, &call, &want, NULL));
    ck_assert_int_eq(products, 7 + 7);
    assert_near(got, want, 1e-15);
}

/* It resets the tape that it runs on. */
static void resets(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    (void)context, (void)x;
    wf_tape_reset(t);
    y[0] = state[0] = wf_zeros(t, WF_F64, WF_SHAPE(2));
}

TEST_EACH(a_step_that_resets_its_tape_fails_it, 2)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *y = NULL, *state = wf_zeros(t, WF_F64, WF_SHAPE(2));
    const wf_scan_call call = {
        .step = resets, .time = _i ? 5 : 2, .initial = { 1, &state }, .outputs = 1
    };
    ck_assert(!wf_scan(t, &call, &y, NULL));
    ck_assert_ptr_null(y);
    ck_assert_str_ne(wf_tape_error(t), "");
}

/* A step that keeps a state in a carry of its own. */
static void carries(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                    wf_var *y[])
{
    wf_carry *const *c = context;
    wf_rnn *const *rnn = (wf_rnn *const *)(context) + 1;
    (void)state;
    y[0] = wf_rnn_forward(t, *rnn, wf_unsqueeze(t, x[0], 0), &(wf_rnn_call){ .carry = *c });
    y[0] = wf_select(t, y[0], 0, 0);
}

TEST(a_carry_within_a_step_is_written_as_often_as_the_step_runs)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    struct {
        wf_carry *carry;
        wf_rnn *rnn;
    } both = { .rnn = wf_gru_new(net, "rnn", &(wf_rnn_options){ .input = 4, .hidden = 3 }) };
    OWN(wf_carry) *carry = both.carry = wf_carry_new(both.rnn, 2);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(5, 2, 4), 1, -1, 1), *y;
    const wf_scan_call call = {
        .step = carries, .context = &both, .sequences = WF_VARS(x), .outputs = 1
    };
    ck_assert(wf_scan(t, &call, &y, NULL));
    wf_var *want = wf_rnn_forward(t, both.rnn, x, NULL);
    assert_near(y, want, 1e-15);
}

/* ---- what it says ---- */

/* context: which mistake to make. */
static void mistaken(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],
                     wf_var *y[])
{
    const int *mistake = context;
    y[0] = state[0] = wf_tanh(t, state[0]);
    if (*mistake == 1) state[0] = NULL;
    if (*mistake == 2) state[0] = wf_cast(t, state[0], WF_F32);
    if (*mistake == 3) y[0] = wf_select(t, state[0], -1, 0);
    if (*mistake == 4) y[0] = wf_sum(t, state[0], NULL);
    if (*mistake == 5) y[0] = NULL;
    if (*mistake == 6) (void)wf_item(wf_sum(t, x[0], NULL));
    if (*mistake == 7) y[0] = wf_leaf(t, WF_F64, WF_SHAPE(2, 1, 1, 1, 1, 1, 1, 1), NULL);
}

/* A call that is in order, but for the step's mistake. */
static wf_scan_call call_of(wf_tape *t, const int *mistake, wf_var *given[2])
{
    given[0] = wf_leaf(t, WF_F64, WF_SHAPE(3, 2, 4), NULL);
    given[1] = wf_leaf(t, WF_F64, WF_SHAPE(2, 5), NULL);
    return (wf_scan_call){ .step = mistaken,
                           .context = mistake,
                           .outputs = 1,
                           .sequences = { 1, given },
                           .initial = { 1, given + 1 } };
}

TEST(each_mistake_of_a_step_is_one_sentence)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    static const char *const names[] = { "h" };
    static const struct {
        int mistake;
        const char *text;
    } steps[] = {
        { 1, "scan: its step left no state 0" },
        { 2, "scan: its step made state 0 f32 (2, 5); expected f64 (2, 5)" },
        { 4, "scan: its step made output 0 f64 (); expected f64 (2)" },
        { 5, "scan: its step left no output 0" },
        { 7, "scan: its step made output 0 f64 (2, 1, 1, 1, 1, 1, 1, 1); expected f64 "
             "(2, 1, 1, 1, 1, 1, 1)" },
    };
    wf_var *y, *given[2];
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        wf_scan_call call = call_of(t, &steps[i].mistake, given);
        ck_assert(!wf_scan(t, &call, &y, NULL));
        ck_assert_ptr_null(y);
        assert_fails(t, steps[i].text);
    }
    wf_scan_call call = call_of(t, &steps[0].mistake, given);
    call.name = "cell 'mine'";
    call.state_names = names;
    ck_assert(!wf_scan(t, &call, &y, NULL));
    assert_fails(t, "cell 'mine': its step left no state h");
}

TEST_EACH(each_mistake_of_a_call_is_one_sentence, 10)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    static const char *const text[] = {
        "scan: .step was never made (NULL)",
        "scan: there is no sequence and no state; one must say how many rows a step has",
        "scan: 9 outputs; there can be 0 to 8",
        "scan: .time is 0; it must be 1 or more, or 0 with sequences",
        "scan: the list of states was never made (NULL)",
        "scan: sequence 0 is (3); expected (time, batch, ...)",
        "scan: sequence 0 is (3, 2, 4); expected (4, 2, ...)",
        "scan: state 0 is (3, 5); expected (2, ...)",
        "scan: lengths are i32 (3); expected i32 (2)",
        "scan: lengths[1] is 4; it must be from 0 to 3",
    };
    const int none = 0;
    wf_var *y[9], *given[2];
    wf_scan_call call = call_of(t, &none, given);
    switch (_i) {
    case 0: call.step = NULL; break;
    case 1: call.sequences.n = call.initial.n = 0; break;
    case 2: call.outputs = 9; break;
    case 3: call.sequences.n = 0; break;
    case 4: call.initial = (wf_vars){ 1, NULL }; break;
    case 5: given[0] = wf_leaf(t, WF_F64, WF_SHAPE(3), NULL); break;
    case 6: call.time = 4; break;
    case 7: given[1] = wf_leaf(t, WF_F64, WF_SHAPE(3, 5), NULL); break;
    case 8: call.lengths = wf_constant(t, WF_I32, WF_SHAPE(3), NULL); break;
    default: call.lengths = wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 3, 4 });
    }
    ck_assert(!wf_scan(t, &call, y, NULL));
    assert_fails(t, text[_i]);
}

TEST(a_call_needs_a_place_for_its_outputs)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const int none = 0;
    wf_var *given[2];
    wf_scan_call call = call_of(t, &none, given);
    ck_assert(!wf_scan(t, &call, NULL, NULL));
    assert_fails(t, "scan: the list of outputs was never made (NULL)");
    ck_assert(!wf_scan(t, NULL, given, NULL));
    assert_fails(t, "scan: the call was never made (NULL)");
}

TEST(a_step_that_is_recorded_alone_may_read_nothing)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    int mistake = 0;
    wf_var *y, *given[2];
    wf_scan_call call = call_of(t, &mistake, given);
    call.lengths = wf_constant(t, WF_I32, WF_SHAPE(2), NULL);
    mistake = 6;
    ck_assert(!wf_scan(t, &call, &y, NULL));
    ck_assert_str_ne(wf_tape_error(t), "");
    wf_tape_reset(t);
    call = call_of(t, &mistake, given);
    ck_assert(wf_scan(t, &call, &y, NULL)); /* where it runs, a step may read */
    mistake = 3;
    ck_assert(wf_scan(t, &call, &y, NULL));
    const wf_shape got = wf_shape_of(y), want = WF_SHAPE(3, 2);
    ck_assert(wf_shape_equal(&got, &want));
}

static int more_programs(void)
{
    char told[700];
    const char *from = getenv("FROM"), *count = getenv("COUNT");
    const unsigned long long first = from ? strtoull(from, NULL, 10) : 1,
                             n = count ? strtoull(count, NULL, 10) : 20000;
    const int failures = programs_failing(first, n, told);
    printf("%llu programs from seed %llu: %d differ\n", n, first, failures);
    if (failures) puts(told);
    return failures > 0;
}
