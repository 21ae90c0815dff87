/* A strict reader of the JSON that a safetensors header is made of, and the UTF-8 under it. It
 * knows no locale and does not recurse; whatever it does not expect is refused with its
 * position. */
#include "tensor/io_private.h"

#include <string.h>

/* ---- UTF-8 ---- */

int wf_utf8_take(const char *text, int64_t n, int32_t *letter)
{
    if (n < 1 || !text || !letter) return 0;
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) return *letter = p[0], 1;
    int bytes = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || n < bytes) return 0;
    static const int32_t lowest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    int32_t value = p[0] & (0x7F >> bytes);
    for (int i = 1; i < bytes; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (p[i] & 0x3F);
    }
    if (value < lowest[bytes] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return 0;
    *letter = value;
    return bytes;
}

int wf_utf8_give(int32_t letter, char out[4])
{
    if (letter < 0 || letter > 0x10FFFF || (letter >= 0xD800 && letter <= 0xDFFF)) return 0;
    int bytes = letter < 0x80 ? 1 : letter < 0x800 ? 2 : letter < 0x10000 ? 3 : 4;
    static const unsigned char first[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    for (int i = bytes - 1; i > 0; i--) {
        out[i] = (char)(unsigned char)(0x80 | (letter & 0x3F));
        letter >>= 6;
    }
    out[0] = (char)(unsigned char)(first[bytes] | letter);
    return bytes;
}

int64_t wf_utf8_good(const char *text, int64_t n)
{
    int64_t at = 0;
    int32_t letter;
    for (int bytes; at < n; at += bytes) {
        bytes = wf_utf8_take(text + at, n - at, &letter);
        if (!bytes) break;
    }
    return at;
}

/* ---- reading ---- */

/* What stands at the cursor, for a message. */
static const char *found(const wf_json *j, char text[8])
{
    if (j->at >= j->n) return "the end";
    unsigned char c = (unsigned char)j->text[j->at];
    static const char digit[] = "0123456789abcdef";
    if (c >= 0x20 && c < 0x7F)
        memcpy(text, (char[]){ '\'', (char)c, '\'', 0 }, 4);
    else
        memcpy(text, (char[]){ '0', 'x', digit[c >> 4], digit[c & 15], 0 }, 5);
    return text;
}

static void space(wf_json *j)
{
    while (j->at < j->n && memchr(" \t\n\r", j->text[j->at], 4)) j->at++;
}

bool wf_json_is(wf_json *j, char c)
{
    space(j);
    return j->at < j->n && j->text[j->at] == c;
}

bool wf_json_expect(wf_json *j, char c)
{
    if (wf_json_is(j, c)) return j->at++, true;
    char text[8];
    return wf_error_set(j->error, "%s: header byte %lld: expected '%c', found %s", j->what,
                        (long long)j->at, c, found(j, text));
}

bool wf_json_null(wf_json *j)
{
    if (!wf_json_is(j, 'n') || j->n - j->at < 4 || memcmp(j->text + j->at, "null", 4) != 0)
        return false;
    j->at += 4;
    return true;
}

bool wf_json_integer(wf_json *j, int64_t *number)
{
    space(j);
    int64_t begin = j->at, value = 0;
    for (; j->at < j->n && j->text[j->at] >= '0' && j->text[j->at] <= '9'; j->at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, j->text[j->at] - '0', &value))
            return wf_error_set(j->error, "%s: header byte %lld: a number above 2^63 - 1", j->what,
                                (long long)begin);
    char text[8];
    if (j->at == begin)
        return wf_error_set(j->error, "%s: header byte %lld: expected a whole number, found %s",
                            j->what, (long long)begin, found(j, text));
    if (j->text[begin] == '0' && j->at > begin + 1)
        return wf_error_set(j->error, "%s: header byte %lld: a number that begins with 0", j->what,
                            (long long)begin);
    if (j->at < j->n && memchr(".eE", j->text[j->at], 3))
        return wf_error_set(j->error, "%s: header byte %lld: a number that is not whole", j->what,
                            (long long)begin);
    *number = value;
    return true;
}

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const wf_json *j, int64_t at)
{
    if (j->n - at < 4) return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = j->text[at + i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The letter of the escape whose backslash is at the cursor, which moves past it; -1 if there is no
 * such escape. */
static int32_t escape(wf_json *j)
{
    static const char name[] = "\"\\/bfnrt", value[] = "\"\\/\b\f\n\r\t";
    int64_t at = j->at + 1;
    if (at >= j->n) return -1;
    const char *simple = j->text[at] ? strchr(name, j->text[at]) : NULL;
    if (simple) return j->at += 2, value[simple - name];
    if (j->text[at] != 'u') return -1;
    int32_t letter = hex4(j, at + 1);
    at += 5;
    if (letter >= 0xD800 && letter <= 0xDBFF) {
        int32_t low = j->n - at >= 6 && j->text[at] == '\\' && j->text[at + 1] == 'u'
                          ? hex4(j, at + 2)
                          : -1;
        if (low < 0xDC00 || low > 0xDFFF) return -1;
        letter = 0x10000 + ((letter - 0xD800) << 10) + (low - 0xDC00);
        at += 6;
    } else if (letter < 0 || (letter >= 0xDC00 && letter <= 0xDFFF)) {
        return -1;
    }
    j->at = at;
    return letter;
}

bool wf_json_string(wf_json *j, char **string, int64_t *raw, int64_t *raw_bytes)
{
    char text[8];
    if (!wf_json_is(j, '"'))
        return wf_error_set(j->error, "%s: header byte %lld: expected a string, found %s", j->what,
                            (long long)j->at, found(j, text));
    int64_t begin = ++j->at, to = begin; /* decoding never makes a string longer */
    while (j->at < j->n && j->text[j->at] != '"') {
        unsigned char c = (unsigned char)j->text[j->at];
        int64_t here = j->at;
        int32_t letter = c;
        if (c < 0x20)
            return wf_error_set(j->error, "%s: header byte %lld: %s in a string", j->what,
                                (long long)here, found(j, text));
        if (c != '\\') {
            j->text[to++] = j->text[j->at++];
            continue;
        }
        letter = escape(j);
        if (letter < 0)
            return wf_error_set(j->error, "%s: header byte %lld: a broken escape", j->what,
                                (long long)here);
        if (letter == 0)
            return wf_error_set(j->error, "%s: header byte %lld: U+0000 in a string", j->what,
                                (long long)here);
        to += wf_utf8_give(letter, j->text + to);
    }
    if (j->at >= j->n)
        return wf_error_set(j->error, "%s: header byte %lld: a string without an end", j->what,
                            (long long)begin - 1);
    if (raw) *raw = begin;
    if (raw_bytes) *raw_bytes = j->at - begin;
    *string = j->text + begin;
    j->at++;
    j->text[to] = 0; /* at most the closing quote, which has been read */
    return true;
}

/* ---- writing ---- */

int64_t wf_json_quote(const char *text, char *out)
{
    static const char digit[] = "0123456789abcdef";
    char one[6];
    int64_t n = 0;
    if (out) out[n] = '"';
    n++;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        int bytes = 1;
        one[0] = *text;
        if (c == '"' || c == '\\') {
            one[0] = '\\', one[1] = *text, bytes = 2;
        } else if (c < 0x20) {
            memcpy(one, "\\u00", 4);
            one[4] = digit[c >> 4], one[5] = digit[c & 15], bytes = 6;
        }
        if (out) memcpy(out + n, one, (size_t)bytes);
        n += bytes;
    }
    if (out) out[n] = '"';
    return n + 1;
}
