/* Fuzzing of the safetensors reader: whatever bytes come, they are refused with a sentence or mean
 * the same after being written and read again. A libFuzzer target; with WEFT_FUZZ_LOOP it brings a
 * loop of its own, which test_safetensors.c runs. */
#include "tensor/io.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* Memory and one file that live in this process: a save costs no disk, and every large request is
 * counted. */
static struct {
    char *bytes;
    size_t n, room;
} fuzz_file;
static size_t fuzz_largest;

static void *fuzz_alloc(void *user, size_t bytes)
{
    (void)user;
    if (bytes > fuzz_largest) fuzz_largest = bytes;
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}

static void fuzz_release(void *user, void *memory)
{
    (void)user;
    free(memory);
}

static int fuzz_open(void *user, const char *path, int flags, int mode)
{
    (void)user, (void)path, (void)flags, (void)mode;
    return 1000;
}

static long fuzz_read(void *user, int file, void *data, size_t bytes)
{
    (void)user, (void)file, (void)data, (void)bytes;
    errno = EIO;
    return -1;
}

static long fuzz_write(void *user, int file, const void *data, size_t bytes)
{
    (void)user, (void)file;
    if (fuzz_file.n + bytes > fuzz_file.room) {
        size_t room = 2 * (fuzz_file.n + bytes);
        char *bigger = realloc(fuzz_file.bytes, room);
        if (!bigger) return errno = ENOSPC, -1;
        fuzz_file.bytes = bigger;
        fuzz_file.room = room;
    }
    memcpy(fuzz_file.bytes + fuzz_file.n, data, bytes);
    fuzz_file.n += bytes;
    return (long)bytes;
}

static int64_t fuzz_size(void *user, int file)
{
    (void)user, (void)file;
    return (int64_t)fuzz_file.n;
}

static int fuzz_file_only(void *user, int file)
{
    (void)user, (void)file;
    return 0;
}

static int fuzz_rename(void *user, const char *from, const char *to)
{
    (void)user, (void)from, (void)to;
    return 0;
}

static int fuzz_unlink(void *user, const char *path)
{
    (void)user, (void)path;
    return 0;
}

static void fuzz_prepare(void)
{
    static const wf_files files = { .open = fuzz_open,
                                    .read = fuzz_read,
                                    .write = fuzz_write,
                                    .size = fuzz_size,
                                    .sync = fuzz_file_only,
                                    .close = fuzz_file_only,
                                    .rename = fuzz_rename,
                                    .unlink = fuzz_unlink };
    static bool ready;
    if (!ready &&
        !wf_runtime_set(
            &(wf_runtime){ .alloc = fuzz_alloc, .release = fuzz_release, .files = &files }, NULL))
        abort();
    ready = true;
}

static void must(bool held)
{
    if (!held) abort();
}

static int64_t bytes_in(const wf_tensor *x)
{
    return wf_tensor_count(x) * wf_dtype_size(x->dtype);
}

/* Reads one entry into every dtype: it is refused with a sentence and nothing is written, or what
 * was written can be written back. */
static void fuzz_convert(const wf_archive *a, const wf_entry *e)
{
    wf_shape shape = { .rank = e->rank <= WF_RANK ? e->rank : 0 };
    memcpy(shape.dim, e->dim, sizeof shape.dim);
    int64_t n = wf_shape_count(&shape);
    if (n > 8 * e->n_bytes) n = 0; /* of a dtype that nobody knows: it is refused */
    for (int dtype = WF_F32; dtype <= WF_I32; dtype++) {
        wf_error error = { "" };
        int64_t bytes = n * wf_dtype_size((wf_dtype)dtype);
        char *memory = malloc((size_t)bytes + 1);
        must(memory);
        memset(memory, 0x5A, (size_t)bytes + 1);
        const wf_tensor to = wf_tensor_of((wf_dtype)dtype, shape, memory);
        bool fits = wf_archive_fits(a, e->name, &to, &error);
        must(fits == !error.text[0] && (fits || strncmp(error.text, "read '", 6) == 0));
        must(wf_archive_read(a, e->name, &to, NULL) == fits && memory[bytes] == 0x5A);
        for (int64_t i = 0; !fits && i < bytes; i++) must(memory[i] == 0x5A);
        const wf_tensor *same = wf_archive_find(a, e->name);
        if (fits && same && (int)same->dtype == dtype && bytes)
            must(memcmp(memory, same->data, (size_t)bytes) == 0);
        free(memory);
    }
}

/* Parses; what is accepted is saved, parsed again and compared. Returns whether it was accepted. */
static bool fuzz_round(const void *bytes, size_t n)
{
    wf_error error = { "" }, other = { "" };
    fuzz_largest = 0;
    wf_archive *a = wf_safetensors_parse("x", bytes, (int64_t)n, &error);
    must(fuzz_largest <= 4 * n + 65536);
    must(a ? !error.text[0] : strncmp(error.text, "load x: ", 8) == 0);
    if (!a) return false;

    must(wf_archive_count(a) <= wf_archive_entry_count(a));
    for (int64_t i = 0; i < wf_archive_entry_count(a); i++) {
        const wf_entry *e = wf_archive_entry_at(a, i);
        must(wf_archive_entry(a, e->name) == e);
        fuzz_convert(a, e);
    }
    int64_t count = wf_archive_count(a);
    wf_named *all = malloc(sizeof *all * (size_t)(count + 1));
    must(all);
    for (int64_t i = 0; i < count; i++) all[i] = *wf_archive_at(a, i);
    const char *format = wf_archive_meta(a, "format");
    fuzz_file.n = 0;
    must(wf_safetensors_save("no-such-folder-of-weft/x", all, count, &(wf_meta){ "format", format },
                             format ? 1 : 0, &other));
    wf_archive *b = wf_safetensors_parse("y", fuzz_file.bytes, (int64_t)fuzz_file.n, &other);
    must(b && wf_archive_count(b) == count);
    for (int64_t i = 0; i < count; i++) {
        const wf_tensor *x = &all[i].tensor, *y = wf_archive_find(b, all[i].name);
        wf_shape p = wf_tensor_shape(x);
        must(y && x->dtype == y->dtype);
        wf_shape q = wf_tensor_shape(y);
        must(wf_shape_equal(&p, &q) && strcmp(wf_archive_at(b, i)->name, all[i].name) == 0);
        must(bytes_in(x) == 0 || memcmp(x->data, y->data, (size_t)bytes_in(x)) == 0);
    }
    const char *again = wf_archive_meta(b, "format");
    must(format ? again && strcmp(format, again) == 0 : !again);
    wf_archive_free(b);
    wf_archive_free(a);
    free(all);
    return true;
}

/* The text before the first line end becomes the header, with the length it has; what follows, the
 * data. Returns whether that was accepted. */
static bool fuzz_as_header(const char *text, size_t n)
{
    const char *end = n ? memchr(text, '\n', n) : NULL;
    size_t header = end ? (size_t)(end - text) : n, data = n - header - (end ? 1 : 0);
    char *whole = malloc(8 + header + data);
    must(whole);
    memcpy(whole, &(uint64_t){ header }, 8);
    if (header) memcpy(whole + 8, text, header);
    if (data) memcpy(whole + 8 + header, end + 1, data);
    bool accepted = fuzz_round(whole, 8 + header + data);
    free(whole);
    return accepted;
}

/* Twice, because hardly anything that a fuzzer makes up begins with the length of its header. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    fuzz_prepare();
    fuzz_round(bytes, n);
    fuzz_as_header((const char *)bytes, n);
    return 0;
}

#ifdef WEFT_FUZZ_LOOP

/* Changes text of n bytes in one place that the counter chooses; returns the new n, at least 1. */
static size_t fuzz_change(char *text, size_t n, size_t room, uint64_t counter)
{
    static const char *const pieces[] = {
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "0",
        "-1",
        "9223372036854775807",
        "\"F64\"",
        "\"F16\"",
        "\"BF16\"",
        "\"I64\"",
        "\"U64\"",
        "\"BOOL\"",
        "\"I8\"",
        "\"F4\"",
        "\"new\"",
        "null",
        "1,1,1,",
        "\\u0041",
        "\\ud83e\\uddf5",
        "\"__metadata__\":{",
        "[0,4]",
        "\"shape\":",
        " ",
        "\n",
        "\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
    };
    size_t at = (size_t)wf_random_below(1, counter, (int64_t)n),
           gone = (size_t)wf_random_below(2, counter, 4);
    const char *piece =
        pieces[wf_random_below(3, counter, (int64_t)(sizeof pieces / sizeof *pieces))];
    size_t more = strlen(piece);
    if (gone > n - at) gone = n - at;
    switch (wf_random_below(4, counter, 3)) {
    case 0: text[at] = (char)wf_random_below(5, counter, 256); return n;
    case 1: memmove(text + at, text + at + gone, n - at - gone); return n > gone ? n - gone : 1;
    default:
        if (n + more > room) return n;
        memmove(text + at + more, text + at, n - at);
        memcpy(text + at, piece, more);
        return n + more;
    }
}

/* A loop for those without libFuzzer: changes good files in up to three places; returns how many
 * were still accepted. */
static int fuzz_mutate(int times)
{
#define AT(dtype, shape, ends)                                                                     \
    "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" ends "]}"
#define F32_AT(shape, ends) AT("F32", shape, ends)
    static const char *const seeds[] = {
        "{\"w\":" F32_AT("2", "0,8") "}\n01234567",
        "{\"__metadata__\":{\"format\":\"pt\",\"b\":\"\"},\"w\":" F32_AT("2", "0,8") "}\n01234567",
        "{\"a\":" F32_AT("1", "0,4") ",\"b\":" F32_AT("", "4,8") "}\n01234567",
        "{\"a\":" F32_AT("1", "4,8") ",\"b\":" F32_AT("1", "0,4") "}\n01234567",
        "{\"w\":" F32_AT("1,2,1", "0,8") "}\n01234567",
        "{\"w\":" AT("F16", "4", "0,8") "}\n01234567",
        "{\"w\":" AT("BF16", "2,2", "0,8") "}\n01234567",
        "{\"w\":" AT("I64", "", "0,8") "}\n\1\2\3\4\0\0\0\0",
        "{\"w\":" AT("U64", "1", "0,8") "}\n01234567",
        "{\"w\":" AT("BOOL", "8", "0,8") "}\n01234567",
        "{\"w\":" AT("F4", "16", "0,8") "}\n01234567",
        "{\"a\":" AT("new", "3", "0,5") ",\"b\":" AT("I8", "3", "5,8") "}\n01234567",
        "{\"__metadata__\":null,\"w\":" AT("F64", "1,1,1,1,1,1,1,1,1", "0,8") "}\n01234567",
    };
    int accepted = 0;
    fuzz_prepare();
    for (uint64_t k = 0; k < (uint64_t)times; k++) {
        char text[1024];
        const char *seed = seeds[k % (sizeof seeds / sizeof *seeds)];
        size_t n = strlen(seed);
        memcpy(text, seed, n);
        for (int64_t c = wf_random_below(6, k, 4); c > 0; c--)
            n = fuzz_change(text, n, sizeof text, k * 4 + (uint64_t)c);
        fuzz_round(text, n);
        accepted += fuzz_as_header(text, n);
    }
    return accepted;
}

#endif
