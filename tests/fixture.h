/* What the suites share: what a test owns, a runtime that counts and can fail, numbers, views of
 * every kind, comparisons, and hashes of bits. */
#ifndef WEFT_TESTS_FIXTURE_H
#define WEFT_TESTS_FIXTURE_H

#include <weft.h>

#include "tests/harness.h"

#include <stdlib.h>

/* ---- what a test owns ---- */

/* OWN(wf_tape) *t = ...: let go where its scope ends, the last one first. */
#define OWN(type) __attribute__((cleanup(free_##type), unused)) type
void free_double(double **x); /* by free */
void free_wf_tape(wf_tape **x);
void free_wf_module(wf_module **x);
void free_wf_optim(wf_optim **x);
void free_wf_carry(wf_carry **x);
void free_wf_archive(wf_archive **x);
void free_wf_bundle(wf_bundle **x);
void free_wf_corpus(wf_corpus **x);
void free_wf_vocab(wf_vocab **x);
void free_wf_parallel(wf_parallel **x);
void free_wf_buckets(wf_buckets **x);
void free_wf_bleu(wf_bleu **x);
void free_wf_chrf(wf_chrf **x);
void free_wf_edits(wf_edits **x);
void free_wf_conll(wf_conll **x);
void free_wf_confusion(wf_confusion **x);
void free_wf_spans(wf_spans **x);
void free_wf_spectrum(wf_spectrum **x);
void free_wf_csv(wf_csv **x);
void free_wf_series(wf_series *x);
void free_wf_scaler(wf_scaler **x);
void free_wf_novelty(wf_novelty **x);
void free_wf_windows(wf_windows **x);
/* The library holds no memory. For a suite's `.after`. */
void nothing_is_left(void);

/* ---- numbers ---- */

/* A leaf of numbers in [low, high), rounded down in WF_I32, that depend on the seed alone. */
wf_var *drawn(wf_tape *t, wf_dtype dtype, wf_shape shape, uint64_t seed, double low, double high);

/* For wf_grad: the gradient is a graph that can be differentiated. */
extern const wf_grad_options with_graph;

/* ---- index arithmetic ---- */

/* Where the element of a view at a flat index lies, in elements from its data: the plain
 * definition. */
int64_t offset_of(const wf_tensor *x, int64_t flat);
/* A flat row-major index as one index per axis, and back. */
void unflatten(const wf_shape *shape, int64_t flat, int64_t index[WF_RANK]);
int64_t flatten(const wf_shape *shape, const int64_t index[WF_RANK]);
/* Writes an element. */
void put(const wf_tensor *x, int64_t flat, double value);

/* One view of `laid_out_form` of every kind, onto memory of ROOM elements, in any dtype. */
enum { ROOM = 4096, LAYOUTS = 5 };
extern const wf_shape laid_out_form; /* (3, 5, 7) */
wf_tensor laid_out(int layout, wf_dtype dtype, void *memory);

/* ---- comparisons ---- */

/* Are n numbers equal up to `relative` of the largest wanted one? NaN is equal to nothing. */
void assert_close(const char *what, int64_t n, const double *got, const double *want,
                  double relative);
/* A checker found nothing. */
void assert_proved(wf_report r);
/* The tape has failed with this sentence. Begins a new step. */
void assert_fails(wf_tape *t, const char *text);
/* The tree has failed with this sentence. Frees it. */
void assert_tree_fails(wf_module *net, const char *text);

/* FNV-1a over bits; begin with HASH. */
#define HASH UINT64_C(0xCBF29CE484222325)
uint64_t hash_bytes(uint64_t hash, const void *at, int64_t bytes);
uint64_t hash_tensor(uint64_t hash, const wf_tensor *x); /* rows without gaps; NULL: nothing */
uint64_t hash_params(uint64_t hash, const wf_module *net);

/* ---- a locale whose decimal point is a comma ---- */

/* Sets one, the system's or one made for this test; false after skipping. */
bool set_comma(void);
bool comma_now(void);

/* ---- processes, texts and files ---- */

/* Waits for a child and gives what it returned, or minus the signal that ended it. */
int exit_of(int child);

/* A text as printf makes it, and a path in the test's own folder: good until sixteen more of
 * its kind were asked for. */
const char *worded(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *path_of(const char *name);

/* A safetensors file in memory (from malloc, of *size bytes) of a header, in which ' stands for ",
 * and n bytes of data; and the archive that it is, or NULL, under the name x. */
char *safetensors_of(const char *header, const void *data, size_t n, int64_t *size);
wf_archive *archive_of(const char *header, const void *data, size_t n, wf_error *error);

#endif
