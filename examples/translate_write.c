/* What a trained model does: it judges texts, and translates them. */
#include "examples/translate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double perplexity_of(translator *r, const wf_parallel *text)
{
    const wf_buckets_options how = { .max_sentences = 64, .order = WF_BUCKETS_SORTED };
    const wf_cross_entropy_options sum = { .has_ignore = true,
                                           .ignore = WF_PAD,
                                           .reduction = WF_REDUCE_SUM };
    wf_perplexity all = { 0 };
    wf_buckets *batches = wf_buckets_new(text, &how, NULL);
    for (const wf_pairs *b; (b = wf_buckets_next(batches));) {
        wf_tape_reset(r->t);
        wf_perplexity_add(&all, wf_item(model_loss(r->t, &r->m, b, 0, &sum)), b->tokens);
        if (!wf_tape_ok(r->t)) break;
    }
    wf_buckets_free(batches);
    return wf_tape_ok(r->t) ? wf_perplexity_result(&all) : (double)NAN;
}

/* ---- translating ---- */

/* Sources I32 (S, B) and their lengths (B) to r->written. */
static bool translate(translator *r, const wf_tensor *source, const wf_tensor *length,
                      int64_t beams)
{
    const options *o = &r->o;
    const int32_t banned[] = { WF_PAD, WF_BOS, WF_UNK };
    wf_decoder decoder;
    wf_tape_reset(r->t);
    wf_var *lengths = wf_constant_tensor(r->t, length);
    const wf_generate_options how = { .begin = WF_BOS,
                                      .end = WF_EOS,
                                      .lengths = lengths,
                                      .max_length = 10,
                                      .max_ratio = 2,
                                      .banned = banned,
                                      .n_banned = strcmp(o->unknown, "never") ? 2 : 3,
                                      .beams = beams,
                                      .length_alpha = o->alpha,
                                      .weights = r->m.looks };
    return model_decoder(r->t, &r->m, wf_constant_tensor(r->t, source), lengths, &decoder) &&
           wf_generate(r->t, &decoder, &how, &r->written);
}

wf_text piece_of(wf_text line, bool letters, int64_t s)
{
    int64_t at = 0, start = 0, n = 0;
    int32_t letter;
    for (int64_t i = 0; i <= s; i++) {
        if (letters)
            at = start + n, start = at, n = wf_utf8_decode(line.bytes + at, line.n - at, &letter);
        else
            n = wf_text_word(line.bytes, line.n, &at, &start);
        if (!n) return (wf_text){ 0 };
    }
    return (wf_text){ .bytes = line.bytes + start, .n = n };
}

/* The place that token i of a hypothesis looks at most; -1: nowhere. */
static int64_t place_of(const wf_hypothesis *h, int64_t i)
{
    int64_t best = -1;
    const int64_t S = h->weights.data ? h->weights.dim[1] : 0;
    for (int64_t s = 0; s < S; s++)
        if (best < 0 ||
            wf_tensor_at(&h->weights, i * S + s) > wf_tensor_at(&h->weights, i * S + best))
            best = s;
    return best;
}

/* A hypothesis as text, to be freed. With --unknown copy a word that the model does not know how to
 * say is the one of the source that it looks at most (Luong et al. 2015b). */
static char *text_of(const translator *r, const wf_hypothesis *h, wf_text source)
{
    const wf_vocab *v = r->x.vocab[WF_TARGET];
    const bool copies = !strcmp(r->o.unknown, "copy");
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    for (int64_t i = 0; f && i < h->n - h->ended; i++) {
        wf_text word = { 0 };
        if (h->ids[i] == WF_UNK && copies)
            word = piece_of(source, wf_vocab_letters(r->x.vocab[WF_SOURCE]), place_of(h, i));
        if (i > 0 && !wf_vocab_letters(v)) fputc(' ', f);
        if (word.n)
            fwrite(word.bytes, 1, (size_t)word.n, f);
        else
            fputs(wf_vocab_word(v, h->ids[i]), f);
    }
    if (f) fclose(f);
    return text;
}

char *translate_line(translator *r, wf_text line, int64_t beams, const wf_hypothesis **hypothesis,
                     wf_error *err)
{
    const wf_vocab *v = r->x.vocab[WF_SOURCE];
    int32_t n = (int32_t)wf_vocab_encode(v, line.bytes, line.n, NULL, 0, err);
    if (n < 0) return NULL;
    int32_t *ids = malloc(((size_t)n + 1) * sizeof *ids);
    if (!ids) {
        wf_error_set(err, "out of memory");
        return NULL;
    }
    wf_vocab_encode(v, line.bytes, line.n, ids, n, err);
    ids[n++] = WF_EOS; /* as the sources in training */
    const wf_tensor source = wf_tensor_of(WF_I32, WF_SHAPE(n, 1), ids);
    const wf_tensor length = wf_tensor_of(WF_I32, WF_SHAPE(1), &n);
    char *text = translate(r, &source, &length, beams) ? text_of(r, &r->written.at[0], line) : NULL;
    if (text && hypothesis) *hypothesis = &r->written.at[0];
    free(ids);
    return text;
}

/* ---- the tests ---- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What comes of the translations of a text. */
typedef struct score {
    wf_bleu *bleu;
    int64_t right, sentences;
} score;

static bool score_batch(translator *r, const wf_parallel *text, const wf_pairs *b, score *s,
                        wf_error *err)
{
    if (!translate(r, &b->source, &b->source_lengths, r->o.beam)) return false;
    for (int64_t k = 0; k < b->count; k++) {
        const wf_text source = wf_parallel_text(text, WF_SOURCE, b->pair[k]);
        const wf_text truth = wf_parallel_text(text, WF_TARGET, b->pair[k]);
        char *said = text_of(r, &r->written.at[k * r->written.best], source);
        if (!said) return wf_error_set(err, "out of memory");
        const wf_text hypothesis = { NULL, said, (int64_t)strlen(said) };
        s->right += hypothesis.n == truth.n && !memcmp(said, truth.bytes, (size_t)truth.n);
        s->sentences++;
        bool ok = wf_bleu_add(s->bleu, &hypothesis, &truth, 1, err);
        free(said);
        if (!ok) return false;
    }
    return true;
}

static bool test_one(translator *r, int i, wf_error *err)
{
    const wf_parallel *text = r->x.test[i];
    const wf_buckets_options how = { .max_sentences = 32, .order = WF_BUCKETS_SORTED };
    const wf_bleu_options at_spaces = { .tokenize = WF_TOKENIZE_NONE };
    const double begun = seconds(), perplexity = perplexity_of(r, text);
    score s = { .bleu = wf_bleu_new(&at_spaces, err) };
    wf_buckets *batches = s.bleu ? wf_buckets_new(text, &how, err) : NULL;
    bool ok = batches && wf_tape_ok(r->t);
    for (const wf_pairs *b; ok && !wf_run_stopped(r->run) && (b = wf_buckets_next(batches));)
        ok = score_batch(r, text, b, &s, err);
    if (ok && !wf_run_stopped(r->run) && r->x.dates) {
        printf("%s: perplexity %.4f; %.1f %% of %" PRId64 " are right\n", r->x.name[i], perplexity,
               100 * (double)s.right / (double)s.sentences, s.sentences);
    } else if (ok && !wf_run_stopped(r->run)) {
        char said[200], signature[200];
        wf_bleu_text(s.bleu, said, sizeof said);
        wf_bleu_signature(s.bleu, signature, sizeof signature);
        printf("%s: perplexity %.3f; %s, beam %" PRId64 ", alpha %g, %.0f s\n%s\n", r->x.name[i],
               perplexity, said, r->o.beam, r->o.alpha, seconds() - begun, signature);
    }
    wf_buckets_free(batches);
    wf_bleu_free(s.bleu);
    return ok;
}

bool test_all(translator *r)
{
    for (int i = 0; i < r->x.tests && !wf_run_stopped(r->run); i++) {
        if (!test_one(r, i, wf_run_error(r->run))) return false;
    }
    return true;
}

/* ---- standard input ---- */

/* White space alone? Then there is nothing to translate. */
static bool is_empty(wf_text line)
{
    int64_t at = 0, start = 0;
    return !wf_text_word(line.bytes, line.n, &at, &start);
}

bool translate_input(translator *r)
{
    char *line = NULL;
    size_t room = 0;
    bool ok = true;
    for (int64_t i = 1; ok && !wf_run_stopped(r->run); i++) {
        wf_error err = { { 0 } };
        const int64_t n = getline(&line, &room, stdin);
        if (n < 0) break;
        wf_text text = { NULL, line, n };
        if (text.n && line[text.n - 1] == '\n') text.n--;
        if (text.n && line[text.n - 1] == '\r') text.n--;
        char *said = is_empty(text) ? NULL : translate_line(r, text, r->o.beam, NULL, &err);
        if (err.text[0]) {
            ok = wf_run_fail(r->run, "standard input, line %" PRId64 ": %s", i, err.text);
        } else if ((ok = said || is_empty(text))) {
            printf("%s\n", said ? said : "");
            if (fflush(stdout) || ferror(stdout)) ok = false; /* the run says so */
        }
        free(said);
    }
    free(line);
    return ok;
}
