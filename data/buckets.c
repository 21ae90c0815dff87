/* Batches of pairs of similar length: put in order by counting, cut by a budget, drawn by number.
 *
 * Each pair has a class, the place of its lengths (S, T) among all that there are. In an epoch the
 * pairs are drawn in a random order, put in the order of their classes (which leaves equal ones as
 * they were drawn) and, where only a pool is to be sorted, gathered by pool; then cut into batches.
 * All of it is counting sorts over lists that were taken once: no epoch asks for memory. */
#include "data/parallel.h"

#include "data/text_private.h"
#include "tensor/rng.h"
#include "tensor/size.h"

#include <string.h>

struct wf_buckets {
    const wf_parallel *data;
    wf_buckets_options o;
    int64_t n;             /* pairs */
    int64_t *class, *pool; /* of a pair */
    int64_t *order, *work; /* pairs: in the epoch's order; as they were before */
    int64_t *counts;       /* by key, while pairs are sorted */
    int64_t *begin;        /* of batch i in the order; one more, where the last ends */
    int64_t *drawn;        /* which batch is the i-th */
    int64_t keys;          /* what counts has room for */
    int64_t batches, epoch, at;
    int32_t *memory; /* the batch's ids */
    wf_pairs batch;
};

/* A pair's S or T, as the batch's tensors have it: the last id of a target is never read. */
static int64_t steps(const wf_buckets *b, wf_side k, int64_t pair)
{
    return wf_parallel_ids(b->data, k, pair).n - (k == WF_TARGET);
}

/* What a pair costs of the budget. */
static int64_t cost(const wf_buckets *b, int64_t pair)
{
    const int64_t s = steps(b, WF_SOURCE, pair), t = steps(b, WF_TARGET, pair);
    return s > t ? s : t;
}

/* ---- an epoch's order ---- */

/* Puts the pairs of `order` in the order of their keys, those of equal keys as they were. */
static void sort_by(wf_buckets *b, const int64_t *key, int64_t keys)
{
    int64_t *from = b->order, sum = 0;
    memset(b->counts, 0, (size_t)(keys + 1) * sizeof *b->counts);
    for (int64_t i = 0; i < b->n; i++) b->counts[key[i]]++;
    for (int64_t k = 0; k < keys; k++) {
        const int64_t count = b->counts[k];
        b->counts[k] = sum;
        sum += count;
    }
    for (int64_t i = 0; i < b->n; i++) b->work[b->counts[key[from[i]]]++] = from[i];
    b->order = b->work;
    b->work = from;
}

/* Cuts the order into batches within both limits, and where a pool ends. */
static void cut(wf_buckets *b)
{
    const int64_t most = b->o.max_sentences > 0 ? b->o.max_sentences : INT64_MAX;
    const int64_t tokens = b->o.max_tokens > 0 ? b->o.max_tokens : INT64_MAX;
    int64_t longest = 0, count = 0;
    b->batches = 0;
    for (int64_t i = 0; i < b->n; i++) {
        const int64_t one = cost(b, b->order[i]);
        if (one > longest) longest = one;
        const bool fits = count < most && count < tokens / longest; /* <eos> alone is 1 */
        if (i == 0 || !fits || (b->o.pool > 0 && i % b->o.pool == 0)) {
            b->begin[b->batches++] = i;
            count = 0;
            longest = one;
        }
        count++;
    }
    b->begin[b->batches] = b->n;
}

static void begin_epoch(wf_buckets *b, int64_t epoch)
{
    const uint64_t key = wf_key_with(wf_key_named(b->o.seed, "buckets"), (uint64_t)epoch);
    const bool shuffled = b->o.order == WF_BUCKETS_SHUFFLED;
    const int64_t pool = b->o.pool;
    b->epoch = epoch;
    b->at = 0;
    if (shuffled)
        wf_permutation(b->n, key, b->order);
    else
        for (int64_t i = 0; i < b->n; i++) b->order[i] = i;
    for (int64_t i = 0; pool > 0 && i < b->n; i++) b->pool[b->order[i]] = i / pool;
    if (b->o.order != WF_BUCKETS_IN_ORDER) sort_by(b, b->class, b->keys);
    if (pool > 0) sort_by(b, b->pool, (b->n - 1) / pool + 1);
    cut(b);
    if (shuffled)
        wf_permutation(b->batches, wf_key_with(key, 1), b->drawn);
    else
        for (int64_t i = 0; i < b->batches; i++) b->drawn[i] = i;
}

/* Gives each pair its class. */
static void classify(wf_buckets *b)
{
    /* By T, then by S: the second sort leaves equal S in the order of the first. */
    for (int64_t i = 0; i < b->n; i++) b->order[i] = i;
    for (int k = WF_TARGET; k >= WF_SOURCE; k--) {
        for (int64_t i = 0; i < b->n; i++) b->class[i] = steps(b, (wf_side)k, i);
        sort_by(b, b->class, b->keys);
    }
    int64_t class = 0;
    for (int64_t i = 0; i < b->n; i++) {
        const int64_t pair = b->order[i], last = i ? b->order[i - 1] : pair;
        class += steps(b, WF_SOURCE, pair) != steps(b, WF_SOURCE, last) ||
                 steps(b, WF_TARGET, pair) != steps(b, WF_TARGET, last);
        b->class[pair] = class;
    }
    b->keys = class + 1;
}

/* ---- making ---- */

static bool check(const wf_parallel *data, const wf_buckets_options *o, wf_error *error)
{
    const struct {
        const char *name;
        int64_t is;
    } numbers[] = { { ".max_tokens", o->max_tokens },
                    { ".max_sentences", o->max_sentences },
                    { ".pool", o->pool } };
    if (!data) return wf_error_set(error, "buckets: there is no parallel text (NULL)");
    for (int i = 0; i < 3; i++)
        if (numbers[i].is < 0)
            return wf_error_set(error, "buckets: %s is %lld; it must be 0 or more", numbers[i].name,
                                (long long)numbers[i].is);
    if (o->max_tokens == 0 && o->max_sentences == 0)
        return wf_error_set(error, "buckets: neither .max_tokens nor .max_sentences was given");
    if (o->order < WF_BUCKETS_SHUFFLED || o->order > WF_BUCKETS_IN_ORDER)
        return wf_error_set(error, "buckets: there is no .order %d", (int)o->order);
    if (o->pool > 0 && o->order != WF_BUCKETS_SHUFFLED)
        return wf_error_set(error, "buckets: .pool is %lld, but nothing is shuffled",
                            (long long)o->pool);
    return true;
}

/* The longest pair's cost; -1 and the reason where it is above the budget. */
static int64_t longest_of(const wf_buckets *b, wf_error *error)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < b->n; i++) {
        const int64_t one = cost(b, i);
        if (b->o.max_tokens > 0 && one > b->o.max_tokens) {
            wf_error_set(error,
                         "buckets: pair %lld (line %lld) alone has %lld tokens; .max_tokens is "
                         "%lld\n"
                         "  hint: .max_length of the parallel text leaves out or cuts what is "
                         "longer",
                         (long long)i, (long long)wf_parallel_line(b->data, i), (long long)one,
                         (long long)b->o.max_tokens);
            return -1;
        }
        if (one > longest) longest = one;
    }
    return longest;
}

/* Room for the largest batch that there can be: three tensors of ids, two of lengths. */
static bool make_room(wf_buckets *b, int64_t longest, wf_error *error)
{
    int64_t sentences = b->n, ids, bytes = INT64_MAX;
    if (b->o.max_sentences > 0 && b->o.max_sentences < sentences) sentences = b->o.max_sentences;
    bool fits = wf_size_mul(sentences, longest, &ids);
    if (b->o.max_tokens > 0 && (!fits || b->o.max_tokens < ids)) {
        ids = b->o.max_tokens;
        fits = true;
    }
    fits = fits && wf_size_mul(ids, 3, &bytes) && wf_size_add(bytes, sentences, &bytes) &&
           wf_size_add(bytes, sentences, &bytes) &&
           wf_size_mul(bytes, (int64_t)sizeof *b->memory, &bytes);
    b->memory = text_memory(fits ? wf_alloc((size_t)bytes) : NULL, fits ? bytes : INT64_MAX,
                            "buckets", error);
    return b->memory != NULL;
}

static bool make_lists(wf_buckets *b, int64_t longest, wf_error *error)
{
    int64_t **const lists[] = { &b->class, &b->pool,  &b->order, &b->work,
                                &b->begin, &b->drawn, &b->counts };
    enum { LISTS = sizeof lists / sizeof *lists };
    b->keys = longest + 1;
    for (int i = 0; i < LISTS; i++) {
        /* Keys are lengths, then classes or pools, of which there are at most as many as pairs. */
        const int64_t n = (lists[i] == &b->counts && b->keys > b->n ? b->keys : b->n) + 1;
        int64_t bytes = INT64_MAX;
        const bool fits = wf_size_mul(n, (int64_t)sizeof(int64_t), &bytes);
        *lists[i] = text_memory(fits ? wf_alloc((size_t)bytes) : NULL, bytes, "buckets", error);
        if (!*lists[i]) return false;
    }
    return true;
}

wf_buckets *wf_buckets_new(const wf_parallel *data, const wf_buckets_options *options,
                           wf_error *error)
{
    wf_error_clear(error);
    static const wf_buckets_options none;
    if (!options) options = &none;
    if (!check(data, options, error)) return NULL;
    wf_buckets *b = text_memory(wf_alloc_zero(sizeof *b), sizeof *b, "buckets", error);
    if (!b) return NULL;
    b->data = data;
    b->o = *options;
    b->n = wf_parallel_count(data).pairs;
    const int64_t longest = longest_of(b, error);
    if (longest < 0 || !make_lists(b, longest, error) || !make_room(b, longest, error)) {
        wf_buckets_free(b);
        return NULL;
    }
    classify(b);
    begin_epoch(b, 0);
    return b;
}

void wf_buckets_free(wf_buckets *b)
{
    if (!b) return;
    wf_release(b->class);
    wf_release(b->pool);
    wf_release(b->order);
    wf_release(b->work);
    wf_release(b->counts);
    wf_release(b->begin);
    wf_release(b->drawn);
    wf_release(b->memory);
    wf_release(b);
}

/* ---- reading along ---- */

/* Writes n ids from `from` down a column. */
static void put_column(const wf_tensor *ids, int64_t column, const int32_t *from, int64_t n)
{
    const int64_t time = ids->dim[0], batch = ids->dim[1];
    int32_t *to = (int32_t *)ids->data + column;
    for (int64_t t = 0; t < time; t++) to[t * batch] = t < n ? from[t] : WF_PAD;
}

/* The pairs of the order from `begin` on as a batch. */
static void fill(wf_buckets *b, int64_t begin, int64_t count)
{
    wf_pairs *p = &b->batch;
    int64_t source = 0, target = 0;
    p->pair = b->order + begin;
    p->count = count;
    p->tokens = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t s = steps(b, WF_SOURCE, p->pair[i]), t = steps(b, WF_TARGET, p->pair[i]);
        if (s > source) source = s;
        if (t > target) target = t;
    }
    int32_t *lengths = b->memory, *ids = b->memory + 2 * count;
    p->source_lengths = wf_tensor_of(WF_I32, WF_SHAPE(count), lengths);
    p->target_lengths = wf_tensor_of(WF_I32, WF_SHAPE(count), lengths + count);
    p->source = wf_tensor_of(WF_I32, WF_SHAPE(source, count), ids);
    p->before = wf_tensor_of(WF_I32, WF_SHAPE(target, count), ids + source * count);
    p->after = wf_tensor_of(WF_I32, WF_SHAPE(target, count), ids + (source + target) * count);
    for (int64_t i = 0; i < count; i++) {
        const wf_ids from = wf_parallel_ids(b->data, WF_SOURCE, p->pair[i]);
        const wf_ids to = wf_parallel_ids(b->data, WF_TARGET, p->pair[i]);
        put_column(&p->source, i, from.at, from.n);
        put_column(&p->before, i, to.at, to.n - 1);
        put_column(&p->after, i, to.at + 1, to.n - 1);
        lengths[i] = (int32_t)from.n;
        lengths[count + i] = (int32_t)(to.n - 1);
        p->tokens += to.n - 1;
    }
}

const wf_pairs *wf_buckets_next(wf_buckets *b)
{
    if (!b) return NULL;
    if (b->at == b->batches) {
        begin_epoch(b, b->epoch + 1);
        return NULL;
    }
    const int64_t batch = b->drawn[b->at++];
    fill(b, b->begin[batch], b->begin[batch + 1] - b->begin[batch]);
    return &b->batch;
}

int64_t wf_buckets_count(const wf_buckets *b)
{
    return b ? b->batches : 0;
}

int64_t wf_buckets_epoch(const wf_buckets *b)
{
    return b ? b->epoch : 0;
}

int64_t wf_buckets_position(const wf_buckets *b)
{
    return b ? b->at : 0;
}

bool wf_buckets_seek(wf_buckets *b, int64_t epoch, int64_t position)
{
    if (!b || epoch < 0 || epoch == INT64_MAX || position < 0) return false;
    const int64_t was = b->epoch, at = b->at;
    if (epoch != was) begin_epoch(b, epoch);
    if (position <= b->batches) {
        b->at = position;
        return true;
    }
    /* How many batches an epoch has is known once it is cut. */
    if (epoch != was) begin_epoch(b, was);
    b->at = at;
    return false;
}
