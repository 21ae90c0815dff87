/* A steady training loop asks the heap for nothing: malloc and its kin are interposed and
 * counted from the third step on. */
#include "tests/loops.h"
#include "tests/model.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic int64_t ours, of_blis;
static _Atomic bool counting;

#if !HARNESS_ADDRESSES /* which owns malloc */
#include <dlfcn.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *p, size_t bytes);
extern void *__libc_memalign(size_t align, size_t bytes);

static _Thread_local bool inside;

static void count(const void *caller)
{
    if (!atomic_load(&counting) || inside) return;
    inside = true; /* dladdr may allocate */
    Dl_info about;
    bool blis = dladdr(caller, &about) && about.dli_fname && strstr(about.dli_fname, "libblis");
    atomic_fetch_add(blis ? &of_blis : &ours, 1);
    inside = false;
}

void *malloc(size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_calloc(n, bytes);
}

void *realloc(void *p, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_realloc(p, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_memalign(align, bytes);
}

void *memalign(size_t align, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_memalign(align, bytes);
}

int posix_memalign(void **out, size_t align, size_t bytes)
{
    count(__builtin_return_address(0));
    *out = __libc_memalign(align, bytes);
    return *out ? 0 : 12;
}
#endif

/* Ten steps, of which the first two may ask for memory: no other does. */
typedef bool a_step(void *of, int64_t i);
static void assert_steady(const char *name, a_step *step, void *of)
{
    for (int64_t i = 0; i < 2; i++) ck_assert(step(of, i));
    void *volatile sign_of_life;
    atomic_store(&counting, true);
    sign_of_life = malloc(16);
    int64_t counted = ours;
    bool ok = true; /* Check's own assertions allocate */
    for (int64_t i = 2; i < 12; i++) ok = step(of, i) && ok;
    atomic_store(&counting, false);
    ck_assert(ok);
    free(sign_of_life);
    ck_assert_int_eq(counted, 1); /* the count is real */
    printf("%s: %lld allocations of ours in 10 steps, %lld of BLIS\n", name,
           (long long)(ours - counted), (long long)of_blis);
    ck_assert_int_eq(ours, counted);
}

static bool train_model(void *of, int64_t i)
{
    return model_step(of, i);
}

TEST_EACH(after_the_second_step_nothing_of_ours_asks_for_memory, cells_built_in())
{
    if (HARNESS_ADDRESSES) {
        harness_skip("the sanitizer owns malloc");
        return;
    }
    model r;
    wf_error e = { { 0 } };
    model_size size = { .cell = cell_at(_i),
                        .letters = 65,
                        .time = 16,
                        .batch = 9,
                        .embed = 32,
                        .hidden = 64,
                        .layers = 2,
                        .dropout = 0.2,
                        .clip = 1,
                        .ragged = true };
    ck_assert_msg(model_make(&r, size, &e), "%s", e.text);
    /* Lengths differ from step to step; what they need is the same. */
    assert_steady(size.cell->name, train_model, &r);
    model_free(&r);
}

/* A loop on a tape; in every second of them sequences of other lengths at each step. */
typedef struct looping {
    loop *l;
    wf_tape *t;
    bool ragged;
} looping;

static bool train_loop(void *of, int64_t i)
{
    const looping *on = of;
    int32_t lengths[9];
    loop_lengths((uint64_t)i, on->l->most, lengths);
    return loop_step(on->l, on->t, on->l->most, on->ragged ? lengths : NULL);
}

TEST_EACH(after_the_second_step_no_loop_asks_for_memory, 2 * LOOPS)
{
    if (HARNESS_ADDRESSES) {
        harness_skip("the sanitizer owns malloc");
        return;
    }
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_error e = { { 0 } };
    loop l;
    ck_assert_msg(loop_make(&l, _i / 2, (loop_size){ 16, 9, 32, 64 }, &e), "%s", e.text);
    assert_steady(loop_name(_i / 2), train_loop, &(looping){ &l, t, _i % 2 });
    wf_tape_set_mode(t, WF_INFER);
    ours = 0;
    assert_steady(loop_name(_i / 2), train_loop, &(looping){ &l, t, _i % 2 });
    loop_free(&l);
}

/* A transformer that trains, or writes eight words. */
typedef struct translating {
    wf_module *net;
    wf_transformer *model;
    wf_optim *adam;
    wf_tape *t;
} translating;

static bool train_transformer(void *of, int64_t i)
{
    const translating *on = of;
    int32_t source[11 * 4], target[7 * 4], length[4];
    for (int k = 0; k < 44; k++) source[k] = (int32_t)((k * 7 + i) % 50);
    for (int k = 0; k < 28; k++) target[k] = (int32_t)((k * 3 + i) % 40);
    for (int k = 0; k < 4; k++) length[k] = (int32_t)((k * 5 + i) % 12);
    wf_tape *t = on->t;
    wf_tape_reset(t);
    wf_var *x = wf_constant(t, WF_I32, WF_SHAPE(11, 4), source);
    wf_var *y = wf_constant(t, WF_I32, WF_SHAPE(7, 4), target);
    wf_transformer_call call = { .memory_lengths = wf_constant(t, WF_I32, WF_SHAPE(4), length) };
    wf_var *features = wf_transformer_forward(t, on->model, x, y, &call);
    wf_var *loss = wf_linear_cross_entropy(t, on->model->output, features, y, NULL);
    return wf_backward(t, loss) && wf_optim_step(on->adam);
}

static bool write_words(void *of, int64_t i)
{
    const translating *on = of;
    int32_t source[11 * 4];
    for (int k = 0; k < 44; k++) source[k] = (int32_t)((k * 7 + i) % 50);
    wf_tape *t = on->t;
    wf_tape_reset(t);
    wf_decoder decoder;
    wf_var *x = wf_constant(t, WF_I32, WF_SHAPE(11, 4), source), *state[2];
    if (!wf_transformer_decoder(t, on->model, x, NULL, &decoder)) return false;
    memcpy(state, decoder.initial.at, sizeof state);
    wf_var *word = wf_zeros(t, WF_I32, WF_SHAPE(4));
    for (int k = 0; k < 8; k++) {
        wf_decoder_rows rows = { .word = word, .memory = decoder.memory.at, .state = state };
        decoder.step(t, decoder.self, &rows);
        word = wf_argmax(t, decoder.output(t, decoder.self, rows.features), -1);
    }
    return wf_tape_ok(t);
}

TEST(after_the_second_step_no_transformer_asks_for_memory)
{
    if (HARNESS_ADDRESSES) {
        harness_skip("the sanitizer owns malloc");
        return;
    }
    OWN(wf_module) *net = wf_module_new("net", NULL);
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .seed = 5 });
    const wf_transformer_options o = { .source = 50,
                                       .target = 40,
                                       .layer = { .width = 32, .heads = 4, .dropout = 0.1 },
                                       .encoder_layers = 2,
                                       .decoder_layers = 2 };
    translating on = { net, wf_transformer_new(net, "model", &o), NULL, t };
    ck_assert(wf_module_ok(net, NULL));
    OWN(wf_optim) *adam = on.adam = wf_adam_new(net, NULL);
    assert_steady("training", train_transformer, &on);
    wf_tape_set_mode(t, WF_INFER);
    ours = 0;
    assert_steady("writing", write_words, &on);
}

/* A net over pictures: convolutions of each kind, batch_norm with running statistics, pooling. */
typedef struct looking {
    wf_module *net;
    wf_conv2d_layer *wide, *apart, *depthwise;
    wf_conv1d_layer *line;
    wf_batch_norm_layer *norm;
    wf_optim *adam;
    wf_tape *t;
    bool learns;
} looking;

static wf_var *looked_at(const looking *on, wf_var *x)
{
    wf_tape *t = on->t;
    x = wf_batch_norm_forward(t, on->norm, wf_conv2d_forward(t, on->wide, x), NULL);
    x = wf_max_pool2d(t, wf_relu(t, x), &(wf_pool2d_options){ .kernel = { 2, 2 } });
    x = wf_relu(t, wf_conv2d_forward(t, on->depthwise, x));
    x = wf_conv2d_forward(t, on->apart, x);
    x = wf_mean_pool2d(t, x, &(wf_pool2d_options){ .kernel = { 2, 3 }, .stride = { 1, 2 } });
    x = wf_reshape(t, x, WF_SHAPE(wf_dim(x, 0), wf_dim(x, 1), wf_dim(x, 2) * wf_dim(x, 3)));
    x = wf_conv1d_forward(t, on->line, x);
    return wf_max_pool1d(t, x, &(wf_pool1d_options){ .kernel = 3, .padding = 1 });
}

static bool look(void *of, int64_t i)
{
    const looking *on = of;
    float pictures[9 * 3 * 20 * 30];
    wf_tape *t = on->t;
    for (int k = 0; k < (int)(sizeof pictures / sizeof *pictures); k++)
        pictures[k] = (float)((k * 7 + i) % 11) - 5;
    wf_tape_reset(t);
    wf_var *y = looked_at(on, wf_constant(t, WF_F32, WF_SHAPE(9, 3, 20, 30), pictures));
    wf_var *loss = wf_mean(t, wf_square(t, y), NULL);
    return on->learns ? wf_backward(t, loss) && wf_optim_step(on->adam) : wf_tape_ok(t);
}

TEST(after_the_second_step_no_convolution_asks_for_memory)
{
    if (HARNESS_ADDRESSES) {
        harness_skip("the sanitizer owns malloc");
        return;
    }
    OWN(wf_module) *net = wf_module_new("net", NULL);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    looking on = { .net = net, .t = t, .learns = true };
    on.wide = wf_conv2d_new(
        net, "wide",
        &(wf_conv2d_layer_options){ .input = 3, .output = 16, .kernel = { 3, 3 }, .same = true });
    on.norm = wf_batch_norm_new(net, "norm", &(wf_batch_norm_options){ .features = 16 });
    on.depthwise = wf_conv2d_new(
        net, "depthwise",
        &(wf_conv2d_layer_options){
            .input = 16, .output = 16, .kernel = { 3, 3 }, .same = true, .groups = 16 });
    on.apart = wf_conv2d_new(
        net, "apart",
        &(wf_conv2d_layer_options){
            .input = 16, .output = 24, .kernel = { 3, 3 }, .stride = { 2, 2 }, .groups = 2 });
    on.line = wf_conv1d_new(
        net, "line",
        &(wf_conv1d_layer_options){ .input = 24, .output = 8, .kernel = 3, .dilation = 2 });
    ck_assert(wf_module_ok(net, NULL));
    OWN(wf_optim) *adam = on.adam = wf_adam_new(net, NULL);
    assert_steady("a net over pictures", look, &on);
    wf_tape_set_mode(t, WF_INFER);
    ours = 0;
    on.learns = false;
    assert_steady("a net over pictures, looking", look, &on);
}
