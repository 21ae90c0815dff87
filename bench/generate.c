/* What a token costs: greedy generation of one sequence by a GRU with additive attention (Bahdanau
 * 2015), and beam search. usage: generate [--threads N] [--runs N]
 *
 * H = 512, a source of S = 30, V = 10,000 words; the keys of the source are made once. Tokens are
 * never the end, so that all sequences are T long. `alone` is the same step on the same rows,
 * called in a bare loop that chooses nothing: what the rest costs is generation's.
 * bench/torch_generate.py does the same in PyTorch. */
#include "bench/timing.h"

#include <string.h>

enum { V = 10000, E = 512, H = 512, S = 30, T = 100, MOST_RUNS = 99 };

/* ---- the decoder ---- */

typedef struct model {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *gru;
    wf_linear *key, *query, *score, *out;
    float *memory;
} model;

static model model_new(int64_t batch)
{
    wf_module *net = wf_module_new("generate", NULL);
    model m = {
        .net = net,
        .embed = wf_embedding_new(net, "embed", &(wf_embedding_options){ .input = V, .output = E }),
        .gru = wf_gru_new(net, "gru", &(wf_rnn_options){ .input = E + H, .hidden = H }),
        .key = wf_linear_new(net, "key", &(wf_linear_options){ .input = H, .output = H }),
        .query = wf_linear_new(net, "query", &(wf_linear_options){ .input = H, .output = H }),
        .score = wf_linear_new(net, "score", &(wf_linear_options){ .input = H, .output = 1 }),
        .out = wf_linear_new(net, "out", &(wf_linear_options){ .input = H, .output = V }),
        .memory = random_floats(batch * S * H, 1),
    };
    wf_error err = { { 0 } };
    if (!wf_module_ok(net, &err)) exit((fprintf(stderr, "generate: %s\n", err.text), 1));
    return m;
}

/* memory: what was read (n, S, H) and its keys (n, S, H); state: h (n, H). */
static void step(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    const model *m = self;
    wf_var *h = rows->state[0];
    wf_var *asked = wf_unsqueeze(t, wf_linear_forward(t, m->query, h), 1); /* (n, 1, H) */
    wf_var *fit = wf_linear_forward(t, m->score, wf_tanh(t, wf_add(t, rows->memory[1], asked)));
    rows->weights = wf_softmax(t, wf_squeeze(t, fit, -1), -1); /* (n, S) */
    wf_var *seen = wf_matmul(t, wf_unsqueeze(t, rows->weights, 1), rows->memory[0]);
    wf_var *word = wf_embedding_forward(t, m->embed, rows->word); /* (n, E) */
    wf_var *deep = wf_unsqueeze(t, h, 0);                         /* of one layer */
    rows->features = rows->state[0] = wf_rnn_step(
        t, m->gru, wf_concat(t, -1, WF_VARS(word, wf_squeeze(t, seen, 1))), &deep);
}

static wf_var *output(wf_tape *t, const void *self, wf_var *features)
{
    return wf_linear_forward(t, ((const model *)self)->out, features);
}

/* ---- what is timed ---- */

typedef struct timed {
    const model *m;
    int64_t batch, beams;
    wf_generated to;
} timed;

static double generate(wf_tape *t, timed *x)
{
    wf_tape_reset(t);
    wf_var *memory = wf_constant(t, WF_F32, WF_SHAPE(x->batch, S, H), x->m->memory);
    wf_var *keys = wf_linear_forward(t, x->m->key, memory);
    const wf_decoder decoder = { .step = step,
                                 .output = output,
                                 .self = x->m,
                                 .memory = WF_VARS(memory, keys),
                                 .initial = WF_VARS(wf_zeros(t, WF_F32, WF_SHAPE(x->batch, H))) };
    const wf_generate_options o = { .end = -1, .max_length = T, .beams = x->beams };
    const double begun = now();
    if (!wf_generate(t, &decoder, &o, &x->to)) exit(1); /* the reason has been said */
    return now() - begun;
}

/* The steps alone, of as many rows. */
static double alone(wf_tape *t, const timed *x)
{
    const int64_t n = x->batch * x->beams;
    wf_tape_reset(t);
    wf_var *one = wf_constant(t, WF_F32, WF_SHAPE(x->batch, 1, S, H), x->m->memory);
    one = wf_expand(t, one, WF_SHAPE(x->batch, x->beams, S, H));
    wf_var *memory = wf_copy(t, wf_reshape(t, one, WF_SHAPE(n, S, H)));
    wf_var *both[2] = { memory, wf_linear_forward(t, x->m->key, memory) };
    wf_var *state = wf_zeros(t, WF_F32, WF_SHAPE(n, H));
    const wf_mark mark = wf_tape_mark(t);
    const double begun = now();
    for (int i = 0; i < T; i++) {
        wf_decoder_rows rows = { .word = wf_zeros(t, WF_I32, WF_SHAPE(n)),
                                 .memory = both,
                                 .state = &state };
        step(t, x->m, &rows);
        output(t, x->m, rows.features);
        if (!wf_tape_rewind(t, mark, 1, &state)) exit(1);
    }
    return now() - begun;
}

static void measure(wf_tape *t, int64_t batch, int64_t beams, int runs)
{
    double whole[MOST_RUNS], steps[MOST_RUNS];
    const model m = model_new(batch);
    timed x = { .m = &m, .batch = batch, .beams = beams };
    generate(t, &x), alone(t, &x);
    for (int i = 0; i < runs; i++) {
        whole[i] = generate(t, &x);
        steps[i] = alone(t, &x);
    }
    const double each = median(whole, runs) / T, bare = median(steps, runs) / T;
    printf("generate B=%lld beams=%lld: %.0f tokens/s, a step %.1f us, alone %.1f us (%.2f)\n",
           (long long)batch, (long long)beams, (double)batch / each, 1e6 * each, 1e6 * bare,
           each / bare);
    wf_generated_free(&x.to);
    wf_release(m.memory);
    wf_module_free(m.net);
}

int main(int argc, char **argv)
{
    int threads = 0, runs = 15;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--threads")) threads = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--runs")) runs = atoi(argv[i + 1]);
    }
    if (runs < 1 || runs > MOST_RUNS) runs = 15;
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER, .threads = threads });
    measure(t, 1, 1, runs);
    measure(t, 1, 5, runs);
    measure(t, 64, 1, runs < 3 ? runs : 3);
    measure(t, 64, 5, 1);
    wf_tape_free(t);
    return 0;
}
