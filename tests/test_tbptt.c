/* Truncated backpropagation through time: windows of a carry against the steps by hand, loss by
 * loss; without truncation plain backpropagation; saved in the middle, at length, and undone. */
#include "tests/cells.h"

const harness_suite suite = { .after = NULL };

/* ---- a net, and texts to learn from ---- */

enum { STEPS = 19, LANES = 3, WORDS = 6, OUT = 2 };

/* Embedding, any recurrent layer, head. */
typedef struct model {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *rnn;
    wf_linear *head;
    wf_optim *optim;
    rnn_form form;
} model;

static void free_model(model *m)
{
    wf_optim_free(m->optim);
    wf_module_free(m->net);
}

static model model_of(int of_kind, wf_dtype dtype, double dropout)
{
    kind k = kind_at(of_kind);
    k.options.input = INPUT;
    k.options.hidden = 4;
    if (k.options.layers > 1 && k.cell != &unit_cell) /* that one divides by its input's norm */
        k.options.dropout = dropout;
    model m = { .net = wf_module_new("net", &(wf_module_options){ .seed = 5, .dtype = dtype }) };
    m.embed = wf_embedding_new(m.net, "embed",
                               &(wf_embedding_options){ .input = WORDS, .output = INPUT });
    m.rnn = wf_rnn_new(m.net, "rnn", k.cell, &k.options);
    ck_assert_ptr_nonnull(m.rnn);
    m.form = rnn_form_of(m.rnn);
    m.head = wf_linear_new(m.net, "head",
                           &(wf_linear_options){ .input = m.form.width[0], .output = OUT });
    wf_sgd_options sgd = wf_sgd_defaults();
    sgd.lr = 0.05;
    m.optim = wf_sgd_new(m.net, &sgd);
    wf_error error = { { 0 } };
    ck_assert_msg(wf_module_ok(m.net, &error), "%s", error.text);
    return m;
}

/* What stands at a step of a lane, and what is to be made of it. */
static int32_t id_at(int64_t step, int64_t lane)
{
    return (int32_t)((step * step * 5 + step * 3 + lane * 7) % 31 % WORDS);
}

static double target_at(int64_t step, int64_t lane, int64_t i)
{
    return wf_random_normal(9, (uint64_t)((step * LANES + lane) * OUT + i));
}

/* Where the text of each lane ends, and the window with which a second one begins (0: none). */
typedef struct course {
    int64_t k1, k2, end[LANES], second[LANES];
} course;

static course plain_course(int64_t k1, int64_t k2)
{
    course c = { .k1 = k1, .k2 = k2 };
    for (int b = 0; b < LANES; b++) c.end[b] = STEPS;
    return c;
}

/* All parameters, or their gradients, one behind the other. */
static double *all_of(const wf_module *net, bool gradients, int64_t *n)
{
    double *x = zeros(wf_module_weights(net)), *at = x;
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        const wf_var *param = wf_module_param_at(net, i);
        const wf_tensor *from = gradients ? wf_param_grad(param) : wf_value(param);
        wf_tensor to = wf_tensor_of(WF_F64, wf_shape_of(param), at);
        if (from) wf_tensor_copy(from, &to);
        at += wf_count(param);
    }
    *n = at - x;
    return x;
}

/* ---- by the carry ---- */

/* The squared error of steps from..to, of which x has those from `first` on; lanes that have ended
 * count for nothing. */
static wf_var *error_of(wf_tape *t, const model *m, wf_var *y, const course *c, int64_t from,
                        int64_t to)
{
    wf_dtype dtype = wf_module_dtype(m->net);
    wf_tensor want, there;
    wf_shape form = WF_SHAPE(to - from, LANES, OUT);
    wf_var *target = wf_constant_fill(t, dtype, form, &want);
    wf_var *mask = wf_constant_fill(t, dtype, form, &there);
    for (int64_t i = 0; i < wf_tensor_count(&want); i++) {
        int64_t step = from + i / (LANES * OUT), lane = i / OUT % LANES;
        put(&want, i, target_at(step, lane, i % OUT));
        put(&there, i, step < c->end[lane]);
    }
    wf_var *off = wf_mul(t, mask, wf_sub(t, wf_linear_forward(t, m->head, y), target));
    return wf_sum(t, wf_square(t, off), NULL);
}

/* The loss of one window, steps begin..end, on this tape. */
static wf_var *window_loss(wf_tape *t, const model *m, wf_carry *carry, const course *c,
                           int64_t begin, int64_t end)
{
    int64_t again = wf_carry_overlap(t, carry), first = begin - again;
    int32_t *ids = wf_tape_memory(t, (size_t)((end - first) * LANES) * sizeof *ids);
    int32_t lengths[LANES];
    bool ragged = false;
    for (int64_t i = 0; i < (end - first) * LANES; i++)
        ids[i] = id_at(first + i / LANES, i % LANES);
    for (int b = 0; b < LANES; b++) {
        int64_t stop = c->end[b] < first ? first : c->end[b] < end ? c->end[b] : end;
        lengths[b] = (int32_t)(stop - first);
        ragged |= stop < end;
    }
    wf_rnn_call call = { .carry = carry };
    if (ragged) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(LANES), lengths);
    wf_tensor read = wf_tensor_of(WF_I32, WF_SHAPE(end - first, LANES), ids);
    wf_var *x = wf_embedding_forward(t, m->embed, wf_constant_tensor(t, &read));
    wf_var *y = wf_rnn_forward(t, m->rnn, x, &call);
    return error_of(t, m, wf_slice(t, y, 0, again, end - first, 1), c, begin, end);
}

/* One window and its sweep. */
static void sweep_window(wf_tape *t, const model *m, wf_carry *carry, const course *c,
                         int64_t window)
{
    int64_t begin = window * c->k1, end = begin + c->k1 < STEPS ? begin + c->k1 : STEPS;
    for (int b = 0; b < LANES; b++)
        if (window && c->second[b] == window) ck_assert(wf_carry_reset_sequence(carry, b));
    wf_tape_reset(t);
    wf_tape_set_step(t, (uint64_t)window);
    ck_assert_msg(wf_backward(t, window_loss(t, m, carry, c, begin, end)), "%s", wf_tape_error(t));
}

static int64_t windows_of(const course *c)
{
    return (STEPS + c->k1 - 1) / c->k1;
}

/* ---- by hand ---- */

/* The states of one lane after each step, as they were when that step was new. */
typedef struct history {
    double *at[STEPS + 1][WF_CELL_STATES];
} history;

/* The states of a lane before a step; none where its text begins: as the layer begins. */
static void states_from(wf_tape *t, const model *m, const history *h, int64_t step, int64_t text,
                        wf_var *state[])
{
    for (int k = 0; k < WF_CELL_STATES; k++) state[k] = NULL;
    for (int k = 0; step > text && k < m->form.states; k++)
        state[k] = wf_constant(t, WF_F64, WF_SHAPE(m->form.layers, 1, m->form.width[k]),
                               h->at[step][k]);
}

static wf_var *hand_step(wf_tape *t, const model *m, int64_t step, int64_t lane, wf_var *state[])
{
    int32_t id = id_at(step, lane);
    wf_var *x = wf_embedding_forward(t, m->embed, wf_constant(t, WF_I32, WF_SHAPE(1), &id));
    return wf_rnn_step(t, m->rnn, x, state); /* (1, width) */
}

/* Where a lane's text begins that is read in a window, in steps. */
static int64_t text_begins(const course *c, int64_t window, int64_t lane)
{
    return c->second[lane] && window >= c->second[lane] ? c->second[lane] * c->k1 : 0;
}

/* Where the window's way through time begins in a lane, in steps. */
static int64_t way_begins(const course *c, int64_t window, int64_t lane)
{
    int64_t text = text_begins(c, window, lane);
    int64_t begin = c->k2 > c->k1 ? (window + 1) * c->k1 - c->k2 : window * c->k1;
    return begin > text ? begin : text;
}

/* Adds the gradient of the loss of one step alone. */
static void add_gradient(wf_tape *t, const model *m, const course *c, const history *h,
                         int64_t window, int64_t lane, int64_t step, double *sum)
{
    int64_t end = (window + 1) * c->k1 < STEPS ? (window + 1) * c->k1 : STEPS;
    int64_t begin = way_begins(c, window, lane), cut = begin;
    while (c->k2 < c->k1 && (end - cut) % c->k2) cut++; /* the first */
    wf_tape_reset(t);
    wf_var *state[WF_CELL_STATES], *y = NULL, *grad[32], *wrt[32];
    states_from(t, m, h, begin, text_begins(c, window, lane), state);
    for (int64_t u = begin; u <= step; u++) {
        bool here = c->k2 < c->k1 && u >= cut && u > begin && (end - u) % c->k2 == 0;
        for (int k = 0; here && k < m->form.states; k++) state[k] = wf_detach(t, state[k]);
        y = hand_step(t, m, u, lane, state);
    }
    double want[OUT];
    for (int i = 0; i < OUT; i++) want[i] = target_at(step, lane, i);
    wf_var *off = wf_sub(t, wf_linear_forward(t, m->head, y),
                         wf_constant(t, WF_F64, WF_SHAPE(1, OUT), want));
    wf_var *loss = wf_sum(t, wf_square(t, off), NULL);
    int n = (int)wf_module_param_count(m->net);
    for (int i = 0; i < n; i++) wrt[i] = wf_module_param_at(m->net, i);
    ck_assert_msg(wf_grad(t, 1, &loss, NULL, n, wrt, grad, NULL), "%s", wf_tape_error(t));
    for (int i = 0; i < n; i++)
        for (int64_t e = 0; e < wf_count(wrt[i]); e++) *sum++ += wf_at(grad[i], e);
}

/* The lane's states after the new steps. */
static void remember(wf_tape *t, const model *m, const course *c, history *h, int64_t window,
                     int64_t lane)
{
    int64_t end = (window + 1) * c->k1 < STEPS ? (window + 1) * c->k1 : STEPS;
    int64_t begin = way_begins(c, window, lane);
    wf_tape_reset(t);
    wf_var *state[WF_CELL_STATES];
    states_from(t, m, h, begin, text_begins(c, window, lane), state);
    for (int64_t u = begin; u < end; u++) {
        if (u < c->end[lane]) hand_step(t, m, u, lane, state);
        for (int k = 0; u >= window * c->k1 && k < m->form.states; k++)
            h->at[u + 1][k] = doubles_of(state[k]);
    }
}

/* The gradient of a window, which is then remembered. */
static double *by_hand(wf_tape *t, const model *m, const course *c, history h[LANES],
                       int64_t window)
{
    double *sum = zeros(wf_module_weights(m->net));
    int64_t begin = window * c->k1, end = begin + c->k1 < STEPS ? begin + c->k1 : STEPS;
    for (int64_t b = 0; b < LANES; b++) {
        for (int64_t step = begin; step < end && step < c->end[b]; step++)
            add_gradient(t, m, c, &h[b], window, b, step, sum);
        remember(t, m, c, &h[b], window, b);
    }
    return sum;
}

/* ---- the same gradients ---- */

static void assert_as_by_hand(int of_kind, const course *c)
{
    OWN(model) one = model_of(of_kind, WF_F64, 0), other = model_of(of_kind, WF_F64, 0);
    OWN(wf_carry) *carry = wf_carry_new_truncated(one.rnn, LANES, c->k1, c->k2);
    ck_assert(wf_carry_ok(carry, NULL));
    OWN(wf_tape) *t = wf_tape_new(NULL);
    history h[LANES] = { { { { NULL } } } };
    int64_t n = 0;
    for (int64_t window = 0; window < windows_of(c); window++) {
        double *want = by_hand(t, &other, c, h, window);
        sweep_window(t, &one, carry, c, window);
        double *got = all_of(one.net, true, &n);
        assert_close("a gradient", n, got, want, 1e-12);
        ck_assert(wf_optim_step(one.optim));
        for (int64_t i = 0; i < wf_module_param_count(other.net); i++) {
            wf_var *param = wf_module_param_at(other.net, i);
            const wf_tensor *value = wf_value(param);
            for (int64_t e = 0; e < wf_tensor_count(value); e++)
                put(value, e, wf_tensor_at(value, e) - 0.05 * *want++);
            wf_param_changed(param);
        }
    }
    double *got = all_of(one.net, false, &n), *want = all_of(other.net, false, &n);
    assert_close("the parameters", n, got, want, 1e-12);
}

/* STEPS is 19: no interval but 1 and itself divides it. */
static const struct {
    int64_t k1, k2;
} pairs[] = {
    { 1, 1 }, { 1, 4 }, { 2, 3 }, { 2, 7 }, { 3, 3 },  { 3, 5 },   { 3, 7 },   { 4, 8 },
    { 5, 8 }, { 5, 2 }, { 7, 3 }, { 4, 1 }, { 5, 12 }, { 19, 19 }, { 19, 30 }, { 30, 7 },
};
enum { PAIRS = sizeof pairs / sizeof pairs[0] };
static const char *const of_kinds[] = { "lstm of two layers", "gru", "lstm, projected",
                                        "gru, reset before",  "mgu", "unit",
                                        "lstm, learned start" };
enum { KINDS = sizeof of_kinds / sizeof of_kinds[0] };

TEST_EACH(windows_have_the_gradients_of_the_steps_by_hand, PAIRS)
{
    course c = plain_course(pairs[_i].k1, pairs[_i].k2);
    for (int k = 0; k < KINDS; k++) assert_as_by_hand(kind_named(of_kinds[k]), &c);
}

/* One lane ends early, in one a second text begins, and one does both. */
TEST_EACH(ragged_and_second_texts_have_the_gradients_of_each_lane_alone, PAIRS)
{
    course c = plain_course(pairs[_i].k1, pairs[_i].k2);
    int64_t last = windows_of(&c) - 1;
    c.end[0] = 11;
    c.second[1] = last / 2;
    c.second[2] = last > 1 ? last - 1 : last;
    c.end[2] = STEPS - 1;
    for (int k = 0; k < KINDS; k++) assert_as_by_hand(kind_named(of_kinds[k]), &c);
}

/* ---- not truncated ---- */

static uint64_t hash_model(const model *m)
{
    return hash_params(HASH, m->net);
}

/* Updates on one window of the whole text, from zero each time. */
TEST_EACH(one_window_of_the_whole_text_is_plain_backpropagation_to_the_bit, kinds())
{
    const wf_dtype dtypes[] = { WF_F32, WF_F64 };
    course c = plain_course(STEPS, STEPS);
    c.end[0] = 11;
    for (int d = 0; d < 2; d++) {
        OWN(model) one = model_of(_i, dtypes[d], 0.3), other = model_of(_i, dtypes[d], 0.3);
        OWN(wf_carry) *carry = wf_carry_new_truncated(one.rnn, LANES, STEPS, STEPS);
        OWN(wf_tape) *t = wf_tape_new(NULL);
        for (int update = 0; update < 4; update++) {
            wf_carry_reset(carry);
            wf_tape_reset(t);
            wf_tape_set_step(t, (uint64_t)update);
            wf_var *loss = window_loss(t, &one, carry, &c, 0, STEPS);
            ck_assert_msg(wf_backward(t, loss), "%s", wf_tape_error(t));
            double value = wf_item(loss);
            wf_tape_reset(t);
            wf_tape_set_step(t, (uint64_t)update);
            loss = window_loss(t, &other, NULL, &c, 0, STEPS);
            ck_assert(wf_backward(t, loss));
            ck_assert(value == wf_item(loss));
            for (int64_t i = 0; i < wf_module_param_count(one.net); i++) {
                ck_assert_uint_eq(
                    hash_tensor(HASH, wf_param_grad(wf_module_param_at(one.net, i))),
                    hash_tensor(HASH, wf_param_grad(wf_module_param_at(other.net, i))));
            }
            ck_assert(wf_optim_step(one.optim) && wf_optim_step(other.optim));
        }
        ck_assert_uint_eq(hash_model(&one), hash_model(&other));
    }
}

TEST_EACH(equal_lengths_are_a_plain_carry_to_the_bit, 2)
{
    int of_kind = kind_named(_i ? "lstm, learned start" : "lstm of two layers");
    OWN(model) one = model_of(of_kind, WF_F32, 0.3), other = model_of(of_kind, WF_F32, 0.3);
    OWN(wf_carry) *truncated = wf_carry_new_truncated(one.rnn, LANES, 4, 4),
                  *plain = wf_carry_new(other.rnn, LANES);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    course c = plain_course(4, 4);
    c.second[1] = 2;
    for (int64_t window = 0; window < windows_of(&c); window++) {
        sweep_window(t, &one, truncated, &c, window);
        sweep_window(t, &other, plain, &c, window);
        ck_assert(wf_optim_step(one.optim) && wf_optim_step(other.optim));
    }
    ck_assert_uint_eq(hash_model(&one), hash_model(&other));
}

/* ---- what is kept, and when ---- */

/* Trains over some windows. */
static void train(wf_tape *t, model *m, wf_carry *carry, const course *c, int64_t from, int64_t to)
{
    for (int64_t window = from; window < to; window++) {
        sweep_window(t, m, carry, c, window);
        ck_assert(wf_optim_step(m->optim));
    }
}

TEST_EACH(steps_that_fail_and_rehearsals_leave_no_trace, PAIRS)
{
    course c = plain_course(pairs[_i].k1, pairs[_i].k2);
    int64_t windows = windows_of(&c);
    int of_kind = kind_named("lstm of two layers");
    OWN(model) one = model_of(of_kind, WF_F32, 0), other = model_of(of_kind, WF_F32, 0);
    OWN(wf_carry) *tried = wf_carry_new_truncated(one.rnn, LANES, c.k1, c.k2),
                  *straight = wf_carry_new_truncated(other.rnn, LANES, c.k1, c.k2);
    OWN(wf_tape) *t = wf_tape_new(NULL),
                 *rehearsal = wf_tape_new(&(wf_tape_options){ .rehearsal = true });
    for (int64_t window = 0; window < windows; window++) {
        sweep_window(rehearsal, &one, tried, &c, window);
        wf_tape_reset(t);
        int64_t begin = window * c.k1, end = begin + c.k1 < STEPS ? begin + c.k1 : STEPS;
        ck_assert_ptr_nonnull(window_loss(t, &one, tried, &c, begin, end)); /* never swept */
        wf_tape_reset(t);
        wf_var *loss = window_loss(t, &one, tried, &c, begin, end);
        wf_fail(t, "the test: a step fails on purpose");
        ck_assert(!wf_backward(t, loss));
        train(t, &one, tried, &c, window, window + 1);
        train(t, &other, straight, &c, window, window + 1);
    }
    ck_assert_uint_eq(hash_model(&one), hash_model(&other));
}

/* Several windows on one tape, before anything of it is permanent, have the losses that they have
 * on one tape each; also when a lane begins anew among them. */
TEST_EACH(windows_of_one_tape_are_windows_of_several, 2 * PAIRS)
{
    course c = plain_course(pairs[_i / 2].k1, pairs[_i / 2].k2);
    OWN(model) m = model_of(kind_named("lstm of two layers"), WF_F64, 0);
    OWN(wf_carry) *one = wf_carry_new_truncated(m.rnn, LANES, c.k1, c.k2),
                  *other = wf_carry_new_truncated(m.rnn, LANES, c.k1, c.k2);
    OWN(wf_tape) *t = wf_tape_new(NULL), *all = wf_tape_new(NULL);
    const int64_t windows = windows_of(&c);
    double want[STEPS], got[STEPS];
    wf_var *sum = NULL;
    for (int64_t window = 0; window < windows; window++) {
        int64_t begin = window * c.k1, end = begin + c.k1 < STEPS ? begin + c.k1 : STEPS;
        if (_i % 2 && window == windows / 2)
            ck_assert(wf_carry_reset_sequence(one, 1) && wf_carry_reset_sequence(other, 1));
        wf_tape_reset(t);
        wf_var *alone = window_loss(t, &m, one, &c, begin, end);
        ck_assert(wf_backward(t, alone));
        wf_var *loss = window_loss(all, &m, other, &c, begin, end);
        ck_assert_msg(loss != NULL, "%s", wf_tape_error(all));
        want[window] = wf_item(alone);
        got[window] = wf_item(loss);
        sum = sum ? wf_add(all, sum, loss) : loss;
    }
    for (int64_t window = 0; window < windows; window++)
        assert_close("a loss", 1, &got[window], &want[window], 1e-14);
    int64_t n;
    double *apart = all_of(m.net, true, &n);
    wf_module_clear_grads(m.net);
    ck_assert(wf_backward(all, sum));
    double *together = all_of(m.net, true, &n);
    assert_close("a gradient", n, together, apart, 1e-12);
    for (int k = 0; k < 2; k++) {
        for (int64_t layer = 0; layer < 2; layer++) {
            ck_assert_uint_eq(hash_tensor(HASH, wf_carry_state(one, layer, 0, k)),
                              hash_tensor(HASH, wf_carry_state(other, layer, 0, k)));
        }
    }
}

TEST(all_lanes_begun_anew_one_by_one_are_a_carry_begun_anew)
{
    course c = plain_course(3, 7);
    OWN(model)
    one = model_of(kind_named("gru"), WF_F32, 0), other = model_of(kind_named("gru"), WF_F32, 0);
    OWN(wf_carry) *a = wf_carry_new_truncated(one.rnn, LANES, 3, 7),
                  *b = wf_carry_new_truncated(other.rnn, LANES, 3, 7);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int round = 0; round < 2; round++) { /* the last window is short, and ends the text */
        train(t, &one, a, &c, 0, windows_of(&c));
        train(t, &other, b, &c, 0, windows_of(&c));
        wf_carry_reset(a);
        for (int lane = 0; lane < LANES; lane++) ck_assert(wf_carry_reset_sequence(b, lane));
        ck_assert_int_eq(wf_carry_overlap(NULL, b), 0);
    }
    train(t, &one, a, &c, 0, 4);
    train(t, &other, b, &c, 0, 4);
    ck_assert_uint_eq(hash_model(&one), hash_model(&other));
    ck_assert_int_eq(wf_carry_overlap(NULL, b), 4);
}

/* ---- in files ---- */

TEST_EACH(saved_in_the_middle_a_run_goes_on_to_the_bit, 2 * PAIRS)
{
    course c = plain_course(pairs[_i / 2].k1, pairs[_i / 2].k2);
    const int64_t windows = windows_of(&c), middle = windows - (windows > 3 ? 2 : 1);
    if (windows > 3) c.second[1] = middle - 1; /* what is young, is so in the file, too */
    int of_kind = kind_named(_i % 2 ? "lstm, learned start" : "lstm of two layers");
    OWN(model) one = model_of(of_kind, WF_F32, 0.3), other = model_of(of_kind, WF_F32, 0.3);
    OWN(wf_carry) *a = wf_carry_new_truncated(one.rnn, LANES, c.k1, c.k2),
                  *b = wf_carry_new_truncated(other.rnn, LANES, c.k1, c.k2);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    train(t, &one, a, &c, 0, middle);
    wf_error e = { { 0 } };
    ck_assert_msg(wf_module_save(one.net, path_of("net"), NULL, 0, &e), "%s", e.text);
    ck_assert_msg(wf_module_load(other.net, path_of("net"), &e), "%s", e.text);
    OWN(wf_bundle) *bundle = wf_bundle_new();
    ck_assert(wf_carry_to_bundle(a, bundle, "carry."));
    ck_assert_msg(wf_bundle_save(bundle, path_of("run"), &e), "%s", e.text);
    OWN(wf_archive) *archive = wf_safetensors_load(path_of("run"), &e);
    ck_assert_msg(archive != NULL, "%s", e.text);
    ck_assert_msg(wf_carry_load_archive(b, "run", archive, "carry.", &e), "%s", e.text);
    ck_assert_int_eq(wf_carry_overlap(NULL, a), wf_carry_overlap(NULL, b));
    train(t, &one, a, &c, middle, windows);
    train(t, &other, b, &c, middle, windows);
    ck_assert_uint_eq(hash_model(&one), hash_model(&other));
}

/* ---- at length ---- */

/* Of 100,000 windows (and of fewer that are cut within), all but the first few ask for no memory; a
 * lane begins anew now and then. */
TEST_EACH(of_100_000_windows_none_but_the_first_asks_for_memory, 2)
{
    const int64_t k1 = _i ? 3 : 1, k2 = _i ? 1 : 2;
    const int64_t windows = HARNESS_ADDRESSES ? 2000 : _i ? 20000 : 100000;
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 5 });
    wf_rnn *rnn = wf_elman_new(net, "rnn", &(wf_rnn_options){ .input = 1, .hidden = 2 });
    wf_sgd_options sgd = wf_sgd_defaults();
    OWN(wf_optim) *optim = wf_sgd_new(net, &sgd);
    OWN(wf_carry) *carry = wf_carry_new_truncated(rnn, 2, k1, k2);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = 1 });
    float x[8] = { 1, -1, 0.5f, 2, -2, 0, 1, 3 };
    long long settled = 0, live = 0;
    bool ok = true;
    for (int64_t window = 0; window < windows; window++) {
        if (window == 100) settled = heap.asked, live = heap.live;
        if (window % 37 == 5) ok &= wf_carry_reset_sequence(carry, window % 2);
        wf_tape_reset(t);
        int64_t again = wf_carry_overlap(t, carry);
        wf_var *in = wf_constant(t, WF_F32, WF_SHAPE(again + k1, 2, 1), x);
        wf_var *y = wf_rnn_forward(t, rnn, in, &(wf_rnn_call){ .carry = carry });
        y = wf_slice(t, y, 0, again, again + k1, 1);
        ok &= wf_backward(t, wf_mean(t, wf_square(t, y), NULL));
        ok &= wf_optim_step(optim);
    }
    ck_assert(ok);
    ck_assert_int_gt(settled, 0); /* the count is real */
    ck_assert_int_eq(heap.asked, settled);
    ck_assert_int_eq(heap.live, live);
}

/* ---- what is not finite ---- */

TEST(a_lane_that_is_no_longer_finite_spoils_no_later_window)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 5 });
    wf_rnn *rnn = wf_gru_new(net, "rnn", &(wf_rnn_options){ .input = 1, .hidden = 2 });
    OWN(wf_carry) *carry = wf_carry_new_truncated(rnn, 2, 2, 5);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    for (int window = 0; window < 9; window++) {
        float x[10] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
        int64_t steps = wf_carry_overlap(t, carry) + 2;
        if (window == 4) x[2 * steps - 4] = NAN; /* the first new step of lane 0 */
        wf_tape_reset(t);
        wf_var *in = wf_constant(t, WF_F32, WF_SHAPE(steps, 2, 1), x);
        wf_var *y = wf_rnn_forward(t, rnn, in, &(wf_rnn_call){ .carry = carry });
        ck_assert_ptr_nonnull(y);
        for (int64_t i = 0; i < wf_count(y); i++)
            ck_assert(isfinite(wf_at(y, i)) || (window == 4 && i / 2 % 2 == 0));
    }
    ck_assert_int_eq(log_kept.times, 1);
}
