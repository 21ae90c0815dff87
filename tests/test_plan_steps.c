/* Steps of planned loops, each of which proves a rule of the planner by which values share their
 * places or gradients, or products are made together: by plan they give what they give by hand. The
 * rules are broken one after another by tests/plan_faults.txt. */
#include "tests/programs.h"

#include <string.h>

const harness_suite suite = { .threads = 5 };

/* Each step has one sequence and one state, (n, a) both; c: what it is closed over, of which c[6]
 * is (a, a), c[7] (a, 2 a), c[8] (3 a, a), and c[1] and c[9] (a). */
#define STEP(name)                                                                                 \
    static void name(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[],          \
                     wf_var *y[])

static wf_var *const *closed_of(const void *context)
{
    const program_vars *in = context;
    return in->closed;
}

/* A product over all steps is read by a sum of a later stage and by another value: it is no part of
 * the sum, nothing takes its place over, and what passes to it is no tile of another stage. */
STEP(product_read_twice)
{
    wf_var *const *c = closed_of(context);
    wf_var *a = wf_tanh(t, wf_add(t, x[0], state[0])), *p = wf_affine(t, x[0], c[6], NULL);
    wf_var *u = wf_add(t, p, wf_affine(t, a, wf_transpose(t, c[6], 0, 1), NULL));
    y[0] = state[0] = wf_tanh(t, wf_add(t, u, wf_tanh(t, p)));
}

/* What is made of a product may take its place over, but not while another value reads it. */
STEP(product_read_again)
{
    wf_var *const *c = closed_of(context);
    wf_var *p = wf_affine(t, wf_concat(t, -1, WF_VARS(x[0], state[0])), c[7], NULL);
    y[0] = state[0] = wf_mul(t, wf_tanh(t, p), wf_sigmoid(t, p));
}

/* A product, of which `a` is the second term, adds to the gradient of a, which is not lent that of
 * the sum: w has it too. */
STEP(product_adds)
{
    wf_var *const *c = closed_of(context);
    wf_var *in = wf_add(t, x[0], state[0]), *a = wf_tanh(t, in), *w = wf_sin(t, in);
    wf_var *p = wf_affine(t, wf_concat(t, -1, WF_VARS(wf_sigmoid(t, in), a)), c[7], NULL);
    state[0] = wf_add(t, wf_add(t, a, p), w);
    y[0] = wf_sin(t, state[0]);
}

/* So does an op of its own. */
STEP(call_adds)
{
    wf_var *in = wf_add(t, x[0], state[0]), *a = wf_tanh(t, in), *w = wf_sin(t, in);
    (void)context;
    state[0] = wf_add(t, wf_add(t, a, wf_softmax(t, a, -1)), w);
    y[0] = wf_sin(t, state[0]);
}

/* The gradient of a sum is that of a product, but for what else arrives at the product. */
STEP(product_and_sum)
{
    wf_var *const *c = closed_of(context);
    wf_var *p = wf_affine(t, state[0], c[6], NULL), *v = wf_add(t, p, wf_tanh(t, x[0]));
    y[0] = state[0] = wf_mul(t, wf_tanh(t, v), wf_sin(t, p));
}

/* A tile's gradient is not handed on to what another stage computes. */
STEP(tile_across)
{
    wf_var *const *c = closed_of(context);
    wf_var *a = wf_tanh(t, wf_add(t, x[0], state[0]));
    wf_var *p = wf_tanh(t, wf_affine(t, wf_sin(t, x[0]), c[6], NULL));
    state[0] = wf_tanh(t, wf_add(t, a, p));
    y[0] = wf_mul(t, state[0], p);
}

/* No gradient arrives at a part of what an op makes: zeros do. */
STEP(half_of_call)
{
    wf_var *in = wf_add(t, x[0], state[0]);
    (void)context;
    y[0] = wf_slice(t, wf_softmax(t, wf_tanh(t, in), -1), -1, 0, 2, 1);
    state[0] = wf_tanh(t, in);
}

/* Two parts of a product lie side by side, but not their rows of the weight: nobody reads what is
 * between them. */
STEP(unread_part)
{
    wf_var *const *c = closed_of(context), *part[3];
    if (!wf_split(t, wf_affine(t, wf_add(t, x[0], state[0]), c[8], NULL), -1, 3, part)) return;
    y[0] = state[0] = wf_mul(t, wf_tanh(t, part[0]), wf_sigmoid(t, part[2]));
}

/* Of three neighbours the last is added to what was made before the loop, the others are not. */
STEP(one_is_added)
{
    wf_var *const *c = closed_of(context), *part[3];
    if (!wf_split(t, wf_affine(t, state[0], c[8], NULL), -1, 3, part)) return;
    wf_var *in = wf_tanh(t, wf_add(t, part[2], wf_affine(t, x[0], c[6], NULL)));
    y[0] = state[0] = wf_add(t, wf_mul(t, in, wf_sigmoid(t, part[0])), wf_tanh(t, part[1]));
}

/* Neighbours of which each is made of the one before it: no line of its own for all of them. */
STEP(chain)
{
    wf_var *a = wf_tanh(t, wf_add(t, x[0], state[0])), *b = wf_tanh(t, a);
    (void)context;
    y[0] = wf_concat(t, -1, WF_VARS(a, b, wf_tanh(t, b)));
    state[0] = wf_mul(t, state[0], x[0]);
}

/* A product of what comes and of the state, and two biases, each with its own sum. */
STEP(two_biases)
{
    wf_var *const *c = closed_of(context);
    wf_var *g = wf_affine(t, wf_concat(t, -1, WF_VARS(x[0], state[0])), c[7], c[1]);
    y[0] = state[0] = wf_tanh(t, wf_add(t, g, c[9]));
}

/* Ops of their own before, between and after products, with constants that rows share. */
STEP(calls_between)
{
    wf_var *const *c = closed_of(context);
    wf_var *in = wf_add(t, x[0], state[0]), *p = wf_softmax(t, in, -1);
    p = wf_softmax(t, wf_affine(t, p, c[6], c[9]), -1);
    y[0] = state[0] = wf_add(t, p, wf_layer_norm(t, wf_tanh(t, in), c[9], NULL, 0.1));
}

/* Ids are chosen by what a gradient would reach by another way: none goes through ids, and where
 * none is given to the state, none arrives at all. */
STEP(ids_between)
{
    wf_var *const *c = closed_of(context);
    wf_var *a = wf_tanh(t, x[0]);
    wf_var *some = wf_slice(t, wf_tanh(t, a), -1, 0, 3, 1);
    y[0] = wf_gather_rows(t, c[3], wf_argmax(t, some, -1));
    state[0] = wf_sin(t, a);
}

/* A product of matrices by rows begins the gradient of a. Where none arrives at what it makes, the
 * state, it is left out, and what comes after it writes: what lies in that place is nobody's. */
STEP(left_out_call)
{
    wf_var *a = wf_tanh(t, x[0]), *w = wf_sin(t, x[0]);
    wf_var *outer = wf_mul(t, wf_unsqueeze(t, w, 2), wf_unsqueeze(t, w, 1));
    (void)context;
    y[0] = wf_sin(t, a);
    state[0] = wf_squeeze(t, wf_matmul(t, wf_unsqueeze(t, a, 1), outer), 1);
}

/* A weight has the rows of the batch, too, and is multiplied as such: a = B. */
STEP(weight_is_rows)
{
    wf_var *const *c = closed_of(context);
    wf_var *in = wf_tanh(t, wf_add(t, wf_affine(t, x[0], c[6], NULL), state[0]));
    y[0] = state[0] = wf_mul(t, in, c[6]);
}

/* It forgets, and so do its gradients: in many steps nothing grows. */
STEP(forgets)
{
    wf_var *const *c = closed_of(context), *part[3];
    if (!wf_split(t, wf_affine(t, wf_mul_scalar(t, state[0], 0.1), c[8], NULL), -1, 3, part))
        return;
    wf_var *g = wf_affine(t, wf_concat(t, -1, WF_VARS(x[0], part[0])), c[7], c[1]);
    wf_var *rows = wf_softmax(t, wf_add(t, g, c[9]), -1);
    y[0] = wf_mul(t, wf_affine(t, rows, c[6], c[9]), part[2]);
    state[0] = wf_tanh(t, wf_add(t, wf_layer_norm(t, g, c[9], NULL, 0.1), part[1]));
}

/* What is kept of x is drawn anew in each step. */
STEP(draws)
{
    (void)context;
    y[0] = state[0] = wf_tanh(t, wf_add(t, wf_dropout(t, x[0], 0.5), state[0]));
}

/* Tiles of rows so wide that fewer fit, beside narrow ones; in infer mode none of them is kept. */
STEP(wide_tiles)
{
    wf_var *in = wf_add(t, x[0], state[0]);
    wf_var *both = wf_mul(t, wf_tanh(t, in), wf_sin(t, in));
    (void)context;
    y[0] = wf_tanh(t, wf_slice(t, in, -1, 0, 3, 1));
    state[0] = both;
}

static wf_scan_step *const steps[] = {
    product_read_twice, product_read_again, product_adds, call_adds,    product_and_sum,
    tile_across,        half_of_call,       unread_part,  one_is_added, chain,
    two_biases,         calls_between,      ids_between,  draws,        weight_is_rows,
    wide_tiles,         left_out_call,
};
enum { STEPS = sizeof steps / sizeof *steps, FORMS = 48 };

/* The step in one of many loops: of one row and more, ragged and not, both ways, of one panel and
 * more, on one thread and more. */
static program loop_of(wf_scan_step *step, int form)
{
    static const int batch[] = { 3, 1, 2, 9, 5, 20 }, size[] = { 3, 2, 4, 0 },
                     threads[] = { 1, 2, 1, 3, 1, 5, 2 };
    program p = { .seed = (uint64_t)(form + 1), .step = step, .sequences = 1, .states = 1 };
    p.outputs = 1;
    p.time = form % 5 == 4 ? 12 : 3 + form % 5;
    p.batch = batch[form % 6];
    p.size = step == wide_tiles ? PROGRAM_SIZES - 1 : size[form / 6 % 4];
    p.threads = threads[form % 7];
    p.chosen = form % 3 ? 1 : 3;
    p.ragged = form / 24;
    p.mixing = step == draws || step == weight_is_rows; /* by hand all rows of a step at once */
    if (step == draws) p.size = 2;                      /* of which bits are kept by rows */
    if (step == weight_is_rows) {
        p.ragged = false;
        p.size = 0;
        p.batch = program_width(&p, 0);
    }
    p.reverse = form / 2 % 2;
    p.mode = form % 11 == 10 || (step == wide_tiles && form % 2) ? WF_INFER : WF_TRAIN;
    p.second = p.size < 4 && form % 2;
    p.dtype = form % 9 == 8 ? WF_F32 : WF_F64;
    return p;
}

TEST_EACH(a_step_that_shares_places_is_what_it_is_by_hand, STEPS)
{
    char why[200];
    program_counts.loops = program_counts.planned = 0;
    for (int form = 0; form < FORMS; form++) {
        const program p = loop_of(steps[_i], form);
        ck_assert_msg(program_agrees(&p, why), "step %d, form %d, %s: %s", _i, form,
                      program_text(&p), why);
    }
    ck_assert_int_ge(program_counts.planned, FORMS);
}

/* ---- more rows than are kept, or go back, at once ---- */

TEST_EACH(a_long_loop_is_what_it_is_step_by_step, 16)
{
    char why[200];
    program p = { .seed = (uint64_t)(_i + 1), .step = forgets, .time = 500, .batch = 7 };
    p.sequences = p.states = p.outputs = 1;
    p.chosen = 3;
    p.threads = 2;
    p.ragged = _i & 1;
    p.reverse = _i & 2;
    p.mode = _i & 4 ? WF_INFER : WF_TRAIN;
    p.dtype = _i & 8 ? WF_F32 : WF_F64;
    ck_assert_msg(program_agrees(&p, why), "%s: %s", program_text(&p), why);
}

/* Outputs and final state of a loop, in either mode. */
static void loop_in(wf_tape *t, const program *p, wf_module *net, program_vars *v, wf_var *out[2])
{
    ck_assert(program_vars_make(t, p, net, v) && program_vars_close(t, v));
    ck_assert(wf_scan(t,
                      &(wf_scan_call){ .step = program_step,
                                       .context = v,
                                       .sequences = { 1, v->x },
                                       .initial = { 1, v->initial },
                                       .outputs = 1,
                                       .lengths = v->lengths,
                                       .reverse = p->reverse },
                      out, out + 1));
}

TEST_EACH(a_long_loop_in_infer_mode_gives_what_it_gives_in_training, 8)
{
    program p = { .seed = 3, .step = _i & 1 ? two_biases : one_is_added, .time = 700, .batch = 5 };
    p.sequences = p.states = p.outputs = 1;
    p.ragged = _i & 2;
    p.reverse = _i & 4;
    OWN(wf_module) *net = program_net(&p);
    OWN(wf_tape) *infer = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    OWN(wf_tape) *train = wf_tape_new(&(wf_tape_options){ .mode = WF_TRAIN });
    program_vars v, w;
    wf_var *got[2], *want[2];
    loop_in(infer, &p, net, &v, got);
    loop_in(train, &p, net, &w, want);
    int64_t rows = 0;
    for (int b = 0; b < 5; b++) rows += w.length[b];
    ck_assert_int_gt(rows, 1024);
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < wf_count(want[i]); k++)
            ck_assert_double_eq_tol(wf_at(got[i], k), wf_at(want[i], k), 1e-13);
}

/* ---- draws ---- */

TEST(what_is_drawn_after_a_loop_is_what_would_be_drawn_after_its_steps)
{
    wf_var *y[2], *after[2];
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_TRAIN, .seed = 5 });
    OWN(wf_tape) *u = wf_tape_new(&(wf_tape_options){ .mode = WF_TRAIN, .seed = 5 });
    for (int plain = 0; plain < 2; plain++) {
        wf_tape *on = plain ? u : t;
        wf_var *x = drawn(on, WF_F64, WF_SHAPE(6, 4, 9), 1, -1, 1);
        const wf_scan_call call = { .step = draws,
                                    .sequences = { 1, &x },
                                    .initial = WF_VARS(wf_zeros(on, WF_F64, WF_SHAPE(4, 9))),
                                    .outputs = 1,
                                    .plain = plain };
        if (!plain) ck_assert_ptr_nonnull(strstr(wf_scan_explain(on, &call), "scan: planned"));
        for (int i = 0; i < 2; i++) ck_assert(wf_scan(on, &call, &y[plain], NULL));
        after[plain] = wf_dropout(on, x, 0.5);
        ck_assert_ptr_nonnull(after[plain]);
    }
    for (int64_t k = 0; k < wf_count(y[0]); k++) {
        ck_assert_double_eq(wf_at(y[0], k), wf_at(y[1], k));
        ck_assert_double_eq(wf_at(after[0], k), wf_at(after[1], k));
    }
}
