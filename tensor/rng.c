/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC
 * 2011) and what is drawn with it. */
#include "tensor/rng.h"
#include "tensor/par.h"

#include <math.h>
#include <string.h>

/* The high half of the counter keeps apart what is drawn for different purposes from one (key,
 * counter). */
enum { DRAW_VALUE = 0, DRAW_KEY_NUMBER = 1, DRAW_KEY_NAME = 2, DRAW_BELOW = 3 };

void wf_philox(uint64_t key, uint64_t counter_low, uint64_t counter_high, uint32_t out[4])
{
    if (!out) return;
    uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
    uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xD2511F53 * c0, q = (uint64_t)0xCD9E8D57 * c2;
        c0 = (uint32_t)(q >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)q;
        c2 = (uint32_t)(p >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static uint64_t word64(uint32_t low, uint32_t high)
{
    return (uint64_t)high << 32 | low;
}

static double unit(uint64_t bits)
{
    return (double)(bits >> 11) * 0x1p-53;
}

uint64_t wf_key_with(uint64_t key, uint64_t number)
{
    uint32_t w[4];
    wf_philox(key, number, DRAW_KEY_NUMBER, w);
    return word64(w[0], w[1]);
}

uint64_t wf_key_named(uint64_t key, const char *name)
{
    size_t length = name ? strlen(name) : 0;
    uint32_t w[4];
    /* Eight bytes at a time, little-endian on every machine; the length comes last, so that no name
     * continues another. */
    for (size_t at = 0; at < length; at += 8) {
        uint64_t eight = 0;
        for (size_t i = 0; i < 8 && at + i < length; i++)
            eight |= (uint64_t)(unsigned char)name[at + i] << 8 * i;
        wf_philox(key, eight, DRAW_KEY_NAME, w);
        key = word64(w[0], w[1]);
    }
    wf_philox(key, length, (uint64_t)1 << 32 | DRAW_KEY_NAME, w);
    return word64(w[0], w[1]);
}

double wf_random_uniform(uint64_t key, uint64_t counter)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    uint32_t w[4];
    wf_philox(key, counter, DRAW_VALUE, w);
    return unit(word64(w[0], w[1]));
}

double wf_random_normal(uint64_t key, uint64_t counter)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    const double two_pi = 6.283185307179586476925;
    uint32_t w[4];
    wf_philox(key, counter, DRAW_VALUE, w);
    double u = 1 - unit(word64(w[0], w[1])); /* in (0, 1]: its logarithm is finite */
    return sqrt(-2 * log(u)) * cos(two_pi * unit(word64(w[2], w[3])));
}

int64_t wf_random_below(uint64_t key, uint64_t counter, int64_t n)
{
    if (n <= 1) return 0;
    /* Lemire, "Fast random integer generation in an interval", 2019: exact, by rejecting the few
     * that would be too many. */
    __extension__ typedef unsigned __int128 wide;
    const uint64_t range = (uint64_t)n, few = (0 - range) % range;
    for (uint64_t attempt = 0;; attempt++) {
        uint32_t w[4];
        wf_philox(key, counter, attempt << 32 | DRAW_BELOW, w);
        for (int i = 0; i < 4; i += 2) {
            wide product = (wide)word64(w[i], w[i + 1]) * range;
            if ((uint64_t)product >= few) return (int64_t)(product >> 64);
        }
    }
}
