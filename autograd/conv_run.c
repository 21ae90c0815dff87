/* Convolutions as products. Of a block of positions what a chunk of taps needs of x is copied, with
 * its padding, to a band that stays in the second-level cache; there a tap's row of positions is
 * read where it lies (im2col, Chellapilla et al. 2006, of which nothing is written). Forward
 * multiplies it by the weights; the gradient of x is the same with the kernel turned around, or,
 * where positions are apart, the products' sums added back to where they came from; the gradient of
 * the weights multiplies it by that of the result, over all positions. With many outputs the last
 * two are matrix products of rows that were gathered. */
#include "autograd/conv_private.h"
#include "tensor/gemm.h"
#include "tensor/size.h"

#include <math.h>
#include <string.h>

enum { BLOCK_BYTES = 1024, CHUNK = 256 }; /* positions of a block, in bytes; taps of a chunk */
enum { POSITIONS = BLOCK_BYTES / (int)sizeof(float) };
enum { FEW_WEIGHED = 8, FEW_SPREAD = 4 }; /* outputs for which rows are not gathered: for speed */
enum { SHARES = 8, HIGH = 12 }; /* units that there should be; outputs of one that are split off */
enum { PART = 16 };      /* blocks that add up in one product of the weights' gradient, at most */
enum { KEPT = 1 << 22 }; /* elements that such products may have together */

const conv_kernels *conv_kernels_of(wf_dtype dtype)
{
    static const conv_kernels *const *const each[] = { WF_ISA_EACH(conv_kernels) };
    return each[wf_isa_level()][dtype];
}

const conv_products *conv_products_of(wf_dtype dtype)
{
    static const conv_products *const *const each[] = { WF_ISA_EACH(conv_products) };
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
    /* Chunks of as many channels each, as far as that goes. */
    const int64_t most = u.area < CHUNK ? CHUNK / u.area : 1;
    u.taps = u.area < CHUNK ? up(v->inputs, up(v->inputs, most) + (v->inputs == 0)) * u.area
                            : CHUNK;
    u.chunks = up(all, u.taps > 0 ? u.taps : 1);
    const int64_t channels = u.area < CHUNK ? u.taps / u.area : 2;
    const int64_t wide = width > lane ? width : lane; /* of a row of what is gathered */
    u.gathered = u.taps * up(u.rows * u.columns, wide) * wide + lane;
    u.band_rows = (u.rows - 1) * v->stride[0] + (v->kernel[0] - 1) * v->dilation[0] + 1;
    u.band_columns = (u.columns - 1) * v->stride[1] + (v->kernel[1] - 1) * v->dilation[1] + 1;
    u.quarter = up(u.band_columns, v->stride[1]);
    int64_t elements;
    if (wf_size_mul(u.quarter, v->stride[1], &elements) &&
        wf_size_mul(elements, u.band_rows, &elements) && elements < INT64_MAX / 64) {
        /* An odd number of cache lines: channels must not all lie in the same few sets. */
        elements = (up(elements, lane) | 1) * lane;
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
        .channels = p->taps > 0 ? (p->tap + p->taps - 1) / u->area - first + 1 : 0,
        .rows = u->band_rows,
        .columns = u->band_columns,
        .phases = v->stride[1],
        .quarter = u->quarter,
        .channel = u->channel,
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
    const int64_t row = v->stride[1] * u->quarter;
    int64_t c = 0, i = p->tap % u->area / v->kernel[1], k = p->tap % v->kernel[1];
    for (int64_t l = 0; l < p->taps; l++) {
        const int64_t j = k * v->dilation[1];
        offset[l] = c * u->channel + i * v->dilation[0] * row + j % v->stride[1] * u->quarter +
                    j / v->stride[1];
        if (++k < v->kernel[1]) continue;
        k = 0;
        if (++i < v->kernel[0]) continue;
        i = 0;
        c++;
    }
}

/* A block's runs, each a row of positions. */
static int64_t runs_of(const conv *v, const cutting *u, const piece *p, conv_run *run)
{
    const int64_t row = v->stride[0] * v->stride[1] * u->quarter;
    for (int64_t r = 0; r < p->rows; r++)
        run[r] = (conv_run){ r * row, r * p->columns, p->columns };
    return p->rows;
}

/* They, vector by vector. */
static int64_t vectors_of(const conv *v, const cutting *u, const piece *p, conv_lanes *to)
{
    const int64_t row = v->stride[0] * v->stride[1] * u->quarter;
    const int64_t lanes = conv_products_of(v->dtype)->lanes;
    int64_t count = 0;
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t k = 0; k < p->columns; k += lanes)
            to[count++] = (conv_lanes){ r * row + k, (int32_t)(r * p->columns + k),
                                        (int32_t)least(p->columns - k, lanes) };
    return count;
}

/* A thread's last piece as its products take it: the next has most of it in common. */
typedef struct laid {
    piece p;
    conv_taps taps;
    int64_t offset[CHUNK];
    conv_lanes vector[POSITIONS];
} laid;

static const conv_taps *lay(const conv *v, const cutting *u, const piece *p, laid *l)
{
    if (l->taps.taps != p->taps || l->p.tap != p->tap) offsets(v, u, p, l->offset);
    if (l->taps.vectors == 0 || l->p.rows != p->rows || l->p.columns != p->columns)
        l->taps.vectors = vectors_of(v, u, p, l->vector);
    l->p = *p;
    l->taps.outputs = v->outputs;
    l->taps.taps = p->taps;
    l->taps.offset = l->offset;
    l->taps.vector = l->vector;
    return &l->taps;
}

/* ---- forward, and the gradient of x where positions are side by side ---- */

/* y = (or +=) the convolution of x; w row-major. Units are parts of a block's outputs: an
 * element's chain is the same in any of them. */
typedef struct forwarding {
    const conv *v;
    const wf_tensor *x, *bias, *y;
    const void *w;
    bool adds;
    cutting u;
    int64_t parts;
    char *scratch;
    int64_t bytes; /* of scratch for a thread */
} forwarding;

/* The outputs `first` to `last` - 1 of a group at the piece's positions. */
static void forward_piece(const forwarding *f, const piece *p, int64_t sample, int64_t group,
                          int64_t first, int64_t last, laid *l, void *band)
{
    const conv *v = f->v;
    const int64_t all = v->inputs * f->u.area, output = group * v->outputs + first;
    const int64_t bias_step = f->bias ? f->bias->stride[0] : 0;
    void *x, *y = wf_element(v->dtype, f->y->data,
                             sample * f->y->stride[0] + output * f->y->stride[1] +
                                 p->row * v->out[1] + p->column);
    const conv_band b = band_of(v, &f->u, p, f->x, sample, group, &x);
    conv_kernels_of(v->dtype)->fill(&b, x, band);
    conv_taps c = *lay(v, &f->u, p, l);
    c.outputs = last - first;
    conv_products_of(v->dtype)->multiply(
        &c, wf_element(v->dtype, f->w, output * all + p->tap), all, band,
        f->bias && p->tap == 0 ? wf_element(v->dtype, f->bias->data, output * bias_step) : NULL,
        bias_step, f->adds || p->tap > 0, y, f->y->stride[1]);
}

static void forward_share(void *context, wf_team *team, int id, int size)
{
    (void)team;
    const forwarding *f = context;
    const conv *v = f->v;
    const int64_t blocks = f->u.down * f->u.across, n = v->samples * v->groups * blocks * f->parts;
    laid l = { .taps = { 0 } };
    for (int64_t i = n * id / size; i < n * (id + 1) / size; i++) {
        const int64_t part = i % f->parts, block = i / f->parts % blocks;
        const int64_t group = i / f->parts / blocks % v->groups;
        const int64_t sample = i / f->parts / blocks / v->groups;
        for (int64_t chunk = 0; chunk == 0 || chunk < f->u.chunks; chunk++) {
            const piece p = piece_of(v, &f->u, block, chunk);
            forward_piece(f, &p, sample, group, v->outputs * part / f->parts,
                          v->outputs * (part + 1) / f->parts, &l, f->scratch + id * f->bytes);
        }
    }
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
    enum { SHARE = 1 << 17 };
    return work < 2.0 * SHARE ? 1 : work / SHARE < v->threads ? (int)(work / SHARE) : v->threads;
}

static double work_of(const conv *v)
{
    return (double)v->samples * (double)(v->out[0] * v->out[1]) * (double)weights(v);
}

/* Parts of the outputs of each of so many units. */
static int64_t parts_for(int64_t units, int64_t outputs)
{
    return units >= SHARES ? 1 : least(up(SHARES, units), up(outputs, HIGH));
}

static void run_forward(forwarding *f)
{
    const conv *v = f->v;
    const int64_t units = v->samples * v->groups * v->out[0] * v->out[1];
    if (units == 0 || v->outputs == 0) return;
    f->u = cut(v);
    f->bytes = thread_bytes(v, &f->u);
    f->parts = parts_for(v->samples * v->groups * f->u.down * f->u.across, v->outputs);
    wf_par_team(threads_for(v, work_of(v)), forward_share, f);
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

/* The taps' sums, gathered, and from there to the band. */
static void spread_gathered(const spreading *f, const piece *p, const laid *l, wf_matrix w,
                            wf_matrix g, void *band)
{
    const conv *v = f->v;
    const int64_t width = gathered_width(v, &f->u);
    void *sums = wf_element(v->dtype, band, f->u.band);
    conv_run run[POSITIONS];
    wf_gemm(1, 1, wf_matrix_transposed(w), g, 0,
            wf_matrix_strided(v->dtype, sums, p->taps, g.columns, width, 1));
    conv_kernels_of(v->dtype)->scatter(p->taps, l->offset, band, runs_of(v, &f->u, p, run), run,
                                       sums, width);
}

static void spread_chunk(const spreading *f, int64_t sample, int64_t group, int64_t chunk, laid *l,
                         char *band)
{
    const conv *v = f->v;
    const cutting *u = &f->u;
    const int64_t all = v->inputs * u->area;
    void *x;
    for (int64_t block = 0; block < u->down * u->across; block++) {
        const piece p = piece_of(v, u, block, chunk);
        const conv_band b = band_of(v, u, &p, f->gx, sample, group, &x);
        const wf_matrix g = cotangent(v, f->g, &p, sample, group);
        const wf_matrix w = wf_matrix_strided(
            v->dtype, wf_element(v->dtype, f->w, group * v->outputs * all + p.tap), v->outputs,
            p.taps, all, 1);
        const conv_taps *c = lay(v, u, &p, l);
        memset(band, 0, (size_t)(b.channels * u->channel * wf_dtype_size(v->dtype)));
        if (v->outputs <= FEW_SPREAD)
            conv_products_of(v->dtype)->spread(c, w.data, all, g.data, g.row_stride, band);
        else
            spread_gathered(f, &p, l, w, g, band);
        conv_kernels_of(v->dtype)->add(&b, band, x);
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
    laid l = { .taps = { 0 } };
    for (int64_t i = units * id / size; i < units * (id + 1) / size; i++)
        for (int64_t j = i % split; j < chunks; j += split)
            spread_chunk(f, i / split / groups, i / split % groups, j, &l,
                         f->scratch + id * f->bytes);
}

static void spread(const conv *v, const wf_tensor *g, const wf_tensor *gx, const void *w,
                   char *scratch)
{
    spreading f = { v, g, gx, w, cut(v), scratch, 0 };
    if (v->samples * v->groups == 0 || v->inputs == 0) return;
    f.bytes = thread_bytes(v, &f.u);
    if (f.u.area < CHUNK) { /* smaller chunks, where there are few */
        const int64_t each = up(v->inputs, up(SHARES, v->samples * v->groups));
        if (each * f.u.area < f.u.taps) f.u.taps = each * f.u.area;
        f.u.chunks = up(v->inputs * f.u.area, f.u.taps);
    }
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

/* Parts of the positions of all samples: each of some blocks one product, the products added with
 * what that loses (tensor/gemm.h). */
typedef struct weighing {
    const conv *v;
    const wf_tensor *x, *g;
    cutting u;
    int64_t parts, once, first, count; /* in all; at once; at work */
    char *products, *scratch;
    int64_t bytes;
} weighing;

/* Blocks of a part: fewer where there are few. */
static int64_t part_of(const conv *v, const cutting *u)
{
    const int64_t n = up(v->samples * u->down * u->across, SHARES);
    return n < 1 ? 1 : least(n, PART);
}

static int64_t parts_of(const conv *v, const cutting *u)
{
    return up(v->samples * u->down * u->across, part_of(v, u));
}

static int64_t parts_at_once(const conv *v, int64_t parts)
{
    const int64_t n = KEPT / (weights(v) + 1);
    return n < 1 ? 1 : least(n, parts);
}

/* The product (g.rows, taps) of a piece, written or added. */
static void weigh_piece(const weighing *f, const piece *p, laid *l, void *band, wf_matrix g,
                        bool adds, wf_matrix product)
{
    const conv *v = f->v;
    const conv_taps *c = lay(v, &f->u, p, l);
    if (v->outputs <= FEW_WEIGHED) {
        conv_products_of(v->dtype)->weigh(c, g.data, g.row_stride, band, adds, product.data,
                                          product.row_stride);
        return;
    }
    const int64_t width = gathered_width(v, &f->u);
    void *gathered = wf_element(v->dtype, band, f->u.band);
    conv_run run[POSITIONS];
    conv_kernels_of(v->dtype)->gather(p->taps, l->offset, band, runs_of(v, &f->u, p, run), run,
                                      gathered, width);
    wf_gemm(1, 1, g, wf_matrix_strided(v->dtype, gathered, g.columns, p->taps, 1, width), adds,
            product);
}

static void weigh_unit(const weighing *f, int64_t unit, laid *l, void *band)
{
    const conv *v = f->v;
    const cutting *u = &f->u;
    const int64_t chunk = unit % u->chunks, group = unit / u->chunks % v->groups;
    const int64_t part = unit / u->chunks / v->groups, all = v->inputs * u->area;
    const int64_t blocks = u->down * u->across, each = part_of(v, u);
    const int64_t first = (f->first + part) * each, last = least(first + each, v->samples * blocks);
    const wf_matrix product = wf_matrix_of(
        v->dtype, wf_element(v->dtype, f->products, part * weights(v) + group * v->outputs * all),
        v->outputs, all);
    void *x;
    for (int64_t i = first; i < last; i++) {
        const piece p = piece_of(v, u, i % blocks, chunk);
        const conv_band b = band_of(v, u, &p, f->x, i / blocks, group, &x);
        const wf_matrix g = cotangent(v, f->g, &p, i / blocks, group);
        conv_kernels_of(v->dtype)->fill(&b, x, band);
        weigh_piece(f, &p, l, band, g, i > first,
                    wf_matrix_part(product, 0, p.tap, v->outputs, p.taps));
    }
}

static void weigh_share(void *context, wf_team *team, int id, int size)
{
    (void)team;
    const weighing *f = context;
    const int64_t units = f->count * f->v->groups * f->u.chunks;
    laid l = { .taps = { 0 } };
    for (int64_t i = units * id / size; i < units * (id + 1) / size; i++)
        weigh_unit(f, i, &l, f->scratch + id * f->bytes);
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
