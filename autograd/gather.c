/* Rows of a table by id, which is an embedding, and the other way: rows added up by id. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "tensor/par.h"
#include "tensor/size.h"
#include "tensor/sum.h"

#include <string.h>

/* Columns that one thread takes at least when rows are added up: a cache line, so that threads
 * do not meet in one. Rows that more than LEAF ids name are sums of tensor/sum.h. */
enum { COLUMNS = 16, ELEMENTS = 16384, LEAF = 8, ROWS = 64 };

/* ---- ids ---- */

static bool ids_shape(const wf_shaping *s)
{
    const wf_tensor *ids = s->in[1];
    if (ids->dtype != WF_I32)
        return wf_refuse(s->error, "ids are %s; expected i32", wf_dtype_name(ids->dtype));
    return true;
}

/* The step between neighbours, in elements, where the first `axes` axes are one long one; 0
 * where they are not. */
static int64_t step_of(const wf_tensor *x, int axes)
{
    for (int k = 0; k + 1 < axes; k++)
        if (x->stride[k] != x->stride[k + 1] * x->dim[k + 1]) return 0;
    return axes > 0 ? x->stride[axes - 1] : 0;
}

static bool ids_below(const wf_tensor *ids, int64_t rows, wf_error *error)
{
    const int64_t n = wf_tensor_count(ids), step = step_of(ids, ids->rank);
    const int32_t *data = ids->data;
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = data[step ? i * step : wf_tensor_offset(ids, ids->rank, i)];
        if (id >= 0 && id < rows) continue;
        char text[WF_SHAPE_TEXT];
        return wf_refuse(error, "id %d at %s is out of range: there are %lld rows", id,
                         wf_index_text(text, sizeof text, ids->rank, ids->dim, i), (long long)rows);
    }
    return true;
}

/* ---- kernels ---- */

/* Rows of `many` (axes ..., D) go with the ids; row `id` of `table` (V, D) is the other side. */
typedef struct lookup {
    const wf_tensor *table, *many, *ids;
    int64_t bytes, many_step, ids_step;
    const struct occurrence *sorted;               /* when rows are added up */
} lookup;

/* An id, and the row that goes with it. */
typedef struct occurrence {
    int64_t row;
    int32_t id;
} occurrence;

static char *row_of_many(const lookup *l, int64_t i)
{
    const int64_t at = l->many_step ? i * l->many_step
                                    : wf_tensor_offset(l->many, l->many->rank - 1, i);
    return (char *)l->many->data + at * l->bytes;
}

static int32_t id_of(const lookup *l, int64_t i)
{
    const int64_t at = l->ids_step ? i * l->ids_step : wf_tensor_offset(l->ids, l->ids->rank, i);
    return ((const int32_t *)l->ids->data)[at];
}

static char *row_of_table(const lookup *l, int32_t id)
{
    return (char *)l->table->data + id * l->table->stride[0] * l->bytes;
}

static int64_t width(const lookup *l)
{
    return l->table->dim[1];
}

static void copy_rows(void *context, int64_t begin, int64_t end)
{
    const lookup *l = context;
    const int64_t n = width(l), to_step = l->many->stride[l->many->rank - 1] * l->bytes,
                  from_step = l->table->stride[1] * l->bytes;
    for (int64_t i = begin; i < end; i++) {
        char *to = row_of_many(l, i);
        const char *from = row_of_table(l, id_of(l, i));
        if (to_step == l->bytes && from_step == l->bytes) {
            memcpy(to, from, (size_t)(n * l->bytes));
            continue;
        }
        for (int64_t k = 0; k < n; k++)
            memcpy(to + k * to_step, from + k * from_step, (size_t)l->bytes);
    }
}

static void add_from_table(void *context, int64_t begin, int64_t end)
{
    const lookup *l = context;
    for (int64_t i = begin; i < end; i++)
        wf_run_add(l->table->dtype, width(l), 1, row_of_table(l, id_of(l, i)), l->table->stride[1],
                   row_of_many(l, i), l->many->stride[l->many->rank - 1]);
}

/* How many numbers come before each byte, from how many have it. */
static void begin_each(int64_t count[256])
{
    int64_t before = 0;
    for (int k = 0; k < 256; k++) {
        const int64_t those = count[k];
        count[k] = before;
        before += those;
    }
}

/* The occurrences by id, and those of one id in their order: sorted by one byte after another,
 * which is linear and keeps what is equal as it was. `memory` holds them twice. */
static const occurrence *sort(const lookup *l, occurrence *memory)
{
    const int64_t n = wf_tensor_count(l->ids);
    occurrence *now = memory, *next = memory + n;
    int64_t at[256] = { 0 };
    for (int64_t i = 0; i < n; i++) at[id_of(l, i) & 255]++;
    begin_each(at);
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = id_of(l, i);
        now[at[id & 255]++] = (occurrence){ i, id };
    }
    for (int shift = 8; shift < 32 && (l->table->dim[0] - 1) >> shift > 0; shift += 8) {
        memset(at, 0, sizeof at);
        for (int64_t i = 0; i < n; i++) at[now[i].id >> shift & 255]++;
        begin_each(at);
        for (int64_t i = 0; i < n; i++) next[at[now[i].id >> shift & 255]++] = now[i];
        occurrence *swap = now;
        now = next;
        next = swap;
    }
    return now;
}

/* Adds the rows of `count` occurrences of one id, for some columns. */
static void add_occurrences(const lookup *l, const occurrence *o, int64_t count, int64_t column,
                            int64_t columns)
{
    const int64_t from_step = l->many->stride[l->many->rank - 1], to_step = l->table->stride[1],
                  skip = column * from_step * l->bytes;
    char *to = row_of_table(l, o->id) + column * to_step * l->bytes;
    if (count <= LEAF) {
        for (int64_t i = 0; i < count; i++)
            wf_run_add(l->table->dtype, columns, 1, row_of_many(l, o[i].row) + skip, from_step, to,
                       to_step);
        return;
    }
    double high[COLUMNS * 16], low[COLUMNS * 16];
    for (int64_t k = 0; k < columns; k++) high[k] = low[k] = 0;
    for (int64_t i = 0; i < count; i += ROWS) {
        const void *row[ROWS];
        const int64_t some = count - i < ROWS ? count - i : ROWS;
        for (int64_t k = 0; k < some; k++) row[k] = row_of_many(l, o[i + k].row) + skip;
        wf_sum_rows(l->table->dtype, some, columns, row, from_step, high, low);
    }
    wf_sum_into(l->table->dtype, columns, high, low, to, to_step);
}

/* Columns begin .. end - 1 of every row: one thread does all that meets in an element. */
static void add_into_table(void *context, int64_t begin, int64_t end)
{
    const lookup *l = context;
    const int64_t n = wf_tensor_count(l->ids), most = COLUMNS * 16;
    const occurrence *o = l->sorted;
    for (int64_t i = 0, count; i < n; i += count) {
        for (count = 1; i + count < n && o[i + count].id == o[i].id;) count++;
        for (int64_t at = begin; at < end; at += most)
            add_occurrences(l, o + i, count, at, end - at < most ? end - at : most);
    }
}

static void by_rows(const lookup *l, int threads, wf_par_fn *fn)
{
    const int64_t n = wf_tensor_count(l->ids), d = width(l);
    if (n == 0 || d == 0) return;
    wf_par_for(threads, n, ELEMENTS / d + 1, fn, (void *)l);
}

/* What sorting takes. */
static bool sort_scratch(const wf_shaping *s, int64_t *bytes)
{
    if (wf_size_mul(wf_tensor_count(s->in[1]), 2 * (int64_t)sizeof(occurrence), bytes)) return true;
    return wf_refuse(s->error, "its work is more than memory can hold");
}

static void by_columns(lookup *l, void *scratch, int threads)
{
    const int64_t n = wf_tensor_count(l->ids), d = width(l);
    if (n == 0 || d == 0) return;
    l->sorted = sort(l, scratch);
    int64_t grain = (ELEMENTS / n + COLUMNS) / COLUMNS * COLUMNS;
    wf_par_for(threads, d, grain, add_into_table, l);
}

static lookup lookup_of(const wf_tensor *table, const wf_tensor *many, const wf_tensor *ids)
{
    return (lookup){ .table = table,
                     .many = many,
                     .ids = ids,
                     .bytes = bytes_of(table),
                     .many_step = step_of(many, many->rank - 1),
                     .ids_step = step_of(ids, ids->rank) };
}

/* ---- rows by id ---- */

static bool gather_rows_shape(wf_shaping *s)
{
    const wf_tensor *w = s->in[0], *ids = s->in[1];
    char text[WF_SHAPE_TEXT];
    if (!ids_shape(s)) return false;
    if (w->rank != 2)
        return wf_refuse(s->error, "the table is %s; expected (rows, columns)",
                         shape_text(text, w));
    if (ids->rank == WF_RANK)
        return wf_refuse(s->error, "ids %s leave no room for the columns", shape_text(text, ids));
    wf_tensor *y = &s->out[0];
    y->dtype = w->dtype;
    y->rank = ids->rank + 1;
    for (int i = 0; i < ids->rank; i++) y->dim[i] = ids->dim[i];
    y->dim[ids->rank] = w->dim[1];
    return sort_scratch(s, &s->scratch_backward);
}

static bool gather_rows_check(const wf_call *c, wf_error *error)
{
    return ids_below(c->in[1], c->in[0]->dim[0], error);
}

static uint32_t gather_rows_varying(const wf_call *c)
{
    return c->in[1]->rank > 0 ? 2 : 0;
}

static void gather_rows_forward(const wf_call *c)
{
    lookup l = lookup_of(c->in[0], c->out[0], c->in[1]);
    by_rows(&l, c->threads, copy_rows);
}

static void gather_rows_backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0]) return;
    lookup l = lookup_of(c->gin[0], c->gout[0], c->in[1]);
    by_columns(&l, c->scratch, c->threads);
}

static void gather_rows_gradient(wf_tape *t, const wf_gradient *g)
{
    if (g->gout[0] && g->wanted[0])
        g->gin[0] = wf_scatter_rows(t, g->gout[0], g->in[1], wf_dim(g->in[0], 0));
}

/* ---- scatter_rows ---- */

static bool scatter_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0], *ids = s->in[1];
    const int64_t rows = *(const int64_t *)s->attr;
    char text[2][WF_SHAPE_TEXT];
    if (!is_float(x)) return wf_refuse(s->error, "takes f32 or f64, not i32");
    if (!ids_shape(s)) return false;
    if (rows < 0) return wf_refuse(s->error, "%lld rows", (long long)rows);
    bool fits = x->rank == ids->rank + 1;
    for (int i = 0; fits && i < ids->rank; i++) fits = x->dim[i] == ids->dim[i];
    if (!fits)
        return wf_refuse(s->error, "x is %s and ids are %s; expected x of ids' sizes and one more",
                         shape_text(text[0], x), shape_text(text[1], ids));
    s->out[0].dtype = x->dtype;
    s->out[0].rank = 2;
    s->out[0].dim[0] = rows;
    s->out[0].dim[1] = x->dim[ids->rank];
    return sort_scratch(s, &s->scratch_forward);
}

static bool scatter_check(const wf_call *c, wf_error *error)
{
    return ids_below(c->in[1], *(const int64_t *)c->attr, error);
}

static void scatter_forward(const wf_call *c)
{
    lookup l = lookup_of(c->out[0], c->in[0], c->in[1]);
    wf_tensor_fill(c->out[0], 0);
    by_columns(&l, c->scratch, c->threads);
}

static void scatter_backward(const wf_call *c)
{
    if (!c->gin[0] || !c->gout[0]) return;
    lookup l = lookup_of(c->gout[0], c->gin[0], c->in[1]);
    by_rows(&l, c->threads, add_from_table);
}

static void scatter_gradient(wf_tape *t, const wf_gradient *g)
{
    if (g->gout[0] && g->wanted[0]) g->gin[0] = wf_gather_rows(t, g->gout[0], g->in[1]);
}

/* ---- one_hot ---- */

static bool one_hot_shape(wf_shaping *s)
{
    const wf_tensor *ids = s->in[0];
    const int64_t classes = *(const int64_t *)s->attr;
    char text[WF_SHAPE_TEXT];
    if (ids->dtype != WF_I32)
        return wf_refuse(s->error, "ids are %s; expected i32", wf_dtype_name(ids->dtype));
    if (classes < 0) return wf_refuse(s->error, "%lld classes", (long long)classes);
    if (ids->rank == WF_RANK)
        return wf_refuse(s->error, "ids %s leave no room for the classes", shape_text(text, ids));
    wf_tensor *y = &s->out[0];
    y->dtype = WF_I32;
    y->rank = ids->rank + 1;
    for (int i = 0; i < ids->rank; i++) y->dim[i] = ids->dim[i];
    y->dim[ids->rank] = classes;
    return true;
}

static uint32_t one_hot_varying(const wf_call *c)
{
    return c->in[0]->rank > 0;
}

static void one_hot_forward(const wf_call *c)
{
    const wf_tensor *ids = c->in[0], *y = c->out[0];
    const int64_t n = wf_tensor_count(ids), classes = *(const int64_t *)c->attr;
    const int32_t *data = ids->data;
    int32_t *to = y->data;
    memset(to, 0, (size_t)(n * classes) * sizeof *to);
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = data[wf_tensor_offset(ids, ids->rank, i)];
        if (id >= 0 && id < classes) to[i * classes + id] = 1;
    }
}

static void one_hot_backward(const wf_call *c)
{
    (void)c;
}

static void one_hot_gradient(wf_tape *t, const wf_gradient *g)
{
    (void)t, (void)g;
}

/* ---- samples and rows ---- */

static void sample_ids(wf_sample *s, const char *label, wf_shape x, wf_shape ids, double high)
{
    s->label = label;
    sample_input(s, WF_F64, x, -2, 2);
    sample_input(s, WF_I32, ids, 0, high);
}

static bool gather_rows_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape table, ids;
    } tried[] = {
        { "a matrix of ids", { 2, { 7, 5 } }, { 2, { 3, 2 } } },
        { "repeated ids", { 2, { 3, 5 } }, { 1, { 11 } } },
        { "one id", { 2, { 7, 5 } }, { 0, { 0 } } },
        { "no ids", { 2, { 7, 5 } }, { 2, { 3, 0 } } },
        { "no columns", { 2, { 7, 0 } }, { 1, { 3 } } },
        { "a table of ids", { 2, { 7, 5 } }, { 1, { 3 } } },
    };
    const int n = (int)(sizeof tried / sizeof tried[0]);
    if (k >= n) return false;
    sample_ids(s, tried[k].label, tried[k].table, tried[k].ids,
               (double)(tried[k].table.dim[0] - 1));
    if (k == n - 1) s->in[0].dtype = WF_I32;
    return true;
}

static bool scatter_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape x, ids;
        int64_t rows;
    } tried[] = {
        { "a matrix of ids", { 3, { 3, 2, 5 } }, { 2, { 3, 2 } }, 7 },
        { "repeated ids", { 2, { 11, 5 } }, { 1, { 11 } }, 3 },
        { "one id", { 1, { 5 } }, { 0, { 0 } }, 7 },
        { "no ids", { 2, { 0, 5 } }, { 1, { 0 } }, 7 },
    };
    if (k >= (int)(sizeof tried / sizeof tried[0])) return false;
    sample_ids(s, tried[k].label, tried[k].x, tried[k].ids, (double)(tried[k].rows - 1));
    s->attr.align_int = tried[k].rows;
    return true;
}

static bool one_hot_sample(int k, wf_sample *s)
{
    static const struct {
        const char *label;
        wf_shape ids;
    } tried[] = {
        { "a matrix of ids", { 2, { 3, 5 } } },
        { "one id", { 0, { 0 } } },
        { "no ids", { 2, { 3, 0 } } },
    };
    if (k >= (int)(sizeof tried / sizeof tried[0])) return false;
    s->label = tried[k].label;
    sample_input(s, WF_I32, tried[k].ids, -1, 8);
    s->attr.align_int = 7;
    return true;
}

const wf_op op_gather_rows = {
    .name = OP_NAME(gather_rows),
    .inputs = 2,
    .outputs = 1,
    .flags = WF_OP_SPARSE,
    .reads_in = 2,
    .reads_check = 2,
    .varying = gather_rows_varying,
    .shape = gather_rows_shape,
    .check = gather_rows_check,
    .forward = gather_rows_forward,
    .backward = gather_rows_backward,
    .gradient = gather_rows_gradient,
    .sample = gather_rows_sample,
};

const wf_op op_scatter_rows = {
    .name = OP_NAME(scatter_rows),
    .inputs = 2,
    .outputs = 1,
    .attr_size = sizeof(int64_t),
    .reads_in = 2,
    .reads_check = 2,
    .shape = scatter_shape,
    .check = scatter_check,
    .forward = scatter_forward,
    .backward = scatter_backward,
    .gradient = scatter_gradient,
    .sample = scatter_sample,
};

const wf_op op_one_hot = {
    .name = OP_NAME(one_hot),
    .inputs = 1,
    .outputs = 1,
    .attr_size = sizeof(int64_t),
    .varying = one_hot_varying,
    .shape = one_hot_shape,
    .forward = one_hot_forward,
    .backward = one_hot_backward,
    .gradient = one_hot_gradient,
    .sample = one_hot_sample,
};

wf_var *wf_gather_rows(wf_tape *t, wf_var *weight, wf_var *ids)
{
    return wf_apply_one(t, &op_gather_rows, 2, (wf_var *[]){ weight, ids }, NULL);
}

wf_var *wf_scatter_rows(wf_tape *t, wf_var *x, wf_var *ids, int64_t rows)
{
    return wf_apply_one(t, &op_scatter_rows, 2, (wf_var *[]){ x, ids }, &rows);
}

wf_var *wf_one_hot(wf_tape *t, wf_var *ids, int64_t classes)
{
    return wf_apply_one(t, &op_one_hot, 1, &ids, &classes);
}
