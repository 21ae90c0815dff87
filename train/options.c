/* Options as tables: the command line, --help, and what a saved model keeps of them. */
#include "train/options.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tensor/text.h"

enum { LETTERS = 64 }; /* of an option's name */

/* ---- names ---- */

/* The name as it is typed. */
static const char *typed(const wf_option *r, char name[LETTERS])
{
    wf_format(name, LETTERS, "%s", r->name ? r->name : "");
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
    return name;
}

static bool tables_are_sound(const wf_options *tables, int64_t n, wf_error *error)
{
    if (n < 0 || (n && !tables)) return wf_error_set(error, "options: there are no tables");
    for (int64_t k = 0; k < n; k++) {
        const wf_options *t = &tables[k];
        if (t->n < 0 || t->n > 64 || (t->n && (!t->rows || !t->values)))
            return wf_error_set(error,
                                "options: table %" PRId64 " has %" PRId64 " rows (0 to 64)%s", k,
                                t->n, t->rows && t->values ? "" : ", and no rows or no values");
        for (int64_t i = 0; i < t->n; i++)
            if (!t->rows[i].name || !*t->rows[i].name || strlen(t->rows[i].name) >= LETTERS ||
                t->rows[i].kind < WF_OPTION_NUMBER || t->rows[i].kind > WF_OPTION_FLAG)
                return wf_error_set(error,
                                    "options: row %" PRId64 " of table %" PRId64
                                    " has no name of 1 to %d letters, or no kind",
                                    i, k, LETTERS - 1);
    }
    return true;
}

/* The row that `name` (of `letters` bytes) names, and its table. */
static const wf_option *find(wf_options *tables, int64_t n, const char *name, size_t letters,
                             wf_options **of)
{
    char own[LETTERS];
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < tables[k].n; i++) {
            typed(&tables[k].rows[i], own);
            if (strlen(own) != letters || memcmp(own, name, letters)) continue;
            *of = &tables[k];
            return &tables[k].rows[i];
        }
    return NULL;
}

/* How many letters must change to make a of b, at most LETTERS of each: Levenshtein's distance. */
static int distance(const char *a, size_t n, const char *b)
{
    int row[LETTERS + 1];
    const size_t m = strlen(b);
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int corner = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            const int above = row[j], least = above < row[j - 1] ? above : row[j - 1];
            const int change = corner + (a[i - 1] != b[j - 1]);
            row[j] = change < least + 1 ? change : least + 1;
            corner = above;
        }
    }
    return row[m];
}

static bool unknown(const wf_options *tables, int64_t n, const char *text, size_t letters,
                    wf_error *error)
{
    char own[LETTERS], best[LETTERS] = "";
    int least = 3; /* more changes are another word */
    for (int64_t k = 0; letters < LETTERS && k < n; k++)
        for (int64_t i = 0; i < tables[k].n; i++) {
            const int d = distance(text, letters, typed(&tables[k].rows[i], own));
            if (d >= least) continue;
            least = d;
            memcpy(best, own, sizeof best);
        }
    return wf_error_set(error, "option --%.*s: there is no such%s%s%s; --help lists them",
                        (int)letters, text, *best ? " (--" : "", best, *best ? "?)" : "");
}

/* ---- values ---- */

static bool one_of(const char *choices, const char *text)
{
    const size_t letters = strlen(text);
    for (const char *c = choices; letters && *c;) {
        const size_t n = strcspn(c, " ");
        if (n == letters && !memcmp(c, text, n)) return true;
        c += n + (c[n] == ' ');
    }
    return false;
}

static bool set_whole(const wf_option *r, const char *text, int64_t *to, wf_error *error)
{
    char name[LETTERS];
    int64_t v;
    const int64_t most = r->high > 0 && r->high < 9e18 ? (int64_t)r->high : INT64_MAX;
    if (!wf_parse_integer(text, &v) || (double)v < r->low || v > most)
        return wf_error_set(error, "option --%s: '%s' is no whole number from %.0f to %" PRId64,
                            typed(r, name), text, r->low, most);
    *to = v;
    return true;
}

static bool set_number(const wf_option *r, const char *text, double *to, wf_error *error)
{
    char name[LETTERS];
    double v;
    const double most = r->high > 0 ? r->high : 1e300;
    if (!wf_parse_number(text, &v) || !(v >= r->low) || !(r->below ? v < most : v <= most))
        return wf_error_set(error, "option --%s: '%s' is no number from %g to %s%g", typed(r, name),
                            text, r->low, r->below ? "below " : "", most);
    *to = v;
    return true;
}

/* Puts the text of an option where it goes. */
static bool set_value(const wf_option *r, const char *text, void *values, wf_error *error)
{
    char name[LETTERS];
    void *at = (char *)values + r->at;
    switch (r->kind) {
    case WF_OPTION_FLAG: *(bool *)at = true; return true;
    case WF_OPTION_WHOLE: return set_whole(r, text, at, error);
    case WF_OPTION_NUMBER: return set_number(r, text, at, error);
    case WF_OPTION_LIST: {
        wf_option_list *all = at;
        if (all->n == WF_OPTION_VALUES)
            return wf_error_set(error, "option --%s: it is given more than %d times",
                                typed(r, name), WF_OPTION_VALUES);
        all->at[all->n++] = text;
        return true;
    }
    default:
        if (r->choices && !one_of(r->choices, text))
            return wf_error_set(error, "option --%s: '%s' is not one of %s", typed(r, name), text,
                                r->choices);
        memcpy(at, &text, sizeof text);
        return true;
    }
}

static bool has_text(const wf_option *r)
{
    return r->kind != WF_OPTION_FLAG;
}

bool wf_options_read(wf_options *tables, int64_t n, int argc, char *const argv[], bool *help,
                     wf_error *error)
{
    char name[LETTERS];
    wf_error_clear(error);
    if (help) *help = false;
    if (!tables_are_sound(tables, n, error)) return false;
    for (int i = 1; argv && i < argc; i++)
        if (argv[i] && help && !strcmp(argv[i], "--help")) return *help = true;
    for (int i = 1; argv && i < argc; i++) {
        const char *word = argv[i];
        if (!word || strncmp(word, "--", 2) || !word[2])
            return wf_error_set(error, "options: '%s' is none; --help lists them",
                                word ? word : "");
        const size_t letters = strcspn(word + 2, "=");
        const bool joined = word[2 + letters] == '=';
        wf_options *t = NULL;
        const wf_option *r = find(tables, n, word + 2, letters, &t);
        if (!r) return unknown(tables, n, word + 2, letters, error);
        if (joined && !has_text(r))
            return wf_error_set(error, "option --%s: it takes no value", typed(r, name));
        if (has_text(r) && !joined && (i + 1 == argc || !argv[i + 1]))
            return wf_error_set(error, "option --%s: it needs a value, %s", typed(r, name),
                                r->argument ? r->argument : "X");
        const char *text = joined ? word + 3 + letters : has_text(r) ? argv[++i] : NULL;
        if (!set_value(r, text, t->values, error)) return false;
        t->given |= UINT64_C(1) << (r - t->rows);
    }
    return true;
}

/* ---- help ---- */

/* The default as it would be typed; "" where there is none. */
static const char *value_text(const wf_option *r, const void *values, char *text, size_t bytes)
{
    const void *at = (const char *)values + r->at;
    const char *of = NULL;
    text[0] = 0;
    switch (r->kind) {
    case WF_OPTION_NUMBER:
        if (fabs(*(const double *)at) > 0) wf_format(text, bytes, "%g", *(const double *)at);
        break;
    case WF_OPTION_WHOLE:
        if (*(const int64_t *)at) wf_format(text, bytes, "%" PRId64, *(const int64_t *)at);
        break;
    case WF_OPTION_TEXT:
        memcpy(&of, at, sizeof of);
        if (of) wf_format(text, bytes, "%s", of);
        break;
    default: break;
    }
    return text;
}

size_t wf_options_text(const wf_options *tables, int64_t n, const char *program, const char *about,
                       char *text, size_t bytes)
{
    char left[2 * LETTERS], name[LETTERS], value[128];
    if (bytes && text) text[0] = 0;
    if (!tables_are_sound(tables, n, NULL)) return 0;
    /* Each piece goes behind what is there, and is counted where it does not fit. */
    size_t length = 0;
#define ADD(...)                                                                                   \
    (length += wf_format(text && length < bytes ? text + length : NULL,                            \
                         text && length < bytes ? bytes - length : 0, __VA_ARGS__))
    if (about && *about) ADD("%s\n\n", about);
    ADD("usage: %s [options]\n", program ? program : "");
    for (int64_t k = 0; k < n; k++)
        for (const wf_option *r = tables[k].rows; r < tables[k].rows + tables[k].n; r++) {
            value_text(r, tables[k].values, value, sizeof value);
            wf_format(left, sizeof left, "--%s %s", typed(r, name),
                      r->argument && has_text(r) ? r->argument : "");
            ADD("  %-19s ", left);
            for (const char *c = r->help ? r->help : ""; *c;) {
                const size_t line = strcspn(c, "\n");
                ADD("%.*s", (int)line, c);
                c += line;
                if (*c++ != '\n') break;
                ADD("\n%22s", "");
            }
            if (r->choices) ADD("%s%s", r->help && *r->help ? ": " : "", r->choices);
            ADD(*value ? " (%s)\n" : "%s\n", value);
        }
    ADD("  %-19s %s\n", "--help", "this list");
#undef ADD
    return length;
}

/* ---- what a saved model keeps ---- */

static void put(const wf_option *r, const void *values, wf_bundle *bundle)
{
    const void *at = (const char *)values + r->at;
    const char *text;
    switch (r->kind) {
    case WF_OPTION_NUMBER: wf_bundle_meta(bundle, r->name, "%.17g", *(const double *)at); break;
    case WF_OPTION_WHOLE: wf_bundle_meta(bundle, r->name, "%" PRId64, *(const int64_t *)at); break;
    case WF_OPTION_FLAG:
        if (*(const bool *)at) wf_bundle_meta(bundle, r->name, "yes");
        break;
    case WF_OPTION_LIST: {
        const wf_option_list *all = at;
        wf_bundle_meta(bundle, r->name, "%" PRId64, all->n);
        for (int64_t i = 0; i < all->n; i++) {
            char key[2 * LETTERS];
            wf_format(key, sizeof key, "%s.%" PRId64, r->name, i);
            wf_bundle_meta(bundle, key, "%s", all->at[i]);
        }
        break;
    }
    default:
        memcpy(&text, at, sizeof text);
        if (text) wf_bundle_meta(bundle, r->name, "%s", text);
    }
}

bool wf_options_to_bundle(const wf_options *tables, int64_t n, wf_bundle *bundle)
{
    wf_error error = { "" };
    if (!tables_are_sound(tables, n, &error)) return wf_bundle_fail(bundle, "%s", error.text);
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < tables[k].n; i++)
            if (tables[k].rows[i].keep != WF_OPTION_FORGOTTEN)
                put(&tables[k].rows[i], tables[k].values, bundle);
    return wf_bundle_ok(bundle, NULL);
}

/* All values of a list: as many as its own line says. */
static bool take_list(const wf_option *r, void *values, const wf_archive *archive, wf_error *why)
{
    int64_t n = 0;
    if (!wf_archive_meta_integer(archive, r->name, &n) || n < 0 || n > WF_OPTION_VALUES)
        return wf_error_set(why, "it does not say its --%s", r->name);
    for (int64_t k = 0; k < n; k++) {
        char key[2 * LETTERS];
        wf_format(key, sizeof key, "%s.%" PRId64, r->name, k);
        const char *one = wf_archive_meta(archive, key);
        if (!one) return wf_error_set(why, "it does not say its --%s", r->name);
        if (!set_value(r, one, values, why)) return false;
    }
    return true;
}

/* Is the field that was given on the command line what the file says? */
static bool same_value(const wf_option *r, const void *values, const char *text)
{
    const void *at = (const char *)values + r->at;
    const char *own;
    int64_t whole;
    double number;
    switch (r->kind) {
    case WF_OPTION_TEXT: memcpy(&own, at, sizeof own); return own && !strcmp(own, text);
    case WF_OPTION_WHOLE: return wf_parse_integer(text, &whole) && whole == *(const int64_t *)at;
    case WF_OPTION_NUMBER:
        return wf_parse_number(text, &number) && !(number < *(const double *)at) &&
               !(number > *(const double *)at);
    default: return true;
    }
}

static bool take(const wf_option *r, wf_options *t, bool given, const wf_archive *archive,
                 wf_error *why)
{
    char name[LETTERS];
    const char *text = wf_archive_meta(archive, r->name);
    if (r->keep == WF_OPTION_FORGOTTEN || !text || (r->keep == WF_OPTION_KEPT && given))
        return true;
    if (r->kind == WF_OPTION_LIST) return take_list(r, t->values, archive, why);
    if (given && !same_value(r, t->values, text))
        return wf_error_set(why, "the saved model has --%s %s, not what was asked for",
                            typed(r, name), text);
    return set_value(r, text, t->values, why);
}

bool wf_options_load_archive(wf_options *tables, int64_t n, const char *path,
                             const wf_archive *archive, wf_error *error)
{
    wf_error_clear(error);
    if (!tables_are_sound(tables, n, error)) return false;
    if (!archive) return wf_error_set(error, "load %s: there is no archive", path ? path : "");
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < tables[k].n; i++) {
            wf_error why = { "" };
            if (!take(&tables[k].rows[i], &tables[k], tables[k].given >> i & 1, archive, &why))
                return wf_error_set(error, "load %s: %s", path ? path : "", why.text);
        }
    return true;
}
