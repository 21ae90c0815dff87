/* A longjmp out of what the user wrote (an op's functions, a cell's step, a part of a loop):
 * after a reset the tape is as new, the thread has its floating-point state, and nothing else
 * was harmed. */
#include "tests/fixture.h"
#include "tests/model.h"

#include <fenv.h>
#include <setjmp.h>
#include <stdio.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

/* Where an op of ours jumps out. */
typedef enum place { NOWHERE, SHAPE, CHECK, FORWARD, BACKWARD, GRADIENT, REFERENCE, PLACES } place;
static const char *const names[] = { "nowhere",  "shape",    "check",    "forward",
                                     "backward", "gradient", "reference" };

static jmp_buf out;
static place where;

static void here(place p)
{
    if (where == p) longjmp(out, 1);
}

static bool shape(wf_shaping *s)
{
    here(SHAPE);
    s->out[0].dtype = s->in[0]->dtype;
    s->out[0].rank = s->in[0]->rank;
    for (int k = 0; k < s->in[0]->rank; k++) s->out[0].dim[k] = s->in[0]->dim[k];
    s->scratch_forward = s->scratch_backward = 1000;
    return true;
}

static bool check(const wf_call *c, wf_error *error)
{
    (void)c, (void)error;
    here(CHECK);
    return true;
}

static void forward(const wf_call *c)
{
    here(FORWARD);
    wf_tensor_copy(c->in[0], c->out[0]);
}

static void backward(const wf_call *c)
{
    here(BACKWARD);
    if (c->gin[0]) wf_tensor_add(c->gout[0], c->gin[0]);
}

static void gradient(wf_tape *t, const wf_gradient *g)
{
    (void)t;
    here(GRADIENT);
    g->gin[0] = g->gout[0];
}

static bool reference(wf_tape *t, const wf_reference *r)
{
    here(REFERENCE);
    r->out[0] = wf_mul_scalar(t, r->in[0], 1);
    return r->out[0] != NULL;
}

static const wf_op rows[] = {
    { .name = "same",
      .inputs = 1,
      .outputs = 1,
      .shape = shape,
      .check = check,
      .forward = forward,
      .backward = backward,
      .gradient = gradient },
    { .name = "same_slowly",
      .inputs = 1,
      .outputs = 1,
      .shape = shape,
      .check = check,
      .forward = forward,
      .backward = backward,
      .reference = reference },
};

static uint32_t state(void)
{
#ifdef __SSE2__
    return _mm_getcsr() & 0xFFC0;
#else
    return (uint32_t)fegetround();
#endif
}

/* One step with both rows between the layers; the second derivative, too. */
static bool step(model *r, int64_t number)
{
    for (int row = 0; row < 2; row++) {
        wf_tape *t = r->t;
        wf_tape_reset(t);
        wf_tape_set_step(t, 1000 + (uint64_t)number);
        wf_var *w = wf_apply_one(t, &rows[row], 1, &r->head->weight, NULL), *g = NULL;
        wf_var *sum = wf_sum(t, wf_tanh(t, w), NULL);
        if (!wf_grad(t, 1, &sum, NULL, 1, &r->head->weight, &g, &with_graph)) return false;
        if (!wf_backward(t, wf_sum(t, wf_mul(t, g, g), NULL)) || !wf_optim_step(r->adam))
            return false;
    }
    return model_step(r, number);
}

static model made(void)
{
    model r;
    wf_error e = { { 0 } };
    const model_size size = { .cell = wf_gru_row(),
                              .letters = 17,
                              .time = 5,
                              .batch = 4,
                              .embed = 6,
                              .hidden = 7,
                              .layers = 2,
                              .dropout = 0.2,
                              .clip = 1,
                              .ragged = true };
    ck_assert_msg(model_make(&r, size, &e), "%s", e.text);
    return r;
}

/* Calls fn, which must jump. */
static void __attribute__((noinline)) left(void (*fn)(void *context), void *context)
{
    if (setjmp(out) != 0) return;
    fn(context);
    ck_abort_msg("%s was not reached", names[where]);
}

/* A step with both rows that is never finished. */
static void begin_step(void *context)
{
    model *r = context;
    wf_var *w = r->head->weight, *g = NULL;
    wf_tape_reset(r->t);
    for (int row = 0; row < 2; row++) {
        wf_var *sum = wf_sum(r->t, wf_tanh(r->t, wf_apply_one(r->t, &rows[row], 1, &w, NULL)),
                             NULL);
        ck_assert(where != BACKWARD || wf_backward(r->t, sum));
        ck_assert(wf_grad(r->t, 1, &sum, NULL, 1, &w, &g, &with_graph));
    }
}

/* The bits of three steps; before each, others are left where `at` says. */
static uint64_t train(place at, uint32_t before)
{
    model r = made();
    OWN(wf_tape) *other = wf_tape_new(NULL);
    for (int i = 0; i < 3; i++) {
        for (int times = 0; at != NOWHERE && times < 2; times++) {
            where = at;
            left(begin_step, &r);
            where = NOWHERE;
            wf_tape_reset(other); /* another tape works on before this one is reset */
            wf_var *one = wf_full(other, WF_F64, WF_SCALAR, 1);
            ck_assert(wf_item(wf_div_scalar(other, one, 3)) == 0x1.5555555555555p-2);
            wf_tape_reset(r.t);
            ck_assert_msg(state() == before, "%s: the state was not given back", names[at]);
        }
        ck_assert(step(&r, i));
        ck_assert_uint_eq(state(), before);
    }
    uint64_t hash = model_hash(&r);
    model_free(&r);
    return hash;
}

TEST_EACH(a_jump_out_of_an_op_leaves_nothing_that_a_reset_does_not_mend, PLACES - 1)
{
    static const int modes[] = { FE_TONEAREST, FE_UPWARD };
    const uint64_t want = train(NOWHERE, state());
    for (int mode = 0; mode < 2; mode++) {
        fesetround(modes[mode]);
        uint64_t got = train((place)(SHAPE + _i), state());
        fesetround(FE_TONEAREST);
        ck_assert_msg(got == want, "%s: other bits", names[SHAPE + _i]);
    }
}

static void apply_once(void *context)
{
    wf_var *x = wf_zeros(context, WF_F32, WF_SHAPE(3));
    wf_apply_one(context, &rows[0], 1, &x, NULL);
}

TEST(freeing_the_tape_gives_the_state_back_too)
{
    const uint32_t before = state();
    wf_tape *t = wf_tape_new(NULL);
    where = FORWARD;
    left(apply_once, t);
    wf_tape_free(t);
    ck_assert_uint_eq(state(), before);
}

static void jump(void *context, int64_t begin, int64_t end)
{
    (void)context, (void)begin, (void)end;
    longjmp(out, 1);
}

static void jump_from_team(void *context, wf_team *team, int id, int size)
{
    (void)context, (void)team, (void)id, (void)size;
    longjmp(out, 1);
}

static void jump_from_walk(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    (void)context, (void)pointer, (void)stride, (void)n;
    longjmp(out, 1);
}

static void run_loop(void *context)
{
    const int kind = *(const int *)context;
    float data[6] = { 0 };
    wf_tensor x = wf_tensor_of(WF_F32, WF_SHAPE(6), data);
    wf_walk loop;
    ck_assert(wf_walk_plan(&loop, WF_SHAPE(6), 1, (const wf_tensor *const[]){ &x }));
    if (kind == 0) wf_par_for(1, 10, 1, jump, NULL);
    if (kind == 1) wf_par_team(1, jump_from_team, NULL);
    if (kind == 2) wf_walk_run(&loop, 1, 1, jump_from_walk, NULL);
}

TEST(without_a_tape_a_state_taken_before_gives_itself_back)
{
    fesetround(FE_DOWNWARD);
    const uint32_t before = state(), mine = wf_fp_enter();
    wf_fp_leave(mine);
    for (int kind = 0; kind < 3; kind++) {
        left(run_loop, &kind);
        /* A call of the library now is right, and leaves the state as it finds it. */
        double third = 0;
        ck_assert(wf_parse_number("0.333333333333333333333", &third));
        ck_assert(third == 0x1.5555555555555p-2);
        wf_fp_leave(mine);
        ck_assert_uint_eq(state(), before);
    }
    fesetround(FE_TONEAREST);
}

static void jumping_step(wf_tape *t, const void *self, wf_var *x, wf_var *states[])
{
    (void)self;
    wf_scope_push(t, "inside");
    states[0] = wf_tanh(t, x);
    here(FORWARD);
    wf_scope_pop(t);
}

typedef struct jumper {
    wf_var *w;
} jumper;

static const wf_cell cell = {
    .name = "jumper",
    .size = sizeof(jumper),
    .step = jumping_step,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(WF_PARAM(jumper, w, WF_HIDDEN)),
};

typedef struct run {
    wf_tape *t;
    wf_rnn *rnn;
    wf_carry *carry;
    double sum;
} run;

static void run_layer(void *context)
{
    run *r = context;
    wf_rnn_call call = { .carry = r->carry };
    wf_var *x = wf_full(r->t, WF_F32, WF_SHAPE(4, 2, 3), 0.5);
    r->sum = wf_item(wf_sum(r->t, wf_rnn_forward(r->t, r->rnn, x, &call), NULL));
    ck_assert_msg(wf_tape_ok(r->t), "%s", wf_tape_error(r->t));
}

TEST(a_jump_out_of_a_cells_step_leaves_the_layer_and_its_carry_usable)
{
    const uint32_t before = state();
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_rnn *rnn = wf_rnn_new(net, "rnn", &cell, &(wf_rnn_options){ .input = 3, .hidden = 3 });
    run r = { wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL }), rnn, wf_carry_new(rnn, 2), 0 };
    where = FORWARD;
    left(run_layer, &r);
    where = NOWHERE;
    wf_tape_reset(r.t);
    ck_assert_uint_eq(state(), before);
    ck_assert(wf_tensor_at(wf_carry_state(r.carry, 0, 0, 0), 0) == 0);
    run_layer(&r);
    ck_assert_double_eq_tol(r.sum, 24 * 0.46211715726, 1e-5);
    ck_assert(wf_tensor_at(wf_carry_state(r.carry, 0, 0, 0), 0) > 0.4);
    wf_tape_free(r.t);
    wf_carry_free(r.carry);
}
