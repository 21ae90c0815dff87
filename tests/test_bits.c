/* The same bits: a training run of full size ends in the same parameters, optimiser and carry, and
 * a loop of any kind in the same outputs and gradients, whatever the number of threads; and
 * whatever the caller's rounding mode and traps are, all that the library computes is the same and
 * they are given back. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/fixture.h"
#include "tests/loops.h"
#include "tests/model.h"

#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const int threads[] = { 1, 2, 3, 5 };
enum { COUNTS = sizeof threads / sizeof threads[0] };

typedef struct run_result {
    uint64_t hash;
    int width; /* how many threads really ran at once */
} run_result;

/* What runs in a child, the number of threads being the runtime's, set once in a process; false
 * after saying why. */
typedef bool a_run(const void *of, run_result *out);

static run_result with_threads(int n, a_run *run, const void *of)
{
    run_result out = { 0, -1 };
    int pipes[2];
    ck_assert_int_eq(pipe(pipes), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        wf_error e = { { 0 } };
        if (!wf_runtime_set(&(wf_runtime){ .threads = n }, &e)) _exit(1);
        wf_par_width();
        if (!run(of, &out)) _exit(1);
        out.width = wf_par_width();
        _exit(write(pipes[1], &out, sizeof out) == sizeof out ? 0 : 1);
    }
    close(pipes[1]);
    bool got = read(pipes[0], &out, sizeof out) == sizeof out;
    close(pipes[0]);
    ck_assert_msg(exit_of(child) == 0 && got, "the run with %d threads died", n);
    return out;
}

/* The run has the same bits for all counts of threads; what they are. wide: it has work for all. */
static uint64_t same_bits(const char *name, a_run *run, const void *of, bool wide)
{
    uint64_t first = 0;
    for (int i = 0; i < COUNTS; i++) {
        const run_result o = with_threads(threads[i], run, of);
        ck_assert_msg(!wide || o.width == threads[i], "%s: %d threads ran where %d were asked for",
                      name, o.width, threads[i]);
        if (i == 0) first = o.hash;
        ck_assert_msg(o.hash == first, "%s: %d threads give %016llx, 1 gives %016llx", name,
                      threads[i], (unsigned long long)o.hash, (unsigned long long)first);
    }
    return first;
}

/* ---- training runs ---- */

typedef struct training_run {
    const wf_cell *cell;
    int64_t steps;
    bool full;
} training_run;

static bool train(const void *of, run_result *out)
{
    const training_run *g = of;
    model r;
    wf_error e = { { 0 } };
    const model_size size = { .cell = g->cell,
                              .letters = 65,
                              .time = g->full ? 64 : 16,
                              .batch = 33,
                              .embed = 64,
                              .hidden = g->full ? 256 : 96,
                              .layers = 2,
                              .dropout = 0.2,
                              .clip = 1,
                              .ragged = true };
    if (!model_make(&r, size, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return false;
    }
    bool ok = true;
    for (int64_t i = 0; ok && i < g->steps; i++) ok = model_step(&r, i);
    out->hash = model_hash(&r);
    model_free(&r);
    return ok;
}

/* Full size with vector kernels, and then all 50 steps at the highest level; both everywhere when
 * time was given (WEFT_FULL). Sanitizers see all there is to see in a few steps of a small size. */
TEST_EACH(a_training_run_has_the_same_bits_for_any_number_of_threads, cells_built_in())
{
    const wf_cell *cell = cell_at(_i);
    bool time_given = getenv("WEFT_FULL") != NULL;
#if HARNESS_ADDRESSES || defined(__SANITIZE_THREAD__)
    bool full = false;
#else
    bool full = time_given || wf_isa_level() != WF_ISA_C;
#endif
    int64_t steps = full && (time_given || wf_isa_level() == WF_ISA_AVX512) ? 50 : 5;
    const uint64_t hash = same_bits(cell->name, train, &(training_run){ cell, steps, full }, true);
    printf("%s: %lld steps, hash %016llx for 1, 2, 3 and 5 threads\n", cell->name, (long long)steps,
           (unsigned long long)hash);
}

/* ---- loops ---- */

typedef struct looping {
    int kind;
    loop_size size;
} looping;

/* Outputs of inference, and gradients, on full sequences and on ragged ones. */
static bool run_loop(const void *of, run_result *out)
{
    const looping *g = of;
    loop l;
    wf_error e = { { 0 } };
    int32_t lengths[33];
    wf_tape *t = wf_tape_new(NULL);
    bool ok = loop_make(&l, g->kind, g->size, &e);
    loop_lengths(3, g->size, lengths);
    out->hash = HASH;
    for (int i = 0; ok && i < 4; i++) {
        wf_tape_set_mode(t, i < 2 ? WF_INFER : WF_TRAIN);
        ok = loop_step(&l, t, g->size, i % 2 ? lengths : NULL);
        out->hash = hash_tensor(out->hash, wf_value(l.y));
        for (int k = 0; k < wf_module_param_count(l.net); k++)
            out->hash = hash_tensor(out->hash, wf_param_grad(wf_module_param_at(l.net, k)));
    }
    loop_free(&l);
    wf_tape_free(t);
    return ok;
}

TEST_EACH(a_loop_has_the_same_bits_for_any_number_of_threads, 2 * LOOPS)
{
    const loop_size sizes[] = { { 20, 33, 64, 96 }, { 40, 1, 64, 256 } };
    const looping g = { _i / 2, sizes[_i % 2] };
    same_bits(loop_name(g.kind), run_loop, &g, false);
}

/* ---- the caller's floating-point state ---- */

/* What is computed, mixed into one number. No line of these functions computes in floating point
 * itself: that would be in the caller's state. */
static uint64_t mix(uint64_t hash, const void *at, size_t n)
{
    return hash_bytes(hash, at, (int64_t)n);
}

static uint64_t mix_number(uint64_t hash, double x)
{
    return mix(hash, &x, sizeof x);
}

static uint64_t mix_var(uint64_t hash, const wf_var *v)
{
    const wf_tensor *x = wf_value(v);
    return x ? hash_tensor(hash, x) : hash * 3;
}

static const float f32[] = { 0.1F, -2.7F, 1e-40F, 3e38F, -0.0F, 1.5F, 7.25F, 1e-3F };
static const double f64[] = { 0.1, -2.7, 1e-40, 1e300, 1.0 / 3, 2.5, 1e-310, -1e9 };
static const int32_t i32[] = { 16777217, -5, 2147483647, 3, 0, 1, 2, 4 };

static uint64_t tensors(void)
{
    uint64_t hash = 1;
    char text[2000];
    union {
        float f32[8];
        double f64[8];
        int32_t i32[8];
    } to;
    const void *const from[] = { f32, f64, i32 };
    for (wf_dtype a = WF_F32; a <= WF_I32; a++) {
        wf_tensor x = wf_tensor_of(a, WF_SHAPE(2, 4), (void *)from[a]);
        for (int64_t i = 0; i < 8; i++) hash = mix_number(hash, wf_tensor_at(&x, i));
        hash = mix(hash, text, wf_tensor_text(&x, text, sizeof text));
        for (wf_dtype b = WF_F32; b <= WF_I32; b++) {
            wf_tensor y = wf_tensor_of(b, WF_SHAPE(2, 4), &to);
            memset(&to, 0, sizeof to);
            wf_tensor_copy(&x, &y);
            hash = mix(hash, &to, sizeof to);
            for (int i = 0; i < 8; i++) {
                wf_tensor_fill(&y, f64[i]);
                hash = mix(hash, &to, sizeof to);
            }
            if (a == b && a != WF_I32) wf_tensor_add(&x, &y);
            hash = mix(hash, &to, sizeof to);
        }
    }
    float c[4] = { 1, 2, 3, 4 };
    wf_gemm(1, 0.1, wf_matrix_of(WF_F32, f32, 2, 2), wf_matrix_of(WF_F32, f32, 2, 2), 0.3,
            wf_matrix_of(WF_F32, c, 2, 2));
    return mix(hash, c, sizeof c);
}

static uint64_t random_numbers(void)
{
    uint64_t hash = 1;
    for (uint64_t i = 0; i < 200; i++) {
        hash = mix_number(hash, wf_random_normal(5, i));
        hash = mix_number(hash, wf_random_uniform(5, i));
    }
    static const wf_init kinds[] = {
        { .kind = WF_INIT_CONSTANT, .a = 0.1 },
        { .kind = WF_INIT_UNIFORM, .a = -0.3, .b = 0.7 },
        { .kind = WF_INIT_NORMAL, .a = 0.1, .b = 3 },
        { .kind = WF_INIT_FAN_IN, .a = 1 },
        { .kind = WF_INIT_XAVIER },
        { .kind = WF_INIT_ORTHOGONAL, .rows = 3 },
        { .kind = WF_INIT_IDENTITY, .a = 0.1 },
    };
    for (wf_dtype dtype = WF_F32; dtype <= WF_F64; dtype++) {
        OWN(wf_module) *net = wf_module_new("net",
                                            &(wf_module_options){ .seed = 3, .dtype = dtype });
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            char name[8] = { 'w', (char)('a' + i) };
            wf_var *v = wf_param_new(net, name, WF_SHAPE(6, 5), kinds[i]);
            hash = hash_tensor(hash, wf_param_value(v));
        }
    }
    return hash;
}

static uint64_t ops(void)
{
    uint64_t hash = 1;
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .seed = 4 });
    wf_var *x = wf_leaf(t, WF_F64, WF_SHAPE(2, 4), f64),
           *y = wf_leaf(t, WF_F32, WF_SHAPE(2, 4), f32);
    wf_var *small = wf_tanh(t, x), *mean = wf_mean(t, wf_mul(t, small, small), NULL),
           *gradient = NULL;
    const wf_cross_entropy_options smooth = { .label_smoothing = 0.1 };
    hash = mix_var(hash, wf_full(t, WF_F32, WF_SHAPE(3), 0.1));
    hash = mix_var(hash, wf_arange(t, WF_F64, 0.1, 2.3, 0.3));
    hash = mix_var(hash, wf_cast(t, x, WF_F32));
    hash = mix_var(hash, wf_dropout(t, small, 0.3));
    hash = mix_var(hash, wf_clamp(t, x, -0.1, 0.1));
    hash = mix_var(hash, wf_norm(t, small, NULL));
    hash = mix_var(
        hash, wf_cross_entropy_with(t, y, wf_constant(t, WF_I32, WF_SHAPE(2), i32 + 5), &smooth));
    wf_var *length = wf_constant(t, WF_I32, WF_SHAPE(2), i32 + 5);
    hash = mix_var(hash, wf_length_mask(t, length, 3));
    if (!wf_grad(t, 1, &mean, NULL, 1, &x, &gradient, &with_graph)) hash = 0;
    hash = mix_var(hash, gradient);
    hash = mix_number(hash, wf_item(mean));
    hash = mix(hash, wf_tape_error(t), strlen(wf_tape_error(t)));
    wf_tape_free(t);
    t = wf_tape_new(NULL);
    wf_dropout(t, wf_zeros(t, WF_F32, WF_SHAPE(3)),
               (double)NAN); /* what is compared is no number */
    hash = mix(hash, wf_tape_error(t), strlen(wf_tape_error(t)));
    wf_tape_free(t);
    return hash;
}

static uint64_t mix_report(uint64_t hash, const wf_report *r)
{
    ck_assert_msg(r->ok, "%s", r->text);
    return mix(mix_number(hash, r->worst), r->text, strlen(r->text));
}

static bool cubes(wf_tape *t, void *context, wf_var *const in[], wf_var *out[8], int *n)
{
    (void)context;
    out[0] = wf_pow_scalar(t, in[0], 3);
    *n = 1;
    return true;
}

static uint64_t checkers(void)
{
    static const char *const rows[] = {
        "affine",  "affine_cross_entropy", "cross_entropy", "dropout",    "mean",
        "softmax", "gather_rows",          "tanh",          "pow_scalar", "norm"
    };
    uint64_t hash = 1;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        wf_report r = wf_op_check(op_named(rows[i]), NULL);
        hash = mix_report(hash, &r);
    }
    wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(2), (void *)(f64 + 4));
    wf_report r = wf_gradcheck(cubes, NULL, 1, &x, NULL);
    hash = mix_report(hash, &r);
    r = wf_cell_check(wf_gru_row(), NULL);
    return mix_report(hash, &r);
}

static uint64_t rules(void)
{
    uint64_t hash = 1;
    for (int rule = 0; rule < 4; rule++) {
        OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 3 });
        wf_linear *layer = wf_linear_new(net, "layer",
                                         &(wf_linear_options){ .input = 4, .output = 3 });
        OWN(wf_optim) *o =
            rule == 0
                ? wf_sgd_new(net, &(wf_sgd_options){ .lr = 0.1, .momentum = 0.9, .nesterov = true })
            : rule == 1
                ? wf_rmsprop_new(net, &(wf_rmsprop_options){ .centered = true, .alpha = 0.7 })
            : rule == 2 ? wf_adam_new(net, &(wf_adam_options){ .amsgrad = true })
                        : wf_adamw_new(net, &(wf_adamw_options){ .lr = 0.01 });
        OWN(wf_tape) *t = wf_tape_new(NULL);
        for (int step = 0; step < 3; step++) {
            wf_tape_reset(t);
            wf_var *x = wf_full(t, WF_F32, WF_SHAPE(2, 4), 0.3);
            if (!wf_backward(t, wf_sum(t, wf_linear_forward(t, layer, x), NULL))) hash = 0;
            hash = mix_number(hash, wf_optim_clip_norm(o, 0.7));
            wf_optim_clip_value(o, 0.2);
            if (!wf_optim_step(o)) hash = 0;
            wf_optim_set_lr(o, 0.03);
        }
        char path[600];
        wf_error e = { { 0 } };
        wf_format(path, sizeof path, "%s/rule", harness_folder());
        if (!wf_optim_save(o, path, &e) || !wf_optim_load(o, path, &e)) hash = 0;
        hash = mix_number(hash, wf_optim_lr(o));
        hash ^= hash_params(HASH, net);
    }
    return hash;
}

/* Corpora, files and numbers as text. */
static uint64_t data(void)
{
    uint64_t hash = 1;
    char text[1000], path[600];
    wf_error e = { { 0 } };
    for (int i = 0; i < 999; i++) text[i] = (char)('a' + i * i % 23);
    text[999] = 0;
    const wf_corpus_options o = { .batch = 2, .time = 5, .valid = 0.137 };
    wf_corpus *c = wf_corpus_from_memory("text", text, 999, &o, &e);
    hash = mix_number(hash, 1) + (uint64_t)wf_corpus_train_count(c);
    wf_corpus_free(c);
    wf_named named = { "w", wf_tensor_of(WF_F64, WF_SHAPE(2), (void *)f64) };
    wf_format(path, sizeof path, "%s/numbers", harness_folder());
    wf_module *net = wf_module_new("net", NULL);
    wf_var *w = wf_param_new(net, "w", WF_SHAPE(2), (wf_init){ 0 });
    if (!wf_safetensors_save(path, &named, 1, NULL, 0, &e) || !wf_module_load(net, path, &e))
        hash = 0;
    hash = hash_tensor(hash, wf_param_value(w));
    wf_module_free(net);
    double x = 0;
    hash = mix(hash, text, wf_format(text, sizeof text, "%.1f %g %.3e", 0.25, 1.0 / 3, 2.0 / 3));
    if (!wf_parse_number("0.1", &x)) hash = 0;
    return mix_number(hash, x);
}

static uint64_t training(void)
{
    model r;
    wf_error e = { { 0 } };
    const model_size size = { .cell = wf_lstm_row(),
                              .letters = 65,
                              .time = 12,
                              .batch = 9,
                              .embed = 40,
                              .hidden = 72,
                              .layers = 2,
                              .dropout = 0.2,
                              .clip = 1,
                              .ragged = true };
    if (!model_make(&r, size, &e)) return 0;
    uint64_t hash = model_step(&r, 0) && model_step(&r, 1) ? model_hash(&r) : 0;
    model_free(&r);
    return hash;
}

static const struct work {
    const char *name;
    uint64_t (*run)(void);
} works[] = {
    { "tensors", tensors },   { "random numbers", random_numbers },
    { "ops", ops },           { "checkers", checkers },
    { "optimisers", rules },  { "data", data },
    { "training", training },
};
enum { WORKS = sizeof works / sizeof works[0] };

static const struct mode {
    const char *name;
    int rounding;
    bool traps;
} modes[] = {
    { "to nearest", FE_TONEAREST, false }, { "upward", FE_UPWARD, false },
    { "downward", FE_DOWNWARD, false },    { "towards zero", FE_TOWARDZERO, false },
    { "with traps", FE_TONEAREST, true },  { "upward with traps", FE_UPWARD, true },
};

static uint64_t in_mode(const struct work *w, const struct mode *m)
{
    uint64_t hash = 0;
    int pipes[2];
    ck_assert_int_eq(pipe(pipes), 0);
    fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        feclearexcept(FE_ALL_EXCEPT);
        if (fesetround(m->rounding) != 0 || (m->traps && feenableexcept(FE_ALL_EXCEPT) < 0))
            _exit(2);
        hash = w->run();
        if (fegetround() != m->rounding || fegetexcept() != (m->traps ? FE_ALL_EXCEPT : 0))
            _exit(3);
        _exit(write(pipes[1], &hash, sizeof hash) == sizeof hash ? 0 : 1);
    }
    close(pipes[1]);
    bool got = read(pipes[0], &hash, sizeof hash) == sizeof hash;
    close(pipes[0]);
    const int ended = exit_of(child);
    ck_assert_msg(ended != 3, "%s, %s: the caller's state was changed", w->name, m->name);
    ck_assert_msg(got && ended == 0, "%s, %s: it ended with %d", w->name, m->name, ended);
    return hash;
}

TEST_EACH(the_callers_rounding_mode_and_traps_change_no_bit_and_are_given_back, WORKS)
{
    const struct work *w = &works[_i];
    uint64_t want = in_mode(w, &modes[0]);
    ck_assert(want != 0);
    for (size_t i = 1; i < sizeof modes / sizeof modes[0]; i++) {
        uint64_t got = in_mode(w, &modes[i]);
        ck_assert_msg(got == want, "%s, %s: other bits", w->name, modes[i].name);
    }
}
