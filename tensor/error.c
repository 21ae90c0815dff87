/* Errors: one sentence in the caller's own struct, cut between code points when it is too long. */
#include "tensor/error.h"

#include <string.h>

#include "tensor/text.h"

void wf_error_clear(wf_error *e)
{
    if (e) e->text[0] = 0;
}

bool wf_error_set(wf_error *e, const char *format, ...)
{
    if (e && e->text[0]) return false;
    if (!format) format = "error: described by no text (NULL)";
    wf_error made; /* the arguments may point into *e */
    va_list arguments;
    va_start(arguments, format);
    wf_vformat(made.text, sizeof made.text, format, arguments);
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
