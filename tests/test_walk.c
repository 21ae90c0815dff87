/* The strided loop: what it visits, in what order, and how it merges axes. (That threads change
 * nothing: test_par.) */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/walk.h"
#include "tests/fixture.h"
#include "tests/harness.h"

/* What a walk visited: for each element, in order, each operand's place in its memory, in elements.
 */
typedef struct visits {
    int operands, n;
    const wf_tensor *const *operand;
    int32_t at[3][ROOM];
    int runs;
} visits;

static void visit(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    visits *v = context;
    v->runs++;
    for (int64_t i = 0; i < n; i++, v->n++)
        for (int k = 0; k < v->operands; k++) {
            int64_t bytes = pointer[k] + i * stride[k] - (char *)v->operand[k]->data;
            v->at[k][v->n] = (int32_t)(bytes / wf_dtype_size(v->operand[k]->dtype));
        }
}

static int compare_visits(const void *a, const void *b)
{
    return memcmp(a, b, 3 * sizeof(int32_t));
}

/* Runs a walk over laid_out_form with three operands and holds it against all index tuples. */
static void check_walk(const wf_tensor *const operand[3])
{
    static visits v;
    static int32_t got[ROOM][3], expected[ROOM][3];
    wf_walk loop;
    wf_tensor wide[3];
    int64_t n = wf_shape_count(&laid_out_form);
    memset(&v, 0, sizeof v);
    v.operands = 3;
    v.operand = operand;
    ck_assert(wf_walk_plan(&loop, laid_out_form, 3, operand));
    ck_assert_int_eq(loop.count, n);
    wf_walk_run(&loop, 1, 0, visit, &v);
    ck_assert_int_eq(v.n, n);
    for (int k = 0; k < 3; k++) ck_assert(wf_view_expand(operand[k], laid_out_form, &wide[k]));
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 3; k++) {
            got[i][k] = v.at[k][i];
            expected[i][k] = (int32_t)offset_of(&wide[k], i);
        }
    qsort(got, (size_t)n, sizeof got[0], compare_visits);
    qsort(expected, (size_t)n, sizeof expected[0], compare_visits);
    ck_assert_int_eq(memcmp(got, expected, (size_t)n * sizeof got[0]), 0);
}

static const wf_shape narrow[] = { { 3, { 3, 5, 7 } }, { 3, { 1, 5, 7 } }, { 3, { 3, 1, 7 } },
                                   { 3, { 3, 5, 1 } }, { 3, { 3, 1, 1 } }, { 2, { 1, 7 } },
                                   { 2, { 5, 1 } },    { 1, { 7 } },       { 1, { 1 } },
                                   { 0, { 0 } } };
enum { NARROW = sizeof narrow / sizeof narrow[0] };

TEST(a_walk_visits_every_tuple_of_elements_once)
{
    static double a[ROOM], c[ROOM];
    static float b[ROOM];
    for (int i = 0; i < LAYOUTS; i++) {
        for (int j = 0; j < LAYOUTS; j++) {
            for (int k = 0; k < NARROW; k++) {
                wf_tensor x = laid_out(i, WF_F64, a), y = laid_out(j, WF_F32, b),
                          z = wf_tensor_of(WF_F64, narrow[k], c);
                const wf_tensor *const operand[3] = { &x, &y, &z };
                check_walk(operand);
            }
        }
    }
}

TEST(a_walk_merges_axes_and_moves_little)
{
    static float a[ROOM], b[ROOM], c[ROOM];
    wf_tensor x = wf_tensor_of(WF_F32, WF_SHAPE(3, 5, 7, 2), a),
              y = wf_tensor_of(WF_F32, WF_SHAPE(3, 5, 7, 2), b);
    wf_tensor row = wf_tensor_of(WF_F32, WF_SHAPE(7, 2), c),
              column = wf_tensor_of(WF_F32, WF_SHAPE(3, 5, 1, 1), c), p, q;
    wf_walk loop;
    wf_shape shape = wf_tensor_shape(&x);
    ck_assert(wf_walk_plan(&loop, shape, 2, (const wf_tensor *const[]){ &x, &y }));
    ck_assert(loop.rank == 1 && loop.dim[0] == 210 && loop.stride[0][0] == 4 &&
              loop.stride[1][0] == 4);
    ck_assert(wf_walk_plan(&loop, shape, 3, (const wf_tensor *const[]){ &x, &y, &row }));
    ck_assert(loop.rank == 2 && loop.dim[0] == 15 && loop.dim[1] == 14 && loop.stride[2][0] == 0 &&
              loop.stride[2][1] == 4);
    ck_assert(wf_walk_plan(&loop, shape, 3, (const wf_tensor *const[]){ &x, &y, &column }));
    ck_assert(loop.rank == 2 && loop.dim[0] == 15 && loop.dim[1] == 14 && loop.stride[2][0] == 4 &&
              loop.stride[2][1] == 0);
    /* Both turned the same way: one line again. */
    ck_assert(wf_view_transpose(&x, 0, 3, &p) && wf_view_transpose(&y, 0, 3, &q));
    ck_assert(wf_walk_plan(&loop, wf_tensor_shape(&p), 2, (const wf_tensor *const[]){ &p, &q }));
    ck_assert(loop.rank == 1 && loop.dim[0] == 210 && loop.stride[0][0] == 4);
    /* A sum over the first axis: rows are added to rows. */
    wf_tensor sums = wf_tensor_of(WF_F32, WF_SHAPE(1, 14), c),
              m = wf_tensor_of(WF_F32, WF_SHAPE(15, 14), a);
    ck_assert(wf_walk_plan(&loop, WF_SHAPE(15, 14), 2, (const wf_tensor *const[]){ &sums, &m }));
    ck_assert(loop.rank == 2 && loop.dim[1] == 14 && loop.stride[0][0] == 0);
}

TEST(a_walk_of_one_or_no_element_is_a_line)
{
    float one = 0;
    double two = 0;
    for (int rank = 0; rank <= WF_RANK; rank++) {
        wf_shape shape = { rank, { 1, 1, 1, 1, 1, 1, 1, 1 } };
        wf_tensor x = wf_tensor_of(WF_F32, shape, &one), y = wf_tensor_of(WF_F64, WF_SCALAR, &two);
        wf_walk loop;
        const wf_tensor *const operand[] = { &x, &y };
        ck_assert(wf_walk_plan(&loop, shape, 2, operand));
        ck_assert(loop.rank == 1 && loop.dim[0] == 1 && loop.count == 1 && loop.stride[0][0] == 4 &&
                  loop.stride[1][0] == 8);
        visits v = { .operands = 2, .operand = operand };
        wf_walk_run(&loop, 5, 1, visit, &v);
        ck_assert(v.runs == 1 && v.n == 1);
        if (rank == 0) continue;
        shape.dim[rank / 2] = 0;
        ck_assert(wf_walk_plan(&loop, shape, 2, operand));
        ck_assert(loop.rank == 1 && loop.count == 0);
        wf_walk_run(&loop, 5, 1, visit, &v);
        ck_assert_int_eq(v.runs, 1);
    }
}

TEST(a_walk_over_eight_axes_that_do_not_merge_visits_all)
{
    static double a[ROOM], b[ROOM];
    wf_shape small = { 8, { 2, 2, 2, 3, 2, 2, 1, 2 } }, large = { 8, { 3, 3, 3, 4, 3, 3, 1, 3 } };
    wf_tensor x = wf_tensor_of(WF_F64, small, a), y = wf_tensor_of(WF_F64, large, b);
    wf_walk loop;
    for (int k = 0; k < 8; k++) ck_assert(wf_view_slice(&y, k, 0, small.dim[k], 1, &y));
    const wf_tensor *const operand[] = { &x, &y };
    static visits v;
    v = (visits){ .operands = 2, .operand = operand };
    ck_assert(wf_walk_plan(&loop, small, 2, operand));
    ck_assert_int_eq(loop.rank, 7);
    wf_walk_run(&loop, 1, 0, visit, &v);
    ck_assert_int_eq(v.n, wf_shape_count(&small));
    for (int i = 0; i < v.n; i++) ck_assert(v.at[0][i] == i && v.at[1][i] == offset_of(&y, i));
}

TEST(a_walk_over_what_does_not_fit_is_refused)
{
    double data[24];
    wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), data),
              wide = wf_tensor_of(WF_F64, WF_SHAPE(4, 2, 3), data);
    const wf_tensor *const many[9] = { &x, &x, &x, &x, &x, &x, &x, &x, &x }, *const mixed[2] = {
        &x, &wide
    };
    wf_walk loop;
    ck_assert(wf_walk_plan(&loop, WF_SHAPE(2, 3), 8, many));
    ck_assert(!wf_walk_plan(&loop, WF_SHAPE(2, 3), 9, many));
    ck_assert(!wf_walk_plan(&loop, WF_SHAPE(2, 3), 0, many));
    ck_assert(!wf_walk_plan(&loop, WF_SHAPE(2, 4), 1, many));
    ck_assert(!wf_walk_plan(&loop, WF_SHAPE(1, 3), 1, many));
    ck_assert(!wf_walk_plan(&loop, WF_SHAPE(3), 1, many));
    ck_assert(!wf_walk_plan(&loop, WF_SHAPE(2, 3), 2, mixed));
    ck_assert(wf_walk_plan(&loop, WF_SHAPE(4, 2, 3), 2, mixed));
}
