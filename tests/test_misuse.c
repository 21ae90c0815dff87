/* Misuse of ops and views by sizes and arguments that do not fit: each is one sentence with the
 * numbers. And the list of public functions, held against what all suites of misuse say they
 * misuse. */
#include "tests/misuse.h"

#include <limits.h>
#include <math.h>

/* ---- sizes and arguments ---- */

static wf_shape shape_of_rank(int rank)
{
    wf_shape s = { .rank = rank };
    for (int i = 0; i < WF_RANK; i++) s.dim[i] = 1;
    return s;
}

static void misuse_pointwise(void)
{
    wf_tape *t = now.t;
    REFUSES(wf_add(t, now.matrix, now.tall), "add: shapes do not broadcast: (2, 3) and (3, 2)");
    REFUSES(wf_lerp(t, now.matrix, now.more, now.tall),
            "lerp: shapes do not broadcast: (2, 3) and (3, 2)");
    REFUSES(wf_mul(t, now.matrix, now.single),
            "mul: input 1 is f32 (2, 3); expected f64, as input 0 is\n"
            "  hint: cast changes a dtype");
    REFUSES(wf_tanh(t, now.ids), "tanh: takes f32 or f64, not i32");
    REFUSES(wf_where(t, now.matrix, now.matrix, now.more), "where: the mask is f64; expected i32");
    REFUSES(wf_where(t, now.mask, now.mask, now.mask), "where: takes f32 or f64, not i32");
    REFUSES(wf_clamp(t, now.ids, 0, 1), "maximum_scalar: takes f32 or f64, not i32");
    QUIET(wf_item(wf_sum(t, wf_clamp(t, now.matrix, 2, -2), NULL)) == -12);
    QUIET(wf_clamp(t, now.matrix, (double)NAN, (double)NAN) != NULL);
    QUIET(wf_pow_scalar(t, now.matrix, (double)NAN) != NULL);
}

static void misuse_products(void)
{
    wf_tape *t = now.t;
    wf_var *batch = NULL;
    REFUSES(wf_matmul(t, now.matrix, now.more), "matmul: inner sizes differ: (2, 3) times (2, 3)");
    REFUSES(wf_matmul(t, now.vector, now.tall),
            "matmul: (3) times (3, 2): both need two axes or more\n"
            "  hint: unsqueeze makes a vector a row or a column");
    batch = wf_zeros(t, WF_F64, WF_SHAPE(5, 3, 2));
    REFUSES(wf_matmul(t, now.sequence, batch),
            "matmul: leading axes do not broadcast: (4, 2, 3) times (5, 3, 2)");
    REFUSES(wf_affine(t, now.matrix, now.tall, NULL),
            "affine: x is (2, 3), w is (3, 2); expected x (..., 2)");
    REFUSES(wf_affine(t, now.matrix, now.weight, now.vector), "affine: b is (3); expected (4)");
    REFUSES(wf_affine(t, now.scalar, now.weight, NULL), "affine: x is (); expected (..., 3)");
    REFUSES(wf_affine(t, now.matrix, now.vector, NULL),
            "affine: w is (3); expected (outputs, inputs)");
}

static void misuse_reductions(void)
{
    wf_tape *t = now.t;
    const wf_axes nothing = { 2, NULL }, none = { 0, NULL };
    const int many[9] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };
    REFUSES(wf_sum(t, now.matrix, WF_AXES(2)), "sum: axis 2 is out of range for (2, 3)");
    REFUSES(wf_sum(t, now.matrix, WF_AXES(INT_MIN)),
            "sum: axis -2147483648 is out of range for (2, 3)");
    REFUSES(wf_mean(t, now.matrix, WF_AXES(0, -2)), "mean: axis 0 is named twice");
    REFUSES(wf_max_keep(t, now.matrix, WF_AXES(0, 1, 0)), "max: 3 axes named; (2, 3) has 2");
    REFUSES(wf_sum_keep(t, now.deep, (&(wf_axes){ 9, many })),
            "sum: 9 axes named; (1, 2, 1, 1, 1, 1, 2, 3) has 8");
    REFUSES(wf_mean_keep(t, now.matrix, &nothing), NULL);
    REFUSES(wf_max(t, now.empty, NULL), "max: (0, 3) has nothing to choose from");
    REFUSES(wf_max(t, now.empty, WF_AXES(0)), "max: (0, 3) has nothing to choose from");
    QUIET(wf_count(wf_max(t, now.empty, WF_AXES(1))) == 0);
    QUIET(isnan(wf_item(wf_mean(t, now.empty, NULL))));
    QUIET(wf_count(wf_sum(t, now.matrix, &none)) == 6);
    REFUSES(wf_sum_to(t, now.matrix, WF_SHAPE(2)), "sum_to: (2) does not broadcast to (2, 3)");
    REFUSES(wf_sum_to(t, now.matrix, WF_SHAPE(-1)), "sum_to: (-1) does not broadcast to (2, 3)");
    REFUSES(wf_sum_to(t, now.matrix, shape_of_rank(3)),
            "sum_to: (1, 1, 1) does not broadcast to (2, 3)");
    REFUSES(wf_sum_to(t, now.matrix, shape_of_rank(1000)), NULL);
    REFUSES(wf_sum_to(t, now.matrix, shape_of_rank(-1)), NULL);
    REFUSES(wf_softmax(t, now.matrix, 2), "softmax: axis 2 is out of range for (2, 3)");
    REFUSES(wf_softmax(t, now.scalar, 0), "softmax: axis 0 is out of range for ()");
    REFUSES(wf_log_softmax(t, now.matrix, -3), "log_softmax: axis -3 is out of range for (2, 3)");
}

static wf_var *entropy(wf_cross_entropy_options o)
{
    return wf_cross_entropy_with(now.t, now.matrix, now.ids, &o);
}

static void misuse_losses(void)
{
    wf_tape *t = now.t;
    int32_t wrong[2] = { 2, 3 }, low[2] = { -1, 0 };
    wf_tensor target = wf_tensor_of(WF_I32, WF_SHAPE(2), wrong), nowhere = target, floats = target;
    nowhere.data = NULL;
    floats.dtype = WF_F32;
    REFUSES(wf_cross_entropy(t, now.matrix, NULL), "constant: the tensor was never made (NULL)");
    REFUSES(wf_cross_entropy(t, now.matrix, &nowhere),
            "constant: the tensor was never made (NULL)");
    REFUSES(wf_cross_entropy(t, now.matrix, &floats),
            "cross_entropy: the target is f32; expected i32 ids");
    REFUSES(wf_cross_entropy(t, now.matrix, &target),
            "cross_entropy: target 3 at (1) is out of range: there are 3 classes");
    target.data = low;
    REFUSES(wf_cross_entropy(t, now.matrix, &target),
            "cross_entropy: target -1 at (0) is out of range: there are 3 classes");
    REFUSES(
        wf_cross_entropy(t, now.vector, &target),
        "cross_entropy: logits are (3) and the target is (2); expected (..., classes) and (...)");
    REFUSES(wf_cross_entropy(t, wf_zeros(t, WF_F64, WF_SHAPE(2, 0)), &target), NULL);
    REFUSES(entropy((wf_cross_entropy_options){ .label_smoothing = 1 }),
            "cross_entropy: label_smoothing is 1; expected 0 <= label_smoothing < 1");
    REFUSES(entropy((wf_cross_entropy_options){ .label_smoothing = -0.5 }),
            "cross_entropy: label_smoothing is -0.5; expected 0 <= label_smoothing < 1");
    REFUSES(entropy((wf_cross_entropy_options){ .label_smoothing = (double)NAN }), NULL);
    REFUSES(entropy((wf_cross_entropy_options){ .reduction = (wf_reduction)7 }),
            "cross_entropy: reduction is 7; expected mean, sum or none");
    REFUSES(entropy((wf_cross_entropy_options){ .reduction = (wf_reduction)-1 }), NULL);
    REFUSES(entropy((wf_cross_entropy_options){ .weight = now.matrix }),
            "cross_entropy: .weight is (2, 3); expected (3), one for each class");
    REFUSES(entropy((wf_cross_entropy_options){ .weight = wf_zeros(t, WF_F32, WF_SHAPE(3)) }),
            "cross_entropy: .weight is f32; expected f64, as the logits are");
    REFUSES(entropy((wf_cross_entropy_options){ .weight = now.foreign }),
            "cross_entropy: input 2 belongs to another tape");
    REFUSES(entropy((wf_cross_entropy_options){ .weight = now.vector, .label_smoothing = 1 }),
            "cross_entropy: label_smoothing is 1; expected 0 <= label_smoothing < 1");
    REFUSES(
        entropy((wf_cross_entropy_options){ .weight = now.vector, .reduction = (wf_reduction)7 }),
        "cross_entropy: reduction is 7; expected mean, sum or none");
    REFUSES(wf_cross_entropy_with(t, now.ids, now.ids,
                                  &(wf_cross_entropy_options){ .weight = now.vector }),
            "cross_entropy: logits are i32 (2); expected f32 or f64 (..., classes)");
    REFUSES(wf_cross_entropy_with(t, now.matrix, now.more,
                                  &(wf_cross_entropy_options){ .has_ignore = true }),
            "cross_entropy: .ignore is an id; this target is of probabilities");
    REFUSES(wf_cross_entropy_with(t, now.matrix, now.more,
                                  &(wf_cross_entropy_options){ .label_smoothing = -1 }),
            "cross_entropy: label_smoothing is -1; expected 0 <= label_smoothing < 1");
    REFUSES(wf_mse(t, now.matrix, now.vector), "mse: shapes differ: (2, 3) and (3)");
}

static void misuse_arranging(void)
{
    wf_tape *t = now.t;
    const wf_axes nothing = { 2, NULL };
    REFUSES(wf_flip(t, now.matrix, WF_AXES(2)), "flip: axis 2 is out of range for (2, 3)");
    REFUSES(wf_flip(t, now.matrix, WF_AXES(0, -2)), "flip: axis 0 is named twice");
    REFUSES(wf_flip(t, now.matrix, WF_AXES(0, 1, 0)), "flip: 3 axes named; (2, 3) has 2");
    REFUSES(wf_flip(t, now.matrix, &nothing), "flip: the list of axes was never made (NULL)");
    REFUSES(wf_norm(t, now.matrix, WF_AXES(-3)), "norm: axis -3 is out of range for (2, 3)");
    REFUSES(wf_norm_keep(t, now.mask, NULL), "norm: takes f32 or f64, not i32");
    REFUSES(wf_permute(t, now.matrix, NULL), "permute: the list of axes was never made (NULL)");
    REFUSES(wf_permute(t, now.matrix, &nothing), "permute: the list of axes was never made (NULL)");
    REFUSES(wf_permute(t, now.matrix, WF_AXES(0)), "permute: 1 axes named; (2, 3) has 2");
    REFUSES(wf_permute(t, now.matrix, WF_AXES(0, 2)), "permute: axis 2 of (2, 3)");
    REFUSES(wf_permute(t, now.matrix, WF_AXES(1, -1)), "permute: axis 1 is named twice");
    REFUSES(wf_squeeze(t, now.matrix, 0), "squeeze: axis 0 of (2, 3) has size 2; expected 1");
    REFUSES(wf_squeeze(t, now.empty, 0), "squeeze: axis 0 of (0, 3) has size 0; expected 1");
    REFUSES(wf_squeeze(t, now.matrix, -3), "squeeze: axis -3 of (2, 3)");
    REFUSES(wf_squeeze(t, now.scalar, 0), "squeeze: axis 0 of ()");
    REFUSES(wf_squeeze(t, NULL, 0), "squeeze: input 0 was never made (NULL)");
    REFUSES(wf_argmax(t, now.matrix, 2), "argmax: axis 2 is out of range for (2, 3)");
    REFUSES(wf_argmin(t, now.scalar, 0), "argmax: axis 0 is out of range for ()");
    REFUSES(wf_argmax(t, now.empty, 0), "argmax: (0, 3) has nothing to choose from");
    QUIET(wf_count(wf_argmax(t, now.empty, 1)) == 0);
}

static void misuse_casts_and_constants(void)
{
    wf_tape *t = now.t;
    const double wrong[6] = { 0, 1, 2, 3, (double)NAN, 5 }, far[2] = { -2147483649.0, 0 };
    const int32_t lengths[2] = { 2, 3 }, below[2] = { -1, 0 };
    REFUSES(wf_cast(t, now.matrix, (wf_dtype)7), "cast: there is no dtype 7");
    REFUSES(wf_cast(t, now.matrix, (wf_dtype)-1), "cast: there is no dtype -1");
    REFUSES(wf_cast(t, wf_leaf(t, WF_F64, WF_SHAPE(2, 3), wrong), WF_I32),
            "cast: nan at (1, 1) is beyond what i32 can hold");
    REFUSES(wf_cast(t, wf_leaf(t, WF_F64, WF_SHAPE(2), far), WF_I32),
            "cast: -2.14748e+09 at (0) is beyond what i32 can hold");
    REFUSES(wf_cast(t, wf_full(t, WF_F32, WF_SCALAR, (double)INFINITY), WF_I32),
            "cast: inf at () is beyond what i32 can hold");
    REFUSES(wf_arange(t, (wf_dtype)3, 0, 1, 1), "arange: there is no dtype 3");
    REFUSES(wf_arange(t, WF_F64, 0, 1, 0), "arange: steps of 0 do not lead from 0 to 1");
    REFUSES(wf_arange(t, WF_F64, 0, 1, -1), "arange: steps of -1 do not lead from 0 to 1");
    REFUSES(wf_arange(t, WF_F64, 0, -1e-200, 1e-200),
            "arange: steps of 1e-200 do not lead from 0 to -1e-200");
    REFUSES(wf_arange(t, WF_F64, 0, (double)INFINITY, 1),
            "arange: from 0 to inf by 1; expected finite numbers");
    REFUSES(wf_arange(t, WF_F64, 0, 1e300, 1),
            "arange: from 0 to 1e+300 by 1 are more numbers than can be counted");
    REFUSES(wf_arange(t, WF_F64, 0, 0x1p40, 1), "arange: out of memory for 8796093022208 bytes");
    REFUSES(wf_arange(t, WF_I32, 0, 3, 0.5),
            "arange: from 0 to 3 by 0.5; i32 takes whole numbers from -2147483648 to 2147483647");
    REFUSES(wf_arange(t, WF_I32, 2147483646, 2147483649.0, 1), NULL);
    REFUSES(wf_length_mask(t, now.matrix, 2),
            "length_mask: lengths are f64 (2, 3); expected i32 (sequences)");
    REFUSES(wf_length_mask(t, now.mask, 2),
            "length_mask: lengths are i32 (2, 3); expected i32 (sequences)");
    REFUSES(wf_length_mask(t, now.ids, -1), "length_mask: time is -1; expected 0 or more");
    REFUSES(wf_length_mask(t, wf_constant(t, WF_I32, WF_SHAPE(2), lengths), 2),
            "length_mask: the length at (1) is 3; expected 0 to 2");
    REFUSES(wf_length_mask(t, wf_constant(t, WF_I32, WF_SHAPE(2), below), 2),
            "length_mask: the length at (0) is -1; expected 0 to 2");
    REFUSES(wf_length_mask(t, now.ids, INT64_MAX), NULL);
    QUIET(wf_cast(t, now.matrix, WF_F64) == now.matrix);
    QUIET(wf_count(wf_arange(t, WF_I32, 5, 5, -1)) == 0);
}

static wf_var *binary(wf_binary_cross_entropy_options o)
{
    return wf_binary_cross_entropy_with(now.t, now.matrix, now.more, &o);
}

static void misuse_binary_losses(void)
{
    wf_tape *t = now.t;
    REFUSES(wf_binary_cross_entropy(t, now.matrix, NULL),
            "constant: the tensor was never made (NULL)");
    REFUSES(wf_binary_cross_entropy_with(t, now.matrix, now.vector, NULL),
            "binary_cross_entropy: logits are (2, 3) and the target is (3); expected one shape");
    REFUSES(wf_binary_cross_entropy_with(t, now.matrix, now.mask, NULL),
            "binary_cross_entropy: the target is i32; expected f64, as the logits are\n"
            "  hint: wf_cast makes floats of 0 and 1");
    REFUSES(wf_binary_cross_entropy_with(t, now.matrix, now.single, NULL),
            "binary_cross_entropy: the target is f32; expected f64, as the logits are");
    REFUSES(wf_binary_cross_entropy_with(t, now.mask, now.mask, NULL),
            "binary_cross_entropy: logits are i32; expected f32 or f64");
    REFUSES(binary((wf_binary_cross_entropy_options){ .weight = now.tall }),
            "binary_cross_entropy: .weight is (3, 2); expected what broadcasts to (2, 3)");
    REFUSES(binary((wf_binary_cross_entropy_options){ .pos_weight = now.sequence }),
            "binary_cross_entropy: .pos_weight is (4, 2, 3); expected what broadcasts to (2, 3)");
    REFUSES(binary((wf_binary_cross_entropy_options){ .pos_weight = now.single }),
            "binary_cross_entropy: .pos_weight is f32; expected f64, as the logits are");
    REFUSES(binary((wf_binary_cross_entropy_options){ .weight = now.foreign }),
            "binary_cross_entropy: input 2 belongs to another tape");
    REFUSES(binary((wf_binary_cross_entropy_options){ .reduction = (wf_reduction)3 }),
            "binary_cross_entropy: reduction is 3; expected mean, sum or none");
    QUIET(isnan(wf_item(wf_binary_cross_entropy_with(t, now.empty, now.empty, NULL))));
}

static void misuse_rows_by_id(void)
{
    wf_tape *t = now.t;
    const int32_t id[2] = { 2, 0 };
    wf_var *deep = NULL, *far = wf_constant(t, WF_I32, WF_SHAPE(2), id);
    REFUSES(wf_gather_rows(t, now.matrix, far),
            "embedding: id 2 at (0) is out of range: there are 2 rows");
    REFUSES(wf_gather_rows(t, now.matrix, now.vector), "embedding: ids are f64; expected i32");
    REFUSES(wf_gather_rows(t, now.vector, now.ids),
            "embedding: the table is (3); expected (rows, columns)");
    REFUSES(wf_gather_rows(t, now.empty, now.ids),
            "embedding: id 1 at (0) is out of range: there are 0 rows");
    deep = wf_zeros(t, WF_I32, shape_of_rank(8));
    REFUSES(wf_gather_rows(t, now.matrix, deep),
            "embedding: ids (1, 1, 1, 1, 1, 1, 1, 1) leave no room for the columns");
    REFUSES(wf_scatter_rows(t, now.matrix, now.ids, -1), "scatter_rows: -1 rows");
    REFUSES(wf_scatter_rows(t, now.matrix, now.ids, 1),
            "scatter_rows: id 1 at (0) is out of range: there are 1 rows");
    REFUSES(wf_scatter_rows(t, now.vector, now.ids, 2),
            "scatter_rows: x is (3) and ids are (2); expected x of ids' sizes and one more");
    REFUSES(wf_scatter_rows(t, now.matrix, now.ids, INT64_MAX),
            "scatter_rows: the result (9223372036854775807, 3) is more than memory can hold");
    REFUSES(wf_scatter_rows(t, now.matrix, now.ids, INT64_C(1) << 40),
            "scatter_rows: out of memory for 26388279066624 bytes");
    REFUSES(wf_one_hot(t, now.matrix, 3), "one_hot: ids are f64; expected i32");
    REFUSES(wf_one_hot(t, now.ids, -5), "one_hot: -5 classes");
    REFUSES(wf_one_hot(t, now.ids, INT64_MAX),
            "one_hot: the result (2, 9223372036854775807) is more than memory can hold");
    deep = wf_zeros(t, WF_I32, shape_of_rank(8));
    REFUSES(wf_one_hot(t, deep, 1),
            "one_hot: ids (1, 1, 1, 1, 1, 1, 1, 1) leave no room for the classes");
    QUIET(wf_count(wf_one_hot(t, now.ids, 0)) == 0);
}

static void misuse_joining(void)
{
    wf_tape *t = now.t;
    const wf_vars nothing = { 2, NULL }, none = { 0, NULL }, negative = { -1, NULL };
    REFUSES(wf_concat(t, 0, none), "concat: 0 inputs given; it takes 1 or more");
    REFUSES(wf_concat(t, 0, negative), "concat: -1 inputs given; it takes 1 or more");
    REFUSES(wf_concat(t, 0, nothing), "concat: the list of inputs was never made (NULL)");
    REFUSES(wf_concat(t, 2, WF_VARS(now.matrix, now.more)),
            "concat: axis 2 is out of range for (2, 3)");
    REFUSES(wf_concat(t, 0, WF_VARS(now.matrix, now.tall)),
            "concat: sizes differ beside axis 0: (2, 3) and (3, 2) (input 1)");
    REFUSES(wf_concat(t, 0, WF_VARS(now.matrix, now.vector)),
            "concat: sizes differ beside axis 0: (2, 3) and (3) (input 1)");
    REFUSES(wf_concat(t, 0, WF_VARS(now.scalar, now.scalar)),
            "concat: axis 0 is out of range for ()");
    REFUSES(wf_stack(t, 0, none), "stack: 0 inputs given; it takes 1 or more");
    REFUSES(wf_stack(t, 0, nothing), "stack: the list of inputs was never made (NULL)");
    REFUSES(wf_stack(t, 3, WF_VARS(now.matrix, now.more)),
            "stack: a new axis 3 is out of range for (2, 3)");
    REFUSES(wf_stack(t, 0, WF_VARS(now.matrix, now.tall)),
            "stack: shapes differ: (2, 3) and (3, 2) (input 1)");
    REFUSES(wf_stack(t, 0, WF_VARS(now.deep, now.deep)),
            "stack: (1, 2, 1, 1, 1, 1, 2, 3) has no room for an axis");
}

static void misuse_expand_and_dropout(void)
{
    wf_tape *t = now.t;
    REFUSES(wf_expand(t, now.matrix, WF_SHAPE(2, 4)),
            "expand: (2, 3) does not broadcast to (2, 4)");
    REFUSES(wf_expand(t, now.matrix, WF_SHAPE(3)), "expand: (2, 3) does not broadcast to (3)");
    REFUSES(wf_expand(t, now.vector, WF_SHAPE(-2, 3)),
            "expand: shape: size of axis 0 is -2 in (-2, 3); expected 0 or more");
    REFUSES(wf_expand(t, now.vector, shape_of_rank(9)),
            "expand: shape: rank is 9; expected 0 to 8");
    REFUSES(wf_expand(t, now.vector, shape_of_rank(-9)),
            "expand: shape: rank is -9; expected 0 to 8");
    REFUSES(wf_expand(t, now.vector, WF_SHAPE(INT64_MAX, 3)),
            "expand: shape: (9223372036854775807, 3) of f64 has more bytes than can be counted");
    REFUSES(wf_expand(t, now.vector, WF_SHAPE(INT64_C(1) << 40, 3)),
            "expand: out of memory for 26388279066624 bytes");
    REFUSES(wf_dropout(t, now.matrix, 1), "dropout: p is 1; expected 0 <= p < 1");
    REFUSES(wf_dropout(t, now.matrix, -0.1), "dropout: p is -0.1; expected 0 <= p < 1");
    REFUSES(wf_dropout(t, now.matrix, (double)NAN), NULL);
    REFUSES(wf_dropout(t, now.ids, 0.5), "dropout: takes f32 or f64, not i32");
    wf_tape_set_mode(t, WF_EVAL);
    REFUSES(wf_dropout(t, now.matrix, 2), "dropout: p is 2; expected 0 <= p < 1");
    QUIET(wf_dropout(t, now.matrix, 0) == now.matrix);
    /* What an op that has nothing to do gives back is refused like everything else. */
    REFUSES(wf_dropout(t, NULL, 0), "dropout: input 0 was never made (NULL)");
    wf_fail(t, "test: failed on purpose");
    ck_assert_ptr_null(wf_dropout(t, now.matrix, 0));
    ck_assert_ptr_null(wf_expand(t, now.matrix, WF_SHAPE(2, 3)));
    ck_assert_ptr_null(wf_sum_to(t, now.matrix, WF_SHAPE(2, 3)));
}

static void misuse_slices(void)
{
    wf_tape *t = now.t;
    REFUSES(wf_slice(t, now.matrix, 2, 0, 1, 1), "slice: axis 2 of (2, 3)");
    REFUSES(wf_slice(t, now.scalar, 0, 0, 1, 1), "slice: axis 0 of ()");
    REFUSES(wf_slice(t, now.matrix, 1, 0, 4, 1), "slice: 0 to 4 of axis 1 of (2, 3)");
    REFUSES(wf_slice(t, now.matrix, -1, 2, 1, 1), "slice: 2 to 1 of axis 1 of (2, 3)");
    REFUSES(wf_slice(t, now.matrix, 1, -4, WF_LAST, 1), "slice: -4 to 3 of axis 1 of (2, 3)");
    REFUSES(wf_slice(t, now.matrix, 1, INT64_MIN, INT64_MIN, 1),
            "slice: -9223372036854775808 to -9223372036854775808 of axis 1 of (2, 3)");
    REFUSES(wf_slice(t, now.matrix, 1, 0, 2, 0), "slice: the step is 0; it must be 1 or more");
    REFUSES(wf_slice(t, now.matrix, 1, 0, 2, -1), "slice: the step is -1; it must be 1 or more");
    QUIET(wf_count(wf_slice(t, now.matrix, 1, 3, WF_LAST, INT64_MAX)) == 0);
    QUIET(wf_count(wf_slice(t, now.matrix, 1, 0, WF_LAST, INT64_MAX)) == 2);
    REFUSES(wf_select(t, now.matrix, 0, 2), "select: index 2 of axis 0 of (2, 3)");
    REFUSES(wf_select(t, now.matrix, 0, -3), "select: index -3 of axis 0 of (2, 3)");
    REFUSES(wf_select(t, now.matrix, 0, INT64_MAX),
            "select: index 9223372036854775807 of axis 0 of (2, 3)");
    REFUSES(wf_select(t, now.matrix, 0, INT64_MIN),
            "select: index -9223372036854775808 of axis 0 of (2, 3)");
    REFUSES(wf_select(t, now.empty, 0, 0), "select: index 0 of axis 0 of (0, 3)");
    REFUSES(wf_select(t, now.matrix, INT_MIN, 0), "select: axis -2147483648 of (2, 3)");
    REFUSES(wf_transpose(t, now.matrix, 0, 2), "transpose: axis 2 of (2, 3)");
    REFUSES(wf_transpose(t, now.matrix, INT_MAX, 0), "transpose: axis 2147483647 of (2, 3)");
}

static void misuse_split(void)
{
    wf_tape *t = now.t;
    wf_var *part[4] = { now.matrix, now.matrix, now.matrix, now.matrix };
    REFUSES(wf_split(t, now.matrix, 1, 2, part), "split: axis 1 of (2, 3) into 2 equal parts");
    ck_assert(!part[0] && !part[1]);
    REFUSES(wf_split(t, now.matrix, 1, 0, part), "split: axis 1 of (2, 3) into 0 equal parts");
    REFUSES(wf_split(t, now.matrix, 1, -1, part), "split: axis 1 of (2, 3) into -1 equal parts");
    REFUSES(wf_split(t, now.matrix, 5, 1, part), "split: axis 5 of (2, 3)");
    REFUSES(wf_split(t, now.matrix, 1, 3, NULL), "split: the list of parts was never made (NULL)");
    part[0] = now.matrix;
    REFUSES(wf_split(t, NULL, 1, 1, part), "split: input 0 was never made (NULL)");
    ck_assert_ptr_null(part[0]);
    ck_assert_ptr_nonnull(part[2]);
}

static void misuse_shapes_of_views(void)
{
    wf_tape *t = now.t;
    REFUSES(wf_window(t, now.matrix, 1, 4, 1), "window: size 4, step 1 over axis 1 of (2, 3)");
    REFUSES(wf_window(t, now.matrix, 1, 0, 1), "window: size 0, step 1 over axis 1 of (2, 3)");
    REFUSES(wf_window(t, now.matrix, 1, 2, 0), "window: size 2, step 0 over axis 1 of (2, 3)");
    REFUSES(wf_window(t, now.matrix, 1, INT64_MAX, INT64_MAX), NULL);
    REFUSES(wf_window(t, now.matrix, 2, 1, 1), "window: axis 2 of (2, 3)");
    REFUSES(wf_window(t, now.deep, 0, 1, 1), "window: (1, 2, 1, 1, 1, 1, 2, 3) has rank 8 already");
    QUIET(wf_dim(wf_window(t, now.matrix, 1, 2, INT64_MAX), 1) == 1);
    REFUSES(wf_reshape(t, now.matrix, WF_SHAPE(4)),
            "reshape: (2, 3) has 6 numbers; they do not make (4)");
    REFUSES(wf_reshape(t, now.matrix, WF_SHAPE(-1, 4)),
            "reshape: (2, 3) has 6 numbers; they do not make (-1, 4)");
    REFUSES(wf_reshape(t, now.matrix, WF_SHAPE(-1, -1)),
            "reshape: (2, 3) has 6 numbers; they do not make (-1, -1)");
    REFUSES(wf_reshape(t, now.matrix, WF_SHAPE(-2, -3)),
            "reshape: (2, 3) has 6 numbers; they do not make (-2, -3)");
    REFUSES(wf_reshape(t, now.matrix, WF_SHAPE(INT64_MAX, INT64_MAX)), NULL);
    REFUSES(wf_reshape(t, now.empty, WF_SHAPE(0, INT64_MAX, INT64_MAX)),
            "reshape: shape: (0, 9223372036854775807, 9223372036854775807) of f64 has more bytes "
            "than can be counted");
    REFUSES(wf_reshape(t, now.empty, WF_SHAPE(-1, 0)),
            "reshape: (0, 3) has 0 numbers; they do not make (-1, 0)");
    REFUSES(wf_reshape(t, now.matrix, shape_of_rank(9)), "reshape: rank is 9; expected 0 to 8");
    REFUSES(wf_reshape(t, now.matrix, shape_of_rank(1 << 20)),
            "reshape: rank is 1048576; expected 0 to 8");
    REFUSES(wf_reshape(t, now.matrix, shape_of_rank(-1)), "reshape: rank is -1; expected 0 to 8");
    REFUSES(wf_unsqueeze(t, now.matrix, 3), "unsqueeze: axis 3 of (2, 3)");
    REFUSES(wf_unsqueeze(t, now.matrix, -4), "unsqueeze: axis -4 of (2, 3)");
    REFUSES(wf_unsqueeze(t, now.matrix, INT_MIN), "unsqueeze: axis -2147483648 of (2, 3)");
    REFUSES(wf_unsqueeze(t, now.deep, 0), "unsqueeze: axis 0 of (1, 2, 1, 1, 1, 1, 2, 3)");
}

static void (*const argument_tests[])(void) = {
    misuse_pointwise,
    misuse_products,
    misuse_reductions,
    misuse_losses,
    misuse_rows_by_id,
    misuse_joining,
    misuse_expand_and_dropout,
    misuse_slices,
    misuse_split,
    misuse_shapes_of_views,
    misuse_binary_losses,
    misuse_arranging,
    misuse_casts_and_constants,
};

enum { ARGUMENT_TESTS = (int)(sizeof argument_tests / sizeof argument_tests[0]) };

START_TEST(sizes_and_arguments_that_do_not_fit_are_one_sentence_with_the_numbers)
{
    misuse_set_up();
    argument_tests[_i]();
    misuse_tear_down();
}
END_TEST

/* ---- is every public function misused? ---- */

enum { NAMES = 1024, LONGEST = 64 };

typedef struct names {
    int n;
    char at[NAMES][LONGEST];
} names;

static bool has(const names *list, const char *name)
{
    for (int i = 0; i < list->n; i++)
        if (!strcmp(list->at[i], name)) return true;
    return false;
}

/* The identifier of n letters, after `prefix`. */
static void add(names *list, const char *prefix, const char *name, size_t n)
{
    char whole[LONGEST];
    ck_assert_uint_lt(strlen(prefix) + n, LONGEST);
    ck_assert_int_lt(list->n, NAMES);
    snprintf(whole, sizeof whole, "%s%.*s", prefix, (int)n, name);
    if (!has(list, whole)) memcpy(list->at[list->n++], whole, sizeof whole);
}

static size_t identifier(const char *text)
{
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_') n++;
    return n;
}

/* A file of the repository, from wf_alloc, or NULL. */
static char *source(const char *name)
{
    char path[1024];
    const char *base = ".";
#ifdef WF_SOURCE_DIR
    base = WF_SOURCE_DIR;
#endif
    snprintf(path, sizeof path, "%s/%s", base, name);
    return wf_file_read(path, 0, NULL, NULL);
}

static void blank(char *from, const char *to)
{
    for (; from < to && *from; from++)
        if (*from != '\n') *from = ' ';
}

/* Blanks comments; and lines for the preprocessor, after handing over what they include. */
static void strip(char *text, void (*included)(void *context, const char *file), void *context)
{
    for (char *c = text; (c = strstr(c, "/*"));) {
        char *end = strstr(c, "*/");
        blank(c, end ? end + 2 : c + strlen(c));
    }
    for (char *line = text; line && *line;) {
        char *end = strchr(line, '\n'), file[256];
        if (line[strspn(line, " ")] == '#') {
            if (sscanf(line, "#include \"%255[^\"]\"", file) == 1) included(context, file);
            while (end && end > line && end[-1] == '\\') end = strchr(end + 1, '\n');
            blank(line, end ? end : line + strlen(line));
        }
        line = end ? end + 1 : NULL;
    }
}

static void ignore(void *context, const char *file)
{
    (void)context, (void)file;
}

/* What a .def file's lines declare: WF_OP(row, function, ...) and WF_POINTWISE_x(name, ...). */
static void declared_by_lines(void *context, const char *file)
{
    size_t n = strlen(file);
    char *text = n > 4 && !strcmp(file + n - 4, ".def") ? source(file) : NULL;
    if (!text) return;
    strip(text, ignore, NULL);
    for (const char *c = text; (c = strstr(c, "WF_OP("));) {
        c = strchr(c, ',') + 1;
        c += strspn(c, " ");
        add(context, "", c, identifier(c));
    }
    for (const char *c = text; (c = strstr(c, "WF_POINTWISE_"));) {
        c = strchr(c, '(') + 1;
        add(context, "wf_", c, identifier(c));
    }
    wf_release(text);
}

/* The table of ops has a row for every line of this file. */
static void rows_by_lines(void *context, const char *file)
{
    if (!strcmp(file, "autograd/pointwise.def")) declared_by_lines(context, file);
}

/* Public functions that fill a wf_error, except those by which others do. */
static names filling;

/* What a header declares: the name before the first parenthesis after WF_API. */
static void declared_by_header(void *context, const char *file)
{
    char *text = source(file);
    ck_assert_msg(text != NULL, "weft.h includes %s, which is not there", file);
    strip(text, declared_by_lines, context);
    for (const char *c = text; (c = strstr(c, "WF_API"));) {
        const char *open = strchr(c += 6, '('), *name = open;
        ck_assert_ptr_nonnull(open);
        while (name > c && (isalnum((unsigned char)name[-1]) || name[-1] == '_')) name--;
        ck_assert_msg(!strncmp(name, "wf_", 3), "%s: %.40s", file, name);
        add(context, "", name, (size_t)(open - name));
        const char *end = strchr(open, ';'), *error = strstr(open, "wf_error *");
        if (error && error < end && strncmp(name, "wf_error_", 9) && strncmp(name, "wf_refuse", 9))
            add(&filling, "", name, (size_t)(open - name));
    }
    wf_release(text);
}

/* Is it called, or handed to what calls it, and not just named by its row? */
static bool used(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *c = text; (c = strstr(c, name)); c += n)
        if (c > text + 3 && identifier(c) == n && !isalnum((unsigned char)c[-1]) && c[-1] != '_' &&
            strncmp(c - 3, "OF(", 3) != 0)
            return true;
    return false;
}

/* Does the text say law(name(...)), or law(x = name(...))? */
static bool says(const char *text, const char *law, const char *name)
{
    size_t n = strlen(name);
    for (const char *c = text; (c = strstr(c, law));) {
        c += strlen(law);
        c += strspn(c, " \n");
        size_t variable = identifier(c);
        if (!strncmp(c + variable, " = ", 3)) c += variable + 3;
        if (identifier(c) == n && !strncmp(c, name, n)) return true;
    }
    return false;
}

static const char *const suites[] = {
    "tests/test_misuse_ops.c",   "tests/test_misuse_tape.c", "tests/test_misuse_tensor.c",
    "tests/test_misuse_files.c", "tests/test_misuse_data.c", "tests/test_misuse_layers.c",
    "tests/test_misuse_optim.c",
};
enum { SUITES = (int)(sizeof suites / sizeof *suites) };

START_TEST(every_function_that_fills_an_error_empties_it_first)
{
    static names declared;
    char *face = source("weft.h"), *text[SUITES];
    if (!face) {
        harness_skip("the headers are not here to be read");
        return;
    }
    strip(face, declared_by_header, &declared);
    wf_release(face);
    ck_assert_int_gt(filling.n, 20);
    for (int i = 0; i < SUITES; i++) ck_assert_ptr_nonnull(text[i] = source(suites[i]));
    static const char *const laws[] = { "ERROR_SAYS(", "ERROR_CLEARED(" };
    for (int f = 0; f < filling.n; f++)
        for (int law = 0; law < 2; law++) {
            /* The runtime is set before the suites begin, and never again. */
            bool tried = law == 1 && !strcmp(filling.at[f], "wf_runtime_set");
            for (int i = 0; i < SUITES; i++) tried |= says(text[i], laws[law], filling.at[f]);
            ck_assert_msg(tried, "no suite says %s%s(...))", laws[law], filling.at[f]);
        }
    for (int i = 0; i < SUITES; i++) wf_release(text[i]);
}
END_TEST

START_TEST(every_public_function_is_misused_here)
{
    static names declared, misused;
    char *face = source("weft.h");
    if (!face) {
        harness_skip("the headers are not here to be read");
        return;
    }
    strip(face, declared_by_header, &declared);
    wf_release(face);
    ck_assert_int_gt(declared.n, 250);
    for (int i = 0; i < SUITES; i++) {
        char *text = source(suites[i]);
        ck_assert_msg(text != NULL, "%s is not there", suites[i]);
        strip(text, rows_by_lines, &misused);
        for (const char *c = text; (c = strstr(c, "OF(wf_"));) {
            c += 3;
            add(&misused, "", c, identifier(c));
            const char *name = misused.at[misused.n - 1];
            ck_assert_msg(used(text, name), "%s lists %s and never uses it", suites[i], name);
        }
        wf_release(text);
    }
    for (int i = 0; i < declared.n; i++)
        ck_assert_msg(has(&misused, declared.at[i]), "%s is public, and no suite misuses it",
                      declared.at[i]);
    for (int i = 0; i < misused.n; i++)
        ck_assert_msg(has(&declared, misused.at[i]), "%s is misused, but not public",
                      misused.at[i]);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, every_public_function_is_misused_here);
    tcase_add_test(tests, every_function_that_fills_an_error_empties_it_first);
    tcase_add_loop_test(tests,
                        sizes_and_arguments_that_do_not_fit_are_one_sentence_with_the_numbers, 0,
                        ARGUMENT_TESTS);
}

int main(int argc, char **argv)
{
    return misuse_runtime() ? harness_main(argc, argv, "misuse", add_tests) : 1;
}
