/* Pointwise ops of one's own, a line each: mish (Misra 2019), proved by the checker and used to fit
 * a curve; and a tanh, to see that such a line is as fast as an op of the library. */
#include <weft.h>

#include <autograd/pointwise.h>

#include <stdio.h>
#include <time.h>

WF_POINTWISE_1(mish, "a tanh(softplus(a))", a * TANH(SOFTPLUS(a)),
               g * (TANH(SOFTPLUS(a)) +
                    a * SIGMOID(a) * (R(1) - TANH(SOFTPLUS(a)) * TANH(SOFTPLUS(a)))),
               wf_mul(t, G, wf_add(t, wf_tanh(t, wf_softplus(t, A)),
                                   wf_mul(t, wf_mul(t, A, wf_sigmoid(t, A)),
                                          wf_rsub_scalar(t, wf_square(t, wf_tanh(t,
                                              wf_softplus(t, A))), 1)))),
               READS_A, -2, 2, 0)
WF_POINTWISE_1(my_tanh, "hyperbolic tangent of a", TANH(a), g * (R(1) - y * y),
               wf_mul(t, G, wf_rsub_scalar(t, wf_square(t, Y), 1)), READS_Y, -2, 2, 0)

enum { POINTS = 64, HIDDEN = 32, STEPS = 500, ELEMENTS = 1000000, TURNS = 200 };

static double milliseconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* The shortest time of each, in turns. */
static void compare(wf_tape *t)
{
    double shortest[2] = { 1e9, 1e9 };
    for (int turn = 0; turn < TURNS; turn++) {
        wf_tape_reset(t);
        wf_var *x = wf_full(t, WF_F32, WF_SHAPE(ELEMENTS), 0.3);
        for (int mine = 0; mine < 2; mine++) {
            const double before = milliseconds();
            const wf_var *y = mine ? my_tanh(t, x) : wf_tanh(t, x);
            const double took = milliseconds() - before;
            if (y && took < shortest[mine]) shortest[mine] = took;
        }
    }
    printf("tanh of %d numbers: wf_tanh %.3f ms, my_tanh %.3f ms (%.2f)\n", ELEMENTS, shortest[0],
           shortest[1], shortest[1] / shortest[0]);
}

int main(void)
{
    const wf_report report = wf_op_check(&mish_row, NULL);
    if (!report.ok) return fprintf(stderr, "%s\n", report.text), 1;
    printf("mish: %lld derivatives proved\n", (long long)report.checked);

    wf_error err = { { 0 } };
    wf_module *net = wf_module_new("curve", &(wf_module_options){ .seed = 1 });
    wf_linear *body = wf_linear_new(net, "body",
                                    &(wf_linear_options){ .input = 1, .output = HIDDEN });
    wf_linear *head = wf_linear_new(net, "head",
                                    &(wf_linear_options){ .input = HIDDEN, .output = 1 });
    wf_adam_options options = wf_adam_defaults();
    options.lr = 1e-2;
    wf_optim *adam = wf_adam_new(net, &options);
    wf_tape *t = wf_tape_new(NULL);
    if (!wf_module_ok(net, &err)) return fprintf(stderr, "%s\n", err.text), 1;

    double first = 0, last = 0;
    int step = 0;
    for (; step < STEPS; step++) {
        wf_tape_reset(t);
        wf_var *x = wf_reshape(t, wf_arange(t, WF_F32, -2, 2, 4.0 / POINTS), WF_SHAPE(POINTS, 1));
        wf_var *y = wf_linear_forward(t, head, mish(t, wf_linear_forward(t, body, x)));
        wf_var *loss = wf_mse(t, y, wf_sin(t, wf_mul_scalar(t, x, 3)));
        if (!wf_backward(t, loss) || !wf_optim_step(adam)) break;
        last = wf_item(loss);
        if (step == 0) first = last;
    }
    printf("sin(3 x) by %d units of mish: mean square off %.4f, after %d steps %.4f\n", HIDDEN,
           first, STEPS, last);
    compare(t);
    wf_tape_free(t);
    wf_optim_free(adam);
    wf_module_free(net);
    return step < STEPS;
}
