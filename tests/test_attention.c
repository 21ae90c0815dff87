/* The fused attention, held against its spelling in other ops: tiles that the
 * last one does not fill, masks of every form, heads that lie apart; what is hidden reaches
 * nothing; what it stores, and that threads do not change a bit. */
#include "autograd/attention_private.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/rng.h"
#include "tests/tape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct problem {
    wf_var *in[INPUTS];
    wf_scaled_dot_options o;
} problem;

enum mask { NONE, OF_KEYS, OF_QUERIES, OF_PAIRS, MASKS };

/* One that hides every third or so; the first row of pairs, and the first query, see nothing. */
static wf_var *mask_of(enum mask kind, int64_t b, int64_t n, int64_t queries, int64_t keys)
{
    const wf_shape shape = kind == OF_KEYS      ? WF_SHAPE(b, 1, 1, keys)
                           : kind == OF_QUERIES ? WF_SHAPE(queries, 1)
                                                : WF_SHAPE(b, n, queries, keys);
    if (kind == NONE) return NULL;
    wf_tensor mask;
    wf_var *m = wf_constant_fill(t, WF_I32, shape, &mask);
    for (int64_t i = 0; i < wf_count(m); i++)
        ((int32_t *)mask.data)[i] = wf_random_below(5, (uint64_t)i, 3) ? 7 : 0;
    for (int64_t j = 0; j < (kind == OF_PAIRS ? keys : kind == OF_QUERIES ? 1 : 0); j++)
        ((int32_t *)mask.data)[j] = 0;
    return m;
}

static problem made(wf_dtype dtype, int64_t queries, int64_t keys, int64_t width, int64_t values,
                    enum mask kind)
{
    enum { B = 2, N = 2 };
    problem p = { .in = { drawn(t, dtype, WF_SHAPE(B, N, queries, width), 1, -1, 1),
                          drawn(t, dtype, WF_SHAPE(B, N, keys, width), 2, -1, 1),
                          drawn(t, dtype, WF_SHAPE(B, N, keys, values), 3, -1, 1),
                          mask_of(kind, B, N, queries, keys) } };
    p.o.scale = 2 / sqrt((double)width);
    return p;
}

static wf_var *fused(const problem *p)
{
    return wf_scaled_dot_attention(t, p->in[QUERY], p->in[KEY], p->in[VALUE], p->in[SHOWN], &p->o);
}

/* As the row spells it, drawing what a row would draw next. */
static wf_var *spelled(const problem *p)
{
    const wf_op *op = op_named("scaled_dot_attention");
    const attention a = { .scale = p->o.scale, .causal = p->o.causal, .dropout = p->o.dropout };
    wf_var *out[1] = { NULL };
    ck_assert_msg(
        op->reference(
            t,
            &(wf_reference){
                .op = op, .n_in = INPUTS, .n_out = 1, .in = p->in, .attr = &a, .out = out }),
        "%s", wf_tape_error(t));
    return out[0];
}

/* To `within` times the largest of `want`. */
static void assert_all_near(const char *what, const wf_var *got, const wf_var *want, double within)
{
    double largest = 0, worst = 0;
    ck_assert_int_eq(wf_count(got), wf_count(want));
    for (int64_t i = 0; i < wf_count(got); i++) {
        largest = fmax(largest, fabs(wf_at(want, i)));
        worst = fmax(worst, fabs(wf_at(got, i) - wf_at(want, i)));
    }
    ck_assert_msg(worst <= within * largest, "%s: off by %g of %g", what, worst, largest);
}

static void assert_as_spelled(const problem *p, double within)
{
    wf_var *y[2] = { fused(p), spelled(p) }, *grad[2][3];
    ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
    assert_all_near("the output", y[0], y[1], within);
    wf_var *g = drawn(t, wf_dtype_of(y[0]), wf_shape_of(y[0]), 7, -1, 2);
    for (int k = 0; k < 2; k++) ck_assert(wf_grad(t, 1, &y[k], &g, 3, p->in, grad[k], NULL));
    assert_all_near("the gradient of q", grad[0][0], grad[1][0], within);
    assert_all_near("the gradient of k", grad[0][1], grad[1][1], within);
    assert_all_near("the gradient of v", grad[0][2], grad[1][2], within);
}

static const int64_t sizes[][4] = {
    { 1, 300, 5, 3 },   { 7, 300, 70, 9 }, { 70, 9, 3, 2 },    { 65, 257, 2, 5 },
    { 140, 530, 2, 3 }, { 300, 70, 3, 1 }, { 30, 30, 70, 40 }, { 20, 33, 40, 130 },
};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

TEST_EACH(it_is_what_other_ops_spell_whatever_the_sizes, SIZES)
{
    const int64_t *n = sizes[_i];
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++)
        for (int kind = 0; kind < 2 * MASKS; kind++) {
            problem p = made((wf_dtype)dtype, n[0], n[1], n[2], n[3], (enum mask)(kind / 2));
            p.o.causal = kind % 2;
            assert_as_spelled(&p, dtype == WF_F32 ? 1e-5 : 1e-13);
            wf_tape_reset(t);
        }
}

/* Heads as a projection leaves them: views of (T, B, N D), which nothing copies. */
TEST(heads_may_lie_anyhow)
{
    enum { T = 70, S = 90, B = 3, N = 2, D = 5 };
    for (int kind = 0; kind < 3; kind++) {
        const int64_t long_of[3] = { T, S, S };
        problem p = { .o = { .causal = kind == 1 } };
        for (int i = 0; i < 3; i++) {
            wf_var *x = drawn(t, WF_F64, WF_SHAPE(long_of[i], B, N, kind == 2 ? 2 * D : D),
                              11 + (uint64_t)i, -1, 1);
            x = wf_permute(t, x, WF_AXES(1, 2, 0, 3));
            p.in[i] = kind == 2 ? wf_slice(t, x, 3, 0, 2 * D, 2) : x;
        }
        if (kind == 2) {
            p.in[KEY] = wf_expand(t, drawn(t, WF_F64, WF_SHAPE(1, N, S, D), 4, -1, 1),
                                  WF_SHAPE(B, N, S, D));
            p.in[SHOWN] = wf_transpose(t, mask_of(OF_PAIRS, B, N, S, T), 2, 3);
        }
        assert_as_spelled(&p, 1e-13);
        wf_tape_reset(t);
    }
}

/* ---- what is hidden ---- */

static void assert_same(const char *what, const wf_var *got, const wf_var *want)
{
    for (int64_t i = 0; i < wf_count(want); i++)
        ck_assert_msg(wf_at(got, i) == wf_at(want, i), "%s at %lld: %g, not %g", what, (long long)i,
                      wf_at(got, i), wf_at(want, i));
}

/* Padding that holds NaN and inf changes nothing, and gets exactly nothing: keys hidden from all,
 * and those of later steps. */
TEST(what_is_hidden_reaches_nothing)
{
    enum { T = 70, S = 300, D = 3, LAST = 290 };
    for (int kind = 0; kind < 3; kind++) {
        wf_var *y[2], *grad[2][3];
        for (int spoilt = 0; spoilt < 2; spoilt++) {
            problem p = made(WF_F32, T, S, D, D, NONE);
            wf_tensor mask;
            p.in[SHOWN] = wf_constant_fill(t, WF_I32, kind == 0 ? WF_SHAPE(S) : WF_SHAPE(T, S),
                                           &mask);
            for (int64_t i = 0; i < wf_count(p.in[SHOWN]); i++)
                ((int32_t *)mask.data)[i] = i % S < LAST && (kind != 2 || i / S != 5);
            if (kind == 2) { /* query 5 is nobody's either */
                float *q = wf_value(p.in[QUERY])->data;
                if (spoilt) q[5 * D] = NAN;
            }
            for (int i = KEY; spoilt && i <= VALUE; i++) {
                float *x = wf_value(p.in[i])->data;
                for (int64_t h = 0; h < 4; h++)
                    for (int64_t j = LAST; j < S; j++)
                        x[(h * S + j) * D + j % D] = j % 2 ? NAN : INFINITY;
            }
            wf_var *g = drawn(t, WF_F32, wf_shape_of(y[spoilt] = fused(&p)), 9, -1, 1);
            ck_assert(wf_grad(t, 1, &y[spoilt], &g, 3, p.in, grad[spoilt], NULL));
            for (int64_t j = LAST; j < S; j++)
                for (int64_t c = 0; c < D; c++) {
                    ck_assert(wf_at(grad[spoilt][KEY], j * D + c) == 0);
                    ck_assert(wf_at(grad[spoilt][VALUE], j * D + c) == 0);
                }
            for (int64_t c = 0; kind == 2 && c < D; c++) {
                ck_assert(wf_at(y[spoilt], 5 * D + c) == 0);
                ck_assert(wf_at(grad[spoilt][QUERY], 5 * D + c) == 0);
            }
        }
        /* Tiles with something that is not finite add in another order. */
        assert_all_near("the output", y[1], y[0], kind == 0 ? 0 : 1e-6);
        for (int i = 0; i < 3; i++)
            assert_all_near("a gradient", grad[1][i], grad[0][i], kind == 0 ? 0 : 1e-5);
        wf_tape_reset(t);
    }
}

TEST(a_causal_query_sees_no_later_key)
{
    enum { T = 130, D = 4 };
    problem p = made(WF_F64, T, T + 20, D, D, NONE);
    p.o.causal = true;
    wf_var *before = fused(&p);
    for (int i = KEY; i <= VALUE; i++) /* query 99 of the first head sees keys 0 .. 119 */
        for (int64_t j = 120 * D; j < (T + 20) * D; j++)
            ((double *)wf_value(p.in[i])->data)[j] = NAN;
    wf_var *after = fused(&p);
    for (int64_t i = 0; i < 100 * D; i++)
        ck_assert(fabs(wf_at(after, i) - wf_at(before, i)) < 1e-14);
    for (int64_t i = 100 * D; i < T * D; i++) ck_assert(isnan(wf_at(after, i)));
    for (int64_t i = T * D; i < wf_count(after); i++)
        ck_assert(wf_at(after, i) == wf_at(before, i));
}

/* ---- dropout ---- */

TEST(dropout_is_drawn_anew_on_the_way_back)
{
    problem p = made(WF_F64, 70, 300, 3, 4, OF_PAIRS);
    p.o.dropout = 0.25;
    wf_tape_set_mode(t, WF_TRAIN);
    wf_var *y = fused(&p), *grad[2][3];
    const wf_grad_options graph = { .create_graph = true };
    wf_var *g = drawn(t, WF_F64, wf_shape_of(y), 7, -1, 2);
    ck_assert(wf_grad(t, 1, &y, &g, 3, p.in, grad[0], NULL));
    ck_assert(wf_grad(t, 1, &y, &g, 3, p.in, grad[1], &graph)); /* by the reference */
    for (int i = 0; i < 3; i++) assert_all_near("a gradient", grad[1][i], grad[0][i], 1e-13);
    wf_var *other = fused(&p);
    ck_assert(wf_at(other, 100 * 4) != wf_at(y, 100 * 4));
    wf_tape_set_mode(t, WF_EVAL);
    wf_var *plain = fused(&p);
    p.o.dropout = 0;
    assert_same("eval mode", plain, fused(&p));
}

/* ---- weights ---- */

TEST(weights_are_what_values_are_multiplied_by)
{
    for (int kind = 0; kind < MASKS; kind++) {
        problem p = made(WF_F64, 30, 40, 3, 2, (enum mask)kind);
        p.o.causal = kind > 1;
        wf_var *w = wf_scaled_dot_weights(t, p.in[QUERY], p.in[KEY], p.in[SHOWN], &p.o);
        assert_all_near("the output", wf_matmul(t, w, p.in[VALUE]), fused(&p), 1e-14);
        wf_tape_reset(t);
    }
}
/* ---- threads and memory ---- */

/* Many heads, and one whose units share its queries. */
TEST(the_bits_do_not_depend_on_the_number_of_threads)
{
    for (int kind = 0; kind < 3; kind++) {
        double first[4] = { 0 };
        for (int threads = 1; threads <= 3; threads++) {
            set_up_with((wf_tape_options){ .threads = threads });
            const int64_t heads = kind == 0 ? 17 : 1, n = kind == 0 ? 90 : 800;
            problem p = { .o = { .causal = kind == 1, .dropout = kind == 2 ? 0.2 : 0 } };
            for (int i = 0; i < 3; i++)
                p.in[i] = drawn(t, WF_F32, WF_SHAPE(heads, n, 20), (uint64_t)i, -1, 1);
            wf_var *y = fused(&p), *all[4] = { y };
            wf_var *g = drawn(t, WF_F32, wf_shape_of(y), 9, -1, 1);
            ck_assert(wf_grad(t, 1, &y, &g, 3, p.in, all + 1, NULL));
            for (int i = 0; i < 4; i++) {
                double sum = 0;
                for (int64_t j = 0; j < wf_count(all[i]); j++) sum += wf_at(all[i], j) * (double)j;
                if (threads == 1) first[i] = sum;
                ck_assert_msg(sum == first[i], "%d threads: output or gradient %d", threads, i);
            }
        }
    }
}

static int64_t bytes_for(int64_t n)
{
    set_up_with((wf_tape_options){ .threads = 2 });
    for (int step = 0; step < 3; step++) {
        wf_tape_reset(t);
        problem p = made(WF_F32, n, n, 8, 8, NONE);
        for (int i = 0; i < 3; i++) ck_assert(wf_keep_grad(t, p.in[i]));
        ck_assert(wf_backward(t, wf_sum(t, fused(&p), NULL)));
    }
    return wf_tape_bytes(t) + wf_tape_grad_bytes(t);
}

/* Scores would be four times as many at each size; 67 MB at the last. */
TEST(memory_grows_as_the_length)
{
    const int64_t some = bytes_for(1024), more = bytes_for(2048);
    ck_assert_msg(more < 2.3 * (double)some && more < 16 << 20, "%lld bytes, then %lld",
                  (long long)some, (long long)more);
}

const harness_suite suite = { .before = set_up, .after = tear_down };
