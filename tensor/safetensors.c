/* The safetensors format: a header of JSON, then the numbers. What is written carries a checksum;
 * what is read is believed only after every size, offset and byte of structure has been compared
 * with the bytes that are really there. */
#include "tensor/io.h"

#include "tensor/io_private.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "safetensors holds little-endian numbers");

enum {
    HEADER_MOST = 100000000, /* bytes of header that the format allows */
    LENGTH_BYTES = 8,        /* the header's length, before it */
    CHUNK = 16384,           /* bytes of a strided tensor that are gathered at a time */
    TENSOR_LEAST = 50,
    META_LEAST = 6, /* bytes that one entry takes in a header at least */
    DIGITS = 16     /* of a checksum */
};

static const char format_key[] = "weft.format", checksum_key[] = "weft.checksum";
static const char format_now[] = "1", metadata_key[] = "__metadata__";
static const char zeros[] = "0000000000000000";
static const char *const dtype_names[] = { [WF_F32] = "F32", [WF_F64] = "F64", [WF_I32] = "I32" };
enum { DTYPES = (int)(sizeof dtype_names / sizeof *dtype_names) };

static const char *shown(char text[WF_SHOWN], const char *name)
{
    return wf_shown(text, WF_SHOWN, name, (int64_t)strlen(name));
}

/* ---- CRC-64/XZ (ECMA-182, reflected), eight bytes at a time ---- */

typedef struct crc64 {
    uint64_t value, table[8][256];
} crc64;

static void crc_begin(crc64 *c)
{
    for (uint64_t i = 0; i < 256; i++) {
        uint64_t v = i;
        for (int bit = 0; bit < 8; bit++) v = v >> 1 ^ (v & 1 ? 0xC96C5795D7870F42u : 0);
        c->table[0][i] = v;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            c->table[k][i] = c->table[k - 1][i] >> 8 ^ c->table[0][c->table[k - 1][i] & 255];
    c->value = ~(uint64_t)0;
}

static bool crc_add(void *context, const void *bytes, int64_t n)
{
    crc64 *c = context;
    const unsigned char *p = bytes;
    uint64_t v = c->value, word;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&word, p, 8);
        v ^= word;
        v = c->table[7][v & 255] ^ c->table[6][v >> 8 & 255] ^ c->table[5][v >> 16 & 255] ^
            c->table[4][v >> 24 & 255] ^ c->table[3][v >> 32 & 255] ^ c->table[2][v >> 40 & 255] ^
            c->table[1][v >> 48 & 255] ^ c->table[0][v >> 56];
    }
    for (; n > 0; n--) v = v >> 8 ^ c->table[0][(v ^ *p++) & 255];
    c->value = v;
    return true;
}

static void crc_end(const crc64 *c, char digits[DIGITS])
{
    for (int i = 0; i < DIGITS; i++) digits[i] = "0123456789abcdef"[~c->value >> (60 - 4 * i) & 15];
}

/* ---- what both directions need ---- */

typedef bool less_fn(const void *context, int64_t a, int64_t b);

/* Heapsort of n indices: nobody's input makes it slow, and it asks for no memory. */
static void sort(int64_t *index, int64_t n, less_fn *less, const void *context)
{
    for (int64_t i = 0; i < n; i++) index[i] = i;
    for (int64_t start = n / 2, end = n; end > 1;) {
        if (start > 0) {
            start--;
        } else {
            end--;
            int64_t last = index[end];
            index[end] = index[0];
            index[0] = last;
        }
        int64_t moving = index[start], at = start;
        for (int64_t child; (child = 2 * at + 1) < end; at = child) {
            if (child + 1 < end && less(context, index[child], index[child + 1])) child++;
            if (!less(context, moving, index[child])) break;
            index[at] = index[child];
        }
        index[at] = moving;
    }
}

static bool less_by_name(const void *context, int64_t a, int64_t b)
{
    const wf_named *x = context;
    return strcmp(x[a].name, x[b].name) < 0;
}

static bool less_by_key(const void *context, int64_t a, int64_t b)
{
    const wf_meta *x = context;
    return strcmp(x[a].key, x[b].key) < 0;
}

/* In the order of the data; of two that begin together, the empty one first, then the one named
 * first. */
static bool less_by_place(const void *context, int64_t a, int64_t b)
{
    const wf_named *x = context;
    const char *p = x[a].tensor.data, *q = x[b].tensor.data;
    bool p_empty = wf_tensor_count(&x[a].tensor) == 0, q_empty = wf_tensor_count(&x[b].tensor) == 0;
    return p != q ? p < q : p_empty != q_empty ? p_empty : a < b;
}

/* Indices of n things in order, or NULL: out of memory (and described), or n is 0. */
static int64_t *sorted(int64_t n, less_fn *less, const void *context, const char *what,
                       wf_error *error)
{
    int64_t bytes = 0;
    int64_t *index = wf_size_mul(n, (int64_t)sizeof *index, &bytes) ? wf_alloc((size_t)bytes)
                                                                    : NULL;
    if (index)
        sort(index, n, less, context);
    else if (n > 0)
        wf_error_set(error, "%s: not enough memory for %lld names", what, (long long)n);
    return index;
}

/* The bytes of a tensor, if sizes, strides and bytes all fit an int64_t: also those of an empty
 * one. */
static bool bytes_of(const wf_tensor *x, int64_t *bytes)
{
    int64_t most = wf_dtype_size(x->dtype);
    bool empty = false;
    for (int i = 0; i < x->rank; i++) {
        if (!wf_size_mul(most, x->dim[i] ? x->dim[i] : 1, &most)) return false;
        empty |= x->dim[i] == 0;
    }
    *bytes = empty ? 0 : most;
    return true;
}

/* ---- writing ---- */

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
    put_meta(s, format_key, format_now);
    put(s, ",");
    put_meta(s, checksum_key, zeros);
    int64_t digits = s->n - 1 - DIGITS;
    for (int64_t i = 0; i < n_meta; i++) {
        put(s, ",");
        put_meta(s, meta[i].key, meta[i].value);
    }
    put(s, "}");
    for (int64_t i = 0; i < n; i++) {
        const wf_tensor *x = &tensors[i].tensor;
        bytes_of(x, &bytes); /* it fitted when the tensors were checked */
        put(s, ",");
        put_string(s, tensors[i].name);
        put(s, ":{\"dtype\":");
        put_string(s, dtype_names[x->dtype]);
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
    while (s->n % LENGTH_BYTES) put(s, " ");
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
        if (strcmp(tensors[i].name, metadata_key) == 0)
            return wf_error_set(error, "%s: no tensor can be named '%s'", what, metadata_key);
        if ((int)x->dtype < 0 || (int)x->dtype >= DTYPES)
            return wf_error_set(error, "%s: tensor '%s' has the unknown dtype %d", what, name,
                                (int)x->dtype);
        if (x->rank < 0 || x->rank > WF_RANK)
            return wf_error_set(error, "%s: tensor '%s' has the rank %d, outside 0 to %d", what,
                                name, (int)x->rank, WF_RANK);
        if (!bytes_of(x, &bytes) || !wf_size_add(total, bytes, &total))
            return wf_error_set(error,
                                "%s: the sizes of tensor '%s' are negative or do not fit 63 bits",
                                what, name);
        if (bytes > 0 && !x->data)
            return wf_error_set(error, "%s: tensor '%s' has no data", what, name);
    }
    int64_t *index = sorted(n, less_by_name, tensors, what, error);
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
        if (strcmp(meta[i].key, format_key) == 0 || strcmp(meta[i].key, checksum_key) == 0)
            return wf_error_set(error, "%s: the metadata '%s' is not the caller's to give", what,
                                meta[i].key);
    }
    int64_t *index = sorted(n, less_by_key, meta, what, error);
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

/* Hands over a tensor's bytes in row-major order. */
static bool stream(const wf_tensor *x, take_fn *take, void *context)
{
    int64_t bytes = 0, size = wf_dtype_size(x->dtype), used = 0;
    bytes_of(x, &bytes);
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
    char what[WF_WHAT];
    wf_what(what, "save ", path, "");
    if (n < 0 || n_meta < 0 || (n > 0 && !tensors) || (n_meta > 0 && !meta))
        return wf_error_set(error, "%s: %lld tensors and %lld metadata were promised and not given",
                            what, (long long)n, (long long)n_meta);
    if (!check_tensors(what, tensors, n, error) || !check_meta(what, meta, n_meta, error))
        return false;
    sink count = { 0 };
    put_header(&count, tensors, n, meta, n_meta);
    if (count.n > HEADER_MOST)
        return wf_error_set(
            error, "%s: names and metadata take %lld bytes, above the %d that the format allows",
            what, (long long)count.n, HEADER_MOST);
    char *text = wf_alloc((size_t)(LENGTH_BYTES + count.n));
    if (!text)
        return wf_error_set(error, "%s: not enough memory for a header of %lld bytes", what,
                            (long long)count.n);
    uint64_t length = (uint64_t)count.n;
    memcpy(text, &length, LENGTH_BYTES);
    sink header = { .text = text + LENGTH_BYTES };
    int64_t digits = put_header(&header, tensors, n, meta, n_meta);

    crc64 crc;
    crc_begin(&crc);
    stream_all(text, LENGTH_BYTES + count.n, tensors, n, crc_add, &crc);
    crc_end(&crc, header.text + digits);
    wf_writer w;
    bool ok = wf_writer_begin(&w, what, path, error) &&
              stream_all(text, LENGTH_BYTES + count.n, tensors, n, put_file, &w) &&
              wf_writer_end(&w);
    wf_release(text);
    return ok;
}

/* ---- reading ---- */

/* Makes room for one more item, never for more than can still come: a lying header cannot ask for
 * memory. */
static bool grow(const wf_json *j, void **items, int64_t used, int64_t *room, size_t size,
                 int64_t least)
{
    if (used < *room) return true;
    int64_t most = used + 1 + (j->n - j->at) / least, more = used < 8 ? 8 : 2 * used;
    if (more > most) more = most;
    void *bigger = wf_alloc((size_t)more * size);
    if (!bigger)
        return wf_error_set(j->error, "%s: not enough memory for %lld entries", j->what,
                            (long long)more);
    if (used) memcpy(bigger, *items, (size_t)used * size);
    wf_release(*items);
    *items = bigger;
    *room = more;
    return true;
}

static bool read_meta(wf_json *j, wf_archive *a)
{
    if (a->meta)
        return wf_error_set(j->error, "%s: the header has two '%s'", j->what, metadata_key);
    if (!wf_json_expect(j, '{')) return false;
    void *items = NULL;
    do {
        /* Room even for none, so that a second '__metadata__' is seen. */
        if (!grow(j, &items, a->meta_count, &a->meta_room, sizeof *a->meta, META_LEAST))
            return false;
        a->meta = items;
        if (a->meta_count == 0 && wf_json_is(j, '}')) break;
        char *key, *value;
        int64_t raw, raw_bytes;
        if (!wf_json_string(j, &key, NULL, NULL) || !wf_json_expect(j, ':') ||
            !wf_json_string(j, &value, &raw, &raw_bytes))
            return false;
        a->meta[a->meta_count++] = (wf_meta){ key, value };
        if (strcmp(key, checksum_key) == 0) a->digits = raw, a->digits_bytes = raw_bytes;
    } while (wf_json_is(j, ',') && wf_json_expect(j, ','));
    return wf_json_expect(j, '}');
}

/* [a, b, ...], at most `most` numbers; returns how many, -1 after an error. */
static int read_numbers(wf_json *j, const char *name, const char *field, int most, int64_t *number)
{
    int n = 0;
    if (!wf_json_expect(j, '[')) return -1;
    if (wf_json_is(j, ']')) return wf_json_expect(j, ']') ? 0 : -1;
    do {
        if (n == most) {
            wf_error_set(j->error, "%s: tensor '%s': '%s' has more than %d numbers", j->what, name,
                         field, most);
            return -1;
        }
        if (!wf_json_integer(j, &number[n++])) return -1;
    } while (wf_json_is(j, ',') && wf_json_expect(j, ','));
    return wf_json_expect(j, ']') ? n : -1;
}

typedef struct entry {
    char *dtype;
    int rank, ends;
    int64_t dim[WF_RANK], end[2];
} entry;

static bool read_field(wf_json *j, const char *name, entry *e, unsigned *seen)
{
    static const char *const fields[] = { "dtype", "shape", "data_offsets" };
    char text[WF_SHOWN], *field;
    if (!wf_json_string(j, &field, NULL, NULL) || !wf_json_expect(j, ':')) return false;
    int which = 0;
    while (which < 3 && strcmp(field, fields[which]) != 0) which++;
    if (which == 3)
        return wf_error_set(j->error, "%s: tensor '%s' has the unknown field '%s'", j->what, name,
                            shown(text, field));
    if (*seen & 1u << which)
        return wf_error_set(j->error, "%s: tensor '%s' has two fields '%s'", j->what, name, field);
    *seen |= 1u << which;
    if (which == 0) return wf_json_string(j, &e->dtype, NULL, NULL);
    if (which == 1) return (e->rank = read_numbers(j, name, "shape", WF_RANK, e->dim)) >= 0;
    return (e->ends = read_numbers(j, name, "data_offsets", 2, e->end)) >= 0;
}

/* One tensor, whose name has been read, as a view into the file's data. */
static bool read_tensor(wf_json *j, wf_archive *a, const char *full_name)
{
    char name[WF_SHOWN], text[WF_SHOWN];
    entry e = { 0 };
    unsigned seen = 0;
    shown(name, full_name);
    if (!wf_json_expect(j, '{')) return false;
    if (!wf_json_is(j, '}')) {
        do
            if (!read_field(j, name, &e, &seen)) return false;
        while (wf_json_is(j, ',') && wf_json_expect(j, ','));
    }
    if (!wf_json_expect(j, '}')) return false;
    if (seen != 7)
        return wf_error_set(j->error, "%s: tensor '%s' has no '%s'", j->what, name,
                            !(seen & 1)   ? "dtype"
                            : !(seen & 2) ? "shape"
                                          : "data_offsets");
    int dtype = 0;
    while (dtype < DTYPES && strcmp(e.dtype, dtype_names[dtype]) != 0) dtype++;
    if (dtype == DTYPES)
        return wf_error_set(j->error, "%s: tensor '%s' is %s; only F32, F64 and I32 can be read",
                            j->what, name, shown(text, e.dtype));
    if (e.ends != 2)
        return wf_error_set(j->error, "%s: tensor '%s': 'data_offsets' has %d numbers instead of 2",
                            j->what, name, e.ends);
    wf_shape shape = { .rank = e.rank };
    memcpy(shape.dim, e.dim, sizeof e.dim);
    wf_tensor form = { .dtype = (wf_dtype)dtype, .rank = e.rank };
    memcpy(form.dim, e.dim, sizeof e.dim);
    int64_t bytes = 0;
    if (!bytes_of(&form, &bytes))
        return wf_error_set(j->error, "%s: the sizes of tensor '%s' do not fit 63 bits", j->what,
                            name);
    if (e.end[0] > e.end[1])
        return wf_error_set(j->error, "%s: tensor '%s' ends at byte %lld, before it begins at %lld",
                            j->what, name, (long long)e.end[1], (long long)e.end[0]);
    if (e.end[1] - e.end[0] != bytes)
        return wf_error_set(j->error, "%s: tensor '%s' %s of %s takes %lld bytes, but has %lld",
                            j->what, name, wf_shape_text(text, sizeof text, e.rank, e.dim),
                            dtype_names[dtype], (long long)bytes, (long long)(e.end[1] - e.end[0]));
    if (e.end[1] > a->data_bytes)
        return wf_error_set(j->error,
                            "%s: tensor '%s' ends at byte %lld of the data, which has only %lld",
                            j->what, name, (long long)e.end[1], (long long)a->data_bytes);
    void *items = a->tensors;
    if (!grow(j, &items, a->count, &a->room, sizeof *a->tensors, TENSOR_LEAST)) return false;
    a->tensors = items;
    a->tensors[a->count++] = (wf_named){ full_name, wf_tensor_of((wf_dtype)dtype, shape,
                                                                 a->bytes + a->data + e.end[0]) };
    return true;
}

static bool read_header(wf_json *j, wf_archive *a)
{
    if (memchr(" \t\n\r", j->text[0], 4))
        return wf_error_set(j->error, "%s: header byte 0: expected '{', found white space",
                            j->what);
    if (!wf_json_expect(j, '{')) return false;
    if (!wf_json_is(j, '}')) {
        do {
            char *name;
            if (!wf_json_string(j, &name, NULL, NULL) || !wf_json_expect(j, ':')) return false;
            if (strcmp(name, metadata_key) == 0 ? !read_meta(j, a) : !read_tensor(j, a, name))
                return false;
        } while (wf_json_is(j, ',') && wf_json_expect(j, ','));
    }
    if (!wf_json_expect(j, '}')) return false;
    while (j->at < j->n && j->text[j->at] == ' ') j->at++;
    if (j->at < j->n)
        return wf_error_set(j->error, "%s: header byte %lld: more than spaces after its end",
                            j->what, (long long)j->at);
    return true;
}

/* No name twice; every byte of the data belongs to one tensor. */
static bool check_entries(wf_archive *a, const char *what, wf_error *error)
{
    char name[WF_SHOWN], other[WF_SHOWN];
    a->by_name = sorted(a->count, less_by_name, a->tensors, what, error);
    a->by_key = sorted(a->meta_count, less_by_key, a->meta, what, error);
    if ((a->count && !a->by_name) || (a->meta_count && !a->by_key)) return false;
    for (int64_t i = 1; i < a->count; i++) {
        const char *twin = a->tensors[a->by_name[i]].name;
        if (strcmp(a->tensors[a->by_name[i - 1]].name, twin) == 0)
            return wf_error_set(error, "%s: two tensors are named '%s'", what, shown(name, twin));
    }
    for (int64_t i = 1; i < a->meta_count; i++) {
        const char *twin = a->meta[a->by_key[i]].key;
        if (strcmp(a->meta[a->by_key[i - 1]].key, twin) == 0)
            return wf_error_set(error, "%s: the metadata '%s' is there twice", what,
                                shown(name, twin));
    }
    int64_t *order = sorted(a->count, less_by_place, a->tensors, what, error);
    if (a->count && !order) return false;
    int64_t end = 0;
    bool ok = true;
    for (int64_t i = 0; ok && i < a->count; i++) {
        const wf_named *x = &a->tensors[order[i]];
        int64_t begin = (char *)x->tensor.data - (a->bytes + a->data), bytes = 0;
        shown(name, x->name);
        bytes_of(&x->tensor, &bytes);
        if (begin > end)
            ok = wf_error_set(error, "%s: %lld bytes that belong to nothing lie before tensor '%s'",
                              what, (long long)(begin - end), name);
        if (begin < end)
            ok = wf_error_set(error, "%s: tensors '%s' and '%s' overlap", what,
                              shown(other, a->tensors[order[i - 1]].name), name);
        end = begin + bytes;
    }
    wf_release(order);
    if (ok && end < a->data_bytes)
        ok = wf_error_set(error, "%s: %lld bytes follow the last tensor", what,
                          (long long)(a->data_bytes - end));
    return ok;
}

/* Files of ours carry a version and a checksum, and neither goes without the other. */
static bool check_sum(const wf_archive *a, const char *what, wf_error *error)
{
    char text[WF_SHOWN], digits[DIGITS];
    const char *format = wf_archive_meta(a, format_key), *sum = wf_archive_meta(a, checksum_key);
    if (!format && !sum) return true; /* somebody else's */
    if (!format || !sum)
        return wf_error_set(error, "%s: it has a '%s' but no '%s'", what,
                            format ? format_key : checksum_key, format ? checksum_key : format_key);
    if (strcmp(format, format_now) != 0)
        return wf_error_set(error, "%s: it has the format '%s'; this library reads '%s'", what,
                            shown(text, format), format_now);
    int64_t at = LENGTH_BYTES + a->digits;
    if (a->digits_bytes != DIGITS)
        return wf_error_set(error, "%s: its checksum takes %lld bytes instead of %d", what,
                            (long long)a->digits_bytes, DIGITS);
    crc64 crc;
    crc_begin(&crc);
    crc_add(&crc, a->bytes, at);
    crc_add(&crc, zeros, DIGITS);
    crc_add(&crc, a->bytes + at + DIGITS, a->n - at - DIGITS);
    crc_end(&crc, digits);
    if (memcmp(digits, a->bytes + at, DIGITS) != 0)
        return wf_error_set(error, "%s: it is damaged: its checksum is '%s', its bytes give '%.*s'",
                            what, shown(text, sum), DIGITS, digits);
    return true;
}

/* Numbers that do not lie at a multiple of their size (the format allows it) are copied to where
 * they do. */
static bool align(wf_archive *a, const char *what, wf_error *error)
{
    int64_t total = 0, bytes = 0;
    for (int pass = 0; pass < 2; pass++) {
        int64_t at = 0;
        for (int64_t i = 0; i < a->count; i++) {
            wf_tensor *x = &a->tensors[i].tensor;
            if (((char *)x->data - a->bytes) % wf_dtype_size(x->dtype) == 0) continue;
            bytes_of(x, &bytes);
            if (pass == 1) {
                memcpy(a->aligned + at, x->data, (size_t)bytes);
                x->data = a->aligned + at;
            }
            at += (bytes + 7) & ~(int64_t)7; /* below the file's size + 8 each: it fits */
        }
        if (pass == 1 || at == 0) break;
        total = at;
        a->aligned = wf_alloc((size_t)total);
        if (!a->aligned)
            return wf_error_set(error, "%s: not enough memory for its %lld bytes", what,
                                (long long)total);
    }
    return true;
}

static bool parse(wf_archive *a, const char *what, wf_error *error)
{
    if (a->n < LENGTH_BYTES)
        return wf_error_set(error,
                            "%s: %lld bytes are too few: the length of the header alone takes %d",
                            what, (long long)a->n, LENGTH_BYTES);
    uint64_t length;
    memcpy(&length, a->bytes, LENGTH_BYTES);
    if (length > HEADER_MOST)
        return wf_error_set(error,
                            "%s: a header of %llu bytes, above the %d that the format allows", what,
                            (unsigned long long)length, HEADER_MOST);
    int64_t n = (int64_t)length, left = a->n - LENGTH_BYTES;
    if (n > left)
        return wf_error_set(error, "%s: a header of %lld bytes, but only %lld follow", what,
                            (long long)n, (long long)left);
    if (n == 0) return wf_error_set(error, "%s: the header is empty", what);
    int64_t good = wf_utf8_good(a->bytes + LENGTH_BYTES, n);
    if (good < n)
        return wf_error_set(error, "%s: header byte %lld: not UTF-8", what, (long long)good);
    a->header = wf_alloc((size_t)n);
    if (!a->header)
        return wf_error_set(error, "%s: not enough memory for a header of %lld bytes", what,
                            (long long)n);
    memcpy(a->header, a->bytes + LENGTH_BYTES, (size_t)n);
    a->data = LENGTH_BYTES + n;
    a->data_bytes = left - n;
    wf_json j = { .text = a->header, .n = n, .what = what, .error = error };
    return read_header(&j, a) && check_entries(a, what, error) && check_sum(a, what, error) &&
           align(a, what, error);
}

/* Takes over bytes (n of them, from wf_alloc), in failure too. */
static wf_archive *archive_of(const char *what, char *bytes, int64_t n, wf_error *error)
{
    wf_archive *a = wf_alloc_zero(sizeof *a);
    if (!a) {
        wf_release(bytes);
        wf_error_set(error, "%s: not enough memory for %lld bytes", what, (long long)sizeof *a);
        return NULL;
    }
    a->bytes = bytes;
    a->n = n;
    if (parse(a, what, error)) return a;
    wf_archive_free(a);
    return NULL;
}

wf_archive *wf_safetensors_load(const char *path, wf_error *error)
{
    char what[WF_WHAT];
    int64_t n;
    wf_what(what, "load ", path, "");
    char *bytes = wf_file_take(what, path, 0, &n, error);
    return bytes ? archive_of(what, bytes, n, error) : NULL;
}

wf_archive *wf_safetensors_parse(const char *name, const void *bytes, int64_t n, wf_error *error)
{
    char what[WF_WHAT];
    wf_what(what, "load ", name ? name : "(memory)", "");
    if (n < 0 || (n > 0 && !bytes)) {
        wf_error_set(error, "%s: no bytes were given", what);
        return NULL;
    }
    char *copy = wf_alloc(n ? (size_t)n : 1);
    if (!copy) {
        wf_error_set(error, "%s: not enough memory for its %lld bytes", what, (long long)n);
        return NULL;
    }
    if (n) memcpy(copy, bytes, (size_t)n);
    return archive_of(what, copy, n, error);
}
