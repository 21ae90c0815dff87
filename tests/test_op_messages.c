/* What the ops say about wrong inputs, word for word: messages are interface. */
#include "autograd/ops.h"
#include "tensor/runtime.h"
#include "tests/harness.h"

static void quiet(void *user, const char *text)
{
    (void)user;
    (void)text;
}

static wf_tape *t;

static void set_up(void)
{
    t = wf_tape_new(NULL);
}

static void tear_down(void)
{
    wf_tape_free(t);
}

#define F32(...) wf_leaf(t, WF_F32, WF_SHAPE(__VA_ARGS__), NULL)
#define F64(...) wf_leaf(t, WF_F64, WF_SHAPE(__VA_ARGS__), NULL)
#define I32(...) wf_constant(t, WF_I32, WF_SHAPE(__VA_ARGS__), NULL)

/* Makes mistake k and says what the tape should have said of it; NULL past the last. */
static const char *mistake(int k, wf_var **made)
{
    static const int32_t ids[] = { 0, 1, 2, 3, 4, 70 };
    wf_tensor target = wf_tensor_of(WF_I32, WF_SHAPE(2, 3), (void *)(uintptr_t)ids);
    switch (k) {
    case 0:
        *made = wf_add(t, F32(2, 3), F32(4));
        return "add: shapes do not broadcast: (2, 3) and (4)";
    case 1:
        *made = wf_add(t, F32(3), F64(3));
        return "add: input 1 is f64 (3); expected f32, as input 0 is\n"
               "  hint: cast changes a dtype";
    case 2: *made = wf_neg(t, I32(3)); return "neg: takes f32 or f64, not i32";
    case 3:
        *made = wf_where(t, F32(3), F32(3), F32(3));
        return "where: the mask is f32; expected i32";
    case 4:
        *made = wf_where(t, I32(3), F32(3), F64(3));
        return "where: input 2 is f64 (3); expected f32, as input 1 is\n"
               "  hint: cast changes a dtype";
    case 5:
        *made = wf_lerp(t, F32(5), F32(3, 1), F32(2));
        return "lerp: shapes do not broadcast: (3, 5) and (2)";
    case 6:
        *made = wf_equal(t, I32(3), F32(3));
        return "equal: input 1 is f32 (3); expected i32, as input 0 is\n"
               "  hint: cast changes a dtype";
    case 7:
        *made = wf_matmul(t, F32(32, 128), F32(64, 256));
        return "matmul: inner sizes differ: (32, 128) times (64, 256)";
    case 8:
        *made = wf_matmul(t, F32(3), F32(3, 5));
        return "matmul: (3) times (3, 5): both need two axes or more\n"
               "  hint: unsqueeze makes a vector a row or a column";
    case 9:
        *made = wf_matmul(t, F32(2, 3, 5), F32(7, 5, 3));
        return "matmul: leading axes do not broadcast: (2, 3, 5) times (7, 5, 3)";
    case 10:
        *made = wf_matmul(t, F32(3, 5), F64(5, 3));
        return "matmul: input 1 is f64 (5, 3); expected f32, as input 0 is\n"
               "  hint: cast changes a dtype";
    case 11:
        *made = wf_affine(t, F32(3, 5), F32(7, 4), NULL);
        return "affine: x is (3, 5), w is (7, 4); expected x (..., 4)";
    case 12:
        *made = wf_affine(t, F32(3, 5), F32(5), NULL);
        return "affine: w is (5); expected (outputs, inputs)";
    case 13:
        *made = wf_affine(t, F32(3, 5), F32(7, 5), F32(5));
        return "affine: b is (5); expected (7)";
    case 14:
        *made = wf_affine(t, wf_leaf(t, WF_F32, WF_SCALAR, NULL), F32(7, 5), NULL);
        return "affine: x is (); expected (..., 5)";
    case 15:
        *made = wf_sum(t, F32(2, 3), WF_AXES(3));
        return "sum: axis 3 is out of range for (2, 3)";
    case 16: *made = wf_mean(t, F32(2, 3), WF_AXES(1, -1)); return "mean: axis 1 is named twice";
    case 17:
        *made = wf_sum_keep(t, F32(2), WF_AXES(0, 1, 2));
        return "sum: 3 axes named; (2) has 1";
    case 18:
        *made = wf_max(t, F32(3, 0), WF_AXES(1));
        return "max: (3, 0) has nothing to choose from";
    case 19:
        *made = wf_sum_to(t, F32(3, 5), WF_SHAPE(3));
        return "sum_to: (3) does not broadcast to (3, 5)";
    case 20:
        *made = wf_expand(t, F32(3, 5), WF_SHAPE(3, 7));
        return "expand: (3, 5) does not broadcast to (3, 7)";
    case 21:
        *made = wf_softmax(t, F32(3, 5), 2);
        return "softmax: axis 2 is out of range for (3, 5)";
    case 22: *made = wf_log_softmax(t, I32(3), 0); return "log_softmax: takes f32 or f64, not i32";
    case 23:
        *made = wf_cross_entropy(t, F32(2, 3, 65), &target);
        return "cross_entropy: target 70 at (1, 2) is out of range: there are 65 classes";
    case 24:
        *made = wf_cross_entropy(t, F32(3, 2, 65), &target);
        return "cross_entropy: logits are (3, 2, 65) and the target is (2, 3); expected (..., "
               "classes) and (...)";
    case 25:
        *made = wf_cross_entropy_with(t, F32(3, 5), F32(3), NULL);
        return "cross_entropy: the target is f32; expected i32 ids";
    case 26:
        *made = wf_cross_entropy_with(t, F32(3, 5), I32(3),
                                      &(wf_cross_entropy_options){ .label_smoothing = 1 });
        return "cross_entropy: label_smoothing is 1; expected 0 <= label_smoothing < 1";
    case 27:
        *made = wf_mse(t, F32(3, 5), F32(3, 1));
        return "mse: shapes differ: (3, 5) and (3, 1)";
    case 28:
        *made = wf_gather_rows(t, F32(65, 7), wf_constant_tensor(t, &target));
        return "embedding: id 70 at (1, 2) is out of range: there are 65 rows";
    case 29:
        *made = wf_gather_rows(t, F32(65), I32(3));
        return "embedding: the table is (65); expected (rows, columns)";
    case 30:
        *made = wf_gather_rows(t, F32(65, 7), F32(3));
        return "embedding: ids are f32; expected i32";
    case 31:
        *made = wf_scatter_rows(t, F32(3, 2, 5), I32(2, 3), 7);
        return "scatter_rows: x is (3, 2, 5) and ids are (2, 3); expected x of ids' sizes and one "
               "more";
    case 32:
        *made = wf_concat(t, 1, WF_VARS(F32(2, 3), F32(2, 5), F32(3, 5)));
        return "concat: sizes differ beside axis 1: (2, 3) and (3, 5) (input 2)";
    case 33:
        *made = wf_concat(t, -3, WF_VARS(F32(2, 3), F32(2, 5)));
        return "concat: axis -3 is out of range for (2, 3)";
    case 34:
        *made = wf_stack(t, 0, WF_VARS(F32(2, 3), F32(2, 1)));
        return "stack: shapes differ: (2, 3) and (2, 1) (input 1)";
    case 35:
        *made = wf_stack(t, 0, WF_VARS(F32(2), I32(2)));
        return "stack: input 1 is i32 (2); expected f32, as input 0 is\n"
               "  hint: cast changes a dtype";
    case 36: *made = wf_dropout(t, F32(3), 1); return "dropout: p is 1; expected 0 <= p < 1";
    case 37:
        wf_tape_set_mode(t, WF_EVAL);
        *made = wf_dropout(t, F32(3), -0.1);
        return "dropout: p is -0.1; expected 0 <= p < 1";
    case 38: *made = wf_one_hot(t, F32(3), 5); return "one_hot: ids are f32; expected i32";
    case 39: *made = wf_mul(t, F32(3), NULL); return "mul: input 1 was never made (NULL)";
    case 40: *made = wf_dropout(t, NULL, 0); return "dropout: input 0 was never made (NULL)";
    case 41: *made = wf_sum_to(t, NULL, WF_SCALAR); return "sum_to: input 0 was never made (NULL)";
    case 42:
        *made = wf_affine(t, F32(3, 5), F64(7, 5), NULL);
        return "affine: w is f64 (7, 5); expected f32, as x is\n  hint: cast changes a dtype";
    case 43:
        *made = wf_affine(t, F32(3, 5), F32(7, 5), F64(7));
        return "affine: b is f64 (7); expected f32, as x is\n  hint: cast changes a dtype";
    default: return NULL;
    }
}
enum { MISTAKES = 44 };

START_TEST(a_wrong_input_is_refused_with_this_sentence)
{
    wf_var *made = NULL;
    const char *sentence = mistake(_i, &made);
    ck_assert_ptr_nonnull(sentence);
    ck_assert_ptr_null(made);
    ck_assert_str_eq(wf_tape_error(t), sentence);
}
END_TEST

START_TEST(after_the_first_mistake_ops_do_nothing_and_say_nothing)
{
    wf_var *x = F32(3);
    ck_assert_ptr_null(wf_add(t, x, F64(3)));
    ck_assert_ptr_null(wf_matmul(t, x, x));
    ck_assert_ptr_null(wf_sum(t, x, NULL));
    ck_assert_ptr_null(wf_dropout(t, NULL, 0.5));
    ck_assert_str_eq(wf_tape_error(t), "add: input 1 is f64 (3); expected f32, as input 0 is\n"
                                       "  hint: cast changes a dtype");
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, a_wrong_input_is_refused_with_this_sentence, 0, MISTAKES);
    tcase_add_test(tests, after_the_first_mistake_ops_do_nothing_and_say_nothing);
}

int main(int argc, char **argv)
{
    if (!wf_runtime_set(&(wf_runtime){ .log = quiet }, NULL)) return 1;
    return harness_main(argc, argv, "op_messages", add);
}
