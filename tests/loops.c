/* The loops of tests/loops.h. */
#include "tests/loops.h"

#include "tests/kinds.h"

#include <string.h>

struct loop_counted loop_counted;

/* ---- an op that counts ---- */

static bool counted_shape(wf_shaping *s)
{
    s->out[0] = *s->in[0];
    return true;
}

static void counted_forward(const wf_call *c)
{
    loop_counted.forward++;
    loop_counted.rows += c->in[0]->dim[0];
    wf_tensor_copy(c->in[0], c->out[0]);
}

static void counted_backward(const wf_call *c)
{
    loop_counted.backward++;
    if (c->gout[0] && c->gin[0]) wf_tensor_add(c->gout[0], c->gin[0]);
}

static bool counted_reference(wf_tape *t, const wf_reference *r)
{
    return (r->out[0] = wf_copy(t, r->in[0])) != NULL;
}

static bool counted_sample(int k, wf_sample *s)
{
    s->label = "matrix";
    s->n_in = 1;
    s->in[0].dtype = WF_F64;
    s->in[0].shape = WF_SHAPE(3, 4);
    s->in[0].low = -2;
    s->in[0].high = 2;
    return k == 0;
}

static const wf_op counted = { .name = "counted",
                               .doc = "x, and how often",
                               .inputs = 1,
                               .outputs = 1,
                               .shape = counted_shape,
                               .forward = counted_forward,
                               .backward = counted_backward,
                               .reference = counted_reference,
                               .sample = counted_sample };

const wf_op *loop_counting_op(void)
{
    return &counted;
}

/* ---- the cells and the step ---- */

/* The LSTM as a user writes it. */
static void own_lstm_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const wf_lstm_cell *p = self;
    wf_var *g[4], *in = wf_affine(t, x, p->weight_ih, p->bias_ih);
    wf_var *back = wf_affine(t, state[0], p->weight_hh, p->bias_hh);
    if (!wf_split(t, wf_add(t, in, back), -1, 4, g)) return;
    wf_var *kept = wf_mul(t, wf_sigmoid(t, g[1]), state[1]);
    state[1] = wf_add(t, kept, wf_mul(t, wf_sigmoid(t, g[0]), wf_tanh(t, g[2])));
    state[0] = wf_mul(t, wf_sigmoid(t, g[3]), wf_tanh(t, state[1]));
}

static const wf_cell own_lstm = {
    .name = "own lstm",
    .size = sizeof(wf_lstm_cell),
    .step = own_lstm_step,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN), WF_STATE("c", WF_HIDDEN)),
    .params = WF_PARAMS(WF_PARAM(wf_lstm_cell, weight_ih, 4 * WF_HIDDEN, WF_INPUT),
                        WF_PARAM(wf_lstm_cell, weight_hh, 4 * WF_HIDDEN, WF_HIDDEN),
                        WF_PARAM(wf_lstm_cell, bias_ih, 4 * WF_HIDDEN),
                        WF_PARAM(wf_lstm_cell, bias_hh, 4 * WF_HIDDEN)),
};

/* x: numbers (n, I) and ids (n); state: h (n, H) and where it was largest (n), i32; y: h, and the
 * sum over it (n). */
static void reader(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    const loop *l = context;
    wf_var *in = wf_add(t, x[0], wf_gather_rows(t, l->table, x[1]));
    wf_var *back = wf_affine(t, state[0], l->weight_hh, NULL);
    wf_var *h = wf_tanh(t, wf_add(t, wf_affine(t, in, l->weight_ih, l->bias), back));
    state[0] = wf_apply_one(t, &counted, 1, &h, NULL);
    state[1] = wf_argmax(t, state[0], -1);
    y[0] = state[0];
    y[1] = wf_sum(t, state[0], WF_AXES(-1));
}

/* ---- what the suites see ---- */

static const char *const names[] = { "lstm", "gru", "own lstm", "mgu", "scan" };
enum { WORDS = 7 };

const char *loop_name(int which)
{
    return names[which];
}

static void make_params(loop *l, loop_size s)
{
    const wf_cell *const cell[] = { wf_lstm_row(), wf_gru_row(), &own_lstm, &mgu_cell };
    const wf_init some = { WF_INIT_UNIFORM, -0.3, 0.3, 0 };
    if (l->kind != LOOP_SCAN) {
        l->rnn = wf_rnn_new(l->net, "rnn", cell[l->kind],
                            &(wf_rnn_options){ .input = s.input, .hidden = s.hidden });
        return;
    }
    l->table = wf_param_new(l->net, "table", WF_SHAPE(WORDS, s.input), some);
    l->weight_ih = wf_param_new(l->net, "weight_ih", WF_SHAPE(s.hidden, s.input), some);
    l->weight_hh = wf_param_new(l->net, "weight_hh", WF_SHAPE(s.hidden, s.hidden), some);
    l->bias = wf_param_new(l->net, "bias", WF_SHAPE(s.hidden), some);
}

bool loop_make(loop *l, int which, loop_size most, wf_error *e)
{
    const int64_t rows = most.time * most.batch, n = rows * most.input;
    *l = (loop){ .kind = which, .most = most };
    l->net = wf_module_new("loop", &(wf_module_options){ .seed = 7 });
    make_params(l, most);
    l->x = wf_alloc((size_t)n * sizeof *l->x);
    l->ids = wf_alloc((size_t)rows * sizeof *l->ids);
    bool ok = wf_module_ok(l->net, e) && l->x && l->ids;
    for (int64_t i = 0; ok && i < n; i++) l->x[i] = (float)wf_random_normal(1, (uint64_t)i);
    for (int64_t i = 0; ok && i < rows; i++)
        l->ids[i] = (int32_t)wf_random_below(2, (uint64_t)i, WORDS);
    if (!ok) loop_free(l);
    return ok;
}

void loop_free(loop *l)
{
    wf_module_free(l->net);
    wf_release(l->x);
    wf_release(l->ids);
    *l = (loop){ .kind = l->kind };
}

/* The outputs of the loop; how many, 0 after failing the tape. */
static int run(loop *l, wf_tape *t, loop_size s, wf_var *x, wf_var *lengths, wf_var *y[2])
{
    if (l->rnn) {
        y[0] = wf_rnn_forward(t, l->rnn, x, &(wf_rnn_call){ .lengths = lengths });
        return y[0] ? 1 : 0;
    }
    wf_var *ids = wf_constant(t, WF_I32, WF_SHAPE(s.time, s.batch), l->ids);
    wf_var *h = wf_zeros(t, WF_F32, WF_SHAPE(s.batch, s.hidden));
    const wf_scan_call call = { .step = reader,
                                .context = l,
                                .sequences = WF_VARS(x, ids),
                                .initial = WF_VARS(h, wf_zeros(t, WF_I32, WF_SHAPE(s.batch))),
                                .outputs = 2,
                                .lengths = lengths };
    return wf_scan(t, &call, y, NULL) ? 2 : 0;
}

bool loop_step(loop *l, wf_tape *t, loop_size s, const int32_t *lengths)
{
    wf_var *x, *y[2], *g[2], *ends = NULL;
    wf_tape_reset(t);
    wf_module_clear_grads(l->net);
    if (lengths) ends = wf_constant(t, WF_I32, WF_SHAPE(s.batch), lengths);
    x = wf_leaf(t, WF_F32, WF_SHAPE(s.time, s.batch, s.input), l->x);
    if (wf_tape_mode(t) != WF_INFER) wf_keep_grad(t, x);
    const int n = run(l, t, s, x, ends, y);
    l->y = n > 0 ? y[0] : NULL;
    if (n == 0 || wf_tape_mode(t) == WF_INFER) return n > 0;
    for (int j = 0; j < n; j++) g[j] = wf_full(t, WF_F32, wf_shape_of(y[j]), 0.5);
    return wf_backward_from(t, n, y, g);
}

void loop_lengths(uint64_t seed, loop_size s, int32_t *lengths)
{
    for (int64_t b = 0; b < s.batch; b++) {
        const int64_t place = (b + (int64_t)seed) % s.batch;
        lengths[b] = (int32_t)(s.batch > 1 ? place * s.time / (s.batch - 1) : s.time);
    }
}
