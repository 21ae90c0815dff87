/* The fused LSTM: one direction of one layer over all time as one op. One product for all
 * inputs, recurrent weights packed once, one pass over the gates of a step, and the weights'
 * gradients as one product over all steps. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "layers/kernels.h"
#include "layers/private.h"
#include "tensor/gemm.h"
#include "tensor/sequence.h"
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

/* All that one call works with. A buffer's row is one sequence's at one step, as the plan says, or
 * one sequence's. */
typedef struct pass {
    const wf_call *call;
    const lstm_table *kernels;
    wf_seq_plan plan;
    wf_dtype dtype;
    bool reverse, packs;
    int64_t time, batch, input, hidden;
    int64_t width, panels, pack_bytes;             /* of a packed block of weights */
    void *plan_memory;
    char *packed;
    wf_matrix h0, c0, y, gates, c; /* y: (time * batch, hidden), as it is */
    /* forward */
    wf_matrix bias, h[2]; /* h: the last two steps' outputs, unless y holds them as they are */
    /* backward */
    wf_matrix dh, dc, d_gates, outside, inputs;
    void *products;                                /* what wf_gemm_long works with */
    wf_matrix d_bias;                              /* 4 rows of each group, over a few steps */
    double *bias_high, *bias_low;                  /* the same over all steps, see tensor/sum.h */
    const wf_tensor *gy;                           /* NULL: absent, or gathered into outside */
} pass;

static pass pass_of(const wf_tensor *const in[], const void *attr)
{
    pass j = { .dtype = in[X]->dtype,
               .time = in[X]->dim[0],
               .batch = in[X]->dim[1],
               .input = in[X]->dim[2],
               .hidden = in[H0]->dim[1],
               .reverse = ((const lstm_attr *)attr)->reverse != 0 };
    j.width = wf_pack_width(j.dtype);
    j.panels = wf_seq_panels(j.dtype, j.hidden);
    j.pack_bytes = wf_seq_pack_bytes(j.dtype, j.hidden);
    /* Packing costs about as much as a product with a few rows. */
    j.packs = j.time > 2;
    return j;
}

/* -1: too many. */
static int64_t rows_in_all(const pass *j)
{
    int64_t rows = -1;
    wf_size_mul(j->time, j->batch, &rows);
    return rows;
}

static wf_matrix part(const pass *j, wf_parts *p, int64_t rows, int64_t columns)
{
    return wf_matrix_of(j->dtype, wf_part(p, rows, columns, wf_dtype_size(j->dtype)), rows,
                        columns);
}

static void common_parts(pass *j, wf_parts *p)
{
    j->plan_memory = wf_part(p, 1, 1, wf_seq_plan_bytes(j->time, j->batch));
    j->packed = wf_part(p, j->packs ? 4 : 0, 1, j->pack_bytes);
    j->h0 = part(j, p, j->batch, j->hidden);
    j->c0 = part(j, p, j->batch, j->hidden);
}

static int64_t forward_parts(pass *j, void *memory)
{
    wf_parts p = { .memory = memory };
    int64_t rows = rows_in_all(j);
    common_parts(j, &p);
    j->bias = part(j, &p, 4, j->hidden);
    j->h[0] = part(j, &p, j->batch, j->hidden);
    j->h[1] = part(j, &p, j->batch, j->hidden);
    j->inputs = part(j, &p, rows, j->input);
    return p.used;
}

static int64_t backward_parts(pass *j, void *memory)
{
    wf_parts p = { .memory = memory };
    int64_t rows = rows_in_all(j), groups = wf_seq_groups(j->batch);
    common_parts(j, &p);
    j->dh = part(j, &p, j->batch, j->hidden);
    j->dc = part(j, &p, j->batch, j->hidden);
    j->d_bias = part(j, &p, 4 * groups, j->hidden);
    j->bias_high = wf_part(&p, groups, 4 * j->hidden, sizeof(double));
    j->bias_low = wf_part(&p, groups, 4 * j->hidden, sizeof(double));
    j->d_gates = part(j, &p, rows, 4 * j->hidden);
    j->outside = part(j, &p, rows, j->hidden);
    j->inputs = part(j, &p, rows, j->input);
    const int64_t widest = j->input > j->hidden ? j->input : j->hidden;
    j->products = wf_part(&p, 1, 1, wf_gemm_scratch(j->dtype, 4 * j->hidden, widest, rows));
    return p.used;
}

static void begin(pass *j, const wf_call *call)
{
    const int64_t rows = j->time * j->batch;
    j->call = call;
    j->kernels = kernels_for(j->dtype);
    j->plan = wf_seq_plan_make(j->time, j->batch, call->in[LENGTHS], j->plan_memory);
    j->y = wf_matrix_of(j->dtype, call->out[Y]->data, rows, j->hidden);
    j->gates = wf_matrix_of(j->dtype, call->out[GATES]->data, rows, 4 * j->hidden);
    j->c = wf_matrix_of(j->dtype, call->out[C]->data, rows, j->hidden);
    wf_seq_gather_state(&j->plan, call->in[H0], j->hidden, j->dtype, j->h0.data);
    wf_seq_gather_state(&j->plan, call->in[C0], j->hidden, j->dtype, j->c0.data);
}

/* So many rows of zeros, from `row` on. */
static void clear_rows(wf_matrix m, int64_t row, int64_t rows)
{
    memset(wf_matrix_at(m, row, 0), 0, (size_t)(rows * m.columns * wf_dtype_size(m.dtype)));
}

/* The rows of x as one matrix where they are, if they lie there as the plan says. */
static wf_matrix rows_in_place(const pass *j, const wf_tensor *x)
{
    return wf_matrix_strided(x->dtype, x->data, j->plan.rows, x->dim[2],
                             x->stride[j->batch > 1 ? 1 : 0], 1);
}

/* The same, or gathered into `to`. */
static wf_matrix rows_of(const pass *j, const wf_tensor *x, wf_matrix to)
{
    if (wf_seq_in_place(&j->plan, x)) return rows_in_place(j, x);
    wf_seq_gather(&j->plan, j->call->threads, x, to.data);
    return wf_matrix_part(to, 0, 0, j->plan.rows, to.columns);
}

/* ---- forward ---- */

/* h of the step before, and where this step's goes: a row for each sequence that goes on. */
static wf_matrix h_before(const pass *j, int64_t i, int64_t before)
{
    if (!j->plan.full) return j->h[i & 1];
    if (before < 0) return j->h0;
    return wf_matrix_part(j->y, j->plan.begin[before], 0, j->batch, j->hidden);
}

static wf_matrix h_now(const pass *j, int64_t i)
{
    if (!j->plan.full) return j->h[!(i & 1)];
    return wf_matrix_part(j->y, j->plan.begin[i], 0, j->batch, j->hidden);
}

/* c of the step before for row `first` of a step. */
static const void *c_before(const pass *j, int64_t before, int64_t first, int64_t u)
{
    return before < 0 ? wf_matrix_at(j->c0, first, u)
                      : wf_matrix_at(j->c, j->plan.begin[before] + first, u);
}

/* The gates of rows first .. last - 1 of step i, for units from u on, whose rows all have, or
 * all lack, a step before. */
static void gate_rows(const pass *j, int64_t i, int64_t first, int64_t last, int64_t u,
                      int64_t units, int64_t before)
{
    if (first >= last) return;
    const int64_t hidden = j->hidden, row = j->plan.begin[i] + first;
    const wf_matrix h = h_now(j, i);
    lstm_forward_rows r = {
        .rows = last - first,
        .units = units,
        .hidden = hidden,
        .bias = wf_matrix_at(j->bias, 0, u),
        .gates = wf_matrix_at(j->gates, row, u),
        .gates_row = 4 * hidden,
        .c_prev = c_before(j, before, first, u),
        .c = wf_matrix_at(j->c, row, u),
        .c_row = hidden,
        .h = wf_matrix_at(h, first, u),
        .h_row = hidden,
    };
    j->kernels->forward(&r);
    if (j->plan.full) return;
    for (int64_t k = first; k < last; k++) {
        memcpy(wf_matrix_at(j->y, i * j->batch + j->plan.order[k], u), wf_matrix_at(h, k, u),
               (size_t)(units * wf_dtype_size(j->dtype)));
    }
}

/* So few that what they need and make stays in the nearest cache; but a row alone wants several. */
static int64_t panels_at_a_time(const pass *j, const wf_seq_share *mine)
{
    int64_t rows = wf_seq_group_begin(j->batch, mine->group_end) -
                   wf_seq_group_begin(j->batch, mine->group);
    return j->packs && rows > 2 ? 1 : mine->panel_end - mine->panel;
}

static void forward_steps(void *context, const wf_seq_share *mine)
{
    const pass *j = context;
    const int64_t hidden = j->hidden, some = panels_at_a_time(j, mine);
    const int64_t from = wf_seq_group_begin(j->batch, mine->group),
                  to = wf_seq_group_begin(j->batch, mine->group_end);
    for (int64_t k = 0; k < j->time; k++) {
        int64_t i = j->reverse ? j->time - 1 - k : k,
                before = wf_seq_before(&j->plan, i, j->reverse);
        int64_t old = wf_seq_continuing(&j->plan, i, j->reverse),
                last = j->plan.active[i] < to ? j->plan.active[i] : to, rows = last - from;
        const wf_matrix h = wf_matrix_part(h_before(j, i, before), from, 0, rows, hidden);
        const wf_matrix gates = wf_matrix_part(j->gates, j->plan.begin[i] + from, 0, rows,
                                               4 * hidden);
        if (old < from) old = from;
        if (old > last) old = last;
        for (int64_t p = mine->panel; p < mine->panel_end && rows > 0; p += some) {
            int64_t end = p + some < mine->panel_end ? p + some : mine->panel_end;
            int64_t u = p * j->width, u_end = end * j->width < hidden ? end * j->width : hidden;
            for (int64_t g = 0; g < 4 && j->packs; g++)
                wf_gemm_packed(h, j->packed + g * j->pack_bytes, p, end, true,
                               wf_matrix_part(gates, 0, g * hidden, rows, hidden));
            if (!j->packs)
                wf_gemm(j->call->threads, 1, h,
                        wf_matrix_transposed(wf_matrix_of_tensor(j->call->in[W_HH])), 1, gates);
            gate_rows(j, i, from, old, u, u_end - u, before);
            gate_rows(j, i, old, last, u, u_end - u, -1);
        }
        wf_seq_meet(mine);
    }
}

static void sum_biases(const pass *j)
{
    const wf_tensor sum = wf_tensor_of(j->dtype, WF_SHAPE(4 * j->hidden), j->bias.data);
    if (j->call->in[B_IH]) wf_tensor_copy(j->call->in[B_IH], &sum);
    else wf_tensor_fill(&sum, 0);
    if (j->call->in[B_HH]) wf_tensor_add(j->call->in[B_HH], &sum);
}

/* The state after a sequence's last step, or the initial one of a sequence without steps. */
static void final_states(const pass *j)
{
    const wf_seq_plan *p = &j->plan;
    const size_t bytes = (size_t)(j->hidden * wf_dtype_size(j->dtype));
    for (int64_t r = 0; r < j->batch; r++) {
        int64_t b = p->order[r], i = j->reverse ? 0 : p->length[r] - 1;
        bool none = p->length[r] == 0;
        const void *h = none ? wf_matrix_at(j->h0, r, 0) : wf_matrix_at(j->y, i * j->batch + b, 0);
        const void *c = c_before(j, none ? -1 : i, r, 0);
        memcpy(wf_element(j->dtype, j->call->out[H_N]->data, b * j->hidden), h, bytes);
        memcpy(wf_element(j->dtype, j->call->out[C_N]->data, b * j->hidden), c, bytes);
    }
}

static int64_t step_flops(const pass *j)
{
    return 8 * j->hidden * j->hidden;
}

static void lstm_forward(const wf_call *call)
{
    pass j = pass_of(call->in, call->attr);
    forward_parts(&j, call->scratch);
    begin(&j, call);
    sum_biases(&j);
    const int64_t rows = j.plan.rows, all = j.time * j.batch, hidden = j.hidden;
    if (!j.plan.full) {
        /* Past the end the output is zero, and nobody's rows of what is saved have no meaning:
         * zero too. */
        clear_rows(j.y, 0, all);
        clear_rows(j.gates, rows, all - rows);
        clear_rows(j.c, rows, all - rows);
        for (int k = 0; k < 2; k++)
            memcpy(j.h[k].data, j.h0.data, (size_t)(j.batch * hidden * wf_dtype_size(j.dtype)));
    }
    wf_gemm(call->threads, 1, rows_of(&j, call->in[X], j.inputs),
            wf_matrix_transposed(wf_matrix_of_tensor(call->in[W_IH])), 0,
            wf_matrix_part(j.gates, 0, 0, rows, 4 * hidden));
    if (j.packs) wf_seq_pack(call->threads, 4, hidden, true, call->in[W_HH], j.packed);
    wf_seq_run(&j.plan, j.packs ? call->threads : 1, j.panels, step_flops(&j), forward_steps, &j);
    final_states(&j);
}

/* ---- backward ---- */

/* What goes into the gates of rows first .. last - 1 of step i, for units from u on; see
 * gate_rows. */
static void d_gate_rows(const pass *j, int64_t group, int64_t i, int64_t first, int64_t last,
                        int64_t u, int64_t units, int64_t before)
{
    if (first >= last) return;
    const int64_t hidden = j->hidden, row = j->plan.begin[i] + first;
    const wf_tensor *gy = j->gy;
    lstm_backward_rows r = {
        .rows = last - first,
        .units = units,
        .hidden = hidden,
        .gates = wf_matrix_at(j->gates, row, u),
        .d_gates = wf_matrix_at(j->d_gates, row, u),
        .gates_row = 4 * hidden,
        .c = wf_matrix_at(j->c, row, u),
        .c_prev = c_before(j, before, first, u),
        .c_row = hidden,
        .gy = gy ? wf_element(j->dtype, gy->data, i * gy->stride[0] + first * gy->stride[1] + u)
              : j->call->gout[Y] ? wf_matrix_at(j->outside, row, u)
                                 : NULL,
        .gy_row = gy ? gy->stride[1] : hidden,
        .dh = wf_matrix_at(j->dh, first, u),
        .dc = wf_matrix_at(j->dc, first, u),
        .d_bias = wf_matrix_at(j->d_bias, 4 * group, u),
    };
    j->kernels->backward(&r);
}

/* The biases' gradients of a few steps join those of all steps: a share's groups and units. */
static void gather_bias(const pass *j, const wf_seq_share *mine, int64_t u, int64_t units)
{
    for (int64_t i = 4 * mine->group; i < 4 * mine->group_end; i++) {
        const int64_t at = i * j->hidden + u;
        void *few = wf_matrix_at(j->d_bias, i, u);
        wf_sum_rows(j->dtype, 1, units, (const void *[]){ few }, 1, j->bias_high + at,
                    j->bias_low + at);
        memset(few, 0, (size_t)(units * wf_dtype_size(j->dtype)));
    }
}

static void backward_steps(void *context, const wf_seq_share *mine)
{
    const pass *j = context;
    const int64_t hidden = j->hidden, batch = j->batch;
    const int64_t from = wf_seq_group_begin(batch, mine->group),
                  to = wf_seq_group_begin(batch, mine->group_end);
    const int64_t u = mine->panel * j->width, some = panels_at_a_time(j, mine);
    const int64_t u_end = mine->panel_end * j->width < hidden ? mine->panel_end * j->width : hidden;
    for (int64_t k = 0; k < j->time; k++) {
        int64_t i = j->reverse ? k : j->time - 1 - k,
                before = wf_seq_before(&j->plan, i, j->reverse);
        int64_t old = wf_seq_continuing(&j->plan, i, j->reverse),
                last = j->plan.active[i] < to ? j->plan.active[i] : to, rows = last - from;
        for (int64_t g = mine->group; g < mine->group_end; g++) {
            int64_t first = wf_seq_group_begin(batch, g), end = wf_seq_group_begin(batch, g + 1);
            if (end > last) end = last;
            int64_t cut = old < first ? first : old > end ? end : old;
            d_gate_rows(j, g, i, first, cut, u, u_end - u, before);
            d_gate_rows(j, g, i, cut, end, u, u_end - u, -1);
        }
        if (k % LEAF == LEAF - 1 || k == j->time - 1) gather_bias(j, mine, u, u_end - u);
        wf_seq_meet(mine); /* the product needs the gates of all units */
        const wf_matrix d_gates = wf_matrix_part(j->d_gates, j->plan.begin[i] + from, 0, rows,
                                                 4 * hidden);
        const wf_matrix dh = wf_matrix_part(j->dh, from, 0, rows, hidden);
        for (int64_t p = mine->panel; p < mine->panel_end && rows > 0 && j->packs; p += some) {
            int64_t end = p + some < mine->panel_end ? p + some : mine->panel_end;
            for (int64_t g = 0; g < 4; g++)
                wf_gemm_packed(wf_matrix_part(d_gates, 0, g * hidden, rows, hidden),
                               j->packed + g * j->pack_bytes, p, end, g > 0, dh);
        }
        if (!j->packs && rows > 0)
            wf_gemm(j->call->threads, 1, d_gates, wf_matrix_of_tensor(j->call->in[W_HH]), 0, dh);
    }
}

/* The cotangent of y: where it is if its rows have their numbers side by side, else gathered. */
static void outside_begin(pass *j)
{
    const wf_tensor *gy = j->call->gout[Y];
    if (gy && j->plan.full && (gy->stride[2] == 1 || j->hidden == 1)) j->gy = gy;
    if (gy && !j->gy) wf_seq_gather(&j->plan, j->call->threads, gy, j->outside.data);
}

/* The gradient of input i += d_gates^T x, where d_gates begins at row `first`; `begins`: it is the
 * first that is added. */
static void add_weight_gradient(const pass *j, int i, bool begins, int64_t first, wf_matrix x)
{
    const wf_matrix g = wf_matrix_part(j->d_gates, first, 0, x.rows, 4 * j->hidden);
    const double beta = begins && j->call->fresh >> i & 1 ? 0 : 1;
    wf_gemm_long(j->call->threads, 1, wf_matrix_transposed(g), x, beta,
                 wf_matrix_of_tensor(j->call->gin[i]), j->products);
}

static void add_recurrent_gradient(const pass *j)
{
    const int64_t hidden = j->hidden, batch = j->batch, others = (j->time - 1) * batch;
    if (!j->plan.full) {
        /* By now the gathered cotangent has been used, and its place is free. */
        wf_seq_gather_before(&j->plan, j->call->threads, j->reverse, j->call->out[Y], j->h0.data,
                             j->outside.data);
        add_weight_gradient(j, W_HH, true, 0,
                            wf_matrix_part(j->outside, 0, 0, j->plan.rows, hidden));
        return;
    }
    add_weight_gradient(j, W_HH, true, j->reverse ? others : 0, j->h0);
    add_weight_gradient(j, W_HH, false, j->reverse ? 0 : batch,
                        wf_matrix_part(j->y, j->reverse ? batch : 0, 0, others, hidden));
}

static void add_input_gradient(const pass *j, const wf_tensor *gin)
{
    const int64_t rows = j->plan.rows;
    bool direct = wf_seq_in_place(&j->plan, gin);
    wf_matrix to = direct ? rows_in_place(j, gin) : wf_matrix_part(j->inputs, 0, 0, rows, j->input);
    wf_gemm(j->call->threads, 1, wf_matrix_part(j->d_gates, 0, 0, rows, 4 * j->hidden),
            wf_matrix_of_tensor(j->call->in[W_IH]), direct ? 1 : 0, to);
    if (!direct) wf_seq_scatter_add(&j->plan, j->call->threads, to.data, gin);
}

static void lstm_backward(const wf_call *call)
{
    pass j = pass_of(call->in, call->attr);
    backward_parts(&j, call->scratch);
    begin(&j, call);
    const wf_tensor *const *gin = call->gin;
    wf_seq_gather_state(&j.plan, call->gout[H_N], j.hidden, j.dtype, j.dh.data);
    wf_seq_gather_state(&j.plan, call->gout[C_N], j.hidden, j.dtype, j.dc.data);
    const int64_t groups = wf_seq_groups(j.batch), bias = 4 * j.hidden;
    clear_rows(j.d_bias, 0, 4 * groups);
    memset(j.bias_high, 0, (size_t)(groups * bias) * sizeof(double));
    memset(j.bias_low, 0, (size_t)(groups * bias) * sizeof(double));
    outside_begin(&j);
    if (j.packs) wf_seq_pack(call->threads, 4, j.hidden, false, call->in[W_HH], j.packed);
    wf_seq_run(&j.plan, j.packs ? call->threads : 1, j.panels, step_flops(&j), backward_steps, &j);

    for (int i = 0; i < call->n_in; i++) /* the weights' begin with a product */
        if (gin[i] && call->fresh >> i & 1 && i != W_HH && i != W_IH) wf_tensor_fill(gin[i], 0);
    if (gin[H0]) wf_seq_scatter_state_add(&j.plan, j.dh.data, gin[H0]);
    if (gin[C0]) wf_seq_scatter_state_add(&j.plan, j.dc.data, gin[C0]);
    wf_seq_add_groups(groups, bias, j.bias_high, j.bias_low);
    for (int i = B_IH; i <= B_HH; i++)
        if (gin[i])
            wf_sum_into(j.dtype, bias, j.bias_high, j.bias_low, gin[i]->data, gin[i]->stride[0]);
    if (gin[W_HH]) add_recurrent_gradient(&j);
    if (gin[W_IH]) add_weight_gradient(&j, W_IH, true, 0, rows_of(&j, call->in[X], j.inputs));
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
    pass j = pass_of(in, s->attr);
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
    if (!cell_steps(t, wf_lstm_row(), &cell, &s)) return false;
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
    .flags = WF_OP_BEGINS,
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
