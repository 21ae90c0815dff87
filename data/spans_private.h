/* What readers of tags share. Not installed. */
#ifndef WEFT_DATA_SPANS_PRIVATE_H
#define WEFT_DATA_SPANS_PRIVATE_H

#include <stdbool.h>

/* Is there a text, and is it a tag? */
bool tag_given(const char *text);

#endif
