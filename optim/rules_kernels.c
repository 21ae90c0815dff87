/* The update rules and the arithmetic of clipping in every precision, compiled once per dispatch
 * level; the level's suffix is in the names that other files see. */
#include "optim/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define UPDATE(rule) WF_ISA_OWN(NAME(optim_##rule))
#define WF_EACH_FLOAT "optim/rules_kernels.inc"
#include "tensor/each_float.h"

#define WF_EACH_FLOAT "optim/clip_kernels.inc"
#include "tensor/each_float.h"

#define LOOPS(dtype, suffix, type, ...)                                                            \
    [dtype] = { [OPTIM_SQUARES] = squares_##suffix,                                                \
                [OPTIM_LARGEST] = largest_##suffix,                                                \
                [OPTIM_SCALE] = scale_##suffix,                                                    \
                [OPTIM_LIMIT] = limit_##suffix },
const optim_loops WF_ISA_OWN(optim_kernels) = { WF_FLOATS(LOOPS) };
