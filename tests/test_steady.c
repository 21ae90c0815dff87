/* A steady training loop asks the heap for nothing: malloc and its kin are interposed and
 * counted from the third step on. */
#include "tests/model.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic int64_t ours, of_blis;
static _Atomic bool counting;

#if !HARNESS_ADDRESSES /* which owns malloc */
#include <dlfcn.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *p, size_t bytes);
extern void *__libc_memalign(size_t align, size_t bytes);

static _Thread_local bool inside;

static void count(const void *caller)
{
    if (!atomic_load(&counting) || inside) return;
    inside = true; /* dladdr may allocate */
    Dl_info about;
    bool blis = dladdr(caller, &about) && about.dli_fname && strstr(about.dli_fname, "libblis");
    atomic_fetch_add(blis ? &of_blis : &ours, 1);
    inside = false;
}

void *malloc(size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_calloc(n, bytes);
}

void *realloc(void *p, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_realloc(p, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_memalign(align, bytes);
}

void *memalign(size_t align, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_memalign(align, bytes);
}

int posix_memalign(void **out, size_t align, size_t bytes)
{
    count(__builtin_return_address(0));
    *out = __libc_memalign(align, bytes);
    return *out ? 0 : 12;
}
#endif

TEST_EACH(after_the_second_step_nothing_of_ours_asks_for_memory, cells_built_in())
{
    if (HARNESS_ADDRESSES) {
        harness_skip("the sanitizer owns malloc");
        return;
    }
    model r;
    wf_error e = { { 0 } };
    model_size size = { .cell = cell_at(_i),
                        .letters = 65,
                        .time = 16,
                        .batch = 9,
                        .embed = 32,
                        .hidden = 64,
                        .layers = 2,
                        .dropout = 0.2,
                        .clip = 1,
                        .ragged = true };
    ck_assert_msg(model_make(&r, size, &e), "%s", e.text);
    /* Lengths differ from step to step; what they need is the same. */
    for (int64_t i = 0; i < 2; i++) ck_assert(model_step(&r, i));
    void *volatile sign_of_life;
    atomic_store(&counting, true);
    sign_of_life = malloc(16);
    int64_t counted = ours;
    bool ok = true; /* Check's own assertions allocate */
    for (int64_t i = 2; i < 12; i++) ok = model_step(&r, i) && ok;
    atomic_store(&counting, false);
    ck_assert(ok);
    free(sign_of_life);
    ck_assert_int_eq(counted, 1); /* the count is real */
    printf("%s: %lld allocations of ours in 10 steps, %lld of BLIS\n", size.cell->name,
           (long long)(ours - counted), (long long)of_blis);
    ck_assert_int_eq(ours, counted);
    model_free(&r);
}
