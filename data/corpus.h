/* Text to learn from: its letters as ids, read in B lanes that go on from batch to batch, so that a
 * state can be carried, and a part held out to be judged by. */
#ifndef WEFT_DATA_CORPUS_H
#define WEFT_DATA_CORPUS_H

#include "data/text.h"
#include "tensor/tensor.h"

WF_BEGIN

/* Letters are Unicode code points, taken as they are (no normalisation, line ends included). Ids
 * number the alphabet from 0. */
typedef struct wf_corpus wf_corpus;

typedef struct wf_corpus_options {
    int64_t time, batch;  /* letters per lane and step, and lanes; both 1 or more */
    double valid;         /* the part of the text, from its end, held out; 0 <= valid < 1 */
    const char *alphabet; /* UTF-8, letters in the order of their ids, as a saved model carries it;
                           * NULL: the text's letters by code point */
    bool extend;          /* letters that the given alphabet lacks get ids after its last, by code
                           * point; else they are refused */
    const void *reserved[4];
} wf_corpus_options;

/* A corpus of one UTF-8 file, of several files (a pipe will do, and one may be "-", standard
 * input), of bytes in memory, of several texts: the first floor(letters * (1 - valid)) letters of
 * each text, one text after another, are learned from, and the rest of each, one after another, is
 * held out. A byte order mark at the start of a text is skipped. Everything is copied. NULL and the
 * reason when a text is missing, a folder, not UTF-8, or holds U+0000 or, without .extend, a letter
 * outside the given alphabet; when what is to be learned from is below batch * (time + 1) letters;
 * or when something is to be held out and that is below 2 letters. Yours to free. */
WF_API wf_corpus *wf_corpus_new(const char *path, const wf_corpus_options *options,
                                wf_error *error);
WF_API wf_corpus *wf_corpus_from_files(const char *const *paths, int n,
                                       const wf_corpus_options *options, wf_error *error);
WF_API wf_corpus *wf_corpus_from_memory(const char *name, const char *bytes, int64_t n,
                                        const wf_corpus_options *options, wf_error *error);
WF_API wf_corpus *wf_corpus_from_parts(const wf_text *parts, int n,
                                       const wf_corpus_options *options, wf_error *error);
/* Only an alphabet, to write and read ids with where a saved model is used and nothing is learned:
 * it has no text, so wf_corpus_next has no tensors to give. */
WF_API wf_corpus *wf_corpus_from_alphabet(const char *alphabet, wf_error *error);
WF_API void wf_corpus_free(wf_corpus *corpus);

/* One step of text: I32 views of (time, batch) into the corpus, whose memory they stride over,
 * unchanged until the next call. target is what follows each letter of input. restart: the
 * lanes begin anew, so what was carried from the batch before does not belong to this one; true for
 * the first batch. Both tensors are NULL for a corpus that is NULL or has no text. */
typedef struct wf_batch {
    const wf_tensor *input, *target;
    bool restart;
} wf_batch;

/* The next batch. The text to learn from is cut into `batch` lanes of lane = floor(letters / batch)
 * letters; each step takes the next `time` of every lane, and when fewer than time + 1 are left,
 * all begin anew. Never fails, never allocates. */
WF_API wf_batch wf_corpus_next(wf_corpus *corpus);

/* The last batch's input with `steps` steps before it, (steps + time, batch), for what is read
 * again (wf_carry_overlap): a view, unchanged until the next call; 0 steps: input itself. NULL
 * where its lanes have not so many before it, and before the first batch. */
WF_API const wf_tensor *wf_corpus_reread(wf_corpus *corpus, int64_t steps);

/* Where in its lanes the last batch ended, 0 to lane: what a checkpoint keeps. Seeking there goes
 * on as if all before it had just been read (0: as at first). Seek is false, and nothing changes,
 * for a place that is not in the lanes. */
WF_API int64_t wf_corpus_position(const wf_corpus *corpus);
WF_API bool wf_corpus_seek(wf_corpus *corpus, int64_t position);

/* The letters that are learned from, and those held out (their count, or as I32 ids of shape
 * (letters, 1), which is (time, batch) for one lane; slice it along axis 0). */
WF_API int64_t wf_corpus_train_count(const wf_corpus *corpus);
WF_API int64_t wf_corpus_valid_count(const wf_corpus *corpus);
WF_API const wf_tensor *wf_corpus_valid(const wf_corpus *corpus);
/* A number by which a checkpoint knows the text again: equal letters, held out from the same place,
 * have the same, whatever their ids (FNV-1a over code points). 0 of NULL. */
WF_API uint64_t wf_corpus_hash(const wf_corpus *corpus);

/* The size of the alphabet; the letter of an id and the id of a letter (-1: there is none); the
 * whole alphabet in the order of ids as terminated UTF-8, to be saved with a model and given back
 * in the options. It may hold line ends, never U+0000. */
WF_API int64_t wf_corpus_alphabet(const wf_corpus *corpus);
WF_API int32_t wf_corpus_letter(const wf_corpus *corpus, int64_t id);
WF_API int32_t wf_corpus_id(const wf_corpus *corpus, int32_t letter);
WF_API const char *wf_corpus_alphabet_text(const wf_corpus *corpus);

/* The ids of n bytes of UTF-8: at most `room` of them are written, and the number of letters in
 * all is returned; -1 and the reason when the bytes are not UTF-8 or a letter is not in the
 * alphabet. */
WF_API int64_t wf_corpus_encode(const wf_corpus *corpus, const char *text, int64_t n, int32_t *ids,
                                int64_t room, wf_error *error);

WF_END

#endif
