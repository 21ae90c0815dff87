/* The floating-point state that the library's arithmetic runs in. It is kept nowhere but in the
 * processor's register and with the caller, so that a function which never returns (longjmp, a C++
 * exception) leaves nothing behind that would mislead the next one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifdef __SSE2__
#include <xmmintrin.h>
#else
#include <fenv.h>
#endif

#include "tensor/par.h"
#include "tensor/private.h"

/* A bit that no state has: it was left for the exact one, which is not the one of kernels. */
enum { FROM_EXACT = 1 << 16 };

#ifdef __SSE2__
/* MXCSR: rounding in bits 13-14, flush-to-zero 15, denormals-are-zero 6. Exceptions, 7-12, are
 * masked, or a program that traps them would be stopped by an overflow that a kernel handles. */
enum { CONTROL = 0xFFC0, KERNELS = 0x8040 | 0x1F80, EXACT = 0x1F80 };

static inline uint32_t change(uint32_t to)
{
    uint32_t was = _mm_getcsr();
    if ((was & CONTROL) != to) _mm_setcsr((was & ~(uint32_t)CONTROL) | to);
    return was;
}

static inline void restore(uint32_t state)
{
    _mm_setcsr(state & ~(uint32_t)FROM_EXACT);
}
#else
/* Elsewhere by the C library: the rounding mode in the low half, trapped exceptions in the high
 * one. Denormals stay what they are. */
enum { CONTROL = 0xFFFF, KERNELS = 0, EXACT = 0 };
static const int modes[4] = {
    FE_TONEAREST,
#ifdef FE_UPWARD
    FE_UPWARD,
#endif
#ifdef FE_DOWNWARD
    FE_DOWNWARD,
#endif
#ifdef FE_TOWARDZERO
    FE_TOWARDZERO,
#endif
};

static uint32_t change(uint32_t to)
{
    uint32_t mode = 0, trapped = 0;
    int now = fegetround();
    for (uint32_t i = 1; i < 4; i++)
        if (modes[i] == now && now != FE_TONEAREST) mode = i;
#ifdef __GLIBC__
    int traps = fegetexcept();
    for (int i = 0; i < 32; i++) /* the bits differ by processor; five of them are in use */
        if (FE_ALL_EXCEPT >> i & 1) trapped = trapped << 1 | (traps > 0 && traps >> i & 1);
    if (trapped) fedisableexcept(FE_ALL_EXCEPT);
#endif
    if (mode) fesetround(FE_TONEAREST);
    return to | mode | trapped << 2;
}

static void restore(uint32_t state)
{
    fesetround(modes[state & 3]);
#ifdef __GLIBC__
    uint32_t trapped = (state & CONTROL) >> 2;
    int traps = 0;
    for (int i = 31; i >= 0; i--) {
        if (!(FE_ALL_EXCEPT >> i & 1)) continue;
        if (trapped & 1) traps |= 1 << i;
        trapped >>= 1;
    }
    if (traps) feenableexcept(traps);
#endif
}
#endif

uint32_t wf_fp_enter(void)
{
    return change(KERNELS);
}

uint32_t wf_fp_enter_exact(void)
{
    return change(EXACT) | FROM_EXACT;
}

void wf_fp_leave(uint32_t state)
{
    if ((state & (CONTROL | FROM_EXACT)) != KERNELS) restore(state);
}
