/* Elements along an axis by id (gather: PyTorch's gather and take_along_dim), and the other way:
 * elements added up by id (scatter_add). */
#include "autograd/private.h"
#include "autograd/ranked_private.h"
#include "tensor/sum.h"

#include <string.h>

/* What more than LEAF ids of a column name is a sum of tensor/sum.h. */
enum { LEAF = 8 };

/* ---- one element for each id ---- */

/* `many` has an element for each id, `wide` is what ids count along the axis. As runs along the
 * last axis: an element of `wide` lies at its own place of the run, and id * along from there. As
 * columns along the axis. */
typedef struct lookup {
    wf_tensor ids, still; /* ids broadcast to many's form; wide as if it did not count the axis */
    op_rows many_run, ids_run, wide_run, many, of, wide;
    int64_t along, runs, columns;
} lookup;

static void lookup_of(lookup *l, const wf_tensor *wide, const wf_tensor *many, const wf_tensor *ids,
                      int32_t wanted)
{
    const int axis = wf_axis(many->rank, wanted), last = many->rank - 1;
    const int64_t n = wf_tensor_count(many);
    l->ids = *ids;
    l->still = *many;
    l->still.data = wide->data;
    for (int k = 0; k <= last; k++) {
        if (ids->dim[k] != many->dim[k]) l->ids.stride[k] = 0; /* a size of 1, repeated */
        l->ids.dim[k] = many->dim[k];
        l->still.stride[k] = k == axis ? 0 : wide->stride[k];
    }
    l->along = wide->stride[axis];
    l->many_run = rows_along(many, last);
    l->ids_run = rows_along(&l->ids, last);
    l->wide_run = rows_along(&l->still, last);
    l->many = rows_along(many, axis);
    l->of = rows_along(&l->ids, axis);
    l->wide = rows_along(wide, axis);
    l->runs = n > 0 ? n / many->dim[last] : 0;
    l->columns = n > 0 ? n / many->dim[axis] : 0;
}

#define EACH_OF_RUN(name, type, op)                                                                \
    static void name(const lookup *l, int64_t run)                                                 \
    {                                                                                              \
        type *y = row_at(&l->many_run, run);                                                       \
        const type *x = row_at(&l->wide_run, run);                                                 \
        const int32_t *id = row_at(&l->ids_run, run);                                              \
        const int64_t n = l->many_run.n, ys = l->many_run.step, is = l->ids_run.step;              \
        const int64_t xs = l->wide_run.step, along = l->along;                                     \
        for (int64_t i = 0; i < n; i++) y[i * ys] op x[i * xs + id[i * is] * along];               \
    }
EACH_OF_RUN(take_f32, float, =)
EACH_OF_RUN(take_f64, double, =)
EACH_OF_RUN(take_i32, int32_t, =)
EACH_OF_RUN(add_f32, float, +=)
EACH_OF_RUN(add_f64, double, +=)

typedef void run_fn(const lookup *l, int64_t run);

static void take_runs(void *context, int64_t begin, int64_t end)
{
    static run_fn *const take[WF_DTYPES] = { take_f32, take_f64, take_i32 };
    const lookup *l = context;
    for (int64_t i = begin; i < end; i++) take[l->still.dtype](l, i);
}

static void add_runs(void *context, int64_t begin, int64_t end)
{
    const lookup *l = context;
    for (int64_t i = begin; i < end; i++) (l->still.dtype == WF_F32 ? add_f32 : add_f64)(l, i);
}

/* ---- added up by id ---- */

/* Element i of a column of `many`; where id names, in that of `wide`. */
static const char *given_at(const lookup *l, const char *many, int64_t i)
{
    return many + i * l->many.step * l->many.bytes;
}

static char *named_by(const lookup *l, char *wide, int64_t id)
{
    return wide + id * l->wide.step * l->wide.bytes;
}

/* One thread does all that meets in a column. */
static void add_column(void *context, int64_t column, void *scratch)
{
    const lookup *l = context;
    const wf_dtype dtype = l->still.dtype;
    const int64_t n = l->many.n;
    const char *many = row_at(&l->many, column);
    const int32_t *id = row_at(&l->of, column);
    char *wide = row_at(&l->wide, column);
    if (n <= LEAF) {
        for (int64_t i = 0; i < n; i++)
            wf_run_add(dtype, 1, 1, given_at(l, many, i), 1, named_by(l, wide, id[i * l->of.step]),
                       1);
        return;
    }
    ranked *r = scratch;
    for (int64_t i = 0; i < n; i++) r[i] = (ranked){ .key = (uint32_t)id[i * l->of.step], .at = i };
    r = ranked_sort(r, n, (int)sizeof *id);
    for (int64_t i = 0, same; i < n; i += same) {
        char *to = named_by(l, wide, (int64_t)r[i].key);
        for (same = 1; i + same < n && r[i + same].key == r[i].key;) same++;
        if (same <= LEAF) {
            for (int64_t k = i; k < i + same; k++)
                wf_run_add(dtype, 1, 1, given_at(l, many, r[k].at), 1, to, 1);
            continue;
        }
        double high = 0, low = 0;
        for (int64_t k = i; k < i + same; k++) {
            const void *row = given_at(l, many, r[k].at);
            wf_sum_rows(dtype, 1, 1, &row, 1, &high, &low);
        }
        wf_sum_into(dtype, 1, &high, &low, to, 1);
    }
}

static int64_t column_bytes(int64_t n)
{
    return n <= LEAF ? 0 : 2 * n * (int64_t)sizeof(ranked);
}

static bool column_scratch(const wf_shaping *s, int64_t *scratch, const wf_tensor *many, int axis)
{
    if (many->dim[axis] > INT32_MAX)
        return wf_refuse(s->error, "axis %d of %s is longer than i32 can say", axis,
                         SHAPE_TEXT(many));
    return rows_scratch(s, scratch, column_bytes(many->dim[axis]));
}

static void add_columns(const wf_call *c, lookup *l)
{
    rows_apart(c, l->columns, 8 * l->many.n, column_bytes(l->many.n), add_column, l);
}

/* ---- what both ask ---- */

static bool ids_along(const wf_tensor *ids, int axis, int64_t size, wf_error *error)
{
    const op_rows each = rows_along(ids, ids->rank);
    const int64_t n = wf_tensor_count(ids);
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = id_at(&each, i);
        if (id >= 0 && id < size) continue;
        return wf_refuse(error, "id %d at %s is out of range: axis %d has %lld", id,
                         INDEX_TEXT(ids, i), axis, (long long)size);
    }
    return true;
}

/* Are ids as x is beside the axis (along it, too, unless `free`), or of size 1? */
static bool ids_beside(const wf_shaping *s, int axis, bool free)
{
    const wf_tensor *x = s->in[0], *ids = s->in[1];
    if (!takes_ids(s, 1)) return false;
    bool fits = x->rank == ids->rank;
    for (int k = 0; fits && k < x->rank; k++)
        fits = (free && k == axis) || ids->dim[k] == x->dim[k] || ids->dim[k] == 1;
    if (fits) return true;
    return wf_refuse(s->error, "x is %s and ids are %s; expected ids of x's sizes%s, or of 1",
                     SHAPE_TEXT(x), SHAPE_TEXT(ids), free ? " beside the axis" : "");
}

/* ---- gather ---- */

static bool gather_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0], *ids = s->in[1];
    const int axis = takes_axis(s, *(const int32_t *)s->attr);
    if (axis < 0 || !ids_beside(s, axis, true)) return false;
    s->out[0] = *x;
    s->out[0].dim[axis] = ids->dim[axis];
    return column_scratch(s, &s->scratch_backward, &s->out[0], axis);
}

static bool gather_check(const wf_call *c, wf_error *error)
{
    const wf_tensor *x = c->in[0];
    const int axis = wf_axis(x->rank, *(const int32_t *)c->attr);
    return wf_tensor_count(c->out[0]) == 0 || ids_along(c->in[1], axis, x->dim[axis], error);
}

/* Along axis 0 each row of the result has its own ids, and all of x. */
static uint32_t gather_varying(const wf_call *c)
{
    const int axis = wf_axis(c->in[0]->rank, *(const int32_t *)c->attr);
    const bool own = c->in[1]->dim[0] == c->out[0]->dim[0];
    return axis == 0 ? 2 : own ? 3 : 1;
}

static void gather_forward(const wf_call *c)
{
    lookup l;
    lookup_of(&l, c->in[0], c->out[0], c->in[1], *(const int32_t *)c->attr);
    each_row(c->threads, l.runs, l.many_run.n, take_runs, &l);
}

static void gather_backward(const wf_call *c)
{
    lookup l;
    if (!c->gin[0] || !c->gout[0]) return;
    lookup_of(&l, c->gin[0], c->gout[0], c->in[1], *(const int32_t *)c->attr);
    add_columns(c, &l);
}

static void gather_gradient(wf_tape *t, const wf_gradient *g)
{
    const int32_t axis = *(const int32_t *)g->attr;
    g->gin[0] = wf_scatter_add(t, g->gout[0], axis, g->in[1], wf_dim(g->in[0], axis));
}

/* ---- scatter_add ---- */

typedef struct scattering {
    int64_t size;
    int64_t axis;
} scattering;

static bool scatter_add_shape(wf_shaping *s)
{
    const wf_tensor *x = s->in[0];
    const scattering *a = s->attr;
    if (!takes_floats(s, 0)) return false;
    const int axis = takes_axis(s, (int)a->axis);
    if (axis < 0 || !ids_beside(s, axis, false)) return false;
    if (a->size < 0) return wf_refuse(s->error, "a size of %lld", (long long)a->size);
    s->out[0] = *x;
    s->out[0].dim[axis] = a->size;
    return column_scratch(s, &s->scratch_forward, x, axis);
}

static bool scatter_add_check(const wf_call *c, wf_error *error)
{
    const scattering *a = c->attr;
    return wf_tensor_count(c->in[0]) == 0 ||
           ids_along(c->in[1], wf_axis(c->in[0]->rank, (int)a->axis), a->size, error);
}

static uint32_t scatter_add_varying(const wf_call *c)
{
    const int axis = wf_axis(c->in[0]->rank, (int)((const scattering *)c->attr)->axis);
    return axis == 0 ? 0 : c->in[1]->dim[0] == c->out[0]->dim[0] ? 3 : 1;
}

static void scatter_add_forward(const wf_call *c)
{
    lookup l;
    wf_tensor_fill(c->out[0], 0);
    lookup_of(&l, c->out[0], c->in[0], c->in[1], (int32_t)((const scattering *)c->attr)->axis);
    add_columns(c, &l);
}

static void scatter_add_backward(const wf_call *c)
{
    lookup l;
    if (!c->gin[0] || !c->gout[0]) return;
    lookup_of(&l, c->gout[0], c->gin[0], c->in[1], (int32_t)((const scattering *)c->attr)->axis);
    each_row(c->threads, l.runs, l.many_run.n, add_runs, &l);
}

static void scatter_add_gradient(wf_tape *t, const wf_gradient *g)
{
    const int axis = (int)((const scattering *)g->attr)->axis;
    wf_shape like = wf_shape_of(g->in[0]), given = wf_shape_of(g->in[1]);
    wf_var *ids = wf_shape_equal(&like, &given) ? g->in[1] : wf_expand(t, g->in[1], like);
    g->gin[0] = wf_gather(t, g->gout[0], axis, ids);
}

/* ---- samples and rows ---- */

typedef struct tried_ids {
    const char *label;
    wf_shape x, ids;
    int32_t axis;
    int64_t size; /* that ids are below */
} tried_ids;

static bool sample_of_ids(const tried_ids *tried, wf_sample *s)
{
    s->label = tried->label;
    sample_input(s, WF_F64, tried->x, -2, 2);
    sample_input(s, WF_I32, tried->ids, 0, (double)(tried->size - 1));
    return true;
}

static bool gather_sample(int k, wf_sample *s)
{
    static const tried_ids tried[] = {
        { "of rows", { 2, { 3, 7 } }, { 2, { 3, 2 } }, -1, 7 },
        { "of columns", { 2, { 5, 3 } }, { 2, { 7, 3 } }, 0, 5 },
        { "of the middle axis", { 3, { 2, 5, 3 } }, { 3, { 2, 1, 3 } }, 1, 5 },
        { "the same ids for all rows", { 2, { 3, 7 } }, { 2, { 1, 5 } }, 1, 7 },
        { "the same ids for all columns", { 3, { 2, 3, 5 } }, { 3, { 2, 2, 1 } }, 1, 3 },
        { "repeated ids", { 2, { 2, 3 } }, { 2, { 2, 41 } }, 1, 3 },
        { "no ids", { 2, { 3, 7 } }, { 2, { 3, 0 } }, 1, 7 },
        { "of ids", { 2, { 3, 7 } }, { 2, { 3, 2 } }, 1, 7 },
    };
    if (k >= COUNT_OF(tried)) return false;
    memcpy(s->attr.bytes, &tried[k].axis, sizeof tried[k].axis);
    sample_of_ids(&tried[k], s);
    if (k == COUNT_OF(tried) - 1) s->in[0].dtype = WF_I32;
    return true;
}

static bool scatter_add_sample(int k, wf_sample *s)
{
    static const tried_ids tried[] = {
        { "of rows", { 2, { 3, 5 } }, { 2, { 3, 5 } }, -1, 7 },
        { "of columns", { 2, { 5, 3 } }, { 2, { 5, 3 } }, 0, 4 },
        { "of the middle axis", { 3, { 2, 5, 3 } }, { 3, { 2, 5, 3 } }, 1, 7 },
        { "the same ids for all rows", { 2, { 3, 5 } }, { 2, { 1, 5 } }, 1, 7 },
        { "repeated ids", { 2, { 2, 41 } }, { 2, { 2, 41 } }, 1, 3 },
        { "one id for all", { 1, { 11 } }, { 1, { 1 } }, 0, 2 },
        { "no ids", { 2, { 3, 0 } }, { 2, { 3, 0 } }, 1, 7 },
    };
    if (k >= COUNT_OF(tried)) return false;
    const scattering a = { tried[k].size, tried[k].axis };
    memcpy(s->attr.bytes, &a, sizeof a);
    return sample_of_ids(&tried[k], s);
}

const wf_op op_gather = {
    .name = OP_NAME(gather),
    .inputs = 2,
    .outputs = 1,
    .attr_size = sizeof(int32_t),
    .reads_in = 2,
    .reads_check = 2,
    .varying = gather_varying,
    .shape = gather_shape,
    .check = gather_check,
    .forward = gather_forward,
    .backward = gather_backward,
    .gradient = gather_gradient,
    .sample = gather_sample,
};

const wf_op op_scatter_add = {
    .name = OP_NAME(scatter_add),
    .inputs = 2,
    .outputs = 1,
    .attr_size = sizeof(scattering),
    .reads_in = 2,
    .reads_check = 2,
    .varying = scatter_add_varying,
    .shape = scatter_add_shape,
    .check = scatter_add_check,
    .forward = scatter_add_forward,
    .backward = scatter_add_backward,
    .gradient = scatter_add_gradient,
    .sample = scatter_add_sample,
};

/* Of x, sizes of 1 beside the axis are repeated: the row would add up what they are named for. */
wf_var *wf_gather(wf_tape *t, wf_var *x, int axis, wf_var *ids)
{
    if (!wf_tape_ok(t) || !(x = var_enter(t, x, op_gather.name, 0)) ||
        !(ids = var_enter(t, ids, op_gather.name, 1)))
        return NULL;
    wf_shape to = wf_shape_of(x);
    const wf_shape of = wf_shape_of(ids);
    const int at = wf_axis(to.rank, axis);
    for (int k = 0; to.rank == of.rank && k < to.rank; k++)
        if (k != at && to.dim[k] == 1) to.dim[k] = of.dim[k];
    wf_var *wide = at < 0 ? x : wf_expand(t, x, to);
    return wf_apply_one(t, &op_gather, 2, (wf_var *[]){ wide, ids }, &(int32_t){ axis });
}

wf_var *wf_scatter_add(wf_tape *t, wf_var *x, int axis, wf_var *ids, int64_t size)
{
    return wf_apply_one(t, &op_scatter_add, 2, (wf_var *[]){ x, ids }, &(scattering){ size, axis });
}
