/* Where a model looked: the attention of a sentence as a table of shades, and as an SVG. */
#include "examples/translate.h"

#include <stdlib.h>
#include <string.h>

/* A sentence and its translation, word by word (or letter by letter); both end with <eos>. */
typedef struct look {
    wf_text line;
    bool letters;
    const wf_vocab *target;
    const wf_hypothesis *h;
    int64_t rows, columns;
} look;

static wf_text column_of(const look *l, int64_t s)
{
    const wf_text piece = piece_of(l->line, l->letters, s);
    return piece.n ? piece : (wf_text){ .bytes = "<eos>", .n = 5 };
}

static const char *row_of(const look *l, int64_t i)
{
    return wf_vocab_word(l->target, l->h->ids[i]);
}

static double weight_of(const look *l, int64_t i, int64_t s)
{
    return wf_tensor_at(&l->h->weights, i * l->columns + s);
}

/* How many columns of a terminal a text takes: Hangul, Han and Kana take two each. */
static int width_of(wf_text text)
{
    int width = 0, n;
    int32_t c;
    for (int64_t at = 0; (n = wf_utf8_decode(text.bytes + at, text.n - at, &c)); at += n)
        width += 1 + ((c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xA4CF) ||
                      (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xF900 && c <= 0xFAFF) ||
                      (c >= 0xFF00 && c <= 0xFF60));
    return width;
}

/* A row for each word that was written, a column for each that was read: the words at the top one
 * below the other, each with a line down to its column. */
static void print_table(const look *l)
{
    static const char *const shade[] = { "  ", "░░", "▒▒", "▓▓", "██" };
    int left = 0;
    for (int64_t i = 0; i < l->rows; i++) {
        const int width = width_of((wf_text){ NULL, row_of(l, i), (int64_t)strlen(row_of(l, i)) });
        if (width > left) left = width;
    }
    for (int64_t s = 0; s < l->columns; s++) {
        const wf_text word = column_of(l, s);
        printf("%*s ", left, "");
        for (int64_t k = 0; k < s; k++) fputs("│ ", stdout);
        printf("%.*s\n", (int)word.n, word.bytes);
    }
    for (int64_t i = 0; i < l->rows; i++) {
        const char *word = row_of(l, i);
        printf("%*s%s ", left - width_of((wf_text){ NULL, word, (int64_t)strlen(word) }), "", word);
        for (int64_t s = 0; s < l->columns; s++) {
            const double w = weight_of(l, i, s);
            fputs(shade[w < 0.1 ? 0 : w < 0.3 ? 1 : w < 0.5 ? 2 : w < 0.75 ? 3 : 4], stdout);
        }
        putchar('\n');
    }
}

/* Text as XML wants it; a control character is a blank. */
static void write_xml(FILE *f, wf_text text)
{
    for (int64_t i = 0; i < text.n; i++) {
        const unsigned char c = (unsigned char)text.bytes[i];
        if (c == '&')
            fputs("&amp;", f);
        else if (c == '<')
            fputs("&lt;", f);
        else if (c == '>')
            fputs("&gt;", f);
        else if (c == '"')
            fputs("&quot;", f);
        else
            fputc(c < 0x20 || c == 0x7F ? ' ' : c, f);
    }
}

enum { CELL = 24, LETTER = 9, MARGIN = 12 };

static void write_words(FILE *f, const look *l, int left, int top)
{
    for (int64_t s = 0; s < l->columns; s++) {
        fprintf(f, "<text transform=\"translate(%d,%d) rotate(-60)\">",
                left + (int)s * CELL + CELL / 2 + 4, top - 6);
        write_xml(f, column_of(l, s));
        fputs("</text>\n", f);
    }
    for (int64_t i = 0; i < l->rows; i++) {
        fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", left - 6,
                top + (int)i * CELL + CELL / 2 + 5);
        write_xml(f, (wf_text){ NULL, row_of(l, i), (int64_t)strlen(row_of(l, i)) });
        fputs("</text>\n", f);
    }
}

/* A square for each pair of words, the darker the more was looked there; its title has the number.
 * Decimals are written by wf_format: SVG wants a point in every locale. */
static void write_squares(FILE *f, const look *l, int left, int top)
{
    for (int64_t i = 0; i < l->rows; i++)
        for (int64_t s = 0; s < l->columns; s++) {
            char line[200];
            wf_format(line, sizeof line,
                      "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill-opacity=\"%.3f\">"
                      "<title>%.3f</title></rect>\n",
                      left + (int)s * CELL, top + (int)i * CELL, CELL - 1, CELL - 1,
                      weight_of(l, i, s), weight_of(l, i, s));
            fputs(line, f);
        }
}

static bool write_svg(const look *l, const char *path, wf_error *err)
{
    int left = 0, top = 0;
    for (int64_t i = 0; i < l->rows; i++) {
        const int width = width_of((wf_text){ NULL, row_of(l, i), (int64_t)strlen(row_of(l, i)) });
        if (width > left) left = width;
    }
    for (int64_t s = 0; s < l->columns; s++)
        if (width_of(column_of(l, s)) > top) top = width_of(column_of(l, s));
    left = left * LETTER + 2 * MARGIN;
    top = top * LETTER + 2 * MARGIN;
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) return wf_error_set(err, "out of memory");
    const int width = left + (int)l->columns * CELL + top / 2 + MARGIN;
    const int height = top + (int)l->rows * CELL + MARGIN;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\" font-family=\"sans-serif\" font-size=\"14\">\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n<g fill=\"#08306b\">\n",
            width, height, width, height, width, height);
    write_squares(f, l, left, top);
    fputs("</g>\n<g fill=\"black\">\n", f);
    write_words(f, l, left, top);
    fputs("</g>\n</svg>\n", f);
    bool ok = !fclose(f) ? wf_file_write(path, text, (int64_t)bytes, err)
                         : wf_error_set(err, "out of memory");
    free(text);
    return ok;
}

bool show_attention(run *r, const char *line, const char *svg, wf_error *err)
{
    look l = { .line = { "--show", line, (int64_t)strlen(line) },
               .letters = wf_vocab_letters(r->x.vocab[WF_SOURCE]),
               .target = r->x.vocab[WF_TARGET] };
    char *said = translate_line(r, &r->used, l.line, r->o->beam, &l.h, err);
    if (!said) return false;
    printf("%s\n", said);
    free(said);
    if (!r->used.looks) return wf_error_set(err, "--show: this model has no attention to show");
    l.rows = l.h->n;
    l.columns = l.h->weights.dim[1];
    print_table(&l);
    return !svg || write_svg(&l, svg, err);
}
