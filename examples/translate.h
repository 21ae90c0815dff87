/* What the parts of translate share. */
#ifndef WEFT_EXAMPLES_TRANSLATE_H
#define WEFT_EXAMPLES_TRANSLATE_H

#include <stdio.h>
#include <weft.h>

typedef struct options {
    wf_run_options run;
    const char *model, *cell, *attention, *unknown, *data, *from, *to, *show, *svg;
    bool after, letters, translate;
    int64_t embedding, hidden, layers, heads, batch, tokens, min_count, longest, beam, pairs;
    double dropout, smoothing, sampling, alpha;
} options;

/* ---- texts (translate_data.c, translate_dates.c) ---- */

enum { TESTS = 16 };
typedef struct texts {
    wf_vocab *vocab[2]; /* [WF_SOURCE], [WF_TARGET] */
    wf_parallel *train, *valid, *test[TESTS];
    char name[TESTS][64]; /* of the tests: "test_2016_flickr" */
    int tests;
    bool dates;     /* made ones */
    const char *of; /* what a saved model says that it learned: "dates" or "files" */
} texts;

/* The vocabularies of a saved model, if there is one, and with `all` the texts. */
bool texts_open(texts *x, const options *o, wf_run *run, bool all);
void texts_free(texts *x);

/* Which days: no day is in two of the parts, in whatever spelling. */
typedef enum dates_part { DATES_TRAIN, DATES_VALID, DATES_TEST } dates_part;
/* n lines of dates as people write them, and of the same as ISO 8601 has them; made from the seed.
 * Both are to be freed. */
bool dates_make(uint64_t seed, dates_part part, int64_t n, wf_text *human, wf_text *iso);

/* ---- the model (translate_model.c) ---- */

/* One of two kinds; the other is NULL. */
typedef struct model {
    wf_module *net;
    wf_seq2seq *recurrent;
    wf_transformer *transformer;
    bool looks; /* has attention weights to show */
} model;

bool model_new(model *m, const options *o, const texts *x, wf_error *err);
/* The loss of a batch, in nats; sampling: how often a step is told the model's own choice. */
wf_var *model_loss(wf_tape *t, const model *m, const wf_pairs *batch, double sampling,
                   const wf_cross_entropy_options *how);
/* A decoder of sources I32 (S, B) and their lengths (B). */
bool model_decoder(wf_tape *t, const model *m, wf_var *source, wf_var *lengths, wf_decoder *to);
/* ---- training (translate_train.c) ---- */

typedef struct translator {
    options o;
    wf_run *run;
    texts x;
    model m;
    wf_tape *t; /* the run's */
    wf_optim *adam;
    wf_buckets *batches;
    wf_generated written;
} translator;

/* Until the epochs are over or a signal comes, where there is something to learn; saves. False
 * after failing the run, or where nothing is left to do. */
bool learn(translator *r, bool train);

/* ---- writing (translate_write.c, translate_show.c) ---- */

/* The perplexity of a text. NaN when the tape failed. */
double perplexity_of(translator *r, const wf_parallel *text);
/* A translation of a line, to be freed; beams: 1 is greedy. NULL after failing the tape. With
 * `hypothesis` it is told what was written (till the next translation). */
char *translate_line(translator *r, wf_text line, int64_t beams, const wf_hypothesis **hypothesis,
                     wf_error *err);
/* Word (or letter) s of a line; no bytes: there is none. */
wf_text piece_of(wf_text line, bool letters, int64_t s);
/* Perplexity and BLEU on the tests, or how many dates are right. */
bool test_all(translator *r);
/* Lines of standard input to lines of standard output. */
bool translate_input(translator *r);
/* The translation of a sentence, its attention as a table, and as an SVG if a file is named. */
bool show_attention(translator *r, const char *line, const char *svg, wf_error *err);

#endif
