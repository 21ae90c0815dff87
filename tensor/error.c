/* Errors: one sentence in the caller's own struct, cut between code points when it is too long. */
#include "tensor/error.h"

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tensor/private.h"

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

void wf_text_format(char *text, size_t bytes, const char *format, va_list arguments)
{
    if (bytes == 0) return;
    if (!format) format = "error: described by no text (NULL)";
    int length = vsnprintf(text, bytes, format, arguments);
    if (length < 0) { /* a failure must not lose the message altogether */
        strncpy(text, format, bytes - 1);
        text[bytes - 1] = 0;
    } else if ((size_t)length >= bytes) {
        text[whole_code_points(text, bytes - 1)] = 0;
    }
}

int wf_plain_vsnprintf(char *text, size_t bytes, const char *format, va_list arguments)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", NULL), theirs = uselocale(plain);
    int length = vsnprintf(text, bytes, format, arguments);
    uselocale(theirs);
    if (plain) freelocale(plain);
    return length;
}

bool wf_error_set(wf_error *e, const char *format, ...)
{
    if (e && e->text[0]) return false;
    wf_error made; /* the arguments may point into *e */
    va_list arguments;
    va_start(arguments, format);
    wf_text_format(made.text, sizeof made.text, format, arguments);
    va_end(arguments);
    if (e) memcpy(e, &made, sizeof made);
    wf_on_error(made.text);
    return false;
}

__attribute__((noinline)) void wf_on_error(const char *text)
{
    __asm__ volatile(""
                     :
                     : "r"(text)
                     : "memory"); /* keeps the call, and its argument, for the debugger */
}
