/* The confusion matrix, what follows from it, and its table. */
#include "data/confusion.h"

#include "data/metrics_private.h"
#include "data/text_private.h"
#include "data/utf8.h"
#include "tensor/par.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER = 24 }; /* bytes of a whole number as text */

struct wf_confusion {
    int64_t classes;
    int64_t *count; /* (true, predicted) */
    const char **name;
};

/* ---- making ---- */

/* How many bytes all names take, or -1 and the reason. */
static int64_t bytes_of_names(int64_t classes, const char *const *names, wf_error *error)
{
    int64_t bytes = 0;
    if (!names) return classes * NUMBER;
    for (int64_t i = 0; i < classes; i++) {
        const int64_t n = names[i] ? (int64_t)strlen(names[i]) : 0;
        if (!names[i] || wf_utf8_count(names[i], n, NULL) < 0) {
            wf_error_set(error, "confusion: the name of class %lld is %s", (long long)i,
                         names[i] ? "not UTF-8" : "missing (NULL)");
            return -1;
        }
        bytes += n + 1;
    }
    return bytes;
}

static void lay_out(wf_confusion *c, int64_t classes, const char *const *names)
{
    c->classes = classes;
    c->count = (int64_t *)(void *)(c + 1);
    c->name = (const char **)(c->count + classes * classes);
    char *letters = (char *)(c->name + classes);
    for (int64_t i = 0; i < classes; i++) {
        char number[NUMBER];
        wf_format(number, sizeof number, "%lld", (long long)i);
        const char *name = names ? names[i] : number;
        c->name[i] = strcpy(letters, name);
        letters += strlen(name) + 1;
    }
}

wf_confusion *wf_confusion_new(int64_t classes, const char *const *names, wf_error *error)
{
    static const char what[] = "confusion";
    int64_t bytes, letters;
    wf_error_clear(error);
    if (classes < 1) {
        wf_error_set(error, "confusion: there are %lld classes; it takes 1 or more",
                     (long long)classes);
        return NULL;
    }
    /* Before names are looked at: they are as many. */
    if (!wf_size_mul(classes, classes + (classes < INT64_MAX), &bytes) ||
        !wf_size_mul(bytes, (int64_t)sizeof(int64_t), &bytes)) {
        text_memory(NULL, INT64_MAX, what, error);
        return NULL;
    }
    bytes += (int64_t)sizeof(wf_confusion);
    if ((letters = bytes_of_names(classes, names, error)) < 0) return NULL;
    bytes = bytes > INT64_MAX - letters ? INT64_MAX : bytes + letters;
    wf_confusion *c = text_memory(wf_alloc_zero((size_t)bytes), bytes, what, error);
    if (c) lay_out(c, classes, names);
    return c;
}

void wf_confusion_free(wf_confusion *c)
{
    wf_release(c);
}

void wf_confusion_clear(wf_confusion *c)
{
    if (c) memset(c->count, 0, (size_t)(c->classes * c->classes) * sizeof *c->count);
}

/* ---- counting ---- */

bool wf_confusion_add(wf_confusion *c, const wf_tensor *predicted, const wf_tensor *target,
                      const wf_tensor *lengths, wf_error *error)
{
    wf_error_clear(error);
    if (!c) return wf_error_set(error, "confusion: it was never made (NULL)");
    if (!metrics_given("confusion", predicted, target, lengths, error)) return false;
    /* All are looked at before any is counted. */
    for (int pass = 0; pass < 2; pass++)
        for (int64_t b = 0; b < metrics_batch(target); b++) {
            const int64_t n = lengths ? metrics_id(lengths, 0, b) : metrics_time(target);
            for (int64_t t = 0; t < n; t++) {
                const int32_t is = metrics_id(target, t, b), said = metrics_id(predicted, t, b);
                const bool good = is >= 0 && is < c->classes;
                if (pass == 1)
                    c->count[is * c->classes + said]++;
                else if (!good || said < 0 || said >= c->classes)
                    return wf_error_set(error, "confusion: a %s is %d; there are classes 0 to %lld",
                                        good ? "prediction" : "target", (int)(good ? said : is),
                                        (long long)c->classes - 1);
            }
        }
    return true;
}

/* ---- numbers ---- */

int64_t wf_confusion_classes(const wf_confusion *c)
{
    return c ? c->classes : 0;
}

int64_t wf_confusion_at(const wf_confusion *c, int64_t target, int64_t predicted)
{
    if (!c || target < 0 || predicted < 0 || target >= c->classes || predicted >= c->classes)
        return 0;
    return c->count[target * c->classes + predicted];
}

int64_t wf_confusion_total(const wf_confusion *c)
{
    int64_t total = 0;
    for (int64_t i = 0; c && i < c->classes * c->classes; i++) total += c->count[i];
    return total;
}

static double part(int64_t of, int64_t all)
{
    return all > 0 ? (double)of / (double)all : 0;
}

static void finish(wf_class_scores *s)
{
    s->precision = part(s->right, s->predicted);
    s->recall = part(s->right, s->target);
    s->f1 = part(2 * s->right, s->predicted + s->target);
}

wf_class_scores wf_confusion_class(const wf_confusion *c, int64_t i)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_class_scores s = { .right = wf_confusion_at(c, i, i) };
    for (int64_t j = 0; c && j < c->classes; j++) {
        s.target += wf_confusion_at(c, i, j);
        s.predicted += wf_confusion_at(c, j, i);
    }
    finish(&s);
    return s;
}

wf_class_scores wf_confusion_average(const wf_confusion *c, wf_average average)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_class_scores sum = { .right = 0 };
    double weights = 0;
    for (int64_t i = 0; c && i < c->classes; i++) {
        const wf_class_scores one = wf_confusion_class(c, i);
        const double weight = average == WF_WEIGHTED ? (double)one.target
                                                     : one.target + one.predicted > 0;
        sum.right += one.right, sum.predicted += one.predicted, sum.target += one.target;
        sum.precision += weight * one.precision;
        sum.recall += weight * one.recall;
        sum.f1 += weight * one.f1;
        weights += weight;
    }
    if (average == WF_MICRO) {
        finish(&sum);
    } else if (weights > 0) {
        sum.precision /= weights;
        sum.recall /= weights;
        sum.f1 /= weights;
    }
    return sum;
}

double wf_confusion_accuracy(const wf_confusion *c)
{
    const wf_class_scores all = wf_confusion_average(c, WF_MICRO);
    return all.target > 0 ? all.recall : (double)NAN;
}

/* ---- the table ---- */

/* Text that is written as far as there is room, and how long all of it is. */
typedef struct page {
    char *text;
    size_t bytes, n;
} page;

static void put(page *p, const char *what)
{
    const bool room = p->n < p->bytes;
    p->n += wf_format(room ? p->text + p->n : NULL, room ? p->bytes - p->n : 0, "%s", what);
}

/* In a column of that width, at its right end (or its left). */
static void cell(page *p, const char *what, int64_t width, bool left)
{
    if (left) put(p, what);
    for (int64_t i = text_width(what); i < width; i++) put(p, " ");
    if (!left) put(p, what);
}

static void whole(page *p, int64_t number, int64_t width)
{
    char text[NUMBER];
    wf_format(text, sizeof text, "%lld", (long long)number);
    cell(p, text, width, false);
}

static void scores(page *p, const wf_class_scores *s)
{
    const double percent[3] = { 100 * s->precision, 100 * s->recall, 100 * s->f1 };
    char text[40];
    for (int i = 0; i < 3; i++) {
        wf_format(text, sizeof text, "%.2f", percent[i]);
        cell(p, text, i ? 8 : 11, false);
    }
    put(p, "\n");
}

/* Of column j: its name's, or of the largest number in it, and two between. */
static int64_t width_of(const wf_confusion *c, int64_t j)
{
    int64_t width = text_width(c->name[j]);
    for (int64_t i = 0; i < c->classes; i++) {
        char text[NUMBER];
        wf_format(text, sizeof text, "%lld", (long long)wf_confusion_at(c, i, j));
        if ((int64_t)strlen(text) > width) width = (int64_t)strlen(text);
    }
    return width + 2;
}

size_t wf_confusion_text(const wf_confusion *c, char *text, size_t bytes)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    static const char *const averages[] = { "macro", "weighted", "micro" };
    page p = { text, text ? bytes : 0, 0 };
    int64_t first = (int64_t)strlen("true \\ said"), all = 0;
    if (!c) return wf_format(text, p.bytes, "%s", "");
    for (int64_t i = 0; i < c->classes; i++)
        if (text_width(c->name[i]) > first) first = text_width(c->name[i]);
    cell(&p, "true \\ said", first, true);
    for (int64_t j = 0; j < c->classes; j++) {
        const int64_t width = width_of(c, j);
        cell(&p, c->name[j], width, false);
        all += width;
    }
    put(&p, "  precision  recall      F1\n");
    for (int64_t i = 0; i < c->classes; i++) {
        const wf_class_scores s = wf_confusion_class(c, i);
        cell(&p, c->name[i], first, true);
        for (int64_t j = 0; j < c->classes; j++)
            whole(&p, wf_confusion_at(c, i, j), width_of(c, j));
        scores(&p, &s);
    }
    for (int i = 0; i < 3; i++) {
        const wf_class_scores s = wf_confusion_average(c, (wf_average)i);
        cell(&p, averages[i], first + all, true);
        scores(&p, &s);
    }
    return p.n;
}

/* ---- the ROC curve ---- */

typedef struct scored {
    double score;
    bool positive;
} scored;

static int by_score(const void *one, const void *other)
{
    const double a = ((const scored *)one)->score, b = ((const scored *)other)->score;
    return (a > b) - (a < b);
}

/* Takes n items out of their tensors, and says how many of them are positive; -1 and the reason. */
static int64_t take_items(scored *items, const wf_tensor *scores, const wf_tensor *labels,
                          int64_t n, wf_error *error)
{
    int64_t positive = 0;
    for (int64_t i = 0; i < n; i++) {
        const double label = wf_tensor_at(labels, i);
        items[i] = (scored){ wf_tensor_at(scores, i), label > 0 };
        if (isnan(items[i].score) || (label != 0 && label != 1)) {
            char place[64];
            wf_index_text(place, sizeof place, scores->rank, scores->dim, i);
            if (isnan(items[i].score))
                wf_error_set(error, "roc: score %s is nan", place);
            else
                wf_error_set(error, "roc: label %s is %.0f; it must be 0 or 1", place, label);
            return -1;
        }
        positive += items[i].positive;
    }
    if (positive > 0 && positive < n) return positive;
    wf_error_set(error, "roc: there is no item that is %s", positive ? "negative" : "positive");
    return -1;
}

/* Sums over positives how many negatives are below them, and half of those that are equal: twice
 * that, a whole number. */
static double area_of(const scored *items, int64_t n, int64_t positive)
{
    int64_t below = 0;
    double twice = 0;
    for (int64_t i = 0, end; i < n; i = end) {
        int64_t here[2] = { 0, 0 };
        for (end = i; end < n && items[end].score <= items[i].score; end++)
            here[items[end].positive]++;
        twice += (double)here[1] * (double)(2 * below + here[0]);
        below += here[0];
    }
    return twice / (2.0 * (double)positive * (double)(n - positive));
}

bool wf_roc_area(const wf_tensor *scores, const wf_tensor *labels, double *area, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (!area) return wf_error_set(error, "roc: there is no area to fill (NULL)");
    if (!scores || !wf_dtype_is_float(scores->dtype))
        return wf_error_set(error, "roc: the scores must be f32 or f64");
    const wf_shape shape = wf_tensor_shape(scores);
    const int64_t n = wf_shape_check(&shape, scores->dtype, error);
    const wf_shape of = labels && labels->dtype == WF_I32 ? wf_tensor_shape(labels) : WF_SHAPE(-1);
    char text[64];
    if (n < 0) return false;
    if (!wf_shape_equal(&shape, &of))
        return wf_error_set(error, "roc: the labels must be i32 of shape %s",
                            wf_shape_text(text, sizeof text, scores->rank, scores->dim));
    if (n > 0 && (!scores->data || !labels->data))
        return wf_error_set(error, "roc: the %s have no data", scores->data ? "labels" : "scores");
    int64_t bytes = INT64_MAX;
    if (!wf_size_mul(n, (int64_t)sizeof(scored), &bytes)) bytes = INT64_MAX;
    scored *items = text_memory(wf_alloc((size_t)bytes), bytes, "roc", error);
    if (!items && n > 0) return false;
    const int64_t positive = take_items(items, scores, labels, n, error);
    if (positive > 0) {
        qsort(items, (size_t)n, sizeof *items, by_score);
        *area = area_of(items, n, positive);
    }
    wf_release(items);
    return positive > 0;
}
