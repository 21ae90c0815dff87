/* A file that has been read: its tensors and metadata by name, and metadata as numbers. */
#include "tensor/io_private.h"
#include "tensor/private.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void wf_archive_free(wf_archive *a)
{
    if (!a) return;
    wf_release(a->by_key);
    wf_release(a->by_name);
    wf_release(a->meta);
    wf_release(a->tensors);
    wf_release(a->aligned);
    wf_release(a->header);
    wf_release(a->bytes);
    wf_release(a);
}

int64_t wf_archive_count(const wf_archive *a)
{
    return a ? a->count : 0;
}

const wf_named *wf_archive_at(const wf_archive *a, int64_t index)
{
    return a && index >= 0 && index < a->count ? &a->tensors[index] : NULL;
}

const wf_tensor *wf_archive_find(const wf_archive *a, const char *name)
{
    if (!a || !name) return NULL;
    for (int64_t low = 0, high = a->count; low < high;) {
        int64_t middle = low + (high - low) / 2;
        const wf_named *x = &a->tensors[a->by_name[middle]];
        int order = strcmp(name, x->name);
        if (order == 0) return &x->tensor;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *wf_archive_meta(const wf_archive *a, const char *key)
{
    if (!a || !key) return NULL;
    for (int64_t low = 0, high = a->meta_count; low < high;) {
        int64_t middle = low + (high - low) / 2;
        const wf_meta *x = &a->meta[a->by_key[middle]];
        int order = strcmp(key, x->key);
        if (order == 0) return x->value;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const wf_tensor *wf_archive_findf(const wf_archive *a, const char *format, ...)
{
    char small[512], *name = small;
    va_list arguments;
    if (!a || !format) return NULL;
    va_start(arguments, format);
    int n = wf_plain_vsnprintf(small, sizeof small, format, arguments);
    va_end(arguments);
    if (n < 0) return NULL;
    if ((size_t)n >= sizeof small) {
        name = wf_alloc((size_t)n + 1);
        if (!name) return NULL;
        va_start(arguments, format);
        wf_plain_vsnprintf(name, (size_t)n + 1, format, arguments);
        va_end(arguments);
    }
    const wf_tensor *found = wf_archive_find(a, name);
    if (name != small) wf_release(name);
    return found;
}

/* ---- metadata as numbers ---- */

/* Does a number that ends here begin here, without the blanks that the C library would skip? */
static bool whole(const char *text, const char *end)
{
    return end != text && !*end && !strchr(" \t\n\v\f\r", *text);
}

bool wf_archive_meta_integer(const wf_archive *a, const char *key, int64_t *value)
{
    const char *text = wf_archive_meta(a, key);
    char *end;
    if (!text || !value) return false;
    int were = errno;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    bool fits = errno == 0 && whole(text, end);
    errno = were;
    if (fits) *value = number;
    return fits;
}

bool wf_archive_meta_number(const wf_archive *a, const char *key, double *value)
{
    const char *text = wf_archive_meta(a, key);
    char *end;
    if (!text || !value) return false;
    int were = errno;
    locale_t plain = newlocale(LC_ALL_MASK, "C", NULL), theirs = uselocale(plain);
    errno = 0;
    double number = strtod(text, &end);
    /* What is too small for a normal number is reported too, but is the nearest there is. */
    bool fits = !(errno == ERANGE && isinf(number)) && whole(text, end);
    uselocale(theirs);
    if (plain) freelocale(plain);
    errno = were;
    if (fits) *value = number;
    return fits;
}
