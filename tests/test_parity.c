/* The same numbers as PyTorch: recurrent layers, optimisers, clipping and fifty steps of
 * training against the committed results of tests/fixtures/make_fixtures.py, and files that
 * either side reads from the other. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef WF_SOURCE_DIR
#error "WF_SOURCE_DIR must be the folder of the sources, as a string: tests/fixtures is in it"
#endif

/* ---- the formula that both sides compute, and what is stored ---- */

/* Numbers in [-0.5, 0.5) from a name: splitmix64 of FNV-1a(name) + index, the upper 53 bits. */
static double formula(const char *name, int64_t index)
{
    uint64_t z = UINT64_C(0xCBF29CE484222325);
    for (const char *c = name; *c; c++) z = (z ^ (unsigned char)*c) * UINT64_C(0x100000001B3);
    z += ((uint64_t)index + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53 - 0.5;
}

static void fill(const wf_tensor *x, const char *name)
{
    ck_assert(wf_tensor_is_contiguous(x));
    for (int64_t i = 0; i < wf_tensor_count(x); i++) put(x, i, formula(name, i));
}

/* Every parameter of the tree becomes the formula of its path. */
static void fill_params(wf_module *net)
{
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        wf_var *p = wf_module_param_at(net, i);
        fill(wf_param_value(p), wf_param_path(p));
        wf_param_changed(p);
    }
}

static wf_var *leaf(wf_tape *t, wf_dtype dtype, wf_shape shape, const char *name)
{
    wf_var *x = wf_leaf(t, dtype, shape, NULL);
    ck_assert_msg(x != NULL, "%s", wf_tape_error(t));
    fill(wf_value(x), name);
    return x;
}

static const char *fixture_path(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/tests/fixtures/%s.safetensors", WF_SOURCE_DIR, name);
    return path;
}

static wf_archive *open_fixture(const char *name)
{
    wf_error e = { 0 };
    wf_archive *a = wf_safetensors_load(fixture_path(name), &e);
    ck_assert_msg(a != NULL, "%s", e.text);
    return a;
}

static const wf_tensor *stored(const wf_archive *a, const char *name)
{
    const wf_tensor *x = wf_archive_find(a, name);
    ck_assert_msg(x != NULL, "the fixture has no '%s'", name);
    return x;
}

/* Stored numbers that were several tensors end to end, compared one tensor after another. */
typedef struct reader {
    const char *label;
    const wf_tensor *part[3];
    int parts; /* the sum of these is expected */
    int64_t at;
    double tolerance;
} reader;

static void expect(reader *r, const char *what, int64_t count, const wf_tensor *found)
{
    ck_assert_msg(!found || wf_tensor_count(found) == count, "%s: %s has the wrong size", r->label,
                  what);
    for (int64_t i = 0; i < count; i++, r->at++) {
        double want = 0, have = found ? wf_tensor_at(found, i) : 0; /* no gradient arrived: zeros */
        for (int k = 0; k < r->parts; k++) want += wf_tensor_at(r->part[k], r->at);
        ck_assert_msg(fabs(have - want) <= r->tolerance,
                      "%s: %s[%lld] is %.17g, PyTorch's is %.17g: %.3g apart", r->label, what,
                      (long long)i, have, want, fabs(have - want));
    }
}

static void expect_end(const reader *r)
{
    ck_assert_msg(r->at == wf_tensor_count(r->part[0]),
                  "%s: %lld of %lld stored numbers were compared", r->label, (long long)r->at,
                  (long long)wf_tensor_count(r->part[0]));
}

/* ---- recurrent layers ---- */

enum { TIME = 5, BATCH = 3, INPUT = 4, HIDDEN = 6 };

/* How the layer runs, and how near it must come: double to 1e-10, float to a bound of its own. */
static const struct mode {
    const char *name;
    bool stepwise;
    wf_dtype dtype;
    double tolerance;
} modes[] = {
    { "f64", false, WF_F64, 1e-10 },
    { "f64, step by step", true, WF_F64, 1e-10 },
    { "f32", false, WF_F32, 2e-5 },
};
enum { MODES = sizeof modes / sizeof modes[0] };

/* Each cell with the outputs that are given a cotangent. */
static const struct asked {
    const char *cell, *outputs;
} asked[] = { { "rnn", "y" },  { "rnn", "h" },    { "rnn", "yh" }, { "relu", "y" },
              { "relu", "h" }, { "relu", "yh" },  { "lstm", "y" }, { "lstm", "h" },
              { "lstm", "c" }, { "lstm", "yhc" }, { "gru", "y" },  { "gru", "h" },
              { "gru", "yh" } };
enum { ASKED = sizeof asked / sizeof asked[0], FORMS = 8 }; /* forms: layers, directions, lengths */

static wf_rnn *recurrent(wf_module *net, const char *cell, const wf_rnn_options *options)
{
    wf_rnn_options o = *options;
    if (strcmp(cell, "lstm") == 0) return wf_lstm_new(net, "net", &o);
    if (strcmp(cell, "gru") == 0) return wf_gru_new(net, "net", &o);
    wf_elman_cell elman = { .relu = strcmp(cell, "relu") == 0 };
    o.prototype = &elman;
    return wf_elman_new(net, "net", &o);
}

/* The parameters in PyTorch's order; visit is called with each under its name. */
static void each_param(const wf_rnn *rnn, int layers, int directions,
                       void (*visit)(void *context, const char *name, wf_var *p), void *context)
{
    static const char *const fields[] = { "weight_ih", "weight_hh", "bias_ih", "bias_hh" };
    int count = 0;
    for (int l = 0; l < layers; l++) {
        for (int d = 0; d < directions; d++) {
            for (int f = 0; f < 4; f++, count++) {
                char name[64];
                snprintf(name, sizeof name, "%s_l%d%s", fields[f], l, d ? "_reverse" : "");
                wf_var *p = wf_module_param_find(wf_rnn_module(rnn), name);
                ck_assert_msg(p != NULL, "there is no parameter %s", name);
                visit(context, name, p);
            }
        }
    }
    ck_assert_int_eq(wf_module_param_count(wf_rnn_module(rnn)), count);
}

static void fill_param(void *context, const char *name, wf_var *p)
{
    (void)context;
    fill(wf_param_value(p), name);
    wf_param_changed(p);
}

static void expect_grad(void *context, const char *name, wf_var *p)
{
    expect(context, name, wf_tensor_count(wf_param_value(p)), wf_param_grad(p));
}

TEST_EACH(recurrent_layers_give_the_outputs_and_gradients_of_pytorch, MODES *ASKED *FORMS)
{
    const struct mode *mode = &modes[_i / FORMS / ASKED];
    const char *cell = asked[_i / FORMS % ASKED].cell, *wanted = asked[_i / FORMS % ASKED].outputs;
    int form = _i % FORMS, layers = form & 4 ? 3 : 1, directions = form & 2 ? 2 : 1;
    bool ragged = form & 1, lstm = strcmp(cell, "lstm") == 0;
    int outputs = lstm ? 3 : 2; /* y, h_n and c_n */

    static const char *const letters[] = { "y", "h", "c" };
    char name[64], label[128];
    snprintf(name, sizeof name, "%d.%d.%s", layers, directions, ragged ? "ragged" : "full");
    snprintf(label, sizeof label, "%s %s, cotangent of %s, %s", cell, name, wanted, mode->name);
    OWN(wf_archive) *file = open_fixture(cell);
    wf_error e = { 0 };

    OWN(wf_module) *net = wf_module_new("parity", &(wf_module_options){ .dtype = mode->dtype });
    wf_rnn *rnn = recurrent(net, cell,
                            &(wf_rnn_options){ .input = INPUT,
                                               .hidden = HIDDEN,
                                               .layers = layers,
                                               .bidirectional = directions == 2,
                                               .stepwise = mode->stepwise });
    ck_assert_msg(wf_module_ok(net, &e), "%s: %s", label, e.text);
    each_param(rnn, layers, directions, fill_param, NULL);

    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_shape state = WF_SHAPE(layers * directions, BATCH, HIDDEN);
    wf_var *x = leaf(t, mode->dtype, WF_SHAPE(TIME, BATCH, INPUT), "x");
    wf_var *initial[2] = { leaf(t, mode->dtype, state, "h_0"), leaf(t, mode->dtype, state, "c_0") };
    wf_var *lengths = ragged ? wf_constant(t, WF_I32, WF_SHAPE(BATCH), (int32_t[]){ 3, 5, 1 })
                             : NULL;
    wf_var *final[2] = { NULL, NULL };
    wf_keep_grad(t, x);
    wf_keep_grad(t, initial[0]);
    wf_keep_grad(t, initial[1]);
    wf_var *y = wf_rnn_forward(
        t, rnn, x, &(wf_rnn_call){ .lengths = lengths, .initial = initial, .final = final });
    ck_assert_msg(wf_tape_ok(t), "%s: %s", label, wf_tape_error(t));

    wf_var *out[3] = { y, final[0], final[1] };
    reader values = {
        .label = label, .part = { stored(file, name) }, .parts = 1, .tolerance = mode->tolerance
    };
    for (int k = 0; k < outputs; k++)
        expect(&values, letters[k], wf_count(out[k]), wf_value(out[k]));
    expect_end(&values);

    reader grads = { .label = label, .tolerance = mode->tolerance };
    wf_var *chosen[3], *cotangent[3];
    for (int k = 0; k < outputs; k++) {
        if (!strchr(wanted, *letters[k])) continue;
        char part[80], salt[32];
        snprintf(part, sizeof part, "%s.%s", name, letters[k]);
        snprintf(salt, sizeof salt, "cotangent_%s", letters[k]);
        chosen[grads.parts] = out[k];
        cotangent[grads.parts] = leaf(t, mode->dtype, wf_shape_of(out[k]), salt);
        grads.part[grads.parts++] = stored(file, part);
    }
    ck_assert_msg(wf_backward_from(t, grads.parts, chosen, cotangent), "%s: %s", label,
                  wf_tape_error(t));
    expect(&grads, "gradient of x", wf_count(x), wf_grad_of(x));
    expect(&grads, "gradient of h_0", wf_count(initial[0]), wf_grad_of(initial[0]));
    if (lstm) expect(&grads, "gradient of c_0", wf_count(initial[1]), wf_grad_of(initial[1]));
    each_param(rnn, layers, directions, expect_grad, &grads);
    expect_end(&grads);
}

/* ---- optimisers ---- */

/* Rows of make_fixtures.py's OPTIMISERS. In those called absent, b has no gradient in steps 1, 2, 5
 * and 7. */
static const struct rule {
    const char *name, *options; /* the rule is the first word of the name */
} rules[] = {
    { "sgd", "lr 0.05" },
    { "sgd default", "" },
    { "sgd decay", "lr 0.05, weight_decay 0.1" },
    { "sgd momentum", "lr 0.05, momentum 0.9" },
    { "sgd dampening", "lr 0.05, momentum 0.9, dampening 0.3" },
    { "sgd nesterov", "lr 0.05, momentum 0.8, nesterov 1" },
    { "sgd maximize", "lr 0.001, momentum 0.5, weight_decay 0.1, maximize 1" },
    { "sgd all", "lr 0.02, momentum 0.8, weight_decay 0.2, nesterov 1" },
    { "sgd absent", "lr 0.05, momentum 0.9, dampening 0.3" },
    { "rmsprop", "lr 0.01" },
    { "rmsprop default", "" },
    { "rmsprop alpha", "lr 0.01, alpha 0.8, eps 1e-3" },
    { "rmsprop zero alpha", "lr 0.01, alpha 0, eps 1e-3" },
    { "rmsprop decay", "lr 0.01, weight_decay 0.1" },
    { "rmsprop momentum", "lr 0.01, momentum 0.7" },
    { "rmsprop centered", "lr 0.01, alpha 0.9, eps 1e-3, centered 1" },
    { "rmsprop all", "lr 0.01, alpha 0.9, eps 1e-3, weight_decay 0.1, momentum 0.7, centered 1" },
    { "adam", "lr 0.02" },
    { "adam default", "" },
    { "adam betas", "lr 0.02, beta1 0.7, beta2 0.95, eps 1e-4" },
    { "adam small beta", "lr 0.02, beta1 0.3, beta2 0.9" },
    { "adam zero betas", "lr 0.02, beta1 0, beta2 0, eps 1e-2" },
    { "adam decay", "lr 0.02, weight_decay 0.1" },
    { "adam amsgrad", "lr 0.02, beta1 0.9, beta2 0.9, amsgrad 1" },
    { "adam all", "lr 0.02, beta1 0.8, beta2 0.9, weight_decay 0.1, amsgrad 1" },
    { "adam absent", "lr 0.02" },
    { "adamw", "lr 0.02" },
    { "adamw default", "" },
    { "adamw decay", "lr 0.02, weight_decay 0.5" },
    { "adamw no decay", "lr 0.02, weight_decay 0" },
    { "adamw all", "lr 0.02, beta1 0.8, beta2 0.9, eps 1e-4, weight_decay 0.3, amsgrad 1" },
};
enum { RULES = sizeof rules / sizeof rules[0] };

/* Gives p the gradient g: a sweep that begins at p with the cotangent g. */
static void give_these(wf_tape *t, wf_var *p, const double *g)
{
    wf_tape_reset(t);
    wf_var *cotangent = wf_constant(t, WF_F64, wf_shape_of(p), g);
    ck_assert_msg(wf_backward_from(t, 1, &p, &cotangent), "%s", wf_tape_error(t));
}

TEST_EACH(optimisers_give_the_parameters_of_pytorch_over_a_hundred_steps, RULES)
{
    const struct rule *rule = &rules[_i];
    wf_error e = { 0 };
    OWN(wf_archive) *file = open_fixture("optimisers");
    OWN(wf_module) *net = wf_module_new("parity", &(wf_module_options){ .dtype = WF_F64 });
    wf_var *param[2] = { wf_param_new(net, "a", WF_SHAPE(3, 5), (wf_init){ 0 }),
                         wf_param_new(net, "b", WF_SHAPE(7), (wf_init){ 0 }) };
    fill_params(net);
    char first[16];
    sscanf(rule->name, "%15s", first);
    OWN(wf_optim) *optim = optimiser_with(net, first, rule->options);
    ck_assert_msg(wf_module_ok(net, &e), "%s: %s", rule->name, e.text);
    OWN(wf_tape) *t = wf_tape_new(NULL);

    int shown = 0;
    bool absent = strstr(rule->name, "absent") != NULL;
    for (int step = 1; step <= 100; step++) {
        for (int k = 0; k < 2; k++) {
            if (k == 1 && absent && (step == 1 || step == 2 || step == 5 || step == 7)) continue;
            char factor[32], noise[32];
            snprintf(factor, sizeof factor, "factor_%c", "ab"[k]);
            snprintf(noise, sizeof noise, "noise_%c_%d", "ab"[k], step);
            double g[15];
            for (int64_t i = 0; i < wf_count(param[k]); i++) {
                g[i] = (formula(factor, i) + 0.5) * wf_at(param[k], i) + formula(noise, i);
            }
            give_these(t, param[k], g);
        }
        ck_assert(wf_optim_step(optim));
        if (step != 1 && step != 2 && step != 10 && step != 100) continue;
        char name[64];
        snprintf(name, sizeof name, "%s %d", rule->name, step);
        reader r = {
            .label = name, .part = { stored(file, name) }, .parts = 1, .tolerance = 1e-12
        };
        expect(&r, "a", 15, wf_param_value(param[0]));
        expect(&r, "b", 7, wf_param_value(param[1]));
        expect_end(&r);
        shown++;
    }
    ck_assert_int_eq(shown, 4);
}

TEST_EACH(clipping_gives_the_norms_and_gradients_of_pytorch, 3)
{
    static const struct {
        const char *name;
        double most;
    } cases[] = { { "norm active", 0.25 }, { "norm above", 100.0 }, { "value", 0.125 } };
    OWN(wf_archive) *file = open_fixture("clipping");
    const wf_tensor *want = stored(file, cases[_i].name);
    OWN(wf_module) *net = wf_module_new("parity", &(wf_module_options){ .dtype = WF_F64 });
    wf_var *p = wf_param_new(net, "p", WF_SHAPE(5), (wf_init){ 0 });
    wf_var *q = wf_param_new(net, "q", WF_SHAPE(9000), (wf_init){ 0 });
    OWN(wf_optim) *optim = wf_sgd_new(net, NULL);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    double *g = wf_alloc(9000 * sizeof *g);
    for (int64_t i = 0; i < 5; i++) g[i] = formula("grad_p", i);
    give_these(t, p, g);
    for (int64_t i = 0; i < 9000; i++) g[i] = formula("grad_q", i);
    give_these(t, q, g);

    double norm = 0;
    if (_i < 2) {
        norm = wf_optim_clip_norm(optim, cases[_i].most);
    } else {
        wf_optim_clip_value(optim, cases[_i].most);
    }
    double expected = wf_tensor_at(want, 0);
    ck_assert_msg(fabs(norm - expected) <= 1e-12 * (1 + expected),
                  "%s: the norm is %.17g, PyTorch's %.17g", cases[_i].name, norm, expected);
    for (int64_t i = 0; i < 95; i++) {
        double have = i < 5 ? wf_tensor_at(wf_param_grad(p), i)
                            : wf_tensor_at(wf_param_grad(q), (i - 5) * 100);
        expected = wf_tensor_at(want, 1 + i);
        ck_assert_msg(fabs(have - expected) <= 1e-12, "%s: number %lld is %.17g, PyTorch's %.17g",
                      cases[_i].name, (long long)i, have, expected);
    }
    wf_release(g);
}

/* ---- training, step by step ---- */

TEST_EACH(fifty_steps_of_training_lose_what_they_lose_in_pytorch, 2)
{
    enum { STEPS = 50, LETTERS = 900, LANES = 3, LENGTH = 7, EMBED = 5, WIDTH = 9 };
    static const double clip = 0.2;
    wf_dtype dtype = _i == 0 ? WF_F64 : WF_F32;
    double tolerance = _i == 0 ? 1e-9 : 1e-3;
    const char *label = _i == 0 ? "f64" : "f32";
    wf_error e = { 0 };
    OWN(wf_archive) *file = open_fixture("training");
    const wf_tensor *losses = stored(file, "losses"), *norms = stored(file, "norms");
    char *license = wf_file_read(WF_SOURCE_DIR "/LICENSE", 0, NULL, &e);
    ck_assert_msg(license != NULL, "%s", e.text);
    OWN(wf_corpus) *text = wf_corpus_from_memory(
        "LICENSE", license, LETTERS, &(wf_corpus_options){ .time = LENGTH, .batch = LANES }, &e);
    ck_assert_msg(text != NULL, "%s", e.text);
    int64_t letters = wf_corpus_alphabet(text);

    OWN(wf_module) *net = wf_module_new("parity", &(wf_module_options){ .dtype = dtype });
    wf_embedding *embed = wf_embedding_new(
        net, "embed", &(wf_embedding_options){ .input = letters, .output = EMBED });
    wf_rnn *lstm = wf_lstm_new(net, "lstm",
                               &(wf_rnn_options){ .input = EMBED, .hidden = WIDTH, .layers = 2 });
    wf_linear *head = wf_linear_new(net, "head",
                                    &(wf_linear_options){ .input = WIDTH, .output = letters });
    wf_adam_options options = wf_adam_defaults();
    options.lr = 2e-3;
    OWN(wf_optim) *adam = wf_adam_new(net, &options);
    OWN(wf_carry) *past = wf_carry_new(lstm, LANES);
    ck_assert_msg(wf_module_ok(net, &e), "%s", e.text);
    fill_params(net);
    OWN(wf_tape) *t = wf_tape_new(NULL);

    int restarts = 0;
    for (int step = 0; step < STEPS; step++) {
        wf_batch b = wf_corpus_next(text);
        if (b.restart) {
            wf_carry_reset(past);
            restarts++;
        }
        wf_tape_reset(t);
        wf_var *x = wf_embedding_forward(t, embed,
                                         wf_constant_tensor(t, b.input));        /* (T, B, EMBED) */
        wf_var *h = wf_rnn_forward(t, lstm, x, &(wf_rnn_call){ .carry = past }); /* (T, B, WIDTH) */
        wf_var *y = wf_linear_forward(t, head, h);       /* (T, B, letters) */
        wf_var *loss = wf_cross_entropy(t, y, b.target); /* () */
        ck_assert_msg(wf_backward(t, loss), "%s", wf_tape_error(t));
        double norm = wf_optim_clip_norm(adam, clip);
        ck_assert_msg(norm > clip, "%s, step %d: the norm %g is not clipped", label, step + 1,
                      norm);
        ck_assert(wf_optim_step(adam));
        double lost = wf_item(loss), want = wf_tensor_at(losses, step),
               want_norm = wf_tensor_at(norms, step);
        ck_assert_msg(fabs(lost - want) <= tolerance,
                      "%s, step %d: the loss is %.17g, PyTorch's %.17g: %.3g apart", label,
                      step + 1, lost, want, fabs(lost - want));
        ck_assert_msg(fabs(norm - want_norm) <= tolerance,
                      "%s, step %d: the norm is %.17g, PyTorch's %.17g: %.3g apart", label,
                      step + 1, norm, want_norm, fabs(norm - want_norm));
    }
    ck_assert_int_eq(restarts, 2); /* the beginning, and once more */

    reader carried = {
        .label = label, .part = { stored(file, "state") }, .parts = 1, .tolerance = tolerance
    };
    for (int k = 0; k < 2; k++) {
        for (int layer = 0; layer < 2; layer++) {
            expect(&carried, k ? "carried c" : "carried h", LANES * WIDTH,
                   wf_carry_state(past, layer, 0, k));
        }
    }
    expect_end(&carried);
    reader params = {
        .label = label, .part = { stored(file, "params") }, .parts = 1, .tolerance = tolerance
    };
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        wf_var *p = wf_module_param_at(net, i);
        expect(&params, wf_param_path(p), wf_count(p), wf_param_value(p));
    }
    expect_end(&params);

    wf_release(license);
}

/* ---- files ---- */

/* The model of make_fixtures.py's state_dict(). */
typedef struct model {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *lstm, *gru;
    wf_linear *head;
} model;

static model model_new(void)
{
    wf_error e = { 0 };
    model m = { .net = wf_module_new("model", NULL) };
    m.embed = wf_embedding_new(m.net, "embed", &(wf_embedding_options){ .input = 7, .output = 4 });
    m.lstm = wf_lstm_new(
        m.net, "lstm",
        &(wf_rnn_options){ .input = 4, .hidden = 6, .layers = 2, .bidirectional = true });
    m.gru = wf_gru_new(m.net, "gru", &(wf_rnn_options){ .input = 12, .hidden = 5 });
    m.head = wf_linear_new(m.net, "head", &(wf_linear_options){ .input = 5, .output = 7 });
    ck_assert_msg(wf_module_ok(m.net, &e), "%s", e.text);
    return m;
}

static int32_t some_ids[12] = { 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4 };

static wf_var *model_answer(wf_tape *t, const model *m)
{
    wf_tensor ids = wf_tensor_of(WF_I32, WF_SHAPE(4, 3), some_ids);
    wf_var *x = wf_embedding_forward(t, m->embed, wf_constant_tensor(t, &ids)); /* (4, 3, 4) */
    wf_var *h = wf_rnn_forward(t, m->lstm, x, NULL);                            /* (4, 3, 12) */
    wf_var *g = wf_rnn_forward(t, m->gru, h, NULL);                             /* (4, 3, 5) */
    wf_var *y = wf_linear_forward(t, m->head, g);                               /* (4, 3, 7) */
    ck_assert_msg(wf_tape_ok(t), "%s", wf_tape_error(t));
    return y;
}

TEST(a_state_dict_that_pytorch_wrote_loads_and_answers_alike)
{
    wf_error e = { 0 };
    model m = model_new();
    ck_assert_msg(wf_module_load(m.net, fixture_path("state_dict"), &e), "%s", e.text);
    OWN(wf_archive) *answer = open_fixture("state_dict_answer");
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_var *y = model_answer(t, &m);
    reader r = {
        .label = "state_dict", .part = { stored(answer, "logits") }, .parts = 1, .tolerance = 1e-6
    };
    expect(&r, "logits", 4 * 3 * 7, wf_value(y));
    expect_end(&r);
    wf_module_free(m.net);
}

TEST(a_state_dict_that_pytorch_wrote_is_saved_with_the_same_names_shapes_and_bits)
{
    wf_error e = { 0 };
    char path[4200];
    snprintf(path, sizeof path, "%s/model.safetensors", harness_folder());
    model m = model_new();
    ck_assert_msg(wf_module_load(m.net, fixture_path("state_dict"), &e), "%s", e.text);
    ck_assert_msg(wf_module_save(m.net, path, NULL, 0, &e), "%s", e.text);
    wf_archive *theirs = open_fixture("state_dict"), *ours = wf_safetensors_load(path, &e);
    ck_assert_msg(ours != NULL, "%s", e.text);
    ck_assert_int_eq(wf_archive_count(ours), wf_archive_count(theirs));
    for (int64_t i = 0; i < wf_archive_count(theirs); i++) {
        const wf_named *a = wf_archive_at(theirs, i);
        const wf_tensor *b = stored(ours, a->name);
        wf_shape shape[2] = { wf_tensor_shape(&a->tensor), wf_tensor_shape(b) };
        ck_assert_msg(wf_shape_equal(&shape[0], &shape[1]) && a->tensor.dtype == b->dtype,
                      "%s changed its shape", a->name);
        ck_assert_msg(memcmp(a->tensor.data, b->data,
                             (size_t)(wf_tensor_count(b) * wf_dtype_size(b->dtype))) == 0,
                      "%s changed its bits", a->name);
    }
    wf_archive_free(ours);
    wf_archive_free(theirs);
    wf_module_free(m.net);
}

/* Only where there is a PyTorch: it is no dependency of the tests. */
TEST_EACH(a_model_that_weft_saved_loads_in_pytorch_and_answers_alike, getenv("WEFT_TORCH") ? 1 : 0)
{
    wf_error e = { 0 };
    char path[4200], answer[4200], command[16384];
    snprintf(path, sizeof path, "%s/model.safetensors", harness_folder());
    snprintf(answer, sizeof answer, "%s/answer.safetensors", harness_folder());
    model m = model_new();
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_named said[2] = { { "ids", wf_tensor_of(WF_I32, WF_SHAPE(4, 3), some_ids) },
                         { "logits", *wf_value(model_answer(t, &m)) } };
    ck_assert_msg(wf_module_save(m.net, path, &(wf_meta){ "model", "parity" }, 1, &e), "%s",
                  e.text);
    ck_assert_msg(wf_safetensors_save(answer, said, 2, NULL, 0, &e), "%s", e.text);
    snprintf(command, sizeof command,
             "\"$WEFT_TORCH\" '%s/tests/fixtures/load_in_torch.py' '%s' '%s'", WF_SOURCE_DIR, path,
             answer);
    ck_assert_msg(system(command) == 0, "PyTorch does not read what Weft saved");
    wf_module_free(m.net);
}
