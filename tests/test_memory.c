/* Nothing is lost when memory runs out: every allocation of building, training, saving and
 * loading fails once, and from then on. */
#include "tests/loops.h"
#include "tests/model.h"

#include <stdio.h>
#include <stdlib.h>

static model_size small(int i)
{
    return (model_size){ .cell = cell_at(i),
                         .letters = 11,
                         .time = 5,
                         .batch = 3,
                         .embed = 7,
                         .hidden = 9,
                         .layers = 2,
                         .dropout = 0.3,
                         .clip = 0.5,
                         .ragged = true };
}

static void arm(int64_t k, bool from_then_on)
{
    heap.asked = 0;
    heap.fail_at = k;
    heap.fail_on = from_then_on;
}

static bool disarm(void)
{
    bool reached = heap.fail_at && heap.asked >= heap.fail_at;
    heap.fail_at = 0;
    return reached;
}

/* Runs one act with the k-th allocation failing. An act that fails must leave the state as it
 * was, and succeed when tried again without the failure. Returns whether the failure was
 * reached. */
typedef bool act(model *r, const char *path, wf_error *e);

static bool act_first(model *r, const char *path, wf_error *e)
{
    return (void)path, (void)e, model_step(r, 0);
}
static bool act_second(model *r, const char *path, wf_error *e)
{
    return (void)path, (void)e, model_step(r, 1);
}

static bool act_save(model *r, const char *path, wf_error *e)
{
    return wf_module_save(r->net, path, &(wf_meta){ "made by", "a test" }, 1, e);
}

static bool act_load(model *r, const char *path, wf_error *e)
{
    return wf_module_load(r->net, path, e);
}

static bool try_act(model *r, act *a, const char *what, const char *path, int64_t k,
                    bool from_then_on)
{
    uint64_t before = model_hash(r);
    int64_t steps = wf_optim_steps(r->adam);
    wf_error e = { { 0 } };
    arm(k, from_then_on);
    bool ok = a(r, path, &e), reached = disarm();
    if (ok) return reached; /* done without: what failed was not needed */
    ck_assert_msg(reached, "%s failed without a failing allocation: %s", what, e.text);
    ck_assert_msg(e.text[0] || wf_tape_error(r->t)[0], "%s, allocation %lld: no reason given", what,
                  (long long)k);
    ck_assert_msg(model_hash(r) == before && wf_optim_steps(r->adam) == steps,
                  "%s, allocation %lld: the model changed though it failed", what, (long long)k);
    ck_assert_msg(a(r, path, &e), "%s does not succeed afterwards: %s", what, e.text);
    return true;
}

TEST_EACH(the_kth_allocation_may_fail_for_every_k, 2 * cells_built_in())
{
    bool from_then_on = _i % 2;
    model_size size = small(_i / 2);
    wf_error e = { { 0 } };
    const char *path = path_of("model.safetensors");
    model r;
    ck_assert_msg(model_make(&r, size, &e), "%s", e.text);
    ck_assert(model_step(&r, 0));
    uint64_t after_one = model_hash(&r);
    ck_assert(model_step(&r, 1));
    uint64_t after_two = model_hash(&r);
    model_free(&r);
    ck_assert_int_eq(heap.live, 0);

    int64_t built = 0;
    for (int64_t k = 1;; k++) {
        arm(k, from_then_on);
        bool ok = model_make(&r, size, &e), reached = disarm();
        if (ok) {
            model_free(&r);
            if (!reached) break;
        } else {
            ck_assert_msg(e.text[0], "allocation %lld: no reason given", (long long)k);
        }
        ck_assert_msg(heap.live == 0, "allocation %lld of building: %lld blocks leak", (long long)k,
                      (long long)heap.live);
        built = k;
    }
    static const struct {
        act *a;
        const char *what;
    } acts[] = {
        { act_first, "the first step" },
        { act_second, "the second step" },
        { act_save, "saving" },
        { act_load, "loading" },
    };
    int64_t reached[4] = { 0 };
    for (int i = 0; i < 4; i++)
        for (int64_t k = 1, more = 1; more; k++) {
            ck_assert_msg(model_make(&r, size, &e), "%s", e.text);
            for (int before = 0; before < i; before++) ck_assert(acts[before].a(&r, path, &e));
            more = try_act(&r, acts[i].a, acts[i].what, path, k, from_then_on);
            ck_assert_msg(model_hash(&r) == (i == 0 ? after_one : after_two),
                          "%s, allocation %lld: other bits than without the failure", acts[i].what,
                          (long long)k);
            model_free(&r);
            ck_assert_int_eq(heap.live, 0);
            if (more) reached[i] = k;
        }
    ck_assert_int_gt(built, 20);
    ck_assert_int_gt(reached[0], 3);
    printf("%s: %lld allocations failed in building, %lld and %lld in steps, %lld in saving, %lld "
           "in loading\n",
           size.cell->name, (long long)built, (long long)reached[0], (long long)reached[1],
           (long long)reached[2], (long long)reached[3]);
}

/* ---- loops over time ---- */

typedef struct looping {
    loop l;
    wf_tape *t;
    int32_t lengths[5];
    bool ragged;
} looping;

/* On a tape of its own, whose memory is all to be asked for; the bits of the gradients, or 0. */
static uint64_t loop_once(looping *on)
{
    uint64_t hash = HASH;
    if (!(on->t = wf_tape_new(NULL))) return 0;
    if (!loop_step(&on->l, on->t, on->l.most, on->ragged ? on->lengths : NULL)) return 0;
    for (int64_t i = 0; i < wf_module_param_count(on->l.net); i++)
        hash = hash_tensor(hash, wf_param_grad(wf_module_param_at(on->l.net, i)));
    return hash;
}

TEST_EACH(the_kth_allocation_of_a_loop_may_fail_for_every_k, 4 * LOOPS)
{
    const bool from_then_on = _i % 2;
    looping on = { .ragged = _i / 2 % 2 };
    wf_error e = { { 0 } };
    bool reached = true;
    int64_t k = 0;
    ck_assert_msg(loop_make(&on.l, _i / 4, (loop_size){ 40, 5, 6, 16 }, &e), "%s", e.text);
    loop_lengths(1, on.l.most, on.lengths);
    const uint64_t want = loop_once(&on);
    ck_assert_msg(want != 0, "%s", wf_tape_error(on.t));
    wf_tape_free(on.t);
    const int64_t live = heap.live;
    while (reached) {
        arm(++k, from_then_on);
        uint64_t got = loop_once(&on);
        reached = disarm();
        if (got == 0) {
            ck_assert_msg(reached, "without a failing allocation: %s", wf_tape_error(on.t));
            ck_assert_msg(!on.t || wf_tape_error(on.t)[0], "allocation %lld: no reason given",
                          (long long)k);
            wf_tape_free(on.t);
            got = loop_once(&on);
        }
        ck_assert_msg(got == want, "allocation %lld: other bits than without the failure",
                      (long long)k);
        wf_tape_free(on.t);
        ck_assert_int_eq(heap.live, live);
    }
    ck_assert_int_gt(k, 3);
    printf("%s: %lld allocations failed in a step\n", loop_name(on.l.kind), (long long)k - 1);
    loop_free(&on.l);
    ck_assert_int_eq(heap.live, 0);
}

const harness_suite suite = { .threads = 2 };
