/* What programs that train for long have in common: a signal that ends them well, files that are
 * known to be writable before the work is done, a log that goes on. */
#ifndef WEFT_EXAMPLES_PROGRAM_H
#define WEFT_EXAMPLES_PROGRAM_H

#include <weft.h>

#include <signal.h>
#include <stdio.h>

/* The signal that asked the program to stop: SIGINT, SIGTERM or SIGHUP; a second one ends it at
 * once. A reader that goes away (SIGPIPE) is noticed where we write. */
extern volatile sig_atomic_t stopped;
void stop_at_signals(void);

double now(void); /* seconds */

/* Can a file be made beside `path`, and is path itself no folder? */
bool can_save(const char *path, wf_error *err);
/* Do two paths lead to one file? NULL and "-" lead to none. */
bool same_file(const char *a, const char *b);
/* A log whose lines begin with the number of a step, below a line of `columns`: at the end of what
 * it holds of the steps that were made, since those after the saved one are made again. NULL after
 * failing. */
FILE *log_open(const char *path, const char *columns, int64_t step, wf_error *err);

#endif
