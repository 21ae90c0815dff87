/* How fast recurrent layers train and infer, as a ratio to the machine's own matrix product, to one
 * thread, and to oneDNN if its program is given; and what a tiny op costs. usage: rnn [--only KIND]
 * [--runs N] [ONEDNN_PROGRAM]
 *
 * ONEDNN_PROGRAM prints lines "LSTM B=32 T=50 I=128 H=256  train 9.65 ms  infer 3.09 ms ...", as a
 * small program over oneDNN's RNN primitives does; it is run with OMP_NUM_THREADS=2 before our
 * rows. Training is forward and backward with a random cotangent on all of y, the gradients of x
 * and of every parameter included, no optimiser; GF/s counts 6 G H (I + P) + 6 H P operations (G
 * gates; P is the width of the output, and the second term the projection's, if there is one) for
 * every step of every sequence. Ragged: lengths drawn from 1..T; such a row is also compared with
 * the same layer on full sequences, per step that is there. oneDNN has no projection, no lengths
 * and no f64. */
#include "bench/timing.h"

#include <string.h>

enum { MOST_RUNS = 99 };

typedef struct shape {
    const char *kind;
    int64_t batch, time, input, hidden;
    int64_t output; /* 0: no projection */
    bool ragged;
    wf_dtype dtype;
} shape;

static const shape shapes[] = {
    { "LSTM", 32, 50, 128, 256, 0, false, WF_F32 },
    { "LSTM", 64, 100, 512, 512, 0, false, WF_F32 },
    { "LSTM", 64, 50, 1024, 1024, 0, false, WF_F32 },
    { "GRU", 32, 50, 128, 256, 0, false, WF_F32 },
    { "GRU", 64, 100, 512, 512, 0, false, WF_F32 },
    { "RNN", 32, 50, 128, 256, 0, false, WF_F32 },
    { "RNN", 64, 100, 512, 512, 0, false, WF_F32 },
    { "LSTM", 1, 100, 128, 256, 0, false, WF_F32 },
    { "LSTM", 16, 32, 64, 128, 0, false, WF_F32 },
    { "LSTM", 32, 50, 128, 256, 128, false, WF_F32 },
    { "LSTM", 64, 100, 512, 512, 256, false, WF_F32 },
    { "LSTM", 32, 50, 128, 256, 0, true, WF_F32 },
    { "LSTM", 64, 100, 512, 512, 0, true, WF_F32 },
    { "GRU", 32, 50, 128, 256, 0, true, WF_F32 },
    { "GRU", 64, 100, 512, 512, 0, true, WF_F32 },
    { "LSTM", 32, 50, 128, 256, 0, false, WF_F64 },
    { "LSTM", 64, 100, 512, 512, 0, false, WF_F64 },
    { "GRU", 32, 50, 128, 256, 0, false, WF_F64 },
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* n standard normal numbers. */
static void *numbers(wf_dtype dtype, int64_t n, uint64_t key)
{
    float *x = random_floats(n, key);
    if (dtype == WF_F32) return x;
    double *y = wf_alloc((size_t)n * sizeof *y);
    if (!y) exit((fprintf(stderr, "out of memory\n"), 1));
    for (int64_t i = 0; i < n; i++) y[i] = (double)x[i];
    wf_release(x);
    return y;
}

/* The rate of a large product through the library's own entry, GFLOP/s. */
static double gemm_rate(wf_dtype dtype, int threads)
{
    enum { N = 2048 };
    void *a = numbers(dtype, N * N, 1), *b = numbers(dtype, N * N, 2),
         *c = numbers(dtype, N * N, 3);
    double best = 0;
    for (int run = 0; run < 8; run++) {
        double begun = now();
        wf_gemm(threads, 1, wf_matrix_of(dtype, a, N, N), wf_matrix_strided(dtype, b, N, N, 1, N),
                0, wf_matrix_of(dtype, c, N, N));
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
    int64_t output, tokens; /* width of y; steps of all sequences */
    wf_module *net;
    wf_rnn *rnn;
    void *x, *g;
    int32_t *length; /* or NULL: all T */
} model;

static model model_new(shape s)
{
    model m = { .s = s,
                .output = s.output ? s.output : s.hidden,
                .tokens = s.time * s.batch,
                .net = wf_module_new("bench", &(wf_module_options){ .dtype = s.dtype }) };
    const wf_rnn_options o = { .input = s.input, .hidden = s.hidden, .output = s.output };
    m.rnn = *s.kind == 'L'   ? wf_lstm_new(m.net, "rnn", &o)
            : *s.kind == 'G' ? wf_gru_new(m.net, "rnn", &o)
                             : wf_elman_new(m.net, "rnn", &o);
    m.x = numbers(s.dtype, s.time * s.batch * s.input, 4);
    m.g = numbers(s.dtype, s.time * s.batch * m.output, 5);
    wf_error err = { { 0 } };
    if (!wf_module_ok(m.net, &err)) exit((fprintf(stderr, "rnn: %s\n", err.text), 1));
    if (!s.ragged) return m;
    m.length = wf_alloc((size_t)s.batch * sizeof *m.length);
    if (!m.length) exit((fprintf(stderr, "out of memory\n"), 1));
    m.tokens = 0;
    for (int64_t b = 0; b < s.batch; b++) {
        m.length[b] = (int32_t)(1 + wf_random_below(6, (uint64_t)b, s.time));
        m.tokens += m.length[b];
    }
    return m;
}

static void model_free(model *m)
{
    wf_module_free(m->net);
    wf_release(m->x);
    wf_release(m->g);
    wf_release(m->length);
}

static void step(wf_tape *t, const model *m)
{
    shape s = m->s;
    wf_rnn_call call = { .lengths = NULL };
    wf_tape_reset(t);
    wf_var *x = wf_leaf(t, s.dtype, WF_SHAPE(s.time, s.batch, s.input), m->x);
    if (m->length) call.lengths = wf_constant(t, WF_I32, WF_SHAPE(s.batch), m->length);
    wf_var *y = wf_rnn_forward(t, m->rnn, x, &call); /* (T, B, P) */
    if (!y) exit(1);
    if (wf_tape_mode(t) == WF_INFER) return;
    wf_var *g = wf_constant(t, s.dtype, WF_SHAPE(s.time, s.batch, m->output), m->g);
    wf_keep_grad(t, x);
    if (!wf_backward_from(t, 1, &y, &g)) exit(1); /* the reason has been said */
    wf_module_clear_grads(m->net);
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

/* Of two threads, as medians of alternating runs: seconds, to those of one thread, and to those on
 * full sequences. */
typedef struct times {
    double seconds, to_one, to_full;
} times;

static times measure(const model *m, wf_mode mode, int runs)
{
    double two[MOST_RUNS], one[MOST_RUNS], full[MOST_RUNS];
    model whole = *m;
    whole.length = NULL;
    wf_tape *t1 = wf_tape_new(&(wf_tape_options){ .mode = mode, .threads = 1 });
    wf_tape *t2 = wf_tape_new(&(wf_tape_options){ .mode = mode, .threads = 2 });
    for (int i = 0; i < 2; i++) step(t1, m), step(t2, m), step(t2, &whole);
    for (int i = 0; i < runs; i++) {
        one[i] = timed(t1, m, 0.15);
        two[i] = timed(t2, m, 0.15);
        full[i] = m->length ? timed(t2, &whole, 0.15) : two[i];
    }
    wf_tape_free(t1);
    wf_tape_free(t2);
    const double seconds = median(two, runs);
    return (times){ seconds, seconds / median(one, runs), seconds / median(full, runs) };
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
            const bool plain = !s.output && !s.ragged && s.dtype == WF_F32;
            if (plain && !strcmp(kind, s.kind) && b == s.batch && t == s.time && i == s.input &&
                h == s.hidden)
                found[k] = (peer){ true, train / 1e3, infer / 1e3 };
        }
    }
    return in && pclose(in) == 0;
}

/* rate: of a large product in the row's dtype. */
static void row(int k, int runs, double rate, const peer *p)
{
    model m = model_new(shapes[k]);
    shape s = m.s;
    const times train = measure(&m, WF_TRAIN, runs), infer = measure(&m, WF_INFER, runs);
    double gates = *s.kind == 'L' ? 4 : *s.kind == 'G' ? 3 : 1;
    double flop = 6 * (double)m.tokens * gates * (double)(s.hidden * (s.input + m.output));
    if (s.output) flop += 6 * (double)(m.tokens * s.hidden * s.output);
    printf("%s B=%lld T=%lld I=%lld H=%lld L=1", s.kind, (long long)s.batch, (long long)s.time,
           (long long)s.input, (long long)s.hidden);
    if (s.output) printf(" P=%lld", (long long)s.output);
    if (s.ragged) printf(" ragged");
    if (s.dtype == WF_F64) printf(" f64");
    printf("  train %9.2f ms  infer %8.2f ms  %7.1f GF/s train  %7.1f GF/s infer  %3.0f %% of "
           "%s  2/1 threads: train %.2f infer %.2f",
           train.seconds * 1e3, infer.seconds * 1e3, flop / train.seconds / 1e9,
           flop / 3 / infer.seconds / 1e9, 100 * flop / train.seconds / 1e9 / rate,
           s.dtype == WF_F64 ? "dgemm" : "sgemm", train.to_one, infer.to_one);
    if (p->known)
        printf("  time/oneDNN: train %.2f infer %.2f", train.seconds / p->train,
               infer.seconds / p->infer);
    const double share = (double)m.tokens / (double)(s.time * s.batch);
    if (s.ragged)
        printf("  of full ones per step: train %.2f infer %.2f", train.to_full / share,
               infer.to_full / share);
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
    const double rate[] = { [WF_F32] = gemm_rate(WF_F32, 2), [WF_F64] = gemm_rate(WF_F64, 2) };
    printf("%s; dispatch %s; SGEMM 2048^3: %.0f GF/s on two threads, %.0f on one; DGEMM: %.0f on "
           "two\n",
           wf_processor(), wf_isa_name(wf_isa_level()), rate[WF_F32], gemm_rate(WF_F32, 1),
           rate[WF_F64]);
    for (int64_t n = 1; n <= 16; n += 15)
        printf(
            "tiny op, %lld element%s: %.0f ns forward and backward, recording and reset included\n",
            (long long)n, n == 1 ? "" : "s", tiny(n));
    for (int k = 0; k < SHAPES; k++)
        if (!only || !strcmp(only, shapes[k].kind)) row(k, runs, rate[shapes[k].dtype], &found[k]);
    return 0;
}
