/* What every public header shares: version, visibility and the attributes that make the compiler
 * listen. */
#ifndef WEFT_TENSOR_API_H
#define WEFT_TENSOR_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WF_VERSION_MAJOR 0
#define WF_VERSION_MINOR 1
#define WF_VERSION_PATCH 0
#define WF_VERSION "0.1.0"

#define WF_API __attribute__((visibility("default")))
#define WF_MUST_USE __attribute__((warn_unused_result))
#define WF_PRINTF(text, first) __attribute__((format(printf, text, first)))

#ifdef __cplusplus
#define WF_BEGIN extern "C" {
#define WF_END }
#else
#define WF_BEGIN
#define WF_END
#endif

/* How many items a list macro was given. Works for one item and more. */
#ifdef __cplusplus
extern "C++" {
template <class... item> constexpr int wf_cxx_count(const item &...)
{
    return (int)sizeof...(item);
}
}
#define WF_COUNT(type, ...) (wf_cxx_count(__VA_ARGS__))
#else
#define WF_COUNT(type, ...) ((int)(sizeof((type[]){ __VA_ARGS__ }) / sizeof(type)))
#endif

WF_BEGIN
/* The version of the library that is loaded, "0.1.0"; compare with WF_VERSION, that of the
 * headers. */
WF_API const char *wf_version(void);
WF_END

#endif
