/* The one place where numbers become text and text numbers: the C library's printf and strtod, one
 * number at a time, in the C locale of this thread alone and rounding to nearest. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tensor/text.h"

#include <errno.h>
#include <fenv.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "tensor/io_private.h"
#include "tensor/par.h"

/* ---- the thread's state while it reads or writes a number ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t plain; /* the C locale; 0 if there was no memory for it */

static void make_plain(void)
{
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

typedef struct settings {
    locale_t locale;
    uint32_t fp;
    int rounding; /* printf and strtod look at the register that fesetround sets first (x87's) */
    int number;   /* errno: a formatter does not change it */
} settings;

static settings begin(void)
{
    pthread_once(&once, make_plain);
    settings was = { .number = errno };
    was.locale = uselocale(plain); /* 0 only asks */
    was.fp = wf_fp_enter_exact();
    was.rounding = fegetround();
    if (was.rounding != FE_TONEAREST) fesetround(FE_TONEAREST);
    return was;
}

static void end(const settings *was)
{
    if (was->rounding != FE_TONEAREST) fesetround(was->rounding);
    wf_fp_leave(was->fp);
    uselocale(was->locale);
    errno = was->number;
}

/* ---- cutting ---- */

/* The length to which a cut text must shrink so that its last code point is whole. */
static size_t whole_code_points(const char *text, size_t length)
{
    size_t back = 0; /* continuation bytes at the end */
    while (back < 3 && back < length && ((unsigned char)text[length - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back == length) return length;
    unsigned char lead = (unsigned char)text[length - 1 - back];
    size_t follow = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    return follow > back ? length - 1 - back : length;
}

/* ---- writing ---- */

/* Where text goes: as much as fits, and how long the whole is. */
typedef struct sink {
    char *text;
    size_t bytes, length;
} sink;

/* One directive of a format. A width or precision of '*' is filled in. */
typedef struct directive {
    char flags[8];
    int width, precision; /* 0; -1: not given */
    char size;            /* h, l, j, z, t, L, or H for hh and q for ll; 0: none */
    char kind;            /* the letter that ends it */
} directive;

/* va_list may be an array, which no function can be given to change. */
typedef struct arguments {
    va_list list;
} arguments;

static void put(sink *s, const char *bytes, size_t n)
{
    if (s->length < s->bytes) {
        size_t room = s->bytes - s->length;
        memcpy(s->text + s->length, bytes, n < room ? n : room);
    }
    s->length += n;
}

/* Behind the end of what there is room for they only count. */
static void put_spaces(sink *s, size_t n)
{
    for (; n > 0 && s->length < s->bytes; n--) put(s, " ", 1);
    s->length += n;
}

/* Reads a width or precision, which may be an argument. Returns what follows. */
static const char *read_size(const char *at, int *size, arguments *a)
{
    if (*at == '*') {
        *size = va_arg(a->list, int);
        return at + 1;
    }
    int n = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        n = n < 100000000 ? 10 * n + (*at - '0') : n; /* no text is so wide */
    *size = n;
    return at;
}

/* Reads the directive behind a '%'. Returns what follows, or NULL if it is none that put_value
 * knows. */
static const char *read_directive(const char *at, directive *d, arguments *a)
{
    size_t flags = 0;
    *d = (directive){ .precision = -1 };
    for (; *at && strchr("-+ #0'", *at); at++)
        if (!strchr(d->flags, *at)) d->flags[flags++] = *at;
    at = read_size(at, &d->width, a);
    if (d->width < 0) {
        d->width = d->width > -INT32_MAX ? -d->width : INT32_MAX;
        if (!strchr(d->flags, '-')) d->flags[flags] = '-';
    }
    if (*at == '.') at = read_size(at + 1, &d->precision, a);
    if (*at && strchr("hljztL", *at)) {
        d->size = *at++;
        if (d->size == 'h' && *at == 'h') d->size = 'H', at++;
        if (d->size == 'l' && *at == 'l') d->size = 'q', at++;
    }
    if (!*at || !strchr("diuoxXcspeEfFgGaA%", *at)) return NULL;
    d->kind = *at;
    return at + 1;
}

static intmax_t take_signed(const directive *d, arguments *a)
{
    switch (d->size) {
    case 'l': return va_arg(a->list, long);
    case 'q': return va_arg(a->list, long long);
    case 'j': return va_arg(a->list, intmax_t);
    case 'z':
    case 't': return va_arg(a->list, ptrdiff_t);
    case 'H': return (signed char)va_arg(a->list, int);
    case 'h': return (short)va_arg(a->list, int);
    default: return va_arg(a->list, int);
    }
}

static uintmax_t take_unsigned(const directive *d, arguments *a)
{
    switch (d->size) {
    case 'l': return va_arg(a->list, unsigned long);
    case 'q': return va_arg(a->list, unsigned long long);
    case 'j': return va_arg(a->list, uintmax_t);
    case 'z':
    case 't': return va_arg(a->list, size_t);
    case 'H': return (unsigned char)va_arg(a->list, unsigned);
    case 'h': return (unsigned short)va_arg(a->list, unsigned);
    default: return va_arg(a->list, unsigned);
    }
}

/* A number or a pointer, by the C library. */
static void put_number(sink *s, const directive *d, arguments *a)
{
    bool whole = strchr("diuoxX", d->kind) != NULL, wide = d->size == 'L' && !whole;
    char form[24];
    snprintf(form, sizeof form, "%%%s*%s%s%c", d->flags, d->kind == 'p' ? "" : ".*",
             whole  ? "j"
             : wide ? "L"
                    : "",
             d->kind);
    char *to = s->length < s->bytes ? s->text + s->length : NULL;
    size_t room = to ? s->bytes - s->length : 0;
    int n;
    if (d->kind == 'p')
        n = snprintf(to, room, form, d->width, va_arg(a->list, void *));
    else if (d->kind == 'd' || d->kind == 'i')
        n = snprintf(to, room, form, d->width, d->precision, take_signed(d, a));
    else if (whole)
        n = snprintf(to, room, form, d->width, d->precision, take_unsigned(d, a));
    else if (wide)
        n = snprintf(to, room, form, d->width, d->precision, va_arg(a->list, long double));
    else
        n = snprintf(to, room, form, d->width, d->precision, va_arg(a->list, double));
    if (n > 0) s->length += (size_t)n;
}

/* The letter as UTF-8, '?' if it is none. */
static size_t letter_bytes(uint32_t letter, char utf8[4])
{
    int n = letter <= INT32_MAX ? wf_utf8_give((int32_t)letter, utf8) : 0;
    if (n == 0) utf8[n++] = '?';
    return (size_t)n;
}

/* A %ls, of which `most` bytes may be written: only counts when s is NULL. */
static size_t put_wide(sink *s, const wchar_t *letters, size_t most)
{
    size_t length = 0;
    char utf8[4];
    for (; letters && *letters; letters++) {
        size_t n = letter_bytes((uint32_t)*letters, utf8);
        if (n > most - length) break;
        if (s) put(s, utf8, n);
        length += n;
    }
    return length;
}

static void put_text(sink *s, const directive *d, arguments *a)
{
    const wchar_t *letters = NULL;
    const char *text = NULL;
    char one[4];
    size_t most = d->precision < 0 ? SIZE_MAX : (size_t)d->precision, n;
    if (d->kind == 'c') {
        int letter = va_arg(a->list, int);
        one[0] = (char)letter;
        n = d->size == 'l' ? letter_bytes((uint32_t)letter, one) : 1;
        text = one;
    } else if (d->size == 'l' && (letters = va_arg(a->list, const wchar_t *)) != NULL) {
        n = put_wide(NULL, letters, most);
    } else {
        if (d->size != 'l') text = va_arg(a->list, const char *);
        if (!text) text = "(null)";
        n = strnlen(text, most);
        if (n == most) n = whole_code_points(text, n);
    }
    size_t fill = (size_t)d->width > n ? (size_t)d->width - n : 0;
    bool left = strchr(d->flags, '-') != NULL;
    if (!left) put_spaces(s, fill);
    if (letters)
        put_wide(s, letters, most);
    else
        put(s, text, n);
    if (left) put_spaces(s, fill);
}

/* Writes what the format says; false at a directive that is not known here. */
static bool put_all(sink *s, const char *format, arguments *a)
{
    while (*format) {
        const char *next = strchr(format, '%');
        size_t n = next ? (size_t)(next - format) : strlen(format);
        put(s, format, n);
        if (!next) return true;
        directive d;
        format = read_directive(next + 1, &d, a);
        if (!format) return false;
        if (d.kind == '%')
            put(s, "%", 1);
        else if (d.kind == 's' || d.kind == 'c')
            put_text(s, &d, a);
        else
            put_number(s, &d, a);
    }
    return true;
}

size_t wf_vformat(char *text, size_t bytes, const char *format, va_list list)
{
    if (!text) bytes = 0;
    if (bytes > 0) text[0] = 0;
    if (!format) return 0;
    sink s = { .text = text, .bytes = bytes };
    arguments a;
    va_copy(a.list, list);
    settings was = begin();
    if (!put_all(&s, format, &a)) { /* %1$s, %m and the like */
        int n = vsnprintf(text, bytes, format, list);
        s.length = n < 0 ? 0 : (size_t)n;
    }
    end(&was);
    va_end(a.list);
    if (bytes > 0) text[s.length < bytes ? s.length : whole_code_points(text, bytes - 1)] = 0;
    return s.length;
}

size_t wf_format(char *text, size_t bytes, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    size_t length = wf_vformat(text, bytes, format, list);
    va_end(list);
    return length;
}

size_t wf_append(char *text, size_t bytes, const char *format, ...)
{
    size_t used = text ? strnlen(text, bytes) : 0;
    va_list list;
    va_start(list, format);
    size_t length = wf_vformat(text ? text + used : NULL, bytes - used, format, list);
    va_end(list);
    return used + length;
}

/* ---- reading ---- */

bool wf_parse_number(const char *text, double *number)
{
    if (!text || !number || !*text || *text == ' ' || (*text >= '\t' && *text <= '\r'))
        return false;
    char *stop;
    settings was = begin();
    double value = strtod(text, &stop);
    end(&was);
    /* Too large gives an infinity that nobody wrote: one that was has no digit. */
    bool beyond = isinf(value) && strpbrk(text, "0123456789") != NULL;
    if (stop == text || *stop || beyond) return false;
    *number = value;
    return true;
}

bool wf_parse_integer(const char *text, int64_t *number)
{
    if (!text || !number) return false;
    bool minus = *text == '-';
    const char *at = text + minus;
    int64_t value = 0; /* below zero: there is one more of them */
    if (!*at) return false;
    for (; *at; at++) {
        if (*at < '0' || *at > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, *at - '0', &value))
            return false;
    }
    if (!minus && value == INT64_MIN) return false;
    *number = minus ? value : -value;
    return true;
}
