/* Random numbers as a pure function of (key, counter): Philox4x32-10, Salmon et al. 2011. No
 * state, no order. */
#ifndef WEFT_TENSOR_RNG_H
#define WEFT_TENSOR_RNG_H

#include "tensor/tensor.h"

WF_BEGIN

/* Four independent 32-bit words for (key, counter). */
WF_API void wf_philox(uint64_t key, uint64_t counter_low, uint64_t counter_high, uint32_t out[4]);
/* A key made of a key and a number, or of a key and a name (a parameter's path). */
WF_API uint64_t wf_key_with(uint64_t key, uint64_t number);
WF_API uint64_t wf_key_named(uint64_t key, const char *name);
/* Uniform in [0, 1) with 53 bits; standard normal (Box and Muller 1958); each of one counter. */
WF_API double wf_random_uniform(uint64_t key, uint64_t counter);
WF_API double wf_random_normal(uint64_t key, uint64_t counter);
/* Uniform in [0, n), each number exactly as likely (Lemire 2019); 0 for n below 1. */
WF_API int64_t wf_random_below(uint64_t key, uint64_t counter, int64_t n);

WF_END

#endif
