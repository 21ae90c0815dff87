/* Finds what the processor and the system allow, lowers it by WEFT_ISA, and hands out the kernels
 * compiled for it. */
#include "tensor/kernels.h"
#include "tensor/text.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

typedef struct isa_state {
    wf_isa found, level;
    wf_cpu cpu;
    char processor[96];
} isa_state;

static isa_state state;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const char *const names[] = { "c", "avx2", "avx512" };

#ifdef __x86_64__
/* The register state that the system saves at a task switch; without it an instruction set is of
 * no use. */
static uint64_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static wf_isa find_level(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return WF_ISA_C;
    if (!(c & bit_OSXSAVE) || !(c & bit_AVX) || !(c & bit_FMA) || !(c & bit_F16C)) return WF_ISA_C;
    uint64_t saved = saved_state();
    if ((saved & 0x6) != 0x6) return WF_ISA_C;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2)) return WF_ISA_C;
    const uint32_t all = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    return (b & all) == all && (saved & 0xe6) == 0xe6 ? WF_ISA_AVX512 : WF_ISA_AVX2;
}

static wf_cpu find_cpu(void)
{
    wf_cpu cpu = { 0 };
    uint32_t a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d)) return cpu;
    cpu.intel = b == signature_INTEL_ebx && c == signature_INTEL_ecx && d == signature_INTEL_edx;
    cpu.amd = b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return cpu;
    uint32_t family = a >> 8 & 0xf, model = a >> 4 & 0xf;
    if (family == 0xf || family == 0x6) model |= a >> 12 & 0xf0;
    if (family == 0xf) family += a >> 20 & 0xff;
    cpu.family = (int)family;
    cpu.model = (int)model;
    return cpu;
}

static void find_brand(char brand[49])
{
    uint32_t r[12];
    memset(brand, 0, 49);
    for (uint32_t i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, r + 4 * i, r + 4 * i + 1, r + 4 * i + 2, r + 4 * i + 3))
            return;
    memcpy(brand, r, sizeof r);
}
#else
static wf_isa find_level(void)
{
    return WF_ISA_C;
}

static wf_cpu find_cpu(void)
{
    return (wf_cpu){ 0 };
}

static void find_brand(char brand[49])
{
    strcpy(brand, "not x86-64");
}
#endif

static void find(void)
{
    char brand[49];
    state.found = state.level = find_level();
    state.cpu = find_cpu();
    find_brand(brand);
    const char *start = brand + strspn(brand, " ");
    size_t length = strlen(start);
    while (length > 0 && start[length - 1] == ' ') length--;
    if (length == 0) start = "unknown", length = strlen(start);
    wf_format(state.processor, sizeof state.processor, "%.*s family %d model %d", (int)length,
              start, state.cpu.family, state.cpu.model);

    const char *asked = getenv("WEFT_ISA");
    for (int level = 0; asked && level < (int)state.found; level++)
        if (strcmp(asked, names[level]) == 0) state.level = (wf_isa)level;
}

wf_isa wf_isa_level(void)
{
    static _Atomic int level = -1; /* asked before every kernel */
    int known = atomic_load_explicit(&level, memory_order_relaxed);
    if (known >= 0) return (wf_isa)known;
    pthread_once(&once, find);
    atomic_store_explicit(&level, (int)state.level, memory_order_relaxed);
    return state.level;
}

wf_isa wf_isa_found(void)
{
    pthread_once(&once, find);
    return state.found;
}

wf_cpu wf_cpu_id(void)
{
    pthread_once(&once, find);
    return state.cpu;
}

const char *wf_isa_name(wf_isa level)
{
    return (size_t)level < sizeof names / sizeof *names ? names[level] : "unknown";
}

const char *wf_processor(void)
{
    pthread_once(&once, find);
    return state.processor;
}

const wf_gemm_table *wf_gemm_kernels(wf_dtype dtype)
{
    static const wf_gemm_table *const each[] = { WF_ISA_EACH(wf_gemm_kernels) };
    return &each[wf_isa_level()][dtype];
}

const wf_sum_table *wf_sum_kernels(wf_dtype dtype)
{
    static const wf_sum_table *const *const each[] = { WF_ISA_EACH(wf_sum_kernels) };
    return each[wf_isa_level()][dtype];
}
