/* What a training step of a recurrent translator with additive attention costs: GRU encoder, GRU
 * decoder that looks before each step, readout, logits and cross entropy, backward, clipping by the
 * joint norm, Adam. usage: seq2seq [--runs N] [--threads N] [PYTHON SCRIPT]
 *
 * PYTHON SCRIPT THREADS, if given, is run before our row and prints PyTorch's time of the same
 * model as "seq2seq eager 812.3 ms" (bench/torch_seq2seq.py does). */
#include "bench/timing.h"

#include <string.h>

enum { MOST_RUNS = 99, B = 64, S = 50, T = 50, H = 512, V = 10000 };

typedef struct model {
    wf_module *net;
    wf_seq2seq *s;
    wf_optim *adam;
    int32_t *ids; /* sources, the words before each step and those after it: (3, 50, B) */
} model;

static model model_new(void)
{
    model m = { .net = wf_module_new("seq2seq", NULL) };
    m.s = wf_seq2seq_new(
        m.net, "s", &(wf_seq2seq_options){ .source = V, .target = V, .embedding = H, .hidden = H });
    m.adam = wf_adam_new(m.net, NULL);
    m.ids = wf_alloc(3 * (size_t)T * B * sizeof *m.ids);
    wf_error err = { { 0 } };
    if (!wf_module_ok(m.net, &err) || !m.ids) exit((fprintf(stderr, "seq2seq: %s\n", err.text), 1));
    for (int64_t i = 0; i < 3 * T * B; i++) m.ids[i] = (int32_t)wf_random_below(1, (uint64_t)i, V);
    return m;
}

static void train(wf_tape *t, const model *m)
{
    wf_tape_reset(t);
    wf_var *ids[3];
    for (int i = 0; i < 3; i++) ids[i] = wf_constant(t, WF_I32, WF_SHAPE(T, B), m->ids + i * T * B);
    const wf_decode_call call = { .words = ids[1] };
    wf_var *loss = wf_seq2seq_loss(t, m->s, ids[0], NULL, &call, ids[2], NULL);
    if (!wf_backward(t, loss)) exit(1); /* the reason has been said */
    wf_optim_clip_norm(m->adam, 1);
    wf_optim_step(m->adam);
}

/* The peer's milliseconds; 0: there is none. */
static double peer(const char *python, const char *script, int threads)
{
    char command[4096], line[256];
    double ms = 0;
    snprintf(command, sizeof command, "'%s' '%s' %d", python, script, threads);
    FILE *of = popen(command, "r");
    while (of && fgets(line, sizeof line, of)) {
        fputs(line, stdout);
        sscanf(line, "seq2seq eager %lf", &ms);
    }
    if (of) pclose(of);
    return ms;
}

int main(int argc, char **argv)
{
    const char *script[2] = { NULL, NULL };
    int runs = 7, threads = 2, scripts = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--runs") && i + 1 < argc)
            runs = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            threads = atoi(argv[++i]);
        else if (argv[i][0] != '-' && scripts < 2)
            script[scripts++] = argv[i];
        else
            runs = 0;
    }
    if (runs < 1 || runs > MOST_RUNS || threads < 1 || scripts == 1)
        return fprintf(stderr, "usage: seq2seq [--runs N] [--threads N] [PYTHON SCRIPT]\n"), 1;
    const double other = scripts ? peer(script[0], script[1], threads) : 0;
    model m = model_new();
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = threads });
    double took[MOST_RUNS];
    for (int r = -2; r < runs; r++) {
        const double begun = now();
        train(t, &m);
        if (r >= 0) took[r] = now() - begun;
    }
    const double ms = median(took, runs) * 1e3;
    printf("%s; dispatch %s; %d threads, median of %d runs\n", wf_processor(),
           wf_isa_name(wf_isa_level()), threads, runs);
    printf("seq2seq B=%d S=%d T=%d H=%d V=%d: %.1f ms", B, S, T, H, V, ms);
    if (other > 0) printf(", PyTorch %.1f ms: %.2f times as fast", other, other / ms);
    printf("\n");
    wf_tape_free(t);
    wf_optim_free(m.adam);
    wf_module_free(m.net);
    wf_release(m.ids);
    return 0;
}
