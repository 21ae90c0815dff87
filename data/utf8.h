/* UTF-8, strictly: what is not the one shortest form of a Unicode scalar value is refused. */
#ifndef WEFT_DATA_UTF8_H
#define WEFT_DATA_UTF8_H

#include "tensor/api.h"

WF_BEGIN

/* The letter (Unicode scalar value) that `text` of n bytes begins with. Returns the bytes it takes,
 * 1 to 4; 0, with *letter untouched, when n is 0 or the bytes are not UTF-8: a stray or missing
 * continuation byte, an overlong form, a surrogate, a value above U+10FFFF. */
WF_API int wf_utf8_decode(const char *text, int64_t n, int32_t *letter);

/* Writes the letter and a final zero byte into out. Returns the bytes without the zero, 1 to 4 (1
 * for U+0000); 0 and "" when letter is not a Unicode scalar value. */
WF_API int wf_utf8_encode(int32_t letter, char out[5]);

/* How many letters n bytes of text hold, or -1 when they are not UTF-8; then *bad (may be NULL) is
 * the offset of the first byte that belongs to no letter. */
WF_API int64_t wf_utf8_count(const char *text, int64_t n, int64_t *bad);

WF_END

#endif
