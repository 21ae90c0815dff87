/* Rows put in order: a stable radix sort, the k largest of a row in one pass over it, and threads
 * with memory of their own for that. */
#include "autograd/ranked_private.h"

#include <string.h>

/* FEW: so many are put in their places one by one. MOST: of a row's largest, so many are kept in
 * order while the row passes by; more are found by sorting it. LINE: threads do not share one. */
enum { FEW = 24, MOST = 128, BLOCK = 64, LINE = 64, GRAIN = 8192 };

/* ---- places by key ---- */

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

/* One byte after another, which is linear and keeps what is equal as it was. */
ranked *ranked_sort(ranked *memory, int64_t n, int bytes)
{
    ranked *now = memory, *next = memory + n;
    if (n <= FEW) { /* counting bytes would cost more */
        for (int64_t i = 1, k; i < n; i++) {
            const ranked r = now[i];
            for (k = i; k > 0 && now[k - 1].key > r.key; k--) now[k] = now[k - 1];
            now[k] = r;
        }
        return now;
    }
    for (int shift = 0; shift < 8 * bytes; shift += 8) {
        int64_t at[256] = { 0 };
        for (int64_t i = 0; i < n; i++) at[now[i].key >> shift & 255]++;
        if (at[now[0].key >> shift & 255] == n) continue; /* all have the same */
        begin_each(at);
        for (int64_t i = 0; i < n; i++) next[at[now[i].key >> shift & 255]++] = now[i];
        ranked *swap = now;
        now = next;
        next = swap;
    }
    return now;
}

/* ---- the largest of a row ---- */

/* Keys in the order of the numbers: of floats the sign decides how the other bits count. Both zeros
 * are one number, and NaNs are one, beyond infinity. */
static uint64_t key_f32(float v)
{
    uint32_t bits;
    v = v == 0 ? 0 : v;
    memcpy(&bits, &v, sizeof bits);
    if (v != v) return UINT32_MAX;
    return bits >> 31 ? ~bits : bits | UINT32_C(1) << 31;
}

static uint64_t key_f64(double v)
{
    uint64_t bits;
    v = v == 0 ? 0 : v;
    memcpy(&bits, &v, sizeof bits);
    if (v != v) return UINT64_MAX;
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

static uint64_t key_i32(int32_t v)
{
    return (uint32_t)v ^ UINT32_C(1) << 31;
}

/* Of a dtype: the k <= MOST largest in order, most of a row being passed over by comparisons alone;
 * and the keys of a row. */
#define ABOVE(a, b) ((a) > (b) || ((a) != (a) && (b) == (b)))
#define ROWS_OF(suffix, type)                                                                      \
    static void largest_##suffix(const void *data, int64_t n, int64_t step, int64_t k,             \
                                 int32_t *place, int64_t place_step)                               \
    {                                                                                              \
        const type *x = data;                                                                      \
        type best[MOST];                                                                           \
        int64_t have = 0;                                                                          \
        for (int64_t at = 0, end; k > 0 && at < n; at = end) {                                     \
            end = n - at < BLOCK ? n : at + BLOCK;                                                 \
            if (have == k) {                                                                       \
                const type least = best[k - 1];                                                    \
                int any = 0;                                                                       \
                if (step == 1)                                                                     \
                    for (int64_t i = at; i < end; i++) any |= !(x[i] <= least);                    \
                else                                                                               \
                    for (int64_t i = at; i < end; i++) any |= !(x[i * step] <= least);             \
                if (!any) continue;                                                                \
            }                                                                                      \
            for (int64_t i = at; i < end; i++) {                                                   \
                const type v = x[i * step];                                                        \
                if (have == k && !ABOVE(v, best[k - 1])) continue;                                 \
                int64_t to = have < k ? have++ : k - 1;                                            \
                for (; to > 0 && ABOVE(v, best[to - 1]); to--) {                                   \
                    best[to] = best[to - 1];                                                       \
                    place[to * place_step] = place[(to - 1) * place_step];                         \
                }                                                                                  \
                best[to] = v;                                                                      \
                place[to * place_step] = (int32_t)i;                                               \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void keys_##suffix(const void *data, int64_t n, int64_t step, uint64_t turn, ranked *r) \
    {                                                                                              \
        const type *x = data;                                                                      \
        for (int64_t i = 0; i < n; i++) r[i] = (ranked){ key_##suffix(x[i * step]) ^ turn, i };    \
    }
ROWS_OF(f32, float)
ROWS_OF(f64, double)
ROWS_OF(i32, int32_t)

/* Are so few wanted that they are found in passing? */
static bool in_passing(int64_t n, int64_t k, bool smallest)
{
    return k <= MOST && k < n && !smallest;
}

int64_t largest_bytes(int64_t n, int64_t k, bool smallest)
{
    return in_passing(n, k, smallest) ? 0 : 2 * n * (int64_t)sizeof(ranked);
}

void largest_places(wf_dtype dtype, const void *x, int64_t n, int64_t step, int64_t k,
                    bool smallest, int32_t *place, int64_t place_step, void *scratch)
{
    static void (*const largest[WF_DTYPES])(const void *, int64_t, int64_t, int64_t, int32_t *,
                                            int64_t) = { largest_f32, largest_f64, largest_i32 };
    static void (*const keys[WF_DTYPES])(const void *, int64_t, int64_t, uint64_t,
                                         ranked *) = { keys_f32, keys_f64, keys_i32 };
    if (in_passing(n, k, smallest)) {
        largest[dtype](x, n, step, k, place, place_step);
        return;
    }
    ranked *r = scratch;
    keys[dtype](x, n, step, smallest ? 0 : UINT64_MAX, r);
    r = ranked_sort(r, n, (int)wf_dtype_size(dtype));
    for (int64_t i = 0; i < k; i++) place[i * place_step] = (int32_t)r[i].at;
}

/* ---- threads ---- */

bool rows_scratch(const wf_shaping *s, int64_t *scratch, int64_t bytes)
{
    return takes_scratch(s, scratch, s->threads > 1 ? s->threads : 1,
                         bytes < INT64_MAX - LINE ? (bytes + LINE - 1) / LINE * LINE : bytes);
}

typedef struct sharing {
    const wf_call *call;
    int64_t rows, bytes;
    row_fn *fn;
    void *context;
} sharing;

static void share(void *context, wf_team *team, int id, int size)
{
    (void)team;
    const sharing *s = context;
    char *own = (char *)s->call->scratch + id * s->bytes;
    for (int64_t i = s->rows * id / size; i < s->rows * (id + 1) / size; i++)
        s->fn(s->context, i, own);
}

void rows_apart(const wf_call *c, int64_t rows, int64_t work, int64_t bytes, row_fn *fn,
                void *context)
{
    sharing s = { c, rows, (bytes + LINE - 1) / LINE * LINE, fn, context };
    const int64_t worth = rows / (GRAIN / (work + 1) + 1);
    const int threads = worth < c->threads ? (int)worth : c->threads;
    if (rows > 0) wf_par_team(threads > 1 ? threads : 1, share, &s);
}
