/* Numbers of a file as a tensor wants them: every conversion is exact or rounds to the nearest, and
 * what the tensor's dtype cannot hold is refused with the number and its place. */
#include "tensor/par.h"
#include "tensor/safetensors_private.h"
#include "tensor/text.h"

#include <fenv.h>
#include <math.h>
#include <string.h>

enum { CHUNK = 512 }; /* numbers that are converted at a time */

/* Numbers between file and tensor: floats as doubles, which hold all of them; whole numbers as what
 * they are, U64 apart from the others. */
typedef union chunk {
    double d[CHUNK];
    int64_t i[CHUNK];
    uint64_t u[CHUNK];
} chunk;

static bool is_float(wf_stored s)
{
    if (wf_stored_is_dtype(s)) return wf_dtype_is_float((wf_dtype)s);
    return s == WF_STORED_F16 || s == WF_STORED_BF16;
}

/* IEEE 754 binary16: sign, 5 bits of exponent, 10 of fraction. */
static double from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 0) { /* below 2^-14: a multiple of 2^-24 */
        double value = (double)fraction * 0x1p-24;
        return sign ? -value : value;
    }
    uint32_t bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

/* The upper half of a float. */
static double from_bf16(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

/* n numbers from the file's bytes, which lie anywhere. */
static void load(wf_stored stored, const char *from, int64_t n, chunk *c)
{
#define EACH(type, slot, expression)                                                               \
    for (int64_t k = 0; k < n; k++) {                                                              \
        type x;                                                                                    \
        memcpy(&x, from + k * (int64_t)sizeof x, sizeof x);                                        \
        c->slot[k] = expression;                                                                   \
    }                                                                                              \
    break
    if (is_float(stored) && wf_stored_is_dtype(stored)) {
        const wf_dtype_info *dtype = wf_dtype_describe((wf_dtype)stored);
        double one;
        for (int64_t k = 0; k < n; k++) {
            memcpy(&one, from + k * dtype->size, (size_t)dtype->size);
            c->d[k] = dtype->load(&one, 0);
        }
        return;
    }
    switch ((int)stored) {
    case WF_STORED_F16: EACH(uint16_t, d, from_f16(x));
    case WF_STORED_BF16: EACH(uint16_t, d, from_bf16(x));
    case WF_STORED_U64: EACH(uint64_t, u, x);
    case WF_STORED_I64: EACH(int64_t, i, x);
    case WF_STORED_U32: EACH(uint32_t, i, x);
    case WF_I32: EACH(int32_t, i, x);
    case WF_STORED_U16: EACH(uint16_t, i, x);
    case WF_STORED_I16: EACH(int16_t, i, x);
    case WF_STORED_U8: EACH(uint8_t, i, x);
    case WF_STORED_I8: EACH(int8_t, i, x);
    case WF_STORED_BOOL: EACH(uint8_t, i, x != 0);
    default: break;
    }
#undef EACH
}

/* Of what is no dtype: bytes of a number, and the bits of the whole numbers that it holds exactly
 * (of a half those of a float, into which it fits). */
static const struct {
    int8_t bytes, digits;
} others[] = {
    [WF_STORED_F16] = { 2, 24 }, [WF_STORED_BF16] = { 2, 24 }, [WF_STORED_BOOL] = { 1, 1 },
    [WF_STORED_U8] = { 1, 8 },   [WF_STORED_I8] = { 1, 7 },    [WF_STORED_U16] = { 2, 16 },
    [WF_STORED_I16] = { 2, 15 }, [WF_STORED_U32] = { 4, 32 },  [WF_STORED_U64] = { 8, 64 },
    [WF_STORED_I64] = { 8, 63 },
};

static int64_t bytes_each(wf_stored s)
{
    return wf_stored_is_dtype(s) ? wf_dtype_size((wf_dtype)s) : others[s].bytes;
}

static int digits_of(wf_stored s)
{
    return wf_stored_is_dtype(s) ? wf_dtype_describe((wf_dtype)s)->digits : others[s].digits;
}

/* ---- what is lost ---- */

/* Could any number of this kind be more than the dtype holds? */
static bool may_lose(wf_stored from, wf_dtype to)
{
    const wf_dtype_info *dtype = wf_dtype_describe(to);
    return dtype->digits < digits_of(from) || (is_float(from) && !dtype->is_float);
}

/* What is wrong with number k for the dtype, into why: "0.5, which is not a whole number". */
static bool lost(wf_stored stored, const chunk *c, int64_t k, wf_dtype to, char why[80])
{
    const wf_dtype_info *dtype = wf_dtype_describe(to);
    if (is_float(stored)) {
        const double x = c->d[k];
        const bool whole = floor(x) == x;
        if (dtype->is_float ? !isfinite(x) || isfinite(wf_dtype_round(to, x))
                            : whole && x >= INT32_MIN && x <= INT32_MAX)
            return false;
        if (dtype->is_float || whole)
            wf_format(why, 80, "%.9g, which is beyond the range of %s", x, dtype->name);
        else
            wf_format(why, 80, "%.9g, which is not a whole number", x);
        return true;
    }
    bool huge = stored == WF_STORED_U64 && c->u[k] > INT64_MAX, holds;
    int64_t x = c->i[k];
    if (!dtype->is_float) {
        holds = !huge && x >= INT32_MIN && x <= INT32_MAX;
    } else { /* the digits between the highest and the lowest one that is set */
        uint64_t size = huge || x >= 0 ? c->u[k] : 0 - c->u[k];
        int digits = size ? 64 - __builtin_clzll(size) - __builtin_ctzll(size) : 0;
        holds = digits <= dtype->digits;
    }
    if (holds) return false;
    size_t n = huge ? wf_format(why, 80, "%llu", (unsigned long long)c->u[k])
                    : wf_format(why, 80, "%lld", (long long)x);
    wf_format(why + n, 80 - n,
              dtype->is_float ? ", which %s cannot hold exactly"
                              : ", which is beyond the range of %s",
              dtype->name);
    return true;
}

/* ---- all of an entry ---- */

static bool values_fit(const wf_record *x, const wf_tensor *to, char why[WF_WHAT])
{
    chunk c;
    char number[80], place[WF_SHOWN];
    int64_t n = wf_tensor_count(to), size = bytes_each(x->stored);
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t some = n - at < CHUNK ? n - at : CHUNK;
        load(x->stored, (const char *)x->entry.bytes + at * size, some, &c);
        for (int64_t k = 0; k < some; k++) {
            if (!lost(x->stored, &c, k, to->dtype, number)) continue;
            wf_format(why, WF_WHAT, "element %s is %s",
                      wf_index_text(place, sizeof place, to->rank, to->dim, at + k), number);
            return false;
        }
    }
    return true;
}

bool wf_record_fits(const wf_record *x, const wf_tensor *to, const char *where, char why[WF_WHAT])
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    char a[WF_SHOWN], b[WF_SHOWN];
    const wf_entry *e = &x->entry;
    if (x->stored >= WF_STORED_KNOWN) {
        wf_shown(a, sizeof a, e->dtype, (int64_t)strlen(e->dtype));
        wf_format(why, WF_WHAT,
                  "is %s; F16, BF16, F32, F64, BOOL and integers of 8 to 64 bits can be read", a);
        return false;
    }
    if (e->rank > WF_RANK) {
        wf_format(why, WF_WHAT, "has %d axes; at most %d can be read", (int)e->rank, WF_RANK);
        return false;
    }
    wf_shape from = { .rank = e->rank }, into = wf_tensor_shape(to);
    memcpy(from.dim, e->dim, sizeof from.dim);
    if (!wf_shape_equal(&from, &into)) {
        wf_format(why, WF_WHAT, "is %s in the file and %s in %s",
                  wf_shape_text(a, sizeof a, from.rank, from.dim),
                  wf_shape_text(b, sizeof b, into.rank, into.dim), where);
        return false;
    }
    if (!may_lose(x->stored, to->dtype)) return true;
    fenv_t theirs;
    fegetenv(&theirs);
    fesetenv(FE_DFL_ENV);
    bool fits = values_fit(x, to, why);
    fesetenv(&theirs);
    return fits;
}

/* Number k of the chunk to where it belongs. */
static void store(wf_stored stored, const chunk *c, int64_t k, wf_dtype dtype, char *to)
{
    const double x = is_float(stored)          ? c->d[k]
                     : stored == WF_STORED_U64 ? (double)c->u[k]
                                               : (double)c->i[k];
    wf_dtype_describe(dtype)->store(to, 0, x); /* exact: what is lost was refused */
}

static void copy_values(const wf_record *x, const wf_tensor *to)
{
    chunk c;
    bool same = (int)x->stored == (int)to->dtype, rows = wf_tensor_is_contiguous(to);
    int64_t index[WF_RANK] = { 0 }, n = wf_tensor_count(to), size = bytes_each(x->stored),
            each = wf_dtype_size(to->dtype);
    for (int64_t at = 0; at < n; at += CHUNK) {
        const char *from = (const char *)x->entry.bytes + at * size;
        int64_t some = n - at < CHUNK ? n - at : CHUNK;
        if (!same) load(x->stored, from, some, &c);
        for (int64_t k = 0; k < some; k++) {
            int64_t place = at + k;
            if (!rows) {
                place = 0;
                for (int d = 0; d < to->rank; d++) place += index[d] * to->stride[d];
                for (int d = to->rank - 1; d >= 0 && ++index[d] == to->dim[d]; d--) index[d] = 0;
            }
            char *into = (char *)to->data + place * each;
            if (same) /* bit for bit, whatever they mean */
                memcpy(into, from + k * size, (size_t)size);
            else
                store(x->stored, &c, k, to->dtype, into);
        }
    }
}

void wf_record_copy(const wf_record *x, const wf_tensor *to)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if ((int)x->stored == (int)to->dtype && wf_tensor_is_contiguous(to)) {
        if (x->entry.n_bytes) memcpy(to->data, x->entry.bytes, (size_t)x->entry.n_bytes);
        return;
    }
    fenv_t theirs;
    fegetenv(&theirs);
    fesetenv(FE_DFL_ENV);
    copy_values(x, to);
    fesetenv(&theirs);
}

static bool read_entry(const wf_archive *a, const char *name, const wf_tensor *to, bool copy,
                       wf_error *error)
{
    wf_error_clear(error);
    char shown[WF_SHOWN], why[WF_WHAT];
    wf_shown(shown, sizeof shown, name ? name : "", name ? (int64_t)strlen(name) : 0);
    const wf_record *x = wf_record_find(a, name);
    if (!a) return wf_error_set(error, "read '%s': there is no archive (NULL)", shown);
    if (!x) return wf_error_set(error, "read '%s': the file has no tensor of this name", shown);
    if (!to)
        return wf_error_set(error, "read '%s': there is no tensor to read it into (NULL)", shown);
    wf_shape shape = wf_tensor_shape(to);
    wf_error bad = { "" };
    if (wf_shape_check(&shape, to->dtype, &bad) < 0)
        return wf_error_set(error, "read '%s': %s", shown, bad.text);
    if (!wf_record_fits(x, to, "memory", why))
        return wf_error_set(error, "read '%s': %s%s", shown,
                            strncmp(why, "element", 7) ? "it " : "", why);
    if (!copy || wf_tensor_count(to) == 0) return true;
    if (!to->data)
        return wf_error_set(error, "read '%s': the tensor to read it into has no data", shown);
    if (wf_tensor_overlaps_itself(to))
        return wf_error_set(error, "read '%s': the tensor to read it into overlaps itself", shown);
    wf_record_copy(x, to);
    return true;
}

bool wf_archive_fits(const wf_archive *a, const char *name, const wf_tensor *to, wf_error *error)
{
    return read_entry(a, name, to, false, error);
}

bool wf_archive_read(const wf_archive *a, const char *name, const wf_tensor *to, wf_error *error)
{
    return read_entry(a, name, to, true, error);
}
