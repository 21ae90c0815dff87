/* Rows of a table by id, which is an embedding, and the other way: rows added up by id. */
#include "autograd/ranked_private.h"
#include "tensor/sum.h"

#include <string.h>

/* Columns that one thread takes at least when rows are added up: a cache line, so that threads
 * do not meet in one. Rows that more than LEAF ids name are sums of tensor/sum.h. */
enum { COLUMNS = 16, ELEMENTS = 16384, LEAF = 8, ROWS = 64 };

/* ---- ids ---- */

static bool ids_below(const wf_tensor *ids, int64_t rows, wf_error *error)
{
    const op_rows each = rows_along(ids, ids->rank);
    const int64_t n = wf_tensor_count(ids);
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = id_at(&each, i);
        if (id >= 0 && id < rows) continue;
        return wf_refuse(error, "id %d at %s is out of range: there are %lld rows", id,
                         INDEX_TEXT(ids, i), (long long)rows);
    }
    return true;
}

/* ---- kernels ---- */

/* Rows of `many` (axes ..., D) go with the ids; row `id` of `table` (V, D) is the other side. */
typedef struct lookup {
    const wf_tensor *table;
    op_rows many, ids;
    int64_t count;                   /* of ids */
    const ranked *sorted;            /* by id: which row goes with it; when rows are added up */
} lookup;

static void *row_of_table(const lookup *l, int32_t id)
{
    return (char *)l->table->data + id * l->table->stride[0] * l->many.bytes;
}

static void copy_rows(void *context, int64_t begin, int64_t end)
{
    const lookup *l = context;
    const int64_t bytes = l->many.bytes;
    for (int64_t i = begin; i < end; i++)
        copy_run(row_at(&l->many, i), l->many.step * bytes, row_of_table(l, id_at(&l->ids, i)),
                 l->table->stride[1] * bytes, l->many.n, bytes);
}

static void add_from_table(void *context, int64_t begin, int64_t end)
{
    const lookup *l = context;
    for (int64_t i = begin; i < end; i++)
        wf_run_add(l->table->dtype, l->many.n, 1, row_of_table(l, id_at(&l->ids, i)),
                   l->table->stride[1], row_at(&l->many, i), l->many.step);
}

/* The rows by id, and those of one id in their order. `memory` holds them twice. */
static const ranked *sort(const lookup *l, ranked *memory)
{
    int bytes = 1;
    while (bytes < 4 && (l->table->dim[0] - 1) >> 8 * bytes > 0) bytes++;
    for (int64_t i = 0; i < l->count; i++) memory[i] = (ranked){ (uint64_t)id_at(&l->ids, i), i };
    return ranked_sort(memory, l->count, bytes);
}

/* Adds the rows of `count` occurrences of one id, for some columns. */
static void add_occurrences(const lookup *l, const ranked *o, int64_t count, int64_t column,
                            int64_t columns)
{
    const int64_t step = l->many.step, skip = column * step * l->many.bytes;
    char *to = (char *)row_of_table(l, (int32_t)o->key) +
               column * l->table->stride[1] * l->many.bytes;
    if (count <= LEAF) {
        for (int64_t i = 0; i < count; i++)
            wf_run_add(l->table->dtype, columns, 1, (char *)row_at(&l->many, o[i].at) + skip, step,
                       to, l->table->stride[1]);
        return;
    }
    double high[COLUMNS * 16], low[COLUMNS * 16];
    for (int64_t k = 0; k < columns; k++) high[k] = low[k] = 0;
    for (int64_t i = 0; i < count; i += ROWS) {
        const void *row[ROWS];
        const int64_t some = count - i < ROWS ? count - i : ROWS;
        for (int64_t k = 0; k < some; k++) row[k] = (char *)row_at(&l->many, o[i + k].at) + skip;
        wf_sum_rows(l->table->dtype, some, columns, row, step, high, low);
    }
    wf_sum_into(l->table->dtype, columns, high, low, to, l->table->stride[1]);
}

/* Columns begin .. end - 1 of every row: one thread does all that meets in an element. */
static void add_into_table(void *context, int64_t begin, int64_t end)
{
    const lookup *l = context;
    const int64_t n = l->count, most = COLUMNS * 16;
    const ranked *o = l->sorted;
    for (int64_t i = 0, count; i < n; i += count) {
        for (count = 1; i + count < n && o[i + count].key == o[i].key;) count++;
        for (int64_t at = begin; at < end; at += most)
            add_occurrences(l, o + i, count, at, end - at < most ? end - at : most);
    }
}

static void by_rows(const lookup *l, int threads, wf_par_fn *fn)
{
    if (l->count > 0 && l->many.n > 0)
        wf_par_for(threads, l->count, ELEMENTS / l->many.n + 1, fn, (void *)l);
}

/* What sorting takes. */
static bool sort_scratch(const wf_shaping *s, int64_t *bytes)
{
    return takes_scratch(s, bytes, wf_tensor_count(s->in[1]), 2 * (int64_t)sizeof(ranked));
}

static void by_columns(lookup *l, void *scratch, int threads)
{
    if (l->count == 0 || l->many.n == 0) return;
    l->sorted = sort(l, scratch);
    int64_t grain = (ELEMENTS / l->count + COLUMNS) / COLUMNS * COLUMNS;
    wf_par_for(threads, l->many.n, grain, add_into_table, l);
}

static lookup lookup_of(const wf_tensor *table, const wf_tensor *many, const wf_tensor *ids)
{
    lookup l;
    l.table = table;
    l.many = rows_along(many, many->rank - 1);
    l.ids = rows_along(ids, ids->rank);
    l.count = wf_tensor_count(ids);
    return l;
}

/* ---- rows by id ---- */

static bool gather_rows_shape(wf_shaping *s)
{
    const wf_tensor *w = s->in[0], *ids = s->in[1];
    if (!takes_ids(s, 1)) return false;
    if (w->rank != 2)
        return wf_refuse(s->error, "the table is %s; expected (rows, columns)", SHAPE_TEXT(w));
    if (ids->rank == WF_RANK)
        return wf_refuse(s->error, "ids %s leave no room for the columns", SHAPE_TEXT(ids));
    s->out[0] = *ids;
    s->out[0].dtype = w->dtype;
    s->out[0].dim[s->out[0].rank++] = w->dim[1];
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
    g->gin[0] = wf_scatter_rows(t, g->gout[0], g->in[1], wf_dim(g->in[0], 0));
}

/* ---- scatter_rows ---- */

static bool scatter_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0], *ids = s->in[1];
    const int64_t rows = *(const int64_t *)s->attr;
    if (!takes_floats(s, 0) || !takes_ids(s, 1)) return false;
    if (rows < 0) return wf_refuse(s->error, "%lld rows", (long long)rows);
    bool fits = x->rank == ids->rank + 1;
    for (int i = 0; fits && i < ids->rank; i++) fits = x->dim[i] == ids->dim[i];
    if (!fits)
        return wf_refuse(s->error, "x is %s and ids are %s; expected x of ids' sizes and one more",
                         SHAPE_TEXT(x), SHAPE_TEXT(ids));
    form_out(&s->out[0], x->dtype, WF_SHAPE(rows, x->dim[ids->rank]));
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
    g->gin[0] = wf_gather_rows(t, g->gout[0], g->in[1]);
}

/* ---- one_hot ---- */

static bool one_hot_shape(wf_shaping *s)
{
    const wf_tensor *ids = s->in[0];
    const int64_t classes = *(const int64_t *)s->attr;
    if (!takes_ids(s, 0)) return false;
    if (classes < 0) return wf_refuse(s->error, "%lld classes", (long long)classes);
    if (ids->rank == WF_RANK)
        return wf_refuse(s->error, "ids %s leave no room for the classes", SHAPE_TEXT(ids));
    s->out[0] = *ids;
    s->out[0].dim[s->out[0].rank++] = classes;
    return true;
}

static uint32_t one_hot_varying(const wf_call *c)
{
    return c->in[0]->rank > 0;
}

static void one_hot_forward(const wf_call *c)
{
    const op_rows ids = rows_along(c->in[0], c->in[0]->rank);
    const int64_t n = wf_tensor_count(c->in[0]), classes = *(const int64_t *)c->attr;
    int32_t *to = c->out[0]->data;
    memset(to, 0, (size_t)(n * classes) * sizeof *to);
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = id_at(&ids, i);
        if (id >= 0 && id < classes) to[i * classes + id] = 1;
    }
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
    if (k >= COUNT_OF(tried)) return false;
    sample_ids(s, tried[k].label, tried[k].table, tried[k].ids,
               (double)(tried[k].table.dim[0] - 1));
    if (k == COUNT_OF(tried) - 1) s->in[0].dtype = WF_I32;
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
    if (k >= COUNT_OF(tried)) return false;
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
    if (k >= COUNT_OF(tried)) return false;
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
    .backward = no_backward,
    .gradient = no_gradient,
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
