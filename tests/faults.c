/* Faults in the machinery of the fused LSTM, planted where its object files call one another: the
 * linker sends these calls here (--wrap, see meson.build), and the fault of the moment does its
 * harm on the way. What a fault stands on are functions and their arguments, which the compiler
 * checks, and no line of their source. tests/mutate.c counts how many the checkers catch. */
#include "tests/faults.h"

#include "layers/kernels.h"
#include "tensor/gemm.h"
#include "tensor/sequence.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const char *const machinery_faults[MACHINERY_FAULTS] = {
    [SKIP_FORWARD] = "forward skips a step",
    [SKIP_BACKWARD] = "backward skips a step",
    [SWAP_FORWARD] = "gates swapped in the product of forward",
    [SWAP_BACKWARD] = "gates swapped in the product of backward",
    [SWAP_GATES] = "input and forget gate swapped in backward",
    [SHORTER] = "lengths off by one",
    [LAST_STEP] = "the last step off by one",
    [TURN_FORWARD] = "W for its transpose in forward",
    [TURN_BACKWARD] = "W for its transpose in backward",
    [DROP_CELL] = "the cell state's gradient dropped between steps",
    [DROP_C_N] = "the final cell state's gradient dropped",
    [DROP_H_N] = "the final output state's gradient dropped",
    [CELL_BEFORE] = "the cell state for the one before it",
    [DROP_H0] = "no weight gradient from the initial state",
    [BEGIN_ANEW] = "one row too many begins anew",
    [BEFORE_ANEW] = "one row too many begins anew in the weights' gradient",
    [UNORDERED] = "initial states in the order given",
    [DROP_GROUP] = "the second group left out of the bias",
    [ASSIGN_X] = "the gradient of x assigned",
};

enum machinery_fault machinery_fault = MACHINERY_FAULTS;

static bool planted(enum machinery_fault fault)
{
    return machinery_fault == fault;
}

/* ---- the gates ---- */

/* Of the op call that runs: passes of a kernel, states gathered (h0, c0, h_n, c_n), and where
 * the first of them went. */
static atomic_int passes, gathered;
static const void *h0;

extern const lstm_tables __real_lstm_kernels_c;

static void forward(wf_dtype dtype, const lstm_forward_rows *r)
{
    if (planted(SKIP_FORWARD) && passes++ == 1) return;
    __real_lstm_kernels_c[dtype].forward(r);
}

static void swap(char *a, char *b, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        char x = a[i];
        a[i] = b[i];
        b[i] = x;
    }
}

static void backward(wf_dtype dtype, const lstm_backward_rows *r)
{
    const int64_t size = wf_dtype_size(dtype), bytes = r->units * size;
    lstm_backward_rows with = *r;
    if (planted(SKIP_BACKWARD) && passes++ == 1) return;
    if (planted(CELL_BEFORE)) with.c_prev = r->c;
    __real_lstm_kernels_c[dtype].backward(&with);
    for (int64_t k = 0; k < r->rows; k++) {
        char *d = (char *)r->d_gates + k * r->gates_row * size;
        if (planted(SWAP_GATES)) swap(d, d + r->hidden * size, bytes);
        if (planted(DROP_CELL)) memset((char *)r->dc + k * r->c_row * size, 0, (size_t)bytes);
    }
}

static void forward_f32(const lstm_forward_rows *r)
{
    forward(WF_F32, r);
}

static void forward_f64(const lstm_forward_rows *r)
{
    forward(WF_F64, r);
}

static void backward_f32(const lstm_backward_rows *r)
{
    backward(WF_F32, r);
}

static void backward_f64(const lstm_backward_rows *r)
{
    backward(WF_F64, r);
}

extern const lstm_tables __wrap_lstm_kernels_c;
const lstm_tables __wrap_lstm_kernels_c = {
    [WF_F32] = { forward_f32, backward_f32 },
    [WF_F64] = { forward_f64, backward_f64 },
};

/* ---- where rows lie ---- */

enum { MOST_ROWS = 1 << 16 };

__typeof__(wf_seq_plan_make) __real_wf_seq_plan_make, __wrap_wf_seq_plan_make;
wf_seq_plan __wrap_wf_seq_plan_make(int64_t time, int64_t batch, const wf_tensor *lengths,
                                    void *memory)
{
    static int32_t shorter[MOST_ROWS];
    if (batch > MOST_ROWS) abort();
    passes = gathered = 0;
    wf_tensor with = wf_tensor_of(WF_I32, WF_SHAPE(batch), shorter);
    for (int64_t b = 0; lengths && b < batch; b++) {
        const int32_t n = (int32_t)wf_tensor_at(lengths, b);
        shorter[b] = n > 1 ? n - 1 : n;
    }
    wf_seq_plan p = __real_wf_seq_plan_make(time, batch,
                                            lengths && planted(SHORTER) ? &with : lengths, memory);
    for (int64_t r = 0; planted(LAST_STEP) && r < batch; r++)
        if (p.length[r] > 1) ((int64_t *)(uintptr_t)p.length)[r]--;
    return p;
}

__typeof__(wf_seq_continuing) __real_wf_seq_continuing, __wrap_wf_seq_continuing;
int64_t __wrap_wf_seq_continuing(const wf_seq_plan *p, int64_t i, bool reverse)
{
    const int64_t n = __real_wf_seq_continuing(p, i, reverse);
    return n > 0 && planted(BEGIN_ANEW) ? n - 1 : n;
}

__typeof__(wf_seq_gather_state) __real_wf_seq_gather_state, __wrap_wf_seq_gather_state;
void __wrap_wf_seq_gather_state(const wf_seq_plan *p, const wf_tensor *x, int64_t width,
                                wf_dtype dtype, void *to)
{
    static int64_t given[MOST_ROWS];
    wf_seq_plan unordered = *p;
    const int nth = gathered++;
    if (nth == 0) h0 = to;
    if (planted(nth == 2 ? DROP_H_N : DROP_C_N) && nth >= 2) x = NULL;
    for (int64_t b = 0; b < p->batch; b++) given[b] = b;
    unordered.order = given;
    __real_wf_seq_gather_state(nth < 2 && planted(UNORDERED) ? &unordered : p, x, width, dtype, to);
}

__typeof__(wf_seq_gather_before) __real_wf_seq_gather_before, __wrap_wf_seq_gather_before;
void __wrap_wf_seq_gather_before(const wf_seq_plan *p, int threads, bool reverse,
                                 const wf_tensor *y, const void *initial, void *to)
{
    const int64_t bytes = y->dim[2] * wf_dtype_size(y->dtype);
    __real_wf_seq_gather_before(p, threads, reverse, y, initial, to);
    for (int64_t i = 0; planted(BEFORE_ANEW) && i < p->time; i++) {
        const int64_t last = __real_wf_seq_continuing(p, i, reverse) - 1;
        if (last < 0) continue;
        memcpy((char *)to + (p->begin[i] + last) * bytes, (const char *)initial + last * bytes,
               (size_t)bytes);
    }
}

__typeof__(wf_seq_scatter_add) __real_wf_seq_scatter_add, __wrap_wf_seq_scatter_add;
void __wrap_wf_seq_scatter_add(const wf_seq_plan *p, int threads, const void *from,
                               const wf_tensor *y)
{
    if (planted(ASSIGN_X)) wf_tensor_fill(y, 0);
    __real_wf_seq_scatter_add(p, threads, from, y);
}

/* ---- products and sums ---- */

__typeof__(wf_seq_pack) __real_wf_seq_pack, __wrap_wf_seq_pack;
void __wrap_wf_seq_pack(int threads, int64_t blocks, int64_t units, bool turned, const wf_tensor *w,
                        void *packed)
{
    const int64_t bytes = wf_seq_pack_bytes(w->dtype, units);
    const bool other = planted(turned ? TURN_FORWARD : TURN_BACKWARD);
    __real_wf_seq_pack(threads, blocks, units, turned != other, w, packed);
    if (planted(turned ? SWAP_FORWARD : SWAP_BACKWARD)) swap(packed, (char *)packed + bytes, bytes);
}

__typeof__(wf_gemm_long) __real_wf_gemm_long, __wrap_wf_gemm_long;
void __wrap_wf_gemm_long(int threads, double alpha, wf_matrix a, wf_matrix b, double beta,
                         wf_matrix c, void *scratch)
{
    if (b.data == h0 && planted(DROP_H0)) return;
    __real_wf_gemm_long(threads, alpha, a, b, beta, c, scratch);
}

__typeof__(wf_seq_add_groups) __real_wf_seq_add_groups, __wrap_wf_seq_add_groups;
void __wrap_wf_seq_add_groups(int64_t groups, int64_t n, double *high, double *low)
{
    if (groups > 1 && planted(DROP_GROUP)) {
        memset(high + n, 0, (size_t)n * sizeof *high);
        memset(low + n, 0, (size_t)n * sizeof *low);
    }
    __real_wf_seq_add_groups(groups, n, high, low);
}
