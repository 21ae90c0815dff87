/* What the figures share: text that grows, axes and their ticks. Not installed. */
#ifndef WEFT_DATA_SVG_PRIVATE_H
#define WEFT_DATA_SVG_PRIVATE_H

#include "data/svg.h"
#include "tensor/error.h"

/* Pixels: of a letter of small and of plain text, of text of its size, and around everything. */
enum { SMALL = 12, PLAIN = 14, MARGIN = 16, TITLE = 32, LABEL = 22 };

/* Text being written; what fails is kept, and everything after it does nothing. */
typedef struct svg {
    char *text;
    int64_t n, room;
    wf_error *error;
    bool failed;
} svg;

void svg_put(svg *s, const char *format, ...) WF_PRINTF(2, 3);
/* Text as XML wants it, without the characters that it forbids. */
void svg_escape(svg *s, const char *text);
/* The text element that `format` begins ("<text x=.. y=..>"), with that text. */
void svg_text(svg *s, const char *text, const char *format, ...) WF_PRINTF(3, 4);
bool svg_fail(svg *s, const char *format, ...) WF_PRINTF(2, 3);
/* The document's first lines, title and names of the axes of a plot at (left, top, right, bottom);
 * its end; and the text, or NULL. */
void svg_begin(svg *s, int64_t width, int64_t height);
void svg_names(svg *s, const wf_svg_options *o, const int64_t plot[4]);
char *svg_end(svg *s);

/* All texts of the options are UTF-8? */
bool svg_text_given(svg *s, const char *what, const char *text);
bool svg_options_given(svg *s, const wf_svg_options *o);
/* Pixels that a text of a size takes, more or less; 0 of NULL. */
int64_t svg_width(const char *text, int size);

enum { TICKS = 24 };

typedef struct svg_axis {
    double low, high; /* low < high */
    bool log;
    int ticks;
    double tick[TICKS];
} svg_axis;

/* Can it be drawn on such an axis? */
bool svg_shows(const svg_axis *a, double value);
/* Takes it into the range. */
void svg_span(svg_axis *a, double value);
/* The range to what was asked for (low < high) or else widened a little if `loose`, and ticks;
 * false after a failure. */
bool svg_axis_end(svg *s, svg_axis *a, const char *name, double low, double high, bool loose);
/* 0 at low, 1 at high. */
double svg_place(const svg_axis *a, double value);
/* A tick's number as text. */
const char *svg_number(double value, char text[32]);
/* Pixels of the widest tick. */
int64_t svg_ticks_width(const svg_axis *a);

#endif
