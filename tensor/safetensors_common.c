/* What reading and writing safetensors files share: the kinds of numbers, the checksum, and names
 * in order. */
#include "tensor/safetensors_private.h"

#include "tensor/size.h"

#include <pthread.h>
#include <string.h>

/* ---- kinds ---- */

static const struct {
    const char *name;
    int bits;
    wf_stored stored;
} kinds[] = {
    { "F32", 32, (wf_stored)WF_F32 }, /* dtypes in their order */
    { "F64", 64, (wf_stored)WF_F64 },
    { "I32", 32, (wf_stored)WF_I32 },
    { "F16", 16, WF_STORED_F16 },
    { "BF16", 16, WF_STORED_BF16 },
    { "BOOL", 8, WF_STORED_BOOL },
    { "U8", 8, WF_STORED_U8 },
    { "I8", 8, WF_STORED_I8 },
    { "U16", 16, WF_STORED_U16 },
    { "I16", 16, WF_STORED_I16 },
    { "U32", 32, WF_STORED_U32 },
    { "U64", 64, WF_STORED_U64 },
    { "I64", 64, WF_STORED_I64 },
    { "F8_E4M3", 8, WF_STORED_KNOWN },
    { "F8_E5M2", 8, WF_STORED_KNOWN },
    { "F8_E8M0", 8, WF_STORED_KNOWN },
    { "F8_E4M3FNUZ", 8, WF_STORED_KNOWN },
    { "F8_E5M2FNUZ", 8, WF_STORED_KNOWN },
    { "F6_E2M3", 6, WF_STORED_KNOWN },
    { "F6_E3M2", 6, WF_STORED_KNOWN },
    { "F4", 4, WF_STORED_KNOWN },
    { "C64", 64, WF_STORED_KNOWN },
};

wf_stored wf_stored_named(const char *name, int *bits)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(name, kinds[i].name) == 0) return *bits = kinds[i].bits, kinds[i].stored;
    *bits = 0;
    return WF_STORED_UNKNOWN;
}

bool wf_stored_is_integer(wf_stored stored)
{
    return (int)stored == WF_I32 || (stored >= WF_STORED_BOOL && stored < WF_STORED_KNOWN);
}

const char *wf_stored_name(wf_dtype dtype)
{
    return kinds[dtype].name;
}

/* ---- CRC-64/XZ, eight bytes at a time ---- */

static uint64_t table[8][256];

static void make_table(void)
{
    for (uint64_t i = 0; i < 256; i++) {
        uint64_t v = i;
        for (int bit = 0; bit < 8; bit++) v = v >> 1 ^ (v & 1 ? 0xC96C5795D7870F42u : 0);
        table[0][i] = v;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
}

uint64_t wf_crc64_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_table);
    return ~(uint64_t)0;
}

uint64_t wf_crc64_add(uint64_t v, const void *bytes, int64_t n)
{
    const unsigned char *p = bytes;
    uint64_t word;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&word, p, 8);
        v ^= word;
        v = table[7][v & 255] ^ table[6][v >> 8 & 255] ^ table[5][v >> 16 & 255] ^
            table[4][v >> 24 & 255] ^ table[3][v >> 32 & 255] ^ table[2][v >> 40 & 255] ^
            table[1][v >> 48 & 255] ^ table[0][v >> 56];
    }
    for (; n > 0; n--) v = v >> 8 ^ table[0][(v ^ *p++) & 255];
    return v;
}

void wf_crc64_end(uint64_t crc, char digits[WF_DIGITS])
{
    for (int i = 0; i < WF_DIGITS; i++) digits[i] = "0123456789abcdef"[~crc >> (60 - 4 * i) & 15];
}

/* ---- names in order ---- */

/* Heapsort of n indices: nobody's input makes it slow, and it asks for no memory. */
static void sort(int64_t *index, int64_t n, wf_less_fn *less, const void *context)
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

int64_t *wf_sorted(int64_t n, wf_less_fn *less, const void *context, const char *what,
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

bool wf_less_by_key(const void *context, int64_t a, int64_t b)
{
    const wf_meta *x = context;
    return strcmp(x[a].key, x[b].key) < 0;
}

bool wf_stored_bytes(const wf_tensor *x, int64_t *bytes)
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
