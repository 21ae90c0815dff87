/* The loops of the ops that are not pointwise, compiled once per dispatch level; the level's
 * suffix is in the name of the one table that other files see. */
#include "autograd/kernels.h"
#include "autograd/random_private.h"
#include "tensor/sum.h"

#include <math.h>

#ifdef __clang__
/* It does not vectorise the maximum of a row, for the sake of NaN, and says so. */
#pragma clang diagnostic ignored "-Wpass-failed"
#endif

#define WF_EACH_FLOAT "autograd/loops_kernels.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...) [dtype] = &table_##suffix,
const op_tables WF_ISA_OWN(op_kernels) = { WF_FLOATS(TABLE) };
