/* The options of a program as a table: read from the command line, listed by --help, kept in a
 * saved model and taken from it again. */
#ifndef WEFT_TRAIN_OPTIONS_H
#define WEFT_TRAIN_OPTIONS_H

#include <stddef.h>

#include "tensor/io.h"

WF_BEGIN

enum { WF_OPTION_VALUES = 64 }; /* of an option that may be given several times */
typedef struct wf_option_list {
    int64_t n;
    const char *at[WF_OPTION_VALUES];
} wf_option_list;

/* What the field of an option holds: a double, an int64_t, a text, texts, a bool. */
typedef enum wf_option_kind {
    WF_OPTION_NUMBER,
    WF_OPTION_WHOLE,
    WF_OPTION_TEXT,
    WF_OPTION_LIST,
    WF_OPTION_FLAG
} wf_option_kind;

/* What a saved model has to say: nothing; the value that holds (a size: another one cannot be asked
 * for); the value that holds where the command line gives none. */
typedef enum wf_option_keep { WF_OPTION_FORGOTTEN, WF_OPTION_FIXED, WF_OPTION_KEPT } wf_option_keep;

typedef struct wf_option {
    const char *name; /* of the field; an underscore is a hyphen in the option */
    size_t at;        /* where the field stands in the program's struct */
    wf_option_kind kind;
    const char *argument, *help; /* "N" (NULL of a flag); a sentence, of several lines maybe */
    wf_option_keep keep;
    double low, high;    /* of a number or a whole; high 0: no limit above */
    bool below;          /* high itself is too much */
    const char *choices; /* of a text: the words that it may be, "lstm gru rnn" */
    const void *reserved[2];
} wf_option;

/* A table and the struct that it describes, which holds the defaults until it is read. */
typedef struct wf_options {
    const wf_option *rows;
    int64_t n; /* at most 64 */
    void *values;
    uint64_t given; /* which rows the command line named: bit i */
} wf_options;
#define WF_OPTIONS(rows, values)                                                                   \
    {                                                                                              \
        rows, sizeof(rows) / sizeof *(rows), values, 0                                             \
    }

/* Fills the structs of `n` tables from the command line: --name VALUE or --name=VALUE. False and
 * one sentence when an option is unknown (with the one that it may have meant) or its value is not
 * what its row allows. `*help` becomes true where --help is among them, and nothing is judged then.
 * Texts are the caller's argv. Tables that make no sense (two rows of a name) are an error, too. */
WF_API bool wf_options_read(wf_options *tables, int64_t n, int argc, char *const argv[], bool *help,
                            wf_error *error);
/* What --help says: a line or more for each row, with the value that the struct has now as the
 * default. Into text, at most `bytes`; returns the length that the whole would have, as snprintf
 * does. `about` may be NULL. */
WF_API size_t wf_options_text(const wf_options *tables, int64_t n, const char *program,
                              const char *about, char *text, size_t bytes);
/* Adds what is kept to a bundle, as metadata under the options' names. What goes wrong is the
 * bundle's to say. */
WF_API bool wf_options_to_bundle(const wf_options *tables, int64_t n, wf_bundle *bundle);
/* Takes it from a saved file; its texts live as long as the archive. `path` is for messages. An
 * option that is fixed and was given otherwise is an error. Of one that the file does not know (a
 * program has grown since) the default holds. */
WF_API bool wf_options_load_archive(wf_options *tables, int64_t n, const char *path,
                                    const wf_archive *archive, wf_error *error);

WF_END

/* The first three fields of a row, from the struct's type and the field: what the option holds is
 * the field's type. A program's table:
 *     typedef struct options { const char *data; int64_t hidden; double dropout; } options;
 *     static const wf_option rows[] = {
 *         { WF_OPTION(options, data), "FILE", "text to learn" },
 *         { WF_OPTION(options, hidden), "N", "units of a layer", WF_OPTION_FIXED, 1, 65536 },
 *         { WF_OPTION(options, dropout), "P", "", WF_OPTION_KEPT, 0, 1, .below = true },
 *     }; */
#ifndef __cplusplus
#define WF_OPTION(type, field)                                                                     \
    .name = #field, .at = offsetof(type, field), .kind = WF_OPTION_KIND_OF(type, field)
#define WF_OPTION_KIND_OF(type, field)                                                             \
    _Generic(((const type *)0)->field,                                                             \
        double: WF_OPTION_NUMBER,                                                                  \
        int64_t: WF_OPTION_WHOLE,                                                                  \
        const char *: WF_OPTION_TEXT,                                                              \
        wf_option_list: WF_OPTION_LIST,                                                            \
        bool: WF_OPTION_FLAG)
#else
#define WF_OPTION(type, field) #field, offsetof(type, field), WF_OPTION_KIND_OF(type, field)
#define WF_OPTION_KIND_OF(type, field) wf_cxx_option_kind(&type::field)
extern "C++" {
template <class of> constexpr wf_option_kind wf_cxx_option_kind(double of::*)
{
    return WF_OPTION_NUMBER;
}
template <class of> constexpr wf_option_kind wf_cxx_option_kind(int64_t of::*)
{
    return WF_OPTION_WHOLE;
}
template <class of> constexpr wf_option_kind wf_cxx_option_kind(const char *of::*)
{
    return WF_OPTION_TEXT;
}
template <class of> constexpr wf_option_kind wf_cxx_option_kind(wf_option_list of::*)
{
    return WF_OPTION_LIST;
}
template <class of> constexpr wf_option_kind wf_cxx_option_kind(bool of::*)
{
    return WF_OPTION_FLAG;
}
}
#endif

#endif
