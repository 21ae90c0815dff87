/* Options as a table: what every program here does with its own. */
#include "examples/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_usage(const char *program, const option_row *rows, int n)
{
    printf("usage: %s [options]\n", program);
    for (const option_row *r = rows; r < rows + n; r++) {
        char left[64];
        snprintf(left, sizeof left, "--%s %s", r->name, r->argument ? r->argument : "");
        printf("  %-19s ", left);
        for (const char *c = r->help; *c; c++) {
            putchar(*c);
            if (*c == '\n') printf("%22s", "");
        }
        putchar('\n');
    }
    printf("  %-19s %s\n", "--help", "this list");
}

/* Puts the text of an option where it goes. */
static bool set_option(const option_row *r, const char *text, void *o, wf_error *err)
{
    void *at = (char *)o + r->at;
    switch (r->kind) {
    case OPTION_TEXT: memcpy(at, &text, sizeof text); return true;
    case OPTION_FLAG: *(bool *)at = true; return true;
    case OPTION_LIST: {
        option_list *all = at;
        if (all->n == OPTION_VALUES)
            return wf_error_set(err, "--%s is given more than %d times", r->name, OPTION_VALUES);
        all->at[all->n++] = text;
        return true;
    }
    case OPTION_WHOLE: {
        int64_t v, most = r->high > 0 ? (int64_t)r->high : INT64_MAX;
        if (!wf_parse_integer(text, &v) || v < (int64_t)r->low || v > most)
            return wf_error_set(err,
                                "--%s is '%s'; it must be a whole number from %.0f to %" PRId64,
                                r->name, text, r->low, most);
        *(int64_t *)at = v;
        return true;
    }
    default: {
        double v;
        if (!wf_parse_number(text, &v) || !(v >= r->low) ||
            !(r->kind == OPTION_BELOW ? v < r->high : v <= r->high))
            return wf_error_set(err, "--%s is '%s'; it must be a number from %g to %s%g", r->name,
                                text, r->low, r->kind == OPTION_BELOW ? "below " : "", r->high);
        *(double *)at = v;
        return true;
    }
    }
}

int options_read(const char *program, const option_row *rows, int n, int argc, char **argv, void *o,
                 bool given[])
{
    struct option *all = calloc((size_t)n + 2, sizeof *all);
    wf_error err = { { 0 } };
    int status = 1;
    for (int i = 0; all && i < n; i++)
        all[i] = (struct option){ rows[i].name, rows[i].argument != NULL, NULL, 1000 + i };
    if (all) all[n] = (struct option){ "help", 0, NULL, 1000 + n };
    for (int found; all && status > 0 && (found = getopt_long(argc, argv, "", all, NULL)) != -1;) {
        if (found == '?') {
            fprintf(stderr, "%s: --help lists the options\n", program);
            status = -1;
        } else if (found == 1000 + n) {
            print_usage(program, rows, n);
            status = 0;
        } else if (!set_option(&rows[found - 1000], optarg, o, &err)) {
            fprintf(stderr, "%s: %s\n", program, err.text);
            status = -1;
        } else {
            given[found - 1000] = true;
        }
    }
    if (all && status > 0 && optind < argc) {
        fprintf(stderr, "%s: '%s' is no option; --help lists them\n", program, argv[optind]);
        status = -1;
    }
    if (!all) fprintf(stderr, "%s: out of memory\n", program);
    free(all);
    return all ? status : -1;
}

void options_put(const option_row *rows, int n, const void *o, wf_bundle *b)
{
    for (const option_row *r = rows; r < rows + n; r++) {
        const void *at = (const char *)o + r->at;
        if (r->keep == OPTION_FORGOTTEN) continue;
        if (r->kind == OPTION_TEXT) {
            wf_bundle_meta(b, r->name, "%s", *(const char *const *)at);
        } else if (r->kind == OPTION_WHOLE) {
            wf_bundle_meta(b, r->name, "%" PRId64, *(const int64_t *)at);
        } else if (r->kind == OPTION_FLAG) {
            if (*(const bool *)at) wf_bundle_meta(b, r->name, "yes");
        } else if (r->kind == OPTION_LIST) {
            const option_list *all = at;
            wf_bundle_meta(b, r->name, "%d", all->n);
            for (int i = 0; i < all->n; i++) {
                char key[64];
                snprintf(key, sizeof key, "%s.%d", r->name, i);
                wf_bundle_meta(b, key, "%s", all->at[i]);
            }
        } else {
            wf_bundle_meta(b, r->name, "%.17g", *(const double *)at);
        }
    }
}

/* All values of a list: as many as its own line says. */
static bool take_list(const option_row *r, void *o, const wf_archive *file, wf_error *why)
{
    int64_t n = 0;
    if (!wf_archive_meta_integer(file, r->name, &n) || n < 0 || n > OPTION_VALUES)
        return wf_error_set(why, "it does not say its --%s", r->name);
    for (int64_t k = 0; k < n; k++) {
        char key[64];
        snprintf(key, sizeof key, "%s.%" PRId64, r->name, k);
        const char *one = wf_archive_meta(file, key);
        if (!one) return wf_error_set(why, "it does not say its --%s", r->name);
        if (!set_option(r, one, o, why)) return false;
    }
    return true;
}

/* Is the field that was given on the command line what the file says? */
static bool same_value(const option_row *r, const void *o, const char *text)
{
    const void *at = (const char *)o + r->at;
    int64_t whole;
    double number;
    if (r->kind == OPTION_TEXT) return !strcmp(*(const char *const *)at, text);
    if (r->kind == OPTION_WHOLE)
        return wf_parse_integer(text, &whole) && whole == *(const int64_t *)at;
    return wf_parse_number(text, &number) && !(number < *(const double *)at) &&
           !(number > *(const double *)at);
}

bool options_take(const option_row *rows, int n, void *o, const bool given[],
                  const wf_archive *file, const char *path, wf_error *err)
{
    for (int i = 0; i < n; i++) {
        const option_row *r = &rows[i];
        const char *text = wf_archive_meta(file, r->name);
        wf_error why = { { 0 } };
        if (r->keep == OPTION_FORGOTTEN || (r->keep == OPTION_KEPT && (given[i] || !text)))
            continue;
        if (!text)
            wf_error_set(&why, "it does not say its --%s", r->name);
        else if (r->kind == OPTION_LIST)
            take_list(r, o, file, &why);
        else if (given[i] && !same_value(r, o, text))
            wf_error_set(&why, "the saved model has --%s %s, not what was asked for", r->name,
                         text);
        else
            set_option(r, text, o, &why);
        if (why.text[0]) return wf_error_set(err, "load %s: %s", path, why.text);
    }
    return true;
}
