/* Misuse of every op and view on vars: NULL, vars of another tape or an earlier step, dtypes
 * that do not go together, a failed tape, forms that nobody thought of. */
#include "tests/misuse.h"

#include <math.h>

/* ---- every op on vars, by what it is called with when all is well ---- */

typedef wf_var *op_call(wf_tape *t, wf_var *const v[]);

/* Inputs, one letter each: m matrix, n another, v vector, s scalar, w weight, b tall, i ids, k
 * mask, q sequence, u its last axis's bias. `any`: takes i32 as well as floats. */
typedef struct op_row {
    const char *name;
    void (*function)(void);
    const char *says; /* how its sentences begin */
    op_call *call;
    const char *inputs;
    bool any;
    int optional; /* one input that may be left out; -1: none */
} op_row;

#define WF_POINTWISE_1(name, ...)                                                                  \
    static wf_var *call_##name(wf_tape *t, wf_var *const v[])                                      \
    {                                                                                              \
        return wf_##name(t, v[0]);                                                                 \
    }
#define WF_POINTWISE_S(name, ...)                                                                  \
    static wf_var *call_##name(wf_tape *t, wf_var *const v[])                                      \
    {                                                                                              \
        return wf_##name(t, v[0], 0.5);                                                            \
    }
#define WF_POINTWISE_2(name, ...)                                                                  \
    static wf_var *call_##name(wf_tape *t, wf_var *const v[])                                      \
    {                                                                                              \
        return wf_##name(t, v[0], v[1]);                                                           \
    }
#define WF_POINTWISE_3(name, ...)                                                                  \
    static wf_var *call_##name(wf_tape *t, wf_var *const v[])                                      \
    {                                                                                              \
        return wf_##name(t, v[0], v[1], v[2]);                                                     \
    }
#define WF_POINTWISE_WHERE WF_POINTWISE_3
#define WF_POINTWISE_COMPARE WF_POINTWISE_2
#include "autograd/pointwise.def"

static wf_var *call_matmul(wf_tape *t, wf_var *const v[])
{
    return wf_matmul(t, v[0], v[1]);
}
static wf_var *call_affine(wf_tape *t, wf_var *const v[])
{
    return wf_affine(t, v[0], v[1], v[2]);
}
static wf_var *call_sum(wf_tape *t, wf_var *const v[])
{
    return wf_sum(t, v[0], NULL);
}
static wf_var *call_mean(wf_tape *t, wf_var *const v[])
{
    return wf_mean(t, v[0], WF_AXES(-1));
}
static wf_var *call_max(wf_tape *t, wf_var *const v[])
{
    return wf_max(t, v[0], NULL);
}
static wf_var *call_sum_keep(wf_tape *t, wf_var *const v[])
{
    return wf_sum_keep(t, v[0], WF_AXES(0));
}
static wf_var *call_mean_keep(wf_tape *t, wf_var *const v[])
{
    return wf_mean_keep(t, v[0], NULL);
}
static wf_var *call_max_keep(wf_tape *t, wf_var *const v[])
{
    return wf_max_keep(t, v[0], WF_AXES(-1));
}
static wf_var *call_sum_to(wf_tape *t, wf_var *const v[])
{
    return wf_sum_to(t, v[0], WF_SHAPE(3));
}
static wf_var *call_softmax(wf_tape *t, wf_var *const v[])
{
    return wf_softmax(t, v[0], -1);
}
static wf_var *call_log_softmax(wf_tape *t, wf_var *const v[])
{
    return wf_log_softmax(t, v[0], 0);
}
static wf_var *call_cross_entropy_with(wf_tape *t, wf_var *const v[])
{
    return wf_cross_entropy_with(t, v[0], v[1], NULL);
}
static wf_var *call_cross_entropy(wf_tape *t, wf_var *const v[])
{
    int32_t ids[2] = { 0, 2 };
    wf_tensor target = wf_tensor_of(WF_I32, WF_SHAPE(2), ids);
    return wf_cross_entropy(t, v[0], &target);
}
static wf_var *call_binary_with(wf_tape *t, wf_var *const v[])
{
    return wf_binary_cross_entropy_with(t, v[0], v[1], NULL);
}
static wf_var *call_binary(wf_tape *t, wf_var *const v[])
{
    double ones[6] = { 0, 1, 0, 1, 1, 1 };
    wf_tensor target = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), ones);
    return wf_binary_cross_entropy(t, v[0], &target);
}
static wf_var *call_mse(wf_tape *t, wf_var *const v[])
{
    return wf_mse(t, v[0], v[1]);
}
static wf_var *call_gather_rows(wf_tape *t, wf_var *const v[])
{
    return wf_gather_rows(t, v[0], v[1]);
}
static wf_var *call_scatter_rows(wf_tape *t, wf_var *const v[])
{
    return wf_scatter_rows(t, v[0], v[1], 4);
}
static wf_var *call_one_hot(wf_tape *t, wf_var *const v[])
{
    return wf_one_hot(t, v[0], 3);
}
static wf_var *call_concat(wf_tape *t, wf_var *const v[])
{
    return wf_concat(t, 0, WF_VARS(v[0], v[1]));
}
static wf_var *call_stack(wf_tape *t, wf_var *const v[])
{
    return wf_stack(t, -1, WF_VARS(v[0], v[1]));
}
static wf_var *call_copy(wf_tape *t, wf_var *const v[])
{
    return wf_copy(t, v[0]);
}
static wf_var *call_expand(wf_tape *t, wf_var *const v[])
{
    return wf_expand(t, v[0], WF_SHAPE(4, 2, 3));
}
static wf_var *call_dropout(wf_tape *t, wf_var *const v[])
{
    return wf_dropout(t, v[0], 0.5);
}
static wf_var *call_norm(wf_tape *t, wf_var *const v[])
{
    return wf_norm(t, v[0], NULL);
}
static wf_var *call_norm_keep(wf_tape *t, wf_var *const v[])
{
    return wf_norm_keep(t, v[0], WF_AXES(-1));
}
static wf_var *call_argmax(wf_tape *t, wf_var *const v[])
{
    return wf_argmax(t, v[0], -1);
}
static wf_var *call_argmin(wf_tape *t, wf_var *const v[])
{
    return wf_argmin(t, v[0], 0);
}
static wf_var *call_flip(wf_tape *t, wf_var *const v[])
{
    return wf_flip(t, v[0], WF_AXES(-1));
}
static wf_var *call_cast(wf_tape *t, wf_var *const v[])
{
    return wf_cast(t, v[0], wf_dtype_of(v[0]) == WF_F32 ? WF_F64 : WF_F32);
}
static wf_var *call_length_mask(wf_tape *t, wf_var *const v[])
{
    return wf_length_mask(t, v[0], 2);
}
static wf_var *call_squeeze(wf_tape *t, wf_var *const v[])
{
    return wf_squeeze(t, wf_unsqueeze(t, v[0], 0), 0);
}
static wf_var *call_permute(wf_tape *t, wf_var *const v[])
{
    int axis[WF_RANK];
    for (int i = 0; i < wf_rank(v[0]); i++) axis[i] = wf_rank(v[0]) - 1 - i;
    return wf_permute(t, v[0], &(wf_axes){ wf_rank(v[0]), axis });
}
static wf_var *call_clamp(wf_tape *t, wf_var *const v[])
{
    return wf_clamp(t, v[0], -1, 1);
}
static wf_var *call_slice(wf_tape *t, wf_var *const v[])
{
    return wf_slice(t, v[0], 0, 0, WF_LAST, 1);
}
static wf_var *call_select(wf_tape *t, wf_var *const v[])
{
    return wf_select(t, v[0], -1, 0);
}
static wf_var *call_split(wf_tape *t, wf_var *const v[])
{
    wf_var *part[1];
    return wf_split(t, v[0], 0, 1, part) ? part[0] : NULL;
}
static wf_var *call_transpose(wf_tape *t, wf_var *const v[])
{
    return wf_transpose(t, v[0], 0, -1);
}
static wf_var *call_window(wf_tape *t, wf_var *const v[])
{
    return wf_window(t, v[0], -1, 2, 1);
}
static wf_var *call_reshape(wf_tape *t, wf_var *const v[])
{
    return wf_reshape(t, v[0], WF_SHAPE(wf_count(v[0])));
}
static wf_var *call_unsqueeze(wf_tape *t, wf_var *const v[])
{
    return wf_unsqueeze(t, v[0], 0);
}
static wf_var *call_detach(wf_tape *t, wf_var *const v[])
{
    return wf_detach(t, v[0]);
}

static const op_row rows[] = {
#define WF_POINTWISE_1(name, ...) { OF(wf_##name), #name, call_##name, "m", false, -1 },
#define WF_POINTWISE_S WF_POINTWISE_1
#define WF_POINTWISE_2(name, ...) { OF(wf_##name), #name, call_##name, "mn", false, -1 },
#define WF_POINTWISE_3(name, ...) { OF(wf_##name), #name, call_##name, "mnv", false, -1 },
#define WF_POINTWISE_WHERE(name, ...) { OF(wf_##name), #name, call_##name, "kmn", false, -1 },
#define WF_POINTWISE_COMPARE(name, ...) { OF(wf_##name), #name, call_##name, "mn", true, -1 },
#include "autograd/pointwise.def"
    { OF(wf_matmul), "matmul", call_matmul, "mb", false, -1 },
    { OF(wf_affine), "affine", call_affine, "mwu", false, 2 },
    { OF(wf_sum), "sum", call_sum, "m", false, -1 },
    { OF(wf_mean), "mean", call_mean, "m", false, -1 },
    { OF(wf_max), "max", call_max, "m", false, -1 },
    { OF(wf_sum_keep), "sum", call_sum_keep, "m", false, -1 },
    { OF(wf_mean_keep), "mean", call_mean_keep, "m", false, -1 },
    { OF(wf_max_keep), "max", call_max_keep, "m", false, -1 },
    { OF(wf_sum_to), "sum_to", call_sum_to, "m", false, -1 },
    { OF(wf_softmax), "softmax", call_softmax, "m", false, -1 },
    { OF(wf_log_softmax), "log_softmax", call_log_softmax, "m", false, -1 },
    { OF(wf_cross_entropy), "cross_entropy", call_cross_entropy, "m", false, -1 },
    { OF(wf_cross_entropy_with), "cross_entropy", call_cross_entropy_with, "mi", false, -1 },
    { OF(wf_binary_cross_entropy), "binary_cross_entropy", call_binary, "m", false, -1 },
    { OF(wf_binary_cross_entropy_with), "binary_cross_entropy", call_binary_with, "mn", false, -1 },
    { OF(wf_mse), "mse", call_mse, "mn", false, -1 },
    { OF(wf_gather_rows), "embedding", call_gather_rows, "mi", false, -1 },
    { OF(wf_scatter_rows), "scatter_rows", call_scatter_rows, "mi", false, -1 },
    { OF(wf_one_hot), "one_hot", call_one_hot, "i", false, -1 },
    { OF(wf_concat), "concat", call_concat, "mn", true, -1 },
    { OF(wf_stack), "stack", call_stack, "mn", true, -1 },
    { OF(wf_copy), "copy", call_copy, "m", true, -1 },
    { OF(wf_expand), "expand", call_expand, "m", true, -1 },
    { OF(wf_dropout), "dropout", call_dropout, "m", false, -1 },
    { OF(wf_clamp), "maximum_scalar", call_clamp, "m", false, -1 },
    { OF(wf_slice), "slice", call_slice, "m", true, -1 },
    { OF(wf_select), "select", call_select, "m", true, -1 },
    { OF(wf_split), "split", call_split, "m", true, -1 },
    { OF(wf_transpose), "transpose", call_transpose, "m", true, -1 },
    { OF(wf_window), "window", call_window, "m", true, -1 },
    { OF(wf_reshape), "reshape", call_reshape, "m", true, -1 },
    { OF(wf_unsqueeze), "unsqueeze", call_unsqueeze, "m", true, -1 },
    { OF(wf_norm), "norm", call_norm, "m", false, -1 },
    { OF(wf_norm_keep), "norm", call_norm_keep, "m", false, -1 },
    { OF(wf_argmax), "argmax", call_argmax, "m", true, -1 },
    { OF(wf_argmin), "argmax", call_argmin, "m", true, -1 },
    { OF(wf_flip), "flip", call_flip, "m", true, -1 },
    { OF(wf_cast), "cast", call_cast, "m", true, -1 },
    { OF(wf_length_mask), "length_mask", call_length_mask, "i", false, -1 },
    { OF(wf_permute), "permute", call_permute, "m", true, -1 },
    { OF(wf_squeeze), "unsqueeze", call_squeeze, "m", true, -1 },
    { OF(wf_detach), "detach", call_detach, "m", true, -1 },
};

enum { ROWS = (int)(sizeof rows / sizeof rows[0]), INPUTS = 3 };

static wf_var *healthy_input(char letter)
{
    switch (letter) {
    case 'm': return now.matrix;
    case 'n': return now.more;
    case 'v': return now.vector;
    case 'w': return now.weight;
    case 'u': return wf_select(now.t, now.weight, 1, 0);
    case 'b': return now.tall;
    case 'i': return now.ids;
    case 'k': return now.mask;
    default: return NULL;
    }
}

static int healthy_inputs(const op_row *row, wf_var *v[INPUTS])
{
    int n = (int)strlen(row->inputs);
    for (int i = 0; i < INPUTS; i++) v[i] = i < n ? healthy_input(row->inputs[i]) : NULL;
    return n;
}

/* A new step, with one input exchanged, and what is called with that refused: "who: rest" if
 * rest is given (with %d for the input's number), anything well said otherwise. */
static void exchanged(const op_row *row, int input, wf_var *by, const char *rest)
{
    wf_var *v[INPUTS];
    char says[256], what[256];
    healthy_inputs(row, v);
    v[input] = by;
    if (rest) {
        int n = snprintf(says, sizeof says, "%s: ", row->says);
        snprintf(says + n, sizeof says - (size_t)n, rest, input);
    }
    snprintf(what, sizeof what, "%s with input %d exchanged", row->name, input);
    misuse_refused(__LINE__, what, row->call(now.t, v) != NULL, rest ? says : NULL);
}

START_TEST(every_op_refuses_vars_that_are_not_of_its_tape)
{
    const op_row *row = &rows[_i];
    wf_var *v[INPUTS];
    misuse_set_up();
    int n = healthy_inputs(row, v);
    ck_assert_msg(row->call(now.t, v) != NULL, "%s: %s", row->name, wf_tape_error(now.t));
    for (int i = 0; i < n; i++) {
        misuse_renew();
        if (i == row->optional) {
            healthy_inputs(row, v);
            v[i] = NULL;
            ck_assert_ptr_nonnull(row->call(now.t, v));
        } else {
            exchanged(row, i, NULL, "input %d was never made (NULL)");
        }
        exchanged(row, i, now.foreign, "input %d belongs to another tape");
        if (MISUSE_POISONED) continue;
        for (int k = 0; k < 30; k++) misuse_leaf(now.t, WF_SHAPE(5));
        wf_var *old = misuse_leaf(now.t, WF_SHAPE(2, 3));
        misuse_renew();
        exchanged(row, i, old, "input %d was made before the tape was reset");
    }
    misuse_tear_down();
}
END_TEST

START_TEST(no_op_does_or_says_anything_on_a_failed_tape_or_on_none)
{
    const op_row *row = &rows[_i];
    wf_var *v[INPUTS];
    misuse_set_up();
    healthy_inputs(row, v);
    ck_assert_ptr_null(row->call(NULL, v));
    ck_assert_int_eq(misuse_messages, now.messages);
    wf_fail(now.t, "test: failed on purpose");
    int64_t bytes = wf_tape_bytes(now.t), nodes = wf_tape_nodes(now.t);
    ck_assert_ptr_null(row->call(now.t, v));
    v[0] = NULL;
    ck_assert_ptr_null(row->call(now.t, v));
    ck_assert_str_eq(wf_tape_error(now.t), "test: failed on purpose");
    ck_assert_int_eq(misuse_messages, now.messages + 1);
    ck_assert_int_eq(wf_tape_bytes(now.t), bytes);
    ck_assert_int_eq(wf_tape_nodes(now.t), nodes);
    misuse_tear_down();
}
END_TEST

START_TEST(every_op_says_which_dtypes_do_not_go_together)
{
    const op_row *row = &rows[_i];
    misuse_set_up();
    int floats = 0, n = (int)strlen(row->inputs);
    for (int i = 0; i < n; i++) floats += !strchr("ik", row->inputs[i]);
    for (int i = 0; i < n; i++) {
        bool whole = strchr("ik", row->inputs[i]) != NULL;
        wf_shape shape = wf_shape_of(healthy_input(row->inputs[i]));
        if (whole) {
            exchanged(row, i, misuse_leaf(now.t, shape), NULL);
            continue;
        }
        if (!row->any) exchanged(row, i, wf_zeros(now.t, WF_I32, shape), NULL);
        if (floats < 2) continue;
        exchanged(row, i, wf_zeros(now.t, WF_F32, shape), NULL);
        wf_var *v[INPUTS];
        healthy_inputs(row, v);
        v[i] = wf_zeros(now.t, WF_F32, shape);
        ck_assert_ptr_null(row->call(now.t, v));
        ck_assert_msg(strstr(wf_tape_error(now.t), "f32") && strstr(wf_tape_error(now.t), "f64"),
                      "%s: %s", row->name, wf_tape_error(now.t));
        misuse_renew();
    }
    misuse_tear_down();
}
END_TEST

/* Forms that an op may not have thought of. */
static wf_var *odd_form(int k)
{
    static const float nan_and_more[6] = { NAN, INFINITY, -INFINITY, 0, 1e38f, -1e-40f };
    wf_tape *t = now.t;
    switch (k) {
    case 0: return now.scalar;
    case 1: return now.empty;
    case 2: return now.deep;
    case 3: return now.window;
    case 4: return wf_transpose(t, now.tall, 0, 1);
    case 5: return now.single;
    case 6: return now.mask;
    case 7: return wf_leaf(t, WF_F32, WF_SHAPE(2, 3), nan_and_more);
    case 8: return wf_slice(t, now.weight, 0, 0, WF_LAST, 2);
    case 9: return wf_leaf(t, WF_F64, WF_SHAPE(3, 0), NULL);
    case 10: return wf_zeros(t, WF_I32, WF_SHAPE(0));
    case 11: return wf_leaf(t, WF_F64, WF_SHAPE(0, 1, 0, 1, 1, 1, 1, 1), NULL);
    case 12: return now.param;
    case 13: return wf_slice(t, now.matrix, 1, 3, 3, 1);
    default: return NULL;
    }
}

enum { FORMS = 14 };

/* Whatever comes out, it is a var or a sentence; and the sweep from it, a sweep or a sentence. */
static void tried(const op_row *row, wf_var *const v[])
{
    wf_var *y = row->call(now.t, v);
    ck_assert_msg((y != NULL) == wf_tape_ok(now.t), "%s: %s", row->name, wf_tape_error(now.t));
    if (y && wf_dtype_of(y) != WF_I32) {
        wf_var *loss = wf_sum(now.t, y, NULL);
        ck_assert_msg(loss != NULL, "%s: %s", row->name, wf_tape_error(now.t));
        for (int i = 0; i < INPUTS; i++) {
            /* Constants and what came of them refuse; on a new tape that would be said. */
            if (v[i] == now.matrix || v[i] == now.window) ck_assert(wf_keep_grad(now.t, v[i]));
        }
        wf_var *wrt[INPUTS + 1] = { now.matrix, now.deep, now.window, now.empty },
                             *grad[INPUTS + 1];
        if (wf_grad(now.t, 1, &loss, NULL, INPUTS + 1, wrt, grad, NULL)) {
            for (int i = 0; i < INPUTS + 1; i++) {
                wf_shape a = wf_shape_of(wrt[i]), b = wf_shape_of(grad[i]);
                ck_assert(wf_shape_equal(&a, &b));
            }
            bool twice = wf_grad(now.t, 1, &loss, NULL, INPUTS + 1, wrt, grad,
                                 &(wf_grad_options){ .create_graph = true });
            ck_assert_int_eq(twice, wf_tape_ok(now.t));
        }
    }
    if (!wf_tape_ok(now.t))
        ck_assert_msg(misuse_well_said(wf_tape_error(now.t)), "%s: %s", row->name,
                      wf_tape_error(now.t));
    ck_assert_msg(misuse_hash() == now.hash, "%s: it changed something", row->name);
}

START_TEST(whatever_form_an_op_is_given_it_gives_a_var_or_a_sentence)
{
    const op_row *row = &rows[_i];
    wf_var *v[INPUTS];
    misuse_set_up();
    int n = healthy_inputs(row, v);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < FORMS; k++) {
            misuse_renew();
            healthy_inputs(row, v);
            v[i] = odd_form(k);
            tried(row, v);
        }
    for (int k = 0; k < FORMS * FORMS; k++) {
        misuse_renew();
        healthy_inputs(row, v);
        for (int i = 0; i < n; i++)
            v[i] = odd_form(i == 0 ? k % FORMS : i == 1 ? k / FORMS : k % 5);
        if (n > 1 || k < FORMS) tried(row, v);
    }
    misuse_tear_down();
}
END_TEST

START_TEST(in_infer_mode_every_op_computes_and_records_nothing)
{
    const op_row *row = &rows[_i];
    wf_var *v[INPUTS];
    misuse_set_up();
    wf_tape_set_mode(now.t, WF_INFER);
    int64_t nodes = wf_tape_nodes(now.t);
    healthy_inputs(row, v);
    wf_var *y = row->call(now.t, v);
    ck_assert_msg(y != NULL, "%s: %s", row->name, wf_tape_error(now.t));
    ck_assert_int_eq(wf_tape_nodes(now.t), nodes);
    ck_assert(!wf_backward_from(now.t, 1, &y, NULL));
    ck_assert_str_eq(wf_tape_error(now.t), "backward: nothing is recorded in infer mode");
    misuse_tear_down();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_loop_test(tests, every_op_refuses_vars_that_are_not_of_its_tape, 0, ROWS);
    tcase_add_loop_test(tests, no_op_does_or_says_anything_on_a_failed_tape_or_on_none, 0, ROWS);
    tcase_add_loop_test(tests, every_op_says_which_dtypes_do_not_go_together, 0, ROWS);
    tcase_add_loop_test(tests, whatever_form_an_op_is_given_it_gives_a_var_or_a_sentence, 0, ROWS);
    tcase_add_loop_test(tests, in_infer_mode_every_op_computes_and_records_nothing, 0, ROWS);
}

int main(int argc, char **argv)
{
    return misuse_runtime() ? harness_main(argc, argv, "misuse of ops", add_tests) : 1;
}
