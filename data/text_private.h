/* What the readers of text share: sentences about it, and texts in memory. Not installed. */
#ifndef WEFT_DATA_TEXT_PRIVATE_H
#define WEFT_DATA_TEXT_PRIVATE_H

#include "data/text.h"
#include "tensor/io_private.h"

/* How sentences about a text begin: "corpus 'book.txt'"; "-" is called (standard input). */
const char *text_what(char what[WF_WHAT], const char *kind, const char *name);
const char *text_name(const wf_text *part);
/* As wf_text_read, with sentences that begin with `what`. */
char *text_take(const char *what, const char *path, int64_t most, int64_t *bytes, wf_error *error);
/* Several at once, to be let go together. */
wf_text *text_take_all(const char *kind, const char *const *paths, int n, wf_error *error);
void text_release_all(wf_text *parts, int n);

/* Hands on memory that was asked for; where it is NULL, and bytes were wanted, that is said. */
void *text_memory(void *memory, int64_t bytes, const char *what, wf_error *error);

/* Are there n >= 1 parts, each with its bytes? */
bool text_given(const wf_text *parts, int n, const char *kind, wf_error *error);
/* The text after its byte order mark, if it has one. */
wf_text text_body(const wf_text *part);
/* The letter at byte *at, which moves behind it; false and the reason where the bytes are not UTF-8
 * or are U+0000. */
bool text_letter(const char *text, int64_t n, int64_t *at, int32_t *letter, const char *what,
                 wf_error *error);
/* Has it Unicode's property White_Space? */
bool text_space(int32_t letter);
/* Columns that UTF-8 takes on a terminal: letters of East Asia (Unicode's wide and fullwidth ones)
 * and pictures take two, marks that stand on the letter before them none. */
int64_t text_width(const char *text);
/* The next line from byte *at on, which moves behind its end: n bytes at *start without the line
 * feed, and without a carriage return before that. False when there are no more; what follows the
 * last line feed is a line only if it is something. */
bool text_next_line(const char *text, int64_t n, int64_t *at, int64_t *start, int64_t *bytes);
/* The number of a byte's line, from 1. */
int64_t text_line(const char *text, int64_t at);
/* " (line 3)", or nothing where the text is but one line: its caller may have a number of its own
 * for it. Returns `to`. */
enum { TEXT_PLACE = 32 };
const char *text_place(const char *text, int64_t n, int64_t at, char to[static TEXT_PLACE]);

#endif
