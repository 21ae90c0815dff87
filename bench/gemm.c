/* What the library's own matrix products reach here, in GFLOP/s: the general one (row-major x
 * times the transpose of row-major weights, as a layer asks for it) and the one over weights
 * packed once, best of several runs. */
#include "bench/timing.h"

enum { RUNS = 8 };

typedef struct product {
    int64_t m, n, k;
    int threads;
    float *x, *w, *packed, *y;
} product;

static void general(product *p)
{
    wf_gemm(p->threads, 1, wf_matrix_of(WF_F32, p->x, p->m, p->k),
            wf_matrix_strided(WF_F32, p->w, p->k, p->n, 1, p->k), 0,
            wf_matrix_of(WF_F32, p->y, p->m, p->n));
}

static void pack(product *p)
{
    wf_pack(p->threads, wf_matrix_strided(WF_F32, p->w, p->k, p->n, 1, p->k), p->packed);
}

/* One thread's share of the panels. */
static void packed_part(void *context, int64_t first, int64_t last)
{
    const product *p = context;
    wf_gemm_packed(wf_matrix_of(WF_F32, p->x, p->m, p->k), p->packed, first, last, false,
                   wf_matrix_of(WF_F32, p->y, p->m, p->n));
}

static void packed(product *p)
{
    int64_t width = wf_pack_width(WF_F32);
    wf_par_for(p->threads, (p->n + width - 1) / width, 1, packed_part, p);
}

/* The best rate of several runs, each long enough to be measured. */
static double rate(product *p, void (*run)(product *p), double work)
{
    double best = 0;
    int64_t repeat = 1 + (int64_t)(2e8 / (2.0 * (double)p->m * (double)p->n * (double)p->k));
    run(p);
    for (int i = 0; i < RUNS; i++) {
        double start = now();
        for (int64_t r = 0; r < repeat; r++) run(p);
        double found = work * (double)repeat / (now() - start) * 1e-9;
        if (found > best) best = found;
    }
    return best;
}

int main(void)
{
    static const int64_t shapes[][3] = {
        { 2048, 2048, 2048 }, { 512, 512, 512 },   { 64, 2048, 512 }, { 32, 1024, 256 },
        { 32, 512, 128 },     { 16, 512, 128 },    { 1, 2048, 512 },  { 1, 1024, 256 },
        { 3200, 2048, 512 },  { 2048, 512, 3200 },
    };
    printf("%s, dispatch level %s, %d threads\n", wf_processor(), wf_isa_name(wf_isa_level()),
           wf_threads());
    printf("%5s %5s %5s | %9s %9s | %9s %9s | %9s\n", "m", "n", "k", "gemm, 1", "all", "packed, 1",
           "all", "pack GB/s");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        product p = { .m = shapes[i][0], .n = shapes[i][1], .k = shapes[i][2] };
        p.x = random_floats(p.m * p.k, 1);
        p.w = random_floats(p.n * p.k, 1);
        p.y = random_floats(p.m * p.n, 1);
        p.packed = random_floats(wf_pack_count(WF_F32, p.k, p.n), 1);
        double flops = 2.0 * (double)p.m * (double)p.n * (double)p.k, found[5];
        for (int all = 0; all < 2; all++) {
            p.threads = all ? wf_threads() : 1;
            found[all] = rate(&p, general, flops);
            pack(&p);
            found[2 + all] = rate(&p, packed, flops);
        }
        found[4] = rate(&p, pack, 8.0 * (double)p.n * (double)p.k);
        printf("%5d %5d %5d | %9.1f %9.1f | %9.1f %9.1f | %9.1f\n", (int)p.m, (int)p.n, (int)p.k,
               found[0], found[1], found[2], found[3], found[4]);
        wf_release(p.x);
        wf_release(p.w);
        wf_release(p.y);
        wf_release(p.packed);
    }
    return 0;
}
