/* Convolutions as products. A block of positions is made ready for a chunk of taps (im2col,
 * Chellapilla et al. 2006), a piece of it at a time that stays in the second-level cache: forward
 * multiplies it, packed, by the weights; the gradient of x is the same with the kernel turned
 * around, or, where positions are apart, the products' sums added back to where they came from; the
 * gradient of the weights multiplies it by that of the result, over all positions. */
#include "autograd/conv_private.h"
#include "tensor/gemm.h"
#include "tensor/size.h"

#include <math.h>
#include <string.h>

enum { BLOCK_BYTES = 1024, CHUNK = 256 }; /* positions of a block, in bytes; taps of a chunk */
enum { POSITIONS = BLOCK_BYTES / (int)sizeof(float), RUNS = 2 * POSITIONS };
enum { PART = 16 };      /* blocks that add up in one product of the weights' gradient */
enum { KEPT = 1 << 22 }; /* elements that such products may have together */

const conv_kernels *conv_kernels_of(wf_dtype dtype)
{
    static const conv_kernels *const *const each[] = { WF_ISA_EACH(conv_kernels) };
    return each[wf_isa_level()][dtype];
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t up(int64_t a, int64_t unit)
{
    return (a + unit - 1) / unit;
}

/* ---- how it is cut ---- */

/* Blocks of whole rows of positions, or of a part of one row; chunks of taps; and what these are
 * made of. Matters of shape and dtype alone: the order of sums is the same for any number of
 * threads. */
typedef struct cutting {
    int64_t rows, columns, down, across; /* positions of a block; blocks */
    int64_t area, taps, chunks;          /* of a kernel; of a chunk; chunks of a group */
    int64_t band_rows, band_columns, quarter, channel; /* elements of a channel's band */
    int64_t band, gathered;                            /* elements in all, -1: too many */
} cutting;

static cutting cut(const conv *v)
{
    const int64_t lane = CONV_SLACK / wf_dtype_size(v->dtype);
    const int64_t block = BLOCK_BYTES / wf_dtype_size(v->dtype), width = wf_pack_width(v->dtype);
    cutting u = { .rows = 1, .area = v->kernel[0] * v->kernel[1], .band = -1 };
    if (v->out[1] >= block) {
        u.columns = up(up(v->out[1], up(v->out[1], block)), lane) * lane;
    } else {
        u.columns = v->out[1];
        u.rows = up(v->out[0], up(v->out[0], block / v->out[1]));
    }
    u.down = up(v->out[0], u.rows);
    u.across = up(v->out[1], u.columns);
    const int64_t all = v->inputs * u.area;
    u.taps = u.area < CHUNK ? least(CHUNK / u.area * u.area, all) : CHUNK;
    u.chunks = up(all, u.taps > 0 ? u.taps : 1);
    const int64_t channels = u.area < CHUNK ? u.taps / u.area : 2;
    const int64_t wide = width > lane ? width : lane; /* of a row of what is gathered */
    u.gathered = u.taps * up(u.rows * u.columns, wide) * wide + lane;
    u.band_rows = (u.rows - 1) * v->stride[0] + (v->kernel[0] - 1) * v->dilation[0] + 1;
    u.band_columns = (u.columns - 1) * v->stride[1] + (v->kernel[1] - 1) * v->dilation[1] + 1;
    u.quarter = up(u.band_columns, v->stride[1]);
    int64_t elements;
    if (wf_size_mul(u.quarter, v->stride[1], &elements) &&
        wf_size_mul(elements, u.band_rows, &elements)) {
        u.channel = elements;
        if (wf_size_mul(elements, channels, &elements) && elements < INT64_MAX / 64)
            u.band = up(elements + lane, lane) * lane; /* so that what is behind it is aligned */
    }
    return u;
}

/* A block of positions, and a chunk of taps of one group. */
typedef struct piece {
    int64_t row, column, rows, columns;
    int64_t tap, taps;
} piece;

static piece piece_of(const conv *v, const cutting *u, int64_t block, int64_t chunk)
{
    piece p = { .row = block / u->across * u->rows, .column = block % u->across * u->columns };
    p.rows = least(v->out[0] - p.row, u->rows);
    p.columns = least(v->out[1] - p.column, u->columns);
    p.tap = chunk * u->taps;
    p.taps = least(v->inputs * u->area - p.tap, u->taps);
    return p;
}

/* The band of a piece, of a sample's channels `x` (C, H, W). */
static conv_band band_of(const conv *v, const cutting *u, const piece *p, const wf_tensor *x,
                         int64_t sample, int64_t group, void **at)
{
    const int64_t first = p->tap / u->area;
    const int64_t channel = group * v->inputs + first;
    *at = wf_element(v->dtype, x->data, sample * x->stride[0] + channel * x->stride[1]);
    return (conv_band){
        .channels = (p->tap + p->taps - 1) / u->area - first + 1,
        .rows = u->band_rows,
        .columns = u->band_columns,
        .phases = v->stride[1],
        .quarter = u->quarter,
        .x_channel = x->stride[1],
        .x_row = x->stride[2],
        .x_column = x->stride[3],
        .first_row = p->row * v->stride[0] - v->before[0],
        .first_column = p->column * v->stride[1] - v->before[1],
        .in_rows = v->in[0],
        .in_columns = v->in[1],
    };
}

/* Where in the band each tap of the piece begins. */
static void offsets(const conv *v, const cutting *u, const piece *p, int64_t *offset)
{
    const int64_t first = p->tap / u->area, row = v->stride[1] * u->quarter;
    for (int64_t l = 0; l < p->taps; l++) {
        const int64_t c = (p->tap + l) / u->area - first, at = (p->tap + l) % u->area;
        const int64_t i = at / v->kernel[1] * v->dilation[0];
        const int64_t j = at % v->kernel[1] * v->dilation[1];
        offset[l] = c * u->channel + i * row + j % v->stride[1] * u->quarter + j / v->stride[1];
    }
}

/* The runs of the piece's positions `first` on, at most `n` of them. */
static int64_t runs_of(const conv *v, const cutting *u, const piece *p, int64_t first, int64_t n,
                       conv_run *run)
{
    const int64_t row = v->stride[0] * v->stride[1] * u->quarter;
    const int64_t all = p->rows * p->columns, last = least(first + n, all);
    int64_t count = 0;
    for (int64_t at = first; at < last; count++) {
        const int64_t r = at / p->columns, column = at % p->columns;
        run[count] = (conv_run){ r * row + column, at - first,
                                 least(p->columns - column, last - at) };
        at += run[count].n;
    }
    return count;
}

/* ---- forward, and the gradient of x where positions are side by side ---- */

/* y = (or +=) the convolution of x; w row-major. */
typedef struct forwarding {
    const conv *v;
    const wf_tensor *x, *bias, *y;
    const void *w;
    bool adds;
    cutting u;
    char *scratch;
    int64_t bytes; /* of scratch for a thread */
} forwarding;

/* The piece in panels, as wf_gemm_packed takes them. */
static void pack_piece(const forwarding *f, const piece *p, const int64_t *offset, const void *band,
                       void *packed)
{
    const int64_t width = wf_pack_width(f->v->dtype), n = p->rows * p->columns;
    conv_run run[RUNS];
    for (int64_t at = 0; at < n; at += width)
        conv_kernels_of(f->v->dtype)
            ->gather(p->taps, offset, band, runs_of(f->v, &f->u, p, at, width, run), run,
                     wf_element(f->v->dtype, packed, at * p->taps), width);
}

static void begin_with_bias(const forwarding *f, int64_t group, wf_matrix y)
{
    const conv *v = f->v;
    for (int64_t o = 0; o < v->outputs; o++) {
        const void *b = f->bias ? wf_element(v->dtype, f->bias->data,
                                             (group * v->outputs + o) * f->bias->stride[0])
                                : NULL;
        const wf_tensor row = wf_tensor_of(v->dtype, WF_SHAPE(y.columns), wf_matrix_at(y, o, 0));
        wf_tensor_fill(&row, b ? wf_dtype_describe(v->dtype)->load(b, 0) : 0);
    }
}

static void forward_block(const forwarding *f, int64_t unit, char *scratch)
{
    const conv *v = f->v;
    const cutting *u = &f->u;
    const int64_t blocks = u->down * u->across, all = v->inputs * u->area;
    const int64_t block = unit % blocks, group = unit / blocks % v->groups;
    const int64_t sample = unit / blocks / v->groups, width = wf_pack_width(v->dtype);
    char *packed = (char *)wf_element(v->dtype, scratch, u->band);
    int64_t offset[CHUNK];
    const piece whole = piece_of(v, u, block, 0);
    const wf_matrix y = wf_matrix_strided(
        v->dtype,
        wf_element(v->dtype, f->y->data,
                   sample * f->y->stride[0] + group * v->outputs * f->y->stride[1] +
                       whole.row * v->out[1] + whole.column),
        v->outputs, whole.rows * whole.columns, f->y->stride[1], 1);
    const wf_matrix w = wf_matrix_of(v->dtype, wf_element(v->dtype, f->w, group * v->outputs * all),
                                     v->outputs, all);
    wf_packed_into into = f->adds ? WF_PACKED_ADD : WF_PACKED_SET;
    if (!f->adds && (f->bias || all == 0)) {
        begin_with_bias(f, group, y);
        into = WF_PACKED_ADD;
    }
    for (int64_t chunk = 0; chunk < u->chunks; chunk++) {
        const piece p = piece_of(v, u, block, chunk);
        void *x;
        const conv_band b = band_of(v, u, &p, f->x, sample, group, &x);
        conv_kernels_of(v->dtype)->fill(&b, x, scratch);
        offsets(v, u, &p, offset);
        pack_piece(f, &p, offset, scratch, packed);
        wf_gemm_packed(wf_matrix_part(w, 0, p.tap, v->outputs, p.taps), packed, 0,
                       up(y.columns, width), into, y);
        into = WF_PACKED_ADD;
    }
}

static void forward_share(void *context, wf_team *team, int id, int size)
{
    (void)team;
    const forwarding *f = context;
    const int64_t units = f->v->samples * f->v->groups * f->u.down * f->u.across;
    for (int64_t i = units * id / size; i < units * (id + 1) / size; i++)
        forward_block(f, i, f->scratch + id * f->bytes);
}

static int64_t aligned(int64_t bytes)
{
    return up(bytes, WF_ALIGNMENT) * WF_ALIGNMENT;
}

/* Bytes for `elements` elements, or -1. */
static int64_t room(const conv *v, int64_t elements)
{
    int64_t bytes;
    return wf_size_mul(elements, wf_dtype_size(v->dtype), &bytes) && bytes < INT64_MAX / 4
               ? aligned(bytes)
               : -1;
}

static int64_t weights(const conv *v)
{
    return v->groups * v->outputs * v->inputs * v->kernel[0] * v->kernel[1];
}

/* Bytes of one thread: a band, and what is gathered from it, twice aligned. */
static int64_t thread_bytes(const conv *v, const cutting *u)
{
    return u->band < 0 || u->gathered > INT64_MAX / 64 ? -1 : room(v, u->band + u->gathered + 64);
}

/* Multiply-adds that are worth a thread. */
static int threads_for(const conv *v, double work)
{
    enum { SHARE = 1 << 18 };
    return work < 2.0 * SHARE ? 1 : work / SHARE < v->threads ? (int)(work / SHARE) : v->threads;
}

static double work_of(const conv *v)
{
    return (double)v->samples * (double)(v->out[0] * v->out[1]) * (double)weights(v);
}

static void run_forward(forwarding *f)
{
    if (f->v->outputs == 0) return;
    f->u = cut(f->v);
    f->bytes = thread_bytes(f->v, &f->u);
    wf_par_team(threads_for(f->v, work_of(f->v)), forward_share, f);
}

/* The weights row-major, in the scratch if they are not. */
static const void *dense(const conv *v, const wf_tensor *w, void *scratch)
{
    if (wf_tensor_is_contiguous(w)) return w->data;
    const wf_tensor own = wf_tensor_of(w->dtype, wf_tensor_shape(w), scratch);
    wf_tensor_assign(w, &own, v->threads);
    return scratch;
}

int64_t conv_forward_bytes(const conv *v)
{
    const cutting u = cut(v);
    const int64_t each = thread_bytes(v, &u), own = room(v, weights(v));
    int64_t all;
    return each < 0 || own < 0 || !wf_size_mul(each, v->threads, &all) || all > INT64_MAX / 4
               ? -1
               : all + own;
}

void conv_forward(const conv *v, const wf_call *c)
{
    const wf_tensor x = with_two_axes(c->in[0]), y = with_two_axes(c->out[0]);
    forwarding f = { .v = v, .x = &x, .bias = c->in[2], .y = &y };
    f.w = dense(v, c->in[1], c->scratch);
    f.scratch = (char *)c->scratch + room(v, weights(v));
    run_forward(&f);
}

/* ---- the gradient of x ---- */

/* The convolution whose result is the gradient of x: of that of y, with the kernel turned around.
 */
static conv turned(const conv *v)
{
    conv t = *v;
    t.inputs = v->outputs;
    t.outputs = v->inputs;
    for (int k = 0; k < 2; k++) {
        t.in[k] = v->out[k];
        t.out[k] = v->in[k];
        t.before[k] = v->dilation[k] * (v->kernel[k] - 1) - v->before[k];
    }
    return t;
}

static bool can_turn(const conv *v)
{
    const conv t = turned(v);
    return v->stride[0] == 1 && v->stride[1] == 1 && t.before[0] >= 0 && t.before[1] >= 0 &&
           t.out[0] > 0 && t.out[1] > 0;
}

/* The weights of `turned`; false if one of them is not finite: the zeros of the padding, times it,
 * would be more than the gradient has. */
#define TURN(dtype, suffix, T, ...)                                                                \
    static bool turn_##suffix(const conv *v, const T *w, T *to)                                    \
    {                                                                                              \
        const int64_t area = v->kernel[0] * v->kernel[1];                                          \
        T none = 0;                                                                                \
        for (int64_t g = 0; g < v->groups; g++)                                                    \
            for (int64_t o = 0; o < v->outputs; o++)                                               \
                for (int64_t i = 0; i < v->inputs; i++, w += area) {                               \
                    T *k = to + ((g * v->inputs + i) * v->outputs + o) * area;                     \
                    for (int64_t j = 0; j < area; j++) none += w[j] * 0;                           \
                    for (int64_t j = 0; j < area; j++) k[j] = w[area - 1 - j];                     \
                }                                                                                  \
        return none == 0;                                                                          \
    }
WF_FLOATS(TURN)

/* Adds the gradient of x by way of the sums of all taps' products. */
typedef struct spreading {
    const conv *v;
    const wf_tensor *g, *gx;
    const void *w;
    cutting u;
    char *scratch;
    int64_t bytes;
} spreading;

static int64_t gathered_width(const conv *v, const cutting *u)
{
    const int64_t lane = CONV_SLACK / wf_dtype_size(v->dtype);
    return up(u->rows * u->columns, lane) * lane;
}

/* A sample's and group's gradient of the result at a piece's positions: (outputs, positions). */
static wf_matrix cotangent(const conv *v, const wf_tensor *g, const piece *p, int64_t sample,
                           int64_t group)
{
    const int64_t at = sample * g->stride[0] + group * v->outputs * g->stride[1];
    return wf_matrix_strided(v->dtype,
                             wf_element(v->dtype, g->data, at + p->row * v->out[1] + p->column),
                             v->outputs, p->rows * p->columns, g->stride[1], 1);
}

static void spread_chunk(const spreading *f, int64_t sample, int64_t group, int64_t chunk,
                         char *scratch)
{
    const conv *v = f->v;
    const cutting *u = &f->u;
    const conv_kernels *k = conv_kernels_of(v->dtype);
    const int64_t all = v->inputs * u->area;
    void *sums = wf_element(v->dtype, scratch, u->band), *x;
    int64_t offset[CHUNK];
    conv_run run[RUNS];
    for (int64_t block = 0; block < u->down * u->across; block++) {
        const piece p = piece_of(v, u, block, chunk);
        const conv_band b = band_of(v, u, &p, f->gx, sample, group, &x);
        const wf_matrix g = cotangent(v, f->g, &p, sample, group);
        const wf_matrix w = wf_matrix_strided(
            v->dtype, wf_element(v->dtype, f->w, group * v->outputs * all + p.tap), p.taps,
            v->outputs, 1, all);
        const wf_matrix to = wf_matrix_strided(v->dtype, sums, p.taps, g.columns,
                                               gathered_width(v, u), 1);
        wf_gemm(1, 1, w, g, 0, to);
        offsets(v, u, &p, offset);
        memset(scratch, 0, (size_t)(b.channels * u->channel * wf_dtype_size(v->dtype)));
        k->scatter(p.taps, offset, scratch, runs_of(v, u, &p, 0, g.columns, run), run, sums,
                   gathered_width(v, u));
        k->add(&b, scratch, x);
    }
}

static void spread_share(void *context, wf_team *team, int id, int size)
{
    (void)team;
    const spreading *f = context;
    /* Chunks of whole channels write into channels of their own. */
    const int64_t groups = f->v->groups, chunks = f->u.chunks;
    const int64_t split = f->u.area < CHUNK ? chunks : 1;
    const int64_t units = f->v->samples * groups * split;
    for (int64_t i = units * id / size; i < units * (id + 1) / size; i++)
        for (int64_t j = i % split; j < chunks; j += split)
            spread_chunk(f, i / split / groups, i / split % groups, j, f->scratch + id * f->bytes);
}

static void spread(const conv *v, const wf_tensor *g, const wf_tensor *gx, const void *w,
                   char *scratch)
{
    spreading f = { v, g, gx, w, cut(v), scratch, 0 };
    f.bytes = thread_bytes(v, &f.u);
    wf_par_team(threads_for(v, work_of(v)), spread_share, &f);
}

static void backward_x(const conv *v, const wf_call *c)
{
    const wf_tensor g = with_two_axes(c->gout[0]), gx = with_two_axes(c->gin[0]);
    const bool fresh = c->fresh & 1;
    char *scratch = (char *)c->scratch + 2 * room(v, weights(v));
    const void *w = dense(v, c->in[1], c->scratch);
    if (can_turn(v) && gx.stride[3] == 1 && gx.stride[2] == gx.dim[3]) {
        void *to = (char *)c->scratch + room(v, weights(v));
        const conv t = turned(v);
        if (v->dtype == WF_F64 ? turn_f64(v, w, to) : turn_f32(v, w, to)) {
            forwarding f = {
                .v = &t, .x = &g, .y = &gx, .w = to, .adds = !fresh, .scratch = scratch
            };
            run_forward(&f);
            return;
        }
    }
    if (fresh) wf_tensor_fill(&gx, 0);
    spread(v, &g, &gx, w, scratch);
}

/* ---- the gradient of the weights ---- */

/* Parts of the positions of all samples: each of PART blocks one product, the products added with
 * what that loses (tensor/gemm.h). */
typedef struct weighing {
    const conv *v;
    const wf_tensor *x, *g;
    cutting u;
    int64_t parts, once, first, count; /* in all; at once; at work */
    char *products, *scratch;
    int64_t bytes;
} weighing;

static int64_t parts_of(const conv *v, const cutting *u)
{
    return up(v->samples * u->down * u->across, PART);
}

static int64_t parts_at_once(const conv *v, int64_t parts)
{
    const int64_t n = KEPT / (weights(v) + 1);
    return n < 1 ? 1 : least(n, parts);
}

static void weigh_unit(const weighing *f, int64_t unit, char *scratch)
{
    const conv *v = f->v;
    const cutting *u = &f->u;
    const conv_kernels *k = conv_kernels_of(v->dtype);
    const int64_t chunk = unit % u->chunks, group = unit / u->chunks % v->groups;
    const int64_t part = unit / u->chunks / v->groups, all = v->inputs * u->area;
    const int64_t blocks = u->down * u->across, width = gathered_width(v, u);
    const int64_t first = (f->first + part) * PART;
    const int64_t last = least(first + PART, v->samples * blocks);
    void *gathered = wf_element(v->dtype, scratch, u->band), *x;
    const wf_matrix product = wf_matrix_of(
        v->dtype, wf_element(v->dtype, f->products, part * weights(v) + group * v->outputs * all),
        v->outputs, all);
    int64_t offset[CHUNK];
    conv_run run[RUNS];
    for (int64_t i = first; i < last; i++) {
        const piece p = piece_of(v, u, i % blocks, chunk);
        const conv_band b = band_of(v, u, &p, f->x, i / blocks, group, &x);
        const wf_matrix g = cotangent(v, f->g, &p, i / blocks, group);
        k->fill(&b, x, scratch);
        offsets(v, u, &p, offset);
        k->gather(p.taps, offset, scratch, runs_of(v, u, &p, 0, g.columns, run), run, gathered,
                  width);
        wf_gemm(1, 1, g, wf_matrix_strided(v->dtype, gathered, g.columns, p.taps, 1, width),
                i == first ? 0 : 1, wf_matrix_part(product, 0, p.tap, v->outputs, p.taps));
    }
}

static void weigh_share(void *context, wf_team *team, int id, int size)
{
    (void)team;
    const weighing *f = context;
    const int64_t units = f->count * f->v->groups * f->u.chunks;
    for (int64_t i = units * id / size; i < units * (id + 1) / size; i++)
        weigh_unit(f, i, f->scratch + id * f->bytes);
}

static void backward_w(const conv *v, const wf_call *c)
{
    const wf_tensor x = with_two_axes(c->in[0]), g = with_two_axes(c->gout[0]), *gw = c->gin[1];
    const int64_t n = weights(v), each = n * wf_dtype_size(v->dtype);
    char *sum = c->scratch, *low = sum + each;
    weighing f = { .v = v, .x = &x, .g = &g, .u = cut(v), .products = low + each };
    f.parts = parts_of(v, &f.u);
    f.once = parts_at_once(v, f.parts);
    f.scratch = sum + room(v, (2 + f.once) * n);
    f.bytes = thread_bytes(v, &f.u);
    if (n == 0 || f.parts == 0) {
        if (c->fresh & 2) wf_tensor_fill(gw, 0);
        return;
    }
    const wf_matrix total = wf_matrix_of(v->dtype, sum, v->groups * v->outputs,
                                         n / (v->groups * v->outputs));
    memset(sum, 0, (size_t)(2 * each));
    for (f.first = 0; f.first < f.parts; f.first += f.once) {
        f.count = least(f.once, f.parts - f.first);
        wf_par_team(threads_for(v, work_of(v)), weigh_share, &f);
        for (int64_t i = 0; i < f.count; i++)
            wf_gemm_fold(v->threads, f.products + i * each, low, total);
    }
    wf_gemm_settle(v->threads, low, total);
    const wf_tensor found = wf_tensor_of(v->dtype, wf_tensor_shape(gw), sum);
    if (c->fresh & 2)
        wf_tensor_assign(&found, gw, v->threads);
    else
        wf_tensor_accumulate(&found, gw, 1, v->threads);
}

int64_t conv_backward_bytes(const conv *v)
{
    const conv t = turned(v);
    const cutting u = cut(v), w = can_turn(v) ? cut(&t) : u;
    const int64_t own = thread_bytes(v, &u), other = can_turn(v) ? thread_bytes(&t, &w) : own;
    const int64_t once = parts_at_once(v, parts_of(v, &u)), each = own > other ? own : other;
    int64_t all, kept;
    if (own < 0 || other < 0 || !wf_size_mul(each, v->threads, &all) ||
        !wf_size_mul(weights(v), 2 + once, &kept) || (kept = room(v, kept + 64)) < 0 ||
        all > INT64_MAX / 4)
        return -1;
    return all + kept;
}

void conv_backward(const conv *v, const wf_call *c)
{
    if (!c->gout[0]) return;
    const wf_tensor g = with_two_axes(c->gout[0]);
    if (c->gin[0]) backward_x(v, c);
    if (c->gin[1]) backward_w(v, c);
    if (!c->gin[2]) return;
    wf_tensor b = tensor_with_axis(tensor_with_axis(*c->gin[2], 1, 1, 0), 2, 1, 0);
    if (c->fresh & 4) wf_tensor_fill(c->gin[2], 0);
    wf_tensor_accumulate(&g, &b, 1, v->threads);
}
