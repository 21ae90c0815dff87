/* A bundle: named tensors and metadata that several parts of a program add to, saved as one file.
 * What goes wrong while it grows is kept and said when it is saved. */
#include "tensor/io.h"

#include "tensor/io_private.h"
#include "tensor/private.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

/* Memory that lives as long as the bundle; the contents follow at WF_ALIGNMENT bytes. */
typedef struct block {
    struct block *next;
} block;


/* Which of the names given so far is this one? Open addressing, at most half full; a slot holds an
 * index + 1. */
typedef struct table {
    int64_t *slot, slots;
} table;

struct wf_bundle {
    wf_named *tensors;
    wf_meta *meta;
    int64_t n, room, n_meta, meta_room;
    table names, keys;
    block *kept;
    wf_error error; /* the first one */
};

static const char *shown(char text[WF_SHOWN], const char *name)
{
    return wf_shown(text, WF_SHOWN, name, (int64_t)strlen(name));
}

wf_bundle *wf_bundle_new(void)
{
    return wf_alloc_zero(sizeof(wf_bundle));
}

void wf_bundle_free(wf_bundle *b)
{
    if (!b) return;
    for (block *next; b->kept; b->kept = next) {
        next = b->kept->next;
        wf_release(b->kept);
    }
    wf_release(b->tensors);
    wf_release(b->meta);
    wf_release(b->names.slot);
    wf_release(b->keys.slot);
    wf_release(b);
}

bool wf_bundle_fail(wf_bundle *b, const char *format, ...)
{
    if (!b || b->error.text[0]) return false;
    va_list arguments;
    va_start(arguments, format);
    wf_vformat(b->error.text, sizeof b->error.text, format, arguments);
    va_end(arguments);
    return false;
}

bool wf_bundle_ok(const wf_bundle *b, wf_error *error)
{
    wf_error_clear(error);
    if (!b) return wf_error_set(error, "bundle: it was never made (NULL)");
    return !b->error.text[0] || wf_error_set(error, "%s", b->error.text);
}

static void *keep(wf_bundle *b, int64_t bytes)
{
    block *made = wf_size_add(bytes, WF_ALIGNMENT, &bytes) ? wf_alloc((size_t)bytes) : NULL;
    if (!made) {
        wf_bundle_fail(b, "bundle: not enough memory for %lld bytes", (long long)bytes);
        return NULL;
    }
    made->next = b->kept;
    b->kept = made;
    return (char *)made + WF_ALIGNMENT;
}

/* The text, kept by the bundle, the same in every locale. */
static char *written(wf_bundle *b, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    size_t n = wf_vformat(NULL, 0, format, again);
    va_end(again);
    char *text = keep(b, (int64_t)n + 1);
    if (text) wf_vformat(text, n + 1, format, arguments);
    return text;
}

/* Makes room for one more item. */
static bool grow(wf_bundle *b, void **items, int64_t used, int64_t *room, size_t size)
{
    if (used < *room) return true;
    int64_t more = used ? 2 * used : 8, bytes = 0;
    void *bigger = wf_size_mul(more, (int64_t)size, &bytes) ? wf_alloc((size_t)bytes) : NULL;
    if (!bigger)
        return wf_bundle_fail(b, "bundle: not enough memory for %lld entries", (long long)more);
    if (used) memcpy(bigger, *items, (size_t)used * size);
    wf_release(*items);
    *items = bigger;
    *room = more;
    return true;
}

/* ---- names ---- */

/* Item i of an array of structs that begin with their name. */
static const char *name_of(const void *items, size_t size, int64_t i)
{
    const char *name;
    memcpy(&name, (const char *)items + (size_t)i * size, sizeof name);
    return name;
}

/* The slot of a name, or the empty one where it belongs. FNV-1a. */
static int64_t *slot_of(const table *t, const void *items, size_t size, const char *name)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001B3);
    hash ^= hash >> 32;
    for (uint64_t at = hash;; at++) {
        int64_t *slot = &t->slot[at & (uint64_t)(t->slots - 1)];
        if (!*slot || !strcmp(name_of(items, size, *slot - 1), name)) return slot;
    }
}

/* Enters the name that item n is about to have; false, and kept, if it is there already. */
static bool enter(wf_bundle *b, table *t, const void *items, size_t size, int64_t n,
                  const char *name, const char *twice)
{
    char text[WF_SHOWN];
    if (t->slots < 2 * (n + 1)) {
        table more = { .slots = t->slots ? 2 * t->slots : 32 };
        more.slot = wf_alloc_zero((size_t)more.slots * sizeof *more.slot);
        if (!more.slot)
            return wf_bundle_fail(b, "bundle: not enough memory for %lld names",
                                  (long long)(n + 1));
        for (int64_t i = 0; i < n; i++)
            *slot_of(&more, items, size, name_of(items, size, i)) = i + 1;
        wf_release(t->slot);
        *t = more;
    }
    int64_t *slot = slot_of(t, items, size, name);
    if (*slot) return wf_bundle_fail(b, "%s '%s'", twice, shown(text, name));
    *slot = n + 1;
    return true;
}

/* ---- adding ---- */

static bool enter_tensor(wf_bundle *b, const char *name, const wf_tensor *x)
{
    char text[WF_SHOWN];
    void *items = b->tensors;
    if (!x)
        return wf_bundle_fail(b, "bundle: there is no tensor for '%s' (NULL)", shown(text, name));
    if (!grow(b, &items, b->n, &b->room, sizeof *b->tensors)) return false;
    b->tensors = items;
    if (!enter(b, &b->names, b->tensors, sizeof *b->tensors, b->n, name,
               "bundle: two tensors are named"))
        return false;
    b->tensors[b->n++] = (wf_named){ name, *x };
    return true;
}

bool wf_bundle_add(wf_bundle *b, const char *name, const wf_tensor *x)
{
    return wf_bundle_addf(b, x, name ? "%s" : NULL, name);
}

bool wf_bundle_addf(wf_bundle *b, const wf_tensor *x, const char *format, ...)
{
    if (!wf_bundle_ok(b, NULL)) return false;
    if (!format) return wf_bundle_fail(b, "bundle: a tensor has no name (NULL)");
    va_list arguments;
    va_start(arguments, format);
    char *name = written(b, format, arguments);
    va_end(arguments);
    return name && enter_tensor(b, name, x);
}

bool wf_bundle_copyf(wf_bundle *b, const wf_tensor *x, const char *format, ...)
{
    if (!wf_bundle_ok(b, NULL)) return false;
    if (!format) return wf_bundle_fail(b, "bundle: a tensor has no name (NULL)");
    va_list arguments;
    va_start(arguments, format);
    char *name = written(b, format, arguments), text[WF_SHOWN];
    va_end(arguments);
    if (!name || !enter_tensor(b, name, x)) return false;
    wf_tensor *mine = &b->tensors[b->n - 1].tensor;
    wf_shape shape = wf_tensor_shape(x);
    wf_error why = { "" };
    int64_t n = wf_shape_check(&shape, x->dtype, &why);
    if (n < 0) return wf_bundle_fail(b, "bundle: tensor '%s': %s", shown(text, name), why.text);
    if (n > 0 && !x->data)
        return wf_bundle_fail(b, "bundle: tensor '%s' has no data", shown(text, name));
    void *copy = keep(b, n * wf_dtype_size(x->dtype));
    if (!copy) return false;
    *mine = wf_tensor_of(x->dtype, shape, copy);
    if (n > 0) wf_tensor_copy(x, mine);
    return true;
}

bool wf_bundle_meta(wf_bundle *b, const char *key, const char *format, ...)
{
    if (!wf_bundle_ok(b, NULL)) return false;
    if (!key) return wf_bundle_fail(b, "bundle: a line of metadata has no key (NULL)");
    char text[WF_SHOWN];
    if (!format)
        return wf_bundle_fail(b, "bundle: the metadata '%s' has no value (NULL)", shown(text, key));
    va_list arguments;
    va_start(arguments, format);
    char *value = written(b, format, arguments);
    va_end(arguments);
    size_t bytes = strlen(key) + 1;
    char *name = value ? keep(b, (int64_t)bytes) : NULL;
    void *items = b->meta;
    if (!name || !grow(b, &items, b->n_meta, &b->meta_room, sizeof *b->meta)) return false;
    memcpy(name, key, bytes);
    b->meta = items;
    if (!enter(b, &b->keys, b->meta, sizeof *b->meta, b->n_meta, name,
               "bundle: two lines of metadata are named"))
        return false;
    b->meta[b->n_meta++] = (wf_meta){ name, value };
    return true;
}

bool wf_bundle_save(const wf_bundle *b, const char *path, wf_error *error)
{
    return wf_bundle_ok(b, error) &&
           wf_safetensors_save(path, b->tensors, b->n, b->meta, b->n_meta, error);
}
