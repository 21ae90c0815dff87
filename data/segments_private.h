/* Segments, a hypothesis and its references, as lists of tokens, and their n-grams counted: what
 * the metrics of text stand on. Not installed. */
#ifndef WEFT_DATA_SEGMENTS_PRIVATE_H
#define WEFT_DATA_SEGMENTS_PRIVATE_H

#include "data/batch.h"
#include "data/text.h"
#include "data/words_private.h"

/* Lists of tokens, numbers that are equal where words (or letters) are. Begins as { 0 }. */
typedef struct segments {
    word_table words; /* all words that ever came: their numbers are the tokens */
    growing tokens;   /* int32_t: those of all lists, one list after another */
    growing ends;     /* int64_t: of each list */
    growing work;     /* what a tokenizer writes; what counting needs */
    int64_t lists;
    int order;                /* of the n-grams that are numbered */
    int64_t grams;            /* how many different ones there are */
    int32_t *gram, *count[3]; /* by place in tokens; by gram */
    int32_t *slot;            /* of a hash table of grams: the number of one, plus 1 */
    uint64_t *key;            /* of a gram */
    int64_t slots;
} segments;

void segments_free(segments *s);
/* Forgets all lists, not the words. */
void segments_clear(segments *s);
/* List i; good until the next one is added. */
wf_ids segments_list(const segments *s, int64_t i);

/* Each adds one list, from text that is UTF-8; false and the reason when there is no memory. */
typedef bool segments_fn(segments *s, const char *text, int64_t n, const char *what,
                         wf_error *error);
/* The words: what lies between white space as Python's str.split() has it (Unicode's property
 * White_Space, and U+001C to U+001F). */
segments_fn segments_add_words;
/* The words as mteval-v13a and sacreBLEU's "13a" see them: punctuation apart from letters, points
 * and commas within numbers not. */
segments_fn segments_add_13a;
/* The words, punctuation at the end of one (else at its beginning) apart: chrF++'s. */
segments_fn segments_add_chrf_words;
/* The letters (code points) without the white space; with it. */
segments_fn segments_add_letters, segments_add_all_letters;

/* Ids as they are. */
bool segments_add_ids(segments *s, wf_ids ids, const char *what, wf_error *error);

/* Takes what counting needs; false and the reason when there is no memory. Each `next` numbers the
 * n-grams of one order more in all lists, from 1 on (Karp, Miller and Rosenberg 1972: an n-gram is
 * the (n-1)-gram that it begins with and its last token); `again` begins anew. */
bool segments_begin(segments *s, const char *what, wf_error *error);
void segments_next(segments *s);
void segments_again(segments *s);
/* Counts list i's n-grams by number into s->count[k]; returns how many there are. */
int64_t segments_count(segments *s, int64_t i, int k);

/* Is it text? The reason where it is not: `what` and no bytes, or what text_letter says. */
bool segments_good(const wf_text *text, const char *what, wf_error *error);

#endif
