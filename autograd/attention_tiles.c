/* The fused attention, tile by tile (Rabe and Staats 2021; Dao et al. 2022): scores of some queries
 * with some keys are made, turned into weights and multiplied on while they are near, and none are
 * kept. Of each row the base and the sum of its exponentials remain; the way back makes the weights
 * again from them.
 *
 * Work is cut into units by shape alone. Forward, a unit is some queries of one head; keys and
 * values are packed once for all of them. Back, it is some keys of one head, whose gradients nobody
 * else adds to; the queries' gradients of several units of a head are added up in their order. */
#include "autograd/attention_private.h"
#include "autograd/ops_private.h"
#include "autograd/random_private.h"
#include "tensor/gemm.h"
#include "tensor/size.h"

#include <math.h>
#include <string.h>

/* Of a tile; and of a unit at least, where there are fewer heads than units to be. */
enum { ROWS = 64, KEYS = 256, FEWEST = 256, UNITS = 16 };
enum { FEW = 8 };         /* queries for which packing keys does not pay */
enum { GRAIN = 1 << 19 }; /* multiply-adds that are worth a thread */

static const attention_table *table(void)
{
    static const attention_table *const each[] = { WF_ISA_EACH(&attention_kernels) };
    return each[wf_isa_level()];
}

double attention_scale(const attention *a, int64_t width)
{
    if (a->scale != 0) return a->scale;
    return width > 0 ? 1 / sqrt((double)width) : 1;
}

/* ---- sizes ---- */

typedef struct sizes {
    wf_dtype dtype;
    int64_t bytes;
    int64_t heads, t, s, d, dv; /* as in the shapes: (heads, t, d), (heads, s, d), (heads, s, dv) */
    int64_t tiles, blocks;      /* of ROWS queries, of KEYS keys */
    int64_t groups, each;       /* units of a head, and tiles (blocks) in one */
    int64_t workers;
    bool few;
} sizes;

static int64_t parts(int64_t n, int64_t size)
{
    return n / size + (n % size != 0);
}

/* Units of a head that has n queries (keys), in tiles (blocks) of `size`. */
static void cut(sizes *z, int64_t n, int64_t size)
{
    const int64_t all = parts(n, size);
    int64_t most = parts(n, FEWEST);
    z->groups = z->heads > 0 && z->heads < UNITS ? parts(UNITS, z->heads) : 1;
    if (z->groups > most) z->groups = most < 1 ? 1 : most;
    z->each = parts(all, z->groups);
    z->groups = z->each > 0 ? parts(all, z->each) : 1;
}

static sizes sizes_of(const wf_tensor *const in[], int threads, bool back)
{
    const wf_tensor *q = in[QUERY], *k = in[KEY], *v = in[VALUE];
    sizes z = { .dtype = q->dtype, .bytes = bytes_of(q), .heads = 1 };
    const int lead = q->rank - 2;
    for (int i = 0; i < lead; i++)
        if (!wf_size_mul(z.heads, q->dim[i], &z.heads)) z.heads = INT64_MAX;
    z.t = q->dim[lead];
    z.s = k->dim[lead];
    z.d = q->dim[lead + 1];
    z.dv = v->dim[lead + 1];
    z.tiles = parts(z.t, ROWS);
    z.blocks = parts(z.s, KEYS);
    z.few = !back && z.t <= FEW;
    if (back)
        cut(&z, z.s, KEYS);
    else
        cut(&z, z.t, ROWS);
    const double work = (double)z.heads * (double)z.t * (double)z.s * (double)(z.d + z.dv + 8);
    const double worth = work / GRAIN;
    z.workers = worth < (double)threads ? (int64_t)worth : threads;
    if (z.workers > z.heads * z.groups) z.workers = z.heads * z.groups;
    if (z.workers < 1) z.workers = 1;
    return z;
}

/* ---- what a worker works with ---- */

/* Rows of queries or cotangents, as left factor and packed as right factor. Where a panel holds
 * all columns, the packed rows are the rows. */
typedef struct two_ways {
    char *rows, *packed;
    int64_t row, tile; /* elements from row to row; packed elements of a tile */
} two_ways;

typedef struct work {
    char *scores, *slopes; /* a tile */
    int32_t *seen, *kept;
    bool *clean;                       /* blocks of keys that are finite where they are seen */
    char *keys_turned, *values_turned; /* packed: (D, keys), (V, keys) */
    char *keys, *values;               /* packed: (keys, D), (keys, V) */
    char *row;                         /* queries of a tile; a tile of results */
    char *sum;
    double *base, *total;
    int32_t *used;
    /* back, of all queries of a head */
    two_ways q, g;
    double *inner;
    bool *sound;              /* tiles of finite queries and cotangents */
    char *to_q, *to_k, *to_v; /* gradients */
} work;

static two_ways lay_two_ways(wf_parts *p, const sizes *z, int64_t width)
{
    two_ways w = { .tile = wf_pack_count(z->dtype, ROWS, width) };
    const int64_t panel = wf_pack_width(z->dtype);
    w.packed = wf_part(p, z->tiles, w.tile, z->bytes);
    w.row = panel;
    w.rows = w.packed;
    if (width <= panel) return w;
    w.row = width;
    w.rows = wf_part(p, z->t, width, z->bytes);
    return w;
}

/* Bytes of one worker, -1: too many; and where its parts are. */
static int64_t lay_out(work *w, void *memory, const sizes *z, bool back, bool dropout)
{
    wf_parts p = { memory, 0 };
    const wf_dtype dtype = z->dtype;
    const int64_t blocks = back ? 1 : z->few ? 0 : z->blocks;
    *w = (work){ .scores = NULL };
    w->scores = wf_part(&p, ROWS, KEYS, z->bytes);
    w->seen = wf_part(&p, ROWS, KEYS, sizeof(int32_t));
    if (dropout) w->kept = wf_part(&p, ROWS, KEYS, sizeof(int32_t));
    w->clean = wf_part(&p, z->blocks, 1, sizeof(bool));
    w->keys_turned = wf_part(&p, blocks, wf_pack_count(dtype, z->d, KEYS), z->bytes);
    if (!back) {
        w->values = wf_part(&p, blocks, wf_pack_count(dtype, KEYS, z->dv), z->bytes);
        w->row = wf_part(&p, ROWS, z->d, z->bytes);
        w->sum = wf_part(&p, ROWS, z->dv, z->bytes);
        w->base = wf_part(&p, ROWS, 1, sizeof(double));
        w->total = wf_part(&p, ROWS, 1, sizeof(double));
        w->used = wf_part(&p, ROWS, 1, sizeof(int32_t));
        return p.used;
    }
    w->slopes = wf_part(&p, ROWS, KEYS, z->bytes);
    w->values_turned = wf_part(&p, 1, wf_pack_count(dtype, z->dv, KEYS), z->bytes);
    w->keys = wf_part(&p, 1, wf_pack_count(dtype, KEYS, z->d), z->bytes);
    w->q = lay_two_ways(&p, z, z->d);
    w->g = lay_two_ways(&p, z, z->dv);
    w->inner = wf_part(&p, z->t, 1, sizeof(double));
    w->sound = wf_part(&p, z->tiles, 1, sizeof(bool));
    w->to_q = wf_part(&p, z->t, z->d, z->bytes);
    w->to_k = wf_part(&p, KEYS, z->d, z->bytes);
    w->to_v = wf_part(&p, KEYS, z->dv, z->bytes);
    return p.used;
}

/* Of all workers; then, where several units add to a query's gradient, what each adds. */
static int64_t lay_out_all(const sizes *z, bool back, bool dropout, void *memory, int64_t *one,
                           char **shares)
{
    work w;
    wf_parts p = { memory, 0 };
    *one = lay_out(&w, NULL, z, back, dropout);
    if (*one < 0) return -1;
    wf_part(&p, z->workers, *one, 1);
    char *at = NULL;
    int64_t rows;
    if (back && z->groups > 1) {
        if (!wf_size_mul(z->heads * z->groups, z->t, &rows)) return -1;
        at = wf_part(&p, rows, z->d, z->bytes);
    }
    if (shares) *shares = at;
    return p.used;
}

int64_t attention_scratch(const wf_shaping *s, bool back)
{
    const sizes z = sizes_of(s->in, s->threads, back);
    int64_t one;
    return lay_out_all(&z, back, ((const attention *)s->attr)->dropout > 0, NULL, &one, NULL);
}

/* ---- a call ---- */

typedef struct attending {
    const wf_call *call;
    const attention *how;
    const attention_table *table;
    const attention_kernels *kernels;
    sizes z;
    double scale;
    int64_t ahead; /* causal: query i sees keys <= i + ahead */
    wf_tensor mask;
    int64_t one; /* bytes of a worker */
    char *shares;
    int64_t share; /* scores that dropout draws from one counter */
} attending;

wf_tensor attention_mask(const wf_call *c)
{
    const wf_tensor *m = c->in[SHOWN], *q = c->in[QUERY];
    wf_tensor all = *q;
    all.dtype = WF_I32;
    all.dim[q->rank - 1] = c->in[KEY]->dim[q->rank - 2];
    all.data = m ? m->data : NULL;
    for (int i = 0; i < q->rank; i++) {
        const int own = m ? i - (q->rank - m->rank) : -1;
        all.stride[i] = own < 0 || m->dim[own] == 1 ? 0 : m->stride[own];
    }
    return all;
}

static attending begin(const wf_call *c, bool back)
{
    attending a = { .call = c, .how = c->attr, .table = table(), .mask = attention_mask(c) };
    a.z = sizes_of(c->in, c->threads, back);
    a.kernels = a.table->of[a.z.dtype];
    a.scale = attention_scale(a.how, a.z.d);
    a.ahead = a.z.s - a.z.t;
    a.share = dropout_share(a.z.heads * a.z.t * a.z.s, c->in[QUERY]->dim[0]);
    lay_out_all(&a.z, back, a.how->dropout > 0, c->scratch, &a.one, &a.shares);
    return a;
}

static char *elements(const attending *a, char *from, int64_t n)
{
    return from + n * a->z.bytes;
}

/* Keys of the block that begins at j. */
static int64_t keys_at(const attending *a, int64_t j)
{
    return a->z.s - j < KEYS ? a->z.s - j : KEYS;
}

/* Rows `from` to `from + n - 1` of one head. */
static wf_matrix rows_of(const wf_tensor *x, int64_t head, int64_t from, int64_t n)
{
    const int lead = x->rank - 2;
    int64_t at = from * x->stride[lead];
    for (int i = lead - 1; i >= 0; i--) {
        at += head % x->dim[i] * x->stride[i];
        head /= x->dim[i];
    }
    return wf_matrix_strided(x->dtype, (char *)x->data + at * bytes_of(x), n, x->dim[lead + 1],
                             x->stride[lead], x->stride[lead + 1]);
}

static int64_t panels(const attending *a, int64_t columns)
{
    return parts(columns, wf_pack_width(a->z.dtype));
}

static wf_matrix score_matrix(const attending *a, const char *data, const score_tile *t)
{
    return wf_matrix_strided(a->z.dtype, data, t->rows, t->n, KEYS, 1);
}

static bool all_finite(wf_matrix m)
{
    const wf_dtype_info *x = wf_dtype_describe(m.dtype);
    for (int64_t i = 0; i < m.rows; i++)
        if (!x->finite(m.columns, wf_matrix_at(m, i, 0), m.column_stride)) return false;
    return true;
}

/* ---- a tile: what is seen of it ---- */

static score_tile tile_at(const attending *a, int64_t i, int64_t j)
{
    const sizes *z = &a->z;
    score_tile t = { .rows = z->t - i < ROWS ? z->t - i : ROWS,
                     .n = z->s - j < KEYS ? z->s - j : KEYS,
                     .row = KEYS };
    if (a->how->dropout > 0) t.kept_by = 1 / (1 - a->how->dropout);
    return t;
}

/* False: nothing, and the tile is left out. It ends with the last key that its last query sees. */
static bool see(const attending *a, const work *w, int64_t head, int64_t i, int64_t j,
                score_tile *t)
{
    const bool causal = a->how->causal && j + t->n - 1 > i + a->ahead;
    int64_t rows = t->rows, last = INT64_MAX / 2;
    t->seen = NULL;
    if (causal && j > i + rows - 1 + a->ahead) return false;
    if (causal && t->n > i + rows + a->ahead - j) t->n = i + rows + a->ahead - j;
    if (!causal && !a->mask.data) return true;
    if (causal) last = i + a->ahead - j;
    wf_matrix m = { .data = NULL };
    if (a->mask.data) {
        m = rows_of(&a->mask, head, i, rows);
        m.data = wf_element(WF_I32, m.data, j * m.column_stride);
    }
    if (!causal && m.row_stride == 0) rows = 1;
    const int found = a->table->see(rows, t->n, m.data, m.row_stride, m.column_stride, last,
                                    w->seen, KEYS);
    if (!(found & 1)) return false;
    if (!(found & 2)) return true;
    t->seen = w->seen;
    t->seen_row = rows == 1 ? 0 : KEYS;
    return true;
}

/* Draws what dropout keeps of the tile. */
static void draw(const attending *a, const work *w, int64_t head, int64_t i, int64_t j,
                 score_tile *t)
{
    const wf_call *c = a->call;
    if (!(a->how->dropout > 0)) return;
    t->kept = w->kept;
    for (int64_t r = 0; r < t->rows; r++) { /* as dropout of all scores would */
        const int64_t at = (head * a->z.t + i + r) * a->z.s + j;
        a->table->draw(at % a->share, t->n, a->how->dropout, c->key,
                       c->counter + (uint64_t)(at / a->share), w->kept + r * KEYS);
    }
}

/* Is anything hidden from any row? Else it does not matter what is finite. */
static bool hides(const attending *a)
{
    return a->mask.data != NULL || a->how->causal;
}

/* Zeroes the rows of packed keys or values that are hidden from all queries of a head: padding may
 * hold anything. */
static void clear_hidden(const attending *a, int64_t head, int64_t j, int64_t n, int64_t columns,
                         char *packed)
{
    if (!a->mask.data) return;
    const wf_matrix m = rows_of(&a->mask, head, 0, 1);
    if (a->z.t > 1 && m.row_stride != 0) return;
    const int64_t width = wf_pack_width(a->z.dtype), bytes = width * a->z.bytes;
    const int32_t *seen = (const int32_t *)m.data + j * m.column_stride;
    for (int64_t l = 0; l < n; l++)
        for (int64_t p = 0; !seen[l * m.column_stride] && p < panels(a, columns); p++)
            memset(packed + (p * n + l) * bytes, 0, (size_t)bytes);
}

/* Packs some rows of a head's keys or values as they are; are they finite where they are seen? */
static bool pack_rows(const attending *a, const wf_tensor *x, int64_t head, int64_t j, char *packed)
{
    const int64_t n = keys_at(a, j);
    const wf_matrix m = rows_of(x, head, j, n);
    wf_pack(1, m, packed);
    if (!hides(a)) return true;
    clear_hidden(a, head, j, n, m.columns, packed);
    return wf_dtype_describe(m.dtype)->finite(wf_pack_count(m.dtype, n, m.columns), packed, 1);
}

static void pack_turned(const attending *a, const wf_tensor *x, int64_t head, int64_t j,
                        char *packed)
{
    wf_pack(1, wf_matrix_transposed(rows_of(x, head, j, keys_at(a, j))), packed);
}

/* ---- forward ---- */

/* Keys from which on none of the rows before `end` sees any. */
static int64_t keys_before(const attending *a, int64_t end)
{
    const int64_t s = a->z.s, last = end + a->ahead;
    return !a->how->causal || last > s ? s : last < 0 ? 0 : last;
}

/* c += a times the first rows of a packed block, which has `depth`. */
static void add_packed(const attending *a, wf_matrix m, const char *packed, int64_t depth,
                       wf_matrix c)
{
    const int64_t width = wf_pack_width(a->z.dtype);
    if (m.columns == depth) {
        wf_gemm_packed(m, packed, 0, panels(a, c.columns), WF_PACKED_ADD, c);
        return;
    }
    for (int64_t p = 0; p < panels(a, c.columns); p++) {
        const int64_t n = c.columns - p * width;
        wf_gemm_packed(m, elements(a, (char *)(uintptr_t)packed, p * depth * width), 0, 1,
                       WF_PACKED_ADD,
                       wf_matrix_part(c, 0, p * width, c.rows, n < width ? n : width));
    }
}

/* Adds weights times values to the tile's results. */
static void add_values(const attending *a, const work *w, int64_t head, int64_t j,
                       const score_tile *t)
{
    const sizes *z = &a->z;
    const int64_t block = j / KEYS;
    const wf_matrix p = score_matrix(a, w->scores, t),
                    v = rows_of(a->call->in[VALUE], head, j, t->n);
    const wf_matrix sum = wf_matrix_of(z->dtype, w->sum, t->rows, z->dv);
    if (t->seen && !(z->few ? all_finite(v) : w->clean[block])) {
        a->kernels->add_seen(t->rows, z->dv, t->n, w->scores, KEYS, 1, t->seen, t->seen_row, 1,
                             v.data, v.row_stride, v.column_stride, w->sum, z->dv);
        return;
    }
    if (z->few) {
        wf_gemm(1, 1, p, v, 1, sum);
        return;
    }
    add_packed(a, p, elements(a, w->values, block * wf_pack_count(z->dtype, KEYS, z->dv)),
               keys_at(a, j), sum);
}

static void make_scores(const attending *a, const work *w, int64_t head, int64_t j,
                        const score_tile *t)
{
    const sizes *z = &a->z;
    const wf_matrix q = wf_matrix_of(z->dtype, w->row, t->rows, z->d);
    const wf_matrix scores = score_matrix(a, w->scores, t);
    if (z->few) {
        const wf_matrix k = rows_of(a->call->in[KEY], head, j, t->n);
        wf_gemm(1, 1, q, wf_matrix_transposed(k), 0, scores);
        return;
    }
    const int64_t block = j / KEYS * wf_pack_count(z->dtype, z->d, KEYS);
    wf_gemm_packed(q, elements(a, w->keys_turned, block), 0, panels(a, t->n), WF_PACKED_SET,
                   scores);
}

static void forward_tile(const attending *a, const work *w, int64_t head, int64_t i)
{
    const sizes *z = &a->z;
    const wf_tensor *y = a->call->out[ATTENDED];
    score_tile t = tile_at(a, i, 0);
    const int64_t end = keys_before(a, i + t.rows);
    const wf_matrix q = rows_of(a->call->in[QUERY], head, i, t.rows);
    a->kernels->load(t.rows, z->d, a->scale, q.data, q.row_stride, q.column_stride, w->row, z->d);
    memset(w->sum, 0, (size_t)(t.rows * z->dv * z->bytes));
    for (int64_t r = 0; r < t.rows; r++) {
        w->base[r] = -(double)INFINITY;
        w->total[r] = 0;
        w->used[r] = 0;
    }
    for (int64_t j = 0; j < end; j += KEYS) {
        t = tile_at(a, i, j);
        if (!see(a, w, head, i, j, &t)) continue;
        make_scores(a, w, head, j, &t);
        a->kernels->soften(&t, w->scores, w->base, w->total, z->dv, w->sum);
        draw(a, w, head, i, j, &t);
        if (t.kept) a->kernels->drop(&t, w->scores, w->used);
        add_values(a, w, head, j, &t);
    }
    const wf_matrix to = rows_of(y, head, i, t.rows);
    double *state = (double *)a->call->out[STATE]->data + 2 * (head * z->t + i);
    a->kernels->finish(t.rows, z->dv, w->sum, w->base, w->total,
                       a->how->dropout > 0 ? w->used : NULL, to.data, to.row_stride, state);
}

static void forward_unit(const attending *a, const work *w, int64_t unit)
{
    const sizes *z = &a->z;
    const wf_call *c = a->call;
    const int64_t head = unit / z->groups, first = unit % z->groups * z->each;
    const int64_t last = first + z->each < z->tiles ? first + z->each : z->tiles;
    const int64_t end = keys_before(a, last * ROWS < z->t ? last * ROWS : z->t);
    for (int64_t j = 0; !z->few && j < end; j += KEYS) {
        const int64_t b = j / KEYS;
        pack_turned(a, c->in[KEY], head, j,
                    elements(a, w->keys_turned, b * wf_pack_count(z->dtype, z->d, KEYS)));
        w->clean[b] = pack_rows(a, c->in[VALUE], head, j,
                                elements(a, w->values, b * wf_pack_count(z->dtype, KEYS, z->dv)));
    }
    for (int64_t i = first; i < last; i++) forward_tile(a, w, head, i * ROWS);
}

/* ---- back ---- */

/* The sum of weights times derivatives of a row, term by term: as the product of cotangent and
 * output it would be infinite or NaN, and not as the terms say. */
static double inner_of_row(const attending *a, const work *w, int64_t head, int64_t i)
{
    const sizes *z = &a->z;
    const wf_call *c = a->call;
    const double *state = (const double *)c->out[STATE]->data + 2 * (head * z->t + i);
    const wf_matrix q = wf_matrix_of(z->dtype, elements(a, w->q.rows, i * w->q.row), 1, z->d);
    const wf_matrix g = wf_matrix_of(z->dtype, elements(a, w->g.rows, i * w->g.row), 1, z->dv);
    double sum = 0;
    for (int64_t j = 0; j < z->s; j += KEYS) {
        score_tile t = tile_at(a, i, j);
        t.rows = 1;
        if (!see(a, w, head, i, j, &t)) continue;
        draw(a, w, head, i, j, &t);
        wf_gemm(1, 1, q, wf_matrix_transposed(rows_of(c->in[KEY], head, j, t.n)), 0,
                score_matrix(a, w->scores, &t));
        wf_gemm(1, 1, g, wf_matrix_transposed(rows_of(c->in[VALUE], head, j, t.n)), 0,
                score_matrix(a, w->slopes, &t));
        sum += a->kernels->inner(&t, w->scores, w->slopes, state);
    }
    return sum;
}

static void load_two_ways(const attending *a, const two_ways *w, wf_matrix x, int64_t i, double by)
{
    char *rows = elements(a, w->rows, i * w->row);
    a->kernels->load(x.rows, x.columns, by, x.data, x.row_stride, x.column_stride, rows, w->row);
    if (w->rows != w->packed)
        wf_pack(1, wf_matrix_strided(x.dtype, rows, x.rows, x.columns, w->row, 1),
                elements(a, w->packed, i / ROWS * w->tile));
}

/* All queries and cotangents of a head. */
static void load_head(const attending *a, const work *w, int64_t head)
{
    const sizes *z = &a->z;
    const wf_call *c = a->call;
    for (int64_t i = 0; i < z->t; i += ROWS) {
        const int64_t n = z->t - i < ROWS ? z->t - i : ROWS;
        const wf_matrix q = rows_of(c->in[QUERY], head, i, n);
        const wf_matrix g = rows_of(c->gout[ATTENDED], head, i, n);
        const wf_matrix y = rows_of(c->out[ATTENDED], head, i, n);
        load_two_ways(a, &w->q, q, i, a->scale);
        load_two_ways(a, &w->g, g, i, 1);
        a->kernels->dot(n, z->dv, elements(a, w->g.rows, i * w->g.row), w->g.row, y.data,
                        y.row_stride, w->inner + i);
        for (int64_t r = 0; r < n; r++)
            if (!isfinite(w->inner[i + r])) w->inner[i + r] = inner_of_row(a, w, head, i + r);
        w->sound[i / ROWS] = !hides(a) || (all_finite(q) && all_finite(g));
    }
}

/* c += a b: a of weights or slopes, turned or not; b packed, and as it lies. */
static void add_product(const attending *a, const score_tile *t, bool turned, const char *tile,
                        bool sound, const char *packed, int64_t depth, wf_matrix b, wf_matrix c)
{
    wf_matrix m = score_matrix(a, tile, t);
    if (turned) m = wf_matrix_transposed(m);
    if (sound || !t->seen)
        add_packed(a, m, packed, depth, c);
    else
        a->kernels->add_seen(m.rows, c.columns, m.columns, m.data, m.row_stride, m.column_stride,
                             t->seen, turned ? 1 : t->seen_row, turned ? t->seen_row : 1, b.data,
                             b.row_stride, b.column_stride, c.data, c.row_stride);
}

/* A tile of scores, its derivatives, and what they add. */
static void backward_tile(const attending *a, const work *w, int64_t head, int64_t i, int64_t j,
                          char *to_q)
{
    const sizes *z = &a->z;
    const wf_call *c = a->call;
    const wf_dtype dtype = z->dtype;
    score_tile t = tile_at(a, i, j);
    if (!see(a, w, head, i, j, &t)) return;
    const wf_matrix q = wf_matrix_strided(dtype, elements(a, w->q.rows, i * w->q.row), t.rows, z->d,
                                          w->q.row, 1);
    const wf_matrix g = wf_matrix_strided(dtype, elements(a, w->g.rows, i * w->g.row), t.rows,
                                          z->dv, w->g.row, 1);
    wf_gemm_packed(q, w->keys_turned, 0, panels(a, t.n), WF_PACKED_SET,
                   score_matrix(a, w->scores, &t));
    wf_gemm_packed(g, w->values_turned, 0, panels(a, t.n), WF_PACKED_SET,
                   score_matrix(a, w->slopes, &t));
    draw(a, w, head, i, j, &t);
    a->kernels->turn(&t, w->scores, w->slopes,
                     (const double *)c->out[STATE]->data + 2 * (head * z->t + i), w->inner + i);
    const bool sound = w->sound[i / ROWS];
    if (c->gin[VALUE])
        add_product(a, &t, true, w->scores, sound, elements(a, w->g.packed, i / ROWS * w->g.tile),
                    t.rows, g, wf_matrix_of(dtype, w->to_v, t.n, z->dv));
    if (c->gin[KEY])
        add_product(a, &t, true, w->slopes, sound, elements(a, w->q.packed, i / ROWS * w->q.tile),
                    t.rows, q, wf_matrix_of(dtype, w->to_k, t.n, z->d));
    if (c->gin[QUERY])
        add_product(a, &t, false, w->slopes, w->clean[j / KEYS], w->keys, keys_at(a, j),
                    rows_of(c->in[KEY], head, j, t.n),
                    wf_matrix_of(dtype, elements(a, to_q, i * z->d), t.rows, z->d));
}

/* Adds rows that lie side by side to rows of a gradient. */
static void store_rows(const attending *a, double by, const char *from, const wf_tensor *gin,
                       int64_t head, int64_t i, int64_t n)
{
    if (!gin) return;
    const wf_matrix to = rows_of(gin, head, i, n);
    a->kernels->store(n, to.columns, by, from, to.columns, to.data, to.row_stride,
                      to.column_stride);
}

static void backward_unit(const attending *a, const work *w, int64_t unit)
{
    const sizes *z = &a->z;
    const wf_call *c = a->call;
    const int64_t head = unit / z->groups, first = unit % z->groups * z->each;
    const int64_t last = first + z->each < z->blocks ? first + z->each : z->blocks;
    char *to_q = z->groups > 1 ? elements(a, a->shares, unit * z->t * z->d) : w->to_q;
    if (c->gin[QUERY]) memset(to_q, 0, (size_t)(z->t * z->d * z->bytes));
    load_head(a, w, head);
    for (int64_t b = first; b < last; b++) {
        const int64_t j = b * KEYS, n = z->s - j < KEYS ? z->s - j : KEYS;
        pack_turned(a, c->in[KEY], head, j, w->keys_turned);
        pack_turned(a, c->in[VALUE], head, j, w->values_turned);
        if (c->gin[QUERY]) w->clean[b] = pack_rows(a, c->in[KEY], head, j, w->keys);
        memset(w->to_k, 0, (size_t)(n * z->d * z->bytes));
        memset(w->to_v, 0, (size_t)(n * z->dv * z->bytes));
        int64_t i = a->how->causal && j > a->ahead ? (j - a->ahead) / ROWS * ROWS : 0;
        for (; i < z->t; i += ROWS) backward_tile(a, w, head, i, j, to_q);
        store_rows(a, 1, w->to_k, c->gin[KEY], head, j, n);
        store_rows(a, 1, w->to_v, c->gin[VALUE], head, j, n);
    }
    if (z->groups == 1) store_rows(a, a->scale, to_q, c->gin[QUERY], head, 0, z->t);
}

/* Tiles of queries whose gradients several units made. */
static void store_shares(void *context, int64_t begin, int64_t end)
{
    const attending *a = context;
    const sizes *z = &a->z;
    for (int64_t k = begin; k < end; k++) {
        const int64_t head = k / z->tiles, i = k % z->tiles * ROWS;
        const int64_t n = z->t - i < ROWS ? z->t - i : ROWS;
        char *sum = elements(a, a->shares, (head * z->groups * z->t + i) * z->d);
        for (int64_t g = 1; g < z->groups; g++)
            a->kernels->store(n, z->d, 1, elements(a, sum, g * z->t * z->d), z->d, sum, z->d, 1);
        store_rows(a, a->scale, sum, a->call->gin[QUERY], head, i, n);
    }
}

/* ---- who does what ---- */

/* Units are dealt out in turn: of a causal head, later ones have more to do. */
static void some_workers(const attending *a, bool back, int64_t begin, int64_t end)
{
    const sizes *z = &a->z;
    for (int64_t k = begin; k < end; k++) {
        work w;
        lay_out(&w, (char *)a->call->scratch + k * a->one, z, back, a->how->dropout > 0);
        for (int64_t unit = k; unit < z->heads * z->groups; unit += z->workers) {
            if (back)
                backward_unit(a, &w, unit);
            else
                forward_unit(a, &w, unit);
        }
    }
}

static void forward_workers(void *context, int64_t begin, int64_t end)
{
    some_workers(context, false, begin, end);
}

static void backward_workers(void *context, int64_t begin, int64_t end)
{
    some_workers(context, true, begin, end);
}

void attention_forward(const wf_call *c)
{
    attending a = begin(c, false);
    if (a.z.heads > 0 && a.z.t > 0) wf_par_for(c->threads, a.z.workers, 1, forward_workers, &a);
}

void attention_backward(const wf_call *c)
{
    if (!c->gout[ATTENDED] || !(c->gin[QUERY] || c->gin[KEY] || c->gin[VALUE])) return;
    attending a = begin(c, true);
    if (a.z.heads == 0 || a.z.t == 0 || a.z.s == 0) return;
    wf_par_for(c->threads, a.z.workers, 1, backward_workers, &a);
    if (a.z.groups > 1 && c->gin[QUERY])
        wf_par_for(c->threads, a.z.heads * a.z.tiles, 1, store_shares, &a);
}
