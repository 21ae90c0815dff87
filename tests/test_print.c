/* What printed tensors and modules look like, word for word. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "autograd/module.h"
#include "autograd/ops.h"
#include "autograd/views.h"
#include "layers/basic.h"
#include "layers/rnn.h"
#include "tests/fixture.h"

static float print_f32[300];

static wf_tensor filled(wf_shape shape, double first, double step)
{
    for (int i = 0; i < 300; i++) print_f32[i] = (float)(first + i * step);
    return wf_tensor_of(WF_F32, shape, print_f32);
}

static void check_text(const wf_tensor *x, const char *expected)
{
    char text[4000];
    size_t length = wf_tensor_text(x, text, sizeof text);
    ck_assert_str_eq(text, expected);
    ck_assert_uint_eq(length, strlen(expected));
    for (size_t bytes = 0; bytes <= length + 1; bytes += 1 + bytes / 16) {
        memset(text, '#', sizeof text);
        ck_assert_uint_eq(wf_tensor_text(x, text, bytes), length);
        if (bytes > 0) ck_assert_int_eq(text[bytes - 1], 0);
        if (bytes > 0) ck_assert_int_eq(strncmp(text, expected, bytes - 1), 0);
        ck_assert_int_eq(text[bytes], '#');
    }
}

TEST(a_printed_tensor_has_aligned_columns_and_says_what_it_is)
{
    wf_tensor x = filled(WF_SHAPE(2, 3), -1.5, 0.75), t;
    check_text(&x, "[[-1.50 -0.75  0.00]\n"
                   " [ 0.75  1.50  2.25]]  f32 (2, 3)");
    ck_assert(wf_view_transpose(&x, 0, 1, &t));
    check_text(&t, "[[-1.50  0.75]\n"
                   " [-0.75  1.50]\n"
                   " [ 0.00  2.25]]  f32 (3, 2)");
    x = filled(WF_SHAPE(3), 98, 1);
    check_text(&x, "[ 98.0  99.0 100.0]  f32 (3)");
    x = filled(WF_SCALAR, 2.302585, 0);
    check_text(&x, "2.3026  f32 ()");
    x = filled(WF_SHAPE(2, 1, 2), 1, 1);
    check_text(&x, "[[[1.0 2.0]]\n"
                   "\n"
                   " [[3.0 4.0]]]  f32 (2, 1, 2)");
    int32_t i32[4] = { 7, -12, 2147483647, 0 };
    x = wf_tensor_of(WF_I32, WF_SHAPE(2, 2), i32);
    check_text(&x, "[[         7        -12]\n"
                   " [2147483647          0]]  i32 (2, 2)");
    double f64[4] = { 1e-7, -2.5e12, 0, 1 };
    x = wf_tensor_of(WF_F64, WF_SHAPE(4), f64);
    check_text(&x, "[ 1.0e-07 -2.5e+12  0.0e+00  1.0e+00]  f64 (4)");
    double small[2] = { 0.00012, 0.5 }, smaller[2] = { 0.00004, 0.5 };
    x = wf_tensor_of(WF_F64, WF_SHAPE(2), small);
    check_text(&x, "[0.0001 0.5000]  f64 (2)");
    x = wf_tensor_of(WF_F64, WF_SHAPE(2), smaller); /* is not 0 and must not look like it */
    check_text(&x, "[4.0e-05 5.0e-01]  f64 (2)");
    double odd[4] = { (double)NAN, (double)INFINITY, (double)-INFINITY, 0.125 };
    x = wf_tensor_of(WF_F64, WF_SHAPE(4), odd);
    check_text(&x, "[  nan   inf  -inf 0.125]  f64 (4)");
}

TEST(a_large_tensor_shows_its_corners)
{
    wf_tensor x = filled(WF_SHAPE(15, 20), 0, 1);
    check_text(&x, "[[  0.0   1.0   2.0 ...  17.0  18.0  19.0]\n"
                   " [ 20.0  21.0  22.0 ...  37.0  38.0  39.0]\n"
                   " [ 40.0  41.0  42.0 ...  57.0  58.0  59.0]\n"
                   " ...\n"
                   " [240.0 241.0 242.0 ... 257.0 258.0 259.0]\n"
                   " [260.0 261.0 262.0 ... 277.0 278.0 279.0]\n"
                   " [280.0 281.0 282.0 ... 297.0 298.0 299.0]]  f32 (15, 20)");
    x = filled(WF_SHAPE(50, 2, 3), 0, 1);
    check_text(&x, "[[[  0.0   1.0   2.0]\n"
                   "  [  3.0   4.0   5.0]]\n"
                   "\n"
                   " [[  6.0   7.0   8.0]\n"
                   "  [  9.0  10.0  11.0]]\n"
                   "\n"
                   " [[ 12.0  13.0  14.0]\n"
                   "  [ 15.0  16.0  17.0]]\n"
                   "\n"
                   " ...\n"
                   "\n"
                   " [[282.0 283.0 284.0]\n"
                   "  [285.0 286.0 287.0]]\n"
                   "\n"
                   " [[288.0 289.0 290.0]\n"
                   "  [291.0 292.0 293.0]]\n"
                   "\n"
                   " [[294.0 295.0 296.0]\n"
                   "  [297.0 298.0 299.0]]]  f32 (50, 2, 3)");
}

TEST(long_rows_are_broken_and_stay_within_the_page)
{
    wf_tensor x = filled(WF_SHAPE(2, 40), 0, 0.25);
    char text[4000];
    wf_tensor_text(&x, text, sizeof text);
    int lines = 0;
    for (const char *p = text; p; lines++) {
        const char *end = strchr(p, '\n');
        ck_assert_uint_le(end ? (size_t)(end - p) : strcspn(p, "]"), 100);
        ck_assert_int_eq(strncmp(p, lines == 0 ? "[[" : lines == 3 ? " [" : "  ", 2), 0);
        p = end ? end + 1 : NULL;
    }
    ck_assert_int_eq(lines, 6);
    ck_assert_ptr_nonnull(strstr(text, "[[ 0.00  0.25 "));
    ck_assert_ptr_nonnull(strstr(text, " 19.75]]  f32 (2, 40)"));
}

TEST(what_is_not_there_is_printed_too)
{
    wf_tensor none = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), NULL),
              empty = wf_tensor_of(WF_I32, WF_SHAPE(4, 0), NULL);
    check_text(NULL, "(no tensor)");
    check_text(&none, "(no data)  f64 (2, 3)");
    check_text(&empty, "[]  i32 (4, 0)");
}

/* What fn writes to stdout. */
static const char *printed(void (*fn)(void))
{
    static char text[1000];
    char path[400];
    snprintf(path, sizeof path, "%s/out", harness_folder());
    fflush(stdout);
    FILE *keep = stdout;
    stdout = fopen(path, "w+");
    ck_assert_ptr_nonnull(stdout);
    fn();
    rewind(stdout);
    text[fread(text, 1, sizeof text - 1, stdout)] = 0;
    fclose(stdout);
    stdout = keep;
    return text;
}

static void print_two(void)
{
    wf_tensor x = filled(WF_SHAPE(2, 2), 1, 1);
    wf_tensor_print(&x);
    wf_tensor_print(NULL);
}

TEST(printing_writes_the_same_text_and_a_newline_to_stdout)
{
    ck_assert_str_eq(printed(print_two), "[[1.0 2.0]\n [3.0 4.0]]  f32 (2, 2)\n(no tensor)\n");
}

static void print_named(void)
{
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = wf_arange(t, WF_F32, 1, 5, 1), *y = wf_reshape(t, x, WF_SHAPE(2, 2));
    wf_print_as("h", y);
    wf_print_as("은닉", y);
    wf_print_as("a\tb", wf_sum(t, x, NULL));
    wf_print_as("nothing", NULL);
    wf_print_as(NULL, x);
}

TEST(what_is_printed_under_a_name_stays_in_line)
{
    ck_assert_str_eq(printed(print_named), "h = [[1.0 2.0]\n"
                                           "     [3.0 4.0]]  f32 (2, 2)\n"
                                           "은닉 = [[1.0 2.0]\n"
                                           "        [3.0 4.0]]  f32 (2, 2)\n"
                                           "a?b = 10.0  f32 ()\n"
                                           "nothing = (no tensor)\n"
                                           "[1.0 2.0 3.0 4.0]  f32 (4)\n");
}

static const wf_module *shown;

static void print_modules(void)
{
    wf_module_print(shown);
    wf_module_print(NULL);
}

static const char whole_module[] = "net, f32\n"
                                   "  낱말.weight       (5, 3)    15  frozen\n"
                                   "  gru.weight_ih_l0  (12, 3)   36\n"
                                   "  gru.weight_hh_l0  (12, 4)   48\n"
                                   "  gru.bias_ih_l0    (12)      12\n"
                                   "  gru.bias_hh_l0    (12)      12\n"
                                   "  5 parameters               123";

TEST(a_printed_module_lists_paths_shapes_and_counts_and_their_sum)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_embedding *words = wf_embedding_new(net, "낱말",
                                           &(wf_embedding_options){ .input = 5, .output = 3 });
    wf_rnn *gru = wf_gru_new(net, "gru", &(wf_rnn_options){ .input = 3, .hidden = 4 });
    wf_module *none = wf_module_child(net, "none");
    ck_assert(wf_module_ok(net, NULL) && gru);
    wf_param_freeze(words->weight, true);
    char text[600], expected[700];
    const size_t length = wf_module_text(net, text, sizeof text);
    ck_assert_str_eq(text, whole_module);
    ck_assert_uint_eq(length, strlen(whole_module));
    for (size_t bytes = 1; bytes <= length; bytes++) { /* cut, but never within a letter */
        ck_assert_uint_eq(wf_module_text(net, text, bytes), length);
        const size_t got = strlen(text);
        ck_assert(got < bytes && got + 3 >= bytes && !strncmp(text, whole_module, got));
        ck_assert((whole_module[got] & 0xC0) != 0x80);
    }
    wf_module_text(none, text, sizeof text);
    ck_assert_str_eq(text, "none, f32\n  0 parameters    0");
    shown = net;
    snprintf(expected, sizeof expected, "%s\n(no module)\n", whole_module);
    ck_assert_str_eq(printed(print_modules), expected);
}
