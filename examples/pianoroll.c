/* Several labels at once: which notes of a piano sound next. Songs are made up here, chords of a
 * progression in one of three patterns, every song in a key of its own; an LSTM reads the roll and
 * gives the odds of each note (binary cross-entropy), and is judged on songs that it has not seen.
 *
 * Expected after 2,000 steps (about fifteen seconds): F1 about 0.94, where playing the last frame
 * again has 0.62. */
#include <weft.h>

#include <stdio.h>
#include <string.h>

enum { T = 48, B = 32, NOTES = 36, HIDDEN = 96, STEPS = 2000, TESTS = 8 };

/* Frames 0 .. T of song `number` in column b: 1 where a note sounds. */
static void make_song(uint64_t number, int b, float roll[T + 1][B][NOTES])
{
    static const int progression[3][4] = { { 0, 7, 9, 5 }, { 0, 5, 7, 0 }, { 9, 5, 0, 7 } };
    uint64_t key = wf_key_with(7, number);
    const int *roots = progression[wf_random_below(key, 0, 3)];
    int tonic = (int)wf_random_below(key, 1, 12), pattern = (int)wf_random_below(key, 2, 3);
    for (int i = 0; i <= T; i++) {
        int degree = roots[i / 8 % 4], minor = degree == 9;
        int chord[3] = { degree, degree + (minor ? 3 : 4), degree + 7 };
        memset(roll[i][b], 0, sizeof roll[i][b]);
        for (int k = 0; k < 3; k++) {
            bool sounds = pattern == 0   ? true                  /* the whole chord */
                          : pattern == 1 ? i % 3 == k            /* one note after another */
                                         : k == 0 || i % 4 == k; /* a bass, the others in turn */
            if (sounds) roll[i][b][(tonic + chord[k]) % NOTES] = 1;
        }
        if (i % 8 == 0)
            roll[i][b][24 + (tonic + degree) % 12] = 1; /* each chord begins with a bell */
    }
}

/* Twice the true positives over what was said and what was so. */
typedef struct f1 {
    double both, said, so;
} f1;

static void judge(f1 *f, const wf_var *logits, const float *said, const float *so, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        bool yes = logits ? wf_at(logits, i) > 0 : said[i] > 0;
        f->both += yes && so[i] > 0;
        f->said += yes;
        f->so += so[i] > 0;
    }
}

int main(void)
{
    static float roll[T + 1][B][NOTES];
    wf_module *net = wf_module_new("pianoroll", &(wf_module_options){ .seed = 1 });
    wf_rnn *rnn = wf_lstm_new(net, "rnn", &(wf_rnn_options){ .input = NOTES, .hidden = HIDDEN });
    wf_linear *head = wf_linear_new(net, "head",
                                    &(wf_linear_options){ .input = HIDDEN, .output = NOTES });
    wf_adam_options how = wf_adam_defaults();
    how.lr = 5e-3;
    wf_optim *adam = wf_adam_new(net, &how);
    wf_tape *t = wf_tape_new(NULL);
    wf_error why = { { 0 } };
    if (!wf_module_ok(net, &why)) return fprintf(stderr, "%s\n", why.text), 1;

    f1 model = { 0 }, again = { 0 };
    bool ok = true;
    for (int step = 0; ok && step < STEPS + TESTS; step++) {
        bool learns = step < STEPS;
        for (int b = 0; b < B; b++) make_song((uint64_t)(step * B + b), b, roll);
        wf_tape_reset(t);
        wf_tape_set_mode(t, learns ? WF_TRAIN : WF_INFER);
        wf_var *x = wf_constant(t, WF_F32, WF_SHAPE(T, B, NOTES), roll[0]);
        wf_tensor next = wf_tensor_of(WF_F32, WF_SHAPE(T, B, NOTES), roll[1]);
        wf_var *logits = wf_linear_forward(t, head,
                                           wf_rnn_forward(t, rnn, x, NULL)); /* (T, B, NOTES) */
        wf_var *loss = wf_binary_cross_entropy(t, logits, &next);
        if (learns) {
            ok = wf_backward(t, loss);
            wf_optim_clip_norm(adam, 1);
            ok = ok && wf_optim_step(adam);
            if (step % 400 == 399) printf("step %3d  loss %.4f\n", step + 1, wf_item(loss));
        } else {
            int64_t last = (int64_t)(T - 1) * B *
                           NOTES; /* all but the last frame have been read twice */
            judge(&model, logits, NULL, &roll[1][0][0], last);
            judge(&again, NULL, &roll[0][0][0], &roll[1][0][0], last);
            ok = wf_tape_ok(t);
        }
    }
    if (ok)
        printf("F1 of the next frame's notes: %.3f; of the last frame played again: %.3f\n",
               2 * model.both / (model.said + model.so), 2 * again.both / (again.said + again.so));
    wf_tape_free(t);
    wf_optim_free(adam);
    wf_module_free(net);
    return !ok;
}
