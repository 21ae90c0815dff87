/* The same numbers as PyTorch: recurrent layers, optimisers, clipping and fifty steps of
 * training against the committed results of tests/fixtures/make_fixtures.py, and files that
 * either side reads from the other. */
#include "tests/parity.h"
#include "tests/rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* A case: how the layer runs, which outputs are given a cotangent, and layers, directions and
 * lengths. */
typedef struct run {
    const struct mode *mode;
    const char *cell, *wanted;
    int layers, directions;
    bool ragged;
    char form[32], label[128];
} run;

static run run_at(int i)
{
    run r = { .mode = &modes[i / FORMS / ASKED],
              .cell = asked[i / FORMS % ASKED].cell,
              .wanted = asked[i / FORMS % ASKED].outputs,
              .layers = i & 4 ? 3 : 1,
              .directions = i & 2 ? 2 : 1,
              .ragged = i & 1 };
    snprintf(r.form, sizeof r.form, "%d.%d.%s", r.layers, r.directions,
             r.ragged ? "ragged" : "full");
    snprintf(r.label, sizeof r.label, "%s %s, cotangent of %s, %s", r.cell, r.form, r.wanted,
             r.mode->name);
    return r;
}

/* The layer, under "net", whose parameters are the formula of their names. */
static wf_rnn *layer_of(const run *r, wf_module *net)
{
    wf_error e = { "" };
    wf_rnn *rnn = recurrent(net, r->cell,
                            &(wf_rnn_options){ .input = INPUT,
                                               .hidden = HIDDEN,
                                               .layers = r->layers,
                                               .bidirectional = r->directions == 2,
                                               .stepwise = r->mode->stepwise });
    ck_assert_msg(wf_module_ok(net, &e), "%s: %s", r->label, e.text);
    ck_assert_int_eq(wf_module_param_count(net), 4 * r->layers * r->directions);
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        wf_var *p = wf_module_param_at(net, i);
        fill(wf_param_value(p), wf_param_path(p) + strlen("net."));
        wf_param_changed(p);
    }
    return rnn;
}

static const char *const output_names[] = { "y", "h", "c" };

TEST_EACH(recurrent_layers_give_the_outputs_and_gradients_of_pytorch, MODES *ASKED *FORMS)
{
    const run r = run_at(_i);
    const wf_dtype dtype = r.mode->dtype;
    const int outputs = strcmp(r.cell, "lstm") ? 2 : 3; /* y, h_n and c_n */
    OWN(wf_archive) *file = open_fixture(r.cell);
    OWN(wf_module) *net = wf_module_new("parity", &(wf_module_options){ .dtype = dtype });
    wf_rnn *rnn = layer_of(&r, net);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_shape state = WF_SHAPE(r.layers * r.directions, BATCH, HIDDEN);
    /* x, h_0, c_0; and y, h_n, c_n */
    wf_var *in[3] = { leaf(t, dtype, WF_SHAPE(TIME, BATCH, INPUT), "x"),
                      leaf(t, dtype, state, "h_0"), leaf(t, dtype, state, "c_0") },
           *out[3], *chosen[3], *cotangent[3];
    for (int k = 0; k < 3; k++) wf_keep_grad(t, in[k]);
    wf_rnn_call call = { .initial = in + 1, .final = out + 1 };
    if (r.ragged) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(BATCH), (int32_t[]){ 3, 5, 1 });
    out[0] = wf_rnn_forward(t, rnn, in[0], &call);
    ck_assert_msg(wf_tape_ok(t), "%s: %s", r.label, wf_tape_error(t));

    reader values = reader_of(r.label, stored(file, r.form), r.mode->tolerance);
    reader grads = { .label = r.label, .tolerance = r.mode->tolerance };
    for (int k = 0; k < outputs; k++) {
        expect(&values, output_names[k], wf_count(out[k]), wf_value(out[k]));
        if (!strchr(r.wanted, *output_names[k])) continue;
        chosen[grads.parts] = out[k];
        cotangent[grads.parts] = leaf(t, dtype, wf_shape_of(out[k]),
                                      worded("cotangent_%s", output_names[k]));
        grads.part[grads.parts++] = stored(file, worded("%s.%s", r.form, output_names[k]));
    }
    expect_end(&values);
    ck_assert_msg(wf_backward_from(t, grads.parts, chosen, cotangent), "%s: %s", r.label,
                  wf_tape_error(t));
    for (int k = 0; k < outputs; k++)
        expect(&grads, worded("gradient of input %d", k), wf_count(in[k]), wf_grad_of(in[k]));
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        wf_var *p = wf_module_param_at(net, i);
        expect(&grads, wf_param_path(p), wf_count(p), wf_param_grad(p));
    }
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
            const char *factor = worded("factor_%c", "ab"[k]),
                       *noise = worded("noise_%c_%d", "ab"[k], step);
            double g[15];
            for (int64_t i = 0; i < wf_count(param[k]); i++)
                g[i] = (formula(factor, i) + 0.5) * wf_at(param[k], i) + formula(noise, i);
            give_these(t, param[k], g);
        }
        ck_assert(wf_optim_step(optim));
        if (step != 1 && step != 2 && step != 10 && step != 100) continue;
        const char *name = worded("%s %d", rule->name, step);
        reader r = reader_of(name, stored(file, name), 1e-12);
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
    OWN(fixture) a = fixture_with(WF_F64, 5, 9000, "sgd", "");
    reader r = reader_of(cases[_i].name, stored(file, cases[_i].name), 1e-12);
    double g[9000], norm[1] = { 0 }, sample[90];
    for (int64_t i = 0; i < 5; i++) g[i] = formula("grad_p", i);
    give_these(a.t, a.p, g);
    for (int64_t i = 0; i < 9000; i++) g[i] = formula("grad_q", i);
    give_these(a.t, a.q, g);
    if (_i < 2)
        norm[0] = wf_optim_clip_norm(a.optim, cases[_i].most);
    else
        wf_optim_clip_value(a.optim, cases[_i].most);
    for (int64_t i = 0; i < 90; i++) sample[i] = wf_tensor_at(wf_param_grad(a.q), i * 100);
    const wf_tensor of_norm = wf_tensor_of(WF_F64, WF_SHAPE(1), norm),
                    of_sample = wf_tensor_of(WF_F64, WF_SHAPE(90), sample);
    expect(&r, "norm", 1, &of_norm);
    expect(&r, "gradient of p", 5, wf_param_grad(a.p));
    expect(&r, "gradient of q", 90, &of_sample);
    expect_end(&r);
}

/* ---- training, step by step ---- */

enum { STEPS = 50, LETTERS = 900, LANES = 3, LENGTH = 7, EMBED = 5, WIDTH = 9 };

typedef struct training {
    char *license;
    wf_corpus *text;
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *lstm;
    wf_linear *head;
    wf_optim *adam;
    wf_carry *past;
    wf_tape *t;
} training;

static void free_training(training *m)
{
    wf_tape_free(m->t);
    wf_carry_free(m->past);
    wf_optim_free(m->adam);
    wf_module_free(m->net);
    wf_corpus_free(m->text);
    wf_release(m->license);
}

static training training_of(wf_dtype dtype)
{
    wf_error e = { "" };
    training m = { .license = wf_file_read(WF_SOURCE_DIR "/LICENSE", 0, NULL, &e) };
    ck_assert_msg(m.license != NULL, "%s", e.text);
    m.text = wf_corpus_from_memory("LICENSE", m.license, LETTERS,
                                   &(wf_corpus_options){ .time = LENGTH, .batch = LANES }, &e);
    ck_assert_msg(m.text != NULL, "%s", e.text);
    int64_t letters = wf_corpus_alphabet(m.text);
    m.net = wf_module_new("parity", &(wf_module_options){ .dtype = dtype });
    m.embed = wf_embedding_new(m.net, "embed",
                               &(wf_embedding_options){ .input = letters, .output = EMBED });
    m.lstm = wf_lstm_new(m.net, "lstm",
                         &(wf_rnn_options){ .input = EMBED, .hidden = WIDTH, .layers = 2 });
    m.head = wf_linear_new(m.net, "head",
                           &(wf_linear_options){ .input = WIDTH, .output = letters });
    m.adam = optimiser_with(m.net, "adam", "lr 2e-3");
    m.past = wf_carry_new(m.lstm, LANES);
    m.t = wf_tape_new(NULL);
    ck_assert_msg(wf_module_ok(m.net, &e), "%s", e.text);
    fill_params(m.net);
    return m;
}

/* The loss of a batch, swept: (). */
static wf_var *loss_of(const training *m, const wf_batch *b)
{
    wf_tape *t = m->t;
    wf_tape_reset(t);
    wf_var *x = wf_embedding_forward(t, m->embed, wf_constant_tensor(t, b->input)); /* (T, B, E) */
    wf_var *h = wf_rnn_forward(t, m->lstm, x, &(wf_rnn_call){ .carry = m->past });  /* (T, B, W) */
    wf_var *loss = wf_cross_entropy(t, wf_linear_forward(t, m->head, h), b->target);
    ck_assert_msg(wf_backward(t, loss), "%s", wf_tape_error(t));
    return loss;
}

TEST_EACH(fifty_steps_of_training_lose_what_they_lose_in_pytorch, 2)
{
    static const double clip = 0.2;
    double tolerance = _i == 0 ? 1e-9 : 1e-3;
    const char *label = _i == 0 ? "f64" : "f32";
    OWN(wf_archive) *file = open_fixture("training");
    OWN(training) m = training_of(_i == 0 ? WF_F64 : WF_F32);
    double lost[STEPS], norm[STEPS];
    int restarts = 0;
    for (int step = 0; step < STEPS; step++) {
        wf_batch b = wf_corpus_next(m.text);
        restarts += b.restart;
        if (b.restart) wf_carry_reset(m.past);
        lost[step] = wf_item(loss_of(&m, &b));
        norm[step] = wf_optim_clip_norm(m.adam, clip);
        ck_assert_msg(norm[step] > clip, "%s, step %d: %g is not clipped", label, step, norm[step]);
        ck_assert(wf_optim_step(m.adam));
    }
    ck_assert_int_eq(restarts, 2); /* the beginning, and once more */

    const wf_tensor losses = wf_tensor_of(WF_F64, WF_SHAPE(STEPS), lost),
                    norms = wf_tensor_of(WF_F64, WF_SHAPE(STEPS), norm);
    reader of_losses = reader_of(label, stored(file, "losses"), tolerance),
           of_norms = reader_of(label, stored(file, "norms"), tolerance),
           carried = reader_of(label, stored(file, "state"), tolerance),
           params = reader_of(label, stored(file, "params"), tolerance);
    expect(&of_losses, "losses", STEPS, &losses);
    expect(&of_norms, "norms", STEPS, &norms);
    for (int k = 0; k < 4; k++)
        expect(&carried, worded("carried %s of layer %d", k < 2 ? "h" : "c", k % 2), LANES * WIDTH,
               wf_carry_state(m.past, k % 2, 0, k / 2));
    expect_end(&carried);
    for (int64_t i = 0; i < wf_module_param_count(m.net); i++) {
        wf_var *p = wf_module_param_at(m.net, i);
        expect(&params, wf_param_path(p), wf_count(p), wf_param_value(p));
    }
    expect_end(&params);
}

/* ---- files ---- */

/* The model of make_fixtures.py's state_dict(). */
typedef struct model {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *lstm, *gru;
    wf_linear *head;
} model;

static void free_model(model *m)
{
    wf_module_free(m->net);
}

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
    OWN(model) m = model_new();
    ck_assert_msg(wf_module_load(m.net, fixture_path("state_dict"), &e), "%s", e.text);
    OWN(wf_archive) *answer = open_fixture("state_dict_answer");
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_var *y = model_answer(t, &m);
    reader r = reader_of("state_dict", stored(answer, "logits"), 1e-6);
    expect(&r, "logits", 4 * 3 * 7, wf_value(y));
    expect_end(&r);
}

TEST(a_state_dict_that_pytorch_wrote_is_saved_with_the_same_names_shapes_and_bits)
{
    wf_error e = { 0 };
    const char *path = path_of("model.safetensors");
    OWN(model) m = model_new();
    ck_assert_msg(wf_module_load(m.net, fixture_path("state_dict"), &e), "%s", e.text);
    ck_assert_msg(wf_module_save(m.net, path, NULL, 0, &e), "%s", e.text);
    OWN(wf_archive) *theirs = open_fixture("state_dict"), *ours = wf_safetensors_load(path, &e);
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
}

/* Only where there is a PyTorch: it is no dependency of the tests. */
TEST_EACH(a_model_that_weft_saved_loads_in_pytorch_and_answers_alike, getenv("WEFT_TORCH") ? 1 : 0)
{
    wf_error e = { 0 };
    const char *path = path_of("model.safetensors"), *answer = path_of("answer.safetensors");
    OWN(model) m = model_new();
    OWN(wf_tape) *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_named said[2] = { { "ids", wf_tensor_of(WF_I32, WF_SHAPE(4, 3), some_ids) },
                         { "logits", *wf_value(model_answer(t, &m)) } };
    ck_assert_msg(wf_module_save(m.net, path, &(wf_meta){ "model", "parity" }, 1, &e), "%s",
                  e.text);
    ck_assert_msg(wf_safetensors_save(answer, said, 2, NULL, 0, &e), "%s", e.text);
    const char *command = worded("\"$WEFT_TORCH\" '%s/tests/fixtures/load_in_torch.py' '%s' '%s'",
                                 WF_SOURCE_DIR, path, answer);
    ck_assert_msg(system(command) == 0, "PyTorch does not read what Weft saved");
}
