/* Which instructions the kernels use: found once, lowered by WEFT_ISA=c|avx2|avx512. */
#ifndef WEFT_TENSOR_ISA_H
#define WEFT_TENSOR_ISA_H

#include "tensor/api.h"

WF_BEGIN

typedef enum wf_isa { WF_ISA_C = 0, WF_ISA_AVX2 = 1, WF_ISA_AVX512 = 2 } wf_isa;

/* The dispatch level: the highest that processor and system allow, or what WEFT_ISA lowers it
 * to. */
WF_API wf_isa wf_isa_level(void);
WF_API const char *wf_isa_name(wf_isa level);
/* The processor's brand string from cpuid, e.g. "AMD EPYC"; "family F model M" appended. Never
 * NULL. */
WF_API const char *wf_processor(void);

WF_END

#endif
