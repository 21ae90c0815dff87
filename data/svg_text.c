/* What the figures share: text that grows, axes and their ticks. */
#include "data/svg_private.h"
#include "data/text_private.h"
#include "tensor/runtime.h"
#include "tensor/text.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

/* ---- text ---- */

bool svg_fail(svg *s, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    wf_vformat(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!s->failed) wf_error_set(s->error, "svg: %s", text);
    s->failed = true;
    return false;
}

static void svg_add(svg *s, const char *text, int64_t n)
{
    if (s->failed) return;
    if (s->n + n + 1 > s->room) {
        const int64_t room = 2 * (s->n + n) + 4096;
        char *more = wf_alloc((size_t)room);
        if (!more) {
            svg_fail(s, "not enough memory for %lld bytes", (long long)room);
            return;
        }
        if (s->n) memcpy(more, s->text, (size_t)s->n);
        wf_release(s->text);
        s->text = more, s->room = room;
    }
    memcpy(s->text + s->n, text, (size_t)n);
    s->n += n;
    s->text[s->n] = 0;
}

static void svg_vput(svg *s, const char *format, va_list arguments)
{
    char text[512]; /* nothing of the user's: numbers alone */
    wf_vformat(text, sizeof text, format, arguments);
    svg_add(s, text, (int64_t)strlen(text));
}

void svg_put(svg *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    svg_vput(s, format, arguments);
    va_end(arguments);
}

void svg_escape(svg *s, const char *text)
{
    int64_t from = 0, at = 0;
    for (; text[at]; at++) {
        const unsigned char c = (unsigned char)text[at];
        const char *as = c == '&'                ? "&amp;"
                         : c == '<'              ? "&lt;"
                         : c == '>'              ? "&gt;"
                         : c < 0x20 || c == 0x7F ? " "
                                                 : NULL;
        if (!as) continue;
        svg_add(s, text + from, at - from);
        svg_add(s, as, (int64_t)strlen(as));
        from = at + 1;
    }
    svg_add(s, text + from, at - from);
}

void svg_text(svg *s, const char *text, const char *format, ...)
{
    va_list arguments;
    if (!text) return;
    va_start(arguments, format);
    svg_vput(s, format, arguments);
    va_end(arguments);
    svg_escape(s, text);
    svg_put(s, "</text>\n");
}

bool svg_text_given(svg *s, const char *what, const char *text)
{
    const int64_t n = text ? (int64_t)strlen(text) : 0, good = text ? wf_utf8_good(text, n) : 0;
    return good == n || svg_fail(s, "%s is not UTF-8 at its byte %lld", what, (long long)good);
}

bool svg_options_given(svg *s, const wf_svg_options *o)
{
    if (o->width < 0 || o->height < 0 || o->cell < 0 || o->width > 100000 || o->height > 100000 ||
        o->cell > 1000)
        return svg_fail(s,
                        "a figure of %lld x %lld with cells of %lld; it may have 100000 x 100000 "
                        "and 1000",
                        (long long)o->width, (long long)o->height, (long long)o->cell);
    if ((unsigned)o->colours > WF_COLOURS_GREY)
        return svg_fail(s, "there is no .colours %d", (int)o->colours);
    return svg_text_given(s, ".title", o->title) && svg_text_given(s, ".x_label", o->x_label) &&
           svg_text_given(s, ".y_label", o->y_label);
}

int64_t svg_width(const char *text, int size)
{
    int64_t columns = 0;
    int32_t c;
    const int64_t n = text ? (int64_t)strlen(text) : 0;
    /* Hangul, Han and Kana are as wide as high, other letters a little more than half. */
    for (int64_t at = 0, bytes; at < n && (bytes = wf_utf8_take(text + at, n - at, &c));
         at += bytes)
        columns += (c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xA4CF) ||
                           (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xF900 && c <= 0xFAFF) ||
                           (c >= 0xFF00 && c <= 0xFF60)
                       ? 10
                       : 6;
    return (columns * size + 9) / 10;
}

/* ---- the document ---- */

void svg_begin(svg *s, int64_t width, int64_t height)
{
    const long long w = width, h = height;
    svg_put(s,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %lld %lld\" width=\"%lld\" "
            "height=\"%lld\" font-family=\"sans-serif\" font-size=\"%d\">\n",
            w, h, w, h, SMALL);
    svg_put(s, "<rect width=\"%lld\" height=\"%lld\" fill=\"#ffffff\"/>\n", w, h);
}

void svg_names(svg *s, const wf_svg_options *o, const int64_t plot[4])
{
    const long long x = (plot[0] + plot[2]) / 2, y = (plot[1] + plot[3]) / 2;
    svg_text(s, o->title,
             "<text x=\"%lld\" y=\"%d\" text-anchor=\"middle\" font-size=\"16\" "
             "font-weight=\"bold\">",
             x, MARGIN + 10);
    svg_text(s, o->x_label, "<text x=\"%lld\" y=\"%lld\" text-anchor=\"middle\" font-size=\"%d\">",
             x, (long long)plot[3] + 2 * LABEL, PLAIN);
    svg_text(s, o->y_label,
             "<text transform=\"translate(%d,%lld) rotate(-90)\" text-anchor=\"middle\" "
             "font-size=\"%d\">",
             MARGIN + 4, y, PLAIN);
}

char *svg_end(svg *s)
{
    svg_put(s, "</svg>\n");
    if (!s->failed) return s->text;
    wf_release(s->text);
    return NULL;
}

bool wf_svg_save(const char *path, const char *figure, wf_error *error)
{
    wf_error_clear(error);
    if (!figure) return wf_error_set(error, "svg: no figure was given (NULL)");
    return wf_file_write(path, figure, (int64_t)strlen(figure), error);
}

/* ---- axes ---- */

bool svg_shows(const svg_axis *a, double value)
{
    return isfinite(value) && (!a->log || value > 0);
}

void svg_span(svg_axis *a, double value)
{
    if (!svg_shows(a, value)) return;
    a->low = fmin(a->low, value);
    a->high = fmax(a->high, value);
}

static void add_tick(svg_axis *a, double value)
{
    if (a->ticks < TICKS && value >= a->low && value <= a->high) a->tick[a->ticks++] = value;
}

/* Multiples of 1, 2 or 5 times a power of ten: the smallest step that gives at most seven. */
static void linear_ticks(svg_axis *a)
{
    static const double nice[] = { 1, 2, 5, 10 };
    const double rough = (a->high / 6 - a->low / 6), ten = pow(10, floor(log10(rough)));
    double step = ten;
    for (int i = 0; i < 4 && step < rough * (1 - 1e-9); i++) step = nice[i] * ten;
    const double first = ceil(a->low / step - 1e-9);
    for (int i = 0; i < 8; i++) {
        double value = (first + i) * step;
        /* At the ends rounding decides, and shall not. */
        if (fabs(value - a->low) < 1e-9 * step) value = a->low;
        if (fabs(value - a->high) < 1e-9 * step) value = a->high;
        add_tick(a, value == 0 ? 0 : value);
    }
}

static void log_ticks(svg_axis *a)
{
    static const double parts[] = { 1, 2, 5 };
    const int low = (int)floor(log10(a->low)), high = (int)ceil(log10(a->high));
    const int stride = (high - low + 7) / 8;
    for (int each = 1; each <= 3 && a->ticks < 3 && stride == 1; each += 2) {
        a->ticks = 0;
        for (int k = low; k <= high; k++)
            for (int i = 0; i < each; i++) add_tick(a, parts[i] * pow(10, k));
    }
    for (int k = low; k <= high && stride > 1; k++)
        if (k % stride == 0) add_tick(a, pow(10, k));
    if (a->ticks < 2) a->ticks = 0, linear_ticks(a);
}

bool svg_axis_end(svg *s, svg_axis *a, const char *name, double low, double high, bool loose)
{
    if (low != 0 || high != 0) {
        if (!(low < high) || !isfinite(low) || !isfinite(high) || (a->log && low <= 0))
            return svg_fail(s, "the %s axis cannot go from %g to %g%s", name, low, high,
                            a->log ? " on a logarithmic scale" : "");
        a->low = low, a->high = high;
    } else if (!(a->low <= a->high)) {
        a->low = a->log ? 0.1 : 0, a->high = 1; /* nothing is there */
    } else if (a->log && a->high / a->low < 1 + 1e-9) {
        a->low /= 2, a->high = fmin(a->high * 2, DBL_MAX);
    } else if (a->high - a->low < 1e-12 * fmax(fabs(a->low), fabs(a->high)) || a->low == a->high) {
        const double by = a->high == 0 ? 1 : fabs(a->high) / 2;
        a->low -= by, a->high += by;
    } else if (loose && a->log) {
        const double by = pow(a->high / a->low, 0.04);
        if (isfinite(by) && isfinite(a->high * by) && a->low / by > 0) a->low /= by, a->high *= by;
    } else if (loose) {
        const double by = a->high / 25 - a->low / 25;
        if (isfinite(a->high + by) && isfinite(a->low - by)) a->low -= by, a->high += by;
    }
    a->log ? log_ticks(a) : linear_ticks(a);
    return true;
}

double svg_place(const svg_axis *a, double value)
{
    if (a->log) return (log10(value) - log10(a->low)) / (log10(a->high) - log10(a->low));
    return (value / 2 - a->low / 2) / (a->high / 2 - a->low / 2); /* halves: no overflow */
}

const char *svg_number(double value, char text[32])
{
    wf_format(text, 32, "%.10g", value);
    return text;
}

int64_t svg_ticks_width(const svg_axis *a)
{
    int64_t most = 0;
    char text[32];
    for (int i = 0; i < a->ticks; i++) {
        const int64_t width = svg_width(svg_number(a->tick[i], text), SMALL);
        if (width > most) most = width;
    }
    return most;
}
