/* What the parts of translate share. */
#ifndef WEFT_EXAMPLES_TRANSLATE_H
#define WEFT_EXAMPLES_TRANSLATE_H

#include "examples/options.h"
#include "examples/program.h"

typedef struct options {
    const char *model, *cell, *attention, *schedule, *unknown;
    const char *data, *from, *to, *save, *load, *log, *show, *svg;
    bool after, letters, translate;
    int64_t embedding, hidden, layers, heads, batch, tokens, epochs, steps, warmup, min_count,
        longest, average, beam, pairs, every, seed, threads;
    double dropout, smoothing, lr, clip, sampling, alpha;
} options;

/* What depends on the kind of model and of data, where it was not given. */
void options_fill(options *o);
bool options_name_what_there_is(const options *o, wf_error *err);

/* ---- texts (translate_data.c, translate_dates.c) ---- */

enum { TESTS = 16 };
typedef struct texts {
    wf_vocab *vocab[2]; /* [WF_SOURCE], [WF_TARGET] */
    wf_parallel *train, *valid, *test[TESTS];
    char name[TESTS][64]; /* of the tests: "test_2016_flickr" */
    int tests;
    bool dates; /* made ones */
} texts;

/* The vocabularies of a saved model (else NULL), and with `all` the texts. */
bool texts_open(texts *x, const options *o, const wf_archive *saved, bool all, wf_error *err);
void texts_free(texts *x);
/* Would no file that is to be written replace one of the texts? */
bool texts_are_spared(const options *o, wf_error *err);

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
/* All weights one after another, into memory and back. */
void model_flatten(const model *m, float *to);
void model_restore(const model *m, const float *from);

/* ---- the run (translate_train.c) ---- */

enum { KEPT = 16 };
/* Weights after an epoch, and the validation loss (nats per word) that they had. */
typedef struct kept {
    double nats;
    float *weights;
} kept;

typedef struct run {
    options *o;
    texts x;
    model used, m; /* what translates: the mean of what is kept; and what is being trained */
    wf_tape *t;
    wf_optim *adam;
    wf_buckets *batches;
    int64_t step, epoch, position; /* made; in which epoch, and how many of its batches */
    int64_t halvings;              /* of the rate */
    kept best[KEPT];               /* of the epochs so far those with the lowest loss */
    int kept;
    wf_generated written;
} run;

/* Goes on from a saved model, if there is one; until the epochs are over or a signal comes; saves.
 * False after a failure, which was said. */
bool learn(run *r, const wf_archive *saved);
bool run_load(run *r, const wf_archive *saved, wf_error *err);
void run_free(run *r);
/* Says what went wrong, in one line; the exit status. */
int failed(const char *text);
/* Keeps what goes into the file, and takes it from there (translate.c has the table). */
void options_save(const options *o, wf_bundle *b);

/* ---- writing (translate_write.c, translate_show.c) ---- */

/* The perplexity of `m` on a text. NaN when the tape failed. */
double perplexity_of(run *r, const model *m, const wf_parallel *text);
/* A translation of a line, to be freed; beams: 1 is greedy. NULL after failing the tape. With
 * `hypothesis` it is told what was written (till the next translation). */
char *translate_line(run *r, const model *m, wf_text line, int64_t beams,
                     const wf_hypothesis **hypothesis, wf_error *err);
/* Word (or letter) s of a line; no bytes: there is none. */
wf_text piece_of(wf_text line, bool letters, int64_t s);
/* Perplexity and BLEU on the tests, or how many dates are right. */
bool test_all(run *r);
/* Lines of standard input to lines of standard output. */
bool translate_input(run *r);
/* The attention of a sentence as a table, and as an SVG if a file is named. */
bool show_attention(run *r, const char *line, const char *svg, wf_error *err);

#endif
