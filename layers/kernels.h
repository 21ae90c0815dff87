/* The gate passes of the fused sequences, compiled once per dispatch level. Not installed; only
 * layers/ includes it. */
#ifndef WEFT_LAYERS_KERNELS_H
#define WEFT_LAYERS_KERNELS_H

#include "tensor/isa.h"
#include "tensor/tensor.h"

/* Rows are sequences, at their stride; within a row, units side by side. Pointers are at the
 * first row and unit. */
typedef struct lstm_forward_rows {
    int64_t rows, units;
    int64_t hidden; /* from one gate to the next, in gates and bias */
    const void *bias;                              /* i, f, g, o */
    void *gates;                                   /* in: W x + W h; out: i, f, g, o themselves */
    int64_t gates_row;
    const void *c_prev;
    void *c, *h;
    int64_t c_row;                                 /* of c_prev, c */
    int64_t h_row;
} lstm_forward_rows;

typedef struct lstm_backward_rows {
    int64_t rows, units;                           /* rows: 1 to 4 */
    int64_t hidden;
    const void *gates, *c, *c_prev;
    const void *gy;                   /* what arrives from outside at this step, or NULL */
    int64_t gates_row, c_row, gy_row; /* gates_row: of d_gates too; c_row: of c_prev, dh, dc too */
    const void *dh;                                /* what arrives from the step after */
    void *dc;                                      /* in: of this step's c; out: of c_prev */
    void *d_gates;                                 /* of W x + W h + b, gates side by side */
    void *d_bias;                                  /* += the sum over the rows */
} lstm_backward_rows;

typedef struct lstm_table {
    void (*forward)(const lstm_forward_rows *r);
    void (*backward)(const lstm_backward_rows *r);
} lstm_table;

/* By dtype, where it is one of floats. */
typedef lstm_table lstm_tables[WF_DTYPES];
extern const lstm_tables WF_ISA_EACH(lstm_kernels);

#endif
