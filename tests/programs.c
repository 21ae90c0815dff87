/* Random steps: what is drawn depends on the program's seed and on the shapes behind the rows, so a
 * step makes the same graph for one row and for all. */
#include "tests/programs.h"

#include <string.h>

bool program_used[PROGRAM_ROWS];

/* ---- numbers ---- */

typedef struct dice {
    uint64_t key, drawn;
} dice;

static int64_t below(dice *d, int64_t n)
{
    return wf_random_below(d->key, d->drawn++, n);
}

/* Of threads, sizes and rows: most loops are small, so that there may be many of them. */
static void draw_sizes(program *p, dice *d)
{
    static const int threads[] = { 1, 1, 2, 3, 5 };
    p->time = 1 + below(d, 9);
    p->batch = below(d, 6);
    p->size = (int)below(d, 4) ? 0 : (int)below(d, PROGRAM_SIZES);
    if (below(d, 8) == 0) p->batch += below(d, 28);
    if (below(d, 16) == 0) p->time += below(d, 30);
    p->threads = threads[below(d, 5)];
    p->finer = p->dtype == WF_F32 && below(d, 2);
    if (p->mode != WF_INFER || below(d, 4)) return;
    p->time = 2500 / (p->batch + 3) +
              below(d, 100); /* more rows than are kept, or go back, at once */
    p->batch += 3;
    p->ops = 1 + p->ops % 10;
    p->mixing = false;
}

program program_drawn(uint64_t seed)
{
    dice d = { .key = seed * 2 + 1 };
    program p = { .seed = seed, .mode = seed % 8 == 7 ? WF_INFER : WF_TRAIN };
    p.second = p.mode == WF_TRAIN && seed % 4 == 0;
    p.plain = seed % 16 == 1;
    p.dtype = below(&d, 4) ? WF_F64 : WF_F32;
    p.chosen = (uint32_t)below(&d, 1 << 12) | 1;
    p.ops = 1 + (int)below(&d, PROGRAM_OPS);
    p.states = (int)below(&d, 5);
    p.sequences = (int)below(&d, 4);
    if (p.states + p.sequences == 0) p.states = 1;
    p.outputs = (int)below(&d, 4);
    if (p.states + p.outputs == 0) p.outputs = 1;
    p.ragged = below(&d, 2);
    p.reverse = below(&d, 2);
    p.mixing = below(&d, 3) == 0;
    draw_sizes(&p, &d);
    return p;
}

/* ---- what it is run on ---- */

enum { IDS = 7 };

/* Three widths, of which no two are the same; the first may have several packed panels. */
int64_t program_width(const program *p, int k)
{
    static const int64_t sizes[PROGRAM_SIZES][3] = { { 5, 3, 2 },   { 4, 9, 3 },   { 20, 6, 3 },
                                                     { 33, 16, 2 }, { 41, 24, 3 }, { 97, 10, 2 },
                                                     { 270, 3, 2 } };
    return sizes[p->size][k];
}

/* Behind the rows: of a sequence or state; a rank of -1: ids below IDS. */
static wf_shape form_of(const program *p, bool state, int i)
{
    const int64_t a = program_width(p, 0), b = program_width(p, 1), c = program_width(p, 2);
    const wf_shape forms[] = { { 1, { a } },    { 1, { a } }, { 1, { b } },  { 0, { 0 } },
                               { 2, { c, b } }, { 1, { 1 } }, { -1, { 0 } }, { 2, { b, a } } };
    dice d = { .key = p->seed * 2 + 1, .drawn = (uint64_t)(1000 + 2 * i + state) };
    return forms[p->step ? 0 : below(&d, sizeof forms / sizeof *forms)];
}

static wf_shape closed_form(const program *p, int i)
{
    const int64_t a = program_width(p, 0), b = program_width(p, 1);
    const wf_shape forms[PROGRAM_CLOSED] = {
        { 2, { a, b } }, { 1, { a } },    { 2, { b, a } },     { 2, { IDS, a } },   { 1, { b } },
        { 0, { 0 } },    { 2, { a, a } }, { 2, { a, 2 * a } }, { 2, { 3 * a, a } }, { 1, { a } },
    };
    return forms[i];
}

/* Numbers of a sequence or state: (lead..., form...). */
static wf_var *numbers(wf_tape *t, const program *p, int lead, bool state, int i)
{
    wf_shape form = form_of(p, state, i), shape = { .rank = lead };
    shape.dim[0] = lead == 2 ? p->time : p->batch;
    shape.dim[lead - 1] = p->batch;
    for (int k = 0; k < form.rank; k++) shape.dim[shape.rank++] = form.dim[k];
    const uint64_t key = p->seed * 64 + (uint64_t)(2 * i + state);
    return form.rank < 0 ? drawn(t, WF_I32, shape, key, 0, IDS)
                         : drawn(t, p->dtype, shape, key, -1, 1);
}

wf_module *program_net(const program *p)
{
    wf_module *net = wf_module_new("net",
                                   &(wf_module_options){ .seed = p->seed, .dtype = p->dtype });
    wf_param_new(net, "w", closed_form(p, 0), (wf_init){ WF_INIT_UNIFORM, -1, 1, 0 });
    wf_param_new(net, "b", closed_form(p, 1), (wf_init){ WF_INIT_UNIFORM, -1, 1, 0 });
    return net;
}

bool program_vars_make(wf_tape *t, const program *p, wf_module *net, program_vars *v)
{
    dice d = { .key = p->seed * 2 + 1, .drawn = 2000 };
    *v = (program_vars){ .p = p };
    for (int i = 0; i < p->sequences; i++) v->x[i] = numbers(t, p, 2, false, i);
    for (int k = 0; k < p->states; k++) v->initial[k] = numbers(t, p, 1, true, k);
    for (int i = 0; i < 2; i++) v->leaf[i] = wf_module_param_at(net, i);
    for (int i = 2; i < PROGRAM_CLOSED; i++)
        v->leaf[i] = drawn(t, p->dtype, closed_form(p, i), p->seed * 64 + 32 + (uint64_t)i, -1, 1);
    for (int64_t b = 0; b < p->batch; b++)
        v->length[b] = (int32_t)(p->ragged ? below(&d, p->time + 1) : p->time);
    if (p->ragged) v->lengths = wf_constant(t, WF_I32, WF_SHAPE(p->batch), v->length);
    return wf_tape_ok(t);
}

bool program_vars_close(wf_tape *t, program_vars *v)
{
    for (int i = 0; i < PROGRAM_CLOSED; i++)
        v->closed[i] = i % 3 == 1 ? wf_tanh(t, v->leaf[i]) : v->leaf[i];
    return wf_tape_ok(t);
}

/* ---- a step ---- */

/* A value of the step. */
typedef struct value {
    wf_var *v;
    bool rows;     /* its first axis are the rows; not of what is closed over */
    int64_t below; /* of ids: what they are below; of floats 0; of masks -1 */
} value;

enum { VALUES = 128 };
typedef struct maker {
    wf_tape *t;
    const program_vars *in;
    dice d;
    int n;
    value all[VALUES];
} maker;

/* Sizes behind the rows. */
static wf_shape tail(const value *x)
{
    wf_shape s = wf_shape_of(x->v);
    if (!x->rows) return s;
    memmove(s.dim, s.dim + 1, sizeof s.dim - sizeof s.dim[0]);
    s.rank--;
    return s;
}

static void push(maker *m, wf_var *v, bool rows, int64_t below)
{
    if (v && m->n < VALUES) m->all[m->n++] = (value){ v, rows, below };
}

/* One of the values that fit, or NULL. */
typedef bool fits_fn(const value *x, const void *context);
static const value *pick(maker *m, fits_fn *fits, const void *context)
{
    const value *found = NULL;
    int64_t n = 0;
    for (int i = 0; i < m->n; i++)
        if (fits(&m->all[i], context) && below(&m->d, ++n) == 0) found = &m->all[i];
    return found;
}

static bool is_float(const value *x, const void *rank)
{
    return x->below == 0 && x->rows && (!rank || tail(x).rank == *(const int *)rank);
}

static bool is_ids(const value *x, const void *context)
{
    (void)context;
    return x->below > 0 && x->rows;
}

/* May it stand beside a value with rows? It has them and the same tail, or has none and is an end
 * of the tail. */
static bool goes_with(const value *x, const void *context)
{
    const value *a = context;
    const wf_shape s = tail(x), whole = tail(a);
    if (x->below != 0 || (x->rows && s.rank != whole.rank) || s.rank > whole.rank) return false;
    for (int k = 0; k < s.rank; k++)
        if (s.dim[s.rank - 1 - k] != whole.dim[whole.rank - 1 - k]) return false;
    return true;
}

static bool is_mask_for(const value *x, const void *context)
{
    const value *a = context;
    const wf_shape s = tail(x), want = tail(a);
    return x->below == -1 && x->rows && wf_shape_equal(&s, &want);
}

static bool is_closed_matrix(const value *x, const void *columns)
{
    return !x->rows && x->below == 0 && wf_rank(x->v) == 2 &&
           wf_dim(x->v, 1) == *(const int64_t *)columns;
}

static wf_var *tame(maker *m, wf_var *v)
{
    return wf_tanh(m->t, v);
}

static wf_var *positive(maker *m, wf_var *v)
{
    return wf_add_scalar(m->t, wf_softplus(m->t, tame(m, v)), 0.25);
}

static bool named(const char *name, const char *list)
{
    const size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || !at[n])) return true;
    return false;
}

/* A pointwise row. */
static void pointwise(maker *m, const wf_op *op)
{
    static const double numbers[] = { 2, 0.5, -1.5 };
    const value *a = pick(m, is_float, NULL);
    if (!a) return;
    const value given = *a;
    const bool compares = named(op->name, "greater greater_equal less less_equal equal not_equal");
    double s = numbers[below(&m->d, 3)];
    wf_var *in[3] = { given.v }, *one = given.v;
    if (named(op->name, "log log1p sqrt reciprocal rdiv_scalar pow_scalar"))
        in[0] = positive(m, one);
    if (named(op->name, "exp expm1 square")) in[0] = tame(m, one);
    for (int i = 1; i < op->inputs; i++) {
        const value *other = pick(m, goes_with, &given);
        in[i] = other ? other->v : one;
        if (named(op->name, "div")) in[i] = positive(m, in[i]);
        if (named(op->name, "lerp logistic_loss")) in[i] = wf_sigmoid(m->t, in[i]);
    }
    if (named(op->name, "where")) {
        const value *mask = pick(m, is_mask_for, &given);
        in[2] = in[1];
        in[1] = given.v;
        in[0] = mask ? mask->v : wf_greater(m->t, given.v, in[2]);
    }
    push(m, wf_apply_one(m->t, op, op->inputs, in, op->attr_size ? &s : NULL), true,
         compares ? -1 : 0);
}

/* The larger of two ids of each row. */
static void ids_where(maker *m)
{
    const value *a = pick(m, is_ids, NULL), *b = pick(m, is_ids, NULL);
    if (!a || tail(a).rank > 0 || tail(b).rank > 0) return;
    push(m, wf_where(m->t, wf_greater(m->t, a->v, b->v), a->v, b->v), true,
         a->below > b->below ? a->below : b->below);
}

/* ---- the other rows: each recipe applies its row to values that it picks ---- */

static void product(maker *m, bool affine)
{
    const value *a = pick(m, is_float, NULL);
    if (!a || tail(a).rank < 1) return;
    const wf_shape s = tail(a);
    const int64_t columns = s.dim[s.rank - 1];
    wf_var *x = a->v;
    if (!affine && s.rank == 2) { /* of rows' own matrices */
        push(m, wf_matmul(m->t, x, wf_transpose(m->t, tame(m, x), -1, -2)), true, 0);
        return;
    }
    const value *w = pick(m, is_closed_matrix, &columns);
    if (!w) return;
    wf_var *weight = below(&m->d, 3) ? w->v : tame(m, w->v);
    if (affine) {
        const wf_shape form = { 1, { wf_dim(w->v, 0) } };
        wf_var *bias = NULL;
        for (int i = 0; i < PROGRAM_CLOSED && below(&m->d, 2); i++) {
            wf_shape c = wf_shape_of(m->in->closed[i]);
            if (wf_shape_equal(&c, &form)) bias = m->in->closed[i];
        }
        push(m, wf_affine(m->t, x, weight, bias), true, 0);
    } else if (s.rank == 1) {
        push(m, wf_matmul(m->t, x, wf_transpose(m->t, weight, 0, 1)), true, 0);
    }
}

static bool has_width(const value *x, const void *width)
{
    return x->below == 0 && x->rows && tail(x).rank == 1 &&
           tail(x).dim[0] == *(const int64_t *)width;
}

/* What cells begin with: a product of two things side by side, or a sum of two products, with
 * biases. */
static void gates(maker *m)
{
    const int64_t width = program_width(m->in->p, 0);
    const value *a = pick(m, has_width, &width), *b = pick(m, has_width, &width);
    wf_var *const *c = m->in->closed;
    if (!a || !b) return;
    wf_var *x = a->v, *h = b->v, *y;
    if (below(&m->d, 2))
        y = wf_affine(m->t, wf_concat(m->t, -1, WF_VARS(x, h)), c[7],
                      below(&m->d, 2) ? c[1] : NULL);
    else
        y = wf_add(
            m->t, wf_affine(m->t, x, c[6], c[9]),
            wf_affine(m->t, h, below(&m->d, 2) ? c[6] : wf_transpose(m->t, c[6], 0, 1), c[1]));
    if (below(&m->d, 2)) y = wf_add(m->t, y, below(&m->d, 2) ? c[9] : c[5]);
    push(m, y, true, 0);
    if (below(&m->d, 2)) { /* of which not every part may be read */
        wf_var *part[3];
        if (!wf_split(m->t, wf_affine(m->t, h, c[8], NULL), -1, 3, part)) return;
        push(m, part[0], true, 0);
        push(m, part[2], true, 0);
        if (below(&m->d, 2)) push(m, part[1], true, 0);
    }
}

/* The last layer of a classifier and its loss. */
static void classifier(maker *m)
{
    const value *a = pick(m, is_float, NULL);
    if (!a || tail(a).rank < 1) return;
    const int64_t columns = tail(a).dim[tail(a).rank - 1];
    const value *w = pick(m, is_closed_matrix, &columns);
    if (!w || wf_dim(w->v, 0) < 1) return;
    const wf_reduction r = m->in->p->mixing && below(&m->d, 2) ? WF_REDUCE_SUM : WF_REDUCE_NONE;
    wf_var *x = a->v, *weight = below(&m->d, 3) ? w->v : tame(m, w->v);
    wf_var *target = wf_argmax(m->t, wf_flip(m->t, wf_affine(m->t, x, weight, NULL), WF_AXES(-1)),
                               -1);
    wf_var *y = wf_affine_cross_entropy(m->t, x, weight, NULL, target,
                                        &(wf_cross_entropy_options){ .reduction = r });
    push(m, y, r == WF_REDUCE_NONE, 0);
}

/* Over the last axis, or in a mixing program over the rows. */
static void reduction(maker *m, const char *name)
{
    const value *a = pick(m, is_float, NULL);
    if (!a) return;
    const wf_shape s = tail(a);
    const bool over_rows = m->in->p->mixing && m->in->p->batch > 0 && below(&m->d, 3) == 0;
    if (s.rank < 1 && !over_rows) return;
    const int axis = over_rows ? 0 : -1;
    wf_var *x = a->v;
    if (named(name, "cumsum")) {
        push(m, wf_cumsum(m->t, x, axis), true, 0);
    } else if (named(name, "masked_softmax")) {
        const value given = *a, *mask = pick(m, is_mask_for, &given);
        wf_var *seen = mask && below(&m->d, 2) ? mask->v : wf_less(m->t, x, m->in->closed[5]);
        push(m, wf_masked_softmax(m->t, x, seen, axis), true, 0);
    } else if (named(name, "softmax log_softmax")) {
        push(m, named(name, "softmax") ? wf_softmax(m->t, x, axis) : wf_log_softmax(m->t, x, axis),
             true, 0);
    } else if (named(name, "argmax")) {
        if (s.rank == 1 && s.dim[0] <= IDS && s.dim[0] > 0)
            push(m, wf_argmax(m->t, x, -1), true, s.dim[0]);
    } else {
        wf_var *(*const keep)(wf_tape *, wf_var *,
                              const wf_axes *) = named(name, "sum")    ? wf_sum_keep
                                                 : named(name, "mean") ? wf_mean_keep
                                                 : named(name, "max")  ? wf_max_keep
                                                                       : wf_norm_keep;
        wf_var *y = keep(m->t, named(name, "norm") ? positive(m, x) : x, WF_AXES(axis));
        push(m, over_rows ? wf_mul(m->t, x, y) : y, true, 0);
    }
}

static void layer_norm(maker *m)
{
    const value *a = pick(m, is_float, NULL);
    if (!a || tail(a).rank < 1) return;
    const wf_shape s = tail(a);
    wf_var *given[2] = { NULL };
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < PROGRAM_CLOSED && below(&m->d, 2); i++)
            if (wf_rank(m->in->closed[i]) == 1 && wf_dim(m->in->closed[i], 0) == s.dim[s.rank - 1])
                given[k] = m->in->closed[i];
    push(m, wf_layer_norm(m->t, a->v, given[0], given[1], 0.1), true, 0);
}

/* By numbers that the steps share, (C): a batch's own would mix its rows. */
static void batch_norm_given(maker *m)
{
    const value *a = pick(m, is_float, NULL);
    if (!a || !a->rows || tail(a).rank < 1) return;
    wf_var *given[3] = { NULL }; /* mean, variance, scale */
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < PROGRAM_CLOSED && (!given[k] || below(&m->d, 2)); i++)
            if (wf_rank(m->in->closed[i]) == 1 && wf_dim(m->in->closed[i], 0) == tail(a).dim[0])
                given[k] = m->in->closed[i];
    if (!given[0]) return;
    if (below(&m->d, 2)) given[2] = NULL;
    push(
        m,
        wf_batch_norm_given(m->t, a->v, given[2], NULL, NULL, given[0], positive(m, given[1]), 0.1),
        true, 0);
}

/* By a batch's own, in a mixing program. */
static void batch_norm(maker *m)
{
    const value *a = m->in->p->mixing && m->in->p->batch > 0 ? pick(m, is_float, NULL) : NULL;
    if (a && tail(a).rank > 0)
        push(m, wf_batch_norm(m->t, a->v, NULL, NULL, NULL, 0.5, NULL), true, 0);
}

/* Keys are a value's rows of vectors, the query another's, or a vector that all rows share. */
static void additive_score(maker *m)
{
    const value *keys = pick(m, is_float, NULL), *query = pick(m, is_float, NULL);
    if (!keys || tail(keys).rank < 1) return;
    wf_var *v = NULL, *shared = NULL, *x = keys->v;
    const int64_t units = tail(keys).dim[tail(keys).rank - 1];
    for (int i = 0; i < PROGRAM_CLOSED; i++)
        if (wf_rank(m->in->closed[i]) == 1 && wf_dim(m->in->closed[i], 0) == units)
            (v ? (shared = m->in->closed[i]) : (v = m->in->closed[i]));
    if (!v) return;
    if (tail(keys).rank == 1) x = wf_unsqueeze(m->t, x, 1);
    if (wf_rank(x) != 3) return;
    const bool fits = query && tail(query).rank == 1 && tail(query).dim[0] == units;
    if (!fits && !shared) return;
    push(m, wf_additive_score(m->t, x, fits ? query->v : shared, v, NULL), true, 0);
}

static void sum_to(maker *m)
{
    const value *a = pick(m, is_float, NULL);
    if (!a || tail(a).rank < 1) return;
    wf_shape s = wf_shape_of(a->v);
    wf_var *x = a->v;
    s.dim[s.rank - 1] = 1;
    push(m, wf_sum_to(m->t, x, s), true, 0);
    if (!m->in->p->mixing) return;
    s = tail(a);
    push(m, tame(m, wf_sum_to(m->t, x, s)), false, 0);
}

static void losses(maker *m, const char *name)
{
    const int one = 1;
    const value *a = pick(m, is_float, &one);
    if (!a || tail(a).dim[0] < 1) return;
    wf_var *logits = a->v;
    if (named(name, "cross_entropy")) {
        const wf_reduction r = m->in->p->mixing && below(&m->d, 2) ? WF_REDUCE_SUM : WF_REDUCE_NONE;
        wf_var *target = wf_argmax(m->t, wf_flip(m->t, logits, WF_AXES(-1)), -1);
        wf_var *y = wf_cross_entropy_with(m->t, logits, target,
                                          &(wf_cross_entropy_options){ .reduction = r });
        push(m, y, r == WF_REDUCE_NONE, 0);
    } else if (m->in->p->mixing && m->in->p->batch > 0) {
        push(m, wf_mse(m->t, logits, tame(m, logits)), false, 0);
    }
}

static void lookup(maker *m, const char *name)
{
    const value *ids = pick(m, is_ids, NULL);
    const int64_t width = program_width(m->in->p, 0);
    if (!ids || tail(ids).rank > 0) return;
    wf_var *at = ids->v;
    if (named(name, "one_hot")) {
        push(m, wf_cast(m->t, wf_one_hot(m->t, at, width), m->in->p->dtype), true, 0);
    } else if (named(name, "gather_rows")) {
        wf_var *table = m->in->closed[3]; /* (IDS, 5) */
        push(m, wf_gather_rows(m->t, below(&m->d, 2) ? table : tame(m, table), at), true, 0);
    } else if (m->in->p->mixing) {
        const int rank = 1;
        const value *x = pick(m, is_float, &rank);
        if (x && tail(x).dim[0] == width)
            push(m, wf_gather_rows(m->t, wf_scatter_rows(m->t, x->v, at, IDS), at), true, 0);
    }
}

/* Side by side: what was there, or what follows from one another, in either order. */
static void chain(maker *m, wf_var *x, wf_var *other)
{
    wf_var *u = other, *w = x;
    if (below(&m->d, 2)) {
        u = tame(m, x);
        w = tame(m, u);
        push(m, u, true, 0);
        push(m, w, true, 0);
    }
    const wf_vars both = below(&m->d, 2) ? WF_VARS(x, u, w) : WF_VARS(w, u, x);
    push(m, wf_concat(m->t, -1, both), true, 0);
}

static void joining(maker *m, const char *name)
{
    const value *a = pick(m, is_float, NULL);
    if (!a) return;
    const value given = *a, *b = pick(m, goes_with, &given);
    if (!b || !b->rows) b = &given;
    if (named(name, "stack") && tail(&given).rank < 2)
        push(m, wf_stack(m->t, below(&m->d, 2) ? -1 : 1, WF_VARS(given.v, b->v)), true, 0);
    else if (named(name, "concat") && tail(&given).rank > 0 &&
             wf_dim(given.v, -1) < 4 * program_width(m->in->p, 0))
        chain(m, given.v, b->v);
}

static void copying(maker *m, const char *name)
{
    const value *a = pick(m, is_float, NULL);
    if (!a) return;
    wf_var *x = a->v;
    const wf_shape s = tail(a);
    if (named(name, "copy")) {
        push(m, wf_copy(m->t, x), true, 0);
    } else if (named(name, "flip")) {
        if (s.rank > 0) push(m, wf_flip(m->t, x, WF_AXES(-1)), true, 0);
    } else if (named(name, "expand")) {
        wf_shape to = wf_shape_of(x);
        if (s.rank < 1 || s.dim[s.rank - 1] != 1) return;
        to.dim[to.rank - 1] = program_width(m->in->p, 0);
        push(m, wf_expand(m->t, x, to), true, 0);
    } else if (named(name, "dropout")) {
        if (m->in->p->mixing) push(m, wf_dropout(m->t, x, 0.3), true, 0);
    } else if (m->in->p->finer && below(&m->d, 2)) { /* both precisions in a step */
        wf_var *fine = tame(m, wf_sin(m->t, wf_cast(m->t, x, WF_F64)));
        push(m, wf_cast(m->t, fine, m->in->p->dtype), true, 0);
    } else {
        const value *mask = pick(m, is_mask_for, a);
        wf_var *ones = mask ? mask->v : wf_greater(m->t, x, m->in->closed[5]);
        push(m, wf_cast(m->t, ones, m->in->p->dtype), true, 0);
    }
}

/* A view of a value, which is no op of its own. */
static void view(maker *m)
{
    const value *a = pick(m, is_float, NULL);
    if (!a) return;
    wf_var *x = a->v, *part[3];
    const wf_shape s = tail(a);
    const int64_t last = s.rank > 0 ? s.dim[s.rank - 1] : 0;
    switch (below(&m->d, 6)) {
    case 0:
        if (last > 2) push(m, wf_slice(m->t, x, -1, 1, WF_LAST, 1 + below(&m->d, 2)), true, 0);
        break;
    case 1:
        if (last > 0) push(m, wf_select(m->t, x, -1, below(&m->d, last)), true, 0);
        break;
    case 2:
        if (last > 0 && last % 3 == 0 && wf_split(m->t, x, -1, 3, part))
            push(m, part[below(&m->d, 3)], true, 0);
        break;
    case 3:
        if (s.rank == 2) push(m, wf_transpose(m->t, x, -1, -2), true, 0);
        break;
    case 4:
        if (s.rank == 1 && last > 2) push(m, wf_window(m->t, x, -1, 2, 1), true, 0);
        break;
    default: {
        wf_shape to = { 2, { wf_dim(x, 0), 1 } };
        for (int k = 0; k < s.rank; k++) to.dim[1] *= s.dim[k];
        push(m, wf_reshape(m->t, x, to), true, 0);
    }
    }
}

/* What depends on how many rows there are: none of it is the same for one row and for all. */
static void by_count(maker *m)
{
    const value *a = pick(m, is_float, NULL);
    if (!a || m->in->p->batch == 0) return;
    wf_var *x = a->v;
    const double share = 1 / (double)wf_dim(x, 0);
    const wf_shape s = tail(a);
    switch (below(&m->d, 6)) {
    case 0: push(m, wf_mul_scalar(m->t, x, share), true, 0); break;
    case 1:
        push(m, wf_mul(m->t, x, wf_full(m->t, m->in->p->dtype, WF_SCALAR, share)), true, 0);
        break;
    case 2:
        push(m, wf_add(m->t, x, wf_full(m->t, wf_dtype_of(x), wf_shape_of(x), share)), true, 0);
        break;
    case 3:
        push(m,
             wf_expand(m->t, m->in->closed[1], WF_SHAPE(wf_dim(x, 0), wf_dim(m->in->closed[1], 0))),
             true, 0);
        break;
    case 4: { /* another weight of the same form */
        wf_var *w = m->in->closed[6];
        if (s.rank < 1 || s.dim[s.rank - 1] != wf_dim(w, 1)) break;
        if (wf_dim(x, 0) % 2) w = wf_transpose(m->t, w, 0, 1);
        push(m, wf_affine(m->t, x, w, NULL), true, 0);
        break;
    }
    default:
        if (s.rank == 1) /* over the rows, as the last axis */
            push(m, wf_transpose(m->t, wf_softmax(m->t, wf_transpose(m->t, x, 0, 1), -1), 0, 1),
                 true, 0);
    }
}

/* By place along an axis behind the rows. In what order numbers are, and where, does not hang on
 * their rounding: what is put in order are other numbers, apart by more than what is added. */
static void places(maker *m, const char *name)
{
    const value *a = pick(m, is_float, NULL);
    if (!a || tail(a).rank < 1) return;
    wf_var *x = a->v, *ids;
    const int64_t n = wf_dim(x, -1), more = below(&m->d, 3);
    if (named(name, "constant_pad")) {
        if (n < 4 * program_width(m->in->p, 0))
            push(m, wf_constant_pad(m->t, x, -1, more, below(&m->d, 3), 0.5), true, 0);
        return;
    }
    /* A constant of several numbers has no place in a loop that rows leave. */
    if (n < 1 || m->in->p->ragged) return;
    wf_var *steps = wf_flip(m->t, wf_arange(m->t, wf_dtype_of(x), 0, 2 * (double)n, 2), NULL);
    wf_var *apart = wf_add(m->t, wf_mul_scalar(m->t, tame(m, x), 0.9), steps);
    if (named(name, "top_k")) {
        push(m, wf_top_k(m->t, apart, 1 + below(&m->d, n), -1, NULL), true, 0);
    } else if (named(name, "sort")) {
        push(m, wf_sort(m->t, apart, -1, below(&m->d, 2), NULL), true, 0);
    } else {
        ids = wf_argsort(m->t, apart, -1, below(&m->d, 2));
        push(m,
             named(name, "gather") ? wf_gather(m->t, x, -1, ids)
                                   : wf_scatter_add(m->t, x, -1, ids, n + more),
             true, 0);
    }
}

/* Windows over the last axis, or two, a plane of one channel; the largest of what is apart. */
static void windows(maker *m, const char *name)
{
    const int two = 2;
    const value *a = pick(m, is_float, &two);
    const int64_t width = program_width(m->in->p, 0), all = width * width;
    const int64_t rows = a ? tail(a).dim[0] : 0, n = a ? tail(a).dim[1] : 0;
    const bool plane = strstr(name, "2d"), most = strstr(name, "max"), mean = strstr(name, "mean");
    if (rows < 2 || n < 2 || 4 * rows > all || (most && m->in->p->ragged)) return;
    wf_var *x = a->v, *w = wf_reshape(m->t, m->in->closed[6], WF_SHAPE(all));
    w = wf_slice(m->t, w, 0, 0, plane ? 8 : 4 * rows, 1);
    if (most) {
        wf_var *steps = wf_arange(m->t, wf_dtype_of(x), 0, 2 * (double)(rows * n), 2);
        x = wf_add(m->t, wf_mul_scalar(m->t, tame(m, x), 0.9), wf_reshape(m->t, steps, tail(a)));
    }
    if (!plane) {
        const wf_pool1d_options o = { .kernel = 2, .stride = 1 + below(&m->d, 2) };
        w = wf_reshape(m->t, w, WF_SHAPE(2, rows, 2));
        x = most   ? wf_max_pool1d(m->t, x, &o)
            : mean ? wf_mean_pool1d(m->t, x, &o)
                   : wf_conv1d(m->t, x, w, NULL, &(wf_conv1d_options){ .stride = o.stride });
    } else {
        const wf_pool2d_options o = { .kernel = { 2, 2 }, .stride = { 1, 1 + below(&m->d, 2) } };
        w = wf_reshape(m->t, w, WF_SHAPE(2, 1, 2, 2)), x = wf_unsqueeze(m->t, x, 1);
        x = most ? wf_max_pool2d(m->t, x, &o)
            : mean
                ? wf_mean_pool2d(m->t, x, &o)
                : wf_conv2d(m->t, x, w, NULL, &(wf_conv2d_options){ .stride = { 1, o.stride[1] } });
        x = wf_reshape(m->t, x, WF_SHAPE(wf_dim(x, 0), wf_dim(x, 1) * wf_dim(x, 2), wf_dim(x, 3)));
    }
    push(m, x, true, 0);
}

/* Draws differ from row to row, and so from all of them to one. */
static void drawing(maker *m, const char *name)
{
    const value *a = m->in->p->mixing ? pick(m, is_float, NULL) : NULL;
    if (!a) return;
    const wf_shape s = tail(a);
    wf_var *x = a->v;
    if (named(name, "bernoulli"))
        push(m, wf_bernoulli(m->t, wf_sigmoid(m->t, x)), true, -1);
    else if (named(name, "multinomial") && s.rank == 1 && s.dim[0] > 2)
        push(m, wf_gather(m->t, x, -1, wf_multinomial(m->t, positive(m, x), 2, false)), true, 0);
    else if (s.rank == 1 && s.dim[0] <= IDS && s.dim[0] > 0)
        push(m, wf_categorical(m->t, x), true, s.dim[0]);
}

/* One application of a row, if there are values that it takes. */
static void apply(maker *m, const wf_op *op)
{
    const char *name = op->name;
    if (named(name, "where") && below(&m->d, 2))
        ids_where(m);
    else if (op->pointwise)
        pointwise(m, op);
    else if (named(name, "matmul affine"))
        product(m, named(name, "affine"));
    else if (named(name, "sum mean max norm argmax softmax log_softmax masked_softmax cumsum"))
        reduction(m, name);
    else if (named(name, "layer_norm"))
        layer_norm(m);
    else if (named(name, "batch_norm_given"))
        batch_norm_given(m);
    else if (named(name, "batch_norm"))
        batch_norm(m);
    else if (named(name, "conv1d conv2d max_pool1d max_pool2d mean_pool1d mean_pool2d"))
        windows(m, name);
    else if (named(name, "additive_score"))
        additive_score(m);
    else if (named(name, "sum_to"))
        sum_to(m);
    else if (named(name, "affine_cross_entropy"))
        classifier(m);
    else if (named(name, "cross_entropy mse"))
        losses(m, name);
    else if (named(name, "gather_rows scatter_rows one_hot"))
        lookup(m, name);
    else if (named(name, "concat stack"))
        joining(m, name);
    else if (named(name, "copy flip cast expand dropout"))
        copying(m, name);
    else if (named(name, "top_k sort gather scatter_add constant_pad"))
        places(m, name);
    else if (named(name, "bernoulli categorical multinomial"))
        drawing(m, name);
    else if (!named(name, "add_into alias") && /* the engine's own; and of whole sequences */
             !named(name, "ctc_loss crf_loss scaled_dot_attention scaled_dot_dropped"))
        wf_fail(m->t, "programs: there is no recipe for %s", name);
}

static bool has_tail(const value *x, const void *form)
{
    const wf_shape s = tail(x);
    return x->below == 0 && x->rows && wf_shape_equal(&s, form);
}

/* State k after the step: bounded, and of its form. */
static wf_var *state_after(maker *m, int k, wf_var *before)
{
    const wf_shape form = form_of(m->in->p, true, k);
    if (form.rank < 0) {
        const value *ids = pick(m, is_ids, NULL);
        return ids && tail(ids).rank == 0 && ids->below <= IDS ? ids->v : before;
    }
    const value *x = pick(m, has_tail, &form);
    if (x && below(&m->d, 4) == 0) return x->v; /* as it is, read by others too or not */
    return below(&m->d, 4) ? tame(m, x ? x->v : before) : x ? wf_sin(m->t, x->v) : before;
}

static bool with_rows(const value *x, const void *context)
{
    (void)context;
    return x->rows && x->below >= 0;
}

/* Leaves bytes where the variables of whoever is called next will lie: others each time, so that
 * what is compared with another step, and was never written, differs. */
static __attribute__((noinline)) void soil_stack(void)
{
    static int byte;
    char below[12000];
    memset(below, byte += 37, sizeof below);
    __asm__ volatile("" : : "r"(below) : "memory");
}

void program_step(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    const program_vars *in = context;
    const program *p = in->p;
    if (p->step) {
        p->step(t, context, x, state, y);
        return;
    }
    soil_stack();
    maker m = { .t = t, .in = in, .d = { .key = p->seed * 2 + 1, .drawn = 3000 } };
    int rows = 0;
    while (wf_op_at(rows)) rows++;
    for (int i = 0; i < p->sequences; i++)
        push(&m, x[i], true, form_of(p, false, i).rank < 0 ? IDS : 0);
    for (int k = 0; k < p->states; k++)
        push(&m, state[k], true, form_of(p, true, k).rank < 0 ? IDS : 0);
    for (int i = 0; i < PROGRAM_CLOSED; i++) push(&m, in->closed[i], false, 0);
    for (int i = 0; i < p->ops && wf_tape_ok(t); i++) {
        const int row = (int)below(&m.d, rows);
        if (below(&m.d, 6) == 0) view(&m);
        if (below(&m.d, 8) == 0) gates(&m);
        if (p->mixing && below(&m.d, 6) == 0) by_count(&m);
        const int had = m.n;
        apply(&m, wf_op_at(row));
        if (m.n > had && row < PROGRAM_ROWS) program_used[row] = true;
    }
    for (int k = 0; k < p->states; k++) state[k] = state_after(&m, k, state[k]);
    for (int j = 0; j < p->outputs; j++) {
        const value *made = pick(&m, with_rows, NULL);
        y[j] = made ? made->v : NULL; /* none: the tape has failed */
    }
}
