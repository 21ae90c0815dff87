/* Sums over the axes of a walk: the pieces in which they are computed, what threads share, and the
 * fixed places where long sums are cut. */
#include "tensor/sum.h"

#include "tensor/kernels.h"
#include "tensor/par.h"
#include "tensor/private.h"

#include <string.h>

void wf_sum_run(wf_dtype dtype, int64_t n, const void *x, int64_t step, double *high, double *low)
{
    if (!wf_dtype_is_float(dtype) || n <= 0 || !x || !high || !low) return;
    uint32_t fp = wf_fp_enter();
    wf_sum_kernels(dtype)->run(n, x, step, high, low);
    wf_fp_leave(fp);
}

static void add_rows(const wf_sum_table *kernels, int64_t rows, int64_t n, const void *const row[],
                     int64_t step, double *high, double *low)
{
    int64_t i = 0;
    for (; step == 1 && i + 8 <= rows; i += 8) kernels->eight(n, row + i, high, low);
    for (; i < rows; i++) kernels->one(n, row[i], step, high, low);
}

void wf_sum_rows(wf_dtype dtype, int64_t rows, int64_t n, const void *const row[], int64_t step,
                 double *high, double *low)
{
    if (!wf_dtype_is_float(dtype) || rows <= 0 || n <= 0 || !row || !high || !low) return;
    uint32_t fp = wf_fp_enter();
    add_rows(wf_sum_kernels(dtype), rows, n, row, step, high, low);
    wf_fp_leave(fp);
}

void wf_sum_into(wf_dtype dtype, int64_t n, const double *high, const double *low, void *to,
                 int64_t step)
{
    if (!wf_dtype_is_float(dtype) || n <= 0 || !high || !low || !to) return;
    uint32_t fp = wf_fp_enter();
    wf_sum_kernels(dtype)->into(n, high, low, 1, 1, to, step);
    wf_fp_leave(fp);
}

/* ---- sums over a walk ---- */

/* Elements that are worth a thread, and sums that are so few that they are cut into parts: fixed
 * numbers, because the parts decide the bits. PLACES: what all parts may hold. */
enum { PART = 16384, FEW = 256, PLACES = 512, MOST_PARTS = 64, LINE = 16 };

/* The axes of a walk by what becomes of them: of those kept, the innermost is `column`; of those
 * summed, it is `run` if no kept one is further in. The others are listed, outermost first. */
typedef struct summing {
    const wf_walk *loop;
    int to, column, run;                           /* column, run: -1 if there is none */
    int kept[WF_RANK], summed[WF_RANK], n_kept, n_summed;
    int64_t columns, run_length, outs, rows;       /* outs, rows: of the listed axes together */
    int64_t parts;
    bool cuts_run;                                 /* parts are of the run, not of the rows */
    double *high, *low;                            /* of the parts */
    wf_dtype dtype;
    double scale, divisor;
    wf_sum_fn *fn;
    void *context;
} summing;

static void sort_axes(summing *s)
{
    const wf_walk *loop = s->loop;
    const int last = loop->rank - 1;
    s->column = s->run = -1;
    s->columns = s->run_length = s->outs = s->rows = 1;
    for (int k = last; k >= 0; k--) {
        const bool kept = loop->stride[s->to][k] != 0;
        if (kept && s->column < 0) {
            s->column = k;
            s->columns = loop->dim[k];
        } else if (!kept && k == last) {
            s->run = k;
            s->run_length = loop->dim[k];
        }
    }
    for (int k = 0; k <= last; k++) {
        if (k == s->column || k == s->run) continue;
        const bool kept = loop->stride[s->to][k] != 0;
        if (kept) {
            s->kept[s->n_kept++] = k;
            s->outs *= loop->dim[k];
        } else {
            s->summed[s->n_summed++] = k;
            s->rows *= loop->dim[k];
        }
    }
}

/* Moves pointers to the index-th combination of some axes. */
static void move_to(const wf_walk *loop, const int axis[], int axes, int64_t index, char *pointer[])
{
    for (int a = axes - 1; a >= 0; a--) {
        const int k = axis[a];
        const int64_t at = index % loop->dim[k];
        index /= loop->dim[k];
        for (int i = 0; i < loop->operands; i++) pointer[i] += at * loop->stride[i][k];
    }
}

/* begin <= i < end of the rows or of the run. */
typedef struct range {
    int64_t begin, end;
} range;

static void add_up(const summing *s, char *const base[], range rows, range run, wf_sum_tile *tile)
{
    const wf_walk *loop = s->loop;
    const int inner = s->n_summed > 0 ? s->summed[s->n_summed - 1] : -1;
    const int64_t many = inner >= 0 ? loop->dim[inner] : 1;
    tile->run = run.end - run.begin;
    for (int i = 0; i < loop->operands; i++) {
        tile->row_stride[i] = inner >= 0 ? loop->stride[i][inner] : 0;
        tile->run_stride[i] = s->run >= 0 ? loop->stride[i][s->run] : 0;
        tile->column_stride[i] = s->column >= 0 ? loop->stride[i][s->column] : 0;
    }
    while (rows.begin < rows.end) {
        const int64_t left = many - rows.begin % many;
        tile->rows = rows.end - rows.begin < left ? rows.end - rows.begin : left;
        for (int i = 0; i < loop->operands; i++)
            tile->pointer[i] = base[i] + run.begin * tile->run_stride[i];
        move_to(loop, s->summed, s->n_summed, rows.begin, tile->pointer);
        s->fn(s->context, tile);
        rows.begin += tile->rows;
    }
}

/* A part of the sums of columns first .. first + n - 1. */
static void sum_block(const summing *s, int64_t out, int64_t first, int64_t n, int64_t part,
                      double *high, double *low)
{
    const wf_walk *loop = s->loop;
    wf_sum_tile tile;
    char *base[WF_WALK_OPERANDS];
    range rows = { 0, s->rows }, run = { 0, s->run_length };
    range *cut = s->cuts_run ? &run : &rows;
    const int64_t length = cut->end;
    cut->begin = part * length / s->parts;
    cut->end = (part + 1) * length / s->parts;
    for (int i = 0; i < loop->operands; i++) {
        base[i] = loop->base[i];
        if (s->column >= 0) base[i] += first * loop->stride[i][s->column];
    }
    move_to(loop, s->kept, s->n_kept, out, base);
    tile.columns = n;
    tile.high = high;
    tile.low = low;
    memset(high, 0, (size_t)n * sizeof *high);
    memset(low, 0, (size_t)n * sizeof *low);
    add_up(s, base, rows, run, &tile);
}

static void finish(const summing *s, int64_t out, int64_t first, int64_t n, const double *high,
                   const double *low)
{
    const wf_walk *loop = s->loop;
    char *to[WF_WALK_OPERANDS];
    memcpy(to, loop->base, sizeof to);
    move_to(loop, s->kept, s->n_kept, out, to);
    const int64_t step = s->column >= 0 ? loop->stride[s->to][s->column] : 0;
    wf_sum_kernels(s->dtype)
        ->into(n, high, low, s->scale, s->divisor, to[s->to] + first * step,
               step / wf_dtype_size(s->dtype));
}

/* Many sums: each is one thread's from its first term to its last. */
static void whole_sums(void *context, int64_t begin, int64_t end)
{
    const summing *s = context;
    double high[WF_SUM_COLUMNS], low[WF_SUM_COLUMNS];
    while (begin < end) {
        const int64_t out = begin / s->columns, first = begin % s->columns;
        int64_t n = s->columns - first < end - begin ? s->columns - first : end - begin;
        if (n > WF_SUM_COLUMNS) n = WF_SUM_COLUMNS;
        sum_block(s, out, first, n, 0, high, low);
        finish(s, out, first, n, high, low);
        begin += n;
    }
}

/* Few sums: each thread has some parts of all of them. */
static void parts_of_sums(void *context, int64_t begin, int64_t end)
{
    const summing *s = context;
    for (int64_t p = begin; p < end; p++) {
        for (int64_t out = 0; out < s->outs; out++) {
            for (int64_t first = 0; first < s->columns; first += WF_SUM_COLUMNS) {
                int64_t n = s->columns - first, at = (p * s->outs + out) * s->columns + first;
                if (n > WF_SUM_COLUMNS) n = WF_SUM_COLUMNS;
                sum_block(s, out, first, n, p, s->high + at, s->low + at);
            }
        }
    }
}

static void run_parts(summing *s, int threads)
{
    double high[PLACES], low[PLACES];
    const int64_t all = s->outs * s->columns;
    s->high = high;
    s->low = low;
    wf_par_for(threads, s->parts, 1, parts_of_sums, s);
    uint32_t fp = wf_fp_enter();
    for (int64_t p = 1; p < s->parts; p++) {
        for (int64_t i = 0; i < all; i++) {
            wf_sum_term(&high[i], &low[i], high[p * all + i]);
            low[i] += low[p * all + i];
        }
    }
    for (int64_t out = 0; out < s->outs; out++)
        finish(s, out, 0, s->columns, high + out * s->columns, low + out * s->columns);
    wf_fp_leave(fp);
}

void wf_walk_sum(const wf_walk *loop, int to, wf_dtype dtype, double scale, double divisor,
                 int threads, wf_sum_fn *fn, void *context)
{
    if (!loop || !fn || !wf_dtype_is_float(dtype) || to < 0 || to >= loop->operands ||
        loop->count <= 0)
        return;
    summing s = { .loop = loop,
                  .to = to,
                  .parts = 1,
                  .dtype = dtype,
                  .scale = scale,
                  .divisor = divisor,
                  .fn = fn,
                  .context = context };
    sort_axes(&s);
    const int64_t sums = s.outs * s.columns, terms = loop->count / sums;
    if (sums <= FEW && loop->count >= 2 * PART) {
        s.cuts_run = s.rows < s.run_length && s.rows < MOST_PARTS;
        const int64_t length = s.cuts_run ? s.run_length : s.rows;
        s.parts = loop->count / PART;
        if (s.parts > PLACES / sums) s.parts = PLACES / sums;
        if (s.parts > MOST_PARTS) s.parts = MOST_PARTS;
        if (s.parts > length) s.parts = length;
        run_parts(&s, threads);
        return;
    }
    const int64_t grain = PART / terms + 1;
    wf_par_for(loop->count < 2 * PART ? 1 : threads, sums, (grain + LINE - 1) / LINE * LINE,
               whole_sums, &s);
}

/* ---- of a tensor ---- */

static void tensor_tile(void *context, const wf_sum_tile *tile)
{
    const wf_dtype dtype = *(const wf_dtype *)context;
    const wf_sum_table *kernels = wf_sum_kernels(dtype);
    const int64_t bytes = wf_dtype_size(dtype), columns = tile->column_stride[1];
    const char *x = tile->pointer[1];
    if (tile->run > 1) {
        for (int64_t r = 0; r < tile->rows; r++, x += tile->row_stride[1])
            for (int64_t c = 0; c < tile->columns; c++)
                kernels->run(tile->run, x + c * columns, tile->run_stride[1] / bytes,
                             &tile->high[c], &tile->low[c]);
        return;
    }
    for (int64_t r = 0; r < tile->rows; r += 8) {
        const void *row[8];
        const int64_t some = tile->rows - r < 8 ? tile->rows - r : 8;
        for (int64_t i = 0; i < some; i++) row[i] = x + (r + i) * tile->row_stride[1];
        add_rows(kernels, some, tile->columns, row, tile->columns == 1 ? 1 : columns / bytes,
                 tile->high, tile->low);
    }
}

void wf_sum_tensor(const wf_tensor *x, const wf_tensor *to, double scale, double divisor,
                   int threads)
{
    if (!x || !to || !x->data || !to->data || x->dtype != to->dtype || !wf_dtype_is_float(x->dtype))
        return;
    wf_dtype dtype = x->dtype;
    const int64_t n = wf_tensor_count(x);
    if (wf_tensor_count(to) == 1 && n < 2 * PART && wf_tensor_is_contiguous(x) &&
        to->rank <= x->rank) { /* few terms take the shortest way */
        double high = 0, low = 0;
        uint32_t fp = wf_fp_enter();
        wf_sum_kernels(dtype)->run(n, x->data, 1, &high, &low);
        wf_sum_kernels(dtype)->into(1, &high, &low, scale, divisor, to->data, 1);
        wf_fp_leave(fp);
        return;
    }
    wf_walk loop;
    if (wf_walk_plan(&loop, wf_tensor_shape(x), 2, (const wf_tensor *[]){ to, x }))
        wf_walk_sum(&loop, 0, dtype, scale, divisor, threads, tensor_tile, &dtype);
}

/* ---- one tensor added to another ---- */

void wf_run_add(wf_dtype dtype, int64_t n, double scale, const void *x, int64_t step, void *to,
                int64_t to_step)
{
    if (!wf_dtype_is_float(dtype) || n <= 0 || !x || !to) return;
    uint32_t fp = wf_fp_enter();
    wf_sum_kernels(dtype)->add[dtype](n, scale, x, step, to, to_step);
    wf_fp_leave(fp);
}

typedef struct addition {
    double scale;
    wf_dtype from, to;
} addition;

static void add_run(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    const addition *a = context;
    wf_sum_kernels(a->to)->add[a->from](n, a->scale, pointer[0], stride[0] / wf_dtype_size(a->from),
                                        pointer[1], stride[1] / wf_dtype_size(a->to));
}

void wf_tensor_accumulate(const wf_tensor *x, const wf_tensor *y, double scale, int threads)
{
    if (!x || !y || !x->data || !y->data || !wf_dtype_is_float(x->dtype) ||
        !wf_dtype_is_float(y->dtype))
        return;
    const wf_tensor *const operand[] = { x, y };
    const wf_shape to = wf_tensor_shape(y);
    addition a = { scale, x->dtype, y->dtype };
    wf_walk loop;
    if (!wf_walk_plan(&loop, to, 2, operand)) { /* y is the one that is broadcast */
        wf_shape from = wf_tensor_shape(x), both;
        wf_tensor whole;
        if (wf_shape_broadcast(&from, &to, &both) && wf_view_expand(x, both, &whole))
            wf_sum_tensor(&whole, y, scale, 1, threads);
        return;
    }
    /* A single line of neighbours does not overlap; anything else may. */
    const bool line = loop.rank == 1 && loop.stride[1][0] == wf_dtype_size(y->dtype);
    if (line || !wf_tensor_overlaps_itself(y)) {
        wf_walk_run(&loop, threads, 2, add_run, &a);
    } else if (wf_walk_plan_in_order(&loop, to, 2, operand)) {
        wf_walk_run_in_order(&loop, add_run, &a);
    }
}
