/* What is printed is the same in every locale, and nothing that is cut loses half a letter. */
#include "tests/fixture.h"

#include <errno.h>
#include <fenv.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "tensor/io_private.h"

/* ---- as printf ---- */

static char ours[4096], theirs[4096];

#define AS_PRINTF(...)                                                                             \
    do {                                                                                           \
        int length = snprintf(theirs, sizeof theirs, __VA_ARGS__);                                 \
        ck_assert_int_eq((int)wf_format(ours, sizeof ours, __VA_ARGS__), length);                  \
        ck_assert_str_eq(ours, theirs);                                                            \
    } while (0)

TEST(every_directive_is_written_as_printf_writes_it)
{
    const double numbers[] = { 0,           -0.0,
                               1,           -1.5,
                               0.1,         1e-320,
                               1e300,       2.5,
                               (double)NAN, (double)INFINITY,
                               5e-324,      1e15,
                               -7e8,        -(double)INFINITY };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double x = numbers[i];
        AS_PRINTF("%g|%f|%e|%a|%G|%E|%F|%A", x, x, x, x, x, x, x, x);
        AS_PRINTF("%.0f|%.3g|%+.2e|% f|%#.0f|%010.3f|%-12g|%12.*f", x, x, x, x, x, x, x, 4, x);
        AS_PRINTF("%*.*f|%-*g|%.*g", 9, 2, x, 14, x, -1, x);
        AS_PRINTF("%Lg|%.20Le|%La", (long double)x, (long double)x, (long double)x);
    }
    const long long whole[] = { 0, 1, -1, 42, INT_MAX, INT_MIN, LLONG_MAX, LLONG_MIN, 300, -200 };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        long long n = whole[i];
        unsigned long long u = (unsigned long long)n;
        AS_PRINTF("%d|%i|%u|%o|%x|%X|%c", (int)n, (int)n, (unsigned)u, (unsigned)u, (unsigned)u,
                  (unsigned)u, 'k');
        AS_PRINTF("%hhd|%hd|%ld|%lld|%jd|%zd|%td", (signed char)n, (short)n, (long)n, n,
                  (intmax_t)n, (ssize_t)n, (ptrdiff_t)n);
        AS_PRINTF("%hhu|%hx|%lu|%llo|%jX|%zu", (unsigned char)u, (unsigned short)u,
                  (unsigned long)u, u, (uintmax_t)u, (size_t)u);
        AS_PRINTF("%5d|%-5d|%05d|%+d|% d|%.3d|%#x|%#o|%20.10lld|%-*d|%*d", (int)n, (int)n, (int)n,
                  (int)n, (int)n, (int)n, (unsigned)u, (unsigned)u, n, 8, (int)n, -8, (int)n);
    }
    AS_PRINTF("%s|%10s|%-10s|%.2s|%.0s|%10.3s|%.*s|%.100s|%%", "warp", "warp", "warp", "warp",
              "warp", "warp", 2, "warp", "warp");
    AS_PRINTF("%p|%20p|%5c|%-5c|", (void *)ours, (void *)theirs, 'a', 'b');
    AS_PRINTF("%s", "");
    AS_PRINTF("no directive at all");
    AS_PRINTF("%2$s of %1$d", 3, "two"); /* by position: the C library reads the whole */
    ck_assert_uint_eq(wf_format(ours, sizeof ours, "%300d", 1), 300);
    ck_assert_uint_eq(wf_format(ours, sizeof ours, "%.300f", 1e300), 602);
    const char unended[3] = { 'a', 'b', 'c' };
    ck_assert_uint_eq(wf_format(ours, sizeof ours, "%.3s", unended), 3);
    ck_assert_uint_eq(wf_format(ours, sizeof ours, "%ls|%.4ls|%lc", L"실 k", L"실실", L'실'),
                      strlen("실 k|실|실"));
    ck_assert_str_eq(ours, "실 k|실|실");
}

TEST(the_length_of_the_whole_is_returned_however_little_has_room)
{
    char text[64];
    ck_assert_uint_eq(wf_format(NULL, 0, "%d threads", 12), 10);
    for (size_t bytes = 0; bytes < 20; bytes++) {
        memset(text, '#', sizeof text);
        ck_assert_uint_eq(wf_format(text, bytes, "%d %s %.2f", 12, "knots", 0.5), 13);
        if (bytes > 0) ck_assert_uint_eq(strlen(text), bytes < 14 ? bytes - 1 : 13);
        if (bytes > 0) ck_assert_int_eq(strncmp(text, "12 knots 0.50", bytes - 1), 0);
        ck_assert_int_eq(text[bytes < 14 ? bytes : 14], '#');
    }
    strcpy(text, "warp");
    ck_assert_uint_eq(wf_append(text, 8, " and %s", "weft"), 13);
    ck_assert_str_eq(text, "warp an");
    ck_assert_uint_eq(wf_append(text, 8, "%d", 1), 8);
    ck_assert_str_eq(text, "warp an");
    ck_assert_uint_eq(wf_append(text, sizeof text, "%c", 'd'), 8);
    ck_assert_str_eq(text, "warp and");
    for (int i = 0; i < 1000; i++) /* what has no room is counted, not walked through */
        ck_assert_uint_eq(wf_format(text, 8, "%*s%-*c|", 1000000000, "weft", 1000000000, 'w'),
                          2000000001);
    ck_assert_str_eq(text, "       ");
    errno = ENOSPC;
    wf_format(text, 3, "%.400f %s", 1e300, "x");
    ck_assert_int_eq(errno, ENOSPC);
}

TEST(a_number_is_read_whole_or_not_at_all)
{
    static const char *const bad[] = { "",      " 1", "1 ", "1,5", "0.5x", "e5",  "--1",
                                       "1e999", ".",  "-",  "\t1", "0x",   "1e+", "\n" };
    double x = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!wf_parse_number(bad[i], &x) && x == 7, "'%s' was read", bad[i]);
    ck_assert(wf_parse_number("-1.5e-3", &x) && x == -1.5e-3);
    ck_assert(wf_parse_number("5e-324", &x) && x == 5e-324);
    ck_assert(wf_parse_number("0x1.8p1", &x) && x == 3);
    ck_assert(wf_parse_number("-inf", &x) && isinf(x) && x < 0);
    ck_assert(wf_parse_number("nan", &x) && isnan(x));
    int64_t n = 7;
    static const char *const no_integer[] = { "",
                                              "-",
                                              "1.0",
                                              " 1",
                                              "1 ",
                                              "+1",
                                              "0x1",
                                              "1e3",
                                              "9223372036854775808",
                                              "-9223372036854775809" };
    for (size_t i = 0; i < sizeof no_integer / sizeof *no_integer; i++)
        ck_assert_msg(!wf_parse_integer(no_integer[i], &n) && n == 7, "'%s' was read",
                      no_integer[i]);
    ck_assert(wf_parse_integer("9223372036854775807", &n) && n == INT64_MAX);
    ck_assert(wf_parse_integer("-9223372036854775808", &n) && n == INT64_MIN);
    ck_assert(wf_parse_integer("-0", &n) && n == 0);
    ck_assert(wf_parse_integer("0017", &n) && n == 17);
}

TEST(rounding_is_to_nearest_whatever_the_caller_has_set)
{
    const int modes[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
    for (int i = 0; i < 4; i++) {
        double x = 0, y = 0;
        ck_assert_int_eq(fesetround(modes[i]), 0);
        wf_format(ours, sizeof ours, "%.1f %.1f %.3g", 0.16, -0.14, 2.0 / 3);
        bool read = wf_parse_number("0.1", &x) && wf_parse_number("-0.3", &y);
        bool kept = fegetround() == modes[i];
        fesetround(FE_TONEAREST);
        ck_assert_str_eq(ours, "0.2 -0.1 0.667");
        ck_assert(read && kept && x == 0.1 && y == -0.3);
    }
}

/* ---- a locale whose decimal point is a comma ---- */

TEST(a_locale_with_a_comma_changes_nothing_that_is_printed_said_or_read)
{
    if (!set_comma()) return;
    wf_format(ours, sizeof ours, "%g %.2f %e %'d", 1.5, 0.25, 1e-3, 1234567);
    ck_assert_str_eq(ours, "1.5 0.25 1.000000e-03 1234567");
    double x = 0;
    ck_assert(wf_parse_number("1.5", &x) && x == 1.5);
    ck_assert(!wf_parse_number("1,5", &x));

    float row[2] = { 0.001F, 1.25F };
    wf_tensor small = wf_tensor_of(WF_F32, WF_SHAPE(2), row);
    wf_tensor_text(&small, ours, sizeof ours);
    ck_assert_str_eq(ours, "[0.001 1.250]  f32 (2)");
    double tiny[1] = { 1e-7 };
    small = wf_tensor_of(WF_F64, WF_SHAPE(1), tiny);
    wf_tensor_text(&small, ours, sizeof ours);
    ck_assert_str_eq(ours, "[1.0e-07]  f64 (1)");

    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *v = wf_zeros(t, WF_F32, WF_SHAPE(3));
    ck_assert_ptr_null(wf_dropout(t, v, 1.5));
    ck_assert_ptr_nonnull(strstr(wf_tape_error(t), "1.5"));
    ck_assert_str_eq(log_kept.text, wf_tape_error(t));

    wf_error e = { { 0 } };
    wf_error_set(&e, "test: p is %g", 1.5);
    ck_assert_str_eq(e.text, "test: p is 1.5");
    wf_report report = wf_op_check(op_named("tanh"), NULL);
    ck_assert(report.ok);
    ck_assert_ptr_null(strchr(strstr(report.text, "worst"), ','));
    ck_assert_msg(comma_now(), "the caller's locale was changed");
}

static void *other_thread(void *context)
{
    locale_t comma = context;
    char text[32];
    bool right = true;
    uselocale(comma); /* this thread's own */
    for (int i = 0; i < 2000 && right; i++) {
        wf_format(text, sizeof text, "%.2f", 0.25);
        right = strcmp(text, "0.25") == 0 && comma_now();
    }
    uselocale(LC_GLOBAL_LOCALE);
    return right ? context : NULL;
}

TEST(threads_with_locales_of_their_own_keep_them)
{
    if (!set_comma()) return;
    locale_t comma = duplocale(LC_GLOBAL_LOCALE);
    setlocale(LC_ALL, "C");
    ck_assert(comma != (locale_t)0);
    pthread_t thread[3];
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, other_thread, comma), 0);
    for (int i = 0; i < 2000; i++) {
        wf_format(ours, sizeof ours, "%.2f", 0.25);
        ck_assert_str_eq(ours, "0.25");
        ck_assert(!comma_now());
    }
    for (int i = 0; i < 3; i++) {
        void *right;
        pthread_join(thread[i], &right);
        ck_assert_ptr_nonnull(right);
    }
    freelocale(comma);
}

/* ---- Korean, cut at every place ---- */

static void whole(const char *where, const char *text)
{
    int64_t n = (int64_t)strlen(text);
    ck_assert_msg(n > 0 && wf_utf8_good(text, n) == n, "%s: half a letter in \"%s\"", where, text);
}

/* `lead` dots and Korean, `bytes` long or a little less. */
static char *korean(char *text, size_t lead, size_t bytes)
{
    memset(text, '.', lead);
    text[lead] = 0;
    while (strlen(text) + 3 <= bytes) strcat(text, "실");
    return text;
}

TEST(a_text_is_cut_between_letters_at_every_length)
{
    /* Letters of 1, 2, 3 and 4 bytes, of which the second and third are Korean. */
    static const char text[] = "k실w올ö𝄞실";
    for (size_t bytes = 1; bytes <= sizeof text + 1; bytes++) {
        wf_format(ours, bytes, "%s", text);
        int64_t n = (int64_t)strlen(ours);
        ck_assert_int_eq(wf_utf8_good(ours, n), n);
        ck_assert_int_eq(strncmp(ours, text, (size_t)n), 0);
        int64_t next = n + 1; /* where the next letter would end: it has no room */
        while (text[n] && (text[next] & 0xC0) == 0x80) next++;
        ck_assert(!text[n] || next > (int64_t)bytes - 1);
        wf_format(theirs, sizeof theirs, "%.*s!", (int)bytes - 1, text); /* by its precision */
        ck_assert_int_eq(strncmp(theirs, text, (size_t)n), 0);
        ck_assert_str_eq(theirs + n, "!");
        strcpy(theirs, "w");
        wf_append(theirs, bytes + 1, "%s", text);
        ck_assert_str_eq(theirs + 1, ours);
    }
}

static bool refusing_shape(wf_shaping *s)
{
    char text[1500];
    return wf_refuse(s->error, "%s", korean(text, *(const unsigned char *)s->attr, 1400));
}

static void never(const wf_call *c)
{
    (void)c;
}

static bool one_sample(int k, wf_sample *s)
{
    s->label = "one";
    s->n_in = 1;
    s->in[0].shape = WF_SHAPE(3);
    return k == 0;
}

/* Everything that fails with words of the caller's: on tapes, ... */
static void fail_tapes(size_t lead)
{
    static char name[1500], list[1500];
    OWN(wf_tape) *t = wf_tape_new(NULL), *deep = wf_tape_new(NULL);
    wf_fail(t, "%s", korean(name, lead, 1400));
    whole("tape", wf_tape_error(t));
    whole("log", log_kept.text);
    for (int i = 0; i < 5; i++) wf_scope_push(deep, korean(name, lead, 400));
    wf_fail(deep, "test: fails\n  hint: %s", korean(list, lead, 800));
    whole("scopes", wf_tape_error(deep));
}

/* ... of rows, ... */
static void fail_rows(size_t lead)
{
    static char name[1500];
    const unsigned char attr = (unsigned char)lead;
    const wf_op op = { .name = korean(name, lead, 1200),
                       .doc = "refuses",
                       .inputs = 1,
                       .outputs = 1,
                       .attr_size = 1,
                       .shape = refusing_shape,
                       .forward = never,
                       .backward = never,
                       .sample = one_sample };
    const wf_cell cell = { .name = name, .size = 8 };
    OWN(wf_tape) *t = wf_tape_new(NULL);
    ck_assert_ptr_null(
        wf_apply_one(t, &op, 1, (wf_var *[]){ wf_zeros(t, WF_F32, WF_SCALAR) }, &attr));
    whole("op", wf_tape_error(t));
    whole("op check", wf_op_check(&op, NULL).text);
    whole("cell check", wf_cell_check(&cell, NULL).text);
}

/* ... of names that a file has and the model has not, and the other way round, ... */
static void fail_names(size_t lead)
{
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_error e = { "" };
    float zero[1] = { 0 };
    wf_named named[12];
    char names[12][140];
    for (size_t i = 0; i < 12; i++) {
        korean(names[i], lead, 100 + 3 * i);
        names[i][0] = (char)('a' + i);
        named[i] = (wf_named){ names[i], wf_tensor_of(WF_F32, WF_SHAPE(1), zero) };
        wf_param_new(net, worded("w%s", names[i] + lead), WF_SHAPE(1), (wf_init){ 0 });
    }
    const char *path = path_of("named");
    ck_assert_msg(wf_safetensors_save(path, named, 12, NULL, 0, &e), "%s", e.text);
    ck_assert(!wf_module_load(net, path, &e));
    whole("names", e.text);
}

/* ... and in errors. */
static void fail_errors(size_t lead)
{
    static char name[1500];
    OWN(wf_module) *net = wf_module_new("net", NULL);
    wf_error e = { "" };
    wf_error_set(&e, "%s", korean(name, lead, 1400));
    whole("error", e.text);
    wf_module_fail(net, "%s", name);
    ck_assert(!wf_module_ok(net, &e));
    whole("module", e.text);
    ck_assert_ptr_null(wf_safetensors_load(korean(name, lead, 900), &e));
    whole("path", e.text);
    ck_assert_ptr_null(wf_corpus_new(name, &(wf_corpus_options){ .batch = 4, .time = 8 }, &e));
    whole("corpus", e.text);
}

TEST(names_in_korean_are_whole_wherever_a_message_is_cut)
{
    for (size_t lead = 1; lead < 13; lead++) {
        fail_tapes(lead);
        fail_rows(lead);
        fail_names(lead);
        fail_errors(lead);
    }
}

const harness_suite suite = { .after = nothing_is_left };
