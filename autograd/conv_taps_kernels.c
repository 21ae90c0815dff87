/* The products of convolutions whose rows are taps that stay where they lie (implicit im2col),
 * compiled once per dispatch level with fused multiply-adds; the level's suffix is in the name of
 * the one table that other files see. */
#include "autograd/conv_private.h"
#include "tensor/lanes_private.h"

enum { ROWS = 6, LONG = 8 }; /* of the highest tile; vectors of the widest */

#define WF_EACH_FLOAT "autograd/conv_taps_kernels.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...) [dtype] = &table_##suffix,
const conv_product_tables WF_ISA_OWN(conv_products) = { WF_FLOATS(TABLE) };
