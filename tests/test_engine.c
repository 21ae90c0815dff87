/* Laws of the engine that no row's samples can show: vars shared by views and by many ops,
 * gradients as graphs, kept gradients, random graphs of ops and views against differences,
 * depth. */
#include "autograd/check.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tests/tape.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

static wf_var *leaf(wf_shape shape, uint64_t key)
{
    double x[512];
    int64_t n = wf_shape_count(&shape);
    for (int64_t i = 0; i < n; i++) x[i] = wf_random_normal(key, (uint64_t)i);
    return wf_leaf(t, WF_F64, shape, x);
}

static void is_near(const wf_tensor *got, int64_t n, const double *want)
{
    ck_assert_msg(got != NULL, "there is no gradient; the tape says '%s'", wf_tape_error(t));
    ck_assert_int_eq(wf_tensor_count(got), n);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs(wf_tensor_at(got, i) - want[i]) <= 1e-12 * (1 + fabs(want[i])),
                      "element %d: %.17g instead of %.17g", (int)i, wf_tensor_at(got, i), want[i]);
}

static void all_sums(wf_var *y, wf_var *x, const double *want)
{
    /* One gradient, four ways: swept, as a constant, as a graph, and through the graph's own
     * sweep. */
    int64_t n = wf_count(x);
    wf_var *g, *h, *one = wf_sum(t, y, NULL);
    ck_assert(wf_grad(t, 1, &one, NULL, 1, &x, &g, NULL));
    is_near(wf_value(g), n, want);
    ck_assert(wf_grad(t, 1, &one, NULL, 1, &x, &h, &with_graph));
    is_near(wf_value(h), n, want);
    is_near(wf_value(g), n, want);
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, one));
    is_near(wf_grad_of(x), n, want);
}

/* ---- a var and its views ---- */

/* x whole (square) and twice in slices, in the order that the bits of _i give. */
TEST_EACH(a_var_used_whole_and_in_slices_gathers_all_its_gradients, 3)
{
    wf_var *x = leaf(WF_SHAPE(6), 1), *part[3];
    double want[6];
    for (int turn = 0; turn < 3; turn++) {
        int which = (turn + _i) % 3;
        if (which == 0) part[turn] = wf_sum(t, wf_square(t, x), NULL);
        if (which == 1)
            part[turn] = wf_sum(t, wf_mul_scalar(t, wf_slice(t, x, 0, 1, 5, 2), 3), NULL);
        if (which == 2)
            part[turn] = wf_sum(t, wf_mul_scalar(t, wf_slice(t, x, 0, 2, 6, 1), 5), NULL);
    }
    for (int i = 0; i < 6; i++)
        want[i] = 2 * wf_at(x, i) + (i == 1 || i == 3 ? 3 : 0) + (i >= 2 ? 5 : 0);
    all_sums(wf_add(t, wf_add(t, part[0], part[1]), part[2]), x, want);
}

/* The cotangent itself becomes the gradient of x (adding a number passes it on), then a slice
 * adds to that: it must be a copy. */
TEST(a_slice_does_not_write_into_a_gradient_that_others_hold)
{
    wf_var *x = leaf(WF_SHAPE(4), 1), *c = leaf(WF_SHAPE(4), 2), *d = leaf(WF_SHAPE(2), 3);
    wf_var *s = wf_slice(t, x, 0, 1, 3, 1), *y = wf_add_scalar(t, x, 1),
           *z = wf_mul_scalar(t, s, 2);
    double before[4], want[4];
    ck_assert(wf_copy_out(c, before, 4));
    for (int i = 0; i < 4; i++) want[i] = before[i] + (i == 1 || i == 2 ? 2 * wf_at(d, i - 1) : 0);
    wf_var *out[2] = { y, z }, *with[2] = { c, d }, *by[2] = { x, y }, *g[2];
    ck_assert(wf_grad(t, 2, out, with, 2, by, g, &with_graph));
    is_near(wf_value(g[0]), 4, want);
    is_near(wf_value(g[1]), 4, before);
    is_near(wf_value(c), 4, before);
    /* The graph of g has both cotangents: d<g, x> / dc is x, d<g, x> / dd twice the slice. */
    wf_var *both[2] = { c, d }, *h[2];
    ck_assert(wf_grad(t, 1, g, (wf_var *[]){ wf_detach(t, x) }, 2, both, h, NULL));
    double hc[4], hd[2];
    for (int i = 0; i < 4; i++) hc[i] = wf_at(x, i);
    for (int i = 0; i < 2; i++) hd[i] = 2 * wf_at(x, i + 1);
    is_near(wf_value(h[0]), 4, hc);
    is_near(wf_value(h[1]), 2, hd);
}

TEST(two_targets_that_share_a_gradient_do_not_change_each_other)
{
    wf_var *a = leaf(WF_SHAPE(3), 1), *b = leaf(WF_SHAPE(3), 2), *c = leaf(WF_SHAPE(3), 3);
    /* The gradient of a + b is one var, handed to both; then a slice of a adds to a's alone. */
    wf_var *s = wf_select(t, a, 0, 2), *y = wf_add(t, a, b), *out[2] = { y, s },
           *with[2] = { c, NULL };
    wf_var *by[2] = { a, b }, *g[2];
    ck_assert(wf_grad(t, 2, out, with, 2, by, g, &with_graph));
    double wa[3], wb[3];
    for (int i = 0; i < 3; i++) wa[i] = wb[i] = wf_at(c, i);
    wa[2] += 1;
    is_near(wf_value(g[0]), 3, wa);
    is_near(wf_value(g[1]), 3, wb);
}

TEST(a_window_that_overlaps_itself_goes_straight_into_a_product)
{
    wf_var *x = leaf(WF_SHAPE(10), 1), *w = leaf(WF_SHAPE(3, 2), 2);
    wf_var *y = wf_matmul(t, wf_window(t, x, 0, 3, 1), w); /* (8, 2) */
    double want[10] = { 0 };
    for (int p = 0; p < 8; p++)
        for (int k = 0; k < 3; k++) want[p + k] += wf_at(w, 2 * k) + wf_at(w, 2 * k + 1);
    all_sums(y, x, want);
    double ww[6] = { 0 };
    for (int p = 0; p < 8; p++)
        for (int k = 0; k < 6; k++) ww[k] += wf_at(x, p + k / 2);
    set_up();
    x = leaf(WF_SHAPE(10), 1), w = leaf(WF_SHAPE(3, 2), 2);
    all_sums(wf_matmul(t, wf_window(t, x, 0, 3, 1), w), w, ww);
}

TEST(overlapping_slices_of_one_var_meet_in_one_op)
{
    wf_var *x = leaf(WF_SHAPE(5), 1);
    double want[5] = { 0 };
    for (int i = 0; i < 4; i++) {
        want[i] += wf_at(x, i + 1);
        want[i + 1] += wf_at(x, i);
    }
    all_sums(wf_mul(t, wf_slice(t, x, 0, 0, 4, 1), wf_slice(t, x, 0, 1, 5, 1)), x, want);
}

TEST(a_var_is_both_inputs_of_one_op)
{
    wf_var *x = leaf(WF_SHAPE(3, 3), 1);
    double want[9] = { 0 }, row[3] = { 0 }, column[3] = { 0 };
    for (int i = 0; i < 9; i++) {
        row[i / 3] += wf_at(x, i);
        column[i % 3] += wf_at(x, i);
    }
    for (int i = 0; i < 9; i++) want[i] = row[i % 3] + column[i / 3];
    all_sums(wf_matmul(t, x, x), x, want);
    set_up();
    x = leaf(WF_SHAPE(4), 1);
    for (int i = 0; i < 4; i++) want[i] = 0;
    all_sums(wf_sub(t, x, x), x, want);
}

TEST(one_var_stands_many_times_in_a_list)
{
    wf_var *x = leaf(WF_SHAPE(2, 3), 1), *many[40];
    double want[6];
    for (int i = 0; i < 40; i++) many[i] = i % 4 ? x : wf_mul(t, x, x);
    for (int i = 0; i < 6; i++) want[i] = 30 + 10 * 2 * wf_at(x, i);
    all_sums(wf_concat(t, 0, (wf_vars){ 40, many }), x, want);
}

/* Views of views: what a chain of them shows, and its gradient, are what plain indexing says. */
TEST(views_of_views_are_one_view)
{
    wf_var *x = leaf(WF_SHAPE(4, 6), 1);
    wf_var *v = wf_transpose(t, x, 0, 1); /* (6, 4) */
    v = wf_slice(t, v, 0, 1, WF_LAST, 2); /* (3, 4): columns 1, 3, 5 */
    v = wf_slice(t, v, 1, -3, -1, 1);     /* (3, 2): rows 1, 2 */
    v = wf_window(t, v, 0, 2, 1);         /* (2, 2, 2) */
    v = wf_select(t, v, 1, 1);            /* (2, 2): row 2 */
    double want[24] = { 0 };
    for (int p = 0; p < 2; p++)
        for (int k = 0; k < 2; k++) {
            ck_assert(wf_at(v, 2 * p + k) == wf_at(x, 2 * 6 + 1 + 2 * (p + k)));
            want[2 * 6 + 1 + 2 * (p + k)] += 1;
        }
    all_sums(v, x, want);
}

TEST(the_gradient_of_a_view_is_the_view_of_the_gradient)
{
    wf_var *x = leaf(WF_SHAPE(4, 3), 1), *row = wf_select(t, x, 0, 2),
           *turned = wf_transpose(t, x, 0, 1);
    ck_assert(wf_keep_grad(t, row) && wf_keep_grad(t, turned));
    ck_assert(wf_backward(t, wf_sum(t, wf_square(t, x), NULL)));
    double r[3], m[12];
    for (int i = 0; i < 3; i++) r[i] = 2 * wf_at(row, i);
    for (int i = 0; i < 12; i++) m[i] = 2 * wf_at(turned, i);
    is_near(wf_grad_of(row), 3, r);
    is_near(wf_grad_of(turned), 12, m);
    ck_assert_ptr_null(wf_grad_of(x)); /* not asked for */
}

/* ---- wf_grad ---- */

TEST(gradients_by_views_and_by_vars_in_the_middle)
{
    wf_var *x = leaf(WF_SHAPE(2, 3), 1), *row = wf_select(t, x, 0, 1), *y = wf_mul_scalar(t, x, 3);
    wf_var *z = wf_sum(t, wf_square(t, y), NULL), *by[4] = { row, y, x, z }, *g[4];
    double want[6];
    for (int turn = 0; turn < 2; turn++) {
        ck_assert(wf_grad(t, 1, &z, NULL, 4, by, g, &(wf_grad_options){ .create_graph = turn }));
        for (int i = 0; i < 3; i++) want[i] = 18 * wf_at(row, i);
        is_near(wf_value(g[0]), 3, want);
        for (int i = 0; i < 6; i++) want[i] = 2 * wf_at(y, i);
        is_near(wf_value(g[1]), 6, want);
        for (int i = 0; i < 6; i++) want[i] = 18 * wf_at(x, i);
        is_near(wf_value(g[2]), 6, want);
        is_near(wf_value(g[3]), 1, (double[]){ 1 });
    }
}

TEST(where_nothing_leads_the_gradient_is_zeros_of_the_same_shape_and_dtype)
{
    wf_var *x = leaf(WF_SHAPE(2), 1), *other = leaf(WF_SHAPE(3, 1), 2), *g[2];
    wf_var *y = wf_sum(t, x, NULL), *by[2] = { other, x };
    for (int turn = 0; turn < 2; turn++) {
        ck_assert(wf_grad(t, 1, &y, NULL, 2, by, g, &(wf_grad_options){ .create_graph = turn }));
        is_near(wf_value(g[0]), 3, (double[]){ 0, 0, 0 });
        ck_assert_int_eq(wf_rank(g[0]), 2);
        ck_assert_int_eq(wf_dtype_of(g[0]), WF_F64);
        is_near(wf_value(g[1]), 2, (double[]){ 1, 1 });
    }
}

TEST(outputs_may_repeat_be_views_and_have_views_for_cotangents)
{
    wf_var *x = leaf(WF_SHAPE(2, 3), 1), *c = leaf(WF_SHAPE(3, 2), 2);
    wf_var *y = wf_mul_scalar(t, x, 2), *turned = wf_transpose(t, y, 0, 1);
    wf_var *out[3] = { turned, turned, y }, *with[3] = { c, c, wf_transpose(t, c, 0, 1) }, *g;
    double want[6];
    for (int i = 0; i < 6; i++) want[i] = 2 * 3 * wf_at(c, (i % 3) * 2 + i / 3);
    for (int turn = 0; turn < 2; turn++) {
        ck_assert(wf_grad(t, 3, out, with, 1, &x, &g, &(wf_grad_options){ .create_graph = turn }));
        is_near(wf_value(g), 6, want);
    }
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward_from(t, 3, out, with));
    is_near(wf_grad_of(x), 6, want);
}

/* f = sum x^4 y + sin(x y): its Hessian by one wf_grad per row, against the formula. */
TEST(a_hessian_is_made_of_gradients_of_gradients)
{
    wf_var *v = leaf(WF_SHAPE(2), 5), *x = wf_select(t, v, 0, 0), *y = wf_select(t, v, 0, 1);
    double a = wf_item(x), b = wf_item(y), s = sin(a * b), c = cos(a * b);
    wf_var *f = wf_add(t, wf_mul(t, wf_square(t, wf_square(t, x)), y), wf_sin(t, wf_mul(t, x, y)));
    wf_var *g, *row, *third;
    ck_assert(wf_grad(t, 1, &f, NULL, 1, &v, &g, &with_graph));
    is_near(wf_value(g), 2, (double[]){ 4 * a * a * a * b + b * c, a * a * a * a + a * c });
    double mixed = 4 * a * a * a + c - a * b * s;
    double want[2][2] = { { 12 * a * a * b - b * b * s, mixed }, { mixed, -a * a * s } };
    for (int i = 0; i < 2; i++) {
        wf_var *gi = wf_select(t, g, 0, i);
        ck_assert(wf_grad(t, 1, &gi, NULL, 1, &v, &row, &with_graph));
        is_near(wf_value(row), 2, want[i]);
        if (i) continue;
        wf_var *gxx = wf_select(t, row, 0, 0);
        ck_assert(wf_grad(t, 1, &gxx, NULL, 1, &v, &third, NULL));
        is_near(wf_value(third), 2,
                (double[]){ 24 * a * b - b * b * b * c, 12 * a * a - 2 * b * s - a * b * b * c });
    }
}

TEST(a_graph_of_a_gradient_can_be_swept_into_parameters)
{
    OWN(wf_module) *m = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_var *w = wf_param_new(m, "w", WF_SHAPE(3), (wf_init){ .kind = WF_INIT_NORMAL, .b = 1 });
    wf_var *x = leaf(WF_SHAPE(3), 2), *g;
    /* A gradient penalty: |d sum(x^2 w) / dx|^2 = sum 4 x^2 w^2. */
    wf_var *y = wf_sum(t, wf_mul(t, wf_square(t, x), w), NULL);
    ck_assert(wf_grad(t, 1, &y, NULL, 1, &x, &g, &with_graph));
    ck_assert_ptr_null(wf_param_grad(w)); /* wf_grad commits nothing */
    ck_assert(wf_backward(t, wf_sum(t, wf_square(t, g), NULL)));
    double want[3];
    for (int i = 0; i < 3; i++) want[i] = 8 * wf_at(x, i) * wf_at(x, i) * wf_at(w, i);
    is_near(wf_param_grad(w), 3, want);
}

TEST(parameters_may_be_named_in_wrt_and_their_own_gradients_stay)
{
    OWN(wf_module) *m = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_var *w = wf_param_new(m, "w", WF_SHAPE(2), (wf_init){ .kind = WF_INIT_CONSTANT, .a = 3 });
    wf_var *unused = wf_param_new(m, "u", WF_SHAPE(2),
                                  (wf_init){ .kind = WF_INIT_CONSTANT, .a = 1 });
    wf_var *y = wf_sum(t, wf_square(t, w), NULL), *by[2] = { w, unused }, *g[2];
    for (int turn = 0; turn < 2; turn++) {
        ck_assert(wf_grad(t, 1, &y, NULL, 2, by, g, &(wf_grad_options){ .create_graph = turn }));
        is_near(wf_value(g[0]), 2, (double[]){ 6, 6 });
        is_near(wf_value(g[1]), 2, (double[]){ 0, 0 });
        ck_assert_ptr_null(wf_param_grad(w));
    }
    ck_assert(wf_backward(t, y));
    is_near(wf_param_grad(w), 2, (double[]){ 6, 6 });
    ck_assert_ptr_null(wf_param_grad(unused));
}

/* ---- kept gradients ---- */

TEST(only_what_was_asked_for_before_the_sweep_is_kept)
{
    wf_var *x = leaf(WF_SHAPE(2), 1), *y = wf_square(t, x), *z = wf_mul_scalar(t, y, 3);
    ck_assert_ptr_null(wf_grad_of(x));
    ck_assert(wf_keep_grad(t, y));
    ck_assert(wf_keep_grad(t, y)); /* twice is once */
    ck_assert_ptr_null(wf_grad_of(y));
    ck_assert(wf_backward(t, wf_sum(t, z, NULL)));
    is_near(wf_grad_of(y), 2, (double[]){ 3, 3 });
    ck_assert_ptr_null(wf_grad_of(x));
    ck_assert_ptr_null(wf_grad_of(z));
}

TEST(a_kept_gradient_is_that_of_the_latest_sweep)
{
    wf_var *x = leaf(WF_SHAPE(2), 1), *y = wf_mul_scalar(t, x, 3), *z = wf_mul_scalar(t, x, 5);
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, wf_sum(t, y, NULL)));
    is_near(wf_grad_of(x), 2, (double[]){ 3, 3 });
    ck_assert(wf_backward(t, wf_sum(t, z, NULL)));
    is_near(wf_grad_of(x), 2, (double[]){ 5, 5 });
}

TEST(a_kept_gradient_survives_the_making_of_other_vars)
{
    wf_var *x = leaf(WF_SHAPE(64), 1), *y = wf_square(t, x), *g;
    double want[64];
    for (int i = 0; i < 64; i++) want[i] = 2 * wf_at(x, i);
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, wf_sum(t, y, NULL)));
    const wf_tensor *kept = wf_grad_of(x);
    for (int i = 0; i < 50; i++) {
        wf_var *z = wf_sum(t, wf_mul(t, y, leaf(WF_SHAPE(64), 2)), NULL);
        ck_assert(wf_grad(t, 1, &z, NULL, 1, &x, &g, &(wf_grad_options){ .create_graph = i % 2 }));
    }
    ck_assert_ptr_eq(wf_grad_of(x), kept);
    is_near(kept, 64, want);
}

/* ---- memory and depth ---- */

TEST(gradients_are_reused_as_soon_as_their_producer_has_run)
{
    enum { N = 1 << 14 };
    wf_var *x = wf_leaf(t, WF_F64, WF_SHAPE(N), NULL), *y = x;
    for (int i = 0; i < 100; i++) y = wf_tanh(t, y);
    ck_assert(wf_keep_grad(t, x));
    ck_assert(wf_backward(t, wf_sum(t, y, NULL)));
    ck_assert_int_ge(wf_tape_bytes(t), 100 * N * 8);
    ck_assert_int_le(wf_tape_grad_bytes(t), 6 * N * 8);
}

static void *deep(void *context)
{
    int64_t depth = *(int64_t *)context;
    wf_var *x = wf_leaf(t, WF_F64, WF_SCALAR, (double[]){ 0.5 }), *y = x, *g, *h, *s;
    for (int64_t i = 0; i < depth; i++)
        y = i % 2 ? wf_mul_scalar(t, y, 1) : wf_add_scalar(t, y, 1e-6);
    wf_keep_grad(t, x);
    if (!wf_backward(t, y) || wf_tensor_at(wf_grad_of(x), 0) != 1) return NULL;
    s = wf_square(t, y);
    if (!wf_grad(t, 1, &s, NULL, 1, &x, &g, &with_graph)) return NULL;
    if (!wf_grad(t, 1, &g, NULL, 1, &x, &h, NULL)) return NULL;
    return wf_item(h) == 2 ? context : NULL;
}

TEST(a_million_ops_deep_needs_no_more_stack_than_ten)
{
    int64_t depth = 1000000;
    pthread_attr_t small;
    pthread_t thread;
    void *result = NULL;
    ck_assert_int_eq(pthread_attr_init(&small), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&small, 256 << 10), 0);
    ck_assert_int_eq(pthread_create(&thread, &small, deep, &depth), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_msg(result != NULL, "%s", wf_tape_error(t));
    ck_assert_int_ge(wf_tape_nodes(t), depth);
    pthread_attr_destroy(&small);
}

/* ---- random graphs ---- */

enum { MOST = 40 };

typedef struct recipe {
    uint64_t key;
    int ops;
} recipe;

static uint64_t pick(const recipe *r, int op, int what, uint64_t n)
{
    return (uint64_t)wf_random_below(wf_key_with(r->key, (uint64_t)op), (uint64_t)what, (int64_t)n);
}

/* A graph of ops and views chosen by the key: each step takes vars that are there and makes a
 * (3, 4) one more. */
static bool random_graph(wf_tape *on, void *context, wf_var *const in[], wf_var *out[8], int *n)
{
    const recipe *r = context;
    wf_var *v[MOST + 2] = { in[0], in[1] };
    int have = 2;
    for (int op = 0; op < r->ops; op++) {
        wf_var *a = v[pick(r, op, 1, (uint64_t)have)], *b = v[pick(r, op, 2, (uint64_t)have)], *y,
               *half[2];
        switch (pick(r, op, 0, 14)) {
        case 0: y = wf_tanh(on, wf_add(on, a, b)); break;
        case 1: y = wf_sin(on, wf_mul(on, a, b)); break;
        case 2: y = wf_sub(on, wf_sigmoid(on, a), b); break;
        case 3: /* a product with the other's transpose */
            y = wf_mul_scalar(on, wf_matmul(on, a, wf_matmul(on, wf_transpose(on, b, 0, 1), a)),
                              0.1);
            break;
        case 4: /* columns 1, 3 and 0, 2 exchanged */
            half[0] = wf_slice(on, a, 1, 1, WF_LAST, 2);
            half[1] = wf_slice(on, a, 1, 0, WF_LAST, 2);
            y = wf_concat(on, 1, (wf_vars){ 2, half });
            break;
        case 5: /* windows of 4 over a's 12 numbers, every fourth, times b */
            y = wf_mul(on, wf_window(on, wf_reshape(on, a, WF_SHAPE(12)), 0, 4, 4), b);
            break;
        case 6: /* windows that overlap: 3 of 4 out of the first 6 numbers */
            y = wf_window(on, wf_slice(on, wf_reshape(on, a, WF_SHAPE(-1)), 0, 0, 6, 1), 0, 4, 1);
            y = wf_add(on, y, b);
            break;
        case 7: y = wf_add(on, wf_sum_keep(on, a, WF_AXES(0)), b); break;
        case 8: y = wf_mul(on, wf_softmax(on, a, -1), b); break;
        case 9: y = wf_reshape(on, wf_transpose(on, a, 0, 1), WF_SHAPE(3, 4)); break; /* copies */
        case 10:
            y = wf_lerp(on, a, b, wf_sigmoid(on, wf_select(on, a, 0, (int64_t)pick(r, op, 3, 3))));
            break;
        case 11: y = wf_transpose(on, wf_reshape(on, b, WF_SHAPE(4, 3)), 0, 1); break;
        case 12:
            y = wf_tanh(on, wf_stack(on, 0,
                                     WF_VARS(wf_select(on, a, 0, 2), wf_select(on, b, 0, 0),
                                             wf_select(on, a, 0, 2))));
            break;
        default: y = wf_exp(on, wf_mul_scalar(on, wf_square(on, wf_tanh(on, a)), -1)); break;
        }
        v[have++] = y;
    }
    /* Tanh bounds what grew; some vars in the middle are outputs too. */
    out[0] = wf_tanh(on, v[have - 1]);
    out[1] = wf_slice(on, v[have / 2], 1, 1, 3, 1);
    *n = 2;
    return out[0] && out[1];
}

TEST_EACH(random_graphs_of_ops_and_views_agree_with_differences_to_second_order, 10)
{
    double x[24];
    for (int seed = 0; seed < 12; seed++) {
        recipe r = { wf_key_with(77, (uint64_t)(_i * 100 + seed)), 3 + seed };
        for (int i = 0; i < 24; i++) x[i] = 0.7 * wf_random_normal(r.key, (uint64_t)i);
        wf_tensor in[2] = { wf_tensor_of(WF_F64, WF_SHAPE(3, 4), x),
                            wf_tensor_of(WF_F64, WF_SHAPE(3, 4), x + 12) };
        wf_report report = wf_gradcheck(random_graph, &r, 2, in,
                                        &(wf_check_options){ .seed = (uint64_t)seed });
        ck_assert_msg(report.ok, "graph %d of %d ops: %s", _i * 100 + seed, r.ops, report.text);
    }
}

const harness_suite suite = { .before = set_up, .after = tear_down };
