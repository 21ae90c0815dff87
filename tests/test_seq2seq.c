/* Attention of recurrent decoders, decoding, and sequence to sequence: formulas spelled out,
 * derivatives, what is hidden, PyTorch's training, and the loop against its steps. */
#include "tests/parity.h"

#include <string.h>

enum { B = 3, S = 5, T = 4, Q = 4, M = 4, U = 3, V = 7 };

static const int32_t lengths[B] = { 3, 5, 0 };

static wf_module *tree(void)
{
    return wf_module_new("net", &(wf_module_options){ .seed = 5, .dtype = WF_F64 });
}

static wf_var *lengths_on(wf_tape *t)
{
    return wf_constant(t, WF_I32, WF_SHAPE(B), lengths);
}

/* Ids from 1 to most - 1 by a name, behind each end 0. */
static wf_var *words(wf_tape *t, const char *name, int64_t time, int64_t most, const int32_t *ends)
{
    wf_tensor to;
    wf_var *ids = wf_constant_fill(t, WF_I32, WF_SHAPE(time, B), &to);
    for (int64_t i = 0; i < time * B; i++)
        ((int32_t *)to.data)[i] = ends && i / B >= ends[i % B]
                                      ? 0
                                      : 1 + (int32_t)((formula(name, i) + 0.5) *
                                                      (double)(most - 1));
    return ids;
}

/* ---- attention ---- */

enum { KINDS = WF_ATTENTION_LOCATION + 1 };

static wf_attention *attention_of(wf_module *net, int kind)
{
    wf_error e = { "" };
    wf_attention *a = wf_attention_new(net, "a",
                                       &(wf_attention_options){ .kind = (wf_attention_kind)kind,
                                                                .query = Q,
                                                                .memory = M,
                                                                .units = U,
                                                                .filters = 2,
                                                                .reach = 3 });
    ck_assert_msg(wf_module_ok(net, &e), "%s", e.text);
    fill_params(net);
    return a;
}

static double parameter(const wf_var *p, int64_t row, int64_t column)
{
    return wf_at(p, row * wf_dim(p, -1) + column);
}

/* The score of place s for the query of row b, number by number. before: (B, S), or NULL. */
static double score_by_hand(const wf_attention *a, const wf_var *query, const wf_var *memory,
                            const wf_var *before, int b, int s)
{
    const wf_attention_kind kind = a->options.kind;
    double q[Q], m[M], sum = 0;
    for (int i = 0; i < Q; i++) q[i] = wf_at(query, b * Q + i);
    for (int i = 0; i < M; i++) m[i] = wf_at(memory, (s * B + b) * M + i);
    if (kind == WF_ATTENTION_DOT || kind == WF_ATTENTION_SCALED_DOT) {
        for (int i = 0; i < Q; i++) sum += q[i] * m[i];
        return kind == WF_ATTENTION_DOT ? sum : sum / sqrt(M);
    }
    if (kind == WF_ATTENTION_GENERAL) {
        for (int i = 0; i < Q; i++)
            for (int k = 0; k < M; k++) sum += q[i] * parameter(a->key_weight, i, k) * m[k];
        return sum;
    }
    for (int u = 0; u < U; u++) {
        double x = a->query_bias ? wf_at(a->query_bias, u) : 0;
        for (int i = 0; i < Q; i++)
            x += q[i] * (a->weight ? parameter(a->weight, u, i) : parameter(a->query_weight, u, i));
        for (int i = 0; i < M; i++)
            x += m[i] *
                 (a->weight ? parameter(a->weight, u, Q + i) : parameter(a->key_weight, u, i));
        for (int f = 0; kind == WF_ATTENTION_LOCATION && f < 2; f++)
            for (int k = 0; k < 3; k++) {
                const int at = s + k - 1;
                if (at < 0 || at >= S) continue;
                x += parameter(a->location_weight, u, f) * parameter(a->location_filter, f, k) *
                     wf_at(before, b * S + at);
            }
        sum += wf_at(a->score, u) * tanh(x);
    }
    return sum;
}

TEST_EACH(attention_of_each_kind_is_what_its_formula_says, KINDS)
{
    OWN(wf_module) *net = tree();
    const wf_attention *a = attention_of(net, _i);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *memory = leaf(t, WF_F64, WF_SHAPE(S, B, M), "memory");
    wf_var *query = leaf(t, WF_F64, WF_SHAPE(B, Q), "query"), *read[WF_ATTENTION_MEMORY];
    ck_assert(wf_attention_read(t, a, memory, lengths_on(t), NULL, read));
    wf_var *before = leaf(t, WF_F64, WF_SHAPE(B, S), "before"), *weights = before;
    wf_var *mean = wf_attention_forward(t, a, query, read, &weights);
    ck_assert_msg(mean != NULL, "%s", wf_tape_error(t));
    wf_var *scores = _i == WF_ATTENTION_LOCATION ? NULL : wf_attention_scores(t, a, query, read);
    for (int b = 0; b < B; b++) {
        double score[S], total = 0;
        for (int s = 0; s < lengths[b]; s++)
            total += exp(score[s] = score_by_hand(a, query, memory, before, b, s));
        for (int s = 0; s < S; s++) {
            const double want = s < lengths[b] ? exp(score[s]) / total : 0;
            ck_assert_double_eq_tol(wf_at(weights, b * S + s), want, 1e-14);
            if (!scores) continue;
            if (s < lengths[b])
                ck_assert_double_eq_tol(wf_at(scores, b * S + s), score[s], 1e-14);
            else
                ck_assert(wf_at(scores, b * S + s) == -(double)INFINITY);
        }
        for (int i = 0; i < M; i++) {
            double want = 0;
            for (int s = 0; s < lengths[b]; s++)
                want += wf_at(weights, b * S + s) * wf_at(memory, (s * B + b) * M + i);
            ck_assert_double_eq_tol(wf_at(mean, b * M + i), want, 1e-14);
        }
    }
}

/* Two looks, the second by what the first has seen: so a location-aware one has a past. */
static bool two_looks(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    wf_var *read[WF_ATTENTION_MEMORY], *weights = NULL;
    *n_out = 1;
    if (!wf_attention_read(t, context, in[0], lengths_on(t), NULL, read)) return false;
    wf_var *seen = wf_attention_forward(t, context, in[1], read, &weights);
    out[0] = wf_attention_forward(t, context, wf_add(t, seen, in[1]), read, &weights);
    return out[0] != NULL;
}

TEST_EACH(derivatives_of_attention_are_those_of_differences, KINDS)
{
    OWN(wf_module) *net = tree();
    wf_attention *a = attention_of(net, _i);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const wf_tensor in[2] = { *wf_value(drawn(t, WF_F64, WF_SHAPE(S, B, M), 1, -2, 2)),
                              *wf_value(drawn(t, WF_F64, WF_SHAPE(B, Q), 2, -2, 2)) };
    assert_proved(wf_gradcheck(two_looks, a, 2, in, &(wf_check_options){ .module = net }));
}

/* Values, and gradients of memory, query and parameters, one after another. */
static int64_t all_of(wf_tape *t, wf_module *net, int n, wf_var *const in[], wf_var *y, double *to)
{
    wf_var *wrt[64], *grad[64];
    wf_var *cotangent = leaf(t, WF_F64, wf_shape_of(y), "cotangent");
    int64_t at = 0;
    for (int i = 0; i < n; i++) wrt[i] = in[i];
    for (int64_t k = 0; k < wf_module_param_count(net); k++) wrt[n++] = wf_module_param_at(net, k);
    ck_assert_msg(wf_grad(t, 1, &y, &cotangent, n, wrt, grad, NULL), "%s", wf_tape_error(t));
    for (int i = -1; i < n; i++) {
        wf_var *x = i < 0 ? y : grad[i];
        ck_assert(wf_copy_out(x, to + at, wf_count(x)));
        at += wf_count(x);
    }
    return at;
}

TEST_EACH(what_attention_does_not_see_may_be_anything, KINDS * 2)
{
    const bool by_mask = _i / KINDS;
    OWN(wf_module) *net = tree();
    wf_attention *a = attention_of(net, _i % KINDS);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double got[2][400], x[S * B * M];
    int64_t n[2];
    for (int odd = 0; odd < 2; odd++) {
        for (int i = 0; i < S * B * M; i++) {
            const bool hidden = i / M / B >= lengths[i / M % B];
            x[i] = !hidden ? formula("memory", i)
                   : !odd  ? 0
                   : i % 2 ? (double)NAN
                           : (double)INFINITY;
        }
        wf_var *in[2] = { wf_leaf(t, WF_F64, WF_SHAPE(S, B, M), x),
                          leaf(t, WF_F64, WF_SHAPE(B, Q), "query") };
        wf_var *read[WF_ATTENTION_MEMORY], *weights = NULL;
        wf_var *ends = lengths_on(t), *mask = wf_length_mask(t, ends, S);
        ck_assert(
            wf_attention_read(t, a, in[0], by_mask ? NULL : ends, by_mask ? mask : NULL, read));
        wf_var *y = wf_attention_forward(t, a, in[1], read, &weights);
        y = wf_add(t, y, wf_attention_forward(t, a, y, read, &weights));
        n[odd] = all_of(t, net, 2, in, y, got[odd]);
        for (int i = 0; i < S * B * M; i++)
            if (i / M / B >= lengths[i / M % B]) ck_assert_double_eq(got[odd][B * M + i], 0);
    }
    ck_assert_int_eq(n[0], n[1]);
    ck_assert_mem_eq(got[0], got[1], (size_t)n[0] * sizeof(double));
    for (int64_t i = 0; i < n[1]; i++) ck_assert(isfinite(got[1][i]));
}

TEST_EACH(several_queries_at_once_are_as_one_after_another, KINDS - 1)
{
    OWN(wf_module) *net = tree();
    const wf_attention *a = attention_of(net, _i);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *memory = leaf(t, WF_F64, WF_SHAPE(S, B, M), "memory"), *read[WF_ATTENTION_MEMORY];
    wf_var *query = leaf(t, WF_F64, WF_SHAPE(B, T, Q), "query"), *all = NULL, *one = NULL;
    ck_assert(wf_attention_read(t, a, memory, lengths_on(t), NULL, read));
    wf_var *y = wf_attention_forward(t, a, query, read, &all);
    for (int k = 0; k < T; k++) {
        wf_var *alone = wf_attention_forward(t, a, wf_select(t, query, 1, k), read, &one);
        for (int i = 0; i < B * M; i++)
            ck_assert_double_eq_tol(wf_at(alone, i), wf_at(y, (i / M * T + k) * M + i % M), 1e-14);
        for (int i = 0; i < B * S; i++)
            ck_assert_double_eq_tol(wf_at(one, i), wf_at(all, (i / S * T + k) * S + i % S), 1e-14);
    }
}

/* ---- words that are copied ---- */

static bool mixture(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    (void)context;
    *n_out = 1;
    wf_var *ids = wf_constant(t, WF_I32, WF_SHAPE(2, 3), (int32_t[]){ 1, 5, 1, 0, 6, 4 });
    wf_var *weights = wf_softmax(t, in[1], -1);
    out[0] = wf_copy_mixture(t, in[0], weights, ids, in[2], 7);
    return out[0] != NULL;
}

TEST(a_word_is_written_or_copied)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *in[3] = { leaf(t, WF_F64, WF_SHAPE(4, 2, 5), "logits"),
                      leaf(t, WF_F64, WF_SHAPE(4, 2, 3), "scores"),
                      leaf(t, WF_F64, WF_SHAPE(4, 2, 1), "gate") },
           *out[8];
    static const int ids[2][3] = { { 1, 5, 1 }, { 0, 6, 4 } };
    int n;
    ck_assert_msg(mixture(t, NULL, in, out, &n), "%s", wf_tape_error(t));
    for (int r = 0; r < 8; r++) {
        const double write = 1 / (1 + exp(-wf_at(in[2], r)));
        double of[7] = { 0 }, sum[2] = { 0, 0 };
        for (int i = 0; i < 5; i++) sum[0] += exp(wf_at(in[0], r * 5 + i));
        for (int i = 0; i < 3; i++) sum[1] += exp(wf_at(in[1], r * 3 + i));
        for (int i = 0; i < 5; i++) of[i] += write * exp(wf_at(in[0], r * 5 + i)) / sum[0];
        for (int i = 0; i < 3; i++)
            of[ids[r % 2][i]] += (1 - write) * exp(wf_at(in[1], r * 3 + i)) / sum[1];
        for (int i = 0; i < 7; i++)
            ck_assert_double_eq_tol(wf_at(out[0], r * 7 + i), log(fmax(of[i], 1e-30)), 1e-13);
    }
    const wf_tensor form[3] = { *wf_value(in[0]), *wf_value(in[1]), *wf_value(in[2]) };
    assert_proved(wf_gradcheck(mixture, NULL, 3, form, NULL));
}

/* ---- models ---- */

enum { MODELS = 12 };

/* A model of each kind of everything. */
static wf_seq2seq *model_of(wf_module *net, int which, double dropout)
{
    wf_error e = { "" };
    wf_seq2seq_options o = { .source = 11, .target = V, .embedding = 4, .hidden = 4 };
    o.dropout = dropout;
    switch (which) {
    case 0: o.bidirectional = true; break;
    case 1: o.cell = wf_lstm_row(), o.layers = 2, o.tied = true; break;
    case 2: o.attend_after = true, o.bidirectional = true; break;
    case 3: o.attend_after = o.no_feeding = true, o.attention.kind = WF_ATTENTION_DOT; break;
    case 4: o.attention.kind = WF_ATTENTION_LOCATION, o.attention.reach = 3; break;
    case 5: o.attention.kind = WF_ATTENTION_LOCATION, o.attend_after = true; break;
    case 6: o.no_attention = true, o.bridge = WF_BRIDGE_COPY, o.layers = 2; break;
    case 7: o.no_attention = o.fixed_context = true, o.bidirectional = true; break;
    case 8: o.bridge = WF_BRIDGE_MEAN, o.attention.kind = WF_ATTENTION_GENERAL; break;
    case 9: o.bridge = WF_BRIDGE_ZERO, o.attention.kind = WF_ATTENTION_CONCAT; break;
    case 10: o.source = V, o.shared = o.tied = true, o.attend_after = true; break;
    default:
        o.cell = wf_elman_row(), o.encoder_hidden = 3, o.bidirectional = true, o.readout = 5;
        o.bridge = WF_BRIDGE_MEAN, o.attend_after = true;
    }
    wf_seq2seq *s = wf_seq2seq_new(net, "s", &o);
    ck_assert_msg(wf_module_ok(net, &e), "model %d: %s", which, e.text);
    return s;
}

static wf_var *loss_on(wf_tape *t, const wf_seq2seq *s, const wf_decode_call *call)
{
    const wf_cross_entropy_options options = { .has_ignore = true };
    wf_decode_call c = *call;
    const int32_t ends[B] = { 2, 4, 3 };
    c.words = words(t, "before", T, V, NULL);
    return wf_seq2seq_loss(t, s, words(t, "source", S, s->options.source, NULL), lengths_on(t), &c,
                           words(t, "after", T, V, ends), &options);
}

static bool loss_of_model(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    (void)in;
    *n_out = 1;
    return (out[0] = loss_on(t, context, &(wf_decode_call){ .sampling = 0 })) != NULL;
}

TEST_EACH(derivatives_of_every_model_are_those_of_differences, MODELS)
{
    OWN(wf_module) *net = tree();
    wf_seq2seq *s = model_of(net, _i, 0);
    fill_params(net);
    assert_proved(wf_gradcheck(loss_of_model, s, 0, NULL, &(wf_check_options){ .module = net }));
}

TEST_EACH(what_lies_behind_a_sources_end_is_never_read, MODELS)
{
    OWN(wf_module) *net = tree();
    const wf_seq2seq *s = model_of(net, _i, 0);
    fill_params(net);
    double got[2][6000];
    int64_t n[2];
    for (int odd = 0; odd < 2; odd++) {
        OWN(wf_tape) *t = wf_tape_new(NULL);
        wf_tensor to;
        wf_var *source = wf_constant_fill(t, WF_I32, WF_SHAPE(S, B), &to);
        for (int i = 0; i < S * B; i++)
            ((int32_t *)to.data)[i] = i / B < lengths[i % B] ? 1 + i % 5 : odd ? 1 + i % 4 : 0;
        const wf_decode_call call = { .words = words(t, "before", T, V, NULL) };
        wf_var *y = wf_seq2seq_loss(t, s, source, lengths_on(t), &call,
                                    words(t, "after", T, V, NULL), NULL);
        n[odd] = all_of(t, net, 0, NULL, y, got[odd]);
    }
    ck_assert_int_eq(n[0], n[1]);
    ck_assert_mem_eq(got[0], got[1], (size_t)n[0] * sizeof(double));
    for (int64_t i = 0; i < n[1]; i++) ck_assert(isfinite(got[1][i]));
}

TEST(the_same_bits_for_any_number_of_threads)
{
    enum { ROWS = 40, TIME = 9 };
    double hash[3] = { 0 };
    for (int k = 0; k < 3; k++) {
        OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 2 });
        wf_seq2seq *s = wf_seq2seq_new(net, "s",
                                       &(wf_seq2seq_options){ .source = 30,
                                                              .target = 40,
                                                              .embedding = 32,
                                                              .hidden = 64,
                                                              .bidirectional = true,
                                                              .tied = true,
                                                              .dropout = 0.3 });
        ck_assert(wf_module_ok(net, NULL));
        OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .seed = 3, .threads = k + 1 });
        wf_tensor to[2];
        wf_var *source = wf_constant_fill(t, WF_I32, WF_SHAPE(TIME, ROWS), &to[0]);
        wf_var *before = wf_constant_fill(t, WF_I32, WF_SHAPE(TIME, ROWS), &to[1]);
        for (int i = 0; i < TIME * ROWS; i++)
            for (int j = 0; j < 2; j++) ((int32_t *)to[j].data)[i] = (i * 7 + j) % 30;
        const wf_decode_call call = { .words = before, .sampling = 0.5, .draw = true };
        ck_assert_msg(wf_backward(t, wf_seq2seq_loss(t, s, source, NULL, &call, before, NULL)),
                      "%s", wf_tape_error(t));
        for (int64_t i = 0; i < wf_module_param_count(net); i++) {
            const wf_tensor *g = wf_param_grad(wf_module_param_at(net, i));
            for (int64_t j = 0; j < wf_tensor_count(g); j++)
                hash[k] += wf_tensor_at(g, j) * (double)(1 + j % 13);
        }
    }
    ck_assert(hash[0] == hash[1] && hash[1] == hash[2] && hash[0] != 0);
}

/* ---- the loop ---- */

/* A decoder of one's own whose choice is the word after the one it was told, and whose features
 * tell which that was. */
static void echo_step(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    wf_var *one = wf_one_hot(t, rows->word, V);
    rows->features = wf_add(t, wf_cast(t, one, WF_F64), wf_mul_scalar(t, rows->state[0], 0));
    if (self) rows->weights = rows->memory[0];
}

static wf_var *echo_output(wf_tape *t, const void *self, wf_var *features)
{
    (void)self;
    wf_var *last = wf_slice(t, features, -1, V - 1, V, 1);
    wf_var *others = wf_slice(t, features, -1, 0, V - 1, 1);
    return wf_mul_scalar(t, wf_concat(t, -1, WF_VARS(last, others)), 50);
}

static const wf_decoder echo = { .step = echo_step, .output = echo_output };

/* The word that a step was told. */
static int told(const wf_var *features, int64_t step, int64_t row)
{
    for (int v = 0; v < V; v++)
        if (wf_at(features, (step * wf_dim(features, 1) + row) * V + v) == 1) return v;
    return -1;
}

static wf_var *echoed(wf_tape *t, const wf_decode_call *call, int64_t time, int64_t rows)
{
    wf_decoder d = echo;
    wf_decode_call c = *call;
    wf_var *state = wf_zeros(t, WF_F64, WF_SHAPE(rows, 1));
    d.initial = WF_VARS(state);
    c.words = wf_full(t, WF_I32, WF_SHAPE(time, rows), 2);
    wf_var *y = wf_decode(t, &d, &c);
    ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
    return y;
}

TEST(a_decoder_is_told_the_truth_or_its_own_choice)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *truth = echoed(t, &(wf_decode_call){ .sampling = 0 }, T, B);
    wf_var *own = echoed(t, &(wf_decode_call){ .sampling = 1 }, T, B);
    wf_var *drawn_own = echoed(t, &(wf_decode_call){ .sampling = 1, .draw = true }, T, B);
    for (int k = 0; k < T; k++)
        for (int b = 0; b < B; b++) {
            ck_assert_int_eq(told(truth, k, b), 2);
            ck_assert_int_eq(told(own, k, b), (2 + k) % V);
            ck_assert_int_eq(told(drawn_own, k, b), (2 + k) % V); /* e^-50 is never drawn */
        }
}

TEST_EACH(coins_are_thrown_for_steps_sequences_or_both, 3)
{
    enum { TIME = 60, ROWS = 50 };
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .seed = 4 });
    const wf_decode_call call = { .sampling = 0.3, .coin = (wf_coin)_i };
    wf_var *y = echoed(t, &call, TIME, ROWS);
    int heads = 0, in_step[TIME] = { 0 }, in_row[ROWS] = { 0 };
    for (int k = 1; k < TIME; k++)
        for (int b = 0; b < ROWS; b++) {
            /* What was chosen follows the word before, which may be a 1: then it looks like truth,
             * and is the truth's equal. */
            const bool own = told(y, k, b) != 2 || told(y, k - 1, b) == 1;
            heads += own;
            in_step[k] += own;
            in_row[b] += own;
        }
    int whole_steps = 0, whole_rows = 0;
    for (int k = 1; k < TIME; k++) whole_steps += in_step[k] == 0 || in_step[k] == ROWS;
    for (int b = 0; b < ROWS; b++) whole_rows += in_row[b] == 0 || in_row[b] == TIME - 1;
    ck_assert_int_eq(whole_steps == TIME - 1, _i == WF_COIN_STEP);
    ck_assert_int_eq(whole_rows == ROWS, _i == WF_COIN_SEQUENCE);
    /* Five standard deviations of as many coins as were thrown. */
    const double n = _i == WF_COIN_EACH ? (TIME - 1) * ROWS : _i == WF_COIN_STEP ? TIME - 1 : ROWS;
    ck_assert_double_eq_tol((double)heads / ((TIME - 1) * ROWS), 0.3, 5 * sqrt(0.21 / n));
}

TEST_EACH(the_loop_is_its_steps_and_generates_what_it_decodes, MODELS)
{
    OWN(wf_module) *net = tree();
    const wf_seq2seq *s = model_of(net, _i, 0);
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    wf_decoder d;
    wf_var *source = words(t, "source", S, s->options.source, NULL);
    ck_assert(wf_seq2seq_decoder(t, s, source, lengths_on(t), &d));
    wf_tensor to;
    wf_var *begin = wf_constant_fill(t, WF_I32, WF_SHAPE(T, B), &to);
    for (int i = 0; i < T * B; i++) ((int32_t *)to.data)[i] = 1;
    wf_var *weights = NULL, *final[WF_DECODER_VARS], *state[WF_DECODER_VARS];
    const wf_decode_call call = {
        .words = begin, .sampling = 1, .weights = s->attention ? &weights : NULL, .final = final
    };
    wf_var *y = wf_decode(t, &d, &call);
    ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
    wf_var *logits = wf_seq2seq_logits(t, s, y), *word = wf_select(t, begin, 0, 0);
    wf_generated g = { 0 };
    const wf_generate_options o = {
        .begin = 1, .end = -1, .max_length = T, .weights = s->attention != NULL
    };
    ck_assert_msg(wf_generate(t, &d, &o, &g), "%s", wf_tape_error(t));
    for (int i = 0; i < d.initial.n; i++) state[i] = d.initial.at[i];
    for (int k = 0; k < T; k++) {
        wf_decoder_rows rows = { .word = word, .memory = d.memory.at, .state = state };
        d.step(t, d.self, &rows);
        wf_var *now = d.output(t, d.self, rows.features);
        word = wf_argmax(t, now, -1);
        for (int i = 0; i < B * V; i++)
            ck_assert_double_eq_tol(wf_at(logits, k * B * V + i), wf_at(now, i), 1e-12);
        for (int b = 0; b < B; b++) ck_assert_int_eq(g.at[b].ids[k], (int)wf_at(word, b));
        for (int i = 0; weights && i < B * S; i++)
            ck_assert_double_eq_tol(wf_at(weights, k * B * S + i), wf_at(rows.weights, i), 1e-12);
        for (int b = 0; weights && b < B; b++)
            for (int i = 0; i < S; i++)
                ck_assert_double_eq_tol(wf_tensor_at(&g.at[b].weights, k * S + i),
                                        wf_at(rows.weights, b * S + i), 1e-12);
    }
    for (int i = 0; i < d.initial.n; i++)
        for (int64_t j = 0; j < wf_count(final[i]); j++)
            ck_assert_double_eq_tol(wf_at(final[i], j), wf_at(state[i], j), 1e-12);
    wf_generated_free(&g);
}

TEST(a_decoders_loop_is_planned_and_says_so)
{
    OWN(wf_module) *net = tree();
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const wf_seq2seq *s = wf_seq2seq_new(
        net, "s",
        &(wf_seq2seq_options){
            .source = 11, .target = V, .embedding = 16, .hidden = 16, .dropout = 0.2 });
    wf_decoder d;
    ck_assert(wf_seq2seq_decoder(t, s, words(t, "source", S, 11, NULL), lengths_on(t), &d));
    for (int sampled = 0; sampled < 2; sampled++) {
        const wf_decode_call call = { .words = words(t, "before", T, V, NULL),
                                      .sampling = sampled * 0.5 };
        const int64_t nodes = wf_tape_nodes(t);
        const char *text = wf_decode_explain(t, &d, &call);
        ck_assert_msg(text && strstr(text, "s: planned, 4 steps of 3 rows"), "%s",
                      text ? text : "NULL");
        ck_assert_msg(strstr(text, "additive_score, by its own kernel") != NULL, "%s", text);
        ck_assert_msg(!strstr(text, "one thread"), "%s", text);
        ck_assert_int_eq(wf_tape_nodes(t), nodes);
    }
}

TEST(schedules_go_from_the_truth_to_ones_own)
{
    ck_assert_double_eq(wf_sampling_linear(0, 10, 0.2), 0);
    ck_assert_double_eq_tol(wf_sampling_linear(5, 10, 0.2), 0.5, 1e-15);
    ck_assert_double_eq_tol(wf_sampling_linear(100, 10, 0.2), 0.8, 1e-15);
    ck_assert_double_eq(wf_sampling_exponential(0, 0.9), 0);
    ck_assert_double_eq_tol(wf_sampling_exponential(2, 0.9), 0.19, 1e-15);
    ck_assert_double_eq_tol(wf_sampling_inverse_sigmoid(0, 9), 0.1, 1e-15);
    ck_assert_double_eq_tol(wf_sampling_inverse_sigmoid(1000000, 9), 1, 1e-15);
    ck_assert_double_eq(wf_sampling_linear(-1, 10, 0) + wf_sampling_linear(5, 0, 0) +
                            wf_sampling_linear(5, 10, NAN) + wf_sampling_exponential(5, 1) +
                            wf_sampling_inverse_sigmoid(5, 0.5) + wf_sampling_exponential(5, NAN),
                        0);
}

/* ---- what is wrong ---- */

#define SAYS(expected, call)                                                                       \
    do {                                                                                           \
        wf_tape_reset(t);                                                                          \
        ck_assert(!(call));                                                                        \
        ck_assert_str_eq(wf_tape_error(t), expected);                                              \
    } while (0)

TEST(what_a_decoder_or_a_model_cannot_take_is_one_sentence)
{
    OWN(wf_module) *net = tree();
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const wf_seq2seq *s = model_of(net, 0, 0);
    const wf_decode_call none = { .sampling = 0 };
    wf_decoder d = echo;
    wf_var *memory[WF_ATTENTION_MEMORY];
    SAYS("decoder: it has no step (NULL)", wf_decode(t, &(wf_decoder){ .name = NULL }, &none));
    SAYS("decoder: it is given nothing to decode (NULL)", wf_decode(t, &echo, NULL));
    SAYS("decoder: words were never made", wf_decode(t, &echo, &none));
    SAYS("decoder: words are f64 (2, 3); expected i32 (time, batch)",
         wf_decode(t, &echo, &(wf_decode_call){ .words = wf_zeros(t, WF_F64, WF_SHAPE(2, 3)) }));
    SAYS("decoder: .sampling is 2; it must be 0 to 1",
         wf_decode(t, &echo, &(wf_decode_call){ .sampling = 2 }));
    SAYS("decoder: .coin is 3; there are 0 to 2",
         wf_decode(t, &echo, &(wf_decode_call){ .coin = (wf_coin)3 }));
    wf_tape_reset(t);
    wf_var *wrong = wf_zeros(t, WF_F64, WF_SHAPE(4, 1));
    const wf_decode_call call = { .words = wf_zeros(t, WF_I32, WF_SHAPE(2, 3)) };
    d.initial = WF_VARS(wrong);
    ck_assert(!wf_decode(t, &d, &call));
    ck_assert_str_eq(wf_tape_error(t),
                     "decoder: state 0 is (4, 1); expected a row for each of 3 sequences");
    SAYS("seq2seq 's': the source is f64 (2, 3); expected i32 (time, batch)",
         wf_seq2seq_decoder(t, s, wf_zeros(t, WF_F64, WF_SHAPE(2, 3)), NULL, &d));
    SAYS("seq2seq 's': lengths[1] is 9; it must be from 0 to 2",
         wf_seq2seq_decoder(t, s, wf_zeros(t, WF_I32, WF_SHAPE(2, 2)),
                            wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 1, 9 }), &d));
    SAYS("seq2seq 's': there is no place for the decoder (NULL)",
         wf_seq2seq_decoder(t, s, wf_zeros(t, WF_I32, WF_SHAPE(2, 2)), NULL, NULL));
    SAYS("attention 's.attention': the memory is (5, 3); expected (time, batch, 8)",
         wf_attention_read(t, s->attention, wf_zeros(t, WF_F64, WF_SHAPE(5, 3)), NULL, NULL,
                           memory));
    SAYS("attention 's.attention': the mask is f64; it must be i32",
         wf_attention_read(t, s->attention, wf_zeros(t, WF_F64, WF_SHAPE(5, 3, 8)), NULL,
                           wf_zeros(t, WF_F64, WF_SHAPE(5, 3)), memory));
    SAYS("attention 's.attention': the values are missing",
         wf_attention_forward(t, s->attention, wf_zeros(t, WF_F64, WF_SHAPE(3, 4)), NULL, NULL));
}

/* What a tree says of a model that cannot be. */
static const char *refused(const wf_seq2seq_options *o)
{
    static wf_error e;
    OWN(wf_module) *net = tree();
    ck_assert(!wf_seq2seq_new(net, "s", o) && !wf_module_ok(net, &e));
    return e.text;
}

#define REFUSES(expected, ...)                                                                     \
    ck_assert_str_eq(refused(&(wf_seq2seq_options){                                                \
                         .source = 9, .target = 8, .embedding = 4, .hidden = 6, __VA_ARGS__ }),    \
                     expected)

TEST(options_of_a_model_that_make_no_sense_are_refused_by_name)
{
    ck_assert_str_eq(refused(NULL), "seq2seq 's': .source is 0; it must be 1 or more");
    REFUSES("seq2seq 's': .readout is 5 and .embedding 4; tied, they are one", .tied = true,
            .readout = 5);
    REFUSES("seq2seq 's': .source is 9 and .target 8; a shared vocabulary has one size",
            .shared = true);
    REFUSES("seq2seq 's': .fixed_context stands for attention; it goes with .no_attention",
            .fixed_context = true);
    REFUSES("seq2seq 's': the encoder's states are 12 wide and the decoder's 6; a bridge that "
            "copies takes equal ones",
            .bridge = WF_BRIDGE_COPY, .bidirectional = true);
    REFUSES("seq2seq 's': .bridge is 7; there are 0 to 3", .bridge = (wf_bridge)7);
    REFUSES("seq2seq 's': .dropout is 1; it must be 0 or more and below 1", .dropout = 1);
    REFUSES("seq2seq 's': 15 layers of 1 states are too many; at most 14 states in all",
            .layers = 15);
    REFUSES("attention 'attention': .query is 6 and .memory 12; a dot product takes equal ones",
            .bidirectional = true, .attention = { .kind = WF_ATTENTION_DOT });
    REFUSES("attention 'attention': .reach is 4; it must be odd",
            .attention = { .kind = WF_ATTENTION_LOCATION, .reach = 4 });
    REFUSES("attention 'attention': .kind is 9; there are 0 to 5",
            .attention = { .kind = (wf_attention_kind)9 });
}

/* ---- PyTorch's training ---- */

TEST_EACH(fifty_steps_with_attention_lose_what_they_lose_in_pytorch, 2)
{
    enum { STEPS = 50 };
    static const int32_t sources[B] = { 3, 5, 1 }, targets[B] = { 4, 2, 3 };
    const bool after = _i == 1;
    const char *label = after ? "after" : "first";
    OWN(wf_archive) *file = open_fixture("seq2seq");
    OWN(wf_module) *net = tree();
    wf_error e = { "" };
    const wf_seq2seq *s = wf_seq2seq_new(net, "s",
                                         &(wf_seq2seq_options){ .source = 11,
                                                                .target = 13,
                                                                .embedding = 4,
                                                                .hidden = 6,
                                                                .readout = 5,
                                                                .bidirectional = true,
                                                                .attend_after = after });
    ck_assert_msg(wf_module_ok(net, &e), "%s", e.text);
    fill_params(net);
    wf_adam_options o = wf_adam_defaults();
    o.lr = 1e-2;
    OWN(wf_optim) *adam = wf_adam_new(net, &o);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double lost[STEPS];
    for (int step = 0; step < STEPS; step++) {
        wf_tape_reset(t);
        const wf_decode_call call = { .words = words(t, worded("before %d", step % 3), T, 13,
                                                     targets) };
        const wf_cross_entropy_options options = { .has_ignore = true };
        wf_var *loss = wf_seq2seq_loss(
            t, s, words(t, worded("source %d", step % 3), S, 11, sources),
            wf_constant(t, WF_I32, WF_SHAPE(B), sources), &call,
            words(t, worded("after %d", step % 3), T, 13, targets), &options);
        ck_assert_msg(wf_backward(t, loss), "%s", wf_tape_error(t));
        ck_assert(wf_optim_step(adam));
        lost[step] = wf_item(loss);
    }
    const wf_tensor losses = wf_tensor_of(WF_F64, WF_SHAPE(STEPS), lost);
    reader r = reader_of(label, stored(file, worded("%s losses", label)), 1e-9);
    expect(&r, "losses", STEPS, &losses);
    expect_end(&r);
    r = reader_of(label, stored(file, worded("%s params", label)), 1e-9);
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        wf_var *p = wf_module_param_at(net, i);
        expect(&r, wf_param_path(p), wf_count(p), wf_param_value(p));
    }
    expect_end(&r);
}
