/* Tokens out of one row of logits: the likeliest few of many thousands, or draws from what
 * temperature, top-k and top-p leave. */
#include "layers/generate_private.h"

#include <math.h>

enum { BLOCK = 128 };

/* ---- a heap of the best so far, the worst of them on top ---- */

static bool worse(choice a, choice b)
{
    return a.value < b.value || (a.value == b.value && a.id > b.id);
}

static void heap_add(choice *heap, int64_t n, choice c)
{
    int64_t at = n;
    for (; at > 0 && worse(c, heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = c;
}

/* c in place of the top of n. */
static void heap_replace(choice *heap, int64_t n, choice c)
{
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && worse(heap[child + 1], heap[child])) child++;
        if (!worse(heap[child], c)) break;
        heap[at] = heap[child];
    }
    heap[at] = c;
}

/* A heap of n becomes a list, the best first. */
static void heap_sort(choice *heap, int64_t n)
{
    while (n > 1) {
        const choice last = heap[n - 1];
        heap[n - 1] = heap[0];
        n--;
        heap_replace(heap, n, last);
    }
}

#define WF_EACH_FLOAT "layers/choose.inc"
#include "tensor/each_float.h"

/* ---- one row ---- */

static const choose_table *kernels_of(wf_dtype dtype)
{
    static const choose_level *const each[] = { WF_ISA_EACH(&choose_kernels) };
    return &each[wf_isa_level()]->of[dtype];
}

row_is logits_judge(logit_row *x)
{
    const choose_table *kernels = kernels_of(x->dtype);
    const double largest = kernels->largest(x->n, x->at);
    if (largest == (double)INFINITY) return ROW_INFINITE;
    x->largest = largest;
    /* Where nothing is larger than -inf, e^(x - 0) still is NaN where x is. */
    const double sum = kernels->mass(x->n, x->at, largest > -(double)INFINITY ? largest : 0, 1);
    x->log_sum = log(sum);
    return isnan(sum) ? ROW_NAN : ROW_SOUND;
}

static int64_t top(const logit_row *x, const void *allowed, int64_t most, choice *heap)
{
    const choose_table *kernels = kernels_of(x->dtype);
    const int64_t n = x->dtype == WF_F32 ? top_f32(kernels, x->n, allowed, most, heap)
                                         : top_f64(kernels, x->n, allowed, most, heap);
    heap_sort(heap, n);
    return n;
}

/* How many of n choices, the likeliest first and `weight` in place of their values, are the fewest
 * whose weights come to the part top_p of `mass`. */
static int64_t nucleus(const choice *list, int64_t n, double top_p, double mass)
{
    double sum = 0;
    if (!(top_p > 0 && top_p < 1)) return n;
    for (int64_t i = 0; i < n; i++) {
        sum += list[i].value;
        if (sum >= top_p * mass) return i + 1;
    }
    return n;
}

/* Logits in place of weights e^((x - largest) / temperature); returns their sum. */
static double weigh(choice *list, int64_t n, double temperature)
{
    double sum = 0;
    const double largest = n ? list[0].value : 0;
    for (int64_t i = 0; i < n; i++) {
        list[i].value = exp((list[i].value - largest) / temperature);
        sum += list[i].value;
    }
    return sum;
}

/* The choice of a weighed list at which the sum of weights goes beyond u of all. */
static int32_t drawn_of(const choice *list, int64_t n, double mass, double u)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += list[i].value;
        if (sum > u * mass) return list[i].id;
    }
    return list[n - 1].id;
}

static int64_t draw_of_all(const logit_row *x, const void *allowed, const choosing *how,
                           const double u[], choice *chosen)
{
    const choose_table *kernels = kernels_of(x->dtype);
    const double largest = kernels->largest(x->n, allowed), scale = 1 / how->temperature;
    if (!(largest > -(double)INFINITY)) return 0;
    const double mass = kernels->mass(x->n, allowed, largest, scale);
    for (int64_t i = 0; i < how->most; i++)
        chosen[i].id = kernels->passing(x->n, allowed, largest, scale, u[i] * mass);
    return how->most;
}

/* The likeliest until they come to top_p, without sorting what comes after: twice as many each
 * time. Of a flat row that is all of it. */
static int64_t likeliest(const logit_row *x, const void *allowed, const choosing *how, choice *room,
                         double *mass)
{
    enum { FIRST = 64 };
    int64_t most = how->top_k > 0 && how->top_k < x->n ? how->top_k : x->n;
    if (how->top_k > 0 || !(how->top_p > 0 && how->top_p < 1)) {
        const int64_t n = top(x, allowed, most, room);
        const int64_t kept = nucleus(room, n, how->top_p, *mass = weigh(room, n, how->temperature));
        return kept;
    }
    const double scale = 1 / how->temperature;
    double all = 0;
    for (most = FIRST;; most *= 4) {
        const int64_t n = top(x, allowed, most < x->n ? most : x->n, room);
        if (all == 0 && n > 0)
            all = kernels_of(x->dtype)->mass(x->n, allowed, room[0].value, scale);
        const double sum = weigh(room, n, how->temperature);
        if (most < x->n && sum < how->top_p * all) continue;
        *mass = all;
        return nucleus(room, n, how->top_p, all);
    }
}

int64_t logits_choose(const logit_row *x, const void *allowed, const choosing *how,
                      const double u[], choice *room, choice *chosen)
{
    int64_t n;
    if (how->temperature == 0) {
        n = top(x, allowed, how->most, chosen);
    } else if (how->top_k > 0 || (how->top_p > 0 && how->top_p < 1)) {
        double mass = 0;
        const int64_t kept = likeliest(x, allowed, how, room, &mass);
        n = kept > 0 ? how->most : 0;
        mass = 0;
        for (int64_t i = 0; i < kept; i++) mass += room[i].value;
        for (int64_t i = 0; i < n; i++) chosen[i].id = drawn_of(room, kept, mass, u[i]);
    } else {
        n = draw_of_all(x, allowed, how, u, chosen);
    }
    const wf_dtype_info *number = wf_dtype_describe(x->dtype);
    for (int64_t i = 0; i < n; i++)
        chosen[i].value = number->load(x->at, chosen[i].id) - x->largest - x->log_sum;
    return n;
}
