/* What convolutions, pooling and batch_norm take on usual shapes: forward alone, and with the
 * gradients of all that goes in. A convolution stands beside a matrix product of as many
 * multiply-adds (a cube, row-major, all threads), taken in turn with it. `bench/conv PYTHON
 * bench/torch_conv.py` runs PYTHON SCRIPT THREADS OP SIZES before each row, which prints PyTorch's
 * times of the same. usage: conv [--threads N] [--only TEXT] [PYTHON SCRIPT] */
#include "bench/timing.h"

#include <math.h>
#include <string.h>

enum { MOST = 400 };
static const double least = 0.8; /* seconds for each row */

typedef enum kind { CONV, MAX_POOL, MEAN_POOL, BATCH_NORM } kind;
static const char *const kind_name[] = { "conv", "max_pool", "mean_pool", "batch_norm" };

/* x (samples, inputs, in), w (outputs, inputs / groups, kernel); of one axis the second sizes. */
typedef struct problem {
    const char *name;
    kind kind;
    int axes, samples, inputs, in[2], outputs, kernel[2], stride[2], padding[2], dilation[2],
        groups;
} problem;

#define LINE(n, c, l, o, k, p, d, g) 1, n, c, { 1, l }, o, { 1, k }, { 1, 1 }, { 0, p }, { 1, d }, g
#define PLANE(n, c, h, w, o, k, s, p, g)                                                           \
    2, n, c, { h, w }, o, { k, k }, { s, s }, { p, p }, { 1, 1 }, g

static const problem tried[] = {
    { "log-mel, width 5", CONV, LINE(32, 80, 200, 128, 5, 2, 1, 1) },
    { "words, width 3", CONV, LINE(32, 300, 50, 100, 3, 0, 1, 1) },
    { "words, width 4", CONV, LINE(32, 300, 50, 100, 4, 0, 1, 1) },
    { "words, width 5", CONV, LINE(32, 300, 50, 100, 5, 0, 1, 1) },
    { "causal, dilated by 8", CONV, LINE(16, 64, 1000, 64, 2, 8, 8, 1) },
    { "depthwise, width 15", CONV, LINE(32, 256, 200, 256, 15, 7, 1, 256) },
    { "3 -> 32, 3x3", CONV, PLANE(32, 3, 64, 64, 32, 3, 1, 1, 1) },
    { "32 -> 64, 3x3", CONV, PLANE(32, 32, 32, 32, 64, 3, 1, 1, 1) },
    { "64 -> 128, 3x3, stride 2", CONV, PLANE(32, 64, 32, 32, 128, 3, 2, 1, 1) },
    { "256 -> 64, 1x1", CONV, PLANE(32, 256, 16, 16, 64, 1, 1, 0, 1) },
    { "depthwise, 3x3", CONV, PLANE(32, 128, 32, 32, 128, 3, 1, 1, 128) },
    { "depthwise, 3x3, stride 2", CONV, PLANE(32, 128, 32, 32, 128, 3, 2, 1, 128) },
    { "128 -> 128, 4 groups", CONV, PLANE(32, 128, 16, 16, 128, 3, 1, 1, 4) },
    { "one picture, 3 -> 16", CONV, PLANE(1, 3, 32, 32, 16, 3, 1, 1, 1) },
    { "one picture, 32 -> 32", CONV, PLANE(1, 32, 28, 28, 32, 3, 1, 1, 1) },
    { "one letter, 1 -> 32, 5x5", CONV, PLANE(1, 1, 28, 28, 32, 5, 1, 2, 1) },
    { "letters, 1 -> 32, 5x5", CONV, PLANE(32, 1, 28, 28, 32, 5, 1, 2, 1) },
    { "largest of 2x2", MAX_POOL, PLANE(32, 64, 32, 32, 64, 2, 2, 0, 1) },
    { "largest of 3x3, stride 2", MAX_POOL, PLANE(32, 64, 32, 32, 64, 3, 2, 1, 1) },
    { "mean of 2x2", MEAN_POOL, PLANE(32, 64, 32, 32, 64, 2, 2, 0, 1) },
    { "mean of 3x3, stride 2", MEAN_POOL, PLANE(32, 64, 32, 32, 64, 3, 2, 1, 1) },
    { "of pictures", BATCH_NORM, PLANE(32, 64, 32, 32, 64, 1, 1, 0, 1) },
    { "of sequences", BATCH_NORM, LINE(32, 128, 200, 128, 1, 0, 1, 1) },
};

/* What of a row lies in memory, and the tape it is run on. */
typedef struct bench {
    const problem *p;
    wf_tape *t;
    wf_shape x, w, y;
    float *at[4]; /* x, w, b, and the cotangent */
    int threads;
} bench;

static wf_shape shape_of(int axes, int64_t a, int64_t b, const int size[2])
{
    return axes == 1 ? WF_SHAPE(a, b, size[1]) : WF_SHAPE(a, b, size[0], size[1]);
}

static wf_var *pooled(wf_tape *t, const problem *p, wf_var *x)
{
    const wf_pool2d_options o = { .kernel = { p->kernel[0], p->kernel[1] },
                                  .stride = { p->stride[0], p->stride[1] },
                                  .padding = { p->padding[0], p->padding[1] } };
    return p->kind == MAX_POOL ? wf_max_pool2d(t, x, &o) : wf_mean_pool2d(t, x, &o);
}

static wf_var *convolved(wf_tape *t, const problem *p, wf_var *const in[3])
{
    if (p->axes == 1)
        return wf_conv1d(t, in[0], in[1], in[2],
                         &(wf_conv1d_options){ .stride = p->stride[1],
                                               .padding = p->padding[1],
                                               .dilation = p->dilation[1],
                                               .groups = p->groups });
    return wf_conv2d(t, in[0], in[1], in[2],
                     &(wf_conv2d_options){ .stride = { p->stride[0], p->stride[1] },
                                           .padding = { p->padding[0], p->padding[1] },
                                           .dilation = { p->dilation[0], p->dilation[1] },
                                           .groups = p->groups });
}

static wf_var *run(const bench *b, wf_var *const in[3])
{
    const problem *p = b->p;
    if (p->kind == CONV) return convolved(b->t, p, in);
    if (p->kind != BATCH_NORM) return pooled(b->t, p, in[0]);
    return wf_batch_norm(b->t, in[0], in[1], in[2], NULL, 1e-5, NULL);
}

/* One step; seconds. */
static double step(bench *b, bool back)
{
    const problem *p = b->p;
    const wf_shape each = WF_SHAPE(p->outputs);
    wf_tape_reset(b->t);
    wf_tape_set_mode(b->t, back ? WF_TRAIN : WF_INFER);
    wf_var *in[3] = { wf_leaf(b->t, WF_F32, b->x, b->at[0]), NULL, NULL };
    if (p->kind == CONV || p->kind == BATCH_NORM) {
        in[1] = wf_leaf(b->t, WF_F32, p->kind == CONV ? b->w : each, b->at[1]);
        in[2] = wf_leaf(b->t, WF_F32, each, b->at[2]);
    }
    for (int i = 0; i < 3 && back; i++)
        if (in[i] && !wf_keep_grad(b->t, in[i])) exit(1);
    double begun = now(), took;
    wf_var *y = run(b, in);
    took = now() - begun;
    if (!y) exit(1); /* the reason has been said */
    b->y = wf_shape_of(y);
    if (!back) return took;
    if (!b->at[3]) b->at[3] = random_floats(wf_tensor_count(wf_value(y)), 3);
    wf_var *g = wf_constant(b->t, WF_F32, b->y, b->at[3]);
    begun = now();
    if (!wf_backward_from(b->t, 1, &y, &g)) exit(1);
    return took + now() - begun;
}

/* Seconds of a product of about `work` multiply-adds, as if it had exactly so many. */
static double product(double work, int threads, float *const at[3])
{
    const int64_t n = (int64_t)ceil(cbrt(work));
    const double begun = now();
    wf_gemm(threads, 1, wf_matrix_of(WF_F32, at[0], n, n), wf_matrix_of(WF_F32, at[1], n, n), 0,
            wf_matrix_of(WF_F32, at[2], n, n));
    return (now() - begun) * work / ((double)n * (double)n * (double)n);
}

static double work_of(const bench *b)
{
    const problem *p = b->p;
    double taps = (double)(p->inputs / p->groups) * p->kernel[0] * p->kernel[1];
    for (int k = 0; k < b->y.rank; k++) taps *= (double)b->y.dim[k];
    return taps;
}

/* ---- PyTorch ---- */

/* Its milliseconds, forward and both; false: there are none. */
static bool peer(const problem *p, const char *const script[2], int threads, double ms[2])
{
    char command[4096], line[256];
    bool found = false;
    snprintf(command, sizeof command,
             "'%s' '%s' %d %s %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d", script[0], script[1],
             threads, kind_name[p->kind], p->axes, p->samples, p->inputs, p->in[0], p->in[1],
             p->outputs, p->kernel[0], p->kernel[1], p->stride[0], p->stride[1], p->padding[0],
             p->padding[1], p->dilation[0], p->dilation[1], p->groups);
    FILE *of = popen(command, "r");
    while (of && fgets(line, sizeof line, of))
        found = sscanf(line, "forward %lf ms, both %lf ms", &ms[0], &ms[1]) == 2 || found;
    if (of) pclose(of);
    return found;
}

/* ---- rows ---- */

static void measure(const problem *p, int threads, const char *const script[2])
{
    bench b = { .p = p,
                .x = shape_of(p->axes, p->samples, p->inputs, p->in),
                .w = shape_of(p->axes, p->outputs, p->inputs / p->groups, p->kernel),
                .threads = threads };
    double took[3][MOST], other[2];
    float *cube[3] = { NULL };
    int n = 0;
    const bool compared = script[0] && peer(p, script, threads, other);
    b.t = wf_tape_new(&(wf_tape_options){ .threads = threads });
    b.at[0] = random_floats(wf_shape_count(&b.x), 0);
    b.at[1] = random_floats(wf_shape_count(&b.w) + p->outputs, 1);
    b.at[2] = random_floats(p->outputs, 2);
    step(&b, false);
    const double work = work_of(&b), side = ceil(cbrt(work));
    for (uint64_t i = 0; i < 3 && p->kind == CONV; i++)
        cube[i] = random_floats((int64_t)(side * side), 10 + i);
    for (int warm = 0; warm < 3; warm++) step(&b, true);
    for (double sum = 0; n < MOST && (sum < least || n < 5); n++) {
        took[0][n] = cube[0] ? product(work, threads, cube) : 0;
        took[1][n] = step(&b, false);
        took[2][n] = step(&b, true);
        sum += took[0][n] + took[1][n] + took[2][n];
    }
    const double one = median(took[0], n) * 1e3, forward = median(took[1], n) * 1e3;
    const double both = median(took[2], n) * 1e3;
    printf("%-10s %-26s forward %7.3f ms", kind_name[p->kind], p->name, forward);
    if (cube[0]) printf(" (%5.2f products)", forward / one);
    printf("  both %7.3f ms", both);
    if (cube[0]) printf(" (%5.2f)", both / (3 * one));
    if (compared)
        printf("  PyTorch %7.3f, %7.3f ms: %.2f, %.2f times as fast", other[0], other[1],
               other[0] / forward, other[1] / both);
    printf("\n");
    fflush(stdout);
    for (int i = 0; i < 4; i++) wf_release(b.at[i]);
    for (int i = 0; i < 3; i++) wf_release(cube[i]);
    wf_tape_free(b.t);
}

int main(int argc, char **argv)
{
    const char *script[2] = { NULL, NULL }, *only = "";
    int threads = wf_threads(), scripts = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--only") && i + 1 < argc)
            only = argv[++i];
        else if (argv[i][0] != '-' && scripts < 2)
            script[scripts++] = argv[i];
        else
            threads = 0;
    }
    if (threads < 1 || scripts == 1)
        return fprintf(stderr, "usage: conv [--threads N] [--only TEXT] [PYTHON SCRIPT]\n"), 1;
    printf("%s, dispatch level %s, %d threads; the products of `both` are three\n", wf_processor(),
           wf_isa_name(wf_isa_level()), threads);
    for (size_t i = 0; i < sizeof tried / sizeof tried[0]; i++)
        if (strstr(tried[i].name, only) || strstr(kind_name[tried[i].kind], only))
            measure(&tried[i], threads, script);
    return 0;
}
