/* Numbers as text and text as numbers, the same in every locale; nothing that is cut loses half a
 * letter. Everything that the library says or writes passes through here. */
#ifndef WEFT_TENSOR_TEXT_H
#define WEFT_TENSOR_TEXT_H

#include <stdarg.h>

#include "tensor/api.h"

WF_BEGIN

/* snprintf and vsnprintf with three promises more: the decimal point is a point in every locale,
 * numbers are rounded to nearest whatever the caller's rounding mode, and UTF-8 that does not fit
 * (into bytes, or into the precision of a %s) ends after a whole code point. At most bytes are
 * written, the end always marked; text may be NULL when bytes is 0. Each returns the length that
 * the whole would have: it was cut if that is bytes or more. %ls is written as UTF-8. */
WF_API size_t wf_format(char *text, size_t bytes, const char *format, ...) WF_PRINTF(3, 4);
WF_API size_t wf_vformat(char *text, size_t bytes, const char *format, va_list arguments)
    WF_PRINTF(3, 0);
/* wf_format behind what text holds already, in an array of `bytes` in all. Returns the length that
 * both would have together. */
WF_API size_t wf_append(char *text, size_t bytes, const char *format, ...) WF_PRINTF(3, 4);

/* The number that the whole of text is, as C writes it with a point ("-1.5e-3", "inf", "nan");
 * false, with *number untouched, if it is none, is too large for a double, or has a space around
 * it. Integers are decimal and must fit. */
WF_API bool wf_parse_number(const char *text, double *number);
WF_API bool wf_parse_integer(const char *text, int64_t *number);

WF_END

#endif
