/* A tensor as a person wants to read it: columns aligned, rows in brackets, the middle of long axes
 * left out. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/io_private.h"
#include "tensor/par.h"
#include "tensor/print_private.h"
#include "tensor/text.h"

/* More elements than WHOLE: axes longer than 2 EDGE show their first and last EDGE. Lines are kept
 * within WIDTH columns. */
enum { WHOLE = 200, EDGE = 3, DECIMALS = 4, WIDTH = 100 };

/* How all numbers of one tensor are written. */
typedef struct style {
    wf_dtype dtype;
    bool shorten, scientific;
    int decimals, width;
} style;

int wf_columns(const char *text)
{
    int columns = 0;
    const int64_t n = (int64_t)strlen(text);
    for (int64_t at = 0; at < n;) {
        int32_t letter = 0;
        const int bytes = wf_utf8_take(text + at, n - at, &letter);
        const bool wide =
            (letter >= 0x1100 && letter <= 0x115F) || (letter >= 0x2E80 && letter <= 0xA4CF) ||
            (letter >= 0xAC00 && letter <= 0xD7A3) || (letter >= 0xF900 && letter <= 0xFAFF) ||
            (letter >= 0xFE30 && letter <= 0xFE6F) || (letter >= 0xFF00 && letter <= 0xFF60) ||
            (letter >= 0x1F300 && letter <= 0x1FAFF) || (letter >= 0x20000 && letter <= 0x3FFFD);
        columns += wide ? 2 : 1;
        at += bytes ? bytes : 1;
    }
    return columns;
}

void wf_put(wf_sink *s, const char *text)
{
    size_t n = strlen(text);
    if (s->file)
        fwrite(text, 1, n, s->file);
    else if (s->length + 1 < s->bytes)
        wf_format(s->text + s->length, s->bytes - s->length, "%s", text);
    const char *line = strrchr(text, '\n');
    s->column = (line ? 0 : s->column) + wf_columns(line ? line + 1 : text);
    s->length += n;
}

void wf_put_spaces(wf_sink *s, int columns)
{
    while (columns-- > 0) wf_put(s, " ");
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
static void write_part(const wf_tensor *x, const style *f, int depth, wf_sink *s)
{
    char text[64];
    if (x->rank == 0) {
        const char *written = number(f, wf_tensor_at(x, 0), text);
        wf_put_spaces(s, f->width - (int)strlen(written));
        wf_put(s, written);
        return;
    }
    wf_put(s, "[");
    for (int64_t i = 0; i < x->dim[0]; i++) {
        bool dots = i == EDGE && left_out(f, x->dim[0]);
        if (dots) i = x->dim[0] - EDGE;
        if (x->rank == 1) {
            if (s->column + 1 + (dots ? 4 : 0) + f->width > WIDTH && i > 0) {
                wf_put(s, "\n");
                wf_put_spaces(s, depth + 1);
            } else if (i > 0) {
                wf_put(s, " ");
            }
            if (dots) wf_put(s, "... ");
        } else {
            for (int line = 1; line < x->rank && i > 0; line++) wf_put(s, "\n");
            if (i > 0) wf_put_spaces(s, depth + 1);
            if (dots) {
                wf_put(s, "...");
                for (int line = 1; line < x->rank; line++) wf_put(s, "\n");
                wf_put_spaces(s, depth + 1);
            }
        }
        wf_tensor part;
        if (wf_view_select(x, 0, i, &part)) write_part(&part, f, depth + 1, s);
    }
    wf_put(s, "]");
}

/* `depth`: columns that the first line has already. */
static void print(const wf_tensor *x, int depth, wf_sink *s)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    char text[256];
    if (!x) {
        wf_put(s, "(no tensor)");
        return;
    }
    int64_t count = wf_tensor_count(x);
    if (!x->data && count > 0) {
        wf_put(s, "(no data)");
    } else if (count == 0) {
        wf_put(s, "[]");
    } else {
        style f = { .dtype = x->dtype, .shorten = count > WHOLE };
        choose(x, &f);
        write_part(x, &f, depth, s);
    }
    wf_put(s, "  ");
    wf_put(s, wf_dtype_name(x->dtype));
    wf_put(s, " ");
    wf_put(s, wf_shape_text(text, sizeof text, x->rank, x->dim));
}

void wf_tensor_print(const wf_tensor *x)
{
    wf_sink s = { .file = stdout };
    print(x, 0, &s);
    wf_put(&s, "\n");
}

void wf_tensor_print_as(const char *name, const wf_tensor *x)
{
    wf_sink s = { .file = stdout };
    char shown[WF_SHOWN];
    if (name) {
        wf_put(&s, wf_shown(shown, sizeof shown, name, (int64_t)strlen(name)));
        wf_put(&s, " = ");
    }
    print(x, s.column, &s);
    wf_put(&s, "\n");
}

size_t wf_tensor_text(const wf_tensor *x, char *text, size_t bytes)
{
    wf_sink s = { .text = text, .bytes = text ? bytes : 0 };
    if (s.bytes > 0) text[0] = 0;
    print(x, 0, &s);
    return s.length;
}
