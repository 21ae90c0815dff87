/* What loops over time cost in memory and work, counted and not timed: what a training step keeps
 * and inference holds, that ten times the steps are ten times the work, that stacks may be
 * small and shapes may differ. */
#include "tests/loops.h"

#include <malloc.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static int many_steps(void);
const harness_suite suite = { .threads = 2, .child = many_steps };

#if HARNESS_ADDRESSES || defined(__SANITIZE_THREAD__)
enum { WATCHED = true }; /* memory is not malloc's own, and much of it */
#else
enum { WATCHED = false };
#endif

/* In numbers per sequence and step, H units, I inputs: `keeps` H is what backward must find of a
 * step besides its inputs and outputs. What must be there at once is that, x, y, and the gradients
 * of both. The bounds: `forward`, the tape after forward, as a multiple of x, y and what is kept;
 * `peak`, tape and gradients at their most, as a multiple of all that must be there; `infer`, what
 * inference adds to x and y, in H. */
static const struct {
    double keeps, forward, peak, infer;
} bounds[LOOPS] = {
    [LOOP_LSTM] = { 6, 1.04, 1.25, 0.65 }, /* i f g o, c, tanh(c) */
    [LOOP_GRU] = { 4, 1.04, 1.3, 0.5 },    /* r z n, W_hn h + b_hn */
    [LOOP_OWN_LSTM] = { 6, 1.04, 1.25, 0.65 },
    [LOOP_MGU] = { 2, 1.3, 1.5, 0.35 },  /* f, the candidate */
    [LOOP_SCAN] = { 1, 1.75, 2.0, 1.2 }, /* what the op that counts copies */
};

static void made(loop *l, int kind, loop_size most)
{
    wf_error e = { "" };
    ck_assert_msg(loop_make(l, kind, most, &e), "%s", e.text);
}

static void stepped(loop *l, wf_tape *t, loop_size s, const int32_t *lengths)
{
    ck_assert_msg(loop_step(l, t, s, lengths), "%s: %s", loop_name(l->kind), wf_tape_error(t));
}

/* ---- memory ---- */

TEST_EACH(a_training_step_holds_no_more_than_its_bound_beside_what_it_must, LOOPS)
{
    const loop_size s = { 256, 32, 64, 64 };
    OWN(wf_tape) *t = wf_tape_new(NULL);
    loop l;
    made(&l, _i, s);
    stepped(&l, t, s, NULL);
    const double unit = (double)(s.time * s.batch * s.hidden) * sizeof(float);
    const double shown = 1 + (double)s.input / (double)s.hidden, must = shown + bounds[_i].keeps;
    const double all = (double)wf_tape_bytes(t) / unit, forward = all - 1; /* a cotangent of y */
    const double peak = all + (double)wf_tape_grad_bytes(t) / unit;
    printf("%s: %.2f H per sequence and step after forward (%.2f of what must be), %.2f at most "
           "(%.2f)\n",
           loop_name(_i), forward, forward / must, peak, peak / (must + shown));
    ck_assert_double_le(forward / must, bounds[_i].forward);
    ck_assert_double_le(peak / (must + shown), bounds[_i].peak);
    loop_free(&l);
}

TEST_EACH(inference_holds_no_more_than_its_bound_beside_the_outputs, LOOPS)
{
    const loop_size few = { 32, 16, 64, 64 }, many = { 256, 16, 64, 64 };
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    loop l;
    made(&l, _i, many);
    int64_t bytes[2];
    for (int k = 0; k < 2; k++) {
        stepped(&l, t, k ? many : few, NULL);
        bytes[k] = wf_tape_bytes(t) + wf_tape_grad_bytes(t);
    }
    const double unit = (double)((many.time - few.time) * many.batch * many.hidden) * sizeof(float);
    const double more = (double)(bytes[1] - bytes[0]) / unit - 1 -
                        (double)many.input / (double)many.hidden;
    printf("%s: inference holds %.2f H per sequence and step beyond x and y\n", loop_name(_i),
           more);
    ck_assert_double_le(more, bounds[_i].infer);
    loop_free(&l);
}

/* What a process holds: requests so far, blocks, bytes that malloc has handed out, and the tape's
 * figure after the step that has just run. */
typedef struct holding {
    int64_t asked, blocks, malloced, tape;
} holding;

static holding held(const wf_tape *t)
{
    const struct mallinfo2 info = mallinfo2();
    return (holding){ heap.asked, heap.live, (int64_t)(info.uordblks + info.hblkhd),
                      wf_tape_bytes(t) + wf_tape_grad_bytes(t) };
}

/* One step of a random shape, or the largest; in inference where nothing leads back. */
static void random_step(loop *l, wf_tape *t, int i, bool largest)
{
    const uint64_t key = 11, at = (uint64_t)i * 16;
    loop_size s = l->most;
    int32_t lengths[16];
    int64_t tokens = 0;
    if (!largest) s.time = wf_random_below(key, at, s.time + 1);
    if (!largest) s.batch = wf_random_below(key, at + 1, s.batch + 1);
    const bool ragged = !largest && i % 3;
    for (int64_t b = 0; b < s.batch; b++) {
        lengths[b] = (int32_t)s.time;
        if (ragged) lengths[b] = (int32_t)wf_random_below(key, at + 2 + (uint64_t)b, s.time + 1);
        tokens += lengths[b];
    }
    wf_tape_set_mode(t, tokens == 0 || (!largest && i % 4 == 3) ? WF_INFER : WF_TRAIN);
    stepped(l, t, s, ragged ? lengths : NULL);
}

TEST(ten_thousand_shapes_in_one_process_leave_memory_as_it_was)
{
    enum { STEPS = 10000, SETTLED = 1000, EVERY = 100 };
    OWN(wf_tape) *t = wf_tape_new(NULL);
    loop l[LOOPS];
    holding then = { 0 }, now = then;
    for (int k = 0; k < LOOPS; k++) made(&l[k], k, (loop_size){ 12, 6, 3, 5 });
    for (int i = 0; i < STEPS; i++) {
        const bool largest = i % EVERY >= EVERY - LOOPS;
        random_step(&l[i % LOOPS], t, i, largest);
        now = held(t);
        if (i == SETTLED - 1) then = now;
    }
    printf("%lld blocks, %lld bytes, a tape of %lld\n", (long long)now.blocks,
           (long long)now.malloced, (long long)now.tape);
    ck_assert_int_eq(now.asked, then.asked);
    ck_assert_int_eq(now.blocks, then.blocks);
    ck_assert_int_eq(now.tape, then.tape);
    if (!WATCHED) ck_assert_int_le(now.malloced, then.malloced);
    for (int k = 0; k < LOOPS; k++) loop_free(&l[k]);
}

/* ---- work ---- */

TEST_EACH(ten_thousand_times_the_steps_are_no_more_than_ten_thousand_times_the_work, LOOPS)
{
    enum { FEW = 10, REQUESTS = 40 }; /* an arena doubles */
    const loop_size most = { WATCHED ? 10000 : 100000, 1, 3, 4 };
    int64_t nodes = 0, bytes = 0;
    loop l;
    made(&l, _i, most);
    for (int64_t time = FEW; time <= most.time; time *= 10) {
        OWN(wf_tape) *t = wf_tape_new(NULL);
        const int64_t asked = heap.asked;
        loop_size s = most;
        s.time = time;
        loop_counted.forward = loop_counted.backward = 0;
        stepped(&l, t, s, NULL);
        const int64_t in_use = wf_tape_bytes(t) + wf_tape_grad_bytes(t);
        if (time == FEW) nodes = wf_tape_nodes(t), bytes = in_use;
        ck_assert_int_le(wf_tape_nodes(t), nodes * (time / FEW));
        ck_assert_int_le(in_use, bytes * (time / FEW));
        ck_assert_int_le(heap.asked - asked, REQUESTS);
        if (_i != LOOP_SCAN) continue;
        ck_assert_int_eq(loop_counted.forward, time);
        ck_assert_int_eq(loop_counted.backward, time);
    }
    printf("%s: %lld nodes and %lld bytes for %d steps of one sequence\n", loop_name(_i),
           (long long)nodes, (long long)bytes, FEW);
    loop_free(&l);
}

TEST(nothing_is_computed_for_a_sequence_that_has_ended)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    loop l;
    int32_t lengths[9];
    made(&l, LOOP_SCAN, (loop_size){ 40, 9, 3, 4 });
    for (int64_t time = 1; time <= 40; time += 13) {
        const loop_size s = { time, 9, 3, 4 };
        int64_t tokens = 0;
        loop_lengths(5, s, lengths);
        for (int b = 0; b < 9; b++) tokens += lengths[b];
        loop_counted.forward = loop_counted.backward = loop_counted.rows = 0;
        stepped(&l, t, s, lengths);
        ck_assert_int_eq(loop_counted.rows, tokens);
        ck_assert_int_eq(loop_counted.forward, time);
        ck_assert_int_eq(loop_counted.backward, time);
    }
    loop_free(&l);
}

TEST(the_op_that_counts_is_sound)
{
    assert_proved(wf_op_check(loop_counting_op(), NULL));
}

/* ---- small stacks ---- */

/* Forward and backward, full and ragged, over very many steps of every loop and over some that are
 * large enough for threads, whose stacks are as small. */
static int many_steps(void)
{
    const loop_size sizes[] = { { 10000, 3, 3, 4 }, { 20, 32, 64, 128 } };
    for (int k = 0; k < 2 * LOOPS; k++) {
        wf_error e = { "" };
        const loop_size s = sizes[k / LOOPS];
        loop l;
        int32_t lengths[32];
        wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = 2 });
        if (!t || !loop_make(&l, k % LOOPS, s, &e)) return 10 + k;
        loop_lengths(1, s, lengths);
        if (!loop_step(&l, t, s, NULL) || !loop_step(&l, t, s, lengths)) return 30 + k;
        loop_free(&l);
        wf_tape_free(t);
    }
    return 0;
}

TEST(ten_thousand_steps_forward_and_backward_need_no_more_than_256_KB_of_stack)
{
    const struct rlimit small = { 256 << 10, 256 << 10 };
    fflush(NULL);
    const int child = fork();
    if (child == 0) {
        if (setrlimit(RLIMIT_STACK, &small) != 0) _exit(97);
        execl("/proc/self/exe", "test_loop", "--steps", (char *)NULL);
        _exit(98);
    }
    ck_assert_int_eq(exit_of(child), 0);
}
