/* Edit distance, and the error rates that it gives: WER, CER, PER. */
#ifndef WEFT_DATA_EDITS_H
#define WEFT_DATA_EDITS_H

#include "data/batch.h"
#include "data/text.h"

WF_BEGIN

/* Edits of sentence after sentence; the rate of all so far may be asked for at any time. */
typedef struct wf_edits wf_edits;

typedef enum wf_edit_unit {
    WF_EDIT_WORDS = 0, /* what is between white space: WER; of phones so written, the phone error
                        * rate */
    WF_EDIT_LETTERS,   /* Unicode code points, white space too, taken as they are: CER */
    WF_EDIT_BAG,       /* words in any order: the position-independent PER (Tillmann et al. 1997) */
} wf_edit_unit;

/* NULL and the reason when there is no such unit, or no memory. Yours to free. */
WF_API wf_edits *wf_edits_new(wf_edit_unit unit, wf_error *error);
WF_API void wf_edits_free(wf_edits *edits);
/* Adds what it takes to make the hypothesis of the reference (Levenshtein 1966): texts in UTF-8, or
 * ids, each of which is one token. False and the reason, and nothing was added, when something is
 * missing or no text (not UTF-8, or U+0000), or there is no memory, which is asked for only when a
 * word is new or a sentence longer than all before. Takes time as the product of their lengths. */
WF_API bool wf_edits_add(wf_edits *edits, const wf_text *hypothesis, const wf_text *reference,
                         wf_error *error);
WF_API bool wf_edits_add_ids(wf_edits *edits, wf_ids hypothesis, wf_ids reference, wf_error *error);
/* Forgets all sentences. */
WF_API void wf_edits_clear(wf_edits *edits);

/* Of all ways with the fewest edits, one in which most tokens are right (the fewest substitutions).
 * In any order (WF_EDIT_BAG): tokens that both have are right, as many of the others as both have
 * are substituted. reference = right + substitutions + deletions. */
typedef struct wf_edit_counts {
    int64_t substitutions, insertions, deletions; /* inserted: in the hypothesis alone */
    int64_t right;
    int64_t reference, hypothesis; /* tokens */
    int64_t sentences, exact;      /* those without an edit */
} wf_edit_counts;
WF_API wf_edit_counts wf_edits_count(const wf_edits *edits);
/* (substitutions + insertions + deletions) / reference: 0 is perfect, and it may be above 1. Where
 * the references have no tokens: 0 without insertions, else infinity. 0 of NULL. */
WF_API double wf_edits_rate(const wf_edits *edits);

WF_END

#endif
