/* Which instructions the kernels use: found once, lowered by WEFT_ISA=c|avx2|avx512. */
#ifndef WEFT_TENSOR_ISA_H
#define WEFT_TENSOR_ISA_H

#include "tensor/api.h"

/* A dispatch level is a line of meson.build, a constant and a name here, and how isa.c knows it. */

WF_BEGIN

typedef enum wf_isa { WF_ISA_C = 0, WF_ISA_AVX2 = 1, WF_ISA_AVX512 = 2 } wf_isa;

/* The dispatch level: the highest that processor and system allow, or what WEFT_ISA lowers it
 * to. */
WF_API wf_isa wf_isa_level(void);
WF_API const char *wf_isa_name(wf_isa level);
/* The processor's brand string from cpuid, e.g. "AMD EPYC"; "family F model M" appended. Never
 * NULL. */
WF_API const char *wf_processor(void);

/* What is compiled once per level, for which the build says -DWF_ISA_SUFFIX=avx2, ...: all that
 * such a file defines for others is named WF_ISA_OWN(name), which is name_avx2. Elsewhere
 * WF_ISA_EACH(name) lists all of them, to be declared and to be picked from:
 *     extern const my_table WF_ISA_EACH(my_kernels);
 *     static const my_table *const each[] = { WF_ISA_EACH(&my_kernels) };
 *     return each[wf_isa_level()]; */
#define WF_ISA_OWN(name) WF_ISA_JOIN(name, WF_ISA_SUFFIX)
#define WF_ISA_JOIN(name, suffix) WF_ISA_PASTE(name, suffix)
#define WF_ISA_PASTE(name, suffix) name##_##suffix
/* WF_ISA_LEVELS(x, ...) is x(level, attributes, fused, ...) for each, where a function is compiled
 * for a level by its attributes, and `fused` says whether that has fused multiply-adds. */
#ifdef __x86_64__
#define WF_ISA_EACH(name) name##_c, name##_avx2, name##_avx512
#define WF_ISA_LEVELS(x, ...)                                                                      \
    x(c, unused, 0, __VA_ARGS__)                                                                   \
    x(avx2, target("avx2,fma"), 1, __VA_ARGS__)                                                    \
    x(avx512, target(WF_ISA_AVX512_IS), 1, __VA_ARGS__)
#ifdef __clang__
#define WF_ISA_AVX512_IS "avx512f,avx512dq,avx512bw,avx512vl,fma"
#else
#define WF_ISA_AVX512_IS "avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512"
#endif
#else
#define WF_ISA_EACH(name) name##_c
#ifdef __ARM_FEATURE_FMA
#define WF_ISA_LEVELS(x, ...) x(c, unused, 1, __VA_ARGS__)
#else
#define WF_ISA_LEVELS(x, ...) x(c, unused, 0, __VA_ARGS__)
#endif
#endif

WF_END

#endif
