/* A sample made large, so that its kernels really share their work among threads: one thread and
 * several, again and again, the parts in another order, and all of it elsewhere in memory, give the
 * same bits. */
#include "autograd/check_row_private.h"

#include "tensor/par.h"
#include "tensor/private.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

/* The largest tensor of a large sample has so many elements, or a few times as many: several units
 * of every loop. */
enum { ELEMENTS = 1 << 16, MOST = 1 << 20, FACTOR = 1 << 17, REPEATS = 4, APART = 8 };

/* A case of the scaled sample, on a harness, and what one thread gave there. */
typedef struct large {
    op_check *k;
    check_case c;
    wf_sample sample;
    const wf_tensor *in_at[CHECK_VARS];
    wf_tensor in[CHECK_VARS], out[CHECK_VARS];
    check_harness harness;
    void *one[2][CHECK_VARS]; /* outputs, gradients */
    const char *of;           /* what of, for messages */
} large;

/* ---- how large ---- */

/* Multiplies the sizes that are `only` (0: all) and above 1. */
static bool scale(wf_sample *s, const wf_sample *from, int64_t only, int64_t factor)
{
    *s = *from;
    for (int i = 0; i < s->n_in; i++)
        for (int a = 0; a < s->in[i].shape.rank; a++) {
            int64_t *size = &s->in[i].shape.dim[a];
            if (*size < 2 || (only && *size != only)) continue;
            if (!wf_size_mul(*size, factor, size)) return false;
        }
    return true;
}

/* The elements of the sample's largest tensor, and all forms; -1: the row does not take it so. */
static int64_t measure(large *l)
{
    check_case *c = &l->c;
    int64_t most = 0;
    for (int i = 0; i < c->n_in; i++) {
        c->in.shape[i] = l->sample.in[i].shape;
        l->in_at[i] = c->given[i] ? &l->in[i] : NULL;
        if (!c->given[i]) continue;
        wf_dtype dtype = c->in.floats[i] ? WF_F64 : WF_I32;
        c->in.count[i] = wf_shape_check(&c->in.shape[i], dtype, NULL);
        if (c->in.count[i] < 0) return -1;
        if (c->in.count[i] > most) most = c->in.count[i];
        l->in[i] = wf_tensor_of(dtype, c->in.shape[i], NULL);
    }
    wf_error error = { "" };
    if (!check_shape(c, l->in_at, l->out, &error, wf_threads(), c->scratch) || c->scratch[0] < 0 ||
        c->scratch[1] < 0)
        return -1;
    for (int o = 0; o < c->n_out; o++) {
        c->out.shape[o].rank = l->out[o].rank;
        memcpy(c->out.shape[o].dim, l->out[o].dim, sizeof l->out[o].dim);
        c->out.count[o] = wf_shape_check(&c->out.shape[o], l->out[o].dtype, NULL);
        if (c->out.count[o] < 0) return -1;
        if (c->out.count[o] > most) most = c->out.count[o];
    }
    return most;
}

/* Finds the smallest factor that makes it large; false where there is none. */
static bool enlarge(large *l, const wf_sample *from, int64_t only)
{
    for (int64_t factor = 2; factor <= FACTOR; factor += (factor + 3) / 4) {
        if (!scale(&l->sample, from, only, factor)) return false;
        int64_t most = measure(l);
        if (most < 0 || most > MOST) return false;
        if (most >= ELEMENTS) return true;
    }
    return false;
}

/* The sample as it is, if it says so; all sizes together, or else the first that the row's
 * attributes leave free. */
static bool find(large *l, const wf_sample *from)
{
    if (from->large) {
        l->sample = *from;
        return measure(l) >= 0;
    }
    if (enlarge(l, from, 0)) return true;
    for (int i = 0; i < from->n_in; i++)
        for (int a = 0; a < from->in[i].shape.rank; a++)
            if (from->in[i].shape.dim[a] > 1 && enlarge(l, from, from->in[i].shape.dim[a]))
                return true;
    return false;
}

/* ---- what is in it ---- */

static void fill(const wf_tensor *x, uint64_t key, double low, double high, double gap)
{
    const wf_dtype_info *type = wf_dtype_describe(x->dtype);
    int64_t n = wf_tensor_count(x);
    uint64_t state = key | 1;
    for (int64_t j = 0; j < n; j++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        double u = (double)(state >> 11) * 0x1p-53;
        if (x->dtype == WF_I32) {
            ((int32_t *)x->data)[j] = (int32_t)(low + (double)(int64_t)(u * (high - low + 1)));
            continue;
        }
        double v = low + (high - low) * u;
        if (v < gap && v > -gap) v = v < 0 || gap > high ? -gap : gap;
        type->store(x->data, j, v);
    }
}

/* What was there before backward adds to it. */
static void prefill(const wf_tensor *x)
{
    const wf_dtype_info *type = wf_dtype_describe(x->dtype);
    const int64_t n = wf_tensor_count(x);
    for (int64_t j = 0; j < n; j++) type->store(x->data, j, 0.75 + 0.0625 * (double)(j % 9));
}

static bool prepare(large *l, wf_dtype dtype)
{
    const check_case *c = &l->c;
    check_harness *d = &l->harness;
    if (!harness_set(d, c, dtype, NULL, NULL)) return false;
    l->of = dtype == WF_F64 ? "" : "in f32, ";
    for (int i = 0; i < c->n_in; i++) {
        if (!c->given[i]) continue;
        fill(&d->in[i].tensor, wf_key_with(l->k->key, (uint64_t)i), l->sample.in[i].low,
             l->sample.in[i].high, l->sample.in[i].gap);
        if (!l->k->sweeps || !c->in.floats[i]) continue;
        d->gin_at[i] = &d->gin[i].tensor;
        l->one[1][i] = check_take(c->pool, d->gin[i].bytes);
    }
    for (int o = 0; o < c->n_out; o++) {
        l->one[0][o] = check_take(c->pool, d->out[o].bytes);
        if (!l->k->sweeps || !c->out.floats[o]) continue;
        d->gout_at[o] = &d->gout[o].tensor;
        fill(&d->gout[o].tensor, wf_key_with(l->k->key, (uint64_t)(100 + o)), -1, 1, 0);
    }
    return !c->pool->failed || check_no_memory(l->k);
}

/* ---- running it ---- */

static void run(large *l, int threads)
{
    check_harness *d = &l->harness;
    d->call.threads = threads;
    for (int o = 0; o < l->c.n_out; o++) memset(d->out[o].memory, 0xff, (size_t)d->out[o].bytes);
    for (int i = 0; i < l->c.n_in; i++)
        if (d->gin_at[i]) prefill(d->gin_at[i]);
    uint32_t state = wf_fp_enter();
    harness_forward_fast(d);
    d->call.scratch = d->scratch[1].tensor.data;
    if (l->k->sweeps) l->k->op->backward(&d->call);
    wf_fp_leave(state);
}

/* The numbers of a place, and around them what nothing writes, are so many bytes further on. */
static void move(check_place *p, int64_t by)
{
    if (!p->given) return;
    unsigned char *from = p->tensor.data, *to = from + by;
    const size_t bytes = (size_t)(wf_tensor_count(&p->tensor) * wf_dtype_size(p->tensor.dtype));
    memmove(to, from, bytes);
    memset(by > 0 ? from : to + bytes, 0xff, (size_t)(by > 0 ? by : -by));
    p->tensor.data = to;
}

static void move_all(large *l, int64_t by)
{
    check_harness *d = &l->harness;
    for (int i = 0; i < l->c.n_in; i++) move(&d->in[i], by), move(&d->gin[i], by);
    for (int o = 0; o < l->c.n_out; o++) move(&d->out[o], by), move(&d->gout[o], by);
}

static bool same_as_one(large *l, const char *how)
{
    const check_case *c = &l->c;
    const check_harness *d = &l->harness;
    for (int o = 0; o < c->n_out; o++)
        if (memcmp(d->out[o].memory, l->one[0][o], (size_t)d->out[o].bytes))
            return check_fail(c->report,
                              "%s: made large, %s%s: output %d has other bits than on one thread",
                              c->who, l->of, how, o);
    for (int i = 0; i < c->n_in; i++)
        if (d->gin_at[i] && memcmp(d->gin[i].memory, l->one[1][i], (size_t)d->gin[i].bytes))
            return check_fail(c->report,
                              "%s: made large, %s%s: the gradient of input %d has other bits than "
                              "on one thread",
                              c->who, l->of, how, i);
    return true;
}

static bool run_all(large *l)
{
    op_check *k = l->k;
    wf_error error = { "" };
    const check_harness *d = &l->harness;
    if (k->op->check && !k->op->check(&d->call, &error)) return true;
    run(l, 1);
    for (int o = 0; o < l->c.n_out; o++)
        memcpy(l->one[0][o], d->out[o].memory, (size_t)d->out[o].bytes);
    for (int i = 0; i < l->c.n_in; i++)
        if (d->gin_at[i]) memcpy(l->one[1][i], d->gin[i].memory, (size_t)d->gin[i].bytes);
    int most = wf_threads();
    for (int r = 0; most > 1 && r < REPEATS; r++) {
        char how[48];
        int threads = r % 2 ? 2 : most;
        wf_format(how, sizeof how, "on %d threads", threads);
        run(l, threads);
        if (!same_as_one(l, how)) return false;
    }
    wf_par_reverse(true);
    run(l, most);
    wf_par_reverse(false);
    if (!same_as_one(l, "its parts one by one in the other order")) return false;
    move_all(l, APART);
    run(l, 1);
    move_all(l, -APART);
    k->large++;
    return same_as_one(l, "its numbers elsewhere in memory");
}

bool check_large(op_check *k, const wf_sample *sample)
{
    if (k->skip & LAW_LARGE) return true;
    struct check_block *until = k->pool.last;
    large *l = check_take(&k->pool, (int64_t)sizeof *l);
    if (!l) return check_no_memory(k);
    l->k = k;
    l->c = k->c;
    l->c.sample = &l->sample;
    l->c.threads = wf_threads();
    memset(l->c.value, 0, sizeof l->c.value);
    struct check_block *made = k->pool.last;
    bool ok = true;
    if (find(l, sample))
        for (int i = 0; ok && i < 2; i++) {
            ok = prepare(l, i == 0 ? WF_F64 : WF_F32) && run_all(l);
            check_let_go(&k->pool, made);
        }
    check_let_go(&k->pool, until);
    return ok;
}
