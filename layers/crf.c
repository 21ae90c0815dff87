/* A linear-chain conditional random field as a layer: the loss is an op's; best tag sequences and
 * marginals are computed here, in double, from values. */
#include "layers/crf.h"

#include "autograd/scan.h"
#include "layers/private.h"
#include "tensor/par.h"

#include <math.h>
#include <string.h>

static const double never = -(double)INFINITY;

wf_crf *wf_crf_new(wf_module *parent, const char *name, const wf_crf_options *options)
{
    const wf_crf_options o = options ? *options : (wf_crf_options){ 0 };
    if (!layer_size(parent, "crf", name, "tags", o.tags)) return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_crf *layer = wf_module_memory(module, sizeof *layer);
    if (!layer) return NULL;
    const wf_init init = layer_init(o.init,
                                    (wf_init){ .kind = WF_INIT_UNIFORM, .a = -0.1, .b = 0.1 });
    layer->module = module;
    layer->start_transitions = wf_param_new(module, "start_transitions", WF_SHAPE(o.tags), init);
    layer->end_transitions = wf_param_new(module, "end_transitions", WF_SHAPE(o.tags), init);
    layer->transitions = wf_param_new(module, "transitions", WF_SHAPE(o.tags, o.tags), init);
    return layer->start_transitions && layer->end_transitions && layer->transitions ? layer : NULL;
}

/* Emissions on this tape, if they are what the layer takes; NULL after failing the tape. */
static wf_var *enter(wf_tape *t, const wf_crf *layer, wf_var *emissions)
{
    emissions = layer_enter(t, "crf", layer ? layer->module : NULL, emissions, "the emissions");
    if (!emissions) return NULL;
    const int64_t tags = wf_dim(layer->transitions, 0);
    if (wf_rank(emissions) != 3 || wf_dim(emissions, -1) != tags) {
        char text[128];
        wf_shape shape = wf_shape_of(emissions);
        return wf_fail(t, "crf '%s': emissions are %s; expected (steps, sequences, %lld)",
                       wf_module_path(layer->module),
                       wf_shape_text(text, sizeof text, shape.rank, shape.dim), (long long)tags);
    }
    return layer_dtype(t, "crf", layer->module, emissions, layer->transitions) ? emissions : NULL;
}

wf_var *wf_crf_forward(wf_tape *t, const wf_crf *layer, wf_var *emissions, wf_var *tags,
                       wf_var *lengths, const wf_crf_loss_options *options)
{
    if (!(emissions = enter(t, layer, emissions))) return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *loss = wf_crf_loss(t, emissions, layer->transitions, layer->start_transitions,
                               layer->end_transitions, tags, lengths, options);
    wf_scope_pop(t);
    return loss;
}

/* ---- what is computed from values ---- */

/* A call's numbers in double, and room for one sequence. */
typedef struct chain {
    int64_t time, batch, tags;
    const double *emissions, *w, *start, *end;
    const int32_t *lengths;     /* NULL: all of them are `time` */
    double *front, *back, *sum; /* (T, K), (T, K), K */
    int32_t *from;              /* (T, K) */
} chain;

static double *doubles(wf_tape *t, wf_var *x, wf_shape shape)
{
    if (!x || !wf_tape_ok(t)) return NULL;
    double *to = wf_tape_memory(t, (size_t)(wf_shape_count(&shape) + 1) * sizeof *to);
    const wf_tensor *value = to ? wf_value(x) : NULL;
    if (!value || !wf_tape_ok(t)) return NULL;
    const wf_tensor copy = wf_tensor_of(WF_F64, shape, to);
    wf_tensor_copy(value, &copy);
    return to;
}

/* False after failing the tape. */
static bool chain_make(wf_tape *t, const wf_crf *layer, wf_var *emissions, wf_var *lengths,
                       chain *c)
{
    if (!(emissions = enter(t, layer, emissions))) return false;
    const char *path = wf_module_path(layer->module);
    c->time = wf_dim(emissions, 0);
    c->batch = wf_dim(emissions, 1);
    c->tags = wf_dim(emissions, 2);
    if (lengths) {
        lengths = wf_enter_lengths(t, lengths, c->time, c->batch, "crf '%s'", path);
        int32_t *to = lengths ? wf_tape_memory(t, (size_t)(c->batch + 1) * sizeof *to) : NULL;
        if (!to || !wf_copy_out(lengths, to, c->batch)) return false;
        c->lengths = to;
    }
    wf_var *w = wf_enter(t, layer->transitions, "crf '%s': a weight", path),
           *start = wf_enter(t, layer->start_transitions, "crf '%s': a weight", path),
           *end = wf_enter(t, layer->end_transitions, "crf '%s': a weight", path);
    c->emissions = doubles(t, emissions, WF_SHAPE(c->time, c->batch, c->tags));
    c->w = doubles(t, w, WF_SHAPE(c->tags, c->tags));
    c->start = doubles(t, start, WF_SHAPE(c->tags));
    c->end = doubles(t, end, WF_SHAPE(c->tags));
    const size_t rows = (size_t)(c->time * c->tags + 1);
    c->front = wf_tape_memory(t, rows * sizeof(double));
    c->back = wf_tape_memory(t, rows * sizeof(double));
    c->sum = wf_tape_memory(t, (size_t)c->tags * sizeof(double));
    c->from = wf_tape_memory(t, rows * sizeof(int32_t));
    return wf_tape_ok(t) && c->emissions && c->w && c->start && c->end && c->from && c->sum;
}

static int64_t length_of(const chain *c, int64_t b)
{
    return c->lengths ? c->lengths[b] : c->time;
}

static const double *own_of(const chain *c, int64_t i, int64_t b)
{
    return c->emissions + (i * c->batch + b) * c->tags;
}

/* Fills front with the best score of all that ends in a tag, from with the tag before. */
static double best_of(const chain *c, int64_t b, int64_t length, int32_t *last)
{
    const int64_t n = c->tags;
    for (int64_t j = 0; j < n; j++) c->front[j] = c->start[j] + own_of(c, 0, b)[j];
    for (int64_t i = 1; i < length; i++) {
        const double *before = c->front + (i - 1) * n;
        for (int64_t j = 0; j < n; j++) {
            int32_t from = 0;
            for (int64_t k = 1; k < n; k++)
                if (before[k] + c->w[k * n + j] > before[from] + c->w[from * n + j])
                    from = (int32_t)k;
            c->from[i * n + j] = from;
            c->front[i * n + j] = before[from] + c->w[from * n + j] + own_of(c, i, b)[j];
        }
    }
    const double *end = c->front + (length - 1) * n;
    *last = 0;
    for (int64_t k = 1; k < n; k++)
        if (end[k] + c->end[k] > end[*last] + c->end[*last]) *last = (int32_t)k;
    return end[*last] + c->end[*last];
}

wf_var *wf_crf_decode(wf_tape *t, const wf_crf *layer, wf_var *emissions, wf_var *lengths,
                      wf_var **score)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    chain c = { 0 };
    if (score) *score = NULL;
    if (!chain_make(t, layer, emissions, lengths, &c)) return NULL;
    wf_tensor tags, scores;
    wf_var *best = wf_constant_fill(t, WF_I32, WF_SHAPE(c.time, c.batch), &tags);
    wf_var *worth = wf_constant_fill(t, wf_dtype_of(emissions), WF_SHAPE(c.batch), &scores);
    for (int64_t b = 0; best && worth && b < c.batch; b++) {
        const int64_t length = length_of(&c, b);
        int32_t tag = 0;
        if (length == 0) continue;
        const double reached = best_of(&c, b, length, &tag);
        wf_dtype_describe(scores.dtype)->store(scores.data, b, reached);
        for (int64_t i = length - 1; i >= 0; i--) {
            ((int32_t *)tags.data)[i * c.batch + b] = tag;
            if (i > 0) tag = c.from[i * c.tags + tag];
        }
    }
    if (score && best && worth) *score = worth;
    return worth ? best : NULL;
}

/* log(sum(exp(x))); -inf where all of x is. */
static double total(int64_t n, const double *x)
{
    double top = never, sum = 0;
    for (int64_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    for (int64_t i = 0; i < n; i++) sum += exp(x[i] - (top == never ? 0 : top));
    return top + log(sum);
}

/* Fills front with what reaches a tag, its own included, back with what follows it; and returns the
 * logarithm of the sum over all. */
static double reach(const chain *c, int64_t b, int64_t length)
{
    const int64_t n = c->tags;
    for (int64_t j = 0; j < n; j++) {
        c->front[j] = c->start[j] + own_of(c, 0, b)[j];
        c->back[(length - 1) * n + j] = c->end[j];
    }
    for (int64_t i = 1; i < length; i++)
        for (int64_t j = 0; j < n; j++) {
            for (int64_t k = 0; k < n; k++) c->sum[k] = c->front[(i - 1) * n + k] + c->w[k * n + j];
            c->front[i * n + j] = total(n, c->sum) + own_of(c, i, b)[j];
        }
    for (int64_t i = length - 2; i >= 0; i--)
        for (int64_t j = 0; j < n; j++) {
            for (int64_t k = 0; k < n; k++)
                c->sum[k] = c->w[j * n + k] + own_of(c, i + 1, b)[k] + c->back[(i + 1) * n + k];
            c->back[i * n + j] = total(n, c->sum);
        }
    for (int64_t k = 0; k < n; k++) c->sum[k] = c->front[(length - 1) * n + k] + c->end[k];
    return total(n, c->sum);
}

wf_var *wf_crf_marginals(wf_tape *t, const wf_crf *layer, wf_var *emissions, wf_var *lengths)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    chain c = { 0 };
    if (!chain_make(t, layer, emissions, lengths, &c)) return NULL;
    wf_tensor to;
    wf_var *p = wf_constant_fill(t, wf_dtype_of(emissions), WF_SHAPE(c.time, c.batch, c.tags), &to);
    for (int64_t b = 0; p && b < c.batch; b++) {
        const int64_t length = length_of(&c, b);
        if (length == 0) continue;
        const double all = reach(&c, b, length);
        for (int64_t i = 0; all != never && i < length; i++)
            for (int64_t j = 0; j < c.tags; j++)
                wf_dtype_describe(to.dtype)->store(
                    to.data, (i * c.batch + b) * c.tags + j,
                    exp(c.front[i * c.tags + j] + c.back[i * c.tags + j] - all));
    }
    return p;
}
