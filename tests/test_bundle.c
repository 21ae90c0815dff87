/* Bundles: what several parts of a program put into one file is found again under its names, in
 * every locale, whatever fails on the way. */
#include <weft.h>

#include "tests/fixture.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static wf_archive *reloaded(const wf_bundle *b)
{
    wf_error e = { "" };
    ck_assert_msg(wf_bundle_save(b, path_of("bundle"), &e), "%s", e.text);
    wf_archive *a = wf_safetensors_load(path_of("bundle"), &e);
    ck_assert_msg(a, "%s", e.text);
    return a;
}

TEST(what_is_added_is_found_under_its_names_in_the_order_of_adding)
{
    float w[6] = { 1, -2, 3.5f, 0, -0.0f, 1e-40f };
    double m[3] = { 1, NAN, 3 };
    wf_tensor tensor = wf_tensor_of(WF_F32, WF_SHAPE(2, 3), w), turned, state;
    state = wf_tensor_of(WF_F64, WF_SHAPE(3), m);
    ck_assert(wf_view_transpose(&tensor, 0, 1, &turned));
    OWN(wf_bundle) *b = wf_bundle_new();
    char name[] = "model.weight";
    ck_assert(wf_bundle_add(b, name, &tensor));
    memset(name, '?', sizeof name - 1); /* names are copied */
    ck_assert(wf_bundle_addf(b, &state, "%s%s.%s", "optim.", "층.weight", "m"));
    ck_assert(wf_bundle_copyf(b, &turned, "copy%%d"));
    w[0] = 10; /* read when the bundle is saved; the copy is of before */
    for (int32_t i = 0; i < 3; i++)
        ck_assert(wf_bundle_copyf(b, &(wf_tensor){ .data = &i, .dtype = WF_I32 }, "count.%d", i));
    OWN(wf_archive) *a = reloaded(b);
    ck_assert_int_eq(wf_archive_count(a), 6);
    ck_assert_str_eq(wf_archive_at(a, 1)->name, "optim.층.weight.m");
    ck_assert_str_eq(wf_archive_at(a, 5)->name, "count.2");
    ck_assert_double_eq(wf_tensor_at(wf_archive_find(a, "model.weight"), 0), 10);
    const wf_tensor *copy = wf_archive_findf(a, "%s", "copy%d");
    ck_assert_int_eq(copy->dim[0], 3);
    ck_assert_double_eq(wf_tensor_at(copy, 0), 1);
    ck_assert_double_eq(wf_tensor_at(copy, 1), 0);
    ck_assert_double_eq(wf_tensor_at(copy, 4), 3.5);
    ck_assert(isnan(wf_tensor_at(wf_archive_findf(a, "optim.%s.m", "층.weight"), 1)));
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq(wf_tensor_at(wf_archive_findf(a, "count.%d", i), 0), i);
    ck_assert_ptr_null(wf_archive_findf(a, "count.%d", 3));
}

TEST(a_bundle_grows_on_after_it_was_saved)
{
    double x = 1;
    OWN(wf_bundle) *b = wf_bundle_new();
    for (int i = 0; i < 3; i++) {
        OWN(wf_archive) *a = reloaded(b);
        ck_assert_int_eq(wf_archive_count(a), i);
        ck_assert(wf_bundle_copyf(b, &(wf_tensor){ .data = &x, .dtype = WF_F64 }, "x%d", i));
    }
}

TEST(names_of_any_length_are_kept_whole)
{
    double x = 1;
    char longest[3000];
    OWN(wf_bundle) *b = wf_bundle_new();
    memset(longest, 'n', sizeof longest);
    longest[sizeof longest - 1] = 0;
    for (int n = 500; n < 520; n++)
        ck_assert(
            wf_bundle_addf(b, &(wf_tensor){ .data = &x, .dtype = WF_F64 }, "%.*s", n, longest));
    ck_assert(wf_bundle_addf(b, &(wf_tensor){ .data = &x, .dtype = WF_F64 }, "%s.x", longest));
    ck_assert(wf_bundle_meta(b, longest, "%s%s", longest, longest));
    OWN(wf_archive) *a = reloaded(b);
    for (int n = 500; n < 520; n++) ck_assert_ptr_nonnull(wf_archive_findf(a, "%.*s", n, longest));
    ck_assert_ptr_nonnull(wf_archive_findf(a, "%s.x", longest));
    ck_assert_uint_eq(strlen(wf_archive_meta(a, longest)), 2 * (sizeof longest - 1));
}

TEST(metadata_comes_back_as_the_number_it_was_in_a_locale_with_commas)
{
    static const double numbers[] = { 0.1,    -1.5,    1e300,    DBL_MAX, DBL_MIN,
                                      5e-324, 1.0 / 3, INFINITY, -0.0,    123456789.0 };
    static const int64_t wholes[] = { 0, -1, INT64_MAX, INT64_MIN };
    if (!set_comma()) return;
    OWN(wf_bundle) *b = wf_bundle_new();
    for (int i = 0; i < 10; i++)
        ck_assert(wf_bundle_meta(b, worded("n%d", i), "%.17g", numbers[i]));
    for (int i = 0; i < 4; i++)
        ck_assert(wf_bundle_meta(b, worded("i%d", i), "%lld", (long long)wholes[i]));
    ck_assert(wf_bundle_meta(b, "half", "%.2f", 0.5));
    OWN(wf_archive) *a = reloaded(b);
    ck_assert_str_eq(wf_archive_meta(a, "half"), "0.50");
    for (int i = 0; i < 10; i++) {
        double x = 7;
        ck_assert(wf_archive_meta_number(a, worded("n%d", i), &x));
        ck_assert_mem_eq(&x, &numbers[i], sizeof x);
    }
    for (int i = 0; i < 4; i++) {
        int64_t x = 7;
        ck_assert(wf_archive_meta_integer(a, worded("i%d", i), &x));
        ck_assert_int_eq(x, wholes[i]);
    }
    ck_assert(comma_now()); /* theirs again */
}

TEST(metadata_that_is_not_wholly_a_number_is_none)
{
    static const struct {
        const char *text;
        bool number; /* though no integer */
    } texts[] = {
        { "", false },    { " 1", false },    { "1 ", false },
        { "\n1", false }, { "1x", false },    { "x", false },
        { "1,5", false }, { "--1", false },   { "1 2", false },
        { "0x", false },  { "1e999", false }, { "-1e999", false },
        { "1.5", true },  { "1e3", true },    { "9223372036854775808", true },
        { "nan", true },
    };
    enum { TEXTS = sizeof texts / sizeof texts[0] };
    OWN(wf_bundle) *b = wf_bundle_new();
    for (int i = 0; i < TEXTS; i++) wf_bundle_meta(b, worded("k%d", i), "%s", texts[i].text);
    OWN(wf_archive) *a = reloaded(b);
    for (int i = 0; i <= TEXTS; i++) { /* the last key is of none */
        const char *key = worded("k%d", i);
        int64_t whole = 7;
        double number = 7;
        bool is_number = i < TEXTS && texts[i].number;
        ck_assert_msg(!wf_archive_meta_integer(a, key, &whole) && whole == 7, "%s", key);
        ck_assert_msg(wf_archive_meta_number(a, key, &number) == is_number, "%s", key);
        ck_assert_msg(is_number || number == 7, "%s", key);
    }
}

TEST(modules_of_several_trees_share_a_file_under_their_prefixes)
{
    OWN(wf_bundle) *b = wf_bundle_new();
    OWN(wf_module) *one = wf_module_new("one", &(wf_module_options){ .seed = 1 }),
                   *two = wf_module_new("two", &(wf_module_options){ .seed = 2 });
    wf_linear_new(one, "head", &(wf_linear_options){ .input = 2, .output = 3 });
    wf_linear_new(wf_module_child(two, "deep"), "head",
                  &(wf_linear_options){ .input = 3, .output = 4 });
    ck_assert(wf_module_to_bundle(one, b, "generator."));
    ck_assert(wf_module_to_bundle(two, b, "critic."));
    ck_assert(wf_module_to_bundle(two, b, NULL));
    OWN(wf_archive) *a = reloaded(b);
    ck_assert_int_eq(wf_archive_count(a), 6);
    ck_assert_double_eq(wf_tensor_at(wf_archive_find(a, "generator.head.weight"), 5),
                        wf_tensor_at(wf_param_value(wf_module_param_at(one, 0)), 5));
    ck_assert_double_eq(wf_tensor_at(wf_archive_find(a, "critic.deep.head.bias"), 3),
                        wf_tensor_at(wf_param_value(wf_module_param_at(two, 1)), 3));
    ck_assert_ptr_nonnull(wf_archive_find(a, "deep.head.bias"));
}

TEST(fifty_thousand_names_are_told_apart)
{
    enum { N = 50000 };
    double x = 1;
    OWN(wf_bundle) *b = wf_bundle_new();
    for (int i = 0; i < N; i++)
        ck_assert(wf_bundle_addf(b, &(wf_tensor){ .data = &x, .dtype = WF_F64 }, "layer.%d", i));
    ck_assert(wf_bundle_ok(b, NULL));
    OWN(wf_archive) *a = reloaded(b);
    ck_assert_int_eq(wf_archive_count(a), N);
    ck_assert(!wf_bundle_addf(b, &(wf_tensor){ .data = &x, .dtype = WF_F64 }, "layer.%d", N / 3));
    wf_error e = { "" };
    ck_assert(!wf_bundle_ok(b, &e));
    ck_assert_str_eq(e.text, "bundle: two tensors are named 'layer.16666'");
}

/* Everything a bundle does, in little. */
static bool build(wf_error *error)
{
    double x[3] = { 1, 2, 3 };
    wf_tensor tensor = wf_tensor_of(WF_F64, WF_SHAPE(3), x);
    OWN(wf_bundle) *b = wf_bundle_new();
    for (int i = 0; i < 20; i++) {
        wf_bundle_addf(b, &tensor, "x%d", i);
        wf_bundle_copyf(b, &tensor, "y%d", i);
        wf_bundle_meta(b, worded("k%d", i), "%d", i);
    }
    return wf_bundle_save(b, path_of("little"), error);
}

TEST(whatever_request_for_memory_fails_a_bundle_says_so_and_saves_nothing)
{
    for (heap.fail_at = 1;; heap.fail_at++) {
        wf_error e = { "" };
        heap.asked = heap.live = 0;
        bool saved = build(&e);
        ck_assert_int_eq(heap.live, 0);
        if (heap.asked < heap.fail_at) {
            ck_assert_msg(saved, "%s", e.text);
            break;
        }
        ck_assert(!saved);
        ck_assert_msg(strstr(e.text, heap.fail_at == 1 ? "never made" : "not enough memory"), "%s",
                      e.text);
        ck_assert_int_ne(access(path_of("little"), F_OK), 0);
    }
    ck_assert_int_gt(heap.fail_at, 50);
    heap.fail_at = 0;
}

const harness_suite suite = { .after = nothing_is_left };
