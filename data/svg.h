/* Figures as SVG text: curves, bars and heat maps, the same to the byte in every locale. */
#ifndef WEFT_DATA_SVG_H
#define WEFT_DATA_SVG_H

#include "data/colours.h"
#include "tensor/tensor.h"

WF_BEGIN

/* Around a figure. Text is UTF-8, NULL where there is none. All zero is fine. */
typedef struct wf_svg_options {
    const char *title, *x_label, *y_label;
    bool log_x, log_y;     /* logarithmic axes; what is not above 0 is left out */
    double x_low, x_high;  /* where the axis begins and ends; both 0: with the numbers */
    double y_low, y_high;  /* of a heat map: the values of the first and the last colour */
    int64_t width, height; /* of the figure; 0: 720, 440. A heat map's hang on its cells */
    wf_colours colours;    /* of a heat map */
    int64_t cell;          /* the side of a heat map's cells; 0: what fits, at most 24 */
    const void *reserved[4];
} wf_svg_options;

/* A curve through (x, y). Tensors of (n), any dtype and strides; what is absent is all zero. Where
 * a number is NaN or infinite the line is broken. */
typedef struct wf_svg_line {
    const char *name;    /* in the legend; NULL: not in it */
    wf_tensor x, y;      /* x absent: 0, 1, 2, .. */
    wf_tensor low, high; /* both: a band from low to high is shaded */
    bool dashed, points; /* a dashed line; points instead of a line */
    const void *reserved[4];
} wf_svg_line;

/* Each gives a whole figure, terminated, in memory from wf_alloc, yours to wf_release. NULL and the
 * reason when shapes do not fit, an axis has no range, a text is not
 * UTF-8, or there is no memory. NULL options are all zero.
 *
 * curves: n lines in one pair of axes, with nice ticks. bars: one bar for each of (n) values, named
 * below it (names NULL: by number). heat: a matrix (rows, columns) as cells, each with its number
 * as a title, names of rows and columns beside it (NULL: none), and a bar of colours; NaN is
 * grey. */
WF_API char *wf_svg_curves(const wf_svg_line *lines, int64_t n, const wf_svg_options *options,
                           wf_error *error);
WF_API char *wf_svg_bars(const wf_tensor *values, const char *const *names,
                         const wf_svg_options *options, wf_error *error);
WF_API char *wf_svg_heat(const wf_tensor *values, const char *const *rows,
                         const char *const *columns, const wf_svg_options *options,
                         wf_error *error);

/* Writes a figure into a file, all or nothing as wf_file_write. */
WF_API bool wf_svg_save(const char *path, const char *figure, wf_error *error);

WF_END

#endif
