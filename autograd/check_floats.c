/* What all checkers share: failing with a sentence, differences, and lists of floats that are
 * compared, entered into a tape and read from it. */
#include "autograd/check_private.h"

#include "tensor/rng.h"
#include "tensor/text.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

bool check_fail(wf_report *report, const char *format, ...)
{
    if (report->ok) {
        va_list values;
        va_start(values, format);
        wf_vformat(report->text, sizeof report->text, format, values);
        va_end(values);
    }
    report->ok = false;
    return false;
}

double check_largest(int64_t n, const double *x)
{
    double largest = 0;
    for (int64_t j = 0; j < n; j++)
        if (fabs(x[j]) > largest) largest = fabs(x[j]);
    return largest;
}

const char *check_where(char text[CHECK_WHERE], const wf_shape *form, int64_t at)
{
    return form ? wf_index_text(text, CHECK_WHERE, form->rank, form->dim, at)
                : wf_shape_text(text, CHECK_WHERE, 1, &at);
}

bool check_near(wf_report *report, const check_comparison *comparison, int64_t n, const double *got,
                const double *want, double relative, double floor)
{
    double largest = check_largest(n, want), allowed = relative * largest + floor, worst = 0;
    int64_t at = -1;
    for (int64_t j = 0; j < n; j++) {
        double error = fabs(got[j] - want[j]);
        if (isfinite(error) ? error > worst : at < 0 || isfinite(worst)) {
            worst = isfinite(error) ? error : (double)INFINITY;
            at = j;
        }
    }
    report->checked += n;
    /* Where the floor rules, an error relative to what is there would only tell of rounding. */
    if (floor < relative * largest && worst / largest > report->worst)
        report->worst = worst / largest;
    if (worst <= allowed) return true;
    char place[CHECK_WHERE], row[CHECK_WHERE], of[CHECK_WHERE + 24] = "";
    int64_t width = comparison->width;
    if (width)
        wf_format(of, sizeof of, " for the output's %s",
                  check_where(row, comparison->of, at / width));
    return check_fail(
        report,
        "%s: %s: %s %d%s%s at %s%s: %s %.17g, %s %.17g; apart by %.3g, "
        "allowed are %.3g (the largest is %.3g)",
        comparison->who, comparison->check, comparison->role, comparison->index,
        comparison->name ? " " : "", comparison->name ? comparison->name : "",
        check_where(place, comparison->form, comparison->first + (width ? at % width : at)), of,
        comparison->got, got[at], comparison->want, want[at], worst, allowed, largest);
}

double check_point(double x, double step, int p)
{
    return x + (p < 2 ? p - 2 : p - 1) * step;
}

double check_difference(const double f[4], double step)
{
    return (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * step);
}

void check_sides(const double f[4], double f0, double step, double side[2])
{
    side[0] = (3 * f0 - 4 * f[1] + f[0]) / (2 * step);
    side[1] = (4 * f[2] - 3 * f0 - f[3]) / (2 * step);
}

double check_kink(double step)
{
    return fmax(1e-4, 1e6 * step * step * step);
}

double check_step(double step, double x)
{
    return step * fmax(1, fabs(x));
}

void check_draw(uint64_t key, const char *name, int64_t n, double *x)
{
    key = wf_key_named(key, name);
    for (int64_t j = 0; j < n; j++) x[j] = wf_random_normal(key, (uint64_t)j);
}

/* ---- floats among inputs or outputs ---- */

bool floats_near(const check_floats *f, const char *check, const double *got, const char *got_name,
                 const double *want, const char *want_name, double relative, double floor)
{
    for (int i = 0; i < f->n; i++) {
        check_comparison s = { .who = f->who,
                               .check = check,
                               .role = f->role,
                               .index = i,
                               .got = got_name,
                               .want = want_name,
                               .form = &f->shape[i] };
        if (f->floats[i] && !check_near(f->report, &s, f->count[i], got + f->at[i], want + f->at[i],
                                        relative, floor))
            return false;
    }
    return true;
}

bool floats_equal(const check_floats *f, const char *check, const double *got, const char *got_name,
                  const double *want, const char *want_name)
{
    return floats_near(f, check, got, got_name, want, want_name, 1e-12, 1e-14);
}

uint32_t floats_mask(const check_floats *f)
{
    uint32_t mask = 0;
    for (int i = 0; i < f->n; i++) mask |= (uint32_t)f->floats[i] << i;
    return mask;
}

bool check_subset(uint32_t some, uint32_t of, int few)
{
    int all = __builtin_popcount(of), size = __builtin_popcount(some);
    return (some & of) == some && (all <= few || size == 1 || size >= all - 1);
}

void floats_only(const check_floats *f, uint32_t which, const double *x, double *to)
{
    for (int i = 0; i < f->n; i++)
        for (int64_t e = f->at[i]; f->floats[i] && e < f->at[i] + f->count[i]; e++)
            to[e] = which >> i & 1 ? x[e] : 0;
}

int floats_list(const check_floats *f, uint32_t which, wf_var *const x[], wf_var *list[])
{
    int n = 0;
    for (int i = 0; i < f->n; i++)
        if (f->floats[i] && which >> i & 1) list[n++] = x[i];
    return n;
}

int floats_enter(const check_floats *f, uint32_t which, wf_tape *t, const double *x, bool leaves,
                 wf_var *list[])
{
    int n = 0;
    for (int i = 0; i < f->n; i++)
        if (f->floats[i] && which >> i & 1)
            list[n++] = (leaves ? wf_leaf : wf_constant)(t, WF_F64, f->shape[i], x + f->at[i]);
    return n;
}

void floats_read(const check_floats *f, uint32_t which, wf_var *const list[], double *x)
{
    for (int i = 0; i < f->n; i++) {
        const wf_var *v = f->floats[i] && which >> i & 1 ? *list++ : NULL;
        for (int64_t e = 0; f->floats[i] && e < f->count[i]; e++)
            x[f->at[i] + e] = v ? wf_at(v, e) : 0;
    }
}

void floats_values(const check_floats *f, wf_var *const x[], double *y)
{
    for (int i = 0; i < f->n; i++)
        for (int64_t e = 0; f->floats[i] && e < f->count[i]; e++) y[f->at[i] + e] = wf_at(x[i], e);
}

void check_gradient(const wf_var *x, int64_t n, double *g)
{
    const wf_tensor *kept = wf_grad_of(x);
    for (int64_t j = 0; j < n; j++) g[j] = kept ? wf_tensor_at(kept, j) : 0;
}

void floats_gradients(const check_floats *f, wf_var *const x[], double *g)
{
    for (int i = 0; i < f->n; i++)
        if (f->floats[i]) check_gradient(x[i], f->count[i], g + f->at[i]);
}
