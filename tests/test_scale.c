/* Many of everything: gradients that many uses share stay exact, and what a node of very many
 * inputs or a tree of very many parameters needs grows with their number and no faster. */
#include "autograd/module.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tensor/runtime.h"
#include "tests/fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static wf_tape *t;
static wf_module *m;

static void tear_down(void)
{
    wf_tape_free(t);
    wf_module_free(m);
    t = NULL;
    m = NULL;
}

static void set_up(wf_dtype dtype)
{
    tear_down();
    t = wf_tape_new(NULL);
    m = wf_module_new("net", &(wf_module_options){ .dtype = dtype });
}

static wf_var *ones(const char *name, wf_shape shape)
{
    return wf_param_new(m, name, shape, (wf_init){ .kind = WF_INIT_CONSTANT, .a = 1 });
}

static double worst(const wf_var *param, double want)
{
    double most = 0;
    const wf_tensor *g = wf_param_grad(param);
    for (int64_t i = 0; i < wf_tensor_count(g); i++)
        most = fmax(most, fabs(wf_tensor_at(g, i) - want) / want);
    return most;
}

/* ---- shared gradients ---- */

/* T uses of one parameter, each giving 0.1 to its gradient: whole, row by row, or as ids say. */
static void sum_of_uses(int64_t uses, int how, double bound)
{
    set_up(WF_F32);
    wf_var *b = ones("b", WF_SHAPE(3, 2)), **out = wf_alloc((size_t)uses * sizeof *out);
    wf_var *tenth = wf_full(t, WF_F32, WF_SHAPE(3, 2), 0.1),
           **with = wf_alloc((size_t)uses * sizeof *out);
    wf_var *row = wf_full(t, WF_F32, WF_SHAPE(2), 0.1);
    wf_var *ids = wf_constant(t, WF_I32, WF_SHAPE(3), (int32_t[]){ 0, 1, 2 });
    for (int64_t i = 0; i < uses; i++) {
        out[i] = how == 1   ? wf_add_scalar(t, wf_select(t, b, 0, i % 3), 1)
                 : how == 2 ? wf_gather_rows(t, b, ids)
                            : wf_add_scalar(t, b, 1);
        with[i] = how == 1 ? row : tenth;
    }
    ck_assert_msg(wf_backward_from(t, (int)uses, out, with), "%s", wf_tape_error(t));
    double want = (double)0.1f * (double)uses / (how == 1 ? 3 : 1);
    ck_assert_msg(worst(b, want) <= bound, "%d uses, way %d: relative error %g", (int)uses, how,
                  worst(b, want));
    wf_release(out);
    wf_release(with);
}

TEST(the_gradient_of_a_parameter_used_in_very_many_ops_is_no_running_sum)
{
    /* 64 + log2(T / 64) roundings of 2^-24. */
    for (int how = 0; how < 3; how++) {
        sum_of_uses(3, how, 1.2e-7);
        sum_of_uses(192, how, 5e-6);
        sum_of_uses(100002, how, 5e-6);
    }
}

/* The graph of a gradient is added up in the same manner, and is differentiated in turn: n squares
 * of x, of which `viewed` says whether they are of a slice of it, so that element 0 gets less. */
static void graph_of_uses(int n, bool (*viewed)(int i, int n), double bound)
{
    set_up(WF_F32);
    wf_var **out = wf_alloc((size_t)n * sizeof *out), **with = wf_alloc((size_t)n * sizeof *out);
    wf_var *x = wf_leaf_tensor(t, wf_value(wf_full(t, WF_F32, WF_SHAPE(3), 1))), *g, *h;
    wf_var *tenth = wf_full(t, WF_F32, WF_SHAPE(3), 0.1);
    int whole = 0;
    for (int i = 0; i < n; i++) {
        const bool part = viewed(i, n);
        whole += !part;
        out[i] = wf_square(t, part ? wf_slice(t, x, 0, 1, 3, 1) : x);
        with[i] = part ? wf_slice(t, tenth, 0, 1, 3, 1) : tenth;
    }
    ck_assert_msg(wf_grad(t, n, out, with, 1, &x, &g, &with_graph), "%s", wf_tape_error(t));
    wf_var *one = wf_sum(t, g, NULL);
    ck_assert(wf_grad(t, 1, &one, NULL, 1, &x, &h, NULL));
    for (int i = 0; i < 3; i++) {
        const double want = 2 * (double)0.1f * (i == 0 ? whole : n);
        ck_assert_msg(fabs(wf_at(g, i) - want) <= bound * want, "%d uses: %g, not %g", n,
                      wf_at(g, i), want);
        ck_assert(fabs(wf_at(h, i) - want) <= 5e-6 * want);
    }
    wf_release(out);
    wf_release(with);
}

static bool none_viewed(int i, int n)
{
    (void)i, (void)n;
    return false;
}

static bool middle_viewed(int i, int n)
{
    return i == n / 2;
}

static bool all_viewed(int i, int n)
{
    (void)i, (void)n;
    return true;
}

static bool most_viewed(int i, int n)
{
    (void)n;
    return i % 100 != 7;
}

TEST(the_graph_of_a_shared_gradient_is_no_running_sum)
{
    static const int few[] = { 1, 2, 3, 4, 5, 7, 8, 20000 },
                     many[] = { 1, 64, 65, 129, 8193, 50001 };
    for (int k = 0; k < 8; k++) {
        graph_of_uses(few[k], none_viewed, 1e-6);
        graph_of_uses(few[k], middle_viewed, 1e-6);
    }
    for (int k = 0; k < 6; k++) { /* such as a step's part of a weight */
        graph_of_uses(many[k], all_viewed, 5e-6);
        graph_of_uses(many[k], most_viewed, 5e-6);
    }
}

TEST(the_gradient_of_a_parameter_that_one_node_takes_very_often_is_no_running_sum)
{
    static const int uses[] = { 15, 192, 100002 };
    for (size_t k = 0; k < sizeof uses / sizeof uses[0]; k++) {
        set_up(WF_F32);
        const int n = uses[k];
        wf_var *b = ones("b", WF_SHAPE(3, 2)), **in = wf_alloc((size_t)n * sizeof *in);
        for (int i = 0; i < n; i++) in[i] = b;
        wf_var *y = wf_stack(t, 0, (wf_vars){ n, in }); /* (n, 3, 2) */
        wf_var *tenth = wf_full(t, WF_F32, WF_SHAPE(n, 3, 2), 0.1);
        ck_assert_msg(wf_backward_from(t, 1, &y, &tenth), "%s", wf_tape_error(t));
        const double off = worst(b, (double)0.1f * n);
        ck_assert_msg(off <= 5e-6, "%d uses: relative error %g", n, off);
        wf_release(in);
    }
}

/* What the folds do to values that no rounding touches: nothing at all, whoever is used how
 * often, kept, asked for by wf_grad, or swept twice. */
TEST(sums_of_whole_numbers_are_exact_however_often_they_are_folded)
{
    static const int uses[] = { 1, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 9000 };
    for (size_t k = 0; k < sizeof uses / sizeof uses[0]; k++) {
        set_up(WF_F32);
        wf_var *b = ones("b", WF_SHAPE(2, 3)), *x = wf_leaf(t, WF_F32, WF_SHAPE(2, 3), NULL), *g;
        wf_var *h = wf_add_scalar(t, x, 1), *sum = wf_mul(t, h, b);
        for (int i = 1; i < uses[k]; i++) sum = wf_add(t, sum, wf_mul(t, h, b));
        wf_var *loss = wf_sum(t, sum, NULL);
        ck_assert(wf_keep_grad(t, x) && wf_keep_grad(t, h));
        ck_assert(wf_backward(t, loss));
        ck_assert(wf_grad(t, 1, &loss, NULL, 1, &h, &g, NULL));
        ck_assert(wf_backward(t, loss));
        for (int i = 0; i < 6; i++) {
            ck_assert(wf_tensor_at(wf_grad_of(x), i) == uses[k]);
            ck_assert(wf_tensor_at(wf_grad_of(h), i) == uses[k]);
            ck_assert(wf_at(g, i) == uses[k]);
            ck_assert(wf_tensor_at(wf_param_grad(b), i) == 2.0 * uses[k]);
        }
    }
}

/* ---- many inputs ---- */

/* y = concat of views of one root in a shuffled order with repetitions, beside other roots. */
TEST(a_node_of_very_many_inputs_gathers_every_gradient)
{
    enum { N = 100000, ROWS = 20011 };
    set_up(WF_F64);
    wf_var *x = wf_leaf(t, WF_F64, WF_SHAPE(ROWS, 2), NULL), *z = ones("z", WF_SHAPE(2));
    wf_var **in = wf_alloc(N * sizeof *in);
    int64_t *row = wf_alloc(N * sizeof *row);
    double *want = wf_alloc_zero(2 * ROWS * sizeof *want), last = 0;
    ck_assert(wf_keep_grad(t, x));
    for (int64_t i = 0; i < N; i++) {
        row[i] = i * 7919 % ROWS;
        in[i] = i % 5 == 4 ? z : wf_select(t, x, 0, row[i]);
    }
    wf_var *y = wf_stack(t, 0, (wf_vars){ N, in }); /* (N, 2) */
    double *c = wf_alloc(2 * N * sizeof *c);
    for (int64_t i = 0; i < 2 * N; i++) {
        c[i] = (double)(i % 13);
        if (i / 2 % 5 == 4)
            last += i % 2 ? c[i] : 0;
        else
            want[2 * row[i / 2] + i % 2] += c[i];
    }
    wf_var *with = wf_constant(t, WF_F64, WF_SHAPE(N, 2), c);
    ck_assert_msg(wf_backward_from(t, 1, &y, &with), "%s", wf_tape_error(t));
    for (int64_t i = 0; i < 2 * ROWS; i++) ck_assert(wf_tensor_at(wf_grad_of(x), i) == want[i]);
    ck_assert(wf_tensor_at(wf_param_grad(z), 1) == last);
    wf_release(in);
    wf_release(row);
    wf_release(want);
    wf_release(c);
}

/* A node of as many inputs as the one swept before it, of which two meet: only the second of those
 * is a temporary, whatever the others were that lay where these do. */
TEST(views_of_nothing_among_many_inputs_leave_every_gradient_as_it_is)
{
    enum { N = 20 };
    set_up(WF_F64);
    wf_var *part[N], *none[N], *twice[N], *x = ones("x", WF_SHAPE(2)), *sum = NULL;
    char name[8];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "p%d", i);
        part[i] = ones(name, WF_SHAPE(3));
        none[i] = i == 7 || i == 8 ? part[7] : wf_slice(t, part[i], 0, 1, 1, 1);
        twice[i] = x;
    }
    wf_var *few = wf_concat(t, 0, (wf_vars){ N, none }); /* (6) */
    wf_var *many = wf_concat(t, 0, (wf_vars){ N, twice });
    for (int i = 0; i < N; i++) {
        wf_var *more = wf_mul_scalar(t, wf_sum(t, part[i], NULL), i + 2);
        sum = sum ? wf_add(t, sum, more) : more;
    }
    wf_var *out[3] = { wf_sum(t, few, NULL), wf_sum(t, many, NULL), sum };
    ck_assert_msg(wf_backward_from(t, 3, out, NULL), "%s", wf_tape_error(t));
    for (int i = 0; i < N; i++)
        for (int j = 0; j < 3; j++)
            ck_assert(wf_tensor_at(wf_param_grad(part[i]), j) == i + 2 + 2 * (i == 7));
    ck_assert(wf_tensor_at(wf_param_grad(x), 1) == N);
}

/* ---- many parameters ---- */

TEST(a_tree_of_very_many_modules_finds_each_by_place_and_by_name)
{
    enum { N = 20000 };
    set_up(WF_F32);
    char name[64];
    wf_module *part[2] = { wf_module_child(m, "even"), wf_module_child(m, "odd") };
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "l%d", i);
        wf_module *layer = wf_module_child(part[i % 2], name);
        ck_assert_ptr_nonnull(wf_param_new(layer, "w", WF_SHAPE(1 + i % 3), (wf_init){ 0 }));
    }
    wf_param_new(part[0], "w", WF_SHAPE(5), (wf_init){ 0 });
    ck_assert_int_eq(wf_module_param_count(m), N + 1);
    ck_assert_int_eq(wf_module_param_count(part[0]), N / 2 + 1);
    ck_assert_int_eq(wf_module_param_count(part[1]), N / 2);
    int64_t weights = 0;
    for (int i = 0; i < N; i++) {
        weights += 1 + i % 3;
        snprintf(name, sizeof name, "%s.l%d.w", i % 2 ? "odd" : "even", i);
        wf_var *p = wf_module_param_at(m, i);
        ck_assert_str_eq(wf_param_path(p), name);
        ck_assert_ptr_eq(wf_module_param_find(m, name), p);
        ck_assert_ptr_eq(wf_module_param_at(part[i % 2], i / 2), p);
        ck_assert_ptr_eq(wf_module_param_find(part[i % 2], strchr(name, '.') + 1), p);
        ck_assert_ptr_null(wf_module_param_find(part[1 - i % 2], strchr(name, '.') + 1));
    }
    ck_assert_int_eq(wf_module_weights(m), weights + 5);
    ck_assert_ptr_null(wf_module_param_at(m, N + 1));
    ck_assert_ptr_null(wf_module_param_find(m, "even.l0"));
    ck_assert_ptr_null(wf_module_param_find(m, "even"));
    ck_assert_ptr_null(wf_module_param_find(part[0], ""));
    ck_assert_ptr_null(wf_module_param_find(m, ".even.w"));
    ck_assert_ptr_nonnull(wf_module_param_find(m, "even.w"));
    /* A file of them all, and back. */
    wf_error e = { "" };
    char path[4200];
    snprintf(path, sizeof path, "%s/many.safetensors", harness_folder());
    ck_assert_msg(wf_module_save(m, path, NULL, 0, &e) && wf_module_load(m, path, &e), "%s",
                  e.text);
    /* A name twice, for either. */
    ck_assert_ptr_null(wf_module_child(part[1], "l19999"));
    ck_assert(!wf_module_ok(m, &e));
    ck_assert_str_eq(e.text, "module 'l19999': there is one of this name in 'odd' already");
}

const harness_suite suite = { .after = tear_down };
