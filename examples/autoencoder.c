/* An LSTM autoencoder of a series: windows of it become small embeddings, and these the windows
 * again (Srivastava et al. 2015); what is reconstructed worse, or better, than rows that it never
 * learned from is odd (Malhotra et al. 2016). Run with --help for the options.
 *
 * Expected: every window of the last fifth, as it is and with an oddity made in it (a spike, one
 * that stands still, a phase shift, a beat left out): area under the ROC curve 0.993 on the series
 * made up here (20 epochs, half a minute). Melbourne's daily minimum temperatures, with --window 30
 * --period 30 --around 4: spikes 0.994, flat 0.966, means 1.000; shifts, of weather without a
 * period, are none (0.48). */
#include <weft.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS = 64, MADE_ROWS = 6000 };

typedef struct options {
    wf_run_options run;
    const char *data, *columns;
    int64_t window, period, hidden, embedding, batch, around;
    double valid, test, alarms;
    bool odd, reconstruct, embed;
} options;

static const wf_option rows[] = {
    { WF_OPTION(options, data), "FILE", "CSV, a row for each time (a series made up here)" },
    { WF_OPTION(options, columns), "LIST", "names or numbers (all of numbers)", WF_OPTION_KEPT },
    { WF_OPTION(options, window), "N", "rows that become one embedding", WF_OPTION_FIXED, 4, 4096 },
    { WF_OPTION(options, embedding), "N", "its numbers", WF_OPTION_FIXED, 1, 4096 },
    { WF_OPTION(options, hidden), "N", "units of either LSTM", WF_OPTION_FIXED, 1, 4096 },
    { WF_OPTION(options, batch), "N", "windows of a step", WF_OPTION_KEPT, 1, 65536 },
    { WF_OPTION(options, valid), "PART", "of the rows: what is usual", WF_OPTION_KEPT, 0.001, 0.9 },
    { WF_OPTION(options, test), "PART", "of the rows: the last, made odd", WF_OPTION_KEPT, 0, 0.9 },
    { WF_OPTION(options, period), "N", "rows of a beat, for oddities", WF_OPTION_KEPT, 4, 4096 },
    { WF_OPTION(options, around), "N", "rows on each side judged with one", WF_OPTION_KEPT, 0,
      999 },
    { WF_OPTION(options, alarms), "PART", "of usual windows", WF_OPTION_KEPT, 1e-9, 0.5 },
    { WF_OPTION(options, odd), .help = "prints the stretches that are odd, as CSV" },
    { WF_OPTION(options, reconstruct), .help = "prints each row and what becomes of it, as CSV" },
    { WF_OPTION(options, embed), .help = "prints the embedding of each window, as CSV" },
};

typedef struct detector {
    options o;
    wf_run *run;
    int64_t n, N;                  /* columns; rows to learn from */
    char names[4096], again[8192]; /* of columns, and of what becomes of them */
    wf_series series, known;       /* all rows, and those of the validation part: scaled, filled */
    wf_scaler *scaler;
    wf_module *net;
    wf_rnn *encoder, *decoder;
    wf_linear *embed, *start, *out;
    wf_novelty *novelty; /* what the errors of known rows are */
} detector;

/* ---- the series ---- */

/* A pulse whose rate wanders, and the breath that it grows and shrinks with. */
static wf_csv *made_series(uint64_t seed, wf_error *error)
{
    static char text[MADE_ROWS * 32];
    const uint64_t key = wf_key_with(seed, 0);
    double rate = 0, beats = 0;
    char *end = text + sprintf(text, "pulse,breath\n");
    for (uint64_t t = 0; t < MADE_ROWS; t++) {
        rate = 0.98 * rate + 0.01 * wf_random_normal(key, 3 * t);
        beats += (1 + rate) / 24;
        const double at = beats - floor(beats), breath = sin(6.2831853 / 100 * (double)t);
        const double pulse = exp(-400 * (at - 0.3) * (at - 0.3)) -
                             0.3 * exp(-400 * (at - 0.42) * (at - 0.42)) +
                             0.3 * exp(-120 * (at - 0.7) * (at - 0.7));
        end += sprintf(end, "%.4f,%.4f\n",
                       (1 + 0.15 * breath) * pulse + 0.05 * wf_random_normal(key, 3 * t + 1),
                       breath + 0.05 * wf_random_normal(key, 3 * t + 2));
    }
    return wf_csv_from_text(&(wf_text){ "made", text, end - text }, NULL, error);
}

/* Rows begin to end - 1. */
static wf_tensor part(const wf_tensor *x, int64_t begin, int64_t end)
{
    wf_tensor y = { 0 };
    wf_view_slice(x, 0, begin, end, 1, &y);
    return y;
}

/* Scaled by the rows to learn from; a saved model has its scale, and rows of which it knows what is
 * usual: those of the validation part. */
static bool read_series(detector *d, wf_error *error)
{
    const wf_archive *saved = wf_run_archive(d->run);
    int64_t column[COLUMNS];
    wf_csv *csv = d->o.data ? wf_csv_new(d->o.data, NULL, error)
                            : made_series((uint64_t)d->o.run.seed, error);
    const int64_t n = d->n = csv ? wf_csv_select(csv, d->o.columns, column, COLUMNS, error) : -1;
    if (n == 0) wf_error_set(error, "no column has only numbers; --columns names some");
    if (n > COLUMNS) wf_error_set(error, "there are more than %d columns", COLUMNS);
    bool ok = n > 0 && n <= COLUMNS && wf_csv_series(csv, column, n, WF_F32, &d->series, error);
    for (int64_t i = 0; ok && i < n; i++) {
        const char *name = wf_csv_name(csv, column[i]);
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)column[i]);
        wf_append(d->names, sizeof d->names, "%s%s", i ? "," : "", name ? name : number);
        wf_append(d->again, sizeof d->again, ",%s again", name ? name : number);
    }
    wf_csv_free(csv);
    if (!ok) return false;
    d->o.columns = d->names;
    const wf_tensor *x = &d->series.values;
    const int64_t W = d->o.window, T = x->dim[0], end = T - (int64_t)(d->o.test * (double)T);
    d->N = end - (int64_t)(d->o.valid * (double)T);
    if (d->N < 1) return wf_error_set(error, "--valid and --test leave no row to learn from");
    const wf_tensor train = part(x, 0, d->N), valid = part(x, d->N, end),
                    *known = saved ? wf_archive_find(saved, "known") : &valid;
    d->scaler = saved ? wf_scaler_from_archive(saved, "scaler", error)
                      : wf_scaler_new(WF_STANDARD, &train, error);
    if (!d->scaler || !wf_scaler_apply(d->scaler, x, error) ||
        !wf_fill_missing(x, WF_FILL_LAST, NULL, error))
        return false;
    if (!known || known->rank != 2 || known->dim[1] != n || known->dim[0] < W || T < W)
        return wf_error_set(error, "%lld rows, or those of --valid, are less than a --window",
                            (long long)T);
    if (!wf_series_resize(&d->known, known->dim[0], n, WF_F32, error)) return false;
    wf_tensor_copy(known, &d->known.values);
    return true;
}

/* Windows (N, W, n) over rows x (T, n), each `step` rows after the one before. */
static wf_tensor windows_over(const detector *d, const wf_tensor *x, int64_t step)
{
    wf_tensor y = { 0 };
    if (wf_view_window(x, 0, d->o.window, step, &y)) wf_view_transpose(&y, 1, 2, &y);
    return y;
}

/* ---- the net ---- */

static void make_net(detector *d)
{
    const wf_module_options start = { .seed = (uint64_t)d->o.run.seed };
    const int64_t n = d->n, H = d->o.hidden, E = d->o.embedding;
    wf_module *net = d->net = wf_module_new("autoencoder", &start);
    d->encoder = wf_lstm_new(net, "encoder", &(wf_rnn_options){ .input = n, .hidden = H });
    d->embed = wf_linear_new(net, "embed", &(wf_linear_options){ .input = H, .output = E });
    d->start = wf_linear_new(net, "start", &(wf_linear_options){ .input = E, .output = H });
    d->decoder = wf_lstm_new(net, "decoder", &(wf_rnn_options){ .input = E, .hidden = H });
    d->out = wf_linear_new(net, "out", &(wf_linear_options){ .input = H, .output = n });
}

/* A window x (W, B, n) to its embedding (B, embedding), and that to the window, the last row first:
 * what was read last is the easiest to say (Srivastava et al. 2015). */
static wf_var *embedding_of(wf_tape *t, const detector *d, wf_var *x)
{
    wf_var *h = wf_select(t, wf_rnn_forward(t, d->encoder, x, NULL), 0, -1);
    return wf_linear_forward(t, d->embed, h);
}

static wf_var *reconstruction_of(wf_tape *t, const detector *d, wf_var *x)
{
    wf_var *e = embedding_of(t, d, x);
    wf_var *told = wf_expand(t, e, WF_SHAPE(d->o.window, wf_dim(e, 0), d->o.embedding));
    wf_var *start = wf_unsqueeze(t, wf_tanh(t, wf_linear_forward(t, d->start, e)), 0);
    const wf_rnn_call call = { .initial = (wf_var *[]){ start, start } };
    wf_var *y = wf_linear_forward(t, d->out, wf_rnn_forward(t, d->decoder, told, &call));
    return wf_flip(t, y, WF_AXES(0));
}

/* Of windows (N, W, n) the errors x - y, as N W rows of n, or the embeddings, as N rows. */
static bool run_over(detector *d, const wf_tensor *windows, bool embed, wf_series *to)
{
    wf_tape *t = wf_run_tape(d->run);
    const int64_t N = windows->dim[0], W = embed ? 1 : d->o.window;
    if (!wf_series_resize(to, N * W, embed ? d->o.embedding : d->n, WF_F32, wf_run_error(d->run)))
        return false;
    for (int64_t i = 0, n; i < N && wf_tape_ok(t); i += n) {
        n = N - i < 256 ? N - i : 256;
        const wf_tensor some = part(windows, i, i + n);
        wf_tape_reset(t);
        wf_var *x = wf_permute(t, wf_constant_tensor(t, &some), WF_AXES(1, 0, 2));
        wf_var *y = embed
                        ? embedding_of(t, d, x)
                        : wf_permute(t, wf_sub(t, x, reconstruction_of(t, d, x)), WF_AXES(1, 0, 2));
        if (y) wf_copy_out(y, (float *)to->values.data + i * W * to->values.dim[1], wf_count(y));
    }
    return wf_tape_ok(t);
}

/* ---- what is odd ---- */

/* Scores of all windows from row `begin` on, of each (N) or of its rows (N, W); their errors. */
static bool score_windows(detector *d, int64_t begin, int kind, const wf_tensor *scores,
                          wf_series *errors)
{
    wf_error *error = wf_run_error(d->run);
    const int64_t W = d->o.window, N = scores->dim[0];
    wf_series copy = { 0 };
    if (!wf_series_resize(&copy, N * W, d->n, WF_F32, error)) return false;
    const wf_tensor from = part(&d->series.values, begin, begin + N + W - 1),
                    usual = windows_over(d, &from, 1), laid = windows_over(d, &copy.values, W);
    wf_tensor_copy(&usual, &laid);
    for (int64_t i = 0; kind < WF_ODDITIES && i < N; i++) {
        const uint64_t key = wf_key_with((uint64_t)d->o.run.seed,
                                         (uint64_t)(i * WF_ODDITIES + kind));
        wf_tensor one;
        wf_view_select(&laid, 0, i, &one);
        wf_make_odd(&one, (wf_oddity)kind, d->o.period, key, error);
    }
    bool ok = run_over(d, &laid, false, errors);
    const wf_tensor e = windows_over(d, &errors->values, W);
    ok = ok && wf_novelty_score(d->novelty, &e, scores, error);
    wf_series_free(&copy);
    return ok;
}

/* Every window of the test part as it is, and with an oddity of each kind: are those odder? */
static bool report(detector *d, wf_series *errors)
{
    wf_error *error = wf_run_error(d->run);
    const char *const name[] = { "spike", "flat", "shift", "missing" };
    const int64_t T = d->series.values.dim[0], test = (int64_t)(d->o.test * (double)T);
    const int64_t N = test - d->o.window + 1;
    wf_series odd = { 0 };
    double area;
    if (test == 0) return true;
    if (N < 1) return wf_error_set(error, "--test leaves less than a --window");
    bool ok = wf_series_resize(&odd, WF_ODDITIES + 1, N, WF_F64, error);
    for (int64_t kind = WF_ODDITIES, row = 0; ok && kind >= 0; kind--, row++) { /* 0: as they are */
        wf_tensor s, label;
        wf_view_select(&odd.values, 0, row, &s), wf_view_select(&odd.mask, 0, row, &label);
        wf_tensor_fill(&label, row > 0);
        ok = score_windows(d, T - test, (int)kind, &s, errors);
        double above = 0;
        for (int64_t i = 0; ok && i < N; i++)
            above += wf_tensor_at(&s, i) > wf_novelty_threshold(d->novelty) ? 100. / (double)N : 0;
        if (row == 0)
            printf("%lld held-out windows, %.1f %% called odd\n", (long long)N, above);
        else if (ok && wf_view_slice(&odd.values, 0, 0, row + 1, row, &s) &&
                 wf_view_slice(&odd.mask, 0, 0, row + 1, row, &label) &&
                 (ok = wf_roc_area(&s, &label, &area, error)))
            printf("%-8s area under the ROC curve %.4f, %.1f %% called odd\n", name[kind], area,
                   above);
    }
    if (ok && (ok = wf_roc_area(&odd.values, &odd.mask, &area, error)))
        printf("all      area under the ROC curve %.4f\n", area);
    wf_series_free(&odd);
    return ok;
}

/* ---- what is printed of a series ---- */

static bool print_embeddings(detector *d)
{
    const wf_tensor windows = windows_over(d, &d->series.values, d->o.window);
    const int64_t E = d->o.embedding;
    wf_series e = { 0 };
    const bool ok = run_over(d, &windows, true, &e);
    printf("row");
    for (int64_t k = 0; ok && k < E; k++) printf(",e%lld", (long long)k);
    for (int64_t i = 0; ok && i < windows.dim[0] * E; i++) {
        if (i % E == 0) printf("\n%lld", (long long)(i / E * d->o.window));
        printf(",%.6g", wf_tensor_at(&e.values, i));
    }
    putchar('\n');
    wf_series_free(&e);
    return ok;
}

/* A row is judged in the window around it. Where that has it among rows of windows (N W): */
static int64_t place_of(const detector *d, int64_t i)
{
    const int64_t W = d->o.window, last = d->series.values.dim[0] - W, at = i - W / 2;
    const int64_t window = at < 0 ? 0 : at > last ? last : at;
    return window * W + i - window;
}

/* The stretches that are odd; they end where as many rows as are judged together are not. */
static void print_odd(const detector *d, const double *score, int64_t T)
{
    const double threshold = wf_novelty_threshold(d->novelty);
    printf("begin,end,score\n");
    for (int64_t i = 0, end = 0; i < T; i = end + 1) {
        double most = score[place_of(d, end = i)];
        if (most <= threshold) continue;
        for (int64_t k = i; k < T && k - end <= 2 * d->o.around + 1; k++)
            if (score[place_of(d, k)] > threshold) most = fmax(most, score[place_of(d, end = k)]);
        printf("%lld,%lld,%.2f\n", (long long)i, (long long)end, most);
    }
}

/* Each row with its score, its numbers and what they are reconstructed as. */
static void print_rows(const detector *d, const double *score, const float *errors, int64_t T)
{
    const int64_t n = d->n;
    printf("row,score,%s%s\n", d->names, d->again);
    for (int64_t i = 0; i < T; i++) {
        printf("%lld,%.3f", (long long)i, score[place_of(d, i)]);
        for (int64_t k = 0; k < 2 * n; k++) {
            const int64_t c = k % n;
            const double x = ((float *)d->series.values.data)[i * n + c],
                         e = (double)errors[place_of(d, i) * n + c], y = k < n ? x : x - e;
            printf(",%.6g", wf_scaler_offset(d->scaler, c) + wf_scaler_scale(d->scaler, c) * y);
        }
        putchar('\n');
    }
}

/* ---- the program ---- */

static void save(const void *self, wf_bundle *bundle)
{
    const detector *d = self;
    wf_scaler_to_bundle(d->scaler, bundle, "scaler");
    wf_bundle_add(bundle, "known", &d->known.values);
}

/* The mean squared error on known rows, whose errors are kept. */
static double squared_error(detector *d, wf_series *errors)
{
    const wf_tensor windows = windows_over(d, &d->known.values, 1);
    double sum = 0;
    if (!run_over(d, &windows, false, errors)) return (double)NAN;
    const int64_t n = wf_tensor_count(&errors->values);
    for (int64_t i = 0; i < n; i++) sum += pow(((float *)errors->values.data)[i], 2) / (double)n;
    return sum;
}

/* What was asked for, of a net that has learned. */
static bool show(detector *d, wf_series *errors)
{
    const options *o = &d->o;
    const int64_t T = d->series.values.dim[0];
    if (o->embed) return print_embeddings(d);
    const wf_novelty_options how = { .around = 2 * o->around + 1, .alarms = o->alarms };
    if (isnan(squared_error(d, errors))) return false;
    const wf_tensor e = windows_over(d, &errors->values, o->window);
    d->novelty = wf_novelty_new(&e, &how, wf_run_error(d->run));
    if (!d->novelty) return false;
    if (!o->odd && !o->reconstruct) return report(d, errors);
    wf_series s = { 0 };
    const bool ok = wf_series_resize(&s, T - o->window + 1, o->window, WF_F64,
                                     wf_run_error(d->run)) &&
                    score_windows(d, 0, WF_ODDITIES, &s.values, errors);
    if (ok && o->odd) print_odd(d, s.values.data, T);
    if (ok && o->reconstruct) print_rows(d, s.values.data, errors->values.data, T);
    wf_series_free(&s);
    return ok;
}

static void learn(detector *d)
{
    wf_run *run = d->run;
    const bool shows = d->o.odd || d->o.reconstruct || d->o.embed;
    /* A window is all that would be forecast. */
    const wf_windows_options how = { 1, d->o.window, d->o.batch, .end = d->N,
                                     .seed = (uint64_t)d->o.run.seed };
    wf_windows *windows = NULL;
    wf_series errors = { 0 };
    if (shows && wf_run_archive(run))
        d->o.run.epochs = 0; /* a saved model is used as it is */
    else
        windows = wf_windows_new(&d->series.values, NULL, &how, wf_run_error(run));
    wf_optim *optim = wf_adam_new(d->net, NULL);
    wf_run_begin(run, &(wf_run_plan){ .net = d->net,
                                      .optim = optim,
                                      .steps_per_epoch = windows ? wf_windows_count(windows) : 1,
                                      .unit = "windows",
                                      .figures = { "squared error" },
                                      .save = save,
                                      .self = d });
    while (wf_run_next(run)) {
        wf_tape *t = wf_run_tape(run);
        wf_windows_seek(windows, wf_run_epoch(run), wf_run_position(run));
        const wf_window_batch *b = wf_windows_next(windows);
        wf_var *x = wf_constant_tensor(t, &b->target);
        wf_run_learn(run, wf_mse(t, reconstruction_of(t, d, x), x), b->count);
        if (wf_run_epoch_ended(run)) wf_run_judge(run, &(double){ squared_error(d, &errors) });
    }
    if (wf_run_finish(run)) show(d, &errors);
    wf_series_free(&errors), wf_optim_free(optim), wf_windows_free(windows);
}

int main(int argc, char *argv[])
{
    static detector d;
    d.o = (options){ .window = 48, .period = 24, .hidden = 48, .embedding = 12, .batch = 32 };
    d.o.around = 2, d.o.valid = 0.1, d.o.test = 0.2, d.o.alarms = 0.01;
    d.o.run = (wf_run_options){ 20, .lr = 0.01, .clip = 1, .schedule = "cosine", .seed = 1 };
    const wf_run_call call = { "autoencoder", "Says which stretches of a series are odd.",
                               WF_OPTIONS(rows, &d.o), .options = &d.o.run };
    wf_run *run = d.run = wf_run_new(&call, argc, argv);
    wf_run_reads(run, d.o.data);
    if (d.o.period > d.o.window) wf_run_fail(run, "option --period: it is more than --window");
    if (wf_run_ok(run) && read_series(&d, wf_run_error(run))) make_net(&d), learn(&d);
    wf_module_free(d.net);
    wf_series_free(&d.series), wf_series_free(&d.known);
    wf_scaler_free(d.scaler), wf_novelty_free(d.novelty);
    return wf_run_free(run);
}
