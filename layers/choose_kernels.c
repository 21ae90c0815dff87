/* The passes over a row of logits, compiled once for each dispatch level. */
#include "layers/generate_private.h"

#include <math.h>

enum { LANES = 16 };

#define WF_EACH_FLOAT "layers/choose_kernels.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...)                                                            \
    [dtype] = { largest_##suffix, mass_##suffix, passing_##suffix },
const choose_level WF_ISA_OWN(choose_kernels) = { { WF_FLOATS(TABLE, ) } };
