/* The project's own sources and documents, as texts in the program. */
#ifndef WEFT_EXAMPLES_SOURCES_H
#define WEFT_EXAMPLES_SOURCES_H

#include <weft.h>

extern const wf_text built_in_text[];
extern const int built_in_count;

#endif
