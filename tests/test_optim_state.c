/* What an optimiser is outlives it: a run that was saved goes on with the same bits, and what does
 * not fit is said in one sentence and changes nothing. */
#include "tests/rules.h"

#include <math.h>

/* ---- going on ---- */

/* Two layers of two parameters, one of which joins at step 8 and one of which rests now and then,
 * in three groups. */
typedef struct run {
    wf_module *net;
    wf_var *p[4];
    wf_optim *optim;
} run;

static run run_of(wf_dtype dtype, int kind)
{
    static const char *const names[4] = { "weight", "bias", "weight", "bias" };
    run r = { .net = module_of(dtype) };
    wf_module *layer[2] = { wf_module_child(r.net, "one"), wf_module_child(r.net, "둘") };
    for (int k = 0; k < 4; k++) r.p[k] = param_of(layer[k / 2], names[k], 5 + 4100 * k);
    r.optim = optimiser(r.net, kind);
    ck_assert_int_eq(wf_optim_group(r.optim, "*.bias"), 1);
    ck_assert_int_eq(wf_optim_group(r.optim, "둘.weight"), 2);
    return r;
}

static void free_run(run *r)
{
    wf_optim_free(r->optim);
    wf_module_free(r->net);
}

static void run_step(wf_tape *t, run *r, uint64_t step)
{
    wf_optim_set_lr(r->optim, 0.01 / (double)(1 + step / 5)); /* a schedule */
    ck_assert(wf_optim_set(r->optim, 1, "lr", 0.003));
    for (uint64_t k = 0; k < 4; k++) {
        if (k == 1 && step < 8) continue;
        if (k == 2 && step % 3 == 1) continue;
        give_grad(t, r->p[k], 4 * step + k);
    }
    wf_optim_clip_norm(r->optim, 20);
    ck_assert(wf_optim_step(r->optim));
}

/* The last of a rule's options that is a number and needs no buffer. */
static const char *last_number(const wf_optim_rule *rule)
{
    const char *name = NULL;
    for (const wf_optim_option *o = rule->options; o->name; o++)
        if (!o->flag && !o->state) name = o->name;
    return name;
}

TEST_EACH(a_saved_run_goes_on_with_the_same_bits, 2 * KINDS)
{
    wf_dtype dtype = _i % 2 ? WF_F64 : WF_F32;
    int kind = _i / 2;
    wf_error e = { "" };
    OWN(run) whole = run_of(dtype, kind), half = run_of(dtype, kind), rest = run_of(dtype, kind);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    /* Options are state too: this one was changed before the run was saved. */
    const char *changed = last_number(wf_optim_rule_of(whole.optim));
    ck_assert(wf_optim_set(whole.optim, 2, changed, 0.3));
    ck_assert(wf_optim_set(half.optim, 2, changed, 0.3));
    for (uint64_t step = 0; step < 20; step++) {
        run_step(t, &whole, step);
        if (step < 11) run_step(t, &half, step);
    }
    ck_assert_int_eq(wf_optim_steps_of(half.optim, 1), 3);
    ck_assert_msg(wf_module_save(half.net, path_of("model"), NULL, 0, &e), "%s", e.text);
    ck_assert_msg(wf_optim_save(half.optim, path_of("optim"), &e), "%s", e.text);
    ck_assert_msg(wf_module_load(rest.net, path_of("model"), &e), "%s", e.text);
    ck_assert_msg(wf_optim_load(rest.optim, path_of("optim"), &e), "%s", e.text);
    ck_assert_uint_eq(hash_all(rest.net, rest.optim), hash_all(half.net, half.optim));
    ck_assert_double_eq(wf_optim_get(rest.optim, 2, changed), 0.3);
    for (uint64_t step = 11; step < 20; step++) run_step(t, &rest, step);
    ck_assert_uint_eq(hash_all(rest.net, rest.optim), hash_all(whole.net, whole.optim));
}

TEST_EACH(a_parameter_that_joined_late_resumes_with_its_own_count, 2)
{
    /* One number, and one that joins at step 8, whose corrections are those of its own count. */
    static const struct {
        const char *rule;
        const char *options;
    } cases[] = {
        { "adam", "lr 0.1" },
        { "sgd", "lr 0.1, momentum 0.9, dampening 0.5" },
    };
    wf_error e = { "" };
    double end[2];
    for (int resumed = 0; resumed < 2; resumed++) {
        OWN(fixture) a = fixture_with(WF_F64, 1, 1, cases[_i].rule, cases[_i].options);
        set_number(a.q, 1);
        for (int step = 1; step <= 12; step++) {
            give_number(a.t, a.p, 0.5);
            if (step >= 8) give_number(a.t, a.q, 0.25 * step);
            ck_assert(wf_optim_step(a.optim));
            if (!resumed || step != 9) continue;
            ck_assert(wf_optim_save(a.optim, path_of("joined"), &e));
            wf_optim_free(a.optim);
            a.optim = optimiser_with(a.net, cases[_i].rule, cases[_i].options);
            ck_assert_msg(wf_optim_load(a.optim, path_of("joined"), &e), "%s", e.text);
        }
        ck_assert_int_eq(wf_optim_steps_of(a.optim, 0), 12);
        ck_assert_int_eq(wf_optim_steps_of(a.optim, 1), 5);
        end[resumed] = wf_at(a.q, 0);
    }
    ck_assert_double_eq(end[0], end[1]);
}

TEST(counts_are_exact_to_the_largest)
{
    static const int64_t counts_of[4] = { INT64_MAX, (INT64_C(1) << 53) + 1, 0, 0xFFFFFFFF };
    wf_error e = { "" };
    OWN(run) a = run_of(WF_F32, 0), b = run_of(WF_F32, 0);
    for (int i = 0; i < 4; i++) ck_assert(wf_optim_set_steps_of(a.optim, i, counts_of[i]));
    ck_assert(wf_optim_save(a.optim, path_of("counts"), &e));
    ck_assert(wf_optim_load(b.optim, path_of("counts"), &e));
    for (int i = 0; i < 4; i++) ck_assert_int_eq(wf_optim_steps_of(b.optim, i), counts_of[i]);
    ck_assert_int_eq(wf_optim_steps(b.optim), INT64_MAX);
}

TEST(model_and_optimisers_share_one_file)
{
    wf_error e = { "" };
    OWN(run) a = run_of(WF_F32, 4), b = run_of(WF_F32, 4);
    OWN(wf_optim) *saved = wf_sgd_new(a.net, NULL), *loaded = wf_sgd_new(b.net, NULL);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (uint64_t step = 0; step < 9; step++) run_step(t, &a, step);
    wf_optim_set_lr(saved, 0.7);
    OWN(wf_bundle) *bundle = wf_bundle_new();
    ck_assert(wf_module_to_bundle(a.net, bundle, "model."));
    ck_assert(wf_optim_to_bundle(a.optim, bundle, "optim.adam."));
    ck_assert(wf_optim_to_bundle(saved, bundle, "optim.sgd."));
    ck_assert_msg(wf_bundle_save(bundle, path_of("all"), &e), "%s", e.text);
    OWN(wf_archive) *file = wf_safetensors_load(path_of("all"), &e);
    ck_assert_msg(wf_optim_load_archive(b.optim, "all", file, "optim.adam.", &e), "%s", e.text);
    ck_assert_msg(wf_optim_load_archive(loaded, "all", file, "optim.sgd.", &e), "%s", e.text);
    for (int i = 0; i < 4; i++) wf_tensor_copy(wf_param_value(a.p[i]), wf_param_value(b.p[i]));
    ck_assert_uint_eq(hash_all(b.net, b.optim), hash_all(a.net, a.optim));
    ck_assert_double_eq(wf_optim_lr(loaded), 0.7);
    /* Names and numbers are for others to read as well. */
    ck_assert_str_eq(wf_archive_meta(file, "optim.adam.rule"), "adam");
    ck_assert_str_eq(wf_archive_meta(file, "optim.adam.steps"), "9");
    ck_assert_str_eq(wf_archive_meta(file, "optim.adam.group1.pattern"), "*.bias");
    ck_assert_str_eq(wf_archive_meta(file, "optim.adam.group1.lr"), "0.0030000000000000001");
    ck_assert_ptr_nonnull(wf_archive_find(file, "optim.adam.둘.weight.exp_avg_sq"));
    const wf_tensor *step = wf_archive_find(file, "optim.adam.one.weight.step");
    ck_assert(step && step->dtype == WF_I32);
    ck_assert_double_eq(wf_tensor_at(step, 0), 9);
    ck_assert_double_eq(wf_tensor_at(step, 1), 0);
}

TEST(buffers_convert_between_precisions_where_they_fit)
{
    wf_error e = { "" };
    OWN(fixture) a = fixture_with(WF_F64, 3, 0, "adam", "");
    OWN(fixture) b = fixture_with(WF_F32, 3, 0, "adam", "");
    double *square = wf_optim_state(a.optim, 0, 1)->data;
    square[0] = 0.1, square[1] = 1e-300, square[2] = (double)INFINITY;
    ck_assert(wf_optim_save(a.optim, path_of("double"), &e));
    ck_assert_msg(wf_optim_load(b.optim, path_of("double"), &e), "%s", e.text);
    const float *got = wf_optim_state(b.optim, 0, 1)->data;
    ck_assert(got[0] == 0.1f && got[1] == 0 && isinf(got[2]));
    square[1] = 1e300;
    uint64_t hash = hash_all(b.net, b.optim);
    ck_assert(wf_optim_save(a.optim, path_of("double"), &e));
    ck_assert(!wf_optim_load(b.optim, path_of("double"), &e));
    ck_assert_str_eq(e.text, "load double: 'p.exp_avg_sq' holds 1e+300 in the file, more than f32 "
                             "can hold");
    ck_assert_uint_eq(hash_all(b.net, b.optim), hash);
}

/* ---- what does not fit ---- */

enum { HERE = 3 }; /* parameters */

/* An adam over a (3), b (4) and c (5) with group 1 "c". */
static fixture fixture_here(const char *options)
{
    fixture a = { .net = module_of(WF_F32), .t = wf_tape_new(NULL) };
    for (int k = 0; k < HERE; k++) param_of(a.net, (const char[2]){ (char)('a' + k), 0 }, 3 + k);
    a.optim = optimiser_with(a.net, "adam", options);
    ck_assert_int_eq(wf_optim_group(a.optim, "c"), 1);
    return a;
}

/* What is changed about a bundle of the right form; each returns what is said of it. */
typedef struct odd {
    const char *rule, *steps, *groups, *pattern, *lr, *beta1, *amsgrad,
        *options;            /* NULL: as it is; "": none */
    const char *leave, *add; /* a tensor less, one more */
    const char *spoil;       /* one of another form */
    wf_tensor as;
    const char *said;
} odd;

static float seven[7];
static int32_t words[2] = { 1, -1 };

static const odd odds[] = {
    { .rule = "", .said = "load file: it holds no optimiser under o." },
    { .rule = "sgd", .said = "load file: the optimiser is 'sgd' in the file and 'adam' here" },
    { .steps = "-1", .said = "load file: 'o.steps' is no count in the file" },
    { .steps = "", .said = "load file: 'o.steps' is no count in the file" },
    { .groups = "three", .said = "load file: 'o.groups' is no count in the file" },
    { .groups = "3", .said = "load file: the optimiser has 3 groups in the file and 2 here" },
    { .pattern = "b", .said = "load file: group 1 is 'b' in the file and 'c' here" },
    { .lr = "-1", .said = "load file: 'o.group1.lr' is no learning rate in the file" },
    { .lr = "0,1", .said = "load file: 'o.group1.lr' is no learning rate in the file" },
    { .beta1 = "", .said = "load file: 'o.group1.beta1' is missing in the file" },
    { .beta1 = "half", .said = "load file: 'o.group1.beta1' is no number in the file" },
    { .options = "-1", .said = "load file: 'o.options' is no count in the file" },
    { .amsgrad = "", .said = "load file: 'o.group1.amsgrad' is missing in the file" },
    { .amsgrad = "", .options = "" },  /* of before there was that count, */
    { .amsgrad = "", .options = "4" }, /* or that flag */
    { .beta1 = "1.5", .said = "load file: adam: .beta1 is 1.5; it must be in [0, 1)" },
    { .amsgrad = "0.5", .said = "load file: 'o.group1.amsgrad' is no flag in the file" },
    { .amsgrad = "1",
      .said = "load file: adam: .amsgrad works in the buffer 'max_exp_avg_sq', which it was made "
              "without" },
    { .leave = "o.b.step", .said = "load file: missing 1 (o.b.step)" },
    { .add = "o.b.exp_avg.exp_avg", .said = "load file: unexpected 1 (o.b.exp_avg.exp_avg)" },
    { .leave = "o.c.exp_avg",
      .add = "o.C\n.exp_avg",
      .said = "load file: missing 1 (o.c.exp_avg), unexpected 1 (o.C?.exp_avg)" },
    { .spoil = "o.b.exp_avg",
      .as = { .dtype = WF_F32, .rank = 1, .dim = { 7 }, .stride = { 1 } },
      .said = "load file: 'o.b.exp_avg' is (7) in the file and (4) here" },
    { .spoil = "o.b.exp_avg",
      .as = { .dtype = WF_I32, .rank = 1, .dim = { 4 }, .stride = { 1 } },
      .said = "load file: 'o.b.exp_avg' is i32 in the file; a buffer is f32 or f64" },
    { .spoil = "o.b.step",
      .as = { .dtype = WF_F32, .rank = 1, .dim = { 2 }, .stride = { 1 } },
      .said = "load file: 'o.b.step' is no count in the file" },
    { .spoil = "o.b.step",
      .as = { .dtype = WF_I32, .rank = 1, .dim = { 2 }, .stride = { 1 } },
      .said = "load file: 'o.b.step' is no count in the file" },
    { .add = "p.b.exp_avg" }, /* somebody else's */
};
enum { ODDS = sizeof odds / sizeof odds[0] };

static void add_meta(wf_bundle *b, const char *key, const char *odd_one, const char *good)
{
    if (!odd_one || *odd_one) wf_bundle_meta(b, key, "%s", odd_one ? odd_one : good);
}

static wf_bundle *bundle_of(const wf_archive *good, const odd *o)
{
    wf_bundle *b = wf_bundle_new();
    static const char *const rest[] = { "beta2", "eps", "weight_decay" };
    add_meta(b, "o.rule", o->rule, "adam");
    add_meta(b, "o.steps", o->steps, "3");
    add_meta(b, "o.groups", o->groups, "2");
    add_meta(b, "o.options", o->options, "5");
    add_meta(b, "o.group1.pattern", o->pattern, "c");
    for (int g = 0; g < 2; g++) {
        add_meta(b, worded("o.group%d.lr", g), g ? o->lr : NULL, "0.5");
        add_meta(b, worded("o.group%d.beta1", g), g ? o->beta1 : NULL, "0.5");
        add_meta(b, worded("o.group%d.amsgrad", g), g ? o->amsgrad : NULL, "0");
        for (int k = 0; k < 3; k++) add_meta(b, worded("o.group%d.%s", g, rest[k]), NULL, "0.25");
    }
    for (int64_t i = 0; i < wf_archive_count(good); i++) {
        const wf_named *one = wf_archive_at(good, i);
        if (o->leave && !strcmp(o->leave, one->name)) continue;
        wf_tensor as = o->as;
        as.data = as.dtype == WF_I32 ? (void *)words : (void *)seven;
        if (as.dim[0] == 4) as.data = seven;
        bool spoilt = o->spoil && !strcmp(o->spoil, one->name);
        wf_bundle_add(b, one->name, spoilt ? &as : &one->tensor);
    }
    wf_tensor more = wf_tensor_of(WF_F32, WF_SHAPE(7), seven);
    if (o->add) wf_bundle_add(b, o->add, &more);
    return b;
}

TEST_EACH(what_does_not_fit_is_one_sentence_and_changes_nothing, ODDS)
{
    const odd *o = &odds[_i];
    wf_error e = { "" };
    OWN(fixture) a = fixture_here(""), far = fixture_here("");
    for (int step = 0; step < 3; step++) {
        for (int k = 0; k < HERE; k++) give_number(far.t, wf_module_param_at(far.net, k), 1 + step);
        ck_assert(wf_optim_step(far.optim));
    }
    OWN(wf_bundle) *fit = wf_bundle_new();
    ck_assert(wf_optim_to_bundle(far.optim, fit, "o."));
    ck_assert(wf_bundle_save(fit, path_of("good"), &e));
    OWN(wf_archive) *good = wf_safetensors_load(path_of("good"), &e);
    ck_assert_msg(good, "%s", e.text);
    OWN(wf_bundle) *bundle = bundle_of(good, o);
    ck_assert_msg(wf_bundle_save(bundle, path_of("odd"), &e), "%s", e.text);
    OWN(wf_archive) *file = wf_safetensors_load(path_of("odd"), &e);
    ck_assert_msg(file, "%s", e.text);

    uint64_t hash = hash_all(a.net, a.optim);
    bool ok = wf_optim_load_archive(a.optim, "file", file, "o.", &e);
    if (o->said) {
        ck_assert(!ok);
        ck_assert_str_eq(e.text, o->said);
        ck_assert_uint_eq(hash_all(a.net, a.optim), hash);
        ck_assert_double_eq(wf_optim_get(a.optim, 1, "beta1"), 0.9);
    } else {
        ck_assert_msg(ok, "%s", e.text);
        ck_assert_int_eq(wf_optim_steps_of(a.optim, 2), 3);
        ck_assert_double_eq(wf_optim_get(a.optim, 1, "beta1"), 0.5);
        ck_assert_double_eq(wf_optim_lr(a.optim), 0.5);
    }
}

TEST(buffers_that_one_side_lacks_are_named)
{
    wf_error e = { "" };
    OWN(fixture) plain = fixture_here(""), with = fixture_here("amsgrad 1");
    ck_assert(wf_optim_save(plain.optim, path_of("plain"), &e));
    ck_assert(!wf_optim_load(with.optim, path_of("plain"), &e));
    ck_assert_str_eq(e.text, "load plain: missing 3 (a.max_exp_avg_sq, b.max_exp_avg_sq, "
                             "c.max_exp_avg_sq)");
    /* Nine that are missing, of which eight are named. */
    OWN(wf_module) *big = module_of(WF_F32);
    for (int k = 0; k < 3; k++) param_of(big, (const char[3]){ 'n', (char)('0' + k), 0 }, 1);
    OWN(wf_optim) *adam = wf_adam_new(big, NULL);
    ck_assert(wf_optim_save(adam, path_of("big"), &e));
    OWN(wf_optim) *of_three = wf_adam_new(plain.net, NULL);
    ck_assert(!wf_optim_load(of_three, path_of("big"), &e));
    ck_assert_str_eq(e.text,
                     "load big: missing 9 (a.exp_avg, a.exp_avg_sq, a.step, b.exp_avg, "
                     "b.exp_avg_sq, b.step, c.exp_avg, c.exp_avg_sq, ...), unexpected 9 (n0.step, "
                     "n0.exp_avg, n0.exp_avg_sq, n1.step, n1.exp_avg, n1.exp_avg_sq, n2.step, "
                     "n2.exp_avg, ...)");
}

static void update_none(const wf_optim_call *c)
{
    (void)c;
}

TEST(options_without_names_cannot_be_saved)
{
    static const wf_optim_rule rule = { .name = "mute", .options_size = 8, .update = update_none };
    wf_error e = { "" };
    OWN(wf_module) *net = module_of(WF_F32);
    param_of(net, "p", 3);
    OWN(wf_optim) *optim = wf_optim_new(net, &rule, 1, &(double){ 3 });
    ck_assert(!wf_optim_save(optim, path_of("mute"), &e));
    ck_assert_str_eq(e.text,
                     "mute: its rule does not name its options, so that they cannot be saved");
}

TEST(a_load_that_finds_no_memory_changes_nothing)
{
    wf_error e = { "" };
    OWN(fixture) a = fixture_here(""), far = fixture_here("");
    ck_assert(wf_optim_set_steps_of(far.optim, 1, 7));
    ck_assert(wf_optim_save(far.optim, path_of("memory"), &e));
    uint64_t hash = hash_all(a.net, a.optim);
    bool ok = false;
    int64_t failed = 0, live = heap.live;
    for (int64_t k = 1; !ok && k < 200; k++) {
        memset(&e, 0, sizeof e);
        heap.fail_at = heap.asked + k;
        ok = wf_optim_load(a.optim, path_of("memory"), &e);
        heap.fail_at = 0;
        ck_assert_int_eq(heap.live, live);
        if (ok) break;
        failed++;
        ck_assert_msg(strstr(e.text, "memory"), "%s", e.text);
        ck_assert_uint_eq(hash_all(a.net, a.optim), hash);
    }
    ck_assert(ok && failed >= 4);
    ck_assert_int_eq(wf_optim_steps_of(a.optim, 1), 7);
}
