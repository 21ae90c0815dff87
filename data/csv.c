/* CSV, cut into fields in the place where the text was read: each field with a zero behind it, so
 * that a row needs to know only where it begins. */
#include "data/csv.h"

#include "data/text_private.h"
#include "data/words_private.h"
#include "tensor/par.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <math.h>
#include <string.h>

enum { LOOKED_AT = 16 }; /* records by which a separator is judged */

typedef struct record {
    int64_t at, line; /* where its first field begins; its line in the text, from 1 */
} record;

struct wf_csv {
    char *text;      /* fields, each terminated, one behind the other, record after record */
    growing records; /* the header too */
    growing missing; /* the user's words, each terminated */
    int64_t n, columns;
    bool header;
    char separator;
    char what[WF_WHAT]; /* how its sentences begin */
};

static const record *record_at(const wf_csv *c, int64_t i)
{
    return (const record *)(const void *)c->records.at + i;
}

/* Record and field of the text, which must be there. */
static const char *field_at(const wf_csv *c, int64_t i, int64_t column)
{
    const char *field = c->text + record_at(c, i)->at;
    while (column-- > 0) field += strlen(field) + 1;
    return field;
}

/* ---- cutting ---- */

/* A text being cut: what is written never passes what is read. */
typedef struct cutter {
    char *text;
    int64_t n, at, line; /* read so far; the line there */
    int64_t to;          /* written so far */
    char separator;
    const char *what;
    wf_error *error;
} cutter;

static char now(const cutter *k)
{
    return k->at < k->n ? k->text[k->at] : 0; /* no text has a zero */
}

static bool blank(const cutter *k, char c)
{
    return (c == ' ' || c == '\t') && c != k->separator;
}

static bool ends_field(const cutter *k, char c)
{
    return c == 0 || c == k->separator || c == '\n' || c == '\r';
}

/* Takes a line end, if there is one. */
static bool take_line_end(cutter *k)
{
    const char c = now(k);
    if (c != '\n' && c != '\r') return false;
    k->at++;
    if (c == '\r' && now(k) == '\n') k->at++;
    k->line++;
    return true;
}

/* A field in quotes, the first of which is next. */
static bool take_quoted(cutter *k)
{
    const int64_t line = k->line;
    bool closed = false;
    for (k->at++; now(k); k->at++) {
        const char c = now(k);
        if (c == '"' && k->text[k->at + 1] != '"') {
            closed = true;
            k->at++;
            break;
        }
        k->at += c == '"';
        k->line += c == '\n' || (c == '\r' && k->text[k->at + 1] != '\n');
        k->text[k->to++] = c;
    }
    if (!closed)
        return wf_error_set(k->error,
                            "%s: the quote that opens in line %lld is never closed\n"
                            "  hint: the text may have been cut",
                            k->what, (long long)line);
    while (blank(k, now(k))) k->at++;
    if (ends_field(k, now(k))) return true;
    return wf_error_set(k->error, "%s: line %lld: a field goes on behind its closing quote",
                        k->what, (long long)k->line);
}

/* The next field of a record; *more: a separator follows. */
static bool take_field(cutter *k, bool *more)
{
    while (blank(k, now(k))) k->at++;
    if (now(k) == '"') {
        if (!take_quoted(k)) return false;
    } else {
        const int64_t begin = k->to;
        while (!ends_field(k, now(k))) k->text[k->to++] = k->text[k->at++];
        while (k->to > begin && blank(k, k->text[k->to - 1])) k->to--;
    }
    *more = now(k) != 0 && now(k) == k->separator;
    if (*more)
        k->at++;
    else
        take_line_end(k);
    k->text[k->to++] = 0;
    return true;
}

/* The text's records. */
static bool cut(wf_csv *c, cutter *k)
{
    for (;;) {
        bool more = true;
        int64_t fields = 0;
        while (take_line_end(k)) continue;
        if (!now(k)) return true;
        record *r = growing_more(&c->records, (int64_t)sizeof *r, k->what, k->error);
        if (!r) return false;
        *r = (record){ k->to, k->line };
        const int64_t line = k->line;
        for (; more; fields++)
            if (!take_field(k, &more)) return false;
        if (c->n++ == 0) c->columns = fields;
        if (fields == c->columns) continue;
        return wf_error_set(k->error, "%s: line %lld has %lld field%s; line %lld has %lld%s",
                            k->what, (long long)line, (long long)fields, fields == 1 ? "" : "s",
                            (long long)record_at(c, 0)->line, (long long)c->columns,
                            !now(k) && k->line == line
                                ? "\n  hint: the text ends there: it may have been cut"
                                : "");
    }
}

/* ---- what the text does not say ---- */

/* Fields of the record at *at by that separator; moves behind it. Quotes that do not end as they
 * must are left to be said later. */
static int64_t fields_of(const wf_text *t, int64_t *at, char separator)
{
    int64_t fields = 1;
    bool quoted = false;
    while (*at < t->n && (t->bytes[*at] == '\n' || t->bytes[*at] == '\r')) ++*at;
    if (*at == t->n) return 0;
    for (; *at < t->n; ++*at) {
        const char c = t->bytes[*at];
        if (c == '"') quoted = !quoted;
        if (quoted) continue;
        if (c == '\n' || c == '\r') break;
        fields += c == separator;
    }
    return fields;
}

static char detect(const wf_text *t)
{
    static const char each[] = { '\t', ';', ',' };
    char best = ',';
    int64_t most = 1;
    for (size_t i = 0; i < sizeof each; i++) {
        int64_t at = 0;
        const int64_t first = fields_of(t, &at, each[i]);
        bool equal = first > 1;
        for (int k = 1; k < LOOKED_AT && equal; k++) {
            const int64_t fields = fields_of(t, &at, each[i]);
            if (fields == 0) break;
            equal = fields == first;
        }
        if (equal) return each[i];
        if (first > most) most = first, best = each[i];
    }
    return best;
}

static char small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_missing(const wf_csv *c, const char *field)
{
    static const char words[][5] = { "", "?", "na", "n/a", "nan", "null" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *a = field, *b = words[i];
        while (*a && small(*a) == *b) a++, b++;
        if (!*a && !*b) return true;
    }
    for (int64_t at = 0; at < c->missing.bytes;) {
        const char *word = c->missing.at + at;
        if (!strcmp(word, field)) return true;
        at += (int64_t)strlen(word) + 1;
    }
    return false;
}

/* A number of its own; not one that is missing. */
static bool is_number(const wf_csv *c, const char *field, double *number)
{
    return !is_missing(c, field) && wf_parse_number(field, number) && isfinite(*number);
}

static bool first_is_header(const wf_csv *c)
{
    double number;
    const char *field = c->text + record_at(c, 0)->at;
    for (int64_t i = 0; i < c->columns; i++, field += strlen(field) + 1)
        if (is_number(c, field, &number)) return false;
    return true;
}

/* ---- making ---- */

static bool take_options(wf_csv *c, const wf_csv_options *o, wf_error *error)
{
    const unsigned char s = (unsigned char)o->separator;
    if (o->header < WF_CSV_HEADER_DETECTED || o->header > WF_CSV_NO_HEADER)
        return wf_error_set(error, "%s: there is no .header %d", c->what, (int)o->header);
    if (s == '"' || s == '\n' || s == '\r' || s > 126)
        return wf_error_set(error,
                            "%s: .separator is 0x%02X; it must be one letter of ASCII, and "
                            "neither a quote nor a line end",
                            c->what, s);
    for (int64_t i = 0; o->missing && o->missing[i]; i++) {
        const int64_t n = (int64_t)strlen(o->missing[i]) + 1;
        char *word = growing_more(&c->missing, n, c->what, error);
        if (!word) return false;
        memcpy(word, o->missing[i], (size_t)n);
    }
    return true;
}

static bool good(const wf_csv *c, int64_t n, wf_error *error)
{
    int32_t letter;
    const int64_t bad = wf_utf8_good(c->text, n);
    int64_t at = bad;
    if (bad < n) return text_letter(c->text, n, &at, &letter, c->what, error);
    const char *zero = memchr(c->text, 0, (size_t)n);
    if (!zero) return true;
    at = zero - c->text;
    return text_letter(c->text, n, &at, &letter, c->what, error);
}

/* Reads the n bytes that c->text holds, with a zero behind them. */
static bool read_text(wf_csv *c, int64_t n, const wf_csv_options *o, wf_error *error)
{
    if (!good(c, n, error)) return false;
    const wf_text whole = { NULL, c->text, n }, body = text_body(&whole);
    c->separator = o->separator ? o->separator : detect(&body);
    cutter k = { c->text, n, n - body.n, 1, 0, c->separator, c->what, error };
    if (!cut(c, &k)) return false;
    if (c->n == 0) return wf_error_set(error, "%s: there is nothing in it", c->what);
    c->header = o->header == WF_CSV_HEADER_DETECTED ? first_is_header(c)
                                                    : o->header == WF_CSV_HEADER;
    if (c->n > c->header) return true;
    return wf_error_set(error, "%s: there are no rows below the header (line %lld)", c->what,
                        (long long)record_at(c, 0)->line);
}

static wf_csv *begin(const char *name, const wf_csv_options *o, wf_error *error)
{
    char what[WF_WHAT];
    wf_csv *c = text_memory(wf_alloc_zero(sizeof *c), sizeof *c, text_what(what, "csv", name),
                            error);
    if (!c) return NULL;
    memcpy(c->what, what, sizeof what);
    if (take_options(c, o, error)) return c;
    wf_csv_free(c);
    return NULL;
}

static wf_csv *finish(wf_csv *c, int64_t n, const wf_csv_options *o, wf_error *error)
{
    if (c->text && read_text(c, n, o, error)) return c;
    wf_csv_free(c);
    return NULL;
}

static const wf_csv_options none;

wf_csv *wf_csv_new(const char *path, const wf_csv_options *options, wf_error *error)
{
    wf_error_clear(error);
    const wf_csv_options *o = options ? options : &none;
    int64_t n = 0;
    wf_csv *c = begin(path, o, error);
    if (!c) return NULL;
    c->text = text_take(c->what, path, 0, &n, error);
    return finish(c, n, o, error);
}

wf_csv *wf_csv_from_text(const wf_text *text, const wf_csv_options *options, wf_error *error)
{
    wf_error_clear(error);
    const wf_csv_options *o = options ? options : &none;
    if (!text) {
        wf_error_set(error, "csv: no text was given (NULL)");
        return NULL;
    }
    if (!text_given(text, 1, "csv", error)) return NULL;
    wf_csv *c = begin(text_name(text), o, error);
    if (!c) return NULL;
    c->text = text_memory(wf_alloc((size_t)text->n + 1), text->n + 1, c->what, error);
    if (c->text) {
        if (text->n) memcpy(c->text, text->bytes, (size_t)text->n);
        c->text[text->n] = 0;
    }
    return finish(c, text->n, o, error);
}

void wf_csv_free(wf_csv *c)
{
    if (!c) return;
    wf_release(c->text);
    growing_free(&c->records);
    growing_free(&c->missing);
    wf_release(c);
}

/* ---- looking ---- */

int64_t wf_csv_rows(const wf_csv *c)
{
    return c ? c->n - c->header : 0;
}

int64_t wf_csv_columns(const wf_csv *c)
{
    return c ? c->columns : 0;
}

char wf_csv_separator(const wf_csv *c)
{
    return c ? c->separator : 0;
}

static bool is_column(const wf_csv *c, int64_t column)
{
    return c && column >= 0 && column < c->columns;
}

static bool is_row(const wf_csv *c, int64_t row)
{
    return row >= 0 && row < wf_csv_rows(c);
}

const char *wf_csv_name(const wf_csv *c, int64_t column)
{
    return is_column(c, column) && c->header ? field_at(c, 0, column) : NULL;
}

const char *wf_csv_text(const wf_csv *c, int64_t row, int64_t column)
{
    return is_column(c, column) && is_row(c, row) ? field_at(c, row + c->header, column) : NULL;
}

bool wf_csv_missing(const wf_csv *c, int64_t row, int64_t column)
{
    const char *field = wf_csv_text(c, row, column);
    return field && is_missing(c, field);
}

int64_t wf_csv_line(const wf_csv *c, int64_t row)
{
    return is_row(c, row) ? record_at(c, row + c->header)->line : 0;
}

/* ---- finding ---- */

/* The number that n digits are, -1 for others. */
static int64_t digits(const char *text, int64_t n)
{
    int64_t number = n > 0 && n < 18 ? 0 : -1;
    for (int64_t i = 0; i < n && number >= 0; i++)
        number = text[i] >= '0' && text[i] <= '9' ? number * 10 + (text[i] - '0') : -1;
    return number;
}

static int64_t not_found(const wf_csv *c, const char *name, int64_t n, wf_error *error)
{
    char shown[WF_SHOWN], names[512] = "", one[48];
    wf_shown(shown, sizeof shown, name, n);
    const char *field = c->text + record_at(c, 0)->at;
    for (int64_t i = 0; i < c->columns; i++, field += strlen(field) + 1) {
        wf_shown(one, sizeof one, field, (int64_t)strlen(field));
        if (strlen(names) + strlen(one) + 12 > sizeof names) {
            wf_append(names, sizeof names, ", ...");
            break;
        }
        wf_append(names, sizeof names, "%s'%s'", i ? ", " : "", one);
    }
    if (c->header)
        wf_error_set(error, "%s: there is no column '%s'\n  hint: there are %s", c->what, shown,
                     names);
    else
        wf_error_set(error,
                     "%s: there is no column '%s': without a header they are called 0 to "
                     "%lld",
                     c->what, shown, (long long)c->columns - 1);
    return -1;
}

static int64_t find(const wf_csv *c, const char *name, int64_t n, wf_error *error)
{
    char shown[WF_SHOWN];
    int64_t found = -1;
    const char *field = c->text + record_at(c, 0)->at;
    for (int64_t i = 0; c->header && i < c->columns; i++, field += strlen(field) + 1) {
        if ((int64_t)strlen(field) != n || memcmp(field, name, (size_t)n) != 0) continue;
        if (found >= 0) {
            wf_error_set(error,
                         "%s: columns %lld and %lld are both called '%s'\n"
                         "  hint: ask for them by number",
                         c->what, (long long)found, (long long)i,
                         wf_shown(shown, sizeof shown, name, n));
            return -1;
        }
        found = i;
    }
    if (found < 0) found = digits(name, n);
    return found >= 0 && found < c->columns ? found : not_found(c, name, n, error);
}

int64_t wf_csv_find(const wf_csv *c, const char *column, wf_error *error)
{
    wf_error_clear(error);
    if (c && column) return find(c, column, (int64_t)strlen(column), error);
    wf_error_set(error, c ? "csv: no column was named (NULL)" : "csv: it was never made (NULL)");
    return -1;
}

static bool of_numbers(const wf_csv *c, int64_t column)
{
    double number;
    bool any = false;
    for (int64_t i = c->header; i < c->n; i++) {
        const char *field = field_at(c, i, column);
        if (is_missing(c, field)) continue;
        if (!is_number(c, field, &number)) return false;
        any = true;
    }
    return any;
}

int64_t wf_csv_select(const wf_csv *c, const char *columns, int64_t *out, int64_t room,
                      wf_error *error)
{
    wf_error_clear(error);
    int64_t n = 0;
    if (!c) {
        wf_error_set(error, "csv: it was never made (NULL)");
        return -1;
    }
    for (int64_t i = 0; !columns && i < c->columns; i++) {
        if (!of_numbers(c, i)) continue;
        if (out && n < room) out[n] = i;
        n++;
    }
    for (const char *name = columns, *end = name; name; name = *end ? end + 1 : NULL) {
        end = name + strcspn(name, ",");
        const int64_t column = find(c, name, end - name, error);
        if (column < 0) return -1;
        if (out && n < room) out[n] = column;
        n++;
    }
    return n;
}

/* ---- numbers ---- */

static bool not_a_number(const wf_csv *c, int64_t i, int64_t column, const char *field,
                         const char *how, wf_error *error)
{
    char shown[WF_SHOWN], name[WF_SHOWN], number[32];
    wf_format(number, sizeof number, "%lld", (long long)column);
    const char *called = c->header ? field_at(c, 0, column) : number;
    return wf_error_set(error, "%s: line %lld: column '%s' is '%s', which is %s", c->what,
                        (long long)record_at(c, i)->line,
                        wf_shown(name, sizeof name, called, (int64_t)strlen(called)),
                        wf_shown(shown, sizeof shown, field, (int64_t)strlen(field)), how);
}

/* The numbers of one record into a row of the series; work: where its fields are. */
static bool read_row(const wf_csv *c, int64_t i, const int64_t *columns, int64_t n,
                     const char **work, wf_series *s, wf_error *error)
{
    const wf_dtype_info *type = wf_dtype_describe(s->values.dtype);
    const char *field = c->text + record_at(c, i)->at;
    for (int64_t k = 0; k < c->columns; k++, field += strlen(field) + 1) work[k] = field;
    for (int64_t k = 0; k < n; k++) {
        double number;
        const int64_t at = (i - c->header) * n + k;
        field = work[columns[k]];
        if (is_missing(c, field)) continue;
        if (!wf_parse_number(field, &number) || isnan(number))
            return not_a_number(c, i, columns[k], field, "no number", error);
        if (!isfinite(wf_dtype_round(s->values.dtype, number)))
            return not_a_number(c, i, columns[k], field,
                                isfinite(number) ? "too large for f32" : "not finite", error);
        type->store(s->values.data, at, number);
        ((int32_t *)s->mask.data)[at] = 1;
    }
    return true;
}

bool wf_csv_series(const wf_csv *c, const int64_t *columns, int64_t n, wf_dtype dtype,
                   wf_series *series, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (!c) return wf_error_set(error, "csv: it was never made (NULL)");
    if (n < 1 || !columns) return wf_error_set(error, "%s: no columns were given", c->what);
    for (int64_t k = 0; k < n; k++)
        if (!is_column(c, columns[k]))
            return wf_error_set(error, "%s: there is no column %lld; there are %lld", c->what,
                                (long long)columns[k], (long long)c->columns);
    const int64_t bytes = c->columns * (int64_t)sizeof(char *);
    const char **work = text_memory(wf_alloc((size_t)bytes), bytes, c->what, error);
    bool whole = work && wf_series_resize(series, wf_csv_rows(c), n, dtype, error);
    for (int64_t i = c->header; whole && i < c->n; i++) {
        whole = read_row(c, i, columns, n, work, series, error);
        if (!whole) wf_series_resize(series, wf_csv_rows(c), n, dtype, NULL);
    }
    wf_release((void *)work);
    return whole;
}
