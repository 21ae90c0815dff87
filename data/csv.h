/* Tables as comma-separated values (RFC 4180): columns by name or by number, as text and as
 * numbers. */
#ifndef WEFT_DATA_CSV_H
#define WEFT_DATA_CSV_H

#include "data/series.h"
#include "data/text.h"

WF_BEGIN

/* A table of fields. A record ends with a line end (U+000A, U+000D or both), fields are separated
 * by one letter. A field in double quotes may hold separators, line ends and doubled quotes; one
 * without quotes loses the blanks around it. Lines without anything are skipped, and so is a byte
 * order mark. In memory it takes as many bytes as the text, and 16 for each row. */
typedef struct wf_csv wf_csv;

typedef enum wf_csv_header {
    WF_CSV_HEADER_DETECTED = 0, /* the first record is one unless a field of it is a number */
    WF_CSV_HEADER,
    WF_CSV_NO_HEADER,
} wf_csv_header;

typedef struct wf_csv_options {
    char separator; /* 0: of tab, semicolon and comma the first that cuts the first records into
                     * equally many fields, more than one */
    wf_csv_header header;
    const char *const *missing; /* more words for a number that is missing, as "-999", NULL behind
                                 * the last; NULL: none */
    const void *reserved[4];
} wf_csv_options;

/* A UTF-8 file (a pipe will do; "-" is standard input), or a text in memory, which is copied. NULL
 * and the reason when it is missing, a folder, not UTF-8 or holds U+0000; when it has no row; when
 * a record has more or fewer fields than the first, or a quote does not end as it must, with the
 * line; or when an option makes no sense. NULL options are all zero. Yours to free. */
WF_API wf_csv *wf_csv_new(const char *path, const wf_csv_options *options, wf_error *error);
WF_API wf_csv *wf_csv_from_text(const wf_text *text, const wf_csv_options *options,
                                wf_error *error);
WF_API void wf_csv_free(wf_csv *csv);

/* Rows without the header, columns; 0 of NULL. The letter that separates fields. */
WF_API int64_t wf_csv_rows(const wf_csv *csv);
WF_API int64_t wf_csv_columns(const wf_csv *csv);
WF_API char wf_csv_separator(const wf_csv *csv);
/* The name of a column; NULL without a header, or out of range. */
WF_API const char *wf_csv_name(const wf_csv *csv, int64_t column);
/* A field as text, terminated, good as long as the table; NULL out of range. Takes time as its row
 * is long. Is it one of the words for a missing number: nothing, ?, na, n/a, nan, null (in capitals
 * too), or one of .missing? And the line in which a row begins, from 1 (0: out of range). */
WF_API const char *wf_csv_text(const wf_csv *csv, int64_t row, int64_t column);
WF_API bool wf_csv_missing(const wf_csv *csv, int64_t row, int64_t column);
WF_API int64_t wf_csv_line(const wf_csv *csv, int64_t row);

/* The column of that name, or of that number ("0" is the first) where no name is spelled so. -1 and
 * the reason when there is none, or when two have the name. */
WF_API int64_t wf_csv_find(const wf_csv *csv, const char *column, wf_error *error);
/* Several at once, names or numbers with commas between ("pm2.5,TEMP,3"); NULL: each column that
 * holds a number and nothing but numbers and missing ones. At most `room` are written, and how many
 * there are is returned; -1 and the reason as of wf_csv_find. */
WF_API int64_t wf_csv_select(const wf_csv *csv, const char *columns, int64_t *out, int64_t room,
                             wf_error *error);

/* The numbers of n columns, in that order, as series (rows, n), and which are missing. Numbers are
 * written as in C, with a point. False and the reason, and series as it was, when a column does not
 * exist or the memory does not; false with the line, and series all missing, when a field is no
 * finite number of that dtype. */
WF_API bool wf_csv_series(const wf_csv *csv, const int64_t *columns, int64_t n, wf_dtype dtype,
                          wf_series *series, wf_error *error);

WF_END

#endif
