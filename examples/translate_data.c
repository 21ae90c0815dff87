/* The texts of translate: files of a folder, or made dates; and vocabularies of both sides. */
#include "examples/translate.h"

#include <dirent.h>
#include <errno.h>
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

static wf_parallel *pairs_of(const texts *x, const options *o, const char *name,
                             const wf_parallel_options *how, wf_error *err)
{
    char from[PATH], to[PATH];
    if (!path_of(from, o, name, o->from, err) || !path_of(to, o, name, o->to, err)) return NULL;
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
static bool find_tests(texts *x, const options *o, wf_error *err)
{
    DIR *folder = opendir(o->data);
    if (!folder) return wf_error_set(err, "--data %s: %s", o->data, strerror(errno));
    for (struct dirent *e; x->tests < TESTS && (e = readdir(folder));) {
        char other[PATH], *name = x->name[x->tests];
        if (!is_test(e->d_name, o->from, name)) continue;
        if (!path_of(other, o, name, o->to, err)) break;
        FILE *there = fopen(other, "r");
        if (there) x->tests += !fclose(there);
    }
    closedir(folder);
    qsort(x->name, (size_t)x->tests, sizeof x->name[0], by_name);
    return !err->text[0];
}

static bool open_files(texts *x, const options *o, wf_error *err)
{
    const wf_vocab_options words = { .min_count = o->min_count, .letters = o->letters };
    const char *const ending[2] = { o->from, o->to };
    for (int k = 0; k < 2 && !x->vocab[k]; k++) {
        char path[PATH];
        if (!path_of(path, o, "train", ending[k], err) ||
            !(x->vocab[k] = wf_vocab_new(path, &words, err)))
            return false;
    }
    wf_parallel_options bounded = plain;
    bounded.max_length = o->longest;
    if (!(x->train = pairs_of(x, o, "train", &bounded, err)) ||
        !(x->valid = pairs_of(x, o, "val", &plain, err)) || !find_tests(x, o, err))
        return false;
    for (int i = 0; i < x->tests; i++)
        if (!(x->test[i] = pairs_of(x, o, x->name[i], &plain, err))) return false;
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
        ok = dates_make((uint64_t)o->seed, (dates_part)part, n[part], &side[0], &side[1]) ||
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

bool texts_open(texts *x, const options *o, const wf_archive *saved, bool all, wf_error *err)
{
    static const char *const key[2] = { "source.vocab", "target.vocab" };
    for (int k = 0; saved && k < 2; k++)
        if (!(x->vocab[k] = wf_vocab_from_archive(saved, key[k], err))) return false;
    if (!all) return true;
    return o->data ? open_files(x, o, err) : make_dates(x, o, err);
}

void texts_free(texts *x)
{
    for (int k = 0; k < 2; k++) wf_vocab_free(x->vocab[k]);
    wf_parallel_free(x->train);
    wf_parallel_free(x->valid);
    for (int i = 0; i < x->tests; i++) wf_parallel_free(x->test[i]);
}

bool texts_are_spared(const options *o, wf_error *err)
{
    static const char *const name[] = { "train", "val" };
    const char *const written[] = { o->save, o->log, o->svg };
    const char *const option[] = { "save", "log", "svg" };
    for (int i = 0; o->data && i < 4; i++) {
        char path[PATH];
        if (!path_of(path, o, name[i / 2], i % 2 ? o->to : o->from, err)) return false;
        for (int k = 0; k < 3; k++)
            if (same_file(path, written[k]))
                return wf_error_set(err, "--%s %s would replace a text that --data reads",
                                    option[k], written[k]);
    }
    return true;
}
