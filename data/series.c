/* Series of numbers: their memory, their missing numbers, their scale. */
#include "data/series.h"

#include "data/text_private.h"
#include "tensor/par.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <math.h>
#include <string.h>

/* ---- memory ---- */

bool wf_series_resize(wf_series *s, int64_t rows, int64_t columns, wf_dtype dtype, wf_error *error)
{
    wf_error_clear(error);
    int64_t n = 0, bytes = 0;
    if (!s) return wf_error_set(error, "series: there is nothing to fill (NULL)");
    if (!wf_dtype_is_float(dtype))
        return wf_error_set(error, "series: the dtype is %s; it must be f32 or f64",
                            wf_dtype_name(dtype));
    if (rows < 0 || columns < 0)
        return wf_error_set(error, "series: a size of (%lld, %lld) is below 0", (long long)rows,
                            (long long)columns);
    const int64_t each = wf_dtype_size(dtype) + (int64_t)sizeof(int32_t);
    /* One number more, so that an empty series lies somewhere. */
    const bool fits = wf_size_mul(rows, columns, &n) && wf_size_add(n, 1, &n) &&
                      wf_size_mul(n, each, &bytes);
    if (!fits) bytes = INT64_MAX;
    if (bytes > s->bytes) {
        void *memory = text_memory(fits ? wf_alloc((size_t)bytes) : NULL, bytes, "series", error);
        if (!memory) return false;
        wf_release(s->memory);
        s->memory = memory;
        s->bytes = bytes;
    }
    s->values = wf_tensor_of(dtype, WF_SHAPE(rows, columns), s->memory);
    s->mask = wf_tensor_of(WF_I32, WF_SHAPE(rows, columns),
                           (char *)s->memory + n * wf_dtype_size(dtype));
    wf_tensor_fill(&s->values, (double)NAN);
    wf_tensor_fill(&s->mask, 0);
    return true;
}

void wf_series_free(wf_series *s)
{
    if (!s) return;
    wf_release(s->memory);
    memset(s, 0, sizeof *s);
}

/* ---- missing numbers ---- */

static bool is_rows(const wf_tensor *x)
{
    return x && wf_dtype_is_float(x->dtype) && x->rank == 2 && (x->data || wf_tensor_count(x) == 0);
}

bool wf_fill_missing(const wf_tensor *x, wf_filling how, const double *means, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (how < WF_FILL_LAST || how > WF_FILL_MEAN)
        return wf_error_set(error, "fill: there is no filling %d", (int)how);
    if (!is_rows(x)) return wf_error_set(error, "fill: it takes f32 or f64 of shape (T, n)");
    const wf_dtype_info *type = wf_dtype_describe(x->dtype);
    for (int64_t c = 0; c < x->dim[1]; c++) {
        const double mean = means ? means[c] : 0;
        double last = mean;
        for (int64_t t = 0; t < x->dim[0]; t++) {
            const int64_t at = t * x->stride[0] + c * x->stride[1];
            const double value = type->load(x->data, at);
            if (isnan(value))
                type->store(x->data, at, how == WF_FILL_LAST ? last : mean);
            else
                last = value;
        }
    }
    return true;
}

/* ---- scaling ---- */

struct wf_scaler {
    int64_t n;
    double *offset, *scale; /* n of each */
};

static wf_scaler *room(int64_t n, wf_error *error)
{
    int64_t bytes;
    if (!wf_size_mul(n, 2 * (int64_t)sizeof(double), &bytes) ||
        !wf_size_add(bytes, (int64_t)sizeof(wf_scaler), &bytes))
        bytes = INT64_MAX;
    wf_scaler *s = text_memory(bytes < INT64_MAX ? wf_alloc((size_t)bytes) : NULL, bytes, "scaler",
                               error);
    if (!s) return NULL;
    s->n = n;
    s->offset = (double *)(void *)(s + 1);
    s->scale = s->offset + n;
    return s;
}

/* What one column of the rows says. */
static bool measure(wf_scaler *s, wf_scaling scaling, const wf_tensor *x, int64_t c,
                    wf_error *error)
{
    const wf_dtype_info *type = wf_dtype_describe(x->dtype);
    double least = (double)INFINITY, largest = -(double)INFINITY, sum = 0, squares = 0, lost = 0;
    int64_t n = 0;
    for (int64_t t = 0; t < x->dim[0]; t++) {
        const double value = type->load(x->data, t * x->stride[0] + c * x->stride[1]);
        if (isnan(value)) continue;
        if (isinf(value))
            return wf_error_set(error, "scaler: row (%lld, %lld) is %g", (long long)t, (long long)c,
                                value);
        least = fmin(least, value);
        largest = fmax(largest, value);
        sum += value;
        n++;
    }
    if (n == 0)
        return wf_error_set(error, "scaler: column %lld of the rows has no number", (long long)c);
    const double mean = fmin(fmax(sum / (double)n, least), largest);
    for (int64_t t = 0; t < x->dim[0]; t++) {
        const double value = type->load(x->data, t * x->stride[0] + c * x->stride[1]) - mean;
        if (isnan(value)) continue;
        squares += value * value;
        lost += value; /* what rounding has left in the mean */
    }
    const double of = (double)n, variance = (squares - lost * lost / of) / of;
    s->offset[c] = scaling == WF_STANDARD ? mean : least;
    s->scale[c] = scaling == WF_STANDARD ? sqrt(fmax(variance, 0)) : largest - least;
    if (!isfinite(s->scale[c]) || !isfinite(sum))
        return wf_error_set(error, "scaler: the numbers of column %lld are too large to be scaled",
                            (long long)c);
    if (least == largest || s->scale[c] <= 0) s->scale[c] = 1;
    return true;
}

wf_scaler *wf_scaler_new(wf_scaling scaling, const wf_tensor *rows, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (scaling < WF_STANDARD || scaling > WF_MIN_MAX) {
        wf_error_set(error, "scaler: there is no scaling %d", (int)scaling);
        return NULL;
    }
    if (!is_rows(rows) || rows->dim[1] < 1) {
        wf_error_set(error, "scaler: it takes rows of f32 or f64, (T, n) with n of 1 or more");
        return NULL;
    }
    wf_scaler *s = room(rows->dim[1], error);
    bool whole = s;
    for (int64_t c = 0; whole && c < s->n; c++) whole = measure(s, scaling, rows, c, error);
    if (whole) return s;
    wf_scaler_free(s);
    return NULL;
}

wf_scaler *wf_scaler_select(const wf_scaler *of, const int64_t *columns, int64_t n, wf_error *error)
{
    wf_error_clear(error);
    if (!of || !columns || n < 1) {
        wf_error_set(error,
                     of ? "scaler: no columns were given" : "scaler: it was never made (NULL)");
        return NULL;
    }
    for (int64_t i = 0; i < n; i++) {
        if (columns[i] >= 0 && columns[i] < of->n) continue;
        wf_error_set(error, "scaler: there is no column %lld; there are %lld",
                     (long long)columns[i], (long long)of->n);
        return NULL;
    }
    wf_scaler *s = room(n, error);
    for (int64_t i = 0; s && i < n; i++) {
        s->offset[i] = of->offset[columns[i]];
        s->scale[i] = of->scale[columns[i]];
    }
    return s;
}

void wf_scaler_free(wf_scaler *s)
{
    wf_release(s);
}

static bool scale(const wf_scaler *s, const wf_tensor *x, bool back, wf_error *error)
{
    if (!s) return wf_error_set(error, "scaler: it was never made (NULL)");
    if (!x || !wf_dtype_is_float(x->dtype) || x->rank < 1 || x->dim[x->rank - 1] != s->n ||
        (!x->data && wf_tensor_count(x) > 0))
        return wf_error_set(error, "scaler: it takes f32 or f64 whose last axis is %lld",
                            (long long)s->n);
    if (wf_tensor_overlaps_itself(x))
        return wf_error_set(error, "scaler: elements of what it is to scale share their memory");
    const wf_dtype_info *type = wf_dtype_describe(x->dtype);
    const int64_t n = wf_tensor_count(x);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = wf_tensor_offset(x, x->rank, i), c = i % s->n;
        const double value = type->load(x->data, at);
        type->store(x->data, at,
                    back ? value * s->scale[c] + s->offset[c]
                         : (value - s->offset[c]) / s->scale[c]);
    }
    return true;
}

bool wf_scaler_apply(const wf_scaler *s, const wf_tensor *x, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    return scale(s, x, false, error);
}

bool wf_scaler_undo(const wf_scaler *s, const wf_tensor *x, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    return scale(s, x, true, error);
}

int64_t wf_scaler_columns(const wf_scaler *s)
{
    return s ? s->n : 0;
}

double wf_scaler_offset(const wf_scaler *s, int64_t column)
{
    return s && column >= 0 && column < s->n ? s->offset[column] : (double)NAN;
}

double wf_scaler_scale(const wf_scaler *s, int64_t column)
{
    return s && column >= 0 && column < s->n ? s->scale[column] : (double)NAN;
}

/* ---- in a model's file ---- */

bool wf_scaler_to_bundle(const wf_scaler *s, wf_bundle *bundle, const char *name)
{
    if (!s) return wf_bundle_fail(bundle, "scaler: it was never made (NULL)");
    if (!name) return wf_bundle_fail(bundle, "scaler: no name was given (NULL)");
    const wf_tensor offset = wf_tensor_of(WF_F64, WF_SHAPE(s->n), s->offset);
    const wf_tensor scale = wf_tensor_of(WF_F64, WF_SHAPE(s->n), s->scale);
    return wf_bundle_copyf(bundle, &offset, "%s.offset", name) &&
           wf_bundle_copyf(bundle, &scale, "%s.scale", name);
}

wf_scaler *wf_scaler_from_archive(const wf_archive *archive, const char *name, wf_error *error)
{
    wf_error_clear(error);
    char shown[WF_SHOWN];
    if (!archive || !name) {
        wf_error_set(error, "scaler: no %s was given (NULL)", archive ? "name" : "archive");
        return NULL;
    }
    wf_shown(shown, sizeof shown, name, (int64_t)strlen(name));
    const wf_tensor *offset = wf_archive_findf(archive, "%s.offset", name);
    const wf_tensor *scale = wf_archive_findf(archive, "%s.scale", name);
    const bool form = offset && scale && offset->dtype == WF_F64 && scale->dtype == WF_F64 &&
                      offset->rank == 1 && scale->rank == 1 && offset->dim[0] > 0 &&
                      offset->dim[0] == scale->dim[0];
    if (!form) {
        wf_error_set(error, "scaler: the file has no '%s.offset' and '%s.scale', f64 of one size",
                     shown, shown);
        return NULL;
    }
    wf_scaler *s = room(offset->dim[0], error);
    bool whole = s;
    for (int64_t c = 0; whole && c < s->n; c++) {
        s->offset[c] = wf_tensor_at(offset, c);
        s->scale[c] = wf_tensor_at(scale, c);
        whole = isfinite(s->offset[c]) && isfinite(s->scale[c]) && s->scale[c] > 0;
        if (!whole)
            wf_error_set(error,
                         "scaler: column %lld of '%s' in the file has an offset of %g and a "
                         "scale of %g",
                         (long long)c, shown, s->offset[c], s->scale[c]);
    }
    if (whole) return s;
    wf_scaler_free(s);
    return NULL;
}
