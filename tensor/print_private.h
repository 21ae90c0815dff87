/* How what a person reads is written, to a file or into memory, with columns that line up. Not
 * installed. */
#ifndef WEFT_TENSOR_PRINT_PRIVATE_H
#define WEFT_TENSOR_PRINT_PRIVATE_H

#include <stdio.h>

#include "tensor/tensor.h"

/* Where text goes: to the file, or, where that is NULL, into text (`bytes` of it) as far as whole
 * letters fit. length is what was put in all, column where the next letter stands. */
typedef struct wf_sink {
    FILE *file;
    char *text;
    size_t bytes, length;
    int column;
} wf_sink;

/* Columns that UTF-8 takes on a page or terminal: two for the wide letters of East Asia. */
int wf_columns(const char *text);
void wf_put(wf_sink *s, const char *text);
void wf_put_spaces(wf_sink *s, int columns);

#endif
