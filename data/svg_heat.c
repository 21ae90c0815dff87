/* Heat maps. */
#include "data/svg.h"

#include "data/svg_private.h"
#include "tensor/par.h"

#include <math.h>
#include <stddef.h>

enum { LARGEST = 24, SIDE = 480, SHADES = 32 };

/* Where everything is: the cells begin at (left, top). */
typedef struct layout {
    int64_t rows, columns, cell, left, top, right, bottom;
    bool turned; /* the columns' names */
} layout;

static int64_t widest(const char *const *names, int64_t n)
{
    int64_t most = 0;
    for (int64_t i = 0; names && i < n; i++)
        if (svg_width(names[i], PLAIN) > most) most = svg_width(names[i], PLAIN);
    return most;
}

static bool heat_given(svg *s, const wf_tensor *x, const char *const *rows,
                       const char *const *columns)
{
    if (!x) return svg_fail(s, "no values were given (NULL)");
    if (wf_dtype_size(x->dtype) < 1 || x->rank != 2 || x->dim[0] < 0 || x->dim[1] < 0 ||
        (!x->data && x->dim[0] && x->dim[1]))
        return svg_fail(s, "values of a heat map are of (rows, columns)");
    if (x->dim[0] > 10000 || x->dim[1] > 10000 || x->dim[0] * x->dim[1] > 1000000)
        return svg_fail(s, "%lld x %lld cells are too many; wf_png_save has room for them",
                        (long long)x->dim[0], (long long)x->dim[1]);
    for (int64_t i = 0; rows && i < x->dim[0]; i++)
        if (!svg_text_given(s, "a row's name", rows[i])) return false;
    for (int64_t i = 0; columns && i < x->dim[1]; i++)
        if (!svg_text_given(s, "a column's name", columns[i])) return false;
    return true;
}

static layout lay_out(const wf_tensor *x, const char *const *rows, const char *const *columns,
                      const wf_svg_options *o)
{
    layout l = { .rows = x->dim[0], .columns = x->dim[1] };
    const int64_t larger = l.rows > l.columns ? l.rows : l.columns,
                  across = widest(columns, l.columns);
    l.cell = o->cell ? o->cell : larger * LARGEST <= SIDE ? LARGEST : SIDE / larger;
    /* Names are read only if the cells are as high as letters. */
    if (!o->cell && (rows || columns) && l.cell < SMALL && larger <= 100) l.cell = PLAIN;
    if (l.cell < 1) l.cell = 1;
    l.turned = across > l.cell;
    l.left = MARGIN + (o->y_label ? LABEL : 0) + (rows ? widest(rows, l.rows) + 8 : 0);
    l.top = MARGIN + (o->title ? TITLE : 0) +
            (!columns   ? 0
             : l.turned ? across * 87 / 100 + 12
                        : PLAIN + 6);
    l.right = l.left + l.columns * l.cell;
    l.bottom = l.top + l.rows * l.cell;
    return l;
}

static void draw_cells(svg *s, const layout *l, const wf_tensor *x, const svg_axis *a,
                       wf_colours map)
{
    char text[32];
    const long long side = l->cell > 8 ? l->cell - 1 : l->cell;
    for (int64_t i = 0; i < l->rows * l->columns; i++) {
        const double value = wf_tensor_at(x, i);
        const double at = svg_place(a, value); /* NaN of NaN */
        svg_put(s,
                "<rect x=\"%lld\" y=\"%lld\" width=\"%lld\" height=\"%lld\" fill=\"#%06x\">"
                "<title>%s</title></rect>\n",
                (long long)(l->left + i % l->columns * l->cell),
                (long long)(l->top + i / l->columns * l->cell), side, side,
                (unsigned)wf_colour(map, at), svg_number(value, text));
    }
}

/* Every name, or as many as there is room for. */
static void draw_names(svg *s, const layout *l, const char *const *rows, const char *const *columns)
{
    const int64_t stride = l->cell < SMALL ? (SMALL + l->cell - 1) / l->cell : 1;
    svg_put(s, "<g font-size=\"%d\">\n", PLAIN);
    for (int64_t k = 0; columns && k < l->columns; k += stride)
        svg_text(s, columns[k],
                 l->turned ? "<text transform=\"translate(%lld,%lld) rotate(-60)\">"
                           : "<text x=\"%lld\" y=\"%lld\" text-anchor=\"middle\">",
                 (long long)(l->left + k * l->cell + l->cell / 2 + (l->turned ? 4 : 0)),
                 (long long)l->top - 6);
    for (int64_t k = 0; rows && k < l->rows; k += stride)
        svg_text(s, rows[k], "<text x=\"%lld\" y=\"%lld\" text-anchor=\"end\">",
                 (long long)l->left - 6, (long long)(l->top + k * l->cell + l->cell / 2 + 5));
    svg_put(s, "</g>\n");
}

/* The colours from the lowest value at the bottom to the highest, with ticks. */
static void draw_bar(svg *s, const layout *l, int64_t x, const svg_axis *a, wf_colours map)
{
    char text[32];
    const double height = (double)(l->bottom - l->top > 96 ? l->bottom - l->top : 96);
    for (int i = 0; i < SHADES; i++)
        svg_put(s, "<path fill=\"#%06x\" d=\"M%lld,%.2fh14v%.2fh-14z\"/>\n",
                (unsigned)wf_colour(map, (i + 0.5) / SHADES), (long long)x,
                (double)l->top + height * (SHADES - 1 - i) / SHADES, height / SHADES + 0.2);
    for (int i = 0; i < a->ticks; i++)
        svg_text(s, svg_number(a->tick[i], text), "<text x=\"%lld\" y=\"%.2f\">", (long long)x + 20,
                 (double)l->top + height * (1 - svg_place(a, a->tick[i])) + 4);
}

char *wf_svg_heat(const wf_tensor *values, const char *const *rows, const char *const *columns,
                  const wf_svg_options *options, wf_error *error)
{
    wf_error_clear(error);
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    const wf_svg_options o = options ? *options : (wf_svg_options){ 0 };
    svg s = { .error = error };
    svg_axis a = { INFINITY, -INFINITY, false, 0, { 0 } };
    if (!svg_options_given(&s, &o) || !heat_given(&s, values, rows, columns)) return NULL;
    const layout l = lay_out(values, rows, columns, &o);
    for (int64_t i = 0; i < l.rows * l.columns; i++) svg_span(&a, wf_tensor_at(values, i));
    if (!svg_axis_end(&s, &a, "colours'", o.y_low, o.y_high, false)) return NULL;
    /* Behind the cells: what the last turned name takes, the bar and its numbers. */
    const int64_t beside = columns && l.columns && l.turned
                               ? (svg_width(columns[l.columns - 1], PLAIN) + 1) / 2
                               : 0;
    const int64_t bar = l.right + (beside > MARGIN ? beside : MARGIN);
    const int64_t bottom = l.bottom > l.top + 96 ? l.bottom : l.top + 96;
    svg_begin(&s, bar + 20 + svg_ticks_width(&a) + MARGIN,
              bottom + MARGIN + (o.x_label ? LABEL : 0));
    const int64_t plot[4] = { l.left, l.top, l.right, l.bottom - LABEL };
    svg_names(&s, &o, plot);
    draw_cells(&s, &l, values, &a, o.colours);
    draw_names(&s, &l, rows, columns);
    draw_bar(&s, &l, bar, &a, o.colours);
    return svg_end(&s);
}
