/* Figures: whole texts as they were looked at (tests/fixtures/svg_*.svg), in every locale, and what
 * of numbers, names and axes must hold in each. */
#include "data/svg.h"
#include "tests/fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const harness_suite suite = { .after = nothing_is_left };

#define ROW(...)                                                                                   \
    wf_tensor_of(WF_F64, WF_SHAPE(sizeof((double[]){ __VA_ARGS__ }) / sizeof(double)),             \
                 (double[]){ __VA_ARGS__ })

static char *made(char *figure, const wf_error *e)
{
    ck_assert_msg(figure && !*e->text, "%s", e->text);
    return figure;
}

/* The figure is what stands in the fixture of that name; let go. */
static void is_as_looked_at(const char *name, char *figure)
{
    wf_error e;
    int64_t n;
    char *want = wf_file_read(worded("%s/tests/fixtures/svg_%s.svg", WF_SOURCE_DIR, name), 0, &n,
                              &e);
    ck_assert_msg(want, "%s", e.text);
    int64_t at = 0;
    while (want[at] && want[at] == figure[at]) at++;
    ck_assert_msg(want[at] == figure[at], "svg_%s.svg differs from byte %lld on: %.60s", name,
                  (long long)at, figure + at);
    wf_release(want);
    wf_release(figure);
}

static int times(const char *text, const char *part)
{
    int n = 0;
    while ((text = strstr(text, part))) n++, text += strlen(part);
    return n;
}

/* ---- whole texts ---- */

static char *curves(wf_error *e)
{
    const wf_svg_line lines[] = {
        { .name = "train <1 & 2>", .y = ROW(3, 2.5, NAN, 1.25, NAN, 0.5, 0.25) },
        { .name = "검증 손실",
          .x = ROW(0, 2, 4, 6),
          .y = ROW(3.5, 2, 1.5, 1),
          .low = ROW(3, 1.5, NAN, 0.75),
          .high = ROW(4, 2.5, 2, 1.5),
          .dashed = true },
        { .x = ROW(1, 5), .y = ROW(1, 2), .points = true },
    };
    return wf_svg_curves(
        lines, 3, &(wf_svg_options){ .title = "Loss", .x_label = "epoch", .y_label = "nats" }, e);
}

static char *flow(wf_error *e)
{
    const wf_svg_line line = { .name = "h", .y = ROW(1, 0.1, 0, 1e-3, 1e-4, -1, 1e-6) };
    return wf_svg_curves(&line, 1, &(wf_svg_options){ .log_y = true, .width = 300, .height = 200 },
                         e);
}

static char *bars(wf_error *e)
{
    const wf_tensor values = ROW(0.5, -0.25, NAN, 1.5);
    const char *names[] = { "embed", "rnn.0", "rnn.1", "a long name & <more>" };
    return wf_svg_bars(&values, names,
                       &(wf_svg_options){ .y_label = "norm", .width = 300, .height = 240 }, e);
}

static char *heat(wf_error *e)
{
    double x[] = { 1, 0.75, 0, 0.25, NAN, 0.5 };
    const wf_tensor values = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x);
    const char *rows[] = { "a", "<eos>" }, *columns[] = { "ein", "자전거", "&" };
    return wf_svg_heat(
        &values, rows, columns,
        &(wf_svg_options){ .title = "Attention", .x_label = "source", .y_label = "target" }, e);
}

static char *(*const each[])(wf_error *) = { curves, flow, bars, heat };
static const char *const names[] = { "curves", "flow", "bars", "heat" };

TEST_EACH(figures_are_as_they_were_looked_at, 4)
{
    wf_error e = { "old" };
    const char *path = getenv("WEFT_SVG"); /* a folder: to look at them */
    char *figure = made(each[_i](&e), &e);
    if (path) ck_assert(wf_svg_save(worded("%s/svg_%s.svg", path, names[_i]), figure, &e));
    is_as_looked_at(names[_i], figure);
}

TEST_EACH(figures_are_the_same_in_a_locale_with_commas, 4)
{
    wf_error e = { "old" };
    if (!set_comma()) return;
    is_as_looked_at(names[_i], made(each[_i](&e), &e));
    ck_assert(comma_now());
}

/* ---- numbers and axes ---- */

/* Are these the numbers at the ticks of x, from the lowest to the highest? */
static void ticks_are(double low, double high, bool log, const char *want)
{
    wf_error e = { "old" };
    const wf_svg_line line = { .x = ROW(low, high), .y = ROW(0, 1) };
    char got[512] = "",
         *text = made(wf_svg_curves(&line, 1, &(wf_svg_options){ .log_x = log }, &e), &e);
    const char *at = strstr(text, "<g text-anchor=\"middle\">"), *end = strstr(at, "</g>");
    while ((at = strstr(at, "<text")) && at < end) {
        at = strchr(at, '>') + 1;
        wf_append(got, sizeof got, "%.*s ", (int)(strchr(at, '<') - at), at);
    }
    ck_assert_str_eq(got, want);
    wf_release(text);
}

TEST(ticks_are_round_numbers_within_the_axis)
{
    ticks_are(0, 1, false, "0 0.2 0.4 0.6 0.8 1 ");
    ticks_are(0.1, 0.7, false, "0.1 0.2 0.3 0.4 0.5 0.6 0.7 ");
    ticks_are(-3e-9, 4e-9, false, "-2e-09 0 2e-09 4e-09 ");
    ticks_are(-1e300, 1e300, false, "-1e+300 -5e+299 0 5e+299 1e+300 ");
    ticks_are(1000001, 1000003, false, "1000001 1000001.5 1000002 1000002.5 1000003 ");
    ticks_are(5, 5, false, "3 4 5 6 7 ");
    ticks_are(0, 0, false, "-1 -0.5 0 0.5 1 ");
    ticks_are((double)NAN, (double)INFINITY, false, "0 0.2 0.4 0.6 0.8 1 ");
    ticks_are(0.01, 100, true, "0.01 0.1 1 10 100 ");
    ticks_are(2, 30, true, "2 5 10 20 ");
    ticks_are(1e-30, 1, true, "1e-28 1e-24 1e-20 1e-16 1e-12 1e-08 0.0001 1 ");
    ticks_are(3, 3.5, true, "3 3.1 3.2 3.3 3.4 3.5 ");
    ticks_are(-1, 0, true, "0.1 0.2 0.5 1 ");
}

TEST(lines_break_where_there_is_no_number)
{
    wf_error e;
    const wf_svg_line line = { .y = ROW(1, 2, NAN, 3, INFINITY, 4, 5, 6) };
    char *text = made(wf_svg_curves(&line, 1, NULL, &e), &e);
    const char *at = strstr(text, "stroke-linejoin"), *end = strstr(at, "/>");
    char path[512];
    ck_assert(at && end);
    snprintf(path, sizeof path, "%.*s", (int)(end - at), at);
    ck_assert_int_eq(times(path, "M"), 3);
    ck_assert_int_eq(times(path, "L"), 3);
    ck_assert(!strstr(text, "nan") && !strstr(text, "inf"));
    wf_release(text);
}

TEST(any_dtype_and_stride_is_drawn_alike)
{
    wf_error e;
    const double dense[] = { 1, 5, 2 };
    const float wide[] = { 1, -7, 5, -7, 2, -7 };
    wf_svg_line a = { .y = wf_tensor_over(WF_F64, WF_SHAPE(3), dense) }, b = a;
    b.y = wf_tensor_over(WF_F32, WF_SHAPE(3), wide), b.y.stride[0] = 2;
    char *one = made(wf_svg_curves(&a, 1, NULL, &e), &e),
         *two = made(wf_svg_curves(&b, 1, NULL, &e), &e);
    ck_assert_str_eq(one, two);
    wf_release(one);
    wf_release(two);
}

TEST(figures_of_nothing_are_figures)
{
    wf_error e;
    const wf_svg_line none = { .name = "none", .y = { .rank = 1 } };
    const wf_tensor few = { .rank = 1, .dim = { 0 } }, flat = { .rank = 2, .dim = { 0, 3 } };
    wf_release(made(wf_svg_curves(NULL, 0, NULL, &e), &e));
    wf_release(made(wf_svg_curves(&none, 1, NULL, &e), &e));
    wf_release(made(wf_svg_bars(&few, NULL, NULL, &e), &e));
    wf_release(made(wf_svg_heat(&flat, NULL, NULL, NULL, &e), &e));
}

TEST(a_large_heat_map_has_a_cell_for_each_number_and_fewer_names)
{
    enum { N = 150 };
    wf_error e;
    static double x[N][N];
    const char *rows[N];
    for (int i = 0; i < N; i++) rows[i] = "name";
    const wf_tensor values = wf_tensor_of(WF_F64, WF_SHAPE(N, N), x);
    char *text = made(wf_svg_heat(&values, rows, NULL, NULL, &e), &e);
    ck_assert_int_eq(times(text, "<title>"), N * N);
    ck_assert_int_eq(times(text, ">name<"), N / 4 + 1);
    wf_release(text);
}

TEST(colours_go_from_end_to_end)
{
    ck_assert_uint_eq(wf_colour(WF_COLOURS_BLUES, 0), 0xF7FBFF);
    ck_assert_uint_eq(wf_colour(WF_COLOURS_BLUES, 7), 0x08306B);
    ck_assert_uint_eq(wf_colour(WF_COLOURS_VIRIDIS, 0.5), 0x21918C);
    ck_assert_uint_eq(wf_colour(WF_COLOURS_DIVERGING, 0.5), 0xF7F7F7);
    ck_assert_uint_eq(wf_colour(WF_COLOURS_GREY, 0.5), 0x808080);
    ck_assert_uint_eq(wf_colour(WF_COLOURS_GREY, -INFINITY), 0);
    ck_assert_uint_eq(wf_colour(WF_COLOURS_GREY, 1), 0xFFFFFF);
    ck_assert_uint_eq(wf_colour(WF_COLOURS_GREY, (double)NAN), 0xBBBBBB);
    ck_assert_uint_eq(wf_colour((wf_colours)9, 0), 0xF7FBFF);
}

/* ---- refusals ---- */

static void refused(char *figure, const wf_error *e, const char *says)
{
    ck_assert_ptr_null(figure);
    ck_assert_str_eq(e->text, says);
}

TEST(what_cannot_be_drawn_is_one_sentence)
{
    wf_error e;
    double x[4] = { 0 };
    const wf_tensor three = wf_tensor_of(WF_F64, WF_SHAPE(3), x),
                    square = wf_tensor_of(WF_F64, WF_SHAPE(2, 2), x),
                    large = { x, WF_F64, 2, { 2000, 2000 }, { 0, 0 } };
    const char *odd[] = { "a", "\xFF", "b" };
    wf_svg_line line = { .y = three, .x = wf_tensor_of(WF_F64, WF_SHAPE(2), x) };
    refused(wf_svg_curves(NULL, 2, NULL, &e), &e, "svg: 2 lines were promised and not given");
    refused(wf_svg_curves(&line, -1, NULL, &e), &e, "svg: -1 lines were promised and not given");
    refused(wf_svg_curves(&line, 1, NULL, &e), &e,
            "svg: line 0: x has shape (2); it must be that of y");
    line = (wf_svg_line){ .y = square };
    refused(wf_svg_curves(&line, 1, NULL, &e), &e,
            "svg: line 0: y has shape (2, 2); it must be (n)");
    line = (wf_svg_line){ .name = odd[1], .y = three };
    refused(wf_svg_curves(&line, 1, NULL, &e), &e, "svg: a line's name is not UTF-8 at its byte 0");
    line.name = NULL;
    refused(wf_svg_curves(&line, 1, &(wf_svg_options){ .title = "a\xC0" }, &e), &e,
            "svg: .title is not UTF-8 at its byte 1");
    refused(wf_svg_curves(&line, 1, &(wf_svg_options){ .x_low = 2, .x_high = 1 }, &e), &e,
            "svg: the x axis cannot go from 2 to 1");
    refused(wf_svg_curves(&line, 1, &(wf_svg_options){ .y_high = 1, .log_y = true }, &e), &e,
            "svg: the y axis cannot go from 0 to 1 on a logarithmic scale");
    refused(wf_svg_curves(&line, 1, &(wf_svg_options){ .width = -1 }, &e), &e,
            "svg: a figure of -1 x 0 with cells of 0; it may have 100000 x 100000 and 1000");
    refused(wf_svg_heat(&square, NULL, NULL, &(wf_svg_options){ .colours = (wf_colours)4 }, &e), &e,
            "svg: there is no .colours 4");
    refused(wf_svg_bars(NULL, NULL, NULL, &e), &e, "svg: no values were given (NULL)");
    refused(wf_svg_bars(&square, NULL, NULL, &e), &e, "svg: values of bars are of (n)");
    refused(wf_svg_bars(&three, odd, NULL, &e), &e, "svg: a bar's name is not UTF-8 at its byte 0");
    refused(wf_svg_heat(NULL, NULL, NULL, NULL, &e), &e, "svg: no values were given (NULL)");
    refused(wf_svg_heat(&three, NULL, NULL, NULL, &e), &e,
            "svg: values of a heat map are of (rows, columns)");
    refused(wf_svg_heat(&square, odd, NULL, NULL, &e), &e,
            "svg: a row's name is not UTF-8 at its byte 0");
    refused(wf_svg_heat(&square, NULL, odd, NULL, &e), &e,
            "svg: a column's name is not UTF-8 at its byte 0");
    refused(wf_svg_heat(&large, NULL, NULL, NULL, &e), &e,
            "svg: 2000 x 2000 cells are too many; wf_png_save has room for them");
    ck_assert(!wf_svg_save(path_of("a.svg"), NULL, &e));
    ck_assert_str_eq(e.text, "svg: no figure was given (NULL)");
    ck_assert(!wf_svg_save(NULL, "<svg/>", &e));
    ck_assert_str_eq(e.text, "write (no path): no path was given");
}

TEST(memory_may_run_out_anywhere)
{
    for (int i = 0; i < 4; i++) {
        char *figure = NULL;
        for (int at = 1; !figure; at++) {
            wf_error e;
            ck_assert_int_lt(at, 20);
            heap.fail_at = heap.asked + at;
            figure = each[i](&e);
            heap.fail_at = 0;
            ck_assert(figure || strstr(e.text, "svg: not enough memory"));
            ck_assert(figure || !heap.live);
        }
        wf_release(figure);
    }
}
