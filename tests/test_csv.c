/* CSV: fields as RFC 4180 has them and as files have them, columns by name and number, numbers with
 * what is missing, and every refusal with its line. */
#include "data/csv.h"
#include "tensor/text.h"
#include "tests/fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static wf_text text_of(const char *bytes)
{
    return (wf_text){ "text", bytes, (int64_t)strlen(bytes) };
}

static wf_csv *opened(const char *text, const wf_csv_options *options)
{
    wf_error error = { "" };
    const wf_text t = text_of(text);
    wf_csv *c = wf_csv_from_text(&t, options, &error);
    ck_assert_msg(c, "%s", error.text);
    return c;
}

/* The whole table: header, then rows, fields with | between. */
static void assert_table(const wf_csv *c, const char *want)
{
    char got[1024] = "";
    for (int64_t i = wf_csv_name(c, 0) ? -1 : 0; i < wf_csv_rows(c); i++)
        for (int64_t k = 0; k < wf_csv_columns(c); k++)
            wf_append(got, sizeof got, "%s%s", i < 0 ? wf_csv_name(c, k) : wf_csv_text(c, i, k),
                      k + 1 < wf_csv_columns(c) ? "|" : "/");
    ck_assert_str_eq(got, want);
}

static void assert_refused(const char *text, int64_t n, const wf_csv_options *options,
                           const char *says)
{
    wf_error error = { "" };
    const wf_text t = { "text", text, n };
    ck_assert_ptr_null(wf_csv_from_text(&t, options, &error));
    ck_assert_str_eq(error.text, says);
}

/* ---- fields ---- */

TEST_EACH(fields_are_what_is_between_separators, 16)
{
    static const struct {
        const char *text, *table;
    } cases[] = {
        { "a,b\n1,2\n3,4\n", "a|b/1|2/3|4/" },
        { "a,b\r\n1,2\r\n3,4", "a|b/1|2/3|4/" },
        { "a,b\r1,2\r3,4\r", "a|b/1|2/3|4/" },
        { "\xEF\xBB\xBF\"날짜\",온도\n1949-01,2\n", "날짜|온도/1949-01|2/" },
        { "a,b\n\"x, y\",\"1\r\n2\"\n", "a|b/x, y|1\r\n2/" },
        { "a,b\n\"say \"\"hi\"\"\",\"\"\"\"\n", "a|b/say \"hi\"|\"/" },
        { "a,b\n ' 1 ' ,\" 2 \" \n", "a|b/' 1 '| 2 /" },
        { "a,b\n5 \"x\",\"\"\n", "a|b/5 \"x\"|/" },
        { "a,b\n\n\r\n1,2\n\n", "a|b/1|2/" },
        { "a,b,\n1,,\n", "a|b|/1||/" },
        { "a;b\n1,5;2,5\n", "a|b/1,5|2,5/" },
        { "a\tb\n1\t\n\t2\n", "a|b/1|/|2/" },
        { "1,2\n3,4\n", "1|2/3|4/" },
        { "a\n\"\"\nb\n", "a//b/" },
        { "a\nb", "a/b/" },
        { "\"a\nb\",c\n1,2\n", "a\nb|c/1|2/" },
    };
    OWN(wf_csv) *c = opened(cases[_i].text, NULL);
    assert_table(c, cases[_i].table);
}

TEST(a_separator_and_a_header_may_be_given)
{
    OWN(wf_csv) *c = opened("a|b,c\n1|2,3\n", &(wf_csv_options){ .separator = '|' });
    assert_table(c, "a|b,c/1|2,3/");
    ck_assert_int_eq(wf_csv_separator(c), '|');
    OWN(wf_csv) *d = opened("a,b\n", &(wf_csv_options){ .header = WF_CSV_NO_HEADER });
    assert_table(d, "a|b/");
    ck_assert_ptr_null(wf_csv_name(d, 0));
    OWN(wf_csv) *e = opened("2010,2011\n1,2\n", &(wf_csv_options){ .header = WF_CSV_HEADER });
    ck_assert_str_eq(wf_csv_name(e, 1), "2011");
    ck_assert_int_eq(wf_csv_find(e, "2011", NULL), 1); /* a name before a number */
    ck_assert_int_eq(wf_csv_find(e, "1", NULL), 1);
    ck_assert_int_eq(wf_csv_separator(e), ',');
}

/* Quoting every field, doubling quotes and ending lines otherwise change no field. */
TEST(spelled_otherwise_it_is_the_same_table)
{
    static const char *const ends[] = { "\n", "\r\n", "\r" };
    static const char separators[] = { ',', ';', '\t' };
    static const char letters[] = "a,;\t\"\n b0.";
    for (uint64_t seed = 0; seed < 300; seed++) {
        char text[2048] = "", want[1024] = "";
        const char separator = separators[seed % 3];
        const int rows = 1 + (int)wf_random_below(seed, 0, 4), columns = 2 + (int)(seed % 4);
        for (int i = 0; i < rows * columns; i++) {
            char field[8] = "";
            const int n = (int)wf_random_below(seed, (uint64_t)i + 10, 8);
            for (int k = 0; k < n; k++)
                field[k] = letters[wf_random_below(seed, (uint64_t)(100 + i * 8 + k), 10)];
            wf_append(text, sizeof text, "\"");
            for (const char *f = field; *f; f++)
                wf_append(text, sizeof text, *f == '"' ? "\"\"" : "%c", *f);
            const bool last = i % columns == columns - 1;
            const char between[2] = { separator };
            wf_append(text, sizeof text, "\"%s", last ? ends[seed / 3 % 3] : between);
            wf_append(want, sizeof want, "%s%c", field, last ? '/' : '|');
        }
        OWN(wf_csv) *c = opened(
            text, &(wf_csv_options){ .separator = separator, .header = WF_CSV_NO_HEADER });
        assert_table(c, want);
    }
}

TEST(lines_are_counted_as_editors_do)
{
    OWN(wf_csv) *c = opened("a,b\n\n\"1\r\n\",2\r\r\n\"3\n\n\",4\n5,6", NULL);
    static const int64_t lines[] = { 3, 6, 9 };
    ck_assert_int_eq(wf_csv_rows(c), 3);
    for (int i = 0; i < 3; i++) ck_assert_int_eq(wf_csv_line(c, i), lines[i]);
    ck_assert_int_eq(wf_csv_line(c, 3), 0);
    ck_assert_int_eq(wf_csv_line(c, -1), 0);
}

/* ---- refusals ---- */

TEST(what_is_no_table_is_refused_with_its_line)
{
#define REFUSED(text, says) assert_refused(text, (int64_t)sizeof(text) - 1, NULL, says)
    REFUSED("", "csv 'text': there is nothing in it");
    REFUSED("\xEF\xBB\xBF\r\n\n", "csv 'text': there is nothing in it");
    REFUSED("a,b\n", "csv 'text': there are no rows below the header (line 1)");
    REFUSED("a,b\n1,2\n3\n4,5\n", "csv 'text': line 3 has 1 field; line 1 has 2");
    REFUSED("\na,b\n1,2\n3,4,5\n6,7\n", "csv 'text': line 4 has 3 fields; line 2 has 2");
    REFUSED("a,b,c\n1,2,3\n3,4", "csv 'text': line 3 has 2 fields; line 1 has 3\n"
                                 "  hint: the text ends there: it may have been cut");
    REFUSED("a,b\n1,\"2\n3,4\n", "csv 'text': the quote that opens in line 2 is never closed\n"
                                 "  hint: the text may have been cut");
    REFUSED("a,b\n1,\"2\"\"", "csv 'text': the quote that opens in line 2 is never closed\n"
                              "  hint: the text may have been cut");
    REFUSED("a,b\n1,\"2\" x\n", "csv 'text': line 2: a field goes on behind its closing quote");
    REFUSED("a,b\n1,\xC7\xD1\n", "csv 'text': byte 6 (line 2) is 0xC7, which is not UTF-8 there");
    REFUSED("\xFF\xFE"
            "a\0,\0",
            "csv 'text': byte 0 is 0xFF, which is not UTF-8 there");
    REFUSED("a,b\n1,\0\n", "csv 'text': byte 6 (line 2) is zero: this is not text");
#undef REFUSED
    assert_refused("a", 1, &(wf_csv_options){ .separator = '"' },
                   "csv 'text': .separator is 0x22; it must be one letter of ASCII, and neither a "
                   "quote nor a line end");
    assert_refused("a", 1, &(wf_csv_options){ .header = (wf_csv_header)3 },
                   "csv 'text': there is no .header 3");
}

/* No start of a table is read wrongly: it is refused, or it has whole records alone. */
TEST(a_table_that_is_cut_has_no_row_that_is_not_whole)
{
    static const char text[] = "a,b\n\"1\n\",22\n33,\"4\"\"4\"\n";
    OWN(wf_csv) *whole = opened(text, NULL);
    for (int64_t n = 0; n < (int64_t)sizeof text; n++) {
        const wf_text part = { "text", text, n };
        wf_error error = { "" };
        OWN(wf_csv) *c = wf_csv_from_text(&part, NULL, &error);
        ck_assert_int_eq(!c, error.text[0] != 0);
        for (int64_t i = 0; c && i + 1 < wf_csv_rows(c); i++)
            ck_assert_str_eq(wf_csv_text(c, i, 1), wf_csv_text(whole, i, 1));
    }
}

/* ---- columns ---- */

TEST(columns_are_found_by_name_and_by_number)
{
    wf_error error = { "" };
    int64_t columns[4] = { 9, 9, 9, 9 };
    OWN(wf_csv) *c = opened("날짜,온도,x,x\n월,1,a,\n화,NA,2,\n", NULL);
    ck_assert_int_eq(wf_csv_find(c, "온도", &error), 1);
    ck_assert_int_eq(wf_csv_find(c, "3", &error), 3);
    ck_assert_int_eq(wf_csv_find(c, "x", &error), -1);
    ck_assert_str_eq(error.text, "csv 'text': columns 2 and 3 are both called 'x'\n"
                                 "  hint: ask for them by number");
    ck_assert_int_eq(wf_csv_find(c, "4", &error), -1);
    ck_assert_str_eq(error.text, "csv 'text': there is no column '4'\n"
                                 "  hint: there are '날짜', '온도', 'x', 'x'");
    ck_assert_int_eq(wf_csv_select(c, "3,온도,0", columns, 2, &error), 3);
    ck_assert(columns[0] == 3 && columns[1] == 1 && columns[2] == 9);
    ck_assert_int_eq(wf_csv_select(c, "3,,0", columns, 2, &error), -1);
    ck_assert_str_eq(error.text, "csv 'text': there is no column ''\n"
                                 "  hint: there are '날짜', '온도', 'x', 'x'");
    /* Of numbers: neither dates, nor what holds a letter, nor what holds nothing. */
    ck_assert_int_eq(wf_csv_select(c, NULL, columns, 4, &error), 1);
    ck_assert_int_eq(columns[0], 1);
    OWN(wf_csv) *d = opened("1,2\n3,4\n", NULL);
    ck_assert_int_eq(wf_csv_find(d, "b", &error), -1);
    ck_assert_str_eq(error.text, "csv 'text': there is no column 'b': without a header they are "
                                 "called 0 to 1");
}

TEST(numbers_are_read_and_missing_ones_are_masked)
{
    static const char *const words[] = { "-999", "kein Wert", NULL };
    OWN(wf_csv) *c = opened("t,y,z\n1,1.5,-1e-3\n2,,?\n3,NA,n/a\n4,nan,NULL\n5,-999,\"kein Wert\"\n"
                            "6,\" \",7\n7,0x10,+8\n",
                            &(wf_csv_options){ .missing = words });
    OWN(wf_series) s = { .memory = NULL };
    wf_error error = { "" };
    ck_assert(!wf_csv_series(c, (int64_t[]){ 2, 1 }, 2, WF_F32, &s, &error));
    ck_assert_str_eq(error.text, "csv 'text': line 7: column 'y' is ' ', which is no number");
    ck_assert(s.mask.dim[0] == 7 && wf_tensor_at(&s.mask, 0) == 0 &&
              isnan(wf_tensor_at(&s.values, 0)));
    ck_assert_msg(wf_csv_series(c, (int64_t[]){ 2, 0 }, 2, WF_F32, &s, &error), "%s", error.text);
    static const double want[7] = { -1e-3f, NAN, NAN, NAN, NAN, 7, 8 };
    for (int64_t i = 0; i < 7; i++) {
        const double z = wf_tensor_at(&s.values, 2 * i);
        ck_assert(isnan(want[i]) ? isnan(z) : z == want[i]);
        ck_assert(wf_tensor_at(&s.mask, 2 * i) == !isnan(want[i]));
        ck_assert(wf_tensor_at(&s.values, 2 * i + 1) == (double)i + 1);
        ck_assert(wf_tensor_at(&s.mask, 2 * i + 1) == 1);
    }
    ck_assert(wf_csv_missing(c, 4, 1) && !wf_csv_missing(c, 0, 1) && !wf_csv_missing(c, 7, 1));
}

TEST_EACH(what_is_no_number_is_refused_with_its_line, 5)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "a\n1\n12;5\n", "csv 'text': line 3: column 'a' is '12;5', which is no number" },
        { "a\n1\ninf\n", "csv 'text': line 3: column 'a' is 'inf', which is not finite" },
        { "a\n1e39\n", "csv 'text': line 2: column 'a' is '1e39', which is too large for f32" },
        { "a\n1e999\n", "csv 'text': line 2: column 'a' is '1e999', which is no number" },
        { "1\n서울\n", "csv 'text': line 2: column '0' is '서울', which is no number" },
    };
    wf_error error = { "" };
    OWN(wf_series) s = { .memory = NULL };
    OWN(wf_csv) *c = opened(cases[_i].text, &(wf_csv_options){ .separator = ',' });
    ck_assert(!wf_csv_series(c, (int64_t[]){ 0 }, 1, WF_F32, &s, &error));
    ck_assert_str_eq(error.text, cases[_i].says);
}

TEST(numbers_are_the_same_where_a_point_is_a_comma)
{
    if (!set_comma()) return;
    OWN(wf_csv) *c = opened("a;b\n1.5;2\n", NULL);
    OWN(wf_series) s = { .memory = NULL };
    ck_assert(wf_csv_series(c, (int64_t[]){ 0 }, 1, WF_F64, &s, NULL));
    ck_assert(wf_tensor_at(&s.values, 0) == 1.5);
    ck_assert(comma_now());
}

TEST(when_memory_runs_out_nothing_leaks)
{
    const wf_text t = text_of("a,b\n1,2\n3,4\n");
    static const char *const words[] = { "-", NULL };
    for (int64_t k = 1;; k++) {
        wf_error error = { "" };
        OWN(wf_series) s = { .memory = NULL };
        heap.fail_at = k, heap.asked = 0;
        OWN(wf_csv) *c = wf_csv_from_text(&t, &(wf_csv_options){ .missing = words }, &error);
        const bool whole = c && wf_csv_series(c, (int64_t[]){ 0, 1 }, 2, WF_F64, &s, &error);
        const bool reached = heap.asked >= k;
        heap.fail_at = 0;
        ck_assert(whole != reached);
        if (!reached) break;
        ck_assert_msg(strstr(error.text, ": not enough memory for "), "%s", error.text);
    }
}

/* ---- files ---- */

TEST(a_file_is_read_as_its_text)
{
    wf_error error = { "" };
    ck_assert(wf_file_write(path_of("표.csv"), "a,b\r\n1,2\r\n", 10, &error));
    OWN(wf_csv) *c = wf_csv_new(path_of("표.csv"), NULL, &error);
    ck_assert_msg(c, "%s", error.text);
    assert_table(c, "a|b/1|2/");
    ck_assert_ptr_null(wf_csv_new(path_of("missing"), NULL, &error));
    ck_assert_str_eq(error.text, worded("csv '%s': no such file or folder", path_of("missing")));
    ck_assert(wf_file_write(path_of("bad"), "a,b\n1", 5, &error));
    ck_assert_ptr_null(wf_csv_new(path_of("bad"), NULL, &error));
    ck_assert_str_eq(error.text, worded("csv '%s': line 2 has 1 field; line 1 has 2\n"
                                        "  hint: the text ends there: it may have been cut",
                                        path_of("bad")));
}

TEST(real_tables_are_read)
{
    const char *path = harness_data("timeseries/pollution.csv");
    if (!path) return;
    wf_error error = { "" };
    OWN(wf_csv) *c = wf_csv_new(path, NULL, &error);
    ck_assert_msg(c, "%s", error.text);
    OWN(wf_series) s = { .memory = NULL };
    int64_t columns[3], missing = 0;
    ck_assert_int_eq(wf_csv_rows(c), 43824);
    ck_assert_int_eq(wf_csv_select(c, NULL, NULL, 0, &error), 12); /* all but the wind's name */
    ck_assert_int_eq(wf_csv_select(c, "pm2.5,TEMP,PRES", columns, 3, &error), 3);
    ck_assert_msg(wf_csv_series(c, columns, 3, WF_F32, &s, &error), "%s", error.text);
    for (int64_t i = 0; i < 43824; i++) missing += wf_tensor_at(&s.mask, 3 * i) == 0;
    ck_assert_int_eq(missing, 2067);
    ck_assert_str_eq(wf_csv_text(c, 43823, wf_csv_find(c, "cbwd", NULL)), "NW");
}
