/* Misuse of files: whole ones, tensors in files, bundles, and the files of modules. */
#include "tests/misuse.h"

#include "train/options.h"

/* ---- files ---- */

/* What is no file, or none that can be: test_io.c. */
TEST(files_that_cannot_be_are_refused)
{
    wf_error *e = &now.error;
    int64_t n = 7;
    const char *three = path_of("three");
    ERROR_SAYS(wf_file_read("", 0, &n, e), "read : no path was given");
    ck_assert_int_eq(n, 0);
    ERROR_SAYS(wf_file_read(path_of("missing"), 0, &n, e),
               worded("read %s: no such file or folder", path_of("missing")));
    QUIET(!wf_file_read(path_of("missing"), 0, &n, NULL));
    ERROR_CLEARED(wf_file_write(three, "abc", 3, e));
    char *bytes;
    ERROR_CLEARED(bytes = wf_file_read(three, -5, NULL, e));
    QUIET(!strcmp(bytes, "abc"));
    wf_release(bytes);
    ERROR_SAYS(wf_file_write(three, NULL, 3, e), worded("write %s: no bytes were given", three));
    ERROR_SAYS(wf_file_write(three, "abc", -1, e), worded("write %s: no bytes were given", three));
    QUIET(wf_file_write(path_of("nothing"), NULL, 0, NULL));
    ERROR_SAYS(wf_file_append(three, NULL, 3, e),
               worded("append to %s: no bytes were given", three));
    ERROR_SAYS(wf_file_append(harness_folder(), "abc", 3, e),
               worded("append to %s: it is a folder", harness_folder()));
    ERROR_SAYS(wf_file_append("", "abc", 3, e), "append to : no path was given");
    ERROR_SAYS(wf_file_can_write(harness_folder(), e),
               worded("write %s: it is a folder", harness_folder()));
    ERROR_SAYS(wf_file_can_write(path_of("no/such/folder"), e), NULL);
    ERROR_CLEARED(wf_file_append(three, "def", 3, e));
    ERROR_CLEARED(wf_file_can_write(three, e));
    ck_assert((bytes = wf_file_read(three, 0, NULL, e)));
    QUIET(!strcmp(bytes, "abcdef"));
    wf_release(bytes);
    QUIET(wf_file_same(three, three) && !wf_file_same(NULL, three) &&
          !wf_file_same(three, path_of("nothing")));
}

/* ---- options ---- */

TEST(tables_of_options_that_make_no_sense_are_refused)
{
    typedef struct numbers {
        double x;
        int64_t n;
    } numbers;
    numbers v = { 1, 2 };
    const wf_option rows[] = { { WF_OPTION(numbers, x), "X", "", WF_OPTION_FIXED } };
    const wf_option nameless = { .kind = WF_OPTION_NUMBER };
    wf_options table = WF_OPTIONS(rows, &v), many = { rows, 65, &v, 0 },
               none = { rows, 1, NULL, 0 }, odd = { &nameless, 1, &v, 0 };
    wf_error *e = &now.error;
    char *argv[] = { NULL, NULL };
    ERROR_SAYS(wf_options_read(NULL, 1, 0, NULL, NULL, e), "options: there are no tables");
    ERROR_SAYS(wf_options_read(&many, 1, 0, NULL, NULL, e),
               "options: table 0 has 65 rows (0 to 64)");
    ERROR_SAYS(wf_options_read(&none, 1, 0, NULL, NULL, e),
               "options: table 0 has 1 rows (0 to 64), and no rows or no values");
    ERROR_SAYS(wf_options_read(&odd, 1, 0, NULL, NULL, e),
               "options: row 0 of table 0 has no name of 1 to 63 letters, or no kind");
    ERROR_SAYS(wf_options_read(&table, 1, 2, argv, NULL, e),
               "options: '' is none; --help lists them");
    ERROR_CLEARED(wf_options_read(&table, 1, 1, argv, NULL, e));
    QUIET(wf_options_text(NULL, 1, NULL, NULL, NULL, 0) == 0);
    QUIET(!wf_options_to_bundle(&table, 1, NULL));
    ERROR_SAYS(wf_options_load_archive(&table, 1, "file", NULL, e),
               "load file: there is no archive");
    wf_bundle *b = wf_bundle_new();
    ERROR_CLEARED(wf_bundle_save(b, path_of("empty"), e));
    wf_archive *a = wf_safetensors_load(path_of("empty"), e);
    ERROR_CLEARED(wf_options_load_archive(&table, 1, "file", a, e));
    wf_archive_free(a);
    wf_bundle_free(b);
}

/* What the format refuses, name by name: test_safetensors.c. */
TEST(what_no_file_can_hold_is_not_saved)
{
    wf_error *e = &now.error;
    double x[2] = { 1, 2 };
    const wf_named good = { "x", wf_tensor_of(WF_F64, WF_SHAPE(2), x) }, two[2] = { good, good };
    const char *file = path_of("a.safetensors");
    QUIET(wf_safetensors_save(file, &good, 1, NULL, 0, e));
    ERROR_SAYS(wf_safetensors_save(file, &good, -1, NULL, 0, e),
               worded("save %s: -1 tensors and 0 metadata were promised and not given", file));
    ERROR_SAYS(wf_safetensors_save(file, &good, 1, NULL, 2, e),
               worded("save %s: 1 tensors and 2 metadata were promised and not given", file));
    QUIET(!wf_safetensors_save(file, two, 2, NULL, 0, NULL));
    ERROR_CLEARED(wf_safetensors_save(path_of("other"), &good, 1, NULL, 0, e));
    /* After all that the file is the one that was saved first. */
    wf_archive *a;
    ERROR_CLEARED(a = wf_safetensors_load(file, e));
    QUIET(a && wf_archive_count(a) == 1 && wf_tensor_at(wf_archive_find(a, "x"), 1) == 2);
    QUIET(!wf_archive_at(a, -1) && !wf_archive_at(a, 1) && !wf_archive_at(a, INT64_MAX));
    QUIET(!wf_archive_find(a, NULL) && !wf_archive_find(a, "") && !wf_archive_meta(a, NULL));
    QUIET(!wf_archive_meta(a, "key") && wf_archive_findf(a, "%c", 'x') &&
          !wf_archive_findf(a, "y"));
    wf_archive_free(a);
}

TEST(what_is_no_archive_is_refused)
{
    wf_error *e = &now.error;
    int64_t whole = 7;
    double number = 7;
    QUIET(!wf_archive_meta_integer(NULL, "x", &whole) && whole == 7);
    QUIET(!wf_archive_meta_number(NULL, "x", &number) && number == 7);
    ERROR_SAYS(wf_safetensors_parse("x", "abc", -1, e), "load x: no bytes were given");
    QUIET(!wf_safetensors_parse("x", "abc", 3, NULL));
    wf_archive *empty;
    ERROR_CLEARED(empty = wf_safetensors_parse("x", "\2\0\0\0\0\0\0\0{}", 10, e));
    QUIET(wf_archive_count(empty) == 0);
    wf_archive_free(empty);
}

TEST(tensors_that_are_not_in_a_file_are_not_read)
{
    wf_error *e = &now.error;
    double x[4] = { 1, 2, 3, 4 };
    const wf_tensor good = wf_tensor_of(WF_F64, WF_SHAPE(2), x);
    wf_tensor to = good;
    ck_assert(wf_safetensors_save(path_of("a"), &(wf_named){ "x", good }, 1, NULL, 0, e));
    wf_archive *a = wf_safetensors_load(path_of("a"), e);
    QUIET(a && wf_archive_entry_count(a) == 1);
    QUIET(!wf_archive_entry_at(a, -1) && !wf_archive_entry_at(a, 1) && wf_archive_entry_at(a, 0));
    QUIET(!wf_archive_entry(a, NULL) && !wf_archive_entry(a, "y"));
    ERROR_SAYS(wf_archive_read(a, "y", &to, e), "read 'y': the file has no tensor of this name");
    ERROR_SAYS(wf_archive_read(a, "x", NULL, e),
               "read 'x': there is no tensor to read it into (NULL)");
    ERROR_SAYS(wf_archive_fits(a, "x", NULL, e),
               "read 'x': there is no tensor to read it into (NULL)");
    to.dim[0] = 3;
    ERROR_SAYS(wf_archive_read(a, "x", &to, e),
               "read 'x': it is (2) in the file and (3) in memory");
    to.rank = -1;
    ERROR_SAYS(wf_archive_fits(a, "x", &to, e), "read 'x': shape: rank is -1; expected 0 to 8");
    to = good, to.dtype = (wf_dtype)8;
    ERROR_SAYS(wf_archive_read(a, "x", &to, e),
               "read 'x': shape: dtype is 8; expected f32, f64 or i32");
    to = good, to.data = NULL;
    ERROR_CLEARED(wf_archive_fits(a, "x", &to, e)); /* only the form matters */
    ERROR_SAYS(wf_archive_read(a, "x", &to, e), "read 'x': the tensor to read it into has no data");
    to = good, to.stride[0] = 0;
    ERROR_SAYS(wf_archive_read(a, "x", &to, e),
               "read 'x': the tensor to read it into overlaps itself");
    QUIET(!wf_archive_read(a, "y", &to, NULL));
    ERROR_CLEARED(wf_archive_read(a, "x", &good, e));
    QUIET(x[0] == 1 && x[1] == 2);
    wf_archive_free(a);
}

/* ---- bundles ---- */

/* A bundle that has just failed keeps its first sentence, does nothing more, and saves nothing. */
static void bundle_failed(int line, wf_bundle *b, const char *says)
{
    static const double x[1] = { 1 };
    const wf_tensor more = wf_tensor_of(WF_F64, WF_SCALAR, (void *)(uintptr_t)x);
    wf_error *e = &now.error;
    misuse_older_failure();
    misuse_error_filled(line, "wf_bundle_ok", wf_bundle_ok(b, e), says);
    misuse_error_filled(line, "wf_bundle_save", wf_bundle_save(b, path_of("bundle"), e), says);
    QUIET(!wf_bundle_add(b, "more", &more) && !wf_bundle_meta(b, "more", "1"));
    QUIET(!wf_bundle_addf(b, &more, "more") && !wf_bundle_copyf(b, &more, "more"));
    QUIET(!wf_bundle_fail(b, "test: later") && !wf_module_to_bundle(now.net, b, NULL));
    misuse_error_filled(line, "wf_bundle_ok", wf_bundle_ok(b, e), says);
    QUIET(access(path_of("bundle"), F_OK) != 0);
    wf_bundle_free(b);
}

#define BUNDLE_REFUSES(call, says)                                                                 \
    do {                                                                                           \
        ck_assert(!(call));                                                                        \
        bundle_failed(__LINE__, b, says);                                                          \
        b = wf_bundle_new();                                                                       \
        ck_assert(wf_bundle_add(b, "x", &good));                                                   \
    } while (0)

TEST(a_bundle_keeps_the_first_mistake_and_saves_nothing_after_it)
{
    wf_error *e = &now.error;
    double x[2] = { 1, 2 };
    const wf_tensor good = wf_tensor_of(WF_F64, WF_SHAPE(2), x);
    wf_tensor bad = good;
    QUIET(!wf_module_to_bundle(now.net, NULL, NULL));
    wf_bundle *b = wf_bundle_new();
    QUIET(b && wf_bundle_ok(b, e) && wf_bundle_add(b, "x", &good) && wf_bundle_meta(b, "k", "v"));
    ERROR_CLEARED(wf_bundle_ok(b, e));
    ERROR_CLEARED(wf_bundle_save(b, path_of("saved"), e));
    ERROR_SAYS(wf_bundle_save(b, path_of("no/such/folder"), e), NULL);
    BUNDLE_REFUSES(wf_bundle_add(b, NULL, &good), "bundle: a tensor has no name (NULL)");
    BUNDLE_REFUSES(wf_bundle_copyf(b, NULL, "y%d", 1),
                   "bundle: there is no tensor for 'y1' (NULL)");
    BUNDLE_REFUSES(wf_bundle_add(b, "x", &good), "bundle: two tensors are named 'x'");
    BUNDLE_REFUSES(wf_bundle_copyf(b, &good, "%c", 'x'), "bundle: two tensors are named 'x'");
    bad.data = NULL;
    BUNDLE_REFUSES(wf_bundle_copyf(b, &bad, "y"), "bundle: tensor 'y' has no data");
    bad = good, bad.rank = 9;
    BUNDLE_REFUSES(wf_bundle_copyf(b, &bad, "y"),
                   "bundle: tensor 'y': shape: rank is 9; expected 0 to 8");
    BUNDLE_REFUSES(wf_bundle_meta(b, "k", "v") && wf_bundle_meta(b, "k", "w"),
                   "bundle: two lines of metadata are named 'k'");
    BUNDLE_REFUSES(wf_bundle_fail(b, "test: failed on purpose"), "test: failed on purpose");
    BUNDLE_REFUSES(wf_module_to_bundle(now.net, b, NULL) && wf_module_to_bundle(now.net, b, ""),
                   "bundle: two tensors are named 'linear.weight'");
    wf_module_fail(now.tree, "test: failed on purpose");
    BUNDLE_REFUSES(wf_module_to_bundle(now.tree, b, NULL), "test: failed on purpose");
    /* What only the format refuses is said when the bundle is saved. */
    bad = good, bad.dtype = (wf_dtype)8;
    QUIET(wf_bundle_add(b, "bad", &bad));
    ERROR_SAYS(wf_bundle_save(b, path_of("bundle"), e),
               worded("save %s: tensor 'bad' has the unknown dtype 8", path_of("bundle")));
    wf_bundle_free(b);
}

/* ---- modules ---- */

static bool loads(const wf_named *tensors, int64_t n)
{
    wf_error e = { "" };
    ck_assert_msg(wf_safetensors_save(path_of("other"), tensors, n, NULL, 0, &e), "%s", e.text);
    return wf_module_load(now.linear->module, path_of("other"), &now.error);
}

TEST(files_of_another_model_are_refused)
{
    wf_error *e = &now.error;
    double x[12] = { 0 };
    const wf_meta broken = { NULL, NULL };
    ERROR_SAYS(wf_module_save(now.net, NULL, NULL, 0, e), "save (no path): no path was given");
    ERROR_SAYS(wf_module_save(now.net, path_of("a"), NULL, 3, e), NULL);
    ERROR_SAYS(wf_module_save(now.net, path_of("a"), &broken, 1, e), NULL);
    ERROR_SAYS(wf_module_save(now.net, path_of("no/such/folder"), NULL, 0, e), NULL);
    ERROR_CLEARED(wf_module_save(now.tree, path_of("none"), NULL, 0, e));
    ERROR_CLEARED(wf_module_load(now.tree, path_of("none"), e));
    ERROR_SAYS(wf_module_load(now.net, path_of("missing"), e), NULL);
    /* Files that are good, and another model's. */
    wf_named two[3] = { { "weight", wf_tensor_of(WF_F64, WF_SHAPE(4, 3), x) },
                        { "bias", wf_tensor_of(WF_F64, WF_SHAPE(4), x) },
                        { "more", wf_tensor_of(WF_F64, WF_SHAPE(4), x) } };
    ERROR_SAYS(loads(two, 0), "load other: missing 2 (weight, bias)");
    ERROR_SAYS(loads(two, 3), "load other: unexpected 1 (more)");
    ERROR_SAYS(loads(two + 1, 2), "load other: missing 1 (weight), unexpected 1 (more)");
    two[0].tensor = wf_tensor_of(WF_F64, WF_SHAPE(3, 4), x);
    ERROR_SAYS(loads(two, 2), "load other: 'weight' is (3, 4) in the file and (4, 3) in the model");
    two[0].tensor = wf_tensor_of(WF_I32, WF_SHAPE(4, 3), x);
    ERROR_SAYS(loads(two, 2), "load other: 'weight' is I32 in the file; a parameter is f32 or f64");
    wf_module_fail(now.tree, "test: failed on purpose");
    ERROR_SAYS(wf_module_save(now.tree, path_of("a"), NULL, 0, e), "test: failed on purpose");
    ERROR_SAYS(wf_module_load(now.tree, path_of("none"), e), "test: failed on purpose");
}

TEST(what_is_to_be_loaded_half_must_be_named)
{
    wf_error *e = &now.error;
    double x[4] = { 1, 2, 3, 4 };
    wf_load_report r;
    const wf_load_name half[2] = { { "bias", "b" }, { "weight", NULL } }, other = { NULL, "x" };
    const wf_load_options promised = { .n_names = 1 }, negative = { .names = half, .n_names = -1 },
                          broken = { .names = half, .n_names = 2 },
                          pathless = { .names = &other, .n_names = 1 };
    const wf_named one = { "bias", wf_tensor_of(WF_F64, WF_SHAPE(4), x) };
    ck_assert(wf_safetensors_save(path_of("one"), &one, 1, NULL, 0, e));
    wf_archive *a = wf_safetensors_load(path_of("one"), e);
    const wf_load_options loose = { .prefix = "none.", .allow_missing = true };
    ERROR_CLEARED(wf_module_load_with(now.net, path_of("one"), &loose, NULL, e));
    ERROR_CLEARED(wf_module_load_archive_with(now.net, "x", a, &loose, NULL, e));
    wf_archive *none = wf_safetensors_parse("x", "\2\0\0\0\0\0\0\0{}", 10, e);
    ERROR_CLEARED(wf_module_load_archive(now.tree, "x", none, e));
    wf_archive_free(none);
    ERROR_SAYS(wf_module_load_with(NULL, path_of("one"), NULL, &r, e),
               "module: it was never made (NULL)");
    QUIET(r.loaded == 0 && r.missing == 0 && !r.missing_names && !r.text[0]);
    ERROR_SAYS(wf_module_load_archive_with(now.net, "x", NULL, NULL, &r, e),
               "load x: there is no archive (NULL)");
    ERROR_SAYS(wf_module_load_archive_with(now.net, "x", a, &promised, &r, e),
               "load x: 1 names were promised and not given");
    ERROR_SAYS(wf_module_load_archive_with(now.net, "x", a, &negative, &r, e),
               "load x: -1 names were promised and not given");
    ERROR_SAYS(wf_module_load_archive_with(now.net, "x", a, &broken, &r, e),
               "load x: the name of names[1] is missing (NULL)");
    ERROR_SAYS(wf_module_load_archive_with(now.net, "x", a, &pathless, &r, e),
               "load x: the path of names[0] is missing (NULL)");
    ERROR_SAYS(wf_module_load_with(now.linear->module, path_of("one"), NULL, &r, e),
               "load one: missing 1 (weight)");
    QUIET(r.missing == 1 && !strcmp(r.missing_names[0], "weight") && r.loaded == 0);
    wf_load_report_free(&r);
    QUIET(!r.missing_names && r.missing == 0);
    wf_load_report_free(&r);
    QUIET(!wf_module_load_archive_with(now.net, NULL, a, NULL, NULL, NULL));
    wf_archive_free(a);
}
