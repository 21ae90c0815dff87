/* How gradients vanish and explode: the Jacobian dh_T / dh_t of recurrent nets as they begin, by
 * one sweep, and its largest singular value. Linear nets are held against the closed form: W^(T -
 * t), and sigma^(T - t) where W is sigma times an orthogonal matrix, or symmetric of that norm.
 *
 * Expected, after a second: off by 2e-14 of it at most (status 1 above 1e-10). Over 100 steps a
 * tanh net keeps 2e-26, with an orthogonal start 3e-8; relu from the identity (Le et al. 2015) all;
 * gates alone 3e-20, with a forget bias of 2 1.5e-4 (GRU) and 1e-2 (LSTM), with chrono start 0.2;
 * large weights explode to 7e5. Clipping shortens a gradient, near and far parts alike: what has
 * vanished stays so. Truncation leaves what is near as it was, and nothing of the rest. */
#include <weft.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    const char *csv, *svg;
    int64_t steps, hidden, truncate, seed;
    double sigma, clip;
} options;

enum { INPUT = 8, STEPS = 500, HIDDEN = 64 };

static const wf_option rows[] = {
    { WF_OPTION(options, steps), "N", "from the first state to the last", 0, 2, STEPS },
    { WF_OPTION(options, hidden), "N", "units", 0, 2, HIDDEN },
    { WF_OPTION(options, sigma), "X", "scale of the linear nets' matrices", 0, 0.5, 2 },
    { WF_OPTION(options, clip), "X", "the most that the clipped gradient is", 0, 1e-6, 1e6 },
    { WF_OPTION(options, truncate), "N", "steps that the truncated one goes back", 0, 1, STEPS },
    { WF_OPTION(options, seed), "N", "of weights and inputs" },
    { WF_OPTION(options, csv), "FILE", "writes a line for each distance, a column for each net" },
    { WF_OPTION(options, svg), "FILE", "draws them" },
};

typedef struct flow {
    const char *name;
    wf_rnn *(*make)(wf_module *parent, const char *name, const wf_rnn_options *options);
    wf_init start; /* of the weights over the state; zero: the layer's own */
    double forget; /* what the forget gate begins with */
    bool relu, large, chrono, clipped, truncated;
    double norm[STEPS + 1]; /* the largest singular value of dh_T / d(state t), by T - t */
    double off;             /* of a linear net: how far from the closed form, as a part of it */
} flow;

#define START(kind) .start = { WF_INIT_##kind }
static flow flows[] = {
    { "linear, orthogonal", START(ORTHOGONAL) },
    { "linear, symmetric", START(ORTHOGONAL) },
    { "linear, random", START(NORMAL) },
    { "tanh", .make = wf_elman_new },
    { "tanh, orthogonal", .make = wf_elman_new, START(ORTHOGONAL) },
    { "tanh, orthogonal, truncated", .make = wf_elman_new, START(ORTHOGONAL), .truncated = true },
    { "tanh, large", .make = wf_elman_new, START(NORMAL), .large = true },
    { "tanh, large, clipped", .make = wf_elman_new, START(NORMAL), .large = true, .clipped = true },
    { "relu, identity", .make = wf_elman_new, START(IDENTITY), .relu = true },
    { "GRU", .make = wf_gru_new },
    { "GRU, forget bias 2", .make = wf_gru_new, .forget = 2 },
    { "LSTM", .make = wf_lstm_new },
    { "LSTM, forget bias 2", .make = wf_lstm_new, .forget = 2 },
    { "LSTM, chrono", .make = wf_lstm_new, .chrono = true },
};
enum { FLOWS = sizeof flows / sizeof *flows, SYMMETRIC = 1 };

/* ---- matrices ---- */

/* The largest singular value of a (n, m), by power iteration on a' a. */
static double largest(const double *a, int64_t n, int64_t m)
{
    double v[2 * HIDDEN], w[HIDDEN], most = 0, size = 0, before = -1;
    for (int64_t i = 0; i < n * m; i++) most = fmax(most, fabs(a[i]));
    for (int64_t k = 0; k < m; k++) v[k] = 1 + wf_random_uniform(1, (uint64_t)k);
    for (int round = 0; most > 0 && round < 400 && size != before; round++) {
        double length = 0;
        for (int64_t k = 0; k < m; k++) length += v[k] * v[k];
        for (int64_t k = 0; k < m; k++) v[k] /= sqrt(length);
        before = size, size = 0;
        for (int64_t i = 0; i < n; i++) {
            w[i] = 0;
            for (int64_t k = 0; k < m; k++) w[i] += a[i * m + k] / most * v[k];
            size += w[i] * w[i];
        }
        memset(v, 0, sizeof v);
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < m; k++) v[k] += a[i * m + k] / most * w[i];
    }
    return sqrt(size) * most;
}

/* c = a b, all (n, n). */
static void multiply(double *c, const double *a, const double *b, int64_t n)
{
    for (int64_t i = 0; i < n * n; i++) c[i] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++)
            for (int64_t j = 0; j < n; j++) c[i * n + j] += a[i * n + k] * b[k * n + j];
}

/* |a - b| / |b|, in the norm of Frobenius. */
static double distance(const double *a, const double *b, int64_t n)
{
    double off = 0, size = 0, most = 0;
    for (int64_t i = 0; i < n * n; i++) most = fmax(most, fabs(b[i]));
    for (int64_t i = 0; i < n * n; i++) {
        off += pow((a[i] - b[i]) / most, 2);
        size += pow(b[i] / most, 2);
    }
    return sqrt(off / size);
}

/* ---- what is measured ---- */

/* The matrix of a linear net h_t = W h_{t-1} + x_t: sigma times an orthogonal one; a symmetric one
 * whose largest eigenvalue is sigma and whose others are at most 0.9 of that; numbers at random. */
static wf_var *linear_matrix(wf_module *net, const flow *f, const options *o)
{
    const int64_t n = o->hidden;
    const bool symmetric = f == &flows[SYMMETRIC];
    wf_init init = f->start; /* orthogonal: .a times such a matrix; normal: .b is the deviation */
    if (init.kind == WF_INIT_ORTHOGONAL && !symmetric) init.a = o->sigma;
    init.b = o->sigma / sqrt((double)n);
    wf_var *w = wf_param_new(net, "w", WF_SHAPE(n, n), init);
    if (!w || !symmetric) return w;
    static double q[HIDDEN * HIDDEN], scaled[HIDDEN * HIDDEN];
    double *a = wf_param_value(w)->data;
    for (int64_t i = 0; i < n * n; i++) {
        const double u = i % n ? 1.8 * wf_random_uniform(2, (uint64_t)(i % n)) - 0.9 : 1;
        scaled[i] = o->sigma * u * a[i];
        q[i % n * n + i / n] = a[i];
    }
    multiply(a, scaled, q, n);
    wf_param_changed(w);
    return w;
}

static wf_rnn *make_layer(wf_module *net, const flow *f, const options *o)
{
    const wf_elman_cell relu = { .relu = true };
    wf_rnn_options how = { .input = INPUT, .hidden = o->hidden, .init_hidden = f->start };
    if (f->large) how.init_hidden.b = 2 / sqrt((double)o->hidden);
    if (f->relu) how.prototype = &relu, how.init_bias.kind = WF_INIT_CONSTANT;
    if (f->chrono) how.chrono = (double)o->steps;
    how.forget_bias = f->forget;
    return f->make(net, "rnn", &how);
}

/* What is known of a linear net: dh_T / dh_t is W^(T - t), and of the first two its norm is sigma
 * to that power. Called with distances 1, 2, 3 .. */
static void compare(flow *f, const options *o, const double *w, const double *measured, int64_t d)
{
    static double power[HIDDEN * HIDDEN], before[HIDDEN * HIDDEN];
    const int64_t n = o->hidden;
    memcpy(before, power, sizeof before);
    if (d == 1)
        memcpy(power, w, sizeof *w * (size_t)(n * n));
    else
        multiply(power, w, before, n);
    if (!(f->norm[d] > 1e-280)) return; /* soon below what a double holds in full */
    f->off = fmax(f->off, distance(measured, power, n));
    if (f <= &flows[SYMMETRIC])
        f->off = fmax(f->off, fabs(f->norm[d] / pow(o->sigma, (double)d) - 1));
}

/* Runs one sequence of noise as n equal ones, whose last state's cotangent is the identity: the
 * gradients of a state are then the rows of dh_T / d(state). */
static bool measure(flow *f, const options *o, wf_tape *t, wf_module *net)
{
    static double unit[HIDDEN * HIDDEN], noise[HIDDEN], rows_of[2 * HIDDEN * HIDDEN];
    static wf_var *wrt[2 * STEPS], *grad[2 * STEPS];
    const int64_t n = o->hidden, T = o->steps;
    const int states = f->make == wf_lstm_new ? 2 : 1;
    wf_var *state[2] = { wf_leaf(t, WF_F64, WF_SHAPE(1, n, n), NULL),
                         wf_leaf(t, WF_F64, WF_SHAPE(1, n, n), NULL) };
    wf_rnn *rnn = f->make ? make_layer(net, f, o) : NULL;
    wf_var *w = f->make ? NULL : linear_matrix(net, f, o);
    for (int64_t i = 0; i < T; i++) {
        const int64_t wide = rnn ? INPUT : n;
        if (f->truncated && i == T - o->truncate) state[0] = wf_leaf_tensor(t, wf_value(state[0]));
        for (int k = 0; k < states; k++) wrt[i * states + k] = state[k];
        for (int64_t k = 0; k < wide; k++)
            noise[k] = wf_random_normal((uint64_t)o->seed, (uint64_t)(i * HIDDEN + k));
        wf_var *x = wf_expand(t, wf_constant(t, WF_F64, WF_SHAPE(1, wide), noise),
                              WF_SHAPE(n, wide));
        if (rnn)
            wf_rnn_step(t, rnn, x, state);
        else
            state[0] = wf_add(t, wf_affine(t, state[0], w, NULL), x);
    }
    for (int64_t i = 0; i < n * n; i++) unit[i] = i % (n + 1) == 0;
    wf_var *identity = wf_constant(t, WF_F64, WF_SHAPE(1, n, n), unit);
    if (!wf_grad(t, 1, state, &identity, (int)T * states, wrt, grad, NULL)) return false;
    double scale = 1;
    if (f->clipped) { /* gradients of the weights become shorter, and all that is in them */
        const wf_sgd_options sgd = wf_sgd_defaults();
        wf_optim *optim = wf_sgd_new(net, &sgd);
        const bool ok = wf_backward_from(t, 1, state, &identity);
        scale = fmin(1, o->clip / wf_optim_clip_norm(optim, o->clip));
        wf_optim_free(optim);
        if (!ok) return false;
    }
    f->norm[0] = scale;
    for (int64_t i = T - 1; i >= 0; i--) {
        for (int64_t k = 0; k < states * n * n; k++) /* (n, states n) */
            rows_of[k] = wf_at(grad[i * states + k / n % states], k / n / states * n + k % n);
        f->norm[T - i] = scale * largest(rows_of, n, states * n);
        if (w) compare(f, o, wf_param_value(w)->data, rows_of, T - i);
    }
    return true;
}

/* ---- what is shown ---- */

static void print_table(const options *o)
{
    const int64_t T = o->steps, at[] = { 1, (T + 9) / 10, (T + 3) / 4, (T + 1) / 2, T };
    printf("%-28s", "|dh_T / dh_t|, T - t =");
    for (int i = 0; i < 5; i++) printf("%9lld", (long long)at[i]);
    printf("   a step\n");
    for (const flow *f = flows; f < flows + FLOWS; f++) {
        printf("%-28s", f->name);
        for (int i = 0; i < 5; i++) printf("%9.1e", f->norm[at[i]]);
        printf("%9.4f\n", pow(f->norm[T] / f->norm[1], 1 / (double)(T - 1)));
    }
}

static bool write_csv(const options *o, wf_error *error)
{
    static char text[(STEPS + 2) * (FLOWS + 1) * 32];
    size_t n = (size_t)sprintf(text, "distance");
    for (int i = 0; i < FLOWS; i++) n += (size_t)sprintf(text + n, ",\"%s\"", flows[i].name);
    for (int64_t d = 0; d <= o->steps; d++) {
        n += (size_t)sprintf(text + n, "\n%lld", (long long)d);
        for (int i = 0; i < FLOWS; i++) n += (size_t)sprintf(text + n, ",%.17g", flows[i].norm[d]);
    }
    text[n++] = '\n';
    return wf_file_write(o->csv, text, (int64_t)n, error);
}

static bool write_svg(const options *o, wf_error *error)
{
    wf_svg_line lines[FLOWS] = { 0 };
    for (int i = 0; i < FLOWS; i++) {
        lines[i].name = flows[i].name;
        lines[i].y = wf_tensor_of(WF_F64, WF_SHAPE(o->steps + 1), flows[i].norm);
        lines[i].dashed = i >= 10 || flows[i].clipped;
        lines[i].points = i == SYMMETRIC || flows[i].truncated; /* they lie on others */
    }
    const wf_svg_options how = { .title = "How far a gradient reaches",
                                 .x_label = "steps back, T - t",
                                 .y_label = "|dh_T / dh_t|",
                                 .log_y = true,
                                 .width = 900,
                                 .height = 560 };
    char *figure = wf_svg_curves(lines, FLOWS, &how, error);
    const bool ok = figure && wf_svg_save(o->svg, figure, error);
    wf_release(figure);
    return ok;
}

/* ---- the program ---- */

static bool run(const options *o, wf_error *error)
{
    double worst = 0;
    for (flow *f = flows; f < flows + FLOWS; f++) {
        const wf_module_options how = { .seed = (uint64_t)o->seed, .dtype = WF_F64 };
        wf_module *net = wf_module_new("net", &how);
        wf_tape *t = wf_tape_new(NULL);
        const bool made = measure(f, o, t, net);
        if (!made && wf_module_ok(net, error)) wf_error_set(error, "%s", wf_tape_error(t));
        wf_tape_free(t);
        wf_module_free(net);
        if (!made) return false;
        worst = fmax(worst, f->off);
    }
    print_table(o);
    printf("the linear nets against sigma^(T - t) and W^(T - t): off by %.1e of it at most\n",
           worst);
    if (!(worst <= 1e-10)) return wf_error_set(error, "the linear nets are off by more than 1e-10");
    return (!o->csv || write_csv(o, error)) && (!o->svg || write_svg(o, error));
}

int main(int argc, char *argv[])
{
    options o = { .steps = 100, .hidden = 32, .truncate = 50, .seed = 1, .sigma = 0.9, .clip = 1 };
    wf_options table = WF_OPTIONS(rows, &o);
    wf_error error = { "" };
    bool help = false, ok = wf_options_read(&table, 1, argc, argv, &help, &error);
    if (help) {
        char text[4096];
        wf_options_text(&table, 1, "gradient_flow", "Measures how gradients vanish and explode.",
                        text, sizeof text);
        return fputs(text, stdout), 0;
    }
    if (ok && wf_file_same(o.csv, o.svg))
        ok = wf_error_set(&error, "option --svg: %s would replace the CSV file", o.svg);
    ok = ok && (!o.csv || wf_file_can_write(o.csv, &error)) &&
         (!o.svg || wf_file_can_write(o.svg, &error)) && run(&o, &error);
    if (!ok) fprintf(stderr, "gradient_flow: %s\n", error.text);
    return !ok;
}
