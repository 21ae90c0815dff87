/* Columns of numbers, forecast many rows ahead: a recurrent net reads a window of them, of what is
 * missing and of the season's phase, and is judged from a rolling origin against the naive and the
 * seasonal naive forecast, by weights that know nothing of the tests.
 *
 * Expected, MASE (in brackets: how far below the seasonal naive forecast's, and the naive one's):
 * without a file, after 10 seconds           0.524 (45.5 %, 57.0 %)
 * monthly-sunspots.csv, a year ahead         0.677 (44.6 %, 24.1 %)
 *   --season 132 --horizon 12 --input 132 --epochs 10
 * daily-min-temperatures.csv, a week ahead   0.623 (34.1 %, 25.4 %)
 *   --season 365 --horizon 7 --input 28
 * pollution.csv, PM2.5 a day ahead           0.642 (34.1 %, 10.3 %)
 *   --columns pm2.5,DEWP,TEMP,PRES,Iws,Is,Ir --target pm2.5 --input 48 --epochs 4 --batch 64 */
#include <weft.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS = 64, MADE_ROWS = 3000 };

typedef struct options {
    wf_run_options run;
    const char *data, *columns, *target, *cell, *svg;
    int64_t horizon, input, season, hidden, layers, batch, folds, test, ahead;
    double dropout, valid;
} options;

static const wf_option rows[] = {
    { WF_OPTION(options, data), "FILE", "CSV, a row for each time (a series made up here)" },
    { WF_OPTION(options, columns), "LIST",
      "names or numbers of columns to read, with commas (all of numbers)", WF_OPTION_KEPT },
    { WF_OPTION(options, target), "LIST", "those to forecast (all that are read)", WF_OPTION_KEPT },
    { WF_OPTION(options, horizon), "N", "rows to forecast at once", WF_OPTION_FIXED, 1, 4096 },
    { WF_OPTION(options, input), "N", "rows that a forecast reads", WF_OPTION_FIXED, 2, 65536 },
    { WF_OPTION(options, season), "N", "rows of a season, 1: none; the file's first row begins one",
      WF_OPTION_FIXED, 1, 1 << 20 },
    { WF_OPTION(options, cell), "NAME", "", WF_OPTION_FIXED, .choices = "gru lstm" },
    { WF_OPTION(options, hidden), "N", "units of a layer", WF_OPTION_FIXED, 1, 4096 },
    { WF_OPTION(options, layers), "N", "", WF_OPTION_FIXED, 1, 16 },
    { WF_OPTION(options, dropout), "P", "", WF_OPTION_KEPT, 0, 1, .below = true },
    { WF_OPTION(options, batch), "N", "windows of a step", WF_OPTION_KEPT, 1, 65536 },
    { WF_OPTION(options, valid), "PART", "of what comes before the tests, chooses the epoch",
      WF_OPTION_KEPT, 0.001, 0.9 },
    { WF_OPTION(options, folds), "N", "tests at the end, one after another; 0: none",
      WF_OPTION_KEPT, 0, 1000 },
    { WF_OPTION(options, test), "N", "rows of a test; 0: all have a fifth of the rows",
      WF_OPTION_KEPT, 0, 1e9 },
    { WF_OPTION(options, ahead), "N", "prints N rows beyond the end as CSV, instead of errors",
      .high = 1e6 },
    { WF_OPTION(options, svg), "FILE", "draws the last rows, and what was forecast of them" },
};

typedef struct forecaster {
    options o;
    wf_run *run;
    wf_csv *csv;
    /* The file's columns, those to forecast first; rows below `learned` are known to the net. */
    int64_t column[COLUMNS], n, targets, rows, learned, count[COLUMNS]; /* 0, 1, 2 .. */
    char names[4096], target_names[4096];
    wf_series truth; /* (rows, targets), NaN where a number is missing */
    wf_series guess; /* (rows and what follows, targets), NaN where none was asked for */
    wf_series input; /* (the same, n and the phase of the season), scaled and filled */
    wf_scaler *scaler, *unscale;
    wf_rolling_options tests;
    double mase[COLUMNS]; /* of the targets */
    wf_module *net;
    wf_rnn *encoder;
    wf_dropout_layer *dropout;
    wf_linear *head, *line;
} forecaster;

/* Rows begin to end - 1 of the first n columns (0: of all). */
static wf_tensor part(const wf_tensor *x, int64_t begin, int64_t end, int64_t n)
{
    wf_tensor y = { 0 };
    if (wf_view_slice(x, 0, begin, end, 1, &y) && n) wf_view_slice(&y, 1, 0, n, 1, &y);
    return y;
}

/* ---- the series ---- */

/* Hours of a load that follows the day, the week and, late, a temperature that wanders; gaps. */
static wf_csv *made_series(wf_error *error)
{
    static char text[MADE_ROWS * 32];
    const uint64_t noise = wf_key_with(1, 0), gaps = wf_key_with(1, 1);
    double weather = 0, felt = 0;
    int64_t gap = 0;
    wf_append(text, sizeof text, "load,temperature\n");
    char *end = text + strlen(text);
    for (uint64_t t = 0; t < MADE_ROWS; t++) {
        const double hour = 3.14159265358979 / 12 * (double)t;
        const bool weekend = t / 24 % 7 >= 5;
        weather = 0.98 * weather + wf_random_normal(noise, 2 * t);
        const double temperature = 10 + weather - 4 * cos(hour);
        felt += (temperature - felt) / 8;
        const double load = 80 - 10 * cos(hour) - (weekend ? 12 : 5 * cos(2 * hour)) - 2 * felt +
                            wf_random_normal(noise, 2 * t + 1);
        if (--gap < 0 && wf_random_below(gaps, t, 100) == 0)
            gap = 1 + wf_random_below(gaps, MADE_ROWS + t, 12);
        end += gap > 0 ? sprintf(end, "NA,%.1f\n", temperature)
                       : sprintf(end, "%.1f,%.1f\n", load, temperature);
    }
    return wf_csv_from_text(&(wf_text){ "made", text, end - text }, NULL, error);
}

static bool choose_columns(forecaster *f, wf_error *error)
{
    int64_t all[COLUMNS], m = 0;
    const int64_t n = wf_csv_select(f->csv, f->o.columns, all, COLUMNS, error);
    if (f->o.target && n >= 0) m = wf_csv_select(f->csv, f->o.target, f->column, COLUMNS, error);
    if (n < 0 || m < 0) return false;
    if (n + m == 0) return wf_error_set(error, "no column has only numbers; --columns names some");
    if (n + m > COLUMNS) return wf_error_set(error, "there are more than %d columns", COLUMNS);
    f->n = m;
    for (int64_t i = 0, k; i < n; i++) {
        for (k = 0; k < f->n && f->column[k] != all[i];) k++;
        if (k == f->n) f->column[f->n++] = all[i];
    }
    f->targets = m ? m : f->n;
    for (int64_t i = 0; i < f->n; i++) { /* what a saved model asks for again */
        const char *name = wf_csv_name(f->csv, f->column[i]);
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)f->column[i]);
        if (!name || strchr(name, ',') || wf_csv_find(f->csv, name, NULL) != f->column[i])
            name = number;
        if (wf_append(f->names, sizeof f->names, "%s%s", i ? "," : "", name) >= sizeof f->names)
            return wf_error_set(error, "the columns' names are too long");
        if (i < f->targets) memcpy(f->target_names, f->names, sizeof f->names);
    }
    f->o.columns = f->names, f->o.target = f->target_names;
    return true;
}

/* Reads f->truth and f->input, scaled by what comes before the tests, or by a saved model's. */
static bool read_series(forecaster *f, wf_error *error)
{
    const wf_archive *saved = wf_run_archive(f->run);
    const int64_t season = f->o.season, h = f->o.horizon;
    f->csv = f->o.data ? wf_csv_new(f->o.data, NULL, error) : made_series(error);
    if (!f->csv || !choose_columns(f, error)) return false;
    const int64_t test = f->o.test || !f->o.folds ? f->o.test
                                                  : wf_csv_rows(f->csv) / 5 / f->o.folds;
    if (f->o.folds && test < h)
        return wf_error_set(error, "a test has %lld rows, below --horizon", (long long)test);
    f->tests = (wf_rolling_options){ .folds = f->o.folds, .test = test };
    const int64_t T = f->rows = wf_csv_rows(f->csv), all = T + (f->o.ahead + h - 1) / h * h;
    const int64_t wide = f->n + 2 * (season > 1);
    wf_series read = { 0 };
    wf_fold first = { .train_end = T };
    bool ok = wf_csv_series(f->csv, f->column, f->targets, WF_F32, &f->truth, error) &&
              wf_csv_series(f->csv, f->column, f->n, WF_F32, &read, error) &&
              wf_series_resize(&f->guess, all, f->targets, WF_F32, error) &&
              wf_series_resize(&f->input, all, wide, WF_F32, error) &&
              (!f->o.folds || wf_rolling_origin(T, 0, &f->tests, &first, error));
    if (ok) {
        const wf_tensor values = part(&f->input.values, 0, T, f->n),
                        mask = part(&f->input.mask, 0, T, f->n);
        wf_tensor_copy(&read.values, &values), wf_tensor_copy(&read.mask, &mask);
    }
    wf_series_free(&read);
    for (int64_t i = 0; ok && i < all; i++)
        for (int64_t k = f->n; k < wide; k++) {
            const double angle = 6.283185307179586 * (double)(i % season) / (double)season;
            ((float *)f->input.values.data)[i * wide + k] = (float)(k > f->n ? cos : sin)(angle);
            ((int32_t *)f->input.mask.data)[i * wide + k] = 1;
        }
    if (!ok) return false;
    const wf_tensor train = part(&f->input.values, 0, f->learned = first.train_end, 0),
                    came = part(&f->truth.values, 0, f->learned, 0);
    for (int64_t i = 0; i < f->targets; i++) f->count[i] = i;
    if (season >= f->learned)
        return wf_error_set(error, "--season is not below the %lld rows before the tests",
                            (long long)f->learned);
    f->scaler = saved ? wf_scaler_from_archive(saved, "scaler", error)
                      : wf_scaler_new(WF_STANDARD, &train, error);
    f->unscale = f->scaler ? wf_scaler_select(f->scaler, f->count, f->targets, error) : NULL;
    return f->unscale && wf_mase_scale(&came, season, f->mase, error) &&
           wf_scaler_apply(f->scaler, &f->input.values, error) &&
           wf_fill_missing(&f->input.values, WF_FILL_LAST, NULL, error);
}

static wf_windows *windows_of(const forecaster *f, int64_t begin, int64_t end, bool in_order)
{
    const options *o = &f->o;
    wf_windows_options how = { .begin = begin, .end = end, .in_order = in_order };
    how.input = o->input, how.horizon = o->horizon, how.batch = o->batch, how.mask_features = true;
    how.targets = f->count, how.n_targets = f->targets, how.seed = (uint64_t)o->run.seed;
    return wf_windows_new(&f->input.values, &f->input.mask, &how, wf_run_error(f->run));
}

/* ---- the net ---- */

static void make_net(forecaster *f)
{
    const options *o = &f->o;
    wf_module *net = f->net = wf_module_new("forecast",
                                            &(wf_module_options){ .seed = (uint64_t)o->run.seed });
    const int64_t wide = 2 * f->input.values.dim[1]; /* numbers and masks */
    const wf_rnn_options rnn = { .input = wide, .hidden = o->hidden, .layers = o->layers };
    f->encoder = (*o->cell == 'g' ? wf_gru_new : wf_lstm_new)(net, "encoder", &rnn);
    f->dropout = wf_dropout_new(net, "dropout", &(wf_dropout_options){ .p = o->dropout });
    wf_linear_options head = { .input = o->hidden, .output = f->targets * o->horizon };
    wf_linear_options line = { .input = o->input, .output = o->horizon };
    line.init.kind = WF_INIT_CONSTANT; /* 0: it begins as the naive forecast */
    f->head = wf_linear_new(net, "head", &head), f->line = wf_linear_new(net, "line", &line);
}

/* A window x (input, B, numbers and masks) to what follows (horizon, B, targets): the last value,
 * what is linear in the way to it (Lai et al. 2018, Zeng et al. 2023), and what a net adds. */
static wf_var *forecast(wf_tape *t, const forecaster *f, wf_var *x)
{
    wf_var *own = wf_slice(t, x, 2, 0, f->targets, 1), *last = wf_slice(t, own, 0, -1, WF_LAST, 1);
    wf_var *way = wf_permute(t, wf_sub(t, own, last), WF_AXES(1, 2, 0));
    wf_var *h = wf_select(t, wf_rnn_forward(t, f->encoder, x, NULL), 0, -1);
    wf_var *head = wf_linear_forward(t, f->head, wf_dropout_forward(t, f->dropout, h));
    wf_var *y = wf_add(t, wf_linear_forward(t, f->line, way),
                       wf_reshape(t, head, WF_SHAPE(wf_dim(x, 1), f->targets, f->o.horizon)));
    return wf_add(t, wf_permute(t, y, WF_AXES(2, 0, 1)), last);
}

/* The mean absolute error of what is there. */
static wf_var *loss_of(wf_tape *t, const forecaster *f, const wf_window_batch *b)
{
    wf_var *there = wf_cast(t, wf_constant_tensor(t, &b->target_mask), WF_F32);
    wf_var *y = forecast(t, f, wf_constant_tensor(t, &b->input));
    wf_var *off = wf_abs(t, wf_sub(t, y, wf_constant_tensor(t, &b->target)));
    return wf_div(t, wf_sum(t, wf_mul(t, off, there), NULL), wf_sum(t, there, NULL));
}

/* ---- what it is worth ---- */

enum { NET, NAIVE, SEASONAL, FORECASTS };

/* Errors of the net, and of the two that it must beat, from every origin whose targets lie in rows
 * begin to end - 1. Left out is what is missing. */
static bool judge(forecaster *f, int64_t begin, int64_t end, wf_forecast_errors errors[])
{
    wf_tape *t = wf_run_tape(f->run);
    wf_error *error = wf_run_error(f->run);
    wf_windows *windows = windows_of(f, begin, end, true);
    wf_series other = { 0 };
    bool ok = windows && wf_series_resize(&other, f->o.horizon, f->targets, WF_F32, error);
    for (const wf_window_batch *b; ok && (b = wf_windows_next(windows));) {
        wf_tape_reset(t);
        const wf_tensor *y = wf_value(forecast(t, f, wf_constant_tensor(t, &b->input)));
        ok = y && wf_scaler_undo(f->unscale, y, error);
        for (int64_t i = 0; ok && i < b->count; i++) {
            const int64_t at = b->origin[i];
            const wf_tensor history = part(&f->truth.values, 0, at, 0),
                            came = part(&f->truth.values, at, at + f->o.horizon, 0);
            wf_tensor own;
            wf_view_select(y, 1, i, &own);
            for (int k = NET; ok && k < FORECASTS; k++)
                ok = (k == NET || wf_seasonal_naive(&history, k == NAIVE ? 1 : f->o.season,
                                                    &other.values, error)) &&
                     wf_forecast_errors_add(&errors[k], k == NET ? &own : &other.values, &came,
                                            NULL, f->mase, error);
        }
    }
    wf_series_free(&other);
    wf_windows_free(windows);
    return ok && wf_tape_ok(t);
}

/* The tests, forecast from a rolling origin by weights that know none of them. */
static bool report(forecaster *f)
{
    const char *const names[] = { "net", "naive", "seasonal naive" };
    wf_forecast_errors e[FORECASTS];
    for (int64_t k = 0; f->o.folds && k <= f->o.folds; k++) { /* the last time all of them */
        wf_fold at = { .test_begin = f->learned, .test_end = f->rows };
        if (k < f->o.folds) wf_rolling_origin(f->rows, k, &f->tests, &at, NULL);
        memset(e, 0, sizeof e);
        if (!judge(f, at.test_begin, at.test_end, e)) return false;
        const double net = wf_mase(&e[NET]), seasonal = wf_mase(&e[SEASONAL]);
        printf("rows %lld to %lld: MASE %.3f, %.1f %% below the seasonal naive forecast's\n",
               (long long)at.test_begin, (long long)at.test_end - 1, net,
               seasonal > 0 ? 100 * (1 - net / seasonal) : 0);
    }
    for (int i = 0; f->o.folds && i < FORECASTS; i++)
        printf("  %-15s MASE %.3f  MAE %.3f  RMSE %.3f\n", names[i], wf_mase(&e[i]),
               wf_mae(&e[i]), wf_rmse(&e[i]));
    return true;
}

/* What follows row at - 1, into f->guess; behind the end also as if it had come. */
static bool forecast_at(forecaster *f, int64_t at)
{
    wf_tape *t = wf_run_tape(f->run);
    const int64_t end = at + f->o.horizon;
    wf_tensor values = part(&f->input.values, at - f->o.input, at, 0),
              mask = part(&f->input.mask, at - f->o.input, at, 0);
    wf_tape_reset(t);
    wf_var *seen = wf_cast(t, wf_constant_tensor(t, &mask), WF_F32);
    wf_var *x = wf_concat(t, 1, WF_VARS(wf_constant_tensor(t, &values), seen));
    wf_var *y = wf_select(t, forecast(t, f, wf_unsqueeze(t, x, 1)), 1, 0); /* (horizon, targets) */
    if (!y) return false;
    if (at >= f->rows) {
        values = part(&f->input.values, at, end, f->targets);
        mask = part(&f->input.mask, at, end, f->targets);
        wf_tensor_copy(wf_value(y), &values);
        wf_tensor_fill(&mask, 1);
    }
    values = part(&f->guess.values, at, end, 0);
    wf_tensor_copy(wf_value(y), &values);
    return wf_scaler_undo(f->unscale, &values, wf_run_error(f->run));
}

static bool go_on(forecaster *f)
{
    const int64_t n = f->targets, end = f->rows + f->o.ahead;
    for (int64_t at = f->rows; at < end; at += f->o.horizon)
        if (!forecast_at(f, at)) return false;
    printf("row,%s\n", f->target_names);
    for (int64_t i = f->rows * n; i < end * n; i++) {
        if (i % n == 0) printf("%lld", (long long)(i / n));
        printf(",%.6g%s", wf_tensor_at(&f->guess.values, i), i % n == n - 1 ? "\n" : "");
    }
    return true;
}

/* The first target at the end: as it came, as it was forecast, and what was printed. */
static bool draw(forecaster *f)
{
    wf_error *error = wf_run_error(f->run);
    const int64_t h = f->o.horizon;
    int64_t begin = f->rows;
    while (begin - h >= f->o.input && f->rows - begin < 8 * h) begin -= h;
    for (int64_t at = begin; at < f->rows; at += h)
        if (!forecast_at(f, at)) return false;
    char title[sizeof f->target_names + 32];
    snprintf(title, sizeof title, "%.*s, rows from %lld on", (int)strcspn(f->target_names, ","),
             f->target_names, (long long)begin);
    wf_svg_line line[] = { { .name = "as it came" }, { .name = "as forecast", .dashed = true } };
    for (int i = 0; i < 2; i++) {
        const wf_tensor *all = i ? &f->guess.values : &f->truth.values;
        const wf_tensor y = part(all, begin, all->dim[0], 1);
        wf_view_select(&y, 1, 0, &line[i].y);
    }
    char *figure = wf_svg_curves(line, 2, &(wf_svg_options){ .title = title }, error);
    const bool ok = figure && wf_svg_save(f->o.svg, figure, error);
    wf_release(figure);
    return ok;
}

/* ---- the program ---- */

static void save(const void *self, wf_bundle *bundle)
{
    wf_scaler_to_bundle(((const forecaster *)self)->scaler, bundle, "scaler");
}

static void learn(forecaster *f)
{
    wf_run *run = f->run;
    const double known = (double)f->learned, last = known - (double)f->o.horizon;
    const int64_t valid = (int64_t)fmax(1, fmin((1 - f->o.valid) * known, last));
    wf_windows *train = windows_of(f, 0, valid, false);
    if (train) wf_windows_free(windows_of(f, valid, f->learned, true)); /* can it be judged? */
    const wf_adam_options adam = wf_adam_defaults();
    wf_optim *optim = wf_adam_new(f->net, &adam);
    wf_run_plan plan = { .net = f->net, .optim = optim, .unit = "windows", .figures = { "MASE" } };
    plan.steps_per_epoch = wf_windows_count(train), plan.save = save, plan.self = f;
    wf_run_begin(run, &plan);
    while (wf_run_next(run)) {
        wf_windows_seek(train, wf_run_epoch(run), wf_run_position(run));
        const wf_window_batch *b = wf_windows_next(train);
        wf_run_learn(run, loss_of(wf_run_tape(run), f, b), b->count);
        if (!wf_run_epoch_ended(run)) continue;
        wf_forecast_errors errors[FORECASTS] = { 0 };
        if (judge(f, valid, f->learned, errors)) wf_run_judge(run, &(double){ wf_mase(errors) });
    }
    if (wf_run_finish(run) && (f->o.ahead ? go_on(f) : report(f)) && f->o.svg) draw(f);
    wf_optim_free(optim);
    wf_windows_free(train);
}

int main(int argc, char *argv[])
{
    static forecaster f;
    f.o.run = (wf_run_options){ .epochs = 20, .lr = 2e-3, .clip = 1, .schedule = "cosine" };
    f.o.run.seed = 1, f.o.cell = "gru", f.o.horizon = 24, f.o.input = 168, f.o.season = 24;
    f.o.hidden = 48, f.o.layers = 1, f.o.batch = 32, f.o.folds = 4, f.o.dropout = 0.3,
    f.o.valid = 0.1;
    wf_run_call call = { .name = "forecast", .own = WF_OPTIONS(rows, &f.o), .options = &f.o.run };
    call.about = "Forecasts columns of numbers, many rows ahead.";
    wf_run *run = f.run = wf_run_new(&call, argc, argv);
    wf_run_reads(run, f.o.data);
    wf_run_writes(run, "svg", f.o.svg);
    if (wf_run_ok(run) && read_series(&f, wf_run_error(run))) make_net(&f), learn(&f);
    wf_module_free(f.net);
    wf_series_free(&f.truth), wf_series_free(&f.guess), wf_series_free(&f.input);
    wf_scaler_free(f.scaler), wf_scaler_free(f.unscale);
    wf_csv_free(f.csv);
    return wf_run_free(run);
}
