/* A sample made large, so that its kernels really share their work among threads: one thread and
 * several, again and again, and the parts in another order, give the same bits. */
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
enum { ELEMENTS = 1 << 16, MOST = 1 << 20, FACTOR = 1 << 17, REPEATS = 4 };

/* Everything a call needs, twice: what one thread gave, and what is held against it. */
typedef struct large {
    op_check *k;
    wf_sample sample;
    int n_out;
    wf_tensor in[CHECK_VARS], out[CHECK_VARS], gout[CHECK_VARS], gin[CHECK_VARS];
    const wf_tensor *in_at[CHECK_VARS], *out_at[CHECK_VARS], *gout_at[CHECK_VARS],
        *gin_at[CHECK_VARS];
    int64_t bytes[2][CHECK_VARS]; /* of outputs, of gradients */
    void *one[2][CHECK_VARS];     /* what one thread gave */
    wf_call call;
    int64_t scratch[2];
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
    const op_check *k = l->k;
    int64_t most = 0;
    for (int i = 0; i < l->sample.n_in; i++) {
        const wf_shape *shape = &l->sample.in[i].shape;
        l->in_at[i] = NULL;
        if (shape->rank < 0) continue;
        wf_dtype dtype = k->c.in.floats[i] ? WF_F64 : WF_I32;
        int64_t n = wf_shape_check(shape, dtype, NULL);
        if (n < 0) return -1;
        if (n > most) most = n;
        l->in[i] = wf_tensor_of(dtype, *shape, NULL);
        l->in_at[i] = &l->in[i];
    }
    wf_error error = { "" };
    check_case scaled = k->c;
    scaled.sample = &l->sample;
    if (!check_shape(&scaled, l->in_at, l->out, &error, wf_threads(), l->scratch) ||
        l->scratch[0] < 0 || l->scratch[1] < 0)
        return -1;
    for (int o = 0; o < l->n_out; o++) {
        wf_shape shape = { .rank = l->out[o].rank };
        memcpy(shape.dim, l->out[o].dim, sizeof shape.dim);
        int64_t n = wf_shape_check(&shape, l->out[o].dtype, NULL);
        if (n < 0) return -1;
        if (n > most) most = n;
        l->out[o] = wf_tensor_of(l->out[o].dtype, shape, NULL);
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

static bool hold(op_check *k, wf_tensor *x)
{
    x->data = check_take(&k->pool, wf_tensor_count(x) * wf_dtype_size(x->dtype) + 1);
    return x->data != NULL;
}

static void fill(const wf_tensor *x, uint64_t key, double low, double high, double gap)
{
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
        ((double *)x->data)[j] = v;
    }
}

static bool prepare(large *l)
{
    op_check *k = l->k;
    const check_case *c = &k->c;
    for (int i = 0; i < l->sample.n_in; i++) {
        l->gin_at[i] = NULL;
        if (!l->in_at[i]) continue;
        if (!hold(k, &l->in[i])) return check_no_memory(k);
        fill(&l->in[i], wf_key_with(k->key, (uint64_t)i), l->sample.in[i].low, l->sample.in[i].high,
             l->sample.in[i].gap);
        if (!k->sweeps || !c->in.floats[i]) continue;
        l->gin[i] = l->in[i];
        l->gin_at[i] = &l->gin[i];
        l->bytes[1][i] = wf_tensor_count(&l->gin[i]) * 8;
        l->one[1][i] = check_take(&k->pool, l->bytes[1][i] + 1);
        if (!l->one[1][i] || !hold(k, &l->gin[i])) return check_no_memory(k);
    }
    for (int o = 0; o < l->n_out; o++) {
        l->out_at[o] = &l->out[o];
        l->gout_at[o] = NULL;
        l->bytes[0][o] = wf_tensor_count(&l->out[o]) * wf_dtype_size(l->out[o].dtype);
        l->one[0][o] = check_take(&k->pool, l->bytes[0][o] + 1);
        if (!l->one[0][o] || !hold(k, &l->out[o])) return check_no_memory(k);
        if (!k->sweeps || !c->out.floats[o]) continue;
        l->gout[o] = l->out[o];
        l->gout_at[o] = &l->gout[o];
        if (!hold(k, &l->gout[o])) return check_no_memory(k);
        fill(&l->gout[o], wf_key_with(k->key, (uint64_t)(100 + o)), -1, 1, 0);
    }
    int64_t most = l->scratch[0] > l->scratch[1] ? l->scratch[0] : l->scratch[1];
    l->call = (wf_call){ .op = k->op,
                         .n_in = l->sample.n_in,
                         .n_out = l->n_out,
                         .in = l->in_at,
                         .out = l->out_at,
                         .gout = l->gout_at,
                         .gin = l->gin_at,
                         .attr = l->sample.attr.bytes,
                         .key = c->key,
                         .counter = c->counter,
                         .scratch = check_take(&k->pool, most + 1) };
    return l->call.scratch || check_no_memory(k);
}

/* ---- running it ---- */

static void run(large *l, int threads)
{
    l->call.threads = threads;
    for (int o = 0; o < l->n_out; o++) memset(l->out[o].data, 0xff, (size_t)l->bytes[0][o]);
    for (int i = 0; i < l->sample.n_in; i++) {
        double *g = l->gin_at[i] ? l->gin[i].data : NULL;
        for (int64_t j = 0; j < l->bytes[1][i] / 8; j++) g[j] = 0.75 + 0.0625 * (double)(j % 9);
    }
    uint32_t state = wf_fp_enter();
    l->k->op->forward(&l->call);
    if (l->k->sweeps) l->k->op->backward(&l->call);
    wf_fp_leave(state);
}

static bool same_as_one(large *l, const char *how)
{
    op_check *k = l->k;
    for (int o = 0; o < l->n_out; o++)
        if (memcmp(l->out[o].data, l->one[0][o], (size_t)l->bytes[0][o]))
            return check_fail(k->report,
                              "%s: made large, %s: output %d has other bits than on "
                              "one thread",
                              k->c.who, how, o);
    for (int i = 0; i < l->sample.n_in; i++)
        if (l->gin_at[i] && memcmp(l->gin[i].data, l->one[1][i], (size_t)l->bytes[1][i]))
            return check_fail(k->report,
                              "%s: made large, %s: the gradient of input %d has other "
                              "bits than on one thread",
                              k->c.who, how, i);
    return true;
}

static bool run_all(large *l)
{
    op_check *k = l->k;
    wf_error error = { "" };
    if (k->op->check && !k->op->check(&l->call, &error)) return true;
    run(l, 1);
    for (int o = 0; o < l->n_out; o++) memcpy(l->one[0][o], l->out[o].data, (size_t)l->bytes[0][o]);
    for (int i = 0; i < l->sample.n_in; i++)
        if (l->gin_at[i]) memcpy(l->one[1][i], l->gin[i].data, (size_t)l->bytes[1][i]);
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
    k->large++;
    return same_as_one(l, "its parts one by one in the other order");
}

bool check_large(op_check *k, const wf_sample *sample)
{
    if (k->skip & LAW_LARGE) return true;
    struct check_block *until = k->pool.last;
    large *l = check_take(&k->pool, (int64_t)sizeof *l);
    if (!l) return check_no_memory(k);
    l->k = k;
    l->n_out = k->c.n_out;
    bool ok = !find(l, sample) || (prepare(l) && run_all(l));
    check_let_go(&k->pool, until);
    return ok;
}
