/* The transformer: PyTorch's numbers, derivatives, what is hidden, one step after another against
 * the whole, and the model. */
#include "tests/parity.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 3, TIME = 5, SOURCE = 4, WIDTH = 8, HEADS = 2, HIDDEN = 12 };

static wf_var *ids_on(wf_tape *t, int64_t n, const int32_t *ids)
{
    return wf_constant(t, WF_I32, WF_SHAPE(n), ids);
}

static wf_var *lengths_on(wf_tape *t)
{
    return ids_on(t, BATCH, (int32_t[]){ 3, 5, 1 });
}

static wf_var *memory_lengths_on(wf_tape *t)
{
    return ids_on(t, BATCH, (int32_t[]){ 4, 1, 2 });
}

static wf_module *tree(void)
{
    return wf_module_new("net", &(wf_module_options){ .seed = 5, .dtype = WF_F64 });
}

static void assert_made(const wf_module *net)
{
    wf_error e = { "" };
    ck_assert_msg(wf_module_ok(net, &e), "%s", e.text);
}

static void assert_same(const char *what, const wf_var *a, const wf_var *b, double tolerance)
{
    ck_assert_msg(a && b && wf_count(a) == wf_count(b), "%s", what);
    for (int64_t i = 0; i < wf_count(a); i++)
        ck_assert_msg(fabs(wf_at(a, i) - wf_at(b, i)) <= tolerance, "%s: %lld: %.17g, %.17g", what,
                      (long long)i, wf_at(a, i), wf_at(b, i));
}

/* ---- PyTorch's numbers ---- */

static const char *const kinds[] = { "encoder", "decoder", "encoders", "decoders", "bare" };

/* A layer or a stack of two. */
typedef struct block {
    wf_transformer_layer *layer;
    wf_transformer_stack *stack;
} block;

static block block_of(wf_module *net, int kind, bool pre_norm)
{
    const bool several = kind == 2 || kind == 3;
    wf_transformer_stack_options o = { .layer = { .width = WIDTH,
                                                  .heads = HEADS,
                                                  .hidden = HIDDEN,
                                                  .cross = kind == 1 || kind == 3,
                                                  .pre_norm = pre_norm,
                                                  .gelu = pre_norm != several,
                                                  .no_bias = kind == 4 },
                                       .layers = 2,
                                       .final_norm = 1 };
    block b = { NULL, NULL };
    if (several)
        b.stack = wf_transformer_stack_new(net, kinds[kind], &o);
    else
        b.layer = wf_transformer_layer_new(net, kinds[kind], &o.layer);
    assert_made(net);
    return b;
}

static wf_var *through(wf_tape *t, const block *b, wf_var *x, wf_var *memory,
                       const wf_transformer_call *call)
{
    return b->stack ? wf_transformer_stack_forward(t, b->stack, x, memory, call)
                    : wf_transformer_layer_forward(t, b->layer, x, memory, call);
}

/* make_transformer.py's visible(). */
static wf_var *visible(wf_tape *t, const char *name, wf_shape shape)
{
    wf_tensor to;
    wf_var *mask = wf_constant_fill(t, WF_I32, shape, &to);
    const int64_t last = shape.dim[shape.rank - 1];
    for (int64_t i = 0; i < wf_count(mask); i++) put(&to, i, i % last == 0 || formula(name, i) > 0);
    return mask;
}

TEST_EACH(transformer_layers_give_the_numbers_and_gradients_of_pytorch, 20)
{
    const int kind = _i / 4;
    const bool pre = _i & 1, all = _i & 2, decodes = kind == 1 || kind == 3;
    wf_error e = { "" };
    OWN(wf_archive) *file = open_fixture("transformer");
    OWN(wf_module) *net = tree();
    const block b = block_of(net, kind, pre);
    ck_assert_msg(wf_module_load_archive_with(net, "transformer", file,
                                              &(wf_load_options){ .allow_unexpected = true }, NULL,
                                              &e),
                  "%s", e.text);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = leaf(t, WF_F64, WF_SHAPE(TIME, BATCH, WIDTH), "x"), *wrt[64], *grad[64];
    wf_var *memory = decodes ? leaf(t, WF_F64, WF_SHAPE(SOURCE, BATCH, WIDTH), "memory") : NULL;
    wf_transformer_call call = { .causal = all };
    if (all) {
        call.lengths = lengths_on(t);
        call.mask = visible(t, "mask", WF_SHAPE(TIME, TIME));
        call.memory_lengths = decodes ? memory_lengths_on(t) : NULL;
        call.memory_mask = decodes ? visible(t, "memory_mask", WF_SHAPE(TIME, SOURCE)) : NULL;
    }
    wf_var *y = through(t, &b, x, memory, &call);
    ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
    const char *label = worded("%s %s %s", kinds[kind], pre ? "pre" : "post", all ? "all" : "none");
    reader r = reader_of(label, stored(file, label), 1e-10);
    expect(&r, "output", wf_count(y), wf_value(y));
    expect_end(&r);

    int n = 0;
    wrt[n++] = x;
    if (decodes) wrt[n++] = memory;
    for (int64_t k = 0; k < wf_module_param_count(net); k++) wrt[n++] = wf_module_param_at(net, k);
    wf_var *cotangent = leaf(t, WF_F64, wf_shape_of(y), "cotangent");
    ck_assert_msg(wf_grad(t, 1, &y, &cotangent, n, wrt, grad, NULL), "%s", wf_tape_error(t));
    r = reader_of(label, stored(file, worded("%s grad", label)), 1e-10);
    for (int k = 0; k < n; k++)
        expect(&r, worded("gradient %d", k), wf_count(grad[k]), wf_value(grad[k]));
    expect_end(&r);
}

/* ---- derivatives ---- */

static bool decoded(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    const wf_transformer_call call = {
        .causal = true,
        .lengths = ids_on(t, 2, (int32_t[]){ 3, 1 }),
        .memory_lengths = ids_on(t, 2, (int32_t[]){ 0, 2 }),
    };
    *n_out = 1;
    return (out[0] = wf_transformer_layer_forward(t, context, in[0], in[1], &call)) != NULL;
}

TEST_EACH(derivatives_of_a_decoder_layer_are_those_of_differences, 2)
{
    OWN(wf_module) *net = tree();
    wf_transformer_layer *layer = wf_transformer_layer_new(
        net, "one",
        &(wf_transformer_layer_options){
            .width = 4, .heads = 2, .hidden = 3, .cross = true, .gelu = true, .pre_norm = _i });
    assert_made(net);
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    const wf_tensor in[2] = { *wf_value(drawn(t, WF_F64, WF_SHAPE(3, 2, 4), 1, -2, 2)),
                              *wf_value(drawn(t, WF_F64, WF_SHAPE(2, 2, 4), 2, -2, 2)) };
    assert_proved(wf_gradcheck(decoded, layer, 2, in, &(wf_check_options){ .module = net }));
}

/* ---- what is hidden ---- */

/* The output of the first `rows` steps, and the gradients of the parameters. */
static int64_t everything(wf_tape *t, wf_module *net, wf_var *y, int64_t rows, double *to)
{
    wf_var *wrt[64], *grad[64];
    int64_t at = 0;
    int n = 0;
    for (int64_t k = 0; k < wf_module_param_count(net); k++) wrt[n++] = wf_module_param_at(net, k);
    wf_var *part = wf_slice(t, y, 0, 0, rows, 1);
    wf_var *cotangent = leaf(t, WF_F64, wf_shape_of(part), "cotangent");
    ck_assert_msg(wf_grad(t, 1, &part, &cotangent, n, wrt, grad, NULL), "%s", wf_tape_error(t));
    for (int k = -1; k < n; k++) {
        wf_var *x = k < 0 ? part : grad[k];
        ck_assert(wf_copy_out(x, to + at, wf_count(x)));
        at += wf_count(x);
    }
    return at;
}

/* A leaf (time, 1, WIDTH), of which only the first n steps are numbers. */
static wf_var *padded(wf_tape *t, const char *name, int64_t n, int64_t time)
{
    double x[TIME * WIDTH];
    for (int64_t i = 0; i < time * WIDTH; i++)
        x[i] = i / WIDTH < n ? formula(name, i) : (double)NAN;
    return wf_leaf(t, WF_F64, WF_SHAPE(time, 1, WIDTH), x);
}

TEST_EACH(what_lies_past_the_end_of_a_sequence_or_of_its_memory_is_as_if_it_were_not_there, 18)
{
    const int32_t n = _i / 6, m = _i / 2 % 3; /* steps of x and of the memory: 0, 1, 2 */
    OWN(wf_module) *net = tree();
    const block b = block_of(net, 3, _i & 1);
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    static double got[2][8000];
    int64_t count[2];
    for (int k = 0; k < 2; k++) { /* with padding, and without */
        wf_var *x = padded(t, "x", n, k ? n : TIME), *memory = padded(t, "m", m, k ? m : SOURCE);
        wf_transformer_call call = { .causal = true };
        if (k == 0) call.lengths = ids_on(t, 1, &n);
        if (k == 0) call.memory_lengths = ids_on(t, 1, &m);
        wf_var *y = through(t, &b, x, memory, &call);
        ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
        for (int64_t i = n * WIDTH; i < wf_count(y); i++) ck_assert(wf_at(y, i) == 0);
        count[k] = everything(t, net, y, n, got[k]);
    }
    ck_assert_int_eq(count[0], count[1]);
    assert_close("hidden", count[0], got[0], got[1], 1e-13);
}

TEST(dropout_is_of_training_alone)
{
    OWN(wf_module) *net = tree();
    wf_transformer_layer_options o = { .width = WIDTH, .heads = HEADS, .dropout = 0.5 };
    wf_transformer_layer *drops = wf_transformer_layer_new(net, "one", &o);
    OWN(wf_module) *same = tree();
    o.dropout = 0;
    wf_transformer_layer *keeps = wf_transformer_layer_new(same, "one", &o);
    assert_made(net), assert_made(same);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = leaf(t, WF_F64, WF_SHAPE(TIME, BATCH, WIDTH), "x");
    wf_var *a = wf_transformer_layer_forward(t, drops, x, NULL, NULL),
           *b = wf_transformer_layer_forward(t, keeps, x, NULL, NULL);
    ck_assert(wf_at(a, 0) != wf_at(b, 0));
    wf_tape_set_mode(t, WF_EVAL);
    a = wf_transformer_layer_forward(t, drops, x, NULL, NULL);
    assert_same("eval", a, b, 0);
}

/* ---- one step after another ---- */

TEST_EACH(a_stack_goes_on_from_what_it_keeps_as_it_goes_over_the_whole, 8)
{
    const bool cross = _i & 1, pre = _i & 2, rotary = _i & 4;
    OWN(wf_module) *net = tree();
    wf_transformer_stack *stack = wf_transformer_stack_new(
        net, "stack",
        &(wf_transformer_stack_options){ .layers = 2,
                                         .layer = { .width = WIDTH,
                                                    .heads = HEADS,
                                                    .cross = cross,
                                                    .pre_norm = pre,
                                                    .rotary = rotary } });
    assert_made(net);
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = leaf(t, WF_F64, WF_SHAPE(TIME, BATCH, WIDTH), "x"), *weights[2], *kept[2],
           *state[2] = { NULL };
    wf_var *memory = cross ? leaf(t, WF_F64, WF_SHAPE(SOURCE, BATCH, WIDTH), "memory") : NULL;
    wf_transformer_call call = { .causal = true, .weights = weights };
    if (cross) call.memory_lengths = memory_lengths_on(t);
    wf_var *whole = wf_transformer_stack_forward(t, stack, x, memory, &call);
    if (cross) ck_assert(wf_transformer_stack_memory(t, stack, memory, call.memory_lengths, kept));
    call.weights = weights + 1;
    for (int64_t i = 0, step; i < TIME; i += step) {
        step = i == 0 ? 2 : 1;
        wf_var *part = wf_slice(t, x, 0, i, i + step, 1);
        wf_var *y = wf_transformer_stack_append(t, stack, part, state, cross ? kept : NULL, &call);
        ck_assert_msg(y != NULL, "%s", wf_tape_error(t));
        assert_same("output", y, wf_slice(t, whole, 0, i, i + step, 1), 1e-12);
        wf_var *seen = wf_slice(t, weights[0], 1, i, i + step, 1);
        if (!cross) seen = wf_slice(t, seen, 2, 0, i + step, 1);
        assert_same("weights", weights[1], seen, 1e-12);
    }
}

/* ---- the model ---- */

enum { WORDS = 7, LETTERS = 9 };

static const int32_t source_ids[SOURCE * BATCH] = { 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5 };
static const int32_t target_ids[TIME * BATCH] = { 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6 };

static wf_transformer_options small(wf_positions positions)
{
    return (wf_transformer_options){ .source = WORDS,
                                     .target = LETTERS,
                                     .layer = { .width = WIDTH, .heads = HEADS, .hidden = HIDDEN },
                                     .encoder_layers = 2,
                                     .decoder_layers = 2,
                                     .positions = positions,
                                     .longest = positions == WF_POSITIONS_LEARNED ? TIME : 0 };
}

static wf_var *sources_on(wf_tape *t)
{
    return wf_constant(t, WF_I32, WF_SHAPE(SOURCE, BATCH), source_ids);
}

static wf_var *targets_on(wf_tape *t)
{
    return wf_constant(t, WF_I32, WF_SHAPE(TIME, BATCH), target_ids);
}

TEST_EACH(the_decoder_of_a_transformer_says_word_by_word_what_its_training_says_at_once, 8)
{
    const bool empty = _i & 1;
    OWN(wf_module) *net = tree();
    wf_transformer_options o = small((wf_positions)(_i / 2));
    o.layer.pre_norm = _i & 1;
    wf_transformer *model = wf_transformer_new(net, "model", &o);
    assert_made(net);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_var *lengths = ids_on(t, BATCH, (int32_t[]){ 4, 0, 2 }), *weights;
    wf_transformer_call call = { .memory_lengths = empty ? lengths : NULL, .weights = &weights };
    wf_var *whole = wf_transformer_forward(t, model, sources_on(t), targets_on(t), &call);
    ck_assert_msg(whole != NULL, "%s", wf_tape_error(t));
    wf_decoder decoder;
    ck_assert(wf_transformer_decoder(t, model, sources_on(t), call.memory_lengths, &decoder));
    ck_assert_str_eq(decoder.name, "model");
    wf_var *state[2] = { decoder.initial.at[0], decoder.initial.at[1] };
    ck_assert_int_eq(decoder.initial.n, 2);
    for (int64_t i = 0; i < TIME; i++) {
        wf_decoder_rows rows = { .weigh = true,
                                 .word = ids_on(t, BATCH, target_ids + i * BATCH),
                                 .memory = decoder.memory.at,
                                 .state = state };
        decoder.step(t, decoder.self, &rows);
        ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
        assert_same("features", rows.features, wf_select(t, whole, 0, i), 1e-12);
        assert_same("weights", rows.weights, wf_select(t, weights, 1, i), 1e-12);
        wf_var *logits = decoder.output(t, decoder.self, rows.features);
        ck_assert(wf_dim(logits, 0) == BATCH && wf_dim(logits, 1) == LETTERS);
        ck_assert_int_eq(wf_dim(state[0], 3), i + 1);
    }
}

/* Greedily, by going over all that was written so far again for each word; how many there are. */
static int64_t written_anew(wf_tape *t, const wf_transformer *model, wf_var *source,
                            wf_var *lengths, int64_t row, int64_t most, int32_t ids[])
{
    wf_var *one = wf_slice(t, source, 1, row, row + 1, 1);
    wf_transformer_call call = { .memory_lengths = wf_slice(t, lengths, 0, row, row + 1, 1) };
    int32_t words[8] = { 0 };
    for (int64_t n = 0; n < most; n++) {
        wf_var *so_far = wf_constant(t, WF_I32, WF_SHAPE(n + 1, 1), words);
        wf_var *x = wf_transformer_forward(t, model, one, so_far, &call);
        wf_var *best = wf_argmax(t, wf_linear_forward(t, model->output, wf_select(t, x, 0, n)), -1);
        ids[n] = words[n + 1] = (int32_t)wf_item(best);
        if (ids[n] == 1) return n + 1;
    }
    return most;
}

TEST_EACH(a_transformer_generates_what_going_over_all_of_it_again_would, 4)
{
    OWN(wf_module) *net = tree();
    wf_transformer_options o = small((wf_positions)_i);
    o.longest = _i == WF_POSITIONS_LEARNED ? 8 : 0;
    o.layer.pre_norm = true;
    wf_transformer *model = wf_transformer_new(net, "model", &o);
    assert_made(net);
    fill_params(net); /* far apart, so that words differ */
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_var *lengths = ids_on(t, BATCH, (int32_t[]){ 4, 0, 2 });
    wf_decoder decoder;
    ck_assert(wf_transformer_decoder(t, model, sources_on(t), lengths, &decoder));
    wf_generate_options how = { .begin = 0, .end = 1, .max_length = 6 };
    wf_generated greedy = { 0 }, beams = { 0 }, alone = { 0 };
    ck_assert_msg(wf_generate(t, &decoder, &how, &greedy), "%s", wf_tape_error(t));
    how.beams = 3, how.best = 2, how.weights = true;
    ck_assert_msg(wf_generate(t, &decoder, &how, &beams), "%s", wf_tape_error(t));
    for (int64_t row = 0; row < BATCH; row++) {
        int32_t ids[8];
        int64_t n = written_anew(t, model, sources_on(t), lengths, row, 6, ids);
        ck_assert_int_eq(greedy.at[row].n, n);
        ck_assert_mem_eq(greedy.at[row].ids, ids, (size_t)n * sizeof *ids);
        /* A batch is its sequences, one at a time. */
        ck_assert(wf_transformer_decoder(t, model, wf_slice(t, sources_on(t), 1, row, row + 1, 1),
                                         wf_slice(t, lengths, 0, row, row + 1, 1), &decoder));
        ck_assert_msg(wf_generate(t, &decoder, &how, &alone), "%s", wf_tape_error(t));
        for (int64_t k = 0; k < 2; k++) {
            const wf_hypothesis *a = &beams.at[row * 2 + k], *b = &alone.at[k];
            ck_assert_int_eq(a->n, b->n);
            ck_assert_mem_eq(a->ids, b->ids, (size_t)a->n * sizeof *ids);
            ck_assert_double_eq_tol(a->score, b->score, 1e-12);
        }
    }
    wf_generated_free(&greedy), wf_generated_free(&beams), wf_generated_free(&alone);
}

static bool loss_of(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n_out)
{
    const wf_transformer *model = context;
    wf_transformer_call call = { .lengths = ids_on(t, 2, (int32_t[]){ 2, 1 }),
                                 .memory_lengths = ids_on(t, 2, (int32_t[]){ 0, 3 }) };
    wf_var *features = wf_transformer_forward(t, model, in[0], in[1], &call);
    out[0] = wf_linear_cross_entropy(t, model->output, features, in[1], NULL);
    *n_out = 1;
    return out[0] != NULL;
}

TEST_EACH(derivatives_of_a_model_are_those_of_all_uses_of_a_tied_table, 2)
{
    static int32_t source[6] = { 0, 1, 2, 2, 1, 1 }, target[4] = { 2, 1, 0, 2 };
    OWN(wf_module) *net = tree();
    wf_transformer_options o = { .source = 3,
                                 .target = 3,
                                 .layer = { .width = 2, .heads = 1, .hidden = 2, .pre_norm = _i },
                                 .encoder_layers = 1,
                                 .decoder_layers = 1,
                                 .positions = _i ? WF_POSITIONS_LEARNED : WF_POSITIONS_SINUSOIDAL,
                                 .longest = _i ? 3 : 0,
                                 .one_embedding = true,
                                 .tie_output = true };
    wf_transformer *model = wf_transformer_new(net, "model", &o);
    assert_made(net);
    ck_assert(model->source == model->target && model->output->weight == model->source->weight);
    fill_params(net);
    const wf_tensor in[2] = { wf_tensor_of(WF_I32, WF_SHAPE(3, 2), source),
                              wf_tensor_of(WF_I32, WF_SHAPE(2, 2), target) };
    assert_proved(wf_gradcheck(loss_of, model, 2, in, &(wf_check_options){ .module = net }));
}

TEST(a_model_of_several_threads_has_the_bits_of_one)
{
    uint64_t hash[2];
    for (int k = 0; k < 2; k++) {
        OWN(wf_module) *net = wf_module_new("net", NULL);
        wf_transformer_options o = small(WF_POSITIONS_SINUSOIDAL);
        o.layer.width = 64, o.layer.hidden = 128, o.layer.dropout = 0.1;
        wf_transformer *model = wf_transformer_new(net, "model", &o);
        assert_made(net);
        OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .threads = k ? 4 : 1, .seed = 3 });
        wf_var *x = wf_transformer_forward(t, model, sources_on(t), targets_on(t), NULL);
        wf_var *loss = wf_linear_cross_entropy(t, model->output, x, targets_on(t), NULL);
        ck_assert_msg(wf_backward(t, loss), "%s", wf_tape_error(t));
        hash[k] = hash_tensor(HASH, wf_value(x));
        for (int64_t i = 0; i < wf_module_param_count(net); i++)
            hash[k] = hash_tensor(hash[k], wf_param_grad(wf_module_param_at(net, i)));
    }
    ck_assert(hash[0] == hash[1]);
}

/* Only where there is a PyTorch: it is no dependency of the tests. */
TEST_EACH(a_transformer_that_weft_saved_loads_in_pytorch_and_answers_alike,
          getenv("WEFT_TORCH") ? 4 : 0)
{
    wf_error e = { "" };
    const char *path = path_of("model.safetensors"), *answer = path_of("answer.safetensors");
    const bool placed = _i & 1, pre = _i & 2;
    OWN(wf_module) *net = tree();
    wf_transformer_options o = small(placed ? WF_POSITIONS_SINUSOIDAL : WF_POSITIONS_NONE);
    o.layer.pre_norm = pre, o.layer.gelu = pre, o.final_norm = _i == 0;
    wf_transformer *model = wf_transformer_new(net, "model", &o);
    assert_made(net);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_var *x = wf_transformer_forward(t, model, sources_on(t), targets_on(t), NULL);
    wf_var *logits = wf_linear_forward(t, model->output, x);
    ck_assert_msg(logits != NULL, "%s", wf_tape_error(t));
    wf_named said[3] = { { "source", *wf_value(sources_on(t)) },
                         { "target", *wf_value(targets_on(t)) },
                         { "logits", *wf_value(logits) } };
    ck_assert_msg(wf_module_save(model->module, path, NULL, 0, &e), "%s", e.text);
    ck_assert_msg(wf_safetensors_save(answer, said, 3, NULL, 0, &e), "%s", e.text);
    const char *command = worded(
        "\"$WEFT_TORCH\" '%s/tests/fixtures/load_transformer_in_torch.py' '%s' '%s' %d %s %s",
        WF_SOURCE_DIR, path, answer, HEADS, placed ? "sinusoidal" : "", pre ? "pre_norm gelu" : "");
    ck_assert_msg(system(command) == 0, "PyTorch does not read what Weft saved");
}
