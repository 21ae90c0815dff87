/* Modules from files whose names, kinds of numbers or completeness differ from the module's: what
 * the options allow is loaded, the report says what was not, and a refusal changes nothing. */
#include <weft.h>

#include "tests/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files, made by hand ---- */

enum { MOST = 16 };

typedef struct row {
    const char *name, *dtype;
    double first; /* in f32 (2): first, first + 0.5 */
    const char *shape;
} row;

/* A file of F32 (2) tensors, unless a row says otherwise (then its bytes are zeros). */
static wf_archive *file_of(const char *meta, const row *rows, int n)
{
    char header[4096], data[1024] = { 0 };
    int64_t at = 0;
    wf_error e = { "" };
    wf_format(header, sizeof header, "{%s", meta ? meta : "");
    for (int i = 0; i < n && rows[i].name; i++) {
        const char *dtype = rows[i].dtype ? rows[i].dtype : "F32";
        int64_t size = !strcmp(dtype, "I64") ? 16 : !strcmp(dtype, "F32") ? 8 : 4;
        if (rows[i].shape) size *= 2;
        if (!rows[i].dtype) {
            const float x[2] = { (float)rows[i].first, (float)rows[i].first + 0.5f };
            memcpy(data + at, x, sizeof x);
        }
        wf_append(header, sizeof header,
                  "%s'%s':{'dtype':'%s','shape':[%s],'data_offsets':[%lld,%lld]}",
                  i || meta ? "," : "", rows[i].name, dtype, rows[i].shape ? rows[i].shape : "2",
                  (long long)at, (long long)(at + size));
        at += size;
    }
    wf_append(header, sizeof header, "}");
    wf_archive *a = archive_of(header, data, (size_t)at, &e);
    ck_assert_msg(a, "%s: %s", header, e.text);
    return a;
}

/* ---- a module of four parameters (2), which hold 100, 101, ... ---- */

static const char *const paths[] = { "enc.a", "enc.b", "dec.a", "top" };
enum { PARAMS = 4 };

static wf_module *net;

static void new_net(void)
{
    wf_module_free(net);
    net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
    wf_module *enc = wf_module_child(net, "enc"), *dec = wf_module_child(net, "dec");
    const wf_init init = { .kind = WF_INIT_CONSTANT };
    wf_param_new(enc, "a", WF_SHAPE(2), init);
    wf_param_new(enc, "b", WF_SHAPE(2), init);
    wf_param_new(dec, "a", WF_SHAPE(2), init);
    wf_param_new(net, "top", WF_SHAPE(2), init);
    ck_assert(wf_module_ok(net, NULL));
    for (int i = 0; i < PARAMS; i++) {
        double *x = wf_param_value(wf_module_param_find(net, paths[i]))->data;
        x[0] = x[1] = 100 + i;
    }
}

static double value(int i)
{
    return wf_tensor_at(wf_param_value(wf_module_param_find(net, paths[i])), 0);
}

/* Loads into a new net; what[i] is the first number that parameter i must have then, 0: its own. */
static void loads(int line, const char *meta, const row *rows, const wf_load_options *o,
                  const double what[PARAMS], const char *text)
{
    wf_error e = { "" };
    wf_load_report r;
    new_net();
    wf_archive *a = file_of(meta, rows, MOST);
    uint64_t version = wf_param_version(wf_module_param_at(net, 0));
    bool ok = wf_module_load_archive_with(net, "x", a, o, &r, &e);
    ck_assert_msg(ok, "line %d: %s", line, e.text);
    int64_t loaded = 0;
    for (int i = 0; i < PARAMS; i++) {
        double expected = what[i] != 0 ? what[i] : 100 + i;
        loaded += what[i] != 0;
        ck_assert_msg(value(i) == expected, "line %d: %s is %g", line, paths[i], value(i));
    }
    ck_assert_msg(r.loaded == loaded && r.missing == PARAMS - loaded, "line %d", line);
    ck_assert_msg(!strcmp(r.text, text), "line %d: \"%s\"", line, r.text);
    ck_assert_int_eq(wf_param_version(wf_module_param_at(net, 0)) != version, what[0] != 0);
    wf_archive_free(a); /* the report outlives it */
    for (int64_t i = 0; i < r.missing; i++) ck_assert_ptr_nonnull(strstr(text, r.missing_names[i]));
    for (int64_t i = 0; i < r.unexpected; i++)
        ck_assert_ptr_nonnull(strstr(text, r.unexpected_names[i]));
    wf_load_report_free(&r);
}

/* Is refused with the sentence, and nothing changes. */
static void refuses(int line, const char *meta, const row *rows, const wf_load_options *o,
                    const char *says)
{
    wf_error e = { "" };
    wf_load_report r;
    new_net();
    OWN(wf_archive) *a = file_of(meta, rows, MOST);
    ck_assert_msg(!wf_module_load_archive_with(net, "x", a, o, &r, &e), "line %d", line);
    ck_assert_msg(!strcmp(e.text, says), "line %d:\n  said     %s\n  expected %s", line, e.text,
                  says);
    for (int i = 0; i < PARAMS; i++) ck_assert(value(i) == 100 + i);
    ck_assert_int_eq(r.loaded, 0);
    wf_load_report_free(&r);
}

#define ROWS(...)                                                                                  \
    (const row[MOST])                                                                              \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define OPTIONS(...)                                                                               \
    &(const wf_load_options)                                                                       \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define NAMES(...)                                                                                 \
    .names = (const wf_load_name[]){ __VA_ARGS__ },                                                \
    .n_names = sizeof((const wf_load_name[]){ __VA_ARGS__ }) / sizeof(wf_load_name)
#define LOADS(...) loads(__LINE__, __VA_ARGS__)
#define REFUSES(...) refuses(__LINE__, __VA_ARGS__)
#define GETS(...)                                                                                  \
    (const double[PARAMS])                                                                         \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define ALL                                                                                        \
    { "enc.a", 0, 1, 0 }, { "enc.b", 0, 2, 0 }, { "dec.a", 0, 3, 0 },                              \
    {                                                                                              \
        "top", 0, 4, 0                                                                             \
    }
#define N(name, first)                                                                             \
    {                                                                                              \
        name, NULL, first, NULL                                                                    \
    }
#define D(name, dtype)                                                                             \
    {                                                                                              \
        name, dtype, 0, NULL                                                                       \
    }

TEST(no_options_are_strict)
{
    LOADS(NULL, ROWS(ALL), NULL, GETS(1, 2, 3, 4), "");
    LOADS("\"__metadata__\":null", ROWS(ALL), OPTIONS(.prefix = ""), GETS(1, 2, 3, 4), "");
    REFUSES(NULL, ROWS(ALL, N("more", 5)), NULL, "load x: unexpected 1 (more)");
    REFUSES(NULL, ROWS(ALL, D("steps", "I64")), NULL, "load x: unexpected 1 (steps)");
    REFUSES(NULL, ROWS(ALL, D("codes", "of tomorrow")), NULL, "load x: unexpected 1 (codes)");
}

TEST(what_is_missing_or_left_over_is_reported_and_may_be_allowed)
{
    const wf_load_options missing = { .allow_missing = true }, more = { .allow_unexpected = true },
                          both = { .allow_missing = true, .allow_unexpected = true };
    LOADS(NULL, ROWS(N("enc.a", 1), N("top", 4)), &missing, GETS(1, 0, 0, 4),
          "missing 2 (enc.b, dec.a)");
    LOADS(NULL, ROWS(ALL, N("pos", 5)), &more, GETS(1, 2, 3, 4), "unexpected 1 (pos)");
    LOADS(NULL, ROWS(N("top", 4), N("pos", 5)), &both, GETS(0, 0, 0, 4),
          "missing 3 (enc.a, enc.b, dec.a), unexpected 1 (pos)");
    LOADS(NULL, ROWS({ 0 }), &missing, GETS(0), "missing 4 (enc.a, enc.b, dec.a, top)");
    REFUSES(NULL, ROWS(N("enc.a", 1), N("top", 4)), &more, "load x: missing 2 (enc.b, dec.a)");
    REFUSES(NULL, ROWS(ALL, N("pos", 5)), &missing, "load x: unexpected 1 (pos)");
}

TEST(a_prefix_chooses_a_part_of_the_file_and_the_rest_does_not_count)
{
    const row rows[MOST] = { N("net.enc.a", 1), N("net.enc.b", 2), N("net.dec.a", 3),
                             N("net.top", 4),   N("optim.m", 5),   N("enc.a", 6) };
    LOADS(NULL, rows, OPTIONS(.prefix = "net."), GETS(1, 2, 3, 4), "");
    REFUSES(NULL, ROWS(N("net.enc.a", 1), N("net.x", 2), N("y", 3)), OPTIONS(.prefix = "net."),
            "load x: missing 3 (enc.b, dec.a, top), unexpected 1 (net.x)");
    REFUSES(NULL, ROWS(N("model.enc.a", 1), N("model.enc.b", 2)), NULL,
            "load x: missing 4 (enc.a, enc.b, dec.a, top), unexpected 2 (model.enc.a, model.enc.b)"
            "\n  hint: the file has 'model.enc.a'; .prefix says what its names begin with");
}

TEST(a_map_gives_parameters_and_beginnings_other_names)
{
    LOADS(NULL, ROWS(N("w", 1), N("enc.b", 2), N("dec.a", 3), N("top", 4)),
          OPTIONS(NAMES({ "enc.a", "w" })), GETS(1, 2, 3, 4), "");
    LOADS(NULL, ROWS(N("rnn.0.a", 1), N("rnn.0.b", 2), N("dec.a", 3), N("head", 4)),
          OPTIONS(NAMES({ "top", "head" }, { "enc.", "rnn.0." })), GETS(1, 2, 3, 4), "");
    LOADS(NULL, ROWS(N("p/m.enc.a", 1), N("p/m.enc.b", 2), N("p/m.dec.a", 3), N("p/h", 4)),
          OPTIONS(.prefix = "p/", NAMES({ "", "m." }, { "top", "h" })), GETS(1, 2, 3, 4), "");
    /* Two that change places; a name that is nobody's is still left over. */
    LOADS(NULL, ROWS(ALL), OPTIONS(NAMES({ "enc.a", "enc.b" }, { "enc.b", "enc.a" })),
          GETS(2, 1, 3, 4), "");
    LOADS(NULL, ROWS(ALL), OPTIONS(NAMES({ "enc.a", "not there" })), GETS(1, 2, 3, 4), "");
    REFUSES(NULL, ROWS(ALL, N("w", 1)), OPTIONS(NAMES({ "enc.c", "w" })),
            "load x: unexpected 1 (w)");
}

TEST(tied_weights_load_from_either_name_or_both)
{
    const wf_load_options tied = { NAMES({ "enc.a", "tied" }) };
    LOADS(NULL, ROWS(ALL), &tied, GETS(1, 2, 3, 4), "");
    LOADS(NULL, ROWS(ALL, N("tied", 1)), &tied, GETS(1, 2, 3, 4), "");
    LOADS(NULL, ROWS(N("tied", 1), N("enc.b", 2), N("dec.a", 3), N("top", 4)), &tied,
          GETS(1, 2, 3, 4), "");
    REFUSES(NULL, ROWS(ALL, N("tied", 1.25)), &tied,
            "load x: 'tied' and 'enc.a' are both 'enc.a' and differ");
    REFUSES(NULL, ROWS(ALL, D("tied", "F16")), &tied,
            "load x: 'tied' and 'enc.a' are both 'enc.a' and differ");
    /* One tensor for two parameters that are not tied here. */
    LOADS(NULL, ROWS(N("enc.a", 1), N("enc.b", 2), N("top", 4)),
          OPTIONS(NAMES({ "dec.a", "enc.a" })), GETS(1, 2, 1, 4), "");
    /* What safetensors' save_model leaves out it names in the metadata. */
    LOADS("'__metadata__':{'dec.a':'enc.a','format':'pt'}",
          ROWS(N("enc.a", 1), N("enc.b", 2), N("top", 4)), NULL, GETS(1, 2, 1, 4), "");
    REFUSES("'__metadata__':{'dec.a':'gone'}", ROWS(N("enc.a", 1), N("enc.b", 2), N("top", 4)),
            NULL, "load x: missing 1 (dec.a)");
}

TEST(halves_become_the_parameters_dtype_and_integers_are_refused)
{
    LOADS(NULL, ROWS(ALL, D("x", "I64"), D("y", "F16")), OPTIONS(.allow_unexpected = true),
          GETS(1, 2, 3, 4), "unexpected 2 (x, y)");
    wf_archive *a = file_of(
        NULL, ROWS(D("enc.a", "F16"), D("enc.b", "BF16"), D("dec.a", "BF16"), N("top", 4)), MOST);
    wf_error e = { "" };
    new_net();
    ck_assert_msg(wf_module_load_archive(net, "x", a, &e), "%s", e.text);
    ck_assert(value(0) == 0 && value(1) == 0 && value(2) == 0 && value(3) == 4);
    wf_archive_free(a);
    REFUSES(NULL, ROWS(N("enc.a", 1), N("enc.b", 2), N("dec.a", 3), D("top", "I64")), NULL,
            "load x: 'top' is I64 in the file; a parameter is f32 or f64");
    REFUSES(NULL, ROWS(N("enc.a", 1), N("enc.b", 2), N("dec.a", 3), D("top", "F9")), NULL,
            "load x: 'top' is F9; F16, BF16, F32, F64, BOOL and integers of 8 to 64 bits can be "
            "read");
    REFUSES(NULL, ROWS(N("enc.a", 1), N("enc.b", 2), N("dec.a", 3), { "top", "F32", 0, "2,2" }),
            OPTIONS(.allow_missing = true, .allow_unexpected = true),
            "load x: 'top' is (2, 2) in the file and (2) in the model");
}

TEST(a_number_that_a_float_cannot_hold_is_refused_with_its_place)
{
    double x[2] = { 1, 1e300 };
    wf_error e = { "" };
    OWN(wf_module) *small = wf_module_new("small", NULL);
    wf_param_new(small, "w", WF_SHAPE(2), (wf_init){ .kind = WF_INIT_ZERO });
    char path[1024];
    wf_format(path, sizeof path, "%s/model", harness_folder());
    ck_assert(wf_safetensors_save(path, &(wf_named){ "w", wf_tensor_of(WF_F64, WF_SHAPE(2), x) }, 1,
                                  NULL, 0, &e));
    ck_assert(!wf_module_load(small, path, &e));
    ck_assert_str_eq(e.text, "load model: 'w': element (1) is 1e+300, which is beyond the range of "
                             "f32");
    ck_assert(wf_tensor_at(wf_param_value(wf_module_param_at(small, 0)), 0) == 0);
}

TEST(a_part_of_a_module_loads_by_paths_of_its_own)
{
    OWN(wf_archive) *a = file_of(NULL, ROWS(N("a", 1), N("b", 2)), MOST);
    wf_error e = { "" };
    new_net();
    wf_module *part = wf_module_child(net, "part");
    wf_param_new(part, "a", WF_SHAPE(2), (wf_init){ .kind = WF_INIT_ZERO });
    wf_param_new(part, "b", WF_SHAPE(2), (wf_init){ .kind = WF_INIT_ZERO });
    ck_assert_msg(wf_module_load_archive(part, "x", a, &e), "%s", e.text);
    ck_assert(wf_tensor_at(wf_param_value(wf_module_param_find(net, "part.b")), 1) == 2.5);
    for (int i = 0; i < PARAMS; i++) ck_assert(value(i) == 100 + i);
}

TEST(whatever_request_for_memory_fails_nothing_is_loaded)
{
    const wf_load_options o = { .prefix = "",
                                .allow_missing = true,
                                .allow_unexpected = true,
                                NAMES({ "top", "head" }, { "enc.", "rnn." }) };
    OWN(wf_archive) *a = file_of(NULL, ROWS(N("rnn.a", 1), N("head", 4), N("more", 5)), MOST);
    int refused = 0;
    for (int64_t k = 1;; k++, refused++) {
        wf_error e = { "" };
        wf_load_report r;
        new_net();
        heap.asked = 0;
        heap.fail_at = k;
        int64_t before = heap.live;
        bool ok = wf_module_load_archive_with(net, "x", a, &o, &r, &e);
        bool reached = heap.asked >= k;
        heap.fail_at = 0;
        wf_load_report_free(&r);
        ck_assert_int_eq(heap.live, before);
        ck_assert_int_eq(ok, !reached);
        if (ok) break;
        ck_assert_msg(strstr(e.text, "not enough memory"), "%s", e.text);
        for (int i = 0; i < PARAMS; i++) ck_assert(value(i) == 100 + i);
    }
    ck_assert_int_ge(refused, 5);
    ck_assert(value(0) == 1 && value(3) == 4);
}

TEST(twenty_thousand_parameters_are_saved_loaded_and_mapped)
{
    enum { N_PARAMS = 20000 };
    OWN(wf_module) *m = wf_module_new("wide", NULL);
    static char names[N_PARAMS][16], others[N_PARAMS][16];
    static wf_load_name map[N_PARAMS];
    for (int i = 0; i < N_PARAMS; i++) {
        wf_format(names[i], sizeof names[i], "p%d", i);
        wf_format(others[i], sizeof others[i], "p%d", N_PARAMS - 1 - i);
        map[i] = (wf_load_name){ names[i], others[i] };
        wf_var *p = wf_param_new(m, names[i], WF_SHAPE(1), (wf_init){ .kind = WF_INIT_ZERO });
        *(float *)wf_param_value(p)->data = (float)i;
    }
    wf_error e = { "" };
    char path[1024];
    wf_format(path, sizeof path, "%s/model", harness_folder());
    ck_assert_msg(wf_module_save(m, path, NULL, 0, &e), "%s", e.text);
    ck_assert_msg(
        wf_module_load_with(m, path, OPTIONS(.names = map, .n_names = N_PARAMS), NULL, &e), "%s",
        e.text);
    for (int64_t i = 0; i < N_PARAMS; i += 99)
        ck_assert(wf_tensor_at(wf_param_value(wf_module_param_at(m, i)), 0) ==
                  (double)(N_PARAMS - 1 - i));
}

const harness_suite suite = { 0 };
