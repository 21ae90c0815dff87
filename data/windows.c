/* Windows over a series: origins in an order drawn for each epoch, copied out batch by batch. */
#include "data/windows.h"

#include "data/batch.h"
#include "data/text_private.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/size.h"

#include <math.h>
#include <string.h>

struct wf_windows {
    wf_tensor values, mask; /* mask.data NULL: all are there */
    wf_windows_options o;
    int64_t n, m;                    /* columns that go in, without their mask; targets */
    int64_t total;                   /* windows */
    int64_t *origin, *order, *drawn; /* of window i; windows, as drawn; their origins in order */
    int64_t epoch, at;               /* batches that were handed out */
    void *memory;                    /* the batch's numbers */
    wf_window_batch batch;
};

static bool there(const wf_windows *w, int64_t t, int64_t c)
{
    if (!w->mask.data) return true;
    return ((const int32_t *)w->mask.data)[t * w->mask.stride[0] + c * w->mask.stride[1]] != 0;
}

static int64_t target_column(const wf_windows *w, int64_t k)
{
    return w->o.targets ? w->o.targets[k] : k;
}

static void begin_epoch(wf_windows *w, int64_t epoch)
{
    const uint64_t key = wf_key_with(wf_key_named(w->o.seed, "windows"), (uint64_t)epoch);
    w->epoch = epoch;
    w->at = 0;
    if (!w->o.in_order) wf_permutation(w->total, key, w->order);
    for (int64_t i = 0; i < w->total; i++) w->drawn[i] = w->origin[w->o.in_order ? i : w->order[i]];
}

/* ---- making ---- */

static bool check_options(const wf_windows_options *o, wf_error *error)
{
    const struct {
        const char *name;
        int64_t is, least;
    } numbers[] = { { ".input", o->input, 1 },
                    { ".horizon", o->horizon, 1 },
                    { ".batch", o->batch, 1 },
                    { ".stride", o->stride, 0 },
                    { ".begin", o->begin, 0 },
                    { ".end", o->end, 0 },
                    { ".n_targets", o->n_targets, o->targets ? 1 : 0 } };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].is < numbers[i].least)
            return wf_error_set(error, "windows: %s is %lld; it must be %lld or more",
                                numbers[i].name, (long long)numbers[i].is,
                                (long long)numbers[i].least);
    if (!o->targets && o->n_targets > 0)
        return wf_error_set(error, "windows: .n_targets is %lld, but .targets were not given",
                            (long long)o->n_targets);
    return true;
}

static bool check_tensors(const wf_tensor *values, const wf_tensor *mask,
                          const wf_windows_options *o, wf_error *error)
{
    if (!values || !wf_dtype_is_float(values->dtype) || values->rank != 2 || values->dim[1] < 1 ||
        !values->data)
        return wf_error_set(error, "windows: the values must be f32 or f64 of shape (T, n), n of 1 "
                                   "or more");
    const int64_t rows = values->dim[0], n = values->dim[1];
    if (mask && (mask->dtype != WF_I32 || mask->rank != 2 || mask->dim[0] != rows ||
                 mask->dim[1] != n || !mask->data))
        return wf_error_set(error, "windows: the mask must be i32 of shape (%lld, %lld)",
                            (long long)rows, (long long)n);
    for (int64_t k = 0; k < o->n_targets; k++)
        if (o->targets[k] < 0 || o->targets[k] >= n)
            return wf_error_set(error, "windows: target %lld is column %lld; there are %lld",
                                (long long)k, (long long)o->targets[k], (long long)n);
    if (o->end > rows || o->begin > (o->end ? o->end : rows))
        return wf_error_set(error, "windows: .begin is %lld and .end %lld; there are %lld rows",
                            (long long)o->begin, (long long)o->end, (long long)rows);
    const wf_dtype_info *type = wf_dtype_describe(values->dtype);
    for (int64_t i = 0; i < rows * n; i++) {
        const double value = type->load(values->data, wf_tensor_offset(values, 2, i));
        if (!isfinite(value))
            return wf_error_set(error, "windows: value (%lld, %lld) is %g%s", (long long)(i / n),
                                (long long)(i % n), value,
                                isnan(value) ? "\n  hint: wf_fill_missing fills what is missing"
                                             : "");
    }
    return true;
}

/* Is any target of this window there? */
static bool any_target(const wf_windows *w, int64_t origin)
{
    for (int64_t t = origin; t < origin + w->o.horizon; t++)
        for (int64_t k = 0; k < w->m; k++)
            if (there(w, t, target_column(w, k))) return true;
    return false;
}

static bool find_origins(wf_windows *w, wf_error *error)
{
    const wf_windows_options *o = &w->o;
    const int64_t rows = w->values.dim[0], end = o->end ? o->end : rows;
    const int64_t step = o->stride ? o->stride : 1;
    const int64_t first = o->begin > o->input ? o->begin : o->input;
    const int64_t most = end - o->horizon < first ? 0 : (end - o->horizon - first) / step + 1;
    int64_t bytes;
    if (!wf_size_mul(most, 3 * (int64_t)sizeof(int64_t), &bytes)) bytes = INT64_MAX;
    w->origin = text_memory(wf_alloc((size_t)bytes), bytes, "windows", error);
    if (!w->origin && bytes > 0) return false;
    for (int64_t i = 0; i < most; i++)
        if (any_target(w, first + i * step)) w->origin[w->total++] = first + i * step;
    if (w->total == 0)
        return wf_error_set(error,
                            "windows: %lld rows in and %lld to forecast fit nowhere into "
                            "rows %lld to %lld%s",
                            (long long)o->input, (long long)o->horizon,
                            (long long)(o->begin < o->input ? 0 : o->begin - o->input),
                            (long long)end - 1, most > 0 ? " where a target is there" : "");
    w->order = w->origin + most;
    w->drawn = w->order + most;
    return true;
}

static bool make_room(wf_windows *w, wf_error *error)
{
    const wf_windows_options *o = &w->o;
    const int64_t most = o->batch < w->total ? o->batch : w->total;
    const int64_t size = wf_dtype_size(w->values.dtype);
    const int64_t features = o->mask_features ? 2 * w->n : w->n;
    int64_t in, out, bytes;
    const bool fits = wf_size_mul(most, o->input, &in) && wf_size_mul(in, features, &in) &&
                      wf_size_mul(in, size, &in) && wf_size_mul(most, o->horizon, &out) &&
                      wf_size_mul(out, w->m, &out) &&
                      wf_size_mul(out, size + (int64_t)sizeof(int32_t), &out) &&
                      wf_size_add(in, out, &bytes);
    w->memory = text_memory(fits ? wf_alloc((size_t)bytes) : NULL, fits ? bytes : INT64_MAX,
                            "windows", error);
    return w->memory != NULL;
}

wf_windows *wf_windows_new(const wf_tensor *values, const wf_tensor *mask,
                           const wf_windows_options *options, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    static const wf_windows_options none;
    if (!options) options = &none;
    if (!check_options(options, error) || !check_tensors(values, mask, options, error)) return NULL;
    const int64_t targets = options->n_targets * (int64_t)sizeof(int64_t);
    const int64_t bytes = (int64_t)sizeof(wf_windows) + targets;
    wf_windows *w = text_memory(wf_alloc_zero((size_t)bytes), bytes, "windows", error);
    if (!w) return NULL;
    w->values = *values;
    if (mask) w->mask = *mask;
    w->o = *options;
    w->n = values->dim[1];
    w->m = options->targets ? options->n_targets : w->n;
    if (options->targets) w->o.targets = memcpy(w + 1, options->targets, (size_t)targets);
    if (!find_origins(w, error) || !make_room(w, error)) {
        wf_windows_free(w);
        return NULL;
    }
    begin_epoch(w, 0);
    return w;
}

void wf_windows_free(wf_windows *w)
{
    if (!w) return;
    wf_release(w->origin);
    wf_release(w->memory);
    wf_release(w);
}

/* ---- reading along ---- */

/* What goes in of a window, in column b of the batch. */
static void put_input(const wf_windows *w, const wf_tensor *to, int64_t b, int64_t origin)
{
    const wf_dtype_info *type = wf_dtype_describe(to->dtype);
    const int64_t *stride = w->values.stride;
    for (int64_t t = 0; t < w->o.input; t++) {
        const int64_t row = origin - w->o.input + t;
        const int64_t at = t * to->stride[0] + b * to->stride[1];
        for (int64_t c = 0; c < w->n; c++) {
            const double value = type->load(w->values.data, row * stride[0] + c * stride[1]);
            type->store(to->data, at + c, value);
            if (w->o.mask_features) type->store(to->data, at + w->n + c, there(w, row, c));
        }
    }
}

static void put_target(const wf_windows *w, const wf_window_batch *p, int64_t b, int64_t origin)
{
    const wf_dtype_info *type = wf_dtype_describe(p->target.dtype);
    const int64_t *stride = w->values.stride;
    int32_t *mask = p->target_mask.data;
    for (int64_t t = 0; t < w->o.horizon; t++)
        for (int64_t k = 0; k < w->m; k++) {
            const int64_t row = origin + t, c = target_column(w, k);
            const int64_t at = t * p->target.stride[0] + b * p->target.stride[1] + k;
            const double value = type->load(w->values.data, row * stride[0] + c * stride[1]);
            type->store(p->target.data, at, value);
            mask[at] = there(w, row, c);
        }
}

const wf_window_batch *wf_windows_next(wf_windows *w)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if (!w) return NULL;
    const int64_t begin = w->at * w->o.batch;
    if (begin >= w->total) {
        begin_epoch(w, w->epoch + 1);
        return NULL;
    }
    w->at++;
    const int64_t left = w->total - begin, count = left < w->o.batch ? left : w->o.batch;
    const int64_t features = w->o.mask_features ? 2 * w->n : w->n;
    const wf_dtype dtype = w->values.dtype;
    wf_window_batch *p = &w->batch;
    char *memory = w->memory;
    p->input = wf_tensor_of(dtype, WF_SHAPE(w->o.input, count, features), memory);
    memory += wf_tensor_count(&p->input) * wf_dtype_size(dtype);
    p->target = wf_tensor_of(dtype, WF_SHAPE(w->o.horizon, count, w->m), memory);
    memory += wf_tensor_count(&p->target) * wf_dtype_size(dtype);
    p->target_mask = wf_tensor_of(WF_I32, WF_SHAPE(w->o.horizon, count, w->m), memory);
    p->origin = w->drawn + begin;
    p->count = count;
    for (int64_t b = 0; b < count; b++) {
        put_input(w, &p->input, b, p->origin[b]);
        put_target(w, p, b, p->origin[b]);
    }
    return p;
}

int64_t wf_windows_total(const wf_windows *w)
{
    return w ? w->total : 0;
}

int64_t wf_windows_count(const wf_windows *w)
{
    return w ? (w->total - 1) / w->o.batch + 1 : 0;
}

int64_t wf_windows_epoch(const wf_windows *w)
{
    return w ? w->epoch : 0;
}

int64_t wf_windows_position(const wf_windows *w)
{
    return w ? w->at : 0;
}

bool wf_windows_seek(wf_windows *w, int64_t epoch, int64_t position)
{
    if (!w || epoch < 0 || epoch == INT64_MAX || position < 0 || position > wf_windows_count(w))
        return false;
    if (epoch != w->epoch) begin_epoch(w, epoch);
    w->at = position;
    return true;
}

/* ---- rolling origin ---- */

bool wf_rolling_origin(int64_t rows, int64_t k, const wf_rolling_options *options, wf_fold *fold,
                       wf_error *error)
{
    wf_error_clear(error);
    static const wf_rolling_options none;
    const wf_rolling_options *o = options ? options : &none;
    const struct {
        const char *name;
        int64_t is, least;
    } numbers[] = { { ".folds", o->folds, 1 },
                    { ".test", o->test, 1 },
                    { ".step", o->step, 0 },
                    { ".window", o->window, 0 },
                    { ".gap", o->gap, 0 } };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].is < numbers[i].least)
            return wf_error_set(error, "rolling origin: %s is %lld; it must be %lld or more",
                                numbers[i].name, (long long)numbers[i].is,
                                (long long)numbers[i].least);
    if (k < 0 || k >= o->folds)
        return wf_error_set(error, "rolling origin: there is no fold %lld; there are %lld",
                            (long long)k, (long long)o->folds);
    if (!fold) return wf_error_set(error, "rolling origin: there is no fold to fill (NULL)");
    /* Rows that the first fold needs; those of fold k lie k steps further. */
    const int64_t step = o->step ? o->step : o->test, learned = o->window ? o->window : 1;
    int64_t need;
    const bool fits = wf_size_mul(o->folds - 1, step, &need) && wf_size_add(need, o->test, &need) &&
                      wf_size_add(need, o->gap, &need) && wf_size_add(need, learned, &need);
    if (!fits || need > rows)
        return wf_error_set(error,
                            "rolling origin: %lld folds of %lld rows, %lld apart, behind "
                            "%lld to learn from and a gap of %lld do not fit into %lld rows",
                            (long long)o->folds, (long long)o->test, (long long)step,
                            (long long)learned, (long long)o->gap, (long long)rows);
    fold->test_begin = rows - o->test - (o->folds - 1 - k) * step;
    fold->test_end = fold->test_begin + o->test;
    fold->train_end = fold->test_begin - o->gap;
    fold->train_begin = o->window ? fold->train_end - o->window : 0;
    return true;
}
