/* What the files of the tagger share. */
#ifndef TAGGER_H
#define TAGGER_H

#include <weft.h>

/* Sentences with their tags, by rules and the seed; they are written to path, too, if there is
 * one. */
wf_conll *made_sentences(uint64_t seed, const char *path, wf_error *e);

#endif
