/* What a decoder with attention costs as a scan, beside the plain sum of its products' time. usage:
 * decoder [--runs N] [--threads N]
 *
 * A GRU that is told a word (T, B, H) at each step and attends over a memory (B, S, H) that the
 * loop closes over, padding masked; its keys are made within the step. Bahdanau scores by v
 * tanh(keys + W h), Luong by keys h. Training is forward and backward with a random cotangent on
 * all of y (T, B, H), the gradients of words, memory and every parameter included, no optimiser.
 *
 * The products, each timed alone: wf_gemm, or wf_matmul where every sequence has its own matrix.
 * What no state is needed for counts once, over all steps: the keys, the words' part of the GRU,
 * and in training the gradients of the weights. */
#include "bench/timing.h"

#include <string.h>

enum { MOST_RUNS = 99, B = 32, S = 50, T = 50, H = 256 };

/* ---- the decoder ---- */

typedef struct decoder {
    bool luong;
    wf_module *net;
    wf_rnn *gru;
    wf_linear *key, *query, *score;
    float *words, *memory, *padding, *cotangent;
} decoder;

typedef struct reading {
    const decoder *of;
    wf_var *memory, *padding; /* (B, S, H); (B, S): 0, or far below it behind the end */
} reading;

/* x: a word (n, H); state: h (n, H); y: h. */
static void step(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    const reading *r = context;
    const decoder *d = r->of;
    wf_var *keys = wf_linear_forward(t, d->key, r->memory), *fit, *deep; /* (n, S, H) */
    if (d->luong) {
        fit = wf_matmul(t, keys, wf_unsqueeze(t, state[0], -1)); /* (n, S, 1) */
    } else {
        wf_var *asked = wf_unsqueeze(t, wf_linear_forward(t, d->query, state[0]), 1);
        fit = wf_linear_forward(t, d->score, wf_tanh(t, wf_add(t, keys, asked)));
    }
    wf_var *weight = wf_softmax(t, wf_add(t, wf_squeeze(t, fit, -1), r->padding), -1); /* (n, S) */
    wf_var *seen = wf_matmul(t, wf_unsqueeze(t, weight, 1), r->memory); /* (n, 1, H) */
    wf_var *in = wf_concat(t, -1, WF_VARS(x[0], wf_squeeze(t, seen, 1)));
    deep = wf_unsqueeze(t, state[0], 0); /* (1, n, H) */
    y[0] = state[0] = wf_rnn_step(t, d->gru, in, &deep);
}

static decoder decoder_new(bool luong)
{
    decoder d = { .luong = luong, .net = wf_module_new("decoder", NULL) };
    d.gru = wf_gru_new(d.net, "gru", &(wf_rnn_options){ .input = 2 * H, .hidden = H });
    d.key = wf_linear_new(d.net, "key", &(wf_linear_options){ .input = H, .output = H });
    if (!luong) {
        d.query = wf_linear_new(d.net, "query", &(wf_linear_options){ .input = H, .output = H });
        d.score = wf_linear_new(d.net, "score", &(wf_linear_options){ .input = H, .output = 1 });
    }
    d.words = random_floats((int64_t)T * B * H, 1);
    d.memory = random_floats((int64_t)B * S * H, 2);
    d.cotangent = random_floats((int64_t)T * B * H, 3);
    d.padding = random_floats((int64_t)B * S, 4);
    for (int i = 0; i < B * S; i++) d.padding[i] = i % S < S / 2 + i / S % (S / 2 + 1) ? 0 : -1e9f;
    wf_error err = { { 0 } };
    if (!wf_module_ok(d.net, &err)) exit((fprintf(stderr, "decoder: %s\n", err.text), 1));
    return d;
}

static void decoder_free(decoder *d)
{
    wf_module_free(d->net);
    wf_release(d->words), wf_release(d->memory), wf_release(d->cotangent), wf_release(d->padding);
}

static void decode(wf_tape *t, const decoder *d)
{
    wf_tape_reset(t);
    wf_var *words = wf_leaf(t, WF_F32, WF_SHAPE(T, B, H), d->words), *y;
    static reading r; /* it outlives the call */
    r = (reading){ d, wf_leaf(t, WF_F32, WF_SHAPE(B, S, H), d->memory),
                   wf_constant(t, WF_F32, WF_SHAPE(B, S), d->padding) };
    const bool train = wf_tape_mode(t) == WF_TRAIN;
    if (train) wf_keep_grad(t, words), wf_keep_grad(t, r.memory);
    if (!wf_scan(t,
                 &(wf_scan_call){ .step = step,
                                  .context = &r,
                                  .sequences = WF_VARS(words),
                                  .initial = WF_VARS(wf_zeros(t, WF_F32, WF_SHAPE(B, H))),
                                  .outputs = 1 },
                 &y, NULL))
        exit(1); /* the reason has been said */
    if (!train) return;
    wf_var *g = wf_constant(t, WF_F32, WF_SHAPE(T, B, H), d->cotangent);
    if (!wf_backward_from(t, 1, &y, &g)) exit(1);
    wf_module_clear_grads(d->net);
}

/* ---- its products alone ---- */

/* `times` products of (m, k) by (k, n), of each of `batch` sequences where that is not 0. */
typedef struct product {
    int64_t batch, m, k, n;
    int times;
} product;

enum { PRODUCTS = 32, MOST = (T > S ? T : S) * B * 3 * H }; /* numbers of a matrix */
typedef struct products {
    int n;
    product at[PRODUCTS];
    float *a, *b, *c; /* MOST each */
} products;

static void add(products *p, product x)
{
    p->at[p->n++] = x;
}

/* y (rows, out) = x (rows, in) W: at each step, or once for all; in training the gradient of x as
 * often, and that of W once. */
static void add_linear(products *p, bool train, int64_t rows, int64_t in, int64_t out, int times)
{
    add(p, (product){ 0, rows, in, out, times });
    if (!train) return;
    add(p, (product){ 0, rows, out, in, times });
    add(p, (product){ 0, in, rows * times, out, 1 });
}

/* v times what it scores (B * S, H): that is there at its step alone, so all gradients are taken
 * then. */
static void add_score(products *p, bool train)
{
    add(p, (product){ 0, (int64_t)B * S, H, 1, T });
    if (!train) return;
    add(p, (product){ 0, (int64_t)B * S, 1, H, T });
    add(p, (product){ 0, H, (int64_t)B * S, 1, T });
}

/* The same of each sequence, both of whose gradients are needed at each step. */
static void add_batched(products *p, bool train, int64_t m, int64_t k, int64_t n)
{
    add(p, (product){ B, m, k, n, T });
    if (!train) return;
    add(p, (product){ B, m, n, k, T });
    add(p, (product){ B, k, m, n, T });
}

static products products_of(bool luong, bool train)
{
    products p = { 0 };
    add_linear(&p, train, (int64_t)B * S, H, H, 1);     /* keys */
    add_linear(&p, train, (int64_t)T * B, H, 3 * H, 1); /* the GRU, of words */
    add_linear(&p, train, B, H, 3 * H, T);              /* of what was seen */
    add_linear(&p, train, B, H, 3 * H, T);              /* of its state */
    if (luong) {
        add_batched(&p, train, S, H, 1);
    } else {
        add_linear(&p, train, B, H, H, T); /* the question */
        add_score(&p, train);
    }
    add_batched(&p, train, 1, S, H); /* what is seen */
    p.a = random_floats(MOST, 5);
    p.b = random_floats(MOST, 6);
    p.c = random_floats(MOST, 7);
    return p;
}

static void products_free(products *p)
{
    wf_release(p->a), wf_release(p->b), wf_release(p->c);
}

static void multiply(wf_tape *t, const products *p)
{
    wf_tape_reset(t);
    for (int i = 0; i < p->n; i++) {
        const product x = p->at[i];
        if (x.batch == 0) {
            const wf_matrix a = wf_matrix_of(WF_F32, p->a, x.m, x.k),
                            b = wf_matrix_of(WF_F32, p->b, x.k, x.n),
                            c = wf_matrix_of(WF_F32, p->c, x.m, x.n);
            for (int k = 0; k < x.times; k++) wf_gemm(wf_tape_threads(t), 1, a, b, 0, c);
            continue;
        }
        const wf_mark before = wf_tape_mark(t);
        wf_var *a = wf_constant(t, WF_F32, WF_SHAPE(x.batch, x.m, x.k), p->a),
               *b = wf_constant(t, WF_F32, WF_SHAPE(x.batch, x.k, x.n), p->b);
        const wf_mark between = wf_tape_mark(t);
        for (int k = 0; k < x.times; k++)
            if (!wf_matmul(t, a, b) || !wf_tape_rewind(t, between, 0, NULL)) exit(1);
        if (!wf_tape_rewind(t, before, 0, NULL)) exit(1);
    }
}

/* ---- what is timed ---- */

static void row(bool luong, bool train, int threads, int runs)
{
    double loop[MOST_RUNS], alone[MOST_RUNS], ratio[MOST_RUNS];
    decoder d = decoder_new(luong);
    products p = products_of(luong, train);
    wf_tape *t = wf_tape_new(
        &(wf_tape_options){ .mode = train ? WF_TRAIN : WF_INFER, .threads = threads });
    wf_tape *plain = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER, .threads = threads });
    for (int r = -2; r < runs; r++) {
        const double begun = now();
        decode(t, &d);
        const double between = now();
        multiply(plain, &p);
        if (r < 0) continue;
        loop[r] = between - begun;
        alone[r] = now() - between;
        ratio[r] = loop[r] / alone[r];
    }
    printf("  %-9s %-6s %8.2f ms, its products %8.2f ms: %.2f\n", luong ? "luong" : "bahdanau",
           train ? "train" : "infer", median(loop, runs) * 1e3, median(alone, runs) * 1e3,
           median(ratio, runs));
    fflush(stdout);
    wf_tape_free(t);
    wf_tape_free(plain);
    products_free(&p);
    decoder_free(&d);
}

int main(int argc, char **argv)
{
    int runs = 15, threads = 2;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--runs") && i + 1 < argc)
            runs = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            threads = atoi(argv[++i]);
        else
            return fprintf(stderr, "usage: decoder [--runs N] [--threads N]\n"), 1;
    }
    if (runs < 1 || runs > MOST_RUNS || threads < 1)
        return fprintf(stderr, "decoder: --runs from 1 to %d, --threads 1 or more\n", MOST_RUNS), 1;
    printf("%s; dispatch %s; %d threads, medians of %d runs; B=%d S=%d T=%d H=%d\n", wf_processor(),
           wf_isa_name(wf_isa_level()), threads, runs, B, S, T, H);
    for (int i = 0; i < 4; i++) row(i / 2, i % 2 == 0, threads, runs);
    return 0;
}
