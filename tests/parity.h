/* What the suites of parity share: numbers that both sides compute from names, and comparisons with
 * what PyTorch made of them (tests/fixtures). Included by the suites, whose own copy it becomes. */
#ifndef WEFT_TESTS_PARITY_H
#define WEFT_TESTS_PARITY_H

#include "tests/fixture.h"

#include <math.h>
#include <stdio.h>

/* Numbers in [-0.5, 0.5) from a name: splitmix64 of FNV-1a(name) + index, the upper 53 bits. */
static inline double formula(const char *name, int64_t index)
{
    uint64_t z = UINT64_C(0xCBF29CE484222325);
    for (const char *c = name; *c; c++) z = (z ^ (unsigned char)*c) * UINT64_C(0x100000001B3);
    z += ((uint64_t)index + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53 - 0.5;
}

static inline void fill(const wf_tensor *x, const char *name)
{
    ck_assert(wf_tensor_is_contiguous(x));
    for (int64_t i = 0; i < wf_tensor_count(x); i++) put(x, i, formula(name, i));
}

/* Every parameter of the tree becomes the formula of its path. */
static inline void fill_params(wf_module *net)
{
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        wf_var *p = wf_module_param_at(net, i);
        fill(wf_param_value(p), wf_param_path(p));
        wf_param_changed(p);
    }
}

static inline wf_var *leaf(wf_tape *t, wf_dtype dtype, wf_shape shape, const char *name)
{
    wf_var *x = wf_leaf(t, dtype, shape, NULL);
    ck_assert_msg(x != NULL, "%s", wf_tape_error(t));
    fill(wf_value(x), name);
    return x;
}

static inline const char *fixture_path(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/tests/fixtures/%s.safetensors", WF_SOURCE_DIR, name);
    return path;
}

static inline wf_archive *open_fixture(const char *name)
{
    wf_error e = { 0 };
    wf_archive *a = wf_safetensors_load(fixture_path(name), &e);
    ck_assert_msg(a != NULL, "%s", e.text);
    return a;
}

static inline const wf_tensor *stored(const wf_archive *a, const char *name)
{
    const wf_tensor *x = wf_archive_find(a, name);
    ck_assert_msg(x != NULL, "the fixture has no '%s'", name);
    return x;
}

/* Stored numbers that were several tensors end to end, compared one tensor after another. */
typedef struct reader {
    const char *label;
    const wf_tensor *part[3];
    int parts; /* the sum of these is expected */
    int64_t at;
    double tolerance;
} reader;

static inline reader reader_of(const char *label, const wf_tensor *stored_numbers, double tolerance)
{
    return (
        reader){ .label = label, .part = { stored_numbers }, .parts = 1, .tolerance = tolerance };
}

static inline void expect(reader *r, const char *what, int64_t count, const wf_tensor *found)
{
    ck_assert_msg(!found || wf_tensor_count(found) == count, "%s: %s has the wrong size", r->label,
                  what);
    for (int64_t i = 0; i < count; i++, r->at++) {
        double want = 0, have = found ? wf_tensor_at(found, i) : 0; /* no gradient arrived: zeros */
        for (int k = 0; k < r->parts; k++) want += wf_tensor_at(r->part[k], r->at);
        ck_assert_msg(fabs(have - want) <= r->tolerance,
                      "%s: %s[%lld] is %.17g, PyTorch's is %.17g: %.3g apart", r->label, what,
                      (long long)i, have, want, fabs(have - want));
    }
}

static inline void expect_end(const reader *r)
{
    ck_assert_msg(r->at == wf_tensor_count(r->part[0]),
                  "%s: %lld of %lld stored numbers were compared", r->label, (long long)r->at,
                  (long long)wf_tensor_count(r->part[0]));
}

#endif
