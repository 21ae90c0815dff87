/* Reading the safetensors format: what a file says is believed only after every size, offset and
 * byte of structure has been compared with the bytes that are really there, and memory for its
 * numbers is asked for last. */
#define _GNU_SOURCE
#include "tensor/safetensors_private.h"

#include "tensor/size.h"

#include <string.h>

enum {
    LENGTH = WF_LENGTH_BYTES,
    FIRST = 512, /* bytes that are looked at before the header is believed to be one */
    TENSOR_LEAST = 47,
    META_LEAST = 6 /* bytes that one entry takes in a header at least */
};

static const char *shown(char text[WF_SHOWN], const char *name)
{
    return wf_shown(text, WF_SHOWN, name, (int64_t)strlen(name));
}

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
    void *items = NULL;
    if (a->has_meta)
        return wf_error_set(j->error, "%s: the header has two '%s'", j->what, WF_META_NAME);
    a->has_meta = true;
    if (wf_json_null(j)) return true; /* some write it where they have none */
    if (!wf_json_expect(j, '{')) return false;
    if (wf_json_is(j, '}')) return wf_json_expect(j, '}');
    do {
        char *key, *value;
        int64_t raw, raw_bytes;
        if (!grow(j, &items, a->n_meta, &a->meta_room, sizeof *a->meta, META_LEAST)) return false;
        a->meta = items;
        if (!wf_json_string(j, &key, NULL, NULL) || !wf_json_expect(j, ':') ||
            !wf_json_string(j, &value, &raw, &raw_bytes))
            return false;
        a->meta[a->n_meta++] = (wf_meta){ key, value };
        if (strcmp(key, WF_META_CHECKSUM) == 0) a->digits = raw, a->digits_bytes = raw_bytes;
    } while (wf_json_is(j, ',') && wf_json_expect(j, ','));
    return wf_json_expect(j, '}');
}

/* [a, b, ...], of which the first `most` are kept; returns how many there are, -1 after an
 * error. */
static int read_numbers(wf_json *j, int most, int64_t *number)
{
    int n = 0;
    int64_t rest;
    if (!wf_json_expect(j, '[')) return -1;
    if (wf_json_is(j, ']')) return wf_json_expect(j, ']') ? 0 : -1;
    do
        if (!wf_json_integer(j, n < most ? &number[n] : &rest)) return -1;
    while (n++, wf_json_is(j, ',') && wf_json_expect(j, ','));
    return wf_json_expect(j, ']') ? n : -1;
}

/* The sizes, of which any number may come: their product, a size of 0 counted as 1 because strides
 * are products too; -1 if it does not fit 63 bits. */
typedef struct sizes {
    int rank;
    bool empty;
    int64_t dim[WF_RANK], product;
} sizes;

static bool read_sizes(wf_json *j, sizes *s)
{
    *s = (sizes){ .product = 1 };
    if (!wf_json_expect(j, '[')) return false;
    if (wf_json_is(j, ']')) return wf_json_expect(j, ']');
    do {
        int64_t size;
        if (!wf_json_integer(j, &size)) return false;
        if (s->rank < WF_RANK) s->dim[s->rank] = size;
        s->rank++;
        s->empty |= size == 0;
        if (!wf_size_mul(s->product, size ? size : 1, &s->product)) s->product = -1;
    } while (wf_json_is(j, ',') && wf_json_expect(j, ','));
    return wf_json_expect(j, ']');
}

typedef struct fields {
    char *dtype;
    sizes shape;
    int ends;
    int64_t end[2];
} fields;

static bool read_field(wf_json *j, const char *name, fields *f, unsigned *seen)
{
    static const char *const names[] = { "dtype", "shape", "data_offsets" };
    char text[WF_SHOWN], *field;
    if (!wf_json_string(j, &field, NULL, NULL) || !wf_json_expect(j, ':')) return false;
    int which = 0;
    while (which < 3 && strcmp(field, names[which]) != 0) which++;
    if (which == 3)
        return wf_error_set(j->error, "%s: tensor '%s' has the unknown field '%s'", j->what, name,
                            shown(text, field));
    if (*seen & 1u << which)
        return wf_error_set(j->error, "%s: tensor '%s' has two fields '%s'", j->what, name, field);
    *seen |= 1u << which;
    if (which == 0) return wf_json_string(j, &f->dtype, NULL, NULL);
    if (which == 1) return read_sizes(j, &f->shape);
    return (f->ends = read_numbers(j, 2, f->end)) >= 0;
}

/* Do offsets, sizes and the bytes of the data agree? Of a dtype that nobody here has heard of (bits
 * 0) the offsets alone tell the size. */
static bool check_place(const wf_json *j, const wf_archive *a, const char *name, const fields *f,
                        int bits)
{
    char text[WF_SHOWN];
    int64_t all = 0, unit = bits >= 8 ? bits / 8 : 1, each = bits && bits < 8 ? bits : 1;
    if (f->ends != 2)
        return wf_error_set(j->error, "%s: tensor '%s': 'data_offsets' has %d numbers instead of 2",
                            j->what, name, f->ends);
    if (f->shape.product < 0 || !wf_size_mul(f->shape.product, unit * each, &all))
        return wf_error_set(j->error, "%s: the sizes of tensor '%s' do not fit 63 bits", j->what,
                            name);
    if (f->end[0] > f->end[1])
        return wf_error_set(j->error, "%s: tensor '%s' ends at byte %lld, before it begins at %lld",
                            j->what, name, (long long)f->end[1], (long long)f->end[0]);
    int64_t bytes = f->end[1] - f->end[0],
            odd = each > 1 ? all % 8 : 0; /* of less than a byte each */
    if (each > 1) all /= 8;
    if (f->shape.empty) all = odd = 0;
    if (bits && (bytes != all || odd))
        return wf_error_set(
            j->error, "%s: tensor '%s' %s%s of %s takes %lld bytes%s, but has %lld", j->what, name,
            wf_shape_text(text, sizeof text, f->shape.rank < WF_RANK ? f->shape.rank : WF_RANK,
                          f->shape.dim),
            f->shape.rank > WF_RANK ? " with more axes" : "", f->dtype, (long long)all,
            odd ? " and a part of one" : "", (long long)bytes);
    if (f->end[1] > a->body_bytes)
        return wf_error_set(j->error,
                            "%s: tensor '%s' ends at byte %lld of the data, which has only %lld",
                            j->what, name, (long long)f->end[1], (long long)a->body_bytes);
    return true;
}

/* One tensor, whose name has been read. Its bytes are still a place in the data that is to come. */
static bool read_tensor(wf_json *j, wf_archive *a, const char *full_name)
{
    char name[WF_SHOWN];
    fields f = { 0 };
    unsigned seen = 0;
    int bits;
    shown(name, full_name);
    if (!wf_json_expect(j, '{')) return false;
    if (!wf_json_is(j, '}')) {
        do
            if (!read_field(j, name, &f, &seen)) return false;
        while (wf_json_is(j, ',') && wf_json_expect(j, ','));
    }
    if (!wf_json_expect(j, '}')) return false;
    if (seen != 7)
        return wf_error_set(j->error, "%s: tensor '%s' has no '%s'", j->what, name,
                            !(seen & 1)   ? "dtype"
                            : !(seen & 2) ? "shape"
                                          : "data_offsets");
    wf_stored stored = wf_stored_named(f.dtype, &bits);
    if (!check_place(j, a, name, &f, bits)) return false;
    void *items = a->items;
    if (!grow(j, &items, a->n_items, &a->items_room, sizeof *a->items, TENSOR_LEAST)) return false;
    a->items = items;
    wf_record *x = &a->items[a->n_items++];
    *x = (wf_record){ .entry = { .name = full_name,
                                 .dtype = f.dtype,
                                 .rank = f.shape.rank,
                                 .n_bytes = f.end[1] - f.end[0] },
                      .place = f.end[0],
                      .stored = stored,
                      .tensor = -1 };
    memcpy(x->entry.dim, f.shape.dim, sizeof f.shape.dim);
    if (wf_stored_is_dtype(stored) && f.shape.rank <= WF_RANK) x->tensor = a->n_tensors++;
    return true;
}

static bool read_header(wf_json *j, wf_archive *a)
{
    if (!wf_json_expect(j, '{')) return false;
    if (!wf_json_is(j, '}')) {
        do {
            char *name;
            if (!wf_json_string(j, &name, NULL, NULL) || !wf_json_expect(j, ':')) return false;
            if (strcmp(name, WF_META_NAME) == 0 ? !read_meta(j, a) : !read_tensor(j, a, name))
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

static bool less_by_name(const void *context, int64_t a, int64_t b)
{
    const wf_record *x = context;
    return strcmp(x[a].entry.name, x[b].entry.name) < 0;
}

/* In the order of the data; of two that begin together, the empty one first, then the one named
 * first. */
static bool less_by_place(const void *context, int64_t a, int64_t b)
{
    const wf_record *x = context;
    int64_t p = x[a].place, q = x[b].place;
    bool p_empty = x[a].entry.n_bytes == 0, q_empty = x[b].entry.n_bytes == 0;
    return p != q ? p < q : p_empty != q_empty ? p_empty : a < b;
}

/* No name twice. */
static bool check_names(wf_archive *a, const char *what, wf_error *error)
{
    char name[WF_SHOWN];
    a->by_name = wf_sorted(a->n_items, less_by_name, a->items, what, error);
    a->by_key = wf_sorted(a->n_meta, wf_less_by_key, a->meta, what, error);
    if ((a->n_items && !a->by_name) || (a->n_meta && !a->by_key)) return false;
    for (int64_t i = 1; i < a->n_items; i++) {
        const char *twin = a->items[a->by_name[i]].entry.name;
        if (strcmp(a->items[a->by_name[i - 1]].entry.name, twin) == 0)
            return wf_error_set(error, "%s: two tensors are named '%s'", what, shown(name, twin));
    }
    for (int64_t i = 1; i < a->n_meta; i++) {
        const char *twin = a->meta[a->by_key[i]].key;
        if (strcmp(a->meta[a->by_key[i - 1]].key, twin) == 0)
            return wf_error_set(error, "%s: the metadata '%s' is there twice", what,
                                shown(name, twin));
    }
    return true;
}

/* Every byte of the data belongs to one tensor. */
static bool check_places(const wf_archive *a, const char *what, wf_error *error)
{
    char name[WF_SHOWN], other[WF_SHOWN];
    int64_t *order = wf_sorted(a->n_items, less_by_place, a->items, what, error);
    if (a->n_items && !order) return false;
    int64_t end = 0;
    bool ok = true;
    for (int64_t i = 0; ok && i < a->n_items; i++) {
        const wf_record *x = &a->items[order[i]];
        shown(name, x->entry.name);
        if (x->place > end)
            ok = wf_error_set(error, "%s: %lld bytes that belong to nothing lie before tensor '%s'",
                              what, (long long)(x->place - end), name);
        if (x->place < end)
            ok = wf_error_set(error, "%s: tensors '%s' and '%s' overlap", what,
                              shown(other, a->items[order[i - 1]].entry.name), name);
        end = x->place + x->entry.n_bytes;
    }
    wf_release(order);
    if (ok && end < a->body_bytes)
        ok = wf_error_set(error, "%s: %lld bytes follow the last tensor", what,
                          (long long)(a->body_bytes - end));
    return ok;
}

/* Files of ours carry a version and a checksum, and neither goes without the other. True, with *sum
 * NULL: somebody else's. */
static bool read_sum(const wf_archive *a, const char **sum, const char *what, wf_error *error)
{
    char text[WF_SHOWN];
    const char *format = wf_archive_meta(a, WF_META_FORMAT);
    *sum = wf_archive_meta(a, WF_META_CHECKSUM);
    if (!format && !*sum) return true;
    if (!format || !*sum)
        return wf_error_set(error, "%s: it has a '%s' but no '%s'", what,
                            format ? WF_META_FORMAT : WF_META_CHECKSUM,
                            format ? WF_META_CHECKSUM : WF_META_FORMAT);
    if (strcmp(format, WF_FORMAT_NOW) != 0)
        return wf_error_set(error, "%s: it has the format '%s'; this library reads '%s'", what,
                            shown(text, format), WF_FORMAT_NOW);
    if (a->digits_bytes != WF_DIGITS)
        return wf_error_set(error, "%s: its checksum takes %lld bytes instead of %d", what,
                            (long long)a->digits_bytes, WF_DIGITS);
    return true;
}

/* The checksum of the header's bytes as they are in the file, its own digits as zeros. */
static uint64_t header_sum(const wf_archive *a, const char *raw, int64_t n)
{
    int64_t after = a->digits + WF_DIGITS;
    uint64_t crc = wf_crc64_begin();
    crc = wf_crc64_add(crc, &(uint64_t){ (uint64_t)n }, LENGTH);
    crc = wf_crc64_add(crc, raw, a->digits);
    crc = wf_crc64_add(crc, WF_ZEROS, WF_DIGITS);
    return wf_crc64_add(crc, raw + after, n - after);
}

/* ---- the data ---- */

/* Makes tensors of those entries whose numbers a tensor can hold as they are. Numbers that do not
 * lie at a multiple of their size (the format allows it) are copied to where they do. */
static bool make_tensors(wf_archive *a, const char *what, wf_error *error)
{
    int64_t odd = 0, at = 0;
    a->tensors = wf_alloc((size_t)a->n_tensors * sizeof *a->tensors);
    if (!a->tensors && a->n_tensors)
        return wf_error_set(error, "%s: not enough memory for %lld tensors", what,
                            (long long)a->n_tensors);
    for (int64_t i = 0; i < a->n_items; i++) {
        wf_record *x = &a->items[i];
        x->entry.bytes = a->body + x->place;
        if (x->tensor < 0) continue;
        wf_shape shape = { .rank = x->entry.rank };
        memcpy(shape.dim, x->entry.dim, sizeof shape.dim);
        wf_dtype dtype = (wf_dtype)x->stored;
        a->tensors[x->tensor] = (wf_named){ x->entry.name,
                                            wf_tensor_of(dtype, shape, a->body + x->place) };
        /* Below the file's size + 8 each: it fits. */
        if (x->place % wf_dtype_size(dtype)) odd += (x->entry.n_bytes + 7) & ~(int64_t)7;
    }
    if (odd == 0) return true;
    a->aligned = wf_alloc((size_t)odd);
    if (!a->aligned)
        return wf_error_set(error, "%s: not enough memory for its %lld bytes", what,
                            (long long)odd);
    for (int64_t i = 0; i < a->n_items; i++) {
        const wf_record *x = &a->items[i];
        if (x->tensor < 0 || x->place % wf_dtype_size((wf_dtype)x->stored) == 0) continue;
        memcpy(a->aligned + at, x->entry.bytes, (size_t)x->entry.n_bytes);
        a->tensors[x->tensor].tensor.data = a->aligned + at;
        at += (x->entry.n_bytes + 7) & ~(int64_t)7;
    }
    return true;
}

static bool read_body(wf_archive *a, wf_reader *r)
{
    a->body = wf_alloc(a->body_bytes ? (size_t)a->body_bytes : 1);
    if (!a->body)
        return wf_error_set(r->error, "%s: not enough memory for its %lld bytes", r->what,
                            (long long)a->body_bytes);
    return wf_reader_take(r, a->body, a->body_bytes);
}

/* ---- what else a file may be ---- */

static bool begins(const char *first, int64_t n, const char *with, int64_t bytes)
{
    return n >= bytes && memcmp(first, with, (size_t)bytes) == 0;
}

/* Letters, digits and white space only, as far as it can be seen? */
static bool is_text(const char *first, int64_t n)
{
    int64_t good = wf_utf8_good(first, n);
    for (int64_t i = 0; i < good; i++) {
        unsigned char c = (unsigned char)first[i];
        if (c == 0x7F || (c < 0x20 && !strchr("\t\n\r\f", c)) || c == 0) return false;
    }
    return good > 0 && n - good < 4; /* the last letter may be cut */
}

/* What the first n bytes look like, with a hint where there is a usual cause; NULL: who knows. */
static const char *looks_like(const char *first, int64_t n)
{
    static const struct {
        const char *with, *kind;
        int bytes;
    } kinds[] = {
        { "GGUF", "GGUF", 4 },
        { "\x89HDF\r\n\x1a\n", "HDF5 (Keras and others write it)", 8 },
        { "\x93NUMPY", "an array of NumPy (.npy)", 6 },
        { "\x1f\x8b", "something compressed by gzip", 2 },
        { "\x28\xb5\x2f\xfd", "something compressed by zstd", 4 },
        { "%PDF", "a PDF document", 4 },
        { "\x89PNG", "an image (PNG)", 4 },
        { "\x7f"
          "ELF",
          "a program", 4 },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (begins(first, n, kinds[i].with, kinds[i].bytes)) return kinds[i].kind;
    /* A zip's first entry has its name at byte 30. */
    if (begins(first, n, "PK\3\4", 4)) {
        if (memmem(first, (size_t)n, ".npy", 4)) return "a zip of NumPy arrays (.npz)";
        if (memmem(first, (size_t)n, "/data.pkl", 9) || memmem(first, (size_t)n, "/version", 8))
            return "a zip as PyTorch writes it (.pt, .pth, .bin)"
                   "\n  hint: safetensors.torch.save_file(model.state_dict(), path) writes one";
        return "a zip";
    }
    if (begins(first, n, "\x80", 1) && n > 1 && first[1] >= 2 && first[1] <= 5)
        return "a pickle of Python (old PyTorch files are ones)"
               "\n  hint: safetensors.torch.save_file(model.state_dict(), path) writes one";
    if (begins(first, n, "version https://git-lfs", 23))
        return "a pointer of Git LFS\n  hint: git lfs pull fetches the file that it stands for";
    if (!is_text(first, n)) return NULL;
    return first[0] == '<' ? "a web page" : first[0] == '{' ? "JSON" : "text";
}

/* ---- the whole ---- */

/* The length of the header, judged by the first bytes alone. */
static bool read_length(wf_reader *r, int64_t *header)
{
    char first[FIRST];
    uint64_t length;
    int64_t left = r->n - LENGTH, more = left < FIRST - LENGTH ? left : FIRST - LENGTH;
    if (left < 0)
        return wf_error_set(r->error,
                            "%s: %lld bytes are too few: the length of the header alone takes %d",
                            r->what, (long long)r->n, LENGTH);
    if (!wf_reader_take(r, first, LENGTH)) return false;
    memcpy(&length, first, LENGTH);
    if (length > WF_HEADER_MOST || length > (uint64_t)left) {
        if (!wf_reader_take(r, first + LENGTH, more)) return false;
        const char *kind = looks_like(first, LENGTH + more);
        if (kind)
            return wf_error_set(r->error, "%s: this is no safetensors file; it looks like %s",
                                r->what, kind);
    }
    if (length > WF_HEADER_MOST)
        return wf_error_set(r->error,
                            "%s: this is no safetensors file: its header would take %llu bytes, "
                            "and the format allows %d",
                            r->what, (unsigned long long)length, WF_HEADER_MOST);
    *header = (int64_t)length;
    if (*header > left)
        return wf_error_set(r->error, "%s: a header of %lld bytes, but only %lld follow", r->what,
                            (long long)*header, (long long)left);
    return *header > 0 || wf_error_set(r->error, "%s: the header is empty", r->what);
}

/* The header's n bytes into raw, if the first one is that of an object: only then is memory for the
 * others worth asking for. */
static char *read_raw(wf_reader *r, int64_t n)
{
    char first[1], *raw;
    if (!wf_reader_take(r, first, 1)) return NULL;
    if (first[0] != '{') {
        wf_json j = { .text = first, .n = 1, .what = r->what, .error = r->error };
        if (memchr(" \t\n\r", first[0], 4))
            wf_error_set(r->error, "%s: header byte 0: expected '{', found white space", r->what);
        else
            wf_json_expect(&j, '{');
        return NULL;
    }
    raw = wf_alloc((size_t)n);
    if (!raw) {
        wf_error_set(r->error, "%s: not enough memory for a header of %lld bytes", r->what,
                     (long long)n);
        return NULL;
    }
    raw[0] = first[0];
    if (n > 1 && !wf_reader_take(r, raw + 1, n - 1)) {
        wf_release(raw);
        return NULL;
    }
    return raw;
}

/* Believes a header, or says why not. */
static bool parse(wf_archive *a, const wf_reader *r, const char *raw, int64_t n)
{
    int64_t good = wf_utf8_good(raw, n);
    if (good < n)
        return wf_error_set(r->error, "%s: header byte %lld: not UTF-8", r->what, (long long)good);
    a->header = wf_alloc((size_t)n);
    if (!a->header)
        return wf_error_set(r->error, "%s: not enough memory for a header of %lld bytes", r->what,
                            (long long)n);
    memcpy(a->header, raw, (size_t)n);
    wf_json j = { .text = a->header, .n = n, .what = r->what, .error = r->error };
    return read_header(&j, a) && check_names(a, r->what, r->error) &&
           check_places(a, r->what, r->error);
}

static bool read_archive(wf_archive *a, wf_reader *r)
{
    int64_t n = 0;
    const char *sum = NULL;
    char text[WF_SHOWN], digits[WF_DIGITS];
    char *raw = read_length(r, &n) ? read_raw(r, n) : NULL;
    a->body_bytes = r->n - r->at;
    bool ok = raw && parse(a, r, raw, n) && read_sum(a, &sum, r->what, r->error);
    uint64_t crc = ok && sum ? header_sum(a, raw, n) : 0;
    wf_release(raw);
    if (!ok || !read_body(a, r)) return false;
    wf_crc64_end(wf_crc64_add(crc, a->body, a->body_bytes), digits);
    if (sum && memcmp(digits, sum, WF_DIGITS) != 0)
        return wf_error_set(r->error,
                            "%s: it is damaged: its checksum is '%s', its bytes give '%.*s'",
                            r->what, shown(text, sum), WF_DIGITS, digits);
    return make_tensors(a, r->what, r->error);
}

static wf_archive *archive_of(wf_reader *r)
{
    wf_archive *a = wf_alloc_zero(sizeof *a);
    if (!a)
        wf_error_set(r->error, "%s: not enough memory for %lld bytes", r->what,
                     (long long)sizeof *a);
    else if (!read_archive(a, r)) {
        wf_archive_free(a);
        a = NULL;
    }
    wf_reader_end(r);
    return a;
}

wf_archive *wf_safetensors_load(const char *path, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    wf_reader r;
    wf_what(what, "load ", path, "");
    return wf_reader_begin(&r, what, path, error) ? archive_of(&r) : NULL;
}

wf_archive *wf_safetensors_parse(const char *name, const void *bytes, int64_t n, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    wf_reader r;
    wf_what(what, "load ", name ? name : "(memory)", "");
    if (n < 0 || (n > 0 && !bytes)) {
        wf_error_set(error, "%s: no bytes were given", what);
        return NULL;
    }
    wf_reader_begin_memory(&r, what, n ? bytes : "", n, error);
    return archive_of(&r);
}
