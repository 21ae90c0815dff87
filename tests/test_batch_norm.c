/* Batch normalisation: against PyTorch over steps of training and in evaluation, masked against
 * what counts alone, and running statistics and buffers as what only a commit moves. Derivatives
 * of the ops are proved in test_check.c. */
#include "tests/parity.h"

#include <string.h>

static double item(const wf_var *v, int64_t i)
{
    return wf_tensor_at(wf_param_value(v), i);
}

/* ---- as PyTorch ---- */

static const struct torch_case {
    const char *name;
    wf_shape x;
    wf_batch_norm_options options;
} cases[] = {
    { "rows", { 2, { 5, 3 } }, { .features = 3 } },
    { "signals", { 3, { 4, 3, 6 } }, { .features = 3, .momentum = 0.3 } },
    { "pictures", { 4, { 2, 3, 4, 5 } }, { .features = 3, .cumulative = true, .eps = 0.01 } },
    { "plain", { 3, { 4, 3, 2 } }, { .features = 3, .no_affine = true } },
    { "batch", { 3, { 4, 3, 2 } }, { .features = 3, .no_running_statistics = true } },
};
enum { CASES = sizeof cases / sizeof cases[0] };

/* One call on a fresh tape, held against what is stored under the case's name and `step`. */
static void same_step(const wf_archive *a, const struct torch_case *c, const char *step,
                      const wf_batch_norm_layer *layer, wf_mode mode)
{
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = mode });
    wf_var *x = leaf(t, WF_F64, c->x, worded("%s%s.x", c->name, step)),
           *g = leaf(t, WF_F64, c->x, worded("%s%s.g", c->name, step));
    x = wf_add_scalar(t, wf_mul_scalar(t, x, 2), 0.5);
    wf_var *y = wf_batch_norm_forward(t, layer, x, NULL);
    ck_assert(wf_keep_grad(t, x));
    ck_assert_msg(wf_backward_from(t, 1, &y, &g), "%s", wf_tape_error(t));
    const bool eval = mode == WF_EVAL;
    reader r = reader_of(
        c->name, stored(a, worded("%s.%s%s", c->name, eval ? "" : "step", eval ? "eval" : step)),
        1e-12);
    expect(&r, "y", wf_count(y), wf_value(y));
    expect(&r, "the gradient of x", wf_count(x), wf_grad_of(x));
    wf_var *const params[2] = { layer->weight, layer->bias };
    for (int i = 0; i < 2 && params[i]; i++) {
        expect(&r, wf_param_path(params[i]), 3, wf_param_grad(params[i]));
        wf_tensor_accumulate(wf_param_grad(params[i]), wf_param_value(params[i]), eval ? 0 : -1, 1);
        wf_param_changed(params[i]);
        wf_param_clear_grad(params[i]);
    }
    expect_end(&r);
}

TEST_EACH(it_trains_and_evaluates_as_pytorch_does, CASES)
{
    const struct torch_case *c = &cases[_i];
    OWN(wf_archive) *a = open_fixture("batch_norm");
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_batch_norm_layer *layer = wf_batch_norm_new(net, "norm", &c->options);
    ck_assert(wf_module_ok(net, NULL));
    for (int step = 0; step < 3; step++) same_step(a, c, worded("%d", step), layer, WF_TRAIN);
    for (int k = 0; k < (layer->running_mean ? 2 : 0); k++) {
        const wf_var *running = k ? layer->running_var : layer->running_mean;
        reader r = reader_of(
            c->name, stored(a, worded("%s.state.running_%s", c->name, k ? "var" : "mean")), 1e-13);
        expect(&r, wf_param_path(running), 3, wf_param_value(running));
    }
    if (layer->running_mean) ck_assert(item(layer->num_batches_tracked, 0) == 3);
    same_step(a, c, ".eval", layer, WF_EVAL);

    /* The state_dict, whose count is an I64, in both precisions. */
    for (int dtype = WF_F32; dtype <= WF_F64; dtype++) {
        OWN(wf_module) *other = wf_module_new("net",
                                              &(wf_module_options){ .dtype = (wf_dtype)dtype });
        wf_batch_norm_layer *loaded = wf_batch_norm_new(other, "norm", &c->options);
        wf_error e = { { 0 } };
        const wf_load_options from = { .prefix = worded("%s.state.", c->name),
                                       .names = &(wf_load_name){ "", "" },
                                       .n_names = 1 };
        ck_assert_msg(wf_module_load_archive_with(loaded->module, "state", a, &from, NULL, &e),
                      "%s", e.text);
        if (!loaded->running_mean) continue;
        ck_assert(item(loaded->num_batches_tracked, 0) == 3);
        for (int i = 0; i < 3; i++)
            ck_assert(fabs(item(loaded->running_var, i) - item(layer->running_var, i)) <=
                      (dtype == WF_F32 ? 1e-7 : 1e-13));
    }
}

/* ---- masks and lengths ---- */

enum { N = 4, C = 3, L = 5 };
static const int32_t lengths_of[N] = { 3, 5, 0, 1 };

/* x (N, C, L) with NaN past each sequence's end. */
static wf_var *padded(wf_tape *t, uint64_t seed)
{
    wf_var *x = drawn(t, WF_F64, WF_SHAPE(N, C, L), seed, -2, 3);
    for (int64_t i = 0; i < N * C * L; i++)
        if (i % L >= lengths_of[i / (C * L)]) put(wf_value(x), i, (double)NAN);
    return x;
}

/* What counts of it, (steps, C), in order. */
static wf_var *packed(wf_tape *t, const wf_var *x)
{
    double at[N * L * C];
    int64_t rows = 0;
    for (int n = 0; n < N; n++)
        for (int l = 0; l < lengths_of[n]; l++, rows++)
            for (int c = 0; c < C; c++) at[rows * C + c] = wf_at(x, (n * C + c) * L + l);
    return wf_leaf(t, WF_F64, WF_SHAPE(rows, C), at);
}

static void same_where_it_counts(const wf_tensor *padded_, const wf_tensor *rows)
{
    for (int64_t n = 0, row = 0; n < N; n++) {
        for (int64_t l = 0; l < L; l++) {
            const bool counts = l < lengths_of[n];
            for (int64_t c = 0; c < C; c++) {
                const double got = wf_tensor_at(padded_, (n * C + c) * L + l),
                             want = counts ? wf_tensor_at(rows, row * C + c) : 0;
                ck_assert_msg(fabs(got - want) <= 1e-13 * !!counts, "(%d, %d, %d): %.17g, %.17g",
                              (int)n, (int)c, (int)l, got, want);
            }
            row += counts;
        }
    }
}

TEST_EACH(what_is_padding_counts_for_nothing_be_it_nan, 4)
{
    const bool by_mask = _i % 2, eval = _i / 2;
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_batch_norm_layer *layer[2] = {
        wf_batch_norm_new(net, "padded", &(wf_batch_norm_options){ .features = C }),
        wf_batch_norm_new(net, "packed", &(wf_batch_norm_options){ .features = C }),
    };
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = eval ? WF_EVAL : WF_TRAIN });
    wf_var *x = padded(t, 1), *g = padded(t, 2);
    wf_var *rows = packed(t, x), *g_rows = packed(t, g);
    wf_var *lengths = wf_constant(t, WF_I32, WF_SHAPE(N), lengths_of);
    wf_var *mask = wf_unsqueeze(t, wf_transpose(t, wf_length_mask(t, lengths, L), 0, 1), 1);
    wf_var *y = wf_batch_norm_forward(t, layer[0], x,
                                      &(wf_batch_norm_call){ .lengths = by_mask ? NULL : lengths,
                                                             .mask = by_mask ? mask : NULL });
    wf_var *want = wf_batch_norm_forward(t, layer[1], rows, NULL);
    ck_assert(wf_keep_grad(t, x) && wf_keep_grad(t, rows));
    ck_assert_msg(wf_backward_from(t, 2, (wf_var *[]){ y, want }, (wf_var *[]){ g, g_rows }), "%s",
                  wf_tape_error(t));
    same_where_it_counts(wf_value(y), wf_value(want));
    same_where_it_counts(wf_grad_of(x), wf_grad_of(rows));
    for (int i = 0; i < C; i++) {
        const wf_tensor *a = wf_param_grad(layer[0]->weight), *b = wf_param_grad(layer[1]->weight);
        ck_assert_double_eq_tol(wf_tensor_at(a, i), wf_tensor_at(b, i), 1e-12);
        ck_assert_double_eq_tol(item(layer[0]->running_var, i), item(layer[1]->running_var, i),
                                1e-13);
        ck_assert_double_eq_tol(item(layer[0]->running_mean, i), item(layer[1]->running_mean, i),
                                1e-13);
        ck_assert((item(layer[0]->running_mean, i) == 0) == eval);
    }
}

TEST(a_sequence_that_has_time_first_is_normalised_as_it_lies)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = drawn(t, WF_F32, WF_SHAPE(L, N, C), 1, -2, 3);
    wf_var *y = wf_batch_norm(t, wf_permute(t, x, WF_AXES(1, 2, 0)), NULL, NULL, NULL, 0, NULL);
    y = wf_permute(t, y, WF_AXES(2, 0, 1));
    wf_var *flat = wf_batch_norm(t, wf_reshape(t, x, WF_SHAPE(L * N, C)), NULL, NULL, NULL, 0,
                                 NULL);
    for (int64_t i = 0; i < L * N * C; i++)
        ck_assert_double_eq_tol(wf_at(y, i), wf_at(flat, i), 1e-6);
}

TEST(what_it_normalised_by_is_told_however_far_from_zero)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const float x[6] = { 65536, 1, 65537, 2, 65538, 6 };
    const int32_t mask[3] = { 1, 1, 1 }, none[3] = { 0, 0, 0 };
    for (int masked = 0; masked < 3; masked++) {
        wf_batch_statistics s;
        wf_var *m = masked ? wf_constant(t, WF_I32, WF_SHAPE(3, 1), masked == 1 ? mask : none)
                           : NULL;
        wf_var *y = wf_batch_norm(t, wf_leaf(t, WF_F32, WF_SHAPE(3, 2), x), NULL, NULL, m, 1e-9,
                                  &s);
        const bool any = masked < 2;
        ck_assert_double_eq(wf_at(s.mean, 0), any ? 65537 : 0);
        ck_assert_double_eq(wf_at(s.mean, 1), any ? 3 : 0);
        ck_assert_double_eq_tol(wf_at(s.variance, 0), any ? 2. / 3 : 0, 1e-7);
        ck_assert_double_eq_tol(wf_at(s.variance, 1), any ? 14. / 3 : 0, 1e-6);
        ck_assert_double_eq(wf_at(s.count, 1), any ? 3 : 0);
        ck_assert_double_eq_tol(wf_at(y, 4), any ? sqrt(1.5) : 0, 1e-6);
    }
}

/* ---- running statistics ---- */

static uint64_t hash_buffers(const wf_batch_norm_layer *layer)
{
    uint64_t h = hash_tensor(HASH, wf_param_value(layer->running_mean));
    h = hash_tensor(h, wf_param_value(layer->running_var));
    return hash_tensor(h, wf_param_value(layer->num_batches_tracked));
}

static wf_var *called(wf_tape *t, const wf_batch_norm_layer *layer, uint64_t seed)
{
    return wf_batch_norm_forward(t, layer, drawn(t, WF_F32, WF_SHAPE(N, C, L), seed, -1, 3), NULL);
}

TEST(running_statistics_move_when_a_step_in_train_mode_commits_and_only_then)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_batch_norm_layer *layer = wf_batch_norm_new(net, "norm",
                                                   &(wf_batch_norm_options){ .features = C });
    const uint64_t begun = hash_buffers(layer);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    OWN(wf_tape) *rehearsal = wf_tape_new(&(wf_tape_options){ .rehearsal = true });
    OWN(wf_tape) *deferred = wf_tape_new(&(wf_tape_options){ .defer_commit = true });
    ck_assert(called(t, layer, 1));
    wf_tape_reset(t); /* never swept */
    wf_var *y = called(t, layer, 1);
    ck_assert(!wf_backward(t, wf_sum(t, wf_log(t, wf_mul_scalar(t, y, -1e30)), NULL)));
    wf_tape_reset(t); /* failed: not finite */
    ck_assert(wf_backward(rehearsal, wf_mean(rehearsal, called(rehearsal, layer, 1), NULL)));
    for (int mode = WF_EVAL; mode <= WF_INFER; mode++) {
        wf_tape_set_mode(t, (wf_mode)mode);
        ck_assert(called(t, layer, 1));
    }
    wf_tape_set_mode(t, WF_TRAIN);
    wf_tape_reset(t);
    ck_assert(wf_backward(deferred, wf_mean(deferred, called(deferred, layer, 1), NULL)));
    ck_assert(hash_buffers(layer) == begun);
    ck_assert(wf_tape_commit(deferred));
    ck_assert(hash_buffers(layer) != begun && item(layer->num_batches_tracked, 0) == 1);

    /* Two calls on one tape move them twice, in their order. */
    wf_batch_statistics s[2];
    double want[C], was[C];
    for (int k = 0; k < 2; k++)
        ck_assert(wf_batch_norm(t, drawn(t, WF_F32, WF_SHAPE(N, C, L), 2 + (uint64_t)k, -1, 3),
                                NULL, NULL, NULL, 0, &s[k]));
    for (int i = 0; i < C; i++) was[i] = item(layer->running_mean, i);
    for (int i = 0; i < C; i++)
        want[i] = 0.9 * (0.9 * was[i] + 0.1 * wf_at(s[0].mean, i)) + 0.1 * wf_at(s[1].mean, i);
    wf_var *first = called(t, layer, 2), *second = called(t, layer, 3);
    ck_assert(wf_backward(t, wf_mean(t, wf_add(t, first, second), NULL)));
    for (int i = 0; i < C; i++)
        ck_assert_double_eq_tol(item(layer->running_mean, i), want[i], 1e-6);
    ck_assert(item(layer->num_batches_tracked, 0) == 3);
}

TEST(a_channel_of_one_element_or_of_infinities_keeps_its_running_statistics)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_batch_norm_layer *layer = wf_batch_norm_new(net, "norm",
                                                   &(wf_batch_norm_options){ .features = 3 });
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const double x[6] = { 1, 2, 3, 5, 7, HUGE_VAL };
    const int32_t mask[6] = { 1, 1, 1, 0, 1, 1 };
    wf_module_freeze(net, true); /* gradients of channel 2 would not be finite */
    wf_var *y = wf_batch_norm_forward(
        t, layer, wf_leaf(t, WF_F64, WF_SHAPE(2, 3), x),
        &(wf_batch_norm_call){ .mask = wf_constant(t, WF_I32, WF_SHAPE(2, 3), mask) });
    wf_var *w = wf_param_new(net, "w", WF_SCALAR, (wf_init){ 0 });
    ck_assert_msg(wf_backward(t, wf_mean(t, wf_mul(t, w, wf_select(t, y, 1, 1)), NULL)), "%s",
                  wf_tape_error(t));
    ck_assert(item(layer->running_mean, 0) == 0 && item(layer->running_var, 0) == 1);
    ck_assert(item(layer->running_mean, 2) == 0 && item(layer->running_var, 2) == 1);
    ck_assert_double_eq_tol(item(layer->running_mean, 1), 0.45, 1e-15);
    ck_assert_double_eq_tol(item(layer->running_var, 1), 0.9 + 0.1 * 12.5, 1e-15);
}

TEST(a_steady_loop_asks_for_no_memory)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_batch_norm_layer *layer = wf_batch_norm_new(net, "norm",
                                                   &(wf_batch_norm_options){ .features = C });
    OWN(wf_optim) *sgd = wf_sgd_new(net, NULL);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    long long asked = 0;
    for (int step = 0; step < HARNESS_SETTLED + 4; step++) {
        if (step == HARNESS_SETTLED) asked = heap.asked;
        wf_tape_reset(t);
        ck_assert(wf_backward(t, wf_mean(t, wf_square(t, called(t, layer, 1)), NULL)));
        ck_assert(wf_optim_step(sgd));
    }
    ck_assert_int_eq(heap.asked, asked);
}

static bool normed(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    *n_out = 1;
    out[0] = wf_batch_norm_forward(t, context, in[0], &(wf_batch_norm_call){ .lengths = in[1] });
    return out[0] != NULL;
}

TEST_EACH(the_layer_has_its_derivatives, 2)
{
    OWN(wf_module) *net = wf_module_new("net", NULL); /* f32: proved in double */
    wf_batch_norm_layer *layer = wf_batch_norm_new(
        net, "norm", &(wf_batch_norm_options){ .features = 2, .eps = 0.1, .no_affine = _i == 1 });
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const int32_t lengths[2] = { 3, 1 };
    const wf_tensor in[2] = { *wf_value(drawn(t, WF_F64, WF_SHAPE(2, 2, 3), 1, -2, 2)),
                              *wf_value(wf_constant(t, WF_I32, WF_SHAPE(2), lengths)) };
    const uint64_t begun = hash_buffers(layer);
    assert_proved(wf_gradcheck(normed, layer, 2, in, &(wf_check_options){ .module = net }));
    ck_assert(hash_buffers(layer) == begun);
}

/* ---- buffers ---- */

TEST(buffers_are_kept_with_the_model_and_learned_by_nobody)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_batch_norm_layer *layer = wf_batch_norm_new(net, "norm",
                                                   &(wf_batch_norm_options){ .features = C });
    ck_assert_int_eq(wf_module_param_count(net), 2);
    ck_assert_int_eq(wf_module_weights(net), 2 * C);
    ck_assert_int_eq(wf_module_buffer_count(net), 3);
    ck_assert_ptr_eq(wf_module_buffer_at(net, 1), layer->running_var);
    ck_assert_ptr_null(wf_module_buffer_at(net, 3));
    ck_assert_ptr_eq(wf_module_buffer_find(net, "norm.running_mean"), layer->running_mean);
    ck_assert_ptr_null(wf_module_buffer_find(net, "norm.weight"));
    ck_assert_ptr_null(wf_module_param_find(net, "norm.running_mean"));
    char text[400];
    wf_module_text(net, text, sizeof text);
    ck_assert_str_eq(text, "net, f32\n"
                           "  norm.weight               (3)  3\n"
                           "  norm.bias                 (3)  3\n"
                           "  norm.running_mean         (3)  3  buffer\n"
                           "  norm.running_var          (3)  3  buffer\n"
                           "  norm.num_batches_tracked  ()   1  buffer\n"
                           "  2 parameters                   6");

    /* Thawing does not make them learnable; neither decay nor a gradient moves them. */
    wf_module_freeze(net, true);
    wf_module_freeze(net, false);
    wf_param_freeze(layer->running_mean, false);
    ck_assert(wf_param_frozen(layer->running_mean) && !wf_param_frozen(layer->weight));
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_EVAL });
    wf_sgd_options o = wf_sgd_defaults();
    o.weight_decay = 0.5;
    OWN(wf_optim) *sgd = wf_sgd_new(net, &o);
    const uint64_t begun = hash_buffers(layer);
    wf_var *used = wf_mul(t, wf_sum(t, called(t, layer, 1), NULL), layer->running_var);
    ck_assert_msg(wf_backward(t, wf_sum(t, used, NULL)), "%s", wf_tape_error(t));
    ck_assert(wf_optim_step(sgd) && hash_buffers(layer) == begun);
    ck_assert_ptr_null(wf_param_grad(layer->running_var));

    /* Saved and loaded to the bit. */
    for (int i = 0; i < C; i++) put(wf_param_value(layer->running_var), i, 0.1 * i);
    put(wf_param_value(layer->num_batches_tracked), 0, 77);
    wf_error e = { { 0 } };
    ck_assert_msg(wf_module_save(net, path_of("배치.safetensors"), NULL, 0, &e), "%s", e.text);
    OWN(wf_module) *other = wf_module_new("net", NULL);
    wf_batch_norm_layer *loaded = wf_batch_norm_new(other, "norm",
                                                    &(wf_batch_norm_options){ .features = C });
    ck_assert_msg(wf_module_load(other, path_of("배치.safetensors"), &e), "%s", e.text);
    ck_assert(hash_buffers(loaded) == hash_buffers(layer));
}

TEST(a_file_without_a_buffer_or_with_a_count_that_is_too_large_is_refused)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_var *count = wf_buffer_new(net, "count", WF_I32, WF_SCALAR, 3);
    wf_error e = { { 0 } };
    OWN(wf_archive) *none = archive_of("{}", NULL, 0, &e);
    ck_assert(!wf_module_load_archive(net, "none", none, &e));
    ck_assert_str_eq(e.text, "load none: missing 1 (count)");
    const int64_t large = INT64_C(1) << 40;
    OWN(wf_archive) *big = archive_of("{'count':{'dtype':'I64','shape':[],'data_offsets':[0,8]}}",
                                      &large, 8, &e);
    ck_assert(!wf_module_load_archive(net, "big", big, &e));
    ck_assert_msg(strstr(e.text, "'count'") && strstr(e.text, "1099511627776"), "%s", e.text);
    ck_assert(item(count, 0) == 3);
}

/* ---- what it says ---- */

static void refused(wf_batch_norm_options options, const char *text)
{
    wf_module *net = wf_module_new("net", NULL);
    ck_assert_ptr_null(wf_batch_norm_new(net, "norm", &options));
    assert_tree_fails(net, text);
}

TEST(options_that_cannot_be_are_refused_with_one_sentence)
{
    refused((wf_batch_norm_options){ 0 },
            "batch_norm 'norm': .features is 0; it must be 1 or more");
    refused((wf_batch_norm_options){ .features = 2, .eps = -1 },
            "batch_norm 'norm': .eps is -1; it must be 0 or more and finite");
    refused((wf_batch_norm_options){ .features = 2, .momentum = 1.5 },
            "batch_norm 'norm': .momentum is 1.5; it must be from 0 to 1");
    refused((wf_batch_norm_options){ .features = 2, .momentum = 0.5, .cumulative = true },
            "batch_norm 'norm': .momentum is 0.5, and .cumulative counts all batches alike");
    wf_module *net = wf_module_new("net", NULL);
    ck_assert(wf_param_new(net, "x", WF_SHAPE(1), (wf_init){ 0 }));
    ck_assert_ptr_null(wf_buffer_new(net, "x", WF_F32, WF_SHAPE(1), 0));
    assert_tree_fails(net, "buffer 'x': there is one already");
    net = wf_module_new("net", NULL);
    ck_assert_ptr_null(wf_buffer_new(net, "x", WF_F64, WF_SHAPE(1), 0));
    assert_tree_fails(net, "buffer 'x': it is f64; expected f32, as parameters are, or i32");
    net = wf_module_new("net", NULL);
    ck_assert_ptr_null(wf_buffer_new(net, "x", WF_I32, WF_SHAPE(1), 0.5));
    assert_tree_fails(net, "buffer 'x': 0.5 is no i32");
}

TEST(what_cannot_be_normalised_is_refused_with_one_sentence)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_batch_norm_layer *layer = wf_batch_norm_new(net, "norm",
                                                   &(wf_batch_norm_options){ .features = C });
    OWN(wf_tape) *t = wf_tape_new(NULL);
#define X(...) wf_leaf(t, WF_F32, WF_SHAPE(__VA_ARGS__), NULL)
    wf_batch_norm_forward(t, layer, X(2, 5, C), NULL);
    assert_fails(t, "batch_norm 'norm': x is (2, 5, 3); expected (batch, 3, ...)\n"
                    "  hint: axis 1 is the channels'; permute brings the last axis there");
    wf_batch_norm_forward(t, layer, X(C), NULL);
    assert_fails(t, "batch_norm 'norm': x is (3); expected (batch, 3, ...)");
    wf_batch_norm_forward(t, layer, X(1, C), NULL);
    assert_fails(t, "batch_norm 'norm': x is (1, 3); in train mode a channel needs more than one "
                    "element");
    wf_batch_norm_forward(t, layer, X(2, C),
                          &(wf_batch_norm_call){ .lengths = wf_zeros(t, WF_I32, WF_SHAPE(2)) });
    assert_fails(t, "batch_norm 'norm': x is (2, 3); lengths are those of (batch, 3, time)");
    wf_batch_norm_forward(t, layer, X(2, C),
                          &(wf_batch_norm_call){ .mask = wf_zeros(t, WF_I32, WF_SHAPE(5)) });
    assert_fails(t, "batch_norm 'norm': the mask is (5); it must broadcast to (2, 3)");
    wf_batch_norm(t, X(2, C), X(2), NULL, NULL, 0, NULL);
    assert_fails(t, "batch_norm: scale is (2); expected (3), as x's axis 1 is");
    wf_batch_norm(t, X(C), NULL, NULL, NULL, 0, NULL);
    assert_fails(t, "batch_norm: x is (3); expected (batch, channels, ...)");
    wf_batch_norm_given(t, X(2, C), NULL, NULL, NULL, X(C), X(2), 0);
    assert_fails(t, "batch_norm_given: variance is (2); expected (3), as x's axis 1 is");
    wf_tape_set_mode(t, WF_EVAL);
    ck_assert_ptr_nonnull(wf_batch_norm_forward(t, layer, X(1, C), NULL));
#undef X
}

const harness_suite suite = { .after = nothing_is_left };
