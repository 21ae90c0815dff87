/* What is left of the speed beside other busy processes, which take their share of the processors
 * whenever one of ours waits: whole training steps, alone and beside so many endless loops, in
 * turn; and what it costs to share work out at all. usage: busy [PROCESSES], 1 if not given. */
#include "bench/timing.h"

#include <signal.h>
#include <unistd.h>

enum { MOST = 64, ROUNDS = 5 };

static int failed(const char *what)
{
    fprintf(stderr, "busy: %s\n", what);
    return 1;
}

/* ---- the others ---- */

static pid_t other[MOST];
static int others;

static void stop_others(void)
{
    for (int i = 0; i < others; i++) kill(other[i], SIGKILL);
}

/* Endless loops that are stopped until they are let go. They end with this process, whatever ends
 * it. */
static bool start_others(int n)
{
    const pid_t mine = getpid();
    for (; others < n; others++) {
        other[others] = fork();
        if (other[others] < 0) return false;
        if (other[others] > 0) {
            kill(other[others], SIGSTOP);
            continue;
        }
        for (volatile unsigned turns = 0;; turns++)
            if (turns % (1u << 20) == 0 && getppid() != mine) _exit(0);
    }
    return atexit(stop_others) == 0;
}

static void let_others(int signal)
{
    for (int i = 0; i < others; i++) kill(other[i], signal);
}

/* ---- what is timed: things of which `n` are done ---- */

typedef struct workload {
    wf_module *net;
    wf_embedding *embed;
    wf_rnn *rnn;
    wf_linear *head;
    wf_optim *adam;
    wf_tape *t;
    int64_t time, batch;
    bool ok;
} workload;

enum { LETTERS = 65 };

static workload model(wf_rnn *make(wf_module *, const char *, const wf_rnn_options *),
                      int64_t batch, int64_t time, int64_t hidden)
{
    workload w = { .net = wf_module_new("net", NULL), .time = time, .batch = batch };
    w.embed = wf_embedding_new(w.net, "embed",
                               &(wf_embedding_options){ .input = LETTERS, .output = hidden / 2 });
    w.rnn = make(w.net, "rnn",
                 &(wf_rnn_options){ .input = hidden / 2, .hidden = hidden, .layers = 2 });
    w.head = wf_linear_new(w.net, "head",
                           &(wf_linear_options){ .input = hidden, .output = LETTERS });
    w.adam = wf_adam_new(w.net, NULL);
    w.t = wf_tape_new(NULL);
    w.ok = wf_module_ok(w.net, NULL);
    return w;
}

static void free_model(workload *w)
{
    wf_tape_free(w->t);
    wf_optim_free(w->adam);
    wf_module_free(w->net);
}

static void train(void *work, int n)
{
    workload *w = work;
    static int32_t ids[1 << 16];
    const wf_tensor target = wf_tensor_of(WF_I32, WF_SHAPE(w->time, w->batch), ids);
    for (int64_t k = 0; k < w->time * w->batch; k++)
        ids[k] = (int32_t)wf_random_below(3, (uint64_t)k, LETTERS);
    for (int i = 0; i < n; i++) {
        wf_tape_reset(w->t);
        wf_var *x = wf_constant(w->t, WF_I32, WF_SHAPE(w->time, w->batch), ids);
        wf_var *y = wf_rnn_forward(w->t, w->rnn, wf_embedding_forward(w->t, w->embed, x), NULL);
        wf_var *loss = wf_cross_entropy(w->t, wf_linear_forward(w->t, w->head, y), &target);
        w->ok = wf_backward(w->t, loss) && w->ok;
        wf_optim_clip_norm(w->adam, 1);
        w->ok = wf_optim_step(w->adam) && w->ok;
    }
}

static void nothing(void *context, int64_t begin, int64_t end)
{
    (void)context, (void)begin, (void)end;
}

static void share_out(void *work, int n)
{
    (void)work;
    for (int i = 0; i < n; i++) wf_par_for(wf_threads(), wf_threads(), 1, nothing, NULL);
}

static void meet_often(void *context, wf_team *team, int id, int size)
{
    (void)id, (void)size;
    for (int i = *(const int *)context; i > 0; i--) wf_team_barrier(team);
}

static void meet(void *work, int n)
{
    (void)work;
    wf_par_team(wf_threads(), meet_often, &n);
}

/* Seconds of one of n, the mean: beside others it is the slow ones that count. */
static double seconds(void (*fn)(void *work, int n), void *work, int n)
{
    double begun = now();
    fn(work, n);
    return (now() - begun) / n;
}

static void report(const char *what, void (*fn)(void *work, int n), void *work, double lasting,
                   double unit)
{
    double alone[ROUNDS], beside[ROUNDS];
    fn(work, 3);
    int n = (int)(lasting / seconds(fn, work, 3)) + 1;
    for (int i = 0; i < ROUNDS; i++) {
        alone[i] = seconds(fn, work, n);
        let_others(SIGCONT);
        beside[i] = seconds(fn, work, n);
        let_others(SIGSTOP);
    }
    const double a = median(alone, ROUNDS), b = median(beside, ROUNDS);
    printf("%-34s %9.2f %9.2f %8.0f %%\n", what, a / unit, b / unit, 100 * a / b);
}

int main(int argc, char **argv)
{
    double n = 1;
    if (argc > 2 || (argc == 2 && !wf_parse_number(argv[1], &n)) || !(n >= 1 && n <= MOST))
        return failed("usage: busy [PROCESSES], 1 to 64");
    /* Before there are threads: a child of ours is to be a loop and nothing else. */
    if (!start_others((int)n)) return failed("no processes could be started");
    printf("beside %d busy process%s, %d threads, %s\n", others, others == 1 ? "" : "es",
           wf_threads(), wf_isa_name(wf_isa_level()));
    printf("%-34s %9s %9s %10s\n", "", "alone", "beside", "speed kept");
    report("a loop of nothing, ns", share_out, NULL, 0.1, 1e-9);
    report("a meeting, ns", meet, NULL, 0.1, 1e-9);
    const struct {
        const char *what;
        wf_rnn *(*make)(wf_module *, const char *, const wf_rnn_options *);
        int64_t batch, time, hidden;
    } shapes[] = {
        { "LSTM B=1 T=100 H=256, ms", wf_lstm_new, 1, 100, 256 },
        { "LSTM B=16 T=32 H=128, ms", wf_lstm_new, 16, 32, 128 },
        { "LSTM B=32 T=64 H=256, ms", wf_lstm_new, 32, 64, 256 },
        { "GRU B=1 T=100 H=256, ms", wf_gru_new, 1, 100, 256 },
        { "GRU B=32 T=50 H=256, ms", wf_gru_new, 32, 50, 256 },
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        workload w = model(shapes[i].make, shapes[i].batch, shapes[i].time, shapes[i].hidden);
        report(shapes[i].what, train, &w, 0.5, 1e-3);
        const bool ok = w.ok;
        free_model(&w);
        if (!ok) return failed("a step failed");
    }
    return 0;
}
