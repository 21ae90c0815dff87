/* Multi-head attention and positions: PyTorch's numbers, derivatives, what is hidden, the memory
 * and the growing sequence against the whole. */
#include "tests/parity.h"

#include <string.h>

enum { BATCH = 3, SOURCE = 5, TARGET = 4, WIDTH = 8, HEADS = 2 };

static const int32_t lengths[BATCH] = { 3, 5, 1 };

static wf_var *lengths_on(wf_tape *t)
{
    return wf_constant(t, WF_I32, WF_SHAPE(BATCH), lengths);
}

static wf_multihead *layer_of(wf_module *net, const char *name, wf_multihead_options o)
{
    wf_error e = { "" };
    o.width = WIDTH, o.heads = HEADS;
    wf_multihead *m = wf_multihead_new(net, name, &o);
    ck_assert_msg(wf_module_ok(net, &e), "%s", e.text);
    return m;
}

static wf_module *tree(void)
{
    return wf_module_new("net", &(wf_module_options){ .seed = 5, .dtype = WF_F64 });
}

/* ---- PyTorch's numbers ---- */

static const char *const kinds[] = { "self", "cross", "bare", "wide" };
static const char *const masks[] = { "none", "lengths", "mask", "heads", "causal", "all" };

/* make_transformer.py's visible(). */
static wf_var *visible(wf_tape *t, const char *name, wf_shape shape)
{
    wf_tensor to;
    wf_var *mask = wf_constant_fill(t, WF_I32, shape, &to);
    const int64_t last = shape.dim[shape.rank - 1];
    for (int64_t i = 0; i < wf_count(mask); i++) put(&to, i, i % last == 0 || formula(name, i) > 0);
    return mask;
}

/* Rows of what attends to itself that lie past their sequence's end are nobody's: zero, as the
 * fixture has them. x (T, B, ...). */
static wf_var *within(wf_tape *t, wf_var *x, bool ragged)
{
    if (!ragged) return x;
    wf_var *mask = wf_length_mask(t, lengths_on(t), wf_dim(x, 0));
    while (wf_rank(mask) < wf_rank(x)) mask = wf_unsqueeze(t, mask, -1);
    return wf_where(t, mask, x, wf_zeros(t, WF_F64, WF_SCALAR));
}

TEST_EACH(multihead_attention_gives_the_numbers_and_gradients_of_pytorch, 24)
{
    const char *kind = kinds[_i / 6], *mask = masks[_i % 6];
    const bool itself = _i / 6 == 0, wide = _i / 6 == 3, all = strcmp(mask, "all") == 0;
    const bool ragged = all || strcmp(mask, "lengths") == 0;
    if (!itself && strcmp(mask, "causal") == 0) return;
    wf_error e = { "" };
    OWN(wf_archive) *file = open_fixture("multihead");
    OWN(wf_module) *net = tree();
    wf_multihead *m = layer_of(net, kind,
                               (wf_multihead_options){ .no_bias = _i / 6 == 2,
                                                       .key_width = wide ? 6 : 0,
                                                       .value_width = wide ? 7 : 0 });
    ck_assert_msg(wf_module_load_archive_with(net, "multihead", file,
                                              &(wf_load_options){ .allow_unexpected = true }, NULL,
                                              &e),
                  "%s", e.text);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const int64_t time = itself ? SOURCE : TARGET;
    wf_var *in[3] = { leaf(t, WF_F64, WF_SHAPE(time, BATCH, WIDTH), "query") };
    if (!itself) {
        in[1] = leaf(t, WF_F64, WF_SHAPE(SOURCE, BATCH, m->key_width), "key");
        in[2] = leaf(t, WF_F64, WF_SHAPE(SOURCE, BATCH, m->value_width), "value");
    }
    wf_var *weights = NULL;
    wf_multihead_call call = { .causal = strcmp(mask, "causal") == 0,
                               .weights = &weights,
                               .heads_apart = true };
    if (ragged) call.lengths = lengths_on(t);
    if (all || strcmp(mask, "mask") == 0) call.mask = visible(t, "mask", WF_SHAPE(time, SOURCE));
    if (strcmp(mask, "heads") == 0)
        call.mask = visible(t, "heads", WF_SHAPE(BATCH, HEADS, time, SOURCE));
    wf_var *y = wf_multihead_forward(t, m, in[0], in[1], in[2], &call);
    y = within(t, y, itself && ragged);
    weights = wf_permute(t, weights, WF_AXES(2, 0, 1, 3)); /* (T, B, H, S) */
    weights = wf_permute(t, within(t, weights, itself && ragged), WF_AXES(1, 2, 0, 3));
    ck_assert_msg(wf_tape_ok(t), "%s %s: %s", kind, mask, wf_tape_error(t));

    const char *label = worded("%s %s", kind, mask);
    const struct {
        wf_var *found;
        const char *name;
    } shown[] = { { y, label }, { weights, worded("%s weights", label) } };
    for (int i = 0; i < 2; i++) {
        reader r = reader_of(shown[i].name, stored(file, shown[i].name), 1e-10);
        expect(&r, "result", wf_count(shown[i].found), wf_value(shown[i].found));
        expect_end(&r);
    }
    wf_var *cotangent = leaf(t, WF_F64, wf_shape_of(y), "cotangent"), *grad[16], *wrt[16];
    int n = 0;
    for (int k = 0; k < 3 && in[k]; k++) wrt[n++] = in[k];
    for (int64_t k = 0; k < wf_module_param_count(net); k++) wrt[n++] = wf_module_param_at(net, k);
    ck_assert_msg(wf_grad(t, 1, &y, &cotangent, n, wrt, grad, NULL), "%s", wf_tape_error(t));
    reader r = reader_of(label, stored(file, worded("%s grad", label)), 1e-10);
    for (int k = 0; k < n; k++)
        expect(&r, worded("gradient %d", k), wf_count(grad[k]), wf_value(grad[k]));
    expect_end(&r);
}

TEST(initial_values_of_multihead_attention_are_those_of_pytorch)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_multihead *m = wf_multihead_new(net, "one",
                                       &(wf_multihead_options){ .width = 64, .heads = 4 });
    ck_assert(wf_module_ok(net, NULL));
    double in = 0, out = 0;
    for (int64_t i = 0; i < wf_count(m->in_proj_weight); i++)
        in = fmax(in, fabs(wf_at(m->in_proj_weight, i)));
    for (int64_t i = 0; i < wf_count(m->out_proj->weight); i++)
        out = fmax(out, fabs(wf_at(m->out_proj->weight, i)));
    ck_assert(in <= sqrt(6.0 / 256) && in > 0.99 * sqrt(6.0 / 256));
    ck_assert(out <= 0.125 && out > 0.124);
    for (int64_t i = 0; i < 64; i++)
        ck_assert(wf_at(m->in_proj_bias, i) == 0 && wf_at(m->out_proj->bias, i) == 0);
}

/* ---- derivatives ---- */

typedef struct checked {
    wf_multihead *m;
    bool causal, ragged, masked;
} checked;

static bool attention(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    const checked *c = context;
    wf_multihead_call call = { .causal = c->causal };
    if (c->ragged) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 2, 0 });
    if (c->masked)
        call.mask = wf_constant(t, WF_I32, WF_SHAPE(3, 3),
                                (int32_t[]){ 1, 0, 1, 0, 0, 0, 0, 1, 1 });
    *n_out = 1;
    out[0] = wf_multihead_forward(t, c->m, in[0], c->m->base > 0 ? NULL : in[1], NULL, &call);
    return out[0] != NULL;
}

TEST_EACH(derivatives_of_multihead_attention_are_those_of_differences, 8)
{
    OWN(wf_module) *net = tree();
    checked c = { .causal = _i & 1, .ragged = _i & 2, .masked = _i > 3 && _i < 6 };
    c.m = wf_multihead_new(net, "one",
                           &(wf_multihead_options){ .width = 4, .heads = 2, .rotary = _i > 5 });
    ck_assert(wf_module_ok(net, NULL));
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const wf_tensor in[2] = { *wf_value(drawn(t, WF_F64, WF_SHAPE(3, 2, 4), 1, -2, 2)),
                              *wf_value(drawn(t, WF_F64, WF_SHAPE(3, 2, 4), 2, -2, 2)) };
    assert_proved(wf_gradcheck(attention, &c, c.m->base > 0 ? 1 : 2, in,
                               &(wf_check_options){ .module = net }));
}

/* ---- what is hidden ---- */

/* All that a call is and gives: outputs, then the gradients of what it is given and of the
 * parameters, for cotangents that are 0 where `rows` says that a step is nobody's. */
static int64_t everything(wf_tape *t, wf_module *net, int n_in, wf_var *const in[], wf_var *y,
                          double *to)
{
    wf_var *wrt[16], *grad[16];
    int64_t at = 0;
    int n = 0;
    for (; n < n_in; n++) wrt[n] = in[n];
    for (int64_t k = 0; k < wf_module_param_count(net); k++) wrt[n++] = wf_module_param_at(net, k);
    wf_var *cotangent = leaf(t, WF_F64, wf_shape_of(y), "cotangent");
    ck_assert_msg(wf_grad(t, 1, &y, &cotangent, n, wrt, grad, NULL), "%s", wf_tape_error(t));
    for (int k = -1; k < n; k++) {
        wf_var *x = k < 0 ? y : grad[k];
        ck_assert(wf_copy_out(x, to + at, wf_count(x)));
        at += wf_count(x);
    }
    return at;
}

/* Who attends to one memory of `n` of SOURCE steps, whose others are `odd`, and to nothing else:
 * the same, and no gradient of theirs. */
TEST_EACH(what_a_length_or_a_mask_hides_of_a_memory_is_as_if_it_were_not_there, 12)
{
    const int32_t n = _i % 3 == 0 ? 0 : _i % 3 == 1 ? 2 : SOURCE;
    const bool by_mask = _i / 3 % 2, asked = _i / 6;
    OWN(wf_module) *net = tree();
    wf_multihead *m = layer_of(net, "one", (wf_multihead_options){ .no_bias = false });
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double got[2][2000], x[SOURCE * WIDTH];
    int64_t count[2];
    for (int k = 0; k < 2; k++) { /* with what is hidden, and without */
        const int64_t S = k ? n : SOURCE;
        for (int64_t i = 0; i < S * WIDTH; i++)
            x[i] = i / WIDTH < n ? formula("key", i) : i % 2 ? (double)NAN : (double)INFINITY;
        wf_var *weights = NULL, *in[2] = { leaf(t, WF_F64, WF_SHAPE(TARGET, 1, WIDTH), "query"),
                                           wf_leaf(t, WF_F64, WF_SHAPE(S, 1, WIDTH), x) };
        wf_multihead_call call = { .weights = asked ? &weights : NULL };
        wf_var *length = wf_constant(t, WF_I32, WF_SHAPE(1), &n);
        if (k == 0 && by_mask) call.key_mask = wf_length_mask(t, length, SOURCE);
        if (k == 0 && !by_mask) call.lengths = length;
        wf_var *y = wf_multihead_forward(t, m, in[0], in[1], NULL, &call);
        wf_var *grad;
        count[k] = everything(t, net, 1, in, y, got[k]);
        ck_assert(wf_grad(t, 1, &y, &(wf_var *){ leaf(t, WF_F64, wf_shape_of(y), "cotangent") }, 1,
                          in + 1, &grad, NULL));
        for (int64_t i = n * WIDTH; i < S * WIDTH; i++) ck_assert(wf_at(grad, i) == 0);
        for (int64_t i = 0; asked && k == 0 && i < TARGET * SOURCE; i++)
            ck_assert((wf_at(weights, i) == 0) == (i % SOURCE >= n));
    }
    ck_assert_int_eq(count[0], count[1]);
    assert_close("hidden", count[0], got[0], got[1], 1e-14);
}

TEST(a_sequence_that_attends_to_itself_is_as_if_there_were_nothing_past_its_end)
{
    OWN(wf_module) *net = tree();
    wf_multihead *m = layer_of(net, "one", (wf_multihead_options){ .rotary = true });
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double got[2][2000], x[SOURCE * WIDTH];
    int64_t count[2];
    for (int k = 0; k < 2; k++) {
        const int64_t S = k ? 2 : SOURCE;
        for (int64_t i = 0; i < S * WIDTH; i++)
            x[i] = i / WIDTH < 2 ? formula("key", i) : (double)NAN;
        wf_var *in = wf_leaf(t, WF_F64, WF_SHAPE(S, 1, WIDTH), x);
        wf_multihead_call call = { .lengths = wf_constant(t, WF_I32, WF_SHAPE(1),
                                                          (int32_t[]){ 2 }) };
        wf_var *y = wf_multihead_forward(t, m, in, NULL, NULL, &call);
        for (int64_t i = 0; i < wf_count(y); i++) ck_assert(isfinite(wf_at(y, i)));
        count[k] = everything(t, net, 0, NULL, wf_slice(t, y, 0, 0, 2, 1), got[k]);
    }
    ck_assert_int_eq(count[0], count[1]);
    assert_close("hidden", count[0], got[0], got[1], 1e-14);
}

TEST(who_sees_nobody_gets_the_bias_of_the_last_projection)
{
    OWN(wf_module) *net = tree();
    wf_multihead *m = layer_of(net, "one", (wf_multihead_options){ .no_bias = false });
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = leaf(t, WF_F64, WF_SHAPE(SOURCE, 1, WIDTH), "query"), *weights, *grad;
    wf_var *mask = wf_constant(t, WF_I32, WF_SHAPE(SOURCE, 1), (int32_t[]){ 1, 0, 1, 1, 1 });
    wf_var *y = wf_multihead_forward(t, m, x, NULL, NULL,
                                     &(wf_multihead_call){ .mask = mask, .weights = &weights });
    wf_var *row = wf_select(t, y, 0, 1);
    for (int64_t i = 0; i < WIDTH; i++) ck_assert(wf_at(row, i) == wf_at(m->out_proj->bias, i));
    for (int64_t j = 0; j < SOURCE; j++) ck_assert(wf_at(weights, SOURCE + j) == 0);
    wf_var *cotangent = leaf(t, WF_F64, wf_shape_of(row), "cotangent");
    ck_assert(wf_grad(t, 1, &row, &cotangent, 1, &x, &grad, NULL));
    for (int64_t i = 0; i < wf_count(grad); i++) ck_assert(wf_at(grad, i) == 0);
}

/* ---- in parts ---- */

static void assert_same(const char *what, const wf_var *a, const wf_var *b, double tolerance)
{
    ck_assert(a && b && wf_count(a) == wf_count(b));
    for (int64_t i = 0; i < wf_count(a); i++)
        ck_assert_msg(fabs(wf_at(a, i) - wf_at(b, i)) <= tolerance, "%s: %lld: %.17g, %.17g", what,
                      (long long)i, wf_at(a, i), wf_at(b, i));
}

TEST_EACH(a_memory_projected_once_is_attended_to_as_it_is, 4)
{
    const bool wide = _i & 1, ragged = _i & 2;
    OWN(wf_module) *net = tree();
    wf_multihead *m = layer_of(
        net, "one",
        (wf_multihead_options){ .key_width = wide ? 6 : 0, .value_width = wide ? 6 : 0 });
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *query = leaf(t, WF_F64, WF_SHAPE(TARGET, BATCH, WIDTH), "query");
    wf_var *key = leaf(t, WF_F64, WF_SHAPE(SOURCE, BATCH, m->key_width), "key"), *weights[2];
    wf_multihead_call call = { .lengths = ragged ? lengths_on(t) : NULL, .weights = weights };
    wf_var *whole = wf_multihead_forward(t, m, query, key, NULL, &call);
    wf_var *memory = wf_multihead_memory(t, m, key, NULL, &call);
    wf_shape shape = wf_shape_of(memory), want = WF_SHAPE(BATCH, 2, HEADS, SOURCE, WIDTH / HEADS);
    ck_assert(wf_shape_equal(&shape, &want));
    for (int64_t i = 0; i < TARGET; i++) { /* step by step */
        call.weights = weights + 1;
        wf_var *row = wf_multihead_attend(t, m, wf_slice(t, query, 0, i, i + 1, 1), memory, &call);
        assert_same("output", row, wf_select(t, whole, 0, i), 1e-12);
        assert_same("weights", weights[1], wf_select(t, weights[0], 1, i), 1e-12);
    }
}

TEST_EACH(a_sequence_that_grows_is_the_whole, 4)
{
    OWN(wf_module) *net = tree();
    wf_multihead *m = layer_of(net, "one", (wf_multihead_options){ .rotary = _i & 1 });
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = leaf(t, WF_F64, WF_SHAPE(SOURCE, BATCH, WIDTH), "query"), *state = NULL;
    wf_var *whole = wf_multihead_forward(t, m, x, NULL, NULL,
                                         &(wf_multihead_call){ .causal = true });
    const int64_t step = _i & 2 ? 2 : 1;
    for (int64_t i = 0; i < SOURCE; i += step) {
        const int64_t end = i + step < SOURCE ? i + step : SOURCE;
        wf_var *part = wf_slice(t, x, 0, i, end, 1);
        wf_var *y = wf_multihead_append(t, m, part, &state, NULL);
        ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
        assert_same("output", y, wf_slice(t, whole, 0, i, end, 1), 1e-12);
        ck_assert_int_eq(wf_dim(state, 3), end);
    }
}

/* ---- positions ---- */

TEST(sinusoids_are_those_of_the_paper)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int64_t width = 1; width < 6; width++) {
        wf_var *x = wf_sinusoidal(t, WF_F64, 3, 4, width, 0);
        ck_assert(wf_dim(x, 0) == 4 && wf_dim(x, 1) == width);
        for (int64_t i = 0; i < 4 * width; i++) {
            const int64_t k = i % width;
            double angle = (double)(3 + i / width) /
                           pow(10000, (double)(k / 2 * 2) / (double)width);
            ck_assert_double_eq_tol(wf_at(x, i), k % 2 ? cos(angle) : sin(angle), 1e-13);
        }
    }
    /* Far on, and in f32, a position is still itself. */
    wf_var *far = wf_sinusoidal(t, WF_F32, 1000000, 1, 2, 0);
    ck_assert_double_eq_tol(wf_at(far, 0), sin(1e6), 1e-7);
}

TEST(rotary_positions_keep_lengths_and_tell_only_distances)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(3, 6), 1, -2, 2),
           *y = drawn(t, WF_F64, WF_SHAPE(3, 6), 2, -2, 2);
    wf_var *near[2] = { wf_rotary(t, x, 0, 0), wf_rotary(t, y, 2, 0) };
    wf_var *far[2] = { wf_rotary(t, x, 100, 0), wf_rotary(t, y, 102, 0) };
    assert_same("products", wf_matmul(t, near[0], wf_transpose(t, near[1], 0, 1)),
                wf_matmul(t, far[0], wf_transpose(t, far[1], 0, 1)), 1e-12);
    assert_same("lengths", wf_norm(t, x, WF_AXES(1)), wf_norm(t, far[0], WF_AXES(1)), 1e-13);
    for (int64_t i = 0; i < 18; i++) { /* the plane of 2k and 2k + 1 */
        const int64_t k = i % 6 / 2 * 2, row = i / 6;
        double angle = (double)(100 + row) / pow(10000, (double)k / 6);
        double a = wf_at(x, row * 6 + k), b = wf_at(x, row * 6 + k + 1);
        double want = i % 2 ? a * sin(angle) + b * cos(angle) : a * cos(angle) - b * sin(angle);
        ck_assert_double_eq_tol(wf_at(far[0], i), want, 1e-13);
    }
}
