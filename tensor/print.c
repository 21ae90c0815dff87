/* A tensor as a person wants to read it: columns aligned, rows in brackets, the middle of long axes
 * left out. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/tensor.h"
#include "tensor/text.h"

/* More elements than WHOLE: axes longer than 2 EDGE show their first and last EDGE. Lines are kept
 * within WIDTH columns. */
enum { WHOLE = 200, EDGE = 3, DECIMALS = 4, WIDTH = 100 };

/* Where text goes: to stdout when text is NULL and file is set, else into text as far as it fits.
 */
typedef struct sink {
    FILE *file;
    char *text;
    size_t bytes, length;
    int column;
} sink;

/* How all numbers of one tensor are written. */
typedef struct style {
    wf_dtype dtype;
    bool shorten, scientific;
    int decimals, width;
} style;

static void put(sink *s, const char *text)
{
    size_t n = strlen(text);
    if (s->file) {
        fwrite(text, 1, n, s->file);
    } else if (s->length + 1 < s->bytes) {
        size_t room = s->bytes - 1 - s->length, part = n < room ? n : room;
        memcpy(s->text + s->length, text, part);
        s->text[s->length + part] = 0;
    }
    const char *line = strrchr(text, '\n');
    s->column = line ? (int)strlen(line + 1) : s->column + (int)n;
    s->length += n;
}

static void indent(sink *s, int columns)
{
    while (columns-- > 0) put(s, " ");
}

static const char *number(const style *f, double value, char text[64])
{
    if (f->dtype == WF_I32)
        wf_format(text, 64, "%.0f", value);
    else if (f->scientific && isfinite(value))
        wf_format(text, 64, "%.*e", f->decimals, value);
    else
        wf_format(text, 64, "%.*f", f->decimals, value);
    return text;
}

static bool left_out(const style *f, int64_t n)
{
    return f->shorten && n > 2 * EDGE;
}

/* What the shown numbers need. */
typedef struct survey {
    double largest, smallest; /* of the finite ones that are not 0, by size */
    int decimals, width;
} survey;

/* How many decimals, at most DECIMALS, the number really has in this form. */
static int decimals_of(const style *f, double value)
{
    char text[64];
    style most = *f;
    most.decimals = DECIMALS;
    if (!isfinite(value)) return 0;
    number(&most, value, text);
    const char *point = strchr(text, '.');
    int n = point ? DECIMALS : 0;
    while (n > 0 && point[n] == '0') n--;
    return n;
}

/* Visits the shown elements below x; the first pass finds the sizes, the second one what they need
 * when written. */
static void look(const wf_tensor *x, const style *f, int pass, survey *found)
{
    if (x->rank == 0) {
        double value = wf_tensor_at(x, 0), size = fabs(value);
        char text[64];
        if (pass == 0) {
            if (!isfinite(size) || size == 0) return;
            if (size > found->largest) found->largest = size;
            if (found->smallest == 0 || size < found->smallest) found->smallest = size;
        } else if (pass == 1) {
            int decimals = decimals_of(f, value);
            if (decimals > found->decimals) found->decimals = decimals;
        } else {
            int width = (int)strlen(number(f, value, text));
            if (width > found->width) found->width = width;
        }
        return;
    }
    for (int64_t i = 0; i < x->dim[0]; i++) {
        if (i == EDGE && left_out(f, x->dim[0])) i = x->dim[0] - EDGE;
        wf_tensor part;
        if (wf_view_select(x, 0, i, &part)) look(&part, f, pass, found);
    }
}

static void choose(const wf_tensor *x, style *f)
{
    survey found = { 0 };
    look(x, f, 0, &found);
    if (f->dtype != WF_I32) {
        /* Fixed point unless it would be long, or show as 0 what is not. */
        f->scientific = found.largest >= 1e8 || (found.smallest > 0 && found.smallest < 1e-4);
        look(x, f, 1, &found);
        f->decimals = found.decimals < 1 ? 1 : found.decimals;
    }
    look(x, f, 2, &found);
    f->width = found.width;
}

/* Elements of a row, or rows of a matrix, with `depth` brackets open. */
static void write_part(const wf_tensor *x, const style *f, int depth, sink *s)
{
    char text[64];
    if (x->rank == 0) {
        const char *written = number(f, wf_tensor_at(x, 0), text);
        indent(s, f->width - (int)strlen(written));
        put(s, written);
        return;
    }
    put(s, "[");
    for (int64_t i = 0; i < x->dim[0]; i++) {
        bool dots = i == EDGE && left_out(f, x->dim[0]);
        if (dots) i = x->dim[0] - EDGE;
        if (x->rank == 1) {
            if (s->column + 1 + (dots ? 4 : 0) + f->width > WIDTH && i > 0) {
                put(s, "\n");
                indent(s, depth + 1);
            } else if (i > 0) {
                put(s, " ");
            }
            if (dots) put(s, "... ");
        } else {
            for (int line = 1; line < x->rank && i > 0; line++) put(s, "\n");
            if (i > 0) indent(s, depth + 1);
            if (dots) {
                put(s, "...");
                for (int line = 1; line < x->rank; line++) put(s, "\n");
                indent(s, depth + 1);
            }
        }
        wf_tensor part;
        if (wf_view_select(x, 0, i, &part)) write_part(&part, f, depth + 1, s);
    }
    put(s, "]");
}

static void print(const wf_tensor *x, sink *s)
{
    char text[256];
    if (!x) {
        put(s, "(no tensor)");
        return;
    }
    int64_t count = wf_tensor_count(x);
    if (!x->data && count > 0) {
        put(s, "(no data)");
    } else if (count == 0) {
        put(s, "[]");
    } else {
        style f = { .dtype = x->dtype, .shorten = count > WHOLE };
        choose(x, &f);
        write_part(x, &f, 0, s);
    }
    put(s, "  ");
    put(s, wf_dtype_name(x->dtype));
    put(s, " ");
    put(s, wf_shape_text(text, sizeof text, x->rank, x->dim));
}

void wf_tensor_print(const wf_tensor *x)
{
    sink s = { .file = stdout };
    print(x, &s);
    put(&s, "\n");
}

size_t wf_tensor_text(const wf_tensor *x, char *text, size_t bytes)
{
    sink s = { .text = text, .bytes = text ? bytes : 0 };
    if (s.bytes > 0) text[0] = 0;
    print(x, &s);
    return s.length;
}
