/* BLEU: how many words, and runs of words, of a translation are in its references. Papineni et
 * al. 2002, with the numbers of sacreBLEU (Post 2018) or of Moses' multi-bleu.perl. */
#ifndef WEFT_DATA_BLEU_H
#define WEFT_DATA_BLEU_H

#include "data/text.h"

WF_BEGIN

/* Counts of sentence after sentence; the score of all so far may be asked for at any time. */
typedef struct wf_bleu wf_bleu;

typedef enum wf_tokenize {
    WF_TOKENIZE_13A = 0, /* as mteval-v13a: punctuation apart; for text as it is written */
    WF_TOKENIZE_NONE,    /* at white space: for text whose tokens are apart already */
    WF_TOKENIZE_LETTERS, /* every code point but white space; sacreBLEU's "char" */
} wf_tokenize;

/* What takes the place of a precision of 0 (Chen and Cherry 2014). */
typedef enum wf_smoothing {
    WF_SMOOTH_EXP = 0, /* 1/2, 1/4, ... matches, as mteval-v13a; their method 3 */
    WF_SMOOTH_NONE,    /* nothing: the score is then 0 */
    WF_SMOOTH_FLOOR,   /* .smoothing_value matches; their method 1 */
    WF_SMOOTH_ADD,     /* .smoothing_value more matches and n-grams of each order above 1, always;
                        * their method 2, sacreBLEU's "add-k" */
} wf_smoothing;

/* All zero is sacreBLEU's own choice. What multi-bleu.perl computes is .tokenize =
 * WF_TOKENIZE_NONE, .smoothing = WF_SMOOTH_NONE. */
typedef struct wf_bleu_options {
    wf_tokenize tokenize;
    wf_smoothing smoothing;
    double smoothing_value; /* 0: 0.1 for WF_SMOOTH_FLOOR, 1 for WF_SMOOTH_ADD */
    int32_t max_order;      /* the longest n-gram, 1 to WF_BLEU_ORDERS; 0: 4 */
    bool effective_order;   /* orders that the text is too short for do not count: for sentences */
    const void *reserved[4];
} wf_bleu_options;
enum { WF_BLEU_ORDERS = 8 };

/* NULL and the reason when an option makes no sense, or there is no memory. NULL options are all
 * zero. Yours to free. */
WF_API wf_bleu *wf_bleu_new(const wf_bleu_options *options, wf_error *error);
WF_API void wf_bleu_free(wf_bleu *bleu);
/* Adds one sentence with its n references, of which there may be more or fewer than another has.
 * Letters are taken as they are: no change of case. False and the reason, and nothing was added,
 * when something is missing or no text (not UTF-8, or U+0000), or there is no memory, which is
 * asked for only when a word is new or a sentence longer than all before. */
WF_API bool wf_bleu_add(wf_bleu *bleu, const wf_text *hypothesis, const wf_text *references, int n,
                        wf_error *error);
/* Forgets all sentences. */
WF_API void wf_bleu_clear(wf_bleu *bleu);

typedef struct wf_bleu_score {
    double bleu;                      /* 0 to 100 */
    double precision[WF_BLEU_ORDERS]; /* of n-grams, n - 1 the index: 0 to 100, smoothed */
    double brevity_penalty;           /* 0 to 1 */
    int64_t matches[WF_BLEU_ORDERS];  /* n-grams that a reference has as often */
    int64_t totals[WF_BLEU_ORDERS];   /* n-grams of the hypotheses */
    int64_t hypothesis_length;        /* tokens */
    int64_t reference_length;         /* tokens of the references that are closest in length, of two
                                       * that are equally close the shorter one's */
    int64_t sentences;
} wf_bleu_score;
/* All zero of NULL. */
WF_API wf_bleu_score wf_bleu_result(const wf_bleu *bleu);

/* As sacreBLEU prints it, "BLEU = 34.10 66.3/41.2/27.6/18.9 (BP = 0.985 ratio = 0.985 hyp_len =
 * 12904 ref_len = 13101)", and what was computed, in the form of its signature:
 * "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:weft-0.1.0". Into text (at most bytes,
 * always terminated); returns the length that the whole would have. */
WF_API size_t wf_bleu_text(const wf_bleu *bleu, char *text, size_t bytes);
WF_API size_t wf_bleu_signature(const wf_bleu *bleu, char *text, size_t bytes);

WF_END

#endif
