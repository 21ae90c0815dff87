/* The matrix kernels, compiled once per dispatch level and there for both dtypes from
 * gemm_tile.inc. Built with -ffp-contract=fast: the source says x * b + acc and means one fused
 * multiply-add. */
#include "tensor/kernels.h"
#include "tensor/lanes_private.h"

#include <string.h>

/* Vectors in a panel's row. */
#ifdef __AVX512F__
enum { WIDE = 4 };
#else
enum { WIDE = 2 };
#endif
enum { DOTS = WIDE };      /* rows whose sums along k the registers hold beside four columns */
enum { ROWS = 6 };         /* of the highest tile */
enum { LONG = 8 };         /* vectors of a one-row tile over several panels */
enum { CHUNK = 96 };       /* rows that one thread takes at least */
enum { FEW = 24 * WIDE };  /* rows for which B's rows are read in place: for speed */
enum { ALONG = 8 };        /* rows for which B's columns are read as they lie: for speed */
enum { LONGEST = 512 };    /* fused multiply-adds in one chain, but for packed weights */

/* C = AB; C = C + AB with C first in each element's chain of sums; C = alpha AB + beta C, where
 * beta = 0 does not read C. */
enum { SET, ADD, SCALE };

#define WF_EACH_FLOAT "tensor/gemm_tile.inc"
#include "tensor/each_float.h"

#define TABLE(dtype, suffix, type, ...)                                                            \
    [dtype] = { LANES_##suffix * WIDE, pack_##suffix, packed_##suffix, units_##suffix,             \
                run_##suffix },
const wf_gemm_tables WF_ISA_OWN(wf_gemm_kernels) = { WF_FLOATS(TABLE) };
