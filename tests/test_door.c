/* The door: what may come onto a tape and what may not. Vars that a rewind or a reset made stale,
 * what the functions of a row hand back, and functions of the user's that use, while the tape
 * calls them, the very tape. */
#include "autograd/ops.h"
#include "autograd/private.h"
#include "autograd/views.h"
#include "tensor/runtime.h"
#include "tests/tape.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SANITIZED = HARNESS_ADDRESSES };
#if HARNESS_ADDRESSES
#include <sanitizer/asan_interface.h>
#else
static int __asan_address_is_poisoned(const volatile void *at)
{
    (void)at;
    return 0;
}
#endif

static wf_tape *other;

/* A new tape and parameter, and nothing said so far. */
static void begin_with(wf_tape_options options)
{
    set_up_with(options);
    log_kept.times = 0;
}

static void begin(void)
{
    begin_with((wf_tape_options){ .mode = WF_TRAIN });
}

static void two_tapes(void)
{
    other = wf_tape_new(NULL);
    begin();
}

static void no_tapes(void)
{
    wf_tape_free(other);
    tear_down();
}

static void says(const char *text)
{
    ck_assert_str_eq(wf_tape_error(t), text);
    ck_assert_int_eq(log_kept.times, 1);
    ck_assert_str_eq(log_kept.text, text);
}

/* ---- stale vars ---- */

TEST(a_var_made_after_a_mark_is_refused_once_the_tape_was_rewound_to_it)
{
    if (SANITIZED) {
        harness_skip("there its memory is poisoned, and its use ends the program");
        return;
    }
    wf_mark mark = wf_tape_mark(t);
    wf_var *h = wf_mul_scalar(t, weight, 5);
    ck_assert(wf_tape_rewind(t, mark, 0, NULL));
    ck_assert_ptr_null(wf_mul(t, h, weight));
    says("mul: input 0 was made after a mark that the tape was rewound to");
}

/* Marks and rewinds leave gaps among the vars that are good: every earlier var is
 * told right. */
TEST(of_many_marks_and_rewinds_each_var_knows_whether_it_is_good)
{
    if (SANITIZED) {
        harness_skip("there stale memory is poisoned, and must not even be asked");
        return;
    }
    begin_with((wf_tape_options){ .mode = WF_INFER });
    enum { N = 40 };
    wf_var *good[2 * N], *stale[N];
    for (int i = 0; i < N; i++) {
        good[2 * i] = numbers(3);
        wf_mark mark = wf_tape_mark(t);
        stale[i] = numbers(4);
        wf_mark inner = wf_tape_mark(t);
        numbers(5);
        if (i % 3 == 0) ck_assert(wf_tape_rewind(t, inner, 0, NULL));
        wf_var *keep[1] = { numbers(6) };
        ck_assert(wf_tape_rewind(t, mark, 1, keep));
        if (i % 4 == 0) ck_assert(wf_tape_rewind(t, mark, 1, keep));
        good[2 * i + 1] = keep[0];
    }
    for (int i = 0; i < 2 * N; i++) {
        ck_assert_ptr_nonnull(wf_tanh(t, good[i]));
        ck_assert_int_eq(wf_count(good[i]), i % 2 ? 6 : 3);
    }
    /* The last gap's place was handed out to the kept var: the others lie within what is used. */
    for (int i = 0; i < N; i++) {
        bool now_another = false;
        for (int k = 0; k < 2 * N; k++) now_another |= good[k] == stale[i];
        ck_assert(now_another || !epoch_good(t, stale[i]->epoch) || stale[i]->tape != t);
    }
}

TEST(a_mark_can_be_returned_to_again_and_what_was_before_it_stays_good)
{
    wf_var *x = numbers(3), *y = wf_square(t, x), *g;
    wf_mark mark = wf_tape_mark(t);
    for (int i = 0; i < 5; i++) {
        wf_var *z = wf_sum(t, wf_mul(t, y, weight), NULL);
        ck_assert(wf_grad(t, 1, &z, NULL, 1, &x, &g, NULL));
        for (int k = 0; k < 3; k++) ck_assert(wf_at(g, k) == 2 * wf_at(x, k) * (k + 1));
        ck_assert(wf_tape_rewind(t, mark, 0, NULL));
    }
    ck_assert(wf_backward(t, wf_sum(t, wf_mul(t, y, weight), NULL)));
}

/* The first steps grow the arena; what was used then is still memory, and refused. */
TEST(a_var_of_an_earlier_step_is_refused_however_much_memory_that_step_took)
{
    if (SANITIZED) {
        harness_skip("there the memory of an earlier step is poisoned");
        return;
    }
    for (int big = 0; big < 2; big++) {
        begin();
        for (int i = 0; i < 3; i++) wf_zeros(t, WF_F64, WF_SHAPE(big ? 3000000 : 3000));
        wf_var *h = wf_mul_scalar(t, weight, 5);
        wf_tape_reset(t);
        ck_assert_ptr_null(wf_mul(t, h, weight));
        says("mul: input 0 was made before the tape was reset");
    }
}

/* The design's "that build catches every case" rests on this. */
TEST(under_the_sanitizer_a_place_rests_before_it_is_handed_out_again)
{
    if (!SANITIZED) {
        harness_skip("there is no sanitizer in this build");
        return;
    }
    begin_with((wf_tape_options){ .mode = WF_INFER });
    wf_var *h = numbers(3);
    for (int step = 0; step < 3; step++) {
        wf_tape_reset(t);
        for (int i = 0; i < 50; i++) numbers(3);
        ck_assert(__asan_address_is_poisoned(h));
        ck_assert(__asan_address_is_poisoned(&h->tape));
    }
    wf_mark mark = wf_tape_mark(t);
    int64_t bytes = wf_tape_bytes(t);
    h = numbers(3);
    const void *data = wf_data(h);
    for (int step = 0; step < 100; step++) {
        ck_assert(wf_tape_rewind(t, mark, 0, NULL));
        ck_assert_int_eq(wf_tape_bytes(t), bytes);
        for (int i = 0; i < 50; i++) numbers(3);
        ck_assert(__asan_address_is_poisoned(h) && __asan_address_is_poisoned(data));
    }
}

/* ---- what the functions of a row hand back ---- */

static bool shape_same(wf_shaping *s)
{
    for (int i = 0; i < s->n_out; i++) s->out[i] = *s->in[0];
    return true;
}

static void forward_double(const wf_call *c)
{
    for (int i = 0; i < c->n_out; i++) {
        wf_tensor_copy(c->in[0], c->out[i]);
        wf_tensor_add(c->in[0], c->out[i]);
    }
}

static void backward_double(const wf_call *c)
{
    for (int i = 0; i < c->n_out; i++) {
        if (!c->gin[0] || !c->gout[i]) continue;
        wf_tensor_add(c->gout[i], c->gin[0]);
        wf_tensor_add(c->gout[i], c->gin[0]);
    }
}

static enum { RIGHT, NONE, INTS, FLOATS, FOREIGN, LONGER, STALE, RESETS, FAILS } hands_back;

static wf_var *made(wf_tape *tape, wf_var *right)
{
    switch (hands_back) {
    case NONE: return NULL;
    case INTS: return wf_zeros(tape, WF_I32, wf_shape_of(right));
    case FLOATS: return wf_zeros(tape, WF_F32, wf_shape_of(right));
    case FOREIGN: return wf_zeros(other, WF_F64, wf_shape_of(right));
    case LONGER: return wf_zeros(tape, WF_F64, WF_SHAPE(4));
    case STALE: {
        wf_mark mark = wf_tape_mark(tape);
        wf_var *x = numbers(3);
        wf_tape_rewind(tape, mark, 0, NULL);
        return x;
    }
    case RESETS: wf_tape_reset(tape); return right;
    case FAILS: return wf_fail(tape, "double: on purpose");
    default: return right;
    }
}

static bool reference_double(wf_tape *tape, const wf_reference *r)
{
    for (int i = 0; i < 2; i++) {
        wf_var *y = wf_add(tape, r->in[0], r->in[0]);
        r->out[i] = i == 1 ? made(tape, y) : y;
    }
    return hands_back != FAILS;
}

static void gradient_double(wf_tape *tape, const wf_gradient *g)
{
    wf_var *sum = g->gout[0] ? wf_mul_scalar(tape, g->gout[0], 2) : NULL;
    if (g->gout[1]) {
        wf_var *more = wf_mul_scalar(tape, g->gout[1], 2);
        sum = sum ? wf_add(tape, sum, more) : more;
    }
    g->gin[0] = made(tape, sum);
}

static wf_op doubles(void)
{
    return (wf_op){ .name = "double",
                    .doc = "2 x, twice",
                    .inputs = 1,
                    .outputs = 2,
                    .shape = shape_same,
                    .forward = forward_double,
                    .backward = backward_double };
}

static const struct {
    int kind;
    const char *reference, *gradient;
} answers[] = {
    { RIGHT, NULL, NULL },
    { NONE, "double: the reference of output 1 was never made (NULL)", NULL },
    { INTS, "double: output 1 is f64 (3); the reference of it is i32 (3)",
      "double: input 0 is f64 (3); the gradient of it is i32 (3)" },
    { FLOATS, "double: output 1 is f64 (3); the reference of it is f32 (3)",
      "double: input 0 is f64 (3); the gradient of it is f32 (3)" },
    { FOREIGN, "double: the reference of output 1 belongs to another tape",
      "double: the gradient of input 0 belongs to another tape" },
    { LONGER, "double: output 1 is f64 (3); the reference of it is f64 (4)",
      "double: input 0 is f64 (3); the gradient of it is f64 (4)" },
    { STALE, "double: the reference of output 1 was made after a mark that the tape was rewound to",
      "double: the gradient of input 0 was made after a mark that the tape was rewound to" },
    { RESETS, "double: the tape was reset or rewound while it ran",
      "double: the tape was reset or rewound while it ran" },
    { FAILS, "double: on purpose", "double: on purpose" },
};

enum { ANSWERS = (int)(sizeof answers / sizeof answers[0]) };

/* Twice: with the wrong output used, and with it unused. */
TEST_EACH(what_a_reference_and_a_gradient_hand_back_is_judged_before_it_is_used, ANSWERS)
{
    const char *const wants[2] = { answers[_i].reference, answers[_i].gradient };
    if (SANITIZED && (answers[_i].kind == STALE || answers[_i].kind == RESETS)) return;
    for (int by = 0; by < 2; by++)
        for (int used = 0; used < 2; used++) {
            begin();
            wf_op op = doubles();
            if (by == 0)
                op.reference = reference_double;
            else
                op.gradient = gradient_double;
            wf_var *x = numbers(3), *out[2], *g = x, *loss;
            hands_back = RIGHT;
            ck_assert(wf_apply(t, &op, 1, &x, NULL, out));
            loss = wf_sum(t, out[0], NULL);
            if (used) loss = wf_add(t, loss, wf_sum(t, wf_square(t, out[1]), NULL));
            hands_back = answers[_i].kind;
            bool ok = wf_grad(t, 1, &loss, NULL, 1, &x, &g, &with_graph);
            hands_back = RIGHT;
            ck_assert_int_eq(ok, !wants[by]);
            if (wants[by]) {
                says(wants[by]);
                ck_assert_ptr_null(g);
            } else if (answers[_i].kind == RIGHT) {
                for (int i = 0; i < 3; i++)
                    ck_assert(wf_at(g, i) == 2 + (used ? 8 * wf_at(x, i) : 0));
            } else { /* a gradient left NULL is zero */
                for (int i = 0; i < 3; i++) ck_assert(wf_at(g, i) == 0);
            }
            wf_tape_reset(t);
            ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
        }
}

TEST(a_var_of_ids_is_not_bound_to_a_parameter)
{
    ck_assert(!wf_tape_bind(t, weight, wf_zeros(t, WF_I32, WF_SHAPE(3))));
    says("bind: 'w' is f64 (3); the var is i32 (3)");
}

/* ---- lists that are one ---- */

TEST(the_list_of_gradients_may_be_any_of_the_lists_given)
{
    for (int graph = 0; graph < 2; graph++)
        for (int which = 0; which < 3; which++) {
            begin();
            wf_var *x = numbers(3), *y = wf_square(t, x), *c = numbers(3);
            wf_var *out[1] = { y }, *with[1] = { c }, *wrt[1] = { x };
            wf_var **grad = which == 0 ? wrt : which == 1 ? out : with;
            ck_assert(wf_grad(t, 1, out, with, 1, wrt, grad,
                              &(wf_grad_options){ .create_graph = graph }));
            for (int i = 0; i < 3; i++)
                ck_assert(wf_at(grad[0], i) == 2 * wf_at(x, i) * wf_at(c, i));
        }
}

TEST(an_op_may_write_its_outputs_over_the_list_of_its_inputs)
{
    wf_op op = doubles();
    wf_var *both[2] = { numbers(3), NULL };
    ck_assert(wf_apply(t, &op, 1, both, NULL, both));
    ck_assert(wf_at(both[0], 2) == 0 && wf_at(both[1], 0) == -2);
    wf_var *whole[3] = { numbers(12) };
    ck_assert(wf_split(t, whole[0], 0, 3, whole));
    ck_assert(wf_at(whole[2], 0) == 3);
}

/* ---- what a tape says when memory ends ---- */

static void exhaust(bool all)
{
    heap.fail_at = all ? 1 : 0;
    heap.fail_on = all;
}

TEST(a_tape_that_is_never_reset_hints_at_it_when_memory_ends)
{
    for (int i = 0; i < 3; i++) ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    exhaust(true);
    ck_assert_ptr_null(wf_zeros(t, WF_F64, WF_SHAPE(1 << 20)));
    exhaust(false);
    says("zeros: out of memory for 8388608 bytes\n"
         "  hint: since the last wf_tape_reset there were 3 backward passes");
    begin_with((wf_tape_options){ .mode = WF_INFER });
    for (int i = 0; i < 3; i++) wf_zeros(t, WF_F64, WF_SHAPE(1 << 17));
    exhaust(true);
    ck_assert_ptr_null(wf_zeros(t, WF_F64, WF_SHAPE(1 << 20)));
    exhaust(false);
    ck_assert_str_eq(wf_tape_error(t),
                     worded("zeros: out of memory for 8388608 bytes\n"
                            "  hint: %lld bytes are held until the next wf_tape_reset",
                            (long long)wf_tape_bytes(t)));
    wf_tape_reset(t);
    ck_assert_ptr_nonnull(numbers(1));
    exhaust(true); /* a tape that was reset has nothing to hint at */
    ck_assert_ptr_null(wf_zeros(t, WF_F64, WF_SHAPE(1 << 25)));
    exhaust(false);
    ck_assert_str_eq(wf_tape_error(t), "zeros: out of memory for 268435456 bytes");
}

/* ---- functions of the user's that use the tape that calls them ---- */

static int ran;

static void count(void *context)
{
    ran += *(int *)context;
}

static void register_another(void *context)
{
    ran++;
    wf_tape_on_commit(t, count, context);
}

TEST(a_hook_may_register_another_which_waits_for_the_next_commit)
{
    static int ten = 10;
    ran = 0;
    for (int i = 0; i < 64; i++) ck_assert(wf_tape_on_commit(t, register_another, &ten));
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert_int_eq(ran, 64);
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert_int_eq(ran, 64 + 640);
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert_int_eq(ran, 64 + 640);
}

static void reset_it(void *context)
{
    (void)context;
    wf_tape_reset(t);
}

TEST(a_hook_that_resets_the_tape_is_the_last_to_run)
{
    static int one = 1;
    ran = 0;
    ck_assert(wf_tape_on_commit(t, count, &one) && wf_tape_on_commit(t, reset_it, NULL));
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert(ran == 1 && wf_tape_ok(t) && wf_tape_nodes(t) == 0);
    ck_assert(wf_tape_on_commit(t, reset_it, NULL) && wf_tape_on_commit(t, count, &one));
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    says("on_commit: a hook reset the tape, and 1 after it did not run");
    ck_assert_int_eq(ran, 1);
    ck_assert(wf_tensor_at(wf_param_grad(weight), 0) == 2);
}

static wf_mark before_all;

static void rewind_it(void *context)
{
    *(bool *)context = wf_tape_rewind(t, before_all, 0, NULL);
}

/* The hooks that wait were registered before the mark: they are still there. */
TEST(a_hook_that_rewinds_the_tape_is_one_among_others)
{
    static int one = 1;
    bool back = false;
    ran = 0;
    ck_assert(wf_tape_on_commit(t, count, &one) && wf_tape_on_commit(t, rewind_it, &back) &&
              wf_tape_on_commit(t, count, &one));
    wf_var *sum = wf_sum(t, weight, NULL);
    before_all = wf_tape_mark(t);
    ck_assert_msg(wf_backward(t, wf_mul_scalar(t, sum, 2)), "%s", wf_tape_error(t));
    ck_assert(back && ran == 2 && wf_tape_ok(t));
    ck_assert_msg(wf_backward(t, sum), "%s", wf_tape_error(t));
    ck_assert_int_eq(ran, 2);
    ck_assert(wf_tensor_at(wf_param_grad(weight), 0) == 3);
}

static void sweep_again(void *context)
{
    *(bool *)context = wf_backward(t, wf_sum(t, weight, NULL));
}

TEST(a_hook_that_sweeps_is_told_that_a_sweep_has_not_ended)
{
    bool swept = true;
    ck_assert(wf_tape_on_commit(t, sweep_again, &swept));
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
    ck_assert(!swept);
    says("backward: backward has not ended on this tape, and this was called from within it");
    ck_assert(wf_tensor_at(wf_param_grad(weight), 0) == 1);
    wf_tape_reset(t);
    ck_assert(wf_backward(t, wf_sum(t, weight, NULL)));
}

/* The functions of a row, each doing something to the tape. */
static enum { IN_SHAPE, IN_CHECK, IN_FORWARD, IN_BACKWARD, PLACES } place;
static enum { RECORD, RESET, REWIND, FREE, FAIL, SWEEP, JUMP, DEEDS } deed;
static wf_mark early;
static jmp_buf escape;

static void act(int at)
{
    wf_var *g = weight;
    if (at != (int)place) return;
    switch (deed) {
    case RECORD: wf_square(t, wf_mul(t, numbers(3), weight)); break;
    case RESET: wf_tape_reset(t); break;
    case REWIND: wf_tape_rewind(t, early, 0, NULL); break;
    case FREE: wf_tape_free(t); break;
    case FAIL: wf_fail(t, "mine: on purpose"); break;
    case SWEEP:
        if (wf_grad(t, 1, &g, NULL, 1, &g, &g, NULL)) ran++;
        break;
    case JUMP: longjmp(escape, 1);
    default: break;
    }
}

static bool acting_shape(wf_shaping *s)
{
    bool ok = shape_same(s);
    act(IN_SHAPE);
    return ok;
}
static bool acting_check(const wf_call *c, wf_error *e)
{
    (void)c, (void)e;
    act(IN_CHECK);
    return true;
}
static void acting_forward(const wf_call *c)
{
    act(IN_FORWARD);
    if (deed == RECORD || deed == FREE) forward_double(c);
}
static void acting_backward(const wf_call *c)
{
    act(IN_BACKWARD);
    if (deed == RECORD || deed == FREE) backward_double(c);
}

/* With 20 inputs, the op's arrays are not on the stack. */
static bool act_once(bool many)
{
    wf_op op = doubles();
    wf_var *in[20], *out[2], *loss;
    op.shape = acting_shape;
    op.check = acting_check;
    op.forward = acting_forward;
    op.backward = acting_backward;
    op.inputs = -1;
    early = wf_tape_mark(t);
    in[0] = wf_mul_scalar(t, weight, 1);
    for (int i = 1; i < 20; i++) in[i] = numbers(3);
    if (!wf_apply(t, &op, many ? 20 : 1, in, NULL, out)) return false;
    loss = wf_add(t, wf_sum(t, out[0], NULL), wf_sum(t, weight, NULL));
    static int one = 1;
    /* With a hook that waits, a rewind is refused for that. */
    if (deed != REWIND) wf_tape_on_commit(t, count, &one);
    return wf_backward(t, loss);
}

static const char *const said[DEEDS] = {
    [RESET] = "double: the tape was reset or rewound while it ran",
    [REWIND] = "double: the tape was reset or rewound while it ran",
    [FAIL] = "mine: on purpose",
    [JUMP] = "",
};

TEST_EACH(a_row_that_uses_the_tape_which_runs_it_does_no_harm, PLACES *DEEDS)
{
    place = _i % PLACES;
    deed = _i / PLACES;
    for (int many = 0; many < 2; many++) {
        begin();
        ran = 0;
        if (setjmp(escape) == 0) {
            bool ok = act_once(many);
            if (deed == RECORD) {
                ck_assert_msg(ok, "%s", wf_tape_error(t));
                ck_assert(wf_tensor_at(wf_param_grad(weight), 1) == 3 && ran == 1);
            } else if (deed == FREE) {
                ck_assert_msg(ok && log_kept.times > 0, "%s", wf_tape_error(t));
                ck_assert_str_eq(log_kept.text,
                                 "tape: freed from within a function that it calls; it was "
                                 "left as it is");
            } else if (deed == SWEEP && place != IN_BACKWARD) {
                /* weight is no scalar */
                ck_assert(!ok && ran == 0 && !wf_tape_ok(t));
            } else if (deed == SWEEP) {
                ck_assert(!ok && ran == 0);
                says("grad: backward has not ended on this tape, and this was called from within "
                     "it");
            } else {
                ck_assert(!ok && deed != JUMP && !wf_param_grad(weight) && ran == 0);
                says(said[deed]);
            }
        } else {
            ck_assert_int_eq(deed, JUMP);
        }
        /* The next step works as ever. */
        deed = DEEDS;
        wf_tape_reset(t);
        wf_param_clear_grad(weight);
        wf_var *y = wf_sum(t, wf_square(t, weight), NULL);
        ck_assert_msg(wf_backward(t, y), "%s", wf_tape_error(t));
        ck_assert(wf_tensor_at(wf_param_grad(weight), 2) == 6);
        deed = _i / PLACES;
    }
}

const harness_suite suite = { .before = two_tapes, .after = no_tapes };
