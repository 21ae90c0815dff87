/* The fused LSTM: one direction of one layer over all time as one op. One product for all
 * inputs, recurrent weights packed once, one pass over the gates of a step, and the weights'
 * gradients as one product over all steps. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "layers/kernels.h"
#include "layers/private.h"
#include "layers/sequence_private.h"
#include "tensor/gemm.h"
#include "tensor/size.h"
#include "tensor/sum.h"

#include <string.h>

enum { X, H0, C0, W_IH, W_HH, B_IH, B_HH, LENGTHS, INPUTS };
/* The last two are hidden; their rows lie as the plan says. */
enum { Y, H_N, C_N, GATES, C, OUTPUTS };
/* Steps whose biases' gradients are added up in the dtype itself. */
enum { LEAF = 8 };

static const lstm_table *kernels_for(wf_dtype dtype)
{
    static const lstm_table *const each[] = { WF_ISA_EACH(lstm_kernels) };
    return &each[wf_isa_level()][dtype];
}

/* ---- scratch: parts of one block, each 64-byte aligned ---- */

typedef struct parts {
    char *memory;                                  /* NULL while only counting */
    int64_t used;                                  /* -1: too much */
} parts;

/* rows times columns items of `size` bytes. */
static void *part(parts *p, int64_t rows, int64_t columns, int64_t size)
{
    int64_t items, bytes, begin = p->used;
    if (begin < 0 || !wf_size_mul(rows, columns, &items) || !wf_size_mul(items, size, &bytes) ||
        !wf_size_add(begin, bytes, &bytes) || !wf_size_align(bytes, WF_ALIGNMENT, &p->used)) {
        p->used = -1;
        return NULL;
    }
    return p->memory ? p->memory + begin : NULL;
}

/* All that one call works with. Rows of gates and c lie as the plan says. */
typedef struct job {
    const wf_call *call;
    const lstm_table *kernels;
    seq_plan plan;
    wf_dtype dtype;
    bool reverse, packs;
    int64_t size, time, batch, input, hidden;      /* size: bytes of a number */
    int64_t width, panels, pack_bytes;             /* of a packed block of weights */
    void *plan_memory;
    char *packed, *h0, *c0, *gates, *c;
    /* forward */
    char *bias, *h[2]; /* h: the last two steps' outputs, unless y holds them as they are */
    /* backward */
    char *dh, *dc, *d_gates, *outside, *inputs;
    char *products;                                /* what wf_gemm_long works with */
    char *d_bias;                                  /* of each group, over a few steps */
    double *bias_high, *bias_low;                  /* the same over all steps, see tensor/sum.h */
    const char *gy;                                /* NULL: absent */
    int64_t gy_step, gy_row; /* strides in numbers; step -1: rows lie as the plan says */
} job;

static job job_of(const wf_tensor *const in[], const void *attr)
{
    job j = { .dtype = in[X]->dtype,
              .size = wf_dtype_size(in[X]->dtype),
              .time = in[X]->dim[0],
              .batch = in[X]->dim[1],
              .input = in[X]->dim[2],
              .hidden = in[H0]->dim[1],
              .reverse = ((const lstm_attr *)attr)->reverse != 0 };
    j.width = wf_pack_width(j.dtype);
    j.panels = seq_panels(j.dtype, j.hidden);
    j.pack_bytes = seq_pack_bytes(j.dtype, j.hidden);
    /* Packing costs about as much as a product with a few rows. */
    j.packs = j.time > 2;
    return j;
}

/* -1: too many. */
static int64_t rows_in_all(const job *j)
{
    int64_t rows = -1;
    wf_size_mul(j->time, j->batch, &rows);
    return rows;
}

static void common_parts(job *j, parts *p)
{
    j->plan_memory = part(p, 1, 1, seq_plan_bytes(j->time, j->batch));
    j->packed = part(p, j->packs ? 4 : 0, 1, j->pack_bytes);
    j->h0 = part(p, j->batch, j->hidden, j->size);
    j->c0 = part(p, j->batch, j->hidden, j->size);
}

static int64_t forward_parts(job *j, void *memory)
{
    parts p = { .memory = memory };
    int64_t rows = rows_in_all(j);
    common_parts(j, &p);
    j->bias = part(&p, 4, j->hidden, j->size);
    j->h[0] = part(&p, j->batch, j->hidden, j->size);
    j->h[1] = part(&p, j->batch, j->hidden, j->size);
    j->inputs = part(&p, rows, j->input, j->size);
    return p.used;
}

static int64_t backward_parts(job *j, void *memory)
{
    parts p = { .memory = memory };
    int64_t rows = rows_in_all(j), groups = seq_groups(j->batch);
    common_parts(j, &p);
    j->dh = part(&p, j->batch, j->hidden, j->size);
    j->dc = part(&p, j->batch, j->hidden, j->size);
    j->d_bias = part(&p, groups, 4 * j->hidden, j->size);
    j->bias_high = part(&p, groups, 4 * j->hidden, sizeof(double));
    j->bias_low = part(&p, groups, 4 * j->hidden, sizeof(double));
    j->d_gates = part(&p, rows, 4 * j->hidden, j->size);
    j->outside = part(&p, rows, j->hidden, j->size);
    j->inputs = part(&p, rows, j->input, j->size);
    const int64_t widest = j->input > j->hidden ? j->input : j->hidden;
    j->products = part(&p, 1, 1, wf_gemm_scratch(j->dtype, 4 * j->hidden, widest, rows));
    return p.used;
}

static void begin(job *j, const wf_call *call)
{
    j->call = call;
    j->kernels = kernels_for(j->dtype);
    j->plan = seq_plan_make(j->time, j->batch, call->in[LENGTHS], j->plan_memory);
    j->gates = call->out[GATES]->data;
    j->c = call->out[C]->data;
    seq_gather_state(&j->plan, call->in[H0], j->hidden, j->dtype, j->h0);
    seq_gather_state(&j->plan, call->in[C0], j->hidden, j->dtype, j->c0);
}

/* The rows of x as one matrix: where they are, or gathered into `to`. */
static const char *rows_of(const job *j, const wf_tensor *x, void *to, int64_t *row)
{
    if (seq_in_place(&j->plan, x)) {
        *row = j->batch > 1 ? x->stride[1] : x->stride[0];
        return x->data;
    }
    seq_gather(&j->plan, j->call->threads, x, to);
    *row = x->dim[2];
    return to;
}

/* ---- forward ---- */

/* h of the step before, and where this step's goes: (rows, H) row-major each. */
static char *h_before(const job *j, int64_t i, int64_t before)
{
    if (!j->plan.full) return j->h[i & 1];
    if (before < 0) return j->h0;
    return (char *)j->call->out[Y]->data + j->plan.begin[before] * j->hidden * j->size;
}

static char *h_now(const job *j, int64_t i)
{
    if (!j->plan.full) return j->h[!(i & 1)];
    return (char *)j->call->out[Y]->data + j->plan.begin[i] * j->hidden * j->size;
}

/* The gates of rows first .. last - 1 of step i, for units from u on, whose rows all have, or
 * all lack, a step before. */
static void gate_rows(const job *j, int64_t i, int64_t first, int64_t last, int64_t u,
                      int64_t units, int64_t before)
{
    if (first >= last) return;
    const int64_t hidden = j->hidden, size = j->size, row = j->plan.begin[i] + first;
    const char *c_prev = before < 0 ? j->c0 + first * hidden * size
                                    : j->c + (j->plan.begin[before] + first) * hidden * size;
    lstm_forward_rows r = {
        .rows = last - first, .units = units, .hidden = hidden, .bias = j->bias + u * size,
        .gates = j->gates + (row * 4 * hidden + u) * size, .gates_row = 4 * hidden,
        .c_prev = c_prev + u * size, .c = j->c + (row * hidden + u) * size, .c_row = hidden,
        .h = h_now(j, i) + (first * hidden + u) * size, .h_row = hidden,
    };
    j->kernels->forward(&r);
    if (j->plan.full) return;
    const wf_tensor *y = j->call->out[Y];
    for (int64_t k = first; k < last; k++) {
        memcpy((char *)y->data + ((i * j->batch + j->plan.order[k]) * hidden + u) * size,
               h_now(j, i) + (k * hidden + u) * size, (size_t)(units * size));
    }
}

/* So few that what they need and make stays in the nearest cache; but a row alone wants several. */
static int64_t panels_at_a_time(const job *j, const seq_share *mine)
{
    int64_t rows = seq_group_begin(j->batch, mine->group_end) -
                   seq_group_begin(j->batch, mine->group);
    return j->packs && rows > 2 ? 1 : mine->panel_end - mine->panel;
}

static void forward_steps(void *context, const seq_share *mine)
{
    const job *j = context;
    const int64_t hidden = j->hidden, size = j->size;
    const int64_t from = seq_group_begin(j->batch, mine->group),
                  to = seq_group_begin(j->batch, mine->group_end);
    const int64_t some = panels_at_a_time(j, mine);
    for (int64_t k = 0; k < j->time; k++) {
        int64_t i = j->reverse ? j->time - 1 - k : k, before = seq_before(&j->plan, i, j->reverse);
        int64_t old = seq_continuing(&j->plan, i, j->reverse),
                last = j->plan.active[i] < to ? j->plan.active[i] : to;
        const char *h = h_before(j, i, before) + from * hidden * size;
        char *gates = j->gates + (j->plan.begin[i] + from) * 4 * hidden * size;
        if (old < from) old = from;
        if (old > last) old = last;
        for (int64_t p = mine->panel; p < mine->panel_end && from < last; p += some) {
            int64_t end = p + some < mine->panel_end ? p + some : mine->panel_end;
            int64_t u = p * j->width, u_end = end * j->width < hidden ? end * j->width : hidden;
            for (int64_t g = 0; g < 4 && j->packs; g++) {
                wf_gemm_packed(j->dtype, last - from, hidden, hidden, h, hidden,
                               j->packed + g * j->pack_bytes, p, end, true,
                               gates + g * hidden * size, 4 * hidden);
            }
            if (!j->packs) {
                const wf_tensor *w = j->call->in[W_HH];
                wf_gemm(j->dtype, j->call->threads, last - from, 4 * hidden, hidden, 1, h, hidden,
                        1, w->data, w->stride[1], w->stride[0], 1, gates, 4 * hidden, 1);
            }
            gate_rows(j, i, from, old, u, u_end - u, before);
            gate_rows(j, i, old, last, u, u_end - u, -1);
        }
        seq_meet(mine);
    }
}

static void sum_biases(const job *j)
{
    const wf_tensor sum = wf_tensor_of(j->dtype, WF_SHAPE(4 * j->hidden), j->bias);
    if (j->call->in[B_IH]) wf_tensor_copy(j->call->in[B_IH], &sum);
    else wf_tensor_fill(&sum, 0);
    if (j->call->in[B_HH]) wf_tensor_add(j->call->in[B_HH], &sum);
}

/* The state after a sequence's last step, or the initial one of a sequence without steps. */
static void final_states(const job *j)
{
    const seq_plan *p = &j->plan;
    const size_t bytes = (size_t)(j->hidden * j->size);
    for (int64_t r = 0; r < j->batch; r++) {
        int64_t b = p->order[r], i = j->reverse ? 0 : p->length[r] - 1;
        bool none = p->length[r] == 0;
        const char *h = none ? j->h0 + (size_t)r * bytes
                             : (char *)j->call->out[Y]->data + (size_t)(i * j->batch + b) * bytes;
        const char *c = none ? j->c0 + (size_t)r * bytes : j->c + (size_t)(p->begin[i] + r) * bytes;
        memcpy((char *)j->call->out[H_N]->data + (size_t)b * bytes, h, bytes);
        memcpy((char *)j->call->out[C_N]->data + (size_t)b * bytes, c, bytes);
    }
}

static int64_t step_flops(const job *j)
{
    return 8 * j->hidden * j->hidden;
}

static void lstm_forward(const wf_call *call)
{
    job j = job_of(call->in, call->attr);
    forward_parts(&j, call->scratch);
    begin(&j, call);
    sum_biases(&j);
    int64_t rows = j.plan.rows, hidden = j.hidden, x_row;
    if (!j.plan.full) {
        /* Past the end the output is zero, and nobody's rows of what is saved have no meaning:
         * zero too. */
        memset(call->out[Y]->data, 0, (size_t)(j.time * j.batch * hidden * j.size));
        memset(j.gates + rows * 4 * hidden * j.size, 0,
               (size_t)((j.time * j.batch - rows) * 4 * hidden * j.size));
        memset(j.c + rows * hidden * j.size, 0,
               (size_t)((j.time * j.batch - rows) * hidden * j.size));
        memcpy(j.h[0], j.h0, (size_t)(j.batch * hidden * j.size));
        memcpy(j.h[1], j.h0, (size_t)(j.batch * hidden * j.size));
    }
    const wf_tensor *w = call->in[W_IH];
    const char *x = rows_of(&j, call->in[X], j.inputs, &x_row);
    wf_gemm(j.dtype, call->threads, rows, 4 * hidden, j.input, 1, x, x_row, 1, w->data,
            w->stride[1], w->stride[0], 0, j.gates, 4 * hidden, 1);
    if (j.packs) seq_pack(call->threads, 4, hidden, true, call->in[W_HH], j.packed);
    seq_run(&j.plan, j.packs ? call->threads : 1, j.panels, step_flops(&j), forward_steps, &j);
    final_states(&j);
}

/* ---- backward ---- */

/* What goes into the gates of rows first .. last - 1 of step i, for units from u on; see
 * gate_rows. */
static void d_gate_rows(const job *j, int64_t group, int64_t i, int64_t first, int64_t last,
                        int64_t u, int64_t units, int64_t before)
{
    if (first >= last) return;
    const int64_t hidden = j->hidden, size = j->size, row = j->plan.begin[i] + first;
    const char *c_prev = before < 0 ? j->c0 + first * hidden * size
                                    : j->c + (j->plan.begin[before] + first) * hidden * size;
    const char *gy = j->gy;
    if (gy) gy += ((j->gy_step < 0 ? row * hidden : i * j->gy_step + first * j->gy_row) + u) * size;
    lstm_backward_rows r = {
        .rows = last - first,
        .units = units,
        .hidden = hidden,
        .gates = j->gates + (row * 4 * hidden + u) * size,
        .d_gates = j->d_gates + (row * 4 * hidden + u) * size,
        .gates_row = 4 * hidden,
        .c = j->c + (row * hidden + u) * size,
        .c_prev = c_prev + u * size,
        .c_row = hidden,
        .gy = gy,
        .gy_row = j->gy_row,
        .dh = j->dh + (first * hidden + u) * size,
        .dc = j->dc + (first * hidden + u) * size,
        .d_bias = j->d_bias + (group * 4 * hidden + u) * size,
    };
    j->kernels->backward(&r);
}

/* The biases' gradients of a few steps join those of all steps: a share's groups and units. */
static void gather_bias(const job *j, const seq_share *mine, int64_t u, int64_t units)
{
    for (int64_t i = 4 * mine->group; i < 4 * mine->group_end; i++) {
        const int64_t at = i * j->hidden + u;
        char *few = j->d_bias + at * j->size;
        wf_sum_rows(j->dtype, 1, units, (const void *[]){ few }, 1, j->bias_high + at,
                    j->bias_low + at);
        memset(few, 0, (size_t)(units * j->size));
    }
}

static void backward_steps(void *context, const seq_share *mine)
{
    const job *j = context;
    const int64_t hidden = j->hidden, size = j->size, batch = j->batch;
    const int64_t from = seq_group_begin(batch, mine->group),
                  to = seq_group_begin(batch, mine->group_end);
    const int64_t u = mine->panel * j->width, some = panels_at_a_time(j, mine);
    const int64_t u_end = mine->panel_end * j->width < hidden ? mine->panel_end * j->width : hidden;
    for (int64_t k = 0; k < j->time; k++) {
        int64_t i = j->reverse ? k : j->time - 1 - k, before = seq_before(&j->plan, i, j->reverse);
        int64_t old = seq_continuing(&j->plan, i, j->reverse),
                last = j->plan.active[i] < to ? j->plan.active[i] : to;
        for (int64_t g = mine->group; g < mine->group_end; g++) {
            int64_t first = seq_group_begin(batch, g), end = seq_group_begin(batch, g + 1);
            if (end > last) end = last;
            int64_t cut = old < first ? first : old > end ? end : old;
            d_gate_rows(j, g, i, first, cut, u, u_end - u, before);
            d_gate_rows(j, g, i, cut, end, u, u_end - u, -1);
        }
        if (k % LEAF == LEAF - 1 || k == j->time - 1) gather_bias(j, mine, u, u_end - u);
        seq_meet(mine);                            /* the product needs the gates of all units */
        const char *d_gates = j->d_gates + (j->plan.begin[i] + from) * 4 * hidden * size;
        char *dh = j->dh + from * hidden * size;
        for (int64_t p = mine->panel; p < mine->panel_end && from < last && j->packs; p += some) {
            int64_t end = p + some < mine->panel_end ? p + some : mine->panel_end;
            for (int64_t g = 0; g < 4; g++) {
                wf_gemm_packed(j->dtype, last - from, hidden, hidden, d_gates + g * hidden * size,
                               4 * hidden, j->packed + g * j->pack_bytes, p, end, g > 0, dh,
                               hidden);
            }
        }
        if (!j->packs && from < last) {
            const wf_tensor *w = j->call->in[W_HH];
            wf_gemm(j->dtype, j->call->threads, last - from, hidden, 4 * hidden, 1, d_gates,
                    4 * hidden, 1, w->data, w->stride[0], w->stride[1], 0, dh, hidden, 1);
        }
    }
}

/* The cotangent of y: where it is if its rows have their numbers side by side, else gathered. */
static void outside_begin(job *j)
{
    const wf_tensor *gy = j->call->gout[Y];
    if (!gy) return;
    if (j->plan.full && (gy->stride[2] == 1 || j->hidden == 1)) {
        j->gy = gy->data;
        j->gy_step = gy->stride[0];
        j->gy_row = gy->stride[1];
        return;
    }
    seq_gather(&j->plan, j->call->threads, gy, j->outside);
    j->gy = j->outside;
    j->gy_step = -1;
    j->gy_row = j->hidden;
}

/* gin += d_gates^T rows, over `rows` rows from row `first` of d_gates. */
static void add_weight_gradient(const job *j, const wf_tensor *gin, int64_t first, int64_t rows,
                                const char *with, int64_t with_row)
{
    wf_gemm_long(j->dtype, j->call->threads, 4 * j->hidden, gin->dim[1], rows, 1,
                 j->d_gates + first * 4 * j->hidden * j->size, 1, 4 * j->hidden, with, with_row, 1,
                 1, gin->data, gin->stride[0], gin->stride[1], j->products);
}

static void add_recurrent_gradient(const job *j, const wf_tensor *gin)
{
    const wf_tensor *y = j->call->out[Y];
    const int64_t hidden = j->hidden, batch = j->batch, others = (j->time - 1) * batch;
    if (!j->plan.full) {
        /* By now the gathered cotangent has been used, and its place is free. */
        seq_gather_before(&j->plan, j->call->threads, j->reverse, y, j->h0, j->outside);
        add_weight_gradient(j, gin, 0, j->plan.rows, j->outside, hidden);
        return;
    }
    add_weight_gradient(j, gin, j->reverse ? others : 0, batch, j->h0, hidden);
    const char *shifted = (const char *)y->data + (j->reverse ? batch * hidden * j->size : 0);
    add_weight_gradient(j, gin, j->reverse ? 0 : batch, others, shifted, hidden);
}

static void add_input_gradient(const job *j, const wf_tensor *gin)
{
    const wf_tensor *w = j->call->in[W_IH];
    bool direct = seq_in_place(&j->plan, gin);
    char *to = direct ? gin->data : j->inputs;
    int64_t row = !direct ? j->input : j->batch > 1 ? gin->stride[1] : gin->stride[0];
    wf_gemm(j->dtype, j->call->threads, j->plan.rows, j->input, 4 * j->hidden, 1, j->d_gates,
            4 * j->hidden, 1, w->data, w->stride[0], w->stride[1], direct ? 1 : 0, to, row, 1);
    if (!direct) seq_scatter_add(&j->plan, j->call->threads, to, gin);
}

static void lstm_backward(const wf_call *call)
{
    job j = job_of(call->in, call->attr);
    backward_parts(&j, call->scratch);
    begin(&j, call);
    const wf_tensor *const *gin = call->gin;
    seq_gather_state(&j.plan, call->gout[H_N], j.hidden, j.dtype, j.dh);
    seq_gather_state(&j.plan, call->gout[C_N], j.hidden, j.dtype, j.dc);
    const int64_t groups = seq_groups(j.batch), bias = 4 * j.hidden;
    memset(j.d_bias, 0, (size_t)(groups * bias * j.size));
    memset(j.bias_high, 0, (size_t)(groups * bias) * sizeof(double));
    memset(j.bias_low, 0, (size_t)(groups * bias) * sizeof(double));
    outside_begin(&j);
    if (j.packs) seq_pack(call->threads, 4, j.hidden, false, call->in[W_HH], j.packed);
    seq_run(&j.plan, j.packs ? call->threads : 1, j.panels, step_flops(&j), backward_steps, &j);

    if (gin[H0]) seq_scatter_state_add(&j.plan, j.dh, gin[H0]);
    if (gin[C0]) seq_scatter_state_add(&j.plan, j.dc, gin[C0]);
    seq_add_groups(groups, bias, j.bias_high, j.bias_low);
    for (int i = B_IH; i <= B_HH; i++)
        if (gin[i])
            wf_sum_into(j.dtype, bias, j.bias_high, j.bias_low, gin[i]->data, gin[i]->stride[0]);
    if (gin[W_HH]) add_recurrent_gradient(&j, gin[W_HH]);
    if (gin[W_IH]) {
        int64_t row;
        const char *x = rows_of(&j, call->in[X], j.inputs, &row);
        add_weight_gradient(&j, gin[W_IH], 0, j.plan.rows, x, row);
    }
    if (gin[X]) add_input_gradient(&j, gin[X]);
}

/* ---- the row ---- */

/* Is input i of this shape (a size of -1: any) and of x's dtype? */
static bool expect(const wf_shaping *s, int i, const char *name, const char *form, int rank,
                   int64_t d0, int64_t d1, int64_t d2)
{
    const wf_tensor *x = s->in[i];
    const int64_t want[3] = { d0, d1, d2 };
    char text[128];
    if (!x) return true;
    bool same = x->rank == rank;
    for (int d = 0; same && d < rank; d++) same = want[d] < 0 || x->dim[d] == want[d];
    if (!same) {
        return wf_refuse(s->error, "%s is %s; expected %s", name,
                         wf_shape_text(text, sizeof text, x->rank, x->dim), form);
    }
    wf_dtype dtype = i == LENGTHS ? WF_I32 : s->in[X]->dtype;
    if (x->dtype == dtype) return true;
    return wf_refuse(s->error, "%s is %s; expected %s", name, wf_dtype_name(x->dtype),
                     wf_dtype_name(dtype));
}

static bool lstm_shape(wf_shaping *s)
{
    const wf_tensor *const *in = s->in;
    if (in[X]->dtype == WF_I32) return wf_refuse(s->error, "x is i32; it must be f32 or f64");
    if (!expect(s, X, "x", "(time, batch, input)", 3, -1, -1, -1)) return false;
    int64_t time = in[X]->dim[0], batch = in[X]->dim[1], input = in[X]->dim[2];
    if (time < 1 || time > INT32_MAX) {
        return wf_refuse(s->error, "x has %lld time steps; there must be from 1 to %d",
                         (long long)time, INT32_MAX);
    }
    if (!expect(s, H0, "h0", "(batch, hidden)", 2, batch, -1, 0)) return false;
    int64_t hidden = in[H0]->dim[1];
    if (hidden < 1 || hidden > INT32_MAX)
        return wf_refuse(s->error, "hidden is %lld; it must be 1 or more", (long long)hidden);
    if (!expect(s, C0, "c0", "(batch, hidden), as h0", 2, batch, hidden, 0) ||
        !expect(s, W_IH, "weight_ih", "(4 * hidden, input)", 2, 4 * hidden, input, 0) ||
        !expect(s, W_HH, "weight_hh", "(4 * hidden, hidden)", 2, 4 * hidden, hidden, 0) ||
        !expect(s, B_IH, "bias_ih", "(4 * hidden)", 1, 4 * hidden, 0, 0) ||
        !expect(s, B_HH, "bias_hh", "(4 * hidden)", 1, 4 * hidden, 0, 0) ||
        !expect(s, LENGTHS, "lengths", "(batch)", 1, batch, 0, 0)) {
        return false;
    }
    const int64_t width[OUTPUTS] = { hidden, hidden, hidden, 4 * hidden, hidden };
    for (int i = 0; i < OUTPUTS; i++) {
        bool steps = i != H_N && i != C_N;
        s->out[i].dtype = in[X]->dtype;
        s->out[i].rank = steps ? 3 : 2;
        if (steps) s->out[i].dim[0] = time;
        s->out[i].dim[steps] = batch;
        s->out[i].dim[steps + 1] = width[i];
    }
    job j = job_of(in, s->attr);
    s->scratch_forward = forward_parts(&j, NULL);
    s->scratch_backward = backward_parts(&j, NULL);
    if (s->scratch_forward >= 0 && s->scratch_backward >= 0) return true;
    return wf_refuse(s->error, "its work is more than memory can hold");
}

static bool lstm_check(const wf_call *c, wf_error *error)
{
    const wf_tensor *lengths = c->in[LENGTHS];
    int64_t time = c->in[X]->dim[0];
    for (int64_t b = 0; lengths && b < lengths->dim[0]; b++) {
        int32_t n = ((const int32_t *)lengths->data)[b * lengths->stride[0]];
        if (n >= 0 && n <= time) continue;
        return wf_refuse(error, "lengths[%lld] is %d; it must be from 0 to %lld", (long long)b, n,
                         (long long)time);
    }
    return true;
}

/* The same in steps of the cell. */
static bool lstm_reference(wf_tape *t, const wf_reference *r)
{
    wf_var *const *in = r->in;
    const wf_lstm_cell cell = {
        .weight_ih = in[W_IH], .weight_hh = in[W_HH], .bias_ih = in[B_IH], .bias_hh = in[B_HH]
    };
    wf_sequence s = { .x = in[X],
                      .lengths = in[LENGTHS],
                      .reverse = ((const lstm_attr *)r->attr)->reverse != 0,
                      .state = { in[H0], in[C0] } };
    if (!cell_steps(t, wf_cell_lstm(), &cell, &s)) return false;
    r->out[Y] = s.output;
    r->out[H_N] = s.state[0];
    r->out[C_N] = s.state[1];
    return true;
}

static bool lstm_sample(int k, wf_sample *s)
{
    /* Odd sizes that all differ; hidden units beyond one panel; lengths drawn between least and
     * most. */
    static const struct {
        const char *label;
        int time, batch, input, hidden, least, most;           /* most < 0: no lengths */
        bool reverse, bias_ih, bias_hh;
    } cases[] = {
        { "full", 3, 2, 4, 5, 0, -1, false, true, true },
        { "full, reversed", 4, 1, 2, 3, 0, -1, true, true, true },
        { "without biases", 3, 5, 2, 1, 0, -1, false, false, false },
        { "one step", 1, 2, 5, 3, 0, -1, false, true, false },
        { "two steps", 2, 3, 1, 4, 0, -1, true, false, true },
        { "ragged", 4, 7, 3, 2, 0, 4, false, true, true },
        { "ragged, reversed", 5, 6, 2, 3, 0, 5, true, true, true },
        { "all of length one", 3, 2, 4, 3, 1, 1, true, true, true },
        { "all empty", 3, 2, 3, 2, 0, 0, false, true, true },
        { "more than a panel", 3, 2, 3, 35, 2, 3, false, true, true },
        { "no sequences", 3, 0, 2, 3, 0, -1, false, true, true },
    };
    if (k >= (int)(sizeof cases / sizeof cases[0])) return false;
    int64_t time = cases[k].time, batch = cases[k].batch, input = cases[k].input,
            hidden = cases[k].hidden;
    const wf_shape shape[INPUTS] = {
        WF_SHAPE(time, batch, input), WF_SHAPE(batch, hidden),
        WF_SHAPE(batch, hidden),      WF_SHAPE(4 * hidden, input),
        WF_SHAPE(4 * hidden, hidden), WF_SHAPE(4 * hidden),
        WF_SHAPE(4 * hidden),         WF_SHAPE(batch),
    };
    const bool given[INPUTS] = {
        true, true, true, true, true, cases[k].bias_ih, cases[k].bias_hh, cases[k].most >= 0
    };
    s->label = cases[k].label;
    s->n_in = INPUTS;
    for (int i = 0; i < INPUTS; i++) {
        s->in[i].dtype = i == LENGTHS ? WF_I32 : WF_F64;
        s->in[i].shape = shape[i];
        if (!given[i]) s->in[i].shape.rank = -1;
        s->in[i].low = i == LENGTHS ? cases[k].least : -1;
        s->in[i].high = i == LENGTHS ? cases[k].most : 1;
    }
    const lstm_attr attr = { .reverse = cases[k].reverse };
    memcpy(s->attr.bytes, &attr, sizeof attr);
    return true;
}

static const wf_op lstm_op = {
    .name = "lstm_sequence",
    .doc = "an LSTM over time: x (T, B, I), states (B, H), weights (4H, I) and (4H, H), lengths "
           "(B) to y (T, B, H) and states",
    .inputs = INPUTS,
    .outputs = 3,
    .hidden = 2,
    .attr_size = sizeof(lstm_attr),
    .optional = 1u << B_IH | 1u << B_HH | 1u << LENGTHS,
    .reads_in = 1u << X | 1u << H0 | 1u << C0 | 1u << W_IH | 1u << W_HH | 1u << LENGTHS,
    .reads_out = 1u << Y | 1u << GATES | 1u << C,
    .reads_check = 1u << LENGTHS,
    .shape = lstm_shape,
    .check = lstm_check,
    .forward = lstm_forward,
    .backward = lstm_backward,
    .reference = lstm_reference,
    .sample = lstm_sample,
};

const wf_op *wf_lstm_sequence_op(void)
{
    return &lstm_op;
}

bool lstm_sequence(wf_tape *t, const void *self, wf_sequence *s)
{
    const wf_lstm_cell *cell = self;
    if (cell->weight_hr) return false;
    wf_var *const in[INPUTS] = {
        s->x,          s->state[0],   s->state[1], cell->weight_ih, cell->weight_hh,
        cell->bias_ih, cell->bias_hh, s->lengths
    };
    wf_var *out[3];
    const lstm_attr attr = { .reverse = s->reverse };
    if (!wf_apply(t, &lstm_op, INPUTS, in, &attr, out)) return false;
    s->output = out[Y];
    s->state[0] = out[H_N];
    s->state[1] = out[C_N];
    return true;
}
