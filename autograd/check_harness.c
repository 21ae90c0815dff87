/* Calls a row's kernels outside any tape, as the contract allows the engine to: any layout,
 * gradients that are not zero, any subset wanted, memory full of NaN, guards around everything. */
#include "autograd/check_private.h"

#include "tensor/runtime.h"
#include "tensor/size.h"

#include <math.h>
#include <string.h>

enum { GUARD = 64, FILL = 0xff }; /* bytes on each side; all ones is NaN in both precisions */

/* ---- memory ---- */

typedef struct check_block {
    struct check_block *before;
    int64_t pad[7]; /* what follows stays aligned to 64 bytes */
} check_block;

void *check_take(check_pool *pool, int64_t bytes)
{
    int64_t all;
    if (pool->failed || !wf_size_add(bytes, (int64_t)sizeof(check_block), &all)) {
        pool->failed = true;
        return NULL;
    }
    check_block *b = wf_alloc_zero((size_t)all);
    if (!b) {
        pool->failed = true;
        return NULL;
    }
    b->before = pool->last;
    pool->last = b;
    return b + 1;
}

double *check_doubles(check_pool *pool, int64_t n)
{
    int64_t bytes;
    return check_take(pool, wf_size_mul(n, (int64_t)sizeof(double), &bytes) ? bytes : -1);
}

void check_let_go(check_pool *pool, struct check_block *until)
{
    while (pool->last && pool->last != until) {
        check_block *b = pool->last;
        pool->last = b->before;
        wf_release(b);
    }
}

/* ---- places ---- */

double place_get(const check_place *p, int64_t index)
{
    int64_t at = wf_tensor_offset(&p->tensor, p->tensor.rank, index);
    return wf_dtype_describe(p->tensor.dtype)->load(p->tensor.data, at);
}

static void place_put(check_place *p, int64_t index, double x)
{
    int64_t at = wf_tensor_offset(&p->tensor, p->tensor.rank, index);
    wf_dtype_describe(p->tensor.dtype)->store(p->tensor.data, at, x);
}

static void place_put_all(check_place *p, const double *x)
{
    int64_t n = wf_tensor_count(&p->tensor);
    for (int64_t j = 0; j < n; j++) place_put(p, j, x[j]);
}

static bool place_make(check_place *p, wf_dtype dtype, wf_shape shape, check_layout layout,
                       int axis, check_pool *pool)
{
    wf_tensor *x = &p->tensor;
    *x = (wf_tensor){ .dtype = dtype, .rank = shape.rank };
    int64_t step = 1, last = 0, span;
    bool fits = true;
    for (int k = 0; k < shape.rank; k++) {
        int a = layout == LAYOUT_TRANSPOSED ? k : shape.rank - 1 - k;
        bool gap = layout == LAYOUT_STEPPED && (a == 0 || a == shape.rank - 1);
        x->dim[a] = shape.dim[a];
        x->stride[a] = step;
        fits = fits && (!gap || wf_size_mul(2, step, &x->stride[a]));
        if (layout == LAYOUT_EXPANDED && a == axis)
            x->stride[a] = 0;
        else
            fits = fits && wf_size_add(shape.dim[a], gap ? 1 : 0, &span) &&
                   wf_size_mul(x->stride[a], span, &step);
        if (x->dim[a] > 0)
            fits = fits && wf_size_mul(x->dim[a] - 1, x->stride[a], &span) &&
                   wf_size_add(last, span, &last);
    }
    /* Stepped places begin at an element that is not aligned to anything. */
    int64_t size = wf_dtype_size(dtype);
    int64_t first = GUARD + (layout == LAYOUT_STEPPED ? size : 0);
    fits = fits && wf_size_add(last, 1, &span) && wf_size_mul(span, size, &p->bytes) &&
           wf_size_add(p->bytes, first + GUARD, &p->bytes);
    p->dense = fits && last + 1 == wf_shape_count(&shape);
    fits = fits && wf_size_mul(2, p->bytes, &span);
    p->memory = check_take(pool, fits ? span : -1);
    if (!p->memory) return false;
    memset(p->memory, FILL, (size_t)p->bytes);
    x->data = p->memory + first;
    p->given = true;
    return true;
}

/* Is all that belongs to no element as it was? Behind the place lies another, which receives the
 * elements alone. */
static bool place_intact(const check_place *p)
{
    if (!p->given) return true;
    const wf_tensor *x = &p->tensor;
    const int64_t size = wf_dtype_size(x->dtype), n = wf_tensor_count(x);
    const int64_t first = (const unsigned char *)x->data - p->memory;
    unsigned char *alone = p->memory + p->bytes;
    memset(alone, FILL, (size_t)p->bytes);
    if (p->dense && n > 0) memcpy(alone + first, x->data, (size_t)(n * size));
    for (int64_t j = 0; !p->dense && j < n; j++) {
        int64_t at = first + wf_tensor_offset(x, x->rank, j) * size;
        memcpy(alone + at, p->memory + at, (size_t)size);
    }
    return !memcmp(alone, p->memory, (size_t)p->bytes);
}

/* FNV-1a over all words, guards and gaps included: says whether anything was written. */
static uint64_t place_hash(const check_place *p)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (int64_t b = 0; b < p->bytes; b += 8) {
        uint64_t word = 0;
        memcpy(&word, p->memory + b, (size_t)(p->bytes - b < 8 ? p->bytes - b : 8));
        h = (h ^ word) * UINT64_C(0x100000001b3);
    }
    return h;
}

/* ---- the harness ---- */

static bool no_memory(const check_case *c)
{
    return check_fail(c->report, "no memory for the check");
}

static bool scratch_make(check_place *p, int64_t bytes, check_pool *pool)
{
    return bytes == 0 ||
           place_make(p, WF_I32, WF_SHAPE(bytes / 4 + (bytes % 4 != 0)), LAYOUT_PLAIN, 0, pool);
}

bool check_shape(const check_case *c, const wf_tensor *const in[], wf_tensor *out, wf_error *error,
                 int threads, int64_t scratch[2])
{
    wf_shaping s = { .op = c->op,
                     .n_in = c->n_in,
                     .n_out = c->n_out,
                     .in = in,
                     .attr = c->sample->attr.bytes,
                     .threads = threads,
                     .out = out,
                     .wanted = c->wanted,
                     .error = error };
    memset(out, 0, (size_t)c->n_out * sizeof *out);
    for (int o = 0; o < c->n_out; o++) out[o].rank = -1; /* what shape does not fill is refused */
    bool taken = c->op->shape(&s);
    scratch[0] = s.scratch_forward;
    scratch[1] = s.scratch_backward;
    return taken;
}

static bool inputs_make(check_harness *d, wf_dtype dtype, const check_layouts *layouts,
                        double *const value[], check_pool *pool)
{
    const check_case *c = d->c;
    for (int i = 0; i < c->n_in; i++) {
        if (!c->given[i]) continue;
        wf_dtype kind = c->in.floats[i] ? dtype : WF_I32;
        if (!place_make(&d->in[i], kind, c->in.shape[i], layouts->in[i], layouts->axis[i], pool))
            return false;
        const double *x = value && value[i] ? value[i] : c->value[i];
        if (x) place_put_all(&d->in[i], x);
        d->in_at[i] = &d->in[i].tensor;
        if (c->in.floats[i] &&
            !place_make(&d->gin[i], kind, c->in.shape[i], layouts->gin[i], 0, pool))
            return false;
    }
    return true;
}

bool harness_set(check_harness *d, const check_case *c, wf_dtype dtype,
                 const check_layouts *layouts, double *const value[])
{
    static const check_layouts plain; /* zero is plain */
    memset(d, 0, sizeof *d);
    d->c = c;
    bool ok = inputs_make(d, dtype, layouts ? layouts : &plain, value, c->pool);
    if (!ok) return no_memory(c);

    /* Shape sees no data: that it does not read any is part of the contract. */
    wf_tensor *form = d->form[0], *out = d->form[1];
    const wf_tensor *form_at[CHECK_VARS] = { 0 };
    for (int i = 0; i < c->n_in; i++) {
        if (!c->given[i]) continue;
        form[i] = d->in[i].tensor;
        form[i].data = NULL;
        form_at[i] = &form[i];
    }
    wf_error error = { "" };
    int64_t scratch[2];
    if (!check_shape(c, form_at, out, &error, c->threads, scratch))
        return check_fail(c->report, "%s: refused in %s: %s", c->who, wf_dtype_name(dtype),
                          error.text);
    for (int k = 0; ok && k < c->n_out; k++) {
        wf_shape shape = wf_tensor_shape(&out[k]);
        /* What is saved may depend on what is wanted. */
        if (k < c->visible && !wf_shape_equal(&shape, &c->out.shape[k]))
            return check_fail(c->report, "%s: output %d has another shape in %s", c->who, k,
                              wf_dtype_name(dtype));
        ok = place_make(&d->out[k], out[k].dtype, shape, LAYOUT_PLAIN, 0, c->pool);
        if (ok && c->out.floats[k])
            ok = place_make(&d->gout[k], out[k].dtype, shape, LAYOUT_PLAIN, 0, c->pool);
        d->out_at[k] = &d->out[k].tensor;
    }
    ok = ok && scratch_make(&d->scratch[0], scratch[0], c->pool) &&
         scratch_make(&d->scratch[1], scratch[1], c->pool);
    if (!ok) return no_memory(c);
    d->call = (wf_call){ .op = c->op,
                         .n_in = c->n_in,
                         .n_out = c->n_out,
                         .in = d->in_at,
                         .out = d->out_at,
                         .gout = d->gout_at,
                         .gin = d->gin_at,
                         .attr = c->sample->attr.bytes,
                         .key = c->key,
                         .counter = c->counter,
                         .threads = c->threads,
                         .wanted = c->wanted };
    return true;
}

check_harness *harness_new(const check_case *c, wf_dtype dtype, const check_layouts *layouts,
                           double *const value[])
{
    check_harness *d = check_take(c->pool, (int64_t)sizeof *d);
    if (!d) no_memory(c);
    return d && harness_set(d, c, dtype, layouts, value) ? d : NULL;
}

void harness_forward_fast(check_harness *d)
{
    d->call.scratch = d->scratch[0].tensor.data;
    d->c->op->forward(&d->call);
}

bool harness_forward(check_harness *d)
{
    const check_case *c = d->c;
    wf_error error = { "" };
    if (c->op->check && !c->op->check(&d->call, &error))
        return check_fail(c->report, "%s: the row's check refuses it: %s", c->who, error.text);
    for (int k = 0; k < c->n_out; k++) memset(d->out[k].memory, FILL, (size_t)d->out[k].bytes);
    if (d->scratch[0].given) memset(d->scratch[0].memory, FILL, (size_t)d->scratch[0].bytes);
    uint64_t before[CHECK_VARS];
    for (int i = 0; i < c->n_in; i++) before[i] = place_hash(&d->in[i]);
    harness_forward_fast(d);
    for (int i = 0; i < c->n_in; i++)
        if (place_hash(&d->in[i]) != before[i])
            return check_fail(c->report, "%s: forward wrote into input %d or around it", c->who, i);
    for (int k = 0; k < c->n_out; k++)
        if (!place_intact(&d->out[k]))
            return check_fail(c->report, "%s: forward wrote around output %d", c->who, k);
    return place_intact(&d->scratch[0]) ||
           check_fail(c->report, "%s: forward used more scratch than its shape asked for", c->who);
}

/* What the gradients hold before backward adds to them. */
static double prefilled(int input, int64_t index)
{
    return 0.75 + 0.0625 * (double)((index * 5 + input * 3) % 9);
}

bool harness_backward(check_harness *d, const double *cotangent, uint32_t present, uint32_t wanted,
                      double *gradient)
{
    const check_case *c = d->c;
    for (int k = 0; k < c->n_out; k++) {
        bool here = c->out.floats[k] && present >> k & 1;
        d->gout_at[k] = here ? &d->gout[k].tensor : NULL;
        if (here) place_put_all(&d->gout[k], cotangent + c->out.at[k]);
    }
    for (int i = 0; i < c->n_in; i++) {
        bool here = c->in.floats[i] && wanted >> i & 1;
        d->gin_at[i] = here ? &d->gin[i].tensor : NULL;
        for (int64_t j = 0; here && j < c->in.count[i]; j++)
            place_put(&d->gin[i], j, prefilled(i, j));
    }
    if (d->scratch[1].given) memset(d->scratch[1].memory, FILL, (size_t)d->scratch[1].bytes);
    uint64_t in[CHECK_VARS], out[CHECK_VARS], gout[CHECK_VARS];
    for (int i = 0; i < c->n_in; i++) in[i] = place_hash(&d->in[i]);
    for (int k = 0; k < c->n_out; k++) {
        out[k] = place_hash(&d->out[k]);
        gout[k] = place_hash(&d->gout[k]);
    }
    d->call.scratch = d->scratch[1].tensor.data;
    c->op->backward(&d->call);

    if (!place_intact(&d->scratch[1]))
        return check_fail(c->report, "%s: backward used more scratch than its shape asked for",
                          c->who);
    for (int k = 0; k < c->n_out; k++)
        if (place_hash(&d->out[k]) != out[k] || place_hash(&d->gout[k]) != gout[k])
            return check_fail(c->report, "%s: backward wrote into output %d or its gradient",
                              c->who, k);
    for (int i = 0; i < c->n_in; i++) {
        if (place_hash(&d->in[i]) != in[i])
            return check_fail(c->report, "%s: backward wrote into input %d", c->who, i);
        if (!place_intact(&d->gin[i]))
            return check_fail(c->report, "%s: backward wrote around the gradient of input %d",
                              c->who, i);
        for (int64_t j = 0; c->in.floats[i] && j < c->in.count[i]; j++)
            gradient[c->in.at[i] + j] = d->gin_at[i] ? place_get(&d->gin[i], j) - prefilled(i, j)
                                                     : 0;
    }
    return true;
}

bool harness_sweep(check_harness *d, const double *cotangent, double *gradient)
{
    return harness_backward(d, cotangent, UINT32_MAX, UINT32_MAX, gradient);
}

void harness_backward_fast(check_harness *d, double *gradient)
{
    harness_backward_begun(d, 0, gradient);
}

void harness_backward_begun(check_harness *d, uint32_t fresh, double *gradient)
{
    const check_case *c = d->c;
    for (int i = 0; i < c->n_in; i++)
        if (c->in.floats[i]) {
            d->gin_at[i] = &d->gin[i].tensor;
            memset(d->gin[i].tensor.data, fresh >> i & 1 ? FILL : 0,
                   (size_t)c->in.count[i] * sizeof(double));
        }
    d->call.scratch = d->scratch[1].tensor.data;
    d->call.fresh = fresh;
    c->op->backward(&d->call);
    d->call.fresh = 0;
    for (int i = 0; i < c->n_in; i++)
        if (c->in.floats[i])
            memcpy(gradient + c->in.at[i], d->gin[i].tensor.data,
                   (size_t)c->in.count[i] * sizeof(double));
}

static void plant(check_place *p, int64_t n, double x)
{
    for (int64_t j = 0; j < n; j++) place_put(p, j, x);
}

void harness_plant(check_harness *d, int input, double x)
{
    plant(&d->in[input], d->c->in.count[input], x);
}

void harness_unplant(check_harness *d, int input)
{
    place_put_all(&d->in[input], d->c->value[input]);
}

void harness_plant_out(check_harness *d, int output, double x)
{
    plant(&d->out[output], d->c->out.count[output], x);
}

void harness_hide_undeclared(check_harness *d)
{
    const check_case *c = d->c;
    for (int i = 0; i < c->n_in; i++)
        if (c->given[i] && !(c->op->reads_in >> i & 1))
            harness_plant(d, i, c->in.floats[i] ? (double)NAN : c->sample->in[i].low);
    for (int k = 0; k < c->n_out; k++)
        if (!(c->op->reads_out >> k & 1))
            harness_plant_out(d, k, d->out[k].tensor.dtype == WF_I32 ? 0 : (double)NAN);
}

double *harness_element(check_harness *d, int input, int64_t index)
{
    const wf_tensor *x = &d->in[input].tensor;
    return (double *)x->data + wf_tensor_offset(x, x->rank, index);
}

void harness_outputs(const check_harness *d, double *y)
{
    const check_case *c = d->c;
    for (int k = 0; k < c->n_out; k++)
        for (int64_t j = 0; c->out.floats[k] && j < c->out.count[k]; j++)
            y[c->out.at[k] + j] = place_get(&d->out[k], j);
}
