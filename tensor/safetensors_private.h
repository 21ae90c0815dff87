/* What reading, writing and converting safetensors files share. Not installed. */
#ifndef WEFT_TENSOR_SAFETENSORS_PRIVATE_H
#define WEFT_TENSOR_SAFETENSORS_PRIVATE_H

#include "tensor/io_private.h"

enum {
    WF_HEADER_MOST = 100000000, /* bytes of header that the format allows */
    WF_LENGTH_BYTES = 8,        /* the header's length, before it */
    WF_DIGITS = 16              /* of a checksum */
};

#define WF_META_NAME "__metadata__"
#define WF_META_FORMAT "weft.format"
#define WF_META_CHECKSUM "weft.checksum"
#define WF_FORMAT_NOW "1"
#define WF_ZEROS "0000000000000000" /* what stands for the digits in a checksum */

/* The kinds of numbers that files have: those of tensors, and then others. */
typedef enum wf_stored {
    WF_STORED_F16 = WF_DTYPES,
    WF_STORED_BF16,
    WF_STORED_BOOL,
    WF_STORED_U8,
    WF_STORED_I8,
    WF_STORED_U16,
    WF_STORED_I16,
    WF_STORED_U32,
    WF_STORED_U64,
    WF_STORED_I64,
    WF_STORED_KNOWN, /* from here on only the size is known, and nothing is read */
    WF_STORED_UNKNOWN = 99
} wf_stored;

/* By the name in a file, "BF16"; its bits per number, 0 for unknown ones. */
wf_stored wf_stored_named(const char *name, int *bits);
/* Is it a dtype of tensors? */
static inline bool wf_stored_is_dtype(wf_stored stored)
{
    return (int)stored < WF_DTYPES;
}
bool wf_stored_is_integer(wf_stored stored);
/* The name of a tensor's dtype in a file. */
const char *wf_stored_name(wf_dtype dtype);

/* ---- an archive from inside ---- */

typedef struct wf_record {
    wf_entry entry;
    int64_t place; /* of its bytes in the data */
    wf_stored stored;
    int64_t tensor; /* index among the tensors, or -1 */
} wf_record;

struct wf_archive {
    char *header, *body, *aligned; /* decoded; the data; copies of what lay at odd places in it */
    int64_t body_bytes;
    wf_record *items;
    wf_named *tensors;
    wf_meta *meta;
    int64_t n_items, items_room, n_tensors, n_meta, meta_room;
    int64_t *by_name, *by_key; /* the order of items and of meta */
    bool has_meta;
    int64_t digits, digits_bytes; /* where the checksum's value lies in the header */
};

/* Why the entry cannot be read into a tensor of this dtype and shape: a sentence without its
 * beginning, in why; `where` names the tensor's place ("memory"). True: it can. */
bool wf_record_fits(const wf_record *item, const wf_tensor *to, const char *where,
                    char why[WF_WHAT]);
/* Reads what fits. */
void wf_record_copy(const wf_record *item, const wf_tensor *to);
/* By name, or NULL. */
const wf_record *wf_record_find(const wf_archive *archive, const char *name);

/* ---- CRC-64/XZ (ECMA-182, reflected) ---- */

uint64_t wf_crc64_begin(void);
uint64_t wf_crc64_add(uint64_t crc, const void *bytes, int64_t n);
void wf_crc64_end(uint64_t crc, char digits[WF_DIGITS]);

/* ---- names in order ---- */

typedef bool wf_less_fn(const void *context, int64_t a, int64_t b);

/* Indices of n things in order, from wf_alloc, or NULL: out of memory (and described), or n is 0.
 * Nobody's input makes it slow. */
int64_t *wf_sorted(int64_t n, wf_less_fn *less, const void *context, const char *what,
                   wf_error *error);
bool wf_less_by_key(const void *meta, int64_t a, int64_t b);

/* The bytes of a tensor, if sizes, strides and bytes all fit an int64_t: also those of an empty
 * one. */
bool wf_stored_bytes(const wf_tensor *x, int64_t *bytes);

#endif
