/* Curves and bars. */
#include "data/svg.h"

#include "data/svg_private.h"
#include "data/text_private.h"
#include "tensor/par.h"

#include <math.h>
#include <string.h>

static const char *const palette[] = { "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd",
                                       "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf" };
enum { PALETTE = sizeof palette / sizeof *palette };

/* A pair of axes and the place of what lies between them: left, top, right, bottom. */
typedef struct plot {
    svg_axis x, y;
    int64_t at[4];
} plot;

static int64_t or_else(int64_t given, int64_t fallback)
{
    return given ? given : fallback;
}

/* ---- what both have ---- */

static void place_plot(plot *p, const wf_svg_options *o, int64_t below, int64_t beside)
{
    p->at[0] = MARGIN + (o->y_label ? LABEL : 0) + svg_ticks_width(&p->y) + 8;
    p->at[1] = MARGIN + (o->title ? TITLE : 0);
    p->at[2] = or_else(o->width, 720) - MARGIN - beside;
    p->at[3] = or_else(o->height, 440) - MARGIN - below - (o->x_label ? LABEL : 0);
    for (int k = 0; k < 2; k++) /* however small it is: something */
        if (p->at[k + 2] < p->at[k] + 10) p->at[k + 2] = p->at[k] + 10;
}

static double x_of(const plot *p, double value)
{
    return (double)(p->at[2] - p->at[0]) * svg_place(&p->x, value);
}

static double y_of(const plot *p, double value)
{
    return (double)(p->at[3] - p->at[1]) * (1 - svg_place(&p->y, value));
}

/* Lines across at the ticks of y, and their numbers. */
static void draw_y_ticks(svg *s, const plot *p)
{
    char text[32];
    svg_put(s, "<g stroke=\"#dddddd\">\n");
    for (int i = 0; i < p->y.ticks; i++)
        svg_put(s, "<path d=\"M%lld,%.2fH%lld\"/>\n", (long long)p->at[0],
                (double)p->at[1] + y_of(p, p->y.tick[i]), (long long)p->at[2]);
    svg_put(s, "</g>\n<g text-anchor=\"end\">\n");
    for (int i = 0; i < p->y.ticks; i++)
        svg_text(s, svg_number(p->y.tick[i], text), "<text x=\"%lld\" y=\"%.2f\">",
                 (long long)p->at[0] - 6, (double)p->at[1] + y_of(p, p->y.tick[i]) + 4);
    svg_put(s, "</g>\n");
}

static void draw_x_ticks(svg *s, const plot *p)
{
    char text[32];
    svg_put(s, "<g stroke=\"#dddddd\">\n");
    for (int i = 0; i < p->x.ticks; i++)
        svg_put(s, "<path d=\"M%.2f,%lldV%lld\"/>\n", (double)p->at[0] + x_of(p, p->x.tick[i]),
                (long long)p->at[1], (long long)p->at[3]);
    svg_put(s, "</g>\n<g text-anchor=\"middle\">\n");
    for (int i = 0; i < p->x.ticks; i++)
        svg_text(s, svg_number(p->x.tick[i], text), "<text x=\"%.2f\" y=\"%lld\">",
                 (double)p->at[0] + x_of(p, p->x.tick[i]), (long long)p->at[3] + 16);
    svg_put(s, "</g>\n");
}

/* What is drawn between begin and end is cut off at the plot's sides and counts from its corner. */
static void begin_inside(svg *s, const plot *p)
{
    svg_put(s, "<svg x=\"%lld\" y=\"%lld\" width=\"%lld\" height=\"%lld\" fill=\"none\">\n",
            (long long)p->at[0], (long long)p->at[1], (long long)(p->at[2] - p->at[0]),
            (long long)(p->at[3] - p->at[1]));
}

static void end_inside(svg *s, const plot *p)
{
    svg_put(s,
            "</svg>\n<rect x=\"%lld\" y=\"%lld\" width=\"%lld\" height=\"%lld\" fill=\"none\" "
            "stroke=\"#333333\"/>\n",
            (long long)p->at[0], (long long)p->at[1], (long long)(p->at[2] - p->at[0]),
            (long long)(p->at[3] - p->at[1]));
}

/* ---- curves ---- */

/* Numbers in a row that there are as many of as of y, if there are any. */
static bool row_given(svg *s, int64_t line, const char *what, const wf_tensor *x, int64_t n)
{
    char text[64];
    if (!x->data && !x->rank) return true;
    const bool known = wf_dtype_size(x->dtype) > 0 && x->rank >= 0 && x->rank <= WF_RANK;
    if (known && x->rank == 1 && x->dim[0] >= 0 && (x->data || !x->dim[0]) &&
        (n < 0 || x->dim[0] == n))
        return true;
    return svg_fail(s, "line %lld: %s has shape %s; it must be %s", (long long)line, what,
                    known ? wf_shape_text(text, sizeof text, x->rank, x->dim) : "(unknown)",
                    n < 0 ? "(n)" : "that of y");
}

static bool lines_given(svg *s, const wf_svg_line *lines, int64_t n)
{
    if (n < 0 || (n && !lines))
        return svg_fail(s, "%lld lines were promised and not given", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const wf_svg_line *l = &lines[i];
        if (!svg_text_given(s, "a line's name", l->name) || !row_given(s, i, "y", &l->y, -1) ||
            !row_given(s, i, "x", &l->x, l->y.dim[0]) ||
            !row_given(s, i, "low", &l->low, l->y.dim[0]) ||
            !row_given(s, i, "high", &l->high, l->y.dim[0]))
            return false;
    }
    return true;
}

static bool has_band(const wf_svg_line *l)
{
    return l->low.data && l->high.data;
}

static double x_at(const wf_svg_line *l, int64_t i)
{
    return l->x.data ? wf_tensor_at(&l->x, i) : (double)i;
}

static void span_lines(plot *p, const wf_svg_line *lines, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < lines[i].y.dim[0]; k++) {
            if (!svg_shows(&p->x, x_at(&lines[i], k))) continue;
            svg_span(&p->x, x_at(&lines[i], k));
            svg_span(&p->y, wf_tensor_at(&lines[i].y, k));
            if (!has_band(&lines[i])) continue;
            svg_span(&p->y, wf_tensor_at(&lines[i].low, k));
            svg_span(&p->y, wf_tensor_at(&lines[i].high, k));
        }
}

/* A point of a path, cut to where SVG's numbers are sure to be read. */
static void put_point(svg *s, const plot *p, char command, double x, double y)
{
    const double h = fmin(fmax(x_of(p, x), -1e6), 1e6), v = fmin(fmax(y_of(p, y), -1e6), 1e6);
    svg_put(s, "%c%.2f,%.2f", command, h, v);
}

/* The shaded area, one for each run of numbers that can be shown: there above, and back below. */
static void draw_band(svg *s, const plot *p, const wf_svg_line *l, const char *colour)
{
    const int64_t n = l->y.dim[0];
    for (int64_t from = 0, to; from < n; from = to + 1) {
        for (to = from; to < n && svg_shows(&p->x, x_at(l, to)) &&
                        svg_shows(&p->y, wf_tensor_at(&l->low, to)) &&
                        svg_shows(&p->y, wf_tensor_at(&l->high, to));)
            to++;
        if (to == from) continue;
        svg_put(s, "<path fill=\"%s\" fill-opacity=\"0.2\" d=\"", colour);
        for (int64_t i = from; i < to; i++)
            put_point(s, p, i == from ? 'M' : 'L', x_at(l, i), wf_tensor_at(&l->high, i));
        for (int64_t i = to - 1; i >= from; i--)
            put_point(s, p, 'L', x_at(l, i), wf_tensor_at(&l->low, i));
        svg_put(s, "Z\"/>\n");
    }
}

/* One path; where a number is missing it begins anew, and a point alone is a dot. */
static void draw_line(svg *s, const plot *p, const wf_svg_line *l, const char *colour)
{
    bool open = false;
    svg_put(s,
            "<path stroke=\"%s\" stroke-width=\"%s\" stroke-linecap=\"round\" "
            "stroke-linejoin=\"round\"%s d=\"",
            colour, l->points ? "5" : "1.8", l->dashed ? " stroke-dasharray=\"6,5\"" : "");
    for (int64_t i = 0; i < l->y.dim[0]; i++) {
        const double x = x_at(l, i), y = wf_tensor_at(&l->y, i);
        const bool shown = svg_shows(&p->x, x) && svg_shows(&p->y, y);
        if (shown && (!open || l->points)) {
            put_point(s, p, 'M', x, y);
            svg_put(s, "h0");
        } else if (shown) {
            put_point(s, p, 'L', x, y);
        }
        open = shown;
    }
    svg_put(s, "\"/>\n");
}

static void draw_legend(svg *s, const plot *p, const wf_svg_line *lines, int64_t n)
{
    int64_t x = p->at[2] + 12, y = p->at[1] + 8;
    for (int64_t i = 0; i < n; i++) {
        if (!lines[i].name) continue;
        svg_put(s,
                "<path stroke=\"%s\" stroke-width=\"%s\" stroke-linecap=\"round\"%s "
                "d=\"M%lld,%lldh%d\"/>\n",
                palette[i % PALETTE], lines[i].points ? "5" : "2.5",
                lines[i].dashed ? " stroke-dasharray=\"6,5\"" : "",
                (long long)x + (lines[i].points ? 10 : 0), (long long)y, lines[i].points ? 0 : 20);
        svg_text(s, lines[i].name, "<text x=\"%lld\" y=\"%lld\">", (long long)x + 26,
                 (long long)y + 4);
        y += 20;
    }
}

static int64_t legend_width(const wf_svg_line *lines, int64_t n)
{
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t width = lines[i].name ? svg_width(lines[i].name, SMALL) + 38 : 0;
        if (width > most) most = width;
    }
    return most;
}

char *wf_svg_curves(const wf_svg_line *lines, int64_t n, const wf_svg_options *options,
                    wf_error *error)
{
    wf_error_clear(error);
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    const wf_svg_options o = options ? *options : (wf_svg_options){ 0 };
    svg s = { .error = error };
    plot p = { .x = { INFINITY, -INFINITY, o.log_x, 0, { 0 } },
               .y = { INFINITY, -INFINITY, o.log_y, 0, { 0 } } };
    if (!svg_options_given(&s, &o) || !lines_given(&s, lines, n)) return NULL;
    span_lines(&p, lines, n);
    if (!svg_axis_end(&s, &p.x, "x", o.x_low, o.x_high, false) ||
        !svg_axis_end(&s, &p.y, "y", o.y_low, o.y_high, true))
        return NULL;
    place_plot(&p, &o, LABEL, legend_width(lines, n));
    svg_begin(&s, or_else(o.width, 720), or_else(o.height, 440));
    svg_names(&s, &o, p.at);
    draw_y_ticks(&s, &p);
    draw_x_ticks(&s, &p);
    begin_inside(&s, &p);
    for (int64_t i = 0; i < n; i++)
        if (has_band(&lines[i])) draw_band(&s, &p, &lines[i], palette[i % PALETTE]);
    for (int64_t i = 0; i < n; i++) draw_line(&s, &p, &lines[i], palette[i % PALETTE]);
    end_inside(&s, &p);
    draw_legend(&s, &p, lines, n);
    return svg_end(&s);
}

/* ---- bars ---- */

/* Names below the bars, upright where they have room. */
static void draw_names(svg *s, const plot *p, const char *const *names, int64_t n, bool turned)
{
    const double step = (double)(p->at[2] - p->at[0]) / (double)n;
    const int64_t stride = step < SMALL ? (int64_t)ceil(SMALL / step) : 1;
    char text[32];
    svg_put(s, "<g text-anchor=\"%s\">\n", turned ? "end" : "middle");
    for (int64_t i = 0; i < n; i += stride)
        svg_text(s, names ? names[i] : svg_number((double)i, text),
                 "<text transform=\"translate(%.2f,%lld)%s\">",
                 (double)p->at[0] + ((double)i + 0.5) * step + (turned ? 4 : 0),
                 (long long)p->at[3] + (turned ? 12 : 16), turned ? " rotate(-40)" : "");
    svg_put(s, "</g>\n");
}

static void draw_bars(svg *s, const plot *p, const wf_tensor *values)
{
    const int64_t n = values->dim[0];
    const double step = (double)(p->at[2] - p->at[0]) / (double)n;
    const double foot = p->y.log ? (double)(p->at[3] - p->at[1]) : y_of(p, 0);
    char text[32];
    svg_put(s, "<g fill=\"%s\">\n", palette[0]);
    for (int64_t i = 0; i < n; i++) {
        const double value = wf_tensor_at(values, i);
        if (!svg_shows(&p->y, value)) continue;
        const double head = fmin(fmax(y_of(p, value), -1e6), 1e6);
        svg_put(s,
                "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>%s</title>"
                "</rect>\n",
                ((double)i + 0.15) * step, fmin(head, foot), 0.7 * step, fabs(head - foot),
                svg_number(value, text));
    }
    svg_put(s, "</g>\n");
}

static bool bars_given(svg *s, const wf_tensor *values, const char *const *names)
{
    if (!values) return svg_fail(s, "no values were given (NULL)");
    if (wf_dtype_size(values->dtype) < 1 || values->rank != 1 || values->dim[0] < 0 ||
        (!values->data && values->dim[0]))
        return svg_fail(s, "values of bars are of (n)");
    for (int64_t i = 0; names && i < values->dim[0]; i++)
        if (!svg_text_given(s, "a bar's name", names[i])) return false;
    return true;
}

char *wf_svg_bars(const wf_tensor *values, const char *const *names, const wf_svg_options *options,
                  wf_error *error)
{
    wf_error_clear(error);
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    const wf_svg_options o = options ? *options : (wf_svg_options){ 0 };
    svg s = { .error = error };
    plot p = { .y = { INFINITY, -INFINITY, o.log_y, 0, { 0 } } };
    if (!svg_options_given(&s, &o) || !bars_given(&s, values, names)) return NULL;
    const int64_t n = values->dim[0];
    int64_t widest = 0;
    for (int64_t i = 0; i < n; i++) {
        svg_span(&p.y, wf_tensor_at(values, i));
        const int64_t width = names ? svg_width(names[i], SMALL) : 0;
        if (width > widest) widest = width;
    }
    svg_span(&p.y, 0);
    const bool upwards = p.y.low == 0;
    if (!svg_axis_end(&s, &p.y, "y", o.y_low, o.y_high, true)) return NULL;
    if (upwards && p.y.low < 0 && o.y_low == 0) p.y.low = 0; /* the bars stand on the frame */
    place_plot(&p, &o, LABEL, 0);
    const bool turned = n && widest * n > p.at[2] - p.at[0];
    if (turned) p.at[3] -= widest * 2 / 3 < p.at[3] - p.at[1] - 10 ? widest * 2 / 3 : 0;
    svg_begin(&s, or_else(o.width, 720), or_else(o.height, 440));
    const int64_t whole[4] = { p.at[0], p.at[1], p.at[2],
                               or_else(o.height, 440) - MARGIN - LABEL - (o.x_label ? LABEL : 0) };
    svg_names(&s, &o, whole);
    draw_y_ticks(&s, &p);
    begin_inside(&s, &p);
    if (n) draw_bars(&s, &p, values);
    end_inside(&s, &p);
    if (n) draw_names(&s, &p, names, n, turned);
    return svg_end(&s);
}
