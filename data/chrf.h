/* chrF and chrF++: how alike a translation and its references are in runs of letters (and words).
 * Popovic 2015 and 2017, with the numbers of sacreBLEU. */
#ifndef WEFT_DATA_CHRF_H
#define WEFT_DATA_CHRF_H

#include "data/text.h"

WF_BEGIN

/* Counts of sentence after sentence; the score of all so far may be asked for at any time. */
typedef struct wf_chrf wf_chrf;

/* All zero is chrF2, sacreBLEU's own choice; .word_order = 2 is chrF2++. */
typedef struct wf_chrf_options {
    int32_t letter_order; /* the longest n-gram of letters, 1 to WF_CHRF_ORDERS; 0: 6 */
    int32_t word_order;   /* the longest n-gram of words, 0 to WF_CHRF_ORDERS; 0: none */
    int32_t beta;         /* recall counts as much as beta precisions; 0: 2 */
    bool white_space;     /* it is letters too; else it is left out */
    bool every_order;     /* the mean of all orders' F, also of those that a text is too short for,
                           * as chrF++.py has it (sacreBLEU: eps_smoothing); else the F of mean
                           * precision and mean recall over the orders that there are */
    const void *reserved[4];
} wf_chrf_options;
enum { WF_CHRF_ORDERS = 8 };

/* NULL and the reason when an option makes no sense, or there is no memory. NULL options are all
 * zero. Yours to free. */
WF_API wf_chrf *wf_chrf_new(const wf_chrf_options *options, wf_error *error);
WF_API void wf_chrf_free(wf_chrf *chrf);
/* Adds one sentence and that of its n references to which it is most alike. As wf_bleu_add. */
WF_API bool wf_chrf_add(wf_chrf *chrf, const wf_text *hypothesis, const wf_text *references, int n,
                        wf_error *error);
/* Forgets all sentences. */
WF_API void wf_chrf_clear(wf_chrf *chrf);

/* The score, 0 to 100; 0 where nothing was added, and of NULL. */
WF_API double wf_chrf_result(const wf_chrf *chrf);
/* As sacreBLEU prints it, "chrF2++ = 57.12", and what was computed, in the form of its signature:
 * "nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:weft-0.1.0". As wf_bleu_text. */
WF_API size_t wf_chrf_text(const wf_chrf *chrf, char *text, size_t bytes);
WF_API size_t wf_chrf_signature(const wf_chrf *chrf, char *text, size_t bytes);

WF_END

#endif
