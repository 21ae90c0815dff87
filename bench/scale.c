/* What must grow no faster than the problem: the time of a training step with the length of the
 * sequence, that of building, saving, loading and stepping with the number of parameters; and how
 * exact a gradient is that very many rows share. usage: scale [FOLDER], the folder for a file of
 * 20,000 parameters (default: the current one). */
#include "bench/timing.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static int failed(const char *what)
{
    fprintf(stderr, "scale: %s\n", what);
    return 1;
}

/* Microseconds per time step of a GRU with a loss on all outputs, forward and backward: the median
 * of `runs` after the first two, in which memory is asked for. NaN after a failure. */
static double step_time(int64_t time, int64_t batch, int64_t hidden, int runs)
{
    double seconds[64] = { 0 };
    wf_module *net = wf_module_new("net", NULL);
    wf_rnn *rnn = wf_gru_new(net, "rnn",
                             &(wf_rnn_options){ .input = 8, .hidden = hidden, .stepwise = true });
    wf_tape *t = wf_tape_new(NULL);
    float *x = calloc((size_t)(time * batch) * 8, sizeof *x);
    bool ok = x && wf_module_ok(net, NULL);
    for (int64_t i = 0; ok && i < time * batch * 8; i++)
        x[i] = (float)wf_random_normal(1, (uint64_t)i);
    for (int i = 0; ok && i < runs + 2; i++) {
        double begun = now();
        wf_tape_reset(t);
        wf_var *y = wf_rnn_forward(t, rnn, wf_constant(t, WF_F32, WF_SHAPE(time, batch, 8), x),
                                   NULL);
        ok = wf_backward(t, wf_mean(t, wf_square(t, y), NULL));
        if (i >= 2) seconds[i - 2] = now() - begun;
    }
    free(x);
    wf_tape_free(t);
    wf_module_free(net);
    for (int i = 1; i < runs; i++)
        for (int k = i; k > 0 && seconds[k] < seconds[k - 1]; k--) {
            double other = seconds[k];
            seconds[k] = seconds[k - 1], seconds[k - 1] = other;
        }
    return ok ? 1e6 * seconds[runs / 2] / (double)time : (double)NAN;
}

static wf_module *many_params(int n)
{
    wf_module *root = wf_module_new("many", NULL), *part = NULL;
    for (int i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, i % 100 ? "w%d" : "part%d", i % 100 ? i % 100 : i / 100);
        if (i % 100 == 0) part = wf_module_child(root, name), strcpy(name, "w0");
        wf_param_new(part, name, WF_SHAPE(4), (wf_init){ .kind = WF_INIT_NORMAL, .b = 1 });
    }
    return root;
}

static bool params(int n, const char *path)
{
    wf_error err = { { 0 } };
    double begun = now();
    wf_module *net = many_params(n);
    double built = now() - begun;
    begun = now();
    bool ok = wf_module_save(net, path, NULL, 0, &err);
    double saved = now() - begun;
    begun = now();
    ok = ok && wf_module_load(net, path, &err);
    double loaded = now() - begun;
    begun = now();
    wf_optim *adam = wf_adam_new(net, NULL);
    double made = now() - begun;
    for (int64_t i = 0; i < wf_module_param_count(net); i++) ok = ok && wf_module_param_at(net, i);
    wf_tape *t = wf_tape_new(NULL);
    begun = now();
    wf_var *loss = wf_full(t, WF_F32, WF_SHAPE(4), 0);
    for (int64_t i = 0; i < wf_module_param_count(net); i++)
        loss = wf_add(t, loss, wf_module_param_at(net, i));
    ok = ok && wf_backward(t, wf_sum(t, loss, NULL));
    wf_optim_clip_norm(adam, 1);
    ok = wf_optim_step(adam) && ok;
    double stepped = now() - begun;
    wf_tape_free(t);
    wf_optim_free(adam);
    ok = wf_module_ok(net, &err) && ok;
    wf_module_free(net);
    unlink(path);
    if (!ok) return !failed(err.text[0] ? err.text : "the parameters did not do");
    printf("%6d parameters: build %.3f s, save %.3f s, load %.3f s, an optimiser %.3f s, a "
           "training step %.3f s\n",
           n, built, saved, loaded, made, stepped);
    return true;
}

/* The bias of an affine over so many rows, the gradient of each being 0.1: the relative error. */
static bool shared(int64_t rows)
{
    wf_module *net = wf_module_new("net", NULL);
    wf_linear *layer = wf_linear_new(net, "layer", &(wf_linear_options){ .input = 3, .output = 5 });
    wf_tape *t = wf_tape_new(NULL);
    wf_var *y = wf_linear_forward(t, layer, wf_full(t, WF_F32, WF_SHAPE(rows, 3), 1));
    bool ok = wf_backward_from(t, 1, &y,
                               (wf_var *[]){ wf_full(t, WF_F32, WF_SHAPE(rows, 5), 0.1) });
    double want = (double)rows * (double)0.1f, bias = 0, weight = 0;
    for (int i = 0; ok && i < 5; i++)
        bias = fmax(bias, fabs(wf_tensor_at(wf_param_grad(layer->bias), i) - want) / want);
    for (int i = 0; ok && i < 15; i++)
        weight = fmax(weight, fabs(wf_tensor_at(wf_param_grad(layer->weight), i) - want) / want);
    wf_tape_free(t);
    wf_module_free(net);
    if (ok)
        printf(
            "%8lld rows of 0.1: relative error of the bias's gradient %.1e, of the weight's %.1e\n",
            (long long)rows, bias, weight);
    return ok || !failed("the sum failed");
}

int main(int argc, char **argv)
{
    if (argc > 2) return failed("usage: scale [FOLDER]");
    char path[4096];
    wf_format(path, sizeof path, "%s/scale.safetensors", argc > 1 ? argv[1] : ".");
    for (int64_t size = 1; size <= 4; size *= 4) {
        int64_t batch = 2 * size, hidden = 16 * size;
        double first = 0;
        printf("GRU, batch %lld, input 8, hidden %lld, a loss on all outputs, %d threads, %s\n",
               (long long)batch, (long long)hidden, wf_threads(), wf_isa_name(wf_isa_level()));
        for (int64_t time = 1000; time <= 100000; time *= 10) {
            double each = step_time(time, batch, hidden, time == 100000 ? 3 : 7);
            if (!(each > 0)) return failed("a step failed");
            if (time == 1000) first = each;
            printf("%8lld time steps: %.2f us each, %.2f times that of 1000\n", (long long)time,
                   each, each / first);
        }
    }
    bool ok = params(2000, path) && params(20000, path);
    for (int64_t rows = 16384; ok && rows <= 4194304; rows *= 16) ok = shared(rows);
    return !(ok && shared(1000000));
}
