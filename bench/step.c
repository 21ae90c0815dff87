/* What a whole training step of a character model costs: embedding, two recurrent layers, linear
 * layer with cross entropy, backward, clipping by the joint norm, Adam. usage: step [--only CELL]
 * [--shape N] [--runs N] [--threads N] [PYTHON SCRIPT]
 *
 * PYTHON SCRIPT THREADS, if given, is run before our rows and prints PyTorch's lines of the same
 * model, "step V=65 B=32 T=64 E=64 H=256 L=2  eager 62.38 ms ...  compiled 60.01 ms ..." with GRU
 * after the first word where it is one (bench/torch_step.py does): the better of the two is what
 * our time is held against. A state of zeros is given, as there. */
#include "bench/timing.h"

#include <string.h>

enum { MOST_RUNS = 99, LAYERS = 2, CELLS = 2 };

typedef struct shape {
    int64_t classes, batch, time, embed, hidden;
} shape;

static const shape shapes[] = {
    { 65, 32, 64, 64, 256 },  { 65, 1, 64, 64, 128 },    { 65, 16, 64, 64, 128 },
    { 65, 64, 64, 256, 512 }, { 65, 64, 64, 512, 1024 }, { 10000, 20, 35, 200, 200 },
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static const char *const cell_name[CELLS] = { "LSTM", "GRU" };

typedef struct model {
    shape s;
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *rnn;
    wf_linear *head;
    wf_optim *adam;
    int32_t *ids; /* inputs, then targets */
} model;

static model model_new(shape s, int cell)
{
    model m = { .s = s, .net = wf_module_new("step", NULL) };
    m.embed = wf_embedding_new(m.net, "embed",
                               &(wf_embedding_options){ .input = s.classes, .output = s.embed });
    m.rnn = wf_rnn_new(m.net, "rnn", cell == 0 ? wf_lstm_row() : wf_gru_row(),
                       &(wf_rnn_options){ .input = s.embed, .hidden = s.hidden, .layers = LAYERS });
    m.head = wf_linear_new(m.net, "head",
                           &(wf_linear_options){ .input = s.hidden, .output = s.classes });
    wf_adam_options o = wf_adam_defaults();
    o.lr = 2e-3;
    m.adam = wf_adam_new(m.net, &o);
    const int64_t n = 2 * s.time * s.batch;
    m.ids = wf_alloc((size_t)n * sizeof *m.ids);
    wf_error err = { { 0 } };
    if (!wf_module_ok(m.net, &err) || !m.ids) exit((fprintf(stderr, "step: %s\n", err.text), 1));
    for (int64_t i = 0; i < n; i++) m.ids[i] = (int32_t)wf_random_below(1, (uint64_t)i, s.classes);
    return m;
}

static void model_free(model *m)
{
    wf_optim_free(m->adam);
    wf_module_free(m->net);
    wf_release(m->ids);
}

static void step(wf_tape *t, const model *m)
{
    const wf_shape form = WF_SHAPE(m->s.time, m->s.batch);
    wf_tape_reset(t);
    wf_var *ids = wf_constant(t, WF_I32, form, m->ids);
    wf_var *target = wf_constant(t, WF_I32, form, m->ids + m->s.time * m->s.batch);
    wf_var *x = wf_embedding_forward(t, m->embed, ids); /* (T, B, E) */
    wf_var *h = wf_rnn_forward(t, m->rnn, x, NULL);     /* (T, B, H) */
    if (!wf_backward(t, wf_linear_cross_entropy(t, m->head, h, target, NULL))) exit(1);
    wf_optim_clip_norm(m->adam, 1); /* what went wrong before has been said */
    wf_optim_step(m->adam);
}

/* Seconds per step: of n steps, or about 0.1 s of them. */
static double timed(wf_tape *t, const model *m)
{
    int n = 0;
    double begun = now(), spent;
    do step(t, m), n++;
    while ((spent = now() - begun) < 0.1);
    return spent / n;
}

/* PyTorch's best times, found by cell and sizes; 0: none. */
typedef double peers[CELLS][SHAPES];

static void read_line(const char *line, peers found)
{
    const int cell = !strncmp(line, "step GRU ", 9);
    long long v, b, t, e, h, layers;
    if (sscanf(line + (cell ? 9 : 5), "V=%lld B=%lld T=%lld E=%lld H=%lld L=%lld", &v, &b, &t, &e,
               &h, &layers) != 6 ||
        layers != LAYERS)
        return;
    double best = 0;
    for (const char *at = line, *word; (word = strstr(at, " ms")); at = word + 3) {
        while (word > line && word[-1] != ' ') word--;
        const double ms = strtod(word, NULL);
        word = strstr(word, " ms");
        if (ms > 0 && (best == 0 || ms < best)) best = ms;
    }
    for (int k = 0; k < SHAPES; k++) {
        const shape s = shapes[k];
        if (v == s.classes && b == s.batch && t == s.time && e == s.embed && h == s.hidden)
            found[cell][k] = best / 1e3;
    }
}

static bool read_peers(const char *python, const char *script, int threads, peers found)
{
    char command[4096], line[512];
    snprintf(command, sizeof command, "'%s' '%s' %d", python, script, threads);
    FILE *in = popen(command, "r");
    while (in && fgets(line, sizeof line, in))
        if (!strncmp(line, "step ", 5)) read_line(line, found);
    return in && pclose(in) == 0;
}

static void row(int cell, int k, int threads, int runs, double peer)
{
    model m = model_new(shapes[k], cell);
    const shape s = m.s;
    double each[MOST_RUNS];
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = threads });
    for (int i = 0; i < 2; i++) step(t, &m);
    for (int i = 0; i < runs; i++) each[i] = timed(t, &m);
    const double spent = median(each, runs);
    printf("%-4s V=%lld B=%lld T=%lld E=%lld H=%lld L=%d  %9.2f ms  %8.0f characters/s",
           cell_name[cell], (long long)s.classes, (long long)s.batch, (long long)s.time,
           (long long)s.embed, (long long)s.hidden, LAYERS, spent * 1e3,
           (double)(s.batch * s.time) / spent);
    if (peer > 0) printf("  PyTorch %9.2f ms: %.2f of our time", peer * 1e3, peer / spent);
    printf("\n");
    fflush(stdout);
    wf_tape_free(t);
    model_free(&m);
}

int main(int argc, char **argv)
{
    const char *only = NULL, *program[2] = { NULL, NULL };
    int runs = 7, threads = 2, one = -1, programs = 0;
    for (int i = 1; i < argc; i++) {
        const bool more = i + 1 < argc;
        if (!strcmp(argv[i], "--only") && more)
            only = argv[++i];
        else if (!strcmp(argv[i], "--shape") && more)
            one = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--runs") && more)
            runs = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--threads") && more)
            threads = atoi(argv[++i]);
        else if (*argv[i] != '-' && programs < 2)
            program[programs++] = argv[i];
        else
            programs = 3;
    }
    if (programs == 1 || programs > 2)
        return fprintf(stderr, "usage: step [--only CELL] [--shape N] [--runs N] [--threads N] "
                               "[PYTHON SCRIPT]\n"),
               1;
    if (runs < 1 || runs > MOST_RUNS || threads < 1)
        return fprintf(stderr, "step: --runs from 1 to %d, --threads 1 or more\n", MOST_RUNS), 1;
    peers found = { { 0 } };
    if (programs && !read_peers(program[0], program[1], threads, found))
        return fprintf(stderr, "step: '%s %s' did not run to its end\n", program[0], program[1]), 1;
    printf("%s; dispatch %s; %d threads, medians of %d runs\n", wf_processor(),
           wf_isa_name(wf_isa_level()), threads, runs);
    for (int cell = 0; cell < CELLS; cell++)
        for (int k = 0; k < SHAPES; k++)
            if ((!only || !strcmp(only, cell_name[cell])) && (one < 0 || one == k))
                row(cell, k, threads, runs, found[cell][k]);
    return 0;
}
