/* Words by their hash, and lists that grow. Not installed. */
#ifndef WEFT_DATA_WORDS_PRIVATE_H
#define WEFT_DATA_WORDS_PRIVATE_H

#include "tensor/error.h"

/* Memory that grows, from wf_alloc. Begins as { 0 }. */
typedef struct growing {
    char *at;
    int64_t bytes, room;
} growing;

/* Room for `more` bytes behind those there are, which then count as there. NULL and the reason when
 * there is no memory. What it held may have moved. */
void *growing_more(growing *g, int64_t more, const char *what, wf_error *error);
void growing_free(growing *g);

/* One word: its letters are n bytes and a zero. `count` is the caller's. */
typedef struct word_entry {
    int64_t at, n, count;
} word_entry;

/* Words in the order in which they came, and where each is. Begins as { 0 }. */
typedef struct word_table {
    growing entries, letters;
    int32_t *slot; /* the number of a word plus 1, 0 where it is free; at least half of them are */
    int64_t slots, n;
} word_table;

/* The number of the word, which is made if it is not there; -1 and the reason when there is no
 * memory. Or -1 when it is not there. */
int64_t words_enter(word_table *w, const char *letters, int64_t n, const char *what,
                    wf_error *error);
int64_t words_find(const word_table *w, const char *letters, int64_t n);
/* Number i of 0 .. n - 1; good until the next one is entered. */
word_entry *words_at(const word_table *w, int64_t i);
const char *words_letters(const word_table *w, int64_t i);
void words_free(word_table *w);

#endif
