/* Words or letters as ids: a vocabulary counted from text, kept as text, so that a model can carry
 * it. */
#ifndef WEFT_DATA_VOCAB_H
#define WEFT_DATA_VOCAB_H

#include "data/text.h"
#include "tensor/io.h"

WF_BEGIN

/* Words are what white space (Unicode's) separates, taken as they are: no change of case, no
 * cutting off of punctuation. A vocabulary of letters has a Unicode code point in place of each
 * word, white space too; only line ends (U+000A, U+000D) are none. The first ids are always these,
 * spelled <pad> <unk> <bos> <eos>: padding, a word that is not in the vocabulary, the beginning
 * (elsewhere <sos>) and the end of a sequence. */
typedef struct wf_vocab wf_vocab;
enum { WF_PAD = 0, WF_UNK = 1, WF_BOS = 2, WF_EOS = 3, WF_SPECIAL_IDS = 4 };

typedef struct wf_vocab_options {
    int64_t min_count; /* words that are rarer are left out; 0: 1 */
    int64_t max_size;  /* ids in all, the special ones included: only the most frequent words get
                        * one; 0: no limit */
    bool letters;      /* ids are letters, not words */
    const void *reserved[4];
} wf_vocab_options;

/* The words of one UTF-8 file, of several (a pipe will do, and one may be "-", standard input), of
 * texts in memory: the most frequent first, those that are equally frequent by code point, so that
 * the order of the texts changes nothing. Everything is copied. NULL and the reason when a text is
 * missing, a folder, not UTF-8 or holds U+0000, or an option makes no sense. NULL options are all
 * zero. Yours to free. */
WF_API wf_vocab *wf_vocab_new(const char *path, const wf_vocab_options *options, wf_error *error);
WF_API wf_vocab *wf_vocab_from_files(const char *const *paths, int n,
                                     const wf_vocab_options *options, wf_error *error);
WF_API wf_vocab *wf_vocab_from_parts(const wf_text *parts, int n, const wf_vocab_options *options,
                                     wf_error *error);
WF_API void wf_vocab_free(wf_vocab *vocab);

/* The vocabulary as terminated UTF-8, one word per line in the order of ids, with a line <letters>
 * before them if they are letters. And back from it; n bytes, `name` is for messages. NULL and the
 * reason when the first lines are not the special words, or a line is no word (no letter), or one
 * that was there. */
WF_API const char *wf_vocab_text(const wf_vocab *vocab);
WF_API wf_vocab *wf_vocab_from_text(const char *name, const char *text, int64_t n, wf_error *error);
/* The same in a file of its own. */
WF_API bool wf_vocab_save(const wf_vocab *vocab, const char *path, wf_error *error);
WF_API wf_vocab *wf_vocab_load(const char *path, wf_error *error);
/* The same as one line of metadata of a file, so that a model's file alone is enough to use it:
 * `key` names it. From an archive: NULL and the reason when there is no such line, or no vocabulary
 * in it. */
WF_API bool wf_vocab_to_bundle(const wf_vocab *vocab, wf_bundle *bundle, const char *key);
WF_API wf_vocab *wf_vocab_from_archive(const wf_archive *archive, const char *key, wf_error *error);

/* Are its ids letters? How many ids there are; 0 for NULL. The word of an id (NULL: there is none),
 * terminated, good as long as the vocabulary; the id of a word of n bytes, WF_UNK where it has
 * none. */
WF_API bool wf_vocab_letters(const wf_vocab *vocab);
WF_API int64_t wf_vocab_size(const wf_vocab *vocab);
WF_API const char *wf_vocab_word(const wf_vocab *vocab, int64_t id);
WF_API int32_t wf_vocab_id(const wf_vocab *vocab, const char *word, int64_t n);

/* The ids of the words in n bytes of UTF-8: at most `room` of them are written, and the number of
 * words in all is returned; -1 and the reason when the bytes are not UTF-8 or hold U+0000. */
WF_API int64_t wf_vocab_encode(const wf_vocab *vocab, const char *text, int64_t n, int32_t *ids,
                               int64_t room, wf_error *error);
/* The words of n ids with a space between (letters: with nothing), into text (at most bytes, always
 * terminated, whole letters); an id out of range reads <unk>. Returns the length that the whole
 * would have. */
WF_API size_t wf_vocab_decode(const wf_vocab *vocab, const int32_t *ids, int64_t n, char *text,
                              size_t bytes);

WF_END

#endif
