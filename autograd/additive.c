/* The score of additive attention (Bahdanau, Cho and Bengio 2015): of every place, v times tanh of
 * its key plus the query. The sums of key and query (..., S, H) are never stored: backward takes
 * their tanh anew. */
#include "autograd/kernels.h"
#include "autograd/ops_private.h"
#include "autograd/views.h"
#include "tensor/sum.h"

enum { KEYS, QUERY, V, MASK }; /* inputs */

/* ---- forms ---- */

/* Raises the scores' leading axes to those of x, all but its last `behind`, by NumPy's rule. */
static bool spread(wf_tensor *y, const wf_tensor *x, int behind)
{
    for (int k = 0; k < x->rank - behind; k++) {
        const int from = x->rank - behind - 1 - k, to = y->rank - 2 - k;
        if (y->dim[to] != x->dim[from] && x->dim[from] != 1) {
            if (y->dim[to] != 1) return false;
            y->dim[to] = x->dim[from];
        }
    }
    return true;
}

/* Does x broadcast to y? */
static bool repeats(const wf_tensor *x, const wf_tensor *y)
{
    const wf_shape from = wf_tensor_shape(x), to = wf_tensor_shape(y);
    wf_shape both;
    return wf_shape_broadcast(&from, &to, &both) && wf_shape_equal(&both, &to);
}

static bool shape(wf_shaping *s)
{
    static const char *const names[] = { "keys", "query", "v", "mask" };
    const wf_tensor *keys = s->in[KEYS], *query = s->in[QUERY], *v = s->in[V], *mask = s->in[MASK];
    wf_tensor *y = &s->out[0];
    if (!takes_floats(s, KEYS) || !same_dtype(s, QUERY, KEYS, names) ||
        !same_dtype(s, V, KEYS, names))
        return false;
    if (mask && mask->dtype != WF_I32)
        return wf_refuse(s->error, "mask is %s; expected i32", wf_dtype_name(mask->dtype));
    if (keys->rank < 2)
        return wf_refuse(s->error, "keys is %s; expected (..., places, units)", SHAPE_TEXT(keys));
    const int64_t places = keys->dim[keys->rank - 2], units = keys->dim[keys->rank - 1];
    if (query->rank < 1 || query->dim[query->rank - 1] != units)
        return wf_refuse(s->error, "query is %s; expected (..., %lld), as keys %s has units",
                         SHAPE_TEXT(query), (long long)units, SHAPE_TEXT(keys));
    if (v->rank != 1 || v->dim[0] != units)
        return wf_refuse(s->error, "v is %s; expected (%lld), as keys %s has units", SHAPE_TEXT(v),
                         (long long)units, SHAPE_TEXT(keys));
    const int lead = keys->rank - 2 > query->rank - 1 ? keys->rank - 2 : query->rank - 1;
    y->dtype = keys->dtype;
    y->rank = lead + 1;
    if (y->rank >= WF_RANK)
        return wf_refuse(s->error, "keys %s and query %s have too many axes", SHAPE_TEXT(keys),
                         SHAPE_TEXT(query));
    for (int k = 0; k < lead; k++) y->dim[k] = 1;
    y->dim[lead] = places;
    if (!spread(y, keys, 2) || !spread(y, query, 1))
        return wf_refuse(s->error, "keys %s and query %s differ in their leading axes",
                         SHAPE_TEXT(keys), SHAPE_TEXT(query));
    if (mask && !repeats(mask, y))
        return wf_refuse(s->error, "mask is %s; expected what broadcasts to the scores, %s",
                         SHAPE_TEXT(mask), SHAPE_TEXT(y));
    return true;
}

/* Has the input the scores' axis 0? `behind`: its axes that are not of the scores' leading ones. */
static bool leads(const wf_call *c, int i, int behind)
{
    const wf_tensor *x = c->in[i], *y = c->out[0];
    return x && x->rank - behind == y->rank - 1 && x->dim[0] == y->dim[0];
}

static uint32_t varying(const wf_call *c)
{
    if (c->out[0]->rank < 2) return 0;
    return (uint32_t)leads(c, KEYS, 2) << KEYS | (uint32_t)leads(c, QUERY, 1) << QUERY |
           (uint32_t)leads(c, MASK, 1) << MASK;
}

/* ---- kernels ---- */

/* x with an axis of 1 put in at `axis`. */
static wf_tensor with_axis(wf_tensor x, int axis)
{
    return tensor_with_axis(x, axis, 1, 0);
}

/* Operands of the walks over (..., S, H): what is summed into, the inputs, and the cotangent. */
enum { TO, OF_KEYS, OF_QUERY, OF_V, OF_REST, MOST = OF_REST + 2 };

typedef struct terms {
    const op_kernels *kernels;
    int64_t bytes;
    additive_term what;
    int operands, mask, g; /* how many, and which these are; 0: not there */
} terms;

static void add_terms(void *context, const wf_sum_tile *t)
{
    const terms *m = context;
    const bool each = t->run == 1;
    const int64_t bytes = m->bytes, mask_bytes = (int64_t)sizeof(int32_t);
    const int64_t *along = each ? t->column_stride : t->run_stride, *down = t->row_stride;
    additive_row row = { .n = each ? t->columns : t->run,
                         .keys_step = along[OF_KEYS] / bytes,
                         .query_step = along[OF_QUERY] / bytes,
                         .v_step = along[OF_V] / bytes,
                         .g_step = m->g ? along[m->g] / bytes : 0,
                         .mask_step = m->mask ? along[m->mask] / mask_bytes : 0,
                         .places = t->rows,
                         .keys_place = down[OF_KEYS] / bytes,
                         .query_place = down[OF_QUERY] / bytes,
                         .v_place = down[OF_V] / bytes,
                         .g_place = m->g ? down[m->g] / bytes : 0,
                         .mask_place = m->mask ? down[m->mask] / mask_bytes : 0 };
    for (int64_t c = 0; c < (each ? 1 : t->columns); c++) {
        const char *at[MOST];
        for (int k = OF_KEYS; k < m->operands; k++) at[k] = t->pointer[k] + c * t->column_stride[k];
        row.keys = at[OF_KEYS];
        row.query = at[OF_QUERY];
        row.v = at[OF_V];
        row.g = m->g ? (const void *)at[m->g] : NULL;
        row.mask = m->mask ? (const void *)at[m->mask] : NULL;
        row.high = t->high + c;
        row.low = t->low + c;
        m->kernels->additive(&row, m->what, each);
    }
}

/* Adds the terms of all of (..., S, H) up into `to`, which has axes of 1 where they are summed. */
static void add_up(const wf_call *c, const wf_tensor *to, additive_term what)
{
    const wf_tensor *keys = c->in[KEYS], *y = c->out[0];
    const int rank = y->rank + 1;
    wf_tensor query = c->in[QUERY]->rank > 0 ? with_axis(*c->in[QUERY], c->in[QUERY]->rank - 1)
                                             : *c->in[QUERY],
              mask, g;
    const wf_tensor *operand[MOST] = { to, keys, &query, c->in[V] };
    int n = OF_REST;
    terms m = { op_kernels_of(keys->dtype), bytes_of(keys), what, 0, 0, 0 };
    wf_shape all = wf_tensor_shape(y);
    all.dim[all.rank++] = keys->dim[keys->rank - 1];
    if (c->in[MASK]) {
        mask = with_axis(*c->in[MASK], c->in[MASK]->rank);
        operand[m.mask = n++] = &mask;
    }
    if (what != ADDITIVE_SCORE) {
        g = with_axis(*c->gout[0], rank - 1);
        operand[m.g = n++] = &g;
    }
    m.operands = n;
    wf_walk walk;
    if (wf_walk_plan(&walk, all, n, operand))
        wf_walk_sum(&walk, TO, keys->dtype, 1, 1, c->threads, add_terms, &m);
}

static void forward(const wf_call *c)
{
    const wf_tensor y = with_axis(*c->out[0], c->out[0]->rank);
    wf_tensor_fill(c->out[0], 0);
    add_up(c, &y, ADDITIVE_SCORE);
}

static void backward(const wf_call *c)
{
    if (!c->gout[0]) return;
    if (c->gin[KEYS]) add_up(c, c->gin[KEYS], ADDITIVE_SLOPE);
    if (c->gin[QUERY]) {
        const wf_tensor query = with_axis(*c->gin[QUERY], c->gin[QUERY]->rank - 1);
        add_up(c, &query, ADDITIVE_SLOPE);
    }
    if (c->gin[V]) add_up(c, c->gin[V], ADDITIVE_TANH);
}

/* What is hidden is 0 before tanh and after it, so that nothing of it reaches a gradient. */
static bool reference(wf_tape *t, const wf_reference *r)
{
    wf_var *none = wf_zeros(t, wf_dtype_of(r->in[KEYS]), WF_SCALAR), *mask = r->in[MASK];
    wf_var *sum = wf_add(t, r->in[KEYS], wf_unsqueeze(t, r->in[QUERY], -2));
    if (mask) sum = wf_where(t, wf_unsqueeze(t, mask, -1), sum, none);
    wf_var *y = wf_sum(t, wf_mul(t, wf_tanh(t, sum), r->in[V]), WF_AXES(-1));
    r->out[0] = mask ? wf_where(t, mask, y, none) : y;
    return r->out[0] != NULL;
}

static bool sample(int k, wf_sample *s)
{
    const wf_shape none = { .rank = -1 };
    const struct {
        const char *label;
        wf_shape keys, query, mask;
        int64_t units;
        double shown; /* 1: all that the mask has */
    } tried[] = {
        { "a mask that hides nothing", { 2, { 4, 3 } }, { 1, { 3 } }, { 1, { 4 } }, 3, 1 },
        { "a query for each", { 3, { 2, 3, 4 } }, { 2, { 2, 4 } }, none, 4, 0 },
        { "some places hidden", { 3, { 2, 4, 3 } }, { 2, { 2, 3 } }, { 2, { 2, 4 } }, 3, 0 },
        { "one query", { 3, { 2, 3, 5 } }, { 1, { 5 } }, none, 5, 0 },
        { "one list of keys", { 2, { 3, 5 } }, { 2, { 4, 5 } }, { 1, { 3 } }, 5, 0 },
        { "several queries", { 4, { 2, 1, 3, 2 } }, { 3, { 2, 3, 2 } }, { 3, { 2, 1, 3 } }, 2, 0 },
        { "one of each", { 2, { 3, 19 } }, { 1, { 19 } }, none, 19, 0 },
        { "no places", { 3, { 2, 0, 5 } }, { 2, { 2, 5 } }, none, 5, 0 },
        { "no units", { 3, { 2, 3, 0 } }, { 2, { 2, 0 } }, none, 0, 0 },
        { "no rows", { 3, { 0, 1, 5 } }, { 2, { 0, 5 } }, { 2, { 0, 1 } }, 5, 0 },
    };
    if (k >= COUNT_OF(tried)) return false;
    s->label = tried[k].label;
    sample_input(s, WF_F64, tried[k].keys, -1, 1);
    sample_input(s, WF_F64, tried[k].query, -1, 1);
    sample_input(s, WF_F64, WF_SHAPE(tried[k].units), -2, 2);
    sample_input(s, WF_I32, tried[k].mask, tried[k].shown, 1);
    return true;
}

const wf_op op_additive_score = {
    .name = OP_NAME(additive_score),
    .inputs = 4,
    .outputs = 1,
    .flags = WF_OP_LEADING,
    .optional = 1 << MASK,
    .reads_in = 1 << KEYS | 1 << QUERY | 1 << V | 1 << MASK,
    .varying = varying,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .reference = reference,
    .sample = sample,
};

wf_var *wf_additive_score(wf_tape *t, wf_var *keys, wf_var *query, wf_var *v, wf_var *mask)
{
    return wf_apply_one(t, &op_additive_score, 4, (wf_var *[]){ keys, query, v, mask }, NULL);
}
