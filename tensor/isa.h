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
#ifdef __x86_64__
#define WF_ISA_EACH(name) name##_c, name##_avx2, name##_avx512
#else
#define WF_ISA_EACH(name) name##_c
#endif

WF_END

#endif
