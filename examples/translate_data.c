/* The texts of translate: files of a folder, or made dates; and vocabularies of both sides. */
#include "examples/translate.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = 4096 };

static const wf_parallel_options plain = { .source_eos = true }; /* a place to look at when all is
                                                                  * said; no source is empty */

static bool path_of(char path[PATH], const options *o, const char *name, const char *ending,
                    wf_error *err)
{
    return wf_format(path, PATH, "%s/%s.%s", o->data, name, ending) < PATH ||
           wf_error_set(err, "the path of %s.%s in %s is too long", name, ending, o->data);
}

static wf_parallel *pairs_of(const texts *x, const options *o, wf_run *run, const char *name,
                             const wf_parallel_options *how)
{
    char from[PATH], to[PATH];
    wf_error *err = wf_run_error(run);
    if (!path_of(from, o, name, o->from, err) || !path_of(to, o, name, o->to, err) ||
        !wf_run_reads(run, from) || !wf_run_reads(run, to))
        return NULL;
    return wf_parallel_new(from, to, x->vocab[WF_SOURCE], x->vocab[WF_TARGET], how, err);
}

/* Is it a file "test....FROM" beside which "test....TO" may lie? Its name without the ending. */
static bool is_test(const char *file, const char *from, char name[64])
{
    const size_t n = strlen(file), end = strlen(from);
    if (strncmp(file, "test", 4) || n < end + 5 || n - end > 64) return false;
    if (file[n - end - 1] != '.' || strcmp(file + n - end, from)) return false;
    wf_format(name, 64, "%.*s", (int)(n - end - 1), file);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The names of all tests that are there in both languages, in order. */
static bool find_tests(texts *x, const options *o, wf_run *run)
{
    wf_error *err = wf_run_error(run);
    DIR *folder = opendir(o->data);
    if (!folder) return wf_error_set(err, "option --data: %s: %s", o->data, strerror(errno));
    for (struct dirent *e; x->tests < TESTS && (e = readdir(folder));) {
        char other[PATH], *name = x->name[x->tests];
        if (!is_test(e->d_name, o->from, name)) continue;
        if (!path_of(other, o, name, o->to, err)) break;
        FILE *there = fopen(other, "r");
        if (there)
            x->tests += !fclose(there);
        else
            wf_run_say(run, "translate: %s has no %s.%s beside it, so it is no test", e->d_name,
                       name, o->to);
    }
    closedir(folder);
    qsort(x->name, (size_t)x->tests, sizeof x->name[0], by_name);
    return !err->text[0];
}

static bool open_files(texts *x, const options *o, wf_run *run)
{
    wf_error *err = wf_run_error(run);
    const wf_vocab_options words = { .min_count = o->min_count, .letters = o->letters };
    const char *const ending[2] = { o->from, o->to };
    for (int k = 0; k < 2 && !x->vocab[k]; k++) {
        char path[PATH];
        if (!path_of(path, o, "train", ending[k], err) || !wf_run_reads(run, path) ||
            !(x->vocab[k] = wf_vocab_new(path, &words, err)))
            return false;
    }
    wf_parallel_options bounded = plain;
    bounded.max_length = o->longest;
    x->train = pairs_of(x, o, run, "train", &bounded);
    if (!x->train && strstr(err->text, "no pair is left")) {
        wf_error_clear(err);
        return wf_error_set(err,
                            "option --longest: no pair of %s/train.%s and train.%s is left of "
                            "those of 1 to %" PRId64 " %s",
                            o->data, o->from, o->to, o->longest, o->letters ? "letters" : "words");
    }
    if (!x->train || !(x->valid = pairs_of(x, o, run, "val", &plain)) || !find_tests(x, o, run))
        return false;
    for (int i = 0; i < x->tests; i++)
        if (!(x->test[i] = pairs_of(x, o, run, x->name[i], &plain))) return false;
    return true;
}

/* Dates: a part in 20 as many for validation as for training, in 10 for the test. */
static bool make_dates(texts *x, const options *o, wf_error *err)
{
    static const wf_vocab_options letters = { .letters = true };
    wf_parallel **const to[] = { &x->train, &x->valid, &x->test[0] };
    const int64_t n[] = { o->pairs, o->pairs / 20 + 1, o->pairs / 10 + 1 };
    bool ok = true;
    for (int part = DATES_TRAIN; ok && part <= DATES_TEST; part++) {
        wf_text side[2];
        ok = dates_make((uint64_t)o->run.seed, (dates_part)part, n[part], &side[0], &side[1]) ||
             wf_error_set(err, "out of memory");
        for (int k = 0; ok && k < 2; k++)
            if (!x->vocab[k]) ok = (x->vocab[k] = wf_vocab_from_parts(&side[k], 1, &letters, err));
        ok = ok && (*to[part] = wf_parallel_from_parts(&side[0], &side[1], x->vocab[0], x->vocab[1],
                                                       &plain, err));
        for (int k = 0; k < 2; k++) free((char *)(uintptr_t)side[k].bytes);
    }
    strcpy(x->name[0], "unseen dates");
    x->tests = 1;
    x->dates = true;
    return ok;
}

bool texts_open(texts *x, const options *o, wf_run *run, bool all)
{
    const wf_archive *saved = wf_run_archive(run);
    wf_error *err = wf_run_error(run);
    static const char *const key[2] = { "source.vocab", "target.vocab" };
    for (int k = 0; saved && k < 2; k++)
        if (!(x->vocab[k] = wf_vocab_from_archive(saved, key[k], err))) return false;
    if (!all) return true;
    return o->data ? open_files(x, o, run) : make_dates(x, o, err);
}

void texts_free(texts *x)
{
    for (int k = 0; k < 2; k++) wf_vocab_free(x->vocab[k]);
    wf_parallel_free(x->train);
    wf_parallel_free(x->valid);
    for (int i = 0; i < x->tests; i++) wf_parallel_free(x->test[i]);
}
