/* A cell of one's own, the minimal gated unit (Zhou et al. 2016): written as one step, proved by
 * the checker, then trained on a task that needs memory: to say at the end which letter came
 * first. */
#include <weft.h>

#include <stdio.h>

typedef struct {
    wf_var *w_f, *b_f, *w_c, *b_c;
} mgu;

static void mgu_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const mgu *m = self;
    wf_var *h = state[0]; /* (B, H) */
    wf_var *f = wf_sigmoid(t, wf_affine(t, wf_concat(t, -1, WF_VARS(x, h)), m->w_f, m->b_f));
    wf_var *g = wf_mul(t, f, h); /* (B, H) */
    wf_var *c = wf_tanh(t, wf_affine(t, wf_concat(t, -1, WF_VARS(x, g)), m->w_c, m->b_c));
    state[0] = wf_lerp(t, h, c, f); /* (B, H) */
}

static const wf_cell mgu_cell = {
    .name = "mgu",
    .size = sizeof(mgu),
    .step = mgu_step,
    .states = WF_STATES(WF_STATE("h", WF_HIDDEN)),
    .params = WF_PARAMS(
        WF_PARAM(mgu, w_f, WF_HIDDEN, WF_INPUT + WF_HIDDEN), WF_PARAM(mgu, b_f, WF_HIDDEN),
        WF_PARAM(mgu, w_c, WF_HIDDEN, WF_INPUT + WF_HIDDEN), WF_PARAM(mgu, b_c, WF_HIDDEN)),
};

enum { LETTERS = 8, TIME = 20, BATCH = 32, HIDDEN = 32, STEPS = 600 };

/* BATCH strings of random letters and random lengths; what is asked for is each one's first
 * letter. */
static void draw(int64_t step, int32_t ids[TIME][BATCH], int32_t lengths[BATCH],
                 int32_t first[BATCH])
{
    uint64_t key = wf_key_with(7, (uint64_t)step);
    for (int b = 0; b < BATCH; b++) {
        for (int i = 0; i < TIME; i++)
            ids[i][b] = (int32_t)wf_random_below(key, (uint64_t)(i * BATCH + b), LETTERS);
        lengths[b] = (int32_t)(TIME / 2 +
                               wf_random_below(key, (uint64_t)(TIME * BATCH + b), TIME / 2 + 1));
        first[b] = ids[0][b];
    }
}

int main(void)
{
    wf_report report = wf_cell_check(&mgu_cell, NULL);
    if (!report.ok) return fprintf(stderr, "%s\n", report.text), 1;
    printf("mgu: %lld derivatives proved, the worst off by %.0e of its Jacobian's largest\n",
           (long long)report.checked, report.worst);

    wf_error err = { { 0 } };
    wf_module *net = wf_module_new("first_letter", &(wf_module_options){ .seed = 1 });
    wf_embedding *embed = wf_embedding_new(
        net, "embed", &(wf_embedding_options){ .input = LETTERS, .output = 16 });
    wf_rnn *rnn = wf_rnn_new(net, "rnn", &mgu_cell,
                             &(wf_rnn_options){ .input = 16, .hidden = HIDDEN });
    wf_linear *head = wf_linear_new(net, "head",
                                    &(wf_linear_options){ .input = HIDDEN, .output = LETTERS });
    wf_adam_options options = wf_adam_defaults();
    options.lr = 1e-2;
    wf_optim *adam = wf_adam_new(net, &options);
    wf_tape *t = wf_tape_new(NULL);
    if (!wf_module_ok(net, &err)) return fprintf(stderr, "%s\n", err.text), 1;

    int step = 1;
    double right = 0;
    for (; step <= STEPS; step++) {
        int32_t ids[TIME][BATCH], lengths[BATCH], first[BATCH];
        draw(step, ids, lengths, first);
        wf_tensor letters = wf_tensor_of(WF_I32, WF_SHAPE(TIME, BATCH), ids);
        wf_tensor target = wf_tensor_of(WF_I32, WF_SHAPE(BATCH), first);
        wf_tape_reset(t);
        wf_var *last[1];
        wf_var *x = wf_embedding_forward(t, embed,
                                         wf_constant_tensor(t, &letters)); /* (T, B, 16) */
        wf_rnn_forward(t, rnn, x,
                       &(wf_rnn_call){ .lengths = wf_constant(t, WF_I32, WF_SHAPE(BATCH), lengths),
                                       .final = last });
        wf_var *h = wf_select(t, last[0], 0, 0);   /* (B, H) */
        wf_var *y = wf_linear_forward(t, head, h); /* (B, LETTERS) */
        wf_var *loss = wf_cross_entropy(t, y, &target);
        if (!wf_backward(t, loss)) break;
        wf_optim_clip_norm(adam, 1.0);
        wf_optim_step(adam);
        for (int b = 0; b < BATCH; b++) {
            int best = 0;
            for (int k = 1; k < LETTERS; k++)
                if (wf_at(y, b * LETTERS + k) > wf_at(y, b * LETTERS + best)) best = k;
            right += best == first[b];
        }
        if (step % 100 == 0) {
            printf("step %3d  loss %.4f  right %5.1f %%\n", step, wf_item(loss), right / BATCH);
            right = 0;
        }
    }
    wf_tape_free(t);
    wf_optim_free(adam);
    wf_module_free(net);
    return step <= STEPS;
}
