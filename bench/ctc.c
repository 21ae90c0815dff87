/* What a CTC loss and its gradient cost, from logits, in F32: T=500 frames, B=32 sequences, C=80
 * classes, L=60 labels, unless given. usage: ctc [THREADS [T B C L]]; PyTorch's: torch_ctc.py. */
#include "bench/timing.h"

enum { RUNS = 21 };

int main(int argc, char **argv)
{
    int64_t n[5] = { 2, 500, 32, 80, 60 };
    for (int i = 1; i < argc && i <= 5; i++) n[i - 1] = atoll(argv[i]);
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = (int)n[0] });
    float *z = random_floats(n[1] * n[2] * n[3], 1);
    double each[RUNS];
    for (int run = -2; run < RUNS; run++) {
        wf_tape_reset(t);
        wf_tensor ids;
        wf_var *x = wf_leaf(t, WF_F32, WF_SHAPE(n[1], n[2], n[3]), z);
        wf_var *targets = wf_constant_fill(t, WF_I32, WF_SHAPE(n[4], n[2]), &ids), *grad;
        for (int64_t i = 0; targets && i < n[4] * n[2]; i++)
            ((int32_t *)ids.data)[i] = 1 + (int32_t)wf_random_below(2, (uint64_t)i, n[3] - 1);
        const double begun = now();
        wf_var *loss = wf_ctc_loss(t, x, targets, NULL, NULL, NULL);
        if (!wf_grad(t, 1, &loss, NULL, 1, &x, &grad, NULL)) return 1;
        if (run >= 0) each[run] = now() - begun;
    }
    printf("ctc T=%lld B=%lld C=%lld L=%lld  %.2f ms on %d threads\n", (long long)n[1],
           (long long)n[2], (long long)n[3], (long long)n[4], 1e3 * median(each, RUNS), (int)n[0]);
    wf_release(z);
    wf_tape_free(t);
    return 0;
}
