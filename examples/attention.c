/* A decoder with attention as a plain loop (Bahdanau, Cho and Bengio 2015): it learns to write six
 * digits backwards. Expected: all of 256 unseen rows right after 600 steps, in two seconds. */
#include <weft.h>

#include <math.h>
#include <stdio.h>

enum { B = 64, T = 6, DIGITS = 10, BEGIN = DIGITS, E = 16, H = 32, STEPS = 600 };

typedef struct net {
    wf_embedding *embed;
    wf_rnn *encoder, *decoder;
    wf_linear *key, *query, *score, *out;
} net;

/* x (T, B) digits. Writes T rows of logits (B, DIGITS); reads what it is told (T, B), or without it
 * what it wrote. */
static void decode(wf_tape *t, const net *n, const wf_tensor *x, const int32_t told[T][B],
                   wf_var *logits[T])
{
    wf_var *read = wf_embedding_forward(t, n->embed, wf_constant_tensor(t, x)); /* (T, B, E) */
    wf_var *memory = wf_rnn_forward(t, n->encoder, read, NULL);                 /* (T, B, 2H) */
    wf_var *keys = wf_linear_forward(t, n->key, memory);                        /* (T, B, H) */
    wf_var *context = wf_mean(t, memory, WF_AXES(0)), *state[1] = { NULL };     /* (B, 2H) */
    wf_var *last = wf_full(t, WF_I32, WF_SHAPE(B), BEGIN);                      /* (B) */
    for (int i = 0; i < T; i++) {
        wf_var *word = wf_embedding_forward(t, n->embed, last);                 /* (B, E) */
        wf_var *seen = wf_concat(t, -1, WF_VARS(word, context));                /* (B, E + 2H) */
        wf_var *h = wf_rnn_step(t, n->decoder, seen, state);                    /* (B, H) */
        wf_var *fit = wf_tanh(t, wf_add(t, keys, wf_linear_forward(t, n->query, h)));
        wf_var *weight = wf_softmax(t, wf_linear_forward(t, n->score, fit), 0); /* (T, B, 1) */
        context = wf_sum(t, wf_mul(t, weight, memory), WF_AXES(0));             /* (B, 2H) */
        logits[i] = wf_linear_forward(t, n->out, wf_concat(t, -1, WF_VARS(h, context)));
        last = told ? wf_constant(t, WF_I32, WF_SHAPE(B), told[i]) : wf_argmax(t, logits[i], -1);
    }
}

int main(void)
{
    wf_module *root = wf_module_new("backwards", NULL);
    net n = {
        .embed = wf_embedding_new(root, "embed",
                                  &(wf_embedding_options){ .input = DIGITS + 1, .output = E }),
        .encoder = wf_gru_new(root, "encoder",
                              &(wf_rnn_options){ .input = E, .hidden = H, .bidirectional = true }),
        .decoder = wf_gru_new(root, "decoder",
                              &(wf_rnn_options){ .input = E + 2 * H, .hidden = H }),
        .key = wf_linear_new(root, "key", &(wf_linear_options){ .input = 2 * H, .output = H }),
        .query = wf_linear_new(root, "query", &(wf_linear_options){ .input = H, .output = H }),
        .score = wf_linear_new(root, "score", &(wf_linear_options){ .input = H, .output = 1 }),
        .out = wf_linear_new(root, "out", &(wf_linear_options){ .input = 3 * H, .output = DIGITS })
    };
    wf_optim *adam = wf_adam_new(root, NULL);
    wf_tape *t = wf_tape_new(NULL);
    wf_error why = { { 0 } };
    int right = 0;
    bool ok = wf_module_ok(root, &why) || !fprintf(stderr, "%s\n", why.text);
    for (int step = 0; ok && step < STEPS + 4; step++) { /* the last four only judge */
        wf_optim_set_lr(adam, step < STEPS / 2 ? 5e-3 : 1e-3);
        int32_t x[T][B], y[T][B];
        for (int i = 0; i < T * B; i++)
            x[i / B][i % B] = (int32_t)wf_random_below((uint64_t)step, (uint64_t)i, DIGITS);
        for (int i = 0; i < T * B; i++) y[T - 1 - i / B][i % B] = x[i / B][i % B];
        wf_tensor in = wf_tensor_of(WF_I32, WF_SHAPE(T, B), x),
                  target = wf_tensor_of(WF_I32, WF_SHAPE(T, B), y);
        wf_var *logits[T];
        wf_tape_reset(t);
        decode(t, &n, &in, step < STEPS ? y : NULL, logits);
        wf_var *all = wf_stack(t, 0, (wf_vars){ T, logits }); /* (T, B, DIGITS) */
        wf_var *loss = wf_cross_entropy(t, all, &target);
        if (step < STEPS) {
            ok = wf_backward(t, loss) && isfinite(wf_optim_clip_norm(adam, 1)) &&
                 wf_optim_step(adam);
            if (step % 100 == 99) printf("step %d  loss %.4f\n", step + 1, wf_item(loss));
            continue;
        }
        wf_var *best = wf_argmax(t, all, -1); /* (T, B) */
        for (int b = 0, i; b < B; b++, right += i == T)
            for (i = 0; i < T && wf_at(best, i * B + b) == y[i][b]; i++) continue;
    }
    if (ok) printf("%.1f %% of %d unseen rows are right\n", 100.0 * right / (4 * B), 4 * B);
    wf_tape_free(t), wf_optim_free(adam), wf_module_free(root);
    return !ok;
}
