#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/fixture.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* ---- what a test owns ---- */

void free_double(double **x)
{
    free(*x);
}

#define FREED_BY_ITS_OWN(type)                                                                     \
    void free_##type(type **x)                                                                     \
    {                                                                                              \
        type##_free(*x);                                                                           \
    }
FREED_BY_ITS_OWN(wf_tape)
FREED_BY_ITS_OWN(wf_module)
FREED_BY_ITS_OWN(wf_optim)
FREED_BY_ITS_OWN(wf_carry)
FREED_BY_ITS_OWN(wf_archive)
FREED_BY_ITS_OWN(wf_bundle)
FREED_BY_ITS_OWN(wf_corpus)
FREED_BY_ITS_OWN(wf_vocab)
FREED_BY_ITS_OWN(wf_parallel)
FREED_BY_ITS_OWN(wf_buckets)
FREED_BY_ITS_OWN(wf_bleu)
FREED_BY_ITS_OWN(wf_chrf)
FREED_BY_ITS_OWN(wf_edits)
FREED_BY_ITS_OWN(wf_spans)
FREED_BY_ITS_OWN(wf_confusion)
FREED_BY_ITS_OWN(wf_conll)
FREED_BY_ITS_OWN(wf_spectrum)
FREED_BY_ITS_OWN(wf_csv)
FREED_BY_ITS_OWN(wf_scaler)
FREED_BY_ITS_OWN(wf_novelty)
FREED_BY_ITS_OWN(wf_windows)

void free_wf_series(wf_series *x)
{
    wf_series_free(x);
}

void nothing_is_left(void)
{
    ck_assert_int_eq(heap.live, 0);
}

/* ---- numbers ---- */

wf_var *drawn(wf_tape *t, wf_dtype dtype, wf_shape shape, uint64_t seed, double low, double high)
{
    wf_var *x = wf_leaf(t, dtype, shape, NULL);
    for (int64_t i = 0; i < wf_count(x); i++) {
        double v = low + (high - low) * wf_random_uniform(seed, (uint64_t)i);
        put(wf_value(x), i, dtype == WF_I32 ? floor(v) : v);
    }
    return x;
}

const wf_grad_options with_graph = { .create_graph = true };

/* ---- index arithmetic ---- */

int64_t offset_of(const wf_tensor *x, int64_t flat)
{
    int64_t at = 0;
    for (int k = x->rank - 1; k >= 0; k--) {
        at += flat % x->dim[k] * x->stride[k];
        flat /= x->dim[k];
    }
    return at;
}

void unflatten(const wf_shape *shape, int64_t flat, int64_t index[WF_RANK])
{
    for (int k = shape->rank - 1; k >= 0; k--) {
        index[k] = flat % shape->dim[k];
        flat /= shape->dim[k];
    }
}

int64_t flatten(const wf_shape *shape, const int64_t index[WF_RANK])
{
    int64_t flat = 0;
    for (int k = 0; k < shape->rank; k++) flat = flat * shape->dim[k] + index[k];
    return flat;
}

void put(const wf_tensor *x, int64_t flat, double value)
{
    const int64_t at = offset_of(x, flat);
    if (x->dtype == WF_F32) ((float *)x->data)[at] = (float)value;
    if (x->dtype == WF_F64) ((double *)x->data)[at] = value;
    if (x->dtype == WF_I32) ((int32_t *)x->data)[at] = (int32_t)value;
}

const wf_shape laid_out_form = { 3, { 3, 5, 7 } };

wf_tensor laid_out(int layout, wf_dtype dtype, void *memory)
{
    wf_tensor x = wf_tensor_of(dtype, laid_out_form, memory);
    if (layout == 1) { /* axes turned round */
        x = wf_tensor_of(dtype, WF_SHAPE(7, 5, 3), memory);
        ck_assert(wf_view_transpose(&x, 0, 2, &x));
    } else if (layout == 2) { /* every second element of longer rows */
        x = wf_tensor_of(dtype, WF_SHAPE(3, 6, 15), memory);
        ck_assert(wf_view_slice(&x, 2, 1, 15, 2, &x) && wf_view_slice(&x, 1, 1, 6, 1, &x));
    } else if (layout == 3) { /* the middle axis innermost */
        x = wf_tensor_of(dtype, WF_SHAPE(3, 7, 5), memory);
        ck_assert(wf_view_transpose(&x, 1, 2, &x));
    } else if (layout == 4) { /* one slice of a larger one */
        x = wf_tensor_of(dtype, WF_SHAPE(3, 2, 5, 7), memory);
        ck_assert(wf_view_select(&x, 1, 1, &x));
    }
    return x;
}

/* ---- comparisons ---- */

void assert_close(const char *what, int64_t n, const double *got, const double *want,
                  double relative)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < n; i++) {
        ck_assert_msg(fabs(got[i] - want[i]) <= relative * (largest > 0 ? largest : 1),
                      "%s: element %lld of %lld is %.17g; expected %.17g (the largest is %g)", what,
                      (long long)i, (long long)n, got[i], want[i], largest);
    }
}

void assert_proved(wf_report r)
{
    ck_assert_msg(r.ok, "%s", r.text);
}

void assert_fails(wf_tape *t, const char *text)
{
    ck_assert_str_eq(wf_tape_error(t), text);
    wf_tape_reset(t);
}

void assert_tree_fails(wf_module *net, const char *text)
{
    wf_error error = { { 0 } };
    ck_assert(!wf_module_ok(net, &error));
    ck_assert_str_eq(error.text, text);
    wf_module_free(net);
}

uint64_t hash_bytes(uint64_t hash, const void *at, int64_t bytes)
{
    const unsigned char *byte = at;
    for (int64_t i = 0; i < bytes; i++) hash = (hash ^ byte[i]) * UINT64_C(0x100000001B3);
    return hash;
}

uint64_t hash_tensor(uint64_t hash, const wf_tensor *x)
{
    return x ? hash_bytes(hash, x->data, wf_tensor_count(x) * wf_dtype_size(x->dtype)) : hash;
}

uint64_t hash_params(uint64_t hash, const wf_module *net)
{
    for (int64_t i = 0; i < wf_module_param_count(net); i++)
        hash = hash_tensor(hash, wf_param_value(wf_module_param_at(net, i)));
    return hash;
}

/* ---- a locale whose decimal point is a comma ---- */

bool comma_now(void)
{
    char text[16];
    snprintf(text, sizeof text, "%.1f", 0.5);
    return strcmp(text, "0,5") == 0;
}

bool set_comma(void)
{
    static const char *const installed[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8" };
    for (int i = 0; i < 3; i++)
        if (setlocale(LC_ALL, installed[i]) && comma_now()) return true;
    const char *command = worded("localedef --no-archive -i de_DE -f UTF-8 '%s' >'%s' 2>&1",
                                 path_of("de_DE.UTF-8"), path_of("said"));
    setenv("LOCPATH", harness_folder(), 1);
    if (system(command) != -1 && setlocale(LC_ALL, "de_DE.UTF-8") && comma_now()) return true;
    harness_skip("there is no locale with a decimal comma, and localedef could not make one");
    return false;
}

/* ---- processes, texts and files ---- */

int exit_of(int child)
{
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

const char *worded(const char *format, ...)
{
    static char texts[16][1024];
    static int next;
    char *text = texts[next++ % 16];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof texts[0], format, list);
    va_end(list);
    return text;
}

const char *path_of(const char *name)
{
    static char paths[16][1024];
    static int next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", harness_folder(), name);
    return path;
}

char *safetensors_of(const char *header, const void *data, size_t n, int64_t *size)
{
    const size_t length = strlen(header);
    char *file = malloc(8 + length + n);
    ck_assert_ptr_nonnull(file);
    memcpy(file, &(uint64_t){ length }, 8);
    for (size_t i = 0; i < length; i++) file[8 + i] = header[i] == '\'' ? '"' : header[i];
    if (n) memcpy(file + 8 + length, data, n);
    *size = (int64_t)(8 + length + n);
    return file;
}

wf_archive *archive_of(const char *header, const void *data, size_t n, wf_error *error)
{
    int64_t size;
    char *file = safetensors_of(header, data, n, &size);
    wf_archive *a = wf_safetensors_parse("x", file, size, error);
    free(file);
    return a;
}
