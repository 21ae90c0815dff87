/* Batch normalisation as a layer. What a call finds out of its batch is at first the tape's: it
 * moves the running statistics only when the tape commits. */
#include "layers/batch_norm.h"

#include "autograd/scan.h"
#include "autograd/views.h"
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/text.h"

#include <math.h>

static bool add_buffers(wf_batch_norm_layer *layer)
{
    const wf_shape features = WF_SHAPE(layer->features);
    const wf_dtype dtype = wf_module_dtype(layer->module);
    layer->running_mean = wf_buffer_new(layer->module, "running_mean", dtype, features, 0);
    layer->running_var = wf_buffer_new(layer->module, "running_var", dtype, features, 1);
    layer->num_batches_tracked = wf_buffer_new(layer->module, "num_batches_tracked", WF_I32,
                                               WF_SCALAR, 0);
    return layer->num_batches_tracked != NULL;
}

static bool add_params(wf_batch_norm_layer *layer)
{
    const wf_shape features = WF_SHAPE(layer->features);
    layer->weight = wf_param_new(layer->module, "weight", features,
                                 (wf_init){ .kind = WF_INIT_CONSTANT, .a = 1 });
    layer->bias = wf_param_new(layer->module, "bias", features, (wf_init){ 0 });
    return layer->bias != NULL;
}

static bool options_are_sound(wf_module *parent, const char *name, const wf_batch_norm_options *o)
{
    if (!layer_size(parent, "batch_norm", name, "features", o->features)) return false;
    if (!(o->eps >= 0 && o->eps < (double)INFINITY))
        return wf_module_fail(
            parent, "batch_norm '%s': .eps is %g; it must be 0 or more and finite", name, o->eps);
    if (!(o->momentum >= 0 && o->momentum <= 1))
        return wf_module_fail(parent, "batch_norm '%s': .momentum is %g; it must be from 0 to 1",
                              name, o->momentum);
    if (o->momentum > 0 && o->cumulative)
        return wf_module_fail(
            parent, "batch_norm '%s': .momentum is %g, and .cumulative counts all batches alike",
            name, o->momentum);
    return true;
}

wf_batch_norm_layer *wf_batch_norm_new(wf_module *parent, const char *name,
                                       const wf_batch_norm_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const wf_batch_norm_options o = options ? *options : (wf_batch_norm_options){ 0 };
    if (!options_are_sound(parent, name ? name : "", &o)) return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_batch_norm_layer *layer = wf_module_memory(module, sizeof *layer);
    if (!layer) return NULL;
    *layer = (wf_batch_norm_layer){ .module = module,
                                    .features = o.features,
                                    .eps = o.eps,
                                    .momentum = o.momentum > 0 ? o.momentum : 0.1,
                                    .cumulative = o.cumulative };
    if (!o.no_affine && !add_params(layer)) return NULL;
    if (!o.no_running_statistics && !add_buffers(layer)) return NULL;
    return layer;
}

/* ---- what a call is given ---- */

static bool x_is_sound(wf_tape *t, const wf_batch_norm_layer *layer, const wf_var *x)
{
    const char *path = wf_module_path(layer->module);
    const wf_shape shape = wf_shape_of(x);
    char text[128];
    wf_shape_text(text, sizeof text, shape.rank, shape.dim);
    if (wf_dtype_of(x) == WF_I32) {
        wf_fail(t, "batch_norm '%s': x is i32; it must be f32 or f64", path);
    } else if (shape.rank < 2 || shape.dim[1] != layer->features) {
        const bool last = shape.rank > 2 && shape.dim[shape.rank - 1] == layer->features;
        wf_fail(t, "batch_norm '%s': x is %s; expected (batch, %lld, ...)%s", path, text,
                (long long)layer->features,
                last ? "\n  hint: axis 1 is the channels'; permute brings the last axis there"
                     : "");
    }
    return wf_tape_ok(t);
}

/* What counts, broadcasting to x; *counts becomes NULL where everything does. */
static bool take_mask(wf_tape *t, const wf_batch_norm_layer *layer, wf_var *x,
                      const wf_batch_norm_call *call, wf_var **counts)
{
    const char *path = wf_module_path(layer->module);
    *counts = NULL;
    if (call->mask) {
        const layer_caller c = { "batch_norm", layer->module, layer->weight };
        *counts = mask_enter(t, &c, call->mask, "the mask", wf_shape_of(x));
        if (!*counts) return false;
    }
    if (!call->lengths) return true;
    if (wf_rank(x) != 3) {
        char text[128];
        const wf_shape shape = wf_shape_of(x);
        wf_fail(t, "batch_norm '%s': x is %s; lengths are those of (batch, %lld, time)", path,
                wf_shape_text(text, sizeof text, shape.rank, shape.dim),
                (long long)layer->features);
        return false;
    }
    wf_var *lengths = wf_enter_lengths(t, call->lengths, wf_dim(x, 2), wf_dim(x, 0),
                                       "batch_norm '%s'", path);
    if (!lengths) return false;
    wf_var *steps = wf_transpose(t, wf_length_mask(t, lengths, wf_dim(x, 2)), 0, 1); /* (N, L) */
    *counts = mask_both(t, *counts, wf_unsqueeze(t, steps, 1));
    return *counts != NULL;
}

/* ---- running statistics ---- */

/* What one call found; lives in the tape's memory. */
typedef struct found {
    const wf_batch_norm_layer *layer;
    wf_batch_statistics of;
} found;

static void move_to(const wf_tensor *running, int64_t k, double momentum, double value)
{
    const wf_dtype_info *dtype = wf_dtype_describe(running->dtype);
    dtype->store(running->data, k, (1 - momentum) * wf_tensor_at(running, k) + momentum * value);
}

static void make_permanent(void *context)
{
    const found *f = context;
    const wf_batch_norm_layer *layer = f->layer;
    int32_t *batches = wf_param_value(layer->num_batches_tracked)->data;
    if (*batches < INT32_MAX) ++*batches;
    const double momentum = layer->cumulative ? 1 / (double)*batches : layer->momentum;
    for (int64_t k = 0; k < layer->features; k++) {
        const double mean = wf_at(f->of.mean, k), variance = wf_at(f->of.variance, k),
                     count = wf_at(f->of.count, k);
        if (count < 2 || !isfinite(mean) || !isfinite(variance)) continue;
        move_to(wf_param_value(layer->running_mean), k, momentum, mean);
        move_to(wf_param_value(layer->running_var), k, momentum, variance * count / (count - 1));
    }
    wf_param_changed(layer->running_mean);
    wf_param_changed(layer->running_var);
    wf_param_changed(layer->num_batches_tracked);
}

/* Copied: what a tape was told stays as it is, whatever another commits meanwhile. In the dtype of
 * x: a checker works in double on what the program trains in float. */
static wf_var *constant_of(wf_tape *t, const wf_var *buffer, wf_dtype dtype)
{
    const wf_tensor *from = wf_param_value(buffer);
    wf_tensor to;
    wf_var *v = wf_constant_fill(t, dtype, wf_tensor_shape(from), &to);
    if (v) wf_tensor_copy(from, &to);
    return v;
}

/* ---- forward ---- */

/* Do the running statistics move by what is found here? */
static bool moves(const wf_tape *t, const wf_batch_norm_layer *layer)
{
    return layer->running_mean && wf_tape_mode(t) == WF_TRAIN;
}

static bool has_enough(wf_tape *t, const wf_batch_norm_layer *layer, const wf_var *x)
{
    if (!moves(t, layer) || wf_count(x) != layer->features) return true;
    char text[128];
    const wf_shape shape = wf_shape_of(x);
    wf_fail(t, "batch_norm '%s': x is %s; in train mode a channel needs more than one element",
            wf_module_path(layer->module), wf_shape_text(text, sizeof text, shape.rank, shape.dim));
    return false;
}

static wf_var *by_batch(wf_tape *t, const wf_batch_norm_layer *layer, wf_var *x, wf_var *counts)
{
    wf_batch_statistics of;
    wf_var *y = wf_batch_norm(t, x, layer->weight, layer->bias, counts, layer->eps, &of);
    if (!y || !moves(t, layer)) return y;
    found *f = wf_tape_memory(t, sizeof *f);
    if (!f) return NULL;
    *f = (found){ layer, of };
    return wf_tape_on_commit(t, make_permanent, f) ? y : NULL;
}

wf_var *wf_batch_norm_forward(wf_tape *t, const wf_batch_norm_layer *layer, wf_var *x,
                              const wf_batch_norm_call *call)
{
    static const wf_batch_norm_call everything = { .lengths = NULL };
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_var *counts, *y;
    if (!call) call = &everything;
    x = layer_enter(t, "batch_norm", layer ? layer->module : NULL, x, "x");
    if (!x || !x_is_sound(t, layer, x)) return NULL;
    if (layer->weight && !layer_dtype(t, "batch_norm", layer->module, x, layer->weight))
        return NULL;
    if (!take_mask(t, layer, x, call, &counts) || !has_enough(t, layer, x)) return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    if (wf_tape_mode(t) == WF_TRAIN || !layer->running_mean)
        y = by_batch(t, layer, x, counts);
    else
        y = wf_batch_norm_given(t, x, layer->weight, layer->bias, counts,
                                constant_of(t, layer->running_mean, wf_dtype_of(x)),
                                constant_of(t, layer->running_var, wf_dtype_of(x)), layer->eps);
    wf_scope_pop(t);
    return y;
}
