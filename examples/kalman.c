/* A loop over time that is no cell: Kalman filters of 64 series of different lengths, with holes,
 * through which the gradient of their likelihood flows back (wf_scan). It learns how noisy the
 * motion and the measurement are. Expected: 0.3 and 2.0, which the series were made with, within a
 * tenth, and positions some 30 % closer to the truth than what was measured; in a second. */
#include <weft.h>

#include <math.h>
#include <stdio.h>

enum { B = 64, T = 80, STEPS = 120 };
static const double motion = 0.3, measurement = 2;

/* What is measured (T, B), where it was (1) and where there is a hole (0), and the truth. */
typedef struct series {
    double seen[T][B], there[T][B], truth[T][B];
    int32_t length[B];
} series;

static void make(series *s)
{
    for (int b = 0; b < B; b++) {
        double position = 0, velocity = wf_random_normal(1, (uint64_t)b);
        s->length[b] = (int32_t)(T / 2 + wf_random_below(2, (uint64_t)b, T / 2 + 1));
        for (int i = 0; i < s->length[b]; i++) {
            const uint64_t at = (uint64_t)(b * T + i);
            velocity += motion * wf_random_normal(3, at);
            position += velocity;
            s->truth[i][b] = position;
            s->there[i][b] = wf_random_uniform(4, at) < 0.8;
            if (s->there[i][b] > 0)
                s->seen[i][b] = position + measurement * wf_random_normal(5, at);
        }
    }
}

/* What every step refers to: F (2, 2) moves position and velocity on, q (2, 2) is the variance of
 * the motion, r () that of a measurement. */
typedef struct filter {
    wf_var *move, *q, *r;
} filter;

/* x: a measurement and whether it is there, (n) each; state: mean (n, 2) and covariance (n, 2, 2);
 * y: the position's estimate and minus the logarithm of the measurement's likelihood, (n) each. */
static void step(wf_tape *t, const void *context, wf_var *const x[], wf_var *state[], wf_var *y[])
{
    const filter *f = context;
    wf_var *back = wf_transpose(t, f->move, 0, 1);
    wf_var *mean = wf_matmul(t, state[0], back);
    wf_var *spread = wf_matmul(t, wf_matmul(t, f->move, state[1]), back); /* F P F' + Q */
    spread = wf_add(t, spread, f->q);
    wf_var *column = wf_select(t, spread, -1, 0);                    /* (n, 2) */
    wf_var *variance = wf_add(t, wf_select(t, column, -1, 0), f->r); /* (n) */
    wf_var *surprise = wf_sub(t, x[0], wf_select(t, mean, -1, 0));   /* (n) */
    wf_var *gain = wf_div(t, column, wf_unsqueeze(t, variance, -1));
    gain = wf_mul(t, gain, wf_unsqueeze(t, x[1], -1)); /* nothing is learned from a hole */
    state[0] = wf_add(t, mean, wf_mul(t, gain, wf_unsqueeze(t, surprise, -1)));
    state[1] = wf_sub(t, spread, wf_mul(t, wf_unsqueeze(t, gain, -1), wf_unsqueeze(t, column, 1)));
    y[0] = wf_select(t, state[0], -1, 0);
    wf_var *fit = wf_div(t, wf_square(t, surprise), variance);
    wf_var *loss = wf_add(t, fit, wf_log(t, wf_mul_scalar(t, variance, 2 * 3.14159265358979)));
    y[1] = wf_mul(t, x[1], wf_mul_scalar(t, loss, 0.5));
}

/* The estimates (T, B); *loss becomes the mean over all measurements. */
static wf_var *run(wf_tape *t, const series *s, wf_var *noises, wf_var **loss)
{
    wf_var *square = wf_exp(t, wf_mul_scalar(t, noises, 2)); /* (2): variances */
    const double f[] = { 1, 1, 0, 1 }, q[] = { 1, 1, 1, 1 }, p[] = { 0, 0, 0, 1 };
    wf_var *one = wf_constant(t, WF_F64, WF_SHAPE(2, 2), q);
    const filter what = { .move = wf_constant(t, WF_F64, WF_SHAPE(2, 2), f),
                          .q = wf_mul(t, one, wf_select(t, square, 0, 0)),
                          .r = wf_select(t, square, 0, 1) };
    wf_var *seen = wf_constant(t, WF_F64, WF_SHAPE(T, B), s->seen),
           *there = wf_constant(t, WF_F64, WF_SHAPE(T, B), s->there),
           *lengths = wf_constant(t, WF_I32, WF_SHAPE(B), s->length),
           *begin = wf_constant(t, WF_F64, WF_SHAPE(2, 2), p), *out[2];
    begin = wf_copy(t, wf_expand(t, begin, WF_SHAPE(B, 2, 2)));
    if (!wf_scan(t,
                 &(wf_scan_call){ .step = step,
                                  .context = &what,
                                  .sequences = WF_VARS(seen, there),
                                  .initial = WF_VARS(wf_zeros(t, WF_F64, WF_SHAPE(B, 2)), begin),
                                  .outputs = 2,
                                  .lengths = lengths },
                 out, NULL))
        return NULL;
    *loss = wf_div(t, wf_sum(t, out[1], NULL), wf_sum(t, there, NULL));
    return out[0];
}

int main(void)
{
    static series s;
    wf_module *net = wf_module_new("kalman", &(wf_module_options){ .dtype = WF_F64 });
    wf_var *noises = wf_param_new(net, "log_noises", WF_SHAPE(2), (wf_init){ 0 }), *loss;
    wf_adam_options options = wf_adam_defaults();
    options.lr = 0.05;
    wf_optim *adam = wf_adam_new(net, &options);
    wf_tape *t = wf_tape_new(NULL);
    bool ok = wf_module_ok(net, NULL);
    double wrong = 0, raw = 0;
    make(&s);
    for (int i = 0; ok && i < STEPS; i++) {
        wf_tape_reset(t);
        if (i == 2 * STEPS / 3) wf_optim_set_lr(adam, 0.01);
        wf_var *estimate = run(t, &s, noises, &loss);
        ok = estimate && wf_backward(t, loss) && wf_optim_step(adam);
        if (ok && i % 20 == 19)
            printf("step %3d  loss %.4f  motion %.3f  measurement %.3f\n", i + 1, wf_item(loss),
                   exp(wf_at(noises, 0)), exp(wf_at(noises, 1)));
        for (int k = 0; ok && i == STEPS - 1 && k < T * B; k++) {
            const int at = k / B, b = k % B;
            if (at >= s.length[b] || s.there[at][b] == 0) continue;
            wrong += pow(wf_at(estimate, k) - s.truth[at][b], 2);
            raw += pow(s.seen[at][b] - s.truth[at][b], 2);
        }
    }
    if (ok)
        printf("%.1f %% closer to the truth than what was measured\n",
               100 * (1 - sqrt(wrong / raw)));
    wf_tape_free(t), wf_optim_free(adam), wf_module_free(net);
    return !ok;
}
