/* Errors are one sentence in the caller's own struct; nothing here exits, aborts or hides state. */
#ifndef WEFT_TENSOR_ERROR_H
#define WEFT_TENSOR_ERROR_H

#include "tensor/api.h"

WF_BEGIN

/* One failure, described: "what: what is wrong, with the numbers". Empty text: no failure. */
typedef struct wf_error {
    char text[1024];
} wf_error;

/* Every public function that is given a wf_error begins with an empty one: a struct that is used
 * again never shows an older failure, and holds nothing after a success. A function of your own
 * that fills one does the same. e may be NULL. */
WF_API void wf_error_clear(wf_error *e);
/* Writes the sentence into e, unless e already holds one (of what goes wrong within one call,
 * the first is what matters). e may be NULL. Always returns false, so that a function can end
 * with it. */
WF_API bool wf_error_set(wf_error *e, const char *format, ...) WF_PRINTF(2, 3);

/* Called with each failure just before it is logged, and does nothing: a place for a breakpoint
 * (`break wf_on_error`). Failures that only fill a wf_error pass through here too. */
WF_API void wf_on_error(const char *text);

WF_END

#endif
