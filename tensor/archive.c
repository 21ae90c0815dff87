/* A file that has been read: its tensors and metadata by name, and metadata as numbers. */
#include "tensor/private.h"
#include "tensor/safetensors_private.h"
#include "tensor/text.h"

#include <string.h>

void wf_archive_free(wf_archive *a)
{
    if (!a) return;
    wf_release(a->by_key);
    wf_release(a->by_name);
    wf_release(a->meta);
    wf_release(a->tensors);
    wf_release(a->items);
    wf_release(a->aligned);
    wf_release(a->body);
    wf_release(a->header);
    wf_release(a);
}

int64_t wf_archive_count(const wf_archive *a)
{
    return a ? a->n_tensors : 0;
}

const wf_named *wf_archive_at(const wf_archive *a, int64_t index)
{
    return a && index >= 0 && index < a->n_tensors ? &a->tensors[index] : NULL;
}

int64_t wf_archive_entry_count(const wf_archive *a)
{
    return a ? a->n_items : 0;
}

const wf_entry *wf_archive_entry_at(const wf_archive *a, int64_t index)
{
    return a && index >= 0 && index < a->n_items ? &a->items[index].entry : NULL;
}

const wf_record *wf_record_find(const wf_archive *a, const char *name)
{
    if (!a || !name) return NULL;
    for (int64_t low = 0, high = a->n_items; low < high;) {
        int64_t middle = low + (high - low) / 2;
        const wf_record *x = &a->items[a->by_name[middle]];
        int order = strcmp(name, x->entry.name);
        if (order == 0) return x;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const wf_entry *wf_archive_entry(const wf_archive *a, const char *name)
{
    const wf_record *x = wf_record_find(a, name);
    return x ? &x->entry : NULL;
}

const wf_tensor *wf_archive_find(const wf_archive *a, const char *name)
{
    const wf_record *x = wf_record_find(a, name);
    return x && x->tensor >= 0 ? &a->tensors[x->tensor].tensor : NULL;
}

const char *wf_archive_meta(const wf_archive *a, const char *key)
{
    if (!a || !key) return NULL;
    for (int64_t low = 0, high = a->n_meta; low < high;) {
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
    size_t n = wf_vformat(small, sizeof small, format, arguments);
    va_end(arguments);
    if (n >= sizeof small) {
        name = wf_alloc(n + 1);
        if (!name) return NULL;
        va_start(arguments, format);
        wf_vformat(name, n + 1, format, arguments);
        va_end(arguments);
    }
    const wf_tensor *found = wf_archive_find(a, name);
    if (name != small) wf_release(name);
    return found;
}

/* ---- metadata as numbers ---- */

bool wf_archive_meta_integer(const wf_archive *a, const char *key, int64_t *value)
{
    return wf_parse_integer(wf_archive_meta(a, key), value);
}

bool wf_archive_meta_number(const wf_archive *a, const char *key, double *value)
{
    return wf_parse_number(wf_archive_meta(a, key), value);
}
