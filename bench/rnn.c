/* How fast recurrent layers train and infer, as a ratio to the machine's own matrix product, to one
 * thread, and to oneDNN if its program is given; and what a tiny op costs. usage: rnn [--only KIND]
 * [--runs N] [ONEDNN_PROGRAM]
 *
 * ONEDNN_PROGRAM prints lines "LSTM B=32 T=50 I=128 H=256  train 9.65 ms  infer 3.09 ms ...", as a
 * small program over oneDNN's RNN primitives does; it is run with OMP_NUM_THREADS=2 before our
 * rows. Training is forward and backward with a random cotangent on all of y, the gradients of x
 * and of every parameter included, no optimiser; GF/s counts 6 G H (I + H) B T operations (G
 * gates). */
#include "bench/timing.h"

#include <string.h>

enum { MOST_RUNS = 99 };

typedef struct shape {
    const char *kind;
    int64_t batch, time, input, hidden;
} shape;

static const shape shapes[] = {
    { "LSTM", 32, 50, 128, 256 }, { "LSTM", 64, 100, 512, 512 }, { "LSTM", 64, 50, 1024, 1024 },
    { "GRU", 32, 50, 128, 256 },  { "GRU", 64, 100, 512, 512 },  { "RNN", 32, 50, 128, 256 },
    { "RNN", 64, 100, 512, 512 }, { "LSTM", 1, 100, 128, 256 },  { "LSTM", 16, 32, 64, 128 },
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* The rate of a large product through the library's own entry, GFLOP/s. */
static double sgemm_rate(int threads)
{
    enum { N = 2048 };
    float *a = random_floats(N * N, 1), *b = random_floats(N * N, 2), *c = random_floats(N * N, 3);
    double best = 0;
    for (int run = 0; run < 8; run++) {
        double begun = now();
        wf_gemm(threads, 1, wf_matrix_of(WF_F32, a, N, N), wf_matrix_strided(WF_F32, b, N, N, 1, N),
                0, wf_matrix_of(WF_F32, c, N, N));
        double rate = 2.0 * N * N * N / (now() - begun) / 1e9;
        if (rate > best) best = rate;
    }
    wf_release(a);
    wf_release(b);
    wf_release(c);
    return best;
}

typedef struct model {
    shape s;
    wf_module *net;
    wf_rnn *rnn;
    float *x, *g;
} model;

static model model_new(shape s)
{
    model m = { .s = s, .net = wf_module_new("bench", NULL) };
    const wf_rnn_options o = { .input = s.input, .hidden = s.hidden };
    m.rnn = *s.kind == 'L'   ? wf_lstm_new(m.net, "rnn", &o)
            : *s.kind == 'G' ? wf_gru_new(m.net, "rnn", &o)
                             : wf_elman_new(m.net, "rnn", &o);
    m.x = random_floats(s.time * s.batch * s.input, 4);
    m.g = random_floats(s.time * s.batch * s.hidden, 5);
    wf_error err = { { 0 } };
    if (!wf_module_ok(m.net, &err)) exit((fprintf(stderr, "rnn: %s\n", err.text), 1));
    return m;
}

static void model_free(model *m)
{
    wf_module_free(m->net);
    wf_release(m->x);
    wf_release(m->g);
}

static void step(wf_tape *t, const model *m)
{
    shape s = m->s;
    wf_tape_reset(t);
    wf_var *x = wf_leaf(t, WF_F32, WF_SHAPE(s.time, s.batch, s.input), m->x);
    wf_var *y = wf_rnn_forward(t, m->rnn, x, NULL); /* (T, B, H) */
    if (!y) exit(1);
    if (wf_tape_mode(t) == WF_INFER) return;
    wf_var *g = wf_constant(t, WF_F32, WF_SHAPE(s.time, s.batch, s.hidden), m->g);
    wf_keep_grad(t, x);
    if (!wf_backward_from(t, 1, &y, &g)) exit(1); /* the reason has been said */
    for (int64_t i = 0; i < wf_module_param_count(m->net); i++)
        wf_param_clear_grad(wf_module_param_at(m->net, i));
}

/* Seconds per step, over about `least` seconds. */
static double timed(wf_tape *t, const model *m, double least)
{
    int n = 0;
    double begun = now(), spent;
    do {
        step(t, m);
        n++;
    } while ((spent = now() - begun) < least);
    return spent / n;
}

/* Medians of alternating runs with one thread and with two. */
static void measure(const model *m, wf_mode mode, int runs, double *one, double *two)
{
    double a[MOST_RUNS], b[MOST_RUNS];
    wf_tape *t1 = wf_tape_new(&(wf_tape_options){ .mode = mode, .threads = 1 });
    wf_tape *t2 = wf_tape_new(&(wf_tape_options){ .mode = mode, .threads = 2 });
    for (int i = 0; i < 2; i++) step(t1, m), step(t2, m);
    for (int i = 0; i < runs; i++) {
        a[i] = timed(t1, m, 0.15);
        b[i] = timed(t2, m, 0.15);
    }
    *one = median(a, runs);
    *two = median(b, runs);
    wf_tape_free(t1);
    wf_tape_free(t2);
}

/* What the peer's program prints, found again by kind and sizes. */
typedef struct peer {
    bool known;
    double train, infer;
} peer;

static bool read_peer(const char *program, peer found[SHAPES])
{
    char command[4096], line[512];
    snprintf(command, sizeof command, "OMP_NUM_THREADS=2 '%s'", program);
    FILE *in = popen(command, "r");
    while (in && fgets(line, sizeof line, in)) {
        char kind[8];
        long b, t, i, h;
        double train, infer;
        if (sscanf(line, "%7s B=%ld T=%ld I=%ld H=%ld train %lf ms infer %lf ms", kind, &b, &t, &i,
                   &h, &train, &infer) != 7)
            continue;
        for (int k = 0; k < SHAPES; k++) {
            shape s = shapes[k];
            if (!strcmp(kind, s.kind) && b == s.batch && t == s.time && i == s.input &&
                h == s.hidden)
                found[k] = (peer){ true, train / 1e3, infer / 1e3 };
        }
    }
    return in && pclose(in) == 0;
}

static void row(int k, int runs, double rate, const peer *p)
{
    model m = model_new(shapes[k]);
    shape s = m.s;
    double train1, train2, infer1, infer2;
    measure(&m, WF_TRAIN, runs, &train1, &train2);
    measure(&m, WF_INFER, runs, &infer1, &infer2);
    double gates = *s.kind == 'L' ? 4 : *s.kind == 'G' ? 3 : 1;
    double flop = 6 * gates * (double)(s.hidden * (s.input + s.hidden) * s.batch * s.time);
    printf("%s B=%lld T=%lld I=%lld H=%lld L=1  train %9.2f ms  infer %8.2f ms  %7.1f GF/s train  "
           "%7.1f GF/s infer  %3.0f %% of sgemm  2/1 threads: train %.2f infer %.2f",
           s.kind, (long long)s.batch, (long long)s.time, (long long)s.input, (long long)s.hidden,
           train2 * 1e3, infer2 * 1e3, flop / train2 / 1e9, flop / 3 / infer2 / 1e9,
           100 * flop / train2 / 1e9 / rate, train2 / train1, infer2 / infer1);
    if (p->known)
        printf("  time/oneDNN: train %.2f infer %.2f", train2 / p->train, infer2 / p->infer);
    printf("\n");
    fflush(stdout);
    model_free(&m);
}

/* A chain of multiplications by a number, recorded, swept and reset: nanoseconds per op. */
static double tiny(int64_t n)
{
    enum { OPS = 2000, RUNS = 301 };
    static double each[RUNS];
    float ones[16];
    for (int i = 0; i < 16; i++) ones[i] = 1;
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .threads = 1 });
    for (int r = 0; r < RUNS; r++) {
        double begun = now();
        wf_tape_reset(t);
        wf_var *x = wf_leaf(t, WF_F32, WF_SHAPE(n), ones), *y = x;
        wf_keep_grad(t, x);
        for (int i = 0; i < OPS; i++) y = wf_mul_scalar(t, y, 1.0001);
        if (!wf_backward(t, wf_sum(t, y, NULL))) exit(1);
        each[r] = (now() - begun) / OPS;
    }
    wf_tape_free(t);
    return median(each, RUNS) * 1e9;
}

int main(int argc, char **argv)
{
    const char *only = NULL, *program = NULL;
    int runs = 7;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--only") && i + 1 < argc)
            only = argv[++i];
        else if (!strcmp(argv[i], "--runs") && i + 1 < argc)
            runs = atoi(argv[++i]);
        else if (*argv[i] != '-' && !program)
            program = argv[i];
        else
            return fprintf(stderr, "usage: rnn [--only KIND] [--runs N] [ONEDNN_PROGRAM]\n"), 1;
    }
    if (runs < 1 || runs > MOST_RUNS)
        return fprintf(stderr, "rnn: --runs must be from 1 to %d\n", MOST_RUNS), 1;
    if (wf_threads() < 2)
        fprintf(stderr, "rnn: only one thread is to be had: no row compares two\n");
    peer found[SHAPES] = { 0 };
    if (program && !read_peer(program, found))
        return fprintf(stderr, "rnn: '%s' did not run to its end\n", program), 1;
    double rate = sgemm_rate(2);
    printf("%s; dispatch %s; SGEMM 2048^3: %.0f GF/s on two threads, %.0f on one\n", wf_processor(),
           wf_isa_name(wf_isa_level()), rate, sgemm_rate(1));
    for (int64_t n = 1; n <= 16; n += 15)
        printf(
            "tiny op, %lld element%s: %.0f ns forward and backward, recording and reset included\n",
            (long long)n, n == 1 ? "" : "s", tiny(n));
    for (int k = 0; k < SHAPES; k++)
        if (!only || !strcmp(only, shapes[k].kind)) row(k, runs, rate, &found[k]);
    return 0;
}
