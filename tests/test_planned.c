/* The planned loop of each built-in cell against its steps one after another: the same numbers at
 * every size and shape, the same bits for any number of threads. */
#include "tests/cells.h"

enum { MOST_THREADS = 5 };

/* ---- layers ---- */

enum { CELLS = 3 }; /* the built-in ones */

typedef struct size {
    int64_t time, batch, input, hidden;
} size;

/* Beyond one tile of rows, one panel of units, one group of rows; one step and one sequence; few
 * steps; so many rows that they go back in parts. */
static const size sizes[] = {
    { 7, 19, 11, 37 }, { 5, 33, 24, 70 }, { 9, 1, 8, 131 }, { 1, 3, 5, 6 },    { 2, 6, 5, 67 },
    { 3, 9, 4, 16 },   { 12, 6, 3, 64 },  { 4, 40, 1, 1 },  { 75, 132, 3, 5 },
};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static double *as_floats(const void *numbers, int64_t n)
{
    double *x = (void *)(uintptr_t)numbers;
    for (int64_t i = 0; i < n; i++) x[i] = (double)(float)x[i];
    return x;
}

/* Values are floats in either precision; ragged ones are spoilt past their ends. */
static fixture layer_of(int cell, const size *z, wf_dtype dtype, bool bidirectional, bool stepwise,
                        bool ragged)
{
    fixture f = { .net = wf_module_new("net", &(wf_module_options){ .seed = 17, .dtype = dtype }) };
    f.rnn = wf_rnn_new(f.net, "rnn", cell_at(cell),
                       &(wf_rnn_options){ .input = z->input,
                                          .hidden = z->hidden,
                                          .stepwise = stepwise,
                                          .bidirectional = bidirectional });
    ck_assert(wf_module_ok(f.net, NULL));
    for (int64_t i = 0; i < wf_module_param_count(f.net); i++) {
        const wf_tensor *value = wf_param_value(wf_module_param_at(f.net, i));
        if (dtype == WF_F64) as_floats(value->data, wf_tensor_count(value));
        wf_param_changed(wf_module_param_at(f.net, i));
    }
    const int64_t both = bidirectional ? 2 : 1, row = both * z->hidden, input = z->input;
    f.on = case_of(f.rnn, z->time, z->batch, input);
    double *x = as_floats(f.on.x, z->time * z->batch * input),
           *gy = as_floats(f.on.gy, z->time * z->batch * row);
    for (int k = 0; k < f.on.states; k++) {
        as_floats(f.on.initial[k], z->batch * row);
        as_floats(f.on.gfinal[k], z->batch * row);
    }
    if (!ragged) return f;
    int32_t *lengths = cell_take(&kept, z->batch, sizeof *lengths);
    for (int64_t b = 0; b < z->batch; b++) {
        lengths[b] = b == 1 ? 0 : (int32_t)wf_random_below(9, (uint64_t)b, z->time + 1);
        for (int64_t i = lengths[b]; i < z->time; i++) {
            for (int64_t j = 0; j < input; j++) x[(i * z->batch + b) * input + j] = (double)NAN;
            for (int64_t j = 0; j < row; j++) gy[(i * z->batch + b) * row + j] = (double)INFINITY;
        }
    }
    f.on.lengths = lengths;
    return f;
}

/* By every size: one direction or two, sequences full or ragged, each built-in cell. */
enum { CASES = 4 * CELLS * SIZES };

static fixture case_at(int i, wf_dtype dtype, bool stepwise)
{
    return layer_of(i / 4 % CELLS, &sizes[i / 4 / CELLS], dtype, i & 1, stepwise, i & 2);
}

TEST_EACH(a_planned_loop_is_its_steps_in_double, CASES)
{
    OWN(fixture)
    planned = case_at(_i, WF_F64, false), steps = case_at(_i, WF_F64, true);
    cell_result got = run_case(&planned.on), want = run_case(&steps.on);
    assert_result(&got, &want, 1e-12, 1e-12);
}

/* The bounds hold for values of order one and sums over up to a few hundred terms: values within
 * 2e-6 and gradients within 1e-5 of the largest. */
TEST_EACH(a_planned_loop_in_float_is_close_to_its_steps_in_double, CASES)
{
    OWN(fixture)
    planned = case_at(_i, WF_F32, false), steps = case_at(_i, WF_F64, true);
    cell_result got = run_case(&planned.on), want = run_case(&steps.on);
    assert_result(&got, &want, 2e-6, 1e-5);
}

/* Many sequences are shared out by rows, few by units; both must really run on that many
 * threads. */
TEST_EACH(the_bits_are_the_same_for_any_number_of_threads, 6 * CELLS)
{
    static const size wide[] = { { 11, 37, 48, 133 }, { 10, 1, 40, 530 }, { 10, 6, 64, 530 } };
    static const int counts[] = { 1, 2, 3, 5 };
    uint64_t first = 0;
    for (int i = 0; i < 4; i++) {
        OWN(fixture) l = layer_of(_i / 6, &wide[_i / 2 % 3], WF_F32, true, false, _i % 2 == 1);
        wf_par_width();
        cell_result o = run_on(&l.on, counts[i]);
        ck_assert_int_eq(wf_par_width(), counts[i]);
        uint64_t h = hash_result(&o);
        if (i == 0) first = h;
        ck_assert_msg(h == first, "with %d threads other bits come out than with one", counts[i]);
    }
}

TEST_EACH(inference_gives_the_values_of_training, CELLS *SIZES)
{
    const size *z = &sizes[_i / CELLS];
    OWN(fixture) l = layer_of(_i % CELLS, z, WF_F32, true, false, true);
    cell_result train = run_case(&l.on);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER, .threads = 1 });
    wf_var *initial[WF_CELL_STATES], *final[WF_CELL_STATES];
    for (int k = 0; k < l.on.states; k++)
        initial[k] = cell_var(t, WF_F32, false, WF_SHAPE(2, l.on.batch, z->hidden),
                              l.on.initial[k]);
    wf_var *x = cell_var(t, WF_F32, false, WF_SHAPE(l.on.time, l.on.batch, l.on.input), l.on.x);
    wf_var *n = wf_constant(t, WF_I32, WF_SHAPE(l.on.batch), l.on.lengths);
    wf_var *y = wf_rnn_forward(t, l.rnn, x,
                               &(wf_rnn_call){ .lengths = n, .initial = initial, .final = final });
    assert_close("y", train.n_y, doubles_of(y), train.y, 0);
    for (int k = 0; k < l.on.states; k++)
        assert_close("final state", train.n_state[k], doubles_of(final[k]), train.final[k], 0);
}

TEST_EACH(a_nan_in_one_sequence_stays_in_it, 2 * CELLS)
{
    OWN(fixture) l = layer_of(_i / 2, &sizes[0], WF_F32, false, false, _i % 2 == 1);
    const int64_t batch = l.on.batch, hidden = sizes[0].hidden, input = sizes[0].input;
    int64_t bad = 4;
    while (l.on.lengths && l.on.lengths[bad] == 0) bad++;
    cell_result clean = run_case(&l.on);
    as_floats(l.on.x, 0)[bad * input] = (double)NAN;
    cell_result dirty = run_case(&l.on);
    bool arrived = false;
    for (int64_t k = 0; k < clean.n_y; k++) {
        if (k / hidden % batch == bad)
            arrived |= isnan(dirty.y[k]) != 0;
        else
            ck_assert(dirty.y[k] == clean.y[k]);
    }
    for (int64_t k = 0; k < clean.n_x; k++)
        if (k / input % batch != bad) ck_assert(dirty.dx[k] == clean.dx[k]);
    ck_assert(arrived);
}

const harness_suite suite = { .threads = MOST_THREADS };
