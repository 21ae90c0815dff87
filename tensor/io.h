/* Tensors in files: safetensors, written whole or not at all and read with every byte
 * distrusted. */
#ifndef WEFT_TENSOR_IO_H
#define WEFT_TENSOR_IO_H

#include "tensor/tensor.h"

WF_BEGIN

/* One tensor under its name; one line of metadata. Strings are UTF-8, terminated. */
typedef struct wf_named { const char *name; wf_tensor tensor; } wf_named;
typedef struct wf_meta { const char *key, *value; } wf_meta;

/* Writes a safetensors file: temporary in the same folder, fsync, rename, fsync of the folder. On
 * failure no temporary is left and the file that was there is untouched, except that a folder which
 * cannot be synced is noticed only when the new file is already in place, whole; the sentence says
 * so. What a save that was killed left in the folder (".weft-....tmp", locked by nobody) is removed
 * first. A symbolic link stays one: the file it leads to is replaced. The mode of the old file is
 * kept. Adds to the metadata "weft.format" (a version) and "weft.checksum": CRC-64/XZ of the whole
 * file, its own 16 digits counted as '0'. Tensors may be strided; they are written row-major,
 * little-endian, in the order given. Names and keys must differ; every string is UTF-8. */
WF_API bool wf_safetensors_save(const char *path, const wf_named *tensors, int64_t n,
                                const wf_meta *meta, int64_t n_meta, wf_error *error);

/* A growing set of tensors and metadata that becomes one file: a model, its optimiser, a carry and
 * a place in the data each add their part. The first thing that goes wrong is kept, everything
 * after it does nothing (as on a tape), and saving says it; so only `save` need be looked at. Yours
 * to free; NULL when there is no memory, and then every function takes it quietly. */
typedef struct wf_bundle wf_bundle;
WF_API wf_bundle *wf_bundle_new(void);
WF_API void wf_bundle_free(wf_bundle *bundle);
/* Names are copied. A tensor's numbers are read only when the bundle is saved: they must live and
 * keep still until then; `copyf` copies them at once. A name twice is a mistake. False, as of what
 * follows, once anything has gone wrong. */
WF_API bool wf_bundle_add(wf_bundle *bundle, const char *name, const wf_tensor *tensor);
WF_API bool wf_bundle_addf(wf_bundle *bundle, const wf_tensor *tensor, const char *format, ...)
    WF_PRINTF(3, 4);
WF_API bool wf_bundle_copyf(wf_bundle *bundle, const wf_tensor *tensor, const char *format, ...)
    WF_PRINTF(3, 4);
/* One line of metadata, the same in every locale ("%.17g" keeps every double); both are copied. A
 * key twice is a mistake. */
WF_API bool wf_bundle_meta(wf_bundle *bundle, const char *key, const char *format, ...)
    WF_PRINTF(3, 4);
/* For those who add their part: fails the bundle with one sentence, if it is the first. Returns
 * false. */
WF_API bool wf_bundle_fail(wf_bundle *bundle, const char *format, ...) WF_PRINTF(2, 3);
/* Has everything been added? The first reason otherwise. NULL is not ok. */
WF_API bool wf_bundle_ok(const wf_bundle *bundle, wf_error *error);
/* As wf_safetensors_save; the bundle stays as it is and may grow further. */
WF_API bool wf_bundle_save(const wf_bundle *bundle, const char *path, wf_error *error);

/* A file read and verified: header, offsets without holes or overlaps, sizes against the bytes
 * really there, checksum (a "weft.format" and a "weft.checksum" need each other; a file with
 * neither is somebody else's and fine). Views into the archive stay valid until it is freed. The
 * header is judged before memory for the numbers is asked for, and no request for memory is larger
 * than four times the file, whatever it claims. Yours to free; NULL and the reason otherwise. */
typedef struct wf_archive wf_archive;
WF_API wf_archive *wf_safetensors_load(const char *path, wf_error *error);
/* The same for bytes in memory (copied). `name` stands for the path in messages. */
WF_API wf_archive *wf_safetensors_parse(const char *name, const void *bytes, int64_t n,
                                        wf_error *error);
WF_API void wf_archive_free(wf_archive *archive);

/* Those that are tensors as they are: F32, F64 and I32 of up to WF_RANK axes, in the order of the
 * header; NULL out of range, or where there is no such name (or one of another kind: see
 * wf_archive_read). Looking a name up takes O(log n). */
WF_API int64_t wf_archive_count(const wf_archive *archive);
WF_API const wf_named *wf_archive_at(const wf_archive *archive, int64_t index);
WF_API const wf_tensor *wf_archive_find(const wf_archive *archive, const char *name);
/* The same for a name that is put together: wf_archive_findf(a, "%s%s.%s", prefix, path, "m"). */
WF_API const wf_tensor *wf_archive_findf(const wf_archive *archive, const char *format, ...)
    WF_PRINTF(2, 3);

/* Everything in the file, of whatever kind: dtype as the file says ("BF16"), any number of axes (of
 * which dim holds the first WF_RANK), and the bytes, which may lie at odd addresses. NULL out of
 * range, or where there is no such name. */
typedef struct wf_entry {
    const char *name, *dtype;
    int32_t rank;
    int64_t dim[WF_RANK];
    const void *bytes;
    int64_t n_bytes;
} wf_entry;
WF_API int64_t wf_archive_entry_count(const wf_archive *archive);
WF_API const wf_entry *wf_archive_entry_at(const wf_archive *archive, int64_t index);
WF_API const wf_entry *wf_archive_entry(const wf_archive *archive, const char *name);

/* Reads one entry into a tensor of the same shape (any strides) and of the caller's dtype. F16,
 * BF16, F32 and F64 become f32 or f64, rounded to the nearest; BOOL (any byte but 0 is 1) and
 * integers of 8 to 64 bits become i32, f32 or f64; floats become i32 if they are whole. A number
 * that the dtype cannot hold (1e300 in f32, 2^31 or 0.5 in i32, an integer of more digits than a
 * float has) is an error that names it, and then nothing was written. `fits` says the same without
 * reading. */
WF_API bool wf_archive_read(const wf_archive *archive, const char *name, const wf_tensor *to,
                            wf_error *error);
WF_API bool wf_archive_fits(const wf_archive *archive, const char *name, const wf_tensor *to,
                            wf_error *error);

/* Metadata; NULL where there is no such key. As a number, the same in every locale; false, with
 * *value untouched, if there is none or the whole of its text is not a number that fits. */
WF_API const char *wf_archive_meta(const wf_archive *archive, const char *key);
WF_API bool wf_archive_meta_integer(const wf_archive *archive, const char *key, int64_t *value);
WF_API bool wf_archive_meta_number(const wf_archive *archive, const char *key, double *value);

/* A whole file into memory from wf_alloc, yours to wf_release (a zero byte follows the last one),
 * or NULL and the reason. Folders, and files above `most` bytes (0: no limit), are refused. */
WF_API char *wf_file_read(const char *path, int64_t most, int64_t *bytes, wf_error *error);
/* A whole file written the careful way that wf_safetensors_save uses. */
WF_API bool wf_file_write(const char *path, const void *bytes, int64_t n, wf_error *error);
/* Bytes behind what a file holds, which is made if it is not there: a line of a log. What fails may
 * have written some of them. */
WF_API bool wf_file_append(const char *path, const void *bytes, int64_t n, wf_error *error);
/* Could a file be written there now? Tries, with a temporary beside it that is removed again; what
 * is there stays as it is. */
WF_API bool wf_file_can_write(const char *path, wf_error *error);
/* Do two paths lead to one file, links followed? Not where one is NULL, or leads nowhere yet under
 * another name. */
WF_API bool wf_file_same(const char *a, const char *b);

WF_END

#endif
