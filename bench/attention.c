/* What fused scaled dot-product attention takes beside the same in two products and a softmax,
 * whose scores lie in memory: forward alone, and forward and back. Queries, keys and values are
 * heads of projections, views of (T, B, heads D). bench/torch_attention.py prints the same rows.
 * usage: attention [THREADS] */
#include "bench/timing.h"

enum { MOST = 200 };
static const double least = 1.0; /* seconds for each row */

typedef struct problem {
    int batch, heads, time, width;
    bool causal;
} problem;

typedef wf_var *attend_fn(wf_tape *t, wf_var *const in[3], bool causal);

static wf_var *fused(wf_tape *t, wf_var *const in[3], bool causal)
{
    return wf_scaled_dot_attention(t, in[0], in[1], in[2], NULL,
                                   &(wf_scaled_dot_options){ .causal = causal });
}

static wf_var *in_full(wf_tape *t, wf_var *const in[3], bool causal)
{
    wf_var *w = wf_scaled_dot_weights(t, in[0], in[1], NULL,
                                      &(wf_scaled_dot_options){ .causal = causal });
    return wf_matmul(t, w, in[2]);
}

/* One step; seconds. */
static double step(wf_tape *t, const problem *p, float *const x[4], attend_fn *attend, bool back)
{
    const wf_shape flat = WF_SHAPE(p->time, p->batch, p->heads * p->width);
    wf_tape_reset(t);
    wf_var *in[3], *heads[3];
    for (int i = 0; i < 3; i++) {
        in[i] = wf_leaf(t, WF_F32, flat, x[i]);
        wf_var *h = wf_reshape(t, in[i], WF_SHAPE(p->time, p->batch, p->heads, p->width));
        heads[i] = wf_permute(t, h, WF_AXES(1, 2, 0, 3));
        if (back && !wf_keep_grad(t, in[i])) exit(1);
    }
    wf_var *g = wf_constant(t, WF_F32, wf_shape_of(heads[0]), x[3]);
    const double begun = now();
    wf_var *y = attend(t, heads, p->causal);
    if (back && !wf_backward_from(t, 1, &y, &g)) exit((fputs(wf_tape_error(t), stderr), 1));
    return now() - begun;
}

static double measure(const problem *p, float *const x[4], attend_fn *attend, bool back,
                      int threads)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = threads });
    double took[MOST];
    int n = 0;
    if (!back) wf_tape_set_mode(t, WF_INFER);
    for (int warm = 0; warm < 3; warm++) step(t, p, x, attend, back);
    for (double sum = 0; n < MOST && (sum < least || n < 5); n++)
        sum += took[n] = step(t, p, x, attend, back);
    wf_tape_free(t);
    return median(took, n) * 1e3;
}

int main(int argc, char **argv)
{
    static const int shapes[][4] = { { 16, 8, 256, 64 }, { 16, 8, 64, 64 },   { 4, 8, 1024, 64 },
                                     { 1, 8, 4096, 64 }, { 16, 16, 256, 32 }, { 16, 4, 256, 128 },
                                     { 1, 1, 1024, 64 } };
    const int threads = argc > 1 ? atoi(argv[1]) : wf_threads();
    printf("%s, dispatch level %s, %d threads\n", wf_processor(), wf_isa_name(wf_isa_level()),
           threads);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int causal = 0; causal < 2; causal++) {
            const problem p = { shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], causal };
            const int64_t n = (int64_t)p.batch * p.heads * p.time * p.width;
            float *x[4];
            for (uint64_t k = 0; k < 4; k++) x[k] = random_floats(n, k);
            printf("attention B=%d heads=%d T=%d D=%d%s  forward %.2f ms  both %.2f ms\n", p.batch,
                   p.heads, p.time, p.width, causal ? " causal" : "",
                   measure(&p, x, fused, false, threads), measure(&p, x, fused, true, threads));
            if (i == 0)
                printf("  in full  forward %.2f ms  both (without q and k) %.2f ms\n",
                       measure(&p, x, in_full, false, threads),
                       measure(&p, x, in_full, true, threads));
            fflush(stdout);
            for (int k = 0; k < 4; k++) wf_release(x[k]);
        }
    }
    return 0;
}
