/* The options of a program as a table: read from the command line, listed by --help, kept in a
 * saved model and taken from it again. */
#ifndef WEFT_EXAMPLES_OPTIONS_H
#define WEFT_EXAMPLES_OPTIONS_H

#include <weft.h>

enum { OPTION_VALUES = 64 };           /* of an option that may be given several times */

typedef struct option_list {
    int n;
    const char *at[OPTION_VALUES];
} option_list;

/* What the field of an option holds: const char *, option_list, int64_t, double (BELOW: the upper
 * end itself is too much), bool. */
typedef enum option_kind {
    OPTION_TEXT,
    OPTION_LIST,
    OPTION_WHOLE,
    OPTION_NUMBER,
    OPTION_BELOW,
    OPTION_FLAG
} option_kind;

/* What a saved model has to say: nothing; the value that holds (a size: another one cannot be asked
 * for); the value that holds where the command line gives none. */
typedef enum option_keep { OPTION_FORGOTTEN, OPTION_FIXED, OPTION_KEPT } option_keep;

typedef struct option_row {
    const char *name, *argument, *help; /* argument: NULL for a flag; help: a line or more */
    size_t at;                          /* where the field stands in the program's struct */
    option_kind kind;
    option_keep keep;
    double low, high;                   /* of a number; of a WHOLE, high 0: no limit */
} option_row;

/* Fills the struct `o` from the command line; given[i] becomes true where row i was named. --help
 * prints the rows. 1: go on; 0 and -1: exit well and badly, everything has been said. */
int options_read(const char *program, const option_row *rows, int n, int argc, char **argv, void *o,
                 bool given[]);
/* Adds what is kept to the metadata of a file. */
void options_put(const option_row *rows, int n, const void *o, wf_bundle *b);
/* Takes it from there; the texts live as long as the archive. `path` is for messages. */
bool options_take(const option_row *rows, int n, void *o, const bool given[],
                  const wf_archive *file, const char *path, wf_error *err);

#endif
