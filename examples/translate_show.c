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
    /* What is looked at evenly is no blank, however long the sentence. */
    const double least = l->columns > 5 ? 0.5 / (double)l->columns : 0.1;
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
            fputs(shade[w < least ? 0 : w < 0.3 ? 1 : w < 0.5 ? 2 : w < 0.75 ? 3 : 4], stdout);
        }
        putchar('\n');
    }
}

/* A row for each word that was written, a column for each that was read. */
static bool write_svg(const look *l, const char *path, wf_error *err)
{
    const char **rows = calloc((size_t)l->rows, sizeof *rows);
    char **columns = calloc((size_t)l->columns, sizeof *columns);
    bool ok = rows && columns;
    for (int64_t i = 0; ok && i < l->rows; i++) rows[i] = row_of(l, i);
    for (int64_t s = 0; ok && s < l->columns; s++)
        ok = (columns[s] = strndup(column_of(l, s).bytes, (size_t)column_of(l, s).n));
    char *figure = !ok ? NULL
                       : wf_svg_heat(&l->h->weights, rows, (const char *const *)columns,
                                     &(wf_svg_options){ .y_high = 1 }, err);
    ok = ok ? figure && wf_svg_save(path, figure, err) : wf_error_set(err, "out of memory");
    wf_release(figure);
    for (int64_t s = 0; columns && s < l->columns; s++) free(columns[s]);
    free(columns);
    free(rows);
    return ok;
}

bool show_attention(translator *r, const char *line, const char *svg, wf_error *err)
{
    look l = { .line = { "--show", line, (int64_t)strlen(line) },
               .letters = wf_vocab_letters(r->x.vocab[WF_SOURCE]),
               .target = r->x.vocab[WF_TARGET] };
    char *said = translate_line(r, l.line, r->o.beam, &l.h, err);
    if (!said) return false;
    printf("%s\n", said);
    free(said);
    if (!r->m.looks) return true; /* it looks nowhere */
    l.rows = l.h->n;
    l.columns = l.h->weights.dim[1];
    print_table(&l);
    return !svg || write_svg(&l, svg, err);
}
