/* Writing the safetensors format: a header of JSON with a checksum of the whole file, then the
 * numbers. */
#include "tensor/safetensors_private.h"

#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "safetensors holds little-endian numbers");

enum { CHUNK = 4096 }; /* bytes of a strided tensor that are gathered at a time */

static const char *shown(char text[WF_SHOWN], const char *name)
{
    return wf_shown(text, WF_SHOWN, name, (int64_t)strlen(name));
}

static bool less_by_name(const void *context, int64_t a, int64_t b)
{
    const wf_named *x = context;
    return strcmp(x[a].name, x[b].name) < 0;
}

/* Where a header goes: to be counted first, then into text. */
typedef struct sink {
    char *text;
    int64_t n;
} sink;

static void put(sink *s, const char *text)
{
    size_t n = strlen(text);
    if (s->text) memcpy(s->text + s->n, text, n);
    s->n += (int64_t)n;
}

static void put_string(sink *s, const char *text)
{
    s->n += wf_json_quote(text, s->text ? s->text + s->n : NULL);
}

static void put_integer(sink *s, int64_t number)
{
    char text[24];
    wf_format(text, sizeof text, "%lld", (long long)number);
    put(s, text);
}

static void put_meta(sink *s, const char *key, const char *value)
{
    put_string(s, key);
    put(s, ":");
    put_string(s, value);
}

/* The header's text, with 0 for every digit of the checksum, whose place is returned. */
static int64_t put_header(sink *s, const wf_named *tensors, int64_t n, const wf_meta *meta,
                          int64_t n_meta)
{
    int64_t offset = 0, bytes = 0;
    put(s, "{\"__metadata__\":{");
    put_meta(s, WF_META_FORMAT, WF_FORMAT_NOW);
    put(s, ",");
    put_meta(s, WF_META_CHECKSUM, WF_ZEROS);
    int64_t digits = s->n - 1 - WF_DIGITS;
    for (int64_t i = 0; i < n_meta; i++) {
        put(s, ",");
        put_meta(s, meta[i].key, meta[i].value);
    }
    put(s, "}");
    for (int64_t i = 0; i < n; i++) {
        const wf_tensor *x = &tensors[i].tensor;
        wf_stored_bytes(x, &bytes); /* it fitted when the tensors were checked */
        put(s, ",");
        put_string(s, tensors[i].name);
        put(s, ":{\"dtype\":");
        put_string(s, wf_stored_name(x->dtype));
        put(s, ",\"shape\":[");
        for (int d = 0; d < x->rank; d++) {
            if (d) put(s, ",");
            put_integer(s, x->dim[d]);
        }
        put(s, "],\"data_offsets\":[");
        put_integer(s, offset);
        put(s, ",");
        put_integer(s, offset += bytes);
        put(s, "]}");
    }
    put(s, "}");
    while (s->n % WF_LENGTH_BYTES) put(s, " ");
    return digits;
}

static bool check_string(const char *what, const char *kind, int64_t index, const char *text,
                         wf_error *error)
{
    if (!text) return wf_error_set(error, "%s: %s %lld is missing", what, kind, (long long)index);
    int64_t n = (int64_t)strlen(text), good = wf_utf8_good(text, n);
    if (good < n)
        return wf_error_set(error, "%s: %s %lld is not UTF-8 at its byte %lld", what, kind,
                            (long long)index, (long long)good);
    return true;
}

static bool check_tensors(const char *what, const wf_named *tensors, int64_t n, wf_error *error)
{
    char name[WF_SHOWN];
    int64_t total = 0, bytes;
    for (int64_t i = 0; i < n; i++) {
        const wf_tensor *x = &tensors[i].tensor;
        if (!check_string(what, "the name of tensor", i, tensors[i].name, error)) return false;
        shown(name, tensors[i].name);
        if (strcmp(tensors[i].name, WF_META_NAME) == 0)
            return wf_error_set(error, "%s: no tensor can be named '%s'", what, WF_META_NAME);
        if ((int)x->dtype < 0 || (int)x->dtype >= WF_STORED_F16)
            return wf_error_set(error, "%s: tensor '%s' has the unknown dtype %d", what, name,
                                (int)x->dtype);
        if (x->rank < 0 || x->rank > WF_RANK)
            return wf_error_set(error, "%s: tensor '%s' has the rank %d, outside 0 to %d", what,
                                name, (int)x->rank, WF_RANK);
        if (!wf_stored_bytes(x, &bytes) || !wf_size_add(total, bytes, &total))
            return wf_error_set(error,
                                "%s: the sizes of tensor '%s' are negative or do not fit 63 bits",
                                what, name);
        if (bytes > 0 && !x->data)
            return wf_error_set(error, "%s: tensor '%s' has no data", what, name);
    }
    int64_t *index = wf_sorted(n, less_by_name, tensors, what, error);
    bool ok = index || n == 0;
    for (int64_t i = 1; ok && i < n; i++)
        if (strcmp(tensors[index[i - 1]].name, tensors[index[i]].name) == 0)
            ok = wf_error_set(error, "%s: two tensors are named '%s'", what,
                              shown(name, tensors[index[i]].name));
    wf_release(index);
    return ok;
}

static bool check_meta(const char *what, const wf_meta *meta, int64_t n, wf_error *error)
{
    char key[WF_SHOWN];
    for (int64_t i = 0; i < n; i++) {
        if (!check_string(what, "the key of metadata", i, meta[i].key, error) ||
            !check_string(what, "the value of metadata", i, meta[i].value, error))
            return false;
        if (strcmp(meta[i].key, WF_META_FORMAT) == 0 || strcmp(meta[i].key, WF_META_CHECKSUM) == 0)
            return wf_error_set(error, "%s: the metadata '%s' is not the caller's to give", what,
                                meta[i].key);
    }
    int64_t *index = wf_sorted(n, wf_less_by_key, meta, what, error);
    bool ok = index || n == 0;
    for (int64_t i = 1; ok && i < n; i++)
        if (strcmp(meta[index[i - 1]].key, meta[index[i]].key) == 0)
            ok = wf_error_set(error, "%s: the metadata '%s' is given twice", what,
                              shown(key, meta[index[i]].key));
    wf_release(index);
    return ok;
}

typedef bool take_fn(void *context, const void *bytes, int64_t n);

static bool put_file(void *context, const void *bytes, int64_t n)
{
    return wf_writer_put(context, bytes, n);
}

static bool take_crc(void *context, const void *bytes, int64_t n)
{
    uint64_t *crc = context;
    *crc = wf_crc64_add(*crc, bytes, n);
    return true;
}

/* Hands over a tensor's bytes in row-major order. */
static bool stream(const wf_tensor *x, take_fn *take, void *context)
{
    int64_t bytes = 0, size = wf_dtype_size(x->dtype), used = 0;
    wf_stored_bytes(x, &bytes);
    if (bytes == 0) return true;
    if (x->rank == 0 || wf_tensor_is_contiguous(x)) return take(context, x->data, bytes);
    int64_t index[WF_RANK] = { 0 };
    char chunk[CHUNK];
    int axis;
    do {
        int64_t offset = 0;
        for (int d = 0; d < x->rank; d++) offset += index[d] * x->stride[d];
        memcpy(chunk + used, (const char *)x->data + offset * size, (size_t)size);
        used += size;
        if (used == CHUNK) {
            if (!take(context, chunk, used)) return false;
            used = 0;
        }
        axis = x->rank - 1;
        while (axis >= 0 && ++index[axis] == x->dim[axis]) index[axis--] = 0;
    } while (axis >= 0);
    return used == 0 || take(context, chunk, used);
}

static bool stream_all(const char *header, int64_t header_bytes, const wf_named *tensors, int64_t n,
                       take_fn *take, void *context)
{
    if (!take(context, header, header_bytes)) return false;
    for (int64_t i = 0; i < n; i++)
        if (!stream(&tensors[i].tensor, take, context)) return false;
    return true;
}

bool wf_safetensors_save(const char *path, const wf_named *tensors, int64_t n, const wf_meta *meta,
                         int64_t n_meta, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    wf_what(what, "save ", path, "");
    if (n < 0 || n_meta < 0 || (n > 0 && !tensors) || (n_meta > 0 && !meta))
        return wf_error_set(error, "%s: %lld tensors and %lld metadata were promised and not given",
                            what, (long long)n, (long long)n_meta);
    if (!check_tensors(what, tensors, n, error) || !check_meta(what, meta, n_meta, error))
        return false;
    sink count = { 0 };
    put_header(&count, tensors, n, meta, n_meta);
    if (count.n > WF_HEADER_MOST)
        return wf_error_set(
            error, "%s: names and metadata take %lld bytes, above the %d that the format allows",
            what, (long long)count.n, WF_HEADER_MOST);
    char *text = wf_alloc((size_t)(WF_LENGTH_BYTES + count.n));
    if (!text)
        return wf_error_set(error, "%s: not enough memory for a header of %lld bytes", what,
                            (long long)count.n);
    uint64_t length = (uint64_t)count.n;
    memcpy(text, &length, WF_LENGTH_BYTES);
    sink header = { .text = text + WF_LENGTH_BYTES };
    int64_t digits = put_header(&header, tensors, n, meta, n_meta);

    uint64_t crc = wf_crc64_begin();
    stream_all(text, WF_LENGTH_BYTES + count.n, tensors, n, take_crc, &crc);
    wf_crc64_end(crc, header.text + digits);
    wf_writer w;
    bool ok = wf_writer_begin(&w, what, path, error) &&
              stream_all(text, WF_LENGTH_BYTES + count.n, tensors, n, put_file, &w) &&
              wf_writer_end(&w);
    wf_release(text);
    return ok;
}
